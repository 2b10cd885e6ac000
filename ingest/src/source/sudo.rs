//! `sudo`: the I/O log of a session, a directory of files.
//!
//! `log.json` (since 1.9) or `log` say who ran what, `timing` has a line for each thing that happened (manual pages
//! sudoers(5) and sudoreplay(8)), and the bytes are in one file for each stream. A record is one of the first two, or a
//! run of the others (see [`super::timing`]).

use std::borrow::Cow;

use custody_schemas::event::{Event, Kind, Text};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use custody_schemas::time::Micros;

use super::object::{Object, int, texts};
use super::timing::{self, Line, Run, What};
use super::{Sink, Source};

/// Form of the file `log.json`.
pub(crate) const LOG_JSON: &str = "sudo-log-json";
/// Form of the file `log`.
pub(crate) const LOG: &str = "sudo-log";
/// Form of a file `log` beside a `log.json` that says the same and more: it is kept, and decoded into nothing.
pub(crate) const LOG_COPY: &str = "sudo-log-copy";
/// Form of a run.
pub(crate) const RUN: &str = "sudo-run";

/// The streams, each in a file of its name; a timing line names them by their number.
pub(crate) const STREAMS: [&str; 5] = ["stdin", "stdout", "stderr", "ttyin", "ttyout"];

/// Seconds since 1970 beyond which a time is not an instant (the end of the year 9999).
const SECONDS_MAX: i64 = 253_402_300_799;

/// A line of a timing file: `TYPE DELAY ARGUMENTS`.
pub(crate) fn line(line: &[u8]) -> Result<Line<'_>, &'static str> {
    let [kind, delay, rest] = timing::words(line);
    let what = match kind {
        b"0" => bytes("stdin", Code::Input, rest)?,
        b"1" => bytes("stdout", Code::Output, rest)?,
        b"2" => bytes("stderr", Code::Output, rest)?,
        b"3" => bytes("ttyin", Code::Input, rest)?,
        b"4" => bytes("ttyout", Code::Output, rest)?,
        b"5" => {
            // Rows come first.
            let [rows, cols] = timing::words(rest);
            let size = timing::number(rows).zip(timing::number(cols.trim_ascii_end()));
            let (rows, cols) = size.ok_or("rows and columns were expected")?;
            What::Resize { cols, rows }
        }
        b"6" => return Err("type 6 is of sudo 1.8.7, whose types mean something else"),
        b"7" => What::Signal(rest.trim_ascii_end()),
        _ => return Err("a type from 0 to 7 was expected"),
    };
    Ok(Line { delay_ns: timing::delay_ns(delay), what })
}

fn bytes(stream: &'static str, code: Code, len: &[u8]) -> Result<What<'static>, &'static str> {
    let len = timing::number(len.trim_ascii_end()).ok_or("a number of bytes was expected")?;
    Ok(What::Bytes { stream, code, len })
}

/// Decodes one part of a log.
pub(super) fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let form = super::form(message).and_then(|form| std::str::from_utf8(form).ok()).unwrap_or_default();
    let session = source
        .session_id_of_message(message)
        .ok_or_else(|| DecodeError::new(ErrorKind::NoSessionId, "neither a header nor the key names the session"))?;
    let value = message.value.unwrap_or_default();
    let text = || std::str::from_utf8(value).map_err(|_| DecodeError::new(ErrorKind::InvalidUtf8, "not UTF-8"));
    match form {
        LOG_JSON => log_json(&session, text()?, sink),
        LOG => log(&session, &String::from_utf8_lossy(value), sink),
        LOG_COPY => Ok(()),
        RUN => Run::of(message)?.play(&session, line, sink, |_, _| None).result(|_| false),
        timing::REST => Err(DecodeError::new(ErrorKind::UnexpectedShape, "bytes that no timing line tells of")),
        _ => Err(DecodeError::new(ErrorKind::UnexpectedShape, "not a part of a sudo I/O log")),
    }
}

