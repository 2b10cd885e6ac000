//! The engine: one place that turns SQL into rows, read-only and within bounds.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use custody_ledger::Ledger;
use custody_schemas::table::Table;
use custody_schemas::time::{Micros, Parsed, parse_rfc3339, to_rfc3339};
use datafusion::catalog::TableProvider;
use datafusion::common::config::{Dialect, SqlParserOptions};
use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::common::{ParamValues, ScalarValue, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use deltalake::DeltaTable;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use futures::StreamExt;
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::error::QueryError;
use crate::functions::{Vocabulary, Words};
use crate::parts::{Days, KeptParts, PARTS, PartTable, day_of};
use crate::pg_catalog::{self, Catalog, DATABASE, SCHEMA};
use crate::reference::{Reference, ReferenceFile};
use crate::search::Unsearched;
use crate::shelf::{self, Focus, Shelves};
use crate::table::{EventsTable, LedgerTable, OUTLINE};
use crate::views::{PlannedView, Sources};
use crate::{functions, text, views};

/// What the engine may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Memory of one query, in bytes; beyond it a query spills to disk where it can, and fails where it cannot.
    pub memory_bytes: usize,
    /// Temporary files of all queries together, in bytes; as much again for views that reports read.
    pub spill_bytes: u64,
    /// Queries that run at the same time; others wait, which counts towards their time.
    pub queries: usize,
    /// Cores that one query uses.
    pub cores: usize,
    /// Memory for what files say of themselves, kept over all queries, in bytes.
    pub metadata_bytes: usize,
    /// Of files only the rows that are asked for are decoded, and none between them: less memory, but somewhat more time.
    pub is_sparing: bool,
    /// Folder in which what days that are over say of their sessions is kept, for all ledgers. Without, it is worked out
    /// for each question.
    pub cache: Option<PathBuf>,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(8);
        Self {
            memory_bytes: 512 << 20,
            spill_bytes: 4 << 30,
            queries: 4,
            cores,
            metadata_bytes: 64 << 20,
            is_sparing: false,
            cache: None,
        }
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
    /// Version of `activity`.
    pub activity: u64,
}

impl Versions {
    /// Tables in the order of [`Table::ALL`]. What is derived has no version of its own.
    fn of(tables: &Deltas) -> Self {
        let [records, events, frames, activity, ..] =
            tables.each_ref().map(|table| table.version().unwrap_or_default());
        Self { records, events, frames, activity }
    }

    fn of_table(self, table: Table) -> Option<u64> {
        match table {
            Table::Records => Some(self.records),
            Table::Events => Some(self.events),
            Table::Frames => Some(self.frames),
            Table::Activity => Some(self.activity),
            Table::Forwarding
            | Table::Undelivered
            | Table::IndexedRecordings
            | Table::IndexedTexts
            | Table::IndexedCommands
            | Table::IndexedSegments
            | Table::IndexedTrigrams => None,
        }
    }
}

/// `records=7,events=7,frames=3,activity=12`
impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, events, frames, activity } = self;
        write!(f, "records={records},events={events},frames={frames},activity={activity}")
    }
}

impl FromStr for Versions {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let wrong = || {
            let example = "records=7,events=7,frames=3,activity=12";
            QueryError::Invalid(format!("versions are written like {example}, not {:?}", text::visible(text)))
        };
        let mut found = [None; 4];
        for part in text.split(',') {
            let (name, number) = part.trim().split_once('=').ok_or_else(wrong)?;
            let at = Table::ALL.iter().position(|table| table.name() == name).ok_or_else(wrong)?;
            *found.get_mut(at).ok_or_else(wrong)? = Some(number.parse().map_err(|_| wrong())?);
        }
        match found {
            [Some(records), Some(events), Some(frames), Some(activity)] => {
                Ok(Self { records, events, frames, activity })
            }
            _ => Err(wrong()),
        }
    }
}

/// Which state of the ledger a question is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AsOf {
    /// The newest.
    #[default]
    Newest,
    /// What was committed by then.
    Time(Micros),
    /// These versions of the tables.
    Versions(Versions),
}

/// An instant in RFC 3339, or versions of the tables.
impl FromStr for AsOf {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        match parse_rfc3339(text) {
            Some(Parsed::At(at)) => Ok(Self::Time(at)),
            _ if text.contains('=') => Ok(Self::Versions(text.parse()?)),
            _ => Err(QueryError::Invalid(format!(
                "a state of the ledger is an instant like 2026-11-02T09:00:00Z, or versions of its tables, not {:?}",
                text::visible(text)
            ))),
        }
    }
}

