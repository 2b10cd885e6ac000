use custody_schemas::frame::Code;
use proptest::prelude::*;

use super::*;
use crate::fixtures;

fn event(code: Code, data: &[u8]) -> Timed {
    Timed { time_us: 0, at: None, code, data: data.to_vec() }
}

fn shown(size: Size, output: &[u8]) -> Screen {
    let mut screen = Screen::new(size);
    screen.apply(&event(Code::Output, output));
    screen
}

#[test]
fn cells_have_a_character_a_width_and_a_pen() {
    let screen = shown(Size { cols: 6, rows: 2 }, "\x1b[1;31ma\x1b[0m界b".as_bytes());
    let row = screen.rows().next().unwrap();
    let cells: Vec<_> = row.iter().map(|cell| (cell.character, cell.width)).collect();
    assert_eq!(cells, [('a', 1), ('界', 2), ('b', 1), (' ', 1), (' ', 1)]);
    assert!(row[0].pen.is_bold() && row[0].pen.foreground() == Some(avt::Color::Indexed(1)));
    assert_eq!(screen.lines(), ["a界b", ""]);
    assert_eq!(screen.cursor(), Some((4, 0)));
}

#[test]
fn sizes_are_bounded_and_unreadable_ones_ignored() {
    let mut screen = Screen::new(Size { cols: 65535, rows: 0 });
    assert_eq!(screen.size(), Size { cols: 1000, rows: 1 });
    screen.apply(&event(Code::Resize, b"65535x65535"));
    assert_eq!(screen.size(), Size::EMULATED_MAX);
    screen.apply(&event(Code::Resize, b"90x20"));
    screen.apply(&event(Code::Resize, b"0x0"));
    screen.apply(&event(Code::Resize, b"\xff"));
    assert_eq!(screen.size(), Size { cols: 90, rows: 20 });
}

