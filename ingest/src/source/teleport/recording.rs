//! Teleport's recordings at rest: runs of protobuf records, as the reader of the files cuts them
//! (`ingest/src/import/teleport.rs`).
//!
//! A record is its length as four bytes, the most significant first, and a message. Each becomes the object that the
//! event handler would have sent of it, and is then decoded like one, so that whichever way a fact comes it is the same
//! fact. Only the output of the terminal takes no such detour.

use std::borrow::Cow;

use custody_schemas::event::{Event, Kind};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind};
use custody_schemas::time::Micros;

use super::Teleport;
use super::message::{self, DESKTOP_RECORDING, SESSION_PRINT, Wire, fields, timestamp};
use crate::source::EVENTS_PER_MESSAGE_MAX;
use crate::source::object::Object;

/// Bound on the length of a record. Teleport writes up to 64 KiB.
pub(crate) const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Instants before the year 1 and after 9999 are not times that a source meant.
const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

/// What the reader of a file has to know of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Its number in the `OneOf`.
    pub(crate) number: u32,
    /// Its position in the stream.
    pub(crate) index: i64,
    /// The session that it names, if it is the beginning or the end of one.
    pub(crate) session_id: Option<String>,
}

impl Look {
    /// Whether it is the beginning of a session.
    pub(crate) fn is_start(&self) -> bool {
        matches!(self.number, 5 | 37 | 40 | 59)
    }

    /// Whether it is the end of a session.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.number, 10 | 41 | 60 | 93)
    }

    /// Whether it stands only in the recordings of applications, which are slices of a session with ids of their own.
    pub(crate) fn is_of_slice(&self) -> bool {
        matches!(self.number, 38 | 39 | 105)
    }
}

/// Looks at a record; `None` when it is no message.
pub(crate) fn look(record: &[u8]) -> Option<Look> {
    let (number, message) = fields(record).next()?.ok()?;
    let mut look = Look { number, ..Look::default() };
    let names_session = look.is_start() || look.is_end();
    for field in fields(message.bytes().ok()?) {
        match field.ok()? {
            (1, metadata) => {
                for field in fields(metadata.bytes().ok()?) {
                    if let (1, Wire::Varint(index)) = field.ok()? {
                        look.index = index as i64;
                    }
                }
                if !names_session {
                    break;
                }
            }
            (3, session) if names_session => {
                if let Some(Ok((1, Wire::Bytes(id)))) = fields(session.bytes().ok()?).next() {
                    look.session_id = std::str::from_utf8(id).ok().filter(|id| !id.is_empty()).map(str::to_owned);
                }
                break;
            }
            _ => {}
        }
    }
    Some(look)
}

