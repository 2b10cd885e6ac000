//! Forwarding to what others have made: OpenSearch, Apache Kafka read by kcat, and the published schema of OCSF.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::cli::demo;
use crate::forward::Pushed;
use crate::support::custody::{Custody, PATIENCE, say, skip, stderr, wait_until};
use crate::support::kafka::{Broker, unique};
use crate::support::opensearch::OpenSearch;

/// The shipped template with what OpenSearch calls otherwise, as docs/FORWARDING.md says.
fn template() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/elasticsearch/custody-index-template.json");
    let mut template: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    fn rename(value: &mut Value) {
        match value {
            Value::Object(members) => {
                if members.get("type") == Some(&json!("flattened")) {
                    *members = json!({"type": "flat_object"}).as_object().unwrap().clone();
                }
                members.values_mut().for_each(rename);
            }
            Value::Array(values) => values.iter_mut().for_each(rename),
            _ => {}
        }
    }
    rename(&mut template);
    template.to_string()
}

#[test]
fn opensearch_has_every_event_once_whatever_is_killed_and_sent_again() {
    const TEST: &str = "opensearch_has_every_event_once_whatever_is_killed_and_sent_again";
    let Some(search) = OpenSearch::start_or_skip(TEST) else { return };
    search.ask("PUT", "/_index_template/custody", &template());
    let destination = format!(
        "[[forward]]\nname = \"search\"\nkind = \"elasticsearch\"\nurl = \"http://127.0.0.1:{}\"\nprivate = true\n\
         start = \"beginning\"\ntakeover_seconds = 1\n",
        search.port
    );
    let pushed = Pushed::with(&destination);
    let request = |event: &str, uid: &str, more: Value| {
        let mut event = json!({
            "event": event, "uid": uid, "time": "2026-03-02T08:00:00Z", "cluster_name": "root", "id": "r1"
        });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event.to_string()
    };
    pushed.push_events([
        request("access_request.create", "r1-create", json!({"user": "mira", "state": "PENDING", "reason": "OPS-7"})),
        request(
            "access_request.review",
            "r1-review",
            json!({"state": "APPROVED", "proposed_state": "APPROVED", "reviewer": "otto"}),
        ),
        json!({
            "event": "session.start", "code": "T2000I", "uid": "s1-start", "sid": "s1", "time": "2026-03-02T09:00:00Z",
            "cluster_name": "root", "user": "mira", "user_kind": 1, "login": "root", "server_hostname": "db-1",
            "proto": "ssh", "access_requests": ["r1"], "addr.remote": "203.0.113.9:4000"
        })
        .to_string(),
    ]);
    pushed.push((0..100).map(|number| format!("before-{number}")));
    let count = || search.count("logs-custody.*");
    let forwarding = pushed.forwarding();
    wait_until("some events", PATIENCE, || match count() {
        0 => Err(String::new()),
        some => Ok(some),
    });
    forwarding.kill();
    pushed.push((0..100).map(|number| format!("after-{number}")));
    let mut forwarding = pushed.forwarding();
    let all = pushed.ids().len() as u64;
    let wait = || {
        wait_until("every event", PATIENCE, || match (count(), pushed.status("search")["behind_events"].as_i64()) {
            (there, Some(0)) if there == all => Ok(()),
            (there, behind) => Err(format!("{there} of {all} are there, {behind:?} are waiting")),
        });
    };
    wait();
    // Everything once more: what is there already is taken.
    pushed.custody.stdout(["forward", "rewind", "search", "--to", "beginning", "--why", "is anything missing?"]);
    let sent = pushed.status("search")["sent"].as_u64().unwrap();
    wait_until("everything twice", PATIENCE, || match pushed.status("search")["sent"].as_u64() {
        Some(now) if now >= sent + all => Ok(()),
        now => Err(format!("{now:?} after {sent}")),
    });
    wait();
    assert_eq!(pushed.status("search")["dead_letters"], json!(0));
    // It is found by who said yes to it.
    let found =
        search.ask("GET", "/logs-custody.*/_search?q=custody.access.approvers:otto%20AND%20event.type:start", "");
    assert_eq!(found["hits"]["total"]["value"], json!(1), "{found}");
    assert_eq!(found["hits"]["hits"][0]["_source"]["user"]["name"], json!("mira"));
    say(&format!("{TEST}: {all} events, each one document, after a kill and going back to the beginning"));
    forwarding.stop();
    pushed.collecting.kill();
}

