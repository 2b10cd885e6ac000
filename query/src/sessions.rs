//! Sessions as typed values: pages of them, everything known of one, and its frames.
//!
//! What is asked for is bound as values; no word of a question becomes part of an SQL text.

use std::collections::{BTreeMap, HashMap};

use arrow::array::AsArray;
use arrow::record_batch::RecordBatch;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use custody_schemas::columns::read_frames;
use custody_schemas::frame::Frame;
use custody_schemas::table::Table;
use custody_schemas::time::{Micros, Parsed, parse_rfc3339, to_rfc3339};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::{coalesce, lower, strpos};
use datafusion::functions_nested::expr_fn::{array_has, array_to_string};
use datafusion::logical_expr::{Expr, JoinType, Operator, SortExpr, binary_expr, col, ident, lit};
use futures::StreamExt;
use futures::future::BoxFuture;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::engine::{AsOf, Bounds, Engine, Reading, Versions};
use crate::error::QueryError;
use crate::format;
use crate::functions::is_one_of;
use crate::narrowed::{NARROWED_MAX, any_of};
use crate::reels::RecordingState;

/// An instant in microseconds since the Unix epoch, UTC; RFC 3339 when it is written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Time(pub Micros);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&to_rfc3339(self.0))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match parse_rfc3339(&text) {
            Some(Parsed::At(at)) => Ok(Self(at)),
            _ => Err(D::Error::custom(format!("{text:?} is not an RFC 3339 time"))),
        }
    }
}

/// A list that is null in SQL is empty here.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Which sessions a page shows. Everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Who opened it, exactly: an account, or a person with whatever accounts are theirs.
    pub actor: Option<String>,
    /// What it was opened to, exactly.
    pub target: Option<String>,
    /// `running`, `ended` or `unknown`.
    pub state: Option<String>,
    /// Started at this time or later.
    pub from: Option<Time>,
    /// Started before this time.
    pub to: Option<Time>,
    /// Linked to this access request, by whatever method.
    pub request_id: Option<String>,
    /// This text stands in the reason of a link or in a ticket of it, upper or lower case.
    pub reason: Option<String>,
    /// Has a link of this method (`explicit`, `policy`, `ticket`, `inferred`), or is without any (`none`).
    pub link_method: Option<String>,
    /// Somebody of this name, exactly, said yes.
    pub approver: Option<String>,
    /// Kind of gateway.
    pub source: Option<String>,
    /// `recorded`, `announced` or `none`.
    pub recording: Option<String>,
    /// A finding is about it: `open` for those that are not over and that nobody has dealt with, the name of a report for
    /// those of it that are not over, `any`.
    pub finding: Option<String>,
    /// The cursor that the page before gave.
    pub after: Option<String>,
}

/// A session that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct FoundSession {
    pub(crate) key: String,
    pub(crate) session_id: String,
}

pub(crate) fn keys_of(found: &[FoundSession]) -> Expr {
    is_one_of(ident("key"), found.iter().map(|of| of.key.as_str()))
}

/// The largest number of sessions on a page.
pub const PAGE_SESSIONS_MAX: usize = 1000;

/// The largest number of events that a session's timeline shows.
pub const TIMELINE_EVENTS_MAX: usize = 1000;

/// The largest recording that is loaded, in bytes of its frames.
pub const RECORDING_BYTES_MAX: usize = 256 << 20;

/// The largest number of announced recordings that one look gives.
const ANNOUNCED_MAX: usize = 1000;

/// A recording that a gateway has stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Announced {
    /// The session.
    pub session_id: String,
    /// The gateway's ids of its recordings.
    #[serde(deserialize_with = "list")]
    pub recording_ids: Vec<String>,
}

/// A page of sessions, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionPage {
    /// The sessions with their links.
    pub sessions: Vec<LinkedSession>,
    /// Cursor of the next page; `None` on the last.
    pub next: Option<String>,
    /// What the page is made from.
    pub versions: Versions,
}

/// A session and what gave access to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LinkedSession {
    /// The session.
    #[serde(flatten)]
    pub session: Session,
    /// Its links; one of method `none` when there is no other.
    pub links: Vec<Link>,
}

