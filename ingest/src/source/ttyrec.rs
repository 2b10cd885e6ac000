//! ttyrec: frames of a wall clock time and bytes, and nothing else.
//!
//! A frame is three little-endian numbers of 32 bits (seconds since 1970, microseconds, number of bytes) and the bytes.
//! There is no size, no input and no end; some recorders set the size with `ESC [ 8 ; ROWS ; COLS t` in the first frame.

use std::borrow::Cow;

use custody_schemas::event::{Event, Kind};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use custody_schemas::time::Micros;

use super::timing::{self, OUTPUT_BYTES, REST};
use super::{Sink, Source};

/// Header: the number of the record's first frame, from 1.
pub(crate) const FIRST_FRAME: &str = "first-frame";

/// Size of a frame before its bytes.
pub(crate) const FRAME_HEADER_BYTES: usize = 12;

/// What stands before the bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// When.
    pub(crate) at: Micros,
    /// Number of bytes that follow.
    pub(crate) len: u32,
}

impl FrameHeader {
    /// `None` when the microseconds are a second or more: no recorder writes that.
    pub(crate) fn read(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        let micros = u32::from_le_bytes([e, f, g, h]);
        let at = i64::from(u32::from_le_bytes([a, b, c, d])) * 1_000_000 + i64::from(micros);
        (micros < 1_000_000).then_some(Self { at, len: u32::from_le_bytes([i, j, k, l]) })
    }
}

/// Decodes one run of frames. The `seq` of a frame is its number, from 1; the size in the first frame has 0.
pub(super) fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    if super::form(message) == Some(REST.as_bytes()) {
        return Err(DecodeError::new(ErrorKind::UnexpectedShape, "bytes that are no frames"));
    }
    let session = source
        .session_id_of_message(message)
        .ok_or_else(|| DecodeError::new(ErrorKind::NoSessionId, "neither a header nor the key names the session"))?;
    let mut rest = message.value.unwrap_or_default();
    if rest.is_empty() {
        return Err(DecodeError::new(ErrorKind::Empty, "no value"));
    }
    let mut seq = timing::header_number(message, FIRST_FRAME)
        .filter(|first| (1..=i64::MAX / 2).contains(first))
        .ok_or_else(|| DecodeError::new(ErrorKind::MissingField, "no header that says which frame is the first"))?;
    let mut output_bytes = timing::header_number(message, OUTPUT_BYTES);
    while !rest.is_empty() {
        let (header, after) = rest.split_first_chunk().ok_or_else(|| {
            DecodeError::new(ErrorKind::InvalidField, format!("frame {seq} is cut off in its header"))
        })?;
        let FrameHeader { at, len } = FrameHeader::read(header).ok_or_else(|| {
            DecodeError::new(ErrorKind::InvalidField, format!("frame {seq} has more than a second of microseconds"))
        })?;
        let there = usize::try_from(len).unwrap_or(usize::MAX).min(after.len());
        let (data, after) = after.split_at(there);
        let is_cut = (there as u64) < u64::from(len);
        if seq == 1 {
            sink.event(&start(&session, at));
            if let Some(size) = size(data) {
                let piece = timing::piece(&session, Clock::Wall, Code::Resize, 0, Cow::Owned(size.into_bytes()));
                sink.piece(&Piece { at: Some(at), ..piece });
            }
        }
        let piece = timing::piece(&session, Clock::Wall, Code::Output, seq, Cow::Borrowed(data));
        sink.piece(&Piece { at: Some(at), position: output_bytes, ..piece });
        if is_cut {
            return Err(DecodeError::new(ErrorKind::InvalidField, format!("frame {seq} is cut off")));
        }
        output_bytes = output_bytes.and_then(|before| before.checked_add(i64::from(len)));
        seq += 1;
        rest = after;
    }
    Ok(())
}

fn start(session: &str, at: Micros) -> Event<'_> {
    Event {
        event_id: Cow::Owned(format!("ttyrec/{session}/start")),
        occurred_at: Some(at),
        kind: Kind::SessionStart,
        source_type: Cow::Borrowed("ttyrec.frame"),
        session_id: Some(Cow::Borrowed(session)),
        detail: "{}".to_owned(),
        ..Event::default()
    }
}

/// The size, as `COLSxROWS`, that the first `ESC [ 8 ; ROWS ; COLS t` asks for.
fn size(data: &[u8]) -> Option<String> {
    const REQUEST: &[u8] = b"\x1b[8;";
    let at = data.windows(REQUEST.len()).position(|window| window == REQUEST)?;
    // Two numbers of at most five digits, and what stands between and after them.
    let rest = data.get(at + REQUEST.len()..)?;
    let numbers = rest.get(..rest.iter().take(12).position(|byte| *byte == b't')?)?;
    let (rows, cols) = std::str::from_utf8(numbers).ok()?.split_once(';')?;
    let (rows, cols): (u16, u16) = (timing::number(rows.as_bytes())?, timing::number(cols.as_bytes())?);
    Some(format!("{cols}x{rows}"))
}
