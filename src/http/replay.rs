//! Recordings for players in browsers: the index of one, its parts, and what it shows while it goes on.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{ConnectInfo, Path, State as Axum};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use custody_ledger::Ledger;
use custody_query::reels::Reel;
use custody_replay::encode;
use custody_replay::live::Shown;
use custody_schemas::activity::Activity;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ErrorBody, InPath, State, asked_for, by, in_path, in_query, not_known};
use crate::activity::{Ended, Entry};
use crate::reels::{Absence, Asked, Looking, Shelf, Watching};

/// Recordings whose parts are remembered, and of all of them so many parts.
const REELS_MAX: usize = 64;
const PARTS_MAX: usize = 200_000;

/// Whoever played a recording may fetch parts of it for so long before that is written down again.
const VIEWING: Duration = Duration::from_secs(3600);

/// Viewings that are remembered.
const VIEWINGS_MAX: usize = 10_000;

/// Recordings that are watched at once.
const WATCHERS_MAX: usize = 64;

/// How often it is looked whether more of a recording has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the players of this process share.
#[derive(Debug)]
pub(super) struct Replays {
    ledger: Ledger,
    /// The latest last.
    reels: Mutex<VecDeque<Arc<Reel>>>,
    viewings: Mutex<HashMap<(String, String), Instant>>,
    looking: Looking,
    watchers: Arc<Semaphore>,
}

