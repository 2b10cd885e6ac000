//! Notices to write: one with everything, and generated ones.

use custody_schemas::event::{ActorKind, Event, Integrity, Kind, Outcome, Text};
use custody_schemas::time::Micros;
use custody_schemas::time::{Parsed, parse_rfc3339};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use crate::notice::{Access, Evidence, Notice};

/// What a notice borrows from.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) event: Event<'static>,
    pub(crate) source: &'static str,
    pub(crate) topic: String,
    pub(crate) offset: i64,
    pub(crate) broker_at: Option<Micros>,
    pub(crate) access: Vec<Access>,
    pub(crate) revision: u32,
}

impl Case {
    pub(crate) fn of(event: Event<'static>) -> Self {
        let topic = "audit.events".to_owned();
        Self { event, source: "teleport", topic, offset: 41_235, broker_at: None, access: Vec::new(), revision: 0 }
    }

    pub(crate) fn notice(&self) -> Notice<'_> {
        let evidence = Evidence {
            topic: &self.topic,
            partition: 3,
            offset: self.offset,
            index: 1,
            broker_at: self.broker_at,
            ingested_at: NOW,
        };
        let Self { event, source, access, revision, .. } = self;
        Notice { event: event.clone(), source, evidence, access, revision: *revision }
    }
}

/// 2025-06-02T09:00:01Z.
const NOW: Micros = 1_748_854_801_000_000;

/// An event in which every field says something.
pub(crate) fn full() -> Case {
    let text = |text: &'static str| Some(Text::Borrowed(text));
    let event = Event {
        event_id: "teleport/root.example.com/fff30583-1".into(),
        cluster: text("root.example.com"),
        occurred_at: Some(NOW - 880_000),
        kind: Kind::SessionEnd,
        source_type: "session.end".into(),
        source_code: text("T2004I"),
        actor: text("alice@example.com"),
        actor_kind: Some(ActorKind::Human),
        actor_roles: vec!["access".into(), "prod-db-admin".into()],
        delegator: text("erin@example.com"),
        action: text("/bin/bash -l"),
        target: text("node-a.internal"),
        target_kind: Some("node".into()),
        login: text("root"),
        outcome: Some(Outcome::Success),
        session_id: text("293fda2d-0b6e-4c3a-9d3e-7f1f2f3f4f5f"),
        protocol: text("ssh"),
        session_started_at: Some(NOW - 30_000_000),
        session_ended_at: Some(NOW - 1_000_000),
        participants: vec!["alice@example.com".into(), "frank@example.com".into()],
        request_ids: vec!["01973000-aaaa".into()],
        reason: text("INC-4711 restore replica"),
        request_state: text("APPROVED"),
        proposed_state: text("APPROVED"),
        requested_roles: vec!["prod-db-admin".into()],
        expires_at: Some(NOW + 3_600_000_000),
        decision_id: text("6b3f1f0e-2f0a"),
        policy_path: text("boundary/authz/decision"),
        policy_revision: text("custody=9c1f0ab"),
        ticket: text("CHG-1"),
        approver: text("carol@example.com"),
        approved_at: Some(NOW - 60_000_000),
        correlation_id: text("6b3f1f0e-correlation"),
        recording_id: text("sr_7TzPw2RbQn"),
        recorded: Some(true),
        integrity: Some(Integrity::Authentic),
        mfa_device: text("mfa-1"),
        remote_addr: text("203.0.113.10:50339"),
        detail: r#"{"namespace":"default","pid":4711,"server_labels":{"env":"prod"}}"#.to_owned(),
    };
    let access = Access {
        link_method: "explicit".to_owned(),
        request_id: Some("01973000-aaaa".to_owned()),
        decision_id: Some("6b3f1f0e".to_owned()),
        reason: Some("INC-4711 restore".to_owned()),
        approvers: vec!["carol@example.com".to_owned(), "dan@example.com".to_owned()],
        approved_at: Some(NOW - 61_000_000),
        expires_at: Some(NOW + 14_339_000_000 + 60_000_000),
        tickets: vec!["INC-4711".to_owned()],
        approved_before_start: Some(true),
    };
    Case { broker_at: Some(NOW - 500_000), access: vec![access], revision: 2, ..Case::of(event) }
}

