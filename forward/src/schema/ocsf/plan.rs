//! Which class and activity an event has.

use custody_schemas::event::{Event, Kind, Outcome};
use serde_json::Value;

use crate::notice::Notice;
use crate::schema::finding::{Finding, State};
use crate::schema::{Gist, Verb, Way, first, said};

/// A class. The numbers and names are the schema's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Base,
    FileSystem,
    Process,
    EventLog,
    ComplianceFinding,
    DetectionFinding,
    AccountChange,
    Authentication,
    AuthorizeSession,
    EntityManagement,
    GroupManagement,
    Network,
    /// Network Activity too: of a connection that was made in a session, from its target on.
    Connection,
    Rdp,
    Ssh,
    Tunnel,
    Api,
    Datastore,
    FileHosting,
}

impl Class {
    pub(super) fn uid(self) -> i64 {
        match self {
            Self::Base => 0,
            Self::FileSystem => 1001,
            Self::Process => 1007,
            Self::EventLog => 1008,
            Self::ComplianceFinding => 2003,
            Self::DetectionFinding => 2004,
            Self::AccountChange => 3001,
            Self::Authentication => 3002,
            Self::AuthorizeSession => 3003,
            Self::EntityManagement => 3004,
            Self::GroupManagement => 3006,
            Self::Network | Self::Connection => 4001,
            Self::Rdp => 4005,
            Self::Ssh => 4007,
            Self::Tunnel => 4014,
            Self::Api => 6003,
            Self::Datastore => 6005,
            Self::FileHosting => 6006,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Base => "Base Event",
            Self::FileSystem => "File System Activity",
            Self::Process => "Process Activity",
            Self::EventLog => "Event Log Activity",
            Self::ComplianceFinding => "Compliance Finding",
            Self::DetectionFinding => "Detection Finding",
            Self::AccountChange => "Account Change",
            Self::Authentication => "Authentication",
            Self::AuthorizeSession => "Authorize Session",
            Self::EntityManagement => "Entity Management",
            Self::GroupManagement => "Group Management",
            Self::Network | Self::Connection => "Network Activity",
            Self::Rdp => "RDP Activity",
            Self::Ssh => "SSH Activity",
            Self::Tunnel => "Tunnel Activity",
            Self::Api => "API Activity",
            Self::Datastore => "Datastore Activity",
            Self::FileHosting => "File Hosting Activity",
        }
    }

    pub(super) fn category(self) -> &'static str {
        match self.uid() / 1000 {
            1 => "System Activity",
            2 => "Findings",
            3 => "Identity & Access Management",
            4 => "Network Activity",
            6 => "Application Activity",
            _ => "Uncategorized",
        }
    }

    /// Whether its `src_endpoint` is the client.
    pub(super) fn has_client(self) -> bool {
        let has_none = matches!(self, Self::Base | Self::FileSystem | Self::Process | Self::Connection);
        !has_none && !self.is_finding()
    }

    /// Whether it is told by Custody of what others did.
    pub(super) fn is_finding(self) -> bool {
        matches!(self, Self::ComplianceFinding | Self::DetectionFinding)
    }

    /// Where the class has the target's name, when the target is a machine.
    pub(super) fn host(self) -> Option<&'static str> {
        match self {
            Self::FileSystem | Self::Process => Some("device.hostname"),
            Self::Connection => Some("src_endpoint.hostname"),
            Self::Authentication
            | Self::AuthorizeSession
            | Self::Network
            | Self::Rdp
            | Self::Ssh
            | Self::Tunnel
            | Self::FileHosting => Some("dst_endpoint.hostname"),
            _ => None,
        }
    }

    /// Whether all that the class requires is known.
    fn is_possible(self, event: &Event<'_>) -> bool {
        let user = said(&event.actor).is_some();
        let session = said(&event.session_id).is_some();
        let actor = user || session;
        let target = said(&event.target).is_some();
        let action = said(&event.action).is_some();
        let client = said(&event.remote_addr).is_some();
        match self {
            Self::Base | Self::EventLog | Self::ComplianceFinding | Self::DetectionFinding => true,
            Self::FileSystem | Self::Process => actor && target && action,
            Self::AccountChange => target || user,
            Self::Authentication => user,
            Self::AuthorizeSession => user && first(&event.actor_roles).is_some(),
            Self::EntityManagement if is_request(event.kind) => first(&event.request_ids).is_some(),
            Self::EntityManagement if event.kind == Kind::CredentialIssue => user,
            Self::EntityManagement | Self::GroupManagement => target,
            Self::Network | Self::Ssh | Self::Rdp => target || client,
            Self::Tunnel => session || client,
            Self::Connection => action && target,
            Self::Api => actor,
            Self::Datastore => actor && target,
            Self::FileHosting => actor,
        }
    }
}

