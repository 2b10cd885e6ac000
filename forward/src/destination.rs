//! Where events are forwarded to, as an operator writes it down, and what of that is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Url;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

use crate::notice::Notice;
use crate::schema::{self, Schema, syslog};
use crate::sink::{Bulk, DATAGRAM_BYTES_MAX, Files, Hec, Item, Kafka, Sentinel, Sink, Syslog, Webhook};

/// Why a destination cannot be used as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// A secret: in a file, in a variable of the environment, or in the configuration itself. It is never printed.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(untagged, rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// In a file, without line breaks at its end.
    File {
        /// The file.
        file: PathBuf,
    },
    /// In a variable.
    Env {
        /// Its name.
        env: String,
    },
    /// Itself.
    #[serde(serialize_with = "masked")]
    Text(String),
}

fn masked<S: serde::Serializer>(_: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("********")
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { file } => write!(f, "Secret(file {})", file.display()),
            Self::Env { env } => write!(f, "Secret(env {env})"),
            Self::Text(_) => write!(f, "Secret(********)"),
        }
    }
}

impl Secret {
    pub(crate) fn read(&self) -> Result<String, Refused> {
        let text = match self {
            Self::File { file } => std::fs::read_to_string(file)
                .map_err(|error| Refused(format!("the secret in {} cannot be read: {error}", file.display())))?,
            Self::Env { env } => std::env::var(env)
                .map_err(|_| Refused(format!("the variable {env}, which holds a secret, is not set")))?,
            Self::Text(text) => text.clone(),
        };
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        if text.is_empty() { Err(Refused("a secret is empty".to_owned())) } else { Ok(text) }
    }
}

/// How a server is reached over HTTP. These addresses are printed: what is secret belongs elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Reach {
    /// Its address: `https://siem.example:8088`. Without TLS (`http://127.0.0.1:8088`) only this machine is sent to.
    pub url: String,
    /// Addresses that are not of the Internet are allowed: those of a private network and of this machine. Without, names
    /// that lead to one are refused as well, each time that a connection is made.
    #[serde(default)]
    pub private: bool,
    /// Through this proxy (`http://proxy:3128`), which may be anywhere. It resolves the names of servers: to where they
    /// may lead is for its own rules to say.
    #[serde(default)]
    pub proxy: Option<String>,
}

impl Reach {
    /// The address, if it may be sent to, with a path that more can be added to.
    pub(crate) fn base(&self) -> Result<Url, Refused> {
        let mut url = self.url()?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(url)
    }

    /// The address, if it may be sent to.
    pub(crate) fn url(&self) -> Result<Url, Refused> {
        let url = Self::parse(&self.url)?;
        let host = url.host_str().unwrap_or_default();
        let ip = ip_of(host);
        match url.scheme() {
            "https" => {}
            "http" if is_here(host) => {}
            _ => return Err(Refused(format!("{host} has to be sent to over https: http is for this machine alone"))),
        }
        if !self.private && (is_here(host) || ip.is_some_and(crate::sink::is_private)) {
            return Err(Refused(format!("{host} is not an address of the Internet: private = true allows it")));
        }
        Ok(url)
    }

    pub(crate) fn proxy(&self) -> Result<Option<Url>, Refused> {
        self.proxy.as_deref().map(Self::parse).transpose()
    }

    fn parse(text: &str) -> Result<Url, Refused> {
        // What cannot be read is not printed: it may have a password in it.
        let url: Url = text.parse().map_err(|error| Refused(format!("an address is no URL: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused("a URL must not have a user or a password in it: it would be printed".to_owned()));
        }
        match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(_)) => Ok(url),
            (scheme, _) => Err(Refused(format!("{scheme} is neither https nor http"))),
        }
    }
}

fn ip_of(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    host == "localhost" || ip_of(host).is_some_and(|ip| ip.is_loopback())
}

