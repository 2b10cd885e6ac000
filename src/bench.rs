//! `custody bench ingest`: Kafka to committed tables, against the limit of the machine, on the same messages in one run.
//! `custody bench freshness`: from being produced to being visible.
//! `custody bench commits`: what a commit takes while a ledger grows.
//! `custody bench decode`: what decoding costs on one core, against parsing the same JSON.
//! `custody bench generate`: a ledger of any size to measure questions on.
//! `custody bench reports`: what each report takes.
//! `custody bench search`: looking through recordings and searching them.
//! `custody bench replay`: playing a long one.
//! `custody bench forward`: from the ledger to a receiver.

mod forward;
mod replay;
mod reports;
mod search;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use custody_ingest::bench::{self, CommitTimes, Generated, Measure, Plan, Reference};
use custody_ledger::{Ledger, Location};
use custody_query::format::{Format, RowWriter};
use custody_query::{Bounds, Engine, ReferencePaths};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cli::{Bench, BenchGenerate, BenchIngest, BenchPart};
use crate::config::Config;
use crate::exit::Failure;
use crate::maintain;

/// What one part took, told by its own process.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    #[serde(flatten)]
    measure: Measure,
    /// Seconds of CPU, user and system.
    cpu_seconds: f64,
    /// Highest resident memory, in bytes.
    rss_bytes_max: u64,
}

/// Runs a benchmark.
pub(crate) async fn run(config: &Config, bench: Bench) -> Result<(), Failure> {
    let args = match bench {
        Bench::Ingest(args) => args,
        Bench::Commits { commits, rows, pause, no_maintenance } => {
            return measure_commits(config, commits, rows, pause, !no_maintenance).await;
        }
        Bench::Freshness { rate, time } => return freshness(config, rate, time).await,
        Bench::Decode { megabytes } => return decode(megabytes),
        Bench::Generate(args) => return generate(&args).await,
        Bench::Reports(args) => return reports::run(config, &args).await,
        Bench::Search(args) => return search::run(config, &args).await,
        Bench::Replay(args) => return replay::run(config, &args).await,
        Bench::Forward(args) => return forward::run(config, &args).await,
    };
    match args.part {
        BenchPart::All => all(config, &args).await,
        BenchPart::Limit | BenchPart::Custody => part(config, &args).await,
    }
}

/// `custody bench decode`
fn decode(megabytes: usize) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "| | bytes a message | decoding MB/s | parsing into serde_json::Value MB/s | decoding / parsing |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for rate in bench::decode_rates(megabytes * 1_000_000) {
        let per_second = |seconds: f64| rate.bytes as f64 / 1e6 / seconds;
        let (decoding, parsing) = (per_second(rate.decode_seconds), per_second(rate.parse_seconds));
        let ratio = decoding / parsing;
        writeln!(out, "| {} | {} | {decoding:.0} | {parsing:.0} | {ratio:.2}x |", rate.name, rate.message_bytes)?;
    }
    Ok(())
}

/// `custody bench generate`
async fn generate(args: &BenchGenerate) -> Result<(), Failure> {
    let folder = &std::path::absolute(&args.ledger)?;
    let beside = beside(folder)?;
    for folder in [folder, &beside] {
        let is_taken = std::fs::read_dir(folder).is_ok_and(|mut inside| inside.next().is_some());
        if is_taken || folder.is_file() {
            return Err(Failure::usage(anyhow::anyhow!(
                "there is something at {} already. Remove it, or name another folder",
                folder.display()
            )));
        }
    }
    let BenchGenerate { events, days, seed, .. } = *args;
    let plan = Plan { events, days, seed };
    let location = Location::parse(&folder.to_string_lossy(), Default::default())?;
    let started = Instant::now();
    let ledger = Ledger::create(location).await?;
    let configuration = write_reference(folder, &beside, &bench::reference(plan))?;
    let bar = generating(events);
    let telling = bar.clone();
    let done = bench::generate(&ledger, plan, move |events| telling.inc(events)).await;
    bar.finish_and_clear();
    let done = done.map_err(|error| Failure::broken(anyhow::anyhow!(error)))?;
    let Generated { messages, undecodable, events, sessions, requests } = done;
    let (seconds, bytes) = (started.elapsed().as_secs_f64(), bytes_below(folder)?);
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} events, {} sessions and {} access requests of {} messages ({undecodable} cannot be decoded) in {seconds:.1} s \
         ({:.0} messages/s); {bytes} bytes on disk ({})",
        HumanCount(events),
        HumanCount(sessions),
        HumanCount(requests),
        HumanCount(messages),
        messages as f64 / seconds,
        HumanBytes(bytes),
    )?;
    writeln!(out, "Ask it with: custody --config {} ...", configuration.display())?;
    Ok(())
}

