use asciicast_rs::{Asciicast, V2, V3, v2, v3};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use custody_schemas::frame::Code;
use custody_schemas::time::{Parsed, parse_rfc3339};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{self, frames_of_ttyrec};
use crate::header::{Header, Theme, Version};
use crate::recording::{Finding, Recording, Timed};
use crate::screen::Screen;
use crate::screen::tests::recordings;
use crate::size::Size;

pub(crate) fn recording(events: Vec<Timed>) -> Recording {
    let duration_us = events.last().map_or(0, |event| event.time_us);
    Recording { events, duration_us, ..Recording::from_frames("s", []) }
}

pub(crate) fn event(time_us: i64, code: Code, data: &[u8]) -> Timed {
    Timed { time_us, at: None, code, data: data.to_vec() }
}

fn bytes(recording: &Recording, write: impl Fn(&Recording, &mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
    let mut out = Vec::new();
    write(recording, &mut out).unwrap();
    out
}

fn written(recording: &Recording, write: impl Fn(&Recording, &mut Vec<u8>) -> std::io::Result<()>) -> String {
    String::from_utf8(bytes(recording, write)).unwrap()
}

/// The lines of [`json`].
fn objects(recording: &Recording) -> Vec<Value> {
    written(recording, json).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn data_of(object: &Value) -> Vec<u8> {
    match (object["text"].as_str(), object["base64"].as_str()) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(base64)) => BASE64.decode(base64).unwrap(),
        _ => panic!("{object}"),
    }
}

fn event_of(object: &Value) -> Timed {
    let at = object["at"].as_str().map(|at| match parse_rfc3339(at) {
        Some(Parsed::At(at)) => at,
        other => panic!("{at}: {other:?}"),
    });
    let code = object["code"].as_str().unwrap();
    let code = Code::from_char(code.chars().next().unwrap()).unwrap();
    Timed { time_us: object["time_us"].as_i64().unwrap(), at, code, data: data_of(object) }
}

