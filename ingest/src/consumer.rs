//! The Kafka side of ingest.
//!
//! The group says which partitions are ours, the ledger says where they go on. A rebalance is answered outside of
//! librdkafka's callback: partitions that come are assigned with their offsets once the ledger has told them, so that
//! nothing is fetched before and nothing has to be sought; partitions that go are given back once what was read of them
//! is committed, so that the next owner finds the ledger at rest.

use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use custody_ledger::{Ledger, LedgerError, Location, Stream};
use custody_schemas::record::{Message, Origin};
use custody_schemas::time::{Micros, to_rfc3339};
use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_headers_t};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::batch::{Batcher, PerTable};
use crate::committer::{self, Committer, CommitterError, OnCommitted, Request, sleep_or_stop};
use crate::config::{Config, OnLostMessages, Topic};
use crate::direct::DirectError;
use crate::health::{Component, Health, State};
use crate::journal::Journal;
use crate::lane::Lane;

/// Why ingest stopped though nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The settings make no consumer.
    #[error("the Kafka settings are refused: {0}")]
    Settings(KafkaError),
    /// The ledger cannot be used, and waiting will not mend it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Kafka has deleted messages that were not read.
    #[error(
        "{count} messages of {stream} were deleted by Kafka before Custody read them: the ledger goes on at offset \
         {expected}, the first one left is {first}. Find out why (retention too short, ingest down too long), then set \
         kafka.on_lost_messages = \"continue\" to go on without them; the loss is an event of the ledger (kind \"loss\")"
    )]
    Lost {
        /// The partition.
        stream: Stream,
        /// Offset that is next for the ledger.
        expected: i64,
        /// First offset that Kafka still has.
        first: i64,
        /// How many offsets lie between.
        count: i64,
    },
    /// The ledger has offsets that Kafka has not.
    #[error(
        "the ledger is at offset {expected} of {stream}, but Kafka ends at {end}: this is another cluster, or the topic \
         was made anew. Give this cluster a name of its own with kafka.cluster, or use another ledger"
    )]
    Ahead {
        /// The partition.
        stream: Stream,
        /// Offset that is next for the ledger.
        expected: i64,
        /// Offset after the last one in Kafka.
        end: i64,
    },
    /// The client can do nothing any more.
    #[error(
        "Kafka lets this consumer go for good: {0}. If it says that it was fenced, two processes have one \
         kafka.options.\"group.instance.id\": give each its own"
    )]
    Fatal(String),
    /// The columns of a batch do not fit its table.
    #[error("a batch could not be built: {0}")]
    Batch(#[from] arrow::error::ArrowError),
}

/// How long one call may keep the consumer from polling. Far below `max.poll.interval.ms` (5 minutes).
const BLOCK_MAX: Duration = Duration::from_secs(10);
/// How long partitions that are taken away are kept to commit what was read of them.
const REVOKE_MAX: Duration = Duration::from_secs(30);
/// Take at most this many messages between looks at the clock and at rebalances.
const DRAIN_MAX: usize = 256;
/// Poll at least this often, for rebalances and for being asked to stop.
const POLL_MAX: Duration = Duration::from_millis(100);

