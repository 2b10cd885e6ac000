//! What is kept and what is worked out once change no answer.

use std::collections::{BTreeMap, BTreeSet};

use arrow::record_batch::RecordBatch;
use custody_schemas::event::Event;
use custody_schemas::time::{Micros, to_rfc3339};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{ident, lit};

use super::gateways::gateways;
use super::story::week;
use super::world::{Fact, World, at, end, json, start};
use crate::engine::Reading;
use crate::latest::together;
use crate::narrowed::NARROWED_MAX;
use crate::parts::PARTS;
use crate::reports::{Asked, Report, Rows, Value, catalogue};
use crate::{AsOf, Engine, Limits, VIEWS, format};

/// Every row of every view, in an order of its own.
async fn answers(engine: &Engine) -> BTreeMap<&'static str, Vec<String>> {
    let mut answers = BTreeMap::new();
    for view in VIEWS {
        // How long a source is silent goes on.
        let sql = match view.name {
            "source_health" => "SELECT source, events, missing_bytes, missing_events FROM source_health".to_owned(),
            name => format!("SELECT * FROM {name}"),
        };
        let mut rows = World::ask_of(engine, &sql).await;
        rows.sort();
        answers.insert(view.name, rows);
    }
    answers
}

fn keeping(cache: &tempfile::TempDir) -> Limits {
    Limits { cores: 2, cache: Some(cache.path().to_owned()), ..Limits::default() }
}

#[tokio::test]
async fn what_is_kept_of_past_days_changes_no_answer() {
    let (mut world, cache) = (World::new().await, tempfile::tempdir().unwrap());
    let facts = [week(), gateways()].concat();
    // The facts of one session come in on several days of two months.
    for (day, facts) in (0..40).step_by(9).zip(facts.chunks(facts.len().div_ceil(5))) {
        world.add_later(day, facts).await;
    }
    let keeper = world.engine(keeping(&cache)).await;
    let expected = answers(&world.engine).await;
    assert_eq!(answers(&keeper).await, expected, "nothing is kept yet");
    let mut told = Vec::new();
    let kept = keeper.keep(&mut |kept| told.push((kept.months, kept.of))).await.unwrap();
    assert!(kept.months >= 4 && kept.months == kept.of && told.len() == kept.of + 1, "{kept:?} {told:?}");
    assert_eq!(answers(&keeper).await, expected);
    assert_eq!(keeper.keep(&mut |_| ()).await.unwrap().of, 0, "it is kept already");

    // A past day between others gets more rows, as it does where clocks are wrong: it, and it alone, is read from the
    // table until it is kept anew.
    let before = world.engine.versions().await.unwrap();
    let mallory = end("s1", "mallory", "prod-db", ("Mon 09:05", "Mon 09:27"), &["r1"]);
    world.add_later(18, &[facts.clone(), vec![mallory]].concat()).await;
    let expected = answers(&world.engine).await;
    assert_eq!(answers(&keeper).await, expected);
    // A month of each part.
    assert_eq!(keeper.keep(&mut |_| ()).await.unwrap().months, PARTS.len());
    assert_eq!(answers(&keeper).await, expected);

    // Another process finds it, and an earlier state is what it was.
    let other = world.engine(keeping(&cache)).await;
    assert_eq!(answers(&other).await, expected);
    let sql = "SELECT count(*) FROM sessions WHERE array_has(participants, 'mallory')";
    let mut rows = other.query_as_of(sql, AsOf::Versions(before), crate::Bounds::NONE).await.unwrap();
    let batch = rows.next().await.unwrap().unwrap();
    assert_eq!(String::from_utf8(format::lines(&batch).unwrap()).unwrap(), "{\"count(*)\":0}\n");
}

#[tokio::test]
async fn pieces_have_every_row_once_whatever_is_kept_meanwhile() {
    let (mut world, cache) = (World::new().await, tempfile::tempdir().unwrap());
    let keeper = world.engine(keeping(&cache)).await;
    for (day, facts, count) in [(0, week(), 1), (3, gateways(), 2), (40, week(), 2)] {
        world.add_later(day, &facts).await;
        let reading = keeper.read(AsOf::Newest, None).await.unwrap();
        let pieces = PARTS.iter().map(|part| (part.name, reading.pieces(part.name).unwrap()));
        let pieces: Vec<_> = pieces.collect();
        assert!(keeper.keep(&mut |_| ()).await.unwrap().months > 0);
        for (name, pieces) in pieces {
            assert_eq!(pieces.len(), count, "{name} on day {day}");
            let rows = sorted(&reading, together(pieces).unwrap()).await;
            assert_eq!(rows, sorted(&reading, reading.part(name).unwrap()).await, "{name} on day {day}");
        }
    }
}

