//! What several test modules need: recordings from files, and from lists of pieces.

use std::path::{Path, PathBuf};

use custody_schemas::frame::{Clock, Code, Frame, FramePiece};

use crate::line::{Line, parse_line};
use crate::recording::Recording;

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
