//! The words of those who receive: functions from a [`Notice`] to the text that is sent.
//!
//! Each gives one text without a line break (JSON, CEF, LEEF), is pure, and never fails: an event whose fields a schema
//! has no class for goes into a more general one. What a source did not say is not said; nothing is made up to fill a
//! field. Where a schema demands a time and the source stated none, the time of the message stands in, and the text says
//! so.
//!
//! An event is never dropped for its size. Its longest texts are cut, `detail` first, and it says that it was cut and how
//! long it would have been; a text that was cut ends with `…`.
//!
//! An event that is sent again because more became known of its access keeps its id and has a higher `revision`: it is
//! the same fact, so who keeps one document for each id replaces the older one, and who counts ids counts it once.

pub mod cef;
pub mod custody;
mod cut;
pub mod ecs;
mod finding;
mod json;
pub mod leef;
pub mod ocsf;
pub mod syslog;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use custody_schemas::event::{Event, Integrity, Kind, Outcome, Text};
use custody_schemas::time::Micros;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::notice::{Access, Notice};
use finding::Finding;
use json::Json;

/// What the product is called by receivers.
const PRODUCT: &str = "Custody";

/// The product's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// In whose words events are sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// Custody's own: see [`custody`].
    Custody,
    /// The Open Cybersecurity Schema Framework: see [`ocsf`].
    Ocsf,
    /// The Elastic Common Schema: see [`ecs`].
    Ecs,
    /// The Common Event Format: see [`cef`].
    Cef,
    /// The Log Event Extended Format: see [`leef`].
    Leef,
}

impl Schema {
    /// Every schema.
    pub const ALL: [Self; 5] = [Self::Custody, Self::Ocsf, Self::Ecs, Self::Cef, Self::Leef];

    /// No limit on the size of an event may be lower, in bytes: what is never cut has to fit.
    pub const BYTES_MIN: usize = 5120;

    /// The name in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Custody => "custody",
            Self::Ocsf => "ocsf",
            Self::Ecs => "ecs",
            Self::Cef => "cef",
            Self::Leef => "leef",
        }
    }

    /// The schema of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|schema| schema.as_str() == name)
    }

    /// Whether what it writes is a JSON object.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Custody | Self::Ocsf | Self::Ecs)
    }

    /// A notice as one line of text of at most `bytes_max` bytes ([`Schema::BYTES_MIN`], where that is less).
    pub fn write(self, notice: &Notice<'_>, bytes_max: usize) -> String {
        let bytes_max = bytes_max.max(Self::BYTES_MIN);
        // What sort of event it is follows from all of it, also where it is written shorter.
        let gist = Gist::of(notice);
        let brief = gist.brief();
        let gist_of = |whole_bytes: Option<usize>| if whole_bytes.is_some() { &brief } else { &gist };
        match self {
            Self::Custody => cut::fit(notice, bytes_max, custody::write),
            Self::Ocsf => {
                let plan = ocsf::Plan::of(notice, &gist);
                cut::fit(notice, bytes_max, |notice, bytes| ocsf::write(notice, gist_of(bytes), plan, bytes))
            }
            Self::Ecs => {
                let plan = ecs::Plan::of(notice, &gist);
                cut::fit(notice, bytes_max, |notice, bytes| ecs::write(notice, gist_of(bytes), plan, bytes))
            }
            Self::Cef => cut::fit(notice, bytes_max, |notice, bytes| cef::write(notice, gist_of(bytes), bytes)),
            Self::Leef => cut::fit(notice, bytes_max, |notice, bytes| leef::write(notice, gist_of(bytes), bytes)),
        }
    }
}

/// What is told of an event as a whole, however short it is written.
#[derive(Debug)]
struct Gist {
    severity: Severity,
    finding: Option<Finding>,
}

impl Gist {
    fn of(notice: &Notice<'_>) -> Self {
        let finding = Finding::of(notice);
        let severity = finding.as_ref().map_or_else(|| Severity::of(notice), Finding::severity);
        Self { severity, finding }
    }

    /// The same for an event whose texts are cut, `detail` first.
    fn brief(&self) -> Self {
        Self { severity: self.severity, finding: self.finding.as_ref().map(Finding::brief) }
    }
}

