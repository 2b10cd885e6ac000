//! Parts: what each day of ingestion says of each session, and its events that tell of something else. Views are made of
//! them.
//!
//! A session's events are many and its row is one. Rows come in on the day of their ingestion and nowhere else, so what
//! a day that is over says of a session stays as it is, and is kept (`query.cache`): the views read it instead of the
//! events. A day is taken from there only while its files in the table are the very files that it was made of; every
//! other day is read from the table, by the same query. So the answer is the same with what is kept and without.
//!
//! To add one: a file in `parts/`, and a line in [`PARTS`]. Its query keeps the days apart, by the column `date`, and gives
//! only what can be put together again over days.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use custody_schemas::table::{PARTITION_COLUMN, Table};
use custody_schemas::time::date_of;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, col, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use deltalake::DeltaTable;
use futures::future::BoxFuture;

use crate::engine::{Deltas, Engine};
use crate::error::QueryError;
use crate::functions::texts_asked;
use crate::kept::Folder;
use crate::reference::{hex, sha256_hex};

/// A part: its name, the table that it is made of, its query, the columns in whose order its rows are kept, and those by which
/// they are looked up.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) table: Table,
    order: &'static [&'static str],
    looked_up: &'static [&'static str],
}

impl Part {
    /// Whether its rows say something of one session each, and of nothing else.
    pub(crate) fn is_of_sessions(&self) -> bool {
        self.order == ["session_id"]
    }
}

macro_rules! part {
    ($name:literal, $table:expr, $order:expr, $looked_up:expr) => {
        Part {
            name: $name,
            sql: include_str!(concat!("../parts/", $name, ".sql")),
            table: $table,
            order: $order,
            looked_up: $looked_up,
        }
    };
}

/// Every part.
pub(crate) const PARTS: &[Part] = &[
    part!("session_parts", Table::Events, &["session_id"], &["session_id"]),
    part!("request_parts", Table::Events, &["session_id"], &["session_id"]),
    part!("recording_parts", Table::Frames, &["session_id"], &["session_id"]),
    part!("number_parts", Table::Frames, &["session_id"], &["session_id"]),
    part!("target_parts", Table::Events, &[], &[]),
    part!("command_parts", Table::Events, &[], &[]),
    part!("mentions", Table::Events, &["session_id"], &["session_id"]),
    // Those who made requests are looked for among all of them.
    part!("request_events", Table::Events, &["kind", "request_id"], &["request_id", "actor"]),
    // Looked up by the time about which they were made as well.
    part!("decision_events", Table::Events, &["occurred_at"], &["session_id", "decision_id", "correlation_id"]),
    // Whole rows, many of them where policies decide: they come in the order of their files, which is that of kind.
    part!("outline_events", Table::Events, &[], &[]),
];

/// A day, counted from 1970.
type Day = i32;

/// What the files of a day are: the same files have the same.
type Mark = String;

/// A file of what is kept.
#[derive(Debug)]
struct KeptMonth {
    name: String,
    /// The days that are to be taken from there.
    fresh: BTreeSet<Day>,
    /// Every day that it has.
    all: BTreeSet<Day>,
}

/// A part over one state of the ledger, as a table.
#[derive(Debug)]
pub(crate) struct PartTable {
    pub(crate) part: &'static Part,
    /// Its query over the tables of that state.
    pub(crate) live: LogicalPlan,
    schema: SchemaRef,
    days: Arc<Days>,
    kept: Arc<KeptParts>,
    /// The rows of one origin alone, by what was kept at a time.
    only: Option<(Origin, Arc<KeptMonths>)>,
}

/// By month.
type KeptMonths = BTreeMap<String, KeptMonth>;

/// Where the rows of a part are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// What is kept.
    Kept,
    /// Days that are not kept, or not as they are.
    Table,
}

/// The days of a table of the ledger in one state of it, once somebody has asked: the same for every part of it.
#[derive(Debug)]
pub(crate) struct Days {
    delta: DeltaTable,
    marks: OnceLock<BTreeMap<Day, Mark>>,
}

impl Days {
    pub(crate) fn new(delta: &DeltaTable) -> Self {
        Self { delta: delta.clone(), marks: OnceLock::new() }
    }

