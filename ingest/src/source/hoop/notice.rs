//! What hoop tells by itself: webhooks, runbook hooks, routed events, and the audit log of its configuration.

use std::borrow::Cow;

use base64::Engine;
use custody_schemas::event::{Event, Kind, Outcome, Text};
use custody_schemas::record::{DecodeError, ErrorKind};

use super::super::Sink;
use super::super::object::{Document, Object, Time, canonical, int, string, texts};
use super::review::Status;
use super::{BASE64, check, content_id, event_id, outcome_of, peek, target_kind};

/// The exit code that stands for "not known" in webhooks.
const UNKNOWN_EXIT_CODE: i64 = -100;

/// Decodes a webhook or a routed event, by its `event_type`.
pub(super) fn notice(mut object: Object<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let Some(event_type) = object.text("event_type") else {
        return Err(DecodeError::new(ErrorKind::MissingField, "`event_type` is empty"));
    };
    match event_type.as_ref() {
        "session.open" => session_open(object, sink),
        "session.close" => session_close(object, sink),
        _ => {
            // The fields of an event stand in the message itself, or as its row in hoop's database has them.
            let payload = object.json("payload").and_then(Object::parse);
            let org = peek(&object, "org_id");
            match payload {
                Some(payload) => routed(event_type, org, payload, sink),
                None => {
                    object.take("org_id");
                    routed(event_type, org, object, sink)
                }
            }
        }
    }
}

fn missing(name: &str) -> DecodeError {
    DecodeError::new(ErrorKind::MissingField, format!("no `{name}`"))
}

/// A session was opened, or is about to wait for its review. Webhooks tell neither the organisation nor the time.
fn session_open(mut object: Object<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let session_id = object.text("id").ok_or_else(|| missing("id"))?;
    let review = object.json("review").and_then(Object::parse);
    let status = review.as_ref().and_then(Status::of);
    if let Some(mut review) = review {
        let word = review.text("status").unwrap_or_default();
        sink.event(&Event {
            event_id: event_id(None, &[&session_id, "open", "review", &word]),
            kind: Kind::Other,
            source_type: Cow::Borrowed("session.open.review"),
            actor: review.text("owner_email"),
            action: review.text("type"),
            session_id: Some(session_id.clone()),
            request_state: status.and_then(Status::request_state).map(Cow::Borrowed),
            detail: review.detail()?,
            ..Event::default()
        });
        object.take("review");
    }
    // While it waits for a review, and when it was refused, no session has begun.
    let has_begun = !matches!(status, Some(Status::Pending | Status::Rejected));
    let (kind, last) = if has_begun { (Kind::SessionStart, "start") } else { (Kind::Other, "asked") };
    let connection_type = object.text("connection_type");
    let target = object.text("connection");
    let command = object.json("command").and_then(|json| match string(json) {
        Some(command) => Some(command).filter(|command| !command.is_empty()),
        None => texts(json).filter(|words| !words.is_empty()).map(|words| Cow::Owned(words.join(" "))),
    });
    let input = input_text(&object);
    let base = Event {
        kind,
        source_type: Cow::Borrowed("session.open"),
        actor: object.text("user_email"),
        target_kind: target.is_some().then(|| target_kind(connection_type.as_deref(), None).into()),
        target,
        protocol: connection_type,
        session_id: Some(session_id.clone()),
        ..Event::default()
    };
    if let Some(input) = input.filter(|_| has_begun) {
        sink.event(&Event {
            event_id: event_id(None, &[&session_id, "open", "input"]),
            kind: Kind::SessionActivity,
            action: Some(input),
            detail: "{}".to_owned(),
            ..base.clone()
        });
    }
    // hoop lists these in another order each time.
    let names = ["connection_envs", "input_envs"].map(|name| {
        let mut names = object.json(name).and_then(texts).unwrap_or_default();
        names.sort_unstable();
        object.take(name);
        (name, serde_json::json!(names).to_string())
    });
    sink.event(&Event {
        event_id: event_id(None, &[&session_id, "open", last]),
        action: command,
        detail: with_fields(&object.detail()?, names)?,
        ..base
    });
    Ok(())
}

/// The input of a one-off execution, where it is text.
fn input_text<'a>(object: &Object<'_>) -> Option<Text<'a>> {
    if object.json("verb") != Some("\"exec\"") {
        return None;
    }
    let input = BASE64.decode(peek(object, "input")?.as_ref()).ok()?;
    String::from_utf8(input).ok().filter(|input| !input.is_empty()).map(Cow::Owned)
}

