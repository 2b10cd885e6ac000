//! Rows as files for programs (CSV, Parquet), and as cells for the parts that people read.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::{BatchCoalescer, cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::SecondsFormat;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{EvidenceError, words};
use crate::evidence::model::ReportResult;
use crate::format::{Format, RowWriter};
use custody_schemas::time::Micros;

/// Pages of Parquet begin with batches: equal batches make equal files, however the rows came.
const BATCH_ROWS: usize = 8192;

/// A value as a spreadsheet knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// Nothing is known.
    Empty,
    /// A number that a double holds exactly.
    Number(f64),
    /// An instant.
    Time(Micros),
    /// Everything else, as people read it.
    Text(String),
}

/// A batch, read cell by cell.
pub(super) struct Rows<'a> {
    batch: &'a RecordBatch,
    columns: Vec<Column<'a>>,
}

struct Column<'a> {
    shown: ArrayFormatter<'a>,
    nested: bool,
    typed: Typed,
}

enum Typed {
    Text,
    Number(Float64Array),
    Time(TimestampMicrosecondArray),
}

impl<'a> Rows<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> Result<Self, ArrowError> {
        let columns = batch.columns().iter().map(|column| {
            let typed = match column.data_type() {
                DataType::Timestamp(..) => Typed::Time(micros(column)?),
                kind if kind.is_numeric() => {
                    Typed::Number(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
                }
                _ => Typed::Text,
            };
            let shown = ArrayFormatter::try_new(column, &FormatOptions::new())?;
            Ok(Column { shown, nested: column.data_type().is_nested(), typed })
        });
        Ok(Self { batch, columns: columns.collect::<Result<_, ArrowError>>()? })
    }

    pub(super) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Where the column of a name is.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.batch.schema_ref().index_of(name).ok()
    }

    pub(super) fn cell(&self, column: usize, row: usize) -> Result<Cell, ArrowError> {
        let (Some(array), Some(column)) = (self.batch.columns().get(column), self.columns.get(column)) else {
            return Ok(Cell::Empty);
        };
        if array.is_null(row) {
            return Ok(Cell::Empty);
        }
        // Beyond this a double skips integers, and the last digits of an id would be lost.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        Ok(match &column.typed {
            Typed::Time(values) => Cell::Time(values.value(row)),
            Typed::Number(values) if values.value(row).abs() < EXACT => Cell::Number(values.value(row)),
            Typed::Text | Typed::Number(_) => {
                let text = column.shown.value(row).try_to_string()?;
                let list = text.strip_prefix('[').and_then(|list| list.strip_suffix(']')).filter(|_| column.nested);
                Cell::Text(list.map(str::to_owned).unwrap_or(text))
            }
        })
    }

    /// The value as people read it; nothing for a column that is not there.
    pub(super) fn text(&self, column: Option<usize>, row: usize) -> Result<String, ArrowError> {
        let Some(column) = column else { return Ok(String::new()) };
        Ok(match self.cell(column, row)? {
            Cell::Empty => String::new(),
            Cell::Number(number) => number.to_string(),
            Cell::Time(at) => words::time(at),
            Cell::Text(text) => text,
        })
    }
}

/// The columns of a report's rows; as many of text as it describes, when it has no rows at all.
pub(super) fn schema(report: &ReportResult) -> SchemaRef {
    report.rows.first().map_or_else(
        || {
            let text = |(name, _): &(String, String)| Field::new(name, DataType::Utf8, true);
            Arc::new(Schema::new(report.columns.iter().map(text).collect::<Vec<_>>()))
        },
        RecordBatch::schema,
    )
}

/// A report's rows of one verdict.
pub(super) fn of_verdict(report: &ReportResult, verdict: &str) -> Result<Vec<RecordBatch>, ArrowError> {
    report
        .rows
        .iter()
        .filter_map(|batch| Some((batch, batch.column_by_name("verdict")?)))
        .map(|(batch, column)| {
            let verdicts = cast(column, &DataType::Utf8)?;
            let wanted = verdicts.as_string::<i32>().iter().map(|found| Some(found == Some(verdict))).collect();
            filter_record_batch(batch, &wanted)
        })
        .collect()
}

