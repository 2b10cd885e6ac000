//! Output that keeps no browser busy for minutes.

use std::fmt::Write as _;

use avt::Parser;
use avt::parser::{Function, State};

use crate::size::Size;

/// So much of a sequence that is not over is held back, in bytes.
const HELD_BYTES_MAX: usize = 4096;

/// Rewrites "repeat the last character" where it asks for more than a screenful, as our own emulator reads it: "65535
/// times" is 8 bytes, and the player obeys.
#[derive(Default)]
pub(crate) struct Tame {
    parser: Parser,
    /// The sequence that is not over.
    held: String,
}

impl Tame {
    /// The text for a terminal of this size. A sequence that is cut goes with the text that ends it.
    pub(crate) fn tamed(&mut self, text: &str, size: Size) -> String {
        let most = u16::try_from(usize::from(size.cols) * usize::from(size.rows)).unwrap_or(u16::MAX);
        let mut tamed = String::with_capacity(text.len());
        for character in text.chars() {
            let function = self.parser.feed(character);
            let is_over = self.parser.state == State::Ground;
            match function {
                Some(Function::Rep(times)) if times > most => {
                    self.held.clear();
                    _ = write!(tamed, "\x1b[{most}b");
                }
                // A control in the middle of a sequence has its effect at once.
                Some(_) if !is_over => tamed.push(character),
                _ => self.held.push(character),
            }
            // What is not over by then is nothing that repeats, and if it is, a new sequence takes its place.
            if is_over || self.held.len() >= HELD_BYTES_MAX {
                tamed.push_str(&self.held);
                self.held.clear();
            }
        }
        tamed
    }
}
