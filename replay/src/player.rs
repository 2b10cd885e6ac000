//! Shows a recording in the viewer's terminal.
//!
//! Recorded bytes never reach that terminal: a recording may hold sequences that set its clipboard or make it answer to
//! questions as if the viewer had typed. They are applied to an emulated [`Screen`], and what is on it is painted anew.
//!
//! The screen is cropped to the viewer's terminal, whose last line shows the state of the player.

mod finder;
mod guard;
mod painter;
mod playhead;
mod watch;

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal;
use custody_schemas::frame::Code;
use custody_schemas::time::{Micros, to_rfc3339};

use crate::pace::Timescale;
use crate::recording::{Recording, Timed};
use crate::screen::Screen;
use finder::{Finder, Wanted};
use guard::Guard;
use painter::Painter;
use playhead::Playhead;
pub use watch::{Come, Watched, watch};

/// How a recording is played.
#[derive(Debug, Clone, PartialEq)]
pub struct PlayOptions {
    /// How many times as fast as it was recorded; brought into 1/16 to 64.
    pub speed: f64,
    /// The longest time without an event that is waited for, in microseconds of the recording.
    pub idle_limit_us: Option<i64>,
    /// Where to begin.
    pub start: Start,
    /// Who, where, why and who said yes, for the line above the state of the player; empty where nothing is known.
    pub facts: String,
    /// Begin paused.
    pub paused: bool,
    /// Leave at the end, instead of waiting for a key with the last screen in view.
    pub exit_at_end: bool,
    /// More of the recording may have come: at the end it is left for that ([`Ending::Finished`]).
    pub goes_on: bool,
}

impl Default for PlayOptions {
    fn default() -> Self {
        Self {
            speed: 1.0,
            idle_limit_us: None,
            start: Start::default(),
            facts: String::new(),
            paused: false,
            exit_at_end: false,
            goes_on: false,
        }
    }
}

/// Where a recording begins to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A time since its start, in microseconds.
    At(i64),
    /// Where this text was on the screen first.
    Match(String),
}

impl Default for Start {
    fn default() -> Self {
        Self::At(0)
    }
}

/// Why the player stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The recording was over, and [`PlayOptions::exit_at_end`] or [`PlayOptions::goes_on`] was set.
    Finished,
    /// The viewer went back from what goes on.
    Back,
    /// The viewer left.
    Quit,
    /// The caller asked for it.
    Cancelled,
}

/// Whether [`play`] has a terminal to play on: both standard input and output are one.
pub fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Plays a recording in this terminal until it is over, the viewer leaves or `cancelled` becomes true (which is looked
/// at twenty times a second or more). The terminal is given back as it was, also after an error or a panic.
///
/// Keys, those of asciinema where it has them: space pauses and resumes, `.` goes to the next event while paused, the arrows
/// left and right go 5 s back and forth, with Shift a tenth of the recording, `1` to `9` to so many tenths, `+` and `-`
/// double and halve the speed, `0` or Home goes to the start, `G` or End to the end. `]` and `[` go to the next and the
/// last marker, `}` and `{` to the next and the last command. `/` asks for a text and goes to where it comes onto the
/// screen next, and waits there; `n` and `N` to the next and the last such place. `q`, Esc and Ctrl-C leave.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] when there is [no terminal](is_terminal), else those of the terminal.
pub fn play(recording: &Recording, options: &PlayOptions, cancelled: &AtomicBool) -> io::Result<Ending> {
    if !is_terminal() {
        return Err(no_terminal());
    }
    let finder = Finder::default();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| finder.look_through(recording));
        let ending = {
            let _stop = Stop(&finder);
            run(recording, options, cancelled, &finder)
        };
        // What went wrong there has made the recording no worse to look at.
        let _ = looking.join();
        ending
    })
}

fn no_terminal() -> io::Error {
    let message = "there is no terminal to play on; `custody export --as text` writes a recording as text";
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// Ends the search when the player ends, also by a panic.
struct Stop<'a>(&'a Finder);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn run(recording: &Recording, options: &PlayOptions, cancelled: &AtomicBool, finder: &Finder) -> io::Result<Ending> {
    let _guard = Guard::enter()?;
    let (cols, rows) = terminal::size()?;
    let mut player = Player::new(recording, options, finder);
    let mut painter = Painter::new(cols, rows, player.lines(rows));
    let start = Instant::now();
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Ok(Ending::Cancelled);
        }
        let now = start.elapsed();
        player.begin(now);
        let caught_up = player.advance(now);
        if caught_up {
            let mut out = io::stdout().lock();
            out.write_all(painter.paint(&player.screen, &player.status(now)).as_bytes())?;
            out.flush()?;
            if (options.exit_at_end || options.goes_on) && player.head.at_end(now) {
                return Ok(Ending::Finished);
            }
        }

        let wait = if caught_up { player.wait(start.elapsed()) } else { Duration::ZERO };
        if !event::poll(wait)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release && !player.key(key, start.elapsed()) => {
                return Ok(Ending::Quit);
            }
            Event::Resize(cols, rows) => painter = Painter::new(cols, rows, player.lines(rows)),
            _ => {}
        }
    }
}

