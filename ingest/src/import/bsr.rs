//! Boundary session recordings (BSR): a directory that is one recording.
//!
//! The layout is that of Boundary's documentation ("BSR file data structure"): a container with a directory for each
//! connection, and in it one for each channel, every one with its own list of checksums and the signature of that list.
//!
//! The files are read once. What is cut into units is what was hashed, so nobody can change a file between its
//! verification and its use; and the summary is known when the last unit is out. Held in memory are the names in the
//! directories on the way to the open file, and one unit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use custody_schemas::event::Integrity;
use serde::Deserialize;
use serde_json::Value;

use self::keys::{BsrKey, PublicKey};
use super::{Finding, Reader, Summary, UNIT_BYTES, Unit};
use crate::source::boundary::bsr::chunk::{self, Compression, FIXED_BYTES, Fault, Order};
use crate::source::boundary::bsr::{
    AFTER, CHANNEL, CHUNKS_FORM, COMPRESSION, DATA_FILES, FILE, FILE_FORM, FIRST_CHUNK, PROGRAM, RECORDING,
};
use crate::source::{FORM_HEADER, SourceKind};

mod keys;

pub use self::keys::{BsrKeys, InvalidKey};

/// Bound on a file that is read whole. The largest are lists: of a thousand connections, 70 KB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Bound on the names in one directory.
const ENTRIES_MAX: usize = 100_000;

/// Bound on the findings that are told one by one.
const FINDINGS_MAX: usize = 1000;

/// A unit is closed when its chunks say that they inflate to this many bytes.
const INFLATED_UNIT_BYTES: usize = 4 * 1024 * 1024;

const SUMS: &str = "SHA256SUM";
const SUMS_SIGNATURE: &str = "SHA256SUM.sig";
const PUBLIC_KEY: &str = "bsrKey.pub";
const WRAPPED_BSR_KEY: &str = "wrappedBsrKey";
const SELF_SIGNATURE: &str = "pubKeySelfSignature.sign";
const BSR_SIGNATURE: &str = "pubKeyBsrSignature.sign";
const SESSION_META: &str = "session-meta.json";

/// Files that no list of checksums has: the lists themselves, the worker's own log, and what a worker writes that has
/// mended the recording of another.
const UNSUMMED: [&str; 5] = [SUMS, SUMS_SIGNATURE, ".journal", "RECOVERY-SHA256SUM", "RECOVERY-SHA256SUM.sig"];

/// Whether a directory is a session recording, by what is in it.
pub(crate) fn is_container(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        let name = entry.file_name();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_connection = name.to_str().is_some_and(|name| name.ends_with(Level::Connection.suffix()));
        match is_dir {
            true => is_connection,
            false => name == Level::Session.meta() || name == PUBLIC_KEY,
        }
    })
}

/// Opens a session recording.
///
/// # Errors
///
/// When the operating system cannot read the directory. What is wrong with its content is a matter of the summary.
pub(crate) fn open(dir: &Path, keys: &BsrKeys) -> io::Result<impl Reader + use<>> {
    BsrReader::open(dir, keys)
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    digest(context)
}

fn digest(context: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// What a directory of a container is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Session,
    Connection,
    Channel,
}

impl Level {
    fn meta(self) -> &'static str {
        match self {
            Self::Session => "session-recording.meta",
            Self::Connection => "connection-recording.meta",
            Self::Channel => "channel-recording.meta",
        }
    }

    fn summary(self) -> &'static str {
        match self {
            Self::Session => "session-recording-summary.json",
            Self::Connection => "connection-recording-summary.json",
            Self::Channel => "channel-recording-summary.json",
        }
    }

    /// End of the names of such directories.
    fn suffix(self) -> &'static str {
        match self {
            Self::Session => ".bsr",
            Self::Connection => ".connection",
            Self::Channel => ".channel",
        }
    }

    fn below(self) -> Option<Self> {
        match self {
            Self::Session => Some(Self::Connection),
            Self::Connection => Some(Self::Channel),
            Self::Channel => None,
        }
    }
}

/// The lines of a `.meta` file that are checked: `key: value` each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meta {
    id: Option<String>,
    /// Names of the directories in it.
    dirs: BTreeSet<String>,
    /// Names of its `.data` files.
    data: BTreeSet<String>,
}

impl Meta {
    fn read(file: &[u8]) -> Option<Self> {
        let mut meta = Self::default();
        for (key, value) in std::str::from_utf8(file).ok()?.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key.trim() {
                "id" => meta.id = Some(value.to_owned()),
                "connection" | "channel" => drop(meta.dirs.insert(value.to_owned())),
                kind @ ("requests" | "messages") => drop(meta.data.insert(format!("{kind}-{value}.data"))),
                _ => {}
            }
        }
        Some(meta)
    }
}

/// A list of checksums: lines of 64 hexadecimal digits, a space, a space or `*`, and a name that no other line has.
type Sums = BTreeMap<String, [u8; 32]>;