/// What a player that knows the sequence for the size makes of a ttyrec: the times and the events.
fn events_of_ttyrec(ttyrec: &[u8]) -> Vec<Timed> {
    let frames = frames_of_ttyrec(ttyrec).into_iter();
    let events = frames.map(|(at, data)| {
        let sequence = std::str::from_utf8(data).ok();
        let size = sequence.and_then(|text| text.strip_prefix("\x1b[8;")?.strip_suffix('t')?.split_once(';'));
        let size = size.map(|(rows, cols)| format!("{cols}x{rows}"));
        match size {
            Some(size) => event(at, Code::Resize, size.as_bytes()),
            None => event(at, Code::Output, data),
        }
    });
    events.collect()
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
fn a_ttyrec_has_a_frame_for_each_output_and_each_size() {
    let frames = |recording: &Recording| {
        let ttyrec = bytes(recording, ttyrec);
        frames_of_ttyrec(&ttyrec).into_iter().map(|(at, data)| (at, data.to_vec())).collect::<Vec<_>>()
    };
    let mut example = example();
    example.events.push(event(4_000_000, Code::Output, b""));
    let expected: [(i64, &[u8]); 4] = [
        (0, b"\x1b[8;40;120t"),
        (0, b"\x1b[8;40;120t"),
        (1_234_567, b"\x1b[1m\"a\\b\"\xe2\x82"),
        (1_234_999, b"\xac\xff\n"),
    ];
    assert_eq!(frames(&example), expected.map(|(at, data)| (at, data.to_vec())), "it is not known when it was");

    let start_at = 1_506_410_422_000_000;
    example.started_at = Some(start_at);
    assert_eq!(frames(&example), expected.map(|(at, data)| (start_at + at, data.to_vec())));

    // What is before 1970 and after 2106 stands at the end that is nearer.
    let cases = [(i64::MIN, 0), (-1, 0), (i64::MAX, 4_294_967_295_999_999)];
    for (at, expected) in cases {
        let far = Recording { started_at: Some(at), ..recording(vec![event(0, Code::Output, b"x")]) };
        assert_eq!(frames(&far)[1], (expected, b"x".to_vec()), "{at}");
    }
}

#[test]
fn raw_is_what_was_output_and_nothing_else() {
    assert_eq!(bytes(&example(), raw), b"\x1b[1m\"a\\b\"\xe2\x82\xac\xff\n");
    assert_eq!(bytes(&example().cut(1_234_900, 5_000_000), raw), b"\xac\xff\n");
}

#[test]
fn json_has_all_that_is_known() {
    let mut example = example();
    example.session_id = "session \"1\"".to_owned();
    example.findings =
        vec![Finding::HeaderMissing { read_as: Version::V2 }, Finding::Gap { at_us: 1_234_567, missing_bytes: 5 }];
    example.events[1].at = Some(1_506_410_423_234_567);
    example.started_at = Some(1_506_410_422_000_000);
    let objects = objects(&example);
    let expected = json!({
        "session_id": "session \"1\"",
        "size": {"cols": 120, "rows": 40},
        "duration_us": 4_000_000,
        "started_at": "2017-09-26T07:20:22.000000Z",
        "ended": false,
        "state": "incomplete",
        "findings": [
            {"time_us": null, "text": "the header is missing; times were read as those of asciicast 2"},
            {"time_us": 1_234_567, "text": "5 B of output are missing"},
        ],
        "duplicates": 0,
        "header": {
            "title": "a \"title\"", "command": null, "timestamp": 1_506_410_422, "term_type": "xterm",
            "term_version": null, "env": {"SHELL": "/bin/sh"}, "theme": null, "idle_time_limit_us": 2_500_000,
        },
        "cut": null,
    });
    assert_eq!(objects[0], expected);
    assert_eq!(objects[1], json!({"time_us": 0, "at": null, "code": "r", "text": "120x40"}));
    let output = json!({
        "time_us": 1_234_567, "at": "2017-09-26T07:20:23.234567Z", "code": "o", "base64": "G1sxbSJhXGIi4oI=",
    });
    assert_eq!(objects[2], output);
    assert_eq!(objects.len(), 1 + example.events.len());
}

#[test]
fn json_of_a_part_keeps_the_screen_apart_from_what_was_recorded() {
    let part = example().cut(1_234_900, 3_500_000);
    let objects = objects(&part);
    let cut = &objects[0]["cut"];
    assert_eq!(data_of(&cut["screen"]), part.init().unwrap().data);
    let times = ["from_us", "to_us", "of_us", "findings_left_out"].map(|name| cut[name].as_i64().unwrap());
    assert_eq!(times, [1_234_900, 3_500_000, 4_000_000, 0]);
    assert_eq!(objects[1..].iter().map(event_of).collect::<Vec<_>>(), part.recorded());

    let beginning = super::tests::objects(&example().cut(0, 1_000_000));
    assert_eq!((&beginning[0]["cut"]["screen"], beginning.len()), (&Value::Null, 2));
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
fn lines_of_a_transcript_have_the_time_from_which_they_stood_as_they_are() {
    // What it is about, what comes at which millisecond, and the lines with theirs.
    type Case<'a> = (&'a str, &'a [(i64, &'a str)], &'a [(i64, &'a str)]);
    let cases: &[Case<'_>] = &[
        ("nothing", &[], &[]),
        ("typed", &[(0, "$ "), (5000, "l"), (5100, "s"), (7000, "\r\na\r\n")], &[(5100, "$ ls"), (7000, "a")]),
        (
            "in quick succession",
            &[(100, "a"), (120, "b"), (140, "c"), (160, "\r\nd"), (9000, "")],
            &[(140, "abc"), (160, "d")],
        ),
        (
            "in one piece, and then scrolled away",
            &[(9, "1\r\n2\r\n3\r\n4\r\n5\r\n6")],
            &[(9, "1"), (9, "2"), (9, "3"), (9, "4"), (9, "5"), (9, "6")],
        ),
        (
            "scrolled away later",
            &[(100, "a\r\nb\r\n"), (4000, "c\r\nd"), (8000, "\r\ne\r\nf")],
            &[(100, "a"), (100, "b"), (4000, "c"), (4000, "d"), (8000, "e"), (8000, "f")],
        ),
        (
            "equal lines",
            &[(100, "a\r\n"), (2000, "a\r\n"), (4000, "a\r\n"), (6000, "a\r\n"), (8000, "a\r\n")],
            &[(100, "a"), (2000, "a"), (4000, "a"), (6000, "a"), (8000, "a")],
        ),
        (
            "drawn over and over",
            &[(100, "10 %"), (1000, "\r50 %"), (2000, "\r100 %\r\n"), (9000, "")],
            &[(2000, "100 %")],
        ),
        (
            "behind an editor",
            &[(100, "before"), (2000, "\x1b[?1049h\x1b[Hvim"), (3000, "\x1b[?1049l"), (4000, "\r\nafter")],
            &[(100, "before"), (4000, "after")],
        ),
        (
            "wrapped, and leaving row by row",
            &[(100, "0123456789ABCDEFGHIJabcde\r\n"), (2000, "b\r\nc\r\n"), (4000, "d\r\n"), (6000, "e\r\nf\r\ng")],
            &[
                (100, "0123456789ABCDEFGHIJabcde"),
                (2000, "b"),
                (2000, "c"),
                (4000, "d"),
                (6000, "e"),
                (6000, "f"),
                (6000, "g"),
            ],
        ),
        (
            "cleared, and reset",
            &[(100, "a\r\n"), (1000, "\x1b[H\x1b[2Jb"), (2000, "\x1bcc"), (3000, "")],
            &[(100, "a"), (1000, "b"), (2000, "c")],
        ),
        ("made wider", &[(100, "0123456789abc"), (2000, ""), (3000, "\r\nx")], &[(100, "0123456789abc"), (3000, "x")]),
        ("empty lines have no time", &[(100, "a\r\n\r\nb")], &[(100, "a"), (-1, ""), (100, "b")]),
    ];
    for (name, outputs, expected) in cases {
        let mut events: Vec<_> =
            outputs.iter().map(|(ms, data)| event(ms * 1000, Code::Output, data.as_bytes())).collect();
        if *name == "made wider" {
            events[1] = event(2_000_000, Code::Resize, b"40x4");
        }
        let mut recording = recording(events);
        recording.size = Size { cols: 10, rows: 4 };
        let expected: String = expected
            .iter()
            .map(|(ms, line)| match line.is_empty() {
                true => "\n".to_owned(),
                false => format!("00:00:0{}.{:03}\t-\t{line}\n", ms / 1000, ms % 1000),
            })
            .collect();
        assert_eq!(written(&recording, transcript), expected, "{name}");
    }
}

