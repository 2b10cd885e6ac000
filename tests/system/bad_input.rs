//! Hostile messages: each is kept byte for byte with the reason why it could not be decoded, is counted, and harms
//! neither the messages around it nor the process.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::custody::{Custody, Topic, audit_event};
use crate::support::http::{samples, total};
use crate::support::kafka::{Broker, RawMessage};

const MIB: usize = 1024 * 1024;
/// The process may not need more memory than this for anything that is sent here.
const RSS_BYTES_MAX: u64 = 1 << 30;

/// A message, and what `records.error_kind` has to be.
struct Case {
    name: &'static str,
    source: &'static str,
    key: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    value: Option<Vec<u8>>,
    error: Option<&'static str>,
}

impl Case {
    fn new(
        source: &'static str,
        name: &'static str,
        value: impl Into<Vec<u8>>,
        error: impl Into<Option<&'static str>>,
    ) -> Self {
        // A key that names a session, so that nothing is refused for want of one.
        let key = Some(b"session-1".to_vec());
        Self { name, source, key, headers: Vec::new(), value: Some(value.into()), error: error.into() }
    }

    fn key(mut self, key: Option<&[u8]>) -> Self {
        self.key = key.map(<[u8]>::to_vec);
        self
    }

    fn header(mut self, name: &[u8], value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_vec(), value.map(<[u8]>::to_vec)));
        self
    }

    fn tombstone(mut self) -> Self {
        self.value = None;
        self
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 4 GiB in 4 MB.
fn bomb() -> Vec<u8> {
    gzip(&vec![b' '; 64 * MIB]).repeat(64)
}

/// A message of the source that is decoded without an error.
fn good(source: &str, number: usize) -> String {
    match source {
        "teleport" => audit_event(&format!("good-{number}")),
        "opa" => json!({ "decision_id": format!("good-{number}"), "labels": { "id": "opa-1" }, "path": "a/b",
                         "result": true, "timestamp": "2026-03-02T08:00:00Z" })
        .to_string(),
        _ => json!({ "version": 2, "width": 80, "height": 24, "title": format!("good-{number}") }).to_string(),
    }
}

fn cases() -> Vec<Case> {
    let noise: Vec<u8> = (0..MIB).map(|n| (n * 131 % 251) as u8).collect();
    let mut cases = Vec::new();
    for source in ["teleport", "opa", "asciicast"] {
        cases.extend([
            Case::new(source, "tombstone", "", "empty").tombstone(),
            Case::new(source, "no bytes", "", "empty"),
            Case::new(source, "whitespace", " \r\n\t ", "empty"),
            Case::new(source, "no UTF-8", b"\xff\xfe\x00\xc3\x28", "invalid_utf8"),
            Case::new(source, "1 MiB of any bytes", noise.clone(), "invalid_utf8"),
            Case::new(source, "12 MiB of text", vec![b'x'; 12 * MIB], "invalid_json"),
            Case::new(source, "cut off", r#"{"event":"user.lo"#, "invalid_json"),
            Case::new(source, "NUL bytes", vec![0; 64], "invalid_json"),
            Case::new(source, "terminal escapes", "\x1b]0;owned\x07\x1b[2J", "invalid_json"),
            Case::new(source, "SQL", "'; DROP TABLE records; --", "invalid_json"),
        ]);
    }
    for source in ["teleport", "opa"] {
        cases.extend([
            Case::new(source, "gzip bomb", bomb(), "too_large"),
            Case::new(source, "gzip cut off", &gzip(good(source, 0).as_bytes())[..30], "invalid_gzip"),
            Case::new(source, "gzip's first bytes alone", b"\x1f\x8b", "invalid_gzip"),
            Case::new(source, "a list of the wrong things", "[1,2,3]", "unexpected_shape"),
            Case::new(source, "another object", r#"{"a":1}"#, "missing_field"),
            Case::new(source, "100 000 arrays in one another", "[".repeat(100_000), "invalid_json"),
            Case::new(source, "100 000 objects in one another", r#"{"a":"#.repeat(100_000), "invalid_json"),
        ]);
    }
    let print = |fields: &str| format!(r#"{{"event":"print",{fields}}}"#);
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    cases.extend([
        Case::new("teleport", "wrong type of the event", r#"{"event":[7]}"#, "unexpected_shape"),
        Case::new("teleport", "wrong type of the time", r#"{"event":"x","time":17}"#, "invalid_field"),
        Case::new("teleport", "time out of range", r#"{"event":"x","time":"99999-01-01T00:00:00Z"}"#, "invalid_field"),
        Case::new("teleport", "a name twice", r#"{"event":"x","user":"a","user":"b"}"#, "duplicate_key"),
        Case::new("teleport", "unknown type", r#"{"event":"robot.uprising","uid":"u"}"#, None),
        Case::new("teleport", "1 MiB in a field", json!({ "event": "x", "q": "y".repeat(MIB) }).to_string(), None),
        Case::new("teleport", "too deep", format!(r#"{{"event":"x","q":{}}}"#, nested(5000)), "too_large"),
        Case::new("teleport", "base64 that is none", print(r#""ei":1,"ms":0,"data":"c!==""#), "invalid_base64"),
        Case::new("teleport", "no place", print(r#""ms":0,"data":"cw==""#), "missing_field"),
        Case::new("teleport", "place out of range", print(r#""ei":-7,"ms":0,"data":"cw==""#), "invalid_field"),
        Case::new(
            "teleport",
            "time of a print",
            print(r#""ei":1,"ms":9223372036854775807,"data":"cw==""#),
            "invalid_field",
        ),
        Case::new("teleport", "of no session", print(r#""ei":1,"ms":0,"data":"cw==""#), "no_session_id").key(None),
        Case::new("teleport", "key of any bytes", print(r#""ei":1,"ms":0,"data":"cw==""#), "no_session_id")
            .key(Some(b"\xff\x00\x01")),
        Case::new("teleport", "no name for a path", print(r#""ei":1,"ms":0,"data":"cw==""#), "no_session_id")
            .key(Some(b"../../etc/passwd")),
        Case::new("teleport", "header names of any bytes", good("teleport", 0), None)
            .header(b"\xff\xfe", Some(b"\xff"))
            .header(b"", Some(b""))
            .header(b"twice", None)
            .header(b"twice", Some(&[0; 300])),
        Case::new(
            "opa",
            "time out of range",
            r#"{"decision_id":"d","timestamp":"2026-13-41T99:00:00Z"}"#,
            "invalid_field",
        ),
        Case::new("opa", "unknown type", r#"{"type":"openpolicyagent.org/decision_logs","result":[1]}"#, None),
        Case::new("opa", "too deep", format!(r#"{{"decision_id":"d","input":{}}}"#, nested(5000)), "too_large"),
        Case::new("asciicast", "wrong shape", r#"{"a":1}"#, "unexpected_shape"),
        Case::new("asciicast", "wrong type", r#"["x","o","y"]"#, "unexpected_shape"),
        Case::new("asciicast", "time out of range", r#"[-1,"o","y"]"#, "invalid_field"),
        Case::new("asciicast", "unknown version", r#"{"version":9}"#, "unexpected_shape"),
        Case::new("asciicast", "unknown code", r#"[0,"q","y"]"#, None),
        Case::new("asciicast", "of no session", r#"[0,"o","y"]"#, "no_session_id").key(None),
        Case::new("asciicast", "too many lines", "[0,\"o\",\"y\"]\n".repeat(5000), "too_large"),
        Case::new("asciicast", "1 MiB of output", json!([0, "o", "y".repeat(MIB)]).to_string(), None),
    ]);
    cases
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn hex_or_null(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| json!(hex(bytes)))
}

#[test]
fn hostile_messages_are_kept_explained_and_counted() {
    let test = "hostile_messages_are_kept_explained_and_counted";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topics = ["teleport", "opa", "asciicast"].map(|source| (source, Topic::create(broker, source, 1)));
    let custody = Custody::on(broker, &topics.each_ref().map(|(_, topic)| topic.clone()));
    let (mut up, client) = custody.up();

    let cases = cases();
    let mut sent = 0;
    for (source, topic) in &topics {
        let produce = |number: usize, message: &RawMessage<'_>, name: &str| {
            let offset = broker.produce(&topic.name, 0, message);
            let offset = offset.unwrap_or_else(|error| panic!("{source}: {name}: {error}"));
            assert_eq!(offset, number as i64, "{source}: {name}");
        };
        // A good one before each bad one, and one after the last.
        let of_source: Vec<&Case> = cases.iter().filter(|case| case.source == *source).collect();
        for number in 0..=of_source.len() {
            let value = good(source, number);
            let key = Some(b"session-1".as_slice());
            let message = RawMessage { key, value: Some(value.as_bytes()), ..RawMessage::default() };
            produce(number * 2, &message, "good");
            let Some(case) = of_source.get(number) else { continue };
            let headers: Vec<(&[u8], Option<&[u8]>)> =
                case.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
            let message = RawMessage { key: case.key.as_deref(), headers: &headers, value: case.value.as_deref() };
            produce(number * 2 + 1, &message, case.name);
        }
        sent += 2 * of_source.len() as u64 + 1;
    }
    custody.wait_for_records(sent, &mut up);

    let mut expected_errors: Vec<Value> = Vec::new();
    for (source, topic) in &topics {
        let rows = custody.sql(&format!(
            r#"SELECT "offset", encode(key, 'hex') AS key, encode(value, 'hex') AS value, headers, error_kind
               FROM records WHERE topic = '{}' AND source = '{source}' ORDER BY "offset""#,
            topic.name
        ));
        let of_source: Vec<&Case> = cases.iter().filter(|case| case.source == *source).collect();
        assert_eq!(rows.len(), 2 * of_source.len() + 1, "{source}");
        for (offset, row) in rows.iter().enumerate() {
            let (number, is_bad) = (offset / 2, offset % 2 == 1);
            assert_eq!(row["offset"], json!(offset));
            if !is_bad {
                assert_eq!(row["value"], hex(good(source, number).as_bytes()), "{source}: good {number}");
                assert_eq!(row["error_kind"], Value::Null, "{source}: good {number}");
                continue;
            }
            let case = of_source[number];
            let name = format!("{source}: {}", case.name);
            assert_eq!(row["error_kind"], json!(case.error), "{name}");
            assert_eq!(row["key"], hex_or_null(case.key.as_deref()), "{name}");
            assert!(row["value"] == hex_or_null(case.value.as_deref()), "{name}: other bytes are kept than were sent");
            let names: Vec<&str> = row["headers"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|header| header["name"].as_str().unwrap())
                .collect();
            assert_eq!(names.len(), case.headers.len(), "{name}");
            if let Some(kind) = case.error {
                let bytes = case.value.as_ref().map(Vec::len);
                expected_errors.push(json!({ "topic": topic.name, "offset": offset, "source": source,
                                             "error_kind": kind, "value_bytes": bytes }));
            }
        }
        // What is good was decoded, also right after what is bad.
        let goods = custody.count(&match *source {
            "teleport" => "events WHERE event_id LIKE 'teleport/system/good-%' AND offset % 2 = 0".to_owned(),
            "opa" => "events WHERE decision_id LIKE 'good-%'".to_owned(),
            _ => format!("events WHERE source_type = 'asciicast.header' AND topic = '{}'", topic.name),
        });
        assert_eq!(goods, of_source.len() as u64 + 1, "{source}");
    }

    let dead = custody
        .sql(r#"SELECT topic, "offset", source, error_kind, value_bytes FROM dead_letters ORDER BY topic, "offset""#);
    expected_errors.sort_by_key(|row| (row["topic"].as_str().unwrap().to_owned(), row["offset"].as_u64()));
    assert_eq!(dead, expected_errors);
    // A preview is for a terminal: nothing in it may act on one.
    let previews = custody.sql("SELECT preview, error FROM dead_letters");
    assert!(previews.iter().all(|row| !row.to_string().contains("\\u001b")), "{previews:#?}");

    // Names that are not text are told as what they are, beside names that are.
    let headers = custody.value("SELECT headers FROM records WHERE array_length(headers) > 1");
    let expected = json!([
        { "name": "\\xFF\\xFE", "value": "ff" },
        { "name": "", "value": "" },
        { "name": "twice", "value": null },
        { "name": "twice", "value": "00".repeat(300) }
    ]);
    assert_eq!(headers, expected);

    let metrics = samples(&client.get("/metrics").text());
    for (source, _) in &topics {
        let label = format!("source=\"{source}\"");
        let messages = total(&metrics, "custody_ingest_messages_total", &[&label]);
        let of_source: Vec<&Case> = cases.iter().filter(|case| case.source == *source).collect();
        assert_eq!(messages, (2 * of_source.len() + 1) as f64, "{source}");
        let mut kinds: Vec<&str> = of_source.iter().filter_map(|case| case.error).collect();
        kinds.sort_unstable();
        for kind in kinds.chunk_by(|one, other| one == other) {
            let counted = total(&metrics, "custody_ingest_errors_total", &[&label, &format!("reason=\"{}\"", kind[0])]);
            assert_eq!(counted, kind.len() as f64, "{source}: {}", kind[0]);
        }
        assert_eq!(total(&metrics, "custody_ingest_errors_total", &[&label]), kinds.len() as f64, "{source}");
    }

    assert!(up.rss_bytes_max() < RSS_BYTES_MAX, "{} bytes of memory", up.rss_bytes_max());
    up.stop();
}
