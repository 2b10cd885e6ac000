//! What shippers put around events: batches, compression, envelopes.
//!
//! Gateways do not write to Kafka themselves. Between them and us stand an HTTP endpoint, a log shipper, a collector,
//! and each packs events in its own way. All of them are unpacked here, for every source alike:
//!
//! - one object, also with keys that the shipper added;
//! - an object that holds the event, or its JSON text, in `message`, `log`, `body`, `event` or `original`;
//! - a list of events;
//! - several documents one after the other, on lines or not, and lines of text where a source reads such;
//! - gzip of any of these, of one or several members.

use std::io::Read;

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use custody_schemas::event::Text;
use custody_schemas::record::{DecodeError, ErrorKind};
use flate2::bufread::GzDecoder;

use super::object::{Document, Object, string};
use super::{EVENTS_PER_MESSAGE_MAX, INFLATED_BYTES_MAX};

/// Bound on envelopes inside envelopes. Known setups have two: a collector's around a shipper's.
pub(super) const ENVELOPES_MAX: usize = 3;

/// The fields in which shippers put what they were given, as JSON or as its text. The first that holds such counts.
const ENVELOPES: [&str; 5] = ["message", "log", "body", "event", "original"];

/// Fields that shippers put beside an event's own where they send it over HTTP; no event of Teleport or hoop has fields of
/// these names. They differ between two deliveries of one fact, and are left to the record.
pub(super) const SHIPPER_FIELDS: [&str; 10] = [
    "@timestamp",
    "@version",
    "_http_path",
    "date",
    "fluentd_tag",
    "headers",
    "host",
    "source_type",
    "tag",
    "timestamp",
];

/// Standard base64; senders that drop the padding are understood.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A source, as the unpacking sees it.
pub(super) trait Unpacked {
    /// Whether lines that are not JSON are other programs' log lines, to be passed over when the same text has an
    /// object that the source knows.
    const BETWEEN_LOG_LINES: bool;

