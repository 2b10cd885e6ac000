//! What the engine writes for itself: rows that it would otherwise work out again and again. Nothing here is evidence, and
//! all of it can be thrown away at any time.
//!
//! One folder, as a store of its own that only the engine's plans can name.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnv;
use deltalake::logstore::object_store::local::LocalFileSystem;
use futures::StreamExt;
use futures::future::BoxFuture;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use tempfile::NamedTempFile;

use crate::error::QueryError;

/// Rows of a group: few enough that a group of other sessions is skipped, many enough that the footers stay small.
const GROUP_ROWS: usize = 64 * 1024;

/// How the names of files end that are not finished.
const UNFINISHED: &str = ".unfinished";

/// A folder of Parquet files.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// With a slash at its end.
    url: url::Url,
    /// What was read of the labels of files, by their names.
    labels: Mutex<HashMap<String, Arc<BTreeMap<String, String>>>>,
}

impl Folder {
    /// Makes a folder known to the engine under a name of its own; it is made if it is not there, for its owner alone.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when it cannot be made, or [used](Self::open).
    pub(crate) fn make(path: &Path, name: &str, runtime: &RuntimeEnv) -> Result<Self, QueryError> {
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let made = builder.recursive(true).create(path);
        made.map_err(|error| QueryError::Store(format!("{} cannot be made: {error}", path.display())))?;
        Self::open(path, name, runtime)
    }

    /// The same of a folder that is there.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when it cannot be written, is another user's, or others may write into it: what is found
    /// there becomes part of answers.
    pub(crate) fn open(path: &Path, name: &str, runtime: &RuntimeEnv) -> Result<Self, QueryError> {
        let cannot = |error: &dyn std::fmt::Display| {
            QueryError::Store(format!("the folder {} cannot be used: {error}", path.display()))
        };
        is_ours(path).map_err(|error| cannot(&error))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|error| cannot(&error))?;
        let url = url::Url::parse(&format!("custody-{name}://kept/")).map_err(|error| cannot(&error))?;
        runtime.register_object_store(&url, Arc::new(store));
        Ok(Self { path: path.to_owned(), url, labels: Mutex::default() })
    }

    /// Names of its files.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".parquet")).collect();
        names.sort_unstable();
        names
    }

    /// What was written beside the rows of a file; nothing, where it cannot be read.
    pub(crate) fn labels(&self, name: &str) -> Option<Arc<BTreeMap<String, String>>> {
        let known = || self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(labels) = known().get(name) {
            return Some(labels.clone());
        }
        let file = SerializedFileReader::new(File::open(self.path.join(name)).ok()?).ok()?;
        let labels = file.metadata().file_metadata().key_value_metadata()?;
        let labels: BTreeMap<_, _> =
            labels.iter().filter_map(|label| Some((label.key.clone(), label.value.clone()?))).collect();
        Some(known().entry(name.to_owned()).or_insert(Arc::new(labels)).clone())
    }

    /// Writes rows into a file, which is there when all of them are. Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// What went wrong with the rows, [`QueryError::Store`] when the file cannot be written, [`QueryError::TooLarge`] when
    /// it would be larger than `bytes_max`.
    pub(crate) fn write<'a>(
        &'a self,
        name: &'a str,
        mut rows: SendableRecordBatchStream,
        labels: &'a BTreeMap<String, String>,
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<u64, QueryError>> {
        Box::pin(async move {
            let broken = |error: std::io::Error| {
                QueryError::Store(format!("{} cannot be written: {error}", self.path.join(name).display()))
            };
            // Under a name that nobody else has, and gone unless it is finished.
            let unfinished = NamedTempFile::with_suffix_in(UNFINISHED, &self.path).map_err(broken)?;
            let file = BufWriter::with_capacity(1 << 20, unfinished.reopen().map_err(broken)?);
            let labels = labels.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .set_data_page_row_count_limit(2048)
                .set_key_value_metadata(Some(labels))
                .build();
            let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).map_err(parquet)?;
            while let Some(batch) = rows.next().await.transpose()? {
                writer.write(&batch).map_err(parquet)?;
                if writer.bytes_written() as u64 > bytes_max {
                    let what = "what this question works with on disk".to_owned();
                    return Err(QueryError::TooLarge {
                        what,
                        bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
                    });
                }
            }
            writer.close().map_err(parquet)?;
            unfinished.as_file().sync_all().map_err(broken)?;
            let bytes = unfinished.as_file().metadata().map_err(broken)?.len();
            unfinished.persist(self.path.join(name)).map_err(|error| broken(error.error))?;
            Ok(bytes)
        })
    }

    /// Removes what was begun long ago and never finished.
    pub(crate) fn sweep(&self, age: Duration) {
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let written = entry.metadata().and_then(|meta| meta.modified());
            let is_old = written.is_ok_and(|written| written.elapsed().is_ok_and(|elapsed| elapsed > age));
            if is_old && entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let _ = std::fs::remove_file(self.path.join(name));
    }

    /// When a file was written; now, where that cannot be told.
    pub(crate) fn written_at(&self, name: &str) -> std::time::SystemTime {
        let written = std::fs::metadata(self.path.join(name)).and_then(|file| file.modified());
        written.unwrap_or_else(|_| std::time::SystemTime::now())
    }

    /// Files as a table.
    ///
    /// # Errors
    ///
    /// Those of DataFusion, which has none here.
    pub(crate) fn table(&self, names: &[String], schema: SchemaRef) -> Result<ListingTable, QueryError> {
        let urls = names.iter().map(|name| ListingTableUrl::parse(format!("{}{name}", self.url)));
        let urls = urls.collect::<Result<Vec<_>, _>>()?;
        let options = ListingOptions::new(Arc::new(ParquetFormat::default()));
        let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(schema);
        Ok(ListingTable::try_new(config)?)
    }
}

fn parquet(error: parquet::errors::ParquetError) -> QueryError {
    QueryError::Store(error.to_string())
}

/// Whether a folder is this user's, who alone may write into it.
fn is_ours(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let folder = std::fs::metadata(path)?;
        let ours = NamedTempFile::with_suffix_in(UNFINISHED, path)?.as_file().metadata()?.uid();
        if folder.uid() != ours || folder.mode() & 0o022 != 0 {
            return Err(std::io::Error::other("others may write into it"));
        }
    }
    Ok(())
}