/// Reads the topics into the ledger until asked to stop. On the way out everything that was read is committed.
///
/// Brokers or stores that do not answer are waited for (`health` tells); only what waiting cannot mend is an error.
///
/// # Errors
///
/// [`IngestError`].
pub async fn run(
    config: Config,
    location: Location,
    health: Health,
    mut stop: watch::Receiver<bool>,
) -> Result<(), IngestError> {
    let config = Arc::new(config);
    while !*stop.borrow() {
        let opened = committer::open(&location, &health, &mut stop, |location| async {
            let ledger = Ledger::create(location).await?;
            let lanes = Lane::all(&ledger).await?;
            Ok((ledger, lanes))
        });
        let Some((ledger, lanes)) = opened.await? else { break };
        let consumer = Arc::new(connect(&config, &health)?);
        let on_committed: OnCommitted = {
            let consumer = consumer.clone();
            Arc::new(move |reached: &[(Stream, i64)]| report_offsets(&consumer, reached))
        };
        let committer = Committer::new(lanes, health.clone(), stop.clone(), on_committed);
        let (requests, inbox) = mpsc::channel(1);
        let committing = tokio::spawn(committer.run(inbox));
        let session = Session::new(config.clone(), consumer.clone(), health.clone(), ledger, requests, stop.clone());
        let consuming = tokio::task::spawn_blocking(move || session.run());
        let (consumed, committed) = tokio::join!(consuming, committing);
        // A task that panicked is a defect: it is told as one instead of going on as if nothing had been.
        let consumed = consumed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let committed = committed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        consumer.context().closing.store(true, Ordering::Release);
        // Leaving the group waits for the coordinator, on a thread that may block.
        let left = tokio::task::spawn_blocking(move || drop(consumer)).await;
        left.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        consumed?;
        match committed {
            Ok(()) => {}
            Err(CommitterError::Fenced(error)) => {
                metrics::counter!("custody_ingest_fenced_total").increment(1);
                tracing::warn!(%error, "another process went on with a partition; joining the group again");
            }
            Err(error @ CommitterError::Stopped(_)) => tracing::warn!(%error, "what was not committed stays in Kafka"),
        }
        if !*stop.borrow() {
            sleep_or_stop(Duration::from_millis(200), &mut stop).await;
        }
    }
    Ok(())
}

/// Opens the ledger, making its tables where there are none, and waiting for its store where that does not answer.
/// `None` when asked to stop meanwhile.
///
/// # Errors
///
/// [`LedgerError`] when waiting will not mend it.
pub async fn create_ledger(
    location: &Location,
    health: Health,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<Ledger>, LedgerError> {
    committer::open(location, &health, &mut stop, Ledger::create).await
}

pub(crate) fn settings(config: &Config) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("client.id", "custody")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("reconnect.backoff.max.ms", "5000")
        .set_log_level(RDKafkaLogLevel::Warning);
    for (name, value) in &config.options {
        settings.set(name, value);
    }
    settings.set("bootstrap.servers", &config.brokers);
    settings
}

fn connect(config: &Config, health: &Health) -> Result<BaseConsumer<Context>, IngestError> {
    let mut settings = settings(config);
    let defaults = [
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("session.timeout.ms", "15000"),
        ("heartbeat.interval.ms", "2000"),
        ("statistics.interval.ms", "2000"),
        ("fetch.wait.max.ms", "100"),
        ("fetch.queue.backoff.ms", "20"),
        // What waits in memory. A message larger than a fetch is fetched all the same.
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.max.bytes", "8388608"),
        ("max.partition.fetch.bytes", "2097152"),
        ("check.crcs", "true"),
    ];
    for (name, value) in defaults {
        if !config.options.contains_key(name) {
            settings.set(name, value);
        }
    }
    settings
        .set("group.id", &config.group)
        // The ledger is the truth about offsets: librdkafka neither stores nor resets them by itself.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "false");
    let context = Context {
        health: health.clone(),
        brokers: config.brokers.clone(),
        rebalances: Mutex::default(),
        closing: AtomicBool::new(false),
    };
    let consumer: BaseConsumer<Context> = settings.create_with_context(context).map_err(IngestError::Settings)?;
    let topics: Vec<&str> = config.topics.iter().map(|topic| topic.name.as_str()).collect();
    consumer.subscribe(&topics).map_err(IngestError::Settings)?;
    Ok(consumer)
}

/// What the brokers say of a topic.
#[derive(Debug, Clone)]
pub struct TopicState {
    /// Its name.
    pub name: String,
    /// For each partition: its number, the first offset that is there, and the one after the last.
    pub partitions: Vec<(i32, i64, i64)>,
    /// Why it cannot be read, if it cannot.
    pub error: Option<String>,
}

/// What the brokers say: what `custody doctor` shows.
#[derive(Debug, Clone)]
pub struct BrokerState {
    /// The configured topics.
    pub topics: Vec<TopicState>,
    /// Why the group cannot be used, if it cannot.
    pub group_error: Option<String>,
}

