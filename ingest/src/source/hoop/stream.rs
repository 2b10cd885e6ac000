//! The recording inside a session: a list of `[seconds, kind, base64]`.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use custody_schemas::event::Kind;
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind};
use serde::Deserializer;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::object::{Object, string};
use super::super::{EVENTS_PER_MESSAGE_MAX, Sink};
use super::BASE64;
use super::session::Session;

/// Bound on the entries of one recording. None is held longer than it takes to hand it over.
pub(super) const ENTRIES_MAX: i64 = 1_000_000;

/// Seconds that no session lasts (about a hundred years).
const ELAPSED_MAX: f64 = 3.2e9;

/// What hoop writes in place of a recording that it lost.
const LOST: &[u8] = b"no log found on disk";

/// What the bytes of a recording are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// What a terminal showed and what was typed.
    Terminal,
    /// Messages of PostgreSQL's wire protocol, from the client alone.
    Postgres,
    /// Texts of queries, from the client alone.
    Queries,
    /// Bytes of a protocol that has no screen.
    Opaque,
}

impl Replay {
    /// By what a session was opened to, and how: a program that is run once prints text whatever it is run on.
    pub(super) fn of(session: &Object<'_>) -> Self {
        let word = |name| session.json(name).and_then(string);
        let (connection_type, subtype) = (word("type"), word("connection_subtype"));
        match (connection_type.as_deref(), subtype.as_deref()) {
            _ if session.json("verb") == Some("\"exec\"") => Self::Terminal,
            (Some("database"), Some("postgres")) => Self::Postgres,
            (Some("database"), _) => Self::Queries,
            (Some("httpproxy"), _)
            | (
                _,
                Some(
                    "git" | "github" | "grafana" | "httpproxy" | "kibana" | "kubernetes" | "kubernetes-eks"
                    | "kubernetes-token" | "mcpproxy" | "rdp" | "ssh" | "ssh-local" | "tcp",
                ),
            ) => Self::Opaque,
            _ => Self::Terminal,
        }
    }
}

/// What became of a recording.
pub(super) struct Read {
    /// It is a list of entries, not the text that the API makes of one when it is asked to.
    pub(super) is_stream: bool,
    /// hoop says that there is none.
    pub(super) was_lost: bool,
    /// Pieces that were handed over.
    pub(super) pieces: u64,
    /// The first thing that was wrong; what came before and after it stands.
    pub(super) result: Result<(), DecodeError>,
}

/// Hands over the pieces of a recording, and the queries in it as events.
pub(super) fn read(session: &Session<'_>, json: &str, replay: Replay, sink: &mut dyn Sink) -> Read {
    let mut read = Read { is_stream: true, was_lost: false, pieces: 0, result: Ok(()) };
    let mut queries = Queries { session, replay, count: 0 };
    let whole = each_entry(json, |seq, entry| {
        if entry.starts_with('"') {
            read.is_stream = false;
            return Err(unexpected("`event_stream` is text: ask for the session without the parameter `event_stream`"));
        }
        let (elapsed, code, data) = parse(entry)?;
        if code == Code::Marker && data == LOST {
            read.was_lost = true;
            return Ok(());
        }
        let time_us = elapsed_us(elapsed);
        let at = session.started_at.zip(time_us).and_then(|(start, elapsed)| start.checked_add(elapsed));
        let is_shown = match replay {
            Replay::Terminal => true,
            Replay::Postgres | Replay::Queries => code != Code::Output,
            Replay::Opaque => code == Code::Marker,
        };
        let mut result = match time_us {
            Some(_) => Ok(()),
            None => {
                Err(DecodeError::new(ErrorKind::InvalidField, "an entry of `event_stream` has a time that is none"))
            }
        };
        if code == Code::Input {
            result = result.and(queries.take(seq, at, &data, sink));
        }
        if is_shown {
            read.pieces += 1;
            sink.piece(&Piece {
                session_id: session.id.clone(),
                cluster: session.org.clone(),
                channel: None,
                clock: Clock::SinceStart,
                code,
                seq,
                time_us,
                at,
                position: None,
                data: Cow::Owned(data),
            });
        }
        result
    });
    read.result = whole;
    read
}

/// Whether a recording has output.
pub(super) fn has_output(json: &str) -> bool {
    let mut found = false;
    let _ = each_entry(json, |_, entry| {
        found |= matches!(parse(entry), Ok((_, Code::Output, _)));
        Ok(())
    });
    found
}

fn unexpected(detail: &str) -> DecodeError {
    DecodeError::new(ErrorKind::UnexpectedShape, detail)
}

