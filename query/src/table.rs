//! A table of the ledger at one version, as the query engine sees it: to be read, and nothing else.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use custody_schemas::table::PARTITION_COLUMN;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use deltalake::delta_datafusion::DeltaScanNext;
use futures::future::BoxFuture;

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

// The signature of `scan` is the one that the trait's `async_trait` makes.
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

    fn scan<'s, 'c, 'p, 'f, 'a>(
        &'s self,
        session: &'c dyn Session,
        projection: Option<&'p Vec<usize>>,
        filters: &'f [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>>
    where
        's: 'a,
        'c: 'a,
        'p: 'a,
        'f: 'a,
        Self: 'a,
    {
        Box::pin(async move {
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
        })
    }
}
