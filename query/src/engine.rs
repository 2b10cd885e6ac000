//! The engine: one place that turns SQL into rows, read-only and within bounds.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use custody_ledger::Ledger;
use custody_schemas::table::Table;
use datafusion::catalog::TableProvider;
use datafusion::common::config::Dialect;
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use deltalake::DeltaTable;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::error::QueryError;
use crate::functions::{Vocabulary, Words};
use crate::table::LedgerTable;
use crate::{functions, views};

/// What the engine may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Memory of one query, in bytes; beyond it a query spills to disk where it can, and fails where it cannot.
    pub memory_bytes: usize,
    /// Temporary files of all queries together, in bytes.
    pub spill_bytes: u64,
    /// Queries that run at the same time; others wait, which counts towards their time.
    pub queries: usize,
    /// Cores that one query uses.
    pub cores: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(8);
        Self { memory_bytes: 512 << 20, spill_bytes: 4 << 30, queries: 4, cores }
    }
}

/// How far one query may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Time for all of it: waiting for its turn, planning, and delivering the rows.
    pub time: Option<Duration>,
    /// Rows that it yields; what comes after them is cut off, and said to be.
    pub rows: Option<usize>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { time: Some(Duration::from_secs(60)), rows: Some(100_000) }
    }
}

impl Bounds {
    /// No bound on time or rows, for someone who sits at the terminal and can stop it.
    pub const NONE: Self = Self { time: None, rows: None };
}

/// The versions of the tables that an answer was made from: the same question on these gives the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Versions {
    /// Version of `records`.
    pub records: u64,
    /// Version of `events`.
    pub events: u64,
    /// Version of `frames`.
    pub frames: u64,
}

/// The longest SQL text, in bytes. The time that planning takes grows with it and cannot be interrupted.
const SQL_BYTES_MAX: usize = 64 * 1024;

/// Functions that make a large value of small ones at once, outside of what the memory limit sees.
const UNBOUNDED_FUNCTIONS: [&str; 7] =
    ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series"];

/// Answers questions on a ledger. It reads; there is no way through it to write.
#[derive(Debug)]
pub struct Engine {
    held: Mutex<Held>,
    runtime: RuntimeEnv,
    turns: Arc<Semaphore>,
    limits: Limits,
    words: Arc<Words>,
}

#[derive(Debug)]
struct Held {
    records: DeltaTable,
    events: DeltaTable,
    frames: DeltaTable,
    snapshot: Arc<Snapshot>,
    /// When the reading began that the snapshot is the result of.
    read_at: Instant,
}

/// Tables and views of one state of the ledger.
#[derive(Debug)]
struct Snapshot {
    versions: Versions,
    tables: Vec<(&'static str, Arc<dyn TableProvider>)>,
}

impl Engine {
    /// Opens a ledger for questions.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when a table is missing or cannot be read, [`QueryError::Invalid`] for a vocabulary that makes
    /// no sense.
    pub async fn open(ledger: &Ledger, limits: Limits, vocabulary: &Vocabulary) -> Result<Self, QueryError> {
        let words = Arc::new(Words::new(vocabulary)?);
        let stores = DefaultObjectStoreRegistry::new();
        // The files of this machine are no part of the ledger: a table gets a store of its own, and no other is known.
        if let Ok(local) = url::Url::parse("file://") {
            stores.deregister_store(&local)?;
        }
        let runtime = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::new(stores))
            .with_max_temp_directory_size(limits.spill_bytes)
            .build()?;
        let read_at = Instant::now();
        let (records, events, frames) =
            tokio::try_join!(ledger.open(Table::Records), ledger.open(Table::Events), ledger.open(Table::Frames))?;
        let snapshot = snapshot(&runtime, &limits, &words, [&records, &events, &frames]).await?;
        let held = Mutex::new(Held { records, events, frames, snapshot: Arc::new(snapshot), read_at });
        let turns = Arc::new(Semaphore::new(limits.queries));
        Ok(Self { held, runtime, turns, limits, words })
    }

    /// Runs one read-only statement: a query, `EXPLAIN`, `DESCRIBE` or `SHOW`.
    ///
    /// The answer is made from the newest state of the ledger, which is fixed when this returns.
    ///
    /// # Errors
    ///
    /// Those of planning. Those of running come out of [`QueryStream::next`].
    pub async fn query(&self, sql: &str, bounds: Bounds) -> Result<QueryStream, QueryError> {
        let reading = self.read(bounds.time).await?;
        let (batches, schema) = reading
            .within(async {
                let batches = reading.sql(sql).await?.execute_stream().await?;
                let schema = batches.schema();
                Ok((batches, schema))
            })
            .await?;
        Ok(QueryStream { reading, batches, schema, rows_left: bounds.rows, truncated: false })
    }

