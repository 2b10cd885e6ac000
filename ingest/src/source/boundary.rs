//! HashiCorp Boundary: events of its controllers and workers, and its session recordings.
//!
//! The shapes are those of Boundary's event sinks: CloudEvents as JSON, on one line or indented, and the lines of its
//! logger, as JSON or as text. Boundary writes them to files and to standard error, and shippers carry them to Kafka.
//! What each event has, and what becomes of it here, is in `schemas/topics/boundary.md`.

use std::borrow::Cow;

use custody_schemas::event::{Event, Kind, Outcome, Text};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use custody_schemas::time::Micros;

use super::object::{Document, Object, Time, canonical, int, text, time};
use super::wrapper::{self, Unpacked};
use super::{Sink, Source};

mod audit;
pub(crate) mod bsr;
mod hclog;
mod signature;

use signature::Verdict;
pub use signature::{AuditKey, InvalidAuditKey};

/// Decodes one message of a Boundary topic, or one part of a session recording.
pub(super) fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    if let Some(form) = super::form(message) {
        return bsr::decode(form, message, sink);
    }
    wrapper::unpack(message.value, &mut Boundary { keys: &source.settings.boundary_audit_keys, sink })
}

struct Boundary<'s> {
    keys: &'s [AuditKey],
    sink: &'s mut dyn Sink,
}

impl Unpacked for Boundary<'_> {
    const BETWEEN_LOG_LINES: bool = true;

    fn is_event(&self, object: &Object<'_>) -> bool {
        is_cloudevent(object) || hclog::event_type(object).is_some()
    }

    fn object(&mut self, object: Object<'_>) -> Result<(), DecodeError> {
        if is_cloudevent(&object) {
            return cloudevent(&object, self.keys)?.tell(self.sink);
        }
        match hclog::event_type(&object) {
            Some(event_type) => hclog::fact(event_type, object, self.keys).tell(self.sink),
            // The logger writes other lines than events too.
            None if object.has("@level") && object.has("@message") => Ok(()),
            None => {
                Err(DecodeError::new(ErrorKind::MissingField, "no `specversion` with `data`: not a Boundary event"))
            }
        }
    }

    fn is_line(&self, line: &str) -> bool {
        hclog::is_text(line) || line.contains("{\"")
    }

    fn line(&mut self, line: &str) -> Result<(), DecodeError> {
        if hclog::is_text(line) {
            self.sink.event(&hclog::text_event(line));
            return Ok(());
        }
        // What a logging daemon puts before a line has no braces.
        let json = line.find('{').and_then(|at| line.get(at..)).unwrap_or_default();
        match Object::parse(json) {
            Some(object) => self.object(object),
            None => {
                Err(DecodeError::new(ErrorKind::InvalidJson, "what follows the prefix of a line is not one object"))
            }
        }
    }
}

/// One event of Boundary, whichever form it came in.
struct Fact<'a> {
    /// `audit`, `observation`, `error` or `system`.
    event_type: Text<'a>,
    /// Host that the event is of.
    cluster: Option<Text<'a>>,
    time: Time,
    /// The time as it was written, with all its digits.
    time_text: Option<Text<'a>>,
    /// What stands around the data and does not differ between sinks: names and JSON.
    around: Vec<(&'static str, &'a str)>,
    data: Object<'a>,
    verdict: Verdict,
}

/// Fields of the envelope. `id` and `datacontentype` (spelt so by Boundary) are of the sink, not of the event.
const ENVELOPE: [&str; 8] = ["data", "datacontentype", "dataschema", "id", "source", "specversion", "time", "type"];

fn is_cloudevent(object: &Object<'_>) -> bool {
    object.has("specversion") && object.json("data").is_some_and(|json| json.starts_with('{'))
}

fn cloudevent<'a>(object: &Object<'a>, keys: &[AuditKey]) -> Result<Fact<'a>, DecodeError> {
    let missing = |name| DecodeError::new(ErrorKind::MissingField, format!("an event has no `{name}`"));
    let event_type = object.json("type").and_then(text).ok_or_else(|| missing("type"))?;
    // An audit event has a time of its own; that of the envelope is when its sink wrote it.
    let around: &[&str] = match event_type.as_ref() {
        "audit" => &["dataschema", "source", "specversion"],
        _ => &["dataschema", "source", "specversion", "time"],
    };
    Ok(Fact {
        event_type,
        cluster: object.json("source").and_then(text).and_then(host),
        time: object.json("time").map_or(Time::Unset, time),
        time_text: object.json("time").and_then(text),
        around: around.iter().filter_map(|name| Some((*name, object.json(name)?))).collect(),
        data: section(object, "data")?.ok_or_else(|| missing("data"))?,
        verdict: signature::verify(object, |name| ENVELOPE.contains(&name), keys),
    })
}

