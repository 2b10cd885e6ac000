//! `tests/siem/receiver.py`, which receives by the letter of each protocol, and fails on demand.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::Item;

/// One that runs until it is dropped.
pub(crate) struct Receiver {
    child: Child,
    ready: Value,
}

impl Receiver {
    /// With these arguments; `None`, said loudly, where there is no Python.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/siem/receiver.py");
        let spawned = Command::new("python3")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let Ok(mut child) = spawned else {
            skip("no receiver: there is no python3");
            return None;
        };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { child, ready: serde_json::from_str(&line).unwrap() })
    }

    /// Where a protocol is spoken.
    pub(crate) fn url(&self, protocol: &str) -> String {
        format!("http://127.0.0.1:{}", self.ready["ports"][protocol])
    }

    fn control(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ready["control"])
    }

    async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(self.control(path)).await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// The events that were taken, as they came.
    pub(crate) async fn bodies(&self, protocol: &str) -> Vec<Value> {
        let events = self.get(&format!("/events?protocol={protocol}")).await;
        events.as_array().unwrap().iter().map(|event| event["body"].clone()).collect()
    }

    /// What the sender did wrong.
    pub(crate) async fn problems(&self, protocol: &str) -> Value {
        self.get(&format!("/received?protocol={protocol}&ids=0")).await["problems"].clone()
    }

    /// What goes wrong next.
    pub(crate) async fn fault(&self, protocol: &str, mut fault: Value) {
        fault["protocol"] = json!(protocol);
        let sent = reqwest::Client::new().post(self.control("/faults")).body(fault.to_string()).send().await;
        assert!(sent.unwrap().status().is_success(), "{fault}");
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It ends when its standard input closes.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Says loudly, past what the harness captures, that something was not tried.
pub(crate) fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {why}\n");
}

/// An event of 2025-06-02T09:00:00Z.
pub(crate) fn item(id: &str, body: &str) -> Item {
    Item {
        revision: 0,
        id: id.to_owned(),
        at: 1_748_854_800_000_000,
        kind: "session.start".to_owned(),
        body: body.to_owned().into(),
    }
}
