use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::source::SourceKind;
use crate::source::testing::{Decoded, check_example, decoded, example, fixture, mutated};

fn hoop(value: impl AsRef<[u8]>) -> Decoded {
    decoded(SourceKind::Hoop, value)
}

fn read(path: &str) -> Option<Value> {
    Some(serde_json::from_slice(&fixture(&format!("hoop/{path}"))?).expect("JSON"))
}

/// What a session of the fixtures gives.
fn session(name: &str) -> Option<Decoded> {
    Some(hoop(fixture(&format!("hoop/sessions/synthetic-{name}.json"))?))
}

/// The events of a source type.
fn of_type<'e>(out: &'e Decoded, source_type: &str) -> Vec<&'e Value> {
    out.events.iter().filter(|event| event["source_type"] == source_type).collect()
}

/// The only event of a source type.
fn only<'e>(out: &'e Decoded, source_type: &str) -> &'e Value {
    let found = of_type(out, source_type);
    assert_eq!(found.len(), 1, "{source_type}");
    found[0]
}

fn source_types(out: &Decoded) -> Vec<&str> {
    out.events.iter().map(|event| event["source_type"].as_str().unwrap()).collect()
}

fn check(name: &str, event: &Value, expected: &Value) {
    for (column, value) in expected.as_object().unwrap() {
        assert_eq!(&event[column], value, "{name}: {column} of {event}");
    }
}

#[test]
fn the_contracts_examples_are_decoded_as_it_says() {
    check_example(SourceKind::Hoop, "hoop-sessions.ndjson", None);
    check_example(SourceKind::Hoop, "hoop-notices.ndjson", None);
}

#[test]
fn a_reviewed_session_tells_who_why_who_agreed_and_what_was_on_the_screen() {
    let Some(out) = session("jit-first-session") else { return };
    assert_eq!((out.error, out.events.len()), (None, 6), "{}", out.error_detail);
    check(
        "start",
        only(&out, "session.start"),
        &json!({
            "event_id": "hoop/37eebc20-d8df-416b-8ac2-01b6eb456318/9f9745b4-c77b-4d52-84d3-e24f67e3623c/start",
            "cluster": "37eebc20-d8df-416b-8ac2-01b6eb456318",
            "kind": "session.start", "actor": "alice@example.com", "actor_kind": "human", "target": "prod-bash",
            "target_kind": "target", "protocol": "bash", "occurred_at": "2025-12-01T09:55:02.000000Z",
            "request_ids": ["9f0a6c1e-6f45-4f4c-8a9c-6c8f1f3f0b1a"], "recorded": true, "reason": null,
            "correlation_id": "6b3f1f0e-2f0a-4a53-9d0e-8c2b7a1d4e55"
        }),
    );
    check(
        "metadata",
        only(&out, "session.metadata"),
        &json!({"reason": "INC-78901", "ticket": "INC-78901", "kind": "session.activity", "occurred_at": null}),
    );
    check(
        "creation",
        only(&out, "review.create"),
        &json!({
            "actor": "alice@example.com", "target": "prod-bash", "occurred_at": "2025-12-01T09:55:02.000000Z",
            "request_state": "PENDING", "reason": "INC-78901", "ticket": "INC-78901", "action": "jit",
            "request_ids": ["9f0a6c1e-6f45-4f4c-8a9c-6c8f1f3f0b1a"], "kind": "request.create"
        }),
    );
    check(
        "vote",
        only(&out, "review.vote"),
        &json!({
            "actor": "carol@example.com", "proposed_state": "APPROVED", "request_state": "APPROVED",
            "occurred_at": "2025-12-01T09:58:40.000000Z", "expires_at": "2025-12-01T10:58:40.000000Z",
            "target": "prod-bash", "kind": "request.review"
        }),
    );
    check(
        "end",
        only(&out, "session.end"),
        &json!({
            "outcome": "success", "session_started_at": "2025-12-01T09:55:02.000000Z",
            "session_ended_at": "2025-12-01T10:07:10.000000Z", "detail": {"exit_code": 0}
        }),
    );
    let state = &only(&out, "session.state")["detail"];
    assert_eq!(state["review"]["access_request_rule_name"], "prod-bash");
    assert!(state.get("event_stream").is_none() && state.get("user").is_none());

    assert_eq!(out.output, "ops\nINC-78901: caf\u{e9} done\r\n".bytes().chain(*b"\xff\xfe\n").collect::<Vec<_>>());
    let codes: String = out.pieces.iter().map(|piece| piece["code"].as_str().unwrap()).collect();
    assert_eq!(codes, "ioioooe");
    check(
        "first output",
        &out.pieces[1],
        &json!({"seq": 1, "time_us": 402_000, "at": "2025-12-01T09:55:02.402000Z", "clock": "since_start"}),
    );
    assert_eq!(out.pieces[6]["time_us"], 728_000_000);
}