/// An id that is longer than this many bytes is no name that a receiver could keep.
const ID_BYTES_MAX: usize = 256;

/// By what a receiver knows the event, the same each time it is sent: [`Event::event_id`], where that has at most 256 bytes
/// and no control characters, quotes or backslashes.
///
/// Where it has, `sha256:` and its hash. Where the source gave no id, the coordinates of the record, which are little
/// longer than the name of its topic.
pub fn event_id<'n>(notice: &'n Notice<'_>) -> Cow<'n, str> {
    match notice.event.event_id.as_ref() {
        "" => Cow::Owned(format!("kafka/{}", place(notice))),
        id => id_to_keep(id),
    }
}

/// An id as it is where a receiver can keep it, and else its hash.
fn id_to_keep(id: &str) -> Cow<'_, str> {
    // Without those it is the same text in every schema and protocol.
    if id.len() <= ID_BYTES_MAX && !id.contains(|letter: char| letter.is_control() || matches!(letter, '"' | '\\')) {
        return Cow::Borrowed(id);
    }
    let mut hash = String::from("sha256:");
    for byte in Sha256::digest(id) {
        let _ = write!(hash, "{byte:02x}");
    }
    Cow::Owned(hash)
}

/// Where its record is, as one text: `topic/partition/offset/index`.
pub fn place(notice: &Notice<'_>) -> String {
    let evidence = &notice.evidence;
    format!("{}/{}/{}/{}", evidence.topic, evidence.partition, evidence.offset, evidence.index)
}

/// When it happened. Where the source does not say: when its message came, and which of the columns says so.
pub fn time(notice: &Notice<'_>) -> (Micros, Option<&'static str>) {
    match (notice.event.occurred_at, notice.evidence.broker_at) {
        (Some(at), _) => (at, None),
        (None, Some(at)) => (at, Some("broker_at")),
        (None, None) => (notice.evidence.ingested_at, Some("ingested_at")),
    }
}

