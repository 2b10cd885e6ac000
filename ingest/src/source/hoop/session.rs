//! A session as the API shows it.

use std::borrow::Cow;

use custody_schemas::event::{ActorKind, Event, Kind, Outcome, Text};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind};
use custody_schemas::time::Micros;

use super::super::Sink;
use super::super::object::{Object, Time, int, time};
use super::review::{self, Status};
use super::stream::{self, ENTRIES_MAX, Replay};
use super::{HoopMapping, check, content_id, event_id, outcome_of, peek, target_kind, text_at};

/// What hoop writes when a session begins and never changes. The connection's own names and tags beside these are
/// looked up when the API is asked.
const UNCHANGING: [&str; 6] =
    ["connection_tags", "machine_identity_id", "session_batch_id", "user_id", "user_name", "verb"];

/// What every fact of a session says of it.
pub(super) struct Session<'a> {
    pub(super) org: Option<Text<'a>>,
    pub(super) id: Text<'a>,
    pub(super) started_at: Option<Micros>,
    pub(super) user: Option<Text<'a>>,
    pub(super) user_kind: Option<ActorKind>,
    pub(super) target: Option<Text<'a>>,
    pub(super) target_kind: Option<&'static str>,
    pub(super) protocol: Option<Text<'a>>,
    pub(super) correlation_id: Option<Text<'a>>,
    /// The reason and the ticket that the metadata names at the time of the snapshot.
    pub(super) reason: Option<Text<'a>>,
    pub(super) ticket: Option<Text<'a>>,
}

impl<'a> Session<'a> {
    fn new(mapping: &HoopMapping, object: &Object<'a>) -> Self {
        let connection_type = peek(object, "type");
        let subtype = peek(object, "connection_subtype");
        let target = peek(object, "connection");
        let metadata = object.json("metadata");
        let named = |names: &[String]| {
            let metadata = metadata.and_then(Object::parse)?;
            names.iter().find_map(|name| peek(&metadata, name))
        };
        Self {
            org: peek(object, "org_id"),
            id: peek(object, "id").unwrap_or_default(),
            started_at: object.json("start_date").and_then(|json| time(json).at()),
            user: peek(object, "user"),
            user_kind: match object.json("identity_type") {
                Some("\"user\"") => Some(ActorKind::Human),
                Some("\"machine\"") => Some(ActorKind::Bot),
                _ => None,
            },
            target_kind: target.is_some().then(|| target_kind(connection_type.as_deref(), subtype.as_deref())),
            target,
            protocol: subtype.or(connection_type),
            correlation_id: peek(object, "correlation_id"),
            reason: named(&mapping.reason),
            ticket: text_at(object.json("integrations_metadata"), "jira_issue_key").or_else(|| named(&mapping.ticket)),
        }
    }