/// The tables of the ledger, in the order of [`Table::ALL`].
pub(crate) type Deltas = [DeltaTable; Table::ALL.len()];

/// What comes into a table is the next entry of its log, which is asked for by its name: to list a log takes many times as
/// long. Entries are cleaned away once they are hours old, and whoever has not looked for that long would wait for one that
/// never comes: the logs are listed again after so long.
const LIST_EVERY: Duration = Duration::from_secs(60);

/// The longest SQL text, in bytes. The time that planning takes grows with it and cannot be interrupted.
const SQL_BYTES_MAX: usize = 64 * 1024;

/// Operators of one statement. Each may be one level deeper than the one before (`1+1+1`), without a bracket that the
/// parser would count, and whoever walks down that far needs a stack that large: see `thread_stack_size` in the binary.
const OPERATORS_MAX: usize = 2000;

/// Tables and views that one statement names. What planning takes grows with the square of them.
const RELATIONS_MAX: usize = 64;

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
    vocabulary: Vocabulary,
    kept: Arc<KeptParts>,
    shelves: Arc<Shelves>,
}

#[derive(Debug)]
struct Held {
    /// In the order of [`Table::ALL`].
    tables: Deltas,
    reference: Arc<Reference>,
    snapshot: Arc<Snapshot>,
    /// When the reading began that the snapshot is the result of.
    read_at: Instant,
    /// The same of all tables but `activity`: never before.
    evidence_at: Instant,
    /// When the reading began that listed the logs.
    listed_at: Instant,
}

/// Tables and views of one state of the ledger.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) versions: Versions,
    /// The versions of all tables.
    read: [Option<u64>; Table::ALL.len()],
    /// In the order of [`Table::ALL`].
    stored: Vec<Stored>,
    /// Size of the files of `indexed_texts` of each day.
    text_sizes: Arc<BTreeMap<i32, u64>>,
    /// What a search does not look through, once somebody has asked; the same as long as the tables are that say it.
    pub(crate) unsearched: Arc<OnceCell<Unsearched>>,
    reference: Arc<Reference>,
    parts: Vec<Arc<PartTable>>,
    views: Vec<PlannedView>,
    /// What questions can name: the tables, reference data and views.
    tables: Vec<(&'static str, Arc<dyn TableProvider>)>,
}

/// A table of the ledger in one state of it.
#[derive(Debug, Clone)]
struct Stored {
    table: Table,
    provider: Arc<dyn TableProvider>,
    days: Arc<Days>,
}

impl Stored {
    fn new(table: Table, delta: &DeltaTable, context: &SessionContext) -> Result<Self, QueryError> {
        let state = context.state();
        delta.update_datafusion_session(&state).map_err(store)?;
        let config = DeltaScanConfig::new_from_session(&state).with_wrap_partition_values(false);
        let snapshot = delta.snapshot().map_err(store)?.snapshot().clone();
        let provider = Arc::new(LedgerTable::new(DeltaScanNext::new(snapshot, config)?));
        Ok(Self { table, provider, days: Arc::new(Days::new(delta)) })
    }
}

impl Snapshot {
    fn stored(&self, table: Table) -> Option<&Stored> {
        self.stored.iter().find(|of| of.table == table)
    }

    /// The days on which rows of a table were taken in, counted from 1970, in order; `None` where its files do not say so.
    pub(crate) fn days_of(&self, table: Table) -> Option<impl Iterator<Item = i32>> {
        self.stored(table)?.days.all()
    }

    pub(crate) fn part(&self, name: &str) -> Option<Arc<PartTable>> {
        self.parts.iter().find(|part| part.part.name == name).cloned()
    }

    pub(crate) fn view(&self, name: &str) -> Option<LogicalPlan> {
        self.views.iter().find(|view| view.name() == name).map(|view| view.plan.clone())
    }

    pub(crate) fn table(&self, name: &str) -> Option<&Arc<dyn TableProvider>> {
        self.tables.iter().find(|(table, _)| *table == name).map(|(_, table)| table)
    }

    pub(crate) fn words(&self) -> &Words {
        self.reference.words()
    }

    pub(crate) fn has_reference_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.reference, &other.reference)
    }
}

