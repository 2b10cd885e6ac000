//! Commands that look into the ledger: `sessions`, `show`, `sql`, `replay`, `export`.

pub(crate) mod text;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use custody_ledger::Ledger;
use custody_query::format::{Format, RowWriter};
use custody_query::sessions::{LinkedSession, SessionDetail, SessionFilter, Time};
use custody_query::{Bounds, Engine, QueryStream, visible};
use custody_replay::player::{self, PlayOptions, Start};
use custody_replay::{Recording, encode};
use custody_schemas::activity::Activity;
use custody_schemas::time::to_rfc3339;
use indicatif::{ProgressBar, ProgressStyle};

use crate::activity::{Ended, Entry, Journal, asked};
use crate::cli::{CastFormat, Export, Moment, Replay, RowFormat, Sessions, Show, Sql};
use crate::config::Config;
use crate::exit::Failure;
use crate::shutdown;

/// The ledger for questions, and where it is written down that they are asked.
pub(crate) async fn open(config: &Config) -> Result<(Engine, Journal), Failure> {
    let ledger = Ledger::existing(config.location()?).await?;
    let engine = Engine::open(&ledger, config.limits(), &config.vocabulary()).await?;
    Ok((engine, Journal::open(config, &ledger, "cli").await?))
}

/// The same for reports, which read what days that are over say of their sessions: that is kept first.
pub(crate) async fn open_for_reports(config: &Config) -> Result<(Engine, Journal), Failure> {
    let (engine, journal) = open(config).await?;
    let bar = ProgressBar::new(0);
    let style =
        ProgressStyle::with_template("keeping what past days say of their sessions {bar:30} {pos}/{len} months");
    bar.set_style(style.map_err(Failure::broken)?);
    let kept = engine
        .keep(&mut |kept| {
            bar.set_length(kept.of as u64);
            bar.set_position(kept.months as u64);
        })
        .await;
    // A report is the same without, and takes longer.
    if let Err(error) = kept {
        tracing::warn!(%error, "what past days say of their sessions could not be kept in query.cache");
    }
    bar.finish_and_clear();
    Ok((engine, journal))
}

/// `custody sql`
pub(crate) async fn sql(config: &Config, args: &Sql) -> Result<(), Failure> {
    let statement = if args.statement == "-" {
        let mut statement = String::new();
        io::stdin().read_to_string(&mut statement)?;
        statement
    } else {
        args.statement.clone()
    };
    let bounds = Bounds { rows: Some(args.rows_max.unwrap_or(config.query.rows_max)), ..config.bounds() };
    let (engine, journal) = open(config).await?;
    let work = async {
        let stream = engine.query_as_of(&statement, args.state.unwrap_or_default(), bounds).await?;
        Ok(((), print_rows(stream, args.format).await?))
    };
    journal.during(Activity { sql: Some(statement.clone()), ..asked("sql", None) }, work).await
}

async fn print_rows(stream: QueryStream, format: RowFormat) -> Result<Ended, Failure> {
    let format = match format {
        RowFormat::Table => Format::Table,
        RowFormat::Csv => Format::Csv,
        RowFormat::Json => Format::Json,
        RowFormat::Ndjson => Format::Ndjson,
    };
    let writer = RowWriter::new(io::stdout().lock(), format, &stream.schema())?;
    write_rows(stream, writer).await
}

/// Writes every row of an answer, for as long as somebody reads them.
pub(crate) async fn write_rows(
    mut stream: QueryStream,
    mut writer: RowWriter<io::StdoutLock<'_>>,
) -> Result<Ended, Failure> {
    let mut rows = 0;
    let ended = |rows: u64, cut: bool| Ok(Ended { rows: Some(rows), cut, ..Ended::default() });
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        if is_closed(writer.write(&batch))? {
            return ended(rows, true);
        }
    }
    if is_closed(writer.finish().and_then(|mut out| out.flush()))? {
        return ended(rows, true);
    }
    if stream.truncated() {
        eprintln!("custody: cut off at the bound on rows (--rows-max, query.rows_max): there are more");
    }
    ended(rows, stream.truncated())
}

/// Whether whoever reads the output has had enough (`| head`), which is no failure.
pub(crate) fn is_closed(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(error),
    }
}

