//! The views: each a file in `views/`, whose comment says what a row is.
//!
//! To add one: a file, and a line in [`VIEWS`] after the views that it uses. The tests run every view of the list.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::execution::context::SessionContext;

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
    "entitlements",
    "recording_access",
    "custody_activity",
    "exceptions",
];

/// Plans every view over the tables that the context has, and registers it there.
///
/// # Errors
///
/// [`QueryError::Internal`]: a view that cannot be planned is a defect of this crate.
pub(crate) async fn register(
    context: &SessionContext,
) -> Result<Vec<(&'static str, Arc<dyn TableProvider>)>, QueryError> {
    let mut views: Vec<(&'static str, Arc<dyn TableProvider>)> = Vec::with_capacity(VIEWS.len());
    for view in VIEWS {
        let plan = context.state().create_logical_plan(view.sql).await;
        let plan = plan.map_err(|error| QueryError::Internal(format!("view {}: {error}", view.name)))?;
        let table: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, Some(view.sql.to_owned())));
        context.register_table(view.name, table.clone())?;
        views.push((view.name, table));
    }
    Ok(views)
}