    /// Id of a fact of the session.
    pub(super) fn event_id(&self, path: &[&str]) -> Text<'a> {
        let path: Vec<&str> = [&*self.id].into_iter().chain(path.iter().copied()).collect();
        event_id(self.org.as_deref(), &path)
    }

    /// A fact of the session: where it belongs, and nothing else.
    pub(super) fn event(&self, kind: Kind, source_type: &'static str, path: &[&str]) -> Event<'a> {
        Event {
            event_id: self.event_id(path),
            cluster: self.org.clone(),
            kind,
            source_type: Cow::Borrowed(source_type),
            session_id: Some(self.id.clone()),
            detail: "{}".to_owned(),
            ..Event::default()
        }
    }

    /// A fact of what the session's user did to its target.
    pub(super) fn deed(&self, kind: Kind, source_type: &'static str, path: &[&str]) -> Event<'a> {
        Event {
            actor: self.user.clone(),
            actor_kind: self.user_kind,
            target: self.target.clone(),
            target_kind: self.target_kind.map(Into::into),
            protocol: self.protocol.clone(),
            correlation_id: self.correlation_id.clone(),
            ..self.event(kind, source_type, path)
        }
    }
}

/// Decodes one snapshot of a session.
pub(super) fn decode(mapping: &HoopMapping, mut object: Object<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let session = Session::new(mapping, &object);
    let ended_at = object.json("end_date").map_or(Time::Unset, time);
    let mut result = check(object.json("start_date").map_or(Time::Unset, time), "start_date");
    result = result.and(check(ended_at, "end_date"));

    let review_json = object.json("review").filter(|json| json.starts_with('{'));
    let review = review_json.and_then(Object::parse);
    if review_json.is_some() && review.is_none() {
        result = result.and(Err(DecodeError::new(ErrorKind::UnexpectedShape, "`review` is not a review")));
    }
    let review_id = review.as_ref().and_then(|review| peek(review, "id"));
    let review_status = review.as_ref().and_then(Status::of);
    let has_begun = has_begun(&object, review_status);
    if has_begun {
        sink.event(&start(&session, review_id.clone(), &mut object)?);
        if let Some(event) = metadata(&session, &object)? {
            sink.event(&event);
        }
    }
    if let Some(event) = script(&session, has_begun, &mut object) {
        sink.event(&event);
    }
    if let Some(review) = review {
        result = result.and(review::of_session(&session, review, sink));
    }
    result = result.and(recording(&session, &mut object, ended_at.at(), sink));
    if let Some(ended_at) = ended_at.at().filter(|_| has_begun && is_done(&object)) {
        sink.event(&end(&session, ended_at, &object));
    }
    for name in ["id", "org_id"] {
        object.take(name);
    }
    sink.event(&state(&session, review_id, review_status, &object)?);
    result
}

fn is_done(object: &Object<'_>) -> bool {
    object.json("status") == Some("\"done\"")
}

/// Whether the session came to be. hoop has a session from the moment when somebody asks for one: while it waits for
/// its review, and when it was refused, there is none to tell of, unless output says otherwise.
fn has_begun(object: &Object<'_>, review: Option<Status>) -> bool {
    let waits = match review {
        Some(Status::Pending | Status::Rejected) => true,
        Some(_) => object.json("status") == Some("\"ready\""),
        None => false,
    };
    !waits || object.json("event_stream").is_some_and(stream::has_output)
}

fn start<'a>(
    session: &Session<'a>,
    review_id: Option<Text<'a>>,
    object: &mut Object<'a>,
) -> Result<Event<'a>, DecodeError> {
    let mut event = session.deed(Kind::SessionStart, "session.start", &["start"]);
    event.occurred_at = session.started_at;
    event.request_ids = review_id.into_iter().collect();
    event.recorded = Some(true);
    for (name, is_told) in [
        ("user", event.actor.is_some()),
        ("identity_type", event.actor_kind.is_some()),
        ("connection", event.target.is_some()),
        ("correlation_id", true),
        ("start_date", event.occurred_at.is_some()),
    ] {
        if is_told {
            object.take(name);
        }
    }
    // Type and subtype make two columns, neither of which is the whole of them.
    let is_unchanging = |name: &str| UNCHANGING.contains(&name) || matches!(name, "type" | "connection_subtype");
    event.detail = object.detail_of(is_unchanging)?;
    for name in UNCHANGING.into_iter().chain(["type", "connection_subtype"]) {
        object.take(name);
    }
    Ok(event)
}

/// What the session's owner wrote about it, and can write anew at any time: an event for each value.
fn metadata<'a>(session: &Session<'a>, object: &Object<'a>) -> Result<Option<Event<'a>>, DecodeError> {
    const NAMES: [&str; 2] = ["metadata", "integrations_metadata"];
    if NAMES.iter().all(|name| object.json(name).is_none_or(|json| matches!(json, "null" | "{}"))) {
        return Ok(None);
    }
    let detail = object.detail_of(|name| NAMES.contains(&name))?;
    let mut event = session.event(Kind::SessionActivity, "session.metadata", &["metadata", &content_id(&detail)]);
    event.reason = session.reason.clone();
    event.ticket = session.ticket.clone();
    // The session whose review this one rests on: it was opened with a credential that was given out there.
    event.request_ids = text_at(object.json("metadata"), "credential_session")
        .map(|id| Cow::Owned(["session:", &id].concat()))
        .into_iter()
        .collect();
    event.detail = detail;
    Ok(Some(event))
}

