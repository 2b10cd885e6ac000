//! Files of ttyrec.

use std::io;
use std::path::Path;

use custody_schemas::event::Integrity;

use super::finding;
use super::lines::Bytes;
use crate::import::{Finding, Reader, Summary, UNIT_BYTES, Unit};
use crate::source::timing::{OUTPUT_BYTES, REST};
use crate::source::ttyrec::{FIRST_FRAME, FRAME_HEADER_BYTES, FrameHeader};
use crate::source::{FORM_HEADER, SourceKind};

/// Bound on the bytes of one frame. Recorders write what one read of the terminal gave, a few KB.
pub(crate) const FRAME_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// The frames of a file say what wall clock it was. Two that are further apart are not frames.
const STEP_US_MAX: u64 = 10 * 366 * 86_400 * 1_000_000;

/// The channels of `ttyrec3`: output, input, and the score of the game.
const CHANNELS: [u8; 3] = [0, 1, 2];

/// How the frames of a file are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Ttyrec,
    /// The format of the NetHack Learning Environment: each frame has a byte more, its channel.
    Ttyrec3,
}

/// Whether a file that begins like this is a ttyrec, or a `ttyrec3`, which is refused when it is opened.
pub(crate) fn recognises(head: &[u8]) -> bool {
    framing(head).is_some()
}

/// The framing in which all of the head is frames.
fn framing(head: &[u8]) -> Option<Framing> {
    let plain = frames(head, 0);
    let with_channel = frames(head, 1);
    match (plain, with_channel) {
        (None, None) => None,
        (Some(_), None) => Some(Framing::Ttyrec),
        (None, Some(_)) => Some(Framing::Ttyrec3),
        // Only a head with hardly a frame can be both; no terminal is sent a byte 0, 1 or 2 first.
        (Some(_), Some(_)) => Some(Framing::Ttyrec3),
    }
}

/// Number of the frames in a head, the last of which may be cut off; `None` if something in it is no frame.
fn frames(head: &[u8], channel_bytes: usize) -> Option<usize> {
    let mut rest = head;
    let mut number = 0;
    let mut before = None;
    while let Some((header, after)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let FrameHeader { at, len } = FrameHeader::read(header).filter(|header| header.len <= FRAME_BYTES_MAX)?;
        let is_far = before.is_some_and(|before: i64| at.abs_diff(before) > STEP_US_MAX);
        let is_channel = channel_bytes == 0 || after.first().is_none_or(|channel| CHANNELS.contains(channel));
        if at < 1_000_000 || is_far || !is_channel {
            return None;
        }
        before = Some(at);
        number += 1;
        rest = after.get(channel_bytes.saturating_add(len as usize)..).unwrap_or_default();
    }
    (number > 0).then_some(number)
}

/// Opens a file as the recording of a session.
///
/// # Errors
///
/// Only when the operating system cannot read it.
pub(crate) fn open(path: &Path, session_id: &str) -> io::Result<impl Reader + use<>> {
    let mut ttyrec = Ttyrec {
        bytes: Bytes::open(path)?,
        session_id: session_id.to_owned(),
        frames: 0,
        output_bytes: 0,
        ended: false,
        is_refused: false,
        findings: Vec::new(),
    };
    if framing(&super::head(path)?) == Some(Framing::Ttyrec3) {
        let detail = "ttyrec3 has a channel in each frame, and is not read";
        ttyrec.findings.push(finding("Unsupported", None, detail));
        ttyrec.ended = true;
        ttyrec.is_refused = true;
    }
    Ok(ttyrec)
}

struct Ttyrec {
    bytes: Bytes,
    session_id: String,
    /// Number of frames in the units before.
    frames: u64,
    output_bytes: u64,
    /// Whether there are no more frames.
    ended: bool,
    /// Whether nothing of the file is taken.
    is_refused: bool,
    findings: Vec<Finding>,
}

impl Ttyrec {
    /// Appends a frame; what is no whole frame ends the file. Says whether there was one.
    fn frame(&mut self, value: &mut Vec<u8>) -> io::Result<Option<u32>> {
        let number = self.frames + 1;
        let start = value.len();
        let taken = self.bytes.take(FRAME_HEADER_BYTES, value)?;
        let Some(header) = value.get(start..).and_then(<[u8]>::first_chunk) else {
            self.ended = true;
            if taken > 0 {
                let detail = format!("frame {number} is cut off in its header");
                self.findings.push(finding("Truncated", None, detail));
            }
            return Ok(None);
        };
        let header = FrameHeader::read(header);
        let Some(FrameHeader { len, .. }) = header.filter(|header| header.len <= FRAME_BYTES_MAX) else {
            self.ended = true;
            let detail = format!("frame {number} is none; it and what follows is kept, but not read");
            self.findings.push(finding("Damaged", None, detail));
            self.bytes.put_back(value.split_off(start));
            return Ok(None);
        };
        let there = self.bytes.take(len as usize, value)?;
        if there < len as usize {
            self.ended = true;
            let detail = format!("frame {number} has {there} of {len} bytes");
            self.findings.push(finding("Truncated", None, detail));
        }
        self.frames += 1;
        Ok(Some(len))
    }
}

impl Reader for Ttyrec {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        let mut headers =
            vec![(FIRST_FRAME, (self.frames + 1).to_string()), (OUTPUT_BYTES, self.output_bytes.to_string())];
        let mut value = Vec::new();
        while !self.ended && value.len() < UNIT_BYTES {
            let len = self.frame(&mut value)?;
            self.output_bytes += u64::from(len.unwrap_or_default());
        }
        if value.is_empty() && !self.is_refused {
            headers = vec![(FORM_HEADER, REST.to_owned())];
            self.bytes.take(UNIT_BYTES, &mut value)?;
        }
        let unit = Unit { source: SourceKind::Ttyrec, key: Some(self.session_id.clone()), headers, value };
        Ok(Some(unit).filter(|unit| !unit.value.is_empty()))
    }

    fn summary(&self) -> Summary {
        Summary {
            session_id: Some(self.session_id.clone()),
            recording_id: None,
            public_key_sha256: None,
            // A ttyrec has no end: where nothing is wrong nobody knows whether something is missing.
            integrity: (!self.findings.is_empty()).then_some(Integrity::Incomplete),
            findings: self.findings.clone(),
        }
    }
}
