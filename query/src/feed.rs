//! Events in the order in which they were taken in, from any time on: for whoever forwards them.

use std::collections::HashMap;

use custody_schemas::columns::{StoredEvent, read_events};
use custody_schemas::table::{PARTITION_COLUMN, Table};
use custody_schemas::time::{Micros, date_of};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ident, lit};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::engine::{AsOf, Engine};
use crate::error::QueryError;
use crate::sessions::{LinkedSession, Time};

/// The place of an event in the order of ingestion.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FeedPlace {
    /// When its message was taken, in microseconds since 1970.
    pub ingested_at: Micros,
    /// Topic of its message.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Which of the events of that message.
    pub index: i32,
}

impl FeedPlace {
    /// Of an event.
    pub fn of(event: &StoredEvent) -> Self {
        let StoredEvent { topic, partition, offset, index, ingested_at, .. } = event;
        Self { ingested_at: *ingested_at, topic: topic.clone(), partition: *partition, offset: *offset, index: *index }
    }

    /// The condition of the events behind it.
    fn behind(&self) -> Expr {
        let order = [
            (ident("ingested_at"), instant(self.ingested_at)),
            (ident("topic"), lit(self.topic.as_str())),
            (ident("partition"), lit(self.partition)),
            (ident("offset"), lit(self.offset)),
            (ident("index"), lit(self.index)),
        ];
        order.into_iter().rev().fold(lit(false), |behind, (column, value)| {
            column.clone().gt(value.clone()).or(column.eq(value).and(behind))
        })
    }
}

fn instant(at: Micros) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into())))
}

impl Engine {
    /// The next events that were taken in at a time or later, and behind a place where there is one, in their order, at
    /// most so many.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn events_since<'a>(
        &'a self,
        since: Micros,
        behind: Option<&'a FeedPlace>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredEvent>, QueryError>> {
        #[derive(Deserialize)]
        struct Day {
            day: i32,
        }
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let first = date_of(behind.map_or(since, |place| place.ingested_at.max(since)));
            let values = HashMap::from([("first", ScalarValue::Date32(Some(first)))]);
            let days = "SELECT DISTINCT CAST(date AS INT) AS day FROM events WHERE date >= $first ORDER BY day";
            let days: Vec<Day> = reading.rows(reading.sql(days, values).await?).await?;
            let mut events = Vec::new();
            for Day { day } in days {
                // A day at a time: what is put in order is bounded by it.
                let mut condition = ident(PARTITION_COLUMN).eq(lit(ScalarValue::Date32(Some(day))));
                condition = condition.and(ident("ingested_at").gt_eq(instant(since)));
                if let Some(place) = behind {
                    condition = condition.and(place.behind());
                }
                let order = ["ingested_at", "topic", "partition", "offset", "index"];
                let order = order.map(|column| ident(column).sort(true, false));
                let rows = reading.table(Table::Events.name(), condition).await?.sort(order.into())?;
                let rows = rows.limit(0, Some(most.saturating_sub(events.len())))?;
                for batch in reading.collect(rows).await? {
                    events.extend(read_events(&batch)?);
                }
                if events.len() >= most {
                    break;
                }
            }
            Ok(events)
        })
    }

    /// The events at these coordinates: topic, partition, offset, index.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn events_at<'a>(
        &'a self,
        places: &'a [(String, i32, i64, i32)],
    ) -> BoxFuture<'a, Result<Vec<StoredEvent>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let at = |(topic, partition, offset, index): &(String, i32, i64, i32)| {
                let message = ident("topic").eq(lit(topic.as_str())).and(ident("partition").eq(lit(*partition)));
                message.and(ident("offset").eq(lit(*offset))).and(ident("index").eq(lit(*index)))
            };
            let Some(condition) = places.iter().map(at).reduce(Expr::or) else { return Ok(Vec::new()) };
            let mut events = Vec::new();
            for batch in reading.collect(reading.table(Table::Events.name(), condition).await?).await? {
                events.extend(read_events(&batch)?);
            }
            Ok(events)
        })
    }

    /// Sessions with what gave access to them, as far as anything is known of these ids.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn linked_sessions<'a>(
        &'a self,
        session_ids: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<LinkedSession>, QueryError>> {
        Box::pin(async move { self.read(AsOf::Newest, None).await?.linked(session_ids).await })
    }

    /// Where destinations are, or one of them: the newest step of each.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn steps<'a>(&'a self, destination: Option<&'a str>) -> BoxFuture<'a, Result<Vec<ForwardStep>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let values = HashMap::from([("destination", ScalarValue::Utf8(destination.map(str::to_owned)))]);
            let sql = "
              SELECT destination, step, at, worker, lease_until, position, state, ingested_at, actor, reason,
                total_sent, total_dead, total_filtered
              FROM (
                SELECT *,
                  row_number() OVER (PARTITION BY destination ORDER BY step DESC) AS age,
                  sum(sent) OVER (PARTITION BY destination) AS total_sent,
                  sum(dead) OVER (PARTITION BY destination) AS total_dead,
                  sum(filtered) OVER (PARTITION BY destination) AS total_filtered
                FROM forwarding WHERE $destination IS NULL OR destination = $destination
              ) WHERE age = 1 ORDER BY destination";
            reading.rows(reading.sql(sql, values).await?).await
        })
    }

    /// What destinations did not take and nobody has dealt with yet, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn undelivered<'a>(
        &'a self,
        destination: Option<&'a str>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<UndeliveredEvent>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let values = HashMap::from([
                ("destination", ScalarValue::Utf8(destination.map(str::to_owned))),
                ("most", ScalarValue::Int64(i64::try_from(most).ok())),
            ]);
            let sql = r#"
              SELECT destination, at, event_id, topic, "partition", "offset", "index", status, answer, attempts
              FROM (
                SELECT *, row_number() OVER (PARTITION BY destination, event_id ORDER BY at DESC) AS age
                FROM undelivered WHERE $destination IS NULL OR destination = $destination
              ) WHERE age = 1 AND outcome = 'refused' ORDER BY at, event_id LIMIT $most"#;
            reading.rows(reading.sql(sql, values).await?).await
        })
    }

    /// When the newest events were taken in, and how many of them after a time.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn behind(&self, since: Micros) -> BoxFuture<'_, Result<Behind, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let values = HashMap::from([
                ("day", ScalarValue::Date32(Some(date_of(since)))),
                ("since", ScalarValue::TimestampMicrosecond(Some(since), Some("UTC".into()))),
            ]);
            let sql = "SELECT count(*) AS events, max(ingested_at) AS newest FROM events
                       WHERE date >= $day AND ingested_at > $since";
            let rows: Vec<Behind> = reading.rows(reading.sql(sql, values).await?).await?;
            Ok(rows.into_iter().next().unwrap_or_default())
        })
    }
}

