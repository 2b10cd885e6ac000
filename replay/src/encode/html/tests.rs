use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::encode::tests::{event, events, recording};
use crate::fixtures;
use crate::header::{Header, Theme};
use crate::recording::Finding;
use crate::screen::Screen;
use crate::size::Size;

fn page(recording: &Recording, facts: &Facts) -> String {
    let mut out = Vec::new();
    html(recording, facts, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The elements of this name, found as a browser finds them: up to the first end tag, whatever stands before it.
fn elements<'a>(page: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let tag = format!("<{name}");
    let starts = page.split(&tag).skip(1);
    let elements = starts.map(|rest| rest.split_once('>').unwrap());
    elements.map(|(attributes, rest)| (attributes, rest.split(&format!("</{name}")).next().unwrap())).collect()
}

struct Read {
    about: Value,
    /// Start and content.
    segments: Vec<(i64, Value)>,
}

fn read(page: &str) -> Read {
    let scripts = elements(page, "script");
    let data = |content: &str| serde_json::from_str(content).unwrap();
    let (_, about) = scripts.iter().find(|(attributes, _)| attributes.contains(r#"id="recording""#)).unwrap();
    let segments = scripts.iter().filter_map(|(attributes, content)| {
        let start_us = attributes.split_once("data-start=\"")?.1.strip_suffix('"')?.parse().unwrap();
        Some((start_us, data(content)))
    });
    Read { about: data(about), segments: segments.collect() }
}

/// Time, code and text of all events.
fn written(page: &Read) -> Vec<(i64, String, String)> {
    let events = page.segments.iter().flat_map(|(_, segment)| segment["events"].as_array().unwrap());
    events
        .map(|event| {
            let text = |n: usize| event[n].as_str().unwrap().to_owned();
            (event[0].as_i64().unwrap(), text(1), text(2))
        })
        .collect()
}

fn output(recording: &Recording) -> String {
    let written = written(&read(&page(recording, &Facts::default())));
    written.into_iter().filter(|(_, code, _)| code == "o").map(|(_, _, text)| text).collect()
}

const HOSTILE: &str =
    "</script></style><script>alert(1)</script><!--<img src=x onerror=\"alert('1')\">&lt;\u{2028}\u{202e}\0";

#[test]
fn nothing_that_was_recorded_or_told_becomes_markup() {
    let mut recording = recording(vec![
        event(0, Code::Output, HOSTILE.as_bytes()),
        event(1, Code::Input, HOSTILE.as_bytes()),
        event(2, Code::Marker, HOSTILE.as_bytes()),
    ]);
    recording.findings = vec![Finding::OtherStream { stream: HOSTILE.to_owned(), pieces: 1, output_bytes: 1 }];
    recording.header.theme =
        Some(Theme { foreground: HOSTILE.to_owned(), background: String::new(), palette: vec![HOSTILE.to_owned()] });
    let row = || vec![(HOSTILE.to_owned(), HOSTILE.to_owned())];
    let page = page(&recording, &Facts { title: HOSTILE.to_owned(), session: row(), provenance: row() });

    let tags = ["script", "style", "img"].map(|name| elements(&page, name).len());
    assert_eq!(tags, [5, 2, 0]);
    assert!(!page.contains("<!--"));
    let (markup, data) = page.split_once("<script").unwrap();
    assert!(!markup.contains(['\u{2028}', '\u{202e}', '\0']));
    assert!(!data.contains(['\u{2028}', '\0']));
    assert!(page.contains("<title>&lt;/script&gt;&lt;/style&gt;&lt;script&gt;alert(1)"));
    assert!(page.contains("<td>&lt;/script&gt;"));
    let read = read(&page);
    let texts: Vec<String> = written(&read).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, [HOSTILE, HOSTILE]);
    assert!(read.about["markers"][0][1].as_str().unwrap().starts_with("</script>"));
}

#[test]
fn only_the_scripts_and_styles_of_the_page_may_run() {
    let page = page(&recording(vec![event(0, Code::Output, b"x")]), &Facts::default());
    let (_, policy) = page.split_once("Content-Security-Policy\" content=\"").unwrap();
    let directives: Vec<&str> = policy.split('"').next().unwrap().split("; ").collect();
    let of = |name: &str| {
        let hashed = elements(&page, name).into_iter().filter(|(attributes, _)| attributes.is_empty());
        let hashes = hashed.map(|(_, content)| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content))));
        hashes.collect::<Vec<_>>().join(" ")
    };
    let expected = [
        "default-src 'none'".to_owned(),
        format!("script-src {} 'wasm-unsafe-eval'", of("script")),
        format!("style-src {}", of("style")),
        "base-uri 'none'".to_owned(),
        "form-action 'none'".to_owned(),
    ];
    assert_eq!(directives, expected);
    for attribute in [" src=", " style=", " onclick=", " onload=", "<link", "<iframe", "<object"] {
        let markup = SCRIPTS.iter().fold(page.clone(), |page, script| page.replace(script, ""));
        assert!(!markup.contains(attribute), "{attribute}");
    }
}

