//! What is found in recordings, as rows of the tables that are derived from frames.
//!
//! A recording is looked through anew when more of it has come. Each look is a **run** with a number of its own, and what
//! counts of a recording are the rows of its run that saw the most of it, once that has a row in `indexed_recordings`,
//! which is written last.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Builder, Int32Builder, Int64Builder,
    ListBuilder, PrimitiveBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Date32Type, Int64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::columns::{batch, numbers, timestamps};
use crate::table::{PARTITION_COLUMN, Table, element};
use crate::time::Micros;
use crate::trigrams::{TEXTS_OF_A_SET, Trigrams};

/// Of which recording a row is.
#[derive(Debug, Clone, Copy)]
pub struct Indexed<'a> {
    /// The day of ingestion of its newest frame, in days since 1970: what was found is kept as long as what it was found
    /// in.
    pub date: i32,
    /// The look at it.
    pub run: i64,
    /// Kind of gateway.
    pub source: &'a str,
    /// The session that was recorded.
    pub session_id: &'a str,
    /// Which of its recordings.
    pub channel: Option<&'a str>,
}

/// A row of `indexed_recordings`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexedRecording {
    /// When it was looked through.
    pub indexed_at: Micros,
    /// By which version of what looks through recordings.
    pub version: i32,
    /// Number of frames that the session had.
    pub frames: i64,
    /// Wall clock at its start.
    pub started_at: Option<Micros>,
    /// Time of its last piece since the start.
    pub duration_us: i64,
    /// Size of the terminal at its start.
    pub cols: u16,
    /// See `cols`.
    pub rows: u16,
    /// Number of its events.
    pub events: i64,
    /// Size of its output.
    pub output_bytes: i64,
    /// SHA-256 of its output, in hexadecimal digits.
    pub output_sha256: String,
    /// Bytes of the output that are not UTF-8 and are shown as U+FFFD.
    pub replaced_bytes: i64,
    /// The stream says that it is over.
    pub ended: bool,
    /// What is wrong with it, a line each.
    pub findings: String,
    /// When each of them is, in microseconds since the start; `None` where it is about all of the recording.
    pub findings_us: Vec<Option<i64>>,
    /// Number of its texts.
    pub texts: i64,
    /// Number of its commands.
    pub commands: i64,
    /// Texts that were too many to be kept.
    pub missed: i64,
    /// Why it could not be looked through.
    pub error: Option<String>,
}

/// A row of `indexed_texts`.
#[derive(Debug, Clone, Copy)]
pub struct IndexedText<'a> {
    /// Texts are numbered as they went from the screen: what stood next to each other mostly has numbers that follow.
    pub number: i64,
    /// When it came, in microseconds since the start of the recording.
    pub from_us: i64,
    /// Since when it read as it does.
    pub whole_us: i64,
    /// When it went.
    pub till_us: i64,
    /// Row of the screen on which it was last, from 0.
    pub row: u16,
    /// It was on the alternate screen.
    pub alternate: bool,
    /// The text.
    pub text: &'a str,
}

/// A row of `indexed_segments`: from where a part of a recording is shown, and of which pieces it is made.
#[derive(Debug, Clone, Copy)]
pub struct IndexedSegment<'a> {
    /// Its number, from 0.
    pub number: i64,
    /// Time of its first event, in microseconds since the start of the recording.
    pub start_us: i64,
    /// Time of its last event.
    pub end_us: i64,
    /// Size of the terminal at its beginning.
    pub cols: u16,
    /// See `cols`.
    pub rows: u16,
    /// Escape sequences that make an empty terminal what it was at its beginning.
    pub init: &'a str,
    /// The bytes of a character that its beginning has parted.
    pub tail: &'a [u8],
    /// Number of its events.
    pub events: i64,
    /// Size of its output.
    pub output_bytes: i64,
    /// SHA-256 over the screen that it begins with and its events, in hexadecimal digits.
    pub sha256: &'a str,
    /// Long times without an event that end in it: end and length.
    pub idle: &'a [(i64, i64)],
    /// Its markers: time and label.
    pub markers: &'a [(i64, String)],
    /// How the times of its pieces are read, as in `frames`.
    pub clock: &'a str,
    /// Topic and partition whose offsets number the pieces; `None` where the source numbers them.
    pub lines_of: Option<(&'a str, i32)>,
    /// Number of its first piece.
    pub first_seq: i64,
    /// Number of its last piece.
    pub last_seq: i64,
    /// The time that was reached before it.
    pub reached_us: i64,
    /// The version of asciicast by which its lines are read.
    pub version: Option<i32>,
    /// When the header came by which they are.
    pub header_us: i64,
    /// The wall clock at time 0, where pieces are placed by it: any number.
    pub zero_at: Option<Micros>,
}

