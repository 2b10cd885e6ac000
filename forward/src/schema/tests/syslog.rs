//! Messages of syslog, read back by a parser that knows RFC 5424 and nothing of how they were written.

use std::collections::BTreeMap;

use custody_schemas::event::{Integrity, Outcome};

use super::*;
use crate::schema::syslog;

/// A message of RFC 5424.
struct Message {
    priority: u32,
    /// Timestamp, host, application, process, kind of message.
    header: [String; 5],
    /// The parameters of each element.
    data: BTreeMap<String, BTreeMap<String, String>>,
    text: String,
}

fn read(line: &str) -> Message {
    let (priority, rest) = line.strip_prefix('<').unwrap().split_once(">1 ").unwrap();
    let mut words = rest.splitn(6, ' ');
    let header = [0, 1, 2, 3, 4].map(|_| words.next().unwrap().to_owned());
    let mut letters = words.next().unwrap().chars();
    let mut data: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut next = letters.next();
    while next == Some('[') {
        let mut element = String::new();
        // The name of the element, then parameters with a space before each.
        let mut separator = loop {
            match letters.next().unwrap() {
                end @ (' ' | ']') => break end,
                letter => element.push(letter),
            }
        };
        let parameters = data.entry(element).or_default();
        while separator == ' ' {
            let name: String = letters.by_ref().take_while(|letter| *letter != '=').collect();
            assert_eq!(letters.next(), Some('"'), "{line}");
            let mut value = String::new();
            loop {
                match letters.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(letters.next().filter(|letter| "\"\\]".contains(*letter)).unwrap()),
                    ']' => panic!("a bracket that is not escaped: {line}"),
                    letter => value.push(letter),
                }
            }
            assert!(parameters.insert(name, value).is_none(), "{line}");
            separator = letters.next().unwrap();
        }
        assert_eq!(separator, ']', "{line}");
        next = letters.next();
    }
    assert_eq!(next, Some(' '), "{line}");
    let text = letters.as_str().strip_prefix('\u{feff}').expect("a byte order mark").to_owned();
    Message { priority: priority.parse().unwrap(), header, data, text }
}

#[test]
fn a_message_has_who_when_and_what() {
    let case = full();
    let line = syslog::write(&case.notice(), Schema::Leef, 13, "custody-1", UNLIMITED);
    let begin = "<110>1 2025-06-02T09:00:00.120000Z custody-1 custody - session.end [custody@32473 \
        eventId=\"teleport/root.example.com/fff30583-1\" seq=\"41235\" sessionId=\"293fda2d-0b6e-4c3a-9d3e-7f1f2f3f4f5f\" \
        requestId=\"01973000-aaaa\" evidenceRef=\"audit.events/3/41235/1\"] \u{feff}LEEF:2.0|Custody|Custody|";
    assert!(line.starts_with(begin), "{line}");
    assert!(line.ends_with(&Schema::Leef.write(&case.notice(), UNLIMITED)), "{line}");
}

#[test]
fn the_priority_is_of_the_facility_and_of_what_happened() {
    let of = |kind, outcome, integrity| Case::of(Event { kind, outcome, integrity, ..Event::default() });
    let cases = [
        (of(Kind::SessionStart, Some(Outcome::Success), None), 6),
        (of(Kind::Login, Some(Outcome::Failure), None), 5),
        (of(Kind::ConfigChange, None, None), 5),
        (of(Kind::PolicyDecision, Some(Outcome::Error), None), 4),
        (of(Kind::SessionEnd, None, Some(Integrity::Failed)), 3),
        (of(Kind::Loss, None, None), 3),
    ];
    for (case, severity) in cases {
        for facility in [0, 10, 23] {
            let message = read(&syslog::write(&case.notice(), Schema::Custody, facility, "h", UNLIMITED));
            assert_eq!(message.priority, u32::from(facility) * 8 + severity, "{:?}", case.event.kind);
        }
    }
}

#[test]
fn a_header_says_what_it_can() {
    let case = |at| Case::of(Event { occurred_at: Some(at), ..Event::default() });
    let last = 253_402_300_799_999_999;
    let cases = [
        (0, "custody-1", "1970-01-01T00:00:00.000000Z", "custody-1"),
        (-1, "", "1969-12-31T23:59:59.999999Z", "-"),
        (last, "a b\u{7}\n", "9999-12-31T23:59:59.999999Z", "ab"),
        (last + 1, "é", "-", "-"),
        (i64::MIN, &"h".repeat(300), "-", &"h".repeat(255)),
    ];
    for (at, hostname, time, host) in cases {
        let message = read(&syslog::write(&case(at).notice(), Schema::Custody, 13, hostname, UNLIMITED));
        assert_eq!(message.header, [time, host, "custody", "-", "other"]);
    }
}

/// What may be in a message of a text: no control character, but the tab that separates attributes of LEEF.
fn tame(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_control() && letter != '\t' { ' ' } else { letter }).collect()
}

proptest! {
    #[test]
    fn any_message_is_read_back(
        case in prop_oneof![case(), hostile()],
        schema in proptest::sample::select(&Schema::ALL[..]),
        room in 0..20_000_usize,
        id in "[\\PC\n\t\"\\]\\\\]{0,300}",
    ) {
        let mut case = case;
        if id.len() % 2 == 0 {
            case.event.session_id = Some(id.into());
        }
        let notice = case.notice();
        let line = syslog::write(&notice, schema, 13, "host", room);
        let message = read(&line);
        prop_assert_eq!(message.data.keys().collect::<Vec<_>>(), ["custody@32473"]);
        let data = &message.data["custody@32473"];
        let of = |name: &str| data.get(name).map(String::as_str);
        prop_assert_eq!(of("eventId"), Some(&*event_id(&notice)));
        let written = notice.evidence.offset.to_string();
        prop_assert_eq!(of("seq"), Some(written.as_str()));
        let written = place(&notice);
        prop_assert_eq!(of("evidenceRef"), Some(written.as_str()));
        for (name, given) in [("sessionId", said(&notice.event.session_id)), ("requestId", request_id(&notice))] {
            let given: Option<String> = given
                .map(|id| id.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect());
            match (of(name), given) {
                (Some(read), Some(given)) if read.ends_with('…') && given.len() > 256 => {
                    prop_assert!(read.len() <= 256 && given.starts_with(read.trim_end_matches('…')));
                }
                (read, given) => prop_assert_eq!(read, given.as_deref()),
            }
        }
        let header = line.len() - message.text.len();
        prop_assert!(header < 4096, "{}", line);
        prop_assert!(line.len() <= room.max(header + Schema::BYTES_MIN), "{} of {room}", line.len());
        prop_assert!(!line.contains(|letter: char| letter.is_ascii_control() && letter != '\t'), "{:?}", line);
        let text = schema.write(&notice, room.saturating_sub(header));
        prop_assert_eq!(&message.text, &tame(&text));
        if schema.is_json() {
            prop_assert_eq!(parsed(&message.text), parsed(&text));
        }
    }
}
