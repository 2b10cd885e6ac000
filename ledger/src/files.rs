//! Parquet files: how rows become the bytes of one, and the entry of the log that names it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Date32Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, SecondsFormat, Utc};
use custody_schemas::table::{PARTITION_COLUMN, Table};
use deltalake::DeltaTableError;
use deltalake::kernel::Add;
use deltalake::logstore::ObjectStoreRef;
use deltalake::logstore::object_store::ObjectStoreExt;
use deltalake::logstore::object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::writer::{AppendError, store_error};

/// Files that are in the store and not in the table yet.
#[derive(Debug, Clone, Default)]
pub struct Uploaded {
    adds: Vec<Add>,
    rows: usize,
    /// When they began to be written.
    at: Option<SystemTime>,
}

/// Files are committed this soon after they were written, or not at all: maintenance may have taken them for orphans.
const UPLOAD_AGE_MAX: Duration = Duration::from_secs(3600);

impl Uploaded {
    /// Bytes of the files.
    pub fn file_bytes(&self) -> u64 {
        self.adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum()
    }

    /// Rows in them.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether they can still be committed. If not they have to be written again.
    pub fn is_fresh(&self) -> bool {
        self.at.is_none_or(|at| at.elapsed().is_ok_and(|age| age < UPLOAD_AGE_MAX))
    }

    pub(crate) fn adds(&self) -> &[Add] {
        &self.adds
    }
}

/// Writes the files of one table. Clones write independently of one another.
#[derive(Debug, Clone)]
pub struct Uploader {
    table: Table,
    /// Columns of the files: those of the table without the partition.
    schema: SchemaRef,
    store: ObjectStoreRef,
    properties: WriterProperties,
}

impl Uploader {
    pub(crate) fn new(table: Table, schema: SchemaRef, store: ObjectStoreRef, temper: Temper) -> Self {
        let schema = without_partition(&schema);
        let properties = writer_properties(table, &schema, temper);
        Self { table, schema, store, properties }
    }

    /// Writes rows into files that no table names yet, one for each day; none for no rows.
    ///
    /// # Errors
    ///
    /// [`AppendError::Store`]. What was written so far is an orphan, which maintenance removes.
    pub async fn upload(&self, rows: &RecordBatch) -> Result<Uploaded, AppendError> {
        let mut uploaded = Uploaded { at: Some(SystemTime::now()), ..Uploaded::default() };
        for date in dates(rows) {
            let (uploader, rows) = (self.clone(), rows.clone());
            let encoding = tokio::task::spawn_blocking(move || uploader.encode(date, &rows));
            let encoded = encoding.await.map_err(|error| self.failed(DeltaTableError::Generic(error.to_string())))?;
            let file = encoded.map_err(|error| self.failed(error.into()))?;
            uploaded.adds.push(self.put(file).await.map_err(|cause| self.failed(cause))?);
        }
        uploaded.rows = rows.num_rows();
        Ok(uploaded)
    }

    fn encode(&self, date: i32, rows: &RecordBatch) -> Result<Encoded, ParquetError> {
        let mut file = self.open(date)?;
        let mine = rows.column_by_name(PARTITION_COLUMN).and_then(|dates| dates.as_primitive_opt::<Date32Type>());
        let names = rows.schema();
        let columns = names.fields().iter().enumerate().filter(|(_, field)| field.name() != PARTITION_COLUMN);
        let columns: Vec<usize> = columns.map(|(position, _)| position).collect();
        match mine {
            Some(dates) if dates.values().iter().any(|of| *of != date) => {
                let mine: BooleanArray = dates.values().iter().map(|of| Some(*of == date)).collect();
                file.write(&filter_record_batch(rows, &mine)?.project(&columns)?)?;
            }
            // Nearly always: nothing is copied.
            _ => file.write(&rows.project(&columns)?)?,
        }
        file.finish()
    }

    /// A file of one day that is still being written.
    pub(crate) fn open(&self, date: i32) -> Result<OpenFile, ParquetError> {
        let bytes = Vec::with_capacity(FILE_BYTES);
        let writer = ArrowWriter::try_new(bytes, self.schema.clone(), Some(self.properties.clone()))?;
        Ok(OpenFile { date, writer })
    }

    /// Writes a file, and says what the log is to say of it.
    pub(crate) async fn put(&self, file: Encoded) -> Result<Add, DeltaTableError> {
        let Encoded { date, bytes, metadata } = file;
        let date = Date32Type::to_naive_date_opt(date).unwrap_or_default().to_string();
        let path = format!("{PARTITION_COLUMN}={date}/part-{}.parquet", Uuid::new_v4());
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.store.put(&Path::from(path.as_str()), bytes.into()).await?;
        Ok(Add {
            path,
            size,
            partition_values: HashMap::from([(PARTITION_COLUMN.to_owned(), Some(date))]),
            modification_time: Utc::now().timestamp_millis(),
            data_change: true,
            stats: Some(statistics(self.table, &self.schema, &metadata).to_string()),
            ..Add::default()
        })
    }

