//! Boundary session recordings (BSR): what the units mean that [`import::bsr`](crate::import::bsr) cuts a container into.
//!
//! A unit is either a whole small file ([`FILE_FORM`]) or a run of chunks of a `.data` file ([`CHUNKS_FORM`]); its
//! headers say of which. The key of the record is the session's id. The container's layout, its JSON files and its
//! chunks are those of Boundary's documentation ("BSR file data structure") and of its package `internal/bsr`.
//!
//! Recordings of other protocols than SSH are kept, and their JSON files read, but their chunks are nobody's to read:
//! their types are not public.

use std::borrow::Cow;
use std::io::Read;

use custody_schemas::event::{Event, Kind, Text};
use custody_schemas::frame::{Clock, Code, Piece};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use flate2::bufread::MultiGzDecoder;
use serde_json::{Value, json};

use self::chunk::{Chunk, Compression, Order};
use self::request::Request;
use crate::source::object::{Document, Object, Time, canonical, text, texts, time};
use crate::source::{INFLATED_BYTES_MAX, Sink};

pub(crate) mod chunk;
mod request;

/// Form of a unit that is a whole file.
pub(crate) const FILE_FORM: &str = "bsr-file";

/// Form of a unit that is a run of whole chunks.
pub(crate) const CHUNKS_FORM: &str = "bsr-chunks";

/// Header: path of the file in the container.
pub(crate) const FILE: &str = "file";

/// Header: the recording's id, where it is known.
pub(crate) const RECORDING: &str = "recording";

/// Header of chunks: the id of the channel, or of the connection where that is not divided into channels.
pub(crate) const CHANNEL: &str = "channel";

/// Header of chunks: `none` or `gzip`, as the file's `HEAD` says.
pub(crate) const COMPRESSION: &str = "compression";

/// Header of chunks: number of chunks in the file before the first of the unit.
pub(crate) const FIRST_CHUNK: &str = "first-chunk";

/// Header of chunks, but of a file's first: the place of the chunk before them, see [`Order`].
pub(crate) const AFTER: &str = "after-us";

/// Header of chunks: what ran in the channel, as far as it is known: `shell`, `exec`, `scp`, `rsync`, `subsystem`.
pub(crate) const PROGRAM: &str = "program";

/// The four `.data` files of a channel, in the order in which they are placed where their times are equal.
pub(crate) const DATA_FILES: [&str; 4] =
    ["requests-inbound.data", "requests-outbound.data", "messages-inbound.data", "messages-outbound.data"];

/// Number of the file with what the person typed.
const TYPED: i64 = 2;

/// Number of the file with what the terminal showed.
const SHOWN: i64 = 3;

/// The protocol whose chunks are read.
const SSH: [u8; 4] = *b"BSSH";

/// Decodes one unit.
pub(super) fn decode(form: &[u8], message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let unit = Unit {
        value: message.value.filter(|value| !value.is_empty()).ok_or_else(|| error(ErrorKind::Empty, "no value"))?,
        session: message.key.and_then(|key| std::str::from_utf8(key).ok()).filter(|key| !key.is_empty()),
        recording: header(message, RECORDING),
        file: header(message, FILE).ok_or_else(|| error(ErrorKind::MissingField, "no header names the file"))?,
    };
    if form == FILE_FORM.as_bytes() {
        unit.file(sink)
    } else if form == CHUNKS_FORM.as_bytes() {
        Stream::new(&unit, message)?.chunks(sink)
    } else {
        Err(error(ErrorKind::UnexpectedShape, "a form that session recordings do not have"))
    }
}

fn error(kind: ErrorKind, detail: impl Into<String>) -> DecodeError {
    DecodeError::new(kind, detail)
}

fn header<'a>(message: &Message<'a>, name: &str) -> Option<&'a str> {
    message.header(name).and_then(|value| std::str::from_utf8(value).ok()).filter(|value| !value.is_empty())
}

/// What every unit has.
struct Unit<'a> {
    value: &'a [u8],
    session: Option<&'a str>,
    recording: Option<&'a str>,
    file: &'a str,
}

impl<'a> Unit<'a> {
    /// An event without its own content. `part` is its place in the file, where a file has several.
    fn event(&self, source_type: &'static str, part: Option<u64>) -> Event<'a> {
        let event_id = match (self.recording, part) {
            (Some(recording), Some(part)) => format!("boundary/{recording}/{}/{part}", self.file),
            (Some(recording), None) => format!("boundary/{recording}/{}", self.file),
            (None, _) => String::new(),
        };
        Event {
            event_id: Cow::Owned(event_id),
            kind: Kind::SessionActivity,
            source_type: Cow::Borrowed(source_type),
            session_id: self.session.map(Cow::Borrowed),
            recording_id: self.recording.map(Cow::Borrowed),
            ..Event::default()
        }
    }

    /// A small file: one event, or none where it says nothing of the session.
    fn file(&self, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        match self.file.rsplit('/').next().unwrap_or_default() {
            "session-meta.json" => self.session_meta(sink),
            "session-recording-summary.json" => self.session_summary(sink),
            "connection-recording-summary.json" => self.part_summary("bsr.connection-summary", "EndTime", sink),
            "channel-recording-summary.json" => {
                self.part_summary("bsr.channel-summary", "ChannelSummary.EndTime", sink)
            }
            "session-recording.meta" | "connection-recording.meta" | "channel-recording.meta" => self.meta(sink),
            _ => Ok(()),
        }
    }

    fn text(&self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.value).map_err(|error| {
            DecodeError::new(ErrorKind::InvalidUtf8, format!("not UTF-8 from byte {} on", error.valid_up_to()))
        })
    }

