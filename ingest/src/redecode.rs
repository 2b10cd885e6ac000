//! Decoding records once more: after a decoder has learnt something, or when a topic was mapped to the wrong source.
//!
//! The record stays as it is. What it gives now is appended to `events` and `frames` with the record's own coordinates,
//! and beside it one event that says so, by which the record stops being a dead letter. How far this has come stands in
//! the tables like every other cursor, for each version of the decoders and each source, so that it is done once.

use std::collections::{BTreeMap, HashSet};

use custody_ledger::{Advance, Ledger, LedgerError, Stream, TableWriter};
use custody_schemas::columns::{EventColumns, FrameColumns, RowContext};
use custody_schemas::event::{Event, Kind};
use custody_schemas::frame::Piece;
use custody_schemas::record::{Message, Origin};
use custody_schemas::table::Table;

use crate::consumer::now;
use crate::direct::DirectError;
use crate::source::{self, Sink, Source, SourceKind};

/// Raised whenever a decoder understands more than before, so that what it did not understand is tried again.
pub const DECODERS: i64 = 2;

/// Rows are committed when there are about this many.
const ROWS_MAX: usize = 50_000;

/// A record to be decoded again.
#[derive(Debug, Clone, Copy)]
pub struct Again<'a> {
    /// The record.
    pub message: Message<'a>,
    /// Ids of the events that it gave before.
    pub event_ids: &'a [String],
    /// The pieces that it, or a record near it, gave before: session and position.
    pub pieces: &'a [(String, i64)],
}

/// What came of records that were decoded again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redecoded {
    /// Records that are understood now.
    pub mended: u64,
    /// Records that still are not.
    pub left: u64,
    /// Records that these decoders tried before.
    pub tried_before: u64,
    /// Events that were added.
    pub events: u64,
    /// Pieces of recordings that were added.
    pub pieces: u64,
}

/// Decodes records again.
#[derive(Debug)]
pub struct Redecoder {
    tables: [TableWriter; 2],
    events: EventColumns,
    frames: FrameColumns,
    /// Where the streams were when their first record came, and where they are after the last.
    streams: BTreeMap<Stream, Progress>,
    done: Redecoded,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    begun: [Option<i64>; 2],
    next: i64,
}

impl Redecoder {
    /// Opens the tables for appending.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when they cannot be opened.
    pub async fn open(ledger: &Ledger) -> Result<Self, LedgerError> {
        let tables = [ledger.writer(Table::Events).await?, ledger.writer(Table::Frames).await?];
        Ok(Self {
            tables,
            events: EventColumns::default(),
            frames: FrameColumns::default(),
            streams: BTreeMap::new(),
            done: Redecoded::default(),
        })
    }

    /// Decodes a record. Those of one partition have to come in the order of their offsets.
    ///
    /// # Errors
    ///
    /// [`DirectError`] when the ledger fails; what was committed before stands.
    pub async fn push(&mut self, source: &Source, again: &Again<'_>) -> Result<(), DirectError> {
        let Origin { topic, partition, offset } = again.message.origin;
        let cluster = format!("redecode/{DECODERS}/{}", source.kind.as_str());
        let stream = Stream { cluster, topic: topic.to_owned(), partition };
        if !self.streams.contains_key(&stream) {
            let [events, frames] = &mut self.tables;
            let begun = [events.cursor(&stream).await?, frames.cursor(&stream).await?];
            let next = begun.into_iter().map(|cursor| cursor.unwrap_or(0)).min().unwrap_or(0);
            self.streams.insert(stream.clone(), Progress { begun, next });
        }
        let Some(progress) = self.streams.get_mut(&stream) else { return Ok(()) };
        if offset < progress.next {
            self.done.tried_before += 1;
            return Ok(());
        }
        let wants = progress.begun.map(|cursor| cursor.is_none_or(|cursor| offset >= cursor));
        progress.next = offset + 1;
        self.decode(source, again, wants);
        if self.events.len() + self.frames.len() >= ROWS_MAX {
            self.commit().await?;
        }
        Ok(())
    }

