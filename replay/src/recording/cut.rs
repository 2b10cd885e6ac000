//! A part of a recording.

use custody_schemas::frame::Code;
use custody_schemas::time::Micros;
use serde::Serialize;

use super::{Finding, Recording, Timed, resize};
use crate::emulator::Emulator;
use crate::header::Header;
use crate::index::Segment;
use crate::size::Size;

/// Which part of a longer recording this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Where it begins, in microseconds since the start of the whole.
    pub from_us: i64,
    /// Where it ends; events at this time are in it.
    pub to_us: i64,
    /// Duration of the whole.
    pub of_us: i64,
    /// Number of findings of the whole that are about a time outside of the part.
    pub findings_left_out: usize,
}

impl Recording {
    /// The part between two times (microseconds since the start, both included), as a recording of its own. Times
    /// outside of the recording count as its start and its end; a part that would end before it begins ends where it
    /// begins. The part that is all of it is the recording itself.
    ///
    /// **Times** count from the beginning of the part. Wall clocks stay, and the header's timestamp is that of the
    /// beginning of the part. So is `size`.
    ///
    /// **The screen.** A part that does not begin at the start has one event more, at time 0: an output that makes an
    /// empty terminal what it was before. It is the screen as this crate emulates it, as escape sequences, and was never
    /// recorded; [`init`](Self::init) and [`recorded`](Self::recorded) tell it from what was. So the part shows at each
    /// of its times what the whole shows then.
    ///
    /// **What is wrong.** Findings in the part are kept, and those about all of the recording; counts in them, and
    /// `duplicates`, stay as they are. A part of a recording in which something is wrong is
    /// [`Incomplete`](super::State::Incomplete), also where it is wrong elsewhere. A part that does not reach the end is
    /// not `ended`.
    #[must_use]
    pub fn cut(&self, from_us: i64, to_us: i64) -> Self {
        let from_us = from_us.min(self.duration_us).max(0);
        let to_us = to_us.min(self.duration_us).max(from_us);
        if from_us == 0 && to_us == self.duration_us {
            return self.clone();
        }
        let from = self.events.partition_point(|event| event.time_us < from_us);
        let to = self.events.partition_point(|event| event.time_us <= to_us);
        let (before, rest) = self.events.split_at(from);
        let within = rest.iter().take(to.saturating_sub(from));

        let moved = |event: &Timed| Timed { time_us: event.time_us - from_us, ..event.clone() };
        let started_at = self.started_at.and_then(|at| at.checked_add(from_us));
        let init = (from_us > 0).then(|| Timed {
            time_us: 0,
            at: started_at,
            code: Code::Output,
            data: screen_after(self, before),
        });
        let findings: Vec<Finding> =
            self.findings.iter().filter_map(|finding| finding.within(from_us, to_us)).collect();

        // Of a part of a part, where it lies in the whole.
        let whole = self.cut.unwrap_or(Cut { from_us: 0, to_us: 0, of_us: self.duration_us, findings_left_out: 0 });
        let cut = Cut {
            from_us: whole.from_us + from_us,
            to_us: whole.from_us + to_us,
            of_us: whole.of_us,
            findings_left_out: whole.findings_left_out + self.findings.len() - findings.len(),
        };
        let mut header = self.header.clone();
        header.timestamp = header.timestamp.map(|seconds| seconds.saturating_add(from_us / 1_000_000));
        Self {
            session_id: self.session_id.clone(),
            size: before.iter().rev().filter(is_resize).find_map(|e| resize(&e.data)).unwrap_or(self.size),
            header,
            events: init.into_iter().chain(within.map(moved)).collect(),
            findings,
            duplicates: self.duplicates,
            ended: self.ended && to_us == self.duration_us,
            duration_us: to_us - from_us,
            started_at,
            cut: Some(cut),
        }
    }

    /// The event that a part of a recording begins with to show the screen that was there; it was not recorded.
    pub fn init(&self) -> Option<&Timed> {
        self.events.first().filter(|_| self.cut.is_some_and(|cut| cut.from_us > 0))
    }

    /// The events that were recorded: all but [`init`](Self::init).
    pub fn recorded(&self) -> &[Timed] {
        self.events.get(usize::from(self.init().is_some())..).unwrap_or_default()
    }
}

/// What is known of a recording of which only a part is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Its session.
    pub session_id: String,
    /// Size of the terminal at its start, as recorded.
    pub size: Size,
    /// Time of its last piece.
    pub duration_us: i64,
    /// The wall clock at its start.
    pub started_at: Option<Micros>,
    /// Whether the stream says that it is over.
    pub ended: bool,
    /// Number of its findings.
    pub findings: usize,
    /// Number of its segments.
    pub segments: usize,
}

impl Whole {
    /// The part that some of its segments make, which follow one another, from the number `first` on; with their events.
    /// As [`Recording::cut`] makes it, but that nothing is known of its findings, and that sizes are those of the emulated
    /// terminal. `None` without segments. The segment
    /// before has no event at the time of the first.
    pub fn part(&self, first: usize, segments: Vec<(Segment, Vec<Timed>)>) -> Option<Recording> {
        let last = first + segments.len();
        let (begin, _) = segments.first()?;
        let from_us = if first == 0 { 0 } else { begin.start_us };
        let is_last = last >= self.segments;
        let to_us = if is_last { self.duration_us } else { segments.last()?.0.end_us };
        let started_at = self.started_at.and_then(|at| at.checked_add(from_us));
        let size = if first == 0 { self.size } else { begin.size };
        let is_whole = first == 0 && is_last;
        let init = (first > 0).then(|| Timed {
            time_us: 0,
            at: started_at,
            code: Code::Output,
            data: [begin.init.as_bytes(), &begin.tail].concat(),
        });
        let events = segments.into_iter().flat_map(|(_, events)| events);
        let events = events.map(|event| Timed { time_us: event.time_us - from_us, ..event });
        let timestamp = started_at.map(|at| at.div_euclid(1_000_000));
        Some(Recording {
            session_id: self.session_id.clone(),
            size,
            header: Header { timestamp, ..Header::default() },
            events: init.into_iter().chain(events).collect(),
            findings: Vec::new(),
            duplicates: 0,
            ended: self.ended && is_last,
            duration_us: to_us - from_us,
            started_at,
            // Findings of the whole are left out also where it is whole.
            cut: (!is_whole || self.findings > 0).then_some(Cut {
                from_us,
                to_us,
                of_us: self.duration_us,
                findings_left_out: self.findings,
            }),
        })
    }
}

impl Finding {
    /// The finding in the part of a recording between two times, if it is about that.
    fn within(&self, from_us: i64, to_us: i64) -> Option<Self> {
        let mut finding = self.clone();
        if let Some(at_us) = finding.at_us_mut() {
            if !(from_us..=to_us).contains(at_us) {
                return None;
            }
            *at_us -= from_us;
        }
        Some(finding)
    }
}

fn is_resize(event: &&Timed) -> bool {
    event.code == Code::Resize
}

/// Bytes that make an empty terminal what it is after the first events of a recording.
fn screen_after(recording: &Recording, events: &[Timed]) -> Vec<u8> {
    let mut emulator = Emulator::new(recording.size);
    for event in events {
        let _ = emulator.apply(event, ());
    }
    let (screen, tail) = emulator.dump();
    [screen.into_bytes(), tail].concat()
}

#[cfg(test)]
mod tests;
