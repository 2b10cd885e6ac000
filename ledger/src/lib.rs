//! The ledger: a handful of append-only Delta tables, the only durable state of Custody.
//!
//! [`Ledger`] names a place (a folder or an object store) and opens or creates the tables there. [`TableWriter`] is the
//! one road by which rows get in: it commits rows and the next Kafka offset of each partition together, in one Delta
//! transaction, so that after any crash the table itself says where to go on.
//!
//! # Why every row is there exactly once
//!
//! Every partition of every topic is a [`Stream`]; a table's log holds for each stream the next offset to read (a Delta
//! `txn` action). A commit states from which offset its rows begin. It is refused ([`AppendError::Fenced`]) when the
//! table is elsewhere: in the snapshot that the commit is built on, or in any commit that lands before it. So of two
//! processes that hold the same partition (a zombie and its successor) exactly one gets each offset in.
//!
//! An error from the store does not tell whether the commit landed (the reply may be lost, or a step after the commit
//! may fail), so no error is believed: the table is read again, and its own cursor decides.

mod diagnose;
#[cfg(any(test, debug_assertions))]
mod faults;
mod files;
mod follow;
mod location;
mod log;
mod maintain;
mod objects;
mod probe;
mod store;
#[cfg(test)]
mod testing;
mod writer;

pub use files::{Uploaded, Uploader};
pub use follow::{Commit, Follower};
pub use location::{Ledger, LedgerError, Location};
pub use maintain::{
    Compacted, Expired, Group, LOG_AGE_MIN, MaintainError, Maintenance, ORPHAN_AGE_MIN, Sizes, Standing,
};
pub use objects::{Object, Objects, ObjectsError, without_secrets};
pub use probe::Probe;
pub use writer::{Advance, AppendError, Appended, Stream, TableWriter};

/// The Delta library, for the query engine that reads the tables.
pub use deltalake;
