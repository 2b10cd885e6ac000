//! The other side of Kafka: a producer and an embedded broker, for the demo, the benchmark and tests.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

/// A message to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Topic.
    pub topic: String,
    /// Partition, or the partitioner's choice by key.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Publishes messages in order, with every acknowledgement that the cluster can give.
pub struct Publisher {
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Publisher {
    /// A publisher to the brokers at `host:port` addresses joined by commas.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the settings. Brokers are not contacted yet.
    pub fn new(brokers: &str) -> Result<Self, KafkaError> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "custody-gateways")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("queue.buffering.max.kbytes", "65536")
            .create()?;
        Ok(Self { producer })
    }

    /// Asks the brokers whether they are there.
    ///
    /// # Errors
    ///
    /// When none answers within `timeout`.
    pub fn check(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.producer.client().fetch_metadata(None, timeout).map(drop)
    }

    /// Queues a message, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// What librdkafka says of the message: too large, unknown topic.
    pub fn publish(&self, message: &Outgoing) -> Result<(), KafkaError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&message.topic);
        record.partition = message.partition;
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        if !message.headers.is_empty() {
            record =
                record.headers(message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: Some(value) })
                }));
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    // The queue drains by the producer's own thread.
                    self.producer.flush(Duration::from_millis(100)).ok();
                    record = back;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until everything queued is acknowledged.
    ///
    /// # Errors
    ///
    /// When it is not within `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.producer.flush(timeout)
    }
}

/// A broker inside this process (librdkafka's mock cluster): real protocol on a real port of the loopback interface,
/// nothing on disk, about 5 MB kept per partition. Good for a demo, not for keeping anything.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
}

impl EmbeddedBroker {
    /// Starts a broker with these topics and numbers of partitions.
    ///
    /// # Errors
    ///
    /// When librdkafka cannot open a port or make a topic.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1)?;
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions, 1)?;
        }
        Ok(Self { cluster })
    }

    /// Address of the broker.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