/// A row of the view `sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Kind of gateway.
    pub source: String,
    /// The gateway.
    pub cluster: Option<String>,
    /// The gateway's id of the session.
    pub session_id: String,
    /// The account that opened it.
    pub actor: Option<String>,
    /// Whose that is, by the identity table; the account itself where nothing else is known.
    pub person: Option<String>,
    /// `human`, `bot` or `system`.
    pub actor_kind: Option<String>,
    /// Everyone who was in it.
    #[serde(deserialize_with = "list")]
    pub participants: Vec<String>,
    /// Account on the target.
    pub login: Option<String>,
    /// What it was opened to.
    pub target: Option<String>,
    /// What the target is.
    pub target_kind: Option<String>,
    /// How it was reached.
    pub protocol: Option<String>,
    /// The reason given for the session itself.
    pub reason: Option<String>,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// From beginning to end, in milliseconds.
    pub duration_ms: Option<i64>,
    /// `running`, `ended` or `unknown`.
    pub state: String,
    /// The access requests that its events carry.
    #[serde(deserialize_with = "list")]
    pub request_ids: Vec<String>,
    /// Ids that callers gave their requests at the gateway.
    #[serde(deserialize_with = "list")]
    pub correlation_ids: Vec<String>,
    /// The gateway says that the recording is stored.
    pub uploaded: bool,
    /// `recorded`, `announced` or `none`.
    pub recording: String,
    /// Number of frames.
    pub frames: i64,
    /// Bytes that the terminal showed.
    pub output_bytes: i64,
}

/// A row of the view `session_access`, without the session's own columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// `explicit`, `policy`, `ticket`, `inferred` or `none`.
    pub link_method: String,
    /// What the link rests on, in words.
    pub link_facts: Option<String>,
    /// The events that it rests on.
    #[serde(deserialize_with = "list")]
    pub link_event_ids: Vec<String>,
    /// The access request.
    pub request_id: Option<String>,
    /// The policy decision.
    pub decision_id: Option<String>,
    /// Why access was asked for.
    pub reason: Option<String>,
    /// Whose words the reason is.
    pub reason_by: Option<String>,
    /// Who said yes.
    #[serde(deserialize_with = "list")]
    pub approvers: Vec<String>,
    /// When.
    pub approved_at: Option<Time>,
    /// Until when.
    pub access_expires_at: Option<Time>,
    /// Tickets that the reason or the decision names.
    #[serde(deserialize_with = "list")]
    pub tickets: Vec<String>,
    /// Approved no later than the session's start.
    pub approved_before_start: Option<bool>,
    /// Ended no later than the access did.
    pub ended_within_window: Option<bool>,
}

/// A row of the view `access_requests`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessRequest {
    /// The gateway's id of the request.
    pub request_id: String,
    /// Who asked.
    pub requester: Option<String>,
    /// For which roles.
    #[serde(deserialize_with = "list")]
    pub roles: Vec<String>,
    /// Roles that were granted instead.
    #[serde(deserialize_with = "list")]
    pub granted_roles: Vec<String>,
    /// Why.
    pub reason: Option<String>,
    /// Tickets that the reason names.
    #[serde(deserialize_with = "list")]
    pub tickets: Vec<String>,
    /// When it was made.
    pub created_at: Option<Time>,
    /// `PENDING`, `APPROVED`, `DENIED` or `PROMOTED`.
    pub state: String,
    /// When it was approved first.
    pub approved_at: Option<Time>,
    /// `review` or `update`.
    pub approval_method: Option<String>,
    /// Who approved.
    #[serde(deserialize_with = "list")]
    pub approvers: Vec<String>,
    /// Who denied.
    #[serde(deserialize_with = "list")]
    pub deniers: Vec<String>,
    /// The requester is among those who approved.
    pub self_approved: bool,
    /// End of the access.
    pub expires_at: Option<Time>,
    /// The gateway said that it expired.
    pub expired: bool,
    /// The gateway said that it was deleted.
    pub deleted: bool,
}

/// A row of the view `reviews`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Review {
    /// Id of the fact.
    pub event_id: String,
    /// The request.
    pub request_id: String,
    /// `review` or `update`.
    pub method: String,
    /// Who voted or set the state.
    pub reviewer: Option<String>,
    /// For whom a plugin acted.
    pub delegator: Option<String>,
    /// What was voted.
    pub vote: Option<String>,
    /// State of the request afterwards.
    pub state: Option<String>,
    /// The reviewer's own reason.
    pub comment: Option<String>,
    /// When.
    pub at: Option<Time>,
}