/// Writes CSV as Custody writes it everywhere, made harmless for spreadsheets; the number of rows.
pub(super) fn csv(out: &mut dyn Write, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<u64, EvidenceError> {
    let mut writer = RowWriter::new(out, Format::Csv, &guarded(&RecordBatch::new_empty(schema.clone()))?.schema())?;
    let mut rows = 0;
    for batch in batches {
        writer.write(&guarded(batch)?)?;
        rows += batch.num_rows() as u64;
    }
    writer.finish()?;
    Ok(rows)
}

/// The batch without text that a spreadsheet would run: `'` before what begins like a formula.
///
/// Times become text here, so that one beyond the calendar, a lie of some clock, is written as its number instead of
/// costing the whole file.
fn guarded(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let guard = |text: &str| {
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
    };
    let written =
        |at| words::instant(at).map_or_else(|| at.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let kind = match field.data_type() {
            DataType::Dictionary(_, value) => value,
            kind => kind,
        };
        let column: ArrayRef = match kind {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let values = cast(column, &DataType::Utf8)?;
                Arc::new(values.as_string::<i32>().iter().map(|value| value.map(guard)).collect::<StringArray>())
            }
            DataType::Timestamp(..) => {
                Arc::new(micros(column)?.iter().map(|value| value.map(written)).collect::<StringArray>())
            }
            _ => column.clone(),
        };
        fields.push(Field::new(guard(field.name()), column.data_type().clone(), true));
        columns.push(column);
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows)
}

/// Times as microseconds, whatever they were.
fn micros(times: &ArrayRef) -> Result<TimestampMicrosecondArray, ArrowError> {
    let zone = match times.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micros = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    Ok(micros.as_primitive::<TimestampMicrosecondType>().clone())
}

/// The rows as Parquet: the values themselves, which CSV has to guard.
pub(super) fn parquet(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, EvidenceError> {
    let zstd = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    // What arrow adds for itself is a map, in no order.
    let options = ArrowWriterOptions::new().with_properties(zstd).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)?;
    let mut even = BatchCoalescer::new(schema.clone(), BATCH_ROWS);
    for batch in batches {
        even.push_batch(batch.clone())?;
        while let Some(batch) = even.next_completed_batch() {
            writer.write(&batch)?;
        }
    }
    even.finish_buffered_batch()?;
    while let Some(batch) = even.next_completed_batch() {
        writer.write(&batch)?;
    }
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array, ListBuilder, StringBuilder, StringViewArray};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

    use super::*;

    fn batch() -> RecordBatch {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), Some("b")]);
        lists.append_null();
        let columns: [(&str, ArrayRef); 5] = [
            ("text", Arc::new(StringViewArray::from(vec![Some("=1+1"), None]))),
            ("n", Arc::new(Int64Array::from(vec![-7, i64::MAX]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_000_001), None]).with_timezone("UTC"))),
            ("yes", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("list", Arc::new(lists.finish())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    #[test]
    fn cells_keep_their_type_as_long_as_it_is_exact() {
        let batch = batch();
        let rows = Rows::new(&batch).unwrap();
        let row = |row| (0..5).map(|column| rows.cell(column, row).unwrap()).collect::<Vec<_>>();
        let text = |text: &str| Cell::Text(text.to_owned());
        let first = [text("=1+1"), Cell::Number(-7.0), Cell::Time(1_000_001), text("true"), text("a, b")];
        assert_eq!(row(0), first);
        let second = [Cell::Empty, text("9223372036854775807"), Cell::Empty, Cell::Empty, Cell::Empty];
        assert_eq!(row(1), second);
    }

    #[test]
    fn csv_has_no_formulas_and_keeps_negative_numbers() {
        for (value, shown) in
            [("=1", "'=1"), ("+1", "'+1"), ("-1", "'-1"), ("@a", "'@a"), ("\ta", "'\ta"), ("a=", "a=")]
        {
            let column: ArrayRef = Arc::new(StringArray::from(vec![value]));
            let number: ArrayRef = Arc::new(Int64Array::from(vec![-1]));
            let batch = RecordBatch::try_from_iter([("=head", column), ("n", number)]).unwrap();
            let mut written = Vec::new();
            assert_eq!(csv(&mut written, &batch.schema(), &[batch]).unwrap(), 1);
            assert_eq!(String::from_utf8(written).unwrap(), format!("'=head,n\n{shown},-1\n"));
        }
    }

    #[test]
    fn parquet_is_the_same_however_the_rows_came() {
        let batch = batch();
        let whole = parquet(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        let apart = parquet(&batch.schema(), &[batch.slice(0, 1), batch.slice(1, 1)]).unwrap();
        assert_eq!(whole, apart);
        let mut read = ParquetRecordBatchReader::try_new(bytes::Bytes::from(whole), 10).unwrap();
        let read = read.next().unwrap().unwrap();
        assert_eq!(read.column(1), batch.column(1));
        assert_eq!(read.column(2), batch.column(2));
        assert_eq!(read.column(4), batch.column(4));
    }
}
