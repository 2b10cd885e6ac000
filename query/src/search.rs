//! Texts that were on the screens of recorded sessions, and which recordings were not looked through yet.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use custody_schemas::columns::read_frames;
use custody_schemas::frame::Frame;
use custody_schemas::table::{PARTITION_COLUMN, Table};
use custody_schemas::trigrams::{fold, hashes, may_have};
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, Literal, Operator, binary_expr, ident, lit};
use futures::StreamExt;
use futures::future::BoxFuture;
use regex_syntax::hir::{Class, Hir, HirKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{Bounds, Engine, Reading};
use crate::error::QueryError;
use crate::functions::{is_one_of, is_one_of_numbers};
use crate::sessions::{LinkedSession, Time, columns, data_bytes, is_by};

/// The longest text or pattern that is looked for, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

/// A pattern may become a program this large, in bytes.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Days are looked through together until they have so many bytes, as they are stored.
const PIECE_BYTES: u64 = 32 << 20;

/// So much of a neighbour is told, in bytes.
const NEIGHBOUR_BYTES_MAX: usize = 1024;

/// The neighbours of so many hits are looked up with one question.
const NEIGHBOURS_AT_ONCE: usize = 200;

/// So many hits are looked up together,
const HITS_AT_ONCE: usize = 1000;

/// but for the first ones, for which somebody waits: those that are found so soon after the first.
const FIRST_WITHIN: Duration = Duration::from_millis(100);

/// Texts are read by the runs of them that may have what is looked for, unless these are more than so many.
const RUNS_MAX: usize = 256;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// A text. Where it has no capital letter, those of what is looked through do not count.
    Text(String),
    /// A regular expression.
    Regex(String),
}

/// What is looked for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// What.
    pub pattern: Pattern,
    /// Only in this session.
    pub session_id: Option<String>,
    /// Only in sessions of this person.
    pub actor: Option<String>,
    /// Only in sessions on this target.
    pub target: Option<String>,
    /// Only in sessions of this kind of gateway, or of the gateway of this name.
    pub gateway: Option<String>,
    /// Only what came onto the screen at or after this instant.
    pub from: Option<Time>,
    /// Only what came onto the screen before it.
    pub to: Option<Time>,
}

/// A text in which it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Hit {
    /// Kind of gateway.
    pub source: String,
    /// The session.
    pub session_id: String,
    /// Which of its recordings.
    pub channel: Option<String>,
    /// The look at the recording that found it.
    pub run: i64,
    /// Number of the text, in the order in which texts went from the screen.
    pub number: i64,
    /// When it came onto the screen, in microseconds since the start of the recording.
    pub from_us: i64,
    /// Since when it read as it does; before that it was shorter.
    pub whole_us: i64,
    /// When it went.
    pub till_us: i64,
    /// Wall clock of `whole_us`.
    pub shown_at: Option<Time>,
    /// Row of the screen, from 0.
    pub row: i32,
    /// It was on the alternate screen, that of editors and pagers.
    pub alternate: bool,
    /// The text.
    pub text: String,
    /// The text before it.
    pub before: Option<String>,
    /// The text after it.
    pub after: Option<String>,
}

/// Days of ingestion that are looked through at once, counted from 1970.
#[derive(Debug, Clone, Copy)]
struct Days {
    first: i32,
    last: i32,
    /// Size of what is looked through, in bytes.
    bytes: u64,
}

/// A recording that is to be looked through.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unindexed {
    /// Kind of gateway.
    pub source: String,
    /// The session.
    pub session_id: String,
    /// Number of its frames.
    pub frames: i64,
    /// Number of those that were looked through.
    pub frames_indexed: i64,
    /// Size of its output.
    pub output_bytes: i64,
    /// The gateway said that the session is over.
    pub has_end: bool,
    /// The day of its first frame, in days since 1970.
    pub first_day: i32,
    /// The day of its last frame.
    pub last_day: i32,
}

impl Search {
    /// Whether it can be looked for.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] for a pattern that makes no sense.
    pub fn check(&self) -> Result<(), QueryError> {
        self.condition().map(drop)
    }

