//! Recordings whose output stands apart from their events, as Teleport wrote them until version 4.3 and as its web
//! interface served them: the events as JSON, in which a print says how many bytes it showed and how many were shown
//! before, and the bytes.
//!
//! They lie in a tar as `<session>-0.events.gz` and `<session>-0.chunks.gz`, or as two files side by side.
//!
//! A unit is a run of events, each as it stood, one a line, and after them the bytes of output that its prints tell of.
//! Two headers say where the output begins, in the unit and in the recording. Output that no print tells of makes units
//! without events.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use custody_schemas::event::Integrity;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::super::{Finding, Reader, Summary, UNIT_BYTES, Unit};
use super::{Positions, is_damage, is_uuid, tell};
use crate::source::teleport::recording::RECORD_BYTES_MAX;
use crate::source::teleport::{EVENTS_BYTES_HEADER, OUTPUT_FROM_HEADER, PLAYBACK};
use crate::source::{FORM_HEADER, SourceKind};

/// Bound on the files in one tar. There are as many as the events and the output were split into, which was seldom.
const FILES_MAX: usize = 1000;

type Source = Box<dyn Read + Send>;

/// Whether a file begins like such a tar: with a file that is named after a session.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let name = head.get(..100).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
    head.len() >= 263 && std::str::from_utf8(name).is_ok_and(|name| Member::of(name).is_some())
}

/// A file of the tar.
struct Member {
    session_id: String,
    what: What,
    /// Where its events or its output begin in the recording.
    from: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Events,
    /// What the kernel told of programs, files and connections.
    OtherEvents,
    Output,
    /// The list of the files.
    Index,
}

impl Member {
    /// The file of a name: `<session>.index`, `<session>-<from>.events.gz`, `….chunks.gz`, `….command-events.gz`.
    fn of(name: &str) -> Option<Self> {
        let name = name.rsplit('/').next().unwrap_or(name);
        let (session_id, rest) = name.split_at_checked(36)?;
        let member = |what, from| is_uuid(session_id).then(|| Self { session_id: session_id.to_owned(), what, from });
        if rest == ".index" {
            return member(What::Index, 0);
        }
        let (from, kind) = rest.strip_prefix('-')?.split_once('.')?;
        let what = match kind {
            "events.gz" => What::Events,
            "chunks.gz" => What::Output,
            kind if kind.ends_with("-events.gz") => What::OtherEvents,
            _ => return None,
        };
        member(what, from.parse().ok()?)
    }
}

pub(super) fn open_pair(events: &Path, output: &Path) -> io::Result<Playback> {
    let events: Source = Box::new(File::open(events)?);
    let output: Source = Box::new(File::open(output)?);
    Ok(Playback::new(None, vec![events], output))
}

