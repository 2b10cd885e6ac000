//! Teleport: audit events, and the recordings of sessions, as `teleport-event-handler` streams them and as they lie in
//! storage.
//!
//! The shapes are those that Teleport's `events.proto` prints as JSON: one flat object an event, `event` its type,
//! `code` its code; what a type carries is in `schemas/topics/teleport.md`, with what becomes of it here. Recordings at
//! rest hold the same messages in protobuf and are printed as such objects first.

use std::borrow::Cow;

use base64::Engine;
use custody_schemas::event::{ActorKind, Event, Kind, Outcome, Text};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use serde_json::value::RawValue;

use self::change::Change;
use super::object::{Object, Time, int, text, texts};
use super::wrapper::{self, BASE64, SHIPPER_FIELDS, Unpacked};
use super::{Sink, Source};

mod change;
mod message;
pub(crate) mod recording;

/// Value of [`FORM_HEADER`] where a record is a run of protobuf records of a recording.
pub(crate) const RECORDING: &str = "teleport-recording";

/// Value of [`FORM_HEADER`] where a record is a run of the events of a recording in JSON, and after them the output that
/// its prints tell of: what recordings were before version 4.4.
pub(crate) const PLAYBACK: &str = "teleport-playback";

/// Header of a [`PLAYBACK`]: how many bytes of the value are events.
pub(crate) const EVENTS_BYTES_HEADER: &str = "custody-events-bytes";

/// Header of a [`PLAYBACK`]: how much output there was before that of the value, in bytes.
pub(crate) const OUTPUT_FROM_HEADER: &str = "custody-output-from";

/// Code of an event that a newer agent sent through an older cluster; the event itself is the JSON text in `data`.
const UNKNOWN_CODE: &str = "TCC00E";

/// Decodes one message of a Teleport topic.
pub(super) fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let mut teleport = Teleport { source, message, sink, session: None, output: None };
    match super::form(message) {
        Some(form) if form == RECORDING.as_bytes() => {
            teleport.session = source.session_id_of_message(message);
            teleport.records(message.value.unwrap_or_default())
        }
        Some(form) if form == PLAYBACK.as_bytes() => {
            teleport.session = source.session_id_of_message(message);
            teleport.playback(message.value.unwrap_or_default())
        }
        _ => wrapper::unpack(message.value, &mut teleport),
    }
}

struct Teleport<'s> {
    source: &'s Source,
    message: &'s Message<'s>,
    sink: &'s mut dyn Sink,
    /// The session of the recording that the message was cut from.
    session: Option<Text<'s>>,
    /// Where the output stands beside the events: how much was before it, and its bytes.
    output: Option<(i64, &'s [u8])>,
}

impl Unpacked for Teleport<'_> {
    const BETWEEN_LOG_LINES: bool = false;

    fn is_event(&self, object: &Object<'_>) -> bool {
        object.json("event").is_some_and(|json| json.starts_with('"'))
    }

    fn object(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        // Elsewhere a number passes for text; the name of an event is never one.
        let event_type = if self.is_event(&object) { object.text("event") } else { None };
        let Some(event_type) = event_type else {
            return Err(DecodeError::new(ErrorKind::MissingField, "no `event`: not a Teleport event"));
        };
        match event_type.as_ref() {
            "print" => self.print(&object),
            // A piece of a desktop's recording: pictures, which are not replayed. The record keeps them.
            "desktop.recording" => Ok(()),
            _ if object.json("code").and_then(text).as_deref() == Some(UNKNOWN_CODE) => {
                self.unknown(event_type, object)
            }
            _ => self.event(event_type, object),
        }
    }
}

impl<'s> Teleport<'s> {
    /// Events of a recording and the output that they tell of.
    fn playback(&mut self, value: &'s [u8]) -> Result<(), DecodeError> {
        let number = |name| {
            let text = self.message.header(name).and_then(|value| std::str::from_utf8(value).ok());
            let missing = || DecodeError::new(ErrorKind::MissingField, format!("no usable header `{name}`"));
            text.and_then(|text| text.parse::<i64>().ok()).ok_or_else(missing)
        };
        let (events, from) = (number(EVENTS_BYTES_HEADER)?, number(OUTPUT_FROM_HEADER)?);
        let halves = usize::try_from(events).ok().and_then(|events| value.split_at_checked(events));
        let Some((events, output)) = halves else {
            return Err(DecodeError::new(ErrorKind::InvalidField, "more bytes of events than the value has"));
        };
        if events.is_empty() {
            return Err(DecodeError::new(ErrorKind::UnexpectedShape, "output that no print tells of"));
        }
        self.output = Some((from, output));
        wrapper::unpack(Some(events), self)
    }

    /// The output of a print whose bytes stand beside the events.
    fn output_of(&self, object: &Object<'_>) -> Option<&'s [u8]> {
        let (from, output) = self.output?;
        let start = usize::try_from(object.json("offset").and_then(int)?.checked_sub(from)?).ok()?;
        let len = usize::try_from(object.json("bytes").and_then(int)?).ok()?;
        output.get(start..start.checked_add(len)?)
    }

    /// Output of a recorded session.
    fn print(&mut self, object: &Object<'_>) -> Result<(), DecodeError> {
        let missing = |name| DecodeError::new(ErrorKind::MissingField, format!("a print has no `{name}`"));
        let invalid = |name| DecodeError::new(ErrorKind::InvalidField, format!("`{name}` of a print is not usable"));
        let data = match (object.json("data"), self.output_of(object)) {
            (Some(data), _) => {
                let data = super::object::string(data).ok_or_else(|| invalid("data"))?;
                let data = BASE64.decode(data.as_ref());
                let not_base64 = |_| DecodeError::new(ErrorKind::InvalidBase64, "`data` of a print is not base64");
                Cow::Owned(data.map_err(not_base64)?)
            }
            (None, Some(output)) => Cow::Borrowed(output),
            (None, None) => return Err(missing("data")),
        };
        let seq = object.json("ei").ok_or_else(|| missing("ei"))?;
        let seq = int(seq).filter(|seq| *seq >= 0).ok_or_else(|| invalid("ei"))?;
        let time_us = match object.json("ms") {
            None => None,
            Some(ms) => Some(int(ms).and_then(|ms| ms.checked_mul(1000)).ok_or_else(|| invalid("ms"))?),
        };
        let time = object.json("time").map_or(Time::Unset, super::object::time);
        let session_id = object
            .json("sid")
            .and_then(text)
            .or_else(|| self.session.clone())
            .or_else(|| self.source.session_id(self.message, object))
            .ok_or_else(|| DecodeError::new(ErrorKind::NoSessionId, "no header, key or field names the session"))?;
        self.sink.piece(&Piece {
            session_id,
            cluster: object.json("cluster_name").and_then(text),
            channel: None,
            clock: Clock::FirstOutput,
            code: Code::Output,
            seq,
            time_us,
            at: time.at(),
            position: object.json("offset").and_then(int),
            data,
        });
        match time {
            Time::Invalid => Err(invalid("time")),
            Time::At(_) | Time::Unset => Ok(()),
        }
    }

    /// An event of a type that the cluster did not know. Its own text is the event; where that cannot be read, the
    /// wrapping is.
    fn unknown<'a>(&mut self, event_type: Text<'a>, object: Object<'a>) -> Result<(), DecodeError> {
        let data = object.json("data").and_then(super::object::string);
        if let Some(mut inner) = data.as_deref().and_then(Object::parse)
            && let Some(inner_type) = inner.text("event")
        {
            return self.event(inner_type, inner);
        }
        self.event(event_type, object)
    }

