//! Rows as a table for a terminal, CSV, JSON, NDJSON, an Arrow stream or a Parquet file, written as they come.
//!
//! Times are RFC 3339 UTC with microseconds, bytes are hexadecimal, in every text format.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json;
use arrow::json::writer::LineDelimited;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::text;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns in line, for a person at a terminal. What a terminal would obey is made visible.
    Table,
    /// RFC 4180 with a header line; lists and structs as JSON text.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Table, Self::Csv, Self::Json, Self::Ndjson, Self::Arrow, Self::Parquet];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// The format of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// The media type of what is written.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// A cell of a table is cut at this many characters, unless asked otherwise.
pub const CELL_CHARS: usize = 60;

/// A table's columns are as wide as its first rows need: so many of them are held back.
const ROWS_MEASURED: usize = 1000;

/// Rows of a group of a Parquet file: so many are held back.
const GROUP_ROWS: usize = 64 * 1024;

const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// Writes batches of one schema in a format.
///
/// A table holds back its first rows to measure them, a Parquet file the rows of a group; every other format writes each
/// batch as it comes.
pub struct RowWriter<W: Write> {
    out: W,
    kind: Kind,
}

enum Kind {
    Table(Table),
    Csv,
    Json { rows: bool },
    Ndjson,
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl<W: Write> RowWriter<W> {
    /// A writer of rows with these columns.
    ///
    /// # Errors
    ///
    /// When the columns have a type that the format does not know.
    pub fn new(out: W, format: Format, schema: &SchemaRef) -> io::Result<Self> {
        let kind = match format {
            Format::Table => Kind::Table(Table::new(schema, Some(CELL_CHARS))),
            Format::Csv => Kind::Csv,
            Format::Json => Kind::Json { rows: false },
            Format::Ndjson => Kind::Ndjson,
            Format::Arrow => Kind::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema).map_err(other)?)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(GROUP_ROWS))
                    .build();
                Kind::Parquet(Box::new(
                    ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).map_err(io::Error::other)?,
                ))
            }
        };
        let mut writer = Self { out, kind };
        match &mut writer.kind {
            Kind::Csv => write_csv(&mut writer.out, &RecordBatch::new_empty(schema.clone()), true)?,
            Kind::Json { .. } => writer.out.write_all(b"[")?,
            _ => {}
        }
        Ok(writer)
    }

    /// A writer of a table whose cells are cut at `cell_chars` characters, or never.
    pub fn table(out: W, schema: &SchemaRef, cell_chars: Option<usize>) -> Self {
        Self { out, kind: Kind::Table(Table::new(schema, cell_chars)) }
    }

    /// Writes rows.
    ///
    /// # Errors
    ///
    /// Those of the output, and of a value that the format cannot hold.
    pub fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        match &mut self.kind {
            Kind::Table(table) => table.write(&mut self.out, batch),
            Kind::Csv => write_csv(&mut self.out, batch, false),
            Kind::Ndjson => self.out.write_all(&lines(batch)?),
            Kind::Json { rows } => {
                // A line break inside a value is escaped: each line is a row.
                for line in lines(batch)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    self.out.write_all(if *rows { b",\n" } else { b"\n" })?;
                    self.out.write_all(line)?;
                    *rows = true;
                }
                Ok(())
            }
            Kind::Arrow(stream) => {
                stream.write(batch).map_err(other)?;
                self.out.write_all(&std::mem::take(stream.get_mut()))
            }
            Kind::Parquet(file) => {
                file.write(batch).map_err(io::Error::other)?;
                self.out.write_all(&std::mem::take(file.inner_mut()))
            }
        }
    }

    /// Writes what is left, and gives the output back.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        match &mut self.kind {
            Kind::Table(table) => table.finish(&mut self.out)?,
            Kind::Csv | Kind::Ndjson => {}
            Kind::Json { rows } => self.out.write_all(if *rows { b"\n]\n" } else { b"]\n" })?,
            Kind::Arrow(stream) => {
                stream.finish().map_err(other)?;
                self.out.write_all(&std::mem::take(stream.get_mut()))?;
            }
            Kind::Parquet(file) => {
                file.finish().map_err(io::Error::other)?;
                self.out.write_all(&std::mem::take(file.inner_mut()))?;
            }
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// The output, to take from it what was written so far.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }
}