/// What a control did about an activity: numbers and names of the profile `security_control`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    pub(super) action: (i64, &'static str),
    pub(super) disposition: (i64, &'static str),
    pub(super) is_alert: bool,
}

const ALLOWED: (i64, &str) = (1, "Allowed");
const DENIED: (i64, &str) = (2, "Denied");
/// Nothing was done about it but to say that it is so.
const ALERT: Control = Control { action: (3, "Observed"), disposition: (19, "Alert"), is_alert: true };

impl Control {
    fn of(event: &Event<'_>, finding: Option<&Finding>) -> Option<Self> {
        if let Some(finding) = finding {
            return finding.is_alert().then_some(ALERT);
        }
        let state = match event.kind {
            Kind::RequestReview => said(&event.proposed_state),
            Kind::RequestUpdate => said(&event.request_state),
            _ => None,
        };
        let (action, disposition) = match (state, event.outcome) {
            (Some("APPROVED" | "PROMOTED"), _) => (ALLOWED, (8, "Approved")),
            (Some("DENIED" | "REJECTED"), _) => (DENIED, (25, "Rejected")),
            (Some("REVOKED"), _) => (DENIED, (24, "Access Revoked")),
            (_, Some(Outcome::Allow)) => (ALLOWED, (1, "Allowed")),
            (_, Some(Outcome::Deny)) => (DENIED, (2, "Blocked")),
            (_, Some(Outcome::Undefined)) => ((99, "undefined"), (99, "undefined")),
            (_, Some(Outcome::Error)) => ((0, "Unknown"), (27, "Error")),
            _ if event.kind == Kind::SessionRejected => (DENIED, (2, "Blocked")),
            _ if event.kind == Kind::Loss => return Some(ALERT),
            _ => return None,
        };
        Some(Self { action, disposition, is_alert: false })
    }
}

/// What an event is in OCSF's words.
#[derive(Debug, Clone, Copy)]
pub(in crate::schema) struct Plan {
    pub(super) class: Class,
    pub(super) activity: i64,
    /// The schema's caption; empty where the source's own name stands.
    pub(super) activity_name: &'static str,
    pub(super) control: Option<Control>,
    /// The service whose interface was called, where it is not the source.
    pub(super) service: Option<&'static str>,
    /// Id of the process.
    pub(super) pid: Option<i64>,
    /// Whether the file or log is the recording of a session.
    pub(super) is_recording: bool,
    /// Whether the account is the actor's own.
    pub(super) is_own_account: bool,
    kind: Kind,
    has_actor: bool,
}

