//! Splunk's HTTP Event Collector (docs.splunk.com, "HTTP Event Collector"): events, gzip, acknowledgement by the indexer.
//!
//! Where the token has indexer acknowledgement, an event is taken once the indexer says so, and what it does not say in
//! time is sent again; else, once the collector accepted it. A collector says of an acknowledgement only once that it is
//! there, so each is asked for by the batch alone that waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName};
use serde::Deserialize;
use serde_json::json;

use super::http::{Answer, Http};
use super::{BatchSize, Item, Reply, SendError, Sink};
use crate::destination::{HecSettings, Refused};

/// Codes of a collector that is busy or going down, whatever the status of HTTP: it may work later.
const BUSY: [i64; 5] = [8, 9, 23, 26, 27];

/// Sends to one collector.
#[derive(Debug)]
pub struct Hec {
    pub(super) http: Http,
    /// The longest pause between two questions whether events are indexed.
    pub(super) ask_every: Duration,
    /// Events are sent again when they were not indexed after so long.
    pub(super) indexed_within: Duration,
    events: Url,
    ack: Url,
    settings: HecSettings,
    /// By which the collector tells its clients apart, for acknowledgements.
    channel: String,
    /// The collector is known to have no acknowledgements for this token: what it accepts is taken.
    accepted_is_taken: AtomicBool,
}

#[derive(Debug, Deserialize)]
struct Said {
    code: Option<i64>,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
    #[serde(rename = "invalid-event-number")]
    invalid_event: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Acks {
    acks: BTreeMap<u64, bool>,
}

impl Hec {
    /// # Errors
    ///
    /// [`Refused`] for settings that make no sense.
    pub fn new(settings: HecSettings) -> Result<Self, Refused> {
        let token = settings.token.read()?;
        let headers = vec![(AUTHORIZATION, format!("Splunk {token}"))];
        let http = Http::new(&settings.reach, &settings.tls, Duration::from_secs(60), headers)?;
        let base = settings.reach.base()?;
        let at = |path: &str| base.join(path).map_err(|error| Refused::new(error.to_string()));
        let (events, mut ack) = (at("services/collector/event")?, at("services/collector/ack")?);
        let channel = uuid::Uuid::new_v4().to_string();
        ack.query_pairs_mut().append_pair("channel", &channel);
        Ok(Self {
            http,
            ask_every: Duration::from_millis(250),
            indexed_within: Duration::from_secs(120),
            events,
            ack,
            settings,
            channel,
            accepted_is_taken: AtomicBool::new(false),
        })
    }

    fn body(&self, items: &[&Item]) -> Vec<u8> {
        let mut body = Vec::with_capacity(items.iter().map(|item| item.body.len() + 256).sum());
        for item in items {
            let mut around = json!({
                "source": "custody",
                "sourcetype": self.settings.sourcetype,
                "fields": { "event_id": item.id, "kind": item.kind },
            });
            if let Some(around) = around.as_object_mut() {
                for (name, value) in [("index", &self.settings.index), ("host", &self.settings.host)] {
                    around.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
                }
            }
            // The event is JSON already.
            let mut text = around.to_string();
            text.pop();
            body.extend_from_slice(text.as_bytes());
            if let Some(time) = time(item.at) {
                body.extend_from_slice(format!(",\"time\":{time}").as_bytes());
            }
            body.extend_from_slice(b",\"event\":");
            body.extend_from_slice(&item.body);
            body.push(b'}');
        }
        body
    }

    /// Waits until the indexer has what was accepted under an id.
    async fn wait_for(&self, ack_id: u64) -> Result<(), SendError> {
        let began = Instant::now();
        let asked = json!({ "acks": [ack_id] }).to_string();
        let mut last = "not indexed".to_owned();
        let mut pause = self.ask_every / 16;
        while began.elapsed() < self.indexed_within {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.ask_every);
            // Where no answer comes it may have been the one that said yes, and none after it will: the events are sent
            // again.
            let answer = self.http.post(&self.ack, "application/json", asked.clone().into(), &[]).await?;
            match serde_json::from_slice::<Acks>(&answer.body) {
                Ok(Acks { acks }) if answer.status.is_success() => match acks.get(&ack_id) {
                    Some(true) => return Ok(()),
                    _ => continue,
                },
                Ok(_) | Err(_) => {}
            }
            match error_of(&answer) {
                // It did not say anything of the events, and may the next time.
                SendError::Transient { what, .. } if !answer.status.is_success() => last = what,
                error => return Err(error),
            }
        }
        Err(SendError::transient(format!("after {} s: {last}", self.indexed_within.as_secs_f32())))
    }

    /// What became of a batch in which one event was refused: what stands before it was accepted, and what stands
    /// behind it not looked at.
    fn refused_at(&self, number: usize, answer: &Answer, items: usize) -> Reply {
        // Nobody acknowledges what was accepted with an error: where there may be acknowledgements, it is sent again.
        let taken = if self.accepted_is_taken.load(Ordering::Relaxed) { number } else { 0 };
        let again = (taken..items).filter(|other| *other != number).collect();
        Reply { again, busy: None, refused: vec![(number, answer.refusal())] }
    }
}

/// Seconds since 1970, to the microsecond. None for what Splunk takes for no time: the event has it all the same.
fn time(at: i64) -> Option<String> {
    let (seconds, micros) = (at.div_euclid(1_000_000), at.rem_euclid(1_000_000));
    (0..10_000_000_000).contains(&seconds).then(|| format!("{seconds}.{micros:06}"))
}

fn said(answer: &Answer) -> Option<Said> {
    serde_json::from_slice(&answer.body).ok()
}

fn error_of(answer: &Answer) -> SendError {
    match said(answer).and_then(|said| said.code) {
        Some(code) if BUSY.contains(&code) => answer.transient(),
        // 1 to 4: tokens. 7: an index that this token may not write. 10, 11, 14: channels. A person has to mend these;
        // no event is at fault.
        Some(1..=4 | 7 | 10 | 11 | 14) => SendError::Unauthorised(answer.refusal().answer),
        _ if answer.status.is_success() => answer.transient(),
        _ => answer.error(),
    }
}

#[async_trait]
impl Sink for Hec {
    fn batch_size(&self) -> BatchSize {
        BatchSize { bytes: 1_000_000, items: 1000 }
    }

    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        let channel = (HeaderName::from_static("x-splunk-request-channel"), self.channel.as_str());
        let answer = self.http.post_gzip(&self.events, "application/json", &self.body(items), &[channel]).await?;
        match said(&answer) {
            Some(Said { code: Some(0), ack_id, .. }) if answer.status.is_success() => {
                self.accepted_is_taken.store(ack_id.is_none(), Ordering::Relaxed);
                if let Some(ack_id) = ack_id {
                    self.wait_for(ack_id).await?;
                }
                Ok(Reply::default())
            }
            Some(Said { code: Some(6 | 12 | 13 | 15), invalid_event: Some(number), .. }) if number < items.len() => {
                Ok(self.refused_at(number, &answer, items.len()))
            }
            _ => Err(error_of(&answer)),
        }
    }
}