    /// The condition of a text.
    fn condition(&self) -> Result<Expr, QueryError> {
        let (Pattern::Text(pattern) | Pattern::Regex(pattern)) = &self.pattern;
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            let what = format!("what is looked for must have 1 to {PATTERN_BYTES_MAX} bytes");
            return Err(QueryError::Invalid(what));
        }
        Ok(match &self.pattern {
            Pattern::Text(wanted) => {
                let escaped = |c| matches!(c, '%' | '_' | '\\').then_some('\\').into_iter().chain([c]);
                let like = lit(format!("%{}%", wanted.chars().flat_map(escaped).collect::<String>()));
                match wanted.chars().any(char::is_uppercase) {
                    true => ident("text").like(like),
                    false => ident("text").ilike(like),
                }
            }
            Pattern::Regex(wanted) => {
                let read = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(PROGRAM_BYTES_MAX).build();
                // A group: of a bare text the engine would make a LIKE, in which a backslash means something else.
                let group = format!("({wanted})");
                let is_regex = read(wanted).and_then(|_| read(&group));
                is_regex.map_err(|error| QueryError::Invalid(format!("that is no regular expression: {error}")))?;
                binary_expr(ident("text"), Operator::RegexMatch, lit(group))
            }
        })
    }

    /// The hashes of trigrams that are in every text that it is found in.
    fn trigrams(&self) -> Vec<u16> {
        let mut needed = Needed::default();
        match &self.pattern {
            Pattern::Text(wanted) => needed.texts.push(wanted.clone()),
            // What is no regular expression was refused before.
            Pattern::Regex(wanted) => {
                regex_syntax::parse(wanted).iter().for_each(|hir| needed.add(hir));
                needed.end();
            }
        }
        let all: BTreeSet<u16> = needed.texts.iter().flat_map(|text| hashes(text)).collect();
        all.into_iter().collect()
    }

    fn is_in_time(&self, shown_at: Option<Time>) -> bool {
        let since = self.from.is_none_or(|from| shown_at.is_some_and(|at| at.0 >= from.0));
        since && self.to.is_none_or(|to| shown_at.is_some_and(|at| at.0 < to.0))
    }
}

/// Texts that are in whatever a regular expression matches.
#[derive(Default)]
struct Needed {
    texts: Vec<String>,
    /// The text that goes on with what comes next.
    open: String,
}

impl Needed {
    fn add(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => self.open.push_str(text),
                Err(_) => self.end(),
            },
            // A letter in any case is a class of letters that are the same to trigrams.
            HirKind::Class(Class::Unicode(class)) => {
                let mut letters = class.iter().flat_map(|range| range.start()..=range.end());
                match letters.next() {
                    Some(first) if letters.all(|letter| fold(letter) == fold(first)) => self.open.push(first),
                    _ => self.end(),
                }
            }
            HirKind::Class(Class::Bytes(_)) | HirKind::Alternation(_) => self.end(),
            HirKind::Capture(capture) => self.add(&capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.add(part)),
            HirKind::Repetition(repetition) => {
                self.end();
                if repetition.min > 0 {
                    self.add(&repetition.sub);
                    self.end();
                }
            }
        }
    }

    fn end(&mut self) {
        if !self.open.is_empty() {
            self.texts.push(std::mem::take(&mut self.open));
        }
    }
}

/// Where texts stand that may have what is looked for.
enum Places {
    Anywhere,
    Nowhere,
    /// Where this is so.
    Where(Expr),
}

/// Runs of texts, as the columns of `indexed_trigrams` tell them.
#[derive(Default)]
struct Runs {
    count: usize,
    /// First and last, of those that may have it.
    sessions: BTreeSet<(String, String)>,
    runs: BTreeSet<(i64, i64)>,
    /// Of those that are of one look at one recording; of others all numbers count.
    numbers: Option<BTreeSet<(i64, i64)>>,
}