#[test]
fn what_changes_between_two_polls_is_told_beside_what_was_told_before() {
    let Some(done) = read("sessions/synthetic-jit-first-session.json") else { return };
    let mut polls = vec![done.clone(); 5];
    let asked = json!({"status": "PENDING", "group": "PENDING"});
    polls[0]["status"] = json!("open");
    polls[0]["review"]["status"] = asked["status"].clone();
    polls[0]["review"]["revoke_at"] = Value::Null;
    polls[0]["review"]["review_groups_data"][0] = json!({"id": "d1f0b6a8-6b7d-4d6a-9a8d-2b7b1c7d9e11", "group": "sre-lead", "status": "PENDING",
            "reviewed_by": null, "review_date": null, "forced_review": false});
    for poll in &mut polls[..2] {
        poll["end_date"] = Value::Null;
        poll["exit_code"] = Value::Null;
        poll["event_stream"] = json!([]);
    }
    polls[1]["status"] = json!("open");
    polls[3]["metadata"]["reason"] = json!("routine");
    polls[4]["script"] = Value::Null;
    polls[4]["event_stream"] = Value::Null;
    polls[4]["review"]["status"] = json!("REVOKED");
    polls[4]["review"]["review_groups_data"][0] = json!({"id": "d1f0b6a8-6b7d-4d6a-9a8d-2b7b1c7d9e11", "group": "sre-lead", "status": "REVOKED",
            "reviewed_by": {"id": "x", "name": "Dan", "email": ""}, "review_date": "2025-12-01T10:20:00Z"});

    let outs: Vec<Decoded> = polls.iter().map(|poll| hoop(poll.to_string())).collect();
    assert_eq!(source_types(&outs[0]), ["review.create", "session.state"], "nothing has begun");
    assert_eq!(outs[1].pieces.len(), 0);
    assert_eq!(of_type(&outs[1], "session.end").len(), 0);

    // Whatever was polled, and in whatever order: one id, one content.
    let all: Vec<&Value> = outs.iter().flat_map(|out| &out.events).collect();
    let ids: BTreeSet<&str> = all.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    let facts: BTreeSet<String> = all.iter().map(|event| event.to_string()).collect();
    assert_eq!(ids.len(), facts.len());

    let reasons: Vec<&Value> =
        outs.iter().flat_map(|out| of_type(out, "session.metadata")).map(|event| &event["reason"]).collect();
    assert_eq!(reasons, ["INC-78901", "INC-78901", "routine", "INC-78901"]);
    let revoked = only(&outs[4], "review.revoked");
    check(
        "revocation",
        revoked,
        &json!({"kind": "request.update", "request_state": "REVOKED", "actor": "Dan",
            "occurred_at": "2025-12-01T10:20:00.000000Z", "proposed_state": null}),
    );
    assert_eq!(of_type(&outs[4], "review.vote").len(), 0, "the source has forgotten the approval");
}