    /// All of them, in order; `None` where a file does not say its day, or there is no file.
    pub(crate) fn all(&self) -> Option<impl Iterator<Item = Day>> {
        let marks = self.marks();
        (!marks.is_empty()).then(|| marks.keys().copied())
    }

    /// Each with the mark of its files. None at all where a file does not say its day.
    fn marks(&self) -> &BTreeMap<Day, Mark> {
        self.marks.get_or_init(|| {
            let Ok(state) = self.delta.snapshot() else { return BTreeMap::new() };
            let mut files: BTreeMap<Day, Vec<String>> = BTreeMap::new();
            for file in state.log_data().iter() {
                let path = file.path().to_string();
                let day = path.strip_prefix("date=").and_then(|rest| rest.get(..10)).and_then(day_of);
                let Some(day) = day else { return BTreeMap::new() };
                files.entry(day).or_default().push(format!("{} {path}\n", file.size()));
            }
            let mark = |mut files: Vec<String>| {
                files.sort_unstable();
                let mut hash = Context::new(&SHA256);
                files.iter().for_each(|file| hash.update(file.as_bytes()));
                hex(hash.finish().as_ref())
            };
            files.into_iter().map(|(day, files)| (day, mark(files))).collect()
        })
    }
}

impl PartTable {
    pub(crate) fn new(part: &'static Part, live: LogicalPlan, days: Arc<Days>, kept: Arc<KeptParts>) -> Self {
        let schema = Arc::new(Schema::new(live.schema().fields().clone()));
        Self { part, live, schema, days, kept, only: None }
    }

    /// The same rows in tables that have no row in common. Each is of one kind: the first rows in an order are found without
    /// reading all of them.
    pub(crate) fn pieces(&self) -> Vec<Self> {
        // More may be kept by the time they are read: what is in which is settled here.
        let months = Arc::new(self.kept_months());
        let piece = |origin| Self {
            part: self.part,
            live: self.live.clone(),
            schema: self.schema.clone(),
            days: self.days.clone(),
            kept: self.kept.clone(),
            only: Some((origin, months.clone())),
        };
        let kept = (!months.is_empty()).then(|| piece(Origin::Kept));
        kept.into_iter().chain([piece(Origin::Table)]).collect()
    }