impl Runs {
    /// Adds those of these rows that may have all trigrams.
    fn add(&mut self, rows: &RecordBatch, wanted: &[u16]) -> Result<(), QueryError> {
        let column = |name: &str| {
            rows.column_by_name(name).ok_or_else(|| QueryError::Internal(format!("indexed_trigrams has no {name}")))
        };
        let [first_session, last_session] =
            [column("first_session")?.as_string::<i32>(), column("last_session")?.as_string()];
        let number = |name: &str| Ok::<_, QueryError>(column(name)?.as_primitive::<Int64Type>());
        let [first_run, last_run] = [number("first_run")?, number("last_run")?];
        let [first_number, last_number] = [number("first_number")?, number("last_number")?];
        let bits = column("bits")?.as_binary::<i32>();
        for row in (0..rows.num_rows()).filter(|row| may_have(bits.value(*row), wanted)) {
            self.count += 1;
            let sessions = (first_session.value(row), last_session.value(row));
            let runs = (first_run.value(row), last_run.value(row));
            if sessions.0 != sessions.1 || runs.0 != runs.1 {
                self.numbers = None;
            }
            if let Some(numbers) = &mut self.numbers {
                numbers.insert((first_number.value(row), last_number.value(row)));
            }
            self.sessions.insert((sessions.0.to_owned(), sessions.1.to_owned()));
            self.runs.insert(runs);
        }
        Ok(())
    }

    /// A condition for each column by itself: by such pages are told apart. It lets more through than these runs have,
    /// which costs time and nothing else.
    fn places(self) -> Places {
        if self.count > RUNS_MAX {
            return Places::Anywhere;
        }
        let conditions = [
            in_any("session_id", self.sessions),
            in_any("run", self.runs),
            in_any("number", self.numbers.unwrap_or_default()),
        ];
        conditions.into_iter().flatten().reduce(Expr::and).map_or(Places::Nowhere, Places::Where)
    }
}

/// The condition that a column is in one of these ranges, by which files and pages are passed over: of a list with more than
/// twenty values the engine would look at every page.
fn in_any<T: Literal>(column: &str, ranges: impl IntoIterator<Item = (T, T)>) -> Option<Expr> {
    let ranges = ranges.into_iter().map(|(first, last)| ident(column).between(lit(first), lit(last)));
    either(ranges.collect())
}

/// Whether any of these is so. The engine goes down such a tree from each of its nodes, and again for each file: it is as
/// flat as can be.
fn either(mut conditions: Vec<Expr>) -> Option<Expr> {
    if conditions.len() < 2 {
        return conditions.pop();
    }
    let rest = conditions.split_off(conditions.len() / 2);
    either(conditions).into_iter().chain(either(rest)).reduce(Expr::or)
}

/// A recording: source, session, channel.
type Key = (String, String, Option<String>);

/// The newest look at a recording.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// By which looks are compared: version of what looked, frames that there were, number.
    order: (i32, i64, i64),
    /// Wall clock at the start of the recording.
    started_at: Option<Time>,
}

/// A search on one state of the ledger.
pub struct Searching {
    reading: Reading,
    asked: Search,
    /// See [`Search::trigrams`].
    trigrams: Vec<u16>,
    /// What is still to be looked through, the newest last.
    pieces: Vec<Days>,
    /// The piece that is looked through.
    now: Option<(Days, SendableRecordBatchStream)>,
    /// The sessions that are asked for; `None` where all are.
    sessions: Option<HashSet<(String, String)>>,
    newest: HashMap<Key, Look>,
    /// Version of what looks through recordings.
    version: i32,
    bytes: u64,
    /// Something was found.
    has_found: bool,
}

/// What a search does not look through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unsearched {
    /// Recordings that were not looked through yet, or have grown since.
    pub recordings_not_indexed: i64,
    /// Recordings that could not be looked through.
    pub recordings_failed: i64,
    /// Texts that were too many to be kept.
    pub texts_missed: i64,
}

/// A row of `indexed_texts`.
#[derive(Deserialize)]
struct Row {
    source: String,
    session_id: String,
    channel: Option<String>,
    run: i64,
    number: i64,
    from_us: i64,
    whole_us: i64,
    till_us: i64,
    row: i32,
    alternate: bool,
    text: String,
}