impl Teleport<'_> {
    /// Decodes a run of records. One that cannot be decoded costs itself.
    pub(super) fn records(&mut self, run: &[u8]) -> Result<(), DecodeError> {
        let mut error = None;
        let mut rest = run;
        let mut count = 0;
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let Some((record, after)) = after.split_at_checked(length).filter(|_| length > 0) else { break };
            if count == EVENTS_PER_MESSAGE_MAX {
                let detail = format!("more than {EVENTS_PER_MESSAGE_MAX} records in one message");
                return Err(error.unwrap_or_else(|| DecodeError::new(ErrorKind::TooLarge, detail)));
            }
            count += 1;
            rest = after;
            if let Err(other) = self.record(record) {
                error.get_or_insert(other);
            }
        }
        if run.is_empty() {
            error.get_or_insert_with(|| DecodeError::new(ErrorKind::Empty, "no records"));
        } else if !rest.is_empty() {
            error.get_or_insert_with(|| DecodeError::new(ErrorKind::UnexpectedShape, "not a run of whole records"));
        }
        error.map_or(Ok(()), Err)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        for field in fields(record) {
            let (number, message) = field?;
            let message = message.bytes()?;
            match number {
                SESSION_PRINT => self.session_print(message)?,
                // A picture of a desktop: the record keeps it.
                DESKTOP_RECORDING => {}
                _ => self.message(number, message)?,
            }
        }
        Ok(())
    }

    fn message(&mut self, number: u32, message: &[u8]) -> Result<(), DecodeError> {
        let printed = message::print(number, message)?;
        let not_json = || DecodeError::new(ErrorKind::UnexpectedShape, "a message does not make an object");
        let mut object = Object::parse(&printed.json).ok_or_else(not_json)?;
        if printed.is_known {
            return super::Unpacked::object(self, object);
        }
        // What it says cannot be known, so neither can it be told whether another delivery says the same.
        let event = Event {
            cluster: object.text("cluster_name"),
            occurred_at: object.time("time").at(),
            kind: Kind::Other,
            source_type: Cow::Borrowed("unknown"),
            detail: object.detail()?,
            ..Event::default()
        };
        self.sink.event(&event);
        Ok(())
    }

    fn session_print(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        let invalid = |name| DecodeError::new(ErrorKind::InvalidField, format!("`{name}` of a print is not usable"));
        let (mut seq, mut at, mut cluster) = (0, Ok(None), None);
        let (mut data, mut delay_ms, mut offset): (&[u8], _, _) = (&[], 0, 0);
        for field in fields(message) {
            match field? {
                (1, metadata) => {
                    for field in fields(metadata.bytes()?) {
                        match field? {
                            (1, index) => seq = index.varint()? as i64,
                            (5, time) => at = instant(time.bytes()?),
                            (6, name) => cluster = Some(name.bytes()?),
                            _ => {}
                        }
                    }
                }
                (3, bytes) => data = bytes.bytes()?,
                (5, delay) => delay_ms = delay.varint()? as i64,
                (6, position) => offset = position.varint()? as i64,
                _ => {}
            }
        }
        let session_id = self
            .session
            .clone()
            .ok_or_else(|| DecodeError::new(ErrorKind::NoSessionId, "neither header nor key names the session"))?;
        self.sink.piece(&Piece {
            session_id,
            cluster: cluster.filter(|name| !name.is_empty()).map(String::from_utf8_lossy),
            channel: None,
            clock: Clock::FirstOutput,
            code: Code::Output,
            seq: Some(seq).filter(|seq| *seq >= 0).ok_or_else(|| invalid("ei"))?,
            time_us: Some(delay_ms.checked_mul(1000).ok_or_else(|| invalid("ms"))?),
            at: at.clone().unwrap_or_default(),
            position: Some(offset),
            data: Cow::Borrowed(data),
        });
        at.map(|_| ()).map_err(|_| invalid("time"))
    }
}

