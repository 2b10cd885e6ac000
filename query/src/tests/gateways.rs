//! Facts of several systems about one session: what ties them together, and whether its recording is here.

use custody_schemas::event::{Event, Integrity, Kind, Outcome, Text};
use custody_schemas::frame::Code;

use super::world::{Fact, World, at, create, decision, end, piece, review, start, update, upload, with};

/// A fact told by another gateway than Teleport.
fn by(source: &'static str, fact: Fact, change: impl FnOnce(&mut Event<'static>)) -> Fact {
    match with(fact, change) {
        Fact::Event(_, mut event) => {
            event.event_id = event.event_id.replace("teleport", source).into();
            // Each of Boundary's hosts tells under its own name.
            event.cluster = (source == "boundary").then(|| format!("host-of-{}", event.kind.as_str()).into());
            Fact::Event(source, event)
        }
        other => other,
    }
}

/// A session of hoop's with what it carries.
fn hoop(
    id: &'static str,
    user: &'static str,
    (from, to): (&'static str, &'static str),
    carries: &[&'static str],
) -> [Fact; 2] {
    [
        by("hoop", start(id, user, "billing-db", from, carries), |event| event.recorded = Some(true)),
        by("hoop", end(id, user, "billing-db", (from, to), &[]), |_| {}),
    ]
}

/// S8, S10, S11, S21 of the story, and what is like them and is not.
pub(super) fn gateways() -> Vec<Fact> {
    let boundary = |id, correlation: &'static str, time| {
        by("boundary", start(id, "u_alice0001", "prod-web-01-ssh", time, &[]), |event| {
            event.correlation_id = Some(correlation.into());
            event.recording_id = Some(format!("sr_{id}").into());
            event.recorded = Some(true);
        })
    };
    let asked = by("hoop", create("h1", "alice", "OPS-1500 refund", "Wed 13:00", "Wed 14:05"), |event| {
        event.target = Some("billing-db".into());
        event.action = Some("jit".into());
    });
    let vote = review("h1", "bob", ("APPROVED", "APPROVED"), "Wed 13:05", "Wed 14:05");
    let mut facts = vec![
        // Exactly this decision, though another one allowed the same person on the same target a minute before.
        decision("d8", ("alice", "prod-web-01-ssh"), Outcome::Allow, Some("INC-78901"), "Tue 02:10"),
        decision("d8b", ("alice", "prod-web-01-ssh"), Outcome::Allow, None, "Tue 02:09"),
        boundary("s_8", "d8", "Tue 02:10:02"),
        // A worker tells of the same session under its own name.
        by("boundary", end("s_8", "", "prod-web-01-ssh", ("Tue 02:10:02", "Tue 02:40"), &[]), |event| {
            event.actor = None;
            event.participants.clear();
        }),
        // An id that Boundary made up itself: the person is known by another name, and the time tells.
        decision("d10", ("alice", "prod-web-01-ssh"), Outcome::Allow, None, "Tue 04:00"),
        boundary("s_10", "made-up", "Tue 04:00:05"),
        // Decision and session carry the caller's id.
        with(decision("d11", ("someone", "elsewhere"), Outcome::Allow, None, "Tue 06:00"), |event| {
            event.correlation_id = Some("call-11".into());
            event.approver = Some("carol".into());
            event.approved_at = Some(at("Tue 05:50"));
        }),
        boundary("s_11", "call-11", "Tue 06:00:05"),
        asked,
        by("hoop", vote, |_| {}),
    ];
    facts.extend(hoop("h-a", "alice", ("Wed 13:01", "Wed 13:20"), &["h1"]));
    facts.extend(hoop("h-b", "alice", ("Wed 13:40", "Wed 13:50"), &[]));
    facts.extend(hoop("h-late", "alice", ("Wed 14:06", "Wed 14:10"), &[]));
    facts.extend(hoop("h-other", "bob", ("Wed 13:41", "Wed 13:51"), &[]));
    // Credentials of a session: believed of its own user, on its target, while the access lasts.
    facts.extend(hoop("h-lent", "alice", ("Wed 13:45", "Wed 13:46"), &["session:h-a"]));
    facts.extend(hoop("h-stolen", "bob", ("Wed 13:45", "Wed 13:46"), &["session:h-a"]));
    facts.extend(hoop("h-stale", "alice", ("Wed 15:00", "Wed 15:10"), &["session:h-a"]));
    // An approval that was taken back opens nothing afterwards.
    facts.push(by("hoop", create("h2", "carol", "OPS-1501", "Wed 09:00", "Wed 12:00"), |event| {
        event.target = Some("billing-db".into());
        event.action = Some("jit".into());
    }));
    facts.push(by("hoop", review("h2", "bob", ("APPROVED", "APPROVED"), "Wed 09:05", "Wed 12:00"), |_| {}));
    facts.push(by("hoop", update("h2", ("bob", None), "REVOKED", "Wed 10:00", "Wed 12:00"), |_| {}));
    facts.extend(hoop("h-before", "carol", ("Wed 09:30", "Wed 09:40"), &[]));
    facts.extend(hoop("h-after", "carol", ("Wed 10:30", "Wed 10:40"), &[]));
    // Somebody else's decision, weeks old, under the id that a caller chose.
    facts.push(boundary("s_12", "d-old", "Tue 08:00"));
    facts.push(decision("d-old", ("carol", "prod-web-01-ssh"), Outcome::Allow, None, "Mon 08:00"));
    facts
}

