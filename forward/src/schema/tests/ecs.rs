//! ECS documents against the published fields and values (`ecs-9.4.0.json`, cut out by `tests/open/ecs_schema.py`).

use std::sync::LazyLock;

use proptest::test_runner::TestCaseError;

use super::*;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| parsed(include_str!("../ecs-9.4.0.json")));

/// What is wrong with a document.
fn faults(document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, value) in document.as_object().unwrap() {
        if name != "custody" {
            field(name, value, &mut faults);
        }
    }
    let event = &document["event"];
    let allowed = &SCHEMA["event"];
    let words = |name: &str| event.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let (categories, types) = (words("category"), words("type"));
    for name in ["kind", "outcome"] {
        if !allowed[name].as_array().unwrap().contains(&event[name]) {
            faults.push(format!("event.{name}: {}", event[name]));
        }
    }
    let expected = |category: &Value| allowed["category"].get(category.as_str().unwrap()).and_then(Value::as_array);
    for category in &categories {
        match expected(category) {
            None => faults.push(format!("event.category: {category}")),
            Some(expected) if !types.iter().any(|of| expected.contains(of)) => {
                faults.push(format!("event.type: none for {category} in {types:?}"));
            }
            Some(_) => {}
        }
    }
    for of in &types {
        if !categories.iter().filter_map(expected).any(|expected| expected.contains(of)) {
            faults.push(format!("event.type: {of} is for none of {categories:?}"));
        }
    }
    faults
}

fn field(path: &str, value: &Value, faults: &mut Vec<String>) {
    let fields = &SCHEMA["fields"];
    let (of, is_list) = match fields.get(path) {
        Some(Value::Array(of)) => (of[0].as_str(), true),
        of => (of.and_then(Value::as_str), false),
    };
    match (of, value) {
        (Some("object"), Value::Object(members)) if path == "labels" => {
            if !members.values().all(Value::is_string) {
                faults.push(format!("{path}: labels are keywords"));
            }
        }
        (None, Value::Object(members)) => {
            members.iter().for_each(|(name, value)| field(&format!("{path}.{name}"), value, faults));
        }
        (Some(of), Value::Array(values)) if is_list => {
            values.iter().for_each(|value| scalar(path, of, value, faults));
        }
        (Some(of), _) if !is_list => scalar(path, of, value, faults),
        _ => faults.push(format!("{path}: no such field, or a list where none is: {value}")),
    }
}

fn scalar(path: &str, of: &str, value: &Value, faults: &mut Vec<String>) {
    let fits = match of {
        "keyword" | "match_only_text" | "wildcard" | "constant_keyword" => value.is_string(),
        "long" => value.is_i64(),
        "ip" => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
        "date" => value.is_string(),
        _ => false,
    };
    if !fits {
        faults.push(format!("{path}: {value} is no {of}"));
    }
}

pub(super) fn check(document: &Value) -> Result<(), TestCaseError> {
    let faults = faults(document);
    prop_assert!(faults.is_empty(), "{:#?} in {:#}", faults, document);
    Ok(())
}

