//! Frames: timed pieces of a recorded terminal session, packed into runs.
//!
//! A source hands over [`Piece`]s in the order of its stream. Pieces of one session that follow one another in one
//! batch are packed into a frame of about [`FRAME_BYTES_MAX`], which is one row of the `frames` table. Nothing is
//! interpreted on the way in: times are kept as the source wrote them, so that a batch can be decoded without what came
//! before it. Reading a recording turns the frames of a session into a timeline (crate `custody-replay`).

use std::borrow::Cow;

use crate::time::Micros;

/// A frame is closed when its data would grow beyond this many bytes. One piece may be larger by itself.
pub const FRAME_BYTES_MAX: usize = 32 * 1024;

/// A frame is closed when it holds this many pieces: the lists of times must stay as bounded as the data.
pub const FRAME_PIECES_MAX: usize = 4096;

/// What a piece is. The letters are asciicast's, and three of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// `h`: the header of an asciicast stream, its JSON line as received.
    Header,
    /// `o`: bytes that the terminal showed.
    Output,
    /// `i`: bytes that were typed.
    Input,
    /// `r`: the terminal got a size; data is `COLSxROWS`.
    Resize,
    /// `m`: a marker; data is its label.
    Marker,
    /// `x`: the program ended; data is its exit status in decimal.
    Exit,
    /// `e`: the gateway says that the session is over. No data.
    End,
    /// `?`: an asciicast line with a code of its own, without data. Nothing is shown, but in version 3 its time counts.
    Other,
}

impl Code {
    /// The letter in `frames.codes`.
    pub fn as_char(self) -> char {
        match self {
            Self::Header => 'h',
            Self::Output => 'o',
            Self::Input => 'i',
            Self::Resize => 'r',
            Self::Marker => 'm',
            Self::Exit => 'x',
            Self::End => 'e',
            Self::Other => '?',
        }
    }

    /// The code of a letter.
    pub fn from_char(letter: char) -> Option<Self> {
        Some(match letter {
            'h' => Self::Header,
            'o' => Self::Output,
            'i' => Self::Input,
            'r' => Self::Resize,
            'm' => Self::Marker,
            'x' => Self::Exit,
            'e' => Self::End,
            '?' => Self::Other,
            _ => return None,
        })
    }
}

/// How the times of a frame's pieces are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clock {
    /// Microseconds since the first output of the recording (Teleport's `ms`). A piece without a time (a resize) is
    /// placed by its wall clock against that of the first output.
    FirstOutput,
    /// The number of an asciicast line in microseconds: since the start in version 2, since the line before in
    /// version 3. Which of the two, the stream's header says.
    AsciicastLine,
    /// Microseconds since the start of the recording.
    SinceStart,
    /// Microseconds since the piece before.
    Interval,
    /// The wall clock: `at` is the time, and the first piece is the start. `time_us` is not used.
    Wall,
}

impl Clock {
    /// The value of `frames.clock`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstOutput => "first_output",
            Self::AsciicastLine => "asciicast_line",
            Self::SinceStart => "since_start",
            Self::Interval => "interval",
            Self::Wall => "wall",
        }
    }

    /// The clock of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "first_output" => Some(Self::FirstOutput),
            "asciicast_line" => Some(Self::AsciicastLine),
            "since_start" => Some(Self::SinceStart),
            "interval" => Some(Self::Interval),
            "wall" => Some(Self::Wall),
            _ => None,
        }
    }
}

/// One timed piece of a recording, as a decoder hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The session that was recorded.
    pub session_id: Cow<'a, str>,
    /// The instance of the source.
    pub cluster: Option<Cow<'a, str>>,
    /// Which of several recordings of the session it belongs to, where a gateway makes more than one: a channel of an
    /// SSH connection, a slice of an application's session.
    pub channel: Option<Cow<'a, str>>,
    /// How `time_us` is to be read.
    pub clock: Clock,
    /// What it is.
    pub code: Code,
    /// Position in the session's stream: Teleport's event index `ei`; of an asciicast line the offset of its message
    /// times 4096, plus its number in the message; in other formats what their decoder says, growing along the
    /// recording. Two deliveries of one record have the same position.
    pub seq: i64,
    /// Time in microseconds by `clock`, when the source gave one.
    pub time_us: Option<i64>,
    /// Wall clock: the source's time of the piece, or Kafka's when the source has none.
    pub at: Option<Micros>,
    /// Number of output bytes before this piece, by the source's count. Where it does not follow from the pieces
    /// before, some are missing.
    pub position: Option<i64>,
    /// The bytes, as they were recorded: they may be cut inside a character, or not be UTF-8 at all.
    pub data: Cow<'a, [u8]>,
}

/// One row of `frames`: a run of pieces of one session from one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The session that was recorded.
    pub session_id: String,
    /// The instance of the source.
    pub cluster: Option<String>,
    /// See [`Piece::channel`].
    pub channel: Option<String>,
    /// Topic of the messages.
    pub topic: String,
    /// Partition of the messages.
    pub partition: i32,
    /// Offset of the message of the first piece.
    pub first_offset: i64,
    /// Offset of the message of the last piece.
    pub last_offset: i64,
    /// How the times are to be read.
    pub clock: Clock,
    /// The pieces in the order of the stream.
    pub pieces: Vec<FramePiece>,
    /// The data of all pieces, one after the other.
    pub data: Vec<u8>,
}

/// A piece inside a frame; its data are the next `len` bytes of the frame's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePiece {
    /// See [`Piece::code`].
    pub code: Code,
    /// See [`Piece::seq`].
    pub seq: i64,
    /// See [`Piece::time_us`].
    pub time_us: Option<i64>,
    /// See [`Piece::at`].
    pub at: Option<Micros>,
    /// See [`Piece::position`].
    pub position: Option<i64>,
    /// Number of bytes.
    pub len: usize,
}

impl Frame {
    /// The pieces with their data. A length beyond the data (a damaged row) yields what is there.
    pub fn iter(&self) -> impl Iterator<Item = (&FramePiece, &[u8])> {
        let mut rest = self.data.as_slice();
        self.pieces.iter().map(move |piece| {
            let (data, after) = rest.split_at(piece.len.min(rest.len()));
            rest = after;
            (piece, data)
        })
    }
}
