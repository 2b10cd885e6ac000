//! `custody bench replay`: one long recording from an asciicast file: looking through it, opening it, going to any time.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use custody_ingest::bench::quantile;
use custody_ingest::direct::{Content, Direct};
use custody_ingest::source::{Source, SourceKind};
use custody_ledger::{Ledger, Location, Stream};
use custody_query::Engine;
use custody_query::reels::Reel;
use custody_replay::encode;
use indicatif::HumanBytes;
use tokio::sync::watch;

use super::rss_bytes_max;
use super::search::size;
use crate::activity::now;
use crate::cli::BenchReplay;
use crate::config::Config;
use crate::exit::Failure;
use crate::reels::{Absence, Asked, Shelf};
use crate::{maintain, shutdown};

/// The session.
const SESSION: &str = "long";

/// Lines of a message, and its size in bytes.
const LINES: usize = 1000;
const MESSAGE_BYTES: usize = 256 << 10;

/// Times that it is opened.
const OPENED: usize = 20;

/// `custody bench replay`
pub(super) async fn run(config: &Config, args: &BenchReplay) -> Result<(), Failure> {
    let location = Location::parse(&args.ledger.to_string_lossy(), std::collections::HashMap::new())?;
    let mut out = std::io::stdout();
    let is_new = !args.ledger.exists();
    let ledger = Arc::new(Ledger::create(location).await?);
    if is_new {
        let began = Instant::now();
        let bytes = fill(config, &ledger, args).await?;
        let (_running, stop) = watch::channel(false);
        maintain::look(config, &ledger, false, &stop).await?;
        writeln!(out, "a file of {} was ingested in {:.1} s", HumanBytes(bytes), began.elapsed().as_secs_f64())?;
        return Ok(writeln!(out, "run it again: what follows is measured in a process of its own")?);
    }
    let before = rss_bytes_max()?;
    let began = Instant::now();
    let kept = maintain::look_through_all(config, &ledger, &shutdown::requested(None)?).await?;
    let seconds = began.elapsed().as_secs_f64();
    if kept.recordings > 0 {
        let (_running, stop) = watch::channel(false);
        let frames_bytes = size(&args.ledger.join("frames"))?;
        writeln!(
            out,
            "looked through {} of output in {seconds:.1} s: {:.1} MB/s, memory {} before and {} at most",
            HumanBytes(kept.output_bytes),
            kept.output_bytes as f64 / 1e6 / seconds,
            HumanBytes(before),
            HumanBytes(rss_bytes_max()?)
        )?;
        maintain::look(config, &ledger, false, &stop).await?;
        writeln!(out, "frames {}", HumanBytes(frames_bytes))?;
        for table in ["indexed_texts", "indexed_segments", "indexed_commands", "indexed_trigrams"] {
            let bytes = size(&args.ledger.join(table))?;
            writeln!(
                out,
                "{table} {} ({:.1} % of them)",
                HumanBytes(bytes),
                100.0 * bytes as f64 / frames_bytes as f64
            )?;
        }
    }

    let engine = Arc::new(Engine::open(&ledger, config.limits(), &config.vocabulary()).await?);
    let opening = Opening::measure(&engine, &ledger, [SESSION; OPENED]).await?;
    let reel = open(&engine, &ledger, SESSION).await?;
    let mut took = Vec::new();
    let mut bytes = Vec::new();
    let mut random = args.seed;
    for _ in 0..args.seeks {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let time_us = ((random >> 11) as f64 / (1_u64 << 53) as f64 * reel.of.duration_us as f64) as i64;
        let began = Instant::now();
        bytes.push(show(&engine, &reel, SESSION, reel.part_at(time_us)).await?);
        took.push((time_us, began.elapsed()));
    }
    let half_us = reel.of.duration_us / 2;
    let of = |times: &dyn Fn(i64) -> bool| -> Vec<Duration> {
        took.iter().filter(|(time_us, _)| times(*time_us)).map(|(_, took)| *took).collect()
    };
    writeln!(
        out,
        "\n{} segments, {:.0} s; of {} parts at random the largest took {} of JSON\n",
        reel.parts.len(),
        reel.of.duration_us as f64 / 1e6,
        args.seeks,
        HumanBytes(bytes.iter().copied().max().unwrap_or_default() as u64)
    )?;
    write_times(
        &mut out,
        [
            ("its index", opening.index),
            ("index and first part", opening.first),
            ("a part at random", of(&|_| true)),
            ("of the first half", of(&|time_us| time_us < half_us)),
            ("of the second half", of(&|time_us| time_us >= half_us)),
        ],
    )?;
    writeln!(out, "\npeak memory of this process: {}", HumanBytes(rss_bytes_max()?))?;
    Ok(())
}