proptest! {
    #![proptest_config(at_least(1024))]

    #[test]
    fn every_document_has_only_fields_and_values_of_the_schema(case in case()) {
        check(&parsed(&Schema::Ecs.write(&case.notice(), UNLIMITED)))?;
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let right = parsed(&Schema::Ecs.write(&full().notice(), UNLIMITED));
    assert_eq!(faults(&right), Vec::<String>::new());
    let cases = [
        ("event", "category", json!(["sessions"]), "event.category: \"sessions\""),
        ("event", "type", json!(["allowed"]), "event.type: \"allowed\" is for none of"),
        ("event", "outcome", json!("allow"), "event.outcome: \"allow\""),
        ("event", "colour", json!("red"), "event.colour: no such field"),
        ("event", "sequence", json!("1"), "event.sequence: \"1\" is no long"),
        ("source", "ip", json!("host"), "source.ip: \"host\" is no ip"),
        ("user", "roles", json!("admin"), "user.roles: no such field, or a list"),
    ];
    for (object, name, value, fault) in cases {
        let mut document = right.clone();
        document[object][name] = value;
        let faults = faults(&document);
        assert!(faults.iter().any(|found| found.starts_with(fault)), "{fault} not in {faults:?}");
    }
}

#[test]
fn a_session_is_told_in_the_fields_that_analysts_know() {
    let written = parsed(&Schema::Ecs.write(&full().notice(), UNLIMITED));
    let expected = json!({
        "@timestamp": "2025-06-02T09:00:00.120000Z",
        "ecs": {"version": "9.4.0"},
        "event": {
            "kind": "event", "category": ["session"], "type": ["end"], "outcome": "success",
            "id": "teleport/root.example.com/fff30583-1", "action": "session.end", "code": "T2004I",
            "provider": "teleport", "module": "custody", "dataset": "custody.session", "severity": 2, "sequence": 41_235,
            "reason": "INC-4711 restore replica", "created": "2025-06-02T09:00:01.000000Z",
            "start": "2025-06-02T08:59:31.000000Z", "end": "2025-06-02T09:00:00.000000Z", "duration": 29_000_000_000_i64,
        },
        "user": {"name": "alice@example.com", "roles": ["access", "prod-db-admin"], "effective": {"name": "root"}},
        "source": {"address": "203.0.113.10:50339", "ip": "203.0.113.10", "port": 50_339},
        "host": {"name": "node-a.internal"},
        "network": {"protocol": "ssh"},
        "rule": {"name": "boundary/authz/decision", "version": "custody=9c1f0ab"},
        "observer": {"product": "teleport", "name": "root.example.com"},
        "related": {
            "user": ["alice@example.com", "erin@example.com", "root", "frank@example.com", "carol@example.com", "dan@example.com"],
            "ip": ["203.0.113.10"], "hosts": ["node-a.internal"],
        },
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&written[name], value, "{name}");
    }
    assert_eq!(written["custody"]["access"][0]["approvers"], json!(["carol@example.com", "dan@example.com"]));
    assert_eq!(written["custody"]["kind"], "session.end");
}

#[test]
fn a_finding_is_an_alert_of_a_rule() {
    let written = parsed(&Schema::Ecs.write(&corpus::finding().notice(), UNLIMITED));
    assert_eq!(faults(&written), Vec::<String>::new(), "{written:#}");
    let expected = json!({
        "event": {
            "kind": "alert", "category": ["iam"], "type": ["info"], "outcome": "failure",
            "id": "custody/finding/R02/teleport/293fda2d/2025-06-02T09:00:00Z", "action": "finding.open",
            "provider": "custody", "module": "custody", "dataset": "custody.finding", "severity": 6, "sequence": 17,
            "reason": "The approval ended 14 minutes before the session began",
            "created": "2025-06-02T09:00:01.000000Z", "start": "2025-06-02T09:00:00.000000Z",
        },
        "user": {"name": "alice@example.com"},
        "rule": {"id": "R02", "name": "Sessions without an approval in force", "version": "1"},
        "related": {"user": ["alice@example.com"]},
        "labels": {"finding": "R02/teleport/293fda2d", "state": "open"},
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&written[name], value, "{name}");
    }
    let custody = &written["custody"];
    assert_eq!((&custody["session_id"], &custody["target"]), (&json!("293fda2d"), &json!("teleport/293fda2d")));
    // What a report calls a row is nothing in a network.
    assert_eq!((written.get("destination"), written.get("host")), (None, None));
}

#[test]
fn findings_are_in_a_category_where_one_fits() {
    let cases = [
        ("R12", json!(["intrusion_detection"])),
        ("R15", json!(["session"])),
        ("R24", Value::Null),
        ("silent", Value::Null),
        ("R03", json!(["iam"])),
    ];
    for (report, category) in cases {
        let mut case = corpus::finding();
        case.event.correlation_id = Some(format!("{report}/x").into());
        let written = parsed(&Schema::Ecs.write(&case.notice(), UNLIMITED));
        assert_eq!(faults(&written), Vec::<String>::new(), "{written:#}");
        assert_eq!(written["event"]["category"], category, "{report}");
        assert_eq!(written["rule"]["id"], report);
    }
}

#[test]
fn a_heartbeat_is_a_metric() {
    let written = parsed(&Schema::Ecs.write(&corpus::heartbeat().notice(), UNLIMITED));
    assert_eq!(faults(&written), Vec::<String>::new(), "{written:#}");
    assert_eq!(written["event"]["kind"], "metric");
    assert_eq!(written["custody"]["detail"]["sources"][0], json!({"events": 412, "source": "opa"}));
}

#[test]
fn the_sources_examples_are_valid() {
    for (shown, case) in corpus::examples() {
        let written = parsed(&Schema::Ecs.write(&case.notice(), UNLIMITED));
        assert_eq!(faults(&written), Vec::<String>::new(), "{shown:#}: {written:#}");
    }
}
