//! OCSF 1.8.0, the Open Cybersecurity Schema Framework (<https://schema.ocsf.io/1.8.0>).
//!
//! # Classes
//!
//! | event | class, activity | where it cannot be filled |
//! |---|---|---|
//! | session start, end, refusal over SSH | SSH Activity 4007: Open 1, Close 2, Refuse 5, Fail 4 | Base Event |
//! | the same of a desktop | RDP Activity 4005: Connect Response 4, Disconnect 7 | Base Event |
//! | the same of a database | Datastore Activity 6005: Connect 3, Other 99 at the end | Network Activity, Base Event |
//! | the same of Kubernetes | API Activity 6003: Other 99 | Network Activity, Base Event |
//! | the same of an application, over any other protocol | Tunnel Activity 4014: Open 1, Close 2 | Network Activity, Base Event |
//! | the same without a protocol, with a client's address | Network Activity 4001: Open 1, Close 2, Refuse 5, Fail 4 | |
//! | the same on a local terminal, or without protocol and address | Base Event 0: Other 99 | |
//! | joining and leaving, what is done in a session | the class of the session: Traffic 6, Query 4, Other 99 | as above |
//! | a process in a session, with its id | Process Activity 1007: Launch 1 | the class of the session |
//! | a file opened in a session | File System Activity 1001: Open 14 | the class of the session |
//! | a connection made in a session | Network Activity 4001: Open 1, Refuse 5 | the class of the session |
//! | a request to Kubernetes' API | API Activity 6003, by its verb | as above |
//! | a file transfer (`scp`, `sftp`) | File Hosting Activity 6006: Upload 1, Download 2, Delete 4, Open 14, Other 99 | the class of the session |
//! | a recording that was watched, downloaded | File Hosting Activity 6006: Open 14, Download 2 | Base Event |
//! | a recording that was stored, an import | Event Log Activity 1008: Archive 4 | |
//! | retention; records decoded again, lost messages | Event Log Activity 1008: Delete 2; Other 99 | |
//! | a finding of a report: a control was not kept | Compliance Finding 2003: Create 1, Update 2, Close 3 | |
//! | a finding of R09, R12, R14, R15, R23, R24, a source that fell silent | Detection Finding 2004: the same | |
//! | a heartbeat | Event Log Activity 1008: Other 99 | |
//! | an access request made, deleted, expired | Entity Management 3004: Create 1, Delete 4, Deactivate 11 | Base Event |
//! | a review, a new state | Entity Management 3004: Update 3, with `security_control` | Base Event |
//! | a credential | Authorize Session 3003: Assign Privileges 1 | Entity Management: Create 1, Base Event |
//! | a login | Authentication 3002: Logon 1 | Base Event: who logged in is required |
//! | a policy decision | API Activity 6003, by its verb, with `security_control` | Base Event |
//! | a user, a lock of one, their MFA | Account Change 3001 | Entity Management |
//! | members of an access list | Group Management 3006: Add User 3, Remove User 4 | Entity Management |
//! | any other change of configuration | Entity Management 3004, by its verb | Base Event |
//! | anything else with a session | the class of the session | |
//! | anything else that names a verb and who asked | API Activity 6003 | |
//! | the rest | Base Event 0: Other 99 | |
//!
//! `activity_name` of an Other activity is the source's own name of the event type.
//!
//! # What is said where a class asks for more than the event has
//!
//! - `src_endpoint` is the client by its address. Classes that require one (6003, 6005, 6006) get, where the address is
//!   not known, the service through which the activity came: `svc_name` is the source (`teleport`, `opa`), `name` the
//!   instance of it. It has no `ip`.
//! - `actor` is the user, or the session where no user is named. Without both the class is not chosen.
//! - `user` is required of 3001, 3002, 3003: without one the class is not chosen. 3005 User Access Management is never
//!   chosen: who approves, ends or revokes a request does not say in the same event who the user is, nor with which
//!   privileges. `metadata.correlation_uid` is the request.
//! - `time` is when the message came where the source states no time, and `unmapped.custody.time_from` names the column.
//!   Times have milliseconds; those of the ledger have microseconds.
//! - `status_id` is Other for a policy that had no answer, Unknown where nothing is said.
//! - `query_info.uid` is the id of the event: the class requires a name or an id of the query.
//! - `metadata.original_time` is left out: the text in which the source wrote it is in the record.
//! - `metadata.sequence` is the offset of the record where that has 32 bits; `unmapped.custody.evidence` has all of it.
//!
//! # Findings
//!
//! - `finding_info.uid` is the same in all that is told of a finding, and `metadata.correlation_uid` too; `metadata.uid` is
//!   that of what is told now. `analytic` is the report; its type is Rule.
//! - The schema has no activity for a finding that comes back. It was created before (`created_time`), so it is Update 2,
//!   and its status is New again.
//! - `status_id` is Resolved 4 when the finding is over or was remediated, Suppressed 3 when it was explained or accepted,
//!   In Progress 2 when such a word was taken back, and New 1 otherwise. What is over is Resolved also where nobody did
//!   anything about it. `status_detail` is what people said, or else `open`, `changed`, `closed`.
//! - `is_alert` is said of what is New or In Progress, with the profile `security_control`: Observed, Alert. Of the others
//!   it is not said, and their severity is Informational: nobody has to do anything.
//! - `compliance.control` is the report: the control is what Custody checks. `requirements` are the controls of standards
//!   that it is evidence of, `standards` those standards. `compliance.status_id` is Fail for an exception, Pass where the
//!   report says `pass`, and Other with its own word (`na`) where it says something else.
//! - `resources` has the row of the report: its session, or else what it is about, by its key. Who it is about is
//!   `evidences[0].actor`; there is no `actor` of the event, since it is Custody that tells it.
//! - `finding_info.related_events` are the events it rests on, by their `metadata.uid`; `types` is why, in codes. Those, the
//!   controls and the person come from `detail`, and are left out with it where an event is too long.
//!
//! # Unmapped
//!
//! `unmapped.custody` has the columns for which the class has no attribute, under their names, with `access`, `evidence`
//! and `revision` as [`custody`](super::custody) has them. `revision` counts there because OCSF has no attribute for it:
//! `metadata.uid` stays the same, and `metadata.modified_time` would be a time that nobody stated.

