//! What ingest is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::source::Source;

/// The `[kafka]` section of the configuration and the topics.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bootstrap addresses, `host:port` joined by commas.
    pub brokers: String,
    /// Consumer group: processes of one group share the partitions.
    pub group: String,
    /// Name of the Kafka cluster in the ledger's cursors. Ledgers that read two clusters need two names.
    pub cluster: String,
    /// What to do when Kafka has deleted messages that were not read yet.
    pub on_lost_messages: OnLostMessages,
    /// Further settings of librdkafka (`security.protocol`, `sasl.username`, ...), taken as they are.
    pub options: BTreeMap<String, String>,
    /// The topics and what their messages are.
    pub topics: Vec<Topic>,
    /// When a batch is committed.
    pub flush: Flush,
}

/// A topic and the source that its messages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name of the topic.
    pub name: String,
    /// How its messages are decoded.
    pub source: Source,
}

/// When a batch is committed: as soon as one of these is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flush {
    /// Number of messages.
    pub rows_max: usize,
    /// Bytes of keys and values.
    pub bytes_max: usize,
    /// Milliseconds since the first message of the batch came in.
    pub age_ms_max: u64,
}

impl Default for Flush {
    /// The age makes a message visible in well under half a second (each commit is a file or three: on a store where
    /// requests are dear a second or more is thriftier); the other two bound memory, not freshness.
    fn default() -> Self {
        Self { rows_max: 50_000, bytes_max: 12 * 1024 * 1024, age_ms_max: 250 }
    }
}

/// What to do when Kafka has deleted messages (retention, a recreated topic) that the ledger had not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLostMessages {
    /// Stop with an error that says which offsets are gone: an operator has to know.
    #[default]
    Stop,
    /// Log and count them as lost, and go on with the first message that is left.
    Continue,
}
