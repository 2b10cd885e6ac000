//! What is found in recordings, into the ledger.
//!
//! Rows of a look at a recording count once its row of `indexed_recordings` is there, which is committed last: whatever
//! fails before leaves rows that nobody sees, and the recording is looked through again.

use std::collections::BTreeMap;

use arrow::error::ArrowError;
use aws_lc_rs::digest;
use custody_ledger::{AppendError, Ledger, LedgerError, TableWriter};
use custody_replay::header::Version;
use custody_replay::index::{Found, Indexer, ScreenText, Segment};
use custody_replay::recording::{Finding, Reader};
use custody_replay::{Place, Size, StreamKey, Timed, recording};
use custody_schemas::frame::{Code, Frame};
use custody_schemas::index::{IndexColumns, Indexed, IndexedRecording, IndexedSegment, IndexedText};
use custody_schemas::table::Table;

use crate::consumer::now;
use crate::hex;

/// Raised whenever more is found in a recording than before, so that all are looked through again.
pub const INDEXER: i32 = 3;

/// Rows are committed when they have about this many bytes.
const ROWS_BYTES_MAX: usize = 32 << 20;

/// Why what was found is not in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The store failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Rows do not fit their table, which is a defect.
    #[error("rows of the index could not be built: {0}")]
    Rows(#[from] ArrowError),
}

/// A session whose recordings are looked through.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Kind of gateway.
    pub source: &'a str,
    /// The session.
    pub session_id: &'a str,
    /// Number of its frames.
    pub frames: i64,
    /// The day on which the newest of them was ingested, in days since 1970.
    pub date: i32,
}

/// What was found and is in the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Recordings that were looked through.
    pub recordings: u64,
    /// Bytes of their output.
    pub output_bytes: u64,
    /// Texts that were on their screens.
    pub texts: u64,
    /// Their commands.
    pub commands: u64,
    /// Recordings that could not be looked through.
    pub failed: u64,
}

/// Looks through recordings and writes down what is found.
pub struct Indexing {
    /// The order of commits: no text is there that its trigrams do not tell of, and a recording's own row comes last.
    trigrams: TableWriter,
    texts: TableWriter,
    commands: TableWriter,
    segments: TableWriter,
    recordings: TableWriter,
    columns: IndexColumns,
    last_run: i64,
    /// Tells runs of this process from those of others in the same microsecond.
    salt: i64,
    pending: Kept,
    kept: Kept,
}

impl Indexing {
    /// Opens the tables for appending.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when they cannot be opened.
    pub async fn open(ledger: &Ledger) -> Result<Self, LedgerError> {
        Ok(Self {
            trigrams: ledger.writer(Table::IndexedTrigrams).await?,
            texts: ledger.writer(Table::IndexedTexts).await?,
            commands: ledger.writer(Table::IndexedCommands).await?,
            segments: ledger.writer(Table::IndexedSegments).await?,
            recordings: ledger.writer(Table::IndexedRecordings).await?,
            columns: IndexColumns::default(),
            last_run: 0,
            salt: i64::from(uuid::Uuid::new_v4().as_fields().0) % RUNS_A_MICROSECOND,
            pending: Kept::default(),
            kept: Kept::default(),
        })
    }

    /// Begins a look at one of the recordings of a session. It has no effect before it [ends](Self::end).
    pub fn begin(&mut self, key: StreamKey) -> Run {
        Run { number: self.next_run(), key, texts: 0, commands: 0, segments: 0, missed: 0, replaced_bytes: 0 }
    }

    /// Takes what was found in a recording next.
    pub fn push(&mut self, of: Recorded<'_>, run: &mut Run, found: &Found) {
        let indexed = run.of(of);
        for (number, text) in (run.texts..).zip(&found.texts) {
            let ScreenText { from_us, whole_us, till_us, row, is_alternate, text } = text;
            let text = IndexedText {
                number,
                from_us: *from_us,
                whole_us: *whole_us,
                till_us: *till_us,
                row: *row,
                alternate: *is_alternate,
                text,
            };
            self.columns.push_text(indexed, &text);
        }
        for command in &found.commands {
            let times = (command.at_us, command.until_us);
            self.columns.push_command(indexed, times, command.exit_status, command.source.as_str(), &command.text);
        }
        for (number, segment) in (run.segments..).zip(&found.segments) {
            push_segment(&mut self.columns, indexed, number, &run.key, segment);
        }
        run.texts += found.texts.len() as i64;
        run.commands += found.commands.len() as i64;
        run.segments += found.segments.len() as i64;
        (run.missed, run.replaced_bytes) = (found.missed as i64, found.replaced_bytes as i64);
    }

