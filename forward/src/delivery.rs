//! Delivery: what is to be sent is sent until it was taken, or refused for good.
//!
//! Nothing is given up because of time or a number of attempts. What a receiver refuses is halved until the one event is
//! found that it does not take; that goes to the dead letters, and the others on their way.
//!
//! A destination that takes nothing is tried by one batch at a time, after pauses that grow. What it asks for
//! (`Retry-After`) is granted. One that refuses event after event and takes none between is most likely set up wrong: it is
//! asked about one event at a time, after the same pauses, so that few are among the dead letters until somebody mends it.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Mutex, watch};

use crate::sink::{BatchSize, Item, Refusal, Reply, SendError, Sink};

/// How patient delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest pause before the second attempt.
    pub first: Duration,
    /// The longest pause before any.
    pub most: Duration,
    /// The pause after a receiver did not know us: somebody has to do something first.
    pub unauthorised: Duration,
    /// Batches that are on their way at once.
    pub in_flight: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            most: Duration::from_secs(60),
            unauthorised: Duration::from_secs(60),
            in_flight: 4,
        }
    }
}

impl Patience {
    /// The pause after so many failures: any time up to a bound that doubles, so that those who failed together do not
    /// come back together.
    fn pause(&self, failures: u32) -> Duration {
        let bound = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.most);
        bound.mul_f64(fastrand::f64())
    }
}

/// A receiver that asks to be left alone for longer is asked again after so long.
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// A receiver that refused so many events, and took none between, is slowed down.
const REFUSED_MAX: u64 = 100;

/// How a destination is, for whoever looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// What is sent is taken, or refused for good.
    #[default]
    Delivering,
    /// Nothing is taken at present, or everything refused; tried again.
    Failing {
        /// Since when.
        since: Instant,
        /// What happened last.
        why: String,
    },
    /// The receiver does not know us.
    Unauthorised {
        /// Since when nothing is taken.
        since: Instant,
        /// What it said.
        why: String,
    },
}

/// An event that a receiver will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Its number among those that were delivered together.
    pub number: usize,
    /// What was said.
    pub refusal: Refusal,
    /// How often it was sent.
    pub attempts: u32,
}

/// Delivery was told to stop before everything was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// Delivers to one destination.
pub struct Delivery<S: ?Sized> {
    patience: Patience,
    state: watch::Sender<State>,
    trouble: std::sync::Mutex<Option<Trouble>>,
    /// Whose turn it is to try whether something is taken again.
    turn: Mutex<()>,
    requests: AtomicU64,
    /// Events that were refused since one was taken.
    refused: AtomicU64,
    sink: Box<S>,
}

/// Nothing is taken.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    /// How often in a row.
    failures: u32,
    /// Not tried again before.
    until: Instant,
}

/// A batch, and the number of its first event.
struct Batch<'a> {
    first: usize,
    items: &'a [Item],
}

/// Events of a batch that are sent together: their numbers within it.
struct Run {
    numbers: Vec<usize>,
    /// How often they were sent.
    attempts: u32,
    /// How often of these the receiver had no room for any.
    busy: u32,
}

impl Run {
    fn of(numbers: Vec<usize>, attempts: u32) -> Self {
        Self { numbers, attempts, busy: 0 }
    }
}

impl<S: Sink + ?Sized> Delivery<S> {
    /// To this sink.
    pub fn new(sink: Box<S>, patience: Patience) -> Self {
        Self {
            patience,
            state: watch::Sender::default(),
            trouble: std::sync::Mutex::default(),
            turn: Mutex::new(()),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            sink,
        }
    }

    /// How the destination is.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Batches that were sent, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends all of these, in any order, until each was taken or refused for good. Returns those that were refused, in
    /// their order.
    ///
    /// # Errors
    ///
    /// [`Stopped`] as soon as `stop` is true, or nobody is left who could say so: some may have been taken.
    pub async fn deliver(&self, items: &[Item], stop: &mut watch::Receiver<bool>) -> Result<Vec<Dead>, Stopped> {
        let mut waiting = batches(items, self.sink.batch_size());
        let mut on_their_way = FuturesUnordered::new();
        let mut dead = Vec::new();
        loop {
            while on_their_way.len() < self.patience.in_flight.max(1)
                && let Some(batch) = waiting.next()
            {
                on_their_way.push(self.deliver_batch(batch));
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Err(Stopped),
                done = on_their_way.next() => match done {
                    Some(refused) => dead.extend(refused),
                    None => break,
                },
            }
        }
        dead.sort_by_key(|dead: &Dead| dead.number);
        Ok(dead)
    }

    /// Takes leave of the destination, at the end.
    pub async fn close(&self) {
        self.sink.close().await;
    }

