//! Events to a SIEM: its schemas, its protocols, and delivery that loses nothing.
//!
//! A destination is a cursor over the ledger. What is sent, and in whose words, is decided by functions without I/O
//! ([`schema`]); how it is carried, in [`sink`], a file for each protocol; until when, in [`delivery`].

pub mod delivery;
pub mod destination;
#[cfg(test)]
mod forwarding_md;
pub mod notice;
pub mod schema;
pub mod sink;