    /// Ends a look: what was found in it counts when this is committed.
    pub fn end(&mut self, of: Recorded<'_>, run: &Run, looked: Looked) {
        let Run { texts, commands, missed, replaced_bytes, .. } = *run;
        let row = IndexedRecording { frames: of.frames, texts, commands, missed, replaced_bytes, ..looked.0 };
        self.pending.recordings += 1;
        self.pending.output_bytes += row.output_bytes.unsigned_abs();
        self.pending.texts += texts.unsigned_abs();
        self.pending.commands += commands.unsigned_abs();
        self.columns.push_recording(run.of(of), &row);
    }

    /// Notes that the recordings of a session cannot be looked through, and why.
    pub fn push_failed(&mut self, of: Recorded<'_>, why: String) {
        let run = self.next_run();
        let indexed = Indexed { date: of.date, run, source: of.source, session_id: of.session_id, channel: None };
        let row = IndexedRecording {
            indexed_at: now(),
            version: INDEXER,
            frames: of.frames,
            error: Some(why),
            ..IndexedRecording::default()
        };
        self.columns.push_recording(indexed, &row);
        self.pending.failed += 1;
    }

    /// Grows, and is hardly ever that of another process; rows are told apart by their session as well.
    fn next_run(&mut self) -> i64 {
        self.last_run = (now() * RUNS_A_MICROSECOND + self.salt).max(self.last_run + RUNS_A_MICROSECOND);
        self.last_run
    }

    /// Whether it is time to commit.
    pub fn is_full(&self) -> bool {
        self.columns.bytes() >= ROWS_BYTES_MAX
    }

    /// Commits what was pushed. Returns all that this has kept so far.
    ///
    /// # Errors
    ///
    /// [`IndexError`]: what was pushed is not in the ledger, and forgotten.
    pub async fn commit(&mut self) -> Result<Kept, IndexError> {
        let pending = std::mem::take(&mut self.pending);
        let [recordings, texts, commands, segments, trigrams] = self.columns.finish()?;
        for (writer, rows) in [
            (&mut self.trigrams, &trigrams),
            (&mut self.texts, &texts),
            (&mut self.commands, &commands),
            (&mut self.segments, &segments),
            (&mut self.recordings, &recordings),
        ] {
            if rows.num_rows() > 0 {
                writer.append(rows, &[]).await?;
            }
        }
        self.kept.recordings += pending.recordings;
        self.kept.output_bytes += pending.output_bytes;
        self.kept.texts += pending.texts;
        self.kept.commands += pending.commands;
        self.kept.failed += pending.failed;
        Ok(self.kept)
    }
}

/// Processes that may look at recordings in one microsecond.
const RUNS_A_MICROSECOND: i64 = 1000;

/// So many findings of a recording are kept.
const FINDINGS_MAX: usize = 100;

/// A look at a recording that has begun.
#[derive(Debug)]
pub struct Run {
    number: i64,
    key: StreamKey,
    texts: i64,
    commands: i64,
    segments: i64,
    missed: i64,
    replaced_bytes: i64,
}

impl Run {
    fn of<'a>(&'a self, Recorded { source, session_id, date, .. }: Recorded<'a>) -> Indexed<'a> {
        Indexed { date, run: self.number, source, session_id, channel: self.key.channel.as_deref() }
    }
}

/// Instants that can be written in RFC 3339, in microseconds since 1970: the years 1 to 9999.
const READABLE_US: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// Names in it may have line breaks.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }).collect()
}

/// What is known of a recording that was looked through, but for what was found in it.
#[derive(Debug, Clone)]
pub struct Looked(IndexedRecording);

/// Reads one recording out of its frames, in memory that does not grow with it.
pub struct Reading {
    reader: Reader,
    findings: Vec<Finding>,
    count: Count,
}

/// Events of a recording that come next.
pub struct Events {
    /// Of the terminal at the recording's start, once it is known.
    size: Option<Size>,
    events: Vec<(Place, Timed)>,
}

/// What was read of a recording.
struct Count {
    output: digest::Context,
    output_bytes: i64,
    events: i64,
}

impl Count {
    fn add(&mut self, events: &[(Place, Timed)]) {
        self.events += events.len() as i64;
        for (_, event) in events.iter().filter(|(_, event)| event.code == Code::Output) {
            self.output.update(&event.data);
            self.output_bytes += event.data.len() as i64;
        }
    }
}

