use proptest::prelude::*;

use super::*;
use crate::fixtures;
use crate::header::{Header, Version};
use crate::recording::State;
use crate::screen::Screen;
use crate::screen::tests::recordings;
use crate::size::Size;

fn event(time_us: i64, code: Code, data: &[u8]) -> Timed {
    Timed { time_us, at: Some(1_000_000_000 + time_us), code, data: data.to_vec() }
}

fn example() -> Recording {
    Recording {
        size: Size { cols: 20, rows: 3 },
        header: Header { title: Some("t".to_owned()), timestamp: Some(1000), ..Header::default() },
        events: vec![
            event(0, Code::Output, b"\x1b[31mone\r\n"),
            event(1_000_000, Code::Resize, b"2000x2"),
            event(2_000_000, Code::Output, b"two \xe2\x82"),
            event(3_000_000, Code::Output, b"\xac\r\n"),
            event(4_000_000, Code::Marker, b"here"),
            event(5_000_000, Code::Exit, b"0"),
        ],
        findings: vec![
            Finding::HeaderMissing { read_as: Version::V3 },
            Finding::Gap { at_us: 2_000_000, missing_bytes: 7 },
            Finding::Restarted { at_us: 4_000_000 },
        ],
        duplicates: 2,
        ended: true,
        duration_us: 5_000_000,
        started_at: Some(1_000_000_000),
        ..Recording::from_frames("s", [])
    }
}

#[test]
fn a_part_is_a_recording_that_begins_with_the_screen_that_was_there() {
    let example = example();
    let part = example.cut(2_500_000, 4_000_000);
    let init = part.init().unwrap();
    assert_eq!((init.time_us, init.at, init.code), (0, Some(1_002_500_000), Code::Output));
    assert!(init.data.ends_with(b"\xe2\x82"), "the character that is cut is whole again: {init:?}");
    let moved = |event: &Timed| Timed { time_us: event.time_us - 2_500_000, ..event.clone() };
    assert_eq!(part.recorded(), example.events[3..5].iter().map(moved).collect::<Vec<_>>());
    assert_eq!(crate::screen::screen_at(&part, 500_000), ["two €", ""]);

    assert_eq!(part.size, Size { cols: 2000, rows: 2 }, "as it was recorded");
    assert_eq!((part.header.title.as_deref(), part.header.timestamp), (Some("t"), Some(1002)));
    assert_eq!((part.started_at, part.duration_us), (Some(1_002_500_000), 1_500_000));
    let expected = [Finding::HeaderMissing { read_as: Version::V3 }, Finding::Restarted { at_us: 1_500_000 }];
    assert_eq!(part.findings, expected);
    let cut = Cut { from_us: 2_500_000, to_us: 4_000_000, of_us: 5_000_000, findings_left_out: 1 };
    assert_eq!((part.cut, part.ended, part.duplicates), (Some(cut), false, 2));
}

#[test]
fn a_part_is_never_in_a_better_state_than_the_whole() {
    let all = || example().findings;
    let no_end = Recording { ended: false, ..example() };
    // What is wrong with the whole, whether it has ended, the seconds of the part, and its state.
    type Case = (Vec<Finding>, bool, (i64, i64), State);
    let cases: &[Case] = &[
        (vec![], true, (0, 5), State::Complete),
        (vec![], true, (1, 5), State::Complete),
        (vec![], true, (0, 4), State::Unfinished),
        (vec![], true, (4, 9), State::Complete),
        (vec![], false, (0, 5), State::Unfinished),
        (vec![], false, (3, 5), State::Unfinished),
        (all(), true, (3, 5), State::Incomplete),
        (all()[1..2].to_vec(), true, (3, 5), State::Incomplete),
        (all()[2..].to_vec(), true, (0, 1), State::Incomplete),
    ];
    for (findings, ended, (from_s, to_s), state) in cases {
        let whole = Recording { findings: findings.clone(), ended: *ended, ..no_end.clone() };
        let part = whole.cut(from_s * 1_000_000, to_s * 1_000_000);
        assert_eq!(part.state(), *state, "{from_s}..{to_s}, {ended}, {findings:?}");
    }
}

#[test]
fn times_outside_of_a_recording_are_its_start_and_its_end() {
    let example = example();
    assert_eq!(example.cut(i64::MIN, i64::MAX), example);
    assert_eq!(example.cut(-5, 3_000_000), example.cut(0, 3_000_000));
    assert_eq!(example.cut(3_000_000, 9_000_000), example.cut(3_000_000, 5_000_000));
    assert_eq!(example.cut(4_000_000, 1_000_000), example.cut(4_000_000, 4_000_000));
    assert_eq!(example.cut(i64::MAX, i64::MAX).recorded().len(), 1, "what was recorded at the end");
    let empty = Recording::from_frames("s", []);
    assert_eq!(empty.cut(5, 9), empty);
}

#[test]
fn a_part_of_a_real_session_shows_what_it_showed() {
    let Some(folder) = fixtures::folder() else { return };
    let whole = fixtures::recording(&std::fs::read(folder.join("own/derived/session.v2.cast")).unwrap());
    for from_us in (0..whole.duration_us).step_by(7_300_000) {
        let part = whole.cut(from_us, from_us + 9_000_000);
        assert!(part.recorded().len() < whole.events.len());
        for time_us in (0..part.duration_us).step_by(1_700_000) {
            assert_same_screen(&part, time_us, &whole, from_us + time_us);
        }
    }
}

