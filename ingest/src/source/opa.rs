//! Open Policy Agent: decision logs.
//!
//! The shape is the event of OPA's decision log plugin (its management API documentation, "Decision Logs"), as the
//! plugin uploads it, as the console prints it, and as Enterprise OPA and shippers put it on Kafka. `input` and
//! `result` belong to whoever wrote the policy: what Custody looks for in them is configured ([`OpaMapping`]), and all
//! of both stays in the detail.

use std::borrow::Cow;

use custody_schemas::event::{Event, Kind, Outcome, Text};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use custody_schemas::time::Micros;

use super::object::{Object, Time, string, text, texts, time};
use super::wrapper::{self, Unpacked};
use super::{Sink, Source};

use self::mapping::{Found, Place};
pub use self::mapping::{OpaColumn, OpaMapping, OpaPointer};

mod duration;
mod mapping;

/// What the console puts into `type` of a decision, among its other lines.
const CONSOLE_TYPE: &str = "openpolicyagent.org/decision_logs";

/// Decodes one message of an OPA topic.
pub(super) fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    wrapper::unpack(message.value, &mut Opa { mapping: &source.settings.opa, sink })
}

struct Opa<'s> {
    mapping: &'s OpaMapping,
    sink: &'s mut dyn Sink,
}

impl Unpacked for Opa<'_> {
    const BETWEEN_LOG_LINES: bool = true;

    fn is_event(&self, object: &Object<'_>) -> bool {
        object.has("decision_id") || is_console_decision(object)
    }

    fn object(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        // A caller may switch ids off; the rest of a decision is unmistakable too.
        let is_decision = self.is_event(&object) || (object.has("labels") && object.has("timestamp"));
        if !is_decision {
            if object.has("level") && object.has("msg") {
                return Ok(());
            }
            return Err(DecodeError::new(ErrorKind::MissingField, "no `decision_id`: not a decision log event"));
        }
        let time = object.time("timestamp");
        self.sink.event(&event_of(self.mapping, &mut object, time)?);
        match time {
            Time::Invalid => Err(DecodeError::new(ErrorKind::InvalidField, "`timestamp` is not an instant")),
            Time::At(_) | Time::Unset => Ok(()),
        }
    }
}

fn is_console_decision(object: &Object<'_>) -> bool {
    object.json("type").and_then(string).as_deref() == Some(CONSOLE_TYPE)
}

fn event_of<'a>(mapping: &OpaMapping, object: &mut Object<'a>, time: Time) -> Result<Event<'a>, DecodeError> {
    if is_console_decision(object) {
        // What the console adds is the same for every decision; without it a decision reads the same on every road.
        for name in ["level", "msg", "time", "type"] {
            object.take(name);
        }
    }
    let instance = object.json_at("labels.id").and_then(text);
    let decision_id = object.text("decision_id");
    let mut event = Event {
        event_id: match &decision_id {
            Some(id) => Cow::Owned(["opa/", instance.as_deref().unwrap_or_default(), "/", id].concat()),
            None => Cow::Borrowed(""),
        },
        cluster: instance,
        occurred_at: time.at(),
        kind: Kind::PolicyDecision,
        source_type: Cow::Borrowed("decision"),
        decision_id,
        policy_path: object.text("path").map(without_slash),
        policy_revision: revision(object),
        remote_addr: object.text("requested_by"),
        ..Event::default()
    };
    let found = mapping.lookup(event.policy_path.as_deref()).find(object);
    event.outcome = outcome(object, &found);
    read(&mut event, &found);
    event.detail = object.detail()?;
    Ok(event)
}