/// The instant of a `Timestamp`; `None` for the zero time, which stands for "not set".
fn instant(timestamp_message: &[u8]) -> Result<Option<Micros>, DecodeError> {
    let (seconds, nanos) = timestamp(timestamp_message)?;
    if !SECONDS.contains(&seconds) || nanos >= 1_000_000_000 {
        return Err(DecodeError::new(ErrorKind::InvalidField, "`time` of a print is not usable"));
    }
    // Both fit: the seconds are bounded above.
    let micros = seconds * 1_000_000 + (nanos / 1000) as i64;
    Ok(Some(micros).filter(|_| seconds != SECONDS.start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{WireType, encode_key, encode_varint};
    use serde_json::{Value, json};

    use super::*;
    use crate::source::testing::{Decoded, decoded, decoded_message, message, mutated};
    use crate::source::{FORM_HEADER, SourceKind};

    const SESSION: &str = "5e000000-0000-4000-8000-000000000001";

    /// A field with bytes: a text, or a message of fields.
    fn bytes(number: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(number, WireType::LengthDelimited, &mut out);
        encode_varint(value.as_ref().len() as u64, &mut out);
        out.extend_from_slice(value.as_ref());
        out
    }

    fn varint(number: u32, value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(number, WireType::Varint, &mut out);
        encode_varint(value as u64, &mut out);
        out
    }

    fn fields<const N: usize>(number: u32, fields: [Vec<u8>; N]) -> Vec<u8> {
        bytes(number, fields.concat())
    }

    /// The first field of every message: position 3, an id, 2025-06-02T09:00:00.12Z.
    fn metadata(event: &str, code: &str) -> Vec<u8> {
        let time = fields(5, [varint(1, 1_748_854_800), varint(2, 120_000_000)]);
        fields(1, [varint(1, 3), bytes(2, event), bytes(3, "u1"), bytes(4, code), time, bytes(6, "c")])
    }

    fn unit(records: &[Vec<u8>]) -> Vec<u8> {
        records.iter().flat_map(|record| [&(record.len() as u32).to_be_bytes()[..], record].concat()).collect()
    }

    fn recording_of(key: Option<&str>, value: &[u8]) -> Decoded {
        let headers = [(FORM_HEADER, Some(b"teleport-recording".as_slice()))];
        decoded_message(
            SourceKind::Teleport,
            &custody_schemas::record::Message { headers: &headers, ..message(key, value) },
        )
    }

    fn recording(records: &[Vec<u8>]) -> Decoded {
        recording_of(Some(SESSION), &unit(records))
    }

    fn print_record(position: i64, data: &[u8]) -> Vec<u8> {
        let time = fields(5, [varint(1, 1_748_854_800), varint(2, 120_000_000)]);
        let metadata = fields(1, [varint(1, position), bytes(2, "print"), time, bytes(6, "c")]);
        fields(
            7,
            [metadata, varint(2, 1), bytes(3, data), varint(4, data.len() as i64), varint(5, 1253), varint(6, 54)],
        )
    }

    #[test]
    fn a_fact_is_the_same_from_the_recording_and_from_the_stream() {
        let user = fields(2, [bytes(1, "a@x"), bytes(2, "root"), bytes(5, "r1"), bytes(5, "r2"), varint(10, 1)]);
        let labels = fields(5, [bytes(1, "env"), bytes(2, "\"prod\"\n")]);
        let server = |number| fields(number, [bytes(2, "n1"), bytes(3, "db-1"), labels.clone()]);
        let session = |number| fields(number, [bytes(1, SESSION), bytes(2, "mfa-1")]);
        let common = |event: &str, code: &str| {
            json!({"ei": 3, "event": event, "uid": "u1", "code": code, "time": "2025-06-02T09:00:00.12Z",
                "cluster_name": "c", "user": "a@x", "login": "root", "access_requests": ["r1", "r2"], "user_kind": 1,
                "sid": SESSION, "with_mfa": "mfa-1", "server_id": "n1", "server_hostname": "db-1",
                "server_labels": {"env": "\"prod\"\n"}})
        };
        let with = |mut object: Value, more: Value| {
            object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            object
        };
        let cases = [
            (
                fields(
                    5,
                    [
                        metadata("session.start", "T2000I"),
                        user.clone(),
                        session(3),
                        server(4),
                        fields(5, [bytes(2, "203.0.113.7:1"), bytes(3, "ssh")]),
                        bytes(6, "120:40"),
                        bytes(7, ""),
                        bytes(9, ""),
                        bytes(10, "node"),
                        bytes(12, "b@x"),
                        bytes(13, "INC-1"),
                    ],
                ),
                with(
                    common("session.start", "T2000I"),
                    json!({"addr.remote": "203.0.113.7:1", "proto": "ssh", "size": "120:40", "initial_command": [""],
                        "session_recording": "node", "invited": ["b@x"], "reason": "INC-1"}),
                ),
            ),
            (
                fields(
                    10,
                    [
                        metadata("session.end", "T2004I"),
                        user.clone(),
                        session(3),
                        bytes(4, ""),
                        server(5),
                        varint(7, 1),
                        bytes(8, "a@x"),
                        fields(9, [varint(1, 1_748_854_800), varint(2, 123)]),
                        fields(10, [varint(1, -62_135_596_800)]),
                    ],
                ),
                with(
                    common("session.end", "T2004I"),
                    json!({"enhanced_recording": false, "interactive": true, "participants": ["a@x"],
                        "session_start": "2025-06-02T09:00:00.000000123Z", "session_stop": "0001-01-01T00:00:00Z"}),
                ),
            ),
            (
                fields(
                    11,
                    [
                        metadata("session.command", "T4000I"),
                        user.clone(),
                        session(3),
                        server(4),
                        fields(5, [varint(1, 20), varint(2, 4_294_971_450), bytes(3, "cat")]),
                        varint(6, 19),
                        bytes(7, "/bin/cat"),
                        bytes(8, "-n"),
                        bytes(8, "/etc/motd"),
                        varint(9, -2),
                    ],
                ),
                with(
                    common("session.command", "T4000I"),
                    json!({"pid": 20, "cgroup_id": 4_294_971_450_i64, "program": "cat", "ppid": 19, "path": "/bin/cat",
                        "argv": ["-n", "/etc/motd"], "return_code": -2}),
                ),
            ),
            (
                fields(
                    91,
                    [
                        metadata("sftp", "TS007I"),
                        user.clone(),
                        bytes(3, ""),
                        session(4),
                        server(5),
                        bytes(6, "/root"),
                        bytes(7, "f"),
                        fields(10, [fields(4, [varint(1, 420)]), fields(5, [varint(1, 1_748_854_800)])]),
                        varint(11, 7),
                    ],
                ),
                with(
                    common("sftp", "TS007I"),
                    json!({"working_directory": "/root", "path": "f", "action": 7, "attributes": {"file_size": null,
                        "uid": null, "gid": null, "permissions": 420, "access_time": "2025-06-02T09:00:00Z"}}),
                ),
            ),
        ];
        for (record, object) in cases {
            let (stored, streamed) = (recording(&[record]), decoded(SourceKind::Teleport, object.to_string()));
            assert_eq!((stored.error, streamed.error), (None, None), "{}", stored.error_detail);
            assert_eq!(stored.events, streamed.events);
            assert_eq!(stored.pieces, streamed.pieces);
            assert_eq!(stored.events[0]["event_id"], "teleport/c/u1");
        }
    }

    #[test]
    fn a_database_an_application_and_a_desktop_are_told_in_full() {
        let user = || fields(2, [bytes(1, "a@x")]);
        let session = || fields(3, [bytes(1, SESSION)]);
        let database = fields(4, [bytes(1, "orders"), bytes(2, "postgres"), bytes(5, "app")]);
        let number = |value: f64| [vec![0x11], value.to_le_bytes().to_vec()].concat();
        let item = |key: &str, value: Vec<u8>| fields(1, [bytes(1, key), bytes(2, value)]);
        let list = fields(6, [bytes(1, number(1.5)), bytes(1, bytes(3, "x\u{1}"))]);
        let body = fields(11, [item("n", number(7.0)), item("ok", varint(4, 1)), item("l", list), item("z", vec![])]);
        let cases = [
            (
                fields(42, [metadata("db.session.query", "TDB02I"), user(), session(), database, bytes(5, "select 1")]),
                json!({"kind": "session.activity", "action": "select 1", "target": "orders", "login": "app",
                    "outcome": "failure", "detail": {"ei": 3}}),
            ),
            (
                fields(
                    39,
                    [metadata("app.session.request", "T2009I"), varint(2, 200), bytes(3, "/x"), bytes(5, "GET")],
                ),
                json!({"kind": "session.activity", "action": "GET /x", "recording_id": SESSION, "session_id": null}),
            ),
            (
                fields(105, [metadata("app.session.dynamodb.request", "T2013I"), user(), bytes(5, "chunk-1"), body]),
                json!({"recording_id": "chunk-1", "session_id": null, "detail": {"ei": 3, "status_code": 0,
                    "body": {"n": 7, "ok": true, "l": [1.5, "x\u{1}"], "z": null}}}),
            ),
            (
                fields(
                    60,
                    [
                        metadata("windows.desktop.session.end", "TDP01I"),
                        user(),
                        session(),
                        bytes(11, "pc"),
                        varint(12, 1),
                    ],
                ),
                json!({"kind": "session.end", "target": "pc", "recorded": true}),
            ),
            (
                fields(5, [metadata("session.start", "T2000I"), user(), session(), bytes(11, "r-old")]),
                json!({"request_ids": ["r-old"]}),
            ),
            (
                fields(15, [metadata("session.leave", "T2003I"), fields(2, [bytes(1, b"a\xff\xfeb")]), varint(99, 1)]),
                json!({"actor": "a\u{fffd}\u{fffd}b", "detail": {"ei": 3, "unknown_fields": 1}}),
            ),
            (
                fields(80, [metadata("unknown", "TCC00E"), bytes(4, r#"{"event":"exec","command":"ls"}"#)]),
                json!({"source_type": "exec", "action": "ls"}),
            ),
            (
                fields(255, [metadata("linux.desktop.session.end", "TDP1I"), user()]),
                json!({"kind": "other", "source_type": "unknown", "event_id": "", "occurred_at":
                    "2025-06-02T09:00:00.120000Z", "detail": {"oneof": 255, "ei": 3, "code": "TDP1I", "uid": "u1",
                    "event": "linux.desktop.session.end"}}),
            ),
        ];
        for (record, expected) in cases {
            let out = recording(&[record]);
            assert_eq!((out.events.len(), out.error), (1, None), "{expected}: {}", out.error_detail);
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(&out.events[0][column], value, "{expected}: {column}");
            }
        }
    }

    #[test]
    fn prints_are_pieces_and_pictures_are_only_records() {
        let picture = fields(69, [metadata("desktop.recording", ""), bytes(2, [2, 0, 0])]);
        let out = recording(&[print_record(3, b"s\xc3"), picture]);
        assert_eq!((out.events.len(), out.error), (0, None));
        assert_eq!(
            out.pieces,
            [json!({"session_id": SESSION, "cluster": "c", "clock": "first_output", "code": "o", "seq": 3,
                "time_us": 1_253_000, "at": "2025-06-02T09:00:00.120000Z", "position": 54, "data": "s\\xc3"})]
        );
    }

    #[test]
    fn a_piece_is_of_the_session_that_was_recorded() {
        let other = fields(3, [bytes(1, "another")]);
        let out = recording(&[fields(9, [metadata("resize", "T2002I"), other, bytes(6, "80:25")])]);
        assert_eq!((&out.pieces[0]["session_id"], &out.events[0]["session_id"]), (&json!(SESSION), &json!("another")));
    }

    #[test]
    fn a_record_that_cannot_be_read_costs_itself() {
        use ErrorKind::*;
        let good = print_record(3, b"x");
        let deep = (0..200).fold(vec![], |inner, _| fields(5, [fields(1, [bytes(1, "k"), bytes(2, inner)])]));
        let deep = fields(105, [metadata("app.session.dynamodb.request", ""), bytes(11, fields(1, [bytes(2, deep)]))]);
        let far = fields(1, [fields(5, [varint(1, i64::MAX)])]);
        let cases = [
            ("not protobuf", vec![0xff; 9], UnexpectedShape),
            ("a number for a text", fields(15, [varint(1, 5)]), UnexpectedShape),
            ("no event", fields(15, [varint(9, 5)]), MissingField),
            ("nested too deep", deep, TooLarge),
            ("position before the first", print_record(-1, b""), InvalidField),
            ("a time of no calendar", fields(7, [far]), InvalidField),
        ];
        for (name, bad, error) in cases {
            let out = recording(&[good.clone(), bad, good.clone()]);
            assert_eq!(out.error, Some(error), "{name}");
            assert!(out.pieces.len() >= 2 && out.output.starts_with(b"x") && out.output.ends_with(b"x"), "{name}");
        }
        let whole = unit(&[good.clone(), good]);
        for (name, value, pieces, error) in [
            ("nothing", &[][..], 0, Empty),
            ("cut off", &whole[..whole.len() - 1], 1, UnexpectedShape),
            ("length zero", &[0; 8], 0, UnexpectedShape),
        ] {
            let out = recording_of(Some(SESSION), value);
            assert_eq!((out.pieces.len(), out.error), (pieces, Some(error)), "{name}");
        }
        assert_eq!(recording_of(None, &whole).error, Some(NoSessionId));
    }

    #[test]
    fn a_record_is_looked_at_without_being_decoded() {
        let start = fields(5, [metadata("session.start", ""), fields(3, [bytes(1, SESSION)])]);
        let expected = Look { number: 5, index: 3, session_id: Some(SESSION.to_owned()) };
        assert_eq!(look(&start), Some(expected));
        assert_eq!(look(&print_record(9, b"x")), Some(Look { number: 7, index: 9, session_id: None }));
        assert_eq!(look(b"\xff"), None);
        assert_eq!(look(b""), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(value in prop::collection::vec(any::<u8>(), 0..300), number in 1_u32..300) {
            let _ = recording_of(Some(SESSION), &value);
            let _ = recording(&[bytes(number, &value)]);
            let _ = look(&value);
        }

        #[test]
        fn damaged_messages_do_no_harm(value in mutated(vec![unit(&[
            fields(5, [metadata("session.start", "T2000I"), fields(3, [bytes(1, SESSION)]), bytes(6, "80:25")]),
            print_record(1, b"x"),
        ])])) {
            let _ = recording_of(Some(SESSION), &value);
        }
    }
}
