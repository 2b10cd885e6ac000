//! Terminal recordings at rest: the files of asciinema, ttyrec, `script`, `sudo` and tlog.
//!
//! Most of them do not say which session they are of, so whoever opens one says it. The bytes of every file end up in
//! units, the damaged ones too; what is wrong is told by the summary, and by the decoder of the unit that it is in.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Finding;

pub(crate) mod asciicast;
mod lines;
mod run;
pub(crate) mod script;
pub(crate) mod sudo;
pub(crate) mod tlog;
pub(crate) mod ttyrec;

/// How much of a file the formats look at to recognise their own.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;

/// The first bytes of a file.
///
/// # Errors
///
/// Only when the operating system cannot read it.
pub(crate) fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn finding(kind: &'static str, file: Option<&str>, detail: impl Into<String>) -> Finding {
    Finding { kind, file: file.map(str::to_owned), detail: detail.into() }
}

#[cfg(test)]
mod tests;
