use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use custody_ingest::source::{Sink, Source, SourceKind, decode};
use custody_schemas::record::{Message, Origin};
use custody_schemas::time::{Parsed, parse_rfc3339};

use super::super::pty::{Chunk, Shown};
use super::super::teleport::CAST;
use super::*;

/// Wednesday, 2026-11-18T12:00:00Z.
const NOW: Micros = 1_795_003_200 * SECOND;

/// One line of output every ten seconds, a resize among them.
fn recordings() -> Recordings {
    let line =
        |n: i64| Chunk { delay_us: 10 * SECOND + 123_456, shown: Shown::Output(format!("line {n} é\r\n").into()) };
    let mut chunks: Vec<Chunk> = (0..20).map(line).collect();
    chunks.insert(3, Chunk { delay_us: 5_000, shown: Shown::Resize(120, 36) });
    Recordings::for_tests(&chunks)
}

/// Everything that was told, as (topic, object), in the order of arrival.
fn told() -> Vec<(String, Value)> {
    let mut told = Vec::new();
    for message in messages(NOW, &recordings()) {
        let value = message.value.unwrap_or_default();
        let mut text = value.clone();
        if value.starts_with(b"\x1f\x8b") {
            text.clear();
            if flate2::read::GzDecoder::new(value.as_slice()).read_to_end(&mut text).is_err() {
                continue;
            }
        }
        let value: Value = match serde_json::from_slice(&text) {
            Ok(value) => value,
            Err(_) => continue,
        };
        let inner = ["message", "log"].iter().find_map(|name| value.get(name)).and_then(Value::as_str);
        let inner = inner.map(|text| serde_json::from_str(text).unwrap());
        match inner.unwrap_or(value) {
            Value::Array(events) => told.extend(events.into_iter().map(|event| (message.topic.clone(), event))),
            event => told.push((message.topic, event)),
        }
    }
    told
}

fn text(message: &Outgoing) -> String {
    String::from_utf8_lossy(message.value.as_deref().unwrap_or_default()).into_owned()
}

fn audit(name: &str) -> Vec<Value> {
    let is_it = |(topic, event): &(String, Value)| topic == AUDIT_TOPIC && event["event"] == name;
    told().into_iter().filter(is_it).map(|(_, event)| event).collect()
}

fn instant(value: &Value) -> Micros {
    match parse_rfc3339(value.as_str().unwrap()) {
        Some(Parsed::At(at)) => at,
        other => panic!("{value}: {other:?}"),
    }
}

fn at(event: &Value) -> Micros {
    instant(&event["time"])
}

fn request(part_of_reason: &str) -> Value {
    let mut requests = audit("access_request.create");
    requests.retain(|request| request["reason"].as_str().unwrap().contains(part_of_reason));
    assert_eq!(requests.len(), 1, "{part_of_reason}");
    requests.remove(0)
}

fn reviews(request: &Value) -> Vec<Value> {
    audit("access_request.review").into_iter().filter(|review| review["id"] == request["id"]).collect()
}

/// Start and end of each session that used the request.
fn sessions(request: &Value) -> Vec<(Value, Value)> {
    let uses = |event: &Value| event["access_requests"].as_array().is_some_and(|ids| ids.contains(&request["id"]));
    let all = |name: &str| [audit(name), audit(&format!("db.{name}"))].concat();
    let ends = all("session.end");
    let end = |start: &Value| ends.iter().find(|end| end["sid"] == start["sid"]).unwrap().clone();
    all("session.start").into_iter().filter(uses).map(|start| (start.clone(), end(&start))).collect()
}

fn stream(session: &Value) -> Vec<Value> {
    let sid = session["sid"].as_str().unwrap();
    let path = format!("/session.{sid}.log");
    let messages = messages(NOW, &recordings());
    let of_it = |message: &&Outgoing| {
        message.topic == SESSIONS_TOPIC
            && (message.key.as_deref() == Some(sid.as_bytes()) || text(message).contains(&path))
    };
    messages.iter().filter(of_it).map(|message| serde_json::from_str(&text(message)).unwrap()).collect()
}