#[test]
fn sessions_without_a_review_of_their_own_say_what_they_can() {
    let Some(later) = session("jit-later-session-without-review") else { return };
    check("later", only(&later, "session.start"), &json!({"actor": "alice@example.com", "request_ids": null}));
    assert_eq!(of_type(&later, "session.metadata").len(), 0);

    let credential = session("credential-session").expect("its neighbour");
    check(
        "credential",
        only(&credential, "session.metadata"),
        &json!({"request_ids": ["session:9f9745b4-c77b-4d52-84d3-e24f67e3623c"]}),
    );
    check(
        "credential",
        only(&credential, "session.start"),
        &json!({"target_kind": "database", "protocol": "postgres"}),
    );
    check(
        "query",
        only(&credential, "session.query"),
        &json!({"action": "select 1", "actor": "alice@example.com", "target": "prod-pg",
            "occurred_at": "2025-12-01T10:33:01.200000Z"}),
    );
    assert_eq!(credential.pieces[0]["code"], "i");
}

#[test]
fn a_refused_session_never_began() {
    let Some(out) = session("onetime-rejected") else { return };
    assert_eq!(
        source_types(&out),
        ["session.submitted", "review.create", "review.vote", "session.rejected", "session.state"]
    );
    check("input", only(&out, "session.submitted"), &json!({"action": "TRUNCATE TABLE customers", "kind": "other"}));
    check("creation", only(&out, "review.create"), &json!({"ticket": "OPS-41", "action": "onetime"}));
    check(
        "vote",
        only(&out, "review.vote"),
        &json!({"proposed_state": "DENIED", "request_state": "DENIED", "reason": "not authorized for production",
            "expires_at": null, "actor": "carol@example.com"}),
    );
    check(
        "refusal",
        only(&out, "session.rejected"),
        &json!({"kind": "session.rejected", "outcome": "deny", "occurred_at": "2025-12-01T09:58:40.000000Z"}),
    );
    assert_eq!(only(&out, "session.state")["detail"]["user_name"], "Alice Example", "nothing is left out");
}

#[test]
fn recordings_that_are_lost_cut_or_in_another_form_are_no_recordings_but_the_session_stands() {
    let Some(lost) = session("no-log-on-disk") else { return };
    assert_eq!((lost.pieces.len(), lost.error), (0, None));
    check("lost", only(&lost, "session.recording_lost"), &json!({"recorded": false}));
    check("lost", only(&lost, "session.start"), &json!({"recorded": true}));

    let cut = session("masked-truncated-machine").expect("its neighbour");
    check("machine", only(&cut, "session.start"), &json!({"actor_kind": "bot"}));
    check("internal error", only(&cut, "session.end"), &json!({"outcome": "failure", "detail": {"exit_code": 254}}));
    let metrics = &only(&cut, "session.state")["detail"]["metrics"];
    assert_eq!(metrics["truncated"], true);
    assert_eq!(metrics["data_masking"]["err_count"], 0);
    check("marker", &cut.pieces[1], &json!({"code": "m", "data": "exit status 254"}));

    let text = session("utf8-expanded-shape").expect("its neighbour");
    assert_eq!((text.pieces.len(), text.error), (0, Some(ErrorKind::UnexpectedShape)));
    assert_eq!(only(&text, "session.state")["detail"]["event_stream"], json!(["whoami\nops\n"]));
    assert_eq!(of_type(&text, "session.end").len(), 1);

    let download = session("download").expect("its neighbour");
    assert_eq!((download.events.len(), download.error), (0, Some(ErrorKind::UnexpectedShape)));
}

