//! OCSF events against the published schema (`ocsf-1.8.0.json`, cut out by `tests/open/ocsf_schema.py`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::process::Command;
use std::sync::LazyLock;

use custody_schemas::event::{ActorKind, Outcome};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{TestCaseError, TestRunner};
use regex::Regex;
use serde_json::Map;

use super::*;
use crate::sink::receiver::skip;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| parsed(include_str!("../ocsf-1.8.0.json")));

static PATTERNS: LazyLock<HashMap<&'static str, Regex>> = LazyLock::new(|| {
    let types = SCHEMA["types"].as_object().unwrap().iter();
    types.filter_map(|(name, of)| Some((name.as_str(), Regex::new(of.get("regex")?.as_str()?).unwrap()))).collect()
});

/// What is wrong with an event.
fn faults(event: &Value) -> Vec<String> {
    let mut check = Check { profiles: BTreeSet::new(), faults: Vec::new() };
    let class = SCHEMA["classes"].as_object().unwrap().values().find(|class| class["class_uid"] == event["class_uid"]);
    let Some(class) = class else { return vec![format!("no class {}", event["class_uid"])] };
    if let Some(profiles) = event["metadata"]["profiles"].as_array() {
        check.profiles = profiles.iter().map(|profile| profile.as_str().unwrap()).collect();
    }
    for profile in &check.profiles.clone() {
        if !class["profiles"].as_array().unwrap().iter().any(|known| known == profile) {
            check.fault("metadata.profiles", format!("the class has no profile {profile}"));
        }
    }
    for (name, of) in [("class_name", "caption"), ("category_uid", "category_uid"), ("category_name", "category_name")]
    {
        if event[name] != class[of] {
            check.fault(name, format!("{} is not {}", event[name], class[of]));
        }
    }
    let number = |name: &str| event[name].as_i64().unwrap();
    if number("type_uid") != number("class_uid") * 100 + number("activity_id") {
        check.fault("type_uid", "is not of its class and activity".to_owned());
    }
    if event["metadata"]["version"] != SCHEMA["version"] {
        check.fault("metadata.version", "is another".to_owned());
    }
    check.object("", class, event.as_object().unwrap());
    for observable in event["observables"].as_array().into_iter().flatten() {
        let path = format!("/{}", observable["name"].as_str().unwrap().replace("[0]", ".0").replace('.', "/"));
        if event.pointer(&path) != Some(&observable["value"]) {
            check.fault("observables", format!("{observable} is not what it points to"));
        }
    }
    check.faults
}