#[test]
fn a_transcript_has_the_wall_clock_where_it_is_known() {
    let mut late = recording(vec![event(360_001_500_000, Code::Output, b"\x1b[2Jx\x1b]52;c;aGk=\x07\xe2\x80\xae")]);
    assert_eq!(written(&late, transcript), "100:00:01.500\t-\tx\u{FFFD}\n");
    late.started_at = Some(86_400_000_000);
    assert_eq!(written(&late, transcript), "100:00:01.500\t1970-01-06T04:00:01.500000Z\tx\u{FFFD}\n");
}

#[test]
fn a_session_of_four_recorders_is_exported_as_it_was_recorded() {
    let Some(recorders) = fixtures::four_recorders() else { return };
    for (name, recording) in recorders {
        let events = recording.events.iter();
        let recorded: Vec<_> = events.map(|event| (event.time_us, event.data.as_slice())).collect();
        let is_frame = |(_, data): &&(i64, &[u8])| !data.is_empty();
        let ttyrec = bytes(&recording, ttyrec);
        let frames = frames_of_ttyrec(&ttyrec);
        assert_eq!(frames[0], (0, b"\x1b[8;30;100t".as_slice()), "{name}");
        assert!(frames[1..].iter().eq(recorded.iter().filter(is_frame)), "{name}: other frames came out than went in");
        let output = recorded.iter().flat_map(|(_, data)| *data).copied().collect::<Vec<_>>();
        assert!(bytes(&recording, raw) == output, "{name}: other bytes came out than went in");
        assert!(objects(&recording)[1..].iter().map(event_of).eq(recording.events.iter().cloned()), "{name}");

        let (v2, v3) = (written(&recording, asciicast_v2), written(&recording, asciicast_v3));
        let (v2, v3) =
            (Asciicast::<V2>::from_slice(v2.as_bytes()).unwrap(), Asciicast::<V3>::from_slice(v3.as_bytes()).unwrap());
        let text = String::from_utf8_lossy(&output);
        let of_v2: String = v2.events.iter().map(|event| of_v2(event).1).collect();
        let of_v3: String = v3.events.iter().map(|event| of_v3(event).1).collect();
        assert!(of_v2 == text && of_v3 == text, "{name}");
    }
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

/// Whether no character can be unfinished after these bytes.
fn ends_whole(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(u8::is_ascii)
}

pub(crate) fn events() -> impl Strategy<Value = Vec<Timed>> {
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
        let lines = written(&recording(events), text);
        prop_assert!(lines.chars().all(|c| c == '\n' || !c.is_control()));
    }

    #[test]
    fn prop_a_transcript_is_the_text_with_times_in_the_recording(recording in recordings()) {
        let transcript = written(&recording, transcript);
        let mut lines = String::new();
        for line in transcript.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            if let [time, "-", line] = fields.as_slice() {
                let parts: Vec<i64> = time.split([':', '.']).map(|part| part.parse().unwrap()).collect();
                let [hours, minutes, seconds, millis] = parts[..] else { panic!("{time}") };
                let time_ms = ((hours * 60 + minutes) * 60 + seconds) * 1000 + millis;
                prop_assert!(recording.events.iter().any(|event| event.time_us / 1000 == time_ms), "{}", time);
                lines.push_str(line);
            } else {
                prop_assert_eq!(line, "");
            }
            lines.push('\n');
        }
        prop_assert_eq!(lines, written(&recording, text));
    }

    #[test]
    fn prop_json_is_read_back_as_the_same_events(
        events in events(),
        ats in prop::collection::vec(prop::option::of(-62_135_510_400_000_000..=253_402_300_799_999_999i64), 30),
    ) {
        let with_at = events.into_iter().zip(ats).map(|(event, at)| Timed { at, ..event });
        let recording = recording(with_at.collect());
        let read: Vec<Timed> = objects(&recording)[1..].iter().map(event_of).collect();
        prop_assert_eq!(read, recording.events);
    }

    #[test]
    fn prop_a_ttyrec_has_the_bytes_and_the_times(events in events()) {
        let recording = recording(events);
        let outputs = recording.events.iter().filter(|event| event.code == Code::Output && !event.data.is_empty());
        let latest_us = i64::from(u32::MAX) * 1_000_000 + 999_999;
        let expected: Vec<_> = outputs.map(|event| (event.time_us.min(latest_us), event.data.as_slice())).collect();
        let ttyrec = bytes(&recording, ttyrec);
        let mut frames = frames_of_ttyrec(&ttyrec);
        frames.retain(|(_, data)| !data.starts_with(b"\x1b[8;"));
        prop_assert_eq!(frames, expected);
    }

    #[test]
    fn prop_an_exported_part_shows_what_the_whole_shows(whole in recordings(), from in 0..=100i64) {
        let from_us = whole.duration_us / 100 * from;
        let part = whole.cut(from_us, whole.duration_us);
        let read = [
            events_of_ttyrec(&bytes(&part, ttyrec)),
            fixtures::recording(written(&part, asciicast_v2).as_bytes()).events,
        ];
        let mut expected = Screen::new(whole.size);
        whole.events.iter().for_each(|event| expected.apply(event));
        // asciicast has no place for an unfinished character: at the end it has to be there.
        if part.events.iter().rev().find(|event| event.code == Code::Output).is_some_and(|e| ends_whole(&e.data)) {
            for events in read {
                let mut screen = Screen::new(part.size);
                events.iter().for_each(|event| screen.apply(event));
                prop_assert_eq!(screen.size(), expected.size());
                prop_assert_eq!(screen.lines(), expected.lines());
            }
        }
    }
}
