//! Putting files together.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::new_null_array;
use arrow::compute::{CastOptions, SortOptions, cast_with_options};
use arrow::datatypes::{Date32Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::FormatOptions;
use custody_schemas::table::{PARTITION_COLUMN, Table};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::sorts::streaming_merge::StreamingMergeBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use deltalake::kernel::{Action, Add};
use deltalake::logstore::ObjectStoreRef;
use deltalake::logstore::object_store::ObjectStoreExt;
use deltalake::logstore::object_store::path::Path;
use deltalake::protocol::DeltaOperation;
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Handle;

use super::fingerprint::{Collector, Fingerprint};
use super::{Compacted, Group, MaintainError, Maintenance};
use crate::files::{Temper, Uploader};

/// Rows that are read of a file at a time, and bytes that they may take: each of the files holds so much.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: i64 = 1 << 20;

/// What can go wrong with files.
type FileError = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn compact(of: &mut Maintenance, group: &Group) -> Result<Compacted, MaintainError> {
    let table = of.table;
    let names = || group.files.first().map(|file| format!("{} and {} more", file.path, group.files() - 1));
    let failed = |why: FileError| MaintainError::Files {
        table: table.name(),
        files: names().unwrap_or_default(),
        why: why.to_string(),
    };
    // The table's own columns, not those that this version knows: a newer one may have added some.
    let schema = columns(&of.log.schema()).map_err(|error| failed(error.into()))?;
    let store = of.files_store();
    // Seconds of work without a pause: on a thread that may block.
    let (handle, files, columns) = (Handle::current(), group.clone(), schema.clone());
    let rewriting = tokio::task::spawn_blocking(move || {
        handle.block_on(async {
            let (adds, before) = rewrite(table, &store, &columns, &files).await?;
            let written: Vec<_> = adds.iter().map(|add| Path::from(add.path.as_str())).collect();
            let after = read_back(&store, &columns, &written).await;
            Ok::<_, FileError>((adds, before, after))
        })
    });
    let rewritten = rewriting.await.map_err(|error| failed(error.into()))?;
    let (adds, before, after) = rewritten.map_err(failed)?;
    let proved = match &after {
        Ok(after) => before.difference(after).map_or(Ok(()), |difference| {
            Err(MaintainError::Unproven { table: table.name(), files: group.files(), difference })
        }),
        Err(error) => Err(failed(error.to_string().into())),
    };
    let committed = match proved {
        Ok(()) => {
            let removes = group.files.iter().map(|file| Action::Remove(file.remove.clone()));
            let adds = adds.iter().map(|add| Action::Add(Add { data_change: false, ..add.clone() }));
            let target_size = i64::try_from(group.bytes()).unwrap_or(i64::MAX);
            of.put(removes.chain(adds).collect(), DeltaOperation::Optimize { predicate: None, target_size }).await
        }
        Err(error) => Err(error),
    };
    // What was written in vain is an orphan: it is not deleted here, where a reply may have been lost.
    committed?;
    of.files.retain(|file| !group.files.contains(file));
    let bytes_after = adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
    Ok(Compacted { files: group.files(), bytes_before: group.bytes(), bytes_after, rows: before.rows })
}

/// The columns of a table's files.
fn columns(table: &deltalake::kernel::StructType) -> Result<SchemaRef, ArrowError> {
    let all: Schema = table.try_into_arrow()?;
    let in_files = all.fields().iter().filter(|field| field.name() != PARTITION_COLUMN);
    Ok(Arc::new(Schema::new(in_files.cloned().collect::<Vec<_>>())))
}

/// Writes the rows of a group in the table's order. Returns the new files, and what was read.
async fn rewrite(
    table: Table,
    store: &ObjectStoreRef,
    schema: &SchemaRef,
    group: &Group,
) -> Result<(Vec<Add>, Fingerprint), FileError> {
    let mut streams = Vec::new();
    let mut collectors = Vec::new();
    let mut batch_rows = BATCH_ROWS;
    for file in &group.files {
        let collector = Arc::new(Mutex::new(Some(Collector::new(schema)?)));
        collectors.push(collector.clone());
        let (rows, at_a_time) = read(store, schema, &file.path).await?;
        batch_rows = batch_rows.min(at_a_time);
        streams.push(inspected(rows, collector));
    }
    let mut rows = merge(table, schema, streams, batch_rows)?;
    let uploader = Uploader::new(table, schema.clone(), store.clone(), Temper::Cold);
    let mut file = uploader.open(Date32Type::from_naive_date(group.date))?;
    while let Some(batch) = rows.next().await {
        file.write(&batch?)?;
    }
    let adds = vec![uploader.put(file.finish()?).await?];
    let mut before = Fingerprint::default();
    for collector in collectors {
        if let Some(collector) = collector.lock().unwrap_or_else(PoisonError::into_inner).take() {
            before.add(collector.finish());
        }
    }
    let logged: u64 = group.files.iter().map(|file| file.rows).sum();
    if logged != before.rows {
        let found = before.rows;
        return Err(format!("the log says that they have {logged} rows together, and they have {found}").into());
    }
    Ok((adds, before))
}

/// Reads a file, with the columns that the table has now. Its bytes are held as long as its rows are read: a group of
/// files is small. Tells how many rows come at a time: fewer where they are long.
async fn read(
    store: &ObjectStoreRef,
    schema: &SchemaRef,
    path: &Path,
) -> Result<(SendableRecordBatchStream, usize), FileError> {
    let at = |error: &dyn std::fmt::Display| -> FileError { format!("{path}: {error}").into() };
    let found = store.get(path).await.map_err(|error| at(&error))?;
    let bytes = found.bytes().await.map_err(|error| at(&error))?;
    let file = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| at(&error))?;
    let groups = file.metadata().row_groups();
    // Of the group with the largest rows; what a row takes in memory is about what it takes before compression.
    let row_bytes = groups.iter().map(|group| group.total_byte_size() / group.num_rows().max(1)).max();
    let batch_rows = usize::try_from(BATCH_BYTES / row_bytes.unwrap_or(1).max(1)).unwrap_or(1).clamp(1, BATCH_ROWS);
    let rows = file.with_batch_size(batch_rows).build().map_err(|error| at(&error))?;
    let (to, path) = (schema.clone(), path.clone());
    let rows = rows.map(move |batch| {
        let batch = batch.and_then(|batch| conform(&batch, &to));
        batch.map_err(|error| DataFusionError::External(format!("{path}: {error}").into()))
    });
    Ok((Box::pin(RecordBatchStreamAdapter::new(schema.clone(), futures::stream::iter(rows))), batch_rows))
}

