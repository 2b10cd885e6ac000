//! `custody demo`: the whole pipeline in one process, on an embedded broker, with sample gateways that tell a story and
//! then go on living.

mod live;
mod opa;
mod pty;
mod scripts;
mod story;
mod teleport;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use custody_ingest::Health;
use custody_ingest::publish::{EmbeddedBroker, Outgoing, Publisher};
use custody_ledger::Ledger;
use custody_query::Engine;
use tokio::sync::watch;

use crate::cli::Demo;
use crate::config::{Config, default_topics};
use crate::exit::Failure;
use crate::{http, run, shutdown};

/// Where the demo's ledger is when `--data` does not say.
const DATA: &str = "custody-demo";
/// Partitions of each topic on the embedded broker.
const PARTITIONS: i32 = 2;
/// How long published messages may wait for their acknowledgement.
const PUBLISH_MAX: Duration = Duration::from_secs(30);

/// Runs the demo until asked to stop.
pub(crate) async fn run(mut config: Config, data_given: bool, demo: &Demo) -> Result<(), Failure> {
    if !data_given {
        config.data = DATA.to_owned();
    }
    // The demo is what it is, whatever is configured for real use.
    config.topics = default_topics();
    config.kafka = Default::default();
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
    let metrics = run::install_metrics()?;
    let topics: Vec<(&str, i32)> = config.topics.iter().map(|topic| (topic.name.as_str(), PARTITIONS)).collect();
    let broker = EmbeddedBroker::start(&topics).map_err(Failure::broken)?;
    config.kafka.brokers = broker.bootstrap_servers();

    let health = Health::default();
    let ingesting = custody_ingest::run(config.ingest(), location.clone(), health.clone(), stop.clone());
    let publishing = publish(config.kafka.brokers.clone(), stop.clone());
    let serving = async {
        let Some(ledger) = run::wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        let engine = Engine::open(&ledger, config.limits()).await?;
        introduce(&config, at)?;
        http::serve(listener, http::State::new(engine, config.bounds(), Some(health), metrics), stop.clone()).await
    };
    tokio::try_join!(async { ingesting.await.map_err(Failure::from) }, publishing, serving)?;
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
    publish(brokers.unwrap_or_else(|| config.kafka.brokers.clone()), stop).await
}

/// Publishes the story, then live sessions until asked to stop.
async fn publish(brokers: String, stop: watch::Receiver<bool>) -> Result<(), Failure> {
    let stopping = Arc::new(AtomicBool::new(false));
    let watching = stopping.clone();
    let watcher = tokio::spawn(async move {
        shutdown::wait(stop).await;
        watching.store(true, Ordering::Release);
    });
    let published = tokio::task::spawn_blocking(move || publish_all(&brokers, &stopping)).await;
    watcher.abort();
    published.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn publish_all(brokers: &str, stop: &AtomicBool) -> Result<(), Failure> {
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
            story::messages(chrono::Utc::now().timestamp_micros(), &recordings).into_iter().for_each(&publish);
        }
        living.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    publisher.flush(PUBLISH_MAX).map_err(Failure::broken)
}

/// Says what there is to try.
fn introduce(config: &Config, at: std::net::SocketAddr) -> Result<(), Failure> {
    let data = &config.data;
    // As it was called, so that the lines can be copied.
    let custody = std::env::args().next().unwrap_or_else(|| "custody".to_owned());
    let mut out = std::io::stdout();
    writeln!(
        out,
        "Custody demo: sample gateways publish to an embedded Kafka broker; the ledger is in {data}.

Try in another terminal (sessions of the story appear within about ten seconds, live ones keep coming):

  {custody} --data {data} sessions
  {custody} --data {data} sql \"SELECT session_id, actor, target, reason, approvers, link_method FROM session_access\"
  {custody} --data {data} show {example}
  {custody} --data {data} replay {example}
  {custody} --data {data} export {example} --as text
  curl 'http://{at}/api/v1/sessions?actor=alice@example.com'
  curl http://{at}/api/v1/sessions/{example}
  curl http://{at}/api/v1/openapi.json

Ctrl-C ends the demo.",
        example = story::example_session(chrono::Utc::now().timestamp_micros()),
    )?;
    out.flush()?;
    Ok(())
}
