//! What there is of a few sessions, without a look at all others.
//!
//! The views are right for one session as they are for all, but what links a session to its approval is looked for among
//! all requests and decisions, and a plan that has the view of sessions in it five times takes longer to make than to run.
//! Here the few rows that can matter are looked up first, by the ids and persons that the sessions name, and the view is
//! asked of these. The tests hold that nothing is left out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use custody_schemas::table::{PARTITION_COLUMN, Table};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::execution::registry::FunctionRegistry;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ident, lit};
use serde::{Deserialize, Deserializer};

use crate::engine::Reading;
use crate::error::QueryError;
use crate::sessions::{Time, list};
use crate::table::INSIDE;
use crate::views;

/// So many requests and correlation ids are looked up by themselves, and so many rows are taken for what the sessions
/// name; where there are more, the view looks through all of them, within the bounds of a query.
pub(crate) const NARROWED_MAX: usize = 1000;

/// How far before a session's start a decision near it may lie, in microseconds: what `session_access` says, and a minute.
const NEAR_BEFORE_US: i64 = 16 * 60_000_000;

/// How far after it.
const NEAR_AFTER_US: i64 = 2 * 60_000_000;

/// Of a session what leads to its links.
#[derive(Debug, Deserialize)]
struct Leads {
    person: Option<String>,
    target: Option<String>,
    #[serde(deserialize_with = "readable", default)]
    started_at: Option<Time>,
    #[serde(deserialize_with = "list", default)]
    request_ids: Vec<String>,
    #[serde(deserialize_with = "list", default)]
    correlation_ids: Vec<String>,
}

impl Leads {
    /// Of whom on what a decision near the session is, and when that began.
    fn near(&self) -> Option<(&str, &str, i64)> {
        Some((self.person.as_deref()?, self.target.as_deref()?, self.started_at?.0))
    }
}

/// A condition has so many spans of time at most: planning costs more than twice as much for twice as many.
const WINDOWS_MAX: usize = 32;

