//! `custody bench search`: looking through recordings, and searching them, beside ripgrep on the same sessions as files.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use custody_ingest::bench::quantile;
use custody_ingest::direct::{Content, Direct};
use custody_ingest::source::{Source, SourceKind};
use custody_ledger::{Ledger, Location, Stream};
use custody_query::Engine;
use custody_query::search::{Pattern, Search};
use indicatif::HumanBytes;
use tokio::sync::{mpsc, watch};

use super::replay::{Opening, write_times};
use super::rss_bytes_max;
use crate::activity::now;
use crate::cli::BenchSearch;
use crate::config::Config;
use crate::exit::Failure;
use crate::search::{Found, search};
use crate::{maintain, shutdown};

/// Times that each search is repeated.
const RUNS: usize = 5;

/// Hits that a search gives at most.
const HITS: usize = 1_000_000;

/// Sessions that are opened, or up to twice as many.
const OPENED: usize = 100;

/// A text that is on the screen of one session in a thousand.
const RARE: &str = "export PAYMENTS_TOKEN=tok_";

/// What is looked for: a name for the table, and the pattern.
const SEARCHES: [(&str, &str, bool); 4] = [
    ("a text of one session in 1000", RARE, false),
    ("a text that is nowhere", "no such text anywhere", false),
    ("a regular expression", "tok_[0-9a-f]{8}$", true),
    ("a text of every tenth session", "Traceback", false),
];

/// `custody bench search`
pub(super) async fn run(config: &Config, args: &BenchSearch) -> Result<(), Failure> {
    let casts = args.folder.join("casts");
    let location = Location::parse(&args.folder.join("ledger").to_string_lossy(), std::collections::HashMap::new())?;
    let is_new = std::fs::read_dir(&args.folder).map_or(true, |mut entries| entries.next().is_none());
    if !is_new && !casts.is_dir() {
        let what = format!("{} is neither empty nor what this has written", args.folder.display());
        return Err(Failure::usage(anyhow::anyhow!(what)));
    }
    let ledger = Ledger::create(location).await?;
    let mut out = std::io::stdout();
    if is_new {
        prepare(config, &ledger, &casts, args).await?;
    }

    let engine = Arc::new(Engine::open(&ledger, config.limits(), &config.vocabulary()).await?);
    writeln!(
        out,
        "| search | hits | lines in files | first s | p50 s | ripgrep p50 s | ripgrep / Custody |\n{}",
        "|---".repeat(7) + "|"
    )?;
    for (name, pattern, is_regex) in SEARCHES {
        let asked = Search {
            pattern: if is_regex { Pattern::Regex(pattern.to_owned()) } else { Pattern::Text(pattern.to_owned()) },
            session_id: None,
            actor: None,
            target: None,
            gateway: None,
            from: None,
            to: None,
        };
        let mut took = Vec::new();
        let mut hits = 0;
        for _ in 0..RUNS {
            let began = Instant::now();
            hits = count(&engine, asked.clone()).await?;
            took.push(began.elapsed());
        }
        let first = took.first().copied().unwrap_or_default();
        took.sort_unstable();
        let mine = quantile(&took, 0.5);
        let peer = ripgrep(&casts, pattern, is_regex)?;
        let (lines, theirs, ratio) = match peer {
            None => ("-".to_owned(), "not there".to_owned(), "-".to_owned()),
            Some((lines, theirs)) => {
                let ratio = theirs.as_secs_f64() / mine.as_secs_f64();
                (lines.to_string(), format!("{:.3}", theirs.as_secs_f64()), format!("{ratio:.1}"))
            }
        };
        let (first, mine) = (first.as_secs_f64(), mine.as_secs_f64());
        writeln!(out, "| {name} | {hits} | {lines} | {first:.3} | {mine:.3} | {theirs} | {ratio} |")?;
    }
    writeln!(out)?;
    let sessions = sessions_of(&casts)?;
    let every = (sessions.len() / OPENED).max(1);
    let sessions = sessions.into_iter().step_by(every);
    let Opening { index, first } = Opening::measure(&engine, &ledger, sessions).await?;
    write_times(&mut out, [("the index of a session", index), ("index and first part", first)])?;
    writeln!(out, "\npeak memory of this process: {}", HumanBytes(rss_bytes_max()?))?;
    Ok(())
}