    /// The versions that a question would be answered from now.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when the ledger cannot be read.
    pub async fn versions(&self) -> Result<Versions, QueryError> {
        Ok(self.refresh().await?.versions)
    }

    /// Waits for a turn, and fixes the state of the ledger that is read.
    pub(crate) async fn read(&self, time: Option<Duration>) -> Result<Reading, QueryError> {
        let limit = time.and_then(|time| Some((Instant::now().checked_add(time)?, time)));
        within(limit, async {
            let turn = self.turns.clone().acquire_owned().await;
            let turn = turn.map_err(|closed| QueryError::Internal(closed.to_string()))?;
            let snapshot = self.refresh().await?;
            let memory_pool = Arc::new(FairSpillPool::new(self.limits.memory_bytes));
            let runtime = RuntimeEnv { memory_pool, ..self.runtime.clone() };
            let context = context(runtime, &self.limits, &self.words)?;
            for (name, table) in &snapshot.tables {
                context.register_table(*name, table.clone())?;
            }
            Ok(Reading { context, versions: snapshot.versions, limit, _turn: turn })
        })
        .await
    }

    /// The newest state of the ledger. Questions that wait for one another share one look at the store, if that look
    /// began after they came.
    async fn refresh(&self) -> Result<Arc<Snapshot>, QueryError> {
        let came_at = Instant::now();
        let mut held = self.held.lock().await;
        if held.read_at >= came_at {
            return Ok(held.snapshot.clone());
        }
        let read_at = Instant::now();
        let Held { records, events, frames, .. } = &mut *held;
        let store = |error: deltalake::DeltaTableError| QueryError::Store(error.to_string());
        tokio::try_join!(
            records.update_incremental(None),
            events.update_incremental(None),
            frames.update_incremental(None)
        )
        .map_err(store)?;
        if versions([records, events, frames]) != held.snapshot.versions {
            let tables = [&held.records, &held.events, &held.frames];
            held.snapshot = Arc::new(snapshot(&self.runtime, &self.limits, &self.words, tables).await?);
        }
        held.read_at = read_at;
        Ok(held.snapshot.clone())
    }
}

/// A turn at one fixed state of the ledger.
pub(crate) struct Reading {
    pub(crate) context: SessionContext,
    pub(crate) versions: Versions,
    limit: Option<(Instant, Duration)>,
    _turn: OwnedSemaphorePermit,
}

impl Reading {
    /// Runs something for as long as the query has time.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        within(self.limit, work).await
    }

    /// All rows of a frame of the engine. Only for what is bounded by its own question.
    pub(crate) async fn collect(&self, rows: DataFrame) -> Result<Vec<RecordBatch>, QueryError> {
        self.within(async { Ok(rows.collect().await?) }).await
    }

    /// Plans a statement, if it only reads.
    async fn sql(&self, sql: &str) -> Result<DataFrame, QueryError> {
        let state = self.context.state();
        let statement = read_only(&state, sql)?;
        let plan = state.statement_to_plan(statement).await?;
        // Planning changes nothing, and a frame over a plan only yields rows: what is refused here had no effect yet.
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|error| match QueryError::from(error) {
            QueryError::Invalid(message) => QueryError::Forbidden(message),
            other => other,
        })?;
        Ok(DataFrame::new(state, plan))
    }
}

/// The rows of an answer, as they come.
pub struct QueryStream {
    reading: Reading,
    batches: SendableRecordBatchStream,
    schema: SchemaRef,
    rows_left: Option<usize>,
    truncated: bool,
}

impl QueryStream {
    /// Columns of the answer.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What the answer is made from.
    pub fn versions(&self) -> Versions {
        self.reading.versions
    }

    /// Whether rows were cut off. Known once [`next`](Self::next) has returned `None`.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The next rows; `None` after the last. After an error the stream is of no more use.
    ///
    /// # Errors
    ///
    /// [`QueryError::Timeout`] when the time is over, otherwise what went wrong with the rows.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        if self.truncated {
            return None;
        }
        let next = within(self.reading.limit, async { Ok(self.batches.next().await.transpose()?) }).await;
        let batch = match next {
            Ok(batch) => batch?,
            Err(error) => return Some(Err(error)),
        };
        let Some(left) = &mut self.rows_left else {
            return Some(Ok(batch));
        };
        self.truncated = batch.num_rows() > *left;
        let taken = batch.num_rows().min(*left);
        *left -= taken;
        if self.truncated && taken == 0 { None } else { Some(Ok(batch.slice(0, taken))) }
    }
}

