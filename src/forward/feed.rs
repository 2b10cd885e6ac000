//! What is forwarded next.
//!
//! A destination follows the commits of `events`: its place is a version of the table, and every row of every commit is
//! given once, in the order of commits. Where the log no longer has the next commit, and to begin in the past, it goes
//! over what the table has since a time, in the order of ingestion, and follows the commits from there. That may give
//! events again; what it could leave out is said at [`OVERLAP_US`].

use std::collections::VecDeque;

use arrow::record_batch::RecordBatch;
use custody_ledger::{Commit, Follower};
use custody_query::Engine;
use custody_query::feed::{FeedPlace, Span};
use custody_schemas::columns::{StoredEvent, read_events};
use custody_schemas::event::Kind;
use custody_schemas::time::Micros;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// How far back a destination goes that was away for longer than the log is kept: a commit may hold events that were
/// taken in before those of an earlier one. A file is committed within an hour after it was written, or not at all; how long
/// its rows waited to be written is not bounded, so what a process held for hours while others committed would be passed over.
const OVERLAP_US: Micros = 2 * 3_600_000_000;

/// How far a destination has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Everything of this version of `events` was given, but for what is still to be gone over.
    pub(super) version: u64,
    /// Rows of the next version that were given already.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) rows: usize,
    /// When the newest event was taken in that was given.
    #[serde(default)]
    pub(super) newest: Micros,
    /// What is gone over before the commits are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) past: Option<Past>,
    /// For each of [`AGAIN_AFTER`], from where on sessions are still to be looked at again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) again: Vec<Past>,
}

/// So long after the start of a session was taken in it is looked whether more is known of what gave access to it.
pub(super) const AGAIN_AFTER: [Micros; 4] = [MINUTE_US, 10 * MINUTE_US, 60 * MINUTE_US, 24 * 60 * MINUTE_US];

const MINUTE_US: Micros = 60_000_000;

/// What is gone over in the order of ingestion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Past {
    /// Events that were taken in at this time or later.
    pub(super) since: Micros,
    /// The last of them that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) behind: Option<FeedPlace>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(rows: &usize) -> bool {
    *rows == 0
}

/// While the past is gone over: what comes next, as far as it was looked up.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Times up to which what comes after `rows` was taken in, one for each chunk. To find the next one, all that there is
    /// of a day has to be looked at, so it is done for many at once.
    until: VecDeque<Micros>,
    /// Rows in order: a file has those of some minutes, and reading one chunk of them takes as long as reading several.
    rows: VecDeque<RecordBatch>,
    /// What a row takes, in bytes, as far as it is known.
    row_bytes: usize,
}

/// So many times are looked up at once.
const AHEAD: usize = 25;

/// So many chunks are read at once,
const CHUNKS_AT_ONCE: usize = 6;

/// but for one, in no more bytes than this.
const AHEAD_BYTES: usize = 24 << 20;

impl Ahead {
    /// The next events behind a place, at most so many; none where nothing more is there. To be asked with the place of the
    /// last of those that it gave before.
    async fn next(
        &mut self,
        engine: &Engine,
        Past { since, behind }: &Past,
        most: usize,
    ) -> Result<Vec<StoredEvent>, Failure> {
        let all = Span { since: *since, behind: behind.as_ref(), until: Micros::MAX, kind: None };
        while self.rows.is_empty() {
            if self.until.is_empty() {
                self.until = engine.times_in(all, most, AHEAD).await?.into();
            }
            let room = AHEAD_BYTES.checked_div(self.row_bytes * most).unwrap_or(1);
            let chunks = room.clamp(1, CHUNKS_AT_ONCE).min(self.until.len());
            let Some(until) = self.until.drain(..chunks).next_back() else { return Ok(Vec::new()) };
            // None, where all of that time were given with those before.
            self.rows = engine.event_rows_in(Span { until, ..all }, chunks * most).await?.into();
            let rows: usize = self.rows.iter().map(RecordBatch::num_rows).sum();
            let bytes: usize = self.rows.iter().map(RecordBatch::get_array_memory_size).sum();
            self.row_bytes = bytes.checked_div(rows).unwrap_or(self.row_bytes);
        }
        let mut events = Vec::new();
        while events.len() < most
            && let Some(rows) = self.rows.pop_front()
        {
            let taken = rows.num_rows().min(most - events.len());
            events.extend(read_events(&rows.slice(0, taken)).map_err(Failure::broken)?);
            if taken < rows.num_rows() {
                self.rows.push_front(rows.slice(taken, rows.num_rows() - taken));
            }
        }
        Ok(events)
    }
}

/// Events, and the position behind them.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) events: Vec<StoredEvent>,
    pub(super) position: Position,
}

/// Starts of sessions that are due to be looked at again, and the position behind them.
#[derive(Debug)]
pub(super) struct Again {
    /// Of those that were taken in by then facts are new that came later.
    pub(super) starts: Vec<StoredEvent>,
    /// How long before a start's turn its access was looked at last, at the latest: from its being taken in, in
    /// microseconds.
    pub(super) known_after: Micros,
    /// How often they were looked at then: 1 for the first time.
    pub(super) revision: u32,
    pub(super) position: Position,
}

impl Position {
    /// Whatever is committed from now on.
    pub(super) async fn now(follower: &Follower, now: Micros) -> Result<Self, Failure> {
        Ok(Self { version: follower.newest().await?, newest: now, ..Self::default() }.with_turns())
    }

