//! Delivery to a receiver that does what a test says. With real receivers it is tested beside the sinks.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;

fn item(number: usize, bytes: usize) -> Item {
    Item { id: number.to_string(), revision: 0, at: 0, kind: "other".to_owned(), body: vec![b'x'; bytes].into() }
}

proptest! {
    #[test]
    fn every_event_is_in_one_batch_in_its_order(
        sizes in proptest::collection::vec(0..3000_usize, 0..300),
        bytes in 0..5000_usize,
        count in 0..20_usize,
    ) {
        let items: Vec<Item> = sizes.iter().enumerate().map(|(number, size)| item(number, *size)).collect();
        let all: Vec<Batch<'_>> = batches(&items, BatchSize { bytes, items: count }).collect();
        let mut next = 0;
        for batch in &all {
            prop_assert_eq!(batch.first, next);
            prop_assert_eq!(batch.items, &items[next..next + batch.items.len()]);
            let sum: usize = batch.items.iter().map(|item| item.body.len()).sum();
            prop_assert!(batch.items.len() == 1 || (batch.items.len() <= count && sum <= bytes));
            next += batch.items.len();
        }
        prop_assert_eq!(next, items.len());
        // Two that fit together are not sent apart.
        for pair in all.windows(2) {
            let sum: usize = pair[0].items.iter().map(|item| item.body.len()).sum();
            prop_assert!(pair[0].items.len() >= count.max(1) || sum + pair[1].items[0].body.len() > bytes);
        }
    }

}

proptest! {
    // Timers have no more than milliseconds.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_receiver_says_each_event_is_taken_or_dead(
        count in 0..60_usize,
        size in 1..20_usize,
        poison in proptest::collection::btree_set(0..60_usize, 0..6),
        answers in proptest::collection::vec(0..7_u8, 0..30),
    ) {
        let items: Vec<Item> = (0..count).map(|number| item(number, 10)).collect();
        let receiver = Arc::new(Scripted::new(size, poison.clone(), answers));
        let delivery = Delivery::new(Box::new(Arc::clone(&receiver)), PATIENCE);
        let (_stop, mut stopped) = watch::channel(false);
        let dead = run(delivery.deliver(&items, &mut stopped)).unwrap();
        let dead: Vec<usize> = dead.iter().map(|dead| dead.number).collect();
        prop_assert_eq!(&dead, &poison.iter().copied().filter(|number| *number < count).collect::<Vec<_>>());
        let taken = receiver.taken.lock().unwrap();
        let expected: Vec<usize> = (0..count).filter(|number| !poison.contains(number)).collect();
        prop_assert_eq!(taken.iter().copied().collect::<Vec<_>>(), expected);
    }
}

const PATIENCE: Patience = Patience {
    first: Duration::from_micros(20),
    most: Duration::from_micros(100),
    unauthorised: Duration::from_micros(50),
    in_flight: 4,
};

fn run<T>(of: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(of)
}

/// Takes what is not poison, as far as it has no other answer left to give.
struct Scripted {
    size: usize,
    poison: std::collections::BTreeSet<usize>,
    answers: std::sync::Mutex<Vec<u8>>,
    taken: std::sync::Mutex<std::collections::BTreeSet<usize>>,
}

impl Scripted {
    fn new(size: usize, poison: std::collections::BTreeSet<usize>, answers: Vec<u8>) -> Self {
        Self { size, poison, answers: answers.into(), taken: std::sync::Mutex::default() }
    }
}

fn refusal() -> Refusal {
    Refusal { status: Some(400), answer: "no".to_owned() }
}