/// A text that says something.
fn said<'e>(text: &'e Option<Text<'_>>) -> Option<&'e str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// The first text of a list that says something.
fn first<'e>(texts: &'e [Text<'_>]) -> Option<&'e str> {
    texts.iter().map(AsRef::as_ref).find(|text| !text.is_empty())
}

fn texts<'e>(texts: &'e [Text<'_>]) -> impl Iterator<Item = &'e str> {
    texts.iter().map(AsRef::as_ref)
}

/// The access request that the event is of, or that gave the access it tells of.
fn request_id<'n>(notice: &'n Notice<'_>) -> Option<&'n str> {
    let given = || notice.access.iter().find_map(|access| access.request_id.as_deref());
    first(&notice.event.request_ids).or_else(given).filter(|id| !id.is_empty())
}

/// Who said yes: by the event itself, and by what gave the access.
fn approvers<'n>(notice: &'n Notice<'_>) -> impl Iterator<Item = &'n str> {
    let given = notice.access.iter().flat_map(|access| &access.approvers).map(String::as_str);
    said(&notice.event.approver).into_iter().chain(given).filter(|approver| !approver.is_empty())
}

/// Why: by the event itself, or by what gave the access.
fn reason<'n>(notice: &'n Notice<'_>) -> Option<&'n str> {
    let given = || notice.access.iter().find_map(|access| access.reason.as_deref());
    said(&notice.event.reason).or_else(given).filter(|reason| !reason.is_empty())
}

/// Tickets of the event itself, and of what gave the access.
fn tickets<'n>(notice: &'n Notice<'_>) -> impl Iterator<Item = &'n str> {
    let given = notice.access.iter().flat_map(|access| &access.tickets).map(String::as_str);
    said(&notice.event.ticket).into_iter().chain(given).filter(|ticket| !ticket.is_empty())
}

/// A message is a headline; the fields have the whole.
const MESSAGE_CHARS_MAX: usize = 500;

/// The event as one line for people.
fn message(notice: &Notice<'_>) -> String {
    let event = &notice.event;
    let mut line = match event.kind {
        Kind::Other | Kind::Finding if !event.source_type.is_empty() => event.source_type.to_string(),
        kind => kind.as_str().to_owned(),
    };
    let outcome = event.outcome.map(Outcome::as_str);
    let parts = [
        (" by ", said(&event.actor)),
        (" for ", said(&event.delegator)),
        (": ", said(&event.action)),
        (" on ", said(&event.target)),
        (" as ", said(&event.login)),
        (": ", outcome),
        (", because ", reason(notice)),
    ];
    for (word, text) in parts {
        if let Some(text) = text {
            line.push_str(word);
            line.push_str(text);
        }
    }
    // What would break the line, or change the order in which it is read.
    let is_unfit = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if line.len() <= MESSAGE_CHARS_MAX && !line.contains(is_unfit) {
        return line;
    }
    let mut letters = line.chars().map(|letter| if is_unfit(letter) { ' ' } else { letter });
    let mut fit: String = letters.by_ref().take(MESSAGE_CHARS_MAX).collect();
    if letters.next().is_some() {
        fit.push('…');
    }
    fit
}

/// How much an event matters on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// What happens all day.
    Informational,
    /// What changes the rules of access or was refused.
    Low,
    /// What should not happen: access approved after it was used, a policy engine that failed.
    Medium,
    /// Evidence that is missing or not what was signed.
    High,
}

impl Severity {
    fn of(notice: &Notice<'_>) -> Self {
        let event = &notice.event;
        let is_late = notice.access.iter().any(|access| access.approved_before_start == Some(false));
        match event.kind {
            Kind::Loss => Self::High,
            _ if event.integrity == Some(Integrity::Failed) => Self::High,
            _ if is_late || event.outcome == Some(Outcome::Error) => Self::Medium,
            Kind::ConfigChange | Kind::Retention | Kind::SessionRejected => Self::Low,
            _ if matches!(event.outcome, Some(Outcome::Deny | Outcome::Failure | Outcome::Undefined)) => Self::Low,
            _ if event.recorded == Some(false) => Self::Low,
            _ => Self::Informational,
        }
    }

    /// OCSF's `severity_id` and its caption.
    fn of_ocsf(self) -> (i64, &'static str) {
        match self {
            Self::Informational => (1, "Informational"),
            Self::Low => (2, "Low"),
            Self::Medium => (3, "Medium"),
            Self::High => (4, "High"),
        }
    }

    /// From 0 to 10, as CEF and LEEF have it.
    fn of_ten(self) -> u8 {
        match self {
            Self::Informational => 2,
            Self::Low => 4,
            Self::Medium => 6,
            Self::High => 8,
        }
    }
}

/// An address as the source wrote it.
struct Address<'e> {
    text: &'e str,
    /// Only where the text is an address of the internet protocol, with or without a port.
    ip: Option<IpAddr>,
    port: Option<u16>,
}

impl<'e> Address<'e> {
    fn of(text: &'e str) -> Self {
        match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
            (Ok(socket), _) => Self { text, ip: Some(socket.ip()), port: Some(socket.port()) },
            (_, Ok(ip)) => Self { text, ip: Some(ip), port: None },
            _ => Self { text, ip: None, port: None },
        }
    }

    /// Of the client of an event.
    fn of_client(event: &'e Event<'_>) -> Option<Self> {
        said(&event.remote_addr).map(Self::of)
    }
}

/// What is done with a thing, by the word that the source has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Read,
    Update,
    Delete,
    Enable,
    Disable,
    Enroll,
    /// None of these.
    Other,
}

impl Verb {
    /// The verb of an event type (`role.created`, `targets.add-host-sources`), or else of an action (`update connection`).
    fn of(event: &Event<'_>) -> Self {
        let last = event.source_type.rsplit('.').next().unwrap_or_default();
        match Self::of_word(last) {
            Self::Other => said(&event.action).map_or(Self::Other, Self::of_action),
            verb => verb,
        }
    }

    /// The verb that an action begins with.
    fn of_action(action: &str) -> Self {
        Self::of_word(action.split_whitespace().next().unwrap_or_default())
    }

