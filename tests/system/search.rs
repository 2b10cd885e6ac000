//! Text that was on a screen is found across sessions, with who was there and why, and the command that lands there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::custody::{Custody, PATIENCE, Producer, Topic, stderr, wait_until};
use crate::support::kafka::Broker;

/// Sends the events and the stream of a session: `prints` as (milliseconds, output).
fn session(producer: &Producer, topic: &Topic, id: &str, user: &str, requests: &[&str], prints: &[(i64, &str)]) -> u64 {
    let at = |ms: i64| format!("2026-03-02T08:00:{:02}.{:03}Z", 5 + ms / 1000, ms % 1000);
    let event = |name: &str, ms: i64, ei: usize| {
        json!({ "event": name, "uid": format!("{id}-{ei}"), "ei": ei, "time": at(ms), "cluster_name": "gate", "sid": id,
                "user": user, "login": "ops", "server_hostname": "db-1", "size": "80:24", "proto": "ssh",
                "access_requests": requests })
    };
    let mut lines = vec![event("session.start", 0, 0)];
    let mut offset = 0;
    for (number, (ms, text)) in prints.iter().enumerate() {
        lines.push(
            json!({ "event": "print", "time": at(*ms), "ei": number + 1, "ci": number, "ms": ms, "offset": offset,
            "bytes": text.len(), "data": BASE64.encode(text) }),
        );
        offset += text.len();
    }
    lines.push(event("session.end", prints.last().map_or(0, |(ms, _)| *ms), prints.len() + 1));
    for line in &lines {
        producer.keyed(topic, id, line.to_string());
    }
    lines.len() as u64
}

const TYPED: &str = "5e000000-0000-4000-8000-0000000000a1";
const EDITED: &str = "5e000000-0000-4000-8000-0000000000a2";

/// Two sessions: one under a request that was approved, in which somebody types with edits; one that nobody approved,
/// in which a file is shown in an editor.
fn send_sessions(producer: &Producer, topic: &Topic) -> u64 {
    let asked = [
        json!({"event": "access_request.create", "uid": "c1", "cluster_name": "gate", "id": "r-1", "user": "mira@example.net",
            "time": "2026-03-02T07:59:10Z", "state": "PENDING", "reason": "INC-7 slow queries", "roles": ["db"]}),
        json!({"event": "access_request.review", "uid": "v1", "cluster_name": "gate", "id": "r-1",
            "time": "2026-03-02T07:59:20Z", "reviewer": "lead@example.net", "proposed_state": "APPROVED",
            "state": "APPROVED"}),
    ];
    for event in &asked {
        producer.keyed(topic, "audit", event.to_string());
    }
    let typed = [
        (0, "ops@db-1:~$ "),
        (700, "psqk"),
        (900, "\x08 \x08l"),
        (1500, " -c 'DROP \x1b[1mTABLE"),
        (1600, "\x1b[0m payments'"),
        (2000, "\r\nDROP TABLE\r\nops@db-1:~$ "),
        (9000, "exit\r\n"),
    ];
    let edited = [
        (0, "$ vim notes\r\n"),
        (500, "\x1b[?1049h\x1b[2J\x1b[Hfirst line\r\nthe api key is k-123\r\nlast line"),
        (4000, "\x1b[?1049l$ "),
    ];
    2 + session(producer, topic, TYPED, "mira@example.net", &["r-1"], &typed)
        + session(producer, topic, EDITED, "noor@example.net", &[], &edited)
}

