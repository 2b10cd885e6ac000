//! Commands that show a recording: `replay`, `export`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use custody_ledger::Ledger;
use custody_query::reels::{RecordingState, Reel};
use custody_query::sessions::{LinkedSession, SessionDetail, Time};
use custody_query::{Engine, QueryError, Versions, visible};
use custody_replay::encode::Facts;
use custody_replay::player::{self, Ending, PlayOptions, Start, Watched};
use custody_replay::{Cut, Recording, encode};
use custody_schemas::frame::Code;
use custody_schemas::time::{Micros, to_rfc3339};

use crate::activity::{Ended, Entry, Journal, asked, now, operator};
use crate::cli::{CastFormat, Export, Moment, Replay};
use crate::config::Config;
use crate::exit::Failure;
use crate::reels::{Absence, Asked, Looking, Shelf, Watching};
use crate::show::{is_closed, text, unknown};
use crate::shutdown;

/// A recording, and what is known of its session.
pub(crate) struct Opened {
    recording: Recording,
    /// Names of the recordings that the session has, where it has several and none was asked for.
    others: Vec<String>,
    /// What is wrong with it, where only a part of it is at hand.
    findings: Vec<String>,
    session: LinkedSession,
    /// How far it can be trusted.
    state: Option<RecordingState>,
    /// What it is made from.
    versions: Versions,
}

/// Where recordings are read from.
pub(crate) struct Source {
    pub(crate) engine: Arc<Engine>,
    pub(crate) ledger: Ledger,
    pub(crate) looking: Looking,
    /// A long one that nobody has looked through is waited for.
    pub(crate) patient: bool,
}

/// The same, and where it is written down who asks for them.
struct Desk {
    source: Source,
    journal: Journal,
}

/// So much of a recording that is too long to be held is read at once, in bytes of output.
const PART_BYTES: u64 = 128 << 20;

impl Desk {
    async fn open(config: &Config) -> Result<Self, Failure> {
        let ledger = Ledger::existing(config.location()?).await?;
        let engine = Arc::new(Engine::open(&ledger, config.limits(), &config.vocabulary()).await?);
        let journal = Journal::open(config, &ledger, "cli").await?;
        Ok(Self { source: Source { engine, ledger, looking: Arc::default(), patient: true }, journal })
    }

    /// Reads a recording, having written down who asks for it. Of one that is too long a part between two moments.
    async fn recording(
        &self,
        verb: &str,
        (session_id, channel): (&str, Option<&str>),
        between: (Option<Moment>, Option<Moment>),
    ) -> Result<(Opened, Entry), Failure> {
        let entry = self.journal.begin(asked(verb, Some(session_id))).await?;
        match self.source.find(Asked { session_id, source: None, channel }, between).await {
            Ok(opened) => {
                if !opened.others.is_empty() {
                    let names = visible(&opened.others.join(", ")).into_owned();
                    eprintln!("custody: the session has {} recordings (--channel): {names}", opened.others.len());
                }
                Ok((opened, entry))
            }
            Err(absence) => {
                let failure = self.source.failure(absence, session_id).await;
                entry.end(Err(&failure)).await;
                Err(failure)
            }
        }
    }
}

impl Source {
    /// A recording. Of one that is too long a part between two moments.
    pub(crate) async fn find(
        &self,
        Asked { session_id, source, channel }: Asked<'_>,
        between: (Option<Moment>, Option<Moment>),
    ) -> Result<Opened, Absence> {
        let engine = self.engine.as_ref();
        let SessionDetail { linked: mut session, mut recording_states, versions, .. } =
            engine.session(session_id).await?.ok_or(Absence::Session)?;
        if let Some(source) = source.filter(|source| *source != session.session.source) {
            let (all, _) = engine.linked_sessions(&[session_id]).await?;
            session = all.into_iter().find(|one| one.session.source == source).ok_or(Absence::Session)?;
        }
        let of = &session.session;
        let state = recording_states.remove(&of.source);
        let frames = match engine.frames(&of.source, session_id).await {
            Ok(frames) => frames,
            Err(QueryError::TooLarge { .. }) => {
                let asked = Asked { session_id, source: Some(&of.source), channel };
                let (recording, findings) = self.stretch(asked, between).await?;
                let others = Vec::new();
                return Ok(Opened { recording, others, findings, session, state, versions });
            }
            Err(error) => return Err(error.into()),
        };
        // The size of a terminal is told by audit events too, and is no recording.
        if frames.iter().flat_map(|frame| &frame.pieces).all(|piece| piece.code == Code::Resize) {
            return Err(Absence::Recording);
        }
        let channels = custody_replay::channels(session_id, frames.clone());
        let names: Vec<_> = channels.iter().filter_map(|channel| channel.name.clone()).collect();
        if channel.is_some() && !channels.iter().any(|have| have.name.as_deref() == channel) {
            return Err(Absence::Channel(names));
        }
        let recording = match channel {
            Some(_) => Recording::from_channel(session_id, channel, frames),
            None => Recording::from_frames(session_id, frames),
        };
        let others = if channel.is_none() && channels.len() > 1 { names } else { Vec::new() };
        let findings = recording.findings.iter().map(ToString::to_string).collect();
        Ok(Opened { recording, others, findings, session, state, versions })
    }