/// How often the player looks around when nothing happens.
const TICK: Duration = Duration::from_millis(50);

/// Output that is applied between two looks at the keyboard.
const BYTES_AT_ONCE: usize = 256 * 1024;

/// How far an arrow key goes.
const STEP_US: i64 = 5_000_000;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Quit,
    Pause,
    NextEvent,
    Back,
    Forth,
    Faster,
    Slower,
    End,
    /// A tenth of the recording back or forth.
    Tenth(i64),
    /// So many tenths from the start.
    Tenths(i64),
    Next(Place),
    Last(Place),
    Ask,
}

/// What one can go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Marker,
    Command,
    Match,
}

impl Command {
    fn of(key: KeyEvent) -> Option<Self> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let shift = key.modifiers.contains(KeyModifiers::SHIFT);
        Some(match key.code {
            KeyCode::Char('c') if control => Self::Quit,
            _ if control => return None,
            KeyCode::Char('q') | KeyCode::Esc => Self::Quit,
            KeyCode::Char(' ') => Self::Pause,
            KeyCode::Char('.') => Self::NextEvent,
            KeyCode::Left if shift => Self::Tenth(-1),
            KeyCode::Right if shift => Self::Tenth(1),
            KeyCode::Left => Self::Back,
            KeyCode::Right => Self::Forth,
            KeyCode::Char(']') => Self::Next(Place::Marker),
            KeyCode::Char('[') => Self::Last(Place::Marker),
            KeyCode::Char('}') => Self::Next(Place::Command),
            KeyCode::Char('{') => Self::Last(Place::Command),
            KeyCode::Char('n') => Self::Next(Place::Match),
            KeyCode::Char('N') => Self::Last(Place::Match),
            KeyCode::Char('/') => Self::Ask,
            KeyCode::Char('+' | '=') => Self::Faster,
            KeyCode::Char('-' | '_') => Self::Slower,
            KeyCode::Char('0') | KeyCode::Home => Self::Tenths(0),
            KeyCode::Char(digit @ '1'..='9') => Self::Tenths(digit.to_digit(10)?.into()),
            KeyCode::Char('G') | KeyCode::End => Self::End,
            _ => return None,
        })
    }
}

/// The player without a terminal: time and keys come in, a screen comes out.
struct Player<'a> {
    recording: &'a Recording,
    scale: Timescale,
    head: Playhead,
    screen: Screen,
    /// The events that the screen does not show yet.
    ahead: &'a [Timed],
    finder: &'a Finder,
    facts: String,
    /// The wall clock at the start of the recording.
    start_at: Option<Micros>,
    /// A text that is being typed, to be looked for.
    asked: Option<String>,
    wanted: Option<Wanted>,
    /// It begins at the first match, which is not known yet.
    is_waiting: bool,
    /// Number of texts that were looked at for that, and the first of those that match.
    looked: usize,
    first_us: Option<i64>,
    /// What came of the last key.
    note: String,
}

/// A segment is gone to when so many events would have to be played to where it begins.
const EVENTS_PLAYED: usize = 64;

/// Going back from a match that was just gone to leads to the one before it, in microseconds.
const JUST_NOW_US: i64 = 500_000;

impl<'a> Player<'a> {
    fn new(recording: &'a Recording, options: &PlayOptions, finder: &'a Finder) -> Self {
        let times_us = recording.events.iter().map(|event| event.time_us);
        let scale = Timescale::new(times_us, recording.duration_us, options.idle_limit_us);
        let mut head = Playhead::new(scale.duration_us(), options.speed);
        let (start_us, wanted) = match &options.start {
            Start::At(time_us) => (*time_us, None),
            Start::Match(text) => (0, Wanted::new(text)),
        };
        head.seek(Duration::ZERO, scale.shown_us(start_us));
        if options.paused || wanted.is_some() {
            head.pause(Duration::ZERO);
        }
        Self {
            recording,
            scale,
            head,
            screen: Screen::new(recording.size),
            ahead: &recording.events,
            finder,
            facts: options.facts.clone(),
            start_at: recording.started_at,
            asked: None,
            is_waiting: wanted.is_some(),
            looked: 0,
            first_us: None,
            wanted,
            note: String::new(),
        }
    }

