use std::fs;
use std::io::Write;
use std::path::PathBuf;

use custody_replay::screen::screen_at;
use custody_replay::{Recording, State};
use custody_schemas::event::{Event, Integrity};
use custody_schemas::frame::{Code, Frame, FramePiece, Piece};
use custody_schemas::record::{ErrorKind, Message, Origin};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::import::{Reader, Summary, UNIT_BYTES, Unit};
use crate::source::testing::Decoded;
use crate::source::{EVENTS_PER_MESSAGE_MAX, Sink, Source, SourceKind, decode};

/// Opens whatever recording stands at a path.
fn open(path: &Path, session_id: &str) -> io::Result<Option<Box<dyn Reader>>> {
    if path.is_dir() {
        let members: Vec<String> = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()?;
        return match sudo::recognises(&members) {
            true => Ok(Some(Box::new(sudo::open(path, session_id)?))),
            false => Ok(None),
        };
    }
    let head = head(path)?;
    if asciicast::recognises(&head) {
        return Ok(Some(Box::new(asciicast::open(path, session_id)?)));
    }
    if tlog::recognises(&head) {
        return Ok(Some(Box::new(tlog::open(path)?)));
    }
    if let Some(files) = script::files(path)? {
        return Ok(Some(Box::new(script::open(&files, session_id)?)));
    }
    if ttyrec::recognises(&head) {
        return Ok(Some(Box::new(ttyrec::open(path, session_id)?)));
    }
    Ok(None)
}

/// The folder of shared fixtures; `None`, and said aloud, where it is not on this machine.
fn fixtures() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures/replay"));
    if folder.is_dir() {
        return Some(folder.to_owned());
    }
    eprintln!("SKIPPED: no fixtures in {}", folder.display());
    None
}

/// What came of an object.
#[derive(Debug, Default)]
struct Imported {
    units: Vec<Unit>,
    summary: Summary,
    events: Vec<Value>,
    frames: Vec<Frame>,
    errors: Vec<(ErrorKind, String)>,
}

impl Sink for Imported {
    fn event(&mut self, event: &Event<'_>) {
        let mut shown = Decoded::default();
        shown.event(event);
        self.events.append(&mut shown.events);
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        let Piece { code, seq, time_us, at, position, .. } = *piece;
        let len = piece.data.len();
        // Small frames, so that packing is part of what is tested.
        let is_new = self.frames.last().is_none_or(|frame| {
            frame.pieces.len() >= 100 || frame.clock != piece.clock || frame.session_id != piece.session_id
        });
        if is_new {
            self.frames.push(Frame {
                session_id: piece.session_id.to_string(),
                cluster: None,
                channel: piece.channel.as_deref().map(str::to_owned),
                topic: "object".to_owned(),
                partition: 0,
                first_offset: self.units.len() as i64,
                last_offset: self.units.len() as i64,
                clock: piece.clock,
                pieces: Vec::new(),
                data: Vec::new(),
            });
        }
        let frame = self.frames.last_mut().unwrap();
        frame.pieces.push(FramePiece { code, seq, time_us, at, position, len });
        frame.data.extend_from_slice(&piece.data);
    }
}

impl Imported {
    fn decode(&mut self, unit: &Unit) {
        let headers: Vec<_> = unit.headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let message = Message {
            origin: Origin { topic: "import/object", partition: 0, offset: self.units.len() as i64 },
            broker_at: None,
            key: unit.key.as_deref().map(str::as_bytes),
            headers: &headers,
            value: Some(&unit.value),
        };
        if let Err(error) = decode(&Source::new(unit.source), &message, self) {
            self.errors.push((error.kind, error.detail));
        }
    }

    fn read(reader: &mut dyn Reader) -> Self {
        let mut imported = Self::default();
        while let Some(unit) = reader.next().unwrap() {
            imported.decode(&unit);
            imported.units.push(unit);
        }
        imported.summary = reader.summary();
        assert!(reader.next().unwrap().is_none(), "the end is the end");
        imported
    }

    fn recording(&self) -> Recording {
        let session = self.frames.first().map_or("s-1", |frame| &frame.session_id);
        Recording::from_frames(session, self.frames.clone())
    }

    fn bytes(&self, code: Code) -> Vec<u8> {
        self.recording().events.iter().filter(|event| event.code == code).flat_map(|event| event.data.clone()).collect()
    }

    fn value(&self) -> Vec<u8> {
        self.units.iter().flat_map(|unit| unit.value.clone()).collect()
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.summary.findings.iter().map(|finding| finding.kind).collect()
    }

    fn error_kinds(&self) -> Vec<ErrorKind> {
        self.errors.iter().map(|(kind, _)| *kind).collect()
    }

    fn count(&self, code: Code) -> usize {
        self.recording().events.iter().filter(|event| event.code == code).count()
    }
}