impl Engine {
    /// Opens a ledger for questions.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when a table is missing or cannot be read, [`QueryError::Invalid`] for a vocabulary that makes
    /// no sense.
    pub fn open<'a>(
        ledger: &'a Ledger,
        limits: Limits,
        vocabulary: &'a Vocabulary,
    ) -> BoxFuture<'a, Result<Self, QueryError>> {
        Box::pin(async move {
            let reference = Arc::new(Reference::load(vocabulary)?);
            let stores = DefaultObjectStoreRegistry::new();
            // The files of this machine are no part of the ledger: a table gets a store of its own, and no other is known.
            if let Ok(local) = url::Url::parse("file://") {
                stores.deregister_store(&local)?;
            }
            let runtime = RuntimeEnvBuilder::new()
                .with_object_store_registry(Arc::new(stores))
                .with_max_temp_directory_size(limits.spill_bytes)
                .with_metadata_cache_limit(limits.metadata_bytes)
                .build()?;
            let read_at = Instant::now();
            let tables = futures::future::try_join_all(Table::ALL.map(|table| ledger.open(table))).await?;
            let tables: Deltas =
                tables.try_into().map_err(|_| QueryError::Internal("tables are missing".to_owned()))?;
            let kept = Arc::new(KeptParts::new(limits.cache.as_deref(), &tables, &runtime));
            let snapshot = Arc::new(snapshot(&runtime, &limits, &reference, &tables, &kept, None).await?);
            let (evidence_at, listed_at) = (read_at, read_at);
            let held = Mutex::new(Held { tables, reference, snapshot, read_at, evidence_at, listed_at });
            let turns = Arc::new(Semaphore::new(limits.queries));
            let shelves = Arc::new(Shelves::new(limits.spill_bytes));
            Ok(Self { held, runtime, turns, limits, vocabulary: vocabulary.clone(), kept, shelves })
        })
    }

    /// Runs one read-only statement: a query, `EXPLAIN`, `DESCRIBE` or `SHOW`.
    ///
    /// The answer is made from the newest state of the ledger, which is fixed when this returns.
    ///
    /// # Errors
    ///
    /// Those of planning. Those of running come out of [`QueryStream::next`].
    pub async fn query(&self, sql: &str, bounds: Bounds) -> Result<QueryStream, QueryError> {
        self.query_as_of(sql, AsOf::Newest, bounds).await
    }

    /// The same of an earlier state of the ledger, which the statement itself may name as well: `... AS OF 'state'`.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`], and [`QueryError::Gone`] when that state can no longer be read.
    pub async fn query_as_of(&self, sql: &str, as_of: AsOf, bounds: Bounds) -> Result<QueryStream, QueryError> {
        let (statement, own) = parse(sql)?;
        let as_of = match (as_of, own) {
            (as_of, None) => as_of,
            (AsOf::Newest, Some(own)) => own,
            (as_of, Some(own)) if as_of == own => own,
            _ => return Err(QueryError::Invalid("two states of the ledger are asked for".to_owned())),
        };
        self.run(statement, Vec::new(), as_of, bounds).await
    }

    /// The same of a statement that was read already, with values in the place of `$1`, `$2`, ...
    pub(crate) fn run(
        &self,
        statement: Statement,
        parameters: Vec<ScalarValue>,
        as_of: AsOf,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<QueryStream, QueryError>> {
        Box::pin(async move {
            let reading = self.read(as_of, bounds.time).await?;
            let (batches, schema) = reading
                .within(async {
                    let frame = reading.frame(statement, ParamValues::from(parameters)).await?;
                    let batches = stream(frame).await?;
                    let schema = batches.schema();
                    Ok((batches, schema))
                })
                .await?;
            Ok(QueryStream { reading, batches, schema, rows_left: bounds.rows, truncated: false, over: false })
        })
    }

    /// What a statement would yield, and the types that its parameters are taken for, as far as that can be told.
    pub(crate) fn describe(
        &self,
        statement: Statement,
        time: Option<Duration>,
    ) -> BoxFuture<'_, Result<Described, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, time).await?;
            let plan = reading.within(reading.plan(statement)).await?;
            Ok((plan.schema().inner().clone(), plan.get_parameter_types()?))
        })
    }

    /// The versions that a question would be answered from now.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when the ledger cannot be read.
    pub async fn versions(&self) -> Result<Versions, QueryError> {
        Ok(self.refresh().await?.versions)
    }

    /// The versions that an earlier state is made of.
    ///
    /// # Errors
    ///
    /// As [`Engine::query_as_of`].
    pub async fn versions_as_of(&self, as_of: AsOf) -> Result<Versions, QueryError> {
        Ok(self.read(as_of, None).await?.versions)
    }

    /// Waits for a turn, and fixes the state of the ledger that is read.
    ///
    /// Boxed, here and below: what lies under it are futures of two engines, and the compiler would look through all of
    /// them again for each caller.
    pub(crate) fn read(&self, as_of: AsOf, time: Option<Duration>) -> BoxFuture<'_, Result<Reading, QueryError>> {
        Box::pin(self.read_of(time, async move {
            match as_of {
                AsOf::Newest => self.refresh().await,
                AsOf::Time(_) | AsOf::Versions(_) => self.earlier(as_of).await,
            }
        }))
    }

    /// The same of the newest state, in which `activity` may be older: for questions that have nothing to do with it. Each of
    /// them is written down there, and the next would wait until that is read.
    pub(crate) fn read_evidence(&self, time: Option<Duration>) -> BoxFuture<'_, Result<Reading, QueryError>> {
        Box::pin(self.read_of(time, self.look(false)))
    }

    fn read_of<'a>(
        &'a self,
        time: Option<Duration>,
        snapshot: impl Future<Output = Result<Arc<Snapshot>, QueryError>> + Send + 'a,
    ) -> impl Future<Output = Result<Reading, QueryError>> + Send + 'a {
        let limit = time.and_then(|time| Some((Instant::now().checked_add(time)?, time)));
        within(limit, async move {
            let turn = self.turns.clone().acquire_owned().await;
            let turn = turn.map_err(|closed| QueryError::Internal(closed.to_string()))?;
            let snapshot = snapshot.await?;
            let memory_pool = Arc::new(FairSpillPool::new(self.limits.memory_bytes));
            let runtime = RuntimeEnv { memory_pool, ..self.runtime.clone() };
            let context = context(runtime, &self.limits, snapshot.reference.words())?;
            context.register_catalog(DATABASE, Arc::new(Catalog::new(&snapshot.tables)?));
            let references = snapshot.reference.files().to_vec();
            let (versions, shelves) = (snapshot.versions, self.shelves.clone());
            Ok(Reading { context, versions, references, limit, snapshot, shelves, _turn: turn })
        })
    }

    /// The version of `frames`, as it was not longer ago than this.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when the ledger cannot be read.
    pub async fn frames_version(&self, age_max: Duration) -> Result<u64, QueryError> {
        let held = self.held.lock().await;
        if held.evidence_at.elapsed() <= age_max {
            return Ok(held.snapshot.versions.frames);
        }
        drop(held);
        Ok(Box::pin(self.look(false)).await?.versions.frames)
    }

    /// The newest state of the ledger. Questions that wait for one another share one look at the store, if that look
    /// began after they came.
    fn refresh(&self) -> BoxFuture<'_, Result<Arc<Snapshot>, QueryError>> {
        Box::pin(self.look(true))
    }

    /// The newest state of the tables, that of `activity` or not.
    async fn look(&self, at_activity: bool) -> Result<Arc<Snapshot>, QueryError> {
        let came_at = Instant::now();
        let mut held = self.held.lock().await;
        let looked_at = if at_activity { held.read_at } else { held.evidence_at };
        if looked_at >= came_at {
            return Ok(held.snapshot.clone());
        }
        let read_at = Instant::now();
        let is_thorough = held.listed_at.elapsed() >= LIST_EVERY;
        let updates = Table::ALL.into_iter().zip(&mut held.tables).map(|(of, table)| async move {
            let is_wanted = is_thorough || (at_activity || of != Table::Activity) && has_next(table).await?;
            if is_wanted { table.update_incremental(None).await } else { Ok(()) }
        });
        futures::future::try_join_all(updates).await.map_err(store)?;
        if is_thorough {
            held.listed_at = read_at;
        }
        if held.reference.is_stale() {
            held.reference = Arc::new(Reference::load(&self.vocabulary)?);
        }
        // Also where what was read the last time never became a snapshot.
        let is_same = held.tables.each_ref().map(DeltaTable::version) == held.snapshot.read
            && Arc::ptr_eq(&held.reference, &held.snapshot.reference);
        if !is_same {
            let before = Some(held.snapshot.as_ref());
            let (runtime, kept) = (&self.runtime, &self.kept);
            let newest = snapshot(runtime, &self.limits, &held.reference, &held.tables, kept, before).await?;
            held.snapshot = Arc::new(newest);
        }
        tracing::debug!(took = ?read_at.elapsed(), is_same, "looked for what is new");
        held.evidence_at = read_at;
        if at_activity {
            held.read_at = read_at;
        }
        Ok(held.snapshot.clone())
    }

    /// An earlier state of the ledger, with the reference data of now: what answers say of that are its hashes.
    async fn earlier(&self, as_of: AsOf) -> Result<Arc<Snapshot>, QueryError> {
        let newest = self.refresh().await?;
        if as_of == AsOf::Versions(newest.versions) {
            return Ok(newest);
        }
        let mut tables = self.held.lock().await.tables.clone();
        // What is derived has no states of its own: it is that of now.
        for (of, table) in Table::ALL.into_iter().zip(&mut tables).filter(|(table, _)| !table.is_derived()) {
            let name = of.name();
            let version = match as_of {
                AsOf::Versions(versions) => versions.of_table(of),
                AsOf::Time(_) | AsOf::Newest => None,
            };
            let newest = table.version().unwrap_or_default();
            let (what, loaded) = match (version, as_of) {
                (Some(version), _) if version > newest => {
                    return Err(QueryError::Gone(format!(
                        "{name} has no version {version} yet: its newest is {newest}"
                    )));
                }
                (Some(version), _) => (format!("version {version}"), table.load_version(version).await),
                (None, AsOf::Time(at)) => {
                    let time = chrono::DateTime::from_timestamp_micros(at).unwrap_or_default();
                    let mut loaded = table.load_with_datetime(time).await;
                    // The library gives the oldest version that is left where none is old enough.
                    let of = |table: &DeltaTable| table.snapshot().ok()?.version_timestamp(table.version()?);
                    if loaded.is_ok() && of(table).is_some_and(|committed_ms| committed_ms > at / 1000) {
                        loaded = Err(deltalake::DeltaTableError::Generic("nothing older is left".to_owned()));
                    }
                    (format!("its state of {}", to_rfc3339(at)), loaded)
                }
                (None, _) => continue,
            };
            loaded.map_err(|error| {
                QueryError::Gone(format!(
                    "{name}: {what} cannot be read any more, or never could: what is needed for it is kept for \
                     maintain.log_hours ({error})"
                ))
            })?;
        }
        let (runtime, kept) = (&self.runtime, &self.kept);
        Ok(Arc::new(snapshot(runtime, &self.limits, &newest.reference, &tables, kept, Some(&newest)).await?))
    }

    /// Where parts are kept, and what makes it known.
    pub(crate) fn kept(&self) -> (&KeptParts, &RuntimeEnv) {
        (&self.kept, &self.runtime)
    }

    /// The parts over the newest state of the ledger.
    pub(crate) async fn parts(&self) -> Result<Vec<Arc<PartTable>>, QueryError> {
        Ok(self.refresh().await?.parts.clone())
    }

    /// The rows of a plan of Custody's own, without a bound on time, and the turn that they take.
    pub(crate) async fn rows_of(&self, plan: LogicalPlan) -> Result<(Reading, SendableRecordBatchStream), QueryError> {
        let reading = self.read(AsOf::Newest, None).await?;
        let rows = stream(DataFrame::new(reading.context.state(), plan)).await?;
        Ok((reading, rows))
    }
}

