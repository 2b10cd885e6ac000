//! Who was in there lately, why, who said yes; and what nobody approved: all of it in a few passes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use custody_schemas::time::Micros;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{ident, lit};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{AsOf, Engine, Reading, Versions};
use crate::error::QueryError;
use crate::latest::Reaching;
use crate::narrowed::any_of;
use crate::reports::{Asked, report};
use crate::sessions::{Link, LinkedSession, SessionFilter, Time, at, list};

/// Days that an overview goes back at most.
pub const OVERVIEW_DAYS_MAX: u32 = 366;

/// Sessions that came last, as many as are shown.
const LATEST: usize = 10;

/// Sessions and findings that are named; the others are counted.
const NAMED: usize = 5;

/// Where the days have more parts of sessions, all sessions are looked at.
const COUNTED_MAX: usize = 250_000;

/// Weeks that are compared; the present is the last.
const WEEKS: i64 = 8;

const DAY_US: Micros = 86_400_000_000;

/// What there is to see at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Overview {
    /// Number of days, of which today (UTC) is the last.
    pub days: u32,
    /// Their beginning.
    pub from: Time,
    /// When this was found.
    pub at: Time,
    /// The sessions that began last, whenever that was.
    pub latest: Vec<LinkedSession>,
    /// Sessions that began in these days.
    pub by_day: Vec<SessionsOfDay>,
    /// Those of them that nothing but an inference approved.
    pub unapproved: SessionGroup,
    /// The sessions that go on.
    pub running: SessionGroup,
    /// Findings that are not over and that nobody has dealt with.
    pub findings: FindingGroup,
    /// What this is made from.
    pub versions: Versions,
}

/// Sessions of a day at a gateway that are linked to what gave access in the same way; of several ways, the surest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionsOfDay {
    /// The beginning of the day (UTC).
    pub day: Time,
    /// Kind of gateway.
    pub source: String,
    /// See the view `session_access`.
    pub link_method: String,
    /// Number of sessions.
    pub sessions: i64,
    /// How many of them something approved that is not inferred.
    pub approved: i64,
}

/// Sessions, of which the latest are named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionGroup {
    /// How many there are.
    pub count: i64,
    /// The latest of them.
    pub latest: Vec<LinkedSession>,
}

/// Findings, of which the latest are named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct FindingGroup {
    /// How many there are.
    pub count: i64,
    /// The latest of them.
    pub latest: Vec<OpenFinding>,
}

/// A row of the view `findings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenFinding {
    /// Its name: `REPORT/KEY`.
    pub finding: String,
    /// The report that found it.
    pub report: String,
    /// The row of the report.
    pub key: String,
    /// Title of the report.
    pub title: Option<String>,
    /// Why, in words.
    pub explanation: Option<String>,
    /// Whom it is about, where it is about a session.
    pub session_id: Option<String>,
    /// See `session_id`.
    pub person: Option<String>,
    /// When it was raised first.
    pub raised_at: Option<Time>,
}

/// What just-in-time access is measured by, week by week.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Weeks {
    /// The present week is the last; it is not over.
    pub weeks: Vec<Week>,
    /// When this was found.
    pub at: Time,
    /// What this is made from.
    pub versions: Versions,
}

/// A week of the reports M01, M02, M03.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Week {
    /// The Monday on which it begins (UTC).
    pub from: Time,
    /// M01: hours of active credentials, of all persons.
    pub active_hours: f64,
    /// M02: persons × roles that were held without a request.
    pub standing_grants: f64,
    /// M03: from request to first session, in seconds, of the requests made in the week: the median.
    pub request_to_session_s: Option<f64>,
}

/// Sessions of a day, and those of them that are among the latest that nobody approved.
#[derive(Debug, Deserialize)]
struct Counted {
    #[serde(flatten)]
    of: SessionsOfDay,
    #[serde(deserialize_with = "list")]
    unapproved: Vec<String>,
}

const COUNTED: &str = "
  SELECT
    date_trunc('day', started_at) AS day,
    source,
    CASE surest WHEN 0 THEN 'explicit' WHEN 1 THEN 'gateway_review' WHEN 2 THEN 'policy' WHEN 3 THEN 'ticket'
      WHEN 4 THEN 'inferred' ELSE 'none' END AS link_method,
    count(*) AS sessions,
    sum(approved) AS approved,
    array_agg(session_id) FILTER (WHERE approved = 0 AND place <= $named) AS unapproved
  FROM (
    SELECT *, row_number() OVER (PARTITION BY approved ORDER BY started_at DESC, session_id, source, cluster) AS place
    FROM (
      SELECT source, cluster, session_id, started_at,
        min(CASE link_method WHEN 'explicit' THEN 0 WHEN 'gateway_review' THEN 1 WHEN 'policy' THEN 2 WHEN 'ticket' THEN 3
          WHEN 'inferred' THEN 4 ELSE 5 END) AS surest,
        max(CASE WHEN link_method NOT IN ('inferred', 'none') AND approved_at IS NOT NULL THEN 1 ELSE 0 END) AS approved
      FROM session_access WHERE started_at >= $from
      GROUP BY source, cluster, session_id, started_at
    )
  )
  GROUP BY date_trunc('day', started_at), source, surest
  ORDER BY day, source, surest";

