//! The id of a session that a message names beside its events: in a header, in the key, in what a shipper added.

use custody_schemas::event::Text;
use custody_schemas::record::Message;

use super::object::Object;
use super::{SessionIdFrom, Source};

/// Bound on the length of a session's id where it is found by its looks.
const ID_LEN_MAX: usize = 128;

impl Source {
    /// The session that the message's routing names, by the source's list of places.
    ///
    /// A place that names it as gateways do (`session.<id>.log`) is believed before one that holds a bare word, since
    /// keys and tags are often the same for every message; in keys and fields a bare word must have a digit.
    pub(super) fn session_id<'a>(&self, message: &Message<'a>, object: &Object<'a>) -> Option<Text<'a>> {
        self.session_id.iter().find_map(|place| id_in_log_name(place.text(message, Some(object))?)).or_else(|| {
            self.session_id.iter().find_map(|place| {
                let id = place.text(message, Some(object)).filter(|text| is_id(text))?;
                let is_named = matches!(place, SessionIdFrom::Header(_));
                (is_named || id.bytes().any(|byte| byte.is_ascii_digit())).then_some(id)
            })
        })
    }

    /// The session that the message's header or key names, where the contract says that it does.
    pub(super) fn session_id_of_message<'a>(&self, message: &Message<'a>) -> Option<Text<'a>> {
        self.session_id.iter().find_map(|place| place.text(message, None).filter(|text| is_id(text)))
    }
}

impl SessionIdFrom {
    fn text<'a>(&self, message: &Message<'a>, object: Option<&Object<'a>>) -> Option<Text<'a>> {
        let utf8 = |bytes| std::str::from_utf8(bytes).ok().map(Text::Borrowed);
        match self {
            Self::Header(name) => message.header(name).and_then(utf8),
            Self::Key => message.key.and_then(utf8),
            Self::Field(name) => object?.find_text(name),
        }
    }
}

fn is_id(text: &str) -> bool {
    (1..=ID_LEN_MAX).contains(&text.len()) && text.bytes().all(is_id_byte)
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The id in the first `session.<id>.log` of a path, a tag or a URL.
fn id_in_log_name(text: Text<'_>) -> Option<Text<'_>> {
    let ids = |text: &str| {
        text.match_indices("session.").find_map(|(at, prefix)| {
            let from = at + prefix.len();
            let rest = text.get(from..)?;
            let len = rest.bytes().position(|byte| !is_id_byte(byte))?;
            let id = rest.get(..len).filter(|id| is_id(id))?;
            rest.get(len..)?.starts_with(".log").then_some(from..from + id.len())
        })
    };
    let range = ids(&text)?;
    match text {
        Text::Borrowed(text) => text.get(range).map(Text::Borrowed),
        Text::Owned(text) => text.get(range).map(|id| Text::Owned(id.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use custody_schemas::record::Origin;

    use super::*;
    use crate::source::SourceKind;

    #[test]
    fn ids_are_found_in_the_names_of_session_logs() {
        let uuid = "293fda2d-0000-4000-8000-000000000000";
        let long = "a".repeat(ID_LEN_MAX + 1);
        let cases = [
            (format!("/session.{uuid}.log"), Some(uuid)),
            (format!("session.{uuid}.log"), Some(uuid)),
            (format!("https://collector:8888/session.{uuid}.log?x=1"), Some(uuid)),
            ("/session.my_own-id.log".to_owned(), Some("my_own-id")),
            ("/session.session.x1.log".to_owned(), Some("x1")),
            ("/session.log".to_owned(), None),
            ("/session..log".to_owned(), None),
            ("/session.x1.txt".to_owned(), None),
            ("/session.x1".to_owned(), None),
            ("/session.../etc.log".to_owned(), None),
            (format!("/session.{long}.log"), None),
            (String::new(), None),
        ];
        for (text, expected) in &cases {
            assert_eq!(id_in_log_name(Text::Borrowed(text)).as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn places_are_asked_in_order_and_constants_are_not_ids() {
        type Case<'a> = (&'a str, Option<&'a str>, Option<&'a str>, &'a str, Option<&'a str>);
        let cases: [Case<'_>; 9] = [
            ("nothing", None, None, "{}", None),
            ("header", Some("abc"), Some("k1"), "{}", Some("abc")),
            ("key", None, Some("k1"), "{}", Some("k1")),
            ("constant key", None, Some("teleport"), "{}", None),
            ("constant key and path", None, Some("node-1"), r#"{"path":"/session.s1.log"}"#, Some("s1")),
            ("key as a log name", None, Some("session.s1.log"), r#"{"path":"/x"}"#, Some("s1")),
            ("bare field", None, None, r#"{"tag":"s1"}"#, Some("s1")),
            ("constant tag", None, None, r#"{"tag":"teleport"}"#, None),
            ("nested field", None, None, r#"{"url":{"path":"/session.s1.log"}}"#, Some("s1")),
        ];
        let source = Source::new(SourceKind::Teleport);
        for (name, header, key, json, expected) in cases {
            let headers = [("Session_Id", header.map(str::as_bytes))];
            let message = Message {
                origin: Origin { topic: "t", partition: 0, offset: 0 },
                broker_at: None,
                key: key.map(str::as_bytes),
                headers: &headers,
                value: None,
            };
            let object = Object::parse(json).unwrap();
            assert_eq!(source.session_id(&message, &object).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn only_imports_say_which_part_of_a_format_a_record_is() {
        let headers = [(crate::source::FORM_HEADER, Some(&b"bsr-chunks"[..]))];
        for (topic, form) in [("boundary.events", None), ("import/ab", Some(&b"bsr-chunks"[..])), ("import", None)] {
            let origin = Origin { topic, partition: 0, offset: 0 };
            let message = Message { origin, broker_at: None, key: None, headers: &headers, value: None };
            assert_eq!(crate::source::form(&message), form, "{topic}");
        }
    }

    #[test]
    fn a_contract_may_put_any_id_into_the_key() {
        let message = Message {
            origin: Origin { topic: "t", partition: 0, offset: 0 },
            broker_at: None,
            key: Some(b"jump-host"),
            headers: &[],
            value: None,
        };
        let source = Source::new(SourceKind::Asciicast);
        assert_eq!(source.session_id_of_message(&message).as_deref(), Some("jump-host"));
        let message = Message { key: Some(b"../etc"), ..message };
        assert_eq!(source.session_id_of_message(&message), None);
    }
}
