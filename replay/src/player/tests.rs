use std::sync::LazyLock;

use super::*;
use crate::recording::Finding;
use crate::screen::screen_at;
use crate::size::Size;

/// Nothing was looked for.
static NOTHING: LazyLock<Finder> = LazyLock::new(Finder::default);

fn event(seconds: i64, data: &str) -> Timed {
    Timed { time_us: seconds * 1_000_000, at: None, code: Code::Output, data: data.as_bytes().to_vec() }
}

/// `a` at 1 s, `b` at 2 s, `c` at 100 s, the end at 101 s.
fn recording() -> Recording {
    let events = vec![event(1, "a"), event(2, "b"), event(100, "c")];
    Recording { events, duration_us: 101_000_000, ended: true, ..Recording::from_frames("session-1", []) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn text(player: &mut Player<'_>, now: Duration) -> String {
    while !player.advance(now) {}
    player.screen.lines().swap_remove(0)
}

#[test]
fn events_are_shown_at_their_times() {
    let recording = recording();
    let mut player = Player::new(&recording, &PlayOptions::default(), &NOTHING);
    assert_eq!(text(&mut player, seconds(0)), "");
    assert_eq!(player.wait(seconds(0)), TICK);
    assert_eq!(player.wait(Duration::from_millis(980)), Duration::from_millis(20));
    assert_eq!(text(&mut player, seconds(1)), "a");
    assert_eq!(text(&mut player, seconds(99)), "ab");
    assert_eq!(text(&mut player, seconds(100)), "abc");
    assert!(!player.head.at_end(seconds(100)) && player.head.at_end(seconds(101)));
}

#[test]
fn idle_times_are_shortened_and_the_clock_shows_recorded_time() {
    let recording = recording();
    let options = PlayOptions { idle_limit_us: Some(3_000_000), speed: 2.0, ..PlayOptions::default() };
    let mut player = Player::new(&recording, &options, &NOTHING);
    // Shown: a at 1 s, b at 2 s, c at 5 s, the end at 6 s; twice as fast.
    assert_eq!(text(&mut player, seconds(2)), "ab");
    assert_eq!(player.status(seconds(2))[1], " 00:04 / 01:41  2x  session-1");
    assert_eq!(text(&mut player, Duration::from_millis(2500)), "abc");
    assert_eq!(player.status(seconds(3))[1], " 01:41 / 01:41  2x  END  session-1");
}

#[test]
fn keys_pause_step_and_seek() {
    let recording = recording();
    let mut player = Player::new(&recording, &PlayOptions { paused: true, ..PlayOptions::default() }, &NOTHING);
    let now = seconds(50);
    assert_eq!(text(&mut player, now), "");
    assert!(player.obey(Command::NextEvent, now));
    assert_eq!(text(&mut player, now), "a");
    assert!(player.obey(Command::NextEvent, now));
    assert!(player.obey(Command::NextEvent, now));
    assert_eq!(text(&mut player, now), "abc");
    assert_eq!(player.status(now)[1], " 01:40 / 01:41  1x  PAUSED  session-1");
    for _ in 0..20 {
        assert!(player.obey(Command::Back, now));
    }
    assert_eq!(text(&mut player, now), "");
    assert!(player.obey(Command::Forth, now));
    assert_eq!(text(&mut player, now), "ab");
    assert!(player.obey(Command::Pause, now));
    assert!(player.obey(Command::NextEvent, now), "does nothing while it plays");
    assert_eq!(text(&mut player, now + seconds(1)), "ab");
    assert!(player.obey(Command::Faster, now));
    assert!(player.obey(Command::Faster, now));
    assert!(player.obey(Command::Slower, now));
    assert_eq!(player.head.speed(), 2.0);
    assert!(player.obey(Command::End, now));
    assert_eq!(text(&mut player, now), "abc");
    assert!(player.obey(Command::Tenths(0), now));
    assert_eq!(text(&mut player, now), "");
    assert!(!player.obey(Command::Quit, now));
}

#[test]
fn seeking_to_a_time_shows_what_playing_to_it_shows() {
    let recording = recording();
    let mut player = Player::new(&recording, &PlayOptions::default(), &NOTHING);
    for time_us in [100_000_000, 1_000_000, 99_000_000, 0, 2_000_000, 1_999_999, 101_000_000] {
        player.head.seek(Duration::ZERO, time_us);
        while !player.advance(Duration::ZERO) {}
        assert_eq!(player.screen.lines(), screen_at(&recording, time_us), "{time_us}");
    }
}

#[test]
fn a_flood_of_output_leaves_time_for_the_keyboard() {
    let flood = "x".repeat(100 * 1024);
    let events = (0..10).map(|_| event(0, &flood)).collect();
    let recording = Recording { events, size: Size { cols: 200, rows: 50 }, ..Recording::from_frames("s", []) };
    let mut player = Player::new(&recording, &PlayOptions::default(), &NOTHING);
    assert!(!player.advance(Duration::ZERO));
    assert_eq!(player.ahead.len(), 7);
    while !player.advance(Duration::ZERO) {}
    assert!(player.ahead.is_empty());
}

#[test]
fn the_status_line_tells_of_findings() {
    let mut recording = recording();
    recording.findings = vec![Finding::Restarted { at_us: 5 }, Finding::Gap { at_us: 6, missing_bytes: 7 }];
    recording.duration_us = 3_723_000_000;
    let player = Player::new(&recording, &PlayOptions::default(), &NOTHING);
    assert_eq!(player.status(seconds(61))[1], " 01:01 / 1:02:03  1x  ! 2 findings  session-1");
}

#[test]
fn keys_are_what_the_help_says() {
    let key = |code, modifiers| Command::of(KeyEvent::new(code, modifiers));
    let plain = |code| key(code, KeyModifiers::NONE);
    assert_eq!(plain(KeyCode::Char(' ')), Some(Command::Pause));
    assert_eq!(plain(KeyCode::Char('c')), None);
    assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Command::Quit));
    assert_eq!(key(KeyCode::Char('q'), KeyModifiers::CONTROL), None);
    assert_eq!(key(KeyCode::Char('+'), KeyModifiers::SHIFT), Some(Command::Faster));
    assert_eq!([KeyCode::Esc, KeyCode::Char('q')].map(plain), [Some(Command::Quit); 2]);
    assert_eq!(key(KeyCode::Left, KeyModifiers::SHIFT), Some(Command::Tenth(-1)));
    assert_eq!([KeyCode::Home, KeyCode::Char('0')].map(plain), [Some(Command::Tenths(0)); 2]);
    assert_eq!(plain(KeyCode::Char('7')), Some(Command::Tenths(7)));
    assert_eq!(plain(KeyCode::Char(']')), Some(Command::Next(Place::Marker)));
    assert_eq!(plain(KeyCode::Char('{')), Some(Command::Last(Place::Command)));
    assert_eq!(plain(KeyCode::Char('N')), Some(Command::Last(Place::Match)));
}