/// The rows of a frame in an order of their own.
async fn sorted(reading: &Reading, rows: DataFrame) -> Vec<String> {
    let rows = reading.collect(rows).await.unwrap();
    let lines = rows.iter().map(|batch| String::from_utf8(format::lines(batch).unwrap()).unwrap());
    let mut lines: Vec<String> = lines.flat_map(|lines| lines.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn what_cannot_be_read_of_what_is_kept_is_not_used() {
    let cache = tempfile::tempdir().unwrap();
    let world = World::of(&week()).await;
    let expected = answers(&world.engine).await;
    let keeper = world.engine(keeping(&cache)).await;
    keeper.keep(&mut |_| ()).await.unwrap();
    let within = |folders: Vec<std::path::PathBuf>| -> Vec<std::path::PathBuf> {
        folders
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
            .collect()
    };
    let files = within(within(within(vec![cache.path().join("parts")])));
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        std::fs::write(file, b"PAR1 torn").unwrap();
    }
    assert_eq!(answers(&keeper).await, expected);
    assert_eq!(answers(&world.engine(keeping(&cache)).await).await, expected);
}

/// The rows of a report, as it is run.
async fn run(engine: &Engine, asked: &Asked) -> Vec<String> {
    let mut lines = Vec::new();
    let mut take = |batch: RecordBatch| {
        let keep: Vec<usize> = (0..batch.num_columns() - 4).collect();
        lines.extend(
            String::from_utf8(format::lines(&batch.project(&keep)?).unwrap()).unwrap().lines().map(str::to_owned),
        );
        Ok(())
    };
    let run = engine.report(asked, Rows::All, None, &mut take);
    run.await.unwrap_or_else(|error| panic!("{}: {error}", asked.report.id));
    lines
}

/// The rows of its query, asked as anybody could ask it.
async fn plainly(engine: &Engine, asked: &Asked) -> Vec<String> {
    let mut sql = asked.report.sql.to_owned();
    for (name, at) in [("from", asked.from), ("to", asked.to), ("as_of", asked.as_of)] {
        let instant = format!("arrow_cast('{}', 'Timestamp(Microsecond, Some(\"UTC\"))')", to_rfc3339(at));
        sql = replaced(&sql, name, &instant);
    }
    for (name, parameter) in &asked.report.front.parameters {
        let value = match &parameter.default {
            Value::Boolean(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Number(value) => format!("CAST({value} AS DOUBLE)"),
            Value::Text(value) => format!("'{}'", value.replace('\'', "''")),
        };
        sql = replaced(&sql, name, &value);
    }
    let mut rows =
        engine.query(&sql, crate::Bounds::NONE).await.unwrap_or_else(|error| panic!("{}: {error}", asked.report.id));
    let mut lines = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = batch.unwrap_or_else(|error| panic!("{}: {error}", asked.report.id));
        lines.extend(String::from_utf8(format::lines(&batch).unwrap()).unwrap().lines().map(str::to_owned));
    }
    lines
}

/// A placeholder replaced, and those that only begin like it left.
fn replaced(sql: &str, name: &str, value: &str) -> String {
    let parts = sql.split(&format!("${name}")).collect::<Vec<_>>();
    let mut whole = parts[0].to_owned();
    for part in &parts[1..] {
        let is_longer = part.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        whole.push_str(if is_longer { "$" } else { value });
        whole.push_str(if is_longer { name } else { "" });
        whole.push_str(part);
    }
    whole
}

fn asked(report: &'static Report, from: Micros, to: Micros) -> Asked {
    Asked {
        report,
        from,
        to,
        as_of: to,
        parameters: BTreeMap::new(),
        state: AsOf::Newest,
        entity: String::new(),
        environment: String::new(),
        time: None,
        by: String::new(),
        at: to,
        judged: Default::default(),
    }
}

#[tokio::test]
async fn a_report_finds_what_its_query_finds_when_it_is_asked_plainly() {
    let cache = tempfile::tempdir().unwrap();
    let mut world = World::of(&[week(), gateways()].concat()).await;
    // Another cluster has a session of the same name, which has ended; the story's goes on.
    let of_leaf = |fact: &Fact| match fact {
        Fact::Event(source, event) => {
            let event_id = format!("leaf/{}", event.event_id);
            Fact::Event(
                source,
                Box::new(Event { cluster: Some("leaf".into()), event_id: event_id.into(), ..*event.clone() }),
            )
        }
        other => other.clone(),
    };
    let open = start("open", "erin", "prod-db", "Mon 10:00", &[]);
    let leaf = [
        start("open", "erin", "test-db", "Mon 10:00", &[]),
        end("open", "erin", "test-db", ("Mon 10:00", "Mon 10:01"), &[]),
    ];
    let leaf: Vec<Fact> = leaf.iter().map(of_leaf).collect();
    world.add_later(3, &[vec![open], leaf].concat()).await;
    let keeper = world.engine(keeping(&cache)).await;
    keeper.keep(&mut |_| ()).await.unwrap();
    // A period that cuts sessions, one with everything, one after everything, and one with nothing.
    let days = |days: i64| days * 86_400_000_000;
    let mut periods = [("Mon 09:20", "Wed 12:00"), ("Mon 00:00", "Fri 23:00"), ("Fri 23:00", "Fri 23:30")]
        .map(|(from, to)| (at(from), at(to)))
        .to_vec();
    periods.push((at("Fri 23:00") + days(60), at("Fri 23:00") + days(90)));
    for report in catalogue() {
        for (from, to) in &periods {
            let asked = asked(report, *from, *to);
            let expected = plainly(&world.engine, &asked).await;
            assert_eq!(run(&keeper, &asked).await, expected, "{} {}", report.id, to_rfc3339(*from));
            let is_late = (from, report.id) == (&periods[3].0, "R01");
            assert!(!is_late || expected.iter().any(|row| row.contains("prod-db")), "{expected:?}");
        }
    }
}

/// Rows of a frame, in an order of their own.
async fn rows(reading: &Reading, frame: DataFrame) -> Vec<String> {
    let mut rows: Vec<String> = reading.collect(frame).await.unwrap().iter().flat_map(json).collect();
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn what_is_narrowed_to_a_few_sessions_is_all_that_there_is_of_them() {
    let (mut world, cache) = (World::new().await, tempfile::tempdir().unwrap());
    let facts = [week(), gateways()].concat();
    for (day, facts) in (0..40).step_by(9).zip(facts.chunks(facts.len().div_ceil(5))) {
        world.add_later(day, facts).await;
    }
    let keeper = world.engine(keeping(&cache)).await;
    keeper.keep(&mut |_| ()).await.unwrap();
    let (mut links, mut events) = (0, 0);
    for engine in [&world.engine, &keeper] {
        let reading = engine.read(AsOf::Newest, None).await.unwrap();
        let all = reading.context.table("session_access").await.unwrap();
        let all = rows(&reading, all).await;
        let id_of = |row: &String| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            row["session_id"].as_str().unwrap().to_owned()
        };
        let ids: BTreeSet<String> = all.iter().map(id_of).collect();
        let every: Vec<&str> = ids.iter().map(String::as_str).collect();
        // With everything narrowed, with nothing, and with what is short enough.
        for most in [NARROWED_MAX, 0, 3] {
            assert_eq!(rows(&reading, reading.links_of(&every, None, most).await.unwrap()).await, all, "{most}");
        }
        for id in every {
            let expected: Vec<&String> = all.iter().filter(|row| id_of(row) == id).collect();
            let found = rows(&reading, reading.links_of(&[id], None, NARROWED_MAX).await.unwrap()).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{id}");
            links += found.len();
            let plain = reading.table("unique_events", ident("session_id").eq(lit(id))).await.unwrap();
            let expected = rows(&reading, plain.drop_columns(&["conflicting_id"]).unwrap()).await;
            assert_eq!(rows(&reading, reading.events_of(id).await.unwrap()).await, expected, "{id}");
            events += expected.len();
        }
    }
    assert!(links > 50 && events > 90, "{links} {events}");
}
