//! Which texts were on the screen, and when.

use std::collections::HashMap;

use avt::{Line, ScreenKind, Terminal};

use crate::screen::printable;

/// A text that grows or is edited is one text, unless it stood for so long, in microseconds: whoever looks for what stood
/// there is to land where it stood.
const STANDS_US: i64 = 2_000_000;

/// The longest text that is kept, in bytes: more than any terminal has on one line.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A line of text that was on the screen. Lines that the terminal wrapped are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenText {
    /// When it began to be there, in microseconds since the start of the recording.
    pub from_us: i64,
    /// When it went: was scrolled away, changed or cleared; of what was there at the end, when the recording ended.
    pub till_us: i64,
    /// Row of the screen on which it was seen last, from 0; 0 where it was scrolled through too fast to be seen.
    pub row: u16,
    /// It was on the alternate screen, that of editors and pagers.
    pub is_alternate: bool,
    /// The text, without blanks at its end and without characters that would act on a terminal. Never empty.
    pub text: String,
}

/// What is on the screen.
#[derive(Default)]
pub(super) struct Lines {
    /// In the order of their rows.
    shown: Vec<Shown>,
    is_alternate: bool,
    /// The rows of a line that leaves at the top, as far as they have left.
    leaving: String,
    gone: Vec<ScreenText>,
}

#[derive(Debug, Clone)]
struct Shown {
    row: u16,
    text: String,
    from_us: i64,
    /// It is what is left of a text that was there before and is known.
    is_rest: bool,
}

impl Lines {
    /// A line has left the primary screen at its top.
    pub(super) fn scrolled(&mut self, line: &Line, time_us: i64) {
        if self.leaving.len() < TEXT_BYTES_MAX {
            self.leaving.extend(line.chars());
        }
        if line.is_wrapped() {
            return;
        }
        let text = visible(&std::mem::take(&mut self.leaving));
        let first = if self.is_alternate || self.shown.is_empty() { None } else { Some(self.shown.remove(0)) };
        match first {
            Some(first) if text.starts_with(&first.text) => {
                self.go(Shown { text, ..first }, time_us);
            }
            Some(first) => {
                self.go(first, time_us);
                self.go(Shown { row: 0, text, from_us: time_us, is_rest: false }, time_us);
            }
            None => self.go(Shown { row: 0, text, from_us: time_us, is_rest: false }, time_us),
        }
    }

    /// Reads the screen.
    pub(super) fn read(&mut self, terminal: &Terminal, time_us: i64) {
        let is_same_screen = self.is_alternate == is_alternate(terminal);
        let mut before: Vec<Option<Shown>> = std::mem::take(&mut self.shown).into_iter().map(Some).collect();
        // Of equal texts the upper one goes with the upper one.
        let mut by_text: HashMap<&str, Vec<usize>> = HashMap::new();
        let texts: Vec<String> = before.iter().flatten().map(|shown| shown.text.clone()).collect();
        for (at, text) in texts.iter().enumerate().rev() {
            by_text.entry(text).or_default().push(at);
        }
        let now = logical_lines(terminal);
        let mut kept: Vec<Option<Shown>> = now
            .iter()
            .map(|(row, text)| {
                let at = by_text.get_mut(text.as_str()).and_then(Vec::pop)?;
                let shown = before.get_mut(at).and_then(Option::take)?;
                Some(Shown { row: *row, ..shown })
            })
            .collect();
        let by_row: HashMap<u16, usize> = before
            .iter()
            .enumerate()
            .filter_map(|(at, shown)| shown.as_ref().filter(|_| is_same_screen).map(|shown| (shown.row, at)))
            .collect();
        for ((row, text), kept) in now.into_iter().zip(&mut kept) {
            if kept.is_some() {
                continue;
            }
            let old = by_row.get(&row).and_then(|at| before.get_mut(*at)).and_then(Option::take);
            *kept = Some(self.changed(old, Shown { row, text, from_us: time_us, is_rest: false }, time_us));
        }
        before.into_iter().flatten().for_each(|shown| self.go(shown, time_us));
        self.is_alternate = is_alternate(terminal);
        self.shown = kept.into_iter().flatten().collect();
    }

    /// What stands on a row after another text stood there.
    fn changed(&mut self, old: Option<Shown>, new: Shown, time_us: i64) -> Shown {
        let Some(old) = old else { return new };
        let stood = time_us.saturating_sub(old.from_us) >= STANDS_US;
        if new.text.starts_with(&old.text) && !stood {
            return Shown { from_us: old.from_us, ..new };
        }
        let is_rest = old.text.starts_with(&new.text);
        self.go(old, time_us);
        Shown { is_rest, ..new }
    }

    /// The recording is over.
    pub(super) fn finish(&mut self, time_us: i64) {
        for shown in std::mem::take(&mut self.shown) {
            self.go(shown, time_us);
        }
    }

    pub(super) fn take(&mut self) -> Vec<ScreenText> {
        std::mem::take(&mut self.gone)
    }

    fn go(&mut self, Shown { row, text, from_us, is_rest }: Shown, till_us: i64) {
        // What is left of a longer text is found with that; but where it stood, it stood.
        if text.is_empty() || is_rest && till_us.saturating_sub(from_us) < STANDS_US {
            return;
        }
        self.gone.push(ScreenText { from_us, till_us, row, is_alternate: self.is_alternate, text });
    }
}

fn is_alternate(terminal: &Terminal) -> bool {
    terminal.active_screen_kind() == ScreenKind::Alternate
}

/// The texts of the screen that are not empty, each with its first row.
fn logical_lines(terminal: &Terminal) -> Vec<(u16, String)> {
    let (mut lines, mut text, mut start) = (Vec::new(), String::new(), 0);
    for (row, line) in (0..).zip(terminal.screen().visible_lines()) {
        text.extend(line.chars());
        if !line.is_wrapped() {
            lines.push((start, visible(&text)));
            text.clear();
            start = row + 1;
        }
    }
    lines.push((start, visible(&text)));
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

/// Text as it may be shown anywhere.
pub(super) fn visible(text: &str) -> String {
    let text = text.trim_end();
    let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX.min(text.len()))).unwrap_or_default();
    text.chars().map(printable).collect()
}