mod plan;

use custody_schemas::event::{ActorKind, Event, Kind, Outcome};
use custody_schemas::time::Micros;

use crate::notice::Notice;
use crate::schema::finding::{Finding, Handled, Stage, State};
use crate::schema::json::Json;
use crate::schema::{
    Address, Gist, PRODUCT, VERSION, chain, custody, event_id, first, message, request_id, said, texts, time,
};
pub(super) use plan::Plan;
use plan::{Class, Control, recording};

/// The version of the schema.
pub const OCSF_VERSION: &str = "1.8.0";

/// A notice as an OCSF event. `whole_bytes` when texts of it were cut.
pub(super) fn write(notice: &Notice<'_>, gist: &Gist, plan: Plan, whole_bytes: Option<usize>) -> String {
    let finding = gist.finding.as_ref();
    Json::object(|json| {
        classification(json, notice, gist, plan);
        metadata(json, notice, gist, plan, whole_bytes);
        if finding.is_none() {
            actor(json, &notice.event);
        }
        control(json, notice, plan);
        match finding {
            Some(finding) => found(json, notice, plan, finding),
            None => class(json, notice, plan),
        }
        observables(json, notice, plan, finding.and_then(|finding| finding.person.as_deref()));
        unmapped(json, notice, plan);
    })
}

fn classification(json: &mut Json, notice: &Notice<'_>, gist: &Gist, plan: Plan) {
    let event = &notice.event;
    let class = plan.class;
    json.int("class_uid", class.uid());
    json.text("class_name", class.name());
    json.int("category_uid", class.uid() / 1000);
    json.text("category_name", class.category());
    json.int("activity_id", plan.activity);
    json.text(
        "activity_name",
        match plan.activity_name {
            "" if event.source_type.is_empty() => event.kind.as_str(),
            "" => event.source_type.as_ref(),
            name => name,
        },
    );
    json.int("type_uid", class.uid() * 100 + plan.activity);
    let (severity_id, severity) = gist.severity.of_ocsf();
    json.int("severity_id", severity_id);
    json.text("severity", severity);
    let finding = gist.finding.as_ref();
    let (status_id, status) = match (finding, event.outcome) {
        (Some(finding), _) => stage(finding),
        (None, Some(Outcome::Success | Outcome::Allow)) => (1, "Success"),
        (None, Some(Outcome::Failure | Outcome::Deny | Outcome::Error)) => (2, "Failure"),
        (None, Some(Outcome::Undefined)) => (99, Outcome::Undefined.as_str()),
        (None, None) => (0, "Unknown"),
    };
    json.int("status_id", status_id);
    json.text("status", status);
    let of_finding = finding.map(|finding| finding.handled.map_or(finding.state.as_str(), Handled::as_str));
    json.text("status_detail", of_finding.or(event.outcome.map(Outcome::as_str)));
    json.int("time", millis(time(notice).0));
    json.int("start_time", event.session_started_at.map(millis));
    json.int("end_time", event.session_ended_at.map(millis));
    json.int("duration", duration(event));
    json.text("message", message(notice).as_str());
}

