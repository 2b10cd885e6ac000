//! Hostile input for every decoder and every file format: real and sample input with bytes changed, cut, doubled, spliced.
//!
//! Nothing may panic; memory stays within a stated bound, whatever lengths the input declares; no input takes long. The
//! corpus is the examples of the contracts, what is generated here, and the shared fixtures where they are on this
//! machine.
//!
//! `CUSTODY_FUZZ_SECONDS=600 cargo test --workspace --lib fuzz` runs each target for ten minutes; without, for one
//! second. `CUSTODY_TEST_SEED` repeats a run, whose seed a failure tells.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use custody_schemas::event::Event;
use custody_schemas::frame::Piece;
use custody_schemas::record::{Message, Origin};

use crate::import::{Keys, Unit, find};
use crate::source::{self, FORM_HEADER, Sink, Source, SourceKind};

/// What a decoder may allocate at once for an input that is not compressed: so many times the input, and a bit.
const DECODER_FACTOR: usize = 64;
const DECODER_BYTES: usize = 4 * 1024 * 1024;
/// What compressed input may inflate to is bounded, and with it what is made of it.
const INFLATING_BYTES: usize = source::INFLATED_BYTES_MAX * 4;
/// What a reader may hold at once, however large its object is.
const READER_BYTES: usize = 96 * 1024 * 1024;
/// No input of these sizes takes so long, on a machine that is busy with other tests.
const INPUT_MAX: Duration = Duration::from_secs(60);

/// Counts what the thread of a target allocates.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn add(bytes: usize) {
    // The thread may be ending: then nobody counts any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get().saturating_add(bytes));
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

fn subtract(bytes: usize) {
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(bytes)));
}

#[expect(unsafe_code, reason = "an allocator is; it hands everything on to the system's as it is")]
// SAFETY: every call goes to `System` with the arguments that came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was held at once while something ran, beyond what was held before.
fn most_held(run: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    run();
    MOST.get().saturating_sub(before)
}

/// Numbers that look random and come again with the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn new(target: &str) -> Self {
        let seed = match std::env::var("CUSTODY_TEST_SEED") {
            Ok(seed) => seed.parse().expect("CUSTODY_TEST_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos().into(),
        };
        eprintln!("{target}: CUSTODY_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Changes an input in some places.
fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    const NUMBERS: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
    const WORDS: [&[u8]; 10] = [
        b"\"",
        b"{",
        b"[",
        b"\\u0000",
        b"null",
        b"-1e999",
        b"\x1f\x8b\x08",
        b"\n",
        b"\xff\xfe",
        b"99999999999999999999",
    ];
    let mut bytes = random.one(corpus).clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(40)).min(bytes.len());
        match random.below(9) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.extend_from_within(at..end),
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 => drop(bytes.splice(at..at, random.one(&WORDS).iter().copied())),
            5 => drop(bytes.splice(at..end, (0..8).map(|_| random.next() as u8).collect::<Vec<_>>())),
            6 => {
                let number = random.one(&NUMBERS).to_be_bytes();
                let width = *random.one(&[1, 2, 4, 8]);
                for (byte, value) in bytes.iter_mut().skip(at).zip(&number[8 - width..]) {
                    *byte = *value;
                }
            }
            7 => {
                let other = random.one(corpus);
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(200)).min(other.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
            _ => drop(bytes.splice(at..at, std::iter::repeat_n(b'[', random.below(3000)))),
        }
    }
    bytes
}