    /// Whether something of it is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.folder().is_some()
    }

    fn days(&self) -> &BTreeMap<Day, Mark> {
        self.days.marks()
    }

    /// For each month the file of what is kept that has the most of its days as they are.
    fn kept_months(&self) -> KeptMonths {
        let mut best = KeptMonths::new();
        let Some(folder) = self.kept.folder() else { return best };
        for (month, name) in self.kept_files(folder) {
            let Some(labels) = folder.labels(&name) else { continue };
            let all: BTreeMap<Day, &Mark> =
                labels.iter().filter_map(|(day, mark)| Some((day_of(day)?, mark))).collect();
            let fresh = all.iter().filter(|(day, mark)| self.days().get(day) == Some(mark)).map(|(day, _)| *day);
            let kept = KeptMonth { name, fresh: fresh.collect(), all: all.keys().copied().collect() };
            if best.get(&month).is_none_or(|have| have.fresh.len() < kept.fresh.len()) && !kept.fresh.is_empty() {
                best.insert(month, kept);
            }
        }
        best
    }

    /// The months of the table, each with its days that are over.
    fn months_before(&self, today: Day) -> BTreeMap<String, BTreeSet<Day>> {
        let mut months: BTreeMap<String, BTreeSet<Day>> = BTreeMap::new();
        for day in self.days().keys().filter(|day| **day < today) {
            months.entry(text_of(*day).chars().take(7).collect()).or_default().insert(*day);
        }
        months
    }

    /// Removes the files of months that the table has no more, those that cannot be read, and those that another has
    /// replaced for so long that nobody reads them any more.
    fn forget(&self, folder: &Folder, today: Day) {
        let (months, best) = (self.months_before(today), self.kept_months());
        for (month, name) in self.kept_files(folder) {
            let is_replaced = best.get(&month).is_some_and(|best| {
                best.name != name && folder.written_at(&best.name).elapsed().is_ok_and(|age| age > REPLACED_STAYS)
            });
            if is_replaced || !months.contains_key(&month) || folder.labels(&name).is_none() {
                folder.remove(&name);
            }
        }
    }

    /// The months and names of this part's files: `<part>.<month>.<hash>.parquet`.
    fn kept_files(&self, folder: &Folder) -> Vec<(String, String)> {
        let month = |name: &str| {
            let (month, _) = name.strip_prefix(self.part.name)?.strip_prefix('.')?.split_once('.')?;
            Some(month.to_owned())
        };
        folder.names().into_iter().filter_map(|name| Some((month(&name)?, name))).collect()
    }

    /// The part's rows of these days, of all days where none are given. What is kept is left out where it has none of what is
    /// looked up.
    fn rows(&self, wanted: Option<&BTreeSet<Day>>, looked_up: &[(&str, Vec<&str>)]) -> Result<LogicalPlan, QueryError> {
        let is_wanted = |day: &Day| wanted.is_none_or(|wanted| wanted.contains(day));
        let may_have = |folder: &Folder, name: &str| looked_up.iter().all(|(by, of)| folder.may_have(name, by, of));
        let (only, months) = match &self.only {
            Some((origin, months)) => (Some(*origin), months.clone()),
            None => (None, Arc::new(self.kept_months())),
        };
        let mut plans = Vec::new();
        let mut covered = BTreeSet::new();
        if let Some(folder) = self.kept.folder() {
            let (mut names, mut read, mut all) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
            for kept in months.values() {
                let days: Vec<Day> = kept.fresh.iter().copied().filter(is_wanted).collect();
                covered.extend(&days);
                if !days.is_empty() && only != Some(Origin::Table) && may_have(folder, &kept.name) {
                    names.push(kept.name.clone());
                    read.extend(days);
                    all.extend(&kept.all);
                }
            }
            if !names.is_empty() {
                let table = folder.table(&names, self.schema.clone())?;
                let rows = LogicalPlanBuilder::scan(self.part.name, provider_as_source(Arc::new(table)), None)?;
                // The files have days, too, that are read from the table, or that this state does not have.
                plans.push(rows.filter(within(&read, &all))?);
            }
        }
        let days: BTreeSet<Day> = self.days().keys().copied().collect();
        let rest: BTreeSet<Day> = days.difference(&covered).copied().filter(is_wanted).collect();
        if only == Some(Origin::Kept) {
            // Nothing else.
        } else if covered.is_empty() && wanted.is_none() {
            plans.push(LogicalPlanBuilder::from(self.live.clone()));
        } else if !rest.is_empty() {
            plans.push(LogicalPlanBuilder::from(self.live.clone()).filter(within(&rest, &days))?);
        }
        if plans.is_empty() {
            plans.push(LogicalPlanBuilder::from(self.live.clone()).filter(lit(false))?);
        }
        let mut plans = plans.into_iter();
        let first = plans.next().ok_or_else(|| QueryError::Internal("a part without rows".to_owned()))?;
        let rows = plans.try_fold(first, |rows, more| rows.union(more.build()?))?;
        Ok(rows.alias(self.part.name)?.build()?)
    }
}

/// Whether a row is of these days, said in as few ranges as the days that there are allow.
fn within(days: &BTreeSet<Day>, all: &BTreeSet<Day>) -> Expr {
    let mut ranges: Vec<(Day, Day)> = Vec::new();
    let mut is_open = false;
    for day in all {
        if !days.contains(day) {
            is_open = false;
            continue;
        }
        match ranges.last_mut() {
            Some(range) if is_open => range.1 = *day,
            _ => ranges.push((*day, *day)),
        }
        is_open = true;
    }
    let day = |day: Day| lit(ScalarValue::Date32(Some(day)));
    let ranges = ranges.into_iter().map(|(first, last)| col(PARTITION_COLUMN).between(day(first), day(last)));
    ranges.reduce(Expr::or).unwrap_or_else(|| lit(false))
}

/// `2026-11-02`
pub(crate) fn day_of(text: &str) -> Option<Day> {
    let day: chrono::NaiveDate = text.parse().ok()?;
    i32::try_from(day.signed_duration_since(chrono::NaiveDate::default()).num_days()).ok()
}