#[test]
fn the_story_is_the_same_each_time_and_lies_in_the_past() {
    let told = messages(NOW, &recordings());
    assert_eq!(told, messages(NOW, &recordings()));
    assert!(told.len() > 400, "{}", told.len());
    assert_ne!(told, messages(NOW + 7 * DAY, &recordings()));
    // From a Friday to the Saturday after it, the week changes.
    let friday = 1_795_132_800 * SECOND;
    assert_eq!(monday(friday + DAY), monday(friday) + 7 * DAY);
    for now in (0..14).map(|day| NOW + day * DAY + 7 * HOUR) {
        assert_eq!((monday(now) / DAY + 3) % 7, 0, "a Monday");
        assert!(monday(now) + 5 * DAY <= now && now < monday(now) + 12 * DAY);
    }
}

#[test]
fn events_have_the_shape_of_the_event_handler() {
    for message in messages(NOW, &recordings()) {
        let text = text(&message);
        let Ok(Value::Object(event)) = serde_json::from_str::<Value>(&text) else { continue };
        if message.topic == opa::TOPIC || !event.contains_key("cluster_name") {
            continue;
        }
        let mut from = 0;
        for name in event.keys() {
            // serde_json's map is sorted, so names found one after the other were written in that order.
            let found = text[from..].find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} in {text}"));
            from += found;
        }
        let is_print = event["event"] == "print";
        assert_eq!(event.contains_key("uid"), !is_print, "{text}");
        assert!(!(is_print && event.contains_key("sid")), "{text}");
        assert!(at(&Value::Object(event)) < NOW);
    }
}

#[test]
fn s1_is_the_clean_case_and_its_end_comes_twice() {
    let request = request("OPS-1412");
    let [review] = reviews(&request).try_into().unwrap();
    assert_eq!((&review["reviewer"], at(&review) - at(&request)), (&json!("bob@example.com"), 4 * MINUTE));
    let [(start, end)] = sessions(&request).try_into().unwrap();
    assert_eq!(start["sid"], example_session(NOW));
    assert_eq!(at(&end) - at(&start), 22 * MINUTE);
    assert!(at(&review) < at(&start) && at(&end) < instant(&request["expires"]));
    let ends: Vec<_> = audit("session.end").into_iter().filter(|event| event["sid"] == start["sid"]).collect();
    assert_eq!(ends, [end.clone(), end]);
}

