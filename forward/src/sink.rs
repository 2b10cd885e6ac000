//! Who receives: one file for each protocol. A sink sends one batch at a time and says what became of it; when to try
//! again, and what to do with what is refused, is decided for all of them in [`delivery`](crate::delivery).

mod bulk;
mod files;
mod hec;
mod http;
mod kafka;
#[cfg(test)]
pub(crate) mod receiver;
mod sentinel;
mod syslog;
#[cfg(test)]
mod tests;
mod webhook;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use bulk::Bulk;
pub use files::Files;
pub use hec::Hec;
pub(crate) use http::is_private;
pub use kafka::Kafka;
pub use sentinel::Sentinel;
pub(crate) use syslog::DATAGRAM_BYTES_MAX;
pub use syslog::Syslog;
pub use webhook::Webhook;

/// One event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// By which the receiver knows it again, as far as it has a place for that.
    pub id: String,
    /// How often the event was sent before, because more became known of it: the id stays.
    pub revision: u32,
    /// When it happened, in microseconds since 1970.
    pub at: i64,
    /// What it is about, in Custody's words: `session.start`.
    pub kind: String,
    /// The event in the words of the destination.
    pub body: Bytes,
}

/// How much is sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    /// Bytes of the bodies, before they are compressed.
    pub bytes: usize,
    /// Number of events.
    pub items: usize,
}

/// What became of a batch that was taken, or of which at least something is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Numbers of those that are to be sent again.
    pub again: Vec<usize>,
    /// What the receiver said where it had no room for those. Without, they can be sent at once.
    pub busy: Option<String>,
    /// Numbers of those that it will never take, and what it said.
    pub refused: Vec<(usize, Refusal)>,
}

/// Why an event was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Status of HTTP, where there is one.
    pub status: Option<u16>,
    /// What the receiver said, at most [`ANSWER_BYTES_MAX`] bytes.
    pub answer: String,
}

/// So much of an answer is kept.
pub const ANSWER_BYTES_MAX: usize = 2048;

/// Why nothing is known to have been taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may work later: the network, a server that is busy, restarting or failing.
    #[error("{what}")]
    Transient {
        /// What happened, at most about [`ANSWER_BYTES_MAX`] bytes.
        what: String,
        /// How long the receiver asked to be left alone.
        after: Option<Duration>,
    },
    /// The receiver does not know us. Only a person can mend that.
    #[error("not authorised: {0}")]
    Unauthorised(String),
    /// The batch has more bytes than the receiver takes.
    #[error("too large: {}", .0.answer)]
    TooLarge(Refusal),
    /// Something in the batch is wrong, and the receiver took nothing of it.
    #[error("refused: {}", .0.answer)]
    Refused(Refusal),
}

impl SendError {
    /// Something that may work later.
    pub(crate) fn transient(what: impl Into<String>) -> Self {
        Self::Transient { what: kept(&what.into()), after: None }
    }
}

/// Sends batches to one destination.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The largest batch that it takes.
    fn batch_size(&self) -> BatchSize;

    /// Sends events and waits for the strongest acknowledgement that the protocol has. What is in `items` may have been
    /// sent before.
    ///
    /// # Errors
    ///
    /// [`SendError`], when it is not known of each event what became of it.
    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError>;

    /// Takes leave, where the protocol has a way to: what was sent is more likely to arrive then. The next
    /// [`Sink::send`] begins anew.
    async fn close(&self) {}
}

/// The beginning of what a receiver said.
fn kept(said: &str) -> String {
    said.get(..said.floor_char_boundary(ANSWER_BYTES_MAX)).unwrap_or_default().to_owned()
}
