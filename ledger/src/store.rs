//! The object store under a ledger.
//!
//! On a local disk a write is durable when it returns: contents are synced before a name points to them, and the name's
//! folder after. So a power failure can neither leave a commit whose files are torn, nor take back what was reported as
//! safe. Object stores promise the same by themselves.

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::DeltaTableError;
use deltalake::logstore::object_store::local::LocalFileSystem;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use deltalake::logstore::{ObjectStoreRef, StorageConfig, logstore_for};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use url::Url;

/// How often and how long a request is repeated before the error is told, unless the options say otherwise. Whoever
/// writes tries again by himself, and says meanwhile what is wrong.
const RETRIES: [(&str, &str); 2] = [("max_retries", "3"), ("retry_timeout", "20s")];

/// Opens the store that a URL is on; its root is the root of the bucket, or of the file system.
pub(crate) fn open(
    url: &Url,
    options: impl IntoIterator<Item = (String, String)>,
) -> Result<(ObjectStoreRef, StorageConfig), DeltaTableError> {
    let defaults = RETRIES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = StorageConfig::parse_options(defaults.into_iter().chain(options))?;
    let store: ObjectStoreRef = match url.scheme() {
        "file" => Arc::new(DurableFiles { files: LocalFileSystem::new() }),
        _ => logstore_for(url, config.clone())?.root_object_store(None),
    };
    #[cfg(any(test, debug_assertions))]
    let store = crate::faults::from_environment(store);
    Ok((store, config))
}

/// The local file system, with writes that are durable when they return.
#[derive(Debug)]
struct DurableFiles {
    files: LocalFileSystem,
}

impl fmt::Display for DurableFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

/// A folder that is written to while it is listed may show a later entry of a log and not an earlier one, as no object
/// store would: what is missing between two entries is looked for by its name.
fn whole_log(
    files: LocalFileSystem,
    prefix: Option<&Path>,
    listed: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let Some(log) = prefix.filter(|prefix| prefix.filename() == Some("_delta_log")).cloned() else { return listed };
    let whole = async move {
        let mut found: Vec<ObjectMeta> = listed.try_collect().await?;
        let mut versions: Vec<u64> = found.iter().filter_map(|entry| version(&entry.location)).collect();
        versions.sort_unstable();
        for pair in versions.windows(2) {
            let [before, after] = pair else { continue };
            // A long gap is no race.
            for missing in (before + 1..*after).take(GAP_MAX) {
                match files.head(&log.clone().join(format!("{missing:020}.json"))).await {
                    Ok(entry) => found.push(entry),
                    Err(Error::NotFound { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(futures::stream::iter(found.into_iter().map(Ok)))
    };
    futures::stream::once(whole).try_flatten().boxed()
}

/// Entries that are looked for where some are missing.
const GAP_MAX: usize = 64;

/// The version of an entry of a log.
fn version(entry: &Path) -> Option<u64> {
    entry.filename()?.strip_suffix(".json").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// Writes a file that is either there whole, on the disk, or not there.
fn write(path: &FilePath, payload: &PutPayload, mode: &PutMode) -> Result<()> {
    let failed = |source: std::io::Error| Error::Generic {
        store: "local disk",
        source: format!("{} cannot be written: {source}", path.display()).into(),
    };
    let folder = path.parent().unwrap_or(FilePath::new("/"));
    if !folder.is_dir() {
        make_folder(folder).map_err(failed)?;
    }
    // Names that end like this are what `LocalFileSystem` takes for unfinished writes, and does not list.
    let mut unfinished = tempfile::Builder::new();
    unfinished.prefix("write-").suffix("#0");
    // Otherwise temporary files are for their owner alone; this way the umask decides, as for every file.
    #[cfg(unix)]
    unfinished.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = unfinished.tempfile_in(folder).map_err(failed)?;
    payload.iter().try_for_each(|bytes| file.write_all(bytes)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let persisted = match mode {
        PutMode::Create => file.persist_noclobber(path),
        _ => file.persist(path),
    };
    persisted.map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::AlreadyExists { path: path.display().to_string(), source: error.error.into() }
        }
        _ => failed(error.error),
    })?;
    sync(folder).map_err(failed)
}

/// Makes a folder and those above it, each synced into the one that holds it.
fn make_folder(folder: &FilePath) -> std::io::Result<()> {
    if let Some(above) = folder.parent()
        && !above.is_dir()
    {
        make_folder(above)?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => folder.parent().map_or(Ok(()), sync),
    }
}

/// Puts a file's bytes, or a folder's names, on the disk.
fn sync(path: &FilePath) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::JoinError { source: error }),
    }
}

#[async_trait]
impl ObjectStore for DurableFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) {
            return self.files.put_opts(location, payload, options).await;
        }
        let path = self.files.path_to_filesystem(location)?;
        blocking(move || write(&path, &payload, &options.mode)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(DurableUpload { path: self.files.path_to_filesystem(location)?, parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        whole_log(self.files.clone(), prefix, self.files.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        whole_log(self.files.clone(), prefix, self.files.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}

/// A file that comes in parts: a checkpoint of a large table. They are held, and written like any file.
#[derive(Debug)]
struct DurableUpload {
    path: PathBuf,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.parts.extend(part);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (path, payload) = (self.path.clone(), std::mem::take(&mut self.parts).into_iter().collect::<PutPayload>());
        blocking(move || write(&path, &payload, &PutMode::Overwrite)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_entry_that_a_listing_missed_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("_delta_log");
        std::fs::create_dir(&log).unwrap();
        for version in [0, 1, 2, 3, 5, 200] {
            std::fs::write(log.join(format!("{version:020}.json")), "{}").unwrap();
        }
        let files = LocalFileSystem::new();
        let prefix = Path::from_filesystem_path(&log).unwrap();
        // Two of them were not seen; one is really not there.
        let seen: Vec<_> = files.list(Some(&prefix)).try_collect::<Vec<_>>().await.unwrap();
        let seen = seen.into_iter().filter(|entry| !matches!(version(&entry.location), Some(1 | 2)));
        let listed = futures::stream::iter(seen.map(Ok).collect::<Vec<_>>()).boxed();
        let whole: Vec<_> = whole_log(files, Some(&prefix), listed).try_collect().await.unwrap();
        let mut versions: Vec<_> = whole.iter().filter_map(|entry| version(&entry.location)).collect();
        versions.sort_unstable();
        assert_eq!(versions, [0, 1, 2, 3, 5, 200]);
    }
}
