//! Custody's own stream: the lines of an asciicast, one message or more of them a message.
//!
//! Any gateway, and any script around a terminal, can write it; the contract is `schemas/topics/asciicast.md`, the
//! format of the lines that of asciinema's asciicast versions 2 and 3. Besides the pieces of the recording, a stream's
//! header and its exit are events, so that such a session is found even where nothing else tells of it.
//!
//! Files of asciinema are read from the same lines; a file of version 1 is one document and one record.

use std::borrow::Cow;
use std::fmt;

use custody_replay::line::{Line, LineError, micros, parse_line};
use custody_schemas::event::{Event, Kind};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use custody_schemas::time::Micros;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::object::{Object, int};
use super::{Sink, Source, timing};

/// Bound on the lines of one message. A line's position in its stream is the offset of its message times this, plus its
/// number in the message.
pub(crate) const LINES_MAX: i64 = 4096;

/// Form of a file of version 1.
pub(crate) const VERSION_1: &str = "asciicast-v1";
/// Form of a part of a line that is too long for a record: it is kept, and decoded into nothing.
pub(crate) const LINE_PART: &str = "asciicast-line-part";

/// Seconds since 1970 beyond which a header's timestamp is not an instant (the end of the year 9999).
const TIMESTAMP_MAX: i64 = 253_402_300_799;

/// Decodes one message of an asciicast topic.
pub(super) fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let form = super::form(message).unwrap_or_default();
    if form == LINE_PART.as_bytes() {
        return Err(DecodeError::new(ErrorKind::TooLarge, "a part of a line that is too long"));
    }
    let value = message.value.unwrap_or_default().trim_ascii();
    if value.is_empty() {
        return Err(DecodeError::new(ErrorKind::Empty, "no value"));
    }
    let session_id = source
        .session_id_of_message(message)
        .ok_or_else(|| DecodeError::new(ErrorKind::NoSessionId, "neither a header nor the key names the session"))?;
    if form == VERSION_1.as_bytes() {
        return version_1(&session_id, message.broker_at, value, sink);
    }
    let first_seq = message.origin.offset.checked_mul(LINES_MAX).ok_or_else(|| {
        DecodeError::new(ErrorKind::InvalidField, "the offset leaves no room for the positions of lines")
    })?;
    let mut result = Ok(());
    for (line, number) in value.split(|byte| *byte == b'\n').zip(0..) {
        if number == LINES_MAX {
            let error = DecodeError::new(ErrorKind::TooLarge, format!("more than {LINES_MAX} lines in one message"));
            return result.and(Err(error));
        }
        let read = parse_line(line).map_err(|error| refusal(&error, number));
        // The first error is kept; the lines after it are read nevertheless.
        result = result.and(read.map(|line_read| {
            take(&session_id, message, first_seq + number, line, line_read, sink);
        }));
    }
    result
}

/// The error of a line, without its text.
fn refusal(error: &LineError, number: i64) -> DecodeError {
    let (kind, what) = match error {
        LineError::NotUtf8 => (ErrorKind::InvalidUtf8, "is not UTF-8"),
        LineError::NotJson(_) => (ErrorKind::InvalidJson, "is not JSON, or is cut off"),
        LineError::BadTime => (ErrorKind::InvalidField, "has a time that is none"),
        LineError::Version1 | LineError::Version(_) => (ErrorKind::UnexpectedShape, "is of a version that is not read"),
        LineError::WrongShape(_) => (ErrorKind::UnexpectedShape, "is neither a header nor an event"),
    };
    DecodeError::new(kind, format!("line {} {what}", number + 1))
}