/// Asks the brokers for the topics, and tries whether they may be read.
///
/// # Errors
///
/// A message for a person, when the brokers cannot be reached or the settings are refused.
pub fn examine_brokers(config: &Config, timeout: Duration) -> Result<BrokerState, String> {
    let mut settings = settings(config);
    settings.set("group.id", &config.group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = settings.create().map_err(|error| error.to_string())?;
    let metadata = consumer
        .fetch_metadata(None, timeout)
        .map_err(|error| format!("no broker answers at {}: {error}", config.brokers))?;
    let mut topics = Vec::new();
    let mut all = TopicPartitionList::new();
    for Topic { name, .. } in &config.topics {
        let mut state = TopicState { name: name.clone(), partitions: Vec::new(), error: None };
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        for partition in found.map(|topic| topic.partitions()).unwrap_or_default() {
            all.add_partition(name, partition.id());
            match consumer.fetch_watermarks(name, partition.id(), timeout) {
                Ok((first, end)) => state.partitions.push((partition.id(), first, end)),
                Err(error) => state.error = Some(error.to_string()),
            }
        }
        if let Some((partition, _, end)) = state.partitions.first().copied()
            && let Err(error) = try_to_read(&consumer, name, partition, end, timeout)
        {
            state.error = Some(error.to_string());
        }
        topics.push(state);
    }
    let group_error = consumer.committed_offsets(all, timeout).err().map(|error| error.to_string());
    Ok(BrokerState { topics, group_error })
}

/// Whether a partition may be read, shown by its end.
fn try_to_read(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    end: i64,
    timeout: Duration,
) -> Result<(), KafkaError> {
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Offset(end))?;
    consumer.assign(&assignment)?;
    let until = Instant::now() + timeout;
    let mut read = Ok(());
    while Instant::now() < until {
        match consumer.poll(POLL_MAX) {
            None => {}
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => {
                read = Err(error);
                break;
            }
        }
    }
    consumer.unassign()?;
    read
}

/// Tells Kafka how far the ledger is, so that the usual tools show the lag. Nothing reads it back.
fn report_offsets(consumer: &BaseConsumer<Context>, reached: &[(Stream, i64)]) {
    let mut offsets = TopicPartitionList::with_capacity(reached.len());
    for (stream, next) in reached {
        if let Err(error) = offsets.add_partition_offset(&stream.topic, stream.partition, Offset::Offset(*next)) {
            tracing::debug!(%stream, %error, "an offset is not one that Kafka can show");
        }
    }
    if let Err(error) = consumer.commit(&offsets, CommitMode::Async) {
        tracing::debug!(%error, "Kafka was not told how far the ledger is");
    }
}

/// A change of the assignment that waits for its answer.
enum Rebalance {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

struct Context {
    health: Health,
    brokers: String,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// The session is over: nobody is left to answer a rebalance but the callback itself.
    closing: AtomicBool,
}

impl Context {
    fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let why = format!("no broker answers at {}: {reason}", self.brokers);
                self.health.set(Component::Kafka, State::Down(why));
            }
            _ => tracing::debug!(%error, reason, "librdkafka"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.state == "UP" && broker.nodeid >= 0);
        if up {
            self.health.set(Component::Kafka, State::Up);
        }
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                let labels = [("topic", topic.topic.clone()), ("partition", partition.partition.to_string())];
                // In Kafka and not in the ledger; in Kafka and not read yet. Negative numbers are "not known".
                if partition.partition >= 0 && partition.consumer_lag >= 0 {
                    metrics::gauge!("custody_ingest_lag_messages", &labels).set(partition.consumer_lag as f64);
                }
                if partition.partition >= 0 && partition.hi_offset >= 0 && partition.app_offset >= 0 {
                    let unread = partition.hi_offset.saturating_sub(partition.app_offset).max(0);
                    metrics::gauge!("custody_ingest_unread_messages", &labels).set(unread as f64);
                }
            }
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            if let Err(error) = consumer.unassign() {
                tracing::debug!(%error, "leaving the group");
            }
            return;
        }
        let rebalance = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(partitions.clone()),
            _ => Rebalance::Revoke(partitions.clone()),
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}

