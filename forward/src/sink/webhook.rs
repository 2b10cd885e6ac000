//! A webhook: a JSON array, signed, to an address of somebody's own.
//!
//! `Custody-Delivery-Id` is the same where the same events are sent together again, `Custody-Timestamp` is the time in
//! seconds since 1970, and `Custody-Signature` is `v1=` and HMAC-SHA256 in hexadecimal of that time, a dot and the body as
//! it was sent; with two secrets, two of them with a comma between. Whatever is answered with 2xx counts as taken.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::{digest, hmac};
use reqwest::Url;
use reqwest::header::HeaderName;

use super::http::Http;
use super::{BatchSize, Item, Reply, SendError, Sink};
use crate::destination::{Refused, WebhookSettings};

/// Posts to one address.
#[derive(Debug)]
pub struct Webhook {
    pub(super) http: Http,
    url: Url,
    /// The receiver may know either, while they are changed.
    keys: Vec<hmac::Key>,
}

impl Webhook {
    /// # Errors
    ///
    /// [`Refused`] for settings that make no sense.
    pub fn new(settings: &WebhookSettings) -> Result<Self, Refused> {
        let http = Http::new(&settings.reach, &settings.tls, Duration::from_secs(30), Vec::new())?;
        let secrets = settings.secrets.iter().map(|secret| secret.read());
        let keys = secrets.map(|secret| Ok(hmac::Key::new(hmac::HMAC_SHA256, secret?.as_bytes())));
        Ok(Self { http, url: settings.reach.url()?, keys: keys.collect::<Result<_, Refused>>()? })
    }

    /// `v1=` and the HMAC-SHA256 of the time, a dot and the body, for each secret; joined by commas.
    fn signature(&self, timestamp: &str, body: &[u8]) -> String {
        let sign = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(timestamp.as_bytes());
            context.update(b".");
            context.update(body);
            format!("v1={}", hex(context.sign().as_ref()))
        };
        self.keys.iter().map(sign).collect::<Vec<_>>().join(",")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same for the same events: whoever gets a delivery twice can tell.
fn delivery_id(items: &[&Item]) -> String {
    let mut digest = digest::Context::new(&digest::SHA256);
    for item in items {
        digest.update(format!("{} {}\n", item.id, item.revision).as_bytes());
    }
    let hash = hex(digest.finish().as_ref());
    hash.get(..32).unwrap_or_default().to_owned()
}

#[async_trait]
impl Sink for Webhook {
    fn batch_size(&self) -> BatchSize {
        BatchSize { bytes: 512_000, items: 100 }
    }

    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        let mut body = Vec::with_capacity(items.iter().map(|item| item.body.len() + 1).sum::<usize>() + 2);
        for (number, item) in items.iter().enumerate() {
            body.push(if number == 0 { b'[' } else { b',' });
            body.extend_from_slice(&item.body);
        }
        body.push(b']');
        let timestamp = chrono::Utc::now().timestamp().to_string();
        let (id, signature) = (delivery_id(items), self.signature(&timestamp, &body));
        let mut headers = vec![
            (HeaderName::from_static("custody-delivery-id"), id.as_str()),
            (HeaderName::from_static("custody-timestamp"), timestamp.as_str()),
        ];
        if !self.keys.is_empty() {
            headers.push((HeaderName::from_static("custody-signature"), signature.as_str()));
        }
        let answer = self.http.post(&self.url, "application/json", body, &headers).await?;
        if answer.status.is_success() { Ok(Reply::default()) } else { Err(answer.error()) }
    }
}
