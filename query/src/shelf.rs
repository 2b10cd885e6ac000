//! The shelf: views that reports read again and again, worked out once.
//!
//! A view that is read five times in one plan is worked out five times. A report's plan gets the rows of such views from
//! files instead, and other reports on the same state of the ledger find them there. Reports that look at the sessions of
//! a period alone (`sessions = "period"` in their front matter) get views of those sessions and no others: every column
//! of these views is made of what one session, and all requests and decisions, say.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use arrow::datatypes::Schema;
use custody_schemas::time::Micros;
use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::functions_aggregate::expr_fn::{bool_or, max, min};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::engine::{Snapshot, Versions, stream};
use crate::error::QueryError;
use crate::kept::Folder;
use crate::parts::PARTS;
use crate::views;

/// Views that are worked out once; each after those that it uses.
const SHELVED: [&str; 6] =
    ["sessions", "access_requests", "policy_decisions", "session_access", "session_approval", "recording_state"];

/// The sessions that a report looks at: those that could have begun, been open or ended between two instants, and those
/// that carry a request of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Focus {
    pub(crate) from: Micros,
    pub(crate) to: Micros,
    /// Beginning and end of the period in which the request was made or approved.
    pub(crate) requests: Option<(Micros, Micros)>,
}

/// A view's rows, in a file that goes with them.
#[derive(Debug)]
struct Shelved {
    table: Arc<dyn TableProvider>,
    name: String,
    bytes: u64,
    folder: Arc<Folder>,
    used: Arc<AtomicU64>,
}

impl Drop for Shelved {
    fn drop(&mut self) {
        self.folder.remove(&self.name);
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Files of a shelf are there for as long as somebody has this.
pub(crate) struct Held {
    _shelved: Vec<Arc<Shelved>>,
}

/// The views of one state of the ledger, for one focus.
#[derive(Debug)]
struct Shelf {
    snapshot: Arc<Snapshot>,
    focus: Option<Focus>,
    shelved: Mutex<HashMap<&'static str, Arc<Shelved>>>,
}

/// The shelves of the last reports.
#[derive(Debug)]
pub(crate) struct Shelves {
    /// Made for the first report.
    folder: std::sync::Mutex<Option<(Arc<Folder>, tempfile::TempDir)>>,
    bytes_max: u64,
    used: Arc<AtomicU64>,
    number: AtomicU64,
    last: std::sync::Mutex<Vec<Arc<Shelf>>>,
}

/// So many shelves are held: a pack has reports that look at a period and reports that look at all.
const SHELVES_MAX: usize = 3;

impl Shelves {
    /// Shelves that take so many bytes of temporary files.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            folder: std::sync::Mutex::default(),
            bytes_max,
            used: Arc::default(),
            number: AtomicU64::default(),
            last: std::sync::Mutex::default(),
        }
    }

    fn folder(&self, runtime: &RuntimeEnv) -> Result<Arc<Folder>, QueryError> {
        let mut made = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((folder, _)) = &*made {
            return Ok(folder.clone());
        }
        let place = tempfile::Builder::new().prefix("custody-shelf-").tempdir();
        let place = place.map_err(|error| QueryError::Store(format!("no temporary folder can be made: {error}")))?;
        let folder = Arc::new(Folder::open(place.path(), "shelf", runtime)?);
        *made = Some((folder.clone(), place));
        Ok(folder)
    }

    /// The plan with the rows of shelved views in their place. What is not on the shelf yet is worked out first.
    pub(crate) async fn over(
        &self,
        context: &SessionContext,
        snapshot: &Arc<Snapshot>,
        focus: Option<Focus>,
        plan: LogicalPlan,
    ) -> Result<(LogicalPlan, Held), QueryError> {
        let shelf = self.shelf(snapshot, focus);
        let mut shelved = shelf.shelved.lock().await;
        let plan = self.replaced(context, &shelf, &mut shelved, plan).await?;
        Ok((plan, Held { _shelved: shelved.values().cloned().collect() }))
    }