fn read<'a>(event: &mut Event<'a>, found: &Found<'_, 'a>) {
    let one_or_more = |json| text(json).map(|one| vec![one]).or_else(|| texts(json).filter(|texts| !texts.is_empty()));
    let instant = |json| time(json).at();
    event.actor = found.first(OpaColumn::Actor, text);
    event.action = found.first(OpaColumn::Action, text);
    event.target = found.first(OpaColumn::Target, text);
    event.target_kind = event.target.is_some().then_some("target".into());
    event.session_id = found.first(OpaColumn::SessionId, text);
    event.request_ids = found.first(OpaColumn::RequestIds, one_or_more).unwrap_or_default();
    event.correlation_id = found.first(OpaColumn::CorrelationId, text);
    event.ticket = found.first(OpaColumn::Ticket, text);
    event.reason = found.first(OpaColumn::Reason, text);
    event.approver = found.first(OpaColumn::Approver, text);
    let granted_at = found.first(OpaColumn::GrantedAt, instant);
    event.approved_at = found.first(OpaColumn::ApprovedAt, instant).or(granted_at);
    event.expires_at = found.first(OpaColumn::ExpiresAt, instant).or_else(|| end_of_grant(granted_at?, found));
}

/// The end of an approval that was given for some time.
fn end_of_grant(granted_at: Micros, found: &Found<'_, '_>) -> Option<Micros> {
    granted_at.checked_add(found.first(OpaColumn::ValidDuration, duration::micros)?)
}

/// How the decision came out. An undefined result is neither yes nor no: OPA leaves it out, and callers are expected to
/// refuse. What the engine withheld, wholly or where the answer would be, says nothing.
fn outcome(object: &Object<'_>, found: &Found<'_, '_>) -> Option<Outcome> {
    if object.has("error") {
        return Some(Outcome::Error);
    }
    if found.is_field_withheld("result") {
        return None;
    }
    let Some(result) = object.json("result") else { return Some(Outcome::Undefined) };
    verdict(result).or_else(|| match found.places(OpaColumn::Allow).find(|place| *place != Place::Absent)? {
        Place::Value(json) => verdict(json),
        Place::Absent | Place::Withheld => None,
    })
}

fn verdict(json: &str) -> Option<Outcome> {
    match string(json).map(|text| text.to_ascii_lowercase()).as_deref().unwrap_or(json) {
        "true" | "allow" | "allowed" => Some(Outcome::Allow),
        "false" | "deny" | "denied" => Some(Outcome::Deny),
        _ => None,
    }
}

fn without_slash(path: Text<'_>) -> Text<'_> {
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.trim_start_matches('/')),
        Cow::Owned(path) => Cow::Owned(path.trim_start_matches('/').to_owned()),
    }
}

