//! What a terminal showed.

use avt::parser::Function;
use avt::{Observer, Operation, Parser, Pen, Terminal};
use custody_schemas::frame::Code;

use crate::recording::{Recording, Timed, resize};
use crate::size::Size;
use crate::utf8::Decoder;

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
        self.emulator.terminal.cursor().position()
    }

    /// The visible rows from the top, each as wide as the screen; a character of two columns is one cell.
    pub fn rows(&self) -> impl Iterator<Item = Vec<Cell>> {
        self.emulator.terminal.screen().visible_lines().map(|line| {
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

/// The terminal with what leads from recorded bytes to it.
pub(crate) struct Emulator {
    terminal: Terminal,
    parser: Parser,
    decoder: Decoder,
    /// Kept for its memory.
    text: String,
}

impl Emulator {
    pub(crate) fn new(size: Size) -> Self {
        let Size { cols, rows } = size.emulated();
        #[expect(clippy::expect_used, reason = "only a size of 0 is refused")]
        let terminal = Terminal::new(cols.into(), rows.into()).expect("an emulated size is at least 1x1");
        Self { terminal, parser: Parser::new(), decoder: Decoder::default(), text: String::new() }
    }

    pub(crate) fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    fn size(&self) -> Size {
        let (cols, rows) = self.terminal.size();
        let within = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Size { cols: within(cols), rows: within(rows) }
    }

    /// Applies an event; `None` when it has no effect on a terminal.
    pub(crate) fn apply<O: Observer>(&mut self, event: &Timed, observer: O) -> Option<O::Output> {
        match event.code {
            Code::Output => {
                self.text.clear();
                self.decoder.push(&event.data, &mut self.text);
                Some(self.feed(observer))
            }
            Code::Resize => {
                let Size { cols, rows } = resize(&event.data)?.emulated();
                Some(self.terminal.resize_with(cols.into(), rows.into(), observer))
            }
            _ => None,
        }
    }

    /// Shows what is left of a character that the recording's end has cut.
    pub(crate) fn end<O: Observer>(&mut self, observer: O) -> O::Output {
        self.text.clear();
        self.decoder.finish(&mut self.text);
        self.feed(observer)
    }

    fn feed<O: Observer>(&mut self, observer: O) -> O::Output {
        let Self { terminal, parser, text, .. } = self;
        let (cols, rows) = terminal.size();
        // "Repeat the last character 65535 times" is 8 bytes: 1 MB of it would take minutes. No program repeats more
        // than a screenful.
        let most = u16::try_from(cols.saturating_mul(rows)).unwrap_or(u16::MAX);
        let functions = text.chars().filter_map(|character| parser.feed(character));
        let operations = functions.map(|function| match function {
            Function::Rep(times) => Operation::Function(Function::Rep(times.min(most))),
            other => Operation::Function(other),
        });
        terminal.execute_with(operations, observer)
    }
}

#[cfg(test)]
pub(crate) mod tests;