/// The columns that every row has.
struct Of {
    date: Date32Builder,
    run: Int64Builder,
    source: StringBuilder,
    session_id: StringBuilder,
    channel: StringBuilder,
}

impl Of {
    fn new() -> Self {
        Self {
            date: Date32Builder::new(),
            run: Int64Builder::new(),
            source: StringBuilder::new(),
            session_id: StringBuilder::new(),
            channel: StringBuilder::new(),
        }
    }

    fn push(&mut self, of: Indexed<'_>) {
        self.date.append_value(of.date);
        self.run.append_value(of.run);
        self.source.append_value(of.source);
        self.session_id.append_value(of.session_id);
        self.channel.append_option(of.channel);
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.date.finish()),
            Arc::new(self.run.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.session_id.finish()),
            Arc::new(self.channel.finish()),
        ]
    }
}

/// Rows of `indexed_segments`.
struct SegmentColumns {
    of: Of,
    /// number, start_us, end_us
    times: [Int64Builder; 3],
    /// cols, rows
    size: [Int32Builder; 2],
    /// init, tail
    screen: [StringBuilder; 2],
    /// events, output_bytes
    counts: [Int64Builder; 2],
    sha256: StringBuilder,
    /// idle_ends_us, idle_us, markers_us
    lists: [ListBuilder<Int64Builder>; 3],
    markers: ListBuilder<StringBuilder>,
    clock: StringBuilder,
    topic: StringBuilder,
    partition: Int32Builder,
    /// first_seq, last_seq, reached_us
    place: [Int64Builder; 3],
    version: Int32Builder,
    header_us: Int64Builder,
    zero_us: Int64Builder,
}

impl SegmentColumns {
    fn new() -> Self {
        Self {
            of: Of::new(),
            times: Default::default(),
            size: Default::default(),
            screen: Default::default(),
            counts: Default::default(),
            sha256: StringBuilder::new(),
            lists: [numbers(), numbers(), numbers()],
            markers: ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)),
            clock: StringBuilder::new(),
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            place: Default::default(),
            version: Int32Builder::new(),
            header_us: Int64Builder::new(),
            zero_us: Int64Builder::new(),
        }
    }

    fn push(&mut self, of: Indexed<'_>, row: &IndexedSegment<'_>) {
        self.of.push(of);
        append(&mut self.times, [row.number, row.start_us, row.end_us]);
        append(&mut self.size, [row.cols.into(), row.rows.into()]);
        let tail: String = row.tail.iter().map(|byte| format!("{byte:02x}")).collect();
        for (column, text) in self.screen.iter_mut().zip([row.init, &tail]) {
            column.append_value(text);
        }
        append(&mut self.counts, [row.events, row.output_bytes]);
        self.sha256.append_value(row.sha256);
        let [ends, idle, markers] = &mut self.lists;
        ends.append_value(row.idle.iter().map(|(end_us, _)| Some(*end_us)));
        idle.append_value(row.idle.iter().map(|(_, idle_us)| Some(*idle_us)));
        markers.append_value(row.markers.iter().map(|(time_us, _)| Some(*time_us)));
        self.markers.append_value(row.markers.iter().map(|(_, label)| Some(label)));
        self.clock.append_value(row.clock);
        self.topic.append_option(row.lines_of.map(|(topic, _)| topic));
        self.partition.append_option(row.lines_of.map(|(_, partition)| partition));
        append(&mut self.place, [row.first_seq, row.last_seq, row.reached_us]);
        self.version.append_option(row.version);
        self.header_us.append_value(row.header_us);
        self.zero_us.append_option(row.zero_at);
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        fn all<B: ArrayBuilder>(builders: &mut [B]) -> impl Iterator<Item = ArrayRef> {
            builders.iter_mut().map(ArrayBuilder::finish)
        }
        let mut columns = self.of.finish();
        columns.extend(all(&mut self.times));
        columns.extend(all(&mut self.size));
        columns.extend(all(&mut self.screen));
        columns.extend(all(&mut self.counts));
        columns.push(Arc::new(self.sha256.finish()));
        columns.extend(all(&mut self.lists));
        columns.push(Arc::new(self.markers.finish()));
        columns.push(Arc::new(self.clock.finish()));
        columns.push(Arc::new(self.topic.finish()));
        columns.push(Arc::new(self.partition.finish()));
        columns.extend(all(&mut self.place));
        columns.push(Arc::new(self.version.finish()));
        columns.push(Arc::new(self.header_us.finish()));
        columns.push(Arc::new(self.zero_us.finish()));
        columns
    }
}