fn millis(at: Micros) -> i64 {
    at.div_euclid(1000)
}

/// How long the session was, in milliseconds, where the event states both ends and they are in order.
fn duration(event: &Event<'_>) -> Option<i64> {
    let micros = event.session_ended_at?.checked_sub(event.session_started_at?)?;
    (micros >= 0).then_some(micros / 1000)
}

fn stage(finding: &Finding) -> (i64, &'static str) {
    match finding.stage() {
        Stage::New => (1, "New"),
        Stage::InProgress => (2, "In Progress"),
        Stage::Suppressed => (3, "Suppressed"),
        Stage::Resolved => (4, "Resolved"),
    }
}

fn metadata(json: &mut Json, notice: &Notice<'_>, gist: &Gist, plan: Plan, whole_bytes: Option<usize>) {
    let (event, evidence) = (&notice.event, &notice.evidence);
    let finding = gist.finding.as_ref().map(|finding| finding.uid.as_str());
    let correlation = || [said(&event.correlation_id), said(&event.decision_id)].into_iter().flatten().next();
    json.inside("metadata", |json| {
        json.text("version", OCSF_VERSION);
        json.inside("product", |json| {
            json.text("name", PRODUCT);
            json.text("vendor_name", PRODUCT);
            json.text("version", VERSION);
        });
        json.texts("profiles", plan.profiles());
        json.text("uid", &*event_id(notice));
        json.text("original_event_uid", native_id(notice));
        json.text("correlation_uid", finding.or_else(|| request_id(notice)).or_else(correlation));
        json.text("event_code", said(&event.source_code));
        json.text("log_name", evidence.topic);
        json.text("log_provider", notice.source);
        json.int("logged_time", millis(evidence.ingested_at));
        json.int("sequence", i32::try_from(evidence.offset).ok().map(i64::from));
        if let Some(bytes) = whole_bytes {
            json.flag("is_truncated", true);
            json.int("untruncated_size", i32::try_from(bytes).ok().map(i64::from));
        }
    });
}

/// What the source itself calls the event: what stands behind the source and its instance in the id.
fn native_id<'n>(notice: &'n Notice<'_>) -> Option<&'n str> {
    let rest = notice.event.event_id.strip_prefix(notice.source)?.strip_prefix('/')?;
    let native = rest.strip_prefix(said(&notice.event.cluster)?)?.strip_prefix('/')?;
    // One that is longer is no id: see `event_id`.
    Some(native).filter(|native| native.len() <= super::ID_BYTES_MAX)
}

fn user(json: &mut Json, name: &str, user: Option<&str>, kind: Option<ActorKind>) {
    let Some(user) = user else { return };
    json.inside(name, |json| {
        json.text("name", user);
        let typed = kind.map(|kind| match kind {
            ActorKind::Human => (1, "User"),
            ActorKind::System => (3, "System"),
            ActorKind::Bot => (4, "Service"),
        });
        json.int("type_id", typed.map(|(id, _)| id));
        json.text("type", typed.map(|(_, caption)| caption));
    });
}

fn session(json: &mut Json, event: &Event<'_>) {
    json.inside("session", |json| {
        json.text("uid", said(&event.session_id));
        if said(&event.session_id).is_some() {
            json.int("created_time", event.session_started_at.map(millis));
        }
    });
}

fn actor(json: &mut Json, event: &Event<'_>) {
    json.inside("actor", |json| {
        user(json, "user", said(&event.actor), event.actor_kind);
        session(json, event);
    });
}

