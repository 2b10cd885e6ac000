//! Configuration: defaults, then a TOML file, then `CUSTODY_…` variables, then flags.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use custody_ingest::import;
use custody_ingest::source::{AuditKey, HoopMapping, OpaMapping, SessionIdFrom, Settings, Source, SourceKind};
use custody_ingest::{Flush, OnLostMessages};
use custody_ledger::Location;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Deserializer, Serialize};

use crate::forward::Destination;

/// Everything that can be configured. `custody config` prints what is in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where the ledger is: a folder, or the URL of an object store.
    pub(crate) data: String,
    /// Options of the object store (`AWS_ENDPOINT_URL`, ...); those of the environment are taken too.
    pub(crate) store: BTreeMap<String, String>,
    pub(crate) kafka: Kafka,
    /// The topics that are read.
    pub(crate) topics: Vec<Topic>,
    /// When a batch is committed.
    pub(crate) flush: Flush,
    pub(crate) http: Http,
    pub(crate) wire: Wire,
    pub(crate) query: Query,
    pub(crate) collect: Collect,
    /// Where a decision's input says what.
    pub(crate) opa: OpaMapping,
    /// Names of the fields of a hoop session's metadata.
    pub(crate) hoop: HoopMapping,
    pub(crate) keys: Keys,
    pub(crate) identities: Identities,
    pub(crate) tickets: Tickets,
    /// Files with what gateways do not publish.
    pub(crate) reference: custody_query::ReferencePaths,
    pub(crate) organisation: Organisation,
    pub(crate) activity: Activity,
    /// Parameters of reports, where the entity's are not the defaults: `[reports.R08] reason_chars_min = 20`.
    pub(crate) reports: BTreeMap<String, BTreeMap<String, custody_query::reports::Value>>,
    pub(crate) recordings: Recordings,
    pub(crate) maintain: Maintain,
    pub(crate) retention: Retention,
    pub(crate) watch: Watch,
    /// Where events are forwarded to.
    pub(crate) forward: Vec<Destination>,
}

/// `[collect]`: what gateways and policy engines push over HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Collect {
    /// Address and port to listen on; nothing is collected without.
    pub(crate) listen: Option<SocketAddr>,
    /// Bearer tokens of senders. Without any, everyone who reaches the address may write.
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) tokens: Vec<String>,
    /// Certificates, for HTTPS.
    pub(crate) tls: Option<Tls>,
    /// Megabytes of one body.
    pub(crate) body_mb_max: usize,
    /// Topics that the bodies go to.
    pub(crate) opa_topic: String,
    pub(crate) teleport_topic: String,
    pub(crate) teleport_session_topic: String,
    pub(crate) boundary_topic: String,
    pub(crate) hoop_topic: String,
}

impl Default for Collect {
    fn default() -> Self {
        Self {
            listen: None,
            tokens: Vec::new(),
            tls: None,
            body_mb_max: 16,
            opa_topic: "opa.decisions".to_owned(),
            teleport_topic: "teleport.audit".to_owned(),
            teleport_session_topic: "teleport.sessions".to_owned(),
            boundary_topic: "boundary.events".to_owned(),
            hoop_topic: "hoop.events".to_owned(),
        }
    }
}

/// A text, or a list of texts. Whatever else it is, the error does not quote it: it may be a secret all the same.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        More(Vec<String>),
    }
    match Texts::deserialize(deserializer) {
        Ok(Texts::One(text)) => Ok(vec![text]),
        Ok(Texts::More(texts)) => Ok(texts),
        Err(_) => Err(serde::de::Error::custom("a text or a list of texts was expected")),
    }
}

/// `[collect.tls]`: files in PEM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// Certificate chain of this server.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Authorities whose certificates senders must show (mTLS).
    pub(crate) client_ca: Option<PathBuf>,
}

/// `[keys]`: files with the keys that signed or encrypted evidence. They are read when they are needed, never stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keys {
    /// Audit data keys of Boundary (32 bytes in hexadecimal, one a file): its signed events are verified with them.
    pub(crate) boundary_audit: Vec<PathBuf>,
    /// Root keys of the `aead` KMS of Boundary's recordings (32 bytes in hexadecimal, one a file).
    pub(crate) boundary_recording_root: Vec<PathBuf>,
    /// SHA-256 of public keys of Boundary recordings that are known to be genuine.
    pub(crate) boundary_recording_pins: Vec<String>,
    /// Identities that decrypt Teleport's recordings: age identity files, or RSA private keys in PEM.
    pub(crate) teleport_recording: Vec<PathBuf>,
}

