//! Exactly once: into every table, whatever happens to the processes.

use std::thread::sleep;
use std::time::Duration;

use crate::support::custody::{Custody, PATIENCE, Process, Random, SESSION_TIMEOUT, from_environment, say, wait_until};
use crate::support::http::{samples, total};
use crate::support::kafka::Broker;
use crate::support::numbered::Numbered;

const ASSIGNED: &str = "partition assigned";

/// `CUSTODY_CRASH_MESSAGES=1000000 CUSTODY_CRASH_KILLS=10` is the long run.
#[test]
fn killed_at_random_moments_every_message_is_in_every_table_once() {
    let test = "killed_at_random_moments_every_message_is_in_every_table_once";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let messages = from_environment("CUSTODY_CRASH_MESSAGES", 200_000);
    let kills = from_environment("CUSTODY_CRASH_KILLS", 5);
    let mut random = Random::new(test);
    let mut sent = Numbered::on(broker);
    // Many commits, so that most of the kills are in the middle of one, or between the tables.
    let custody = sent.custody().flush(usize::try_from(messages / 150).expect("a small number"), 200);

    for kill in 1..=kills {
        let mut ingest = custody.ingest();
        sent.publish(messages / (kills + 1));
        // One of them before it has joined, the others while it works.
        if kill != 2 {
            ingest.wait_for_log(ASSIGNED);
        }
        // This sleep is the test: a moment that nobody has chosen.
        sleep(random.between(Duration::ZERO, Duration::from_millis(1500)));
        let age = ingest.age();
        ingest.kill();
        let rows = ["records", "events", "frames"].map(|table| custody.try_count(table).unwrap_or(0));
        say(&format!(
            "kill {kill} after {age:.1?}: {rows:?} rows of {} messages in records, events, frames",
            sent.count
        ));
    }
    let mut ingest = custody.ingest();
    sent.publish(messages - sent.count);
    sent.flush();
    custody.wait_for_records(sent.count, &mut ingest);
    ingest.stop();
    sent.assert_exactly_once(test, &custody);
}

#[test]
fn sigterm_commits_what_was_read_and_nothing_is_read_again() {
    let test = "sigterm_commits_what_was_read_and_nothing_is_read_again";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let mut sent = Numbered::on(broker);
    // One batch is committed because it is full. What is read after it is not due for ten minutes.
    let full = 15_000;
    let custody = sent.custody().flush(usize::try_from(full).expect("a small number"), 600_000);
    let (mut first, _) = custody.up();
    sent.publish(29_001);
    sent.flush();
    wait_until("a batch", PATIENCE, || {
        first.assert_runs();
        if custody.try_count("records")? > 0 { Ok(()) } else { Err("no records".to_owned()) }
    });
    first.stop();
    let kept = custody.count("records");
    assert!(kept > full && kept <= sent.count, "{kept} records: what was read after {full} had to be committed");

    let custody = custody.flushes_after(200);
    let (mut second, client) = custody.up();
    sent.publish(10_002);
    sent.flush();
    custody.wait_for_records(sent.count, &mut second);
    // Every table stood at the same offset, and reading went on right there.
    let assigned = second.logged(ASSIGNED);
    let mut cursors: Vec<u64> = Vec::new();
    for line in &assigned {
        let of_tables = line.rsplit_once('[').unwrap().1.trim_end_matches(']').split(", ");
        let of_tables: Vec<u64> = of_tables.map(|cursor| cursor[5..cursor.len() - 1].parse().unwrap()).collect();
        assert_eq!(of_tables, [of_tables[0]; 3], "{line}");
        cursors.push(of_tables[0]);
    }
    assert_eq!((cursors.len(), cursors.iter().sum::<u64>()), (4, kept), "{assigned:?}");
    wait_until("the counts", PATIENCE, || {
        let read = total(&samples(&client.get("/metrics").text()), "custody_ingest_messages_total", &[]);
        let new = (sent.count - kept) as f64;
        assert!(read <= new, "{read} messages were read, {new} are new");
        if read == new { Ok(()) } else { Err(read.to_string()) }
    });
    second.stop();
    sent.assert_exactly_once(test, &custody);
}

/// Two processes of one group, each with some of the partitions.
fn two(custody: &Custody) -> [Process; 2] {
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

#[test]
fn of_two_processes_with_one_name_the_first_ends_and_says_why() {
    let test = "of_two_processes_with_one_name_the_first_ends_and_says_why";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let mut sent = Numbered::on(broker);
    let custody = sent.custody();
    let mut first = custody.ingest_as(Some("one"));
    first.wait_for_log(ASSIGNED);
    let mut second = custody.ingest_as(Some("one"));
    assert!(!first.wait().success(), "{}", first.log());
    assert!(first.log().contains("give each its own"), "{}", first.log());
    sent.publish(1000);
    sent.flush();
    custody.wait_for_records(sent.count, &mut second);
    second.stop();
}
