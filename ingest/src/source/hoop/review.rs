//! A review: the access request that a session waited for, and the votes on it.
//!
//! hoop keeps one row a group, and writes over it: who revokes an approval takes the place of who gave it. So the id
//! of a vote has its time, and an approval that was polled before stays beside the revocation.

use std::borrow::Cow;

use custody_schemas::event::{Event, Kind, Text};
use custody_schemas::record::{DecodeError, ErrorKind};
use custody_schemas::time::{Micros, to_rfc3339};

use super::super::Sink;
use super::super::object::{Document, Object, Time, int, string, time};
use super::session::{Session, rejected};
use super::{check, content_id, event_id, peek};

/// How far the end of a granted window less its length may be from the vote that opened it. hoop takes both times one
/// after the other while it handles that vote.
const SAME_MOMENT_US: i64 = 5_000_000;

/// Status of a review, or of a group's vote on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    /// Approved; of a one-time review also that it is being used, or was.
    Approved,
    Rejected,
    Revoked,
}

impl Status {
    /// The status of a review or a vote; `None` where hoop does not know it.
    pub(super) fn of(object: &Object<'_>) -> Option<Self> {
        match object.json("status").and_then(string).as_deref()? {
            "PENDING" => Some(Self::Pending),
            "APPROVED" | "PROCESSING" | "EXECUTED" => Some(Self::Approved),
            "REJECTED" => Some(Self::Rejected),
            "REVOKED" => Some(Self::Revoked),
            _ => None,
        }
    }

    /// The state of an access request that it stands for.
    pub(super) fn request_state(self) -> Option<&'static str> {
        Some(match self {
            Self::Pending => "PENDING",
            Self::Approved => "APPROVED",
            Self::Rejected => "DENIED",
            Self::Revoked => "REVOKED",
        })
    }

    /// hoop's word for it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Revoked => "REVOKED",
        }
    }
}

/// The vote of one group.
struct Vote<'a> {
    group: Object<'a>,
    status: Status,
    at: Time,
}

/// Decodes the review of a session.
pub(super) fn of_session<'a>(
    session: &Session<'a>,
    review: Object<'a>,
    sink: &mut dyn Sink,
) -> Result<(), DecodeError> {
    decode(Some(session), &review, sink)
}

/// Decodes a review that came without its session: who asked for what, only the session can say.
pub(super) fn alone(mut review: Object<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let result = decode(None, &review, sink);
    let Some(id) = peek(&review, "id") else { return result };
    let status = Status::of(&review);
    for name in ["id", "session"] {
        review.take(name);
    }
    let detail = review.detail()?;
    sink.event(&Event {
        event_id: event_id(None, &["review", &id, "state", &content_id(&detail)]),
        kind: Kind::Other,
        source_type: Cow::Borrowed("review.state"),
        session_id: peek(&review, "session"),
        request_ids: vec![id],
        request_state: status.and_then(Status::request_state).map(Cow::Borrowed),
        detail,
        ..Event::default()
    });
    result
}

fn decode<'a>(session: Option<&Session<'a>>, review: &Object<'a>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let Some(id) = peek(review, "id") else {
        return Err(DecodeError::new(ErrorKind::MissingField, "a review has no `id`"));
    };
    let created_at = review.json("created_at").map_or(Time::Unset, time);
    let mut result = check(created_at, "created_at");
    sink.event(&creation(session, review, &id, created_at)?);

    let (votes, error) = votes(review);
    result = result.and(error.map_or(Ok(()), Err));
    let status = Status::of(review);
    let last_at = |status| votes.iter().filter(|vote| vote.status == status).filter_map(|vote| vote.at.at()).max();
    let last_approval = last_at(Status::Approved);
    for vote in &votes {
        result = result.and(check(vote.at, "review_date"));
        let state = state_after(review, status, last_approval, vote);
        sink.event(&vote_event(session, review, &id, state, vote)?);
    }
    match status {
        Some(Status::Revoked) if votes.iter().all(|vote| vote.status != Status::Revoked) => {
            let mut event = fact(session, review, &id, Kind::RequestUpdate, "review.revoked", &["REVOKED"]);
            event.request_state = Some(Cow::Borrowed("REVOKED"));
            sink.event(&event);
        }
        Some(Status::Rejected) => {
            if let Some(session) = session {
                sink.event(&rejected(session, id, last_at(Status::Rejected)));
            }
        }
        _ => {}
    }
    result
}

/// A fact of the review.
fn fact<'a>(
    session: Option<&Session<'a>>,
    review: &Object<'a>,
    id: &Text<'a>,
    kind: Kind,
    source_type: &'static str,
    path: &[&str],
) -> Event<'a> {
    let path: Vec<&str> = ["review", id].into_iter().chain(path.iter().copied()).collect();
    Event {
        event_id: event_id(session.and_then(|session| session.org.as_deref()), &path),
        cluster: session.and_then(|session| session.org.clone()),
        kind,
        source_type: Cow::Borrowed(source_type),
        action: peek(review, "type"),
        target: session.and_then(|session| session.target.clone()),
        target_kind: session.and_then(|session| session.target_kind).map(Into::into),
        protocol: session.and_then(|session| session.protocol.clone()),
        session_id: session.map(|session| session.id.clone()).or_else(|| peek(review, "session")),
        request_ids: vec![id.clone()],
        correlation_id: session.and_then(|session| session.correlation_id.clone()),
        detail: "{}".to_owned(),
        ..Event::default()
    }
}

