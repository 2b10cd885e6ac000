//! Commands that show a recording: `replay`, `export`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use custody_query::sessions::{LinkedSession, Time};
use custody_query::{Engine, Versions, visible};
use custody_replay::encode::Facts;
use custody_replay::player::{self, PlayOptions, Start};
use custody_replay::{Recording, encode};
use custody_schemas::frame::Code;
use custody_schemas::time::to_rfc3339;

use crate::activity::{Ended, Entry, asked, now, operator};
use crate::cli::{CastFormat, Export, Moment, Replay};
use crate::config::Config;
use crate::exit::Failure;
use crate::show::{is_closed, open, recording_of, text, unknown};
use crate::shutdown;

/// A recording, and what is known of its session.
struct Opened {
    recording: Recording,
    session: LinkedSession,
    /// What it is made from.
    versions: Versions,
}

async fn recording(
    config: &Config,
    verb: &str,
    session_id: &str,
    channel: Option<&str>,
) -> Result<(Opened, Entry), Failure> {
    let (engine, journal) = open(config).await?;
    let entry = journal.begin(asked(verb, Some(session_id))).await?;
    let found = find_recording(&engine, session_id, channel).await;
    match found {
        Ok(opened) => Ok((opened, entry)),
        Err(failure) => {
            entry.end(Err(&failure)).await;
            Err(failure)
        }
    }
}

async fn find_recording(engine: &Engine, session_id: &str, channel: Option<&str>) -> Result<Opened, Failure> {
    let Some(session) = engine.session(session_id).await? else {
        return Err(unknown(engine, session_id).await);
    };
    if let Some(channel) = channel {
        let of = &session.linked.session;
        let frames = engine.frames(&of.source, &of.session_id).await?;
        let channels = custody_replay::channels(session_id, frames.clone());
        if !channels.iter().any(|have| have.name.as_deref() == Some(channel)) {
            let names: Vec<_> = channels.iter().filter_map(|channel| channel.name.as_deref()).map(visible).collect();
            let there = if names.is_empty() { "it has no channels".to_owned() } else { names.join(", ") };
            return Err(Failure::usage(anyhow::anyhow!("the session has no channel {:?}: {there}", visible(channel))));
        }
        let recording = Recording::from_channel(session_id, Some(channel), frames);
        return Ok(Opened { recording, session: session.linked, versions: session.versions });
    }
    let recording = recording_of(engine, &session).await?.ok_or_else(|| {
        Failure::check(anyhow::anyhow!(
            "the session {:?} is in the ledger, its recording is not: it was not recorded, or the gateway does not \
             publish recordings (Teleport's event handler does with skip-session-types = [])",
            visible(session_id)
        ))
    })?;
    Ok(Opened { recording, session: session.linked, versions: session.versions })
}

/// The time of a moment in microseconds since the start of a recording. It may lie outside of it.
fn time_us(recording: &Recording, moment: Moment) -> Result<i64, Failure> {
    match (moment, recording.started_at) {
        (Moment::Elapsed(time_us), _) => Ok(time_us),
        (Moment::At(at), Some(started_at)) => Ok(at.saturating_sub(started_at)),
        (Moment::At(_), None) => Err(Failure::usage(anyhow::anyhow!(
            "nothing in the recording says when it was made; give a time since its start, like 12:30"
        ))),
    }
}

/// Where to begin to play. An instant outside of the recording is mistaken.
fn begin_at(recording: &Recording, moment: Moment) -> Result<Start, Failure> {
    let time_us = time_us(recording, moment)?;
    if let (Moment::At(at), Some(started_at)) = (moment, recording.started_at)
        && !(0..=recording.duration_us).contains(&time_us)
    {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} is not in the recording, which goes from {} to {}",
            to_rfc3339(at),
            to_rfc3339(started_at),
            to_rfc3339(started_at.saturating_add(recording.duration_us))
        )));
    }
    Ok(Start::At(time_us))
}

