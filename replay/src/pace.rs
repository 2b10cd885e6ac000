//! How fast a recording is shown: pure maps from events to events.
//!
//! The time in a recording is evidence and never changed there; these make the view of it.

use crate::recording::{TIME_US_MAX, Timed};

/// Shortens every time without an event to at most `limit_us` microseconds (0 or more).
pub fn idle_limited(events: impl IntoIterator<Item = Timed>, limit_us: i64) -> impl Iterator<Item = Timed> {
    let mut clock = IdleClock::new(limit_us);
    events.into_iter().map(move |event| Timed { time_us: clock.shown_us(event.time_us), ..event })
}

/// Makes time pass `speed` times as fast. A speed that is not a number above 0 counts as 1.
pub fn at_speed(events: impl IntoIterator<Item = Timed>, speed: f64) -> impl Iterator<Item = Timed> {
    let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
    events.into_iter().map(move |event| {
        let time_us = (event.time_us as f64 / speed).round().min(TIME_US_MAX as f64);
        Timed { time_us: time_us as i64, ..event }
    })
}

/// The clock of a view with shortened idle times.
struct IdleClock {
    limit_us: i64,
    recorded_us: i64,
    shown_us: i64,
}

impl IdleClock {
    fn new(limit_us: i64) -> Self {
        Self { limit_us: limit_us.max(0), recorded_us: 0, shown_us: 0 }
    }

    /// The time in the view of the next event, whose recorded time this is.
    fn shown_us(&mut self, recorded_us: i64) -> i64 {
        self.shown_us += recorded_us.saturating_sub(self.recorded_us).clamp(0, self.limit_us);
        self.recorded_us = recorded_us;
        self.shown_us
    }
}

/// Converts between the time of a recording and that of its view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timescale {
    /// Recorded and shown time of each event, and of the end.
    points: Vec<(i64, i64)>,
}

impl Timescale {
    /// For events at these recorded times (microseconds, never decreasing) and an end; no limit leaves time as it is.
    pub fn new(recorded_us: impl IntoIterator<Item = i64>, duration_us: i64, idle_limit_us: Option<i64>) -> Self {
        let mut clock = IdleClock::new(idle_limit_us.unwrap_or(i64::MAX));
        let times = recorded_us.into_iter().chain([duration_us]);
        Self { points: times.map(|time_us| (time_us, clock.shown_us(time_us))).collect() }
    }

    /// Length of the view in microseconds.
    pub fn duration_us(&self) -> i64 {
        self.points.last().map_or(0, |(_, shown_us)| *shown_us)
    }

    /// The recorded time at a time of the view. Time that was cut out lies just before the event after it.
    pub fn recorded_us(&self, shown_us: i64) -> i64 {
        let after = self.points.partition_point(|(_, shown)| *shown <= shown_us);
        let (recorded, shown) = after.checked_sub(1).and_then(|n| self.points.get(n)).copied().unwrap_or_default();
        let time_us = recorded.saturating_add(shown_us.saturating_sub(shown).max(0));
        self.points.get(after).map_or(recorded, |(next, _)| time_us.min(*next))
    }

    /// The time of the view at a recorded time.
    pub fn shown_us(&self, recorded_us: i64) -> i64 {
        let after = self.points.partition_point(|(recorded, _)| *recorded <= recorded_us);
        let (recorded, shown) = after.checked_sub(1).and_then(|n| self.points.get(n)).copied().unwrap_or_default();
        let time_us = shown.saturating_add(recorded_us.saturating_sub(recorded).max(0));
        self.points.get(after).map_or(shown, |(_, next)| time_us.min(*next))
    }

    /// The shown time of the first event that is later than this shown time.
    pub fn next_us(&self, shown_us: i64) -> Option<i64> {
        let after = self.points.partition_point(|(_, shown)| *shown <= shown_us);
        self.points.get(after).map(|(_, shown)| *shown)
    }
}

#[cfg(test)]
mod tests {
    use custody_schemas::frame::Code;
    use proptest::prelude::*;

    use super::*;

    fn events(times_us: &[i64]) -> Vec<Timed> {
        times_us.iter().map(|&time_us| Timed { time_us, at: None, code: Code::Output, data: vec![] }).collect()
    }

    fn times(events: impl Iterator<Item = Timed>) -> Vec<i64> {
        events.map(|event| event.time_us).collect()
    }

    #[test]
    fn idle_times_are_shortened_and_others_kept() {
        assert_eq!(times(idle_limited(events(&[5, 8, 108, 108, 111]), 10)), [5, 8, 18, 18, 21]);
        assert_eq!(times(idle_limited(events(&[50, 51]), -1)), [0, 0]);
    }

    #[test]
    fn speed_divides_time() {
        assert_eq!(times(at_speed(events(&[0, 10, 25]), 2.0)), [0, 5, 13]);
        assert_eq!(times(at_speed(events(&[0, 10]), f64::NAN)), [0, 10]);
        assert_eq!(times(at_speed(events(&[0, TIME_US_MAX]), 1e-300)), [0, TIME_US_MAX]);
    }

    #[test]
    fn a_cut_gap_runs_at_its_own_pace_and_then_jumps() {
        let scale = Timescale::new([0, 100], 103, Some(10));
        assert_eq!(scale.duration_us(), 13);
        assert_eq!([9, 10, 12, 13, 99].map(|shown| scale.recorded_us(shown)), [9, 100, 102, 103, 103]);
        assert_eq!([9, 50, 100, 103, 999].map(|recorded| scale.shown_us(recorded)), [9, 10, 10, 13, 13]);
        assert_eq!([0, 9, 10, 13].map(|shown| scale.next_us(shown)), [Some(10), Some(10), Some(13), None]);
    }

    proptest! {
        #[test]
        fn prop_events_are_where_the_scale_says(
            mut times_us in prop::collection::vec(0..1000i64, 0..20),
            limit in prop::option::of(0..50i64),
            shown in 0..1000i64,
        ) {
            times_us.sort_unstable();
            let end = times_us.last().copied().unwrap_or(0);
            let scale = Timescale::new(times_us.clone(), end, limit);
            for time_us in times_us {
                // Events at one shown time are shown together, so the last of them is what the time stands for.
                prop_assert!(scale.recorded_us(scale.shown_us(time_us)) >= time_us);
            }
            prop_assert!(scale.recorded_us(shown) <= scale.recorded_us(shown + 1));
        }
    }
}