fn hits(custody: &Custody, args: &[&str]) -> Vec<Value> {
    let all = [&["search", "--format", "ndjson"], args].concat();
    let output = custody.run(all);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn in_sessions(hits: &[Value]) -> Vec<&str> {
    hits.iter().map(|hit| hit["session_id"].as_str().unwrap()).collect()
}

#[test]
fn text_on_a_screen_is_found_with_who_was_there_and_why() {
    let test = "text_on_a_screen_is_found_with_who_was_there_and_why";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topic = Topic::create(broker, "teleport", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let producer = Producer::to(broker);
    let count = send_sessions(&producer, &topic);
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(count, &mut ingest);
    ingest.stop();

    // Before it was looked through nothing is found, and that is said.
    let early = custody.run(["search", "payments"]);
    assert!(
        early.stdout.is_empty() && stderr(&early).contains("2 recordings were not looked through"),
        "{}",
        stderr(&early)
    );
    let of_one = custody.run(["search", "payments", "--session", TYPED]);
    assert!(stderr(&of_one).contains("1 recordings were not looked through"), "{}", stderr(&of_one));
    let looked = custody.stdout(["maintain", "index"]);
    assert!(looked.starts_with("2 recordings"), "{looked}");
    let again = custody.stdout(["maintain", "index"]);
    assert!(again.starts_with("0 recordings"), "what was looked through is not looked through again: {again}");

    // Typed with an edit, in several pieces, with colours inside.
    let typed = hits(&custody, &["psql -c 'drop table payments"]);
    assert_eq!(in_sessions(&typed), [TYPED]);
    let hit = &typed[0];
    let known = ["actor", "target", "reason", "link_method", "text", "replay"].map(|name| hit[name].as_str().unwrap());
    let command = "ops@db-1:~$ psql -c 'DROP TABLE payments'";
    let replay = format!("custody replay {TYPED} --at 00:01.600");
    assert_eq!(known, ["mira@example.net", "db-1", "INC-7 slow queries", "explicit", command, &replay]);
    assert_eq!((&hit["approvers"], &hit["after"]), (&json!(["lead@example.net"]), &json!("DROP TABLE")));
    assert_eq!(hit["shown_at"], "2026-03-02T08:00:06.600000Z", "from when it read like this");

    // In an editor, with what stood around it; nobody is known to have said yes.
    let edited = hits(&custody, &["--regex", "k-[0-9]{3}$"]);
    assert_eq!(in_sessions(&edited), [EDITED]);
    let around = ["before", "text", "after"].map(|name| edited[0][name].as_str().unwrap());
    assert_eq!(around, ["first line", "the api key is k-123", "last line"]);
    assert_eq!((&edited[0]["alternate"], &edited[0]["from_us"]), (&json!(true), &json!(500_000)));
    assert_eq!(edited[0]["approvers"], json!([]));

    // A capital letter makes capitals count; each filter narrows.
    let cases: &[(&[&str], usize)] = &[
        (&["drop table"], 2),
        (&["DROP TABLE"], 2),
        (&["Drop Table"], 0),
        (&["line", "--user", "noor@example.net"], 2),
        (&["line", "--user", "mira@example.net"], 0),
        (&["line", "--target", "db-1"], 2),
        (&["line", "--target", "db-2"], 0),
        (&["line", "--gateway", "teleport"], 2),
        (&["line", "--gateway", "gate"], 2),
        (&["line", "--gateway", "hoop"], 0),
        (&["line", "--session", TYPED], 0),
        (&["line", "--session", EDITED], 2),
        (&["line", "--from", "2026-03-02T08:00:05.5Z", "--to", "2026-03-02T08:00:06Z"], 2),
        (&["line", "--from", "2026-03-02T08:00:05.501Z"], 0),
        (&["line", "--to", "2026-03-02T08:00:05.5Z"], 0),
        (&["line", "--limit", "1"], 1),
        (&["100%_"], 0),
        (&["ops@db-1:~$ psql"], 1),
        (&["\\d"], 0),
        (&["--regex", r"k-\d+$"], 1),
        (&["--regex", r"ops@db-1:~\$ exit"], 1),
        (&["--regex", r"DROP\ TABLE"], 2),
        (&["--regex", "(?i)drop table"], 2),
    ];
    for (args, count) in cases {
        assert_eq!(hits(&custody, args).len(), *count, "{args:?}");
    }
    let cut = custody.run(["search", "line", "--limit", "1"]);
    assert!(stderr(&cut).contains("cut off at 1 hits"), "{}", stderr(&cut));
    for args in [&["search", "--regex", "("][..], &["search", ""], &["search"], &["search", "a", "--regex", "b"]] {
        assert_eq!(custody.run(args).status.code(), Some(2), "{args:?}");
    }

    // For people.
    let printed = custody.stdout(["search", "api key"]);
    let expected = format!("{EDITED}  noor@example.net on db-1\n  nobody said yes, no reason\n  00:00.500  ");
    assert!(printed.starts_with(&expected) && printed.contains("\n    > the api key is k-123\n"), "{printed}");

    // The same in SQL.
    let sql = "SELECT text, exit_status, found_by FROM commands ORDER BY given_at, text";
    let commands = custody.stdout(["sql", "--format", "ndjson", sql]);
    let commands: Vec<Value> = commands.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<_> = commands.iter().map(|command| command["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["psql -c 'DROP TABLE payments'", "exit"]);
    let asked = custody.value("SELECT count(*) AS n FROM custody_activity WHERE verb = 'search'");
    assert!(asked.as_u64().unwrap() > 20, "who searched is written down: {asked}");

    // What is not there is told with what is like it.
    let unknown = custody.run(["show", &TYPED.replace("a1", "b1")]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains(TYPED), "{}", stderr(&unknown));
}

#[test]
fn recordings_are_looked_through_as_they_end_and_found_over_http() {
    let test = "recordings_are_looked_through_as_they_end_and_found_over_http";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topic = Topic::create(broker, "teleport", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let producer = Producer::to(broker);
    send_sessions(&producer, &topic);
    producer.flush();
    let (mut up, client) = custody.up();
    let search = |body: Value| -> Vec<Value> {
        let answer = client.post_json("/api/v1/search", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    wait_until("what was typed to be found", PATIENCE, || {
        let lines = search(json!({ "text": "payments" }));
        let end = &lines.last().unwrap()["end"];
        if end["hits"] == 1 && end["recordings_not_indexed"] == 0 { Ok(()) } else { Err(format!("{lines:?}")) }
    });
    let lines = search(json!({ "regex": "k-[0-9]+", "user": "noor@example.net" }));
    assert_eq!(lines[0]["hit"]["session_id"], EDITED);
    let end = &lines.last().unwrap()["end"];
    assert_eq!((&end["hits"], &end["cut"], &end["recordings_not_indexed"]), (&json!(1), &json!(false), &json!(0)));
    for body in
        [json!({}), json!({ "text": "a", "regex": "b" }), json!({ "regex": "(" }), json!({ "text": "a", "limit": 0 })]
    {
        assert_eq!(client.post_json("/api/v1/search", &body).status, 400, "{body}");
    }
    let unknown = client.get(&format!("/api/v1/sessions/{}", TYPED.replace("a1", "b1")));
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains(TYPED), "{}", unknown.text());
    up.stop();
}
