use asciicast_rs::{Asciicast, V1};
use custody_schemas::frame::{Clock, FramePiece};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{self, frame, frame_of_lines, piece};
use crate::utf8::Decoder;

const V2: &[u8] = br#"{"version":2,"width":100,"height":30,"env":{"TERM":"xterm"}}"#;
const V3: &[u8] = br#"{"version":3,"term":{"cols":90,"rows":20}}"#;

fn lines(lines: &[&[u8]]) -> Recording {
    Recording::from_frames("s", [frame_of_lines(lines.iter().copied())])
}

fn teleport(pieces: Vec<(FramePiece, &[u8])>) -> Recording {
    Recording::from_frames("s", [frame(Clock::FirstOutput, pieces)])
}

fn output(seq: i64, time_us: i64, position: i64) -> FramePiece {
    let at = Some(1_000_000_000 + time_us);
    FramePiece { time_us: Some(time_us), position: Some(position), at, ..piece(Code::Output, seq, 0) }
}

fn at(code: Code, seq: i64, at: i64) -> FramePiece {
    FramePiece { at: Some(at), ..piece(code, seq, 0) }
}

fn shape(recording: &Recording) -> Vec<(i64, char, String)> {
    let events = recording.events.iter();
    events.map(|e| (e.time_us, e.code.as_char(), String::from_utf8_lossy(&e.data).into_owned())).collect()
}

fn shown(times: &[(i64, char, &str)]) -> Vec<(i64, char, String)> {
    times.iter().map(|(time_us, code, data)| (*time_us, *code, (*data).to_owned())).collect()
}

