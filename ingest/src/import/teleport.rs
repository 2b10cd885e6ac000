//! Teleport's recordings at rest: `<session>.tar`, which since version 4.4 is no tar.
//!
//! A file is a row of parts. Each has a header (version, length of the payload, length of the padding after it; from
//! version 2 on flags), a payload, which is one gzip stream, in newer clusters an encrypted one, and padding. Inflated, a
//! part is a row of records: four bytes of length, and a protobuf message. Parts are independent: what is wrong with one
//! costs that part.
//!
//! A unit is a run of whole records exactly as they stood in the inflated parts. After an upload was resumed, parts may
//! repeat records of those before: they are in the units, and by their position in the stream the ledger knows them as
//! duplicates.

use std::fs::File;
use std::io::{self, BufReader, Read, Take};
use std::path::Path;

use custody_schemas::event::Integrity;
use flate2::read::GzDecoder;

pub use self::age::{KeyError, TeleportKeys};
use self::age::{Plaintext, Sealed};
use super::{Finding, Reader, Summary, UNIT_BYTES, Unit};
use crate::source::teleport::RECORDING;
use crate::source::teleport::recording::{RECORD_BYTES_MAX, look};
use crate::source::{FORM_HEADER, SourceKind};

mod age;
mod playback;

/// Length of a part's header in version 1.
const HEADER_BYTES: usize = 24;
/// What version 2 has more of: flags, and bytes that are zero.
const FLAGS_BYTES: usize = 8;
/// The payload is an age file.
const FLAG_ENCRYPTED: u8 = 1;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// No part is as large as this, so that other files which begin with a small number are not taken for recordings.
const PART_BYTES_PLAUSIBLE: u64 = 1 << 40;

/// The positions that Teleport gives to events which have none in the stream.
const NO_POSITION: std::ops::RangeInclusive<i64> = 2_147_483_646..=2_147_483_647;

/// Bound on the recipients that are listed.
const RECIPIENTS_MAX: usize = 16;

/// Whether a file begins like a recording. Its first 512 bytes are enough.
pub(crate) fn recognises(head: &[u8]) -> bool {
    is_parts(head) || playback::is_tar(head)
}

fn is_parts(head: &[u8]) -> bool {
    let Some(version @ (1 | 2)) = number(head, 0) else { return false };
    let (Some(size), Some(padding)) = (number(head, 8), number(head, 16)) else { return true };
    let (flags, payload) = match version {
        1 => (0, head.get(HEADER_BYTES..)),
        _ => (head.get(HEADER_BYTES).copied().unwrap_or(0), head.get(HEADER_BYTES + FLAGS_BYTES..)),
    };
    let magic: &[u8] = if flags & FLAG_ENCRYPTED == 0 { &GZIP_MAGIC } else { b"age-encryption.org/" };
    let begins_well = payload.unwrap_or_default().iter().zip(magic).all(|(have, want)| have == want);
    size < PART_BYTES_PLAUSIBLE && padding < PART_BYTES_PLAUSIBLE && (size == 0 || begins_well)
}

/// Whether the first part of a recording is encrypted: then all of them are.
pub(crate) fn is_encrypted(head: &[u8]) -> bool {
    number(head, 0) == Some(2) && head.get(HEADER_BYTES).is_some_and(|flags| flags & FLAG_ENCRYPTED != 0)
}

/// Eight bytes, the most significant first.
fn number(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Opens a recording: the file, or the events (`….events.json`) of one whose output (`….stream`) lies beside them.
///
/// # Errors
///
/// Only when the operating system cannot read it.
pub(crate) fn open(path: &Path, keys: &TeleportKeys) -> io::Result<Box<dyn Reader>> {
    if let Some(output) = output_beside(path) {
        return Ok(Box::new(playback::open_pair(path, &output)?));
    }
    let mut file = BufReader::new(File::open(path)?);
    let mut head = Vec::new();
    file.by_ref().take(512).read_to_end(&mut head)?;
    if playback::is_tar(&head) {
        return Ok(Box::new(playback::open_tar(path)?));
    }
    let name = path.file_name().and_then(|name| name.to_str()).and_then(session_of_name);
    Ok(Box::new(Recording::new(io::Cursor::new(head).chain(file), name, keys)))
}

/// The output of the recording whose events a file has, when it lies beside it.
pub(crate) fn output_beside(path: &Path) -> Option<std::path::PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(".events.json")?;
    Some(path.with_file_name(format!("{name}.stream"))).filter(|path| super::is_regular_file(path).unwrap_or(false))
}

/// The id in `<uuid>.tar`.
fn session_of_name(name: &str) -> Option<String> {
    let id = name.strip_suffix(".tar").unwrap_or(name);
    is_uuid(id).then(|| id.to_owned())
}

fn is_uuid(text: &str) -> bool {
    let is_at = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_at)
}

/// What the positions of the records tell.
#[derive(Debug, Default)]
struct Positions {
    last: Option<i64>,
    /// Records at a position that was there before.
    repeated: u64,
    gaps: u64,
    missing: u64,
    /// The position after which the first records are missing.
    first_gap: Option<i64>,
}

impl Positions {
    fn see(&mut self, position: i64) {
        if NO_POSITION.contains(&position) {
            return;
        }
        let last = self.last.unwrap_or(-1);
        if position <= last {
            self.repeated += 1;
            return;
        }
        let missing = position.abs_diff(last) - 1;
        if missing > 0 {
            self.gaps += 1;
            self.missing = self.missing.saturating_add(missing);
            self.first_gap.get_or_insert(last);
        }
        self.last = Some(position);
    }

