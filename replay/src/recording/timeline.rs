//! From the pieces of one stream to events with times since the start.

use custody_schemas::frame::Code;
use custody_schemas::time::Micros;

use super::stream::{Entry, Numbering, Stream};
use super::{Finding, Recording, TIME_US_MAX, Timed};
use crate::header::{self, Header, Version};
use crate::size::Size;

/// Reads a stream. The session's name is left empty.
pub(super) fn read(stream: &Stream<'_>) -> Recording {
    let mut timeline = Timeline { conflicts: stream.conflicts.as_slice(), ..Timeline::default() };
    let pieces = stream.pieces.as_slice();
    match stream.key.numbering {
        Numbering::FirstOutput => timeline.read_since_first_output(pieces),
        Numbering::AsciicastLine(..) => timeline.read_lines(pieces),
        Numbering::SinceStart => timeline.read_since_start(pieces),
        Numbering::Interval => timeline.read_intervals(pieces),
        Numbering::Wall => timeline.read_wall_clock(pieces),
    }
    timeline.finish(stream.duplicates)
}

/// What has been read so far.
#[derive(Default)]
struct Timeline<'a> {
    events: Vec<Timed>,
    findings: Vec<Finding>,
    header: Option<Header>,
    started_at: Option<Micros>,
    size: Option<Size>,
    /// Time of the last piece.
    last_us: i64,
    ended: bool,
    /// First time, number and largest step of pieces whose time went backwards.
    backwards: Option<(i64, usize, i64)>,
    /// The source's count of output bytes up to here.
    position: i64,
    /// Conflicts that are still ahead.
    conflicts: &'a [i64],
}

