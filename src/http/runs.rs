//! Reports over HTTP: the catalogue, runs that go on while their caller asks how far they are, samples, exceptions, packs.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{ConnectInfo, Path, Query, State as Axum};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use custody_query::format::{Format, Kept};
use custody_query::reports::{self, Ipe, Report, Rows, Value};
use custody_query::sample::Draw;
use custody_query::sessions::Time;
use custody_query::{AsOf, QueryError};
use custody_schemas::activity::Activity;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    ANSWER_BYTES_MAX, ApiError, ErrorBody, ErrorDetail, FromBody, State, answer, asked_for, by, caller, instant,
};
use crate::activity::{Ended, Entry, now};
use crate::cli::{ExceptionState, ReportOf};
use crate::evidence::{Order, chosen, make};
use crate::exit::Failure;
use crate::period::{self, Period};
use crate::report::{Step, activity, asked};

/// Runs that are remembered; the oldest that is over makes way for a new one.
const RUNS_MAX: usize = 32;
/// Bytes of rows that one run keeps to be fetched.
const ROWS_BYTES_MAX: usize = 32 << 20;

/// The runs of this process. They end with it: what they found can be found again.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<VecDeque<Arc<Running>>>);

#[derive(Debug)]
struct Running {
    id: Uuid,
    what: What,
    reports: Vec<&'static str>,
    begun_at: Time,
    judged: Arc<AtomicU64>,
    state: Mutex<RunState>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum What {
    Report,
    Sample,
    Evidence,
}

#[derive(Debug)]
enum RunState {
    Running,
    Rows { ipe: Box<Ipe>, rows: Kept },
    Pack { file: std::fs::File, bytes: u64, sha256: String },
    Failed { kind: &'static str, message: String },
    Cancelled,
}

/// How a run is doing.
#[derive(Debug, Serialize, ToSchema)]
struct RunStatus {
    /// Its id.
    id: String,
    /// What is made: a report, a sample, or an evidence pack.
    what: What,
    /// The reports that are run.
    reports: Vec<&'static str>,
    /// When it began.
    begun_at: Time,
    /// `running`, `done`, `failed`, `cancelled`.
    state: &'static str,
    /// Rows that were judged so far.
    judged: u64,
    /// What makes its rows evidence, once it is done.
    ipe: Option<Ipe>,
    /// Size of the pack, once it is done.
    pack_bytes: Option<u64>,
    /// SHA-256 of the pack, once it is done.
    pack_sha256: Option<String>,
    /// Why it failed.
    error: Option<ErrorDetail>,
}

impl Running {
    fn status(&self) -> RunStatus {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = RunStatus {
            id: self.id.to_string(),
            what: self.what,
            reports: self.reports.clone(),
            begun_at: self.begun_at,
            state: "running",
            judged: self.judged.load(Ordering::Relaxed),
            ipe: None,
            pack_bytes: None,
            pack_sha256: None,
            error: None,
        };
        match &*state {
            RunState::Running => {}
            RunState::Rows { ipe, .. } => {
                status.state = "done";
                status.ipe = Some(ipe.as_ref().clone());
            }
            RunState::Pack { bytes, sha256, .. } => {
                status.state = "done";
                status.pack_bytes = Some(*bytes);
                status.pack_sha256 = Some(sha256.clone());
            }
            RunState::Failed { kind, message } => {
                status.state = "failed";
                status.error = Some(ErrorDetail { kind, message: message.clone() });
            }
            RunState::Cancelled => status.state = "cancelled",
        }
        status
    }

    fn is_over(&self) -> bool {
        !matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), RunState::Running)
    }

    fn set(&self, to: RunState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, RunState::Running) {
            *state = to;
        }
    }
}

impl Runs {
    fn all(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Running>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, what: What, reports: Vec<&'static str>, judged: Arc<AtomicU64>) -> Result<Arc<Running>, ApiError> {
        let mut all = self.all();
        if all.len() >= RUNS_MAX {
            let over = all.iter().position(|run| run.is_over()).ok_or_else(|| {
                let message = format!("{RUNS_MAX} reports are running; wait for one, or cancel it");
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
            })?;
            all.remove(over);
        }
        let run = Arc::new(Running {
            id: Uuid::new_v4(),
            what,
            reports,
            begun_at: Time(now()),
            judged,
            state: Mutex::new(RunState::Running),
            task: Mutex::new(None),
        });
        all.push_back(run.clone());
        Ok(run)
    }

    fn find(&self, id: &str) -> Result<Arc<Running>, ApiError> {
        let found = self.all().iter().find(|run| run.id.to_string() == id).cloned();
        found.ok_or_else(|| {
            ApiError::not_found("there is no such run; runs end with the process that runs them".to_owned())
        })
    }
}