/// Rows that are kept, to be written in whatever format they are asked for.
#[derive(Debug, Clone)]
pub struct Kept {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Kept {
    /// Batches of one schema.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// The same without a column, and without those that say nothing in any row: for people.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let says = |index: usize| {
            let mut columns = self.batches.iter().filter_map(|batch| batch.columns().get(index));
            columns.any(|column| column.null_count() < column.len())
        };
        let fields = self.schema.fields().iter().enumerate();
        let kept: Vec<usize> =
            fields.filter(|(index, field)| field.name() != name && says(*index)).map(|(index, _)| index).collect();
        let projected = self
            .schema
            .project(&kept)
            .ok()
            .zip(self.batches.iter().map(|batch| batch.project(&kept)).collect::<Result<Vec<_>, _>>().ok());
        // Columns of a schema can be picked from its batches.
        projected.map_or_else(|| self.clone(), |(schema, batches)| Self { schema: Arc::new(schema), batches })
    }

    /// Writes them.
    ///
    /// # Errors
    ///
    /// Those of the output, and of a value that the format cannot hold.
    pub fn write<W: Write>(&self, out: W, format: Format) -> io::Result<W> {
        let mut writer = RowWriter::new(out, format, &self.schema)?;
        self.batches.iter().try_for_each(|batch| writer.write(batch))?;
        writer.finish()
    }
}

fn other(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// Rows as JSON objects, one on a line.
pub(crate) fn lines(batch: &RecordBatch) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    let mut writer = json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_tz_format(TIMESTAMP.to_owned())
        .build::<_, LineDelimited>(&mut lines);
    writer.write(batch).and_then(|()| writer.finish()).map_err(other)?;
    drop(writer);
    Ok(lines)
}

fn write_csv(out: &mut impl Write, batch: &RecordBatch, header: bool) -> io::Result<()> {
    let mut writer =
        csv::WriterBuilder::new().with_header(header).with_timestamp_tz_format(TIMESTAMP.to_owned()).build(out);
    writer.write(&flat(batch)?).map_err(other)
}

/// The batch with nested columns as JSON text.
fn flat(batch: &RecordBatch) -> io::Result<RecordBatch> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if !field.data_type().is_nested() {
                return Ok((field.as_ref().clone(), column.clone()));
            }
            Ok((Field::new(field.name(), DataType::Utf8, true), json_texts(column)?))
        })
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(other)
}

