//! Sinks and delivery against strict receivers that fail on demand: `tests/siem/receiver.py`, and the syslog daemons of
//! `tests/siem/fetch.sh`.

mod http;
mod peer;
mod speed;
mod syslog;
mod unkind;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::delivery::{Dead, Delivery, Patience, State, Stopped};
use crate::destination::Receiver;
use crate::schema::Schema;
use peer::Peer;

/// Little of it: nobody waits for what is tested.
const PATIENCE: Patience = Patience {
    first: Duration::from_millis(5),
    most: Duration::from_millis(40),
    unauthorised: Duration::from_millis(40),
    in_flight: 4,
};

/// A receiver that does not answer within so long has not answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

fn run<T>(of: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(of)
}

/// Events that every receiver over HTTP takes.
fn items(name: &str, count: usize) -> Vec<Item> {
    let item = |number: usize| {
        let id = format!("{name}/{number}");
        let body = json!({
            "event_id": id, "@timestamp": "2026-01-01T00:00:00Z", "number": number, "text": "é \"quoted\"\n",
        });
        let at = 1_767_225_600_000_000 + i64::try_from(number).unwrap();
        Item { id, revision: 0, at, kind: "other".to_owned(), body: body.to_string().into() }
    };
    (0..count).map(item).collect()
}

/// The sink of a protocol, as an operator writes it down; with `more` of it.
fn sink(peer: &Peer, protocol: &str, more: Value) -> Box<dyn Sink> {
    let port = peer.port(protocol);
    let url = format!("http://127.0.0.1:{port}");
    let mut settings = match protocol {
        "hec" => json!({"kind": "splunk", "url": url, "private": true, "token": peer::TOKEN, "index": "audit"}),
        "bulk" => json!({"kind": "elasticsearch", "url": url, "private": true}),
        "webhook" => json!({"kind": "webhook", "url": format!("{url}/hook"), "private": true, "secrets": ["secret"]}),
        _ => {
            let transport = protocol.strip_prefix("syslog-").unwrap();
            json!({"kind": "syslog", "host": "127.0.0.1", "port": port, "transport": transport, "hostname": "custody-1"})
        }
    };
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    match serde_json::from_value(settings).unwrap() {
        Receiver::Splunk(settings) => {
            let mut hec = Hec::new(settings).unwrap();
            hec.http.timeout = ANSWER_WITHIN;
            hec.ask_every = Duration::from_millis(20);
            hec.indexed_within = Duration::from_millis(600);
            Box::new(hec)
        }
        Receiver::Elasticsearch(settings) => {
            let mut bulk = Bulk::new(settings).unwrap();
            bulk.http.timeout = ANSWER_WITHIN;
            Box::new(bulk)
        }
        Receiver::Webhook(settings) => {
            let mut webhook = Webhook::new(&settings).unwrap();
            webhook.http.timeout = ANSWER_WITHIN;
            Box::new(webhook)
        }
        Receiver::Syslog(settings) => {
            let mut syslog = Syslog::new(settings).unwrap();
            syslog.timeout = Duration::from_secs(2);
            Box::new(syslog)
        }
        other => panic!("{other:?} is tested elsewhere"),
    }
}

fn delivery(peer: &Peer, protocol: &str) -> Delivery<dyn Sink> {
    Delivery::new(sink(peer, protocol, json!({})), PATIENCE)
}

/// Delivers everything.
async fn deliver(delivery: &Delivery<dyn Sink>, items: &[Item]) -> Vec<Dead> {
    let (_stop, mut stopped) = watch::channel(false);
    delivery.deliver(items, &mut stopped).await.unwrap()
}

/// Delivers until the destination is in a state, and then no more. Gives why it is.
async fn deliver_until(delivery: &Delivery<dyn Sink>, items: &[Item], is: impl Fn(&State) -> bool) -> String {
    let (stop, mut stopped) = watch::channel(false);
    let mut state = delivery.state();
    let watched = async {
        let found = state.wait_for(is).await.unwrap().clone();
        stop.send(true).unwrap();
        found
    };
    let both = async { tokio::join!(delivery.deliver(items, &mut stopped), watched) };
    let (delivered, found) =
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("the destination to be in it");
    assert_eq!(delivered, Err(Stopped));
    match found {
        State::Failing { why, .. } | State::Unauthorised { why, .. } => why,
        State::Delivering => String::new(),
    }
}

/// How often each event of these came.
async fn arrivals(peer: &Peer, protocol: &str, items: &[Item]) -> BTreeMap<String, usize> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let received = peer.received(protocol).await;
    let name = items[0].id.split('/').next().unwrap();
    for id in received["ids"].as_array().unwrap() {
        let id = id.as_str().unwrap();
        if id.split('/').next() == Some(name) {
            *count.entry(id.to_owned()).or_default() += 1;
        }
    }
    count
}

/// Each of these came, and nothing else of their name; gives how many came more than once.
async fn assert_arrived(peer: &Peer, protocol: &str, items: &[Item], but: &[usize]) -> usize {
    let came = arrivals(peer, protocol, items).await;
    let is_dead = |number: &usize| but.contains(number);
    let sent = items.iter().enumerate().filter(|(number, _)| !is_dead(number)).map(|(_, item)| item.id.clone());
    let mut sent: Vec<String> = sent.collect();
    sent.sort();
    assert_eq!(came.keys().cloned().collect::<Vec<_>>(), sent, "{protocol}");
    came.values().map(|count| count - 1).sum()
}
