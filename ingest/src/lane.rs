//! One table, as whoever commits to it sees it: its writer, and the moves of cursors that wait for rows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use custody_ledger::{Advance, AppendError, Appended, Ledger, LedgerError, Stream, TableWriter};
use custody_schemas::table::Table;

/// The cursors of a table without new rows are moved at most this far behind: a commit for nothing but a cursor is
/// a file in the log, and all that it saves is reading again what the other tables have.
const CURSOR_AGE_MAX: Duration = Duration::from_secs(30);

/// One table and what is held back for it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) writer: TableWriter,
    /// Moves of cursors that are not committed yet: from where, to where.
    held: BTreeMap<Stream, (Option<i64>, i64)>,
    committed_at: Instant,
}

impl Lane {
    /// A lane for each table, in the order in which a batch is committed.
    pub(crate) async fn all(ledger: &Ledger) -> Result<Vec<Self>, LedgerError> {
        let mut lanes = Vec::new();
        for table in Table::ALL {
            let writer = ledger.writer(table).await?;
            lanes.push(Self { writer, held: BTreeMap::new(), committed_at: Instant::now() });
        }
        Ok(lanes)
    }

    pub(crate) fn hold(&mut self, advances: &[Advance]) {
        for Advance { stream, from, to } in advances {
            self.held.entry(stream.clone()).and_modify(|held| held.1 = *to).or_insert((*from, *to));
        }
    }

    /// Whether moves have waited long enough to be committed without rows.
    pub(crate) fn is_due(&self) -> bool {
        self.holds() && self.committed_at.elapsed() >= CURSOR_AGE_MAX
    }

    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// No rows, for a commit of what is held alone.
    pub(crate) fn nothing(&self) -> RecordBatch {
        RecordBatch::new_empty(self.writer.table().schema())
    }

    /// Commits rows and what is held.
    pub(crate) async fn commit(&mut self, rows: &RecordBatch) -> Result<(), AppendError> {
        let held = self.held.iter();
        let advances: Vec<Advance> =
            held.map(|(stream, (from, to))| Advance { stream: stream.clone(), from: *from, to: *to }).collect();
        let Appended { version, file_bytes } = self.writer.append(rows, &advances).await?;
        self.held.clear();
        self.committed_at = Instant::now();
        let (table, rows) = (self.writer.table().name(), rows.num_rows());
        metrics::counter!("custody_ingest_file_bytes_total", "table" => table).increment(file_bytes);
        metrics::counter!("custody_ingest_rows_total", "table" => table).increment(rows as u64);
        tracing::debug!(table, version, rows, file_bytes, "committed");
        Ok(())
    }

    /// Reads the newest version of the table, and forgets what is held.
    pub(crate) async fn reset(&mut self) -> Result<(), AppendError> {
        self.held.clear();
        self.writer.refresh().await
    }
}