    /// Whatever was taken in at a time or later.
    pub(super) async fn since(follower: &Follower, since: Micros) -> Result<Self, Failure> {
        let past = Some(Past { since, behind: None });
        Ok(Self { version: follower.newest().await?, newest: since, past, ..Self::default() }.with_turns())
    }

    /// The version of `events` that the last of what was given is of; while the past is gone over, the one from which on
    /// commits are followed.
    pub(super) fn reaches(&self) -> u64 {
        self.version + u64::from(self.rows > 0)
    }

    /// With a turn for each of [`AGAIN_AFTER`], also where a position was written down that has none.
    pub(super) fn with_turns(mut self) -> Self {
        self.again.resize(AGAIN_AFTER.len(), Past { since: self.newest, behind: None });
        self
    }
}

/// The next events behind a position, about so many; `None` where there is nothing new. Whether the log has been cleaned
/// since is only looked at by a thorough look.
pub(super) async fn next(
    engine: &Engine,
    follower: &Follower,
    ahead: &mut Ahead,
    at: &Position,
    most: usize,
    is_thorough: bool,
) -> Result<Option<Chunk>, Failure> {
    let mut position = at.clone();
    if let Some(past) = &mut position.past {
        let events = ahead.next(engine, past, most).await?;
        match events.last() {
            Some(last) => {
                past.behind = Some(FeedPlace::of(last));
                position.newest = position.newest.max(last.ingested_at);
            }
            None => position.past = None,
        }
        return Ok(Some(Chunk { events, position }));
    }
    let mut events: Vec<StoredEvent> = Vec::new();
    while events.len() < most {
        let next = position.version + 1;
        let files = match follower.commit(next).await? {
            Commit::Added(files) => files,
            // What was read so far is given first.
            Commit::Missing if !events.is_empty() || !is_thorough => break,
            Commit::Missing if follower.newest().await? < next => break,
            Commit::Missing => return Ok(Some(from_the_past(follower, at).await?)),
        };
        let (mut seen, mut is_whole) = (0, true);
        for file in files {
            let Some(batches) = follower.rows(&file).await? else {
                return Ok(Some(match events.is_empty() {
                    true => from_the_past(follower, at).await?,
                    false => Chunk { events, position },
                }));
            };
            for batch in batches {
                let skipped = position.rows.saturating_sub(seen).min(batch.num_rows());
                let room = most.saturating_sub(events.len());
                let taken = (batch.num_rows() - skipped).min(room);
                is_whole &= skipped + taken == batch.num_rows();
                seen += skipped + taken;
                events.extend(read_events(&batch.slice(skipped, taken)).map_err(Failure::broken)?);
                if !is_whole {
                    break;
                }
            }
            if !is_whole {
                break;
            }
        }
        match is_whole {
            true => (position.version, position.rows) = (next, 0),
            false => position.rows = seen,
        }
    }
    if position == *at {
        return Ok(None);
    }
    position.newest = events.iter().map(|event| event.ingested_at).fold(position.newest, Micros::max);
    Ok(Some(Chunk { events, position }))
}

/// Starts of sessions whose access is to be looked at again, about so many; `None` where none are due.
pub(super) async fn again(engine: &Engine, at: &Position, now: Micros, most: usize) -> Result<Option<Again>, Failure> {
    let mut position = at.clone();
    for (turn, after) in AGAIN_AFTER.into_iter().enumerate() {
        let due = now.saturating_sub(after);
        let Some(past) = position.again.get_mut(turn) else { continue };
        let until = due.min(at.newest);
        // Once a minute is often enough.
        if past.since > until || past.behind.is_none() && due - past.since < MINUTE_US {
            continue;
        }
        let kind = Some(Kind::SessionStart);
        let span = Span { since: past.since, behind: past.behind.as_ref(), until, kind };
        let starts = engine.events_in(span, most).await?;
        *past = match starts.last().filter(|_| starts.len() >= most) {
            Some(last) => Past { since: past.since, behind: Some(FeedPlace::of(last)) },
            None => Past { since: until + 1, behind: None },
        };
        let known_after = turn.checked_sub(1).and_then(|turn| AGAIN_AFTER.get(turn)).copied().unwrap_or(0);
        let revision = u32::try_from(turn + 1).unwrap_or(u32::MAX);
        return Ok(Some(Again { starts, known_after, revision, position }));
    }
    Ok(None)
}

/// What is long past when it is sent for the first time has no turn any more: all that came since is known then.
pub(super) fn skip_turns(position: &mut Position, now: Micros) {
    let newest = position.newest;
    for (past, after) in position.again.iter_mut().zip(AGAIN_AFTER) {
        if newest < now.saturating_sub(after) && newest >= past.since {
            *past = Past { since: newest + 1, behind: None };
        }
    }
}

/// The log has been cleaned since.
async fn from_the_past(follower: &Follower, at: &Position) -> Result<Chunk, Failure> {
    let since = at.newest.saturating_sub(OVERLAP_US);
    tracing::info!(
        since = custody_schemas::time::to_rfc3339(since),
        "the log no longer has the next commit: going over what is there since"
    );
    let position = Position { again: at.again.clone(), ..Position::since(follower, since).await? };
    Ok(Chunk { events: Vec::new(), position })
}