impl Replays {
    pub(super) fn new(ledger: &Ledger) -> Self {
        Self {
            ledger: ledger.clone(),
            reels: Mutex::default(),
            viewings: Mutex::default(),
            looking: Arc::default(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn looking(&self) -> &Looking {
        &self.looking
    }

    fn known(&self, session_id: &str, run: i64) -> Option<Arc<Reel>> {
        let reels = self.reels.lock().unwrap_or_else(PoisonError::into_inner);
        reels.iter().find(|reel| reel.of.run == run && reel.frames.session_id() == session_id).cloned()
    }

    fn keep(&self, reel: &Arc<Reel>) {
        let mut reels = self.reels.lock().unwrap_or_else(PoisonError::into_inner);
        reels.retain(|kept| kept.of.run != reel.of.run || kept.frames.session_id() != reel.frames.session_id());
        reels.push_back(reel.clone());
        let mut parts: usize = reels.iter().map(|reel| reel.parts.len()).sum();
        while reels.len() > REELS_MAX || (parts > PARTS_MAX && reels.len() > 1) {
            parts -= reels.pop_front().map_or(0, |reel| reel.parts.len());
        }
    }

    /// Whether this caller views this session already, so that it is written down.
    fn is_viewing(&self, from: SocketAddr, session_id: &str) -> bool {
        let viewings = self.viewings.lock().unwrap_or_else(PoisonError::into_inner);
        let since = viewings.get(&(super::caller(from), session_id.to_owned()));
        since.is_some_and(|since| since.elapsed() < VIEWING)
    }

    fn view(&self, from: SocketAddr, session_id: &str) {
        let mut viewings = self.viewings.lock().unwrap_or_else(PoisonError::into_inner);
        if viewings.len() >= VIEWINGS_MAX {
            viewings.retain(|_, since| since.elapsed() < VIEWING);
        }
        if viewings.len() < VIEWINGS_MAX {
            viewings.insert((super::caller(from), session_id.to_owned()), Instant::now());
        }
    }
}

/// Which recording.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The kind of gateway, where several have a session of this id; else the one with the most output.
    source: Option<String>,
    /// One of the session's recordings, where its gateway makes several; else the one with the most output.
    channel: Option<String>,
}

impl Which {
    fn of(uri: &Uri) -> Result<Self, ApiError> {
        in_query(uri)
    }
}

/// What a player has to know of a recording.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayIndex {
    /// The session.
    session_id: String,
    /// Kind of gateway.
    source: String,
    /// Which of its recordings this is.
    channel: Option<String>,
    /// All of them.
    channels: Vec<Option<String>>,
    /// Time of its last piece, in microseconds since its start.
    duration_us: i64,
    /// Wall clock at its start, in microseconds since 1970.
    started_at_us: Option<i64>,
    /// Size of the terminal at its start.
    cols: u16,
    /// See `cols`.
    rows: u16,
    /// The stream says that it is over. Where it is not, more may come: `live` has it.
    ended: bool,
    /// Size of its output.
    output_bytes: i64,
    /// SHA-256 of its output, as it was recorded.
    output_sha256: String,
    /// Bytes that are not text and are shown as U+FFFD.
    replaced_bytes: i64,
    /// What is wrong with it.
    findings: Vec<ReplayFinding>,
    /// Markers: time and label.
    markers: Vec<(i64, String)>,
    /// Times of a second or more in which nothing happened: end and length.
    idle: Vec<(i64, i64)>,
    /// Its parts, one after the other.
    segments: Vec<ReplaySegment>,
    /// Where it can be watched, relative to this address.
    live: String,
}

/// Something that is wrong with a recording.
#[derive(Serialize, ToSchema)]
struct ReplayFinding {
    /// When, in microseconds since the start; null when it is about all of it.
    at_us: Option<i64>,
    /// What.
    text: String,
}

/// A part of a recording that is shown from its own beginning.
#[derive(Serialize, ToSchema)]
struct ReplaySegment {
    /// Time of its first event.
    start_us: i64,
    /// Time of its last event.
    end_us: i64,
    /// Where it is, relative to this address.
    url: String,
    /// SHA-256 over the screen that it begins with and its events.
    sha256: String,
}

impl ReplayIndex {
    fn new(reel: &Reel, channels: Vec<Option<String>>) -> Self {
        let of = &reel.of;
        let segments = reel.parts.iter().map(|part| &part.segment).enumerate();
        let segments = segments.map(|(number, segment)| ReplaySegment {
            start_us: segment.start_us,
            end_us: segment.end_us,
            url: format!("replay/{}/{number}", of.run),
            sha256: hex(&segment.sha256),
        });
        let at = of.findings_us.iter().flatten().copied().chain(std::iter::repeat(None));
        let mut live = url::form_urlencoded::Serializer::new("live?".to_owned());
        live.append_pair("source", &of.source);
        if let Some(channel) = &of.channel {
            live.append_pair("channel", channel);
        }
        let live = live.finish();
        let findings = of.findings.lines().zip(at).map(|(text, at_us)| ReplayFinding { at_us, text: text.to_owned() });
        Self {
            session_id: reel.frames.session_id().to_owned(),
            source: of.source.clone(),
            channel: of.channel.clone(),
            channels,
            duration_us: of.duration_us,
            started_at_us: of.started_at.map(|at| at.0),
            cols: of.cols,
            rows: of.rows,
            ended: of.ended,
            output_bytes: of.output_bytes,
            output_sha256: of.output_sha256.clone(),
            replaced_bytes: of.replaced_bytes,
            findings: findings.collect(),
            markers: reel.parts.iter().flat_map(|part| part.segment.markers.clone()).collect(),
            idle: reel.parts.iter().flat_map(|part| part.segment.idle.clone()).collect(),
            segments: segments.collect(),
            live,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a player needs to show a recording at any time: its length, its parts, what is wrong with it.
///
/// How far it can be trusted is told with the session, and takes longer to find out than its first screen takes to be shown.
///
/// A recording that nobody has looked through yet is looked through now.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/replay", tag = "sessions",
    params(("id" = String, Path), Which), responses(
    (status = 200, body = ReplayIndex), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 503, body = ErrorBody, description = "It is being looked through: come again")
))]
pub(super) async fn get_replay(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    id: InPath<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (id, which) = (in_path(id)?, Which::of(&uri)?);
    let (reel, channels) = did(&state, from, "replay", &id, &which, find(&state, &id, &which)).await?;
    state.replays.view(from, &id);
    Ok(Json(ReplayIndex::new(&reel, channels)).into_response())
}

/// Does something that is asked of a recording after it was written down who asked for it; what does not go well is written
/// down as well.
pub(super) async fn during<T>(
    entry: Entry,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<(T, Entry), ApiError> {
    match work.await {
        Ok(done) => Ok((done, entry)),
        Err(error) => {
            let outcome = if error.status.is_server_error() { "failed" } else { "refused" };
            entry.close(outcome, Some(error.message.clone()), Ended::default()).await;
            Err(error)
        }
    }
}

/// The same of something that may be done while that is written down, and is answered afterwards.
async fn did<T>(
    state: &State,
    from: SocketAddr,
    verb: &str,
    id: &str,
    which: &Which,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let detail = serde_json::json!({ "source": which.source, "channel": which.channel }).to_string();
    let begun = state.journal.begin(by(from, Activity { detail, ..asked_for(verb, Some(id)) }));
    let (entry, done) = tokio::join!(begun, work);
    let (done, entry) = during(entry?, std::future::ready(done)).await?;
    entry.end(Ok(Ended::default())).await;
    Ok(done)
}

/// The recording that is asked for, and which there are.
async fn find(state: &State, id: &str, which: &Which) -> Result<(Arc<Reel>, Vec<Option<String>>), ApiError> {
    let Replays { ledger, looking, .. } = state.replays.as_ref();
    let shelf = Shelf { engine: &state.engine, ledger, looking, patient: false };
    let Which { source, channel } = which;
    let asked = Asked { session_id: id, source: source.as_deref(), channel: channel.as_deref() };
    let (of, channels) = match shelf.find(asked).await {
        Ok(found) => found,
        Err(absence) => return Err(absent(state, id, absence).await?),
    };
    let reel = match state.replays.known(id, of.run) {
        Some(reel) => reel,
        None => {
            let reel = Arc::new(state.engine.reel(id, of).await?);
            state.replays.keep(&reel);
            reel
        }
    };
    Ok((reel, channels))
}

pub(super) async fn absent(state: &State, id: &str, absence: Absence) -> Result<ApiError, ApiError> {
    let message = absence.message(id);
    Ok(match absence {
        Absence::Session => not_known(state, id).await?,
        Absence::Recording | Absence::Channel(_) => ApiError::not_found(message),
        Absence::Unplayable(_) => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "unplayable", message),
        Absence::Looking => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "looking", message),
        Absence::Changed => ApiError::new(StatusCode::CONFLICT, "changed", message),
        Absence::Failed(failure) => failure.into(),
    })
}

