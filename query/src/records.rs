//! Records as values: those that have to be decoded once more.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use custody_schemas::time::Micros;

use crate::engine::{Bounds, Engine, QueryStream};
use crate::error::QueryError;

/// A record as the ledger keeps it, and what was derived from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it stood.
    pub topic: String,
    /// Where it stood.
    pub partition: i32,
    /// Where it stood.
    pub offset: i64,
    /// Kafka's time of it.
    pub broker_at: Option<Micros>,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// The source that decoded it.
    pub source: String,
    /// Ids of the events that it gave.
    pub event_ids: Vec<String>,
    /// Pieces of recordings that it, or a record near it, gave: session and position.
    pub pieces: Vec<(String, i64)>,
}

/// Columns of [`StoredRecord`] for the records that `wanted` names.
const STORED: &str = r#"
SELECT
  r.topic, r."partition", r."offset", r.broker_at, r.key, r.headers, r.value, r.source, e.event_ids,
  f.sessions, f.seqs
FROM records r
JOIN wanted w ON w.topic = r.topic AND w."partition" = r."partition" AND w."offset" = r."offset"
LEFT JOIN (
  SELECT e.topic, e."partition", e."offset", array_agg(e.event_id) AS event_ids
  FROM events e
  JOIN wanted w ON w.topic = e.topic AND w."partition" = e."partition" AND w."offset" = e."offset"
  GROUP BY e.topic, e."partition", e."offset"
) e ON e.topic = r.topic AND e."partition" = r."partition" AND e."offset" = r."offset"
LEFT JOIN (
  SELECT w.topic, w."partition", w."offset", array_agg(f.session_id) AS sessions, array_agg(f.seq) AS seqs
  FROM (SELECT topic, "partition", first_offset, last_offset, session_id, unnest(seqs) AS seq FROM frames) f
  JOIN wanted w ON w.topic = f.topic AND w."partition" = f."partition"
    AND w."offset" BETWEEN f.first_offset AND f.last_offset
  GROUP BY w.topic, w."partition", w."offset"
) f ON f.topic = r.topic AND f."partition" = r."partition" AND f."offset" = r."offset"
ORDER BY r.topic, r."partition", r."offset"
"#;

impl Engine {
    /// The records that could not be decoded, by topic, partition and offset.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when the ledger cannot be read.
    pub async fn dead_records(&self) -> Result<RecordStream, QueryError> {
        let sql = format!(r#"WITH wanted AS (SELECT topic, "partition", "offset" FROM dead_letters) {STORED}"#);
        Ok(RecordStream { rows: self.query(&sql, Bounds::NONE).await? })
    }

    /// The topics that begin with a text, each with the offset after its last record.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when the ledger cannot be read.
    pub async fn topics(&self, prefix: &str) -> Result<Vec<(String, i64)>, QueryError> {
        let sql = format!(
            r#"SELECT topic, max("offset") + 1 AS next FROM records WHERE starts_with(topic, '{}') GROUP BY topic"#,
            quoted(prefix)
        );
        let mut rows = self.query(&sql, Bounds::NONE).await?;
        let mut topics = Vec::new();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let next = batch.column(1).as_primitive::<Int64Type>();
            let names = batch.column(0).as_string::<i32>().iter().zip(next);
            topics.extend(names.filter_map(|(topic, next)| Some((topic?.to_owned(), next?))));
        }
        Ok(topics)
    }

    /// The records of a topic from an offset on, by partition and offset.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when the ledger cannot be read.
    pub async fn records_from(&self, topic: &str, offset: i64) -> Result<RecordStream, QueryError> {
        let sql = format!(
            r#"WITH wanted AS (
                 SELECT topic, "partition", "offset" FROM records WHERE topic = '{}' AND "offset" >= {offset}
               ) {STORED}"#,
            quoted(topic)
        );
        Ok(RecordStream { rows: self.query(&sql, Bounds::NONE).await? })
    }
}

/// A text inside of quotes.
fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// Records as they come.
pub struct RecordStream {
    rows: QueryStream,
}

impl RecordStream {
    /// The next records; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the ledger cannot be read.
    pub async fn next(&mut self) -> Option<Result<Vec<StoredRecord>, QueryError>> {
        Some(self.rows.next().await?.map(|batch| records(&batch)))
    }
}

fn records(batch: &RecordBatch) -> Vec<StoredRecord> {
    let [topic, partition, offset, broker_at, key, headers, value, source, event_ids, sessions, seqs] = batch.columns()
    else {
        return Vec::new();
    };
    let (topic, source) = (topic.as_string::<i32>(), source.as_string::<i32>());
    let (partition, offset) = (partition.as_primitive::<Int32Type>(), offset.as_primitive::<Int64Type>());
    let broker_at = broker_at.as_primitive::<TimestampMicrosecondType>();
    let (key, value) = (key.as_binary::<i32>(), value.as_binary::<i32>());
    let (headers, event_ids) = (headers.as_list::<i32>(), event_ids.as_list::<i32>());
    let (sessions, seqs) = (sessions.as_list::<i32>(), seqs.as_list::<i32>());
    (0..batch.num_rows())
        .map(|row| StoredRecord {
            topic: topic.value(row).to_owned(),
            partition: partition.value(row),
            offset: offset.value(row),
            broker_at: broker_at.is_valid(row).then(|| broker_at.value(row)),
            key: key.is_valid(row).then(|| key.value(row).to_vec()),
            headers: match headers.is_valid(row) {
                false => Vec::new(),
                true => {
                    let pairs = headers.value(row);
                    let pairs = pairs.as_struct();
                    let (names, values) = (pairs.column(0).as_string::<i32>(), pairs.column(1).as_binary::<i32>());
                    let pair = |(name, value): (Option<&str>, Option<&[u8]>)| {
                        (name.unwrap_or_default().to_owned(), value.map(<[u8]>::to_vec))
                    };
                    names.iter().zip(values.iter()).map(pair).collect()
                }
            },
            value: value.is_valid(row).then(|| value.value(row).to_vec()),
            source: source.value(row).to_owned(),
            event_ids: match event_ids.is_valid(row) {
                false => Vec::new(),
                true => event_ids.value(row).as_string::<i32>().iter().flatten().map(str::to_owned).collect(),
            },
            pieces: match sessions.is_valid(row) && seqs.is_valid(row) {
                false => Vec::new(),
                true => {
                    let (sessions, seqs) = (sessions.value(row), seqs.value(row));
                    let pairs = sessions.as_string::<i32>().iter().zip(seqs.as_primitive::<Int64Type>());
                    pairs.filter_map(|(session, seq)| Some((session?.to_owned(), seq?))).collect()
                }
            },
        })
        .collect()
}