fn read_sums(file: &[u8]) -> Option<Sums> {
    let mut sums = Sums::new();
    for line in std::str::from_utf8(file).ok()?.lines() {
        let (digits, name) = line.split_at_checked(64)?;
        let name = name.strip_prefix("  ").or_else(|| name.strip_prefix(" *")).filter(|name| !name.is_empty())?;
        let mut sum = [0; 32];
        for (byte, digits) in sum.iter_mut().zip(digits.as_bytes().chunks(2)) {
            // `from_str_radix` takes a sign, which is no digit.
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        if sums.insert(name.to_owned(), sum).is_some() {
            return None;
        }
    }
    Some(sums)
}

/// A directory that is being read.
#[derive(Debug)]
struct Dir {
    level: Level,
    /// In the container, with a slash at the end; empty for the container itself.
    path: String,
    /// Id of the connection or channel.
    id: Option<String>,
    sums: Option<Sums>,
    /// What ran in the channel, as far as the files that were read have told.
    program: Option<&'static str>,
    /// Names of the files still to be read, the last first.
    files: Vec<String>,
    /// Names of the directories still to be read, the last first.
    dirs: Vec<String>,
}

struct BsrReader {
    root: PathBuf,
    public_key: Option<PublicKey>,
    session: Option<String>,
    recording: Option<String>,
    /// The way to the directory that is being read.
    dirs: Vec<Dir>,
    /// The `.data` file that is being read.
    stream: Option<Stream>,
    report: Report,
}

/// What is known so far.
struct Report {
    /// What the checks that did not fail prove at most.
    integrity: Integrity,
    findings: Vec<Finding>,
}

impl Report {
    /// Notes that no more than this can be said of the whole.
    fn lower(&mut self, to: Integrity) {
        self.integrity = self.integrity.min(to);
    }

    fn find(&mut self, integrity: Integrity, kind: &'static str, file: impl Into<String>, detail: impl Into<String>) {
        self.lower(integrity);
        match self.findings.len() {
            ..FINDINGS_MAX => self.findings.push(Finding { kind, file: Some(file.into()), detail: detail.into() }),
            FINDINGS_MAX => {
                let detail = format!("more than {FINDINGS_MAX} findings; the others are not told");
                self.findings.push(Finding { kind: "TooManyFindings", file: None, detail });
            }
            _ => {}
        }
    }

    fn missing(&mut self, integrity: Integrity, file: impl Into<String>) {
        self.find(integrity, "MissingFile", file, "the file is not there");
    }

    fn malformed(&mut self, file: impl Into<String>, detail: impl Into<String>) {
        self.find(Integrity::Failed, "MalformedFileContent", file, detail);
    }

    /// Notes the outcome of a signature's verification: `None` when the file holds none.
    fn signature(&mut self, file: String, outcome: Option<bool>, of: &str) {
        match outcome {
            Some(true) => {}
            Some(false) => self.find(Integrity::Failed, "InvalidSignature", file, format!("not a signature of {of}")),
            None => self.malformed(file, "holds no signature"),
        }
    }
}

/// A small file.
enum Found {
    Here(Vec<u8>),
    TooLarge,
    Missing,
}

impl Found {
    fn here(self) -> Option<Vec<u8>> {
        match self {
            Self::Here(found) => Some(found),
            Self::TooLarge | Self::Missing => None,
        }
    }
}

impl BsrReader {
    fn open(dir: &Path, keys: &BsrKeys) -> io::Result<Self> {
        let mut reader = Self {
            root: dir.to_owned(),
            public_key: None,
            session: None,
            recording: None,
            dirs: Vec::new(),
            stream: None,
            report: Report { integrity: Integrity::Authentic, findings: Vec::new() },
        };
        reader.verify_keys(keys)?;
        reader.identify()?;
        let session = reader.enter(Level::Session, String::new())?;
        reader.dirs.push(session);
        Ok(reader)
    }

    /// A small file of the container, unless it is missing, no regular file, or too large.
    fn small_file(&self, path: &str) -> io::Result<Found> {
        let full = self.root.join(path);
        if !super::is_regular_file(&full)? {
            return Ok(Found::Missing);
        }
        let mut bytes = Vec::new();
        File::open(full)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(if bytes.len() as u64 > FILE_BYTES_MAX { Found::TooLarge } else { Found::Here(bytes) })
    }

    /// Verifies the set of keys. Files that are missing are noted with all others of their directory.
    fn verify_keys(&mut self, keys: &BsrKeys) -> io::Result<()> {
        let Some(file) = self.small_file(PUBLIC_KEY)?.here() else {
            self.report.lower(Integrity::Checksums);
            return Ok(());
        };
        let Some(public_key) = PublicKey::read(&file) else {
            self.report.malformed(PUBLIC_KEY, "holds no Ed25519 public key");
            return Ok(());
        };
        match self.small_file(SELF_SIGNATURE)?.here() {
            Some(signature) => {
                let outcome = public_key.is_signed_by_itself(&signature);
                self.report.signature(SELF_SIGNATURE.to_owned(), outcome, "the public key by itself");
            }
            None => self.report.lower(Integrity::Checksums),
        }
        let wrapped = self.small_file(WRAPPED_BSR_KEY)?.here();
        let bsr_key = wrapped.and_then(|wrapped| BsrKey::unwrap(&wrapped, &keys.kms_root_keys));
        let signature = self.small_file(BSR_SIGNATURE)?.here();
        let is_pinned = keys.pinned_public_keys.contains(&public_key.sha256());
        if let (Some(bsr_key), Some(signature)) = (&bsr_key, &signature) {
            let outcome = public_key.is_signed_by(bsr_key, signature);
            self.report.signature(BSR_SIGNATURE.to_owned(), outcome, "the public key by the BSR key");
        } else if !is_pinned {
            self.report.lower(Integrity::SelfSigned);
        }
        self.public_key = Some(public_key);
        Ok(())
    }

    /// Finds out of which session it is, and which recording.
    fn identify(&mut self) -> io::Result<()> {
        #[derive(Deserialize)]
        struct SessionMeta {
            #[serde(rename = "PublicId")]
            public_id: String,
        }
        let meta = self.small_file(SESSION_META)?.here();
        let session =
            meta.and_then(|file| serde_json::from_slice::<SessionMeta>(&file).ok()).map(|meta| meta.public_id);
        let meta = self.small_file(Level::Session.meta())?.here();
        let id = meta.and_then(|file| Meta::read(&file)).and_then(|meta| meta.id);
        let name = self.root.file_name().and_then(|name| name.to_str());
        self.recording = id
            .or_else(|| name.and_then(|name| name.strip_suffix(Level::Session.suffix())).map(str::to_owned))
            .filter(|id| !id.is_empty());
        // Boundary names the keys after the session, too.
        let key_id = self.public_key.as_ref().map(|key| key.id.clone());
        let is_set = |id: &String| !id.is_empty();
        self.session = session.filter(is_set).or(key_id.filter(is_set)).or_else(|| self.recording.clone());
        Ok(())
    }

    /// Begins to read a directory: verifies its lists and holds them against what is there.
    fn enter(&mut self, level: Level, path: String) -> io::Result<Dir> {
        let at = |name: &str| format!("{path}{name}");
        let (mut files, mut dirs) = self.entries(&path, level)?;
        let has = |name: &str| files.binary_search_by(|have| have.as_str().cmp(name)).is_ok();

        let sums_file = self.small_file(&at(SUMS))?;
        let sums = match &sums_file {
            Found::Here(file) => {
                let sums = read_sums(file);
                if sums.is_none() {
                    self.report.malformed(at(SUMS), "is not a list of checksums");
                }
                sums
            }
            Found::TooLarge | Found::Missing => None,
        };
        if let (Found::Here(list), Found::Here(signature), Some(key)) =
            (&sums_file, self.small_file(&at(SUMS_SIGNATURE))?, &self.public_key)
        {
            let outcome = key.has_signed(list, &signature);
            self.report.signature(at(SUMS_SIGNATURE), outcome, "the list of checksums");
        } else {
            self.report.lower(Integrity::Checksums);
        }
        if sums.is_none() {
            self.report.lower(Integrity::Complete);
        }

        let meta_file = self.small_file(&at(level.meta()))?.here();
        let meta = meta_file.as_deref().map(|file| Meta::read(file).unwrap_or_default());
        let id = path.trim_end_matches('/').rsplit('/').next().and_then(|name| name.strip_suffix(level.suffix()));
        if let (Some(meta), Some(id)) = (&meta, id)
            && meta.id.as_deref() != Some(id)
        {
            self.report.malformed(at(level.meta()), "is of another part of the recording than its directory");
        }
        // What only proves the rest takes away no more than the proof, unless a list names it.
        let mut proofs = BTreeSet::from([SUMS, SUMS_SIGNATURE]);
        let mut parts = BTreeSet::from([level.meta(), level.summary()]);
        if level == Level::Session {
            proofs.extend([PUBLIC_KEY, WRAPPED_BSR_KEY, SELF_SIGNATURE, BSR_SIGNATURE]);
            parts.insert(SESSION_META);
        }
        parts.extend(sums.iter().flatten().map(|(name, _)| name.as_str()));
        parts.extend(meta.iter().flat_map(|meta| &meta.data).map(String::as_str));
        for name in parts.union(&proofs).filter(|name| !has(name)) {
            let integrity = if parts.contains(name) { Integrity::Incomplete } else { Integrity::Checksums };
            self.report.missing(integrity, at(name));
        }
        for name in files.iter().map(String::as_str).filter(|name| !UNSUMMED.contains(name)) {
            let is_listed = sums.as_ref().is_none_or(|sums| sums.contains_key(name));
            let is_stray = name.ends_with(".data") && meta.as_ref().is_some_and(|meta| !meta.data.contains(name));
            if !is_listed || is_stray {
                // What is no part of a recording cannot pass for one.
                let integrity = if is_part(name) { Integrity::Failed } else { Integrity::Authentic };
                self.report.find(integrity, "UnlistedFile", at(name), "no list names the file");
            }
        }
        if let Some(meta) = &meta {
            for name in meta.dirs.iter().filter(|name| dirs.binary_search(name).is_err()) {
                self.report.missing(Integrity::Incomplete, at(name));
            }
            for name in dirs.iter().filter(|name| !meta.dirs.contains(*name)) {
                self.report.find(Integrity::Failed, "UnlistedFile", at(name), "no list names the directory");
            }
        }

        // The streams come last: by then it is known what they are of.
        files.sort_by_cached_key(|name| (is_data(name), name.clone()));
        files.reverse();
        dirs.reverse();
        let id = id.map(str::to_owned);
        Ok(Dir { level, path, id, sums, program: None, files, dirs })
    }

    /// The names of the files, and of the directories that belong there, in their order. Links are not followed.
    fn entries(&mut self, path: &str, level: Level) -> io::Result<(Vec<String>, Vec<String>)> {
        let (mut files, mut dirs) = (Vec::new(), Vec::new());
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(path))? {
            let entry = entry?;
            if entries.len() == ENTRIES_MAX {
                self.report.malformed(path, format!("has more than {ENTRIES_MAX} files; not read"));
                return Ok((files, dirs));
            }
            entries.push((entry.file_name(), entry.file_type()?));
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, kind) in entries {
            let at = || format!("{path}{}", name.display());
            match name.to_str() {
                Some(name) if kind.is_file() => files.push(name.to_owned()),
                Some(name) if kind.is_dir() && level.below().is_some_and(|below| name.ends_with(below.suffix())) => {
                    dirs.push(name.to_owned());
                }
                _ if kind.is_file() || kind.is_dir() => {
                    self.report.find(Integrity::Authentic, "UnlistedFile", at(), "no part of a recording; not read");
                }
                _ => self.report.malformed(at(), "neither a file nor a directory; not read"),
            }
        }
        Ok((files, dirs))
    }

    /// The next unit.
    fn read(&mut self) -> io::Result<Option<Unit>> {
        loop {
            if let Some(mut stream) = self.stream.take() {
                if let Some(run) = stream.next()? {
                    let mut headers = self.headers(CHUNKS_FORM, &stream.path);
                    headers.extend(stream.headers.iter().cloned());
                    headers.extend(run.headers);
                    self.stream = Some(stream);
                    return Ok(Some(self.unit(headers, run.chunks)));
                }
                self.finish(stream)?;
            }
            let Some(dir) = self.dirs.last_mut() else { return Ok(None) };
            if let Some(name) = dir.files.pop() {
                let path = format!("{}{name}", dir.path);
                let sum = dir.sums.as_ref().and_then(|sums| sums.get(&name)).copied();
                if is_data(&name) {
                    self.stream = self.stream_of(&name, path, sum)?;
                } else if let Some((unit, program)) = self.whole(&path, sum)? {
                    if let Some(dir) = self.dirs.last_mut() {
                        dir.program = dir.program.or(program);
                    }
                    return Ok(Some(unit));
                }
            } else if let (Some(name), Some(below)) = (dir.dirs.pop(), dir.level.below()) {
                let path = format!("{}{name}/", dir.path);
                let entered = self.enter(below, path)?;
                self.dirs.push(entered);
            } else {
                self.dirs.pop();
            }
        }
    }

    /// Headers that every unit has.
    fn headers(&self, form: &str, file: &str) -> Vec<(&'static str, String)> {
        let mut headers = vec![(FORM_HEADER, form.to_owned()), (FILE, file.to_owned())];
        headers.extend(self.recording.clone().map(|id| (RECORDING, id)));
        headers
    }

    fn unit(&self, headers: Vec<(&'static str, String)>, value: Vec<u8>) -> Unit {
        Unit { source: SourceKind::Boundary, key: self.session.clone(), headers, value }
    }

    /// Holds a file's checksum against the list of its directory.
    fn check_sum(&mut self, sum: Option<[u8; 32]>, actual: [u8; 32], path: &str) {
        if sum.is_some_and(|sum| sum != actual) {
            self.report.find(Integrity::Failed, "ChecksumMismatch", path, "the content is not what the list says");
        }
    }

    /// A `.data` file, and what its units say of the channel that it is of.
    fn stream_of(&mut self, name: &str, path: String, sum: Option<[u8; 32]>) -> io::Result<Option<Stream>> {
        let Some(mut stream) = Stream::open(&self.root, name, path.clone(), sum)? else {
            self.report.missing(Integrity::Incomplete, path);
            return Ok(None);
        };
        if let Some(dir) = self.dirs.last_mut() {
            if dir.program.is_none() && dir.level == Level::Channel {
                dir.program = Some(requested_program(&self.root, &dir.path)?.unwrap_or("unknown"));
            }
            stream.headers.extend(dir.id.clone().map(|id| (CHANNEL, id)));
            stream.headers.extend(dir.program.map(|program| (PROGRAM, program.to_owned())));
        }
        Ok(Some(stream))
    }

    /// Reads what is left of a `.data` file, which is no chunk, and tells how it ended.
    fn finish(&mut self, mut stream: Stream) -> io::Result<()> {
        io::copy(&mut stream.file, &mut io::sink())?;
        let Stream { file, path, sum, index, offset, end, .. } = stream;
        let chunk = format!("chunk {index} at byte {offset}");
        match end {
            None | Some(End::Closed) => {}
            Some(End::Open) => {
                let detail = format!("ends at byte {offset} without a DONE: the recording was not closed");
                self.report.find(Integrity::Incomplete, "NotClosed", &*path, detail);
            }
            Some(End::Cut) => {
                self.report.find(Integrity::Incomplete, "NotClosed", &*path, format!("{chunk} is cut off"));
            }
            Some(End::Damaged(what)) => self.report.malformed(&*path, format!("{chunk} {what}")),
        }
        self.check_sum(sum, digest(file.into_inner().context), &path);
        Ok(())
    }

    /// A small file as a unit.
    fn whole(&mut self, path: &str, sum: Option<[u8; 32]>) -> io::Result<Option<(Unit, Option<&'static str>)>> {
        let value = match self.small_file(path)? {
            Found::Here(value) => value,
            Found::TooLarge => {
                let mut file = Hashed::open(&self.root.join(path))?;
                io::copy(&mut file, &mut io::sink())?;
                self.check_sum(sum, digest(file.context), path);
                let detail = format!("larger than {FILE_BYTES_MAX} bytes; not kept");
                self.report.find(Integrity::Incomplete, "FileTooLarge", path, detail);
                return Ok(None);
            }
            Found::Missing => {
                self.report.missing(Integrity::Incomplete, path);
                return Ok(None);
            }
        };
        self.check_sum(sum, sha256(&value), path);
        if value.is_empty() && path.ends_with("-summary.json") {
            let detail = "empty: the worker did not come to write it";
            self.report.find(Integrity::Incomplete, "NotClosed", path, detail);
        }
        let program = path.ends_with(Level::Channel.summary()).then(|| program_of(&value)).flatten();
        Ok(Some((self.unit(self.headers(FILE_FORM, path), value), program)))
    }
}

fn is_data(name: &str) -> bool {
    DATA_FILES.contains(&name)
}

/// Whether a decoder would take a file of this name for a part of the recording.
fn is_part(name: &str) -> bool {
    [".data", ".meta", ".json", ".pub", ".sign"].iter().any(|end| name.ends_with(end)) || name.starts_with("wrapped")
}

/// What ran in a channel, by its summary.
fn program_of(summary: &[u8]) -> Option<&'static str> {
    let summary: Value = serde_json::from_slice(summary).ok()?;
    let text = |name| summary.get(name).and_then(Value::as_str);
    match (text("SessionProgram")?, text("ExecProgram")) {
        ("shell", _) => Some("shell"),
        // Those two are started like commands and speak protocols of their own.
        ("exec", Some("scp")) => Some("scp"),
        ("exec", Some("rsync")) => Some("rsync"),
        ("exec", _) => Some("exec"),
        ("subsystem", _) => Some("subsystem"),
        _ => None,
    }
}

