//! Audit events: requests to the API of a controller.
//!
//! A request that takes longer than ten seconds is written in parts, each with some of its sections. Every part is an
//! event here, and carries the request's id in `source_code`.

use std::borrow::Cow;

use custody_schemas::event::{ActorKind, Event, Kind, Text};
use custody_schemas::record::DecodeError;

use super::super::Sink;
use super::super::object::{Object, Time, int, text};
use super::{Fact, instant, method_and_path, outcome, said, section};

/// Resources that rule who may access what, and whether it is recorded.
const CONFIGURATION: [&str; 18] = [
    "accounts",
    "aliases",
    "auth-methods",
    "credential-libraries",
    "credential-stores",
    "credentials",
    "groups",
    "host-catalogs",
    "host-sets",
    "hosts",
    "managed-groups",
    "policies",
    "roles",
    "scopes",
    "storage-buckets",
    "targets",
    "users",
    "workers",
];

/// What a request asks for, by its method and path.
struct Call<'p> {
    /// `targets`, `session-recordings`.
    resource: &'p str,
    /// Id or alias of the one that it is about.
    id: Option<&'p str>,
    /// `read`, `list`, `create`, `update`, `delete`, or the action that the path names.
    verb: &'p str,
    is_write: bool,
}

impl<'p> Call<'p> {
    /// Reads `/v1/<resource>/<id>:<verb>`.
    fn parse(method: &'p str, path: &'p str) -> Option<Self> {
        let path = path.split_once('?').map_or(path, |(path, _)| path).strip_prefix("/v1/")?;
        let (place, verb) = path.split_once(':').map_or((path, None), |(place, verb)| (place, Some(verb)));
        let (resource, id) = place.split_once('/').map_or((place, ""), |(resource, id)| (resource, id));
        let id = Some(id.trim_end_matches('/')).filter(|id| !id.is_empty());
        let verb = verb.or(match (method, id) {
            ("GET", Some(_)) => Some("read"),
            ("GET", None) => Some("list"),
            ("POST", _) => Some("create"),
            ("PATCH" | "PUT", _) => Some("update"),
            ("DELETE", _) => Some("delete"),
            _ => None,
        })?;
        // Anyone can send any path. Only what looks like Boundary's own words becomes the name of a type.
        let is_word = |word: &str| {
            (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b"-:".contains(&b))
        };
        let is_write = method != "GET";
        (is_word(resource) && is_word(verb)).then_some(Self { resource, id, verb, is_write })
    }

    /// `authorize-session target ttcp_1234567890`.
    fn action(&self) -> String {
        let one = match (self.resource.strip_suffix("ies"), self.resource.strip_suffix('s')) {
            _ if self.verb.starts_with("list") => self.resource.to_owned(),
            (Some(stem), _) => format!("{stem}y"),
            (_, Some("aliase")) => "alias".to_owned(),
            (_, one) => one.unwrap_or(self.resource).to_owned(),
        };
        [self.verb, &one].into_iter().chain(self.id).collect::<Vec<_>>().join(" ")
    }

    /// What sort of fact the request is. A session was authorized when the response has one: nothing else proves it.
    fn kind(&self, is_refused: bool, has_session: bool) -> Kind {
        match (self.resource, self.verb) {
            ("targets", "authorize-session") if is_refused => Kind::SessionRejected,
            ("targets", "authorize-session") if has_session => Kind::SessionStart,
            ("targets", "authorize-session") => Kind::Other,
            ("auth-methods", verb) if verb.starts_with("authenticate") => Kind::Login,
            ("session-recordings", verb) if verb.starts_with("list") => Kind::Other,
            ("session-recordings", "delete" | "reapply-storage-policy") => Kind::ConfigChange,
            ("session-recordings", _) => Kind::RecordingAccess,
            (resource, _) if self.is_write && CONFIGURATION.contains(&resource) => Kind::ConfigChange,
            _ => Kind::Other,
        }
    }
}