    fn failed(&self, cause: DeltaTableError) -> AppendError {
        store_error(self.table, cause)
    }
}

/// Room for a file from the beginning, so that the usual one does not have to be moved while it grows.
const FILE_BYTES: usize = 4 << 20;

/// A file that is being written, in memory: files are small.
pub(crate) struct OpenFile {
    date: i32,
    writer: ArrowWriter<Vec<u8>>,
}

/// A file that is whole, in memory.
pub(crate) struct Encoded {
    date: i32,
    bytes: Vec<u8>,
    metadata: ParquetMetaData,
}

impl OpenFile {
    /// Adds rows, without the partition column.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        self.writer.write(rows)
    }

    pub(crate) fn finish(mut self) -> Result<Encoded, ParquetError> {
        let metadata = self.writer.finish()?;
        let bytes = std::mem::take(self.writer.inner_mut());
        Ok(Encoded { date: self.date, bytes, metadata })
    }
}

/// The columns of a table's files.
fn without_partition(table: &SchemaRef) -> SchemaRef {
    let columns = table.fields().iter().filter(|field| field.name() != PARTITION_COLUMN);
    Schema::new(columns.cloned().collect::<Vec<_>>()).into()
}

/// The days that rows belong to.
fn dates(rows: &RecordBatch) -> BTreeSet<i32> {
    let dates = rows.column_by_name(PARTITION_COLUMN).and_then(|dates| dates.as_primitive_opt::<Date32Type>());
    dates.map(|dates| dates.values().iter().copied().collect()).unwrap_or_default()
}

/// A value of a column, in the order of the column.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Bound {
    Number(i64),
    Instant(DateTime<Utc>),
    Text(String),
}

impl Bound {
    fn json(&self) -> Value {
        match self {
            Self::Number(number) => json!(number),
            Self::Instant(at) => json!(at.to_rfc3339_opts(SecondsFormat::Micros, true)),
            Self::Text(text) => json!(text),
        }
    }

    fn number(value: i64, of: &DataType) -> Option<Self> {
        match of {
            DataType::Timestamp(..) => DateTime::from_timestamp_micros(value).map(Self::Instant),
            _ => Some(Self::Number(value)),
        }
    }

    fn text(value: Option<&[u8]>) -> Option<Self> {
        std::str::from_utf8(value?).ok().map(|text| Self::Text(text.to_owned()))
    }

    /// The lowest and the highest value. Long texts are cut: then one that is lower, and one that is higher.
    fn both(statistics: &Statistics, of: &DataType) -> Option<(Self, Self)> {
        let (low, high) = match statistics {
            Statistics::Int32(found) => {
                (Self::number(i64::from(*found.min_opt()?), of), Self::number(i64::from(*found.max_opt()?), of))
            }
            Statistics::Int64(found) => (Self::number(*found.min_opt()?, of), Self::number(*found.max_opt()?, of)),
            Statistics::ByteArray(found) => (Self::text(found.min_bytes_opt()), Self::text(found.max_bytes_opt())),
            _ => return None,
        };
        low.zip(high)
    }
}

/// What is known of one column of a file.
#[derive(Debug, Default)]
struct Extent {
    nulls: u64,
    bounds: Option<(Bound, Bound)>,
}

/// What is known of a column, `None` when it is not known of each of its parts.
fn extent(name: &str, of: &DataType, metadata: &ParquetMetaData) -> Option<Extent> {
    let mut extent = Extent::default();
    for group in metadata.row_groups() {
        let column = group.columns().iter().find(|column| column.column_path().string() == name)?;
        let statistics = column.statistics()?;
        let nulls = statistics.null_count_opt()?;
        extent.nulls += nulls;
        if i64::try_from(nulls).ok()? == group.num_rows() {
            continue;
        }
        let (low, high) = Bound::both(statistics, of)?;
        extent.bounds = Some(match extent.bounds {
            None => (low, high),
            Some((lowest, highest)) => {
                (if low < lowest { low } else { lowest }, if high > highest { high } else { highest })
            }
        });
    }
    Some(extent)
}

/// What the log says of a file: the number of rows, and of the columns by which files are skipped the lowest and highest
/// value and the number of nulls (Delta protocol, "Per-file Statistics").
fn statistics(table: Table, schema: &Schema, metadata: &ParquetMetaData) -> Value {
    let (mut lowest, mut highest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for name in table.statistics_columns() {
        let Ok(field) = schema.field_with_name(name) else { continue };
        let Some(extent) = extent(name, field.data_type(), metadata) else { continue };
        nulls.insert((*name).to_owned(), json!(extent.nulls));
        if let Some((low, high)) = extent.bounds {
            lowest.insert((*name).to_owned(), low.json());
            highest.insert((*name).to_owned(), high.json());
        }
    }
    json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": lowest,
        "maxValues": highest,
        "nullCount": nulls,
    })
}

/// The number of a column in a file, where a list of structures is as many columns as these have fields.
fn leaf(schema: &Schema, name: &str) -> Option<usize> {
    fn leaves(of: &DataType) -> usize {
        match of {
            DataType::List(element) => leaves(element.data_type()),
            DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
            _ => 1,
        }
    }
    let position = schema.index_of(name).ok()?;
    Some(schema.fields().iter().take(position).map(|field| leaves(field.data_type())).sum())
}

