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
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, ident, lit};
use serde::{Deserialize, Deserializer};

use crate::engine::Reading;
use crate::error::QueryError;
use crate::functions::is_one_of;
use crate::pages::instant;
use crate::sessions::{Time, list};
use crate::views;

/// So many requests and correlation ids are looked up by themselves, and so many rows are taken for what the sessions name;
/// where there are more, the view looks through all of them, within the bounds of a query.
pub(crate) const NARROWED_MAX: usize = 20_000;

/// So many rows in memory are gone through by one thread sooner than a plan for more is made.
const QUICK_ROWS: usize = 5000;

/// How far before a session's start a decision near it may lie, in microseconds: what `session_access` says, and a minute.
const NEAR_BEFORE_US: i64 = 16 * 60_000_000;

/// How far from a session's start the access of a request lies at most that a ticket links to it: what `session_access` says,
/// and a minute.
pub(crate) const ACCESS_US: i64 = 86_460 * 1_000_000;

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

fn count(rows: &[RecordBatch]) -> usize {
    rows.iter().map(RecordBatch::num_rows).sum()
}

/// Rows, unless there were too many.
pub(crate) type Few = Option<Vec<RecordBatch>>;

/// The requests that an event carries.
#[derive(Debug, Deserialize)]
struct Carried {
    #[serde(deserialize_with = "list", default)]
    request_ids: Vec<String>,
}

/// A request that somebody made.
#[derive(Debug, Deserialize)]
struct Asked {
    request_id: String,
}

/// A time; one that cannot be written in RFC 3339 (a year of five digits) is near to nothing.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| serde_json::from_value(text.into()).ok()))
}