impl Searching {
    /// What is not looked through.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn unsearched(&mut self) -> BoxFuture<'_, Result<Unsearched, QueryError>> {
        Box::pin(async move {
            let session_id = self.asked.session_id.as_deref();
            let of_session = |column: &str| session_id.map_or(String::new(), |_| format!("AND {column} = $id"));
            let count = async {
                let (there, looked) = (of_session("there.session_id"), of_session("session_id"));
                let counted = format!(
                    "SELECT
                       (SELECT count(*) FROM ({UNINDEXED} {there})) AS recordings_not_indexed,
                       (SELECT count(*) FROM recording_index WHERE error IS NOT NULL {looked}) AS recordings_failed,
                       (SELECT coalesce(sum(missed), 0) FROM recording_index WHERE true {looked}) AS texts_missed"
                );
                let mut values = HashMap::from([("version", ScalarValue::Int32(Some(self.version)))]);
                values.extend(session_id.map(|id| ("id", ScalarValue::Utf8(Some(id.to_owned())))));
                let counted: Vec<Unsearched> = self.reading.rows(self.reading.sql(&counted, values).await?).await?;
                Ok(counted.first().copied().unwrap_or_default())
            };
            match session_id {
                Some(_) => count.await,
                None => self.reading.snapshot.unsearched.get_or_try_init(|| count).await.copied(),
            }
        })
    }

    /// Bytes that are to be looked through in all, as they are stored.
    pub fn bytes_in_all(&self) -> u64 {
        self.reading.sizes().values().sum()
    }

    /// Bytes that were looked through so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sessions with what gave access to them, as far as anything is known of these ids.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn linked<'a>(
        &'a mut self,
        session_ids: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<LinkedSession>, QueryError>> {
        Box::pin(self.reading.linked(session_ids))
    }

    /// Some more hits, by session and time, the newest days first; none where it only has come further, `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn more(&mut self) -> BoxFuture<'_, Result<Option<Vec<Hit>>, QueryError>> {
        Box::pin(async move {
            if self.now.is_none() {
                let Some(days) = self.pieces.pop() else { return Ok(None) };
                let mut condition = on_days(days).and(self.asked.condition()?);
                match places(&self.reading, &self.trigrams, days).await? {
                    Places::Anywhere => {}
                    Places::Where(there) => condition = condition.and(there),
                    Places::Nowhere => {
                        self.bytes += days.bytes;
                        return Ok(Some(Vec::new()));
                    }
                }
                if let Some(session) = &self.asked.session_id {
                    condition = condition.and(ident("session_id").eq(lit(session.as_str())));
                }
                let rows = self.reading.table(Table::IndexedTexts.name(), condition).await?.select(columns(TEXT))?;
                self.now = Some((days, crate::engine::stream(rows).await?));
            }
            let Some((days, batches)) = &mut self.now else { return Ok(None) };
            let days = *days;
            let mut found: Vec<Row> = Vec::new();
            let mut is_over = false;
            let mut waits_until = None;
            while !is_over && found.len() < HITS_AT_ONCE && waits_until.is_none_or(|until| Instant::now() < until) {
                match self.reading.within(async { Ok(batches.next().await) }).await? {
                    Some(batch) => found.append(&mut Reading::values(&[batch?])?),
                    None => is_over = true,
                }
                if !self.has_found && !found.is_empty() {
                    waits_until = waits_until.or_else(|| Instant::now().checked_add(FIRST_WITHIN));
                }
            }
            if is_over {
                self.now = None;
                self.bytes += days.bytes;
            }
            self.has_found |= !found.is_empty();
            if let Some(sessions) = &self.sessions {
                found.retain(|row| sessions.contains(&(row.source.clone(), row.session_id.clone())));
            }
            self.look_up(&found).await?;
            let mut hits: Vec<Hit> = Vec::new();
            for row in found {
                // Of a recording that was looked through again, only what was found then counts.
                let Some(look) = self.newest.get(&row.recording()).filter(|look| look.order.2 == row.run) else {
                    continue;
                };
                let shown_at = look.started_at.and_then(|Time(at)| Some(Time(at.checked_add(row.whole_us)?)));
                if self.asked.is_in_time(shown_at) {
                    hits.push(row.into_hit(shown_at));
                }
            }
            for hits in hits.chunks_mut(NEIGHBOURS_AT_ONCE) {
                set_neighbours(&self.reading, hits, days).await?;
            }
            hits.sort_by_cached_key(|hit| (hit.source.clone(), hit.session_id.clone(), hit.whole_us, hit.number));
            Ok(Some(hits))
        })
    }

    /// Looks up the newest looks at the recordings of these texts, where they are not known.
    async fn look_up(&mut self, found: &[Row]) -> Result<(), QueryError> {
        #[derive(Deserialize)]
        struct Looked {
            source: String,
            session_id: String,
            channel: Option<String>,
            version: i32,
            frames: i64,
            run: i64,
            started_at: Option<Time>,
        }
        let new = found.iter().filter(|row| !self.newest.contains_key(&row.recording()));
        let ids: BTreeSet<&str> = new.map(|row| row.session_id.as_str()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let of_sessions = is_one_of(ident("session_id"), ids);
        let of_sessions = of_sessions.and(ident("error").is_null());
        let rows = self.reading.table(Table::IndexedRecordings.name(), of_sessions).await?;
        let rows =
            rows.select(columns(&["source", "session_id", "channel", "version", "frames", "run", "started_at"]))?;
        for Looked { source, session_id, channel, version, frames, run, started_at } in self.reading.rows(rows).await? {
            let look = Look { order: (version, frames, run), started_at };
            let newest = self.newest.entry((source, session_id, channel)).or_insert(look);
            if newest.order < look.order {
                *newest = look;
            }
        }
        Ok(())
    }
}

