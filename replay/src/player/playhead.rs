//! Where the player is. The time of day comes from outside, so that all of it can be tested.

use std::time::Duration;

/// A position that moves with time, in microseconds of what is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Playhead {
    duration_us: i64,
    speed: f64,
    /// The position at `since`.
    base_us: i64,
    /// From when on it moves; `None` while paused.
    since: Option<Duration>,
}

impl Playhead {
    /// At the start, moving since time zero. A speed that is not a number above 0 counts as 1.
    pub(super) fn new(duration_us: i64, speed: f64) -> Self {
        let mut head = Self { duration_us: duration_us.max(0), speed: 1.0, base_us: 0, since: Some(Duration::ZERO) };
        head.set_speed(Duration::ZERO, speed);
        head
    }

    /// Position, `0..=duration`.
    pub(super) fn position_us(&self, now: Duration) -> i64 {
        let elapsed = self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        // A cast from f64 saturates.
        let moved_us = (elapsed.as_secs_f64() * 1e6 * self.speed).round() as i64;
        self.base_us.saturating_add(moved_us).clamp(0, self.duration_us)
    }

    /// How long until a position is reached; `None` while paused. Zero when it lies behind.
    pub(super) fn until(&self, now: Duration, position_us: i64) -> Option<Duration> {
        self.since?;
        let left_us = position_us.saturating_sub(self.position_us(now)).max(0);
        // Rounded up, so that the position has been reached when the time is over.
        Duration::try_from_secs_f64((left_us as f64 / self.speed).ceil() / 1e6).ok()
    }

    pub(super) fn at_end(&self, now: Duration) -> bool {
        self.position_us(now) == self.duration_us
    }

    pub(super) fn is_paused(&self) -> bool {
        self.since.is_none()
    }

    pub(super) fn pause(&mut self, now: Duration) {
        self.base_us = self.position_us(now);
        self.since = None;
    }

    pub(super) fn resume(&mut self, now: Duration) {
        self.base_us = self.position_us(now);
        self.since = Some(now);
    }

    /// Goes to a position, or to the nearest end of the recording. Paused stays paused.
    pub(super) fn seek(&mut self, now: Duration, position_us: i64) {
        self.base_us = position_us.clamp(0, self.duration_us);
        self.since = self.since.map(|_| now);
    }

    pub(super) fn speed(&self) -> f64 {
        self.speed
    }

    /// Sets the speed, brought into 1/16 to 64.
    pub(super) fn set_speed(&mut self, now: Duration, speed: f64) {
        self.base_us = self.position_us(now);
        self.since = self.since.map(|_| now);
        self.speed = if speed.is_finite() && speed > 0.0 { speed.clamp(0.0625, 64.0) } else { 1.0 };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn it_moves_with_time_and_stops_at_the_end() {
        let head = Playhead::new(3_000_000, 2.0);
        assert_eq!(head.position_us(at(0)), 0);
        assert_eq!(head.position_us(at(500)), 1_000_000);
        assert!(!head.at_end(at(1499)));
        assert!(head.at_end(at(1500)));
        assert_eq!(head.position_us(at(9_999_999)), 3_000_000);
    }

    #[test]
    fn no_time_passes_while_paused() {
        let mut head = Playhead::new(10_000_000, 1.0);
        head.pause(at(1000));
        assert_eq!(head.position_us(at(5000)), 1_000_000);
        assert_eq!(head.until(at(5000), 2_000_000), None);
        head.seek(at(5000), 4_000_000);
        assert!(head.is_paused());
        assert_eq!(head.position_us(at(6000)), 4_000_000);
        head.resume(at(7000));
        assert_eq!(head.position_us(at(7500)), 4_500_000);
    }

    #[test]
    fn a_new_speed_holds_from_here_on() {
        let mut head = Playhead::new(100_000_000, 1.0);
        head.set_speed(at(2000), 4.0);
        assert_eq!(head.position_us(at(3000)), 6_000_000);
        for (wanted, got) in [(1e9, 64.0), (1e-9, 0.0625), (f64::NAN, 1.0), (-1.0, 1.0), (0.0, 1.0)] {
            head.set_speed(at(3000), wanted);
            assert_eq!(head.speed(), got, "{wanted}");
        }
    }

    #[test]
    fn seeking_stays_within_the_recording() {
        let mut head = Playhead::new(10_000_000, 1.0);
        head.seek(at(1000), i64::MIN);
        assert_eq!(head.position_us(at(1000)), 0);
        head.seek(at(1000), i64::MAX);
        assert_eq!(head.position_us(at(1000)), 10_000_000);
    }

    proptest! {
        #[test]
        fn prop_a_position_is_reached_when_the_wait_is_over(
            speed in 0.01..100.0f64, target in 0..5_000_000i64, now in 0..10_000u64,
        ) {
            let head = Playhead::new(5_000_000, speed);
            let wait = head.until(at(now), target).unwrap();
            prop_assert!(head.position_us(at(now) + wait) >= target);
            if let Some(early) = wait.checked_sub(at(1)) {
                prop_assert!(head.position_us(at(now) + early) < target);
            }
        }
    }
}
