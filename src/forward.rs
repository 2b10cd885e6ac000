//! Forwarding: each destination is a cursor over the ledger, moved once what lies before it was taken.

mod cursor;
mod feed;
mod known;
mod operate;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use custody_forward::delivery::{Delivery, Patience, State};
use custody_forward::destination::Receiver;
use custody_forward::notice::{Access, Evidence, Notice};
use custody_forward::schema::Schema;
use custody_forward::sink::{Item, Sink};
use custody_ledger::{Follower, Ledger};
use custody_query::feed::Predicate;
use custody_query::sessions::{LinkedSession, Time};
use custody_query::{Engine, Limits};
use custody_schemas::columns::StoredEvent;
use custody_schemas::event::Kind;
use custody_schemas::forwarding::Step;
use custody_schemas::table::Table;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::activity::now;
use crate::config::Config;
use crate::exit::Failure;
use cursor::{Cursor, Moved, position_of};
use feed::{Ahead, Chunk, Position};
use known::Known;

pub(crate) use operate::{DestinationStatus, command, statuses};

/// So many events are made ready together, and delivered before the cursor moves.
const CHUNK_EVENTS: usize = 4000;

/// How soon new events are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A cursor is not moved more often, where nothing else is asked for.
const MOVE_EVERY: Duration = Duration::from_secs(1);

/// How often it is counted how many events are waiting.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// Sessions whose access is looked up at once.
const SESSIONS_AT_ONCE: usize = 2000;

/// What files say of themselves is of use for as long as they are the newest.
const METADATA_BYTES: usize = 8 << 20;

/// One of `[[forward]]`: where events are forwarded to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct Destination {
    /// Its name. What was forwarded is kept under it: a destination of another name begins anew.
    pub(crate) name: String,
    /// In whose words: `custody`, `ocsf`, `ecs`, `cef`, `leef`. Default: those that the receiver is at home in.
    #[serde(default)]
    pub(crate) schema: Option<Schema>,
    /// Where it begins: `now`, `beginning`, or a time (RFC 3339).
    #[serde(default)]
    pub(crate) start: Start,
    /// Only events of these kinds (`session.start`, ...).
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
    /// And none of these.
    #[serde(default)]
    pub(crate) except_kinds: Vec<String>,
    /// And of those only events that meet this condition, as SQL writes it.
    #[serde(default, rename = "where")]
    pub(crate) condition: Option<String>,
    /// Fields that are replaced by `********` before an event leaves: `reason`, `action`, `detail`, ...
    #[serde(default)]
    pub(crate) mask: Vec<String>,
    /// The largest event, in bytes: longer ones are cut, and say so. Default: what the receiver takes at its defaults.
    #[serde(default)]
    pub(crate) event_bytes_max: Option<usize>,
    /// Another process takes over when one has said nothing for so many seconds.
    #[serde(default = "Destination::default_takeover")]
    pub(crate) takeover_seconds: u64,
    /// Who receives.
    #[serde(flatten)]
    pub(crate) receiver: Receiver,
}

/// What is written down and nobody reads would be a mistake that nobody notices.
impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Map::deserialize(deserializer)?;
        // Derived, under the same name.
        let destination = Self::deserialize(Value::Object(written.clone())).map_err(serde::de::Error::custom)?;
        let known = serde_json::to_value(&destination).map_err(serde::de::Error::custom)?;
        match written.keys().find(|name| known.get(name.as_str()).is_none()) {
            Some(name) => Err(serde::de::Error::custom(format!("unknown field `{name}`"))),
            None => Ok(destination),
        }
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// Where a destination begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Start {
    /// With what is committed from now on.
    #[default]
    Now,
    /// With everything that there is.
    Beginning,
    /// With what was taken in at a time, in microseconds since 1970, or later.
    At(i64),
}

impl std::str::FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "now" => Ok(Self::Now),
            "beginning" => Ok(Self::Beginning),
            time => match chrono::DateTime::parse_from_rfc3339(time) {
                Ok(at) => Ok(Self::At(at.timestamp_micros())),
                Err(_) => Err(format!("{text:?} is neither now, beginning nor a time such as 2026-11-22T08:00:00Z")),
            },
        }
    }
}

impl TryFrom<String> for Start {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Start> for String {
    fn from(start: Start) -> Self {
        match start {
            Start::Now => "now".to_owned(),
            Start::Beginning => "beginning".to_owned(),
            Start::At(at) => custody_schemas::time::to_rfc3339(at),
        }
    }
}

/// Texts of an event that can be masked.
const MASKED: [&str; 10] =
    ["actor", "action", "target", "login", "reason", "remote_addr", "participants", "delegator", "ticket", "detail"];

/// What stands for the source's own fields where they are masked.
const MASKED_DETAIL: &str = "{\"masked\":true}";

impl Destination {
    fn default_takeover() -> u64 {
        30
    }

