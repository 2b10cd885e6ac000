//! What is wrong with a table whose log cannot be read: which file, and in what way.

use std::collections::{BTreeMap, BTreeSet};

use deltalake::kernel::Action;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{Error, ObjectStoreExt};
use deltalake::logstore::{LogStoreRef, ObjectStoreRef, commit_uri_from_version, get_actions};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// A file that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Its path in the table's folder.
    pub(crate) file: String,
    /// What is wrong with it, as the rest of a sentence.
    pub(crate) what: String,
}

fn damage(file: &Path, what: impl Into<String>) -> Damage {
    Damage { file: file.to_string(), what: what.into() }
}

/// The newest versions that readers and writers of this kind of table know. (Version 3 and 7 are lists of features.)
const READER_VERSION_MAX: i32 = 3;
const WRITER_VERSION_MAX: i32 = 7;

const HINT: &str = "_delta_log/_last_checkpoint";

/// Looks through a table's log. `None` when nothing is found to be wrong with it.
///
/// # Errors
///
/// When the store does not answer.
pub(crate) async fn diagnose(log: &LogStoreRef) -> Result<Option<Damage>, Error> {
    let store = log.object_store(None);
    // Before the listing: a checkpoint that is written meanwhile is listed then.
    let named = hint(&store).await?;
    let mut entries = BTreeSet::new();
    let mut checkpoints: BTreeMap<u64, Vec<Path>> = BTreeMap::new();
    let mut listed = store.list(Some(log.log_path()));
    while let Some(found) = listed.try_next().await? {
        let name = found.location.filename().unwrap_or_default();
        let Some(version) = name.get(..20).and_then(|digits| digits.parse().ok()) else { continue };
        match name.get(20..) {
            Some(".json") => {
                entries.insert(version);
            }
            Some(rest) if rest.starts_with(".checkpoint") && rest.ends_with(".parquet") => {
                checkpoints.entry(version).or_default().push(found.location);
            }
            _ => {}
        }
    }
    match named {
        Some(Err(found)) => return Ok(Some(found)),
        Some(Ok(version)) if !checkpoints.contains_key(&version) => {
            let what = format!("names a checkpoint of version {version}, and that is missing");
            return Ok(Some(damage(&Path::from(HINT), what)));
        }
        _ => {}
    }
    let mut next = 0;
    if let Some((version, files)) = checkpoints.last_key_value() {
        for file in files {
            let bytes = store.get(file).await?.bytes().await?;
            let read = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|file| file.build());
            let all = read
                .map_err(|error| error.to_string())
                .and_then(|mut rows| rows.find_map(|batch| batch.err()).map_or(Ok(()), |error| Err(error.to_string())));
            if let Err(why) = all {
                return Ok(Some(damage(file, format!("is damaged ({why})"))));
            }
        }
        next = version + 1;
    }
    for version in entries.range(next..) {
        if *version != next {
            let what = "is missing, and a later one is there";
            return Ok(Some(damage(&commit_uri_from_version(Some(next)), what)));
        }
        if let Some(found) = entry(&store, *version).await? {
            return Ok(Some(found));
        }
        next += 1;
    }
    Ok(None)
}

/// The version of the newest checkpoint, as the pointer to it says, if there is one.
async fn hint(store: &ObjectStoreRef) -> Result<Option<Result<u64, Damage>>, Error> {
    #[derive(serde::Deserialize)]
    struct Hint {
        version: u64,
    }
    let path = Path::from(HINT);
    let bytes = match store.get(&path).await {
        Ok(found) => found.bytes().await?,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(cause) => return Err(cause),
    };
    let hint = serde_json::from_slice::<Hint>(&bytes);
    Ok(Some(hint.map(|hint| hint.version).map_err(|error| damage(&path, format!("is damaged ({error})")))))
}

async fn entry(store: &ObjectStoreRef, version: u64) -> Result<Option<Damage>, Error> {
    let path = commit_uri_from_version(Some(version));
    let bytes = store.get(&path).await?.bytes().await?;
    let actions = match get_actions(version, &bytes) {
        Ok(actions) => actions,
        Err(error) => {
            let why = error.to_string();
            return Ok(Some(damage(&path, format!("is damaged ({})", why.lines().next().unwrap_or_default()))));
        }
    };
    Ok(actions.iter().find_map(|action| match action {
        Action::Protocol(protocol)
            if protocol.min_reader_version() > READER_VERSION_MAX
                || protocol.min_writer_version() > WRITER_VERSION_MAX =>
        {
            let (reader, writer) = (protocol.min_reader_version(), protocol.min_writer_version());
            let what =
                format!("asks for reader version {reader} and writer version {writer}, which are newer than this");
            Some(damage(&path, what))
        }
        _ => None,
    }))
}
