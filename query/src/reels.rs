//! Recordings in parts: the segments that the index has of them, and the frames of each.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use custody_replay::header::Version;
use custody_replay::index::Segment;
use custody_replay::recording::{Extent, Reader, Whole};
use custody_replay::{Place, Recording, Size, StreamKey, Timed};
use custody_schemas::columns::read_frames;
use custody_schemas::frame::{Clock, Frame};
use custody_schemas::table::{PARTITION_COLUMN, Table};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::ScalarValue;
use datafusion::functions::expr_fn::character_length;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, ident, lit};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{Bounds, Engine, Reading};
use crate::error::QueryError;
use crate::sessions::{Time, columns, data_bytes};
use crate::views;

/// A part of a recording is not loaded when its frames have more bytes.
const PART_BYTES_MAX: usize = 64 << 20;

/// Where the frames of a session are.
#[derive(Debug, Clone)]
pub struct Whereabouts {
    source: String,
    session_id: String,
    /// The days on which they were ingested, counted from 1970; `None` where nothing says so.
    days: Option<Vec<i32>>,
}

/// A recording as the index has it.
#[derive(Debug, Clone)]
pub struct Reel {
    /// What is known of it.
    pub of: Indexed,
    /// Its parts, one after the other; each without what it is shown from.
    pub parts: Vec<Part>,
    /// Where its frames are.
    pub frames: Whereabouts,
}

/// What the newest look at a recording says of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Indexed {
    /// The look.
    pub run: i64,
    /// Kind of gateway.
    pub source: String,
    /// Which of the session's recordings.
    pub channel: Option<String>,
    /// By which version of what looks through recordings.
    pub version: i32,
    /// Number of frames that the session had.
    pub frames: i64,
    /// Wall clock at its start.
    pub started_at: Option<Time>,
    /// Time of its last piece, in microseconds since the start.
    pub duration_us: i64,
    /// Size of the terminal at its start.
    pub cols: u16,
    /// See `cols`.
    pub rows: u16,
    /// Number of its events.
    pub events: i64,
    /// Size of its output.
    pub output_bytes: i64,
    /// SHA-256 of its output.
    pub output_sha256: String,
    /// Bytes of its output that are shown as U+FFFD.
    pub replaced_bytes: i64,
    /// The stream says that it is over.
    pub ended: bool,
    /// What is wrong with it, a line each.
    pub findings: String,
    /// When each of them is; `None` where it is about all of it.
    pub findings_us: Option<Vec<Option<i64>>>,
    /// Why it could not be looked through.
    pub error: Option<String>,
}

/// How far the recording of a session can be trusted: columns of the view `recording_state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordingState {
    /// `recorded`, `incomplete`, `unverifiable`, `missing`, `running`, `not_required` or `unknown`.
    pub recording_state: String,
    /// What that rests on, in words.
    pub why: Option<String>,
    /// How far an imported recording could be verified; null for one that was only streamed.
    pub integrity: Option<String>,
    /// Bytes of output that are missing, by the source's own count.
    pub missing_bytes: Option<i64>,
    /// Positions in the session's stream at which nothing is.
    pub missing_events: Option<i64>,
}

/// The columns of [`RecordingState`], and whose it is.
const STATE: &[&str] = &["source", "recording_state", "why", "integrity", "missing_bytes", "missing_events"];

/// A part of a recording that is shown from its own beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is shown from, without the screen itself.
    pub segment: Segment,
    /// The stream that it is of.
    pub key: StreamKey,
}

/// A segment with its screen, and its events.
pub type Playable = (Segment, Vec<Timed>);

/// A row of `indexed_segments`.
#[derive(Deserialize)]
struct Row {
    start_us: i64,
    end_us: i64,
    cols: u16,
    rows: u16,
    events: usize,
    output_bytes: u64,
    sha256: String,
    idle_ends_us: Vec<i64>,
    idle_us: Vec<i64>,
    markers_us: Vec<i64>,
    markers: Vec<String>,
    clock: String,
    topic: Option<String>,
    partition: Option<i32>,
    first_seq: i64,
    last_seq: i64,
    reached_us: i64,
    version: Option<i32>,
    header_us: i64,
    zero_us: Option<i64>,
}