#[test]
fn the_vendored_player_is_the_one_that_was_reviewed() {
    let digest = |content: &str| Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(digest(SCRIPTS[0]), "a13c37632e1b5c49fe9128417b9319a9b5bc64cb457dd5ae52cbba8a3aceb880");
    assert_eq!(digest(STYLES[0]), "f619fe17597043564f03b2c6918b3daf890ee8b912fb408542fba11afade4fdb");
}

#[test]
fn a_resize_is_a_new_segment_and_no_event() {
    let mut recording = recording(vec![
        event(0, Code::Output, "ab世\r\n\x1b[31".as_bytes()),
        event(5, Code::Resize, b"4x3"),
        event(6, Code::Output, b"mred\xe4\xb8"),
        event(7, Code::Resize, b"4x3"),
        event(8, Code::Resize, b"0x0"),
        event(9, Code::Output, b"\x96"),
        event(10, Code::Resize, b"2x2"),
    ]);
    recording.size = Size { cols: 10, rows: 2 };
    let read = read(&page(&recording, &Facts::default()));
    let segments: Vec<_> =
        read.segments.iter().map(|(at, segment)| (*at, &segment["cols"], &segment["rows"])).collect();
    assert_eq!(segments, [(0, &json!(10), &json!(2)), (5, &json!(4), &json!(3)), (10, &json!(2), &json!(2))]);
    let texts = written(&read);
    // A sequence, and a character, go with the event that ends them.
    let of = |at: i64, text: &str| (at, "o".to_owned(), text.to_owned());
    assert_eq!(texts, [of(0, "ab世\r\n"), of(6, "\x1b[31mred"), of(9, "世")]);
    assert!(read.segments[1].1["init"].as_str().unwrap().contains("ab世"));
}

#[test]
fn a_terminal_of_one_column_is_shown_with_two() {
    let mut recording = recording(vec![
        event(0, Code::Resize, b"80x24"),
        event(1, Code::Resize, b"1x3"),
        event(2, Code::Output, "\x1b[?7l世".as_bytes()),
    ]);
    recording.size = Size { cols: 1, rows: 5 };
    let read = read(&page(&recording, &Facts::default()));
    let cols: Vec<_> = read.segments.iter().map(|(_, segment)| segment["cols"].as_u64().unwrap()).collect();
    assert_eq!(cols, [2, 80, 2]);
}

#[test]
fn a_segment_has_little_more_than_its_share_of_output() {
    let chunk = vec![b'x'; 100_000];
    let recording = recording((0..20).map(|n| event(n, Code::Output, &chunk)).collect());
    let starts: Vec<i64> =
        read(&page(&recording, &Facts::default())).segments.iter().map(|(start, _)| *start).collect();
    assert_eq!(starts, [0, 3, 6, 9, 12, 15, 18]);
}

