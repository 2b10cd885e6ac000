//! What the tests of the sources share: a message, a sink that shows what it was given, and the contracts' examples.

use std::path::{Path, PathBuf};

use custody_schemas::event::Event;
use custody_schemas::frame::Piece;
use custody_schemas::record::{ErrorKind, Message, Origin};
use custody_schemas::time::to_rfc3339;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Sink, Source, SourceKind, decode};

/// What came out of one message: events and pieces as JSON, without the fields that say nothing.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) events: Vec<Value>,
    pub(crate) pieces: Vec<Value>,
    /// Data of all output pieces, one after the other.
    pub(crate) output: Vec<u8>,
    pub(crate) error: Option<ErrorKind>,
    pub(crate) error_detail: String,
}

impl Sink for Decoded {
    fn event(&mut self, event: &Event<'_>) {
        self.events.push(show_event(event));
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        if piece.code.as_char() == 'o' {
            self.output.extend_from_slice(&piece.data);
        }
        self.pieces.push(show_piece(piece));
    }
}

fn said(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let said = fields.into_iter().filter(|(_, value)| !matches!(value, Value::Null) && *value != json!([]));
    Value::Object(said.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn show_event(event: &Event<'_>) -> Value {
    let detail: Value = serde_json::from_str(&event.detail).expect("the detail is JSON");
    assert!(detail.is_object(), "the detail is an object");
    said([
        ("event_id", json!(event.event_id)),
        ("cluster", json!(event.cluster)),
        ("occurred_at", json!(event.occurred_at.map(to_rfc3339))),
        ("kind", json!(event.kind.as_str())),
        ("source_type", json!(event.source_type)),
        ("source_code", json!(event.source_code)),
        ("actor", json!(event.actor)),
        ("actor_kind", json!(event.actor_kind.map(|kind| kind.as_str()))),
        ("actor_roles", json!(event.actor_roles)),
        ("delegator", json!(event.delegator)),
        ("action", json!(event.action)),
        ("target", json!(event.target)),
        ("target_kind", json!(event.target_kind)),
        ("login", json!(event.login)),
        ("outcome", json!(event.outcome.map(|outcome| outcome.as_str()))),
        ("session_id", json!(event.session_id)),
        ("protocol", json!(event.protocol)),
        ("session_started_at", json!(event.session_started_at.map(to_rfc3339))),
        ("session_ended_at", json!(event.session_ended_at.map(to_rfc3339))),
        ("participants", json!(event.participants)),
        ("request_ids", json!(event.request_ids)),
        ("reason", json!(event.reason)),
        ("request_state", json!(event.request_state)),
        ("proposed_state", json!(event.proposed_state)),
        ("requested_roles", json!(event.requested_roles)),
        ("expires_at", json!(event.expires_at.map(to_rfc3339))),
        ("decision_id", json!(event.decision_id)),
        ("policy_path", json!(event.policy_path)),
        ("policy_revision", json!(event.policy_revision)),
        ("ticket", json!(event.ticket)),
        ("approver", json!(event.approver)),
        ("approved_at", json!(event.approved_at.map(to_rfc3339))),
        ("correlation_id", json!(event.correlation_id)),
        ("recording_id", json!(event.recording_id)),
        ("recorded", json!(event.recorded)),
        ("integrity", json!(event.integrity.map(|integrity| integrity.as_str()))),
        ("mfa_device", json!(event.mfa_device)),
        ("remote_addr", json!(event.remote_addr)),
        ("detail", detail),
    ])
}

fn show_piece(piece: &Piece<'_>) -> Value {
    said([
        ("session_id", json!(piece.session_id)),
        ("cluster", json!(piece.cluster)),
        ("channel", json!(piece.channel)),
        ("clock", json!(piece.clock.as_str())),
        ("code", json!(piece.code.as_char())),
        ("seq", json!(piece.seq)),
        ("time_us", json!(piece.time_us)),
        ("at", json!(piece.at.map(to_rfc3339))),
        ("position", json!(piece.position)),
        ("data", json!(piece.data.escape_ascii().to_string())),
    ])
}

/// A message at offset 7 whose broker time is 2025-06-02T09:00:00Z.
pub(crate) fn message<'a>(key: Option<&'a str>, value: &'a [u8]) -> Message<'a> {
    Message {
        origin: Origin { topic: "import/topic", partition: 0, offset: 7 },
        broker_at: Some(1_748_854_800_000_000),
        key: key.map(str::as_bytes),
        headers: &[],
        value: Some(value),
    }
}

/// Decodes a message with the defaults of a kind.
pub(crate) fn decoded_message(kind: SourceKind, message: &Message<'_>) -> Decoded {
    let mut sink = Decoded::default();
    if let Err(error) = decode(&Source::new(kind), message, &mut sink) {
        sink.error = Some(error.kind);
        sink.error_detail = error.detail;
    }
    sink
}

/// Decodes a value without key and headers.
pub(crate) fn decoded(kind: SourceKind, value: impl AsRef<[u8]>) -> Decoded {
    decoded_message(kind, &message(None, value.as_ref()))
}

/// Bytes of a file among the shared fixtures; `None`, and said aloud, where they are not on this machine.
pub(crate) fn fixture(path: &str) -> Option<Vec<u8>> {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures")).join(path);
    let bytes = std::fs::read(&file).ok();
    if bytes.is_none() {
        eprintln!("SKIPPED: no fixture {}", file.display());
    }
    bytes
}

/// The lines of a file among the shared fixtures.
pub(crate) fn fixture_lines(path: &str) -> Option<Vec<String>> {
    let text = String::from_utf8(fixture(path)?).expect("text");
    Some(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

fn examples() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/topics/examples")).to_path_buf()
}

/// The messages of an example: the lines of an `.ndjson` file, the whole of any other.
pub(crate) fn example(name: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(examples().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    match name.ends_with(".ndjson") {
        true => bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect(),
        false => vec![bytes],
    }
}

/// Compares what comes out of an example with the `.expected.json` beside it. With `CUSTODY_UPDATE_EXPECTED=1` in the
/// environment that file is written instead.
pub(crate) fn check_example(kind: SourceKind, name: &str, key: Option<&str>) {
    let messages: Vec<Value> = example(name)
        .iter()
        .zip(7..)
        .map(|(value, offset)| {
            let mut message = message(key, value);
            message.origin.offset = offset;
            let out = decoded_message(kind, &message);
            said([
                ("error", json!(out.error.map(|kind| kind.as_str()))),
                ("events", json!(out.events)),
                ("pieces", json!(out.pieces)),
            ])
        })
        .collect();
    let (stem, _) = name.split_once('.').unwrap_or((name, ""));
    let expected = examples().join(format!("{stem}.expected.json"));
    if std::env::var_os("CUSTODY_UPDATE_EXPECTED").is_some() {
        let text = serde_json::to_string_pretty(&messages).unwrap();
        std::fs::write(&expected, text + "\n").unwrap();
        return;
    }
    let text = std::fs::read_to_string(&expected).unwrap_or_else(|error| panic!("{}: {error}", expected.display()));
    let expected: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(messages.len(), expected.len(), "{name}: number of messages");
    for (number, (message, expected)) in messages.iter().zip(&expected).enumerate() {
        assert_eq!(message, expected, "{name}: message {number}");
    }
}

/// Values that are nearly messages: examples with bytes changed, cut out, doubled or put in.
pub(crate) fn mutated(examples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0..4_u8, prop::collection::vec(any::<u8>(), 0..6), 0..40_usize);
    (prop::sample::select(examples), prop::collection::vec(edit, 1..5)).prop_map(|(mut value, edits)| {
        for (at, what, bytes, len) in edits {
            let at = at.index(value.len() + 1);
            let end = (at + len).min(value.len());
            match what {
                0 => value.truncate(at),
                1 => drop(value.splice(at..end, bytes)),
                2 => value.extend_from_within(at..end),
                _ => drop(value.splice(at..at, bytes)),
            }
        }
        value
    })
}
