//! Reports as parts of a pack.

use std::io::{self, Read};

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use aws_lc_rs::digest::{Context, SHA256};
use custody_schemas::time::{Micros, date_of};
use datafusion::common::ScalarValue;
use futures::future::BoxFuture;
use serde_json::json;

use super::model::{ReportResult, Sample};
use crate::engine::Engine;
use crate::error::QueryError;
use crate::reference::hex;
use crate::reports::{Asked, Budget, Ipe, Rows, worksheet};
use crate::sample::{Draw, Size};

/// What the columns say that every report has besides its own.
const STATUS: [(&str, &str); 4] = [
    ("status", "Of an exception: open, explained, accepted or remediated"),
    ("status_by", "Who said so last"),
    ("status_at", "When"),
    ("status_note", "Why, in their words"),
];

/// Runs a report for a pack: every row of its population, and a sample if one is wanted.
///
/// # Errors
///
/// As [`Engine::report`].
pub fn collect<'a>(
    engine: &'a Engine,
    asked: &'a Asked,
    draw: Option<&'a Draw>,
) -> BoxFuture<'a, Result<ReportResult, QueryError>> {
    Box::pin(async move {
        let mut rows = Vec::new();
        let mut kept = Budget::default();
        let strata = draw.and_then(|draw| draw.strata.as_deref());
        let run = engine
            .report(asked, Rows::All, strata, &mut |batch| {
                kept.take(&batch)?;
                rows.push(batch);
                Ok(())
            })
            .await?;
        if rows.is_empty() {
            rows.push(RecordBatch::new_empty(run.schema.clone()));
        }
        let sample = match draw {
            Some(draw) => {
                let drawn = run.draw(draw)?;
                let (confidence, tolerable, expected) = match draw.size {
                    Size::Count { .. } => (None, None, None),
                    Size::Risk { confidence, tolerable, expected } => {
                        (Some(confidence), Some(tolerable), Some(expected))
                    }
                };
                Some(Sample {
                    method: match &draw.strata {
                        None => "lowest SHA-256 of seed, population hash and key".to_owned(),
                        Some(column) => {
                            format!(
                                "the same of each value of {column}: lowest SHA-256 of seed, population hash and key"
                            )
                        }
                    },
                    strata: draw.strata.clone(),
                    seed: draw.seed.clone(),
                    seed_origin: "as given when the pack was made".to_owned(),
                    n: drawn.iter().filter(|item| !item.replacement).count() as u64,
                    population: run.ipe.counts.population,
                    confidence,
                    tolerable,
                    expected,
                    rows: worksheet(&run.schema, &rows, &drawn)?,
                })
            }
            None => None,
        };
        result(asked, run.ipe, rows, sample)
    })
}

fn result(asked: &Asked, ipe: Ipe, rows: Vec<RecordBatch>, sample: Option<Sample>) -> Result<ReportResult, QueryError> {
    let front = &asked.report.front;
    let versions = ipe.versions;
    // In the order in which they stand in the rows.
    let described = |name: &str| {
        let of_status = || STATUS.iter().find(|(column, _)| *column == name).map(|(_, words)| (*words).to_owned());
        front.columns.get(name).cloned().or_else(of_status).unwrap_or_default()
    };
    let columns = rows.first().map(|batch| batch.schema()).into_iter();
    let columns = columns.flat_map(|schema| {
        schema.fields().iter().map(|field| (field.name().clone(), described(field.name()))).collect::<Vec<_>>()
    });
    let columns = columns.collect();
    Ok(ReportResult {
        id: ipe.report.clone(),
        version: ipe.report_version,
        title: ipe.title.clone(),
        question: ipe.question.clone(),
        population_words: ipe.population.clone(),
        controls: ipe.controls.clone(),
        parameters: ipe.parameters.iter().map(|(name, value)| (name.clone(), json!(value).to_string())).collect(),
        sql: ipe.sql.clone(),
        sql_sha256: ipe.sql_sha256.clone(),
        versions: vec![
            ("records".to_owned(), versions.records),
            ("events".to_owned(), versions.events),
            ("frames".to_owned(), versions.frames),
            ("activity".to_owned(), versions.activity),
        ],
        references: ipe.references.iter().map(|file| (file.table.clone(), file.sha256.clone(), file.rows)).collect(),
        counts: ipe.counts,
        completeness_words: ipe.completeness.statement.clone(),
        result_sha256: ipe.result_sha256.clone(),
        population_sha256: ipe.population_sha256.clone(),
        why_words: front.why.iter().map(|(code, words)| (code.clone(), words.clone())).collect(),
        columns,
        rows,
        sample,
        ipe: serde_json::to_value(&ipe).map_err(|error| QueryError::Internal(error.to_string()))?,
    })
}

const STREAMS: &str = r#"
SELECT
  topic,
  "partition",
  min("offset") AS first_offset,
  max("offset") AS last_offset,
  count(*) AS records,
  greatest(max("offset") - min("offset") + 1 - count(*), 0) AS missing,
  greatest(count(*) - (max("offset") - min("offset") + 1), 0) AS repeated,
  count(error_kind) AS undecodable,
  min(ingested_at) AS first_ingested_at,
  max(ingested_at) AS last_ingested_at
FROM records
WHERE date BETWEEN $first_day AND $last_day
GROUP BY topic, "partition"
ORDER BY topic, "partition""#;

const LOOKS: &str = r#"
SELECT * FROM (
  SELECT at, actor, channel, remote_addr, verb, object, reason, outcome, "rows", bytes, activity_id
  FROM custody_activity
  WHERE at >= $from AND verb IN ('report', 'sample', 'evidence', 'exception')
  ORDER BY at DESC, activity_id DESC
  LIMIT 100000
)
ORDER BY at, activity_id"#;

/// What a pack tells besides its reports: the streams that were kept of the days of the period, and who looked at reports,
/// or said something of exceptions, since it began (the latest 100 000 entries).
///
/// # Errors
///
/// Those of a query.
pub fn surroundings<'a>(
    engine: &'a Engine,
    asked: &'a Asked,
) -> BoxFuture<'a, Result<(RecordBatch, RecordBatch), QueryError>> {
    Box::pin(async move {
        let day = |at: Micros| ScalarValue::Date32(Some(date_of(at)));
        let from = ScalarValue::TimestampMicrosecond(Some(asked.from), Some("UTC".into()));
        let days = [("first_day", day(asked.from)), ("last_day", day(asked.as_of.max(asked.to)))];
        let reading = engine.read(asked.state, asked.time).await?;
        let mut tables = Vec::new();
        for (sql, values) in [(STREAMS, days.into_iter().collect()), (LOOKS, [("from", from)].into_iter().collect())] {
            let frame = reading.sql(sql, values).await?;
            let schema = std::sync::Arc::new(frame.schema().as_arrow().clone());
            let batches = reading.collect(frame).await?;
            let schema = batches.first().map_or(schema, RecordBatch::schema);
            tables.push(concat_batches(&schema, &batches)?);
        }
        match <[RecordBatch; 2]>::try_from(tables) {
            Ok([streams, looks]) => Ok((streams, looks)),
            Err(_) => Err(QueryError::Internal("two tables were asked for".to_owned())),
        }
    })
}

/// SHA-256 of everything that a reader gives, in hexadecimal.
///
/// # Errors
///
/// Those of the reader.
pub fn sha256(reader: &mut impl Read) -> io::Result<String> {
    let (mut hash, mut buffer) = (Context::new(&SHA256), vec![0; 64 * 1024]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hex(hash.finish().as_ref())),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}
