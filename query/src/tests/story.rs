//! The stories that the product exists for: who was in there, why, and who said yes.

use custody_schemas::event::Outcome;
use custody_schemas::frame::Code;

use super::world::{Fact, World, create, decision, end, expire, piece, review, start, update, upload, with};

const LATENCY: &str = "Investigating dashboard latency in web-app-namespace, JIRA OPS-1412";

/// The week of the demo, as far as Teleport and OPA tell it. Approvals of S2 come last (S23).
pub(super) fn week() -> Vec<Fact> {
    let approved = ("APPROVED", "APPROVED");
    let late = [
        review("r2", "carol", ("APPROVED", "PENDING"), "Mon 13:03", "Mon 17:00"),
        review("r2", "bob", approved, "Mon 13:05", "Mon 17:00"),
    ];
    let s1_end = || end("s1", "alice", "prod-web-01", ("Mon 09:05", "Mon 09:27"), &["r1"]);
    let opa = || decision("d20", ("carol", "k8s-prod"), Outcome::Allow, Some("INC-79002"), "Fri 15:58");
    let mut facts = vec![
        // S1: the clean case; its end is delivered twice (S22).
        create("r1", "alice", LATENCY, "Mon 09:00", "Mon 10:00"),
        review("r1", "bob", approved, "Mon 09:04", "Mon 09:34"),
        start("s1", "alice", "prod-web-01", "Mon 09:05", &["r1"]),
        s1_end(),
        s1_end(),
        upload("s1", "Mon 09:28"),
        piece("s1", 1, Code::Output, "Mon 09:06", b"$ journalctl\r\n"),
        piece("s1", 2, Code::Output, "Mon 09:07", b"\x1b[2J"),
        // S2: two approvers, three sessions under one request. One of them is only announced as recorded.
        create("r2", "alice", "INC-78901 orders stuck", "Mon 13:00", "Mon 17:00"),
        start("s2a", "alice", "web_app_db", "Mon 13:10", &["r2"]),
        end("s2a", "alice", "web_app_db", ("Mon 13:10", "Mon 13:20"), &["r2"]),
        start("s2b", "alice", "web_app_db", "Mon 13:30", &["r2"]),
        end("s2b", "alice", "web_app_db", ("Mon 13:30", "Mon 13:40"), &["r2"]),
        start("s2c", "alice", "prod-web-01", "Mon 13:50", &["r2"]),
        end("s2c", "alice", "prod-web-01", ("Mon 13:50", "Mon 14:00"), &["r2"]),
        upload("s2c", "Mon 14:01"),
        // S3: no request at all.
        start("s3", "dave", "prod-web-01", "Mon 11:00", &[]),
        end("s3", "dave", "prod-web-01", ("Mon 11:00", "Mon 11:30"), &[]),
        // S4: his own request, by an administrative path.
        create("r4", "bob", "OPS-1500 rotate keys", "Tue 08:00", "Tue 12:00"),
        update("r4", ("bob", None), "APPROVED", "Tue 08:01", "Tue 12:00"),
        start("s4", "bob", "prod-web-01", "Tue 08:05", &["r4"]),
        end("s4", "bob", "prod-web-01", ("Tue 08:05", "Tue 08:20"), &["r4"]),
        // S5: approved after the fact.
        create("r5", "dave", "OPS-1501 deploy", "Tue 10:00", "Tue 12:00"),
        start("s5", "dave", "prod-web-01", "Tue 10:05", &["r5"]),
        review("r5", "bob", approved, "Tue 10:12", "Tue 12:00"),
        end("s5", "dave", "prod-web-01", ("Tue 10:05", "Tue 10:40"), &["r5"]),
        // S6: a console left open.
        create("r6", "alice", "OPS-1502 tuning", "Tue 13:00", "Tue 15:00"),
        review("r6", "bob", approved, "Tue 13:05", "Tue 15:00"),
        start("s6", "alice", "prod-web-01", "Tue 13:10", &["r6"]),
        end("s6", "alice", "prod-web-01", ("Tue 13:10", "Tue 18:00"), &["r6"]),
        // S7: after she left.
        start("s7", "erin", "prod-db", "Thu 09:00", &[]),
        end("s7", "erin", "prod-db", ("Thu 09:00", "Thu 09:10"), &[]),
        // S9: denied, and in 12 minutes later.
        decision("d9", ("dave", "prod-web-01"), Outcome::Deny, None, "Thu 02:40"),
        start("s9", "dave", "prod-web-01", "Thu 02:52", &[]),
        end("s9", "dave", "prod-web-01", ("Thu 02:52", "Thu 03:00"), &[]),
        // S14: approved, never used.
        create("r14", "dave", "OPS-1503 maybe", "Fri 12:00", "Fri 13:00"),
        review("r14", "carol", approved, "Fri 12:01", "Fri 13:00"),
        expire("r14", "Fri 13:00"),
        // S19: no reason worth the name, twice; the second is refused.
        create("r19a", "alice", "test", "Wed 09:00", "Wed 10:00"),
        create("r19b", "alice", "test", "Wed 09:01", "Wed 10:00"),
        review("r19b", "bob", ("DENIED", "DENIED"), "Wed 09:02", "Wed 10:00"),
        // S20: running now, allowed by a policy whose decision was uploaded twice (S22).
        opa(),
        opa(),
        start("s20", "carol", "k8s-prod", "Fri 16:00", &[]),
        piece("s20", 1, Code::Output, "Fri 16:01", b"top"),
        // A leaf cluster that loses the ids, inside the window of S2.
        with(start("s30", "alice", "leaf-db", "Mon 15:00", &[]), |event| event.cluster = Some("leaf".into())),
        with(end("s30", "alice", "leaf-db", ("Mon 15:00", "Mon 15:10"), &[]), |e| e.cluster = Some("leaf".into())),
        // The session itself names the ticket of S2, after its window.
        with(start("s31", "alice", "prod-web-01", "Mon 20:00", &[]), |event| {
            event.reason = Some("INC-78901 once more".into());
        }),
        // Only its recording is known.
        piece("s32", 1, Code::Output, "Wed 12:00", b"hidden"),
        piece("s32", 2, Code::End, "Wed 12:05", b""),
        Fact::Undecodable(b"not \x1b[31mJSON\xff"),
    ];
    facts.extend(late);
    facts
}