impl State {
    /// Writes down what is asked for; a run that cannot be written down is none.
    async fn begin(&self, run: &Running, activity: Activity) -> Result<Entry, ApiError> {
        let begun = self.journal.begin(activity).await;
        if begun.is_err() {
            self.runs.all().retain(|other| other.id != run.id);
        }
        Ok(begun?)
    }
}

/// Does the work of a run in the background, and writes down how it ended.
fn start(
    run: &Arc<Running>,
    entry: Entry,
    work: impl Future<Output = Result<(RunState, Ended), Failure>> + Send + 'static,
) {
    let task = tokio::spawn(work);
    *run.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    // It may have been cancelled before there was a task.
    if run.is_over() {
        task.abort();
    }
    let run = run.clone();
    tokio::spawn(async move {
        let done = match task.await {
            Ok(done) => done,
            Err(stopped) if stopped.is_cancelled() => {
                return entry.close("cancelled", None, Ended::default()).await;
            }
            Err(panic) => Err(Failure::broken(anyhow::anyhow!("a defect of Custody: {panic}"))),
        };
        entry.end(done.as_ref().map(|(_, ended)| ended.clone())).await;
        run.set(match done {
            Ok((state, _)) => state,
            Err(failure) => RunState::Failed { kind: failure.kind(), message: failure.to_string() },
        });
    });
}

/// A report of the catalogue.
#[derive(Serialize, ToSchema)]
pub(super) struct ReportDefinition {
    #[serde(flatten)]
    report: &'static Report,
    /// The file: front matter and query.
    sql: &'static str,
}

/// Which reports.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListReports {
    /// Only those that are evidence of this control, for example `CC6.3`.
    control: Option<String>,
}

/// Lists the reports.
#[utoipa::path(get, path = "/api/v1/reports", tag = "reports", params(ListReports), responses(
    (status = 200, body = Vec<Report>), (status = 400, body = ErrorBody, description = "No report is evidence of the control")
))]
pub(super) async fn list_reports(
    query: Result<Query<ListReports>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok(match asked.control {
        Some(control) => Json(reports::reports_of(&control)?).into_response(),
        None => Json(reports::catalogue()).into_response(),
    })
}

/// Tells a report's definition.
#[utoipa::path(get, path = "/api/v1/reports/{id}", tag = "reports", params(("id" = String, Path)), responses(
    (status = 200, body = ReportDefinition), (status = 404, body = ErrorBody)
))]
pub(super) async fn get_report(Path(id): Path<String>) -> Result<Json<ReportDefinition>, ApiError> {
    let report = report(&id)?;
    Ok(Json(ReportDefinition { report, sql: report.sql }))
}

fn report(id: &str) -> Result<&'static Report, ApiError> {
    reports::report(id).map_err(|error| ApiError::not_found(error.to_string()))
}

/// A period of a state of the ledger.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunQuestion {
    /// `2026-Q3`, `2026-11`, `2026-W47`, `2026`, `2026-11-16`, `2026-11-16..2026-11-23`; its end is not in it.
    period: String,
    /// What was open at this instant counts as open. By default the end of the period, or now.
    as_of: Option<String>,
    /// An earlier state of the ledger: an instant, or versions of the tables as a run tells them.
    state: Option<String>,
    /// Parameters of the report.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: BTreeMap<String, Value>,
    /// `found` (all but pass and excluded), or `all`.
    #[serde(default = "found")]
    #[schema(default = "found")]
    rows: String,
    /// A sample instead.
    sample: Option<Draw>,
}

fn found() -> String {
    "found".to_owned()
}

fn of(period: &str, as_of: Option<&str>, state: Option<&str>) -> Result<ReportOf, ApiError> {
    let period: Period = period::parse(period).map_err(ApiError::bad_request)?;
    let as_of = as_of.map(|text| instant("as_of", text)).transpose()?.map(|at| at.0);
    let state = state.map(str::parse::<AsOf>).transpose()?;
    Ok(ReportOf { period, as_of, state })
}

