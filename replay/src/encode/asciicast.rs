//! asciicast versions 2 and 3.
//!
//! asciicast holds text, so bytes that are not UTF-8 become U+FFFD: the exported file is a view, the frames are the
//! evidence. A resize or an exit whose data cannot be read is left out, because readers refuse a whole file for it.

use std::collections::BTreeMap;
use std::io;

use custody_schemas::frame::Code;
use serde_json::{Value, json};

use crate::header::{Header, Theme};
use crate::recording::{Recording, exit_status, resize};
use crate::utf8::Decoder;

/// Writes a recording as asciicast 2. Times have exactly six decimals.
///
/// The exit status is written too, as asciinema does; readers that know version 2 alone skip it.
///
/// # Errors
///
/// Those of `out`.
pub fn asciicast_v2(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    let Header { term_type, term_version: _, env, theme, .. } = &recording.header;
    let mut env = env.clone();
    env.extend(term_type.clone().map(|name| ("TERM".to_owned(), name)));
    let size = recording.size;
    write!(out, r#"{{"version":2,"width":{},"height":{}"#, size.cols, size.rows)?;
    write_common(&recording.header, &env, out)?;
    write_field("theme", theme.as_ref().map(theme_value), out)?;
    out.write_all(b"}\n")?;

    for_each_text(recording, |time_us, code, text| {
        write!(out, r#"[{}.{:06},"{}","#, time_us / 1_000_000, time_us % 1_000_000, code.as_char())?;
        serde_json::to_writer(&mut *out, text)?;
        out.write_all(b"]\n")
    })
}

/// Writes a recording as asciicast 3. Intervals have exactly three decimals.
///
/// Each interval leads from one rounded time to the next, so that no error adds up: every event is within half a
/// millisecond of its time, however many there are.
///
/// # Errors
///
/// Those of `out`.
pub fn asciicast_v3(recording: &Recording, out: &mut impl io::Write) -> io::Result<()> {
    let Header { term_type, term_version, env, theme, .. } = &recording.header;
    let size = recording.size;
    write!(out, r#"{{"version":3,"term":{{"cols":{},"rows":{}"#, size.cols, size.rows)?;
    write_field("type", term_type.as_deref().map(Value::from), out)?;
    write_field("version", term_version.as_deref().map(Value::from), out)?;
    write_field("theme", theme.as_ref().map(theme_value), out)?;
    out.write_all(b"}")?;
    write_common(&recording.header, env, out)?;
    out.write_all(b"}\n")?;

    let mut written_ms = 0;
    for_each_text(recording, |time_us, code, text| {
        let time_ms = (time_us + 500) / 1000;
        let interval_ms = time_ms - written_ms;
        written_ms = time_ms;
        write!(out, r#"[{}.{:03},"{}","#, interval_ms / 1000, interval_ms % 1000, code.as_char())?;
        serde_json::to_writer(&mut *out, text)?;
        out.write_all(b"]\n")
    })
}

/// The fields that both versions have in the same place.
fn write_common(header: &Header, env: &BTreeMap<String, String>, out: &mut impl io::Write) -> io::Result<()> {
    let idle_time_limit = header.idle_time_limit_us.map(|limit_us| json!(limit_us as f64 / 1e6));
    write_field("timestamp", header.timestamp.map(Value::from), out)?;
    write_field("idle_time_limit", idle_time_limit, out)?;
    write_field("command", header.command.as_deref().map(Value::from), out)?;
    write_field("title", header.title.as_deref().map(Value::from), out)?;
    write_field("env", (!env.is_empty()).then(|| json!(env)), out)
}

fn write_field(name: &str, value: Option<Value>, out: &mut impl io::Write) -> io::Result<()> {
    match value {
        Some(value) => write!(out, r#","{name}":{value}"#),
        None => Ok(()),
    }
}

fn theme_value(theme: &Theme) -> Value {
    json!({ "fg": theme.foreground, "bg": theme.background, "palette": theme.palette.join(":") })
}

/// Calls `each` with time, code and text of the events that asciicast has.
///
/// A character that is cut goes with the event that ends it. An event that has only bytes of cut characters is left
/// out; what is still unfinished at the end becomes one more event.
pub(super) fn for_each_text(
    recording: &Recording,
    mut each: impl FnMut(i64, Code, &str) -> io::Result<()>,
) -> io::Result<()> {
    let (mut output, mut input) = (Decoder::default(), Decoder::default());
    let mut text = String::new();
    for event in &recording.events {
        text.clear();
        match event.code {
            Code::Output => output.push(&event.data, &mut text),
            Code::Input => input.push(&event.data, &mut text),
            Code::Marker => {
                text.push_str(&String::from_utf8_lossy(&event.data));
                each(event.time_us, event.code, &text)?;
                continue;
            }
            Code::Resize => text.extend(resize(&event.data).map(|size| size.to_string())),
            Code::Exit => text.extend(exit_status(&event.data).map(|status| status.to_string())),
            Code::Header | Code::End | Code::Other => {}
        }
        if !text.is_empty() {
            each(event.time_us, event.code, &text)?;
        }
    }
    let last_us = recording.events.last().map_or(0, |event| event.time_us);
    for (decoder, code) in [(&mut output, Code::Output), (&mut input, Code::Input)] {
        text.clear();
        decoder.finish(&mut text);
        if !text.is_empty() {
            each(last_us, code, &text)?;
        }
    }
    Ok(())
}
