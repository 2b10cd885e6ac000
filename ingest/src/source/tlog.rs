//! tlog: messages of a terminal recorder, in a journal, a file or a topic.
//!
//! Each message is a JSON object that can be read by itself: its position in the recording, the text that went over the
//! terminal, and how that text is spread over time (tlog's manual page `tlog-rec` and its `doc/schema.json`). Counts in
//! `timing` are of characters. What was not UTF-8 stands in the text as a replacement, and as it was in a list of bytes.

use std::borrow::Cow;

use custody_schemas::event::{Event, Kind};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use custody_schemas::time::Micros;

use super::Sink;
use super::object::{Object, int, string};
use super::timing::{delay_ns, piece};
use super::wrapper::{self, Unpacked};

/// Bound on the pieces of one message. The `seq` of a piece is the message's `id` times this, plus its number in it.
const PIECES_MAX: i64 = 65_536;

/// Decodes one record: a message, or several.
pub(super) fn decode(message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    wrapper::unpack(message.value, &mut Tlog { broker_at: message.broker_at, sink })
}

struct Tlog<'s> {
    broker_at: Option<Micros>,
    sink: &'s mut dyn Sink,
}

impl Unpacked for Tlog<'_> {
    const BETWEEN_LOG_LINES: bool = true;

    fn is_event(&self, object: &Object<'_>) -> bool {
        object.has("rec") && object.has("timing")
    }

    fn object(&mut self, object: Object<'_>) -> Result<(), DecodeError> {
        if self.is_event(&object) {
            return self.message(object);
        }
        // Some shippers leave a journal's entries as they are.
        let entry = object.json("MESSAGE").and_then(string);
        match entry.as_deref().and_then(Object::parse).filter(|object| self.is_event(object)) {
            Some(object) => self.message(object),
            None => Err(DecodeError::new(ErrorKind::MissingField, "no `rec` and `timing`: not a tlog message")),
        }
    }
}

fn invalid(what: impl Into<String>) -> DecodeError {
    DecodeError::new(ErrorKind::InvalidField, what)
}

impl Tlog<'_> {
    fn message(&mut self, mut object: Object<'_>) -> Result<(), DecodeError> {
        if object.json("ver").and_then(string).is_none_or(|ver| ver.split('.').next() != Some("2")) {
            return Err(DecodeError::new(ErrorKind::UnexpectedShape, "`ver` is not 2 or 2.x"));
        }
        let rec = object.text("rec").ok_or_else(|| DecodeError::new(ErrorKind::NoSessionId, "`rec` is no text"))?;
        let id = object.json("id").and_then(int).filter(|id| (1..i64::MAX / PIECES_MAX).contains(id));
        let pos_ms = object.json("pos").and_then(int).filter(|pos| (0..=i64::MAX / 1000).contains(pos));
        let (Some(id), Some(pos_ms)) = (id, pos_ms) else {
            return Err(invalid("`id` should be a number from 1, `pos` one from 0"));
        };
        // The time of the position, since version 2.3.
        let time = object.json("time").map(|json| delay_ns(json.as_bytes()).map(|nanos| nanos / 1000));
        let at = time.flatten().or(self.broker_at);
        let timing = object.json("timing").and_then(string).unwrap_or_default();
        let (input, input_error) = Text::of(&object, "in_txt", "in_bin");
        let (output, output_error) = Text::of(&object, "out_txt", "out_bin");

        if id == 1 {
            for name in ["id", "pos", "timing", "in_txt", "in_bin", "out_txt", "out_bin"] {
                object.take(name);
            }
            if time.flatten().is_some() {
                object.take("time");
            }
            let target = object.text("host");
            let event = Event {
                event_id: Cow::Owned(format!("tlog/{}/{rec}/start", target.as_deref().unwrap_or_default())),
                occurred_at: at,
                kind: Kind::SessionStart,
                source_type: Cow::Borrowed("tlog"),
                actor: object.text("user"),
                target_kind: target.is_some().then_some("node".into()),
                target,
                session_id: Some(Cow::Borrowed(&*rec)),
                ..Event::default()
            };
            self.sink.event(&Event { detail: object.detail()?, ..event });
        }
        let reader = TimingReader {
            session: &rec,
            pos_ms,
            at,
            first_seq: id * PIECES_MAX,
            pieces: 0,
            relative_ms: Some(0),
            size: None,
            input,
            output,
            sink: self.sink,
        };
        let result = reader.read(&timing);
        input_error.or(output_error).map_or(result, Err).and(match time {
            Some(None) => Err(invalid("`time` should be a number of seconds")),
            _ => Ok(()),
        })
    }
}

