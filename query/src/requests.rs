//! Access requests as typed values: pages of them, and everything known of one.

use std::collections::{BTreeSet, HashMap};

use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::{coalesce, lower, strpos};
use datafusion::logical_expr::{Expr, JoinType, ident, lit};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{Bounds, Engine, Reading, Versions};
use crate::error::QueryError;
use crate::functions::is_one_of;
use crate::latest::{acted, latest_of, together};
use crate::narrowed::{ACCESS_US, Few, NARROWED_MAX};
use crate::pages::{self, By, PAGE_ROWS_MAX, instant};
use crate::sessions::{AccessRequest, LinkedSession, Review, Time, columns};

/// Sessions that used a request, as many as are shown.
pub const USED_SESSIONS_MAX: usize = 200;

/// Events whose requests are looked at first for a page, so many times as many next, and so many at most.
const EVENTS_FIRST: usize = 1000;
const EVENTS_GROWTH: usize = 6;
const EVENTS_MAX: usize = 50_000;

/// Which requests a page shows. Everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// What became of it.
    pub state: Option<RequestState>,
    /// Who asked, exactly.
    pub requester: Option<String>,
    /// This text stands in the reason, where tickets stand too; upper or lower case.
    pub reason: Option<String>,
    /// Made at this time or later; approved, where it is not known when it was made.
    pub from: Option<Time>,
    /// The same, before this time.
    pub to: Option<Time>,
    /// The cursor that the page before gave.
    pub after: Option<String>,
}

/// What became of a request by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Nobody has answered it, and it can still be answered.
    Pending,
    /// Approved, and its access goes on.
    InForce,
    /// Approved, whether or not its access goes on.
    Approved,
    /// Denied.
    Denied,
    /// Its time is over, whether or not it was answered.
    Expired,
    /// Its time is over, and nobody has answered it.
    Unanswered,
    /// Approved by whoever asked.
    SelfApproved,
}

impl RequestState {
    fn condition(self, now: Time) -> Expr {
        let is_pending = || ident("state").eq(lit("PENDING"));
        let is_approved = || ident("state").in_list(vec![lit("APPROVED"), lit("PROMOTED")], false);
        let is_over =
            || ident("expired").or(ident("expires_at").is_not_null().and(ident("expires_at").lt_eq(instant(now))));
        let goes_on = || (!is_over()).and(!ident("deleted"));
        match self {
            Self::Pending => is_pending().and(goes_on()),
            Self::InForce => is_approved().and(goes_on()).and(ident("closed_at").is_null()),
            Self::Approved => is_approved(),
            Self::Denied => ident("state").eq(lit("DENIED")),
            Self::Expired => is_over(),
            Self::Unanswered => is_pending().and(is_over()),
            Self::SelfApproved => ident("self_approved"),
        }
    }
}

/// A request and where it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Request {
    /// Kind of gateway.
    pub source: String,
    /// The gateway.
    pub cluster: Option<String>,
    /// What was asked for, where the gateway names one thing.
    pub target: Option<String>,
    /// Its approval opens a window for later sessions too.
    pub standing: bool,
    /// When its access was taken back before its end.
    pub closed_at: Option<Time>,
    /// The request.
    #[serde(flatten)]
    pub request: AccessRequest,
}

/// A request on a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ListedRequest {
    /// The request.
    #[serde(flatten)]
    pub request: Request,
    /// How many sessions used it: those that are linked to it other than by inference.
    pub sessions: usize,
}

/// A page of requests, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RequestPage {
    /// The requests.
    pub requests: Vec<ListedRequest>,
    /// Cursor of the next page; `None` on the last.
    pub next: Option<String>,
    /// What the page is made from.
    pub versions: Versions,
}

/// Everything that is known of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RequestDetail {
    /// The request.
    #[serde(flatten)]
    pub request: Request,
    /// Other kinds of gateway that have a request of this id; what is shown is the first by name.
    pub also: Vec<String>,
    /// The votes on it and the changes of its state, in the order of time.
    pub reviews: Vec<Review>,
    /// The sessions that used it, in the order in which they began, up to [`USED_SESSIONS_MAX`]. Those that are linked to it
    /// by inference alone are among them, and their links say so.
    pub sessions: Vec<LinkedSession>,
    /// There are more sessions than are shown.
    pub sessions_truncated: bool,
    /// What this is made from.
    pub versions: Versions,
}

/// That a session is linked to a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Use {
    source: String,
    cluster: Option<String>,
    session_id: String,
    started_at: Option<Time>,
    request_id: String,
    link_method: String,
    reason_by: Option<String>,
    approved_at: Option<Time>,
}