/// A value that does not fit is an error, and not empty.
const STRICT: CastOptions<'_> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// The columns of a table from those of a file: by name; what the file lacks was added to the table later.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if let Some(unknown) = batch.schema().fields().iter().find(|field| schema.field_with_name(field.name()).is_err()) {
        return Err(ArrowError::SchemaError(format!("the table has no column {}", unknown.name())));
    }
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast_with_options(column, field.data_type(), &STRICT),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// Rows on their way, each noted.
fn inspected(rows: SendableRecordBatchStream, collector: Arc<Mutex<Option<Collector>>>) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let rows = rows.map(move |batch| {
        let batch = batch?;
        if let Some(collector) = collector.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            collector.push(&batch)?;
        }
        Ok(batch)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// Merges sorted files into one sequence.
fn merge(
    table: Table,
    schema: &SchemaRef,
    streams: Vec<SendableRecordBatchStream>,
    batch_rows: usize,
) -> Result<SendableRecordBatchStream, FileError> {
    let order = table.sort_columns().iter().map(|name| {
        let options = SortOptions { descending: false, nulls_first: true };
        Ok(PhysicalSortExpr { expr: Arc::new(Column::new_with_schema(name, schema)?), options })
    });
    let order = order.collect::<Result<Vec<_>, DataFusionError>>()?;
    let order = LexOrdering::new(order).ok_or("the table has no order")?;
    // What is held is a batch of each file: bounded by the size of a group.
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let merged = StreamingMergeBuilder::new()
        .with_streams(streams)
        .with_schema(schema.clone())
        .with_expressions(&order)
        .with_batch_size(batch_rows)
        .with_metrics(BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), 0))
        .with_reservation(MemoryConsumer::new("merge").register(&pool))
        .build()?;
    Ok(merged)
}

/// Reads what was written, from the store.
async fn read_back(store: &ObjectStoreRef, schema: &SchemaRef, paths: &[Path]) -> Result<Fingerprint, FileError> {
    let mut found = Collector::new(schema)?;
    for path in paths {
        let (mut rows, _) = read(store, schema, path).await?;
        while let Some(batch) = rows.next().await {
            found.push(&batch?)?;
        }
    }
    Ok(found.finish())
}
