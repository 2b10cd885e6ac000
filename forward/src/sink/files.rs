//! Files in a folder or an object store: lines of JSON, or OCSF in Parquet for Amazon Security Lake.
//!
//! ```text
//! date=2025-06-02/events-20250602T090000Z-<hash>.ndjson.gz
//! ext/custody_4007/region=eu-central-1/accountId=123456789012/eventDay=20250602/20250602T090000Z-<hash>.parquet
//! ```
//!
//! A file has what a batch has of one day (UTC, of the time at which it happened), in the order of time, and of one class
//! where it is Parquet. It appears whole. Its name follows from what is in it, so a batch that is sent a second time
//! replaces its own files. One that is cut differently then, after a restart, does not: who counts, counts ids.
//!
//! In a folder a file is on the disk before its name points to it, and its name before it is acknowledged: a power failure
//! leaves no torn file and takes none back. What an interrupted write leaves begins with `.part-`. The folder itself has to
//! be there: one that is not mounted is waited for, instead of filling the disk below.

mod ocsf;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use custody_schemas::time::{date_of, date_to_string};
use flate2::Compression;
use flate2::write::GzEncoder;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, parse_url_opts};
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::{BatchSize, Item, Refusal, Reply, SendError, Sink};
use crate::destination::{FilesSettings, Refused, SecurityLake};
use crate::schema::Schema;

/// How long a file may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Environment variables with these prefixes are options of the stores.
const STORE_VARIABLES: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "GCP_"];

/// The kinds of store that there are.
const SCHEMES: [&str; 8] = ["s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss"];

/// A name of a custom source has at most 20 characters, of which the class takes five.
const SOURCE_CHARS_MAX: usize = 15;

/// Writes files into one place.
#[derive(Debug)]
pub struct Files {
    place: Place,
    lake: Option<SecurityLake>,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Store { store: Arc<dyn ObjectStore>, prefix: Key },
}

/// What goes into one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Of {
    /// The day, since 1970.
    day: i32,
    /// The class, where files have only one.
    class: Option<i64>,
}

impl Files {
    /// # Errors
    ///
    /// [`Refused`] for settings that make no sense. An object store is not contacted yet.
    pub fn new(settings: &FilesSettings, schema: Schema) -> Result<Self, Refused> {
        if let Some(lake) = &settings.security_lake {
            check(lake)?;
            if schema != Schema::Ocsf {
                return Err(Refused::new("Security Lake takes OCSF: schema = \"ocsf\""));
            }
        }
        let place = if settings.to.contains("://") {
            open(settings)?
        } else {
            let folder = std::path::absolute(&settings.to).map_err(|error| Refused::new(error.to_string()))?;
            if !folder.is_dir() {
                return Err(Refused::new(format!("{} is no folder: it has to be made first", folder.display())));
            }
            Place::Folder(folder)
        };
        Ok(Self { place, lake: settings.security_lake.clone() })
    }

    /// The folder of a file, below the place.
    fn folder(&self, of: Of) -> String {
        let date = date_to_string(of.day);
        match (&self.lake, of.class) {
            (Some(lake), Some(class)) => format!(
                "ext/{}_{class}/region={}/accountId={}/eventDay={}",
                lake.source,
                lake.region,
                lake.account,
                date.replace('-', "")
            ),
            _ => format!("date={date}"),
        }
    }

    /// Makes one file durable.
    async fn put(&self, name: String, bytes: Vec<u8>) -> Result<(), SendError> {
        match &self.place {
            Place::Folder(root) => {
                let root = root.clone();
                let written = tokio::task::spawn_blocking(move || write(&root, &name, &bytes)).await;
                written.map_err(|error| SendError::transient(error.to_string()))?.map_err(|error| {
                    let what = error.to_string();
                    match error.kind() {
                        std::io::ErrorKind::PermissionDenied => SendError::Unauthorised(what),
                        _ => SendError::transient(what),
                    }
                })
            }
            Place::Store { store, prefix } => {
                let key = name.split('/').fold(prefix.clone(), |key, part| key.join(part));
                match tokio::time::timeout(PATIENCE, store.put(&key, bytes.into())).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error @ (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }))) => {
                        Err(SendError::Unauthorised(error.to_string()))
                    }
                    Ok(Err(error)) => Err(SendError::transient(error.to_string())),
                    Err(_) => Err(SendError::transient(format!("{key}: not done after {} s", PATIENCE.as_secs()))),
                }
            }
        }
    }
}

