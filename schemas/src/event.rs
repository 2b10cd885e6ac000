//! An event: one normalised audit fact. Actor did action to target, with an outcome, at a time.

use std::borrow::Cow;

use crate::time::Micros;

/// Text that is borrowed from the message wherever the source wrote it without escapes.
pub type Text<'a> = Cow<'a, str>;

/// One audit fact, normalised from a source's own shape.
///
/// A field is `None` or empty when the source did not say; nothing is guessed. What has no field of its own stays in
/// `detail`, so that no fact is lost between a record and its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Stable identity from the source's own ids (`teleport/<cluster>/<uid>`, `opa/<instance>/<decision_id>`).
    /// Two deliveries of one fact have the same id. Empty when the source gave none: the ledger then uses the
    /// coordinates of the record (`kafka/<topic>/<partition>/<offset>/<index>`).
    pub event_id: Text<'a>,
    /// The instance of the source: Teleport cluster, OPA instance.
    pub cluster: Option<Text<'a>>,
    /// When it happened, by the source's clock.
    pub occurred_at: Option<Micros>,
    /// What sort of fact it is, in Custody's words.
    pub kind: Kind,
    /// The source's own name of the event type (`session.start`).
    pub source_type: Text<'a>,
    /// The source's own code of the event (`T2000I`).
    pub source_code: Option<Text<'a>>,
    /// Who did it: a user, a reviewer, a plugin, as the source names it.
    pub actor: Option<Text<'a>>,
    /// Person, bot or system, when the source says so.
    pub actor_kind: Option<ActorKind>,
    /// Roles of the actor in effect.
    pub actor_roles: Vec<Text<'a>>,
    /// The person for whom a plugin acted.
    pub delegator: Option<Text<'a>>,
    /// What was done: a command, a verb, a database query, the action that a policy was asked about.
    pub action: Option<Text<'a>>,
    /// What it was done to: a host, a database service, a cluster, an application.
    pub target: Option<Text<'a>>,
    /// What the target is: `node`, `database`, `kubernetes`, `app`, `desktop`, `target`.
    pub target_kind: Option<Text<'a>>,
    /// Account on the target: operating system login or database user.
    pub login: Option<Text<'a>>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The person's session at the gateway.
    pub session_id: Option<Text<'a>>,
    /// Protocol of the session: `ssh`, `kube`, `postgres`.
    pub protocol: Option<Text<'a>>,
    /// Beginning of the session, where the event states it (a session's end does).
    pub session_started_at: Option<Micros>,
    /// End of the session, where the event states it.
    pub session_ended_at: Option<Micros>,
    /// Everyone who was in the session, where the event states it.
    pub participants: Vec<Text<'a>>,
    /// Access requests that the actor's credentials carried; on a request's own events, that request.
    pub request_ids: Vec<Text<'a>>,
    /// The reason as written: the requester's on a creation, the reviewer's on a review, the input's on a decision.
    pub reason: Option<Text<'a>>,
    /// State of the access request after this event: `PENDING`, `APPROVED`, `DENIED`, `PROMOTED`.
    pub request_state: Option<Text<'a>>,
    /// What a reviewer voted.
    pub proposed_state: Option<Text<'a>>,
    /// Roles that the request asks for, or that an approver granted instead.
    pub requested_roles: Vec<Text<'a>>,
    /// When the access (or credential) ends.
    pub expires_at: Option<Micros>,
    /// Id of a policy engine's decision.
    pub decision_id: Option<Text<'a>>,
    /// Path of the policy that decided, without a leading slash.
    pub policy_path: Option<Text<'a>>,
    /// Revision of the policy bundle that decided (`name=revision`, joined by commas when there are several).
    pub policy_revision: Option<Text<'a>>,
    /// Ticket that the source names in a field of its own. Tickets inside a reason are found by the views.
    pub ticket: Option<Text<'a>>,
    /// Who said yes, where a decision names a person.
    pub approver: Option<Text<'a>>,
    /// When they did.
    pub approved_at: Option<Micros>,
    /// Id that the caller gave the request at the gateway (Boundary's `X-Correlation-Id`, hoop's correlation id), and
    /// on a decision the one that its input names. Two facts of different systems with one such id belong together.
    pub correlation_id: Option<Text<'a>>,
    /// The gateway's id of the session's recording, where it has one of its own.
    pub recording_id: Option<Text<'a>>,
    /// Whether the session is (to be) recorded, where the gateway says.
    pub recorded: Option<bool>,
    /// How far what the event tells of, or the event itself, could be verified: see [`Integrity`].
    pub integrity: Option<Integrity>,
    /// Id of the MFA device that was used.
    pub mfa_device: Option<Text<'a>>,
    /// Address of the client as the source wrote it.
    pub remote_addr: Option<Text<'a>>,
    /// Every field of the source without a column here, as one JSON object with sorted keys; `{}` when none is left.
    pub detail: String,
}

