//! How the parts of ingest are doing, for readiness and for people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A part that ingest depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// The brokers.
    Kafka,
    /// The store of the ledger.
    Store,
}

/// How a part is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "why")]
pub enum State {
    /// Nothing is known yet.
    Starting,
    /// It answers.
    Up,
    /// It does not, and why.
    Down(String),
}

/// Shared view of the parts; cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    states: Arc<Mutex<[State; 2]>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { states: Arc::new(Mutex::new([State::Starting, State::Starting])) }
    }
}

impl Health {
    fn states(&self) -> MutexGuard<'_, [State; 2]> {
        // The states are replaced whole: a panic elsewhere cannot leave them half-written.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the state of a part, and logs when it changes between up and down.
    pub fn set(&self, component: Component, state: State) {
        let mut states = self.states();
        let [kafka, store] = &mut *states;
        let slot = match component {
            Component::Kafka => kafka,
            Component::Store => store,
        };
        match (&*slot, &state) {
            (State::Down(_), State::Up) => tracing::info!(?component, "is back"),
            (State::Down(_), State::Down(_)) => {}
            (_, State::Down(why)) => tracing::warn!(?component, why, "is not available; retrying, nothing is lost"),
            _ => {}
        }
        *slot = state;
    }

    /// The state of every part.
    pub fn get(&self) -> [(Component, State); 2] {
        let [kafka, store] = self.states().clone();
        [(Component::Kafka, kafka), (Component::Store, store)]
    }

    /// Whether every part answers.
    pub fn is_ready(&self) -> bool {
        self.get().iter().all(|(_, state)| *state == State::Up)
    }
}