fn append<T: ArrowPrimitiveType, const N: usize>(columns: &mut [PrimitiveBuilder<T>; N], values: [T::Native; N]) {
    for (column, value) in columns.iter_mut().zip(values) {
        column.append_value(value);
    }
}

/// Rows of the tables of what is found.
pub struct IndexColumns {
    recordings: Of,
    indexed_at: TimestampMicrosecondBuilder,
    version: Int32Builder,
    frames: Int64Builder,
    started_at: TimestampMicrosecondBuilder,
    duration_us: Int64Builder,
    cols: Int32Builder,
    rows: Int32Builder,
    events: Int64Builder,
    output_bytes: Int64Builder,
    output_sha256: StringBuilder,
    replaced_bytes: Int64Builder,
    ended: BooleanBuilder,
    findings: StringBuilder,
    findings_us: ListBuilder<Int64Builder>,
    texts: Int64Builder,
    commands: Int64Builder,
    missed: Int64Builder,
    error: StringBuilder,
    text_of: Of,
    number: Int64Builder,
    from_us: Int64Builder,
    whole_us: Int64Builder,
    till_us: Int64Builder,
    row: Int32Builder,
    alternate: BooleanBuilder,
    text: StringBuilder,
    command_of: Of,
    at_us: Int64Builder,
    until_us: Int64Builder,
    exit_status: Int32Builder,
    found_by: StringBuilder,
    command: StringBuilder,
    segments: SegmentColumns,
    bytes: usize,
}

impl Default for IndexColumns {
    fn default() -> Self {
        Self {
            recordings: Of::new(),
            indexed_at: timestamps(),
            version: Int32Builder::new(),
            frames: Int64Builder::new(),
            started_at: timestamps(),
            duration_us: Int64Builder::new(),
            cols: Int32Builder::new(),
            rows: Int32Builder::new(),
            events: Int64Builder::new(),
            output_bytes: Int64Builder::new(),
            output_sha256: StringBuilder::new(),
            replaced_bytes: Int64Builder::new(),
            ended: BooleanBuilder::new(),
            findings: StringBuilder::new(),
            findings_us: numbers(),
            texts: Int64Builder::new(),
            commands: Int64Builder::new(),
            missed: Int64Builder::new(),
            error: StringBuilder::new(),
            text_of: Of::new(),
            number: Int64Builder::new(),
            from_us: Int64Builder::new(),
            whole_us: Int64Builder::new(),
            till_us: Int64Builder::new(),
            row: Int32Builder::new(),
            alternate: BooleanBuilder::new(),
            text: StringBuilder::new(),
            command_of: Of::new(),
            at_us: Int64Builder::new(),
            until_us: Int64Builder::new(),
            exit_status: Int32Builder::new(),
            found_by: StringBuilder::new(),
            command: StringBuilder::new(),
            segments: SegmentColumns::new(),
            bytes: 0,
        }
    }
}

