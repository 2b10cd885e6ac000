//! A file, or a gzip file, read line by line or by number of bytes, in memory that does not depend on what it holds.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// A file is not read beyond this many inflated bytes: a terminal does not show so much.
const INFLATED_BYTES_MAX: u64 = 64 << 30;

/// Bytes of a file, inflated if it is gzip.
pub(super) struct Bytes {
    inner: BufReader<Box<dyn Read + Send>>,
    /// Whether the gzip ended badly.
    pub(super) is_damaged: bool,
}

impl From<Box<dyn Read + Send>> for Bytes {
    fn from(bytes: Box<dyn Read + Send>) -> Self {
        Self { inner: BufReader::with_capacity(64 * 1024, bytes), is_damaged: false }
    }
}

/// How a reading of a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With the line's end, which is among the bytes.
    Line,
    /// With the end of the file; nothing was read if there was nothing left.
    File,
    /// With as many bytes as were allowed.
    Full,
}

impl Bytes {
    /// Opens a file as it is.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file: Box<dyn Read + Send> = Box::new(File::open(path)?);
        Ok(file.into())
    }

    /// Opens a file that its writer may have compressed.
    pub(super) fn open_gzip(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        if !file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            return Self::open(path);
        }
        let inflated: Box<dyn Read + Send> = Box::new(MultiGzDecoder::new(file).take(INFLATED_BYTES_MAX));
        Ok(inflated.into())
    }

    /// Bytes that are there; none at the end, also at the end of what can be inflated.
    fn fill(&mut self) -> io::Result<&[u8]> {
        if self.is_damaged {
            return Ok(&[]);
        }
        // Twice, because the borrow of a buffer that is returned would last over the other arm.
        match self.inner.fill_buf() {
            Ok(_) => self.inner.fill_buf(),
            // Only the operating system's errors have a number; the others are about the gzip.
            Err(error) if error.raw_os_error().is_none() => {
                self.is_damaged = true;
                Ok(&[])
            }
            Err(error) => Err(error),
        }
    }

    /// Appends the next bytes, up to `bytes_max`, and returns their number: less only at the end.
    pub(super) fn take(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes_max {
            let there = self.fill()?;
            let there = there.get(..there.len().min(bytes_max - taken)).unwrap_or_default();
            if there.is_empty() {
                break;
            }
            out.extend_from_slice(there);
            let len = there.len();
            self.inner.consume(len);
            taken += len;
        }
        Ok(taken)
    }

    /// Gives bytes back that were taken last, to be taken again.
    pub(super) fn put_back(&mut self, bytes: Vec<u8>) {
        let empty: Box<dyn Read + Send> = Box::new(io::empty());
        let after = std::mem::replace(&mut self.inner, BufReader::with_capacity(0, empty));
        let again: Box<dyn Read + Send> = Box::new(io::Cursor::new(bytes).chain(after));
        self.inner = BufReader::new(again);
    }

    /// Appends the next line, its end included, or `bytes_max` bytes of it.
    pub(super) fn line(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> io::Result<End> {
        let mut room = bytes_max;
        while room > 0 {
            let there = self.fill()?;
            if there.is_empty() {
                return Ok(End::File);
            }
            let there = there.get(..there.len().min(room)).unwrap_or_default();
            let end = there.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let len = end.unwrap_or(there.len());
            out.extend_from_slice(there.get(..len).unwrap_or_default());
            self.inner.consume(len);
            if end.is_some() {
                return Ok(End::Line);
            }
            room -= len;
        }
        Ok(End::Full)
    }
}
