//! Typescripts: what `script` wrote, with its timing file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use custody_schemas::event::Integrity;

use super::finding;
use super::lines::{Bytes, End};
use super::run::{Runs, State, Stream};
use crate::import::{Reader, Summary, Unit};
use crate::source::SourceKind;
use crate::source::script::{ADVANCED, CLASSIC, INPUT, OUTPUT, PREAMBLE, advanced, classic};
use crate::source::timing::{Grammar, Line, What};

/// Bound on the first line of a typescript, which has the command in it.
const PREAMBLE_BYTES_MAX: usize = 64 * 1024;

/// Bound on a timing line while files are looked for and counted.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// How many lines of a file have to be timing lines for it to be a timing file.
const LINES_LOOKED_AT: usize = 16;

/// The files of a typescript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// The timing file.
    pub(crate) timing: PathBuf,
    /// What was shown; also what was typed, when both went into one file.
    pub(crate) output: PathBuf,
    /// What was typed, where that is a file of its own.
    pub(crate) input: Option<PathBuf>,
}

/// Whether a file that begins like this is a timing file of `script`.
pub(crate) fn recognises(head: &[u8]) -> bool {
    let grammar = grammar(head).1;
    // The last line may be cut by the end of the head.
    let mut lines = head.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let mut lines = lines.by_ref().take(LINES_LOOKED_AT).peekable();
    lines.peek().is_some() && lines.all(|line| grammar(line).is_ok())
}

fn grammar(head: &[u8]) -> (&'static str, Grammar) {
    match head.first() {
        Some(b'O' | b'I' | b'S' | b'H') => (ADVANCED, advanced),
        _ => (CLASSIC, classic),
    }
}

/// The files that belong together with a timing file or a typescript. `None` when it is neither, or stands alone.
///
/// A timing file of the advanced form names the others; they are looked for beside it, wherever they were written. Else
/// the names tell: `x.timing` goes with `x`, `x.io`, `x.script` or `x.typescript`, and `timing` with `typescript`.
///
/// # Errors
///
/// Only when the operating system cannot read them.
pub(crate) fn files(path: &Path) -> io::Result<Option<Files>> {
    let head = super::head(path)?;
    if recognises(&head) {
        return Ok(files_of_timing(path, &head));
    }
    for timing in timings_of(path).into_iter().filter(|timing| crate::import::is_regular_file(timing).unwrap_or(false))
    {
        let head = super::head(&timing)?;
        let files = Some(&head).filter(|head| recognises(head)).and_then(|head| files_of_timing(&timing, head));
        if let Some(files) = files.filter(|files| files.output == path || files.input.as_deref() == Some(path)) {
            return Ok(Some(files));
        }
    }
    Ok(None)
}

fn files_of_timing(timing: &Path, head: &[u8]) -> Option<Files> {
    let named = |log: &[u8]| {
        let mut lines = head.split(|byte| *byte == b'\n').filter_map(|line| advanced(line).ok());
        let value = lines.find_map(|line| match line.what {
            What::Fact { name, value } if name == log => std::str::from_utf8(value).ok(),
            _ => None,
        })?;
        // Where the file was when it was written is nobody's business; beside the timing file is where it is.
        Some(timing.with_file_name(Path::new(value).file_name()?))
            .filter(|path| crate::import::is_regular_file(path).unwrap_or(false) && path != timing)
    };
    let output = named(b"OUTPUT_LOG");
    let input = named(b"INPUT_LOG").filter(|input| output.as_ref() != Some(input));
    let output = output.or_else(|| {
        outputs_of(timing).into_iter().find(|path| crate::import::is_regular_file(path).unwrap_or(false))
    })?;
    Some(Files { timing: timing.to_owned(), output, input })
}

fn outputs_of(timing: &Path) -> Vec<PathBuf> {
    let name = timing.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".timing").or_else(|| name.strip_suffix(".tm"));
    let names = match (&*name, stem) {
        (_, Some(stem)) => ["", ".io", ".script", ".typescript"].map(|end| format!("{stem}{end}")).to_vec(),
        ("timing" | "timing.log", None) => vec!["typescript".to_owned()],
        _ => Vec::new(),
    };
    names.into_iter().map(|name| timing.with_file_name(name)).collect()
}

