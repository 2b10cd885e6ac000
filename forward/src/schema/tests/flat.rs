//! CEF and LEEF, read back by parsers that know the formats and nothing of how they were written.

use std::collections::BTreeMap;

use super::*;

/// The seven fields of a CEF header, and the extension.
pub(super) fn cef(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let mut header = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '|' if header.len() == 7 => break,
            '|' => header.push(String::new()),
            '\\' => header.last_mut().unwrap().extend(letters.next()),
            _ => header.last_mut().unwrap().push(letter),
        }
    }
    // An equals sign that is not escaped ends a key; a key follows the last space before it.
    let text: Vec<char> = letters.collect();
    let is_escaped = |at: usize| text[..at].iter().rev().take_while(|letter| **letter == '\\').count() % 2 == 1;
    let signs: Vec<usize> = (0..text.len()).filter(|at| text[*at] == '=' && !is_escaped(*at)).collect();
    let key_begins = |sign: usize| text[..sign].iter().rposition(|letter| *letter == ' ').map_or(0, |space| space + 1);
    let mut extension = BTreeMap::new();
    for (number, sign) in signs.iter().enumerate() {
        let end = signs.get(number + 1).map_or(text.len(), |next| key_begins(*next) - 1);
        let key: String = text[key_begins(*sign)..*sign].iter().collect();
        assert!(key.chars().all(|letter| letter.is_ascii_alphanumeric()), "{key} in {line}");
        let value = unescaped(&text[sign + 1..end]);
        assert!(extension.insert(key.clone(), value).is_none(), "{key} twice in {line}");
    }
    (header, extension)
}

/// The fields of a LEEF header, and the attributes.
pub(super) fn leef(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let mut fields: Vec<&str> = line.splitn(7, '|').collect();
    let attributes = fields.pop().unwrap();
    assert_eq!(fields.pop(), Some("x09"));
    let attributes = attributes.split('\t').map(|attribute| {
        let (key, value) = attribute.split_once('=').unwrap();
        (key.to_owned(), unescaped(&value.chars().collect::<Vec<_>>()))
    });
    (fields.into_iter().map(str::to_owned).collect(), attributes.collect())
}

fn unescaped(text: &[char]) -> String {
    let mut letters = text.iter();
    let mut value = String::new();
    while let Some(letter) = letters.next() {
        value.push(match letter {
            '\\' => match letters.next().expect("an escaped character") {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => *other,
            },
            letter => *letter,
        });
    }
    value
}