/// What a session waits for before it assigns partitions.
struct Arriving {
    partitions: TopicPartitionList,
    streams: Vec<Stream>,
    cursors: oneshot::Receiver<Vec<PerTable<Option<i64>>>>,
}

/// Where reading of a stream begins.
enum Begin {
    /// At this offset, or at whatever is the first.
    At(Offset),
    /// It cannot be known yet: the brokers do not answer.
    NotYet,
}

/// One membership of the group, from joining to leaving.
struct Session {
    config: Arc<Config>,
    topics: HashMap<String, Topic>,
    consumer: Arc<BaseConsumer<Context>>,
    health: Health,
    ledger: Ledger,
    requests: mpsc::Sender<Request>,
    stop: watch::Receiver<bool>,
    handle: Handle,
    batcher: Batcher,
    /// The stream of the last message.
    current: Stream,
    batch_began: Option<Instant>,
    arriving: VecDeque<Arriving>,
    /// A request for which the committer has no room yet. While there is one, nothing is read.
    outgoing: Option<Request>,
}

impl Session {
    fn new(
        config: Arc<Config>,
        consumer: Arc<BaseConsumer<Context>>,
        health: Health,
        ledger: Ledger,
        requests: mpsc::Sender<Request>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let topics = config.topics.iter().map(|topic| (topic.name.clone(), topic.clone())).collect();
        let current = Stream { cluster: config.cluster.clone(), topic: String::new(), partition: -1 };
        Self {
            config,
            topics,
            consumer,
            health,
            ledger,
            requests,
            stop,
            handle: Handle::current(),
            batcher: Batcher::default(),
            current,
            batch_began: None,
            arriving: VecDeque::new(),
            outgoing: None,
        }
    }

    /// Reads until asked to stop, or until the session cannot go on (the committer has stopped, or partitions went
    /// while the store failed); the caller then begins another.
    fn run(mut self) -> Result<(), IngestError> {
        let result = self.read();
        self.answer_rebalances();
        result
    }

    fn read(&mut self) -> Result<(), IngestError> {
        while !*self.stop.borrow() && !self.requests.is_closed() {
            if self.step()?.is_break() {
                return Ok(());
            }
        }
        // What was read is committed on the way out, unless the committer is gone.
        if self.hand_over(REVOKE_MAX) {
            self.flush()?;
            self.hand_over(REVOKE_MAX);
        }
        Ok(())
    }

