//! `custody forward ...`: how destinations are, and what an operator does with them.

use std::collections::BTreeMap;
use std::io::Write;

use custody_forward::delivery::{Delivery, Patience};
use custody_ledger::Ledger;
use custody_query::feed::{ForwardStep, UndeliveredEvent};
use custody_query::sessions::Time;
use custody_query::{Engine, visible};
use custody_schemas::forwarding::{Step, Undelivered};
use custody_schemas::table::Table;
use custody_schemas::time::to_rfc3339;
use serde::Serialize;
use utoipa::ToSchema;

use super::cursor::{Cursor, Moved};
use super::feed::Position;
use super::known::Known;
use super::{Destination, Start, check, items_of};
use crate::activity::{Ended, Journal, asked, now, operator};
use crate::cli::{DeadLetters, ForwardCommand, StatusFormat};
use crate::config::Config;
use crate::exit::Failure;
use crate::{run, shutdown};

/// So many dead letters are sent again in one go.
const REPLAY_AT_ONCE: usize = 500;

/// `custody forward`
pub(crate) async fn command(config: Config, command: ForwardCommand) -> Result<(), Failure> {
    match command {
        ForwardCommand::Run(watched) => {
            if check(&config)?.is_empty() {
                let why =
                    "no destination is configured: add one to the configuration, [[forward]] (docs/FORWARDING.md)";
                return Err(Failure::usage(anyhow::anyhow!(why)));
            }
            crate::watch::check(&config)?;
            let stop = shutdown::requested(None)?;
            let watching = run::watch_over(&config, watched, None, stop.clone()).await?;
            let ledger = Ledger::existing(config.location()?).await?;
            tracing::info!(destinations = config.forward.len(), "forwarding");
            let forwarding = super::follow(&config, &ledger, stop.clone());
            let looking = crate::watch::follow(&config, &ledger, stop);
            tokio::try_join!(forwarding, looking, watching).map(drop)
        }
        ForwardCommand::Status { format } => status(&config, format).await,
        ForwardCommand::Pause { name, why } => {
            set(&config, &name, "paused", &why, |position| async { Ok(position) }).await
        }
        ForwardCommand::Resume { name, why } => {
            set(&config, &name, "delivering", &why, |position| async { Ok(position) }).await
        }
        ForwardCommand::Rewind { name, to, why } => rewind(&config, &name, to, &why).await,
        ForwardCommand::Dlq(command) => dead_letters(&config, command).await,
    }
}

struct Opened {
    ledger: Ledger,
    engine: Engine,
    journal: Journal,
}

async fn open(config: &Config) -> Result<Opened, Failure> {
    let ledger = Ledger::existing(config.location()?).await?;
    let engine = Engine::open(&ledger, config.limits(), &config.vocabulary()).await?;
    let journal = Journal::open(config, &ledger, "cli").await?;
    Ok(Opened { ledger, engine, journal })
}

/// How a destination is, for people and programs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DestinationStatus {
    /// Its name.
    destination: String,
    /// `delivering`, `failing`, `unauthorised`, `paused`, `stopped` (no process forwards to it), `new` (nothing was ever
    /// forwarded).
    state: String,
    /// What fails, or who did what.
    why: Option<String>,
    /// Events that it has taken in all.
    sent: i64,
    /// Events that it has refused in all.
    dead: i64,
    /// Events that its filter left out.
    filtered: i64,
    /// Dead letters that nobody has dealt with.
    dead_letters: i64,
    /// Events that are not sent yet.
    behind_events: i64,
    /// How long the oldest of them has been waiting, in seconds.
    behind_seconds: f64,
    /// When the last event was taken in that it has.
    ingested_at: Option<Time>,
    /// The process that forwards to it.
    worker: Option<String>,
    /// When this was written down.
    at: Option<Time>,
}

async fn status(config: &Config, format: StatusFormat) -> Result<(), Failure> {
    let Opened { engine, journal, .. } = open(config).await?;
    let work = async {
        let all = statuses(&engine, config).await?;
        let rows = all.len() as u64;
        print(&all, format)?;
        Ok(((), Ended::rows(rows)))
    };
    journal.during(asked("forward status", None), work).await
}

