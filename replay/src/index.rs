//! What is found out of a recording by playing it once: from where it can be shown at any time, every text that was on the
//! screen, and the commands.
//!
//! An [`Indexer`] takes one event after the other, in memory that does not grow with the recording, as long as what it has
//! found is [taken](Indexer::take) from it. What it finds depends on the events alone.

mod commands;
mod lines;

use std::ops::Range;

use avt::observer::{Observation, Observer};
use avt::{Line, Operation};
use custody_schemas::frame::Code;
use sha2::{Digest, Sha256};

pub use self::commands::{Command, CommandSource};
pub use self::lines::ScreenText;
use crate::emulator::Emulator;
use crate::recording::{Place, Recording, Timed};
use crate::size::Size;

/// A segment is closed when its events have this many bytes: what has to be played to show any time in it.
pub const SEGMENT_BYTES: u64 = 256 * 1024;

/// An event counts as so many bytes more than it has.
const EVENT_BYTES: u64 = 16;

/// A segment is closed after this much time with something happening, in microseconds.
pub const SEGMENT_ACTIVE_US: i64 = 30_000_000;

/// A segment that is closed for its time alone has this many bytes: less is played at once from further back.
const SEGMENT_BYTES_MIN: u64 = 4 * 1024;

/// Time without an event counts as active up to here, in microseconds.
const IDLE_US: i64 = 1_000_000;

/// All keyframes together take no more than one part in so many of the events, and [`KEYFRAME_BYTES_FREE`].
const KEYFRAME_SHARE: u64 = 5;

/// What keyframes may take besides.
const KEYFRAME_BYTES_FREE: u64 = 1024 * 1024;

/// For keyframes no more cells are looked at than so many for each byte of events, and [`CUT_CELLS_FREE`].
const CUT_CELLS_PER_BYTE: u64 = 4;

/// What may be looked at besides.
const CUT_CELLS_FREE: u64 = 16 * 1024 * 1024;

/// The screen is read when nothing has happened for so long, or when so much time has passed since it was read, in
/// microseconds of the recording: nobody has read what was gone sooner.
const READ_US: i64 = 50_000;

/// Time without an event that is told, in microseconds: this or more.
pub const IDLE_TOLD_US: i64 = 1_000_000;

/// So many markers of a segment are told, and so much of the label of each, in bytes.
const MARKERS_MAX: usize = 100;
const LABEL_BYTES_MAX: usize = 1024;

/// A run of events that is shown from a keyframe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Time of its first event, in microseconds since the start of the recording; the first segment begins at 0.
    pub start_us: i64,
    /// Time of its last event.
    pub end_us: i64,
    /// Size of the terminal at its beginning, as it is emulated.
    pub size: Size,
    /// Escape sequences that make an empty terminal of this size what it was before the first event.
    pub init: String,
    /// The beginning of a character that the cut has parted.
    pub tail: Vec<u8>,
    /// Number of events of the recording before it.
    pub first_event: usize,
    /// Number of its events.
    pub events: usize,
    /// Bytes of its output.
    pub output_bytes: u64,
    /// What its events are read on from; meaningful where they were pushed with their places.
    pub place: Place,
    /// Number of the last piece that is an event of it.
    pub last_seq: i64,
    /// See [`hash`](Self::hash).
    pub sha256: [u8; 32],
    /// Times without an event of [`IDLE_TOLD_US`] or more that end in it: end and length, in microseconds. The time before
    /// its first event counts.
    pub idle: Vec<(i64, i64)>,
    /// The first of its markers: time and label.
    pub markers: Vec<(i64, String)>,
}

impl Segment {
    fn begin(place: Place, start_us: i64, size: Size, first_event: usize) -> Self {
        Self {
            start_us,
            end_us: start_us,
            size,
            init: String::new(),
            tail: Vec::new(),
            first_event,
            events: 0,
            output_bytes: 0,
            place,
            last_seq: place.seq,
            sha256: [0; 32],
            idle: Vec::new(),
            markers: Vec::new(),
        }
    }