/// The sections of an audit event that columns are filled from.
struct Request<'a> {
    info: Option<Object<'a>>,
    auth: Option<Object<'a>>,
    user: Option<Object<'a>>,
    asked: Option<Object<'a>>,
    status: Option<i64>,
    /// The response, and the thing in it that the request was about.
    answer: Option<Object<'a>>,
    item: Option<Object<'a>>,
}

impl<'a> Request<'a> {
    fn of(data: &Object<'a>) -> Result<Self, DecodeError> {
        let inside =
            |object: &Option<Object<'a>>, name| object.as_ref().map_or(Ok(None), |object| section(object, name));
        let auth = section(data, "auth")?;
        let response = section(data, "response")?;
        let answer = inside(&response, "details")?;
        Ok(Self {
            info: section(data, "request_info")?,
            user: inside(&auth, "user_info")?,
            auth,
            asked: inside(&section(data, "request")?, "details")?,
            status: response.as_ref().and_then(|response| response.json("status_code")).and_then(int),
            item: inside(&answer, "item")?,
            answer,
        })
    }

    fn item(&self, name: &str) -> Option<Text<'a>> {
        said(self.item.as_ref(), name)
    }
}

/// Gives the sink the event of a request, and the end of a session where the response tells of one. Returns the time.
pub(super) fn tell(mut fact: Fact<'_>, sink: &mut dyn Sink) -> Result<Time, DecodeError> {
    let request = Request::of(&fact.data)?;
    let stated = fact.data.json("timestamp").and_then(text);
    let time = match fact.data.time("timestamp") {
        Time::Unset => fact.time,
        stated => stated,
    };
    let id = fact.data.text("id");
    let mut event = Event {
        event_id: match (&id, request.status) {
            (None, _) => Cow::Borrowed(""),
            (Some(id), Some(_)) => fact.event_id([id].into_iter()),
            // A part before the last, of which there may be several.
            (Some(id), None) => fact.event_id([id].into_iter().chain(stated.as_ref().or(fact.time_text.as_ref()))),
        },
        cluster: fact.cluster.clone(),
        occurred_at: time.at(),
        source_code: id,
        outcome: request.status.and_then(outcome),
        correlation_id: fact.data.text("correlation_id"),
        remote_addr: said(request.info.as_ref(), "client_ip"),
        integrity: fact.verdict.integrity,
        ..Event::default()
    };
    set_actor(&mut event, &request);
    set_call(&mut event, &request);
    if event.source_type.is_empty() {
        // A part that does not say what was asked for.
        event.source_type = said(Some(&fact.data), "type").unwrap_or(Cow::Borrowed("audit"));
    }
    event.detail = fact.detail()?;
    sink.event(&event);
    if let Some(end) = session_end(&event, request)? {
        sink.event(&end);
    }
    Ok(time)
}

/// Who asked. `u_recovery` is no person's account: it stands for whoever holds the recovery key.
fn set_actor<'a>(event: &mut Event<'a>, request: &Request<'a>) {
    let user = said(request.user.as_ref(), "id");
    if user.as_deref() == Some("u_recovery") {
        event.actor_kind = Some(ActorKind::System);
    }
    event.actor = said(request.auth.as_ref(), "email").or(user);
}