    /// Answers every change of the assignment that was not answered yet: librdkafka does not let a consumer leave the
    /// group before, and would wait for it for ever.
    fn answer_rebalances(&mut self) {
        for arriving in std::mem::take(&mut self.arriving) {
            self.answer(&Rebalance::Assign(arriving.partitions));
        }
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            self.answer(&rebalance);
        }
    }

    fn answer(&self, rebalance: &Rebalance) {
        let is_cooperative = matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let answered = match rebalance {
            Rebalance::Assign(partitions) if is_cooperative => self.consumer.incremental_assign(partitions),
            Rebalance::Assign(partitions) => self.consumer.assign(partitions),
            Rebalance::Revoke(partitions) if is_cooperative => self.consumer.incremental_unassign(partitions),
            Rebalance::Revoke(_) => self.consumer.unassign(),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "a change of the assignment was answered too late");
        }
    }

    fn step(&mut self) -> Result<ControlFlow<()>, IngestError> {
        if let Some((_, why)) = self.consumer.client().fatal_error() {
            return Err(IngestError::Fatal(why));
        }
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            match rebalance {
                Rebalance::Assign(partitions) => self.ask_for_cursors(partitions),
                Rebalance::Revoke(partitions) => {
                    if self.give_back(&partitions)?.is_break() {
                        self.answer(&Rebalance::Revoke(partitions));
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        if !self.hand_over(BLOCK_MAX) {
            self.wait_paused();
            return Ok(ControlFlow::Continue(()));
        }
        self.assign_arrived()?;
        let due = self.batch_began.map(|began| began + Duration::from_millis(self.config.flush.age_ms_max));
        let wait = due.map_or(POLL_MAX, |due| due.saturating_duration_since(Instant::now())).min(POLL_MAX);
        self.drain(wait);
        if self.is_full() || due.is_some_and(|due| due <= Instant::now()) {
            self.flush()?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Waits for a message, and takes it and those that are there behind it. `None` from the consumer may also mean that
    /// it has served a rebalance, which the caller has to look at.
    fn drain(&mut self, wait: Duration) {
        let consumer = self.consumer.clone();
        let mut wait = wait;
        let mut ingested_at = None;
        for _ in 0..DRAIN_MAX {
            match consumer.poll(wait) {
                Some(Ok(message)) => self.take(&message, *ingested_at.get_or_insert_with(now)),
                Some(Err(error)) => return self.complain(&error),
                None => return,
            }
            if self.is_full() {
                return;
            }
            wait = Duration::ZERO;
        }
    }

    fn is_full(&self) -> bool {
        self.batcher.rows() >= self.config.flush.rows_max || self.batcher.bytes() >= self.config.flush.bytes_max
    }

    fn take(&mut self, message: &BorrowedMessage<'_>, ingested_at: Micros) {
        let Some(topic) = self.topics.get(message.topic()) else { return };
        let names = message.headers().map(header_names).unwrap_or_default();
        let headers: Vec<(&str, Option<&[u8]>)> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let origin = Origin { topic: message.topic(), partition: message.partition(), offset: message.offset() };
        let broker_at = message.timestamp().to_millis().and_then(|millis| millis.checked_mul(1000));
        let record = Message { origin, broker_at, key: message.key(), headers: &headers, value: message.payload() };
        // Messages come in runs of one partition.
        if self.current.topic != origin.topic || self.current.partition != origin.partition {
            self.current = self.stream(origin.topic, origin.partition);
        }
        let _ = self.batcher.push(&self.current, &topic.source, &record, ingested_at);
        self.batch_began.get_or_insert_with(Instant::now);
    }

    fn stream(&self, topic: &str, partition: i32) -> Stream {
        Stream { cluster: self.config.cluster.clone(), topic: topic.to_owned(), partition }
    }

    fn streams(&self, partitions: &TopicPartitionList) -> Vec<Stream> {
        partitions.elements().iter().map(|element| self.stream(element.topic(), element.partition())).collect()
    }

    fn complain(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                tracing::warn!(%error, "a configured topic does not exist (yet)");
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let why = format!("no broker answers at {}", self.config.brokers);
                self.health.set(Component::Kafka, State::Down(why));
            }
            _ => tracing::warn!(%error, "Kafka"),
        }
    }

    /// Finishes the batch, if there is one, and makes it the next request.
    fn flush(&mut self) -> Result<(), IngestError> {
        self.batch_began = None;
        if let Some(batch) = self.batcher.finish()? {
            // There is room: nothing is read while a request waits.
            self.outgoing = Some(Request::Commit(Box::new(batch)));
        }
        Ok(())
    }

    /// Gives the waiting request to the committer, for at most `patience`. Says whether none is left.
    fn hand_over(&mut self, patience: Duration) -> bool {
        let Some(request) = self.outgoing.take() else { return true };
        let request = match self.requests.try_send(request) {
            Ok(()) | Err(TrySendError::Closed(_)) => return true,
            Err(TrySendError::Full(request)) => request,
        };
        let requests = self.requests.clone();
        let permit = self.handle.block_on(async { tokio::time::timeout(patience, requests.reserve()).await });
        match permit {
            Ok(Ok(permit)) => permit.send(request),
            Ok(Err(_)) => {}
            Err(_) => {
                self.outgoing = Some(request);
                return false;
            }
        }
        true
    }

    /// While the committer is stuck (its store fails), the group membership is kept alive by polling, with reading
    /// paused: what is in memory stays bounded, and Kafka keeps the rest.
    fn wait_paused(&mut self) {
        let Ok(assigned) = self.consumer.assignment() else { return };
        if let Err(error) = self.consumer.pause(&assigned) {
            tracing::warn!(%error, "reading could not be paused");
        }
        let consumer = self.consumer.clone();
        while self.outgoing.is_some() && !*self.stop.borrow() && !self.requests.is_closed() {
            if let Some(Ok(message)) = consumer.poll(Duration::ZERO) {
                self.take(&message, now());
            }
            if !self.consumer.context().rebalances.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                break;
            }
            self.hand_over(Duration::from_secs(1));
        }
        if let Err(error) = self.consumer.resume(&assigned) {
            tracing::warn!(%error, "reading could not be resumed");
        }
    }

    /// Waits until the committer has committed everything that it was given.
    fn settle(&mut self, patience: Duration) -> bool {
        let (reply, settled) = oneshot::channel();
        self.outgoing = Some(Request::Settle(reply));
        let until = Instant::now() + patience;
        if !self.hand_over(patience) {
            self.outgoing = None;
            return false;
        }
        let left = until.saturating_duration_since(Instant::now());
        self.handle.block_on(async { tokio::time::timeout(left, settled).await }).is_ok_and(|settled| settled.is_ok())
    }

    fn ask_for_cursors(&mut self, partitions: TopicPartitionList) {
        let streams = self.streams(&partitions);
        let (reply, cursors) = oneshot::channel();
        let until = Instant::now() + REVOKE_MAX;
        while self.outgoing.is_some() && Instant::now() < until && !self.requests.is_closed() {
            self.hand_over(BLOCK_MAX);
        }
        self.outgoing.get_or_insert(Request::Cursors(streams.clone(), reply));
        self.arriving.push_back(Arriving { partitions, streams, cursors });
        self.hand_over(BLOCK_MAX);
    }

    /// Assigns the partitions for which the ledger has answered.
    fn assign_arrived(&mut self) -> Result<(), IngestError> {
        let Some(mut arriving) = self.arriving.pop_front() else { return Ok(()) };
        let cursors = match arriving.cursors.try_recv() {
            Ok(cursors) => cursors,
            Err(oneshot::error::TryRecvError::Empty) => {
                self.hand_over(Duration::ZERO);
                self.arriving.push_front(arriving);
                return Ok(());
            }
            // The request was dropped for want of room, or the committer is gone (the loop sees that).
            Err(oneshot::error::TryRecvError::Closed) => {
                self.ask_for_cursors(arriving.partitions);
                return Ok(());
            }
        };
        for (stream, cursors) in arriving.streams.iter().zip(&cursors) {
            match self.begin(stream, cursors)? {
                Begin::At(offset) => {
                    let set = arriving.partitions.set_partition_offset(&stream.topic, stream.partition, offset);
                    set.map_err(IngestError::Settings)?;
                }
                Begin::NotYet => {
                    self.ask_for_cursors(arriving.partitions);
                    return Ok(());
                }
            }
        }
        for (stream, cursors) in arriving.streams.iter().zip(cursors) {
            tracing::info!(%stream, ?cursors, "partition assigned");
            self.batcher.begin(stream.clone(), cursors);
        }
        let assigned = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&arriving.partitions),
            _ => self.consumer.assign(&arriving.partitions),
        };
        assigned.map_err(IngestError::Settings)?;
        self.health.set(Component::Kafka, State::Up);
        Ok(())
    }

    /// Where to begin: at the cursor of the table that is furthest behind, if Kafka still has that.
    fn begin(&self, stream: &Stream, cursors: &PerTable<Option<i64>>) -> Result<Begin, IngestError> {
        let Some(expected) = cursors.iter().copied().min().flatten() else {
            return Ok(Begin::At(Offset::Beginning));
        };
        let (first, end) = match self.consumer.fetch_watermarks(&stream.topic, stream.partition, BLOCK_MAX) {
            Ok(watermarks) => watermarks,
            Err(error) => {
                tracing::warn!(%stream, %error, "the brokers do not say which offsets they have");
                return Ok(Begin::NotYet);
            }
        };
        if expected > end {
            return Err(IngestError::Ahead { stream: stream.clone(), expected, end });
        }
        if expected < first {
            let lost = IngestError::Lost { stream: stream.clone(), expected, first, count: first - expected };
            metrics::counter!("custody_ingest_lost_messages_total")
                .increment(u64::try_from(first - expected).unwrap_or(0));
            if let Err(error) = self.write_down_loss(stream, expected, first) {
                tracing::warn!(%stream, %error, "a loss could not be written into the ledger yet");
                return Ok(Begin::NotYet);
            }
            match self.config.on_lost_messages {
                OnLostMessages::Stop => return Err(lost),
                OnLostMessages::Continue => tracing::error!(error = %lost, "messages are lost"),
            }
        }
        Ok(Begin::At(Offset::Offset(expected.max(first))))
    }

    /// A loss is a fact like any other: it is in the ledger before anything is read beyond it.
    fn write_down_loss(&self, stream: &Stream, from: i64, first_left: i64) -> Result<(), DirectError> {
        let now = now();
        self.handle.block_on(async {
            let mut journal = Journal::open(&self.ledger).await?;
            journal.lost(stream, from, first_left, to_rfc3339(now), now).await
        })
    }

    /// Commits what was read of partitions that go, then lets them go. If the store does not take it in time the
    /// session breaks off: rows of a partition that is gone must not stay in a batch without its cursor.
    fn give_back(&mut self, partitions: &TopicPartitionList) -> Result<ControlFlow<()>, IngestError> {
        if !self.hand_over(REVOKE_MAX) {
            return Ok(ControlFlow::Break(()));
        }
        self.flush()?;
        if !self.hand_over(REVOKE_MAX) {
            return Ok(ControlFlow::Break(()));
        }
        if !self.settle(REVOKE_MAX) {
            tracing::warn!(
                "partitions go before everything read of them is committed; their next owner reads it again"
            );
        }
        for stream in self.streams(partitions) {
            tracing::info!(%stream, "partition revoked");
            self.batcher.end(&stream);
        }
        // Partitions that were to come and go again before they came.
        for arriving in &mut self.arriving {
            arriving.streams.retain(|stream| partitions.find_partition(&stream.topic, stream.partition).is_none());
            let mut left = TopicPartitionList::new();
            for stream in &arriving.streams {
                left.add_partition(&stream.topic, stream.partition);
            }
            arriving.partitions = left;
        }
        let unassigned = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_unassign(partitions),
            _ => self.consumer.unassign(),
        };
        unassigned.map_err(IngestError::Settings)?;
        Ok(ControlFlow::Continue(()))
    }
}

