//! One line of an asciicast stream, version 2 or 3, read by itself.

use std::borrow::Cow;

use asciicast_rs::{Streamable, V2, V3, v2, v3};
use custody_schemas::frame::Code;
use serde_json::Value;
use thiserror::Error;

use crate::header::{self, Version};

/// Seconds above this are not times that a recorder meant.
const SECONDS_MAX: f64 = 1e9;

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// The first line of a stream.
    Header {
        /// How the times of the lines after it are to be read.
        version: Version,
        /// Number of columns as recorded; 0 when the recorder did not know.
        cols: u16,
        /// Number of rows as recorded; 0 when the recorder did not know.
        rows: u16,
    },
    /// An event.
    Event {
        /// The line's number in microseconds, rounded to the nearest: since the start in version 2, since the line
        /// before in version 3. From 0 to 10^15.
        time_us: i64,
        /// Output, input, resize, marker or exit.
        code: Code,
        /// Its text; of a resize `COLSxROWS`, of an exit the status in decimal.
        data: Cow<'a, str>,
    },
    /// An event with a code that is not known. It shows nothing, but in version 3 its time counts, so it has to be
    /// kept as a piece of [`Code::Other`].
    Other {
        /// As in [`Line::Event`].
        time_us: i64,
    },
    /// A comment or an empty line: nothing, and no time.
    Skip,
}

/// Why a line cannot be read.
#[derive(Debug, Error)]
pub enum LineError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The text is not JSON, or cut short.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but neither a header nor an event.
    #[error("neither an asciicast header nor an event: {0}")]
    WrongShape(String),
    /// The time is negative, not finite or above 10^9 seconds.
    #[error("the time is not between 0 and 10^9 seconds")]
    BadTime,
    /// The first line of an asciicast 1 file, which is one document and not a stream of lines.
    #[error("asciicast version 1 is a file, not a stream of lines")]
    Version1,
    /// A version of asciicast that does not exist yet.
    #[error("asciicast version {0} is not known")]
    Version(u64),
}

impl From<serde_json::Error> for LineError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Data => Self::WrongShape(error.to_string()),
            _ => Self::NotJson(error.to_string()),
        }
    }
}

/// Reads one line of an asciicast 2 or 3 stream, with or without its line end.
///
/// A line is understood without those before it: an object is a header, an array an event of either version, and `#`
/// begins a comment (which version 2 does not have, and where it would be an error).
///
/// # Errors
///
/// See [`LineError`].
pub fn parse_line(line: &[u8]) -> Result<Line<'_>, LineError> {
    let line = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?.trim();
    match line.as_bytes().first() {
        None | Some(b'#') => Ok(Line::Skip),
        Some(b'{') => {
            let (version, size, _) = header::read(line)?;
            Ok(Line::Header { version, cols: size.cols, rows: size.rows })
        }
        Some(_) => parse_event(line),
    }
}

fn parse_event(line: &str) -> Result<Line<'_>, LineError> {
    let (seconds, payload) = match V3::parse_event(line) {
        Ok(v3::Event { interval, payload }) => (interval, payload),
        // Version 2 allows any data with a code of one's own.
        Err(strict) => match V2::parse_event(line) {
            Ok(v2::Event { time, payload: v2::EventPayload::Unknown { code, data } }) => {
                (time, unknown(code, &data).ok_or_else(|| refused(line, strict))?)
            }
            _ => return Err(refused(line, strict)),
        },
    };
    let time_us = micros(seconds).ok_or(LineError::BadTime)?;
    let (code, data) = match payload {
        v3::EventPayload::Output(text) => (Code::Output, text),
        v3::EventPayload::Input(text) => (Code::Input, text),
        v3::EventPayload::Marker(label) => (Code::Marker, label),
        v3::EventPayload::Resize(size) => (Code::Resize, format!("{}x{}", size.cols, size.rows)),
        v3::EventPayload::Exit(status) => (Code::Exit, status.code().to_string()),
        _ => return Ok(Line::Other { time_us }),
    };
    Ok(Line::Event { time_us, code, data: Cow::Owned(data) })
}

/// An event that version 3 refuses and version 2 does not know. An exit has to have a status; the rest may be anything.
fn unknown(code: String, data: &Value) -> Option<v3::EventPayload> {
    (code != "x").then(|| v3::EventPayload::Unknown { code, data: data.to_string() })
}

/// Microseconds of a number of seconds; `None` when it is negative, not finite or too large.
pub fn micros(seconds: f64) -> Option<i64> {
    let possible = seconds.is_sign_positive() && seconds <= SECONDS_MAX;
    // At most 10^15, which an f64 holds exactly.
    possible.then(|| (seconds * 1e6).round() as i64)
}

