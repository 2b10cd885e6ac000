//! From the pieces of one stream to events with times since the start.

use std::collections::VecDeque;

use custody_schemas::frame::{Clock, Code, FramePiece};
use custody_schemas::time::Micros;

use super::{Finding, Recording, TIME_US_MAX, Timed};
use crate::header::{self, Header, Version};
use crate::size::Size;

/// What says how the times of a piece are to be read is looked for in so many pieces after it.
const AHEAD_PIECES: usize = if cfg!(test) { 12 } else { 16 * 1024 };

/// And in so many bytes of them.
const AHEAD_BYTES: usize = 8 << 20;

/// How far a stream has been read: what has to be known to read on from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the piece that comes next.
    pub seq: i64,
    /// The time that was reached, in microseconds since the start.
    pub reached_us: i64,
    /// The version of asciicast by which lines are read.
    pub version: Option<Version>,
    /// When the header came by which they are.
    pub header_us: i64,
    /// The wall clock at time 0, where pieces are placed by it.
    pub zero_at: Option<Micros>,
}

/// A piece of the stream, which is there once.
#[derive(Debug)]
struct Ahead {
    piece: FramePiece,
    data: Vec<u8>,
    is_disputed: bool,
}

/// A stream as it is read, piece by piece.
pub(super) struct Timeline {
    clock: Clock,
    place: Place,
    /// Pieces whose time is not told yet.
    ahead: VecDeque<Ahead>,
    ahead_bytes: usize,
    /// Pieces at the front of `ahead` that are known to have no time.
    timeless: usize,
    has_begun: bool,
    is_first: bool,
    /// Times are not later than this, whatever comes after the last piece.
    ceiling_us: i64,
    /// Events with the place before each, until they are taken.
    events: Vec<(Place, Timed)>,
    findings: Vec<Finding>,
    /// So many are kept.
    findings_max: usize,
    header: Option<Header>,
    started_at: Option<Micros>,
    /// The wall clock at the start, by the first event that tells it.
    told_at: Option<Micros>,
    size: Option<Size>,
    /// Time of the first output, and the pieces and bytes that were looked at, while the size is looked for.
    first_output_us: Option<i64>,
    looked_at: (usize, usize),
    ended: bool,
    /// First time, number and largest step of pieces whose time went backwards.
    backwards: Option<(i64, usize, i64)>,
    /// The source's count of output bytes up to here.
    position: i64,
    duplicates: usize,
}