/// `[identities]`: names by which one person is known, as `person = ["alias", ...]`: Teleport user, e-mail address,
/// Boundary user id.
pub(crate) type Identities = BTreeMap<String, Vec<String>>;

/// `[tickets]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tickets {
    /// Regular expression of a ticket's id in a reason.
    pub(crate) pattern: String,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { pattern: custody_query::TICKET_PATTERN.to_owned() }
    }
}

/// `[organisation]`: whose evidence this is, as reports say it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Organisation {
    /// Name of the entity.
    pub(crate) name: String,
    /// Which of its environments.
    pub(crate) environment: String,
}

impl Default for Organisation {
    fn default() -> Self {
        Self { name: "(organisation.name is not configured)".to_owned(), environment: "production".to_owned() }
    }
}

/// `[activity]`: who looked is evidence too.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Activity {
    /// Write into the ledger who asks Custody for what. Without, a ledger can be read that cannot be written.
    pub(crate) record: bool,
}

impl Default for Activity {
    fn default() -> Self {
        Self { record: true }
    }
}

/// `[recordings]`: where gateways store recordings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recordings {
    /// URLs or folders in which an announced recording is looked for, as `<session>.tar` or `<recording>.bsr`.
    pub(crate) from: Vec<String>,
    /// Seconds between looks.
    pub(crate) every_s: u64,
}

impl Default for Recordings {
    fn default() -> Self {
        Self { from: Vec::new(), every_s: 30 }
    }
}

/// `[maintain]`: how the tables are kept in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Maintain {
    /// Seconds between two looks of `custody up`; 0 where something else runs `custody maintain`.
    pub(crate) every_seconds: u64,
    /// Files are put together up to this size.
    pub(crate) target_mb: u64,
    /// So many files of like size of the day that is not over are worth putting together.
    pub(crate) files_min: usize,
    /// Hours for which entries of the tables' logs are kept (at least 1): so far back can a version be read again.
    pub(crate) log_hours: u64,
    /// Days for which files are kept that no table names any more.
    pub(crate) orphan_days: u64,
}

impl Default for Maintain {
    fn default() -> Self {
        Self { every_seconds: 30, target_mb: 64, files_min: 16, log_hours: 2, orphan_days: 7 }
    }
}

impl Maintain {
    /// What is put together, and when.
    pub(crate) fn sizes(&self) -> custody_ledger::Sizes {
        custody_ledger::Sizes {
            target_bytes: self.target_mb.max(1).saturating_mul(1 << 20),
            files_min: self.files_min.max(2),
            ..custody_ledger::Sizes::default()
        }
    }
}

/// `[watch]`: what is looked for without anybody asking, and told as events: they are forwarded like all others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Watch {
    /// Seconds between two looks of `custody up` and `custody forward run`; 0 where nothing is looked for.
    pub(crate) every_seconds: u64,
    /// Reports whose exceptions are findings.
    pub(crate) reports: Vec<String>,
    /// They are run for so many days, up to now.
    pub(crate) days: u64,
    /// A source from which nothing came for so many hours is a finding; 0 where it is not.
    pub(crate) silent_hours: u64,
    /// Seconds between two heartbeats, which say how much came in; 0 where there are none.
    pub(crate) heartbeat_seconds: u64,
}

impl Default for Watch {
    fn default() -> Self {
        let reports = ["R02", "R03", "R05", "R06", "R07", "R09", "R12", "R14", "R15", "R19", "R24"];
        Self {
            every_seconds: 900,
            reports: reports.map(str::to_owned).to_vec(),
            days: 7,
            silent_hours: 24,
            heartbeat_seconds: 3600,
        }
    }
}

/// `[retention]`: for how many days after they came in rows are kept. Without a number they are kept for ever.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// The policy that this follows, in words: it is kept with the record of what left.
    pub(crate) policy: String,
    /// Days that messages as received are kept.
    pub(crate) records_days: Option<u64>,
    /// Days that events are kept.
    pub(crate) events_days: Option<u64>,
    /// Days that recordings are kept.
    pub(crate) frames_days: Option<u64>,
    /// Days that it is kept who asked Custody for what.
    pub(crate) activity_days: Option<u64>,
}