    fn tell(&self, findings: &mut Vec<Finding>) {
        if let Some(after) = self.first_gap {
            let Self { gaps, missing, .. } = self;
            tell(findings, "Gap", format!("{missing} events are missing in {gaps} places, the first after {after}"));
        }
        if self.repeated > 0 {
            let detail = format!("{} events are there again, as after an upload that was resumed", self.repeated);
            tell(findings, "Overlap", detail);
        }
    }
}

fn tell(findings: &mut Vec<Finding>, kind: &'static str, detail: impl Into<String>) {
    findings.push(Finding { kind, file: None, detail: detail.into() });
}

/// Whether an error tells of damaged data, and not of an operating system that cannot read.
fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}

/// Fills a buffer as far as the source goes. Memory is taken for what is there, whatever is asked for.
fn read_up_to(source: &mut impl Read, len: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    source.take(len as u64).read_to_end(buffer).map(|_| ())
}

/// Reads a recording part by part. Memory: a unit, a record, and what it takes to inflate and decrypt.
struct Recording<R> {
    state: State<R>,
    keys: TeleportKeys,
    /// The id that the file is named after.
    name: Option<String>,
    /// The session that the events name.
    named: Option<String>,
    unit: Vec<u8>,
    /// A record that did not fit into the unit before.
    record: Vec<u8>,
    positions: Positions,
    has_start: bool,
    has_end: bool,
    is_slice: bool,
    parts: u64,
    unreadable_records: u64,
    /// Parts that no key opened, and for whom they are.
    sealed_parts: u64,
    recipients: Vec<String>,
    corrupt_parts: u64,
    first_corruption: Option<String>,
    /// Why there was nothing more to be read before the end.
    stop: Option<Finding>,
}

enum State<R> {
    Between(R),
    In(Box<Part<R>>),
    Done,
}

struct Part<R> {
    records: GzDecoder<Payload<R>>,
    padding: u64,
}

enum Payload<R> {
    Plain(Take<R>),
    Sealed(Box<Plaintext<Take<R>>>),
}

impl<R: Read> Read for Payload<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(payload) => payload.read(buffer),
            Self::Sealed(payload) => payload.read(buffer),
        }
    }
}

impl<R: Read> Payload<R> {
    fn into_inner(self) -> Take<R> {
        match self {
            Self::Plain(payload) => payload,
            Self::Sealed(payload) => payload.into_inner(),
        }
    }
}

impl<R: Read> Recording<R> {
    fn new(source: R, name: Option<String>, keys: &TeleportKeys) -> Self {
        Self {
            state: State::Between(source),
            keys: keys.clone(),
            name,
            named: None,
            unit: Vec::new(),
            record: Vec::new(),
            positions: Positions::default(),
            has_start: false,
            has_end: false,
            is_slice: false,
            parts: 0,
            unreadable_records: 0,
            sealed_parts: 0,
            recipients: Vec::new(),
            corrupt_parts: 0,
            first_corruption: None,
            stop: None,
        }
    }

    fn stop(&mut self, kind: &'static str, detail: impl Into<String>) {
        self.stop.get_or_insert(Finding { kind, file: None, detail: detail.into() });
    }

    fn corrupt(&mut self, what: &str) {
        self.corrupt_parts += 1;
        let parts = self.parts;
        self.first_corruption.get_or_insert_with(|| format!("part {parts}: {what}"));
    }

    /// Reads the header of the next part and opens its payload.
    fn open_part(&mut self, mut source: R) -> io::Result<State<R>> {
        let mut header = Vec::new();
        read_up_to(&mut source, HEADER_BYTES, &mut header)?;
        if header.is_empty() && self.parts > 0 {
            return Ok(State::Done);
        }
        let (Some(version), Some(size), Some(padding)) = (number(&header, 0), number(&header, 8), number(&header, 16))
        else {
            self.stop("Truncated", format!("the file ends in the header of part {}", self.parts + 1));
            return Ok(State::Done);
        };
        self.parts += 1;
        let mut flags = 0;
        match version {
            1 => {}
            2 => {
                read_up_to(&mut source, FLAGS_BYTES, &mut header)?;
                if header.len() < FLAGS_BYTES {
                    self.stop("Truncated", format!("the file ends in the header of part {}", self.parts));
                    return Ok(State::Done);
                }
                flags = header.first().copied().unwrap_or(0);
            }
            3..=255 => {
                self.stop("Version", format!("part {} is of version {version}, which is not known", self.parts));
                return Ok(State::Done);
            }
            _ => {
                self.stop("Corrupt", format!("where part {} should begin is no header", self.parts));
                return Ok(State::Done);
            }
        }
        let payload = source.take(size);
        if size == 0 {
            return self.close_part(payload, padding, None);
        }
        if flags & FLAG_ENCRYPTED == 0 {
            return Ok(State::In(Box::new(Part { records: GzDecoder::new(Payload::Plain(payload)), padding })));
        }
        match Plaintext::open(payload, &self.keys)? {
            Ok(plain) => {
                let records = GzDecoder::new(Payload::Sealed(Box::new(plain)));
                Ok(State::In(Box::new(Part { records, padding })))
            }
            Err((payload, Sealed::Invalid)) => {
                self.close_part(payload, padding, Some("it is said to be encrypted, and is no age file"))
            }
            Err((payload, Sealed::Recipients(recipients))) => {
                self.sealed_parts += 1;
                for recipient in recipients {
                    if self.recipients.len() < RECIPIENTS_MAX && !self.recipients.contains(&recipient) {
                        self.recipients.push(recipient);
                    }
                }
                self.close_part(payload, padding, None)
            }
        }
    }

