//! Files as evidence: what an object at rest is cut into.
//!
//! A reader cuts an object (a file, or a directory that is one recording) into [`Unit`]s, each of which becomes a record,
//! and is then decoded by its source like a message from Kafka: without memory of the units before it. So a unit holds
//! the bytes of the object as they stood, small enough for one row, and in its headers what a decoder must know of the
//! rest of the object.
//!
//! Readers are bounded in memory whatever the object claims of itself, and always give the same units for the same
//! object: an import that was interrupted goes on at the unit where it stopped.

pub(crate) mod bsr;
mod documents;

use std::io;

use custody_schemas::event::Integrity;

use crate::source::SourceKind;

/// Units are cut so that they are not much larger than this many bytes, where the format allows it.
pub const UNIT_BYTES: usize = 256 * 1024;

mod found;
pub(crate) mod teleport;
pub(crate) mod terminal;

pub use bsr::{BsrKeys, InvalidKey};
pub use found::{Format, Found, Passed, find};
pub use teleport::{KeyError, TeleportKeys};

/// Keys that verify and decrypt recordings.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Of Boundary's recordings.
    pub bsr: BsrKeys,
    /// Of Teleport's recordings.
    pub teleport: TeleportKeys,
}

/// One record to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Who decodes it.
    pub source: SourceKind,
    /// Key of the record: the id of the session, where it is known.
    pub key: Option<String>,
    /// Headers of the record, [`FORM_HEADER`](crate::source::FORM_HEADER) among them where the source needs it.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes, as they stood in the object (decompressed and decrypted, where the format does that by itself).
    pub value: Vec<u8>,
}

/// Something that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A short name that can be counted: `MissingFile`, `ChecksumMismatch`, `Truncated`, `Gap`.
    pub kind: &'static str,
    /// The file in the object that it is about, when the object is a directory.
    pub file: Option<String>,
    /// What it is, for a person; never quotes content.
    pub detail: String,
}

/// What is known of an object when all of it has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The session that it is a recording of.
    pub session_id: Option<String>,
    /// The gateway's own id of the recording.
    pub recording_id: Option<String>,
    /// SHA-256 (hex) of the public key that its signatures were made with, for an operator to pin.
    pub public_key_sha256: Option<String>,
    /// How far it can be trusted; `None` for what is no recording.
    pub integrity: Option<Integrity>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl Summary {
    /// Notes something that is wrong; of a kind without end only the first are kept.
    pub(crate) fn find(&mut self, kind: &'static str, file: Option<&str>, detail: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { kind, file: file.map(str::to_owned), detail });
        }
    }
}

/// Whether there is a file, and no link to one.
pub(crate) fn is_regular_file(path: &std::path::Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bound on the findings of one object: a thousand times the same says no more.
pub const FINDINGS_MAX: usize = 100;

/// Reads one object.
pub trait Reader: Send {
    /// The next unit; `None` at the end. What is damaged is passed over or ends the reading, and is told by the summary.
    ///
    /// # Errors
    ///
    /// Only when the operating system cannot read the object.
    fn next(&mut self) -> io::Result<Option<Unit>>;

    /// What is known of the object; complete once `next` has returned `None`.
    fn summary(&self) -> Summary;
}