struct Check<'v> {
    profiles: BTreeSet<&'v str>,
    faults: Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, path: &str, what: String) {
        self.faults.push(format!("{path}: {what}"));
    }

    fn object(&mut self, path: &str, definition: &Value, object: &Map<String, Value>) {
        let attributes = definition["attributes"].as_object().unwrap();
        for (name, value) in object {
            let path = format!("{path}.{name}");
            match attributes.get(name) {
                Some(attribute) => self.attribute(&path, name, attribute, value, object),
                None => self.fault(&path, "no such attribute".to_owned()),
            }
        }
        for (name, attribute) in attributes {
            let applies =
                attribute.get("profile").is_none_or(|profile| self.profiles.contains(profile.as_str().unwrap()));
            if applies && attribute["requirement"] == "required" && !object.contains_key(name) {
                self.fault(path, format!("{name} is required"));
            }
        }
        for (constraint, names) in definition.get("constraints").and_then(Value::as_object).into_iter().flatten() {
            let present =
                names.as_array().unwrap().iter().filter(|name| object.contains_key(name.as_str().unwrap())).count();
            match constraint.as_str() {
                "at_least_one" if present >= 1 => {}
                "just_one" if present == 1 => {}
                _ => self.fault(path, format!("{constraint} of {names}, not {present}")),
            }
        }
    }

    fn attribute(&mut self, path: &str, name: &str, attribute: &Value, value: &Value, beside: &Map<String, Value>) {
        if attribute.get("deprecated").is_some() {
            self.fault(path, "deprecated".to_owned());
        }
        if let Some(profile) = attribute.get("profile").and_then(Value::as_str)
            && !self.profiles.contains(profile)
        {
            self.fault(path, format!("of the profile {profile}, which is not named"));
        }
        match (attribute.get("array").is_some(), value) {
            (true, Value::Array(values)) if !values.is_empty() => {
                values.iter().for_each(|value| self.value(path, attribute, value));
            }
            (false, _) if !value.is_array() => self.value(path, attribute, value),
            _ => self.fault(path, format!("a list, or not, or empty: {value}")),
        }
        let Some(enumeration) = attribute.get("enum").and_then(Value::as_object) else { return };
        let key = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Some(caption) = enumeration.get(&key) else {
            return self.fault(path, format!("{value} is none of its values"));
        };
        // The name beside a number is its caption; of Other it is the source's own word, and has to be there.
        let Some(sibling) = attribute.get("sibling").and_then(Value::as_str) else { return };
        match beside.get(sibling) {
            Some(said) if key != "99" && said != caption => self.fault(path, format!("{said} is not {caption}")),
            None if key == "99" => self.fault(path, format!("{name} is Other, and {sibling} does not say what")),
            _ => {}
        }
    }

    fn value(&mut self, path: &str, attribute: &Value, value: &Value) {
        let of = attribute["type"].as_str().unwrap();
        let types = SCHEMA["types"].as_object().unwrap();
        let Some(about) = types.get(of) else {
            return match (SCHEMA["objects"].get(of), value.as_object()) {
                // Anything may be in an object without attributes.
                (Some(definition), Some(_)) if definition["attributes"] == json!({}) => {}
                (Some(definition), Some(object)) if !object.is_empty() => self.object(path, definition, object),
                _ => self.fault(path, format!("no object {of} that is known: {value}")),
            };
        };
        let base = about.get("base").and_then(Value::as_str).unwrap_or(of);
        let fits = match base {
            "string_t" => value.as_str().is_some_and(|text| !text.is_empty()),
            // Receivers keep them in 32 bits.
            "integer_t" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            "long_t" => value.is_i64(),
            "boolean_t" => value.is_boolean(),
            "json_t" => true,
            _ => false,
        };
        if !fits {
            self.fault(path, format!("{value} is no {of}"));
        }
        let range = about.get("range").and_then(Value::as_array);
        if range.is_some_and(|range| value.as_i64() < range[0].as_i64() || value.as_i64() > range[1].as_i64()) {
            self.fault(path, format!("{value} is out of range"));
        }
        let text = value.as_str().unwrap_or_default();
        if about.get("max_len").and_then(Value::as_u64).is_some_and(|max| text.len() as u64 > max) {
            self.fault(path, format!("{value} is too long"));
        }
        if PATTERNS.get(of).is_some_and(|pattern| !pattern.is_match(text)) {
            self.fault(path, format!("{value} is no {of}"));
        }
    }
}

pub(super) fn check(event: &Value) -> Result<(), TestCaseError> {
    let faults = faults(event);
    prop_assert!(faults.is_empty(), "{:#?} in {:#}", faults, event);
    Ok(())
}

fn written(case: &Case) -> Value {
    parsed(&Schema::Ocsf.write(&case.notice(), UNLIMITED))
}

proptest! {
    #![proptest_config(at_least(1024))]

    #[test]
    fn every_event_is_valid(case in case()) {
        check(&written(&case))?;
    }
}

#[test]
fn a_check_that_is_not_ours_finds_nothing() {
    let mut runner = TestRunner::deterministic();
    let mut cases: Vec<Case> = corpus::examples().into_iter().map(|(_, case)| case).collect();
    cases.extend([full(), corpus::finding(), corpus::heartbeat()]);
    cases.extend((0..2000).map(|_| case().new_tree(&mut runner).unwrap().current()));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for case in &cases {
        writeln!(file, "{}", Schema::Ocsf.write(&case.notice(), UNLIMITED)).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/open/ocsf_validate.py");
    let mut python = Command::new("python3");
    python.args(["-B", script, "--expect", &cases.len().to_string()]).arg(file.path());
    let Ok(ended) = python.output() else { return skip("no check of OCSF but ours: there is no python3") };
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(ended.status.success(), "{said}");
}

#[test]
fn the_check_finds_what_is_wrong() {
    let right = written(&full());
    assert_eq!(faults(&right), Vec::<String>::new());
    let wrong = |pointer: &str, value: Value| {
        let mut event = right.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Value::Null => parent.remove(name),
            value => parent.insert(name.to_owned(), value),
        };
        faults(&event)
    };
    let cases = [
        ("/metadata/product", Value::Null, ".metadata: product is required"),
        ("/metadata/profiles", Value::Null, ".actor: of the profile host, which is not named"),
        ("/type_uid", json!(400_799), "type_uid: is not of its class and activity"),
        ("/severity_id", json!(7), ".severity_id: 7 is none of its values"),
        ("/severity", json!("Low"), ".severity_id: \"Low\" is not \"Informational\""),
        ("/colour", json!("red"), ".colour: no such attribute"),
        ("/src_endpoint", json!({"port": 22}), ".src_endpoint: at_least_one of"),
        ("/src_endpoint", json!({"ip": "10.0.0"}), ".src_endpoint.ip: \"10.0.0\" is no ip_t"),
        ("/src_endpoint", json!({"ip": "10.0.0.1", "port": 70_000}), ".src_endpoint.port: 70000 is out of range"),
        ("/time", json!("now"), ".time: \"now\" is no timestamp_t"),
        ("/duration", json!([1]), ".duration: a list, or not, or empty"),
        ("/observables", json!([{"name": "user.name", "type_id": 4, "value": "x"}]), "observables: "),
        ("/tls", json!({"version": "1"}), ".tls: no object tls"),
        ("/cloud", json!({"provider": "x"}), ".cloud: of the profile cloud"),
    ];
    for (pointer, value, fault) in cases {
        let faults = wrong(pointer, value);
        assert!(faults.iter().any(|found| found.starts_with(fault)), "{pointer}: {fault} not in {faults:?}");
    }
}

