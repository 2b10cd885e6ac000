//! Numbered messages: where each one stands in Kafka says what it must hold, so that a ledger can be checked whole.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use custody_ingest::publish::Outgoing;
use serde_json::{Value, json};

use super::custody::{Custody, Producer, Topic, say};
use super::kafka::Broker;
use super::open;

const PARTITIONS: u64 = 4;

/// A topic with messages 0, 1, 2 …, one partition after the other: number `n` is at offset `n / 4` of partition `n % 4`.
/// Every third is a piece of a recording, which becomes a part of a frame; the others are an event each.
pub(crate) struct Numbered<'b> {
    broker: &'b Broker,
    producer: Producer,
    pub(crate) topic: Topic,
    pub(crate) count: u64,
}

fn is_print(number: u64) -> bool {
    number.is_multiple_of(3)
}

fn session(partition: u64) -> String {
    format!("numbered-{partition}")
}

fn shown(number: u64) -> String {
    format!("line {number}\r\n")
}

impl<'b> Numbered<'b> {
    pub(crate) fn on(broker: &'b Broker) -> Self {
        let topic = Topic::create(broker, "teleport", i32::try_from(PARTITIONS).expect("a few"));
        Self { broker, producer: Producer::to(broker), topic, count: 0 }
    }

    pub(crate) fn custody(&self) -> Custody {
        Custody::on(self.broker, std::slice::from_ref(&self.topic))
    }

    /// Queues the next messages. They are in Kafka after [`Numbered::flush`], or soon.
    pub(crate) fn publish(&mut self, count: u64) {
        for number in self.count..self.count + count {
            let (partition, offset) = (number % PARTITIONS, number / PARTITIONS);
            let value = if is_print(number) {
                let (session, data) = (session(partition), BASE64.encode(shown(number)));
                format!(
                    r#"{{"event":"print","sid":"{session}","ei":{offset},"ms":{offset},"data":"{data}","n":{number}}}"#
                )
            } else {
                format!(
                    r#"{{"event":"exec","uid":"{number}","cluster_name":"numbered","time":"2026-03-02T08:00:00Z","user":"mira@example.net","command":"ls","n":{number}}}"#
                )
            };
            self.producer.send(&Outgoing {
                topic: self.topic.name.clone(),
                partition: i32::try_from(partition).ok(),
                value: Some(value.into_bytes()),
                ..Outgoing::default()
            });
        }
        self.count += count;
    }

    /// Returns once all are in Kafka.
    pub(crate) fn flush(&self) {
        self.producer.flush();
    }

    /// How many rows each table has when it is whole; of frames, the most that it can have.
    pub(crate) fn expected(&self) -> [(&'static str, u64); 3] {
        let prints = self.count.div_ceil(3);
        [("records", self.count), ("events", self.count - prints), ("frames", prints)]
    }

    /// The highest offset of a piece of a recording.
    pub(crate) fn last_print(&self) -> Option<u64> {
        (0..self.count).rev().filter(|number| is_print(*number)).map(|number| number / PARTITIONS).take(12).max()
    }

    /// Checks that every message is in every table once, with what it must hold; by Custody, and by other engines.
    pub(crate) fn assert_exactly_once(&self, test: &str, custody: &Custody) {
        self.assert_exactly_once_by_custody(custody);
        let count = self.count;
        let Some(found) = open::read(test, custody.data()) else { return };
        let prints = (0..count).filter(|number| is_print(*number)).count() as u64;
        let last = count.checked_sub(1).map(|last| last / PARTITIONS);
        assert_eq!(found["records"], json!({ "rows": count, "distinct_offsets": count, "min": 0, "max": last }));
        let events = count - prints;
        assert_eq!((&found["events"]["rows"], &found["events"]["distinct_offsets"]), (&json!(events), &json!(events)));
        assert_eq!(found["frames"]["rows"], found["frames"]["distinct_offsets"]);
        let same: BTreeMap<&str, u64> =
            ["records", "events", "frames"].map(|table| (table, custody.count(table))).into();
        assert_eq!(same["frames"], found["frames"]["rows"].as_u64().expect("a number"));
        say(&format!("{test}: {count} messages, each once in every table: {same:?}, by Custody and by other engines"));
    }

    /// The same, by Custody alone.
    pub(crate) fn assert_exactly_once_by_custody(&self, custody: &Custody) {
        let numbers = |partition: u64| (partition..self.count).step_by(PARTITIONS as usize);
        let prints = |partition: u64| numbers(partition).filter(|number| is_print(*number));
        let per_partition = |count: &dyn Fn(u64) -> (u64, Option<u64>, Option<u64>)| -> Vec<Value> {
            let row = |partition| {
                let (count, first, last) = count(partition);
                json!({ "partition": partition, "rows": count, "different": count, "first": first, "last": last })
            };
            (0..PARTITIONS).map(row).collect()
        };
        let question = |of: &str, what: &str| {
            format!(
                r#"SELECT "partition", count(*) AS rows, count(DISTINCT {what}) AS different, min({what}) AS first,
                   max({what}) AS last FROM {of} GROUP BY "partition" ORDER BY "partition""#
            )
        };
        let extent = |mut of: Box<dyn Iterator<Item = u64>>| {
            let first = of.next();
            let (count, last) =
                of.fold((u64::from(first.is_some()), first), |(count, _), last| (count + 1, Some(last)));
            (count, first.map(|number| number / PARTITIONS), last.map(|number| number / PARTITIONS))
        };
        let count = self.count;

        let records = custody.sql(&question("records", r#""offset""#));
        let numbers = |partition: u64| (partition..count).step_by(PARTITIONS as usize);
        assert_eq!(records, per_partition(&|partition| extent(Box::new(numbers(partition)))), "records");
        let events = custody.sql(&question("events", r#""offset""#));
        let expected = per_partition(&|partition| extent(Box::new(numbers(partition).filter(|n| !is_print(*n)))));
        assert_eq!(events, expected, "events");
        let pieces = r#"(SELECT "partition", unnest(seqs) AS seq FROM frames)"#;
        let expected = per_partition(&|partition| extent(Box::new(numbers(partition).filter(|n| is_print(*n)))));
        assert_eq!(custody.sql(&question(pieces, "seq")), expected, "pieces of frames");

        // What stands at a place is what was sent to it.
        let number = r#"CAST("offset" * 4 + "partition" AS VARCHAR)"#;
        let wrong = format!(
            r#"records WHERE strpos(utf8_lossy(value), '"n":' || {number} || '}}') = 0 OR error_kind IS NOT NULL"#
        );
        assert_eq!(custody.count(&wrong), 0, "records with other contents");
        let wrong = format!("events WHERE event_id <> 'teleport/numbered/' || {number}");
        assert_eq!(custody.count(&wrong), 0, "events with other contents");
        for partition in 0..PARTITIONS {
            let cast = custody.stdout(["export", &session(partition), "--as", "asciicast-v2"]);
            let events = cast.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).expect("an event"));
            let output: String = events.map(|event| event[2].as_str().unwrap_or_default().to_owned()).collect();
            assert!(
                output == prints(partition).map(shown).collect::<String>(),
                "the recording of partition {partition}"
            );
        }
    }
}
