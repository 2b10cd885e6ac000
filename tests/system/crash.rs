//! Exactly once: into every table, whatever happens to the processes.

use std::thread::sleep;
use std::time::Duration;

use crate::support::custody::{PATIENCE, Process, Random, SESSION_TIMEOUT, say, wait_until};
use crate::support::http::{Client, samples, total};
use crate::support::kafka::Broker;
use crate::support::numbered::Numbered;

const ASSIGNED: &str = "partition assigned";

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// `CUSTODY_CRASH_MESSAGES=1000000 CUSTODY_CRASH_KILLS=10` is the long run.
#[test]
fn killed_at_random_moments_every_message_is_in_every_table_once() {
    let test = "killed_at_random_moments_every_message_is_in_every_table_once";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let messages = from_environment("CUSTODY_CRASH_MESSAGES", 200_000);
    let kills = from_environment("CUSTODY_CRASH_KILLS", 5);
    let mut random = Random::new(test);
    let mut sent = Numbered::on(broker);
    // Many commits, so that many of the kills are in the middle of one, or between the tables.
    let custody = sent.custody().flush(2000, 200);

    for kill in 1..=kills {
        let ingest = custody.ingest();
        sent.publish(messages / (kills + 1));
        // This sleep is the test: a moment that nobody has chosen.
        sleep(random.between(Duration::from_millis(700), Duration::from_millis(3500)));
        let age = ingest.age();
        ingest.kill();
        let tables = ["records", "events", "frames"];
        let rows = if custody.data().join("frames/_delta_log").is_dir() {
            tables.map(|table| custody.count(table))
        } else {
            [0; 3]
        };
        say(&format!("kill {kill} after {age:.1?}: {rows:?} rows of {tables:?}, {} messages were sent", sent.count));
    }
    let mut ingest = custody.ingest();
    sent.publish(messages - sent.count);
    sent.flush();
    custody.wait_for_records(sent.count, &mut ingest);
    ingest.stop();
    sent.assert_exactly_once(test, &custody);
}

/// What this process has read of Kafka's messages but for these; `None` while it does not say.
fn unread(client: &Client) -> Option<f64> {
    let metrics = samples(&client.get("/metrics").text());
    let partitions = metrics.keys().filter(|series| series.starts_with("custody_ingest_lag_messages{")).count();
    (partitions == 4).then(|| total(&metrics, "custody_ingest_lag_messages", &[]))
}

#[test]
fn sigterm_commits_what_was_read_and_nothing_is_read_again() {
    let test = "sigterm_commits_what_was_read_and_nothing_is_read_again";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let mut sent = Numbered::on(broker);
    // Nothing is committed before it is asked to stop.
    let custody = sent.custody().flush(1_000_000, 600_000);
    let (mut first, client) = custody.up();
    let (before, after) = (20_001, 10_002);
    sent.publish(before);
    sent.flush();
    wait_until("everything to be read", PATIENCE, || {
        first.assert_runs();
        if unread(&client) == Some(0.0) { Ok(()) } else { Err(format!("{:?}", unread(&client))) }
    });
    assert_eq!(custody.count("records"), 0, "nothing is due yet");
    first.stop();
    assert_eq!(custody.count("records"), before);
    sent.assert_exactly_once(test, &custody);

    let custody = custody.flushes_after(200);
    let (mut second, client) = custody.up();
    sent.publish(after);
    sent.flush();
    custody.wait_for_records(before + after, &mut second);
    // Every table stood at the same offset, and reading went on right there.
    let assigned = second.logged(ASSIGNED);
    assert_eq!(assigned.len(), 4, "{assigned:?}");
    for line in assigned {
        let cursors: Vec<&str> = line.rsplit_once('[').unwrap().1.trim_end_matches(']').split(", ").collect();
        assert!(cursors.iter().all(|cursor| *cursor == cursors[0] && cursor.starts_with("Some(")), "{line}");
    }
    wait_until("the counts", PATIENCE, || {
        let read = total(&samples(&client.get("/metrics").text()), "custody_ingest_messages_total", &[]);
        assert!(read <= after as f64, "{read} messages were read, {after} are new");
        if read == after as f64 { Ok(()) } else { Err(read.to_string()) }
    });
    second.stop();
    sent.assert_exactly_once(test, &custody);
}

/// Two processes of one group, each with some of the partitions.
fn two(custody: &crate::support::custody::Custody) -> [Process; 2] {
    let mut one = custody.ingest_as(Some("one"));
    one.wait_for_logs(ASSIGNED, 4);
    let mut other = custody.ingest_as(Some("other"));
    other.wait_for_logs(ASSIGNED, 2);
    [one, other]
}

#[test]
fn another_process_takes_over_from_a_killed_one() {
    let test = "another_process_takes_over_from_a_killed_one";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let mut sent = Numbered::on(broker);
    let custody = sent.custody().flush(2000, 200);
    let [one, mut other] = two(&custody);
    sent.publish(20_000);
    sent.flush();
    custody.wait_for_records(sent.count, &mut other);
    sent.publish(40_000);
    // While both are at it.
    wait_until("more records", PATIENCE, || match custody.count("records") {
        20_000 => Err("none".to_owned()),
        _ => Ok(()),
    });
    one.kill();
    sent.flush();
    other.wait_for_logs(ASSIGNED, 4);
    custody.wait_for_records(sent.count, &mut other);
    other.stop();
    sent.assert_exactly_once(test, &custody);
}

#[test]
fn a_process_that_slept_beyond_its_session_adds_nothing_twice() {
    let test = "a_process_that_slept_beyond_its_session_adds_nothing_twice";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let mut random = Random::new(test);
    let mut sent = Numbered::on(broker);
    // What was read stays in memory for a while: the sleeper has rows that it did not commit.
    let custody = sent.custody().flush(1_000_000, 2000);
    let [mut sleeper, mut other] = two(&custody);
    for _ in 0..2 {
        sent.publish(20_000);
        sent.flush();
        let (assigned, fenced) = (other.logged(ASSIGNED).len(), sleeper.logged("went on with a partition").len());
        sleep(random.between(Duration::from_millis(300), Duration::from_millis(1800)));
        sleeper.signal("STOP");
        let partitions_of_the_sleeper = 2;
        other.wait_for_logs(ASSIGNED, assigned + partitions_of_the_sleeper);
        sent.publish(10_000);
        sent.flush();
        custody.wait_for_records(sent.count, &mut other);
        let assigned = sleeper.logged(ASSIGNED).len();
        sleeper.signal("CONT");
        // It finds itself excluded, and is given partitions as everyone is who comes anew.
        sent.publish(10_000);
        sent.flush();
        sleeper.wait_for_logs(ASSIGNED, assigned + 1);
        custody.wait_for_records(sent.count, &mut other);
        let fenced = sleeper.logged("went on with a partition").len() - fenced;
        say(&format!("{test}: after {SESSION_TIMEOUT:?} and more the sleeper was fenced {fenced} times"));
    }
    sleeper.stop();
    other.stop();
    sent.assert_exactly_once(test, &custody);
}
