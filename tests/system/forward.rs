//! Forwarding to receivers that are strict by their protocols and fail on demand (`tests/siem/receiver.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::custody::{Custody, PATIENCE, Process, audit_event, stderr, wait_until};
use crate::support::http::Client;

/// `tests/siem/receiver.py`, until it is dropped.
struct Receiver {
    child: Child,
    control: Client,
    ports: BTreeMap<String, u64>,
}

impl Receiver {
    fn start(state: &Path, arguments: &[&str]) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/siem/receiver.py");
        let mut child = Command::new("python3")
            .arg("-B")
            .arg(script)
            .arg("--state")
            .arg(state)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("what listens where");
        let port = |of: &Value| u16::try_from(of.as_u64().expect("a port")).expect("a port");
        let control = Client::new(SocketAddr::from(([127, 0, 0, 1], port(&ready["control"]))));
        let ports = ready["ports"].as_object().expect("ports").iter();
        let ports = ports.map(|(name, port)| (name.clone(), port.as_u64().expect("a port"))).collect();
        Self { child, control, ports }
    }

    fn received(&self, protocol: &str) -> Value {
        self.control.get(&format!("/received?protocol={protocol}")).json()
    }

    /// The ids of what was received, each once.
    fn ids(&self, protocol: &str) -> BTreeSet<String> {
        let ids = self.received(protocol)["ids"].clone();
        ids.as_array().expect("ids").iter().map(|id| id.as_str().expect("an id").to_owned()).collect()
    }

    fn bodies(&self, protocol: &str) -> Vec<Value> {
        self.control.get(&format!("/events?protocol={protocol}")).json().as_array().expect("events").clone()
    }

    fn fail(&self, faults: &Value) {
        let answer = self.control.post_json("/faults", faults);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    fn wait_for(&self, protocol: &str, ids: &BTreeSet<String>) {
        wait_until(&format!("{} events over {protocol}", ids.len()), PATIENCE, || {
            let there = self.ids(protocol);
            if there == *ids { Ok(()) } else { Err(format!("{} are there", there.len())) }
        });
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A ledger into which events are pushed, and what pushes them.
pub(crate) struct Pushed {
    pub(crate) custody: Custody,
    sender: Client,
    pub(crate) collecting: Process,
}

impl Pushed {
    pub(crate) fn with(forward: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        let custody = Custody::at("", &[]).section(&format!("[collect]\nlisten = \"{address}\"\n\n{forward}"));
        let mut collecting = custody.start(None, &["collect"]);
        collecting.wait_for_log("collecting");
        Self { custody, sender: Client::new(address), collecting }
    }

    /// Pushes logins with these names; they are in the ledger when this returns.
    pub(crate) fn push(&self, names: impl IntoIterator<Item = String>) {
        self.push_events(names.into_iter().map(|name| audit_event(&name)));
    }

    pub(crate) fn push_events(&self, events: impl IntoIterator<Item = String>) {
        for event in events {
            let answer = self.sender.send("POST", "/audit.log", &[], event.as_bytes()).expect("an answer");
            assert_eq!(answer.status, 200);
        }
    }

    pub(crate) fn ids(&self) -> BTreeSet<String> {
        let rows = self.custody.sql("SELECT DISTINCT event_id FROM events");
        rows.iter().map(|row| row["event_id"].as_str().expect("an id").to_owned()).collect()
    }

    pub(crate) fn forwarding(&self) -> Process {
        let mut process = self.custody.start(None, &["forward", "run"]);
        process.wait_for_log("forwarding");
        process
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.custody.stdout(["forward", "status", "--format", "json"])).unwrap();
        let of = all.as_array().unwrap().iter().find(|of| of["destination"] == name);
        of.unwrap_or_else(|| panic!("{name} is not in {all}")).clone()
    }
}

const TOKEN: &str = "00000000-0000-4000-8000-000000000001";

/// The configuration of a destination.
fn destination(name: &str, receiver: &Receiver, more: &str) -> String {
    let port = |protocol: &str| receiver.ports[protocol];
    let kind = match name {
        "hec" => {
            format!("kind = \"splunk\"\nurl = \"http://127.0.0.1:{}\"\ntoken = {TOKEN:?}\nprivate = true", port(name))
        }
        "bulk" => format!("kind = \"elasticsearch\"\nurl = \"http://127.0.0.1:{}\"\nprivate = true", port(name)),
        "webhook" => format!(
            "kind = \"webhook\"\nurl = \"http://127.0.0.1:{}/in\"\nsecrets = [\"secret\"]\nprivate = true",
            port(name)
        ),
        _ => format!("kind = \"syslog\"\nhost = \"127.0.0.1\"\nport = {}\ntransport = \"tcp\"", port(name)),
    };
    format!("[[forward]]\nname = {name:?}\nstart = \"beginning\"\ntakeover_seconds = 2\n{kind}\n{more}\n")
}

#[test]
fn every_event_reaches_every_receiver_in_its_own_words() {
    let state = tempfile::tempdir().unwrap();
    let protocols = ["hec", "bulk", "webhook", "syslog-tcp"];
    let listen: Vec<&str> = protocols.iter().flat_map(|protocol| ["--listen", protocol]).collect();
    let receiver = Receiver::start(state.path(), &listen);
    let configured: Vec<String> = protocols.iter().map(|name| destination(name, &receiver, "")).collect();
    let pushed = Pushed::with(&configured.concat());
    // Some were there before anybody forwarded, some come while it is done.
    pushed.push((0..20).map(|number| format!("before-{number}")));
    let mut forwarding = pushed.forwarding();
    pushed.push((0..20).map(|number| format!("after-{number}")));
    let ids = pushed.ids();
    assert_eq!(ids.len(), 40);
    for protocol in protocols {
        receiver.wait_for(protocol, &ids);
        let received = receiver.received(protocol);
        assert_eq!(received["problems"], json!([]), "{protocol}");
    }
    let ocsf = &receiver.bodies("hec")[0]["body"]["event"];
    assert_eq!((&ocsf["class_uid"], &ocsf["metadata"]["version"]), (&json!(3002), &json!("1.8.0")));
    let ecs = &receiver.bodies("bulk")[0]["body"];
    assert_eq!(ecs["event"]["category"], json!(["authentication"]));
    let own = &receiver.bodies("webhook")[0]["body"];
    assert_eq!(own["kind"], json!("login"));

    for protocol in protocols {
        let status = wait_until("a status", PATIENCE, || {
            let status = pushed.status(protocol);
            // What comes while the past is gone over may be sent twice. A lease of two seconds is over now and then where
            // the machine has much to do.
            let is_all = status["sent"].as_u64() >= Some(40) && status["state"] == "delivering";
            if is_all { Ok(status) } else { Err(status.to_string()) }
        });
        assert_eq!(status["behind_events"], json!(0), "{status}");
    }
    forwarding.stop();
    assert_eq!(pushed.status("hec")["state"], json!("stopped"));
    let duplicates = protocols.map(|protocol| receiver.received(protocol)["duplicates"].clone());

    // The next process goes on where the last one was, and sends nothing again.
    let mut forwarding = pushed.forwarding();
    pushed.push(["late".to_owned()]);
    let ids = pushed.ids();
    for (protocol, duplicates) in protocols.into_iter().zip(duplicates) {
        receiver.wait_for(protocol, &ids);
        assert_eq!(receiver.received(protocol)["duplicates"], duplicates, "{protocol}");
    }
    forwarding.stop();
    pushed.collecting.kill();
}

#[test]
fn a_forwarder_that_is_killed_between_sending_and_its_cursor_leaves_no_gap() {
    const KILLS: usize = 6;
    let state = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(state.path(), &["--listen", "hec", "--listen", "webhook"]);
    let configured = ["hec", "webhook"].map(|name| destination(name, &receiver, "")).concat();
    let pushed = Pushed::with(&configured);
    // What was accepted is answered late: that is when it is killed.
    for protocol in ["hec", "webhook"] {
        receiver.fail(&json!({"protocol": protocol, "always": {"stall_seconds": 0.4}}));
    }
    for round in 0..KILLS {
        pushed.push((0..30).map(|number| format!("{round}-{number}")));
        let before = receiver.received("hec")["events"].as_u64().unwrap();
        let forwarding = pushed.forwarding();
        wait_until("something that was sent", PATIENCE, || {
            let there = receiver.received("hec")["events"].as_u64().unwrap();
            if there > before { Ok(()) } else { Err(format!("{there} events are there")) }
        });
        forwarding.kill();
    }
    for protocol in ["hec", "webhook"] {
        receiver.fail(&json!({"protocol": protocol, "always": null}));
    }
    let mut forwarding = pushed.forwarding();
    let ids = pushed.ids();
    assert_eq!(ids.len(), KILLS * 30);
    for protocol in ["hec", "webhook"] {
        receiver.wait_for(protocol, &ids);
    }
    // It was killed at the right moment: something was sent twice.
    let duplicates = receiver.received("hec")["duplicates"].as_u64().unwrap();
    println!("{KILLS} kills, {} events, {duplicates} duplicates over HEC", ids.len());
    assert!(duplicates > 0);
    forwarding.stop();
    pushed.collecting.kill();
}

#[test]
fn what_a_receiver_refuses_waits_for_a_person_and_the_rest_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(state.path(), &["--listen", "hec", "--listen", "bulk"]);
    let configured = ["hec", "bulk"].map(|name| destination(name, &receiver, "")).concat();
    let pushed = Pushed::with(&configured);
    for protocol in ["hec", "bulk"] {
        receiver.fail(&json!({"protocol": protocol, "poison": "poisoned"}));
    }
    pushed.push((0..25).map(|number| format!("u-{number}")).chain(["poisoned".to_owned()]));
    let mut forwarding = pushed.forwarding();
    let poisoned = "teleport/system/poisoned".to_owned();
    let mut good = pushed.ids();
    assert!(good.remove(&poisoned));
    for name in ["hec", "bulk"] {
        receiver.wait_for(name, &good);
        let dead = wait_until("a dead letter", PATIENCE, || {
            let dead: Value =
                serde_json::from_str(&pushed.custody.stdout(["forward", "dlq", "list", name, "--format", "json"]))
                    .unwrap();
            if dead.as_array().unwrap().len() == 1 { Ok(dead) } else { Err(dead.to_string()) }
        });
        assert_eq!((&dead[0]["event_id"], &dead[0]["status"]), (&json!(poisoned), &json!(400)));
        assert_eq!(pushed.status(name)["dead_letters"], json!(1));
    }
    // Once more: still refused. Then the receiver was mended.
    let again = pushed.custody.run(["forward", "dlq", "replay", "hec"]);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    receiver.fail(&json!({"protocol": "hec", "poison": null}));
    let said = pushed.custody.stdout(["forward", "dlq", "replay", "hec"]);
    assert_eq!(said, "1 events were taken, 0 refused again\n");
    assert!(receiver.ids("hec").contains(&poisoned));
    assert_eq!(pushed.status("hec")["dead_letters"], json!(0));
    pushed.custody.stdout(["forward", "dlq", "drop", "bulk", &poisoned, "--why", "a mapping that will not change"]);
    assert_eq!(pushed.status("bulk")["dead_letters"], json!(0));
    assert!(!receiver.ids("bulk").contains(&poisoned));
    forwarding.stop();
    pushed.collecting.kill();
}

