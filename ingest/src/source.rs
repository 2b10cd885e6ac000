//! Source systems: what a message of each means.
//!
//! A source is one pure function from a message to events and pieces of recordings. It does no I/O and reads no clock,
//! so a ledger can be decoded again from its records at any time and give the same rows.
//!
//! To add one: a file in this folder with a `decode` function, a variant of [`SourceKind`], a contract in
//! `schemas/topics/`, and examples that its tests run over.

use custody_schemas::event::Event;
use custody_schemas::frame::Piece;
use custody_schemas::record::{DecodeError, Message};
use serde::{Deserialize, Serialize};

mod asciicast;
mod object;
mod opa;
mod routing;
mod teleport;
#[cfg(test)]
mod testing;
mod wrapper;

/// The kinds of source that Custody understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Teleport audit events and session streams (contract: `schemas/topics/teleport.md`).
    Teleport,
    /// Open Policy Agent decision logs (contract: `schemas/topics/opa.md`).
    Opa,
    /// Custody's own stream of asciicast lines, for any other gateway (contract: `schemas/topics/asciicast.md`).
    Asciicast,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Teleport, Self::Opa, Self::Asciicast];

    /// The name in the configuration and in the `source` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Teleport => "teleport",
            Self::Opa => "opa",
            Self::Asciicast => "asciicast",
        }
    }
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

/// How the messages of a topic are decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Which decoder.
    pub kind: SourceKind,
    /// Where a session's id is looked for, in this order, when the object has no `sid` of its own.
    #[serde(default = "Source::default_session_id")]
    pub session_id: Vec<SessionIdFrom>,
}

impl Source {
    /// A source with the defaults of its kind.
    pub fn new(kind: SourceKind) -> Self {
        Self { kind, session_id: Self::default_session_id() }
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
        SourceKind::Opa => opa::decode(message, sink),
        SourceKind::Asciicast => asciicast::decode(source, message, sink),
    }
}