    fn object(&self) -> Result<Object<'a>, DecodeError> {
        match Document::parse(self.text()?) {
            Ok(Document::Object(fields)) => Object::new(fields, None),
            Ok(Document::TooLarge) => Err(error(ErrorKind::TooLarge, "an object or a list has too many parts")),
            Ok(Document::Array(_) | Document::Scalar) => Err(error(ErrorKind::UnexpectedShape, "not an object")),
            Err(at) => Err(error(ErrorKind::InvalidJson, format!("not JSON at line {}", at.line))),
        }
    }

    /// Who, on what, with which credentials. It has no time: when the session was is for the summary to say, so this is
    /// no start.
    fn session_meta(&self, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let mut object = self.object()?;
        let mut event = self.event("bsr.session-meta", None);
        event.session_id = object.text("PublicId").or(event.session_id);
        event.actor = object.json_at("User.PublicId").and_then(text);
        event.target = object.json_at("Target.PublicId").and_then(text);
        event.target_kind = event.target.is_some().then_some("target".into());
        event.protocol = object.json("Endpoint").and_then(text).and_then(scheme);
        event.login = login(&object);
        event.detail = object.detail()?;
        sink.event(&event);
        Ok(())
    }

    /// From when to when.
    fn session_summary(&self, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let mut object = self.object()?;
        let mut event = self.event("bsr.session-summary", None);
        let [start, end] = ["StartTime", "EndTime"].map(|name| object.time(name));
        // A summary without an end was written of a recording that was given up.
        if let Some(end) = end.at() {
            event.kind = Kind::SessionEnd;
            event.session_ended_at = Some(end);
        }
        event.session_started_at = start.at();
        event.occurred_at = end.at().or(start.at());
        event.recorded = Some(true);
        event.recording_id = object.text("Id").or(event.recording_id);
        event.detail = object.detail()?;
        sink.event(&event);
        all_are_instants([start, end])
    }

    /// The summary of a connection or a channel.
    fn part_summary(
        &self,
        source_type: &'static str,
        end: &'static str,
        sink: &mut dyn Sink,
    ) -> Result<(), DecodeError> {
        let object = self.object()?;
        let end = object.json_at(end).map_or(Time::Unset, time);
        let mut event = self.event(source_type, None);
        event.occurred_at = end.at();
        event.detail = object.detail()?;
        sink.event(&event);
        all_are_instants([end])
    }

    /// A `.meta` file is the list of what belongs to the recording, which its reader checks. Errors that the worker noted
    /// there are facts of the session.
    fn meta(&self, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let lines = self.text()?.lines().filter_map(|line| line.split_once(':'));
        let errors: Vec<&str> = lines.filter(|(key, _)| key.trim() == "error").map(|(_, value)| value.trim()).collect();
        if !errors.is_empty() {
            let mut event = self.event("bsr.error", None);
            event.kind = Kind::Other;
            event.detail = detail(&json!({ "errors": errors }))?;
            sink.event(&event);
        }
        Ok(())
    }
}

fn all_are_instants<const N: usize>(times: [Time; N]) -> Result<(), DecodeError> {
    match times.contains(&Time::Invalid) {
        true => Err(error(ErrorKind::InvalidField, "a time of the summary is not an instant")),
        false => Ok(()),
    }
}

fn detail(value: &Value) -> Result<String, DecodeError> {
    let mut out = String::new();
    canonical(&value.to_string(), &mut out)?;
    Ok(out)
}

/// `ssh` of `ssh://host:22`.
fn scheme(endpoint: Text<'_>) -> Option<Text<'_>> {
    let (scheme, _) = endpoint.split_once("://").filter(|(scheme, _)| !scheme.is_empty())?;
    Some(Cow::Owned(scheme.to_owned()))
}

/// The user name of the credential that was injected into the session. `None` when there are several, since it is not
/// said which of them the target took, and when the name is a template whose value is not here.
fn login<'a>(object: &Object<'a>) -> Option<Text<'a>> {
    let lists = object.sorted_fields().into_iter().filter_map(|(_, json)| match Document::parse(json) {
        Ok(Document::Array(elements)) => Some(elements),
        _ => None,
    });
    let injected = |credential: &Object<'_>| {
        let purposes = credential.json("Purposes").and_then(texts).unwrap_or_default();
        purposes.iter().any(|purpose| purpose == "injected_application")
    };
    let mut credentials = lists.flatten().filter_map(Object::parse).filter(injected);
    match (credentials.next(), credentials.next()) {
        (Some(mut only), None) => only.text("Username").filter(|name| !name.contains("{{")),
        _ => None,
    }
}

/// A run of chunks.
struct Stream<'u, 'a> {
    unit: &'u Unit<'a>,
    session: &'a str,
    channel: Option<&'a str>,
    /// Place of the file in [`DATA_FILES`].
    file: i64,
    /// What ran drives a terminal, or at least writes for one. Other bytes (a file transfer's) are in the record, and no
    /// part of a replay.
    is_shown: bool,
    compression: Compression,
    /// Number of the next chunk in its file.
    index: u64,
    order: Order,
    /// How much the rest of the chunks may inflate to.
    inflated_left: usize,
}

impl<'u, 'a> Stream<'u, 'a> {
    fn new(unit: &'u Unit<'a>, message: &Message<'a>) -> Result<Self, DecodeError> {
        let number = |name| match header(message, name).map(str::parse::<i64>) {
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(error(ErrorKind::InvalidField, format!("the header `{name}` is not a number"))),
            None => Ok(None),
        };
        let name = unit.file.rsplit('/').next().unwrap_or_default();
        let (_, file) = (DATA_FILES.into_iter().zip(0..))
            .find(|(known, _)| *known == name)
            .ok_or_else(|| error(ErrorKind::UnexpectedShape, "not a file that has chunks"))?;
        Ok(Self {
            unit,
            session: unit.session.ok_or_else(|| error(ErrorKind::NoSessionId, "the key does not name the session"))?,
            channel: header(message, CHANNEL),
            file,
            is_shown: matches!(header(message, PROGRAM), Some("shell" | "exec")),
            compression: match header(message, COMPRESSION) {
                None | Some("none") => Compression::None,
                Some("gzip") => Compression::Gzip,
                Some(_) => return Err(error(ErrorKind::InvalidField, "a compression that no file has")),
            },
            index: number(FIRST_CHUNK)?
                .and_then(|index| u64::try_from(index).ok())
                .ok_or_else(|| error(ErrorKind::MissingField, "no header numbers the first chunk"))?,
            order: Order { last: number(AFTER)? },
            inflated_left: INFLATED_BYTES_MAX,
        })
    }