/// The columns of [`Row`].
const ROW: &[&str] = &[
    "start_us",
    "end_us",
    "cols",
    "rows",
    "events",
    "output_bytes",
    "sha256",
    "idle_ends_us",
    "idle_us",
    "markers_us",
    "markers",
    "clock",
    "topic",
    "partition",
    "first_seq",
    "last_seq",
    "reached_us",
    "version",
    "header_us",
    "zero_us",
];

/// The columns of [`Indexed`].
const INDEXED: &[&str] = &[
    "run",
    "source",
    "channel",
    "version",
    "frames",
    "started_at",
    "duration_us",
    "cols",
    "rows",
    "events",
    "output_bytes",
    "output_sha256",
    "replaced_bytes",
    "ended",
    "findings",
    "findings_us",
    "error",
];

impl Row {
    fn into_part(self, channel: Option<&str>, first_event: usize) -> Result<Part, QueryError> {
        let wrong =
            |what: &str| QueryError::Internal(format!("indexed_segments has {what} that nothing can be made of"));
        let clock = Clock::from_name(&self.clock).ok_or_else(|| wrong("a clock"))?;
        let sha256 = unhex(&self.sha256).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| wrong("a hash"))?;
        let version = self.version.map(|number| Version::from_number(number).ok_or_else(|| wrong("a version")));
        let place = Place {
            seq: self.first_seq,
            reached_us: self.reached_us,
            version: version.transpose()?,
            header_us: self.header_us,
            zero_at: self.zero_us,
        };
        let segment = Segment {
            start_us: self.start_us,
            end_us: self.end_us,
            size: Size { cols: self.cols, rows: self.rows },
            init: String::new(),
            tail: Vec::new(),
            first_event,
            events: self.events,
            output_bytes: self.output_bytes,
            place,
            last_seq: self.last_seq,
            sha256,
            idle: self.idle_ends_us.into_iter().zip(self.idle_us).collect(),
            markers: self.markers_us.into_iter().zip(self.markers).collect(),
        };
        let lines_of = self.topic.zip(self.partition);
        Ok(Part { segment, key: StreamKey { clock, lines_of, channel: channel.map(str::to_owned) } })
    }
}

