//! CEF, the Common Event Format of ArcSight, version 0: `CEF:0|Custody|Custody|version|class|name|severity|key=value ...`.
//!
//! The class is the source's code of the event type, or else its name; the name is the kind. Of a finding the class is its
//! report (`R02`), and the name what the report is called. In the header `\` and `|` are
//! escaped and a line break is a space; in values `\` and `=` are escaped and line breaks are `\n` and `\r`. A text that is
//! longer than its field may be is cut, and ends with `…`.
//!
//! | key | what it has |
//! |---|---|
//! | `rt`, `start`, `end` | when it happened; beginning and end of the session: milliseconds since 1970 |
//! | `externalId` | the id of the event, uncut |
//! | `cat`, `act`, `outcome`, `reason`, `msg` | kind, action, outcome, reason, and all of it as one line |
//! | `suser`, `duser`, `app` | who did it (of a finding, who it is about), the account on the target, the protocol |
//! | `src`, `c6a2`, `shost`, `spt` | the client: IPv4, IPv6, any other address, port |
//! | `dhost`, `destinationServiceName` | the target: a machine, or anything else |
//! | `deviceExternalId`, `deviceFacility` | the instance of the source, the source |
//! | `cs1` to `cs6` | access request, approvers, session, tickets, policy, place of the record; each with its label |
//! | `cn1`, `cn2`, `cn3` | offset of the record; bytes of the whole event where texts were cut; revision |
//! | `flexString1` | the column that the time is from, where the source stated none |
//! | `act`, `flexString2`, `deviceCustomDate1` | of a finding: `open`, `changed` or `closed`; its id; when it was raised |
//!
//! A flat record has no room for the rest: `cs6` tells where it is.

use std::collections::HashSet;

use custody_schemas::event::Outcome;

use crate::notice::Notice;
use crate::schema::{
    Address, Gist, PRODUCT, VERSION, approvers, event_id, message, place, reason, request_id, said, tickets, time,
};

/// A notice as a line of CEF. `whole_bytes` when texts of it were cut.
pub(super) fn write(notice: &Notice<'_>, gist: &Gist, whole_bytes: Option<usize>) -> String {
    let finding = gist.finding.as_ref();
    let (event, evidence) = (&notice.event, &notice.evidence);
    let (at, time_from) = time(notice);
    let millis = |at: i64| at.div_euclid(1000);
    let mut line = String::with_capacity(1024);
    line.push_str("CEF:0");
    let report = finding.map(|finding| finding.report.as_str()).filter(|report| !report.is_empty());
    let class = report.or(said(&event.source_code)).unwrap_or(&event.source_type);
    let name = finding.and_then(|_| said(&event.action)).unwrap_or(event.kind.as_str());
    let severity = gist.severity.of_ten().to_string();
    for (text, chars) in [(PRODUCT, 63), (PRODUCT, 63), (VERSION, 31), (class, 1023), (name, 512), (&severity, 2)] {
        line.push('|');
        in_header(&mut line, text, chars);
    }
    line.push('|');

    let mut extension = Extension { line, is_first: true };
    extension.number("rt", millis(at));
    extension.number("start", event.session_started_at.map(millis));
    extension.number("end", event.session_ended_at.map(millis));
    extension.text("externalId", usize::MAX, &*event_id(notice));
    extension.text("cat", 1023, event.kind.as_str());
    extension.text("act", 63, finding.map(|finding| finding.state.as_str()).or(said(&event.action)));
    extension.text("outcome", 63, event.outcome.map(Outcome::as_str));
    extension.text("reason", 1023, reason(notice));
    let person = finding.and_then(|finding| finding.person.as_deref());
    extension.text("suser", 1023, said(&event.actor).or(person));
    extension.text("duser", 1023, said(&event.login));
    extension.text("app", 31, said(&event.protocol));
    if let Some(client) = Address::of_client(event) {
        match client.ip {
            Some(ip) if ip.is_ipv4() => extension.text("src", 45, ip.to_string().as_str()),
            Some(ip) => extension.labelled("c6a2", "sourceIpv6", 45, ip.to_string().as_str()),
            None => extension.text("shost", 1023, client.text),
        }
        extension.number("spt", client.port.map(i64::from));
    }
    let is_machine = matches!(event.target_kind.as_deref(), Some("node" | "desktop"));
    extension.text(if is_machine { "dhost" } else { "destinationServiceName" }, 1023, said(&event.target));
    extension.text("deviceExternalId", 255, said(&event.cluster));
    extension.text("deviceFacility", 1023, notice.source);
    extension.labelled("cs1", "requestId", 4000, request_id(notice));
    extension.labelled("cs2", "approvers", 4000, joined(approvers(notice)).as_str());
    extension.labelled("cs3", "sessionId", 4000, said(&event.session_id));
    extension.labelled("cs4", "tickets", 4000, joined(tickets(notice)).as_str());
    extension.labelled("cs5", "policyPath", 4000, said(&event.policy_path));
    extension.labelled("cs6", "evidence", 4000, place(notice).as_str());
    extension.number("cn1", evidence.offset);
    extension.text("cn1Label", 1023, "offset");
    if let Some(bytes) = whole_bytes {
        extension.number("cn2", i64::try_from(bytes).ok());
        extension.text("cn2Label", 1023, "truncatedFromBytes");
    }
    if notice.revision > 0 {
        extension.number("cn3", i64::from(notice.revision));
        extension.text("cn3Label", 1023, "revision");
    }
    extension.labelled("flexString1", "timeFrom", 1023, time_from);
    extension.labelled("flexString2", "finding", 1023, finding.map(|finding| finding.uid.as_str()));
    if let Some(raised_at) = finding.and_then(|finding| finding.raised_at) {
        extension.number("deviceCustomDate1", millis(raised_at));
        extension.text("deviceCustomDate1Label", 1023, "raisedAt");
    }
    extension.text("msg", 1023, message(notice).as_str());
    extension.line
}

