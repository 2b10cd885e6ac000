use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::source::object::NESTING_MAX;
use crate::source::testing::{Decoded, check_example, decoded, example, fixture, fixture_lines, message, mutated};
use crate::source::{SourceKind, decode};

/// The key that the contract's examples are signed with.
const EXAMPLE_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn boundary(value: impl AsRef<[u8]>) -> Decoded {
    decoded(SourceKind::Boundary, value)
}

fn decoded_with(keys: &[&str], value: impl AsRef<[u8]>) -> Decoded {
    let mut source = Source::new(SourceKind::Boundary);
    let keys = keys.iter().map(|key| AuditKey::from_hex(key).unwrap());
    Arc::make_mut(&mut source.settings).boundary_audit_keys.extend(keys);
    let mut out = Decoded::default();
    if let Err(error) = decode(&source, &message(None, value.as_ref()), &mut out) {
        out.error = Some(error.kind);
        out.error_detail = error.detail;
    }
    out
}

/// The only event of a value.
fn event(value: impl AsRef<[u8]>) -> Value {
    let out = boundary(&value);
    assert_eq!((out.events.len(), out.error), (1, None), "{}", out.error_detail);
    out.events[0].clone()
}

fn columns(event: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| event[*name].clone()).collect()
}

fn assert_columns(name: &str, event: &Value, expected: &Value) {
    for (column, value) in expected.as_object().unwrap() {
        assert_eq!(&event[column], value, "{name}: {column}");
    }
}

fn envelope(event_type: &str, data: &Value) -> Value {
    json!({
        "id": "ex00000001", "source": "https://hashicorp.com/boundary/c.example/controller", "specversion": "1.0",
        "type": event_type, "data": data, "datacontentype": "application/cloudevents",
        "time": "2026-03-03T08:00:00.000000001Z",
    })
}

fn request(method: &str, path: &str, response: &Value) -> Value {
    envelope(
        "audit",
        &json!({
            "id": "e_x", "timestamp": "2026-03-03T07:59:59Z", "response": response,
            "request_info": {"method": method, "path": path}, "auth": {"user_info": {"id": "u_x"}},
        }),
    )
}

/// Values of the example, each a message with one event but for the one that tells a session's end too.
fn story() -> Vec<Vec<u8>> {
    example("boundary-session.ndjson")
}

#[test]
fn the_contracts_examples_are_decoded_as_it_says() {
    check_example(SourceKind::Boundary, "boundary-session.ndjson", None);
    check_example(SourceKind::Boundary, "boundary-shipped.ndjson", None);
}