/// `custody sessions`
pub(crate) async fn sessions(config: &Config, args: Sessions) -> Result<(), Failure> {
    let filter = SessionFilter {
        actor: args.actor,
        target: args.target,
        state: args.state,
        request_id: args.request,
        link_method: args.link,
        reason: args.reason,
        from: args.from.map(Time),
        to: args.to.map(Time),
        ..SessionFilter::default()
    };
    let (engine, journal) = open(config).await?;
    let detail = serde_json::json!({ "filter": format!("{filter:?}") }).to_string();
    let work = async {
        let page = engine.sessions(&filter, args.limit).await?;
        let count = page.sessions.len() as u64;
        Ok((page, Ended::rows(count)))
    };
    let page = journal.during(Activity { detail, ..asked("sessions", None) }, work).await?;
    let mut out = io::stdout().lock();
    let written = match args.format {
        RowFormat::Table => text::sessions(&page, &mut out),
        RowFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &page.sessions).map_err(io::Error::from).and_then(|()| writeln!(out))
        }
        RowFormat::Ndjson => page.sessions.iter().try_for_each(|session| {
            serde_json::to_writer(&mut out, session)?;
            writeln!(out)
        }),
        RowFormat::Csv => text::sessions_csv(&page, &mut out),
    };
    is_closed(written)?;
    Ok(())
}

/// `custody show`
pub(crate) async fn session(config: &Config, args: &Show) -> Result<(), Failure> {
    let (engine, journal) = open(config).await?;
    let work = async {
        let session = engine.session(&args.session).await?.ok_or_else(|| unknown(&args.session))?;
        let recording = if args.json { None } else { recording_of(&engine, &session).await? };
        Ok(((session, recording), Ended::rows(1)))
    };
    let (session, recording) = journal.during(asked("show", Some(&args.session)), work).await?;
    let mut out = io::stdout().lock();
    let written = if args.json {
        serde_json::to_writer_pretty(&mut out, &session).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        text::session(&session, recording.as_ref(), &mut out)
    };
    is_closed(written)?;
    Ok(())
}

fn unknown(session: &str) -> Failure {
    let session = visible(session);
    Failure::check(anyhow::anyhow!("no session {session:?} is in the ledger; `custody sessions` lists those that are"))
}

/// The recording of a session, if there is one. Frames without output (the size of a terminal, which audit events tell
/// too) are none.
async fn recording_of(engine: &Engine, session: &SessionDetail) -> Result<Option<Recording>, Failure> {
    let session = &session.linked.session;
    if session.output_bytes == 0 {
        return Ok(None);
    }
    let frames = engine.frames(&session.source, &session.session_id).await?;
    let channels = custody_replay::channels(&session.session_id, frames.clone());
    if channels.len() > 1 {
        let names: Vec<_> = channels.iter().filter_map(|channel| channel.name.as_deref()).map(visible).collect();
        eprintln!("custody: the session has {} recordings (--channel): {}", channels.len(), names.join(", "));
    }
    Ok(Some(Recording::from_frames(&*session.session_id, frames)))
}

async fn recording(
    config: &Config,
    verb: &str,
    session_id: &str,
    channel: Option<&str>,
) -> Result<(Recording, LinkedSession, Entry), Failure> {
    let (engine, journal) = open(config).await?;
    let entry = journal.begin(asked(verb, Some(session_id))).await?;
    let found = find_recording(&engine, session_id, channel).await;
    match found {
        Ok((recording, session)) => Ok((recording, session, entry)),
        Err(failure) => {
            entry.end(Err(&failure)).await;
            Err(failure)
        }
    }
}

async fn find_recording(
    engine: &Engine,
    session_id: &str,
    channel: Option<&str>,
) -> Result<(Recording, LinkedSession), Failure> {
    let session = engine.session(session_id).await?.ok_or_else(|| unknown(session_id))?;
    if let Some(channel) = channel {
        let of = &session.linked.session;
        let frames = engine.frames(&of.source, &of.session_id).await?;
        let channels = custody_replay::channels(session_id, frames.clone());
        if !channels.iter().any(|have| have.name.as_deref() == Some(channel)) {
            let names: Vec<_> = channels.iter().filter_map(|channel| channel.name.as_deref()).map(visible).collect();
            let there = if names.is_empty() { "it has no channels".to_owned() } else { names.join(", ") };
            return Err(Failure::usage(anyhow::anyhow!("the session has no channel {:?}: {there}", visible(channel))));
        }
        return Ok((Recording::from_channel(session_id, Some(channel), frames), session.linked));
    }
    let recording = recording_of(engine, &session).await?.ok_or_else(|| {
        Failure::check(anyhow::anyhow!(
            "the session {:?} is in the ledger, its recording is not: it was not recorded, or the gateway does not \
             publish recordings (Teleport's event handler does with skip-session-types = [])",
            visible(session_id)
        ))
    })?;
    Ok((recording, session.linked))
}

