//! What holds for every view.

use custody_schemas::activity::Activity;
use custody_schemas::event::Kind;

use super::story::week;
use super::world::{World, found, start, with};
use crate::VIEWS;
use crate::search::{Pattern, Search};

#[tokio::test]
async fn every_view_runs_on_an_empty_ledger_and_on_the_story() {
    let watched =
        with(start("w1", "carol", "prod-web-01", "Fri 16:00", &[]), |event| event.kind = Kind::RecordingAccess);
    let wiped = with(start("c1", "carol", "prod-web-01", "Fri 16:00", &[]), |event| {
        (event.kind, event.action) = (Kind::SessionActivity, Some("history -c".into()));
    });
    let told = vec![watched, wiped, found("R02/teleport/c1")];
    let (empty, full) = (World::new().await, World::of(&[week(), told].concat()).await);
    let exception = Activity { verb: "exception".to_owned(), outcome: Some("done"), ..Activity::default() };
    full.asked(exception).await;
    full.looked_at(1, 1, Some("ls")).await;
    for view in VIEWS {
        let sql = format!("SELECT * FROM {}", view.name);
        assert_eq!(empty.ask(&sql).await, [""; 0], "{}", view.name);
        assert!(!full.ask(&sql).await.is_empty(), "{}", view.name);
        assert_eq!(full.ask(&format!("SELECT count(*) AS n FROM {}", view.name)).await.len(), 1, "{}", view.name);
    }
}

/// Whatever the order in which looks at a recording are written down, and whoever's clock is ahead.
#[tokio::test]
async fn of_a_recording_the_look_counts_that_saw_the_most() {
    let world = World::of(&week()).await;
    let shown = async || {
        let texts = world.ask("SELECT text FROM screen_text").await;
        let commands = world.ask("SELECT text FROM commands").await;
        assert_eq!(texts, commands);
        let pattern = Pattern::Regex("e|o".to_owned());
        let (session_id, actor, target, gateway, from, to) = (None, None, None, None, None, None);
        let asked = Search { pattern, session_id, actor, target, gateway, from, to };
        let mut searching = world.engine.search(asked, 1, None).await.unwrap();
        let mut found = Vec::new();
        while let Some(hits) = searching.more().await.unwrap() {
            found.extend(hits.into_iter().map(|hit| hit.text));
        }
        assert_eq!(found, texts);
        (texts, searching.unsearched().await.unwrap().recordings_failed)
    };
    assert_eq!(shown().await, (vec![], 0));
    world.looked_at(500, 5, Some("one")).await;
    assert_eq!(shown().await, (vec!["one".to_owned()], 0));
    world.looked_at(100, 9, Some("more")).await;
    assert_eq!(shown().await, (vec!["more".to_owned()], 0));
    world.looked_at(700, 7, Some("between")).await;
    assert_eq!(shown().await, (vec!["more".to_owned()], 0));
    // What grew until it could not be looked through is said to be so, and found as far as it was.
    world.looked_at(800, 20, None).await;
    assert_eq!(shown().await, (vec!["more".to_owned()], 1));
    // A search of another session says nothing of this one.
    for (session_id, failed) in [("s1", 1), ("s2a", 0)] {
        let pattern = Pattern::Text("more".to_owned());
        let (actor, target, gateway, from, to) = (None, None, None, None, None);
        let asked = Search { pattern, session_id: Some(session_id.to_owned()), actor, target, gateway, from, to };
        let mut searching = world.engine.search(asked, 1, None).await.unwrap();
        assert_eq!(searching.unsearched().await.unwrap().recordings_failed, failed, "{session_id}");
    }
    world.looked_at(900, 21, Some("whole")).await;
    assert_eq!(shown().await, (vec!["whole".to_owned()], 0));
}

#[tokio::test]
async fn every_column_of_a_view_is_described_in_its_file() {
    let world = World::new().await;
    for view in VIEWS {
        let comment: String = view.sql.lines().take_while(|line| line.starts_with("--")).collect();
        let words: Vec<&str> = comment.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).collect();
        assert!(comment.starts_with("-- One row is "), "{}", view.name);
        let stream = world.engine.query(&format!("SELECT * FROM {}", view.name), crate::Bounds::NONE).await.unwrap();
        let table = world.engine.query("SELECT * FROM events", crate::Bounds::NONE).await.unwrap();
        for field in stream.schema().fields() {
            let of_events = comment.contains("as in `events`") && table.schema().field_with_name(field.name()).is_ok();
            assert!(of_events || words.contains(&field.name().as_str()), "{}.{}", view.name, field.name());
        }
    }
}

/// A question for one session must not read everything: its condition has to arrive at the files. Of requests and
/// decisions the session's own condition says nothing; these are narrowed by their kind.
#[tokio::test]
async fn the_session_asked_for_is_looked_for_in_the_files() {
    let world = World::of(&week()).await;
    for (view, scans) in [("sessions", 2), ("session_access", 24), ("recordings", 1)] {
        let plan = world.ask(&format!("EXPLAIN FORMAT indent SELECT * FROM {view} WHERE session_id = 's1'")).await;
        let plan = plan.iter().find(|row| row.contains("physical_plan")).unwrap();
        let files: Vec<&str> = plan.lines().filter(|line| line.contains("DataSourceExec")).collect();
        assert_eq!(files.len(), scans, "{view}");
        for file in files {
            let predicate = file.split_once(", predicate=").map_or("", |(_, predicate)| predicate);
            let narrowed = ["= s1", "= request.create", "= policy.decision", "= hoop"];
            assert!(narrowed.iter().any(|part| predicate.contains(part)), "{view}: {file}");
        }
    }
}

/// A rule that a command hits has a verdict, and every verdict has a rule.
#[test]
fn the_rules_over_commands_are_those_of_the_report() {
    let part = crate::parts::PARTS.iter().find(|part| part.name == "command_parts").unwrap().sql;
    let hit = part.split("THEN '").skip(1).filter_map(|rest| rest.split('\'').next());
    let mut hit: Vec<&str> = hit.chain(["off_hours"]).collect();
    let report = crate::reports::report("R23").unwrap().sql;
    let rules = report.split_once("VALUES").and_then(|(_, rest)| rest.split_once("\n),")).unwrap().0;
    let mut judged: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("('")?.split('\'').next()).collect();
    hit.sort_unstable();
    judged.sort_unstable();
    assert_eq!((hit.len(), &hit), (7, &judged));
}
