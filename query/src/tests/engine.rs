//! What the engine refuses, where it stops, and what its typed answers are.

use std::time::Duration;

use custody_schemas::frame::Code;

use super::story::week;
use super::world::{World, piece};
use crate::sessions::{SessionFilter, Time};
use crate::{AsOf, Bounds, Engine, Limits, QueryError};

async fn refusal(engine: &Engine, sql: &str) -> QueryError {
    match engine.query(sql, Bounds::default()).await {
        Err(error) => error,
        Ok(mut stream) => loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("{sql} was answered"),
            }
        },
    }
}

#[tokio::test]
async fn questions_can_be_asked_from_any_thread() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let world = World::new().await;
    let mut stream = sent(world.engine.query("SELECT 1", Bounds::default())).await.unwrap();
    assert!(sent(stream.next()).await.is_some());
    assert!(sent(world.engine.sessions(&SessionFilter::default(), 1)).await.is_ok());
    assert!(sent(world.engine.session("s1")).await.is_ok());
    assert!(sent(world.engine.frames("teleport", "s1")).await.is_ok());
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let world = World::of(&week()).await;
    let refused = [
        "INSERT INTO events SELECT * FROM events",
        "INSERT INTO records VALUES (1)",
        "DELETE FROM events",
        "UPDATE events SET actor = 'x'",
        "TRUNCATE events",
        "COPY events TO 'out.csv'",
        "COPY (SELECT 1) TO '/tmp/out.parquet' STORED AS PARQUET",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE DATABASE d",
        "SELECT 1 AS a INTO t",
        "DROP TABLE events",
        "DROP VIEW sessions",
        "SET datafusion.execution.target_partitions = 64",
        "RESET datafusion.execution.target_partitions",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "EXPLAIN INSERT INTO events SELECT * FROM events",
        "EXPLAIN ANALYZE INSERT INTO events SELECT * FROM events",
        "EXPLAIN COPY events TO 'out.csv'",
        "EXPLAIN SET a = 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE events",
    ];
    for sql in refused {
        let error = refusal(&world.engine, sql).await;
        assert!(matches!(error, QueryError::Forbidden(_)), "{sql}: {error:?}");
    }
    assert_eq!(world.ask("SELECT count(*) AS n FROM records").await, [week().len().to_string()]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_the_askers_fault_and_says_why() {
    let world = World::of(&week()).await;
    let wrong = [
        ("", "no SQL statement"),
        ("SELEC 1", "Expected: an SQL statement, found: SELEC at Line: 1, Column: 1"),
        ("SELECT nothing FROM events", "nothing"),
        ("SELECT * FROM sesions", "'custody.ledger.sesions' not found. Did you mean sessions?"),
        ("WITH x AS (SELECT 1) SELECT * FROM x, access_request", "Did you mean access_requests?"),
        ("SELECT * FROM something_else", "something_else' not found"),
        ("SELECT * FROM '/etc/passwd'", "not found"),
        ("SELECT * FROM \"/etc/passwd\"", "not found"),
        ("SELECT * FROM \"file:///etc/passwd\"", "not found"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT repeat('x', 1000000000)", "repeat"),
        ("SELECT 1 / 0", "ivide by zero"),
        ("SELECT utf8_lossy(1)", "binary or text"),
        ("SELECT * FROM events WHERE actor > $1", "laceholder"),
    ];
    for (sql, why) in wrong {
        let error = refusal(&world.engine, sql).await;
        assert!(matches!(&error, QueryError::Invalid(message) if message.contains(why)), "{sql}: {error:?}");
    }
    let long = format!("SELECT '{}'", "x".repeat(100_000));
    assert!(matches!(refusal(&world.engine, &long).await, QueryError::Invalid(_)));
    let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(matches!(refusal(&world.engine, &deep).await, QueryError::Invalid(_)));
}

#[tokio::test]
async fn reading_in_every_form_is_answered() {
    let world = World::of(&week()).await;
    let asked = [
        "SELECT 1;",
        "SELECT offset FROM records",
        "SELECT partition FROM records",
        "SELECT index FROM events",
        "SELECT date FROM frames",
        "SHOW TABLES",
        "SHOW COLUMNS FROM sessions",
        "DESCRIBE events",
        "EXPLAIN SELECT * FROM sessions",
        "EXPLAIN ANALYZE SELECT * FROM sessions",
        "SELECT * FROM information_schema.columns WHERE table_name = 'sessions'",
        "SELECT topic, partition, offset FROM records WHERE partition = 0 AND offset >= 1 ORDER BY partition, offset",
        "SELECT index, offset, date FROM events WHERE index = 0 AND date > '2020-01-01' GROUP BY index, offset, date",
        "SELECT max(offset), e.partition FROM events e GROUP BY partition LIMIT 1 OFFSET 0",
        "SELECT utf8_lossy(value), byte_length(value), printable(key, 2) FROM records WHERE value IS NOT NULL",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n",
        "SELECT date_trunc('hour', occurred_at), count(*) FROM events GROUP BY 1",
        "SELECT * FROM sessions s JOIN session_access a USING (session_id)",
    ];
    for sql in asked {
        assert!(!world.ask(sql).await.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn a_limit_holds_whatever_columns_are_asked_for() {
    let world = World::of(&week()).await;
    let cases = [
        ("SELECT 1 AS n FROM events LIMIT 1", 1),
        ("SELECT 1 AS n FROM events LIMIT 2 OFFSET 3", 2),
        ("SELECT date FROM events LIMIT 2", 2),
        ("SELECT date FROM events WHERE date > '2020-01-01' LIMIT 3", 3),
        ("SELECT date, kind FROM events LIMIT 4", 4),
        ("SELECT * FROM events LIMIT 5 OFFSET 2", 5),
        ("SELECT 1 FROM events UNION ALL SELECT 1 FROM records LIMIT 6", 6),
        ("SELECT a.date FROM events a CROSS JOIN records b LIMIT 7", 7),
        ("SELECT date, 1 FROM (SELECT * FROM events) LIMIT 8", 8),
        ("SELECT DISTINCT date FROM events LIMIT 9", 1),
    ];
    for (sql, rows) in cases {
        assert_eq!(world.ask(sql).await.len(), rows, "{sql}");
    }
}

#[tokio::test]
async fn a_question_sees_what_was_committed_before_it() {
    let mut world = World::new().await;
    let before = world.engine.versions().await.unwrap();
    world.add(&week()[..3]).await;
    assert_eq!(world.ask("SELECT count(*) AS n FROM events").await, ["3"]);
    let after = world.engine.versions().await.unwrap();
    assert!(before.events < after.events && before.records < after.records);
    let stream = world.engine.query("SELECT 1", Bounds::default()).await.unwrap();
    assert_eq!(stream.versions(), after);
    for (sql, events) in [
        (format!("SELECT count(*) AS n FROM events AS OF '{before}'"), "0"),
        (format!("SELECT count(*) AS n FROM events e WHERE kind <> 'AS OF'\nas of '{after}' ; -- then"), "3"),
        ("SELECT count(*) AS \"of\" FROM events".to_owned(), "3"),
    ] {
        assert_eq!(world.ask(&sql).await, [events], "{sql}");
    }
    let state = AsOf::Versions(before);
    for (sql, told) in [
        (format!("SELECT 1 AS OF '{after}'"), "two states"),
        ("SELECT 1 AS OF 'yesterday'".to_owned(), "is an instant like"),
    ] {
        let refused = world.engine.query_as_of(&sql, state, Bounds::default()).await.err().unwrap();
        assert!(matches!(refused, QueryError::Invalid(_)) && refused.to_string().contains(told), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn rows_beyond_the_bound_are_cut_off_and_said_to_be() {
    let world = World::new().await;
    for (rows, expected, truncated) in
        [(Some(10), 10, false), (Some(9), 9, true), (Some(0), 0, true), (None, 10, false)]
    {
        let bounds = Bounds { rows, ..Bounds::default() };
        let mut stream = world.engine.query("SELECT * FROM generate_series(1, 10)", bounds).await.unwrap();
        let mut count = 0;
        while let Some(batch) = stream.next().await {
            count += batch.unwrap().num_rows();
        }
        assert_eq!((count, stream.truncated()), (expected, truncated), "{rows:?}");
    }
}

const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000000) a CROSS JOIN generate_series(1, 1000000000) b";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_stopped_when_its_time_is_over() {
    let world = World::new().await;
    let time = Duration::from_millis(300);
    let bounds = Bounds { time: Some(time), rows: None };
    let began = std::time::Instant::now();
    let mut stream = world.engine.query(ENDLESS, bounds).await.unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, QueryError::Timeout(after) if after == time), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_turn_counts() {
    let world = World::limited(Limits { queries: 1, ..Limits::default() }).await;
    let first = world.engine.query("SELECT 1", Bounds::default()).await.unwrap();
    let bounds = Bounds { time: Some(Duration::from_millis(50)), rows: None };
    assert!(matches!(world.engine.query("SELECT 1", bounds).await.err(), Some(QueryError::Timeout(_))));
    drop(first);
    assert!(world.engine.query("SELECT 1", Bounds::default()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_needs_too_much_memory_fails_alone() {
    let limits = Limits { memory_bytes: 4 << 20, spill_bytes: 1 << 20, cores: 1, ..Limits::default() };
    let world = World::limited(limits).await;
    let hungry = "SELECT array_agg(value) FROM generate_series(1, 10000000)";
    let error = refusal(&world.engine, hungry).await;
    assert!(matches!(error, QueryError::Resources(_)), "{error:?}");
    assert_eq!(world.ask("SELECT count(*) AS n FROM events").await, ["0"]);
}

#[tokio::test]
async fn a_store_that_is_gone_is_not_the_askers_fault() {
    let world = World::of(&week()).await;
    assert_eq!(world.ask("SELECT 1 AS n FROM events LIMIT 1").await, ["1"]);
    let folder = world.folder().join("events");
    std::fs::rename(&folder, world.folder().join("aside")).unwrap();
    let error = refusal(&world.engine, "SELECT detail FROM events").await;
    assert!(matches!(error, QueryError::Store(_)), "{error:?}");
    std::fs::rename(world.folder().join("aside"), &folder).unwrap();
    assert_eq!(world.ask("SELECT 1 AS n").await, ["1"]);
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repetition() {
    let world = World::of(&week()).await;
    let all = world.engine.sessions(&SessionFilter::default(), 100).await.unwrap();
    assert!(all.next.is_none());
    let all: Vec<String> = all.sessions.into_iter().map(|linked| linked.session.session_id).collect();
    assert_eq!(all.len(), 14);
    assert_eq!(all[0], "s20");
    for count in [1, 3, 13, 14] {
        let mut filter = SessionFilter::default();
        let mut paged = Vec::new();
        loop {
            let page = world.engine.sessions(&filter, count).await.unwrap();
            paged.extend(page.sessions.into_iter().map(|linked| linked.session.session_id));
            match page.next {
                Some(next) => filter.after = Some(next),
                None => break,
            }
        }
        assert_eq!(paged, all, "{count}");
    }
    for cursor in ["", "x", "bm9uc2Vuc2U", "WzEsMl0"] {
        let filter = SessionFilter { after: Some(cursor.to_owned()), ..SessionFilter::default() };
        let error = world.engine.sessions(&filter, 10).await.unwrap_err();
        assert!(matches!(error, QueryError::Invalid(_)), "{cursor}: {error:?}");
    }
}

#[tokio::test]
async fn sessions_are_narrowed_by_every_filter() {
    let world = World::of(&week()).await;
    let text = |text: &str| Some(text.to_owned());
    let cases: [(SessionFilter, &[&str]); 9] = [
        (SessionFilter { actor: text("bob"), ..Default::default() }, &["s4"]),
        (SessionFilter { target: text("web_app_db"), ..Default::default() }, &["s2b", "s2a"]),
        (SessionFilter { state: text("running"), ..Default::default() }, &["s20", "s31"]),
        (SessionFilter { link_method: text("inferred"), ..Default::default() }, &["s20", "s30"]),
        (SessionFilter { link_method: text("none"), actor: text("dave"), ..Default::default() }, &["s9", "s3"]),
        (
            SessionFilter { reason: text("inc-78901 ORDERS"), ..Default::default() },
            &["s31", "s30", "s2c", "s2b", "s2a"],
        ),
        (SessionFilter { request_id: text("r5"), ..Default::default() }, &["s5"]),
        (SessionFilter { actor: text("' OR 1 = 1 --"), ..Default::default() }, &[]),
        (
            SessionFilter {
                from: Some(Time(super::world::at("Mon 13:10"))),
                to: Some(Time(super::world::at("Mon 13:30"))),
                ..Default::default()
            },
            &["s2a"],
        ),
    ];
    for (filter, expected) in cases {
        let page = world.engine.sessions(&filter, 100).await.unwrap();
        let ids: Vec<&str> = page.sessions.iter().map(|linked| linked.session.session_id.as_str()).collect();
        assert_eq!(ids, expected, "{filter:?}");
        assert!(page.sessions.iter().all(|linked| !linked.links.is_empty()));
    }
}

#[tokio::test]
async fn what_was_cleaned_from_the_logs_meanwhile_is_found_when_they_are_listed() {
    let mut world = World::of(&week()).await;
    let engine = world.engine(Limits::default()).await;
    let before = engine.versions().await.unwrap();
    for seq in 10..13 {
        world.add(&[piece("s1", seq, Code::Output, "Mon 09:08", b"later")]).await;
    }
    world.clean_logs().await;
    let newest = world.engine(Limits::default()).await.versions().await.unwrap();
    assert!(newest.frames > before.frames);
    assert_eq!(engine.versions().await.unwrap(), before, "the entry that would be next is gone");
    engine.wait_to_list().await;
    assert_eq!(engine.versions().await.unwrap(), newest);
}

#[tokio::test]
async fn everything_is_known_of_one_session() {
    let world = World::of(&week()).await;
    let detail = world.engine.session("s2c").await.unwrap().unwrap();
    assert_eq!(detail.linked.session.recording, "announced");
    assert_eq!(detail.linked.links[0].approvers, ["bob", "carol"]);
    assert_eq!(detail.requests[0].reason.as_deref(), Some("INC-78901 orders stuck"));
    assert_eq!(
        detail.reviews.iter().map(|review| review.reviewer.as_deref()).collect::<Vec<_>>(),
        [Some("carol"), Some("bob")]
    );
    let kinds: Vec<&str> = detail.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["session.start", "session.end", "session.upload"]);
    assert!(detail.recordings.is_empty() && detail.also.is_empty() && !detail.events_truncated);
    assert_eq!(detail.recording_states["teleport"].recording_state, "missing");

    let detail = world.engine.session("s20").await.unwrap().unwrap();
    assert_eq!(detail.decisions[0].decision_id.as_deref(), Some("d20"));
    assert_eq!(detail.recordings[0].output_bytes, 3);
    assert_eq!(detail.recording_states["teleport"].recording_state, "recorded");
    assert_eq!(world.engine.session("nobody's").await.unwrap(), None);
}

#[tokio::test]
async fn frames_of_one_session_and_source_are_loaded_in_order() {
    let mut world = World::of(&week()).await;
    world
        .add(&[piece("s1", 3, Code::Output, "Mon 09:08", b"later"), piece("s20", 2, Code::Output, "Fri 16:02", b"x")])
        .await;
    let frames = world.engine.frames("teleport", "s1").await.unwrap();
    let data: Vec<&[u8]> = frames.iter().map(|frame| frame.data.as_slice()).collect();
    assert_eq!(data, [&b"$ journalctl\r\n\x1b[2J"[..], b"later"]);
    assert!(world.engine.frames("asciicast", "s1").await.unwrap().is_empty());
}