/// The values of a column as JSON text; null stays null.
fn json_texts(column: &ArrayRef) -> io::Result<ArrayRef> {
    const NAME: &str = "v";
    let batch = RecordBatch::try_from_iter([(NAME, column.clone())]).map_err(other)?;
    let lines = lines(&batch)?;
    let lines = String::from_utf8(lines).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    // Each line is `{"v":…}`.
    let values = lines.lines().map(|line| line.strip_prefix(r#"{"v":"#).and_then(|line| line.strip_suffix('}')));
    let texts = values.enumerate().map(|(row, text)| text.filter(|_| column.is_valid(row)));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// A table for a terminal.
struct Table {
    names: Vec<String>,
    right: Vec<bool>,
    cell_chars: Option<usize>,
    held: Vec<Vec<String>>,
    /// Widths of the columns, once the first rows have been measured.
    widths: Option<Vec<usize>>,
}

impl Table {
    fn new(schema: &SchemaRef, cell_chars: Option<usize>) -> Self {
        let names = schema.fields().iter().map(|field| text::visible(field.name()).into_owned()).collect();
        let right = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        Self { names, right, cell_chars, held: Vec::new(), widths: None }
    }

    fn write(&mut self, out: &mut impl Write, batch: &RecordBatch) -> io::Result<()> {
        let options = FormatOptions::new().with_timestamp_tz_format(Some(TIMESTAMP));
        let batch = flat(batch)?;
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(other)?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| Ok(self.cell(&column.value(row).try_to_string().map_err(other)?)));
            let cells = cells.collect::<io::Result<Vec<_>>>()?;
            if let Some(widths) = &self.widths {
                line(out, &cells, widths, &self.right)?;
                continue;
            }
            self.held.push(cells);
            if self.held.len() == ROWS_MEASURED {
                self.release(out)?;
            }
        }
        Ok(())
    }

    fn cell(&self, value: &str) -> String {
        let shown = text::visible(value);
        match self.cell_chars {
            Some(max) if shown.chars().count() > max => {
                let head: String = shown.chars().take(max.saturating_sub(1)).collect();
                head + "…"
            }
            _ => shown.into_owned(),
        }
    }

    /// Measures the rows that are held back and writes them under the header.
    fn release(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.chars().count()).collect();
        for row in &self.held {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        line(out, &self.names, &widths, &self.right)?;
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        line(out, &rule, &widths, &self.right)?;
        for row in self.held.drain(..) {
            line(out, &row, &widths, &self.right)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.widths.is_none() { self.release(out) } else { Ok(()) }
    }
}

fn line(out: &mut impl Write, cells: &[String], widths: &[usize], right: &[bool]) -> io::Result<()> {
    let mut line = String::new();
    for ((cell, width), right) in cells.iter().zip(widths).zip(right) {
        let cell = if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
        line.push_str(&cell);
        line.push_str("  ");
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, Int64Array, ListBuilder, StringBuilder, TimestampMicrosecondArray};
    use arrow::compute::concat_batches;
    use arrow::ipc::reader::StreamReader;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch() -> RecordBatch {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a\"b"), None]);
        lists.append_null();
        let columns: [(&str, ArrayRef); 5] = [
            ("text", Arc::new(StringArray::from(vec![Some("a,\"b\"\n\x1b[2J"), None]))),
            ("n", Arc::new(Int64Array::from(vec![7, -100]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_000_001), None]).with_timezone("UTC"))),
            ("bytes", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\xff\x00"), None]))),
            ("list", Arc::new(lists.finish())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn written(format: Format, batches: &[RecordBatch]) -> String {
        let mut writer = RowWriter::new(Vec::new(), format, &batch().schema()).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn csv_is_rfc_4180_with_nested_columns_as_json() {
        let expected = "text,n,at,bytes,list\n\
                        \"a,\"\"b\"\"\n\x1b[2J\",7,1970-01-01T00:00:01.000001Z,ff00,\"[\"\"a\\\"\"b\"\",null]\"\n\
                        ,-100,,,\n";
        assert_eq!(written(Format::Csv, &[batch()]), expected);
        assert_eq!(written(Format::Csv, &[]), "text,n,at,bytes,list\n");
    }

    #[test]
    fn json_is_one_array_over_all_batches() {
        let first = [
            r#"{"text":"a,\"b\"\n\u001b[2J","n":7,"at":"1970-01-01T00:00:01.000001Z","#,
            r#""bytes":"ff00","list":["a\"b",null]}"#,
        ];
        let first = first.concat();
        let second = r#"{"text":null,"n":-100,"at":null,"bytes":null,"list":null}"#;
        assert_eq!(written(Format::Ndjson, &[batch()]), format!("{first}\n{second}\n"));
        let json = written(Format::Json, &[batch(), RecordBatch::new_empty(batch().schema()), batch()]);
        assert_eq!(json, format!("[\n{first},\n{second},\n{first},\n{second}\n]\n"));
        assert_eq!(written(Format::Json, &[]), "[]\n");
    }

    #[test]
    fn a_table_shows_what_a_terminal_would_obey() {
        let table = written(Format::Table, &[batch()]);
        let expected = "\
text           n  at                           bytes  list
──────────  ────  ───────────────────────────  ─────  ─────────────
a,\"b\"␊␛[2J     7  1970-01-01T00:00:01.000001Z  ff00   [\"a\\\"b\",null]
            -100
";
        assert_eq!(table, expected);
    }

    #[test]
    fn long_cells_are_cut_unless_asked_otherwise() {
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(200)]));
        let batch = RecordBatch::try_from_iter([("long", long)]).unwrap();
        for (cell_chars, width) in [(Some(10), 10), (None, 200)] {
            let mut writer = RowWriter::table(Vec::new(), &batch.schema(), cell_chars);
            writer.write(&batch).unwrap();
            let table = String::from_utf8(writer.finish().unwrap()).unwrap();
            assert_eq!(table.lines().last().unwrap().chars().count(), width);
        }
    }

    #[test]
    fn an_arrow_stream_is_read_back() {
        let mut writer = RowWriter::new(Vec::new(), Format::Arrow, &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        let mut bytes = std::mem::take(writer.get_mut());
        bytes.extend(writer.finish().unwrap());
        let batches: Vec<_> = StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect();
        assert_eq!(batches, [batch()]);
    }

    #[test]
    fn a_parquet_file_is_read_back_in_several_groups() {
        let many = vec![batch(); GROUP_ROWS / 2 + 100];
        let mut writer = RowWriter::new(Vec::new(), Format::Parquet, &batch().schema()).unwrap();
        let mut bytes = Vec::new();
        for batch in &many {
            writer.write(batch).unwrap();
            bytes.append(writer.get_mut());
        }
        bytes.extend(writer.finish().unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(
            concat_batches(&batch().schema(), &batches).unwrap(),
            concat_batches(&batch().schema(), &many).unwrap()
        );
    }
}
