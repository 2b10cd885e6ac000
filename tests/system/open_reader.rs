//! The ledger is open: engines that share no code with Custody read the same rows.

use std::process::Command;

use serde_json::json;

use crate::support::custody::{Custody, Producer, Topic, audit_event, say, stderr};
use crate::support::kafka::Broker;
use crate::support::open;

#[test]
fn other_engines_count_the_same_rows() {
    const TEST: &str = "other_engines_count_the_same_rows";
    const MESSAGES: u64 = 3000;
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let topic = Topic::create(broker, "teleport", 3);
    let custody = Custody::on(broker, std::slice::from_ref(&topic)).flush(50, 50);
    let producer = Producer::to(broker);
    for number in 0..MESSAGES {
        let partition = i32::try_from(number % 3).expect("a partition");
        let print = json!({"event": "print", "sid": "s-1", "ei": number, "ms": number, "data": "eA=="}).to_string();
        producer.value(&topic, partition, if number % 10 == 9 { print } else { audit_event(&format!("u{number}")) });
    }
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(MESSAGES, &mut ingest);
    ingest.stop();
    let Some(read) = open::read(TEST, custody.data()) else { return };
    for table in ["records", "events", "frames"] {
        assert_eq!(read[table]["rows"].as_u64(), Some(custody.count(table)), "{table}: {read}");
    }
    assert_eq!(read["records"]["distinct_offsets"], json!(MESSAGES), "{read}");

    // The same when files were put together and the log has a checkpoint; and by the engine that the format is from.
    custody.stdout(["maintain"]);
    assert_eq!(open::read(TEST, custody.data()), Some(read.clone()));
    let Some(spark) = open::spark(TEST) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/open/spark_ledger.py");
    let output = Command::new(spark).arg(script).arg(custody.data()).output().expect("Python");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON"), read);
    say(&format!("{TEST}: Spark, DuckDB and Custody agree: {read}"));
}