/// A row of the view `policy_decisions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDecision {
    /// Id of the fact.
    pub event_id: String,
    /// The engine's id of the decision.
    pub decision_id: Option<String>,
    /// When.
    pub occurred_at: Option<Time>,
    /// Who asked.
    pub actor: Option<String>,
    /// To do what.
    pub action: Option<String>,
    /// To what.
    pub target: Option<String>,
    /// `allow`, `deny`, `undefined` or `error`.
    pub outcome: Option<String>,
    /// Path of the policy that decided.
    pub policy_path: Option<String>,
    /// Its revision.
    pub policy_revision: Option<String>,
    /// The reason in the input.
    pub reason: Option<String>,
    /// The ticket in the input.
    pub ticket: Option<String>,
}

/// A row of the view `recordings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// Kind of gateway.
    pub source: String,
    /// The gateway, where the frames name it.
    pub cluster: Option<String>,
    /// Number of frames.
    pub frames: i64,
    /// Bytes that the terminal showed.
    pub output_bytes: i64,
    /// First piece.
    pub first_at: Option<Time>,
    /// Last piece.
    pub last_at: Option<Time>,
    /// The stream's header came.
    pub has_header: bool,
    /// The gateway said in the stream that the session is over.
    pub has_end: bool,
    /// Topics of the frames.
    #[serde(deserialize_with = "list")]
    pub topics: Vec<String>,
}

/// One fact on the timeline of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEvent {
    /// Id of the fact.
    pub event_id: String,
    /// When.
    pub occurred_at: Option<Time>,
    /// What sort of fact, in Custody's words.
    pub kind: String,
    /// The source's own name of it.
    pub source_type: String,
    /// Who.
    pub actor: Option<String>,
    /// Did what.
    pub action: Option<String>,
    /// To what.
    pub target: Option<String>,
    /// With which account.
    pub login: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// From where.
    pub remote_addr: Option<String>,
    /// How often it was delivered.
    pub deliveries: i64,
}

/// A gateway that has a session of the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Place {
    /// Kind of gateway.
    pub source: String,
    /// The gateway.
    pub cluster: Option<String>,
}

/// Everything that is known of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionDetail {
    /// The session and its links.
    #[serde(flatten)]
    pub linked: LinkedSession,
    /// Other gateways that have a session of this id; what is shown is the first by name.
    pub also: Vec<Place>,
    /// The access requests of the links.
    pub requests: Vec<AccessRequest>,
    /// The votes on those requests.
    pub reviews: Vec<Review>,
    /// The policy decisions of the links.
    pub decisions: Vec<PolicyDecision>,
    /// What happened, in the order of time, up to [`TIMELINE_EVENTS_MAX`].
    pub events: Vec<TimelineEvent>,
    /// There are more events than are shown.
    pub events_truncated: bool,
    /// The recording, by each gateway that sent frames.
    pub recordings: Vec<Recording>,
    /// How far it can be trusted, by the kind of gateway, see the view `recording_state`.
    pub recording_states: BTreeMap<String, RecordingState>,
    /// What this is made from.
    pub versions: Versions,
}

