//! Tests of the whole system: the `custody` binary, run as its users run it, against a real Apache Kafka.
//!
//! A test needs `tests/kafka/fetch.sh` to have worked, or `KAFKA_BOOTSTRAP`; where there is neither it says `SKIPPED`, and
//! where `CI` is set it fails. `cargo test --workspace --test system crash` runs the tests of one file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod bad_input;
mod cli;
mod collect;
mod correlation;
mod crash;
mod damage;
mod fire;
mod forward;
mod http;
mod import;
mod open_reader;
mod operation;
mod outage;
mod recording;
mod replay;
mod reports;
mod retention;
mod search;
mod siem;
mod store;
mod support;
mod wire;