#[test]
fn a_destination_is_paused_resumed_and_rewound() {
    let state = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(state.path(), &["--listen", "webhook"]);
    let pushed = Pushed::with(&destination(
        "webhook",
        &receiver,
        "where = \"kind = 'login' AND event_id NOT LIKE '%/not-%'\"\nmask = [\"actor\"]",
    ));
    pushed.push(["not-this".to_owned(), "one".to_owned()]);
    let mut forwarding = pushed.forwarding();
    let wanted = || pushed.ids().into_iter().filter(|id| !id.contains("not-")).collect::<BTreeSet<_>>();
    receiver.wait_for("webhook", &wanted());
    assert_eq!(receiver.bodies("webhook")[0]["body"]["actor"], json!("********"));
    // What was taken and is not written down yet would come once more.
    wait_until("the cursor", PATIENCE, || match pushed.status("webhook")["behind_events"].as_i64() {
        Some(0) => Ok(()),
        behind => Err(format!("{behind:?} are waiting")),
    });

    pushed.custody.stdout(["forward", "pause", "webhook", "--why", "maintenance of the receiver"]);
    pushed.push(["two".to_owned()]);
    let status = wait_until("a pause", PATIENCE, || {
        let status = pushed.status("webhook");
        if status["state"] == json!("paused") && status["behind_events"] == json!(1) {
            Ok(status)
        } else {
            Err(status.to_string())
        }
    });
    assert!(status["why"].as_str().unwrap().ends_with("maintenance of the receiver"));
    assert_eq!(receiver.ids("webhook").len(), 1);
    pushed.custody.stdout(["forward", "resume", "webhook", "--why", "it is back"]);
    receiver.wait_for("webhook", &wanted());
    assert_eq!(pushed.status("webhook")["filtered"], json!(1));

    // Everything once more.
    pushed.custody.stdout(["forward", "rewind", "webhook", "--to", "beginning", "--why", "the index was lost"]);
    wait_until("everything twice", PATIENCE, || {
        let received = receiver.received("webhook");
        if received["duplicates"].as_u64() >= Some(2) { Ok(()) } else { Err(received.to_string()) }
    });
    assert_eq!(receiver.ids("webhook"), wanted());
    let who = pushed.custody.sql("SELECT state FROM forwarding WHERE actor IS NOT NULL ORDER BY step");
    assert_eq!(who, ["paused", "delivering", "delivering"].map(|state| json!({ "state": state })));
    forwarding.stop();
    pushed.collecting.kill();
}

