//! From recorded bytes to a terminal.
//!
//! It has no lines above the screen: a keyframe could not hold them, and what a window shows that grows must not depend on
//! where somebody began to watch.

use avt::parser::{Function, State};
use avt::{Observer, Operation, Parser, Terminal};
use custody_schemas::frame::Code;

use crate::recording::{Timed, resize};
use crate::size::Size;
use crate::utf8::Decoder;

/// So much of a sequence is kept while it is not over, in bytes: more than any that has an effect.
const UNFINISHED_BYTES_MAX: usize = 4096;

/// The terminal with what leads from recorded bytes to it.
pub(crate) struct Emulator {
    terminal: Terminal,
    parser: Parser,
    /// What was read of a sequence that is not over, as far as it matters.
    unfinished: String,
    decoder: Decoder,
    /// Kept for its memory.
    text: String,
}

impl Emulator {
    pub(crate) fn new(size: Size) -> Self {
        let Size { cols, rows } = size.emulated();
        #[expect(clippy::expect_used, reason = "only a size of 0 is refused")]
        let terminal = Terminal::new(cols.into(), rows.into()).expect("an emulated size is at least 1x1");
        Self {
            terminal,
            parser: Parser::new(),
            unfinished: String::new(),
            decoder: Decoder::default(),
            text: String::new(),
        }
    }

    /// A terminal as it was when [`dump`](Self::dump) was asked.
    pub(crate) fn restored(size: Size, dump: &str, tail: &[u8]) -> Self {
        let mut emulator = Self::new(size);
        emulator.text.push_str(dump);
        emulator.feed(());
        emulator.text.clear();
        emulator.decoder.push(tail, &mut emulator.text);
        emulator
    }

    /// Text that makes an empty terminal of this size into this one, and the beginning of a character that is not whole
    /// yet.
    pub(crate) fn dump(&self) -> (String, Vec<u8>) {
        (self.terminal.dump() + &self.unfinished, self.decoder.tail().to_vec())
    }

    /// Whether both show the same now and whatever comes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let screen = |of: &Self| of.terminal.cursor();
        let lines = |of: &Self| of.terminal.screen().visible_lines().cloned().collect::<Vec<_>>();
        screen(self) == screen(other) && self.dump() == other.dump() && lines(self) == lines(other)
    }

    /// Whether it is in the middle of a sequence of which not all is kept. The end of a long string has no effect.
    pub(crate) fn is_lost(&self) -> bool {
        let is_string = matches!(
            self.parser.state,
            State::OscString | State::SosPmApcString | State::DcsPassthrough | State::DcsIgnore
        );
        self.unfinished.len() >= UNFINISHED_BYTES_MAX && !is_string
    }

    /// Number of bytes that were no part of a character, so far.
    pub(crate) fn replaced_bytes(&self) -> u64 {
        self.decoder.replaced()
    }

    pub(crate) fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    pub(crate) fn size(&self) -> Size {
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

    /// As [`apply`](Self::apply), for an observer that needs not be told of every character: of those that are written one
    /// after the other inside of a row, it is told of the first. It is told of each that is written to the first two columns
    /// of a row, or to its last.
    pub(crate) fn apply_in_runs(&mut self, event: &Timed, observer: &mut impl Observer<Output = ()>) {
        if event.code != Code::Output {
            let _ = self.apply(event, observer);
            return;
        }
        self.text.clear();
        self.decoder.push(&event.data, &mut self.text);
        let Self { terminal, parser, unfinished, text, .. } = self;
        let (cols, rows) = terminal.size();
        let most = repeated_most(cols, rows);
        let mut rest = text.chars();
        while !rest.as_str().is_empty() {
            let mut is_run = false;
            let told = std::iter::from_fn(|| {
                if is_run {
                    return None;
                }
                rest.by_ref().find_map(|character| {
                    is_run = parser.state == State::Ground && matches!(character, ' '..='~');
                    operation(parser, unfinished, most, character)
                })
            });
            terminal.execute_with(told, &mut *observer);
            let col = terminal.cursor().col;
            // What was written first may have gone on from the end of a row to this column.
            let room = if col < 2 { 0 } else { cols.saturating_sub(col + 1) };
            let run = rest.as_str().bytes().take(room).take_while(|byte| matches!(byte, b' '..=b'~')).count();
            let (inside, after) = rest.as_str().split_at(if is_run { run } else { 0 });
            terminal.execute(inside.chars().map(Function::Print));
            rest = after.chars();
        }
    }

    /// Shows what is left of a character that the recording's end has cut.
    pub(crate) fn end<O: Observer>(&mut self, observer: O) -> O::Output {
        self.text.clear();
        self.decoder.finish(&mut self.text);
        self.feed(observer)
    }

    fn feed<O: Observer>(&mut self, observer: O) -> O::Output {
        let Self { terminal, parser, unfinished, text, .. } = self;
        let (cols, rows) = terminal.size();
        let most = repeated_most(cols, rows);
        let operations = text.chars().filter_map(|character| operation(parser, unfinished, most, character));
        terminal.execute_with(operations, observer)
    }
}

