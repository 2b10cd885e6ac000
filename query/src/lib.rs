//! Answers: DataFusion over the ledger, its views, bounded read-only SQL.
//!
//! - [`Engine`]: runs one read-only statement on the newest state of the ledger, within [`Bounds`].
//! - [`VIEWS`]: what the questions are asked of, each a file in `views/` whose comment says what a row is.
//! - [`reports`]: the report catalogue, each a file in `reports/`, and what makes its result evidence.
//! - [`sample`]: samples that anybody can draw again.
//! - [`search`]: texts that were on the screens of recorded sessions.
//! - [`sessions`]: pages of sessions, everything known of one, its frames, as typed values.
//! - [`requests`]: pages of access requests, everything known of one.
//! - [`dead_letters`]: pages of messages that could not be decoded, one as it came.
//! - [`pipeline`]: whether what is sent arrives.
//! - [`overview`]: what there is to see at a glance.
//! - [`reels`]: recordings in parts, and the frames of each.
//! - [`findings`]: what is looked for without being asked.
//! - [`feed`]: events for those whom they are forwarded to.
//! - [`evidence`]: reports as one zip that an auditor can read, check and perform again.
//! - [`mod@format`]: rows as a table, CSV, JSON, NDJSON or an Arrow stream.
//! - [`wire`]: the same answers for clients of PostgreSQL.
//!
//! Beside the three tables and the views there are the functions `utf8_lossy(bytes)`, `printable(bytes, n)`,
//! `byte_length(bytes)`, `tickets(text)`, `person(text)`, `text_set(lists)`, the aggregates `text_union(text)` and
//! `spans(positions, lengths)`, `missing(spans)`, and those of `datafusion-functions-json`. Names that are
//! keywords elsewhere (`offset`, `partition`, `index`, `date`, `cluster`) need no quotes.

pub mod dead_letters;
mod engine;
mod error;
pub mod evidence;
pub mod feed;
pub mod findings;
pub mod format;
mod functions;
mod kept;
mod latest;
mod narrowed;
pub mod overview;
mod pages;
mod parts;
mod pg_catalog;
pub mod pipeline;
mod records;
pub mod reels;
mod reference;
pub mod reports;
pub mod requests;
pub mod sample;
pub mod search;
pub mod sessions;
mod shelf;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod views;
pub mod wire;

pub use engine::{AsOf, Bounds, Engine, Limits, QueryStream, Versions};
pub use error::QueryError;
pub use functions::{TICKET_PATTERN, Vocabulary};
pub use pages::PAGE_ROWS_MAX;
pub use records::{RecordStream, StoredRecord};
pub use reference::{ReferenceFile, ReferencePaths};
pub use text::visible;
pub use views::{VIEWS, View};
