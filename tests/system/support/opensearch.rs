//! A real OpenSearch for tests: one node on free loopback ports, from `tests/siem/opensearch/fetch.sh`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::custody::{skip, stderr, wait_until};
use super::http::Client;

const READY_WITHIN: Duration = Duration::from_secs(120);

/// The server; killed when it is dropped.
pub(crate) struct OpenSearch {
    server: Child,
    _folder: TempDir,
    pub(crate) port: u16,
    client: Client,
}

impl OpenSearch {
    /// A server of the test's own, or `None` where there is none to be had: that is said loudly.
    pub(crate) fn start_or_skip(test: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/siem/opensearch/fetch.sh");
        let output = Command::new("bash").arg(script).stdin(Stdio::null()).output().expect("bash");
        if !output.status.success() {
            skip(test, &format!("no OpenSearch: {}", stderr(&output).trim()));
            return None;
        }
        let built = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let folder = TempDir::with_prefix("opensearch-").expect("a folder");
        // Held together, so that they are different, and let go together.
        let held = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a free port"));
        let [port, transport] = held.map(|listener| listener.local_addr().expect("an address").port());
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let server = Command::new("java")
            .args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", &format!("{built}/jars/*:{built}/classes"), "Server"])
            .arg(folder.path())
            .args([port, transport].map(|port| port.to_string()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("java");
        let client = Client::new(SocketAddr::from(([127, 0, 0, 1], port)));
        let search = Self { server, _folder: folder, port, client };
        wait_until("OpenSearch", READY_WITHIN, || {
            let answer = search.client.send("GET", "/_cluster/health", &[], b"");
            answer.and_then(|answer| match answer.status {
                200 => Ok(()),
                status => Err(status.to_string()),
            })
        });
        Some(search)
    }

    /// Documents of the indices of a pattern: none while an index that was made just now is not there yet, which it answers
    /// with 503.
    pub(crate) fn count(&self, indices: &str) -> u64 {
        let sent = |method: &str, what: &str| self.client.send(method, &format!("/{indices}/{what}"), &[], b"");
        let answer = sent("POST", "_refresh").and_then(|_| sent("GET", "_count")).expect("an answer");
        match answer.status {
            503 => 0,
            200 => answer.json()["count"].as_u64().expect("a count"),
            status => panic!("{indices}: {status}: {}", answer.text()),
        }
    }

    /// What it answers; anything but 2xx is a failure.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let headers = [("content-type", "application/json")];
        let answer = self.client.send(method, path, &headers, body.as_bytes()).expect("an answer");
        assert!((200..300).contains(&answer.status), "{method} {path}: {}: {}", answer.status, answer.text());
        answer.json()
    }
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
