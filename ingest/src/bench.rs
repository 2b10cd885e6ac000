//! What ingest costs, against what it cannot go below: consuming the same messages and writing their raw values as
//! Parquet, with the same compression, and nothing else. What decoding alone costs is in [`decode_rates`], what a commit takes
//! while the tables grow in [`commits`]. A ledger to measure questions on is made by [`generate`].

mod commits;
mod decode;
mod generate;
mod paced;

pub use commits::{CommitTimes, commits, quantile};
pub use decode::{DecodeRate, decode_rates};
pub use generate::{Generated, Plan, Reference, generate, reference};
pub use paced::produce_at;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::BinaryBuilder;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use custody_ledger::{Ledger, Location, Stream};
use custody_schemas::table::Table;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;

use crate::config::{Config, Flush, OnLostMessages, Topic};
use crate::health::Health;
use crate::publish::{Outgoing, Publisher};
use crate::source::{Source, SourceKind};

/// An error for a person.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What a run took.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Measure {
    /// Messages.
    pub messages: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Seconds from the first fetch to the last commit.
    pub seconds: f64,
}

/// Publishes about `bytes` of Teleport-like audit events, spread over the partitions.
///
/// # Errors
///
/// When the brokers do not take them.
pub fn produce(brokers: &str, topic: &str, partitions: i32, bytes: u64) -> Result<u64, Failed> {
    let publisher = Publisher::new(brokers)?;
    publisher.check(Duration::from_secs(10))?;
    let (mut published, mut number) = (0, 0);
    while published < bytes {
        let value = event(number).into_bytes();
        published += value.len() as u64;
        let partition = i32::try_from(number % u64::from(partitions.unsigned_abs().max(1)))?;
        publisher.publish(&Outgoing {
            topic: topic.to_owned(),
            partition: Some(partition),
            value: Some(value),
            ..Outgoing::default()
        })?;
        number += 1;
    }
    publisher.flush(Duration::from_secs(120))?;
    Ok(number)
}

/// An audit event of about 900 bytes as the event handler writes it: keys in alphabetical order, ids and times that
/// hardly repeat, names that do.
fn event(number: u64) -> String {
    // A multiplicative hash: the same number gives the same event, neighbours look nothing alike.
    let mix = |of: u64| of.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let uuid = |of: u64| {
        let (a, b) = (mix(of), mix(of + 1));
        format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", a >> 32, a & 0xffff, b & 0xfff, (b >> 12) & 0xfff, b >> 16)
    };
    let session = number / 40;
    let (user, host) = (session % 500, session % 2000);
    let millis = number % 1000;
    let (seconds, minutes, hours) = (number / 10 % 60, number / 600 % 60, number / 36_000 % 24);
    format!(
        r#"{{"access_requests":["{request}"],"addr.remote":"203.0.113.{octet}:{port}","argv":["-l","--color=auto","/var/log/app-{app}"],"cgroup_id":{cgroup},"cluster_name":"prod.example.com","code":"T4000I","ei":{ei},"event":"session.command","login":"deploy","namespace":"default","path":"/usr/bin/ls","pid":{pid},"ppid":{ppid},"private_key_policy":"none","program":"ls","return_code":0,"server_hostname":"node-{host:04}.prod.example.com","server_id":"{server}","server_labels":{{"env":"prod","region":"eu-west-1","team":"payments"}},"server_version":"18.2.0","sid":"{sid}","time":"2026-11-02T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z","uid":"{uid}","user":"user-{user:03}@example.com","user_kind":1,"user_roles":["access","developer-read-only-jit"],"with_mfa":"{mfa}"}}"#,
        request = uuid(session << 8),
        octet = session % 250,
        port = 40_000 + session % 20_000,
        app = number % 97,
        cgroup = 4_294_967_296 + session,
        ei = number % 40,
        pid = mix(number ^ 3) % 4_000_000,
        ppid = mix(session ^ 5) % 4_000_000,
        server = uuid((host << 8) + 7),
        sid = uuid((session << 8) + 11),
        uid = uuid((number << 8) + 17),
        mfa = uuid((user << 8) + 13),
    )
}

