//! Exactly once under fire: two members of a group and a maintenance that is always at work, killed again and again, at
//! random and at the worst moments; a broker that restarts; members that come, go and sleep.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::custody::{Custody, PATIENCE, Process, Random, SESSION_TIMEOUT, from_environment, say, wait_until};
use crate::support::http::Client;
use crate::support::kafka::Broker;
use crate::support::numbered::Numbered;
use crate::support::open;

const TEST: &str = "whatever_dies_every_message_is_in_every_table_once";
const ASSIGNED: &str = "partition assigned";

/// Where a member of the group dies: a call of the store, and whether before or after it is done.
const INGEST_POINTS: [(&str, &str); 7] = [
    ("die-before put records/date", "before anything is written"),
    ("die-after put records/date", "between upload and commit"),
    ("die-before put records/_delta_log", "just before the commit"),
    ("die-after put records/_delta_log", "between the commits of two tables"),
    ("die-after put events/date", "between the commits of two tables, its files written"),
    ("die-after put events/_delta_log", "between the commits of the last two tables"),
    ("die-after put frames/_delta_log", "between the commit and the report of its offsets"),
];

/// The same for maintenance.
const MAINTAIN_POINTS: [(&str, &str); 4] = [
    ("die-after put /date", "compaction with its file written"),
    ("die-before put _delta_log/0", "compaction just before its commit"),
    ("die-after put _delta_log/0", "compaction just after its commit"),
    ("die-after put checkpoint", "a checkpoint just written"),
];

/// The group, what maintains the ledger, and what reads it.
struct Field<'b> {
    broker: &'b Broker,
    sent: Numbered<'b>,
    custody: Custody,
    members: Vec<(String, Process)>,
    maintenance: Process,
    client: Client,
    _serve: Process,
}

impl Field<'_> {
    fn maintain(custody: &Custody, faults: Option<&str>) -> Process {
        custody.start_with(None, &["maintain", "--every", "500ms"], &fault(faults))
    }

    fn member(custody: &Custody, name: &str, faults: Option<&str>) -> Process {
        custody.start_with(Some(name), &["ingest"], &fault(faults))
    }

    /// How many records there are, by a reader that has been open all the time.
    fn records(&self) -> Result<u64, String> {
        let answer = self.client.post_json("/api/v1/sql", &json!({"sql": "SELECT count(*) AS n FROM records"}));
        answer.json()[0]["n"].as_u64().ok_or_else(|| answer.text())
    }

    /// One round of fire. Returns what happened.
    fn round(&mut self, random: &mut Random) -> String {
        let victim = usize::try_from(random.below(2)).expect("an index");
        let moment = random.between(Duration::ZERO, Duration::from_millis(700));
        let what = random.below(100);
        self.sent.publish(100 + random.below(1000));
        match what {
            0..40 => {
                // This sleep is the test: a moment that nobody has chosen.
                std::thread::sleep(moment);
                let (name, process) = self.members.remove(victim);
                process.kill();
                self.members.insert(victim, (name.clone(), Self::member(&self.custody, &name, None)));
                format!("{name} killed after {moment:.0?}")
            }
            40..75 => {
                let (faults, where_) = INGEST_POINTS[usize::try_from(random.below(7)).expect("an index")];
                let (name, process) = self.members.remove(victim);
                process.kill();
                let mut doomed = Self::member(&self.custody, &name, Some(&format!("{faults} {}", 1 + random.below(2))));
                // It dies of what it is given to do.
                wait_until("the doomed member to die", PATIENCE, || {
                    self.sent.publish(40);
                    self.sent.flush();
                    doomed.has_ended().then_some(()).ok_or_else(|| doomed.log())
                });
                self.members.insert(victim, (name.clone(), Self::member(&self.custody, &name, None)));
                format!("{name} died {where_}")
            }
            75..88 => {
                let (faults, where_) = MAINTAIN_POINTS[usize::try_from(random.below(4)).expect("an index")];
                let mut doomed = Self::maintain(&self.custody, Some(&format!("{faults} 1")));
                std::mem::swap(&mut doomed, &mut self.maintenance);
                doomed.kill();
                // It has as much time as a few commits take to come to that point.
                for _ in 0..10 {
                    self.sent.publish(10);
                    self.sent.flush();
                    std::thread::sleep(Duration::from_millis(200));
                    if self.maintenance.has_ended() {
                        break;
                    }
                }
                let mut doomed = Self::maintain(&self.custody, None);
                std::mem::swap(&mut doomed, &mut self.maintenance);
                let died = doomed.has_ended();
                doomed.end();
                format!("maintenance {}: {where_}", if died { "died" } else { "was killed before it came to" })
            }
            88..94 => {
                let (name, mut process) = self.members.remove(victim);
                process.stop();
                self.members.insert(victim, (name.clone(), Self::member(&self.custody, &name, None)));
                format!("{name} left and came back")
            }
            94..97 => {
                let mut third = Self::member(&self.custody, "third", None);
                third.wait_for_log(ASSIGNED);
                self.sent.publish(200);
                std::thread::sleep(moment);
                third.kill();
                format!("a third member came, and was killed after {moment:.0?}")
            }
            97..99 => {
                let (name, sleeper) = &mut self.members[victim];
                sleeper.signal("STOP");
                std::thread::sleep(SESSION_TIMEOUT + Duration::from_secs(1));
                self.sent.publish(200);
                self.sent.flush();
                std::thread::sleep(moment);
                sleeper.signal("CONT");
                format!("{name} slept beyond its session")
            }
            _ => {
                self.broker.kill().expect("the broker is ours");
                self.broker.restart().expect("the broker comes back");
                "the broker was killed and came back".to_owned()
            }
        }
    }

    /// Every message that was sent is in every table once: asked of engines that share no code with the writer.
    fn check(&mut self, what: &str) {
        self.sent.flush();
        let count = self.sent.count;
        let mut had = None;
        while had != Some(count) {
            had = wait_until(&format!("{count} records after {what}"), PATIENCE, || {
                for (name, member) in &mut self.members {
                    assert!(!member.has_ended(), "{name} ended by itself after {what}: {}", member.log());
                }
                let found = self.records()?;
                assert!(found <= count, "{found} records of {count} messages after {what}");
                (Some(found) > had).then_some(Some(found)).ok_or_else(|| format!("{found} records"))
            });
        }
        let expected = self.sent.expected();
        // The other tables are committed right after the records, or by whoever takes over from a dead one.
        wait_until(&format!("every table to be whole after {what}"), PATIENCE, || {
            let Some(found) = open::read(TEST, self.custody.data()) else { return Ok(()) };
            let rows = |table: &str| found[table]["rows"].as_u64().expect("a number");
            for (table, most) in &expected {
                assert_eq!(found[table]["rows"], found[table]["distinct_offsets"], "{table} after {what}");
                assert!(rows(table) <= *most, "{table} after {what}: {} rows of {most}", rows(table));
            }
            let whole = expected.iter().all(|(table, most)| *table == "frames" || rows(table) == *most);
            (whole && found["frames"]["max"] == json!(self.sent.last_print()))
                .then_some(())
                .ok_or_else(|| found.to_string())
        });
    }
}