/// How long opening recordings took.
#[derive(Default)]
pub(super) struct Opening {
    /// Until the index was there.
    pub(super) index: Vec<Duration>,
    /// And until the first part was, which is the first screen.
    pub(super) first: Vec<Duration>,
}

impl Opening {
    /// Opens the recordings of sessions, one after the other.
    pub(super) async fn measure(
        engine: &Arc<Engine>,
        ledger: &Ledger,
        sessions: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, Failure> {
        let mut opening = Self::default();
        for session_id in sessions {
            let session_id = session_id.as_ref();
            let began = Instant::now();
            let reel = open(engine, ledger, session_id).await?;
            opening.index.push(began.elapsed());
            show(engine, &reel, session_id, 0).await?;
            opening.first.push(began.elapsed());
        }
        Ok(opening)
    }
}

/// A table of what things took.
pub(super) fn write_times<'a>(
    out: &mut impl Write,
    rows: impl IntoIterator<Item = (&'a str, Vec<Duration>)>,
) -> Result<(), Failure> {
    writeln!(out, "| | p50 ms | p99 ms | most ms |\n|---|---|---|---|")?;
    for (name, mut took) in rows {
        took.sort_unstable();
        let ms = |took: Duration| took.as_secs_f64() * 1e3;
        let most = took.last().copied().unwrap_or_default();
        let (half, almost) = (quantile(&took, 0.5), quantile(&took, 0.99));
        writeln!(out, "| {name} | {:.1} | {:.1} | {:.1} |", ms(half), ms(almost), ms(most))?;
    }
    Ok(())
}

/// What the index of a recording is made from, as over HTTP.
async fn open(engine: &Arc<Engine>, ledger: &Ledger, session_id: &str) -> Result<Reel, Failure> {
    let looking = Arc::default();
    let shelf = Shelf { engine, ledger, looking: &looking, patient: true };
    let asked = Asked { session_id, source: None, channel: None };
    let found = shelf.find(asked).await.map_err(|absence| match absence {
        Absence::Failed(failure) => failure,
        absence => Failure::check(anyhow::anyhow!(absence.message(session_id))),
    });
    Ok(engine.reel(session_id, found?.0).await?)
}

/// A part as it is sent. Returns its size in bytes.
async fn show(engine: &Engine, reel: &Reel, session_id: &str, number: usize) -> Result<usize, Failure> {
    let changed = || Failure::check(anyhow::anyhow!(Absence::Changed.message(session_id)));
    let (segment, events) = engine.part(reel, number).await?.ok_or_else(changed)?;
    let json = encode::segment(&segment, &events, number + 1 == reel.parts.len()).map_err(Failure::broken)?;
    Ok(json.len())
}

/// Ingests the file as messages of a topic. Returns its size in bytes.
async fn fill(config: &Config, ledger: &Ledger, args: &BenchReplay) -> Result<u64, Failure> {
    let source = Source::new(SourceKind::Asciicast);
    let stream = Stream { cluster: "bench".to_owned(), topic: "casts".to_owned(), partition: 0 };
    let mut direct = Direct::open(ledger).await?;
    direct.begin(&stream).await.map_err(Failure::broken)?;
    let mut file = BufReader::new(File::open(&args.cast)?);
    let (mut message, mut lines, mut offset, mut bytes) = (Vec::new(), 0, 0, 0);
    loop {
        let read = file.read_until(b'\n', &mut message)?;
        bytes += read as u64;
        lines += 1;
        if read > 0 && lines < LINES && message.len() < MESSAGE_BYTES {
            continue;
        }
        if !message.is_empty() {
            let content =
                Content { source: &source, sent_at: Some(now()), key: Some(SESSION), headers: &[], value: &message };
            let _ = direct.place((&stream, offset), &content, now());
            offset += 1;
            message.clear();
            lines = 0;
        }
        if direct.is_full(&config.flush) {
            direct.commit().await.map_err(Failure::broken)?;
        }
        if read == 0 {
            direct.settle().await.map_err(Failure::broken)?;
            return Ok(bytes);
        }
    }
}