impl IndexColumns {
    /// Bytes of the rows so far, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the row of a recording that was looked through.
    pub fn push_recording(&mut self, of: Indexed<'_>, recording: &IndexedRecording) {
        self.bytes += 256 + recording.findings.len();
        self.recordings.push(of);
        self.indexed_at.append_value(recording.indexed_at);
        self.version.append_value(recording.version);
        self.frames.append_value(recording.frames);
        self.started_at.append_option(recording.started_at);
        self.duration_us.append_value(recording.duration_us);
        self.cols.append_value(recording.cols.into());
        self.rows.append_value(recording.rows.into());
        self.events.append_value(recording.events);
        self.output_bytes.append_value(recording.output_bytes);
        self.output_sha256.append_value(&recording.output_sha256);
        self.replaced_bytes.append_value(recording.replaced_bytes);
        self.ended.append_value(recording.ended);
        self.findings.append_value(&recording.findings);
        self.findings_us.append_value(recording.findings_us.iter().copied());
        self.texts.append_value(recording.texts);
        self.commands.append_value(recording.commands);
        self.missed.append_value(recording.missed);
        self.error.append_option(recording.error.as_deref());
    }

    /// Adds a text that was on its screen.
    pub fn push_text(&mut self, of: Indexed<'_>, text: &IndexedText<'_>) {
        self.bytes += 64 + text.text.len();
        self.text_of.push(of);
        self.number.append_value(text.number);
        self.from_us.append_value(text.from_us);
        self.whole_us.append_value(text.whole_us);
        self.till_us.append_value(text.till_us);
        self.row.append_value(text.row.into());
        self.alternate.append_value(text.alternate);
        self.text.append_value(text.text);
    }

    /// Adds a command that ran from one time until another, in microseconds since the start.
    pub fn push_command(
        &mut self,
        of: Indexed<'_>,
        (at_us, until_us): (i64, Option<i64>),
        exit_status: Option<u8>,
        found_by: &str,
        text: &str,
    ) {
        self.bytes += 64 + text.len();
        self.command_of.push(of);
        self.at_us.append_value(at_us);
        self.until_us.append_option(until_us);
        self.exit_status.append_option(exit_status.map(i32::from));
        self.found_by.append_value(found_by);
        self.command.append_value(text);
    }

    /// Adds a part of it that is shown from its own beginning.
    pub fn push_segment(&mut self, of: Indexed<'_>, segment: &IndexedSegment<'_>) {
        let labels: usize = segment.markers.iter().map(|(_, label)| label.len()).sum();
        self.bytes += 512 + segment.init.len() + labels + 16 * (segment.idle.len() + segment.markers.len());
        self.segments.push(of, segment);
    }

    /// The rows, in the order of [`Table::IndexedRecordings`], texts, commands, segments and trigrams.
    ///
    /// # Errors
    ///
    /// When the columns do not fit their table, which is a defect.
    pub fn finish(&mut self) -> Result<[RecordBatch; 5], ArrowError> {
        self.bytes = 0;
        let mut recordings = self.recordings.finish();
        let more: [ArrayRef; 18] = [
            Arc::new(self.indexed_at.finish()),
            Arc::new(self.version.finish()),
            Arc::new(self.frames.finish()),
            Arc::new(self.started_at.finish()),
            Arc::new(self.duration_us.finish()),
            Arc::new(self.cols.finish()),
            Arc::new(self.rows.finish()),
            Arc::new(self.events.finish()),
            Arc::new(self.output_bytes.finish()),
            Arc::new(self.output_sha256.finish()),
            Arc::new(self.replaced_bytes.finish()),
            Arc::new(self.ended.finish()),
            Arc::new(self.findings.finish()),
            Arc::new(self.findings_us.finish()),
            Arc::new(self.texts.finish()),
            Arc::new(self.commands.finish()),
            Arc::new(self.missed.finish()),
            Arc::new(self.error.finish()),
        ];
        recordings.extend(more);
        let mut texts = self.text_of.finish();
        let more: [ArrayRef; 7] = [
            Arc::new(self.number.finish()),
            Arc::new(self.from_us.finish()),
            Arc::new(self.whole_us.finish()),
            Arc::new(self.till_us.finish()),
            Arc::new(self.row.finish()),
            Arc::new(self.alternate.finish()),
            Arc::new(self.text.finish()),
        ];
        texts.extend(more);
        let mut commands = self.command_of.finish();
        let more: [ArrayRef; 5] = [
            Arc::new(self.at_us.finish()),
            Arc::new(self.until_us.finish()),
            Arc::new(self.exit_status.finish()),
            Arc::new(self.found_by.finish()),
            Arc::new(self.command.finish()),
        ];
        commands.extend(more);
        let texts = batch(Table::IndexedTexts, texts)?;
        let trigrams = trigrams(&texts)?;
        Ok([
            batch(Table::IndexedRecordings, recordings)?,
            texts,
            batch(Table::IndexedCommands, commands)?,
            batch(Table::IndexedSegments, self.segments.finish())?,
            trigrams,
        ])
    }
}

