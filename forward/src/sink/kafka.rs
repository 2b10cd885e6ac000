//! A topic of Kafka: each event a record, acknowledged by every replica in sync.
//!
//! The key is the session, so that what happened in one session is in one partition, in the order in which it was sent; of
//! an event without one its id. Order holds as long as nothing has to be sent again. The header `event_id` has what tells
//! duplicates: an idempotent producer makes none of its own, but a batch whose answer was lost is sent again.
//!
//! A record's time is when it is sent: brokers refuse whole batches for one time that lies in the future, and what
//! happened when stands in the event.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use serde::Deserialize;

use super::{ANSWER_BYTES_MAX, BatchSize, Item, Refusal, Reply, SendError, Sink};
use crate::destination::{KafkaSettings, Refused};

/// What librdkafka does unless the configuration says otherwise.
const DEFAULTS: [(&str, &str); 6] = [
    ("client.id", "custody-forward"),
    ("security.protocol", "ssl"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    // After so long without an acknowledgement it is our turn again: to say that it fails, and to try.
    ("message.timeout.ms", "30000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// What it does in any case: without these an event that was acknowledged could be lost.
const FIXED: [(&str, &str); 2] = [("acks", "all"), ("enable.idempotence", "true")];

/// Settings that have another name here, or none.
const OWN: [&str; 5] =
    ["acks", "request.required.acks", "enable.idempotence", "bootstrap.servers", "metadata.broker.list"];

/// Sends to one topic.
pub struct Kafka {
    config: ClientConfig,
    topic: String,
    producer: Mutex<FutureProducer<Notes>>,
    notes: Notes,
}

/// What librdkafka said last of its connections. A record that waits in vain only says that time is up.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

impl ClientContext for Notes {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason.to_owned()));
        }
    }
}

impl Notes {
    fn take(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Kafka {
    /// # Errors
    ///
    /// [`Refused`] for settings that make no sense, to librdkafka or to us. Brokers are not contacted yet.
    pub fn new(settings: &KafkaSettings) -> Result<Self, Refused> {
        let mut options: BTreeMap<&str, String> = DEFAULTS.map(|(name, value)| (name, value.to_owned())).into();
        for (name, secret) in settings.tls_files()? {
            options.insert(name, secret);
        }
        for (name, value) in &settings.options {
            if OWN.contains(&name.as_str()) {
                return Err(Refused::new(format!("options: {name} is not to be set")));
            }
            options.insert(name, value.read()?);
        }
        let is_encrypted = options.get("security.protocol").is_some_and(|of| of.to_ascii_lowercase().ends_with("ssl"));
        if !is_encrypted && !settings.unencrypted && !settings.is_here() {
            return Err(Refused::new(format!(
                "Kafka at {} is not encrypted: set security.protocol to ssl or sasl_ssl, or say unencrypted = true",
                settings.brokers
            )));
        }
        options.extend(FIXED.map(|(name, value)| (name, value.to_owned())));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &settings.brokers).extend(options.into_iter().map(|(n, v)| (n.to_owned(), v)));
        let notes = Notes::default();
        let producer = Self::producer(&config, &notes).map_err(|error| match error {
            // The value may be a secret.
            KafkaError::ClientConfig(_, what, name, _) => Refused::new(format!("options: {name}: {what}")),
            error => Refused::new(format!("Kafka: {error}")),
        })?;
        Ok(Self { config, topic: settings.topic.clone(), producer: Mutex::new(producer), notes })
    }

    fn producer(config: &ClientConfig, notes: &Notes) -> Result<FutureProducer<Notes>, KafkaError> {
        FutureProducer::from_config_and_context(config, notes.clone())
    }

    /// Gives a record to the client. What is waited for is the acknowledgement.
    fn queue(&self, producer: &FutureProducer<Notes>, item: &Item) -> Result<DeliveryFuture, KafkaError> {
        let key = session(&item.body).unwrap_or(Cow::Borrowed(&item.id));
        let headers = OwnedHeaders::new().insert(Header { key: "event_id", value: Some(item.id.as_str()) });
        let record = FutureRecord::to(&self.topic).key(key.as_ref()).payload(item.body.as_ref()).headers(headers);
        producer.send_result(record).map_err(|(error, _)| error)
    }

    /// Makes another producer in place of one that will never send again.
    fn renew(&self) -> Result<(), SendError> {
        let producer =
            Self::producer(&self.config, &self.notes).map_err(|error| SendError::transient(error.to_string()));
        *self.producer.lock().unwrap_or_else(PoisonError::into_inner) = producer?;
        Ok(())
    }

    /// What has become of none of a batch.
    fn failed(&self, producer: &FutureProducer<Notes>, error: &KafkaError) -> Result<Reply, SendError> {
        use RDKafkaErrorCode as Code;
        let noted = self.notes.take();
        let what = match &noted {
            Some((_, reason)) => format!("{error}: {reason}"),
            None => error.to_string(),
        };
        let codes = [error.rdkafka_error_code(), noted.map(|(code, _)| code)];
        if producer.client().fatal_error().is_some() {
            self.renew()?;
        }
        let is_unauthorised = |code: Code| {
            matches!(
                code,
                Code::Authentication
                    | Code::SaslAuthenticationFailed
                    | Code::TopicAuthorizationFailed
                    | Code::ClusterAuthorizationFailed
            )
        };
        match codes.into_iter().flatten().any(is_unauthorised) {
            true => Err(SendError::Unauthorised(what)),
            false => Err(SendError::transient(what)),
        }
    }
}

/// The session that an event is of, wherever its schema has that.
fn session(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Event<'b> {
        #[serde(borrow, default)]
        session_id: Option<Cow<'b, str>>,
        #[serde(borrow, default)]
        custody: Option<Columns<'b>>,
        #[serde(borrow, default)]
        actor: Option<Actor<'b>>,
    }
    #[derive(Deserialize)]
    struct Columns<'b> {
        #[serde(borrow, default)]
        session_id: Option<Cow<'b, str>>,
    }
    #[derive(Deserialize)]
    struct Session<'b> {
        #[serde(borrow, default)]
        uid: Option<Cow<'b, str>>,
    }
    // Custody's own JSON has a name there.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Actor<'b> {
        Of {
            #[serde(borrow, default)]
            session: Option<Session<'b>>,
        },
        Other(serde::de::IgnoredAny),
    }
    let Event { session_id, custody, actor } = serde_json::from_slice(body).ok()?;
    let of_actor = match actor {
        Some(Actor::Of { session }) => session.and_then(|session| session.uid),
        Some(Actor::Other(_)) | None => None,
    };
    session_id.or(custody.and_then(|columns| columns.session_id)).or(of_actor)
}

