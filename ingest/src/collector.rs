//! Takes in what senders push over HTTP, and answers when it is safe: acknowledged by every replica in Kafka, or, where
//! no Kafka is configured, committed in the ledger.
//!
//! Senders retry what was not answered, so a message may come twice; decoders give both the same event id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use custody_ledger::{Ledger, LedgerError, Stream};
use custody_schemas::time::Micros;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::committer::{RETRY_PAUSES, sleep_or_stop};
use crate::config::{Config, Flush};
use crate::consumer::{now, settings};
use crate::direct::{Content, Direct, DirectError};
use crate::health::{Component, Health, State};
use crate::source::Source;

/// How long a sender is kept waiting for a message to be safe. Teleport's event handler gives up after 30 s.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Messages that wait for the ledger at the same time, and kilobytes of them. Their senders wait for the answer, so this
/// bounds connections and memory, not throughput.
const WAITING_MAX: usize = 1024;
const WAITING_KB_MAX: u32 = 256 * 1024;

/// How long the first message of a commit waits for others. One event handler sends ten events at a time, each on its
/// own: without waiting each would be a file.
const LINGER: Duration = Duration::from_millis(100);

/// Largest message that is offered to Kafka; its topics may allow less.
const KAFKA_MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Name of the place where the cursors of collected messages are, beside the Kafka clusters.
const CLUSTER: &str = "collector";

/// A message that somebody pushed.
#[derive(Debug)]
pub struct Upload {
    /// The topic that it goes to; without Kafka, `collector/<topic>/<instance>` in the ledger.
    pub topic: String,
    /// How it is decoded.
    pub source: Source,
    /// Key of the record.
    pub key: Option<String>,
    /// Headers of the record.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes as received.
    pub value: Vec<u8>,
}

/// Why a message was not taken. The sender has to try again later, unless it is too large.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The topic does not take messages of this size.
    #[error(
        "topic {topic:?} takes no message of {bytes} bytes: raise its max.message.bytes, or let the sender upload less at a time"
    )]
    TooLarge {
        /// The topic.
        topic: String,
        /// Size of the message.
        bytes: usize,
    },
    /// It could not be made safe now.
    #[error("the message could not be made safe: {0}")]
    Unavailable(String),
}

/// Takes messages in. Clones share one way out.
#[derive(Clone)]
pub struct Collector {
    to: Destination,
}

#[derive(Clone)]
enum Destination {
    Kafka(FutureProducer),
    Ledger(mpsc::Sender<Waiting>, Arc<Semaphore>),
}

/// A message whose sender waits for the answer.
struct Waiting {
    upload: Upload,
    _room: OwnedSemaphorePermit,
    answer: oneshot::Sender<Result<(), CollectError>>,
}

impl Collector {
    /// A collector that publishes to the brokers of the configuration.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the settings. Brokers are not contacted yet.
    pub fn to_kafka(config: &Config) -> Result<Self, KafkaError> {
        let mut settings = settings(config);
        settings
            .set("client.id", "custody-collector")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("message.max.bytes", KAFKA_MESSAGE_BYTES_MAX.to_string())
            .set("message.timeout.ms", ANSWER_MAX.as_millis().to_string());
        Ok(Self { to: Destination::Kafka(settings.create()?) })
    }

    /// A collector that commits to the ledger, and the work that does it: it ends when every clone is dropped, or when
    /// asked to stop while the store fails.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the tables cannot be opened.
    pub async fn to_ledger(
        ledger: &Ledger,
        flush: Flush,
        health: Health,
        stop: watch::Receiver<bool>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), LedgerError> {
        let direct = Direct::open(ledger).await?;
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let instance = uuid::Uuid::new_v4().simple().to_string();
        let committing = Committing { direct, flush, health, stop, instance, next: HashMap::new() };
        let room = Arc::new(Semaphore::new(WAITING_KB_MAX as usize));
        Ok((Self { to: Destination::Ledger(sender, room) }, committing.run(waiting)))
    }

    /// Takes a message, and returns when it is safe.
    ///
    /// # Errors
    ///
    /// [`CollectError`]; the message may be safe all the same, when only the answer was lost.
    pub async fn accept(&self, upload: Upload) -> Result<(), CollectError> {
        let late = || CollectError::Unavailable(format!("no answer within {} s", ANSWER_MAX.as_secs()));
        match &self.to {
            Destination::Kafka(producer) => publish(producer, &upload).await,
            Destination::Ledger(sender, room) => {
                let (answer, answered) = oneshot::channel();
                let kilobytes = u32::try_from(upload.value.len() / 1024 + 1).unwrap_or(u32::MAX).min(WAITING_KB_MAX);
                let waited = tokio::time::timeout(ANSWER_MAX, async {
                    let room = room.clone().acquire_many_owned(kilobytes).await.map_err(|_| stopping())?;
                    sender.send(Waiting { upload, _room: room, answer }).await.map_err(|_| stopping())?;
                    answered.await.map_err(|_| stopping())?
                });
                waited.await.map_err(|_| late())?
            }
        }
    }
}

