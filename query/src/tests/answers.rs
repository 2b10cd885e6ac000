//! Requests, dead letters, sources and the overview as typed values.

use std::collections::BTreeSet;

use crate::dead_letters::{DeadLetterFilter, MessagePart, MessagePlace, SHOWN_BYTES_MAX};
use crate::engine::AsOf;
use crate::error::QueryError;
use crate::requests::{Request, RequestFilter, RequestState, place};
use crate::sessions::{SessionFilter, Time};

use super::gateways::gateways;
use super::story::week;
use super::world::{Fact, World, at, create, found, review, start, with};

async fn requests(world: &World, filter: &RequestFilter) -> Vec<String> {
    let page = world.engine.requests(filter, 100).await.unwrap();
    page.requests.into_iter().map(|listed| listed.request.request.request_id).collect()
}

#[tokio::test]
async fn pages_of_requests_follow_one_another_without_gap_or_repetition() {
    let mut facts = week();
    // Made at the same time; and one whose making never came.
    facts.push(create("r43", "dave", "x", "Wed 09:00", "Wed 14:00"));
    facts.push(review("r41", "bob", ("APPROVED", "APPROVED"), "Wed 11:00", "Wed 12:00"));
    let world = World::of(&facts).await;
    let all = requests(&world, &RequestFilter::default()).await;
    assert_eq!(all, ["r14", "r41", "r19b", "r19a", "r43", "r6", "r5", "r4", "r2", "r1"]);
    for count in [1, 3, 9, 10] {
        let (mut filter, mut paged) = (RequestFilter::default(), Vec::new());
        loop {
            let page = world.engine.requests(&filter, count).await.unwrap();
            paged.extend(page.requests.into_iter().map(|listed| listed.request.request.request_id));
            match page.next {
                Some(next) => filter.after = Some(next),
                None => break,
            }
        }
        assert_eq!(paged, all, "{count}");
    }
    for cursor in ["", "x", "bm9uc2Vuc2U", "WzEsMl0"] {
        let filter = RequestFilter { after: Some(cursor.to_owned()), ..RequestFilter::default() };
        let error = world.engine.requests(&filter, 10).await.unwrap_err();
        assert!(matches!(error, QueryError::Invalid(_)), "{cursor}: {error:?}");
    }
}

