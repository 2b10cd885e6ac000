//! Events as lines of Boundary's logger, as JSON and as text. They have no envelope: neither source nor id.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use custody_schemas::event::{Event, Kind, Outcome, Text};
use custody_schemas::time::{Parsed, parse_rfc3339};
use serde_json::json;

use super::super::object::{Object, Time, string, text, time};
use super::Fact;
use super::signature::{self, AuditKey, COPY, HMAC};

/// The types of event that there are.
const TYPES: [&str; 4] = ["audit", "error", "observation", "system"];

/// Fields that shippers put beside those of a line. No event has fields of these names.
const SHIPPER_FIELDS: [&str; 10] =
    ["_p", "date", "file", "host", "kubernetes", "path", "source_type", "stream", "tag", "time"];

/// The type of event in the message of a line, `<type> event`.
fn type_of(message: &str) -> Option<&'static str> {
    let name = message.strip_suffix(" event")?;
    TYPES.into_iter().find(|known| *known == name)
}

/// The type of event that a line of JSON is.
pub(super) fn event_type(object: &Object<'_>) -> Option<&'static str> {
    object.json("@message").and_then(string).as_deref().and_then(type_of)
}

/// The event of a line of JSON.
pub(super) fn fact<'a>(event_type: &'static str, mut object: Object<'a>, keys: &[AuditKey]) -> Fact<'a> {
    // Signing writes the line a second time, at a time of its own.
    let is_own = |name: &str| name != "@timestamp" && !SHIPPER_FIELDS.contains(&name);
    let verdict = signature::verify(&object, is_own, keys);
    // An audit event has a time of its own. That of the line is not signed, and differs between sinks.
    let written = if event_type == "audit" { None } else { object.json("@timestamp") };
    let around = [("@level", object.json("@level")), ("@timestamp", written)];
    let around = around.into_iter().filter_map(|(name, json)| Some((name, json?))).collect();
    for name in ["@level", "@message", "@timestamp", COPY, HMAC].into_iter().chain(SHIPPER_FIELDS) {
        object.take(name);
    }
    Fact {
        event_type: Cow::Borrowed(event_type),
        cluster: None,
        time: written.map_or(Time::Unset, time),
        time_text: written.and_then(text),
        around,
        data: object,
        verdict,
    }
}

/// Time, type of event and the rest of a line of text: `2025-12-01T10:00:00.201Z [INFO]  system event: …`.
fn parts(line: &str) -> Option<(&str, &'static str, &str)> {
    let (time, rest) = line.split_once(" [")?;
    let (_, rest) = rest.split_once(']')?;
    let (message, fields) = rest.split_once(':')?;
    let is_time = time.len() >= 20 && time.bytes().all(|byte| byte.is_ascii_digit() || b"-+:.TZ".contains(&byte));
    is_time.then_some((time, type_of(message.trim_ascii())?, fields))
}

/// Whether a line of text is an event.
pub(super) fn is_text(line: &str) -> bool {
    parts(line).is_some()
}

/// The event of a line of text. How the line prints what is nested cannot be read back, and the order of its fields is
/// chance: only its time, its type and the session's id are read, and the line is kept whole.
pub(super) fn text_event(line: &str) -> Event<'_> {
    let (time, event_type, fields) = parts(line).unwrap_or_default();
    let session_id = session_id(fields);
    let is_error = event_type == "error";
    let is_activity = session_id.is_some() && matches!(event_type, "error" | "system");
    Event {
        event_id: Cow::Owned(["boundary//", event_type, "/", time, "/", &fingerprint(line)].concat()),
        occurred_at: instant(time),
        kind: if is_activity { Kind::SessionActivity } else { Kind::Other },
        source_type: Cow::Borrowed(event_type),
        outcome: is_error.then_some(Outcome::Failure),
        session_id,
        detail: json!({ "line": line }).to_string(),
        ..Event::default()
    }
}

/// The value of a field `session_id`, or of one nested once.
fn session_id(fields: &str) -> Option<Text<'_>> {
    let value = fields.split_ascii_whitespace().find_map(|word| {
        let (name, value) = word.split_once('=')?;
        (name.rsplit(':').next() == Some("session_id")).then_some(value)
    })?;
    let is_id =
        value.strip_prefix("s_").is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    is_id.then_some(Cow::Borrowed(value))
}

/// The instant of a time whose offset may have no colon.
fn instant(time: &str) -> Option<custody_schemas::time::Micros> {
    let with_colon = match time.len().checked_sub(5).and_then(|at| time.split_at_checked(at)) {
        Some((local, offset)) if offset.starts_with(['+', '-']) => {
            let (hours, minutes) = offset.split_at_checked(3)?;
            Cow::Owned([local, hours, ":", minutes].concat())
        }
        _ => Cow::Borrowed(time),
    };
    match parse_rfc3339(&with_colon)? {
        Parsed::At(at) => Some(at),
        Parsed::Zero => None,
    }
}

/// 128 bits of the line's SHA-256: lines have no id, and several within a millisecond are usual.
fn fingerprint(line: &str) -> String {
    crate::hex::encode(digest(&SHA256, line.as_bytes()).as_ref().get(..16).unwrap_or_default())
}