/// Time, kind and bytes of an entry.
fn parse(entry: &str) -> Result<(&str, Code, Vec<u8>), DecodeError> {
    let wrong = || unexpected("an entry of `event_stream` is not a time, a kind and base64");
    let (elapsed, kind, data): (&RawValue, &RawValue, &RawValue) = serde_json::from_str(entry).map_err(|_| wrong())?;
    let code = match kind.get() {
        "\"o\"" => Code::Output,
        "\"i\"" => Code::Input,
        "\"e\"" => Code::Marker,
        _ => return Err(unexpected("an entry of `event_stream` is of an unknown kind")),
    };
    let data = string(data.get()).ok_or_else(wrong)?;
    let data = BASE64
        .decode(data.as_ref())
        .map_err(|_| DecodeError::new(ErrorKind::InvalidBase64, "an entry of `event_stream` is not base64"))?;
    Ok((elapsed.get(), code, data))
}

/// Microseconds of a number of seconds.
fn elapsed_us(seconds: &str) -> Option<i64> {
    let seconds: f64 = seconds.parse().ok()?;
    // Within the bound every product fits.
    (0.0..=ELAPSED_MAX).contains(&seconds).then(|| (seconds * 1e6).round() as i64)
}

/// Calls `take` for every entry; returns the first error, its own or one of theirs.
fn each_entry<'a>(json: &'a str, take: impl FnMut(i64, &'a str) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
    struct Entries<F>(F);

    impl<'de, F: FnMut(i64, &'de str) -> Result<(), DecodeError>> Visitor<'de> for Entries<F> {
        type Value = Result<(), DecodeError>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut result = Ok(());
            let mut seq = 0;
            while let Some(entry) = list.next_element::<&'de RawValue>()? {
                if seq == ENTRIES_MAX {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    let detail = format!("more than {ENTRIES_MAX} entries in `event_stream`");
                    return Ok(result.and(Err(DecodeError::new(ErrorKind::TooLarge, detail))));
                }
                result = result.and((self.0)(seq, entry.get()));
                seq += 1;
            }
            Ok(result)
        }
    }

    serde_json::Deserializer::from_str(json)
        .deserialize_seq(Entries(take))
        .unwrap_or_else(|_| Err(unexpected("`event_stream` is not a list")))
}

/// The queries of a session with a database, one event each.
struct Queries<'s, 'a> {
    session: &'s Session<'a>,
    replay: Replay,
    count: usize,
}

impl Queries<'_, '_> {
    fn take(&mut self, seq: i64, at: Option<i64>, data: &[u8], sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let plain = || std::str::from_utf8(data).ok().filter(|text| is_plain(text)).map(str::trim);
        let texts: Vec<Cow<'_, str>> = match self.replay {
            Replay::Postgres => match postgres_queries(data) {
                Some(texts) => texts,
                // The API also gives the text alone.
                None => plain().map(Cow::Borrowed).into_iter().collect(),
            },
            Replay::Queries => plain().map(Cow::Borrowed).into_iter().collect(),
            Replay::Terminal | Replay::Opaque => return Ok(()),
        };
        for (number, text) in texts.into_iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            if self.count == EVENTS_PER_MESSAGE_MAX {
                let detail = format!("more than {EVENTS_PER_MESSAGE_MAX} queries in one session");
                return Err(DecodeError::new(ErrorKind::TooLarge, detail));
            }
            self.count += 1;
            let path = ["query", &seq.to_string(), &number.to_string()];
            let mut event = self.session.deed(Kind::SessionActivity, "session.query", &path);
            event.occurred_at = at;
            event.action = Some(Cow::Owned(text.into_owned()));
            sink.event(&event);
        }
        Ok(())
    }
}

/// Whether a text has no control characters but those of writing.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'))
}

/// The texts of the `Query` and `Parse` messages in bytes of PostgreSQL's frontend protocol (version 3: a letter, a
/// length of four bytes that counts itself, the content). `None` where the first message is none.
fn postgres_queries(data: &[u8]) -> Option<Vec<Cow<'_, str>>> {
    let mut texts = Vec::new();
    let mut rest = data;
    while let Some((letter, after)) = rest.split_first() {
        let message = after.split_first_chunk().and_then(|(len, content)| {
            let len = usize::try_from(u32::from_be_bytes(*len)).ok()?.checked_sub(4)?;
            content.split_at_checked(len)
        });
        let Some((content, next)) = message.filter(|_| letter.is_ascii_alphabetic()) else {
            // Something that begins in the middle, or is cut off: what came before stands.
            return (rest.len() < data.len()).then_some(texts);
        };
        let mut strings = content.split(|byte| *byte == 0);
        let text = match letter {
            b'Q' => strings.next(),
            // After the name of the prepared statement.
            b'P' => strings.nth(1),
            _ => None,
        };
        texts.extend(text.map(String::from_utf8_lossy));
        rest = next;
    }
    Some(texts)
}
