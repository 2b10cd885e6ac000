//! Forwarding: each destination is a cursor over the ledger, moved once what lies before it was taken.

mod cursor;
mod feed;
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
use custody_query::Engine;
use custody_query::sessions::{LinkedSession, Time};
use custody_schemas::columns::StoredEvent;
use custody_schemas::forwarding::Step;
use custody_schemas::table::Table;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::activity::now;
use crate::config::Config;
use crate::exit::Failure;
use cursor::{Cursor, Moved, position_of};
use feed::{Chunk, Position};

pub(crate) use operate::command;

/// So many events are read, and delivered before the cursor moves.
const CHUNK_EVENTS: usize = 10_000;

/// How soon new events are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A cursor is not moved more often, where nothing else is asked for.
const MOVE_EVERY: Duration = Duration::from_secs(1);

/// Sessions whose access is looked up at once.
const SESSIONS_AT_ONCE: usize = 1000;

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
            if custody_schemas::event::Kind::from_name(kind).is_none() {
                let all = custody_schemas::event::Kind::ALL.map(|kind| kind.as_str()).join(", ");
                return Err(wrong(format!("there is no kind {kind:?}. There are: {all}")));
            }
        }
        if let Some(field) = self.mask.iter().find(|field| !MASKED.contains(&field.as_str())) {
            return Err(wrong(format!("{field:?} cannot be masked. These can: {}", MASKED.join(", "))));
        }
        if !(1..=3600).contains(&self.takeover_seconds) {
            return Err(wrong("takeover_seconds is one of 1 to 3600".to_owned()));
        }
        if self.event_bytes_max.is_some_and(|bytes| !(Schema::BYTES_MIN..=1 << 20).contains(&bytes)) {
            return Err(wrong(format!("event_bytes_max is one of {} to {}", Schema::BYTES_MIN, 1 << 20)));
        }
        self.receiver.sink(self.schema()).map_err(|refused| wrong(refused.to_string()))
    }

    /// Whether it gets an event.
    fn wants(&self, event: &StoredEvent) -> bool {
        let is = |kinds: &[String]| kinds.iter().any(|kind| kind == event.event.kind.as_str());
        (self.kinds.is_empty() || is(&self.kinds)) && !is(&self.except_kinds)
    }

    /// The event as it is sent.
    fn item(&self, stored: &StoredEvent, access: &[Access]) -> Item {
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
                "actor" => hide(&mut event.actor),
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
                _ => event.detail = "{\"masked\":true}".to_owned(),
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
            revision: 0,
        };
        let bytes_max = self.event_bytes_max.unwrap_or_else(|| self.receiver.default_bytes_max());
        self.receiver.item(&notice, self.schema(), bytes_max)
    }
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
    let engine = Arc::new(Engine::open(ledger, config.limits(), &config.vocabulary()).await?);
    let forwarding = destinations.into_iter().map(|(destination, sink)| {
        let (engine, ledger, stop) = (engine.clone(), ledger.clone(), stop.clone());
        tokio::spawn(async move { keep_forwarding(&engine, &ledger, destination, sink, stop).await })
    });
    for done in futures::future::join_all(forwarding).await {
        done.map_err(Failure::broken)?;
    }
    Ok(())
}