/// `custody replay`
pub(crate) async fn replay(config: &Config, args: &Replay) -> Result<(), Failure> {
    if !player::is_terminal() {
        return Err(Failure::usage(anyhow::anyhow!(
            "replay needs a terminal; `custody export {} --as text` writes what was on the screen",
            visible(&args.session)
        )));
    }
    let (Opened { recording, session, .. }, entry) =
        recording(config, "replay", &args.session, args.channel.as_deref()).await?;
    let start = match (&args.at_match, args.at) {
        (Some(text), _) => Start::Match(text.clone()),
        (None, None) => Start::default(),
        (None, Some(moment)) => match begin_at(&recording, moment) {
            Ok(start) => start,
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
    let (Opened { recording, session, versions }, entry) =
        recording(config, "export", &args.session, args.channel.as_deref()).await?;
    for finding in &recording.findings {
        eprintln!("custody: the recording is incomplete: {finding}");
    }
    let recording = match part(recording, args.from, args.to) {
        Ok(part) => part,
        Err(failure) => return ended(entry, Err(failure)).await,
    };
    let exported = Exported { recording: &recording, session: &session, versions, format: args.format };
    let written = match &args.output {
        None => is_closed(exported.write(&mut io::stdout().lock())).map(drop),
        Some(path) => exported.write_file(path),
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

/// What is written for other tools.
struct Exported<'a> {
    recording: &'a Recording,
    session: &'a LinkedSession,
    versions: Versions,
    format: CastFormat,
}

impl Exported<'_> {
    /// Writes beside the file and renames, so that nobody finds half of a recording. What is there and no file (a device,
    /// a pipe) is written into: a rename would put a file in its place.
    fn write_file(&self, path: &Path) -> io::Result<()> {
        if path.metadata().is_ok_and(|meta| !meta.is_file()) {
            let mut out = io::BufWriter::new(File::options().write(true).open(path)?);
            return self.write(&mut out);
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".partial");
        let mut file = io::BufWriter::new(File::create(&beside)?);
        self.write(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(beside, path)
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let recording = self.recording;
        match self.format {
            CastFormat::AsciicastV2 => encode::asciicast_v2(recording, out)?,
            CastFormat::AsciicastV3 => encode::asciicast_v3(recording, out)?,
            CastFormat::Ttyrec => encode::ttyrec(recording, out)?,
            CastFormat::Json => encode::json(recording, out)?,
            CastFormat::Raw => encode::raw(recording, out)?,
            CastFormat::Text => encode::text(recording, out)?,
            CastFormat::Transcript => encode::transcript(recording, out)?,
            CastFormat::Html => {
                encode::html(recording, &self.facts(), &mut Bounded { out: &mut *out, left: HTML_BYTES_MAX })?
            }
        }
        out.flush()
    }

    /// What a page says beside the recording, for somebody who has no Custody.
    fn facts(&self) -> Facts {
        let LinkedSession { session, links } = self.session;
        let time = |at: Option<Time>| at.map(|Time(at)| to_rfc3339(at));
        let mut facts: Vec<(String, Option<String>)> = vec![
            ("Session".to_owned(), Some(session.session_id.clone())),
            ("Person".to_owned(), session.actor.clone()),
            ("Target".to_owned(), session.target.clone()),
            ("Account".to_owned(), session.login.clone()),
            (
                "Gateway".to_owned(),
                Some(
                    [Some(session.source.clone()), session.cluster.clone()]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join(" "),
                ),
            ),
            ("Began".to_owned(), time(session.started_at)),
            ("Ended".to_owned(), time(session.ended_at)),
        ];
        for link in links {
            let approvers = (!link.approvers.is_empty()).then(|| link.approvers.join(", "));
            let late = if link.approved_before_start == Some(false) { ", after the session began" } else { "" };
            let nobody = || "nobody is known to have said yes".to_owned();
            facts.push(("Reason".to_owned(), link.reason.clone().or_else(|| session.reason.clone())));
            facts.push(("Approved by".to_owned(), Some(approvers.map_or_else(nobody, |by| by + late))));
            facts.push(("Approved at".to_owned(), time(link.approved_at)));
            let known = link.link_facts.as_deref().unwrap_or("no access request or policy decision was found");
            facts.push(("Link".to_owned(), Some(format!("{}: {known}", link.link_method))));
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut bytes = 0;
        for event in self.recording.recorded().iter().filter(|event| event.code == Code::Output) {
            hash.update(&event.data);
            bytes += event.data.len();
        }
        let digits: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let provenance = [
            ("Written by", format!("custody {}, {}", env!("CARGO_PKG_VERSION"), operator())),
            ("Written at", to_rfc3339(now())),
            ("Ledger", self.versions.to_string()),
            ("Output", format!("{bytes} bytes, SHA-256 {digits}")),
        ];
        Facts {
            title: format!("Session {}", session.session_id),
            session: facts.into_iter().filter_map(|(label, value)| Some((label, value?))).collect(),
            provenance: provenance.map(|(label, value)| (label.to_owned(), value)).into(),
        }
    }
}

/// A page may be this large: a browser holds all of it, several times.
const HTML_BYTES_MAX: usize = 256 << 20;

/// Takes so many bytes and then no more.
struct Bounded<W> {
    out: W,
    left: usize,
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| {
            io::Error::other(
                "the page would be too large for a browser: write a part of the recording, with --from and --to",
            )
        })?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
