//! Looking through recordings: what was on their screens, and the commands.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::time::{Duration, Instant};

use custody_ingest::indexer::{self, INDEXER, Indexing, Kept, Looked, Playing, Reading, Recorded, Run};
use custody_ledger::Ledger;
use custody_query::Engine;
use custody_query::reels::Whereabouts;
use custody_query::search::Unindexed;
use custody_query::sessions::RECORDING_BYTES_MAX;
use custody_replay::StreamKey;
use custody_replay::recording::{Extent, Finding, chosen};
use custody_schemas::frame::Frame;
use futures::StreamExt;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::exit::Failure;
use crate::shutdown;

/// Recordings are read together up to this much output, in bytes.
const BYTES_AT_ONCE: i64 = 16 << 20;

/// And up to so many.
const RECORDINGS_AT_ONCE: usize = 1000;

/// Of those that are read, so many are played at once, before what was found in the first is written down.
const PLAYED_AHEAD: usize = 4;

/// A recording with more output is read window by window, of so many bytes of output each.
const WINDOW_BYTES: u64 = 8 << 20;

/// So many windows wait to be played, and of so many what was found waits to be written down.
const WINDOWS_AHEAD: usize = 2;

/// Frames that overlap are held up to so many bytes: more than any source makes.
const HELD_BYTES_MAX: usize = 256 << 20;

/// A recording to which nothing has come for so long is looked through, if much of it was not.
const QUIET: Duration = Duration::from_secs(5);

/// A recording to which nothing has come for so long is looked through, if any of it was not.
const SILENT: Duration = Duration::from_secs(3600);

/// How often it is looked whether there is something to look through.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// `custody maintain index`: looks through what was not looked through yet, also of sessions that still run.
pub(super) async fn index(config: &Config) -> Result<(), Failure> {
    // Columns and tables that an older version did not have are made.
    let ledger = Ledger::create(config.location()?).await?;
    let stop = shutdown::requested(None)?;
    let began = Instant::now();
    let kept = look_through_all(config, &ledger, &stop).await?;
    let Kept { recordings, output_bytes, texts, commands, failed } = kept;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} recordings ({}) were looked through in {}: {} texts, {} commands",
        HumanCount(recordings),
        HumanBytes(output_bytes),
        HumanDuration(began.elapsed()),
        HumanCount(texts),
        HumanCount(commands)
    )?;
    if failed > 0 {
        writeln!(
            out,
            "{failed} could not be: custody sql 'SELECT session_id, error FROM recording_index WHERE error IS NOT NULL'"
        )?;
    }
    if *stop.borrow() {
        writeln!(std::io::stderr(), "stopped; what was looked through is kept, and the next run goes on from there")?;
    }
    Ok(())
}

/// Looks through what was not looked through yet, also of sessions that still run.
pub(crate) async fn look_through_all(
    config: &Config,
    ledger: &Ledger,
    stop: &watch::Receiver<bool>,
) -> Result<Kept, Failure> {
    let engine = Engine::open(ledger, config.limits(), &config.vocabulary()).await?;
    let due = engine.unindexed(INDEXER, None).await?;
    let bar = ProgressBar::new(due.iter().map(|recording| recording.output_bytes.unsigned_abs()).sum());
    let style = ProgressStyle::with_template("looking through recordings {bar:30} {bytes}/{total_bytes} {eta}");
    bar.set_style(style.map_err(Failure::broken)?);
    let mut indexing = Indexing::open(ledger).await?;
    let (kept, _) = look_through(&engine, &mut indexing, due, &bar, stop).await?;
    bar.finish_and_clear();
    Ok(kept)
}

/// Looks through these recordings, because somebody waits for it.
pub(crate) async fn look_through_now(engine: &Engine, ledger: &Ledger, due: Vec<Unindexed>) -> Result<(), Failure> {
    let mut indexing = Indexing::open(ledger).await?;
    let (_running, stop) = watch::channel(false);
    match look_through(engine, &mut indexing, due, &ProgressBar::hidden(), &stop).await? {
        (_, Some(failure)) => Err(failure),
        (_, None) => Ok(()),
    }
}

