//! Commands that run on: `up`, `ingest`, `serve`; and `config`.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use custody_ingest::Health;
use custody_ingest::collector::Collector;
use custody_ledger::{Ledger, Location};
use custody_query::Engine;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;

use crate::cli::{Listen, Watched};
use crate::config::Config;
use crate::exit::Failure;
use crate::{collect, forward, http, import, maintain, shutdown, wire};

/// `custody up`: ingest, collect, serve and maintain, until asked to stop.
pub(crate) async fn up(config: Config, listen: &Listen) -> Result<(), Failure> {
    let address = address(&config, listen)?;
    let collecting = collect::address(&config.collect)?;
    if !config.has_kafka() && collecting.is_none() {
        return Err(nothing_comes_in());
    }
    forward::check(&config)?;
    crate::watch::check(&config)?;
    let stop = shutdown::requested(None)?;
    let health = Health::default();
    let metrics = install_metrics()?;
    let listener = bind(address).await?;
    let wired = wire::listen(&config).await?;
    let collecting = match collecting {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let location = config.location()?;
    let ingesting = ingesting(&config, location.clone(), health.clone(), stop.clone());
    let serving = async {
        // The tables are made by ingest, once the store answers.
        let Some(ledger) = wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        let state = http::State::open(&config, &ledger, Some(health.clone()), metrics).await?;
        let wire = wire::serve(wired, &config, &ledger, state.engine(), stop.clone());
        tokio::try_join!(http::serve(listener, state, stop.clone()), wire).map(drop)
    };
    let collecting = async {
        let Some(listener) = collecting else { return Ok(()) };
        let Some(ledger) = wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        collect_into(&config, &ledger, listener, health.clone(), stop.clone()).await
    };
    let following = async {
        let Some(ledger) = wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        import::follow(&config, &ledger, stop.clone()).await
    };
    let maintaining = async {
        let every = Duration::from_secs(config.maintain.every_seconds);
        if every.is_zero() {
            return Ok(());
        }
        let Some(ledger) = wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        maintain::keep(&config, &ledger, every, stop.clone()).await
    };
    let indexing = async {
        let Some(ledger) = wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        maintain::follow(&config, &ledger, stop.clone()).await
    };
    let forwarding = async {
        let Some(ledger) = wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        forward::follow(&config, &ledger, stop.clone()).await
    };
    let watching = async {
        let Some(ledger) = wait_for_ledger(&location, stop.clone()).await? else { return Ok(()) };
        crate::watch::follow(&config, &ledger, stop.clone()).await
    };
    tokio::try_join!(ingesting, serving, collecting, following, maintaining, indexing, forwarding, watching).map(drop)
}

fn nothing_comes_in() -> Failure {
    Failure::usage(anyhow::anyhow!(
        "kafka.brokers is empty and collect.listen is not set: nothing would ever come in. Set one of them"
    ))
}

/// Reads from Kafka, where there is one; else only makes the ledger.
async fn ingesting(
    config: &Config,
    location: Location,
    health: Health,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    if config.has_kafka() {
        let ingest = config.ingest().map_err(Failure::usage)?;
        return Ok(custody_ingest::run(ingest, location, health, stop).await?);
    }
    custody_ingest::create_ledger(&location, health, stop).await?;
    Ok(())
}

/// Takes in what is pushed: into Kafka where there is one, else into the ledger.
async fn collect_into(
    config: &Config,
    ledger: &Ledger,
    listener: tokio::net::TcpListener,
    health: Health,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let settings = config.settings().map_err(Failure::usage)?;
    let listener = listener.into_std()?;
    if config.has_kafka() {
        let ingest = config.ingest().map_err(Failure::usage)?;
        let collector = Collector::to_kafka(&ingest).map_err(Failure::usage)?;
        // What nobody reads would be lost to every question: it is not taken.
        let topics = Some(config.topics.iter().map(|topic| topic.name.clone()).collect());
        return collect::serve(listener, collector, config.collect.clone(), topics, settings, stop).await;
    }
    let engine = Engine::open(ledger, config.limits(), &config.vocabulary()).await?;
    maintain::recover_collected(config, ledger, &engine).await?;
    drop(engine);
    let (collector, committing) = Collector::to_ledger(ledger, config.flush, health, stop.clone()).await?;
    let serving = collect::serve(listener, collector, config.collect.clone(), None, settings, stop);
    let (served, ()) = tokio::join!(serving, committing);
    served
}

/// `custody ingest`
pub(crate) async fn ingest(config: Config, watched: Watched) -> Result<(), Failure> {
    if !config.has_kafka() {
        return Err(Failure::usage(anyhow::anyhow!("kafka.brokers is empty: there is no Kafka to read from")));
    }
    let stop = shutdown::requested(None)?;
    let location = config.location()?;
    tracing::info!(brokers = config.kafka.brokers, ledger = %location.url(), "ingesting");
    let health = Health::default();
    let ingest = config.ingest().map_err(Failure::usage)?;
    let watching = watch_over(&config, watched, Some(health.clone()), stop.clone()).await?;
    let ingesting = async { Ok(custody_ingest::run(ingest, location, health, stop).await?) };
    tokio::try_join!(ingesting, watching).map(drop)
}

/// Serves health and metrics of a process that answers no questions, where that is asked for.
pub(crate) async fn watch_over(
    config: &Config,
    watched: Watched,
    health: Option<Health>,
    stop: watch::Receiver<bool>,
) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    // The port is taken before anything else is done, so that a taken one is told at once.
    let listening = match watched.listen {
        None => None,
        Some(_) => {
            let listen = Listen { listen: watched.listen, no_authentication: false };
            Some((bind(address(config, &listen)?).await?, http::Operation::of(health, install_metrics()?)))
        }
    };
    Ok(async move {
        match listening {
            Some((listener, operation)) => http::serve_operation(listener, operation, stop).await,
            None => Ok(()),
        }
    })
}