/// `[kafka]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kafka {
    /// Bootstrap addresses, joined by commas; empty where there is no Kafka and everything is collected over HTTP.
    pub(crate) brokers: String,
    /// Consumer group.
    pub(crate) group: String,
    /// Name of this Kafka cluster in the ledger's cursors.
    pub(crate) cluster: String,
    /// What to do when Kafka deleted messages before they were read.
    pub(crate) on_lost_messages: OnLostMessages,
    /// Further settings of librdkafka.
    pub(crate) options: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            group: "custody".to_owned(),
            cluster: "kafka".to_owned(),
            on_lost_messages: OnLostMessages::Stop,
            options: BTreeMap::new(),
        }
    }
}

/// One of `[[topics]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topic {
    /// Name of the topic.
    pub(crate) name: String,
    /// Which decoder.
    pub(crate) source: SourceKind,
    /// Where a session's id is looked for.
    #[serde(default = "Source::default_session_id")]
    pub(crate) session_id: Vec<SessionIdFrom>,
}

impl Topic {
    /// How its messages are decoded.
    pub(crate) fn source(&self, settings: &Arc<Settings>) -> Source {
        Source { kind: self.source, session_id: self.session_id.clone(), settings: settings.clone() }
    }
}

/// `[http]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Address and port to listen on.
    pub(crate) listen: SocketAddr,
    /// Serve on an address that others reach, without asking who they are.
    pub(crate) no_authentication: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7878)), no_authentication: false }
    }
}

/// `[wire]`: the ledger for clients of PostgreSQL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wire {
    /// Address and port to listen on; nothing is listened on without.
    pub(crate) listen: Option<SocketAddr>,
    /// Who may ask, as `name = "verifier"`: lines of `custody wire-password NAME`.
    pub(crate) users: BTreeMap<String, String>,
    /// A file with more of them.
    pub(crate) users_file: Option<PathBuf>,
    /// Certificates; with them, only encrypted connections are taken.
    pub(crate) tls: Option<ServerTls>,
    /// Connections at once.
    pub(crate) connections_max: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Self { listen: None, users: BTreeMap::new(), users_file: None, tls: None, connections_max: 64 }
    }
}

/// `[wire.tls]`: files in PEM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerTls {
    /// Certificate chain of this server.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// `[query]`: what one question may cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Query {
    /// Seconds until a query is stopped.
    pub(crate) seconds_max: u64,
    /// Seconds until a report is stopped.
    pub(crate) report_seconds_max: u64,
    /// Megabytes of memory that running queries may use together.
    pub(crate) memory_mb_max: usize,
    /// Megabytes of memory for what files say of themselves, kept from one query to the next.
    pub(crate) metadata_mb_max: usize,
    /// Rows of one answer; more are cut off, and the answer says so.
    pub(crate) rows_max: usize,
    /// Queries that run at once; more wait.
    pub(crate) concurrent_max: usize,
    /// Folder in which reports keep what days that are over say of their sessions; empty for none. It can be thrown away.
    pub(crate) cache: PathBuf,
}

impl Default for Query {
    fn default() -> Self {
        let home = |name: &str| std::env::var_os(name).filter(|home| !home.is_empty()).map(PathBuf::from);
        let cache = home("XDG_CACHE_HOME").or_else(|| Some(home("HOME")?.join(".cache")));
        Self {
            seconds_max: 60,
            report_seconds_max: 600,
            memory_mb_max: 512,
            metadata_mb_max: 64,
            rows_max: 100_000,
            concurrent_max: 4,
            cache: cache.map(|cache| cache.join("custody")).unwrap_or_default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "custody-data".to_owned(),
            store: BTreeMap::new(),
            kafka: Kafka::default(),
            topics: default_topics(),
            flush: Flush::default(),
            http: Http::default(),
            wire: Wire::default(),
            query: Query::default(),
            collect: Collect::default(),
            opa: OpaMapping::default(),
            hoop: HoopMapping::default(),
            keys: Keys::default(),
            identities: Identities::default(),
            tickets: Tickets::default(),
            reference: custody_query::ReferencePaths::default(),
            organisation: Organisation::default(),
            activity: Activity::default(),
            reports: BTreeMap::new(),
            recordings: Recordings::default(),
            maintain: Maintain::default(),
            retention: Retention::default(),
            watch: Watch::default(),
            forward: Vec::new(),
        }
    }
}

