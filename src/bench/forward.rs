//! `custody bench forward`: from the ledger to a receiver, by a process of its own.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use custody_ingest::bench::{self, commits};
use custody_ledger::{Ledger, Location};
use custody_query::Engine;
use custody_schemas::time::{Micros, Parsed, parse_rfc3339};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{cpu_time_of, rss_bytes_max_of};
use crate::activity::now;
use crate::cli::{BenchForward, Receiver};
use crate::config::Config;
use crate::exit::Failure;
use crate::maintain;

/// Events of a commit of those that are there beforehand: what four commits a second are at 10 000 events a second.
const ROWS: u64 = 2500;

/// Commits of ingest, while it runs.
const COMMITS_PER_SECOND: u64 = 4;

/// An event that was taken in longer ago is late, in microseconds.
const LATE: Micros = 2_000_000;

/// What a receiver was given.
#[derive(Debug, Default)]
struct Received {
    events: u64,
    bytes: u64,
    /// When the last event was taken in.
    last: Micros,
    /// How long each event took from being taken in to its arrival, once they are of interest.
    waited: Option<Vec<Duration>>,
    /// Where the events are kept, for others to send them.
    kept: Option<BufWriter<File>>,
}

/// What a peer prints of itself.
#[derive(Debug, Deserialize)]
struct Peer {
    shipper: String,
    #[serde(default)]
    events: u64,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    cpu_seconds: f64,
    #[serde(default)]
    rss_bytes_max: u64,
    error: Option<String>,
}

type Shared = Arc<Mutex<Received>>;