#[test]
fn the_story_of_a_session_is_told() {
    let Some(whole) = fixture("boundary/events/synthetic-session-story.ndjson") else { return };
    let key = String::from_utf8(fixture("boundary/events/synthetic-audit-dek.hex").unwrap()).unwrap();
    let out = decoded_with(&[&key], &whole);
    assert_eq!((out.events.len(), out.error), (14, None), "13 events, of which one tells a session's end too");
    let names = ["kind", "source_type", "actor", "target", "outcome", "session_id", "recording_id", "integrity"];
    let rows: Vec<Value> = out.events.iter().map(|event| columns(event, &names)).collect();
    let (alice, auditor, mallory) = ("u_R8dKpWx2Fq", "u_Aud1tOr999", "u_Mallory001");
    let (target, session, recording) = ("tssh_M4nBvC6xZa", "s_Kq3vYx8LmT", "sr_7TzPw2RbQn");
    let signed = "authentic";
    let none = Value::Null;
    let expected = [
        json!(["session.start", "targets.authorize-session", alice, target, "success", session, recording, signed]),
        json!(["other", "observation", none, none, "success", none, none, none]),
        json!(["session.activity", "system", none, none, none, session, none, none]),
        json!(["session.activity", "system", none, none, none, session, none, none]),
        json!(["session.activity", "error", none, none, "failure", session, none, none]),
        json!(["session.activity", "system", none, none, none, session, none, none]),
        json!(["other", "sessions.read", auditor, session, "success", session, none, signed]),
        json!(["session.end", "sessions.terminated", alice, target, none, session, none, signed]),
        json!(["other", "sessions.cancel", auditor, "s_0therS3ss1", "success", "s_0therS3ss1", none, signed]),
        json!([
            "recording.access",
            "session-recordings.read",
            auditor,
            recording,
            "success",
            session,
            recording,
            signed
        ]),
        json!([
            "recording.access",
            "session-recordings.download",
            auditor,
            "chr_Sh3llAbCd1",
            "success",
            none,
            none,
            signed
        ]),
        json!(["session.rejected", "targets.authorize-session", mallory, target, "deny", none, none, signed]),
        json!(["recording.access", "session-recordings.download", auditor, "chr_L0ngD0wnl0", none, none, none, signed]),
        json!(["other", "APIRequest", none, none, "success", none, none, signed]),
    ];
    for (number, (row, expected)) in rows.iter().zip(&expected).enumerate() {
        assert_eq!(row, expected, "event {number}");
    }
    assert_columns(
        "start",
        &out.events[0],
        &json!({
            "event_id": "boundary/controller-0.prod.example/e_Auth0rize1",
            "cluster": "controller-0.prod.example",
            "occurred_at": "2025-12-01T09:59:50.412000Z",
            "source_code": "e_Auth0rize1",
            "action": "authorize-session target prod-db-01.alias.example",
            "target_kind": "target",
            "protocol": "ssh",
            "session_started_at": "2025-12-01T09:59:50.438120Z",
            "expires_at": "2025-12-01T17:59:50.438120Z",
            "correlation_id": "6b3f1f0e-2f0a-4a53-9d0e-8c2b7a1d4e55",
            "recorded": true,
            "remote_addr": "203.0.113.24",
        }),
    );
    assert_eq!(
        out.events[0]["detail"]["data"]["auth"]["grants_info"]["grants"][0]["role_id"], "r_ZxCvBnM123",
        "why it was allowed is kept"
    );
    assert_columns(
        "end",
        &out.events[7],
        &json!({
            "event_id": "boundary/controller-0.prod.example/e_SessRead01/end/s_Kq3vYx8LmT",
            "occurred_at": "2025-12-01T10:00:21.000000Z",
            "session_started_at": "2025-12-01T09:59:50.438120Z",
            "session_ended_at": "2025-12-01T10:00:21.000000Z",
            "correlation_id": null,
        }),
    );
    assert_eq!(out.events[7]["detail"]["termination_reason"], "closed by end-user");
    assert_eq!(out.events[7]["detail"]["connections"][0]["bytes_down"], 9120);
    assert_columns(
        "connection",
        &out.events[3],
        &json!({
            "event_id": "boundary/worker-a.prod.example/system/2025-12-01T10:00:00.244Z/worker.(Worker).handleProxy/\
                         connection successfully authorized/s_Kq3vYx8LmT/sc_B1c2D3e4F5",
            "action": "connection successfully authorized",
        }),
    );
    assert_eq!(out.events[3]["detail"]["data"]["data"]["connection_id"], "sc_B1c2D3e4F5");
    let [first, last] = [&out.events[12], &out.events[13]];
    assert_eq!(first["event_id"], "boundary/controller-0.prod.example/e_Split00001/2025-12-01T10:09:00Z");
    assert_eq!(last["event_id"], "boundary/controller-0.prod.example/e_Split00001");
    assert_eq!([&first["source_code"], &last["source_code"]], ["e_Split00001"; 2]);
    let audits = out.events.iter().filter(|event| !event["integrity"].is_null());
    let correlated = audits.filter(|event| !event["correlation_id"].is_null()).count();
    assert_eq!(correlated, 7, "all but the end and the last part, which do not say");

    let unverified = boundary(&whole);
    let by_copy = unverified.events.iter().filter(|event| event["integrity"] == "checksums").count();
    assert_eq!(by_copy, 9, "without the key only the copy counts");
}

#[test]
fn forgeries_are_told_apart() {
    let Some(lines) = fixture_lines("boundary/events/synthetic-bad-hmac.ndjson") else { return };
    let key = String::from_utf8(fixture("boundary/events/synthetic-audit-dek.hex").unwrap()).unwrap();
    let cases: [(&str, &[&str], &str, Value); 4] = [
        (&lines[0], &[&key], "failed", json!({"copy": "equal", "fields": [], "hmac": "invalid"})),
        (&lines[1], &[&key], "failed", json!({"copy": "differs", "fields": ["data"], "hmac": "valid"})),
        (&lines[0], &[], "checksums", Value::Null),
        (&lines[1], &[], "failed", json!({"copy": "differs", "fields": ["data"], "hmac": "unchecked"})),
    ];
    for (line, keys, integrity, failure) in cases {
        let out = decoded_with(keys, line);
        assert_eq!((out.events.len(), out.error), (1, None), "the event stands");
        assert_eq!((&out.events[0]["integrity"], &out.events[0]["detail"]["signature"]), (&json!(integrity), &failure));
    }
}

