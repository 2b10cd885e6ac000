//! ECS 9.4, the Elastic Common Schema (<https://www.elastic.co/docs/reference/ecs>).
//!
//! | field | what it has |
//! |---|---|
//! | `@timestamp` | when it happened; `labels.time_from` names the column where that is the time of the message |
//! | `event.action`, `code`, `provider` | the source's name and code of the event type, the source |
//! | `event.kind` | `alert` for evidence that is missing or not what was signed and for findings that somebody has to look at, `metric` for heartbeats, else `event` |
//! | `event.category`, `type`, `outcome` | by the kind of the event; left out where no value fits |
//! | `event.created`, `sequence` | when Custody took its record, and the record's offset |
//! | `event.dataset` | `custody.` and the first part of the kind: `custody.session` |
//! | `user.name`, `user.effective.name` | who did it, and the account on the target |
//! | `host.name`, `destination.address` | the target: a machine, or anything else |
//! | `observer` | the gateway or engine: `product` is the source, `name` its instance |
//! | `rule` | the policy that decided; of a finding, the report that found it: `id`, `name`, `version` |
//! | `user.name`, `event.start` of a finding | who it is about, and when it was raised |
//! | `labels.finding`, `labels.state`, `labels.handled` | of a finding: its id, what became of it, what people said of it |
//! | `labels.truncated`, `labels.whole_bytes` | that texts were cut, and how long the whole is |
//! | `custody` | what ECS has no field for, under the names of the ledger's columns, with `access`, `evidence`, `revision` |
//!
//! `custody.detail` is an object with the source's own fields, nested up to a hundred deep: an index maps it as
//! `flattened`, with a `depth_limit` of 100, or not at all.

use custody_schemas::event::{Event, Integrity, Kind, Outcome};

use crate::notice::Notice;
use crate::schema::finding::{Finding, Handled, SILENT};
use crate::schema::json::Json;
use crate::schema::{
    Address, Gist, PRODUCT, VERSION, Verb, Way, approvers, chain, custody, event_id, message, reason, said, texts, time,
};

/// The version of the schema.
pub const ECS_VERSION: &str = "9.4.0";

/// The columns that fields of ECS have.
const TOLD: &[&str] = TOLD_OF_COMMAND.split_at(18).0;

/// The same where the action is the command line of a process.
const TOLD_OF_COMMAND: &[&str] = &[
    "source",
    "cluster",
    "occurred_at",
    "ingested_at",
    "source_type",
    "source_code",
    "actor",
    "actor_roles",
    "login",
    "target",
    "session_started_at",
    "session_ended_at",
    "protocol",
    "reason",
    "policy_path",
    "policy_revision",
    "remote_addr",
    "kind",
    "action",
];

/// The same of a finding, whose target is what a report calls it by and no machine.
const TOLD_OF_FINDING: &[&str] = &[
    "source",
    "cluster",
    "occurred_at",
    "ingested_at",
    "source_type",
    "source_code",
    "actor",
    "actor_roles",
    "login",
    "session_started_at",
    "session_ended_at",
    "protocol",
    "reason",
    "remote_addr",
    "kind",
    "action",
];

/// What an event is in ECS's words: values of `event.category` and `event.type`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    categories: &'static [&'static str],
    types: &'static [&'static str],
    is_command: bool,
}