/// "Repeat the last character 65535 times" is 8 bytes: 1 MB of it would take minutes. No program repeats more than a
/// screenful.
fn repeated_most(cols: usize, rows: usize) -> u16 {
    u16::try_from(cols.saturating_mul(rows)).unwrap_or(u16::MAX)
}

/// What the next character makes a terminal do.
#[inline]
fn operation(parser: &mut Parser, unfinished: &mut String, most: u16, character: char) -> Option<Operation> {
    // By far the most, and what the parser makes of them. To ask it takes as long as what the terminal does with one.
    if parser.state == State::Ground && matches!(character, ' '..='\x7f' | '\u{a0}'..) {
        return Some(Operation::Function(Function::Print(character)));
    }
    match parse(parser, unfinished, character)? {
        Function::Rep(times) => Some(Operation::Function(Function::Rep(times.min(most)))),
        other => Some(Operation::Function(other)),
    }
}

/// The next character, which may end a sequence.
// Of every character is asked what stands before this: inlined, it would be in the way.
#[inline(never)]
fn parse(parser: &mut Parser, unfinished: &mut String, character: char) -> Option<Function> {
    let function = parser.feed(character);
    match (parser.state, character) {
        (State::Ground, _) => unfinished.clear(),
        // It begins here, also where another was not over, and ends that.
        (_, '\x1b' | '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}'..='\u{9f}') => {
            unfinished.clear();
            unfinished.push(character);
        }
        // A control in the middle of a sequence has its effect at once.
        _ if function.is_none() && unfinished.len() < UNFINISHED_BYTES_MAX => unfinished.push(character),
        _ => {}
    }
    function
}

#[cfg(test)]
mod tests {
    use avt::Terminal;
    use proptest::prelude::*;

    use super::*;

    /// Characters of every kind that a parser tells apart, and the beginnings of sequences.
    fn output() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            "[ -~]{1,6}",
            "[\u{0}-\u{1f}\u{7f}-\u{a1}]{1,2}",
            "[界é\u{301}\u{ff1a}🦀\u{e000}]",
            Just("\x1b[".to_owned()),
            Just("\x1b]0;".to_owned()),
            Just("\x1bP".to_owned()),
            Just("\x1b(0".to_owned()),
            "\x1b\\[[0-9;]{0,5}[A-Za-z]",
        ];
        prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn it_shows_what_the_terminal_shows_that_parses_every_character(outputs in prop::collection::vec(output(), 1..4)) {
            let mut emulator = Emulator::new(Size { cols: 12, rows: 4 });
            let mut parser = Parser::new();
            let mut plain = Terminal::new(12, 4).unwrap();
            for output in outputs {
                let event = Timed { time_us: 0, at: None, code: Code::Output, data: output.clone().into_bytes() };
                emulator.apply(&event, ());
                let functions = output.chars().filter_map(|character| parser.feed(character));
                plain.execute(functions.map(|function| match function {
                    Function::Rep(times) => Function::Rep(times.min(48)),
                    other => other,
                }));
                prop_assert_eq!(emulator.parser.state, parser.state);
                prop_assert_eq!(emulator.terminal.cursor(), plain.cursor());
                prop_assert_eq!(emulator.terminal.dump(), plain.dump());
                let lines = |of: &Terminal| of.screen().visible_lines().cloned().collect::<Vec<_>>();
                prop_assert_eq!(lines(&emulator.terminal), lines(&plain));
            }
        }
    }
}