/// Spans of time in which every decision lies that is near one of these starts, in order.
fn windows(mut starts: Vec<i64>) -> Vec<(i64, i64)> {
    starts.sort_unstable();
    let mut windows: Vec<(i64, i64)> = Vec::new();
    for at in starts {
        let (from, to) = (at.saturating_sub(NEAR_BEFORE_US), at.saturating_add(NEAR_AFTER_US));
        match windows.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            _ => windows.push((from, to)),
        }
    }
    // The widest gaps stay.
    let mut gaps: Vec<i64> = windows.iter().zip(windows.iter().skip(1)).map(|(a, b)| b.0.saturating_sub(a.1)).collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    let Some(widest) = gaps.get(WINDOWS_MAX - 1).copied() else { return windows };
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (from, to) in windows {
        match merged.last_mut() {
            Some(last) if from.saturating_sub(last.1) <= widest => last.1 = to,
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Rows, unless there were too many.
pub(crate) type Few = Option<Vec<RecordBatch>>;

/// The requests that an event carries.
#[derive(Debug, Deserialize)]
struct Carried {
    #[serde(deserialize_with = "list", default)]
    request_ids: Vec<String>,
}

/// A time; one that cannot be written in RFC 3339 (a year of five digits) is near to nothing.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| serde_json::from_value(text.into()).ok()))
}

impl Reading {
    /// The rows of `session_access` of these sessions, whose rows of `sessions` may be known. Lists longer than `most`, which is [`NARROWED_MAX`], are not
    /// narrowed.
    pub(crate) async fn links_of(
        &self,
        session_ids: &[&str],
        sessions: Option<Vec<RecordBatch>>,
        most: usize,
    ) -> Result<DataFrame, QueryError> {
        let of_sessions = || any_of("session_id", session_ids);
        let sessions = match sessions {
            Some(sessions) => sessions,
            None => self.collect(self.table("sessions", of_sessions()).await?).await?,
        };
        let leads: Vec<Leads> = Self::values(&sessions)?;
        let parts = async { self.collect(self.part("request_parts")?.filter(of_sessions())?).await };
        let (parts, (starts, requests), decisions) =
            futures::try_join!(parts, self.requests_for(&leads, most), self.decisions_for(session_ids, &leads, most))?;
        let tables = HashMap::from([
            ("sessions", self.held("sessions", sessions)?),
            ("request_parts", self.held("request_parts", parts)?),
            ("events", self.held_or_all("events", starts)?),
            ("access_requests", self.held_or_all("access_requests", requests)?),
            ("policy_decisions", self.held_or_all("policy_decisions", decisions)?),
        ]);
        let of = |name: &str| tables.get(name).map(|table| provider_as_source(table.clone()));
        let links = views::in_place(self.view("session_access")?, &of)?;
        Ok(self.frame_of(LogicalPlanBuilder::from(links).alias("session_access")?.build()?).filter(of_sessions())?)
    }

    /// The starts of sessions that others have their credentials from, and the requests that may have given access; `None`
    /// where there are more than so many.
    async fn requests_for(&self, leads: &[Leads], most: usize) -> Result<(Few, Few), QueryError> {
        // hoop's: all that the view asks events for.
        let lenders: Vec<&str> = requests_of(leads).filter_map(|id| id.strip_prefix("session:")).collect();
        let mut starts = Some(Vec::new());
        if !lenders.is_empty() {
            let condition = ident("source").eq(lit("hoop")).and(ident("kind").eq(lit("session.start")));
            let of_lenders = self.table("events", condition.and(any_of("session_id", &lenders))).await?;
            starts = self.few(of_lenders, most).await?;
        }
        let lent: Option<Vec<Carried>> = starts.as_deref().map(Self::values).transpose()?;

        // Sessions that carry no request may be linked to any of the same person.
        let persons: Vec<&str> =
            leads.iter().filter(|of| of.request_ids.is_empty()).filter_map(|of| of.person.as_deref()).collect();
        let mut asked: Option<Vec<Carried>> = Some(Vec::new());
        if !persons.is_empty() {
            let by_person = self.person("actor")?.in_list(persons.iter().copied().map(lit).collect(), false);
            let creations = self.table("events", ident("kind").eq(lit("request.create")).and(by_person)).await?;
            let creations = self.few(creations.select(vec![ident("request_ids")])?, most).await?;
            asked = creations.as_deref().map(Self::values).transpose()?;
        }
        let mut requests = None;
        if let (Some(lent), Some(asked)) = (lent, asked) {
            let others = lent.iter().chain(&asked).flat_map(|carried| &carried.request_ids).map(String::as_str);
            let ids: BTreeSet<&str> = requests_of(leads).chain(others).collect();
            let ids: Vec<&str> = ids.into_iter().collect();
            if ids.len() <= most {
                requests = self.few(self.table("access_requests", any_of("request_id", &ids)).await?, most).await?;
            }
        }
        Ok((starts, requests))
    }

    /// The decisions that may have given access; `None` where there are more than so many.
    async fn decisions_for(&self, session_ids: &[&str], leads: &[Leads], most: usize) -> Result<Few, QueryError> {
        let correlations: Vec<&str> =
            leads.iter().flat_map(|of| &of.correlation_ids).map(String::as_str).take(most + 1).collect();
        if correlations.len() > most {
            return Ok(None);
        }
        let mut wanted = any_of("session_id", session_ids);
        if !correlations.is_empty() {
            let by_id = any_of("decision_id", &correlations).or(any_of("correlation_id", &correlations));
            wanted = wanted.or(by_id);
        }
        // More than are near any one session: the view says which are.
        let near: Vec<_> = leads.iter().filter_map(Leads::near).collect();
        let windows = windows(near.iter().map(|(_, _, at)| *at).collect());
        let instant = |at: i64| lit(ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into())));
        let within = windows.into_iter().map(|(from, to)| ident("occurred_at").between(instant(from), instant(to)));
        if let Some(within) = within.reduce(Expr::or) {
            let persons: BTreeSet<&str> = near.iter().map(|near| near.0).collect();
            let targets: BTreeSet<&str> = near.iter().map(|near| near.1).collect();
            let same = self.person("actor")?.in_list(persons.into_iter().map(lit).collect(), false);
            let same = same.and(ident("target").in_list(targets.into_iter().map(lit).collect(), false));
            let unnamed = ident("session_id").is_null().and(ident("outcome").eq(lit("allow")));
            wanted = wanted.or(within.and(same).and(unnamed));
        }
        self.few(self.table("policy_decisions", wanted).await?, most).await
    }

    /// Who a column names.
    fn person(&self, column: &str) -> Result<Expr, QueryError> {
        Ok(self.context.udf("person")?.call(vec![ident(column)]))
    }

    /// The rows of `unique_events` of one session, but for `conflicting_id`, which other sessions' events have a say in.
    pub(crate) async fn events_of(&self, session_id: &str) -> Result<DataFrame, QueryError> {
        let of_session = || ident("session_id").eq(lit(session_id));
        let Some(days) = self.days_of("session_parts", session_id).await? else {
            return Ok(self.table("unique_events", of_session()).await?.drop_columns(&["conflicting_id"])?);
        };
        // What was done inside lies on the days that say so; all else that names the session is looked for by its kind.
        let inside = || INSIDE.map(lit).to_vec();
        let events = self.context.table(Table::Events.name()).await?;
        let there = events.clone().filter(ident("kind").in_list(inside(), false).and(days).and(of_session()))?;
        let both = there.union(events.filter(ident("kind").in_list(inside(), true).and(of_session()))?)?;
        let both = LogicalPlanBuilder::from(both.into_unoptimized_plan()).alias(Table::Events.name())?.build()?;
        let rows = views::scans_replaced(self.view("unique_events")?, Table::Events.name(), &both)?;
        Ok(self.frame_of(rows).drop_columns(&["conflicting_id"])?)
    }

    /// On which days a session has rows that a part is made of, as a condition on them; `None` where nothing is kept that
    /// would say it sooner than the rows themselves.
    pub(crate) async fn days_of(&self, part: &str, session_id: &str) -> Result<Option<Expr>, QueryError> {
        if !self.snapshot.part(part).is_some_and(|part| part.is_kept()) {
            return Ok(None);
        }
        let days = self.days_with(part, session_id).await?;
        let days: Vec<Expr> = days.into_iter().map(|day| lit(ScalarValue::Date32(Some(day)))).collect();
        Ok(Some(if days.is_empty() { lit(false) } else { ident(PARTITION_COLUMN).in_list(days, false) }))
    }

    /// The days on which a session has rows that a part is made of, counted from 1970.
    pub(crate) async fn days_with(&self, part: &str, session_id: &str) -> Result<Vec<i32>, QueryError> {
        let days = self.part(part)?.filter(ident("session_id").eq(lit(session_id)))?;
        let days = self.collect(days.select(vec![ident(PARTITION_COLUMN)])?.distinct()?).await?;
        let days = days.iter().filter_map(|batch| batch.columns().first());
        Ok(days.flat_map(|days| days.as_primitive::<arrow::datatypes::Date32Type>().iter().flatten()).collect())
    }

    fn view(&self, name: &str) -> Result<LogicalPlan, QueryError> {
        self.snapshot.view(name).ok_or_else(|| unknown(name))
    }

    pub(crate) fn part(&self, name: &str) -> Result<DataFrame, QueryError> {
        let part = self.snapshot.part(name).ok_or_else(|| unknown(name))?;
        Ok(self.frame_of(LogicalPlanBuilder::scan(name, provider_as_source(part), None)?.build()?))
    }

    fn frame_of(&self, plan: LogicalPlan) -> DataFrame {
        DataFrame::new(self.context.state(), plan)
    }

    /// Rows, unless there are more than so many.
    pub(crate) async fn few(&self, rows: DataFrame, most: usize) -> Result<Few, QueryError> {
        let rows = self.collect(rows.limit(0, Some(most.saturating_add(1)))?).await?;
        Ok((rows.iter().map(RecordBatch::num_rows).sum::<usize>() <= most).then_some(rows))
    }

    /// Rows that were worked out in the place of a table or view, or that itself. Every name under a view that is replaced
    /// has to be said: what is left in its place has the replaced tables inside.
    fn held_or_all(&self, name: &str, rows: Few) -> Result<Arc<dyn TableProvider>, QueryError> {
        match rows {
            Some(rows) => self.held(name, rows),
            None => self.snapshot.table(name).cloned().ok_or_else(|| unknown(name)),
        }
    }

    /// Rows that were worked out, as the table that they stand for.
    fn held(&self, name: &str, rows: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>, QueryError> {
        let schema = match self.snapshot.part(name) {
            Some(part) => part.schema(),
            None => self.snapshot.table(name).ok_or_else(|| unknown(name))?.schema(),
        };
        let rows = rows.iter().map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()));
        let rows = rows.collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|error| QueryError::Internal(format!("{name}: {error}")))?;
        Ok(Arc::new(MemTable::try_new(schema, vec![rows])?))
    }
}