impl Reading {
    /// The rows of `session_access` of these sessions, whose rows of `sessions` may be known. Lists longer than `most`, which
    /// is [`NARROWED_MAX`], are not narrowed.
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
        let links = LogicalPlanBuilder::from(self.view("session_access")?).alias("session_access")?.build()?;
        Ok(self.over_links(links, session_ids, sessions, most).await?.filter(of_sessions())?)
    }

    /// A plan over `session_access` that is asked of these sessions alone, whose rows of `sessions` these are.
    pub(crate) async fn over_links(
        &self,
        plan: LogicalPlan,
        session_ids: &[&str],
        sessions: Vec<RecordBatch>,
        most: usize,
    ) -> Result<DataFrame, QueryError> {
        let leads: Vec<Leads> = Self::values(&sessions)?;
        let of_sessions = any_of("session_id", session_ids);
        let parts = async { self.collect(self.part("request_parts")?.filter(of_sessions)?).await };
        let (parts, (starts, requests), decisions) =
            futures::try_join!(parts, self.requests_for(&leads, most), self.decisions_for(session_ids, &leads, most))?;
        let looked_up = [&starts, &requests, &decisions].map(|few| few.as_deref().map(count));
        let held = [Some(count(&sessions)), Some(count(&parts))].into_iter().chain(looked_up).sum::<Option<usize>>();
        let tables = HashMap::from([
            ("sessions", self.held("sessions", sessions)?),
            ("request_parts", self.held("request_parts", parts)?),
            ("events", self.held_or_all("events", starts)?),
            ("access_requests", self.held_or_all("access_requests", requests)?),
            ("policy_decisions", self.held_or_all("policy_decisions", decisions)?),
        ]);
        let of = |name: &str| tables.get(name).map(|table| provider_as_source(table.clone()));
        let plan = views::in_place(plan, &of)?;
        let mut state = self.context.state();
        if held.is_some_and(|rows| rows <= QUICK_ROWS) {
            // What is left is many small steps, and to find a better order for them takes longer than any order of them.
            let options = state.config_mut().options_mut();
            options.optimizer.max_passes = 1;
            options.execution.target_partitions = 1;
        }
        Ok(DataFrame::new(state, plan))
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

        // Sessions that carry no request may be linked to any of the same person that gave access near their start: one of
        // which nothing happened since, and whose end is past, did not, nor one of which all happened later.
        let alone = || leads.iter().filter(|of| of.request_ids.is_empty());
        let starts_of = || alone().filter_map(|of| of.started_at.map(|Time(at)| at));
        let persons: BTreeSet<&str> = alone().filter_map(|of| of.person.as_deref()).collect();
        let mut asked: Option<Vec<Asked>> = Some(Vec::new());
        if let (Some(first), Some(last), false) = (starts_of().min(), starts_of().max(), persons.is_empty()) {
            let first = instant(Time(first.saturating_sub(ACCESS_US)));
            let last = instant(Time(last.saturating_add(ACCESS_US)));
            let events = |condition: Expr| {
                let named = self.part("request_events")?.filter(ident("request_id").is_not_null())?;
                Ok::<_, QueryError>(named.filter(condition)?.select(vec![ident("request_id")])?)
            };
            let those_with = |requests: DataFrame, condition: Expr| {
                let near = events(condition)?.select(vec![ident("request_id").alias("near_id")])?;
                Ok::<_, QueryError>(requests.join(near, JoinType::LeftSemi, &["request_id"], &["near_id"], None)?)
            };
            let by_person = is_one_of(ident("actor"), self.names_of(persons));
            let made = events(ident("kind").eq(lit("request.create")).and(by_person))?.distinct()?;
            let made = those_with(made, ident("at").gt_eq(first.clone()).or(ident("expires_at").gt_eq(first)))?;
            // It is sessions of late that are mostly looked at, and little happened after them: to look which requests began
            // early enough is to look at all.
            let mut few = self.few(made.clone(), most.min(QUICK_ROWS)).await?;
            if few.is_none() {
                few = self.few(those_with(made, ident("at").lt_eq(last))?, most).await?;
            }
            asked = few.as_deref().map(Self::values).transpose()?;
        }
        let mut requests = None;
        if let (Some(lent), Some(asked)) = (lent, asked) {
            let lent = lent.iter().flat_map(|carried| &carried.request_ids);
            let others = lent.chain(asked.iter().map(|asked| &asked.request_id)).map(String::as_str);
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
        // Asked one by one: what is kept says of each whether it has any.
        let mut wanted = vec![any_of("session_id", session_ids)];
        if !correlations.is_empty() {
            wanted.extend(["decision_id", "correlation_id"].map(|column| any_of(column, &correlations)));
        }
        // More than are near any one session: the view says which are.
        let near: Vec<_> = leads.iter().filter_map(Leads::near).collect();
        let windows = windows(near.iter().map(|(_, _, at)| *at).collect());
        let within =
            windows.into_iter().map(|(from, to)| ident("occurred_at").between(instant(Time(from)), instant(Time(to))));
        if let Some(within) = within.reduce(Expr::or) {
            let persons: BTreeSet<&str> = near.iter().map(|near| near.0).collect();
            let targets: BTreeSet<&str> = near.iter().map(|near| near.1).collect();
            let by_person = is_one_of(ident("actor"), self.names_of(persons));
            let same = by_person.and(is_one_of(ident("target"), targets));
            let unnamed = ident("session_id").is_null().and(ident("outcome").eq(lit("allow")));
            wanted.push(within.and(same).and(unnamed));
        }
        let asked = wanted.iter().enumerate().map(async |(at, condition)| {
            // What one has asked for is not asked for again.
            let others = wanted.iter().take(at).map(|other| other.clone().is_not_true());
            let condition = others.fold(condition.clone(), Expr::and);
            self.few(self.table("policy_decisions", condition).await?, most).await
        });
        let found = futures::future::try_join_all(asked).await?;
        let rows: Option<Vec<RecordBatch>> = found.into_iter().collect::<Option<Vec<_>>>().map(|found| found.concat());
        Ok(rows.filter(|rows| count(rows) <= most))
    }

    /// All names behind which one of these persons is.
    pub(crate) fn names_of<'a>(&'a self, persons: BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        self.snapshot.words().names_of(&persons)
    }

    /// The rows of `unique_events` of one session, but for `conflicting_id`, which other sessions' events have a say in.
    pub(crate) async fn events_of(&self, session_id: &str) -> Result<DataFrame, QueryError> {
        let of_session = || ident("session_id").eq(lit(session_id));
        let Some(days) = self.days_of(&["session_parts", "mentions"], session_id).await? else {
            return Ok(self.table("unique_events", of_session()).await?.drop_columns(&["conflicting_id"])?);
        };
        let there = self.table(Table::Events.name(), days.and(of_session())).await?;
        let there = LogicalPlanBuilder::from(there.into_unoptimized_plan()).alias(Table::Events.name())?.build()?;
        let rows = views::scans_replaced(self.view("unique_events")?, Table::Events.name(), &there)?;
        Ok(self.frame_of(rows).drop_columns(&["conflicting_id"])?)
    }

    /// On which days a session has rows that parts are made of, as a condition on them; `None` where nothing is kept that
    /// would say it sooner than the rows themselves.
    pub(crate) async fn days_of(&self, parts: &[&str], session_id: &str) -> Result<Option<Expr>, QueryError> {
        if !parts.iter().all(|part| self.snapshot.part(part).is_some_and(|part| part.is_kept())) {
            return Ok(None);
        }
        let days = futures::future::try_join_all(parts.iter().map(|part| self.days_with(part, session_id))).await?;
        let days: BTreeSet<i32> = days.into_iter().flatten().collect();
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

    pub(crate) fn view(&self, name: &str) -> Result<LogicalPlan, QueryError> {
        self.snapshot.view(name).ok_or_else(|| unknown(name))
    }

    pub(crate) fn part(&self, name: &str) -> Result<DataFrame, QueryError> {
        self.scan(name, self.snapshot.part(name).ok_or_else(|| unknown(name))?)
    }

    /// The same rows in [pieces](crate::parts::PartTable::pieces).
    pub(crate) fn pieces(&self, name: &str) -> Result<Vec<DataFrame>, QueryError> {
        let pieces = self.snapshot.part(name).ok_or_else(|| unknown(name))?.pieces();
        pieces.into_iter().map(|piece| self.scan(name, Arc::new(piece))).collect()
    }

    fn scan(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<DataFrame, QueryError> {
        Ok(self.frame_of(LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.build()?))
    }

    pub(crate) fn frame_of(&self, plan: LogicalPlan) -> DataFrame {
        DataFrame::new(self.context.state(), plan)
    }

    /// Rows, unless there are more than so many.
    pub(crate) async fn few(&self, rows: DataFrame, most: usize) -> Result<Few, QueryError> {
        let rows = self.collect(rows.limit(0, Some(most.saturating_add(1)))?).await?;
        Ok((count(&rows) <= most).then_some(rows))
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
    pub(crate) fn held(&self, name: &str, rows: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>, QueryError> {
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
    is_one_of(ident(column), values.iter().copied())
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
