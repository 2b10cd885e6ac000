//! Shows a recording in the viewer's terminal while it goes on.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use crossterm::terminal;
use custody_schemas::frame::Code;
use custody_schemas::time::Micros;

use super::guard::Guard;
use super::painter::Painter;
use super::{Command, Ending, TICK, clock, is_terminal, no_terminal, wall};
use crate::live::Shown;
use crate::recording::Timed;
use crate::screen::Screen;
use crate::size::Size;

/// What is known of a session that is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Its id.
    pub session_id: String,
    /// See [`PlayOptions::facts`](super::PlayOptions::facts).
    pub facts: String,
    /// The wall clock at the start of its recording.
    pub started_at: Option<Micros>,
}

/// What has come; or why it is not known, until it is again.
pub type Come = Result<Vec<Shown>, String>;

/// Shows what comes until the viewer leaves, goes back ([`Ending::Back`]) or `cancelled` becomes true. When nothing more
/// comes the last screen stays. The terminal is given back as it was.
///
/// Space holds what is shown, and lets it go on with what is there by then; the keys of [`play`](super::play) that lead to
/// another time go back into what was recorded.
///
/// # Errors
///
/// As [`play`](super::play).
pub fn watch(come: &Receiver<Come>, of: &Watched, cancelled: &AtomicBool) -> io::Result<Ending> {
    if !is_terminal() {
        return Err(no_terminal());
    }
    let _guard = Guard::enter()?;
    let (cols, rows) = terminal::size()?;
    let mut watcher = Watcher::new();
    let lines = |rows: u16| if rows < 8 || of.facts.is_empty() { 1 } else { 2 };
    let mut painter = Painter::new(cols, rows, lines(rows));
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Ok(Ending::Cancelled);
        }
        loop {
            match come.try_recv() {
                Ok(Ok(shown)) => watcher.take(shown),
                Ok(Err(trouble)) => watcher.trouble = Some(trouble),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    watcher.is_over = true;
                    break;
                }
            }
        }
        let status = watcher.status(of);
        let painted = match watcher.is_held {
            true => painter.paint_status(&status),
            false => painter.paint(&watcher.screen, &status),
        };
        let mut out = io::stdout().lock();
        out.write_all(painted.as_bytes())?;
        out.flush()?;
        drop(out);
        if !event::poll(TICK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if let Some(ending) = watcher.key(key) {
                    return Ok(ending);
                }
            }
            Event::Resize(cols, rows) => {
                painter = Painter::new(cols, rows, lines(rows));
                watcher.is_held = false;
            }
            _ => {}
        }
    }
}

/// The view without a terminal.
struct Watcher {
    screen: Screen,
    time_us: i64,
    is_held: bool,
    is_over: bool,
    trouble: Option<String>,
}

impl Watcher {
    fn new() -> Self {
        Self { screen: Screen::new(Size::DEFAULT), time_us: 0, is_held: false, is_over: false, trouble: None }
    }

    fn take(&mut self, shown: Vec<Shown>) {
        self.trouble = None;
        shown.into_iter().for_each(|shown| self.apply(shown));
    }

    fn apply(&mut self, shown: Shown) {
        match shown {
            Shown::Screen { time_us, size, init } => {
                self.screen = Screen::with(size, &init);
                (self.time_us, self.is_over) = (time_us, false);
            }
            Shown::Output { time_us, text } => {
                self.screen.apply(&Timed { time_us, at: None, code: Code::Output, data: text.into_bytes() });
                self.time_us = time_us;
            }
            Shown::Input { time_us, .. } => self.time_us = time_us,
            Shown::Ended => self.is_over = true,
        }
    }

    /// How it ends, if the key ends it.
    fn key(&mut self, key: KeyEvent) -> Option<Ending> {
        match Command::of(key)? {
            Command::Quit => return Some(Ending::Quit),
            Command::Pause => self.is_held = !self.is_held,
            Command::End => self.is_held = false,
            Command::Back | Command::Tenth(..0) | Command::Tenths(_) | Command::Last(_) | Command::Ask => {
                return Some(Ending::Back);
            }
            _ => {}
        }
        None
    }

    fn status(&self, of: &Watched) -> [String; 2] {
        let state = match (&self.trouble, self.is_over, self.is_held) {
            (Some(trouble), ..) => format!("NOT KNOWN: {trouble}"),
            (None, _, true) => "HELD".to_owned(),
            (None, true, false) => "OVER".to_owned(),
            (None, false, false) => "LIVE".to_owned(),
        };
        let wall = wall(of.started_at, self.time_us);
        [format!(" {}", of.facts), format!(" {}{wall}  {state}  {}", clock(self.time_us), of.session_id)]
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyModifiers};

    use super::*;

    #[test]
    fn what_comes_is_shown_and_keys_hold_it_or_lead_back() {
        let mut watcher = Watcher::new();
        let size = Size { cols: 20, rows: 3 };
        watcher.apply(Shown::Screen { time_us: 5_000_000, size, init: "one\r\n".to_owned() });
        watcher.apply(Shown::Output { time_us: 61_000_000, text: "two \x1b]52;c;ZXZpbA==\x07".to_owned() });
        assert_eq!(watcher.screen.lines(), ["one", "two", ""]);
        let of =
            Watched { session_id: "s".to_owned(), facts: "mira".to_owned(), started_at: Some(1_772_438_400_000_000) };
        assert_eq!(watcher.status(&of), [" mira", " 01:01  2026-03-02T08:01:01Z  LIVE  s"]);
        let press = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert_eq!(watcher.key(press(KeyCode::Char(' '))), None);
        assert!(watcher.status(&of)[1].contains("HELD"));
        assert_eq!(watcher.key(press(KeyCode::Char('G'))), None);
        watcher.apply(Shown::Ended);
        assert!(watcher.status(&of)[1].contains("OVER"));
        for (key, ending) in [
            (KeyCode::Left, Some(Ending::Back)),
            (KeyCode::Char('/'), Some(Ending::Back)),
            (KeyCode::Char('0'), Some(Ending::Back)),
            (KeyCode::Right, None),
            (KeyCode::Char('x'), None),
            (KeyCode::Char('q'), Some(Ending::Quit)),
        ] {
            assert_eq!(watcher.key(press(key)), ending, "{key:?}");
        }
    }
}