/// Where the texts of these days stand that may have what is looked for.
async fn places(reading: &Reading, trigrams: &[u16], days: Days) -> Result<Places, QueryError> {
    if trigrams.is_empty() {
        return Ok(Places::Anywhere);
    }
    let rows = reading.table(Table::IndexedTrigrams.name(), on_days(days)).await?;
    let mut rows = crate::engine::stream(rows).await?;
    let mut runs = Runs { numbers: Some(BTreeSet::new()), ..Runs::default() };
    while let Some(rows) = reading.within(async { Ok(rows.next().await) }).await? {
        runs.add(&rows?, trigrams)?;
    }
    Ok(runs.places())
}

/// Looks up the texts before and after each.
async fn set_neighbours(reading: &Reading, hits: &mut [Hit], days: Days) -> Result<(), QueryError> {
    #[derive(Deserialize)]
    struct Neighbour {
        session_id: String,
        run: i64,
        number: i64,
        text: String,
    }
    // One number for both: another recording with the same is found too, and not looked at.
    let key = |run: i64, number: i64| run % KEYS * KEYS + number % KEYS;
    let near = hits.iter().flat_map(|hit| [key(hit.run, hit.number - 1), key(hit.run, hit.number + 1)]);
    let sessions: BTreeSet<&str> = hits.iter().map(|hit| hit.session_id.as_str()).collect();
    let runs: BTreeSet<i64> = hits.iter().map(|hit| hit.run).collect();
    let keys = (ident("run") % lit(KEYS)) * lit(KEYS) + ident("number") % lit(KEYS);
    let there = [
        in_any("session_id", sessions.into_iter().map(|session| (session, session))),
        in_any("run", runs.into_iter().map(|run| (run, run))),
    ];
    let condition = there.into_iter().flatten().fold(on_days(days), Expr::and);
    let condition = condition.and(is_one_of_numbers(keys, near));
    let rows = reading.table(Table::IndexedTexts.name(), condition).await?;
    let rows = rows.select(columns(&["session_id", "run", "number", "text"]))?;
    let rows: Vec<Neighbour> = reading.rows(rows).await?;
    let texts: HashMap<(&str, i64, i64), &str> =
        rows.iter().map(|of| ((of.session_id.as_str(), of.run, of.number), of.text.as_str())).collect();
    for hit in hits {
        let near = |number| texts.get(&(hit.session_id.as_str(), hit.run, number)).map(|text| short(text));
        (hit.before, hit.after) = (near(hit.number - 1), near(hit.number + 1));
    }
    Ok(())
}