impl Plan {
    pub(super) fn of(notice: &Notice<'_>, gist: &Gist) -> Self {
        let event = &notice.event;
        let is_command = matches!(event.source_type.as_ref(), "session.command" | "session.exec" | "exec");
        let (categories, types): (&[_], &[_]) = match event.kind {
            Kind::SessionStart => (&["session"], &["start"]),
            Kind::SessionEnd => (&["session"], &["end"]),
            Kind::SessionJoin | Kind::SessionLeave | Kind::SessionUpload => (&["session"], &["info"]),
            Kind::SessionRejected => (&["session", "network"], &["info", "denied"]),
            Kind::RecordingAccess => (&["file"], &["access"]),
            Kind::SessionActivity => activity(event, is_command),
            Kind::RequestCreate | Kind::CredentialIssue => (&["iam"], &["creation"]),
            Kind::RequestReview | Kind::RequestUpdate | Kind::RequestExpire => (&["iam"], &["change"]),
            Kind::RequestDelete => (&["iam"], &["deletion"]),
            Kind::Login => (&["authentication"], &["start"]),
            Kind::PolicyDecision => match event.outcome {
                Some(Outcome::Allow) => (&["api"], &["access", "allowed"]),
                Some(Outcome::Deny) => (&["api"], &["access", "denied"]),
                _ => (&["api"], &["access"]),
            },
            Kind::ConfigChange => change(event),
            Kind::Import => (&["file"], &["access"]),
            Kind::Finding => match gist.finding.as_ref().map(|finding| finding.report.as_str()) {
                Some("R12" | "R23") => (&["intrusion_detection"], &["info"]),
                Some("R14" | "R15") => (&["session"], &["info"]),
                Some("R24" | SILENT) => (&[], &[]),
                _ => (&["iam"], &["info"]),
            },
            Kind::Redecode | Kind::Retention => (&["database"], &["change"]),
            Kind::Loss => (&["database"], &["error"]),
            Kind::Other if said(&event.session_id).is_some() => (&["session"], &["info"]),
            Kind::Heartbeat | Kind::Other => (&[], &[]),
        };
        Self { categories, types, is_command }
    }
}

type Words = (&'static [&'static str], &'static [&'static str]);

fn activity(event: &Event<'_>, is_command: bool) -> Words {
    match event.source_type.as_ref() {
        _ if is_command => (&["process"], &["start"]),
        "session.disk" | "session.open" | "scp" | "sftp" => (&["file"], &["access"]),
        "session.network" if event.outcome == Some(Outcome::Deny) => (&["network"], &["connection", "denied"]),
        "session.network" => (&["network"], &["connection"]),
        "kube.request" => (&["api"], &["access"]),
        _ if Way::of(event) == Way::Database => (&["database"], &["access"]),
        _ => (&["session"], &["info"]),
    }
}

fn change(event: &Event<'_>) -> Words {
    let verb = Verb::of(event);
    match (event.target_kind.as_deref(), verb) {
        (Some("user" | "bot"), Verb::Create) => (&["iam"], &["user", "creation"]),
        (Some("user" | "bot"), Verb::Delete) => (&["iam"], &["user", "deletion"]),
        (Some("user" | "bot"), _) => (&["iam"], &["user", "change"]),
        (Some("access_list"), Verb::Create) => (&["iam"], &["group", "creation"]),
        (Some("access_list"), Verb::Delete) => (&["iam"], &["group", "deletion"]),
        (Some("access_list"), _) => (&["iam"], &["group", "change"]),
        (_, Verb::Create) => (&["configuration"], &["creation"]),
        (_, Verb::Delete) => (&["configuration"], &["deletion"]),
        _ => (&["configuration"], &["change"]),
    }
}