/// A finding, and how many there are.
#[derive(Debug, Deserialize)]
struct Found {
    #[serde(flatten)]
    finding: OpenFinding,
    findings: i64,
}

const FOUND: &str = "
  SELECT
    finding, coalesce(report, '') AS report, coalesce(key, '') AS key, title, explanation, session_id, person, raised_at,
    count(*) OVER () AS findings
  FROM findings WHERE finding IS NOT NULL AND state <> 'closed' AND coalesce(handled, 'open') = 'open'
  ORDER BY raised_at DESC, finding LIMIT $named";

/// Reports by week, and what is taken of a week's rows.
const METRICS: [(&str, &str); 3] = [
    ("M01", "SELECT week_from AS week, sum(hours) AS value FROM (\n$report\n) GROUP BY week_from"),
    (
        "M02",
        "SELECT week_from AS week, CAST(sum(holders) AS DOUBLE) AS value FROM (\n$report\n) WHERE verdict <> 'excluded' \
         GROUP BY week_from",
    ),
    (
        "M03",
        "SELECT date_trunc('week', created_at) AS week, median(session_s) AS value FROM (\n$report\n) \
         WHERE session_s IS NOT NULL GROUP BY date_trunc('week', created_at)",
    ),
];

#[derive(Debug, Deserialize)]
struct Measured {
    week: Time,
    value: Option<f64>,
}

/// Whether something that is not inferred said yes.
fn is_approved(links: &[Link]) -> bool {
    links.iter().any(|link| !matches!(link.link_method.as_str(), "inferred" | "none") && link.approved_at.is_some())
}

/// The beginning of so many days, of which that of an instant is the last.
fn first_day(days: u32, now: Micros) -> Micros {
    (now.div_euclid(DAY_US) - (Micros::from(days) - 1)) * DAY_US
}

/// The Monday of an instant. 1970-01-01 was a Thursday.
fn monday(now: Micros) -> Micros {
    ((now.div_euclid(DAY_US) + 3).div_euclid(7) * 7 - 3) * DAY_US
}

fn instant(at: Micros) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into()))
}

impl Engine {
    /// What there is to see of so many days, 1 to [`OVERVIEW_DAYS_MAX`].
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn overview(&self, days: u32, time: Option<Duration>) -> BoxFuture<'_, Result<Overview, QueryError>> {
        self.overview_at(days, chrono::Utc::now().timestamp_micros(), time)
    }

    pub(crate) fn overview_at(
        &self,
        days: u32,
        now: Micros,
        time: Option<Duration>,
    ) -> BoxFuture<'_, Result<Overview, QueryError>> {
        Box::pin(async move {
            let days = days.clamp(1, OVERVIEW_DAYS_MAX);
            let from = first_day(days, now);
            let reading = self.read(AsOf::Newest, time).await?;
            let named = ScalarValue::Int64(Some(NAMED as i64));
            let values = HashMap::from([("from", instant(from)), ("named", named.clone())]);
            let all = SessionFilter::default();
            let running = SessionFilter { state: Some("running".to_owned()), ..SessionFilter::default() };
            let (found, count, running, latest) = futures::try_join!(
                async { reading.rows::<Found>(reading.sql(FOUND, HashMap::from([("named", named)])).await?).await },
                reading.goes_on(),
                reading.first(&running, NAMED),
                reading.first(&all, LATEST),
            )?;
            // By itself: it may need all the memory that a question has.
            let counted: Vec<Counted> = reading.rows(reading.counted(Time(from), values).await?).await?;
            let running = SessionGroup { count, latest: running };

            let ids: Vec<&str> = counted.iter().flat_map(|of| &of.unapproved).map(String::as_str).collect();
            let linked = if ids.is_empty() { Vec::new() } else { reading.linked(&ids).await? };
            let mut unapproved: Vec<LinkedSession> = linked
                .into_iter()
                .filter(|one| !is_approved(&one.links) && one.session.started_at >= Some(Time(from)))
                .collect();
            unapproved.sort_by_key(|linked| std::cmp::Reverse(linked.session.started_at));
            unapproved.truncate(NAMED);
            let unapproved = SessionGroup {
                count: counted.iter().map(|Counted { of, .. }| of.sessions - of.approved).sum(),
                latest: unapproved,
            };
            let findings = FindingGroup {
                count: found.first().map_or(0, |of| of.findings),
                latest: found.into_iter().map(|of| of.finding).collect(),
            };
            Ok(Overview {
                days,
                from: Time(from),
                at: Time(now),
                latest,
                by_day: counted.into_iter().map(|of| of.of).collect(),
                unapproved,
                running,
                findings,
                versions: reading.versions,
            })
        })
    }

    /// What just-in-time access is measured by in this week and those before it, by the reports M01, M02 and M03.
    ///
    /// # Errors
    ///
    /// As [`Engine::report`].
    pub fn weeks(&self, time: Option<Duration>) -> BoxFuture<'_, Result<Weeks, QueryError>> {
        self.weeks_at(chrono::Utc::now().timestamp_micros(), time)
    }

    pub(crate) fn weeks_at(&self, now: Micros, time: Option<Duration>) -> BoxFuture<'_, Result<Weeks, QueryError>> {
        Box::pin(async move {
            let last = monday(now);
            let mondays: Vec<Micros> = (0..WEEKS).map(|week| last - (WEEKS - 1 - week) * 7 * DAY_US).collect();
            let from = mondays.first().copied().unwrap_or(last);
            let reading = self.read(AsOf::Newest, time).await?;
            let mut values = Vec::with_capacity(METRICS.len());
            for (id, sql) in METRICS {
                values.push(reading.measured(id, sql, (from, last + 7 * DAY_US, now)).await?);
            }
            let value = |metric: usize, week: Micros| values.get(metric).and_then(|of| of.get(&week)).copied();
            let weeks = mondays.into_iter().map(|week| Week {
                from: Time(week),
                active_hours: value(0, week).unwrap_or_default(),
                standing_grants: value(1, week).unwrap_or_default(),
                request_to_session_s: value(2, week),
            });
            Ok(Weeks { weeks: weeks.collect(), at: Time(now), versions: reading.versions })
        })
    }
}

