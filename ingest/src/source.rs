//! Source systems: what a message of each means.
//!
//! A source is one pure function from a message to events and pieces of recordings. It does no I/O and reads no clock,
//! so a ledger can be decoded again from its records at any time and give the same rows.
//!
//! To add one: a file in this folder with a `decode` function, a variant of [`SourceKind`], a contract in
//! `schemas/topics/`, and examples that its tests run over.

use std::sync::Arc;

use custody_schemas::event::Event;
use custody_schemas::frame::Piece;
use custody_schemas::record::{DecodeError, Message};
use serde::{Deserialize, Serialize};

pub(crate) mod asciicast;
pub(crate) mod boundary;
pub(crate) mod custody;
mod hoop;
mod json;
mod object;
mod opa;
mod routing;
pub(crate) mod script;
pub(crate) mod sudo;
pub(crate) mod teleport;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod timing;
mod tlog;
pub(crate) mod ttyrec;
mod wrapper;

pub use boundary::{AuditKey, InvalidAuditKey};
pub use hoop::HoopMapping;
pub use opa::{OpaColumn, OpaMapping, OpaPointer};

/// The kinds of source that Custody understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Teleport audit events, session streams and recordings (contract: `schemas/topics/teleport.md`).
    Teleport,
    /// HashiCorp Boundary events and session recordings (contract: `schemas/topics/boundary.md`).
    Boundary,
    /// Open Policy Agent decision logs (contract: `schemas/topics/opa.md`).
    Opa,
    /// hoop.dev sessions, reviews, webhooks, routed events and audit log (contract: `schemas/topics/hoop.md`).
    Hoop,
    /// Custody's own stream of asciicast lines, for any other gateway (contract: `schemas/topics/asciicast.md`).
    Asciicast,
    /// Recordings of `ttyrec`.
    Ttyrec,
    /// Recordings of `script` with timing.
    Script,
    /// Session logs of `sudo`.
    Sudo,
    /// Messages of `tlog`.
    Tlog,
    /// What Custody itself tells: imports.
    Custody,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Teleport,
        Self::Boundary,
        Self::Opa,
        Self::Hoop,
        Self::Asciicast,
        Self::Ttyrec,
        Self::Script,
        Self::Sudo,
        Self::Tlog,
        Self::Custody,
    ];

    /// The name in the configuration and in the `source` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Teleport => "teleport",
            Self::Boundary => "boundary",
            Self::Opa => "opa",
            Self::Hoop => "hoop",
            Self::Asciicast => "asciicast",
            Self::Ttyrec => "ttyrec",
            Self::Script => "script",
            Self::Sudo => "sudo",
            Self::Tlog => "tlog",
            Self::Custody => "custody",
        }
    }

    /// Whether there are messages of it; the others are cut from files alone.
    pub fn is_sent(self) -> bool {
        !matches!(self, Self::Ttyrec | Self::Script | Self::Sudo | Self::Custody)
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Header of a record that was cut from a file: which part of a format its value is. A message without it is what its
/// source sends to Kafka.
pub const FORM_HEADER: &str = "custody-form";

/// What the topics of imported objects begin with. No topic of Kafka does: their names have no slash.
pub const IMPORTED: &str = "import/";

/// Which part of a format a record's value is. Only imports are believed: in Kafka anybody who may write to a topic could
/// say so, and put words into the recording of another session.
pub(crate) fn form<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    message.header(FORM_HEADER).filter(|_| message.origin.topic.starts_with(IMPORTED))
}

/// Where the id of a session is looked for when the message's own object does not carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionIdFrom {
    /// The Kafka header of this name.
    Header(String),
    /// The Kafka key.
    Key,
    /// A field that the shipper added to the object, or to an object around it, holding the session's id, or a path
    /// or tag with `session.<id>.log` in it. Where no field is called `a.b`, that is the field `b` of the object `a`.
    Field(String),
}

/// What the decoders are told about the systems behind the messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Data keys with which Boundary signs its audit events: the present one and those before it.
    pub boundary_audit_keys: Vec<AuditKey>,
    /// Where the decisions of Open Policy Agent say who asked for what and why.
    pub opa: OpaMapping,
    /// What names the fields of a hoop session's metadata have.
    pub hoop: HoopMapping,
}

/// How the messages of a topic are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which decoder.
    pub kind: SourceKind,
    /// Where a session's id is looked for, in this order, when the object has no `sid` of its own.
    pub session_id: Vec<SessionIdFrom>,
    /// What the decoders are told.
    pub settings: Arc<Settings>,
}

impl Source {
    /// A source with the defaults of its kind.
    pub fn new(kind: SourceKind) -> Self {
        Self::with(kind, &Arc::default())
    }

    /// A source with the default places of a session's id.
    pub fn with(kind: SourceKind, settings: &Arc<Settings>) -> Self {
        Self { kind, session_id: Self::default_session_id(), settings: settings.clone() }
    }

    /// The places in which shippers are known to leave it.
    pub fn default_session_id() -> Vec<SessionIdFrom> {
        let fields = ["path", "_http_path", "tag", "fluentd_tag", "url.path", "headers.request_path"]
            .map(|name| SessionIdFrom::Field(name.to_owned()));
        let headers = ["session_id", "sid"].map(|name| SessionIdFrom::Header(name.to_owned()));
        headers.into_iter().chain([SessionIdFrom::Key]).chain(fields).collect()
    }
}

/// Takes what a decoder finds, in the order of the message.
pub trait Sink {
    /// An audit fact.
    fn event(&mut self, event: &Event<'_>);
    /// A piece of a recording.
    fn piece(&mut self, piece: &Piece<'_>);
}

/// Bound on what a compressed message may inflate to, in bytes.
pub const INFLATED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bound on the number of events in one message.
pub const EVENTS_PER_MESSAGE_MAX: usize = 100_000;

/// Decodes one message.
///
/// # Errors
///
/// The first reason for which the message, or a part of it, could not be decoded. What came out before (and, in a
/// message of several events, after) the broken part has been given to the sink and stands.
pub fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    match source.kind {
        SourceKind::Teleport => teleport::decode(source, message, sink),
        SourceKind::Boundary => boundary::decode(source, message, sink),
        SourceKind::Opa => opa::decode(source, message, sink),
        SourceKind::Hoop => hoop::decode(source, message, sink),
        SourceKind::Asciicast => asciicast::decode(source, message, sink),
        SourceKind::Ttyrec => ttyrec::decode(source, message, sink),
        SourceKind::Script => script::decode(source, message, sink),
        SourceKind::Sudo => sudo::decode(source, message, sink),
        SourceKind::Tlog => tlog::decode(message, sink),
        SourceKind::Custody => custody::decode(message, sink),
    }
}