/// Whether files are on the way, or have come to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temper {
    /// As ingest commits them, small and often. They are put together soon.
    Hot,
    /// As they are kept.
    Cold,
}

/// How the files of a table are written: ZSTD, pages small enough to skip to a session, no statistics and no dictionary
/// for payloads, whose values hardly repeat and would only bloat the footers.
fn writer_properties(table: Table, schema: &Schema, temper: Temper) -> WriterProperties {
    let column = |name: &str| ColumnPath::from(name);
    let sorting = table
        .sort_columns()
        .iter()
        .filter_map(|name| i32::try_from(leaf(schema, name)?).ok())
        .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true })
        .collect();
    let (page_rows, group_rows) = match table {
        Table::Frames => (64, 16 * 1024),
        _ => (4096, 128 * 1024),
    };
    // A file that is put together with others in a minute need not be small, only cheap: a ZSTD context for each of
    // many short columns is most of what it would cost.
    let (level, others) = match temper {
        Temper::Hot => (1, Some(Compression::SNAPPY)),
        Temper::Cold => (3, None),
    };
    let level = ZstdLevel::try_new(level).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_compression(others.unwrap_or(Compression::ZSTD(level)))
        .set_created_by(concat!("custody ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_data_page_row_count_limit(page_rows)
        .set_max_row_group_row_count(Some(group_rows))
        .set_sorting_columns(Some(sorting));
    for name in table.payload_columns() {
        properties = properties
            .set_column_compression(column(name), Compression::ZSTD(level))
            .set_column_statistics_enabled(column(name), EnabledStatistics::None)
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    for name in ["offset", "first_offset", "last_offset", "first_seq", "last_seq", "ingested_at", "broker_at"] {
        if schema.index_of(name).is_ok() {
            properties = properties
                .set_column_dictionary_enabled(column(name), false)
                .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
        }
    }
    if table == Table::Events {
        // Files are in the order of kind and time; a session's events are found by its id. Hardly an event_id repeats.
        properties = properties
            .set_column_dictionary_enabled(column("event_id"), false)
            .set_column_bloom_filter_enabled(column("session_id"), true)
            .set_column_bloom_filter_max_ndv(column("session_id"), 10_000);
    }
    properties.build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
    use deltalake::logstore::object_store::memory::InMemory;

    use super::*;

    /// Events with the given times, sessions and offsets; every other column is empty.
    fn events(times: &[Option<i64>], sessions: &[Option<&str>], offsets: &[i64]) -> RecordBatch {
        let schema = Table::Events.schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "occurred_at" => Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
                "session_id" => Arc::new(StringArray::from(sessions.to_vec())),
                "offset" => Arc::new(Int64Array::from(offsets.to_vec())),
                _ => new_null_array(field.data_type(), times.len()),
            }
        });
        let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let nullable = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
        RecordBatch::try_new(nullable, columns.collect()).unwrap()
    }

    async fn statistics_of(rows: &RecordBatch, group_rows: usize) -> Value {
        let mut uploader = Uploader::new(Table::Events, rows.schema(), Arc::new(InMemory::new()), Temper::Hot);
        uploader.properties = uploader.properties.into_builder().set_max_row_group_row_count(Some(group_rows)).build();
        let add = uploader.put(uploader.encode(0, rows).unwrap()).await.unwrap();
        assert!(add.path.starts_with("date=1970-01-01/part-"));
        serde_json::from_str(&add.stats.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_log_says_what_a_file_holds_over_all_its_parts() {
        let long = "s".repeat(100);
        let rows = events(
            &[Some(1_500_000), None, None, Some(2_000_001)],
            &[Some("b"), Some("a"), Some(&long), None],
            &[7, -3, 5, 6],
        );
        for group_rows in [1, 2, 100] {
            let found = statistics_of(&rows, group_rows).await;
            assert_eq!(found["numRecords"], 4);
            assert_eq!(found["minValues"]["offset"], -3);
            assert_eq!(found["maxValues"]["offset"], 7);
            assert_eq!(found["nullCount"]["offset"], 0);
            // To the microsecond: what is cut off would be skipped by mistake.
            assert_eq!(found["minValues"]["occurred_at"], "1970-01-01T00:00:01.500000Z");
            assert_eq!(found["maxValues"]["occurred_at"], "1970-01-01T00:00:02.000001Z");
            assert_eq!(found["nullCount"]["occurred_at"], 2);
            assert_eq!(found["minValues"]["session_id"], "a");
            let highest = found["maxValues"]["session_id"].as_str().unwrap();
            assert!(highest >= long.as_str() && highest.len() < long.len(), "{highest}");
            // A column without a value has neither bound, and a column of long texts no statistics at all.
            assert_eq!(found["nullCount"]["actor"], 4);
            assert_eq!(found["minValues"].get("actor"), None);
            assert_eq!(found["nullCount"].get("detail"), None);
        }
    }
}
