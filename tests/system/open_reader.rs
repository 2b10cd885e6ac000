//! The ledger is open: engines that share no code with Custody read the same rows.

use serde_json::json;

use crate::support::custody::{Custody, Producer, Topic, audit_event};
use crate::support::kafka::Broker;
use crate::support::open;

#[test]
fn other_engines_count_the_same_rows() {
    const TEST: &str = "other_engines_count_the_same_rows";
    const MESSAGES: u64 = 3000;
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let topic = Topic::create(broker, "teleport", 3);
    let custody = Custody::on(broker, std::slice::from_ref(&topic)).flush(300, 100);
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
}