impl Engine {
    /// The recordings of a session that were looked through, those with the most output first.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn indexed<'a>(&'a self, session_id: &'a str) -> BoxFuture<'a, Result<Vec<Indexed>, QueryError>> {
        Box::pin(async move {
            let reading = self.read_evidence(Bounds::default().time).await?;
            let rows = reading.table("recording_index", ident("session_id").eq(lit(session_id))).await?;
            let mut found: Vec<Indexed> = reading.rows(rows.select(columns(INDEXED))?).await?;
            found.sort_by(|a, b| {
                b.output_bytes.cmp(&a.output_bytes).then_with(|| (&a.source, &a.channel).cmp(&(&b.source, &b.channel)))
            });
            Ok(found)
        })
    }

    /// Whether a session is over, as far as its gateway says; one that nobody knows is.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn is_over<'a>(&'a self, of: &'a Whereabouts) -> BoxFuture<'a, Result<bool, QueryError>> {
        #[derive(Deserialize)]
        struct Row {
            state: String,
        }
        Box::pin(async move {
            let reading = self.read_evidence(Bounds::default().time).await?;
            let rows = reading.table("sessions", of.is_session()).await?;
            let rows: Vec<Row> = reading.rows(rows.select(columns(&["state"]))?).await?;
            Ok(rows.iter().all(|row| row.state == "ended"))
        })
    }

    /// A recording with its parts.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn reel<'a>(&'a self, session_id: &'a str, of: Indexed) -> BoxFuture<'a, Result<Reel, QueryError>> {
        Box::pin(async move {
            let reading = self.read_evidence(Bounds::default().time).await?;
            let rows = reading.table(Table::IndexedSegments.name(), in_run(session_id, of.run)).await?;
            let rows = rows.sort(vec![ident("number").sort(true, false)])?.select(columns(ROW))?;
            let frames = reading.whereabouts(&of.source, session_id);
            let (rows, frames) = futures::try_join!(reading.rows::<Row>(rows), frames)?;
            let (mut parts, mut first_event) = (Vec::new(), 0);
            for row in rows {
                let part = row.into_part(of.channel.as_deref(), first_event)?;
                first_event += part.segment.events;
                parts.push(part);
            }
            Ok(Reel { of, parts, frames })
        })
    }

    /// A part of a recording with its screen and its events; `None` where the frames that are there are not those that
    /// were looked through: more have come, or some are gone or damaged.
    ///
    /// # Errors
    ///
    /// [`QueryError::TooLarge`] for more than a browser could take; otherwise as [`Engine::query`].
    pub fn part<'a>(&'a self, reel: &'a Reel, number: usize) -> BoxFuture<'a, Result<Option<Playable>, QueryError>> {
        #[derive(Deserialize)]
        struct Screen {
            init: String,
            tail: String,
        }
        Box::pin(async move {
            let Some(Part { segment, key }) = reel.parts.get(number) else { return Ok(None) };
            let reading = self.read_evidence(Bounds::default().time).await?;
            let mine = ident("number").eq(lit(number as i64)).and(in_run(&reel.frames.session_id, reel.of.run));
            let screen = async {
                let rows = reading.table(Table::IndexedSegments.name(), mine).await?;
                let rows: Vec<Screen> = reading.rows(rows.select(columns(&["init", "tail"]))?).await?;
                Ok(rows.into_iter().next())
            };
            let (first, last) = (segment.place.seq, segment.last_seq);
            let frames = reading.frames_between(&reel.frames, key, (first, last), PART_BYTES_MAX);
            let (screen, frames) = futures::try_join!(screen, frames)?;
            let Some(Screen { init, tail }) = screen else { return Ok(None) };
            let events = match segment.events {
                0 => Vec::new(),
                _ => Reader::part(key.clone(), segment.place, (last, segment.end_us), frames),
            };
            let segment = Segment { init, tail: unhex(&tail).unwrap_or_default(), ..segment.clone() };
            Ok((segment.hash(&events) == segment.sha256).then_some((segment, events)))
        })
    }

    /// The part of a recording that begins at a time (microseconds since its start) or before it, and goes as far as another
    /// time and `bytes_max` bytes of output allow, one segment at least; `None` as in [`part`](Self::part).
    ///
    /// # Errors
    ///
    /// As [`part`](Self::part).
    pub fn stretch<'a>(
        &'a self,
        reel: &'a Reel,
        (from_us, to_us): (i64, i64),
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<Option<Recording>, QueryError>> {
        Box::pin(async move {
            // All that happened at the time at which it begins is in it.
            let mut first = reel.part_at(from_us);
            while let Some(before) = first.checked_sub(1)
                && let (Some(one), Some(next)) = (reel.parts.get(before), reel.parts.get(first))
                && one.segment.end_us >= next.segment.start_us.min(from_us)
            {
                first = before;
            }
            let (mut segments, mut bytes) = (Vec::new(), 0);
            for (number, part) in reel.parts.iter().enumerate().skip(first) {
                bytes += part.segment.output_bytes;
                if number > first && (part.segment.start_us > to_us || bytes > bytes_max) {
                    break;
                }
                let Some(playable) = self.part(reel, number).await? else { return Ok(None) };
                segments.push(playable);
            }
            let whole = Whole {
                session_id: reel.frames.session_id.clone(),
                size: Size { cols: reel.of.cols, rows: reel.of.rows },
                duration_us: reel.of.duration_us,
                started_at: reel.of.started_at.map(|Time(at)| at),
                ended: reel.of.ended,
                findings: reel.of.findings.lines().count(),
                segments: reel.parts.len(),
            };
            Ok(whole.part(first, segments))
        })
    }

    /// Frames of a stream of a recording that have pieces with these numbers (both included), in the order of their
    /// first pieces.
    ///
    /// # Errors
    ///
    /// [`QueryError::TooLarge`] when there are more than `bytes_max` bytes of them.
    pub fn frames_between<'a>(
        &'a self,
        of: &'a Whereabouts,
        key: &'a StreamKey,
        between: (i64, i64),
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, QueryError>> {
        Box::pin(async move {
            let reading = self.read_evidence(None).await?;
            reading.frames_between(of, key, between, bytes_max).await
        })
    }

    /// Of which frames the recordings of a session are made.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn streams<'a>(
        &'a self,
        source: &'a str,
        session_id: &'a str,
    ) -> BoxFuture<'a, Result<(Whereabouts, Streams), QueryError>> {
        Box::pin(async move {
            let reading = self.read_evidence(None).await?;
            let of = reading.whereabouts(source, session_id).await?;
            let streams = reading.streams(&of).await?;
            Ok((of, streams))
        })
    }
}

