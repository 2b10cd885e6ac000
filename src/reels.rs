//! Recordings in parts, for whoever plays or watches them: looked through first where nobody has.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use custody_ingest::indexer::INDEXER;
use custody_ledger::Ledger;
use custody_query::reels::{Indexed, Reel, Whereabouts};
use custody_query::search::Unindexed;
use custody_query::{Engine, QueryError, visible};
use custody_replay::StreamKey;
use custody_replay::live::{Live, Shown};
use custody_schemas::frame::Frame;
use tokio::sync::Mutex;

use crate::exit::Failure;
use crate::maintain;

/// Whoever does not wait is told to come again while a recording with more output is looked through, in bytes.
const LOOK_BYTES_MAX: i64 = 64 << 20;

/// When nothing has come for so long it is asked whether the session is over.
const QUIET: Duration = Duration::from_secs(5);

/// Whoever watches and falls behind by more begins anew with the screen as it is, in bytes.
const BEHIND_BYTES_MAX: usize = 64 << 20;

/// A recording that goes on is looked through again when so many frames have come since: whoever watches begins there.
const BEHIND_FRAMES_MAX: i64 = 500;

/// Whoever does not wait for long ones waits so long while others are looked through.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// The turn of looking through a recording; with the session of which it failed last while nobody waited, and why.
pub(crate) type Looking = Arc<Mutex<Option<(String, String)>>>;

/// Why a recording cannot be played.
#[derive(Debug)]
pub(crate) enum Absence {
    /// Nobody knows the session.
    Session,
    /// It has no recording.
    Recording,
    /// It has no recording of this channel, but of these.
    Channel(Vec<String>),
    /// It could not be looked through.
    Unplayable(String),
    /// It is being looked through.
    Looking,
    /// Its frames are not those that were looked through.
    Changed,
    /// Something does not answer.
    Failed(Failure),
}

/// Which recording is asked for: of a session, of one of its gateways, one of its channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) session_id: &'a str,
    /// Else that with the most output.
    pub(crate) source: Option<&'a str>,
    /// Else that with the most output.
    pub(crate) channel: Option<&'a str>,
}

impl<E: Into<Failure>> From<E> for Absence {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Absence {
    /// What to say of it; the session is told by whoever says that it is not known.
    pub(crate) fn message(&self, session_id: &str) -> String {
        let id = visible(session_id);
        match self {
            Self::Session => format!("no session {id:?} is in the ledger"),
            Self::Recording => format!(
                "the session {id:?} is in the ledger, its recording is not: it was not recorded, or the gateway does not \
                 publish recordings (Teleport's event handler does with skip-session-types = [])"
            ),
            Self::Channel(names) if names.is_empty() => "the session has no channels".to_owned(),
            Self::Channel(names) => {
                format!("the session has no such channel, but {}", visible(&names.join(", ")))
            }
            Self::Unplayable(why) => format!("the recording of {id:?} cannot be played: {}", visible(why)),
            Self::Looking => "the recording is long and is being looked through: come again in some seconds".to_owned(),
            Self::Changed => {
                "the frames of the recording are not those that were looked through: some are damaged, gone, or \
                              have come since; `custody maintain index` looks again, `custody doctor` for damage"
                    .to_owned()
            }
            Self::Failed(failure) => failure.to_string(),
        }
    }
}

/// Where recordings are found.
pub(crate) struct Shelf<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) ledger: &'a Ledger,
    /// One recording is looked through at a time.
    pub(crate) looking: &'a Looking,
    /// A long one is waited for.
    pub(crate) patient: bool,
}

impl Shelf<'_> {
    /// What is known of the recording that is asked for, and which channels the session has at that gateway.
    pub(crate) async fn find(&self, asked: Asked<'_>) -> Result<(Indexed, Vec<Option<String>>), Absence> {
        let Asked { session_id, source, channel } = asked;
        let mut recordings = self.looked_through(session_id).await?;
        recordings.retain(|of| of.version >= INDEXER && source.is_none_or(|source| of.source == source));
        let is_asked = |of: &&Indexed| of.error.is_none() && (channel.is_none() || of.channel.as_deref() == channel);
        let found = recordings.iter().find(is_asked).cloned();
        let source = found.as_ref().map(|of| of.source.as_str()).or(source);
        let there =
            recordings.iter().filter(|of| of.error.is_none() && source.is_none_or(|source| of.source == source));
        let channels: Vec<Option<String>> = there.map(|of| of.channel.clone()).collect();
        if let Some(of) = found {
            return Ok((of, channels));
        }
        if let Some(error) = recordings.into_iter().find_map(|of| of.error) {
            return Err(Absence::Unplayable(error));
        }
        Err(match self.engine.session(session_id).await? {
            None => Absence::Session,
            Some(_) if channels.is_empty() => Absence::Recording,
            Some(_) => Absence::Channel(channels.into_iter().flatten().collect()),
        })
    }

    /// What is known of the recordings of a session. What nobody has looked through yet, what has come since to one that is
    /// over, and one of which much has come since, is looked through now.
    async fn looked_through(&self, session_id: &str) -> Result<Vec<Indexed>, Absence> {
        let (engine, id) = (self.engine.clone(), session_id.to_owned());
        // On another core: planning a question takes as long as answering it.
        let indexed = tokio::spawn(async move { engine.indexed(&id).await });
        let due = self.due(session_id).await?;
        if due.is_empty() {
            return Ok(indexed.await.map_err(Failure::broken)??);
        }
        self.look(session_id, due).await?;
        Ok(self.engine.indexed(session_id).await?)
    }

    /// Looks through a recording whose frames are not those that were looked through, if more have come since.
    pub(crate) async fn look_again(&self, session_id: &str) -> Result<(), Absence> {
        let due = self.engine.unindexed(INDEXER, Some(session_id)).await?;
        self.look(session_id, due).await
    }

    async fn look(&self, session_id: &str, due: Vec<Unindexed>) -> Result<(), Absence> {
        let is_long = |due: &[Unindexed]| !self.patient && due.iter().any(|of| of.output_bytes > LOOK_BYTES_MAX);
        let wait = if self.patient { Duration::MAX } else { LOOK_PATIENCE };
        let turn = tokio::time::timeout(wait, self.looking.clone().lock_owned());
        let mut turn = turn.await.map_err(|_| Absence::Looking)?;
        if let Some((_, why)) = turn.take_if(|(failed, _)| failed == session_id) {
            return Err(Absence::Unplayable(why));
        }
        // Somebody may have done it in the meantime.
        let mut due_now = self.engine.unindexed(INDEXER, Some(session_id)).await?;
        due_now.retain(|of| due.iter().any(|one| one.source == of.source));
        let is_long = is_long(&due_now);
        let (engine, ledger, id) = (self.engine.clone(), self.ledger.clone(), session_id.to_owned());
        // It goes on when its caller does not wait any longer.
        let looking = tokio::spawn(async move {
            let looked = maintain::look_through_now(&engine, &ledger, due_now).await;
            if let (Err(error), true) = (&looked, is_long) {
                *turn = Some((id, error.to_string()));
            }
            looked
        });
        if is_long {
            return Err(Absence::Looking);
        }
        Ok(looking.await.map_err(Failure::broken)??)
    }

    async fn due(&self, session_id: &str) -> Result<Vec<Unindexed>, QueryError> {
        let mut due = self.engine.unindexed(INDEXER, Some(session_id)).await?;
        due.retain(|of| of.frames_indexed == 0 || of.has_end || of.frames - of.frames_indexed > BEHIND_FRAMES_MAX);
        Ok(due)
    }
}

