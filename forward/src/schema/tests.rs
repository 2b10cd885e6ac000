//! Events of every kind, in every schema.

pub(crate) mod corpus;
mod ecs;
mod flat;
mod index_template;
mod ocsf;
mod syslog;

use std::collections::BTreeSet;

use custody_schemas::event::{Event, Kind};
use custody_schemas::table::Table;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use corpus::{Case, case, full, hostile};

/// No limit that any test comes near.
const UNLIMITED: usize = usize::MAX;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every text of a JSON value.
fn strings<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::String(text) => drop(found.insert(text)),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Object(members) => members.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}

#[test]
fn names_are_read_back() {
    for schema in Schema::ALL {
        assert_eq!(Schema::from_name(schema.as_str()), Some(schema));
    }
    assert_eq!(Schema::from_name("OCSF"), None);
}

#[test]
fn custodys_own_json_has_every_column_under_its_name() {
    let case = full();
    let written = parsed(&Schema::Custody.write(&case.notice(), UNLIMITED));
    let schema = Table::Events.schema();
    let columns: BTreeSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    // The day is the table's, the coordinates are in `evidence`.
    let elsewhere = BTreeSet::from(["date", "topic", "partition", "offset", "index"]);
    let besides = BTreeSet::from(["access", "evidence", "revision"]);
    let members: BTreeSet<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, columns.difference(&elsewhere).chain(&besides).copied().collect());
    assert_eq!(written["evidence"], json!({"topic": "audit.events", "partition": 3, "offset": 41_235, "index": 1}));
    assert_eq!(written["occurred_at"], "2025-06-02T09:00:00.120000Z");
    assert_eq!(written["detail"], json!({"namespace": "default", "pid": 4711, "server_labels": {"env": "prod"}}));
    assert_eq!(written["revision"], 2);
    assert_eq!(
        written["access"],
        json!([{
            "link_method": "explicit", "request_id": "01973000-aaaa", "decision_id": "6b3f1f0e", "reason": "INC-4711 restore",
            "approvers": ["carol@example.com", "dan@example.com"], "approved_at": "2025-06-02T08:59:00.000000Z",
            "expires_at": "2025-06-02T13:00:00.000000Z", "tickets": ["INC-4711"], "approved_before_start": true,
        }])
    );
}

#[test]
fn custodys_own_json_is_what_the_decoders_are_said_to_give() {
    for (shown, case) in corpus::examples() {
        let mut written = parsed(&Schema::Custody.write(&case.notice(), UNLIMITED));
        let members = written.as_object_mut().unwrap();
        for name in ["source", "ingested_at", "evidence", "revision"] {
            assert!(members.remove(name).is_some(), "{name}");
        }
        // Where nothing is left of a source's object, nothing is written of it.
        members.entry("detail").or_insert_with(|| json!({}));
        assert_eq!(written, shown);
    }
}

#[test]
fn what_the_source_did_not_say_is_not_said() {
    let case = Case::of(Event { kind: Kind::Other, ..Event::default() });
    let written = parsed(&Schema::Custody.write(&case.notice(), UNLIMITED));
    let expected = json!({
        "event_id": "kafka/audit.events/3/41235/1", "source": "teleport", "ingested_at": "2025-06-02T09:00:01.000000Z",
        "kind": "other", "evidence": {"topic": "audit.events", "partition": 3, "offset": 41_235, "index": 1}, "revision": 0,
    });
    assert_eq!(written, expected);
}