    fn schema(&self) -> Schema {
        self.schema.unwrap_or_else(|| self.receiver.default_schema())
    }

    /// Whether it can be used; makes what sends to it.
    pub(crate) fn sink(&self) -> Result<Box<dyn Sink>, Failure> {
        let wrong = |why: String| Failure::usage(anyhow::anyhow!("forward {:?}: {why}", self.name));
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(is_name) {
            return Err(wrong("a name has 1 to 64 letters, digits, dots, dashes and underscores".to_owned()));
        }
        for kind in self.kinds.iter().chain(&self.except_kinds) {
            if Kind::from_name(kind).is_none() {
                let all = Kind::ALL.map(|kind| kind.as_str()).join(", ");
                return Err(wrong(format!("there is no kind {kind:?}. There are: {all}")));
            }
        }
        if let Some(field) = self.mask.iter().find(|field| !MASKED.contains(&field.as_str())) {
            return Err(wrong(format!("{field:?} cannot be masked. These can: {}", MASKED.join(", "))));
        }
        if let Some(sql) = &self.condition {
            Predicate::check(sql).map_err(|error| wrong(format!("where: {error}")))?;
        }
        if !(1..=3600).contains(&self.takeover_seconds) {
            return Err(wrong("takeover_seconds is one of 1 to 3600".to_owned()));
        }
        if self.event_bytes_max.is_some_and(|bytes| !(Schema::BYTES_MIN..=1 << 20).contains(&bytes)) {
            return Err(wrong(format!("event_bytes_max is one of {} to {}", Schema::BYTES_MIN, 1 << 20)));
        }
        self.receiver.sink(self.schema()).map_err(|refused| wrong(refused.to_string()))
    }

    /// The event as it is sent, for the first time or again because more may be known of its access.
    fn item(&self, stored: &StoredEvent, access: &[Access], revision: u32) -> Item {
        let StoredEvent { event, source, topic, partition, offset, index, broker_at, ingested_at } = stored;
        let mut event = event.clone();
        let mut access = access.to_vec();
        for field in &self.mask {
            let hide = |text: &mut Option<custody_schemas::event::Text<'static>>| {
                if let Some(text) = text {
                    *text = "********".into();
                }
            };
            match field.as_str() {
                "actor" => {
                    hide(&mut event.actor);
                    // A finding names the person there.
                    if event.kind == Kind::Finding {
                        event.detail = MASKED_DETAIL.to_owned();
                    }
                }
                "action" => hide(&mut event.action),
                "target" => hide(&mut event.target),
                "login" => hide(&mut event.login),
                "remote_addr" => hide(&mut event.remote_addr),
                "delegator" => hide(&mut event.delegator),
                "ticket" => {
                    hide(&mut event.ticket);
                    access.iter_mut().for_each(|access| access.tickets.fill("********".to_owned()));
                }
                "reason" => {
                    hide(&mut event.reason);
                    let reasons = access.iter_mut().filter_map(|access| access.reason.as_mut());
                    reasons.for_each(|reason| *reason = "********".to_owned());
                }
                "participants" => event.participants.fill("********".into()),
                _ => event.detail = MASKED_DETAIL.to_owned(),
            }
        }
        let notice = Notice {
            event,
            source,
            evidence: Evidence {
                topic,
                partition: *partition,
                offset: *offset,
                index: *index,
                broker_at: *broker_at,
                ingested_at: *ingested_at,
            },
            access: &access,
            revision,
        };
        let bytes_max = self.event_bytes_max.unwrap_or_else(|| self.receiver.default_bytes_max());
        self.receiver.item(&notice, self.schema(), bytes_max)
    }
}

/// Which events a destination gets.
struct Filter {
    kinds: Vec<String>,
    except_kinds: Vec<String>,
    condition: Option<Predicate>,
}

impl Filter {
    /// # Errors
    ///
    /// When its condition is none.
    async fn of(engine: &Engine, destination: &Destination) -> Result<Self, Failure> {
        let condition =
            match &destination.condition {
                Some(sql) => Some(engine.predicate(sql).await.map_err(|error| {
                    Failure::usage(anyhow::anyhow!("forward {:?}: where: {error}", destination.name))
                })?),
                None => None,
            };
        let Destination { kinds, except_kinds, .. } = destination.clone();
        Ok(Self { kinds, except_kinds, condition })
    }

    /// Takes out what the destination does not get. Returns how many events that were.
    fn apply(&self, events: &mut Vec<StoredEvent>) -> Result<usize, Failure> {
        let all = events.len();
        let is = |kinds: &[String], event: &StoredEvent| kinds.iter().any(|kind| kind == event.event.kind.as_str());
        events.retain(|event| (self.kinds.is_empty() || is(&self.kinds, event)) && !is(&self.except_kinds, event));
        if let Some(condition) = self.condition.as_ref().filter(|_| !events.is_empty()) {
            let mut met = condition.meet(events)?.into_iter();
            events.retain(|_| met.next().unwrap_or(false));
        }
        Ok(all - events.len())
    }
}