#[test]
fn kcat_reads_what_is_forwarded_to_a_real_kafka() {
    const TEST: &str = "kcat_reads_what_is_forwarded_to_a_real_kafka";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let topic = unique("siem");
    broker.create_topic(&topic, 3).unwrap();
    let pushed = Pushed::with(&format!(
        "[[forward]]\nname = \"lake\"\nkind = \"kafka\"\nbrokers = {:?}\ntopic = {topic:?}\n\
         start = \"beginning\"\ntakeover_seconds = 1\noptions = {{ \"security.protocol\" = \"plaintext\" }}\n",
        broker.bootstrap()
    ));
    pushed.push((0..50).map(|number| format!("before-{number}")));
    let forwarding = pushed.forwarding();
    wait_until("some events", PATIENCE, || {
        let status = pushed.status("lake");
        if status["sent"].as_u64() > Some(0) { Ok(()) } else { Err(status.to_string()) }
    });
    forwarding.kill();
    pushed.push((0..50).map(|number| format!("after-{number}")));
    let mut forwarding = pushed.forwarding();
    wait_until("all of them", PATIENCE, || match pushed.status("lake")["behind_events"].as_i64() {
        Some(0) => Ok(()),
        behind => Err(format!("{behind:?}")),
    });
    forwarding.stop();
    let ids = pushed.ids();
    pushed.collecting.kill();
    let output = Command::new("kcat")
        .args(["-C", "-q", "-e", "-J", "-o", "beginning", "-b", &broker.bootstrap(), "-t", &topic])
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return skip(TEST, &format!("no kcat: {error}")),
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let mut seen = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let event: Value = serde_json::from_str(record["payload"].as_str().unwrap()).unwrap();
        let headers = record["headers"].as_array().unwrap();
        let header = |name: &str| {
            let at = headers.iter().position(|header| header == name);
            at.map(|at| headers[at + 1].clone())
        };
        assert_eq!(header("event_id").as_ref(), Some(&event["event_id"]));
        seen.insert(event["event_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen, ids);
}

#[test]
fn what_the_demo_tells_is_ocsf_by_the_published_schema() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("ledger");
    // Others read the demo's ledger, and forwarding writes into it.
    let copied = Command::new("cp").arg("-r").arg(demo()).arg(&data).status().unwrap();
    assert!(copied.success());
    let events = folder.path().join("events");
    std::fs::create_dir(&events).unwrap();
    let custody = Custody::existing(&data).section(&format!(
        "[watch]\nevery_seconds = 0\nheartbeat_seconds = 0\ndays = 3660\nsilent_hours = 1\n\n\
         [[forward]]\nname = \"files\"\nkind = \"files\"\nto = {:?}\nschema = \"ocsf\"\nstart = \"beginning\"\n",
        events.display().to_string()
    ));
    let said = custody.stdout(["maintain", "findings"]);
    assert!(!said.starts_with("0 findings"), "{said}");
    let mut forwarding = custody.start(None, &["forward", "run"]);
    wait_until("everything to be sent", PATIENCE, || {
        let status: Value = serde_json::from_str(&custody.stdout(["forward", "status", "--format", "json"])).unwrap();
        match (status[0]["behind_events"].as_i64(), status[0]["sent"].as_i64()) {
            (Some(0), Some(1..)) => Ok(()),
            _ => Err(status.to_string()),
        }
    });
    forwarding.stop();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/open/ocsf_validate.py");
    let mut check = Command::new("python3");
    check.args(["-B", script]);
    for entry in std::fs::read_dir(&events).unwrap() {
        let day = entry.unwrap().path();
        check.args(std::fs::read_dir(day).unwrap().map(|file| file.unwrap().path()));
    }
    let output = check.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", stderr(&output));
    assert!(told.contains("2003") && told.contains("2004"), "findings are among them: {told}");
    say(&format!("what_the_demo_tells_is_ocsf_by_the_published_schema:\n{told}"));
}