/// How every destination is: those that are configured, and those that anything was ever forwarded to.
pub(crate) async fn statuses(engine: &Engine, config: &Config) -> Result<Vec<DestinationStatus>, Failure> {
    let mut known: BTreeMap<String, ForwardStep> = BTreeMap::new();
    for step in engine.steps(None).await? {
        known.insert(step.destination.clone(), step);
    }
    let waiting = engine.undelivered_counts().await?;
    let mut names: Vec<String> = config.forward.iter().map(|destination| destination.name.clone()).collect();
    names.extend(known.keys().filter(|name| !config.forward.iter().any(|of| of.name == **name)).cloned());
    let mut all = Vec::new();
    for name in names {
        all.push(status_of(engine, &name, known.get(&name), waiting.get(&name).copied().unwrap_or_default()).await?);
    }
    Ok(all)
}

async fn status_of(
    engine: &Engine,
    name: &str,
    step: Option<&ForwardStep>,
    dead_letters: i64,
) -> Result<DestinationStatus, Failure> {
    let Some(step) = step else {
        return Ok(DestinationStatus {
            destination: name.to_owned(),
            state: "new".to_owned(),
            why: None,
            sent: 0,
            dead: 0,
            filtered: 0,
            dead_letters: 0,
            behind_events: 0,
            behind_seconds: 0.0,
            ingested_at: None,
            worker: None,
            at: None,
        });
    };
    let newest = step.ingested_at.map_or(0, |Time(at)| at);
    let behind = engine.behind(newest).await?;
    let is_held = now() < step.lease_until.0;
    let by = step.actor.as_ref().map(|actor| format!("{actor}: {}", step.reason.as_deref().unwrap_or_default()));
    Ok(DestinationStatus {
        destination: name.to_owned(),
        state: if step.state == "paused" || is_held { step.state.clone() } else { "stopped".to_owned() },
        why: by.or_else(|| step.reason.clone()),
        sent: step.total_sent,
        dead: step.total_dead,
        filtered: step.total_filtered,
        dead_letters,
        behind_events: behind.events,
        behind_seconds: behind.oldest.map_or(0.0, |Time(at)| (now() - at).max(0) as f64 / 1e6),
        ingested_at: step.ingested_at,
        worker: Some(step.worker.clone()),
        at: Some(step.at),
    })
}

fn print(all: &[DestinationStatus], format: StatusFormat) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if format == StatusFormat::Json {
        serde_json::to_writer_pretty(&mut out, all).map_err(Failure::broken)?;
        writeln!(out)?;
        return Ok(());
    }
    if all.is_empty() {
        writeln!(out, "no destination is configured ([[forward]])")?;
        return Ok(());
    }
    let width = all.iter().map(|status| status.destination.len()).max().unwrap_or_default().max(11);
    writeln!(
        out,
        "{:<width$}  {:<12}  {:>12}  {:>8}  {:>8}  {:>12}  {:>9}  written down",
        "destination", "state", "sent", "refused", "waiting", "behind", "seconds"
    )?;
    for status in all {
        let at = status.at.map_or_else(|| "-".to_owned(), |Time(at)| to_rfc3339(at));
        writeln!(
            out,
            "{:<width$}  {:<12}  {:>12}  {:>8}  {:>8}  {:>12}  {:>9.1}  {at}",
            visible(&status.destination),
            status.state,
            status.sent,
            status.dead,
            status.dead_letters,
            status.behind_events,
            status.behind_seconds,
        )?;
        if let Some(why) = &status.why {
            writeln!(out, "{:<width$}  {}", "", visible(why))?;
        }
    }
    Ok(())
}