/// What is left of a direction's text.
struct Text<'a> {
    owned: Cow<'a, str>,
    /// Byte from which on the text is left.
    from: usize,
    bytes: Vec<u8>,
    bytes_from: usize,
}

impl<'a> Text<'a> {
    /// The two fields of a direction. Absent ones are empty.
    fn of(object: &Object<'a>, text: &str, bytes: &str) -> (Self, Option<DecodeError>) {
        let given = |name: &str| object.json(name).filter(|json| *json != "null");
        let owned = given(text).map_or(Some(Cow::Borrowed("")), string);
        let list = given(bytes).map_or(Some(Vec::new()), |json| serde_json::from_str(json).ok());
        let error = match (&owned, &list) {
            (None, _) => Some(invalid(format!("`{text}` should be text"))),
            (_, None) => Some(invalid(format!("`{bytes}` should be a list of bytes"))),
            _ => None,
        };
        (Self { owned: owned.unwrap_or_default(), from: 0, bytes: list.unwrap_or_default(), bytes_from: 0 }, error)
    }

    /// The next `count` characters.
    fn characters(&mut self, count: usize) -> Option<&str> {
        let rest = self.owned.get(self.from..)?;
        let len = match count.checked_sub(1) {
            None => 0,
            Some(last) => rest.char_indices().nth(last).map(|(at, character)| at + character.len_utf8())?,
        };
        self.from += len;
        rest.get(..len)
    }

    /// The next `count` bytes of those that are not UTF-8.
    fn raw(&mut self, count: usize) -> Option<&[u8]> {
        let end = self.bytes_from.checked_add(count)?;
        let bytes = self.bytes.get(self.bytes_from..end)?;
        self.bytes_from = end;
        Some(bytes)
    }

    fn has_raw(&self) -> bool {
        self.bytes_from < self.bytes.len()
    }

    fn rest(&self) -> &str {
        self.owned.get(self.from..).unwrap_or_default()
    }
}

struct TimingReader<'a, 's> {
    session: &'a str,
    pos_ms: i64,
    at: Option<Micros>,
    first_seq: i64,
    pieces: i64,
    /// Milliseconds since `pos_ms`; `None` once they are not known.
    relative_ms: Option<i64>,
    size: Option<(u16, u16)>,
    input: Text<'a>,
    output: Text<'a>,
    sink: &'s mut dyn Sink,
}

impl TimingReader<'_, '_> {
    /// Hands over the pieces. Where the timing cannot be read, what is left of the text is handed over without a time:
    /// that it was shown or typed is known. Only where it stands for bytes that cannot be placed it is not.
    fn read(mut self, timing: &str) -> Result<(), DecodeError> {
        let result = self.follow(timing);
        let left = !self.input.rest().is_empty() || !self.output.rest().is_empty();
        if left || self.input.has_raw() || self.output.has_raw() {
            self.relative_ms = None;
            for code in [Code::Input, Code::Output] {
                let text = if code == Code::Input { &self.input } else { &self.output };
                if !text.has_raw() && !text.rest().is_empty() {
                    let data = text.rest().as_bytes().to_vec();
                    self.piece(code, data)?;
                }
            }
            return result.and(Err(invalid("`timing` does not tell of all the text")));
        }
        result
    }

    fn follow(&mut self, timing: &str) -> Result<(), DecodeError> {
        let mut rest = timing;
        let unreadable = || invalid("`timing` should be a row of `+n`, `<n`, `>n`, `[n/n`, `]n/n` and `=nxn`");
        let missing = || invalid("`timing` tells of more text than there is");
        while let Some(kind) = rest.bytes().next() {
            let after = rest.get(1..).ok_or_else(unreadable)?;
            let (first, after) = digits(after).ok_or_else(unreadable)?;
            let separator = match kind {
                b'[' | b']' => Some('/'),
                b'=' => Some('x'),
                _ => None,
            };
            let (second, after) = match separator {
                Some(separator) => after.strip_prefix(separator).and_then(digits).ok_or_else(unreadable)?,
                None => (0, after),
            };
            rest = after;
            let text = if matches!(kind, b'<' | b'[') { &mut self.input } else { &mut self.output };
            let (code, data) = match kind {
                b'+' => {
                    let delay_ms = i64::try_from(first).ok();
                    self.relative_ms = self.relative_ms.zip(delay_ms).and_then(|(sum, delay)| sum.checked_add(delay));
                    continue;
                }
                b'<' => (Code::Input, text.characters(first).ok_or_else(missing)?.as_bytes().to_vec()),
                b'>' => (Code::Output, text.characters(first).ok_or_else(missing)?.as_bytes().to_vec()),
                b'[' | b']' => {
                    text.characters(first).ok_or_else(missing)?;
                    let code = if kind == b'[' { Code::Input } else { Code::Output };
                    (code, text.raw(second).ok_or_else(missing)?.to_vec())
                }
                b'=' => {
                    // Every message repeats the size.
                    let size = u16::try_from(first).ok().zip(u16::try_from(second).ok()).ok_or_else(unreadable)?;
                    if self.size.replace(size) == Some(size) {
                        continue;
                    }
                    (Code::Resize, format!("{}x{}", size.0, size.1).into_bytes())
                }
                _ => return Err(unreadable()),
            };
            self.piece(code, data)?;
        }
        Ok(())
    }