fn typed(player: &mut Player<'_>, keys: &str, now: Duration) {
    for character in keys.chars() {
        let code = if character == '\n' { KeyCode::Enter } else { KeyCode::Char(character) };
        assert!(player.key(KeyEvent::new(code, KeyModifiers::NONE), now));
    }
}

/// `one` at 1 s, `two` at 10 s, `one more` at 50 s on a new screen; a marker at 20 s.
fn sayings() -> Recording {
    let marker = Timed { code: Code::Marker, ..event(20, "here") };
    let events = vec![event(1, "one"), event(10, " two"), marker, event(50, "\x1b[2J\x1b[HOne more")];
    Recording { events, duration_us: 100_000_000, ..Recording::from_frames("s", []) }
}

#[test]
fn texts_are_looked_for_and_gone_to() {
    let (recording, finder, options) = (sayings(), Finder::default(), PlayOptions::default());
    finder.look_through(&recording);
    let mut player = Player::new(&recording, &options, &finder);
    let now = Duration::ZERO;
    typed(&mut player, "/onex", now);
    assert_eq!(player.status(now)[1], " /onex_");
    assert!(player.key(KeyEvent::new(KeyCode::Backspace, KeyModifiers::NONE), now));
    typed(&mut player, "\n", now);
    assert_eq!((text(&mut player, now).as_str(), player.head.is_paused()), ("one", true));
    typed(&mut player, "n", now);
    assert_eq!(text(&mut player, now), "one two", "it grew after it had stood there");
    typed(&mut player, "n", now);
    assert_eq!(text(&mut player, now), "One more");
    typed(&mut player, "n", now);
    assert_eq!(player.status(now)[1], " 00:50 / 01:40  PAUSED  no later \"one\"");
    typed(&mut player, "NN", now);
    assert_eq!(text(&mut player, now), "one");
    typed(&mut player, "/One\n", now);
    assert_eq!(text(&mut player, now), "One more", "a capital letter counts");
    typed(&mut player, "[", now);
    assert_eq!(player.status(now)[1], " 00:20 / 01:40  1x  PAUSED  s");
    typed(&mut player, "[", now);
    assert_eq!(player.status(now)[1], " 00:20 / 01:40  PAUSED  no earlier marker");
    typed(&mut player, "5", now);
    assert_eq!(player.recorded_us(now), 50_000_000);
    // While something is typed, keys are letters; Escape gives it up.
    typed(&mut player, "/q", now);
    assert!(player.key(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE), now));
    assert!(!player.key(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE), now));
}