/// Writes the sessions and looks through them, and says what that took.
async fn prepare(config: &Config, ledger: &Ledger, casts: &Path, args: &BenchSearch) -> Result<(), Failure> {
    std::fs::create_dir_all(casts)?;
    let mut out = std::io::stdout();

    let began = Instant::now();
    let (output_bytes, cast_bytes) = fill(config, ledger, casts, args).await?;
    writeln!(
        out,
        "{} sessions, {} of output, {} as asciicast files; written and ingested in {:.1} s",
        args.sessions,
        HumanBytes(output_bytes),
        HumanBytes(cast_bytes),
        began.elapsed().as_secs_f64()
    )?;
    let (_running, stop) = watch::channel(false);
    maintain::look(config, ledger, false, &stop).await?;
    let frames_bytes = size(&args.folder.join("ledger/frames"))?;
    let began = Instant::now();
    let kept = maintain::look_through_all(config, ledger, &shutdown::requested(None)?).await?;
    let seconds = began.elapsed().as_secs_f64();
    maintain::look(config, ledger, false, &stop).await?;
    let index_bytes: u64 =
        ["indexed_recordings", "indexed_texts", "indexed_commands", "indexed_segments", "indexed_trigrams"]
            .iter()
            .map(|table| size(&args.folder.join("ledger").join(table)))
            .sum::<Result<u64, _>>()?;
    writeln!(
        out,
        "looked through in {seconds:.1} s, {:.1} MB/s of output: {} texts, {} commands\n\
         frames {}, index {} ({:.0} % of them, {:.1} % of the output)\n",
        output_bytes as f64 / 1e6 / seconds,
        kept.texts,
        kept.commands,
        HumanBytes(frames_bytes),
        HumanBytes(index_bytes),
        100.0 * index_bytes as f64 / frames_bytes as f64,
        100.0 * index_bytes as f64 / output_bytes as f64
    )?;
    Ok(())
}

/// Number of hits of a search, as whoever asks gets them: with who was there and why.
async fn count(engine: &Engine, asked: Search) -> Result<u64, Failure> {
    let (to, mut found) = mpsc::channel(64);
    let counting = async {
        let mut hits = 0;
        while let Some(one) = found.recv().await {
            hits += u64::from(matches!(one, Found::Hit(_)));
        }
        hits
    };
    let searching = async {
        let done = search(engine, asked, HITS, None, &to).await;
        drop(to);
        done
    };
    let (hits, done) = tokio::join!(counting, searching);
    done?;
    Ok(hits)
}

/// Lines that match and the time that it takes; `None` where there is no ripgrep.
fn ripgrep(casts: &Path, pattern: &str, is_regex: bool) -> Result<Option<(u64, Duration)>, Failure> {
    let mut took = Vec::new();
    let mut lines = 0;
    for _ in 0..RUNS {
        let mut command = Command::new("rg");
        // Without a capital letter Custody's search takes any; a line of a file has its text in quotes at its end.
        command.args(["--no-config", "--no-filename", "--count", "--smart-case"]);
        command.args(if is_regex { &[] } else { &["--fixed-strings"][..] });
        let pattern = if is_regex { pattern.replace('$', "") } else { pattern.to_owned() };
        command.arg("--").arg(pattern).arg(casts).stdin(Stdio::null()).stderr(Stdio::inherit());
        let began = Instant::now();
        let Ok(output) = command.output() else { return Ok(None) };
        took.push(began.elapsed());
        let text = String::from_utf8_lossy(&output.stdout);
        lines = text.lines().filter_map(|line| line.parse::<u64>().ok()).sum();
    }
    took.sort_unstable();
    Ok(Some((lines, quantile(&took, 0.5))))
}

/// Writes sessions as files and into a ledger. Returns the bytes of their output, and of the files.
async fn fill(config: &Config, ledger: &Ledger, casts: &Path, args: &BenchSearch) -> Result<(u64, u64), Failure> {
    let source = Source::new(SourceKind::Asciicast);
    let stream = Stream { cluster: "bench".to_owned(), topic: "casts".to_owned(), partition: 0 };
    let mut direct = Direct::open(ledger).await?;
    direct.begin(&stream).await.map_err(Failure::broken)?;
    let (mut output_bytes, mut cast_bytes) = (0, 0);
    for number in 0..args.sessions {
        let session = Session::new(number, args.output_kb * 1024);
        let id = format!("session-{number:08}");
        let folder = casts.join(format!("{:04}", number / 1000));
        if number % 1000 == 0 {
            std::fs::create_dir_all(&folder)?;
        }
        std::fs::write(folder.join(format!("{id}.cast")), &session.cast)?;
        let content = Content {
            source: &source,
            sent_at: Some(now()),
            key: Some(&id),
            headers: &[],
            value: session.cast.as_bytes(),
        };
        let at = i64::try_from(number).unwrap_or(i64::MAX);
        let _ = direct.place((&stream, at), &content, now());
        output_bytes += session.output_bytes;
        cast_bytes += session.cast.len() as u64;
        if direct.is_full(&config.flush) {
            direct.commit().await.map_err(Failure::broken)?;
        }
    }
    direct.settle().await.map_err(Failure::broken)?;
    Ok((output_bytes, cast_bytes))
}