#[test]
fn a_damaged_entry_of_a_recording_costs_itself() {
    use ErrorKind::*;
    let cases = [
        ("whole", json!([1.0, "o", "Yg=="]), "abc", None),
        ("no padding", json!([1, "o", "Yg"]), "abc", None),
        ("exponent", json!([1.2e-05, "o", "Yg=="]), "abc", None),
        ("no base64", json!([1.0, "o", "!"]), "ac", Some(InvalidBase64)),
        ("unknown kind", json!([1.0, "x", "Yg=="]), "ac", Some(UnexpectedShape)),
        ("two parts", json!([1.0, "o"]), "ac", Some(UnexpectedShape)),
        ("no list", json!({"o": 1}), "ac", Some(UnexpectedShape)),
        ("no time", json!(["soon", "o", "Yg=="]), "abc", Some(InvalidField)),
        ("before the start", json!([-1.0, "o", "Yg=="]), "abc", Some(InvalidField)),
        ("after the end of days", json!([1e300, "o", "Yg=="]), "abc", Some(InvalidField)),
    ];
    for (name, entry, output, error) in cases {
        let session = json!({"id": "s", "org_id": "o", "connection": "c", "type": "custom", "verb": "connect",
            "start_date": "2026-03-02T08:00:00Z", "event_stream": [[0, "o", "YQ=="], entry, [2, "o", "Yw=="]]});
        let out = hoop(session.to_string());
        assert_eq!((String::from_utf8(out.output).unwrap().as_str(), out.error), (output, error), "{name}");
        assert_eq!(out.pieces.last().unwrap()["seq"], 2, "{name}: positions are those of the list");
    }
}

#[test]
fn what_is_shown_depends_on_what_the_session_was_opened_to() {
    let cases = [
        ("shell", "custom", "bash", "connect", "oim", 0),
        ("program", "application", "python", "connect", "oim", 0),
        ("database", "database", "mysql", "connect", "im", 1),
        ("database by a script", "database", "mysql", "exec", "oim", 0),
        ("frames of SSH", "application", "ssh", "connect", "m", 0),
        ("pictures", "custom", "rdp", "connect", "m", 0),
        ("proxy", "httpproxy", "", "connect", "m", 0),
    ];
    for (name, connection_type, subtype, verb, codes, queries) in cases {
        let session = json!({"id": "s", "org_id": "o", "connection": "c", "type": connection_type, "verb": verb,
            "connection_subtype": subtype, "start_date": "2026-03-02T08:00:00Z",
            "event_stream": [[0, "o", "YQ=="], [1, "i", "c2VsZWN0IDE="], [2, "e", "ZQ=="]]});
        let out = hoop(session.to_string());
        let seen: String = out.pieces.iter().map(|piece| piece["code"].as_str().unwrap()).collect();
        assert_eq!((seen.as_str(), out.error), (codes, None), "{name}");
        assert_eq!(of_type(&out, "session.query").len(), queries, "{name}");
    }
}

#[test]
fn queries_are_read_from_the_wire() {
    let message = |letter: u8, content: &[u8]| {
        let len = (content.len() as u32 + 4).to_be_bytes();
        [&[letter], &len[..], content].concat()
    };
    let cases: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        ("simple", message(b'Q', b"select 1\0"), vec!["select 1"]),
        ("prepared", message(b'P', b"name\0select $1\0\0\0"), vec!["select $1"]),
        ("several", [message(b'Q', b"a\0"), message(b'S', b""), message(b'Q', b"b\0")].concat(), vec!["a", "b"]),
        ("cut off", [message(b'Q', b"a\0"), b"Q\0\0\0\x20sel".to_vec()].concat(), vec!["a"]),
        ("a password is no query", message(b'p', b"hunter2\0"), vec![]),
        ("a beginning without a letter", b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(), vec![]),
        ("text alone", b"select 2".to_vec(), vec!["select 2"]),
        ("a length that lies", b"Q\xff\xff\xff\xffselect\0".to_vec(), vec![]),
    ];
    for (name, data, expected) in cases {
        let session = json!({"id": "s", "org_id": "o", "connection": "c", "type": "database", "verb": "connect",
            "connection_subtype": "postgres", "start_date": "2026-03-02T08:00:00Z",
            "event_stream": [[0, "i", base64::Engine::encode(&BASE64, &data)]]});
        let out = hoop(session.to_string());
        let actions: Vec<&str> =
            of_type(&out, "session.query").iter().map(|event| event["action"].as_str().unwrap()).collect();
        assert_eq!(actions, expected, "{name}");
    }
}