/// An event that tells of a request.
#[derive(Debug, Deserialize)]
struct Told {
    request_id: String,
    at: Time,
}

/// A session that can have used a request.
#[derive(Debug, Deserialize)]
struct Named {
    session_id: String,
}

impl Use {
    /// Two gateways may have a request of the same id: a session carries that of its own, or, as a stream of another kind
    /// of gateway, that of the gateway before it. What links it otherwise has the request's own words.
    fn is_of(&self, of: &Request) -> bool {
        let Request { source, request, .. } = of;
        let is_same = match self.link_method.as_str() {
            "explicit" | "gateway_review" => self.source == *source || self.source == "asciicast",
            _ => self.reason_by == request.requester && self.approved_at == request.approved_at,
        };
        is_same && self.request_id == request.request_id
    }

    fn session(&self) -> (&str, Option<&str>, &str) {
        (&self.source, self.cluster.as_deref(), &self.session_id)
    }
}

/// Where a page ended.
type Place = (i64, String, String);

fn order() -> [By; 3] {
    [By::descending(known_at()), By::ascending(ident("request_id")), By::ascending(ident("source"))]
}

/// Since when a request is known: one whose making is not in the ledger is known by its approval.
fn known_at() -> Expr {
    coalesce(vec![ident("created_at"), ident("approved_at"), instant(Time(0))])
}

pub(crate) fn place(request: &Request) -> Place {
    let AccessRequest { created_at, approved_at, request_id, .. } = &request.request;
    (created_at.or(*approved_at).map_or(0, |Time(at)| at), request_id.clone(), request.source.clone())
}

impl Engine {
    /// A page of at most `count` requests, the latest first.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] for a cursor that no page gave.
    pub fn requests<'a>(
        &'a self,
        filter: &'a RequestFilter,
        count: usize,
    ) -> BoxFuture<'a, Result<RequestPage, QueryError>> {
        Box::pin(async move {
            let count = count.clamp(1, PAGE_ROWS_MAX);
            let after: Option<Place> = filter.after.as_deref().map(pages::place).transpose()?;
            let reading = self.read_evidence(Bounds::default().time).await?;
            let requests = match reading.latest_requests(filter, after.as_ref(), count + 1, EVENTS_FIRST).await? {
                Some(requests) => requests,
                None => reading.rows(reading.requests_of(filter, after.as_ref(), None, count + 1).await?).await?,
            };
            let (requests, next) = pages::page(requests, count, |last| pages::cursor(&place(last)));
            let uses = reading.uses(&requests).await?;
            let listed = requests.into_iter().map(|request| {
                let firm = uses.iter().filter(|of| of.link_method != "inferred" && of.is_of(&request));
                let sessions = firm.map(Use::session).collect::<BTreeSet<_>>().len();
                ListedRequest { request, sessions }
            });
            Ok(RequestPage { requests: listed.collect(), next, versions: reading.versions })
        })
    }

    /// Everything that is known of a request: of that of a kind of gateway, or of the first by name; `None` when nothing is.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn request<'a>(
        &'a self,
        request_id: &'a str,
        source: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<RequestDetail>, QueryError>> {
        Box::pin(async move {
            let reading = self.read_evidence(Bounds::default().time).await?;
            let of_request = || ident("request_id").eq(lit(request_id));
            let rows = reading.table("access_requests", of_request()).await?.select(columns(REQUEST))?;
            let mut found: Vec<Request> = reading.rows(rows.sort_by(vec![ident("source")])?).await?;
            let wanted = found.iter().position(|of| source.is_none_or(|source| of.source == source));
            let Some(request) = wanted.map(|at| found.remove(at)) else { return Ok(None) };
            let also = found.into_iter().map(|of| of.source).collect();
            let of_source = of_request().and(ident("source").eq(lit(request.source.as_str())));
            let reviews = reading.table("reviews", of_source).await?;
            let reviews = reading.rows(reviews.sort_by(vec![ident("at"), ident("event_id")])?).await?;
            let mut uses = reading.uses(std::slice::from_ref(&request)).await?;
            uses.retain(|of| of.is_of(&request));
            uses.sort_by(|a, b| (a.started_at, a.session()).cmp(&(b.started_at, b.session())));
            uses.dedup_by(|a, b| a.session() == b.session());
            let sessions_truncated = uses.len() > USED_SESSIONS_MAX;
            uses.truncate(USED_SESSIONS_MAX);
            let ids: Vec<&str> = uses.iter().map(|of| of.session_id.as_str()).collect();
            let mut linked: HashMap<_, LinkedSession> = HashMap::new();
            if !ids.is_empty() {
                for one in reading.linked(&ids).await? {
                    let of = &one.session;
                    linked.insert((of.source.clone(), of.cluster.clone(), of.session_id.clone()), one);
                }
            }
            let sessions = uses.into_iter().filter_map(|of| linked.remove(&(of.source, of.cluster, of.session_id)));
            let (sessions, versions) = (sessions.collect(), reading.versions);
            Ok(Some(RequestDetail { request, also, reviews, sessions, sessions_truncated, versions }))
        })
    }
}