impl Engine {
    /// A page of at most `count` sessions, the latest first.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] for a cursor that no page gave.
    pub fn sessions<'a>(
        &'a self,
        filter: &'a SessionFilter,
        count: usize,
    ) -> BoxFuture<'a, Result<SessionPage, QueryError>> {
        Box::pin(async move {
            let count = count.clamp(1, PAGE_SESSIONS_MAX);
            let after = filter.after.as_deref().map(Cursor::decode).transpose()?;
            let time = Bounds::default().time;
            let reading = match filter.finding {
                // What was said of it is activity.
                Some(_) => self.read(AsOf::Newest, time).await?,
                None => self.read_evidence(time).await?,
            };
            let mut sessions = match reading.latest(filter, after.as_ref(), count + 1).await? {
                Some(sessions) => sessions,
                None => reading.of_all(filter, after.as_ref(), count + 1).await?,
            };
            let more = sessions.len() > count;
            sessions.truncate(count);
            let next = sessions.last().filter(|_| more).map(|last| Cursor::of(&last.session).encode());
            Ok(SessionPage { sessions, next, versions: reading.versions })
        })
    }

    /// Everything that is known of a session; `None` when nothing is.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn session<'a>(&'a self, session_id: &'a str) -> BoxFuture<'a, Result<Option<SessionDetail>, QueryError>> {
        Box::pin(async move {
            let reading = self.read_evidence(Bounds::default().time).await?;
            let of_session = || ident("session_id").eq(lit(session_id));
            let rows = reading.table("sessions", of_session()).await?;
            let rows = reading.collect(rows.sort_by(vec![ident("source"), place()])?).await?;
            let mut sessions: Vec<Session> = Reading::values(&rows)?;
            if sessions.is_empty() {
                return Ok(None);
            }
            let others = sessions.split_off(1);
            let also = others.into_iter().map(|Session { source, cluster, .. }| Place { source, cluster }).collect();
            let recordings = async {
                let rows = reading.table("recordings", of_session()).await?;
                reading.rows(rows.sort_by(vec![ident("source"), place()])?).await
            };
            let events = async {
                let rows = reading.events_of(session_id).await?.select(columns(EVENT))?;
                let rows = rows.sort_by(vec![ident("occurred_at"), ident("event_id")])?;
                reading.rows(rows.limit(0, Some(TIMELINE_EVENTS_MAX + 1))?).await
            };
            let states = reading.recording_states(session_id, rows.clone());
            let (linked, recording_states, recordings, mut events): (_, _, _, Vec<TimelineEvent>) =
                futures::try_join!(reading.link(sessions, Some(rows)), states, recordings, events)?;
            let Some(linked) = linked.into_iter().next() else {
                return Ok(None);
            };
            let request_ids: Vec<&str> = linked.links.iter().filter_map(|link| link.request_id.as_deref()).collect();
            let of_requests = || any_of("request_id", &request_ids);
            let decision_events =
                linked.links.iter().filter(|link| link.decision_id.is_some()).flat_map(|link| &link.link_event_ids);
            let of_decisions = is_one_of(ident("event_id"), decision_events.map(String::as_str));
            let requests = reading.table("access_requests", of_requests()).await?;
            let requests = requests.sort_by(vec![ident("created_at"), ident("request_id")])?;
            let reviews = reading.table("reviews", of_requests()).await?;
            let reviews = reviews.sort_by(vec![ident("at"), ident("event_id")])?;
            let decisions = reading.table("policy_decisions", of_decisions).await?;
            let decisions = decisions.sort_by(vec![ident("occurred_at"), ident("event_id")])?;
            let (requests, reviews, decisions) =
                futures::try_join!(reading.rows(requests), reading.rows(reviews), reading.rows(decisions))?;
            let events_truncated = events.len() > TIMELINE_EVENTS_MAX;
            events.truncate(TIMELINE_EVENTS_MAX);
            let versions = reading.versions;
            Ok(Some(SessionDetail {
                linked,
                also,
                requests,
                reviews,
                decisions,
                events,
                events_truncated,
                recordings,
                recording_states,
                versions,
            }))
        })
    }

    /// The recordings that gateways have stored and nobody has imported yet, the latest first, a bounded number of them.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when the ledger cannot be read.
    pub fn announced_recordings(&self) -> BoxFuture<'_, Result<Vec<Announced>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, Bounds::default().time).await?;
            let ended = ident("state").eq(lit("ended")).or(ident("uploaded").eq(lit(true)));
            let rows = reading.table("sessions", ident("output_bytes").eq(lit(0)).and(ended)).await?;
            let told = ident("uploaded").eq(lit(true)).or(ident("recording_ids").is_not_null());
            // What was looked at once gives no more by being looked at again.
            let imported = reading.table("events", ident("kind").eq(lit("import"))).await?;
            let imported = imported.select(vec![ident("session_id").alias("imported_id")])?.distinct()?;
            let rows =
                rows.filter(told)?.join(imported, JoinType::LeftAnti, &["session_id"], &["imported_id"], None)?;
            let rows = rows.sort(vec![ident("ended_at").sort(false, true)])?;
            let rows = rows.select_columns(&["session_id", "recording_ids"])?.limit(0, Some(ANNOUNCED_MAX))?;
            reading.rows(rows).await
        })
    }

    /// The frames of a session, by partition and offset; empty when there are none.
    ///
    /// The source is asked for, so that frames which another source sends under the same id stay out.
    ///
    /// # Errors
    ///
    /// [`QueryError::TooLarge`] when there are more than [`RECORDING_BYTES_MAX`] bytes.
    pub fn frames<'a>(&'a self, source: &'a str, session_id: &'a str) -> BoxFuture<'a, Result<Vec<Frame>, QueryError>> {
        Box::pin(async move {
            let reading = self.read_evidence(Bounds::default().time).await?;
            let mut rows = reading.context.table(Table::Frames.name()).await?;
            rows = rows.filter(ident("session_id").eq(lit(session_id)).and(ident("source").eq(lit(source))))?;
            if let Some(days) = reading.days_of(&["recording_parts"], session_id).await? {
                rows = rows.filter(days)?;
            }
            let mut frames = reading
                .within(async {
                    let mut batches = crate::engine::stream(rows).await?;
                    let (mut frames, mut bytes) = (Vec::new(), 0_usize);
                    while let Some(batch) = batches.next().await {
                        let batch = batch?;
                        bytes += data_bytes(&batch);
                        if bytes > RECORDING_BYTES_MAX {
                            let what = format!("the recording of session {session_id:?}");
                            return Err(QueryError::TooLarge { what, bytes_max: RECORDING_BYTES_MAX });
                        }
                        frames.extend(read_frames(&batch)?);
                    }
                    Ok(frames)
                })
                .await?;
            frames.sort_by(|a, b| {
                (&a.topic, a.partition, a.first_offset, a.last_offset).cmp(&(
                    &b.topic,
                    b.partition,
                    b.first_offset,
                    b.last_offset,
                ))
            });
            Ok(frames)
        })
    }
}