/// The frames of a session's recordings, by channel and stream, each in the order of their first pieces.
pub type Streams = BTreeMap<Option<String>, BTreeMap<StreamKey, Vec<Extent>>>;

impl Reading {
    /// How far the recordings of a session can be trusted, by the kind of gateway. Its rows of `sessions` are known, in all
    /// columns.
    pub(crate) async fn recording_states(
        &self,
        session_id: &str,
        sessions: Vec<RecordBatch>,
    ) -> Result<BTreeMap<String, RecordingState>, QueryError> {
        #[derive(Deserialize)]
        struct Row {
            source: String,
            #[serde(flatten)]
            state: RecordingState,
        }
        let sessions = self.held("sessions", sessions)?;
        let of = |name: &str| (name == "sessions").then(|| provider_as_source(sessions.clone()));
        let view = views::in_place(self.view("recording_state")?, &of)?;
        let rows = self.frame_of(LogicalPlanBuilder::from(view).alias("recording_state")?.build()?);
        let rows = rows.filter(ident("session_id").eq(lit(session_id)))?.select(columns(STATE))?;
        Ok(self.rows::<Row>(rows).await?.into_iter().map(|row| (row.source, row.state)).collect())
    }

    async fn whereabouts(&self, source: &str, session_id: &str) -> Result<Whereabouts, QueryError> {
        let days = match self.snapshot.part(PARTS).is_some_and(|part| part.is_kept()) {
            true => Some(self.days_with(PARTS, session_id).await?),
            false => None,
        };
        Ok(Whereabouts { source: source.to_owned(), session_id: session_id.to_owned(), days })
    }

    async fn streams(&self, of: &Whereabouts) -> Result<Streams, QueryError> {
        let rows = self.table(Table::Frames.name(), of.condition()).await?;
        let pieces = character_length(ident("codes")).alias("pieces");
        let mut columns = columns(&["channel", "clock", "topic", "partition", "first_seq", "last_seq", "output_bytes"]);
        columns.push(pieces);
        let mut batches = crate::engine::stream(rows.select(columns)?).await?;
        let mut streams = Streams::new();
        while let Some(batch) = futures::StreamExt::next(&mut batches).await {
            let batch = batch?;
            let column = |name: &str| {
                batch.column_by_name(name).ok_or_else(|| QueryError::Internal(format!("frames has no {name}")))
            };
            let number = |name: &str| Ok::<_, QueryError>(column(name)?.as_primitive::<Int64Type>());
            let (channel, clock, topic) = (column("channel")?, column("clock")?, column("topic")?);
            let (channel, clock, topic) =
                (channel.as_string::<i32>(), clock.as_string::<i32>(), topic.as_string::<i32>());
            let partition = column("partition")?.as_primitive::<Int32Type>();
            let (first, last, output) = (number("first_seq")?, number("last_seq")?, number("output_bytes")?);
            let pieces = column("pieces")?.as_primitive::<Int32Type>();
            for row in 0..batch.num_rows() {
                let clock = Clock::from_name(clock.value(row))
                    .ok_or_else(|| QueryError::Internal("frames has a clock that nobody knows".to_owned()))?;
                let lines_of =
                    (clock == Clock::AsciicastLine).then(|| (topic.value(row).to_owned(), partition.value(row)));
                let channel = (!arrow::array::Array::is_null(channel, row)).then(|| channel.value(row).to_owned());
                let key = StreamKey { clock, lines_of, channel: channel.clone() };
                let extent = Extent {
                    first_seq: first.value(row),
                    last_seq: last.value(row),
                    pieces: usize::try_from(pieces.value(row)).unwrap_or_default(),
                    output_bytes: output.value(row).unsigned_abs(),
                };
                streams.entry(channel).or_default().entry(key).or_default().push(extent);
            }
        }
        streams.values_mut().flat_map(BTreeMap::values_mut).for_each(|extents| extents.sort_unstable());
        Ok(streams)
    }