    /// Lines below the screen, in a terminal with so many rows.
    fn lines(&self, rows: u16) -> usize {
        if rows < 8 || self.facts.is_empty() { 1 } else { 2 }
    }

    /// Goes to the first match, once it is known.
    fn begin(&mut self, now: Duration) {
        if !self.is_waiting {
            return;
        }
        let settled_us = self.finder.settled_us();
        if let Some(wanted) = &self.wanted {
            let first = self.finder.first_match(wanted, &mut self.looked);
            self.first_us = [self.first_us, first].into_iter().flatten().min();
        }
        // At the very beginning, too; but not while an earlier one may still be found.
        let first_us = self.first_us.filter(|first_us| *first_us <= settled_us);
        if first_us.is_some() || settled_us == i64::MAX {
            self.is_waiting = false;
            self.go(now, Place::Match, "text", |_, _| first_us);
        } else {
            self.note = "looking for the text".to_owned();
        }
    }

    /// Brings the screen nearer to the time of the playhead; false when more is left to do.
    fn advance(&mut self, now: Duration) -> bool {
        let time_us = self.recorded_us(now);
        let mut shown = self.recording.events.len() - self.ahead.len();
        let last_shown = shown.checked_sub(1).and_then(|n| self.recording.events.get(n));
        let is_behind = last_shown.is_some_and(|event| event.time_us > time_us);
        if is_behind {
            shown = 0;
            self.screen = Screen::new(self.recording.size);
            self.ahead = &self.recording.events;
        }
        if let Some(segment) = self.finder.segment(time_us, shown + EVENTS_PLAYED) {
            self.screen = Screen::at(&segment);
            self.ahead = self.recording.events.get(segment.first_event..).unwrap_or_default();
        }
        let mut bytes = 0;
        while let Some((event, rest)) = self.ahead.split_first()
            && event.time_us <= time_us
        {
            if bytes >= BYTES_AT_ONCE {
                return false;
            }
            if event.code == Code::Output {
                bytes += event.data.len();
            }
            self.screen.apply(event);
            self.ahead = rest;
        }
        true
    }

    /// Takes a key; false when it asks to leave.
    fn key(&mut self, key: KeyEvent, now: Duration) -> bool {
        let command = Command::of(key);
        let Some(asked) = &mut self.asked else {
            return command.is_none_or(|command| self.obey(command, now));
        };
        match key.code {
            KeyCode::Esc => self.asked = None,
            _ if key.modifiers.contains(KeyModifiers::CONTROL) => return command != Some(Command::Quit),
            KeyCode::Char(character) => asked.push(character),
            KeyCode::Backspace => drop(asked.pop()),
            KeyCode::Enter => {
                let asked = self.asked.take().unwrap_or_default();
                // Nothing typed is the same text again.
                self.wanted = Wanted::new(&asked).or(self.wanted.take());
                return self.obey(Command::Next(Place::Match), now);
            }
            _ => {}
        }
        true
    }

    /// Does what a key asks for; false when it asks to leave.
    fn obey(&mut self, command: Command, now: Duration) -> bool {
        let here_us = self.head.position_us(now);
        let tenth_us = self.scale.duration_us() / 10;
        self.note.clear();
        self.is_waiting = false;
        match command {
            Command::Quit => return false,
            Command::Pause if self.head.is_paused() => self.head.resume(now),
            Command::Pause => self.head.pause(now),
            Command::NextEvent if self.head.is_paused() => {
                let next_us = self.scale.next_us(here_us).unwrap_or(here_us);
                self.head.seek(now, next_us);
            }
            Command::NextEvent => {}
            Command::Back => self.head.seek(now, here_us.saturating_sub(STEP_US)),
            Command::Forth => self.head.seek(now, here_us.saturating_add(STEP_US)),
            Command::Tenth(tenths) => self.head.seek(now, here_us.saturating_add(tenths.saturating_mul(tenth_us))),
            Command::Tenths(tenths) => self.head.seek(now, tenths.saturating_mul(tenth_us)),
            Command::Faster => self.head.set_speed(now, self.head.speed() * 2.0),
            Command::Slower => self.head.set_speed(now, self.head.speed() / 2.0),
            Command::End => self.head.seek(now, i64::MAX),
            Command::Next(place) => {
                self.go(now, place, "later", |times, here_us| {
                    times.iter().find(|time_us| **time_us > here_us).copied()
                });
            }
            Command::Last(place) => {
                let slack_us = if self.head.is_paused() { 0 } else { JUST_NOW_US };
                self.go(now, place, "earlier", |times, here_us| {
                    times.iter().rev().find(|time_us| **time_us < here_us.saturating_sub(slack_us)).copied()
                });
            }
            Command::Ask => self.asked = Some(String::new()),
        }
        true
    }