    fn shelf(&self, snapshot: &Arc<Snapshot>, focus: Option<Focus>) -> Arc<Shelf> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |shelf: &Arc<Shelf>| {
            // Looking into the ledger is written into it; what a report finds of sessions does not change by that.
            let evidence = |versions: Versions| Versions { activity: 0, ..versions };
            evidence(shelf.snapshot.versions) == evidence(snapshot.versions)
                && shelf.snapshot.has_reference_of(snapshot)
                && shelf.focus == focus
        };
        let shelf = match last.iter().position(is_it) {
            Some(at) => last.remove(at),
            None => Arc::new(Shelf { snapshot: snapshot.clone(), focus, shelved: Mutex::default() }),
        };
        last.truncate(SHELVES_MAX - 1);
        last.insert(0, shelf.clone());
        shelf
    }

    fn replaced<'a>(
        &'a self,
        context: &'a SessionContext,
        shelf: &'a Shelf,
        shelved: &'a mut HashMap<&'static str, Arc<Shelved>>,
        plan: LogicalPlan,
    ) -> BoxFuture<'a, Result<LogicalPlan, QueryError>> {
        Box::pin(async move {
            for name in named(&plan, shelf.focus.is_some())? {
                if shelved.contains_key(name) {
                    continue;
                }
                let rows = self.rows(context, shelf, shelved, name).await?;
                let table = self.put(context, shelf, name, rows).await?;
                shelved.insert(name, Arc::new(table));
            }
            views::in_place(plan, &|name| shelved.get(name).map(|shelved| provider_as_source(shelved.table.clone())))
        })
    }

    /// Works out rows, into a file. Where there is no room, what was held for other reports goes.
    async fn put(
        &self,
        context: &SessionContext,
        shelf: &Shelf,
        name: &'static str,
        plan: LogicalPlan,
    ) -> Result<Shelved, QueryError> {
        let folder = self.folder(&context.runtime_env())?;
        let schema = Arc::new(Schema::new(plan.schema().fields().clone()));
        let file = format!("{name}.{}.parquet", self.number.fetch_add(1, Ordering::Relaxed));
        let bytes = loop {
            let left = self.bytes_max.saturating_sub(self.used.load(Ordering::Relaxed));
            let rows = stream(DataFrame::new(context.state(), plan.clone())).await?;
            match folder.write(&file, rows, &[], &Default::default(), left).await {
                Err(QueryError::TooLarge { .. }) if self.forget_all_but(shelf) => {}
                written => break written?,
            }
        };
        self.used.fetch_add(bytes, Ordering::Relaxed);
        let table: Arc<dyn TableProvider> = Arc::new(folder.table(std::slice::from_ref(&file), schema)?);
        Ok(Shelved { table, name: file, bytes, folder, used: self.used.clone() })
    }

    /// Lets go of the other shelves, and says whether there were any.
    fn forget_all_but(&self, shelf: &Shelf) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.len();
        last.retain(|other| std::ptr::eq(&**other, shelf));
        last.len() < before
    }

    /// What a shelved name stands for, in terms of what is on the shelf already.
    async fn rows(
        &self,
        context: &SessionContext,
        shelf: &Shelf,
        shelved: &mut HashMap<&'static str, Arc<Shelved>>,
        name: &'static str,
    ) -> Result<LogicalPlan, QueryError> {
        if name == FOCUS {
            let focus = shelf.focus.ok_or_else(|| unknown(name))?;
            let requests = shelf.snapshot.view(REQUESTS).ok_or_else(|| unknown(REQUESTS))?;
            let mut requests = LogicalPlanBuilder::from(requests).alias(REQUESTS)?.build()?;
            if focus.requests.is_some() {
                requests = self.replaced(context, shelf, shelved, requests).await?;
            }
            return in_focus(&shelf.snapshot, focus, requests);
        }
        if let Some(part) = shelf.snapshot.part(name) {
            let rows = LogicalPlanBuilder::scan(name, provider_as_source(part), None)?;
            // Only the name: what stands under it is replaced by the keys.
            let of = LogicalPlanBuilder::from(rows.clone().build()?).alias(FOCUS)?.build()?;
            let of = LogicalPlanBuilder::from(self.replaced(context, shelf, shelved, of).await?);
            let keys = ["source", "session_id"];
            let on = keys.map(|key| (format!("{FOCUS}.{key}"), format!("{name}.{key}")));
            let (left, right): (Vec<String>, Vec<String>) = on.into_iter().unzip();
            return Ok(of.join(rows.build()?, JoinType::RightSemi, (left, right), None)?.build()?);
        }
        let plan = shelf.snapshot.view(name).ok_or_else(|| unknown(name))?;
        self.replaced(context, shelf, shelved, plan).await
    }
}