#[test]
fn repeating_a_character_is_bounded_by_the_screen() {
    let start = std::time::Instant::now();
    let bomb = b"x\x1b[65535b".repeat(20_000);
    assert_eq!(shown(Size { cols: 8, rows: 4 }, &bomb).lines()[0], "xxxxxxxx");
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn seeking_shows_what_playing_shows() {
    let Some(folder) = fixtures::folder() else { return };
    let text = std::fs::read(folder.join("own/derived/session.v2.cast")).unwrap();
    let recording = fixtures::recording(&text);
    let mut screen = Screen::new(recording.size);
    for (n, event) in recording.events.iter().enumerate() {
        screen.apply(event);
        let last_at_its_time = recording.events.get(n + 1).is_none_or(|next| next.time_us > event.time_us);
        if n % 97 == 0 && last_at_its_time {
            assert_eq!(screen.lines(), screen_at(&recording, event.time_us), "at {}", event.time_us);
        }
    }
    assert_eq!(screen_at(&recording, -1), vec![""; 30]);
    assert_eq!(screen.lines(), screen_at(&recording, i64::MAX));
}

#[test]
fn four_recorders_saw_the_same_screen_at_the_same_times() {
    let Some(recorders) = fixtures::four_recorders() else { return };
    // Between outputs, where a recorder that is a little behind has caught up.
    let times_us = recorders[0].1.events.iter().map(|event| event.time_us).collect::<Vec<_>>();
    let quiet = times_us.windows(2).filter(|pair| pair[1] - pair[0] > 100_000).map(|pair| pair[0].midpoint(pair[1]));
    let quiet: Vec<i64> = quiet.collect();
    assert!(quiet.len() > 50, "{quiet:?}");
    for time_us in quiet {
        let expected = screen_at(&recorders[0].1, time_us);
        for (name, recording) in &recorders {
            assert_eq!(screen_at(recording, time_us), expected, "{name} at {time_us} µs");
        }
    }
}

/// Streams of another emulator's tests, with the screens that it shows at their ends.
#[test]
fn hostile_streams_of_other_terminals_do_no_harm() {
    let Some(folder) = fixtures::folder() else { return };
    for entry in std::fs::read_dir(folder.join("vt-streams/alacritty-ref")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(output) = std::fs::read(path.join("alacritty.recording")) else { continue };
        let screen = shown(Size { cols: 80, rows: 24 }, &output);
        assert!(screen.lines().iter().all(|line| !line.chars().any(char::is_control)), "{}", path.display());
    }
}

/// Mostly escape sequences, with odd parameters.
pub(crate) fn soup() -> impl Strategy<Value = Vec<Timed>> {
    let sequence = (
        prop::sample::select(vec!["\x1b[", "\x1b[?", "\x1b[>", "\x1b]", "\x1bP", "\x1b", "\x1b(", "\x1b#", "\u{9b}"]),
        prop::sample::select(vec![
            "",
            "0",
            "1",
            "2;3",
            "3;1",
            "5;20",
            "38;5;1",
            "38;2;1;2;300",
            "65535",
            "99999999999",
            "1049",
            "6",
            "7",
            "69",
            "47",
        ]),
        r#"[@-~]|8"#,
    );
    let controls = Just("\r\n\n\t\x08\x0e\x0f".to_owned());
    let marks = prop::sample::select(vec!["\x1b]133;A\x07$ \x1b]133;B\x07", "\r\n\x1b]133;C\x07", "\x1b]133;D;1\x07"]);
    let text = prop_oneof![
        4 => "[a-z]{1,20}",
        4 => "[界é\u{301}\u{200d}🏳️]{1,5}",
        4 => controls,
        1 => marks.prop_map(str::to_owned),
    ];
    let output = prop_oneof![
        3 => sequence.prop_map(|(start, numbers, end)| format!("{start}{numbers}{end}").into_bytes()),
        2 => text.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    let event = prop_oneof![
        12 => output.prop_map(|data| event(Code::Output, &data)),
        1 => (0..30u16, 0..12u16).prop_map(|(cols, rows)| event(Code::Resize, format!("{cols}x{rows}").as_bytes())),
    ];
    prop::collection::vec(event, 0..60)
}

/// [`soup`] at any times.
pub(crate) fn recordings() -> impl Strategy<Value = Recording> {
    let gaps = prop::collection::vec(prop_oneof![2 => Just(0), 3 => 1..40_000i64, 1 => 0..4_000_000i64], 60);
    (soup(), gaps, 1..30u16, 1..12u16, 0..100_000i64).prop_map(|(mut events, gaps, cols, rows, rest_us)| {
        let mut time_us = 0;
        for (event, gap_us) in events.iter_mut().zip(gaps) {
            time_us += gap_us;
            event.time_us = time_us;
        }
        let size = Size { cols, rows };
        Recording { size, events, duration_us: time_us + rest_us, ..Recording::from_frames("s", []) }
    })
}

proptest! {
    #[test]
    fn prop_any_output_is_shown_without_control_characters(events in soup(), cols in 1..30u16, rows in 1..12u16) {
        let mut screen = Screen::new(Size { cols, rows });
        for event in &events {
            screen.apply(event);
            let Size { cols, rows } = screen.size();
            let lines: Vec<Vec<Cell>> = screen.rows().collect();
            prop_assert_eq!(lines.len(), usize::from(rows));
            for line in lines {
                prop_assert_eq!(line.iter().map(|cell| u16::from(cell.width)).sum::<u16>(), cols);
                prop_assert!(!line.iter().any(|cell| cell.character.is_control()));
            }
        }
    }

    #[test]
    fn prop_cuts_in_the_output_do_not_matter(events in soup()) {
        let (mut whole, mut cut) = (Screen::new(Size::DEFAULT), Screen::new(Size::DEFAULT));
        for one in &events {
            whole.apply(one);
            if one.code == Code::Output {
                one.data.iter().for_each(|byte| cut.apply(&event(Code::Output, &[*byte])));
            } else {
                cut.apply(one);
            }
        }
        prop_assert!(whole.rows().eq(cut.rows()));
        prop_assert_eq!(whole.cursor(), cut.cursor());
    }
}
