//! What Custody itself tells: that an object was imported, and how far it can be trusted; that days left a table by a
//! policy; that messages were gone before they were read; what it found that people have to look at; and that it lives.
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
    pub(crate) findings: Vec<DefectRecord<'a>>,
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
pub(crate) struct DefectRecord<'a> {
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

/// A finding was raised, is another than before, or is over.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FindingRecord<'a> {
    /// What the record is: [`FINDING`].
    pub custody: &'static str,
    /// `open` when it is raised, and again when it comes back; `changed`; `closed` when it is over.
    pub state: &'static str,
    /// The report that found it (`R02`), or `silent`: a source from which nothing comes.
    pub report: &'a str,
    /// The version of the report.
    pub report_version: u32,
    /// The title of the report.
    pub title: &'a str,
    /// The row of the report that it is, by its key.
    pub key: &'a str,
    /// The report's judgement: `exception` until the finding is over.
    pub verdict: &'a str,
    /// Why, in the report's codes.
    pub why: &'a [String],
    /// The same in words.
    pub explanation: &'a str,
    /// The controls that the report is evidence of.
    pub controls: &'a [String],
    /// The session that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<&'a str>,
    /// The person, by the identity table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<&'a str>,
    /// The events that it rests on.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub evidence: &'a [String],
    /// What people said of it: `explained`, `accepted`, `remediated`, or `open` again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled: Option<&'a str>,
    /// When it was raised first, RFC 3339.
    pub raised_at: &'a str,
    /// When, RFC 3339.
    pub at: &'a str,
}

/// What came in between two instants, in numbers: whoever does not get one knows that something stands still.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HeartbeatRecord<'a> {
    /// What the record is: [`HEARTBEAT`].
    pub custody: &'static str,
    /// The beginning of the span, RFC 3339; the instant is in it.
    pub from: &'a str,
    /// Its end; the instant is not in it.
    pub to: &'a str,
    /// Events that were taken in, by source.
    pub sources: &'a [SourceCount],
    /// All of them.
    pub events: i64,
}

/// Events of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct SourceCount {
    /// The source.
    pub source: String,
    /// How many were taken in.
    pub events: i64,
}

/// The value of [`FindingRecord::custody`].
pub const FINDING: &str = "finding";
/// The value of [`HeartbeatRecord::custody`].
pub const HEARTBEAT: &str = "heartbeat";
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
            Some(FINDING) => self.finding(object),
            Some(HEARTBEAT) => self.heartbeat(object),
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

    fn finding(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        let part = |name| object.json(name).and_then(string).unwrap_or_default().into_owned();
        let [report, key, state, at] = ["report", "key", "state", "at"].map(part);
        let time = object.time("at");
        let finding = [&report, "/", &key].concat();
        let mut event = Event {
            event_id: Cow::Owned(["custody/finding/", &finding, "/", &at].concat()),
            occurred_at: time.at(),
            kind: Kind::Finding,
            source_type: Cow::Owned(["finding.", &state].concat()),
            action: object.text("title"),
            target: Some(Cow::Owned(key)),
            target_kind: Some("finding".into()),
            outcome: Some(if state == "closed" { Outcome::Success } else { Outcome::Failure }),
            session_id: object.text("session_id"),
            reason: object.text("explanation"),
            correlation_id: Some(Cow::Owned(finding)),
            ..Event::default()
        };
        event.detail = object.detail()?;
        self.sink.event(&event);
        instant(time, "`at` is not an instant")
    }

    fn heartbeat(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        let to = object.json("to").and_then(string).unwrap_or_default().into_owned();
        let time = object.time("to");
        let mut event = Event {
            event_id: Cow::Owned(["custody/heartbeat/", &to].concat()),
            occurred_at: time.at(),
            kind: Kind::Heartbeat,
            source_type: Cow::Borrowed("heartbeat"),
            outcome: Some(Outcome::Success),
            ..Event::default()
        };
        event.detail = object.detail()?;
        self.sink.event(&event);
        instant(time, "`to` is not an instant")
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
            findings: vec![DefectRecord { kind: "Gap", file: None, detail: "5 events are missing" }],
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
        let record = FindingRecord {
            custody: FINDING,
            state: "open",
            report: "R02",
            report_version: 3,
            title: "Sessions without an approval in force",
            key: "teleport/s1",
            verdict: "exception",
            why: &["no_approval".to_owned()],
            explanation: "Nothing approved it",
            controls: &["SOC2 CC6.1".to_owned()],
            session_id: Some("s1"),
            person: Some("mallory@example.com"),
            evidence: &["teleport/e1".to_owned()],
            handled: None,
            raised_at: "2026-11-02T08:00:00Z",
            at: "2026-11-02T09:00:00Z",
        };
        assert_eq!(
            decoded(SourceKind::Custody, serde_json::to_vec(&record).unwrap()).events,
            [json!({"event_id": "custody/finding/R02/teleport/s1/2026-11-02T09:00:00Z",
                "occurred_at": "2026-11-02T09:00:00.000000Z", "kind": "finding", "source_type": "finding.open",
                "action": "Sessions without an approval in force", "target": "teleport/s1", "target_kind": "finding",
                "outcome": "failure", "session_id": "s1", "reason": "Nothing approved it",
                "correlation_id": "R02/teleport/s1",
                "detail": {"controls": ["SOC2 CC6.1"], "evidence": ["teleport/e1"], "key": "teleport/s1",
                    "person": "mallory@example.com", "raised_at": "2026-11-02T08:00:00Z", "report": "R02",
                    "report_version": 3, "state": "open", "verdict": "exception", "why": ["no_approval"]}})]
        );
        let record = HeartbeatRecord {
            custody: HEARTBEAT,
            from: "2026-11-02T08:00:00Z",
            to: "2026-11-02T09:00:00Z",
            sources: &[SourceCount { source: "teleport".to_owned(), events: 12 }],
            events: 12,
        };
        assert_eq!(
            decoded(SourceKind::Custody, serde_json::to_vec(&record).unwrap()).events,
            [json!({"event_id": "custody/heartbeat/2026-11-02T09:00:00Z",
                "occurred_at": "2026-11-02T09:00:00.000000Z", "kind": "heartbeat", "source_type": "heartbeat",
                "outcome": "success",
                "detail": {"events": 12, "from": "2026-11-02T08:00:00Z",
                    "sources": [{"events": 12, "source": "teleport"}]}})]
        );
        for (value, error) in [("{}", ErrorKind::UnexpectedShape), (r#"{"custody":"x"}"#, ErrorKind::UnexpectedShape)] {
            assert_eq!(decoded(SourceKind::Custody, value).error, Some(error), "{value}");
        }
    }
}