    /// Reads chunk after chunk, until one is not whole: where the next would begin cannot be known then.
    fn chunks(mut self, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let mut result = Ok(());
        let mut rest = self.unit.value;
        while !rest.is_empty() {
            let refused = |index: u64, what: &str| error(ErrorKind::UnexpectedShape, format!("chunk {index} {what}"));
            let (chunk, after) = match chunk::split(rest) {
                Ok(split) => split,
                Err(fault) => return result.and(Err(refused(self.index, fault.what()))),
            };
            if (chunk.kind == chunk::HEAD) != (self.index == 0) {
                return result.and(Err(refused(self.index, "is out of place: a file has one HEAD, and that is first")));
            }
            if chunk.kind == chunk::HEAD {
                match Compression::of_head(chunk.data) {
                    Some(compression) => self.compression = compression,
                    None => return result.and(Err(refused(self.index, "names a compression that is not known"))),
                }
            }
            result = result.and(self.chunk(&chunk, sink));
            self.index = self.index.saturating_add(1);
            rest = after;
        }
        result
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let position = chunk.at.and_then(|at| self.order.position(self.index, at, self.file));
        let data = match (&chunk.kind, self.file) {
            (&chunk::HEAD, _) => return Ok(()),
            (&chunk::DONE, SHOWN) => return self.piece(Code::End, chunk, position, Cow::Borrowed(b""), sink),
            (&chunk::DONE, _) => return Ok(()),
            _ if chunk.protocol != SSH => return Ok(()),
            (b"DATA", TYPED | SHOWN) if !self.is_shown => return Ok(()),
            _ => self.inflate(chunk.data)?,
        };
        match (&chunk.kind, self.file) {
            (b"DATA", TYPED) => self.piece(Code::Input, chunk, position, data, sink),
            (b"DATA", SHOWN) => self.piece(Code::Output, chunk, position, data, sink),
            _ => self.request(chunk, position, &data, sink),
        }
    }

