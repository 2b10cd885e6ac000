//! Files of JSON documents: logs and exports of audit events, on lines or not, in one list or not, compressed or not.
//!
//! A unit is one document, as it stood: an object wherever it begins and ends, an element of the list that the file is,
//! or a line that is no JSON. Where the text stops being JSON the rest up to a bound is one unit, which its source reads
//! line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::{Reader, Summary, Unit};
use crate::source::SourceKind;

/// A document larger than this is cut: no source writes such events.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How much of a file is looked at to recognise it.
const HEAD_BYTES: usize = 256 * 1024;

/// Which source wrote a text, by the names that only its documents have. The order matters where one quotes another.
pub(crate) fn recognise(head: &[u8]) -> Option<SourceKind> {
    if head.contains(&0) {
        return None;
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let has = |word: &str| text.contains(word);
    // Inside of a shipper's wrapper quotes are escaped.
    let names =
        |name: &str| has(&format!("\"{name}\":")) || has(&format!("\"{name}\" :")) || has(&format!("\\\"{name}\\\":"));
    if names("specversion") || names("serialized_hmac") || is_boundary_hclog(text) {
        return Some(SourceKind::Boundary);
    }
    if names("decision_id") || has("openpolicyagent.org/decision_logs") {
        return Some(SourceKind::Opa);
    }
    if names("rec") && names("timing") && (names("in_txt") || names("out_txt")) {
        return Some(SourceKind::Tlog);
    }
    let is_named = ["\"event\":\"", "\"event\": \"", "\\\"event\\\":\\\""].iter().any(|name| has(name));
    if is_named && ["ei", "cluster_name", "code", "uid", "sid"].iter().any(|name| names(name)) {
        return Some(SourceKind::Teleport);
    }
    let is_hoop = [
        "event_stream",
        "connection_subtype",
        "review_groups_data",
        "eventType",
        "resource_type",
        "event_session_open",
    ];
    if text.starts_with(['{', '[']) && is_hoop.iter().any(|name| names(name)) {
        return Some(SourceKind::Hoop);
    }
    None
}

fn is_boundary_hclog(text: &str) -> bool {
    ["audit event", "observation event", "system event", "error event"].iter().any(|what| {
        text.contains(&format!("\"@message\":\"{what}\""))
            || text.contains(&format!("] {what}:"))
            || text.contains(&format!("]  {what}:"))
    })
}

/// The beginning of a file, inflated where it is compressed.
pub(crate) fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    // A head that is damaged is what it is up to there.
    let read = text_of(path)?.take(HEAD_BYTES as u64).read_to_end(&mut head);
    match read {
        Err(error) if !is_damage(&error) => Err(error),
        _ => Ok(head),
    }
}

/// Whether an error is about the compressed bytes, and not about reading them.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn text_of(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::with_capacity(128 * 1024, File::open(path)?);
    if file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(128 * 1024, MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

/// Opens a file of documents of a source.
pub(crate) fn open(path: &Path, source: SourceKind) -> io::Result<Documents> {
    let key = match source {
        SourceKind::Teleport => session_of_stream(&head(path)?),
        _ => None,
    };
    Ok(Documents { text: text_of(path)?, source, key, in_list: None, summary: Summary::default(), done: false })
}

/// The session of a stream of the event handler: pieces of a recording do not name it, its own events do. `None` for
/// any other file, where a key would be a claim about events of other sessions.
fn session_of_stream(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let objects = || text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let is = |object: &serde_json::Value, event: &str| object.get("event").and_then(|of| of.as_str()) == Some(event);
    objects().any(|object| is(&object, "print") && object.get("sid").is_none()).then_some(())?;
    let start = objects().find(|object| is(object, "session.start"))?;
    Some(start.get("sid")?.as_str()?.to_owned())
}

/// Reads the documents of a file.
pub(crate) struct Documents {
    text: Box<dyn BufRead + Send>,
    source: SourceKind,
    key: Option<String>,
    /// Whether the file is one list; `None` before its first character.
    in_list: Option<bool>,
    summary: Summary,
    done: bool,
}

impl Reader for Documents {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        if self.done {
            return Ok(None);
        }
        let mut document = Vec::new();
        let is_there = match self.document(&mut document) {
            Ok(is_there) => is_there,
            Err(error) if is_damage(&error) => {
                self.summary.find("Truncated", None, "the compressed file is damaged or cut off".to_owned());
                self.done = true;
                // What came out before the damage is what is left of the last document.
                !document.is_empty()
            }
            Err(error) => return Err(error),
        };
        self.done |= !is_there;
        let document = is_there.then_some(document);
        Ok(document.map(|value| Unit { source: self.source, key: self.key.clone(), headers: Vec::new(), value }))
    }

    fn summary(&self) -> Summary {
        Summary { session_id: self.key.clone(), ..self.summary.clone() }
    }
}

impl Documents {
    /// Reads the next document or line; `false` when there is none.
    fn document(&mut self, document: &mut Vec<u8>) -> io::Result<bool> {
        let Some(first) = self.skip_to_document()? else { return Ok(false) };
        let mut scan = Scan::new(first);
        loop {
            let buffer = self.text.fill_buf()?;
            if buffer.is_empty() {
                return Ok(true);
            }
            let room = DOCUMENT_BYTES_MAX - document.len();
            let (taken, is_whole) =
                scan.run(buffer.get(..buffer.len().min(room)).unwrap_or(buffer), self.in_list == Some(true));
            document.extend_from_slice(buffer.get(..taken).unwrap_or(buffer));
            self.text.consume(taken);
            if is_whole || document.len() >= DOCUMENT_BYTES_MAX {
                return Ok(true);
            }
        }
    }