/// The host in an event's source: the second part of the path in Boundary's own URLs
/// (`https://hashicorp.com/boundary/<host>/<role>`), the host of any other URL.
fn host(source: Text<'_>) -> Option<Text<'_>> {
    let (_, rest) = source.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let own = if authority == "hashicorp.com" { path.strip_prefix("boundary/") } else { None };
    let host = own.map_or(authority, |path| path.split('/').next().unwrap_or_default());
    (!host.is_empty()).then(|| Cow::Owned(host.to_owned()))
}

impl<'a> Fact<'a> {
    /// Gives the sink what the event tells.
    fn tell(self, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let time = if self.event_type == "audit" { audit::tell(self, sink)? } else { self.tell_operation(sink)? };
        match time {
            Time::Invalid => Err(DecodeError::new(ErrorKind::InvalidField, "the time of an event is not an instant")),
            Time::At(_) | Time::Unset => Ok(()),
        }
    }

    /// An event about the work of a controller or worker: `system`, `error`, `observation`.
    fn tell_operation(self, sink: &mut dyn Sink) -> Result<Time, DecodeError> {
        let info = section(&self.data, "request_info")?;
        let about = section(&self.data, if self.event_type == "error" { "info" } else { "data" })?;
        let is_error = self.event_type == "error";
        let session_id = said(about.as_ref(), "session_id");
        let connection_id = said(about.as_ref(), "connection_id");
        let message = said(about.as_ref(), "msg");
        let op = said(Some(&self.data), "op");
        let own_id = said(Some(&self.data), "id").or_else(|| said(info.as_ref(), "id"));
        let status = self.data.json("status").and_then(int);
        let event = Event {
            event_id: match &self.time_text {
                Some(time) => self.event_id(
                    [Some(&self.event_type), Some(time), op.as_ref(), own_id.as_ref().or(message.as_ref())]
                        .into_iter()
                        .chain([session_id.as_ref(), connection_id.as_ref()])
                        .flatten(),
                ),
                // Without a time two events of the same words would pass for one.
                None => Cow::Borrowed(""),
            },
            cluster: self.cluster.clone(),
            occurred_at: self.time.at(),
            kind: if session_id.is_some() { Kind::SessionActivity } else { Kind::Other },
            source_type: self.event_type.clone(),
            action: message.or_else(|| said(Some(&self.data), "error")).or_else(|| method_and_path(info.as_ref())),
            outcome: if is_error { Some(Outcome::Failure) } else { status.and_then(outcome) },
            session_id,
            remote_addr: said(info.as_ref(), "client_ip"),
            integrity: self.verdict.integrity,
            detail: self.detail()?,
            ..Event::default()
        };
        sink.event(&event);
        Ok(self.time)
    }

    fn event_id<'p>(&self, parts: impl Iterator<Item = &'p Text<'a>>) -> Text<'a>
    where
        'a: 'p,
    {
        let mut id = format!("boundary/{}", self.cluster.as_deref().unwrap_or_default());
        for part in parts {
            id.push('/');
            id.push_str(part);
        }
        Cow::Owned(id)
    }

    /// What no column holds: the data, what stands around it, and what is wrong with the signature.
    fn detail(&self) -> Result<String, DecodeError> {
        let mut fields = vec![("data", self.data.detail()?)];
        for (name, json) in &self.around {
            let mut value = String::with_capacity(json.len());
            canonical(json, &mut value)?;
            fields.push((name, value));
        }
        fields.extend(self.verdict.failure.clone().map(|failure| ("signature", failure)));
        fields.sort_unstable();
        let fields: Vec<String> = fields.into_iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
        Ok(format!("{{{}}}", fields.join(",")))
    }
}

/// Method and path of a request, without the query.
fn method_and_path<'a>(info: Option<&Object<'a>>) -> Option<Text<'a>> {
    let [method, path] = ["method", "path"].map(|name| said(info, name).unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let words: Vec<&str> = [method.as_ref(), path].into_iter().filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| Cow::Owned(words.join(" ")))
}

/// How an HTTP status ends a request. Where a redirection leads is not known.
fn outcome(status: i64) -> Option<Outcome> {
    match status {
        200..=299 => Some(Outcome::Success),
        401 | 403 => Some(Outcome::Deny),
        400..=599 => Some(Outcome::Failure),
        _ => None,
    }
}

/// The object in a field; `None` when there is none.
///
/// # Errors
///
/// When the object has too many fields, or names one twice.
fn section<'a>(object: &Object<'a>, name: &str) -> Result<Option<Object<'a>>, DecodeError> {
    match object.json(name).map(Document::parse) {
        Some(Ok(Document::Object(fields))) => Object::new(fields, None).map(Some),
        Some(Ok(Document::TooLarge)) => Err(DecodeError::new(ErrorKind::TooLarge, "an object has too many fields")),
        _ => Ok(None),
    }
}

/// The text in a field of an object that may be there, as far as it is not hidden.
fn said<'a>(object: Option<&Object<'a>>, name: &str) -> Option<Text<'a>> {
    let json = object?.json(name)?;
    // Protobuf's wrapper of a text that may be absent.
    let json = if json.starts_with('{') { Object::parse(json)?.json("value")? } else { json };
    text(json).filter(|text| !is_hidden(text))
}

/// Whether a text is what Boundary writes in the place of one that it hides: `[REDACTED]` (in a field of bytes its
/// base64), an HMAC or a ciphertext.
fn is_hidden(text: &str) -> bool {
    matches!(text, "[REDACTED]" | "W1JFREFDVEVEXQ==")
        || text.starts_with("hmac-sha256:")
        || text.starts_with("encrypted:")
}

/// The instant of Protobuf's `{"seconds":…,"nanos":…}`, truncated to microseconds.
fn instant(object: &Object<'_>, name: &str) -> Option<Micros> {
    // The years 1 to 9999, which is what Protobuf allows.
    const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let json = object.json(name)?;
    let Some(timestamp) = json.starts_with('{').then(|| Object::parse(json)) else { return time(json).at() };
    let timestamp = timestamp?;
    let seconds = timestamp.json("seconds").and_then(int).filter(|seconds| SECONDS.contains(seconds))?;
    let nanos = timestamp.json("nanos").map_or(Some(0), int).filter(|nanos| (0..1_000_000_000).contains(nanos))?;
    Some(seconds * 1_000_000 + nanos / 1000)
}

#[cfg(test)]
mod tests;