#[async_trait]
impl Sink for Arc<Scripted> {
    fn batch_size(&self) -> BatchSize {
        BatchSize { bytes: 1000, items: self.size }
    }

    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        tokio::task::yield_now().await;
        let numbers: Vec<usize> = items.iter().map(|item| item.id.parse().unwrap()).collect();
        let is_bad = |number: &usize| self.poison.contains(number);
        let mut taken = self.taken.lock().unwrap();
        let answer = self.answers.lock().unwrap().pop();
        match answer {
            Some(0) => return Err(SendError::transient("busy")),
            Some(1) => return Err(SendError::Unauthorised("who?".to_owned())),
            // The answer is lost.
            Some(2) => {
                taken.extend(numbers.iter().filter(|number| !is_bad(number)));
                return Err(SendError::transient("reset"));
            }
            // Some are taken, and for the others there is no room.
            Some(3) => {
                let again: Vec<usize> = (0..items.len()).filter(|at| at % 2 == 0 || is_bad(&numbers[*at])).collect();
                taken.extend((0..items.len()).filter(|at| !again.contains(at)).map(|at| numbers[at]));
                return Ok(Reply { again, busy: Some("full".to_owned()), refused: Vec::new() });
            }
            // Each has an answer of its own.
            Some(4) => {
                let refused = (0..items.len()).filter(|at| is_bad(&numbers[*at])).map(|at| (at, refusal())).collect();
                taken.extend(numbers.iter().filter(|number| !is_bad(number)));
                return Ok(Reply { refused, ..Reply::default() });
            }
            // As Splunk does: the first that is bad, and none behind it.
            Some(5) if numbers.iter().any(is_bad) => {
                let bad = numbers.iter().position(is_bad).unwrap();
                taken.extend(&numbers[..bad]);
                let again = (bad + 1..items.len()).collect();
                return Ok(Reply { again, busy: None, refused: vec![(bad, refusal())] });
            }
            Some(6) if items.len() > 1 => return Err(SendError::TooLarge(refusal())),
            _ => {}
        }
        if numbers.iter().any(is_bad) {
            return Err(SendError::Refused(refusal()));
        }
        taken.extend(numbers);
        Ok(Reply::default())
    }
}

#[test]
fn who_refuses_everything_is_slowed_down_until_something_is_taken() {
    // One by one, some with an answer for each; from the event of number 400 on all is well.
    for answers in [vec![], vec![4; 1000]] {
        let receiver = Arc::new(Scripted::new(20, (0..400).collect(), answers));
        let patience = Patience { first: Duration::from_millis(1), most: Duration::from_millis(1), ..PATIENCE };
        let delivery = Delivery::new(Box::new(Arc::clone(&receiver)), patience);
        let items: Vec<Item> = (0..2000).map(|number| item(number, 10)).collect();
        let (_stop, mut stopped) = watch::channel(false);
        let mut state = delivery.state();
        let watched = async {
            let failing = state.wait_for(|state| matches!(state, State::Failing { .. })).await.unwrap().clone();
            state.wait_for(|state| *state == State::Delivering).await.unwrap();
            failing
        };
        let (dead, failing) = run(async { tokio::join!(delivery.deliver(&items, &mut stopped), watched) });
        let dead: Vec<usize> = dead.unwrap().iter().map(|dead| dead.number).collect();
        assert_eq!(dead, (0..400).collect::<Vec<_>>());
        assert!(matches!(failing, State::Failing { why, .. } if why.ends_with("refused 100 or more: no")));
        assert_eq!(receiver.taken.lock().unwrap().len(), 1600);
        // Of those that were refused some 300 were sent alone, and the 1600 others about twenty at a time.
        assert!((300..1000).contains(&delivery.requests()), "{}", delivery.requests());
    }
}

/// Takes nothing until it is told to, and counts how many try at once.
#[derive(Default)]
struct Down {
    up: std::sync::atomic::AtomicBool,
    now: AtomicUsize,
    /// How many tried at once, of each attempt.
    at_once: std::sync::Mutex<Vec<usize>>,
    after: Option<Duration>,
}

#[async_trait]
impl Sink for Arc<Down> {
    fn batch_size(&self) -> BatchSize {
        BatchSize { bytes: 1000, items: 1 }
    }

