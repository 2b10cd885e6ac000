//! A ledger for a test: facts in, rows out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use custody_ledger::{Advance, Ledger, Location, Stream};
use custody_schemas::activity::Activity;
use custody_schemas::columns::{EventColumns, FrameColumns, RecordColumns, RowContext};
use custody_schemas::event::{Event, Kind, Outcome, Text};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::index::{IndexColumns, Indexed, IndexedRecording, IndexedText};
use custody_schemas::record::{DecodeError, ErrorKind, Message, Origin};
use custody_schemas::table::Table;
use custody_schemas::time::{Micros, Parsed, parse_rfc3339};
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::MemTable;
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;

use crate::engine::{Bounds, Engine, Limits, context};
use crate::format::lines;
use crate::functions::{Vocabulary, Words};
use crate::parts::PARTS;
use crate::reference::Reference;
use crate::views;

/// Something that came from Kafka.
#[derive(Debug, Clone)]
pub(super) enum Fact {
    Event(&'static str, Box<Event<'static>>),
    Piece(&'static str, Piece<'static>),
    Undecodable(&'static [u8]),
}

pub(super) const CLUSTER: &str = "root";

/// An instant of the week of the story: `Mon 09:00` or `Mon 09:00:30`.
pub(super) fn at(text: &str) -> Micros {
    let (day, time) = text.split_once(' ').unwrap();
    let day = 2 + ["Mon", "Tue", "Wed", "Thu", "Fri"].iter().position(|name| *name == day).unwrap();
    let seconds = if time.len() == 5 { ":00" } else { "" };
    match parse_rfc3339(&format!("2025-06-{day:02}T{time}{seconds}Z")) {
        Some(Parsed::At(at)) => at,
        _ => panic!("{text}"),
    }
}

fn event(kind: Kind, id: String, occurred_at: &str) -> Event<'static> {
    Event {
        event_id: format!("teleport/{CLUSTER}/{id}").into(),
        cluster: Some(CLUSTER.into()),
        occurred_at: Some(at(occurred_at)),
        kind,
        source_type: kind.as_str().into(),
        ..Event::default()
    }
}

fn event_of(source: &'static str, event: Event<'static>) -> Fact {
    Fact::Event(source, Box::new(event))
}

/// Custody tells of a finding.
pub(super) fn found(finding: &'static str) -> Fact {
    let detail = r#"{"raised_at":"2026-11-20T16:00:00Z","report":"R02","state":"open","why":["no_link"]}"#;
    event_of(
        "custody",
        Event {
            correlation_id: Some(finding.into()),
            target: finding.split_once('/').map(|(_, key)| key.into()),
            session_id: finding.rsplit('/').next().map(Into::into),
            detail: detail.to_owned(),
            ..event(Kind::Finding, format!("finding-{finding}"), "Fri 16:00")
        },
    )
}