/// A class, an activity, and the activity's caption.
type Choice = (Class, i64, &'static str);

/// An activity that the class has no word for.
const fn other(class: Class) -> Choice {
    (class, 99, "")
}

impl Plan {
    pub(in crate::schema) fn of(notice: &Notice<'_>, gist: &Gist) -> Self {
        let event = &notice.event;
        let finding = gist.finding.as_ref();
        let pid = is_command(event).then(|| pid(&event.detail)).flatten();
        let chosen = choices(event, finding, pid).into_iter().flatten().find(|(class, ..)| class.is_possible(event));
        let (class, activity, activity_name) = chosen.unwrap_or(other(Class::Base));
        Self {
            class,
            activity,
            activity_name,
            control: Control::of(event, finding),
            service: (Way::of(event) == Way::Kubernetes).then_some("kubernetes"),
            pid,
            is_recording: matches!(event.kind, Kind::SessionUpload | Kind::RecordingAccess | Kind::Import),
            is_own_account: event.source_type.starts_with("mfa."),
            kind: event.kind,
            has_actor: said(&event.actor).is_some() || said(&event.session_id).is_some(),
        }
    }

    /// The profiles whose attributes are used.
    pub(super) fn profiles(self) -> impl Iterator<Item = &'static str> {
        // An actor is no attribute of these classes' own.
        let is_host = matches!(
            self.class,
            Class::Base | Class::Network | Class::Connection | Class::Ssh | Class::Rdp | Class::Tunnel
        );
        let host = (is_host && self.has_actor).then_some("host");
        host.into_iter().chain(self.control.map(|_| "security_control"))
    }

    /// The columns that attributes of the class have.
    pub(super) fn told(self) -> &'static [&'static str] {
        macro_rules! told {
            ($($more:literal),*) => {
                &["source", "ingested_at", "source_code", "outcome", "actor", "session_id", "occurred_at",
                  "session_started_at", "session_ended_at", $($more),*]
            };
        }
        match self.class {
            Class::Base => told!(),
            // Not the outcome: the status is that of the finding.
            Class::ComplianceFinding | Class::DetectionFinding => &[
                "source",
                "ingested_at",
                "source_code",
                "actor",
                "session_id",
                "occurred_at",
                "session_started_at",
                "session_ended_at",
                "action",
                "target",
                "reason",
            ],
            Class::FileSystem | Class::Process => told!("action", "target"),
            Class::EventLog => told!("remote_addr"),
            Class::AccountChange if self.is_own_account => told!("remote_addr"),
            Class::AccountChange | Class::GroupManagement => told!("remote_addr", "target"),
            Class::Authentication => told!("remote_addr", "target", "cluster"),
            Class::AuthorizeSession => told!("remote_addr", "target", "actor_roles", "expires_at"),
            Class::EntityManagement if is_request(self.kind) => {
                told!("remote_addr", "target", "reason", "requested_roles")
            }
            Class::EntityManagement if self.kind == Kind::CredentialIssue => told!("remote_addr", "reason"),
            Class::EntityManagement => told!("remote_addr", "reason", "target"),
            Class::Network | Class::Ssh | Class::Rdp | Class::Tunnel => told!("remote_addr", "target", "protocol"),
            // An action need not be an address and a port alone.
            Class::Connection => told!("target"),
            Class::Api if self.kind == Kind::PolicyDecision => told!("remote_addr", "target", "correlation_id"),
            Class::Api => told!("remote_addr", "target", "correlation_id", "action"),
            Class::Datastore => told!("remote_addr", "target", "protocol", "action"),
            Class::FileHosting if self.is_recording => told!("remote_addr"),
            Class::FileHosting => told!("remote_addr", "target"),
        }
    }
}

/// Classes for an event, the best first. The first whose requirements are met is taken.
fn choices(event: &Event<'_>, finding: Option<&Finding>, pid: Option<i64>) -> [Option<Choice>; 3] {
    let one = |choice| [Some(choice), None, None];
    match event.kind {
        Kind::SessionStart | Kind::SessionEnd | Kind::SessionRejected | Kind::SessionJoin | Kind::SessionLeave => {
            in_session(event, None)
        }
        Kind::SessionActivity => in_session(event, activity(event, pid)),
        Kind::SessionUpload | Kind::Import => one((Class::EventLog, 4, "Archive")),
        Kind::RecordingAccess if recording(event).is_none() => one(other(Class::Base)),
        Kind::RecordingAccess if event.source_type.ends_with("download") => one((Class::FileHosting, 2, "Download")),
        Kind::RecordingAccess => one((Class::FileHosting, 14, "Open")),
        Kind::RequestCreate => one((Class::EntityManagement, 1, "Create")),
        Kind::RequestReview | Kind::RequestUpdate => one((Class::EntityManagement, 3, "Update")),
        Kind::RequestDelete => one((Class::EntityManagement, 4, "Delete")),
        Kind::RequestExpire => one((Class::EntityManagement, 11, "Deactivate")),
        Kind::CredentialIssue => [
            Some((Class::AuthorizeSession, 1, "Assign Privileges")),
            Some((Class::EntityManagement, 1, "Create")),
            None,
        ],
        Kind::Login => one((Class::Authentication, 1, "Logon")),
        Kind::PolicyDecision => one(call(said(&event.action).map_or(Verb::Other, Verb::of_action))),
        Kind::ConfigChange => [account_or_group(event), Some(managed(Verb::of(event))), None],
        Kind::Retention if event.outcome == Some(Outcome::Success) => one((Class::EventLog, 2, "Delete")),
        Kind::Retention | Kind::Redecode | Kind::Loss | Kind::Heartbeat => one(other(Class::EventLog)),
        Kind::Finding => [finding.map(found), None, None],
        Kind::Other if Way::of(event) != Way::Unknown && said(&event.session_id).is_some() => in_session(event, None),
        Kind::Other => match Verb::of(event) {
            Verb::Other => one(other(Class::Base)),
            verb => one(call(verb)),
        },
    }
}

