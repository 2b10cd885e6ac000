//! `custody demo`: the whole pipeline in one process, on an embedded broker, with sample gateways that tell a story and
//! then go on living.

mod boundary;
mod bsr;
mod hoop;
mod live;
mod opa;
mod pty;
mod reference;
mod scripts;
mod story;
mod teleport;

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use custody_ingest::Health;
use custody_ingest::publish::{EmbeddedBroker, Outgoing, Publisher};
use custody_ledger::{Ledger, Location};
use custody_query::ReferencePaths;
use serde::Serialize;
use tokio::sync::watch;

use crate::cli::Demo;
use crate::config::{Config, Identities, Organisation, Recordings, default_topics};
use crate::exit::Failure;
use crate::show::text::shell_word;
use crate::{http, import, maintain, run, shutdown};

/// Where the demo's ledger is when `--data` does not say.
const DATA: &str = "custody-demo";
/// Partitions of each topic on the embedded broker.
const PARTITIONS: i32 = 2;
/// How long published messages may wait for their acknowledgement.
const PUBLISH_MAX: Duration = Duration::from_secs(30);
/// Seconds between looks for recordings that Boundary has announced.
const RECORDINGS_EVERY_S: u64 = 3;
/// Name of the configuration that is written beside the ledger's tables.
const CONFIGURATION: &str = "custody.toml";

/// Runs the demo until asked to stop.
pub(crate) async fn run(mut config: Config, data_given: bool, demo: &Demo) -> Result<(), Failure> {
    if !data_given {
        config.data = DATA.to_owned();
    }
    // The demo is what it is, whatever is configured for real use.
    config.topics = default_topics();
    config.kafka = Default::default();
    config.identities = identities();
    let store = tempfile::Builder::new().prefix("custody-demo-recordings-").tempdir()?;
    config.recordings =
        Recordings { from: vec![store.path().to_string_lossy().into_owned()], every_s: RECORDINGS_EVERY_S };
    let address = run::address(&config, &demo.listen)?;
    let location = config.location()?;
    if Ledger::existing(location.clone()).await.is_ok() {
        return Err(Failure::usage(anyhow::anyhow!(
            "there is a ledger at {} already, and the demo's broker begins anew each time. Remove it, or choose another \
             place with --data",
            config.data
        )));
    }
    let stop = shutdown::requested(demo.exit_after)?;
    let listener = run::bind(address).await?;
    let at = listener.local_addr()?;
    let configuration = write_configuration(&mut config, &location)?;
    let metrics = run::install_metrics()?;
    let topics: Vec<(&str, i32)> = config.topics.iter().map(|topic| (topic.name.as_str(), PARTITIONS)).collect();
    let broker = EmbeddedBroker::start(&topics).map_err(Failure::broken)?;
    config.kafka.brokers = broker.bootstrap_servers();

    let health = Health::default();
    let ingesting =
        custody_ingest::run(config.ingest().map_err(Failure::usage)?, location.clone(), health.clone(), stop.clone());
    let publishing = publish(config.kafka.brokers.clone(), Some(store.path().to_owned()), stop.clone());
    let serving = async {
        let Some(ledger) = run::wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        let state = http::State::open(&config, &ledger, Some(health), metrics).await?;
        introduce(&config.data, configuration.as_deref(), at)?;
        http::serve(listener, state, stop.clone()).await
    };
    let following = async {
        let Some(ledger) = run::wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        import::follow(&config, &ledger, stop.clone()).await
    };
    let maintaining = async {
        let Some(ledger) = run::wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        maintain::keep(&config, &ledger, Duration::from_secs(config.maintain.every_seconds.max(1)), stop.clone()).await
    };
    let indexing = async {
        let Some(ledger) = run::wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        maintain::follow(&config, &ledger, stop.clone()).await
    };
    let ingesting = async { ingesting.await.map_err(Failure::from) };
    tokio::try_join!(ingesting, publishing, serving, following, maintaining, indexing)?;
    drop(broker);
    let mut out = std::io::stdout();
    writeln!(out, "\nThe ledger stays at {}: every command above goes on working but curl.", config.data)?;
    Ok(())
}

/// `custody demo gateways`: the sample gateways alone, publishing to real brokers.
pub(crate) async fn gateways(
    config: &Config,
    brokers: Option<String>,
    exit_after: Option<Duration>,
) -> Result<(), Failure> {
    let stop = shutdown::requested(exit_after)?;
    publish(brokers.unwrap_or_else(|| config.kafka.brokers.clone()), None, stop).await
}

/// Who is who in the story, whatever system names them.
fn identities() -> Identities {
    let known = teleport::CAST.iter().filter_map(|person| Some((person, person.boundary_id?)));
    known.map(|(person, id)| (person.user.to_owned(), vec![id.to_owned()])).collect()
}

