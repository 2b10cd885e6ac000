//! Timing files, of `script` and of `sudo`: lines that say when how many bytes went over which stream.
//!
//! A record of such a recording is a run: timing lines as they stood, and after them the bytes that they tell of, in the
//! order of the lines, whatever streams (and files) these came from. So each line says how many of the next bytes are
//! its own. What a decoder must know of the runs before stands in the record's headers.

use std::borrow::Cow;

use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind, Message};

use super::Sink;

/// Header: the number of the run's first timing line, from 1.
pub(crate) const FIRST_LINE: &str = "first-line";
/// Header: how many bytes of the value are timing lines.
pub(crate) const TIMING_BYTES: &str = "timing-bytes";
/// Header: how many bytes after the timing lines belong to none of them (the first lines of typescripts).
pub(crate) const PREAMBLE_BYTES: &str = "preamble-bytes";
/// Header: how many bytes of output the runs before held.
pub(crate) const OUTPUT_BYTES: &str = "output-bytes";
/// Header: the names, with commas, of streams that have no bytes in this run whatever its lines say: their files ended
/// too early, or are not there.
pub(crate) const ENDED: &str = "ended";
/// Header: the file that the bytes of a record of the form [`REST`] are from.
pub(crate) const FILE: &str = "file";
/// Form of a record that holds bytes which no timing line tells of. They are kept, and decoded into nothing.
pub(crate) const REST: &str = "rest";

/// A timing line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Nanoseconds since the line before; `None` when the line does not have them as a number that can be.
    pub(crate) delay_ns: Option<i64>,
    /// What happened.
    pub(crate) what: What<'a>,
}

/// What a timing line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What<'a> {
    /// Bytes went over a stream.
    Bytes {
        /// The stream's name.
        stream: &'static str,
        /// Output or input.
        code: Code,
        /// How many.
        len: u64,
    },
    /// The terminal got a size.
    Resize {
        /// Columns.
        cols: u32,
        /// Rows.
        rows: u32,
    },
    /// A signal, by its name.
    Signal(&'a [u8]),
    /// A fact about all of the recording.
    Fact {
        /// Its name.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
}

/// Reads a timing line, without its line end. The error says what was expected.
pub(crate) type Grammar = for<'a> fn(&'a [u8]) -> Result<Line<'a>, &'static str>;

/// Nanoseconds of a number of seconds like `12.000345`. Older recorders wrote the decimal point of their locale.
pub(super) fn delay_ns(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let nanos: i64 =
        fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, d| n * 10 + i64::from(d - b'0'));
    whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// The whole number that a word of a timing line is.
pub(super) fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    // Only digits: a sign is no part of a count.
    std::str::from_utf8(word).ok().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The words of a line, at most `n`; the last is the rest of the line.
pub(super) fn words<const N: usize>(line: &[u8]) -> [&[u8]; N] {
    let mut words = line.splitn(N, |byte| *byte == b' ');
    std::array::from_fn(|_| words.next().unwrap_or_default())
}

/// The number that a header of a message says.
pub(super) fn header_number(message: &Message<'_>, name: &str) -> Option<i64> {
    number(message.header(name)?)
}

/// A run, as a record holds it.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// Number of the first line, from 1.
    pub(super) first_line: i64,
    timing: &'a [u8],
    /// Bytes before the first that a line tells of.
    pub(super) preamble: &'a [u8],
    data: &'a [u8],
    output_bytes: Option<i64>,
    ended: &'a [u8],
}

impl<'a> Run<'a> {
    /// The run in a record.
    pub(super) fn of(message: &Message<'a>) -> Result<Self, DecodeError> {
        let value = message.value.unwrap_or_default();
        if value.is_empty() {
            return Err(DecodeError::new(ErrorKind::Empty, "no value"));
        }
        let part = |name: &str| header_number(message, name).and_then(|bytes| usize::try_from(bytes).ok());
        let first_line = header_number(message, FIRST_LINE).filter(|line| (1..=i64::MAX / 2).contains(line));
        let timing = part(TIMING_BYTES).and_then(|bytes| value.split_at_checked(bytes));
        let (Some(first_line), Some((timing, data))) = (first_line, timing) else {
            return Err(DecodeError::new(ErrorKind::MissingField, "no headers that say where the timing lines are"));
        };
        let (preamble, data) = data.split_at_checked(part(PREAMBLE_BYTES).unwrap_or(0)).ok_or_else(|| {
            DecodeError::new(ErrorKind::InvalidField, "the first line of the typescript is not all there")
        })?;
        let output_bytes = header_number(message, OUTPUT_BYTES);
        let ended = message.header(ENDED).unwrap_or_default();
        Ok(Self { first_line, timing, preamble, data, output_bytes, ended })
    }

