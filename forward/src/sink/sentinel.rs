//! Microsoft Sentinel, by the Logs Ingestion API of Azure Monitor
//! (<https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview>).
//!
//! A custom table and a data collection rule have to be there; the rule says which columns there are, and what it does not
//! name is lost without a word. What is sent is a list of
//!
//! | member | column | what it is |
//! |---|---|---|
//! | `TimeGenerated` | `datetime` | when it happened. Azure puts its own time where that is too long ago: `Event` has it still |
//! | `EventId` | `string` | by which duplicates are told: `summarize arg_max(TimeGenerated, *) by EventId` |
//! | `Kind` | `string` | what it is about: `session.start` |
//! | `Event` | `dynamic` | the event in the words of the destination |
//!
//! so that the table stays the same whatever an event has: `docs/FORWARDING.md` has the rule as text.
//!
//! A call may have 1 MiB before it is compressed, a value 64 KiB. Azure would cut a longer one, and what is cut is no JSON
//! any more: it is refused here, so that it is seen.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use custody_schemas::time::to_rfc3339;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::http::{Answer, Http};
use super::{BatchSize, Item, Refusal, Reply, SendError, Sink};
use crate::destination::{Reach, Refused, Secret, SentinelSettings};

/// What a token is asked for.
const SCOPE: &str = "https://monitor.azure.com/.default";

/// A token is not used any more so long before it expires.
const SPARE: Duration = Duration::from_secs(300);

/// Azure cuts a value that is longer.
const VALUE_BYTES_MAX: usize = 65_536;

/// Sends to one stream of one data collection rule.
#[derive(Debug)]
pub struct Sentinel {
    http: Http,
    stream: Url,
    authority: Url,
    client_id: String,
    client_secret: Secret,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(********)")
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Sentinel {
    /// # Errors
    ///
    /// [`Refused`] for settings that make no sense.
    pub fn new(settings: &SentinelSettings) -> Result<Self, Refused> {
        // Told now, and not when the first event comes.
        settings.client_secret.read()?;
        let http = Http::new(&settings.reach, &settings.tls, Duration::from_secs(60), Vec::new())?;
        let authority = Reach { url: settings.authority.clone(), ..settings.reach.clone() };
        Ok(Self {
            http,
            stream: within(
                settings.reach.base()?,
                &["dataCollectionRules", &settings.rule, "streams", &settings.stream],
                Some("api-version=2023-01-01"),
            ),
            authority: within(authority.base()?, &[&settings.tenant, "oauth2", "v2.0", "token"], None),
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            token: Mutex::default(),
        })
    }

    /// The token, a new one where there is none that is good for a while.
    async fn token(&self) -> Result<String, SendError> {
        // Held meanwhile: whoever else needs one waits for the same.
        let mut kept = self.token.lock().await;
        if let Some(Token { text, until }) = &*kept
            && Instant::now() < *until
        {
            return Ok(text.clone());
        }
        // Read each time: it is changed once a year or so, and nobody should have to restart anything.
        let secret = self.client_secret.read().map_err(|error| SendError::Unauthorised(error.to_string()))?;
        let mut form = self.authority.clone();
        form.query_pairs_mut()
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", &secret)
            .append_pair("scope", SCOPE);
        let body = form.query().unwrap_or_default().to_owned();
        let answer = self.http.post(&self.authority, "application/x-www-form-urlencoded", body.into(), &[]).await?;
        if !answer.status.is_success() {
            return Err(no_token(&answer));
        }
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| SendError::transient(format!("no token: {} has another answer", self.authority)))?;
        let good = Duration::from_secs(granted.expires_in);
        // One that is short-lived is used for half of its time.
        let until = Instant::now() + good.saturating_sub(SPARE).max(good / 2);
        *kept = Some(Token { text: granted.access_token.clone(), until });
        Ok(granted.access_token)
    }

    /// Gives up a token that was not taken, unless somebody has a newer one already.
    async fn forget(&self, token: &str) {
        let mut kept = self.token.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.text == token) {
            *kept = None;
        }
    }

    async fn post(&self, body: &[u8]) -> Result<Answer, SendError> {
        let mut is_first = true;
        loop {
            let token = self.token().await?;
            let bearer = format!("Bearer {token}");
            let headers = [(AUTHORIZATION, bearer.as_str())];
            let answer = self.http.post_gzip(&self.stream, "application/json", body, &headers).await?;
            if answer.status.as_u16() != 401 || !is_first {
                return Ok(answer);
            }
            // It was taken back, or our clock is slow.
            self.forget(&token).await;
            is_first = false;
        }
    }
}

/// An address with these segments at its end: what is in them cannot lead elsewhere.
fn within(mut url: Url, segments: &[&str], query: Option<&str>) -> Url {
    if let Ok(mut path) = url.path_segments_mut() {
        // Of https and http, which always have a path.
        path.pop_if_empty().extend(segments);
    }
    url.set_query(query);
    url
}