    fn of_word(word: &str) -> Self {
        const WORDS: [(&str, Verb); 29] = [
            ("add", Verb::Create),
            ("create", Verb::Create),
            ("created", Verb::Create),
            ("post", Verb::Create),
            ("get", Verb::Read),
            ("list", Verb::Read),
            ("read", Verb::Read),
            ("watch", Verb::Read),
            ("head", Verb::Read),
            ("change", Verb::Update),
            ("patch", Verb::Update),
            ("password_change", Verb::Update),
            ("put", Verb::Update),
            ("set", Verb::Update),
            ("update", Verb::Update),
            ("updated", Verb::Update),
            ("upsert", Verb::Update),
            ("delete", Verb::Delete),
            ("delete_all", Verb::Delete),
            ("delete_all_for_access_list", Verb::Delete),
            ("delete_all_members", Verb::Delete),
            ("deletecollection", Verb::Delete),
            ("deleted", Verb::Delete),
            ("remove", Verb::Delete),
            ("disable", Verb::Disable),
            ("disabled", Verb::Disable),
            ("enable", Verb::Enable),
            ("enabled", Verb::Enable),
            ("enroll", Verb::Enroll),
        ];
        // Boundary adds to, sets in and removes from a thing: `add-principals` is an update of a role.
        if ["add-", "set-", "remove-", "change-"].iter().any(|of| word.starts_with(of)) {
            return Self::Update;
        }
        let found = WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known));
        found.map_or(Self::Other, |(_, verb)| *verb)
    }
}

/// How a session reaches its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Ssh,
    Database,
    Kubernetes,
    Desktop,
    /// Some other protocol that the gateway lets through, and applications.
    Tunnel,
    /// Nothing is known but that it comes over a network.
    Network,
    /// Not even that: a local terminal, or no session at all.
    Unknown,
}

impl Way {
    fn of(event: &Event<'_>) -> Self {
        const DATABASES: [&str; 21] = [
            "cassandra",
            "clickhouse",
            "clickhouse-http",
            "cockroachdb",
            "database",
            "dynamodb",
            "elasticsearch",
            "mariadb",
            "mongodb",
            "mssql",
            "mysql",
            "opensearch",
            "oracle",
            "oracledb",
            "postgres",
            "postgresql",
            "redis",
            "snowflake",
            "spanner",
            "sqlserver",
            "scylladb",
        ];
        let protocol = said(&event.protocol);
        let is = |name: &str| protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(name));
        match event.target_kind.as_deref() {
            _ if is("ssh") => Self::Ssh,
            _ if is("rdp") || is("tdp") => Self::Desktop,
            _ if is("kube") || is("kubernetes") => Self::Kubernetes,
            _ if DATABASES.into_iter().any(is) => Self::Database,
            Some("database") => Self::Database,
            Some("kubernetes") => Self::Kubernetes,
            Some("desktop") => Self::Desktop,
            Some("app") => Self::Tunnel,
            _ if protocol.is_some() => Self::Tunnel,
            _ if said(&event.remote_addr).is_some() => Self::Network,
            _ => Self::Unknown,
        }
    }
}

/// The fields of the source without a column, as they stand; as text where they are no JSON object.
fn detail(json: &mut Json, name: &str, name_of_text: &str, detail: &str) {
    if matches!(detail, "" | "{}") {
        return;
    }
    // Only looks, and keeps nothing.
    let is_json = serde_json::from_str::<&serde_json::value::RawValue>(detail).is_ok();
    match is_json && detail.trim_start().starts_with('{') {
        true => json.json(name, detail.trim()),
        false => json.text(name_of_text, detail),
    }
}

/// What gave the access, and where the record is.
fn chain(json: &mut Json, notice: &Notice<'_>) {
    json.each("access", notice.access, |json, access: &Access| {
        json.text("link_method", access.link_method.as_str());
        json.text("request_id", access.request_id.as_deref());
        json.text("decision_id", access.decision_id.as_deref());
        json.text("reason", access.reason.as_deref());
        json.texts("approvers", access.approvers.iter().map(String::as_str));
        json.time("approved_at", access.approved_at);
        json.time("expires_at", access.expires_at);
        json.texts("tickets", access.tickets.iter().map(String::as_str));
        json.flag("approved_before_start", access.approved_before_start);
    });
    json.inside("evidence", |json| {
        json.text("topic", notice.evidence.topic);
        json.int("partition", i64::from(notice.evidence.partition));
        json.int("offset", notice.evidence.offset);
        json.int("index", i64::from(notice.evidence.index));
    });
    json.int("revision", i64::from(notice.revision));
}
