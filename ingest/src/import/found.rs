//! What there is to import under a path: each object recognised by its content, and what was passed over and why.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::terminal::{asciicast, script, sudo, tlog, ttyrec};
use super::{Keys, Reader, bsr, documents, teleport, terminal};
use crate::source::SourceKind;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A Teleport recording: `<session>.tar`, or the events and the output of an old one side by side.
    TeleportRecording,
    /// A Boundary session recording: a directory.
    Bsr,
    /// An asciicast of any version.
    Asciicast,
    /// A recording of `ttyrec`.
    Ttyrec,
    /// A recording of `script`: its timing and what it timed.
    Script,
    /// A session log of `sudo`: a directory.
    Sudo,
    /// Messages of `tlog`, as lines or as a journal's export.
    Tlog,
    /// JSON documents of a source.
    Documents(SourceKind),
}

impl Format {
    /// Its name, in summaries and in the record of an import.
    pub fn name(self) -> &'static str {
        match self {
            Self::TeleportRecording => "teleport-recording",
            Self::Bsr => "boundary-recording",
            Self::Asciicast => "asciicast",
            Self::Ttyrec => "ttyrec",
            Self::Script => "script",
            Self::Sudo => "sudo",
            Self::Tlog => "tlog",
            Self::Documents(SourceKind::Teleport) => "teleport-events",
            Self::Documents(SourceKind::Boundary) => "boundary-events",
            Self::Documents(SourceKind::Opa) => "opa-decisions",
            Self::Documents(SourceKind::Hoop) => "hoop-export",
            Self::Documents(_) => "documents",
        }
    }

    /// The source system that it is of.
    pub fn source(self) -> SourceKind {
        match self {
            Self::TeleportRecording => SourceKind::Teleport,
            Self::Bsr => SourceKind::Boundary,
            Self::Asciicast => SourceKind::Asciicast,
            Self::Ttyrec => SourceKind::Ttyrec,
            Self::Script => SourceKind::Script,
            Self::Sudo => SourceKind::Sudo,
            Self::Tlog => SourceKind::Tlog,
            Self::Documents(source) => source,
        }
    }

    /// Whether its recordings do not say which session they are of.
    pub fn is_nameless(self) -> bool {
        matches!(self, Self::Asciicast | Self::Ttyrec | Self::Script | Self::Sudo)
    }
}

/// An object that can be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is: a file, or a directory.
    pub path: PathBuf,
    /// What it is called: the path, or the URL that it was copied from.
    pub name: String,
    /// What it is.
    pub format: Format,
    /// The files of an object that is several and no directory; otherwise empty.
    pub files: Vec<PathBuf>,
    /// Id of the session, for a recording that has none.
    pub session_id: Option<String>,
    /// Bytes of all its files.
    pub size_bytes: u64,
}

/// A file that is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// What it is called.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Why.
    pub why: &'static str,
}

/// Folders inside of folders are looked into this far.
const DEPTH_MAX: usize = 64;

/// Digits of an object's hash that stand for the session that it does not name.
const SESSION_DIGITS: usize = 16;

/// Finds the objects at a path and below it, in the order of their names. Links are not followed, but for the path itself.
///
/// # Errors
///
/// When the path, or something below it, cannot be read.
pub fn find(path: &Path) -> io::Result<(Vec<Found>, Vec<Passed>)> {
    let mut finding = Finding::default();
    match path.metadata()?.is_dir() {
        true => finding.folder(path, DEPTH_MAX)?,
        false => finding.file(path)?,
    }
    Ok((finding.found, finding.passed))
}

#[derive(Default)]
struct Finding {
    found: Vec<Found>,
    passed: Vec<Passed>,
    /// Files that belong to an object of several.
    taken: HashSet<PathBuf>,
}