fn text_of(day: Day) -> String {
    let date = chrono::NaiveDate::default() + chrono::Duration::days(day.into());
    date.format("%Y-%m-%d").to_string()
}

#[async_trait]
impl TableProvider for PartTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let looked_up = self
            .part
            .looked_up
            .iter()
            .flat_map(|by| filters.iter().filter_map(|filter| Some((*by, texts_asked(filter, by)?))));
        let looked_up: Vec<_> = looked_up.collect();
        let rows = self
            .rows(None, &looked_up)
            .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))?;
        let mut plan = LogicalPlanBuilder::from(rows);
        if let Some(filter) = filters.iter().cloned().reduce(Expr::and) {
            plan = plan.filter(filter)?;
        }
        if let Some(projection) = projection {
            let schema = plan.schema().clone();
            let columns = projection.iter().map(|at| Expr::Column(Column::from(schema.qualified_field(*at))));
            plan = plan.project(columns.collect::<Vec<_>>())?;
        }
        if let Some(limit) = limit {
            plan = plan.limit(0, Some(limit))?;
        }
        state.create_physical_plan(&plan.build()?).await
    }
}

/// How parts lie in their files. What lies otherwise is kept anew.
const LAYOUT: &str = "in order, filtered";

/// Where parts of a ledger are kept, once some are: `<cache>/parts/<ledger>/<queries>`.
#[derive(Debug, Default)]
pub(crate) struct KeptParts {
    place: Option<PathBuf>,
    folder: OnceLock<Folder>,
}

impl KeptParts {
    /// Another ledger, or other queries, have a place of their own under `cache`.
    pub(crate) fn new(cache: Option<&Path>, tables: &Deltas, runtime: &RuntimeEnv) -> Self {
        let Some(cache) = cache else { return Self::default() };
        let made_of = Table::ALL.into_iter().zip(tables).filter(|(table, _)| !table.is_derived());
        let ids = made_of.filter_map(|(_, table)| Some(table.snapshot().ok()?.metadata().id().to_owned()));
        // What the functions in a part's query do goes with the version.
        let queries = PARTS.iter().map(|part| part.sql).chain([env!("CARGO_PKG_VERSION"), LAYOUT]);
        let name = |of: String| sha256_hex(of.as_bytes()).chars().take(32).collect::<String>();
        let place = cache.join("parts").join(name(ids.collect())).join(name(queries.collect()));
        let kept = Self { place: Some(place), folder: OnceLock::new() };
        if let Some(place) = kept.place.as_ref().filter(|place| place.is_dir()) {
            match Folder::open(place, "parts", runtime) {
                Ok(folder) => drop(kept.folder.set(folder)),
                Err(error) => tracing::warn!(%error, "what is kept in query.cache is not used"),
            }
        }
        kept
    }

    fn folder(&self) -> Option<&Folder> {
        self.folder.get()
    }

    /// The folder to write to; `None` where nothing is to be kept.
    fn make(&self, runtime: &RuntimeEnv) -> Result<Option<&Folder>, QueryError> {
        let Some(place) = &self.place else { return Ok(None) };
        // Also where it was there, and somebody has removed it since.
        let made = Folder::make(place, "parts", runtime)?;
        Ok(Some(self.folder.get_or_init(|| made)))
    }

    /// Removes what other queries have kept of this ledger, once nobody has added to it for a while.
    fn forget_other_queries(&self) {
        let Some((place, ledger)) = self.place.as_ref().and_then(|place| Some((place, place.parent()?))) else {
            return;
        };
        for other in std::fs::read_dir(ledger).into_iter().flatten().flatten() {
            let is_unused = other
                .metadata()
                .and_then(|meta| meta.modified())
                .is_ok_and(|written| written.elapsed().is_ok_and(|age| age > UNUSED_STAYS));
            if is_unused && other.path() != *place {
                let _ = std::fs::remove_dir_all(other.path());
            }
        }
    }
}

/// What was kept in one go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Months of parts that were written, so far.
    pub months: usize,
    /// Those that there are to be written.
    pub of: usize,
}

/// For so long a file that another has replaced stays, for those who read it.
const REPLACED_STAYS: Duration = Duration::from_secs(3600);