fn control(json: &mut Json, notice: &Notice<'_>, plan: Plan) {
    let Some(Control { action, disposition, is_alert }) = plan.control else { return };
    let event = &notice.event;
    json.int("action_id", action.0);
    json.text("action", action.1);
    json.int("disposition_id", disposition.0);
    json.text("disposition", disposition.1);
    json.flag("is_alert", is_alert.then_some(true));
    if event.kind == Kind::PolicyDecision {
        json.each("authorizations", [()], |json, ()| {
            json.text("decision", event.outcome.map(Outcome::as_str));
            json.inside("policy", |json| {
                json.text("uid", said(&event.policy_path));
                // A version of nothing says nothing.
                if said(&event.policy_path).is_some() {
                    json.text("version", said(&event.policy_revision));
                }
            });
        });
    }
}

/// Where the activity came from: the client, or the service through which it came where that is `required`.
fn source_endpoint(json: &mut Json, notice: &Notice<'_>, required: bool) {
    let client = Address::of_client(&notice.event);
    json.inside("src_endpoint", |json| match client {
        Some(client) => endpoint(json, &client),
        None if required => {
            json.text("svc_name", notice.source);
            json.text("name", said(&notice.event.cluster));
        }
        None => {}
    });
}

fn endpoint(json: &mut Json, address: &Address<'_>) {
    match address.ip {
        Some(ip) => json.text("ip", ip.to_string().as_str()),
        None => json.text("name", address.text),
    }
    json.int("port", address.port.map(i64::from));
}

/// What it was done to, as an endpoint or a device: by its name in the network where the target is a machine.
fn machine(json: &mut Json, event: &Event<'_>) {
    let is_host = is_host(event);
    json.text(if is_host { "hostname" } else { "name" }, said(&event.target));
}

fn is_host(event: &Event<'_>) -> bool {
    let letters = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    matches!(event.target_kind.as_deref(), Some("node" | "desktop")) && said(&event.target).is_some_and(letters)
}

fn target_endpoint(json: &mut Json, event: &Event<'_>) {
    json.inside("dst_endpoint", |json| machine(json, event));
}

fn file(json: &mut Json, name: &str, path: Option<&str>) {
    json.inside("file", |json| {
        json.text("name", name);
        json.text("path", path);
        json.int("type_id", 0);
        json.text("type", "Unknown");
    });
}

fn device(json: &mut Json, event: &Event<'_>) {
    json.inside("device", |json| {
        machine(json, event);
        json.int("type_id", 0);
        json.text("type", "Unknown");
    });
}