#[async_trait]
impl Sink for Kafka {
    fn batch_size(&self) -> BatchSize {
        BatchSize { bytes: 4_000_000, items: 5000 }
    }

    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut reply = Reply::default();
        let mut failure = None;
        // All are queued in their order before the first is waited for.
        let mut queued = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            match self.queue(&producer, item) {
                Ok(delivery) => queued.push((number, delivery)),
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    reply.refused.push((number, refusal(&error)));
                }
                Err(error) => {
                    reply.again.push(number);
                    failure = Some(error);
                }
            }
        }
        let mut is_any_there = false;
        for (number, delivery) in queued {
            let error = match delivery.await {
                Ok(Ok(_)) => {
                    is_any_there = true;
                    continue;
                }
                Ok(Err((error, _))) => error,
                // Its producer is gone, and what it had not sent with it.
                Err(_) => KafkaError::Canceled,
            };
            match error.rdkafka_error_code() {
                // Of those that went to a broker together, it does not say which it means.
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => return Err(SendError::TooLarge(refusal(&error))),
                Some(RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::PolicyViolation) => {
                    return Err(SendError::Refused(refusal(&error)));
                }
                _ => {
                    reply.again.push(number);
                    failure = Some(error);
                }
            }
        }
        reply.again.sort_unstable();
        if is_any_there {
            // What was noted before is over.
            self.notes.take();
        }
        match failure {
            // Nothing gets through: that is to be seen, and not only tried again.
            Some(error) if !is_any_there => self.failed(&producer, &error),
            _ => Ok(reply),
        }
    }
}