    async fn send(&self, _: &[&Item]) -> Result<Reply, SendError> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once.lock().unwrap().push(now);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        match self.up.load(Ordering::SeqCst) {
            true => Ok(Reply::default()),
            false => Err(SendError::Transient { what: "down".to_owned(), after: self.after }),
        }
    }
}

#[test]
fn who_is_down_is_tried_by_one_at_a_time() {
    let down = Arc::new(Down::default());
    let patience = Patience { first: Duration::from_millis(2), most: Duration::from_millis(4), ..PATIENCE };
    let delivery = Delivery::new(Box::new(Arc::clone(&down)), patience);
    let items: Vec<Item> = (0..40).map(|number| item(number, 10)).collect();
    let (_stop, mut stopped) = watch::channel(false);
    let mut state = delivery.state();
    let watched = async {
        state.wait_for(|state| matches!(state, State::Failing { why, .. } if why == "down")).await.unwrap();
        while delivery.requests() < 24 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        down.up.store(true, Ordering::SeqCst);
        state.wait_for(|state| *state == State::Delivering).await.unwrap();
    };
    let (dead, ()) = run(async { tokio::join!(delivery.deliver(&items, &mut stopped), watched) });
    assert_eq!(dead, Ok(Vec::new()));
    let at_once = down.at_once.lock().unwrap();
    // Four were on their way when the first of them failed.
    assert_eq!(at_once[..4], [1, 2, 3, 4]);
    assert!(at_once[4..24].iter().all(|count| *count == 1), "{at_once:?}");
    // Afterwards nobody waits for another.
    assert_eq!(at_once.iter().skip(24).max(), Some(&4), "{at_once:?}");
}

#[test]
fn who_asks_for_time_gets_it_and_a_stop_is_at_once() {
    let down = Arc::new(Down { after: Some(Duration::from_millis(300)), ..Down::default() });
    let delivery = Delivery::new(Box::new(Arc::clone(&down)), PATIENCE);
    let items = [item(0, 10)];
    let (stop, mut stopped) = watch::channel(false);
    let began = Instant::now();
    let third = async {
        while delivery.requests() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let waited = began.elapsed();
        stop.send(true).unwrap();
        (waited, Instant::now())
    };
    let (delivered, (waited, told)) = run(async { tokio::join!(delivery.deliver(&items, &mut stopped), third) });
    assert_eq!(delivered, Err(Stopped));
    assert!(waited >= Duration::from_millis(600), "{waited:?}");
    assert!(told.elapsed() < Duration::from_millis(100), "{:?}", told.elapsed());
}

#[test]
fn pauses_grow_to_a_bound_and_are_not_all_the_same() {
    let patience = Patience { first: Duration::from_secs(1), most: Duration::from_secs(10), ..PATIENCE };
    for (failures, bound) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (100, 10), (u32::MAX, 10)] {
        let pauses: Vec<Duration> = (0..200).map(|_| patience.pause(failures)).collect();
        let bound = Duration::from_secs(bound);
        assert!(pauses.iter().all(|pause| *pause <= bound));
        assert!(pauses.iter().any(|pause| *pause > bound / 2) && pauses.iter().any(|pause| *pause < bound / 2));
    }
}

#[test]
fn attempts_are_those_of_the_event() {
    let poison = [2].into_iter().collect();
    let delivery = Delivery::new(Box::new(Arc::new(Scripted::new(8, poison, vec![0]))), PATIENCE);
    let items: Vec<Item> = (0..8).map(|number| item(number, 10)).collect();
    let (_stop, mut stopped) = watch::channel(false);
    let dead = run(delivery.deliver(&items, &mut stopped)).unwrap();
    // Once for nothing, then with eight, four, two and by itself.
    assert_eq!(dead, [Dead { number: 2, refusal: refusal(), attempts: 5 }]);
}
