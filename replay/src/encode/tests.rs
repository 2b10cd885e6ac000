use asciicast_rs::{Asciicast, V2, V3, v2, v3};
use custody_schemas::frame::Code;
use proptest::prelude::*;

use super::*;
use crate::fixtures;
use crate::header::{Header, Theme};
use crate::recording::{Recording, Timed};
use crate::size::Size;

fn recording(events: Vec<Timed>) -> Recording {
    let duration_us = events.last().map_or(0, |event| event.time_us);
    Recording { events, duration_us, ..Recording::from_frames("s", []) }
}

fn event(time_us: i64, code: Code, data: &[u8]) -> Timed {
    Timed { time_us, at: None, code, data: data.to_vec() }
}

fn written(recording: &Recording, write: impl Fn(&Recording, &mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(recording, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Code and text of each event, whatever the version.
fn of_v2(event: &v2::Event) -> (char, String) {
    match &event.payload {
        v2::EventPayload::Output(text) => ('o', text.clone()),
        v2::EventPayload::Input(text) => ('i', text.clone()),
        v2::EventPayload::Marker(text) => ('m', text.clone()),
        v2::EventPayload::Resize(size) => ('r', format!("{}x{}", size.cols, size.rows)),
        v2::EventPayload::Unknown { code, data } => (code.chars().next().unwrap(), data.as_str().unwrap().to_owned()),
        other => panic!("{other:?}"),
    }
}

fn of_v3(event: &v3::Event) -> (char, String) {
    match &event.payload {
        v3::EventPayload::Output(text) => ('o', text.clone()),
        v3::EventPayload::Input(text) => ('i', text.clone()),
        v3::EventPayload::Marker(text) => ('m', text.clone()),
        v3::EventPayload::Resize(size) => ('r', format!("{}x{}", size.cols, size.rows)),
        v3::EventPayload::Exit(status) => ('x', status.code().to_string()),
        other => panic!("{other:?}"),
    }
}

fn example() -> Recording {
    let mut example = recording(vec![
        event(0, Code::Resize, b"120x40"),
        event(1_234_567, Code::Output, b"\x1b[1m\"a\\b\"\xe2\x82"),
        event(1_234_999, Code::Output, b"\xac\xff\n"),
        event(2_000_000, Code::Input, b"\x03\xc3"),
        event(2_000_000, Code::Resize, b"0x0"),
        event(3_000_000, Code::Marker, b""),
        event(3_000_500, Code::Exit, b"3"),
        event(4_000_000, Code::End, b""),
    ]);
    example.size = Size { cols: 120, rows: 40 };
    example.header = Header {
        title: Some("a \"title\"".to_owned()),
        timestamp: Some(1_506_410_422),
        term_type: Some("xterm".to_owned()),
        env: [("SHELL".to_owned(), "/bin/sh".to_owned())].into(),
        idle_time_limit_us: Some(2_500_000),
        ..Header::default()
    };
    example
}

#[test]
fn version_2_is_written_with_microseconds() {
    let expected = concat!(
        r#"{"version":2,"width":120,"height":40,"#,
        r#""timestamp":1506410422,"idle_time_limit":2.5,"title":"a \"title\"","env":{"SHELL":"/bin/sh","TERM":"xterm"}}
[0.000000,"r","120x40"]
[1.234567,"o","\u001b[1m\"a\\b\""]
[1.234999,"o","€�\n"]
[2.000000,"i","\u0003"]
[3.000000,"m",""]
[3.000500,"x","3"]
[4.000000,"i","�"]
"#
    );
    assert_eq!(written(&example(), asciicast_v2), expected);
}

#[test]
fn version_3_is_written_with_intervals() {
    let expected = concat!(
        r#"{"version":3,"term":{"cols":120,"rows":40,"type":"xterm"},"#,
        r#""timestamp":1506410422,"idle_time_limit":2.5,"title":"a \"title\"","env":{"SHELL":"/bin/sh"}}
[0.000,"r","120x40"]
[1.235,"o","\u001b[1m\"a\\b\""]
[0.000,"o","€�\n"]
[0.765,"i","\u0003"]
[1.000,"m",""]
[0.001,"x","3"]
[0.999,"i","�"]
"#
    );
    assert_eq!(written(&example(), asciicast_v3), expected);
}

#[test]
fn a_written_recording_is_read_back() {
    let mut example = example();
    let color = |n: u8| format!("#{n:02x}{n:02x}{n:02x}");
    example.header.theme =
        Some(Theme { foreground: color(255), background: color(0), palette: (0..8).map(color).collect() });
    for text in [written(&example, asciicast_v2), written(&example, asciicast_v3)] {
        let again = fixtures::recording(text.as_bytes());
        assert_eq!(again.header, example.header);
        assert_eq!(again.size, example.size);
        assert!(again.findings.is_empty(), "{:?}", again.findings);
        assert_eq!(again.events.len(), 7);
    }
}

#[test]
fn no_error_adds_up_over_many_short_intervals() {
    let recording = recording((0..100_000).map(|n| event(n * 337, Code::Output, b"x")).collect());
    let text = written(&recording, asciicast_v3);
    let cast = Asciicast::<V3>::from_slice(text.as_bytes()).unwrap();
    for ((seconds, _), event) in cast.absolute_times().zip(&recording.events) {
        assert!((seconds * 1e6 - event.time_us as f64).abs() <= 500.1, "{seconds} {}", event.time_us);
    }
}

#[test]
fn the_transcript_has_the_lines_of_the_primary_screen() {
    let mut recording = recording(vec![
        event(0, Code::Output, b"$ ls\r\nabcdefghijkl\r\n\x1b[31mred\x1b[0m\r\n"),
        event(1, Code::Output, b"\x1b[?1049hvim\x1b[?1049l$ caf\xc3"),
        event(2, Code::Output, b"\xa9 \xe2\x80\xae!\x1b]52;c;aGk=\x07\r\n"),
        event(3, Code::Resize, b"40x5"),
        event(4, Code::Output, b"after\xe2"),
    ]);
    recording.size = Size { cols: 10, rows: 2 };
    assert_eq!(written(&recording, text), "$ ls\nabcdefghijkl\nred\n$ café \u{FFFD}!\nafter\u{FFFD}\n");
}

#[test]
fn a_real_session_keeps_its_text_and_times() {
    let Some(folder) = fixtures::folder() else { return };
    let source = std::fs::read(folder.join("own/derived/session.v2.cast")).unwrap();
    let original = fixtures::recording(&source);
    let again = fixtures::recording(written(&original, asciicast_v2).as_bytes());
    assert_eq!(again, original);
    let transcript = written(&original, text);
    assert!(transcript.lines().any(|line| line.contains("hunter2") || line.contains("S3cr3t")), "{transcript}");
    assert!(transcript.chars().all(|c| c == '\n' || !c.is_control()));
}

fn events() -> impl Strategy<Value = Vec<Timed>> {
    let code = prop::sample::select(vec!['o', 'o', 'i', 'r', 'm', 'x', 'e']);
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..8),
        "[\"\\\\\u{2028}\u{0}\u{7f}\u{85}\u{10ffff}é\r\n/]{0,6}".prop_map(String::into_bytes),
        Just(b"\xf0\x9f".to_vec()),
        Just(b"80x24".to_vec()),
        Just(b"-1".to_vec()),
    ];
    let gap = prop_oneof![0..3i64, 0..2_000_000i64, Just(1_000_000_000_000i64)];
    prop::collection::vec((gap, code, data), 0..30).prop_map(|events| {
        let mut time_us = 0;
        let timed = events.into_iter().map(|(gap, code, data)| {
            time_us += gap;
            event(time_us, Code::from_char(code).unwrap(), &data)
        });
        timed.collect()
    })
}

proptest! {
    #[test]
    fn prop_what_is_written_is_what_another_parser_reads(events in events()) {
        let recording = recording(events);
        let v2_text = written(&recording, asciicast_v2);
        let v3_text = written(&recording, asciicast_v3);
        let v2 = Asciicast::<V2>::from_slice(v2_text.as_bytes()).unwrap();
        let v3 = Asciicast::<V3>::from_slice(v3_text.as_bytes()).unwrap();

        let of_v2: Vec<_> = v2.events.iter().map(of_v2).collect();
        prop_assert_eq!(&of_v2, &v3.events.iter().map(of_v3).collect::<Vec<_>>());
        for ((v2_s, _), (v3_s, _)) in v2.absolute_times().zip(v3.absolute_times()) {
            prop_assert!((v2_s - v3_s).abs() <= 0.000_501, "{} {}", v2_s, v3_s);
        }

        for code in ['o', 'i'] {
            let text: String = of_v2.iter().filter(|(of, _)| *of == code).map(|(_, text)| text.as_str()).collect();
            let of_code = recording.events.iter().filter(|event| event.code.as_char() == code);
            let bytes: Vec<u8> = of_code.flat_map(|event| event.data.clone()).collect();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
        // Markers are never left out, so their times can be compared one by one.
        let markers = recording.events.iter().filter(|event| event.code == Code::Marker).map(|event| event.time_us);
        let read = v2.absolute_times().filter(|(_, e)| e.as_marker().is_some()).map(|(s, _)| (s * 1e6).round() as i64);
        prop_assert_eq!(markers.collect::<Vec<_>>(), read.collect::<Vec<_>>());
    }

    #[test]
    fn prop_a_transcript_is_free_of_control_characters(events in events()) {
        let transcript = written(&recording(events), text);
        prop_assert!(transcript.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
