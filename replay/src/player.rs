//! Shows a recording in the viewer's terminal.
//!
//! Recorded bytes never reach that terminal: a recording may hold sequences that set its clipboard or make it answer to
//! questions as if the viewer had typed. They are applied to an emulated [`Screen`], and what is on it is painted anew.
//!
//! The screen is cropped to the viewer's terminal, whose last line shows the state of the player.

mod guard;
mod painter;
mod playhead;

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal;
use custody_schemas::frame::Code;

use crate::pace::Timescale;
use crate::recording::{Recording, Timed};
use crate::screen::Screen;
use guard::Guard;
use painter::Painter;
use playhead::Playhead;

/// How a recording is played.
#[derive(Debug, Clone, PartialEq)]
pub struct PlayOptions {
    /// How many times as fast as it was recorded; brought into 1/16 to 64.
    pub speed: f64,
    /// The longest time without an event that is waited for, in microseconds of the recording.
    pub idle_limit_us: Option<i64>,
    /// Where to begin, in microseconds since the start of the recording.
    pub start_us: i64,
    /// Begin paused.
    pub paused: bool,
    /// Leave at the end, instead of waiting for a key with the last screen in view.
    pub exit_at_end: bool,
}

impl Default for PlayOptions {
    fn default() -> Self {
        Self { speed: 1.0, idle_limit_us: None, start_us: 0, paused: false, exit_at_end: false }
    }
}

/// Why the player stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The recording was over and [`PlayOptions::exit_at_end`] was set.
    Finished,
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
/// Keys: space pauses and resumes, `.` goes to the next event while paused, the arrows left and right go 5 s back and
/// forth, `+` and `-` double and halve the speed, `0` or Home goes to the start, `G` or End to the end; `q`, Esc and
/// Ctrl-C leave.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] when there is [no terminal](is_terminal), else those of the terminal.
pub fn play(recording: &Recording, options: &PlayOptions, cancelled: &AtomicBool) -> io::Result<Ending> {
    if !is_terminal() {
        let message = "there is no terminal to play on; `custody export --as text` writes a recording as text";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let _guard = Guard::enter()?;
    let (cols, rows) = terminal::size()?;
    let mut painter = Painter::new(cols, rows);
    let mut player = Player::new(recording, options);
    let start = Instant::now();
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Ok(Ending::Cancelled);
        }
        let now = start.elapsed();
        let caught_up = player.advance(now);
        if caught_up {
            let mut out = io::stdout().lock();
            out.write_all(painter.paint(&player.screen, &player.status(now)).as_bytes())?;
            out.flush()?;
            if options.exit_at_end && player.head.at_end(now) {
                return Ok(Ending::Finished);
            }
        }

        let wait = if caught_up { player.wait(start.elapsed()) } else { Duration::ZERO };
        if !event::poll(wait)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if let Some(command) = Command::of(key)
                    && !player.obey(command, start.elapsed())
                {
                    return Ok(Ending::Quit);
                }
            }
            Event::Resize(cols, rows) => painter = Painter::new(cols, rows),
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
    Start,
    End,
}

impl Command {
    fn of(key: KeyEvent) -> Option<Self> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        Some(match key.code {
            KeyCode::Char('c') if control => Self::Quit,
            _ if control => return None,
            KeyCode::Char('q') | KeyCode::Esc => Self::Quit,
            KeyCode::Char(' ') => Self::Pause,
            KeyCode::Char('.') => Self::NextEvent,
            KeyCode::Left => Self::Back,
            KeyCode::Right => Self::Forth,
            KeyCode::Char('+' | '=') => Self::Faster,
            KeyCode::Char('-' | '_') => Self::Slower,
            KeyCode::Char('0') | KeyCode::Home => Self::Start,
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
}

impl<'a> Player<'a> {
    fn new(recording: &'a Recording, options: &PlayOptions) -> Self {
        let times_us = recording.events.iter().map(|event| event.time_us);
        let scale = Timescale::new(times_us, recording.duration_us, options.idle_limit_us);
        let mut head = Playhead::new(scale.duration_us(), options.speed);
        head.seek(Duration::ZERO, scale.shown_us(options.start_us));
        if options.paused {
            head.pause(Duration::ZERO);
        }
        Self { recording, scale, head, screen: Screen::new(recording.size), ahead: &recording.events }
    }

    /// Brings the screen nearer to the time of the playhead; false when more is left to do.
    fn advance(&mut self, now: Duration) -> bool {
        let time_us = self.recorded_us(now);
        let shown = self.recording.events.len() - self.ahead.len();
        let last_shown = shown.checked_sub(1).and_then(|n| self.recording.events.get(n));
        if last_shown.is_some_and(|event| event.time_us > time_us) {
            self.screen = Screen::new(self.recording.size);
            self.ahead = &self.recording.events;
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

    /// Does what a key asks for; false when it asks to leave.
    fn obey(&mut self, command: Command, now: Duration) -> bool {
        let here_us = self.head.position_us(now);
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
            Command::Faster => self.head.set_speed(now, self.head.speed() * 2.0),
            Command::Slower => self.head.set_speed(now, self.head.speed() / 2.0),
            Command::Start => self.head.seek(now, 0),
            Command::End => self.head.seek(now, i64::MAX),
        }
        true
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

    /// The text of the status line.
    fn status(&self, now: Duration) -> String {
        let Recording { session_id, duration_us, findings, .. } = self.recording;
        let time = clock(self.recorded_us(now));
        let state = match () {
            () if self.head.at_end(now) => "  END",
            () if self.head.is_paused() => "  PAUSED",
            () => "",
        };
        let findings = match findings.len() {
            0 => String::new(),
            1 => "  ! 1 finding".to_owned(),
            n => format!("  ! {n} findings"),
        };
        format!(" {time} / {}  {}x{state}{findings}  {session_id}", clock(*duration_us), self.head.speed())
    }
}

/// `H:MM:SS`, or `MM:SS` below an hour.
fn clock(time_us: i64) -> String {
    let seconds = time_us / 1_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes:02}:{seconds:02}") }
}

#[cfg(test)]
mod tests;
