//! Answers that are dear, remembered for as long as they are right, or not old for what they cost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use custody_query::{Engine, QueryError, Versions};
use tokio::sync::Mutex;

use crate::exit::Failure;

/// Different questions that are remembered.
const QUESTIONS_MAX: usize = 8;

/// An answer is worked out again after so long, though nothing has come: what it says of "now" and of reference data.
const AGE_MAX: Duration = Duration::from_secs(300);

/// Where more comes in all the time, an answer is given again for so many times as long as it took to work it out: pages that
/// are open everywhere take a fifth of a core at most. It says what it was made from.
const REST: u32 = 4;

/// Answers by their questions, of one state of the ledger each. Whoever asks while somebody works waits for that.
#[derive(Debug)]
pub(super) struct Remembered<Q, A>(Mutex<VecDeque<Held<Q, A>>>);

#[derive(Debug)]
struct Held<Q, A> {
    question: Q,
    versions: Versions,
    at: Instant,
    took: Duration,
    answer: Arc<A>,
}

impl<Q, A> Default for Remembered<Q, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Q: PartialEq, A> Remembered<Q, A> {
    /// The answer to a question: the one that was given, if the ledger is as it was; else one that is worked out. Waiting
    /// for somebody else's counts towards the time.
    pub(super) async fn get(
        &self,
        (engine, time): (&Engine, Option<Duration>),
        question: Q,
        work: impl Future<Output = Result<A, Failure>>,
    ) -> Result<Arc<A>, Failure> {
        let answer = self.answer(engine, question, work);
        match time {
            None => answer.await,
            Some(time) => {
                let in_time = tokio::time::timeout(time, answer).await;
                in_time.unwrap_or_else(|_| Err(QueryError::Timeout(time).into()))
            }
        }
    }

    async fn answer(
        &self,
        engine: &Engine,
        question: Q,
        work: impl Future<Output = Result<A, Failure>>,
    ) -> Result<Arc<A>, Failure> {
        let mut held = self.0.lock().await;
        // That somebody asks is written down as well, and says nothing of what is asked.
        let versions = Versions { activity: 0, ..engine.versions().await? };
        let is_right = |of: &&Held<Q, A>| {
            let age = of.at.elapsed();
            age < AGE_MAX && (of.versions == versions || age < of.took * (1 + REST))
        };
        if let Some(of) = held.iter().filter(|of| of.question == question).find(is_right) {
            return Ok(of.answer.clone());
        }
        let at = Instant::now();
        let answer = Arc::new(work.await?);
        held.retain(|of| of.question != question);
        held.push_back(Held { question, versions, at, took: at.elapsed(), answer: answer.clone() });
        while held.len() > QUESTIONS_MAX {
            held.pop_front();
        }
        Ok(answer)
    }
}