/// `tls`: files in PEM.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Authorities that certify the server, instead of those of this machine.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for a server that asks for one.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl Tls {
    fn read(path: &PathBuf) -> Result<Vec<u8>, Refused> {
        std::fs::read(path).map_err(|error| Refused(format!("{} cannot be read: {error}", path.display())))
    }

    /// Who is trusted, and who we are.
    pub(crate) fn client(&self) -> Result<ClientConfig, Refused> {
        let wrong = |error: &dyn std::fmt::Display| Refused(format!("tls: {error}"));
        let certificates = |path: &PathBuf| -> Result<Vec<_>, Refused> {
            let all = CertificateDer::pem_slice_iter(&Self::read(path)?).collect::<Result<Vec<_>, _>>();
            let all = all.map_err(|error| Refused(format!("{}: {error}", path.display())))?;
            if all.is_empty() { Err(Refused(format!("{} has no certificate", path.display()))) } else { Ok(all) }
        };
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for authority in certificates(path)? {
                    roots.add(authority).map_err(|error| wrong(&error))?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            return Err(Refused("this machine knows no certificate authority: name one with tls.ca".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| wrong(&error))?.with_root_certificates(roots);
        match (&self.cert, &self.key) {
            (None, None) => Ok(config.with_no_client_auth()),
            (Some(cert), Some(key)) => {
                let secret = PrivateKeyDer::from_pem_slice(&Self::read(key)?);
                let secret = secret.map_err(|error| Refused(format!("{}: {error}", key.display())))?;
                config.with_client_auth_cert(certificates(cert)?, secret).map_err(|error| wrong(&error))
            }
            _ => Err(Refused("tls.cert and tls.key belong together".to_owned())),
        }
    }
}

/// `kind = "splunk"`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct HecSettings {
    /// How the collector is reached, without `/services/...`.
    #[serde(flatten)]
    pub reach: Reach,
    /// Its certificates.
    #[serde(default)]
    pub tls: Tls,
    /// The token.
    pub token: Secret,
    /// Index; that of the token without.
    #[serde(default)]
    pub index: Option<String>,
    /// Host that events are said to come from.
    #[serde(default)]
    pub host: Option<String>,
    /// Sourcetype.
    #[serde(default = "HecSettings::default_sourcetype")]
    pub sourcetype: String,
}

impl HecSettings {
    fn default_sourcetype() -> String {
        "custody:event".to_owned()
    }
}

/// `kind = "elasticsearch"`, also for OpenSearch.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct BulkSettings {
    /// How the cluster is reached.
    #[serde(flatten)]
    pub reach: Reach,
    /// Its certificates.
    #[serde(default)]
    pub tls: Tls,
    /// An API key as the cluster gave it, encoded.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Or a user,
    #[serde(default)]
    pub user: Option<String>,
    /// and the password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The data stream that is written to.
    #[serde(default = "BulkSettings::default_data_stream")]
    pub data_stream: String,
}

impl BulkSettings {
    fn default_data_stream() -> String {
        "logs-custody.event-default".to_owned()
    }

    pub(crate) fn authorization(&self) -> Result<Option<String>, Refused> {
        match (&self.api_key, &self.user, &self.password) {
            (None, None, None) => Ok(None),
            (Some(key), None, None) => Ok(Some(format!("ApiKey {}", key.read()?))),
            (None, Some(user), Some(password)) => {
                Ok(Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", password.read()?)))))
            }
            _ => Err(Refused("either api_key, or user and password".to_owned())),
        }
    }
}

/// `kind = "webhook"`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where events are posted to.
    #[serde(flatten)]
    pub reach: Reach,
    /// Its certificates.
    #[serde(default)]
    pub tls: Tls,
    /// With which deliveries are signed; two while they are changed. Without, they are not signed.
    #[serde(default)]
    pub secrets: Vec<Secret>,
}

/// How syslog is carried.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams: whatever the network loses is lost.
    Udp,
    /// A connection that is not encrypted.
    Tcp,
    /// A connection that is.
    Tls,
}

/// How one message is told from the next on a connection (RFC 6587).
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Each is preceded by its length, as RFC 5425 has it.
    #[default]
    Octets,
    /// Each ends with a line feed, for receivers that know nothing else.
    Lines,
}