fn fault(faults: Option<&str>) -> Vec<(&'static str, String)> {
    faults.map(|faults| ("CUSTODY_STORE_FAULTS", faults.to_owned())).into_iter().collect()
}

/// `CUSTODY_FIRE_ROUNDS=1000` is the long run.
#[test]
fn whatever_dies_every_message_is_in_every_table_once() {
    let Some(broker) = Broker::start_or_skip(TEST) else { return };
    if !broker.is_own() {
        return say(&format!("\nSKIPPED: {TEST}: the broker of KAFKA_BOOTSTRAP is not ours to kill\n"));
    }
    let rounds = from_environment("CUSTODY_FIRE_ROUNDS", 25);
    let mut random = Random::new(TEST);
    let sent = Numbered::on(&broker);
    let custody = sent.custody().flush(200, 100).section("[maintain]\nfiles_min = 4\n");
    let mut members: Vec<(String, Process)> = Vec::new();
    for name in ["one", "two"] {
        let mut process = Field::member(&custody, name, None);
        process.wait_for_log(ASSIGNED);
        members.push((name.to_owned(), process));
    }
    let maintenance = Field::maintain(&custody, None);
    let (serve, client) = custody.serve();
    let mut field = Field { broker: &broker, sent, custody, members, maintenance, client, _serve: serve };
    let mut told: std::collections::BTreeMap<String, u64> = Default::default();
    for round in 1..=rounds {
        let what = field.round(&mut random);
        field.check(&format!("round {round}: {what}"));
        let kind = what.split(" after ").next().unwrap_or_default();
        let kind = ["one", "two"].iter().find_map(|name| kind.strip_prefix(name)).unwrap_or(kind).trim();
        *told.entry(kind.to_owned()).or_default() += 1;
        if round % 10 == 0 || round == rounds {
            say(&format!("{TEST}: {round} rounds, {} messages, each in every table once", field.sent.count));
        }
    }
    for (_, member) in &mut field.members {
        member.stop();
    }
    field.maintenance.stop();
    let summary: Value = json!(told);
    say(&format!("{TEST}: {summary:#}"));
    let maintained = field.custody.stdout(["maintain"]);
    say(&format!("{TEST}: {maintained}"));
    field.sent.assert_exactly_once(TEST, &field.custody);
}