/// `custody bench forward`
pub(super) async fn run(config: &Config, args: &BenchForward) -> Result<(), Failure> {
    if args.peer.is_some() && args.to != Receiver::Elasticsearch {
        return Err(Failure::usage(anyhow::anyhow!("--peer speaks the bulk API: add --to elasticsearch")));
    }
    let folder = tempfile::Builder::new().prefix("custody-bench-").tempdir()?;
    let data = folder.path().join("ledger");
    let ledger = Ledger::create(Location::parse(&data.to_string_lossy(), Default::default())?).await?;
    let engine = Engine::open(&ledger, config.limits(), &config.vocabulary()).await?;
    let received = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let router = axum::Router::new()
        .route("/services/collector/event", post(collect))
        .route("/_bulk", post(create))
        .route("/received", get(received_so_far))
        .with_state(received.clone())
        .layer(axum::extract::DefaultBodyLimit::disable());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let broken = |error: bench::Failed| Failure::broken(anyhow::anyhow!(error.to_string()));

    // A destination that begins now, is away while the backlog comes in, and comes back.
    let ours = configure(folder.path(), &data, (args.to, port), "back", "now")?;
    let mut child = start(&ours)?;
    wait("the destination to begin", || async { Ok(engine.steps(Some("back")).await?.first().map(drop)) }).await?;
    stop(&mut child)?;
    eprintln!("{} events come in while nobody forwards, and the tables are put in order", args.events);
    let (halt, halted) = watch::channel(false);
    let mut maintaining = std::pin::pin!(maintain::keep(config, &ledger, Duration::from_secs(5), halted));
    let ended =
        |done: Result<(), Failure>| done.err().unwrap_or_else(|| Failure::broken(anyhow::anyhow!("maintenance ended")));
    tokio::select! {
        done = commits(&ledger, args.events.div_ceil(ROWS), ROWS, Duration::ZERO, |_| ()) => done.map_err(broken)?,
        done = &mut maintaining => return Err(ended(done)),
    }
    let backlog = args.events.div_ceil(ROWS) * ROWS;

    let rows = (args.rate / COMMITS_PER_SECOND).max(1);
    let pause = Duration::from_millis(1000 / COMMITS_PER_SECOND);
    let ingesting = commits(&ledger, u64::MAX >> 1, rows, pause, |_| ());
    let measuring = async {
        let began = Instant::now();
        let mut child = start(&ours)?;
        let took = caught_up(&received, backlog).await?;
        let behind = Measured::of(&child, began, took, &received)?;
        eprintln!("the backlog was forwarded in {:.0} s", (took - began).as_secs_f64());
        // What came in meanwhile, too; from here on each is timed.
        let is_late = |received: &mut Received| now() - received.last > LATE;
        wait("what is late", || async { Ok((!count(&received, is_late)?).then_some(())) }).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        count(&received, |received| received.waited = Some(Vec::new()))?;
        let before = (Instant::now(), cpu_time_of(child.id())?, count(&received, |received| received.events)?);
        tokio::time::sleep(args.time).await;
        let mut waited = count(&received, |received| received.waited.take())?.unwrap_or_default();
        let steady = Measured {
            events: count(&received, |received| received.events)? - before.2,
            seconds: before.0.elapsed().as_secs_f64(),
            cpu_seconds: (cpu_time_of(child.id())? - before.1).as_secs_f64(),
            rss_bytes_max: rss_bytes_max_of(child.id())?,
        };
        stop(&mut child)?;
        waited.sort_unstable();
        Ok::<_, Failure>((behind, steady, waited))
    };
    let (behind, steady, waited) = tokio::select! {
        measured = measuring => measured?,
        done = ingesting => return Err(done.map_err(broken).err().unwrap_or_else(|| Failure::broken(anyhow::anyhow!("ingest ended")))),
        done = &mut maintaining => return Err(ended(done)),
    };
    drop(halt);

    // A destination that is new, and wants everything.
    let lines = folder.path().join("events.ndjson");
    let kept = args.peer.as_ref().map(|_| File::create(&lines)).transpose()?.map(BufWriter::new);
    count(&received, |received| *received = Received { kept, ..Received::default() })?;
    let ours = configure(folder.path(), &data, (args.to, port), "new", "beginning")?;
    let began = Instant::now();
    let mut child = start(&ours)?;
    let took = caught_up(&received, backlog).await?;
    let new = Measured::of(&child, began, took, &received)?;
    stop(&mut child)?;
    if let Some(mut kept) = count(&received, |received| received.kept.take())? {
        kept.flush()?;
    }

    let mut out = std::io::stdout();
    writeln!(out, "| | events | seconds | events/s | CPU s per 100 000 | at most MiB |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    behind.tell(&format!("catching up, {} events/s coming in", args.rate), &mut out)?;
    new.tell("a new destination, from the beginning", &mut out)?;
    steady.tell(&format!("keeping up with {} events/s", args.rate), &mut out)?;
    let ms = |share| bench::quantile(&waited, share).as_millis();
    writeln!(
        out,
        "from being taken in to being received: p50 {} ms, p95 {} ms, p99 {} ms, at most {} ms",
        ms(0.5),
        ms(0.95),
        ms(0.99),
        ms(1.0)
    )?;
    let Some(command) = &args.peer else { return Ok(()) };
    writeln!(out, "\nthe same events, as lines of a file:\n")?;
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Failure::usage(anyhow::anyhow!("--peer is empty")))?;
    let peers = tokio::process::Command::new(program)
        .args(words)
        .args(["--url", &format!("http://127.0.0.1:{port}"), "--lines"])
        .arg(&lines)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await?;
    for line in String::from_utf8_lossy(&peers.stdout).lines() {
        let peer: Peer = serde_json::from_str(line)
            .map_err(|error| Failure::broken(anyhow::anyhow!("the peer printed something else: {error}")))?;
        let Peer { shipper, events, seconds, cpu_seconds, rss_bytes_max, error } = peer;
        match error {
            Some(error) => writeln!(out, "| {shipper} | {error} |")?,
            None => Measured { events, seconds, cpu_seconds, rss_bytes_max }.tell(&shipper, &mut out)?,
        }
    }
    Ok(())
}

/// What a process did.
struct Measured {
    events: u64,
    seconds: f64,
    cpu_seconds: f64,
    rss_bytes_max: u64,
}

impl Measured {
    fn of(child: &Child, began: Instant, took: Instant, received: &Shared) -> Result<Self, Failure> {
        Ok(Self {
            events: count(received, |received| received.events)?,
            seconds: (took - began).as_secs_f64(),
            cpu_seconds: cpu_time_of(child.id())?.as_secs_f64(),
            rss_bytes_max: rss_bytes_max_of(child.id())?,
        })
    }

    fn tell(&self, what: &str, out: &mut impl Write) -> Result<(), Failure> {
        let events = self.events as f64;
        writeln!(
            out,
            "| {what} | {} | {:.1} | {:.0} | {:.2} | {:.0} |",
            self.events,
            self.seconds,
            events / self.seconds,
            self.cpu_seconds / events * 1e5,
            self.rss_bytes_max as f64 / f64::from(1 << 20)
        )?;
        Ok(())
    }
}