impl Reading {
    /// A stream, of which the findings are known that are about all of it.
    pub fn new(key: StreamKey, findings: Vec<Finding>) -> Self {
        let count = Count { output: digest::Context::new(&digest::SHA256), output_bytes: 0, events: 0 };
        Self { reader: Reader::new(key), findings, count }
    }

    /// Takes frames, see [`Reader::push`].
    pub fn push(&mut self, frames: Vec<Frame>, until_seq: i64) -> Events {
        let events = self.reader.push(frames, until_seq);
        self.count.add(&events);
        Events { size: (!events.is_empty()).then(|| self.reader.size()), events }
    }

    /// Bytes of frames that are held because they overlap with what is to come.
    pub fn held_bytes(&self) -> usize {
        self.reader.held_bytes()
    }

    /// Takes the last frames. Returns the last events, and what is known of the whole.
    pub fn finish(self, frames: Vec<Frame>) -> (Events, Looked) {
        let Self { reader, mut findings, mut count } = self;
        let (recording, events) = reader.finish(frames);
        count.add(&events);
        findings.extend(recording.findings);
        findings.sort_by_key(Finding::at_us);
        findings.truncate(FINDINGS_MAX);
        let texts: Vec<String> = findings.iter().map(|finding| one_line(&finding.to_string())).collect();
        let looked = IndexedRecording {
            indexed_at: now(),
            version: INDEXER,
            started_at: recording.started_at.filter(|at| READABLE_US.contains(at)),
            duration_us: recording.duration_us,
            cols: recording.size.cols,
            rows: recording.size.rows,
            events: count.events,
            output_bytes: count.output_bytes,
            output_sha256: hex::encode(count.output.finish().as_ref()),
            ended: recording.ended,
            findings: texts.join("\n"),
            findings_us: findings.iter().map(Finding::at_us).collect(),
            ..IndexedRecording::default()
        };
        (Events { size: Some(recording.size), events }, Looked(looked))
    }
}

/// Plays one recording, to find what was on its screen, in memory that does not grow with it.
#[derive(Default)]
pub struct Playing {
    /// Once the size of the terminal is known.
    indexer: Option<Indexer>,
}

impl Playing {
    /// Plays the next events.
    pub fn play(&mut self, Events { size, events }: Events) {
        let Some(size) = size else { return };
        let indexer = self.indexer.get_or_insert_with(|| Indexer::new(size));
        events.iter().for_each(|(place, event)| indexer.push_at(*place, event));
    }

    /// What was found since it was asked the last time.
    pub fn take(&mut self) -> Found {
        self.indexer.as_mut().map(Indexer::take).unwrap_or_default()
    }

    /// The same, when the recording is over: also what is on the screen.
    pub fn finish(self) -> Found {
        self.indexer.map(Indexer::finish).unwrap_or_default()
    }
}

fn push_segment(columns: &mut IndexColumns, of: Indexed<'_>, number: i64, key: &StreamKey, segment: &Segment) {
    let Segment { start_us, end_us, size, init, tail, events, output_bytes, place, .. } = segment;
    let row = IndexedSegment {
        number,
        start_us: *start_us,
        end_us: *end_us,
        cols: size.cols,
        rows: size.rows,
        init,
        tail,
        events: *events as i64,
        output_bytes: *output_bytes as i64,
        sha256: &hex::encode(&segment.sha256),
        idle: &segment.idle,
        markers: &segment.markers,
        clock: key.clock.as_str(),
        lines_of: key.lines_of.as_ref().map(|(topic, partition)| (topic.as_str(), *partition)),
        first_seq: place.seq,
        last_seq: segment.last_seq,
        reached_us: place.reached_us,
        version: place.version.map(Version::number),
        header_us: place.header_us,
        zero_at: place.zero_at,
    };
    columns.push_segment(of, &row);
}

/// A recording that was looked through, and what was found.
pub type Look = (StreamKey, Found, Looked);

/// Looks through the recordings of a session: of each channel the one that is played. Takes as long as playing them does.
pub fn look(frames: Vec<Frame>) -> Vec<Look> {
    let mut channels: BTreeMap<Option<String>, Vec<Frame>> = BTreeMap::new();
    for frame in frames {
        channels.entry(frame.channel.clone()).or_default().push(frame);
    }
    let look = |frames: Vec<Frame>| {
        let (key, findings) = recording::stream_of(&frames)?;
        let (events, looked) = Reading::new(key.clone(), findings).finish(frames);
        let mut playing = Playing::default();
        playing.play(events);
        Some((key, playing.finish(), looked))
    };
    channels.into_values().filter_map(look).collect()
}