/// A destination, and which events it gets.
struct To {
    destination: Destination,
    filter: Filter,
}

/// A destination that can be used, and what sends to it.
type Checked = (Destination, Box<dyn Sink>);

/// The destinations, each with what sends to it.
///
/// # Errors
///
/// When one cannot be used, or two have one name.
pub(crate) fn check(config: &Config) -> Result<Vec<Checked>, Failure> {
    let mut names = std::collections::HashSet::new();
    let all = config.forward.iter().map(|destination| {
        if !names.insert(destination.name.as_str()) {
            let why = format!("two destinations are called {:?}", destination.name);
            return Err(Failure::usage(anyhow::anyhow!(why)));
        }
        Ok((destination.clone(), destination.sink()?))
    });
    all.collect()
}

/// Forwards to every destination until asked to stop. What fails is told and tried again.
pub(crate) async fn follow(config: &Config, ledger: &Ledger, stop: watch::Receiver<bool>) -> Result<(), Failure> {
    let destinations = check(config)?;
    if destinations.is_empty() {
        return Ok(());
    }
    let limits = config.limits();
    let metadata_bytes = limits.metadata_bytes.min(METADATA_BYTES);
    let limits = Limits { metadata_bytes, is_sparing: true, ..limits };
    let engine = Arc::new(Engine::open(ledger, limits, &config.vocabulary()).await?);
    let mut filters = Vec::new();
    for (destination, _) in &destinations {
        filters.push(Filter::of(&engine, destination).await?);
    }
    let forwarding = destinations.into_iter().zip(filters).map(|((destination, sink), filter)| {
        let (engine, ledger, stop) = (engine.clone(), ledger.clone(), stop.clone());
        let to = Arc::new(To { destination, filter });
        tokio::spawn(async move { keep_forwarding(&engine, &ledger, &to, sink, stop).await })
    });
    for done in futures::future::join_all(forwarding).await {
        done.map_err(Failure::broken)?;
    }
    Ok(())
}