/// What was asked for, of what.
fn set_call<'a>(event: &mut Event<'a>, request: &Request<'a>) {
    let [method, path] = ["method", "path"].map(|name| said(request.info.as_ref(), name).unwrap_or_default());
    let Some(call) = Call::parse(&method, &path) else {
        event.action = method_and_path(request.info.as_ref());
        return;
    };
    let session = request.item("session_id");
    let is_refused = request.status.is_some_and(|status| status >= 400);
    let named = || call.id.map(|id| Cow::Owned(id.to_owned()));
    event.kind = call.kind(is_refused, session.is_some());
    event.source_type = Cow::Owned([call.resource, ".", call.verb].concat());
    event.action = Some(Cow::Owned(call.action()));
    event.target = named().or_else(|| request.item("id"));
    match call.resource {
        "targets" => {
            // The path may have an alias, the request's own id is what it stands for.
            let asked = ["id", "name"].into_iter().find_map(|name| said(request.asked.as_ref(), name));
            event.target = request.item("target_id").or(asked).or(event.target.take());
            event.target_kind = event.target.is_some().then_some("target".into());
        }
        "sessions" => event.session_id = named(),
        "session-recordings" => {
            // A connection or a channel of a recording has an id too; of which recording only its reading says.
            event.recording_id = event.target.clone().filter(|id| id.starts_with("sr_"));
            event.session_id = session.clone();
        }
        _ => {}
    }
    match event.kind {
        Kind::SessionStart => {
            event.actor = event.actor.take().or_else(|| request.item("user_id"));
            event.session_id = session;
            event.protocol = request.item("type");
            event.recording_id = request.item("session_recording_id");
            event.recorded = Some(request.item.as_ref().is_some_and(|item| item.has("session_recording_id")));
            event.session_started_at = request.item.as_ref().and_then(|item| instant(item, "created_time"));
            event.expires_at = request.item.as_ref().and_then(|item| instant(item, "expiration"));
        }
        Kind::Login => {
            // Until the response one is nobody.
            let token = request.answer.as_ref().and_then(|answer| answer.json_at("Attrs.AuthTokenResponse"));
            let token = token.and_then(Object::parse);
            event.actor = said(token.as_ref(), "user_id").or(event.actor.take());
        }
        _ => {}
    }
}

/// The end of a session: Boundary has no event of it, but says so to whoever reads or cancels the session.
fn session_end<'a>(event: &Event<'a>, request: Request<'a>) -> Result<Option<Event<'a>>, DecodeError> {
    let is_session = event.source_type.starts_with("sessions.");
    let Some(mut item) =
        request.item.filter(|item| is_session && said(Some(item), "status").as_deref() == Some("terminated"))
    else {
        return Ok(None);
    };
    let Some(session_id) = said(Some(&item), "id") else { return Ok(None) };
    let ended = ended_at(&item);
    let end = Event {
        event_id: match event.event_id.is_empty() {
            true => Cow::Borrowed(""),
            false => Cow::Owned([&event.event_id, "/end/", session_id.as_ref()].concat()),
        },
        cluster: event.cluster.clone(),
        // Where the item does not say when: by the time of the request it had ended.
        occurred_at: ended.or(event.occurred_at),
        kind: Kind::SessionEnd,
        source_type: Cow::Borrowed("sessions.terminated"),
        source_code: event.source_code.clone(),
        actor: said(Some(&item), "user_id"),
        target: said(Some(&item), "target_id"),
        target_kind: said(Some(&item), "target_id").map(|_| "target".into()),
        protocol: said(Some(&item), "type"),
        session_started_at: instant(&item, "created_time"),
        session_ended_at: ended,
        expires_at: instant(&item, "expiration_time"),
        session_id: Some(session_id),
        integrity: event.integrity,
        ..Event::default()
    };
    for (name, is_held) in [
        ("id", true),
        ("user_id", end.actor.is_some()),
        ("target_id", end.target.is_some()),
        ("type", end.protocol.is_some()),
    ] {
        if is_held {
            item.take(name);
        }
    }
    Ok(Some(Event { detail: item.detail()?, ..end }))
}

/// When a terminated session ended: when that state began, or else when the active one ended.
fn ended_at(item: &Object<'_>) -> Option<custody_schemas::time::Micros> {
    let states: Vec<&serde_json::value::RawValue> = serde_json::from_str(item.json("states")?).ok()?;
    let states: Vec<Object<'_>> = states.into_iter().filter_map(|state| Object::parse(state.get())).collect();
    let of = |status: &str, time: &str| {
        let state = states.iter().find(|state| said(Some(state), "status").as_deref() == Some(status))?;
        instant(state, time)
    };
    of("terminated", "start_time").or_else(|| of("active", "end_time"))
}