#[test]
fn s2_has_two_approvers_and_three_sessions_and_its_approvals_come_last() {
    let request = request("INC-78901 orders stuck");
    let votes: Vec<_> = reviews(&request)
        .iter()
        .map(|review| (review["reviewer"].clone(), review["state"].clone(), review["proposed_state"].clone()))
        .collect();
    let [carol, bob] = votes.try_into().unwrap();
    assert_eq!(carol, (json!("carol@example.com"), json!("PENDING"), json!("APPROVED")));
    assert_eq!(bob, (json!("bob@example.com"), json!("APPROVED"), json!("APPROVED")));
    let sessions = sessions(&request);
    let kinds: Vec<_> = sessions.iter().map(|(start, _)| start["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["session.start", "db.session.start", "db.session.start"]);
    let decided = reviews(&request).iter().map(at).max().unwrap();
    for (start, end) in &sessions {
        assert!(decided < at(start) && at(end) < instant(&request["expires"]));
    }
    let told = told();
    let position = |wanted: &Value| told.iter().position(|(_, event)| event == wanted).unwrap();
    let last_end = sessions.iter().map(|(_, end)| position(end)).max().unwrap();
    assert!(reviews(&request).iter().all(|review| position(review) > last_end));
    assert_eq!(audit("db.session.query").len(), 7);
    // S16: announced, and nothing of it is there.
    let ssh = &sessions[0].0;
    assert!(audit("session.upload").iter().any(|upload| upload["sid"] == ssh["sid"]));
    assert_eq!(stream(ssh), Vec::<Value>::new());
}

#[test]
fn s3_s9_and_s15_have_no_request() {
    let without: Vec<_> = [audit("session.start"), audit("db.session.start")]
        .concat()
        .into_iter()
        .filter(|start| start.get("access_requests").is_none())
        .map(|start| (start["user"].as_str().unwrap().to_owned(), (at(&start) - monday(NOW)) / DAY + 1))
        .collect();
    let expected = [(DAVE.user, 1), (DAVE.user, 3), (CI_BOT.user, 5)].map(|(user, day)| (user.to_owned(), day));
    assert_eq!(without, expected);
    let bot: Vec<_> = audit("session.end").into_iter().filter(|end| end["user_kind"] == 2).collect();
    assert_eq!((bot.len(), &bot[0]["interactive"]), (1, &json!(true)));
}

#[test]
fn s4_is_approved_by_its_requester_alone() {
    let request = request("OPS-1421");
    assert!(reviews(&request).is_empty());
    let updates: Vec<_> = audit("access_request.update").into_iter().filter(|u| u["id"] == request["id"]).collect();
    assert_eq!(updates.len(), 1);
    assert_eq!((&updates[0]["updated_by"], &updates[0]["state"]), (&request["user"], &json!("APPROVED")));
    let self_approved = audit("access_request.review").into_iter().filter(|review| {
        audit("access_request.create").iter().any(|r| r["id"] == review["id"] && r["user"] == review["reviewer"])
    });
    assert_eq!(self_approved.count(), 0);
    assert_eq!(sessions(&request).len(), 1);
}

#[test]
fn s5_is_approved_seven_minutes_after_it_began() {
    let request = request("OPS-1427");
    let [(start, _)] = sessions(&request).try_into().unwrap();
    assert_eq!(at(&reviews(&request)[0]) - at(&start), 7 * MINUTE);
}

#[test]
fn s6_runs_three_hours_past_its_window() {
    let request = request("OPS-1430");
    let [(start, end)] = sessions(&request).try_into().unwrap();
    assert!(at(&start) < instant(&request["expires"]));
    assert_eq!(at(&end) - instant(&request["expires"]), 3 * HOUR);
}

#[test]
fn only_s5_is_retroactive_and_only_s6_leaves_its_window() {
    for request in audit("access_request.create") {
        let approvals = [audit("access_request.review"), audit("access_request.update")].concat();
        let of_it = approvals.iter().filter(|event| event["id"] == request["id"] && event["state"] == "APPROVED");
        let approved = of_it.map(at).min().unwrap();
        let reason = request["reason"].as_str().unwrap();
        for (start, end) in sessions(&request) {
            assert_eq!(approved > at(&start), reason.starts_with("OPS-1427"), "{reason}");
            assert_eq!(at(&end) > instant(&request["expires"]), reason.starts_with("OPS-1430"), "{reason}");
        }
        assert_eq!(sessions(&request).is_empty(), reason.starts_with("OPS-1460"), "S14 alone is not used: {reason}");
    }
}

#[test]
fn s7_is_after_she_left_and_s19_before() {
    let left = monday(NOW) + 2 * DAY + 12 * HOUR;
    let after: Vec<_> = audit("session.start")
        .into_iter()
        .filter(|start| start["user"] == ERIN.user && at(start) > left)
        .map(|start| start["access_requests"][0].clone())
        .collect();
    assert_eq!(after, [request("OPS-1409")["id"].clone()]);
    let weak = audit("access_request.create").into_iter().filter(|request| request["reason"] == "test");
    assert_eq!(weak.count(), 2);
}

#[test]
fn s8_to_s10_are_decided_as_told() {
    let mut decisions: Vec<_> = told()
        .into_iter()
        .filter(|(topic, event)| topic == opa::TOPIC && event["path"] == "access/authz/decision")
        .map(|(_, event)| event)
        .collect();
    decisions.sort_by_key(|decision| instant(&decision["timestamp"]));
    // S22: a chunk came twice.
    let [s8, s9, s9_again, s10, next_revision] = decisions.try_into().unwrap();
    assert_eq!(s8["input"]["context"]["attributes"]["reason_id"], "INC-78901");
    assert_eq!((&s8["result"]["allow"], &s9["result"]["allow"]), (&json!(true), &json!(false)));
    assert_eq!(s9, s9_again);
    let got_in = audit("session.start").into_iter().find(|s| s["user"] == DAVE.user && at(s) > monday(NOW) + 2 * DAY);
    assert_eq!(at(&got_in.unwrap()) - instant(&s9["timestamp"]), 12 * MINUTE);
    assert_eq!((instant(&s10["timestamp"]) - monday(NOW)) % DAY, 17 * HOUR);
    assert_eq!(s10["input"], next_revision["input"]);
    assert_ne!(s10["bundles"], next_revision["bundles"]);
    assert_eq!((&s10["result"]["allow"], &next_revision["result"]["allow"]), (&json!(true), &json!(false)));
}

/// What Boundary told of requests with a path like this.
fn audited(path: &str) -> Vec<Value> {
    let is_it = |(topic, event): &(String, Value)| {
        topic == boundary::TOPIC
            && event["type"] == "audit"
            && event["data"]["request_info"]["path"].as_str().unwrap().contains(path)
    };
    told().into_iter().filter(is_it).map(|(_, event)| event).collect()
}

fn granted(authorization: &Value) -> &Value {
    &authorization["data"]["response"]["details"]["item"]
}

#[test]
fn s8_and_s10_go_through_boundary_under_the_ids_of_their_decisions() {
    let decisions: Vec<_> =
        told().into_iter().filter(|(topic, _)| topic == opa::TOPIC).map(|(_, event)| event).collect();
    let decision = |id: &Value| {
        let mut found = decisions.iter().filter(|decision| decision["decision_id"] == *id);
        let decision = found.next().unwrap();
        assert!(found.next().is_none(), "one decision, delivered once");
        decision
    };
    let [s8, s10] = audited(":authorize-session").try_into().unwrap();
    let cases = [
        (
            &s8,
            "u_alice0001",
            2 * DAY + 2 * HOUR + 10 * MINUTE,
            json!({"reason_id": "INC-78901", "reason_type": "incident"}),
            21,
        ),
        (&s10, "u_dave000001", 2 * DAY + 17 * HOUR, json!({}), 9),
    ];
    for (authorization, user_id, asked, reason, minutes) in cases {
        let data = &authorization["data"];
        let decision = decision(&data["correlation_id"]);
        assert_eq!(data["auth"]["user_info"]["id"], user_id);
        assert_eq!(decision["input"]["user"]["id"], user_id, "the same person");
        assert_eq!(decision["input"]["target"]["name"], "prod-web-01-ssh");
        assert_eq!(decision["input"]["context"]["attributes"], reason);
        assert_eq!(decision["result"]["allow"], true);
        // The policy is asked first; to the second both are at the time of the story.
        assert_eq!(instant(&decision["timestamp"]) - monday(NOW), asked);
        assert_eq!(instant(&data["timestamp"]) - monday(NOW), asked + 180_000);

        let session_id = granted(authorization)["session_id"].as_str().unwrap();
        let mut items: Vec<_> = audited(&format!("/v1/sessions/{session_id}")).iter().map(granted).cloned().collect();
        assert_eq!(items.len(), 2, "somebody asked while it was open, and again when it was over");
        let [open, over] = [items.remove(0), items.remove(0)];
        assert_eq!((&open["status"], &over["status"]), (&json!("active"), &json!("terminated")));
        assert_eq!((&open["termination_reason"], &over["user_id"]), (&Value::Null, &json!(user_id)));
        let told = told();
        let worker = told.iter().filter(|(_, event)| event["data"]["data"]["session_id"] == session_id);
        let worker: Vec<_> =
            worker.map(|(_, event)| (event["data"]["data"]["msg"].as_str().unwrap(), at(event))).collect();
        let messages: Vec<_> = worker.iter().map(|(message, _)| *message).collect();
        let expected = ["session successfully activated", "connection successfully authorized", "connection closed"];
        assert_eq!(messages, expected);
        assert_eq!(worker[2].1 - worker[0].1, minutes * MINUTE);
        let terminated = over["states"][0]["start_time"]["seconds"].as_i64().unwrap();
        assert_eq!(terminated, (worker[2].1 + SECOND) / SECOND);
    }
    assert_eq!(granted(&s8)["session_id"], boundary_session(NOW));
}

#[test]
fn boundary_observes_every_request_and_wraps_what_workers_print() {
    let told = told();
    let requests = |kind: &str| -> Vec<Value> {
        let of_it = told.iter().filter(|(topic, event)| topic == boundary::TOPIC && event["type"] == kind);
        of_it.map(|(_, event)| event["data"]["request_info"].clone()).collect()
    };
    assert_eq!(requests("audit"), requests("observation"));
    assert_eq!(requests("audit").len(), 6);
    let ids: std::collections::BTreeSet<_> =
        told.iter().filter(|(topic, _)| topic == boundary::TOPIC).map(|(_, event)| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 18, "6 requests with two events, 6 lines of workers");
    let messages = messages(NOW, &recordings());
    let wrapped =
        messages.iter().filter(|message| message.topic == boundary::TOPIC && text(message).contains("\"log\":"));
    assert_eq!(wrapped.count(), 6);
}

#[test]
fn the_recordings_of_boundary_are_stored_under_the_announced_names() {
    let folder = tempfile::tempdir().unwrap();
    write_recordings(NOW, &recordings(), folder.path()).unwrap();
    let mut stored: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    stored.sort_unstable();
    let announced: Vec<_> = audited(":authorize-session")
        .iter()
        .map(|event| format!("{}.bsr", granted(event)["session_recording_id"].as_str().unwrap()))
        .collect();
    assert_eq!(stored, announced);
}

#[test]
fn s11_is_reviewed_once_and_its_window_covers_a_second_session() {
    let polls: Vec<Value> = told()
        .into_iter()
        .filter(|(topic, event)| topic == hoop::TOPIC && event.get("id").is_some())
        .map(|(_, session)| session)
        .collect();
    let states: Vec<_> = polls
        .iter()
        .map(|session| {
            let review = session["review"]["status"].as_str().unwrap_or("none").to_owned();
            (session["status"].as_str().unwrap(), review, session.get("event_stream").is_some())
        })
        .collect();
    let expected = [
        ("open", "PENDING", false),
        ("ready", "APPROVED", false),
        ("done", "APPROVED", true),
        ("done", "APPROVED", true),
        ("open", "none", false),
        ("done", "none", true),
    ];
    assert_eq!(states, expected.map(|(status, review, stream)| (status, review.to_owned(), stream)));
    assert_eq!(polls[2], polls[3], "polled once more, it says the same");
    let [asked, first, later] = [&polls[0], &polls[3], &polls[5]];
    assert_eq!((&asked["end_date"], &asked["review"]["revoke_at"]), (&Value::Null, &Value::Null));
    assert_ne!(first["id"], later["id"]);
    for session in [first, later] {
        assert_eq!((&session["user"], &session["connection"]), (&json!(ALICE.user), &json!("billing-db")));
    }
    let review = &first["review"];
    let group = &review["review_groups_data"][0];
    assert_eq!((&review["type"], &review["access_duration"]), (&json!("jit"), &json!(3_600_000_000_000_i64)));
    assert_eq!((&group["group"], &group["reviewed_by"]["email"]), (&json!("approvers"), &json!(BOB.user)));
    let [approved, closes] = [&group["review_date"], &review["revoke_at"]].map(instant);
    assert_eq!(closes - approved, HOUR);
    assert!(approved < instant(&later["start_date"]) && instant(&later["end_date"]) < closes);
    assert!(instant(&first["end_date"]) < closes);
    assert_eq!((&first["metadata"]["ticket"], &later["metadata"]), (&json!("OPS-1471"), &json!({})));

    let shown = |session: &Value| -> Vec<(f64, String)> {
        let entries = session["event_stream"].as_array().unwrap().iter();
        entries
            .map(|entry| {
                assert_eq!(entry[1], "o");
                let bytes = BASE64.decode(entry[2].as_str().unwrap()).unwrap();
                (entry[0].as_f64().unwrap(), String::from_utf8(bytes).unwrap())
            })
            .collect()
    };
    let shown = shown(first);
    assert_eq!(shown.len(), 20, "a change of size is nothing that hoop keeps");
    // Nothing is shown before the approval; the clock is the session's.
    let opened = (approved - instant(&first["start_date"])) as f64 / 1e6 + 2.0;
    assert_eq!(shown[0], (opened, "line 0 é\r\n".to_owned()));
    assert_eq!(shown[1].0, opened + 10.123_456);
}

/// Keeps what the decoders make of the story.
#[derive(Default)]
struct Decoded {
    /// Topic, and columns by which the story's sessions are told apart.
    events: Vec<(String, Value)>,
    pieces: Vec<(String, Vec<u8>)>,
    topic: String,
}

impl Sink for Decoded {
    fn event(&mut self, event: &custody_schemas::event::Event<'_>) {
        let columns = json!({
            "kind": event.kind.as_str(), "session_id": event.session_id, "actor": event.actor,
            "target": event.target, "correlation_id": event.correlation_id, "recording_id": event.recording_id,
            "request_ids": event.request_ids, "request_state": event.request_state, "action": event.action,
            "expires_at": event.expires_at, "reason": event.reason, "ticket": event.ticket,
            "integrity": event.integrity.map(|integrity| integrity.as_str()),
        });
        self.events.push((self.topic.clone(), columns));
    }

    fn piece(&mut self, piece: &custody_schemas::frame::Piece<'_>) {
        self.pieces.push((piece.session_id.to_string(), piece.data.to_vec()));
    }
}

impl Decoded {
    fn of(&self, topic: &str, kind: &str) -> Vec<&Value> {
        let is_it = |(of, event): &&(String, Value)| of == topic && event["kind"] == kind;
        self.events.iter().filter(is_it).map(|(_, event)| event).collect()
    }
}

#[test]
fn the_decoders_read_everything_but_the_dead_letters() {
    let mut decoded = Decoded::default();
    let mut dead = std::collections::BTreeMap::new();
    for message in messages(NOW, &recordings()) {
        let kind = message.topic.split('.').next().and_then(SourceKind::from_name).unwrap();
        decoded.topic.clone_from(&message.topic);
        let record = Message {
            origin: Origin { topic: &message.topic, partition: 0, offset: 0 },
            broker_at: None,
            key: message.key.as_deref(),
            headers: &[],
            value: message.value.as_deref(),
        };
        if decode(&Source::new(kind), &record, &mut decoded).is_err() {
            *dead.entry(message.topic.clone()).or_insert(0) += 1;
        }
    }
    let expected = [(AUDIT_TOPIC, 3), (SESSIONS_TOPIC, 2), (opa::TOPIC, 2), (boundary::TOPIC, 1), (hoop::TOPIC, 1)];
    assert_eq!(dead, expected.map(|(topic, count)| (topic.to_owned(), count)).into());
    assert_eq!(dead.values().sum::<usize>(), DEAD_LETTERS);

    let starts = decoded.of(boundary::TOPIC, "session.start");
    let ends = decoded.of(boundary::TOPIC, "session.end");
    assert_eq!((starts.len(), ends.len()), (2, 2));
    for (start, user_id) in starts.iter().zip(["u_alice0001", "u_dave000001"]) {
        let key = start["session_id"].as_str().unwrap().strip_prefix("s_").unwrap();
        assert_eq!(start["recording_id"], format!("sr_{key}"));
        assert_eq!((&start["actor"], &start["target"]), (&json!(user_id), &json!(boundary::TARGET)));
        assert_eq!(start["integrity"], "checksums", "the copy in it is its own; the key is nobody's");
        assert!(ends.iter().any(|end| end["session_id"] == start["session_id"] && end["actor"] == user_id));
    }

    let starts = decoded.of(hoop::TOPIC, "session.start");
    let creations = decoded.of(hoop::TOPIC, "request.create");
    let votes = decoded.of(hoop::TOPIC, "request.review");
    // The first session is told by two polls after it began, its request by all four.
    assert_eq!((starts.len(), creations.len(), votes.len()), (4, 4, 3));
    let review = &creations[0]["request_ids"];
    assert!(votes.iter().all(|vote| vote["request_ids"] == *review && vote["request_state"] == "APPROVED"));
    assert_eq!((&creations[0]["action"], &creations[0]["ticket"]), (&json!("jit"), &json!("OPS-1471")));
    assert!(starts[..2].iter().all(|start| start["request_ids"] == *review));
    assert!(
        starts[2..]
            .iter()
            .all(|start| start["request_ids"] == json!([]) && start["session_id"] != starts[0]["session_id"])
    );
    for session in [starts[0], starts[2]] {
        let shown = decoded.pieces.iter().filter(|(id, _)| session["session_id"] == *id);
        assert!(shown.into_iter().any(|(_, data)| data == "line 19 é\r\n".as_bytes()));
    }
}

#[test]
fn s21_every_user_of_boundary_is_in_the_cast() {
    let ids: Vec<_> = CAST.iter().filter_map(|person| person.boundary_id).collect();
    let people = super::super::identities();
    assert_eq!(people[ALICE.user], ["u_alice0001"]);
    assert_eq!(people.values().flatten().count(), ids.len());
    for authorization in audited(":authorize-session") {
        let user_id = authorization["data"]["auth"]["user_info"]["id"].as_str().unwrap();
        assert!(ids.contains(&user_id), "{user_id}");
    }
}

#[test]
fn s12_is_reviewed_next_morning_and_s13_never() {
    let [s12, s13] = ["INC-79002", "INC-79044"].map(request);
    for request in [&s12, &s13] {
        assert_eq!(request["roles"], json!(["break-glass-admin"]));
        assert_eq!(sessions(request).len(), 1);
    }
    let [review] = reviews(&s12).try_into().unwrap();
    assert_eq!(review["reviewer"], BOB.user);
    assert!((at(&s12)..at(&s12) + 12 * HOUR).contains(&at(&review)));
    assert!(reviews(&s13).is_empty());
}

#[test]
fn s17_has_a_hole_and_the_other_recordings_have_none() {
    let hole = request("OPS-1433")["id"].clone();
    let mut recorded = 0;
    for start in audit("session.start") {
        let stream = stream(&start);
        let prints: Vec<_> = stream.iter().filter(|event| event["event"] == "print").collect();
        if prints.is_empty() {
            continue;
        }
        recorded += 1;
        assert_eq!(stream.first().unwrap()["uid"], start["uid"], "the start comes again, with the same id");
        assert_eq!(stream.last().unwrap()["event"], "session.end");
        let mut expected = 0;
        let mut holes = Vec::new();
        for (index, print) in prints.iter().enumerate() {
            if print["offset"].as_u64().unwrap() != expected {
                holes.push(print["ms"].as_i64().unwrap() - prints[index - 1]["ms"].as_i64().unwrap());
            }
            let data = BASE64.decode(print["data"].as_str().unwrap()).unwrap();
            assert_eq!(data.len() as u64, print["bytes"].as_u64().unwrap());
            expected = print["offset"].as_u64().unwrap() + data.len() as u64;
        }
        if start["access_requests"].as_array().is_some_and(|ids| ids.contains(&hole)) {
            assert_eq!(holes.len(), 1);
            assert!((90_000..120_000).contains(&holes[0]), "{holes:?}");
        } else {
            assert!(holes.is_empty(), "{start}");
        }
    }
    assert_eq!(recorded, 13);
}

#[test]
fn s18_one_of_two_viewers_watches_himself() {
    let starts = audit("session.start");
    let watched: Vec<_> = audit("session.recording.access")
        .into_iter()
        .map(|event| {
            let owner = starts.iter().find(|start| start["sid"] == event["sid"]).unwrap()["user"].clone();
            (event["user"].as_str().unwrap().to_owned(), owner)
        })
        .collect();
    let expected = [(CAROL.user, DAVE.user), (DAVE.user, DAVE.user)];
    assert_eq!(watched, expected.map(|(viewer, owner)| (viewer.to_owned(), json!(owner))));
}

#[test]
fn session_ids_travel_in_keys_and_in_paths() {
    let messages = messages(NOW, &recordings());
    let prints = || {
        messages.iter().filter(|message| message.topic == SESSIONS_TOPIC && text(message).contains("\"cluster_name\""))
    };
    let keyed = prints().filter(|message| message.key.is_some()).count();
    let with_path = prints().filter(|message| text(message).contains("\"path\":")).count();
    assert!(keyed > 50 && with_path > 50, "{keyed} {with_path}");
    assert_eq!(keyed + with_path, prints().count());
}