/// Looks through recordings as they end, go quiet or have grown by half, until asked to stop. What fails is told and tried
/// again.
pub(crate) async fn follow(config: &Config, ledger: &Ledger, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
    let engine = Engine::open(ledger, config.limits(), &config.vocabulary()).await?;
    let mut growing = Growing::default();
    while !*stop.borrow() {
        let mut asking = Duration::ZERO;
        if let Err(failure) = look(&engine, ledger, &mut growing, &mut asking, &stop).await {
            metrics::counter!("custody_index_failures_total").increment(1);
            tracing::warn!(error = %failure, "recordings could not be looked through; trying again");
        }
        // Asking what there is to do takes no more than a tenth of the time.
        let pause = LOOK_EVERY.max(asking * 9);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    Ok(())
}

/// Recordings that are not looked through, or not all of them.
#[derive(Default)]
struct Growing {
    /// How many frames each had, and since when.
    seen: HashMap<(String, String), (i64, Instant)>,
    /// The version of `frames` of which everything was looked through.
    done: Option<u64>,
}

impl Growing {
    /// Those of them that are to be looked through now: each time with half as much again, so that a session is looked at
    /// about twice however long it is, and once it has gone quiet.
    fn ready(&mut self, due: Vec<Unindexed>, now: Instant) -> Vec<Unindexed> {
        let before = std::mem::take(&mut self.seen);
        let is_ready = |recording: &Unindexed| {
            let key = (recording.source.clone(), recording.session_id.clone());
            let since =
                before.get(&key).filter(|(frames, _)| *frames == recording.frames).map_or(now, |(_, since)| *since);
            self.seen.insert(key, (recording.frames, since));
            let quiet = now.duration_since(since);
            let has_grown = recording.frames >= recording.frames_indexed + recording.frames_indexed / 2;
            quiet >= QUIET && (has_grown || recording.has_end)
                || has_grown && recording.frames_indexed > 0
                || quiet >= SILENT
        };
        due.into_iter().filter(is_ready).collect()
    }
}

async fn look(
    engine: &Engine,
    ledger: &Ledger,
    growing: &mut Growing,
    asking: &mut Duration,
    stop: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let frames = engine.frames_version(Duration::ZERO).await?;
    if growing.done == Some(frames) {
        return Ok(());
    }
    let began = Instant::now();
    let due = engine.unindexed(INDEXER, None).await?;
    *asking = began.elapsed();
    let count = due.len();
    let ready = growing.ready(due, Instant::now());
    let rest = count - ready.len();
    if !ready.is_empty() {
        let mut indexing = Indexing::open(ledger).await?;
        let (kept, _) = look_through(engine, &mut indexing, ready, &ProgressBar::hidden(), stop).await?;
        metrics::counter!("custody_index_recordings_total").increment(kept.recordings);
        metrics::counter!("custody_index_output_bytes_total").increment(kept.output_bytes);
        tracing::debug!(?kept, rest, "recordings were looked through");
        return Ok(());
    }
    growing.done = (rest == 0).then_some(frames);
    Ok(())
}

/// Looks through recordings; those that come next are read meanwhile. What cannot be read now is left for the next time; one
/// such failure is told.
async fn look_through(
    engine: &Engine,
    indexing: &mut Indexing,
    mut due: Vec<Unindexed>,
    bar: &ProgressBar,
    stop: &watch::Receiver<bool>,
) -> Result<(Kept, Option<Failure>), Failure> {
    due.reverse();
    let (to, mut of) = mpsc::channel(1);
    let reading = async move {
        let (mut alone, mut failed) = (false, None);
        while let Some(batch) = next_batch(&mut due, alone) {
            // A long one is by itself, and read window by window.
            let frames = match batch.iter().any(|recording| recording.output_bytes > BYTES_AT_ONCE) {
                true => Ok(None),
                false => engine.frames_of(&batch, RECORDING_BYTES_MAX).await.map(Some),
            };
            match frames {
                Ok(frames) => {
                    if to.send((batch, frames)).await.is_err() {
                        break;
                    }
                }
                // One of them is in the way: each by itself.
                Err(error) if batch.len() > 1 => {
                    tracing::debug!(%error, "recordings are read one by one");
                    due.extend(batch.into_iter().rev());
                    alone = true;
                }
                Err(error) => {
                    tracing::warn!(%error, recordings = batch.len(), "a recording could not be read; trying again later");
                    failed = Some(Failure::from(error));
                }
            }
        }
        Ok(failed)
    };
    let looking = async {
        let mut failed = None;
        while let Some((batch, frames)) = of.recv().await
            && !*stop.borrow()
        {
            if let Some(frames) = frames {
                look_at(indexing, batch, frames, bar, stop).await?;
                continue;
            }
            for one in &batch {
                if let Err(failure) = look_at_long(engine, indexing, one, bar, stop).await {
                    tracing::warn!(error = %failure, session = %one.session_id, "a recording could not be read; trying again");
                    failed = Some(failure);
                }
            }
        }
        // Nothing more is to be read.
        of.close();
        Ok::<_, Failure>(failed)
    };
    let (unread, failed) = tokio::try_join!(reading, looking)?;
    Ok((indexing.commit().await.map_err(Failure::broken)?, failed.or(unread)))
}

/// Looks through recordings of one session that are too long to be held in memory.
async fn look_at_long(
    engine: &Engine,
    indexing: &mut Indexing,
    recording: &Unindexed,
    bar: &ProgressBar,
    stop: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let (frames, channels) = engine.streams(&recording.source, &recording.session_id).await?;
    // Its recordings count together: nobody would look at one again that is missing beside another.
    let mut looks = Vec::new();
    for streams in channels.values() {
        let Some((key, findings)) = chosen(streams) else { continue };
        let windows = windows(streams.get(key).map(Vec::as_slice).unwrap_or_default());
        let long = Long { engine, frames: &frames, key, windows };
        match long.look(indexing, recorded(recording), findings, bar, stop).await? {
            Some(look) => looks.push(look),
            None => return Ok(()),
        }
    }
    for (run, looked) in looks {
        indexing.end(recorded(recording), &run, looked);
    }
    Ok(())
}

/// Extents of frames that are read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    first_seq: i64,
    /// The highest number of a first piece.
    last_first_seq: i64,
    /// No frame of a later window has a piece with a lower number.
    until_seq: i64,
    frames: usize,
    /// What its frames take, about.
    bytes: u64,
    output_bytes: u64,
}

