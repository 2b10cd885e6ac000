//! What gateways and policy engines push: real senders, and what happens when Custody dies under them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::custody::{Custody, PATIENCE, Process, Topic, audit_event, say, wait_until};
use crate::support::http::Client;
use crate::support::kafka::Broker;

const TOKEN: &str = "a-sender's-secret";

/// A port of the loopback interface on which nothing listens at this moment.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address")
}

/// A ledger without Kafka, and `custody collect` on it.
fn collecting() -> (Custody, SocketAddr) {
    let address = free_port();
    let custody = Custody::at("", &[]).section(&format!("[collect]\nlisten = \"{address}\"\ntokens = [{TOKEN:?}]\n"));
    (custody, address)
}

fn start(custody: &Custody) -> Process {
    let mut process = custody.start(None, &["collect"]);
    process.wait_for_log("collecting");
    process
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn post(client: &Client, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    client.send("POST", path, headers, body).map_or(0, |answer| answer.status)
}

fn decision(id: &str) -> Value {
    json!({"labels": {"id": "opa-1"}, "decision_id": id, "path": "custody/jit/decision", "result": {"allow": true},
        "timestamp": "2026-03-02T08:00:00Z", "input": {"requester": "mira@example.net"}})
}

#[test]
fn senders_are_answered_as_they_expect() {
    let (custody, address) = collecting();
    let process = start(&custody);
    let client = Client::new(address);
    let bearer = format!("Bearer {TOKEN}");
    let token = ("authorization", bearer.as_str());
    let packed = gzip(json!([decision("d1"), decision("d2")]).to_string().as_bytes());
    let event = audit_event("u1");
    let session = "293fda2d-0000-4000-8000-000000000001";
    let print =
        json!({"event": "print", "ei": 1, "ms": 0, "data": "aGVsbG8=", "time": "2026-03-02T08:00:00Z"}).to_string();
    let session_log = format!("/session.{session}.log");
    let too_large = vec![b' '; 17 << 20];
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16);
    let cases: [Case<'_>; 13] = [
        ("a chunk of decisions", "/logs", &[token, ("content-encoding", "gzip")], &packed, 200),
        ("the same again, to a partition", "/logs/eu", &[token, ("content-encoding", "gzip")], &packed, 200),
        ("an audit event", "/test.log", &[token], event.as_bytes(), 200),
        ("a piece of a session", &session_log, &[token], print.as_bytes(), 200),
        ("no event at all", "/test.log", &[token], b"hello", 200),
        ("no token", "/logs", &[], &packed, 401),
        ("another token", "/logs", &[("authorization", "Bearer x")], &packed, 401),
        ("a packing that is not known", "/logs", &[token, ("content-encoding", "br")], &packed, 415),
        ("nothing", "/logs", &[token], b"", 400),
        ("nowhere", "/nowhere", &[token], b"{}", 404),
        ("too large", "/logs", &[token], &too_large, 413),
        ("from a web page", "/logs", &[token, ("origin", "https://evil.example")], &packed, 403),
        ("under another name", "/logs", &[token, ("host", "evil.example")], &packed, 421),
    ];
    for (name, path, headers, body, status) in cases {
        assert_eq!(post(&client, path, headers, body), status, "{name}");
    }
    let answer = client.send("GET", "/logs", &[token], b"").unwrap();
    assert_eq!((answer.status, answer.json()["error"]["kind"].clone()), (405, json!("request")));
    // What was answered with 200 is in the ledger, whatever becomes of the process now.
    process.kill();
    assert_eq!(custody.count("records"), 5);
    assert_eq!(
        custody.sql("SELECT decision_id, deliveries FROM policy_decisions ORDER BY decision_id"),
        [json!({"decision_id": "d1", "deliveries": 2}), json!({"decision_id": "d2", "deliveries": 2})]
    );
    assert_eq!(custody.value("SELECT event_id FROM events WHERE kind = 'login'"), json!("teleport/system/u1"));
    assert_eq!(custody.value("SELECT session_id FROM recordings"), json!(session));
    assert_eq!(custody.value("SELECT value_bytes FROM dead_letters"), json!(5));
}

#[test]
fn what_is_collected_goes_through_kafka_where_there_is_one() {
    const TEST: &str = "what_is_collected_goes_through_kafka_where_there_is_one";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let topic = Topic::create(broker, "opa", 1);
    let address = free_port();
    let custody = Custody::on(broker, std::slice::from_ref(&topic))
        .section(&format!("[collect]\nlisten = \"{address}\"\nopa_topic = {:?}\n", topic.name));
    let (mut process, _) = custody.up();
    process.wait_for_log("collecting");
    let body = json!([decision("k1")]).to_string();
    assert_eq!(post(&Client::new(address), "/logs", &[], body.as_bytes()), 200);
    // A topic that nobody reads would be lost to every question.
    assert_eq!(post(&Client::new(address), "/hoop", &[], b"{}"), 404);
    custody.wait_for_records(1, &mut process);
    let row = custody.sql("SELECT topic, \"offset\", decision_id FROM events");
    assert_eq!(row, [json!({"topic": topic.name, "offset": 0, "decision_id": "k1"})]);
    process.stop();
}

