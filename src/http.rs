//! The HTTP face: health, metrics, and the API that `GET /api/v1/openapi.json` describes.
//!
//! Every answer is computed from the ledger at the moment it is asked for; `x-custody-versions` says from which versions
//! of the tables. Errors have one shape everywhere: `{"error": {"kind", "message"}}`.

mod dead_letters;
mod export;
mod overview;
mod pipeline;
mod remembered;
mod replay;
mod requests;
mod runs;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRef, FromRequest, Path, Query, Request, State as Axum};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use custody_ingest::Health;
use custody_ledger::Ledger;
use custody_query::format::{Format, RowWriter};
use custody_query::overview::{Overview, Weeks};
use custody_query::pipeline::Arrival;
use custody_query::search::{Pattern, Search};
use custody_query::sessions::{SessionDetail, SessionFilter, SessionPage, Time};
use custody_query::{AsOf, Bounds, Engine, PAGE_ROWS_MAX, QueryError, Versions};
use custody_replay::{Recording, encode};
use custody_schemas::activity::Activity;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::activity::{Ended, Journal};
use crate::config::Config;
use crate::exit::Failure;
use crate::{search, shutdown};

use self::remembered::Remembered;

/// A request may be this long: a statement of SQL, not a document.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// An answer is put together in memory, so that a failure half-way is still an error and not a torn answer.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Rows of a page when the question does not say.
const PAGE_ROWS: usize = 100;
/// The versions of the tables that an answer was made from.
const VERSIONS: HeaderName = HeaderName::from_static("x-custody-versions");
/// `true` when rows were cut off.
const TRUNCATED: HeaderName = HeaderName::from_static("x-custody-truncated");

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct State {
    engine: Arc<Engine>,
    bounds: Bounds,
    config: Arc<Config>,
    journal: Journal,
    runs: Arc<runs::Runs>,
    replays: Arc<replay::Replays>,
    overviews: Arc<Remembered<(u32, chrono::NaiveDate), Overview>>,
    weeks: Arc<Remembered<chrono::NaiveDate, Weeks>>,
    arrivals: Arc<Remembered<(), Arrival>>,
    operation: Operation,
    /// Answers that go on end when this is true.
    stop: watch::Receiver<bool>,
}

/// What is told of a process, whatever it does.
#[derive(Clone)]
pub(crate) struct Operation {
    /// Of a process that answers questions.
    engine: Option<Arc<Engine>>,
    /// Of a process that ingests.
    health: Option<Health>,
    metrics: PrometheusHandle,
}

/// Days are over once a day, and their files change while they are put together.
const KEEP_EVERY: Duration = Duration::from_secs(600);

impl State {
    /// Opens the ledger for questions. `health` is that of an ingest in the same process, if there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub(crate) async fn open(
        config: &Config,
        ledger: &Ledger,
        health: Option<Health>,
        metrics: PrometheusHandle,
    ) -> Result<Self, Failure> {
        let engine = Arc::new(Engine::open(ledger, config.limits(), &config.vocabulary()).await?);
        Ok(Self {
            bounds: config.bounds(),
            config: Arc::new(config.clone()),
            journal: Journal::open(config, ledger, "http").await?,
            runs: Arc::default(),
            replays: Arc::new(replay::Replays::new(ledger)),
            overviews: Arc::default(),
            weeks: Arc::default(),
            arrivals: Arc::default(),
            stop: watch::channel(false).1,
            operation: Operation { engine: Some(engine.clone()), health, metrics },
            engine,
        })
    }

    /// What answers.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.engine.clone()
    }

    /// Does something between writing down who asked for it and how it ended.
    async fn during<T>(
        &self,
        from: SocketAddr,
        activity: Activity,
        work: impl Future<Output = Result<(T, Ended), Failure>>,
    ) -> Result<T, ApiError> {
        Ok(self.journal.during(by(from, activity), work).await?)
    }
}

/// What somebody asks for. Nobody is asked who they are, so it is where they come from.
fn by(from: SocketAddr, activity: Activity) -> Activity {
    Activity { actor: caller(from), remote_addr: Some(from.to_string()), ..activity }
}