/// Whether the log of a table has an entry behind the newest that was read.
async fn has_next(table: &DeltaTable) -> Result<bool, deltalake::DeltaTableError> {
    let Some(version) = table.version() else { return Ok(true) };
    Ok(table.log_store().read_commit_entry(version + 1).await?.is_some())
}

fn store(error: deltalake::DeltaTableError) -> QueryError {
    QueryError::Store(error.to_string())
}

/// What a statement would yield, and the types that its parameters are taken for, as far as that can be told.
pub(crate) type Described = (SchemaRef, HashMap<String, Option<DataType>>);

/// A turn at one fixed state of the ledger.
pub(crate) struct Reading {
    pub(crate) context: SessionContext,
    pub(crate) versions: Versions,
    /// The files of reference data.
    pub(crate) references: Vec<ReferenceFile>,
    limit: Option<(Instant, Duration)>,
    pub(crate) snapshot: Arc<Snapshot>,
    shelves: Arc<Shelves>,
    _turn: OwnedSemaphorePermit,
}

impl Reading {
    /// Size of the files of the texts that were on screens, in bytes, for each day of ingestion (counted from 1970).
    pub(crate) fn sizes(&self) -> &BTreeMap<i32, u64> {
        &self.snapshot.text_sizes
    }

    /// The rows of a statement of Custody's own, with values in the place of its named placeholders, and with views that
    /// are worked out once: those of the sessions in focus, where there is one. They need what comes with them.
    pub(crate) async fn shelved(
        &self,
        sql: &str,
        parameters: HashMap<&str, ScalarValue>,
        focus: Option<Focus>,
    ) -> Result<(SendableRecordBatchStream, shelf::Held), QueryError> {
        self.within(async {
            let plan = self.sql(sql, parameters).await?.into_unoptimized_plan();
            let (plan, held) = self.shelves.over(&self.context, &self.snapshot, focus, plan).await?;
            Ok((stream(DataFrame::new(self.context.state(), plan)).await?, held))
        })
        .await
    }

