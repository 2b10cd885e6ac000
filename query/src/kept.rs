//! What the engine writes for itself: rows that it would otherwise work out again and again. Nothing here is evidence, and
//! all of it can be thrown away at any time.
//!
//! One folder, as a store of its own that only the engine's plans can name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

use crate::error::QueryError;

/// Rows of a group: few enough that a group of other sessions is skipped, many enough that the footers stay small.
const GROUP_ROWS: usize = 64 * 1024;

/// A folder of Parquet files.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// With a slash at its end.
    url: url::Url,
}

impl Folder {
    /// Makes a folder known to the engine under a name of its own; it is made if it is not there, for its owner alone.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when it cannot be made.
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
    /// [`QueryError::Store`] when it cannot be used.
    pub(crate) fn open(path: &Path, name: &str, runtime: &RuntimeEnv) -> Result<Self, QueryError> {
        let cannot = |error: &dyn std::fmt::Display| {
            QueryError::Store(format!("the folder {} cannot be used: {error}", path.display()))
        };
        let store = LocalFileSystem::new_with_prefix(path).map_err(|error| cannot(&error))?;
        let url = url::Url::parse(&format!("custody-{name}://kept/")).map_err(|error| cannot(&error))?;
        runtime.register_object_store(&url, Arc::new(store));
        Ok(Self { path: path.to_owned(), url })
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
    pub(crate) fn labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let file = SerializedFileReader::new(File::open(self.path.join(name)).ok()?).ok()?;
        let labels = file.metadata().file_metadata().key_value_metadata()?;
        Some(labels.iter().filter_map(|label| Some((label.key.clone(), label.value.clone()?))).collect())
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
            let part = Unfinished(self.path.join(format!("{name}.{}.part", std::process::id())));
            let file = BufWriter::with_capacity(1 << 20, File::create(&part.0).map_err(broken)?);
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
            let bytes = std::fs::metadata(&part.0).map_err(broken)?.len();
            std::fs::rename(&part.0, self.path.join(name)).map_err(broken)?;
            Ok(bytes)
        })
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) {
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

/// Removes what was begun, unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