fn caller(from: SocketAddr) -> String {
    format!("http {}", from.ip())
}

/// Something that is asked for.
fn asked_for(verb: &str, object: Option<&str>) -> Activity {
    Activity { verb: verb.to_owned(), object: object.map(str::to_owned), ..Activity::default() }
}

/// A body of JSON, whose errors have the same shape as everything else's.
struct FromBody<T>(T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequest<S> for FromBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = <Json<T> as FromRequest<S>>::from_request(request, state).await;
        let Json(body) =
            body.map_err(|error| ApiError { status: error.status(), kind: "request", message: error.body_text() })?;
        Ok(Self(body))
    }
}

impl FromRef<State> for Operation {
    fn from_ref(state: &State) -> Self {
        state.operation.clone()
    }
}

impl Operation {
    /// That of a process that answers no questions.
    pub(crate) fn of(health: Option<Health>, metrics: PrometheusHandle) -> Self {
        Self { engine: None, health, metrics }
    }
}

/// Serves health and metrics of a process that answers no questions, until asked to stop.
pub(crate) async fn serve_operation(
    listener: TcpListener,
    operation: Operation,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "health and metrics");
    let router = axum::Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(harden))
        .with_state(operation);
    axum::serve(listener, router).with_graceful_shutdown(shutdown::wait(stop)).await?;
    Ok(())
}

/// Serves until asked to stop.
pub(crate) async fn serve(listener: TcpListener, state: State, stop: watch::Receiver<bool>) -> Result<(), Failure> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving");
    let keeping = keep(state.engine(), stop.clone());
    let mut router = router(State { stop: stop.clone(), ..state });
    if address.ip().is_loopback() {
        router = router.layer(middleware::from_fn(only_local_names));
    }
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(shutdown::wait(stop));
    tokio::try_join!(async { Ok(serving.await?) }, keeping).map(drop)
}

/// Keeps what days that are over say of their sessions, until asked to stop.
async fn keep(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
    loop {
        tokio::select! {
            // Reports are the same without, and take longer.
            kept = async { engine.keep(&mut |_| ()).await } => if let Err(error) = kept {
                tracing::warn!(%error, "what past days say of their sessions could not be kept in query.cache");
            },
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        tokio::select! {
            () = tokio::time::sleep(KEEP_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Custody", description = "The chain of custody of privileged access"),
    tags((name = "sessions", description = "Sessions, their reasons and approvers"), (name = "requests", description = "Access requests, their reviews, the sessions that used them"),
        (name = "overview", description = "What there is to see at a glance"),
        (name = "pipeline", description = "Whether what is sent arrives"), (name = "sql", description = "Questions"),
        (name = "reports", description = "The report catalogue, runs, exceptions, evidence packs"))
)]
struct Api;

fn router(state: State) -> axum::Router {
    let (router, api) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(list_sessions))
        .routes(routes!(get_session))
        .routes(routes!(get_recording))
        .routes(routes!(export::get_export))
        .routes(routes!(replay::get_replay))
        .routes(routes!(replay::get_segment))
        .routes(routes!(replay::get_live))
        .routes(routes!(overview::get_overview))
        .routes(routes!(overview::get_weeks))
        .routes(routes!(requests::list_requests))
        .routes(routes!(requests::get_request))
        .routes(routes!(pipeline::get_pipeline))
        .routes(routes!(dead_letters::list_dead_letters))
        .routes(routes!(dead_letters::get_dead_letter))
        .routes(routes!(dead_letters::get_dead_letter_bytes))
        .routes(routes!(post_sql))
        .routes(routes!(post_search))
        .routes(routes!(runs::list_reports))
        .routes(routes!(runs::get_report))
        .routes(routes!(runs::run_report))
        .routes(routes!(runs::make_pack))
        .routes(routes!(runs::list_runs))
        .routes(routes!(runs::get_run, runs::cancel_run))
        .routes(routes!(runs::get_rows))
        .routes(routes!(runs::get_pack))
        .routes(routes!(runs::list_exceptions, runs::set_exception))
        .split_for_parts();
    router
        .route("/api/v1/openapi.json", get(move || std::future::ready(Json(api.clone()))))
        .fallback(web::serve)
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let message = format!("{method} is not what {} answers to", uri.path());
            ApiError { status: StatusCode::METHOD_NOT_ALLOWED, kind: "request", message }
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(harden))
        .with_state(state)
}

/// What is shown comes from hostile input: nobody is to guess types, frame it, or keep it.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'"));
    response
}