    /// A part of a recording that is too long to be held, and what is wrong with all of it.
    async fn stretch(
        &self,
        asked: Asked<'_>,
        (from, to): (Option<Moment>, Option<Moment>),
    ) -> Result<(Recording, Vec<String>), Absence> {
        let reel = self.reel(asked).await?;
        let started_at = reel.of.started_at.map(|Time(at)| at);
        let from_us = from.map_or(Ok(0), |from| time_us(started_at, from))?;
        let to_us = to.map_or(Ok(i64::MAX), |to| time_us(started_at, to))?;
        let read = self.engine.stretch(&reel, (from_us, to_us), PART_BYTES).await?;
        Ok((read.ok_or(Absence::Changed)?, reel.of.findings.lines().map(str::to_owned).collect()))
    }

    async fn reel(&self, asked: Asked<'_>) -> Result<Reel, Absence> {
        let Self { engine, ledger, looking, patient } = self;
        let (of, _) = Shelf { engine, ledger, looking, patient: *patient }.find(asked).await?;
        Ok(engine.reel(asked.session_id, of).await?)
    }

    /// How a command ends that has nothing to show.
    async fn failure(&self, absence: Absence, session_id: &str) -> Failure {
        let message = absence.message(session_id);
        match absence {
            Absence::Failed(failure) => failure,
            Absence::Session => unknown(&self.engine, session_id).await,
            Absence::Channel(_) => Failure::usage(anyhow::anyhow!(message)),
            Absence::Changed => Failure::broken(anyhow::anyhow!(message)),
            Absence::Recording | Absence::Unplayable(_) | Absence::Looking => Failure::check(anyhow::anyhow!(message)),
        }
    }
}

/// The time of a moment in microseconds since the start of a recording. It may lie outside of it.
fn time_us(started_at: Option<Micros>, moment: Moment) -> Result<i64, Failure> {
    match (moment, started_at) {
        (Moment::Elapsed(time_us), _) => Ok(time_us),
        (Moment::At(at), Some(started_at)) => Ok(at.saturating_sub(started_at)),
        (Moment::At(_), None) => Err(Failure::usage(anyhow::anyhow!(
            "nothing in the recording says when it was made; give a time since its start, like 12:30"
        ))),
    }
}

/// Where to begin to play, in microseconds since the start of what is at hand. An instant outside of the recording is
/// mistaken.
fn begin_at(recording: &Recording, moment: Moment) -> Result<i64, Failure> {
    let (from_us, of_us) = recording.cut.map_or((0, recording.duration_us), |cut| (cut.from_us, cut.of_us));
    // The wall clock at the start of the whole.
    let started_at = recording.started_at.and_then(|at| at.checked_sub(from_us));
    let time_us = time_us(started_at, moment)?;
    if let (Moment::At(at), Some(started_at)) = (moment, started_at)
        && !(0..=of_us).contains(&time_us)
    {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} is not in the recording, which goes from {} to {}",
            to_rfc3339(at),
            to_rfc3339(started_at),
            to_rfc3339(started_at.saturating_add(of_us))
        )));
    }
    Ok(time_us.saturating_sub(from_us))
}

/// `custody replay`
pub(crate) async fn replay(config: &Config, args: &Replay) -> Result<(), Failure> {
    if !player::is_terminal() {
        return Err(Failure::usage(anyhow::anyhow!(
            "replay needs a terminal; `custody export {} --as text` writes what was on the screen",
            visible(&args.session)
        )));
    }
    let desk = Desk::open(config).await?;
    let stop = shutdown::requested(None)?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let cancel = cancelled.clone();
    tokio::spawn(async move {
        shutdown::wait(stop).await;
        cancel.store(true, Ordering::Release);
        // Where the terminal is gone, crossterm looks for keys for ever, and never comes back to be told.
        tokio::time::sleep(PATIENCE).await;
        std::process::exit(130);
    });
    if args.follow {
        return follow(&desk, args, cancelled).await;
    }
    let of = (args.session.as_str(), args.channel.as_deref());
    let (opened, entry) = desk.recording("replay", of, (args.at, None)).await?;
    let start = match (&args.at_match, args.at) {
        (Some(text), _) => Start::Match(text.clone()),
        (None, None) => Start::default(),
        (None, Some(moment)) => match begin_at(&opened.recording, moment) {
            Ok(time_us) => Start::At(time_us),
            Err(failure) => return ended(entry, Err(failure)).await,
        },
    };
    let played = play(opened, args, start, false, cancelled).await;
    ended(entry, played.map(drop)).await
}

