//! What is found in a recording while it is played: from where any time can be shown, and what was on the screen.
//!
//! A recording is played once in the background, as fast as that goes; what is found so far can be used at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::index::{Command, Found, Indexer, ScreenText, Segment};
use crate::recording::Recording;

/// Events between two looks at whether anybody still wants to know.
const EVENTS_AT_ONCE: usize = 256;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Finder {
    found: Mutex<Found>,
    /// Nobody wants to know any more.
    stop: AtomicBool,
    is_done: AtomicBool,
}

impl Finder {
    /// Looks through a recording, until the end or until [`stop`](Self::stop).
    pub(super) fn look_through(&self, recording: &Recording) {
        let mut indexer = Indexer::new(recording.size);
        for events in recording.events.chunks(EVENTS_AT_ONCE) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            events.iter().for_each(|event| indexer.push(event));
            self.add(indexer.take());
        }
        self.add(indexer.finish());
        self.is_done.store(true, Ordering::Release);
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more will be found.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    fn add(&self, more: Found) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.segments.extend(more.segments);
        found.texts.extend(more.texts);
        found.commands.extend(more.commands);
    }

    fn with<T>(&self, look: impl FnOnce(&Found) -> T) -> T {
        look(&self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last segment that begins at or before a time, if it is known already and has more events before it than these.
    pub(super) fn segment(&self, time_us: i64, beyond: usize) -> Option<Segment> {
        self.with(|found| {
            let at = found.segments.partition_point(|segment| segment.start_us <= time_us);
            let segment = found.segments.get(at.checked_sub(1)?)?;
            (segment.first_event > beyond).then(|| segment.clone())
        })
    }

    /// When texts that hold what is looked for came onto the screen, each time once, in order.
    pub(super) fn matches(&self, wanted: &Wanted) -> Vec<i64> {
        let mut times: Vec<i64> = self.with(|found| {
            let texts = found.texts.iter().filter(|ScreenText { text, .. }| wanted.is_in(text));
            texts.map(|text| text.from_us).collect()
        });
        times.sort_unstable();
        times.dedup();
        times
    }

    /// When commands were given.
    pub(super) fn commands(&self) -> Vec<i64> {
        self.with(|found| found.commands.iter().map(|Command { at_us, .. }| *at_us).collect())
    }
}

/// A text that is looked for. Where it has no capital letter, those of what is looked through do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted(String);

impl Wanted {
    /// `None` where there is nothing to look for.
    pub(super) fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn is_in(&self, text: &str) -> bool {
        if self.0.chars().any(char::is_uppercase) {
            text.contains(&self.0)
        } else {
            text.to_lowercase().contains(&self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_count_only_where_they_are_asked_for() {
        let is_in = |wanted: &str, text: &str| Wanted::new(wanted).unwrap().is_in(text);
        assert!(is_in("error", "An Error") && is_in("Error", "An Error") && !is_in("Error", "an error"));
        assert_eq!(Wanted::new(""), None);
    }
}