/// Writes down a step that a person asks for. A process that forwards notices before it moves the destination again.
async fn set<F: Future<Output = Result<Position, Failure>>>(
    config: &Config,
    name: &str,
    state: &str,
    why: &str,
    place: impl Fn(Position) -> F,
) -> Result<(), Failure> {
    let Opened { ledger, engine, journal } = open(config).await?;
    let detail = serde_json::json!({ "state": state, "why": why }).to_string();
    let entry = journal.begin(custody_schemas::activity::Activity { detail, ..asked("forward", Some(name)) }).await?;
    let work = async {
        let mut cursor = Cursor::open(&ledger, name).await?;
        loop {
            let found = cursor.load(&engine).await?;
            let Some(found) = found else {
                let why = format!("nothing was ever forwarded to {name:?} (custody forward status lists destinations)");
                return Err(Failure::usage(anyhow::anyhow!(why)));
            };
            let position = place(super::position_of(&found)?).await?;
            let step = Step {
                worker: found.worker.clone(),
                lease_until: found.lease_until.0,
                position: serde_json::to_string(&position).map_err(Failure::broken)?,
                state: state.to_owned(),
                ingested_at: Some(position.newest).filter(|at| *at > 0),
                actor: Some(operator()),
                reason: Some(why.to_owned()),
                ..Step::default()
            };
            match cursor.advance(found.step, step).await {
                Ok(_) => return Ok(()),
                // It was moved meanwhile: once more, from there.
                Err(Moved::Elsewhere) => {}
                Err(Moved::Failed(failure)) => return Err(failure),
            }
        }
    };
    let done = work.await;
    entry.end(done.as_ref().map(|()| Ended::default())).await;
    done?;
    writeln!(std::io::stdout(), "{name} is {state} now")?;
    Ok(())
}

async fn rewind(config: &Config, name: &str, to: Start, why: &str) -> Result<(), Failure> {
    let ledger = Ledger::existing(config.location()?).await?;
    let follower = ledger.follower(Table::Events)?;
    let place = |_| async {
        match to {
            Start::Now => Position::now(&follower, now()).await,
            Start::Beginning => Position::since(&follower, 0).await,
            Start::At(at) => Position::since(&follower, at).await,
        }
    };
    set(config, name, "delivering", why, place).await
}

async fn dead_letters(config: &Config, command: DeadLetters) -> Result<(), Failure> {
    match command {
        DeadLetters::List { name, format, most } => {
            let Opened { engine, journal, .. } = open(config).await?;
            let work = async {
                let dead = engine.undelivered(name.as_deref(), most).await?;
                print_dead(&dead, format)?;
                Ok(((), Ended::rows(dead.len() as u64)))
            };
            journal.during(asked("forward dlq list", name.as_deref()), work).await
        }
        DeadLetters::Replay { name, event_ids } => {
            let opened = open(config).await?;
            let entry = opened.journal.begin(asked("forward dlq replay", Some(&name))).await?;
            let done = replay(config, &opened, &name, &event_ids).await;
            entry.end(done.as_ref().map(|(sent, _)| Ended::rows(*sent as u64))).await;
            let (sent, refused) = done?;
            writeln!(std::io::stdout(), "{sent} events were taken, {refused} refused again")?;
            if refused > 0 {
                return Err(Failure::check(anyhow::anyhow!("{refused} events are still dead letters")));
            }
            Ok(())
        }
        DeadLetters::Drop { name, event_ids, why } => {
            let opened = open(config).await?;
            let detail = serde_json::json!({ "why": why, "event_ids": event_ids }).to_string();
            let activity = asked("forward dlq drop", Some(&name));
            let entry = opened.journal.begin(custody_schemas::activity::Activity { detail, ..activity }).await?;
            let work = async {
                let dead = chosen(&opened.engine, &name, &event_ids).await?;
                let mut cursor = Cursor::open(&opened.ledger, &name).await?;
                let rows: Vec<_> = dead.iter().map(|event| what_became(event, "dropped", Some(why.clone()))).collect();
                cursor.bury(&rows).await?;
                Ok(rows.len())
            };
            let done: Result<usize, Failure> = work.await;
            entry.end(done.as_ref().map(|dropped| Ended::rows(*dropped as u64))).await;
            writeln!(std::io::stdout(), "{} dead letters were dropped; the events stay in the ledger", done?)?;
            Ok(())
        }
    }
}