/// A finding as it is when it is raised, and what has to be looked at is a session.
pub(crate) fn finding() -> Case {
    let event = Event {
        event_id: "custody/finding/R02/teleport/293fda2d/2025-06-02T09:00:00Z".into(),
        occurred_at: Some(NOW - 1_000_000),
        kind: Kind::Finding,
        source_type: "finding.open".into(),
        action: Some("Sessions without an approval in force".into()),
        target: Some("teleport/293fda2d".into()),
        target_kind: Some("finding".into()),
        outcome: Some(Outcome::Failure),
        session_id: Some("293fda2d".into()),
        reason: Some("The approval ended 14 minutes before the session began".into()),
        correlation_id: Some("R02/teleport/293fda2d".into()),
        detail: concat!(
            r#"{"controls":["SOC2 CC6.2","PCI 7.2.3"],"evidence":["teleport/root.example.com/fff30583-1"],"#,
            r#""key":"teleport/293fda2d","person":"alice@example.com","raised_at":"2025-06-02T09:00:00Z","report":"R02","#,
            r#""report_version":1,"state":"open","verdict":"exception","why":["approval_expired"]}"#
        )
        .to_owned(),
        ..Event::default()
    };
    Case { source: "custody", topic: "custody".to_owned(), offset: 17, ..Case::of(event) }
}

/// What was taken in in an hour.
pub(crate) fn heartbeat() -> Case {
    let event = Event {
        event_id: "custody/heartbeat/2025-06-02T09:00:00Z".into(),
        occurred_at: Some(NOW - 1_000_000),
        kind: Kind::Heartbeat,
        source_type: "heartbeat".into(),
        outcome: Some(Outcome::Success),
        detail: concat!(
            r#"{"events":1893,"from":"2025-06-02T08:00:00Z","#,
            r#""sources":[{"events":412,"source":"opa"},{"events":1481,"source":"teleport"}]}"#
        )
        .to_owned(),
        ..Event::default()
    };
    Case { source: "custody", topic: "custody".to_owned(), offset: 18, ..Case::of(event) }
}

/// What a finding of such texts says besides its columns.
fn found(texts: &[String], state: &str, handled: &str, raised_at: &str) -> String {
    let person = texts.first();
    serde_json::json!({
        "state": state, "handled": handled, "raised_at": raised_at, "report_version": 3, "verdict": handled,
        "why": texts, "controls": texts, "evidence": texts, "person": person, "key": person,
    })
    .to_string()
}

/// An event of a kind, and what gave access to it, with the same text wherever one can stand, and so many in each list.
pub(crate) fn everywhere(kind: Kind, text: &str, items: usize) -> Case {
    let one = || Some(Text::Owned(text.to_owned()));
    let list = || vec![Text::Owned(text.to_owned()); items];
    let own = || Some(text.to_owned());
    let full = full();
    let event = Event {
        // As long as an id may be, of the one character that only CEF escapes.
        event_id: "=".repeat(256).into(),
        cluster: one(),
        kind,
        source_type: text.to_owned().into(),
        source_code: one(),
        actor: one(),
        actor_roles: list(),
        delegator: one(),
        action: one(),
        target: one(),
        login: one(),
        session_id: one(),
        protocol: one(),
        participants: list(),
        request_ids: list(),
        reason: one(),
        request_state: one(),
        proposed_state: one(),
        requested_roles: list(),
        decision_id: one(),
        policy_path: one(),
        policy_revision: one(),
        ticket: one(),
        approver: one(),
        correlation_id: match kind {
            // As long as the name of a finding may be.
            Kind::Finding => Some(format!("R02/{}", "=".repeat(252)).into()),
            _ => one(),
        },
        recording_id: one(),
        mfa_device: one(),
        remote_addr: one(),
        detail: match kind {
            Kind::Finding => found(&vec![text.to_owned(); items], "open", "verdict_so_long_", "2025-06-02T09:00:00Z"),
            _ => serde_json::json!({ "text": text }).to_string(),
        },
        ..full.event
    };
    let access = Access {
        request_id: own(),
        decision_id: own(),
        reason: own(),
        approvers: vec![text.to_owned(); items],
        tickets: vec![text.to_owned(); items],
        ..full.access[0].clone()
    };
    Case { event, topic: "t".repeat(249), offset: i64::MAX, access: vec![access; items], revision: u32::MAX, ..full }
}