#[test]
fn nothing_is_repeated_more_often_than_the_screen_has_cells() {
    let cases: &[(&[&str], &str)] = &[
        (&["a\x1b[3b"], "a\x1b[3b"),
        (&["a\x1b[65535b!"], "a\x1b[20b!"),
        (&["a\x1b[6", "5535", "b!"], "a\x1b[20b!"),
        (&["a\x1b[99\n9b"], "a\n\x1b[20b"),
        (&["a\u{9b}99999999b"], "a\x1b[20b"),
        (&["a\x1b[12\x1b[21b"], "a\x1b[20b"),
        (&["\x1b]0;\x1b[21b\x07"], "\x1b[20b\x07"),
        (&["\x1b]0;title 99b\x07"], "\x1b]0;title 99b\x07"),
    ];
    for (pieces, expected) in cases {
        let events = pieces.iter().zip(0..).map(|(piece, at)| event(at, Code::Output, piece.as_bytes()));
        let mut recording = recording(events.collect());
        recording.size = Size { cols: 10, rows: 2 };
        assert_eq!(output(&recording), *expected, "{pieces:?}");
    }

    let long = format!("\x1b]0;{}\x07", "x".repeat(10_000));
    assert_eq!(output(&recording(vec![event(0, Code::Output, long.as_bytes())])), long);
    let endless = format!("a\x1b[{}21b", "0".repeat(10_000));
    let mut recording = recording(vec![event(0, Code::Output, endless.as_bytes())]);
    recording.size = Size { cols: 10, rows: 2 };
    assert!(output(&recording).ends_with("0\x1b[20b"));
}

#[test]
fn the_page_says_what_is_known_and_what_is_missing() {
    let mut recording =
        recording(vec![event(1_500_000, Code::Output, b"x"), event(2_000_000, Code::Marker, b"a \"mark\"")]);
    recording.started_at = Some(1_700_000_000_000_000);
    recording.header = Header {
        theme: Some(Theme {
            foreground: "#ffffff".to_owned(),
            background: "#000000".to_owned(),
            palette: (0..8).map(|n| format!("#00000{n}")).collect(),
        }),
        ..Header::default()
    };
    let facts = Facts {
        title: "Session of alice".to_owned(),
        session: vec![("Reason".to_owned(), "INC-1 & more".to_owned())],
        provenance: vec![("SHA-256".to_owned(), "abc".to_owned())],
    };
    let unfinished = page(&recording, &facts);
    for part in [
        "<h1>Session of alice</h1>",
        "<tr><th scope=\"row\">Reason</th><td>INC-1 &amp; more</td></tr>",
        "<tr><th scope=\"row\">SHA-256</th><td>abc</td></tr>",
        "The recording has no end",
    ] {
        assert!(unfinished.contains(part), "{part}");
    }
    let about = read(&unfinished).about;
    assert_eq!(about["duration_us"], 2_000_000);
    assert_eq!(about["started_at_us"], 1_700_000_000_000_000_i64);
    assert_eq!(about["markers"], json!([[2_000_000, "a \"mark\""]]));
    assert_eq!(about["theme"]["palette"][15], "#000007");

    recording.ended = true;
    assert!(page(&recording, &facts).contains("Nothing is known to be missing."));
    recording.findings = vec![Finding::Gap { at_us: 1_500_000, missing_bytes: 7 }; LISTED_MAX + 2];
    let incomplete = page(&recording, &facts);
    let item = "<li><a href=\"#t=1.500000\">1.500000 s</a>: 7 B of output are missing</li>";
    assert_eq!(incomplete.matches(item).count(), LISTED_MAX);
    assert!(incomplete.contains("<li>and 2 more</li>"));
}