#[test]
fn a_detail_that_is_no_object_is_kept_as_text() {
    let cases = [
        (r#"{"a":1}"#, Some(json!({"a": 1})), None),
        (" {\"a\":\n1} ", Some(json!({"a": 1})), None),
        ("{}", None, None),
        ("", None, None),
        (r#"{"a":"#, None, Some(r#"{"a":"#)),
        ("[1]", None, Some("[1]")),
        ("null", None, Some("null")),
        (r#"{"a":1} {"b":2}"#, None, Some(r#"{"a":1} {"b":2}"#)),
    ];
    for (detail, object, text) in cases {
        let case = Case::of(Event { detail: detail.to_owned(), ..Event::default() });
        for (schema, inside) in [(Schema::Custody, ""), (Schema::Ocsf, "/unmapped/custody"), (Schema::Ecs, "/custody")]
        {
            let line = schema.write(&case.notice(), UNLIMITED);
            let written = parsed(&line);
            let written = written.pointer(inside).unwrap();
            assert_eq!(written.get("detail"), object.as_ref(), "{schema:?} {detail}");
            assert_eq!(written.get("detail_text").and_then(Value::as_str), text, "{schema:?} {detail}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}

#[test]
fn ids_are_such_as_a_receiver_can_keep() {
    let long = "x".repeat(256);
    let cases = [
        ("teleport/root/1".to_owned(), "teleport/root/1"),
        (String::new(), "kafka/audit.events/3/41235/1"),
        (long.clone(), long.as_str()),
        (long.clone() + "x", "sha256:15eb95a462ee20bd91a415ae2d4aed341288186ddaa2b37908f7d592f0c3f85f"),
        ("a\nb".to_owned(), "sha256:7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"),
    ];
    for (id, expected) in cases {
        let case = Case::of(Event { event_id: id.clone().into(), ..Event::default() });
        assert_eq!(event_id(&case.notice()), expected, "{id}");
    }
}

#[test]
fn a_time_that_was_not_stated_is_marked() {
    let mut case = Case::of(Event::default());
    case.broker_at = Some(5_000_000);
    let cases = [(Some(7_000_000), 7, None), (None, 5, Some("broker_at"))];
    for (occurred_at, seconds, from) in cases {
        case.event.occurred_at = occurred_at;
        let notice = case.notice();
        let ocsf = parsed(&Schema::Ocsf.write(&notice, UNLIMITED));
        assert_eq!(ocsf["time"], seconds * 1000);
        assert_eq!(ocsf["unmapped"]["custody"].get("time_from").and_then(Value::as_str), from);
        let ecs = parsed(&Schema::Ecs.write(&notice, UNLIMITED));
        assert_eq!(ecs["@timestamp"], format!("1970-01-01T00:00:0{seconds}.000000Z"));
        assert_eq!(ecs.pointer("/labels/time_from").and_then(Value::as_str), from);
        let cef = flat::cef(&Schema::Cef.write(&notice, UNLIMITED)).1;
        assert_eq!(
            (cef["rt"].as_str(), cef.get("flexString1").map(String::as_str)),
            (&*(seconds * 1000).to_string(), from)
        );
        let leef = flat::leef(&Schema::Leef.write(&notice, UNLIMITED)).1;
        assert_eq!(
            (leef["devTime"].as_str(), leef.get("timeFrom").map(String::as_str)),
            (&*(seconds * 1000).to_string(), from)
        );
    }
}

#[test]
fn a_message_is_one_line_that_reads_as_it_is_written() {
    let event = Event {
        kind: Kind::SessionStart,
        actor: Some("al\u{202e}ice\r\n".into()),
        target: Some("node-a".into()),
        login: Some("root".into()),
        reason: Some("x".repeat(1000).into()),
        ..Event::default()
    };
    let case = Case::of(event);
    let line = message(&case.notice());
    assert!(line.starts_with("session.start by al ice   on node-a as root, because xxx"), "{line}");
    assert_eq!((line.chars().count(), line.ends_with('…')), (501, true));
}

/// Texts of the event and what gave the access, with their columns.
fn told(case: &Case) -> Vec<(&'static str, String)> {
    let event = &case.event;
    let one = [
        ("cluster", &event.cluster),
        ("source_code", &event.source_code),
        ("actor", &event.actor),
        ("delegator", &event.delegator),
        ("action", &event.action),
        ("target", &event.target),
        ("login", &event.login),
        ("session_id", &event.session_id),
        ("protocol", &event.protocol),
        ("reason", &event.reason),
        ("request_state", &event.request_state),
        ("proposed_state", &event.proposed_state),
        ("decision_id", &event.decision_id),
        ("policy_path", &event.policy_path),
        ("policy_revision", &event.policy_revision),
        ("ticket", &event.ticket),
        ("approver", &event.approver),
        ("correlation_id", &event.correlation_id),
        ("recording_id", &event.recording_id),
        ("mfa_device", &event.mfa_device),
        ("remote_addr", &event.remote_addr),
    ];
    let lists = [
        ("actor_roles", &event.actor_roles),
        ("participants", &event.participants),
        ("request_ids", &event.request_ids),
        ("requested_roles", &event.requested_roles),
    ];
    let one = one.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?.to_owned())));
    let lists = lists.into_iter().flat_map(|(name, texts)| texts.iter().map(move |text| (name, text.to_string())));
    let access = case.access.iter().flat_map(|access| {
        let texts = [&access.request_id, &access.decision_id, &access.reason];
        let texts = texts.into_iter().flatten().chain(&access.approvers).chain(&access.tickets);
        texts.map(|text| ("access", text.clone())).collect::<Vec<_>>()
    });
    one.chain(lists).chain(access).filter(|(_, text)| !text.is_empty()).collect()
}

/// So many cases, or as many more as the environment asks for.
fn at_least(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(cases), failure_persistence: None, ..config }
}

proptest! {
    #![proptest_config(at_least(1024))]

    #[test]
    fn json_loses_no_text_and_is_one_line(case in case()) {
        for schema in [Schema::Custody, Schema::Ocsf, Schema::Ecs] {
            let line = schema.write(&case.notice(), UNLIMITED);
            prop_assert!(!line.contains(['\n', '\r']));
            let written = parsed(&line);
            let mut found = BTreeSet::new();
            strings(&written, &mut found);
            for (name, text) in told(&case) {
                // An address is written as addresses are, and taken apart.
                let is_address = matches!(name, "remote_addr" | "action") && text.split(' ').any(|word| Address::of(word).ip.is_some());
                prop_assert!(is_address || found.contains(text.as_str()), "{:?} lost {} {:?}: {}", schema, name, text, line);
            }
        }
    }
}

proptest! {
    #![proptest_config(at_least(256))]

    #[test]
    fn no_event_is_longer_than_its_receiver_takes(case in hostile(), bytes_max in Schema::BYTES_MIN..20_000usize) {
        let notice = case.notice();
        for schema in Schema::ALL {
            let whole = schema.write(&notice, UNLIMITED);
            let cut = schema.write(&notice, bytes_max);
            prop_assert!(cut.len() <= bytes_max, "{:?}: {} > {}", schema, cut.len(), bytes_max);
            prop_assert_eq!(whole.len() <= bytes_max, cut == whole);
            let is_flagged = match schema {
                Schema::Custody => parsed(&cut)["truncated_bytes"] == whole.len(),
                Schema::Ocsf => parsed(&cut)["metadata"]["is_truncated"] == true && parsed(&cut)["metadata"]["untruncated_size"] == whole.len(),
                Schema::Ecs => parsed(&cut)["labels"]["whole_bytes"].as_str() == Some(&whole.len().to_string()),
                Schema::Cef => flat::cef(&cut).1.get("cn2") == Some(&whole.len().to_string()),
                Schema::Leef => flat::leef(&cut).1.get("truncatedFromBytes") == Some(&whole.len().to_string()),
            };
            prop_assert_eq!(is_flagged, cut != whole, "{:?}: {}", schema, cut);
            // What tells events apart is never cut.
            let id = event_id(&notice);
            let written_id = match schema {
                Schema::Custody => parsed(&cut)["event_id"].as_str().map(str::to_owned),
                Schema::Ocsf => parsed(&cut)["metadata"]["uid"].as_str().map(str::to_owned),
                Schema::Ecs => parsed(&cut)["event"]["id"].as_str().map(str::to_owned),
                Schema::Cef => flat::cef(&cut).1.get("externalId").cloned(),
                Schema::Leef => flat::leef(&cut).1.get("eventId").cloned(),
            };
            prop_assert_eq!(written_id.as_deref(), Some(&*id));
            if schema == Schema::Ocsf {
                ocsf::check(&parsed(&cut))?;
                prop_assert_eq!(&parsed(&cut)["type_uid"], &parsed(&whole)["type_uid"]);
            }
        }
    }
}

#[test]
fn the_worst_that_can_come_fits_into_the_least() {
    // What one byte becomes six of in JSON, what is two of in CEF, what has four bytes itself.
    for text in ["\u{1}", "\"", "\\", "=", "\u{10ffff}", "x"] {
        for kind in Kind::ALL {
            let case = corpus::everywhere(kind, &text.repeat(200), 6);
            for schema in Schema::ALL {
                let cut = schema.write(&case.notice(), 0);
                assert!(cut.len() <= Schema::BYTES_MIN, "{schema:?} {kind:?} {text:?}: {} {cut}", cut.len());
            }
        }
    }
}

#[test]
fn a_long_detail_is_cut_before_anything_else() {
    let mut case = full();
    case.event.detail = format!(r#"{{"output":"{}"}}"#, "ab\\\"".repeat(20_000));
    for (schema, path) in [
        (Schema::Custody, "/detail_text"),
        (Schema::Ocsf, "/unmapped/custody/detail_text"),
        (Schema::Ecs, "/custody/detail_text"),
    ] {
        let cut = schema.write(&case.notice(), 10_000);
        assert!((5000..=10_000).contains(&cut.len()), "{schema:?} {}", cut.len());
        let cut = parsed(&cut);
        let detail = cut.pointer(path).and_then(Value::as_str).unwrap();
        assert!(detail.starts_with(r#"{"output":"ab\"ab"#) && detail.ends_with('…'), "{detail}");
        case.access.iter().for_each(|access| assert!(cut.to_string().contains(access.reason.as_deref().unwrap())));
    }
}

#[test]
fn the_beginning_of_an_address_is_not_taken_for_one() {
    let mut case = full();
    case.event.remote_addr = Some(format!("10.0.0.1{}", "2".repeat(50_000)).into());
    let cut = parsed(&Schema::Ocsf.write(&case.notice(), Schema::BYTES_MIN));
    assert_eq!(cut.pointer("/src_endpoint/ip"), None);
    assert!(cut.pointer("/src_endpoint/name").and_then(Value::as_str).unwrap().ends_with('…'));
}

/// `cargo test --release -p custody-forward -- --ignored --nocapture how_fast`
#[test]
#[ignore = "a measurement, not a check"]
fn how_fast_events_are_written() {
    let case = full();
    let notice = case.notice();
    for schema in Schema::ALL {
        let (begun, mut events, mut bytes) = (std::time::Instant::now(), 0_u32, 0);
        while begun.elapsed().as_millis() < 2000 {
            for _ in 0..1000 {
                bytes += schema.write(std::hint::black_box(&notice), 1 << 20).len();
            }
            events += 1000;
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{:8} {:9.0} events/s, {} bytes each",
            schema.as_str(),
            f64::from(events) / seconds,
            bytes / events as usize
        );
    }
}

#[test]
fn every_kind_is_written() {
    // What is written is written of `Kind::ALL`. A kind that is added has to be added there: this match says so.
    let position = |kind: Kind| match kind {
        Kind::SessionStart => 0,
        Kind::SessionEnd => 1,
        Kind::SessionJoin => 2,
        Kind::SessionLeave => 3,
        Kind::SessionUpload => 4,
        Kind::SessionRejected => 5,
        Kind::RecordingAccess => 6,
        Kind::SessionActivity => 7,
        Kind::RequestCreate => 8,
        Kind::RequestReview => 9,
        Kind::RequestUpdate => 10,
        Kind::RequestDelete => 11,
        Kind::RequestExpire => 12,
        Kind::CredentialIssue => 13,
        Kind::Login => 14,
        Kind::PolicyDecision => 15,
        Kind::ConfigChange => 16,
        Kind::Import => 17,
        Kind::Redecode => 18,
        Kind::Retention => 19,
        Kind::Loss => 20,
        Kind::Finding => 21,
        Kind::Heartbeat => 22,
        Kind::Other => 23,
    };
    assert!(Kind::ALL.into_iter().map(position).eq(0..24));
}
