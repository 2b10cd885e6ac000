//! HTTP as all sinks speak it: TLS that is verified, no redirects, answers of bounded size, and one reading of statuses.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Proxy, StatusCode, Url, redirect};

use super::{ANSWER_BYTES_MAX, Refusal, SendError, kept};
use crate::destination::{Reach, Refused, Tls};

/// More of an answer is not read: that of `_bulk` has some hundred bytes for each event.
const ANSWER_READ_MAX: usize = 8 << 20;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Talks to one server.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    headers: HeaderMap,
    /// From the first byte that is sent to the last one of the answer.
    pub(super) timeout: Duration,
}

/// What a server said.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long it asks to be left alone.
    pub(super) after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Http {
    /// With these headers in every request, of which the values are secret.
    pub(super) fn new(
        reach: &Reach,
        tls: &Tls,
        timeout: Duration,
        headers: Vec<(HeaderName, String)>,
    ) -> Result<Self, Refused> {
        let wrong = |what: &dyn std::fmt::Display| Refused::new(format!("the HTTP client cannot be made: {what}"));
        let mut client = Client::builder()
            .user_agent(concat!("custody/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_keepalive(Duration::from_secs(30))
            .tls_backend_preconfigured(tls.client()?)
            .http1_only();
        client = match reach.proxy()? {
            // It resolves the server's name; what it lets through is its own matter.
            Some(proxy) => client.proxy(Proxy::all(proxy).map_err(|error| wrong(&error))?),
            // Where events go is a matter of the configuration alone, not of the environment.
            None if reach.private => client.no_proxy(),
            None => client.no_proxy().dns_resolver(Arc::new(PublicOnly)),
        };
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(&value);
            let mut value = value.map_err(|_| Refused::new(format!("the value of {name} is no header")))?;
            value.set_sensitive(true);
            all.insert(name, value);
        }
        Ok(Self { client: client.build().map_err(|error| wrong(&error))?, headers: all, timeout })
    }

    /// Posts a body and reads the answer.
    pub(super) async fn post(
        &self,
        url: &Url,
        content_type: &'static str,
        body: Vec<u8>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer, SendError> {
        let request = self.client.post(url.clone()).timeout(self.timeout).headers(self.headers.clone());
        let mut request = request.header(CONTENT_TYPE, content_type).body(body);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let failed = |error: reqwest::Error| SendError::transient(chain(&error.without_url()));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
        let mut body = BytesMut::new();
        // The status counts also where the rest of the answer does not come or does not end. Whoever needs the rest
        // finds that it cannot be read.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ANSWER_READ_MAX - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if body.len() == ANSWER_READ_MAX {
                break;
            }
        }
        Ok(Answer { status, after, body: body.freeze() })
    }

    /// Posts a body, gzipped, and reads the answer.
    pub(super) async fn post_gzip(
        &self,
        url: &Url,
        content_type: &'static str,
        body: &[u8],
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer, SendError> {
        self.post(url, content_type, gzip(body), &[headers, &[(CONTENT_ENCODING, "gzip")]].concat()).await
    }
}

/// An error and what caused it: "error sending request" alone says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(of) = cause {
        text = format!("{text}: {of}");
        cause = of.source();
    }
    text
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
    (at.to_utc() - chrono::Utc::now()).to_std().ok()
}

impl Answer {
    /// What it said, as far as it is kept.
    pub(super) fn refusal(&self) -> Refusal {
        let text = String::from_utf8_lossy(self.body.get(..ANSWER_BYTES_MAX).unwrap_or(&self.body));
        let answer = if text.is_empty() { self.status.to_string() } else { kept(&text) };
        Refusal { status: Some(self.status.as_u16()), answer }
    }

    /// That it is of no use, although it may be another time.
    pub(super) fn transient(&self) -> SendError {
        SendError::Transient { what: format!("{}: {}", self.status, self.refusal().answer), after: self.after }
    }

    /// What a status means that is no success.
    ///
    /// Only 400, 413 and 422 are words on what was sent. Everything else says something of the server, of the way to it
    /// or of the configuration: no event is at fault, and none is given up for it.
    pub(super) fn error(&self) -> SendError {
        match self.status.as_u16() {
            401 | 403 | 407 => SendError::Unauthorised(format!("{}: {}", self.status, self.refusal().answer)),
            413 => SendError::TooLarge(self.refusal()),
            400 | 422 => SendError::Refused(self.refusal()),
            300..=399 => SendError::transient(format!("{}: redirects are not followed", self.status)),
            _ => self.transient(),
        }
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing into memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// Resolves names to addresses of the Internet alone: a name that somebody else controls must not lead inside.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| !is_private(address.ip())).collect();
            if public.is_empty() {
                return Err(format!("{} has no public address (private = true allows others)", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is not one of the Internet (IANA's registries of special-purpose addresses): loopback, private,
/// link-local (where clouds keep their metadata), shared and documentation ranges, multicast, ways to those.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || a == 100 && (64..128).contains(&b)
                || [a, b, c] == [192, 0, 0]
                || [a, b, c] == [192, 88, 99]
                || a == 198 && (18..20).contains(&b)
        }
        IpAddr::V6(v6) => match v6.segments() {
            // The same as an address of the old kind, or translated into one (NAT64).
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_private(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)).into())
            }
            // Protocols (Teredo among them), documentation, 6to4.
            [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => true,
            // Nothing else was ever given out.
            [first, ..] => !(0x2000..0x4000).contains(&first),
        },
    }
}