impl Timeline {
    /// From the first piece.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            place: Place::default(),
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            timeless: 0,
            has_begun: false,
            is_first: true,
            ceiling_us: TIME_US_MAX,
            events: Vec::new(),
            findings: Vec::new(),
            findings_max: usize::MAX,
            header: None,
            started_at: None,
            told_at: None,
            size: None,
            first_output_us: None,
            looked_at: (0, 0),
            ended: false,
            backwards: None,
            position: 0,
            duplicates: 0,
        }
    }

    /// From the piece at a place on, up to one of which it is known that its time is not later than `ceiling_us`. Sizes
    /// at the start and findings are those of the whole only when it is read from the first piece.
    pub(super) fn resumed(clock: Clock, place: Place, ceiling_us: i64) -> Self {
        let size = Some(Size::DEFAULT);
        Self { place, has_begun: true, is_first: false, ceiling_us, size, ..Self::new(clock) }
    }

    /// The same, that keeps no more than so many findings, the first.
    pub(super) fn bounded(clock: Clock, findings_max: usize) -> Self {
        Self { findings_max, ..Self::new(clock) }
    }

    /// Whether the stream says that it is over, as far as times are told.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The next piece. `is_disputed`: others claim the same place with other content.
    pub(super) fn push(&mut self, piece: FramePiece, data: &[u8], is_disputed: bool) {
        self.ahead_bytes += data.len();
        self.ahead.push_back(Ahead { piece, data: data.to_vec(), is_disputed });
        while self.ahead.len() > AHEAD_PIECES || self.ahead_bytes > AHEAD_BYTES {
            self.step();
        }
    }

    /// Counts pieces that were delivered again.
    pub(super) fn note_duplicates(&mut self, duplicates: usize) {
        self.duplicates += duplicates;
    }

    /// The events that are known so far and were not taken yet; none before the size at the start is known.
    pub(super) fn take(&mut self) -> Vec<(Place, Timed)> {
        match self.size {
            None => Vec::new(),
            Some(_) => std::mem::take(&mut self.events),
        }
    }

    /// The events of all pieces that are there.
    pub(super) fn take_now(&mut self) -> Vec<(Place, Timed)> {
        while !self.ahead.is_empty() {
            self.step();
        }
        if !self.events.is_empty() {
            self.settle_size();
        }
        std::mem::take(&mut self.events)
    }

    /// What all of it is, when no more pieces come: with the events that were not taken. The session's name is left
    /// empty.
    pub(super) fn finish(mut self) -> (Recording, Vec<(Place, Timed)>) {
        while !self.ahead.is_empty() {
            self.step();
        }
        if let Some((at_us, pieces, most_us)) = self.backwards {
            self.findings.push(Finding::Backwards { at_us, pieces, most_us });
        }
        let recording = Recording {
            started_at: self.started_at.or(self.told_at),
            session_id: String::new(),
            size: self.settle_size(),
            header: self.header.unwrap_or_default(),
            events: Vec::new(),
            findings: self.findings,
            duplicates: self.duplicates,
            ended: self.ended,
            duration_us: self.place.reached_us,
            cut: None,
        };
        (recording, self.events)
    }

    /// The size at the start.
    pub(super) fn settle_size(&mut self) -> Size {
        *self.size.get_or_insert(Size::DEFAULT)
    }

    /// Tells the time of the piece at the front.
    fn step(&mut self) {
        if !self.has_begun {
            self.begin();
            self.has_begun = true;
        }
        let Some(next) = self.ahead.pop_front() else { return };
        self.ahead_bytes -= next.data.len();
        self.timeless = self.timeless.saturating_sub(1);
        if self.size.is_none() {
            let (pieces, bytes) = self.looked_at;
            self.looked_at = (pieces + 1, bytes + next.data.len());
            if pieces >= AHEAD_PIECES || bytes >= AHEAD_BYTES {
                self.settle_size();
            }
        }
        self.place.seq = next.piece.seq;
        let reached_us = self.place.reached_us;
        let FramePiece { time_us, at, .. } = next.piece;
        let claimed_us = match self.clock {
            Clock::AsciicastLine => {
                if let Some((version, size, header)) = read_header(next.piece.code, &next.data) {
                    self.read_on(&next, version, size.known(), header);
                    self.is_first = false;
                    return;
                }
                match (self.place.version, time_us) {
                    (_, None) => reached_us,
                    (Some(Version::V3), Some(interval)) => interval.saturating_add(reached_us),
                    (_, Some(since_start)) => since_start.saturating_add(self.place.header_us),
                }
            }
            Clock::FirstOutput => match (time_us, at, self.place.zero_at) {
                (Some(time_us), ..) => time_us,
                // A wall clock that is far off must not push away the pieces after it.
                (None, Some(at), Some(zero_at)) => at.saturating_sub(zero_at).min(self.next_us()).max(reached_us),
                (None, ..) => reached_us,
            },
            Clock::SinceStart => time_us.unwrap_or(reached_us),
            // How long a piece that is missing took is not known: what comes after it stands too early by that.
            Clock::Interval => reached_us.saturating_add(time_us.unwrap_or(0)),
            Clock::Wall => at.zip(self.place.zero_at).map_or(reached_us, |(at, zero_at)| at.saturating_sub(zero_at)),
        };
        self.is_first = false;
        self.tell(next, claimed_us);
    }

    /// Looks at the first pieces for what the times of all are read by.
    fn begin(&mut self) {
        let first = self.ahead.front().map(|first| first.piece);
        let mut pieces = self.ahead.iter().map(|ahead| &ahead.piece);
        let began_at = match self.clock {
            Clock::AsciicastLine => return self.begin_lines(),
            Clock::FirstOutput => {
                self.place.zero_at = wall_clock_of_zero(&self.ahead);
                self.place.zero_at
            }
            Clock::SinceStart => pieces.find_map(|piece| Some(piece.at?.saturating_sub(piece.time_us?))),
            Clock::Interval => {
                self.started_at = first.and_then(|first| first.at?.checked_sub(first.time_us.unwrap_or(0)));
                return;
            }
            Clock::Wall => {
                self.place.zero_at = pieces.find_map(|piece| piece.at);
                self.place.zero_at
            }
        };
        self.started_at = began_at;
        self.header = began_at.map(|at| Header { timestamp: Some(at.div_euclid(1_000_000)), ..Header::default() });
    }

    fn begin_lines(&mut self) {
        let is_header = |ahead: &Ahead| read_header(ahead.piece.code, &ahead.data).is_some();
        let headless = self.ahead.iter().position(is_header).unwrap_or(self.ahead.len());
        if headless > 0 {
            let read_as = match self.ahead.iter().take(headless).filter_map(|ahead| ahead.piece.time_us).is_sorted() {
                true => Version::V2,
                false => Version::V3,
            };
            self.place.version = Some(read_as);
            self.find(Finding::HeaderMissing { read_as });
        }
    }

    /// A header. Only the first piece of a stream can say the size at the start; later ones change it.
    fn read_on(&mut self, next: &Ahead, version: Version, size: Option<Size>, header: Header) {
        let (before, reached_us) = (self.place, self.place.reached_us);
        (self.place.version, self.place.header_us) = (Some(version), reached_us);
        self.note_dispute(next);
        self.ended = false;
        if self.is_first {
            self.size = size;
        } else if let Some(size) = size {
            let data = size.to_string().into_bytes();
            self.add(before, Timed { time_us: reached_us, at: next.piece.at, code: Code::Resize, data });
        }
        match self.header {
            None => {
                // What came before it took its time.
                let at = header.timestamp.and_then(|seconds| seconds.checked_mul(1_000_000));
                self.started_at = at.and_then(|at| at.checked_sub(reached_us));
                self.header = Some(header);
            }
            Some(_) => self.find(Finding::Restarted { at_us: reached_us }),
        }
    }

    /// The time of the next piece that has one.
    fn next_us(&mut self) -> i64 {
        let timeless = self.ahead.iter().skip(self.timeless).take_while(|ahead| ahead.piece.time_us.is_none());
        self.timeless += timeless.count();
        self.ahead.get(self.timeless).and_then(|ahead| ahead.piece.time_us).unwrap_or(self.ceiling_us)
    }

    /// A piece that is not a header, with the time that it claims.
    fn tell(&mut self, next: Ahead, claimed_us: i64) {
        let (before, reached_us) = (self.place, self.place.reached_us);
        if claimed_us < reached_us {
            let step_us = reached_us.saturating_sub(claimed_us);
            let (at_us, pieces, most_us) = self.backwards.unwrap_or((reached_us, 0, 0));
            self.backwards = Some((at_us, pieces + 1, most_us.max(step_us)));
        }
        let time_us = claimed_us.max(reached_us).min(TIME_US_MAX);
        self.place.reached_us = time_us;
        self.note_dispute(&next);

        let Ahead { piece, data, .. } = next;
        let readable = match piece.code {
            Code::Header => false,
            Code::Resize => resize(&data).is_some(),
            Code::Exit => exit_status(&data).is_some(),
            Code::Output | Code::Input | Code::Marker | Code::End | Code::Other => true,
        };
        if !readable {
            self.find(Finding::Unreadable { at_us: time_us, code: piece.code });
        }
        match piece.code {
            Code::Header | Code::Other => return,
            Code::Output => self.check_position(piece.position, data.len(), time_us),
            Code::Exit | Code::End => self.ended = true,
            Code::Input | Code::Resize | Code::Marker => {}
        }
        self.add(before, Timed { time_us, at: piece.at, code: piece.code, data });
    }

    fn add(&mut self, before: Place, event: Timed) {
        if self.told_at.is_none() {
            self.told_at = event.at.and_then(|at| at.checked_sub(event.time_us));
        }
        if self.size.is_none() {
            // That of the first resize not later than the first output.
            if self.first_output_us.is_some_and(|first_us| event.time_us > first_us) {
                self.settle_size();
            } else if event.code == Code::Resize {
                self.size = resize(&event.data);
            } else if event.code == Code::Output {
                self.first_output_us.get_or_insert(event.time_us);
            }
        }
        self.events.push((before, event));
    }

    fn check_position(&mut self, position: Option<i64>, len: usize, at_us: i64) {
        let position = position.unwrap_or(self.position);
        let bytes = position.abs_diff(self.position);
        if position > self.position {
            self.find(Finding::Gap { at_us, missing_bytes: bytes });
        } else if position < self.position {
            self.find(Finding::Overlap { at_us, repeated_bytes: bytes });
        }
        self.position = position.saturating_add(i64::try_from(len).unwrap_or(i64::MAX));
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < self.findings_max {
            self.findings.push(finding);
        }
    }

    fn note_dispute(&mut self, of: &Ahead) {
        if of.is_disputed {
            self.find(Finding::Conflict { at_us: self.place.reached_us, seq: of.piece.seq });
        }
    }
}

fn read_header(code: Code, data: &[u8]) -> Option<(Version, Size, Header)> {
    if code != Code::Header {
        return None;
    }
    header::read(std::str::from_utf8(data).ok()?).ok()
}

/// The instant of time 0: from the first output that has both clocks; else the first output, else the first piece,
/// is taken to be at time 0.
fn wall_clock_of_zero(ahead: &VecDeque<Ahead>) -> Option<Micros> {
    let pieces = || ahead.iter().map(|ahead| &ahead.piece);
    let outputs = || pieces().filter(|piece| piece.code == Code::Output);
    outputs()
        .find_map(|piece| Some(piece.at?.saturating_sub(piece.time_us?)))
        .or_else(|| outputs().find_map(|piece| piece.at))
        .or_else(|| pieces().find_map(|piece| piece.at))
}

/// The size in the data of a resize.
pub(crate) fn resize(data: &[u8]) -> Option<Size> {
    Size::parse(std::str::from_utf8(data).ok()?)
}

/// The status in the data of an exit.
pub(crate) fn exit_status(data: &[u8]) -> Option<i32> {
    std::str::from_utf8(data).ok()?.trim().parse().ok()
}
