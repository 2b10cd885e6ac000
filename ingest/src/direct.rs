//! The road into the ledger for messages that do not come from Kafka: imported objects and collected uploads.
//!
//! They go through the same decoders, batches and commits. Only their place is given here instead of by a broker: each
//! has a [`Stream`] of its own and an offset in it, so that a row is there exactly once, and a commit is refused when
//! another process writes the same stream.

use std::collections::BTreeMap;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use custody_ledger::{Advance, AppendError, Ledger, LedgerError, Stream, TableWriter};
use custody_schemas::record::Message;
use custody_schemas::table::Table;
use custody_schemas::time::Micros;

use crate::batch::{Batcher, PerTable, Taken};
use crate::config::Flush;
use crate::source::Source;

/// Why messages did not get into the ledger.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// The ledger refused, or its store failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The columns of a batch do not fit its table.
    #[error("a batch could not be built: {0}")]
    Batch(#[from] ArrowError),
}

impl DirectError {
    /// Whether another process writes the same stream.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Append(AppendError::Fenced { .. }))
    }
}

/// Writes messages into the ledger.
#[derive(Debug)]
pub struct Direct {
    writers: Vec<TableWriter>,
    /// For each table, moves of cursors that came without rows: they are committed with the next rows, or on closing.
    held: PerTable<BTreeMap<Stream, (Option<i64>, i64)>>,
    batcher: Batcher,
}

impl Direct {
    /// Opens the tables for appending.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when they cannot be opened.
    pub async fn open(ledger: &Ledger) -> Result<Self, LedgerError> {
        let mut writers = Vec::new();
        for table in Table::ALL {
            writers.push(ledger.writer(table).await?);
        }
        Ok(Self { writers, held: PerTable::default(), batcher: Batcher::default() })
    }

    /// Begins a stream. Returns the next offset that each table wants of it.
    ///
    /// # Errors
    ///
    /// [`DirectError::Append`] when the store fails.
    pub async fn begin(&mut self, stream: &Stream) -> Result<PerTable<Option<i64>>, DirectError> {
        let mut cursors = PerTable::default();
        for (writer, cursor) in self.writers.iter_mut().zip(&mut cursors) {
            *cursor = writer.cursor(stream).await?;
        }
        self.batcher.begin(stream.clone(), cursors);
        Ok(cursors)
    }

    /// Whether a stream was begun, and not forgotten since.
    pub fn has_begun(&self, stream: &Stream) -> bool {
        self.batcher.has_begun(stream)
    }

    /// Forgets a stream; what was pushed of it is still committed.
    pub fn end(&mut self, stream: &Stream) {
        self.batcher.end(stream);
    }

    /// Takes a message; `None` when every table has it already.
    pub fn push(&mut self, stream: &Stream, source: &Source, message: &Message<'_>, now: Micros) -> Option<Taken> {
        self.batcher.push(stream, source, message, now)
    }

    /// Whether it is time to commit.
    pub fn is_full(&self, flush: &Flush) -> bool {
        self.batcher.rows() >= flush.rows_max || self.batcher.bytes() >= flush.bytes_max
    }

    /// Commits what was pushed: the evidence first, so that no fact stands without its record.
    ///
    /// # Errors
    ///
    /// [`DirectError`]. [`Direct::reset`] has to come before anything else then.
    pub async fn commit(&mut self) -> Result<(), DirectError> {
        let Some(batch) = self.batcher.finish()? else { return Ok(()) };
        for ((table, writer), held) in batch.tables.iter().zip(&mut self.writers).zip(&mut self.held) {
            for Advance { stream, from, to } in &table.advances {
                held.entry(stream.clone()).and_modify(|held| held.1 = *to).or_insert((*from, *to));
            }
            if table.rows.num_rows() > 0 {
                append(writer, held, &table.rows).await?;
            }
        }
        Ok(())
    }

    /// Commits what was pushed and every cursor that was held back, so that all tables stand at the same offsets.
    ///
    /// # Errors
    ///
    /// As [`Direct::commit`].
    pub async fn settle(&mut self) -> Result<(), DirectError> {
        self.commit().await?;
        for (writer, held) in self.writers.iter_mut().zip(&mut self.held) {
            if !held.is_empty() {
                let nothing = RecordBatch::new_empty(writer.table().schema());
                append(writer, held, &nothing).await?;
            }
        }
        Ok(())
    }

    /// Reads the newest version of the tables and forgets every stream and what was not committed: after an error.
    ///
    /// # Errors
    ///
    /// [`DirectError::Append`] when the store fails.
    pub async fn reset(&mut self) -> Result<(), DirectError> {
        self.batcher = Batcher::default();
        self.held = PerTable::default();
        for writer in &mut self.writers {
            writer.refresh().await?;
        }
        Ok(())
    }
}

async fn append(
    writer: &mut TableWriter,
    held: &mut BTreeMap<Stream, (Option<i64>, i64)>,
    rows: &RecordBatch,
) -> Result<(), DirectError> {
    let advances: Vec<Advance> =
        held.iter().map(|(stream, (from, to))| Advance { stream: stream.clone(), from: *from, to: *to }).collect();
    let appended = writer.append(rows, &advances).await?;
    let table = writer.table().name();
    metrics::counter!("custody_ingest_file_bytes_total", "table" => table).increment(appended.file_bytes);
    metrics::counter!("custody_ingest_rows_total", "table" => table).increment(rows.num_rows() as u64);
    held.clear();
    Ok(())
}