impl Reading {
    /// The sessions of each day since a time, by what gave access to them.
    async fn counted(&self, from: Time, values: HashMap<&str, ScalarValue>) -> Result<DataFrame, QueryError> {
        let counted = self.sql(COUNTED, values).await?;
        let since = SessionFilter { from: Some(from), ..SessionFilter::default() };
        let Reaching { session_ids, after: None } = self.reaching(&since, None, None, None, COUNTED_MAX).await? else {
            return Ok(counted);
        };
        let ids: Vec<&str> = session_ids.iter().map(String::as_str).collect();
        let sessions = any_of("session_id", &ids).and(ident("started_at").gt_eq(at(from)));
        let sessions = self.collect(self.table("sessions", sessions).await?).await?;
        self.over_links(counted.into_unoptimized_plan(), &ids, sessions, 10 * COUNTED_MAX).await
    }

    /// How many sessions go on.
    async fn goes_on(&self) -> Result<i64, QueryError> {
        let mut condition = ident("state").eq(lit("running"));
        if let Some(running) = self.running().await? {
            let ids: Vec<&str> = running.iter().map(String::as_str).collect();
            condition = condition.and(any_of("session_id", &ids));
        }
        let count = self.table("sessions", condition).await?.count().await?;
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// The first sessions that a filter lets through.
    async fn first(&self, filter: &SessionFilter, count: usize) -> Result<Vec<LinkedSession>, QueryError> {
        match self.latest(filter, None, count).await? {
            Some(sessions) => Ok(sessions),
            None => self.of_all(filter, None, count).await,
        }
    }

    /// A value for each week, of the rows that a report has.
    async fn measured(
        &self,
        id: &str,
        sql: &str,
        (from, to, as_of): (Micros, Micros, Micros),
    ) -> Result<BTreeMap<Micros, f64>, QueryError> {
        let report = report(id)?;
        let asked = Asked {
            report,
            from,
            to,
            as_of,
            parameters: BTreeMap::new(),
            state: AsOf::Newest,
            entity: String::new(),
            environment: String::new(),
            time: None,
            by: String::new(),
            at: as_of,
            judged: Arc::default(),
        };
        let sql = sql.replace("$report", report.sql);
        let mut values = HashMap::from([("from", instant(from)), ("to", instant(to)), ("as_of", instant(as_of))]);
        let focus = report.front.focus(&asked, &values);
        values.retain(|name, _| sql.contains(&format!("${name}")));
        let (rows, _held) = self.shelved(&sql, values, focus).await?;
        let rows = self.within(async { Ok(datafusion::physical_plan::common::collect(rows).await?) }).await?;
        let measured: Vec<Measured> = Self::values(&rows)?;
        Ok(measured.into_iter().filter_map(|Measured { week, value }| Some((week.0, value?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use custody_schemas::time::{Parsed, parse_rfc3339};

    use super::*;

    fn at(text: &str) -> Micros {
        match parse_rfc3339(text) {
            Some(Parsed::At(at)) => at,
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn days_and_weeks_begin_at_midnight_in_utc() {
        let now = at("2026-11-22T15:04:05Z");
        assert_eq!(first_day(1, now), at("2026-11-22T00:00:00Z"));
        assert_eq!(first_day(30, now), at("2026-10-24T00:00:00Z"));
        // A Sunday belongs to the week that is nearly over.
        assert_eq!(monday(now), at("2026-11-16T00:00:00Z"));
        assert_eq!(monday(at("2026-11-23T00:00:00Z")), at("2026-11-23T00:00:00Z"));
        assert_eq!(monday(at("1969-12-31T23:59:59Z")), at("1969-12-29T00:00:00Z"));
    }
}