    fn event<'a>(&mut self, event_type: Text<'a>, mut object: Object<'a>) -> Result<(), DecodeError> {
        let time = object.time("time");
        let mut event = event_of(event_type, &mut object, time)?;
        if event.source_type == "app.session.request" && event.session_id.is_none() && event.recording_id.is_none() {
            // It names neither its session nor the slice of it that it was recorded in; the recording's name does.
            event.recording_id = self.session.clone().or_else(|| self.source.session_id(self.message, &object));
        }
        self.sink.event(&event);
        // The event stands even where the piece that it also is cannot be placed.
        if let Some(mut piece) = piece_of(&event.source_type, &object, time)? {
            // An event in a recording may name another session than the recording is of.
            if let Some(session) = &self.session {
                piece.session_id.clone_from(session);
            }
            self.sink.piece(&piece);
        }
        match time {
            Time::Invalid => Err(DecodeError::new(ErrorKind::InvalidField, "`time` is not an instant")),
            Time::At(_) | Time::Unset => Ok(()),
        }
    }
}

/// The event type that device events of older clusters have by their code; those of others have it by name.
fn type_of<'a>(event_type: &'a str, code: Option<&str>) -> &'a str {
    match (event_type, code) {
        ("device", Some("TV001I" | "TV001E")) => "device.create",
        ("device", Some("TV002I" | "TV002E")) => "device.delete",
        ("device", Some("TV003I" | "TV003E")) => "device.token.create",
        ("device", Some("TV004I" | "TV004E")) => "device.token.spent",
        ("device", Some("TV005I" | "TV005E")) => "device.enroll",
        ("device", Some("TV006I" | "TV006E")) => "device.authenticate",
        ("device", Some("TV007I" | "TV007E")) => "device.update",
        _ => event_type,
    }
}

/// What sort of fact an event type is.
fn kind_of(event_type: &str) -> Kind {
    match event_type {
        "session.start"
        | "db.session.start"
        | "app.session.start"
        | "windows.desktop.session.start"
        | "linux.desktop.session.start"
        | "mcp.session.start" => Kind::SessionStart,
        "session.end"
        | "db.session.end"
        | "app.session.end"
        | "windows.desktop.session.end"
        | "linux.desktop.session.end"
        | "mcp.session.end" => Kind::SessionEnd,
        "session.join" => Kind::SessionJoin,
        "session.leave" => Kind::SessionLeave,
        "session.upload" => Kind::SessionUpload,
        "session.rejected" => Kind::SessionRejected,
        "session.recording.access" => Kind::RecordingAccess,
        // `session.exec` and `session.open` are the names that commands and files had before version 4.4.
        "session.command" | "session.disk" | "session.network" | "session.exec" | "session.open" | "exec" | "scp"
        | "sftp" | "sftp_summary" | "port" | "subsystem" | "x11-forward" | "kube.request" | "git.command" => {
            Kind::SessionActivity
        }
        "access_request.create" => Kind::RequestCreate,
        "access_request.review" => Kind::RequestReview,
        "access_request.update" => Kind::RequestUpdate,
        "access_request.delete" => Kind::RequestDelete,
        "access_request.expire" => Kind::RequestExpire,
        "cert.create" | "spiffe.svid.issued" => Kind::CredentialIssue,
        "user.login" | "auth" | "bot.join" | "instance.join" => Kind::Login,
        other if ["db.session.", "app.session.", "mcp.session.", "desktop."].iter().any(|of| other.starts_with(of)) => {
            Kind::SessionActivity
        }
        other if Change::of(other).is_some() => Kind::ConfigChange,
        _ => Kind::Other,
    }
}

fn is_request(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::RequestCreate | Kind::RequestReview | Kind::RequestUpdate | Kind::RequestDelete | Kind::RequestExpire
    )
}

/// The event of an object whose `event` and `time` have been taken.
fn event_of<'a>(event_type: Text<'a>, object: &mut Object<'a>, time: Time) -> Result<Event<'a>, DecodeError> {
    let source_code = object.text("code");
    let known_type = type_of(&event_type, source_code.as_deref());
    let kind = kind_of(known_type);
    let cluster = object.text("cluster_name");
    let mut event = Event {
        event_id: match object.text("uid") {
            Some(uid) => Cow::Owned(["teleport/", cluster.as_deref().unwrap_or_default(), "/", &uid].concat()),
            None => Cow::Borrowed(""),
        },
        cluster,
        occurred_at: time.at(),
        kind,
        source_code,
        actor_roles: object.texts("user_roles"),
        session_id: object.text("sid"),
        mfa_device: object.text("with_mfa"),
        remote_addr: object.text("addr.remote"),
        ..Event::default()
    };
    event.action = action(known_type, object);
    event.outcome = outcome(known_type, event.source_code.as_deref(), object);
    set_actor(&mut event, object);
    set_target(known_type, &mut event, object);
    event.recording_id = object.text("session_chunk_id");
    event.recorded = recorded(object);
    if is_request(kind) {
        event.request_ids = object.text("id").into_iter().collect();
        event.request_state = object.text("state");
        event.proposed_state = object.text("proposed_state");
        event.requested_roles = object.texts("roles");
        event.expires_at = object.time("expires").at();
    } else {
        event.request_ids = object.texts("access_requests");
    }
    if is_request(kind) || matches!(kind, Kind::SessionStart | Kind::SessionJoin) {
        event.reason = object.text("reason");
    }
    match kind {
        Kind::SessionEnd => {
            event.participants = object.texts("participants");
            event.session_started_at = object.time("session_start").at();
            event.session_ended_at = object.time("session_stop").at();
        }
        Kind::CredentialIssue => set_identity(&mut event, object),
        Kind::ConfigChange => event.participants = change::members(object),
        _ => {}
    }
    if event.mfa_device.is_none() && kind == Kind::Login {
        event.mfa_device = object.json_at("mfa_device.mfa_device_uuid").and_then(text);
    }
    leave_to_the_record(object, &event_type);
    object.take_unsaid();
    event.source_type = event_type;
    event.detail = object.detail()?;
    Ok(event)
}

/// Events that have a `path` of their own.
const EVENTS_WITH_PATH: [&str; 6] =
    ["session.command", "session.disk", "session.open", "scp", "sftp", "app.session.request"];

/// Keeps what shippers added out of the detail: it differs between two deliveries of one fact, which would then look
/// like two facts under one id. The record has it.
fn leave_to_the_record(object: &mut Object<'_>, event_type: &str) {
    for name in SHIPPER_FIELDS {
        object.take(name);
    }
    if !EVENTS_WITH_PATH.contains(&event_type) && object.find_text("path").is_some_and(|path| path.ends_with(".log")) {
        object.take("path");
    }
}

fn set_actor<'a>(event: &mut Event<'a>, object: &mut Object<'a>) {
    let first = match event.kind {
        Kind::RequestReview => "reviewer",
        Kind::RequestUpdate => "updated_by",
        _ => "user",
    };
    event.actor = object.text(first);
    for name in ["user", "updated_by"] {
        if event.actor.is_none() {
            event.actor = object.text(name);
        }
    }
    if event.actor.is_none() {
        // Device events of older clusters nest what is flat everywhere else.
        event.actor = object.json_at("user.user").and_then(text);
    }
    if event.actor.is_none() && event.kind == Kind::Login {
        event.actor = object.text("bot_name");
        event.actor_kind = event.actor.is_some().then_some(ActorKind::Bot);
    }
    event.delegator = object.text("delegator");
    let kind = match object.json("user_kind").and_then(int) {
        Some(1) => Some(ActorKind::Human),
        Some(2) => Some(ActorKind::Bot),
        Some(3) => Some(ActorKind::System),
        _ => None,
    };
    if kind.is_some() {
        object.take("user_kind");
        event.actor_kind = kind;
    }
}

/// Whether the session is recorded, by the mode that its events name; the mode itself stays in the detail. A desktop
/// says it in one word.
fn recorded(object: &mut Object<'_>) -> Option<bool> {
    match object.json("session_recording").and_then(text).as_deref() {
        Some("off") => Some(false),
        Some("node" | "node-sync" | "proxy" | "proxy-sync") => Some(true),
        _ => object.flag("recorded"),
    }
}