/// The attributes that the class has beyond those of all classes.
fn class(json: &mut Json, notice: &Notice<'_>, plan: Plan) {
    let event = &notice.event;
    match plan.class {
        // Of findings: see `found`.
        Class::Base | Class::ComplianceFinding | Class::DetectionFinding => {}
        Class::FileSystem => {
            let path = said(&event.action).unwrap_or_default();
            file(json, plan::file_name(path), Some(path));
            device(json, event);
        }
        Class::Process => {
            json.inside("process", |json| {
                json.int("pid", plan.pid);
                json.text("cmd_line", said(&event.action));
                session(json, event);
            });
            device(json, event);
        }
        Class::EventLog => {
            let log = match recording(event).filter(|_| plan.is_recording) {
                Some(id) => Some(format!("recording:{id}")),
                None => said(&event.target).map(str::to_owned),
            };
            json.text("log_name", log.as_deref());
            json.text("log_provider", notice.source);
            source_endpoint(json, notice, false);
        }
        Class::AccountChange => {
            match plan.is_own_account {
                true => user(json, "user", said(&event.actor), event.actor_kind),
                false => user(json, "user", said(&event.target), None),
            }
            source_endpoint(json, notice, false);
        }
        Class::Authentication => {
            user(json, "user", said(&event.actor), event.actor_kind);
            session(json, event);
            json.inside("service", |json| {
                json.text("name", notice.source);
                json.text("uid", said(&event.cluster));
            });
            json.flag("is_mfa", said(&event.mfa_device).map(|_| true));
            source_endpoint(json, notice, false);
            target_endpoint(json, event);
        }
        Class::AuthorizeSession => {
            user(json, "user", said(&event.actor), event.actor_kind);
            json.texts("privileges", texts(&event.actor_roles));
            json.inside("session", |json| {
                json.text("uid", said(&event.session_id));
                json.int("expiration_time", event.expires_at.map(millis));
                json.flag("is_mfa", said(&event.mfa_device).map(|_| true));
            });
            source_endpoint(json, notice, false);
            target_endpoint(json, event);
        }
        Class::EntityManagement => {
            entity(json, event);
            json.text("comment", said(&event.reason));
            source_endpoint(json, notice, false);
        }
        Class::GroupManagement => {
            json.inside("group", |json| {
                json.text("name", said(&event.target));
                json.text("type", event.target_kind.as_deref());
            });
            if let [member] = event.participants.as_slice() {
                user(json, "user", Some(member.as_ref()).filter(|member| !member.is_empty()), None);
            }
            source_endpoint(json, notice, false);
        }
        Class::Connection => {
            json.inside("src_endpoint", |json| machine(json, event));
            let mut words = said(&event.action).unwrap_or_default().split(' ');
            let address = Address::of(words.next().unwrap_or_default());
            json.inside("dst_endpoint", |json| {
                endpoint(json, &address);
                if address.port.is_none() {
                    json.int("port", words.next().and_then(|port| port.parse::<u16>().ok()).map(i64::from));
                }
            });
        }
        Class::Network | Class::Ssh | Class::Rdp | Class::Tunnel => {
            json.text("app_protocol_name", said(&event.protocol));
            if plan.class == Class::Tunnel {
                session(json, event);
            }
            source_endpoint(json, notice, false);
            target_endpoint(json, event);
        }
        Class::Api => {
            json.inside("api", |json| {
                json.text("operation", operation(event));
                json.inside("service", |json| json.text("name", plan.service.unwrap_or(notice.source)));
                json.inside("request", |json| json.text("uid", said(&event.correlation_id)));
            });
            if said(&event.target).is_some() {
                json.each("resources", [()], |json, ()| {
                    json.text("name", said(&event.target));
                    json.text("type", event.target_kind.as_deref());
                });
            }
            source_endpoint(json, notice, true);
        }
        Class::Datastore => {
            json.int("type_id", 1);
            json.text("type", "Database");
            json.inside("database", |json| {
                json.text("name", said(&event.target));
                let protocol = said(&event.protocol);
                json.int("type_id", if protocol.is_some() { 99 } else { 0 });
                json.text("type", protocol.unwrap_or("Unknown"));
            });
            if let Some(query) = said(&event.action) {
                json.inside("query_info", |json| {
                    json.text("uid", &*event_id(notice));
                    json.text("query_string", query);
                });
            }
            source_endpoint(json, notice, true);
        }
        Class::FileHosting => {
            match (plan.is_recording, recording(event)) {
                (true, Some(id)) => json.inside("file", |json| {
                    json.text("name", id);
                    json.text("uid", id);
                    json.int("type_id", 99);
                    json.text("type", "Session Recording");
                }),
                _ => {
                    let path = said(&event.action).and_then(plan::path).unwrap_or_default();
                    file(json, plan::file_name(path), Some(path));
                }
            }
            source_endpoint(json, notice, true);
            // Of a recording the target is the recording.
            if !plan.is_recording {
                target_endpoint(json, event);
            }
        }
    }
}

/// What a class of findings has.
fn found(json: &mut Json, notice: &Notice<'_>, plan: Plan, finding: &Finding) {
    let event = &notice.event;
    let controls = || finding.controls.iter().map(String::as_str);
    json.inside("finding_info", |json| {
        json.text("uid", finding.uid.as_str());
        json.text("title", said(&event.action));
        json.text("desc", said(&event.reason));
        json.texts("types", finding.why.iter().map(String::as_str));
        json.int("created_time", finding.raised_at.map(millis));
        json.int("modified_time", event.occurred_at.map(millis));
        if !finding.report.is_empty() {
            json.inside("analytic", |json| {
                json.text("uid", finding.report.as_str());
                json.text("name", said(&event.action));
                json.text("version", finding.report_version.as_deref());
                json.int("type_id", 1);
                json.text("type", "Rule");
            });
        }
        json.each("related_events", &finding.evidence, |json, id| json.text("uid", id.as_str()));
    });
    if plan.class == Class::ComplianceFinding {
        json.inside("compliance", |json| {
            json.text("control", finding.report.as_str());
            let mut standards: Vec<&str> = controls().filter_map(|control| control.split(' ').next()).collect();
            standards.sort_unstable();
            standards.dedup();
            json.texts("standards", standards);
            json.texts("requirements", controls());
            let (id, caption) = match finding.verdict.as_deref() {
                Some("pass") => (1, "Pass"),
                Some("exception") => (3, "Fail"),
                None if finding.state != State::Closed => (3, "Fail"),
                Some(verdict) => (99, verdict),
                None => (0, "Unknown"),
            };
            json.int("status_id", id);
            json.text("status", caption);
        });
    }
    let (actor, session_id) = (said(&event.actor).or(finding.person.as_deref()), said(&event.session_id));
    if actor.is_some() || session_id.is_some() {
        json.each("evidences", [()], |json, ()| {
            json.inside("actor", |json| {
                user(json, "user", actor, event.actor_kind.filter(|_| said(&event.actor).is_some()));
                session(json, event);
            });
        });
    }
    if session_id.or(said(&event.target)).is_some() {
        json.each("resources", [()], |json, ()| {
            json.text("uid", session_id);
            json.text("name", said(&event.target));
            json.text("type", session_id.map(|_| "Session"));
        });
    }
}

