//! One table, as whoever commits to it sees it: its writer, and the moves of cursors that wait for rows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use custody_ledger::{Advance, AppendError, Appended, Ledger, LedgerError, Stream, TableWriter, Uploaded};
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
        for table in Table::EVIDENCE {
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

    /// Commits files and what is held.
    pub(crate) async fn commit(&mut self, files: &Uploaded) -> Result<(), AppendError> {
        let held = self.held.iter();
        let advances: Vec<Advance> =
            held.map(|(stream, (from, to))| Advance { stream: stream.clone(), from: *from, to: *to }).collect();
        let started = Instant::now();
        let Appended { version, file_bytes } = self.writer.commit(files, &advances).await?;
        self.held.clear();
        self.committed_at = Instant::now();
        let (table, rows, took) = (self.writer.table().name(), files.rows(), started.elapsed());
        metrics::histogram!("custody_ledger_commit_seconds", "table" => table).record(took.as_secs_f64());
        metrics::counter!("custody_ingest_file_bytes_total", "table" => table).increment(file_bytes);
        metrics::counter!("custody_ingest_rows_total", "table" => table).increment(rows as u64);
        tracing::debug!(table, version, rows, file_bytes, ?took, "committed");
        Ok(())
    }

    /// Reads the newest version of the table, and forgets what is held.
    pub(crate) async fn reset(&mut self) -> Result<(), AppendError> {
        self.held.clear();
        self.writer.refresh().await
    }
}