    /// Whether an object is an event of the source itself, whatever else it holds.
    fn is_event(&self, object: &Object<'_>) -> bool;

    /// Takes an object that is an event, or that is no envelope either.
    fn object(&mut self, object: Object<'_>) -> Result<(), DecodeError>;

    /// Whether a line that is not JSON can be an event of the source all the same.
    fn is_line(&self, _line: &str) -> bool {
        false
    }

    /// Takes such a line.
    fn line(&mut self, _line: &str) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// Hands every object in a message value to the source.
///
/// # Errors
///
/// The first thing that was wrong. Everything else in the message has been handed over nevertheless.
pub(super) fn unpack<S: Unpacked>(value: Option<&[u8]>, source: &mut S) -> Result<(), DecodeError> {
    let mut unpacking = Unpacking { source, seen: 0, known: 0, error: None, plain: None };
    unpacking.bytes(value.unwrap_or_default());
    let Unpacking { known, error, plain, .. } = unpacking;
    let passes_over_lines = S::BETWEEN_LOG_LINES && known > 0;
    error.or(plain.filter(|_| !passes_over_lines)).map_or(Ok(()), Err)
}

struct Unpacking<'s, S> {
    source: &'s mut S,
    /// Objects so far.
    seen: usize,
    /// Objects that the source could read.
    known: usize,
    /// The first error.
    error: Option<DecodeError>,
    /// The first text that does not look like JSON at all.
    plain: Option<DecodeError>,
}

impl<S: Unpacked> Unpacking<'_, S> {
    fn fail(&mut self, kind: ErrorKind, detail: impl Into<String>) {
        self.error.get_or_insert_with(|| DecodeError::new(kind, detail));
    }

    fn is_full(&self) -> bool {
        self.seen >= EVENTS_PER_MESSAGE_MAX
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let inflated;
        let mut bytes = bytes;
        if is_gzip(bytes) {
            let (members, error) = inflate(bytes);
            if let Some(error) = error {
                self.error.get_or_insert(error);
            }
            inflated = members;
            bytes = &inflated;
            if bytes.is_empty() && self.error.is_some() {
                return;
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text, None, 0),
            Err(error) => {
                self.fail(ErrorKind::InvalidUtf8, format!("not UTF-8 from byte {} on", error.valid_up_to()));
            }
        }
    }

    /// Reads the documents of a text: one after the other, wherever their lines end, until one is not JSON; from there
    /// on line by line, so that a broken document costs no more than its own lines, and the whole never more than two
    /// readings.
    fn text<'a>(&mut self, text: &'a str, outer: Option<&'a Object<'a>>, envelopes: usize) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii();
        if text.is_empty() {
            return self.fail(ErrorKind::Empty, "no value");
        }
        let rest = self.documents(text, outer, envelopes, true);
        for line in rest.lines() {
            let line = line.trim_ascii();
            if !line.is_empty() {
                self.documents(line, outer, envelopes, false);
            }
        }
    }

    /// Reads documents until one is not JSON. Returns the text from there on when somebody else will read it again, and
    /// notes the error otherwise.
    fn documents<'a>(
        &mut self,
        text: &'a str,
        outer: Option<&'a Object<'a>>,
        envelopes: usize,
        is_read_again: bool,
    ) -> &'a str {
        let mut rest = text;
        while !rest.is_empty() && !self.is_full() {
            if !rest.starts_with(['{', '[']) {
                // Numbers and strings are documents too, but of nobody's events; log lines begin with them.
                if !(is_read_again && rest.contains('\n')) {
                    self.line(rest);
                    return "";
                }
                return rest;
            }
            match Document::first(rest) {
                Ok((document, after)) => {
                    rest = after.trim_ascii_start();
                    self.document(document, outer, envelopes);
                }
                Err(_) if is_read_again && rest.contains('\n') => return rest,
                Err(at) => {
                    let what = if at.is_cut_off { "JSON is cut off" } else { "not JSON" };
                    self.fail(ErrorKind::InvalidJson, format!("{what} at column {}", at.column));
                    return "";
                }
            }
        }
        if self.is_full() && !rest.is_empty() {
            self.fail(ErrorKind::TooLarge, format!("more than {EVENTS_PER_MESSAGE_MAX} events in one message"));
        }
        ""
    }

    fn line(&mut self, line: &str) {
        if self.source.is_line(line) {
            let result = self.source.line(line);
            self.count(result);
        } else {
            self.plain.get_or_insert_with(|| DecodeError::new(ErrorKind::InvalidJson, "not JSON"));
        }
    }

    fn count(&mut self, result: Result<(), DecodeError>) {
        self.seen += 1;
        match result {
            Ok(()) => self.known += 1,
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }

    fn document<'a>(&mut self, document: Document<'a>, outer: Option<&'a Object<'a>>, envelopes: usize) {
        match document {
            Document::Object(fields) => match Object::new(fields, outer) {
                Ok(object) => self.object(object, envelopes),
                Err(error) => {
                    self.error.get_or_insert(error);
                }
            },
            Document::Array(elements) => {
                for element in elements {
                    if self.is_full() {
                        let detail = format!("more than {EVENTS_PER_MESSAGE_MAX} events in one message");
                        return self.fail(ErrorKind::TooLarge, detail);
                    }
                    match Document::parse(element) {
                        Ok(document @ Document::Object(_)) => self.document(document, outer, envelopes),
                        Ok(Document::TooLarge) => self.fail(ErrorKind::TooLarge, "an object has too many fields"),
                        Ok(Document::Array(_) | Document::Scalar) => {
                            self.fail(ErrorKind::UnexpectedShape, "an element of a list is not an object");
                        }
                        Err(_) => self.fail(ErrorKind::InvalidJson, "an element of a list is not JSON"),
                    }
                }
            }
            Document::TooLarge => self.fail(ErrorKind::TooLarge, "an object or a list has too many parts"),
            Document::Scalar => self.fail(ErrorKind::UnexpectedShape, "neither an object nor a list"),
        }
    }

    fn object(&mut self, object: Object<'_>, envelopes: usize) {
        if !self.source.is_event(&object)
            && let Some(inner) = envelope(self.source, &object)
        {
            if envelopes == ENVELOPES_MAX {
                return self.fail(ErrorKind::TooLarge, format!("more than {ENVELOPES_MAX} envelopes in one another"));
            }
            return self.text(&inner, Some(&object), envelopes + 1);
        }
        let result = self.source.object(object);
        self.count(result);
    }
}