    async fn frames_between(
        &self,
        of: &Whereabouts,
        key: &StreamKey,
        (first, last): (i64, i64),
        bytes_max: usize,
    ) -> Result<Vec<Frame>, QueryError> {
        let mut mine = of.condition().and(ident("clock").eq(lit(key.clock.as_str())));
        mine = mine.and(ident("last_seq").gt_eq(lit(first))).and(ident("first_seq").lt_eq(lit(last)));
        mine = mine.and(match &key.channel {
            Some(channel) => ident("channel").eq(lit(channel.as_str())),
            None => ident("channel").is_null(),
        });
        if let Some((topic, partition)) = &key.lines_of {
            mine = mine.and(ident("topic").eq(lit(topic.as_str()))).and(ident("partition").eq(lit(*partition)));
        }
        let rows = self.table(Table::Frames.name(), mine).await?;
        let read = async {
            let mut batches = crate::engine::stream(rows).await?;
            let (mut frames, mut bytes) = (Vec::new(), 0);
            while let Some(batch) = futures::StreamExt::next(&mut batches).await {
                let batch = batch?;
                bytes += data_bytes(&batch);
                if bytes > bytes_max {
                    let what = format!("a part of the recording of session {:?}", of.session_id);
                    return Err(QueryError::TooLarge { what, bytes_max });
                }
                frames.extend(read_frames(&batch)?.into_iter().filter(|frame| StreamKey::of(frame) == *key));
            }
            Ok(frames)
        };
        let mut frames = self.within(read).await?;
        frames.sort_by_key(|frame| frame.pieces.first().map(|piece| piece.seq));
        Ok(frames)
    }
}

impl Reel {
    /// The last part that begins not later than a time (microseconds since the start).
    pub fn part_at(&self, time_us: i64) -> usize {
        self.parts.partition_point(|part| part.segment.start_us <= time_us).saturating_sub(1)
    }
}

impl Whereabouts {
    /// The session.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    fn is_session(&self) -> Expr {
        let mine = ident("session_id").eq(lit(self.session_id.as_str()));
        mine.and(ident("source").eq(lit(self.source.as_str())))
    }

    fn condition(&self) -> Expr {
        let mine = self.is_session();
        let Some(days) = &self.days else { return mine };
        let day = |day: i32| lit(ScalarValue::Date32(Some(day)));
        let known = ident(PARTITION_COLUMN).in_list(days.iter().copied().map(day).collect(), false);
        // More may have come since.
        mine.and(match days.iter().max() {
            Some(last) => known.or(ident(PARTITION_COLUMN).gt(day(*last))),
            None => lit(true),
        })
    }
}

/// The part that says on which days a session was recorded.
const PARTS: &str = "recording_parts";

fn in_run(session_id: &str, run: i64) -> Expr {
    ident("session_id").eq(lit(session_id)).and(ident("run").eq(lit(run)))
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len()).step_by(2).map(pair).collect()
}