/// Where a text stands in the order of `indexed_texts`.
#[derive(Clone, Copy)]
struct TextPlace<'a> {
    session_id: &'a str,
    run: i64,
    number: i64,
}

/// The rows of `indexed_trigrams` of texts, which stand in the order of their table: of each day a row for so many.
fn trigrams(texts: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        let column = texts.column_by_name(name);
        column.ok_or_else(|| ArrowError::SchemaError(format!("indexed_texts has no {name}")))
    };
    let dates = column(PARTITION_COLUMN)?.as_primitive::<Date32Type>();
    let (sessions, text) = (column("session_id")?.as_string::<i32>(), column("text")?.as_string::<i32>());
    let (runs, numbers) = (column("run")?.as_primitive::<Int64Type>(), column("number")?.as_primitive::<Int64Type>());
    let mut days: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (row, date) in dates.values().iter().enumerate() {
        days.entry(*date).or_default().push(row);
    }
    let mut rows = TrigramColumns::default();
    for (date, rows_of_day) in days {
        for some in rows_of_day.chunks(TEXTS_OF_A_SET) {
            let mut set = Trigrams::default();
            some.iter().for_each(|row| set.insert(text.value(*row)));
            let place = |row: &usize| TextPlace {
                session_id: sessions.value(*row),
                run: runs.value(*row),
                number: numbers.value(*row),
            };
            if let (Some(first), Some(last)) = (some.first().map(place), some.last().map(place)) {
                // In more than one session there is a last run, which need not be that of the last session.
                let in_runs =
                    |of: fn(i64, i64) -> i64, run| some.iter().fold(run, |run, row| of(run, runs.value(*row)));
                rows.push(date, first, last, [in_runs(i64::min, first.run), in_runs(i64::max, last.run)], &set);
            }
        }
    }
    batch(Table::IndexedTrigrams, rows.finish())
}

/// Rows of `indexed_trigrams`.
#[derive(Default)]
struct TrigramColumns {
    date: Date32Builder,
    sessions: [StringBuilder; 2],
    /// first_run, last_run, first_number, last_number
    places: [Int64Builder; 4],
    bits: BinaryBuilder,
}

impl TrigramColumns {
    fn push(&mut self, date: i32, first: TextPlace<'_>, last: TextPlace<'_>, runs: [i64; 2], set: &Trigrams) {
        self.date.append_value(date);
        for (column, session_id) in self.sessions.iter_mut().zip([first.session_id, last.session_id]) {
            column.append_value(session_id);
        }
        append(&mut self.places, [runs[0], runs[1], first.number, last.number]);
        self.bits.append_value(set.as_bytes());
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.date.finish())];
        columns.extend(self.sessions.iter_mut().map(ArrayBuilder::finish));
        columns.extend(self.places.iter_mut().map(ArrayBuilder::finish));
        columns.push(Arc::new(self.bits.finish()));
        columns
    }
}
