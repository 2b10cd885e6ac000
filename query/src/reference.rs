//! Reference data: what gateways do not publish. Who is who, who may approve what, which accounts are shared, what is
//! privileged.
//!
//! It comes from files that the configuration names, CSV with a header line or Parquet. Each is a table of the catalogue,
//! empty where no file is named, and known by its hash in every result that was made with it.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use aws_lc_rs::digest::{SHA256, digest};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::QueryError;
use crate::functions::{Vocabulary, Words};

/// The largest file of reference data, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Files of reference data, CSV or Parquet by their ending.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReferencePaths {
    /// `person,kind,team,manager,hired_at,terminated_at,aliases`: the people that the directory knows. `kind` is human,
    /// service or vendor; `aliases` are other names of the person, joined by semicolons.
    pub people: Option<PathBuf>,
    /// `approver,scope_kind,scope,valid_from,valid_to`: who may approve what. `scope_kind` is role, target or any; a
    /// scope may end in `*`.
    pub approvers: Option<PathBuf>,
    /// `login,owner,justification`: accounts that more than one person uses, on purpose.
    pub shared_accounts: Option<PathBuf>,
    /// `kind,name`: roles and targets that are privileged; a name may end in `*`. Without the file, all are.
    pub privileged: Option<PathBuf>,
}

/// What one file of reference data was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReferenceFile {
    /// The table that it became.
    pub table: String,
    /// Its name, without folders.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Number of rows.
    pub rows: u64,
}

/// Reference data as it was read.
#[derive(Debug)]
pub(crate) struct Reference {
    words: Arc<Words>,
    tables: Vec<(&'static str, Arc<dyn TableProvider>)>,
    files: Vec<ReferenceFile>,
    /// Each file and how it looked when it was read.
    seen: Vec<(PathBuf, Option<Look>)>,
}

type Look = (SystemTime, u64);

impl Reference {
    /// Reads every file that is named.
    ///
    /// # Errors
    ///
    /// [`QueryError::Reference`] for a file that cannot be read or has other columns, [`QueryError::Invalid`] for names
    /// that cannot be told apart.
    pub(crate) fn load(vocabulary: &Vocabulary) -> Result<Self, QueryError> {
        let paths = &vocabulary.reference;
        let (mut files, mut seen) = (Vec::new(), Vec::new());
        let mut tables: Vec<(_, Arc<dyn TableProvider>)> = Vec::new();
        let mut people = vocabulary.people.clone();
        for (name, path, columns) in [
            ("identities", &paths.people, people_columns()),
            ("approver_authority", &paths.approvers, authority_columns()),
            ("shared_accounts", &paths.shared_accounts, texts(&["login", "owner", "justification"])),
            ("privileged", &paths.privileged, texts(&["kind", "name"])),
        ] {
            let rows = match path {
                None => RecordBatch::new_empty(columns),
                Some(path) => {
                    let wrong = |why: String| QueryError::Reference(format!("{}: {why}", path.display()));
                    seen.push((path.clone(), look(path)));
                    let bytes = bytes(path).map_err(wrong)?;
                    let rows = if path.extension().is_some_and(|ending| ending == "parquet") {
                        parquet_rows(bytes.clone(), &columns).map_err(wrong)?
                    } else {
                        csv_rows(&bytes, &columns).map_err(wrong)?
                    };
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let (table, sha256) = (name.to_owned(), sha256_hex(&bytes));
                    files.push(ReferenceFile { table, file, sha256, rows: rows.num_rows() as u64 });
                    rows
                }
            };
            if name == "identities" {
                let twice = first_twice(&rows).map(|person| format!("identities: {person:?} stands there twice"));
                twice.map_or(Ok(()), |twice| Err(QueryError::Reference(twice)))?;
                add_aliases(&mut people, &rows);
            }
            tables.push((name, Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?)));
        }
        let words = Arc::new(Words::new(&Vocabulary { people, ..vocabulary.clone() })?);
        Ok(Self { words, tables, files, seen })
    }

    /// Whether a file is another than when it was read.
    pub(crate) fn is_stale(&self) -> bool {
        self.seen.iter().any(|(path, seen)| look(path) != *seen)
    }

    pub(crate) fn words(&self) -> &Arc<Words> {
        &self.words
    }

    pub(crate) fn tables(&self) -> &[(&'static str, Arc<dyn TableProvider>)] {
        &self.tables
    }

    pub(crate) fn files(&self) -> &[ReferenceFile] {
        &self.files
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn look(path: &Path) -> Option<Look> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn bytes(path: &Path) -> Result<bytes::Bytes, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {} MiB", FILE_BYTES_MAX >> 20));
    }
    Ok(bytes.into())
}

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn texts(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|name| text(name)).collect::<Vec<_>>()))
}

fn people_columns() -> SchemaRef {
    let texts = ["person", "kind", "team", "manager"].map(text);
    let times = ["hired_at", "terminated_at"].map(time);
    Arc::new(Schema::new(texts.into_iter().chain(times).chain([text("aliases")]).collect::<Vec<_>>()))
}