/// `bundle=revision` of every bundle in the order of their names; a bundle without a revision is its name.
fn revision<'a>(object: &mut Object<'a>) -> Option<Text<'a>> {
    let bundles = object.json("bundles").and_then(Object::parse);
    let named: Vec<String> = bundles
        .iter()
        .flat_map(Object::sorted_fields)
        .map(|(name, bundle)| match Object::parse(bundle).and_then(|bundle| bundle.json("revision")).and_then(text) {
            Some(revision) => [name, "=", &revision].concat(),
            None => name.to_owned(),
        })
        .collect();
    if named.is_empty() { object.text("revision") } else { Some(Cow::Owned(named.join(","))) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::source::testing::{Decoded, check_example, decoded, example, fixture, fixture_lines, message, mutated};
    use crate::source::{Settings, SourceKind};

    fn opa(value: impl AsRef<[u8]>) -> Decoded {
        decoded(SourceKind::Opa, value)
    }

    fn event(object: &Value) -> Value {
        let out = opa(object.to_string());
        assert_eq!((out.events.len(), out.error), (1, None), "{object}: {}", out.error_detail);
        out.events[0].clone()
    }

    #[test]
    fn the_contracts_example_is_decoded_as_it_says() {
        check_example(SourceKind::Opa, "opa-decisions.ndjson", None);
    }

    #[test]
    fn outcomes_follow_the_result() {
        let cases = [
            ("true", json!({"result": true}), json!("allow")),
            ("false", json!({"result": false}), json!("deny")),
            ("text", json!({"result": "true"}), json!("allow")),
            ("other text", json!({"result": "maybe"}), Value::Null),
            ("allow", json!({"result": {"allow": true, "x": 1}}), json!("allow")),
            ("allowed", json!({"result": {"allowed": false}}), json!("deny")),
            ("decision", json!({"result": {"decision": "Deny"}}), json!("deny")),
            ("allow before the others", json!({"result": {"result": true, "allow": false}}), json!("deny")),
            ("unknown object", json!({"result": {"score": 3}}), Value::Null),
            ("list", json!({"result": [true]}), Value::Null),
            ("null is a result", json!({"result": null}), Value::Null),
            ("absent", json!({}), json!("undefined")),
            ("error", json!({"result": true, "error": {"code": "x"}}), json!("error")),
        ];
        for (name, mut object, expected) in cases {
            object["decision_id"] = json!("d");
            assert_eq!(event(&object)["outcome"], expected, "{name}");
        }
    }

    #[test]
    fn inputs_are_searched_for_who_what_and_why() {
        let cases = [
            ("plain user", json!({"user": "u"}), json!({"actor": "u"})),
            ("email before id", json!({"user": {"id": "i", "email": "e"}}), json!({"actor": "e"})),
            ("identity", json!({"identity": {"user": "u"}}), json!({"actor": "u"})),
            ("identity in the context", json!({"context": {"identity": "u"}}), json!({"actor": "u"})),
            ("its address", json!({"context": {"identity": {"email": "e", "id": "i"}}}), json!({"actor": "e"})),
            ("requester", json!({"requester": "u"}), json!({"actor": "u"})),
            ("target in the context", json!({"context": {"target": {"name": "t"}}}), json!({"target": "t"})),
            ("correlation", json!({"correlation_id": "c"}), json!({"correlation_id": "c"})),
            ("subject", json!({"subject": {"id": 7}}), json!({"actor": "7"})),
            ("plain target", json!({"target": "t"}), json!({"target": "t", "target_kind": "target"})),
            ("resource", json!({"resource": {"id": "r"}}), json!({"target": "r"})),
            ("session", json!({"session": {"id": "s"}}), json!({"session_id": "s"})),
            ("one request", json!({"request_id": "q"}), json!({"request_ids": ["q"]})),
            ("several requests", json!({"access_requests": ["q", "", "r"]}), json!({"request_ids": ["q", "r"]})),
            ("ticket", json!({"reason_id": "INC-1"}), json!({"ticket": "INC-1"})),
            ("no ticket", json!({"reason_id": ""}), json!({"ticket": null})),
            ("reason in words", json!({"reason": "w", "reason_type": "t"}), json!({"reason": "w"})),
            ("reason by its sort", json!({"reason": {"type": "t"}}), json!({"reason": "t"})),
            ("no object", json!(["user"]), json!({"actor": null})),
        ];
        for (name, input, expected) in cases {
            let event = event(&json!({"decision_id": "d", "input": input}));
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(&event[column], value, "{name}: {column}");
            }
            assert_eq!(event["detail"]["input"], input, "{name}: the input is kept whole");
        }
    }

    #[test]
    fn approvals_are_read_with_their_end() {
        let cases = [
            (
                "by the result",
                json!({"result": {"allow": true, "approver": "c", "approved_at": "2026-03-02T08:00:00Z",
                    "expires_at": "2026-03-02T09:00:00Z"}}),
                json!({"approver": "c", "approved_at": "2026-03-02T08:00:00.000000Z",
                    "expires_at": "2026-03-02T09:00:00.000000Z"}),
            ),
            (
                "by the input, for some time",
                json!({"input": {"approval": {"approved_by": "c", "granted_at": "2026-03-02T08:00:00Z",
                    "valid_duration": "1h30m"}}}),
                json!({"approver": "c", "approved_at": "2026-03-02T08:00:00.000000Z",
                    "expires_at": "2026-03-02T09:30:00.000000Z"}),
            ),
            (
                "an end that is stated is not reckoned",
                json!({"input": {"approval": {"granted_at": "2026-03-02T08:00:00Z", "valid_duration": 60,
                    "expires_at": "2026-03-02T08:30:00Z"}}}),
                json!({"expires_at": "2026-03-02T08:30:00.000000Z"}),
            ),
            (
                "a length without a beginning",
                json!({"result": {"approved_at": "2026-03-02T08:00:00Z"}, "input": {"approval": {"valid_duration": 60}}}),
                json!({"approved_at": "2026-03-02T08:00:00.000000Z", "expires_at": null}),
            ),
            (
                "a length that is none",
                json!({"input": {"approval": {"granted_at": "2026-03-02T08:00:00Z", "valid_duration": "a while"}}}),
                json!({"approved_at": "2026-03-02T08:00:00.000000Z", "expires_at": null}),
            ),
            (
                "not an instant",
                json!({"result": {"approved_at": "noon", "expires_at": 7}}),
                json!({"approved_at": null, "expires_at": null}),
            ),
        ];
        for (name, mut object, expected) in cases {
            object["decision_id"] = json!("d");
            let event = event(&object);
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(&event[column], value, "{name}: {column}");
            }
        }
    }

    #[test]
    fn what_was_withheld_is_no_fact_and_that_it_was_can_be_told() {
        let input = json!({"user": {"email": "**", "id": "u-7"}, "reason": "**", "ticket": "OPS-1",
            "access_requests": ["q", "r"], "a/b": "x"});
        let result = json!({"allow": true, "decision": "deny"});
        let cases = [
            ("masked", json!({"masked": ["/input/user/email"]}), json!({"actor": "u-7"})),
            ("all of it", json!({"masked": ["/input/user"]}), json!({"actor": null})),
            ("the reason", json!({"masked": ["/input/reason"]}), json!({"reason": null, "ticket": "OPS-1"})),
            ("the ticket", json!({"erased": ["/input/ticket"]}), json!({"ticket": null})),
            ("one of a list", json!({"masked": ["/input/access_requests/0"]}), json!({"request_ids": null})),
            ("the whole input", json!({"masked": ["/input"]}), json!({"actor": null, "ticket": null})),
            ("escaped", json!({"masked": ["/input/%75ser/email"]}), json!({"actor": "u-7"})),
            ("the answer", json!({"erased": ["/result/allow"]}), json!({"outcome": null})),
            ("the whole result", json!({"masked": ["/result"]}), json!({"outcome": null})),
            ("a list that is none", json!({"masked": {"a": 1}}), json!({"actor": null, "outcome": null})),
            ("another place", json!({"masked": ["/input/users"]}), json!({"actor": "**", "outcome": "allow"})),
        ];
        for (name, lists, expected) in cases {
            let mut object = json!({"decision_id": "d", "input": input, "result": result});
            object.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
            let event = event(&object);
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(&event[column], value, "{name}: {column}");
            }
            for (list, pointers) in lists.as_object().unwrap() {
                assert_eq!(&event["detail"][list], pointers, "{name}: {list}");
            }
        }
        let erased = event(&json!({"decision_id": "d", "erased": ["/result"]}));
        assert_eq!(erased["outcome"], Value::Null, "a result that was removed is not undefined");
    }

    #[test]
    fn the_configuration_says_where_to_look() {
        let mapping: OpaMapping = serde_json::from_value(json!({
            "ticket": ["/custom/change", "/input/list/0"],
            "paths": [
                {"prefix": "gate/", "actor": ["/input/x"], "reason": []},
                {"prefix": "/gate/inner/", "actor": ["/input/y"], "allow": ["/result/verdict/yes"]},
            ],
        }))
        .unwrap();
        let mut source = Source::new(SourceKind::Opa);
        source.settings = Settings { opa: mapping, ..Settings::default() }.into();
        let input = json!({"user": "u", "x": "x", "y": "y", "reason": "r", "list": ["OPS-2"]});
        let cases = [
            ("elsewhere", "other", json!({"actor": "u", "reason": "r", "ticket": "OPS-2", "outcome": "allow"})),
            ("under a prefix", "/gate/a", json!({"actor": "x", "reason": null, "ticket": "OPS-2", "outcome": "allow"})),
            (
                "under a longer one",
                "gate/inner/a",
                json!({"actor": "y", "reason": "r", "ticket": "OPS-2", "outcome": "deny"}),
            ),
        ];
        for (name, path, expected) in cases {
            let object = json!({"decision_id": "d", "path": path, "input": input,
                "result": {"allow": true, "verdict": {"yes": false}}});
            let mut out = Decoded::default();
            let value = object.to_string();
            crate::source::decode(&source, &message(None, value.as_bytes()), &mut out).unwrap();
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(&out.events[0][column], value, "{name}: {column}");
            }
        }
    }

    #[test]
    fn what_has_no_column_stays_in_the_detail() {
        let object = json!({"decision_id": "d", "batch_decision_id": "b", "trace_id": "t", "span_id": "s",
            "custom": {"type": "eopa.styra.com/batch"}, "nd_builtin_cache": {"time.now_ns": {"[]": 1}},
            "intermediate_results": {"data.x": null}, "mapped_result": false, "query": "data.x", "req_id": 1});
        let detail = event(&object)["detail"].clone();
        for (name, value) in object.as_object().unwrap().iter().filter(|(name, _)| *name != "decision_id") {
            assert_eq!(&detail[name], value, "{name}");
        }
    }

    #[test]
    fn revisions_name_their_bundles() {
        let cases = [
            ("one", json!({"bundles": {"b": {"revision": "1"}}}), json!("b=1")),
            ("several", json!({"bundles": {"z": {"revision": "2"}, "a": {}}}), json!("a,z=2")),
            ("before there were bundles", json!({"revision": "9"}), json!("9")),
            ("none", json!({"bundles": {}}), Value::Null),
        ];
        for (name, mut object, expected) in cases {
            object["decision_id"] = json!("d");
            assert_eq!(event(&object)["policy_revision"], expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_decision_is_passed_over_or_refused() {
        use ErrorKind::*;
        let cases: &[(&str, &str, usize, Option<ErrorKind>)] = &[
            ("console line", r#"{"level":"info","msg":"Received request."}"#, 0, None),
            ("console line and text", "{\"level\":\"info\",\"msg\":\"x\"}\nnot JSON", 0, None),
            ("text alone", "not JSON", 0, Some(InvalidJson)),
            ("another object", r#"{"responses":{}}"#, 0, Some(MissingField)),
            ("a decision without an id", r#"{"labels":{"id":"i"},"timestamp":"2026-03-02T08:00:00Z"}"#, 1, None),
            (
                "a decision cut off, between console lines",
                "{\"level\":\"info\",\"msg\":\"x\"}\n{\"deci",
                0,
                Some(InvalidJson),
            ),
            ("wrong time", r#"{"decision_id":"d","timestamp":"noon"}"#, 1, Some(InvalidField)),
            ("tombstone", "", 0, Some(Empty)),
        ];
        for (name, value, events, error) in cases {
            let out = opa(value);
            assert_eq!((out.events.len(), out.error), (*events, *error), "{name}");
        }
    }

    #[test]
    fn real_console_output_is_decoded() {
        let files = [
            ("opa/console/real-0.26.0-rest.ndjson", 1),
            ("opa/console/real-0.28.0-envoy.ndjson", 2),
            ("opa/console/real-1.11.0-envoy-mixed-stderr.ndjson", 1),
            ("opa/synthetic/console-with-noise.ndjson", 1),
        ];
        for (file, expected) in files {
            let Some(whole) = fixture(file) else { return };
            let out = opa(&whole);
            assert_eq!((out.events.len(), out.error), (expected, None), "{file} as one message");
            let lines = fixture_lines(file).expect("the same file");
            let by_line: usize = lines.iter().map(|line| opa(line).events.len()).sum();
            assert_eq!(by_line, expected, "{file} by line");
            for event in &out.events {
                assert!(event["detail"].get("level").is_none(), "{file}");
            }
        }
    }

    #[test]
    fn every_form_on_kafka_is_the_same_two_decisions() {
        let Some(array) = fixture("opa/eopa/kafka-batch-array.json") else { return };
        let expected = opa(array).events;
        assert_eq!(expected.len(), 2);
        assert_eq!(
            expected[0]["event_id"],
            "opa/6067027a-caf0-4601-8691-6a1ba0906b4b/955ee45b-8624-4e23-af67-e3513d69c997"
        );
        assert_eq!(expected[0]["occurred_at"], "2023-05-12T11:36:37.496602Z");
        assert_eq!(expected[1]["outcome"], "undefined");
        for file in ["kafka-batch-array.json.gz", "kafka-batch-lines.ndjson"] {
            let out = opa(fixture(&format!("opa/eopa/{file}")).expect("its other form"));
            assert_eq!((out.events, out.error), (expected.clone(), None), "{file}");
        }
        for file in ["docs-kafka-message.json", "docs-splunk-envelope.json"] {
            let out = opa(fixture(&format!("opa/eopa/{file}")).expect("its other form"));
            assert_eq!((out.events.as_slice(), out.error), (&expected[..1], None), "{file}");
        }
        let out = opa(fixture("opa/eopa/docs-s3-object-undefined-result.json").expect("its other form"));
        assert_eq!((out.events.as_slice(), out.error), (&expected[1..], None));
        for file in ["docs-batch-api-response.json", "docs-intermediate-results.json"] {
            let out = opa(fixture(&format!("opa/eopa/{file}")).expect("no decision log"));
            assert_eq!((out.events.len(), out.error), (0, Some(ErrorKind::MissingField)), "{file}");
        }
    }

    #[test]
    fn uploaded_chunks_are_decoded_and_overlap_by_identity() {
        let Some(docs) = fixture("opa/upload/docs-example.json") else { return };
        assert_eq!(opa(docs).events[0]["outcome"], "allow");
        let [plain, packed] = ["opa/upload/real-events-as-chunk.json", "opa/upload/real-events-as-chunk.json.gz"]
            .map(|file| opa(fixture(file).expect("its other form")));
        assert_eq!((plain.events.len(), plain.error), (5, None));
        assert_eq!(plain.events, packed.events);
        let [first, second] =
            ["opa/synthetic/upload-chunk-1.json.gz", "opa/synthetic/upload-chunk-2-overlapping.json.gz"]
                .map(|file| opa(fixture(file).expect("its other form")).events);
        let shared = first.iter().filter(|event| second.iter().any(|other| other["event_id"] == event["event_id"]));
        assert_eq!(shared.count(), 2);
    }

    #[test]
    fn access_decisions_say_who_what_and_why() {
        let Some(lines) = fixture_lines("opa/synthetic/access-decisions.ndjson") else { return };
        let events: Vec<Value> = lines.iter().map(|line| event(&serde_json::from_str(line).unwrap())).collect();
        let rows: Vec<Value> = events
            .iter()
            .map(|event| {
                ["actor", "target", "outcome", "ticket", "reason"].iter().map(|name| event[*name].clone()).collect()
            })
            .collect();
        assert_eq!(
            rows,
            [
                json!(["alice@example.com", "prod-db-01", "allow", "INC-78901", "incident"]),
                json!(["mallory@example.com", "prod-db-01", "deny", null, "incident"]),
                json!(["alice@example.com", "prod-db-01", "undefined", "CHG-1002", "change"]),
                json!(["alice@example.com", "prod-db-01", "error", "CHG-1003", "change"]),
                json!(["u_R8dKpWx2Fq", "tssh_M4nBvC6xZa", "allow", "INC-78901", "incident"]),
                json!(["alice@example.com", "prod-db-01", "allow", "INC-78901", "incident"]),
            ]
        );
        assert_eq!(events[0]["expires_at"], "2025-12-01T13:41:12.000000Z");
        assert_eq!(events[0]["approver"], "carol@example.com");
        assert_eq!(events[0]["approved_at"], "2025-12-01T09:41:12.000000Z");
        assert_eq!(events[0]["policy_revision"], "custody=2025-11-30T22:10:04Z-9c1f0ab");
        assert!(events.iter().all(|event| event["policy_path"] == "boundary/authz/decision"));
        assert!(events.iter().all(|event| event["remote_addr"] == "10.20.0.9:41322"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = opa(&bytes);
        }

        #[test]
        fn damaged_messages_do_no_harm(value in mutated(example("opa-decisions.ndjson"))) {
            let _ = opa(&value);
        }
    }
}