fn seconds() -> Duration {
    let seconds = std::env::var("CUSTODY_FUZZ_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(1))
}

/// Runs inputs through a target for as long as there is time.
fn fuzz(target: &str, corpus: &[Vec<u8>], bound: impl Fn(&[u8]) -> usize, mut run: impl FnMut(&[u8])) {
    assert!(!corpus.is_empty(), "{target}: no corpus");
    let mut random = Random::new(target);
    let began = Instant::now();
    let (mut inputs, mut most) = (0_u64, 0);
    let mut check = |input: &[u8]| {
        let started = Instant::now();
        let held = most_held(|| run(input));
        let bound = bound(input);
        assert!(held <= bound, "{target}: {held} bytes for an input of {} (at most {bound})", input.len());
        assert!(started.elapsed() < INPUT_MAX, "{target}: {:?} for {} bytes", started.elapsed(), input.len());
        most = most.max(held);
        inputs += 1;
    };
    corpus.iter().for_each(|input| check(input));
    while began.elapsed() < seconds() {
        check(&mutate(&mut random, corpus));
    }
    eprintln!("{target}: {inputs} inputs, at most {most} bytes held at once");
}

/// Counts what a decoder gives.
#[derive(Default)]
struct Counted(usize);

impl Sink for Counted {
    fn event(&mut self, event: &Event<'_>) {
        self.0 += event.detail.len();
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        self.0 += piece.data.len();
    }
}

fn decode(kind: SourceKind, headers: &[(&str, Option<&[u8]>)], value: &[u8]) {
    let message = Message {
        origin: Origin { topic: "import/topic", partition: 0, offset: 7 },
        broker_at: Some(1_748_854_800_000_000),
        key: Some(b"session-1"),
        headers,
        value: Some(value),
    };
    let _ = source::decode(&Source::new(kind), &message, &mut Counted::default());
}

fn is_packed(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == [0x1f, 0x8b])
}

fn decoder_bound(input: &[u8]) -> usize {
    input.len() * DECODER_FACTOR + DECODER_BYTES + if is_packed(input) { INFLATING_BYTES } else { 0 }
}

fn shared() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures")).to_owned()
}

fn examples() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/topics/examples")).to_owned()
}

/// Files below a folder, those that are not too large.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.metadata().is_ok_and(|meta| meta.len() < 400_000) {
            found.push(path);
        }
    }
    found.sort();
}

/// Messages: the lines of the examples whose names begin so, and the files and lines of fixture folders.
fn messages(example: &str, folders: &[&str]) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    files(&examples(), &mut paths);
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(example)));
    paths.retain(|path| !path.to_string_lossy().ends_with(".expected.json"));
    folders.iter().for_each(|folder| files(&shared().join(folder), &mut paths));
    let mut messages = Vec::new();
    for path in paths {
        let bytes = std::fs::read(path).unwrap();
        messages
            .extend(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(200).map(<[u8]>::to_vec));
        messages.push(bytes);
    }
    messages
}

fn fuzz_messages(kind: SourceKind, example: &str, folders: &[&str]) {
    fuzz(&format!("messages of {}", kind.as_str()), &messages(example, folders), decoder_bound, |value| {
        decode(kind, &[], value);
    });
}

#[test]
fn messages_of_teleport() {
    fuzz_messages(SourceKind::Teleport, "teleport", &["teleport/audit-events", "teleport/derived"]);
}

#[test]
fn messages_of_boundary() {
    fuzz_messages(SourceKind::Boundary, "boundary", &["boundary/events"]);
}

#[test]
fn messages_of_opa() {
    fuzz_messages(SourceKind::Opa, "opa", &["opa"]);
}

#[test]
fn messages_of_hoop() {
    fuzz_messages(SourceKind::Hoop, "hoop", &["hoop"]);
}

#[test]
fn messages_of_asciicast() {
    fuzz_messages(SourceKind::Asciicast, "asciicast", &["replay/asciinema-server"]);
}