fn operation<'e>(event: &'e Event<'_>) -> &'e str {
    let policy = said(&event.policy_path).filter(|_| event.kind == Kind::PolicyDecision);
    let source_type = Some(event.source_type.as_ref()).filter(|name| !name.is_empty());
    policy.or(said(&event.action)).or(source_type).unwrap_or(event.kind.as_str())
}

fn entity(json: &mut Json, event: &Event<'_>) {
    json.inside("entity", |json| match event.kind {
        kind if plan::is_request(kind) => {
            json.int("type_id", 99);
            json.text("type", "Access Request");
            json.text("uid", first(&event.request_ids));
            json.text("name", said(&event.target));
            json.inside("data", |json| json.texts("roles", texts(&event.requested_roles)));
        }
        Kind::CredentialIssue => {
            json.int("type_id", 99);
            json.text("type", "Credential");
            user(json, "user", said(&event.actor), event.actor_kind);
        }
        _ => {
            let (id, caption) = match event.target_kind.as_deref() {
                Some("device") => (1, "Device"),
                Some("user") => (2, "User"),
                Some(kind) => (99, kind),
                // `roles` of `roles.update`.
                None => (99, event.source_type.split('.').next().filter(|name| !name.is_empty()).unwrap_or("other")),
            };
            json.int("type_id", id);
            json.text("type", caption);
            json.text("name", said(&event.target));
        }
    });
}

/// What an analyst searches for across classes: users, addresses, hosts; each with the path of the attribute that has it.
fn observables(json: &mut Json, notice: &Notice<'_>, plan: Plan, person: Option<&str>) {
    let event = &notice.event;
    let observable = |json: &mut Json, name: &str, (id, caption): (i64, &str), value: &str| {
        json.text("name", name);
        json.int("type_id", id);
        json.text("type", caption);
        json.text("value", value);
    };
    const USER: (i64, &str) = (4, "User Name");
    const ADDRESS: (i64, &str) = (2, "IP Address");
    const HOST: (i64, &str) = (1, "Hostname");
    let path = if plan.class.is_finding() { "evidences[0].actor.user.name" } else { "actor.user.name" };
    let user = said(&event.actor).or(person).map(|user| (path, USER, user.to_owned()));
    let client = Address::of_client(event).and_then(|client| client.ip).filter(|_| plan.class.has_client());
    let address = client.map(|ip| ("src_endpoint.ip", ADDRESS, ip.to_string()));
    let host = plan.class.host().filter(|_| is_host(event) && !plan.is_recording);
    let host = host.and_then(|path| Some((path, HOST, said(&event.target)?.to_owned())));
    json.each("observables", [user, address, host].into_iter().flatten(), |json, (name, of, value)| {
        observable(json, name, of, &value);
    });
}

fn unmapped(json: &mut Json, notice: &Notice<'_>, plan: Plan) {
    json.inside("unmapped", |json| {
        json.inside("custody", |json| {
            if notice.event.event_id.len() <= super::ID_BYTES_MAX && *notice.event.event_id != *event_id(notice) {
                json.text("event_id", notice.event.event_id.as_ref());
            }
            json.text("time_from", time(notice).1);
            custody::columns(json, notice, plan.told());
            chain(json, notice);
        });
    });
}