fn timings_of(output: &Path) -> Vec<PathBuf> {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let stem = [".io", ".script", ".typescript"].iter().find_map(|end| name.strip_suffix(end));
    let mut names: Vec<String> =
        [Some(&*name), stem].into_iter().flatten().flat_map(|s| [format!("{s}.timing"), format!("{s}.tm")]).collect();
    if name == "typescript" {
        names.extend(["timing".to_owned(), "timing.log".to_owned()]);
    }
    names.into_iter().map(|name| output.with_file_name(name)).collect()
}

/// Opens a typescript as the recording of a session.
///
/// # Errors
///
/// Only when the operating system cannot read it.
pub(crate) fn open(files: &Files, session_id: &str) -> io::Result<impl Reader + use<>> {
    let (form, grammar) = grammar(&super::head(&files.timing)?);
    let streams: Vec<(&'static [&'static str], &Path)> = match &files.input {
        Some(input) => vec![(&[OUTPUT], &files.output), (&[INPUT], input)],
        None => vec![(&[OUTPUT, INPUT], &files.output)],
    };
    let mut preamble = Vec::new();
    let streams = streams
        .into_iter()
        .map(|(names, path)| {
            let mut bytes = Bytes::open(path)?;
            preamble.extend(first_line(&mut bytes, path, names, &files.timing, grammar)?);
            Ok(Stream { names, file: file_name(path), bytes: Some(bytes), is_short: false })
        })
        .collect::<io::Result<_>>()?;
    Ok(Typescript {
        runs: Runs {
            source: SourceKind::Script,
            form,
            session_id: session_id.to_owned(),
            grammar,
            timing_file: file_name(&files.timing),
            timing: Bytes::open(&files.timing)?,
            streams,
            preamble,
            has_trailer: true,
            state: State::default(),
        },
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The first line of a typescript, where it is not of the session: it says so, or, in other languages, it is there
/// besides all that the timing lines tell of. Old versions leave it out when they are told to be quiet.
fn first_line(bytes: &mut Bytes, path: &Path, names: &[&str], timing: &Path, grammar: Grammar) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let end = bytes.line(PREAMBLE_BYTES_MAX, &mut line)?;
    let is_said = line.starts_with(PREAMBLE.as_bytes());
    let is_first_line = end == End::Line
        && (is_said || {
            let size = File::open(path)?.metadata()?.len();
            told(timing, names, grammar)?.is_some_and(|told| size.saturating_sub(told) >= line.len() as u64)
        });
    if is_first_line || (is_said && end == End::File) {
        return Ok(line);
    }
    bytes.put_back(line);
    Ok(Vec::new())
}

/// How many bytes the timing lines tell of; `None` when one of them cannot be read.
fn told(timing: &Path, names: &[&str], grammar: Grammar) -> io::Result<Option<u64>> {
    let mut bytes = Bytes::open(timing)?;
    let mut sum: u64 = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        bytes.line(LINE_BYTES_MAX, &mut line)?;
        if line.is_empty() {
            return Ok(Some(sum));
        }
        match line.strip_suffix(b"\n").map(grammar) {
            Some(Ok(Line { what: What::Bytes { stream, len, .. }, .. })) if names.contains(&stream) => {
                sum = sum.saturating_add(len);
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Ok(None),
        }
    }
}

struct Typescript {
    runs: Runs,
}

impl Reader for Typescript {
    fn next(&mut self) -> io::Result<Option<Unit>> {
        self.runs.next()
    }

    fn summary(&self) -> Summary {
        let State { findings, has_end, .. } = &self.runs.state;
        let mut findings = findings.clone();
        if !has_end {
            findings.push(finding("NotClosed", None, "neither an exit status nor a last line says that it is over"));
        }
        let integrity = if findings.is_empty() { Integrity::Complete } else { Integrity::Incomplete };
        Summary {
            session_id: Some(self.runs.session_id.clone()),
            recording_id: None,
            public_key_sha256: None,
            integrity: Some(integrity),
            findings,
        }
    }
}