/// The topics that are read when the configuration names none.
pub(crate) fn default_topics() -> Vec<Topic> {
    [
        ("teleport.audit", SourceKind::Teleport),
        ("teleport.sessions", SourceKind::Teleport),
        ("boundary.events", SourceKind::Boundary),
        ("opa.decisions", SourceKind::Opa),
        ("hoop.events", SourceKind::Hoop),
        ("custody.sessions", SourceKind::Asciicast),
    ]
    .map(|(name, source)| Topic { name: name.to_owned(), source, session_id: Source::default_session_id() })
    .into()
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// A message that names the file or variable and the key.
    pub(crate) fn load(file: Option<&Path>, data: Option<&str>) -> anyhow::Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            anyhow::ensure!(file.is_file(), "there is no configuration file {}", file.display());
            figment = figment.merge(Toml::file_exact(file));
        }
        // `CUSTODY_` variables whose names begin with no section are not ours.
        let sections = serde_json::to_value(Self::default()).unwrap_or_default();
        let variables = Env::prefixed("CUSTODY_")
            .filter(move |key| {
                let section = key.as_str().split("__").next().unwrap_or_default();
                sections.get(section.to_ascii_lowercase()).is_some()
            })
            .split("__");
        figment = figment.merge(variables);
        if let Some(data) = data {
            figment = figment.merge(Serialized::default("data", data));
        }
        let config: Self = figment.extract().context("the configuration is refused")?;
        let mut names: Vec<&str> = config.topics.iter().map(|topic| topic.name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).find_map(|pair| matches!(pair, [a, b] if a == b).then(|| pair.first()).flatten());
        if let Some(name) = twice {
            anyhow::bail!("the topic {name:?} is configured twice");
        }
        let Retention { policy, records_days, events_days, frames_days, activity_days } = &config.retention;
        let days = [records_days, events_days, frames_days, activity_days];
        anyhow::ensure!(
            policy.trim().len() >= 3 || days.iter().all(|days| days.is_none()),
            "retention.policy is empty: say in words by which policy rows are to leave the ledger"
        );
        anyhow::ensure!(!days.contains(&&Some(0)), "retention: rows are kept for a day at least");
        if let Some(topic) = config.topics.iter().find(|topic| !topic.source.is_sent()) {
            let source = topic.source.as_str();
            anyhow::bail!("the topic {:?}: nobody sends messages of {source:?}; they are cut from files", topic.name);
        }
        Ok(config)
    }

    /// The place of the ledger.
    ///
    /// # Errors
    ///
    /// When it names none, or is set to lose evidence.
    pub(crate) fn location(&self) -> Result<Location, custody_ledger::LedgerError> {
        Location::parse(&self.data, self.store.clone().into_iter().collect::<HashMap<_, _>>())
    }

    /// What the decoders are told.
    ///
    /// # Errors
    ///
    /// When a key cannot be read.
    pub(crate) fn settings(&self) -> anyhow::Result<Arc<Settings>> {
        let boundary_audit_keys = self
            .keys
            .boundary_audit
            .iter()
            .map(|file| AuditKey::from_hex(read_key(file)?.trim()).with_context(|| format!("{}", file.display())))
            .collect::<anyhow::Result<_>>()?;
        Ok(Arc::new(Settings { boundary_audit_keys, opa: self.opa.clone(), hoop: self.hoop.clone() }))
    }

    /// The keys of recordings.
    ///
    /// # Errors
    ///
    /// When a key cannot be read.
    pub(crate) fn recording_keys(&self) -> anyhow::Result<import::Keys> {
        let mut keys = import::Keys::default();
        for file in &self.keys.boundary_recording_root {
            keys.bsr.add_root_key(read_key(file)?.trim()).with_context(|| format!("{}", file.display()))?;
        }
        for pin in &self.keys.boundary_recording_pins {
            keys.bsr.add_pin(pin).context("keys.boundary_recording_pins")?;
        }
        if !self.keys.teleport_recording.is_empty() {
            let texts = self.keys.teleport_recording.iter().map(|file| read_key(file));
            let text = texts.collect::<anyhow::Result<Vec<_>>>()?.join("\n");
            keys.teleport = import::TeleportKeys::read(&text).context("keys.teleport_recording")?;
        }
        Ok(keys)
    }

    /// Whether there is a Kafka.
    pub(crate) fn has_kafka(&self) -> bool {
        !self.kafka.brokers.is_empty()
    }

    /// What ingest is told.
    ///
    /// # Errors
    ///
    /// When a key cannot be read.
    pub(crate) fn ingest(&self) -> anyhow::Result<custody_ingest::Config> {
        let settings = self.settings()?;
        let topic = |topic: &Topic| custody_ingest::Topic { name: topic.name.clone(), source: topic.source(&settings) };
        Ok(custody_ingest::Config {
            brokers: self.kafka.brokers.clone(),
            group: self.kafka.group.clone(),
            cluster: self.kafka.cluster.clone(),
            on_lost_messages: self.kafka.on_lost_messages,
            options: self.kafka.options.clone(),
            topics: self.topics.iter().map(topic).collect(),
            flush: self.flush,
        })
    }

    /// What questions mean: who is who, and what a ticket looks like.
    pub(crate) fn vocabulary(&self) -> custody_query::Vocabulary {
        custody_query::Vocabulary {
            people: self.identities.clone().into_iter().collect(),
            ticket_pattern: self.tickets.pattern.clone(),
            reference: self.reference.clone(),
        }
    }

    /// What queries may use together.
    pub(crate) fn limits(&self) -> custody_query::Limits {
        custody_query::Limits {
            memory_bytes: self.query.memory_mb_max.saturating_mul(1024 * 1024),
            metadata_bytes: self.query.metadata_mb_max.saturating_mul(1024 * 1024),
            queries: self.query.concurrent_max,
            cache: Some(self.query.cache.clone()).filter(|cache| !cache.as_os_str().is_empty()),
            ..custody_query::Limits::default()
        }
    }

    /// What one query may cost.
    pub(crate) fn bounds(&self) -> custody_query::Bounds {
        custody_query::Bounds {
            time: Some(Duration::from_secs(self.query.seconds_max)),
            rows: Some(self.query.rows_max),
        }
    }

    /// A copy that may be shown: values that look like secrets are replaced.
    pub(crate) fn masked(&self) -> Self {
        let mut shown = self.clone();
        let options = shown.kafka.options.iter_mut().chain(shown.store.iter_mut());
        for (_, value) in options.filter(|(name, value)| is_secret(name) && !value.is_empty()) {
            *value = "********".to_owned();
        }
        shown.collect.tokens.fill("********".to_owned());
        for verifier in shown.wire.users.values_mut() {
            *verifier = "********".to_owned();
        }
        for place in shown.recordings.from.iter_mut().chain([&mut shown.data]) {
            *place = custody_ledger::without_secrets(place);
        }
        shown
    }
}

