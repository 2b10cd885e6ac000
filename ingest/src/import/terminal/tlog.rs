//! Messages of tlog in a file: one a line, or in a journal as `journalctl -o export` writes it.
//!
//! A file may hold the messages of several recordings, and of anything else that a journal holds, which is passed over.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use custody_schemas::event::Integrity;
use serde::Deserialize;

use super::finding;
use super::lines::{Bytes, End};
use crate::import::{Finding, Reader, Summary, UNIT_BYTES, Unit};
use crate::source::SourceKind;

/// Bound on a message. tlog's own default is 2 KB of text.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bound on the lines of one unit.
const LINES_MAX: usize = 4096;

/// Bound on the recordings whose gaps are looked for, and on the gaps of each.
const RECORDINGS_MAX: usize = 10_000;
const GAPS_MAX: usize = 1000;

/// How a journal export begins: with the position of its first entry.
const JOURNAL: &[u8] = b"__CURSOR=";

/// Whether a file that begins like this holds messages of tlog, or is a journal that may.
pub(crate) fn recognises(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    head.starts_with(JOURNAL) || Place::of(line).is_some()
}

/// Opens a file. The messages name their sessions themselves.
///
/// # Errors
///
/// Only when the operating system cannot read it.
pub(crate) fn open(path: &Path) -> io::Result<impl Reader + use<>> {
    let is_journal = super::head(path)?.starts_with(JOURNAL);
    Ok(Messages {
        bytes: Bytes::open(path)?,
        is_journal,
        ahead: None,
        recordings: BTreeMap::new(),
        findings: Vec::new(),
    })
}

/// What a message says of its place.
#[derive(Debug, Deserialize)]
struct Place {
    rec: String,
    id: i64,
    #[serde(rename = "timing")]
    _timing: String,
}

impl Place {
    fn of(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// Which messages of a recording have been seen.
#[derive(Debug)]
struct Seen {
    /// The `id` after the largest.
    next: i64,
    /// Those that are missing before it: the first and the one after the last of each gap.
    gaps: BTreeMap<i64, i64>,
}

impl Seen {
    fn note(&mut self, id: i64) {
        if id >= self.next {
            if id > self.next && self.gaps.len() < GAPS_MAX {
                self.gaps.insert(self.next, id);
            }
            self.next = id.saturating_add(1);
            return;
        }
        // A journal may be out of order.
        let Some((from, to)) = self.gaps.range(..=id).next_back().map(|(from, to)| (*from, *to)) else { return };
        if id < to {
            self.gaps.remove(&from);
            if from < id {
                self.gaps.insert(from, id);
            }
            if id + 1 < to {
                self.gaps.insert(id + 1, to);
            }
        }
    }
}

struct Messages {
    bytes: Bytes,
    is_journal: bool,
    /// A line of another recording than those before it.
    ahead: Option<(Option<String>, Vec<u8>)>,
    recordings: BTreeMap<String, Seen>,
    findings: Vec<Finding>,
}

impl Messages {
    /// Notes a message; the recording that it is of.
    fn note(&mut self, json: &[u8]) -> Option<String> {
        let Place { rec, id, .. } = Place::of(json)?;
        if self.recordings.len() < RECORDINGS_MAX || self.recordings.contains_key(&rec) {
            self.recordings.entry(rec.clone()).or_insert(Seen { next: 1, gaps: BTreeMap::new() }).note(id);
        }
        Some(rec)
    }

    fn lines(&mut self) -> io::Result<Option<Unit>> {
        let (mut key, mut value) = (None, Vec::new());
        let mut lines = 0;
        while lines < LINES_MAX && value.len() < UNIT_BYTES {
            let (rec, line) = match self.ahead.take() {
                Some(ahead) => ahead,
                None => {
                    let mut line = Vec::new();
                    if self.bytes.line(MESSAGE_BYTES_MAX, &mut line)? == End::Full {
                        self.findings.push(finding("TooLarge", None, "a line is longer than a message can be"));
                    }
                    let rec = self.note(&line);
                    (rec, line)
                }
            };
            if line.is_empty() {
                break;
            }
            if lines > 0 && rec != key {
                self.ahead = Some((rec, line));
                break;
            }
            key = rec;
            value.extend_from_slice(&line);
            lines += 1;
        }
        let unit = Unit { source: SourceKind::Tlog, key, headers: Vec::new(), value };
        Ok(Some(unit).filter(|unit| !unit.value.is_empty()))
    }

    /// The next entry of a journal that is a message of tlog.
    fn entry(&mut self) -> io::Result<Option<Unit>> {
        while let Some(value) = self.field(b"MESSAGE")? {
            if let Some(rec) = self.note(&value) {
                return Ok(Some(Unit { source: SourceKind::Tlog, key: Some(rec), headers: Vec::new(), value }));
            }
        }
        Ok(None)
    }

    /// The value of the next field of a name. A field is a line `NAME=VALUE`; where the value has line ends or other
    /// control characters it is a line `NAME`, the value's length in 8 bytes, the value, and a line end.
    fn field(&mut self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let end = self.bytes.line(MESSAGE_BYTES_MAX, &mut line)?;
            if line.is_empty() {
                return Ok(None);
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            if end == End::Full {
                self.findings.push(finding("TooLarge", None, "a field is longer than a message can be"));
                while self.bytes.line(UNIT_BYTES, &mut Vec::new())? == End::Full {}
            } else if let Some(at) = text.iter().position(|byte| *byte == b'=') {
                if text.get(..at) == Some(name) {
                    return Ok(text.get(at + 1..).map(<[u8]>::to_vec));
                }
            } else if !text.is_empty() {
                let value = self.binary()?;
                if text == name && value.is_some() {
                    return Ok(value);
                }
            }
        }
    }

    /// A value with its length before it; `None` when it is too long, or cut off.
    fn binary(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut len = Vec::new();
        self.bytes.take(8, &mut len)?;
        let Some(len) = len.first_chunk().map(|len| u64::from_le_bytes(*len)) else {
            self.findings.push(finding("Truncated", None, "a field of the journal is cut off"));
            return Ok(None);
        };
        let mut value = Vec::new();
        let mut left = len;
        while left > 0 {
            if len > MESSAGE_BYTES_MAX as u64 {
                value.clear();
            }
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(UNIT_BYTES);
            let taken = self.bytes.take(part, &mut value)?;
            left -= taken as u64;
            if taken < part {
                self.findings.push(finding("Truncated", None, "a field of the journal is cut off"));
                return Ok(None);
            }
        }
        self.bytes.take(1, &mut Vec::new())?;
        if len > MESSAGE_BYTES_MAX as u64 {
            self.findings.push(finding("TooLarge", None, "a field is longer than a message can be"));
            return Ok(None);
        }
        Ok(Some(value))
    }
}

impl Reader for Messages {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        if self.is_journal { self.entry() } else { self.lines() }
    }

    fn summary(&self) -> Summary {
        let mut findings = self.findings.clone();
        for (rec, seen) in &self.recordings {
            findings.extend(seen.gaps.iter().map(|(from, to)| {
                finding("Gap", None, format!("messages {from} to {} of recording {rec} are missing", to - 1))
            }));
        }
        let mut sessions = self.recordings.keys();
        Summary {
            session_id: sessions.next().filter(|_| sessions.next().is_none()).cloned(),
            recording_id: None,
            public_key_sha256: None,
            // A recording has no end: where nothing is wrong nobody knows whether something is missing.
            integrity: (!findings.is_empty()).then_some(Integrity::Incomplete),
            findings,
        }
    }
}
