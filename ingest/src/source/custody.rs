//! What Custody itself tells: that an object was imported, and how far it can be trusted; that days left a table by a
//! policy; that messages were gone before they were read.
//!
//! An import writes one such record when it has read an object to its end, after the records that it cut from it; the
//! others are written by [`Journal`](crate::journal::Journal).

use std::borrow::Cow;

use custody_schemas::event::{Event, Integrity, Kind, Outcome};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use serde::Serialize;

use super::Sink;
use super::object::{Object, Time, string};
use super::wrapper::{self, Unpacked};

/// The record of an import.
#[derive(Debug, Serialize)]
pub(crate) struct ImportRecord<'a> {
    /// What the record is.
    pub(crate) custody: &'static str,
    /// Path or URL of the object.
    pub(crate) object: &'a str,
    /// What it was recognised as.
    pub(crate) format: &'a str,
    pub(crate) size_bytes: u64,
    /// Of the file; of a directory, that of the list of its members as `sha256sum` prints it.
    pub(crate) sha256: &'a str,
    /// How it was cut, where that does not follow from its bytes alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cut: Option<&'a str>,
    /// The source system that it is of.
    pub(crate) source: &'static str,
    /// The files of a directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<MemberRecord<'a>>,
    /// When.
    pub(crate) imported_at: String,
    /// The account on the importing machine.
    pub(crate) imported_by: Option<&'a str>,
    /// Number of records that were cut from it.
    pub(crate) records: i64,
    pub(crate) session_id: Option<&'a str>,
    pub(crate) recording_id: Option<&'a str>,
    /// Of the key that its signatures were made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_key_sha256: Option<&'a str>,
    pub(crate) integrity: Option<&'static str>,
    pub(crate) findings: Vec<FindingRecord<'a>>,
}

/// A file of an imported directory.
#[derive(Debug, Serialize)]
pub(crate) struct MemberRecord<'a> {
    pub(crate) file: &'a str,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: &'a str,
}

/// Something that is wrong with an imported object.
#[derive(Debug, Serialize)]
pub(crate) struct FindingRecord<'a> {
    pub(crate) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<&'a str>,
    pub(crate) detail: &'a str,
}

/// Whole days left a table by a policy.
#[derive(Debug, Clone, Serialize)]
pub struct RetentionRecord<'a> {
    /// What the record is: [`RETENTION`].
    pub custody: &'static str,
    /// `begun` before anything is taken out, `done` after.
    pub state: &'static str,
    /// The table.
    pub table: &'static str,
    /// The first day that leaves.
    pub first_day: String,
    /// The last day that leaves.
    pub last_day: String,
    /// Files that leave.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// By which policy, in the words of whoever configured it.
    pub policy: &'a str,
    /// The account under which it was done.
    pub by: Option<&'a str>,
    /// When, RFC 3339.
    pub at: String,
}

/// Messages were gone before they were read.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LossRecord<'a> {
    /// What the record is: [`LOSS`].
    pub(crate) custody: &'static str,
    /// Name of the Kafka cluster.
    pub(crate) cluster: &'a str,
    /// The topic.
    pub(crate) topic: &'a str,
    /// The partition.
    pub(crate) partition: i32,
    /// The first offset that is missing.
    pub(crate) first_lost: i64,
    /// The first offset that Kafka still had.
    pub(crate) first_left: i64,
    /// When that was found, RFC 3339.
    pub(crate) at: String,
}

/// The value of [`RetentionRecord::custody`].
pub const RETENTION: &str = "retention";
/// The value of [`LossRecord::custody`].
pub(crate) const LOSS: &str = "loss";

/// The value of [`ImportRecord::custody`].
pub(crate) const IMPORT: &str = "import";

/// Decodes one record of Custody's own.
pub(super) fn decode(message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    wrapper::unpack(message.value, &mut Custody { sink })
}

struct Custody<'s> {
    sink: &'s mut dyn Sink,
}

impl Unpacked for Custody<'_> {
    const BETWEEN_LOG_LINES: bool = false;

    fn is_event(&self, object: &Object<'_>) -> bool {
        object.has("custody")
    }

    fn object(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        let what = object.text("custody");
        match what.as_deref() {
            Some(IMPORT) => self.import(object),
            Some(RETENTION) => self.retention(object),
            Some(LOSS) => self.loss(object),
            _ => Err(DecodeError::new(ErrorKind::UnexpectedShape, "`custody` says nothing that is known")),
        }
    }
}