/// As much of a neighbour as somebody looks at.
fn short(text: &str) -> String {
    text.get(..text.floor_char_boundary(NEIGHBOUR_BYTES_MAX)).unwrap_or_default().to_owned()
}

fn on_days(days: Days) -> Expr {
    let day = |day| lit(ScalarValue::Date32(Some(day)));
    ident(PARTITION_COLUMN).between(day(days.first), day(days.last))
}

impl Row {
    fn recording(&self) -> Key {
        (self.source.clone(), self.session_id.clone(), self.channel.clone())
    }

    fn into_hit(self, shown_at: Option<Time>) -> Hit {
        Hit {
            source: self.source,
            session_id: self.session_id,
            channel: self.channel,
            run: self.run,
            number: self.number,
            from_us: self.from_us,
            whole_us: self.whole_us,
            till_us: self.till_us,
            shown_at,
            row: self.row,
            alternate: self.alternate,
            text: self.text,
            before: None,
            after: None,
        }
    }
}

/// Numbers of texts are smaller.
const KEYS: i64 = 1_000_000_000;

/// The columns of [`Row`].
const TEXT: &[&str] =
    &["source", "session_id", "channel", "run", "number", "from_us", "whole_us", "till_us", "row", "alternate", "text"];

impl Engine {
    /// Begins a search on the newest state of the ledger, which takes a turn until it is dropped. `version` is that of
    /// what looks through recordings.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] for a pattern that makes no sense; otherwise as [`Engine::query`].
    pub fn search(
        &self,
        asked: Search,
        version: i32,
        time: Option<Duration>,
    ) -> BoxFuture<'_, Result<Searching, QueryError>> {
        #[derive(Deserialize)]
        struct Session {
            source: String,
            session_id: String,
        }
        Box::pin(async move {
            asked.check()?;
            let reading = self.read_evidence(time).await?;
            // Of most texts nothing but the text is looked at.
            reading.context.state_ref().write().config_mut().options_mut().execution.parquet.pushdown_filters = true;
            let is = |column: &str, value: &Option<String>| value.as_deref().map(|value| ident(column).eq(lit(value)));
            let gateway = || Some(is("source", &asked.gateway)?.or(is("cluster", &asked.gateway)?));
            let conditions = [asked.actor.as_deref().map(is_by), is("target", &asked.target), gateway()];
            let mut sessions = None;
            if let Some(condition) = conditions.into_iter().flatten().reduce(Expr::and) {
                let named = reading.named(asked.actor.as_deref(), asked.target.as_deref()).await?;
                let condition = named.into_iter().fold(condition, Expr::and);
                let rows = reading.table("sessions", condition).await?.select(columns(&["source", "session_id"]))?;
                let rows: Vec<Session> = reading.rows(rows).await?;
                sessions = Some(rows.into_iter().map(|row| (row.source, row.session_id)).collect());
            }
            let mut pieces: Vec<Days> = Vec::new();
            for (day, bytes) in reading.sizes().clone() {
                match pieces.last_mut() {
                    Some(piece) if piece.bytes < PIECE_BYTES => {
                        *piece = Days { last: day, bytes: piece.bytes + bytes, ..*piece };
                    }
                    _ => pieces.push(Days { first: day, last: day, bytes }),
                }
            }
            let trigrams = asked.trigrams();
            Ok(Searching {
                reading,
                asked,
                trigrams,
                pieces,
                now: None,
                sessions,
                newest: HashMap::new(),
                version,
                bytes: 0,
                has_found: false,
            })
        })
    }

    /// Ids that are like one that nobody knows, a few of them.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn like<'a>(&'a self, session_id: &'a str) -> BoxFuture<'a, Result<Vec<String>, QueryError>> {
        #[derive(Deserialize)]
        struct Row {
            session_id: String,
        }
        Box::pin(async move {
            if session_id.is_empty() || session_id.len() > 256 {
                return Ok(Vec::new());
            }
            let reading = self.read_evidence(Bounds::default().time).await?;
            let values = HashMap::from([("id", ScalarValue::Utf8(Some(session_id.to_owned())))]);
            let sql = "SELECT session_id, min(CASE WHEN strpos(session_id, $id) > 0 THEN 0 ELSE levenshtein(session_id, $id) END) AS d \
                       FROM sessions WHERE strpos(session_id, $id) > 0 OR levenshtein(session_id, $id) <= 3 \
                       GROUP BY session_id ORDER BY d, session_id LIMIT 3";
            let rows: Vec<Row> = reading.rows(reading.sql(sql, values).await?).await?;
            Ok(rows.into_iter().map(|row| row.session_id).collect())
        })
    }

    /// Recordings that this version of the index does not have, or of which more has come, in the order of their ids; of one
    /// session, where one is asked for.
    ///
    /// # Errors
    ///
    /// [`QueryError::Store`] when the ledger cannot be read.
    pub fn unindexed<'a>(
        &'a self,
        version: i32,
        session_id: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Unindexed>, QueryError>> {
        Box::pin(async move {
            let reading = self.read_evidence(None).await?;
            let mut values = HashMap::from([("version", ScalarValue::Int32(Some(version)))]);
            let mut sql = UNINDEXED.to_owned();
            if let Some(session_id) = session_id {
                sql.push_str(" AND there.session_id = $id");
                values.insert("id", ScalarValue::Utf8(Some(session_id.to_owned())));
            }
            sql.push_str(" ORDER BY source, session_id");
            reading.rows(reading.sql(&sql, values).await?).await
        })
    }

    /// The frames of these recordings of one source, by their sessions.
    ///
    /// # Errors
    ///
    /// [`QueryError::TooLarge`] when there are more than `bytes_max` bytes of them.
    pub fn frames_of<'a>(
        &'a self,
        recordings: &'a [Unindexed],
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<BTreeMap<String, Vec<Frame>>, QueryError>> {
        Box::pin(async move {
            let mut of: BTreeMap<String, Vec<Frame>> = BTreeMap::new();
            let Some(one) = recordings.first() else { return Ok(of) };
            let reading = self.read_evidence(None).await?;
            let day = |day: Option<i32>| lit(ScalarValue::Date32(day));
            let first = recordings.iter().map(|recording| recording.first_day).min();
            let last = recordings.iter().map(|recording| recording.last_day).max();
            let ids = recordings.iter().map(|recording| recording.session_id.as_str());
            let on_days = ident("date").between(day(first), day(last));
            let mine = ident("source").eq(lit(one.source.as_str())).and(is_one_of(ident("session_id"), ids));
            let rows = reading.table(Table::Frames.name(), on_days.and(mine)).await?;
            let mut batches = crate::engine::stream(rows).await?;
            let mut bytes = 0;
            while let Some(batch) = futures::StreamExt::next(&mut batches).await {
                let batch = batch?;
                bytes += data_bytes(&batch);
                if bytes > bytes_max {
                    let what = format!("the recording of session {:?}", one.session_id);
                    return Err(QueryError::TooLarge { what, bytes_max });
                }
                for frame in read_frames(&batch)? {
                    of.entry(frame.session_id.clone()).or_default().push(frame);
                }
            }
            Ok(of)
        })
    }
}