#[test]
fn messages_of_tlog() {
    let mut corpus = messages("nothing", &["replay/tlog"]);
    corpus.push(br#"{"ver":"2.3","host":"h","rec":"r-1","user":"u","term":"xterm","session":1,"id":1,"pos":0,"time":1.5,"timing":"=80x24+10>2[1/2","in_txt":"x","in_bin":[255,1],"out_txt":"ab","out_bin":[]}"#.to_vec());
    fuzz("messages of tlog", &corpus, decoder_bound, |value| decode(SourceKind::Tlog, &[], value));
}

/// Every recording that is found among the fixtures, and some made here; the units that their readers cut are the corpus
/// of the decoders of forms.
#[test]
fn files_and_the_units_that_they_are_cut_into() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("x.timing"), "0.1 5\n0.2 7\n").unwrap();
    std::fs::write(own.join("x"), "Script started\nhellowonders\nScript done\n").unwrap();
    std::fs::write(own.join("a.cast"), "{\"version\":2,\"width\":9,\"height\":2}\n[0.5,\"o\",\"hello\"]\n").unwrap();
    std::fs::write(own.join("b.json"), r#"{"version":1,"width":9,"height":2,"stdout":[[0.5,"x"]]}"#).unwrap();
    let frame = |second: u32, text: &[u8]| {
        [&second.to_le_bytes()[..], &[0; 4], &(text.len() as u32).to_le_bytes(), text].concat()
    };
    std::fs::write(own.join("c.ttyrec"), [frame(1_400_000_000, b"hello"), frame(1_400_000_001, b"!")].concat())
        .unwrap();

    let mut objects = find(&own).unwrap().0;
    if shared().is_dir() {
        objects.extend(find(&shared()).unwrap().0);
    }
    objects.retain(|object| object.size_bytes < 400_000);
    let keys = Keys::default();
    let read = |object: &crate::import::Found| {
        let mut units: Vec<Unit> = Vec::new();
        if let Ok(mut reader) = object.open(&keys, "0123456789abcdef0123") {
            while let Ok(Some(unit)) = reader.next() {
                units.push(unit);
            }
            let _ = reader.summary();
        }
        units
    };
    let units: Vec<Unit> = objects.iter().flat_map(read).filter(|unit| unit.value.len() < 100_000).collect();

    // Units with their headers: the decoders of forms.
    let formed: Vec<&Unit> =
        units.iter().filter(|unit| unit.headers.iter().any(|(name, _)| *name == FORM_HEADER)).collect();
    assert!(!formed.is_empty());
    let mut random = Random::new("units");
    let corpus: Vec<Vec<u8>> = formed.iter().map(|unit| unit.value.clone()).collect();
    fuzz("units of files", &corpus, decoder_bound, |value| {
        let unit = random.one(&formed);
        let headers: Vec<_> = unit.headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        decode(unit.source, &headers, value);
    });

    // Objects of which one file is changed.
    let work = folder.path().join("work");
    let mut random = Random::new("files");
    let corpus = [vec![0_u8]];
    fuzz(
        "files",
        &corpus,
        |_| READER_BYTES,
        |_| {
            let object = random.one(&objects).clone();
            let base =
                if object.path.is_dir() { object.path.clone() } else { object.path.parent().unwrap().to_owned() };
            let mut members = if object.files.is_empty() { vec![object.path.clone()] } else { object.files.clone() };
            if object.path.is_dir() {
                members.clear();
                files(&object.path, &mut members);
            }
            let _ = std::fs::remove_dir_all(&work);
            let contents: Vec<Vec<u8>> = members.iter().map(|member| std::fs::read(member).unwrap()).collect();
            let changed = random.below(members.len());
            for (position, (member, bytes)) in members.iter().zip(&contents).enumerate() {
                let to = work.join(member.strip_prefix(&base).unwrap());
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                let bytes = if position == changed { mutate(&mut random, &contents) } else { bytes.clone() };
                std::fs::write(to, bytes).unwrap();
            }
            for object in find(&work).unwrap().0 {
                if let Ok(mut reader) = object.open(&keys, "0123456789abcdef0123") {
                    while let Ok(Some(unit)) = reader.next() {
                        drop(unit);
                    }
                    let _ = reader.summary();
                }
            }
        },
    );
}