/// What was asked for in a channel, by its requests: of a worker that died there is no summary.
fn requested_program(root: &Path, dir: &str) -> io::Result<Option<&'static str>> {
    for name in DATA_FILES.into_iter().filter(|name| name.starts_with("requests")) {
        let Some(mut stream) = Stream::open(root, name, format!("{dir}{name}"), None)? else { continue };
        while let Some(run) = stream.next()? {
            let mut rest = run.chunks.as_slice();
            while let Ok((chunk, after)) = chunk::split(rest) {
                match &chunk.kind {
                    b"SHLL" => return Ok(Some("shell")),
                    b"EXEC" => return Ok(Some("exec")),
                    b"SUBS" => return Ok(Some("subsystem")),
                    _ => rest = after,
                }
            }
        }
    }
    Ok(None)
}

/// A file, hashed as it is read.
struct Hashed {
    file: File,
    context: Context,
}

impl Hashed {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, context: Context::new(&SHA256) })
    }
}

impl Read for Hashed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buf)?;
        self.context.update(buf.get(..len).unwrap_or_default());
        Ok(len)
    }
}

/// Why a file has no further chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The last one was a DONE.
    Closed,
    /// The last one was another.
    Open,
    /// The file ends inside one.
    Cut,
    /// The next is none, for this reason.
    Damaged(&'static str),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Cut => Self::Cut,
            Fault::TooLong | Fault::Direction | Fault::Nanoseconds | Fault::Crc => Self::Damaged(fault.what()),
        }
    }
}