    fn piece(&mut self, code: Code, data: Vec<u8>) -> Result<(), DecodeError> {
        if self.pieces == PIECES_MAX {
            return Err(DecodeError::new(ErrorKind::TooLarge, format!("more than {PIECES_MAX} pieces in one message")));
        }
        let seq = self.first_seq + self.pieces;
        self.pieces += 1;
        let since_start_ms = self.relative_ms.and_then(|relative| self.pos_ms.checked_add(relative));
        let time_us = since_start_ms.and_then(|ms| ms.checked_mul(1000));
        let relative_us = self.relative_ms.and_then(|relative| relative.checked_mul(1000));
        let at = self.at.zip(relative_us).and_then(|(at, relative)| at.checked_add(relative));
        let piece = piece(self.session, Clock::SinceStart, code, seq, Cow::Owned(data));
        self.sink.piece(&Piece { time_us, at, ..piece });
        Ok(())
    }
}

/// The number at the start of a text, and the text after it.
fn digits(text: &str) -> Option<(usize, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(len)?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::source::SourceKind;
    use crate::source::testing::{Decoded, decoded, fixture_lines, mutated};

    fn with(timing: &str, fields: Value) -> Value {
        let mut message = json!({
            "ver": "2.3", "host": "h", "rec": "r-1", "user": "amy", "term": "xterm", "session": 3, "id": 2, "pos": 100,
            "time": 1_795_228_030.329, "timing": timing,
        });
        message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        message
    }

    fn shown(out: &Decoded) -> Vec<(String, i64, String)> {
        let text = |piece: &Value, name: &str| piece[name].as_str().unwrap_or_default().to_owned();
        let pieces = out.pieces.iter();
        pieces.map(|p| (text(p, "code"), p["time_us"].as_i64().unwrap_or(-1), text(p, "data"))).collect()
    }

    #[test]
    fn timing_is_followed_in_characters() {
        use ErrorKind::*;
        type Case<'a> = (&'a str, &'a str, Value, &'a [(&'a str, i64, &'a str)], Option<ErrorKind>);
        let cases: &[Case<'_>] = &[
            ("nothing", "", json!({}), &[], None),
            (
                "text",
                "=80x24+2>3+10<1>1",
                json!({"in_txt": "y", "out_txt": "a\u{e9}\u{1f600}y"}),
                &[
                    ("r", 100_000, "80x24"),
                    ("o", 102_000, r"a\xc3\xa9\xf0\x9f\x98\x80"),
                    ("i", 112_000, "y"),
                    ("o", 112_000, "y"),
                ],
                None,
            ),
            (
                "bytes",
                ">1]2/3+1[1/1>1",
                json!({"in_txt": "?", "in_bin": [255], "out_txt": "a??b", "out_bin": [192, 128, 10]}),
                &[("o", 100_000, "a"), ("o", 100_000, r"\xc0\x80\n"), ("i", 101_000, r"\xff"), ("o", 101_000, "b")],
                None,
            ),
            (
                "sizes",
                "=80x24>1=80x24=90x30>1",
                json!({"out_txt": "ab"}),
                &[("r", 100_000, "80x24"), ("o", 100_000, "a"), ("r", 100_000, "90x30"), ("o", 100_000, "b")],
                None,
            ),
            ("no timing", "", json!({"out_txt": "ab"}), &[("o", -1, "ab")], Some(InvalidField)),
            (
                "not timing",
                "0",
                json!({"in_txt": "i", "out_txt": "o"}),
                &[("i", -1, "i"), ("o", -1, "o")],
                Some(InvalidField),
            ),
            ("bad end", "+5>1?", json!({"out_txt": "ab"}), &[("o", 105_000, "a"), ("o", -1, "b")], Some(InvalidField)),
            ("too much", ">3", json!({"out_txt": "ab"}), &[("o", -1, "ab")], Some(InvalidField)),
            ("bytes without place", "?", json!({"out_txt": "a?", "out_bin": [255]}), &[], Some(InvalidField)),
            ("huge", "+99999999999999999999>1", json!({"out_txt": "a"}), &[("o", -1, "a")], Some(InvalidField)),
            ("far", "+9223372036854775807>1", json!({"out_txt": "a"}), &[("o", -1, "a")], None),
            ("no bytes", ">1", json!({"out_txt": "a", "out_bin": [256]}), &[("o", 100_000, "a")], Some(InvalidField)),
            ("no text", "", json!({"out_txt": 5}), &[], Some(InvalidField)),
        ];
        for (name, timing, fields, expected, error) in cases {
            let out = decoded(SourceKind::Tlog, with(timing, fields.clone()).to_string());
            let expected: Vec<_> = expected.iter().map(|(c, t, d)| ((*c).to_owned(), *t, (*d).to_owned())).collect();
            assert_eq!((shown(&out), out.error), (expected, *error), "{name}");
            let seqs: Vec<_> = out.pieces.iter().map(|piece| piece["seq"].as_i64().unwrap()).collect();
            assert_eq!(seqs, (0..seqs.len() as i64).map(|n| 2 * 65_536 + n).collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn a_message_is_the_same_on_every_road() {
        let message = with("+7>1", json!({"out_txt": "a", "id": 1})).to_string();
        let plain = decoded(SourceKind::Tlog, &message);
        assert_eq!(plain.pieces[0]["at"], "2026-11-21T02:27:10.336000Z");
        assert_eq!(plain.events[0]["detail"], json!({"ver": "2.3", "term": "xterm", "session": 3}));
        for carrier in [
            json!({"message": message, "host": "shipper"}),
            json!({"MESSAGE": message, "_HOSTNAME": "h"}),
            json!([{"log": message}]),
        ] {
            let out = decoded(SourceKind::Tlog, carrier.to_string());
            assert_eq!((&out.events, &out.pieces, out.error), (&plain.events, &plain.pieces, None), "{carrier}");
        }
    }

    #[test]
    fn what_is_no_message_is_named() {
        use ErrorKind::*;
        let cases = [
            (json!({"a": 1}), MissingField),
            (with("", json!({"ver": "3.0"})), UnexpectedShape),
            (with("", json!({"rec": ""})), NoSessionId),
            (with("", json!({"id": 0})), InvalidField),
            (with("", json!({"id": i64::MAX})), InvalidField),
            (with("", json!({"pos": -1})), InvalidField),
            (with("", json!({"time": -1})), InvalidField),
        ];
        for (message, error) in cases {
            assert_eq!(decoded(SourceKind::Tlog, message.to_string()).error, Some(error), "{message}");
        }
        let many = "=1x1=2x1".repeat(PIECES_MAX as usize);
        let out = decoded(SourceKind::Tlog, with(&many, json!({})).to_string());
        assert_eq!((out.error, out.pieces.len()), (Some(TooLarge), PIECES_MAX as usize));
    }

    proptest! {
        #[test]
        fn damaged_messages_do_no_harm(value in mutated(vec![
            with("=80x24+2>3]1/2+10<1>1", json!({"in_txt": "y", "out_txt": "abc?y", "out_bin": [200, 201]})).to_string().into(),
        ])) {
            let _ = decoded(SourceKind::Tlog, value);
        }

        #[test]
        fn any_timing_hands_over_all_the_text(timing in "[-+<>=x/0-9\\[\\]]{0,30}", text in "\\PC{0,20}") {
            let out = decoded(SourceKind::Tlog, with(&timing, json!({"out_txt": text})).to_string());
            // Only characters that the timing says to skip are not handed over.
            if !timing.contains(']') {
                prop_assert_eq!(String::from_utf8(out.output).unwrap(), text);
            }
        }
    }

    #[test]
    fn real_messages_are_read() {
        let Some(lines) = fixture_lines("replay/tlog/own-tlog14/session.tlog.jsonl") else { return };
        assert_eq!(lines.len(), 86);
        let all = decoded(SourceKind::Tlog, lines.concat());
        let one_by_one: Vec<u8> = lines.iter().flat_map(|line| decoded(SourceKind::Tlog, line).output).collect();
        assert_eq!((all.error, all.events.len()), (None, 1));
        assert_eq!(all.output, one_by_one);
        assert!(String::from_utf8(all.output).is_err(), "bytes that are no text are there as they were");
    }
}
