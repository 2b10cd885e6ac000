//! The ledger on an object store, and stores that fail.

use std::time::Duration;

use serde_json::json;

use crate::support::custody::{Custody, PATIENCE, Producer, Random, Topic, audit_event, say, wait_until};
use crate::support::kafka::Broker;
use crate::support::numbered::Numbered;
use crate::support::open;
use crate::support::s3::S3;

const ASSIGNED: &str = "partition assigned";

#[test]
fn on_s3_two_members_are_killed_and_every_message_is_in_every_table_once() {
    const TEST: &str = "on_s3_two_members_are_killed_and_every_message_is_in_every_table_once";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let Some(mut s3) = S3::start_or_skip(TEST) else { return };
    let mut random = Random::new(TEST);
    let mut sent = Numbered::on(broker);
    let custody = sent.custody().flush(500, 200).stored(&s3.place(), &s3.options());
    let mut members = ["one", "two"].map(|name| custody.ingest_as(Some(name)));
    for member in &mut members {
        s3.wait_for(member, ASSIGNED);
    }
    let mut maintenance = custody.start(None, &["maintain", "--every", "2s"]);
    for kill in 0..4 {
        sent.publish(2000);
        // This sleep is the test: a moment that nobody has chosen.
        std::thread::sleep(random.between(Duration::ZERO, Duration::from_millis(1500)));
        let name = ["one", "two"][kill % 2];
        let killed = std::mem::replace(&mut members[kill % 2], custody.ingest_as(Some(name)));
        killed.kill();
    }
    // The store itself dies and comes back: members wait for it, and lose nothing.
    s3.kill();
    sent.publish(2000);
    sent.flush();
    std::thread::sleep(Duration::from_secs(2));
    s3.start_again();
    let [one, _] = &mut members;
    custody.wait_for_records(sent.count, one);
    for member in &mut members {
        member.stop();
    }
    maintenance.stop();
    say(&format!("{TEST}: {}", custody.stdout(["maintain"])));
    sent.assert_exactly_once_by_custody(&custody);

    let Some(found) = open::read_with(TEST, custody.data(), &s3.options()) else { return };
    for (table, rows) in sent.expected() {
        assert_eq!(found[table]["rows"], found[table]["distinct_offsets"], "{table}");
        assert!(table == "frames" || found[table]["rows"] == json!(rows), "{table}: {found}");
    }
    say(&format!("{TEST}: {} messages, each once in every table on S3, by Custody and by deltalake", sent.count));
}

#[test]
fn a_slow_store_slows_reading_down_and_nobody_leaves_the_group() {
    const TEST: &str = "a_slow_store_slows_reading_down_and_nobody_leaves_the_group";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let mut sent = Numbered::on(broker);
    let custody = sent.custody().flush(500, 200);
    // Every commit takes longer than the group waits for a sign of life.
    let slow = [("CUSTODY_STORE_FAULTS", "delay-7000 put records/_delta_log".to_owned())];
    let mut ingest = custody.start_with(Some("only"), &["ingest"], &slow);
    ingest.wait_for_log(ASSIGNED);
    sent.publish(3000);
    sent.flush();
    wait_until("a few slow commits", PATIENCE, || {
        ingest.assert_runs();
        match custody.try_count("records")? {
            rows if rows > 1000 => Ok(()),
            rows => Err(format!("{rows} records")),
        }
    });
    assert_eq!(ingest.logged(ASSIGNED).len(), 4, "{}", ingest.log());
    assert_eq!(ingest.logged("partition revoked").len(), 0, "{}", ingest.log());
    ingest.kill();
    let mut ingest = custody.ingest();
    custody.wait_for_records(sent.count, &mut ingest);
    ingest.stop();
    sent.assert_exactly_once(TEST, &custody);
}