async fn within<T>(
    limit: Option<(Instant, Duration)>,
    work: impl Future<Output = Result<T, QueryError>>,
) -> Result<T, QueryError> {
    match limit {
        None => work.await,
        Some((deadline, time)) => match tokio::time::timeout_at(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(QueryError::Timeout(time)),
        },
    }
}

/// Parses one statement and refuses those that do anything but read.
fn read_only(state: &SessionState, sql: &str) -> Result<Statement, QueryError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(QueryError::Invalid(format!("the SQL text has more than {SQL_BYTES_MAX} bytes")));
    }
    let recursion = state.config_options().sql_parser.recursion_limit.get();
    let mut statements = DFParserBuilder::new(sql)
        .with_dialect(&PostgreSqlDialect {})
        .with_recursion_limit(recursion)
        .build()?
        .parse_statements()?;
    let statement =
        statements.pop_front().ok_or_else(|| QueryError::Invalid("there is no SQL statement".to_owned()))?;
    if !statements.is_empty() {
        return Err(QueryError::Forbidden("several statements were given".to_owned()));
    }
    let mut inner = &statement;
    while let Statement::Explain(explain) = inner {
        inner = &explain.statement;
    }
    let reads = match inner {
        Statement::Statement(statement) => matches!(
            statement.as_ref(),
            ast::Statement::Query(_)
                | ast::Statement::Explain { .. }
                | ast::Statement::ExplainTable { .. }
                | ast::Statement::ShowTables { .. }
                | ast::Statement::ShowColumns { .. }
                | ast::Statement::ShowFunctions { .. }
        ),
        _ => false,
    };
    if reads {
        return Ok(statement);
    }
    let text = inner.to_string();
    let verb = text.split_whitespace().next().unwrap_or_default();
    Err(QueryError::Forbidden(format!("{verb} is no query")))
}

/// A context that knows the engine's functions and no table.
pub(crate) fn context(runtime: RuntimeEnv, limits: &Limits, words: &Arc<Words>) -> Result<SessionContext, QueryError> {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema("custody", "ledger")
        .with_information_schema(true)
        .with_target_partitions(limits.cores);
    // The generic dialect takes the comma of `SELECT source, cluster` for one too many: what follows is a keyword.
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.sql_parser.map_string_types_to_utf8view = false;
    let parquet = &mut options.execution.parquet;
    // Rows of one session, one request, one topic: a few of many, so filters belong into the reading of files.
    parquet.pushdown_filters = true;
    parquet.reorder_filters = true;
    // Answers have the types that the tables have, which every reader of Arrow knows.
    parquet.schema_force_view_types = false;
    let mut state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_runtime_env(Arc::new(runtime))
        .build();
    for name in UNBOUNDED_FUNCTIONS {
        // Both results mean that it is not there afterwards.
        let _ = state.deregister_udf(name);
    }
    let mut context = SessionContext::new_with_state(state);
    functions::register(&mut context, words)?;
    Ok(context)
}

fn versions(tables: [&DeltaTable; 3]) -> Versions {
    let [records, events, frames] = tables.map(|table| table.version().unwrap_or_default());
    Versions { records, events, frames }
}

async fn snapshot(
    runtime: &RuntimeEnv,
    limits: &Limits,
    words: &Arc<Words>,
    tables: [&DeltaTable; 3],
) -> Result<Snapshot, QueryError> {
    let context = context(runtime.clone(), limits, words)?;
    let mut registered: Vec<(&'static str, Arc<dyn TableProvider>)> = Vec::new();
    for (table, delta) in Table::ALL.into_iter().zip(tables) {
        let store = |error: deltalake::DeltaTableError| QueryError::Store(error.to_string());
        let state = context.state();
        delta.update_datafusion_session(&state).map_err(store)?;
        let config = DeltaScanConfig::new_from_session(&state).with_wrap_partition_values(false);
        let snapshot = delta.snapshot().map_err(store)?.snapshot().clone();
        let provider: Arc<dyn TableProvider> = Arc::new(LedgerTable::new(DeltaScanNext::new(snapshot, config)?));
        context.register_table(table.name(), provider.clone())?;
        registered.push((table.name(), provider));
    }
    registered.extend(views::register(&context).await?);
    Ok(Snapshot { versions: versions(tables), tables: registered })
}