#[test]
fn of_several_approvals_the_last_one_opens_the_door() {
    let vote = |group: &str, status: &str, at: Option<&str>| {
        json!({"id": group, "group": group, "status": status, "review_date": at,
            "reviewed_by": at.map(|_| json!({"email": format!("{group}@x")}))})
    };
    let (one, two) =
        (vote("a", "APPROVED", Some("2026-03-02T08:01:00Z")), vote("b", "APPROVED", Some("2026-03-02T08:02:00Z")));
    let none = vote("b", "PENDING", None);
    let revoked = vote("c", "REVOKED", Some("2026-03-02T08:30:00Z"));
    let end = json!("2026-03-02T09:02:00.004Z");
    let cases = [
        ("one of two", "PENDING", Value::Null, vec![&one, &none], vec![("a@x", None)]),
        ("both", "APPROVED", end.clone(), vec![&one, &two], vec![("a@x", None), ("b@x", Some("APPROVED"))]),
        (
            "revoked by another",
            "REVOKED",
            end.clone(),
            vec![&one, &two, &revoked],
            vec![("a@x", None), ("b@x", Some("APPROVED")), ("c@x", Some("REVOKED"))],
        ),
        (
            "revoked in place of who approved",
            "REVOKED",
            end,
            vec![&one, &revoked],
            vec![("a@x", None), ("c@x", Some("REVOKED"))],
        ),
        ("status that hoop does not know", "UNKNOWN", Value::Null, vec![&one], vec![("a@x", None)]),
    ];
    let mut facts = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (name, status, revoke_at, groups, expected) in cases {
        let review = json!({"id": "r", "session": "s", "type": "jit", "access_duration": 3_600_000_000_000_i64,
            "status": status, "revoke_at": revoke_at, "created_at": "2026-03-02T08:00:00Z",
            "review_groups_data": groups});
        let out = hoop(review.to_string());
        let votes: Vec<&Value> =
            out.events.iter().filter(|event| event["event_id"].as_str().unwrap().contains("/group/")).collect();
        let seen: Vec<_> =
            votes.iter().map(|vote| (vote["actor"].as_str().unwrap(), vote["request_state"].as_str())).collect();
        assert_eq!(seen, expected, "{name}");
        for vote in votes {
            ids.insert(vote["event_id"].to_string());
            facts.insert(vote.to_string());
        }
    }
    assert_eq!(ids.len(), facts.len(), "one id, one content, whatever the order of the polls");
}

#[test]
fn pages_hold_what_their_elements_hold() {
    let Some(one) = read("sessions/synthetic-jit-first-session.json") else { return };
    let other = read("sessions/synthetic-onetime-rejected.json").expect("its neighbour");
    let [first, second] = [&one, &other].map(|session| hoop(session.to_string()).events);
    let expected: Vec<Value> = first.into_iter().chain(second).collect();
    for (name, page) in [
        ("list", json!([one, other])),
        ("page", json!({"data": [one, other], "total": 2, "has_next_page": false})),
        ("in an envelope", json!({"message": json!({"data": [one, other]}).to_string(), "host": "h"})),
    ] {
        let out = hoop(page.to_string());
        assert_eq!((out.events, out.error), (expected.clone(), None), "{name}");
    }
    let out = hoop(json!({"data": [one, 7, {"data": []}, {"a": 1}, other]}).to_string());
    assert_eq!((out.events, out.error), (expected, Some(ErrorKind::UnexpectedShape)));
}

#[test]
fn a_bridge_may_add_fields_without_making_another_fact() {
    let Some(bare) = read("sessions/synthetic-jit-first-session.json") else { return };
    let mut shipped = bare.clone();
    for (name, value) in [("@timestamp", json!("2026-01-01T00:00:00Z")), ("host", json!("h")), ("path", json!("/x"))] {
        shipped[name] = value;
    }
    assert_eq!(hoop(bare.to_string()).events, hoop(shipped.to_string()).events);
}