    /// SHA-256 over what it is shown from and its events: size, `init` and `tail`; then of each event its time in
    /// microseconds, its letter and its bytes. Numbers are 8 bytes, the highest first, and so are the lengths before `init`,
    /// `tail` and bytes.
    pub fn hash<'a>(&self, events: impl IntoIterator<Item = &'a Timed>) -> [u8; 32] {
        let mut hash = self.begun();
        events.into_iter().for_each(|event| update(&mut hash, event));
        hash.finalize().into()
    }

    fn begun(&self) -> Sha256 {
        let mut hash = Sha256::new();
        hash.update(u64::from(self.size.cols).to_be_bytes());
        hash.update(u64::from(self.size.rows).to_be_bytes());
        for bytes in [self.init.as_bytes(), &self.tail] {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        hash
    }
}

fn update(hash: &mut Sha256, event: &Timed) {
    hash.update(event.time_us.to_be_bytes());
    hash.update([event.code.as_char() as u8]);
    hash.update((event.data.len() as u64).to_be_bytes());
    hash.update(&event.data);
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Segments that are closed, in order.
    pub segments: Vec<Segment>,
    /// Texts that went from the screen, in the order in which they went.
    pub texts: Vec<ScreenText>,
    /// Commands that are over, or were followed by another.
    pub commands: Vec<Command>,
    /// Number of texts, rows on which there was one, or commands that are not kept, because there were too many: so far.
    pub missed: u64,
    /// Number of bytes of output that were no part of a character: so far.
    pub replaced_bytes: u64,
}

/// Plays a recording once.
pub struct Indexer {
    emulator: Emulator,
    reader: Reader,
    open: Segment,
    /// Of the open segment.
    hash: Sha256,
    /// See `SEGMENT_BYTES`.
    open_bytes: u64,
    /// Time of the open segment in which something happened.
    active_us: i64,
    /// The event before was a resize.
    is_resized: bool,
    /// The screen was read at this time, or before.
    read_us: i64,
    events: usize,
    /// Bytes of all events.
    bytes: u64,
    keyframe_bytes: u64,
    /// Cells that were looked at for keyframes.
    cut_cells: u64,
    segments: Vec<Segment>,
}

/// Reads the screen.
struct Reader {
    time_us: i64,
    lines: lines::Lines,
    commands: commands::Commands,
}

impl Observer for Reader {
    type Output = ();

    fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        self.lines.before(context, operation);
        self.commands.before(context, operation, self.time_us);
    }

    fn dirty(&mut self, rows: Range<usize>) {
        self.lines.dirty(rows);
    }

    fn after(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        self.lines.after(context, operation);
    }

    fn evicted(&mut self, context: &mut Observation<'_>, line: &Line) {
        self.commands.evicted(context, line);
    }

    fn end(&mut self, context: &mut Observation<'_>) {
        self.commands.told(context, self.time_us);
    }
}

impl Indexer {
    /// For a recording with a terminal of this size at its start.
    pub fn new(size: Size) -> Self {
        Self {
            emulator: Emulator::new(size),
            reader: Reader {
                time_us: 0,
                lines: lines::Lines::new(size.emulated().rows.into()),
                commands: commands::Commands::new(),
            },
            hash: Segment::begin(Place::default(), 0, size.emulated(), 0).begun(),
            open: Segment::begin(Place::default(), 0, size.emulated(), 0),
            open_bytes: 0,
            active_us: 0,
            is_resized: false,
            read_us: 0,
            events: 0,
            bytes: 0,
            keyframe_bytes: 0,
            cut_cells: 0,
            segments: Vec::new(),
        }
    }

    /// The next event; its time is not before that of the event before it.
    pub fn push(&mut self, event: &Timed) {
        self.push_at(Place { seq: self.events as i64, ..Place::default() }, event);
    }

    /// The next event, and the place before it.
    pub fn push_at(&mut self, place: Place, event: &Timed) {
        let idle_us = event.time_us.saturating_sub(self.reader.time_us);
        if idle_us >= READ_US || event.time_us.saturating_sub(self.read_us) >= READ_US {
            self.read();
            self.read_us = event.time_us;
        }
        if self.events == 0 {
            self.open.place = place;
        } else if self.is_to_be_cut() {
            self.cut(place, event.time_us);
        }
        self.active_us += idle_us.min(IDLE_US);
        self.reader.time_us = event.time_us;
        self.reader.lines.advance(event.time_us, event.data.len());
        self.reader.commands.advance(event.data.len());
        let size = self.emulator.size();
        self.emulator.apply_in_runs(event, &mut self.reader);
        self.is_resized = self.emulator.size() != size;
        self.note(place, event, idle_us);
    }