    /// Runs something for as long as the query has time.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        within(self.limit, work).await
    }

    /// All rows of a frame of the engine. Only for what is bounded by its own question.
    pub(crate) async fn collect(&self, rows: DataFrame) -> Result<Vec<RecordBatch>, QueryError> {
        let collected: BoxFuture<'_, Result<Vec<RecordBatch>, QueryError>> = Box::pin(async {
            let began = Instant::now();
            let (task, plan) = (Arc::new(rows.task_ctx()), rows.create_physical_plan().await?);
            let planned = began.elapsed();
            let collected = datafusion::physical_plan::collect(plan, task).await?;
            let rows: usize = collected.iter().map(RecordBatch::num_rows).sum();
            tracing::debug!(?planned, ran = ?began.elapsed().saturating_sub(planned), rows, "answered");
            Ok(collected)
        });
        self.within(collected).await
    }

    /// A statement of Custody's own as a frame, with values in the place of its named placeholders.
    pub(crate) async fn sql(&self, sql: &str, parameters: HashMap<&str, ScalarValue>) -> Result<DataFrame, QueryError> {
        let values = parameters.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        let (statement, _) = parse(sql)?;
        self.frame(statement, ParamValues::Map(values.collect())).await
    }

    /// A statement as a frame, if it only reads.
    async fn frame(&self, statement: Statement, parameters: ParamValues) -> Result<DataFrame, QueryError> {
        let mut plan = self.plan(statement).await?;
        let is_empty = match &parameters {
            ParamValues::List(values) => values.is_empty(),
            ParamValues::Map(values) => values.is_empty(),
        };
        if !is_empty {
            plan = plan.with_param_values(parameters)?;
        }
        Ok(DataFrame::new(self.context.state(), plan))
    }

    /// The table or view with a name most like the first of these that there is none of.
    fn meant(&self, named: &[TableReference]) -> Option<&'static str> {
        let unknown = named.iter().map(TableReference::table).find(|name| self.snapshot.table(name).is_none())?;
        let likeness = self.snapshot.tables.iter().map(|(name, _)| (levenshtein(name, unknown), *name));
        likeness.min().filter(|(changes, _)| *changes <= unknown.len() / 3).map(|(_, name)| name)
    }

    /// Plans a statement, if it only reads.
    async fn plan(&self, statement: Statement) -> Result<LogicalPlan, QueryError> {
        read_only(&statement)?;
        let state = self.context.state();
        let named = state.resolve_table_references(&statement)?;
        let planned: BoxFuture<'_, _> = Box::pin(state.statement_to_plan(statement));
        let plan = planned.await.map_err(|error| match (QueryError::from(error), self.meant(&named)) {
            (QueryError::Invalid(message), Some(near)) => {
                QueryError::Invalid(format!("{message}. Did you mean {near}?"))
            }
            (error, _) => error,
        })?;
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
        Ok(plan)
    }
}