#[test]
fn the_other_fixtures_are_decoded() {
    let files = [
        ("real-worker-connections.issue-4857.ndjson", 9, 9),
        ("real-worker-startup.issue-3845.ndjson", 3, 0),
        ("synthetic-cloudevents-text.json", 2, 1),
        ("synthetic-hclog-json.ndjson", 2, 2),
        ("synthetic-hclog-text.log", 2, 2),
        ("synthetic-hmac-fields.ndjson", 1, 0),
    ];
    for (file, events, activities) in files {
        let Some(whole) = fixture(&format!("boundary/events/{file}")) else { return };
        let out = boundary(whole);
        assert_eq!((out.events.len(), out.error), (events, None), "{file}");
        let activity = out.events.iter().filter(|event| event["kind"] == "session.activity").count();
        assert_eq!(activity, activities, "{file}");
        let mut ids: Vec<&str> = out.events.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), events, "{file}: identities");
    }
    let connections = boundary(fixture("boundary/events/real-worker-connections.issue-4857.ndjson").unwrap()).events;
    let row = |event: &Value| columns(event, &["cluster", "occurred_at", "session_id", "action"]);
    let worker = "boundary-worker-5c96478d98-l75rg";
    assert_eq!(
        row(&connections[0]),
        json!([worker, "2024-06-01T11:47:11.192777Z", "s_LWNWWP2L5l", "connection closed"])
    );
    let closed = connections.iter().filter(|event| event["action"] == "connection closed").count();
    assert_eq!(closed, 6);
    let row = |event: &Value| columns(event, &["occurred_at", "session_id", "outcome"]);
    for file in ["synthetic-hclog-json.ndjson", "synthetic-hclog-text.log"] {
        let out = boundary(fixture(&format!("boundary/events/{file}")).unwrap());
        assert_eq!(row(&out.events[0]), json!(["2025-12-01T10:00:00.201000Z", "s_Kq3vYx8LmT", null]), "{file}");
        assert_eq!(row(&out.events[1]), json!(["2025-12-01T10:00:07.500000Z", "s_Kq3vYx8LmT", "failure"]), "{file}");
    }
    let key = String::from_utf8(fixture("boundary/events/synthetic-audit-dek.hex").unwrap()).unwrap();
    let out = decoded_with(&[&key], fixture("boundary/events/synthetic-hmac-fields.ndjson").unwrap());
    assert_columns(
        "HMAC in the place of a name",
        &out.events[0],
        &json!({
            "actor": "u_R8dKpWx2Fq", "source_type": "targets.list", "action": "list targets", "integrity": "authentic",
            "correlation_id": "61728394-a5b6-4c7d-a8f9-0a1b2c3d4e5f",
        }),
    );
    assert!(out.events[0]["detail"]["data"]["auth"]["email"].as_str().unwrap().starts_with("hmac-sha256:"));
}

#[test]
fn requests_are_named_by_method_and_path() {
    let ok = json!({"status_code": 200, "details": {"item": {"id": "r_new", "session_id": "s_1"}}});
    let refused = json!({"status_code": 403});
    let failed = json!({"status_code": 500});
    let rows = [
        (
            "POST",
            "/v1/targets/ttcp_1:authorize-session",
            &ok,
            "session.start",
            "targets.authorize-session",
            "authorize-session target ttcp_1",
            "ttcp_1",
            "success",
        ),
        (
            "POST",
            "/v1/targets/a.b:authorize-session?scope_id=x:y",
            &refused,
            "session.rejected",
            "targets.authorize-session",
            "authorize-session target a.b",
            "a.b",
            "deny",
        ),
        (
            "POST",
            "/v1/targets/ttcp_1:authorize-session",
            &failed,
            "session.rejected",
            "targets.authorize-session",
            "authorize-session target ttcp_1",
            "ttcp_1",
            "failure",
        ),
        ("GET", "/v1/targets?recursive=true", &ok, "other", "targets.list", "list targets", "r_new", "success"),
        ("GET", "/v1/targets/ttcp_1", &ok, "other", "targets.read", "read target ttcp_1", "ttcp_1", "success"),
        ("POST", "/v1/roles", &ok, "config.change", "roles.create", "create role", "r_new", "success"),
        ("PATCH", "/v1/users/u_1", &ok, "config.change", "users.update", "update user u_1", "u_1", "success"),
        (
            "DELETE",
            "/v1/policies/pst_1",
            &refused,
            "config.change",
            "policies.delete",
            "delete policy pst_1",
            "pst_1",
            "deny",
        ),
        (
            "DELETE",
            "/v1/aliases/alt_1",
            &ok,
            "config.change",
            "aliases.delete",
            "delete alias alt_1",
            "alt_1",
            "success",
        ),
        (
            "POST",
            "/v1/roles/r_1:add-grants",
            &ok,
            "config.change",
            "roles.add-grants",
            "add-grants role r_1",
            "r_1",
            "success",
        ),
        (
            "GET",
            "/v1/scopes:list-keys?id=global",
            &ok,
            "other",
            "scopes.list-keys",
            "list-keys scopes",
            "r_new",
            "success",
        ),
        (
            "POST",
            "/v1/auth-methods/ampw_1:authenticate",
            &refused,
            "login",
            "auth-methods.authenticate",
            "authenticate auth-method ampw_1",
            "ampw_1",
            "deny",
        ),
        (
            "GET",
            "/v1/auth-methods/oidc:authenticate:callback?code=x",
            &ok,
            "login",
            "auth-methods.authenticate:callback",
            "authenticate:callback auth-method oidc",
            "oidc",
            "success",
        ),
        (
            "GET",
            "/v1/session-recordings",
            &ok,
            "other",
            "session-recordings.list",
            "list session-recordings",
            "r_new",
            "success",
        ),
        (
            "DELETE",
            "/v1/session-recordings/sr_1",
            &ok,
            "config.change",
            "session-recordings.delete",
            "delete session-recording sr_1",
            "sr_1",
            "success",
        ),
        (
            "POST",
            "/v1/session-recordings/sr_1:export",
            &ok,
            "recording.access",
            "session-recordings.export",
            "export session-recording sr_1",
            "sr_1",
            "success",
        ),
        (
            "DELETE",
            "/v1/auth-tokens/at_1",
            &ok,
            "other",
            "auth-tokens.delete",
            "delete auth-token at_1",
            "at_1",
            "success",
        ),
    ];
    for (method, path, response, kind, source_type, action, target, outcome) in rows {
        let event = event(request(method, path, response).to_string());
        let row = columns(&event, &["kind", "source_type", "action", "target", "outcome"]);
        assert_eq!(row, json!([kind, source_type, action, target, outcome]), "{method} {path}");
    }
    for path in ["/", "/metrics?x", "/v1/", "/v1/<script>:x", "/v1/UPPER", "v1/targets"] {
        let event = event(request("GET", path, &json!({"status_code": 302})).to_string());
        let row = columns(&event, &["kind", "source_type", "outcome"]);
        assert_eq!(row, json!(["other", "audit", null]), "{path}");
        assert_eq!(event["detail"]["data"]["request_info"]["path"], path);
    }
}

