//! One HTML file with a player, a recording and what is known of it: opened from disk, without a network and without
//! Custody.
//!
//! Nothing in the file can act but the scripts of this folder, and these can load nothing: the page's policy allows scripts
//! and styles by their hash alone and no request at all. What was recorded stands in data blocks. Bytes that are not UTF-8
//! become U+FFFD: the file is a view, the frames are the evidence.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use custody_schemas::frame::Code;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::asciicast::for_each_text;
use super::tame::Tame;
use crate::emulator::Emulator;
use crate::index::SEGMENT_BYTES;
use crate::recording::{Recording, State, Timed};
use crate::screen::printable;

const STYLES: [&str; 2] = [include_str!("html/asciinema-player-3.17.0.css"), include_str!("html/page.css")];
const SCRIPTS: [&str; 3] =
    [include_str!("html/asciinema-player-3.17.0.min.js"), include_str!("html/driver.js"), include_str!("html/page.js")];
const LICENCE: &str = include_str!("html/asciinema-player-LICENSE");

/// So many findings and markers are listed: a browser draws each of them.
const LISTED_MAX: usize = 1000;

/// So much of a marker's label is shown, in characters.
const LABEL_CHARS_MAX: usize = 200;

/// What the file says besides the recording. All of it is text, none of it markup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Title of the page.
    pub title: String,
    /// What is known of the session: label and value, in the order in which they are shown.
    pub session: Vec<(String, String)>,
    /// Where the file comes from and what it can be checked against: label and value.
    pub provenance: Vec<(String, String)>,
}

/// Writes a recording as one HTML file.
///
/// The recording is cut into segments that begin with a keyframe: after every resize, and every [`SEGMENT_BYTES`] of
/// output. So the player goes to any time at once, and no size of the recording is refused. But a browser holds the whole
/// file in memory, and more than once (Chromium took 310 MB for a file of 66 MB), and the file may be much larger than the
/// recording: a resize takes a whole screen. Whoever calls it for a browser gives an `out` that fails when it has had
/// enough; the writing itself takes memory for one event and one screen.
///
/// # Errors
///
/// Those of `out`.
pub fn html(recording: &Recording, facts: &Facts, out: &mut impl io::Write) -> io::Result<()> {
    write_head(&facts.title, out)?;
    write!(out, "<h1>{}</h1>\n{}", escaped(&facts.title), table(&facts.session))?;
    out.write_all(PLAYER.as_bytes())?;
    write_findings(recording, out)?;
    if !facts.provenance.is_empty() {
        write!(out, "<h2>Provenance</h2>\n{}", table(&facts.provenance))?;
    }
    write!(out, "{FOOTER}<pre>{}</pre>\n</details>\n</footer>\n</main>\n", escaped(LICENCE))?;
    write_data(r#"id="recording""#, &about(recording), out)?;
    write_segments(recording, out)?;
    for script in SCRIPTS {
        writeln!(out, "<script>{script}</script>")?;
    }
    out.write_all(b"</body>\n</html>\n")
}

const PLAYER: &str = r##"<section aria-label="Player">
<noscript><p class="warn">The recording is shown by a script in this file. It needs no network; allow scripts for this file to see it.</p></noscript>
<p class="warn" id="failure" role="alert" hidden>The player failed: what it shows from here on may be wrong. Load the page again; the recorded bytes are not affected.</p>
<div id="player"></div>
<div id="clock">
<span><span class="soft">Wall clock</span> <span id="wall"></span></span>
<span><span class="soft">Elapsed</span> <a id="elapsed" href="#t=0" title="Link to this time"></a> <span class="soft">of <span id="duration"></span></span></span>
<span class="controls">
<label><input id="skip-idle" type="checkbox"> Skip idle time</label>
<label>Speed <select id="speed"><option value="0.5">0.5×</option><option value="1" selected>1×</option><option value="2">2×</option><option value="4">4×</option><option value="8">8×</option><option value="16">16×</option></select></label>
</span>
</div>
</section>
"##;

const FOOTER: &str = r#"<footer>
<p>Times are those of the recording, also when idle time is skipped. Bytes that are not text are shown as U+FFFD. What was typed, where it was recorded, is shown after pressing k in the player; ? lists its keys.</p>
<p>This file is a view. The evidence are the recorded bytes, as the provenance names them.</p>
<details><summary>Shown by asciinema-player 3.17.0, Apache License 2.0</summary>
"#;

fn write_head(title: &str, out: &mut impl io::Write) -> io::Result<()> {
    let (scripts, styles) = (SCRIPTS.map(hash).join(" "), STYLES.map(hash).join(" "));
    let title = escaped(title);
    // The player's terminal is WebAssembly. Data blocks are no scripts and need no hash.
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src {scripts} \
         'wasm-unsafe-eval'; style-src {styles}; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n"
    )?;
    for style in STYLES {
        writeln!(out, "<style>{style}</style>")?;
    }
    out.write_all(b"</head>\n<body>\n<main>\n")
}

/// How a policy names the content of a script or a style.
fn hash(content: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}