/// `kind = "syslog"`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// Host of the receiver.
    pub host: String,
    /// Its port.
    #[serde(default = "SyslogSettings::default_port")]
    pub port: u16,
    /// How it is carried.
    #[serde(default = "SyslogSettings::default_transport")]
    pub transport: Transport,
    /// Certificates, with `transport = "tls"`.
    #[serde(default)]
    pub tls: Tls,
    /// What is sent to another machine without TLS can be read and changed on its way: this says that it may be.
    #[serde(default)]
    pub unencrypted: bool,
    /// How messages are told apart, unless they are datagrams.
    #[serde(default)]
    pub framing: Framing,
    /// Facility: 10 is authpriv, 13 log audit.
    #[serde(default = "SyslogSettings::default_facility")]
    pub facility: u8,
    /// The name of this machine, as messages have it.
    #[serde(default = "SyslogSettings::default_hostname")]
    pub hostname: String,
}

impl SyslogSettings {
    fn default_port() -> u16 {
        6514
    }

    fn default_transport() -> Transport {
        Transport::Tls
    }

    fn default_facility() -> u8 {
        13
    }

    fn default_hostname() -> String {
        whoami::hostname().unwrap_or_default()
    }

    /// Whether the receiver is on this machine.
    pub(crate) fn is_here(&self) -> bool {
        is_here(&self.host)
    }
}

/// `kind = "sentinel"`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct SentinelSettings {
    /// The endpoint for logs of the data collection rule, or of a data collection endpoint.
    #[serde(flatten)]
    pub reach: Reach,
    /// Certificates.
    #[serde(default)]
    pub tls: Tls,
    /// The rule's immutable id: `dcr-…`.
    pub rule: String,
    /// The stream of the rule that is sent to.
    #[serde(default = "SentinelSettings::default_stream")]
    pub stream: String,
    /// The directory (tenant) that the application is registered in.
    pub tenant: String,
    /// The application's id.
    pub client_id: String,
    /// A secret of the application.
    pub client_secret: Secret,
    /// Who gives tokens; another in the clouds of governments and in China.
    #[serde(default = "SentinelSettings::default_authority")]
    pub authority: String,
}

impl SentinelSettings {
    fn default_stream() -> String {
        "Custom-Custody_CL".to_owned()
    }

    fn default_authority() -> String {
        "https://login.microsoftonline.com".to_owned()
    }
}

/// `kind = "kafka"`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Brokers to begin with: `host:port`, joined by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Certificates.
    #[serde(default)]
    pub tls: Tls,
    /// What is sent to another machine without TLS can be read and changed on its way: this says that it may be.
    #[serde(default)]
    pub unencrypted: bool,
    /// Settings of librdkafka under its names: `sasl.mechanism`, `sasl.username`, `sasl.password`, ...
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,
}

impl KafkaSettings {
    /// Whether all brokers are on this machine.
    pub(crate) fn is_here(&self) -> bool {
        self.brokers.split(',').all(|broker| {
            let host = broker.trim().rsplit_once(':').map_or(broker.trim(), |(host, _)| host);
            let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
            host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
        })
    }

    /// The certificates under librdkafka's names.
    pub(crate) fn tls_files(&self) -> Result<Vec<(&'static str, String)>, Refused> {
        // Read here for the sake of what is said where one is missing.
        self.tls.client()?;
        let files = [
            ("ssl.ca.location", &self.tls.ca),
            ("ssl.certificate.location", &self.tls.cert),
            ("ssl.key.location", &self.tls.key),
        ];
        let files = files.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?.display().to_string())));
        Ok(files.collect())
    }
}

/// Under which names Amazon Security Lake keeps files: `ext/<source>_<class>/region=…/accountId=…/eventDay=…/`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SecurityLake {
    /// How the names of custom sources begin, at most 15 characters: there is one for each class, `custody_4007`.
    #[serde(default = "SecurityLake::default_source")]
    pub source: String,
    /// Region of the data lake.
    pub region: String,
    /// Account that events are of: twelve digits, or `external`.
    pub account: String,
}

impl SecurityLake {
    fn default_source() -> String {
        "custody".to_owned()
    }
}

/// `kind = "files"`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct FilesSettings {
    /// A folder that is there, or a place in an object store: `s3://bucket/path`, `gs://…`, `az://…`.
    pub to: String,
    /// Makes them Parquet under the names of Amazon Security Lake, instead of lines of JSON.
    #[serde(default)]
    pub security_lake: Option<SecurityLake>,
    /// Options of the object store (`AWS_REGION`, ...). Those of the environment are taken as well, and give way.
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,
}