async fn keep_forwarding(
    engine: &Arc<Engine>,
    ledger: &Ledger,
    destination: Destination,
    sink: Box<dyn Sink>,
    mut stop: watch::Receiver<bool>,
) {
    let name = destination.name.clone();
    let delivery = Delivery::new(sink, Patience::default());
    while !*stop.borrow() {
        let forwarder = Forwarder::open(engine, ledger, &destination, &delivery).await;
        let done = match forwarder {
            Ok(mut forwarder) => forwarder.run(&mut stop).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = done {
            metrics::counter!("custody_forward_failures_total", "destination" => name.clone()).increment(1);
            tracing::warn!(error = %failure, destination = %name, "forwarding stands still; trying again");
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
    destination: &'a Destination,
    delivery: &'a Delivery<dyn Sink>,
    follower: Follower,
    cursor: Cursor,
    /// Number of the step that this process is at; 0 where the destination is not its own.
    step: i64,
    /// For how long it keeps the destination after a step.
    lease: Duration,
    position: Position,
    moved_at: Instant,
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

impl<'a> Forwarder<'a> {
    async fn open(
        engine: &'a Arc<Engine>,
        ledger: &Ledger,
        destination: &'a Destination,
        delivery: &'a Delivery<dyn Sink>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            engine,
            destination,
            delivery,
            follower: ledger.follower(Table::Events)?,
            cursor: Cursor::open(ledger, &destination.name).await?,
            step: 0,
            lease: Duration::from_secs(destination.takeover_seconds),
            position: Position::default(),
            moved_at: Instant::now(),
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
            self.position = match self.destination.start {
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
        let pause = self.destination.receiver.linger().max(LOOK_EVERY);
        let mut not_before = Instant::now();
        let mut was_idle = false;
        loop {
            if *stop.borrow() {
                return Ok(());
            }
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
                    prepare(self.engine, &self.follower, self.destination, at, std::mem::take(&mut is_thorough)).await?
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
            // What comes next is made ready while this is on its way.
            let (engine, follower, destination) = (self.engine.clone(), self.follower.clone(), self.destination);
            let behind = ready.position.clone();
            let mut preparing =
                std::pin::pin!(async move { prepare(&engine, &follower, destination, behind, false).await });
            let mut prepared = None;
            let mut tick = tokio::time::interval(self.lease / 3);
            tick.reset();
            let mut state = self.delivery.state();
            let dead = loop {
                tokio::select! {
                    done = &mut deliver => match done {
                        Ok(dead) => break dead,
                        Err(_stopped) => return Ok(()),
                    },
                    done = &mut preparing, if prepared.is_none() => prepared = Some(done),
                    _ = tick.tick() => if !self.commit().await? { return Ok(()) },
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
            self.position = ready.position;
            self.measure(ready.items.len() - rows.len(), rows.len());
            if self.moved_at.elapsed() >= MOVE_EVERY || !rows.is_empty() {
                if !self.commit().await? {
                    return Ok(());
                }
                written = self.position.clone();
            }
            next = match prepared {
                Some(prepared) => prepared?,
                None => preparing.await?,
            };
            // What is not worth a file of its own waits for more.
            if pause > LOOK_EVERY && next.as_ref().is_some_and(|next| next.items.len() < CHUNK_EVENTS / 2) {
                next = None;
                (not_before, was_idle) = (Instant::now() + pause, true);
            }
        }
    }

    fn measure(&self, sent: usize, dead: usize) {
        let name = || self.destination.name.clone();
        metrics::counter!("custody_forward_sent_total", "destination" => name()).increment(sent as u64);
        metrics::counter!("custody_forward_dead_total", "destination" => name()).increment(dead as u64);
        let behind_s = (now() - self.position.newest).max(0) as f64 / 1e6;
        metrics::gauge!("custody_forward_behind_seconds", "destination" => name()).set(behind_s);
    }
}

/// The next events for a destination, as they are sent; `None` where there is nothing new.
async fn prepare(
    engine: &Engine,
    follower: &Follower,
    destination: &Destination,
    position: Position,
    is_thorough: bool,
) -> Result<Option<Ready>, Failure> {
    let Some(Chunk { mut events, position }) =
        feed::next(engine, follower, &position, CHUNK_EVENTS, is_thorough).await?
    else {
        return Ok(None);
    };
    let all = events.len();
    events.retain(|event| destination.wants(event));
    let filtered = all - events.len();
    let access = access_of(engine, &events).await?;
    let none: &[Access] = &[];
    let items = events.iter().map(|event| {
        let key = event.event.session_id.as_deref().map(|id| (event.source.as_str(), id));
        destination.item(event, key.and_then(|key| access.get(&key)).map_or(none, Vec::as_slice))
    });
    let items = items.collect();
    drop(access);
    Ok(Some(Ready { items, events, filtered, position }))
}

/// What gave access to the sessions of these events, by source and session.
async fn access_of<'e>(
    engine: &Engine,
    events: &'e [StoredEvent],
) -> Result<HashMap<(&'e str, &'e str), Vec<Access>>, Failure> {
    let key = |event: &'e StoredEvent| Some((event.source.as_str(), event.event.session_id.as_deref()?));
    let mut keys: Vec<(&str, &str)> = events.iter().filter_map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut access = HashMap::new();
    for some in keys.chunks(SESSIONS_AT_ONCE) {
        let ids: Vec<&str> = some.iter().map(|(_, id)| *id).collect();
        let mut linked: HashMap<(String, String), LinkedSession> = HashMap::new();
        for session in engine.linked_sessions(&ids).await? {
            linked.insert((session.session.source.clone(), session.session.session_id.clone()), session);
        }
        for key in some {
            let Some(session) = linked.remove(&(key.0.to_owned(), key.1.to_owned())) else { continue };
            let links = session.links.into_iter().map(|link| Access {
                link_method: link.link_method,
                request_id: link.request_id,
                decision_id: link.decision_id,
                reason: link.reason,
                approvers: link.approvers,
                approved_at: link.approved_at.map(|Time(at)| at),
                expires_at: link.access_expires_at.map(|Time(at)| at),
                tickets: link.tickets,
                approved_before_start: link.approved_before_start,
            });
            access.insert(*key, links.collect());
        }
    }
    Ok(access)
}
