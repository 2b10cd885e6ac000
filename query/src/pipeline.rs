//! Whether what is sent arrives: sources and streams as typed values.

use std::collections::HashMap;

use custody_schemas::time::{Micros, date_of};
use datafusion::common::ScalarValue;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{AsOf, Engine, Versions};
use crate::error::QueryError;
use crate::sessions::Time;

/// How long messages took is told of those that were taken in within so long.
const FRESHNESS_US: Micros = 3_600_000_000;

/// A row of the view `source_health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceHealth {
    /// Kind of source.
    pub source: String,
    /// The instance; null for what names none.
    pub cluster: Option<String>,
    /// Number of events, each delivery counted.
    pub events: i64,
    /// When the newest of them was taken in.
    pub last_ingested_at: Option<Time>,
    /// The latest time that the source itself gave.
    pub last_event_at: Option<Time>,
    /// Seconds since the newest was taken in.
    pub silent_s: Option<i64>,
    /// Deliveries of facts that were there already.
    pub duplicates: i64,
    /// Event ids under which the source told different things.
    pub conflicting_ids: i64,
    /// Events that are audit events where a source sends others too.
    pub audit_events: i64,
    /// The source tells of requests that it served and never of one in an audit event.
    pub audit_off: bool,
    /// Messages of the source that could not be decoded; in the row without a cluster.
    pub errors: Option<i64>,
    /// Bytes that are missing of its recordings.
    pub missing_bytes: i64,
    /// Pieces that are missing of its recordings.
    pub missing_events: i64,
    /// Sessions whose recording was announced and is not here.
    pub recordings_missing: i64,
}

impl SourceHealth {
    /// The same as it is at another time.
    #[must_use]
    pub fn at(self, now: Time) -> Self {
        let silent_s = self.last_ingested_at.map(|Time(at)| (now.0 - at).max(0) / 1_000_000);
        Self { silent_s, ..self }
    }
}

/// A row of the view `ingest_ledger`: a partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamState {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Smallest offset that is kept.
    pub first_offset: i64,
    /// Largest offset that is kept.
    pub last_offset: i64,
    /// Number of messages.
    pub records: i64,
    /// Offsets between first and last that are not there.
    pub missing: i64,
    /// Messages that could not be decoded, those included that were understood later.
    pub errors: i64,
    /// When the newest of them was taken in.
    pub last_ingested_at: Option<Time>,
}

/// How long messages took from the broker into the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Freshness {
    /// Messages of the hour before the answer that have a broker's time.
    pub messages: i64,
    /// Half of them took no longer, in seconds; about.
    pub median_s: Option<f64>,
    /// 99 of 100 took no longer, in seconds; about.
    pub p99_s: Option<f64>,
}

/// What the ledger says of the way into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// By source and instance.
    pub sources: Vec<SourceHealth>,
    /// By topic and partition.
    pub streams: Vec<StreamState>,
    /// Of the last hour.
    pub freshness: Freshness,
    /// What this is made from.
    pub versions: Versions,
}

impl Engine {
    /// Sources and streams, and how fresh the ledger is.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn arrival(&self, time: Option<std::time::Duration>) -> BoxFuture<'_, Result<Arrival, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, time).await?;
            let sql = "SELECT * FROM source_health ORDER BY source, cluster";
            let sources = reading.rows(reading.sql(sql, HashMap::new()).await?).await?;
            let sql = r#"SELECT * FROM ingest_ledger ORDER BY topic, "partition""#;
            let streams = reading.rows(reading.sql(sql, HashMap::new()).await?).await?;
            let since = chrono::Utc::now().timestamp_micros() - FRESHNESS_US;
            let values = HashMap::from([
                ("day", ScalarValue::Date32(Some(date_of(since)))),
                ("since", ScalarValue::TimestampMicrosecond(Some(since), Some("UTC".into()))),
            ]);
            let sql = "
              SELECT count(*) AS messages, approx_percentile_cont(took_s, 0.5) AS median_s,
                approx_percentile_cont(took_s, 0.99) AS p99_s
              FROM (
                SELECT (CAST(ingested_at AS BIGINT) - CAST(broker_at AS BIGINT)) / 1e6 AS took_s
                FROM records WHERE date >= $day AND ingested_at >= $since AND broker_at IS NOT NULL
              )";
            let freshness: Vec<Freshness> = reading.rows(reading.sql(sql, values).await?).await?;
            let freshness = freshness.into_iter().next().unwrap_or_default();
            Ok(Arrival { sources, streams, freshness, versions: reading.versions })
        })
    }

    /// How many events each destination did not take and nobody has dealt with yet.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn undelivered_counts(&self) -> BoxFuture<'_, Result<HashMap<String, i64>, QueryError>> {
        #[derive(Deserialize)]
        struct Count {
            destination: String,
            events: i64,
        }
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let sql = "
              SELECT destination, count(*) AS events
              FROM (
                SELECT destination, outcome, row_number() OVER (PARTITION BY destination, event_id ORDER BY at DESC) AS age
                FROM undelivered
              ) WHERE age = 1 AND outcome = 'refused' GROUP BY destination";
            let counts: Vec<Count> = reading.rows(reading.sql(sql, HashMap::new()).await?).await?;
            Ok(counts.into_iter().map(|of| (of.destination, of.events)).collect())
        })
    }
}
