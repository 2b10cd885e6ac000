//! A table of the ledger at one version, as the query engine sees it: to be read, and nothing else.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use custody_schemas::table::PARTITION_COLUMN;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType, lit};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use deltalake::delta_datafusion::DeltaScanNext;

use crate::parts::PartTable;

/// Reads a Delta table through `deltalake`'s own provider, which is made without the table's log and cannot write.
///
/// That provider answers a question that needs no column of the files (`SELECT 1 FROM events LIMIT 1`, or the partition
/// column alone) from the log, and there forgets the limit (delta-rs #4037). Such a question gets a column more here,
/// so that the files are read, as far as the limit goes.
#[derive(Debug)]
pub(crate) struct LedgerTable {
    inner: DeltaScanNext,
}

impl LedgerTable {
    pub(crate) fn new(inner: DeltaScanNext) -> Self {
        Self { inner }
    }

    /// What is to be read in place of a projection that would lose the limit.
    fn limited(&self, projection: Option<&Vec<usize>>, limit: Option<usize>) -> Option<Vec<usize>> {
        let (projection, schema) = (projection.filter(|_| limit.is_some())?, self.schema());
        let in_files = |column: &usize| schema.fields().get(*column).is_some_and(|f| f.name() != PARTITION_COLUMN);
        if projection.iter().any(in_files) {
            return None;
        }
        let column = (0..schema.fields().len()).find(in_files)?;
        Some(projection.iter().copied().chain([column]).collect())
    }
}

#[async_trait]
impl TableProvider for LedgerTable {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(wider) = self.limited(projection, limit) else {
            return self.inner.scan(session, projection, filters, limit).await;
        };
        let plan = self.inner.scan(session, Some(&wider), filters, limit).await?;
        let schema = plan.schema();
        let asked = schema.fields().iter().take(wider.len() - 1).enumerate().map(|(index, field)| {
            let column = Arc::new(Column::new(field.name(), index));
            ProjectionExpr { expr: column, alias: field.name().clone() }
        });
        Ok(Arc::new(ProjectionExec::try_new(asked, plan)?) as Arc<dyn ExecutionPlan>)
    }
}

/// The part that has the events of all kinds but these.
pub(crate) const OUTLINE: &str = "outline_events";

/// Kinds of events that the outline leaves out.
pub(crate) const INSIDE: [&str; 4] = ["session.activity", "session.join", "session.leave", "other"];

/// The table of events. A question for kinds that the outline has gets them from what is kept of it, as far
/// as something is: these events are few, and lie in as many files as the others.
pub(crate) struct EventsTable {
    pub(crate) events: Arc<dyn TableProvider>,
    pub(crate) outline: Arc<PartTable>,
}

impl fmt::Debug for EventsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsTable").field("outline", &self.outline.part.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for EventsTable {
    fn schema(&self) -> SchemaRef {
        self.events.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.events.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.outline.is_kept() && filters.iter().any(is_outline) {
            return self.outline.scan(session, projection, filters, limit).await;
        }
        self.events.scan(session, projection, filters, limit).await
    }
}

/// Whether a condition lets only events through that the outline has.
fn is_outline(condition: &Expr) -> bool {
    let is_kind = |of: &Expr| matches!(of, Expr::Column(column) if column.name == "kind");
    let is_there = |value: &Expr| match value {
        Expr::Literal(value, _) => value.try_as_str().flatten().is_some_and(|kind| !INSIDE.contains(&kind)),
        _ => false,
    };
    match condition {
        Expr::BinaryExpr(both) => match both.op {
            Operator::And => is_outline(&both.left) || is_outline(&both.right),
            Operator::Or => is_outline(&both.left) && is_outline(&both.right),
            Operator::Eq => {
                is_kind(&both.left) && is_there(&both.right) || is_kind(&both.right) && is_there(&both.left)
            }
            _ => false,
        },
        Expr::InList(list) if list.negated => {
            is_kind(&list.expr) && INSIDE.iter().all(|kind| list.list.contains(&lit(*kind)))
        }
        Expr::InList(list) => is_kind(&list.expr) && list.list.iter().all(is_there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::col;

    use super::*;
    use crate::parts::PARTS;

    #[test]
    fn the_outline_answers_for_the_kinds_that_it_has_and_no_others() {
        let login = || col("kind").eq(lit("login"));
        let inside = || col("kind").eq(lit("session.activity"));
        let other = || col("actor").eq(lit("login"));
        let cases = [
            (login(), true),
            (lit("login").eq(col("kind")), true),
            (inside(), false),
            (other(), false),
            (col("kind").not_eq(lit("login")), false),
            (login().or(inside()), false),
            (login().or(other()), false),
            (login().or(col("kind").eq(lit("import"))), true),
            (login().and(other()), true),
            (inside().and(other()), false),
            (login().and(other()).or(col("kind").eq(lit("import")).and(inside())), true),
            (login().and(other()).or(inside().and(other())), false),
            (col("kind").in_list(vec![lit("login"), lit("import")], false), true),
            (col("kind").in_list(vec![lit("login"), lit("other")], false), false),
            (col("kind").in_list(vec![lit("login"), lit("import")], true), false),
            (col("kind").in_list(vec![lit("login"), col("actor")], false), false),
            (col("kind").in_list(INSIDE.map(lit).to_vec(), true), true),
            (col("kind").in_list(INSIDE.map(lit).into_iter().skip(1).collect(), true), false),
            (col("actor").in_list(INSIDE.map(lit).to_vec(), true), false),
            (col("kind").is_null(), false),
            (lit(true), false),
        ];
        for (condition, expected) in cases {
            assert_eq!(is_outline(&condition), expected, "{condition}");
        }
    }

    #[test]
    fn the_outline_leaves_out_the_kinds_that_it_is_not_asked_for() {
        let sql = PARTS.iter().find(|part| part.name == OUTLINE).map(|part| part.sql).unwrap_or_default();
        let listed = format!("kind NOT IN ('{}')", INSIDE.join("', '"));
        assert!(sql.contains(&listed), "{sql} has not {listed}");
    }
}
