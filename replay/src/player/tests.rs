use super::*;
use crate::recording::Finding;
use crate::screen::screen_at;
use crate::size::Size;

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
    let mut player = Player::new(&recording, &PlayOptions::default());
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
    let mut player = Player::new(&recording, &options);
    // Shown: a at 1 s, b at 2 s, c at 5 s, the end at 6 s; twice as fast.
    assert_eq!(text(&mut player, seconds(2)), "ab");
    assert_eq!(player.status(seconds(2)), " 00:04 / 01:41  2x  session-1");
    assert_eq!(text(&mut player, Duration::from_millis(2500)), "abc");
    assert_eq!(player.status(seconds(3)), " 01:41 / 01:41  2x  END  session-1");
}

#[test]
fn keys_pause_step_and_seek() {
    let recording = recording();
    let mut player = Player::new(&recording, &PlayOptions { paused: true, ..PlayOptions::default() });
    let now = seconds(50);
    assert_eq!(text(&mut player, now), "");
    assert!(player.obey(Command::NextEvent, now));
    assert_eq!(text(&mut player, now), "a");
    assert!(player.obey(Command::NextEvent, now));
    assert!(player.obey(Command::NextEvent, now));
    assert_eq!(text(&mut player, now), "abc");
    assert_eq!(player.status(now), " 01:40 / 01:41  1x  PAUSED  session-1");
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
    assert!(player.obey(Command::Start, now));
    assert_eq!(text(&mut player, now), "");
    assert!(!player.obey(Command::Quit, now));
}

#[test]
fn seeking_to_a_time_shows_what_playing_to_it_shows() {
    let recording = recording();
    let mut player = Player::new(&recording, &PlayOptions::default());
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
    let mut player = Player::new(&recording, &PlayOptions::default());
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
    let player = Player::new(&recording, &PlayOptions::default());
    assert_eq!(player.status(seconds(61)), " 01:01 / 1:02:03  1x  ! 2 findings  session-1");
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
}
