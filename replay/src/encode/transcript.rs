//! Plain text with times.

use std::collections::{HashMap, VecDeque};
use std::io;

use avt::observer::{Observation, Observer, Transcript};
use avt::parser::Function;
use avt::{Line, Operation, Terminal};
use custody_schemas::time::{Micros, to_rfc3339};

use crate::emulator::Emulator;
use crate::recording::Recording;
use crate::screen::printable;

/// The screen is read when nothing has happened for so long, or when so much time has passed since it was read, in
/// microseconds of the recording.
const READ_US: i64 = 50_000;

/// Lines are told from each other by so many bytes at their beginning: more than any terminal has on one line.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Writes the lines that [`text`](super::text()) writes, each behind the time since the start, the wall clock (UTC; `-`
/// where it is not known) and tabs:
///
/// ```text
/// 00:01:23.456    2026-11-02T09:01:23.456000Z    $ ls
/// ```
///
/// The time is that from which the line stood on the primary screen as it is written here, wherever on it: for a command
/// when the last of it was typed, for a line that was drawn over and over when it was changed for the last time. It is at
/// most 50 ms late. A line that gave way to an equal one within 50 ms stood on. Lines are in the order in which they left
/// the screen at its top, or stood on it at the end, which need not be that of their times. Empty lines have none.
///
/// # Errors
///
/// Those of `out`.
pub fn transcript(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    let started_at = recording.started_at;
    let mut emulator = Emulator::new(recording.size);
    let mut transcript = Transcript::new();
    let mut shown = Shown::default();
    for event in &recording.events {
        if event.time_us.saturating_sub(shown.read_us) >= READ_US {
            shown.read(emulator.terminal());
            shown.read_us = event.time_us;
        }
        shown.time_us = event.time_us;
        let (lines, ()) = emulator.apply(event, (&mut transcript, &mut shown)).unwrap_or_default();
        write_lines(lines, &mut shown, started_at, out)?;
    }
    shown.read(emulator.terminal());
    let (lines, ()) = emulator.end((&mut transcript, &mut shown));
    write_lines(lines, &mut shown, started_at, out)?;
    write_lines(transcript.finish(emulator.terminal()), &mut shown, started_at, out)
}

fn write_lines(
    lines: Vec<String>,
    shown: &mut Shown,
    started_at: Option<Micros>,
    out: &mut impl io::Write,
) -> io::Result<()> {
    for line in lines {
        if !line.is_empty() {
            let since_us = shown.take(&line);
            let (seconds, millis) = (since_us / 1_000_000, since_us / 1000 % 1000);
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let at = started_at.map_or_else(|| "-".to_owned(), |start| to_rfc3339(start.saturating_add(since_us)));
            let line: String = line.chars().map(printable).collect();
            write!(out, "{hours:02}:{minutes:02}:{seconds:02}.{millis:03}\t{at}\t{line}")?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The lines on the primary screen.
#[derive(Default)]
struct Shown {
    /// Since when each is there. Of equal lines the upper one is first.
    since_us: HashMap<String, VecDeque<i64>>,
    /// The rows of a line that leaves at the top, as far as they have left.
    leaving: String,
    /// Time of the last event.
    time_us: i64,
    /// Time of the event before which the screen was read.
    read_us: i64,
}

impl Shown {
    /// Reads the screen: what was not there when it was read before is there since the last event.
    fn read(&mut self, terminal: &Terminal) {
        let mut now: HashMap<String, VecDeque<i64>> = HashMap::new();
        let mut line = self.leaving.clone();
        for row in terminal.primary_screen().visible_lines() {
            line.extend(row.chars());
            if !row.is_wrapped() {
                let since_us = self.take(&line);
                now.entry(key(&line).to_owned()).or_default().push_back(since_us);
                line.clear();
            }
        }
        self.since_us = now;
    }

    /// Since when a line is there; it is not there any more.
    fn take(&mut self, line: &str) -> i64 {
        self.since_us.get_mut(key(line)).and_then(VecDeque::pop_front).unwrap_or(self.time_us)
    }
}

impl Observer for Shown {
    type Output = ();

    fn before(&mut self, _: &mut Observation<'_>, operation: &Operation) {
        if matches!(operation, Operation::Function(Function::Ris)) {
            self.leaving.clear();
        }
    }

    fn evicted(&mut self, _: &mut Observation<'_>, row: &Line) {
        if !row.is_wrapped() {
            self.leaving.clear();
        } else if self.leaving.len() < LINE_BYTES_MAX {
            self.leaving.extend(row.chars());
        }
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

fn key(line: &str) -> &str {
    let line = line.get(..line.floor_char_boundary(LINE_BYTES_MAX.min(line.len()))).unwrap_or_default();
    line.trim_end()
}