/// Of an event of a session: a class of its own if there is one, that of the session's way, or a more general one.
fn in_session(event: &Event<'_>, own: Option<Choice>) -> [Option<Choice>; 3] {
    let way = Way::of(event);
    let (open, close, refuse, fail, traffic) = ((1, "Open"), (2, "Close"), (5, "Refuse"), (4, "Fail"), (6, "Traffic"));
    let is_refused = event.kind == Kind::SessionRejected || event.outcome == Some(Outcome::Deny);
    let is_failed = matches!(event.outcome, Some(Outcome::Failure | Outcome::Error));
    let network = match event.kind {
        Kind::SessionStart | Kind::SessionRejected if is_refused => refuse,
        Kind::SessionStart if is_failed => fail,
        Kind::SessionStart => open,
        Kind::SessionEnd => close,
        Kind::SessionActivity => traffic,
        _ => (99, ""),
    };
    let of_network = |class| Some((class, network.0, network.1));
    let is_start = matches!(event.kind, Kind::SessionStart | Kind::SessionRejected);
    let of_way = match way {
        Way::Ssh => of_network(Class::Ssh),
        Way::Network => of_network(Class::Network),
        Way::Desktop => Some(match event.kind {
            _ if is_start => (Class::Rdp, 4, "Connect Response"),
            Kind::SessionEnd => (Class::Rdp, 7, "Disconnect"),
            Kind::SessionActivity => (Class::Rdp, 6, "Traffic"),
            _ => other(Class::Rdp),
        }),
        Way::Tunnel => Some(match event.kind {
            _ if is_start => (Class::Tunnel, 1, "Open"),
            Kind::SessionEnd => (Class::Tunnel, 2, "Close"),
            _ => other(Class::Tunnel),
        }),
        Way::Database => Some(match event.kind {
            _ if is_start => (Class::Datastore, 3, "Connect"),
            Kind::SessionActivity if said(&event.action).is_some() => (Class::Datastore, 4, "Query"),
            _ => other(Class::Datastore),
        }),
        Way::Kubernetes => Some(other(Class::Api)),
        Way::Unknown => None,
    };
    let general = of_network(Class::Network).filter(|_| matches!(way, Way::Database | Way::Kubernetes | Way::Tunnel));
    [own, of_way, general]
}

/// What was found is created once. That it came back is news of the same finding, whose `created_time` is earlier.
fn found(finding: &Finding) -> Choice {
    let class = if finding.is_detection() { Class::DetectionFinding } else { Class::ComplianceFinding };
    match finding.state {
        State::Open if !finding.is_back => (class, 1, "Create"),
        State::Open | State::Changed => (class, 2, "Update"),
        State::Closed => (class, 3, "Close"),
    }
}

fn is_command(event: &Event<'_>) -> bool {
    matches!(event.source_type.as_ref(), "session.command" | "session.exec")
}