#[cfg(test)]
impl Engine {
    /// With the next question the logs are listed, as after a long while.
    pub(crate) async fn wait_to_list(&self) {
        let mut held = self.held.lock().await;
        held.listed_at = held.listed_at.checked_sub(LIST_EVERY).expect("a clock that has gone for longer");
    }
}

/// The rows of an answer, as they come.
pub struct QueryStream {
    reading: Reading,
    batches: SendableRecordBatchStream,
    schema: SchemaRef,
    rows_left: Option<usize>,
    truncated: bool,
    over: bool,
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

    /// Whether the last row was given.
    pub(crate) fn is_over(&self) -> bool {
        self.over
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
            Ok(None) => {
                self.over = true;
                return None;
            }
            Ok(Some(batch)) => batch,
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

/// Begins to run a frame.
pub(crate) fn stream(frame: DataFrame) -> BoxFuture<'static, Result<SendableRecordBatchStream, QueryError>> {
    Box::pin(async { Ok(frame.execute_stream().await?) })
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

/// Parses one statement, and the state of the ledger that it asks for: `... AS OF '2026-11-02T09:00:00Z'` at its end.
pub(crate) fn parse(sql: &str) -> Result<(Statement, Option<AsOf>), QueryError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(QueryError::Invalid(format!("the SQL text has more than {SQL_BYTES_MAX} bytes")));
    }
    let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().map_err(|error| {
        // In the parser's words, which name the place.
        QueryError::from(DataFusionError::from(ParserError::from(error)))
    })?;
    let as_of = take_as_of(&mut tokens)?;
    if tokens.iter().filter(|token| nests(&token.token)).count() > OPERATORS_MAX {
        let message = format!("the statement has more than {OPERATORS_MAX} operators: for many OR there is IN (...)");
        return Err(QueryError::Invalid(message));
    }
    let recursion = SqlParserOptions::default().recursion_limit.get();
    let mut statements = DFParserBuilder::new(tokens)
        .with_dialect(&PostgreSqlDialect {})
        .with_recursion_limit(recursion)
        .build()?
        .parse_statements()?;
    let statement =
        statements.pop_front().ok_or_else(|| QueryError::Invalid("there is no SQL statement".to_owned()))?;
    if !statements.is_empty() {
        return Err(QueryError::Forbidden("several statements were given".to_owned()));
    }
    Ok((statement, as_of))
}