/// The parser says in prose what was wrong with a time, so the number is looked at again.
fn refused(line: &str, error: asciicast_rs::Error) -> LineError {
    let number = line.strip_prefix('[').and_then(|rest| rest.split(',').next()?.trim().parse::<f64>().ok());
    if number.is_some_and(|seconds| micros(seconds).is_none()) {
        return LineError::BadTime;
    }
    match error {
        // What a list has too much is no fault of the JSON, but the parser takes it for one.
        asciicast_rs::Error::Json(error) if serde_json::from_str::<Value>(line).is_ok() => {
            LineError::WrongShape(error.to_string())
        }
        asciicast_rs::Error::Json(error) => error.into(),
        other => LineError::WrongShape(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Is = fn(&LineError) -> bool;

    fn event(time_us: i64, code: Code, data: &'static str) -> Line<'static> {
        Line::Event { time_us, code, data: data.into() }
    }

    #[test]
    fn lines_of_both_versions_are_read() {
        let cases: &[(&[u8], Line<'_>)] = &[
            (br#"{"version":2,"width":80,"height":24}"#, Line::Header { version: Version::V2, cols: 80, rows: 24 }),
            (
                b"{\"version\":3,\"term\":{\"cols\":100,\"rows\":0}}\r\n",
                Line::Header { version: Version::V3, cols: 100, rows: 0 },
            ),
            (b"[1.2345674, \"o\", \"hi\\u001b[m\"]\n", event(1_234_567, Code::Output, "hi\x1b[m")),
            (br#"[1,"i","\r"]"#, event(1_000_000, Code::Input, "\r")),
            (br#"[0,"r","120x40"]"#, event(0, Code::Resize, "120x40")),
            (br#"[0.0000005,"m",""]"#, event(1, Code::Marker, "")),
            (br#"[1e9,"x","3"]"#, event(1_000_000_000_000_000, Code::Exit, "3")),
            (br#"[0.5,"z","any"]"#, Line::Other { time_us: 500_000 }),
            (br#"[0.5,"zoom",{"x":[1]}]"#, Line::Other { time_us: 500_000 }),
            (b"", Line::Skip),
            (b" \t\r\n", Line::Skip),
            (b"# a comment", Line::Skip),
        ];
        for (line, expected) in cases {
            let parsed = parse_line(line).unwrap_or_else(|e| panic!("{}: {e}", line.escape_ascii()));
            assert_eq!(parsed, *expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let cases: &[(&[u8], Is)] = &[
            (b"[1.0,\"o\",\"\xff\"]", |e| matches!(e, LineError::NotUtf8)),
            (b"lol!", |e| matches!(e, LineError::NotJson(_))),
            (br#"[1.0,"o","cut"#, |e| matches!(e, LineError::NotJson(_))),
            (br#"[1.0,"o","\ud800"]"#, |e| matches!(e, LineError::NotJson(_))),
            (b"42", |e| matches!(e, LineError::WrongShape(_))),
            (br#"["2.0","o","x"]"#, |e| matches!(e, LineError::WrongShape(_))),
            (br#"[2.0,5,"x"]"#, |e| matches!(e, LineError::WrongShape(_))),
            (br#"[2.0,"","x"]"#, |e| matches!(e, LineError::WrongShape(_))),
            (br#"[2.0,"o",true]"#, |e| matches!(e, LineError::WrongShape(_))),
            (br#"[2.0,"o","x",4]"#, |e| matches!(e, LineError::WrongShape(_))),
            (br#"[2.0,"o"]"#, |e| matches!(e, LineError::WrongShape(_))),
            (br#"[2.0,"r","-1x0"]"#, |e| matches!(e, LineError::WrongShape(_))),
            (br#"[2.0,"x","killed"]"#, |e| matches!(e, LineError::WrongShape(_))),
            (br#"[-1.0,"o","x"]"#, |e| matches!(e, LineError::BadTime)),
            (br#"[-0.0,"o","x"]"#, |e| matches!(e, LineError::BadTime)),
            (br#"[1e400,"o","x"]"#, |e| matches!(e, LineError::BadTime)),
            (br#"[1000000001,"o","x"]"#, |e| matches!(e, LineError::BadTime)),
            (br#"{"version":1,"width":80,"height":24,"stdout":[]}"#, |e| matches!(e, LineError::Version1)),
        ];
        for (line, expected) in cases {
            let error = parse_line(line).expect_err(&line.escape_ascii().to_string());
            assert!(expected(&error), "{}: {error}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn prop_any_bytes_are_a_line_or_an_error(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_line(&line);
        }

        #[test]
        fn prop_any_array_is_a_line_or_an_error(
            number in r"-?[0-9]{1,20}(\.[0-9]{1,9})?(e[0-9]{1,3})?",
            code in "[oirmxz]",
            data in r#"[a-zé\\"0-9x-]{0,9}"#,
        ) {
            let line = format!(r#"[{number},"{code}","{data}"]"#);
            if let Ok(Line::Event { time_us, .. } | Line::Other { time_us }) = parse_line(line.as_bytes()) {
                prop_assert!((0..=1_000_000_000_000_000).contains(&time_us));
            }
        }
    }
}