/// Where it happened, or what was changed. An event of a database or a cluster names the agent's server too: the
/// narrower thing counts.
fn set_target<'a>(event_type: &str, event: &mut Event<'a>, object: &mut Object<'a>) {
    const TARGETS: [(&str, &str); 7] = [
        ("db_service", "database"),
        ("app_name", "app"),
        ("desktop_name", "desktop"),
        ("kubernetes_cluster", "kubernetes"),
        ("server_hostname", "node"),
        ("server_id", "node"),
        ("node_name", "node"),
    ];
    let named = match event.kind {
        Kind::ConfigChange => Change::of(event_type).map(|change| change.target(object)),
        kind if is_request(kind) => requested(object),
        _ if event_type.starts_with("device.") => change::device(object),
        _ => None,
    };
    if let Some((target, kind)) = named {
        event.target = Some(target);
        event.target_kind = Some(kind.into());
    }
    for (name, kind) in TARGETS {
        if event.target.is_some() || event.kind == Kind::ConfigChange {
            break;
        }
        event.target = object.text(name);
        event.target_kind = event.target.is_some().then_some(kind.into());
    }
    for name in ["login", "db_user", "windows_user", "linux_user"] {
        if event.login.is_none() {
            event.login = object.text(name);
        }
    }
    for name in ["proto", "db_protocol"] {
        if event.protocol.is_none() {
            event.protocol = object.text(name);
        }
    }
}

/// What an access request asks for besides roles: the resource, or all of them with their kinds; or the access list that
/// it became. The detail keeps them as they were written.
fn requested<'a>(object: &Object<'a>) -> Option<(Text<'a>, &'static str)> {
    if let Some(list) = object.json("promoted_access_list_name").and_then(text) {
        return Some((list, "access_list"));
    }
    let ids: Vec<&RawValue> = serde_json::from_str(object.json("resource_ids")?).ok()?;
    let ids: Vec<_> = ids.iter().filter_map(|id| Object::parse(id.get())).collect();
    let part = |id: &Object<'a>, name| id.json(name).and_then(text);
    if let [id] = ids.as_slice() {
        let kind = match part(id, "kind").as_deref() {
            Some("node") => "node",
            Some("db") => "database",
            Some("app") => "app",
            Some("kube_cluster") => "kubernetes",
            Some("windows_desktop" | "linux_desktop") => "desktop",
            _ => "resource",
        };
        // Nodes have ids for names; the names that people know are listed beside them.
        let names = object.json("resource_names").and_then(texts).unwrap_or_default();
        let name = Some(names).filter(|names| names.len() == 1).and_then(|names| names.into_iter().next());
        return Some((name.or_else(|| part(id, "name"))?, kind));
    }
    let all = ids.iter().map(|id| {
        let parts = ["kind", "name", "sub_resource"].map(|name| part(id, name));
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    });
    let all = all.filter(|id| !id.is_empty()).collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then_some((Cow::Owned(all), "resources"))
}

/// Of a certificate: whose it is, which requests it carries, what it is for, and until when.
fn set_identity<'a>(event: &mut Event<'a>, object: &Object<'a>) {
    let Some(mut identity) = object.json("identity").and_then(Object::parse) else { return };
    event.actor = event.actor.take().or_else(|| identity.text("user"));
    event.actor_roles = identity.texts("roles");
    event.expires_at = identity.time("expires").at();
    if event.request_ids.is_empty() {
        event.request_ids = identity.texts("access_requests");
    }
    const ROUTES: [(&str, &str); 3] = [
        ("route_to_database.service_name", "database"),
        ("route_to_app.name", "app"),
        ("kubernetes_cluster", "kubernetes"),
    ];
    for (path, kind) in ROUTES {
        if event.target.is_none() {
            event.target = identity.json_at(path).and_then(text);
            event.target_kind = event.target.is_some().then_some(kind.into());
        }
    }
    let said = |path| identity.json_at(path).and_then(text);
    event.login = event.login.take().or_else(|| said("route_to_database.username"));
    event.session_id = event.session_id.take().or_else(|| said("route_to_app.session_id"));
    event.mfa_device = event.mfa_device.take().or_else(|| said("mfa_device_uuid"));
    event.remote_addr = event.remote_addr.take().or_else(|| said("client_ip"));
}

/// How it ended, by what the event says of itself. The last letter of a code is I, W, E or S; W and E are refusals and
/// failures, I alone says nothing.
fn outcome(event_type: &str, code: Option<&str>, object: &mut Object<'_>) -> Option<Outcome> {
    let said = match object.json_at("status.success") {
        // Device events of older clusters nest what is flat everywhere else.
        Some(nested) => Some(nested == "true"),
        None => object.flag("success"),
    };
    match (event_type, code) {
        ("session.rejected", _) | ("user.login", Some("T1014W")) => return Some(Outcome::Deny),
        // A login on a machine without a browser was asked for; how that ended is told by the next event.
        ("user.login", Some("T1012I")) => return None,
        _ => {}
    }
    // An enum in which 1 is "denied".
    if event_type == "session.network" && object.json("action").and_then(int) == Some(1) {
        return Some(Outcome::Deny);
    }
    match said {
        Some(true) => Some(Outcome::Success),
        Some(false) => Some(Outcome::Failure),
        None => code.filter(|code| code.ends_with(['E', 'W'])).map(|_| Outcome::Failure),
    }
}

/// What was done, as one text. Only a field that is the whole of it leaves the detail.
fn action<'a>(event_type: &str, object: &mut Object<'a>) -> Option<Text<'a>> {
    let words = |object: &Object<'a>, names: &[&str]| -> Option<Text<'a>> {
        let mut words = names.iter().filter_map(|name| object.json(name)).filter_map(text);
        let first = words.next()?;
        Some(words.fold(first, |line, word| Cow::Owned([&line, " ", &word].concat())))
    };
    let list = |object: &Object<'a>, name: &str| {
        object.json(name).and_then(texts).filter(|words| !words.is_empty()).map(|words| words.join(" "))
    };
    match event_type {
        "exec" => object.text("command"),
        "session.start" | "session.end" => list(object, "initial_command").map(Cow::Owned),
        "session.command" | "session.exec" => {
            let program = words(object, &["path"]).or_else(|| words(object, &["program"]))?;
            // Before version 4.4 the arguments were in `args`, and not without the program's own name.
            match list(object, "argv") {
                Some(arguments) => Some(Cow::Owned([&program, " ", arguments.as_str()].concat())),
                None => Some(program),
            }
        }
        "session.disk" | "session.open" => words(object, &["path"]),
        "session.network" => words(object, &["dst_addr", "dst_port"]),
        "scp" => words(object, &["action", "path"]),
        "sftp" => {
            let verb = object.json("action").and_then(int).and_then(sftp_verb);
            let paths = words(object, &["path", "target_path"]);
            match (verb, paths) {
                (Some(verb), Some(paths)) => Some(Cow::Owned([verb, " ", &paths].concat())),
                (verb, paths) => paths.or(verb.map(Cow::Borrowed)),
            }
        }
        "port" => object.text("addr"),
        "subsystem" => object.text("name"),
        "kube.request" => words(object, &["verb", "request_path"]),
        "app.session.request" => words(object, &["method", "path"]),
        "desktop.directory.share" | "desktop.directory.read" | "desktop.directory.write" => {
            words(object, &["directory_name", "file_path"])
        }
        "user.login" | "bot.join" | "instance.join" => object.text("method"),
        "access_request.search" => words(object, &["resource_type"]),
        "secreports.audit.query.run" => object.text("query"),
        "secreports.report.run" => words(object, &["name"]),
        "client.disconnect" => words(object, &["reason"]),
        "git.command" => object.text("command"),
        other if other.starts_with("mcp.session.") => object.json_at("message.method").and_then(text),
        other if other.starts_with("db.session.") => object.text("db_query").or_else(|| object.text("query")),
        other => Change::of(other).map(|change| Cow::Owned(change.action())),
    }
}