impl SessionFilter {
    /// Conditions on the columns of `sessions`.
    pub(crate) fn of_sessions(&self, after: Option<&Cursor>) -> Option<Expr> {
        let is = |column: &str, value: &Option<String>| value.as_deref().map(|value| ident(column).eq(lit(value)));
        let own = [
            self.actor.as_deref().map(is_by),
            is("target", &self.target),
            is("state", &self.state),
            is("source", &self.source),
            is("recording", &self.recording),
            self.from.map(|from| ident("started_at").gt_eq(at(from))),
            self.to.map(|to| ident("started_at").lt(at(to))),
            after.map(Cursor::beyond),
            self.is_alone().then(carries_none),
        ];
        own.into_iter().flatten().reduce(Expr::and)
    }

    /// Whether it lets through none but sessions without a link.
    pub(crate) fn is_alone(&self) -> bool {
        self.link_method.as_deref() == Some("none")
    }

    /// Conditions on the columns of `session_access`, which one link must meet.
    fn of_links(&self) -> Option<Expr> {
        let text = self.reason.as_deref().map(str::to_lowercase);
        let of_links = [
            self.request_id.as_deref().map(|request| ident("request_id").eq(lit(request))),
            self.link_method.as_deref().map(|method| ident("link_method").eq(lit(method))),
            self.approver.as_deref().map(|approver| array_has(ident("approvers"), lit(approver))),
            text.map(|text| {
                let stands_in = |words: Expr| strpos(lower(words), lit(text.as_str())).gt(lit(0)).is_true();
                let tickets = array_to_string(ident("tickets"), lit("\n"));
                stands_in(ident("reason")).or(stands_in(tickets))
            }),
        ];
        of_links.into_iter().flatten().reduce(Expr::and)
    }

    /// Whether it is asked for links at all.
    pub(crate) fn is_of_links(&self) -> bool {
        self.of_links().is_some()
    }

    /// The same conditions of links that are known.
    pub(crate) fn meets(&self, links: &[Link]) -> bool {
        let text = self.reason.as_deref().map(str::to_lowercase);
        links.iter().any(|link| {
            self.request_id.as_ref().is_none_or(|request| link.request_id.as_ref() == Some(request))
                && self.link_method.as_ref().is_none_or(|method| *method == link.link_method)
                && self.approver.as_ref().is_none_or(|approver| link.approvers.contains(approver))
                && text.as_ref().is_none_or(|text| {
                    link.reason.iter().chain(&link.tickets).any(|words| words.to_lowercase().contains(text))
                })
        })
    }
}

