//! A ledger of any size that looks like years of work: for measuring what questions and reports cost.
//!
//! Everything is made by the product's own decoders and commits. What there is to decode is told by [`teller`], a pure
//! function of the seed and a number; here it is put into days and offsets. The same plan gives the same messages.

mod teller;
mod world;

use std::collections::VecDeque;
use std::ops::Range;

use custody_ledger::{Ledger, Stream};
use custody_schemas::record::{Message, Origin};
use custody_schemas::table::Table;
use custody_schemas::time::{Micros, date_of};

use self::teller::{Counted, Told, Topic};
use self::world::World;
pub use self::world::{Reference, reference};
use super::Failed;
use crate::direct::Direct;
use crate::source::{Source, SourceKind};

/// Name of the cluster of brokers that the messages seem to come from.
const BROKERS: &str = "bench";

/// Those who write at the same time: each has a partition of every topic, and every other block of sessions.
const WORKERS: u64 = 2;

/// Messages after which a day is committed before it is over.
const COMMIT_MESSAGES: u64 = 300_000;

/// Between an event and the time that the broker notes.
const TO_THE_BROKER: Micros = 400_000;

/// What is to be generated. The last day is always 2026-09-30.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// About how many events.
    pub events: u64,
    /// Over how many days.
    pub days: u32,
    /// Another seed gives another ledger of the same size.
    pub seed: u64,
}

/// What was generated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generated {
    /// Messages, which are rows of `records`.
    pub messages: u64,
    /// Those that cannot be decoded.
    pub undecodable: u64,
    /// Rows of `events`.
    pub events: u64,
    /// Sessions that began.
    pub sessions: u64,
    /// Access requests that were made.
    pub requests: u64,
}

/// Fills a ledger. Tells the number of events of each commit.
///
/// # Errors
///
/// When the ledger fails.
pub async fn generate(
    ledger: &Ledger,
    plan: Plan,
    tell: impl Fn(u64) + Clone + Send + 'static,
) -> Result<Generated, Failed> {
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (ledger, tell, runtime) = (ledger.clone(), tell.clone(), tokio::runtime::Handle::current());
            // Nearly all of it is computing.
            tokio::task::spawn_blocking(move || runtime.block_on(Writer::run(&ledger, plan, worker, tell)))
        })
        .collect();
    let mut all = Generated::default();
    for worker in workers {
        let Generated { messages, undecodable, events, sessions, requests } = worker.await??;
        all.messages += messages;
        all.undecodable += undecodable;
        all.events += events;
        all.sessions += sessions;
        all.requests += requests;
    }
    for table in Table::EVIDENCE {
        // Whoever opens the tables would read an entry of the log for each day and worker.
        ledger.maintenance(table).await?.checkpoint().await?;
    }
    Ok(all)
}

/// The messages of one day, in the order of telling.
#[derive(Debug, Default)]
struct Day {
    text: String,
    messages: Vec<Placed>,
}

#[derive(Debug)]
struct Placed {
    /// When Custody gets it, and which one it was on its day: the order of the offsets.
    at: Micros,
    number: usize,
    topic: Topic,
    counted: Counted,
    key: Option<Range<usize>>,
    value: Range<usize>,
}

impl Day {
    fn put(&mut self, told: &Told<'_>) {
        let mut range = |text: &str| {
            let from = self.text.len();
            self.text.push_str(text);
            from..self.text.len()
        };
        let (key, value) = (told.key.map(&mut range), range(told.value));
        let Told { at, topic, counted, .. } = *told;
        self.messages.push(Placed { at, number: self.messages.len(), topic, counted, key, value });
    }

    fn text(&self, range: &Range<usize>) -> &[u8] {
        self.text.as_bytes().get(range.clone()).unwrap_or_default()
    }
}

/// What a worker tells, day by day.
struct Days {
    world: World,
    worker: u64,
    day: usize,
    /// The day that is told, and those after it that it reaches into.
    open: VecDeque<Day>,
}

impl Days {
    fn new(plan: Plan, worker: u64) -> Self {
        Self { world: World::new(plan), worker, day: 0, open: VecDeque::new() }
    }