/// The class of what was done in a session, where it is one of its own.
fn activity(event: &Event<'_>, pid: Option<i64>) -> Option<Choice> {
    let action = said(&event.action)?;
    let verb = action.split(' ').next().unwrap_or_default();
    let transfer = |activity, name| path(action).is_some().then_some((Class::FileHosting, activity, name));
    match event.source_type.as_ref() {
        "session.command" | "session.exec" => pid.map(|_| (Class::Process, 1, "Launch")),
        "session.disk" | "session.open" if !file_name(action).is_empty() => Some((Class::FileSystem, 14, "Open")),
        "session.network" if event.outcome == Some(Outcome::Deny) => Some((Class::Connection, 5, "Refuse")),
        "session.network" => Some((Class::Connection, 1, "Open")),
        "kube.request" => Some(call(Verb::of_action(action))),
        "scp" | "sftp" => match verb {
            "upload" | "write" => transfer(1, "Upload"),
            "download" | "read" => transfer(2, "Download"),
            "remove" => transfer(4, "Delete"),
            "open" => transfer(14, "Open"),
            // Two paths, of which nobody knows where the first ends.
            "rename" | "symlink" | "link" => None,
            _ => transfer(99, ""),
        },
        _ => None,
    }
}

/// The path of `open /etc/hosts`.
pub(super) fn path(action: &str) -> Option<&str> {
    action.split_once(' ').map(|(_, path)| path).filter(|path| !file_name(path).is_empty())
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The id of the process, as the kernel gave it to the recorder.
fn pid(detail: &str) -> Option<i64> {
    let detail: Value = serde_json::from_str(detail).ok()?;
    detail.get("pid")?.as_i64().filter(|pid| (1..=i64::from(i32::MAX)).contains(pid))
}

fn call(verb: Verb) -> Choice {
    match verb {
        Verb::Create => (Class::Api, 1, "Create"),
        Verb::Read => (Class::Api, 2, "Read"),
        Verb::Update => (Class::Api, 3, "Update"),
        Verb::Delete => (Class::Api, 4, "Delete"),
        _ => other(Class::Api),
    }
}

fn managed(verb: Verb) -> Choice {
    let (activity, name) = match verb {
        Verb::Create => (1, "Create"),
        Verb::Read => (2, "Read"),
        Verb::Update => (3, "Update"),
        Verb::Delete => (4, "Delete"),
        Verb::Enroll => (6, "Enroll"),
        Verb::Enable => (8, "Enable"),
        Verb::Disable => (9, "Disable"),
        Verb::Other => (99, ""),
    };
    (Class::EntityManagement, activity, name)
}

/// The class of a change of an account or of who is in a group.
fn account_or_group(event: &Event<'_>) -> Option<Choice> {
    let verb = Verb::of(event);
    let source_type = event.source_type.as_ref();
    let is_user = event.target_kind.as_deref() == Some("user") && said(&event.target).is_some();
    let account = |activity, name| Some((Class::AccountChange, activity, name));
    match (source_type, verb) {
        ("lock.created", _) if is_user => account(9, "Lock"),
        ("lock.deleted", _) if is_user => account(12, "Unlock"),
        ("mfa.add", _) if said(&event.actor).is_some() => account(10, "MFA Factor Enable"),
        ("mfa.delete", _) if said(&event.actor).is_some() => account(11, "MFA Factor Disable"),
        ("user.password_change", _) if is_user => account(3, "Password Change"),
        (of_user, Verb::Create) if is_user && of_user.starts_with("user.") => account(1, "Create"),
        (of_user, Verb::Delete) if is_user && of_user.starts_with("user.") => account(6, "Delete"),
        (of_user, _) if is_user && of_user.starts_with("user.") => account(99, ""),
        (member, Verb::Create) if member.starts_with("access_list.member.") => {
            Some((Class::GroupManagement, 3, "Add User"))
        }
        (member, Verb::Delete) if member.starts_with("access_list.member.") => {
            Some((Class::GroupManagement, 4, "Remove User"))
        }
        _ => None,
    }
}

/// What a recording is known by: its own id, that of its session, or of the part of it that was asked for.
pub(super) fn recording<'e>(event: &'e Event<'_>) -> Option<&'e str> {
    let part = said(&event.target).filter(|_| event.kind == Kind::RecordingAccess);
    said(&event.recording_id).or(said(&event.session_id)).or(part)
}

pub(super) fn is_request(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::RequestCreate | Kind::RequestReview | Kind::RequestUpdate | Kind::RequestDelete | Kind::RequestExpire
    )
}