/// A canonical object with further fields.
fn with_fields<const N: usize>(object: &str, fields: [(&str, String); N]) -> Result<String, DecodeError> {
    let parsed = Object::parse(object);
    let mut all: Vec<(String, String)> = parsed
        .iter()
        .flat_map(Object::sorted_fields)
        .map(|(name, json)| (name.to_owned(), json.to_owned()))
        .chain(fields.into_iter().map(|(name, json)| (name.to_owned(), json)))
        .collect();
    all.sort_unstable();
    let mut out = String::new();
    let members: Vec<String> =
        all.iter().map(|(name, json)| format!("{}:{json}", serde_json::Value::from(name.as_str()))).collect();
    canonical(&format!("{{{}}}", members.join(",")), &mut out)?;
    Ok(out)
}

fn session_close(mut object: Object<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let session_id = object.text("id").ok_or_else(|| missing("id"))?;
    let exit_code = object.json("exit_code").and_then(int).filter(|code| *code != UNKNOWN_EXIT_CODE);
    sink.event(&Event {
        event_id: event_id(None, &[&session_id, "close"]),
        kind: Kind::SessionEnd,
        source_type: Cow::Borrowed("session.close"),
        outcome: exit_code.map(outcome_of),
        session_id: Some(session_id),
        detail: object.detail()?,
        ..Event::default()
    });
    Ok(())
}

/// The webhook for Microsoft Teams: somebody asked for a review. It is a card to be looked at, and has no id but the
/// session's.
pub(super) fn card(object: &Object<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let card = Card::of(object).unwrap_or_default();
    let session_id = card.session_id.ok_or_else(|| {
        DecodeError::new(ErrorKind::UnexpectedShape, "a card that does not link to a session is not one of hoop's")
    })?;
    sink.event(&Event {
        event_id: event_id(None, &[&session_id, "card"]),
        kind: Kind::RequestCreate,
        source_type: Cow::Borrowed("microsoftteams.review.create"),
        // The name and the address are one text.
        actor: card.created_by.as_deref().and_then(|by| by.rsplit_once(" | ")).map(|(_, mail)| mail.to_owned().into()),
        action: card.code,
        target_kind: card.connection.is_some().then_some("target".into()),
        target: card.connection,
        session_id: Some(session_id),
        request_state: Some(Cow::Borrowed("PENDING")),
        detail: object.detail()?,
        ..Event::default()
    });
    Ok(())
}

/// What a card shows.
#[derive(Default)]
struct Card<'a> {
    session_id: Option<Text<'a>>,
    created_by: Option<Text<'a>>,
    connection: Option<Text<'a>>,
    code: Option<Text<'a>>,
}

impl<'a> Card<'a> {
    fn of(object: &Object<'a>) -> Option<Self> {
        let elements = |json: Option<&'a str>| match Document::parse(json?) {
            Ok(Document::Array(elements)) => Some(elements.into_iter().filter_map(Object::parse).collect::<Vec<_>>()),
            _ => None,
        };
        let attachments = elements(object.json("attachments"))?;
        let body = elements(attachments.first()?.json_at("content.body"))?;
        let mut card = Self::default();
        for block in &body {
            if let Some(link) = block.json("text").and_then(string) {
                card.session_id = card.session_id.or_else(|| linked_session(&link));
            }
            for fact in elements(block.json("facts")).unwrap_or_default() {
                match fact.json("title") {
                    Some("\"Created By\"") => card.created_by = peek(&fact, "value"),
                    Some("\"Connection\"") => card.connection = peek(&fact, "value"),
                    _ => {}
                }
            }
            for item in elements(block.json("items")).unwrap_or_default() {
                card.code = card.code.or_else(|| item.json("codeSnippet").and_then(string));
            }
        }
        card.code = card.code.filter(|code| !code.is_empty());
        Some(card)
    }
}

/// The session of a link `[<id>](<url>/sessions/<id>)`.
fn linked_session<'a>(link: &str) -> Option<Text<'a>> {
    let (id, url) = link.strip_prefix('[')?.strip_suffix(')')?.split_once("](")?;
    url.ends_with(&["/sessions/", id].concat()).then(|| Cow::Owned(id.to_owned()))
}

