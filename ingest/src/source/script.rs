//! `script` of util-linux: a typescript and its timing file.
//!
//! A record is a run of both (see [`super::timing`]). The classic form of the timing file has lines of a delay and a
//! number of bytes; the advanced form has lines of output, input, signals, and facts about the session, which the
//! classic form has in the typescript's first and last line (manual pages script(1), scriptreplay(1)).

use std::borrow::Cow;
use std::collections::BTreeMap;

use custody_schemas::event::{Event, Kind, Text};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use custody_schemas::time::{Micros, Parsed, parse_rfc3339};

use super::timing::{self, Grammar, Line, Run, What};
use super::{Sink, Source};

/// Form of a run with lines of the classic form.
pub(crate) const CLASSIC: &str = "script-classic";
/// Form of a run with lines of the advanced form.
pub(crate) const ADVANCED: &str = "script-advanced";

/// Name of the stream that the program wrote.
pub(crate) const OUTPUT: &str = "output";
/// Name of the stream that the user typed.
pub(crate) const INPUT: &str = "input";

/// How a typescript begins, in most languages that its user may speak.
pub(crate) const PREAMBLE: &str = "Script started on ";

/// A line of the classic form: `DELAY BYTES`.
pub(crate) fn classic(line: &[u8]) -> Result<Line<'_>, &'static str> {
    let [delay, len] = timing::words(line);
    let len = timing::number(len.trim_ascii_end()).ok_or("a delay and a number of bytes were expected")?;
    let what = What::Bytes { stream: OUTPUT, code: Code::Output, len };
    Ok(Line { delay_ns: timing::delay_ns(delay), what })
}

/// A line of the advanced form: `O DELAY BYTES`, `I DELAY BYTES`, `S DELAY SIGNAL [ROWS=… COLS=…]`, `H DELAY NAME VALUE`.
pub(crate) fn advanced(line: &[u8]) -> Result<Line<'_>, &'static str> {
    let [kind, delay, rest] = timing::words(line);
    let len = timing::number(rest.trim_ascii_end()).ok_or("a number of bytes was expected");
    let what = match kind {
        b"O" => What::Bytes { stream: OUTPUT, code: Code::Output, len: len? },
        b"I" => What::Bytes { stream: INPUT, code: Code::Input, len: len? },
        b"S" => size(rest).unwrap_or(What::Signal(rest)),
        b"H" => {
            let [name, value] = timing::words(rest);
            What::Fact { name, value }
        }
        _ => return Err("`O`, `I`, `S` or `H` was expected"),
    };
    Ok(Line { delay_ns: timing::delay_ns(delay), what })
}

/// `SIGWINCH ROWS=40 COLS=140`
fn size(signal: &[u8]) -> Option<What<'static>> {
    let [name, rows, cols] = timing::words(signal);
    let rows = timing::number(rows.strip_prefix(b"ROWS=")?)?;
    let cols = timing::number(cols.strip_prefix(b"COLS=")?)?;
    (name == b"SIGWINCH").then_some(What::Resize { cols, rows })
}

/// Decodes one run.
pub(super) fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let (grammar, is_classic): (Grammar, bool) = match super::form(message) {
        Some(form) if form == CLASSIC.as_bytes() => (classic, true),
        Some(form) if form == ADVANCED.as_bytes() => (advanced, false),
        Some(form) if form == timing::REST.as_bytes() => {
            return Err(DecodeError::new(ErrorKind::UnexpectedShape, "bytes that no timing line tells of"));
        }
        _ => return Err(DecodeError::new(ErrorKind::UnexpectedShape, "not a run of a typescript")),
    };
    let session = source
        .session_id_of_message(message)
        .ok_or_else(|| DecodeError::new(ErrorKind::NoSessionId, "neither a header nor the key names the session"))?;
    let run = Run::of(message)?;
    let is_first = run.first_line == 1;

    let mut facts = Facts::default();
    if is_first && is_classic {
        facts.read_preamble(run.preamble);
        if let Some((code, data)) = facts.size() {
            let data = Cow::Owned(data.into_bytes());
            let piece = timing::piece(&session, Clock::Interval, code, 0, data);
            sink.piece(&Piece { time_us: Some(0), ..piece });
        }
    }
    let played = run.play(&session, grammar, sink, |name, value| facts.add(name, value));
    let is_told = facts.exit.is_some();
    facts.read_trailer(played.rest);
    if let Some((code, data)) = facts.exit.as_ref().filter(|_| !is_told).and_then(|status| exit(status)) {
        let data = Cow::Owned(data.into_bytes());
        let piece = timing::piece(&session, Clock::Interval, code, played.next_line, data);
        sink.piece(&Piece { time_us: Some(0), ..piece });
    }
    if is_first {
        sink.event(&facts.start(&session));
    }
    if let Some(event) = facts.end(&session) {
        sink.event(&event);
    }
    played.result(|rest| rest.starts_with(b"\n"))
}