impl Finding {
    fn folder(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        let mut entries = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let container = match () {
            () if bsr::is_container(path) => Some(Format::Bsr),
            // What a link points at is no part of the log.
            () if sudo::recognises(&names) && !entries.iter().any(is_link) => Some(Format::Sudo),
            () => None,
        };
        if let Some(format) = container {
            let size_bytes = size_of(path, depth)?;
            self.take(path, format, Vec::new(), size_bytes);
            return Ok(());
        }
        for entry in entries {
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                match depth.checked_sub(1) {
                    Some(depth) => self.folder(&path, depth)?,
                    None => self.pass(&path, "too many folders in one another")?,
                }
            } else if kind.is_file() {
                self.file(&path)?;
            } else {
                self.pass(&path, "neither a file nor a folder")?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        if self.taken.contains(path) {
            return Ok(());
        }
        let size_bytes = path.metadata()?.len();
        if size_bytes == 0 {
            return self.pass(path, "empty");
        }
        let head = terminal::head(path)?;
        if let Some(output) = teleport::output_beside(path) {
            self.take_several(path, Format::TeleportRecording, vec![path.to_owned(), output])
        } else if teleport::recognises(&head) {
            self.take(path, Format::TeleportRecording, Vec::new(), size_bytes);
            Ok(())
        } else if asciicast::recognises(&head) {
            self.take(path, Format::Asciicast, Vec::new(), size_bytes);
            Ok(())
        } else if tlog::recognises(&head) {
            self.take(path, Format::Tlog, Vec::new(), size_bytes);
            Ok(())
        } else if let Some(files) = script::files(path)? {
            let timing = files.timing.clone();
            self.take_several(
                &timing,
                Format::Script,
                [files.timing, files.output].into_iter().chain(files.input).collect(),
            )
        } else if ttyrec::recognises(&head) {
            self.take(path, Format::Ttyrec, Vec::new(), size_bytes);
            Ok(())
        } else if let Some(source) = documents::recognise(&documents::head(path)?) {
            self.take(path, Format::Documents(source), Vec::new(), size_bytes);
            Ok(())
        } else {
            // The output of a pair may come before the events that tell what it is.
            if self.is_output_of_events(path) {
                return Ok(());
            }
            self.pass(path, "not a format that Custody knows")
        }
    }

    fn is_output_of_events(&self, path: &Path) -> bool {
        let Some(stem) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".stream"))
        else {
            return false;
        };
        path.with_file_name(format!("{stem}.events.json")).is_file()
    }

    fn take_several(&mut self, path: &Path, format: Format, files: Vec<PathBuf>) -> io::Result<()> {
        let mut size_bytes = 0;
        for file in &files {
            size_bytes += file.metadata()?.len();
            self.taken.insert(file.clone());
        }
        // One that was passed over before it was known what it belongs to.
        self.passed.retain(|passed| !files.iter().any(|file| file.display().to_string() == passed.name));
        self.take(path, format, files, size_bytes);
        Ok(())
    }

    fn take(&mut self, path: &Path, format: Format, files: Vec<PathBuf>, size_bytes: u64) {
        let name = path.display().to_string();
        self.found.push(Found { path: path.to_owned(), name, format, files, session_id: None, size_bytes });
    }

    fn pass(&mut self, path: &Path, why: &'static str) -> io::Result<()> {
        let size_bytes = path.symlink_metadata()?.len();
        self.passed.push(Passed { name: path.display().to_string(), size_bytes, why });
        Ok(())
    }
}

fn is_link(entry: &std::fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_symlink())
}

fn size_of(folder: &Path, depth: usize) -> io::Result<u64> {
    let mut size_bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            size_bytes += size_of(&entry.path(), depth - 1)?;
        } else if kind.is_file() {
            size_bytes += entry.metadata()?.len();
        }
    }
    Ok(size_bytes)
}

impl Found {
    /// How the object is cut, where that does not follow from its bytes alone; see [`importer`](crate::importer).
    pub(crate) fn cut(&self, keys: &Keys, sha256: &str) -> io::Result<Option<String>> {
        if let Some(session_id) = self.session_id.as_ref().filter(|_| self.format.is_nameless()) {
            return Ok(Some(format!("session-{session_id}")));
        }
        match self.format {
            Format::Documents(source) if documents::recognise(&documents::head(&self.path)?) != Some(source) => {
                Ok(Some(format!("source-{}", source.as_str())))
            }
            // Whether all of it can be decrypted is known when all of it was read.
            Format::TeleportRecording if teleport::is_encrypted(&terminal::head(&self.path)?) => {
                let mut reader = self.open(keys, sha256)?;
                while reader.next()?.is_some() {}
                let is_sealed = reader.summary().findings.iter().any(|finding| finding.kind == "Encrypted");
                Ok(is_sealed.then(|| "sealed".to_owned()))
            }
            _ => Ok(None),
        }
    }

    /// Opens it. `sha256` is the object's own, by which a session that it does not name is called.
    pub(crate) fn open(&self, keys: &Keys, sha256: &str) -> io::Result<Box<dyn Reader>> {
        let by_hash = || format!("import-{}", sha256.get(..SESSION_DIGITS).unwrap_or(sha256));
        let session_id = self.session_id.clone().unwrap_or_else(by_hash);
        Ok(match self.format {
            Format::TeleportRecording => teleport::open(&self.path, &keys.teleport)?,
            Format::Bsr => Box::new(bsr::open(&self.path, &keys.bsr)?),
            Format::Asciicast => Box::new(asciicast::open(&self.path, &session_id)?),
            Format::Ttyrec => Box::new(ttyrec::open(&self.path, &session_id)?),
            Format::Sudo => Box::new(sudo::open(&self.path, &session_id)?),
            Format::Tlog => Box::new(tlog::open(&self.path)?),
            Format::Script => match script::files(&self.path)? {
                Some(files) => Box::new(script::open(&files, &session_id)?),
                None => return Err(io::Error::other("the files of the typescript have changed")),
            },
            Format::Documents(source) => Box::new(documents::open(&self.path, source)?),
        })
    }
}
