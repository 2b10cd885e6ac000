//! A message of syslog (RFC 5424) around a text of any schema:
//!
//! ```text
//! <110>1 2025-06-02T09:00:00.120000Z custody-1 custody - session.end [custody@32473 eventId="…" seq="41235"
//!  sessionId="…" requestId="…" evidenceRef="…"] BOM text
//! ```
//!
//! on one line. The severity follows from the event as in OCSF: 6 for what happens all day, 5, 4, and 3 for evidence that is
//! missing or wrong. `seq` is the offset of the record, `evidenceRef` where it is. The message always begins with a byte
//! order mark, which RFC 5424 demands of UTF-8.
//!
//! Control characters are spaces: a receiver that keeps lines, or ends a text at NUL, would let an event hide the rest of
//! it, or begin another. JSON has its own way to write them, so there nothing is lost. The tab stays, LEEF needs it.

use chrono::{DateTime, Datelike, SecondsFormat};

use crate::notice::Notice;
use crate::schema::cut::cut;
use crate::schema::{Gist, Schema, Severity, event_id, place, request_id, said, time};

/// The number under which the names of an organisation are told from those of others (RFC 5424, section 7.2.2). This one
/// is kept free for documentation (RFC 5612): Custody has none of its own at IANA.
const ENTERPRISE: u32 = 32473;

/// Ids of sessions and requests are cut where they have more bytes.
const ID_BYTES_MAX: usize = 256;

/// A notice as one message, of at most `bytes_max` bytes where header and text fit into it. `facility` is one of 0 to 23.
pub fn write(notice: &Notice<'_>, schema: Schema, facility: u8, hostname: &str, bytes_max: usize) -> String {
    let mut line = header(notice, facility, hostname);
    line.push_str(" \u{feff}");
    let text = schema.write(notice, bytes_max.saturating_sub(line.len()));
    line.extend(text.chars().map(|letter| if letter.is_ascii_control() && letter != '\t' { ' ' } else { letter }));
    line
}

fn header(notice: &Notice<'_>, facility: u8, hostname: &str) -> String {
    let severity = match Gist::of(notice).severity {
        Severity::Informational => 6,
        Severity::Low => 5,
        Severity::Medium => 4,
        Severity::High => 3,
    };
    let priority = u32::from(facility) * 8 + severity;
    let at = DateTime::from_timestamp_micros(time(notice).0).filter(|at| (1..=9999).contains(&at.year()));
    let at = at.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
    let kind = notice.event.kind.as_str();
    let mut line = format!("<{priority}>1 {at} {} custody - {} ", name(hostname, 255), name(kind, 32));
    line.push_str(&format!("[custody@{ENTERPRISE}"));
    parameter(&mut line, "eventId", &event_id(notice));
    parameter(&mut line, "seq", &notice.evidence.offset.to_string());
    parameter(&mut line, "sessionId", &cut(said(&notice.event.session_id).unwrap_or_default(), ID_BYTES_MAX));
    parameter(&mut line, "requestId", &cut(request_id(notice).unwrap_or_default(), ID_BYTES_MAX));
    parameter(&mut line, "evidenceRef", &place(notice));
    line.push(']');
    line
}

/// A field of the header: printable ASCII without spaces, and a hyphen where there is nothing.
fn name(text: &str, length_max: usize) -> String {
    let fit: String = text.chars().filter(char::is_ascii_graphic).take(length_max).collect();
    if fit.is_empty() { "-".to_owned() } else { fit }
}

fn parameter(line: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    line.push_str(&format!(" {name}=\""));
    for letter in value.chars() {
        match letter {
            '"' | '\\' | ']' => line.extend(['\\', letter]),
            _ if letter.is_control() => line.push(' '),
            _ => line.push(letter),
        }
    }
    line.push('"');
}
