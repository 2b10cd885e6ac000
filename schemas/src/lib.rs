//! The shared vocabulary of Custody: what a record, an event and a frame are, and the columns that they become.
//!
//! Everything here is a pure type or a pure function: no I/O, no clock, no Kafka, no Delta.
//!
//! - [`record`]: one Kafka message exactly as received, and why it could not be decoded.
//! - [`event`]: one normalised audit fact.
//! - [`frame`]: timed pieces of a recorded terminal session.
//! - [`index`]: what is found in recordings.
//! - [`activity`]: what Custody itself was asked to do.
//! - [`forwarding`]: what was forwarded, and what was not taken.
//! - [`table`]: the tables of the ledger and their Arrow columns.
//! - [`trigrams`]: which texts can have what is looked for.
//! - [`columns`]: builders from those types to Arrow record batches.
//!
//! The topic contracts (what a gateway has to write to Kafka) are documents in `schemas/topics/`, with examples that
//! the decoders are tested on.

pub mod activity;
pub mod columns;
pub mod event;
pub mod forwarding;
pub mod frame;
pub mod index;
pub mod record;
pub mod table;
pub mod time;
pub mod trigrams;