/// That this account opened it, or whatever account of this person.
pub(crate) fn is_by(name: &str) -> Expr {
    ident("actor").eq(lit(name)).or(ident("person").eq(lit(name)))
}

/// What every session without a link meets, and every part of one: what carries a request is linked to it, but for hoop's,
/// whose request may be another session.
pub(crate) fn carries_none() -> Expr {
    ident("request_ids").is_null().or(ident("source").eq(lit("hoop")))
}

/// The order of pages.
pub(crate) fn latest_first() -> Vec<SortExpr> {
    vec![
        SortExpr::new(ident("started_at"), false, false),
        SortExpr::new(ident("session_id"), true, true),
        SortExpr::new(ident("source"), true, true),
        SortExpr::new(place(), true, true),
    ]
}

impl Reading {
    /// The sessions that the findings of a filter are about, where it asks for any.
    pub(crate) async fn found(&self, filter: &SessionFilter) -> Result<Option<Vec<FoundSession>>, QueryError> {
        let Some(finding) = filter.finding.as_deref() else { return Ok(None) };
        let sql = "
          SELECT DISTINCT key, session_id FROM findings
          WHERE key IS NOT NULL AND session_id IS NOT NULL AND ($finding = 'any' OR state <> 'closed' AND (
            report = $finding OR $finding = 'open' AND coalesce(handled, 'open') = 'open'
          ))";
        self.rows(self.sql(sql, HashMap::from([("finding", ScalarValue::from(finding))])).await?).await.map(Some)
    }

    /// The first sessions of all that a filter lets through: the views are asked of every one of them.
    pub(crate) async fn of_all(
        &self,
        filter: &SessionFilter,
        after: Option<&Cursor>,
        count: usize,
    ) -> Result<Vec<LinkedSession>, QueryError> {
        let mut rows = self.context.table("sessions").await?;
        let found = self.found(filter).await?.map(|found| keys_of(&found));
        for condition in [filter.of_sessions(after), found].into_iter().flatten() {
            rows = rows.filter(condition)?;
        }
        if let Some(condition) = filter.of_links() {
            let linked = self.context.table("session_access").await?.filter(condition)?.alias("linked")?;
            let same = ["source", "cluster", "session_id"].map(|name| {
                binary_expr(col(format!("one.{name}")), Operator::IsNotDistinctFrom, col(format!("linked.{name}")))
            });
            rows = rows.alias("one")?.join_on(linked, JoinType::LeftSemi, same)?;
        }
        let rows = rows.select(columns(SESSION))?.sort(latest_first())?.limit(0, Some(count))?;
        self.link(self.rows(rows).await?, None).await
    }

    /// Rows of a table or view that fulfil a condition.
    pub(crate) async fn table(&self, name: &str, condition: Expr) -> Result<DataFrame, QueryError> {
        Ok(self.context.table(name).await?.filter(condition)?)
    }

    /// Rows as values.
    pub(crate) async fn rows<T: DeserializeOwned>(&self, rows: DataFrame) -> Result<Vec<T>, QueryError> {
        Self::values(&self.collect(rows).await?)
    }

    /// The same of rows that were worked out.
    pub(crate) fn values<T: DeserializeOwned>(rows: &[RecordBatch]) -> Result<Vec<T>, QueryError> {
        let mut values = Vec::new();
        for batch in rows {
            let lines = format::lines(batch).map_err(|error| QueryError::Internal(error.to_string()))?;
            for value in serde_json::Deserializer::from_slice(&lines).into_iter() {
                values.push(value.map_err(|error| QueryError::Internal(error.to_string()))?);
            }
        }
        Ok(values)
    }

    /// The sessions of these ids with their links.
    pub(crate) async fn linked(&self, session_ids: &[&str]) -> Result<Vec<LinkedSession>, QueryError> {
        let rows = self.collect(self.table("sessions", any_of("session_id", session_ids)).await?).await?;
        self.link(Self::values(&rows)?, Some(rows)).await
    }