fn print_dead(dead: &[UndeliveredEvent], format: StatusFormat) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if format == StatusFormat::Json {
        serde_json::to_writer_pretty(&mut out, dead).map_err(Failure::broken)?;
        writeln!(out)?;
        return Ok(());
    }
    for event in dead {
        writeln!(
            out,
            "{}  {}  {}  {}",
            to_rfc3339(event.at.0),
            visible(&event.destination),
            visible(&event.event_id),
            event.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        )?;
        writeln!(out, "    {}", visible(event.answer.as_deref().unwrap_or_default()))?;
    }
    if dead.is_empty() {
        eprintln!("custody: no dead letters");
    }
    Ok(())
}

/// The dead letters of a destination with these ids; all of them without any.
async fn chosen(engine: &Engine, name: &str, event_ids: &[String]) -> Result<Vec<UndeliveredEvent>, Failure> {
    let mut dead = engine.undelivered(Some(name), usize::MAX >> 1).await?;
    if let Some(missing) = event_ids.iter().find(|id| !dead.iter().any(|event| event.event_id == **id)) {
        let why = format!("{missing:?} is no dead letter of {name:?} (custody forward dlq list {name})");
        return Err(Failure::usage(anyhow::anyhow!(why)));
    }
    if !event_ids.is_empty() {
        dead.retain(|event| event_ids.contains(&event.event_id));
    }
    Ok(dead)
}

fn what_became(event: &UndeliveredEvent, outcome: &str, answer: Option<String>) -> Undelivered {
    Undelivered {
        destination: event.destination.clone(),
        at: now(),
        event_id: event.event_id.clone(),
        topic: event.topic.clone(),
        partition: event.partition,
        offset: event.offset,
        index: event.index,
        outcome: outcome.to_owned(),
        status: None,
        answer,
        attempts: event.attempts,
        actor: Some(operator()),
    }
}

/// Sends dead letters again, as they are made now. Returns how many were taken, and refused.
async fn replay(config: &Config, opened: &Opened, name: &str, event_ids: &[String]) -> Result<(usize, usize), Failure> {
    let Some(destination) = config.forward.iter().find(|destination| destination.name == name) else {
        return Err(Failure::usage(anyhow::anyhow!("no destination {name:?} is configured ([[forward]])")));
    };
    let delivery = Delivery::new(destination.sink()?, Patience::default());
    let mut stop = shutdown::requested(None)?;
    let dead = chosen(&opened.engine, name, event_ids).await?;
    let mut cursor = Cursor::open(&opened.ledger, name).await?;
    let (mut sent, mut refused) = (0, 0);
    for some in dead.chunks(REPLAY_AT_ONCE) {
        let (events, items) = made_again(&opened.engine, destination, some).await?;
        let Ok(still) = delivery.deliver(&items, &mut stop).await else {
            return Err(Failure::check(anyhow::anyhow!("stopped; {sent} events were taken before")));
        };
        let mut rows = Vec::new();
        for (number, (event, item)) in events.iter().zip(&items).enumerate() {
            match still.iter().find(|dead| dead.number == number) {
                Some(dead) => rows.push(cursor.refused(event, item, dead)),
                None => {
                    let was = some.iter().find(|was| was.event_id == item.id);
                    rows.extend(was.map(|was| what_became(was, "replayed", None)));
                }
            }
        }
        cursor.bury(&rows).await?;
        sent += items.len() - still.len();
        refused += still.len();
    }
    Ok((sent, refused))
}

type Made = (Vec<custody_schemas::columns::StoredEvent>, Vec<custody_forward::sink::Item>);

/// The events of dead letters, as they are sent now.
async fn made_again(engine: &Engine, destination: &Destination, dead: &[UndeliveredEvent]) -> Result<Made, Failure> {
    let places: Vec<_> =
        dead.iter().map(|event| (event.topic.clone(), event.partition, event.offset, event.index)).collect();
    let mut events = engine.events_at(&places).await?;
    // A record that was decoded again may have given an event twice.
    events.sort_by(|a, b| (&a.topic, a.partition, a.offset, a.index).cmp(&(&b.topic, b.partition, b.offset, b.index)));
    events.dedup_by(|a, b| (&a.topic, a.partition, a.offset, a.index) == (&b.topic, b.partition, b.offset, b.index));
    let items = items_of(engine, destination, &mut Known::default(), &events).await?;
    Ok((events, items))
}
