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
use datafusion::execution::cache::cache_manager::FileStatisticsCache;
use datafusion::execution::runtime_env::RuntimeEnv;
use deltalake::logstore::object_store::local::LocalFileSystem;
use futures::StreamExt;
use futures::future::BoxFuture;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnPath;
use tempfile::NamedTempFile;

use crate::error::QueryError;

/// Rows of a group: few enough that a group of other sessions is skipped, many enough that the footers stay small.
const GROUP_ROWS: usize = 64 * 1024;

/// How often a filter takes a value for one of its own that is none: with hundreds of values looked for in dozens of files,
/// hardly a file is read for nothing.
const FILTER_MISTAKES: f64 = 1e-4;

/// A filter is made of blocks of this size, as Parquet says.
const BLOCK_BYTES: usize = 32;

/// Filters that are remembered, in bytes. What is beyond is read each time.
const FILTERS_BYTES_MAX: usize = 64 << 20;

/// How the names of files end that are not finished.
const UNFINISHED: &str = ".unfinished";

/// A folder of Parquet files.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// With a slash at its end.
    url: url::Url,
    /// What was read of the ranges of values in files.
    statistics: Option<Arc<FileStatisticsCache>>,
    /// What was read of the labels of files, by their names.
    labels: Mutex<HashMap<String, Arc<BTreeMap<String, String>>>>,
    /// The same of their filters, by file and column.
    filters: Mutex<HashMap<(String, String), Filters>>,
}

/// The filters over a column of a file: for each group of rows one.
type Filters = Arc<Vec<Sbbf>>;

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
        let statistics = runtime.cache_manager.get_file_statistic_cache();
        Ok(Self { path: path.to_owned(), url, statistics, labels: Mutex::default(), filters: Mutex::default() })
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

    /// Whether a file may have one of these in a column by which it is looked up; it may, where nothing says that it does
    /// not.
    pub(crate) fn may_have(&self, name: &str, by: &str, values: &[&str]) -> bool {
        let Some(filters) = self.filters(name, by) else { return true };
        filters.iter().any(|filter| values.iter().any(|value| filter.check(*value)))
    }

    /// The filters over a column of a file; `None` where it has none, or they cannot be read.
    fn filters(&self, name: &str, by: &str) -> Option<Filters> {
        let known = || self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), by.to_owned());
        if let Some(filters) = known().get(&key) {
            return Some(filters.clone());
        }
        let file = File::open(self.path.join(name)).ok()?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).ok()?;
        let mut columns = metadata.file_metadata().schema_descr().columns().iter();
        let column = columns.position(|column| column.path().string() == by)?;
        let filters = metadata.row_groups().iter();
        let filters = filters.map(|group| Sbbf::read_from_column_chunk(group.columns().get(column)?, &file).ok()?);
        let filters = Arc::new(filters.collect::<Option<Vec<_>>>()?);
        let bytes = |filters: &Vec<Sbbf>| filters.iter().map(|filter| filter.num_blocks() * BLOCK_BYTES).sum::<usize>();
        let mut known = known();
        // Of those that somebody else has removed.
        known.retain(|(name, _), _| self.path.join(name).exists());
        if known.values().map(|filters| bytes(filters)).sum::<usize>() + bytes(&filters) <= FILTERS_BYTES_MAX {
            known.insert(key, filters.clone());
        }
        Some(filters)
    }

    /// Writes rows into a file, which is there when all of them are, with filters over the columns by which it is looked up.
    /// Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// What went wrong with the rows, [`QueryError::Store`] when the file cannot be written, [`QueryError::TooLarge`] when
    /// it would be larger than `bytes_max`.
    pub(crate) fn write<'a>(
        &'a self,
        name: &'a str,
        mut rows: SendableRecordBatchStream,
        by: &'a [&'a str],
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
            let mut properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .set_data_page_row_count_limit(2048)
                .set_key_value_metadata(Some(labels));
            for column in by {
                properties = properties.set_column_bloom_filter_fpp(ColumnPath::from(*column), FILTER_MISTAKES);
            }
            let properties = Some(properties.build());
            let mut writer = ArrowWriter::try_new(file, rows.schema(), properties).map_err(parquet)?;
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
        self.filters.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| of != name);
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
        Ok(ListingTable::try_new(config)?.with_cache(self.statistics.clone()))
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

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::record_batch::RecordBatch;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;

    #[tokio::test]
    async fn a_file_says_what_it_does_not_have() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::make(&place.path().join("parts"), "parts", &RuntimeEnv::default()).unwrap();
        let schema = Arc::new(Schema::new(["of", "id"].map(|name| Field::new(name, DataType::Utf8, true)).to_vec()));
        let ids: Vec<Option<String>> = (0..70_000).map(|number| Some(format!("id{number}"))).chain([None]).collect();
        let ids = Arc::new(StringArray::from(ids));
        for (name, by) in [("filtered", &["id"][..]), ("plain", &[])] {
            let rows = RecordBatch::try_new(schema.clone(), vec![ids.clone(), ids.clone()]).unwrap();
            let rows = RecordBatchStreamAdapter::new(schema.clone(), futures::stream::iter([Ok(rows)]));
            let none = BTreeMap::new();
            folder.write(&format!("{name}.parquet"), Box::pin(rows), by, &none, u64::MAX).await.unwrap();
        }
        std::fs::write(place.path().join("parts/torn.parquet"), b"PAR1 torn").unwrap();
        // In the first group of rows, and in the last.
        for ids in [&["id0"][..], &["id69999"], &["no", "nor", "id5"]] {
            assert!(folder.may_have("filtered.parquet", "id", ids), "{ids:?}");
        }
        let others: Vec<String> = (0..1000).map(|number| format!("other{number}")).collect();
        let mistakes = others.iter().filter(|id| folder.may_have("filtered.parquet", "id", &[id.as_str()])).count();
        assert!(mistakes <= 5, "{mistakes}");
        assert!(!folder.may_have("filtered.parquet", "id", &[]));
        for file in ["plain.parquet", "torn.parquet", "gone.parquet"] {
            assert!(folder.may_have(file, "id", &["other"]), "{file}");
        }
        assert!(folder.may_have("filtered.parquet", "of", &["other"]), "that is another column");
    }
}