    fn inflate<'d>(&mut self, data: &'d [u8]) -> Result<Cow<'d, [u8]>, DecodeError> {
        if self.compression == Compression::None {
            return Ok(Cow::Borrowed(data));
        }
        let mut inflated = Vec::new();
        let read = MultiGzDecoder::new(data).take(self.inflated_left as u64 + 1).read_to_end(&mut inflated);
        if inflated.len() > self.inflated_left {
            let detail = format!("chunks inflate to more than {INFLATED_BYTES_MAX} bytes");
            return Err(error(ErrorKind::TooLarge, detail));
        }
        self.inflated_left -= inflated.len();
        read.map_err(|_| error(ErrorKind::InvalidGzip, format!("chunk {} is not gzip", self.index)))?;
        Ok(Cow::Owned(inflated))
    }

    fn piece(
        &self,
        code: Code,
        chunk: &Chunk<'_>,
        position: Option<i64>,
        data: Cow<'_, [u8]>,
        sink: &mut dyn Sink,
    ) -> Result<(), DecodeError> {
        if !self.is_shown {
            return Ok(());
        }
        let seq = position
            .ok_or_else(|| error(ErrorKind::InvalidField, format!("chunk {} has a time out of range", self.index)))?;
        sink.piece(&Piece {
            session_id: Cow::Borrowed(self.session),
            // Which installation it was is not written down anywhere in a container.
            cluster: None,
            channel: self.channel.map(Cow::Borrowed),
            clock: Clock::Wall,
            code,
            seq,
            time_us: None,
            at: chunk.at,
            position: None,
            data,
        });
        Ok(())
    }

    /// An event, and of some requests a piece of the recording. A change of the terminal's size is a piece alone: a
    /// person who drags a window makes hundreds.
    fn request(
        &self,
        chunk: &Chunk<'_>,
        position: Option<i64>,
        data: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<(), DecodeError> {
        let request = Request::read(chunk.kind, data).map_err(|_| {
            error(ErrorKind::InvalidField, format!("chunk {} is not the message that its type says", self.index))
        })?;
        if !matches!(request, Some(Request::WindowChange(_))) {
            sink.event(&self.event(chunk, request.as_ref(), data.len())?);
        }
        let (code, data) = match request {
            Some(Request::Pty(pty)) if pty.terminal_width_characters > 0 && pty.terminal_height_rows > 0 => {
                (Code::Resize, format!("{}x{}", pty.terminal_width_characters, pty.terminal_height_rows))
            }
            Some(Request::WindowChange(to)) if to.terminal_width_columns > 0 && to.terminal_height_rows > 0 => {
                (Code::Resize, format!("{}x{}", to.terminal_width_columns, to.terminal_height_rows))
            }
            Some(Request::ExitStatus(exit)) => (Code::Exit, exit.exit_status.to_string()),
            _ => return Ok(()),
        };
        self.piece(code, chunk, position, Cow::Owned(data.into_bytes()), sink)
    }

    fn event(&self, chunk: &Chunk<'_>, request: Option<&Request>, len: usize) -> Result<Event<'a>, DecodeError> {
        let kind = chunk.kind.escape_ascii().to_string();
        let mut fields = match request {
            Some(request) => request.fields(),
            None => json!({ "type": kind, "length": len }),
        };
        if let Value::Object(fields) = &mut fields {
            let direction = if chunk.is_inbound { "inbound" } else { "outbound" };
            fields.insert("direction".to_owned(), Value::from(direction));
            fields.extend(self.channel.map(|channel| ("channel".to_owned(), Value::from(channel))));
        }
        let mut event = self.unit.event(request.map_or("bsr.unknown", Request::source_type), Some(self.index));
        event.occurred_at = chunk.at;
        event.source_code = Some(Cow::Owned(kind));
        event.action = request.and_then(Request::action).map(Cow::Owned);
        event.detail = detail(&fields)?;
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::import::{Reader, bsr};
    use crate::source::testing::{Decoded, decoded_message, fixture, message, mutated};
    use crate::source::{FORM_HEADER, SourceKind};

    const SESSION: &str = "s_Kq3vYx8LmT";

    fn decoded(key: Option<&str>, headers: &[(&str, &str)], value: &[u8]) -> Decoded {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let mut message = message(key, value);
        message.headers = &headers;
        decoded_message(SourceKind::Boundary, &message)
    }

    /// Decodes chunks of the shell's channel.
    fn chunks(file: &str, first: &str, value: &[u8]) -> Decoded {
        let headers = [
            (FORM_HEADER, CHUNKS_FORM),
            (FILE, file),
            (RECORDING, "sr_1"),
            (CHANNEL, "chr_1"),
            (FIRST_CHUNK, first),
            (PROGRAM, "shell"),
        ];
        decoded(Some(SESSION), &headers, value)
    }

    fn file(name: &str, value: &[u8]) -> Decoded {
        decoded(Some(SESSION), &[(FORM_HEADER, FILE_FORM), (FILE, name), (RECORDING, "sr_1")], value)
    }

    /// A chunk as Boundary writes it, at a number of microseconds after the start.
    fn chunk(kind: &[u8; 4], micros: u32, data: &[u8]) -> Vec<u8> {
        let mut summed = [b"BSSH".as_slice(), kind, &[1]].concat();
        summed.extend((1_764_583_200 + u64::from(micros / 1_000_000)).to_be_bytes());
        summed.extend((micros % 1_000_000 * 1000).to_be_bytes());
        summed.extend(data);
        let mut crc = flate2::Crc::new();
        crc.update(&summed);
        [&(data.len() as u32).to_be_bytes(), summed.as_slice(), &crc.sum().to_be_bytes()].concat()
    }

    fn container(variant: &str) -> Option<PathBuf> {
        let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures/boundary/bsr/synthetic"));
        let dir = fixtures.join(variant).join("sr_7TzPw2RbQn.bsr");
        if !dir.is_dir() {
            eprintln!("SKIPPED: no fixture {}", dir.display());
            return None;
        }
        Some(dir)
    }

    /// What comes out of a container, unit by unit.
    fn imported(variant: &str) -> Option<Vec<Decoded>> {
        let mut reader = bsr::open(&container(variant)?, &bsr::BsrKeys::default()).unwrap();
        let mut out = Vec::new();
        while let Some(unit) = reader.next().unwrap() {
            let headers: Vec<_> = unit.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            out.push(decoded(unit.key.as_deref(), &headers, &unit.value));
        }
        Some(out)
    }

    /// Pieces of one channel in the order of their positions: code, time in microseconds, data.
    fn channel(units: &[Decoded], id: &str) -> Vec<(String, i64, String)> {
        let mut pieces: Vec<_> =
            units.iter().flat_map(|unit| &unit.pieces).filter(|piece| piece["channel"] == id).collect();
        pieces.sort_by_key(|piece| piece["seq"].as_i64());
        let at = |piece: &Value| match time(&piece["at"].to_string()) {
            Time::At(at) => at,
            _ => panic!("no time"),
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        pieces.iter().map(|piece| (text(&piece["code"]), at(piece), text(&piece["data"]))).collect()
    }

    /// Times in microseconds and texts of a cast's output.
    fn cast(path: &str) -> Option<Vec<(i64, String)>> {
        let cast = String::from_utf8(fixture(path)?).unwrap();
        let lines = cast.lines().skip(1).map(|line| serde_json::from_str::<(f64, String, String)>(line).unwrap());
        Some(lines.map(|(at, _, text)| ((at * 1e6).round() as i64, text)).collect())
    }

    #[test]
    fn a_replay_shows_what_boundarys_converter_shows() {
        let Some(units) = imported("good") else { return };
        let mut shown: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for unit in units.iter().filter(|unit| !unit.output.is_empty()) {
            let channel = unit.pieces[0]["channel"].as_str().unwrap();
            shown.entry(channel.to_owned()).or_default().extend(&unit.output);
        }
        let expected = [
            ("chr_Ex3cQwErT2", "chr_Ex3cQwErT2.boundary-compatible.cast", 1_764_583_212_000_000),
            ("chr_Sh3llAbCd1", "chr_Sh3llAbCd1.stateful-utf8.cast", 1_764_583_200_310_000),
        ];
        // The file transfer has nothing that could be shown.
        assert!(shown.keys().eq(expected.map(|(id, ..)| id).iter().copied()));
        assert!(channel(&units, "chr_Sf7pZxCvB3").is_empty());
        for (id, file, head) in expected {
            let cast = cast(&format!("boundary/bsr/synthetic/expected/{file}")).unwrap();
            let text: String = cast.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(String::from_utf8_lossy(&shown[id]), text, "{id}");
            let output = channel(&units, id).into_iter().filter(|(code, ..)| code == "o");
            let times: Vec<i64> = output.map(|(_, at, _)| at - head).collect();
            assert_eq!(times, cast.iter().map(|(at, _)| *at).collect::<Vec<_>>(), "{id}");
        }
    }

    #[test]
    fn the_files_of_a_channel_are_one_recording() {
        let Some(units) = imported("good") else { return };
        let pieces = channel(&units, "chr_Sh3llAbCd1");
        let codes: String = pieces.iter().map(|(code, ..)| code.as_str()).collect();
        // Size, prompt, `whoami` typed and answered, ..., a new size, ..., the end of input, `logout`, exit, end.
        assert_eq!(codes, "roiiiiiiioioiooroioxe");
        assert!(pieces.is_sorted_by_key(|(_, at, _)| *at));
        let data =
            |code: &'static str| pieces.iter().filter(move |(have, ..)| have == code).map(|(.., data)| data.as_str());
        assert_eq!(data("r").collect::<Vec<_>>(), ["120x36", "100x50"]);
        assert_eq!(data("i").collect::<String>(), r"whoami\rcat caf\xc3\xa9.txt\r\x04");
        assert_eq!(data("x").collect::<Vec<_>>(), ["0"]);
        let exec = channel(&units, "chr_Ex3cQwErT2");
        let codes: Vec<_> = exec.iter().map(|(code, ..)| code.as_str()).collect();
        assert_eq!(codes, ["o", "x", "e"]);
        assert_eq!(exec[1].2, "2");
        assert!(units.iter().flat_map(|unit| &unit.pieces).all(|piece| piece["session_id"] == SESSION));
        assert!(units.iter().all(|unit| unit.error.is_none()));
    }

    #[test]
    fn a_container_alone_tells_who_and_what_and_when() {
        let Some(units) = imported("good") else { return };
        let events: Vec<&Value> = units.iter().flat_map(|unit| &unit.events).collect();
        assert!(events.iter().all(|event| event["session_id"] == SESSION && event["recording_id"] == "sr_7TzPw2RbQn"));
        let of = |source_type: &str| -> Vec<&Value> {
            events.iter().copied().filter(|event| event["source_type"] == source_type).collect()
        };
        let columns = |event: &Value| {
            let mut event = event.clone();
            event.as_object_mut().unwrap().remove("detail");
            event
        };
        let meta = of("bsr.session-meta")[0];
        assert_eq!(
            columns(meta),
            json!({
                "event_id": "boundary/sr_7TzPw2RbQn/session-meta.json", "kind": "session.activity",
                "source_type": "bsr.session-meta", "session_id": SESSION, "recording_id": "sr_7TzPw2RbQn",
                "actor": "u_R8dKpWx2Fq", "target": "tssh_M4nBvC6xZa", "target_kind": "target", "protocol": "ssh",
            })
        );
        assert_eq!(meta["detail"]["User"]["Name"], "alice");
        assert_eq!(meta["detail"]["Target"]["Name"], "prod-db-01");
        assert_eq!(meta["detail"]["StaticHost"]["Address"], "10.20.0.14");
        assert_eq!(
            columns(of("bsr.session-summary")[0]),
            json!({
                "event_id": "boundary/sr_7TzPw2RbQn/session-recording-summary.json", "kind": "session.end",
                "source_type": "bsr.session-summary", "session_id": SESSION, "recording_id": "sr_7TzPw2RbQn",
                "occurred_at": "2025-12-01T10:00:20.000000Z", "session_started_at": "2025-12-01T10:00:00.000000Z",
                "session_ended_at": "2025-12-01T10:00:20.000000Z", "recorded": true,
            })
        );
        assert_eq!(
            of("bsr.exec"),
            [&json!({
                "event_id":
                    "boundary/sr_7TzPw2RbQn/cr_9hVd4XsJcE.connection/chr_Ex3cQwErT2.channel/requests-inbound.data/2",
                "kind": "session.activity", "source_type": "bsr.exec", "source_code": "EXEC", "action": "df -h /",
                "session_id": SESSION, "recording_id": "sr_7TzPw2RbQn", "occurred_at": "2025-12-01T10:00:12.004000Z",
                "detail": {
                    "channel": "chr_Ex3cQwErT2", "direction": "inbound", "request_type": "exec", "want_reply": true,
                },
            })]
        );
        assert_eq!(of("bsr.subsystem")[0]["action"], "sftp");
        let mut ids: Vec<_> = events.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
        // A summary of each part, the session's metadata, and the requests but for the changes of size.
        assert_eq!(ids.len(), 5 + 1 + (4 + 1) + (2 + 1) + (2 + 1));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 17, "every fact has an id of its own");
    }

    #[test]
    fn damaged_recordings_play_as_far_as_they_go() {
        let cases = [("tampered-data", 50), ("truncated-data", 50 + 40 + 8 + 38 + 31 + 8), ("missing-file", 183)];
        for (variant, expected) in cases {
            let Some(units) = imported(variant) else { return };
            assert!(units.iter().all(|unit| unit.error.is_none()), "{variant}: units are whole chunks");
            let shell = |unit: &&Decoded| unit.pieces.iter().any(|piece| piece["channel"] == "chr_Sh3llAbCd1");
            let shown: usize = units.iter().filter(shell).map(|unit| unit.output.len()).sum();
            assert_eq!(shown, expected, "{variant}");
        }
    }

    #[test]
    fn upstreams_conversions_come_out_the_same() {
        let cases = [
            ("no-pty-no-env-no-messages", ""),
            ("no-pty-no-env-messages", ""),
            ("no-pty-no-env-multiple-messages", ""),
            ("pty-no-env-no-messages", "160x200"),
            ("pty-env-no-messages", "160x200"),
            ("pty-window-change", "160x200 220x100 100x500"),
            ("tiny-pty-no-env-no-messages", "2x2"),
            ("tiny-pty-min-width-min-height", "2x2"),
        ];
        for (name, sizes) in cases {
            let dir = format!("boundary/bsr/asciicast-cases/{name}");
            let Some(cast) = cast(&format!("{dir}/expected.cast")) else { return };
            let units = ["messages-outbound.data", "requests-inbound.data"].map(|file| {
                let bytes = fixture(&format!("{dir}/{file}")).unwrap();
                assert_eq!(bytes[..8], chunk::MAGIC);
                chunks(file, "0", &bytes[8..])
            });
            assert!(units.iter().all(|unit| unit.error.is_none()), "{name}");
            let pieces = channel(&units, "chr_1");
            let data = |code: &'static str| pieces.iter().filter(move |(have, ..)| have == code).map(|(.., data)| data);
            assert_eq!(data("r").map(String::as_str).collect::<Vec<_>>().join(" "), sizes, "{name}");
            let output: Vec<_> = pieces.iter().filter(|(code, ..)| code == "o").collect();
            let text: String = cast.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(String::from_utf8_lossy(&units[0].output), text, "{name}");
            let times: Vec<i64> = output.iter().map(|(_, at, _)| at - 1_678_963_623_000_000).collect();
            assert_eq!(times, cast.iter().map(|(at, _)| *at).collect::<Vec<_>>(), "{name}");
            // The header's size is the largest there ever was; ours can tell when it was which.
            assert_eq!(data("e").count(), 1, "{name}");
        }
        for name in ["data-before-header", "multiple-header"] {
            let file = format!("boundary/bsr/asciicast-cases/{name}/messages-outbound.data");
            let Some(bytes) = fixture(&file) else { return };
            let out = chunks("messages-outbound.data", "0", &bytes[8..]);
            assert_eq!((out.error, out.pieces.len()), (Some(ErrorKind::UnexpectedShape), 0), "{name}");
        }
    }

    #[test]
    fn every_type_of_chunk_is_read() {
        let Some(payloads) = fixture("boundary/bsr/ssh-chunks/payloads.json") else { return };
        let payloads: Value = serde_json::from_slice(&payloads).unwrap();
        let payloads = payloads["payloads"].as_array().unwrap();
        assert_eq!(payloads.len(), 20);
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        let actions = BTreeMap::from([
            ("CTPF", "127.0.0.1:87565"),
            ("DTCP", "127.0.0.1:87654"),
            ("ENVR", "FOO"),
            ("EXEC", "/bin/run-all-the-things.sh"),
            ("EXSG", "HUP"),
            ("FTCP", "10.0.0.45:2222"),
            ("SGNL", "USR1"),
            ("SUBS", "sftp"),
            ("TCPF", "127.0.0.1:2222"),
            ("X11R", "127.0.0.1:2222"),
        ]);
        let pieces = BTreeMap::from([("PTYR", ("r", "80x60")), ("WCHG", ("r", "120x120")), ("EXST", ("x", "34"))]);
        for payload in payloads {
            let kind = payload["type"].as_str().unwrap();
            let data = bytes(payload["payload_hex"].as_str().unwrap());
            let value = chunk(kind.as_bytes().try_into().unwrap(), 5, &data);
            if kind == "DATA" {
                let out = chunks("messages-outbound.data", "3", &value);
                assert_eq!((out.output.as_slice(), out.events.len(), out.error), (b"foo".as_slice(), 0, None));
                continue;
            }
            let out = chunks("requests-inbound.data", "3", &value);
            assert_eq!(out.error, None, "{kind}: {}", out.error_detail);
            assert!(!format!("{out:?}").contains("6D6167696320636F6F6B6965"), "the cookie is a secret");
            let piece =
                out.pieces.first().map(|piece| (piece["code"].as_str().unwrap(), piece["data"].as_str().unwrap()));
            assert_eq!(piece, pieces.get(kind).copied(), "{kind}");
            assert_eq!(out.events.len(), usize::from(kind != "WCHG"), "{kind}");
            let Some(event) = out.events.first() else { continue };
            assert_eq!(event["source_code"], kind);
            assert_eq!(event["action"].as_str(), actions.get(kind).copied(), "{kind}");
            assert_eq!(event["event_id"], "boundary/sr_1/requests-inbound.data/3");
            for (name, expected) in payload["fields"].as_object().unwrap() {
                let expected = expected.to_string();
                match name.as_str() {
                    "x11_authentication_cookie" => {}
                    "data_utf8" => assert_eq!(event["detail"]["data"], "Zm9v"),
                    "encoded_terminal_mode_hex" => {
                        assert_eq!(event["detail"]["encoded_terminal_mode"], "NQAAAACAAAA4QIEAADhA");
                    }
                    name => {
                        let here = event["detail"].get(name).unwrap_or(&event["action"]).to_string();
                        assert_eq!(here, expected, "{kind}: {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn types_that_nobody_knows_are_noted_and_other_protocols_are_kept() {
        let out = chunks("requests-inbound.data", "9", &chunk(b"NEW1", 5, b"\xffsecret"));
        assert_eq!((out.error, out.pieces.len()), (None, 0));
        assert_eq!(out.events[0]["source_type"], "bsr.unknown");
        let detail = json!({"type": "NEW1", "length": 7, "channel": "chr_1", "direction": "inbound"});
        assert_eq!(out.events[0]["detail"], detail);
        let Some(bytes) = fixture("boundary/bsr/chunks/header-test-end-gzip-compression.bin") else { return };
        let out = chunks("requests-inbound.data", "0", &bytes);
        assert_eq!((out.error, out.pieces.len(), out.events.len()), (None, 0, 0));
    }

    #[test]
    fn bytes_of_no_terminal_stay_in_the_record() {
        let value = [chunk(b"DATA", 1, b"\0\0\0\x05\x02"), chunk(b"EXST", 2, b""), chunk(b"DONE", 3, b"")].concat();
        for (program, expected) in
            [("shell", 3), ("exec", 3), ("scp", 0), ("rsync", 0), ("subsystem", 0), ("unknown", 0), ("", 0)]
        {
            let headers =
                [(FORM_HEADER, CHUNKS_FORM), (FILE, "messages-outbound.data"), (FIRST_CHUNK, "1"), (PROGRAM, program)];
            let out = decoded(Some(SESSION), &headers, &value);
            assert_eq!((out.pieces.len(), out.events.len(), out.error), (expected, 1, None), "{program}");
            assert_eq!(out.events[0]["event_id"], "", "no recording, no id");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_the_rest_stands() {
        use ErrorKind::*;
        let head = chunk(b"HEAD", 0, b"\0\0s_1");
        let zipped = chunk(b"HEAD", 0, b"\x01\0s_1");
        let data = chunk(b"DATA", 1, b"x");
        let mut bad_crc = data.clone();
        *bad_crc.last_mut().unwrap() ^= 1;
        let mut late = chunk(b"DATA", 1, b"x");
        late[13..21].copy_from_slice(&[0, 0, 0, 2, 0, 0, 0, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&late[4..late.len() - 4]);
        let end = late.len() - 4;
        late[end..].copy_from_slice(&crc.sum().to_be_bytes());
        let cases = [
            ("good", [head.clone(), data.clone()].concat(), 1, None),
            ("nothing", Vec::new(), 0, Some(Empty)),
            (
                "a wrong checksum",
                [head.clone(), data.clone(), bad_crc, data.clone()].concat(),
                1,
                Some(UnexpectedShape),
            ),
            ("cut off", [&head, &data, &data[..20]].concat(), 1, Some(UnexpectedShape)),
            ("no gzip", [zipped, data.clone(), chunk(b"DONE", 2, b"")].concat(), 1, Some(InvalidGzip)),
            ("another encryption", [chunk(b"HEAD", 0, b"\0\x01"), data.clone()].concat(), 0, Some(UnexpectedShape)),
            ("no protobuf", [head.clone(), chunk(b"EXEC", 2, b"\xff"), data.clone()].concat(), 1, Some(InvalidField)),
            ("a time in the far future", [head, late, data].concat(), 1, Some(InvalidField)),
        ];
        for (name, value, pieces, error) in cases {
            let out = chunks("messages-outbound.data", "0", &value);
            assert_eq!((out.pieces.len(), out.error), (pieces, error), "{name}: {}", out.error_detail);
        }
    }

    #[test]
    fn headers_that_a_unit_cannot_do_without() {
        use ErrorKind::*;
        let form = (FORM_HEADER, CHUNKS_FORM);
        let (file, first) = ((FILE, "messages-outbound.data"), (FIRST_CHUNK, "1"));
        type Case<'a> = (&'a str, Option<&'a str>, &'a [(&'a str, &'a str)], Option<ErrorKind>);
        let cases: &[Case<'_>] = &[
            ("all", Some(SESSION), &[form, file, first], None),
            ("no session", None, &[form, file, first], Some(NoSessionId)),
            ("no file", Some(SESSION), &[form, first], Some(MissingField)),
            ("no chunks in it", Some(SESSION), &[form, (FILE, "SHA256SUM"), first], Some(UnexpectedShape)),
            ("no number", Some(SESSION), &[form, file], Some(MissingField)),
            ("no such number", Some(SESSION), &[form, file, (FIRST_CHUNK, "one")], Some(InvalidField)),
            ("no such compression", Some(SESSION), &[form, file, first, (COMPRESSION, "xz")], Some(InvalidField)),
            ("no such form", Some(SESSION), &[(FORM_HEADER, "x"), file], Some(UnexpectedShape)),
        ];
        for (name, key, headers, error) in cases {
            assert_eq!(decoded(*key, headers, &chunk(b"DONE", 1, b"")).error, *error, "{name}");
        }
    }

    #[test]
    fn inflating_is_bounded() {
        use std::io::Write;
        let member = |len: usize| {
            let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            member.write_all(&vec![0; len]).unwrap();
            member.finish().unwrap()
        };
        let (half, bomb) = (member(INFLATED_BYTES_MAX / 2), member(INFLATED_BYTES_MAX + 1));
        let head = chunk(b"HEAD", 0, b"\x01\0s_1");
        for (members, pieces, error) in [
            (vec![&half, &half], 2, None),
            (vec![&half, &half, &half], 2, Some(ErrorKind::TooLarge)),
            (vec![&bomb], 0, Some(ErrorKind::TooLarge)),
        ] {
            let data = members.into_iter().flat_map(|member| chunk(b"DATA", 1, member));
            let value: Vec<u8> = head.iter().copied().chain(data).collect();
            let unit = decoded_lengths(&value);
            assert_eq!(unit, (pieces, error));
        }
    }

    /// Number of pieces, without keeping what is in them.
    fn decoded_lengths(value: &[u8]) -> (usize, Option<ErrorKind>) {
        struct Count(usize);
        impl Sink for Count {
            fn event(&mut self, _: &Event<'_>) {}
            fn piece(&mut self, _: &Piece<'_>) {
                self.0 += 1;
            }
        }
        let headers: [(&str, Option<&[u8]>); 4] = [
            (FORM_HEADER, Some(CHUNKS_FORM.as_bytes())),
            (FILE, Some(b"messages-outbound.data")),
            (FIRST_CHUNK, Some(b"0")),
            (PROGRAM, Some(b"shell")),
        ];
        let mut message = message(Some(SESSION), value);
        message.headers = &headers;
        let mut count = Count(0);
        let result = decode(CHUNKS_FORM.as_bytes(), &message, &mut count);
        (count.0, result.err().map(|error| error.kind))
    }

    #[test]
    fn logins_are_those_of_the_one_credential_that_was_injected() {
        let credential = |name: &str, purpose: &str| json!({"PublicId": "c", "Username": name, "Purposes": [purpose]});
        let injected = |name| credential(name, "injected_application");
        let cases = [
            ("one", json!({"StaticUsernamePasswordCredentials": [injected("ops")]}), json!("ops")),
            ("none", json!({"StaticUsernamePasswordCredentials": null}), Value::Null),
            ("brokered", json!({"StaticSshPrivateKeyCredentials": [credential("ops", "brokered")]}), Value::Null),
            (
                "one injected, one brokered",
                json!({"A": [injected("ops")], "B": [credential("x", "brokered")]}),
                json!("ops"),
            ),
            ("two", json!({"A": [injected("ops")], "B": [injected("root")]}), Value::Null),
            ("a template", json!({"VaultSshCertificateLibraries": [injected("{{.User.Name}}")]}), Value::Null),
        ];
        for (name, meta, expected) in cases {
            let out = file("session-meta.json", meta.to_string().as_bytes());
            assert_eq!((out.events.len(), out.error), (1, None), "{name}");
            assert_eq!(out.events[0]["login"], expected, "{name}");
            assert_eq!(out.events[0]["detail"], meta, "{name}: all of it is kept");
        }
    }

    #[test]
    fn files_of_boundarys_documentation_are_read() {
        let cases = [
            ("session-meta.json", json!({"actor": "u_5Ry4oDiEVp", "login": "username", "session_id": "s_HQbVb8fJaM"})),
            (
                "session-recording-summary.json",
                json!({"session_ended_at": "2023-09-19T15:08:02.953159Z", "recording_id": "sr_iNCdGSREeX"}),
            ),
            ("connection-recording-summary.json", json!({"occurred_at": "2023-07-13T20:22:37.241911Z"})),
            ("channel-recording-summary.json", json!({"occurred_at": "2023-07-13T20:22:37.229379Z"})),
            (
                "connection-recording.meta",
                json!({"kind": "other", "detail": {"errors": ["error message would appear here"]}}),
            ),
        ];
        for (name, expected) in cases {
            let Some(bytes) = fixture(&format!("boundary/bsr/docs-examples/{name}")) else { return };
            let out = file(name, &bytes);
            assert_eq!((out.events.len(), out.error), (1, None), "{name}");
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(&out.events[0][column], value, "{name}: {column}");
            }
        }
        for name in ["session-recording.meta", "channel-recording.meta"] {
            let Some(bytes) = fixture(&format!("boundary/bsr/docs-examples/{name}")) else { return };
            assert_eq!((file(name, &bytes).events.len(), file(name, &bytes).error), (0, None), "{name}");
        }
    }

    #[test]
    fn summaries_say_no_more_than_they_know() {
        use ErrorKind::*;
        let name = "session-recording-summary.json";
        let out = file(name, br#"{"Id":"sr_1","StartTime":"2025-12-01T10:00:00Z","EndTime":"0001-01-01T00:00:00Z"}"#);
        assert_eq!(out.events[0]["kind"], "session.activity", "without an end it is no end");
        assert_eq!(out.events[0]["session_started_at"], "2025-12-01T10:00:00.000000Z");
        assert_eq!(out.events[0].get("session_ended_at"), None);
        let cases: &[(&[u8], usize, Option<ErrorKind>)] = &[
            (b"", 0, Some(Empty)),
            (b"{", 0, Some(InvalidJson)),
            (b"\xff", 0, Some(InvalidUtf8)),
            (b"[]", 0, Some(UnexpectedShape)),
            (br#"{"Id":"a","Id":"b"}"#, 0, Some(DuplicateKey)),
            (br#"{"EndTime":"noon"}"#, 1, Some(InvalidField)),
        ];
        for (value, events, error) in cases {
            let out = file(name, value);
            assert_eq!((out.events.len(), out.error), (*events, *error), "{}", value.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn cuts_between_units_change_nothing(
            times in prop::collection::vec(0..3_000_000_u32, 1..40),
            cuts in prop::collection::vec(any::<Index>(), 0..4),
        ) {
            let chunks: Vec<Vec<u8>> = [chunk(b"HEAD", 0, b"\0\0s_1")]
                .into_iter()
                .chain(times.iter().map(|at| chunk(b"DATA", *at, &at.to_be_bytes())))
                .collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(chunks.len())).collect();
            cuts.extend([0, chunks.len()]);
            cuts.sort_unstable();
            let mut order = Order::default();
            let mut pieces = Vec::new();
            for run in cuts.windows(2).filter(|run| run[0] < run[1]) {
                let (first, after) = (run[0].to_string(), order.last.map(|last| last.to_string()));
                let mut headers = vec![
                    (FORM_HEADER, CHUNKS_FORM),
                    (FILE, "messages-outbound.data"),
                    (FIRST_CHUNK, &*first),
                    (PROGRAM, "shell"),
                ];
                headers.extend(after.as_deref().map(|after| (AFTER, after)));
                let value = chunks[run[0]..run[1]].concat();
                let out = decoded(Some(SESSION), &headers, &value);
                prop_assert_eq!(out.error, None);
                pieces.extend(out.pieces);
                for (index, bytes) in (run[0]..).zip(&chunks[run[0]..run[1]]) {
                    order.position(index as u64, chunk::split(bytes).unwrap().0.at.unwrap(), SHOWN);
                }
            }
            let whole = self::chunks("messages-outbound.data", "0", &chunks.concat());
            let shown = |piece: &Value| (piece["seq"].clone(), piece["at"].clone(), piece["data"].clone());
            prop_assert_eq!(pieces.iter().map(shown).collect::<Vec<_>>(), whole.pieces.iter().map(shown).collect::<Vec<_>>());
            // Whatever the clock did, the order of the file is the order of the recording.
            prop_assert!(whole.pieces.is_sorted_by(|a, b| a["seq"].as_i64() < b["seq"].as_i64()));
            prop_assert_eq!(whole.pieces.len(), times.len());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(value in prop::collection::vec(any::<u8>(), 0..300), kind in "[A-Z]{4}") {
            for name in DATA_FILES {
                chunks(name, "0", &value);
                chunks(name, "9", &chunk(kind.as_bytes().try_into().unwrap(), 5, &value));
            }
            for name in ["session-meta.json", "session-recording-summary.json", "connection-recording.meta"] {
                file(name, &value);
            }
        }

        #[test]
        fn damaged_units_do_no_harm(value in mutated(vec![
            [chunk(b"HEAD", 0, b"\x01\0s_1"), chunk(b"DATA", 1, b"\x1f\x8b\x08\0\0\0\0\0\0\xff")].concat(),
            br#"{"PublicId":"s","User":{"PublicId":"u"},"C":[{"Username":"a","Purposes":["injected_application"]}]}"#.to_vec(),
            br#"{"Id":"sr","StartTime":"2025-12-01T10:00:00Z","EndTime":"2025-12-01T10:00:00Z","Errors":null}"#.to_vec(),
        ])) {
            chunks("messages-outbound.data", "0", &value);
            file("session-meta.json", &value);
            file("session-recording-summary.json", &value);
            file("channel-recording-summary.json", &value);
        }
    }
}