/// What stands in a path must not lead elsewhere.
fn check(lake: &SecurityLake) -> Result<(), Refused> {
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    for (name, text) in [("source", &lake.source), ("region", &lake.region), ("account", &lake.account)] {
        if !is_name(text) {
            return Err(Refused::new(format!("security_lake.{name} {text:?}: letters, digits, - and _")));
        }
    }
    if lake.source.len() > SOURCE_CHARS_MAX {
        return Err(Refused::new(format!("security_lake.source has more than {SOURCE_CHARS_MAX} characters")));
    }
    Ok(())
}

fn open(settings: &FilesSettings) -> Result<Place, Refused> {
    let to = &settings.to;
    let url: Url = to.parse().map_err(|error| Refused::new(format!("{to:?} is no URL: {error}")))?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err(Refused::new(format!("{}: is no kind of store: {}", url.scheme(), SCHEMES.join(", "))));
    }
    if url.password().is_some() || url.query().is_some() {
        return Err(Refused::new("a URL must not have a password or options in it: it would be printed"));
    }
    let is_option = |name: &String| STORE_VARIABLES.iter().any(|prefix| name.starts_with(prefix));
    let mut options: BTreeMap<String, String> = std::env::vars()
        .filter(|(name, _)| is_option(name))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    for (name, value) in &settings.options {
        options.insert(name.to_ascii_lowercase(), value.read()?);
    }
    let (store, prefix) = parse_url_opts(&url, options).map_err(|error| Refused::new(format!("{url}: {error}")))?;
    Ok(Place::Store { store: store.into(), prefix })
}

/// Writes a file that is either there whole, on the disk, or not there.
fn write(root: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let path = root.join(name);
    let folder = path.parent().unwrap_or(root);
    make_folder(root, folder)?;
    let mut unfinished = tempfile::Builder::new();
    unfinished.prefix(".part-");
    // Otherwise temporary files are for their owner alone; this way the umask decides, as for every file.
    #[cfg(unix)]
    unfinished.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = unfinished.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    sync(folder)
}

/// Makes a folder and those above it up to the root, each synced into the one that holds it.
fn make_folder(root: &Path, folder: &Path) -> std::io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(root);
    make_folder(root, above)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => sync(above),
    }
}

/// Puts a folder's names on the disk.
fn sync(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// When the first of a file happened, and a hash of all of it.
fn stem(items: &[Item]) -> String {
    let mut digest = Sha256::new();
    for item in items {
        digest.update(&item.body);
        digest.update(b"\n");
    }
    let first = items.first().map_or(0, |item| item.at);
    let mut stem = match DateTime::from_timestamp_micros(first) {
        Some(at) => at.format("%Y%m%dT%H%M%SZ").to_string(),
        None => format!("{first}us"),
    };
    stem.push('-');
    stem.extend(digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")));
    stem
}

fn lines(items: &[Item]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for item in items {
        encoder.write_all(&item.body)?;
        encoder.write_all(b"\n")?;
    }
    encoder.finish()
}

/// The name of a file and what is in it.
fn encode(folder: &str, of: Of, mut items: Vec<Item>) -> Result<(String, Vec<u8>), String> {
    items.sort_by_key(|item| item.at);
    let stem = stem(&items);
    match of.class {
        Some(class) => {
            let bytes = ocsf::encode(class, &items).map_err(|error| error.to_string())?;
            Ok((format!("{folder}/{stem}.parquet"), bytes))
        }
        None => {
            let bytes = lines(&items).map_err(|error| error.to_string())?;
            Ok((format!("{folder}/events-{stem}.ndjson.gz"), bytes))
        }
    }
}

#[async_trait]
impl Sink for Files {
    /// Each batch is a file, or some.
    fn batch_size(&self) -> BatchSize {
        BatchSize { bytes: 8 << 20, items: 50_000 }
    }

    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        let mut reply = Reply::default();
        let mut files: BTreeMap<Of, Vec<Item>> = BTreeMap::new();
        for (number, item) in items.iter().enumerate() {
            let class = match self.lake {
                None => None,
                Some(_) => match ocsf::class_of(&item.body) {
                    Ok(class) => Some(class),
                    Err(answer) => {
                        reply.refused.push((number, Refusal { status: None, answer }));
                        continue;
                    }
                },
            };
            files.entry(Of { day: date_of(item.at), class }).or_default().push((*item).clone());
        }
        for (of, items) in files {
            let folder = self.folder(of);
            // Compression takes its time, and others wait for this thread.
            let encoded = tokio::task::spawn_blocking(move || encode(&folder, of, items)).await;
            let encoded = encoded.map_err(|error| error.to_string()).and_then(|encoded| encoded);
            let (name, bytes) = encoded
                .map_err(|answer| SendError::Refused(Refusal { status: None, answer: format!("no file: {answer}") }))?;
            self.put(name, bytes).await?;
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests;