/// Why there is no token. Whatever is wrong with the request is wrong with the settings, and with no event.
fn no_token(answer: &Answer) -> SendError {
    match answer.status.as_u16() {
        408 | 425 | 429 => answer.error(),
        400..=499 => SendError::Unauthorised(format!("no token: {}", answer.refusal().answer)),
        _ => answer.error(),
    }
}

fn row(item: &Item) -> Vec<u8> {
    let mut row = json!({ "TimeGenerated": to_rfc3339(item.at), "EventId": item.id, "Kind": item.kind }).to_string();
    // The event is JSON already.
    row.pop();
    row.push_str(",\"Event\":");
    let mut row = row.into_bytes();
    row.extend_from_slice(&item.body);
    row.push(b'}');
    row
}

#[async_trait]
impl Sink for Sentinel {
    /// 1 MiB, less some 400 bytes that stand around each event.
    fn batch_size(&self) -> BatchSize {
        BatchSize { bytes: 900_000, items: 350 }
    }

    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        let mut reply = Reply::default();
        let mut body = Vec::with_capacity(items.iter().map(|item| item.body.len() + 400).sum());
        for (number, item) in items.iter().enumerate() {
            if item.body.len() > VALUE_BYTES_MAX {
                let answer = format!(
                    "the event has {} bytes: Azure Monitor cuts a value after {VALUE_BYTES_MAX}",
                    item.body.len()
                );
                reply.refused.push((number, Refusal { status: None, answer }));
                continue;
            }
            body.push(if body.is_empty() { b'[' } else { b',' });
            body.extend(row(item));
        }
        if body.is_empty() {
            return Ok(reply);
        }
        body.push(b']');
        let answer = self.post(&body).await?;
        if answer.status.is_success() { Ok(reply) } else { Err(answer.error()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::receiver::{Receiver, item};
    use super::*;

    const RULE: &str = "dcr-00000000000000000000000000000001";

    fn sentinel(receiver: &Receiver, secret: &str) -> Sentinel {
        let url = receiver.url("sentinel");
        let settings = json!({
            "url": url, "private": true, "authority": url, "rule": RULE, "stream": "Custom-Custody_CL",
            "tenant": "tenant", "client_id": "client", "client_secret": secret,
        });
        Sentinel::new(&serde_json::from_value(settings).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn rows_are_what_the_rule_names() {
        let Some(receiver) = Receiver::start(&["--listen", "sentinel"]) else { return };
        let sink = sentinel(&receiver, "secret");
        let items = [item("a", r#"{"x":[1,{"y":"é"}]}"#), item("b \"", "{}")];
        assert_eq!(sink.send(&[&items[0], &items[1]]).await, Ok(Reply::default()));
        let row = |id: &str, event: Value| json!({ "TimeGenerated": "2025-06-02T09:00:00.000000Z", "EventId": id, "Kind": "session.start", "Event": event });
        let expected = [row("a", json!({ "x": [1, { "y": "é" }] })), row("b \"", json!({}))];
        assert_eq!(receiver.bodies("sentinel").await, expected);
        assert_eq!(receiver.problems("sentinel").await, json!([]));
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_again_when_it_is_not_taken() {
        let Some(receiver) = Receiver::start(&["--listen", "sentinel"]) else { return };
        let sink = sentinel(&receiver, "secret");
        let event = item("a", "{}");
        assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
        // Whoever asks for a token now gets none.
        receiver.fault("sentinel", json!({ "always": { "on": "token", "status": 503 } })).await;
        assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
        receiver.fault("sentinel", json!({ "next": [{ "status": 401 }] })).await;
        assert!(matches!(sink.send(&[&event]).await, Err(SendError::Transient { .. })));
        receiver.fault("sentinel", json!({ "always": null, "next": [{ "status": 401 }] })).await;
        assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
        // A second time in a row it is not the token.
        receiver.fault("sentinel", json!({ "next": [{ "status": 401 }, { "status": 401 }] })).await;
        assert!(matches!(sink.send(&[&event]).await, Err(SendError::Unauthorised(_))));
        assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
    }

    #[tokio::test]
    async fn a_token_is_given_up_before_it_expires() {
        let Some(receiver) = Receiver::start(&["--listen", "sentinel", "--token-seconds", "2"]) else { return };
        let sink = sentinel(&receiver, "secret");
        let event = item("a", "{}");
        assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
        receiver.fault("sentinel", json!({ "always": { "on": "token", "status": 503 } })).await;
        assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
        tokio::time::sleep(Duration::from_millis(1100)).await;
        // The old one would still be taken.
        assert!(matches!(sink.send(&[&event]).await, Err(SendError::Transient { .. })));
    }

    #[tokio::test]
    async fn what_is_answered_is_understood() {
        let Some(receiver) = Receiver::start(&["--listen", "sentinel"]) else { return };
        let sink = sentinel(&receiver, "secret");
        let event = item("a", "{}");
        let seconds = Duration::from_secs;
        type Check = fn(&SendError) -> bool;
        let cases: [(Value, Check, Option<Duration>); 7] = [
            (
                json!({ "status": 429, "retry_after": 7 }),
                |e| matches!(e, SendError::Transient { .. }),
                Some(seconds(7)),
            ),
            (
                json!({ "status": 503, "retry_after": 1 }),
                |e| matches!(e, SendError::Transient { .. }),
                Some(seconds(1)),
            ),
            (json!({ "status": 500 }), |e| matches!(e, SendError::Transient { after: None, .. }), None),
            (json!({ "status": 403 }), |e| matches!(e, SendError::Unauthorised(_)), None),
            (json!({ "status": 413 }), |e| matches!(e, SendError::TooLarge(_)), None),
            (json!({ "status": 400 }), |e| matches!(e, SendError::Refused(_)), None),
            (json!({ "accept_then_close": true }), |e| matches!(e, SendError::Transient { .. }), None),
        ];
        for (fault, is_expected, asked) in cases {
            receiver.fault("sentinel", json!({ "next": [fault.clone()] })).await;
            let error = sink.send(&[&event]).await.unwrap_err();
            assert!(is_expected(&error), "{fault}: {error:?}");
            if let SendError::Transient { after, .. } = error {
                assert_eq!(after, asked, "{fault}");
            }
        }
        assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
    }

    #[tokio::test]
    async fn without_a_token_no_event_is_at_fault() {
        let Some(receiver) = Receiver::start(&["--listen", "sentinel"]) else { return };
        let event = item("a", "{}");
        let refused = sentinel(&receiver, "another").send(&[&event]).await;
        let Err(SendError::Unauthorised(what)) = refused else { panic!("{refused:?}") };
        assert!(what.contains("AADSTS7000215") && !what.contains("another"), "{what}");
        let sink = sentinel(&receiver, "secret");
        for status in [429, 503] {
            receiver.fault("sentinel", json!({ "next": [{ "on": "token", "status": status }] })).await;
            assert!(matches!(sink.send(&[&event]).await, Err(SendError::Transient { .. })), "{status}");
        }
        assert_eq!(receiver.bodies("sentinel").await, Vec::<Value>::new());
    }

    #[tokio::test]
    async fn a_batch_fits_into_a_call_and_a_value_that_azure_would_cut_is_refused() {
        let Some(receiver) = Receiver::start(&["--listen", "sentinel"]) else { return };
        let sink = sentinel(&receiver, "secret");
        let BatchSize { bytes, items } = sink.batch_size();
        // As many as a batch may have, with ids as long as they may be, and as many bytes as it may have.
        let body = format!("{{\"x\":\"{}\"}}", "x".repeat(bytes / items - 8));
        let full: Vec<Item> = (0..items).map(|n| item(&format!("{n:0>256}"), &body)).collect();
        assert_eq!(sink.send(&full.iter().collect::<Vec<_>>()).await, Ok(Reply::default()));
        assert_eq!(receiver.bodies("sentinel").await.len(), items);
        let long = item("long", &format!("{{\"x\":\"{}\"}}", "x".repeat(VALUE_BYTES_MAX)));
        let reply = sink.send(&[&full[0], &long, &full[1]]).await.unwrap();
        assert_eq!(reply.refused.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
        assert_eq!(sink.send(&[&long]).await.unwrap().refused.len(), 1);
        assert_eq!(receiver.bodies("sentinel").await.len(), items + 2);
        assert_eq!(receiver.problems("sentinel").await, json!([]));
    }

    #[test]
    fn settings_that_lead_elsewhere_are_refused() {
        let good = json!({
            "url": "https://custody-abcd.westeurope-1.ingest.monitor.azure.com", "rule": RULE, "tenant": "t",
            "client_id": "c", "client_secret": "s",
        });
        let with = |name: &str, value: &str| {
            let mut settings = good.clone();
            settings[name] = json!(value);
            Sentinel::new(&serde_json::from_value(settings).unwrap())
        };
        let sink = with("rule", "dcr-1/../x?y").unwrap();
        assert_eq!(sink.stream.path(), "/dataCollectionRules/dcr-1%2F..%2Fx%3Fy/streams/Custom-Custody_CL");
        assert_eq!(sink.authority.as_str(), "https://login.microsoftonline.com/t/oauth2/v2.0/token");
        for (name, value) in
            [("url", "http://siem.example"), ("authority", "http://login.example"), ("authority", "https://10.0.0.1")]
        {
            assert!(with(name, value).is_err(), "{name} {value}");
        }
        let sink = with("client_secret", "hidden").unwrap();
        assert!(!format!("{sink:?}").contains("hidden"));
    }
}