#[tokio::test]
async fn requests_are_narrowed_by_every_filter() {
    let mut facts = week();
    // The end of this one is in some years.
    facts.push(with(create("r50", "carol", "later", "Fri 09:00", "Fri 10:00"), |event| {
        event.expires_at = Some(at("Fri 10:00") + 100 * 365 * 86_400_000_000);
    }));
    let world = World::of(&facts).await;
    let text = |text: &str| Some(text.to_owned());
    let state = |state| RequestFilter { state: Some(state), ..RequestFilter::default() };
    let cases: [(RequestFilter, &[&str]); 11] = [
        (state(RequestState::Pending), &["r50"]),
        (state(RequestState::InForce), &[]),
        (state(RequestState::Approved), &["r14", "r6", "r5", "r4", "r2", "r1"]),
        (state(RequestState::Denied), &["r19b"]),
        (state(RequestState::Expired), &["r14", "r19b", "r19a", "r6", "r5", "r4", "r2", "r1"]),
        (state(RequestState::Unanswered), &["r19a"]),
        (state(RequestState::SelfApproved), &["r4"]),
        (RequestFilter { requester: text("dave"), ..Default::default() }, &["r14", "r5"]),
        (RequestFilter { requester: text("' OR 1 = 1 --"), ..Default::default() }, &[]),
        (RequestFilter { reason: text("inc-78901 ORDERS"), ..Default::default() }, &["r2"]),
        (
            RequestFilter { from: Some(Time(at("Tue 08:00"))), to: Some(Time(at("Tue 13:00"))), ..Default::default() },
            &["r5", "r4"],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(requests(&world, &filter).await, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn the_sessions_of_a_person_are_those_of_every_account() {
    let world = World::of(&[week(), gateways()].concat()).await;
    let actors = async |actor: &str| -> BTreeSet<String> {
        let filter = SessionFilter { actor: Some(actor.to_owned()), ..SessionFilter::default() };
        let page = world.engine.sessions(&filter, 100).await.unwrap();
        page.sessions.into_iter().filter_map(|one| one.session.actor).collect()
    };
    assert_eq!(actors("alice").await, ["alice", "u_alice0001"].map(str::to_owned).into());
    assert_eq!(actors("u_alice0001").await, ["u_alice0001"].map(str::to_owned).into());
    assert_eq!(actors("u_alice").await, BTreeSet::new());
}

#[tokio::test]
async fn the_latest_requests_are_those_that_a_look_at_all_gives() {
    let mut facts = [week(), gateways()].concat();
    // One whose making never came, and one of which it is not even known since when.
    facts.push(review("r41", "bob", ("APPROVED", "APPROVED"), "Wed 11:00", "Wed 12:00"));
    facts.push(review("r44", "bob", ("DENIED", "DENIED"), "Fri 18:00", "Fri 19:00"));
    let world = World::of(&facts).await;
    let reading = world.engine.read(AsOf::Newest, None).await.unwrap();
    let day = |from: &str, to: &str| RequestFilter {
        from: Some(Time(at(from))),
        to: Some(Time(at(to))),
        ..RequestFilter::default()
    };
    let filters = [
        RequestFilter::default(),
        RequestFilter { state: Some(RequestState::Denied), ..RequestFilter::default() },
        RequestFilter { requester: Some("dave".to_owned()), ..RequestFilter::default() },
        day("Tue 08:00", "Wed 13:00"),
        RequestFilter { to: Some(Time(at("Wed 13:00"))), ..RequestFilter::default() },
    ];
    let mut answered = 0;
    for filter in &filters {
        let all = async |after: Option<&_>, count| -> Vec<Request> {
            reading.rows(reading.requests_of(filter, after, None, count).await.unwrap()).await.unwrap()
        };
        let firsts = reading.requests_of(filter, None, None, 100).await.unwrap();
        let cursors = reading.rows(firsts).await.unwrap().iter().step_by(2).map(place).collect::<Vec<_>>();
        for after in std::iter::once(None).chain(cursors.iter().map(Some)) {
            for (count, most) in [(1, 1), (2, 5), (100, 500)] {
                let expected = all(after, count).await;
                if let Some(latest) = reading.latest_requests(filter, after, count, most).await.unwrap() {
                    assert_eq!(latest, expected, "{filter:?} {after:?} {count} {most}");
                    answered += 1;
                }
            }
        }
    }
    assert!(answered > 40, "{answered}");
}

#[tokio::test]
async fn everything_is_known_of_one_request() {
    let world = World::of(&week()).await;
    let detail = world.engine.request("r2", None).await.unwrap().unwrap();
    assert_eq!(
        (detail.request.source.as_str(), detail.request.request.tickets),
        ("teleport", vec!["INC-78901".to_owned()])
    );
    let voters: Vec<_> = detail.reviews.iter().map(|review| review.reviewer.as_deref()).collect();
    assert_eq!(voters, [Some("carol"), Some("bob")]);
    // In the order in which they began; two of them are linked by something else than its id.
    let sessions: Vec<_> = detail.sessions.iter().map(|one| one.session.session_id.as_str()).collect();
    assert_eq!(sessions, ["s2a", "s2b", "s2c", "s30", "s31"]);
    assert!(!detail.sessions_truncated && detail.also.is_empty());
    // It expired, and nobody used it.
    let unused = world.engine.request("r14", Some("teleport")).await.unwrap().unwrap();
    assert!(unused.request.request.expired && unused.sessions.is_empty() && unused.reviews.len() == 1);
    assert_eq!(world.engine.request("r14", Some("hoop")).await.unwrap(), None);
    assert_eq!(world.engine.request("nobody's", None).await.unwrap(), None);
}

#[tokio::test]
async fn the_sessions_of_a_request_are_those_that_session_access_has() {
    let mut facts = [week(), gateways()].concat();
    // Another gateway has a request, and a session, of the same id.
    facts.push(match create("r2", "carol", "something else", "Mon 13:00", "Mon 17:00") {
        Fact::Event(_, mut event) => {
            event.event_id = "boundary/r2".into();
            Fact::Event("boundary", event)
        }
        other => other,
    });
    facts.push(start("s50", "alice", "prod-web-01", "Mon 14:10", &["r2"]));
    let world = World::of(&facts).await;
    let page = world.engine.requests(&RequestFilter::default(), 100).await.unwrap();
    let mut linked = 0;
    for listed in page.requests {
        let (source, id) = (listed.request.source, listed.request.request.request_id);
        let rows = world
            .ask(&format!(
                "SELECT DISTINCT a.source || ' ' || a.session_id, a.link_method <> 'inferred' FROM session_access a \
                 JOIN access_requests r ON r.request_id = a.request_id AND r.source = '{source}' \
                 WHERE a.request_id = '{id}' AND CASE WHEN a.link_method IN ('explicit', 'gateway_review') \
                 THEN a.source = r.source ELSE a.reason_by = r.requester AND a.approved_at = r.approved_at END \
                 ORDER BY 1"
            ))
            .await;
        let expected: BTreeSet<&str> = rows.iter().filter_map(|row| row.split(" | ").next()).collect();
        let detail = world.engine.request(&id, Some(&source)).await.unwrap().unwrap();
        let session =
            |one: &crate::sessions::LinkedSession| format!("{} {}", one.session.source, one.session.session_id);
        let found: Vec<String> = detail.sessions.iter().map(session).collect();
        assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{source} {id}");
        assert_eq!(found.len(), expected.len(), "{source} {id}");
        let firm = rows.iter().filter(|row| row.ends_with("true")).count();
        assert_eq!(listed.sessions, firm, "{source} {id}");
        assert_eq!(detail.also.len(), usize::from(id == "r2"), "{source} {id}");
        linked += found.len();
    }
    assert!(linked >= 14, "{linked}");
}

#[tokio::test]
async fn dead_letters_come_in_pages_and_as_they_came() {
    let long: &'static [u8] = Box::leak(vec![0xe4; SHOWN_BYTES_MAX + 1].into_boxed_slice());
    let world = World::of(&[week(), vec![Fact::Undecodable(long), Fact::Undecodable(b"<b>")]].concat()).await;
    let (mut filter, mut paged) = (DeadLetterFilter::default(), Vec::new());
    loop {
        let page = world.engine.dead_letters(&filter, 1).await.unwrap();
        paged.extend(page.dead_letters);
        match page.next {
            Some(next) => filter.after = Some(next),
            None => break,
        }
    }
    let sizes: Vec<_> = paged.iter().map(|letter| letter.value_bytes).collect();
    assert_eq!(sizes, [Some(3), Some(SHOWN_BYTES_MAX as i64 + 1), Some(14)]);
    let count =
        async |filter: DeadLetterFilter| world.engine.dead_letters(&filter, 9).await.unwrap().dead_letters.len();
    assert_eq!(count(DeadLetterFilter { source: Some("teleport".to_owned()), ..Default::default() }).await, 3);
    assert_eq!(count(DeadLetterFilter { source: Some("hoop".to_owned()), ..Default::default() }).await, 0);
    assert_eq!(count(DeadLetterFilter { error_kind: Some("invalid_json".to_owned()), ..Default::default() }).await, 3);
    assert_eq!(count(DeadLetterFilter { from: Some(paged[1].ingested_at), ..Default::default() }).await, 2);
    assert_eq!(count(DeadLetterFilter { to: Some(paged[1].ingested_at), ..Default::default() }).await, 1);

    let place = |number: usize| {
        let letter = &paged[number];
        MessagePlace { topic: letter.topic.clone(), partition: letter.partition, offset: letter.offset }
    };
    let detail = world.engine.dead_letter(&place(2)).await.unwrap().unwrap();
    let value = detail.value.unwrap();
    assert_eq!((value.bytes, value.truncated, value.text.as_str()), (14, false, "not ␛[31mJSON\u{fffd}"));
    assert_eq!(value.hex, "6e6f74201b5b33316d4a534f4eff");
    assert_eq!(detail.key.map(|key| key.text).as_deref(), Some("key"));
    let value = world.engine.dead_letter(&place(1)).await.unwrap().unwrap().value.unwrap();
    assert_eq!((value.bytes, value.truncated, value.hex.len()), (long.len(), true, 2 * SHOWN_BYTES_MAX));

    let bytes = async |number, part| world.engine.dead_letter_bytes(&place(number), part).await.unwrap();
    assert_eq!(bytes(1, MessagePart::Value).await.as_deref(), Some(long));
    assert_eq!(bytes(0, MessagePart::Key).await.as_deref(), Some(&b"key"[..]));
    assert_eq!(bytes(0, MessagePart::Header(0)).await, None);
    // What was decoded is no dead letter.
    let decoded = MessagePlace { offset: 0, ..place(0) };
    assert_eq!(world.engine.dead_letter(&decoded).await.unwrap(), None);
    assert_eq!(world.engine.dead_letter_bytes(&decoded, MessagePart::Value).await.unwrap(), None);
}

#[tokio::test]
async fn sources_and_streams_are_told_as_their_views_tell_them() {
    let world = World::of(&[week(), gateways()].concat()).await;
    let arrival = world.engine.arrival(None).await.unwrap();
    let told: Vec<String> = arrival
        .sources
        .iter()
        .map(|of| format!("{} | {} | {}", of.source, of.cluster.as_deref().unwrap_or("-"), of.events))
        .collect();
    assert_eq!(told, world.ask("SELECT source, cluster, events FROM source_health ORDER BY source, cluster").await);
    let stream = arrival.streams.first().unwrap();
    assert_eq!((stream.topic.as_str(), stream.missing, stream.errors), ("audit", 0, 1));
    // Nothing came within the last hour.
    assert_eq!((arrival.freshness.messages, arrival.freshness.p99_s), (0, None));
    let source = arrival.sources.into_iter().find(|of| of.last_ingested_at.is_some()).unwrap();
    let Time(last) = source.last_ingested_at.unwrap();
    assert_eq!(source.at(Time(last + 7_900_000)).silent_s, Some(7));
}

#[tokio::test]
async fn the_overview_counts_what_the_views_have_and_names_the_latest() {
    let mut facts = [week(), gateways()].concat();
    facts.push(found("R02/teleport/s3"));
    let world = World::of(&facts).await;
    let saturday = at("Fri 23:59") + 86_400_000_000;
    let overview = world.engine.overview_at(7, saturday, None).await.unwrap();
    let total: i64 = overview.by_day.iter().map(|of| of.sessions).sum();
    assert_eq!(vec![total.to_string()], world.ask("SELECT count(*) FROM sessions").await);
    let expected = world
        .ask(
            "SELECT count(*) FROM (SELECT source, session_id FROM session_access GROUP BY 1, 2 HAVING NOT \
             bool_or(link_method NOT IN ('inferred', 'none') AND approved_at IS NOT NULL))",
        )
        .await;
    assert_eq!(vec![overview.unapproved.count.to_string()], expected);
    let methods: BTreeSet<&str> = overview.by_day.iter().map(|of| of.link_method.as_str()).collect();
    assert_eq!(methods, BTreeSet::from(["explicit", "gateway_review", "inferred", "none", "ticket"]));
    let ids = |of: &[crate::sessions::LinkedSession]| -> Vec<String> {
        of.iter().map(|one| one.session.session_id.clone()).collect()
    };
    assert_eq!(ids(&overview.running.latest), ["s20", "s_12", "s_11", "s_10", "s31"]);
    assert_eq!(
        vec![overview.running.count.to_string()],
        world.ask("SELECT count(*) FROM sessions WHERE state = 'running'").await
    );
    assert_eq!(overview.unapproved.latest.len(), 5);
    assert_eq!(ids(&overview.unapproved.latest)[..3], ["s20", "s7", "s9"]);
    assert_eq!((overview.latest.len(), ids(&overview.latest)[0].as_str()), (10, "s20"));
    assert_eq!((overview.findings.count, overview.findings.latest[0].report.as_str()), (1, "R02"));
    for (finding, expected) in [("open", vec!["s3"]), ("any", vec!["s3"]), ("R02", vec!["s3"]), ("R03", vec![])] {
        let filter = SessionFilter { finding: Some(finding.to_owned()), ..SessionFilter::default() };
        let page = world.engine.sessions(&filter, 10).await.unwrap();
        assert_eq!(ids(&page.sessions), expected, "{finding}");
    }
    // Only Friday: what began before is among the latest all the same.
    let friday = world.engine.overview_at(2, saturday, None).await.unwrap();
    assert_eq!((friday.by_day.len(), friday.latest.len()), (1, 10));
    assert_eq!(ids(&friday.unapproved.latest), ["s20"]);

    let empty = World::new().await.engine.overview_at(30, saturday, None).await.unwrap();
    assert!(empty.latest.is_empty() && empty.by_day.is_empty() && empty.unapproved.count == 0);
}

#[tokio::test]
async fn a_week_has_what_its_reports_have() {
    let world = World::of(&week()).await;
    let weeks = world.engine.weeks_at(at("Fri 20:00"), None).await.unwrap().weeks;
    assert_eq!((weeks.len(), weeks[7].from), (8, Time(at("Mon 00:00"))));
    assert!(weeks[..7].iter().all(|week| week.active_hours == 0.0 && week.request_to_session_s.is_none()));
    assert!(weeks[7].active_hours > 10.0, "{:?}", weeks[7]);
    // From request to session: r1 5, r2 10, r4 5, r5 5, r6 10 minutes.
    assert_eq!(weeks[7].request_to_session_s, Some(300.0));
}