/// What a recording says of itself. Names are those of the advanced form.
#[derive(Debug, Default)]
struct Facts<'a> {
    start: BTreeMap<Text<'a>, Text<'a>>,
    /// The exit status as it was written.
    exit: Option<Text<'a>>,
    duration: Option<Text<'a>>,
    /// When it ended, as the typescript's last line says.
    done_at: Option<Micros>,
}

impl<'a> Facts<'a> {
    /// Takes a fact, and says which piece it is.
    fn add(&mut self, name: &'a [u8], value: &'a [u8]) -> Option<(Code, String)> {
        let text = String::from_utf8_lossy(value);
        match name {
            b"EXIT_CODE" => {
                let piece = exit(&text);
                self.exit = Some(text);
                piece
            }
            b"DURATION" => {
                self.duration = Some(text);
                None
            }
            _ => {
                self.start.insert(String::from_utf8_lossy(name), text);
                matches!(name, b"COLUMNS" | b"LINES").then(|| self.size())?
            }
        }
    }

    fn size(&self) -> Option<(Code, String)> {
        let number = |name: &str| timing::number::<u32>(self.start.get(name)?.as_bytes());
        Some((Code::Resize, format!("{}x{}", number("COLUMNS")?, number("LINES")?)))
    }

    /// `Script started on TIME [COMMAND="…" TERM="…" TTY="…" COLUMNS="…" LINES="…"]`. Values are not quoted in any way, so
    /// they are looked for from the end: only the first, the command, may be anything.
    fn read_preamble(&mut self, line: &'a [u8]) {
        let Some(line) = line.strip_prefix(PREAMBLE.as_bytes()).and_then(|line| std::str::from_utf8(line).ok()) else {
            return;
        };
        let line = line.trim_ascii_end();
        let (time, facts) = line.split_once(" [").unwrap_or((line, ""));
        self.start.insert(Cow::Borrowed("START_TIME"), Cow::Borrowed(time));
        let facts = facts.strip_suffix(']').unwrap_or(facts);
        let mut facts = facts.strip_suffix("<not executed on terminal>").unwrap_or(facts).trim_ascii_end();
        for name in ["LINES", "COLUMNS", "TTY", "TERM", "COMMAND"] {
            let Some((before, value)) = facts.rsplit_once(&*format!("{name}=\"")) else { continue };
            // A name inside a value is no name.
            if !(before.is_empty() || before.ends_with(' ')) {
                continue;
            }
            let Some(value) = value.strip_suffix('"') else { continue };
            self.start.insert(Cow::Borrowed(name), Cow::Borrowed(value));
            facts = before.trim_ascii_end();
        }
    }

    /// `Script done on TIME [COMMAND_EXIT_CODE="3"]`
    fn read_trailer(&mut self, rest: &'a [u8]) {
        let Some(line) =
            std::str::from_utf8(rest).ok().and_then(|rest| rest.trim_ascii().strip_prefix("Script done on "))
        else {
            return;
        };
        let (time, facts) = line.split_once(" [").unwrap_or((line, ""));
        self.done_at = instant(time);
        let status = facts.strip_prefix("COMMAND_EXIT_CODE=\"").and_then(|facts| facts.strip_suffix("\"]"));
        if self.exit.is_none() {
            self.exit = status.map(Cow::Borrowed);
        }
    }

    fn start<'e>(&'e self, session: &'e str) -> Event<'e> {
        let mut detail: BTreeMap<&str, &str> = self.start.iter().map(|(name, value)| (&**name, &**value)).collect();
        let occurred_at = detail.get("START_TIME").copied().and_then(instant);
        if occurred_at.is_some() {
            detail.remove("START_TIME");
        }
        Event {
            event_id: Cow::Owned(format!("script/{session}/start")),
            occurred_at,
            kind: Kind::SessionStart,
            source_type: Cow::Borrowed("script.start"),
            action: detail.remove("COMMAND").filter(|command| !command.is_empty()).map(Cow::Borrowed),
            session_id: Some(Cow::Borrowed(session)),
            detail: serde_json::json!(detail).to_string(),
            ..Event::default()
        }
    }

