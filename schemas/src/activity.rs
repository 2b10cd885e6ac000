//! What Custody itself was asked to do, and by whom: who looked is evidence too.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::table::Table;
use crate::time::{Micros, date_of};

/// One entry. What is asked for is one, written before anything is answered; how it ended is another with the same
/// `activity_id`, where it was not refused at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// What both entries of one question have in common.
    pub activity_id: String,
    /// When, by Custody's clock.
    pub at: Micros,
    /// Who asked, as far as the way in tells.
    pub actor: String,
    /// The way in: `cli`, `http`, `wire`.
    pub channel: String,
    /// Address that it was asked from.
    pub remote_addr: Option<String>,
    /// What was asked for: `sql`, `report`, `evidence`, `sessions`, `show`, `replay`, `export`, `exception`, ...
    pub verb: String,
    /// Of what: a session, a report's id.
    pub object: Option<String>,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// The statement, of SQL.
    pub sql: Option<String>,
    /// How it ended: `done`, `cut` (rows were left out), `refused`, `failed`, `cancelled`; null where it begins.
    pub outcome: Option<&'static str>,
    /// What was wrong with it.
    pub error: Option<String>,
    /// Rows that were answered.
    pub rows: Option<i64>,
    /// Bytes that were answered.
    pub bytes: Option<i64>,
    /// Time that it took.
    pub duration_ms: Option<i64>,
    /// What else belongs to it, as one JSON object.
    pub detail: String,
}

/// Entries as rows of the table.
///
/// # Errors
///
/// When the columns do not fit the table, which is a defect.
pub fn rows(entries: &[Activity]) -> Result<RecordBatch, ArrowError> {
    fn texts<'a>(of: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
        Arc::new(of.collect::<StringArray>())
    }
    fn numbers(of: impl Iterator<Item = Option<i64>>) -> ArrayRef {
        Arc::new(of.collect::<Int64Array>())
    }
    let all = || entries.iter();
    let at = TimestampMicrosecondArray::from_iter_values(all().map(|entry| entry.at)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from_iter_values(all().map(|entry| date_of(entry.at)))),
        texts(all().map(|entry| Some(entry.activity_id.as_str()))),
        Arc::new(at),
        texts(all().map(|entry| Some(entry.actor.as_str()))),
        texts(all().map(|entry| Some(entry.channel.as_str()))),
        texts(all().map(|entry| entry.remote_addr.as_deref())),
        texts(all().map(|entry| Some(entry.verb.as_str()))),
        texts(all().map(|entry| entry.object.as_deref())),
        texts(all().map(|entry| entry.reason.as_deref())),
        texts(all().map(|entry| entry.sql.as_deref())),
        texts(all().map(|entry| entry.outcome)),
        texts(all().map(|entry| entry.error.as_deref())),
        numbers(all().map(|entry| entry.rows)),
        numbers(all().map(|entry| entry.bytes)),
        numbers(all().map(|entry| entry.duration_ms)),
        texts(all().map(|entry| Some(if entry.detail.is_empty() { "{}" } else { entry.detail.as_str() }))),
    ];
    RecordBatch::try_new(Table::Activity.schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_rows_of_the_table() {
        let entry = Activity { activity_id: "a".to_owned(), rows: Some(3), ..Activity::default() };
        let rows = rows(&[entry.clone(), entry]).unwrap();
        assert_eq!((rows.num_rows(), rows.schema()), (2, Table::Activity.schema()));
    }
}
