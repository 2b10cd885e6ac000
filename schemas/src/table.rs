//! The tables of the ledger: names, Arrow columns, order of rows, and the columns that deserve statistics.
//!
//! All of them are partitioned by `date`, the UTC day on which Custody ingested the row. Not by the day of the event: that
//! is the source's word, and one hostile message with a time of its own would open a file for each day it names. Files
//! hold what arrived together, so the minimum and maximum of `occurred_at` prune as well as a partition would.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A table of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// One row per message, exactly as received: from Kafka, pushed by a sender, or cut from an object at rest.
    Records,
    /// One row per normalised audit fact.
    Events,
    /// One row per run of pieces of a recorded session.
    Frames,
    /// One row per thing that Custody was asked to do, and again when it was done.
    Activity,
    /// One row per step of a destination that events are forwarded to.
    Forwarding,
    /// One row per event that a destination did not take, and again when it was sent again or dropped.
    Undelivered,
    /// One row per time that a recording was looked through. Derived from frames, as are those that follow.
    IndexedRecordings,
    /// One row per text that was on the screen of a recorded session.
    IndexedTexts,
    /// One row per command of a recorded session.
    IndexedCommands,
    /// One row per part of a recording that is shown from its own beginning.
    IndexedSegments,
    /// Which sequences of three characters are in a run of those texts.
    IndexedTrigrams,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 11] = [
        Self::Records,
        Self::Events,
        Self::Frames,
        Self::Activity,
        Self::Forwarding,
        Self::Undelivered,
        Self::IndexedRecordings,
        Self::IndexedTexts,
        Self::IndexedCommands,
        Self::IndexedSegments,
        Self::IndexedTrigrams,
    ];

    /// Those that ingest writes, in the order in which a batch is committed: what was received first.
    pub const EVIDENCE: [Self; 3] = [Self::Records, Self::Events, Self::Frames];

    /// Name of the table, and of its folder in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Events => "events",
            Self::Frames => "frames",
            Self::Activity => "activity",
            Self::Forwarding => "forwarding",
            Self::Undelivered => "undelivered",
            Self::IndexedRecordings => "indexed_recordings",
            Self::IndexedTexts => "indexed_texts",
            Self::IndexedCommands => "indexed_commands",
            Self::IndexedSegments => "indexed_segments",
            Self::IndexedTrigrams => "indexed_trigrams",
        }
    }

    /// Whether it says nothing that other tables do not say, so that it can be made again at any time.
    pub fn is_derived(self) -> bool {
        matches!(
            self,
            Self::IndexedRecordings
                | Self::IndexedTexts
                | Self::IndexedCommands
                | Self::IndexedSegments
                | Self::IndexedTrigrams
        )
    }

    /// What the table holds, in one line (kept in the table's own metadata).
    pub fn comment(self) -> &'static str {
        match self {
            Self::Records => "One message exactly as received, decodable or not",
            Self::Events => "One normalised audit fact, derived from a record",
            Self::Frames => "A run of timed pieces of one recorded session, derived from records",
            Self::Activity => "One thing that Custody was asked to do, or has done",
            Self::Forwarding => "One step of a destination that events are forwarded to",
            Self::Undelivered => "One event that a destination did not take, or what became of it",
            Self::IndexedRecordings => "One time that a recording was looked through, derived from frames",
            Self::IndexedTexts => "One text that was on the screen of a recorded session, derived from frames",
            Self::IndexedCommands => "One command of a recorded session, derived from frames",
            Self::IndexedSegments => {
                "One part of a recording that is shown from its own beginning, derived from frames"
            }
            Self::IndexedTrigrams => "Three characters that follow one another in a run of texts, derived from frames",
        }
    }

    /// Columns of the table.
    pub fn schema(self) -> SchemaRef {
        static RECORDS: LazyLock<SchemaRef> = LazyLock::new(records);
        static EVENTS: LazyLock<SchemaRef> = LazyLock::new(events);
        static FRAMES: LazyLock<SchemaRef> = LazyLock::new(frames);
        static ACTIVITY: LazyLock<SchemaRef> = LazyLock::new(activity);
        static FORWARDING: LazyLock<SchemaRef> = LazyLock::new(forwarding);
        static UNDELIVERED: LazyLock<SchemaRef> = LazyLock::new(undelivered);
        static RECORDINGS: LazyLock<SchemaRef> = LazyLock::new(indexed_recordings);
        static TEXTS: LazyLock<SchemaRef> = LazyLock::new(indexed_texts);
        static COMMANDS: LazyLock<SchemaRef> = LazyLock::new(indexed_commands);
        static SEGMENTS: LazyLock<SchemaRef> = LazyLock::new(indexed_segments);
        static TRIGRAMS: LazyLock<SchemaRef> = LazyLock::new(indexed_trigrams);
        match self {
            Self::Records => RECORDS.clone(),
            Self::Events => EVENTS.clone(),
            Self::Frames => FRAMES.clone(),
            Self::Activity => ACTIVITY.clone(),
            Self::Forwarding => FORWARDING.clone(),
            Self::Undelivered => UNDELIVERED.clone(),
            Self::IndexedRecordings => RECORDINGS.clone(),
            Self::IndexedTexts => TEXTS.clone(),
            Self::IndexedCommands => COMMANDS.clone(),
            Self::IndexedSegments => SEGMENTS.clone(),
            Self::IndexedTrigrams => TRIGRAMS.clone(),
        }
    }

    /// Rows of a file stand in the order of these columns.
    pub fn sort_columns(self) -> &'static [&'static str] {
        match self {
            Self::Records => &["topic", "partition", "offset"],
            Self::Events => &["kind", "occurred_at", "topic", "partition", "offset", "index"],
            Self::Frames => &["session_id", "first_seq"],
            Self::Activity => &["at", "activity_id"],
            Self::Forwarding => &["destination", "step"],
            Self::Undelivered => &["destination", "at"],
            Self::IndexedRecordings => &["session_id", "run"],
            Self::IndexedTexts => &["session_id", "run", "number"],
            Self::IndexedCommands => &["session_id", "run", "at_us"],
            Self::IndexedSegments => &["session_id", "run", "number"],
            Self::IndexedTrigrams => &["first_session", "first_run", "first_number"],
        }
    }

    /// Columns whose minimum and maximum are kept for each file: those that questions are narrowed by.
    pub fn statistics_columns(self) -> &'static [&'static str] {
        match self {
            Self::Records => &["topic", "partition", "offset", "broker_at", "ingested_at", "error_kind"],
            Self::Events => {
                &["occurred_at", "kind", "actor", "session_id", "topic", "partition", "offset", "ingested_at"]
            }
            Self::Frames => &["session_id", "first_at", "last_at", "topic", "partition", "first_offset", "last_offset"],
            Self::Activity => &["at", "actor", "verb"],
            Self::Forwarding => &["destination", "step", "at"],
            Self::Undelivered => &["destination", "at", "event_id"],
            Self::IndexedRecordings | Self::IndexedTexts | Self::IndexedCommands | Self::IndexedSegments => {
                &["session_id", "run"]
            }
            Self::IndexedTrigrams => &[],
        }
    }

    /// Columns of arbitrary bytes or long text: neither statistics nor a dictionary pay there.
    pub fn payload_columns(self) -> &'static [&'static str] {
        match self {
            Self::Records => &["key", "value"],
            Self::Events => &["detail"],
            Self::Frames => &["data"],
            Self::Activity => &["sql", "detail"],
            Self::Forwarding => &["position"],
            Self::Undelivered => &["answer"],
            Self::IndexedRecordings => &["findings"],
            Self::IndexedTexts | Self::IndexedCommands => &["text"],
            Self::IndexedSegments => &["init"],
            Self::IndexedTrigrams => &["bits"],
        }
    }
}

