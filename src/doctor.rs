//! `custody doctor`: looks at everything that Custody needs, and says how to mend what is wrong.

use std::io::Write;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use custody_ingest::BrokerState;
use custody_ledger::{Ledger, LedgerError, Location, Stream};
use custody_query::format::{Format, RowWriter};
use custody_query::{Bounds, Engine};
use custody_schemas::table::Table;

use crate::cli::Listen;
use crate::collect;
use crate::config::Config;
use crate::exit::Failure;
use crate::run::address;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks may differ by this much before anybody minds.
const CLOCK_DIFFERENCE_MAX: TimeDelta = TimeDelta::seconds(30);
/// A table of more files than this is slow to ask.
const FILES_MAX: u64 = 5_000;
/// A log with more entries than this since its last checkpoint is slow to open.
const ENTRIES_MAX: u64 = 1_000;

/// What a check found.
enum Found {
    Good(String),
    /// It works, and will not for ever.
    Doubtful(String),
    Bad(String),
}

impl From<Result<String, String>> for Found {
    fn from(result: Result<String, String>) -> Self {
        match result {
            Ok(found) => Self::Good(found),
            Err(why) => Self::Bad(why),
        }
    }
}

/// Prints one line a check, and counts.
struct Report<W> {
    out: W,
    failed: usize,
}

impl<W: Write> Report<W> {
    fn add(&mut self, what: &str, found: impl Into<Found>) -> std::io::Result<()> {
        let (verdict, text) = match found.into() {
            Found::Good(text) => ("ok   ", text),
            Found::Doubtful(text) => ("WARN ", text),
            Found::Bad(text) => {
                self.failed += 1;
                ("FAIL ", text)
            }
        };
        writeln!(self.out, "{verdict} {what}: {}", custody_query::visible(&text))
    }
}

/// `custody doctor`
pub(crate) async fn run(config: &Config) -> Result<(), Failure> {
    let mut report = Report { out: std::io::stdout(), failed: 0 };
    report.add("configuration", Ok(format!("{} topics, ledger at {}", config.topics.len(), config.masked().data)))?;
    report.add(
        "keys",
        match (config.settings(), config.recording_keys()) {
            (Ok(_), Ok(_)) => Ok("every configured key can be read".to_owned()),
            (Err(error), _) | (_, Err(error)) => Err(format!("{error:#}")),
        },
    )?;
    report.add(
        "collect.listen",
        match collect::address(&config.collect) {
            Ok(Some(address)) => Ok(address.to_string()),
            Ok(None) => Ok("not set: nothing is collected over HTTP".to_owned()),
            Err(failure) => Err(failure.to_string()),
        },
    )?;
    if let Err(failure) = address(config, &Listen { listen: None, no_authentication: false }) {
        report.add("http.listen", Err(failure.to_string()))?;
    }
    let brokers = look_at_brokers(config, &mut report).await?;
    match config.location() {
        Err(error) => report.add("ledger", Err(error.to_string()))?,
        Ok(location) => look_at_ledger(config, location, brokers.as_ref(), &mut report).await?,
    }
    match report.failed {
        0 => Ok(()),
        failed => Err(Failure::check(anyhow::anyhow!("{failed} checks failed"))),
    }
}

/// Asks the brokers for the topics, and whether this user may read them.
async fn look_at_brokers(config: &Config, report: &mut Report<impl Write>) -> Result<Option<BrokerState>, Failure> {
    if !config.has_kafka() {
        report.add("brokers", Ok("none: kafka.brokers is empty".to_owned()))?;
        return Ok(None);
    }
    let ingest = config.ingest().map_err(Failure::usage)?;
    let asked = tokio::task::spawn_blocking(move || custody_ingest::examine_brokers(&ingest, PATIENCE));
    let brokers = match asked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
        Ok(brokers) => brokers,
        Err(why) => {
            let hint = "check kafka.brokers, that the broker runs, and kafka.options for TLS and SASL";
            report.add("brokers", Err(format!("{why} ({hint})")))?;
            return Ok(None);
        }
    };
    report.add("brokers", Ok(format!("{} answers", config.kafka.brokers)))?;
    for topic in &brokers.topics {
        let found = match (&topic.error, topic.partitions.len()) {
            (Some(why), _) => {
                Err(format!("cannot be read: {why}. The user of kafka.options needs the ACLs Describe and Read on it"))
            }
            (None, 0) => Err("does not exist. Create it, or correct its name under [[topics]]".to_owned()),
            (None, partitions) => Ok(format!("{partitions} partitions, may be read")),
        };
        report.add(&format!("topic {}", topic.name), found)?;
    }
    let group = match &brokers.group_error {
        Some(why) => Err(format!("{why}. The user of kafka.options needs the ACL Read on the group")),
        None => Ok("may be joined".to_owned()),
    };
    report.add(&format!("group {}", config.kafka.group), group)?;
    Ok(Some(brokers))
}