impl Custody<'_> {
    fn import(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        let sha256 = object.json("sha256").and_then(string);
        let format = object.json("format").and_then(string).unwrap_or_default();
        let integrity = object.json("integrity").and_then(string);
        let integrity = Integrity::ALL.into_iter().find(|level| Some(level.as_str()) == integrity.as_deref());
        let imported_at = object.time("imported_at");
        let mut event = Event {
            event_id: match &sha256 {
                Some(sha256) => {
                    let cut = object.json("cut").and_then(string).map(|cut| format!("/{cut}")).unwrap_or_default();
                    Cow::Owned(["custody/import/", sha256, &cut].concat())
                }
                None => Cow::Borrowed(""),
            },
            occurred_at: imported_at.at(),
            kind: Kind::Import,
            actor: object.text("imported_by"),
            source_type: Cow::Owned(["import.", &format].concat()),
            action: Some(Cow::Owned(["import ", &format].concat())),
            target: object.text("object"),
            target_kind: Some("object".into()),
            outcome: integrity.map(|integrity| match integrity {
                Integrity::Failed => Outcome::Failure,
                _ => Outcome::Success,
            }),
            session_id: object.text("session_id"),
            recording_id: object.text("recording_id"),
            integrity,
            ..Event::default()
        };
        if integrity.is_some() {
            object.take("integrity");
        }
        event.detail = object.detail()?;
        self.sink.event(&event);
        instant(imported_at, "`imported_at` is not an instant")
    }

    fn retention(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        let [table, first_day, state, at] = ["table", "first_day", "state", "at"]
            .map(|name| object.json(name).and_then(string).unwrap_or_default().into_owned());
        let time = object.time("at");
        let mut event = Event {
            event_id: Cow::Owned(["custody/retention/", &table, "/", &first_day, "/", &at, "/", &state].concat()),
            occurred_at: time.at(),
            kind: Kind::Retention,
            actor: object.text("by"),
            source_type: Cow::Owned(["retention.", &state].concat()),
            action: Some(Cow::Owned(["retention ", &state].concat())),
            target: object.text("table"),
            target_kind: Some("table".into()),
            outcome: (state == "done").then_some(Outcome::Success),
            reason: object.text("policy"),
            ..Event::default()
        };
        event.detail = object.detail()?;
        self.sink.event(&event);
        instant(time, "`at` is not an instant")
    }

    fn loss(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        let part = |name| object.json(name).map(|json| json.trim_matches('"').to_owned()).unwrap_or_default();
        let place = ["cluster", "topic", "partition"].map(part).join("/");
        let event_id = ["custody/loss/", &place, "/", &part("first_lost")].concat();
        let time = object.time("at");
        let mut event = Event {
            event_id: Cow::Owned(event_id),
            occurred_at: time.at(),
            kind: Kind::Loss,
            source_type: Cow::Borrowed("loss"),
            action: Some(Cow::Borrowed("messages lost")),
            target: Some(Cow::Owned(place)),
            target_kind: Some("partition".into()),
            outcome: Some(Outcome::Failure),
            ..Event::default()
        };
        event.detail = object.detail()?;
        self.sink.event(&event);
        instant(time, "`at` is not an instant")
    }
}

fn instant(time: Time, otherwise: &'static str) -> Result<(), DecodeError> {
    match time {
        Time::Invalid => Err(DecodeError::new(ErrorKind::InvalidField, otherwise)),
        Time::At(_) | Time::Unset => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::SourceKind;
    use crate::source::testing::decoded;

    #[test]
    fn what_custody_did_and_found_is_an_event() {
        let record = ImportRecord {
            custody: IMPORT,
            object: "s3://recordings/s1.tar",
            format: "teleport-recording",
            size_bytes: 17,
            sha256: "ab",
            cut: None,
            source: "teleport",
            members: Vec::new(),
            imported_at: "2026-11-02T09:00:00Z".to_owned(),
            imported_by: Some("auditor"),
            records: 3,
            session_id: Some("s1"),
            recording_id: None,
            public_key_sha256: None,
            integrity: Some(Integrity::Failed.as_str()),
            findings: vec![FindingRecord { kind: "Gap", file: None, detail: "5 events are missing" }],
        };
        let out = decoded(SourceKind::Custody, serde_json::to_vec(&record).unwrap());
        assert_eq!(out.error, None);
        assert_eq!(
            out.events,
            [json!({"event_id": "custody/import/ab", "occurred_at": "2026-11-02T09:00:00.000000Z", "kind": "import",
                "actor": "auditor", "source_type": "import.teleport-recording", "action": "import teleport-recording",
                "target": "s3://recordings/s1.tar", "target_kind": "object", "outcome": "failure", "session_id": "s1",
                "integrity": "failed",
                "detail": {"findings": [{"detail": "5 events are missing", "kind": "Gap"}],
                    "format": "teleport-recording", "records": 3, "sha256": "ab", "size_bytes": 17, "source": "teleport"}})]
        );
        let record = RetentionRecord {
            custody: RETENTION,
            state: "begun",
            table: "frames",
            first_day: "2025-01-01".to_owned(),
            last_day: "2025-01-31".to_owned(),
            files: 31,
            rows: 1000,
            bytes: 5_000_000,
            policy: "RET-7: recordings for a year",
            by: Some("custody"),
            at: "2026-11-02T09:00:00Z".to_owned(),
        };
        assert_eq!(
            decoded(SourceKind::Custody, serde_json::to_vec(&record).unwrap()).events,
            [json!({"event_id": "custody/retention/frames/2025-01-01/2026-11-02T09:00:00Z/begun",
                "occurred_at": "2026-11-02T09:00:00.000000Z", "kind": "retention", "actor": "custody",
                "source_type": "retention.begun", "action": "retention begun", "target": "frames",
                "target_kind": "table", "reason": "RET-7: recordings for a year",
                "detail": {"bytes": 5_000_000, "files": 31, "first_day": "2025-01-01", "last_day": "2025-01-31",
                    "rows": 1000, "state": "begun"}})]
        );
        let record = LossRecord {
            custody: LOSS,
            cluster: "prod",
            topic: "audit",
            partition: 3,
            first_lost: 10,
            first_left: 25,
            at: "2026-11-02T09:00:00Z".to_owned(),
        };
        assert_eq!(
            decoded(SourceKind::Custody, serde_json::to_vec(&record).unwrap()).events,
            [json!({"event_id": "custody/loss/prod/audit/3/10", "occurred_at": "2026-11-02T09:00:00.000000Z",
                "kind": "loss", "source_type": "loss", "action": "messages lost", "target": "prod/audit/3",
                "target_kind": "partition", "outcome": "failure",
                "detail": {"cluster": "prod", "first_left": 25, "first_lost": 10, "partition": 3, "topic": "audit"}})]
        );
        for (value, error) in [("{}", ErrorKind::UnexpectedShape), (r#"{"custody":"x"}"#, ErrorKind::UnexpectedShape)] {
            assert_eq!(decoded(SourceKind::Custody, value).error, Some(error), "{value}");
        }
    }
}
