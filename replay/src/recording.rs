//! A recorded session as one timeline, put together from frames that may come in any order and more than once.

mod cut;
mod reader;
mod stream;
mod timeline;

pub use cut::{Cut, Whole};
pub use reader::{Extent, Reader, StreamKey, chosen};
pub use timeline::Place;
pub(crate) use timeline::{exit_status, resize};

use std::collections::BTreeMap;
use std::fmt;

use custody_schemas::frame::{Code, Frame};
use custody_schemas::time::Micros;
use serde::Serialize;

use crate::header::{Header, Version};
use crate::size::Size;

/// The latest time in a recording: 10^9 seconds. What lies beyond it is put there.
pub const TIME_US_MAX: i64 = 1_000_000_000_000_000;

/// A recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The session that was recorded.
    pub session_id: String,
    /// Size of the terminal at the start, as recorded.
    pub size: Size,
    /// What is known besides the events.
    pub header: Header,
    /// What happened, in order; times never decrease. Headers and lines of unknown codes are not among them.
    pub events: Vec<Timed>,
    /// What is wrong with the recording: first about all of it, then in the order of time.
    pub findings: Vec<Finding>,
    /// Number of pieces that were delivered again.
    pub duplicates: usize,
    /// Whether the stream says that it is over: an exit or an end, and no later restart of the recorder.
    pub ended: bool,
    /// Time of the last piece, in microseconds since the start.
    pub duration_us: i64,
    /// The wall clock at the start: by the recorder's own word where it gave one, else by the first piece with a time.
    pub started_at: Option<Micros>,
    /// Which part of a longer recording this is; `None` when it is all that there is. See [`cut`](Self::cut).
    pub cut: Option<Cut>,
}

/// An event of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// Microseconds since the start, `0..=TIME_US_MAX`.
    pub time_us: i64,
    /// The wall clock, when the source gave one.
    pub at: Option<Micros>,
    /// What it is: anything but [`Code::Header`] and [`Code::Other`].
    pub code: Code,
    /// The bytes, as they were recorded.
    pub data: Vec<u8>,
}

/// Something that is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The session was recorded by more than one stream; this one is not in the timeline.
    OtherStream {
        /// Its clock, for asciicast lines its topic and partition, and its channel.
        stream: String,
        /// Number of its pieces, without repeated ones.
        pieces: usize,
        /// Size of its output.
        output_bytes: u64,
    },
    /// The start of an asciicast stream is missing, and with it its size and its version.
    HeaderMissing {
        /// How the times were read, see [`Recording::from_frames`].
        read_as: Version,
    },
    /// Two pieces claim the same place with different content. The one that was received first is in the timeline.
    Conflict {
        /// When.
        at_us: i64,
        /// The place.
        seq: i64,
    },
    /// A second header: the recorder was started again. How long it was off is not known.
    Restarted {
        /// When.
        at_us: i64,
    },
    /// By the source's count, output is missing.
    Gap {
        /// Time of the output after the gap.
        at_us: i64,
        /// Size of what is missing.
        missing_bytes: u64,
    },
    /// By the source's count, output is there more than once.
    Overlap {
        /// Time of the output that begins too early.
        at_us: i64,
        /// By how much.
        repeated_bytes: u64,
    },
    /// Times ran backwards. Such a piece stands at the time of the piece before it.
    Backwards {
        /// Where it happened first.
        at_us: i64,
        /// Number of pieces.
        pieces: usize,
        /// The largest step back, in microseconds.
        most_us: i64,
    },
    /// A resize, an exit or a later header whose data are not what they should be.
    Unreadable {
        /// When.
        at_us: i64,
        /// What it was.
        code: Code,
    },
}

impl Finding {
    /// When it is, in microseconds since the start; `None` when it is about all of the recording.
    pub fn at_us(&self) -> Option<i64> {
        match self {
            Self::OtherStream { .. } | Self::HeaderMissing { .. } => None,
            Self::Conflict { at_us, .. }
            | Self::Restarted { at_us }
            | Self::Gap { at_us, .. }
            | Self::Overlap { at_us, .. }
            | Self::Backwards { at_us, .. }
            | Self::Unreadable { at_us, .. } => Some(*at_us),
        }
    }

    fn at_us_mut(&mut self) -> Option<&mut i64> {
        match self {
            Self::OtherStream { .. } | Self::HeaderMissing { .. } => None,
            Self::Conflict { at_us, .. }
            | Self::Restarted { at_us }
            | Self::Gap { at_us, .. }
            | Self::Overlap { at_us, .. }
            | Self::Backwards { at_us, .. }
            | Self::Unreadable { at_us, .. } => Some(at_us),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherStream { stream, pieces, output_bytes } => {
                write!(
                    f,
                    "another stream recorded this session too: {stream}, {pieces} pieces, {output_bytes} B output"
                )
            }
            Self::HeaderMissing { read_as } => {
                write!(f, "the header is missing; times were read as those of asciicast {}", read_as.number())
            }
            Self::Conflict { seq, .. } => write!(f, "piece {seq} was delivered with different contents"),
            Self::Restarted { .. } => write!(f, "the recorder was started again"),
            Self::Gap { missing_bytes, .. } => write!(f, "{missing_bytes} B of output are missing"),
            Self::Overlap { repeated_bytes, .. } => write!(f, "{repeated_bytes} B of output are there twice"),
            Self::Backwards { pieces, most_us, .. } => {
                write!(f, "the clock ran backwards at {pieces} pieces, by up to {most_us} µs")
            }
            Self::Unreadable { code, .. } => write!(f, "a piece of code '{}' cannot be read", code.as_char()),
        }
    }
}