/// Whole chunks as they stand in the file, and the headers that are theirs.
struct Run {
    chunks: Vec<u8>,
    headers: Vec<(&'static str, String)>,
}

/// A `.data` file.
struct Stream {
    file: BufReader<Hashed>,
    path: String,
    /// What the list of its directory says.
    sum: Option<[u8; 32]>,
    /// Headers of all its units.
    headers: Vec<(&'static str, String)>,
    /// Its number in [`DATA_FILES`].
    number: i64,
    /// The beginning of the next chunk, when it has been read.
    fixed: Option<[u8; FIXED_BYTES]>,
    /// Index of the next chunk.
    index: u64,
    /// Where the next chunk begins.
    offset: u64,
    order: Order,
    compression: Compression,
    is_done: bool,
    end: Option<End>,
}

impl Stream {
    /// Opens a file; `None` when it is not there.
    fn open(root: &Path, name: &str, path: String, sum: Option<[u8; 32]>) -> io::Result<Option<Self>> {
        let full = root.join(&path);
        if !super::is_regular_file(&full)? {
            return Ok(None);
        }
        let mut stream = Self {
            file: BufReader::with_capacity(64 * 1024, Hashed::open(&full)?),
            path,
            sum,
            headers: Vec::new(),
            number: DATA_FILES.into_iter().zip(0..).find(|(known, _)| *known == name).map_or(0, |(_, number)| number),
            fixed: None,
            index: 0,
            offset: 0,
            order: Order::default(),
            compression: Compression::None,
            is_done: false,
            end: None,
        };
        let mut magic = Vec::new();
        (&mut stream.file).take(chunk::MAGIC.len() as u64).read_to_end(&mut magic)?;
        stream.end = match magic == chunk::MAGIC {
            true => None,
            false if chunk::MAGIC.starts_with(&magic) => Some(End::Cut),
            false => Some(End::Damaged("is not reached: the file does not begin like one of a recording")),
        };
        stream.offset = magic.len() as u64;
        Ok(Some(stream))
    }

