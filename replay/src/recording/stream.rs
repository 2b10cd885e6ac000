//! Which pieces belong together, each of them once.

use std::collections::BTreeMap;
use std::fmt;

use custody_schemas::frame::{Clock, Code, Frame, FramePiece};

use super::Finding;
use super::reader::StreamKey;
use super::timeline::Timeline;

/// Pieces with the same key are ordered by their `seq`. The order of keys decides between streams of equal output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    pub(super) numbering: Numbering<'a>,
    /// The channel of the session.
    pub(super) channel: Option<&'a str>,
}

/// Whose numbers `seq` are. On each clock but one they are the source's own, so that the same piece has the same number
/// on whatever way it came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Numbering<'a> {
    /// The source's, on the clock of the first output.
    #[default]
    FirstOutput,
    /// The numbers follow from the offsets in this topic and partition.
    AsciicastLine(&'a str, i32),
    /// The source's, on the clock of the start.
    SinceStart,
    /// The source's, on a clock of intervals.
    Interval,
    /// The source's, on the wall clock.
    Wall,
}

impl<'a> Key<'a> {
    pub(super) fn of(frame: &'a Frame) -> Self {
        let numbering = match frame.clock {
            Clock::FirstOutput => Numbering::FirstOutput,
            Clock::AsciicastLine => Numbering::AsciicastLine(&frame.topic, frame.partition),
            Clock::SinceStart => Numbering::SinceStart,
            Clock::Interval => Numbering::Interval,
            Clock::Wall => Numbering::Wall,
        };
        Self { numbering, channel: frame.channel.as_deref() }
    }

    pub(super) fn clock(self) -> Clock {
        self.numbering.clock()
    }
}

impl Numbering<'_> {
    fn clock(self) -> Clock {
        match self {
            Self::FirstOutput => Clock::FirstOutput,
            Self::AsciicastLine(..) => Clock::AsciicastLine,
            Self::SinceStart => Clock::SinceStart,
            Self::Interval => Clock::Interval,
            Self::Wall => Clock::Wall,
        }
    }
}

impl From<Key<'_>> for StreamKey {
    fn from(Key { numbering, channel }: Key<'_>) -> Self {
        let lines_of = match numbering {
            Numbering::AsciicastLine(topic, partition) => Some((topic.to_owned(), partition)),
            _ => None,
        };
        Self { clock: numbering.clock(), lines_of, channel: channel.map(str::to_owned) }
    }
}

impl<'a> From<&'a StreamKey> for Key<'a> {
    fn from(key: &'a StreamKey) -> Self {
        let numbering = match (key.clock, &key.lines_of) {
            (Clock::FirstOutput, _) => Numbering::FirstOutput,
            (Clock::AsciicastLine, lines_of) => {
                let (topic, partition) = lines_of.as_ref().map_or(("", 0), |(topic, number)| (topic, *number));
                Numbering::AsciicastLine(topic, partition)
            }
            (Clock::SinceStart, _) => Numbering::SinceStart,
            (Clock::Interval, _) => Numbering::Interval,
            (Clock::Wall, _) => Numbering::Wall,
        };
        Self { numbering, channel: key.channel.as_deref() }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.numbering.clock().as_str())?;
        if let Numbering::AsciicastLine(topic, partition) = self.numbering {
            write!(f, " {topic}/{partition}")?;
        }
        match self.channel {
            Some(channel) => write!(f, ", channel {channel}"),
            None => Ok(()),
        }
    }
}

/// A piece with its data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) piece: &'a FramePiece,
    pub(super) data: &'a [u8],
    frame: &'a Frame,
    index: usize,
}

impl<'a> Entry<'a> {
    /// The pieces of a frame.
    pub(super) fn of(frame: &'a Frame) -> impl Iterator<Item = Self> {
        frame.iter().enumerate().map(move |(index, (piece, data))| Self { piece, data, frame, index })
    }

    /// The order of the stream, then the order of arrival, then anything that tells two pieces apart.
    fn order(&self) -> impl Ord {
        let Self { piece, data, frame, index } = *self;
        let arrival = (frame.topic.as_str(), frame.partition, frame.first_offset, frame.last_offset, index);
        (piece.seq, arrival, piece.code.as_char(), piece.time_us, piece.at, piece.position, data)
    }

    fn says_the_same(&self, other: &Self) -> bool {
        // The wall clock is the time of a piece only where it is what the source wrote.
        let at = |entry: &Self| entry.piece.at.filter(|_| entry.frame.clock == Clock::Wall);
        let content = |entry: &Self| (entry.piece.code, entry.piece.time_us, at(entry));
        content(self) == content(other) && self.data == other.data
    }
}

/// The pieces of one stream.
#[derive(Debug, Default)]
pub(super) struct Stream<'a> {
    pub(super) key: Key<'a>,
    /// One piece for each `seq`, in order.
    pub(super) pieces: Vec<Entry<'a>>,
    /// Number of pieces that were left out because they say what the kept one says.
    pub(super) duplicates: usize,
    /// `seq` of pieces that say different things, in order.
    pub(super) conflicts: Vec<i64>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(key: Key<'a>, mut entries: Vec<Entry<'a>>) -> Self {
        entries.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut stream = Self { key, ..Self::default() };
        for entry in entries {
            match stream.pieces.last() {
                Some(kept) if kept.piece.seq == entry.piece.seq => {
                    if kept.says_the_same(&entry) {
                        stream.duplicates += 1;
                    } else if stream.conflicts.last() != Some(&entry.piece.seq) {
                        stream.conflicts.push(entry.piece.seq);
                    }
                }
                _ => stream.pieces.push(entry),
            }
        }
        stream
    }

    /// Puts the pieces onto a timeline.
    pub(super) fn tell(&self, timeline: &mut Timeline) {
        let mut conflicts = self.conflicts.iter().copied().peekable();
        for Entry { piece, data, .. } in &self.pieces {
            let is_disputed = conflicts.next_if_eq(&piece.seq).is_some();
            timeline.push(**piece, data, is_disputed);
        }
        timeline.note_duplicates(self.duplicates);
    }

    pub(super) fn output_bytes(&self) -> u64 {
        self.pieces.iter().filter(|entry| entry.piece.code == Code::Output).map(|entry| entry.data.len() as u64).sum()
    }
}

/// The streams in the frames, in the order of their keys.
pub(super) fn streams(frames: &[Frame]) -> Vec<Stream<'_>> {
    let mut entries: BTreeMap<Key<'_>, Vec<Entry<'_>>> = BTreeMap::new();
    for frame in frames {
        entries.entry(Key::of(frame)).or_default().extend(Entry::of(frame));
    }
    entries.into_iter().map(|(key, entries)| Stream::new(key, entries)).collect()
}

/// Which of the streams is the recording: the first of those with the most output.
pub(super) fn best(streams: &[Stream<'_>]) -> Option<usize> {
    let best = streams.iter().enumerate().max_by_key(|(n, stream)| (stream.output_bytes(), std::cmp::Reverse(*n)));
    best.map(|(n, _)| n)
}

/// The stream that is the recording, and a finding for each other one of its channel.
pub(super) fn chosen(frames: &[Frame]) -> (Stream<'_>, Vec<Finding>) {
    let mut streams = streams(frames);
    let chosen = best(&streams).map(|n| streams.remove(n)).unwrap_or_default();
    let others = streams.iter().filter(|other| other.key.channel == chosen.key.channel);
    let others = others.map(|other| Finding::OtherStream {
        stream: other.key.to_string(),
        pieces: other.pieces.len(),
        output_bytes: other.output_bytes(),
    });
    let others = others.collect();
    (chosen, others)
}