impl Timeline<'_> {
    fn read_lines(&mut self, pieces: &[Entry<'_>]) {
        let start = pieces.iter().position(|entry| read_header(entry).is_some()).unwrap_or(pieces.len());
        let headless = pieces.get(..start).unwrap_or_default();
        let mut version = if never_decrease(headless) { Version::V2 } else { Version::V3 };
        if !headless.is_empty() {
            self.findings.push(Finding::HeaderMissing { read_as: version });
        }

        let mut start_us = 0;
        for (n, entry) in pieces.iter().enumerate() {
            if let Some((header_version, size, header)) = read_header(entry) {
                (version, start_us) = (header_version, self.last_us);
                self.begin(n == 0, entry, size.known(), header);
                continue;
            }
            let time_us = match (version, entry.piece.time_us) {
                (_, None) => self.last_us,
                (Version::V2, Some(since_start)) => since_start.saturating_add(start_us),
                (Version::V3, Some(interval)) => interval.saturating_add(self.last_us),
            };
            self.push(entry, time_us);
        }
    }

    /// A header. Only the first piece of a stream can say the size at the start; later ones change it.
    fn begin(&mut self, first: bool, entry: &Entry<'_>, size: Option<Size>, header: Header) {
        self.note_conflict(entry);
        self.ended = false;
        if first {
            self.size = size;
        } else if let Some(size) = size {
            let data = size.to_string().into_bytes();
            self.events.push(Timed { time_us: self.last_us, at: entry.piece.at, code: Code::Resize, data });
        }
        match self.header {
            None => {
                // What came before it took its time.
                let at = header.timestamp.and_then(|seconds| seconds.checked_mul(1_000_000));
                self.started_at = at.and_then(|at| at.checked_sub(self.last_us));
                self.header = Some(header);
            }
            Some(_) => self.findings.push(Finding::Restarted { at_us: self.last_us }),
        }
    }

    fn read_since_first_output(&mut self, pieces: &[Entry<'_>]) {
        let zero_at = wall_clock_of_zero(pieces);
        self.began(zero_at);

        // A wall clock that is far off must not push away the pieces after it.
        let mut next_us = TIME_US_MAX;
        let mut ceilings_us: Vec<i64> = pieces
            .iter()
            .rev()
            .map(|entry| {
                let ceiling_us = next_us;
                next_us = entry.piece.time_us.unwrap_or(next_us);
                ceiling_us
            })
            .collect();
        ceilings_us.reverse();

        for (entry, ceiling_us) in pieces.iter().zip(ceilings_us) {
            match (entry.piece.time_us, entry.piece.at, zero_at) {
                (Some(time_us), ..) => self.push(entry, time_us),
                (None, Some(at), Some(zero_at)) => {
                    let time_us = at.saturating_sub(zero_at).min(ceiling_us).max(self.last_us);
                    self.push(entry, time_us);
                }
                (None, ..) => self.push(entry, self.last_us),
            }
        }
    }

    fn read_since_start(&mut self, pieces: &[Entry<'_>]) {
        self.began(pieces.iter().find_map(|entry| Some(entry.piece.at?.saturating_sub(entry.piece.time_us?))));
        for entry in pieces {
            self.push(entry, entry.piece.time_us.unwrap_or(self.last_us));
        }
    }

    /// How long a piece that is missing took is not known: what comes after it stands too early by that.
    fn read_intervals(&mut self, pieces: &[Entry<'_>]) {
        let first = pieces.first();
        self.started_at = first.and_then(|entry| entry.piece.at?.checked_sub(entry.piece.time_us.unwrap_or(0)));
        for entry in pieces {
            self.push(entry, self.last_us.saturating_add(entry.piece.time_us.unwrap_or(0)));
        }
    }

    fn read_wall_clock(&mut self, pieces: &[Entry<'_>]) {
        let start_at = pieces.iter().find_map(|entry| entry.piece.at);
        self.began(start_at);
        for entry in pieces {
            let since_start_us = entry.piece.at.zip(start_at).map(|(at, start_at)| at.saturating_sub(start_at));
            self.push(entry, since_start_us.unwrap_or(self.last_us));
        }
    }

    fn began(&mut self, at: Option<Micros>) {
        self.started_at = at;
        self.header = at.map(|at| Header { timestamp: Some(at.div_euclid(1_000_000)), ..Header::default() });
    }

    /// A piece that is not a header, with the time that it claims.
    fn push(&mut self, entry: &Entry<'_>, claimed_us: i64) {
        let Entry { piece, data, .. } = *entry;
        if claimed_us < self.last_us {
            let step_us = self.last_us.saturating_sub(claimed_us);
            let (at_us, pieces, most_us) = self.backwards.unwrap_or((self.last_us, 0, 0));
            self.backwards = Some((at_us, pieces + 1, most_us.max(step_us)));
        }
        let time_us = claimed_us.max(self.last_us).min(TIME_US_MAX);
        self.last_us = time_us;
        self.note_conflict(entry);

        let readable = match piece.code {
            Code::Header => false,
            Code::Resize => resize(data).is_some(),
            Code::Exit => exit_status(data).is_some(),
            Code::Output | Code::Input | Code::Marker | Code::End | Code::Other => true,
        };
        if !readable {
            self.findings.push(Finding::Unreadable { at_us: time_us, code: piece.code });
        }
        match piece.code {
            Code::Header | Code::Other => return,
            Code::Output => self.check_position(piece.position, data.len(), time_us),
            Code::Exit | Code::End => self.ended = true,
            Code::Input | Code::Resize | Code::Marker => {}
        }
        self.events.push(Timed { time_us, at: piece.at, code: piece.code, data: data.to_vec() });
    }

    fn check_position(&mut self, position: Option<i64>, len: usize, at_us: i64) {
        let position = position.unwrap_or(self.position);
        let bytes = position.abs_diff(self.position);
        if position > self.position {
            self.findings.push(Finding::Gap { at_us, missing_bytes: bytes });
        } else if position < self.position {
            self.findings.push(Finding::Overlap { at_us, repeated_bytes: bytes });
        }
        self.position = position.saturating_add(i64::try_from(len).unwrap_or(i64::MAX));
    }

    fn note_conflict(&mut self, entry: &Entry<'_>) {
        if let Some((seq, rest)) = self.conflicts.split_first()
            && *seq == entry.piece.seq
        {
            self.findings.push(Finding::Conflict { at_us: self.last_us, seq: *seq });
            self.conflicts = rest;
        }
    }

    fn finish(mut self, duplicates: usize) -> Recording {
        if let Some((at_us, pieces, most_us)) = self.backwards {
            self.findings.push(Finding::Backwards { at_us, pieces, most_us });
        }
        let told = |event: &Timed| event.at?.checked_sub(event.time_us);
        Recording {
            started_at: self.started_at.or_else(|| self.events.iter().find_map(told)),
            session_id: String::new(),
            size: self.size.or_else(|| first_resize(&self.events)).unwrap_or(Size::DEFAULT),
            header: self.header.unwrap_or_default(),
            events: self.events,
            findings: self.findings,
            duplicates,
            ended: self.ended,
            duration_us: self.last_us,
            cut: None,
        }
    }
}

fn read_header(entry: &Entry<'_>) -> Option<(Version, Size, Header)> {
    if entry.piece.code != Code::Header {
        return None;
    }
    header::read(std::str::from_utf8(entry.data).ok()?).ok()
}

fn never_decrease(pieces: &[Entry<'_>]) -> bool {
    pieces.iter().filter_map(|entry| entry.piece.time_us).is_sorted()
}

/// The instant of time 0: from the first output that has both clocks; else the first output, else the first piece,
/// is taken to be at time 0.
fn wall_clock_of_zero(pieces: &[Entry<'_>]) -> Option<Micros> {
    let outputs = || pieces.iter().filter(|entry| entry.piece.code == Code::Output);
    outputs()
        .find_map(|entry| Some(entry.piece.at?.saturating_sub(entry.piece.time_us?)))
        .or_else(|| outputs().find_map(|entry| entry.piece.at))
        .or_else(|| pieces.iter().find_map(|entry| entry.piece.at))
}

fn first_resize(events: &[Timed]) -> Option<Size> {
    let first_output_us = events.iter().find(|event| event.code == Code::Output).map_or(TIME_US_MAX, |o| o.time_us);
    let early = events.iter().take_while(|event| event.time_us <= first_output_us);
    early.filter(|event| event.code == Code::Resize).find_map(|event| resize(&event.data))
}

/// The size in the data of a resize.
pub(crate) fn resize(data: &[u8]) -> Option<Size> {
    Size::parse(std::str::from_utf8(data).ok()?)
}

/// The status in the data of an exit.
pub(crate) fn exit_status(data: &[u8]) -> Option<i32> {
    std::str::from_utf8(data).ok()?.trim().parse().ok()
}