/// Runs a report, or draws a sample of its population. The answer comes at once; ask for the run.
#[utoipa::path(post, path = "/api/v1/reports/{id}/runs", tag = "reports", params(("id" = String, Path)),
    request_body = RunQuestion, responses(
    (status = 202, body = RunStatus, description = "It runs"), (status = 400, body = ErrorBody),
    (status = 404, body = ErrorBody), (status = 429, body = ErrorBody, description = "Too many run already")
))]
pub(super) async fn run_report(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    FromBody(question): FromBody<RunQuestion>,
) -> Result<Response, ApiError> {
    let report = report(&id)?;
    let of = of(&question.period, question.as_of.as_deref(), question.state.as_deref())?;
    let wants_all = match question.rows.as_str() {
        "found" => false,
        "all" => true,
        _ => return Err(ApiError::bad_request("rows must be found or all".to_owned())),
    };
    let asked = asked(&state.config, report, &of, question.parameters, (caller(from), now()));
    asked.check()?;
    let (what, verb) = if question.sample.is_some() { (What::Sample, "sample") } else { (What::Report, "report") };
    let run = state.runs.add(what, vec![report.id], asked.judged.clone())?;
    let entry = state.begin(&run, by(from, activity(verb, &asked))).await?;
    let engine = state.engine.clone();
    start(&run, entry, async move {
        let began = std::time::Instant::now();
        let mut batches = Vec::new();
        let (mut ipe, schema) = match question.sample {
            Some(draw) => {
                let sample = engine.sample(&asked, &draw).await?;
                let schema = sample.worksheet.schema();
                batches.push(sample.worksheet);
                (sample.run.ipe, schema)
            }
            None => {
                let mut bytes = 0;
                let wanted = if wants_all { Rows::All } else { Rows::Found };
                let run = engine
                    .report(&asked, wanted, None, &mut |batch| {
                        bytes += batch.get_array_memory_size();
                        if bytes > ROWS_BYTES_MAX {
                            let what = "what the report found; ask for a pack, or for less: it".to_owned();
                            return Err(QueryError::TooLarge { what, bytes_max: ROWS_BYTES_MAX });
                        }
                        batches.push(batch);
                        Ok(())
                    })
                    .await?;
                (run.ipe, run.schema)
            }
        };
        ipe.duration_ms = u64::try_from(began.elapsed().as_millis()).ok();
        let ended = Ended::rows(ipe.counts.population);
        Ok((RunState::Rows { ipe: Box::new(ipe), rows: Kept::new(schema, batches) }, ended))
    });
    Ok((StatusCode::ACCEPTED, Json(run.status())).into_response())
}

/// What a pack is to hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PackQuestion {
    /// Ids of reports.
    #[serde(default)]
    reports: Vec<String>,
    /// Every report that is evidence of this control.
    control: Option<String>,
    /// As of a run of a report.
    period: String,
    /// As of a run of a report.
    as_of: Option<String>,
    /// As of a run of a report.
    state: Option<String>,
    /// A sample of each report's population.
    sample: Option<Draw>,
    /// The instant that the pack says it was made at; by default now.
    prepared_at: Option<String>,
}

/// Makes an evidence pack. The answer comes at once; ask for the run, and then for its pack.
#[utoipa::path(post, path = "/api/v1/evidence", tag = "reports", request_body = PackQuestion, responses(
    (status = 202, body = RunStatus, description = "It is being made"), (status = 400, body = ErrorBody),
    (status = 429, body = ErrorBody, description = "Too many run already")
))]
pub(super) async fn make_pack(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    FromBody(question): FromBody<PackQuestion>,
) -> Result<Response, ApiError> {
    let reports = chosen(&question.reports, question.control.as_deref())
        .map_err(|failure| ApiError::bad_request(failure.to_string()))?;
    let prepared_at = question.prepared_at.as_deref().map(|text| instant("prepared_at", text)).transpose()?;
    let order = Order {
        reports,
        control: question.control,
        of: of(&question.period, question.as_of.as_deref(), question.state.as_deref())?,
        draw: question.sample,
        by: caller(from),
        at: prepared_at.map_or_else(now, |at| at.0),
    };
    let ids = order.reports.iter().map(|report| report.id).collect();
    let judged = Arc::<AtomicU64>::default();
    let run = state.runs.add(What::Evidence, ids, judged.clone())?;
    let entry = state.begin(&run, by(from, order.activity())).await?;
    let (engine, config) = (state.engine.clone(), state.config.clone());
    start(&run, entry, async move {
        // It has no name: nobody else finds it, and it is gone when it is forgotten.
        let mut file = tempfile::tempfile()?;
        make(&config, &engine, &order, &file, &judged, |_| ()).await?;
        let bytes = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        let sha256 = custody_query::evidence::sha256(&mut file)?;
        Ok((RunState::Pack { file, bytes, sha256 }, Ended::bytes(bytes)))
    });
    Ok((StatusCode::ACCEPTED, Json(run.status())).into_response())
}

/// Lists the runs of this process.
#[utoipa::path(get, path = "/api/v1/runs", tag = "reports", responses((status = 200, body = Vec<RunStatus>)))]
pub(super) async fn list_runs(Axum(state): Axum<State>) -> Response {
    let all: Vec<_> = state.runs.all().iter().map(|run| run.status()).collect();
    Json(all).into_response()
}

/// Tells how a run is doing.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "reports", params(("id" = String, Path)), responses(
    (status = 200, body = RunStatus), (status = 404, body = ErrorBody)
))]
pub(super) async fn get_run(Axum(state): Axum<State>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(state.runs.find(&id)?.status()).into_response())
}