/// Fields of an event by name.
type Fields = [(&'static str, &'static str)];

/// An event of a source's making: only what matters is said.
fn event(kind: Kind, source_type: &'static str, fields: &Fields) -> Case {
    let mut event = Event { kind, source_type: source_type.into(), occurred_at: Some(0), ..Event::default() };
    let mut source = "teleport";
    for (name, value) in fields.iter().copied() {
        let text = Some(value.into());
        match name {
            "source" => source = value,
            "actor" => event.actor = text,
            "action" => event.action = text,
            "target" => event.target = text,
            "target_kind" => event.target_kind = Some(value.into()),
            "session" => event.session_id = text,
            "protocol" => event.protocol = text,
            "addr" => event.remote_addr = text,
            "finding" => event.correlation_id = text,
            "request" => event.request_ids = vec![value.into()],
            "role" => event.actor_roles = vec![value.into()],
            "state" => (event.request_state, event.proposed_state) = (text.clone(), text),
            "path" => event.policy_path = text,
            "member" => event.participants = vec![value.into()],
            "detail" => event.detail = value.to_owned(),
            "outcome" => {
                event.outcome = Some(match value {
                    "success" => Outcome::Success,
                    "failure" => Outcome::Failure,
                    "allow" => Outcome::Allow,
                    "deny" => Outcome::Deny,
                    "undefined" => Outcome::Undefined,
                    _ => Outcome::Error,
                });
            }
            other => panic!("{other}"),
        }
    }
    Case { source, ..Case::of(event) }
}