#[test]
fn webhooks_are_facts_of_their_own() {
    let Some(example) = read("webhooks/session.open.example.json") else { return };
    let mut waiting = example.clone();
    waiting["review"]["status"] = json!("PENDING");
    let [open, waiting] = [example, waiting].map(|webhook| hoop(webhook.to_string()));
    check(
        "open",
        of_type(&open, "session.open")[1],
        &json!({"event_id": "hoop//8bfc995b-4f15-483b-8423-33f634865f14/open/start", "kind": "session.start",
            "actor": "john.doe@hoop.dev", "target": "bash", "action": "bash"}),
    );
    check("input", of_type(&open, "session.open")[0], &json!({"kind": "session.activity", "action": "echo foobar"}));
    check("review", only(&open, "session.open.review"), &json!({"request_state": "APPROVED", "action": "onetime"}));
    assert!(waiting.events.iter().all(|event| event["kind"] == "other"), "nothing has begun");

    let close = hoop(fixture("hoop/webhooks/session.close.synthetic.json").expect("its neighbour"));
    check("close", only(&close, "session.close"), &json!({"kind": "session.end", "outcome": null}));

    let card = read("webhooks/microsoftteams.review.create.json").expect("its neighbour");
    let out = hoop(card["examples"][0].to_string());
    check(
        "card",
        only(&out, "microsoftteams.review.create"),
        &json!({"kind": "request.create", "session_id": "6bb1f879-f994-4ade-9d69-121676c03a59",
            "actor": "sandro@hoop.dev", "target": "postgres-demo"}),
    );
    assert!(out.events[0]["action"].as_str().unwrap().starts_with("SELECT c.firstname"));
}

#[test]
fn runbook_hooks_tell_no_values_of_the_environment() {
    let Some(mut open) = read("runbook-hook/synthetic-open.json") else { return };
    open["event_session_open"]["connection_envs"] = json!({"envvar:TOKEN": "aHVudGVyMg=="});
    let out = hoop(open.to_string());
    let event = only(&out, "runbook_hook.session_open");
    check("open", event, &json!({"actor": "alice@example.com", "target": "prod-bash", "protocol": "bash"}));
    assert_eq!(event["detail"]["connection_envs"], json!(["envvar:TOKEN"]));
    assert_eq!(event["detail"]["connection_reviewers"], json!(["sre-lead"]));
    let out = hoop(fixture("hoop/runbook-hook/synthetic-close.json").expect("its neighbour"));
    check("close", only(&out, "runbook_hook.session_close"), &json!({"kind": "session.end", "outcome": "success"}));
}

#[test]
fn routed_events_say_what_was_noticed_and_nobody_approves() {
    let Some(catalog) = read("events/catalog.json") else { return };
    let catalog = catalog.as_object().unwrap();
    assert_eq!(catalog.len(), 9);
    for (event_type, entry) in catalog {
        let mut flat = entry["sample"].clone();
        flat["event_type"] = json!(event_type);
        let row = json!({"id": "f", "org_id": "o", "event_type": event_type, "payload": entry["sample"]});
        for (name, message, org) in [("flat", flat, ""), ("row", row, "o")] {
            let out = hoop(message.to_string());
            assert_eq!((out.events.len(), out.error), (1, None), "{event_type} {name}");
            let event = &out.events[0];
            let sample = &entry["sample"];
            assert_eq!(event["source_type"], *event_type);
            assert_eq!(event["actor"], sample["user"]);
            assert_eq!(event["target"], sample["connection"]);
            assert_eq!(event["session_id"], sample["session_id"]);
            assert_eq!(event["approver"], Value::Null);
            assert_eq!(event["detail"].get("reviewer"), sample.get("reviewer"));
            let prefix = format!("hoop/{org}/event/{}/{event_type}", sample["session_id"].as_str().unwrap());
            assert!(event["event_id"].as_str().unwrap().starts_with(&prefix), "{event}");
            let kind = if event_type.starts_with("access.") { "other" } else { "session.activity" };
            assert_eq!(event["kind"], kind, "{event_type}");
        }
    }
    let violation = &catalog["session.guardrail_violation"]["sample"];
    let out = hoop(json!({"event_type": "session.guardrail_violation", "payload": violation}).to_string());
    check("violation", &out.events[0], &json!({"outcome": "deny", "action": "TRUNCATE TABLE customers"}));
}