/// Texts as one, each once, with commas between them.
pub(super) fn joined<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut seen = HashSet::new();
    let each: Vec<&str> = texts.filter(|text| seen.insert(*text)).collect();
    each.join(", ")
}

/// At most so many characters of a text, the last of them a `…` where there are more.
pub(super) fn at_most(text: &str, chars: usize) -> impl Iterator<Item = char> {
    // A text of so many bytes has no more characters.
    let is_cut = text.len() > chars && text.chars().nth(chars).is_some();
    let kept = if is_cut { chars.saturating_sub(1) } else { chars };
    text.chars().take(kept).chain(is_cut.then_some('…'))
}

fn in_header(line: &mut String, text: &str, chars: usize) {
    for letter in at_most(text, chars) {
        match letter {
            '\\' | '|' => line.extend(['\\', letter]),
            '\n' | '\r' => line.push(' '),
            _ => line.push(letter),
        }
    }
}

struct Extension {
    line: String,
    is_first: bool,
}

impl Extension {
    fn key(&mut self, key: &str) {
        if !self.is_first {
            self.line.push(' ');
        }
        self.is_first = false;
        self.line.push_str(key);
        self.line.push('=');
    }

    fn text<'t>(&mut self, key: &str, chars: usize, value: impl Into<Option<&'t str>>) {
        let Some(value) = value.into().filter(|value| !value.is_empty()) else { return };
        self.key(key);
        for letter in at_most(value, chars) {
            match letter {
                '\\' | '=' => self.line.extend(['\\', letter]),
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                _ => self.line.push(letter),
            }
        }
    }

    /// A field of the receiver's whose meaning its label says.
    fn labelled<'t>(&mut self, key: &str, label: &str, chars: usize, value: impl Into<Option<&'t str>>) {
        let Some(value) = value.into().filter(|value| !value.is_empty()) else { return };
        self.text(key, chars, value);
        self.text(&format!("{key}Label"), 1023, label);
    }

    fn number(&mut self, key: &str, value: impl Into<Option<i64>>) {
        if let Some(value) = value.into() {
            self.key(key);
            self.line.push_str(&value.to_string());
        }
    }
}