#[test]
fn sessions_start_and_end_only_where_a_response_says_so() {
    let authorize = |response: &Value| request("POST", "/v1/targets/ttcp_1:authorize-session", response);
    let cases = [
        (
            "no recording",
            json!({"status_code": 200, "details": {"item": {"session_id": "s_1"}}}),
            json!({"kind": "session.start", "recorded": false, "recording_id": null, "actor": "u_x"}),
        ),
        (
            "details before the status",
            json!({"details": {"item": {"session_id": "s_1"}}}),
            json!({
                "kind": "session.start", "outcome": null, "event_id": "boundary/c.example/e_x/2026-03-03T07:59:59Z",
            }),
        ),
        ("no session told", json!({"status_code": 200}), json!({"kind": "other", "recorded": null})),
        ("nothing told", json!({}), json!({"kind": "other", "outcome": null})),
    ];
    for (name, response, expected) in cases {
        assert_columns(name, &event(authorize(&response).to_string()), &expected);
    }
    let read = |item: &Value| {
        let response = json!({"status_code": 200, "details": {"item": item}});
        boundary(request("POST", "/v1/sessions/s_1:cancel", &response).to_string()).events
    };
    let at = |seconds| json!({"seconds": seconds});
    let states = |list: &Value| read(&json!({"id": "s_1", "status": "terminated", "states": list}));
    let cases = [
        ("began to be terminated", states(&json!([{"status": "terminated", "start_time": at(10)}])), json!(10)),
        ("was active", states(&json!([{"status": "active", "end_time": at(9)}])), json!(9)),
        ("not told", states(&json!([{"status": "terminated"}])), Value::Null),
    ];
    for (name, events, seconds) in cases {
        let ended = seconds.as_i64().map(|seconds| format!("1970-01-01T00:00:{seconds:02}.000000Z"));
        assert_eq!(events.len(), 2, "{name}");
        assert_eq!(
            (&events[1]["kind"], &events[1]["session_ended_at"]),
            (&json!("session.end"), &json!(ended)),
            "{name}"
        );
    }
    assert_eq!(read(&json!({"id": "s_1", "status": "canceling"})).len(), 1);
    assert_eq!(read(&json!({"status": "terminated"})).len(), 1, "of no session");
}

#[test]
fn actors_are_users_or_addresses_in_clear() {
    let cases = [
        (json!({"user_info": {"id": "u_1"}, "email": "a@example.com"}), json!({"actor": "a@example.com"})),
        (json!({"user_info": {"id": "u_1"}, "email": "[REDACTED]"}), json!({"actor": "u_1", "actor_kind": null})),
        (json!({"user_info": {"id": "u_1"}, "email": "hmac-sha256:AAAA"}), json!({"actor": "u_1"})),
        (json!({"user_info": {"id": "u_1"}, "email": "encrypted:AAAA"}), json!({"actor": "u_1"})),
        (json!({"user_info": {"id": "u_anon"}}), json!({"actor": "u_anon", "actor_kind": null})),
        (json!({"user_info": {"id": "u_recovery"}}), json!({"actor": "u_recovery", "actor_kind": "system"})),
        (json!({"user_info": {"id": "[REDACTED]"}}), json!({"actor": null})),
        (json!({"user_info": {"id": {"value": "u_1"}}}), json!({"actor": "u_1"})),
    ];
    for (auth, expected) in cases {
        let mut value = request("GET", "/v1/users", &json!({"status_code": 200}));
        value["data"]["auth"] = auth.clone();
        let event = event(value.to_string());
        assert_columns(&auth.to_string(), &event, &expected);
        assert_eq!(event["detail"]["data"]["auth"], auth, "kept as it is");
    }
    let login = json!({"status_code": 200, "details": {"Attrs": {"AuthTokenResponse": {"user_id": "u_who"}}}});
    assert_eq!(event(request("POST", "/v1/auth-methods/a:authenticate", &login).to_string())["actor"], "u_who");
}