    /// The next chunks, as many as make a unit.
    fn next(&mut self) -> io::Result<Option<Run>> {
        let (first, after) = (self.index, self.order.last);
        let mut chunks = Vec::new();
        let mut inflated: usize = 0;
        while self.end.is_none() && inflated < INFLATED_UNIT_BYTES {
            let Some(fixed) = self.fixed()? else { break };
            let size = match chunk::size(&fixed) {
                Ok(size) => size,
                Err(fault) => {
                    self.end = Some(fault.into());
                    break;
                }
            };
            let start = chunks.len();
            if start > 0 && start + size > UNIT_BYTES {
                self.fixed = Some(fixed);
                break;
            }
            chunks.extend_from_slice(&fixed);
            (&mut self.file).take((size - FIXED_BYTES) as u64).read_to_end(&mut chunks)?;
            match self.chunk(chunks.get(start..).unwrap_or_default()) {
                Ok(size) => inflated = inflated.saturating_add(size),
                Err(end) => {
                    chunks.truncate(start);
                    self.end = Some(end);
                }
            }
        }
        let mut headers = vec![(COMPRESSION, self.compression.as_str().to_owned()), (FIRST_CHUNK, first.to_string())];
        headers.extend(after.map(|after| (AFTER, after.to_string())));
        Ok((!chunks.is_empty()).then_some(Run { chunks, headers }))
    }

    /// The beginning of the next chunk; `None` when there is none.
    fn fixed(&mut self) -> io::Result<Option<[u8; FIXED_BYTES]>> {
        if let Some(fixed) = self.fixed.take() {
            return Ok(Some(fixed));
        }
        let mut fixed = Vec::with_capacity(FIXED_BYTES);
        (&mut self.file).take(FIXED_BYTES as u64).read_to_end(&mut fixed)?;
        self.end = match fixed.as_slice() {
            [] if self.is_done => Some(End::Closed),
            [] => Some(End::Open),
            _ if self.is_done => Some(End::Damaged("stands after the DONE")),
            _ if fixed.len() < FIXED_BYTES => Some(End::Cut),
            _ => None,
        };
        Ok(if self.end.is_none() { fixed.try_into().ok() } else { None })
    }

    /// Reads a chunk. Returns the number of bytes that it says it inflates to, which nobody needs to believe: decoders
    /// have a bound of their own.
    fn chunk(&mut self, bytes: &[u8]) -> Result<usize, End> {
        let (chunk, _) = chunk::split(bytes)?;
        if (chunk.kind == chunk::HEAD) != (self.index == 0) {
            return Err(End::Damaged("is out of place: a file has one HEAD, and that is first"));
        }
        if chunk.kind == chunk::HEAD {
            self.compression = Compression::of_head(chunk.data).ok_or(End::Damaged("names a way that is not known"))?;
        }
        self.is_done = chunk.kind == chunk::DONE;
        if let Some(at) = chunk.at {
            self.order.position(self.index, at, self.number);
        }
        self.index += 1;
        self.offset += bytes.len() as u64;
        let is_inflated = self.compression == Compression::Gzip && self.index > 1 && !self.is_done;
        Ok(match chunk.data.last_chunk() {
            Some(size) if is_inflated => u32::from_le_bytes(*size) as usize,
            _ => 0,
        })
    }
}

impl Reader for BsrReader {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        let unit = self.read();
        if unit.is_err() {
            // Whoever goes on nevertheless has not seen all of it.
            self.report.lower(Integrity::Incomplete);
        }
        unit
    }

    fn summary(&self) -> Summary {
        Summary {
            session_id: self.session.clone(),
            recording_id: self.recording.clone(),
            public_key_sha256: self.public_key.as_ref().map(|key| crate::hex::encode(&key.sha256())),
            integrity: (self.dirs.is_empty() && self.stream.is_none()).then_some(self.report.integrity),
            findings: self.report.findings.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use flate2::Crc;

    use super::*;

    const SHELL: &str = "cr_9hVd4XsJcE.connection/chr_Sh3llAbCd1.channel";

    /// A directory among the shared fixtures.
    fn fixtures() -> Option<PathBuf> {
        let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures/boundary/bsr/synthetic"));
        if !dir.is_dir() {
            eprintln!("SKIPPED: no fixture {}", dir.display());
            return None;
        }
        Some(dir.to_path_buf())
    }

    fn root_key(fixtures: &Path) -> BsrKeys {
        let digits = fs::read_to_string(fixtures.join("kms-root-key.hex")).unwrap();
        let digits = digits.trim().as_bytes().chunks(2);
        let key: Vec<u8> =
            digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect();
        BsrKeys { kms_root_keys: vec![[7; 32], key.try_into().unwrap()], ..BsrKeys::default() }
    }

    fn read(dir: &Path, keys: &BsrKeys) -> (Vec<Unit>, Summary) {
        let mut reader = open(dir, keys).unwrap();
        let mut units = Vec::new();
        while let Some(unit) = reader.next().unwrap() {
            assert_eq!(reader.summary().integrity, None, "not before the end");
            units.push(unit);
        }
        assert_eq!(reader.next().unwrap(), None);
        (units, reader.summary())
    }

    fn header<'a>(unit: &'a Unit, name: &str) -> Option<&'a str> {
        unit.headers.iter().find(|(have, _)| *have == name).map(|(_, value)| value.as_str())
    }