#[test]
fn what_is_found_is_told_once_and_when_it_changes_and_the_heartbeat_is_heard() {
    let state = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(state.path(), &["--listen", "webhook"]);
    let watch =
        "[watch]\nevery_seconds = 0\nheartbeat_seconds = 1\ndays = 3660\nreports = [\"R02\"]\nsilent_hours = 1\n\n";
    let pushed = Pushed::with(&format!("{watch}{}", destination("webhook", &receiver, "")));
    let start = |id: &str, requests: &[&str]| {
        json!({
            "event": "session.start", "code": "T2000I", "uid": format!("{id}-start"), "sid": id,
            "time": "2026-03-02T09:00:00Z", "cluster_name": "root", "user": "mira", "user_kind": 1, "login": "root",
            "server_hostname": "db-1", "proto": "ssh", "access_requests": requests
        })
        .to_string()
    };
    let look = || {
        let said = pushed.custody.stdout(["maintain", "findings"]);
        said.lines().next().expect("a line").to_owned()
    };
    let request = |event: &str, uid: &str, time: &str, more: Value| {
        let mut event = json!({"event": event, "uid": uid, "time": time, "cluster_name": "root", "id": "r2"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event.to_string()
    };
    let create = json!({"user": "mira", "user_kind": 1, "state": "PENDING", "reason": "OPS-7", "roles": ["dba"]});
    let create = request("access_request.create", "r2-create", "2026-03-02T08:00:00Z", create);
    pushed.push_events([start("s1", &[]), start("s2", &["r2"]), create]);
    assert_eq!(look(), "2 findings were raised, 0 changed, 0 are over; 2 are open in all");
    assert_eq!(look(), "0 findings were raised, 0 changed, 0 are over; 2 are open in all");
    let listed = pushed.custody.stdout(["sessions", "--finding", "open", "--format", "ndjson"]);
    assert_eq!(["s1", "s2"].map(|id| listed.contains(&format!("\"session_id\":\"{id}\""))), [true, true], "{listed}");
    let none = pushed.custody.stdout(["sessions", "--finding", "R03", "--format", "ndjson"]);
    assert_eq!(none, "");
    // Somebody says why; and the other was approved before it began, as is heard later.
    pushed.custody.stdout(["exception", "set", "R02", "teleport/s1", "--state", "explained", "--why", "a drill"]);
    let review = json!({"state": "APPROVED", "proposed_state": "APPROVED", "reviewer": "otto"});
    pushed.push_events([request("access_request.review", "r2-review", "2026-03-02T08:30:00Z", review)]);
    assert_eq!(look(), "0 findings were raised, 1 changed, 1 are over; 1 are open in all");
    let found = pushed.custody.sql("SELECT finding, state, handled, told FROM findings ORDER BY finding");
    assert_eq!(
        found,
        [
            json!({"finding": "R02/teleport/s1", "state": "changed", "handled": "explained", "told": 2}),
            json!({"finding": "R02/teleport/s2", "state": "closed", "handled": null, "told": 2}),
        ]
    );

    let mut forwarding = pushed.forwarding();
    let told = |kind: &str| -> Vec<Value> {
        let bodies = receiver.bodies("webhook").into_iter().map(|received| received["body"].clone());
        bodies.filter(|body| body["kind"] == kind).collect()
    };
    let beat = wait_until("a heartbeat", PATIENCE, || told("heartbeat").first().cloned().ok_or_else(String::new));
    assert_eq!(beat["source"], "custody");
    assert!(beat["detail"]["from"].is_string() && beat["detail"]["events"].is_number(), "{beat}");
    let steps = wait_until("the findings", PATIENCE, || {
        let told = told("finding");
        if told.len() == 4 { Ok(told) } else { Err(format!("{} are there", told.len())) }
    });
    let of_s2: Vec<&Value> = steps.iter().filter(|step| step["session_id"] == "s2").collect();
    assert_eq!(of_s2.iter().map(|step| &step["source_type"]).collect::<Vec<_>>(), ["finding.open", "finding.closed"]);
    // What gave access to its session comes with it, as it is known now.
    assert_eq!(of_s2[0]["access"][0]["approvers"], json!(["otto"]));
    forwarding.stop();
    pushed.collecting.kill();
}

#[test]
fn an_outage_is_told_while_it_lasts_and_nothing_is_lost() {
    let state = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(state.path(), &["--listen", "hec", "--listen", "bulk"]);
    let configured = ["hec", "bulk"].map(|name| destination(name, &receiver, "")).concat();
    let pushed = Pushed::with(&configured);
    receiver.fail(&json!({"protocol": "hec", "always": {"status": 503}}));
    let mut forwarding = pushed.forwarding();
    pushed.push((0..10).map(|number| format!("u-{number}")));
    // One that is down does not slow the other.
    receiver.wait_for("bulk", &pushed.ids());
    let status = wait_until("an outage", PATIENCE, || {
        let status = pushed.status("hec");
        if status["state"] == json!("failing") { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!(status["behind_events"], json!(10));
    assert!(status["why"].as_str().unwrap().contains("503"), "{status}");
    assert_eq!(receiver.received("hec")["events"], json!(0));
    receiver.fail(&json!({"protocol": "hec", "always": null}));
    receiver.wait_for("hec", &pushed.ids());
    forwarding.stop();
    pushed.collecting.kill();
}

#[test]
fn a_destination_that_makes_no_sense_is_refused_with_what_to_do() {
    let hec = "kind = \"splunk\"\ntoken = \"t\"\n";
    let cases = [
        ("kind = \"pigeon\"", "unknown variant `pigeon`"),
        ("kind = \"splunk\"\nurl = \"https://splunk.example\"", "missing field `token`"),
        (&format!("{hec}url = \"http://splunk.example:8088\""), "has to be sent to over https"),
        (&format!("{hec}url = \"https://10.0.0.7:8088\""), "private = true allows it"),
        (&format!("{hec}url = \"https://user:word@splunk.example\""), "must not have a user or a password in it"),
        (&format!("{hec}url = \"https://splunk.example\"\nkinds = [\"session.begin\"]"), "there is no kind"),
        (&format!("{hec}url = \"https://splunk.example\"\nmask = [\"event_id\"]"), "cannot be masked"),
        (&format!("{hec}url = \"https://splunk.example\"\nschema = \"cef\""), "lines of syslog"),
        (&format!("{hec}url = \"https://splunk.example\"\nbatch = 5"), "unknown field `batch`"),
        (&format!("{hec}url = \"https://splunk.example\"\nstart = \"yesterday\""), "neither now, beginning nor a time"),
        (&format!("{hec}url = \"https://splunk.example\"\nwhere = \"kind =\""), "where: "),
        (&format!("{hec}url = \"https://splunk.example\"\nwhere = \"actor\""), "is no condition"),
        (&format!("{hec}url = \"https://splunk.example\"\nwhere = \"colour = 'red'\""), "colour"),
        ("kind = \"syslog\"\nhost = \"siem.example\"\ntransport = \"tcp\"", "is not encrypted"),
        (
            "kind = \"splunk\"\ntoken = { env = \"NO_SUCH_VARIABLE\" }\nurl = \"https://splunk.example\"",
            "NO_SUCH_VARIABLE",
        ),
    ];
    for (written, expected) in cases {
        let custody = Custody::at("", &[]).section(&format!("[[forward]]\nname = \"siem\"\n{written}\n"));
        let output = custody.run(["forward", "run"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{written}: {said}");
        assert!(said.contains(expected), "{written}: {said}");
        assert!(!said.contains("word@"), "{said}");
    }
}