fn screen_of(recording: &Recording, time_us: i64) -> Screen {
    let mut screen = Screen::new(recording.size);
    recording.events.iter().take_while(|event| event.time_us <= time_us).for_each(|event| screen.apply(event));
    screen
}

fn assert_same_screen(part: &Recording, part_us: i64, whole: &Recording, whole_us: i64) {
    let (part, whole) = (screen_of(part, part_us), screen_of(whole, whole_us));
    assert_eq!((part.size(), part.cursor()), (whole.size(), whole.cursor()), "at {whole_us} µs");
    assert_eq!(part.rows().collect::<Vec<_>>(), whole.rows().collect::<Vec<_>>(), "at {whole_us} µs");
}

/// A recording and two times in it, the earlier one first; often those of events.
fn recordings_and_times() -> impl Strategy<Value = (Recording, i64, i64)> {
    recordings().prop_flat_map(|whole| {
        let mut times_us: Vec<i64> = whole.events.iter().map(|event| event.time_us).collect();
        times_us.push(whole.duration_us);
        let time = move || prop_oneof![prop::sample::select(times_us.clone()), 0..=whole.duration_us];
        let (one, other) = (time(), time());
        (Just(whole), one, other).prop_map(|(whole, a, b)| (whole, a.min(b), a.max(b)))
    })
}

proptest! {
    #[test]
    fn prop_a_part_shows_what_the_whole_shows((whole, from_us, to_us) in recordings_and_times()) {
        let part = whole.cut(from_us, to_us);
        prop_assert_eq!(part.duration_us, to_us - from_us);
        let times_us = part.events.iter().map(|event| event.time_us).chain([0, part.duration_us]);
        for time_us in times_us {
            assert_same_screen(&part, time_us, &whole, from_us + time_us);
        }
    }

    #[test]
    fn prop_a_part_has_every_event_of_its_time((whole, from_us, to_us) in recordings_and_times()) {
        let part = whole.cut(from_us, to_us);
        let expected = whole.events.iter().filter(|event| (from_us..=to_us).contains(&event.time_us));
        let expected: Vec<_> = expected.map(|event| (event.time_us - from_us, &event.data)).collect();
        let recorded: Vec<_> = part.recorded().iter().map(|event| (event.time_us, &event.data)).collect();
        prop_assert_eq!(recorded, expected);
    }

    #[test]
    fn prop_a_part_of_a_part_is_a_part_of_the_whole(
        (whole, from_us, to_us) in recordings_and_times(),
        inner in (0..5_000_000i64, 0..5_000_000i64),
    ) {
        let part = whole.cut(from_us, to_us);
        let (inner_from_us, inner_to_us) = (inner.0.min(part.duration_us), inner.1.min(part.duration_us));
        let twice = part.cut(inner_from_us, inner_to_us);
        let once = whole.cut(from_us + inner_from_us, from_us + inner_to_us);
        prop_assert_eq!((twice.cut, twice.size, twice.recorded()), (once.cut, once.size, once.recorded()));
        assert_same_screen(&twice, 0, &once, 0);
        assert_same_screen(&twice, twice.duration_us, &once, once.duration_us);
    }
}

proptest! {
    #[test]
    fn prop_segments_are_the_part_that_they_are_of(
        (recording, ended) in (recordings(), any::<bool>()),
        (from, to) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let recording = Recording { ended, ..recording };
        let mut indexer = crate::index::Indexer::new(recording.size);
        recording.events.iter().for_each(|event| indexer.push(event));
        let segments = indexer.finish().segments;
        let whole = Whole {
            session_id: recording.session_id.clone(),
            size: recording.size,
            duration_us: recording.duration_us,
            started_at: recording.started_at,
            ended: recording.ended,
            findings: recording.findings.len(),
            segments: segments.len(),
        };
        let (from, to) = (from.index(segments.len()), to.index(segments.len()));
        let (mut from, to) = (from.min(to), from.max(to));
        while from > 0 && segments[from - 1].end_us >= segments[from].start_us {
            from -= 1;
        }
        let with_events = |of: &Segment| {
            (of.clone(), recording.events[of.first_event..of.first_event + of.events].to_vec())
        };
        let part = whole.part(from, segments[from..=to].iter().map(with_events).collect()).unwrap();
        prop_assert_eq!(part.state() == State::Complete, recording.state() == State::Complete && to + 1 == segments.len());
        let from_us = part.cut.map_or(0, |cut| cut.from_us);
        prop_assert!(part.events.is_sorted_by_key(|event| event.time_us));
        prop_assert!(part.events.first().is_none_or(|event| event.time_us >= 0));
        let moved: Vec<Timed> = recording.events[segments[from].first_event..segments[to].first_event + segments[to].events]
            .iter().map(|event| Timed { time_us: event.time_us - from_us, ..event.clone() }).collect();
        prop_assert_eq!(part.recorded(), moved);
        // Events at the time of an edge may be in the part or not: of those there the screen is the same.
        let mut shown = Screen::new(part.size);
        part.events.iter().for_each(|event| shown.apply(event));
        let mut expected = Screen::new(recording.size);
        let upto = segments[to].first_event + segments[to].events;
        recording.events[..upto].iter().for_each(|event| expected.apply(event));
        prop_assert_eq!(shown.rows().collect::<Vec<_>>(), expected.rows().collect::<Vec<_>>());
    }
}
