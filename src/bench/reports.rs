//! `custody bench reports`: what each report takes, beside DuckDB on the same files and queries.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use custody_ingest::bench::quantile;
use custody_ledger::Ledger;
use custody_query::reports::{self, Asked, Report, Rows};
use custody_query::{AsOf, Engine};
use custody_schemas::time::to_rfc3339;
use serde::Deserialize;

use super::rss_bytes_max;
use crate::cli::BenchReports;
use crate::config::Config;
use crate::exit::Failure;

/// What a report took.
#[derive(Debug)]
struct Took {
    rows: u64,
    /// Opening the ledger and the first run.
    cold: Duration,
    /// Further runs by the same engine, in order of their length.
    warm: Vec<Duration>,
}

/// What a peer prints of a report, in lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Peer {
    rows: Option<u64>,
    cold_seconds: Option<f64>,
    warm_seconds: Vec<f64>,
    error: Option<String>,
    peak_rss_bytes: Option<u64>,
}

/// `custody bench reports`
pub(super) async fn run(config: &Config, args: &BenchReports) -> Result<(), Failure> {
    let reports = match args.reports.as_slice() {
        [] => reports::catalogue().iter().collect(),
        ids => ids.iter().map(|id| reports::report(id)).collect::<Result<Vec<_>, _>>()?,
    };
    let ledger = Ledger::existing(config.location()?).await?;
    let started = Instant::now();
    let kept = open(config, &ledger).await?.keep(&mut |_| ()).await?;
    let mut out = std::io::stdout();
    let seconds = started.elapsed().as_secs_f64();
    writeln!(out, "keeping what past days say of their sessions: {} months in {seconds:.1} s\n", kept.months)?;
    let head = "| report | rows | cold s | warm p50 s | warm p95 s |";
    match args.peer {
        Some(_) => writeln!(
            out,
            "{head} peer cold s | peer warm p50 s | cold / peer | warm / peer |\n{}",
            "|---".repeat(9) + "|"
        )?,
        None => writeln!(out, "{head}\n{}", "|---".repeat(5) + "|")?,
    }
    let mut peer_rss = 0;
    for report in reports {
        let Took { rows, cold, warm } = measure(config, &ledger, args, report).await?;
        let (cold, p50, p95) = (cold.as_secs_f64(), at(&warm, 0.5), at(&warm, 0.95));
        write!(out, "| {} | {rows} | {cold:.2} | {p50:.3} | {p95:.3} |", report.id)?;
        out.flush()?;
        if let Some(command) = &args.peer {
            let peer = peer(command, args, report).await?;
            peer_rss = peer_rss.max(peer.peak_rss_bytes.unwrap_or_default());
            let mut seconds = peer.warm_seconds.clone();
            seconds.sort_by(f64::total_cmp);
            let warm = seconds.get(seconds.len() / 2).copied();
            match (&peer.error, peer.cold_seconds, warm) {
                (None, Some(peer_cold), Some(peer_warm)) => write!(
                    out,
                    " {peer_cold:.2} | {peer_warm:.3} | {:.2} | {:.2} |",
                    cold / peer_cold,
                    p50 / peer_warm
                )?,
                (error, ..) => write!(out, " {} | | | |", error.as_deref().unwrap_or("no figure"))?,
            }
            if peer.error.is_none() && peer.rows != Some(rows) {
                write!(out, " it has {} rows |", peer.rows.unwrap_or_default())?;
            }
        }
        writeln!(out)?;
    }
    write!(out, "\npeak RSS {} MB", rss_bytes_max()? / 1_000_000)?;
    match peer_rss {
        0 => writeln!(out)?,
        bytes => writeln!(out, ", of the peer {} MB", bytes / 1_000_000)?,
    }
    Ok(())
}

fn at(sorted: &[Duration], share: f64) -> f64 {
    quantile(sorted, share).as_secs_f64()
}

async fn open(config: &Config, ledger: &Ledger) -> Result<Engine, Failure> {
    Ok(Engine::open(ledger, config.limits(), &config.vocabulary()).await?)
}

async fn measure(
    config: &Config,
    ledger: &Ledger,
    args: &BenchReports,
    report: &'static Report,
) -> Result<Took, Failure> {
    let asked = Asked {
        report,
        from: args.period.from,
        to: args.period.to,
        as_of: args.period.to,
        parameters: BTreeMap::new(),
        state: AsOf::Newest,
        entity: String::new(),
        environment: String::new(),
        time: None,
        by: "bench".to_owned(),
        at: args.period.to,
        judged: Arc::default(),
    };
    let started = Instant::now();
    let engine = open(config, ledger).await?;
    let mut rows = 0;
    engine
        .report(&asked, Rows::All, None, &mut |batch| {
            rows += batch.num_rows() as u64;
            Ok(())
        })
        .await?;
    let cold = started.elapsed();
    let mut warm = Vec::with_capacity(args.runs);
    for _ in 0..args.runs {
        let started = Instant::now();
        engine.report(&asked, Rows::All, None, &mut |_| Ok(())).await?;
        warm.push(started.elapsed());
    }
    warm.sort_unstable();
    Ok(Took { rows, cold, warm })
}

/// What the peer took for the same report.
async fn peer(command: &str, args: &BenchReports, report: &Report) -> Result<Peer, Failure> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Failure::usage(anyhow::anyhow!("--peer is empty")))?;
    let child = tokio::process::Command::new(program)
        .args(words)
        .args(["--from", &to_rfc3339(args.period.from), "--to", &to_rfc3339(args.period.to)])
        .args(["--runs", &args.runs.to_string(), "--reports", report.id])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await?;
    let text = String::from_utf8_lossy(&child.stdout);
    let mut whole = Peer::default();
    for line in text.lines() {
        let line: Peer = serde_json::from_str(line)
            .map_err(|error| Failure::broken(anyhow::anyhow!("the peer printed something else: {error}")))?;
        // One line is the report, the last one what the process took.
        let peak_rss_bytes = line.peak_rss_bytes.or(whole.peak_rss_bytes);
        whole = Peer { peak_rss_bytes, ..if line.peak_rss_bytes.is_none() { line } else { whole } };
    }
    Ok(whole)
}