/// The limit: consumes `messages` messages and writes their raw values to one Parquet file with ZSTD level 3.
///
/// # Errors
///
/// When the brokers or the disk fail.
pub fn limit(brokers: &str, topic: &str, messages: u64, folder: &Path) -> Result<Measure, Failed> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "custody-bench-limit")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.max.bytes", "8388608")
        .set("max.partition.fetch.bytes", "2097152")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in partitions(&consumer, topic)? {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Binary, true)]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_LENGTH_BYTE_ARRAY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(Some(128 * 1024))
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(folder.join("limit.parquet"))?, schema.clone(), Some(properties))?;
    let mut values = BinaryBuilder::new();
    let (mut rows, mut count, mut bytes) = (0, 0, 0);
    let started = Instant::now();
    while count < messages {
        let Some(message) = consumer.poll(Duration::from_secs(10)) else { return Err("the topic ended early".into()) };
        let message = message?;
        let value = message.payload().unwrap_or_default();
        values.append_value(value);
        bytes += value.len() as u64;
        (rows, count) = (rows + 1, count + 1);
        if rows == 8192 || count == messages {
            writer.write(&RecordBatch::try_new(schema.clone(), vec![Arc::new(values.finish())])?)?;
            rows = 0;
        }
    }
    writer.close()?;
    Ok(Measure { messages: count, bytes, seconds: started.elapsed().as_secs_f64() })
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, Failed> {
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    Ok(metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
}

/// Custody: reads the same topic into committed tables, until they have every message.
///
/// # Errors
///
/// When the brokers or the store fail.
pub async fn custody(brokers: &str, topic: &str, messages: u64, location: Location) -> Result<Measure, Failed> {
    let config = config(brokers, topic, Flush::default());
    let asking: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let mut ends = partitions(&asking, topic)?
        .into_iter()
        .map(|partition| Ok((partition, asking.fetch_watermarks(topic, partition, Duration::from_secs(10))?.1)))
        .collect::<Result<Vec<_>, Failed>>()?;
    drop(asking);
    let (stop, stopped) = watch::channel(false);
    let ledger = Ledger::create(location.clone()).await?;
    let started = Instant::now();
    let ingesting = tokio::spawn(crate::run(config, location, Health::default(), stopped));
    // Records are committed first and events second: when the events have everything, so has the ledger. One cursor at
    // a time is looked at, so that looking costs next to nothing.
    let mut writer = ledger.writer(Table::Events).await?;
    while let Some((partition, end)) = ends.last() {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if ingesting.is_finished() {
            break;
        }
        writer.refresh().await?;
        let stream = Stream { cluster: "bench".to_owned(), topic: topic.to_owned(), partition: *partition };
        if writer.cursor(&stream).await?.is_some_and(|next| next >= *end) {
            ends.pop();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    stop.send(true)?;
    ingesting.await??;
    let bytes = 0;
    Ok(Measure { messages, bytes, seconds })
}

/// How a sample topic is read.
pub fn config(brokers: &str, topic: &str, flush: Flush) -> Config {
    Config {
        brokers: brokers.to_owned(),
        group: format!("custody-bench-{topic}"),
        cluster: "bench".to_owned(),
        on_lost_messages: OnLostMessages::Stop,
        options: Default::default(),
        topics: vec![Topic { name: topic.to_owned(), source: Source::new(SourceKind::Teleport) }],
        flush,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_events_are_json_of_the_size_that_they_should_have() {
        for number in [0, 1, 39, 40, 1_000_003] {
            let event = event(number);
            serde_json::from_str::<serde_json::Value>(&event).unwrap();
            assert!((800..1100).contains(&event.len()), "{}", event.len());
        }
    }
}
