//! What Custody itself tells: that an object was imported, and how far it can be trusted.
//!
//! An import writes one such record when it has read an object to its end, after the records that it cut from it.

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
        if what.as_deref() != Some(IMPORT) {
            return Err(DecodeError::new(ErrorKind::UnexpectedShape, "`custody` does not say `import`"));
        }
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
            target_kind: Some("object"),
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
        match imported_at {
            Time::Invalid => Err(DecodeError::new(ErrorKind::InvalidField, "`imported_at` is not an instant")),
            Time::At(_) | Time::Unset => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::SourceKind;
    use crate::source::testing::decoded;

    #[test]
    fn an_import_is_an_event_that_says_how_far_the_object_can_be_trusted() {
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
        for (value, error) in [("{}", ErrorKind::UnexpectedShape), (r#"{"custody":"x"}"#, ErrorKind::UnexpectedShape)] {
            assert_eq!(decoded(SourceKind::Custody, value).error, Some(error), "{value}");
        }
    }
}