/// Name of the keys in focus among what is shelved.
const FOCUS: &str = "sessions_in_focus";

/// The view of requests.
const REQUESTS: &str = "access_requests";

fn unknown(name: &str) -> QueryError {
    QueryError::Internal(format!("there is no {name} to put on the shelf"))
}

/// The shelved names that a plan reads, those of other views' inside left out.
fn named(plan: &LogicalPlan, has_focus: bool) -> Result<Vec<&'static str>, QueryError> {
    let mut found = Vec::new();
    let parts = PARTS.iter().filter(|part| has_focus && part.is_of_sessions());
    let parts: Vec<&'static str> = parts.map(|part| part.name).collect();
    plan.apply_with_subqueries(|node| {
        let (name, among): (&str, &[&'static str]) = match node {
            LogicalPlan::SubqueryAlias(alias) if alias.alias.table() == FOCUS => (FOCUS, &[FOCUS]),
            LogicalPlan::SubqueryAlias(alias) => (alias.alias.table(), &SHELVED),
            LogicalPlan::TableScan(scan) => (scan.table_name.table(), &parts),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let Some(name) = among.iter().find(|shelved| **shelved == name) else {
            return Ok(TreeNodeRecursion::Continue);
        };
        if !found.contains(name) {
            found.push(*name);
        }
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(found)
}

/// The keys of the sessions in focus, by everything that could be their beginning or their end.
fn in_focus(snapshot: &Snapshot, focus: Focus, requests: LogicalPlan) -> Result<LogicalPlan, QueryError> {
    let keys = || vec![col("source"), col("session_id")];
    let part = |name: &str| -> Result<LogicalPlanBuilder, QueryError> {
        let part = snapshot.part(name).ok_or_else(|| unknown(name))?;
        Ok(LogicalPlanBuilder::scan(name, provider_as_source(part), None)?)
    };
    let times = |from: &str, till: &str| vec![min(col(from)).alias("from_at"), max(col(till)).alias("till_at")];
    // Clusters that have a session of the same name have each their own, and each its own end.
    let clusters = part("session_parts")?
        .aggregate(
            ["source", "cluster", "session_id"].map(col),
            [times("from_at", "till_at"), vec![max(col("end_at")).alias("end_at")]].concat(),
        )?
        .aggregate(
            keys(),
            [times("from_at", "till_at"), vec![bool_or(col("end_at").is_null()).alias("may_be_open")]].concat(),
        )?;
    let recorded = part("recording_parts")?.aggregate(keys(), times("first_at", "last_at"))?;
    let columns = |may_be_open: Expr| {
        // Without the names of the tables that they come from: both sides of the union are one.
        let columns = ["source", "session_id", "from_at", "till_at"].map(|name| col(name).alias(name)).to_vec();
        [columns, vec![may_be_open.alias("may_be_open")]].concat()
    };
    let both = clusters.project(columns(col("may_be_open")))?;
    let both = both.union(recorded.project(columns(lit(ScalarValue::Boolean(None))))?.build()?)?;
    let instant = |at: Micros| lit(ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into())));
    let touches = col("from_at")
        .lt(instant(focus.to))
        // Of what is only recorded nobody says an end.
        .and(col("till_at").gt_eq(instant(focus.from)).or(col("may_be_open").is_not_false()));
    let told = [times("from_at", "till_at"), vec![bool_or(col("may_be_open")).alias("may_be_open")]].concat();
    let touching = both.aggregate(keys(), told)?.filter(touches)?.project(keys())?;
    let Some((from, to)) = focus.requests else { return Ok(touching.build()?) };
    let within = |name: &str| col(name).gt_eq(instant(from)).and(col(name).lt(instant(to)));
    let requests = LogicalPlanBuilder::from(requests).filter(within("created_at").or(within("approved_at")))?;
    let carrying = part("request_parts")?;
    let on = (vec!["access_requests.request_id"], vec!["request_parts.request_id"]);
    let carrying = requests.join(carrying.build()?, JoinType::RightSemi, on, None)?.project(keys())?;
    Ok(touching.union_distinct(carrying.build()?)?.build()?)
}