    /// The sessions with their links; with their rows of the view, where those are there in all columns.
    pub(crate) async fn link(
        &self,
        sessions: Vec<Session>,
        rows: Option<Vec<RecordBatch>>,
    ) -> Result<Vec<LinkedSession>, QueryError> {
        #[derive(Deserialize)]
        struct Row {
            source: String,
            cluster: Option<String>,
            session_id: String,
            #[serde(flatten)]
            link: Link,
        }
        let ids: Vec<&str> = sessions.iter().map(|session| session.session_id.as_str()).collect();
        let rows = self.links_of(&ids, rows, NARROWED_MAX.max(10 * ids.len())).await?;
        let strongest_first = ["approved_at", "request_id", "decision_id", "link_event_ids"].map(ident);
        let mut links: HashMap<(String, Option<String>, String), Vec<Link>> = HashMap::new();
        for Row { source, cluster, session_id, link } in self.rows(rows.sort_by(strongest_first.into())?).await? {
            links.entry((source, cluster, session_id)).or_default().push(link);
        }
        let linked = sessions.into_iter().map(|session| {
            let key = (session.source.clone(), session.cluster.clone(), session.session_id.clone());
            let mut links = links.remove(&key).unwrap_or_default();
            links.sort_by_key(|link| METHODS.iter().position(|method| *method == link.link_method));
            LinkedSession { session, links }
        });
        Ok(linked.collect())
    }
}

/// Methods of a link, the surest first.
const METHODS: [&str; 6] = ["explicit", "gateway_review", "policy", "ticket", "inferred", "none"];

/// The columns of [`Session`]: a column that is not asked for is not read.
const SESSION: &[&str] = &[
    "source",
    "cluster",
    "session_id",
    "actor",
    "person",
    "actor_kind",
    "participants",
    "login",
    "target",
    "target_kind",
    "protocol",
    "reason",
    "started_at",
    "ended_at",
    "duration_ms",
    "state",
    "request_ids",
    "correlation_ids",
    "uploaded",
    "recording",
    "frames",
    "output_bytes",
];

/// The columns of [`TimelineEvent`].
const EVENT: &[&str] = &[
    "event_id",
    "occurred_at",
    "kind",
    "source_type",
    "actor",
    "action",
    "target",
    "login",
    "outcome",
    "remote_addr",
    "deliveries",
];

pub(crate) fn columns(names: &[&str]) -> Vec<Expr> {
    names.iter().map(|name| ident(*name)).collect()
}

pub(crate) fn at(time: Time) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(time.0), Some("UTC".into())))
}

/// The cluster as a part of an order.
fn place() -> Expr {
    coalesce(vec![ident("cluster"), lit("")])
}

pub(crate) fn data_bytes(batch: &RecordBatch) -> usize {
    batch.column_by_name("data").and_then(|data| data.as_binary_opt::<i32>()).map_or(0, |data| data.values().len())
}

/// Where a page ended: the next begins after it. Rows that come in later shift nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor(Option<Micros>, String, String, String);

impl Cursor {
    pub(crate) fn of(session: &Session) -> Self {
        let Session { source, cluster, session_id, started_at, .. } = session;
        let cluster = cluster.clone().unwrap_or_default();
        Self(started_at.map(|at| at.0), session_id.clone(), source.clone(), cluster)
    }

    /// No session behind it began later.
    pub(crate) fn started_at(&self) -> Option<Time> {
        self.0.map(Time)
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }

    fn decode(text: &str) -> Result<Self, QueryError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        cursor.ok_or_else(|| QueryError::Invalid("the cursor is not one that a page gave".to_owned()))
    }

    /// The condition of the rows after it. Those of which nobody knows when they began are the last.
    fn beyond(&self) -> Expr {
        let Self(started_at, session_id, source, cluster) = self;
        let later = [(ident("session_id"), session_id), (ident("source"), source), (place(), cluster)]
            .into_iter()
            .rev()
            .fold(lit(false), |beyond, (column, value)| {
                column.clone().gt(lit(value.as_str())).or(column.eq(lit(value.as_str())).and(beyond))
            });
        let Some(started_at) = started_at.map(|started_at| at(Time(started_at))) else {
            return ident("started_at").is_null().and(later);
        };
        let earlier = ident("started_at").lt(started_at.clone()).or(ident("started_at").is_null());
        earlier.or(ident("started_at").eq(started_at).and(later))
    }
}