#[test]
fn the_audit_log_is_changes_of_the_configuration() {
    let Some(out) = fixture("hoop/audit-log/synthetic-entry.json").map(hoop) else { return };
    check(
        "entry",
        only(&out, "audit_log"),
        &json!({
            "event_id":
                "hoop/37eebc20-d8df-416b-8ac2-01b6eb456318/audit/0d3b7f7e-4a5b-4c6d-8e9f-a0b1c2d3e4f5",
            "kind": "config.change", "actor": "carol@example.com", "action": "update access_request_rules",
            "outcome": "success", "remote_addr": "198.51.100.7", "occurred_at": "2025-12-01T08:30:00.000000Z"
        }),
    );
}

#[test]
fn other_messages_are_refused_and_never_quoted() {
    use ErrorKind::*;
    let cases = [
        ("unknown", json!({"hunter2": 1}), MissingField),
        ("link to a download", json!({"download_url": "https://x/?token=hunter2", "expire_at": "y"}), MissingField),
        ("webhook without a session", json!({"event_type": "session.close", "exit_err": "hunter2"}), MissingField),
        ("card of somebody else", json!({"type": "message", "attachments": ["hunter2"]}), UnexpectedShape),
        ("page of nothing known", json!({"data": ["hunter2"]}), UnexpectedShape),
    ];
    for (name, message, expected) in cases {
        let out = hoop(message.to_string());
        assert_eq!((out.events.len(), out.error), (0, Some(expected)), "{name}");
        assert!(!out.error_detail.contains("hunter2"), "{name}: {}", out.error_detail);
    }
    let times = json!({"id": "s", "connection": "c", "start_date": "hunter2", "end_date": 7, "status": "done"});
    let out = hoop(times.to_string());
    assert_eq!((out.error, source_types(&out)), (Some(InvalidField), vec!["session.start", "session.state"]));
}

#[test]
fn recordings_are_bounded_and_read_in_linear_time() {
    let began = std::time::Instant::now();
    let entries = vec![r#"[0,"o",""]"#; stream::ENTRIES_MAX as usize + 1].join(",");
    let session =
        format!(r#"{{"id":"s","connection":"c","start_date":"2026-03-02T08:00:00Z","event_stream":[{entries}]}}"#);
    struct Count(usize);
    impl Sink for Count {
        fn event(&mut self, _: &custody_schemas::event::Event<'_>) {}
        fn piece(&mut self, _: &custody_schemas::frame::Piece<'_>) {
            self.0 += 1;
        }
    }
    let mut count = Count(0);
    let message = crate::source::testing::message(None, session.as_bytes());
    let error = crate::source::decode(&Source::new(SourceKind::Hoop), &message, &mut count).unwrap_err();
    assert_eq!((count.0, error.kind), (stream::ENTRIES_MAX as usize, ErrorKind::TooLarge));
    let groups = vec![r#"{"status":"APPROVED"}"#; 90_000].join(",");
    let review = hoop(format!(r#"{{"id":"r","status":"APPROVED","review_groups_data":[{groups}]}}"#));
    assert_eq!(review.events.len(), 90_002);
    assert!(began.elapsed().as_secs() < 30, "took {:?}", began.elapsed());
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = hoop(&bytes);
    }

    #[test]
    fn damaged_messages_do_no_harm(
        value in mutated([example("hoop-sessions.ndjson"), example("hoop-notices.ndjson")].concat())
    ) {
        let _ = hoop(&value);
    }

    #[test]
    fn arbitrary_bytes_on_the_wire_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let session = json!({"id": "s", "connection": "c", "type": "database", "connection_subtype": "postgres",
            "start_date": "2026-03-02T08:00:00Z",
            "event_stream": [[0, "i", base64::Engine::encode(&BASE64, &bytes)]]});
        prop_assert_eq!(hoop(session.to_string()).error, None);
    }
}