/// On a loopback address only local names are answered: a web page whose name its owner points at 127.0.0.1 (DNS
/// rebinding) would otherwise read the ledger through the browser of whoever opens it.
pub(crate) async fn only_local_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| match port.parse::<u16>() {
        Ok(_) => name,
        Err(_) => host,
    });
    if name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    {
        return next.run(request).await;
    }
    ApiError {
        status: StatusCode::MISDIRECTED_REQUEST,
        kind: "host",
        message: "Custody listens on a loopback address and answers to localhost only".to_owned(),
    }
    .into_response()
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, description = "It does")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// How the parts are doing.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// Whether every part answers.
    ready: bool,
    /// The parts: `ledger`, and in a process that ingests `kafka` and `store`.
    #[schema(value_type = Vec<Object>)]
    parts: Vec<serde_json::Value>,
}

/// Whether questions can be answered, and messages taken in where this process ingests.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, body = Readiness, description = "Every part answers"),
    (status = 503, body = Readiness, description = "Some part does not, and why")
))]
async fn readyz(Axum(operation): Axum<Operation>) -> (StatusCode, Json<Readiness>) {
    let (mut ready, mut parts) = (true, Vec::new());
    if let Some(engine) = &operation.engine {
        let ledger = engine.versions().await;
        ready = ledger.is_ok();
        parts.push(match ledger {
            Ok(_) => serde_json::json!({ "component": "ledger", "state": "up" }),
            Err(error) => serde_json::json!({ "component": "ledger", "state": "down", "why": error.to_string() }),
        });
    }
    if let Some(health) = &operation.health {
        ready &= health.is_ready();
        for (component, how) in health.get() {
            let mut part = serde_json::json!(how);
            if let Some(part) = part.as_object_mut() {
                part.insert("component".to_owned(), serde_json::json!(component));
            }
            parts.push(part);
        }
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, parts }))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, content_type = "text/plain")))]
async fn metrics(Axum(operation): Axum<Operation>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (headers, operation.metrics.render()).into_response()
}

/// Which sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListSessions {
    /// Of this user: an account, or a person with whatever accounts are theirs.
    actor: Option<String>,
    /// On this target.
    target: Option<String>,
    /// `running`, `ended` or `unknown`.
    state: Option<String>,
    /// Under this access request.
    request: Option<String>,
    /// Linked in this way: `explicit`, `gateway_review`, `policy`, `ticket`, `inferred`, `none`.
    link: Option<String>,
    /// Whose reason or ticket contains this text.
    reason: Option<String>,
    /// To which this person said yes.
    approver: Option<String>,
    /// At this kind of gateway: `teleport`, `boundary`, `hoop`, ...
    gateway: Option<String>,
    /// Whose recording is here (`recorded`), stored elsewhere (`announced`), or neither (`none`).
    recording: Option<String>,
    /// That a finding is about (see the view `findings`): `open` for those that are not over and that nobody has dealt with, a
    /// report (`R02`) for those of it that are not over, `any`.
    finding: Option<String>,
    /// Began at or after this instant (RFC 3339).
    from: Option<String>,
    /// Began before this instant (RFC 3339).
    to: Option<String>,
    /// Sessions of a page, 1 to 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// Sessions, newest first, with what gave access to them.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(ListSessions), responses(
    (status = 200, body = SessionPage), (status = 400, body = ErrorBody)
))]
async fn list_sessions(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    uri: Uri,
) -> Result<Json<SessionPage>, ApiError> {
    let asked: ListSessions = in_query(&uri)?;
    let limit = page_rows(asked.limit)?;
    let filter = SessionFilter {
        actor: asked.actor,
        target: asked.target,
        state: asked.state,
        request_id: asked.request,
        link_method: asked.link,
        reason: asked.reason,
        approver: asked.approver,
        source: asked.gateway,
        recording: asked.recording,
        finding: asked.finding,
        from: asked.from.as_deref().map(|text| instant("from", text)).transpose()?,
        to: asked.to.as_deref().map(|text| instant("to", text)).transpose()?,
        after: asked.after,
    };
    let detail = serde_json::json!({ "query": uri.query() }).to_string();
    let work = async {
        let page = state.engine.sessions(&filter, limit).await?;
        let count = page.sessions.len() as u64;
        Ok((Json(page), Ended::rows(count)))
    };
    state.during(from, Activity { detail, ..asked_for("sessions", None) }, work).await
}