    /// Passes over what stands between documents. Returns the first byte of the next one.
    fn skip_to_document(&mut self) -> io::Result<Option<u8>> {
        loop {
            let Some(byte) = self.text.fill_buf()?.first().copied() else { return Ok(None) };
            match (byte, self.in_list) {
                (b' ' | b'\t' | b'\r' | b'\n', _) | (0xef | 0xbb | 0xbf, None) | (b',' | b']', Some(true)) => {}
                (b'[', None) => self.in_list = Some(true),
                (_, list) => {
                    self.in_list = Some(list == Some(true));
                    return Ok(Some(byte));
                }
            }
            self.text.consume(1);
        }
    }
}

/// Finds the end of a document.
struct Scan {
    is_json: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn new(first: u8) -> Self {
        Self { is_json: matches!(first, b'{' | b'['), depth: 0, in_string: false, escaped: false }
    }

    /// Looks through the next bytes. Returns how many belong to the document, and whether it ends with them.
    fn run(&mut self, bytes: &[u8], in_list: bool) -> (usize, bool) {
        for (at, byte) in bytes.iter().enumerate() {
            if !self.is_json {
                match byte {
                    b'\n' => return (at, true),
                    b',' | b']' if in_list => return (at, true),
                    _ => continue,
                }
            }
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
        }
        (bytes.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn units(bytes: &[u8]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let mut reader = open(&path, SourceKind::Opa).unwrap();
        let mut units = Vec::new();
        while let Some(unit) = reader.next().unwrap() {
            units.push(String::from_utf8(unit.value).unwrap());
        }
        units
    }

    #[test]
    fn documents_are_found_however_they_are_packed() {
        let cases: [(&str, &str, &[&str]); 10] = [
            ("lines", "{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"]),
            ("nothing between", "{\"a\":1}{\"b\":2}", &["{\"a\":1}", "{\"b\":2}"]),
            ("indented", "{\n \"a\": {\n} }\n\n{}", &["{\n \"a\": {\n} }", "{}"]),
            ("one list", "[ {\"a\":1},\n{\"b\":[2]} ]\n", &["{\"a\":1}", "{\"b\":[2]}"]),
            ("byte order mark", "\u{feff}{\"a\":1}", &["{\"a\":1}"]),
            ("brackets in strings", r#"{"a":"}\"{"}{"b":"\\"}"#, &[r#"{"a":"}\"{"}"#, r#"{"b":"\\"}"#]),
            ("log lines", "2025 started\n{\"a\":1}\nstopped", &["2025 started", "{\"a\":1}", "stopped"]),
            ("elements that are none", "[1, {\"a\":1}, \"x\"]", &["1", "{\"a\":1}", "\"x\""]),
            ("cut off", "{\"a\":1}\n{\"b\":", &["{\"a\":1}", "{\"b\":"]),
            ("nothing", " \n", &[]),
        ];
        for (name, text, expected) in cases {
            assert_eq!(units(text.as_bytes()), expected, "{name}");
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(text.as_bytes()).unwrap();
            assert_eq!(units(&gzip.finish().unwrap()), expected, "{name}, compressed");
        }
    }

    #[test]
    fn a_document_without_end_is_cut_at_the_bound() {
        let endless = [b"{".as_slice(), &vec![b' '; DOCUMENT_BYTES_MAX + 10]].concat();
        let units = units(&endless);
        assert_eq!(units.iter().map(String::len).collect::<Vec<_>>(), [DOCUMENT_BYTES_MAX]);
    }

    #[test]
    fn a_damaged_gzip_is_told() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"{\"a\":1}\n{\"b\":2}").unwrap();
        let bytes = gzip.finish().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, &bytes[..bytes.len() - 6]).unwrap();
        let mut reader = open(&path, SourceKind::Opa).unwrap();
        let mut values = Vec::new();
        while let Some(unit) = reader.next().unwrap() {
            values.push(String::from_utf8(unit.value).unwrap());
        }
        assert_eq!(values, ["{\"a\":1}", "{\"b\":2}"], "what came out before the damage is kept");
        assert_eq!(reader.summary().findings[0].kind, "Truncated");
    }

    #[test]
    fn sources_are_recognised_by_what_only_they_write() {
        let cases = [
            (r#"{"id":"x","specversion":"1.0","data":{}}"#, Some(SourceKind::Boundary)),
            (r#"{"@level":"info","@message":"system event"}"#, Some(SourceKind::Boundary)),
            ("2025-12-01T10:00:00.201Z [INFO]  system event: data:msg=\"x\"", Some(SourceKind::Boundary)),
            (r#"[{"labels":{},"decision_id":"d"}]"#, Some(SourceKind::Opa)),
            (r#"{"message":"{\"decision_id\":\"d\"}"}"#, Some(SourceKind::Opa)),
            (r#"{"ei":0,"event":"session.start","code":"T2000I"}"#, Some(SourceKind::Teleport)),
            (r#"{"ver":"2.3","rec":"r","timing":"+1","in_txt":""}"#, Some(SourceKind::Tlog)),
            (r#"{"id":"s","event_stream":[]}"#, Some(SourceKind::Hoop)),
            (r#"[{"event": "session.open", "sid": "s"}]"#, Some(SourceKind::Teleport)),
            ("PAR1\0{\"event\":\"x\",\"uid\":\"u\"}", None),
            (r#"{"hello":1}"#, None),
            ("# Notes", None),
        ];
        for (text, expected) in cases {
            assert_eq!(recognise(text.as_bytes()), expected, "{text}");
        }
    }
}