    /// Hands over the pieces of the run. `fact` is given each fact, and says which piece it is, if any.
    ///
    /// Where a line's number of bytes is not known, nothing after it is either, and the reading ends.
    pub(super) fn play(
        &self,
        session: &str,
        grammar: Grammar,
        sink: &mut dyn Sink,
        mut fact: impl FnMut(&'a [u8], &'a [u8]) -> Option<(Code, String)>,
    ) -> Played<'a> {
        let mut clock = Ticks::default();
        let mut output_bytes = self.output_bytes;
        let mut data = self.data;
        let mut seq = self.first_line;
        let mut error = None;
        for line in self.timing.split_inclusive(|byte| *byte == b'\n') {
            let invalid = |what: &str| DecodeError::new(ErrorKind::InvalidField, format!("timing line {seq}: {what}"));
            let Line { delay_ns, what } = match line.strip_suffix(b"\n").ok_or("is cut off").and_then(grammar) {
                Ok(line) => line,
                Err(what) => {
                    error.get_or_insert_with(|| invalid(what));
                    data = &[];
                    break;
                }
            };
            if delay_ns.is_none() {
                error.get_or_insert_with(|| invalid("the delay should be a number of seconds"));
            }
            let time_us = delay_ns.map(|delay_ns| clock.interval_us(delay_ns));
            let (code, bytes) = match what {
                What::Bytes { stream, .. }
                    if self.ended.split(|byte| *byte == b',').any(|s| s == stream.as_bytes()) =>
                {
                    (Code::Other, Cow::Borrowed(&[][..]))
                }
                What::Bytes { code, len, .. } => {
                    let there = usize::try_from(len).unwrap_or(usize::MAX).min(data.len());
                    if (there as u64) < len {
                        error.get_or_insert_with(|| invalid("tells of more bytes than there are"));
                    }
                    let (bytes, rest) = data.split_at(there);
                    data = rest;
                    (code, Cow::Borrowed(bytes))
                }
                What::Resize { cols, rows } => (Code::Resize, Cow::Owned(format!("{cols}x{rows}").into_bytes())),
                What::Signal(name) => (Code::Marker, Cow::Borrowed(name)),
                What::Fact { name, value } => match fact(name, value) {
                    Some((code, data)) => (code, Cow::Owned(data.into_bytes())),
                    None => (Code::Other, Cow::Borrowed(&[][..])),
                },
            };
            // A line that shows nothing and takes no time is no piece.
            if code != Code::Other || time_us.is_some_and(|time_us| time_us > 0) {
                let position = output_bytes.filter(|_| code == Code::Output);
                if code == Code::Output {
                    output_bytes = output_bytes.and_then(|before| before.checked_add(i64::try_from(bytes.len()).ok()?));
                }
                sink.piece(&Piece { time_us, position, ..piece(session, Clock::Interval, code, seq, bytes) });
            }
            seq += 1;
        }
        Played { next_line: seq, rest: data, error }
    }
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Played<'a> {
    /// Number of the line after the last.
    pub(super) next_line: i64,
    /// Bytes after those that the lines tell of.
    pub(super) rest: &'a [u8],
    /// The first line that could not be read, or for which there were too few bytes.
    pub(super) error: Option<DecodeError>,
}

impl Played<'_> {
    /// The error, or else that bytes are left which are not `expected`.
    pub(super) fn result(self, expected: impl FnOnce(&[u8]) -> bool) -> Result<(), DecodeError> {
        let left = !self.rest.is_empty() && !expected(self.rest);
        let error = self.error.or_else(|| {
            left.then(|| DecodeError::new(ErrorKind::InvalidField, "more bytes than the timing lines tell of"))
        });
        error.map_or(Ok(()), Err)
    }
}

/// A piece without times and without a channel.
pub(super) fn piece<'a>(session: &'a str, clock: Clock, code: Code, seq: i64, data: Cow<'a, [u8]>) -> Piece<'a> {
    let session_id = Cow::Borrowed(session);
    Piece { session_id, cluster: None, channel: None, clock, code, seq, time_us: None, at: None, position: None, data }
}

/// Turns delays in nanoseconds into intervals in microseconds of which no number is off by more than one.
#[derive(Debug, Default)]
struct Ticks {
    sum_ns: i64,
}

impl Ticks {
    fn interval_us(&mut self, delay_ns: i64) -> i64 {
        let before_us = self.sum_ns / 1000;
        self.sum_ns = self.sum_ns.saturating_add(delay_ns);
        self.sum_ns / 1000 - before_us
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delays_are_read_exactly_or_not_at_all() {
        let cases: &[(&str, Option<i64>)] = &[
            ("0.003027413", Some(3_027_413)),
            ("0.054218", Some(54_218_000)),
            ("5025.564659632", Some(5_025_564_659_632)),
            ("0,5", Some(500_000_000)),
            ("7", Some(7_000_000_000)),
            ("1.0000000019", Some(1_000_000_001)),
            ("-0.5", None),
            (".5", None),
            ("1.-5", None),
            ("1e3", None),
            ("nan", None),
            ("", None),
            ("9223372036.854775807", Some(i64::MAX)),
            ("9223372036.854775808", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(delay_ns(text.as_bytes()), *expected, "{text}");
        }
    }

    proptest! {
        /// However fine the delays, the sum is not off by more than a microsecond.
        #[test]
        fn no_time_is_lost_by_rounding(delays in prop::collection::vec(0..3_000i64, 1..200)) {
            let mut clock = Ticks::default();
            let sum_us: i64 = delays.iter().map(|delay_ns| clock.interval_us(*delay_ns)).sum();
            prop_assert_eq!(sum_us, delays.iter().sum::<i64>() / 1000);
        }
    }
}