/// The names that sources have for types of events, and some that nobody has.
const SOURCE_TYPES: [&str; 62] = [
    "session.start",
    "session.end",
    "session.rejected",
    "session.upload",
    "session.join",
    "session.leave",
    "session.command",
    "session.exec",
    "session.disk",
    "session.network",
    "session.data",
    "session.query",
    "session.input",
    "session.recording.access",
    "exec",
    "scp",
    "sftp",
    "port",
    "kube.request",
    "db.session.start",
    "db.session.query",
    "db.session.end",
    "app.session.start",
    "app.session.request",
    "windows.desktop.session.start",
    "access_request.create",
    "access_request.review",
    "access_request.update",
    "access_request.delete",
    "access_request.expire",
    "cert.create",
    "user.login",
    "bot.join",
    "auth",
    "user.create",
    "user.delete",
    "user.update",
    "user.password_change",
    "lock.created",
    "lock.deleted",
    "mfa.add",
    "mfa.delete",
    "role.created",
    "role.updated",
    "access_list.member.create",
    "access_list.member.delete",
    "device.enroll",
    "targets.authorize-session",
    "roles.add-principals",
    "users.list",
    "sessions.read",
    "session-recordings.download",
    "decision",
    "audit_log",
    "import.asciicast",
    "retention.done",
    "finding.open",
    "finding.changed",
    "finding.closed",
    "heartbeat",
    "",
    "\u{0}?.\\|=",
];

/// Words that decide something in one field or another.
const WORDS: [&str; 27] = [
    "",
    "alice@example.com",
    "ssh",
    "SSH",
    "kube",
    "postgres",
    "tdp",
    "rdp",
    "tcp",
    "APPROVED",
    "DENIED",
    "REVOKED",
    "upload /etc/passwd",
    "download /",
    "open /srv/a b",
    "rename /a /b",
    "get /api/v1/pods",
    "delete role",
    "/usr/bin/ls -l",
    "10.0.0.1 443",
    "2001:db8::1 8080",
    "SELECT 1",
    "R02/teleport/s-1",
    "R14/",
    "silent/teleport",
    "node-a.internal",
    "DOMAIN\\nick=x|y\tz\r\n",
];

const ADDRESSES: [&str; 8] = [
    "203.0.113.10:50339",
    "203.0.113.10",
    "[2001:db8::1]:443",
    "2001:DB8:0::1",
    "::ffff:10.0.0.1",
    "host-a:22",
    "10.0.0.300",
    "",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(&WORDS[..]).prop_map(str::to_owned), 1 => "\\PC{0,40}", 1 => any::<String>()]
}