/// A frame takes so many bytes at least: what was typed is not counted by itself.
const FRAME_BYTES: u64 = 16 << 10;

/// And each of its pieces so many.
const PIECE_BYTES: u64 = 64;

/// Cuts a stream, whose frames are in the order of their first pieces.
fn windows(extents: &[Extent]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for Extent { first_seq, pieces, output_bytes, .. } in extents {
        let bytes = (*output_bytes).max(FRAME_BYTES) + *pieces as u64 * PIECE_BYTES;
        match windows.last_mut() {
            // Frames that begin at one piece are read together.
            Some(open) if open.bytes < WINDOW_BYTES || open.last_first_seq == *first_seq => {
                open.last_first_seq = *first_seq;
                open.frames += 1;
                open.bytes += bytes;
                open.output_bytes += output_bytes;
            }
            open => {
                if let Some(open) = open {
                    open.until_seq = *first_seq;
                }
                windows.push(Window {
                    first_seq: *first_seq,
                    last_first_seq: *first_seq,
                    until_seq: i64::MAX,
                    frames: 1,
                    bytes,
                    output_bytes: *output_bytes,
                });
            }
        }
    }
    windows
}

/// A long recording that is looked through.
struct Long<'a> {
    engine: &'a Engine,
    frames: &'a Whereabouts,
    key: &'a StreamKey,
    windows: Vec<Window>,
}

impl Long<'_> {
    /// Looks through it; `None` when asked to stop before the end, and when it cannot be looked through. Frames are read
    /// and what was found is written down while it is played.
    async fn look(
        &self,
        indexing: &mut Indexing,
        of: Recorded<'_>,
        findings: Vec<Finding>,
        bar: &ProgressBar,
        stop: &watch::Receiver<bool>,
    ) -> Result<Option<(Run, Looked)>, Failure> {
        let mut run = indexing.begin(self.key.clone());
        let (events_to, mut events_of) = mpsc::channel(WINDOWS_AHEAD);
        let (found_to, mut found_of) = mpsc::channel(WINDOWS_AHEAD);
        let mut read = Reading::new(self.key.clone(), findings);
        let reading = async move {
            for window in &self.windows {
                let (frames, until_seq) = (self.read(window).await?, window.until_seq);
                let events;
                (read, events) = beside(move || {
                    let events = read.push(frames, until_seq);
                    (read, events)
                })
                .await?;
                if read.held_bytes() > HELD_BYTES_MAX {
                    return Ok(Read::Overlapping);
                }
                if *stop.borrow() || events_to.send((events, window.output_bytes)).await.is_err() {
                    return Ok(Read::Stopped);
                }
            }
            let (events, looked) = beside(move || read.finish(Vec::new())).await?;
            Ok(events_to.send((events, 0)).await.map_or(Read::Stopped, |()| Read::Whole(looked)))
        };
        let playing = beside(move || {
            let mut playing = Playing::default();
            while let Some((events, output_bytes)) = events_of.blocking_recv() {
                playing.play(events);
                found_to.blocking_send((playing.take(), output_bytes)).ok()?;
            }
            found_to.blocking_send((playing.finish(), 0)).ok()
        });
        let writing = async {
            while let Some((found, output_bytes)) = found_of.recv().await {
                indexing.push(of, &mut run, &found);
                if indexing.is_full() {
                    indexing.commit().await.map_err(Failure::broken)?;
                }
                bar.inc(output_bytes);
            }
            Ok(())
        };
        match tokio::try_join!(reading, playing, writing)? {
            (Read::Whole(looked), ..) => Ok(Some((run, looked))),
            (Read::Stopped, ..) => Ok(None),
            (Read::Overlapping, ..) => {
                indexing.push_failed(of, "its frames overlap more than can be held in memory".to_owned());
                Ok(None)
            }
        }
    }

    /// The frames that begin in a window: all that were there when it was cut.
    async fn read(&self, window: &Window) -> Result<Vec<Frame>, Failure> {
        let between = (window.first_seq, window.last_first_seq);
        let mut frames = self.engine.frames_between(self.frames, self.key, between, RECORDING_BYTES_MAX).await?;
        frames.retain(|frame| frame.pieces.first().is_some_and(|piece| piece.seq >= window.first_seq));
        if frames.len() < window.frames {
            return Err(Failure::broken(anyhow::anyhow!("some of its frames are gone")));
        }
        Ok(frames)
    }
}