    /// Puts an event into the open segment.
    fn note(&mut self, place: Place, event: &Timed, idle_us: i64) {
        let bytes = event.data.len() as u64;
        self.events += 1;
        self.bytes += bytes + EVENT_BYTES;
        self.open_bytes += bytes + EVENT_BYTES;
        update(&mut self.hash, event);
        let open = &mut self.open;
        (open.end_us, open.last_seq) = (event.time_us, place.seq);
        open.events += 1;
        if idle_us >= IDLE_TOLD_US {
            open.idle.push((event.time_us, idle_us));
        }
        match event.code {
            Code::Output => open.output_bytes += bytes,
            Code::Marker if open.markers.len() < MARKERS_MAX => {
                let label = event.data.get(..LABEL_BYTES_MAX).unwrap_or(&event.data);
                open.markers.push((event.time_us, String::from_utf8_lossy(label).into_owned()));
            }
            _ => {}
        }
    }

    /// What was found since it was asked the last time; what is still on the screen is not among it.
    pub fn take(&mut self) -> Found {
        Found {
            segments: std::mem::take(&mut self.segments),
            texts: self.reader.lines.take(),
            commands: self.reader.commands.take(),
            missed: self.reader.lines.missed() + self.reader.commands.missed(),
            replaced_bytes: self.emulator.replaced_bytes(),
        }
    }

    /// Texts that are not found yet begin at this time or after it.
    pub fn settled_us(&self) -> i64 {
        self.reader.lines.settled_us()
    }

    /// What was found since then, when the recording is over: also what is on the screen.
    pub fn finish(mut self) -> Found {
        self.read();
        self.emulator.end(&mut self.reader);
        self.read();
        self.reader.lines.finish(self.emulator.terminal());
        self.reader.commands.finish();
        self.open.sha256 = std::mem::take(&mut self.hash).finalize().into();
        self.segments.push(self.open.clone());
        self.take()
    }

    /// The segment that is still open, as far as it goes.
    pub fn open(&self) -> Segment {
        Segment { sha256: self.hash.clone().finalize().into(), ..self.open.clone() }
    }

    fn read(&mut self) {
        self.reader.lines.read(self.emulator.terminal());
        self.reader.commands.read(self.emulator.terminal());
    }

    fn is_to_be_cut(&self) -> bool {
        let is_too_dear = self.cut_cells > self.bytes * CUT_CELLS_PER_BYTE + CUT_CELLS_FREE;
        if self.open.events == 0
            || is_too_dear
            || self.emulator.is_lost()
            || self.keyframe_bytes > self.bytes / KEYFRAME_SHARE + KEYFRAME_BYTES_FREE
        {
            return false;
        }
        let is_long = self.active_us >= SEGMENT_ACTIVE_US && self.open_bytes >= SEGMENT_BYTES_MIN;
        // A player may have lines above its screen that come back when the window grows: it begins anew here.
        self.is_resized || is_long || self.open_bytes >= SEGMENT_BYTES
    }

    fn cut(&mut self, place: Place, start_us: i64) {
        let Size { cols, rows } = self.emulator.size();
        self.cut_cells += u64::from(cols) * u64::from(rows);
        let (init, tail) = self.emulator.dump();
        self.active_us = 0;
        // What no sequence can bring about (a cursor outside of the margins that it is counted from) is played.
        if !self.emulator.is_same(&Emulator::restored(self.emulator.size(), &init, &tail)) {
            return;
        }
        self.keyframe_bytes += init.len() as u64;
        let next = Segment { init, tail, ..Segment::begin(place, start_us, self.emulator.size(), self.events) };
        self.open_bytes = 0;
        self.open.sha256 = std::mem::replace(&mut self.hash, next.begun()).finalize().into();
        self.segments.push(std::mem::replace(&mut self.open, next));
    }
}

/// Everything that is found in a recording.
pub fn index(recording: &Recording) -> Found {
    let mut indexer = Indexer::new(recording.size);
    recording.events.iter().for_each(|event| indexer.push(event));
    indexer.finish()
}

#[cfg(test)]
mod tests;
