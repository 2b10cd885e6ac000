//! Commands that look into the ledger: `sessions`, `show`, `sql`.

pub(crate) mod text;

use std::io::{self, Read, Write};

use custody_ledger::Ledger;
use custody_query::format::{Format, RowWriter};
use custody_query::sessions::{SessionDetail, SessionFilter, Time};
use custody_query::{Bounds, Engine, QueryStream, visible};
use custody_replay::Recording;
use custody_schemas::activity::Activity;
use indicatif::{ProgressBar, ProgressStyle};

use crate::activity::{Ended, Journal, asked};
use crate::cli::{RowFormat, Sessions, Show, Sql};
use crate::config::Config;
use crate::exit::Failure;

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
        approver: args.approver,
        source: args.gateway,
        recording: args.recording,
        finding: args.finding,
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
        let Some(session) = engine.session(&args.session).await? else {
            return Err(unknown(&engine, &args.session).await);
        };
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

/// Says that nobody knows a session, and which are like it.
pub(crate) async fn unknown(engine: &Engine, session: &str) -> Failure {
    let like = engine.like(session).await.unwrap_or_default();
    let session = visible(session);
    let like = match like.is_empty() {
        true => "`custody sessions` lists those that are".to_owned(),
        false => format!("like it are {}", visible(&like.join(", "))),
    };
    Failure::check(anyhow::anyhow!("no session {session:?} is in the ledger; {like}"))
}

/// The recording of a session, if there is one. Frames without output (the size of a terminal, which audit events tell
/// too) are none.
pub(crate) async fn recording_of(engine: &Engine, session: &SessionDetail) -> Result<Option<Recording>, Failure> {
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
