//! Messages that could not be decoded, over HTTP.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State as Axum};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use custody_query::dead_letters::{DeadLetterDetail, DeadLetterFilter, DeadLetterPage, MessagePart, MessagePlace};
use custody_schemas::activity::Activity;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ErrorBody, InPath, State, asked_for, in_path, in_query, instant, page_rows};
use crate::activity::Ended;

/// Which dead letters.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListDeadLetters {
    /// Of topics of this source.
    source: Option<String>,
    /// Of this class of error.
    kind: Option<String>,
    /// Taken in at or after this instant (RFC 3339).
    from: Option<String>,
    /// Taken in before this instant (RFC 3339).
    to: Option<String>,
    /// Dead letters of a page, 1 to 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// Messages that could not be decoded and were not understood later either, newest first.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "pipeline", params(ListDeadLetters), responses(
    (status = 200, body = DeadLetterPage), (status = 400, body = ErrorBody)
))]
pub(super) async fn list_dead_letters(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    uri: Uri,
) -> Result<Json<DeadLetterPage>, ApiError> {
    let asked: ListDeadLetters = in_query(&uri)?;
    let limit = page_rows(asked.limit)?;
    let filter = DeadLetterFilter {
        source: asked.source,
        error_kind: asked.kind,
        from: asked.from.as_deref().map(|text| instant("from", text)).transpose()?,
        to: asked.to.as_deref().map(|text| instant("to", text)).transpose()?,
        after: asked.after,
    };
    let detail = serde_json::json!({ "query": uri.query() }).to_string();
    let work = async {
        let page = state.engine.dead_letters(&filter, limit).await?;
        let count = page.dead_letters.len() as u64;
        Ok((Json(page), Ended::rows(count)))
    };
    state.during(from, Activity { detail, ..asked_for("dead letters", None) }, work).await
}

type Coordinates = (String, i32, i64);

fn at(coordinates: InPath<Coordinates>) -> Result<(MessagePlace, String), ApiError> {
    let (topic, partition, offset) = in_path(coordinates)?;
    let name = format!("{topic}/{partition}/{offset}");
    Ok((MessagePlace { topic, partition, offset }, name))
}

fn not_there(name: &str) -> ApiError {
    ApiError::not_found(format!("no dead letter stands at {name:?}; what was understood later is in `records`"))
}

/// A dead letter, and how its key, its headers and its value begin: in hexadecimal, and as harmless text.
#[utoipa::path(get, path = "/api/v1/dead-letters/{topic}/{partition}/{offset}", tag = "pipeline",
    params(("topic" = String, Path), ("partition" = i32, Path), ("offset" = i64, Path)), responses(
    (status = 200, body = DeadLetterDetail), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)
))]
pub(super) async fn get_dead_letter(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    coordinates: InPath<Coordinates>,
) -> Result<Json<DeadLetterDetail>, ApiError> {
    let (place, name) = at(coordinates)?;
    let work = async {
        let found = state.engine.dead_letter(&place).await?;
        let count = u64::from(found.is_some());
        Ok((found, Ended::rows(count)))
    };
    let found = state.during(from, asked_for("dead letter", Some(&name)), work).await?;
    found.map(Json).ok_or_else(|| not_there(&name))
}

/// Which bytes of a message.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BytesOf {
    /// Else its value.
    #[param(inline)]
    part: Option<Part>,
    /// Of `header`: which of them, counted from 0.
    number: Option<usize>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Part {
    Key,
    Value,
    Header,
}

/// A part of a dead letter, byte for byte: what a browser saves and never shows.
#[utoipa::path(get, path = "/api/v1/dead-letters/{topic}/{partition}/{offset}/bytes", tag = "pipeline",
    params(("topic" = String, Path), ("partition" = i32, Path), ("offset" = i64, Path), BytesOf), responses(
    (status = 200, description = "The bytes", content_type = "application/octet-stream"),
    (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)
))]
pub(super) async fn get_dead_letter_bytes(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    coordinates: InPath<Coordinates>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let ((place, name), BytesOf { part, number }) = (at(coordinates)?, in_query(&uri)?);
    let (part, called) = match (part, number) {
        (None | Some(Part::Value), None) => (MessagePart::Value, "value".to_owned()),
        (Some(Part::Key), None) => (MessagePart::Key, "key".to_owned()),
        (Some(Part::Header), Some(number)) => (MessagePart::Header(number), format!("header-{number}")),
        (Some(Part::Header), None) => return Err(ApiError::bad_request("say which header: number, from 0")),
        (_, Some(_)) => return Err(ApiError::bad_request("number is for part=header")),
    };
    let detail = serde_json::json!({ "part": called }).to_string();
    let work = async {
        let found = state.engine.dead_letter_bytes(&place, part).await?;
        let bytes = found.as_ref().map_or(0, Vec::len) as u64;
        Ok((found, Ended::bytes(bytes)))
    };
    let found = state.during(from, Activity { detail, ..asked_for("dead letter bytes", Some(&name)) }, work).await?;
    let bytes =
        found.ok_or_else(|| ApiError::not_found(format!("no dead letter with a {called} stands at {name:?}")))?;
    let file = format!("{}-{}-{}.{called}.bin", place.topic, place.partition, place.offset);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, super::attachment(&file)),
    ];
    Ok((headers, bytes).into_response())
}