fn stopping() -> CollectError {
    CollectError::Unavailable("Custody is stopping".to_owned())
}

async fn publish(producer: &FutureProducer, upload: &Upload) -> Result<(), CollectError> {
    let headers = upload
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let mut record = FutureRecord::<str, [u8]>::to(&upload.topic).payload(&upload.value).headers(headers);
    record.key = upload.key.as_deref();
    match producer.send(record, ANSWER_MAX).await {
        Ok(_) => Ok(()),
        Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            Err(CollectError::TooLarge { topic: upload.topic.clone(), bytes: upload.value.len() })
        }
        Err((error, _)) => Err(CollectError::Unavailable(format!("topic {:?}: {error}", upload.topic))),
    }
}

/// Commits what came together, and answers all of it.
struct Committing {
    direct: Direct,
    flush: Flush,
    health: Health,
    stop: watch::Receiver<bool>,
    /// Tells this process' streams from those of any other, so that nobody else gives away their offsets.
    instance: String,
    /// Next offset of each stream.
    next: HashMap<Stream, i64>,
}

impl Committing {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        while let Some(first) = waiting.recv().await {
            let mut bytes = first.upload.value.len();
            let mut together = vec![first];
            let until = tokio::time::Instant::now() + LINGER;
            while together.len() < self.flush.rows_max && bytes < self.flush.bytes_max {
                let Ok(Some(next)) = tokio::time::timeout_at(until, waiting.recv()).await else { break };
                bytes += next.upload.value.len();
                together.push(next);
            }
            // Whoever did not wait for the answer comes again.
            together.retain(|waiting| !waiting.answer.is_closed());
            if !self.commit(&together).await {
                tracing::warn!("stopped while the ledger's store was failing; senders come again");
                return;
            }
            for Waiting { answer, .. } in together {
                // A sender that went away asks again, and gets a duplicate that is told as one.
                let _ = answer.send(Ok(()));
            }
        }
        if let Err(error) = self.direct.settle().await {
            tracing::warn!(%error, "cursors were not committed; the next start reads a few records again");
        }
    }

    /// Commits messages, trying until the store takes them: some tables may have them already, and the others must get
    /// the same rows. Says whether they are in; they are not only when asked to stop meanwhile.
    async fn commit(&mut self, together: &[Waiting]) -> bool {
        let placed: Vec<(Stream, i64)> = together.iter().map(|waiting| self.place(&waiting.upload.topic)).collect();
        let at = now();
        let mut pauses = RETRY_PAUSES.into_iter();
        while let Err(error) = self.try_commit(together, &placed, at).await {
            self.health.set(Component::Store, State::Down(error.to_string()));
            metrics::counter!("custody_ingest_store_failures_total").increment(1);
            if sleep_or_stop(pauses.next().unwrap_or(Duration::from_secs(10)), &mut self.stop).await {
                return false;
            }
            if let Err(error) = self.direct.reset().await {
                tracing::debug!(%error, "the tables cannot be read");
            }
        }
        self.health.set(Component::Store, State::Up);
        true
    }

    /// Gives a message its place.
    fn place(&mut self, topic: &str) -> (Stream, i64) {
        let stream = collected(&format!("{COLLECTED}{topic}/{}", self.instance));
        let next = self.next.entry(stream.clone()).or_default();
        *next += 1;
        (stream, *next - 1)
    }

    async fn try_commit(
        &mut self,
        together: &[Waiting],
        placed: &[(Stream, i64)],
        at: Micros,
    ) -> Result<(), DirectError> {
        for (Waiting { upload, .. }, (stream, offset)) in together.iter().zip(placed) {
            if !self.direct.has_begun(stream) {
                self.direct.begin(stream).await?;
            }
            let Upload { source, key, headers, value, .. } = upload;
            let content = Content { source, sent_at: Some(at), key: key.as_deref(), headers, value };
            // `None`: every table has it since the attempt before.
            let _ = self.direct.place((stream, *offset), &content, at);
        }
        self.direct.commit().await
    }
}

/// What the topics of collected messages begin with in the ledger, where no Kafka is configured: their offsets are given
/// by Custody, and must not be taken for a broker's.
pub const COLLECTED: &str = "collector/";

/// The stream of a topic of collected messages.
pub fn collected(topic: &str) -> Stream {
    Stream { cluster: CLUSTER.to_owned(), topic: topic.to_owned(), partition: 0 }
}