fn detail() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_owned()),
        Just(r#"{"pid":4711,"path":"/x"}"#.to_owned()),
        Just(r#"{"pid":-1}"#.to_owned()),
        Just(r#"{"pid":1e300}"#.to_owned()),
        any::<String>().prop_map(|text| serde_json::json!({ "text": text }).to_string()),
        (
            vec(text(), 0..3),
            select(&["open", "changed", "closed", ""][..]),
            select(&["explained", "accepted", "remediated", "open", "pass", "exception", "na", ""][..]),
            select(&["2025-06-02T09:00:00Z", "1970-01-01T00:00:00Z", "yesterday", ""][..]),
        )
            .prop_map(|(texts, state, handled, raised_at)| found(&texts, state, handled, raised_at)),
        Just(r#"{"why":"x","controls":[1,""],"evidence":{},"person":7,"report_version":-1,"verdict":[]}"#.to_owned()),
        any::<String>(),
    ]
}

fn access(text: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = Access> {
    let texts = vec(text.clone(), 0..3);
    (vec(option::of(text), 3), texts.clone(), texts, option::of(any::<bool>()), option::of(any::<i64>())).prop_map(
        |(texts, approvers, tickets, approved_before_start, at)| {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().flatten();
            Access {
                link_method: "policy".to_owned(),
                request_id: next(),
                decision_id: next(),
                reason: next(),
                approvers,
                approved_at: at,
                expires_at: at,
                tickets,
                approved_before_start,
            }
        },
    )
}

/// Any notice whose texts are such as `text` gives.
fn notice(text: impl Strategy<Value = String> + Clone + 'static, items: usize) -> impl Strategy<Value = Case> {
    let lists = vec(vec(text.clone(), 0..items), 4);
    let texts = vec(option::weighted(0.6, text.clone()), 20);
    let times = vec(option::of(prop_oneof![NOW - 1_000_000_000..NOW, any::<i64>()]), 5);
    let words = (
        select(&Kind::ALL[..]),
        prop_oneof![8 => select(&SOURCE_TYPES[..]).prop_map(str::to_owned), 1 => text.clone()],
        select(&["teleport", "boundary", "hoop", "opa", "custody", "sudo", "tlog"][..]),
        option::of(select(
            &["node", "database", "kubernetes", "app", "desktop", "target", "user", "device", "role", "access_list"][..],
        )),
        option::of(select(
            &[Outcome::Success, Outcome::Failure, Outcome::Allow, Outcome::Deny, Outcome::Undefined, Outcome::Error][..],
        )),
        option::of(select(&[ActorKind::Human, ActorKind::Bot, ActorKind::System][..])),
        option::of(select(&Integrity::ALL[..])),
        prop_oneof![3 => select(&ADDRESSES[..]).prop_map(str::to_owned), 1 => text.clone()],
        option::of(any::<bool>()),
    );
    let place = (0..i64::MAX, any::<u32>(), option::of(any::<i64>()), "[a-z._/-]{1,249}", text.clone());
    (words, texts, lists, times, place, vec(access(text), 0..3), detail()).prop_map(
        |(words, texts, lists, times, (offset, revision, broker_at, topic, id), access, detail)| {
            let (kind, source_type, source, target_kind, outcome, actor_kind, integrity, remote_addr, recorded) = words;
            let mut texts = texts.into_iter();
            let mut text = || texts.next().flatten().map(Text::Owned);
            let mut lists = lists.into_iter();
            let mut list = || lists.next().unwrap_or_default().into_iter().map(Text::Owned).collect();
            let mut times = times.into_iter();
            let mut time = || times.next().flatten();
            let event = Event {
                event_id: id.into(),
                cluster: text(),
                occurred_at: time(),
                kind,
                source_type: source_type.into(),
                source_code: text(),
                actor: text(),
                actor_kind,
                actor_roles: list(),
                delegator: text(),
                action: text(),
                target: text(),
                target_kind: target_kind.map(Into::into),
                login: text(),
                outcome,
                session_id: text(),
                protocol: text(),
                session_started_at: time(),
                session_ended_at: time(),
                participants: list(),
                request_ids: list(),
                reason: text(),
                request_state: text(),
                proposed_state: text(),
                requested_roles: list(),
                expires_at: time(),
                decision_id: text(),
                policy_path: text(),
                policy_revision: text(),
                ticket: text(),
                approver: text(),
                approved_at: time(),
                correlation_id: text(),
                recording_id: text(),
                recorded,
                integrity,
                mfa_device: text(),
                remote_addr: Some(remote_addr.into()),
                detail,
            };
            Case { event, source, topic, offset, broker_at, access, revision }
        },
    )
}

/// A notice of any kind, with any of its fields missing, of sources' own words and of hostile text.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    notice(text().boxed(), 3)
}

/// One that is far too long everywhere.
pub(crate) fn hostile() -> impl Strategy<Value = Case> {
    let long = (select(&["\u{1}", "\\", "\"", "=|", "😀", "a", "é\n", "\u{2028}"][..]), 0..1000usize)
        .prop_map(|(text, times)| text.repeat(times));
    let everywhere = notice(long.boxed(), 12);
    let in_detail = (case(), any::<u16>()).prop_map(|(mut case, times)| {
        let long = "é\"".repeat(times.into());
        case.event.detail = match case.event.kind {
            Kind::Finding => found(&[long], "open", "", ""),
            _ => serde_json::json!({ "text": long }).to_string(),
        };
        case
    });
    prop_oneof![2 => everywhere, 1 => in_detail]
}

/// The events that the decoders give for the examples of the topic contracts, and how those show them.
pub(crate) fn examples() -> Vec<(Value, Case)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/topics/examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".expected.json"));
    files.sort();
    let mut examples = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let source = ["asciicast", "boundary", "hoop", "opa", "teleport", "tlog"];
        let source = source.into_iter().find(|source| name.starts_with(source)).unwrap();
        let messages: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let events = messages.iter().filter_map(|message| message["events"].as_array()).flatten();
        examples.extend(events.map(|event| (event.clone(), Case { source, ..Case::of(event_of(event)) })));
    }
    examples
}