/// The payload of a runbook hook. What concerns the hook itself (its id, its program) stays in the record, and of the
/// connection's environment only the names are taken: the values are its credentials.
pub(super) fn runbook_hook(object: &Object<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let session_id = peek(object, "sid").ok_or_else(|| missing("sid"))?;
    if let Some(mut open) = object.json("event_session_open").and_then(Object::parse) {
        let subtype = open.text("connection_subtype");
        let connection_type = peek(&open, "connection_type");
        let target = open.text("connection_name");
        let names = open.json("connection_envs").and_then(Object::parse);
        let names: Vec<String> =
            names.iter().flat_map(Object::sorted_fields).map(|(name, _)| name.to_owned()).collect();
        open.take("connection_envs");
        let mut event = Event {
            event_id: event_id(None, &[&session_id, "hook", "open"]),
            // hoop runs the hook before a review too: that the session began does not follow.
            kind: Kind::SessionActivity,
            source_type: Cow::Borrowed("runbook_hook.session_open"),
            actor: open.text("user_email"),
            action: open.text("input"),
            target_kind: target.is_some().then(|| target_kind(connection_type.as_deref(), subtype.as_deref()).into()),
            target,
            session_id: Some(session_id.clone()),
            protocol: subtype.or(connection_type),
            ..Event::default()
        };
        event.detail = with_fields(&open.detail()?, [("connection_envs", serde_json::json!(names).to_string())])?;
        sink.event(&event);
    }
    if let Some(close) = object.json("event_session_close").and_then(Object::parse) {
        let exit_code = close.json("exit_code").and_then(int).filter(|code| *code != UNKNOWN_EXIT_CODE);
        sink.event(&Event {
            event_id: event_id(None, &[&session_id, "hook", "close"]),
            kind: Kind::SessionEnd,
            source_type: Cow::Borrowed("runbook_hook.session_close"),
            outcome: exit_code.map(outcome_of),
            session_id: Some(session_id),
            detail: close.detail()?,
            ..Event::default()
        });
    }
    Ok(())
}

/// An event that hoop routes to runbooks. It says that something was noticed; a reviewer in it is the first group's,
/// not whoever approved, so nobody is named as the approver.
fn routed<'a>(
    event_type: Text<'a>,
    org: Option<Text<'a>>,
    mut payload: Object<'a>,
    sink: &mut dyn Sink,
) -> Result<(), DecodeError> {
    let time = payload.time("occurred_at");
    let session_id = payload.text("session_id");
    let review_id = peek(&payload, "review_id");
    // hoop's own key of an event: what it is about, its type, and of a violation the rule.
    let about = match event_type.as_ref() {
        "session.guardrail_violation" => peek(&payload, "rule").unwrap_or_default(),
        other if other.starts_with("access.") => review_id.clone().unwrap_or_default(),
        "session.started"
        | "session.closed"
        | "session.pci_scope_entered"
        | "session.anomaly_detected"
        | "alert.sensitive_data_detected"
        | "alert.data_masked" => Cow::Borrowed(""),
        // Types of later versions: one event each content.
        _ => Cow::Owned(content_id(&payload.detail()?)),
    };
    let kind = match event_type.as_ref() {
        other if session_id.is_some() && ["session.", "alert."].iter().any(|of| other.starts_with(of)) => {
            Kind::SessionActivity
        }
        _ => Kind::Other,
    };
    let target = payload.text("connection");
    let exit_code = payload.json("exit_code").and_then(int);
    let id = session_id.as_deref().unwrap_or_default();
    let path: Vec<&str> = ["event", id, &event_type, &about].into_iter().filter(|part| !part.is_empty()).collect();
    let mut event = Event {
        event_id: event_id(org.as_deref(), &path),
        cluster: org,
        occurred_at: time.at(),
        kind,
        actor: payload.text("user"),
        target_kind: target.is_some().then_some("target".into()),
        target,
        session_id,
        request_ids: review_id.into_iter().collect(),
        outcome: exit_code.map(outcome_of),
        ..Event::default()
    };
    if event_type == "session.guardrail_violation" {
        event.outcome = Some(Outcome::Deny);
        event.action = payload.text("query_excerpt");
    }
    if !event.request_ids.is_empty() {
        payload.take("review_id");
    }
    event.source_type = event_type;
    event.detail = payload.detail()?;
    sink.event(&event);
    check(time, "occurred_at")
}

/// An entry of the audit log: somebody changed the configuration.
pub(super) fn audit_entry(mut object: Object<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let id = object.text("id").unwrap_or_default();
    let org = object.text("org_id");
    let time: Time = object.time("created_at");
    let mut event = Event {
        event_id: event_id(org.as_deref(), &["audit", &id]),
        cluster: org,
        occurred_at: time.at(),
        kind: Kind::ConfigChange,
        source_type: Cow::Borrowed("audit_log"),
        remote_addr: object.text("client_ip"),
        outcome: object.flag("outcome").map(|worked| if worked { Outcome::Success } else { Outcome::Failure }),
        ..Event::default()
    };
    event.actor = ["actor_email", "actor_subject", "actor_name"].iter().find_map(|name| object.text(name));
    event.action = peek(&object, "action")
        .zip(peek(&object, "resource_type"))
        .map(|(action, resource)| Cow::Owned([&action, " ", resource.as_ref()].concat()));
    event.detail = object.detail()?;
    sink.event(&event);
    check(time, "created_at")
}