async fn keep_forwarding(
    engine: &Arc<Engine>,
    ledger: &Ledger,
    to: &Arc<To>,
    sink: Box<dyn Sink>,
    mut stop: watch::Receiver<bool>,
) {
    let name = &to.destination.name;
    let delivery = Delivery::new(sink, Patience::default());
    while !*stop.borrow() {
        let forwarder = Forwarder::open(engine, ledger, to, &delivery).await;
        let done = match forwarder {
            Ok(mut forwarder) => forwarder.run(&mut stop).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = done {
            metrics::counter!("custody_forward_failures_total", "destination" => name.clone()).increment(1);
            tracing::warn!(error = %failure, destination = name, "forwarding stands still; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

/// Forwards to one destination.
struct Forwarder<'a> {
    engine: &'a Arc<Engine>,
    to: &'a Arc<To>,
    delivery: &'a Delivery<dyn Sink>,
    follower: Follower,
    known: Known,
    ahead: Ahead,
    cursor: Cursor,
    /// Number of the step that this process is at; 0 where the destination is not its own.
    step: i64,
    /// For how long it keeps the destination after a step.
    lease: Duration,
    position: Position,
    moved_at: Instant,
    counted_at: Option<Instant>,
    sent: i64,
    dead: i64,
    filtered: i64,
}

/// Events that are ready to be sent, and the position behind them.
struct Ready {
    events: Vec<StoredEvent>,
    items: Vec<Item>,
    filtered: usize,
    position: Position,
}

impl Ready {
    /// Whether events were sent with it that came since. What was looked at again may be sent as often as each minute.
    fn is_further_than(&self, position: &Position) -> bool {
        !self.items.is_empty() && self.position.version != position.version
    }

    /// Whether it is little, and more can come.
    fn may_wait(&self) -> bool {
        !self.items.is_empty() && self.items.len() < CHUNK_EVENTS / 2 && self.position.past.is_none()
    }
}

impl<'a> Forwarder<'a> {
    async fn open(
        engine: &'a Arc<Engine>,
        ledger: &Ledger,
        to: &'a Arc<To>,
        delivery: &'a Delivery<dyn Sink>,
    ) -> Result<Self, Failure> {
        let destination = &to.destination;
        Ok(Self {
            engine,
            to,
            delivery,
            follower: ledger.follower(Table::Events)?,
            known: Known::default(),
            ahead: Ahead::default(),
            cursor: Cursor::open(ledger, &destination.name).await?,
            step: 0,
            lease: Duration::from_secs(destination.takeover_seconds),
            position: Position::default(),
            moved_at: Instant::now(),
            counted_at: None,
            sent: 0,
            dead: 0,
            filtered: 0,
        })
    }

    /// Takes the destination, when it is nobody else's, and forwards until it is moved by another or asked to stop.
    async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), Failure> {
        while !*stop.borrow() {
            if self.take().await? {
                self.forward(stop).await?;
            } else {
                self.step = 0;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        self.delivery.close().await;
        // The next process need not wait until the lease is over.
        if self.step > 0 {
            self.lease = Duration::ZERO;
            self.commit().await?;
        }
        Ok(())
    }

    /// Whether the destination is this process's now, and is to be delivered to.
    async fn take(&mut self) -> Result<bool, Failure> {
        let found = self.cursor.load(self.engine).await?;
        let Some(found) = found else {
            self.position = match self.to.destination.start {
                Start::Now => Position::now(&self.follower, now()).await?,
                Start::Beginning => Position::since(&self.follower, 0).await?,
                Start::At(at) => Position::since(&self.follower, at).await?,
            };
            self.step = 0;
            return self.commit().await;
        };
        if found.state == "paused" || found.worker != self.cursor.worker && now() < found.lease_until.0 {
            return Ok(false);
        }
        (self.step, self.position) = (found.step, position_of(&found)?);
        self.ahead = Ahead::default();
        self.commit().await
    }

    /// Writes down where the destination is. False where another has moved it.
    async fn commit(&mut self) -> Result<bool, Failure> {
        let (state, reason) = match &*self.delivery.state().borrow() {
            State::Delivering => ("delivering", None),
            State::Failing { why, .. } => ("failing", Some(why.clone())),
            State::Unauthorised { why, .. } => ("unauthorised", Some(why.clone())),
        };
        let step = Step {
            worker: self.cursor.worker.clone(),
            lease_until: now() + i64::try_from(self.lease.as_micros()).unwrap_or_default(),
            position: serde_json::to_string(&self.position).map_err(Failure::broken)?,
            state: state.to_owned(),
            sent: self.sent,
            dead: self.dead,
            filtered: self.filtered,
            ingested_at: Some(self.position.newest).filter(|at| *at > 0),
            reason,
            ..Step::default()
        };
        match self.cursor.advance(self.step, step).await {
            Ok(step) => {
                self.step = step;
                (self.sent, self.dead, self.filtered) = (0, 0, 0);
                self.moved_at = Instant::now();
                Ok(true)
            }
            Err(Moved::Elsewhere) => Ok(false),
            Err(Moved::Failed(failure)) => Err(failure),
        }
    }

    async fn forward(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), Failure> {
        let mut next: Option<Ready> = None;
        let mut written = self.position.clone();
        let mut is_thorough = true;
        let pause = self.to.destination.receiver.linger().max(LOOK_EVERY);
        let mut not_before = Instant::now();
        let mut was_idle = false;
        loop {
            if *stop.borrow() {
                return Ok(());
            }
            self.measure_lag().await?;
            let left = not_before.saturating_duration_since(Instant::now());
            if next.is_none() && !left.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(left.min(self.lease / 3)) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                let is_due = self.position != written && self.moved_at.elapsed() >= MOVE_EVERY;
                if is_due || self.moved_at.elapsed() >= self.lease / 3 {
                    if !self.commit().await? {
                        return Ok(());
                    }
                    written = self.position.clone();
                    is_thorough = true;
                }
                continue;
            }
            let ready = match next.take() {
                Some(ready) => Some(ready),
                None => {
                    let at = self.position.clone();
                    let is_thorough = std::mem::take(&mut is_thorough);
                    let kept = (&mut self.known, &mut self.ahead);
                    prepare(self.engine, &self.follower, kept, self.to, at, is_thorough).await?
                }
            };
            let Some(ready) = ready else {
                (not_before, was_idle) = (Instant::now() + pause, true);
                continue;
            };
            // Somebody may have paused or moved it while there was nothing to do.
            if std::mem::take(&mut was_idle) && !self.cursor.is_at(self.step).await? {
                return Ok(());
            }
            let mut deliver = std::pin::pin!(self.delivery.deliver(&ready.items, stop));
            // What comes next is made ready while this is on its way, on another core; not any more when this is left.
            let (engine, follower, to) = (self.engine.clone(), self.follower.clone(), self.to.clone());
            let behind = ready.position.clone();
            let mut kept = (std::mem::take(&mut self.known), std::mem::take(&mut self.ahead));
            let mut preparing = JoinSet::new();
            preparing.spawn(async move {
                let prepared = prepare(&engine, &follower, (&mut kept.0, &mut kept.1), &to, behind, false).await;
                (prepared, kept)
            });
            let mut tick = tokio::time::interval(self.lease / 3);
            tick.reset();
            let mut state = self.delivery.state();
            let dead = loop {
                tokio::select! {
                    done = &mut deliver => match done {
                        Ok(dead) => break dead,
                        Err(_stopped) => return Ok(()),
                    },
                    _ = tick.tick() => {
                        if !self.commit().await? {
                            return Ok(());
                        }
                        self.measure_lag().await?;
                    }
                    // That it fails, or no longer does, is written down at once.
                    Ok(()) = state.changed() => {
                        let is_news = matches!(&*state.borrow_and_update(), State::Delivering)
                            || self.moved_at.elapsed() >= MOVE_EVERY;
                        if is_news && !self.commit().await? {
                            return Ok(());
                        }
                    }
                }
            };
            let rows: Vec<_> = dead
                .iter()
                .filter_map(|dead| {
                    let (event, item) = (ready.events.get(dead.number)?, ready.items.get(dead.number)?);
                    Some(self.cursor.refused(event, item, dead))
                })
                .collect();
            self.cursor.bury(&rows).await?;
            let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            self.sent += count(ready.items.len() - rows.len());
            self.dead += count(rows.len());
            self.filtered += count(ready.filtered);
            self.measure(&ready, rows.len());
            let is_further = ready.is_further_than(&self.position);
            self.position = ready.position;
            if self.moved_at.elapsed() >= MOVE_EVERY || !rows.is_empty() {
                if !self.commit().await? {
                    return Ok(());
                }
                written = self.position.clone();
            }
            let prepared = preparing.join_next().await.transpose().map_err(Failure::broken)?;
            if let Some((prepared, kept)) = prepared {
                (self.known, self.ahead) = kept;
                next = prepared?;
            }
            // What is not worth a file of its own waits for more, if there was a file just now.
            if pause > LOOK_EVERY && is_further && next.as_ref().is_some_and(Ready::may_wait) {
                next = None;
                (not_before, was_idle) = (Instant::now() + pause, true);
            }
        }
    }

    fn measure(&self, ready: &Ready, dead: usize) {
        let name = || self.to.destination.name.clone();
        let sent = ready.items.len() - dead;
        metrics::counter!("custody_forward_sent_total", "destination" => name()).increment(sent as u64);
        metrics::counter!("custody_forward_dead_total", "destination" => name()).increment(dead as u64);
        metrics::counter!("custody_forward_filtered_total", "destination" => name()).increment(ready.filtered as u64);
        // Of all that were sent at once, the one that waited longest.
        if let Some(oldest) = ready.events.iter().map(|event| event.ingested_at).min() {
            let waited_s = (now() - oldest).max(0) as f64 / 1e6;
            metrics::histogram!("custody_forward_latency_seconds", "destination" => name()).record(waited_s);
        }
    }

    /// Says how much is waiting, now and then.
    async fn measure_lag(&mut self) -> Result<(), Failure> {
        if self.counted_at.is_some_and(|at| at.elapsed() < COUNT_EVERY) {
            return Ok(());
        }
        self.counted_at = Some(Instant::now());
        let behind = self.engine.behind(self.position.newest).await?;
        let name = || self.to.destination.name.clone();
        let waiting_s = behind.oldest.map_or(0.0, |Time(at)| (now() - at).max(0) as f64 / 1e6);
        metrics::gauge!("custody_forward_behind_events", "destination" => name()).set(behind.events as f64);
        metrics::gauge!("custody_forward_behind_seconds", "destination" => name()).set(waiting_s);
        Ok(())
    }
}

/// The next events for a destination, as they are sent; `None` where there is nothing new.
async fn prepare(
    engine: &Engine,
    follower: &Follower,
    (known, ahead): (&mut Known, &mut Ahead),
    To { destination, filter }: &To,
    position: Position,
    is_thorough: bool,
) -> Result<Option<Ready>, Failure> {
    if let Some(again) = feed::again(engine, &position, now(), SESSIONS_AT_ONCE).await? {
        return look_again(engine, destination, filter, again).await.map(Some);
    }
    let Some(Chunk { mut events, mut position }) =
        feed::next(engine, follower, ahead, &position, CHUNK_EVENTS, is_thorough).await?
    else {
        return Ok(None);
    };
    feed::skip_turns(&mut position, now());
    let heard = known.hear(&events, position.reaches());
    let filtered = filter.apply(&mut events)?;
    let items = items_of(engine, destination, known, &events).await?;
    known.note(heard);
    Ok(Some(Ready { items, events, filtered, position }))
}

/// Events as they are sent for the first time.
async fn items_of(
    engine: &Engine,
    destination: &Destination,
    known: &mut Known,
    events: &[StoredEvent],
) -> Result<Vec<Item>, Failure> {
    for ids in known.wanting(events).chunks(SESSIONS_AT_ONCE) {
        let (found, versions) = engine.linked_sessions(ids).await?;
        known.learn(ids, versions.events, found);
    }
    Ok(events.iter().map(|event| destination.item(event, known.access(event), 0)).collect())
}

/// Of starts of sessions those to whose access something is new, as they are sent again.
async fn look_again(
    engine: &Engine,
    destination: &Destination,
    filter: &Filter,
    again: feed::Again,
) -> Result<Ready, Failure> {
    let feed::Again { mut starts, known_after, revision, position } = again;
    filter.apply(&mut starts)?;
    let (mut events, mut items) = (Vec::new(), Vec::new());
    if let Some(first) = starts.iter().map(|start| start.ingested_at).min() {
        let linked = linked_of(engine, &starts).await?;
        let links = || linked.values().flatten().flat_map(|session| &session.links);
        let event_ids: Vec<&str> = links().flat_map(|link| &link.link_event_ids).map(String::as_str).collect();
        let decision_ids: Vec<&str> = links().filter_map(|link| link.decision_id.as_deref()).collect();
        let facts = engine.facts_after(first + known_after, &event_ids, &decision_ids).await?;
        let mut newest: HashMap<&str, i64> = HashMap::new();
        for fact in &facts {
            let ids = fact.request_ids.iter().chain([&fact.event_id]).chain(&fact.decision_id);
            for id in ids {
                let at = newest.entry(id).or_insert(fact.ingested_at.0);
                *at = fact.ingested_at.0.max(*at);
            }
        }
        for start in starts {
            let of_start = |of: &&LinkedSession| of.session.source == start.source;
            let session = start.event.session_id.as_deref().and_then(|id| linked.get(id)?.iter().find(of_start));
            let Some(session) = session else { continue };
            let is_new = |id: &String| newest.get(id.as_str()).is_some_and(|at| *at > start.ingested_at + known_after);
            let is_known_better = session
                .links
                .iter()
                .any(|link| link.link_event_ids.iter().chain(&link.request_id).chain(&link.decision_id).any(is_new));
            if is_known_better {
                items.push(destination.item(&start, &access_to(session), revision));
                events.push(start);
            }
        }
    }
    Ok(Ready { items, events, filtered: 0, position })
}

/// The sessions of these events with what gave access to them, by their ids.
async fn linked_of(engine: &Engine, events: &[StoredEvent]) -> Result<HashMap<String, Vec<LinkedSession>>, Failure> {
    let mut ids: Vec<&str> = events.iter().filter_map(|event| event.event.session_id.as_deref()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut linked: HashMap<String, Vec<LinkedSession>> = HashMap::new();
    for some in ids.chunks(SESSIONS_AT_ONCE) {
        for session in engine.linked_sessions(some).await?.0 {
            linked.entry(session.session.session_id.clone()).or_default().push(session);
        }
    }
    Ok(linked)
}

fn access_to(session: &LinkedSession) -> Vec<Access> {
    let access = session.links.iter().map(|link| Access {
        link_method: link.link_method.clone(),
        request_id: link.request_id.clone(),
        decision_id: link.decision_id.clone(),
        reason: link.reason.clone(),
        approvers: link.approvers.clone(),
        approved_at: link.approved_at.map(|Time(at)| at),
        expires_at: link.access_expires_at.map(|Time(at)| at),
        tickets: link.tickets.clone(),
        approved_before_start: link.approved_before_start,
    });
    access.collect()
}

#[cfg(test)]
mod tests {
    use custody_ingest::direct::{Content, Direct};
    use custody_ingest::source::{Source, SourceKind};
    use custody_ledger::{Location, Stream};
    use custody_query::Vocabulary;
    use custody_query::feed::Span;
    use serde_json::json;

    use super::*;

    /// When the session's start was taken in.
    const T: i64 = 1_780_000_000_000_000;
    const MINUTE: i64 = 60_000_000;

    /// A ledger into which events come at chosen times.
    struct World {
        _folder: tempfile::TempDir,
        direct: Direct,
        stream: Stream,
        next: i64,
        engine: Engine,
        follower: Follower,
        destination: Destination,
        filter: Filter,
    }

    impl World {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let location = Location::parse(&folder.path().to_string_lossy(), HashMap::new()).unwrap();
            let ledger = Ledger::create(location).await.unwrap();
            let mut direct = Direct::open(&ledger).await.unwrap();
            let stream = Stream { cluster: "test".to_owned(), topic: "audit".to_owned(), partition: 0 };
            direct.begin(&stream).await.unwrap();
            let engine = Engine::open(&ledger, Limits::default(), &Vocabulary::default()).await.unwrap();
            let destination: Destination = serde_json::from_value(json!({
                "name": "siem", "kind": "webhook", "url": "https://siem.example/in", "secrets": ["secret"]
            }))
            .unwrap();
            let filter = Filter::of(&engine, &destination).await.unwrap();
            let follower = ledger.follower(Table::Events).unwrap();
            Self { _folder: folder, direct, stream, next: 0, engine, follower, destination, filter }
        }

        async fn comes(&mut self, at: i64, event: Value) {
            self.comes_from(SourceKind::Teleport, at, event).await;
        }

        async fn comes_from(&mut self, source: SourceKind, at: i64, event: Value) {
            let value = event.to_string().into_bytes();
            let source = Source::new(source);
            let content = Content { source: &source, sent_at: Some(at), key: None, headers: &[], value: &value };
            self.direct.place((&self.stream, self.next), &content, at).unwrap();
            self.direct.commit().await.unwrap();
            self.next += 1;
        }

        /// What is sent again at a time. The position is then behind it.
        async fn again(&self, position: &mut Position, now: i64) -> Vec<(u32, Value)> {
            let mut sent = Vec::new();
            while let Some(again) = feed::again(&self.engine, position, now, 2).await.unwrap() {
                let revision = again.revision;
                let ready = look_again(&self.engine, &self.destination, &self.filter, again).await.unwrap();
                // A destination that waits for more would never stop to.
                assert!(!ready.is_further_than(position));
                *position = ready.position;
                sent.extend(
                    ready.items.iter().map(|item| (revision, serde_json::from_slice(item.body.as_ref()).unwrap())),
                );
            }
            sent
        }
    }

    fn start(session: &str, request: Option<&str>) -> Value {
        json!({
            "event": "session.start", "code": "T2000I", "uid": format!("start-{session}"), "sid": session,
            "time": "2026-05-28T20:26:40Z", "cluster_name": "root", "user": "mira", "user_kind": 1, "login": "root",
            "server_hostname": "db-1", "proto": "ssh", "access_requests": request.into_iter().collect::<Vec<_>>()
        })
    }

    fn review(request: &str, uid: &str) -> Value {
        json!({
            "event": "access_request.review", "code": "T5002I", "uid": uid, "time": "2026-05-28T20:28:40Z",
            "cluster_name": "root", "id": request, "state": "APPROVED", "proposed_state": "APPROVED",
            "reviewer": "otto", "reason": "ok"
        })
    }

    #[tokio::test]
    async fn what_becomes_known_of_a_session_later_is_sent_once_more() {
        let mut world = World::new().await;
        world
            .comes(
                T - MINUTE,
                json!({
                    "event": "access_request.create", "code": "T5000I", "uid": "r1-create", "id": "r1",
                    "time": "2026-05-28T20:20:00Z", "cluster_name": "root", "user": "mira", "user_kind": 1,
                    "state": "PENDING", "reason": "OPS-1", "roles": ["dba"]
                }),
            )
            .await;
        let mut position = Position { newest: T - MINUTE, ..Position::default() }.with_turns();
        for (session, request) in [("s1", Some("r1")), ("s2", Some("r2")), ("s3", None)] {
            world.comes(T, start(session, request)).await;
        }
        position.newest = T;
        // Nothing has come since.
        assert_eq!(world.again(&mut position, T + MINUTE - 1).await, []);
        assert_eq!(world.again(&mut position, T + 2 * MINUTE).await, []);
        // It was approved two minutes after the session had begun.
        world.comes(T + 2 * MINUTE, review("r1", "r1-review")).await;
        position.newest = T + 2 * MINUTE;
        assert_eq!(world.again(&mut position, T + 9 * MINUTE).await, []);
        let sent = world.again(&mut position, T + 11 * MINUTE).await;
        let [(2, again)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(
            ["event_id", "kind", "session_id"].map(|name| again[name].as_str().unwrap()),
            ["teleport/root/start-s1", "session.start", "s1"]
        );
        assert_eq!(again["revision"], 2);
        assert_eq!(
            (&again["access"][0]["approvers"], &again["access"][0]["request_id"]),
            (&json!(["otto"]), &json!("r1"))
        );
        // Within the hour nothing more is heard of it; of the other one, which names a request that nobody knew.
        world.comes(T + 40 * MINUTE, review("r2", "r2-review")).await;
        position.newest = T + 40 * MINUTE;
        let sent = world.again(&mut position, T + 61 * MINUTE).await;
        let [(3, again)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!((&again["session_id"], &again["access"][0]["approvers"]), (&json!("s2"), &json!(["otto"])));
        assert_eq!(world.again(&mut position, T + 25 * 60 * MINUTE).await, []);
    }

    #[tokio::test]
    async fn the_past_is_given_once_and_in_order_however_much_is_asked_for() {
        let mut world = World::new().await;
        // So many were taken in at one time, an hour after those before, and over midnight.
        for (hours, count) in [1, 4, 1, 7, 2, 1, 3].into_iter().enumerate() {
            for number in 0..count {
                world.comes(T + hours as i64 * 60 * MINUTE, start(&format!("s{hours}-{number}"), None)).await;
            }
        }
        let given: Vec<i64> = (0..world.next).collect();
        // Since when, and how many were taken in before that.
        for (since, before) in [(0, 0), (T + 3 * 60 * MINUTE, 6)] {
            for most in [2, 5, 100] {
                let past = Some(feed::Past { since, behind: None });
                let mut position = Position { past, ..Position::default() };
                let (mut ahead, mut offsets) = (Ahead::default(), Vec::new());
                while position.past.is_some() {
                    let next = feed::next(&world.engine, &world.follower, &mut ahead, &position, most, false).await;
                    let Chunk { events, position: behind } = next.unwrap().unwrap();
                    assert!(events.len() <= most);
                    offsets.extend(events.iter().map(|event| event.offset));
                    position = behind;
                }
                assert_eq!(offsets, given[before..], "{most} since {since}");
                assert_eq!(position.newest, T + 6 * 60 * MINUTE);
            }
        }
    }

    #[tokio::test]
    async fn what_is_long_past_when_it_is_sent_is_not_looked_at_again() {
        let mut world = World::new().await;
        world.comes(T, start("s1", Some("r1"))).await;
        world.comes(T + 2 * MINUTE, review("r1", "r1-review")).await;
        let mut position = Position { newest: T - MINUTE, ..Position::default() }.with_turns();
        // Both are sent two days later.
        position.newest = T + 2 * MINUTE;
        feed::skip_turns(&mut position, T + 2 * 1440 * MINUTE);
        assert_eq!(world.again(&mut position, T + 2 * 1440 * MINUTE).await, []);
    }

    #[tokio::test]
    async fn what_is_known_of_sessions_is_what_a_look_at_the_ledger_gives() {
        let create = |request: &str, user: &str| {
            json!({
                "event": "access_request.create", "code": "T5000I", "uid": format!("{request}-create"), "id": request,
                "time": "2026-05-28T20:20:00Z", "cluster_name": "root", "user": user, "user_kind": 1,
                "state": "PENDING", "reason": "OPS-1", "roles": ["dba"], "expires": "2026-05-28T23:00:00Z"
            })
        };
        let approve = |request: &str, at: &str| {
            let mut review = review(request, &format!("{request}-review"));
            review["time"] = at.into();
            review["expires"] = "2026-05-28T23:00:00Z".into();
            review
        };
        let inside = |session: &str, uid: &str, requests: &[&str], user: &str| {
            json!({
                "event": "session.command", "code": "T4000I", "uid": uid, "sid": session, "user": user, "user_kind": 1,
                "time": "2026-05-28T20:30:00Z", "cluster_name": "root", "login": "root", "server_hostname": "db-1",
                "program": "ls", "path": "/bin/ls", "argv": [], "access_requests": requests
            })
        };
        let decide = |id: &str, input: Value| {
            json!({
                "decision_id": id, "path": "gate/allow", "timestamp": "2026-05-28T20:26:00Z", "input": input,
                "result": true
            })
        };
        use SourceKind::{Opa, Teleport};
        let facts = [
            (Teleport, create("r1", "mira")),
            (Teleport, approve("r1", "2026-05-28T20:22:00Z")),
            (Teleport, create("r2", "mira")),
            (Teleport, approve("r2", "2026-05-28T20:23:00Z")),
            (Teleport, start("s1", None)),
            (Teleport, start("s2", Some("r1"))),
            (Teleport, inside("s1", "a1", &[], "mira")),
            (Teleport, inside("s1", "a2", &[], "mira")),
            (Teleport, inside("s1", "a3", &["r2"], "mira")),
            (Teleport, inside("s2", "a4", &["r1"], "mira")),
            (Teleport, inside("s2", "a5", &["r1"], "mira")),
            (Teleport, inside("s3", "a6", &[], "otto")),
            (Teleport, inside("s3", "a7", &[], "anna")),
            (Opa, decide("d1", json!({"user": "mira", "target": {"name": "db-1"}}))),
            (Opa, decide("d2", json!({"user": "mira", "session": {"id": "s3"}}))),
        ];
        let (mut looked, mut kept) = (0, 0);
        for order in 0..3 {
            let mut world = World::new().await;
            let mut known = Known::default();
            // Each order begins elsewhere and takes other steps, with which it comes to every fact.
            let step = [1, 7, 11][order];
            for (number, at) in (0..facts.len()).map(|n| (n * step + order) % facts.len()).enumerate() {
                let (source, fact) = &facts[at];
                let time = T + number as i64 * MINUTE;
                world.comes_from(*source, time, fact.clone()).await;
                let span = Span { since: time, behind: None, until: time, kind: None };
                let events = world.engine.events_in(span, 10).await.unwrap();
                assert!(!events.is_empty());
                let heard = known.hear(&events, world.engine.versions().await.unwrap().events);
                // All that is running has another event now.
                let mut all = world.engine.events_in(Span { since: 0, ..span }, 100).await.unwrap();
                all.retain(|event| event.event.session_id.is_some());
                let wanting = known.wanting(&all).len();
                looked += wanting;
                kept += Known::default().wanting(&all).len() - wanting;
                let made = items_of(&world.engine, &world.destination, &mut known, &all).await.unwrap();
                let fresh = items_of(&world.engine, &world.destination, &mut Known::default(), &all).await.unwrap();
                let bodies = |items: &[Item]| items.iter().map(|item| item.body.to_vec()).collect::<Vec<_>>();
                assert_eq!(bodies(&made), bodies(&fresh), "order {order}, {number}: {fact}");
                known.note(heard);
            }
        }
        assert!(looked > 15 && kept > 15, "{looked} {kept}");
    }
}
