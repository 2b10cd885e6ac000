//! Events in the order in which they were taken in, from any time on: for whoever forwards them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use custody_schemas::columns::{EventColumns, RowContext, StoredEvent, read_events};
use custody_schemas::event::Kind;
use custody_schemas::record::Origin;
use custody_schemas::table::{PARTITION_COLUMN, Table};
use custody_schemas::time::{Micros, date_of};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{Expr, SortExpr, ident, lit};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::engine::{AsOf, Engine, Limits, Reading, Versions, context};
use crate::error::QueryError;
use crate::functions::{Vocabulary, Words};
use crate::narrowed::any_of;
use crate::sessions::{LinkedSession, Time, columns, list};

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

/// A span of the order of ingestion.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Events that were taken in at this time or later,
    pub since: Micros,
    /// behind this one of them, where one is named,
    pub behind: Option<&'a FeedPlace>,
    /// and no later than at this time,
    pub until: Micros,
    /// of this kind, where one is named.
    pub kind: Option<Kind>,
}

/// What orders events by their ingestion.
const ORDER: [&str; 5] = ["ingested_at", "topic", "partition", "offset", "index"];

fn in_order() -> Vec<SortExpr> {
    ORDER.map(|column| ident(column).sort(true, false)).to_vec()
}

/// When an event was taken in.
#[derive(Deserialize)]
struct At {
    ingested_at: Time,
}

/// Facts that became known: see [`Engine::facts_after`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fact {
    /// The event.
    pub event_id: String,
    /// The access requests that it names.
    #[serde(default, deserialize_with = "list")]
    pub request_ids: Vec<String>,
    /// The policy decision that it is.
    pub decision_id: Option<String>,
    /// When it was taken in.
    pub ingested_at: Time,
}

/// A condition on events, as SQL writes it: see [`Engine::predicate`].
#[derive(Debug)]
pub struct Predicate(Arc<dyn PhysicalExpr>);

impl Predicate {
    fn new(context: &SessionContext, sql: &str) -> Result<Self, QueryError> {
        let schema = DFSchema::try_from(Table::Events.schema())?;
        let condition = context.create_physical_expr(context.parse_sql_expr(sql, &schema)?, &schema)?;
        match condition.data_type(schema.as_arrow())? {
            DataType::Boolean => Ok(Self(condition)),
            other => Err(QueryError::Invalid(format!("{sql:?} is no condition: its type is {other}"))),
        }
    }

    /// Whether a text is a condition, where there is no ledger yet.
    ///
    /// # Errors
    ///
    /// As [`Engine::predicate`].
    pub fn check(sql: &str) -> Result<(), QueryError> {
        let words = Arc::new(Words::new(&Vocabulary::default())?);
        let context = context(RuntimeEnv::default(), &Limits::default(), &words)?;
        Self::new(&context, sql).map(drop)
    }

    /// Which of the events meet it. An event for which it is null does not.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when it cannot be answered for one of them: a division by zero, a text that is no number.
    pub fn meet(&self, events: &[StoredEvent]) -> Result<Vec<bool>, QueryError> {
        let mut columns = EventColumns::default();
        for StoredEvent { event, source, topic, partition, offset, index, broker_at, ingested_at } in events {
            let origin = Origin { topic, partition: *partition, offset: *offset };
            let row = RowContext { origin, source, broker_at: *broker_at, ingested_at: *ingested_at };
            columns.push(&row, event, *index);
        }
        let batch = columns.finish()?;
        let met = self.0.evaluate(&batch)?.into_array(batch.num_rows())?;
        let met =
            met.as_boolean_opt().ok_or_else(|| QueryError::Internal("a condition is no truth value".to_owned()))?;
        Ok(met.iter().map(|met| met.unwrap_or(false)).collect())
    }
}

impl Span<'_> {
    /// When the first of its events may have been taken in.
    fn from(&self) -> Micros {
        self.behind.map_or(self.since, |place| place.ingested_at.max(self.since))
    }

    /// The condition of its events of a day.
    fn on(&self, day: i32) -> Expr {
        let mut condition = ident(PARTITION_COLUMN).eq(lit(ScalarValue::Date32(Some(day))));
        condition = condition.and(ident("ingested_at").between(instant(self.from()), instant(self.until)));
        if let Some(kind) = self.kind {
            condition = condition.and(ident("kind").eq(lit(kind.as_str())));
        }
        match self.behind {
            Some(place) => condition.and(place.behind()),
            None => condition,
        }
    }
}

impl Reading {
    /// When the events of a condition were taken in, in order.
    async fn times(&self, condition: Expr) -> Result<DataFrame, QueryError> {
        let events = self.table(Table::Events.name(), condition).await?;
        Ok(events.select(columns(&["ingested_at"]))?.sort(vec![ident("ingested_at").sort(true, false)])?)
    }

    /// The first so many events of a day of a span.
    async fn rows_of(&self, span: Span<'_>, day: i32, most: usize) -> Result<Vec<RecordBatch>, QueryError> {
        // A day at a time: what is put in order is bounded by it.
        let rows = self.table(Table::Events.name(), span.on(day)).await?;
        self.collect(rows.sort(in_order())?.limit(0, Some(most))?).await
    }