#[test]
fn a_flood_of_one_partition_does_not_starve_another_and_poison_does_not_stop_it() {
    const TEST: &str = "a_flood_of_one_partition_does_not_starve_another_and_poison_does_not_stop_it";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let topic = Topic::create(broker, "teleport", 2);
    let custody = Custody::on(broker, std::slice::from_ref(&topic)).flush(4000, 100);
    let producer = Producer::to(broker);
    // Four times what waits in memory, in bytes that do not compress (a fetch is counted as it is sent), and a store that
    // lets no more than 4000 messages pass in 200 ms: when the trickle is sent, most of the flood is still to come.
    let flood = 80_000;
    let mut random = Random::new(TEST);
    for number in 0..flood {
        // One in a hundred cannot be decoded.
        let noise: String = (0..40).map(|_| format!("{:016x}", random.next())).collect();
        let value =
            if number % 100 == 0 { "{\"event\":".to_owned() } else { audit_event(&format!("{number}-{noise}")) };
        producer.value(&topic, 0, value);
    }
    producer.flush();
    let slow = [("CUSTODY_STORE_FAULTS", "delay-200 put records/_delta_log".to_owned())];
    let mut ingest = custody.start_with(Some("only"), &["ingest"], &slow);
    wait_until("the flood to begin", PATIENCE, || {
        ingest.assert_runs();
        custody.try_count("records").and_then(|rows| if rows > 0 { Ok(()) } else { Err("no record".to_owned()) })
    });
    for number in 0..10 {
        producer.value(&topic, 1, audit_event(&format!("trickle-{number}")));
    }
    producer.flush();
    custody.wait_for_records(flood + 10, &mut ingest);
    let behind = custody.value(
        r#"SELECT count(*) AS n FROM records WHERE "partition" = 0 AND ingested_at >
            (SELECT max(ingested_at) FROM records WHERE "partition" = 1)"#,
    );
    say(&format!("{TEST}: after the trickle {behind} of {flood} messages of the flood were taken"));
    assert!(behind.as_u64() > Some(0), "it came after the whole flood");
    assert_eq!(custody.count("dead_letters"), flood / 100);
    // What waits in memory is bounded by configuration, whatever the topic holds.
    assert!(ingest.rss_bytes_max() < 700 << 20, "{} MB", ingest.rss_bytes_max() >> 20);
    ingest.stop();
}

#[test]
fn messages_that_kafka_deleted_are_an_event_and_ingest_stops_or_goes_on_as_configured() {
    const TEST: &str = "messages_that_kafka_deleted_are_an_event_and_ingest_stops_or_goes_on_as_configured";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let mut sent = Numbered::on(broker);
    let custody = sent.custody().flush(500, 100);
    sent.publish(400);
    sent.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(400, &mut ingest);
    ingest.stop();
    sent.publish(400);
    sent.flush();
    // Offsets 100 to 149 of each partition go before they are read.
    for partition in 0..4 {
        broker.delete_before(&sent.topic.name, partition, 150).expect("the broker deletes");
    }
    for _ in 0..2 {
        let mut ingest = custody.ingest();
        let status = ingest.wait();
        assert_eq!(status.code(), Some(3), "{}", ingest.log());
        assert!(ingest.log().contains("50 messages of"), "{}", ingest.log());
    }
    let custody = custody.goes_on_after_losses();
    let mut ingest = custody.ingest();
    custody.wait_for_records_of("records WHERE topic NOT LIKE 'custody/%'", 600, &mut ingest);
    ingest.stop();
    let losses = custody.sql(
        "SELECT target, detail ->> 'first_lost' AS first_lost, detail ->> 'first_left' AS first_left, outcome \
         FROM events WHERE kind = 'loss' ORDER BY target",
    );
    // Found three times, told once.
    let told = |partition: u8| {
        let target = format!("kafka/{}/{partition}", sent.topic.name);
        json!({ "target": target, "first_lost": "100", "first_left": "150", "outcome": "failure" })
    };
    assert_eq!(losses, (0..4).map(told).collect::<Vec<_>>());
    let sql = r#"SELECT count(*) FROM records WHERE topic NOT LIKE 'custody/%' AND "offset" BETWEEN 100 AND 149"#;
    assert_eq!(custody.value(sql), 0);
}