/// `log.json`. The environment of the command may hold secrets of any kind, and everyone who may read events would see
/// them: it stays in the record.
fn log_json(session: &str, json: &str, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let Some(mut log) = Object::parse(json) else {
        return Err(DecodeError::new(ErrorKind::InvalidJson, "`log.json` is not an object"));
    };
    log.take("runenv");
    let at = log.json("timestamp").and_then(|json| {
        let time = Object::parse(json)?;
        let seconds = int(time.json("seconds")?).filter(|seconds| (1..=SECONDS_MAX).contains(seconds))?;
        let nanos = time.json("nanoseconds").and_then(int).filter(|nanos| (0..1_000_000_000).contains(nanos))?;
        Some(seconds * 1_000_000 + nanos / 1000)
    });
    if at.is_some() {
        log.take("timestamp");
    }
    let size = [log.json("columns").and_then(int), log.json("lines").and_then(int)];
    // The command's own name for itself may be another than its path, so the list stays in the detail.
    let arguments = log.json("runargv").and_then(texts_as_they_stand).unwrap_or_default();
    let command = log.text("command").map(|command| match arguments.split_first() {
        None | Some((_, [])) => command,
        Some((_, rest)) => Cow::Owned(format!("{command} {}", rest.join(" "))),
    });
    let event = Event {
        actor: log.text("submituser"),
        login: log.text("runuser"),
        target: log.text("submithost"),
        action: command,
        ..start(session, at)
    };
    let event = Event { target_kind: event.target.is_some().then_some("node".into()), detail: log.detail()?, ..event };
    sink.event(&event);
    if let [Some(cols), Some(rows)] = size {
        resize(session, cols, rows, sink);
    }
    match at {
        Some(_) => Ok(()),
        None => Err(DecodeError::new(ErrorKind::InvalidField, "`timestamp` should have seconds and nanoseconds")),
    }
}

/// The texts of a list, the empty ones too: each is an argument.
fn texts_as_they_stand(json: &str) -> Option<Vec<String>> {
    texts(json)?;
    serde_json::from_str(json).ok()
}

