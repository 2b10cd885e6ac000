//! Recordings as files for other tools, over HTTP.

use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State as Axum};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use custody_schemas::activity::Activity;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::replay::{absent, during};
use super::{ApiError, ErrorBody, InPath, State, asked_for, attachment, by, caller, in_path, in_query};
use crate::activity::{Ended, Entry};
use crate::cli::{CastFormat, Moment, parse_moment};
use crate::exit::Failure;
use crate::recordings::{Exported, Source};
use crate::reels::Asked;

/// Bytes that are sent at once, and how many such pieces wait for whoever reads slowly.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES_MAX: usize = 8;

/// A page that is opened by mistake runs nothing here.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

/// What of a recording, and as what.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportOf {
    /// The format.
    #[serde(rename = "as")]
    #[param(inline)]
    format: CastFormat,
    /// Only from there: a time since the start (12:30, 1:02:03.5) or an instant (2026-11-02T09:00:00Z).
    from: Option<String>,
    /// Only up to there, what happened at that time included.
    to: Option<String>,
    /// The kind of gateway, where several have a session of this id; else the first by name.
    source: Option<String>,
    /// Which of the session's recordings, where it has several; else the one with the most output.
    channel: Option<String>,
}

fn moment(text: Option<&str>) -> Result<Option<Moment>, ApiError> {
    text.map(parse_moment).transpose().map_err(ApiError::bad_request)
}

/// Type and ending of a file.
fn kind(format: CastFormat) -> (&'static str, &'static str) {
    match format {
        CastFormat::AsciicastV2 | CastFormat::AsciicastV3 => ("application/x-asciicast", "cast"),
        CastFormat::Ttyrec => ("application/octet-stream", "ttyrec"),
        CastFormat::Json => ("application/x-ndjson", "ndjson"),
        CastFormat::Raw => ("application/octet-stream", "raw"),
        CastFormat::Text => ("text/plain; charset=utf-8", "txt"),
        CastFormat::Transcript => ("text/plain; charset=utf-8", "transcript.txt"),
        CastFormat::Html => ("text/html; charset=utf-8", "html"),
    }
}

/// The recording of a session, or a part of it, as a file: what `custody export` writes.
///
/// It is sent as it is written. An answer that breaks off is torn, and no file.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/export", tag = "sessions", params(("id" = String, Path), ExportOf),
    responses((status = 200, description = "The file", content_type = "application/octet-stream"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody, description = "It is being looked through: come again")))]
pub(super) async fn get_export(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    id: InPath<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (id, asked): (_, ExportOf) = (in_path(id)?, in_query(&uri)?);
    let between = (moment(asked.from.as_deref())?, moment(asked.to.as_deref())?);
    let detail = serde_json::json!({ "query": uri.query() }).to_string();
    let entry = state.journal.begin(by(from, Activity { detail, ..asked_for("export", Some(&id)) })).await?;
    let work = async {
        let source = Source {
            engine: state.engine(),
            ledger: state.replays.ledger().clone(),
            looking: state.replays.looking().clone(),
            patient: false,
        };
        let which = Asked { session_id: &id, source: asked.source.as_deref(), channel: asked.channel.as_deref() };
        let opened = match source.find(which, between).await {
            Ok(opened) => opened,
            Err(absence) => return Err(absent(&state, &id, absence).await?),
        };
        Ok(opened.exported(asked.format, between, caller(from))?)
    };
    let (exported, entry) = during(entry, work).await?;
    let (media_type, ending) = kind(asked.format);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, attachment(&format!("{id}.{ending}"))),
        (header::CONTENT_SECURITY_POLICY, SANDBOX),
    ];
    Ok((headers, written(exported, entry)).into_response())
}

/// Writes what is exported as it is read, and at its end writes down how it ended.
fn written(exported: Exported, entry: Entry) -> Body {
    let (to, pieces) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let torn = to.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut out = BufWriter::with_capacity(PIECE_BYTES, Pieces { to, bytes: 0 });
            let done = exported.write(&mut out);
            (done, out.get_ref().bytes)
        });
        let (done, bytes) = writing.await.unwrap_or_else(|panic| (Err(io::Error::other(panic)), 0));
        match done {
            Ok(()) => entry.end(Ok(Ended::bytes(bytes))).await,
            // Whoever reads had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                entry.end(Ok(Ended { cut: true, ..Ended::bytes(bytes) })).await;
            }
            Err(error) => {
                let failure = Failure::from(error);
                let _ = torn.send(Err(io::Error::other(failure.to_string()))).await;
                entry.end(Err(&failure)).await;
            }
        }
    });
    Body::from_stream(futures::stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) }))
}

/// Hands on what is written, in pieces.
struct Pieces {
    to: mpsc::Sender<io::Result<Bytes>>,
    bytes: u64,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.to.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