/// Recordings that the index does not have, or not all of. Frames only grow in number, until days expire: then those that
/// come later came on a later day.
const UNINDEXED: &str = "
  WITH have AS (
    SELECT source, session_id, max(frames) AS frames, max(date) AS day FROM indexed_recordings
    WHERE version >= $version GROUP BY source, session_id
  ), there AS (
    SELECT source, session_id, sum(frames) AS frames, sum(output_bytes) AS output_bytes, bool_or(has_end) AS has_end,
      min(first_day) AS first_day, max(last_day) AS last_day
    FROM recordings GROUP BY source, session_id
  )
  SELECT there.source AS source, there.session_id AS session_id, there.frames AS frames,
    coalesce(have.frames, 0) AS frames_indexed, output_bytes, has_end,
    CAST(first_day AS INT) AS first_day, CAST(last_day AS INT) AS last_day
  FROM there LEFT JOIN have ON have.source = there.source AND have.session_id = there.session_id
  WHERE output_bytes > 0 AND (have.frames IS NULL OR have.frames < there.frames OR have.day < last_day)";

#[cfg(test)]
mod tests {
    use custody_schemas::trigrams::Trigrams;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn search(pattern: Pattern) -> Search {
        Search { pattern, session_id: None, actor: None, target: None, gateway: None, from: None, to: None }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let long = "x".repeat(PATTERN_BYTES_MAX + 1);
        let cases = [
            Pattern::Text(String::new()),
            Pattern::Text(long.clone()),
            Pattern::Regex(long),
            Pattern::Regex("(".to_owned()),
            Pattern::Regex("(\\w{1000}){1000}".to_owned()),
        ];
        for pattern in cases {
            assert!(matches!(search(pattern.clone()).condition(), Err(QueryError::Invalid(_))), "{pattern:?}");
        }
    }