/// The ids of the sessions that were written as files.
fn sessions_of(casts: &Path) -> Result<Vec<String>, Failure> {
    let mut sessions = Vec::new();
    for folder in std::fs::read_dir(casts)? {
        for file in std::fs::read_dir(folder?.path())? {
            sessions.extend(file?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    sessions.sort_unstable();
    Ok(sessions)
}

/// Bytes of the files of a folder.
pub(super) fn size(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_log = entry.file_name() == "_delta_log";
        bytes += match entry.metadata()? {
            meta if meta.is_dir() && !is_log => size(&entry.path())?,
            meta if meta.is_file() => meta.len(),
            _ => 0,
        };
    }
    Ok(bytes)
}

/// A session at a shell, as an asciicast of version 2: prompts, commands that are typed, listings and logs. The same
/// number gives the same session.
struct Session {
    cast: String,
    output_bytes: u64,
    time_ms: u64,
    random: u64,
}

const WORDS: [&str; 24] = [
    "server",
    "request",
    "timeout",
    "connection",
    "database",
    "payments",
    "ledger",
    "retry",
    "worker",
    "queue",
    "started",
    "finished",
    "upstream",
    "latency",
    "handler",
    "session",
    "token",
    "refused",
    "deploy",
    "rollback",
    "replica",
    "index",
    "vacuum",
    "checkpoint",
];

const COMMANDS: [&str; 8] = [
    "ls -la /var/log",
    "journalctl -u payments -n 50",
    "kubectl get pods",
    "psql -c 'select 1'",
    "tail -f app.log",
    "df -h",
    "systemctl status ledger",
    "grep -r retry src",
];

impl Session {
    fn new(number: u64, output_bytes: u64) -> Self {
        let header = "{\"version\":2,\"width\":120,\"height\":40,\"timestamp\":1767225600}\n".to_owned();
        let mut session = Self { cast: header, output_bytes: 0, time_ms: 0, random: number.wrapping_add(1) };
        let mut turn = 0;
        // A message has no more than 4096 lines.
        while session.output_bytes < output_bytes && session.cast.len() < output_bytes as usize * 3 {
            session.print(900, "\x1b[32mops@db-1\x1b[0m:~$ ");
            let command = session.pick(&COMMANDS);
            for piece in command.as_bytes().chunks(4) {
                session.print(120, &String::from_utf8_lossy(piece));
            }
            let mut listing = "\r\n".to_owned();
            for _ in 0..8 + session.next() % 16 {
                let (size, id) = (session.next() % 100_000, session.next());
                let (one, two, three) = (session.pick(&WORDS), session.pick(&WORDS), session.pick(&WORDS));
                let _ = write!(listing, "\x1b[2m{size:>8}\x1b[0m {one} {two}={id:016x} {three}\r\n");
            }
            session.print(60, &listing);
            if turn == 1 && number % 1000 == 500 {
                let id = session.next() as u32;
                session.print(300, &format!("{RARE}{id:08x}\r\n"));
            }
            if turn == 2 && number % 10 == 3 {
                session.print(300, "\x1b[31mTraceback\x1b[0m (most recent call last):\r\n");
            }
            turn += 1;
        }
        session
    }

    fn print(&mut self, after_ms: u64, text: &str) {
        self.time_ms += after_ms;
        self.output_bytes += text.len() as u64;
        let (seconds, ms) = (self.time_ms / 1000, self.time_ms % 1000);
        let text = serde_json::Value::from(text);
        let _ = writeln!(self.cast, "[{seconds}.{ms:03},\"o\",{text}]");
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        let at = self.next() as usize % of.len().max(1);
        of.get(at).copied().unwrap_or_default()
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