/// What a field of so many characters has of a text.
fn fit(text: &str, chars: usize) -> String {
    match text.chars().count() > chars {
        true => text.chars().take(chars - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[test]
fn a_session_as_cef() {
    let expected = "CEF:0|Custody|Custody|VERSION|T2004I|session.end|2|rt=1748854800120 start=1748854771000 end=1748854800000 \
        externalId=teleport/root.example.com/fff30583-1 cat=session.end act=/bin/bash -l outcome=success \
        reason=INC-4711 restore replica suser=alice@example.com duser=root app=ssh src=203.0.113.10 spt=50339 \
        dhost=node-a.internal deviceExternalId=root.example.com deviceFacility=teleport cs1=01973000-aaaa cs1Label=requestId \
        cs2=carol@example.com, dan@example.com cs2Label=approvers cs3=293fda2d-0b6e-4c3a-9d3e-7f1f2f3f4f5f cs3Label=sessionId \
        cs4=CHG-1, INC-4711 cs4Label=tickets cs5=boundary/authz/decision cs5Label=policyPath cs6=audit.events/3/41235/1 \
        cs6Label=evidence cn1=41235 cn1Label=offset cn3=2 cn3Label=revision msg=session.end by alice@example.com for \
        erin@example.com: /bin/bash -l on node-a.internal as root: success, because INC-4711 restore replica";
    assert_eq!(Schema::Cef.write(&full().notice(), UNLIMITED), expected.replace("VERSION", VERSION));
}

#[test]
fn a_session_as_leef() {
    let expected = "LEEF:2.0|Custody|Custody|VERSION|T2004I|x09|devTime=1748854800120^cat=session.end^sev=2^\
        usrName=alice@example.com^accountName=root^role=access, prod-db-admin^src=203.0.113.10^srcPort=50339^\
        resource=node-a.internal^policy=boundary/authz/decision^eventId=teleport/root.example.com/fff30583-1^\
        eventType=session.end^eventCode=T2004I^source=teleport^cluster=root.example.com^action=/bin/bash -l^outcome=success^\
        reason=INC-4711 restore replica^protocol=ssh^sessionId=293fda2d-0b6e-4c3a-9d3e-7f1f2f3f4f5f^requestId=01973000-aaaa^\
        approvers=carol@example.com, dan@example.com^tickets=CHG-1, INC-4711^decisionId=6b3f1f0e-2f0a^\
        correlationId=6b3f1f0e-correlation^offset=41235^evidence=audit.events/3/41235/1^revision=2^msg=session.end by \
        alice@example.com for erin@example.com: /bin/bash -l on node-a.internal as root: success, because INC-4711 restore replica";
    let expected = expected.replace('^', "\t").replace("VERSION", VERSION);
    assert_eq!(Schema::Leef.write(&full().notice(), UNLIMITED), expected);
}

#[test]
fn a_finding_as_cef() {
    let expected = "CEF:0|Custody|Custody|VERSION|R02|Sessions without an approval in force|6|rt=1748854800000 \
        externalId=custody/finding/R02/teleport/293fda2d/2025-06-02T09:00:00Z cat=finding act=open outcome=failure \
        reason=The approval ended 14 minutes before the session began suser=alice@example.com \
        destinationServiceName=teleport/293fda2d deviceFacility=custody cs3=293fda2d cs3Label=sessionId \
        cs6=custody/3/17/1 cs6Label=evidence cn1=17 cn1Label=offset flexString2=R02/teleport/293fda2d \
        flexString2Label=finding deviceCustomDate1=1748854800000 deviceCustomDate1Label=raisedAt msg=finding.open: Sessions \
        without an approval in force on teleport/293fda2d: failure, because The approval ended 14 minutes before the session \
        began";
    assert_eq!(Schema::Cef.write(&corpus::finding().notice(), UNLIMITED), expected.replace("VERSION", VERSION));
}

#[test]
fn a_finding_as_leef() {
    let expected = "LEEF:2.0|Custody|Custody|VERSION|R02|x09|devTime=1748854800000^cat=finding^sev=6^\
        usrName=alice@example.com^resource=teleport/293fda2d^\
        eventId=custody/finding/R02/teleport/293fda2d/2025-06-02T09:00:00Z^eventType=finding.open^source=custody^\
        action=Sessions without an approval in force^outcome=failure^\
        reason=The approval ended 14 minutes before the session began^sessionId=293fda2d^\
        correlationId=R02/teleport/293fda2d^findingId=R02/teleport/293fda2d^findingState=open^raisedAt=1748854800000^\
        offset=17^evidence=custody/3/17/1^msg=finding.open: Sessions without an approval in force on teleport/293fda2d: \
        failure, because The approval ended 14 minutes before the session began";
    let expected = expected.replace('^', "\t").replace("VERSION", VERSION);
    assert_eq!(Schema::Leef.write(&corpus::finding().notice(), UNLIMITED), expected);
}

#[test]
fn what_has_a_meaning_in_cef_is_escaped() {
    let event = Event {
        source_code: Some("a|b\\c\nd=e".into()),
        actor: Some("DOMAIN\\nick".into()),
        action: Some("a=b\r\nsuser=eve | c".into()),
        ..Event::default()
    };
    let line = Schema::Cef.write(&Case::of(event).notice(), UNLIMITED);
    assert!(line.starts_with(&format!(r"CEF:0|Custody|Custody|{VERSION}|a\|b\\c d=e|other|2|rt=")), "{line}");
    assert!(line.contains(r" act=a\=b\r\nsuser\=eve | c suser=DOMAIN\\nick "), "{line}");
    assert!(line.lines().count() == 1);
}

proptest! {
    #![proptest_config(at_least(512))]

    #[test]
    fn cef_is_read_back(case in case()) {
        let notice = case.notice();
        let line = Schema::Cef.write(&notice, UNLIMITED);
        prop_assert!(!line.contains(['\n', '\r']));
        let (header, extension) = cef(&line);
        let event = &notice.event;
        let gist = Gist::of(&notice);
        let finding = gist.finding.as_ref();
        let report = finding.map(|finding| finding.report.as_str()).filter(|report| !report.is_empty());
        let class = report.or(said(&event.source_code)).unwrap_or(&event.source_type);
        let name = finding.and_then(|_| said(&event.action)).unwrap_or(event.kind.as_str());
        let [class, name] = [(class, 1023), (name, 512)].map(|(text, chars)| fit(text, chars).replace(['\n', '\r'], " "));
        prop_assert_eq!(&header[..6], &["CEF:0", PRODUCT, PRODUCT, VERSION, class.as_str(), name.as_str()]);
        prop_assert!((0..=10).contains(&header[6].parse::<i32>().unwrap()));
        let is_machine = matches!(event.target_kind.as_deref(), Some("node" | "desktop"));
        let fields = [
            ("suser", 1023, said(&event.actor).or(finding.and_then(|finding| finding.person.as_deref()))),
            ("duser", 1023, said(&event.login)),
            ("act", 63, finding.map(|finding| finding.state.as_str()).or(said(&event.action))),
            ("flexString2", 1023, finding.map(|finding| finding.uid.as_str())),
            ("app", 31, said(&event.protocol)),
            ("reason", 1023, reason(&notice)),
            ("deviceExternalId", 255, said(&event.cluster)),
            ("cs1", 4000, request_id(&notice)),
            ("cs3", 4000, said(&event.session_id)),
            ("cs5", 4000, said(&event.policy_path)),
            (if is_machine { "dhost" } else { "destinationServiceName" }, 1023, said(&event.target)),
            ("externalId", usize::MAX, Some(&*event_id(&notice))),
        ];
        for (key, chars, value) in fields {
            let value = value.map(|value| fit(value, chars));
            prop_assert_eq!(extension.get(key), value.as_ref(), "{} in {}", key, line);
        }
        for key in extension.keys().filter(|key| key.ends_with("Label")) {
            prop_assert!(extension.contains_key(key.trim_end_matches("Label")));
        }
    }

    #[test]
    fn leef_is_read_back(case in case()) {
        let notice = case.notice();
        let line = Schema::Leef.write(&notice, UNLIMITED);
        prop_assert!(!line.contains(['\n', '\r']));
        let (header, attributes) = leef(&line);
        let event = &notice.event;
        prop_assert_eq!(&header[..4], &["LEEF:2.0", PRODUCT, PRODUCT, VERSION]);
        prop_assert!(!header[4].contains(char::is_control));
        let gist = Gist::of(&notice);
        let finding = gist.finding.as_ref();
        let fields = [
            ("usrName", said(&event.actor).or(finding.and_then(|finding| finding.person.as_deref()))),
            ("findingId", finding.map(|finding| finding.uid.as_str())),
            ("accountName", said(&event.login)),
            ("action", said(&event.action)),
            ("resource", said(&event.target)),
            ("reason", reason(&notice)),
            ("eventCode", said(&event.source_code)),
            ("eventType", Some(event.source_type.as_ref()).filter(|name| !name.is_empty())),
            ("sessionId", said(&event.session_id)),
            ("cluster", said(&event.cluster)),
            ("policy", said(&event.policy_path)),
            ("correlationId", said(&event.correlation_id)),
        ];
        for (key, value) in fields {
            prop_assert_eq!(attributes.get(key).map(String::as_str), value, "{} in {}", key, line);
        }
    }
}
