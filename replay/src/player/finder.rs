//! What is found in a recording while it is played: from where any time can be shown, and what was on the screen.
//!
//! A recording is played once in the background, as fast as that goes; what is found so far can be used at once.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::index::{Command, Found, Indexer, ScreenText, Segment};
use crate::recording::Recording;

/// Bytes between two looks at whether anybody still wants to know.
const BYTES_AT_ONCE: usize = 64 * 1024;

/// So much text is kept, in bytes.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Finder {
    found: Mutex<Found>,
    /// Nobody wants to know any more.
    stop: AtomicBool,
    /// All texts before this time were found; nothing more is looked for where it is [`i64::MAX`].
    settled_us: AtomicI64,
    /// Lines that were not kept.
    missed: AtomicU64,
}

impl Finder {
    /// Looks through a recording, until the end or until [`stop`](Self::stop).
    pub(super) fn look_through(&self, recording: &Recording) {
        // However it ends, nothing more comes.
        let _ended = Ended(self);
        let mut indexer = Indexer::new(recording.size);
        let (mut bytes, mut text_bytes, mut left_out) = (0, 0, 0);
        for event in &recording.events {
            indexer.push(event);
            bytes += event.data.len() + 1;
            if bytes >= BYTES_AT_ONCE {
                bytes = 0;
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                self.add(indexer.take(), (&mut text_bytes, &mut left_out));
                self.settled_us.store(indexer.settled_us(), Ordering::Release);
            }
        }
        self.add(indexer.finish(), (&mut text_bytes, &mut left_out));
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// All texts that begin before this time are known; [`i64::MAX`] when nothing more will be found.
    pub(super) fn settled_us(&self) -> i64 {
        self.settled_us.load(Ordering::Acquire)
    }

    /// Number of lines that were on the screen and are not looked through.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn add(&self, mut more: Found, (text_bytes, left_out): (&mut usize, &mut u64)) {
        let before = more.texts.len();
        more.texts.retain(|text| {
            *text_bytes += text.text.len() + size_of::<ScreenText>();
            *text_bytes <= TEXT_BYTES_MAX
        });
        *left_out += (before - more.texts.len()) as u64;
        self.missed.store(more.missed + *left_out, Ordering::Relaxed);
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
            texts.map(|text| text.whole_us).collect()
        });
        times.sort_unstable();
        times.dedup();
        times
    }

    /// When the first of the texts that hold what is looked for came onto the screen, of those beyond the first `looked`,
    /// which is moved on.
    pub(super) fn first_match(&self, wanted: &Wanted, looked: &mut usize) -> Option<i64> {
        self.with(|found| {
            let new = found.texts.get(*looked..).unwrap_or_default();
            *looked = found.texts.len();
            new.iter().filter(|text| wanted.is_in(&text.text)).map(|text| text.whole_us).min()
        })
    }

    /// When commands were given.
    pub(super) fn commands(&self) -> Vec<i64> {
        let mut times: Vec<i64> =
            self.with(|found| found.commands.iter().map(|Command { at_us, .. }| *at_us).collect());
        times.sort_unstable();
        times
    }
}

struct Ended<'a>(&'a Finder);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.settled_us.store(i64::MAX, Ordering::Release);
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