    /// The days of which a span may have events, counted from 1970, in order.
    async fn days_in(&self, span: Span<'_>) -> Result<Vec<i32>, QueryError> {
        #[derive(Deserialize)]
        struct Day {
            day: i32,
        }
        let (first, last) = (date_of(span.from()), date_of(span.until));
        // The names of files say it, as Custody writes them.
        if let Some(days) = self.snapshot.days_of(Table::Events) {
            return Ok(days.filter(|day| (first..=last).contains(day)).collect());
        }
        let day = |day| ScalarValue::Date32(Some(day));
        let values = HashMap::from([("first", day(first)), ("last", day(last))]);
        let days = "SELECT DISTINCT CAST(date AS INT) AS day FROM events
                    WHERE date BETWEEN $first AND $last ORDER BY day";
        let days: Vec<Day> = self.rows(self.sql(days, values).await?).await?;
        Ok(days.into_iter().map(|Day { day }| day).collect())
    }
}

impl Engine {
    /// A condition on the columns of `events`: `kind LIKE 'session.%' AND person(actor) <> 'robot'`.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] when it is none.
    pub fn predicate<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Predicate, QueryError>> {
        Box::pin(async move { Predicate::new(&self.read(AsOf::Newest, None).await?.context, sql) })
    }

    /// The next events of a span of the order of ingestion, in that order, at most so many.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn events_in<'a>(&'a self, span: Span<'a>, most: usize) -> BoxFuture<'a, Result<Vec<StoredEvent>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let mut events = Vec::new();
            for day in reading.days_in(span).await? {
                // How far they go is found by their times alone: rows are wide, and those beyond are many.
                let left = most.saturating_sub(events.len());
                let times = reading.times(span.on(day)).await?.limit(left.saturating_sub(1), Some(1))?;
                let last: Vec<At> = reading.rows(times).await?;
                let until = last.first().map_or(span.until, |At { ingested_at }| ingested_at.0);
                for batch in reading.rows_of(Span { until, ..span }, day, left).await? {
                    events.extend(read_events(&batch)?);
                }
                if events.len() >= most {
                    break;
                }
            }
            Ok(events)
        })
    }

    /// The rows of the next events of a span of the order of ingestion, in that order, at most so many. There should not be
    /// many more in it: see [`times_in`](Self::times_in).
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn event_rows_in<'a>(
        &'a self,
        span: Span<'a>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordBatch>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let (mut rows, mut left) = (Vec::new(), most);
            for day in reading.days_in(span).await? {
                for batch in reading.rows_of(span, day, left).await? {
                    left = left.saturating_sub(batch.num_rows());
                    rows.push(batch);
                }
                if left == 0 {
                    break;
                }
            }
            Ok(rows)
        })
    }

    /// Times between which about so many events of a span were taken in each, the first so many of them; none where the span
    /// has no event.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn times_in<'a>(
        &'a self,
        span: Span<'a>,
        each: usize,
        count: usize,
    ) -> BoxFuture<'a, Result<Vec<Micros>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            for day in reading.days_in(span).await? {
                let times = reading.times(span.on(day)).await?.limit(0, Some(each * count))?;
                let batches = reading.collect(times).await?;
                let times = batches.iter().map(|batch| batch.column(0).as_primitive::<TimestampMicrosecondType>());
                let times: Vec<Micros> = times.flat_map(|times| times.iter().flatten()).collect();
                let Some(last) = times.last().copied() else { continue };
                let mut ends: Vec<Micros> =
                    times.into_iter().skip(each.saturating_sub(1)).step_by(each.max(1)).collect();
                ends.push(last);
                ends.dedup();
                return Ok(ends);
            }
            Ok(Vec::new())
        })
    }

    /// What was taken in after a time of that on which the access to sessions rests: these events, decisions with these
    /// ids, and whatever tells of an access request.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn facts_after<'a>(
        &'a self,
        after: Micros,
        event_ids: &'a [&'a str],
        decision_ids: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Fact>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            let requests = Kind::ALL.into_iter().filter(|kind| kind.as_str().starts_with("request."));
            let requests = requests.map(|kind| lit(kind.as_str())).collect();
            let told = ident("kind").in_list(requests, false);
            let rests_on = any_of("event_id", event_ids);
            let decision = ident("kind").eq(lit(Kind::PolicyDecision.as_str()));
            // A decision without an id is known by that of its event.
            let decision = decision.and(any_of("decision_id", decision_ids).or(any_of("event_id", decision_ids)));
            let new = ident(PARTITION_COLUMN).gt_eq(lit(ScalarValue::Date32(Some(date_of(after)))));
            let new = new.and(ident("ingested_at").gt(instant(after)));
            let rows = reading.table(Table::Events.name(), new.and(told.or(rests_on).or(decision))).await?;
            let columns = ["event_id", "request_ids", "decision_id", "ingested_at"];
            reading.rows(rows.select(columns.map(ident).to_vec())?).await
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

    /// Sessions with what gave access to them, as far as anything is known of these ids, and what that is made from.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn linked_sessions<'a>(
        &'a self,
        session_ids: &'a [&'a str],
    ) -> BoxFuture<'a, Result<(Vec<LinkedSession>, Versions), QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, None).await?;
            Ok((reading.linked(session_ids).await?, reading.versions))
        })
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

    /// How many events were taken in after a time, and when the first of them was.
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
            let sql = "SELECT count(*) AS events, min(ingested_at) AS oldest FROM events
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

/// Events that were taken in after a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Behind {
    /// Number of events.
    pub events: i64,
    /// When the first of them was taken in.
    pub oldest: Option<Time>,
}