/// Name of an SFTP operation, by Teleport's numbers.
fn sftp_verb(number: i64) -> Option<&'static str> {
    const VERBS: [&str; 19] = [
        "open", "close", "read", "write", "lstat", "fstat", "setstat", "fsetstat", "opendir", "readdir", "remove",
        "mkdir", "rmdir", "realpath", "stat", "rename", "readlink", "symlink", "link",
    ];
    VERBS.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// The piece of a recording that an event is besides: the terminal's size, or the end.
fn piece_of<'a>(event_type: &str, object: &Object<'a>, time: Time) -> Result<Option<Piece<'a>>, DecodeError> {
    let (code, data) = match event_type {
        "session.start" | "resize" => match object.json("size").and_then(text).as_deref().and_then(size) {
            Some((columns, rows)) => (Code::Resize, format!("{columns}x{rows}").into_bytes()),
            None => return Ok(None),
        },
        "session.end" => (Code::End, Vec::new()),
        _ => return Ok(None),
    };
    let (Some(session_id), Some(seq)) = (object.json("sid").and_then(text), object.json("ei")) else {
        return Ok(None);
    };
    let seq = int(seq)
        .filter(|seq| *seq >= 0)
        .ok_or_else(|| DecodeError::new(ErrorKind::InvalidField, "`ei` is not a position in a stream"))?;
    Ok(Some(Piece {
        session_id,
        cluster: object.json("cluster_name").and_then(text),
        channel: None,
        clock: Clock::FirstOutput,
        code,
        seq,
        time_us: None,
        at: time.at(),
        position: None,
        data: Cow::Owned(data),
    }))
}