/// `custody collect`
pub(crate) async fn collect(config: Config) -> Result<(), Failure> {
    let Some(address) = collect::address(&config.collect)? else {
        return Err(Failure::usage(anyhow::anyhow!(
            "collect.listen is not set: say where to listen, for example CUSTODY_COLLECT__LISTEN=127.0.0.1:7879"
        )));
    };
    let stop = shutdown::requested(None)?;
    let listener = bind(address).await?;
    let health = Health::default();
    let location = config.location()?;
    let Some(ledger) = custody_ingest::create_ledger(&location, health.clone(), stop.clone()).await? else {
        return Ok(());
    };
    collect_into(&config, &ledger, listener, health, stop).await
}

/// `custody serve`
pub(crate) async fn serve(config: Config, listen: &Listen) -> Result<(), Failure> {
    let address = address(&config, listen)?;
    let stop = shutdown::requested(None)?;
    let ledger = Ledger::existing(config.location()?).await?;
    let state = http::State::open(&config, &ledger, None, install_metrics()?).await?;
    let (listener, wired) = (bind(address).await?, wire::listen(&config).await?);
    let wire = wire::serve(wired, &config, &ledger, state.engine(), stop.clone());
    tokio::try_join!(http::serve(listener, state, stop), wire).map(drop)
}

/// Where to listen. An address that others reach is refused unless it was said that nobody will be asked who they are.
///
/// # Errors
///
/// [`Failure`] that says what to do.
pub(crate) fn address(config: &Config, listen: &Listen) -> Result<SocketAddr, Failure> {
    let address = listen.listen.unwrap_or(config.http.listen);
    if address.ip().is_loopback() || listen.no_authentication || config.http.no_authentication {
        return Ok(address);
    }
    Err(Failure::usage(anyhow::anyhow!(
        "{address} can be reached by others, and Custody does not ask who they are. Listen on 127.0.0.1, or say that \
         this is meant with --no-authentication (or http.no_authentication = true) and guard the address yourself"
    )))
}

/// Opens the port before anything else is done, so that a taken one is told at once.
pub(crate) async fn bind(address: SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| Failure::broken(anyhow::anyhow!("{address} cannot be listened on: {error}")))
}

/// Collects metrics for `/metrics`.
pub(crate) fn install_metrics() -> Result<PrometheusHandle, Failure> {
    PrometheusBuilder::new().install_recorder().map_err(Failure::broken)
}

/// Waits until the ledger's tables are there; `None` when asked to stop before.
pub(crate) async fn wait_for_ledger(
    location: &Location,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<Ledger>, Failure> {
    loop {
        match Ledger::existing(location.clone()).await {
            Ok(ledger) => return Ok(Some(ledger)),
            Err(custody_ledger::LedgerError::NotFound { .. } | custody_ledger::LedgerError::Store { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
        }
    }
}

/// `custody config`
pub(crate) fn print_config(config: &Config) -> Result<(), Failure> {
    let text = toml::to_string_pretty(&config.masked()).map_err(Failure::broken)?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