async fn look_at_ledger(
    config: &Config,
    location: Location,
    brokers: Option<&BrokerState>,
    report: &mut Report<impl Write>,
) -> Result<(), Failure> {
    let found = Ledger::existing(location.clone()).await;
    let is_there = !matches!(found, Err(LedgerError::NotFound { .. }));
    if is_there || location.url().scheme() != "file" {
        let probe = Ledger::probe(&location).await;
        let store = probe.as_ref().map(|probe| {
            let ms = probe.round_trip.as_secs_f64() * 1e3;
            format!("can be written and read, refuses the second of two writers; a request takes {ms:.1} ms")
        });
        report.add("store", store.map_err(|error| format!("{error} (check the address, keys and rights)")))?;
        if let Ok(probe) = probe {
            let seconds = probe.clock_ahead.num_seconds();
            report.add(
                "clock",
                match probe.clock_ahead.abs() > CLOCK_DIFFERENCE_MAX {
                    true => Err(format!("the store's clock is {seconds} s ahead of this machine's: set one of them")),
                    false => Ok("agrees with the store's".to_owned()),
                },
            )?;
        }
    }
    let ledger = match found {
        Ok(ledger) => ledger,
        Err(LedgerError::NotFound { at, .. }) => {
            return Ok(report.add("ledger", Ok(format!("none at {at} yet; `custody ingest` makes it")))?);
        }
        Err(error) => return Ok(report.add("ledger", Err(error.to_string()))?),
    };
    let engine = match Engine::open(&ledger, config.limits(), &config.vocabulary()).await {
        Ok(engine) => engine,
        Err(error) => return Ok(report.add("ledger", Err(error.to_string()))?),
    };
    report.add("ledger", engine.versions().await.map(|versions| format!("{versions:?}")).map_err(|e| e.to_string()))?;
    for table in Table::ALL {
        report.add(&format!("table {}", table.name()), look_at_table(config, &ledger, table).await)?;
    }
    report.add("newest record", newest(&engine).await)?;
    for topic in brokers.map(|brokers| brokers.topics.as_slice()).unwrap_or_default() {
        if topic.partitions.is_empty() {
            continue;
        }
        let lag = lag(config, &ledger, &topic.name, &topic.partitions).await;
        report.add(&format!("lag of {}", topic.name), lag)?;
    }
    Ok(())
}

async fn look_at_table(config: &Config, ledger: &Ledger, table: Table) -> Found {
    let standing = async { ledger.maintenance(table).await?.standing(config.maintain.sizes(), today()).await };
    match standing.await {
        Err(error) => Found::Bad(error.to_string()),
        Ok(at) => {
            let found = format!(
                "{} rows in {} files, {} due to be put together, {} log entries since the checkpoint",
                at.rows, at.files, at.files_due, at.entries
            );
            match at.files > FILES_MAX || at.entries > ENTRIES_MAX {
                true => Found::Doubtful(format!("{found}: run `custody maintain`, all the time with --every 30s")),
                false => Found::Good(found),
            }
        }
    }
}

fn today() -> chrono::NaiveDate {
    Utc::now().date_naive()
}

/// Rows from the future say that a clock was wrong when they came in, or is now.
async fn newest(engine: &Engine) -> Result<String, String> {
    let sql = "SELECT CAST(max(ingested_at) AS VARCHAR), max(ingested_at) > now() + INTERVAL '1 minute' FROM records";
    let mut answer = engine.query(sql, Bounds::default()).await.map_err(|error| error.to_string())?;
    let mut rows = RowWriter::new(Vec::new(), Format::Csv, &answer.schema()).map_err(|error| error.to_string())?;
    while let Some(batch) = answer.next().await {
        let batch = batch.map_err(|error| error.to_string())?;
        rows.write(&batch).map_err(|error| error.to_string())?;
    }
    let rows = rows.finish().map_err(|error| error.to_string())?;
    let rows = String::from_utf8_lossy(&rows);
    match rows.lines().last().and_then(|row| row.rsplit_once(',')) {
        Some((at, "true")) => Err(format!("{at} is in the future: a clock was wrong then, or is now")),
        Some(("", _)) | None => Ok("none yet".to_owned()),
        Some((at, _)) => Ok(at.to_owned()),
    }
}

/// How far the ledger is behind a topic, and whether Kafka still has what comes next.
async fn lag(config: &Config, ledger: &Ledger, topic: &str, partitions: &[(i32, i64, i64)]) -> Found {
    let asked = async {
        let mut writer = ledger.writer(Table::Records).await.map_err(|error| error.to_string())?;
        let (mut behind, mut lost) = (0, 0);
        for (partition, first, end) in partitions {
            let stream =
                Stream { cluster: config.kafka.cluster.clone(), topic: topic.to_owned(), partition: *partition };
            let next = writer.cursor(&stream).await.map_err(|error| error.to_string())?;
            behind += end - next.unwrap_or(*first).max(*first);
            lost += next.map_or(0, |next| (first - next).max(0));
        }
        Ok::<_, String>((behind, lost))
    };
    match asked.await {
        Err(why) => Found::Bad(why),
        Ok((_, lost)) if lost > 0 => {
            Found::Bad(format!("Kafka has deleted {lost} messages that were not read: see kafka.on_lost_messages"))
        }
        Ok((behind, _)) => Found::Good(format!("{behind} messages")),
    }
}
