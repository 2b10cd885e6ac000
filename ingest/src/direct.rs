//! The road into the ledger for messages that do not come from Kafka: imported objects and collected uploads.
//!
//! They go through the same decoders, batches and commits. Only their place is given here instead of by a broker: each
//! has a [`Stream`] of its own and an offset in it, so that a row is there exactly once, and a commit is refused when
//! another process writes the same stream.

use arrow::error::ArrowError;
use custody_ledger::{AppendError, Ledger, LedgerError, Stream, Uploaded};
use custody_schemas::record::{Message, Origin};
use custody_schemas::time::Micros;

use crate::batch::{Batcher, PerTable, TableBatch, Taken};
use crate::config::Flush;
use crate::lane::Lane;
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

/// What a message is, but for its place.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// How it is decoded.
    pub source: &'a Source,
    /// When it came, where that says something of when it happened.
    pub sent_at: Option<Micros>,
    /// Key of the record.
    pub key: Option<&'a str>,
    /// Headers of the record.
    pub headers: &'a [(&'static str, String)],
    /// The bytes.
    pub value: &'a [u8],
}

/// Writes messages into the ledger.
#[derive(Debug)]
pub struct Direct {
    lanes: Vec<Lane>,
    batcher: Batcher,
}

impl Direct {
    /// Opens the tables for appending.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when they cannot be opened.
    pub async fn open(ledger: &Ledger) -> Result<Self, LedgerError> {
        Ok(Self { lanes: Lane::all(ledger).await?, batcher: Batcher::default() })
    }

    /// Begins a stream. Returns the next offset that each table wants of it.
    ///
    /// # Errors
    ///
    /// [`DirectError::Append`] when the store fails.
    pub async fn begin(&mut self, stream: &Stream) -> Result<PerTable<Option<i64>>, DirectError> {
        let mut cursors = PerTable::default();
        for (lane, cursor) in self.lanes.iter_mut().zip(&mut cursors) {
            *cursor = lane.writer.cursor(stream).await?;
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

    /// Takes a message that is given its place here; `None` when every table has it already.
    pub fn place(&mut self, (stream, offset): (&Stream, i64), content: &Content<'_>, now: Micros) -> Option<Taken> {
        let headers: Vec<_> = content.headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let message = Message {
            origin: Origin { topic: &stream.topic, partition: stream.partition, offset },
            broker_at: content.sent_at,
            key: content.key.map(str::as_bytes),
            headers: &headers,
            value: Some(content.value),
        };
        self.push(stream, content.source, &message, now)
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
        for (TableBatch { rows, advances }, lane) in batch.tables.iter().zip(&mut self.lanes) {
            lane.hold(advances);
            if rows.num_rows() > 0 || lane.is_due() {
                let files = lane.writer.uploader().upload(rows).await?;
                lane.commit(&files).await?;
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
        for lane in self.lanes.iter_mut().filter(|lane| lane.holds()) {
            lane.commit(&Uploaded::default()).await?;
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
        for lane in &mut self.lanes {
            lane.reset().await?;
        }
        Ok(())
    }
}