fn take(session: &str, message: &Message<'_>, seq: i64, json: &[u8], line: Line<'_>, sink: &mut dyn Sink) {
    let at = message.broker_at;
    let piece = |code, time_us, data| Piece {
        session_id: Cow::Borrowed(session),
        // A line does not say from which instance it is; only a header may, in its event.
        cluster: None,
        channel: None,
        clock: Clock::AsciicastLine,
        code,
        seq,
        time_us,
        at,
        position: None,
        data,
    };
    match line {
        Line::Skip => {}
        Line::Header { .. } => {
            let json = json.trim_ascii();
            // The line has been read as JSON: it is text.
            if let Some(event) = std::str::from_utf8(json).ok().and_then(|json| start(session, json, at)) {
                sink.event(&event);
            }
            sink.piece(&piece(Code::Header, None, Cow::Borrowed(json)));
        }
        Line::Event { time_us, code, data } => {
            if code == Code::Exit {
                sink.event(&end(session, &data, at));
            }
            let bytes = match data {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
            sink.piece(&piece(code, Some(time_us), bytes));
        }
        Line::Other { time_us } => sink.piece(&piece(Code::Other, Some(time_us), Cow::Borrowed(b""))),
    }
}

/// The beginning of a session, from the header of its stream. Whoever writes the stream may say in the header's
/// `custody` who is in it, and why.
fn start<'a>(session: &'a str, header: &'a str, at: Option<Micros>) -> Option<Event<'a>> {
    let mut header = Object::parse(header)?;
    let seconds = header.json("timestamp").and_then(int).filter(|seconds| (1..=TIMESTAMP_MAX).contains(seconds));
    if seconds.is_some() {
        header.take("timestamp");
    }
    let mut event = Event {
        event_id: Cow::Owned(format!("asciicast/{session}/start")),
        occurred_at: seconds.map(|seconds| seconds * 1_000_000).or(at),
        kind: Kind::SessionStart,
        source_type: Cow::Borrowed("asciicast.header"),
        action: header.text("command"),
        session_id: Some(Cow::Borrowed(session)),
        ..Event::default()
    };
    if let Some(mut custody) = header.json("custody").and_then(Object::parse) {
        event.cluster = custody.text("cluster");
        event.actor = custody.text("user");
        event.login = custody.text("login");
        event.target = custody.text("target");
        event.target_kind = event.target.is_some().then_some("target".into());
        event.protocol = custody.text("protocol");
        event.request_ids = custody.texts("request_ids");
        event.reason = custody.text("reason");
        event.ticket = custody.text("ticket");
    }
    // A header that is nested beyond all reason is kept as a piece, but is no event.
    event.detail = header.detail().ok()?;
    Some(event)
}

/// The end of a session, from the exit of its program.
fn end<'a>(session: &'a str, status: &str, at: Option<Micros>) -> Event<'a> {
    Event {
        event_id: Cow::Owned(format!("asciicast/{session}/end")),
        occurred_at: at,
        kind: Kind::SessionEnd,
        source_type: Cow::Borrowed("asciicast.exit"),
        session_id: Some(Cow::Borrowed(session)),
        // The status of an exit is a number in decimal.
        detail: format!(r#"{{"exit_status":{}}}"#, int(status).unwrap_or_default()),
        ..Event::default()
    }
}

/// A file of version 1: an object whose `stdout` is a list of `[delay, text]`. It is read once, event by event, so that
/// one that was cut off is read as far as it goes.
fn version_1(session: &str, at: Option<Micros>, value: &[u8], sink: &mut dyn Sink) -> Result<(), DecodeError> {
    // Bytes that are not UTF-8 cost themselves.
    let text = String::from_utf8_lossy(value);
    let is_utf8 = matches!(text, Cow::Borrowed(_));
    let mut file = Version1 { session, sink, header: Vec::new(), cols: None, rows: None, events: 0, error: None };
    if !is_utf8 {
        file.fail(ErrorKind::InvalidUtf8, "not UTF-8");
    }
    let mut json = serde_json::Deserializer::from_str(&text);
    if let Err(error) = json.deserialize_map(&mut file).and_then(|()| json.end()) {
        let DecodeError { kind, .. } = refusal(&error.into(), 0);
        file.fail(kind, "not an asciicast of version 1, or cut off");
    }
    let header = format!("{{{}}}", file.header.join(","));
    match Object::parse(&header).and_then(|header| header.json("version").and_then(int)) {
        Some(1) if file.cols.is_none() || file.rows.is_none() => file.fail(ErrorKind::MissingField, "no size"),
        Some(1) => {}
        _ => file.fail(ErrorKind::UnexpectedShape, "of a version that is not read"),
    }
    if let Some(event) = start(session, &header, at) {
        file.sink.event(&event);
    }
    file.error.map_or(Ok(()), Err)
}

/// Reads a file of version 1. Its events are pieces with a `seq` from 1; the size is the piece 0.
struct Version1<'s> {
    session: &'s str,
    sink: &'s mut dyn Sink,
    /// The fields without the events, as JSON.
    header: Vec<String>,
    cols: Option<u64>,
    rows: Option<u64>,
    /// Number of events so far.
    events: i64,
    error: Option<DecodeError>,
}

impl Version1<'_> {
    fn fail(&mut self, kind: ErrorKind, detail: impl Into<String>) {
        self.error.get_or_insert_with(|| DecodeError::new(kind, detail));
    }

    fn field(&mut self, name: &str, json: &str) {
        self.header.push(format!("{}:{json}", serde_json::Value::from(name)));
        let size = match name {
            "width" => &mut self.cols,
            "height" => &mut self.rows,
            _ => return,
        };
        *size = json.parse().ok();
        if let (Some(cols), Some(rows)) = (self.cols, self.rows) {
            self.piece(Code::Resize, 0, Some(0), format!("{cols}x{rows}"));
        }
    }

    /// The event that is `number`, from 1. An event without a time that can be is still text that was shown.
    fn event(&mut self, number: i64, json: &str) {
        match serde_json::from_str::<(&RawValue, String)>(json) {
            Ok((delay, text)) => {
                let delay_us = delay.get().parse().ok().and_then(micros);
                if delay_us.is_none() {
                    self.fail(ErrorKind::InvalidField, format!("event {number} has a delay that is none"));
                }
                self.piece(Code::Output, number, delay_us, text);
            }
            Err(_) => self.fail(ErrorKind::UnexpectedShape, format!("event {number} is not a delay and a text")),
        }
    }

    fn piece(&mut self, code: Code, seq: i64, time_us: Option<i64>, data: String) {
        let piece = timing::piece(self.session, Clock::Interval, code, seq, Cow::Owned(data.into_bytes()));
        self.sink.piece(&Piece { time_us, ..piece });
    }
}

