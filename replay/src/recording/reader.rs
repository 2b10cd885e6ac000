//! Reading a recording that is too long to be held in memory.

use std::collections::{BTreeMap, BTreeSet};

use custody_schemas::frame::{Clock, Frame, FramePiece};

use super::stream::{Entry, Key, Stream};
use super::timeline::{Place, Timeline};
use super::{Finding, Recording, TIME_US_MAX, Timed};
use crate::size::Size;

/// Which of a session's pieces are one recording: those that are ordered by their numbers. Keys are in the order that
/// decides between streams of equal output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// How its times are read.
    pub clock: Clock,
    /// Topic and partition of asciicast lines, whose numbers count from their offsets.
    pub lines_of: Option<(String, i32)>,
    /// The channel of the session.
    pub channel: Option<String>,
}

impl StreamKey {
    /// The stream that a frame is of.
    pub fn of(frame: &Frame) -> Self {
        Key::of(frame).into()
    }
}

/// A frame of a stream, without its pieces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// Number of its first piece, the lowest.
    pub first_seq: i64,
    /// Number of its last piece, the highest.
    pub last_seq: i64,
    /// Number of its pieces.
    pub pieces: usize,
    /// Size of its output.
    pub output_bytes: u64,
}

/// Of the streams of one channel the one that is its recording, and a finding for each other one, as
/// [`stream_of`](super::stream_of) has them, but that pieces count again that were delivered again in other frames.
pub fn chosen(streams: &BTreeMap<StreamKey, Vec<Extent>>) -> Option<(&StreamKey, Vec<Finding>)> {
    let size = |of: &Vec<Extent>| {
        let once: BTreeSet<&Extent> = of.iter().collect();
        let pieces: usize = once.iter().map(|extent| extent.pieces).sum();
        (once.iter().map(|extent| extent.output_bytes).sum::<u64>(), pieces)
    };
    let best = streams.iter().enumerate().max_by_key(|(n, (_, of))| (size(of).0, std::cmp::Reverse(*n)));
    let (chosen, _) = best?.1;
    let others = streams.iter().filter(|(key, _)| *key != chosen).map(|(key, of)| {
        let (output_bytes, pieces) = size(of);
        Finding::OtherStream { stream: Key::from(key).to_string(), pieces, output_bytes }
    });
    Some((chosen, others.collect()))
}

/// Findings of a stream that are kept, the first: what it takes in memory does not grow with it.
const FINDINGS_MAX: usize = 10_000;

/// Reads a stream window by window, in memory for the frames of one window and those that overlap with the next.
pub struct Reader {
    key: StreamKey,
    timeline: Timeline,
    /// Pieces with lower numbers were read.
    from_seq: i64,
    /// Frames with pieces that were not.
    open: Vec<Frame>,
}

impl Reader {
    /// From the first piece.
    pub fn new(key: StreamKey) -> Self {
        Self { timeline: Timeline::bounded(key.clock, FINDINGS_MAX), key, from_seq: i64::MIN, open: Vec::new() }
    }

    /// From the piece at a place on.
    pub fn resumed(key: StreamKey, place: Place) -> Self {
        let timeline = Timeline::resumed(key.clock, place, TIME_US_MAX);
        Self { timeline, key, from_seq: place.seq, open: Vec::new() }
    }

    /// The events from a place up to the piece `last_seq`, of which it is known that none is later than `end_us`.
    pub fn part(
        key: StreamKey,
        place: Place,
        (last_seq, end_us): (i64, i64),
        frames: impl IntoIterator<Item = Frame>,
    ) -> Vec<Timed> {
        let timeline = Timeline::resumed(key.clock, place, end_us);
        let mut reader = Self { timeline, key, from_seq: place.seq, open: Vec::new() };
        reader.read(frames, |seq| seq <= last_seq);
        reader.timeline.finish().1.into_iter().map(|(_, event)| event).collect()
    }

    /// Takes frames. No frame that comes later has a piece whose number is lower than `until_seq`. Frames of other streams
    /// are left out. Returns the events that are known so far, with the place before each.
    pub fn push(&mut self, frames: impl IntoIterator<Item = Frame>, until_seq: i64) -> Vec<(Place, Timed)> {
        self.read(frames, |seq| seq < until_seq);
        self.from_seq = self.from_seq.max(until_seq);
        self.timeline.take()
    }

    /// The same of a recording that goes on, whose pieces nobody wants to wait for: times and the size at the start are by
    /// what is there. Without a number all pieces are read.
    pub fn push_now(&mut self, frames: impl IntoIterator<Item = Frame>, until_seq: Option<i64>) -> Vec<(Place, Timed)> {
        self.read(frames, |seq| until_seq.is_none_or(|until_seq| seq < until_seq));
        self.from_seq = self.from_seq.max(until_seq.unwrap_or(self.from_seq));
        self.timeline.take_now()
    }

    /// Whether the stream says that it is over, as far as it was read.
    pub fn ended(&self) -> bool {
        self.timeline.ended()
    }

    /// The size of the terminal at the start, once an event is known.
    pub fn size(&mut self) -> Size {
        self.timeline.settle_size()
    }

    /// Bytes of the frames that are held because they overlap with what is to come.
    pub fn held_bytes(&self) -> usize {
        self.open.iter().map(|frame| frame.data.len() + frame.pieces.len() * size_of::<FramePiece>()).sum()
    }

    /// The last frames. Returns what all of it is, without the events and the session's name; and the events that are left.
    pub fn finish(mut self, frames: impl IntoIterator<Item = Frame>) -> (Recording, Vec<(Place, Timed)>) {
        self.read(frames, |_| true);
        self.timeline.finish()
    }

    fn read(&mut self, frames: impl IntoIterator<Item = Frame>, is_told: impl Fn(i64) -> bool) {
        let mine = frames.into_iter().filter(|frame| StreamKey::of(frame) == self.key);
        self.open.extend(mine);
        let entries = self.open.iter().flat_map(Entry::of);
        let entries = entries.filter(|entry| entry.piece.seq >= self.from_seq && is_told(entry.piece.seq));
        Stream::new(Key::default(), entries.collect()).tell(&mut self.timeline);
        self.open.retain(|frame| frame.pieces.iter().any(|piece| !is_told(piece.seq)));
    }
}