/// An event as the examples show it.
fn event_of(shown: &Value) -> Event<'static> {
    let text = |name: &str| shown[name].as_str().map(|text| Text::Owned(text.to_owned()));
    let list = |name: &str| {
        let texts = shown[name].as_array().into_iter().flatten();
        texts.map(|text| Text::Owned(text.as_str().unwrap().to_owned())).collect()
    };
    let time = |name: &str| match parse_rfc3339(shown[name].as_str()?) {
        Some(Parsed::At(at)) => Some(at),
        other => panic!("{name}: {other:?}"),
    };
    let known = |name: &str, all: &[&'static str]| {
        shown[name]
            .as_str()
            .map(|text| *all.iter().find(|one| **one == text).unwrap_or_else(|| panic!("{name}: {text}")))
    };
    let kinds =
        ["node", "database", "kubernetes", "app", "desktop", "target", "role", "resource", "resources", "access_list"];
    let kind = Kind::ALL.into_iter().find(|kind| shown["kind"] == kind.as_str()).unwrap();
    let outcomes =
        [Outcome::Success, Outcome::Failure, Outcome::Allow, Outcome::Deny, Outcome::Undefined, Outcome::Error];
    let actors = [ActorKind::Human, ActorKind::Bot, ActorKind::System];
    Event {
        event_id: text("event_id").unwrap_or_default(),
        cluster: text("cluster"),
        occurred_at: time("occurred_at"),
        kind,
        source_type: text("source_type").unwrap_or_default(),
        source_code: text("source_code"),
        actor: text("actor"),
        actor_kind: actors.into_iter().find(|kind| shown["actor_kind"] == kind.as_str()),
        actor_roles: list("actor_roles"),
        delegator: text("delegator"),
        action: text("action"),
        target: text("target"),
        target_kind: known("target_kind", &kinds).map(Into::into),
        login: text("login"),
        outcome: outcomes.into_iter().find(|outcome| shown["outcome"] == outcome.as_str()),
        session_id: text("session_id"),
        protocol: text("protocol"),
        session_started_at: time("session_started_at"),
        session_ended_at: time("session_ended_at"),
        participants: list("participants"),
        request_ids: list("request_ids"),
        reason: text("reason"),
        request_state: text("request_state"),
        proposed_state: text("proposed_state"),
        requested_roles: list("requested_roles"),
        expires_at: time("expires_at"),
        decision_id: text("decision_id"),
        policy_path: text("policy_path"),
        policy_revision: text("policy_revision"),
        ticket: text("ticket"),
        approver: text("approver"),
        approved_at: time("approved_at"),
        correlation_id: text("correlation_id"),
        recording_id: text("recording_id"),
        recorded: shown["recorded"].as_bool(),
        integrity: Integrity::ALL.into_iter().find(|level| shown["integrity"] == level.as_str()),
        mfa_device: text("mfa_device"),
        remote_addr: text("remote_addr"),
        detail: shown["detail"].to_string(),
    }
}