impl<'de> Visitor<'de> for &mut Version1<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an asciicast of version 1")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "stdout" => map.next_value_seed(Events(self))?,
                _ => self.field(&name, map.next_value::<&RawValue>()?.get()),
            }
        }
        Ok(())
    }
}

/// The list of events.
struct Events<'e, 's>(&'e mut Version1<'s>);

impl<'de> DeserializeSeed<'de> for Events<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(event) = list.next_element::<&RawValue>()? {
            self.0.events += 1;
            self.0.event(self.0.events, event.get());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::source::SourceKind;
    use crate::source::testing::{Decoded, check_example, decoded_message, example, message, mutated};

    fn asciicast(value: impl AsRef<[u8]>) -> Decoded {
        decoded_message(SourceKind::Asciicast, &message(Some("s-1"), value.as_ref()))
    }

    #[test]
    fn the_contracts_examples_are_decoded_as_it_says() {
        check_example(SourceKind::Asciicast, "asciicast-lines.ndjson", Some("warehouse-20260302-1"));
        check_example(SourceKind::Asciicast, "asciicast-batch.cast", Some("warehouse-20260302-2"));
    }

    #[test]
    fn lines_of_a_message_keep_their_order_and_a_bad_one_costs_itself() {
        let out = asciicast("[0,\"o\",\"a\"]\nnonsense\n[0,\"z\",\"?\"]\n\n[1,\"o\",\"b\"]\n");
        let seqs: Vec<_> = out.pieces.iter().map(|piece| piece["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, [7 * 4096, 7 * 4096 + 2, 7 * 4096 + 4]);
        assert_eq!(out.pieces[1]["code"], "?");
        assert_eq!(out.output, b"ab");
        assert_eq!(out.error, Some(ErrorKind::InvalidJson));
        assert_eq!(out.error_detail, "line 2 is not JSON, or is cut off");
    }

    #[test]
    fn errors_are_of_their_kind_and_quote_nothing() {
        use ErrorKind::*;
        let cases: &[(&str, &[u8], ErrorKind)] = &[
            ("empty", b" \n", Empty),
            ("not JSON", b"hunter2", InvalidJson),
            ("not UTF-8", b"[0,\"o\",\"\xff\"]", InvalidUtf8),
            ("shape", br#"[0,"hunter2"]"#, UnexpectedShape),
            ("type", br#"["hunter2","o","x"]"#, UnexpectedShape),
            ("time", br#"[-1,"o","hunter2"]"#, InvalidField),
            ("version", br#"{"version":9,"title":"hunter2"}"#, UnexpectedShape),
        ];
        for (name, value, expected) in cases {
            let out = asciicast(value);
            assert_eq!(out.error, Some(*expected), "{name}");
            assert!(!out.error_detail.contains("hunter2"), "{name}: {}", out.error_detail);
        }
        let out = decoded_message(SourceKind::Asciicast, &message(None, br#"[0,"o","x"]"#));
        assert_eq!((out.error, out.pieces.len()), (Some(NoSessionId), 0));
        let mut beyond = message(Some("s-1"), br#"[0,"o","x"]"#);
        beyond.origin.offset = i64::MAX / 4096 + 1;
        assert_eq!(decoded_message(SourceKind::Asciicast, &beyond).error, Some(InvalidField));
    }

    #[test]
    fn the_number_of_lines_is_bounded() {
        let lines = "[0,\"o\",\"x\"]\n".repeat(LINES_MAX as usize + 1);
        let out = asciicast(lines);
        assert_eq!((out.pieces.len(), out.error), (LINES_MAX as usize, Some(ErrorKind::TooLarge)));
    }

    #[test]
    fn a_header_without_a_usable_time_began_when_the_broker_says() {
        for (timestamp, expected) in [
            (json!(1_772_439_000), "2026-03-02T08:10:00.000000Z"),
            (json!("1772439000"), "2026-03-02T08:10:00.000000Z"),
            (json!(0), "2025-06-02T09:00:00.000000Z"),
            (json!(i64::MAX), "2025-06-02T09:00:00.000000Z"),
            (json!("noon"), "2025-06-02T09:00:00.000000Z"),
        ] {
            let out = asciicast(json!({"version": 2, "width": 1, "height": 1, "timestamp": timestamp}).to_string());
            assert_eq!(out.events[0]["occurred_at"], expected, "{timestamp}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = asciicast(&bytes);
        }

        #[test]
        fn damaged_messages_do_no_harm(
            value in mutated([example("asciicast-lines.ndjson"), example("asciicast-batch.cast")].concat())
        ) {
            let _ = asciicast(&value);
        }
    }
}