pub(super) fn open_tar(path: &Path) -> io::Result<Playback> {
    let mut members = Vec::new();
    let mut finding = None;
    let mut archive = tar::Archive::new(BufReader::new(File::open(path)?));
    for entry in archive.entries()? {
        match entry {
            Ok(_) if members.len() == FILES_MAX => {
                finding = Some(("Corrupt", format!("more than {FILES_MAX} files")));
                break;
            }
            Ok(entry) => {
                let member = entry.path().ok().and_then(|path| Member::of(path.to_str()?));
                members.extend(member.map(|member| (member, entry.raw_file_position(), entry.size())));
            }
            Err(error) if is_damage(&error) => {
                finding = Some(("Truncated", "the tar is cut off".to_owned()));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    members.sort_by_key(|(member, ..)| (member.what, member.from));
    let session_id = members.first().map(|(member, ..)| member.session_id.clone());
    let (mut events, mut output) = (Vec::<Source>::new(), Vec::new());
    for (member, position, size) in members {
        match member.what {
            What::Events | What::OtherEvents => events.push(Box::new(Inflated::new(path, vec![(position, size)]))),
            What::Output => output.push((position, size)),
            What::Index => {}
        }
    }
    let mut playback = Playback::new(session_id, events, Box::new(Inflated::new(path, output)));
    if let Some((kind, detail)) = finding {
        tell(&mut playback.findings, kind, detail);
    }
    Ok(playback)
}

/// Files of a tar that were compressed each by itself, inflated one after the other. Each is opened when its turn comes.
struct Inflated {
    path: PathBuf,
    /// Where each begins in the tar, and its length.
    rest: std::vec::IntoIter<(u64, u64)>,
    current: Option<MultiGzDecoder<Take<File>>>,
}

impl Inflated {
    fn new(path: &Path, members: Vec<(u64, u64)>) -> Self {
        Self { path: path.to_owned(), rest: members.into_iter(), current: None }
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &mut self.current {
                let len = current.read(buffer)?;
                if len > 0 || buffer.is_empty() {
                    return Ok(len);
                }
            }
            let Some((position, size)) = self.rest.next() else { return Ok(0) };
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(position))?;
            self.current = Some(MultiGzDecoder::new(file.take(size)));
        }
    }
}

/// What the reader has to know of an event.
#[derive(Debug, Default, Deserialize)]
struct Head {
    event: Option<String>,
    sid: Option<String>,
    ei: Option<i64>,
    bytes: Option<u64>,
    offset: Option<u64>,
}

/// Reads the events one by one, with the output that each tells of.
pub(super) struct Playback {
    session_id: Option<String>,
    /// The files of events that are still to be read, the next one last.
    events: Vec<BufReader<Source>>,
    /// Lists that have begun and not ended, in the file of events that is being read.
    lists: usize,
    output: Source,
    /// How much of the output has been read.
    position: u64,
    /// An event that did not fit into the unit before.
    pending: Option<(Vec<u8>, Head)>,
    unit: Vec<u8>,
    unit_output: Vec<u8>,
    unit_from: u64,
    positions: Positions,
    orphaned: u64,
    has_end: bool,
    findings: Vec<Finding>,
}

impl Playback {
    fn new(session_id: Option<String>, events: Vec<Source>, output: Source) -> Self {
        Self {
            session_id,
            events: events.into_iter().rev().map(BufReader::new).collect(),
            lists: 0,
            output,
            position: 0,
            pending: None,
            unit: Vec::new(),
            unit_output: Vec::new(),
            unit_from: 0,
            positions: Positions::default(),
            orphaned: 0,
            has_end: false,
            findings: Vec::new(),
        }
    }

    /// The next event as it stands.
    fn next_event(&mut self) -> io::Result<Option<(Vec<u8>, Head)>> {
        if self.pending.is_some() {
            return Ok(self.pending.take());
        }
        while let Some(source) = self.events.last_mut() {
            match next_object(source, &mut self.lists) {
                Ok(Some(object)) => {
                    let head: Head = serde_json::from_slice(&object).unwrap_or_default();
                    if let Some(position) = head.ei {
                        self.positions.see(position);
                    }
                    self.has_end |= head.event.as_deref() == Some("session.end");
                    if self.session_id.is_none() {
                        self.session_id.clone_from(&head.sid);
                    }
                    return Ok(Some((object, head)));
                }
                Ok(None) => drop(self.events.pop()),
                Err(error) if is_damage(&error) => {
                    tell(&mut self.findings, "Truncated", format!("the events are cut off or damaged: {error}"));
                    self.lists = 0;
                    self.events.pop();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads output; what of it could not be read has been told.
    fn read_output(&mut self, len: u64, to_unit: bool) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.output.by_ref().take(len).read_to_end(&mut bytes) {
            Err(error) if is_damage(&error) => {
                tell(&mut self.findings, "Corrupt", "the output is damaged");
                self.output = Box::new(io::empty());
            }
            other => drop(other?),
        }
        self.position += bytes.len() as u64;
        if to_unit {
            self.unit_output.extend_from_slice(&bytes);
        }
        Ok(bytes)
    }

    fn unit(&self, events: Vec<u8>, output: &[u8], from: u64) -> Unit {
        let headers = vec![
            (FORM_HEADER, PLAYBACK.to_owned()),
            (EVENTS_BYTES_HEADER, events.len().to_string()),
            (OUTPUT_FROM_HEADER, from.to_string()),
        ];
        let mut value = events;
        value.extend_from_slice(output);
        Unit { source: SourceKind::Teleport, key: self.session_id.clone(), headers, value }
    }

    fn take_unit(&mut self) -> Unit {
        let (events, output) = (std::mem::take(&mut self.unit), std::mem::take(&mut self.unit_output));
        self.unit(events, &output, self.unit_from)
    }

    /// The next output, up to a position, that no print tells of.
    fn take_orphan(&mut self, until: u64) -> io::Result<Option<Unit>> {
        let from = self.position;
        let output = self.read_output(until.saturating_sub(from).min(UNIT_BYTES as u64), false)?;
        self.orphaned += output.len() as u64;
        Ok((!output.is_empty()).then(|| self.unit(Vec::new(), &output, from)))
    }
}

impl Reader for Playback {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        while let Some((event, head)) = self.next_event()? {
            let is_print = head.event.as_deref() == Some("print");
            let shown = match (head.offset, head.bytes) {
                (Some(offset), Some(bytes)) if is_print && bytes <= RECORD_BYTES_MAX as u64 => Some((offset, bytes)),
                _ => None,
            };
            let skips = shown.is_some_and(|(offset, _)| offset > self.position);
            let grown =
                self.unit.len() + self.unit_output.len() + event.len() + shown.map_or(0, |(_, len)| len as usize);
            if !self.unit.is_empty() && (skips || grown >= UNIT_BYTES) {
                self.pending = Some((event, head));
                return Ok(Some(self.take_unit()));
            }
            if let Some((offset, len)) = shown {
                if skips && let Some(orphan) = self.take_orphan(offset)? {
                    self.pending = Some((event, head));
                    return Ok(Some(orphan));
                }
                if self.unit_output.is_empty() {
                    self.unit_from = self.position;
                }
                let read = match offset == self.position {
                    true => self.read_output(len, true)?.len() as u64,
                    false => 0,
                };
                if read < len && self.findings.iter().all(|finding| finding.kind != "Gap") {
                    tell(&mut self.findings, "Gap", "prints tell of output that is not there");
                }
            }
            self.unit.extend(event);
            self.unit.push(b'\n');
        }
        if !self.unit.is_empty() {
            return Ok(Some(self.take_unit()));
        }
        self.take_orphan(u64::MAX)
    }

    fn summary(&self) -> Summary {
        let mut findings = self.findings.clone();
        self.positions.tell(&mut findings);
        if self.orphaned > 0 {
            tell(&mut findings, "Orphaned", format!("{} bytes of output that no print tells of", self.orphaned));
        }
        if !self.has_end {
            tell(&mut findings, "NoEnd", "the session does not end");
        }
        let integrity = if findings.is_empty() { Integrity::Complete } else { Integrity::Incomplete };
        let session_id = self.session_id.clone();
        Summary { session_id, integrity: Some(integrity), findings, ..Summary::default() }
    }
}

/// The next object of a list or of lines, as it stands; `None` at the end.
///
/// # Errors
///
/// When there is something else, when the source ends inside an object or a list, and when an object is beyond all reason
/// long.
fn next_object(source: &mut BufReader<Source>, lists: &mut usize) -> io::Result<Option<Vec<u8>>> {
    let damage = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut object = Vec::new();
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    loop {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            return match (object.is_empty(), *lists) {
                (true, 0) => Ok(None),
                (true, _) => Err(damage("the list does not end")),
                (false, _) => Err(damage("an event is cut off")),
            };
        }
        let mut used = 0;
        let mut is_done = false;
        for byte in buffer {
            used += 1;
            if depth == 0 {
                match byte {
                    b'{' => depth = 1,
                    b'[' | b']' => {
                        *lists = if *byte == b'[' { lists.saturating_add(1) } else { lists.saturating_sub(1) };
                        continue;
                    }
                    b',' | b' ' | b'\t' | b'\r' | b'\n' => continue,
                    _ => return Err(damage("something between the events is none")),
                }
            } else if in_text {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' => is_escaped = true,
                    b'"' => in_text = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => in_text = true,
                    b'{' => depth += 1,
                    b'}' => depth -= 1,
                    _ => {}
                }
            }
            object.push(*byte);
            is_done = depth == 0;
            if is_done {
                break;
            }
        }
        source.consume(used);
        if is_done {
            return Ok(Some(object));
        }
        if object.len() > RECORD_BYTES_MAX {
            return Err(damage("an event is too long"));
        }
    }
}