fn authority_columns() -> SchemaRef {
    let texts = ["approver", "scope_kind", "scope"].map(text);
    Arc::new(Schema::new(texts.into_iter().chain(["valid_from", "valid_to"].map(time)).collect::<Vec<_>>()))
}

fn csv_rows(bytes: &[u8], columns: &SchemaRef) -> Result<RecordBatch, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let said = |error: arrow::error::ArrowError| error.to_string();
    let format = csv::reader::Format::default().with_header(true);
    let (found, _) = format.infer_schema(Cursor::new(bytes), Some(0)).map_err(said)?;
    let found: Vec<Field> = found.fields().iter().map(|field| text(field.name().trim())).collect();
    let found = Arc::new(Schema::new(found));
    let reader = csv::ReaderBuilder::new(found.clone()).with_header(true).build(Cursor::new(bytes)).map_err(said)?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(said)?;
    fit(&concat_batches(&found, &batches).map_err(said)?, columns)
}

fn parquet_rows(bytes: bytes::Bytes, columns: &SchemaRef) -> Result<RecordBatch, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
    let found = builder.schema().clone();
    let reader = builder.build().map_err(|error| error.to_string())?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    fit(&concat_batches(&found, &batches).map_err(|error| error.to_string())?, columns)
}

/// The rows with the columns that the table has. The first is needed in every row, the others may be left out.
fn fit(rows: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch, String> {
    let names = || columns.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    if let Some(other) = rows.schema().fields().iter().find(|field| columns.field_with_name(field.name()).is_err()) {
        return Err(format!("nothing is known of a column {:?}; there are {}", other.name(), names()));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let mut fitted: Vec<ArrayRef> = Vec::new();
    for (index, field) in columns.fields().iter().enumerate() {
        let column = match rows.column_by_name(field.name()) {
            Some(column) => cast_with_options(column, field.data_type(), &strict)
                .map_err(|error| format!("column {}: {error}", field.name()))?,
            None if index == 0 => return Err(format!("the column {} is missing; there are {}", field.name(), names())),
            None => new_null_array(field.data_type(), rows.num_rows()),
        };
        if index == 0 && column.null_count() > 0 {
            return Err(format!("a row has no {}", field.name()));
        }
        fitted.push(column);
    }
    RecordBatch::try_new(columns.clone(), fitted).map_err(|error| error.to_string())
}

/// Somebody who has two rows, if there is one: reports would count what they did twice.
fn first_twice(rows: &RecordBatch) -> Option<&str> {
    let mut persons: Vec<&str> = rows.column_by_name("person")?.as_string_opt::<i32>()?.iter().flatten().collect();
    persons.sort_unstable();
    persons.windows(2).find_map(|pair| matches!(pair, [one, other] if one == other).then(|| pair.first().copied())?)
}

fn add_aliases(people: &mut std::collections::HashMap<String, Vec<String>>, rows: &RecordBatch) {
    let column = |name| rows.column_by_name(name).and_then(|column: &ArrayRef| column.as_string_opt::<i32>());
    let (Some(persons), Some(aliases)) = (column("person"), column("aliases")) else { return };
    for (person, aliases) in persons.iter().zip(aliases) {
        let names = aliases.unwrap_or_default().split(';').map(str::trim).filter(|name| !name.is_empty());
        if let Some(person) = person {
            people.entry(person.to_owned()).or_default().extend(names.map(str::to_owned));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(people: &str) -> Result<Reference, QueryError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.csv");
        fs::write(&path, people).unwrap();
        let reference = ReferencePaths { people: Some(path), ..ReferencePaths::default() };
        Reference::load(&Vocabulary { reference, ..Vocabulary::default() })
    }

    #[test]
    fn a_file_becomes_a_table_with_its_hash() {
        let text = "\u{feff}person,terminated_at,aliases\nalice,,u_1; u_2\nbob,2026-01-01T00:00:00Z,\n";
        let reference = load(text).unwrap();
        let expected = ReferenceFile {
            table: "identities".to_owned(),
            file: "people.csv".to_owned(),
            sha256: sha256_hex(text.as_bytes()),
            rows: 2,
        };
        assert_eq!(reference.files(), [expected]);
        assert_eq!(reference.tables().len(), 4);
        // The file is gone.
        assert!(reference.is_stale());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, expected) in [
            ("name,kind\n", "nothing is known of a column \"name\"; there are person, kind"),
            ("kind\nhuman\n", "the column person is missing"),
            ("person,hired_at\nalice,yesterday\n", "column hired_at: "),
            ("person,kind\n,human\n", "a row has no person"),
            ("person,aliases\nalice,a\nbob,a\n", "\"a\" is both"),
            ("person,kind\nalice,human\nbob,human\nalice,vendor\n", "\"alice\" stands there twice"),
            ("person,kind\nalice\n", "incorrect number of fields"),
        ] {
            let error = load(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let reference = ReferencePaths { privileged: Some("/nowhere.csv".into()), ..ReferencePaths::default() };
        let error = Reference::load(&Vocabulary { reference, ..Vocabulary::default() }).unwrap_err().to_string();
        assert!(error.starts_with("reference data: /nowhere.csv: "), "{error}");
    }
}