    /// Kinds and files of the findings, in the order in which they were found.
    fn found(summary: &Summary) -> Vec<(&str, &str)> {
        summary.findings.iter().map(|finding| (finding.kind, finding.file.as_deref().unwrap_or_default())).collect()
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &to.join(entry.file_name())),
                false => fs::write(to.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap(),
            }
        }
    }

    #[test]
    fn every_change_is_named_as_boundary_names_it() {
        use Integrity::*;
        let Some(fixtures) = fixtures() else { return };
        let with_key = root_key(&fixtures);
        let data = format!("{SHELL}/messages-outbound.data");
        let requests = format!("{SHELL}/requests-inbound.data");
        type Expected<'a> = (Integrity, Vec<(&'a str, &'a str)>);
        let cases: [(&str, Expected<'_>, Expected<'_>); 5] = [
            ("good", (SelfSigned, vec![]), (Authentic, vec![])),
            (
                "tampered-data",
                (Failed, vec![("MalformedFileContent", &data), ("ChecksumMismatch", &data)]),
                (Failed, vec![("MalformedFileContent", &data), ("ChecksumMismatch", &data)]),
            ),
            (
                "missing-file",
                (Incomplete, vec![("MissingFile", &requests)]),
                (Incomplete, vec![("MissingFile", &requests)]),
            ),
            (
                "truncated-data",
                (Failed, vec![("NotClosed", &data), ("ChecksumMismatch", &data)]),
                (Failed, vec![("NotClosed", &data), ("ChecksumMismatch", &data)]),
            ),
            ("rekeyed", (SelfSigned, vec![]), (Failed, vec![("InvalidSignature", BSR_SIGNATURE)])),
        ];
        for (name, without, with) in cases {
            let dir = fixtures.join(name).join("sr_7TzPw2RbQn.bsr");
            for (keys, (integrity, findings)) in [(&BsrKeys::default(), without), (&with_key, with)] {
                let (_, summary) = read(&dir, keys);
                assert_eq!(summary.integrity, Some(integrity), "{name} {keys:?}");
                assert_eq!(found(&summary), findings, "{name} {keys:?}");
                assert_eq!(summary.session_id.as_deref(), Some("s_Kq3vYx8LmT"), "{name}");
                assert_eq!(summary.recording_id.as_deref(), Some("sr_7TzPw2RbQn"), "{name}");
            }
        }
        let (_, tampered) = read(&fixtures.join("tampered-data/sr_7TzPw2RbQn.bsr"), &with_key);
        assert_eq!(tampered.findings[0].detail, "chunk 2 at byte 130 has a checksum of other bytes");
        let (_, truncated) = read(&fixtures.join("truncated-data/sr_7TzPw2RbQn.bsr"), &with_key);
        assert_eq!(truncated.findings[0].detail, "chunk 7 at byte 400 is cut off");
    }

    #[test]
    fn a_pinned_key_makes_a_recording_authentic_and_no_other() {
        let Some(fixtures) = fixtures() else { return };
        let integrity = |name: &str, pins: Vec<[u8; 32]>| {
            let keys = BsrKeys { pinned_public_keys: pins, ..BsrKeys::default() };
            read(&fixtures.join(name).join("sr_7TzPw2RbQn.bsr"), &keys).1
        };
        let file = fs::read(fixtures.join("good/sr_7TzPw2RbQn.bsr/bsrKey.pub")).unwrap();
        let pin = PublicKey::read(&file).unwrap().sha256();
        assert_eq!(integrity("good", vec![[0; 32], pin]).integrity, Some(Integrity::Authentic));
        assert_eq!(integrity("rekeyed", vec![pin]).integrity, Some(Integrity::SelfSigned));
        assert_eq!(integrity("tampered-data", vec![pin]).integrity, Some(Integrity::Failed));
        // What the summary tells is what an operator pins.
        assert_eq!(integrity("good", Vec::new()).public_key_sha256, Some(crate::hex::encode(&pin)));
        assert_ne!(integrity("rekeyed", Vec::new()).public_key_sha256, Some(crate::hex::encode(&pin)));
    }

    #[test]
    fn what_is_done_to_a_container_shows() {
        use Integrity::*;
        type Case<'a> = (&'a str, fn(&Path), Integrity, Vec<(&'a str, &'a str)>);
        let data = format!("{SHELL}/messages-outbound.data");
        let summary = format!("{SHELL}/channel-recording-summary.json");
        let cases: Vec<Case<'_>> = vec![
            ("nothing", |_| {}, Authentic, vec![]),
            (
                "a list of checksums is edited",
                |dir| {
                    let list = fs::read_to_string(dir.join(SUMS)).unwrap();
                    fs::write(dir.join(SUMS), list.replace("  bsrKey.pub", " *bsrKey.pub")).unwrap();
                },
                Failed,
                vec![("InvalidSignature", SUMS_SIGNATURE)],
            ),
            (
                "a list names a file twice",
                |dir| {
                    let list = fs::read_to_string(dir.join(SUMS)).unwrap();
                    fs::write(dir.join(SUMS), list.repeat(2)).unwrap();
                },
                Failed,
                vec![("MalformedFileContent", SUMS), ("InvalidSignature", SUMS_SIGNATURE)],
            ),
            (
                "a list and its signature are gone",
                |dir| {
                    fs::remove_file(dir.join(SHELL).join(SUMS)).unwrap();
                    fs::remove_file(dir.join(SHELL).join(SUMS_SIGNATURE)).unwrap();
                },
                Complete,
                vec![
                    ("MissingFile", "cr_9hVd4XsJcE.connection/chr_Sh3llAbCd1.channel/SHA256SUM"),
                    ("MissingFile", "cr_9hVd4XsJcE.connection/chr_Sh3llAbCd1.channel/SHA256SUM.sig"),
                ],
            ),
            (
                "a signature is gone",
                |dir| fs::remove_file(dir.join(SUMS_SIGNATURE)).unwrap(),
                Checksums,
                vec![("MissingFile", SUMS_SIGNATURE)],
            ),
            (
                "a signature is none",
                |dir| fs::write(dir.join(SUMS_SIGNATURE), "none").unwrap(),
                Failed,
                vec![("MalformedFileContent", SUMS_SIGNATURE)],
            ),
            (
                "the public key is gone, and the list names it",
                |dir| fs::remove_file(dir.join(PUBLIC_KEY)).unwrap(),
                Incomplete,
                vec![("MissingFile", PUBLIC_KEY)],
            ),
            (
                "a channel is gone",
                |dir| fs::remove_dir_all(dir.join(SHELL)).unwrap(),
                Incomplete,
                vec![("MissingFile", SHELL)],
            ),
            (
                "a channel is there twice",
                |dir| copy(&dir.join(SHELL), &dir.join("cr_9hVd4XsJcE.connection/chr_C0py.channel")),
                Failed,
                vec![
                    ("UnlistedFile", "cr_9hVd4XsJcE.connection/chr_C0py.channel"),
                    ("MalformedFileContent", "cr_9hVd4XsJcE.connection/chr_C0py.channel/channel-recording.meta"),
                ],
            ),
            (
                "two channels change places",
                |dir| {
                    let connection = dir.join("cr_9hVd4XsJcE.connection");
                    let rename = |from, to| fs::rename(connection.join(from), connection.join(to)).unwrap();
                    rename("chr_Sh3llAbCd1.channel", "other");
                    rename("chr_Ex3cQwErT2.channel", "chr_Sh3llAbCd1.channel");
                    rename("other", "chr_Ex3cQwErT2.channel");
                },
                Failed,
                vec![
                    ("MalformedFileContent", "cr_9hVd4XsJcE.connection/chr_Ex3cQwErT2.channel/channel-recording.meta"),
                    ("MalformedFileContent", "cr_9hVd4XsJcE.connection/chr_Sh3llAbCd1.channel/channel-recording.meta"),
                ],
            ),
            (
                "a stream is added",
                |dir| {
                    let from = dir.join(SHELL).join("messages-outbound.data");
                    fs::copy(from, dir.join("cr_9hVd4XsJcE.connection/messages-outbound.data")).unwrap();
                },
                Failed,
                vec![("UnlistedFile", "cr_9hVd4XsJcE.connection/messages-outbound.data")],
            ),
            (
                "strangers",
                |dir| {
                    fs::write(dir.join(".DS_Store"), "x").unwrap();
                    fs::write(dir.join(".journal"), "CREATED bsrKey.pub\n").unwrap();
                    fs::create_dir(dir.join("notes")).unwrap();
                },
                Authentic,
                vec![("UnlistedFile", "notes"), ("UnlistedFile", ".DS_Store")],
            ),
            (
                "a link",
                |dir| {
                    fs::remove_file(dir.join(SESSION_META)).unwrap();
                    std::os::unix::fs::symlink("/etc/hostname", dir.join(SESSION_META)).unwrap();
                },
                Failed,
                vec![("MalformedFileContent", SESSION_META), ("MissingFile", SESSION_META)],
            ),
            (
                "a worker that died before the summary",
                |dir| {
                    let dir = dir.join(SHELL);
                    fs::write(dir.join("channel-recording-summary.json"), "").unwrap();
                    fs::remove_file(dir.join(SUMS)).unwrap();
                    fs::remove_file(dir.join(SUMS_SIGNATURE)).unwrap();
                    let data = fs::read(dir.join("messages-outbound.data")).unwrap();
                    fs::write(dir.join("messages-outbound.data"), &data[..437]).unwrap();
                },
                Incomplete,
                vec![
                    ("MissingFile", "cr_9hVd4XsJcE.connection/chr_Sh3llAbCd1.channel/SHA256SUM"),
                    ("MissingFile", "cr_9hVd4XsJcE.connection/chr_Sh3llAbCd1.channel/SHA256SUM.sig"),
                    ("NotClosed", &summary),
                    ("NotClosed", &data),
                ],
            ),
            (
                "a stream that goes on after its end",
                |dir| {
                    let file = dir.join(SHELL).join("messages-outbound.data");
                    fs::OpenOptions::new().append(true).open(file).unwrap().write_all(b"more").unwrap();
                },
                Failed,
                vec![("MalformedFileContent", &data), ("ChecksumMismatch", &data)],
            ),
            (
                "a file that is too large to be one",
                |dir| fs::write(dir.join(SESSION_META), " ".repeat(1024 * 1024 + 1)).unwrap(),
                Failed,
                vec![("ChecksumMismatch", SESSION_META), ("FileTooLarge", SESSION_META)],
            ),
        ];
        let Some(fixtures) = fixtures() else { return };
        let keys = root_key(&fixtures);
        for (name, change, integrity, findings) in cases {
            let dir = tempfile::tempdir().unwrap();
            copy(&fixtures.join("good/sr_7TzPw2RbQn.bsr"), dir.path());
            change(dir.path());
            let (units, summary) = read(dir.path(), &keys);
            assert_eq!(found(&summary), findings, "{name}");
            assert_eq!(summary.integrity, Some(integrity), "{name}");
            // Even without its metadata a recording is of its session.
            assert!(units.iter().all(|unit| unit.key.as_deref() == Some("s_Kq3vYx8LmT")), "{name}");
            assert!(units.iter().all(|unit| header(unit, RECORDING) == Some("sr_7TzPw2RbQn")), "{name}");
            let shown = format!("{SHELL}/messages-outbound.data");
            let shown = units.iter().find(|unit| header(unit, FILE) == Some(&shown));
            if let (Some(unit), false) = (shown, name.contains("places")) {
                assert_eq!(header(unit, PROGRAM), Some("shell"), "{name}");
            }
        }
    }

    #[test]
    fn units_are_the_files_in_one_order() {
        let Some(fixtures) = fixtures() else { return };
        let dir = fixtures.join("good/sr_7TzPw2RbQn.bsr");
        let (units, _) = read(&dir, &BsrKeys::default());
        assert_eq!(read(&dir, &BsrKeys::default()).0, units, "the same once more");
        // Ten files of the session, six of the connection, eight of each channel.
        assert_eq!(units.len(), 10 + 6 + 3 * 8);
        for unit in &units {
            let file = header(unit, FILE).unwrap();
            let bytes = fs::read(dir.join(file)).unwrap();
            match header(unit, FORM_HEADER) {
                Some(FILE_FORM) => assert_eq!(unit.value, bytes, "{file}"),
                form => {
                    assert_eq!(form, Some(CHUNKS_FORM), "{file}");
                    assert_eq!(unit.value, bytes[8..], "{file}");
                    assert_eq!(header(unit, FIRST_CHUNK), Some("0"));
                    assert_eq!(header(unit, AFTER), None);
                }
            }
        }
        let files: Vec<&str> = units.iter().filter_map(|unit| header(unit, FILE)).collect();
        assert_eq!(files[0], "SHA256SUM");
        assert_eq!(files[16], "cr_9hVd4XsJcE.connection/chr_Ex3cQwErT2.channel/SHA256SUM");
        let of = |channel: &str, file: &str| {
            let file = format!("cr_9hVd4XsJcE.connection/{channel}.channel/{file}.data");
            units.iter().find(|unit| header(unit, FILE) == Some(&file)).unwrap().clone()
        };
        let cases = [
            (of("chr_Sh3llAbCd1", "messages-outbound"), "none", "shell", "chr_Sh3llAbCd1"),
            (of("chr_Ex3cQwErT2", "messages-outbound"), "gzip", "exec", "chr_Ex3cQwErT2"),
            (of("chr_Sf7pZxCvB3", "messages-inbound"), "gzip", "subsystem", "chr_Sf7pZxCvB3"),
        ];
        for (unit, compression, program, channel) in cases {
            assert_eq!(header(&unit, COMPRESSION), Some(compression));
            assert_eq!(header(&unit, PROGRAM), Some(program));
            assert_eq!(header(&unit, CHANNEL), Some(channel));
        }
    }

    #[test]
    fn containers_are_known_by_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, entry: &str, is_dir: bool| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            match is_dir {
                true => fs::create_dir(path.join(entry)).unwrap(),
                false => fs::write(path.join(entry), "").unwrap(),
            }
            is_container(&path)
        };
        assert!(of("a", "session-recording.meta", false));
        assert!(of("b", "cr_1.connection", true));
        assert!(of("c", "bsrKey.pub", false));
        assert!(!of("d.bsr", "cr_1.connection", false), "a file is no connection");
        assert!(!of("e", "session.tar", false));
        assert!(!is_container(&dir.path().join("a/session-recording.meta")));
        assert!(!is_container(&dir.path().join("none")));
    }

    #[test]
    fn keys_are_not_shown() {
        let keys = BsrKeys { kms_root_keys: vec![[171; 32]], pinned_public_keys: vec![[205; 32]; 2] };
        assert_eq!(format!("{keys:?}"), "BsrKeys(1 KMS root keys, 2 pinned public keys)");
    }

    #[test]
    fn lists_of_checksums_are_read_strictly() {
        let sum = "0f".repeat(32);
        let cases = [
            (format!("{sum}  a\n{sum} *b\n"), Some(2)),
            (String::new(), Some(0)),
            (format!("{sum}  a b"), Some(1)),
            (format!("{sum} a"), None),
            (format!("{sum}  "), None),
            (format!("{sum}  a\n{sum}  a\n"), None),
            (format!("{}  a", "+f".repeat(32)), None),
            (format!("{}  a", "é".repeat(32)), None),
            ("0f  a".to_owned(), None),
        ];
        for (list, expected) in cases {
            assert_eq!(read_sums(list.as_bytes()).map(|sums| sums.len()), expected, "{list}");
        }
    }

    /// A chunk as Boundary writes it.
    fn chunk(kind: &[u8; 4], micros: u64, data: &[u8]) -> Vec<u8> {
        let mut summed = [b"BSSH".as_slice(), kind, &[2]].concat();
        summed.extend((micros / 1_000_000).to_be_bytes());
        summed.extend((micros as u32 % 1_000_000 * 1000).to_be_bytes());
        summed.extend(data);
        let mut crc = Crc::new();
        crc.update(&summed);
        [&(data.len() as u32).to_be_bytes(), summed.as_slice(), &crc.sum().to_be_bytes()].concat()
    }

    /// A container of one channel whose output are these chunks, without lists of checksums.
    fn container(chunks: impl Iterator<Item = Vec<u8>>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let channel = dir.path().join("cr_1.connection/chr_1.channel");
        fs::create_dir_all(&channel).unwrap();
        let write = |path: &str, text: &str| fs::write(dir.path().join(path), text).unwrap();
        write("session-recording.meta", "id: sr_1\nprotocol: BSSH\nconnection: cr_1.connection\n");
        write("cr_1.connection/connection-recording.meta", "id: cr_1\nchannel: chr_1.channel\n");
        write("cr_1.connection/chr_1.channel/channel-recording.meta", "id: chr_1\nmessages: outbound\n");
        let mut file = io::BufWriter::new(File::create(channel.join("messages-outbound.data")).unwrap());
        file.write_all(&chunk::MAGIC).unwrap();
        chunks.for_each(|chunk| file.write_all(&chunk).unwrap());
        file.flush().unwrap();
        dir
    }

    #[test]
    fn a_large_stream_is_read_in_small_units() {
        let head = chunk(b"HEAD", 1_764_583_200_000_000, b"\0\0s_1");
        let data = chunk(b"DATA", 1_764_583_201_000_000, &[b'x'; 60_000]);
        // As large as Boundary writes them, and so larger than a unit.
        let huge = chunk(b"DATA", 1_764_583_202_000_000, &[b'y'; 6_400_000]);
        let done = chunk(b"DONE", 1_764_583_203_000_000, b"");
        let whole = head.len() + 1600 * data.len() + huge.len() + done.len();
        assert!(whole > 100_000_000);
        let chunks = [head].into_iter().chain(std::iter::repeat_n(data.clone(), 1600)).chain([huge.clone(), done]);
        let dir = container(chunks);
        let mut reader = open(dir.path(), &BsrKeys::default()).unwrap();
        let (mut bytes, mut index, mut largest) = (0, 0, Vec::new());
        while let Some(unit) = reader.next().unwrap() {
            if header(&unit, FORM_HEADER) != Some(CHUNKS_FORM) {
                continue;
            }
            assert_eq!(header(&unit, FIRST_CHUNK), Some(&*index.to_string()));
            let mut rest = unit.value.as_slice();
            while let Ok((_, after)) = chunk::split(rest) {
                (rest, index) = (after, index + 1);
            }
            assert_eq!(rest, b"", "chunks are whole");
            bytes += unit.value.len();
            largest.push(unit.value.len());
            // A reader that kept what it has given out would be seen here, at a hundred times this.
            assert!(unit.value.capacity() < 2 * huge.len());
        }
        largest.sort_unstable();
        assert_eq!((bytes, index), (whole, 1603));
        assert_eq!(largest.pop(), Some(huge.len()), "one chunk is a unit by itself");
        assert!(largest.iter().all(|len| *len <= UNIT_BYTES));
        assert_eq!(largest.len(), 1600 / (UNIT_BYTES / data.len()) + 1);
        assert_eq!(reader.summary().integrity, Some(Integrity::Incomplete), "there are no summaries");
    }

    #[test]
    fn units_of_compressed_chunks_are_bounded_by_what_they_inflate_to() {
        let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        member.write_all(&vec![0; 256 * 1024]).unwrap();
        let member = member.finish().unwrap();
        assert!(member.len() < 400);
        let head = chunk(b"HEAD", 0, b"\x01\0s_1");
        let chunks = [head].into_iter().chain(std::iter::repeat_n(chunk(b"DATA", 1, &member), 64));
        let (units, _) = read(container(chunks).path(), &BsrKeys::default());
        let runs = units.iter().filter(|unit| header(unit, FORM_HEADER) == Some(CHUNKS_FORM));
        let firsts: Vec<_> = runs.filter_map(|unit| header(unit, FIRST_CHUNK)).collect();
        assert_eq!(firsts, ["0", "17", "33", "49"], "16 of 256 KiB each");
    }

    #[test]
    fn signatures_of_a_key_made_here_are_understood() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        // Field 9 of KeyInfo and field 20 of SigInfo, with a field of a later version before them.
        let file = [&[0x08, 1, 0x4a, 32][..], &public].concat();
        let key = PublicKey::read(&file).unwrap();
        assert_eq!(key.sha256(), sha256(&public));
        let signature = |bytes: &[u8]| [&[0x08, 1, 0xa2, 1, 64][..], pair.sign(bytes).as_ref()].concat();
        assert_eq!(key.has_signed(b"list", &signature(b"list")), Some(true));
        assert_eq!(key.has_signed(b"list", &signature(b"lust")), Some(false));
        assert_eq!(key.is_signed_by_itself(&signature(&public)), Some(true));
        assert_eq!(key.has_signed(b"list", b"\xff"), None);
        assert_eq!(PublicKey::read(&file[..20]), None);
        assert_eq!(PublicKey::read(b""), None, "no key");
    }
}