/// Who receives.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Receiver {
    /// Splunk's HTTP Event Collector.
    Splunk(HecSettings),
    /// Elasticsearch or OpenSearch.
    Elasticsearch(BulkSettings),
    /// A webhook.
    Webhook(WebhookSettings),
    /// Syslog.
    Syslog(SyslogSettings),
    /// Microsoft Sentinel.
    Sentinel(SentinelSettings),
    /// A topic of Kafka.
    Kafka(KafkaSettings),
    /// Files in a folder or an object store.
    Files(FilesSettings),
}

impl Receiver {
    /// In which words it gets events where the configuration does not say.
    pub fn default_schema(&self) -> Schema {
        match self {
            Self::Splunk(_) | Self::Syslog(_) | Self::Sentinel(_) => Schema::Ocsf,
            Self::Elasticsearch(_) => Schema::Ecs,
            Self::Files(settings) if settings.security_lake.is_some() => Schema::Ocsf,
            Self::Webhook(_) | Self::Kafka(_) | Self::Files(_) => Schema::Custody,
        }
    }

    /// How long events wait for others, so that they are sent together: each batch of files is a file.
    pub fn linger(&self) -> Duration {
        match self {
            Self::Files(_) => Duration::from_secs(60),
            _ => Duration::ZERO,
        }
    }

    /// How many bytes an event has at most where the configuration does not say. What is longer is cut by its schema,
    /// and says so.
    pub fn default_bytes_max(&self) -> usize {
        match self {
            // Splunk cuts at 10 000 (TRUNCATE in props.conf), and what is left is no JSON.
            Self::Splunk(_) => 9000,
            Self::Elasticsearch(_) => 1_000_000,
            Self::Webhook(_) => 256_000,
            // A column has 64 KiB at most, with what stands around the event.
            Self::Sentinel(_) => 60_000,
            // What brokers take at most unless told, with a header and a key.
            Self::Kafka(_) => 900_000,
            Self::Files(_) => 1 << 20,
            // What receivers should take (RFC 5425, section 4.3.1), and rsyslog takes unless told: it cuts what is longer,
            // and syslog-ng closes the connection at 64 KiB without a word.
            Self::Syslog(_) => 8192,
        }
    }

    /// A notice as it is sent, of at most `bytes_max` bytes, or what a schema cannot do without:
    /// [`Schema::BYTES_MIN`], and a header of syslog.
    pub fn item(&self, notice: &Notice<'_>, schema: Schema, bytes_max: usize) -> Item {
        let body = match self {
            Self::Syslog(settings) => {
                let most = if settings.transport == Transport::Udp { DATAGRAM_BYTES_MAX } else { usize::MAX };
                syslog::write(notice, schema, settings.facility, &settings.hostname, bytes_max.min(most))
            }
            _ => schema.write(notice, bytes_max),
        };
        Item {
            id: schema::event_id(notice).into_owned(),
            revision: notice.revision,
            at: schema::time(notice).0,
            kind: notice.event.kind.as_str().to_owned(),
            body: body.into(),
        }
    }

    /// Makes what sends to it, in these words.
    ///
    /// # Errors
    ///
    /// [`Refused`], and how to mend it.
    pub fn sink(&self, schema: Schema) -> Result<Box<dyn Sink>, Refused> {
        if !schema.is_json() && !matches!(self, Self::Syslog(_)) {
            return Err(Refused("CEF and LEEF are lines of syslog: this receiver takes JSON".to_owned()));
        }
        Ok(match self {
            Self::Splunk(settings) => Box::new(Hec::new(settings.clone())?),
            Self::Elasticsearch(settings) => Box::new(Bulk::new(settings.clone())?),
            Self::Webhook(settings) => Box::new(Webhook::new(settings)?),
            Self::Syslog(settings) => Box::new(Syslog::new(settings.clone())?),
            Self::Sentinel(settings) => Box::new(Sentinel::new(settings)?),
            Self::Kafka(settings) => Box::new(Kafka::new(settings)?),
            Self::Files(settings) => Box::new(Files::new(settings, schema)?),
        })
    }
}

#[cfg(test)]
mod tests;