    async fn deliver_batch(&self, batch: Batch<'_>) -> Vec<Dead> {
        let mut dead = Vec::new();
        let mut runs = vec![Run::of((0..batch.items.len()).collect(), 0)];
        while let Some(mut run) = runs.pop() {
            if self.refuses_all() && run.numbers.len() > 1 {
                let rest = run.numbers.split_off(1);
                runs.push(Run { numbers: rest, ..run });
            }
            let items: Vec<&Item> = run.numbers.iter().filter_map(|at| batch.items.get(*at)).collect();
            run.attempts = run.attempts.saturating_add(1);
            let mut bury = |at: usize, refusal: Refusal| {
                if let Some(number) = run.numbers.get(at) {
                    dead.push(Dead { number: batch.first + number, refusal, attempts: run.attempts });
                }
            };
            match self.send(&items).await {
                Ok(reply) => {
                    reply.refused.into_iter().for_each(|(at, refusal)| bury(at, refusal));
                    let again: Vec<usize> = reply.again.iter().filter_map(|at| run.numbers.get(*at).copied()).collect();
                    if again.is_empty() {
                        continue;
                    }
                    let mut again = Run::of(again, run.attempts);
                    if reply.busy.is_some() {
                        // It has room for others. Those that it has none for must not be asked about all the time.
                        again.busy =
                            if again.numbers.len() < run.numbers.len() { 1 } else { run.busy.saturating_add(1) };
                        tokio::time::sleep(self.patience.pause(again.busy)).await;
                    }
                    runs.push(again);
                }
                Err(SendError::Refused(refusal) | SendError::TooLarge(refusal)) => match run.numbers.len() {
                    0 | 1 => bury(0, refusal),
                    length => {
                        let second = run.numbers.split_off(length / 2);
                        runs.extend([Run::of(second, run.attempts), Run::of(run.numbers, run.attempts)]);
                    }
                },
                Err(SendError::Transient { .. } | SendError::Unauthorised(_)) => runs.push(run),
            }
        }
        dead
    }

    /// Sends once, when it is our turn, and notes how the destination is.
    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        let turn = match self.trouble() {
            Some(_) => Some(self.turn.lock().await),
            None => None,
        };
        // Whoever had their turn before us may have found that all is well again, or that the pause is longer.
        while turn.is_some()
            && let Some(Trouble { until, .. }) = self.trouble()
            && until > Instant::now()
        {
            tokio::time::sleep_until(until.into()).await;
        }
        let turn = turn.filter(|_| self.trouble().is_some());
        self.requests.fetch_add(1, Ordering::Relaxed);
        let sent = self.sink.send(items).await;
        match &sent {
            Err(SendError::Transient { what, after }) => {
                let asked = after.unwrap_or_default().min(ASKED_MAX);
                self.note_trouble(turn.is_some(), |failures| asked + self.patience.pause(failures));
                self.note_state(|since| State::Failing { since, why: what.clone() });
            }
            Err(SendError::Unauthorised(why)) => {
                self.note_trouble(turn.is_some(), |_| self.patience.unauthorised);
                self.note_state(|since| State::Unauthorised { since, why: why.clone() });
            }
            Ok(Reply { busy: Some(why), again, .. }) if again.len() == items.len() => {
                self.end_trouble();
                self.note_state(|since| State::Failing { since, why: why.clone() });
            }
            _ => match self.note_refused(&sent, items.len()).filter(|_| self.refuses_all()) {
                Some(refusal) => {
                    self.note_trouble(turn.is_some(), |failures| self.patience.pause(failures));
                    let why = format!("takes no event, and refused {REFUSED_MAX} or more: {}", refusal.answer);
                    self.note_state(|since| State::Failing { since, why });
                }
                None => {
                    self.end_trouble();
                    self.note_state(|_| State::Delivering);
                }
            },
        }
        sent
    }

    /// Counts what was refused, until something is taken. Returns the refusal where nothing else was said.
    fn note_refused<'s>(&self, sent: &'s Result<Reply, SendError>, items: usize) -> Option<&'s Refusal> {
        let (refused, refusal) = match sent {
            Ok(Reply { refused, again, .. }) if refused.len() + again.len() >= items => {
                (refused.len(), refused.last().map(|(_, refusal)| refusal))
            }
            // What is wrong is not known before it is alone.
            Err(SendError::Refused(refusal) | SendError::TooLarge(refusal)) => (usize::from(items == 1), Some(refusal)),
            _ => {
                self.refused.store(0, Ordering::Relaxed);
                return None;
            }
        };
        self.refused.fetch_add(refused as u64, Ordering::Relaxed);
        refusal
    }

    fn refuses_all(&self) -> bool {
        self.refused.load(Ordering::Relaxed) >= REFUSED_MAX
    }

    fn end_trouble(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn trouble(&self) -> Option<Trouble> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that nothing was taken, and until when nothing is tried. Those that failed together have failed once.
    fn note_trouble(&self, was_our_turn: bool, pause: impl Fn(u32) -> Duration) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = match *trouble {
            Some(Trouble { failures, .. }) if was_our_turn => failures.saturating_add(1),
            Some(Trouble { failures, .. }) => failures,
            None => 1,
        };
        let until = Instant::now() + pause(failures);
        let until = trouble.map_or(until, |before| before.until.max(until));
        *trouble = Some(Trouble { failures, until });
    }

    fn note_state(&self, state_since: impl FnOnce(Instant) -> State) {
        self.state.send_if_modified(|state| {
            let since = match state {
                State::Failing { since, .. } | State::Unauthorised { since, .. } => *since,
                State::Delivering => Instant::now(),
            };
            let now = state_since(since);
            let is_new = *state != now;
            *state = now;
            is_new
        });
    }
}

/// Cuts events into batches, in their order. One that is too large by itself is a batch.
fn batches(items: &[Item], size: BatchSize) -> impl Iterator<Item = Batch<'_>> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let rest = items.get(first..).filter(|rest| !rest.is_empty())?;
        let mut bytes = 0_usize;
        let fits = rest.iter().take(size.items.max(1)).take_while(|item| {
            bytes = bytes.saturating_add(item.body.len());
            bytes <= size.bytes
        });
        let count = fits.count().max(1);
        let batch = Batch { first, items: rest.get(..count)? };
        first += count;
        Some(batch)
    })
}

#[cfg(test)]
mod tests;