    fn decode(&mut self, source: &Source, again: &Again<'_>, [wants_events, wants_frames]: [bool; 2]) {
        let message = &again.message;
        let now = now();
        let row = RowContext {
            origin: message.origin,
            source: source.kind.as_str(),
            broker_at: message.broker_at,
            ingested_at: now,
        };
        let mut rows = Rows {
            row,
            events: wants_events.then_some(&mut self.events),
            frames: wants_frames.then_some(&mut self.frames),
            pieces: again.pieces.iter().map(|(session_id, seq)| (session_id.as_str(), *seq)).collect(),
            is_doubtful: false,
            known: again.event_ids.iter().map(String::as_str).collect(),
            index: again.event_ids.len(),
            added: (0, 0),
        };
        let understood = source::decode(source, message, &mut rows).is_ok() && !rows.is_doubtful;
        let (index, (events, pieces)) = (rows.index, rows.added);
        self.done.events += events;
        self.done.pieces += pieces;
        if !understood {
            self.done.left += 1;
            return;
        }
        self.done.mended += 1;
        if wants_events {
            let Origin { topic, partition, offset } = message.origin;
            let event = Event {
                event_id: format!("custody/redecode/{topic}/{partition}/{offset}").into(),
                occurred_at: Some(now),
                kind: Kind::Redecode,
                source_type: "redecode".into(),
                detail: format!(r#"{{"decoders":{DECODERS},"events":{events},"pieces":{pieces}}}"#),
                ..Event::default()
            };
            let row = RowContext { source: SourceKind::Custody.as_str(), ..row };
            self.events.push(&row, &event, i32::try_from(index).unwrap_or(i32::MAX));
        }
    }

    /// Commits what was decoded since the last commit.
    async fn commit(&mut self) -> Result<(), DirectError> {
        let rows = [self.events.finish()?, self.frames.finish()?];
        // The frames first: with the events a record stops being a dead letter, and nobody looks at it again.
        for (position, (table, rows)) in self.tables.iter_mut().zip(&rows).enumerate().rev() {
            let advances: Vec<Advance> = self
                .streams
                .iter()
                .filter_map(|(stream, progress)| {
                    let from = progress.begun.get(position).copied().flatten();
                    let to = progress.next;
                    (from.unwrap_or(0) < to).then(|| Advance { stream: stream.clone(), from, to })
                })
                .collect();
            if !advances.is_empty() {
                table.append(rows, &advances).await?;
            }
        }
        for progress in self.streams.values_mut() {
            let next = progress.next;
            progress.begun = progress.begun.map(|begun| if begun.unwrap_or(0) < next { Some(next) } else { begun });
        }
        Ok(())
    }

    /// Commits the rest, and tells what came of it all.
    ///
    /// # Errors
    ///
    /// As [`Redecoder::push`].
    pub async fn finish(mut self) -> Result<Redecoded, DirectError> {
        self.commit().await?;
        Ok(self.done)
    }
}

/// Puts what a record gives now, and did not give before, into the tables.
struct Rows<'a> {
    row: RowContext<'a>,
    events: Option<&'a mut EventColumns>,
    frames: Option<&'a mut FrameColumns>,
    known: HashSet<&'a str>,
    pieces: HashSet<(&'a str, i64)>,
    /// Something could not be told from what the record gave before.
    is_doubtful: bool,
    /// Number of the next event of the record.
    index: usize,
    added: (u64, u64),
}

impl Rows<'_> {
    fn is_known(&mut self, event: &Event<'_>) -> bool {
        if !event.event_id.is_empty() {
            return self.known.contains(&*event.event_id);
        }
        // Such an event is known by its number in the record, which is another one when more is understood: where there
        // are some already, it cannot be told which, and the record stays a dead letter.
        self.is_doubtful |= self.known.iter().any(|id| id.starts_with("kafka/"));
        self.is_doubtful
    }
}

impl Sink for Rows<'_> {
    fn event(&mut self, event: &Event<'_>) {
        if self.is_known(event) {
            return;
        }
        if let Some(events) = &mut self.events {
            events.push(&self.row, event, i32::try_from(self.index).unwrap_or(i32::MAX));
            self.added.0 += 1;
        }
        self.index += 1;
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        if self.pieces.contains(&(&*piece.session_id, piece.seq)) {
            return;
        }
        if let Some(frames) = &mut self.frames {
            frames.push(&self.row, piece);
            self.added.1 += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use custody_ledger::Location;

    use super::*;

    fn again<'a>(offset: i64, value: &'a str, event_ids: &'a [String], pieces: &'a [(String, i64)]) -> Again<'a> {
        let message = Message {
            origin: Origin { topic: "teleport.sessions", partition: 0, offset },
            broker_at: None,
            key: None,
            headers: &[],
            value: Some(value.as_bytes()),
        };
        Again { message, event_ids, pieces }
    }

    #[tokio::test]
    async fn what_a_record_did_not_give_before_is_added_once() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path().to_str().unwrap(), HashMap::new()).unwrap();
        let ledger = Ledger::create(location).await.unwrap();
        let source = Source::new(SourceKind::Teleport);
        let print = r#"{"event":"print","sid":"s2","ei":1,"ms":0,"data":"aGk="}"#;
        let login = r#"[{"event":"user.login","uid":"u1"},{"event":"user.login","uid":"u2"}]"#;
        let nameless = r#"{"event":"user.login"}"#;
        // Of a session around it, of one of two events, and of an event that is known by its number alone.
        let other = [("s1".to_owned(), 1)];
        let one = ["teleport//u1".to_owned()];
        let numbered = ["kafka/teleport.sessions/0/3/0".to_owned()];
        let records = || {
            [
                again(1, print, &[], &other),
                again(2, login, &one, &[]),
                again(3, nameless, &numbered, &[]),
                again(4, "no event of anybody", &[], &[]),
            ]
        };
        let mut redecoder = Redecoder::open(&ledger).await.unwrap();
        for record in records() {
            redecoder.push(&source, &record).await.unwrap();
        }
        let done = redecoder.finish().await.unwrap();
        assert_eq!(done, Redecoded { mended: 2, left: 2, tried_before: 0, events: 1, pieces: 1 });

        let mut redecoder = Redecoder::open(&ledger).await.unwrap();
        for record in records() {
            redecoder.push(&source, &record).await.unwrap();
        }
        let done = redecoder.finish().await.unwrap();
        assert_eq!(done, Redecoded { tried_before: 4, ..Redecoded::default() });
    }
}
