//! LEEF 2.0, the Log Event Extended Format of QRadar: `LEEF:2.0|Custody|Custody|version|event|x09|key<tab>value...`.
//!
//! The event is the source's code of the event type, or else its name; of a finding, its report (`R02`). The format has no escapes of its own: in the header
//! `|` and control characters are spaces, and `eventType` and `eventCode` have them as they are. In values a tab, a line
//! feed, a carriage return and a backslash are `\t`, `\n`, `\r` and `\\`.
//!
//! Keys of the format: `cat` is the kind, `devTime` (milliseconds since 1970), `sev` from 1 to 10, `usrName`, `accountName`
//! (the account on the target), `src`, `srcPort`, `role`, `policy`, `resource` (the target). Of Custody's own: `eventId`,
//! `eventType`, `eventCode`, `source`, `cluster`, `action`, `outcome`, `reason`, `protocol`, `clientAddress` (where it is
//! no IP address), `sessionId`, `requestId`, `approvers`, `tickets`, `decisionId`, `correlationId`, `offset`, `evidence`
//! (where the record is: what a flat line has no room for is there), `revision`, `timeFrom`, `truncatedFromBytes`, `msg`. Of a
//! finding: `findingId`, `findingState`, `handled`, `raisedAt` (milliseconds since 1970), and `usrName` is who it is about.

use custody_schemas::event::Outcome;

use crate::notice::Notice;
use crate::schema::cef::{at_most, joined};
use crate::schema::finding::Handled;
use crate::schema::{
    Address, Gist, PRODUCT, VERSION, approvers, event_id, message, place, reason, request_id, said, texts, tickets,
    time,
};

/// A notice as a line of LEEF. `whole_bytes` when texts of it were cut.
pub(super) fn write(notice: &Notice<'_>, gist: &Gist, whole_bytes: Option<usize>) -> String {
    let finding = gist.finding.as_ref();
    let event = &notice.event;
    let (at, time_from) = time(notice);
    let client = Address::of_client(event);
    let client = client.as_ref();
    let mut line = format!("LEEF:2.0|{PRODUCT}|{PRODUCT}|{VERSION}|");
    let report = finding.map(|finding| finding.report.as_str()).filter(|report| !report.is_empty());
    let id = report.or(said(&event.source_code)).unwrap_or(&event.source_type);
    line.extend(
        at_most(id, ID_CHARS_MAX).map(|letter| if letter == '|' || letter.is_control() { ' ' } else { letter }),
    );
    line.push_str("|x09|");

    let mut attributes = Attributes { line, is_first: true };
    attributes.number("devTime", at.div_euclid(1000));
    attributes.text("cat", event.kind.as_str());
    attributes.number("sev", i64::from(gist.severity.of_ten()));
    let person = finding.and_then(|finding| finding.person.as_deref());
    attributes.text("usrName", said(&event.actor).or(person));
    attributes.text("accountName", said(&event.login));
    attributes.text("role", joined(texts(&event.actor_roles)).as_str());
    attributes.text("src", client.and_then(|client| client.ip).map(|ip| ip.to_string()).as_deref());
    attributes.number("srcPort", client.and_then(|client| client.port).map(i64::from));
    attributes.text("clientAddress", client.filter(|client| client.ip.is_none()).map(|client| client.text));
    attributes.text("resource", said(&event.target));
    attributes.text("policy", said(&event.policy_path));
    attributes.text("eventId", &*event_id(notice));
    attributes.text("eventType", event.source_type.as_ref());
    attributes.text("eventCode", said(&event.source_code));
    attributes.text("source", notice.source);
    attributes.text("cluster", said(&event.cluster));
    attributes.text("action", said(&event.action));
    attributes.text("outcome", event.outcome.map(Outcome::as_str));
    attributes.text("reason", reason(notice));
    attributes.text("protocol", said(&event.protocol));
    attributes.text("sessionId", said(&event.session_id));
    attributes.text("requestId", request_id(notice));
    attributes.text("approvers", joined(approvers(notice)).as_str());
    attributes.text("tickets", joined(tickets(notice)).as_str());
    attributes.text("decisionId", said(&event.decision_id));
    attributes.text("correlationId", said(&event.correlation_id));
    if let Some(finding) = finding {
        attributes.text("findingId", finding.uid.as_str());
        attributes.text("findingState", finding.state.as_str());
        attributes.text("handled", finding.handled.map(Handled::as_str));
        attributes.number("raisedAt", finding.raised_at.map(|at| at.div_euclid(1000)));
    }
    attributes.number("offset", notice.evidence.offset);
    attributes.text("evidence", place(notice).as_str());
    attributes.number("revision", (notice.revision > 0).then_some(i64::from(notice.revision)));
    attributes.text("timeFrom", time_from);
    attributes.number("truncatedFromBytes", whole_bytes.and_then(|bytes| i64::try_from(bytes).ok()));
    attributes.text("msg", message(notice).as_str());
    attributes.line
}

const ID_CHARS_MAX: usize = 255;

struct Attributes {
    line: String,
    is_first: bool,
}

impl Attributes {
    fn key(&mut self, key: &str) {
        if !self.is_first {
            self.line.push('\t');
        }
        self.is_first = false;
        self.line.push_str(key);
        self.line.push('=');
    }

    fn text<'t>(&mut self, key: &str, value: impl Into<Option<&'t str>>) {
        let Some(value) = value.into().filter(|value| !value.is_empty()) else { return };
        self.key(key);
        for letter in value.chars() {
            match letter {
                '\\' => self.line.push_str("\\\\"),
                '\t' => self.line.push_str("\\t"),
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                _ => self.line.push(letter),
            }
        }
    }

    fn number(&mut self, key: &str, value: impl Into<Option<i64>>) {
        if let Some(value) = value.into() {
            self.key(key);
            self.line.push_str(&value.to_string());
        }
    }
}
