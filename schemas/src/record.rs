//! A record: one message exactly as received, from Kafka, from a sender, or as a unit of an imported object.

use std::fmt;

use crate::time::Micros;

/// Where a message stood in Kafka. Topic, partition and offset together name exactly one message of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition number.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// One message as it came from Kafka, borrowed from the consumer's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Where it stood.
    pub origin: Origin<'a>,
    /// Kafka's timestamp (set by the producer or the broker), when the message has one.
    pub broker_at: Option<Micros>,
    /// Message key, absent or any bytes.
    pub key: Option<&'a [u8]>,
    /// Headers in order; names may repeat, values may be absent.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Message value; absent on a tombstone.
    pub value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// The last value of the header `name`, compared without regard to ASCII case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().rev().find(|(have, _)| have.eq_ignore_ascii_case(name)).and_then(|(_, value)| *value)
    }
}

/// Why a record, or a part of it, could not be decoded.
///
/// `kind` is one of a small closed set, so that it can be counted; `detail` says what was expected and where, without
/// quoting the value (it may hold a secret).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The class of the error.
    pub kind: ErrorKind,
    /// What was expected, for a person.
    pub detail: String,
}

impl DecodeError {
    /// An error of a kind with its explanation.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}

impl std::error::Error for DecodeError {}

/// The closed set of reasons for which a record is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No value: a tombstone, or a value of no bytes.
    Empty,
    /// The value is not UTF-8 where the format is text.
    InvalidUtf8,
    /// The value is not JSON, or is cut off.
    InvalidJson,
    /// The value starts like gzip and is not, or is cut off.
    InvalidGzip,
    /// A part that should be base64 is not.
    InvalidBase64,
    /// Inflated or nested beyond the limits.
    TooLarge,
    /// JSON, but not of the shape of its source.
    UnexpectedShape,
    /// A field that the source always writes is absent.
    MissingField,
    /// A field has a value that it cannot have: a time out of range, a wrong type.
    InvalidField,
    /// An object names a key twice: which of the two is the fact cannot be known.
    DuplicateKey,
    /// A piece of a session's recording from which the session's id is not to be had.
    NoSessionId,
}

impl ErrorKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Empty,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::InvalidGzip,
        Self::InvalidBase64,
        Self::TooLarge,
        Self::UnexpectedShape,
        Self::MissingField,
        Self::InvalidField,
        Self::DuplicateKey,
        Self::NoSessionId,
    ];

    /// The name that stands in `records.error_kind` and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::InvalidGzip => "invalid_gzip",
            Self::InvalidBase64 => "invalid_base64",
            Self::TooLarge => "too_large",
            Self::UnexpectedShape => "unexpected_shape",
            Self::MissingField => "missing_field",
            Self::InvalidField => "invalid_field",
            Self::DuplicateKey => "duplicate_key",
            Self::NoSessionId => "no_session_id",
        }
    }
}
