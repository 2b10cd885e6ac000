//! Facts in any order give the same answer: who was in there, why, and who said yes.

use serde_json::{Value, json};

use crate::support::custody::{Custody, PATIENCE, Producer, Random, Topic, fixture, wait_until};
use crate::support::kafka::Broker;

const PARTITIONS: i32 = 3;

/// Everything that the views say of sessions and what gave access to them. No column of these depends on when or where
/// a fact came in.
const ANSWERS: [&str; 4] = [
    "SELECT * FROM session_access ORDER BY session_id, link_method, request_id, decision_id",
    "SELECT * FROM sessions ORDER BY session_id",
    "SELECT * FROM access_requests ORDER BY request_id",
    "SELECT * FROM reviews ORDER BY request_id, at, reviewer",
];

/// Asks once the lines have gone through Kafka in this order, over all partitions.
fn answers(broker: &Broker, lines: &[&str]) -> Vec<Vec<Value>> {
    let teleport = Topic::create(broker, "teleport", PARTITIONS);
    let opa = Topic::create(broker, "opa", PARTITIONS);
    // Files are sorted: only facts in different commits are seen in the order in which they came.
    let custody = Custody::on(broker, &[teleport.clone(), opa.clone()]).flush(1, 1000);
    let producer = Producer::to(broker);
    for (line, partition) in lines.iter().zip((0..PARTITIONS).cycle()) {
        let topic = if line.contains("decision_id") { &opa } else { &teleport };
        producer.value(topic, partition, *line);
        // Line by line: each is in Kafka before the next is sent.
        producer.flush();
    }
    let mut ingest = custody.ingest();
    custody.wait_for_records(lines.len() as u64, &mut ingest);
    ingest.stop();
    let commits = std::fs::read_dir(custody.data().join("records/_delta_log")).unwrap().count();
    assert!(commits > lines.len(), "{commits} commits for {} facts", lines.len());
    ANSWERS.map(|question| custody.sql(question)).into()
}

/// The answers, which have to be the same in file order, reversed and shuffled.
fn answers_in_any_order(test: &str, broker: &Broker, text: &str) -> Vec<Vec<Value>> {
    let mut lines: Vec<&str> = text.lines().collect();
    let expected = answers(broker, &lines);
    lines.reverse();
    assert_eq!(answers(broker, &lines), expected, "reversed");
    Random::new(test).shuffle(&mut lines);
    assert_eq!(answers(broker, &lines), expected, "shuffled: {lines:#?}");
    expected
}

fn picked(rows: &[Value], columns: &[&str]) -> Vec<Value> {
    rows.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect()
}

#[test]
fn session_access_is_the_same_in_any_order_of_arrival() {
    let test = "session_access_is_the_same_in_any_order_of_arrival";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let answers = answers_in_any_order(test, broker, include_str!("../data/correlation.ndjson"));

    let session = |n: u8| format!("5e000000-0000-4000-8000-00000000000{n}");
    let request = |n: u8| format!("f0000000-0000-4000-8000-00000000000{n}");
    let decision = "d0000000-0000-4000-8000-000000000001";
    let (stuck, both) = ("OPS-2210 stuck import", json!(["otto@example.net", "petra@example.net"]));
    let columns = [
        "session_id",
        "link_method",
        "request_id",
        "decision_id",
        "reason",
        "approvers",
        "approved_before_start",
        "ended_within_window",
    ];
    let expected = [
        // Two reviewers; the end was delivered twice.
        json!([session(1), "explicit", request(1), null, stuck, both, true, true]),
        // Two requests in one session, one approved by a plugin on behalf of a person, and over before the session.
        json!([session(2), "explicit", request(1), null, stuck, both, true, true]),
        json!([session(2), "explicit", request(2), null, "on-call", ["petra@example.net"], true, false]),
        // Approved by an administrator after it began; it still runs.
        json!([session(3), "explicit", request(3), null, "CHG-9 rotate keys", ["otto@example.net"], false, null]),
        // No id: the access of the same person covers it.
        json!([session(4), "inferred", request(5), null, "look at the queue", ["petra@example.net"], true, true]),
        // No id, no access any more: the same person named the same ticket.
        json!([session(5), "ticket", request(1), null, stuck, both, true, false]),
        json!([session(6), "policy", null, decision, "incident", ["gate/allow_session@access=r41"], true, null]),
        // A denial is nothing that lets anybody in.
        json!([session(7), "none", null, null, null, null, null, null]),
    ];
    assert_eq!(picked(&answers[0], &columns), expected);

    let states: Vec<Value> = picked(&answers[2], &["request_id", "state", "approval_method", "expired"]);
    let expected_states = [
        json!([request(1), "APPROVED", "review", false]),
        json!([request(2), "APPROVED", "update", false]),
        json!([request(3), "APPROVED", "update", false]),
        json!([request(4), "DENIED", null, false]),
        json!([request(5), "APPROVED", "review", true]),
    ];
    assert_eq!(states, expected_states);
    assert_eq!(answers[3].len(), 6, "{:#?}", answers[3]);
}