    /// The messages that come in on the next day, in their order; `None` when there are no more days.
    fn next(&mut self) -> Option<Day> {
        let last = self.world.days();
        if self.day >= last {
            return None;
        }
        let today = date_of(self.world.midnight(self.day));
        let Self { world, open, .. } = self;
        // Messages belong to the day on which they come in. What comes after the last day has not happened yet.
        let mut put = |told: Told<'_>| {
            let after = usize::try_from(date_of(told.at) - today).unwrap_or_default();
            while open.len() <= after {
                open.push_back(Day::default());
            }
            if let Some(day) = open.get_mut(after).filter(|_| self.day + after < last) {
                day.put(&told);
            }
        };
        for block in world.blocks_of(self.day).filter(|block| block % WORKERS == self.worker) {
            teller::tell(world, self.day, block, &mut put);
        }
        self.day += 1;
        let mut day = open.pop_front().unwrap_or_default();
        day.messages.sort_unstable_by_key(|message| (message.at, message.number));
        Some(day)
    }
}

/// A topic's partition of one worker.
struct Road {
    topic: Topic,
    stream: Stream,
    source: Source,
    offset: i64,
}

impl Road {
    fn all(worker: u64) -> Vec<Self> {
        [
            (Topic::Teleport, "teleport.audit", SourceKind::Teleport),
            (Topic::TeleportSessions, "teleport.sessions", SourceKind::Teleport),
            (Topic::Boundary, "boundary.events", SourceKind::Boundary),
            (Topic::Opa, "opa.decisions", SourceKind::Opa),
            (Topic::Hoop, "hoop.events", SourceKind::Hoop),
        ]
        .map(|(topic, name, source)| {
            let partition = i32::try_from(worker).unwrap_or_default();
            let stream = Stream { cluster: BROKERS.to_owned(), topic: name.to_owned(), partition };
            Self { topic, stream, source: Source::new(source), offset: 0 }
        })
        .into()
    }
}

struct Writer<T> {
    direct: Direct,
    roads: Vec<Road>,
    tell: T,
    done: Generated,
    /// Of `done`, what was committed.
    committed: Generated,
}

impl<T: Fn(u64)> Writer<T> {
    async fn run(ledger: &Ledger, plan: Plan, worker: u64, tell: T) -> Result<Generated, Failed> {
        let (direct, roads) = (Direct::open(ledger).await?, Road::all(worker));
        let (done, committed) = (Generated::default(), Generated::default());
        let mut writer = Self { direct, roads, tell, done, committed };
        for road in &writer.roads {
            let _ = writer.direct.begin(&road.stream).await?;
        }
        let mut days = Days::new(plan, worker);
        while let Some(day) = days.next() {
            for message in &day.messages {
                writer.push(&day, message);
                if writer.done.messages - writer.committed.messages >= COMMIT_MESSAGES {
                    writer.commit().await?;
                }
            }
            writer.commit().await?;
        }
        writer.direct.settle().await?;
        Ok(writer.done)
    }

    fn push(&mut self, day: &Day, placed: &Placed) {
        let Some(road) = self.roads.iter_mut().find(|road| road.topic == placed.topic) else { return };
        let message = Message {
            origin: Origin { topic: &road.stream.topic, partition: road.stream.partition, offset: road.offset },
            broker_at: Some(placed.at - TO_THE_BROKER),
            key: placed.key.as_ref().map(|key| day.text(key)),
            headers: &[],
            value: Some(day.text(&placed.value)),
        };
        road.offset += 1;
        let taken = self.direct.push(&road.stream, &road.source, &message, placed.at);
        self.done.messages += 1;
        self.done.events += taken.map_or(0, |taken| u64::from(taken.events));
        self.done.undecodable += u64::from(taken.is_none_or(|taken| taken.error.is_some()));
        match placed.counted {
            Counted::Nothing => {}
            Counted::Session => self.done.sessions += 1,
            Counted::Request => self.done.requests += 1,
        }
    }