async fn play(
    opened: Opened,
    args: &Replay,
    start: Start,
    goes_on: bool,
    cancelled: Arc<AtomicBool>,
) -> Result<Ending, Failure> {
    let facts = opened.facts();
    let idle_limit_us = args.idle_limit.map(|limit| i64::try_from(limit.as_micros()).unwrap_or(i64::MAX));
    let options = PlayOptions { speed: args.speed, idle_limit_us, start, facts, goes_on, ..PlayOptions::default() };
    on_terminal(move || player::play(&opened.recording, &options, &cancelled)).await
}

/// Runs what has the terminal for itself.
async fn on_terminal(play: impl FnOnce() -> io::Result<Ending> + Send + 'static) -> Result<Ending, Failure> {
    let played = tokio::task::spawn_blocking(play).await;
    Ok(played.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}

/// A player that was told to end has so long to do so.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether more of a recording has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whoever goes back from what goes on begins so long before, in microseconds.
const BACK_US: i64 = 5_000_000;

/// `custody replay --follow`: what is on the screen now, until the viewer leaves; going back plays what was recorded until
/// then, and leads on to what goes on.
async fn follow(desk: &Desk, args: &Replay, cancelled: Arc<AtomicBool>) -> Result<(), Failure> {
    let of = (args.session.as_str(), args.channel.as_deref());
    loop {
        let entry = desk.journal.begin(asked("watch", Some(&args.session))).await?;
        let watched = watch(&desk.source, args, cancelled.clone()).await;
        let (ending, watched_us) = watched.as_ref().copied().unwrap_or((Ending::Quit, 0));
        ended(entry, watched.map(drop)).await?;
        if ending != Ending::Back {
            return Ok(());
        }
        // Of a long one the last part: where it ends is asked for, and what is there by then.
        let from = Moment::Elapsed(watched_us.saturating_sub(BACK_US).max(0));
        let (opened, entry) = desk.recording("replay", of, (Some(from), None)).await?;
        let start = Start::At(match opened.recording.cut {
            Some(_) => begin_at(&opened.recording, from)?,
            None => opened.recording.duration_us.saturating_sub(BACK_US).max(0),
        });
        let played = play(opened, args, start, true, cancelled.clone()).await;
        let ending = played.as_ref().copied().unwrap_or(Ending::Quit);
        ended(entry, played.map(drop)).await?;
        if ending != Ending::Finished {
            return Ok(());
        }
    }
}

/// Shows what goes on. Returns why it ended, and how far the recording had come when it began, in microseconds.
async fn watch(source: &Source, args: &Replay, cancelled: Arc<AtomicBool>) -> Result<(Ending, i64), Failure> {
    let Some(session) = source.engine.session(&args.session).await? else {
        return Err(unknown(&source.engine, &args.session).await);
    };
    let of = &session.linked.session.source;
    let asked = Asked { session_id: &args.session, source: Some(of), channel: args.channel.as_deref() };
    let begun = async {
        let reel = source.reel(asked).await?;
        let (watching, shown) = Watching::begin(&source.engine, &reel, None).await?;
        Ok((reel, watching, shown))
    };
    let (reel, mut watching, shown) = match begun.await {
        Ok(begun) => begun,
        Err(absence) => return Err(source.failure(absence, &args.session).await),
    };
    let of = Watched {
        session_id: args.session.clone(),
        facts: text::facts(&session.linked),
        started_at: reel.of.started_at.map(|Time(at)| at),
    };
    let (to, come) = std::sync::mpsc::channel();
    let _ = to.send(Ok(shown));
    let following = tokio::spawn(async move {
        while !watching.is_over() {
            tokio::time::sleep(LOOK_EVERY).await;
            let looked = watching.look().await.map_err(|error| visible(&error.to_string()).into_owned());
            if to.send(looked).is_err() {
                return;
            }
        }
    });
    let ending = on_terminal(move || player::watch(&come, &of, &cancelled)).await;
    following.abort();
    Ok((ending?, reel.of.duration_us))
}

impl Opened {
    /// Who, where, why, who said yes, and how far the recording can be trusted.
    fn facts(&self) -> String {
        let mut facts = text::facts(&self.session);
        // First, where a narrow terminal shows it: that all is well needs no words.
        if let Some(RecordingState { recording_state, integrity, .. }) = &self.state
            && (recording_state != "recorded" || integrity.is_some())
        {
            let level = integrity.as_ref().map_or_else(String::new, |level| format!(", integrity {level}"));
            facts = format!("{recording_state}{level} | {facts}");
        }
        if let Some(Cut { from_us, to_us, of_us, .. }) =
            self.recording.cut.filter(|cut| cut.to_us - cut.from_us < cut.of_us)
        {
            let seconds = |time_us: i64| time_us / 1_000_000;
            let (from, to, of) = (seconds(from_us), seconds(to_us), seconds(of_us));
            facts = format!("{from} s to {to} s of {of} s, --at leads elsewhere | {facts}");
        }
        facts
    }
}

/// `custody export`
pub(crate) async fn export(config: &Config, args: &Export) -> Result<(), Failure> {
    let desk = Desk::open(config).await?;
    let of = (args.session.as_str(), args.channel.as_deref());
    let (opened, entry) = desk.recording("export", of, (args.from, args.to)).await?;
    for finding in &opened.findings {
        eprintln!("custody: the recording is incomplete: {}", visible(finding));
    }
    let exported = match opened.exported(args.format, (args.from, args.to), operator()) {
        Ok(exported) => exported,
        Err(failure) => return ended(entry, Err(failure)).await,
    };
    let written = match &args.output {
        None => is_closed(exported.write(&mut io::stdout().lock())).map(drop),
        Some(path) => exported.write_file(path),
    };
    ended(entry, written.map_err(Failure::from)).await
}

/// The part of a recording between two moments.
fn part(recording: Recording, from: Option<Moment>, to: Option<Moment>) -> Result<Recording, Failure> {
    let Cut { from_us: begin_us, to_us: end_us, of_us, .. } = recording.cut.unwrap_or(Cut {
        from_us: 0,
        to_us: recording.duration_us,
        of_us: recording.duration_us,
        findings_left_out: 0,
    });
    // The wall clock at the start of the whole.
    let started_at = recording.started_at.and_then(|at| at.checked_sub(begin_us));
    let from_us = from.map_or(Ok(0), |from| time_us(started_at, from))?;
    let to_us = to.map_or(Ok(of_us), |to| time_us(started_at, to))?;
    // What is asked for may begin before the recording and end after it, but not lie outside of it.
    if from_us > of_us || to_us < 0 || to_us < from_us {
        return Err(Failure::usage(anyhow::anyhow!(
            "nothing was recorded between --from and --to: the recording takes {:.1} s",
            of_us as f64 / 1e6
        )));
    }
    if to_us.min(of_us) > end_us {
        return Err(Failure::usage(anyhow::anyhow!(
            "that is more than can be written at once: {} MB of output go from {:.1} s to {:.1} s of {:.1} s; write it in \
             parts, with --from and --to",
            PART_BYTES >> 20,
            begin_us as f64 / 1e6,
            end_us as f64 / 1e6,
            of_us as f64 / 1e6
        )));
    }
    if from.is_none() && to.is_none() {
        return Ok(recording);
    }
    Ok(recording.cut(from_us.saturating_sub(begin_us), to_us.saturating_sub(begin_us)))
}

async fn ended(entry: Entry, done: Result<(), Failure>) -> Result<(), Failure> {
    entry.end(done.as_ref().map(|()| Ended::default())).await;
    done
}

impl Opened {
    /// What is between two moments in a format, for whoever asks for it.
    pub(crate) fn exported(
        self,
        format: CastFormat,
        (from, to): (Option<Moment>, Option<Moment>),
        by: String,
    ) -> Result<Exported, Failure> {
        let Self { recording, session, state, versions, .. } = self;
        Ok(Exported { recording: part(recording, from, to)?, session, state, versions, format, by })
    }
}

/// What is written for other tools.
pub(crate) struct Exported {
    recording: Recording,
    session: LinkedSession,
    state: Option<RecordingState>,
    versions: Versions,
    format: CastFormat,
    by: String,
}

impl Exported {
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

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let recording = &self.recording;
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
        let LinkedSession { session, links } = &self.session;
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
        if let Some(RecordingState { recording_state, why, integrity, .. }) = &self.state {
            let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            facts.push(("Recording".to_owned(), Some(format!("{recording_state}{why}"))));
            facts.push(("Integrity of the import".to_owned(), integrity.clone()));
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut bytes = 0;
        for event in self.recording.recorded().iter().filter(|event| event.code == Code::Output) {
            hash.update(&event.data);
            bytes += event.data.len();
        }
        let digits: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let provenance = [
            ("Written by", format!("custody {}, {}", env!("CARGO_PKG_VERSION"), self.by)),
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