/// The folder of what belongs to a ledger and is no part of it.
fn beside(ledger: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = ledger.file_name() else {
        return Err(Failure::usage(anyhow::anyhow!("{} is no name for a new folder", ledger.display())));
    };
    let mut name = name.to_owned();
    name.push("-reference");
    Ok(ledger.with_file_name(name))
}

/// Writes the reference data and the configuration that names it. Returns where that is.
fn write_reference(ledger: &Path, folder: &Path, reference: &Reference) -> Result<PathBuf, Failure> {
    #[derive(Serialize)]
    struct Configuration<'a> {
        data: &'a Path,
        reference: ReferencePaths,
    }
    std::fs::create_dir_all(folder)?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map(|()| Some(path))
    };
    let configuration = Configuration {
        data: ledger,
        reference: ReferencePaths {
            people: write("people.csv", &reference.people)?,
            approvers: write("approvers.csv", &reference.approvers)?,
            shared_accounts: write("shared-accounts.csv", &reference.shared_accounts)?,
            privileged: write("privileged.csv", &reference.privileged)?,
        },
    };
    let path = folder.join("custody.toml");
    std::fs::write(&path, toml::to_string(&configuration).map_err(Failure::broken)?)?;
    Ok(path)
}

fn generating(events: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(events);
    // The template is a constant; a test would not tell more than the compiler of it.
    match ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} events {per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { bytes_below(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

/// `custody bench freshness`
async fn freshness(config: &Config, rate: u64, time: Duration) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("custody-bench-").tempdir()?;
    let location = Location::parse(&folder.path().to_string_lossy(), Default::default())?;
    let ledger = Ledger::create(location.clone()).await?;
    let engine = Engine::open(&ledger, config.limits(), &config.vocabulary()).await?;
    let (brokers, topic) = (config.kafka.brokers.clone(), format!("custody-bench-{}", uuid::Uuid::new_v4()));
    let ingest = bench::config(&brokers, &topic, config.flush);
    let (stop, stopped) = watch::channel(false);
    let (sent, moments) = std::sync::mpsc::channel();
    let producing = tokio::task::spawn_blocking(move || bench::produce_at(&brokers, &topic, rate, time, &sent));
    let asking = async {
        let (mut seen, mut latencies, mut polls) = (0, Vec::new(), Vec::new());
        loop {
            let asked = Instant::now();
            let mut answer = engine.query("SELECT count(*) FROM records", Bounds::default()).await?;
            let mut rows = RowWriter::new(Vec::new(), Format::Csv, &answer.schema())?;
            while let Some(batch) = answer.next().await {
                rows.write(&batch?)?;
            }
            let shown = Instant::now();
            polls.push(shown - asked);
            let text = String::from_utf8_lossy(&rows.finish()?).into_owned();
            let visible: u64 = text.lines().last().and_then(|row| row.trim().parse().ok()).unwrap_or(0);
            for _ in seen..visible {
                match moments.recv_timeout(Duration::from_secs(5)) {
                    Ok(sent) => latencies.push(shown.saturating_duration_since(sent)),
                    // The producer is done, and all of its messages have been seen.
                    Err(_) => break,
                }
            }
            seen = visible;
            if producing.is_finished() && latencies.len() as u64 >= seen && moments.try_recv().is_err() {
                let produced = producing.await.map_err(Failure::broken)?;
                let produced = produced.map_err(|error| Failure::broken(anyhow::anyhow!(error)))?;
                if seen >= produced {
                    let _ = stop.send(true);
                    return Ok::<_, Failure>((latencies, polls));
                }
                return Err(Failure::broken(anyhow::anyhow!("{produced} were produced, {seen} seen")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ingesting = async { Ok(custody_ingest::run(ingest, location, Default::default(), stopped.clone()).await?) };
    let maintaining = maintain::keep(config, &ledger, Duration::from_secs(5), stopped.clone());
    let ((mut latencies, mut polls), (), ()) = tokio::try_join!(asking, ingesting, maintaining)?;
    latencies.sort_unstable();
    polls.sort_unstable();
    let ms = |times: &[Duration], share| bench::quantile(times, share).as_secs_f64() * 1e3;
    let mut out = std::io::stdout();
    writeln!(out, "| messages | a second | visible after p50 ms | p99 | max | the question alone p50 ms |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    writeln!(
        out,
        "| {} | {rate} | {:.0} | {:.0} | {:.0} | {:.0} |",
        latencies.len(),
        ms(&latencies, 0.5),
        ms(&latencies, 0.99),
        ms(&latencies, 1.0),
        ms(&polls, 0.5)
    )?;
    Ok(())
}

/// `custody bench commits`
async fn measure_commits(
    config: &Config,
    commits: u64,
    rows: u64,
    pause: Duration,
    maintained: bool,
) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("custody-bench-").tempdir()?;
    let ledger = Ledger::create(Location::parse(&folder.path().to_string_lossy(), Default::default())?).await?;
    let (stop, stopped) = watch::channel(false);
    let every = Duration::from_secs(2);
    let maintaining = async {
        match maintained {
            true => maintain::keep(config, &ledger, every, stopped).await,
            false => Ok(()),
        }
    };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| table | commits | write p50 ms | p99 | commit p50 ms | p99 | max |\n|---|---|---|---|---|---|---|"
    )?;
    let committing = async {
        let done = bench::commits(&ledger, commits, rows, pause, |times| {
            let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
            let CommitTimes { table, commits: (from, to), uploads, commit } = times;
            let cells = [(uploads, 0.5), (uploads, 0.99), (commit, 0.5), (commit, 0.99), (commit, 1.0)];
            let cells = cells.map(|(times, share)| ms(bench::quantile(times, share))).join(" | ");
            // Nothing is lost where nobody reads along.
            let _ = writeln!(std::io::stdout(), "| {} | {from} to {to} | {cells} |", table.name());
        });
        let done = done.await.map_err(|error| Failure::broken(anyhow::anyhow!(error)));
        // Only fails when maintenance has ended by itself.
        let _ = stop.send(true);
        done
    };
    tokio::try_join!(committing, maintaining)?;
    for (what, keep_in_order) in [("as it stands", false), ("after `custody maintain`", true)] {
        if keep_in_order {
            let started = Instant::now();
            maintain::look(config, &ledger, false, &watch::channel(false).1).await?;
            writeln!(out, "\n`custody maintain` took {:.1} s", started.elapsed().as_secs_f64())?;
        }
        let started = Instant::now();
        let opened = Ledger::existing(ledger.location().clone()).await?;
        let engine = Engine::open(&opened, config.limits(), &config.vocabulary()).await?;
        let opening = started.elapsed();
        let started = Instant::now();
        let mut answer =
            engine.query("SELECT count(*), count(DISTINCT session_id) FROM events", Bounds::default()).await?;
        while let Some(batch) = answer.next().await {
            batch?;
        }
        let (opening, asking) = (opening.as_secs_f64() * 1e3, started.elapsed().as_secs_f64() * 1e3);
        writeln!(out, "{what}: opened in {opening:.0} ms, all events read in {asking:.0} ms")?;
    }
    Ok(())
}

async fn all(config: &Config, args: &BenchIngest) -> Result<(), Failure> {
    let topic = args.topic.clone().unwrap_or_else(|| format!("custody-bench-{}", uuid::Uuid::new_v4()));
    let brokers = config.kafka.brokers.clone();
    let mut out = std::io::stdout();
    writeln!(out, "publishing {} MB of Teleport-like events to {topic} at {brokers} ...", args.megabytes)?;
    let (to, partitions, bytes) = (topic.clone(), args.partitions, args.megabytes * 1_000_000);
    let produced = tokio::task::spawn_blocking(move || bench::produce(&brokers, &to, partitions, bytes)).await;
    let messages = produced.map_err(Failure::broken)?.map_err(|error| Failure::broken(anyhow::anyhow!(error)))?;

    // A process of its own for each, so that the memory and CPU of one are not the other's; in turns, so that whatever
    // else the machine does is shared.
    let mut parts: Vec<(&str, Vec<Report>)> = vec![("limit", Vec::new()), ("custody", Vec::new())];
    if args.peer.is_some() {
        parts.push(("peer", Vec::new()));
    }
    for run in 1..=args.runs {
        for (name, reports) in &mut parts {
            writeln!(out, "run {run} of {}: {name} ...", args.runs)?;
            reports.push(report(config, args, name, &topic, messages).await?);
        }
    }
    let bytes = parts.iter().flat_map(|(_, reports)| reports).map(|report| report.measure.bytes).max().unwrap_or(0);
    let median = |reports: &[Report], of: fn(&Report) -> f64| {
        let mut values: Vec<f64> = reports.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    writeln!(out, "\n{messages} messages, {} MB; medians of {} runs\n", bytes / 1_000_000, args.runs)?;
    writeln!(out, "| | messages/s | MB/s | CPU s | CPU s/GB | wall s | peak RSS MB |\n|---|---|---|---|---|---|---|")?;
    let mut cpu = Vec::new();
    for (name, reports) in &parts {
        let (seconds, cpu_seconds) = (median(reports, |r| r.measure.seconds), median(reports, |r| r.cpu_seconds));
        let rss = median(reports, |r| r.rss_bytes_max as f64) / 1e6;
        let (per_second, megabytes) = (messages as f64 / seconds, bytes as f64 / 1e6);
        let (rate, per_gb) = (megabytes / seconds, cpu_seconds / megabytes * 1e3);
        writeln!(
            out,
            "| {name} | {per_second:.0} | {rate:.0} | {cpu_seconds:.1} | {per_gb:.1} | {seconds:.1} | {rss:.0} |"
        )?;
        cpu.push(cpu_seconds);
    }
    if let [limit, custody, rest @ ..] = cpu.as_slice() {
        writeln!(out, "\nCPU of custody / CPU of the limit: {:.2}", custody / limit)?;
        for peer in rest {
            writeln!(out, "CPU of the peer / CPU of custody: {:.1}", peer / custody)?;
        }
    }
    Ok(())
}

/// Runs one part in a process of its own.
async fn report(
    config: &Config,
    args: &BenchIngest,
    name: &str,
    topic: &str,
    messages: u64,
) -> Result<Report, Failure> {
    let count = messages.to_string();
    let folder = tempfile::Builder::new().prefix("custody-bench-").tempdir()?;
    let mut command = match (name, args.peer.as_deref().map(|peer| peer.split_whitespace().collect::<Vec<_>>())) {
        ("peer", Some(words)) => {
            let [program, arguments @ ..] = words.as_slice() else {
                return Err(Failure::usage(anyhow::anyhow!("--peer is empty")));
            };
            let mut command = tokio::process::Command::new(program);
            command.args(arguments).args(["--brokers", &config.kafka.brokers]).arg("--folder").arg(folder.path());
            command
        }
        _ => {
            let mut command = tokio::process::Command::new(std::env::current_exe()?);
            command.args(["bench", "ingest", "--part", name]).env("CUSTODY_KAFKA__BROKERS", &config.kafka.brokers);
            command
        }
    };
    let child = command.args(["--topic", topic, "--messages", &count]).stdin(Stdio::null()).output().await?;
    if !child.status.success() {
        let said = String::from_utf8_lossy(&child.stderr);
        return Err(Failure::broken(anyhow::anyhow!("the part {name} failed: {said}")));
    }
    serde_json::from_slice(&child.stdout).map_err(Failure::broken)
}

async fn part(config: &Config, args: &BenchIngest) -> Result<(), Failure> {
    let Some(topic) = args.topic.clone() else { return Err(Failure::usage(anyhow::anyhow!("a part needs --topic"))) };
    let folder = std::env::temp_dir().join(format!("custody-bench-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(config, args, topic, folder.clone()).await;
    // The files are only there to have been written.
    std::fs::remove_dir_all(&folder)?;
    let measure = measured.map_err(|error| Failure::broken(anyhow::anyhow!(error)))?;
    let report = Report { measure, cpu_seconds: cpu_time()?.as_secs_f64(), rss_bytes_max: rss_bytes_max()? };
    serde_json::to_writer(std::io::stdout(), &report).map_err(Failure::broken)
}

async fn measure(
    config: &Config,
    args: &BenchIngest,
    topic: String,
    folder: PathBuf,
) -> Result<Measure, bench::Failed> {
    let (brokers, messages) = (config.kafka.brokers.clone(), args.messages);
    match args.part {
        BenchPart::Limit => {
            tokio::task::spawn_blocking(move || bench::limit(&brokers, &topic, messages, &folder)).await?
        }
        _ => {
            let location = Location::parse(&folder.to_string_lossy(), Default::default())?;
            bench::custody(&brokers, &topic, messages, location).await
        }
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Result<Duration, Failure> {
    cpu_time_of(std::process::id())
}

/// CPU time of a process so far, from `/proc` (fields 14 and 15 of `stat`, in ticks of 10 ms).
fn cpu_time_of(process: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name, which may hold spaces, but ends at the last parenthesis.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Highest resident memory of this process so far, in bytes.
fn rss_bytes_max() -> Result<u64, Failure> {
    rss_bytes_max_of(std::process::id())
}

/// Highest resident memory of a process so far, in bytes, from `/proc` (`VmHWM`).
fn rss_bytes_max_of(process: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}