    /// Goes to one of the times of what is looked for, chosen by the time that is shown; at a match it waits.
    fn go(&mut self, now: Duration, place: Place, which: &str, choose: impl Fn(&[i64], i64) -> Option<i64>) {
        let markers = || self.recording.events.iter().filter(|event| event.code == Code::Marker);
        // Looked at before the places are: what is said of them must not be older than they are.
        let is_done = self.finder.settled_us() == i64::MAX;
        let times = match (place, &self.wanted) {
            (Place::Marker, _) => markers().map(|event| event.time_us).collect(),
            (Place::Command, _) => self.finder.commands(),
            (Place::Match, Some(wanted)) => self.finder.matches(wanted),
            (Place::Match, None) => {
                self.note = "/ asks for a text".to_owned();
                return;
            }
        };
        match choose(&times, self.recorded_us(now)) {
            Some(time_us) => {
                self.note.clear();
                self.head.seek(now, self.scale.shown_us(time_us));
                if place == Place::Match {
                    self.head.pause(now);
                }
            }
            None => {
                let what = match (place, &self.wanted) {
                    (Place::Marker, _) => format!("no {which} marker"),
                    (Place::Command, _) => format!("no {which} command"),
                    (Place::Match, wanted) => format!("no {which} {:?}", wanted.as_ref().map_or("", Wanted::as_str)),
                };
                // Markers are known from the beginning.
                self.note = match (place, self.finder.missed()) {
                    (Place::Marker, _) => what,
                    _ if !is_done => format!("{what} so far"),
                    (Place::Match, missed) if missed > 0 => format!("{what}, but {missed} lines were too much to keep"),
                    _ => what,
                };
            }
        }
    }

    /// How long nothing new is to be shown, at most a [`TICK`].
    fn wait(&self, now: Duration) -> Duration {
        let next_us = self.scale.next_us(self.head.position_us(now));
        next_us.and_then(|next_us| self.head.until(now, next_us)).unwrap_or(TICK).min(TICK)
    }

    /// The recorded time at the playhead.
    fn recorded_us(&self, now: Duration) -> i64 {
        self.scale.recorded_us(self.head.position_us(now))
    }

    /// The lines below the screen.
    fn status(&self, now: Duration) -> [String; 2] {
        let Recording { session_id, duration_us, findings, .. } = self.recording;
        let time_us = self.recorded_us(now);
        let wall = wall(self.start_at, time_us);
        let state = match () {
            () if self.head.at_end(now) => "  END",
            () if self.head.is_paused() => "  PAUSED",
            () => "",
        };
        let is_here = |at_us: i64| (at_us..at_us.saturating_add(FINDING_US)).contains(&time_us);
        let here = findings.iter().find(|finding| finding.at_us().is_some_and(is_here));
        let findings = match (here, findings.len()) {
            (Some(finding), _) => format!("  ! {finding}"),
            (None, 0) => String::new(),
            (None, 1) => "  ! 1 finding".to_owned(),
            (None, n) => format!("  ! {n} findings"),
        };
        let time = format!("{} / {}{wall}", clock(time_us), clock(*duration_us));
        let last = match &self.asked {
            Some(asked) => format!(" /{asked}_"),
            None if self.note.is_empty() => format!(" {time}  {}x{state}{findings}  {session_id}", self.head.speed()),
            None => format!(" {time}{state}  {}", self.note),
        };
        [format!(" {}", self.facts), last]
    }
}

/// What is wrong with a recording is told for so long after its time, in microseconds.
const FINDING_US: i64 = 3_000_000;

/// The wall clock at a time, with two blanks before it; nothing where it is not known.
fn wall(start_at: Option<Micros>, time_us: i64) -> String {
    let at = start_at.and_then(|start| start.checked_add(time_us));
    at.map_or_else(String::new, |at| {
        let second: String = to_rfc3339(at).chars().take("2026-11-02T09:00:00".len()).collect();
        format!("  {second}Z")
    })
}

/// `H:MM:SS`, or `MM:SS` below an hour.
fn clock(time_us: i64) -> String {
    let seconds = time_us / 1_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes:02}:{seconds:02}") }
}

#[cfg(test)]
mod tests;