fn read_key(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("the key file {} cannot be read", file.display()))
}

/// Whether an option of that name holds a secret. Rather one too many than one too few.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "token", "key", "jaas", "sas", "credential", "pem"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrides_defaults_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("custody.toml");
        let text = r#"
            data = "s3://bucket/ledger"
            [kafka]
            brokers = "kafka:9092"
            options = { "sasl.password" = "hunter2", "security.protocol" = "SASL_SSL" }
            [[topics]]
            name = "prod"
            source = "teleport"
            session_id = ["key", { header = "sid" }, { field = "_http_path" }]
        "#;
        std::fs::write(&file, text).unwrap();
        let config = Config::load(Some(&file), None).unwrap();
        assert_eq!(config.kafka.brokers, "kafka:9092");
        assert_eq!(config.kafka.group, "custody");
        assert_eq!(config.topics.len(), 1);
        assert_eq!(config.topics[0].session_id.len(), 3);
        assert_eq!(config.masked().kafka.options["sasl.password"], "********");
        assert_eq!(config.masked().kafka.options["security.protocol"], "SASL_SSL");
        assert_eq!(Config::load(Some(&file), Some("elsewhere")).unwrap().data, "elsewhere");

        std::fs::write(&file, "[kafka]\nbroker = \"x\"").unwrap();
        let refused = format!("{:#}", Config::load(Some(&file), None).unwrap_err());
        assert!(refused.contains("broker"), "{refused}");
        std::fs::write(&file, "[[topics]]\nname='a'\nsource='opa'\n[[topics]]\nname='a'\nsource='opa'").unwrap();
        let refused = format!("{:#}", Config::load(Some(&file), None).unwrap_err());
        assert!(refused.contains("twice"), "{refused}");
    }
}