#[test]
fn the_shared_scenario_is_answered_in_any_order_of_arrival() {
    let test = "the_shared_scenario_is_answered_in_any_order_of_arrival";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let Some(file) = fixture(test, "teleport/derived/correlation-scenario.SYNTHETIC.ndjson") else { return };
    let answers = answers_in_any_order(test, broker, &std::fs::read_to_string(file).unwrap());
    let columns = [
        "session_id",
        "link_method",
        "request_id",
        "reason",
        "approvers",
        "approved_before_start",
        "ended_within_window",
    ];
    let expected = [json!([
        "20000000-0000-4000-8000-000000000001",
        "explicit",
        "01973000-aaaa-7000-8000-000000000aaa",
        "INC-4711 restore replica",
        ["bob@example.com", "carol@example.com"],
        true,
        true
    ])];
    assert_eq!(picked(&answers[0], &columns), expected);
    let plugin = picked(&answers[2], &["approvers", "state", "approval_method", "expired"]);
    assert_eq!(plugin[1], json!([["erin@example.com"], "APPROVED", "update", true]));
}

/// The answer is there while facts still come, and each makes it a little better.
#[test]
fn a_late_approval_completes_a_session_that_was_shown_before() {
    let test = "a_late_approval_completes_a_session_that_was_shown_before";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topic = Topic::create(broker, "teleport", PARTITIONS);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let producer = Producer::to(broker);
    let lines: Vec<&str> = include_str!("../data/correlation.ndjson").lines().collect();
    let of = |event: &str| *lines.iter().find(|line| line.contains(event)).unwrap();
    let (mut ingest, client) = custody.up();
    let stages = [
        ("session.start", json!([null, null])),
        ("access_request.create", json!(["OPS-2210 stuck import", null])),
        (
            "\"proposed_state\":\"APPROVED\",\"reviewer\":\"petra",
            json!(["OPS-2210 stuck import", ["petra@example.net"]]),
        ),
        ("\"reviewer\":\"otto", json!(["OPS-2210 stuck import", ["otto@example.net", "petra@example.net"]])),
    ];
    for ((event, expected), partition) in stages.into_iter().zip((0..PARTITIONS).cycle()) {
        producer.value(&topic, partition, of(event));
        producer.flush();
        let question = json!({ "sql": "SELECT reason, approvers FROM session_access WHERE link_method = 'explicit'" });
        wait_until(&format!("{expected}"), PATIENCE, || {
            ingest.assert_runs();
            let answer = client.post_json("/api/v1/sql", &question);
            let found = if answer.status == 200 {
                picked(answer.json().as_array().unwrap(), &["reason", "approvers"])
            } else {
                Vec::new()
            };
            if found == [expected.clone()] { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
    ingest.stop();
}