/// What stands in a path, if it is what is expected there.
type InPath<T> = Result<Path<T>, PathRejection>;

fn in_path<T>(of: InPath<T>) -> Result<T, ApiError> {
    let Path(of) = of.map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok(of)
}

/// What stands behind the question mark.
fn in_query<T: serde::de::DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let Query(of) = Query::try_from_uri(uri).map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok(of)
}

/// How many rows a page is to have.
fn page_rows(asked: Option<usize>) -> Result<usize, ApiError> {
    let limit = asked.unwrap_or(PAGE_ROWS);
    if !(1..=PAGE_ROWS_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit must be from 1 to {PAGE_ROWS_MAX}")));
    }
    Ok(limit)
}

/// A file that a browser saves under this name, whatever is in it.
fn attachment(name: &str) -> HeaderValue {
    let safe = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let name: String = name.chars().map(|letter| if safe(letter) { letter } else { '_' }).take(200).collect();
    HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).unwrap_or(HeaderValue::from_static("attachment"))
}

/// Everything known of one session.
#[utoipa::path(get, path = "/api/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path)), responses(
    (status = 200, body = SessionDetail), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)
))]
async fn get_session(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    id: InPath<String>,
) -> Result<Json<SessionDetail>, ApiError> {
    let id = in_path(id)?;
    let work = async {
        let found = state.engine.session(&id).await?;
        let count = u64::from(found.is_some());
        Ok((found, Ended::rows(count)))
    };
    match state.during(from, asked_for("show", Some(&id)), work).await? {
        Some(session) => Ok(Json(session)),
        None => Err(not_known(&state, &id).await?),
    }
}

/// Says that nobody knows a session, and which are like it.
async fn not_known(state: &State, id: &str) -> Result<ApiError, ApiError> {
    let like = state.engine.like(id).await?;
    let like = if like.is_empty() { String::new() } else { format!("; like it are {}", like.join(", ")) };
    Ok(ApiError::not_found(format!("no session {id:?} is in the ledger{like}")))
}

/// The recording of a session as asciicast version 2.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/recording.cast", tag = "sessions", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/x-asciicast"), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn get_recording(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    id: InPath<String>,
) -> Result<Response, ApiError> {
    let id = in_path(id)?;
    let work = async {
        let session = state.engine.session(&id).await?.map(|session| session.linked.session);
        let Some(session) = session.filter(|session| session.output_bytes > 0) else {
            return Ok((None, Ended::default()));
        };
        let frames = state.engine.frames(&session.source, &id).await?;
        let mut cast = Vec::new();
        encode::asciicast_v2(&Recording::from_frames(id.as_str(), frames), &mut cast)?;
        let bytes = cast.len() as u64;
        Ok((Some(cast), Ended::bytes(bytes)))
    };
    let cast = state.during(from, asked_for("export", Some(&id)), work).await?;
    let missing = || ApiError::not_found(format!("no recording of a session {id:?} is in the ledger"));
    let cast = cast.ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/x-asciicast")], cast).into_response())
}

/// A question.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SqlQuestion {
    /// One SELECT, SHOW, DESCRIBE or EXPLAIN.
    sql: String,
    /// `json` (an array of objects), `ndjson`, `csv`, `arrow` (an IPC stream), or `parquet` (a file).
    #[serde(default = "default_format")]
    #[schema(default = "json")]
    format: String,
    /// At most this many rows; the server's own bound holds too.
    rows_max: Option<usize>,
    /// An earlier state of the ledger: an instant, or versions of the tables as `x-custody-versions` tells them.
    state: Option<String>,
}