/// A recording that is watched while it goes on.
pub(crate) struct Watching {
    engine: Arc<Engine>,
    frames: Whereabouts,
    key: StreamKey,
    /// Marks of this stream begin so.
    stream: String,
    live: Live,
    /// The version of `frames` of which everything was shown.
    seen: u64,
    quiet_since: Instant,
    is_over: bool,
}

impl Watching {
    /// Begins with the screen as it is; or with that of a mark that [`mark`](Self::mark) told before and what came since,
    /// unless that is too long ago.
    pub(crate) async fn begin(
        engine: &Arc<Engine>,
        reel: &Reel,
        since: Option<&str>,
    ) -> Result<(Self, Vec<Shown>), Absence> {
        let last = reel.parts.len().checked_sub(1).ok_or(Absence::Recording)?;
        let (segment, _) = engine.part(reel, last).await?.ok_or(Absence::Changed)?;
        let key = reel.parts.get(last).ok_or(Absence::Recording)?.key.clone();
        let mut live = Live::resumed(key.clone(), &segment);
        let seen = engine.frames_version(Duration::ZERO).await?;
        let frames = since_seq(engine, &reel.frames, &key, live.next_seq()).await?;
        let stream = stream_name(&reel.of.source, &key);
        let seq = since.and_then(|mark| mark.strip_prefix(&stream)?.parse().ok());
        let seq = seq.filter(|seq| *seq >= segment.place.seq);
        let shown = tokio::task::block_in_place(|| {
            live.catch_up(frames, seq);
            let screen = live.screen();
            std::iter::once(screen).chain(live.push(Vec::new(), None)).collect()
        });
        let (engine, frames, is_over) = (engine.clone(), reel.frames.clone(), live.ended());
        Ok((Self { engine, frames, key, stream, live, seen, quiet_since: Instant::now(), is_over }, shown))
    }

    /// From where whoever has seen everything can go on.
    pub(crate) fn mark(&self) -> String {
        format!("{}{}", self.stream, self.live.next_seq())
    }

    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What has come since.
    pub(crate) async fn look(&mut self) -> Result<Vec<Shown>, QueryError> {
        let newest = self.engine.frames_version(AGE_MAX).await?;
        let mut shown = Vec::new();
        if self.seen != newest {
            shown = self.read().await?;
            self.seen = newest;
        }
        if !shown.is_empty() {
            self.quiet_since = Instant::now();
        } else if self.quiet_since.elapsed() >= QUIET {
            self.quiet_since = Instant::now();
            self.is_over = self.engine.is_over(&self.frames).await?;
            if self.is_over {
                // What was said last may have come after the end was.
                shown = self.read().await?;
            }
        }
        self.is_over |= self.live.ended();
        Ok(shown)
    }

    async fn read(&mut self) -> Result<Vec<Shown>, QueryError> {
        let frames = since_seq(&self.engine, &self.frames, &self.key, self.live.next_seq()).await?;
        Ok(tokio::task::block_in_place(|| self.live.push(frames, None)))
    }
}

/// The ledger is looked at once for all who watch, if that is not longer ago.
const AGE_MAX: Duration = Duration::from_millis(100);

/// A short name of a stream.
fn stream_name(source: &str, key: &StreamKey) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    (source, key).hash(&mut hasher);
    format!("{:08x}.", hasher.finish() as u32)
}

/// Frames of a recording with pieces from a number on.
async fn since_seq(engine: &Engine, of: &Whereabouts, key: &StreamKey, seq: i64) -> Result<Vec<Frame>, QueryError> {
    engine.frames_between(of, key, (seq, i64::MAX), BEHIND_BYTES_MAX).await
}