/// Columns and rows of `W:H`.
fn size(text: &str) -> Option<(u16, u16)> {
    let (columns, rows) = text.split_once(':')?;
    Some((columns.parse().ok()?, rows.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::source::SourceKind;
    use crate::source::testing::{
        Decoded, check_example, decoded, decoded_message, example, fixture, fixture_lines, message, mutated,
    };

    fn teleport(value: impl AsRef<[u8]>) -> Decoded {
        decoded(SourceKind::Teleport, value)
    }

    /// The only event of an object.
    fn event(object: &Value) -> Value {
        let out = teleport(object.to_string());
        assert_eq!((out.events.len(), out.error), (1, None), "{object}: {}", out.error_detail);
        out.events[0].clone()
    }

    #[test]
    fn the_contracts_examples_are_decoded_as_it_says() {
        check_example(SourceKind::Teleport, "teleport-request.ndjson", None);
        check_example(SourceKind::Teleport, "teleport-session.ndjson", None);
        check_example(SourceKind::Teleport, "teleport-shipped.ndjson", None);
    }

    #[test]
    fn outcomes_are_what_the_event_says_of_itself() {
        let cases = [
            ("success", json!({"event": "user.login", "code": "T1000I", "success": true}), json!("success")),
            ("no success", json!({"event": "user.login", "code": "T1000W", "success": false}), json!("failure")),
            ("the flag before the code", json!({"event": "x", "code": "X1E", "success": true}), json!("success")),
            ("error code", json!({"event": "exec", "code": "T3002E"}), json!("failure")),
            ("warning code", json!({"event": "x11-forward", "code": "T3008W"}), json!("failure")),
            ("information says nothing", json!({"event": "exec", "code": "T3002I"}), Value::Null),
            ("stop says nothing", json!({"event": "port", "code": "T3003S"}), Value::Null),
            ("rejected", json!({"event": "session.rejected", "code": "T1006W"}), json!("deny")),
            ("network denied", json!({"event": "session.network", "code": "T4002I", "action": 1}), json!("deny")),
            ("network observed", json!({"event": "session.network", "code": "T4002I", "action": 0}), Value::Null),
            ("failed authentication", json!({"event": "auth", "code": "T3007W", "success": false}), json!("failure")),
            ("headless asked", json!({"event": "user.login", "code": "T1012I", "success": false}), Value::Null),
            ("headless approved", json!({"event": "user.login", "code": "T1013I", "success": true}), json!("success")),
            ("headless failed", json!({"event": "user.login", "code": "T1013W", "success": false}), json!("failure")),
            ("headless refused", json!({"event": "user.login", "code": "T1014W", "success": false}), json!("deny")),
            ("nested", json!({"event": "device", "code": "TV006I", "status": {"success": false}}), json!("failure")),
            ("recording watched", json!({"event": "session.recording.access", "success": true}), json!("success")),
            ("list not changed", json!({"event": "access_list.update", "code": "TAL002E"}), json!("failure")),
        ];
        for (name, object, expected) in cases {
            assert_eq!(event(&object)["outcome"], expected, "{name}");
        }
    }

    #[test]
    fn actors_targets_and_actions_are_found_where_each_type_has_them() {
        let cases = [
            (
                "reviewer",
                json!({"event": "access_request.review", "reviewer": "r", "id": "q"}),
                json!({"actor": "r", "request_ids": ["q"]}),
            ),
            (
                "updater and delegator",
                json!({"event": "access_request.update", "updated_by": "plugin", "delegator": "d"}),
                json!({"actor": "plugin", "delegator": "d"}),
            ),
            ("deleter", json!({"event": "access_request.delete", "user": "u"}), json!({"actor": "u"})),
            ("updater of a resource", json!({"event": "role.created", "updated_by": "u"}), json!({"actor": "u"})),
            ("nested user", json!({"event": "device", "user": {"user": "u"}}), json!({"actor": "u"})),
            ("bot", json!({"event": "x", "user": "b", "user_kind": 2}), json!({"actor_kind": "bot"})),
            ("system", json!({"event": "x", "user": "b", "user_kind": "3"}), json!({"actor_kind": "system"})),
            (
                "database",
                json!({"event": "db.session.query", "db_service": "d", "server_id": "s", "db_user": "u",
                    "db_protocol": "postgres", "db_query": "select 1"}),
                json!({"target": "d", "target_kind": "database", "login": "u", "protocol": "postgres",
                    "action": "select 1", "kind": "session.activity"}),
            ),
            (
                "cluster before server",
                json!({"event": "session.start", "kubernetes_cluster": "k", "server_hostname": "h", "proto": "kube"}),
                json!({"target": "k", "target_kind": "kubernetes", "protocol": "kube"}),
            ),
            (
                "server without a name",
                json!({"event": "session.join", "server_id": "s", "server_hostname": ""}),
                json!({"target": "s", "target_kind": "node"}),
            ),
            (
                "desktop",
                json!({"event": "windows.desktop.session.start", "desktop_name": "d", "windows_user": "w"}),
                json!({"target": "d", "target_kind": "desktop", "login": "w", "kind": "session.start"}),
            ),
            (
                "request to a cluster",
                json!({"event": "kube.request", "verb": "GET", "request_path": "/api/v1"}),
                json!({"action": "GET /api/v1"}),
            ),
            (
                "command with arguments",
                json!({"event": "session.command", "program": "cat", "path": "/bin/cat", "argv": ["-n", "/etc/motd"]}),
                json!({"action": "/bin/cat -n /etc/motd"}),
            ),
            ("plain shell", json!({"event": "session.start", "initial_command": [""]}), json!({"action": null})),
            (
                "initial command",
                json!({"event": "session.start", "initial_command": ["ls", "-l"]}),
                json!({"action": "ls -l"}),
            ),
            (
                "file operation",
                json!({"event": "sftp", "action": 16, "path": "/a", "target_path": "/b"}),
                json!({"action": "rename /a /b"}),
            ),
            (
                "file operation of the future",
                json!({"event": "sftp", "action": 99, "path": "/a"}),
                json!({"action": "/a"}),
            ),
            ("copy", json!({"event": "scp", "action": "upload", "path": "/a"}), json!({"action": "upload /a"})),
            (
                "address",
                json!({"event": "session.network", "dst_addr": "::1", "dst_port": "3000"}),
                json!({"action": "::1 3000"}),
            ),
            (
                "viewer of a recording",
                json!({"event": "session.recording.access", "user": "v", "sid": "s"}),
                json!({"actor": "v", "session_id": "s", "kind": "recording.access"}),
            ),
            (
                "reason of a disconnection is not a reason for access",
                json!({"event": "client.disconnect", "reason": "idle"}),
                json!({"reason": null, "detail": {"reason": "idle"}}),
            ),
            (
                "requests without the empty ones",
                json!({"event": "session.join", "access_requests": ["", "q", null]}),
                json!({"request_ids": ["q"]}),
            ),
            ("no requests", json!({"event": "session.join", "access_requests": null}), json!({"request_ids": null})),
        ];
        for (name, object, expected) in cases {
            let event = event(&object);
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(&event[column], value, "{name}: {column}");
            }
        }
    }

    #[test]
    fn changes_of_what_rules_access_are_told_in_words() {
        let cases = [
            ("role.created", json!({"name": "dba"}), "create role", ("dba", "role")),
            ("role.updated", json!({"name": "dba"}), "update role", ("dba", "role")),
            ("role.deleted", json!({"name": "dba"}), "delete role", ("dba", "role")),
            ("user.create", json!({"name": "bob", "roles": ["r"]}), "create user", ("bob", "user")),
            ("user.update", json!({"name": "bob"}), "update user", ("bob", "user")),
            ("user.delete", json!({"name": "bob"}), "delete user", ("bob", "user")),
            ("user.password_change", json!({}), "change password of user", ("user", "user")),
            ("access_list.create", json!({"name": "l-1"}), "create access list", ("l-1", "access_list")),
            ("access_list.update", json!({"name": "l-1"}), "update access list", ("l-1", "access_list")),
            ("access_list.delete", json!({"name": "l-1"}), "delete access list", ("l-1", "access_list")),
            ("access_list.review", json!({"name": "l-1"}), "review access list", ("l-1", "access_list")),
            (
                "access_list.member.create",
                json!({"access_list_name": "l-1", "members": []}),
                "create access list member",
                ("l-1", "access_list"),
            ),
            (
                "access_list.member.delete_all_for_access_list",
                json!({"access_list_name": "l-1"}),
                "delete all access list member",
                ("l-1", "access_list"),
            ),
            ("lock.created", json!({"name": "x", "target": {"user": "bob"}}), "create lock", ("bob", "user")),
            ("lock.created", json!({"name": "x", "target": {"role": "dba"}}), "create lock", ("dba", "role")),
            ("lock.created", json!({"lock": {"target": {"server_id": "n"}}}), "create lock", ("n", "node")),
            ("lock.deleted", json!({"name": "x", "target": {}}), "delete lock", ("x", "lock")),
            ("github.created", json!({"name": "gh"}), "create github", ("gh", "connector")),
            ("oidc.deleted", json!({"name": "o"}), "delete oidc", ("o", "connector")),
            ("saml.updated", json!({"name": "s"}), "update saml", ("s", "connector")),
            (
                "saml.idp.service.provider.create",
                json!({"name": "p"}),
                "create saml idp service provider",
                ("p", "service_provider"),
            ),
            ("trusted_cluster.create", json!({"name": "leaf"}), "create trusted cluster", ("leaf", "trusted_cluster")),
            ("join_token.create", json!({"name": "t"}), "create join token", ("t", "token")),
            ("reset_password_token.create", json!({"name": "bob"}), "create reset password token", ("bob", "user")),
            ("bot.create", json!({"name": "ci"}), "create bot", ("ci", "bot")),
            ("app.update", json!({"name": "wiki"}), "update app", ("wiki", "app")),
            ("db.create", json!({"name": "orders", "db_protocol": "postgres"}), "create db", ("orders", "database")),
            ("kube.delete", json!({"name": "k"}), "delete kube", ("k", "kubernetes")),
            (
                "session_recording_config.update",
                json!({"name": ""}),
                "update session recording config",
                ("session_recording_config", "config"),
            ),
            ("auth_preference.update", json!({}), "update auth preference", ("auth_preference", "config")),
            (
                "external_audit_storage.disable",
                json!({}),
                "disable external audit storage",
                ("external_audit_storage", "config"),
            ),
            ("mfa.add", json!({"mfa_device_name": "usb-c"}), "add mfa", ("usb-c", "mfa_device")),
            ("mfa.delete", json!({"mfa_device_uuid": "m-1"}), "delete mfa", ("m-1", "mfa_device")),
            ("device.enroll", json!({"device": {"asset_tag": "M2"}}), "enroll device", ("M2", "device")),
            ("device.token.create", json!({"device": {"device_id": "d"}}), "create device token", ("d", "device")),
            ("login_rule.create", json!({"name": "lr"}), "create login rule", ("lr", "login_rule")),
        ];
        for (event_type, mut object, action, (target, kind)) in cases {
            let fields = object.as_object_mut().unwrap();
            fields.insert("event".to_owned(), json!(event_type));
            fields.insert("updated_by".to_owned(), json!("admin@x"));
            let event = event(&object);
            assert_eq!(event["kind"], "config.change", "{event_type}");
            assert_eq!(
                (&event["actor"], &event["action"], &event["target"], &event["target_kind"]),
                (&json!("admin@x"), &json!(action), &json!(target), &json!(kind)),
                "{event_type}"
            );
        }
        // Neither is a change.
        for other in ["device.authenticate", "device.token.spent", "access_list.invalid", "recovery_code.generated"] {
            let event = event(&json!({"event": other, "device": {"device_id": "d"}}));
            assert_eq!(event["kind"], "other", "{other}");
            assert_eq!(event["target"] == "d", other.starts_with("device."), "{other}");
        }
    }

    #[test]
    fn what_newer_versions_and_older_ones_say_has_its_columns() {
        let id = |kind: &str, name: &str| json!({"cluster": "c", "kind": kind, "name": name});
        let cases = [
            (
                "members of an access list",
                json!({"event": "access_list.member.create", "updated_by": "u", "access_list_name": "l",
                    "members": [{"member_name": "a@x", "joined_on": "2025-06-02T09:00:00Z"}, {"member_name": "b@x"}]}),
                json!({"participants": ["a@x", "b@x"], "detail": {"members": [
                    {"joined_on": "2025-06-02T09:00:00Z", "member_name": "a@x"}, {"member_name": "b@x"}]}}),
            ),
            (
                "removed by a review",
                json!({"event": "access_list.review", "name": "l", "message": "quarterly", "removed_members": ["c@x"]}),
                json!({"participants": ["c@x"], "detail": {"message": "quarterly", "removed_members": ["c@x"]}}),
            ),
            (
                "one resource",
                json!({"event": "access_request.create", "id": "q", "user": "u", "resource_ids": [id("db", "orders")]}),
                json!({"target": "orders", "target_kind": "database", "detail": {"resource_ids": [id("db", "orders")]}}),
            ),
            (
                "one resource with a name",
                json!({"event": "access_request.create", "resource_ids": [id("node", "n-1")], "resource_names": ["db-1"]}),
                json!({"target": "db-1", "target_kind": "node"}),
            ),
            (
                "several resources",
                json!({"event": "access_request.create", "resource_ids": [id("node", "n-1"), id("app", "wiki")]}),
                json!({"target": "node/n-1, app/wiki", "target_kind": "resources"}),
            ),
            (
                "promoted",
                json!({"event": "access_request.review", "id": "q", "reviewer": "r", "state": "PROMOTED",
                    "promoted_access_list_name": "l", "assume_start_time": "2025-06-02T09:00:00Z",
                    "max_duration": "0001-01-01T00:00:00Z", "submitted_by": "plugin"}),
                json!({"target": "l", "target_kind": "access_list", "actor": "r", "detail": {
                    "assume_start_time": "2025-06-02T09:00:00Z", "promoted_access_list_name": "l",
                    "submitted_by": "plugin"}}),
            ),
            (
                "certificate for a database",
                json!({"event": "cert.create", "cert_type": "user", "identity": {"user": "u", "client_ip": "192.0.2.1",
                    "mfa_device_uuid": "m", "route_to_database": {"service_name": "orders", "username": "app"}}}),
                json!({"target": "orders", "target_kind": "database", "login": "app", "actor": "u",
                    "remote_addr": "192.0.2.1", "mfa_device": "m"}),
            ),
            (
                "certificate for an application's session",
                json!({"event": "cert.create", "identity": {"route_to_app": {"name": "wiki", "session_id": "s"}}}),
                json!({"target": "wiki", "target_kind": "app", "session_id": "s"}),
            ),
            (
                "certificate for a cluster",
                json!({"event": "cert.create", "identity": {"kubernetes_cluster": "k"}}),
                json!({"target": "k", "target_kind": "kubernetes"}),
            ),
            (
                "recorded",
                json!({"event": "session.start", "session_recording": "proxy-sync"}),
                json!({"recorded": true}),
            ),
            (
                "not recorded",
                json!({"event": "session.end", "session_recording": "off"}),
                json!({"recorded": false, "detail": {"session_recording": "off"}}),
            ),
            ("mode of old", json!({"event": "session.end", "session_recording": "strict"}), json!({"recorded": null})),
            (
                "desktop not recorded",
                json!({"event": "windows.desktop.session.end", "recorded": false}),
                json!({"recorded": false, "detail": {}}),
            ),
            (
                "slice of an application's session",
                json!({"event": "app.session.chunk", "sid": "s", "session_chunk_id": "chunk", "app_name": "wiki"}),
                json!({"session_id": "s", "recording_id": "chunk", "target": "wiki", "kind": "session.activity"}),
            ),
            (
                "login with a device",
                json!({"event": "user.login", "method": "local", "mfa_device": {"mfa_device_uuid": "m"}}),
                json!({"mfa_device": "m", "action": "local", "kind": "login"}),
            ),
            (
                "a bot joins",
                json!({"event": "bot.join", "code": "TJ001I", "bot_name": "ci", "method": "github", "success": true}),
                json!({"kind": "login", "actor": "ci", "actor_kind": "bot", "action": "github", "outcome": "success"}),
            ),
            (
                "a node joins",
                json!({"event": "instance.join", "node_name": "n", "method": "token", "role": "Node"}),
                json!({"kind": "login", "target": "n", "target_kind": "node", "action": "token"}),
            ),
            (
                "device event of an older cluster",
                json!({"event": "device", "code": "TV005I", "device": {"asset_tag": "M2"}, "user": {"user": "u"},
                    "status": {"success": true}}),
                json!({"kind": "config.change", "source_type": "device", "action": "enroll device", "target": "M2",
                    "actor": "u", "outcome": "success"}),
            ),
            (
                "a tool of an MCP server",
                json!({"event": "mcp.session.request", "sid": "s", "app_name": "mcp-1",
                    "message": {"method": "tools/call", "params": {"name": "query"}}}),
                json!({"kind": "session.activity", "action": "tools/call", "target": "mcp-1"}),
            ),
            (
                "a query over the audit log",
                json!({"event": "secreports.audit.query.run", "user": "u", "query": "select 1", "days": 7}),
                json!({"kind": "other", "action": "select 1", "detail": {"days": 7}}),
            ),
            (
                "cut off for idleness",
                json!({"event": "client.disconnect", "user": "u", "reason": "idle", "server_id": "n"}),
                json!({"kind": "other", "action": "idle", "reason": null, "target": "n"}),
            ),
            (
                "a cluster is asked without a session",
                json!({"event": "kube.request", "user": "u", "kubernetes_cluster": "k", "verb": "GET",
                    "request_path": "/api"}),
                json!({"kind": "session.activity", "session_id": null, "target": "k", "action": "GET /api"}),
            ),
            (
                "what says nothing",
                json!({"event": "x", "a": "", "b": null, "c": [], "d": {}, "e": "0001-01-01T00:00:00Z", "f": 0,
                    "g": false, "h": [""]}),
                json!({"detail": {"f": 0, "g": false, "h": [""]}}),
            ),
            (
                "home cluster",
                json!({"event": "session.start", "cluster_name": "leaf", "user_cluster_name": "root"}),
                json!({"cluster": "leaf", "detail": {"user_cluster_name": "root"}}),
            ),
            (
                "an event without an id of its own",
                json!({"event": "session.open", "sid": "s", "ei": 7}),
                json!({"event_id": "", "session_id": "s"}),
            ),
        ];
        for (name, object, expected) in cases {
            let event = event(&object);
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(&event[column], value, "{name}: {column}");
            }
        }
    }

    #[test]
    fn a_request_in_the_recording_of_an_application_is_of_the_slice_that_the_recording_is_named_after() {
        let chunk = "3a54f32d-210f-4338-abf5-133bfe19ccc0";
        let value = br#"{"event":"app.session.request","method":"GET","path":"/x"}"#;
        let out = decoded_message(SourceKind::Teleport, &message(Some(&format!("session.{chunk}.log")), value));
        assert_eq!((&out.events[0]["recording_id"], &out.events[0]["session_id"]), (&json!(chunk), &Value::Null));
    }

    #[test]
    fn what_cannot_be_used_is_kept_and_said() {
        use ErrorKind::*;
        let cases: &[(&str, &str, usize, Option<ErrorKind>)] = &[
            ("no time is no error", r#"{"event":"x"}"#, 1, None),
            ("zero time", r#"{"event":"x","time":"0001-01-01T00:00:00Z"}"#, 1, None),
            ("wrong time", r#"{"event":"x","time":"yesterday"}"#, 1, Some(InvalidField)),
            ("time out of range", r#"{"event":"x","time":"99999-01-01T00:00:00Z"}"#, 1, Some(InvalidField)),
            ("time as a number", r#"{"event":"x","time":1685800000}"#, 1, Some(InvalidField)),
            ("wrong end of access is kept in the detail", r#"{"event":"x","expires":111111}"#, 1, None),
            ("no event", r#"{"code":"T2000I"}"#, 0, Some(MissingField)),
            ("empty event", r#"{"event":""}"#, 0, Some(MissingField)),
            ("event a number", r#"{"event":7}"#, 0, Some(MissingField)),
            ("twice", r#"{"event":"x","user":"a","user":"b"}"#, 0, Some(DuplicateKey)),
            ("twice, unknown", r#"{"event":"x","q":"a","q":"a"}"#, 0, Some(DuplicateKey)),
            ("position out of range", r#"{"event":"session.end","sid":"s","ei":-1}"#, 1, Some(InvalidField)),
            ("no position, no piece", r#"{"event":"session.end","sid":"s"}"#, 1, None),
            ("half a surrogate stays in the detail", r#"{"event":"x","uid":"\ud800"}"#, 1, None),
        ];
        for (name, json, events, error) in cases {
            let out = teleport(json);
            assert_eq!((out.events.len(), out.error), (*events, *error), "{name}");
        }
    }

    #[test]
    fn deliveries_by_different_shippers_give_the_same_event() {
        let bare = r#"{"event":"session.leave","uid":"u1","cluster_name":"c","sid":"s1","user":"a","extra":1}"#;
        let vector = r#"{"event":"session.leave","uid":"u1","cluster_name":"c","sid":"s1","user":"a","extra":1,
            "path":"/session.s1.log","timestamp":"2026-11-02T09:00:00Z","source_type":"http_server","host":"h"}"#;
        let logstash = r#"{"@timestamp":"2026-11-02T09:00:00Z","@version":"1","sid":"s1","user":"a","extra":1,
            "event":"session.leave","uid":"u1","cluster_name":"c","headers":{"request_path":"/session.s1.log"}}"#;
        let [bare, vector, logstash] = [bare, vector, logstash].map(|value| teleport(value).events);
        assert_eq!(bare, vector);
        assert_eq!(bare, logstash);
        let own = teleport(r#"{"event":"scp","sid":"s1","path":"/var/log/app.log"}"#);
        assert_eq!(own.events[0]["detail"]["path"], "/var/log/app.log");
    }

    #[test]
    fn the_detail_has_every_field_without_a_column_and_no_other() {
        let event =
            event(&json!({"event": "session.upload", "ei": 7, "uid": "u", "cluster_name": "c", "url": "s3://b",
            "sid": "s", "server_labels": {"b": 1, "a": 2}, "time": "2025-06-02T09:00:00Z", "code": "T2005I"}));
        assert_eq!(event["detail"], json!({"ei": 7, "url": "s3://b", "server_labels": {"a": 2, "b": 1}}));
        assert_eq!(event["event_id"], "teleport/c/u");
    }

    #[test]
    fn prints_are_pieces_of_the_session_that_their_routing_names() {
        let print = |extra: &str| format!(r#"{{"event":"print","ei":3,"ms":1253,"offset":54,"data":"cw=="{extra}}}"#);
        let headers = [("session_id", Some(b"from-header".as_slice()))];
        type Case<'a> = (&'a str, String, Option<&'a str>, bool, Option<&'a str>);
        let cases: &[Case<'_>] = &[
            ("field", print(r#","sid":"from-field""#), Some("k-1"), true, Some("from-field")),
            ("header", print(""), Some("k-1"), true, Some("from-header")),
            ("key", print(""), Some("k-1"), false, Some("k-1")),
            ("path", print(r#","path":"/session.p1.log""#), None, false, Some("p1")),
            (
                "path around",
                format!(r#"{{"message":{},"path":"/session.p1.log"}}"#, Value::from(print(""))),
                None,
                false,
                Some("p1"),
            ),
            ("nowhere", print(""), None, false, None),
        ];
        for (name, value, key, with_header, expected) in cases {
            let mut message = message(*key, value.as_bytes());
            if *with_header {
                message.headers = &headers;
            }
            let out = decoded_message(SourceKind::Teleport, &message);
            assert_eq!(
                out.pieces.first().map_or(&Value::Null, |piece| &piece["session_id"]),
                &json!(expected),
                "{name}"
            );
            assert_eq!(out.error, expected.is_none().then_some(ErrorKind::NoSessionId), "{name}");
            assert!(out.events.is_empty(), "{name}: a print is no event");
        }
    }

    #[test]
    fn a_print_has_to_have_its_place_and_its_bytes() {
        use ErrorKind::*;
        let cases: &[(&str, &str, Option<ErrorKind>)] = &[
            ("whole", r#""ei":1,"ms":0,"data":"cw==""#, None),
            ("as strings", r#""ei":"1","ms":"0","data":"cw==""#, None),
            ("through floating point", r#""ei":1.0,"ms":12.0,"data":"cw==""#, None),
            ("no padding", r#""ei":1,"ms":0,"data":"cw""#, None),
            ("no bytes", r#""ei":1,"ms":0,"data":"""#, None),
            ("no ms", r#""ei":1,"data":"cw==""#, None),
            ("no data", r#""ei":1,"ms":0,"bytes":5"#, Some(MissingField)),
            ("no ei", r#""ms":0,"data":"cw==""#, Some(MissingField)),
            ("negative ei", r#""ei":-1,"ms":0,"data":"cw==""#, Some(InvalidField)),
            ("ms beyond an i64", r#""ei":1,"ms":9223372036854775807,"data":"cw==""#, Some(InvalidField)),
            ("ms no number", r#""ei":1,"ms":{},"data":"cw==""#, Some(InvalidField)),
            ("data no string", r#""ei":1,"ms":0,"data":[1]"#, Some(InvalidField)),
            ("data no base64", r#""ei":1,"ms":0,"data":"c!==""#, Some(InvalidBase64)),
        ];
        for (name, fields, error) in cases {
            let out = teleport(format!(r#"{{"event":"print","sid":"s",{fields}}}"#));
            assert_eq!((out.error, out.pieces.len()), (*error, usize::from(error.is_none())), "{name}");
        }
    }

    #[test]
    fn errors_do_not_quote_values() {
        let secret = "hunter2";
        for value in [
            format!(r#"{{"event":"print","ei":"{secret}","data":"cw=="}}"#),
            format!(r#"{{"event":"print","ei":1,"data":"{secret}!"}}"#),
            format!(r#"{{"event":"x","time":"{secret}"}}"#),
            format!(r#"{{"{secret}":1,"{secret}":2}}"#),
            format!(r#"{{"event":"{secret}","#),
            secret.to_owned(),
        ] {
            let out = teleport(&value);
            assert!(out.error.is_some(), "{value}");
            assert!(!out.error_detail.contains(secret), "{}", out.error_detail);
        }
    }

    #[test]
    fn an_event_that_the_cluster_did_not_know_is_read_from_its_own_text() {
        let inner = json!({"event": "session.start", "code": "T2000I", "uid": "i", "user": "u"}).to_string();
        let outer =
            json!({"event": "unknown", "code": "TCC00E", "uid": "o", "unknown_event": "session.start", "data": inner});
        let out = event(&outer);
        assert_eq!((&out["kind"], &out["event_id"]), (&json!("session.start"), &json!("teleport//i")));
        for data in [json!("not JSON"), json!("{}"), json!(5)] {
            let out = event(&json!({"event": "unknown", "code": "TCC00E", "uid": "o", "data": data}));
            assert_eq!((&out["kind"], &out["source_type"]), (&json!("other"), &json!("unknown")));
            assert_eq!(out["detail"], json!({"data": data}));
        }
    }

    #[test]
    fn the_scenario_from_request_to_upload_comes_out_whole() {
        let Some(lines) = fixture_lines("teleport/derived/correlation-scenario.SYNTHETIC.ndjson") else { return };
        let (mut events, mut pieces) = (Vec::new(), Vec::new());
        for line in &lines {
            let out = teleport(line);
            assert_eq!(out.error, None, "{line}");
            events.extend(out.events);
            pieces.extend(out.pieces);
        }
        let columns = |names: &[&str]| -> Vec<Value> {
            events.iter().map(|event| names.iter().map(|name| event[*name].clone()).collect()).collect()
        };
        let (first, second) = ("01973000-aaaa-7000-8000-000000000aaa", "01973001-bbbb-7000-8000-000000000bbb");
        let session = "20000000-0000-4000-8000-000000000001";
        assert_eq!(
            columns(&["kind", "actor", "request_ids", "request_state", "proposed_state", "session_id"]),
            [
                json!(["request.create", "alice@example.com", [first], "PENDING", null, null]),
                json!(["request.review", "bob@example.com", [first], "PENDING", "APPROVED", null]),
                json!(["request.review", "carol@example.com", [first], "APPROVED", "APPROVED", null]),
                json!(["credential.issue", "alice@example.com", [first], null, null, null]),
                json!(["session.start", "alice@example.com", [first], null, null, session]),
                json!(["session.end", "alice@example.com", [first], null, null, session]),
                json!(["session.upload", null, null, null, null, session]),
                json!(["request.create", "dave@example.com", [second], "PENDING", null, null]),
                json!(["request.update", "access-plugin", [second], "APPROVED", null, null]),
                json!(["request.expire", null, [second], null, null, null]),
            ]
        );
        assert_eq!(
            columns(&["occurred_at", "expires_at", "reason", "delegator", "source_code"]),
            [
                json!([
                    "2025-06-02T09:00:00.120000Z",
                    "2025-06-02T13:00:00.000000Z",
                    "INC-4711 restore replica",
                    null,
                    "T5000I"
                ]),
                json!(["2025-06-02T09:02:10.500000Z", "2025-06-02T13:00:00.000000Z", "first of two", null, "T5002I"]),
                json!(["2025-06-02T09:03:40.750000Z", "2025-06-02T13:00:00.000000Z", "ok, on call", null, "T5002I"]),
                json!(["2025-06-02T09:04:00.000000Z", "2025-06-02T13:00:00.000000Z", null, null, "TC000I"]),
                json!(["2025-06-02T09:05:00.001000Z", null, null, null, "T2000I"]),
                json!(["2025-06-02T09:15:00.500000Z", null, null, null, "T2004I"]),
                json!(["2025-06-02T09:15:04.200000Z", null, null, null, "T2005I"]),
                json!(["2025-06-02T10:00:00.000000Z", "2025-06-02T12:00:00.000000Z", null, null, "T5000I"]),
                json!([
                    "2025-06-02T10:00:30.000000Z",
                    "2025-06-02T12:00:00.000000Z",
                    "auto-approved: on-call",
                    "erin@example.com",
                    "T5001I"
                ]),
                json!(["2025-06-02T12:00:01.000000Z", "2025-06-02T12:00:00.000000Z", null, null, "T5005I"]),
            ]
        );
        assert_eq!(events[0]["requested_roles"], json!(["prod-db-admin"]));
        assert_eq!(events[0]["actor_roles"], json!(["requester"]));
        assert_eq!(events[3]["actor_roles"], json!(["requester", "prod-db-admin"]));
        assert_eq!(
            events[4],
            json!({"event_id": "teleport/root.example.com/10000000-0000-4000-8000-000000000005",
                "cluster": "root.example.com", "occurred_at": "2025-06-02T09:05:00.001000Z", "kind": "session.start",
                "source_type": "session.start", "source_code": "T2000I", "actor": "alice@example.com",
                "actor_kind": "human", "target": "db-1", "target_kind": "node", "login": "root", "session_id": session,
                "protocol": "ssh", "request_ids": [first], "recorded": true, "remote_addr": "203.0.113.7:50001",
                "detail": {"ei": 0, "namespace": "default", "server_id": "30000000-0000-4000-8000-000000000001",
                    "server_version": "18.2.0", "size": "120:40", "initial_command": [""],
                    "session_recording": "node"}})
        );
        assert_eq!(
            ["session_started_at", "session_ended_at", "participants"].map(|name| events[5][name].clone()),
            [json!("2025-06-02T09:05:00.000123Z"), json!("2025-06-02T09:15:00.499999Z"), json!(["alice@example.com"])]
        );
        let piece = |code, seq, at, data| {
            json!({"session_id": session, "cluster": "root.example.com", "clock": "first_output", "code": code,
                "seq": seq, "at": at, "data": data})
        };
        assert_eq!(
            pieces,
            [
                piece("r", 0, "2025-06-02T09:05:00.001000Z", "120x40"),
                piece("e", 900, "2025-06-02T09:15:00.500000Z", "")
            ]
        );
    }

    #[test]
    fn the_streamed_recording_is_the_recording() {
        let Some(lines) = fixture_lines("teleport/derived/vim.event-handler-session.ndjson") else { return };
        let stream = fixture("teleport/recordings-web-2019/vim.tty.stream").expect("its other half");
        let mut all = Decoded::default();
        for line in &lines {
            let source = Source::new(SourceKind::Teleport);
            let message = message(Some("session.516965e5-e6ef-11e9-9d5b-42010a80002b.log"), line.as_bytes());
            super::decode(&source, &message, &mut all).unwrap();
        }
        assert_eq!(all.output, stream);
        // The start, a resize, 156 prints and the end; one at each position but the session's leaving.
        let seqs: Vec<i64> = all.pieces.iter().map(|piece| piece["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (0..160).filter(|seq| *seq != 158).collect::<Vec<_>>());
        assert!(all.pieces.iter().all(|piece| piece["session_id"] == "516965e5-e6ef-11e9-9d5b-42010a80002b"));
        assert_eq!((&all.pieces[0]["data"], &all.pieces[1]["data"]), (&json!("80x25"), &json!("185x54")));
        assert_eq!(all.pieces[157]["time_us"], 43_432_000);
        assert_eq!(all.pieces[157]["position"], 17_861);
        let kinds: Vec<&str> = all.events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["session.start", "other", "session.leave", "session.end"]);
    }

    fn kinds(events: &[Value]) -> BTreeMap<&str, usize> {
        events.iter().fold(BTreeMap::new(), |mut kinds, event| {
            *kinds.entry(event["kind"].as_str().unwrap()).or_default() += 1;
            kinds
        })
    }

    #[test]
    fn every_known_event_type_is_decoded() {
        let Some(lines) = fixture_lines("teleport/audit-events/ui-fixtures-2023-06.ndjson") else { return };
        let out: Vec<Decoded> = lines.iter().map(teleport).collect();
        let errors: Vec<_> = lines.iter().zip(&out).filter(|(_, out)| out.error.is_some()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let events: Vec<Value> = out.iter().flat_map(|out| out.events.clone()).collect();
        assert_eq!(events.len(), 196);
        assert!(events.iter().all(|event| event["occurred_at"].is_string()));
        // Written by hand, some without a `uid`.
        assert_eq!(events.iter().filter(|event| event["event_id"] == "").count(), 39);
        let expected = [
            ("config.change", 49),
            ("credential.issue", 1),
            ("login", 7),
            ("other", 30),
            ("recording.access", 1),
            ("request.create", 1),
            ("request.delete", 1),
            ("request.update", 1),
            ("session.activity", 92),
            ("session.end", 6),
            ("session.join", 1),
            ("session.start", 6),
        ];
        assert_eq!(kinds(&events), BTreeMap::from(expected));
    }

    #[test]
    fn the_exact_encodings_are_decoded() {
        let Some(lines) = fixture_lines("teleport/audit-events/marshal-vectors-2023-06.ndjson") else { return };
        let out: Vec<Decoded> = lines.iter().map(teleport).collect();
        let errors: Vec<_> = out.iter().filter_map(|out| out.error).collect();
        // The print: its bytes were in another file at the time.
        assert_eq!(errors, [ErrorKind::MissingField]);
        let events: Vec<Value> = out.iter().flat_map(|out| out.events.clone()).collect();
        let expected = [
            ("config.change", 1),
            ("login", 2),
            ("other", 2),
            ("session.activity", 13),
            ("session.end", 2),
            ("session.join", 1),
            ("session.leave", 1),
            ("session.start", 2),
        ];
        assert_eq!(kinds(&events), BTreeMap::from(expected));
    }

    #[test]
    fn a_list_of_nine_thousand_events_is_one_message() {
        let Some(list) = fixture("teleport/recordings-web-2019/vim.audit.events.json") else { return };
        let out = teleport(list);
        assert_eq!((out.events.len(), out.error), (8974 + 157, None));
        assert_eq!(kinds(&out.events), BTreeMap::from([("session.activity", 8974 + 157)]));
    }

    fn examples() -> Vec<Vec<u8>> {
        ["teleport-request.ndjson", "teleport-session.ndjson", "teleport-shipped.ndjson"].map(example).concat()
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = teleport(&bytes);
            let _ = teleport([&[0x1f, 0x8b, 8][..], &bytes].concat());
        }

        #[test]
        fn damaged_messages_do_no_harm(value in mutated(examples()), key in ".{0,20}") {
            let headers = [("sid", Some(key.as_bytes()))];
            let _ = decoded_message(SourceKind::Teleport, &Message { headers: &headers, ..message(None, &value) });
            let _ = decoded_message(SourceKind::Teleport, &message(Some(&key), &value));
        }
    }
}