#[test]
fn events_are_in_the_class_that_the_table_says() {
    let who = ("actor", "alice");
    let session = ("session", "s-1");
    let addr = ("addr", "203.0.113.10:50339");
    let (node, db) = (("target", "node-a"), ("target", "orders"));
    let (is_node, is_db) = (("target_kind", "node"), ("target_kind", "database"));
    let (is_kube, is_app, is_user) = (("target_kind", "kubernetes"), ("target_kind", "app"), ("target_kind", "user"));
    let ssh = ("protocol", "ssh");
    use Kind::*;
    let cases: &[(i64, Kind, &'static str, &Fields)] = &[
        (400_701, SessionStart, "session.start", &[who, session, addr, node, is_node, ssh]),
        (
            400_701,
            SessionStart,
            "targets.authorize-session",
            &[who, session, ("target", "ttcp_1"), ("target_kind", "target"), ssh],
        ),
        (400_704, SessionStart, "session.start", &[who, addr, ssh, ("outcome", "failure")]),
        (400_702, SessionEnd, "session.end", &[who, session, node, is_node, ssh]),
        (400_705, SessionRejected, "session.rejected", &[who, node, is_node, ssh, ("outcome", "deny")]),
        (400_799, SessionJoin, "session.join", &[who, session, node, is_node, ssh]),
        (400_799, SessionLeave, "session.leave", &[who, session, node, is_node, ssh]),
        (400_706, SessionActivity, "exec", &[who, session, node, is_node, ssh, ("action", "ls")]),
        (99, SessionStart, "session.start", &[who, session, ssh, ("outcome", "success")]),
        (600_503, SessionStart, "db.session.start", &[who, session, db, is_db, ("protocol", "postgres")]),
        (600_504, SessionActivity, "db.session.query", &[who, session, db, is_db, ("action", "SELECT 1")]),
        (600_599, SessionEnd, "db.session.end", &[who, session, db, is_db]),
        (400_102, SessionEnd, "session.close", &[addr, is_db, ("source", "hoop")]),
        (600_399, SessionStart, "session.start", &[who, session, ("target", "prod"), is_kube, ("protocol", "kube")]),
        (600_302, SessionActivity, "kube.request", &[who, ("target", "prod"), is_kube, ("action", "GET /api/v1/pods")]),
        (
            600_304,
            SessionActivity,
            "kube.request",
            &[who, ("target", "prod"), is_kube, ("action", "delete /api/v1/pods/a")],
        ),
        (
            400_504,
            SessionStart,
            "windows.desktop.session.start",
            &[who, session, ("target", "win-1"), ("target_kind", "desktop"), ("protocol", "tdp")],
        ),
        (
            400_507,
            SessionEnd,
            "windows.desktop.session.end",
            &[who, session, ("target", "win-1"), ("target_kind", "desktop")],
        ),
        (401_401, SessionStart, "app.session.start", &[who, session, ("target", "grafana"), is_app]),
        (401_402, SessionEnd, "session.end", &[who, session, ("target", "x"), ("protocol", "tcp"), ("source", "hoop")]),
        (
            400_101,
            SessionStart,
            "targets.authorize-session",
            &[who, session, addr, ("target", "ttcp_1"), ("source", "boundary")],
        ),
        (
            400_105,
            SessionRejected,
            "targets.authorize-session",
            &[who, addr, ("target", "ttcp_1"), ("outcome", "deny")],
        ),
        (99, SessionStart, "sudo.log", &[who, session, node, is_node, ("source", "sudo")]),
        (
            100_701,
            SessionActivity,
            "session.command",
            &[who, session, node, is_node, ssh, ("action", "/bin/ls -l"), ("detail", r#"{"pid":12}"#)],
        ),
        (400_706, SessionActivity, "session.command", &[who, session, node, is_node, ssh, ("action", "/bin/ls -l")]),
        (100_114, SessionActivity, "session.disk", &[who, session, node, is_node, ssh, ("action", "/etc/hosts")]),
        (400_101, SessionActivity, "session.network", &[who, session, node, is_node, ssh, ("action", "10.0.0.1 443")]),
        (
            400_105,
            SessionActivity,
            "session.network",
            &[who, session, node, is_node, ssh, ("action", "10.0.0.1 443"), ("outcome", "deny")],
        ),
        (600_601, SessionActivity, "scp", &[who, session, addr, node, is_node, ssh, ("action", "upload /tmp/x")]),
        (600_602, SessionActivity, "scp", &[who, session, addr, node, is_node, ssh, ("action", "download /tmp/x")]),
        (600_614, SessionActivity, "sftp", &[who, session, addr, node, is_node, ssh, ("action", "open /tmp/x")]),
        (600_699, SessionActivity, "sftp", &[who, session, addr, node, is_node, ssh, ("action", "mkdir /tmp/x")]),
        (400_706, SessionActivity, "sftp", &[who, session, addr, node, is_node, ssh, ("action", "rename /a /b")]),
        (100_804, SessionUpload, "session.upload", &[session]),
        (600_614, RecordingAccess, "session.recording.access", &[who, session]),
        (600_602, RecordingAccess, "session-recordings.download", &[who, session, addr, ("source", "boundary")]),
        (99, RecordingAccess, "session.recording.access", &[who]),
        (300_401, RequestCreate, "access_request.create", &[who, ("request", "r-1")]),
        (99, RequestCreate, "microsoftteams.review.create", &[who, session, ("source", "hoop")]),
        (
            300_403,
            RequestReview,
            "access_request.review",
            &[("actor", "carol"), ("request", "r-1"), ("state", "APPROVED")],
        ),
        (300_403, RequestUpdate, "access_request.update", &[("request", "r-1"), ("state", "REVOKED")]),
        (300_404, RequestDelete, "access_request.delete", &[who, ("request", "r-1")]),
        (300_411, RequestExpire, "access_request.expire", &[("request", "r-1")]),
        (300_301, CredentialIssue, "cert.create", &[who, ("role", "admin"), ("request", "r-1")]),
        (300_401, CredentialIssue, "cert.create", &[who]),
        (99, CredentialIssue, "cert.create", &[]),
        (300_201, Login, "user.login", &[who, addr, ("outcome", "success")]),
        (99, Login, "auth", &[addr, ("outcome", "failure")]),
        (
            600_399,
            PolicyDecision,
            "decision",
            &[who, ("path", "authz/allow"), ("action", "authorize-session"), ("outcome", "allow")],
        ),
        (600_302, PolicyDecision, "decision", &[who, ("path", "authz/allow"), ("action", "read"), ("outcome", "deny")]),
        (99, PolicyDecision, "decision", &[("path", "authz/allow"), ("outcome", "undefined"), ("source", "opa")]),
        (300_109, ConfigChange, "lock.created", &[who, ("target", "bob"), is_user]),
        (300_112, ConfigChange, "lock.deleted", &[who, ("target", "bob"), is_user]),
        (300_401, ConfigChange, "lock.created", &[who, ("target", "node-a"), is_node]),
        (300_101, ConfigChange, "user.create", &[who, ("target", "bob"), is_user]),
        (300_106, ConfigChange, "user.delete", &[who, ("target", "bob"), is_user]),
        (300_103, ConfigChange, "user.password_change", &[who, ("target", "bob"), is_user]),
        (300_199, ConfigChange, "user.update", &[who, ("target", "bob"), is_user]),
        (300_110, ConfigChange, "mfa.add", &[who, ("target", "yubikey"), ("target_kind", "mfa_device")]),
        (
            300_603,
            ConfigChange,
            "access_list.member.create",
            &[who, ("target", "dba"), ("target_kind", "access_list"), ("member", "bob")],
        ),
        (300_604, ConfigChange, "access_list.member.delete", &[who, ("target", "dba"), ("target_kind", "access_list")]),
        (300_403, ConfigChange, "role.updated", &[who, ("target", "admin"), ("target_kind", "role")]),
        (300_403, ConfigChange, "roles.add-principals", &[who, ("target", "r_1"), ("source", "boundary")]),
        (300_406, ConfigChange, "device.enroll", &[who, ("target", "mac-1"), ("target_kind", "device")]),
        (99, ConfigChange, "audit_log", &[who, ("action", "update connection"), ("source", "hoop")]),
        (
            100_804,
            Import,
            "import.bsr",
            &[session, ("target", "/x/y.bsr"), ("source", "custody"), ("outcome", "success")],
        ),
        (100_899, Redecode, "redecode", &[("source", "custody")]),
        (100_802, Retention, "retention.done", &[("target", "frames"), ("outcome", "success")]),
        (100_899, Retention, "retention.begun", &[("target", "frames")]),
        (100_899, Loss, "loss", &[("target", "c/t/0"), ("outcome", "failure")]),
        (200_301, Finding, "finding.open", &[("finding", "R02/teleport/s-1"), session]),
        (200_302, Finding, "finding.changed", &[("finding", "R03/teleport/r-1")]),
        (200_303, Finding, "finding.closed", &[("finding", "R27/alice"), ("outcome", "success")]),
        (200_401, Finding, "finding.open", &[("finding", "R09/teleport/r-1")]),
        (200_401, Finding, "finding.open", &[("finding", "R12/alice/prod")]),
        (200_401, Finding, "finding.open", &[("finding", "R14/teleport/s-1"), session]),
        (200_402, Finding, "finding.changed", &[("finding", "R15/teleport/s-1"), session]),
        (200_401, Finding, "finding.open", &[("finding", "R23/teleport/s-1"), session]),
        (200_403, Finding, "finding.closed", &[("finding", "R24/teleport/2025-06-02")]),
        (200_401, Finding, "finding.open", &[("finding", "silent/teleport"), ("source", "custody")]),
        // Whatever it is: it was found.
        (200_301, Finding, "", &[]),
        (100_899, Heartbeat, "heartbeat", &[("source", "custody"), ("outcome", "success")]),
        (600_302, Other, "users.list", &[who, ("source", "boundary")]),
        (99, Other, "session.state", &[("source", "hoop")]),
        (400_799, Other, "session.data", &[who, session, node, is_node, ssh]),
        (99, Other, "", &[]),
    ];
    let mut kinds = BTreeMap::new();
    for (type_uid, kind, source_type, fields) in cases {
        let case = event(*kind, source_type, fields);
        let written = written(&case);
        assert_eq!(written["type_uid"], *type_uid, "{kind:?} {source_type} {fields:?}: {written:#}");
        assert_eq!(faults(&written), Vec::<String>::new(), "{written:#}");
        kinds.insert(kind.as_str(), ());
    }
    assert_eq!(kinds.len(), Kind::ALL.len());
}

#[test]
fn a_decision_says_what_a_control_did() {
    let cases = [
        ("allow", 1, 1, 1, "Success"),
        ("deny", 2, 2, 2, "Failure"),
        ("undefined", 99, 99, 99, "undefined"),
        ("error", 0, 27, 2, "Failure"),
    ];
    for (outcome, action, disposition, status_id, status) in cases {
        let fields = [("actor", "alice"), ("path", "authz/allow"), ("outcome", outcome), ("source", "opa")];
        let written = written(&event(Kind::PolicyDecision, "decision", &fields));
        assert_eq!(written["metadata"]["profiles"], json!(["security_control"]));
        assert_eq!((&written["action_id"], &written["disposition_id"]), (&json!(action), &json!(disposition)));
        assert_eq!((&written["status_id"], &written["status"]), (&json!(status_id), &json!(status)));
        assert_eq!(written["authorizations"], json!([{"decision": outcome, "policy": {"uid": "authz/allow"}}]));
        // Nobody said who asked over which address: the engine is where it came from.
        assert_eq!(written["src_endpoint"], json!({"svc_name": "opa"}));
    }
}

#[test]
fn a_session_is_told_with_what_gave_the_access() {
    let written = written(&full());
    let expected = json!({
        "class_uid": 4007, "class_name": "SSH Activity", "category_uid": 4, "category_name": "Network Activity",
        "activity_id": 2, "activity_name": "Close", "type_uid": 400_702, "severity_id": 1, "severity": "Informational",
        "status_id": 1, "status": "Success", "status_detail": "success", "time": 1_748_854_800_120_i64,
        "start_time": 1_748_854_771_000_i64, "end_time": 1_748_854_800_000_i64, "duration": 29_000,
        "message": "session.end by alice@example.com for erin@example.com: /bin/bash -l on node-a.internal as root: success, because INC-4711 restore replica",
        "metadata": {
            "version": "1.8.0", "product": {"name": "Custody", "vendor_name": "Custody", "version": VERSION},
            "profiles": ["host"], "uid": "teleport/root.example.com/fff30583-1", "original_event_uid": "fff30583-1",
            "correlation_uid": "01973000-aaaa", "event_code": "T2004I", "log_name": "audit.events",
            "log_provider": "teleport", "logged_time": 1_748_854_801_000_i64, "sequence": 41_235,
        },
        "actor": {
            "user": {"name": "alice@example.com", "type_id": 1, "type": "User"},
            "session": {"uid": "293fda2d-0b6e-4c3a-9d3e-7f1f2f3f4f5f", "created_time": 1_748_854_771_000_i64},
        },
        "app_protocol_name": "ssh",
        "src_endpoint": {"ip": "203.0.113.10", "port": 50_339},
        "dst_endpoint": {"hostname": "node-a.internal"},
        "observables": [
            {"name": "actor.user.name", "type_id": 4, "type": "User Name", "value": "alice@example.com"},
            {"name": "src_endpoint.ip", "type_id": 2, "type": "IP Address", "value": "203.0.113.10"},
            {"name": "dst_endpoint.hostname", "type_id": 1, "type": "Hostname", "value": "node-a.internal"},
        ],
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&written[name], value, "{name}");
    }
    let unmapped = &written["unmapped"]["custody"];
    assert_eq!(unmapped["revision"], 2);
    assert_eq!(unmapped["access"][0]["reason"], "INC-4711 restore");
    assert_eq!(unmapped["access"][0]["link_method"], "explicit");
    assert_eq!(unmapped["evidence"]["offset"], 41_235);
    assert_eq!(unmapped["detail"]["namespace"], "default");
    assert_eq!(unmapped.get("actor"), None);
    assert_eq!(full().event.actor_kind, Some(ActorKind::Human));
}

#[test]
fn a_finding_is_told_with_its_report() {
    let written = written(&corpus::finding());
    assert_eq!(faults(&written), Vec::<String>::new(), "{written:#}");
    let expected = json!({
        "class_uid": 2003, "class_name": "Compliance Finding", "category_uid": 2, "category_name": "Findings",
        "activity_id": 1, "activity_name": "Create", "type_uid": 200_301, "severity_id": 3, "severity": "Medium",
        "status_id": 1, "status": "New", "status_detail": "open", "time": 1_748_854_800_000_i64,
        "metadata": {
            "version": "1.8.0", "product": {"name": "Custody", "vendor_name": "Custody", "version": VERSION},
            "profiles": ["security_control"], "uid": "custody/finding/R02/teleport/293fda2d/2025-06-02T09:00:00Z",
            "correlation_uid": "R02/teleport/293fda2d", "log_name": "custody", "log_provider": "custody",
            "logged_time": 1_748_854_801_000_i64, "sequence": 17,
        },
        "action_id": 3, "action": "Observed", "disposition_id": 19, "disposition": "Alert", "is_alert": true,
        "finding_info": {
            "uid": "R02/teleport/293fda2d", "title": "Sessions without an approval in force",
            "desc": "The approval ended 14 minutes before the session began", "types": ["approval_expired"],
            "created_time": 1_748_854_800_000_i64, "modified_time": 1_748_854_800_000_i64,
            "analytic": {
                "uid": "R02", "name": "Sessions without an approval in force", "version": "1", "type_id": 1, "type": "Rule",
            },
            "related_events": [{"uid": "teleport/root.example.com/fff30583-1"}],
        },
        "compliance": {
            "control": "R02", "standards": ["PCI", "SOC2"], "requirements": ["SOC2 CC6.2", "PCI 7.2.3"],
            "status_id": 3, "status": "Fail",
        },
        "evidences": [{"actor": {"user": {"name": "alice@example.com"}, "session": {"uid": "293fda2d"}}}],
        "resources": [{"uid": "293fda2d", "name": "teleport/293fda2d", "type": "Session"}],
        "observables": [
            {"name": "evidences[0].actor.user.name", "type_id": 4, "type": "User Name", "value": "alice@example.com"},
        ],
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&written[name], value, "{name}");
    }
    // The event that it rests on is told under the same id.
    assert_eq!(written["finding_info"]["related_events"][0]["uid"], *event_id(&full().notice()));
    // Nobody of whom the source told did this.
    assert_eq!(written.get("actor"), None);
    assert_eq!(written["unmapped"]["custody"]["detail"]["report"], "R02");
}

/// A finding at some point of its life.
fn finding(report: &str, state: &str, handled: Option<&str>, verdict: &str, is_back: bool) -> Case {
    let mut case = corpus::finding();
    case.event.source_type = format!("finding.{state}").into();
    case.event.correlation_id = Some(format!("{report}/teleport/293fda2d").into());
    let raised_at = if is_back { "2025-06-01T09:00:00Z" } else { "2025-06-02T09:00:00Z" };
    let mut detail = json!({"raised_at": raised_at, "report_version": 1, "verdict": verdict});
    detail["handled"] = handled.into();
    case.event.detail = detail.to_string();
    case
}

#[test]
fn what_becomes_of_a_finding_is_its_status() {
    let cases = [
        // (state, handled, back), (activity, status, status_detail, alert, severity), what the control is
        (("open", None, "exception", false), (1, 1, "open", true, 3), "Fail"),
        (("open", None, "exception", true), (2, 1, "open", true, 3), "Fail"),
        (("open", Some("accepted"), "exception", false), (1, 3, "accepted", false, 1), "Fail"),
        (("open", Some("accepted"), "exception", true), (2, 3, "accepted", false, 1), "Fail"),
        // It had been remediated, and is there again.
        (("open", Some("remediated"), "exception", true), (2, 1, "remediated", true, 3), "Fail"),
        (("changed", None, "exception", true), (2, 1, "changed", true, 3), "Fail"),
        (("changed", Some("explained"), "exception", true), (2, 3, "explained", false, 1), "Fail"),
        (("changed", Some("accepted"), "exception", true), (2, 3, "accepted", false, 1), "Fail"),
        (("changed", Some("remediated"), "exception", true), (2, 4, "remediated", false, 1), "Fail"),
        (("changed", Some("open"), "exception", true), (2, 2, "open", true, 3), "Fail"),
        (("changed", Some("?"), "", true), (2, 1, "changed", true, 3), "Fail"),
        (("closed", None, "pass", true), (3, 4, "closed", false, 1), "Pass"),
        (("closed", Some("accepted"), "na", true), (3, 4, "accepted", false, 1), "na"),
        // That it passed is not made up.
        (("closed", None, "", true), (3, 4, "closed", false, 1), "Unknown"),
    ];
    for ((state, handled, verdict, is_back), expected, control) in cases {
        let case = finding("R02", state, handled, verdict, is_back);
        let written = written(&case);
        assert_eq!(faults(&written), Vec::<String>::new(), "{written:#}");
        let number = |name: &str| written[name].as_i64().unwrap();
        let is_alert = written.get("is_alert").is_some();
        let detail = written["status_detail"].as_str().unwrap();
        let found = (number("activity_id"), number("status_id"), detail, is_alert, number("severity_id"));
        assert_eq!(found, expected, "{state} {handled:?} {is_back}: {written:#}");
        assert_eq!(written["compliance"]["status"], control);
        assert_eq!(written["finding_info"]["uid"], "R02/teleport/293fda2d");
        let ecs = parsed(&Schema::Ecs.write(&case.notice(), UNLIMITED));
        assert_eq!(ecs["event"]["kind"], if is_alert { "alert" } else { "event" });
    }
}

#[test]
fn how_much_a_finding_matters_is_by_its_report() {
    let cases = [("R12", 4), ("R14", 4), ("R24", 4), ("silent", 4), ("R02", 3), ("R03", 3), ("R99", 3), ("R08", 2)];
    for (report, severity_id) in cases {
        let written = written(&finding(report, "open", None, "exception", false));
        assert_eq!(written["severity_id"], severity_id, "{report}");
    }
}

#[test]
fn a_finding_that_is_cut_or_masked_is_still_that_finding() {
    let mut case = corpus::finding();
    let whole = written(&case);
    let members = case.event.detail.strip_suffix('}').unwrap();
    case.event.detail = format!(r#"{members},"more":"{}"}}"#, "x".repeat(20_000));
    let cut = parsed(&Schema::Ocsf.write(&case.notice(), Schema::BYTES_MIN));
    case.event.detail = r#"{"masked":true}"#.to_owned();
    let masked = written(&case);
    for event in [&cut, &masked] {
        assert_eq!(faults(event), Vec::<String>::new(), "{event:#}");
        for name in ["type_uid", "status_id", "severity_id", "is_alert", "resources"] {
            assert_eq!(event[name], whole[name], "{name}");
        }
        assert_eq!(event["finding_info"]["uid"], whole["finding_info"]["uid"]);
        assert_eq!(event["finding_info"].get("related_events"), None);
        assert!(!event["evidences"].to_string().contains("alice"), "{event:#}");
    }
    assert_eq!(cut["finding_info"]["created_time"], whole["finding_info"]["created_time"]);
    assert_eq!(masked["finding_info"].get("created_time"), None);
}

#[test]
fn the_name_of_a_finding_is_one_that_a_receiver_can_keep() {
    let mut case = corpus::finding();
    let long = format!("R02/{}", "x".repeat(300));
    case.event.correlation_id = Some(long.clone().into());
    case.event.detail = json!({"evidence": ["a".repeat(300), "b"]}).to_string();
    let written = written(&case);
    let uid = written["finding_info"]["uid"].as_str().unwrap();
    assert!(uid.starts_with("sha256:") && uid.len() == 71, "{uid}");
    assert_eq!(written["metadata"]["correlation_uid"], uid);
    assert_eq!(written["unmapped"]["custody"]["correlation_id"], long);
    let related = written["finding_info"]["related_events"].as_array().unwrap();
    assert!(related[0]["uid"].as_str().unwrap().starts_with("sha256:"), "{related:?}");
    assert_eq!(related[1]["uid"], "b");
}

#[test]
fn a_heartbeat_is_told_with_its_numbers() {
    let written = written(&corpus::heartbeat());
    assert_eq!(faults(&written), Vec::<String>::new(), "{written:#}");
    assert_eq!((&written["type_uid"], &written["severity_id"]), (&json!(100_899), &json!(1)));
    assert_eq!((&written["activity_name"], &written["status"]), (&json!("heartbeat"), &json!("Success")));
    let detail = &written["unmapped"]["custody"]["detail"];
    assert_eq!((&detail["events"], &detail["sources"][1]["source"]), (&json!(1893), &json!("teleport")));
}

#[test]
fn of_the_sources_examples_only_these_have_no_class_of_their_own() {
    let examples = corpus::examples();
    let mut general = BTreeSet::new();
    for (shown, case) in &examples {
        let written = written(case);
        assert_eq!(faults(&written), Vec::<String>::new(), "{shown:#}: {written:#}");
        if written["class_uid"] == 0 {
            general.insert([case.source, " ", case.event.kind.as_str(), " ", &case.event.source_type].concat());
        }
    }
    assert!(examples.len() >= 110, "{}", examples.len());
    let expected = [
        // Recordings of a terminal that is nowhere in particular.
        "asciicast session.end asciicast.exit",
        "asciicast session.start asciicast.header",
        // The later part of a long download does not say again who it was.
        "boundary recording.access session-recordings.download",
        // What workers log of a session names neither who nor where.
        "boundary other observation",
        "boundary session.activity error",
        "boundary session.activity system",
        // Of what was changed hoop says the sort, and not which.
        "hoop config.change audit_log",
        // States, and notices about a session that say nothing of the way to its target.
        "hoop other access.jit_approved",
        "hoop other review.state",
        "hoop other session.open.review",
        "hoop other session.state",
        "hoop session.activity alert.data_masked",
        "hoop session.activity session.guardrail_violation",
        "hoop session.activity session.metadata",
        "hoop session.activity session.recording_lost",
        "hoop session.end runbook_hook.session_close",
        "hoop session.end session.close",
        // A request without an id.
        "hoop request.create microsoftteams.review.create",
        "teleport other resize",
    ];
    assert_eq!(general, expected.map(str::to_owned).into());
}
