//! The bulk API of Elasticsearch and OpenSearch, into data streams, which only take what is created.
//!
//! The `_id` is that of the event, so what is sent twice is there once. An event that is sent again because more became
//! known of it cannot replace the document that is there: it is one of its own, `#` and its revision behind the `_id`.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::http::Http;
use super::{BatchSize, Item, Refusal, Reply, SendError, Sink, kept};
use crate::destination::{BulkSettings, Refused};

/// Sends to one cluster.
#[derive(Debug)]
pub struct Bulk {
    pub(super) http: Http,
    url: Url,
    settings: BulkSettings,
}

#[derive(Debug, Deserialize)]
struct Said {
    items: Vec<Created>,
}

#[derive(Debug, Deserialize)]
struct Created {
    create: Status,
}

#[derive(Debug, Deserialize)]
struct Status {
    status: u16,
    error: Option<Box<RawValue>>,
}

impl Bulk {
    /// # Errors
    ///
    /// [`Refused`] for settings that make no sense.
    pub fn new(settings: BulkSettings) -> Result<Self, Refused> {
        let mut headers = Vec::new();
        if let Some(value) = settings.authorization()? {
            headers.push((AUTHORIZATION, value));
        }
        let http = Http::new(&settings.reach, &settings.tls, Duration::from_secs(120), headers)?;
        let url = settings.reach.base()?.join("_bulk").map_err(|error| Refused::new(error.to_string()))?;
        Ok(Self { http, url, settings })
    }

    fn body(&self, items: &[&Item]) -> Vec<u8> {
        let mut body = Vec::with_capacity(items.iter().map(|item| item.body.len() + 128).sum());
        for item in items {
            let id = match item.revision {
                0 => item.id.clone(),
                revision => format!("{}#{revision}", item.id),
            };
            let create = json!({ "create": { "_index": self.settings.data_stream, "_id": id } });
            body.extend_from_slice(create.to_string().as_bytes());
            body.push(b'\n');
            body.extend_from_slice(&item.body);
            body.push(b'\n');
        }
        body
    }
}

#[async_trait]
impl Sink for Bulk {
    fn batch_size(&self) -> BatchSize {
        BatchSize { bytes: 5_000_000, items: 2000 }
    }

    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        let answer = self.http.post_gzip(&self.url, "application/x-ndjson", &self.body(items), &[]).await?;
        if !answer.status.is_success() {
            return Err(answer.error());
        }
        // "200 OK" says that the request was read: what became of each event stands in the answer.
        let said: Said = serde_json::from_slice(&answer.body).map_err(|_| answer.transient())?;
        if said.items.len() != items.len() {
            let what = format!("{} events were sent, and {} answered", items.len(), said.items.len());
            return Err(SendError::transient(what));
        }
        let mut reply = Reply::default();
        for (number, Created { create: Status { status, error } }) in said.items.into_iter().enumerate() {
            let text = || kept(error.as_ref().map_or("refused", |error| error.get()));
            match status {
                // 409: it is there already.
                200 | 201 | 409 => {}
                400 | 413 | 422 => {
                    reply.refused.push((number, Refusal { status: Some(status), answer: text() }));
                }
                // Those that were taken are sent again, and are there already then.
                401 | 403 => return Err(SendError::Unauthorised(format!("{status}: {}", text()))),
                // No word on the event: the cluster is busy or failing, or the data stream is missing.
                _ => {
                    reply.again.push(number);
                    reply.busy = Some(format!("{status}: {}", text()));
                }
            }
        }
        Ok(reply)
    }
}