#[tokio::test]
async fn sessions_are_tied_to_decisions_and_reviews_of_other_systems() {
    let world = World::of(&gateways()).await;
    let rows = world
        .ask(
            "SELECT session_id, link_method, coalesce(decision_id, request_id), approvers, approved_before_start \
             FROM session_access ORDER BY session_id, link_method",
        )
        .await;
    let expected = [
        "h-a | gateway_review | h1 | [bob] | true",
        "h-after | none | - | - | -",
        "h-b | gateway_review | h1 | [bob] | true",
        "h-before | gateway_review | h2 | [bob] | true",
        "h-late | none | - | - | -",
        "h-lent | gateway_review | h1 | [bob] | true",
        "h-other | none | - | - | -",
        "h-stale | none | - | - | -",
        "h-stolen | none | - | - | -",
        "s_10 | inferred | d10 | [authz/decision@main=r1] | true",
        "s_11 | explicit | d11 | [authz/decision@main=r1, carol] | true",
        "s_12 | inferred | d-old | [authz/decision@main=r1] | true",
        "s_8 | explicit | d8 | [authz/decision@main=r1] | true",
    ];
    assert_eq!(rows, expected);
    let rows = world.ask("SELECT session_id, person, state, cluster FROM sessions WHERE session_id = 's_8'").await;
    assert_eq!(rows, ["s_8 | alice | ended | -"]);
}