    /// The end, when something in the run tells of it.
    fn end<'e>(&'e self, session: &'e str) -> Option<Event<'e>> {
        let told = [("exit_status", self.exit.as_deref()), ("duration", self.duration.as_deref())];
        if self.done_at.is_none() && told.iter().all(|(_, value)| value.is_none()) {
            return None;
        }
        let detail: BTreeMap<_, _> = told
            .into_iter()
            .filter_map(|(name, value)| {
                let value = value?;
                Some((name, value.parse::<i64>().map_or_else(|_| value.into(), serde_json::Value::from)))
            })
            .collect();
        Some(Event {
            event_id: Cow::Owned(format!("script/{session}/end")),
            occurred_at: self.done_at,
            kind: Kind::SessionEnd,
            source_type: Cow::Borrowed("script.end"),
            session_id: Some(Cow::Borrowed(session)),
            session_ended_at: self.done_at,
            detail: serde_json::json!(detail).to_string(),
            ..Event::default()
        })
    }
}

fn exit(status: &str) -> Option<(Code, String)> {
    status.parse::<i32>().is_ok().then(|| (Code::Exit, status.to_owned()))
}

/// `2026-11-21 02:19:27+00:00`
fn instant(text: &str) -> Option<Micros> {
    match parse_rfc3339(&text.replacen(' ', "T", 1)) {
        Some(Parsed::At(at)) => Some(at),
        Some(Parsed::Zero) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_forms_are_read() {
        let bytes = |stream, code, len| Ok(What::Bytes { stream, code, len });
        let cases: &[(Grammar, &str, Result<What<'_>, ()>)] = &[
            (classic, "0.054218 17", bytes(OUTPUT, Code::Output, 17)),
            (classic, "0.054218 17\r", bytes(OUTPUT, Code::Output, 17)),
            (classic, "0.054218", Err(())),
            (classic, "0.054218 -1", Err(())),
            (classic, "O 0.1 2", Err(())),
            (advanced, "O 0.000129 11", bytes(OUTPUT, Code::Output, 11)),
            (advanced, "I 0.054218 1", bytes(INPUT, Code::Input, 1)),
            (advanced, "O 0.000129 +1", Err(())),
            (advanced, "O 0.000129", Err(())),
            (advanced, "S 0.308022 SIGWINCH ROWS=40 COLS=140", Ok(What::Resize { cols: 140, rows: 40 })),
            (advanced, "S 0.3 SIGWINCH ROWS=x COLS=140", Ok(What::Signal(b"SIGWINCH ROWS=x COLS=140"))),
            (advanced, "S 0.3 SIGTERM", Ok(What::Signal(b"SIGTERM"))),
            (advanced, "H 0.0 COMMAND bash -l", Ok(What::Fact { name: b"COMMAND", value: b"bash -l" })),
            (advanced, "X 0.0 1", Err(())),
            (advanced, "", Err(())),
        ];
        for (grammar, line, expected) in cases {
            assert_eq!(grammar(line.as_bytes()).map(|line| line.what).map_err(drop), *expected, "{line}");
        }
        assert_eq!(advanced(b"O 0.000129 11").unwrap().delay_ns, Some(129_000));
    }

    #[test]
    fn a_command_in_the_first_line_may_look_like_anything() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("Script started on 2024-05-01 10:00:00+02:00", &[("START_TIME", "2024-05-01 10:00:00+02:00")]),
            (
                "Script started on T [COMMAND=\"a TERM=\"x\" [b]\" TERM=\"xterm\" TTY=\"t\" COLUMNS=\"80\" LINES=\"24\"]\n",
                &[
                    ("COLUMNS", "80"),
                    ("COMMAND", "a TERM=\"x\" [b]"),
                    ("LINES", "24"),
                    ("START_TIME", "T"),
                    ("TERM", "xterm"),
                    ("TTY", "t"),
                ],
            ),
            (
                "Script started on T [COMMAND=\"a\" <not executed on terminal>]",
                &[("COMMAND", "a"), ("START_TIME", "T")],
            ),
            ("Skript gestartet", &[]),
        ];
        for (line, expected) in cases {
            let mut facts = Facts::default();
            facts.read_preamble(line.as_bytes());
            let read: Vec<(&str, &str)> = facts.start.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(read, *expected, "{line}");
        }
    }
}
