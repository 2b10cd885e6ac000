//! The bytes of the terminal.

use std::io;

use custody_schemas::frame::Code;

use crate::recording::Recording;

/// Writes the output of a recording, byte for byte and nothing else. Of a part of a recording it is the output of that
/// time, without the screen that was there at its beginning.
///
/// # Errors
///
/// Those of `out`.
pub fn raw(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    let outputs = recording.recorded().iter().filter(|event| event.code == Code::Output);
    outputs.map(|event| &event.data).try_for_each(|data| out.write_all(data))
}