/// The partition column of every table.
pub const PARTITION_COLUMN: &str = "date";

/// A point in time: microseconds, UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The element of a list; the name is the one that Parquet and Delta prescribe.
pub(crate) fn element(of: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", of, true))
}

fn list(of: DataType) -> DataType {
    DataType::List(element(of))
}

/// Fields of one Kafka header.
pub(crate) fn header_fields() -> arrow::datatypes::Fields {
    vec![Field::new("name", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into()
}

fn required(name: &str, of: DataType) -> Field {
    Field::new(name, of, false)
}

fn optional(name: &str, of: DataType) -> Field {
    Field::new(name, of, true)
}

fn records() -> SchemaRef {
    use DataType::{Binary, Date32, Int32, Int64, Struct, Utf8};
    Arc::new(Schema::new(vec![
        required("date", Date32),
        required("source", Utf8),
        required("topic", Utf8),
        required("partition", Int32),
        required("offset", Int64),
        optional("broker_at", timestamp()),
        required("ingested_at", timestamp()),
        optional("key", Binary),
        optional("headers", list(Struct(header_fields()))),
        optional("value", Binary),
        optional("error_kind", Utf8),
        optional("error", Utf8),
    ]))
}

fn events() -> SchemaRef {
    use DataType::{Boolean, Date32, Int32, Int64, Utf8};
    Arc::new(Schema::new(vec![
        required("date", Date32),
        required("event_id", Utf8),
        required("source", Utf8),
        optional("cluster", Utf8),
        optional("occurred_at", timestamp()),
        optional("broker_at", timestamp()),
        required("ingested_at", timestamp()),
        required("kind", Utf8),
        required("source_type", Utf8),
        optional("source_code", Utf8),
        optional("actor", Utf8),
        optional("actor_kind", Utf8),
        optional("actor_roles", list(Utf8)),
        optional("delegator", Utf8),
        optional("action", Utf8),
        optional("target", Utf8),
        optional("target_kind", Utf8),
        optional("login", Utf8),
        optional("outcome", Utf8),
        optional("session_id", Utf8),
        optional("protocol", Utf8),
        optional("session_started_at", timestamp()),
        optional("session_ended_at", timestamp()),
        optional("participants", list(Utf8)),
        optional("request_ids", list(Utf8)),
        optional("reason", Utf8),
        optional("request_state", Utf8),
        optional("proposed_state", Utf8),
        optional("requested_roles", list(Utf8)),
        optional("expires_at", timestamp()),
        optional("decision_id", Utf8),
        optional("policy_path", Utf8),
        optional("policy_revision", Utf8),
        optional("ticket", Utf8),
        optional("approver", Utf8),
        optional("approved_at", timestamp()),
        optional("correlation_id", Utf8),
        optional("recording_id", Utf8),
        optional("recorded", Boolean),
        optional("integrity", Utf8),
        optional("mfa_device", Utf8),
        optional("remote_addr", Utf8),
        required("detail", Utf8),
        required("topic", Utf8),
        required("partition", Int32),
        required("offset", Int64),
        required("index", Int32),
    ]))
}

fn frames() -> SchemaRef {
    use DataType::{Binary, Date32, Int32, Int64, Utf8};
    Arc::new(Schema::new(vec![
        required("date", Date32),
        required("source", Utf8),
        optional("cluster", Utf8),
        required("session_id", Utf8),
        optional("channel", Utf8),
        required("first_seq", Int64),
        required("last_seq", Int64),
        optional("first_at", timestamp()),
        optional("last_at", timestamp()),
        required("ingested_at", timestamp()),
        required("clock", Utf8),
        required("codes", Utf8),
        required("seqs", list(Int64)),
        required("times_us", list(Int64)),
        required("ats", list(Int64)),
        required("positions", list(Int64)),
        required("lens", list(Int32)),
        required("output_bytes", Int64),
        required("data", Binary),
        required("topic", Utf8),
        required("partition", Int32),
        required("first_offset", Int64),
        required("last_offset", Int64),
    ]))
}

fn activity() -> SchemaRef {
    use DataType::{Date32, Int64, Utf8};
    Arc::new(Schema::new(vec![
        required("date", Date32),
        required("activity_id", Utf8),
        required("at", timestamp()),
        required("actor", Utf8),
        required("channel", Utf8),
        optional("remote_addr", Utf8),
        required("verb", Utf8),
        optional("object", Utf8),
        optional("reason", Utf8),
        optional("sql", Utf8),
        optional("outcome", Utf8),
        optional("error", Utf8),
        optional("rows", Int64),
        optional("bytes", Int64),
        optional("duration_ms", Int64),
        required("detail", Utf8),
    ]))
}

fn forwarding() -> SchemaRef {
    use DataType::{Date32, Int64, Utf8};
    Arc::new(Schema::new(vec![
        required("date", Date32),
        required("destination", Utf8),
        required("step", Int64),
        required("at", timestamp()),
        required("worker", Utf8),
        required("lease_until", timestamp()),
        required("position", Utf8),
        required("state", Utf8),
        required("sent", Int64),
        required("dead", Int64),
        required("filtered", Int64),
        optional("ingested_at", timestamp()),
        optional("actor", Utf8),
        optional("reason", Utf8),
    ]))
}

fn undelivered() -> SchemaRef {
    use DataType::{Date32, Int32, Int64, Utf8};
    Arc::new(Schema::new(vec![
        required("date", Date32),
        required("destination", Utf8),
        required("at", timestamp()),
        required("event_id", Utf8),
        required("topic", Utf8),
        required("partition", Int32),
        required("offset", Int64),
        required("index", Int32),
        required("outcome", Utf8),
        optional("status", Int32),
        optional("answer", Utf8),
        required("attempts", Int32),
        optional("actor", Utf8),
    ]))
}

/// What every row of an index says: of which recording it is, and by which look at it.
fn indexed() -> Vec<Field> {
    use DataType::{Date32, Int64, Utf8};
    vec![
        required("date", Date32),
        required("run", Int64),
        required("source", Utf8),
        required("session_id", Utf8),
        optional("channel", Utf8),
    ]
}

fn indexed_recordings() -> SchemaRef {
    use DataType::{Boolean, Int32, Int64, Utf8};
    let more = [
        required("indexed_at", timestamp()),
        required("version", Int32),
        required("frames", Int64),
        optional("started_at", timestamp()),
        required("duration_us", Int64),
        required("cols", Int32),
        required("rows", Int32),
        required("events", Int64),
        required("output_bytes", Int64),
        required("output_sha256", Utf8),
        required("replaced_bytes", Int64),
        required("ended", Boolean),
        required("findings", Utf8),
        optional("findings_us", list(Int64)),
        required("texts", Int64),
        required("commands", Int64),
        required("missed", Int64),
        optional("error", Utf8),
    ];
    Arc::new(Schema::new([indexed(), more.into()].concat()))
}

fn indexed_texts() -> SchemaRef {
    use DataType::{Boolean, Int32, Int64, Utf8};
    let more = [
        required("number", Int64),
        required("from_us", Int64),
        required("whole_us", Int64),
        required("till_us", Int64),
        required("row", Int32),
        required("alternate", Boolean),
        required("text", Utf8),
    ];
    Arc::new(Schema::new([indexed(), more.into()].concat()))
}

fn indexed_commands() -> SchemaRef {
    use DataType::{Int32, Int64, Utf8};
    let more = [
        required("at_us", Int64),
        optional("until_us", Int64),
        optional("exit_status", Int32),
        required("found_by", Utf8),
        required("text", Utf8),
    ];
    Arc::new(Schema::new([indexed(), more.into()].concat()))
}

fn indexed_segments() -> SchemaRef {
    use DataType::{Int32, Int64, Utf8};
    let more = [
        required("number", Int64),
        required("start_us", Int64),
        required("end_us", Int64),
        required("cols", Int32),
        required("rows", Int32),
        required("init", Utf8),
        required("tail", Utf8),
        required("events", Int64),
        required("output_bytes", Int64),
        required("sha256", Utf8),
        required("idle_ends_us", list(Int64)),
        required("idle_us", list(Int64)),
        required("markers_us", list(Int64)),
        required("markers", list(Utf8)),
        required("clock", Utf8),
        optional("topic", Utf8),
        optional("partition", Int32),
        required("first_seq", Int64),
        required("last_seq", Int64),
        required("reached_us", Int64),
        optional("version", Int32),
        required("header_us", Int64),
        optional("zero_us", Int64),
    ];
    Arc::new(Schema::new([indexed(), more.into()].concat()))
}

fn indexed_trigrams() -> SchemaRef {
    use DataType::{Binary, Date32, Int64, Utf8};
    Arc::new(Schema::new(vec![
        required("date", Date32),
        required("first_session", Utf8),
        required("last_session", Utf8),
        required("first_run", Int64),
        required("last_run", Int64),
        required("first_number", Int64),
        required("last_number", Int64),
        required("bits", Binary),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_column_exists() {
        for table in Table::ALL {
            let schema = table.schema();
            let named = [table.sort_columns(), table.statistics_columns(), table.payload_columns()].concat();
            for name in named {
                assert!(schema.field_with_name(name).is_ok(), "{}.{name}", table.name());
            }
            assert_eq!(schema.field(0).name(), PARTITION_COLUMN);
        }
    }
}
