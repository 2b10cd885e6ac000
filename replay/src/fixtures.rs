//! What several test modules need: recordings from files, and from lists of pieces.

use std::path::{Path, PathBuf};

use custody_schemas::frame::{Clock, Code, Frame, FramePiece};

use crate::line::{Line, parse_line};
use crate::recording::{Recording, Timed};
use crate::size::Size;

/// The folder of shared recordings, or `None` (said loudly) where it is not checked out.
pub(crate) fn folder() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures/replay"));
    if path.is_dir() {
        return Some(path.to_owned());
    }
    eprintln!("SKIPPED: {} is not there, nothing was tested", path.display());
    None
}

/// A piece without times.
pub(crate) fn piece(code: Code, seq: i64, len: usize) -> FramePiece {
    FramePiece { code, seq, time_us: None, at: None, position: None, len }
}

/// A frame of session `s` from topic `t`, partition 0; its offsets are the numbers of its pieces.
pub(crate) fn frame(clock: Clock, pieces: Vec<(FramePiece, &[u8])>) -> Frame {
    Frame {
        session_id: "s".to_owned(),
        cluster: None,
        channel: None,
        topic: "t".to_owned(),
        partition: 0,
        first_offset: pieces.first().map_or(0, |(piece, _)| piece.seq),
        last_offset: pieces.last().map_or(0, |(piece, _)| piece.seq),
        clock,
        data: pieces.iter().flat_map(|(_, data)| *data).copied().collect(),
        pieces: pieces.into_iter().map(|(piece, data)| FramePiece { len: data.len(), ..piece }).collect(),
    }
}

/// The frame that the lines of a stream become, one message each; lines that cannot be read are left out.
pub(crate) fn frame_of_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Frame {
    let mut pieces = Vec::new();
    let mut datas: Vec<Vec<u8>> = Vec::new();
    for (seq, line) in (0..).zip(lines) {
        let (code, time_us, data) = match parse_line(line) {
            Ok(Line::Header { .. }) => (Code::Header, None, line.to_vec()),
            Ok(Line::Event { time_us, code, data }) => (code, Some(time_us), data.into_owned().into_bytes()),
            Ok(Line::Other { time_us }) => (Code::Other, Some(time_us), Vec::new()),
            Ok(Line::Skip) | Err(_) => continue,
        };
        pieces.push(FramePiece { time_us, ..piece(code, seq, 0) });
        datas.push(data);
    }
    let pieces = pieces.into_iter().zip(datas.iter().map(Vec::as_slice)).collect();
    frame(Clock::AsciicastLine, pieces)
}

/// The recording that the text of a file is.
pub(crate) fn recording(text: &[u8]) -> Recording {
    Recording::from_frames("s", [frame_of_lines(text.split(|byte| *byte == b'\n'))])
}

/// The frames of a ttyrec: wall clock and bytes.
pub(crate) fn frames_of_ttyrec(mut ttyrec: &[u8]) -> Vec<(i64, &[u8])> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = ttyrec.split_first_chunk::<12>() {
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let (data, rest) = rest.split_at(number(8) as usize);
        frames.push((i64::from(number(0)) * 1_000_000 + i64::from(number(4)), data));
        ttyrec = rest;
    }
    assert!(ttyrec.is_empty(), "half a frame");
    frames
}

/// What four nested recorders wrote of one session, with times since the first output. None of them saw the resizes.
pub(crate) fn four_recorders() -> Option<Vec<(&'static str, Recording)>> {
    let folder = folder()?.join("own/nested");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();
    let micros = |seconds: &str| (seconds.parse::<f64>().unwrap() * 1e6).round() as i64;

    let ttyrec = read("session.ttyrec");
    let ttyrec = frames_of_ttyrec(&ttyrec).into_iter().map(|(at, data)| (at, data.to_vec())).collect();

    let cast = recording(&read("asciinema-2.2.cast")).events.into_iter();
    let cast = cast.filter(|event| event.code == Code::Output).map(|event| (event.time_us, event.data)).collect();

    // A line of each: what it is, the time since the line before, and for output and input the number of bytes.
    let (mut script, mut now_us) = (Vec::new(), 0);
    let data = read("script.io");
    let mut rest = data.split_inclusive(|byte| *byte == b'\n').skip(1).flatten().copied();
    for line in text("script.timing").lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        now_us += micros(fields[1]);
        if let "O" | "I" = fields[0] {
            let data = rest.by_ref().take(fields[2].parse().unwrap()).collect();
            script.extend((fields[0] == "O").then_some((now_us, data)));
        }
    }

    // A path was replaced in its bytes, so they are those of the script, which are as many.
    let mut rest = script.iter().flat_map(|(_, data): &(i64, Vec<u8>)| data.clone()).collect::<Vec<_>>().into_iter();
    let raw = text("outer.raw.timing.jsonl");
    let raw = raw.lines().map(|line| {
        let (seconds, bytes) = line.trim_matches(['[', ']']).split_once(", ").unwrap();
        (micros(seconds), rest.by_ref().take(bytes.parse().unwrap()).collect())
    });
    let raw = raw.collect();

    let recorded = |outputs: Vec<(i64, Vec<u8>)>| {
        let zero = outputs[0].0;
        let events =
            outputs.into_iter().map(|(at, data)| Timed { time_us: at - zero, at: None, code: Code::Output, data });
        let events: Vec<_> = events.collect();
        let duration_us = events.last().unwrap().time_us;
        Recording { size: Size { cols: 100, rows: 30 }, events, duration_us, ..Recording::from_frames("s", []) }
    };
    Some(vec![
        ("ttyrec", recorded(ttyrec)),
        ("asciinema", recorded(cast)),
        ("script", recorded(script)),
        ("raw", recorded(raw)),
    ])
}
