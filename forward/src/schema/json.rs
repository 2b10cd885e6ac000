//! JSON text, written straight from what is borrowed: no tree in between.

use custody_schemas::time::{self, Micros};

/// The members of a JSON object, written in the order in which they are given.
///
/// What says nothing is left out: a text or list that is empty, a value that is `None`, an object without members. The
/// text has no line break, whatever it is made from.
pub(super) struct Json {
    out: String,
}

impl Json {
    /// The object whose members `write` gives.
    pub(super) fn object(write: impl FnOnce(&mut Self)) -> String {
        // Most events fit.
        let mut json = Self { out: String::with_capacity(3072) };
        json.out.push('{');
        write(&mut json);
        json.out.push('}');
        json.out
    }

    fn key(&mut self, name: &str) {
        if !self.out.ends_with(['{', '[']) {
            self.out.push(',');
        }
        push_text(&mut self.out, name);
        self.out.push(':');
    }

    /// A text.
    pub(super) fn text<'t>(&mut self, name: &str, value: impl Into<Option<&'t str>>) {
        if let Some(value) = value.into().filter(|value| !value.is_empty()) {
            self.key(name);
            push_text(&mut self.out, value);
        }
    }

    /// A whole number.
    pub(super) fn int(&mut self, name: &str, value: impl Into<Option<i64>>) {
        if let Some(value) = value.into() {
            self.key(name);
            self.out.push_str(&value.to_string());
        }
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, name: &str, value: impl Into<Option<bool>>) {
        if let Some(value) = value.into() {
            self.key(name);
            self.out.push_str(if value { "true" } else { "false" });
        }
    }

    /// An instant as RFC 3339, UTC, with microseconds.
    pub(super) fn time(&mut self, name: &str, at: impl Into<Option<Micros>>) {
        if let Some(at) = at.into() {
            self.text(name, time::to_rfc3339(at).as_str());
        }
    }

    /// A list of texts, without those that are empty.
    pub(super) fn texts<'t>(&mut self, name: &str, values: impl IntoIterator<Item = &'t str>) {
        let before = self.out.len();
        self.key(name);
        let begin = self.out.len();
        for value in values.into_iter().filter(|value| !value.is_empty()) {
            self.out.push(if self.out.len() == begin { '[' } else { ',' });
            push_text(&mut self.out, value);
        }
        match self.out.len() == begin {
            true => self.out.truncate(before),
            false => self.out.push(']'),
        }
    }

    /// A value that is JSON already. Line breaks in it stand between its tokens, and become spaces.
    pub(super) fn json(&mut self, name: &str, value: &str) {
        self.key(name);
        let breaks = |letter: char| if matches!(letter, '\n' | '\r') { ' ' } else { letter };
        match value.contains(['\n', '\r']) {
            true => self.out.extend(value.chars().map(breaks)),
            false => self.out.push_str(value),
        }
    }

    /// An object.
    pub(super) fn inside(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        let before = self.out.len();
        self.key(name);
        let begin = self.out.len();
        self.out.push('{');
        write(self);
        match self.out.len() == begin + 1 {
            true => self.out.truncate(before),
            false => self.out.push('}'),
        }
    }

    /// A list of objects, one for each item.
    pub(super) fn each<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return;
        }
        self.key(name);
        self.out.push('[');
        for item in items {
            if !self.out.ends_with('[') {
                self.out.push(',');
            }
            self.out.push('{');
            write(self, item);
            self.out.push('}');
        }
        self.out.push(']');
    }
}

/// A text as a JSON string.
fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| matches!(letter, '"' | '\\' | '\0'..='\x1f')) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut letters = special.chars();
        match letters.next() {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(letter @ ('"' | '\\')) => out.extend(['\\', letter]),
            Some(letter) => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            None => {}
        }
        rest = letters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        let text = Json::object(|json| {
            json.text("empty", "");
            json.text("none", None);
            json.texts("texts", ["", ""]);
            json.inside("object", |json| json.inside("deeper", |json| json.int("none", None)));
            json.each("objects", [(); 0], |_, ()| {});
        });
        assert_eq!(text, "{}");
    }

    #[test]
    fn members_stand_in_their_order() {
        let text = Json::object(|json| {
            json.int("a", -1);
            json.inside("b", |json| {
                json.text("none", None);
                json.flag("c", true);
            });
            json.texts("d", ["x", "", "y"]);
            json.each("e", [1, 2], |json, item| json.int("f", item));
            json.json("g", "{\"h\":\r\n1}");
            json.time("i", 0);
        });
        let expected = r#"{"a":-1,"b":{"c":true},"d":["x","y"],"e":[{"f":1},{"f":2}],"g":{"h":  1},"i":"1970-01-01T00:00:00.000000Z"}"#;
        assert_eq!(text, expected);
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_and_is_one_line(name in "\\PC*", value in any::<String>(), list in any::<Vec<String>>()) {
            let text = Json::object(|json| {
                json.text(&name, value.as_str());
                json.inside("inside", |json| json.texts("list", list.iter().map(String::as_str)));
            });
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert!(!text.contains(['\n', '\r']), "{text}");
            if !value.is_empty() && name != "inside" {
                prop_assert_eq!(&read[&name], &json!(value));
            }
            let said: Vec<&String> = list.iter().filter(|text| !text.is_empty()).collect();
            if !said.is_empty() && name != "inside" {
                prop_assert_eq!(&read["inside"]["list"], &json!(said));
            }
        }
    }
}
