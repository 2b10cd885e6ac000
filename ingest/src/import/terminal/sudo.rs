//! I/O logs of `sudo`: a directory for each session.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use custody_schemas::event::Integrity;
use serde::de::IgnoredAny;

use super::finding;
use super::lines::Bytes;
use super::run::{Runs, State, Stream};
use crate::import::{Finding, Reader, Summary, Unit};
use crate::source::sudo::{LOG, LOG_COPY, LOG_JSON, RUN, STREAMS, line};
use crate::source::{FORM_HEADER, SourceKind};

/// Bound on `log` and `log.json`: a command line and an environment.
const LOG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether a directory with these members is an I/O log.
pub(crate) fn recognises(members: &[impl AsRef<str>]) -> bool {
    let has = |name: &str| members.iter().any(|member| member.as_ref() == name);
    has("timing") && (has("log") || has("log.json")) && STREAMS.into_iter().any(has)
}

/// Opens a directory as the recording of a session.
///
/// # Errors
///
/// Only when the operating system cannot read it.
pub(crate) fn open(path: &Path, session_id: &str) -> io::Result<impl Reader + use<>> {
    let mut findings = Vec::new();
    let mut logs = VecDeque::new();
    let unit = |form: &str, value| Unit {
        source: SourceKind::Sudo,
        key: Some(session_id.to_owned()),
        headers: vec![(FORM_HEADER, form.to_owned())],
        value,
    };
    let json = read(&path.join("log.json"), &mut findings)?;
    let is_readable = json.as_deref().is_some_and(|json| serde_json::from_slice::<IgnoredAny>(json).is_ok());
    logs.extend(json.map(|json| unit(LOG_JSON, json)));
    let log = read(&path.join("log"), &mut findings)?;
    logs.extend(log.map(|log| unit(if is_readable { LOG_COPY } else { LOG }, log)));

    let timing = path.join("timing");
    // sudo takes the right to write from this file when the session ends.
    if !std::fs::metadata(&timing)?.permissions().readonly() {
        let detail = "the file can still be written: the session was not over, sudo was older than 1.9.1, or the file \
            was copied without its mode";
        findings.push(finding("NotClosed", Some("timing"), detail));
    }
    let streams = STREAMS
        .iter()
        .map(|name| {
            let bytes = match Bytes::open_gzip(&path.join(name)) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            Ok(Stream { names: std::slice::from_ref(name), file: (*name).to_owned(), bytes, is_short: false })
        })
        .collect::<io::Result<_>>()?;
    Ok(IoLog {
        logs,
        runs: Runs {
            source: SourceKind::Sudo,
            form: RUN,
            session_id: session_id.to_owned(),
            grammar: line,
            timing_file: "timing".to_owned(),
            timing: Bytes::open_gzip(&timing)?,
            streams,
            preamble: Vec::new(),
            has_trailer: false,
            state: State { findings, ..State::default() },
        },
    })
}

/// All of a small file; `None` when it is not there, or empty.
fn read(path: &Path, findings: &mut Vec<Finding>) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = match Bytes::open_gzip(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let file = path.file_name().and_then(|name| name.to_str());
    let mut value = Vec::new();
    if bytes.take(LOG_BYTES_MAX + 1, &mut value)? > LOG_BYTES_MAX {
        value.truncate(LOG_BYTES_MAX);
        findings.push(finding("TooLarge", file, format!("only the first {LOG_BYTES_MAX} bytes are kept")));
    }
    if bytes.is_damaged {
        findings.push(finding("Damaged", file, "the gzip is damaged or cut off"));
    }
    Ok(Some(value).filter(|value| !value.is_empty()))
}

struct IoLog {
    /// `log.json` and `log`.
    logs: VecDeque<Unit>,
    runs: Runs,
}

impl Reader for IoLog {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        match self.logs.pop_front() {
            Some(unit) => Ok(Some(unit)),
            None => self.runs.next(),
        }
    }

    fn summary(&self) -> Summary {
        let findings = self.runs.state.findings.clone();
        let integrity = if findings.is_empty() { Integrity::Complete } else { Integrity::Incomplete };
        Summary {
            session_id: Some(self.runs.session_id.clone()),
            recording_id: None,
            public_key_sha256: None,
            integrity: Some(integrity),
            findings,
        }
    }
}