    #[test]
    fn what_a_regular_expression_needs_is_looked_for_first() {
        let cases: [(&str, &[&str]); 11] = [
            ("tok_[0-9a-f]{8}$", &["tok_"]),
            ("^error: (.*) failed\\b: x+", &["error: ", " failed: ", "x"]),
            ("(?i)Straße", &["Straße"]),
            ("one|two", &[]),
            ("a(one|two)b(c)d", &["a", "bcd"]),
            ("(abc)?d(efg)*", &["d"]),
            ("(abc){2,3}", &["abc"]),
            ("[xX]yz", &["Xyz"]),
            ("[xy]z", &["z"]),
            ("\\x{212A}ey", &["\u{212a}ey"]),
            (".*", &[]),
        ];
        for (pattern, expected) in cases {
            let mut needed = Needed::default();
            needed.add(&regex_syntax::parse(pattern).unwrap());
            needed.end();
            let lower = |texts: Vec<&str>| texts.iter().map(|text| text.to_lowercase()).collect::<Vec<_>>();
            assert_eq!(lower(needed.texts.iter().map(String::as_str).collect()), lower(expected.to_vec()), "{pattern}");
        }
    }

    #[test]
    fn a_text_is_looked_for_as_it_stands() {
        let condition = |text: &str| search(Pattern::Text(text.to_owned())).condition().unwrap().to_string();
        assert_eq!(condition("50%_\\"), "text ILIKE Utf8(\"%50\\%\\_\\\\%\")");
        assert_eq!(condition("Error"), "text LIKE Utf8(\"%Error%\")");
    }

    /// A text of few letters, some of which differ in case in odd ways.
    fn letters(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
        let letter = select("abAB ksKSſKßẞςσΣéÉ".chars().collect::<Vec<_>>());
        vec(letter, length).prop_map(|letters| letters.into_iter().collect())
    }

    /// What regular expressions are made of.
    fn atom() -> impl Strategy<Value = String> {
        prop_oneof![
            (letters(1..4), select(vec!["", "?", "+", "*"])).prop_map(|(text, times)| text + times),
            (letters(0..3), letters(0..3), select(vec!["", "?", "+", "{2}"]))
                .prop_map(|(one, other, times)| format!("({one}|{other}){times}")),
            letters(1..4).prop_map(|text| format!("[{text}]")),
            letters(2..5).prop_map(|text| format!("(?i:{text})")),
            Just(".".to_owned()),
            Just("\\b".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn no_text_is_passed_over_that_has_what_is_looked_for(
            text in letters(0..12),
            wanted in letters(1..5),
            atoms in vec(atom(), 1..4),
        ) {
            let mut set = Trigrams::default();
            set.insert(&text);
            let insensitive = regex::Regex::new(&format!("(?i){}", regex::escape(&wanted))).unwrap();
            let written = atoms.concat();
            let regex = regex::Regex::new(&written).unwrap();
            let cases =
                [(insensitive.is_match(&text), Pattern::Text(wanted)), (regex.is_match(&text), Pattern::Regex(written))];
            for (matches, pattern) in cases {
                let trigrams = search(pattern.clone()).trigrams();
                prop_assert!(!matches || may_have(set.as_bytes(), &trigrams), "{pattern:?} in {text:?}");
            }
        }
    }
}
