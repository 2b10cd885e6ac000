//! What is looked for without being asked: exceptions of reports, sources that have fallen silent, how much came in.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use custody_schemas::time::{Micros, date_of};
use datafusion::common::ScalarValue;
use futures::future::BoxFuture;
use serde::Deserialize;

use crate::engine::{AsOf, Engine};
use crate::error::QueryError;
use crate::reports::{Asked, Rows};
use crate::sessions::Time;

/// Events that a finding names at most.
const EVIDENCE_MAX: usize = 20;

/// A row of a report that is an exception, or was one when it was looked at before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// Its key.
    pub key: String,
    /// `exception`, `pass`, ...
    pub verdict: String,
    /// The report's code for why.
    pub why: Option<String>,
    /// The session that it is about, where the report is about sessions.
    pub session_id: Option<String>,
    /// The person, by the identity table.
    pub person: Option<String>,
    /// Events that it rests on, at most 20.
    pub evidence: Vec<String>,
    /// What somebody said of it: `explained`, `accepted`, `remediated`, `open` again.
    pub handled: Option<String>,
}

/// A finding as it was told last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// `REPORT/KEY`.
    pub finding: String,
    /// `open`, `changed`, `closed`.
    pub state: String,
    /// Why, in codes, as a JSON list.
    pub why: Option<String>,
    /// What people said of it.
    pub handled: Option<String>,
    /// When it was raised first.
    pub raised_at: Option<Time>,
}

/// When a source was last heard of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Heard {
    /// The source.
    pub source: String,
    /// Its instance.
    pub cluster: Option<String>,
    /// When the newest event of it was taken in.
    pub at: Time,
}

/// How many events came from a source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Came {
    /// The source.
    pub source: String,
    /// Their number.
    pub events: i64,
}

impl Engine {
    /// Runs a report, and gives its exceptions, and the rows that have one of these keys.
    ///
    /// # Errors
    ///
    /// As [`Engine::report`].
    pub fn judged<'a>(
        &'a self,
        asked: &'a Asked,
        before: &'a HashSet<String>,
    ) -> BoxFuture<'a, Result<Vec<Judged>, QueryError>> {
        Box::pin(async move {
            let is_session = asked.report.front.columns.get("key").is_some_and(|key| key.starts_with("The session:"));
            let mut found = Vec::new();
            self.report(asked, Rows::All, None, &mut |batch| {
                for row in 0..batch.num_rows() {
                    let text = |name: &str| text(&batch, name, row);
                    let (key, verdict) = (text("key").unwrap_or_default(), text("verdict").unwrap_or_default());
                    if verdict != "exception" && !before.contains(&key) {
                        continue;
                    }
                    found.push(Judged {
                        session_id: key.split_once('/').filter(|_| is_session).map(|(_, session)| session.to_owned()),
                        why: text("why"),
                        person: text("person"),
                        evidence: evidence(&batch, row),
                        // What nobody has said anything of is open.
                        handled: text("status").filter(|_| text("status_by").is_some()),
                        key,
                        verdict,
                    });
                }
                Ok(())
            })
            .await?;
            Ok(found)
        })
    }

    /// Every finding as it was told last.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn told(&self) -> BoxFuture<'_, Result<Vec<Told>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let sql = "SELECT finding, state, why, handled, raised_at FROM findings";
            reading.rows(reading.sql(sql, HashMap::new()).await?).await
        })
    }

    /// When each instance of a source was last heard of, of those that were at a time or later.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn heard(&self, since: Micros) -> BoxFuture<'_, Result<Vec<Heard>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let values = HashMap::from([("day", ScalarValue::Date32(Some(date_of(since))))]);
            let sql = "SELECT source, cluster, max(ingested_at) AS at FROM events
                       WHERE source <> 'custody' AND date >= $day AND NOT starts_with(topic, 'import/')
                       GROUP BY source, cluster ORDER BY source, cluster";
            reading.rows(reading.sql(sql, values).await?).await
        })
    }

    /// How many events were taken in of each source between two instants, the second not among them.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn came(&self, from: Micros, to: Micros) -> BoxFuture<'_, Result<Vec<Came>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let instant = |at| ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into()));
            let day = |at| ScalarValue::Date32(Some(date_of(at)));
            let values =
                HashMap::from([("from", instant(from)), ("to", instant(to)), ("first", day(from)), ("last", day(to))]);
            let sql = "SELECT source, count(*) AS events FROM events
                       WHERE date BETWEEN $first AND $last AND ingested_at >= $from AND ingested_at < $to
                         AND source <> 'custody'
                       GROUP BY source ORDER BY source";
            reading.rows(reading.sql(sql, values).await?).await
        })
    }
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn evidence(batch: &RecordBatch, row: usize) -> Vec<String> {
    let lists = batch.column_by_name("evidence").and_then(|column| column.as_list_opt::<i32>());
    let Some(lists) = lists.filter(|lists| lists.is_valid(row)) else { return Vec::new() };
    let list = lists.value(row);
    let Some(texts) = list.as_string_opt::<i32>() else { return Vec::new() };
    texts.iter().flatten().take(EVIDENCE_MAX).map(str::to_owned).collect()
}