#[test]
fn writing_stops_when_there_is_enough() {
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sizes: [&[u8]; 2] = [b"500x500", b"400x400"];
    let mut events = vec![event(0, Code::Output, &vec![b'x'; 500_000])];
    events.extend((0..100_000).map(|n| event(n, Code::Resize, sizes[n as usize % 2])));
    let error = html(&recording(events), &Facts::default(), &mut Full(8_000_000)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

/// Screens of a recording at some of its times, and at its end.
fn expected(recording: &Recording) -> Value {
    let every = recording.events.len() / 300 + 1;
    let mut screen = Screen::new(recording.size);
    let mut expected = Vec::new();
    let times = recording.events.iter().map(|event| event.time_us);
    let next = times.skip(1).chain([i64::MAX]);
    for (n, (event, next_us)) in recording.events.iter().zip(next).enumerate() {
        screen.apply(event);
        // Between two events: a time that is rounded to another by the way through seconds shows the same.
        if next_us > event.time_us && (n % every == 0 || next_us == i64::MAX) {
            expected.push(json!([event.time_us, screen.lines(), screen.cursor()]));
        }
    }
    expected.into()
}

/// Runs a script of this folder with Node, where that is.
fn run_in_node(script: &str, arguments: &[&Path]) -> Result<(), String> {
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("SKIPPED: node is not there, the player was not tested");
        return Ok(());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/encode/html").join(script);
    let output = Command::new("node").arg(script).args(arguments).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn check_in_node(name: &str, recording: &Recording) {
    let folder = tempfile::tempdir().unwrap();
    let (page_file, expected_file) = (folder.path().join("page.html"), folder.path().join("expected.json"));
    std::fs::write(&page_file, page(recording, &Facts::default())).unwrap();
    std::fs::write(&expected_file, expected(recording).to_string()).unwrap();
    run_in_node("contract.mjs", &[&page_file, &expected_file]).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn the_player_shows_segments_that_have_to_be_fetched() {
    run_in_node("async.mjs", &[]).unwrap();
}

#[test]
fn the_player_shows_what_our_emulator_shows() {
    let Some(folder) = fixtures::folder() else { return };
    for name in ["own/derived/session.v2.cast", "asciinema-server/welcome.cast", "asciinema-player/resizing.cast"] {
        check_in_node(name, &fixtures::recording(&std::fs::read(folder.join(name)).unwrap()));
    }
}

proptest! {
    #[test]
    fn prop_the_page_has_all_of_a_recording(events in events()) {
        let recording = recording(events);
        let page = page(&recording, &Facts::default());
        let read = read(&page);
        let starts: Vec<i64> = read.segments.iter().map(|(start_us, _)| *start_us).collect();
        prop_assert_eq!(starts[0], 0);
        prop_assert!(starts.is_sorted());
        let ends = starts.iter().skip(1).copied().chain([recording.duration_us]);
        for ((start_us, segment), end_us) in read.segments.iter().zip(ends) {
            let times = segment["events"].as_array().unwrap().iter().map(|event| event[0].as_i64().unwrap());
            let times: Vec<i64> = [*start_us].into_iter().chain(times).chain([end_us]).collect();
            prop_assert!(times.is_sorted(), "{times:?}");
        }
        let input = written(&read).into_iter().filter(|(_, code, _)| code == "i").map(|(_, _, text)| text);
        let recorded = recording.events.iter().filter(|event| event.code == Code::Input);
        let recorded: Vec<u8> = recorded.flat_map(|event| event.data.clone()).collect();
        prop_assert_eq!(input.collect::<String>(), String::from_utf8_lossy(&recorded));
    }

    #[test]
    fn prop_segments_show_what_the_recording_shows(events in events()) {
        let recording = recording(events);
        let read = read(&page(&recording, &Facts::default()));
        for (n, (start_us, segment)) in read.segments.iter().enumerate() {
            let size = Size {
                cols: segment["cols"].as_u64().unwrap() as u16,
                rows: segment["rows"].as_u64().unwrap() as u16,
            };
            let mut emulator = Emulator::restored(size, segment["init"].as_str().unwrap(), b"");
            for event in segment["events"].as_array().unwrap().iter().filter(|event| event[1] == "o") {
                emulator.apply(&super::super::tests::event(0, Code::Output, event[2].as_str().unwrap().as_bytes()), ());
            }
            if n + 1 == read.segments.len() {
                let mut whole = Emulator::new(recording.size);
                recording.events.iter().for_each(|event| { whole.apply(event, ()); });
                whole.end(());
                prop_assert_eq!(emulator.terminal().screen().text(), whole.terminal().screen().text(), "{}", start_us);
            }
        }
    }
}