/// Takes `AS OF 'state'` from the end of a statement. Nothing else in SQL ends so: behind an alias comes no text.
fn take_as_of(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<AsOf>, QueryError> {
    let is_said = |token: &TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF);
    let mut said = tokens.iter().enumerate().rev().filter(|(_, token)| is_said(token)).map(|(at, it)| (at, &it.token));
    let is = |token: &Token, text: &str| matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text));
    let (Some((_, Token::SingleQuotedString(state))), Some((_, of)), Some((at, r#as))) =
        (said.next(), said.next(), said.next())
    else {
        return Ok(None);
    };
    if !(is(of, "of") && is(r#as, "as")) {
        return Ok(None);
    }
    let as_of = state.parse()?;
    tokens.truncate(at);
    Ok(Some(as_of))
}

/// Whether what comes after a token may be one level deeper, or what comes before it.
fn nests(token: &Token) -> bool {
    use Keyword as K;
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            K::AND
                | K::AT
                | K::BETWEEN
                | K::COLLATE
                | K::DIV
                | K::EXCEPT
                | K::ILIKE
                | K::IN
                | K::INTERSECT
                | K::IS
                | K::MINUS
                | K::JOIN
                | K::LIKE
                | K::NOT
                | K::NOTNULL
                | K::OPERATOR
                | K::OR
                | K::OVERLAPS
                | K::REGEXP
                | K::RLIKE
                | K::SELECT
                | K::SIMILAR
                | K::UNION
                | K::XOR
        ),
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Whitespace(_) | Token::Comma | Token::Period => false,
        Token::LParen | Token::RParen | Token::RBracket | Token::Placeholder(_) => false,
        _ => true,
    }
}

/// Refuses statements that do anything but read.
fn read_only(statement: &Statement) -> Result<(), QueryError> {
    let mut inner = statement;
    while let Statement::Explain(explain) = inner {
        inner = &explain.statement;
    }
    if let Statement::Statement(statement) = inner {
        let mut relations = 0;
        let _ = ast::visit_relations(statement.as_ref(), |_| {
            relations += 1;
            ControlFlow::<()>::Continue(())
        });
        if relations > RELATIONS_MAX {
            let message = format!("the statement has more than {RELATIONS_MAX} tables and views in it");
            return Err(QueryError::Invalid(message));
        }
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
        return Ok(());
    }
    let text = inner.to_string();
    let verb = text.split_whitespace().next().unwrap_or_default();
    Err(QueryError::Forbidden(format!("{verb} is no query")))
}

/// A context that knows the engine's functions and no table.
pub(crate) fn context(runtime: RuntimeEnv, limits: &Limits, words: &Arc<Words>) -> Result<SessionContext, QueryError> {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(DATABASE, SCHEMA)
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
    // Otherwise all between the first and the last row of a batch is decoded where they are not far apart: of wide columns
    // that may be most of a group of rows.
    parquet.force_filter_selections = limits.is_sparing;
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
    pg_catalog::functions::register(&context);
    functions::register(&mut context, words)?;
    Ok(context)
}

/// Size of the files of a table, in bytes, for each day of ingestion.
fn sizes(table: Table, tables: &Deltas) -> Result<BTreeMap<i32, u64>, QueryError> {
    let delta = Table::ALL.iter().position(|of| *of == table).and_then(|at| tables.get(at));
    let mut sizes = BTreeMap::new();
    let Some(state) = delta.and_then(|delta| delta.snapshot().ok()) else { return Ok(sizes) };
    for file in state.log_data().iter() {
        let path = file.path().to_string();
        let day = path.strip_prefix("date=").and_then(|rest| rest.get(..10)).and_then(day_of);
        let day = day.ok_or_else(|| QueryError::Internal(format!("{path} does not say its day")))?;
        *sizes.entry(day).or_default() += u64::try_from(file.size()).unwrap_or_default();
    }
    Ok(sizes)
}

async fn snapshot(
    runtime: &RuntimeEnv,
    limits: &Limits,
    reference: &Arc<Reference>,
    tables: &Deltas,
    kept: &Arc<KeptParts>,
    before: Option<&Snapshot>,
) -> Result<Snapshot, QueryError> {
    let context = context(runtime.clone(), limits, reference.words())?;
    let read = tables.each_ref().map(DeltaTable::version);
    // The functions in a plan are those of the reference data that it was made with.
    let before = before.filter(|before| Arc::ptr_eq(&before.reference, reference));
    // What is made of tables that are as they were stays as it was: most commits are of one table.
    let has_changed = |at: usize| before.is_none_or(|before| before.read.get(at) != read.get(at));
    let changed: Vec<Table> =
        Table::ALL.into_iter().enumerate().filter(|(at, _)| has_changed(*at)).map(|(_, table)| table).collect();
    let same = |table: Table| before.filter(|_| !changed.contains(&table));

    let mut stored = Vec::with_capacity(Table::ALL.len());
    for (table, delta) in Table::ALL.into_iter().zip(tables) {
        let of = match same(table).and_then(|before| before.stored(table)) {
            Some(of) => of.clone(),
            None => Stored::new(table, delta, &context)?,
        };
        context.register_table(table.name(), of.provider.clone())?;
        stored.push(of);
    }
    let mut registered: Vec<(&'static str, Arc<dyn TableProvider>)> =
        stored.iter().map(|of| (of.table.name(), of.provider.clone())).collect();
    let is_new = |(name, _): &&(&'static str, _)| changed.iter().any(|table| table.name() == *name);
    let mut fresh: Vec<_> = registered.iter().filter(is_new).cloned().collect();
    for (name, table) in reference.tables() {
        context.register_table(*name, table.clone())?;
        registered.push((*name, table.clone()));
    }
    let mut parts = Vec::with_capacity(PARTS.len());
    for part in PARTS {
        let table = match before.and_then(|before| before.part(part.name)) {
            Some(same) if !changed.contains(&part.table) => same,
            of => {
                let live = match of {
                    Some(before) => Sources::new(&fresh).bind(&before.live)?,
                    None => views::plan_one(&context, part.name, part.sql).await?,
                };
                let days = stored.iter().find(|of| of.table == part.table).map(|of| of.days.clone());
                let days = days.ok_or_else(|| QueryError::Internal(format!("{} has no table", part.name)))?;
                let table = Arc::new(PartTable::new(part, live, days, kept.clone()));
                fresh.push((part.name, table.clone()));
                table
            }
        };
        context.register_table(part.name, table.clone())?;
        parts.push(table);
    }
    // Parts are made of the table itself; whoever else asks for events may get them from a part.
    if let Some(outline) = parts.iter().find(|part| part.part.name == OUTLINE) {
        for (name, table) in registered.iter_mut().filter(|(name, _)| *name == Table::Events.name()) {
            *table = Arc::new(EventsTable { events: table.clone(), outline: outline.clone() });
            fresh.iter_mut().filter(|(fresh, _)| fresh == name).for_each(|(_, fresh)| *fresh = table.clone());
            context.deregister_table(*name)?;
            context.register_table(*name, table.clone())?;
        }
    }
    let views = match before {
        Some(before) => Sources::new(&fresh).bind_views(&before.views)?,
        None => views::plan(&context).await?,
    };
    registered.extend(views.iter().map(PlannedView::table));
    let text_sizes = match same(Table::IndexedTexts) {
        Some(before) => before.text_sizes.clone(),
        None => Arc::new(sizes(Table::IndexedTexts, tables)?),
    };
    let unsearched = same(Table::Frames).and_then(|_| same(Table::IndexedRecordings));
    let unsearched = unsearched.map(|before| before.unsearched.clone()).unwrap_or_default();
    let (versions, reference) = (Versions::of(tables), reference.clone());
    Ok(Snapshot { versions, read, stored, text_sizes, unsearched, reference, parts, views, tables: registered })
}