/// Now, in microseconds: when a record is taken in.
pub(crate) fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

/// The names and values of a message's headers. Kafka does not check that names are UTF-8: bytes that are not are
/// written as `\xNN`, so that a name is always text and never silently another.
fn header_names(headers: &BorrowedHeaders) -> Vec<(String, Option<&[u8]>)> {
    (0..headers.count()).filter_map(|position| header(headers, position)).collect()
}

/// One header. `rdkafka`'s own accessor panics on a name that is not UTF-8, which any producer may send.
#[expect(unsafe_code, reason = "the safe accessor lets a hostile producer stop a partition")]
fn header(headers: &BorrowedHeaders, position: usize) -> Option<(String, Option<&[u8]>)> {
    let native: *const rd_kafka_headers_t = std::ptr::from_ref(headers).cast();
    let mut name = std::ptr::null();
    let mut value = std::ptr::null();
    let mut size = 0;
    // SAFETY: `BorrowedHeaders` is what rdkafka makes of a `rd_kafka_headers_t` by a cast of the pointer, and its
    // lifetime is the message's. librdkafka fills the three results or returns an error; a name is NUL-terminated, a
    // value is null or has `size` bytes, and both live as long as the headers.
    unsafe {
        let error = rd_kafka_header_get_all(native, position, &raw mut name, &raw mut value, &raw mut size);
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return None;
        }
        let name = readable(CStr::from_ptr(name).to_bytes());
        let value = (!value.is_null())
            .then(|| if size == 0 { &[][..] } else { std::slice::from_raw_parts(value.cast::<u8>(), size) });
        Some((name, value))
    }
}

/// Text, with every byte that is no part of a character written as `\xNN`.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}