impl RequestFilter {
    /// Conditions on the columns of `access_requests`.
    fn conditions(&self, after: Option<&Place>) -> Option<Expr> {
        let now = Time(chrono::Utc::now().timestamp_micros());
        let conditions = [
            self.state.map(|state| state.condition(now)),
            self.requester.as_deref().map(|requester| ident("requester").eq(lit(requester))),
            self.reason.as_deref().map(|text| strpos(lower(ident("reason")), lit(text.to_lowercase())).gt(lit(0))),
            self.from.map(|from| known_at().gt_eq(instant(from))),
            self.to.map(|to| known_at().lt(instant(to))),
            after.map(|(at, id, source)| {
                pages::behind(&order(), vec![instant(Time(*at)), lit(id.as_str()), lit(source.as_str())])
            }),
        ];
        conditions.into_iter().flatten().reduce(Expr::and)
    }
}

impl Reading {
    /// The first requests that a filter lets through behind a cursor, of those that another condition lets through.
    pub(crate) async fn requests_of(
        &self,
        filter: &RequestFilter,
        after: Option<&Place>,
        other: Option<Expr>,
        count: usize,
    ) -> Result<DataFrame, QueryError> {
        let mut rows = self.context.table("access_requests").await?;
        for condition in filter.conditions(after).into_iter().chain(other) {
            rows = rows.filter(condition)?;
        }
        Ok(rows.sort(pages::sorted(&order()))?.limit(0, Some(count))?.select(columns(REQUEST))?)
    }

    /// The same, among the requests of the latest events, so many at first; `None` where only a look at all of them can tell.
    ///
    /// A request is known since one of its events. Those known since a later one than the earliest that is looked at are
    /// among the requests of these; the tests compare with a look at all.
    pub(crate) async fn latest_requests(
        &self,
        filter: &RequestFilter,
        after: Option<&Place>,
        count: usize,
        mut most: usize,
    ) -> Result<Option<Vec<Request>>, QueryError> {
        let until = after.map(|(at, ..)| Time(*at)).into_iter().chain(filter.to).min();
        while most <= EVENTS_MAX {
            let within = [
                Some(ident("request_id").is_not_null()),
                filter.from.map(|from| ident("at").gt_eq(instant(from))),
                until.map(|until| ident("at").lt_eq(instant(until))),
            ];
            let mut events = Vec::new();
            for mut rows in self.pieces("request_events")? {
                for condition in within.iter().flatten() {
                    rows = rows.filter(condition.clone())?;
                }
                events.push(rows.select(columns(&["request_id", "at"]))?);
            }
            let latest: Vec<Told> = self.rows(latest_of(events, "at", most)?).await?;
            let earliest = latest.last().filter(|_| latest.len() >= most).map(|last| last.at);
            let named = is_one_of(ident("request_id"), latest.iter().map(|told| told.request_id.as_str()));
            let known = earliest.map_or(named.clone(), |earliest| named.and(known_at().gt(instant(earliest))));
            let requests: Vec<Request> = self.rows(self.requests_of(filter, after, Some(known), count).await?).await?;
            // Those of which it is not known since when come last, whenever their events were.
            if requests.len() >= count || earliest.is_none() && (until.is_none() || filter.from.is_some()) {
                return Ok(Some(requests));
            }
            if earliest.is_none() {
                break;
            }
            most *= EVENTS_GROWTH;
        }
        Ok(None)
    }