#[tokio::test]
async fn every_session_says_what_gave_access_to_it() {
    let world = World::of(&week()).await;
    let rows = world
        .ask(
            "SELECT session_id, link_method, coalesce(request_id, decision_id), approvers, approved_before_start, \
             ended_within_window FROM session_access ORDER BY session_id, link_method, request_id",
        )
        .await;
    let expected = [
        "s1 | explicit | r1 | [bob] | true | true",
        "s20 | inferred | d20 | [authz/decision@main=r1] | true | -",
        "s2a | explicit | r2 | [bob, carol] | true | true",
        "s2b | explicit | r2 | [bob, carol] | true | true",
        "s2c | explicit | r2 | [bob, carol] | true | true",
        "s3 | none | - | - | - | -",
        "s30 | inferred | r2 | [bob, carol] | true | true",
        "s31 | ticket | r2 | [bob, carol] | true | -",
        "s32 | none | - | - | - | -",
        "s4 | explicit | r4 | [bob] | true | true",
        "s5 | explicit | r5 | [bob] | false | true",
        "s6 | explicit | r6 | [bob] | true | false",
        "s7 | none | - | - | - | -",
        "s9 | none | - | - | - | -",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_link_shows_the_reason_and_what_it_rests_on() {
    let world = World::of(&week()).await;
    let asked = "SELECT session_id, reason, reason_by, tickets FROM session_access \
                 WHERE session_id IN ('s1', 's20', 's30', 's31') ORDER BY session_id";
    let expected = [
        "s1 | Investigating dashboard latency in web-app-namespace, JIRA OPS-1412 | alice | [OPS-1412]",
        "s20 | - | carol | [INC-79002]",
        "s30 | INC-78901 orders stuck | alice | [INC-78901]",
        "s31 | INC-78901 orders stuck | alice | [INC-78901]",
    ];
    assert_eq!(world.ask(asked).await, expected);
    let asked = "SELECT session_id, link_facts, link_event_ids FROM session_access \
                 WHERE session_id IN ('s1', 's20', 's30', 's31') ORDER BY session_id";
    let expected = [
        "s1 | request id on session.start | [teleport/root/start-s1]",
        "s20 | decision (allow) for the same person and target near the start | [opa/one/d20]",
        "s30 | same person, and the access of the request covers the start | [teleport/root/review-r2-bob]",
        "s31 | same person and ticket INC-78901 | [teleport/root/review-r2-bob]",
    ];
    assert_eq!(world.ask(asked).await, expected);
}

#[tokio::test]
async fn sessions_know_their_state_and_their_recording() {
    let world = World::of(&week()).await;
    let rows = world
        .ask(
            "SELECT session_id, cluster, actor, state, duration_ms / 60000, recording, output_bytes, interactive \
             FROM sessions WHERE session_id IN ('s1', 's2a', 's2c', 's20', 's30', 's32') ORDER BY session_id",
        )
        .await;
    let expected = [
        "s1 | root | alice | ended | 22 | recorded | 18 | true",
        "s20 | root | carol | running | - | recorded | 3 | -",
        "s2a | root | alice | ended | 10 | none | 0 | true",
        "s2c | root | alice | ended | 10 | announced | 0 | true",
        "s30 | leaf | alice | ended | 10 | none | 0 | true",
        "s32 | - | - | ended | 5 | recorded | 6 | -",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn requests_end_in_the_state_that_their_facts_give() {
    let mut facts = week();
    facts.extend([
        // A plugin acted for a person.
        create("r40", "dave", "", "Wed 10:00", "Wed 14:00"),
        update("r40", ("access-plugin", Some("erin")), "APPROVED", "Wed 10:00:30", "Wed 12:00"),
        expire("r40", "Wed 12:00"),
        // The creation never came; approved and then taken back.
        review("r41", "bob", ("APPROVED", "APPROVED"), "Wed 11:00", "Wed 12:00"),
        update("r41", ("carol", None), "DENIED", "Wed 11:10", "Wed 12:00"),
        // A vote that came after the decision is no approver's.
        create("r42", "dave", "x", "Wed 13:00", "Wed 14:00"),
        review("r42", "bob", ("APPROVED", "APPROVED"), "Wed 13:01", "Wed 14:00"),
        review("r42", "carol", ("APPROVED", "APPROVED"), "Wed 13:02", "Wed 14:00"),
    ]);
    let world = World::of(&facts).await;
    let rows = world
        .ask(
            "SELECT request_id, requester, state, approval_method, approvers, updaters, deniers, self_approved, \
             expired, to_char(expires_at, '%H:%M') FROM access_requests ORDER BY request_id",
        )
        .await;
    let expected = [
        "r1 | alice | APPROVED | review | [bob] | - | - | false | false | 09:34",
        "r14 | dave | APPROVED | review | [carol] | - | - | false | true | 13:00",
        "r19a | alice | PENDING | - | - | - | - | false | false | 10:00",
        "r19b | alice | DENIED | - | - | - | [bob] | false | false | 10:00",
        "r2 | alice | APPROVED | review | [bob, carol] | - | - | false | false | 17:00",
        "r4 | bob | APPROVED | update | [bob] | [bob] | - | true | false | 12:00",
        "r40 | dave | APPROVED | update | [erin] | [access-plugin] | - | false | true | 12:00",
        "r41 | - | DENIED | review | [bob] | - | [carol] | false | false | 12:00",
        "r42 | dave | APPROVED | review | [bob] | - | - | false | false | 14:00",
        "r5 | dave | APPROVED | review | [bob] | - | - | false | false | 12:00",
        "r6 | alice | APPROVED | review | [bob] | - | - | false | false | 15:00",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn duplicates_are_counted_once_and_listed() {
    let mut facts = week();
    // Another content under the id of S3's start, which would make it somebody else's session.
    facts.push(with(start("s3", "mallory", "prod-web-01", "Mon 11:01", &[]), |event| {
        event.event_id = "teleport/root/start-s3".into();
    }));
    let world = World::of(&facts).await;
    let rows = world.ask("SELECT event_id, kind, offset - first_offset FROM duplicate_events ORDER BY 1").await;
    assert_eq!(rows, ["opa/one/d20 | policy.decision | 1", "teleport/root/end-s1 | session.end | 1"]);
    let rows = world
        .ask(
            "SELECT event_id, actor, deliveries FROM unique_events WHERE deliveries > 1 OR conflicting_id \
             ORDER BY event_id, actor",
        )
        .await;
    let expected = [
        "opa/one/d20 | carol | 2",
        "teleport/root/end-s1 | alice | 2",
        "teleport/root/start-s3 | dave | 1",
        "teleport/root/start-s3 | mallory | 1",
    ];
    assert_eq!(rows, expected);
    let rows = world.ask("SELECT decision_id, deliveries FROM policy_decisions ORDER BY 1").await;
    assert_eq!(rows, ["d20 | 2", "d9 | 1"]);
    let rows = world.ask("SELECT actor, participants FROM sessions WHERE session_id = 's3'").await;
    assert_eq!(rows, ["dave | [dave, mallory]"]);
}

#[tokio::test]
async fn what_could_not_be_decoded_is_listed_harmlessly() {
    let world = World::of(&week()).await;
    let rows = world.ask("SELECT error_kind, value_bytes, preview FROM dead_letters").await;
    assert_eq!(rows, ["invalid_json | 14 | not ␛[31mJSON�"]);
    let count = week().len();
    let rows = world.ask("SELECT topic, partition, records, offsets, missing, errors FROM ingest_ledger").await;
    assert_eq!(rows, [format!("audit | 0 | {count} | {count} | 0 | 1")]);
}