/// `log`: `TIME:USER:RUN-AS USER:RUN-AS GROUP:TERMINAL:LINES:COLUMNS`, the directory, the command with its arguments.
fn log(session: &str, text: &str, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let mut lines = text.lines();
    let first: Vec<&str> = lines.next().unwrap_or_default().split(':').collect();
    // Before 1.8 the size was not written.
    let ([time, user, runas_user, runas_group, tty], size) = first.split_first_chunk().ok_or_else(|| {
        DecodeError::new(ErrorKind::UnexpectedShape, "five fields with colons between them were expected")
    })?;
    let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let at = time.parse::<i64>().ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    let cwd = lines.next().and_then(said);
    let detail: std::collections::BTreeMap<_, _> = [
        ("runas_group", said(runas_group)),
        ("submitcwd", cwd),
        ("ttyname", said(tty)),
        ("lines", size.first().copied().and_then(said)),
        ("columns", size.get(1).copied().and_then(said)),
        ("timestamp", said(time).filter(|_| at.is_none())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    sink.event(&Event {
        actor: said(user).map(Text::Owned),
        login: said(runas_user).map(Text::Owned),
        action: lines.next().and_then(said).map(Text::Owned),
        detail: serde_json::json!(detail).to_string(),
        ..start(session, at.map(|seconds| seconds * 1_000_000))
    });
    if let [rows, cols, ..] = size
        && let (Ok(rows), Ok(cols)) = (rows.parse(), cols.parse())
    {
        resize(session, cols, rows, sink);
    }
    match at {
        Some(_) => Ok(()),
        None => Err(DecodeError::new(ErrorKind::InvalidField, "the time should be a number of seconds since 1970")),
    }
}

fn start(session: &str, at: Option<Micros>) -> Event<'_> {
    Event {
        event_id: Cow::Owned(format!("sudo/{session}/start")),
        occurred_at: at,
        kind: Kind::SessionStart,
        source_type: Cow::Borrowed("sudo.log"),
        session_id: Some(Cow::Borrowed(session)),
        ..Event::default()
    }
}

/// The size at the start comes before all lines.
fn resize(session: &str, cols: i64, rows: i64, sink: &mut dyn Sink) {
    let data = Cow::Owned(format!("{cols}x{rows}").into_bytes());
    let piece = timing::piece(session, Clock::Interval, Code::Resize, 0, data);
    sink.piece(&Piece { time_us: Some(0), ..piece });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceKind;
    use crate::source::testing::{Decoded, decoded_message, message};

    #[test]
    fn lines_are_read_and_rows_come_first() {
        let bytes = |stream, code, len| Ok(What::Bytes { stream, code, len });
        let cases: &[(&str, Result<What<'_>, ()>)] = &[
            ("0 0.000908508 14", bytes("stdin", Code::Input, 14)),
            ("1 0.002006895 14", bytes("stdout", Code::Output, 14)),
            ("2 0.000182587 4", bytes("stderr", Code::Output, 4)),
            ("3 0.987814868 1", bytes("ttyin", Code::Input, 1)),
            ("4 0.003027413 18", bytes("ttyout", Code::Output, 18)),
            ("5 0.324739370 40 140", Ok(What::Resize { cols: 140, rows: 40 })),
            ("5 0.324739370 40", Err(())),
            ("6 0.1 3", Err(())),
            ("7 0.002850082 TSTP", Ok(What::Signal(b"TSTP"))),
            ("8 0.1 3", Err(())),
            ("40 0.1 3", Err(())),
            ("4 0.1 -3", Err(())),
            ("4 0.1", Err(())),
            ("", Err(())),
        ];
        for (text, expected) in cases {
            assert_eq!(line(text.as_bytes()).map(|line| line.what).map_err(drop), *expected, "{text}");
        }
    }

    fn part(form: &str, value: &str) -> Decoded {
        let headers = [(crate::source::FORM_HEADER, Some(form.as_bytes()))];
        decoded_message(SourceKind::Sudo, &Message { headers: &headers, ..message(Some("s-1"), value.as_bytes()) })
    }

    #[test]
    fn both_logs_tell_of_the_same_start() {
        let json = part(
            LOG_JSON,
            r#"{"timestamp":{"seconds":1603746837,"nanoseconds":16450063},"submituser":"amy","runuser":"root",
                "command":"/usr/bin/id","runargv":["id","","-u"],"columns":80,"lines":24,"runenv":["TOKEN=hunter2"]}"#,
        );
        let text = part(LOG, "1603746837:amy:root::/dev/pts/1:24:80\n/home/amy\n/usr/bin/id  -u\n");
        for out in [&json, &text] {
            assert_eq!(out.error, None);
            let event = &out.events[0];
            assert_eq!(
                [&event["event_id"], &event["actor"], &event["login"], &event["action"]],
                ["sudo/s-1/start", "amy", "root", "/usr/bin/id  -u"]
            );
            assert_eq!((out.pieces[0]["data"].as_str(), out.pieces[0]["seq"].as_i64()), (Some("80x24"), Some(0)));
            assert!(!event.to_string().contains("hunter2"));
        }
        assert_eq!(json.events[0]["occurred_at"], "2020-10-26T21:13:57.016450Z");
        assert_eq!(text.events[0]["occurred_at"], "2020-10-26T21:13:57.000000Z");
        let copy = part(LOG_COPY, "1603746837:amy:root::/dev/pts/1:24:80\n/home/amy\n/usr/bin/id\n");
        assert_eq!((copy.error, copy.events.len(), copy.pieces.len()), (None, 0, 0));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_not_quoted() {
        use ErrorKind::*;
        let cases: &[(&str, &str, ErrorKind, usize)] = &[
            (LOG_JSON, "hunter2", InvalidJson, 0),
            (LOG_JSON, r#"{"command":"hunter2"}"#, InvalidField, 1),
            (LOG_JSON, r#"{"command":"a","timestamp":{"seconds":-1,"nanoseconds":0}}"#, InvalidField, 1),
            (LOG, "hunter2", UnexpectedShape, 0),
            (LOG, "soon:amy:root::tty\n/\nls\n", InvalidField, 1),
            (RUN, "4 0.1 2\nab", MissingField, 0),
            (timing::REST, "hunter2", UnexpectedShape, 0),
            ("", "hunter2", UnexpectedShape, 0),
        ];
        for (form, value, error, events) in cases {
            let out = part(form, value);
            assert_eq!((out.error, out.events.len()), (Some(*error), *events), "{form} {value}");
            assert!(!out.error_detail.contains("hunter2"), "{form} {value}");
        }
    }
}