#[test]
fn what_is_hidden_fills_no_column() {
    for mark in ["[REDACTED]", "W1JFREFDVEVEXQ==", "hmac-sha256:c2VjcmV0", "encrypted:c2VjcmV0"] {
        let value = json!({"status_code": 200, "details": {"item": {
            "id": mark, "session_id": "s_1", "target_id": mark, "user_id": mark, "type": mark,
            "session_recording_id": mark,
        }}});
        let mut value = request("POST", "/v1/targets:authorize-session", &value);
        value["data"]["auth"] = json!({"user_info": {"id": mark}, "email": mark});
        value["data"]["request"] = json!({"details": {"id": mark, "name": mark}});
        value["data"]["request_info"]["client_ip"] = json!(mark);
        let event = event(value.to_string());
        assert_eq!(event["recorded"], true, "{mark}: a recording was announced, its id hidden");
        for (column, held) in event.as_object().unwrap() {
            assert!(column == "detail" || !held.to_string().contains(mark), "{mark} in {column}");
        }
    }
}

#[test]
fn times_are_read_in_every_shape() {
    let cases = [
        (json!({"seconds": 1, "nanos": 999_999_999}), json!("1970-01-01T00:00:01.999999Z")),
        (json!({"seconds": -1, "nanos": 500_000_000}), json!("1969-12-31T23:59:59.500000Z")),
        (json!({"seconds": "7"}), json!("1970-01-01T00:00:07.000000Z")),
        (json!("2026-03-03T08:00:00Z"), json!("2026-03-03T08:00:00.000000Z")),
        (json!({"seconds": 253_402_300_800_i64}), Value::Null),
        (json!({"seconds": i64::MAX}), Value::Null),
        (json!({"seconds": 1, "nanos": -1}), Value::Null),
        (json!({}), Value::Null),
        (json!(7), Value::Null),
        (Value::Null, Value::Null),
    ];
    for (created, expected) in cases {
        let response = json!({"status_code": 200, "details": {"item": {"session_id": "s_1", "created_time": created}}});
        let event = event(request("POST", "/v1/targets/t:authorize-session", &response).to_string());
        assert_eq!(event["session_started_at"], expected, "{created}");
    }
}

#[test]
fn the_host_is_the_cluster() {
    let cases = [
        (json!("https://hashicorp.com/boundary/h.example/controller+worker"), json!("h.example")),
        (json!("https://hashicorp.com/boundary/dev-controller/boundary-dev"), json!("dev-controller")),
        (json!("https://audit.example.com/eu"), json!("audit.example.com")),
        (json!("https://audit.example.com"), json!("audit.example.com")),
        (json!("eu-1"), Value::Null),
        (json!(""), Value::Null),
        (Value::Null, Value::Null),
    ];
    for (source, cluster) in cases {
        let mut value = envelope("system", &json!({"op": "o", "data": {"msg": "m"}}));
        value["source"] = source.clone();
        let event = event(value.to_string());
        assert_eq!(event["cluster"], cluster, "{source}");
        assert_eq!(event["detail"]["source"], source);
    }
}