fn table(rows: &[(String, String)]) -> String {
    let rows = rows.iter().map(|(label, value)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escaped(label), escaped(value))
    });
    if rows.len() == 0 { String::new() } else { format!("<table>\n{}</table>\n", rows.collect::<String>()) }
}

fn write_findings(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    out.write_all(b"<h2>What is missing</h2>\n")?;
    if recording.state() == State::Complete {
        return out.write_all(b"<p>Nothing is known to be missing.</p>\n");
    }
    out.write_all(b"<ul class=\"warn\">\n")?;
    if !recording.ended {
        out.write_all(
            b"<li>The recording has no end: the session was still running, or the recorder was cut off.</li>\n",
        )?;
    }
    for finding in recording.findings.iter().take(LISTED_MAX) {
        let text = escaped(&finding.to_string());
        match finding.at_us() {
            Some(at_us) => {
                let seconds = format!("{}.{:06}", at_us / 1_000_000, at_us % 1_000_000);
                writeln!(out, "<li><a href=\"#t={seconds}\">{seconds} s</a>: {text}</li>")?;
            }
            None => writeln!(out, "<li>{text}</li>")?,
        }
    }
    if let Some(more @ 1..) = recording.findings.len().checked_sub(LISTED_MAX) {
        writeln!(out, "<li>and {more} more</li>")?;
    }
    out.write_all(b"</ul>\n")
}

/// What the player has to know of the recording before it shows anything.
fn about(recording: &Recording) -> Value {
    let theme = recording.header.theme.as_ref().map(|theme| {
        // The second eight of sixteen colours are those of bright text.
        let palette: Vec<&String> = theme.palette.iter().cycle().take(16).collect();
        json!({ "foreground": theme.foreground, "background": theme.background, "palette": palette })
    });
    let markers = recording.events.iter().filter(|event| event.code == Code::Marker).take(LISTED_MAX).map(|event| {
        let label: String = String::from_utf8_lossy(&event.data).chars().take(LABEL_CHARS_MAX).map(printable).collect();
        json!([event.time_us, label])
    });
    json!({
        "duration_us": recording.duration_us,
        "started_at_us": recording.started_at,
        "theme": theme,
        "markers": markers.collect::<Vec<_>>(),
    })
}

fn write_segments(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    let mut emulator = Emulator::new(recording.size);
    let mut tame = Tame::default();
    let mut segment = Segment::begin(0, &emulator, out)?;
    let mut event = Timed { time_us: 0, at: None, code: Code::Output, data: Vec::new() };
    for_each_text(recording, |time_us, code, text| {
        let text = match code {
            Code::Output => tame.tamed(text, emulator.size()),
            Code::Resize | Code::Input => text.to_owned(),
            _ => return Ok(()),
        };
        if text.is_empty() {
            return Ok(());
        }
        if segment.output_bytes >= SEGMENT_BYTES {
            segment.end(out)?;
            segment = Segment::begin(time_us, &emulator, out)?;
        }
        event.code = code;
        event.data.clear();
        event.data.extend_from_slice(text.as_bytes());
        let size = emulator.size();
        emulator.apply(&event, ());
        if emulator.size() != size {
            segment.end(out)?;
            segment = Segment::begin(time_us, &emulator, out)?;
        }
        if code != Code::Resize {
            segment.push(time_us, code, &text, out)?;
        }
        Ok(())
    })?;
    segment.end(out)
}

/// A segment that is being written.
struct Segment {
    output_bytes: u64,
    is_empty: bool,
}

impl Segment {
    /// Begins with a keyframe: what makes an empty terminal what it is now.
    fn begin(start_us: i64, emulator: &Emulator, out: &mut impl io::Write) -> io::Result<Self> {
        // It was given whole characters only.
        let (size, (init, _)) = (emulator.size(), emulator.dump());
        write!(out, r#"<script type="application/json" class="segment" data-start="{start_us}">"#)?;
        write!(out, r#"{{"cols":{},"rows":{},"init":{},"events":["#, size.cols, size.rows, in_script(&init.into()))?;
        Ok(Self { output_bytes: 0, is_empty: true })
    }

    fn push(&mut self, time_us: i64, code: Code, text: &str, out: &mut impl io::Write) -> io::Result<()> {
        let separator = if self.is_empty { "" } else { "," };
        self.is_empty = false;
        if code == Code::Output {
            self.output_bytes += text.len() as u64;
        }
        write!(out, r#"{separator}[{time_us},"{}",{}]"#, code.as_char(), in_script(&text.into()))
    }

    fn end(&self, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(b"]}</script>\n")
    }
}

fn write_data(attributes: &str, value: &Value, out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "<script type=\"application/json\" {attributes}>{}</script>", in_script(value))
}

/// JSON that may stand in a script element: in strings, where alone they can be, the characters that HTML or JavaScript
/// could read as something else are escaped.
fn in_script(value: &Value) -> String {
    let json = value.to_string();
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => text.push(character),
        }
    }
    text
}

/// Text that may stand in an element or an attribute. Characters that act become U+FFFD, but for line breaks.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push('\n'),
            _ => escaped.push(printable(character)),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