    /// How sessions are linked to these requests.
    ///
    /// `session_access` is asked of the few sessions that can be: those that carry the id of a request, those whose
    /// credentials come from such a session, and those that carry none and are of the same persons at the time. Where they
    /// are many it is asked of all. The tests hold that nothing is left out.
    async fn uses(&self, requests: &[Request]) -> Result<Vec<Use>, QueryError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let ids = || requests.iter().map(|of| of.request.request_id.as_str());
        let carry = |ids: Vec<&str>| {
            let rows = self.part("request_parts")?.filter(is_one_of(ident("request_id"), ids))?;
            Ok::<_, QueryError>(rows.filter(ident("session_id").is_not_null())?)
        };
        let mut carriers = carry(ids().collect())?.select(columns(&["session_id"]))?;
        if requests.iter().any(|of| of.source == "hoop") {
            let starts = ident("source").eq(lit("hoop")).and(ident("start_event_id").is_not_null());
            let lenders = carry(ids().collect())?.filter(starts)?.select(columns(&["session_id"]))?;
            let lenders: Vec<Named> = self.rows(lenders.distinct()?).await?;
            let lenders: Vec<String> = lenders.into_iter().map(|of| format!("session:{}", of.session_id)).collect();
            let borrowers = carry(lenders.iter().map(String::as_str).collect())?.select(columns(&["session_id"]))?;
            carriers = carriers.union(borrowers)?;
        }
        let others = self.of_requesters(requests);
        let links = match futures::try_join!(self.few(carriers.distinct()?, NARROWED_MAX), others)? {
            (Some(carriers), Some(others)) => {
                let (carriers, others): (Vec<Named>, Vec<Named>) = (Self::values(&carriers)?, Self::values(&others)?);
                let named = |of: &Named| of.session_id.clone();
                let (carriers, others) = (carriers.iter().map(named), others.iter().map(named));
                let carriers: BTreeSet<String> = carriers.collect();
                let all: BTreeSet<String> = carriers.iter().cloned().chain(others).collect();
                let is_of = |ids: &BTreeSet<String>| is_one_of(ident("session_id"), ids.iter().map(String::as_str));
                // A session that carries a request is linked to no other of the same person.
                let can_use = is_of(&all).and(is_of(&carriers).or(ident("request_ids").is_null()));
                let sessions = self.collect(self.table("sessions", can_use).await?).await?;
                let few: Vec<Named> = Self::values(&sessions)?;
                if few.is_empty() {
                    return Ok(Vec::new());
                }
                let few: Vec<&str> = few.iter().map(|of| of.session_id.as_str()).collect();
                self.links_of(&few, Some(sessions), NARROWED_MAX.max(10 * few.len())).await?
            }
            _ => self.context.table("session_access").await?,
        };
        let links = links.filter(is_one_of(ident("request_id"), ids()))?;
        self.rows(links.select(columns(USE))?).await
    }

    /// Sessions of those who made requests, about the time of the access that was given, carrying no request as far as the parts
    /// say; `None` where there are many.
    async fn of_requesters(&self, requests: &[Request]) -> Result<Few, QueryError> {
        let approved = || requests.iter().filter(|of| of.request.approved_at.is_some());
        let from = approved().filter_map(|of| of.request.approved_at).min();
        let until = approved().filter_map(|of| {
            let ends = [of.request.expires_at, of.closed_at].into_iter().flatten().min();
            ends.or(of.request.approved_at)
        });
        let requesters: BTreeSet<&str> = approved().filter_map(|of| of.request.requester.as_deref()).collect();
        let (Some(Time(from)), Some(Time(until)), false) = (from, until.max(), requesters.is_empty()) else {
            return Ok(Some(Vec::new()));
        };
        let names = self.names_of(requesters.into_iter().map(|name| self.snapshot.words().person(name)).collect());
        let theirs = self.part("session_parts")?.filter(acted(&names))?;
        let theirs = theirs.select(vec![ident("session_id").alias("their_id")])?;
        let (from, until) = (Time(from.saturating_sub(ACCESS_US)), Time(until.saturating_add(ACCESS_US)));
        let there = together(self.parts_within(Some(from), Some(until), true)?)?.select(columns(&["session_id"]))?;
        let there = there.join(theirs, JoinType::LeftSemi, &["session_id"], &["their_id"], None)?;
        self.few(there.distinct()?, NARROWED_MAX).await
    }
}

/// The columns of [`Use`].
const USE: &[&str] =
    &["source", "cluster", "session_id", "started_at", "request_id", "link_method", "reason_by", "approved_at"];

/// The columns of [`Request`].
const REQUEST: &[&str] = &[
    "source",
    "cluster",
    "target",
    "standing",
    "closed_at",
    "request_id",
    "requester",
    "roles",
    "granted_roles",
    "reason",
    "tickets",
    "created_at",
    "state",
    "approved_at",
    "approval_method",
    "approvers",
    "deniers",
    "self_approved",
    "expires_at",
    "expired",
    "deleted",
];
