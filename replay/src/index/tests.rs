use std::collections::HashSet;

use avt::Terminal;
use proptest::prelude::*;

use super::*;
use crate::fixtures;
use crate::screen::tests::soup;

fn output(time_ms: i64, data: &str) -> Timed {
    Timed { time_us: time_ms * 1000, at: None, code: Code::Output, data: data.as_bytes().to_vec() }
}

fn found(size: Size, events: &[Timed]) -> Found {
    let mut indexer = Indexer::new(size);
    events.iter().for_each(|event| indexer.push(event));
    indexer.finish()
}

const SMALL: Size = Size { cols: 20, rows: 4 };

/// The texts with the milliseconds from and till which they were there.
fn texts(found: &Found) -> Vec<(&str, i64, i64)> {
    let mut texts: Vec<_> =
        found.texts.iter().map(|text| (text.text.as_str(), text.from_us / 1000, text.till_us / 1000)).collect();
    texts.sort_by_key(|(text, from, _)| (*from, *text));
    texts
}

#[test]
fn texts_are_found_however_they_came_onto_the_screen() {
    // What it is about, what comes, and the texts with their times.
    type Case<'a> = (&'a str, &'a [Timed], &'a [(&'a str, i64, i64)]);
    let cases: &[Case<'_>] = &[
        ("nothing", &[], &[]),
        ("a line that stays", &[output(10, "hello"), output(5000, "")], &[("hello", 10, 5000)]),
        (
            "typed letter by letter: once, from its beginning",
            &[output(0, "$ "), output(100, "l"), output(300, "s"), output(900, "\r\nfile\r\n")],
            &[("$ ls", 0, 900), ("file", 900, 900)],
        ),
        (
            "what was typed and taken back is found, what is left of it is not",
            &[
                output(0, "$ secret"),
                output(200, "\x08\x1b[K"),
                output(300, "\x08\x1b[K"),
                output(400, "\x08\x08\x08\x08\x1b[Kls"),
                output(3000, ""),
            ],
            &[("$ secret", 0, 200), ("$ ls", 400, 3000)],
        ),
        (
            "a prefix that stood long is found where it stood",
            &[output(0, "password:"), output(9000, " x"), output(9500, "")],
            &[("password:", 0, 9000), ("password: x", 9000, 9500)],
        ),
        (
            "split by escape sequences and cursor movements",
            &[output(0, "hello\x1b[9Gxy\x1b[2Ge\x1b[31mll\x1b[0mo\x1b[7Gworld"), output(100, "")],
            &[("hello world", 0, 100)],
        ),
        (
            "scrolled through in one piece",
            &[output(7, "1\r\n2\r\n3\r\n4\r\n5\r\n6")],
            &[("1", 7, 7), ("2", 7, 7), ("3", 7, 7), ("4", 7, 7), ("5", 7, 7), ("6", 7, 7)],
        ),
        (
            "scrolled away later",
            &[output(0, "a\r\nb\r\nc\r\nd"), output(1000, "\r\ne"), output(2000, "\r\nf")],
            &[("a", 0, 1000), ("b", 0, 2000), ("c", 0, 2000), ("d", 0, 2000), ("e", 1000, 2000), ("f", 2000, 2000)],
        ),
        (
            "shown and cleared in one piece",
            &[output(3, "top secret\x1b[2J\x1b[Hdone")],
            &[("done", 3, 3), ("top secret", 3, 3)],
        ),
        (
            "on the alternate screen, and what comes back behind it",
            &[output(0, "shell"), output(1000, "\x1b[?1049h\x1b[Hvim"), output(2000, "\x1b[?1049l"), output(3000, "")],
            &[("shell", 0, 1000), ("vim", 1000, 2000), ("shell", 2000, 3000)],
        ),
        (
            "wrapped by the terminal",
            &[output(0, "0123456789012345678901234567890"), output(100, "")],
            &[("0123456789012345678901234567890", 0, 100)],
        ),
        (
            "moved to another row",
            &[output(0, "a\r\nb"), output(1000, "\x1b[H\x1b[L"), output(2000, "")],
            &[("a", 0, 2000), ("b", 0, 2000)],
        ),
    ];
    for (name, events, expected) in cases {
        assert_eq!(texts(&found(SMALL, events)), *expected, "{name}");
    }
    let quick: &[(&str, &str, &[&str])] = &[
        ("scrolled on the alternate screen", "\x1b[?1049h1\r\n2\r\n3\r\n4\r\n5\r\n6", &["1", "2", "3", "4", "5", "6"]),
        ("scrolled between margins", "\x1b[2;3r\x1b[2Ha\r\nb\r\nc\r\nd", &["a", "b", "c", "d"]),
        ("scrolled above a last row that stays", "\x1b[1;3r1\r\n2\r\n3\r\n4\r\n5", &["1", "2", "3", "4", "5"]),
        ("scrolled down", "a\x1b[H\x1bMb\x1b[H\x1bMc\x1b[H\x1bMd\x1b[H\x1bMe", &["a", "b", "c", "d", "e"]),
        (
            "rows taken out and put in",
            "a\r\nb\r\nc\r\nd\x1b[2H\x1b[M\x1b[Le\x1b[1H\x1b[3M\x1b[2Sf",
            &["a", "b", "c", "d", "e", "f"],
        ),
        ("written over from the beginning", "10 %\r20 %\r\x1b[32m30 %\r\n", &["10 %", "20 %", "30 %"]),
        ("only returned to", "abc\r\ndef\r\n", &["abc", "def"]),
        ("erased as a line", "abc\x1b[2K\rdef\r\x1b[Kghi", &["abc", "def", "ghi"]),
        ("redrawn from anywhere else", "abcdef\x1b[1;4Hxyz\x1b[1;3HK", &["abKxyz"]),
        (
            "filled with a test pattern",
            "abc\x1b#8\x1b[2J\x1b[H",
            &["EEEEEEEEEEEEEEEEEEEE", "EEEEEEEEEEEEEEEEEEEE", "EEEEEEEEEEEEEEEEEEEE", "EEEEEEEEEEEEEEEEEEEE", "abc"],
        ),
        ("repeated beyond the screen, as far as it is there", "abc\r\nx\x1b[90b", &["abc", "x", &"x".repeat(61)]),
        (
            "wrapped and scrolled away",
            "0123456789012345678901234\r\na\r\nb\r\nc\r\nd",
            &["0123456789012345678901234", "a", "b", "c", "d"],
        ),
        (
            "cleared below and above",
            "a\r\nb\r\nc\x1b[2;2H\x1b[J\x1b[3;1Hd\x1b[2;1H\x1b[1Je",
            &["a", "b", "c", "d", "e"],
        ),
        (
            "half of a wrapped line scrolled away, the rest cleared",
            "0123456789012345678901234\r\na\r\nb\r\n\x1b[H\x1b[2Knew",
            &["0123456789012345678901234", "a", "b", "new"],
        ),
        ("reset", "abc\x1bcdef", &["abc", "def"]),
        ("erased up to the cursor", "secret\x1b[1K\rnew", &["new", "secret"]),
        ("rubbed out from the beginning", "secret\x1b[G\x1b[6Xnew\x1b[G\x1b[6Pold", &["new", "old", "secret"]),
        ("written over from column 1", "secret\x1b[Gother!", &["other!", "secret"]),
        ("returned to, something else between", "secret\r\x1b[?25lother!", &["other!", "secret"]),
        (
            "rows taken out above of a line that goes on",
            "0\r\n0123456789012345678901234\x1b[2H\x1b[M",
            &["0", "0123456789012345678901234"],
        ),
    ];
    for (name, text, expected) in quick {
        let mut texts: Vec<_> = found(SMALL, &[output(5, text)]).texts.into_iter().map(|text| text.text).collect();
        texts.sort();
        assert_eq!(texts, *expected, "{name}");
    }
    let alternate = found(SMALL, cases[9].1);
    let on_it: Vec<_> = alternate.texts.iter().filter(|text| text.is_alternate).map(|text| &text.text).collect();
    assert_eq!(on_it, ["vim"]);
}

#[test]
fn a_line_that_grows_slowly_is_found_where_it_is_long() {
    let dots = (0..60).map(|n| output(n * 1000, "."));
    let events: Vec<Timed> = dots.chain([output(60_000, "FAILED"), output(61_000, "")]).collect();
    let found = found(Size { cols: 120, rows: 4 }, &events);
    let failed = found.texts.iter().find(|text| text.text.ends_with("FAILED")).unwrap();
    assert!(failed.from_us >= 50_000_000, "{failed:?}");
}

#[test]
fn what_was_too_much_to_read_is_counted() {
    let flood = "x".repeat(1919) + &"\rx".repeat(400_000) + "\x1b[2J\x1b[Hsecret\x1b[2J";
    let flooded = found(Size::DEFAULT, &[output(0, &flood)]);
    assert!(flooded.missed > 0 || flooded.texts.iter().any(|text| text.text == "secret"));
    // Were all that went before copied for each row that goes, this would take hours.
    let long = "x".repeat(999) + &"\rx".repeat(17_000) + &"x".repeat(300_000);
    let found = found(Size { cols: 2, rows: 500 }, &[output(0, &long)]);
    assert!(found.texts.iter().map(|text| text.text.len()).sum::<usize>() < 64 << 20);
}

#[test]
fn a_line_without_an_end_is_found_in_pieces_that_overlap() {
    let long: String = (0..20_000).map(|n| format!("{n:05} ")).collect();
    for events in [
        vec![output(0, &long)],
        long.as_bytes()
            .chunks(999)
            .zip(0..)
            .map(|(part, n)| output(n * 100, std::str::from_utf8(part).unwrap()))
            .collect(),
    ] {
        let found = found(Size::DEFAULT, &events);
        let bytes: usize = found.texts.iter().map(|text| text.text.len()).sum();
        assert!(bytes < long.len() * 5 / 4, "{bytes}");
        for wanted in long.as_bytes().windows(500).step_by(97) {
            let wanted = std::str::from_utf8(wanted).unwrap().trim();
            assert!(found.texts.iter().any(|text| text.text.contains(wanted)), "{wanted}");
        }
    }
}

#[test]
fn commands_are_told_by_the_shell_or_guessed_behind_a_prompt() {
    let size = Size { cols: 40, rows: 6 };
    let told = [
        output(0, "\x1b]133;A\x07me@host:~$ \x1b]133;B\x07"),
        output(500, "make"),
        output(900, " all"),
        output(1000, "\r\n\x1b]133;C\x1b\\"),
        output(1500, "built\r\n"),
        output(2000, "\x1b]133;D;2\x07\x1b]133;A\x07me@host:~$ \x1b]133;B\x07"),
        output(3000, "sleep 9\r\n\x1b]133;C\x07"),
    ];
    let one = |at_us, until_us, text: &str, exit_status, source| Command {
        at_us,
        until_us,
        text: text.to_owned(),
        exit_status,
        source,
    };
    let shell = CommandSource::Shell;
    let expected =
        [one(1_000_000, Some(2_000_000), "make all", Some(2), shell), one(3_000_000, None, "sleep 9", None, shell)];
    assert_eq!(found(size, &told).commands, expected);

    let guessed = [
        output(0, "me@host:~$ "),
        output(500, "make"),
        output(900, " all"),
        output(1000, "\r\n"),
        output(1010, "built\r\n1\r\n2\r\n3\r\n4\r\n5\r\nme@host:~$ "),
        output(2000, "\r\n"),
        output(2010, "me@host:~$ "),
        output(3000, "ls\r\nfile > \r\nme@host:~$ "),
        output(4000, ""),
    ];
    let found = found(size, &guessed).commands;
    let found: Vec<_> = found.iter().map(|command| (command.text.as_str(), command.source)).collect();
    assert_eq!(found, [("make all", CommandSource::Prompt), ("ls", CommandSource::Prompt)]);
}

#[test]
fn commands_are_those_that_were_typed_at_the_prompt() {
    let size = Size { cols: 40, rows: 4 };
    let guesses: &[(&str, &[Timed], &[&str])] = &[
        (
            "the screen is cleared at the prompt",
            &[
                output(0, "me@h:~$ "),
                output(500, "\x1b[H\x1b[2Jme@h:~$ "),
                output(900, "ls"),
                output(1500, "\r\n"),
                output(2000, ""),
            ],
            &["ls"],
        ),
        (
            "the other screen is not at the prompt",
            &[output(0, "$ "), output(100, "\x1b[?1047h\x1b[H$ rm -rf /\r\n"), output(2000, "")],
            &[],
        ),
        (
            "other lines go by",
            &[output(0, "$ "), output(100, "\x1b[4Ha\r\nb\r\nc\r\nd\r\n\x1b[H"), output(500, "\n"), output(2000, "")],
            &[],
        ),
    ];
    for (name, events, expected) in guesses {
        let found: Vec<String> = found(size, events).commands.into_iter().map(|command| command.text).collect();
        assert_eq!(found, *expected, "{name}");
    }
    // A flood of marks takes neither the memory nor the time of a screen each.
    let fill = "x".repeat(1000 * 499);
    let flood = "\x1b[H\x1b]133;B\x07\x1b]133;C\x07".repeat(20_000);
    let found = found(Size { cols: 1000, rows: 500 }, &[output(0, &fill), output(10, &flood)]);
    assert!(found.commands.iter().map(|command| command.text.len()).sum::<usize>() < 64 << 20);
}

#[test]
fn segments_are_cut_by_size_by_time_and_after_a_resize() {
    let line = "x".repeat(998) + "\r\n";
    let by_size: Vec<Timed> = (0..1000).map(|n| output(n, &line)).collect();
    let segments = found(Size::DEFAULT, &by_size).segments;
    let sizes: Vec<_> = segments.iter().map(|segment| segment.output_bytes).collect();
    assert_eq!(sizes, [259_000, 259_000, 259_000, 223_000]);
    assert_eq!(segments.iter().map(|segment| segment.first_event).collect::<Vec<_>>(), [0, 259, 518, 777]);
    assert_eq!(segments.iter().map(|segment| segment.start_us).collect::<Vec<_>>(), [0, 259_000, 518_000, 777_000]);

    let slow: Vec<Timed> = (0..100).map(|n| output(n * 900, &line)).collect();
    assert_eq!(found(Size::DEFAULT, &slow).segments.len(), 3);
    let idle: Vec<Timed> = (0..100).map(|n| output(n * 3_600_000, "x")).collect();
    assert_eq!(found(Size::DEFAULT, &idle).segments.len(), 1);

    let resize = |time_us| Timed { time_us, at: None, code: Code::Resize, data: b"90x30".to_vec() };
    let resized = found(Size::DEFAULT, &[output(0, "a"), resize(5), resize(5), output(1, "b")]).segments;
    assert_eq!(resized.iter().map(|segment| segment.events).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(resized[1].size, Size { cols: 90, rows: 30 });
}

#[test]
fn keyframes_take_a_bounded_share() {
    let resize =
        |n: i64| Timed { time_us: n, at: None, code: Code::Resize, data: format!("{}x200", 500 + n % 2).into_bytes() };
    let full = output(0, &"\x1b[31mx\x1b[32my".repeat(50_000));
    let storm: Vec<Timed> = std::iter::once(full).chain((0..2000).map(resize)).collect();
    let segments = found(Size { cols: 500, rows: 200 }, &storm).segments;
    let keyframes: usize = segments.iter().map(|segment| segment.init.len()).sum();
    assert!(keyframes < 4_000_000, "{keyframes} bytes in {} segments", segments.len());
}

/// The screen that is shown when somebody goes to a time.
fn seek(recording: &Recording, segments: &[Segment], time_us: i64) -> Emulator {
    let at = segments.partition_point(|segment| segment.start_us <= time_us).saturating_sub(1);
    let segment = &segments[at];
    let mut emulator = Emulator::restored(segment.size, &segment.init, &segment.tail);
    let events = &recording.events[segment.first_event..][..segment.events];
    for event in events.iter().take_while(|event| event.time_us <= time_us) {
        emulator.apply(event, ());
    }
    emulator
}

/// All texts that were on the screen, if only between two characters.
#[derive(Default)]
struct Seen(HashSet<String>);

impl Observer for Seen {
    type Output = ();

    fn after(&mut self, context: &mut Observation<'_>, _: &Operation) {
        self.0.extend(lines(context.terminal()));
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

/// The texts on the screen, wrapped rows joined.
fn lines(terminal: &Terminal) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for row in terminal.screen().visible_lines() {
        line.extend(row.chars().map(crate::screen::printable));
        if !row.is_wrapped() {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

fn cells(terminal: &Terminal) -> (Vec<Vec<avt::Cell>>, Option<(usize, usize)>) {
    (terminal.screen().visible_lines().map(|line| line.cells().to_vec()).collect(), terminal.cursor().position())
}

/// As [`index`] finds them, with a cut wherever there can be one.
fn cut_everywhere(recording: &Recording) -> Vec<Segment> {
    let mut indexer = Indexer::new(recording.size);
    for event in &recording.events {
        indexer.push(event);
        indexer.is_resized = true;
    }
    indexer.finish().segments
}

#[test]
fn seeking_in_real_recordings_shows_what_playing_shows() {
    let Some(folder) = fixtures::folder() else { return };
    let text = std::fs::read(folder.join("own/derived/session.v2.cast")).unwrap();
    let recording = fixtures::recording(&text);
    for segments in [index(&recording).segments, cut_everywhere(&recording)] {
        let mut played = Emulator::new(recording.size);
        for (n, event) in recording.events.iter().enumerate() {
            played.apply(event, ());
            let last_at_its_time = recording.events.get(n + 1).is_none_or(|next| next.time_us > event.time_us);
            if n % 7 == 0 && last_at_its_time {
                let sought = seek(&recording, &segments, event.time_us);
                assert_eq!(cells(sought.terminal()), cells(played.terminal()), "at {}", event.time_us);
            }
        }
    }
}

fn recording_of(size: Size, events: Vec<Timed>) -> Recording {
    let mut recording = fixtures::recording(b"");
    recording.size = size;
    recording.duration_us = events.last().map_or(0, |event| event.time_us);
    recording.events = events;
    recording
}

proptest! {
    #[test]
    fn prop_what_is_found_does_not_depend_on_when_it_is_taken(events in soup(), cols in 2..30u16, rows in 1..12u16) {
        let whole = found(Size { cols, rows }, &events);
        let mut indexer = Indexer::new(Size { cols, rows });
        let mut parts = Found::default();
        let mut add = |found: Found| {
            parts.segments.extend(found.segments);
            parts.texts.extend(found.texts);
            parts.commands.extend(found.commands);
            (parts.missed, parts.replaced_bytes) = (found.missed, found.replaced_bytes);
        };
        for event in &events {
            indexer.push(event);
            add(indexer.take());
        }
        add(indexer.finish());
        prop_assert_eq!(parts, whole);
    }

    #[test]
    fn prop_every_text_was_there_and_all_that_stood_is_found(
        events in soup(), gap_ms in 0..200i64, cols in 8..30u16, rows in 1..9u16,
    ) {
        let size = Size { cols, rows };
        let events: Vec<Timed> = (0..).zip(events).map(|(n, event): (i64, _)| Timed { time_us: n * gap_ms * 1000, ..event }).collect();
        let found = found(size, &events);
        let mut seen = Seen::default();
        let mut emulator = Emulator::new(size);
        for event in &events {
            emulator.apply(event, &mut seen);
            for line in lines(emulator.terminal()).into_iter().filter(|line| gap_ms > 60 && !line.is_empty()) {
                let is_it = |text: &ScreenText| text.from_us <= event.time_us && text.text.contains(&line);
                prop_assert!(found.texts.iter().any(is_it), "{:?} at {}: {:?}", line, event.time_us, found.texts);
            }
        }
        emulator.end(&mut seen);
        let widths = events.iter().filter_map(|event| crate::recording::resize(&event.data)).map(|size| size.cols);
        let narrowest = usize::from(widths.chain([cols]).min().unwrap_or(cols));
        // A wrapped line may have left in parts.
        let width = |text: &str| text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>();
        for text in found.texts.iter().filter(|text| width(&text.text) < narrowest) {
            prop_assert!(seen.0.contains(&text.text), "{:?}", text);
        }
    }

    #[test]
    fn prop_texts_hold_nothing_that_acts_on_a_terminal(events in soup(), cols in 2..30u16, rows in 1..12u16) {
        for text in found(Size { cols, rows }, &events).texts {
            prop_assert!(!text.text.is_empty() && !text.text.chars().any(char::is_control));
            prop_assert!(text.from_us <= text.whole_us && text.whole_us <= text.till_us, "{:?}", text);
        }
    }

    #[test]
    fn prop_seeking_shows_what_playing_shows(events in soup(), cols in 2..30u16, rows in 2..12u16) {
        let timed = events.into_iter().zip(0..).map(|(event, n)| Timed { time_us: n * 10_000, ..event });
        let recording = recording_of(Size { cols, rows }, timed.collect());
        let segments = cut_everywhere(&recording);
        let mut played = Emulator::new(recording.size);
        for event in &recording.events {
            played.apply(event, ());
            let sought = seek(&recording, &segments, event.time_us);
            prop_assert_eq!(cells(sought.terminal()), cells(played.terminal()), "at {}", event.time_us);
        }
    }
}

proptest! {
    #[test]
    fn prop_a_dump_of_what_a_dump_restored_is_the_same(events in soup(), cols in 2..30u16, rows in 2..12u16) {
        let mut played = Emulator::new(Size { cols, rows });
        for event in &events {
            played.apply(event, ());
        }
        let (dump, tail) = played.dump();
        let restored = Emulator::restored(played.size(), &dump, &tail);
        prop_assert_eq!(restored.dump(), (dump, tail));
        prop_assert_eq!(cells(restored.terminal()), cells(played.terminal()));
    }

    #[test]
    fn prop_texts_and_commands_do_not_depend_on_how_output_is_cut(
        events in soup(), gap_ms in 0..100i64, cols in 2..30u16, rows in 2..12u16,
    ) {
        let timed = |(n, event): (i64, Timed)| Timed { time_us: n * gap_ms * 1000, ..event };
        let whole: Vec<Timed> = (0..).zip(events).map(timed).collect();
        let cut = |event: &Timed| match event.code {
            Code::Output if !event.data.is_empty() => event.data.iter().map(|byte| Timed { data: vec![*byte], ..event.clone() }).collect(),
            _ => vec![event.clone()],
        };
        let cut: Vec<Timed> = whole.iter().flat_map(cut).collect();
        let (whole, cut) = (found(Size { cols, rows }, &whole), found(Size { cols, rows }, &cut));
        prop_assert_eq!((whole.texts, whole.commands), (cut.texts, cut.commands));
    }
}
