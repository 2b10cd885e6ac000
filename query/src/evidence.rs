//! An evidence pack: one zip that an auditor can read, check and sample without Custody.
//!
//! It is a bag (`BagIt`, RFC 8493). Its payload, `data/`, holds for people `report.pdf` and `report.xlsx`, for programs
//! the rows as CSV and Parquet, and the queries with their parameters; its tag files hold the hashes of all of them.
//! The same pack gives the same bytes: nothing in it depends on the clock, on chance or on the machine.

mod bag;
mod collect;
mod model;
mod pdf;
mod readme;
mod tables;
#[cfg(test)]
mod tests;
mod words;
mod xlsx;

use std::collections::BTreeMap;
use std::io::{self, Seek, Write};

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;
use rust_xlsxwriter::XlsxError;
use serde::Serialize;
use serde_json::{Value, json};
use zip::result::ZipError;

use crate::format::Format;
use bag::Bag;

pub use collect::{collect, sha256, surroundings};
pub use model::{Pack, ReportResult, Sample};

/// What was written: every file of the pack, first the payload, then the tag files.
#[derive(Debug, Clone)]
pub struct Written {
    /// The files, in the order in which they are in the zip.
    pub files: Vec<File>,
}

/// A file of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Where it is in the pack.
    pub path: String,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many rows it has, if it has rows.
    pub rows: Option<u64>,
}

