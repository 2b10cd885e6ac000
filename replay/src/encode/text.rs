//! Plain text.

use std::io;

use avt::observer::Transcript;

use crate::emulator::Emulator;
use crate::recording::Recording;
use crate::screen::printable;

/// Writes the transcript of a recording: what was on the primary screen, as lines, each written once.
///
/// Lines that the terminal wrapped are joined. The alternate screen (editors, pagers) is not in it. Characters that
/// would act on the reader's terminal become U+FFFD.
///
/// # Errors
///
/// Those of `out`.
pub fn text(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    let mut emulator = Emulator::new(recording.size);
    let mut transcript = Transcript::new();
    for event in &recording.events {
        write_lines(emulator.apply(event, &mut transcript).unwrap_or_default(), out)?;
    }
    write_lines(emulator.end(&mut transcript), out)?;
    write_lines(transcript.finish(emulator.terminal()), out)
}

fn write_lines(lines: Vec<String>, out: &mut impl io::Write) -> io::Result<()> {
    for line in lines {
        let line: String = line.chars().map(printable).collect();
        writeln!(out, "{line}")?;
    }
    Ok(())
}