fn default_format() -> String {
    Format::Json.as_str().to_owned()
}

/// Answers a question in SQL, read-only and bounded.
///
/// `x-custody-truncated: true` says that rows were cut off, `x-custody-versions` which versions of the tables were read.
#[utoipa::path(post, path = "/api/v1/sql", tag = "sql", request_body = SqlQuestion, responses(
    (status = 200, description = "The rows", content_type = "application/json"),
    (status = 400, body = ErrorBody, description = "The question is wrong"),
    (status = 403, body = ErrorBody, description = "The question asks for more than reading"),
    (status = 408, body = ErrorBody, description = "It takes too long"),
    (status = 413, body = ErrorBody, description = "The answer, or the memory that it needs, is too large")
))]
async fn post_sql(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    FromBody(asked): FromBody<SqlQuestion>,
) -> Result<Response, ApiError> {
    let format = format(&asked.format)?;
    let as_of = asked.state.as_deref().map(str::parse).transpose()?.unwrap_or_default();
    let rows = match (asked.rows_max, state.bounds.rows) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (asked, most) => asked.or(most),
    };
    let work = async { Ok(answer(&state, &asked.sql, as_of, Bounds { rows, ..state.bounds }, format).await?) };
    state.during(from, Activity { sql: Some(asked.sql.clone()), ..asked_for("sql", None) }, work).await
}

/// The rows of an answer, put together in memory.
async fn answer(
    state: &State,
    sql: &str,
    as_of: AsOf,
    bounds: Bounds,
    format: Format,
) -> Result<(Response, Ended), QueryError> {
    let internal = |error: std::io::Error| QueryError::Internal(error.to_string());
    let mut stream = state.engine.query_as_of(sql, as_of, bounds).await?;
    // A column may have a type that the format does not know.
    let cannot = |error: std::io::Error| QueryError::Invalid(format!("no {}: {error}", format.as_str()));
    let mut writer = RowWriter::new(Vec::new(), format, &stream.schema()).map_err(cannot)?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(internal)?;
        if writer.get_mut().len() > ANSWER_BYTES_MAX {
            return Err(QueryError::TooLarge { what: "the answer".to_owned(), bytes_max: ANSWER_BYTES_MAX });
        }
    }
    let answer = writer.finish().map_err(internal)?;
    let ended = Ended { rows: Some(rows), bytes: Some(answer.len() as u64), cut: stream.truncated() };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(format.media_type())),
        (VERSIONS, versions(stream.versions())),
        (TRUNCATED, HeaderValue::from_static(if stream.truncated() { "true" } else { "false" })),
    ];
    Ok(((headers, answer).into_response(), ended))
}

/// What is looked for, and where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchQuestion {
    /// A text. Where it has no capital letter, those of what is looked through do not count. Either this or `regex`.
    text: Option<String>,
    /// A regular expression.
    regex: Option<String>,
    /// Only in this session.
    session: Option<String>,
    /// Only in sessions of this person.
    user: Option<String>,
    /// Only in sessions on this target.
    target: Option<String>,
    /// Only in sessions of this gateway: its name, or its kind.
    gateway: Option<String>,
    /// Only what came onto the screen at or after this instant (RFC 3339).
    from: Option<String>,
    /// Only what came onto the screen before it.
    to: Option<String>,
    /// At most this many hits, 1 to 10000.
    limit: Option<usize>,
}

/// Hits that one search gives at most.
const HITS_MAX: usize = 10_000;