/// The input that was handed in with the session. Where the session did not begin it was not run.
fn script<'a>(session: &Session<'a>, has_begun: bool, object: &mut Object<'a>) -> Option<Event<'a>> {
    let script = text_at(object.json("script"), "data")?;
    object.take("script");
    let mut event = match has_begun {
        true => session.deed(Kind::SessionActivity, "session.input", &["input"]),
        false => session.deed(Kind::Other, "session.submitted", &["submitted"]),
    };
    event.occurred_at = session.started_at;
    event.action = Some(script);
    Some(event)
}

/// The pieces of the recording, what was asked of a database, and whether the recording was lost.
fn recording(
    session: &Session<'_>,
    object: &mut Object<'_>,
    ended_at: Option<Micros>,
    sink: &mut dyn Sink,
) -> Result<(), DecodeError> {
    let Some(json) = object.json("event_stream").filter(|json| *json != "null") else { return Ok(()) };
    let replay = Replay::of(object);
    let read = stream::read(session, json, replay, sink);
    if read.is_stream {
        object.take("event_stream");
    }
    if read.was_lost {
        let mut event = session.event(Kind::SessionActivity, "session.recording_lost", &["recording-lost"]);
        event.recorded = Some(false);
        sink.event(&event);
    }
    if let Some(ended_at) = ended_at.filter(|_| read.pieces > 0 && is_done(object)) {
        sink.piece(&Piece {
            session_id: session.id.clone(),
            cluster: session.org.clone(),
            channel: None,
            clock: Clock::SinceStart,
            code: Code::End,
            // After every entry that there can be.
            seq: ENTRIES_MAX,
            time_us: session.started_at.and_then(|started_at| ended_at.checked_sub(started_at)),
            at: Some(ended_at),
            position: None,
            data: Cow::Borrowed(b""),
        });
    }
    read.result
}

fn end<'a>(session: &Session<'a>, ended_at: Micros, object: &Object<'_>) -> Event<'a> {
    let exit_code = object.json("exit_code").and_then(int);
    let mut event = session.deed(Kind::SessionEnd, "session.end", &["end"]);
    event.occurred_at = Some(ended_at);
    event.session_started_at = session.started_at;
    event.session_ended_at = Some(ended_at);
    event.outcome = exit_code.map(outcome_of);
    if let Some(exit_code) = exit_code {
        event.detail = format!(r#"{{"exit_code":{exit_code}}}"#);
    }
    event
}

/// Everything else that the snapshot says, as it stood: an event for each content.
fn state<'a>(
    session: &Session<'a>,
    review_id: Option<Text<'a>>,
    review: Option<Status>,
    object: &Object<'a>,
) -> Result<Event<'a>, DecodeError> {
    let detail = object.detail()?;
    let mut event = session.event(Kind::Other, "session.state", &["state", &content_id(&detail)]);
    event.request_ids = review_id.into_iter().collect();
    event.request_state = review.and_then(Status::request_state).map(Cow::Borrowed);
    event.detail = detail;
    Ok(event)
}

/// The refusal of a session.
pub(super) fn rejected<'a>(session: &Session<'a>, review_id: Text<'a>, at: Option<Micros>) -> Event<'a> {
    let mut event = session.deed(Kind::SessionRejected, "session.rejected", &["rejected"]);
    event.occurred_at = at;
    event.outcome = Some(Outcome::Deny);
    event.request_ids = vec![review_id];
    event
}
