//! All of a recording, one JSON object a line.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use custody_schemas::time::to_rfc3339;
use serde::Serialize;

use crate::header::Header;
use crate::recording::{Cut, Recording, State, Timed};
use crate::size::Size;

/// The first line.
#[derive(Serialize)]
struct Head<'a> {
    session_id: &'a str,
    size: Size,
    duration_us: i64,
    started_at: Option<String>,
    ended: bool,
    state: State,
    findings: Vec<Found>,
    duplicates: usize,
    header: &'a Header,
    cut: Option<Part<'a>>,
}

#[derive(Serialize)]
struct Found {
    time_us: Option<i64>,
    text: String,
}

#[derive(Serialize)]
struct Part<'a> {
    #[serde(flatten)]
    cut: Cut,
    screen: Option<Data<'a>>,
}

/// Any other line.
#[derive(Serialize)]
struct Line<'a> {
    time_us: i64,
    at: Option<String>,
    code: char,
    #[serde(flatten)]
    data: Data<'a>,
}

/// Bytes.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Data<'a> {
    Text(&'a str),
    Base64(String),
}

impl<'a> From<&'a [u8]> for Data<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(|_| Self::Base64(BASE64.encode(bytes)), Self::Text)
    }
}

/// Writes all that is known of a recording as lines of JSON; nothing is lost, whatever the bytes are.
///
/// The first line is about the recording:
///
/// ```json
/// {"session_id": "…", "size": {"cols": 80, "rows": 24}, "duration_us": 97342235,
///  "started_at": "2026-11-21T02:19:27.000000Z", "ended": true, "state": "complete", "findings": [], "duplicates": 0,
///  "header": {"title": null, …}, "cut": null}
/// ```
///
/// `started_at` is null where nothing says it; `state` is one of `complete`, `unfinished`, `incomplete`; a finding has
/// `time_us` (null when it is about all of the recording) and `text`. Of a part of a recording `cut` is what [`Cut`] tells,
/// and `screen`: the escape sequences that make an empty terminal what it was at the beginning of the part, which were not
/// recorded (null where the part begins at the start).
///
/// Each other line is an event, with the character of its [code](custody_schemas::frame::Code):
///
/// ```json
/// {"time_us": 1253000, "at": "2026-11-21T02:19:28.253000Z", "code": "o", "text": "$ ls\r\n"}
/// ```
///
/// `at` is null where the source gave no wall clock. Bytes that are not UTF-8 stand in `base64` instead of `text`.
///
/// # Errors
///
/// Those of `out`.
pub fn json(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    let findings = recording.findings.iter();
    let screen = recording.init().map(|init| init.data.as_slice().into());
    let head = Head {
        session_id: &recording.session_id,
        size: recording.size,
        duration_us: recording.duration_us,
        started_at: recording.started_at.map(to_rfc3339),
        ended: recording.ended,
        state: recording.state(),
        findings: findings.map(|found| Found { time_us: found.at_us(), text: found.to_string() }).collect(),
        duplicates: recording.duplicates,
        header: &recording.header,
        cut: recording.cut.map(|cut| Part { cut, screen }),
    };
    write_line(&head, out)?;
    for Timed { time_us, at, code, data } in recording.recorded() {
        let (at, data) = (at.map(to_rfc3339), data.as_slice().into());
        write_line(&Line { time_us: *time_us, at, code: code.as_char(), data }, out)?;
    }
    Ok(())
}

fn write_line(line: &impl Serialize, out: &mut impl io::Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