/// How reading a long recording came to its end.
enum Read {
    Whole(Looked),
    /// Its frames overlap more than can be held.
    Overlapping,
    Stopped,
}

/// Does what takes long beside everything else that this process does.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(Failure::broken)
}

async fn look_at(
    indexing: &mut Indexing,
    batch: Vec<Unindexed>,
    mut frames: BTreeMap<String, Vec<Frame>>,
    bar: &ProgressBar,
    stop: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let there = batch.into_iter().filter_map(|recording| Some((frames.remove(&recording.session_id)?, recording)));
    let playing = there.map(|(frames, recording)| async move { (beside(|| indexer::look(frames)).await, recording) });
    let mut played = futures::stream::iter(playing).buffered(PLAYED_AHEAD);
    while let Some((looks, recording)) = played.next().await
        && !*stop.borrow()
    {
        match looks {
            Ok(looks) => {
                for (key, found, looked) in looks {
                    let mut run = indexing.begin(key);
                    indexing.push(recorded(&recording), &mut run, &found);
                    indexing.end(recorded(&recording), &run, looked);
                }
            }
            Err(error) => {
                tracing::error!(%error, session = %recording.session_id, "a recording could not be looked through");
                indexing.push_failed(recorded(&recording), "looking through it failed: a defect of Custody".to_owned());
            }
        }
        bar.inc(recording.output_bytes.unsigned_abs());
        if indexing.is_full() {
            indexing.commit().await.map_err(Failure::broken)?;
        }
    }
    Ok(())
}

fn recorded(recording: &Unindexed) -> Recorded<'_> {
    let Unindexed { source, session_id, frames, last_day, .. } = recording;
    Recorded { source, session_id, frames: *frames, date: *last_day }
}

/// The recordings that are read next: of one source, and few enough for memory.
fn next_batch(due: &mut Vec<Unindexed>, alone: bool) -> Option<Vec<Unindexed>> {
    let first = due.pop()?;
    let mut bytes = first.output_bytes;
    let mut batch = vec![first];
    while let (Some(next), Some(last)) = (due.last(), batch.last())
        && !alone
        && next.source == last.source
        && bytes + next.output_bytes <= BYTES_AT_ONCE
        && batch.len() < RECORDINGS_AT_ONCE
    {
        bytes += next.output_bytes;
        batch.extend(due.pop());
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(frames: i64, frames_indexed: i64, has_end: bool) -> Unindexed {
        let (source, session_id) = ("teleport".to_owned(), "s".to_owned());
        Unindexed { source, session_id, frames, frames_indexed, output_bytes: 1, has_end, first_day: 0, last_day: 0 }
    }

    #[test]
    fn a_long_recording_is_read_in_windows_that_no_later_frame_reaches_into() {
        let extent = |first_seq, last_seq, megabytes: u64| Extent {
            first_seq,
            last_seq,
            pieces: 1,
            output_bytes: megabytes << 20,
        };
        let cut = windows(&[extent(0, 9, 5), extent(5, 30, 5), extent(5, 5, 1), extent(10, 12, 10), extent(31, 40, 1)]);
        let shape: Vec<_> = cut.iter().map(|of| (of.first_seq, of.last_first_seq, of.until_seq, of.frames)).collect();
        assert_eq!(shape, [(0, 5, 10, 3), (10, 10, 31, 1), (31, 31, i64::MAX, 1)]);
    }

    #[test]
    fn a_recording_is_looked_through_when_it_is_quiet_or_has_grown() {
        let start = Instant::now();
        // Frames, of them looked through, whether it is over; seconds since it was seen with as many; is it time?
        let cases = [
            (5, 0, false, 0, false),
            (5, 0, false, 10, true),
            (14, 10, false, 3000, false),
            (14, 10, true, 10, true),
            (14, 10, false, 3600, true),
            (15, 10, false, 0, true),
        ];
        for (frames, indexed, has_end, seconds, expected) in cases {
            let mut growing = Growing::default();
            let mut at = |seconds| {
                growing.ready(vec![recording(frames, indexed, has_end)], start + Duration::from_secs(seconds))
            };
            let first = at(0);
            let then = if seconds == 0 { first } else { at(seconds) };
            assert_eq!(!then.is_empty(), expected, "{frames} {indexed} {has_end} {seconds}");
        }
    }
}
