//! What a terminal showed.

use avt::Pen;

use crate::emulator::Emulator;
use crate::index::Segment;
use crate::recording::{Recording, Timed};
use crate::size::Size;

/// A character cell of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The character, never one that would act on a terminal.
    pub character: char,
    /// Number of columns, 1 or 2.
    pub width: u8,
    /// Colours and attributes.
    pub pen: Pen,
}

/// A terminal that a recording is played on. It is never larger than [`Size::EMULATED_MAX`].
pub struct Screen {
    emulator: Emulator,
}

impl Screen {
    /// An empty screen.
    pub fn new(size: Size) -> Self {
        Self { emulator: Emulator::new(size) }
    }

    /// The screen at the beginning of a segment.
    pub fn at(segment: &Segment) -> Self {
        Self { emulator: Emulator::restored(segment.size, &segment.init, &segment.tail) }
    }

    /// The screen that these escape sequences make of an empty one.
    pub(crate) fn with(size: Size, init: &str) -> Self {
        Self { emulator: Emulator::restored(size, init, &[]) }
    }

    /// Applies an event. Only output and resizes have an effect.
    pub fn apply(&mut self, event: &Timed) {
        self.emulator.apply(event, ());
    }

    /// Current size.
    pub fn size(&self) -> Size {
        self.emulator.size()
    }

    /// Column and row of the cursor from 0, unless it is hidden. The column can be one beyond the last.
    pub fn cursor(&self) -> Option<(usize, usize)> {
        self.emulator.terminal().cursor().position()
    }

    /// The visible rows from the top, each as wide as the screen; a character of two columns is one cell.
    pub fn rows(&self) -> impl Iterator<Item = Vec<Cell>> {
        self.emulator.terminal().screen().visible_lines().map(|line| {
            let cells = line.cells().iter().filter(|cell| cell.width() > 0);
            cells
                .map(|cell| Cell { character: printable(cell.char()), width: cell.width(), pen: *cell.pen() })
                .collect()
        })
    }

    /// The visible rows from the top as text without trailing blanks.
    pub fn lines(&self) -> Vec<String> {
        self.rows().map(|row| row.iter().map(|cell| cell.character).collect::<String>().trim_end().to_owned()).collect()
    }
}

/// The text on the screen at a time (microseconds since the start), after all events up to and including it.
pub fn screen_at(recording: &Recording, time_us: i64) -> Vec<String> {
    let mut screen = Screen::new(recording.size);
    recording.events.iter().take_while(|event| event.time_us <= time_us).for_each(|event| screen.apply(event));
    screen.lines()
}

/// The character as it may be written to somebody's terminal: itself, or U+FFFD when it is a control character, breaks
/// lines, or makes text appear in another order than it has.
pub(crate) fn printable(character: char) -> char {
    match character {
        '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ if character.is_control() => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

#[cfg(test)]
pub(crate) mod tests;
