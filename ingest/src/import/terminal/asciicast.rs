//! Files of asciinema: asciicast versions 1, 2 and 3.
//!
//! Versions 2 and 3 are lines: a unit is a run of whole ones, comments and broken ones included. Version 1 is one JSON
//! document, and one unit.

use std::fmt;
use std::io;
use std::path::Path;

use custody_replay::line::{Line, parse_line};
use custody_schemas::event::Integrity;
use custody_schemas::frame::Code;
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::finding;
use super::lines::{Bytes, End};
use crate::import::{Finding, Reader, Summary, UNIT_BYTES, Unit};
use crate::source::asciicast::{LINE_PART, LINES_MAX, VERSION_1};
use crate::source::{FORM_HEADER, SourceKind};

/// Bound on a file of version 1, which has to be read in one piece.
pub(crate) const VERSION_1_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bound on a line. A longer one is cut into units that are not decoded.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether a file that begins like this is an asciicast, of any version that is read.
pub(crate) fn recognises(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    matches!(parse_line(line), Ok(Line::Header { .. })) || is_version_1(head)
}

/// Whether a document that begins like this is of version 1: as far as it goes, it says so, or has a list of outputs.
fn is_version_1(head: &[u8]) -> bool {
    struct Fields<'f> {
        version: &'f mut Option<u64>,
        has_stdout: &'f mut bool,
    }

    impl<'de> Visitor<'de> for Fields<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(name) = map.next_key::<String>()? {
                match name.as_str() {
                    "version" => *self.version = Some(map.next_value()?),
                    name => {
                        *self.has_stdout |= name == "stdout";
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Ok(())
        }
    }

    let (mut version, mut has_stdout) = (None, false);
    // The head may end anywhere; what was read up to there counts.
    let fields = Fields { version: &mut version, has_stdout: &mut has_stdout };
    let _ = serde_json::Deserializer::from_slice(head).deserialize_map(fields);
    version.map_or(has_stdout, |version| version == 1)
}

/// Opens a file as the recording of a session.
///
/// # Errors
///
/// Only when the operating system cannot read it.
pub(crate) fn open(path: &Path, session_id: &str) -> io::Result<impl Reader + use<>> {
    let head = super::head(path)?;
    let is_version_1 =
        !matches!(parse_line(head.split(|byte| *byte == b'\n').next().unwrap_or_default()), Ok(Line::Header { .. }))
            && is_version_1(&head);
    Ok(Cast {
        bytes: Bytes::open(path)?,
        session_id: session_id.to_owned(),
        is_version_1,
        ahead: None,
        is_inside_line: false,
        ended: false,
        has_exit: false,
        findings: Vec::new(),
    })
}

struct Cast {
    bytes: Bytes,
    session_id: String,
    is_version_1: bool,
    /// A part of a line that is too long, to be given next.
    ahead: Option<Vec<u8>>,
    /// The line before the next bytes was longer than allowed, and goes on.
    is_inside_line: bool,
    ended: bool,
    has_exit: bool,
    findings: Vec<Finding>,
}

impl Cast {
    fn unit(&self, form: Option<&str>, value: Vec<u8>) -> Unit {
        let headers = form.map(|form| (FORM_HEADER, form.to_owned())).into_iter().collect();
        Unit { source: SourceKind::Asciicast, key: Some(self.session_id.clone()), headers, value }
    }

    fn document(&mut self) -> io::Result<Option<Unit>> {
        self.ended = true;
        let mut value = Vec::new();
        self.bytes.take(VERSION_1_BYTES_MAX + 1, &mut value)?;
        if value.len() > VERSION_1_BYTES_MAX {
            let detail = format!("an asciicast of version 1 of more than {VERSION_1_BYTES_MAX} bytes is not read");
            self.findings.push(finding("TooLarge", None, detail));
            return Ok(None);
        }
        self.has_exit = value.trim_ascii_end().ends_with(b"}");
        if !self.has_exit {
            self.findings.push(finding("Truncated", None, "the document has no end"));
        }
        Ok(Some(self.unit(Some(VERSION_1), value)))
    }

    /// A part of a line that is too long.
    fn line_part(&mut self, value: Vec<u8>, end: End) -> Unit {
        self.is_inside_line = end == End::Full;
        self.unit(Some(LINE_PART), value)
    }
}

impl Reader for Cast {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        if self.is_version_1 {
            return if self.ended { Ok(None) } else { self.document() };
        }
        if self.is_inside_line {
            let mut part = Vec::new();
            let end = self.bytes.line(LINE_BYTES_MAX, &mut part)?;
            return Ok(Some(self.line_part(part, end)).filter(|unit| !unit.value.is_empty()));
        }
        if let Some(part) = self.ahead.take() {
            return Ok(Some(self.line_part(part, End::Full)));
        }
        let mut value = Vec::new();
        let mut lines = 0;
        while lines < LINES_MAX && value.len() < UNIT_BYTES {
            let mut line = Vec::new();
            if self.bytes.line(LINE_BYTES_MAX, &mut line)? == End::Full {
                let detail = format!("a line of more than {LINE_BYTES_MAX} bytes is kept, but not read");
                self.findings.push(finding("TooLarge", None, detail));
                if value.is_empty() {
                    return Ok(Some(self.line_part(line, End::Full)));
                }
                self.ahead = Some(line);
                break;
            }
            if line.is_empty() {
                break;
            }
            self.has_exit |= matches!(parse_line(&line), Ok(Line::Event { code: Code::Exit, .. }));
            lines += 1;
            value.extend_from_slice(&line);
        }
        Ok(Some(self.unit(None, value)).filter(|unit| !unit.value.is_empty()))
    }

    fn summary(&self) -> Summary {
        let integrity = match (self.findings.is_empty(), self.has_exit) {
            (false, _) => Some(Integrity::Incomplete),
            (true, true) => Some(Integrity::Complete),
            // Version 2 has no end: nobody knows whether one is missing.
            (true, false) => None,
        };
        Summary {
            session_id: Some(self.session_id.clone()),
            recording_id: None,
            public_key_sha256: None,
            integrity,
            findings: self.findings.clone(),
        }
    }
}