fn refusal(error: &KafkaError) -> Refusal {
    let text = error.to_string();
    Refusal {
        status: None,
        answer: text.get(..text.floor_char_boundary(ANSWER_BYTES_MAX)).unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Headers;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::RDKafkaRespErr as Broken;
    use rdkafka::{Message, Offset, TopicPartitionList};
    use serde_json::{Value, json};

    use super::super::receiver::item;
    use super::*;
    use crate::schema::Schema;

    type Cluster = MockCluster<'static, DefaultProducerContext>;

    fn cluster() -> Cluster {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("siem", 4, 1).unwrap();
        cluster
    }

    fn settings(cluster: &Cluster, options: Value) -> KafkaSettings {
        let mut settings = json!({
            "brokers": cluster.bootstrap_servers(), "topic": "siem",
            "options": { "security.protocol": "plaintext", "message.timeout.ms": "2000" },
        });
        for (name, value) in options.as_object().unwrap() {
            settings["options"][name] = value.clone();
        }
        serde_json::from_value(settings).unwrap()
    }

    fn kafka(cluster: &Cluster, options: Value) -> Kafka {
        Kafka::new(&settings(cluster, options)).unwrap()
    }

    #[derive(Debug, PartialEq)]
    struct Got {
        partition: i32,
        key: String,
        event_id: String,
        value: Vec<u8>,
    }

    /// So many records of the topic, each partition's in their order.
    fn records(cluster: &Cluster, count: usize) -> Vec<Got> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "test")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        all.add_partition_range("siem", 0, 3);
        all.set_all_offsets(Offset::Beginning).unwrap();
        consumer.assign(&all).unwrap();
        let mut got = Vec::new();
        while got.len() < count {
            let record = consumer.poll(Duration::from_secs(20)).expect("a record").unwrap();
            let header = record.headers().unwrap().get(0);
            assert_eq!(header.key, "event_id");
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            got.push(Got {
                partition: record.partition(),
                key: text(record.key()),
                event_id: text(header.value),
                value: record.payload().unwrap().to_vec(),
            });
        }
        assert!(consumer.poll(Duration::from_millis(500)).is_none());
        got
    }

    fn references(items: &[Item]) -> Vec<&Item> {
        items.iter().collect()
    }

    #[tokio::test]
    async fn records_have_the_session_as_key_and_keep_its_order() {
        let cluster = cluster();
        let sink = kafka(&cluster, json!({}));
        let items: Vec<Item> = (0..200)
            .map(|n| item(&format!("e-{n:03}"), &format!(r#"{{"n":{n},"session_id":"s-{}"}}"#, n % 7)))
            .collect();
        for batch in items.chunks(50) {
            assert_eq!(sink.send(&references(batch)).await, Ok(Reply::default()));
        }
        let got = records(&cluster, items.len());
        for session in 0..7 {
            let of: Vec<&Got> = got.iter().filter(|got| got.key == format!("s-{session}")).collect();
            assert!(of.iter().all(|got| got.partition == of[0].partition));
            assert!(of.is_sorted_by_key(|got| &got.event_id), "{of:?}");
        }
        let mut ids: Vec<&str> = got.iter().map(|got| got.event_id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>());
        assert!(got.iter().all(|got| items.iter().any(|item| item.id == got.event_id && item.body == got.value)));
    }

    #[test]
    fn the_session_is_found_in_every_schema() {
        let case = crate::schema::tests::corpus::full();
        let session_id = case.notice().event.session_id.unwrap().into_owned();
        for schema in [Schema::Custody, Schema::Ocsf, Schema::Ecs] {
            let body = schema.write(&case.notice(), usize::MAX);
            assert_eq!(session(body.as_bytes()).as_deref(), Some(session_id.as_str()), "{schema:?}");
        }
        // What an event merely has in it is not its session.
        for body in [r#"{"detail":{"session_id":"x"}}"#, r#"{"actor":"session"}"#, "{}", "[]", "x"] {
            assert_eq!(session(body.as_bytes()), None, "{body}");
        }
        assert_eq!(session(r#"{"session_id":"a\n"}"#.as_bytes()).as_deref(), Some("a\n"));
    }

    #[tokio::test]
    async fn an_event_that_is_too_large_is_refused_alone() {
        let cluster = cluster();
        let sink = kafka(&cluster, json!({ "message.max.bytes": "2000" }));
        let items = [item("a", "{}"), item("b", &"x".repeat(3000)), item("c", "{}")];
        let reply = sink.send(&references(&items)).await.unwrap();
        assert_eq!(reply.again, Vec::<usize>::new());
        assert_eq!(reply.refused.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
        let reply = sink.send(&[&items[1]]).await.unwrap();
        assert_eq!(reply.refused.len(), 1);
        assert_eq!(records(&cluster, 2).len(), 2);
    }

    #[tokio::test]
    async fn brokers_that_are_down_are_waited_for() {
        let cluster = cluster();
        let sink = kafka(&cluster, json!({}));
        let event = item("a", "{}");
        assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
        cluster.broker_down(1).unwrap();
        let failed = sink.send(&[&event]).await;
        assert!(matches!(failed, Err(SendError::Transient { .. })), "{failed:?}");
        cluster.broker_up(1).unwrap();
        let mut sent = sink.send(&[&event]).await;
        for _ in 0..10 {
            if sent.is_ok() {
                break;
            }
            sent = sink.send(&[&event]).await;
        }
        assert_eq!(sent, Ok(Reply::default()));
    }

    #[tokio::test]
    async fn what_brokers_answer_is_understood() {
        use Broken::*;
        let event = item("a", "{}");
        type Check = fn(&Result<Reply, SendError>) -> bool;
        let cases: [(Broken, Check); 5] = [
            // The client tries again by itself.
            (RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, |sent| *sent == Ok(Reply::default())),
            (RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, |sent| *sent == Ok(Reply::default())),
            (RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, |sent| matches!(sent, Err(SendError::Unauthorised(_)))),
            // After this an idempotent client never sends again.
            (RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, |sent| matches!(sent, Err(SendError::Transient { .. }))),
            (RD_KAFKA_RESP_ERR_INVALID_RECORD, |sent| matches!(sent, Err(SendError::Refused(_)))),
        ];
        for (answer, is_expected) in cases {
            let cluster = cluster();
            let sink = kafka(&cluster, json!({ "message.timeout.ms": "10000" }));
            cluster.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[answer]);
            let sent = sink.send(&[&event]).await;
            assert!(is_expected(&sent), "{answer:?}: {sent:?}");
            // Whatever it was, it goes on.
            let mut sent = sink.send(&[&event]).await;
            for _ in 0..20 {
                if sent.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
                sent = sink.send(&[&event]).await;
            }
            assert_eq!(sent, Ok(Reply::default()), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_no_failure() {
        let cluster = cluster();
        let sink = kafka(&cluster, json!({ "queue.buffering.max.messages": "10", "linger.ms": "100" }));
        let items: Vec<Item> = (0..25).map(|n| item(&format!("e-{n:02}"), "{}")).collect();
        let mut waiting = references(&items);
        let mut rounds = 0;
        while !waiting.is_empty() {
            let reply = sink.send(&waiting).await.unwrap();
            assert_eq!(reply.refused, []);
            waiting = reply.again.iter().map(|number| waiting[*number]).collect();
            rounds += 1;
        }
        assert!(rounds > 1);
        assert_eq!(records(&cluster, items.len()).len(), items.len());
    }

    #[test]
    fn settings_that_would_lose_or_show_events_are_refused() {
        let cluster = cluster();
        let made =
            |settings: Value| Kafka::new(&serde_json::from_value(settings).unwrap()).err().map(|e| e.to_string());
        let refused = [
            (
                json!({ "brokers": "kafka.example:9092", "topic": "t", "options": { "security.protocol": "plaintext" } }),
                "not encrypted",
            ),
            (
                json!({ "brokers": "127.0.0.1:9092,kafka.example:9092", "topic": "t", "options": { "security.protocol": "SASL_PLAINTEXT" } }),
                "not encrypted",
            ),
            (json!({ "brokers": "kafka.example:9093", "topic": "t", "options": { "acks": "1" } }), "acks"),
            (
                json!({ "brokers": "kafka.example:9093", "topic": "t", "options": { "no.such.setting": "1" } }),
                "no.such.setting",
            ),
            (
                json!({ "brokers": "kafka.example:9093", "topic": "t", "options": { "sasl.password": { "env": "CUSTODY_TEST_UNSET" } } }),
                "CUSTODY_TEST_UNSET",
            ),
            (json!({ "brokers": "kafka.example:9093", "topic": "t", "tls": { "cert": "/x" } }), "belong together"),
        ];
        for (settings, why) in refused {
            let said = made(settings.clone()).unwrap_or_else(|| panic!("{settings} was taken"));
            assert!(said.contains(why), "{settings}: {said}");
        }
        assert_eq!(made(json!({ "brokers": "kafka.example:9093", "topic": "t" })), None);
        assert_eq!(
            made(
                json!({ "brokers": "kafka.example:9092", "topic": "t", "unencrypted": true, "options": { "security.protocol": "plaintext" } })
            ),
            None
        );
        let shown = format!("{:?}", settings(&cluster, json!({ "sasl.password": "hidden" })));
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
