//! Timing files and the files of the streams that they tell of, cut into runs.

use std::io;

use custody_schemas::frame::Code;

use super::finding;
use super::lines::{Bytes, End};
use crate::import::{Finding, UNIT_BYTES, Unit};
use crate::source::timing::{
    ENDED, FILE, FIRST_LINE, Grammar, Line, OUTPUT_BYTES, PREAMBLE_BYTES, REST, TIMING_BYTES, What,
};
use crate::source::{FORM_HEADER, SourceKind};

/// Bound on the lines of a run.
const LINES_MAX: usize = 4096;

/// Bound on a timing line. The longest are commands.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Bound on the bytes that one timing line tells of. Recorders write what one read of the terminal gave.
const PIECE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bound on what a typescript may have after its last piece.
const TRAILER_BYTES_MAX: usize = 1024;

/// A file of bytes.
pub(super) struct Stream {
    /// The streams that go into it, by the names that the timing lines give them.
    pub(super) names: &'static [&'static str],
    /// Its name.
    pub(super) file: String,
    /// `None` when it is not there.
    pub(super) bytes: Option<Bytes>,
    /// Whether it had fewer bytes than the lines tell of.
    pub(super) is_short: bool,
}

/// The files of a recording.
pub(super) struct Runs {
    pub(super) source: SourceKind,
    /// Form of the runs.
    pub(super) form: &'static str,
    pub(super) session_id: String,
    pub(super) grammar: Grammar,
    pub(super) timing_file: String,
    pub(super) timing: Bytes,
    pub(super) streams: Vec<Stream>,
    /// What stands before the first byte that a line tells of, to be put into the first run.
    pub(super) preamble: Vec<u8>,
    /// Whether files may end with a line that no timing line tells of.
    pub(super) has_trailer: bool,
    pub(super) state: State,
}

/// How far the reading is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Number of lines in the runs before.
    pub(super) lines: u64,
    pub(super) output_bytes: u64,
    /// Whether the timing file has been read to its end, or to a line that cannot be read.
    pub(super) timing_ended: bool,
    /// Whether the recording says that it is over: it has an exit status, or a trailer.
    pub(super) has_end: bool,
    pub(super) findings: Vec<Finding>,
}