/// The creation. A review has no field for a reason: it is in the session's metadata, which may change, so that a
/// creation with another reason is another event.
fn creation<'a>(
    session: Option<&Session<'a>>,
    review: &Object<'a>,
    id: &Text<'a>,
    created_at: Time,
) -> Result<Event<'a>, DecodeError> {
    let reason = session.and_then(|session| session.reason.clone());
    let ticket = session.and_then(|session| session.ticket.clone());
    let why =
        (reason.is_some() || ticket.is_some()).then(|| content_id(&serde_json::json!([reason, ticket]).to_string()));
    let path: Vec<&str> = ["create"].into_iter().chain(why.as_deref()).collect();
    let mut event = fact(session, review, id, Kind::RequestCreate, "review.create", &path);
    event.occurred_at = created_at.at();
    event.actor = session.and_then(|session| session.user.clone());
    event.actor_kind = session.and_then(|session| session.user_kind);
    event.request_state = Some(Cow::Borrowed("PENDING"));
    event.reason = reason;
    event.ticket = ticket;
    event.detail = review.detail_of(|name| name == "access_duration")?;
    Ok(event)
}

/// The votes that were cast.
fn votes<'a>(review: &Object<'a>) -> (Vec<Vote<'a>>, Option<DecodeError>) {
    let Some(json) = review.json("review_groups_data").filter(|json| *json != "null") else {
        return (Vec::new(), None);
    };
    let wrong = || Some(DecodeError::new(ErrorKind::UnexpectedShape, "`review_groups_data` is not a list of groups"));
    let Ok(Document::Array(elements)) = Document::parse(json) else { return (Vec::new(), wrong()) };
    let mut votes = Vec::new();
    let mut error = None;
    for element in elements {
        let Some(group) = Object::parse(element) else {
            error = error.or_else(wrong);
            continue;
        };
        let at = group.json("review_date").map_or(Time::Unset, time);
        match Status::of(&group) {
            Some(Status::Pending) | None => {}
            Some(status) => votes.push(Vote { group, status, at }),
        }
    }
    (votes, error)
}

fn vote_event<'a>(
    session: Option<&Session<'a>>,
    review: &Object<'a>,
    id: &Text<'a>,
    state: Option<Status>,
    vote: &Vote<'a>,
) -> Result<Event<'a>, DecodeError> {
    let group = &vote.group;
    let at = vote.at.at();
    let group_id = peek(group, "id").or_else(|| peek(group, "group")).unwrap_or_default();
    let moment = at.map(to_rfc3339).unwrap_or_default();
    let path: Vec<&str> =
        ["group", &group_id, vote.status.as_str(), &moment].into_iter().chain(state.map(Status::as_str)).collect();
    let (kind, source_type) = match vote.status {
        Status::Revoked => (Kind::RequestUpdate, "review.revoked"),
        _ => (Kind::RequestReview, "review.vote"),
    };
    let mut event = fact(session, review, id, kind, source_type, &path);
    event.occurred_at = at;
    let reviewer = group.json("reviewed_by").and_then(Object::parse);
    event.actor = reviewer.and_then(|reviewer| ["email", "name", "id"].iter().find_map(|name| peek(&reviewer, name)));
    event.proposed_state = match vote.status {
        Status::Revoked => None,
        other => other.request_state().map(Cow::Borrowed),
    };
    event.request_state = state.and_then(Status::request_state).map(Cow::Borrowed);
    if vote.status == Status::Rejected {
        event.reason = peek(review, "rejection_reason");
    }
    if state == Some(Status::Approved) {
        event.expires_at = window(review).map(|(_, end)| end);
    }
    event.detail = group.detail_of(|name| !matches!(name, "status" | "review_date"))?;
    Ok(event)
}

/// The state in which a vote left its review, where that follows from the snapshot. A refusal counts at once. Of the
/// approvals the last one completed the number that was needed; after a revocation it is told by the window that hoop
/// opened at that moment.
fn state_after(
    review: &Object<'_>,
    status: Option<Status>,
    last_approval: Option<Micros>,
    vote: &Vote<'_>,
) -> Option<Status> {
    match (vote.status, status?) {
        (Status::Rejected, Status::Rejected) => Some(Status::Rejected),
        (Status::Revoked, _) => Some(Status::Revoked),
        (Status::Approved, Status::Approved) => (vote.at.at() == last_approval).then_some(Status::Approved),
        (Status::Approved, Status::Revoked) => {
            let (start, _) = window(review)?;
            let apart = start.checked_sub(vote.at.at()?)?;
            (apart.unsigned_abs() <= SAME_MOMENT_US.unsigned_abs()).then_some(Status::Approved)
        }
        _ => None,
    }
}

/// Beginning and end of the window of a time based review.
fn window(review: &Object<'_>) -> Option<(Micros, Micros)> {
    if review.json("type") != Some("\"jit\"") {
        return None;
    }
    let end = review.json("revoke_at").and_then(|json| time(json).at())?;
    let nanos = review.json("access_duration").and_then(int)?;
    Some((end.checked_sub(nanos / 1000)?, end))
}