#[test]
fn it_begins_where_it_is_asked_to() {
    let (recording, finder) = (sayings(), Finder::default());
    let options =
        |start| PlayOptions { start, facts: "alice on db: INC-1, by bob".to_owned(), ..PlayOptions::default() };
    let (at, found) = (options(Start::At(10_000_000)), options(Start::Match("more".to_owned())));
    let mut player = Player::new(&recording, &at, &finder);
    assert_eq!(text(&mut player, Duration::ZERO), "one two");
    assert_eq!(player.status(Duration::ZERO)[0], " alice on db: INC-1, by bob");
    assert_eq!((player.lines(24), player.lines(7)), (2, 1));

    let mut player = Player::new(&recording, &found, &finder);
    player.begin(seconds(1));
    assert_eq!(player.status(seconds(1))[1], " 00:00 / 01:40  PAUSED  looking for the text");
    finder.look_through(&recording);
    player.begin(seconds(2));
    assert_eq!(text(&mut player, seconds(3)), "One more");
    assert_eq!(player.status(seconds(3))[1], " 00:50 / 01:40  1x  PAUSED  s");
}

#[test]
fn going_to_a_time_from_a_keyframe_shows_what_playing_to_it_shows() {
    let line = |n: i64| format!("\x1b[{}mline {n} {}\r\n", 31 + n % 6, "x".repeat(n as usize % 90));
    let events: Vec<Timed> = (0..9000).map(|n| event(n, &line(n))).collect();
    let recording = Recording { duration_us: 9_000_000_000, events, ..Recording::from_frames("s", []) };
    let (finder, options) = (Finder::default(), PlayOptions { paused: true, ..PlayOptions::default() });
    finder.look_through(&recording);
    assert!(finder.segment(i64::MAX, 4000).is_some());
    let mut player = Player::new(&recording, &options, &finder);
    for time_us in [8_000_000_000, 3_000_500_000, 8_999_000_000, 1, 4_000_000_000, 4_030_000_000] {
        player.head.seek(Duration::ZERO, time_us);
        while !player.advance(Duration::ZERO) {}
        assert_eq!(player.screen.lines(), screen_at(&recording, time_us), "{time_us}");
    }
}
