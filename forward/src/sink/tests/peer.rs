//! Receivers in processes of their own, and how a test speaks to them.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use reqwest::Client;
use serde_json::Value;

use super::*;

/// The token of the collector.
pub(super) const TOKEN: &str = "00000000-0000-4000-8000-000000000001";

const SIEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/siem");

/// A `receiver.py`. It is stopped when this is dropped.
pub(super) struct Peer {
    process: Child,
    ready: Value,
    client: Client,
}

impl Peer {
    /// One that listens for these protocols. None, and a word about it, where there is no Python.
    pub(super) fn start(test: &str, protocols: &[&str], arguments: &[&str]) -> Option<Self> {
        let mut command = python(test)?;
        for protocol in protocols {
            command.args(["--listen", protocol]);
        }
        let mut process = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("receiver.py: {error}: {line:?}"));
        Some(Self { process, ready, client: Client::builder().no_proxy().build().unwrap() })
    }

    pub(super) fn port(&self, protocol: &str) -> u16 {
        let protocol = protocol.split('=').next().unwrap();
        self.ready["ports"][protocol]
            .as_u64()
            .unwrap_or_else(|| panic!("{protocol}: {}", self.ready))
            .try_into()
            .unwrap()
    }

    /// One of the certificates that it made: `ca`, `client`, `client_key`.
    pub(super) fn pem(&self, name: &str) -> &str {
        self.ready["tls"][name].as_str().unwrap()
    }

    /// What it has of a protocol.
    pub(super) async fn received(&self, protocol: &str) -> Value {
        self.get(&format!("/received?protocol={protocol}")).await
    }

    /// The events of a protocol, as they were kept.
    pub(super) async fn events(&self, protocol: &str) -> Vec<Value> {
        self.get(&format!("/events?protocol={protocol}")).await.as_array().unwrap().clone()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.control(path)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    fn control(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ready["control"])
    }

    /// Orders faults.
    pub(super) async fn fault(&self, protocol: &str, mut order: Value) {
        order["protocol"] = protocol.into();
        let answer = self.client.post(self.control("/faults")).body(order.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{order}: {}", answer.text().await.unwrap());
    }

    /// What it has of a protocol, but for the ids, once that is as it should be.
    pub(super) async fn until(&self, protocol: &str, is: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/received?protocol={protocol}&ids=0");
        let began = std::time::Instant::now();
        loop {
            let received = self.get(&path).await;
            if is(&received) {
                return received;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{protocol}: {received}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn python(test: &str) -> Option<Command> {
    let mut command = Command::new("python3");
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped(test, "there is no python3");
    }
    command.arg("-B").arg(Path::new(SIEM).join("receiver.py"));
    Some(command)
}

/// Nothing, and a word about it. Where CI is set nothing is skipped.
fn skipped<T>(test: &str, why: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
    eprintln!("\n*** SKIPPED: {test}: {why}\n");
    None
}

/// A certification authority that nobody else knows, and certificates of it, in a folder.
pub(super) fn certificates(folder: &Path) {
    let mut command = Command::new("python3");
    command.arg("-B").arg(Path::new(SIEM).join("receiver.py")).arg("--certificates").arg(folder);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A port that nobody listens on at present.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A syslog-ng or an rsyslog. It is stopped when this is dropped.
pub(super) struct Daemon {
    process: Child,
    folder: tempfile::TempDir,
    name: &'static str,
    pub(super) tcp: u16,
    pub(super) tls: u16,
}

impl Daemon {
    /// `syslog-ng` or `rsyslog`, which asks for a certificate over TLS. None, and a word about it, where it cannot be had.
    pub(super) async fn start(test: &str, name: &'static str) -> Option<Self> {
        python(test)?;
        let fetched = Command::new("bash").arg(Path::new(SIEM).join("fetch.sh")).stdin(Stdio::null()).output().unwrap();
        if !fetched.status.success() {
            return skipped(test, String::from_utf8_lossy(&fetched.stderr).trim());
        }
        let programs = PathBuf::from(String::from_utf8(fetched.stdout).unwrap().trim());
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let at = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
        let (tcp, tls) = (free_port(), free_port());
        let template = std::fs::read_to_string(Path::new(SIEM).join(format!("{name}.conf.in"))).unwrap();
        let configuration = template
            .replace("@TCP@", &tcp.to_string())
            .replace("@TLS@", &tls.to_string())
            .replace("@DIR@", folder.path().to_str().unwrap())
            .replace("@PEER_VERIFY@", "required-trusted")
            .replace("@DRIVER@", "ossl")
            .replace("@AUTH@", "x509/certvalid");
        std::fs::write(at("conf"), configuration).unwrap();
        let mut command = match name {
            "rsyslog" => Command::new(programs.join("rsyslogd")),
            _ => Command::new(programs.join("syslog-ng")),
        };
        match name {
            "rsyslog" => command.args(["-n", "-f", &at("conf"), "-i", &at("rsyslog.pid")]),
            _ => command.args(["--foreground", "--no-caps", "--cfgfile", &at("conf")]).args([
                "--persist-file",
                &at("syslog-ng.persist"),
                "--pidfile",
                &at("syslog-ng.pid"),
                "--control",
                &at("syslog-ng.ctl"),
            ]),
        };
        let log = std::fs::File::create(at("log")).unwrap();
        let errors = log.try_clone().unwrap();
        let process = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap();
        let daemon = Self { process, folder, name, tcp, tls };
        for port in [tcp, tls] {
            daemon.until(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
        }
        Some(daemon)
    }

    pub(super) fn pem(&self, name: &str) -> String {
        self.folder.path().join("tls").join(name).to_str().unwrap().to_owned()
    }

    /// What it read, once there are so many messages.
    pub(super) async fn messages(&self, count: usize) -> Vec<Value> {
        let file = self.folder.path().join(format!("{}.ndjson", self.name));
        self.until(|| {
            let text = std::fs::read_to_string(&file).ok()?;
            let whole = text.rsplit_once('\n')?.0;
            (whole.lines().count() >= count)
                .then(|| whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
        })
        .await
    }

    async fn until<T>(&self, is: impl Fn() -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(found) = is() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{}: {}", self.name, std::fs::read_to_string(self.folder.path().join("log")).unwrap());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