#[test]
fn version_2_counts_from_the_start() {
    let recording = lines(&[V2, br#"[1.5,"o","a"]"#, br#"[2.5,"z",0]"#, br#"[4,"o","b"]"#, br#"[5,"x","3"]"#]);
    assert_eq!(shape(&recording), shown(&[(1_500_000, 'o', "a"), (4_000_000, 'o', "b"), (5_000_000, 'x', "3")]));
    assert_eq!((recording.size, recording.duration_us), (Size { cols: 100, rows: 30 }, 5_000_000));
    assert_eq!(recording.header.term_type.as_deref(), Some("xterm"));
    assert_eq!((recording.findings.as_slice(), recording.state()), (&[][..], State::Complete));
}

#[test]
fn version_3_counts_from_the_line_before_also_from_an_unknown_one() {
    let recording = lines(&[V3, br#"[1.5,"o","a"]"#, b"# note", br#"[2.5,"z",0]"#, br#"[1,"o","b"]"#]);
    assert_eq!(shape(&recording), shown(&[(1_500_000, 'o', "a"), (5_000_000, 'o', "b")]));
    assert_eq!((recording.size, recording.state()), (Size { cols: 90, rows: 20 }, State::Unfinished));
}

#[test]
fn a_second_header_goes_on_from_the_time_reached() {
    let recording = lines(&[V3, br#"[2,"o","a"]"#, br#"[1,"x","0"]"#, V2, br#"[1,"o","b"]"#, br#"[4,"o","c"]"#]);
    assert_eq!(
        shape(&recording),
        shown(&[
            (2_000_000, 'o', "a"),
            (3_000_000, 'x', "0"),
            (3_000_000, 'r', "100x30"),
            (4_000_000, 'o', "b"),
            (7_000_000, 'o', "c"),
        ])
    );
    assert_eq!(recording.findings, [Finding::Restarted { at_us: 3_000_000 }]);
    assert!(!recording.ended, "it was started again after its exit");
}

#[test]
fn without_a_header_the_times_tell_the_version() {
    let absolute = lines(&[br#"[5,"o","a"]"#, br#"[5.5,"r","50x10"]"#, br#"[6,"o","b"]"#]);
    assert_eq!(absolute.findings, [Finding::HeaderMissing { read_as: Version::V2 }]);
    assert_eq!((absolute.duration_us, absolute.size), (6_000_000, Size::DEFAULT));
    let relative = lines(&[br#"[0.1,"r","50x10"]"#, br#"[5,"o","a"]"#, br#"[1,"o","b"]"#]);
    assert_eq!(relative.findings, [Finding::HeaderMissing { read_as: Version::V3 }]);
    assert_eq!((relative.duration_us, relative.size), (6_100_000, Size { cols: 50, rows: 10 }));
    let late = lines(&[br#"[5,"o","a"]"#, V3, br#"[1,"o","b"]"#]);
    assert_eq!(late.findings, [Finding::HeaderMissing { read_as: Version::V2 }]);
    assert_eq!(shape(&late), shown(&[(5_000_000, 'o', "a"), (5_000_000, 'r', "90x20"), (6_000_000, 'o', "b")]));
}

#[test]
fn time_never_runs_backwards() {
    let recording = lines(&[V2, br#"[5,"o","a"]"#, br#"[4,"o","b"]"#, br#"[2,"o","c"]"#, br#"[6,"o","d"]"#]);
    assert_eq!(recording.events.iter().map(|e| e.time_us / 1_000_000).collect::<Vec<_>>(), [5, 5, 5, 6]);
    assert_eq!(recording.findings, [Finding::Backwards { at_us: 5_000_000, pieces: 2, most_us: 3_000_000 }]);
}

#[test]
fn a_teleport_session_is_placed_by_the_clock_of_its_first_output() {
    let zero = 1_000_000_000;
    let recording = teleport(vec![
        (at(Code::Resize, 0, zero - 80_000), b"80x25"),
        (at(Code::Resize, 1, zero - 40_000), b"185x54"),
        (output(2, 0, 0), b"$ "),
        (output(3, 1_253_000, 2), b"ls"),
        (at(Code::Resize, 4, zero + 2_000_000), b"100x30"),
        (at(Code::Resize, 5, zero + 99_000_000), b"far off"),
        (output(6, 3_000_000, 4), b"x"),
        (piece(Code::Resize, 7, 0), b"90x20"),
        (at(Code::End, 8, zero + 20_000_000), b""),
    ]);
    assert_eq!(
        shape(&recording),
        shown(&[
            (0, 'r', "80x25"),
            (0, 'r', "185x54"),
            (0, 'o', "$ "),
            (1_253_000, 'o', "ls"),
            (2_000_000, 'r', "100x30"),
            (3_000_000, 'r', "far off"),
            (3_000_000, 'o', "x"),
            (3_000_000, 'r', "90x20"),
            (20_000_000, 'e', ""),
        ])
    );
    assert_eq!(recording.size, Size { cols: 80, rows: 25 });
    assert_eq!(recording.header.timestamp, Some(1000));
    assert_eq!(recording.duration_us, 20_000_000);
    assert!(recording.ended);
    assert_eq!(recording.findings, [Finding::Unreadable { at_us: 3_000_000, code: Code::Resize }]);
}

#[test]
fn missing_and_repeated_output_is_found_by_its_position() {
    let recording = teleport(vec![
        (output(0, 0, 100), b"ab"),
        (output(2, 10, 102), b"cd"),
        (output(9, 20, 110), b"ef"),
        (output(11, 30, 111), b"f"),
    ]);
    assert_eq!(
        recording.findings,
        [
            Finding::Gap { at_us: 0, missing_bytes: 100 },
            Finding::Gap { at_us: 20, missing_bytes: 6 },
            Finding::Overlap { at_us: 30, repeated_bytes: 1 },
        ]
    );
    assert_eq!(recording.state(), State::Incomplete);
}

#[test]
fn pieces_are_kept_once_and_contradictions_are_found() {
    let first = frame(Clock::FirstOutput, vec![(output(1, 0, 0), b"a"), (output(2, 5, 1), b"b")]);
    let again = Frame { first_offset: 7, last_offset: 8, ..first.clone() };
    let forged = frame(Clock::FirstOutput, vec![(output(2, 5, 1), b"B")]);
    let forged = Frame { first_offset: 9, last_offset: 9, ..forged };
    let foreign = Frame { session_id: "other".to_owned(), ..first.clone() };
    let recording = Recording::from_frames("s", [forged, again, foreign, first]);
    assert_eq!(shape(&recording), shown(&[(0, 'o', "a"), (5, 'o', "b")]));
    assert_eq!(recording.duplicates, 2);
    assert_eq!(recording.findings, [Finding::Conflict { at_us: 5, seq: 2 }]);
}

#[test]
fn streams_are_never_mixed() {
    let teleport = frame(Clock::FirstOutput, vec![(output(0, 0, 0), b"abc")]);
    let cast = frame_of_lines([V3, br#"[1,"o","longer"]"#.as_slice()]);
    let other = Frame { partition: 1, ..cast.clone() };
    let recording = Recording::from_frames("s", [other, teleport, cast]);
    assert_eq!(shape(&recording), shown(&[(1_000_000, 'o', "longer")]));
    let missing = |stream: &str, pieces, output_bytes| {
        let stream = stream.to_owned();
        Finding::OtherStream { stream, pieces, output_bytes }
    };
    assert_eq!(recording.findings, [missing("first_output", 1, 3), missing("asciicast_line t/1", 2, 6)]);
}

#[test]
fn a_session_without_frames_is_an_empty_recording() {
    let recording = Recording::from_frames("s", []);
    assert_eq!((recording.events.len(), recording.size), (0, Size::DEFAULT));
    assert_eq!(recording.state(), State::Unfinished);
}

fn timed(clock: Clock, pieces: Vec<(FramePiece, &[u8])>) -> Recording {
    Recording::from_frames("s", [frame(clock, pieces)])
}

fn at_us(code: Code, seq: i64, time_us: i64) -> FramePiece {
    FramePiece { time_us: Some(time_us), ..piece(code, seq, 0) }
}

#[test]
fn times_since_the_start_are_as_they_are_told() {
    let early = FramePiece { at: Some(5_000_100), ..at_us(Code::Output, 2, 100) };
    let recording = timed(
        Clock::SinceStart,
        vec![
            (at_us(Code::Output, 9, 700), b"c"),
            (piece(Code::Resize, 1, 0), b"90x20"),
            (early, b"a"),
            (piece(Code::Output, 3, 0), b"b"),
            (at_us(Code::Input, 10, 600), b"d"),
        ],
    );
    assert_eq!(
        shape(&recording),
        shown(&[(0, 'r', "90x20"), (100, 'o', "a"), (100, 'o', "b"), (700, 'o', "c"), (700, 'i', "d")])
    );
    assert_eq!((recording.size, recording.header.timestamp), (Size { cols: 90, rows: 20 }, Some(5)));
    assert_eq!(recording.findings, [Finding::Backwards { at_us: 700, pieces: 1, most_us: 100 }]);
}

#[test]
fn intervals_are_summed_up_and_nothing_is_made_up_for_missing_ones() {
    let pieces: Vec<(FramePiece, &[u8])> = vec![
        (at_us(Code::Output, 1, 50), b"a"),
        (at_us(Code::Other, 2, 1000), b""),
        (piece(Code::Output, 3, 0), b"b"),
        (at_us(Code::Output, 4, 10), b"c"),
        (at_us(Code::Output, 5, -5), b"d"),
        (at_us(Code::Exit, 6, 5), b"0"),
    ];
    let recording = timed(Clock::Interval, pieces.clone());
    assert_eq!(
        shape(&recording),
        shown(&[(50, 'o', "a"), (1050, 'o', "b"), (1060, 'o', "c"), (1060, 'o', "d"), (1065, 'x', "0")])
    );
    assert_eq!(recording.findings, [Finding::Backwards { at_us: 1060, pieces: 1, most_us: 5 }]);
    assert_eq!((recording.header.timestamp, recording.ended), (None, true));

    let with_gap: Vec<_> = pieces.iter().filter(|(piece, _)| ![2, 3, 5].contains(&piece.seq)).copied().collect();
    let recording = timed(Clock::Interval, with_gap.clone());
    assert_eq!(shape(&recording), shown(&[(50, 'o', "a"), (60, 'o', "c"), (65, 'x', "0")]));
    assert_eq!(recording.findings, [], "numbers need not follow one another");
    // Where the source counts its output, what is missing is known to be.
    let counted = with_gap.into_iter().map(|(piece, data)| {
        let position = (piece.code == Code::Output).then_some(if piece.seq == 1 { 0 } else { 2 });
        (FramePiece { position, ..piece }, data)
    });
    let recording = timed(Clock::Interval, counted.collect());
    assert_eq!(recording.findings, [Finding::Gap { at_us: 60, missing_bytes: 1 }]);
}

#[test]
fn the_wall_clock_counts_from_the_first_piece_that_has_one() {
    let second = 1_000_000;
    let recording = timed(
        Clock::Wall,
        vec![
            (piece(Code::Resize, 0, 0), b"80x25"),
            (at(Code::Output, 1, 50 * second), b"a"),
            (piece(Code::Output, 2, 0), b"b"),
            (at(Code::Output, 3, 53 * second), b"c"),
            (at(Code::Output, 4, 52 * second), b"d"),
        ],
    );
    let seconds = shape(&recording).into_iter().map(|(time_us, _, data)| (time_us / second, data)).collect::<Vec<_>>();
    let expected = [(0, "80x25"), (0, "a"), (0, "b"), (3, "c"), (3, "d")];
    assert_eq!(seconds, expected.map(|(s, data)| (s, data.to_owned())));
    assert_eq!(recording.header.timestamp, Some(50));
    assert_eq!(recording.findings, [Finding::Backwards { at_us: 3 * second, pieces: 1, most_us: second }]);
}

#[test]
fn two_imports_of_one_recording_are_one() {
    for clock in [Clock::SinceStart, Clock::Interval, Clock::Wall] {
        let piece = |seq| FramePiece { at: Some(100 + seq), ..at_us(Code::Output, seq, 7) };
        let once = frame(clock, vec![(piece(1), b"a"), (piece(2), b"b")]);
        let again = Frame { topic: "elsewhere".to_owned(), partition: 3, ..once.clone() };
        let recording = Recording::from_frames("s", [again.clone(), once.clone()]);
        assert_eq!((recording.duplicates, recording.findings.len()), (2, 0), "{clock:?}");
        assert_eq!(recording.events, Recording::from_frames("s", [once.clone()]).events, "{clock:?}");

        let mut forged = again;
        forged.data = b"ax".to_vec();
        let recording = Recording::from_frames("s", [once.clone(), forged]);
        assert!(matches!(recording.findings.as_slice(), [Finding::Conflict { seq: 2, .. }]), "{clock:?}");

        // The wall clock may be that of the second import, unless it is the source's.
        let mut later = Frame { topic: "elsewhere".to_owned(), ..once.clone() };
        later.pieces.iter_mut().for_each(|piece| piece.at = Some(900));
        let conflicts = if clock == Clock::Wall { 2 } else { 0 };
        assert_eq!(Recording::from_frames("s", [once, later]).findings.len(), conflicts, "{clock:?}");
    }
}

#[test]
fn each_channel_can_be_played() {
    let channel = |name: &str, data: &'static [u8], at| Frame {
        channel: Some(name.to_owned()),
        ..frame(Clock::SinceStart, vec![(FramePiece { at: Some(at), ..at_us(Code::Output, 1, 0) }, data)])
    };
    let frames = [channel("b", b"long", 30), channel("a", b"mid", 20), teleport_frame()];
    let recording = Recording::from_frames("s", frames.clone());
    assert_eq!(recording.events[0].data, b"long");
    assert!(recording.findings.is_empty(), "other channels are not wrong: {:?}", recording.findings);
    for (name, data) in [(Some("a"), &b"mid"[..]), (Some("b"), b"long"), (None, b"x")] {
        let recording = Recording::from_channel("s", name, frames.clone());
        assert_eq!((recording.events[0].data.as_slice(), recording.findings.len()), (data, 0), "{name:?}");
    }
    assert!(Recording::from_channel("s", Some("c"), frames.clone()).events.is_empty());
    let of = |name: Option<&str>, output_bytes, start| Channel {
        name: name.map(str::to_owned),
        pieces: 1,
        output_bytes,
        start: Some(start),
    };
    let foreign = Frame { session_id: "other".to_owned(), ..channel("z", b"x", 1) };
    assert_eq!(
        channels("s", frames.into_iter().chain([foreign])),
        [of(None, 1, 1_000_000_000), of(Some("a"), 3, 20), of(Some("b"), 4, 30)]
    );
}

fn teleport_frame() -> Frame {
    frame(Clock::FirstOutput, vec![(output(1, 0, 0), b"x")])
}

/// A message as it stands in a topic.
#[derive(Debug, Clone)]
struct Message {
    topic: u8,
    channel: Option<u8>,
    clock: Clock,
    piece: FramePiece,
    data: Vec<u8>,
}

fn message() -> impl Strategy<Value = Message> {
    let code = prop::sample::select(vec!['h', 'o', 'o', 'o', 'i', 'r', 'm', 'x', 'e', '?']);
    let clock = prop::sample::select(vec![
        Clock::FirstOutput,
        Clock::AsciicastLine,
        Clock::SinceStart,
        Clock::Interval,
        Clock::Wall,
    ]);
    let channel = prop::option::of(0..2u8);
    let number = || prop_oneof![4 => -5..100i64, 1 => any::<i64>()];
    let data = prop_oneof![
        Just(V2.to_vec()),
        Just(V3.to_vec()),
        Just(b"80x24".to_vec()),
        Just(b"0".to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    let times = (prop::option::of(number()), prop::option::of(number()), prop::option::of(number()));
    let parts = (0..2u8, channel, clock, code, number(), times, data);
    parts.prop_map(|(topic, channel, clock, code, seq, (time_us, at, position), data)| {
        let code = Code::from_char(code).unwrap();
        Message { topic, channel, clock, piece: FramePiece { code, seq, time_us, at, position, len: data.len() }, data }
    })
}

/// Packs each topic's messages into frames, cut wherever `cuts` says.
fn pack(messages: &[Message], cuts: &[bool]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for topic in 0..2 {
        for ((offset, message), cut) in (0..).zip(messages).zip(cuts).filter(|((_, m), _)| m.topic == topic) {
            // Lines are numbered by their offset.
            let mut piece = message.piece;
            if message.clock == Clock::AsciicastLine {
                piece.seq = offset;
            }
            let channel = message.channel.map(|channel| channel.to_string());
            let new = frames.last().is_none_or(|f| {
                *cut || f.clock != message.clock || f.topic != topic.to_string() || f.channel != channel
            });
            if new {
                frames.push(Frame {
                    topic: topic.to_string(),
                    channel,
                    first_offset: offset,
                    ..fixtures::frame(message.clock, vec![])
                });
            }
            let frame = frames.last_mut().unwrap();
            frame.last_offset = offset;
            frame.pieces.push(piece);
            frame.data.extend(&message.data);
        }
    }
    frames
}

fn first_seq(frame: &Frame) -> i64 {
    frame.pieces.first().unwrap().seq
}

fn last_seq(frame: &Frame) -> i64 {
    frame.pieces.last().unwrap().seq
}

/// The frame in parts in which the numbers of pieces grow.
fn rising(frame: Frame) -> Vec<Frame> {
    let mut parts: Vec<Frame> = Vec::new();
    for (piece, data) in frame.iter() {
        match parts.last_mut() {
            Some(part) if part.pieces.last().is_some_and(|last| last.seq < piece.seq) => {
                part.pieces.push(*piece);
                part.data.extend(data);
            }
            _ => parts.push(Frame { pieces: vec![*piece], data: data.to_vec(), ..frame.clone() }),
        }
    }
    parts
}

proptest! {
    #[test]
    fn prop_order_packing_and_repetition_do_not_matter(
        (messages, cuts, order) in prop::collection::vec(message(), 0..24).prop_flat_map(|messages| {
            let len = messages.len();
            let cuts = prop::collection::vec(any::<bool>(), len);
            // Each number is a frame; all are there, some twice.
            let order = prop::collection::vec(0..=len, 0..8);
            let all = move |extra| Just((0..len).chain(extra).collect::<Vec<usize>>()).prop_shuffle();
            let order = order.prop_flat_map(all);
            (Just(messages), cuts, order)
        }),
    ) {
        let whole = Recording::from_frames("s", pack(&messages, &vec![false; messages.len()]));
        let frames = pack(&messages, &cuts);
        let mixed = order.iter().filter_map(|n| frames.get(*n)).cloned();
        let mixed = Recording::from_frames("s", mixed);
        prop_assert!(mixed.duplicates >= whole.duplicates);
        prop_assert_eq!(Recording { duplicates: whole.duplicates, ..mixed }, whole);
    }

    #[test]
    fn prop_a_stream_is_read_window_by_window(
        messages in prop::collection::vec(message(), 1..24),
        cuts in prop::collection::vec(any::<bool>(), 24),
        windows in prop::collection::vec(any::<bool>(), 24),
        (from, events) in (any::<prop::sample::Index>(), 1..24_usize),
    ) {
        // As they are stored: the numbers in a frame grow.
        let frames = pack(&messages, &cuts).into_iter().flat_map(rising);
        let mut streams: BTreeMap<StreamKey, Vec<Frame>> = BTreeMap::new();
        for frame in frames {
            streams.entry(StreamKey::of(&frame)).or_default().push(frame);
        }
        for (key, mut frames) in streams {
            frames.sort_by_key(first_seq);
            let whole = Recording::from_channel("s", key.channel.as_deref(), frames.clone());
            let (mut read, mut reader) = (Vec::new(), Reader::new(key.clone()));
            let mut window = Vec::new();
            for (frame, is_cut) in frames.iter().zip(&windows) {
                if *is_cut {
                    read.extend(reader.push(std::mem::take(&mut window), first_seq(frame)));
                }
                window.push(frame.clone());
            }
            let (recording, rest) = reader.finish(window);
            read.extend(rest);
            let timed = |read: &[(Place, Timed)]| read.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>();
            let session_id = "s".to_owned();
            let mut recording = Recording { events: timed(&read), session_id, ..recording };
            recording.findings.sort_by_key(Finding::at_us);
            prop_assert_eq!(&recording, &whole);

            // From any place on, up to any other.
            if read.is_empty() {
                continue;
            }
            let from = from.index(read.len());
            let part = &read[from..read.len().min(from + events)];
            let whole_read = &read;
            let (place, last) = (part[0].0, part[part.len() - 1].clone());
            let between = |frame: &&Frame| first_seq(frame) <= last.0.seq && last_seq(frame) >= place.seq;
            let some: Vec<Frame> = frames.iter().filter(between).cloned().collect();
            let upto = (last.0.seq, last.1.time_us);
            prop_assert_eq!(Reader::part(key.clone(), place, upto, some), timed(part));
            let rest = Reader::resumed(key, place).finish(frames).1;
            prop_assert_eq!(timed(&rest), timed(&whole_read[from..]));
        }
    }

    #[test]
    fn prop_any_frames_are_a_recording(
        messages in prop::collection::vec(message(), 0..24),
        cuts in prop::collection::vec(any::<bool>(), 24),
        len in any::<usize>(),
    ) {
        let mut frames = pack(&messages, &cuts);
        if let Some(piece) = frames.first_mut().and_then(|frame| frame.pieces.first_mut()) {
            piece.len = len;
        }
        let recording = Recording::from_frames("s", frames);
        prop_assert!(recording.events.is_sorted_by_key(|event| event.time_us));
        let end_us = recording.events.last().map_or(0, |event| event.time_us);
        prop_assert!(recording.events.first().is_none_or(|event| event.time_us >= 0));
        prop_assert!(end_us <= recording.duration_us && recording.duration_us <= TIME_US_MAX);
        for finding in &recording.findings {
            prop_assert!(!finding.to_string().is_empty());
        }
        for channel in channels("s", pack(&messages, &cuts)) {
            let recording = Recording::from_channel("s", channel.name.as_deref(), pack(&messages, &cuts));
            let output = recording.events.iter().filter(|event| event.code == Code::Output);
            prop_assert_eq!(output.map(|event| event.data.len() as u64).sum::<u64>(), channel.output_bytes);
        }
    }
}

/// All that was shown, and the times of events.
fn output_text(recording: &Recording) -> String {
    let (mut decoder, mut text) = (Decoder::default(), String::new());
    for event in recording.events.iter().filter(|event| event.code == Code::Output) {
        decoder.push(&event.data, &mut text);
    }
    decoder.finish(&mut text);
    text
}

#[test]
fn one_session_in_three_versions_is_one_recording() {
    let Some(folder) = fixtures::folder() else { return };
    let read = |name: &str| std::fs::read(folder.join("own/derived").join(name)).unwrap();
    let v1 = Asciicast::<V1>::from_slice(&read("session.v1.json")).unwrap();
    let v2 = fixtures::recording(&read("session.v2.cast"));
    let v3 = fixtures::recording(&read("session.v3.cast"));

    assert!(v3.ended && v2.findings.is_empty() && v3.findings.is_empty());
    assert_eq!((v2.size, v3.size), (Size { cols: 100, rows: 30 }, Size { cols: 100, rows: 30 }));
    assert_eq!((&v2.header.title, v2.header.timestamp), (&v3.header.title, v3.header.timestamp));
    let of_v1: String = v1.events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(output_text(&v2), of_v1);
    assert_eq!(output_text(&v3), of_v1);

    let of = |recording: &Recording, code: Code| {
        recording.events.iter().filter(|event| event.code == code).cloned().collect::<Vec<_>>()
    };
    for code in [Code::Output, Code::Input, Code::Resize] {
        let (v2, v3) = (of(&v2, code), of(&v3, code));
        assert_eq!(v2.len(), v3.len(), "{code:?}");
        for (a, b) in v2.iter().zip(&v3) {
            assert_eq!(a.data, b.data);
            assert!(a.time_us.abs_diff(b.time_us) <= 500, "{} {}", a.time_us, b.time_us);
        }
    }
}

#[test]
fn recorders_and_servers_files_are_read() {
    let Some(folder) = fixtures::folder() else { return };
    for version in ["2", "3"] {
        for entry in std::fs::read_dir(folder.join("asciinema-server").join(version)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read(&path).unwrap();
            let lines = text.split(|byte| *byte == b'\n');
            let refused = lines.filter(|line| crate::line::parse_line(line).is_err()).count();
            let negative = name == "broken"
                || name == "wrong-event-length"
                || (name.starts_with("invalid-") && name != "invalid-theme");
            assert_eq!(refused, usize::from(negative), "{}", path.display());
            let recording = fixtures::recording(&text);
            assert!(recording.findings.is_empty(), "{}: {:?}", path.display(), recording.findings);
            assert_eq!(recording.events.is_empty(), name == "no-events", "{}", path.display());
        }
    }
}