/// A part of a recording: the screen at its beginning and its events, as `driver.js` plays them. It never changes.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/replay/{run}/{number}", tag = "sessions",
    params(("id" = String, Path), ("run" = i64, Path), ("number" = usize, Path)), responses(
    (status = 200, content_type = "application/json"), (status = 304, description = "It is what the caller has"),
    (status = 404, body = ErrorBody),
    (status = 409, body = ErrorBody, description = "The frames are not those that were looked through"),
    (status = 410, body = ErrorBody, description = "The recording was looked through again: fetch its index")
))]
pub(super) async fn get_segment(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    path: Result<Path<(String, i64, usize)>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((id, run, number)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    if !state.replays.is_viewing(from, &id) {
        did(&state, from, "replay", &id, &Which::default(), async { Ok(()) }).await?;
        state.replays.view(from, &id);
    }
    let reel = match state.replays.known(&id, run) {
        Some(reel) => reel,
        None => {
            let of = state.engine.indexed(&id).await?.into_iter().find(|of| of.run == run);
            let reel = Arc::new(state.engine.reel(&id, of.ok_or_else(gone)?).await?);
            state.replays.keep(&reel);
            reel
        }
    };
    let missing = || ApiError::not_found(format!("the recording has {} parts, from 0", reel.parts.len()));
    let part = reel.parts.get(number).ok_or_else(missing)?;
    let tag = format!("\"{}-{}\"", env!("CARGO_PKG_VERSION"), hex(&part.segment.sha256));
    let tag = HeaderValue::from_str(&tag).map_err(ApiError::internal)?;
    let kept = [
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable")),
        (header::ETAG, tag.clone()),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let Some((segment, events)) = state.engine.part(&reel, number).await? else {
        return Err(changed(&state, &id, run).await?);
    };
    let is_last = number + 1 == reel.parts.len();
    let json = tokio::task::spawn_blocking(move || encode::segment(&segment, &events, is_last));
    let json = json.await.map_err(ApiError::internal)?;
    let json = json.map_err(|error| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string()))?;
    Ok((kept, [(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// Frames that are not those that were looked through: where more have come since, it is looked again.
async fn changed(state: &State, id: &str, run: i64) -> Result<ApiError, ApiError> {
    let Replays { ledger, looking, .. } = state.replays.as_ref();
    let shelf = Shelf { engine: &state.engine, ledger, looking, patient: false };
    if let Err(absence) = shelf.look_again(id).await {
        return absent(state, id, absence).await;
    }
    if state.engine.indexed(id).await?.iter().any(|of| of.run == run) {
        return absent(state, id, Absence::Changed).await;
    }
    Ok(gone())
}

fn gone() -> ApiError {
    let message = "there is no such look at the recording, or there is a newer one: fetch its index";
    ApiError::new(StatusCode::GONE, "gone", message)
}

/// A recording while it goes on, as server-sent events for asciinema-player's `eventsource` driver.
///
/// First comes the screen as it is, `{"cols", "rows", "time", "init"}`, and again when its size changes; then
/// `[time, "o" | "i", text]`, with times in seconds since the start; at the end the event `done`. Whoever comes again with
/// `Last-Event-ID` gets the screen of then, and goes on from there.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/live", tag = "sessions",
    params(("id" = String, Path), Which, ("Last-Event-ID" = Option<String>, Header)), responses(
    (status = 200, content_type = "text/event-stream"), (status = 404, body = ErrorBody),
    (status = 503, body = ErrorBody, description = "Too many watch already")
))]
pub(super) async fn get_live(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    id: InPath<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (id, which) = (in_path(id)?, Which::of(&uri)?);
    let last = headers.get("last-event-id").and_then(|mark| mark.to_str().ok()).map(str::to_owned);
    let Ok(place) = state.replays.watchers.clone().try_acquire_owned() else {
        let message = format!("{WATCHERS_MAX} watch recordings already");
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message));
    };
    let begin = async {
        let (reel, _) = find(&state, &id, &which).await?;
        match Watching::begin(&state.engine, &reel, last.as_deref()).await {
            Ok(begun) => Ok(begun),
            Err(Absence::Changed) => Err(changed(&state, &id, reel.of.run).await?),
            Err(absence) => Err(absent(&state, &id, absence).await?),
        }
    };
    let (watching, shown) = did(&state, from, "watch", &id, &which, begin).await?;
    let mut watching = Watcher { stop: state.stop, session_id: id, watching, ahead: VecDeque::new(), _place: place };
    watching.tell(shown);
    let events = futures::stream::unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Somebody who watches.
struct Watcher {
    stop: watch::Receiver<bool>,
    session_id: String,
    watching: Watching,
    /// What is to be sent.
    ahead: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next event; `None` when it is over, and when this process ends.
    async fn next(&mut self) -> Option<Event> {
        while self.ahead.is_empty() {
            if self.watching.is_over() {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = self.stop.wait_for(|stop| *stop) => return None,
            }
            match self.watching.look().await {
                Ok(shown) => self.tell(shown),
                // Whoever watches comes again, and is then told what went wrong.
                Err(error) => {
                    tracing::warn!(%error, session = %self.session_id, "a recording cannot be watched any longer");
                    return None;
                }
            }
        }
        self.ahead.pop_front()
    }

    /// Puts what is shown into the words of the player. The last has the number from which somebody can go on.
    fn tell(&mut self, shown: Vec<Shown>) {
        let seconds = |time_us: i64| time_us as f64 / 1e6;
        let events = shown.into_iter().filter_map(|shown| {
            Some(match shown {
                Shown::Screen { time_us, size, init } => {
                    serde_json::json!({ "cols": size.cols, "rows": size.rows, "time": seconds(time_us), "init": init })
                }
                Shown::Output { time_us, text } => serde_json::json!([seconds(time_us), "o", text]),
                Shown::Input { time_us, text } => serde_json::json!([seconds(time_us), "i", text]),
                Shown::Ended => return None,
            })
        });
        self.ahead.extend(events.map(|data| Event::default().data(data.to_string())));
        if let Some(last) = self.ahead.pop_back() {
            self.ahead.push_back(last.id(self.watching.mark()));
        }
        if self.watching.is_over() {
            self.ahead.push_back(Event::default().event("done").data("{}"));
        }
    }
}