/// Ids of requests that sessions carry.
fn requests_of(leads: &[Leads]) -> impl Iterator<Item = &str> {
    leads.iter().flat_map(|of| &of.request_ids).map(String::as_str)
}

pub(crate) fn any_of(column: &str, values: &[&str]) -> Expr {
    match values {
        [] => lit(false),
        values => ident(column).in_list(values.iter().copied().map(lit).collect(), false),
    }
}

fn unknown(name: &str) -> QueryError {
    QueryError::Internal(format!("there is no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_within_its_window_and_there_are_few() {
        let hour = 3_600_000_000;
        assert_eq!(windows(vec![]), []);
        assert_eq!(windows(vec![hour]), [(hour - NEAR_BEFORE_US, hour + NEAR_AFTER_US)]);
        assert_eq!(windows(vec![hour, hour + 1]), [(hour - NEAR_BEFORE_US, hour + 1 + NEAR_AFTER_US)]);
        assert_eq!(windows(vec![5 * hour, hour]).len(), 2);
        for count in [31, 32, 33, 34, 500] {
            // Gaps of different widths, some alike.
            let starts: Vec<i64> = (0..count).map(|n| n * hour + n % 7 * 1_000_000).collect();
            let windows = windows(starts.clone());
            assert!(windows.len() <= WINDOWS_MAX, "{count}: {}", windows.len());
            assert!(count > 32 || windows.len() == count as usize, "{count}: {}", windows.len());
            for at in starts {
                let is_in = |&(from, to): &(i64, i64)| from <= at - NEAR_BEFORE_US && at + NEAR_AFTER_US <= to;
                assert!(windows.iter().any(is_in), "{at}");
            }
        }
        assert_eq!(windows(vec![i64::MIN, i64::MAX]).len(), 2);
    }
}
