//! Imports objects at rest into the ledger: once each, whatever stops it and however often it is tried.
//!
//! An object is what its bytes are: its SHA-256 names a stream of its own in the ledger (`import/<sha256>`), whose cursor
//! says how many of its units are in. An import that was interrupted goes on there, and one of an object that is in adds
//! nothing. What is cut otherwise is another stream (`import/<sha256>/<how>`): as long as a recording cannot be decrypted,
//! for a session or a source that somebody named. The last record of the stream tells of the import itself ([`source::custody`](crate::source)).

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use custody_ledger::{Ledger, LedgerError, Stream};
use custody_schemas::event::Integrity;
use custody_schemas::time::to_rfc3339;
use tokio::sync::mpsc;

use crate::config::Flush;
use crate::consumer::now;
use crate::direct::{Content, Direct, DirectError};
use crate::hex;
use crate::import::{Found, Keys, Reader, Summary, Unit};
use crate::source::custody::{DefectRecord, IMPORT, ImportRecord, MemberRecord};
use crate::source::{IMPORTED, Settings, Source, SourceKind};

/// Name of the place where the cursors of imported objects are, beside the Kafka clusters.
const CLUSTER: &str = "import";

/// Units are handed over in runs of about this many bytes.
const RUN_BYTES: usize = 512 * 1024;

/// How often objects are tried again when another process imports the same ones.
const ATTEMPTS: usize = 5;

/// Why an import stopped.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The ledger failed. What was imported up to here is in; importing again goes on.
    #[error(transparent)]
    Ledger(#[from] DirectError),
}

impl From<LedgerError> for ImportError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error.into())
    }
}

/// What came of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The object.
    pub found: Found,
    /// SHA-256 of its bytes, in hexadecimal; of a directory, of the list of its members.
    pub sha256: String,
    /// How it was cut, where that does not follow from its bytes alone.
    pub cut: Option<String>,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// Records that this import added; 0 when the object was in already.
    pub records: u64,
    /// Events that it added.
    pub events: u64,
    /// Pieces of recordings that it added.
    pub pieces: u64,
    /// Records that could not be decoded, wholly or in part, by reason.
    pub errors: BTreeMap<&'static str, u64>,
    /// What is known of the object.
    pub summary: Summary,
    /// Why it could not be read, if it could not.
    pub failed: Option<String>,
}

/// One file of an object.
struct Member {
    /// Path in the directory, with slashes; otherwise its name.
    file: String,
    size_bytes: u64,
    sha256: String,
}

/// What the thread that reads an object hands over.
enum Reading {
    Identity { sha256: String, cut: Option<String>, members: Vec<Member> },
    Units(Vec<Unit>),
    Done(Summary),
    Failed(io::Error),
}

/// Imports objects.
#[derive(Debug)]
pub struct Importer {
    direct: Direct,
    settings: Arc<Settings>,
    keys: Arc<Keys>,
    flush: Flush,
    /// Who imports, as the system names them.
    by: Option<String>,
}