/// What sort of fact an event is. The name is the value of `events.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// A session began.
    SessionStart,
    /// A session ended.
    SessionEnd,
    /// Someone joined a session.
    SessionJoin,
    /// Someone left a session.
    SessionLeave,
    /// The gateway says that the recording of a session is complete and stored.
    SessionUpload,
    /// A session was refused.
    SessionRejected,
    /// Someone watched a recording.
    RecordingAccess,
    /// Something that was done inside a session: a command, a file, a query, a port.
    SessionActivity,
    /// An access request was made.
    RequestCreate,
    /// A reviewer voted on an access request.
    RequestReview,
    /// The state of an access request was set other than by a review.
    RequestUpdate,
    /// An access request was deleted.
    RequestDelete,
    /// An access request expired.
    RequestExpire,
    /// A credential was issued.
    CredentialIssue,
    /// Someone (or something) logged in, or tried to.
    Login,
    /// A policy engine decided.
    PolicyDecision,
    /// What rules access was changed: a role, a user, a lock, an access list, a target, a recording setting.
    ConfigChange,
    /// A file or a container of files was imported; of a recording, how far it can be trusted.
    Import,
    /// A record that could not be decoded was decoded again, and understood.
    Redecode,
    /// Whole days left a table of the ledger by a policy.
    Retention,
    /// Messages were gone from Kafka before they were read.
    Loss,
    /// Something that people have to look at was found, is another than before, or is over: an exception of a report, a
    /// source that has fallen silent.
    Finding,
    /// What came in in a span of time, in numbers.
    Heartbeat,
    /// Any other audit event of the source.
    #[default]
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 24] = [
        Self::SessionStart,
        Self::SessionEnd,
        Self::SessionJoin,
        Self::SessionLeave,
        Self::SessionUpload,
        Self::SessionRejected,
        Self::RecordingAccess,
        Self::SessionActivity,
        Self::RequestCreate,
        Self::RequestReview,
        Self::RequestUpdate,
        Self::RequestDelete,
        Self::RequestExpire,
        Self::CredentialIssue,
        Self::Login,
        Self::PolicyDecision,
        Self::ConfigChange,
        Self::Import,
        Self::Redecode,
        Self::Retention,
        Self::Loss,
        Self::Finding,
        Self::Heartbeat,
        Self::Other,
    ];

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The value of `events.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionStart => "session.start",
            Self::SessionEnd => "session.end",
            Self::SessionJoin => "session.join",
            Self::SessionLeave => "session.leave",
            Self::SessionUpload => "session.upload",
            Self::SessionRejected => "session.rejected",
            Self::RecordingAccess => "recording.access",
            Self::SessionActivity => "session.activity",
            Self::RequestCreate => "request.create",
            Self::RequestReview => "request.review",
            Self::RequestUpdate => "request.update",
            Self::RequestDelete => "request.delete",
            Self::RequestExpire => "request.expire",
            Self::CredentialIssue => "credential.issue",
            Self::Login => "login",
            Self::PolicyDecision => "policy.decision",
            Self::ConfigChange => "config.change",
            Self::Import => "import",
            Self::Redecode => "redecode",
            Self::Retention => "retention",
            Self::Loss => "loss",
            Self::Finding => "finding",
            Self::Heartbeat => "heartbeat",
            Self::Other => "other",
        }
    }
}

/// Who an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A person.
    Human,
    /// A machine identity.
    Bot,
    /// The gateway itself.
    System,
}

impl ActorKind {
    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Human, Self::Bot, Self::System].into_iter().find(|kind| kind.as_str() == name)
    }

    /// The value of `events.actor_kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Bot => "bot",
            Self::System => "system",
        }
    }
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It worked.
    Success,
    /// It did not work.
    Failure,
    /// It was allowed by a policy.
    Allow,
    /// It was refused by a policy or a person.
    Deny,
    /// The policy had no answer (its caller is expected to refuse).
    Undefined,
    /// The policy engine failed.
    Error,
}

impl Outcome {
    /// The outcome of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Success, Self::Failure, Self::Allow, Self::Deny, Self::Undefined, Self::Error];
        all.into_iter().find(|outcome| outcome.as_str() == name)
    }

    /// The value of `events.outcome`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Undefined => "undefined",
            Self::Error => "error",
        }
    }
}

/// How far a signed fact or a recording could be verified, from nothing to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Integrity {
    /// A check failed: what it says is not what was signed or listed.
    Failed,
    /// Parts are missing: it is cut off, or files that it lists are not there.
    Incomplete,
    /// It has an end and nothing is missing by its own word; nothing in it could be checked beyond that.
    Complete,
    /// Its content equals the checksums (or the signed copy) that came with it. Whoever changed both is not noticed.
    Checksums,
    /// The checksums are signed by a key that came with it. Whoever replaced all keys is not noticed.
    SelfSigned,
    /// Signed with a key that the operator configured, or that was pinned before.
    Authentic,
}

impl Integrity {
    /// The level of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// Every level, from the lowest.
    pub const ALL: [Self; 6] =
        [Self::Failed, Self::Incomplete, Self::Complete, Self::Checksums, Self::SelfSigned, Self::Authentic];

    /// The value of `events.integrity`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Complete => "complete",
            Self::Checksums => "checksums",
            Self::SelfSigned => "self_signed",
            Self::Authentic => "authentic",
        }
    }
}