/// How far a recording can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has an end, and nothing is wrong with it.
    Complete,
    /// Nothing is wrong with it, but it has no end: the session still runs, or the recorder was cut off.
    Unfinished,
    /// Something is wrong with it.
    Incomplete,
}

impl Recording {
    /// Puts the frames of a session together. The result is the same whatever the order of the frames, however the
    /// pieces are packed into them, and (but for [`duplicates`](Self::duplicates)) however often they come. Frames of
    /// other sessions are left out.
    ///
    /// **Streams.** Pieces of one channel on one clock are one stream, ordered by `seq`, from whatever topics and imports;
    /// but each topic partition of asciicast lines is a stream of its own, because its `seq` count from its offsets. When
    /// a session has several streams, the one with the most output is the recording (of equals, the first in the order
    /// of the clocks in [`Clock`](custody_schemas::frame::Clock), then the lowest topic, partition and channel) and the
    /// others of its channel are findings. [`from_channel`](Self::from_channel) reads another channel, of those that
    /// [`channels`] lists.
    ///
    /// **Pieces.** Of the pieces with one `seq`, the first received (by topic, partition, offset) is kept.
    ///
    /// **Times of asciicast lines.** In version 2 they are since the start, in version 3 since the line before. A
    /// second header goes on from the time reached, with its own version and size. Lines before any header are
    /// read as version 2 when their times never decrease, else as version 3.
    ///
    /// **Times since the first output.** A piece without a time is placed by its wall clock against that of the first
    /// output, not before the piece before it and not after the next piece that has a time. Without a wall clock it
    /// stands at the time of the piece before.
    ///
    /// **Times since the start** are as they are told. **Intervals** are summed up; where pieces are missing, those after
    /// them stand too early, by how much is not known. **Wall clock** times count from the first piece that has one. On
    /// all of these a piece without a time stands at the time of the piece before.
    ///
    /// **What comes first.** What says how times are to be read (the first header, the first wall clock, the next piece
    /// that has a time) and the first resize are looked for among 16384 pieces, and in 8 MB of them.
    ///
    /// **Size.** The header's; else that of the first resize not later than the first output; else 80x24.
    pub fn from_frames(session_id: impl Into<String>, frames: impl IntoIterator<Item = Frame>) -> Self {
        Self::read(session_id.into(), frames, |_| true)
    }

    /// Puts the frames of one channel of a session together, as [`from_frames`](Self::from_frames) does. `None` is the
    /// channel without a name. Streams of other channels are not findings here.
    pub fn from_channel(
        session_id: impl Into<String>,
        channel: Option<&str>,
        frames: impl IntoIterator<Item = Frame>,
    ) -> Self {
        Self::read(session_id.into(), frames, |frame| frame.channel.as_deref() == channel)
    }

    fn read(session_id: String, frames: impl IntoIterator<Item = Frame>, is_asked: impl Fn(&Frame) -> bool) -> Self {
        let frames: Vec<Frame> =
            frames.into_iter().filter(|frame| frame.session_id == session_id && is_asked(frame)).collect();
        let (chosen, others) = stream::chosen(&frames);
        let mut timeline = timeline::Timeline::new(chosen.key.clock());
        chosen.tell(&mut timeline);
        let (mut recording, events) = timeline.finish();
        recording.events = events.into_iter().map(|(_, event)| event).collect();
        recording.session_id = session_id;
        recording.findings.extend(others);
        recording.findings.sort_by_key(Finding::at_us);
        recording
    }

    /// How far the recording can be relied on.
    pub fn state(&self) -> State {
        let left_out = self.cut.map_or(0, |cut| cut.findings_left_out);
        match (self.findings.is_empty() && left_out == 0, self.ended) {
            (false, _) => State::Incomplete,
            (true, true) => State::Complete,
            (true, false) => State::Unfinished,
        }
    }
}

/// The stream that [`Recording::from_frames`] reads of the frames of a session, and a finding for each that it does not;
/// `None` without frames.
pub fn stream_of(frames: &[Frame]) -> Option<(StreamKey, Vec<Finding>)> {
    let first = StreamKey::of(frames.first()?);
    if frames.iter().all(|frame| StreamKey::of(frame) == first) {
        return Some((first, Vec::new()));
    }
    let (chosen, others) = stream::chosen(frames);
    Some((chosen.key.into(), others))
}

/// One of the recordings that a session has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name; `None` where the source has only one recording a session.
    pub name: Option<String>,
    /// Number of pieces, without repeated ones, of the stream that [`Recording::from_channel`] reads.
    pub pieces: usize,
    /// Size of their output.
    pub output_bytes: u64,
    /// Wall clock of the first piece that has one.
    pub start: Option<Micros>,
}

/// The channels of a session, in the order of their names.
pub fn channels(session_id: &str, frames: impl IntoIterator<Item = Frame>) -> Vec<Channel> {
    let frames: Vec<Frame> = frames.into_iter().filter(|frame| frame.session_id == session_id).collect();
    let mut streams: BTreeMap<Option<&str>, Vec<stream::Stream<'_>>> = BTreeMap::new();
    for stream in stream::streams(&frames) {
        streams.entry(stream.key.channel).or_default().push(stream);
    }
    let channels = streams.into_iter().filter_map(|(name, mut streams)| {
        let stream = streams.remove(stream::best(&streams)?);
        Some(Channel {
            name: name.map(str::to_owned),
            pieces: stream.pieces.len(),
            output_bytes: stream.output_bytes(),
            start: stream.pieces.iter().find_map(|entry| entry.piece.at),
        })
    });
    channels.collect()
}

#[cfg(test)]
mod tests;