/// For so long what is not added to stays, though every day adds to what is in use.
const UNUSED_STAYS: Duration = Duration::from_secs(3 * 86_400);

impl Engine {
    /// Keeps what the days that are over say of their sessions, as far as it is not kept yet, and tells how far it is.
    /// Does nothing without a place to keep it.
    ///
    /// # Errors
    ///
    /// Those of a query, and [`QueryError::Store`] when the place cannot be written.
    pub fn keep<'a>(&'a self, tell: &'a mut (dyn FnMut(Kept) + Send)) -> BoxFuture<'a, Result<Kept, QueryError>> {
        Box::pin(async move {
            let (kept, runtime) = self.kept();
            if kept.place.is_none() {
                return Ok(Kept::default());
            }
            let today = date_of(chrono::Utc::now().timestamp_micros());
            let parts = self.parts().await?;
            let mut stale = Vec::new();
            for part in &parts {
                let months = part.months_before(today);
                let kept = part.kept_months();
                // Also what has days that are gone: they are kept nowhere for longer than in the ledger.
                let is_as_it_is = |month: &str, days: &BTreeSet<Day>| {
                    kept.get(month).is_some_and(|kept| days.is_subset(&kept.fresh) && kept.all.is_subset(days))
                };
                stale.extend(months.into_iter().filter(|(month, days)| !is_as_it_is(month, days)).map(|to| (part, to)));
            }
            if let Some(folder) = kept.folder() {
                parts.iter().for_each(|part| part.forget(folder, today));
                folder.sweep(UNUSED_STAYS);
            }
            kept.forget_other_queries();
            let mut done = Kept { months: 0, of: stale.len() };
            if stale.is_empty() {
                return Ok(done);
            }
            let Some(folder) = kept.make(runtime)? else { return Ok(Kept::default()) };
            tell(done);
            let mut failed = None;
            for (part, (month, days)) in stale {
                let labels = days.iter().filter_map(|day| Some((text_of(*day), part.days().get(day)?.clone())));
                let labels: BTreeMap<String, String> = labels.collect();
                let text: String = labels.iter().map(|(day, mark)| format!("{day} {mark}\n")).collect();
                let mark: String = sha256_hex(text.as_bytes()).chars().take(16).collect();
                let file = format!("{}.{month}.{mark}.parquet", part.part.name);
                let written: BoxFuture<'_, Result<u64, QueryError>> = Box::pin(async {
                    let mut rows = LogicalPlanBuilder::from(part.rows(Some(&days), &[])?);
                    if !part.part.order.is_empty() {
                        rows = rows.sort(part.part.order.iter().map(|column| col(*column).sort(true, false)))?;
                    }
                    let (_reading, rows) = self.rows_of(rows.build()?).await?;
                    folder.write(&file, rows, part.part.looked_up, &labels, u64::MAX).await
                });
                // One month that is too much must not keep the others from being kept.
                if let Err(error) = written.await {
                    failed.get_or_insert(error);
                    continue;
                }
                done.months += 1;
                tell(done);
            }
            failed.map_or(Ok(done), Err)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_said_in_ranges_over_the_days_that_there_are() {
        let all = BTreeSet::from([1, 2, 5, 9, 10, 11]);
        let cases = [
            (vec![], "Boolean(false)"),
            (vec![1, 2, 5, 9, 10, 11], "date BETWEEN Date32(\"1970-01-02\") AND Date32(\"1970-01-12\")"),
            (
                vec![2, 5, 10],
                "date BETWEEN Date32(\"1970-01-03\") AND Date32(\"1970-01-06\") \
                 OR date BETWEEN Date32(\"1970-01-11\") AND Date32(\"1970-01-11\")",
            ),
        ];
        for (days, expected) in cases {
            assert_eq!(within(&days.into_iter().collect(), &all).to_string(), expected);
        }
    }

    #[test]
    fn a_day_is_the_one_that_its_folder_names() {
        assert_eq!(day_of("1970-01-02"), Some(1));
        assert_eq!(day_of("2026-11-21").map(text_of).as_deref(), Some("2026-11-21"));
        assert_eq!(day_of("2026-13-21"), None);
    }
}
