//! A batch: the rows of the three tables that a run of messages gave, and how far each table comes by them.
//!
//! Pure: no Kafka, no clock, no Delta. After a crash between the commits of two tables they stand at different offsets;
//! reading goes on from the lowest, and a table takes nothing below its own cursor.

use std::collections::HashMap;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use custody_ledger::{Advance, Stream};
use custody_schemas::columns::{EventColumns, FrameColumns, RecordColumns, RowContext};
use custody_schemas::event::Event;
use custody_schemas::frame::Piece;
use custody_schemas::record::{ErrorKind, Message};
use custody_schemas::table::Table;
use custody_schemas::time::Micros;

use crate::source::{self, Sink, Source};

/// One value for each table, in the order of [`Table::EVIDENCE`].
pub type PerTable<T> = [T; Table::EVIDENCE.len()];

/// How far the tables are with one stream.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Where the table is once every batch before this one is committed.
    begun: PerTable<Option<i64>>,
    /// Where it will be after this batch.
    next: PerTable<Option<i64>>,
}

impl Progress {
    /// Whether a table still wants the message at an offset.
    fn wants(&self, offset: i64) -> PerTable<bool> {
        self.next.map(|next| next.is_none_or(|next| offset >= next))
    }
}

/// What one finished batch commits to one table.
#[derive(Debug)]
pub struct TableBatch {
    /// The rows; there may be none.
    pub rows: RecordBatch,
    /// The cursors that move.
    pub advances: Vec<Advance>,
}

/// A finished batch.
#[derive(Debug)]
pub struct Batch {
    /// What goes to each table.
    pub tables: PerTable<TableBatch>,
    /// Counts for the metrics.
    pub counts: Counts,
}

/// What came in with a batch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Messages by source.
    pub messages: HashMap<&'static str, u64>,
    /// Messages that could not be decoded whole, by source and reason.
    pub errors: HashMap<(&'static str, ErrorKind), u64>,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Events.
    pub events: u64,
    /// Pieces of recordings.
    pub pieces: u64,
    /// Kafka's time of the oldest message, if it has one.
    pub oldest: Option<Micros>,
}

/// What came of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Events.
    pub events: u32,
    /// Pieces of recordings.
    pub pieces: u32,
    /// Why it, or a part of it, could not be decoded.
    pub error: Option<ErrorKind>,
}

/// Collects messages into a batch.
#[derive(Debug, Default)]
pub struct Batcher {
    streams: HashMap<Stream, Progress>,
    records: RecordColumns,
    events: EventColumns,
    frames: FrameColumns,
    rows: usize,
    counts: Counts,
}

impl Batcher {
    /// Starts a stream where the tables are. Anything that was held of it before must have been finished.
    pub fn begin(&mut self, stream: Stream, cursors: PerTable<Option<i64>>) {
        self.streams.insert(stream, Progress { begun: cursors, next: cursors });
    }

    /// Whether a stream was begun.
    pub fn has_begun(&self, stream: &Stream) -> bool {
        self.streams.contains_key(stream)
    }

    /// Forgets a stream.
    pub fn end(&mut self, stream: &Stream) {
        self.streams.remove(stream);
    }

    /// Number of messages so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of keys and values so far.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.counts.bytes).unwrap_or(usize::MAX)
    }

    /// Takes a message: its record, and what its source makes of it. A message of a stream that was not begun, or below
    /// every table's cursor, is nobody's and leaves no trace: `None`.
    pub fn push(
        &mut self,
        stream: &Stream,
        source: &Source,
        message: &Message<'_>,
        ingested_at: Micros,
    ) -> Option<Taken> {
        let progress = self.streams.get_mut(stream)?;
        let origin = message.origin;
        let wants = progress.wants(origin.offset);
        if !wants.contains(&true) {
            return None;
        }
        let [wants_record, wants_events, wants_frames] = wants;
        let name = source.kind.as_str();
        let row = RowContext { origin, source: name, broker_at: message.broker_at, ingested_at };
        let mut rows = Rows {
            row,
            events: wants_events.then_some(&mut self.events),
            frames: wants_frames.then_some(&mut self.frames),
            event_count: 0,
            piece_count: 0,
        };
        let decoded = source::decode(source, message, &mut rows);
        let (event_count, piece_count) = (rows.event_count, rows.piece_count);
        if wants_record {
            self.records.push(&row, message, decoded.as_ref().err());
        }
        for (next, wanted) in progress.next.iter_mut().zip(wants) {
            if wanted {
                *next = Some(origin.offset + 1);
            }
        }
        self.rows += 1;
        *self.counts.messages.entry(name).or_default() += 1;
        let error = decoded.err().map(|error| error.kind);
        if let Some(error) = error {
            *self.counts.errors.entry((name, error)).or_default() += 1;
        }
        let bytes = message.value.map_or(0, <[u8]>::len) + message.key.map_or(0, <[u8]>::len);
        self.counts.bytes += bytes as u64;
        self.counts.oldest = message.broker_at.into_iter().chain(self.counts.oldest).min();
        self.counts.events += u64::from(event_count);
        self.counts.pieces += u64::from(piece_count);
        Some(Taken { events: event_count, pieces: piece_count, error })
    }

    /// Hands over what was collected; the next batch begins where this one ends. `None` when nothing was.
    ///
    /// # Errors
    ///
    /// Only if the builders disagree with the tables' columns, which a test excludes.
    pub fn finish(&mut self) -> Result<Option<Batch>, ArrowError> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        let mut advances: PerTable<Vec<Advance>> = Default::default();
        for (stream, progress) in &mut self.streams {
            for ((advances, begun), next) in advances.iter_mut().zip(&mut progress.begun).zip(progress.next) {
                if let Some(to) = next
                    && *begun != next
                {
                    advances.push(Advance { stream: stream.clone(), from: *begun, to });
                    *begun = next;
                }
            }
        }
        let [records, events, frames] = advances;
        let tables = [
            TableBatch { rows: self.records.finish()?, advances: records },
            TableBatch { rows: self.events.finish()?, advances: events },
            TableBatch { rows: self.frames.finish()?, advances: frames },
        ];
        Ok(Some(Batch { tables, counts: std::mem::take(&mut self.counts) }))
    }
}

/// Puts what a decoder finds into the tables that still want it.
struct Rows<'a> {
    row: RowContext<'a>,
    events: Option<&'a mut EventColumns>,
    frames: Option<&'a mut FrameColumns>,
    event_count: u32,
    piece_count: u32,
}

impl Sink for Rows<'_> {
    fn event(&mut self, event: &Event<'_>) {
        if let Some(events) = &mut self.events {
            // Decoders bound the number of events of a message far below i32::MAX.
            events.push(&self.row, event, i32::try_from(self.event_count).unwrap_or(i32::MAX));
        }
        self.event_count += 1;
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        if let Some(frames) = &mut self.frames {
            frames.push(&self.row, piece);
        }
        self.piece_count += 1;
    }
}