/// The time of a moment in microseconds since the start of a recording. A time since the start may lie outside of it; an
/// instant that does is mistaken.
fn time_us(recording: &Recording, moment: Moment) -> Result<i64, Failure> {
    let at = match moment {
        Moment::Elapsed(time_us) => return Ok(time_us),
        Moment::At(at) => at,
    };
    let Some(started_at) = recording.started_at else {
        return Err(Failure::usage(anyhow::anyhow!(
            "nothing in the recording says when it was made; give a time since its start, like 12:30"
        )));
    };
    let ended_at = started_at.saturating_add(recording.duration_us);
    if !(started_at..=ended_at).contains(&at) {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} is not in the recording, which goes from {} to {}",
            to_rfc3339(at),
            to_rfc3339(started_at),
            to_rfc3339(ended_at)
        )));
    }
    Ok(at.saturating_sub(started_at))
}

/// `custody replay`
pub(crate) async fn replay(config: &Config, args: &Replay) -> Result<(), Failure> {
    if !player::is_terminal() {
        return Err(Failure::usage(anyhow::anyhow!(
            "replay needs a terminal; `custody export {} --as text` writes what was on the screen",
            visible(&args.session)
        )));
    }
    let (recording, session, entry) = recording(config, "replay", &args.session, args.channel.as_deref()).await?;
    let start = match (&args.at_match, args.at) {
        (Some(text), _) => Start::Match(text.clone()),
        (None, None) => Start::default(),
        (None, Some(moment)) => match time_us(&recording, moment) {
            Ok(time_us) => Start::At(time_us),
            Err(failure) => return ended(entry, Err(failure)).await,
        },
    };
    let stop = shutdown::requested(None)?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let cancel = cancelled.clone();
    tokio::spawn(async move {
        shutdown::wait(stop).await;
        cancel.store(true, Ordering::Release);
    });
    let idle_limit_us = args.idle_limit.map(|limit| i64::try_from(limit.as_micros()).unwrap_or(i64::MAX));
    let facts = text::facts(&session);
    let options = PlayOptions { speed: args.speed, idle_limit_us, start, facts, ..PlayOptions::default() };
    let played = tokio::task::spawn_blocking(move || player::play(&recording, &options, &cancelled)).await;
    let played = played.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    ended(entry, played.map(drop).map_err(Failure::from)).await
}

/// `custody export`
pub(crate) async fn export(config: &Config, args: &Export) -> Result<(), Failure> {
    let (recording, _, entry) = recording(config, "export", &args.session, args.channel.as_deref()).await?;
    for finding in &recording.findings {
        eprintln!("custody: the recording is incomplete: {finding}");
    }
    let recording = match part(recording, args.from, args.to) {
        Ok(part) => part,
        Err(failure) => return ended(entry, Err(failure)).await,
    };
    let written = match &args.output {
        None => is_closed(write(&recording, args.format, &mut io::stdout().lock())).map(drop),
        Some(path) => write_file(&recording, args.format, path),
    };
    ended(entry, written.map_err(Failure::from)).await
}

/// The part of a recording between two moments.
fn part(recording: Recording, from: Option<Moment>, to: Option<Moment>) -> Result<Recording, Failure> {
    if from.is_none() && to.is_none() {
        return Ok(recording);
    }
    let from_us = from.map_or(Ok(0), |from| time_us(&recording, from))?;
    let to_us = to.map_or(Ok(recording.duration_us), |to| time_us(&recording, to))?;
    // What is asked for may begin before the recording and end after it, but not lie outside of it.
    if from_us > recording.duration_us || to_us < 0 || to_us < from_us {
        return Err(Failure::usage(anyhow::anyhow!(
            "nothing was recorded between --from and --to: the recording takes {:.1} s",
            recording.duration_us as f64 / 1e6
        )));
    }
    Ok(recording.cut(from_us, to_us))
}

async fn ended(entry: Entry, done: Result<(), Failure>) -> Result<(), Failure> {
    entry.end(done.as_ref().map(|()| Ended::default())).await;
    done
}

/// Writes beside the file and renames, so that nobody finds half of a recording. What is there and no file (a device, a
/// pipe) is written into: a rename would put a file in its place.
fn write_file(recording: &Recording, format: CastFormat, path: &Path) -> io::Result<()> {
    if path.metadata().is_ok_and(|meta| !meta.is_file()) {
        let mut out = io::BufWriter::new(File::options().write(true).open(path)?);
        return write(recording, format, &mut out);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let mut file = io::BufWriter::new(File::create(&beside)?);
    write(recording, format, &mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(beside, path)
}

fn write(recording: &Recording, format: CastFormat, out: &mut impl Write) -> io::Result<()> {
    match format {
        CastFormat::AsciicastV2 => encode::asciicast_v2(recording, out)?,
        CastFormat::AsciicastV3 => encode::asciicast_v3(recording, out)?,
        CastFormat::Ttyrec => encode::ttyrec(recording, out)?,
        CastFormat::Json => encode::json(recording, out)?,
        CastFormat::Raw => encode::raw(recording, out)?,
        CastFormat::Text => encode::text(recording, out)?,
        CastFormat::Transcript => encode::transcript(recording, out)?,
    }
    out.flush()
}