/// Stops a run, and forgets it.
#[utoipa::path(delete, path = "/api/v1/runs/{id}", tag = "reports", params(("id" = String, Path)), responses(
    (status = 204, description = "It is gone"), (status = 404, body = ErrorBody)
))]
pub(super) async fn cancel_run(Axum(state): Axum<State>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let run = state.runs.find(&id)?;
    run.set(RunState::Cancelled);
    if let Some(task) = run.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
        task.abort();
    }
    state.runs.all().retain(|other| other.id != run.id);
    Ok(StatusCode::NO_CONTENT)
}

/// How rows are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RowsOf {
    /// `json`, `ndjson`, `csv`, `arrow` or `parquet`.
    format: Option<String>,
}

/// Gives the rows of a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/rows", tag = "reports", params(("id" = String, Path), RowsOf), responses(
    (status = 200, description = "The rows", content_type = "application/json"), (status = 404, body = ErrorBody),
    (status = 409, body = ErrorBody, description = "It is not done, or has none")
))]
pub(super) async fn get_rows(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    query: Result<Query<RowsOf>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let format = super::format(asked.format.as_deref().unwrap_or("json"))?;
    let run = state.runs.find(&id)?;
    let kept = match &*run.state.lock().unwrap_or_else(PoisonError::into_inner) {
        RunState::Rows { rows, .. } => rows.clone(),
        _ => return Err(ApiError::new(StatusCode::CONFLICT, "state", "the run is not done, or has no rows")),
    };
    // Whoever orders a report, and whoever takes it, may be two.
    state.journal.begin(by(from, Activity { outcome: Some("done"), ..asked_for("rows", Some(&id)) })).await?;
    let rows = kept.write(Vec::new(), format).map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()))], rows).into_response())
}

/// Gives the pack of a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/pack", tag = "reports", params(("id" = String, Path)), responses(
    (status = 200, description = "A zip", content_type = "application/zip"), (status = 404, body = ErrorBody),
    (status = 409, body = ErrorBody, description = "It is not done, or is none"),
    (status = 413, body = ErrorBody, description = "It is too large; `custody evidence` writes it to a file")
))]
pub(super) async fn get_pack(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let run = state.runs.find(&id)?;
    let pack = {
        let state = run.state.lock().unwrap_or_else(PoisonError::into_inner);
        let RunState::Pack { file, bytes, .. } = &*state else {
            return Err(ApiError::new(StatusCode::CONFLICT, "state", "the run is not done, or makes no pack"));
        };
        if *bytes > ANSWER_BYTES_MAX as u64 {
            return Err(QueryError::TooLarge { what: "the pack".to_owned(), bytes_max: ANSWER_BYTES_MAX }.into());
        }
        let mut file = file.try_clone().map_err(ApiError::internal)?;
        let mut pack = Vec::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut pack)).map_err(ApiError::internal)?;
        pack
    };
    // Only what was given is written down as given.
    state.journal.begin(by(from, Activity { outcome: Some("done"), ..asked_for("pack", Some(&id)) })).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"custody-evidence.zip\"")),
    ];
    Ok((headers, pack).into_response())
}

/// Which exceptions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListExceptions {
    /// Only of this report.
    report: Option<String>,
    /// Every step, not only the latest of each.
    #[serde(default)]
    history: bool,
}

/// Lists what was said of exceptions.
#[utoipa::path(get, path = "/api/v1/exceptions", tag = "reports", params(ListExceptions), responses(
    (status = 200, description = "Steps: report, key, state, note, by, at"), (status = 404, body = ErrorBody)
))]
pub(super) async fn list_exceptions(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    query: Result<Query<ListExceptions>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let of = asked.report.as_deref().map(report).transpose()?;
    let sql = crate::report::exceptions_sql(of.map(|report| report.id), asked.history);
    let work = async { Ok(answer(&state, &sql, AsOf::Newest, state.bounds, Format::Json).await?) };
    state.during(from, asked_for("exceptions", of.map(|report| report.id)), work).await
}

/// A step in the life of an exception.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExceptionStep {
    /// The report.
    report: String,
    /// The row: its `key`.
    key: String,
    /// What it is from now on.
    state: ExceptionState,
    /// Why, in words.
    why: String,
}

/// Adds a step to the life of an exception. It stays on its report, with what is said of it.
#[utoipa::path(post, path = "/api/v1/exceptions", tag = "reports", request_body = ExceptionStep, responses(
    (status = 204, description = "It is written down"), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)
))]
pub(super) async fn set_exception(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    FromBody(asked): FromBody<ExceptionStep>,
) -> Result<StatusCode, ApiError> {
    let step = Step { report: report(&asked.report)?.id, key: asked.key, state: asked.state.as_str(), why: asked.why };
    step.check()?;
    state.journal.did(by(from, step.activity(caller(from)))).await?;
    Ok(StatusCode::NO_CONTENT)
}