/// Writes what the other commands have to know of the demo: where its ledger is, who is who, and what no gateway
/// publishes. `None` where the ledger is in no folder.
fn write_configuration(config: &mut Config, location: &Location) -> Result<Option<PathBuf>, Failure> {
    #[derive(Serialize)]
    struct Configuration<'a> {
        data: Cow<'a, str>,
        organisation: &'a Organisation,
        reference: &'a ReferencePaths,
        identities: &'a Identities,
    }
    let Ok(folder) = location.url().to_file_path() else { return Ok(None) };
    std::fs::create_dir_all(&folder)?;
    let monday = story::monday(chrono::Utc::now().timestamp_micros());
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map(|()| Some(path))
    };
    config.reference = ReferencePaths {
        people: write("people.csv", reference::people(monday))?,
        approvers: write("approvers.csv", reference::approvers())?,
        shared_accounts: write("shared-accounts.csv", reference::shared_accounts())?,
        privileged: None,
    };
    config.organisation.name = "Example Ltd (demo)".to_owned();
    let Config { organisation, reference, identities, .. } = &*config;
    let text = toml::to_string(&Configuration { data: folder.to_string_lossy(), organisation, reference, identities });
    std::fs::write(folder.join(CONFIGURATION), text.map_err(Failure::broken)?)?;
    // As it was called, where that was a path.
    let folder = if config.data.contains("://") { folder } else { PathBuf::from(&config.data) };
    Ok(Some(folder.join(CONFIGURATION)))
}

/// Publishes the story, then live sessions until asked to stop. Recordings that are no messages go into the folder.
async fn publish(brokers: String, store: Option<PathBuf>, stop: watch::Receiver<bool>) -> Result<(), Failure> {
    let stopping = Arc::new(AtomicBool::new(false));
    let watching = stopping.clone();
    let watcher = tokio::spawn(async move {
        shutdown::wait(stop).await;
        watching.store(true, Ordering::Release);
    });
    let published = tokio::task::spawn_blocking(move || publish_all(&brokers, store.as_deref(), &stopping)).await;
    watcher.abort();
    published.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn publish_all(brokers: &str, store: Option<&Path>, stop: &AtomicBool) -> Result<(), Failure> {
    let publisher = Publisher::new(brokers).map_err(Failure::broken)?;
    let publish = |message: Outgoing| {
        if let Err(error) = publisher.publish(&message) {
            tracing::warn!(topic = message.topic, %error, "a sample message was not published");
        }
    };
    std::thread::scope(|scope| {
        let living = scope.spawn(|| live::run(&publish, stop));
        let recordings = story::Recordings::make(stop);
        for (recording, note) in recordings.notes() {
            tracing::warn!(recording, note, "a sample recording is not what it should be");
        }
        if !stop.load(Ordering::Acquire) {
            let now = chrono::Utc::now().timestamp_micros();
            if let Some(Err(error)) = store.map(|folder| story::write_recordings(now, &recordings, folder)) {
                tracing::warn!(%error, "Boundary's sample recordings could not be stored");
            }
            story::messages(now, &recordings).into_iter().for_each(&publish);
        }
        living.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    publisher.flush(PUBLISH_MAX).map_err(Failure::broken)
}

/// Says what there is to try.
fn introduce(data: &str, configuration: Option<&Path>, at: std::net::SocketAddr) -> Result<(), Failure> {
    // As it was called, so that the lines can be copied.
    let custody = std::env::args().next().unwrap_or_else(|| "custody".to_owned());
    let ledger = match configuration {
        Some(file) => format!("--config {}", shell_word(&file.to_string_lossy())),
        None => format!("--data {}", shell_word(data)),
    };
    let custody = format!("{} {ledger}", shell_word(&custody));
    let now = chrono::Utc::now().timestamp_micros();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "Custody demo: sample gateways publish to an embedded Kafka broker; the ledger is in {data}.

Open http://{at}/ in a browser.

Try in another terminal (sessions of the story appear within about ten seconds, live ones keep coming):

  {custody} sessions
  {custody} sql \"SELECT session_id, actor, target, reason, approvers, link_method FROM session_access\"
  {custody} show {example}
  {custody} search upstream
  {custody} replay {example} --at-match upstream
  {custody} export {example} --as html -o session.html
  curl 'http://{at}/api/v1/sessions?actor=alice@example.com'
  curl http://{at}/api/v1/sessions/{example}
  curl http://{at}/api/v1/openapi.json

A session through Boundary, which carries the id of the policy's decision; whether recordings and sources are whole:

  {custody} show {boundary}
  {custody} sql \"SELECT session_id, person, target, recording_state, why FROM recording_state\"
  {custody} sql \"SELECT source, cluster, events, audit_off, errors, recordings_missing FROM source_health\"

Ctrl-C ends the demo.",
        example = story::example_session(now),
        boundary = story::boundary_session(now),
    )?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_written_configuration_is_read_by_the_other_commands() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("my ledger");
        let mut config = Config { data: data.to_str().unwrap().to_owned(), ..Config::default() };
        config.identities = identities();
        let location = Location::parse(&config.data, HashMap::new()).unwrap();
        let file = write_configuration(&mut config, &location).unwrap().unwrap();
        assert_eq!(file, data.join("custody.toml"));
        let read = Config::load(Some(&file), None).unwrap();
        assert_eq!((Path::new(&read.data), &read.identities), (data.as_path(), &config.identities));
        assert_eq!(read.identities["alice@example.com"], ["u_alice0001"]);
        assert_eq!(read.identities.len(), 4);

        let remote = Location::parse("s3://bucket/ledger", HashMap::new()).unwrap();
        assert_eq!(write_configuration(&mut config, &remote).unwrap(), None);
    }

    #[test]
    fn printed_commands_can_be_copied() {
        for (word, expected) in [
            ("custody-demo/custody.toml", "custody-demo/custody.toml"),
            ("my ledger", "'my ledger'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), expected);
        }
    }
}