fn import(path: &Path) -> Imported {
    let mut reader = open(path, "s-1").unwrap().unwrap_or_else(|| panic!("{} is not recognised", path.display()));
    Imported::read(reader.as_mut())
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn frame(sec: u32, usec: u32, data: &[u8]) -> Vec<u8> {
    [&sec.to_le_bytes()[..], &usec.to_le_bytes(), &(data.len() as u32).to_le_bytes(), data].concat()
}

/// The screen at the end, and the time.
fn last_screen(recording: &Recording) -> Vec<String> {
    screen_at(recording, recording.duration_us)
}

mod one_session {
    use super::*;

    #[test]
    fn script_has_every_byte_of_the_terminal() {
        let Some(folder) = fixtures() else { return };
        let nested = folder.join("own/nested");
        let script = import(&nested.join("script.timing"));
        assert_eq!(script.errors, []);
        let (output, raw) = (script.bytes(Code::Output), fs::read(nested.join("outer.raw")).unwrap());
        // Who published the recordings replaced a path in them, but in the typescript not where it was typed.
        let replaced = [51..=62, 34_219..=34_230, 34_267..=34_278, 34_317..=34_328_usize];
        let differing = (0..raw.len()).filter(|at| output.get(*at) != raw.get(*at));
        assert_eq!(output.len(), raw.len());
        assert_eq!(differing.filter(|at| !replaced.iter().any(|range| range.contains(at))).count(), 0);
        assert_eq!(script.summary.integrity, Some(Integrity::Complete));
        assert_eq!(script.summary.findings, []);
        let recording = script.recording();
        assert_eq!((recording.size.to_string(), recording.state()), ("100x30".to_owned(), State::Complete));
        assert_eq!(recording.findings, []);
        // The sum of all delays, 10 ms before the end of the recorder.
        assert_eq!(recording.duration_us, 97_342_235);
        assert_eq!((script.count(Code::Resize), script.count(Code::Exit)), (6, 1));
        assert_eq!(
            script.events,
            [
                json!({
                    "event_id": "script/s-1/start", "kind": "session.start", "source_type": "script.start",
                    "session_id": "s-1", "occurred_at": "2026-11-21T02:19:27.000000Z",
                    "action": "bash --noprofile --norc",
                    "detail": script.events[0]["detail"],
                }),
                json!({
                    "event_id": "script/s-1/end", "kind": "session.end", "source_type": "script.end",
                    "session_id": "s-1", "occurred_at": "2026-11-21T02:21:04.000000Z",
                    "session_ended_at": "2026-11-21T02:21:04.000000Z",
                    "detail": {"exit_status": 3, "duration": "97.352895"},
                }),
            ]
        );
        assert_eq!(script.events[0]["detail"]["TERM"], "xterm-256color");

        // Either file opens both, and nothing of either is lost.
        let from_data = import(&nested.join("script.io"));
        assert_eq!(from_data.units, script.units);
        let sizes = ["script.io", "script.timing"].map(|name| fs::metadata(nested.join(name)).unwrap().len() as usize);
        assert_eq!(script.value().len(), sizes.iter().sum::<usize>());
    }

    #[test]
    fn four_recorders_saw_the_same_screen() {
        let Some(folder) = fixtures() else { return };
        let script = import(&folder.join("own/nested/script.timing")).recording();
        let ttyrec = import(&folder.join("own/nested/session.ttyrec"));
        let cast = import(&folder.join("own/nested/asciinema-2.2.cast"));
        assert_eq!((ttyrec.errors.len(), cast.errors.len()), (0, 0));
        let expected = last_screen(&script);
        assert!(expected.iter().any(|line| line.contains("exit 3")), "{expected:?}");
        // ttyrec knows no resizes, so it is played at the size of the others.
        let size = script.size;
        let text = |recording: Recording| last_screen(&Recording { size, ..recording });
        let cast = cast.recording();
        let of_ttyrec = text(ttyrec.recording());
        let end = |lines: &[String]| {
            let lines: Vec<_> = lines.iter().filter(|line| !line.is_empty()).cloned().collect();
            lines[lines.len().saturating_sub(6)..].to_vec()
        };
        assert_eq!(end(&last_screen(&cast)), end(&expected));
        assert_eq!(end(&of_ttyrec), end(&expected));
        for recording in [cast, ttyrec.recording()] {
            let apart_us = recording.duration_us.abs_diff(script.duration_us);
            assert!(apart_us < 2_000_000, "{} {}", recording.duration_us, script.duration_us);
        }
        let tlog = import(&folder.join("tlog/own-tlog14/session.tlog.jsonl")).recording();
        assert_eq!(end(&last_screen(&tlog)), end(&expected));
    }

    #[test]
    fn three_versions_of_asciicast_are_one_recording() {
        let Some(folder) = fixtures() else { return };
        let read = |name: &str| import(&folder.join("own/derived").join(name));
        let (v1, v2, v3) = (read("session.v1.json"), read("session.v2.cast"), read("session.v3.cast"));
        let outputs = |imported: &Imported| -> Vec<_> {
            let events = imported.recording().events;
            events.into_iter().filter(|event| event.code == Code::Output).map(|e| (e.time_us, e.data)).collect()
        };
        let expected = outputs(&v2);
        assert!(expected.len() > 1000);
        for other in [&v1, &v3] {
            assert_eq!(other.errors, []);
            assert_eq!(outputs(other).len(), expected.len());
            for ((a_us, a), (b_us, b)) in outputs(other).iter().zip(&expected) {
                assert_eq!(a, b);
                assert!(a_us.abs_diff(*b_us) <= 1000, "{a_us} {b_us}");
            }
            assert_eq!(other.recording().size, v2.recording().size);
        }
        assert_eq!(v3.summary.integrity, Some(Integrity::Complete));
        assert_eq!(v1.events.len(), 1);
    }
}

mod asciicasts {
    use super::*;

    #[test]
    fn servers_files_are_read_as_far_as_they_go() {
        use ErrorKind::*;
        let Some(folder) = fixtures() else { return };
        let folder = folder.join("asciinema-server");
        let cases: &[(&str, Option<ErrorKind>, usize)] = &[
            ("1/full.json", None, 3),
            ("1/minimal.json", None, 3),
            ("1/screenshot.json", None, 3),
            ("1/single-event.json", None, 1),
            ("1/invalid.json", Some(MissingField), 3),
            ("1/invalid-data.json", Some(UnexpectedShape), 2),
            // What was shown is known, if not when.
            ("1/invalid-time-1.json", Some(InvalidField), 3),
            ("1/invalid-time-2.json", Some(InvalidField), 3),
            ("1/wrong-event-length.json", Some(UnexpectedShape), 2),
            ("welcome.json", None, 785),
            ("2/blank-lines.cast", None, 3),
            ("2/broken.cast", Some(InvalidJson), 2),
            ("2/empty-theme.cast", None, 1),
            ("2/full.cast", None, 3),
            ("2/int-time.cast", None, 2),
            ("2/invalid-code.cast", Some(UnexpectedShape), 1),
            ("2/invalid-data.cast", Some(UnexpectedShape), 1),
            ("2/invalid-resize.cast", Some(UnexpectedShape), 2),
            ("2/invalid-theme.cast", None, 3),
            ("2/invalid-time-1.cast", Some(InvalidField), 1),
            ("2/invalid-time-2.cast", Some(UnexpectedShape), 1),
            ("2/minimal.cast", None, 3),
            ("2/no-events.cast", None, 0),
            ("2/single-event.cast", None, 1),
            ("2/wrong-event-length.cast", Some(UnexpectedShape), 1),
            ("2/zero-time.cast", None, 1),
            ("3/blank-lines-and-comments.cast", None, 4),
            ("3/broken.cast", Some(InvalidJson), 2),
            ("3/full.cast", None, 3),
            ("3/invalid-code.cast", Some(UnexpectedShape), 1),
            ("3/invalid-data.cast", Some(UnexpectedShape), 1),
            ("3/invalid-resize.cast", Some(UnexpectedShape), 2),
            ("3/invalid-time-1.cast", Some(InvalidField), 1),
            ("3/invalid-time-2.cast", Some(UnexpectedShape), 1),
            ("3/no-events.cast", None, 0),
            ("3/wrong-event-length.cast", Some(UnexpectedShape), 1),
            ("welcome.cast", None, 785),
        ];
        for (name, error, outputs) in cases {
            let imported = import(&folder.join(name));
            assert_eq!(imported.error_kinds(), error.iter().copied().collect::<Vec<_>>(), "{name}");
            assert_eq!(imported.count(Code::Output), *outputs, "{name}");
            assert_eq!(imported.value(), fs::read(folder.join(name)).unwrap(), "{name}");
            assert_eq!(imported.events.len(), 1, "{name}");
        }
        // A version that does not exist is nobody's.
        assert!(open(&folder.join("5/asciicast.json"), "s-1").unwrap().is_none());
    }

    #[test]
    fn units_are_whole_lines_within_bounds() {
        let header = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n";
        let short = "[0.001,\"o\",\"x\"]\n".repeat(10_000);
        let long = format!("[0.001,\"o\",\"{}\"]\n", "y".repeat(100_000)).repeat(7);
        let text = [header, &short, "# a comment\n\n", &long, "[1,\"x\",\"0\"]"].concat();
        let folder = folder(&[("a.cast", text.as_bytes())]);
        let imported = import(&folder.path().join("a.cast"));
        assert_eq!(imported.value(), text.as_bytes());
        let lines: Vec<_> =
            imported.units.iter().map(|unit| unit.value.split_inclusive(|b| *b == b'\n').count()).collect();
        assert_eq!(lines, [4096, 4096, 1814, 3, 2]);
        assert!(imported.units.iter().all(|unit| unit.value.len() < UNIT_BYTES + 100_100));
        assert_eq!((imported.errors.len(), imported.count(Code::Output)), (0, 10_007));
        assert_eq!(imported.summary.integrity, Some(Integrity::Complete));
        let recording = imported.recording();
        assert_eq!((recording.duration_us, recording.findings.len()), (11_007_000, 0));
    }

    #[test]
    fn a_line_without_end_is_kept_in_parts_and_not_believed() {
        let mut line = vec![b' '; asciicast::LINE_BYTES_MAX];
        // The second part would be a line by itself.
        line.extend_from_slice(b"[1,\"o\",\"forged\"]\n[2,\"o\",\"b\"]\n");
        let text = [b"{\"version\":2,\"width\":80,\"height\":24}\n[0,\"o\",\"a\"]\n", line.as_slice()].concat();
        let folder = folder(&[("a.cast", &text)]);
        let imported = import(&folder.path().join("a.cast"));
        assert_eq!(imported.value(), text);
        assert_eq!(imported.bytes(Code::Output), b"ab");
        assert_eq!(imported.kinds(), ["TooLarge"]);
        assert_eq!(imported.error_kinds(), [ErrorKind::TooLarge, ErrorKind::TooLarge]);
    }

    #[test]
    fn what_is_not_text_costs_itself() {
        let v2 = b"{\"version\":2,\"width\":80,\"height\":24}\n[0,\"o\",\"\xff\"]\n[1,\"o\",\"b\"]\n";
        let v1 = b"{\"version\":1,\"width\":80,\"height\":24,\"stdout\":[[0,\"\xff\"],[1,\"b\"]]}";
        let cut = br#"{"version":1,"width":80,"height":24,"stdout":[[0.5,"a"],[1,"b"],[2,"#;
        let folder = folder(&[("2", v2), ("1", v1), ("cut", cut)]);
        let v2 = import(&folder.path().join("2"));
        assert_eq!((v2.bytes(Code::Output), v2.error_kinds()), (b"b".to_vec(), vec![ErrorKind::InvalidUtf8]));
        let v1 = import(&folder.path().join("1"));
        assert_eq!(v1.bytes(Code::Output), "\u{fffd}b".as_bytes());
        assert_eq!((v1.error_kinds(), v1.events.len()), (vec![ErrorKind::InvalidUtf8], 1));
        let cut = import(&folder.path().join("cut"));
        assert_eq!((cut.bytes(Code::Output), cut.error_kinds()), (b"ab".to_vec(), vec![ErrorKind::InvalidJson]));
        assert_eq!((cut.kinds(), cut.summary.integrity), (vec!["Truncated"], Some(Integrity::Incomplete)));
        assert_eq!(cut.recording().duration_us, 1_500_000);
    }

    #[test]
    fn a_document_that_is_too_large_is_refused() {
        let mut text = br#"{"version":1,"width":80,"height":24,"stdout":["#.to_vec();
        text.resize(asciicast::VERSION_1_BYTES_MAX + 1, b' ');
        let folder = folder(&[("1", &text)]);
        let imported = import(&folder.path().join("1"));
        assert_eq!((imported.units.len(), imported.kinds()), (0, vec!["TooLarge"]));
    }

    #[test]
    fn a_version_is_recognised_wherever_it_stands() {
        let cases: &[(&str, bool)] = &[
            (r#"{"version":1,"width":80"#, true),
            ("{\n \"width\": 80,\n \"stdout\": [[0.5,", true),
            (r#"{"stdout":[],"version":5}"#, false),
            (r#"{"version":2,"width":80,"height":24}"#, true),
            (r#"{"version":4,"width":80,"height":24}"#, false),
            (r#"{"title":"{\"version\":1}"}"#, false),
            (r#"[1,"o","x"]"#, false),
            ("", false),
        ];
        for (head, expected) in cases {
            assert_eq!(asciicast::recognises(head.as_bytes()), *expected, "{head}");
        }
    }
}

mod ttyrecs {
    use super::*;

    #[test]
    fn frames_are_read_with_their_wall_clock() {
        let Some(folder) = fixtures() else { return };
        let cases: &[(&str, usize, &[&str])] = &[
            ("jwodder-hello", 3, &[]),
            ("jwodder-short", 2, &["Truncated"]),
            ("nle-2009-02-05.10_33_51", 32, &[]),
            ("nle-2012-02-16.21_09_51", 408, &[]),
            ("nle-2017-07-28.18_44_17", 32, &[]),
            ("nle-2018-09-27.00_20_39", 335, &[]),
            ("nle-2019-11-18.08_52_15", 218, &[]),
        ];
        for (name, frames, findings) in cases {
            let path = folder.join(format!("ttyrec/{name}.ttyrec"));
            let imported = import(&path);
            assert_eq!(imported.value(), fs::read(&path).unwrap(), "{name}");
            assert_eq!(imported.kinds(), *findings, "{name}");
            assert_eq!(imported.errors.len(), findings.len(), "{name}");
            assert_eq!(imported.count(Code::Output), *frames, "{name}");
        }
        let hello = import(&folder.join("ttyrec/jwodder-hello.ttyrec"));
        assert_eq!(hello.bytes(Code::Output), "Hello,\u{201c}World\u{201d}!\r\nHow's it going?\r\n".as_bytes());
        assert_eq!(hello.events[0]["occurred_at"], "2017-12-10T21:49:33.000000Z");
        let times: Vec<_> = hello.recording().events.iter().map(|event| event.time_us).collect();
        assert_eq!(times, [0, 4_000_256, 42_065_535]);
        assert_eq!(hello.summary.integrity, None);
    }

    #[test]
    fn another_framing_is_refused() {
        let Some(folder) = fixtures() else { return };
        let imported = import(&folder.join("ttyrec/nle-2783801.0.ttyrec3"));
        assert_eq!((imported.units.len(), imported.kinds()), (0, vec!["Unsupported"]));
        assert_eq!(imported.summary.integrity, Some(Integrity::Incomplete));
    }

    #[test]
    fn only_frames_are_recognised() {
        let one = frame(1_700_000_000, 5, b"hello");
        let backwards = [frame(1_700_000_000, 5, b"hello"), frame(1_600_000_000, 5, b"x")].concat();
        let far = [frame(1_700_000_000, 5, b"hello"), frame(17, 5, b"x")].concat();
        let cases: &[(&str, &[u8], bool)] = &[
            ("one frame", &one, true),
            ("cut", &one[..14], true),
            ("an adjusted clock", &backwards, true),
            ("no clock", &far, false),
            ("microseconds", &frame(1_700_000_000, 1_000_000, b"x"), false),
            ("less than a header", &one[..11], false),
            ("text", b"The quick brown fox jumps over the lazy dog", false),
            ("zeros", &[0; 4096], false),
            ("nothing", b"", false),
        ];
        for (name, head, expected) in cases {
            assert_eq!(ttyrec::recognises(head), *expected, "{name}");
        }
    }

    #[test]
    fn the_size_in_the_first_frame_is_a_resize() {
        let frames = [frame(100, 0, b"\x1b[8;30;100t$ "), frame(101, 0, b"\x1b[8;50;90t")].concat();
        let folder = folder(&[("a", &frames), ("b", &frame(100, 0, b"\x1b[8;30;t\x1b[8;99999;1t"))]);
        let imported = import(&folder.path().join("a"));
        assert_eq!((imported.recording().size.to_string(), imported.count(Code::Resize)), ("100x30".to_owned(), 1));
        let imported = import(&folder.path().join("b"));
        assert_eq!((imported.count(Code::Resize), imported.count(Code::Output)), (0, 1));
    }

    #[test]
    fn a_declared_length_is_not_believed() {
        let mut huge = frame(100, 0, b"a");
        huge.extend_from_slice(&[101, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x']);
        let folder = folder(&[("a", &[frame(99, 0, &[b'z'; 70_000]).as_slice(), &huge].concat())]);
        let imported = import(&folder.path().join("a"));
        assert_eq!(imported.kinds(), ["Damaged"]);
        assert_eq!(imported.count(Code::Output), 2);
        // What cannot be read is kept.
        assert_eq!(imported.value(), fs::read(folder.path().join("a")).unwrap());
        assert_eq!(imported.error_kinds(), [ErrorKind::UnexpectedShape]);
    }

    /// 100 MB of frames go through without ever being held.
    #[test]
    fn a_large_file_is_read_in_little_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.ttyrec");
        let mut file = std::io::BufWriter::new(File::create(&path).unwrap());
        let mut written = 0;
        for number in 0..25_000_u32 {
            let frame = frame(1_700_000_000 + number, number, &[b'x'; 4096]);
            written += frame.len();
            file.write_all(&frame).unwrap();
        }
        drop(file);
        let mut reader = open(&path, "s-1").unwrap().unwrap();
        let (mut read, mut largest, mut units) = (0, 0, 0);
        while let Some(unit) = reader.next().unwrap() {
            read += unit.value.len();
            largest = largest.max(unit.value.capacity());
            units += 1;
        }
        assert_eq!((read, units), (written, 391));
        assert!(written > 100_000_000 && largest <= 2 * UNIT_BYTES + 4108, "{largest}");
        assert_eq!(reader.summary().findings, []);
    }
}

mod scripts {
    use super::*;

    const DATA: &[u8] =
        b"Script started on 2024-05-01 10:00:00+02:00 [COMMAND=\"sh -c \"a\"\" TERM=\"xterm\" TTY=\"/dev/pts/1\" \
COLUMNS=\"90\" LINES=\"20\"]\nhello world\n\nScript done on 2024-05-01 10:00:05+02:00 [COMMAND_EXIT_CODE=\"7\"]\n";

    #[test]
    fn the_classic_form_has_its_facts_in_the_typescript() {
        let folder = folder(&[("typescript", DATA), ("timing", b"0.5 6\n1.25 6\n")]);
        let imported = import(&folder.path().join("timing"));
        assert_eq!((imported.errors.len(), imported.summary.integrity), (0, Some(Integrity::Complete)));
        assert_eq!(imported.bytes(Code::Output), b"hello world\n");
        let recording = imported.recording();
        assert_eq!((recording.size.to_string(), recording.duration_us), ("90x20".to_owned(), 1_750_000));
        assert_eq!(recording.events.last().unwrap().data, b"7");
        assert_eq!(imported.events[0]["action"], "sh -c \"a\"");
        assert_eq!(imported.events[0]["occurred_at"], "2024-05-01T08:00:00.000000Z");
        assert_eq!(imported.events[1]["detail"], json!({"exit_status": 7}));
        assert_eq!(imported.units.len(), 1);
    }

    #[test]
    fn the_pair_is_found_by_its_names_or_by_what_it_says() {
        let timing = b"H 0.000000 OUTPUT_LOG /elsewhere/out.log\nH 0.000000 INPUT_LOG /elsewhere/../in.log\nO 0.1 1\n";
        type Case<'a> = (&'a str, &'a [u8], &'a [&'a str], Option<(&'a str, Option<&'a str>)>);
        let cases: &[Case<'_>] = &[
            ("x.timing", b"0.1 1\n", &["x.io"], Some(("x.io", None))),
            ("x.timing", b"0.1 1\n", &["x"], Some(("x", None))),
            ("x.tm", b"0.1 1\n", &["x.script"], Some(("x.script", None))),
            ("timing", b"0.1 1\n", &["typescript"], Some(("typescript", None))),
            ("typescript.timing", b"0.1 1\n", &["typescript"], Some(("typescript", None))),
            ("any", timing, &["out.log", "in.log"], Some(("out.log", Some("in.log")))),
            ("any", timing, &["out.log"], Some(("out.log", None))),
            ("any", timing, &["other"], None),
            ("x.timing", b"not timing\n", &["x"], None),
            ("x.timing", b"0.1 1\n", &["y"], None),
        ];
        for (timing, bytes, others, expected) in cases {
            let mut files: Vec<(&str, &[u8])> = others.iter().map(|name| (*name, &b"data"[..])).collect();
            files.push((timing, bytes));
            let folder = folder(&files);
            let found = script::files(&folder.path().join(timing)).unwrap();
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            let shown = found.as_ref().map(|files| (name(&files.output), files.input.as_deref().map(name)));
            let expected = expected.map(|(output, input)| (output.to_owned(), input.map(str::to_owned)));
            assert_eq!(shown, expected, "{timing} {others:?}");
            // Names lead back only where there is a convention.
            if let Some(files) = found.filter(|_| *timing != "any") {
                assert_eq!(script::files(&files.output).unwrap(), Some(files.clone()), "{timing}");
            }
        }
    }

    #[test]
    fn input_may_be_a_file_of_its_own_and_end_early() {
        let timing = b"O 0.1 2\nI 0.1 1\nI 0.1 3\nO 0.1 2\nI 0.5 2\nS 0.1 SIGTERM\nO 1.0 1\nH 0.0 EXIT_CODE 0\n";
        let folder =
            folder(&[("t", timing), ("out", b"Script started on X\nabcde"), ("in", b"Script started on X\nAB")]);
        let path = |name| folder.path().join(name);
        let files = script::Files { timing: path("t"), output: path("out"), input: Some(path("in")) };
        let mut reader = script::open(&files, "s-1").unwrap();
        let imported = Imported::read(&mut reader);
        assert_eq!((imported.bytes(Code::Output), imported.bytes(Code::Input)), (b"abcde".to_vec(), b"AB".to_vec()));
        assert_eq!(imported.kinds(), ["Truncated"]);
        assert_eq!(imported.error_kinds(), [ErrorKind::InvalidField]);
        // The lines of the file that ended still take their time.
        assert_eq!(imported.recording().duration_us, 2_000_000);
        assert_eq!(imported.bytes(Code::Marker), b"SIGTERM");
        assert_eq!(imported.recording().findings, []);
    }

    #[test]
    fn the_first_line_is_skipped_in_every_language_and_only_if_it_is_there() {
        let cases: &[(&str, &[u8], &[u8])] = &[
            ("english", b"Script started on X\nab\ncd", b"ab\ncd"),
            ("german", b"Skript gestartet auf X\nab\ncd", b"ab\ncd"),
            ("quiet", b"ab\ncd", b"ab\ncd"),
        ];
        for (name, data, expected) in cases {
            let folder = folder(&[("x", data), ("x.timing", b"0.1 3\n0.1 2\n")]);
            let imported = import(&folder.path().join("x"));
            assert_eq!(imported.bytes(Code::Output), *expected, "{name}");
            assert_eq!(imported.value(), [b"0.1 3\n0.1 2\n", *data].concat(), "{name}");
            assert_eq!(imported.kinds(), ["NotClosed"], "{name}");
        }
    }

    #[test]
    fn damage_ends_the_reading_and_nothing_is_lost() {
        let data = b"Script started on X\nabcdef";
        type Case<'a> = (&'a str, &'a [u8], &'a [u8], &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            ("no number", b"O 0.1 2\nO 0.1 x\nO 0.1 2\n", b"ab", &["BadTiming", "Untimed", "NotClosed"]),
            ("unknown", b"O 0.1 2\nZ 0.1 2\nO 0.1 2\n", b"ab", &["BadTiming", "Untimed", "NotClosed"]),
            ("too long", b"O 0.1 2\nO 0.1 99999999999\n", b"ab", &["BadTiming", "Untimed", "NotClosed"]),
            ("negative", b"O 0.1 2\nO 0.1 -2\n", b"ab", &["BadTiming", "Untimed", "NotClosed"]),
            ("cut", b"O 0.1 2\nO 0.1 2", b"ab", &["Truncated", "Untimed", "NotClosed"]),
            ("no delay", b"O 0.1 2\nO x 4\n", b"abcdef", &["NotClosed"]),
            ("too few", b"O 0.1 2\nO 0.1 9\n", b"abcdef", &["Truncated", "NotClosed"]),
            ("too many", b"O 0.1 2\n", b"ab", &["Untimed", "NotClosed"]),
        ];
        for (name, timing, output, findings) in cases {
            let folder = folder(&[("x", data), ("x.timing", timing)]);
            let path = |name| folder.path().join(name);
            let files = script::Files { timing: path("x.timing"), output: path("x"), input: None };
            let imported = Imported::read(&mut script::open(&files, "s-1").unwrap());
            assert_eq!(imported.kinds(), *findings, "{name}");
            assert_eq!(imported.value().len(), data.len() + timing.len(), "{name}");
            assert!(!imported.errors.is_empty(), "{name}");
            assert_eq!(imported.bytes(Code::Output), *output, "{name}");
        }
    }
}

mod sudos {
    use super::*;

    #[test]
    fn real_logs_are_read_whole() {
        let Some(folder) = fixtures() else { return };
        let folder = folder.join("sudo-iolog/own-1.9.13p3");
        type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], usize, &'a str);
        let cases: &[Case<'_>] = &[
            ("01-interactive", &["ttyout"], &["ttyin"], 6, "100x30"),
            ("02-pipe-stdin-stdout-stderr", &["stdout", "stderr"], &["stdin"], 1, "80x24"),
            ("03-vi", &["ttyout"], &["ttyin"], 1, "100x30"),
            ("04-compressed", &["ttyout"], &["ttyin"], 2, "100x30"),
        ];
        for (name, output, input, resizes, size) in cases {
            let path = folder.join(name);
            let imported = import(&path);
            let files = |names: &[&str]| -> Vec<u8> {
                let mut bytes = Vec::new();
                for name in names {
                    let file = File::open(path.join(name)).unwrap();
                    if *name == "stdout" || flate2::read::GzDecoder::new(&file).header().is_none() {
                        bytes.extend(fs::read(path.join(name)).unwrap());
                    } else {
                        let file = File::open(path.join(name)).unwrap();
                        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
                    }
                }
                bytes
            };
            assert_eq!(imported.errors, [], "{name}");
            assert_eq!(imported.bytes(Code::Output), files(output), "{name}");
            assert_eq!(imported.bytes(Code::Input), files(input), "{name}");
            assert_eq!(imported.count(Code::Resize), *resizes, "{name}");
            assert_eq!(imported.recording().size.to_string(), *size, "{name}");
            assert_eq!(imported.recording().findings, [], "{name}");
            assert_eq!((imported.kinds(), imported.summary.integrity), (vec![], Some(Integrity::Complete)), "{name}");
            assert_eq!(imported.events.len(), 1, "{name}");
            let said = serde_json::to_string(&imported.events).unwrap();
            assert!(!said.contains("/var/mail/root"), "{name}: the environment stays in the record");
        }
        let pipe = import(&folder.join("02-pipe-stdin-stdout-stderr"));
        assert_eq!(
            pipe.events,
            [json!({
                "event_id": "sudo/s-1/start", "kind": "session.start", "source_type": "sudo.log", "session_id": "s-1",
                "occurred_at": "2026-11-21T02:24:34.254774Z", "actor": "root", "login": "root", "target": "vm",
                "target_kind": "node", "action": "/usr/bin/sh -c cat; echo err >&2; exit 7",
                "detail": {
                    "columns": 80, "lines": 24, "runargv": ["sh", "-c", "cat; echo err >&2; exit 7"], "runuid": 0,
                    "submitcwd": "/srv/ops-team/tools",
                },
            })]
        );
        let times: Vec<_> = pipe.recording().events.iter().map(|e| (e.time_us, e.code.as_char())).collect();
        assert_eq!(times, [(0, 'r'), (908, 'i'), (2915, 'o'), (3097, 'o')]);
        // The sum of the nanoseconds of all lines, not of what each was rounded to.
        assert_eq!(import(&folder.join("01-interactive")).recording().duration_us, 97_521_267);
    }

    #[test]
    fn old_logs_and_masked_input_are_read() {
        let Some(folder) = fixtures() else { return };
        for (test, command) in [
            ("test1", "/usr/bin/passwd"),
            ("test2", "/usr/bin/su testdude"),
            ("test3", "/usr/bin/ssh -oPubkeyAuthentication=no localhost"),
        ] {
            let path = folder.join("sudo-iolog/iolog_filter").join(test);
            let imported = import(&path);
            assert_eq!(imported.bytes(Code::Input), fs::read(path.join("ttyin")).unwrap(), "{test}");
            assert_eq!(imported.events[0]["action"], command, "{test}");
            assert_eq!(imported.events[0]["actor"], "millert", "{test}");
            assert_eq!(imported.recording().size.to_string(), "80x24", "{test}");
        }
    }

    /// A log of these lines, with as many bytes in each stream as they tell of.
    fn log_of(timing: &[u8]) -> tempfile::TempDir {
        let mut sums = [0_usize; 5];
        for line in timing.split(|byte| *byte == b'\n') {
            let mut words = std::str::from_utf8(line).unwrap().split(' ');
            if let (Some(kind), Some(_), Some(len)) = (words.next(), words.next(), words.next())
                && let Some(sum) = kind.parse().ok().and_then(|kind: usize| sums.get_mut(kind))
            {
                *sum += len.parse::<usize>().unwrap();
            }
        }
        let streams = sums.map(|len| (0..len).map(|n| b'a' + (n % 26) as u8).collect::<Vec<u8>>());
        let mut files = vec![("log", &b"1:u:root::/dev/pts/1:24:80\n/\n/bin/sh\n"[..]), ("timing", timing)];
        files.extend(
            ["stdin", "stdout", "stderr", "ttyin", "ttyout"].into_iter().zip(streams.iter().map(Vec::as_slice)),
        );
        folder(&files)
    }

    #[test]
    fn seeds_of_the_parser_are_read() {
        let Some(folder) = fixtures() else { return };
        let seed = folder.join("sudo-iolog/corpus/seed");
        let mut markers = 0;
        for number in 1..=9 {
            let timing = fs::read(seed.join(format!("timing/timing.{number}"))).unwrap();
            let log = log_of(&timing);
            let imported = import(log.path());
            assert_eq!(imported.errors, [], "{number}");
            assert_eq!(imported.kinds(), ["NotClosed"], "{number}");
            let lines = timing.iter().filter(|byte| **byte == b'\n').count();
            // Each line is a piece, and the size in the log is one.
            assert_eq!(imported.frames.iter().map(|frame| frame.pieces.len()).sum::<usize>(), lines + 1, "{number}");
            let (output, position) = (imported.bytes(Code::Output).len(), imported.recording().findings);
            assert_eq!((output > 0, position), (true, vec![]), "{number}");
            markers += imported.count(Code::Marker);
        }
        assert_eq!(markers, 190);
        for entry in fs::read_dir(seed.join("log_json")).unwrap() {
            let json = fs::read(entry.unwrap().path()).unwrap();
            let log = super::folder(&[("log.json", &json), ("timing", b""), ("ttyout", b"")]);
            let imported = import(log.path());
            assert_eq!((imported.errors.len(), imported.events.len()), (0, 1));
            assert!(imported.events[0]["action"].is_string() && imported.events[0]["actor"].is_string());
            assert!(!imported.events[0].to_string().contains("KRB5CCNAME"));
        }
        for entry in fs::read_dir(seed.join("log_legacy")).unwrap() {
            let text = fs::read(entry.unwrap().path()).unwrap();
            let log = super::folder(&[("log", &text), ("timing", b""), ("ttyout", b"")]);
            let imported = import(log.path());
            assert_eq!((imported.errors.len(), imported.events.len()), (0, 1));
            let third = std::str::from_utf8(&text).unwrap().lines().nth(2).unwrap();
            assert_eq!(imported.events[0]["action"], third);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let log: &[u8] = b"1:u:root::/dev/pts/1:24:80\n/\n/bin/sh\n";
        let cut = |bytes: &[u8]| gzip(bytes)[..gzip(bytes).len() - 9].to_vec();
        let many = b"4 0.1 2\n".repeat(5000);
        type Case<'a> = (&'a str, Vec<(&'a str, Vec<u8>)>, &'a [&'a str], &'a [u8]);
        let cases: &[Case<'_>] = &[
            ("as it should", vec![("timing", b"4 0.1 2\n".to_vec()), ("ttyout", b"ab".to_vec())], &[], b"ab"),
            (
                "sudo 1.8.7",
                vec![("timing", b"4 0.1 2\n6 0.1 2\n".to_vec()), ("ttyout", b"abcd".to_vec())],
                &["BadTiming", "Untimed"],
                b"ab",
            ),
            (
                "missing",
                vec![("timing", b"4 0.1 2\n1 0.1 2\n".to_vec()), ("ttyout", b"ab".to_vec())],
                &["MissingFile"],
                b"ab",
            ),
            ("short", vec![("timing", b"4 0.1 9\n".to_vec()), ("ttyout", b"ab".to_vec())], &["Truncated"], b"ab"),
            (
                "compressed and cut",
                vec![("timing", cut(&many)), ("ttyout", gzip(&b"ab".repeat(5000)))],
                &["Damaged", "Untimed"],
                b"",
            ),
        ];
        for (name, files, findings, output) in cases {
            let mut files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
            files.push(("log", log));
            let folder = folder(&files);
            let mut permissions = fs::metadata(folder.path().join("timing")).unwrap().permissions();
            permissions.set_readonly(true);
            fs::set_permissions(folder.path().join("timing"), permissions).unwrap();
            let imported = import(folder.path());
            let kinds: Vec<_> = imported.kinds();
            if *name == "compressed and cut" {
                // How far a cut gzip can be inflated is the compressor's business; the other file is all there.
                assert!(matches!(kinds.first(), Some(&"Damaged" | &"Truncated")), "{name}: {kinds:?}");
                let shown = imported.bytes(Code::Output);
                let of_stream = |unit: &&Unit| unit.headers.contains(&("file", "ttyout".to_owned()));
                let kept: usize = imported.units.iter().filter(of_stream).map(|unit| unit.value.len()).sum();
                assert_eq!(shown.len() + kept, 10_000, "{name}");
                continue;
            }
            assert_eq!(kinds, *findings, "{name}");
            assert_eq!(imported.bytes(Code::Output), *output, "{name}");
            let integrity = if findings.is_empty() { Integrity::Complete } else { Integrity::Incomplete };
            assert_eq!(imported.summary.integrity, Some(integrity), "{name}");
            assert_eq!(imported.errors.is_empty(), findings.is_empty(), "{name}");
            for (kind, detail) in &imported.errors {
                assert!(!detail.contains("abcd"), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_checksum_that_does_not_match_is_told() {
        let mut changed = gzip(b"ab");
        let checksum = changed.len() - 8;
        changed[checksum] ^= 1;
        let files: [(&str, &[u8]); 3] =
            [("timing", b"4 0.1 2\n"), ("log", b"1:u:r::t:1:1\n/\nx\n"), ("ttyout", &changed)];
        let folder = folder(&files);
        let imported = import(folder.path());
        assert_eq!(imported.kinds(), ["NotClosed", "Damaged"]);
        assert_eq!(imported.summary.findings[1].file.as_deref(), Some("ttyout"));
    }

    #[test]
    fn a_stream_that_ends_early_does_not_shift_the_others() {
        let timing = b"3 0.1 1\n4 0.1 2\n3 0.1 5\n4 0.1 2\n3 0.1 1\n4 0.1 2\n";
        let folder =
            folder(&[("timing", timing), ("log", b"1:u:r::t:1:1\n/\nx\n"), ("ttyin", b"AB"), ("ttyout", b"abcdef")]);
        let imported = import(folder.path());
        assert_eq!((imported.bytes(Code::Output), imported.bytes(Code::Input)), (b"abcdef".to_vec(), b"AB".to_vec()));
        assert_eq!((imported.recording().findings, imported.recording().duration_us), (vec![], 600_000));
    }

    /// 200 MB that are 200 KB of gzip go through without being held.
    #[test]
    fn what_inflates_without_end_is_a_stream() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..200 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        let timing = gzip(&b"4 0.000001 65536\n".repeat(3200));
        let folder = folder(&[("timing", &timing), ("log", b"1:u:r::t:1:1\n/\nx\n"), ("ttyout", &bomb)]);
        let mut reader = open(folder.path(), "s-1").unwrap().unwrap();
        let (mut read, mut largest) = (0, 0);
        while let Some(unit) = reader.next().unwrap() {
            read += unit.value.len();
            largest = largest.max(unit.value.len());
        }
        assert!(read > 200 << 20 && largest < 2 * UNIT_BYTES, "{read} {largest}");
        assert_eq!(reader.summary().findings.len(), 1, "only that it is not closed");
    }
}

mod tlogs {
    use super::*;

    #[test]
    fn a_file_of_messages_is_a_recording() {
        let Some(folder) = fixtures() else { return };
        let path = folder.join("tlog/own-tlog14/session.tlog.jsonl");
        let imported = import(&path);
        assert_eq!((imported.errors.len(), imported.kinds().len()), (0, 0));
        assert_eq!(imported.value(), fs::read(&path).unwrap());
        assert_eq!(imported.summary.session_id.as_deref(), Some("4fb46ccef5944c34941eb38158548187-6c9d-4b16e"));
        assert_eq!(imported.events.len(), 1);
        assert_eq!(
            imported.events[0],
            json!({
                "event_id": "tlog/vm/4fb46ccef5944c34941eb38158548187-6c9d-4b16e/start",
                "kind": "session.start", "source_type": "tlog", "actor": "root", "target": "vm", "target_kind": "node",
                "session_id": "4fb46ccef5944c34941eb38158548187-6c9d-4b16e",
                "occurred_at": "2026-11-21T02:27:10.329000Z",
                "detail": {"session": 4_294_967_295_u32, "term": "xterm-256color", "ver": "2.3"},
            })
        );
        let recording = imported.recording();
        assert_eq!((recording.size.to_string(), recording.findings.len()), ("100x30".to_owned(), 0));
        assert_eq!(recording.header.timestamp, Some(1_795_228_030));
        // Every message repeats the size.
        let mut sizes: Vec<_> =
            recording.events.iter().filter(|e| e.code == Code::Resize).map(|e| e.data.clone()).collect();
        assert!(sizes.len() >= 86);
        sizes.dedup();
        assert_eq!(sizes.len(), 6, "{sizes:?}");
        assert!((96_000_000..99_000_000).contains(&recording.duration_us), "{}", recording.duration_us);
    }

    #[test]
    fn a_journal_is_searched_for_messages() {
        let Some(folder) = fixtures() else { return };
        let good = import(&folder.join("tlog/journal-good.txt"));
        assert_eq!((good.errors.len(), good.units.len(), good.kinds().len()), (0, 7, 0));
        assert_eq!(good.recording().duration_us, 27_868_000);
        assert_eq!(good.recording().size.to_string(), "103x27");
        assert_eq!((good.summary.integrity, good.events.len()), (None, 1));
        // This version does not say when it was.
        assert_eq!(good.events[0].get("occurred_at"), None);

        let bad = import(&folder.join("tlog/journal-bad-timing.txt"));
        assert_eq!((bad.error_kinds(), bad.units.len()), (vec![ErrorKind::InvalidField], 4));
        let shown = String::from_utf8(bad.bytes(Code::Output)).unwrap();
        assert!(shown.contains("systemctl stop httpd"), "what was shown is known, if not when");

        let missing = import(&folder.join("tlog/journal-missing-entry.txt"));
        assert_eq!((missing.errors.len(), missing.units.len()), (0, 15));
        let findings: Vec<_> = missing.summary.findings.iter().map(|f| (f.kind, f.detail.as_str())).collect();
        let rec = "6211b985bd1e49908726bd24cd514099-786-11109";
        assert_eq!(findings, [("Gap", &*format!("messages 4 to 4 of recording {rec} are missing"))]);
        assert_eq!(missing.summary.integrity, Some(Integrity::Incomplete));
    }

    fn message(rec: &str, id: i64) -> String {
        json!({
            "ver": "2.3", "host": "h", "rec": rec, "user": "u", "term": "t", "session": 1, "id": id, "pos": id * 10,
            "time": 1000.5, "timing": ">1", "in_txt": "", "in_bin": [], "out_txt": "x", "out_bin": [],
        })
        .to_string()
    }

    #[test]
    fn messages_of_several_recordings_are_kept_apart() {
        let order = [("a", 1), ("a", 2), ("b", 1), ("a", 5), ("a", 3), ("b", 2), ("b", 2)];
        let text: String = order.iter().map(|(rec, id)| message(rec, *id) + "\n").collect();
        let folder = folder(&[("x", text.as_bytes())]);
        let imported = import(&folder.path().join("x"));
        let keys: Vec<_> = imported.units.iter().map(|unit| unit.key.as_deref().unwrap()).collect();
        assert_eq!(keys, ["a", "b", "a", "b"]);
        assert_eq!(imported.value(), text.as_bytes());
        assert_eq!(imported.summary.session_id, None);
        let findings: Vec<_> = imported.summary.findings.iter().map(|finding| finding.detail.as_str()).collect();
        assert_eq!(findings, ["messages 4 to 4 of recording a are missing"]);
        assert_eq!(Recording::from_frames("b", imported.frames.clone()).duplicates, 1);
    }

    #[test]
    fn a_journals_binary_fields_are_read_and_not_believed() {
        let entry = |len: u64, value: &[u8]| {
            [
                &b"__CURSOR=x\nBLOB\n"[..],
                &3_u64.to_le_bytes(),
                b"\n=\n",
                b"\nMESSAGE\n",
                &len.to_le_bytes(),
                value,
                b"\n\n",
            ]
            .concat()
        };
        let message = message("a", 1);
        let good = entry(message.len() as u64, message.as_bytes());
        let cut = entry(u64::MAX, message.as_bytes());
        let folder = folder(&[("good", &good), ("cut", &cut)]);
        let imported = import(&folder.path().join("good"));
        assert_eq!((imported.units.len(), imported.value()), (1, message.into_bytes()));
        let imported = import(&folder.path().join("cut"));
        assert_eq!((imported.units.len(), imported.kinds()), (0, vec!["Truncated"]));
    }
}

/// A recording of each kind, as files.
fn samples() -> Vec<Vec<(&'static str, Vec<u8>)>> {
    let file = |name: &'static str, bytes: &[u8]| (name, bytes.to_vec());
    let timing =
        b"H 0.0 COLUMNS 80\nH 0.0 LINES 24\nO 0.1 2\nI 0.2 1\nS 0.1 SIGWINCH ROWS=1 COLS=2\nO 0.1 3\nH 0 EXIT_CODE 1\n";
    vec![
        vec![file("x", b"{\"version\":2,\"width\":80,\"height\":24}\n[0,\"o\",\"a\"]\n[1,\"x\",\"0\"]\n")],
        vec![file("x", br#"{"version":1,"width":80,"height":24,"stdout":[[0.5,"a"],[1,"b"]]}"#)],
        vec![file("x", &[frame(9, 1, b"\x1b[8;1;2tab"), frame(10, 0, b"c")].concat())],
        vec![file("x", b"Script started on X [COLUMNS=\"1\"]\nabcdef\nScript done on Y\n"), file("x.timing", timing)],
        vec![
            file("log", b"1:u:root::/dev/pts/1:24:80\n/\n/bin/sh\n"),
            file("log.json", br#"{"timestamp":{"seconds":1,"nanoseconds":2},"command":"x","runargv":["x","y"]}"#),
            file("timing", b"4 0.1 2\n3 0.2 1\n5 0.1 1 2\n7 0.1 TSTP\n4 0.1 1\n"),
            file("ttyin", b"i"),
            file("ttyout", &gzip(b"abc")),
        ],
        vec![file(
            "x",
            br#"{"ver":"2.3","host":"h","rec":"r","user":"u","term":"t","session":1,"id":1,"pos":0,"time":1.5,"timing":"=1x2>1+5]1/2<1","in_txt":"a","in_bin":[],"out_txt":"b?","out_bin":[200,201]}"#,
        )],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happened to a file, all of it is read to an end, and what was read is kept.
    #[test]
    fn damaged_files_do_no_harm(
        sample in prop::sample::select(samples()),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        cut in 0..4_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut files = sample;
        let file = which.get(&files).0;
        for (name, value) in &mut files {
            if *name == file {
                let at = at.index(value.len() + 1);
                let end = (at + cut).min(value.len());
                value.splice(at..end, bytes.clone());
            }
        }
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        let folder = folder(&files);
        let path = if files.len() > 2 { folder.path().to_owned() } else { folder.path().join(files[0].0) };
        if let Some(mut reader) = open(&path, "s-1").unwrap() {
            let imported = Imported::read(reader.as_mut());
            let recording = imported.recording();
            prop_assert!(recording.events.is_sorted_by_key(|event| event.time_us));
            prop_assert!(imported.frames.len() <= EVENTS_PER_MESSAGE_MAX);
        }
    }

    #[test]
    fn arbitrary_files_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let folder = folder(&[("x", &bytes), ("x.timing", &bytes)]);
        if let Some(mut reader) = open(&folder.path().join("x"), "s-1").unwrap() {
            Imported::read(reader.as_mut());
        }
        for kind in [SourceKind::Ttyrec, SourceKind::Script, SourceKind::Sudo, SourceKind::Tlog, SourceKind::Asciicast] {
            for form in ["", "script-classic", "script-advanced", "sudo-run", "sudo-log", "sudo-log-json", "asciicast-v1"] {
                let headers = [("custody-form", form), ("first-line", "1"), ("timing-bytes", "9"), ("first-frame", "1")];
                let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
                let unit = Unit { source: kind, key: Some("s-1".to_owned()), headers, value: bytes.clone() };
                Imported::default().decode(&unit);
            }
        }
    }
}

#[test]
fn nothing_else_is_recognised() {
    let Some(folder) = fixtures() else { return };
    for name in [
        "README.md",
        "tlog/schema.json",
        "own/nested/outer.raw",
        "own/derived/segmented-8k/0.json",
        "ttyrec/jwodder-empty.ttyrec",
    ] {
        assert!(open(&folder.join(name), "s-1").unwrap().is_none(), "{name}");
    }
    assert!(open(&folder.join("own"), "s-1").unwrap().is_none());
}
