//! What an operator looks at: health, metrics, the doctor; and what happens when members come and go.

use std::time::{Duration, Instant};

use crate::support::custody::{Custody, PATIENCE, Process, Producer, Topic, audit_event, say, stderr, wait_until};
use crate::support::http::{Client, samples, total};
use crate::support::kafka::Broker;
use crate::support::numbered::Numbered;

const ASSIGNED: &str = "partition assigned";

fn client_of(process: &mut Process) -> Client {
    let line = process.wait_for_log("health and metrics address=");
    Client::new(line.rsplit_once("address=").expect("found").1.trim().parse().expect("an address"))
}

#[test]
fn every_process_tells_how_it_is_doing() {
    const TEST: &str = "every_process_tells_how_it_is_doing";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let topic = Topic::create(broker, "teleport", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic)).flush(100, 100);
    let mut ingest = custody.start(Some("only"), &["ingest", "--listen", "127.0.0.1:0"]);
    let client = client_of(&mut ingest);
    ingest.wait_for_log(ASSIGNED);
    let producer = Producer::to(broker);
    for number in 0..500 {
        producer.value(&topic, 0, if number % 50 == 0 { "{".to_owned() } else { audit_event(&format!("u{number}")) });
    }
    producer.flush();
    custody.wait_for_records(500, &mut ingest);
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get("/readyz").status, 200);
    wait_until("the metrics", PATIENCE, || {
        let metrics = samples(&client.get("/metrics").text());
        let of = |name: &str, labels: &[&str]| total(&metrics, name, labels);
        let known = [
            of("custody_ingest_messages_total", &[r#"source="teleport""#]) == 500.0,
            of("custody_ingest_errors_total", &[r#"source="teleport""#]) == 10.0,
            of("custody_ingest_rows_total", &[r#"table="records""#]) == 500.0,
            of("custody_ledger_commit_seconds_count", &[r#"table="events""#]) > 0.0,
            of("custody_ingest_commit_seconds_count", &[]) > 0.0,
            of("custody_ingest_freshness_seconds_count", &[]) > 0.0,
            of("custody_ingest_file_bytes_total", &[]) > 0.0,
            of("custody_ingest_lag_messages", &[]) == 0.0,
        ];
        if known == [true; 8] { Ok(()) } else { Err(format!("{known:?}")) }
    });

    let mut maintain = custody.start(None, &["maintain", "--every", "200ms", "--listen", "127.0.0.1:0"]);
    let client = client_of(&mut maintain);
    wait_until("the metrics of maintenance", PATIENCE, || {
        let metrics = samples(&client.get("/metrics").text());
        let rows = total(&metrics, "custody_ledger_rows", &[r#"table="records""#]);
        let files = total(&metrics, "custody_ledger_files", &[r#"table="records""#]);
        if rows == 500.0 && files > 0.0 { Ok(()) } else { Err(format!("{rows} rows, {files} files")) }
    });
    maintain.stop();
    ingest.stop();

    let doctor = custody.run(["doctor"]);
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.success(), "{found}{}", stderr(&doctor));
    for line in [
        "1 partitions, may be read",
        "may be joined",
        "refuses the second of two writers",
        "agrees with the store's",
        "table records: 500 rows",
        &format!("lag of {}: 0 messages", topic.name),
    ] {
        assert!(found.contains(line), "{line}: {found}");
    }
    // Kafka deletes what was not read: that is found before ingest falls over it.
    for number in 0..10 {
        producer.value(&topic, 0, audit_event(&format!("late{number}")));
    }
    producer.flush();
    broker.delete_before(&topic.name, 0, 505).expect("the broker deletes");
    let doctor = custody.run(["doctor"]);
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1), "{found}");
    assert!(found.contains("Kafka has deleted 5 messages that were not read"), "{found}");
}

/// How long partitions stand still when members come and go. It is measured and said, not promised.
#[test]
fn partitions_move_with_a_short_pause() {
    const TEST: &str = "partitions_move_with_a_short_pause";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let mut sent = Numbered::on(broker);
    let custody = sent.custody().flush(5000, 100);
    let mut one = custody.ingest_as(None);
    one.wait_for_logs(ASSIGNED, 4);
    let mut other: Option<Process> = None;
    let mut phases = Vec::new();
    for phase in ["alone", "another joins", "it leaves", "it joins again", "it is killed"] {
        let from = sent.count;
        match phase {
            "another joins" | "it joins again" => other = Some(custody.ingest_as(None)),
            "it leaves" => other.take().expect("it is there").stop(),
            "it is killed" => other.take().expect("it is there").kill(),
            _ => {}
        }
        let time = Duration::from_secs(if phase == "it is killed" { 8 } else { 2 });
        let began = Instant::now();
        while began.elapsed() < time {
            sent.publish(20);
            // A steady rate, as from a gateway.
            std::thread::sleep(Duration::from_millis(20));
        }
        sent.flush();
        if let Some(other) = &mut other {
            other.wait_for_log(ASSIGNED);
        }
        phases.push((phase, from, sent.count));
    }
    custody.wait_for_records(sent.count, &mut one);
    one.stop();
    for (phase, from, to) in phases {
        let number = r#""offset" * 4 + "partition""#;
        let longest = custody.value(&format!(
            "SELECT CAST(max(to_unixtime(ingested_at) * 1000 + date_part('millisecond', ingested_at) % 1000 - \
             to_unixtime(broker_at) * 1000 - date_part('millisecond', broker_at) % 1000) AS BIGINT) FROM records \
             WHERE {number} >= {from} AND {number} < {to}"
        ));
        say(&format!("{TEST}: {phase}: the longest way from Kafka was {longest} ms"));
    }
    sent.assert_exactly_once(TEST, &custody);
}