fn texts(values: &[&'static str]) -> Vec<Text<'static>> {
    values.iter().map(|value| Text::from(*value)).collect()
}

/// Somebody asks for access.
pub(super) fn create(id: &'static str, user: &'static str, reason: &'static str, time: &str, expires: &str) -> Fact {
    event_of(
        "teleport",
        Event {
            actor: Some(user.into()),
            reason: Some(reason.into()),
            request_ids: texts(&[id]),
            request_state: Some("PENDING".into()),
            requested_roles: texts(&["developer-read-only-jit"]),
            expires_at: Some(at(expires)),
            ..event(Kind::RequestCreate, format!("create-{id}"), time)
        },
    )
}

/// Somebody votes.
pub(super) fn review(
    id: &'static str,
    reviewer: &'static str,
    (vote, state): (&'static str, &'static str),
    time: &str,
    expires: &str,
) -> Fact {
    event_of(
        "teleport",
        Event {
            actor: Some(reviewer.into()),
            reason: Some("a comment".into()),
            request_ids: texts(&[id]),
            request_state: Some(state.into()),
            proposed_state: Some(vote.into()),
            expires_at: Some(at(expires)),
            ..event(Kind::RequestReview, format!("review-{id}-{reviewer}"), time)
        },
    )
}

/// An administrator or a plugin sets the state.
pub(super) fn update(
    id: &'static str,
    (actor, delegator): (&'static str, Option<&'static str>),
    state: &'static str,
    time: &str,
    expires: &str,
) -> Fact {
    event_of(
        "teleport",
        Event {
            actor: Some(actor.into()),
            delegator: delegator.map(Text::from),
            request_ids: texts(&[id]),
            request_state: Some(state.into()),
            expires_at: Some(at(expires)),
            ..event(Kind::RequestUpdate, format!("update-{id}-{state}"), time)
        },
    )
}

/// A request expires.
pub(super) fn expire(id: &'static str, time: &str) -> Fact {
    let expires_at = Some(at(time));
    let request_ids = texts(&[id]);
    event_of("teleport", Event { request_ids, expires_at, ..event(Kind::RequestExpire, format!("expire-{id}"), time) })
}

/// A session begins.
pub(super) fn start(
    id: &'static str,
    user: &'static str,
    target: &'static str,
    time: &str,
    requests: &[&'static str],
) -> Fact {
    event_of(
        "teleport",
        Event {
            actor: Some(user.into()),
            target: Some(target.into()),
            target_kind: Some("node".into()),
            login: Some("root".into()),
            protocol: Some("ssh".into()),
            session_id: Some(id.into()),
            request_ids: texts(requests),
            ..event(Kind::SessionStart, format!("start-{id}"), time)
        },
    )
}

/// A session ends.
pub(super) fn end(
    id: &'static str,
    user: &'static str,
    target: &'static str,
    (from, to): (&str, &str),
    requests: &[&'static str],
) -> Fact {
    event_of(
        "teleport",
        Event {
            actor: Some(user.into()),
            target: Some(target.into()),
            target_kind: Some("node".into()),
            session_id: Some(id.into()),
            participants: texts(&[user]),
            request_ids: texts(requests),
            session_started_at: Some(at(from)),
            session_ended_at: Some(at(to)),
            detail: r#"{"interactive":true}"#.to_owned(),
            ..event(Kind::SessionEnd, format!("end-{id}"), to)
        },
    )
}

/// The gateway says that the recording is stored.
pub(super) fn upload(id: &'static str, time: &str) -> Fact {
    let session_id = Some(id.into());
    event_of("teleport", Event { session_id, ..event(Kind::SessionUpload, format!("upload-{id}"), time) })
}

/// A policy engine decides.
pub(super) fn decision(
    id: &'static str,
    (actor, target): (&'static str, &'static str),
    outcome: Outcome,
    ticket: Option<&'static str>,
    time: &str,
) -> Fact {
    event_of(
        "opa",
        Event {
            event_id: format!("opa/one/{id}").into(),
            cluster: Some("one".into()),
            actor: Some(actor.into()),
            target: Some(target.into()),
            outcome: Some(outcome),
            decision_id: Some(id.into()),
            policy_path: Some("authz/decision".into()),
            policy_revision: Some("main=r1".into()),
            ticket: ticket.map(Text::from),
            ..event(Kind::PolicyDecision, String::new(), time)
        },
    )
}

/// A piece of a recording, from a shipper that drops the cluster.
pub(super) fn piece(id: &'static str, seq: i64, code: Code, time: &str, data: &'static [u8]) -> Fact {
    Fact::Piece(
        "teleport",
        Piece {
            session_id: id.into(),
            cluster: None,
            channel: None,
            clock: Clock::FirstOutput,
            code,
            seq,
            time_us: Some(seq * 1000),
            at: Some(at(time)),
            position: None,
            data: data.into(),
        },
    )
}

/// A fact with some fields set otherwise.
pub(super) fn with(fact: Fact, change: impl FnOnce(&mut Event<'static>)) -> Fact {
    match fact {
        Fact::Event(source, mut event) => {
            change(&mut event);
            Fact::Event(source, event)
        }
        other => other,
    }
}

/// The rows that facts become when they stand in one partition from an offset on, taken in so many days after the week.
pub(super) fn batches(facts: &[Fact], from: i64, days: i64) -> [RecordBatch; 3] {
    let (mut records, mut events, mut frames) =
        (RecordColumns::default(), EventColumns::default(), FrameColumns::default());
    for (offset, fact) in (from..).zip(facts) {
        let origin = Origin { topic: "audit", partition: 0, offset };
        let source = match fact {
            Fact::Event(source, _) | Fact::Piece(source, _) => source,
            Fact::Undecodable(_) => "teleport",
        };
        let ingested_at = at("Fri 20:00") + offset + days * 86_400_000_000;
        let row = RowContext { origin, source, broker_at: Some(ingested_at - 1), ingested_at };
        let mut message =
            Message { origin, broker_at: row.broker_at, key: Some(b"key"), headers: &[], value: Some(b"{}") };
        let mut error = None;
        match fact {
            Fact::Event(_, event) => events.push(&row, event, 0),
            Fact::Piece(_, piece) => frames.push(&row, piece),
            Fact::Undecodable(value) => {
                message.value = Some(value);
                error = Some(DecodeError::new(ErrorKind::InvalidJson, "a JSON object was expected"));
            }
        }
        records.push(&row, &message, error.as_ref());
    }
    [records.finish().unwrap(), events.finish().unwrap(), frames.finish().unwrap()]
}

/// Alice has another name at Boundary (S21).
fn vocabulary() -> Vocabulary {
    let people = [("alice".to_owned(), vec!["u_alice0001".to_owned()])].into();
    Vocabulary { people, ..Vocabulary::default() }
}

/// A ledger on disk and an engine on it.
pub(super) struct World {
    pub(super) engine: Engine,
    ledger: Ledger,
    next_offset: Option<i64>,
    folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::limited(Limits { cores: 2, ..Limits::default() }).await
    }

    pub(super) async fn limited(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path().to_str().unwrap(), HashMap::new()).unwrap();
        let ledger = Ledger::create(location).await.unwrap();
        let engine = Engine::open(&ledger, limits, &vocabulary()).await.unwrap();
        Self { engine, ledger, next_offset: None, folder }
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(super) async fn of(facts: &[Fact]) -> Self {
        let mut world = Self::new().await;
        world.add(facts).await;
        world
    }

    pub(super) async fn add(&mut self, facts: &[Fact]) {
        self.add_later(0, facts).await;
    }

    /// Facts that are taken in so many days after the week.
    pub(super) async fn add_later(&mut self, days: i64, facts: &[Fact]) {
        let from = self.next_offset.unwrap_or_default();
        let to = from + facts.len() as i64;
        let stream = Stream { cluster: "kafka".to_owned(), topic: "audit".to_owned(), partition: 0 };
        let advance = Advance { stream, from: self.next_offset, to };
        for (table, rows) in Table::EVIDENCE.into_iter().zip(batches(facts, from, days)) {
            let mut writer = self.ledger.writer(table).await.unwrap();
            writer.append(&rows, std::slice::from_ref(&advance)).await.unwrap();
        }
        self.next_offset = Some(to);
    }

    /// Leaves of each log its newest entry, and a checkpoint.
    pub(super) async fn clean_logs(&self) {
        for table in Table::ALL {
            let delta = self.ledger.open(table).await.unwrap();
            deltalake::checkpoints::create_checkpoint(&delta, None).await.unwrap();
            let log = self.folder().join(table.name()).join("_delta_log");
            for version in 0..delta.version().unwrap() {
                std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
            }
        }
    }

    /// Writes down a look at a recording of session `s1`, with a number and so many frames, that found a text (which is a
    /// command too), or failed.
    pub(super) async fn looked_at(&self, run: i64, frames: i64, text: Option<&str>) {
        let mut columns = IndexColumns::default();
        let of = Indexed { date: 20_000, run, source: "teleport", session_id: "s1", channel: None };
        let error = text.is_none().then(|| "too large".to_owned());
        columns.push_recording(of, &IndexedRecording { version: 1, frames, error, ..IndexedRecording::default() });
        if let Some(text) = text {
            let (from_us, whole_us, till_us) = (1, 2, 3);
            let shown = IndexedText { number: 0, from_us, whole_us, till_us, row: 0, alternate: false, text };
            columns.push_text(of, &shown);
            columns.push_command(of, (2, None), None, "prompt", text);
        }
        let tables = [
            Table::IndexedRecordings,
            Table::IndexedTexts,
            Table::IndexedCommands,
            Table::IndexedSegments,
            Table::IndexedTrigrams,
        ];
        for (table, rows) in tables.into_iter().zip(columns.finish().unwrap()) {
            self.ledger.writer(table).await.unwrap().append(&rows, &[]).await.unwrap();
        }
    }

    /// Writes down that Custody was asked for something.
    pub(super) async fn asked(&self, activity: Activity) {
        let rows = custody_schemas::activity::rows(&[activity]).unwrap();
        self.ledger.writer(Table::Activity).await.unwrap().append(&rows, &[]).await.unwrap();
    }

    /// Another engine on the same ledger.
    pub(super) async fn engine(&self, limits: Limits) -> Engine {
        Engine::open(&self.ledger, limits, &vocabulary()).await.unwrap()
    }

    /// The rows of a query, the columns of each in line; `-` is null.
    pub(super) async fn ask(&self, sql: &str) -> Vec<String> {
        Self::ask_of(&self.engine, sql).await
    }

    /// The same of another engine.
    pub(super) async fn ask_of(engine: &Engine, sql: &str) -> Vec<String> {
        let mut stream = engine.query(sql, Bounds::NONE).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let options = FormatOptions::new().with_null("-");
        let mut rows = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
            let columns: Vec<_> = columns.collect();
            rows.extend((0..batch.num_rows()).map(|row| {
                let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
                cells.join(" | ")
            }));
        }
        rows
    }
}

/// The same views over tables in memory, in which each part is a batch of its own.
pub(super) async fn in_memory(parts: &[&[Fact]]) -> SessionContext {
    let limits = Limits { cores: 2, ..Limits::default() };
    let words = Arc::new(Words::new(&vocabulary()).unwrap());
    let context = context(RuntimeEnv::default(), &limits, &words).unwrap();
    let mut columns = Table::EVIDENCE.map(|_| Vec::new());
    let mut from = 0;
    for part in parts {
        for (column, batch) in columns.iter_mut().zip(batches(part, from, 0)) {
            column.push(batch);
        }
        from += part.len() as i64;
    }
    for (table, batches) in Table::EVIDENCE.into_iter().zip(columns) {
        let rows = MemTable::try_new(table.schema(), vec![batches]).unwrap();
        context.register_table(table.name(), Arc::new(rows)).unwrap();
    }
    for table in Table::ALL.into_iter().filter(|table| !Table::EVIDENCE.contains(table)) {
        let nothing = MemTable::try_new(table.schema(), vec![vec![]]).unwrap();
        context.register_table(table.name(), Arc::new(nothing)).unwrap();
    }
    for (name, table) in Reference::load(&vocabulary()).unwrap().tables() {
        context.register_table(*name, table.clone()).unwrap();
    }
    for part in PARTS {
        let plan = views::plan_one(&context, part.name, part.sql).await.unwrap();
        context.register_table(part.name, Arc::new(ViewTable::new(plan, None))).unwrap();
    }
    views::plan(&context).await.unwrap();
    context
}

/// Rows as JSON objects.
pub(super) fn json(batch: &RecordBatch) -> Vec<String> {
    String::from_utf8(lines(batch).unwrap()).unwrap().lines().map(str::to_owned).collect()
}
