//! A bag (`BagIt`, RFC 8493) in a zip: files, their SHA-256, and what the bag says about itself.
//!
//! The same files give the same bytes: every entry has one fixed time and mode, and the order is the caller's.

use std::fmt::Write as _;
use std::io::{self, Seek, Write};

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{Datelike, Timelike};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::{EvidenceError, File, words};
use crate::text;
use custody_schemas::time::Micros;

/// A bag that is being filled.
pub(super) struct Bag<W: Write + Seek> {
    zip: ZipWriter<W>,
    options: SimpleFileOptions,
    payload: Vec<File>,
}

impl<W: Write + Seek> Bag<W> {
    /// An empty bag whose files all seem to be of one time.
    pub(super) fn new(out: W, modified: Micros) -> Self {
        let options = SimpleFileOptions::DEFAULT
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(dos_time(modified))
            .unix_permissions(0o644)
            // A population may pass 4 GiB, which nobody knows before it is written.
            .large_file(true);
        Self { zip: ZipWriter::new(out), options, payload: Vec::new() }
    }

    /// Adds a file of the payload, `data/…`, as it is written; `write` says how many rows it has.
    pub(super) fn add(
        &mut self,
        path: String,
        write: impl FnOnce(&mut dyn Write) -> Result<Option<u64>, EvidenceError>,
    ) -> Result<(), EvidenceError> {
        let file = self.write(path, write)?;
        self.payload.push(file);
        Ok(())
    }

    /// What the payload is so far.
    pub(super) fn payload(&self) -> &[File] {
        &self.payload
    }

    /// Adds the tag files, which hold what is said about the payload, and closes the bag.
    pub(super) fn finish(
        mut self,
        info: &[(&str, String)],
        tags: Vec<(&str, Vec<u8>)>,
    ) -> Result<Vec<File>, EvidenceError> {
        let mut about = String::new();
        for (label, value) in info {
            // One line each: a line break in a value would be the next label.
            _ = writeln!(about, "{label}: {}", text::visible(value));
        }
        let bytes: u64 = self.payload.iter().map(|file| file.bytes).sum();
        _ = writeln!(about, "Payload-Oxum: {bytes}.{}", self.payload.len());
        let mut tags = tags;
        tags.push(("bagit.txt", b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n".to_vec()));
        tags.push(("bag-info.txt", about.into_bytes()));
        tags.push(("manifest-sha256.txt", manifest(&self.payload)));
        tags.sort_unstable();

        let mut written = Vec::with_capacity(tags.len());
        for (path, content) in tags {
            written.push(self.write(path.to_owned(), |out| Ok(out.write_all(&content).map(|()| None)?))?);
        }
        let tagged = manifest(&written);
        written
            .push(self.write("tagmanifest-sha256.txt".to_owned(), |out| Ok(out.write_all(&tagged).map(|()| None)?))?);
        self.zip.finish()?.flush()?;
        self.payload.append(&mut written);
        Ok(self.payload)
    }

    fn write(
        &mut self,
        path: String,
        write: impl FnOnce(&mut dyn Write) -> Result<Option<u64>, EvidenceError>,
    ) -> Result<File, EvidenceError> {
        self.zip.start_file(path.as_str(), self.options)?;
        let mut out = Hashed { out: &mut self.zip, sha256: Context::new(&SHA256), bytes: 0 };
        let rows = write(&mut out)?;
        Ok(File { path, sha256: hex(out.sha256.finish().as_ref()), bytes: out.bytes, rows })
    }
}

/// Lines that `sha256sum -c` reads.
fn manifest(files: &[File]) -> Vec<u8> {
    files.iter().flat_map(|file| format!("{}  {}\n", file.sha256, file.path).into_bytes()).collect()
}

/// Hashes and counts what goes through.
struct Hashed<W> {
    out: W,
    sha256: Context,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        let passed = bytes.get(..taken).unwrap_or(bytes);
        self.sha256.update(passed);
        self.bytes += passed.len() as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The nearest instant that a zip can hold: 1980 to 2107, even seconds.
fn dos_time(at: Micros) -> DateTime {
    let parts = words::instant(at).and_then(|at| {
        let part = |part: u32| u8::try_from(part).ok();
        let (month, day, hour) = (part(at.month())?, part(at.day())?, part(at.hour())?);
        let year = u16::try_from(at.year()).ok()?;
        DateTime::from_date_and_time(year, month, day, hour, part(at.minute())?, part(at.second())?).ok()
    });
    parts.unwrap_or(DateTime::DEFAULT)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_a_zip_cannot_hold_is_its_first() {
        assert_eq!(dos_time(1_794_614_401_000_000).to_string(), "2026-11-14 00:00:00");
        assert_eq!(dos_time(-1).to_string(), "1980-01-01 00:00:00");
        assert_eq!(dos_time(i64::MAX).to_string(), "1980-01-01 00:00:00");
    }
}