    /// Passes over what is left of a part. The records end before the payload does in files of an old writer.
    fn close_part(&mut self, mut payload: Take<R>, padding: u64, damage: Option<&str>) -> io::Result<State<R>> {
        let left = payload.limit();
        let passed = io::copy(&mut payload, &mut io::sink())?;
        let mut rest = payload.into_inner().take(padding);
        if passed < left {
            self.stop("Truncated", format!("the file ends in the payload of part {}", self.parts));
            return Ok(State::Done);
        }
        if let Some(damage) = damage {
            self.corrupt(damage);
        }
        if io::copy(&mut rest, &mut io::sink())? < padding {
            self.stop("Truncated", format!("the file ends in the padding of part {}", self.parts));
            return Ok(State::Done);
        }
        Ok(State::Between(rest.into_inner()))
    }

    /// Reads the next record of a part into `record`; `None` at its end, or what is wrong with it.
    fn read_record(&mut self, part: &mut Part<R>) -> io::Result<Result<bool, &'static str>> {
        let mut read = |len, record: &mut Vec<u8>| match read_up_to(&mut part.records, len, record) {
            Err(error) if is_damage(&error) => Ok(Err("it cannot be inflated or decrypted")),
            other => other.map(Ok),
        };
        if let Err(damage) = read(4, &mut self.record)? {
            return Ok(Err(damage));
        }
        let Some(length) = self.record.first_chunk().map(|length| u32::from_be_bytes(*length)) else {
            return Ok(if self.record.is_empty() { Ok(false) } else { Err("it ends in a record") });
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(1..=RECORD_BYTES_MAX).contains(&length) {
            return Ok(Err("a record has a length that none can have"));
        }
        if let Err(damage) = read(length, &mut self.record)? {
            return Ok(Err(damage));
        }
        Ok(if self.record.len() == length { Ok(true) } else { Err("it ends in a record") })
    }

    fn see(&mut self) {
        let Some(look) = look(&self.record) else {
            self.unreadable_records += 1;
            return;
        };
        self.has_start |= look.is_start();
        self.has_end |= look.is_end();
        self.is_slice |= look.is_of_slice();
        self.positions.see(look.index);
        if self.named.is_none() {
            self.named = look.session_id;
        }
    }

    /// Adds the record to the unit.
    fn keep(&mut self) {
        // A record's length is bounded.
        self.unit.extend((self.record.len() as u32).to_be_bytes());
        self.unit.append(&mut self.record);
    }

    fn take_unit(&mut self) -> Option<Unit> {
        let value = std::mem::take(&mut self.unit);
        let key = self.name.clone().or_else(|| self.named.clone());
        let headers = vec![(FORM_HEADER, RECORDING.to_owned())];
        (!value.is_empty()).then_some(Unit { source: SourceKind::Teleport, key, headers, value })
    }
}

