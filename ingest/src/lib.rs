//! From Kafka to the ledger.
//!
//! ```text
//! consumer thread                                   committer task
//! poll ─► decode ─► columns ─► batch (rows, bytes, age) ─► records ─► events, frames ─► offsets to Kafka, for lag only
//! ```
//!
//! - [`source`]: what a message of each source system means; pure functions.
//! - [`batch`]: rows of the three tables and how far each table has come; pure.
//! - [`consumer`]: the Kafka side: membership of the group, where to begin, when to flush.
//! - [`committer`]: the ledger side: what is committed when, and what to do when the store fails.
//! - [`import`]: what objects at rest are cut into, format by format; [`importer`]: reads them into the ledger.
//! - [`collector`]: takes in what senders push; [`direct`]: the road into the ledger that it and imports share.
//! - [`indexer`]: what is found in recordings, into the ledger.
//! - [`redecode`]: decodes records once more; [`journal`]: Custody's own records, of what it did and found missing.
//! - [`publish`]: a producer and an embedded broker, for the demo, the tests and the benchmark.
//!
//! The ledger says where a partition goes on. Kafka's own committed offsets are written, so that the usual tools can
//! show the lag, and never read.

pub mod batch;
pub mod bench;
pub mod collector;
mod committer;
mod config;
mod consumer;
pub mod direct;
#[cfg(test)]
mod fuzz;
mod health;
mod hex;
pub mod import;
pub mod importer;
pub mod indexer;
pub mod journal;
mod lane;
pub mod publish;
pub mod redecode;
pub mod source;

pub use config::{Config, Flush, OnLostMessages, Topic};
pub use consumer::{BrokerState, IngestError, TopicState, create_ledger, examine_brokers, run};
pub use health::{Component, Health, State};