/// The Open Policy Agent that `tests/opa/fetch.sh` built.
fn opa_or_skip(test: &str) -> Option<PathBuf> {
    let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa/fetch.sh");
    let output = Command::new(fetch).stdin(Stdio::null()).output().expect("a shell");
    if output.status.success() {
        return Some(PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim()));
    }
    say(&format!("\nSKIPPED: {test}: {}\n", String::from_utf8_lossy(&output.stderr).trim()));
    None
}

/// A child process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real OPA with the policy of this folder, which uploads its decision log to the collector.
fn run_opa(opa: &Path, folder: &Path, collector: SocketAddr) -> (Running, Client) {
    let config = json!({
        "services": {"custody": {
            "url": format!("http://{collector}"),
            "credentials": {"bearer": {"token": TOKEN}},
        }},
        "decision_logs": {"service": "custody", "reporting": {"min_delay_seconds": 1, "max_delay_seconds": 1,
            "upload_size_limit_bytes": 2048}},
    });
    let file = folder.join("opa.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let address = free_port();
    let log = std::fs::File::create(folder.join("opa.log")).unwrap();
    let child = Command::new(opa)
        .args(["run", "--server", "--skip-version-check", "--addr", &address.to_string(), "--bundle", "policy"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa"))
        .arg("--config-file")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("opa");
    let client = Client::new(address);
    wait_until("OPA to answer", PATIENCE, || {
        let answer = client.send("GET", "/health", &[], b"")?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    (Running(child), client)
}

/// Asks for access at a time; returns the id of the decision, and whether it allows.
fn ask(opa: &Client, time: &str, reason: &Value, granted_at: &str) -> (String, bool) {
    let input = json!({
        "requester": "alice@example.com", "action": "open-session",
        "context": {"identity": "alice@example.com", "target": "prod-web-01-ssh", "time": time, "attributes": reason},
        "approval": {"granted_at": granted_at, "valid_duration": "1h", "approver": "carol@example.com"},
    });
    let answer = opa.post_json("/v1/data/custody/jit/decision", &json!({"input": input})).json();
    let id = answer["decision_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    (id, answer["result"]["allow"] == true)
}

#[test]
fn a_real_policy_engine_uploads_its_decisions_and_none_is_lost_when_custody_dies() {
    const TEST: &str = "a_real_policy_engine_uploads_its_decisions_and_none_is_lost_when_custody_dies";
    let Some(opa) = opa_or_skip(TEST) else { return };
    let (custody, address) = collecting();
    let mut process = start(&custody);
    let (running, engine) = run_opa(&opa, custody.folder(), address);
    let incident = json!({"reason_type": "incident", "reason_id": "INC-78901"});
    let change = json!({"reason_type": "change", "reason_id": "CHG-17"});
    let cases = [
        ("at night with a ticket", "2026-03-03T02:10:00Z", &incident, "2026-03-03T02:00:00Z", true),
        ("at night without", "2026-03-03T02:40:00Z", &change, "2026-03-03T02:30:00Z", false),
        ("in business hours", "2026-03-03T09:00:00Z", &change, "2026-03-03T08:50:00Z", true),
        ("at five exactly", "2026-03-03T17:00:00Z", &change, "2026-03-03T16:50:00Z", false),
        ("on a Saturday", "2026-03-07T12:00:00Z", &change, "2026-03-07T11:50:00Z", false),
        ("after the approval is over", "2026-03-03T10:00:01Z", &incident, "2026-03-03T09:00:00Z", false),
    ];
    let mut decided = Vec::new();
    for (name, time, reason, granted_at, allow) in cases {
        let (id, allowed) = ask(&engine, time, reason, granted_at);
        assert_eq!(allowed, allow, "{name}");
        decided.push((id, if allow { "allow" } else { "deny" }));
    }
    // Uploads go on while Custody is killed and comes back.
    let mut ids: BTreeSet<String> = decided.iter().map(|(id, _)| id.clone()).collect();
    for _ in 0..3 {
        for _ in 0..40 {
            ids.insert(ask(&engine, "2026-03-03T09:00:00Z", &change, "2026-03-03T08:50:00Z").0);
        }
        wait_until("an upload", PATIENCE, || match custody.try_count("records") {
            Ok(0) => Err("no record".to_owned()),
            Ok(count) => Ok(count),
            Err(error) => Err(error),
        });
        process.kill();
        ids.insert(ask(&engine, "2026-03-03T09:00:00Z", &change, "2026-03-03T08:50:00Z").0);
        process = start(&custody);
    }
    wait_until("every decision", PATIENCE, || {
        process.assert_runs();
        let rows = custody.sql("SELECT DISTINCT decision_id FROM policy_decisions");
        let have: BTreeSet<String> = rows.iter().map(|row| row["decision_id"].as_str().unwrap().to_owned()).collect();
        assert!(have.is_subset(&ids), "a decision that nobody asked for");
        if have == ids { Ok(()) } else { Err(format!("{} of {}", have.len(), ids.len())) }
    });
    drop(running);
    process.stop();
    // Each decision is one row, however often its chunk came; what came more often is listed.
    assert_eq!(custody.count("policy_decisions"), ids.len() as u64);
    let uploaded = custody.value("SELECT sum(deliveries) FROM policy_decisions").as_u64().unwrap();
    let duplicates = custody.count("duplicate_events");
    assert_eq!(uploaded, ids.len() as u64 + duplicates);
    for (id, outcome) in decided {
        let row = custody.sql(&format!(
            "SELECT outcome, actor, target, ticket, approver, policy_path, policy_revision, expires_at FROM \
             policy_decisions WHERE decision_id = '{id}'"
        ));
        assert_eq!(row.len(), 1, "{id}");
        let said = ["outcome", "actor", "target", "policy_path", "policy_revision"].map(|name| row[0][name].clone());
        let expected =
            [outcome, "alice@example.com", "prod-web-01-ssh", "custody/jit/decision", "policy=jit-1"].map(Value::from);
        assert_eq!(said, expected);
        assert_eq!(row[0]["approver"], "carol@example.com");
    }
    assert_eq!(
        custody.sql(
            "SELECT DISTINCT ticket, expires_at FROM policy_decisions WHERE ticket = 'INC-78901' AND outcome = 'allow'"
        ),
        [json!({"ticket": "INC-78901", "expires_at": "2026-03-03T03:00:00.000000Z"})]
    );
}

/// A shipper of Debian's carries Boundary's lines to Kafka.
#[test]
fn a_shipper_brings_the_events_of_boundary() {
    const TEST: &str = "a_shipper_brings_the_events_of_boundary";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let modules = ["/usr/lib/x86_64-linux-gnu/rsyslog", "/usr/lib/aarch64-linux-gnu/rsyslog", "/usr/lib/rsyslog"];
    if !modules.iter().any(|folder| Path::new(folder).join("omkafka.so").is_file()) {
        return say(&format!("\nSKIPPED: {TEST}: no rsyslog with its Kafka module (Debian: rsyslog-kafka)\n"));
    }
    let topic = Topic::create(broker, "boundary", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let folder = custody.folder();
    let log = folder.join("boundary.ndjson");
    let line = |id: &str, path: &str| {
        json!({"id": "x", "source": "https://hashicorp.com/boundary/controller-0/controller", "specversion": "1.0",
            "type": "audit", "time": "2026-03-03T02:10:00.5Z", "data": {"id": id, "version": "v0.1",
            "type": "APIRequest", "timestamp": "2026-03-03T02:10:00Z",
            "request_info": {"id": "gtraceid_1", "method": "POST", "path": path, "client_ip": "203.0.113.24"},
            "auth": {"user_info": {"id": "u_alice0001"}}, "correlation_id": "6b3f1f0e-2f0a-4a53-9d0e-8c2b7a1d4e55",
            "response": {"status_code": 200, "details": {"item": {"session_id": "s_1", "target_id": "tssh_1",
            "type": "ssh", "user_id": "u_alice0001"}}}}})
        .to_string()
    };
    let first = line("e_1", "/v1/targets/tssh_1:authorize-session");
    std::fs::write(&log, format!("{first}\nstarting up\n{}\n", line("e_2", "/v1/targets/tssh_1:authorize-session")))
        .unwrap();
    let config = folder.join("rsyslog.conf");
    let work = folder.join("rsyslog");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(
        &config,
        format!(
            r#"global(workDirectory="{work}" maxMessageSize="64k")
module(load="imfile")
module(load="omkafka")
template(name="line" type="string" string="%msg%")
input(type="imfile" File="{log}" Tag="boundary" ruleset="kafka")
ruleset(name="kafka") {{
  action(type="omkafka" broker=["{broker}"] topic="{topic}" template="line" resubmitOnFailure="on")
}}
"#,
            work = work.display(),
            log = log.display(),
            broker = broker.bootstrap(),
            topic = topic.name,
        ),
    )
    .unwrap();
    let child = Command::new("rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(folder.join("rsyslog.pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("rsyslogd");
    let running = Running(child);
    let mut ingest = custody.ingest();
    custody.wait_for_records(3, &mut ingest);
    drop(running);
    ingest.stop();
    let rows = custody.sql("SELECT kind, actor, target, session_id, remote_addr FROM events ORDER BY event_id");
    let expected = json!({"kind": "session.start", "actor": "u_alice0001", "target": "tssh_1", "session_id": "s_1",
        "remote_addr": "203.0.113.24"});
    assert_eq!(rows, [expected.clone(), expected]);
    assert_eq!(
        custody.value("SELECT utf8_lossy(value) FROM records WHERE \"offset\" = 0").as_str().map(str::trim),
        Some(first.as_str())
    );
    // The other line is what it is: kept, and told.
    assert_eq!(custody.value("SELECT error_kind FROM dead_letters"), json!("invalid_json"));
}
