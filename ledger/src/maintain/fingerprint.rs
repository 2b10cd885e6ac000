//! What a set of rows is, whatever their order and in whichever files they are.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

/// Collects rows.
#[derive(Debug)]
pub(super) struct Collector {
    rows: RowConverter,
    found: Fingerprint,
}

/// Equal for the same rows, each as often, and for no others: every column of every row goes into the sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) rows: u64,
    sum: u64,
    /// For each topic and partition: rows, lowest and highest offset.
    extents: BTreeMap<(String, i32), (u64, i64, i64)>,
}

impl Fingerprint {
    /// Adds the rows of another.
    pub(super) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
        for (stream, (rows, low, high)) in other.extents {
            let all = self.extents.entry(stream).or_insert((0, low, high));
            *all = (all.0 + rows, all.1.min(low), all.2.max(high));
        }
    }

    /// What is different in another, for a person.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        if self.rows != other.rows {
            return Some(format!("{} rows instead of {}", other.rows, self.rows));
        }
        if self.extents != other.extents {
            return Some(format!("offsets {} instead of {}", Extents(other), Extents(self)));
        }
        (self.sum != other.sum).then(|| "the contents of rows differ".to_owned())
    }
}

struct Extents<'a>(&'a Fingerprint);

impl fmt::Display for Extents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((topic, partition), (rows, low, high)) in self.0.extents.iter().take(3) {
            write!(f, "{topic}/{partition}: {rows} rows of {low} to {high}; ")?;
        }
        Ok(())
    }
}

impl Collector {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self { rows: RowConverter::new(fields)?, found: Fingerprint::default() })
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let rows = self.rows.convert_columns(batch.columns())?;
        for row in &rows {
            let mut hasher = DefaultHasher::new();
            row.as_ref().hash(&mut hasher);
            self.found.sum = self.found.sum.wrapping_add(hasher.finish());
        }
        self.found.rows += batch.num_rows() as u64;
        self.extents(batch);
        Ok(())
    }

    fn extents(&mut self, batch: &RecordBatch) -> Option<()> {
        let topics = batch.column_by_name("topic")?.as_string_opt::<i32>()?;
        let partitions = batch.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?;
        let first = batch.column_by_name("offset").or_else(|| batch.column_by_name("first_offset"))?;
        let last = batch.column_by_name("last_offset").unwrap_or(first);
        let (first, last) = (first.as_primitive_opt::<Int64Type>()?, last.as_primitive_opt::<Int64Type>()?);
        let mut run: Option<(&str, i32, (u64, i64, i64))> = None;
        for row in 0..batch.num_rows() {
            let (topic, partition) = (topics.value(row), partitions.value(row));
            let (low, high) = (first.value(row), last.value(row));
            match &mut run {
                Some((of, number, all)) if *of == topic && *number == partition => {
                    *all = (all.0 + 1, all.1.min(low), all.2.max(high));
                }
                _ => {
                    if let Some((topic, partition, all)) = run.replace((topic, partition, (1, low, high))) {
                        self.extent(topic, partition, all);
                    }
                }
            }
        }
        let (topic, partition, all) = run?;
        self.extent(topic, partition, all);
        Some(())
    }

    fn extent(&mut self, topic: &str, partition: i32, all: (u64, i64, i64)) {
        let extents = BTreeMap::from([((topic.to_owned(), partition), all)]);
        self.found.add(Fingerprint { extents, ..Fingerprint::default() });
    }

    pub(super) fn finish(self) -> Fingerprint {
        self.found
    }
}