/// Answers as Splunk's HTTP Event Collector does.
async fn collect(State(received): State<Shared>, body: Bytes) -> &'static str {
    match take(&received, &body, "\"ingested_at\":\"", 0) {
        Some(_) => r#"{"text":"Success","code":0}"#,
        None => r#"{"text":"Invalid data format","code":6}"#,
    }
}

/// Answers as the bulk API of Elasticsearch does.
async fn create(State(received): State<Shared>, body: Bytes) -> Result<String, StatusCode> {
    let events = take(&received, &body, "\"created\":\"", 2).ok_or(StatusCode::BAD_REQUEST)?;
    Ok(format!("{{\"errors\":false,\"items\":[{}]}}", vec![r#"{"create":{"status":201}}"#; events].join(",")))
}

async fn received_so_far(State(received): State<Shared>) -> Result<String, StatusCode> {
    count(&received, |received| received.events.to_string()).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Counts the events of a body, in each of which there is one field that says when it was taken in; `None` where it is not
/// what it should be. Each takes so many lines; 0 where it need not end in one.
fn take(received: &Shared, body: &[u8], field: &str, lines: usize) -> Option<usize> {
    let mut text = String::new();
    match body.starts_with(&GZIP) {
        true => drop(flate2::read::GzDecoder::new(body).read_to_string(&mut text).ok()?),
        false => text.push_str(std::str::from_utf8(body).ok()?),
    }
    let at = now();
    let events = |received: &mut Received| {
        received.bytes += text.len() as u64;
        let mut events = 0;
        let taken_in = |place: usize| {
            let time = text.get(place + field.len()..).and_then(|rest| rest.split('"').next());
            match time.and_then(parse_rfc3339) {
                Some(Parsed::At(at)) => Some(at),
                _ => None,
            }
        };
        for (place, _) in text.match_indices(field) {
            events += 1;
            if let Some(waited) = &mut received.waited {
                waited.extend(taken_in(place).map(|then| since(then, at)));
            }
        }
        received.last = text.rfind(field).and_then(taken_in).unwrap_or(received.last);
        if lines > 0 && text.matches('\n').count() != lines * events {
            return None;
        }
        received.events += events as u64;
        if let Some(kept) = &mut received.kept {
            text.lines().skip(1).step_by(2).try_for_each(|line| writeln!(kept, "{line}")).ok()?;
        }
        Some(events)
    };
    count(received, events).ok()?
}

/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

fn since(then: Micros, now: Micros) -> Duration {
    Duration::from_micros(u64::try_from(now - then).unwrap_or(0))
}

fn count<T>(received: &Shared, of: impl FnOnce(&mut Received) -> T) -> Result<T, Failure> {
    let mut received = received.lock().map_err(|_| Failure::broken(anyhow::anyhow!("the receiver panicked")))?;
    Ok(of(&mut received))
}

/// When so many events had been received.
async fn caught_up(received: &Shared, events: u64) -> Result<Instant, Failure> {
    wait("every event to be received", || async {
        Ok((count(received, |received| received.events)? >= events).then_some(()))
    })
    .await?;
    Ok(Instant::now())
}

async fn wait<F: Future<Output = Result<Option<()>, Failure>>>(
    what: &str,
    mut is_there: impl FnMut() -> F,
) -> Result<(), Failure> {
    let began = Instant::now();
    while is_there().await?.is_none() {
        if began.elapsed() > Duration::from_secs(1800) {
            return Err(Failure::broken(anyhow::anyhow!("waited half an hour for {what}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn configure(
    folder: &Path,
    data: &Path,
    (receiver, port): (Receiver, u16),
    name: &str,
    start: &str,
) -> Result<std::path::PathBuf, Failure> {
    let file = folder.join(format!("{name}.toml"));
    let receiver = match receiver {
        Receiver::Splunk => "kind = \"splunk\"\nschema = \"custody\"\ntoken = \"bench\"",
        Receiver::Elasticsearch => "kind = \"elasticsearch\"\nschema = \"ecs\"",
    };
    let text = format!(
        "data = {:?}\n\n[watch]\nevery_seconds = 0\nheartbeat_seconds = 0\n\n[[forward]]\nname = {name:?}\n\
         {receiver}\nurl = \"http://127.0.0.1:{port}\"\nprivate = true\nstart = {start:?}\n",
        data.display().to_string()
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

fn start(config: &Path) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(config).args(["forward", "run"]).stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// Asks the process to stop, as whoever runs it would: the destination is free for another at once.
fn stop(child: &mut Child) -> Result<(), Failure> {
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    child.wait()?;
    Ok(())
}
