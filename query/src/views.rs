//! The views: each a file in `views/`, whose comment says what a row is.
//!
//! To add one: a file, and a line in [`VIEWS`] after the views that it uses. The tests run every view of the list.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::catalog::view::ViewTable;
use datafusion::common::FunctionalDependencies;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, TableSource};

use crate::error::QueryError;

/// A view: its name, and the SQL that it stands for.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Name in SQL.
    pub name: &'static str,
    /// The query, with the comment that describes its rows.
    pub sql: &'static str,
}

macro_rules! views {
    ($($name:literal),* $(,)?) => {
        &[$(View { name: $name, sql: include_str!(concat!("../views/", $name, ".sql")) }),*]
    };
}

/// Every view, each after those that it uses.
pub const VIEWS: &[View] = views![
    "unique_events",
    "duplicate_events",
    "recordings",
    "sessions",
    "access_requests",
    "reviews",
    "policy_decisions",
    "session_access",
    "dead_letters",
    "recording_state",
    "source_health",
    "ingest_ledger",
    "session_approval",
    "targets",
    "role_grants",
    "entitlements",
    "recording_access",
    "command_hits",
    "custody_activity",
    "recording_index",
    "screen_text",
    "commands",
    "exceptions",
    "findings",
];

/// A view with its plan over the tables of one state of the ledger.
#[derive(Debug, Clone)]
pub(crate) struct PlannedView {
    view: &'static View,
    pub(crate) plan: LogicalPlan,
    /// The tables that it reads, through other views as well.
    scans: Arc<HashSet<String>>,
}

impl PlannedView {
    pub(crate) fn name(&self) -> &'static str {
        self.view.name
    }

    /// As a table of the catalogue.
    pub(crate) fn table(&self) -> (&'static str, Arc<dyn TableProvider>) {
        (self.view.name, Arc::new(ViewTable::new(self.plan.clone(), Some(self.view.sql.to_owned()))))
    }
}

/// Plans every view over the tables that the context has, and registers it there.
///
/// # Errors
///
/// [`QueryError::Internal`]: a view that cannot be planned is a defect of this crate.
pub(crate) async fn plan(context: &SessionContext) -> Result<Vec<PlannedView>, QueryError> {
    let mut views = Vec::with_capacity(VIEWS.len());
    for view in VIEWS {
        let plan = opaque(plan_one(context, view.name, view.sql).await?)?;
        let scans = Arc::new(scanned(&plan)?);
        let planned = PlannedView { view, plan, scans };
        let (name, table) = planned.table();
        context.register_table(name, table)?;
        views.push(planned);
    }
    Ok(views)
}

/// Plans a query of this crate.
///
/// # Errors
///
/// [`QueryError::Internal`] with its name.
pub(crate) async fn plan_one(context: &SessionContext, name: &str, sql: &str) -> Result<LogicalPlan, QueryError> {
    let plan = context.state().create_logical_plan(sql).await;
    plan.map_err(|error| QueryError::Internal(format!("{name}: {error}")))
}

/// The tables that a plan reads.
fn scanned(plan: &LogicalPlan) -> Result<HashSet<String>, QueryError> {
    let mut tables = HashSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}

/// The same rows, of which a query over them does not know that some columns follow from others. The planner adds such
/// columns to a `GROUP BY`, and the optimiser takes them away again: only one of the two happens where rows that were
/// kept have come in the place of the view, and the planner believes it of columns that `unnest` has made, too.
fn opaque(plan: LogicalPlan) -> Result<LogicalPlan, QueryError> {
    let schema = plan.schema().as_ref().clone().with_functional_dependencies(FunctionalDependencies::empty())?;
    let columns = plan.schema().columns().into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, Arc::new(plan), Arc::new(schema))?))
}

/// What a node of a plan becomes.
pub(crate) type Replace<'a> = dyn Fn(LogicalPlan) -> Result<Transformed<LogicalPlan>, DataFusionError> + 'a;

/// A plan with some of its nodes replaced, from its root down. The walk is generic over what it calls, through every kind
/// of node and expression: it is compiled once, here.
pub(crate) fn replaced(plan: LogicalPlan, replace: &Replace<'_>) -> Result<LogicalPlan, QueryError> {
    Ok(plan.transform_down_with_subqueries(replace)?.data)
}

/// A plan with tables in the place of the views and tables that they are given for.
pub(crate) fn in_place(
    plan: LogicalPlan,
    of: &dyn Fn(&str) -> Option<Arc<dyn TableSource>>,
) -> Result<LogicalPlan, QueryError> {
    replaced(plan, &|node| match node {
        LogicalPlan::SubqueryAlias(view) => match of(view.alias.table()) {
            Some(source) => {
                let scan = LogicalPlanBuilder::scan(view.alias, source, None)?.build()?;
                Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(LogicalPlan::SubqueryAlias(view))),
        },
        LogicalPlan::TableScan(mut scan) => match of(scan.table_name.table()) {
            Some(source) => {
                scan.source = source;
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        },
        other => Ok(Transformed::no(other)),
    })
}

/// A plan with rows in the place of a table; they have its name.
pub(crate) fn scans_replaced(plan: LogicalPlan, table: &str, rows: &LogicalPlan) -> Result<LogicalPlan, QueryError> {
    replaced(plan, &|node| match node {
        LogicalPlan::TableScan(scan) if scan.table_name.table() == table => {
            Ok(Transformed::new(rows.clone(), true, TreeNodeRecursion::Jump))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// Tables by their names, for plans to be bound to: those of another state of the ledger.
pub(crate) struct Sources(HashMap<&'static str, Arc<dyn TableSource>>);

impl Sources {
    pub(crate) fn new(tables: &[(&'static str, Arc<dyn TableProvider>)]) -> Self {
        Self(tables.iter().map(|(name, table)| (*name, provider_as_source(table.clone()))).collect())
    }

    /// The same plan over these tables, which have the names and columns of its own: planning takes many times as long,
    /// and every commit is another state.
    ///
    /// # Errors
    ///
    /// Those of DataFusion, which has none here.
    pub(crate) fn bind(&self, plan: &LogicalPlan) -> Result<LogicalPlan, QueryError> {
        replaced(plan.clone(), &|node| match node {
            LogicalPlan::TableScan(mut scan) => {
                if let Some(source) = self.0.get(scan.table_name.table()) {
                    scan.source = source.clone();
                }
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })
    }

    /// The same views over these tables. One that reads none of them stays as it is.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub(crate) fn bind_views(&self, views: &[PlannedView]) -> Result<Vec<PlannedView>, QueryError> {
        let bound = views.iter().map(|view| match view.scans.iter().any(|table| self.0.contains_key(table.as_str())) {
            true => Ok(PlannedView { plan: self.bind(&view.plan)?, ..view.clone() }),
            false => Ok(view.clone()),
        });
        bound.collect()
    }
}