    async fn commit(&mut self) -> Result<(), Failed> {
        self.direct.commit().await?;
        (self.tell)(self.done.events - self.committed.events);
        self.committed = self.done;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::source::testing::{Decoded, message};

    const PLAN: Plan = Plan { events: 100_000, days: 30, seed: 1 };

    /// Every message of a plan, and the topic and key of each.
    fn messages(plan: Plan) -> Vec<(Topic, Micros, Option<String>, String, Counted)> {
        let text = |day: &Day, range: &Range<usize>| String::from_utf8(day.text(range).to_vec()).unwrap();
        let mut all = Vec::new();
        for worker in 0..WORKERS {
            let mut days = Days::new(plan, worker);
            while let Some(day) = days.next() {
                all.extend(day.messages.iter().map(|placed| {
                    let key = placed.key.as_ref().map(|key| text(&day, key));
                    (placed.topic, placed.at, key, text(&day, &placed.value), placed.counted)
                }));
            }
        }
        all
    }

    #[test]
    fn the_same_plan_gives_the_same_messages_and_another_seed_others() {
        let small = Plan { events: 5000, days: 3, seed: 7 };
        assert_eq!(messages(small), messages(small));
        assert_ne!(messages(small), messages(Plan { seed: 8, ..small }));
    }

    #[test]
    fn messages_come_in_on_their_day_and_in_their_order() {
        for worker in 0..WORKERS {
            let mut days = Days::new(PLAN, worker);
            let mut number = 0;
            while let Some(day) = days.next() {
                let midnight = days.world.midnight(number);
                assert!(day.messages.is_sorted_by_key(|message| message.at));
                assert!(day.messages.iter().all(|message| date_of(message.at) == date_of(midnight)), "day {number}");
                number += 1;
            }
            assert_eq!(number, 30);
        }
    }

    #[test]
    fn what_is_told_can_be_decoded_and_is_as_much_as_was_asked_for() {
        let (mut events, mut undecodable, mut pieces) = (0, 0, 0);
        let mut counted = [0; 2];
        let mut kinds: BTreeMap<(Topic, String), u64> = BTreeMap::new();
        let (mut recorded, mut bytes) = (BTreeSet::new(), (0, 0));
        let roads = Road::all(0);
        let all = messages(PLAN);
        for (topic, _, key, value, what) in &all {
            let road = roads.iter().find(|road| road.topic == *topic).unwrap();
            let mut out = Decoded::default();
            let decoded = crate::source::decode(&road.source, &message(key.as_deref(), value.as_bytes()), &mut out);
            if decoded.is_err() {
                assert!(serde_json::from_str::<Value>(value).is_err(), "{value}: {decoded:?}");
                undecodable += 1;
                continue;
            }
            events += out.events.len();
            pieces += out.pieces.len();
            for event in &out.events {
                let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                if text("kind") == "session.activity" && *topic == Topic::Teleport {
                    bytes = (bytes.0 + value.len(), bytes.1 + 1);
                }
                *kinds.entry((*topic, text("kind"))).or_default() += 1;
            }
            if *topic == Topic::TeleportSessions {
                recorded.insert(key.clone().unwrap());
            }
            match what {
                Counted::Nothing => {}
                Counted::Session => counted[0] += 1,
                Counted::Request => counted[1] += 1,
            }
        }
        assert!(events.abs_diff(100_000) < 2000, "{events} events");
        assert!(undecodable < 10 && pieces > 500, "{undecodable} undecodable, {pieces} pieces");
        let [sessions, requests] = counted;
        assert!((1960..=2000).contains(&sessions) && (270..330).contains(&requests), "{sessions} and {requests}");
        let kinds = |topic, kind: &str| kinds.get(&(topic, kind.to_owned())).copied().unwrap_or_default();
        let starts = kinds(Topic::Teleport, "session.start");
        assert!(starts.abs_diff(1800) < 20, "{starts}");
        assert!(kinds(Topic::Teleport, "session.end").abs_diff(starts) < 20);
        for topic in [Topic::Boundary, Topic::Hoop] {
            let (starts, ends) = (kinds(topic, "session.start"), kinds(topic, "session.end"));
            assert!(starts.abs_diff(100) < 4 && ends.abs_diff(starts) < 4, "{topic:?}: {starts} and {ends}");
        }
        assert!((40..75).contains(&kinds(Topic::Opa, "policy.decision")));
        assert!((150..400).contains(&recorded.len()), "{} recorded", recorded.len());
        let mean = bytes.0 / bytes.1;
        assert!((400..=550).contains(&mean), "{mean} bytes");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_ledger_has_every_message_at_an_offset_without_holes() {
        let folder = tempfile::tempdir().unwrap();
        let location = custody_ledger::Location::parse(folder.path().to_str().unwrap(), Default::default()).unwrap();
        let ledger = Ledger::create(location).await.unwrap();
        let plan = Plan { events: 4000, days: 2, seed: 3 };
        let told = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let telling = told.clone();
        let count = move |events| {
            telling.fetch_add(events, std::sync::atomic::Ordering::Relaxed);
        };
        let done = generate(&ledger, plan, count).await.unwrap();
        assert_eq!(done.events, told.load(std::sync::atomic::Ordering::Relaxed));
        let all = messages(plan);
        assert_eq!(done.messages, all.len() as u64);
        let mut next = 0;
        for table in Table::EVIDENCE {
            let mut writer = ledger.writer(table).await.unwrap();
            next = 0;
            for worker in 0..WORKERS {
                for road in Road::all(worker) {
                    next += writer.cursor(&road.stream).await.unwrap().unwrap_or(0);
                }
            }
        }
        // A cursor is the next offset: as many as there were messages, in every table.
        assert_eq!(next, i64::try_from(all.len()).unwrap());
    }
}