#[test]
fn what_cannot_be_used_is_said() {
    use ErrorKind::*;
    let mut wrong_time = envelope("system", &json!({"data": {}}));
    wrong_time["time"] = json!("noon");
    let mut wrong_timestamp = request("GET", "/v1/users", &json!({}));
    wrong_timestamp["data"]["timestamp"] = json!(17);
    let twice = envelope("audit", &json!({"auth": {"user_info": {"id": "u_1"}}})).to_string();
    let twice = twice.replace(r#"{"id":"u_1"}"#, r#"{"id":"u_1","id":"u_2"}"#);
    let cut = envelope("system", &json!({})).to_string();
    let cut = &cut[..cut.len() - 9];
    let cases: &[(&str, String, usize, Option<ErrorKind>)] = &[
        ("wrong time", wrong_time.to_string(), 1, Some(InvalidField)),
        ("wrong timestamp", wrong_timestamp.to_string(), 1, Some(InvalidField)),
        ("a user named twice", twice, 0, Some(DuplicateKey)),
        ("no type", r#"{"specversion":"1.0","data":{}}"#.to_owned(), 0, Some(MissingField)),
        ("data a text", r#"{"specversion":"1.0","type":"system","data":""}"#.to_owned(), 0, Some(MissingField)),
        ("another object", r#"{"level":"info"}"#.to_owned(), 0, Some(MissingField)),
        ("another line of the logger", r#"{"@level":"info","@message":"ready"}"#.to_owned(), 0, None),
        ("another line of text", "==> Boundary server started!".to_owned(), 0, Some(InvalidJson)),
        ("text like an event", "10:00 [INFO]  system event: x=1".to_owned(), 0, Some(InvalidJson)),
        ("cut off", cut.to_owned(), 0, Some(InvalidJson)),
        ("cut off behind a prefix", format!("<14>Mar  4 08:00:00 h boundary: {cut}"), 0, Some(InvalidJson)),
        ("another object behind a prefix", r#"<14>h x: {"a":1}"#.to_owned(), 0, Some(MissingField)),
        ("nothing", String::new(), 0, Some(Empty)),
    ];
    for (name, value, events, error) in cases {
        let out = boundary(value);
        assert_eq!((out.events.len(), out.error), (*events, *error), "{name}");
    }
}

#[test]
fn every_packing_gives_the_same_events() {
    let lines = story();
    let expected: Vec<Value> = lines.iter().flat_map(|line| boundary(line).events).collect();
    assert_eq!(expected.len(), 13);
    let texts: Vec<&str> = lines.iter().map(|line| std::str::from_utf8(line).unwrap()).collect();
    let indented = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let each = |pack: &dyn Fn(&str) -> String| texts.iter().map(|text| pack(text)).collect::<Vec<_>>().join("\n");
    let packings = [
        ("lines", each(&|text| text.to_owned())),
        ("no lines", texts.concat()),
        ("list", format!("[{}]", texts.join(","))),
        ("log", each(&|text| json!({"log": format!("{text}\n"), "stream": "stderr"}).to_string())),
        ("message", each(&|text| json!({"@timestamp": "t", "message": text, "host": {"name": "h"}}).to_string())),
        ("all in one message", json!({"message": texts.join("\n")}).to_string()),
        ("prefix", each(&|text| format!("<14>1 2026-03-03T08:00:00Z h boundary 812 - - {text}"))),
        (
            "prefix in message",
            each(&|text| json!({"message": format!("Mar  4 08:00:00 h boundary[8]: {text}")}).to_string()),
        ),
        ("indented", texts.iter().map(|text| indented(text)).collect()),
        ("indented in log", json!({"log": texts.iter().map(|text| indented(text)).collect::<String>()}).to_string()),
        (
            "printed anew, fields added",
            each(&|text| {
                let mut value: Value = serde_json::from_str(text).unwrap();
                value["stream"] = json!("stderr");
                value["kubernetes"] = json!({"pod_name": "p"});
                value.to_string()
            }),
        ),
        ("among other lines", format!("==> starting\n{}\n2026/03/03 x\n", texts.join("\nnoise\n"))),
    ];
    for (name, value) in packings {
        let out = boundary(value);
        assert_eq!(out.error, None, "{name}: {}", out.error_detail);
        assert_eq!(out.events, expected, "{name}");
    }
}

#[test]
fn sinks_of_one_event_give_the_same_row() {
    let one = request("GET", "/v1/users", &json!({"status_code": 200}));
    let mut other = one.clone();
    other["id"] = json!("ex00000002");
    other["datacontentype"] = json!("text/plain");
    other["time"] = json!("2026-03-03T08:00:00.000000009Z");
    assert_eq!(event(one.to_string()), event(other.to_string()));
}

#[test]
fn lines_of_the_logger_are_told_by_time_type_and_session() {
    let line = |rest: &str| format!("2026-03-03T08:00:00.250{rest}");
    let cases = [
        (
            line("Z [INFO]  system event: data:session_id=s_1 op=o"),
            json!({"kind": "session.activity", "session_id": "s_1", "occurred_at": "2026-03-03T08:00:00.250000Z"}),
        ),
        (
            line("+0130 [ERROR] error event: info:session_id=s_1"),
            json!({"kind": "session.activity", "outcome": "failure", "occurred_at": "2026-03-03T06:30:00.250000Z"}),
        ),
        (line("Z [INFO]  audit event: session_id=s_1"), json!({"kind": "other", "source_type": "audit"})),
        (line("Z [INFO]  system event: data:msg=\"no session_id=x\""), json!({"kind": "other", "session_id": null})),
        (line("Z [INFO]  observation event: status=200"), json!({"kind": "other", "source_type": "observation"})),
    ];
    for (line, expected) in cases {
        let told = event(&line);
        assert_columns(&line, &told, &expected);
        assert_eq!(told["detail"], json!({"line": line}));
        assert_eq!(told, event(json!({"log": format!("{line}\n")}).to_string()), "the same in a wrapper");
    }
    let [one, other] = ["s_1", "s_2"].map(|id| event(line(&format!("Z [INFO]  system event: data:session_id={id}"))));
    assert_ne!(one["event_id"], other["event_id"], "two lines in a millisecond");
}

/// A line of the logger, signed as Boundary does: the copy was written a moment before.
fn signed_hclog() -> Value {
    let mut line = json!({
        "@level": "info", "@message": "audit event", "@timestamp": "2026-03-03T08:00:00.000001Z", "id": "e_h",
        "timestamp": "2026-03-03T07:59:59Z", "type": "APIRequest", "version": "v0.1",
        "request_info": {"method": "GET", "path": "/v1/users"}, "response": {"status_code": 200},
    });
    let copy = format!("{line}\n");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &derived_example_key());
    let tag = aws_lc_rs::hmac::sign(&key, copy.as_bytes());
    line["@timestamp"] = json!("2026-03-03T08:00:00.000002Z");
    line["serialized"] = json!(URL_SAFE_NO_PAD.encode(copy));
    line["serialized_hmac"] = json!(format!("hmac-sha256:{}", URL_SAFE_NO_PAD.encode(tag)));
    line
}

/// The signing key of [`EXAMPLE_KEY`], computed by another implementation of HKDF and BLAKE2b.
fn derived_example_key() -> Vec<u8> {
    STANDARD.decode("9bxkfGSwbPkYc1nt3zvXwXBfIGnUzr91KIUqB9JV0KM=").unwrap()
}

#[test]
fn both_halves_of_a_signature_count() {
    let signed: Value = serde_json::from_slice(&story()[1]).unwrap();
    let other_key = EXAMPLE_KEY.replace('0', "f");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value = signed.clone();
        change(&mut value);
        value
    };
    let remove = |name: &'static str| changed(&move |value| drop(value.as_object_mut().unwrap().remove(name)));
    let failed = |copy: &str, fields: &[&str], hmac: &str| json!({"copy": copy, "fields": fields, "hmac": hmac});
    let unsigned = changed(&|value| {
        value.as_object_mut().unwrap().retain(|name, _| !name.starts_with("serialized"));
    });
    type Case<'a> = (&'a str, Value, &'a [&'a str], Value, Value);
    let cases: &[Case<'_>] = &[
        ("right key", signed.clone(), &[EXAMPLE_KEY], json!("authentic"), Value::Null),
        ("right key among others", signed.clone(), &[&other_key, EXAMPLE_KEY], json!("authentic"), Value::Null),
        ("other key", signed.clone(), &[&other_key], json!("failed"), failed("equal", &[], "invalid")),
        ("no key", signed.clone(), &[], json!("checksums"), Value::Null),
        ("unsigned", unsigned, &[EXAMPLE_KEY], Value::Null, Value::Null),
        (
            "shipper's field",
            changed(&|value| value["stream"] = json!("stderr")),
            &[EXAMPLE_KEY],
            json!("authentic"),
            Value::Null,
        ),
        (
            "another outcome",
            changed(&|value| value["data"]["response"]["status_code"] = json!(403)),
            &[EXAMPLE_KEY],
            json!("failed"),
            failed("differs", &["data"], "valid"),
        ),
        (
            "a number as text",
            changed(&|value| value["data"]["response"]["status_code"] = json!("200")),
            &[EXAMPLE_KEY],
            json!("failed"),
            failed("differs", &["data"], "valid"),
        ),
        (
            "another time and source",
            changed(&|value| {
                value["time"] = json!("2026-03-03T02:10:02Z");
                value["source"] = json!("https://hashicorp.com/boundary/other/controller");
            }),
            &[],
            json!("failed"),
            failed("differs", &["source", "time"], "unchecked"),
        ),
        ("no time", remove("time"), &[EXAMPLE_KEY], json!("failed"), failed("differs", &["time"], "valid")),
        ("no HMAC", remove("serialized_hmac"), &[], json!("failed"), failed("equal", &[], "unreadable")),
        ("no copy", remove("serialized"), &[EXAMPLE_KEY], json!("failed"), failed("unreadable", &[], "unchecked")),
        (
            "copy no base64",
            changed(&|value| value["serialized"] = json!("!")),
            &[EXAMPLE_KEY],
            json!("failed"),
            failed("unreadable", &[], "unchecked"),
        ),
        ("logger", signed_hclog(), &[EXAMPLE_KEY], json!("authentic"), Value::Null),
        (
            "logger, other user",
            {
                let mut line = signed_hclog();
                line["auth"] = json!({"user_info": {"id": "u_other"}});
                line
            },
            &[EXAMPLE_KEY],
            json!("failed"),
            failed("differs", &["auth"], "valid"),
        ),
    ];
    for (name, value, keys, integrity, failure) in cases {
        let out = decoded_with(keys, value.to_string());
        assert_eq!((out.events.len(), out.error), (1, None), "{name}: the event stands");
        assert_eq!(out.events[0]["integrity"], *integrity, "{name}");
        assert_eq!(out.events[0]["detail"]["signature"], *failure, "{name}");
        let detail = out.events[0]["detail"].to_string();
        assert!(!detail.contains("serialized"), "{name}: the copy is not repeated");
    }
}

#[test]
fn numbers_and_texts_are_the_same_in_other_words() {
    let cases = [
        (r#"{"a":1,"b":[2]}"#, r#"{ "b" : [ 2.0 ], "a" : 1e0 }"#, true),
        (r#""\u003ca\u003e""#, r#""<a>""#, true),
        (r#"{"\u003c":1}"#, r#"{"<":1}"#, true),
        ("0.1", "1e-1", true),
        ("9007199254740993", "9007199254740992.0", false),
        ("1", "\"1\"", false),
        ("[1,2]", "[2,1]", false),
        ("[1]", "[1,1]", false),
        ("{}", "[]", false),
        ("null", "false", false),
        ("null", "null", true),
        (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, false),
        (r#"{"a":1}"#, r#"{"a":2,"a":1}"#, false),
    ];
    for (one, other, expected) in cases {
        assert_eq!(signature::is_same(one, other), expected, "{one} {other}");
        assert_eq!(signature::is_same(other, one), expected, "{other} {one}");
    }
}

/// A copy that nobody signed must not overflow the stack.
#[test]
fn values_are_compared_to_a_bounded_depth() {
    let nested = |depth: usize, inner: &str| "[".repeat(depth) + inner + &"]".repeat(depth);
    assert!(signature::is_same(&nested(NESTING_MAX - 1, "1"), &nested(NESTING_MAX - 1, "1.0")));
    assert!(!signature::is_same(&nested(1_000_000, "1"), &nested(1_000_000, "1.0")));
}

#[test]
fn keys_are_read_strictly_and_never_shown() {
    let key = AuditKey::from_hex(EXAMPLE_KEY).unwrap();
    assert_eq!(AuditKey::from_hex(&format!("{}\n", EXAMPLE_KEY.to_uppercase())), Ok(key.clone()));
    for hex in
        ["", "00", &EXAMPLE_KEY[1..], &EXAMPLE_KEY[2..], &EXAMPLE_KEY.replace('a', "g"), &format!("00{EXAMPLE_KEY}")]
    {
        assert_eq!(AuditKey::from_hex(hex), Err(InvalidAuditKey), "{hex}");
    }
    assert_eq!(format!("{key:?}"), "AuditKey(…)");
}

#[test]
fn errors_do_not_quote_values() {
    let secret = "hunter2";
    for value in [
        format!(r#"{{"specversion":"1.0","data":{{"{secret}":1,"{secret}":2}},"type":"audit"}}"#),
        format!(r#"{{"specversion":"1.0","data":{{}},"type":"system","time":"{secret}"}}"#),
        format!(r#"<14>x {{"{secret}":"#),
        secret.to_owned(),
    ] {
        let out = boundary(&value);
        assert!(out.error.is_some(), "{value}");
        assert!(!out.error_detail.contains(secret), "{}", out.error_detail);
    }
}

/// Long lines that nearly are events, and signed copies that have to be compared piece by piece.
#[test]
fn hostile_shapes_take_linear_time() {
    let began = std::time::Instant::now();
    for piece in ["{\"", "2026-03-03T08:00:00Z [INFO]  system event: ", "x {\"\n", " [", "]:", "session_id=s_ ", "\"}{"]
    {
        let value = piece.repeat(1_000_000 / piece.len());
        let _ = boundary(format!("<14>h {value}"));
        let _ = boundary(format!("2026-03-03T08:00:00.250Z [INFO]  system event: {value}"));
        let _ = boundary(json!({"log": value}).to_string());
    }
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |inner: &str| format!("{}{inner}{}", open.repeat(90), close.repeat(90));
        let wide = vec![nested("1").as_str(); 2000].join(",");
        let mut value = envelope("audit", &json!({"id": "e_x"}));
        let copy = format!("{{\"data\":[{wide}]}}").replace('1', "2");
        value["serialized"] = json!(URL_SAFE_NO_PAD.encode(copy));
        let _ = boundary(value.to_string().replace(r#"{"id":"e_x"}"#, &format!(r#"{{"id":"e_x","x":[{wide}]}}"#)));
    }
    assert!(began.elapsed().as_secs() < 180, "took {:?}", began.elapsed());
}

fn examples() -> Vec<Vec<u8>> {
    let mut values = story();
    values.extend(example("boundary-shipped.ndjson"));
    values.push(signed_hclog().to_string().into_bytes());
    values
}

proptest! {
    #[test]
    fn batches_do_not_change_the_events(cuts in prop::collection::vec(any::<bool>(), 12)) {
        let lines = story();
        let expected: Vec<Value> = lines.iter().flat_map(|line| boundary(line).events).collect();
        let mut batches: Vec<Vec<u8>> = vec![Vec::new()];
        for (line, cut) in lines.iter().zip(cuts) {
            if cut && batches.last().is_some_and(|batch| !batch.is_empty()) {
                batches.push(Vec::new());
            }
            let batch = batches.last_mut().unwrap();
            batch.extend(line);
            batch.push(b'\n');
        }
        let found: Vec<Value> = batches.iter().flat_map(|batch| boundary(batch).events).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = boundary(&bytes);
    }

    #[test]
    fn damaged_messages_do_no_harm(value in mutated(examples())) {
        let _ = boundary(&value);
    }

    #[test]
    fn what_is_authentic_was_signed(value in mutated(examples())) {
        let signed: Vec<Value> =
            examples().iter().flat_map(|value| decoded_with(&[EXAMPLE_KEY], value).events).collect();
        for event in decoded_with(&[EXAMPLE_KEY], &value).events {
            prop_assert!(event["integrity"] != "authentic" || signed.contains(&event), "{}", event);
        }
    }
}