impl<R: Read + Send> Reader for Recording<R> {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        if !self.record.is_empty() {
            self.keep();
        }
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Between(source) => self.state = self.open_part(source)?,
                State::In(mut part) => match self.read_record(&mut part)? {
                    Ok(true) => {
                        self.state = State::In(part);
                        self.see();
                        let is_full = self.unit.len() + 4 + self.record.len() > UNIT_BYTES;
                        if is_full && let Some(unit) = self.take_unit() {
                            return Ok(Some(unit));
                        }
                        self.keep();
                    }
                    end => {
                        self.record.clear();
                        let payload = part.records.into_inner().into_inner();
                        self.state = self.close_part(payload, part.padding, end.err())?;
                    }
                },
                State::Done => return Ok(self.take_unit()),
            }
        }
    }

    fn summary(&self) -> Summary {
        let mut findings: Vec<Finding> = self.stop.iter().cloned().collect();
        if let Some(first) = &self.first_corruption {
            tell(&mut findings, "Corrupt", format!("{} parts are damaged; {first}", self.corrupt_parts));
        }
        if self.unreadable_records > 0 {
            tell(&mut findings, "Corrupt", format!("{} records are no messages", self.unreadable_records));
        }
        if self.sealed_parts > 0 {
            let recipients = self.recipients.join(", ");
            let detail = format!("{} parts are encrypted, and no key opens them; for {recipients}", self.sealed_parts);
            tell(&mut findings, "Encrypted", detail);
        }
        self.positions.tell(&mut findings);
        if self.has_start && !self.has_end {
            tell(&mut findings, "NoEnd", "the session begins and does not end");
        }
        let is_whole = findings.iter().all(|finding| finding.kind == "Overlap");
        let (session_id, recording_id) = match self.is_slice {
            true => (self.named.clone(), self.name.clone()),
            false => (self.name.clone().or_else(|| self.named.clone()), None),
        };
        Summary {
            session_id,
            recording_id,
            public_key_sha256: None,
            integrity: Some(if is_whole { Integrity::Complete } else { Integrity::Incomplete }),
            findings,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::io::Write;
    use std::iter;

    use ::age::{EncryptError, Encryptor, Recipient, secrecy::ExposeSecret, x25519};
    use age_core::format::{FileKey, Stanza};
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PrivateDecryptingKey};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use custody_schemas::record::Message;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::source::testing::{Decoded, fixture, fixture_lines, message};
    use crate::source::{Source, decode};

    const SESSION: &str = "037e2e3e-e6f5-11e9-a7ac-42010a80002b";

    fn drain(mut reader: impl Reader) -> (Vec<Unit>, Summary) {
        let units = iter::from_fn(|| reader.next().unwrap()).collect();
        (units, reader.summary())
    }

    fn read_with(bytes: &[u8], keys: &TeleportKeys) -> (Vec<Unit>, Summary) {
        drain(Recording::new(bytes, Some(SESSION.to_owned()), keys))
    }

    fn read(bytes: &[u8]) -> (Vec<Unit>, Summary) {
        read_with(bytes, &TeleportKeys::default())
    }

    fn decoded(units: &[Unit]) -> Decoded {
        let mut out = Decoded::default();
        for unit in units {
            let headers: Vec<_> = unit.headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
            let message = Message { headers: &headers, ..message(unit.key.as_deref(), &unit.value) };
            if let Err(error) = decode(&Source::new(unit.source), &message, &mut out) {
                out.error.get_or_insert(error.kind);
            }
        }
        out
    }

    fn kinds(summary: &Summary) -> Vec<&'static str> {
        summary.findings.iter().map(|finding| finding.kind).collect()
    }

    pub(crate) fn gzip(bytes: &[u8], level: Compression) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn part(version: u64, flags: u8, payload: &[u8], padding: usize) -> Vec<u8> {
        let numbers = [version, payload.len() as u64, padding as u64];
        let mut part: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        if version > 1 {
            part.extend([flags, 0, 0, 0, 0, 0, 0, 0]);
        }
        part.extend(payload);
        part.resize(part.len() + padding, 0);
        part
    }

    /// A print of some bytes at a position.
    pub(crate) fn print(position: u8, data: &[u8]) -> Vec<u8> {
        let metadata = [0x08, position, 0x12, 5, b'p', b'r', b'i', b'n', b't'];
        let mut print = vec![0x0a, metadata.len() as u8];
        print.extend(metadata);
        print.push(0x1a);
        prost::encoding::encode_varint(data.len() as u64, &mut print);
        print.extend(data);
        let mut record = vec![0x3a];
        prost::encoding::encode_varint(print.len() as u64, &mut record);
        record.extend(print);
        [&(record.len() as u32).to_be_bytes()[..], &record].concat()
    }

    #[test]
    fn one_part_and_many_give_the_same_recording() {
        let Some(single) = fixture("teleport/derived/npm.v1.single-part.tar") else { return };
        let multi = fixture("teleport/derived/npm.v1.multipart-padded-dup.tar").unwrap();
        assert!(recognises(&single[..64]) && recognises(&multi));
        let mut outputs = Vec::new();
        for (bytes, records, findings) in [(single, 866, &[][..]), (multi, 871, &["Overlap"])] {
            let (units, summary) = read(&bytes);
            assert_eq!((kinds(&summary).as_slice(), summary.integrity), (findings, Some(Integrity::Complete)));
            assert_eq!(summary.session_id.as_deref(), Some(SESSION));
            let out = decoded(&units);
            assert_eq!(out.error, None, "{}", out.error_detail);
            let mut seen = HashSet::new();
            let (mut shown, mut facts) = (Vec::new(), BTreeMap::new());
            for piece in &out.pieces {
                assert_eq!(piece["session_id"], SESSION);
                if seen.insert(piece["seq"].as_i64().unwrap()) {
                    shown.push(piece.clone());
                }
            }
            for event in &out.events {
                facts.insert(event["detail"]["ei"].as_i64().unwrap(), event.clone());
            }
            // Of the events, start, resize and end are pieces too; nobody's leaving is one.
            let prints = out.pieces.iter().filter(|piece| piece["code"] == "o").count();
            assert_eq!(prints + out.events.len(), records);
            seen.extend(facts.keys());
            assert_eq!(seen.len(), 866);
            outputs.push((shown, facts));
        }
        assert_eq!(outputs[0], outputs[1]);
        let bytes: usize = outputs[0].0.iter().filter(|piece| piece["code"] == "o").count();
        assert_eq!(bytes, 862);
    }

    #[test]
    fn the_output_is_the_terminals_byte_for_byte() {
        let Some(npm) = fixture("teleport/derived/npm.v1.single-part.tar") else { return };
        let (units, _) = read(&npm);
        let out = decoded(&units);
        assert_eq!(out.output.len(), 163_019);
        let ends: Vec<i64> = out.pieces.iter().filter_map(|piece| piece["position"].as_i64()).collect();
        assert_eq!((ends.first(), ends.last()), (Some(&0), Some(&163_009)));
        let vim = fixture("teleport/derived/vim.v1.single-part.tar").unwrap();
        let (units, _) = read(&vim);
        assert_eq!(decoded(&units).output, fixture("teleport/recordings-web-2019/vim.tty.stream").unwrap());
    }

    #[test]
    fn the_file_the_stream_and_the_pair_tell_the_same() {
        let Some(file) = fixture("teleport/derived/vim.v1.single-part.tar") else { return };
        let id = "516965e5-e6ef-11e9-9d5b-42010a80002b";
        let (units, _) = drain(Recording::new(&file[..], Some(id.to_owned()), &TeleportKeys::default()));
        let stored = decoded(&units);
        let mut streamed = Decoded::default();
        for line in fixture_lines("teleport/derived/vim.event-handler-session.ndjson").unwrap() {
            let key = format!("session.{id}.log");
            decode(&Source::new(SourceKind::Teleport), &message(Some(&key), line.as_bytes()), &mut streamed).unwrap();
        }
        assert_eq!(stored.pieces, streamed.pieces);
        assert_eq!(stored.output, streamed.output);
        let ids = |events: &[Value]| events.iter().map(|event| event["event_id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&stored.events), ids(&streamed.events));
        assert_eq!(stored.events, streamed.events);

        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("vim.tty.events.json");
        std::fs::write(&events, fixture("teleport/recordings-web-2019/vim.tty.events.json").unwrap()).unwrap();
        std::fs::write(folder.path().join("vim.tty.stream"), &stored.output).unwrap();
        let mut reader = open(&events, &TeleportKeys::default()).unwrap();
        let units: Vec<Unit> = iter::from_fn(|| reader.next().unwrap()).collect();
        let summary = reader.summary();
        assert_eq!((kinds(&summary), summary.integrity), (vec![], Some(Integrity::Complete)));
        assert_eq!(summary.session_id.as_deref(), Some(id));
        let pair = decoded(&units);
        assert_eq!(pair.error, None);
        assert_eq!(pair.pieces, streamed.pieces);
        assert_eq!(ids(&pair.events), ids(&streamed.events));
    }

    #[test]
    fn every_truncation_is_told_and_costs_no_more_than_what_is_not_there() {
        let Some(whole) = fixture("teleport/derived/vim.v1.single-part.tar") else { return };
        let (units, _) = read(&whole);
        let values: Vec<u8> = units.iter().flat_map(|unit| unit.value.clone()).collect();
        let mut longest = 0;
        for len in 0..whole.len() {
            let (units, summary) = read(&whole[..len]);
            let kept: Vec<u8> = units.into_iter().flat_map(|unit| unit.value).collect();
            assert!(values.starts_with(&kept), "{len}");
            assert!(kept.len() >= longest, "{len}");
            longest = kept.len();
            assert_eq!(kinds(&summary).first(), Some(&"Truncated"), "{len}");
            assert_eq!(summary.integrity, Some(Integrity::Incomplete), "{len}");
        }
        assert_eq!(longest, values.len());
    }

    #[test]
    fn damage_costs_its_part_and_is_told() {
        let run = |from: u8| [print(from, b"a"), print(from + 1, b"b")].concat();
        let zipped = |bytes: &[u8], padding| part(1, 0, &gzip(bytes, Compression::fast()), padding);
        let mut flipped = zipped(&run(2), 3);
        // In the checksum, which is the first half of the last eight bytes of the payload.
        let at = flipped.len() - 3 - 6;
        flipped[at] ^= 1;
        let leftover = part(1, 0, &[gzip(&run(2), Compression::fast()), vec![0; 9]].concat(), 0);
        type Case = (&'static str, Vec<u8>, &'static [u8], &'static [&'static str]);
        let cases: [Case; 13] = [
            ("nothing wrong", zipped(&run(2), 3), b"ababab", &[]),
            ("leftover", leftover, b"ababab", &[]),
            ("version 2", part(2, 0, &gzip(&run(2), Compression::fast()), 7), b"ababab", &[]),
            ("padding", [part(1, 0, b"", 600), zipped(&run(2), 0)].concat(), b"ababab", &[]),
            ("twice", [zipped(&run(2), 0), zipped(&run(2), 0)].concat(), b"abababab", &["Overlap"]),
            ("missing", part(1, 0, b"", 9), b"abab", &["Gap"]),
            ("checksum", flipped, b"ababab", &["Corrupt"]),
            ("length zero", zipped(&[run(2), vec![0; 4]].concat(), 0), b"ababab", &["Corrupt"]),
            ("length beyond", zipped(&[run(2), vec![0, 16, 0, 1]].concat(), 0), b"ababab", &["Corrupt"]),
            ("cut record", zipped(&run(2)[..run(2).len() - 1], 0), b"abaab", &["Corrupt", "Gap"]),
            ("no gzip", part(1, 0, b"hunter2", 0), b"abab", &["Corrupt", "Gap"]),
            ("no message", zipped(&[0, 0, 0, 1, 0xff], 0), b"abab", &["Corrupt", "Gap"]),
            ("no age file", part(2, 1, b"hunter2", 5), b"abab", &["Corrupt", "Gap"]),
        ];
        for (name, second, output, findings) in cases {
            let (units, summary) = read(&[zipped(&run(0), 0), second, zipped(&run(4), 1)].concat());
            assert_eq!(kinds(&summary), findings, "{name}");
            assert_eq!(decoded(&units).output, output, "{name}");
            let is_whole = findings.iter().all(|kind| *kind == "Overlap");
            assert_eq!(summary.integrity == Some(Integrity::Complete), is_whole, "{name}");
            assert!(summary.findings.iter().all(|finding| !finding.detail.contains("hunter2")), "{name}");
        }
        for (rest, finding) in
            [(part(3, 0, b"x", 0), "Version"), (vec![0x77; 40], "Corrupt"), (vec![0; 3], "Truncated")]
        {
            let (units, summary) = read(&[zipped(&run(0), 0), rest].concat());
            assert_eq!((decoded(&units).output, kinds(&summary)), (b"ab".to_vec(), vec![finding]));
        }
    }

    #[test]
    fn files_are_recognised_by_their_first_bytes() {
        let zipped = gzip(b"x", Compression::fast());
        let cases = [
            ("version 1", part(1, 0, &zipped, 0), true),
            ("version 2", part(2, 0, &zipped, 0), true),
            ("encrypted", part(2, 1, b"age-encryption.org/v1\n", 0), true),
            ("only padding", part(1, 0, b"", 4), true),
            ("cut off in the header", part(1, 0, b"", 0)[..20].to_vec(), true),
            ("version 3", part(3, 0, &zipped, 0), false),
            ("another payload", part(1, 0, b"PK", 0), false),
            ("too large", [&1_u64.to_be_bytes()[..], &[0xff; 16]].concat(), false),
            ("text", b"{\"event\":\"x\"}".to_vec(), false),
            ("nothing", Vec::new(), false),
        ];
        for (name, head, expected) in cases {
            assert_eq!(recognises(&head), expected, "{name}");
        }
    }

    #[test]
    fn the_name_of_the_file_is_the_session_and_else_its_start_is() {
        let Some(bytes) = fixture("teleport/derived/npm.v1.single-part.tar") else { return };
        let other = "5e000000-0000-4000-8000-000000000001";
        for (name, expected) in [(format!("{other}.tar"), other), ("recording.tar".to_owned(), SESSION)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            let mut reader = open(&path, &TeleportKeys::default()).unwrap();
            let units: Vec<Unit> = iter::from_fn(|| reader.next().unwrap()).collect();
            assert!(units.iter().all(|unit| unit.key.as_deref() == Some(expected)));
            assert_eq!(reader.summary().session_id.as_deref(), Some(expected));
            assert!(decoded(&units).pieces.iter().all(|piece| piece["session_id"] == expected));
        }
    }

    /// A message of a number with nothing in it but its position and its type.
    fn bare(number: u32, position: u8, event: &str) -> Vec<u8> {
        let metadata = [&[0x08, position, 0x12, event.len() as u8][..], event.as_bytes()].concat();
        let message = [&[0x0a, metadata.len() as u8][..], &metadata].concat();
        let mut record = Vec::new();
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut record);
        record.push(message.len() as u8);
        record.extend(message);
        [&(record.len() as u32).to_be_bytes()[..], &record].concat()
    }

    #[test]
    fn desktops_and_slices_of_applications_are_recordings_without_output() {
        let zipped = |records: [Vec<u8>; 3]| part(1, 0, &gzip(&records.concat(), Compression::fast()), 0);
        let session = Some(SESSION.to_owned());
        let desktop = zipped([
            bare(59, 0, "windows.desktop.session.start"),
            bare(69, 1, "desktop.recording"),
            bare(60, 2, "windows.desktop.session.end"),
        ]);
        let cut = zipped([bare(59, 0, "x"), bare(69, 1, "desktop.recording"), bare(69, 2, "desktop.recording")]);
        let request = || bare(39, 0, "app.session.request");
        let slice = zipped([request(), bare(39, 1, "app.session.request"), bare(39, 2, "app.session.request")]);
        for (file, events, findings, session_id, recording_id) in [
            (desktop, 2, vec![], session.clone(), None),
            (cut, 1, vec!["NoEnd"], session.clone(), None),
            (slice, 3, vec![], None, session),
        ] {
            let (units, summary) = read(&file);
            let out = decoded(&units);
            assert_eq!((out.events.len(), out.pieces.len(), out.error), (events, 0, None));
            assert_eq!(kinds(&summary), findings);
            assert_eq!((summary.session_id, summary.recording_id.as_deref()), (session_id, recording_id.as_deref()));
            let found = out.events[0]["recording_id"].as_str();
            assert_eq!(found, recording_id.as_deref());
        }
    }

    #[test]
    fn memory_is_bounded_however_long_the_recording_is() {
        // 4 MiB of a part, not compressed, fifty times; and a part whose every record is as long as one may be.
        let records: Vec<u8> = (0..64).flat_map(|_| print(1, &[b'x'; 65_000])).collect();
        let usual = part(1, 0, &gzip(&records, Compression::none()), 1000);
        let records: Vec<u8> = (0..4).flat_map(|_| print(1, &[b'x'; RECORD_BYTES_MAX - 40])).collect();
        let long = part(1, 0, &gzip(&records, Compression::none()), 1000);
        let mut source: Box<dyn Read + Send> = Box::new(io::Cursor::new(long));
        for _ in 0..50 {
            source = Box::new(source.chain(io::Cursor::new(usual.clone())));
        }
        let mut reader = Recording::new(source, None, &TeleportKeys::default());
        let mut total = 0;
        while let Some(unit) = reader.next().unwrap() {
            assert!(unit.value.len() <= UNIT_BYTES.max(RECORD_BYTES_MAX + 4));
            assert!(unit.value.capacity() <= 4 * UNIT_BYTES.max(RECORD_BYTES_MAX));
            total += unit.value.len();
        }
        assert!(total > 200_000_000, "{total}");
        assert_eq!(reader.positions.repeated, 4 + 50 * 64 - 1);
    }

    /// Wraps a file's key as Teleport does.
    struct Rsa(OaepPublicEncryptingKey);

    impl Recipient for Rsa {
        fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
            let mut body = vec![0; self.0.ciphertext_size()];
            let label = Some(b"teleport/v1/rsa".as_slice());
            self.0.encrypt(&OAEP_SHA256_MGF1SHA256, key.expose_secret(), &mut body, label).unwrap();
            let args = vec!["fingerprint-1".to_owned()];
            Ok((vec![Stanza { tag: "teleport-recording-rsa4096".to_owned(), args, body }], HashSet::new()))
        }
    }

    /// Wraps a file's key as the first encrypted recordings had it.
    struct Named(x25519::Recipient);

    impl Recipient for Named {
        fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
            let (mut stanzas, labels) = self.0.wrap_file_key(key)?;
            let name = Stanza { tag: "Recording-X25519".to_owned(), args: vec![self.0.to_string()], body: Vec::new() };
            stanzas.push(name);
            Ok((stanzas, labels))
        }
    }

    pub(crate) fn sealed(recipients: &[&dyn Recipient], plain: &[u8]) -> Vec<u8> {
        let encryptor = Encryptor::with_recipients(recipients.iter().copied()).unwrap();
        let mut out = Vec::new();
        let mut writer = encryptor.wrap_output(&mut out).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap();
        out
    }

    pub(crate) fn x25519_keys(identity: &x25519::Identity) -> TeleportKeys {
        TeleportKeys::read(&format!("# a comment\n{}\n", identity.to_string().expose_secret())).unwrap()
    }

    #[test]
    fn encrypted_parts_are_opened_with_the_keys_that_are_there() {
        let rsa = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let to_rsa = Rsa(OaepPublicEncryptingKey::new(rsa.public_key()).unwrap());
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
        let pem = |kind: &str, der: &[u8]| {
            let body = STANDARD.encode(der);
            format!("-----BEGIN {kind}-----\n{}\n{}\n-----END {kind}-----\n", &body[..64], &body[64..])
        };
        let identity = x25519::Identity::generate();
        let stranger = x25519::Identity::generate().to_string();
        let to_x25519 = Named(identity.to_public());
        let parts = [
            part(2, 1, &sealed(&[&to_rsa], &gzip(&print(0, b"a"), Compression::fast())), 3),
            part(2, 1, &sealed(&[&to_x25519], &gzip(&print(1, b"b"), Compression::fast())), 0),
            part(2, 1, &sealed(&[&to_x25519, &to_rsa], &gzip(&print(2, b"c"), Compression::fast())), 1),
            part(2, 0, &gzip(&print(3, b"d"), Compression::fast()), 0),
        ];
        assert!(parts.iter().all(|part| recognises(part)));
        let pkcs8 = pem("PRIVATE KEY", der.as_ref());
        // What stands in the envelope after 26 bytes of it is the key in PKCS #1.
        let pkcs1 = pem("RSA PRIVATE KEY", &der.as_ref()[26..]);
        let secret = identity.to_string().expose_secret().to_owned();
        let recipient = identity.to_public().to_string();
        let both = format!("{pkcs8}{secret}\n");
        let cases: [(&str, &[u8], Vec<&str>); 5] = [
            (&both, b"abcd", vec![]),
            (&pkcs8, b"acd", vec!["X25519", &recipient]),
            (&pkcs1, b"acd", vec!["X25519", &recipient]),
            (&secret, b"bcd", vec!["fingerprint-1"]),
            (stranger.expose_secret(), b"d", vec!["fingerprint-1", "X25519", &recipient]),
        ];
        for (keys, output, recipients) in cases {
            let (units, summary) = read_with(&parts.concat(), &TeleportKeys::read(keys).unwrap());
            assert_eq!(decoded(&units).output, output);
            let told = summary.findings.iter().find(|finding| finding.kind == "Encrypted");
            assert_eq!(told.is_some(), !recipients.is_empty());
            assert!(recipients.iter().all(|name| told.unwrap().detail.contains(name)), "{told:?}");
            assert_eq!(summary.integrity == Some(Integrity::Complete), recipients.is_empty());
        }
    }

    #[test]
    fn files_of_every_length_are_opened() {
        let identity = x25519::Identity::generate();
        let keys = x25519_keys(&identity);
        for len in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000] {
            let plain: Vec<u8> = (0..len).map(|at: u32| (at * 7 + at / 251) as u8).collect();
            let file = sealed(&[&identity.to_public()], &plain);
            let mut read = Vec::new();
            Plaintext::open(&file[..], &keys).unwrap().map_err(|(_, why)| why).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == plain, "{len}");
        }
        // A file that ends after a whole chunk looks whole; that the last chunk is not marked tells.
        let file = sealed(&[&identity.to_public()], &vec![0; 131_072]);
        let cut = &file[..file.len() - 65_536 - 16];
        let mut cut = Plaintext::open(cut, &keys).unwrap().map_err(|(_, why)| why).unwrap();
        assert!(cut.read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_changed_byte_of_an_encrypted_part_is_noticed() {
        let identity = x25519::Identity::generate();
        let keys = x25519_keys(&identity);
        let whole = part(2, 1, &sealed(&[&identity.to_public()], &gzip(&print(0, b"a"), Compression::fast())), 0);
        for at in HEADER_BYTES + FLAGS_BYTES..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let (units, summary) = read_with(&changed, &keys);
            assert!(units.is_empty() && summary.integrity == Some(Integrity::Incomplete), "{at}");
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused_and_not_shown() {
        let secret = x25519::Identity::generate().to_string().expose_secret().to_owned();
        let mut wrong = secret.clone();
        wrong.pop();
        for (text, expected) in [
            ("hunter2".to_owned(), "neither"),
            (wrong, "line 1"),
            ("\n-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----".to_owned(), "line 2"),
            ("-----BEGIN EC PRIVATE KEY-----\naHVudGVyMg==\n-----END".to_owned(), "line 1"),
        ] {
            let error = TeleportKeys::read(&text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(format!("{:?}", TeleportKeys::read(&secret).unwrap()), "TeleportKeys(1)");
    }

    #[test]
    fn a_tar_of_before_version_4_4_is_a_recording_too() {
        let Some(list) = fixture("teleport/recordings-web-2019/vim.tty.events.json") else { return };
        let stream = fixture("teleport/recordings-web-2019/vim.tty.stream").unwrap();
        let list: Vec<Value> = serde_json::from_slice(&list).unwrap();
        let lines: String = list.iter().map(|event| format!("{event}\n")).collect();
        let command = "{\"event\":\"session.command\",\"ei\":0,\"sid\":\"s\",\"path\":\"/bin/ls\"}\n";
        let id = "516965e5-e6ef-11e9-9d5b-42010a80002b";
        let tar = |output: &[u8], cut: usize| {
            let mut tar = tar::Builder::new(Vec::new());
            let mut add = |name: &str, bytes: &[u8]| {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o600);
                tar.append_data(&mut header, format!("{id}{name}"), bytes).unwrap();
            };
            add(".index", b"{}\n");
            add("-0.chunks.gz", &gzip(output, Compression::fast()));
            add("-0.events.gz", &gzip(lines.as_bytes(), Compression::fast()));
            add("-0.command-events.gz", &gzip(command.as_bytes(), Compression::fast()));
            let mut tar = tar.into_inner().unwrap();
            tar.truncate(tar.len() - cut);
            tar
        };
        // Of a print that is there in part nothing is shown.
        let shown_of = |len: u64| {
            let ends = list.iter().filter_map(|event| Some(event["offset"].as_u64()? + event["bytes"].as_u64()?));
            ends.filter(|end| *end <= len).max().unwrap() as usize
        };
        let cases = [
            ("whole", tar(&stream, 0), stream.len(), vec!["Overlap"], 5),
            ("more output", tar(&[&stream[..], b"more"].concat(), 0), stream.len(), vec!["Overlap", "Orphaned"], 5),
            ("less output", tar(&stream[..9000], 0), shown_of(9000), vec!["Gap", "Overlap"], 5),
        ];
        for (name, bytes, shown, findings, events) in cases {
            assert!(recognises(&bytes[..512]), "{name}");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("any.tar");
            std::fs::write(&path, &bytes).unwrap();
            let mut reader = open(&path, &TeleportKeys::default()).unwrap();
            let units: Vec<Unit> = iter::from_fn(|| reader.next().unwrap()).collect();
            let summary = reader.summary();
            assert_eq!((kinds(&summary), summary.session_id.as_deref()), (findings, Some(id)), "{name}");
            let out = decoded(&units);
            assert_eq!((out.output.len(), out.events.len()), (shown, events), "{name}");
            assert!(stream.starts_with(&out.output), "{name}");
            let kept: usize = units
                .iter()
                .map(|unit| {
                    let (_, events) = unit.headers.iter().find(|(name, _)| *name == "custody-events-bytes").unwrap();
                    unit.value.len() - events.parse::<usize>().unwrap()
                })
                .sum();
            let there = if name == "less output" { 9000 } else { stream.len() + if name == "whole" { 0 } else { 4 } };
            assert_eq!(kept, there, "{name}: output is kept whether or not a print tells of it");
        }
        for cut in [600, 1500, 3000, 9000] {
            let bytes = tar(&stream, cut);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("any.tar");
            std::fs::write(&path, &bytes).unwrap();
            let mut reader = open(&path, &TeleportKeys::default()).unwrap();
            while reader.next().unwrap().is_some() {}
        }
    }

    proptest! {
        #[test]
        fn arbitrary_files_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), version in 1_u64..3) {
            let _ = read(&bytes);
            let zipped = part(version, 0, &gzip(&bytes, Compression::fast()), 3);
            let _ = read(&zipped);
            let sealed = [b"age-encryption.org/v1\n-> X25519 ", &bytes[..], b"\n--- AAAA\n"].concat();
            let _ = read(&part(2, 1, &sealed, 0));
        }

        #[test]
        fn how_records_are_parted_makes_no_difference(
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..30),
            cuts in prop::collection::vec((any::<bool>(), 0..20_usize), 30),
        ) {
            let records: Vec<Vec<u8>> = data.iter().zip(0..).map(|(data, at)| print(at, data)).collect();
            let (mut file, mut run) = (Vec::new(), Vec::new());
            for (record, (is_cut, padding)) in records.iter().zip(&cuts) {
                run.extend_from_slice(record);
                if *is_cut {
                    file.extend(part(1, 0, &gzip(&std::mem::take(&mut run), Compression::fast()), *padding));
                }
            }
            file.extend(part(1, 0, &gzip(&run, Compression::fast()), 0));
            let (units, summary) = read(&file);
            prop_assert_eq!(units.into_iter().flat_map(|unit| unit.value).collect::<Vec<_>>(), records.concat());
            prop_assert_eq!(summary.findings, vec![]);
            prop_assert_eq!(decoded(&read(&file).0).output, data.concat());
        }
    }
}