/// A notice as an ECS document. `whole_bytes` when texts of it were cut.
pub(super) fn write(notice: &Notice<'_>, gist: &Gist, plan: Plan, whole_bytes: Option<usize>) -> String {
    let event = &notice.event;
    let finding = gist.finding.as_ref();
    let person = finding.and_then(|finding| finding.person.as_deref());
    let told = match finding {
        Some(_) => TOLD_OF_FINDING,
        None if plan.is_command => TOLD_OF_COMMAND,
        None => TOLD,
    };
    let (at, time_from) = time(notice);
    let client = Address::of_client(event);
    let ip = client.as_ref().and_then(|client| client.ip).map(|ip| ip.to_string());
    let is_machine = matches!(event.target_kind.as_deref(), Some("node" | "desktop"));
    let (host, address) = match said(&event.target).filter(|_| finding.is_none()) {
        target if is_machine => (target, None),
        target => (None, target),
    };
    Json::object(|json| {
        json.time("@timestamp", at);
        json.inside("ecs", |json| json.text("version", ECS_VERSION));
        json.text("message", message(notice).as_str());
        json.inside("event", |json| what(json, notice, gist, plan));
        json.inside("user", |json| {
            json.text("name", said(&event.actor).or(person));
            json.texts("roles", texts(&event.actor_roles));
            json.inside("effective", |json| json.text("name", said(&event.login)));
        });
        json.inside("source", |json| {
            json.text("address", said(&event.remote_addr));
            json.text("ip", ip.as_deref());
            json.int("port", client.as_ref().and_then(|client| client.port).map(i64::from));
        });
        json.inside("host", |json| json.text("name", host));
        json.inside("destination", |json| json.text("address", address));
        json.inside("network", |json| json.text("protocol", said(&event.protocol)));
        if plan.is_command {
            json.inside("process", |json| json.text("command_line", said(&event.action)));
        }
        json.inside("rule", |json| match finding {
            Some(finding) => {
                json.text("id", finding.report.as_str());
                json.text("name", said(&event.action));
                json.text("version", finding.report_version.as_deref());
            }
            None => {
                json.text("name", said(&event.policy_path));
                json.text("version", said(&event.policy_revision));
            }
        });
        json.inside("observer", |json| {
            json.text("product", notice.source);
            json.text("name", said(&event.cluster));
        });
        json.inside("agent", |json| {
            json.text("type", PRODUCT);
            json.text("version", VERSION);
        });
        json.inside("related", |json| {
            json.texts("user", users(notice, person));
            json.texts("ip", ip.as_deref());
            json.texts("hosts", host);
        });
        json.inside("labels", |json| {
            json.text("time_from", time_from);
            if let Some(finding) = finding {
                json.text("finding", finding.uid.as_str());
                json.text("state", finding.state.as_str());
                json.text("handled", finding.handled.map(Handled::as_str));
            }
            if let Some(bytes) = whole_bytes {
                json.text("truncated", "true");
                json.text("whole_bytes", bytes.to_string().as_str());
            }
        });
        json.inside("custody", |json| {
            json.text("kind", event.kind.as_str());
            custody::columns(json, notice, told);
            chain(json, notice);
        });
    })
}

/// The fields of `event`.
fn what(json: &mut Json, notice: &Notice<'_>, gist: &Gist, plan: Plan) {
    let (event, evidence) = (&notice.event, &notice.evidence);
    let finding = gist.finding.as_ref();
    json.text(
        "kind",
        match event.kind {
            // That it is over, or need trouble nobody, is news and no alarm.
            Kind::Finding if finding.is_some_and(Finding::is_alert) => "alert",
            Kind::Finding => "event",
            Kind::Heartbeat => "metric",
            Kind::Loss => "alert",
            _ if event.integrity == Some(Integrity::Failed) => "alert",
            _ => "event",
        },
    );
    json.texts("category", plan.categories.iter().copied());
    json.texts("type", plan.types.iter().copied());
    json.text(
        "outcome",
        match event.outcome {
            Some(Outcome::Success | Outcome::Allow) => "success",
            Some(Outcome::Failure | Outcome::Deny | Outcome::Error) => "failure",
            Some(Outcome::Undefined) | None => "unknown",
        },
    );
    json.text("id", &*event_id(notice));
    json.text("action", event.source_type.as_ref());
    json.text("code", said(&event.source_code));
    json.text("provider", notice.source);
    json.text("module", "custody");
    let dataset = event.kind.as_str().split('.').next().unwrap_or_default();
    json.text("dataset", format!("custody.{dataset}").as_str());
    json.int("severity", i64::from(gist.severity.of_ten()));
    json.int("sequence", evidence.offset);
    json.text("reason", reason(notice));
    json.time("created", evidence.ingested_at);
    json.time("start", event.session_started_at.or(finding.and_then(|finding| finding.raised_at)));
    json.time("end", event.session_ended_at);
    json.int("duration", duration(event));
}

/// How long the session was, in nanoseconds, where the event states both ends and they are in order.
fn duration(event: &Event<'_>) -> Option<i64> {
    let micros = event.session_ended_at?.checked_sub(event.session_started_at?)?;
    micros.checked_mul(1000).filter(|nanos| *nanos >= 0)
}

/// Every person that the event names, each once.
fn users<'n>(notice: &'n Notice<'_>, person: Option<&'n str>) -> Vec<&'n str> {
    let event = &notice.event;
    let named = [said(&event.actor), person, said(&event.delegator), said(&event.login)].into_iter().flatten();
    let mut users: Vec<&str> = Vec::new();
    for user in named.chain(texts(&event.participants)).chain(approvers(notice)) {
        if users.len() < RELATED_MAX && !users.contains(&user) {
            users.push(user);
        }
    }
    users
}

/// Of a crowd the rest is in `custody`.
const RELATED_MAX: usize = 64;