/// Finds text that was on the screen of recorded sessions.
///
/// The answer comes as it is found, an object a line: `{"hit": ...}`, `{"progress": ...}`, and at last `{"end": ...}` or
/// `{"error": ...}`; without one of these two it is torn.
#[utoipa::path(post, path = "/api/v1/search", tag = "sessions", request_body = SearchQuestion, responses(
    (status = 200, body = search::Found, content_type = "application/x-ndjson"), (status = 400, body = ErrorBody)
))]
async fn post_search(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    FromBody(asked): FromBody<SearchQuestion>,
) -> Result<Response, ApiError> {
    let limit = asked.limit.unwrap_or(1000);
    if !(1..=HITS_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit must be from 1 to {HITS_MAX}")));
    }
    let pattern = match (asked.text, asked.regex) {
        (Some(text), None) => Pattern::Text(text),
        (None, Some(regex)) => Pattern::Regex(regex),
        _ => return Err(ApiError::bad_request("say what to look for: either text or regex")),
    };
    let search_for = Search {
        pattern,
        session_id: asked.session,
        actor: asked.user,
        target: asked.target,
        gateway: asked.gateway,
        from: asked.from.as_deref().map(|text| instant("from", text)).transpose()?,
        to: asked.to.as_deref().map(|text| instant("to", text)).transpose()?,
    };
    search_for.check()?;
    let detail = serde_json::json!({ "search": format!("{search_for:?}") }).to_string();
    let activity = Activity { detail, ..asked_for("search", search_for.session_id.as_deref()) };
    let entry = state.journal.begin(by(from, activity)).await?;
    let (to, found) = mpsc::channel(64);
    tokio::spawn(async move {
        let done = search::search(&state.engine, search_for, limit, state.bounds.time, &to).await;
        drop(to);
        let done = done.map_err(Failure::from);
        entry.end(done.as_ref().map(Clone::clone)).await;
    });
    let lines = futures::stream::unfold(found, |mut found| async move {
        let line = serde_json::to_string(&found.recv().await?);
        Some((line.map(|line| line + "\n"), found))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, axum::body::Body::from_stream(lines)).into_response())
}

/// The format of a name, of those that programs read.
fn format(name: &str) -> Result<Format, ApiError> {
    let known = Format::from_name(name).filter(|format| *format != Format::Table);
    known.ok_or_else(|| ApiError::bad_request("format must be json, ndjson, csv, arrow or parquet".to_owned()))
}

fn versions(versions: Versions) -> HeaderValue {
    HeaderValue::from_str(&versions.to_string()).unwrap_or(HeaderValue::from_static(""))
}

fn instant(name: &str, text: &str) -> Result<Time, ApiError> {
    match custody_schemas::time::parse_rfc3339(text) {
        Some(custody_schemas::time::Parsed::At(at)) => Ok(Time(at)),
        _ => Err(ApiError::bad_request(format!("{name} must be an instant like 2026-11-02T09:00:00Z"))),
    }
}

/// The shape of every error.
#[derive(Serialize, ToSchema)]
struct ErrorBody {
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorDetail {
    /// A word for programs.
    kind: &'static str,
    /// A sentence for people.
    message: String,
}

/// An error on its way out.
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request", message)
    }

    pub(crate) fn not_found(message: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, kind: "not_found", message }
    }

    fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "an answer could not be written");
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", message: "see the server's log".to_owned() }
    }
}

/// Status and word for programs of what went wrong with a question.
pub(crate) fn kind_of(error: &QueryError) -> (StatusCode, &'static str) {
    match error {
        QueryError::Invalid(_) => (StatusCode::BAD_REQUEST, "query"),
        QueryError::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
        QueryError::Timeout(_) => (StatusCode::REQUEST_TIMEOUT, "timeout"),
        QueryError::Resources(_) | QueryError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        QueryError::Gone(_) => (StatusCode::GONE, "gone"),
        QueryError::Reference(_) => (StatusCode::SERVICE_UNAVAILABLE, "reference"),
        QueryError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
        QueryError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let (status, kind) = kind_of(&error);
        if status.is_server_error() {
            tracing::error!(%error, "a question could not be answered");
        }
        Self { status, kind, message: error.to_string() }
    }
}

/// What a query could not do keeps its status; everything else is the server's own trouble.
impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure.into_query_error() {
            Ok(error) => error.into(),
            Err(failure) if failure.is_refusal() => Self::bad_request(failure.to_string()),
            Err(failure) => {
                tracing::error!(error = %failure, "a question could not be answered");
                let message = failure.to_string();
                Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "store", message }
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: ErrorDetail { kind: self.kind, message: self.message } };
        (self.status, Json(body)).into_response()
    }
}
