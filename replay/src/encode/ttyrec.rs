//! ttyrec: frames of a wall clock time and bytes, and nothing else.
//!
//! It has no place for the size of the terminal, for input, for markers and for the end. Players look for the sequence of
//! xterm that sets the size, so that is what is written, in frames of its own: frames of output have the bytes that were
//! recorded, whether they are UTF-8 or not.

use std::io;

use custody_schemas::frame::Code;

use crate::recording::{Recording, resize};
use crate::size::Size;

/// The latest time that a frame has, in microseconds: in the year 2106.
const AT_MAX: i64 = u32::MAX as i64 * 1_000_000 + 999_999;

/// Writes the output of a recording as ttyrec: a frame for each output, in the order of the recording, and none for an
/// empty one.
///
/// The first frame, and one for each resize that can be read, is `ESC [ 8 ; ROWS ; COLS t`; no other byte is added. Times
/// are those of the wall clock ([`Recording::started_at`]), where it is known, else since the start, as if that were in
/// 1970. Times that 32 bits of seconds do not hold are the first or the last that they do.
///
/// # Errors
///
/// Those of `out`.
pub fn ttyrec(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    let start_at = recording.started_at.unwrap_or(0);
    write_frames(start_at, &sets_size(recording.size), out)?;
    for event in &recording.events {
        let at = start_at.saturating_add(event.time_us);
        match event.code {
            Code::Output => write_frames(at, &event.data, out)?,
            Code::Resize => {
                let sequence = resize(&event.data).map(sets_size);
                write_frames(at, &sequence.unwrap_or_default(), out)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn sets_size(Size { cols, rows }: Size) -> Vec<u8> {
    format!("\x1b[8;{rows};{cols}t").into_bytes()
}

/// Writes bytes as a frame; no frame when there are none, several when one does not hold them.
fn write_frames(at: i64, data: &[u8], out: &mut impl io::Write) -> io::Result<()> {
    let at = at.clamp(0, AT_MAX);
    let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    for part in data.chunks(u32::MAX as usize) {
        out.write_all(&number(at / 1_000_000))?;
        out.write_all(&number(at % 1_000_000))?;
        out.write_all(&number(part.len() as i64))?;
        out.write_all(part)?;
    }
    Ok(())
}