#[tokio::test]
async fn every_state_of_a_recording_is_told_with_its_reason() {
    let import = |id: &'static str, integrity| {
        with(upload(id, "Mon 12:00"), |event| {
            event.kind = Kind::Import;
            event.event_id = Text::from(format!("custody/import/{id}"));
            event.integrity = Some(integrity);
            event.detail = r#"{"findings":[{"kind":"ChecksumMismatch"}],"source":"teleport"}"#.to_owned();
        })
    };
    let shown = |id, seq, position, data| match piece(id, seq, Code::Output, "Mon 10:01", data) {
        Fact::Piece(source, mut piece) => {
            piece.position = Some(position);
            Fact::Piece(source, piece)
        }
        other => other,
    };
    let session = |id: &'static str| {
        [
            with(start(id, "alice", "web", "Mon 10:00", &[]), |event| event.detail = r#"{"ei":0}"#.to_owned()),
            with(end(id, "alice", "web", ("Mon 10:00", "Mon 10:05"), &[]), |event| {
                event.detail = r#"{"ei":3}"#.to_owned();
            }),
        ]
    };
    let recorded = |fact, recorded| with(fact, |event| event.recorded = Some(recorded));
    let mut facts = vec![
        start("running", "alice", "web", "Mon 10:00", &[]),
        upload("missing", "Mon 10:06"),
        import("failed", Integrity::Failed),
        import("cut", Integrity::Incomplete),
        import("whole", Integrity::Authentic),
        // Of another source's recording under the same id.
        with(import("whole", Integrity::Failed), |event| {
            event.event_id = "custody/import/other".into();
            event.detail = r#"{"source":"asciicast"}"#.to_owned();
        }),
    ];
    for id in ["whole", "bytes", "events", "failed", "cut", "missing", "unknown", "announced", "off"] {
        facts.extend(session(id));
    }
    for id in ["whole", "failed", "cut"] {
        facts.extend([shown(id, 1, 0, b"ab"), shown(id, 2, 2, b"cd")]);
    }
    facts.extend([shown("bytes", 1, 0, b"ab"), shown("bytes", 2, 5, b"cd"), shown("events", 1, 0, b"ab")]);
    // What was asked of a database is its recording.
    facts.extend(session("database"));
    facts.push(upload("database", "Mon 10:06"));
    facts.push(with(start("database", "alice", "orders", "Mon 10:02", &[]), |event| {
        event.kind = Kind::SessionActivity;
        event.event_id = "teleport/root/query-1".into();
        event.target_kind = Some("database".into());
        event.detail = r#"{"ei":1}"#.to_owned();
    }));
    // Twice is once.
    facts.push(shown("whole", 1, 0, b"ab"));
    facts = facts
        .into_iter()
        .map(|fact| match &fact {
            Fact::Event(_, event) => match event.session_id.as_deref() {
                Some("running" | "announced") => recorded(fact, true),
                Some("off") => recorded(fact, false),
                _ => fact,
            },
            _ => fact,
        })
        .collect();
    let world = World::of(&facts).await;
    let rows = world
        .ask(
            "SELECT session_id, recording_state, integrity, missing_bytes, missing_events FROM recording_state \
             ORDER BY session_id",
        )
        .await;
    let expected = [
        "announced | missing | - | - | -",
        "bytes | incomplete | - | 3 | 0",
        "cut | incomplete | incomplete | 0 | 0",
        "database | recorded | - | - | -",
        "events | incomplete | - | 0 | 1",
        "failed | unverifiable | failed | 0 | 0",
        "missing | missing | - | - | -",
        "off | not_required | - | - | -",
        "running | running | - | - | -",
        "unknown | unknown | - | - | -",
        "whole | recorded | authentic | 0 | 0",
    ];
    assert_eq!(rows, expected);
    let rows = world.ask("SELECT why FROM recording_state WHERE session_id = 'bytes'").await;
    assert_eq!(rows, ["3 bytes of output are missing between pieces that are here"]);
    assert_eq!(world.ask("SELECT count(*) FROM recording_state WHERE why IS NULL").await, ["0"]);
}

#[tokio::test]
async fn the_health_of_a_source_says_what_is_not_coming() {
    let told = |kind: &'static str, id| {
        by("boundary", start(id, "u", "t", "Mon 10:00", &[]), move |event| {
            event.kind = Kind::Other;
            event.source_type = kind.into();
            event.session_id = None;
        })
    };
    let silent = [told("observation", "o1"), told("system", "y1"), told("observation", "o1")];
    let world = World::of(&silent).await;
    let asked = "SELECT source, events, duplicates, audit_events, audit_off, silent_s > 0 FROM source_health \
                 WHERE cluster IS NOT NULL";
    assert_eq!(world.ask(asked).await, ["boundary | 3 | 1 | 0 | true | true"]);
    let world = World::of(&[&silent[..], &[told("targets.list", "a1")]].concat()).await;
    assert_eq!(world.ask(asked).await, ["boundary | 4 | 1 | 1 | false | true"]);
}