/// Where a destination is: its newest row of `forwarding`, and sums over all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStep {
    /// The destination.
    pub destination: String,
    /// Number of the step.
    pub step: i64,
    /// When.
    pub at: Time,
    /// The process that forwards to it.
    pub worker: String,
    /// Until then no other does.
    pub lease_until: Time,
    /// How far it has come, as JSON.
    pub position: String,
    /// `delivering`, `failing`, `unauthorised`, `paused`.
    pub state: String,
    /// When the last event was taken in that it has.
    pub ingested_at: Option<Time>,
    /// Who asked for the step.
    pub actor: Option<String>,
    /// Why, or what fails.
    pub reason: Option<String>,
    /// Events that it has taken in all.
    pub total_sent: i64,
    /// Events that it has refused in all.
    pub total_dead: i64,
    /// Events that its filter left out.
    pub total_filtered: i64,
}

/// An event that a destination did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndeliveredEvent {
    /// The destination.
    pub destination: String,
    /// When it was refused.
    pub at: Time,
    /// The event, as the destination knows it.
    pub event_id: String,
    /// Its topic.
    pub topic: String,
    /// See `topic`.
    pub partition: i32,
    /// See `topic`.
    pub offset: i64,
    /// See `topic`.
    pub index: i32,
    /// Status of HTTP.
    pub status: Option<i32>,
    /// What the destination said.
    pub answer: Option<String>,
    /// How often it was sent.
    pub attempts: i32,
}

/// What lies behind a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Behind {
    /// Number of events.
    pub events: i64,
    /// When the newest was taken in.
    pub newest: Option<Time>,
}