impl Importer {
    /// Opens the ledger's tables for appending.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when they cannot be opened.
    pub async fn open(
        ledger: &Ledger,
        settings: Arc<Settings>,
        keys: Arc<Keys>,
        flush: Flush,
    ) -> Result<Self, LedgerError> {
        let by = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).filter(|name| !name.is_empty());
        Ok(Self { direct: Direct::open(ledger).await?, settings, keys, flush, by })
    }

    /// Imports objects in their order. `progress` is called with the number of bytes read, twice an object's size in
    /// all: once for its hash and once for its units.
    ///
    /// # Errors
    ///
    /// [`ImportError`] when the ledger fails. What cannot be read of an object is told by its report.
    pub async fn import(
        &mut self,
        objects: Vec<Found>,
        mut progress: impl FnMut(&Found, u64),
    ) -> Result<Vec<Report>, ImportError> {
        let mut queue: VecDeque<Found> = objects.into();
        let mut reports = Vec::new();
        // Read, and not committed yet.
        let mut pending: Vec<Report> = Vec::new();
        let mut attempts = 0;
        while let Some(found) = queue.pop_front() {
            let result = match self.read(&found, &mut pending, &mut reports, &mut progress).await {
                Ok(report) => {
                    pending.push(report);
                    match queue.is_empty() {
                        true => self.direct.settle().await,
                        false if self.direct.is_full(&self.flush) => self.direct.commit().await,
                        false => continue,
                    }
                }
                Err(error) => {
                    queue.push_front(found);
                    Err(error)
                }
            };
            match result {
                Ok(()) => self.committed(&mut pending, &mut reports),
                // Another process was faster with one of them: what it has done is not done again.
                Err(error) if error.is_fenced() && attempts < ATTEMPTS => {
                    attempts += 1;
                    for report in pending.drain(..).rev() {
                        queue.push_front(report.found);
                    }
                    self.direct.reset().await?;
                }
                Err(error) => {
                    // What is held of it must not be committed with what comes next.
                    if let Err(error) = self.direct.reset().await {
                        tracing::debug!(%error, "the tables cannot be read either");
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(reports)
    }

    fn committed(&mut self, pending: &mut Vec<Report>, reports: &mut Vec<Report>) {
        for report in pending.drain(..) {
            self.direct.end(&stream(&report.sha256, report.cut.as_deref()));
            reports.push(report);
        }
    }

    async fn read(
        &mut self,
        found: &Found,
        pending: &mut Vec<Report>,
        reports: &mut Vec<Report>,
        progress: &mut impl FnMut(&Found, u64),
    ) -> Result<Report, DirectError> {
        let mut report = Report {
            found: found.clone(),
            sha256: String::new(),
            cut: None,
            size_bytes: 0,
            records: 0,
            events: 0,
            pieces: 0,
            errors: BTreeMap::new(),
            summary: Summary::default(),
            failed: None,
        };
        let (hand_over, mut handed) = mpsc::channel(2);
        let (reading, keys) = (found.clone(), self.keys.clone());
        let reader = tokio::task::spawn_blocking(move || read_object(&reading, &keys, &hand_over));
        // All units of an object are of one source, and the record of the import of ours.
        let source = Source::with(found.format.source(), &self.settings);
        let own = Source::with(SourceKind::Custody, &self.settings);
        let mut members = Vec::new();
        let mut offset = 0;
        let mut stream = stream("", None);
        while let Some(read) = handed.recv().await {
            match read {
                Reading::Identity { sha256, cut, members: all } => {
                    report.size_bytes = all.iter().map(|member| member.size_bytes).sum();
                    progress(found, report.size_bytes);
                    (report.sha256, report.cut, members) = (sha256, cut, all);
                    stream = self::stream(&report.sha256, report.cut.as_deref());
                    // The same bytes under two names are one object.
                    if pending.iter().any(|other| (&other.sha256, &other.cut) == (&report.sha256, &report.cut)) {
                        self.direct.commit().await?;
                        self.committed(pending, reports);
                    }
                    self.direct.begin(&stream).await?;
                }
                Reading::Units(units) => {
                    progress(found, units.iter().map(|unit| unit.value.len() as u64).sum());
                    for unit in units {
                        self.take(&stream, &source, &unit, &mut offset, &mut report);
                        if self.direct.is_full(&self.flush) {
                            self.direct.commit().await?;
                            self.committed(pending, reports);
                        }
                    }
                }
                Reading::Done(summary) => {
                    report.summary = summary;
                    // Complete means that nothing is known to be wrong; higher levels speak of the bytes alone. In a recording
                    // something is wrong also where nobody knows whether an end is missing; a log has none.
                    let may_be_whole = match report.summary.integrity {
                        None => report.summary.session_id.is_some(),
                        Some(level) => level == Integrity::Complete,
                    };
                    if may_be_whole && !report.errors.is_empty() {
                        report.summary.integrity = Some(Integrity::Incomplete);
                    }
                    let told = tell(found, &report, &members, offset, self.by.as_deref());
                    let key = report.summary.session_id.clone();
                    let unit = Unit { source: SourceKind::Custody, key, headers: Vec::new(), value: told };
                    self.take(&stream, &own, &unit, &mut offset, &mut report);
                }
                Reading::Failed(error) => report.failed = Some(error.to_string()),
            }
        }
        // A reader that panicked is a defect: it is told as one instead of going on as if the object had ended.
        reader.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        Ok(report)
    }

    /// Makes a unit a record at the next offset of its object.
    fn take(&mut self, stream: &Stream, source: &Source, unit: &Unit, offset: &mut i64, report: &mut Report) {
        let Unit { key, headers, value, .. } = unit;
        let content = Content { source, sent_at: None, key: key.as_deref(), headers, value };
        let taken = self.direct.place((stream, *offset), &content, now());
        *offset += 1;
        if let Some(taken) = taken {
            report.records += 1;
            report.events += u64::from(taken.events);
            report.pieces += u64::from(taken.pieces);
            if let Some(error) = taken.error {
                *report.errors.entry(error.as_str()).or_default() += 1;
            }
        }
    }
}

/// The stream of an object.
fn stream(sha256: &str, cut: Option<&str>) -> Stream {
    let topic = match cut {
        Some(cut) => format!("{IMPORTED}{sha256}/{cut}"),
        None => format!("{IMPORTED}{sha256}"),
    };
    Stream { cluster: CLUSTER.to_owned(), topic, partition: 0 }
}

/// The record of the import itself.
fn tell(found: &Found, report: &Report, members: &[Member], records: i64, by: Option<&str>) -> Vec<u8> {
    let record = ImportRecord {
        custody: IMPORT,
        object: &found.name,
        format: found.format.name(),
        size_bytes: report.size_bytes,
        sha256: &report.sha256,
        cut: report.cut.as_deref(),
        source: found.format.source().as_str(),
        members: match members.len() > 1 || found.path.is_dir() {
            true => members
                .iter()
                .map(|member| MemberRecord {
                    file: &member.file,
                    size_bytes: member.size_bytes,
                    sha256: &member.sha256,
                })
                .collect(),
            false => Vec::new(),
        },
        imported_at: to_rfc3339(now()),
        imported_by: by,
        records,
        session_id: report.summary.session_id.as_deref(),
        recording_id: report.summary.recording_id.as_deref(),
        public_key_sha256: report.summary.public_key_sha256.as_deref(),
        integrity: report.summary.integrity.map(|integrity| integrity.as_str()),
        findings: report
            .summary
            .findings
            .iter()
            .map(|finding| DefectRecord { kind: finding.kind, file: finding.file.as_deref(), detail: &finding.detail })
            .collect(),
    };
    // A struct of texts and numbers is always JSON.
    serde_json::to_vec(&record).unwrap_or_default()
}

/// Reads an object on a thread that may block: first all of its bytes for its name, then its units.
fn read_object(found: &Found, keys: &Keys, hand_over: &mpsc::Sender<Reading>) {
    let read = || {
        let before = states(found)?;
        let (sha256, members) = identify(found)?;
        let cut = found.cut(keys, &sha256)?;
        let mut reader = found.open(keys, &sha256)?;
        // Whoever receives may have stopped; then nobody needs the rest.
        let _ = hand_over.blocking_send(Reading::Identity { sha256, cut, members });
        hand_over_units(reader.as_mut(), hand_over)?;
        let mut summary = reader.summary();
        if states(found)? != before {
            summary.find(
                "Changed",
                None,
                "a file was written to while it was imported: its hash is another one".to_owned(),
            );
            summary.integrity = Some(Integrity::Incomplete);
        }
        Ok(summary)
    };
    let result: io::Result<Summary> = read();
    let _ = hand_over.blocking_send(match result {
        Ok(summary) => Reading::Done(summary),
        Err(error) => Reading::Failed(error),
    });
}

fn hand_over_units(reader: &mut dyn Reader, hand_over: &mpsc::Sender<Reading>) -> io::Result<()> {
    let (mut run, mut bytes) = (Vec::new(), 0);
    while let Some(unit) = reader.next()? {
        bytes += unit.value.len();
        run.push(unit);
        if bytes >= RUN_BYTES || run.len() >= 1024 {
            bytes = 0;
            if hand_over.blocking_send(Reading::Units(std::mem::take(&mut run))).is_err() {
                return Ok(());
            }
        }
    }
    let _ = hand_over.blocking_send(Reading::Units(run));
    Ok(())
}

/// The files of an object, by the names that they have in it.
fn files(found: &Found) -> io::Result<Vec<(String, PathBuf)>> {
    let file_name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files: Vec<(String, PathBuf)> = found.files.iter().map(|path| (file_name(path), path.clone())).collect();
    match found.path.is_dir() {
        true => list(&found.path, &found.path, &mut files)?,
        false if files.is_empty() => files.push((file_name(&found.path), found.path.clone())),
        false => {}
    }
    files.sort();
    Ok(files)
}

/// The hash by which an object is known, and its files.
fn identify(found: &Found) -> io::Result<(String, Vec<Member>)> {
    let files = files(found)?;
    let mut members = Vec::with_capacity(files.len());
    for (file, path) in files {
        let (sha256, size_bytes) = hash(&path)?;
        members.push(Member { file, size_bytes, sha256 });
    }
    if let [only] = members.as_slice()
        && !found.path.is_dir()
    {
        return Ok((only.sha256.clone(), members));
    }
    let mut context = Context::new(&SHA256);
    for member in &members {
        context.update(format!("{}  {}\n", member.sha256, member.file).as_bytes());
    }
    Ok((hex::encode(context.finish().as_ref()), members))
}

/// By what it shows that a file was written to: its length, and when it was changed by the system's word.
fn states(found: &Found) -> io::Result<Vec<(u64, u64, i64, i64)>> {
    let state = |(_, path): &(String, PathBuf)| {
        let meta = path.metadata()?;
        Ok((meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    };
    files(found)?.iter().map(state).collect()
}

/// The files in a directory and below; links are no files of it.
fn list(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            list(root, &path, files)?;
        } else if kind.is_file() {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((name, path));
        }
    }
    Ok(())
}

fn hash(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut size_bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex::encode(context.finish().as_ref()), size_bytes));
        }
        context.update(buffer.get(..read).unwrap_or_default());
        size_bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use age::x25519;
    use custody_ledger::Location;
    use flate2::Compression;

    use super::*;
    use crate::import::find;
    use crate::import::teleport::tests::{gzip, part, print, sealed, x25519_keys};

    async fn import(ledger: &Ledger, keys: Keys, path: &Path) -> Vec<Report> {
        let mut importer = Importer::open(ledger, Arc::default(), Arc::new(keys), Flush::default()).await.unwrap();
        importer.import(find(path).unwrap().0, |_, _| {}).await.unwrap()
    }

    #[tokio::test]
    async fn an_encrypted_recording_is_imported_again_when_its_key_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path().join("ledger").to_str().unwrap(), HashMap::new()).unwrap();
        let ledger = Ledger::create(location).await.unwrap();
        let identity = x25519::Identity::generate();
        let tar = part(2, 1, &sealed(&[&identity.to_public()], &gzip(&print(0, b"hello"), Compression::fast())), 0);
        let path = folder.path().join("037e2e3e-e6f5-11e9-a7ac-42010a80002b.tar");
        std::fs::write(&path, tar).unwrap();
        let keys = || Keys { teleport: x25519_keys(&identity), ..Keys::default() };
        // Without the key there is the record of the import alone, and it says why.
        let expected = [(Keys::default(), (1, 0), Some("sealed")), (Keys::default(), (0, 0), Some("sealed"))];
        let opened = [(keys(), (2, 1), None), (keys(), (0, 0), None)];
        for (keys, (records, pieces), cut) in expected.into_iter().chain(opened) {
            let reports = import(&ledger, keys, &path).await;
            let [report] = reports.as_slice() else { panic!("{reports:?}") };
            assert_eq!((report.records, report.pieces, report.cut.as_deref()), (records, pieces, cut));
            let is_told = report.summary.findings.iter().any(|finding| finding.kind == "Encrypted");
            assert_eq!(is_told, cut.is_some());
        }
    }

    #[tokio::test]
    async fn what_could_not_be_read_is_never_complete() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path().join("ledger").to_str().unwrap(), HashMap::new()).unwrap();
        let ledger = Ledger::create(location).await.unwrap();
        let (exit, broken) = ("[2,\"x\",\"0\"]\n", "[1.5,\"o\",\"cu\n");
        let cases = [
            ("whole", vec![exit], Some(Integrity::Complete)),
            ("without an end", vec![], None),
            ("broken", vec![broken, exit], Some(Integrity::Incomplete)),
            ("broken without an end", vec![broken], Some(Integrity::Incomplete)),
        ];
        for (name, lines, expected) in cases {
            let path = folder.path().join(format!("{name}.cast"));
            let head = "{\"version\":2,\"width\":80,\"height\":24}\n[1,\"o\",\"a\"]\n".to_owned();
            std::fs::write(&path, head + &lines.concat()).unwrap();
            let reports = import(&ledger, Keys::default(), &path).await;
            let [report] = reports.as_slice() else { panic!("{reports:?}") };
            assert_eq!(report.summary.integrity, expected, "{name}");
        }
    }

    #[tokio::test]
    async fn the_same_bytes_are_one_object_and_another_name_for_the_session_is_another_reading() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path().join("ledger").to_str().unwrap(), HashMap::new()).unwrap();
        let ledger = Ledger::create(location).await.unwrap();
        let cast = "{\"version\":2,\"width\":9,\"height\":2}\n[0.5,\"o\",\"hello\"]\n";
        let casts = folder.path().join("casts");
        std::fs::create_dir(&casts).unwrap();
        for name in ["a.cast", "b.cast"] {
            std::fs::write(casts.join(name), cast).unwrap();
        }
        let records = |reports: &[Report]| reports.iter().map(|report| report.records).collect::<Vec<_>>();
        assert_eq!(records(&import(&ledger, Keys::default(), &casts).await), [2, 0]);
        let mut named = find(&casts.join("a.cast")).unwrap().0;
        named[0].session_id = Some("jump-host".to_owned());
        let mut importer = Importer::open(&ledger, Arc::default(), Arc::default(), Flush::default()).await.unwrap();
        let reports = importer.import(named, |_, _| {}).await.unwrap();
        assert_eq!((records(&reports), reports[0].cut.as_deref()), (vec![2], Some("session-jump-host")));
    }
}