/// The JSON inside an envelope, or the lines that the source reads without being JSON.
fn envelope<'a>(source: &impl Unpacked, object: &Object<'a>) -> Option<Text<'a>> {
    ENVELOPES.iter().find_map(|name| {
        let json = object.json(name)?;
        if json.starts_with(['{', '[']) {
            return Some(Text::Borrowed(json));
        }
        let is_read = |line: &str| line.starts_with(['{', '[']) || source.is_line(line);
        string(json).filter(|text| text.lines().map(str::trim_ascii).any(is_read))
    })
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Inflates the members of a gzip file (RFC 1952). What fails its checksum is not returned: nobody knows what it said.
fn inflate(gzip: &[u8]) -> (Vec<u8>, Option<DecodeError>) {
    let mut out = Vec::new();
    let mut rest = gzip;
    while is_gzip(rest) {
        let whole = out.len();
        let mut member = GzDecoder::new(rest);
        // One byte more than allowed tells "just fits" from "too large".
        let room = INFLATED_BYTES_MAX.saturating_sub(whole).saturating_add(1) as u64;
        if member.by_ref().take(room).read_to_end(&mut out).is_err() {
            out.truncate(whole);
            return (out, Some(DecodeError::new(ErrorKind::InvalidGzip, "gzip is damaged or cut off")));
        }
        if out.len() > INFLATED_BYTES_MAX {
            out.truncate(whole);
            let detail = format!("inflates to more than {INFLATED_BYTES_MAX} bytes");
            return (out, Some(DecodeError::new(ErrorKind::TooLarge, detail)));
        }
        rest = member.into_inner();
    }
    // Zeros pad a file to a block; anything else was not compressed by whoever wrote the members.
    let padded = rest.iter().all(|byte| *byte == 0);
    let error = (!padded).then(|| DecodeError::new(ErrorKind::InvalidGzip, "bytes that are not gzip follow the gzip"));
    (out, error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// Collects the `n` of objects that have one; knows objects with a `log_level` too.
    #[derive(Default)]
    struct Numbers {
        seen: Vec<String>,
    }

    impl Unpacked for Numbers {
        const BETWEEN_LOG_LINES: bool = true;

        fn is_event(&self, object: &Object<'_>) -> bool {
            object.has("n")
        }

        fn object(&mut self, object: Object<'_>) -> Result<(), DecodeError> {
            if object.has("log_level") {
                return Ok(());
            }
            let number = object.json("n").ok_or_else(|| DecodeError::new(ErrorKind::MissingField, "no n"))?;
            self.seen.push(number.to_owned());
            Ok(())
        }
    }

    fn numbers(value: &[u8]) -> (String, Option<ErrorKind>) {
        let mut source = Numbers::default();
        let error = unpack(Some(value), &mut source).err().map(|error| error.kind);
        (source.seen.join(" "), error)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_packing_is_undone() {
        use ErrorKind::*;
        let cases: &[(&str, &str, &str, Option<ErrorKind>)] = &[
            ("one object", r#"{"n":1}"#, "1", None),
            ("byte order mark", "\u{feff}{\"n\":1}\n", "1", None),
            ("shipper's keys", r#"{"n":1,"path":"/x","timestamp":"t","message":"{}"}"#, "1", None),
            ("text in message", r#"{"message":"{\"n\":1}","host":"h"}"#, "1", None),
            ("text in log", r#"{"log":"{\"n\":1}\n","stream":"stderr"}"#, "1", None),
            ("object in body", r#"{"body":{"n":1}}"#, "1", None),
            ("object in event", r#"{"event":{"n":1},"time":1}"#, "1", None),
            ("text in event.original", r#"{"event":{"original":"{\"n\":1}"}}"#, "1", None),
            ("message before event", r#"{"event":{"kind":"event"},"message":"{\"n\":1}"}"#, "1", None),
            ("lines in message", r#"{"message":"{\"n\":1}\n{\"n\":2}"}"#, "1 2", None),
            ("log lines in message", r#"{"message":"starting\n{\"n\":2}"}"#, "2", None),
            ("list", r#"[{"n":1},{"n":2}]"#, "1 2", None),
            ("empty list", "[]", "", None),
            ("list of envelopes", r#"[{"message":"{\"n\":1}"},{"n":2}]"#, "1 2", None),
            ("lines", "{\"n\":1}\r\n\r\n{\"n\":2}\r\n", "1 2", None),
            ("no lines", r#"{"n":1}{"n":2} {"n":3}"#, "1 2 3", None),
            ("over several lines", "{\n\"n\":\n1}\n{\"n\"\n:2}", "1 2", None),
            ("deep envelopes", r#"{"body":{"body":{"body":{"n":1}}}}"#, "1", None),
            ("too deep", r#"{"body":{"body":{"body":{"body":{"n":1}}}}}"#, "", Some(TooLarge)),
            ("empty", "", "", Some(Empty)),
            ("only whitespace", " \n\t", "", Some(Empty)),
            ("empty message", r#"{"message":""}"#, "", Some(MissingField)),
            ("number", "17", "", Some(InvalidJson)),
            ("text", "starting", "", Some(InvalidJson)),
            ("cut off", r#"{"n":1"#, "", Some(InvalidJson)),
            ("garbage after", r#"{"n":1} x"#, "1", None),
            ("log lines", "2025/12/01 x\n{\"n\":1}\n\"y\"\n", "1", None),
            ("log lines around a known object", "x\n{\"log_level\":1}\n", "", None),
            ("log lines around an unknown object", "x\n{\"a\":1}\n", "", Some(MissingField)),
            ("a cut line costs itself", "{\"n\":1,\n{\"n\":2}\n{\"n\":3", "2", Some(InvalidJson)),
            ("a bad element costs itself", r#"[{"n":1},2,[],{"a":0},{"n":3}]"#, "1 3", Some(UnexpectedShape)),
            ("a name twice", r#"[{"n":1,"n":2},{"n":3}]"#, "3", Some(DuplicateKey)),
            ("half a surrogate as a name", r#"{"n":1,"\ud800":2}"#, "", Some(InvalidJson)),
        ];
        for (name, value, seen, error) in cases {
            assert_eq!(numbers(value.as_bytes()), ((*seen).to_owned(), *error), "{name}");
            let expected =
                if *error == Some(Empty) { (String::new(), Some(Empty)) } else { ((*seen).to_owned(), *error) };
            assert_eq!(numbers(&gzip(value.as_bytes())), expected, "{name}, compressed");
        }
        assert_eq!(numbers(b"{\"n\":\"\xff\"}"), (String::new(), Some(InvalidUtf8)));
        assert_eq!(unpack(None, &mut Numbers::default()).unwrap_err().kind, Empty);
    }

    #[test]
    fn gzip_is_read_to_its_end_and_no_further() {
        let one = gzip(br#"{"n":1}"#);
        let two = gzip(br#"{"n":2}"#);
        let mut damaged = two.clone();
        let checksum = damaged.len() - 6;
        damaged[checksum] ^= 1;
        let cases: &[(&str, Vec<u8>, &str, Option<ErrorKind>)] = &[
            ("members", [one.as_slice(), &two].concat(), "1 2", None),
            ("a document over two members", [gzip(br#"{"n""#), gzip(b":3}")].concat(), "3", None),
            ("padding", [one.as_slice(), &[0; 100]].concat(), "1", None),
            ("garbage after", [one.as_slice(), b"garbage"].concat(), "1", Some(ErrorKind::InvalidGzip)),
            ("cut off", one[..one.len() - 3].to_vec(), "", Some(ErrorKind::InvalidGzip)),
            ("second cut off", [one.as_slice(), &two[..12]].concat(), "1", Some(ErrorKind::InvalidGzip)),
            ("wrong checksum", [one.as_slice(), &damaged].concat(), "1", Some(ErrorKind::InvalidGzip)),
            ("only the magic", vec![0x1f, 0x8b], "", Some(ErrorKind::InvalidGzip)),
        ];
        for (name, value, seen, error) in cases {
            assert_eq!(numbers(value), ((*seen).to_owned(), *error), "{name}");
        }
    }

    #[test]
    fn what_inflates_beyond_the_limit_is_refused() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let zeros = vec![b' '; 1 << 20];
        for _ in 0..=INFLATED_BYTES_MAX >> 20 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < INFLATED_BYTES_MAX / 50);
        assert_eq!(numbers(&bomb), (String::new(), Some(ErrorKind::TooLarge)));
        let mut behind_a_good_one = gzip(br#"{"n":1}"#);
        behind_a_good_one.extend(bomb);
        assert_eq!(numbers(&behind_a_good_one), ("1".to_owned(), Some(ErrorKind::TooLarge)));
    }

    #[test]
    fn the_number_of_events_is_bounded() {
        let list = format!("[{}]", vec![r#"{"n":0}"#; EVENTS_PER_MESSAGE_MAX + 1].join(","));
        assert_eq!(numbers(list.as_bytes()), (String::new(), Some(ErrorKind::TooLarge)));
        let lines = r#"{"n":0}"#.repeat(EVENTS_PER_MESSAGE_MAX + 1);
        let (seen, error) = numbers(lines.as_bytes());
        assert_eq!((seen.len(), error), (EVENTS_PER_MESSAGE_MAX * 2 - 1, Some(ErrorKind::TooLarge)));
    }

    /// Each of these made some reader quadratic, or overflow its stack.
    #[test]
    fn hostile_shapes_take_linear_time() {
        let began = std::time::Instant::now();
        for piece in ["[\n", "{\"a\":\n", "{\"message\":\"", "{\"body\":", "\"\n", "{\n", "[{", "]\n", "{}", "\\\n"] {
            let value = piece.repeat(4_000_000 / piece.len());
            let _ = numbers(value.as_bytes());
            let _ = numbers(format!(r#"{{"message":{}}}"#, serde_json::Value::from(value)).as_bytes());
        }
        assert!(began.elapsed().as_secs() < 180, "took {:?}", began.elapsed());
    }
}