impl Runs {
    /// The next unit; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit>> {
        if !self.state.timing_ended
            && let Some(unit) = self.run()?
        {
            return Ok(Some(unit));
        }
        self.rest()
    }

    fn unit(&self, form: &str, headers: Vec<(&'static str, String)>, value: Vec<u8>) -> Unit {
        let headers = [(FORM_HEADER, form.to_owned())].into_iter().chain(headers).collect();
        Unit { source: self.source, key: Some(self.session_id.clone()), headers, value }
    }

    fn find(&mut self, kind: &'static str, file: String, detail: impl Into<String>) {
        self.state.findings.push(finding(kind, Some(&file), detail));
    }

    fn find_once(&mut self, kind: &'static str, file: &str, detail: &str) {
        let is_known =
            self.state.findings.iter().any(|known| known.kind == kind && known.file.as_deref() == Some(file));
        if !is_known {
            self.find(kind, file.to_owned(), detail);
        }
    }

    fn run(&mut self) -> io::Result<Option<Unit>> {
        let preamble = std::mem::take(&mut self.preamble);
        let ended: Vec<&str> =
            self.streams.iter().filter(|stream| stream.is_short).flat_map(|stream| stream.names).copied().collect();
        let mut headers = vec![
            (FIRST_LINE, (self.state.lines + 1).to_string()),
            (PREAMBLE_BYTES, preamble.len().to_string()),
            (OUTPUT_BYTES, self.state.output_bytes.to_string()),
        ];
        if !ended.is_empty() {
            headers.push((ENDED, ended.join(",")));
        }
        let (mut timing, mut data) = (Vec::new(), preamble);
        let mut lines = 0;
        while lines < LINES_MAX && timing.len() + data.len() < UNIT_BYTES {
            let start = timing.len();
            let end = self.timing.line(LINE_BYTES_MAX, &mut timing)?;
            let line = timing.get(start..).unwrap_or_default();
            if line.is_empty() {
                self.state.timing_ended = true;
                if self.timing.is_damaged {
                    self.find("Damaged", self.timing_file.clone(), "the gzip is damaged or cut off");
                }
                self.trailer(&mut data)?;
                break;
            }
            lines += 1;
            let line = line.to_vec();
            if !self.line(&line, end, &mut data)? {
                break;
            }
        }
        self.state.lines += lines as u64;
        headers.push((TIMING_BYTES, timing.len().to_string()));
        let value = [timing, data].concat();
        Ok(Some(value).filter(|value| !value.is_empty()).map(|value| self.unit(self.form, headers, value)))
    }

    /// Reads a line, and the bytes that it tells of. `false` when the run has to end after it.
    fn line(&mut self, line: &[u8], end: End, data: &mut Vec<u8>) -> io::Result<bool> {
        let number = self.state.lines;
        let (kind, what) = match line.strip_suffix(b"\n").map(self.grammar) {
            Some(Ok(Line { what: What::Bytes { len, .. }, .. })) if len > PIECE_BYTES_MAX => {
                ("BadTiming", "a line tells of more bytes than a piece may have")
            }
            Some(Ok(Line { what: What::Bytes { stream, code, len }, .. })) => {
                return self.bytes(stream, code, len, data);
            }
            Some(Ok(Line { what: What::Fact { name, .. }, .. })) => {
                self.state.has_end |= name == b"EXIT_CODE";
                return Ok(true);
            }
            Some(Ok(_)) => return Ok(true),
            Some(Err(what)) => ("BadTiming", what),
            None if end == End::Full => ("BadTiming", "a line is too long"),
            None => ("Truncated", "the last line is cut off"),
        };
        self.state.timing_ended = true;
        let detail = format!("{what}, after line {number}; what follows is kept, but not read");
        self.find(kind, self.timing_file.clone(), detail);
        Ok(false)
    }

    fn bytes(&mut self, name: &str, code: Code, len: u64, data: &mut Vec<u8>) -> io::Result<bool> {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.names.contains(&name)) else {
            return Ok(true);
        };
        if stream.is_short {
            return Ok(true);
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let taken = match &mut stream.bytes {
            Some(bytes) => bytes.take(len, data)?,
            None => 0,
        };
        if code == Code::Output {
            self.state.output_bytes += taken as u64;
        }
        if taken == len {
            return Ok(true);
        }
        stream.is_short = true;
        let file = stream.file.clone();
        match &stream.bytes {
            None => self.find("MissingFile", file, "the timing tells of bytes in a file that is not there"),
            Some(bytes) if bytes.is_damaged => self.find("Damaged", file, "the gzip is damaged or cut off"),
            Some(_) => self.find("Truncated", file, "the file ends before what the timing tells of"),
        }
        // From here on the lines of this stream have no bytes, which the next run says.
        Ok(false)
    }

    /// Appends what the files have after their last piece, where it looks like a recorder's last line.
    fn trailer(&mut self, data: &mut Vec<u8>) -> io::Result<()> {
        if !self.has_trailer {
            return Ok(());
        }
        for stream in &mut self.streams {
            let Some(bytes) = &mut stream.bytes else { continue };
            let start = data.len();
            bytes.take(TRAILER_BYTES_MAX, data)?;
            let rest = data.get(start..).unwrap_or_default();
            let is_trailer = rest.len() < TRAILER_BYTES_MAX
                && rest.starts_with(b"\n")
                && !rest.trim_ascii().is_empty()
                && !rest.trim_ascii().contains(&b'\n');
            if is_trailer {
                self.state.has_end = true;
            } else {
                bytes.put_back(data.split_off(start));
            }
        }
        Ok(())
    }

    /// What no line tells of: of the timing file, after a line that cannot be read; then of each stream.
    fn rest(&mut self) -> io::Result<Option<Unit>> {
        let mut value = Vec::new();
        self.timing.take(UNIT_BYTES, &mut value)?;
        if !value.is_empty() {
            return Ok(Some(self.unit(REST, vec![(FILE, self.timing_file.clone())], value)));
        }
        for at in 0..self.streams.len() {
            let Some(stream) = self.streams.get_mut(at) else { break };
            let Some(bytes) = &mut stream.bytes else { continue };
            bytes.take(UNIT_BYTES, &mut value)?;
            let (file, is_damaged) = (stream.file.clone(), bytes.is_damaged);
            // The checksum of a gzip stands at its end, so this may be the first time that it is compared.
            if is_damaged {
                self.find_once("Damaged", &file, "the gzip is damaged or cut off");
            }
            if value.is_empty() {
                continue;
            }
            self.find_once("Untimed", &file, "the file has bytes that no timing line tells of");
            return Ok(Some(self.unit(REST, vec![(FILE, file)], value)));
        }
        Ok(None)
    }
}