/// Why a pack could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The output, or a temporary file.
    #[error("the evidence pack cannot be written: {0}")]
    Io(#[from] io::Error),
    /// The zip.
    #[error("the evidence pack cannot be zipped: {0}")]
    Zip(#[from] ZipError),
    /// Rows of a type that a format does not know.
    #[error("the rows of the evidence pack cannot be read: {0}")]
    Rows(#[from] ArrowError),
    /// The Parquet files.
    #[error("the Parquet of the evidence pack cannot be written: {0}")]
    Parquet(#[from] ParquetError),
    /// The workbook.
    #[error("the workbook of the evidence pack cannot be written: {0}")]
    Workbook(#[from] XlsxError),
    /// The document.
    #[error("the document of the evidence pack cannot be written: {0}")]
    Document(&'static str),
    /// A report's id names files and sheets: letters, digits, `-` and `_`, at most 16, each report once.
    #[error("not the id of one report: {0:?}")]
    Id(String),
}

type Content<'a> = Box<dyn FnOnce(&mut dyn Write) -> Result<Option<u64>, EvidenceError> + 'a>;

/// Writes a pack.
///
/// The payload comes first, sorted by path, then the tag files, sorted: those hold the hashes of what came before.
///
/// # Errors
///
/// Those of the output, and of rows that a format cannot hold. What was written by then is no pack.
pub fn write(pack: &Pack<'_>, out: impl Write + Seek) -> Result<Written, EvidenceError> {
    check_ids(pack.reports)?;
    let mut files: Vec<(String, Content<'_>)> = vec![
        ("data/report.pdf".to_owned(), Box::new(|out| bytes(out, &pdf::pdf(pack)?))),
        ("data/report.xlsx".to_owned(), Box::new(|out| bytes(out, &xlsx::xlsx(pack)?))),
        ("data/completeness/ingest-ledger.csv".to_owned(), batch(&pack.completeness)),
    ];
    if let Some(activity) = &pack.activity {
        files.push(("data/activity/access-log.csv".to_owned(), batch(activity)));
    }
    for report in pack.reports {
        files.extend(report_files(report));
    }
    files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));

    let mut bag = Bag::new(out, pack.to);
    for (path, content) in files {
        bag.add(path, content)?;
    }
    let manifest = json_text(&manifest(pack, bag.payload()));
    let info = [
        ("Source-Organization", pack.entity.clone()),
        ("External-Description", pack.title.clone()),
        ("Bagging-Date", words::time(pack.as_of).chars().take(10).collect()),
        ("Bag-Software-Agent", pack.tool.clone()),
        ("Contact-Name", pack.prepared_by.clone()),
        ("Period", words::period(pack)),
    ];
    let readme = readme::readme(pack).into_bytes();
    let files = bag.finish(&info, vec![("README.html", readme), ("manifest.json", manifest)])?;
    Ok(Written { files })
}

/// The files of one report.
fn report_files(report: &ReportResult) -> Vec<(String, Content<'_>)> {
    let data = |file| words::data_path(report, file);
    let query = |ending| format!("data/query/{}.{ending}", report.id);
    let mut files: Vec<(String, Content<'_>)> = vec![
        (data("report.json"), Box::new(|out| bytes(out, &json_text(&report.ipe)))),
        (data("population.csv"), Box::new(|out| tables::csv(out, &tables::schema(report), &report.rows).map(Some))),
        (
            data("exceptions.csv"),
            Box::new(|out| {
                let exceptions = tables::of_verdict(report, "exception")?;
                tables::csv(out, &tables::schema(report), &exceptions).map(Some)
            }),
        ),
        (
            data("result.parquet"),
            Box::new(|out| {
                out.write_all(&tables::parquet(&tables::schema(report), &report.rows)?)?;
                Ok(Some(report.rows.iter().map(|batch| batch.num_rows() as u64).sum()))
            }),
        ),
        (query("sql"), Box::new(|out| bytes(out, report.sql.as_bytes()))),
        (query("params.json"), Box::new(|out| bytes(out, &json_text(&parameters(report))))),
        (query("dictionary.csv"), Box::new(|out| dictionary(out, report))),
    ];
    if let Some(sample) = &report.sample {
        files.push((data("sample.csv"), batch(&sample.rows)));
    }
    files
}

fn bytes(out: &mut dyn Write, bytes: &[u8]) -> Result<Option<u64>, EvidenceError> {
    out.write_all(bytes)?;
    Ok(None)
}

fn batch(batch: &RecordBatch) -> Content<'_> {
    Box::new(|out| tables::csv(out, batch.schema_ref(), std::slice::from_ref(batch)).map(Some))
}

fn json_text(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// What the statement was run with, to run it again.
fn parameters(report: &ReportResult) -> Value {
    let references =
        report.references.iter().map(|(name, sha256, rows)| json!({ "name": name, "sha256": sha256, "rows": rows }));
    json!({
        "report": report.id,
        "version": report.version,
        "sql_sha256": report.sql_sha256,
        "parameters": report.parameters.iter().cloned().collect::<BTreeMap<_, _>>(),
        "table_versions": report.versions.iter().cloned().collect::<BTreeMap<_, _>>(),
        "references": references.collect::<Vec<_>>(),
    })
}

/// What the columns mean, and the codes of `why`.
fn dictionary(out: &mut dyn Write, report: &ReportResult) -> Result<Option<u64>, EvidenceError> {
    let lines = || {
        let columns = report.columns.iter().map(|(name, words)| ["column", name, words]);
        columns.chain(report.why_words.iter().map(|(code, words)| ["why", code, words]))
    };
    let column = |place: usize| {
        let values = lines().map(|line| line.get(place).copied()).collect::<arrow::array::StringArray>();
        std::sync::Arc::new(values) as arrow::array::ArrayRef
    };
    let columns = ["kind", "name", "meaning"].into_iter().enumerate().map(|(place, name)| (name, column(place), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    tables::csv(out, batch.schema_ref(), std::slice::from_ref(&batch)).map(Some)
}

/// The pack for programs: every report's IPE block, and every file of the payload.
fn manifest(pack: &Pack<'_>, files: &[File]) -> Value {
    let time = |at| words::instant(at).map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
    let files = files.iter().map(|file| {
        let media_type = match file.path.rsplit('.').next() {
            Some("csv") => Format::Csv.media_type(),
            Some("json") => Format::Json.media_type(),
            Some("pdf") => "application/pdf",
            Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Some("parquet") => "application/vnd.apache.parquet",
            Some("sql") => "application/sql",
            _ => "application/octet-stream",
        };
        json!({
            "path": file.path, "sha256": file.sha256, "bytes": file.bytes, "rows": file.rows, "media_type": media_type,
        })
    });
    json!({
        "schema_version": 1,
        "title": pack.title,
        "entity": pack.entity,
        "environment": pack.environment,
        "control": pack.control,
        "period": { "from": time(pack.from), "to": time(pack.to), "semantics": "[from,to)" },
        "as_of": time(pack.as_of),
        "prepared_by": pack.prepared_by,
        "tool": pack.tool,
        "reports": pack.reports.iter().map(|report| report.ipe.clone()).collect::<Vec<_>>(),
        "files": files.collect::<Vec<_>>(),
    })
}

/// Ids become paths and names of sheets: they must be plain, and each of one report.
fn check_ids(reports: &[ReportResult]) -> Result<(), EvidenceError> {
    // Names that the pack, or Excel, has taken.
    let mut taken: Vec<String> =
        ["ipe", "summary", "exceptions", "dictionary", "history", "query", "activity", "completeness"]
            .map(str::to_owned)
            .into();
    for report in reports {
        let id = &report.id;
        let plain = (1..=16).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let name = id.to_ascii_lowercase();
        if !plain || taken.contains(&name) {
            return Err(EvidenceError::Id(id.clone()));
        }
        taken.push(name);
    }
    Ok(())
}
