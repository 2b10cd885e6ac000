//! One JSON object of a message: its fields, borrowed, and what is left of them when the columns are filled.
//!
//! The message is read once. A value stays the text that it was until a column asks for it; what no column took is
//! copied into the event's `detail`.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use custody_schemas::event::Text;
use custody_schemas::record::{DecodeError, ErrorKind};
use custody_schemas::time::{Micros, Parsed, parse_rfc3339};
use foldhash::fast::RandomState;

use super::json::{Invalid, Scanner, Value, plain_len};

/// Bound on the fields of one object: the widest event known has about a hundred.
pub(super) const FIELDS_MAX: usize = 10_000;

/// Bound on the elements of one list.
pub(super) const ELEMENTS_MAX: usize = super::EVENTS_PER_MESSAGE_MAX;

/// Bound on the nesting of a value that is copied into `detail`. Most JSON parsers stop at 128 or earlier.
pub(super) const NESTING_MAX: usize = 100;

/// Room for the fields of nearly every event, so that the list of fields is allocated once.
const FIELDS_USUAL: usize = 40;

/// What a field takes at least in nearly every event, for objects that are too short to have as many.
const FIELD_BYTES_USUAL: usize = 24;

/// A JSON document, read one level deep.
#[derive(Debug)]
pub(super) enum Document<'a> {
    /// An object's fields as they stood.
    Object(Vec<Field<'a>>),
    /// The texts of a list's elements.
    Array(Vec<&'a str>),
    /// An object or a list beyond the bounds.
    TooLarge,
    /// A string, a number, a truth value or null.
    Scalar,
}

impl<'a> Document<'a> {
    /// The document that a text begins with, and the text after it.
    pub(super) fn first(text: &'a str) -> Result<(Self, &'a str), Invalid> {
        let mut scanner = Scanner::new(text);
        match Self::read(&mut scanner) {
            Some(document) => Ok((document, scanner.rest())),
            None => Err(scanner.stopped()),
        }
    }

    /// The document that a text is.
    pub(super) fn parse(text: &'a str) -> Result<Self, Invalid> {
        let mut scanner = Scanner::new(text);
        let document = Self::read(&mut scanner);
        document.filter(|_| scanner.peek().is_none()).ok_or_else(|| scanner.stopped())
    }

    fn read(scanner: &mut Scanner<'a>) -> Option<Self> {
        let mut is_too_large = false;
        let document = match scanner.peek()? {
            b'{' => {
                let usual = FIELDS_USUAL.min(scanner.rest().len() / FIELD_BYTES_USUAL + 1);
                let mut fields = Vec::with_capacity(usual);
                scanner.object(|scanner, name| {
                    let value = scanner.value()?;
                    is_too_large |= fields.len() == FIELDS_MAX;
                    if !is_too_large {
                        let Value { text: value, is_canonical } = value;
                        fields.push(Field { hash: hash(&name), name, value, is_canonical, taken: false });
                    }
                    Some(())
                })?;
                Self::Object(fields)
            }
            b'[' => {
                let mut elements = Vec::new();
                scanner.list(|scanner| {
                    let value = scanner.value()?;
                    is_too_large |= elements.len() == ELEMENTS_MAX;
                    if !is_too_large {
                        elements.push(value.text);
                    }
                    Some(())
                })?;
                Self::Array(elements)
            }
            _ => {
                // The grammar allows numbers and strings that stand for nothing.
                serde_json::from_str::<serde_json::Value>(scanner.value()?.text).ok()?;
                Self::Scalar
            }
        };
        Some(if is_too_large { Self::TooLarge } else { document })
    }
}

/// A field of an object.
#[derive(Debug)]
pub(super) struct Field<'a> {
    /// Hash of the name.
    hash: u32,
    name: Text<'a>,
    /// The JSON text of the value.
    value: &'a str,
    /// Whether that is known to be in canonical form.
    is_canonical: bool,
    /// Whether a column of the event holds it.
    taken: bool,
}

/// Hash of a field's name: cheap for the short names that there are, and different in each process, so that nobody can
/// write names that collide.
fn hash(name: &str) -> u32 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    let mut hasher = STATE.build_hasher();
    hasher.write(name.as_bytes());
    hasher.finish() as u32
}

/// An object of a message, with the object around it if a shipper put one there.
#[derive(Debug)]
pub(super) struct Object<'a> {
    /// In the order of the message; no name twice.
    fields: Vec<Field<'a>>,
    /// Where each field is, by its hash: one more than its place in the list, 0 for none. A power of two long, at least
    /// half empty; a field whose place is taken has the next one that is free.
    index: Vec<u16>,
    outer: Option<&'a Object<'a>>,
}

/// A time as a field gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// Absent, null, empty, or the zero time that stands for "not set".
    Unset,
    /// An instant.
    At(Micros),
    /// Something that is not an instant.
    Invalid,
}

impl Time {
    /// The instant, if it is one.
    pub(super) fn at(self) -> Option<Micros> {
        match self {
            Self::At(at) => Some(at),
            Self::Unset | Self::Invalid => None,
        }
    }
}

impl<'a> Object<'a> {
    /// An object from its fields.
    ///
    /// # Errors
    ///
    /// When two fields have the same name: which of them is the fact cannot be known.
    pub(super) fn new(fields: Vec<Field<'a>>, outer: Option<&'a Object<'a>>) -> Result<Self, DecodeError> {
        let mut object = Self { index: vec![0; (2 * fields.len()).next_power_of_two()], fields, outer };
        for (at, field) in object.fields.iter().enumerate() {
            let (free, found) = object.probe(field.hash, &field.name);
            if found.is_some() {
                return Err(DecodeError::new(ErrorKind::DuplicateKey, "an object names a field twice"));
            }
            // `FIELDS_MAX` fits in 16 bits.
            if let Some(free) = object.index.get_mut(free) {
                *free = at as u16 + 1;
            }
        }
        Ok(object)
    }

    /// Where in the index a field is, or would have to go, and where in the list.
    fn probe(&self, hash: u32, name: &str) -> (usize, Option<usize>) {
        let mask = self.index.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let Some(at) = self.index.get(slot).copied().unwrap_or(0).checked_sub(1) else { return (slot, None) };
            let at = usize::from(at);
            if self.fields.get(at).is_some_and(|field| field.hash == hash && field.name == name) {
                return (slot, Some(at));
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Reads an object from the JSON text of a value.
    pub(super) fn parse(json: &'a str) -> Option<Self> {
        match Document::parse(json).ok()? {
            Document::Object(fields) => Self::new(fields, None).ok(),
            Document::Array(_) | Document::TooLarge | Document::Scalar => None,
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.probe(hash(name), name).1
    }

    /// Names and JSON texts of the fields, in the order of the names.
    pub(super) fn sorted_fields(&self) -> Vec<(&str, &'a str)> {
        let mut fields: Vec<_> = self.fields.iter().map(|field| (field.name.as_ref(), field.value)).collect();
        fields.sort_unstable();
        fields
    }

    /// The JSON text of a field, `null` included.
    pub(super) fn json(&self, name: &str) -> Option<&'a str> {
        self.position(name).and_then(|at| self.fields.get(at)).map(|field| field.value)
    }

    /// Whether there is a field of this name with a value other than null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.json(name).is_some_and(|json| json != "null")
    }

    /// The JSON text at a path of names with dots between them.
    pub(super) fn json_at(&self, path: &str) -> Option<&'a str> {
        match path.split_once('.') {
            None => self.json(path),
            Some((name, rest)) => Object::parse(self.json(name)?)?.json_at(rest),
        }
    }

    /// The text of a field of this object, or else of the ones around it. A name with dots is also tried as a path.
    pub(super) fn find_text(&self, name: &str) -> Option<Text<'a>> {
        let here = self.json(name).or_else(|| self.json_at(name));
        here.and_then(text).or_else(|| self.outer.and_then(|outer| outer.find_text(name)))
    }

    /// Says that a column holds the field.
    pub(super) fn take(&mut self, name: &str) {
        if let Some(field) = self.position(name).and_then(|at| self.fields.get_mut(at)) {
            field.taken = true;
        }
    }

    /// Takes a field as what `read` makes of it; a field of which it makes nothing stays in the detail.
    fn take_as<T>(&mut self, name: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let at = self.position(name)?;
        let field = self.fields.get_mut(at)?;
        if matches!(field.value, "null" | "\"\"") {
            field.taken = true;
            return None;
        }
        let value = read(field.value);
        field.taken |= value.is_some();
        value
    }

    /// Takes a text. An empty one is as good as none; a number is its digits.
    pub(super) fn text(&mut self, name: &str) -> Option<Text<'a>> {
        self.take_as(name, text)
    }

    /// Takes a list of texts, without the empty ones.
    pub(super) fn texts(&mut self, name: &str) -> Vec<Text<'a>> {
        self.take_as(name, texts).unwrap_or_default()
    }

    /// Takes a truth value.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.take_as(name, |json| match json {
            "true" | "\"true\"" => Some(true),
            "false" | "\"false\"" => Some(false),
            _ => None,
        })
    }

    /// Takes a time.
    pub(super) fn time(&mut self, name: &str) -> Time {
        let time = self.json(name).map_or(Time::Unset, time);
        if time != Time::Invalid {
            self.take(name);
        }
        time
    }

    /// Takes every field that says nothing: null, an empty text, list or object, the zero time. Senders differ in
    /// which of these they write and which they leave out.
    pub(super) fn take_unsaid(&mut self) {
        for field in &mut self.fields {
            let json = field.value;
            let inside = |open, close| json.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
            let is_empty =
                inside('[', ']').or_else(|| inside('{', '}')).is_some_and(|text| text.trim_ascii().is_empty());
            // Most values are other texts and numbers: they are not to be read as times.
            let may_be_unset = matches!(json, "null" | "\"\"") || json.starts_with("\"0001-01-01T");
            field.taken |= is_empty || (may_be_unset && time(json) == Time::Unset);
        }
    }

    /// Every field that no column took, as one JSON object in canonical form.
    ///
    /// # Errors
    ///
    /// When a value is nested beyond [`NESTING_MAX`].
    pub(super) fn detail(&self) -> Result<String, DecodeError> {
        self.detail_of(|_| true)
    }

    /// As [`detail`](Self::detail), of the fields that `is_wanted` names.
    ///
    /// # Errors
    ///
    /// When a value is nested beyond [`NESTING_MAX`].
    pub(super) fn detail_of(&self, is_wanted: impl Fn(&str) -> bool) -> Result<String, DecodeError> {
        let mut left: Vec<&Field<'_>> =
            self.fields.iter().filter(|field| !field.taken && is_wanted(&field.name)).collect();
        left.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let size: usize = left.iter().map(|field| field.name.len() + field.value.len() + 4).sum();
        let mut out = String::with_capacity(size + 2);
        out.push('{');
        for field in left {
            if out.len() > 1 {
                out.push(',');
            }
            match &field.name {
                // A name without escapes is written as it was.
                Cow::Borrowed(name) => {
                    out.push('"');
                    out.push_str(name);
                    out.push('"');
                }
                Cow::Owned(name) => out.push_str(&serde_json::Value::from(name.as_str()).to_string()),
            }
            out.push(':');
            // Gateways print the names of maps in order, and no whitespace.
            if field.is_canonical {
                out.push_str(field.value);
            } else {
                canonical(field.value, &mut out)?;
            }
        }
        out.push('}');
        Ok(out)
    }
}

/// The text of a JSON string; `None` for anything else.
pub(super) fn string(json: &str) -> Option<Text<'_>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// The text of a JSON string that is not empty, or the digits of a number.
pub(super) fn text(json: &str) -> Option<Text<'_>> {
    match json.as_bytes().first()? {
        b'0'..=b'9' | b'-' => Some(Cow::Borrowed(json)),
        _ => string(json).filter(|text| !text.is_empty()),
    }
}

/// The texts of a JSON list that are not empty; `None` when it holds anything but texts and nulls.
pub(super) fn texts(json: &str) -> Option<Vec<Text<'_>>> {
    if matches!(json, "[]" | "[\"\"]") {
        return Some(Vec::new());
    }
    let (mut texts, mut room) = (Vec::new(), ELEMENTS_MAX);
    Scanner::new(json).list(|scanner| {
        room = room.checked_sub(1)?;
        let element = scanner.value()?.text;
        if !matches!(element, "null" | "\"\"") {
            texts.push(text(element)?);
        }
        Some(())
    })?;
    Some(texts)
}

/// The time that a JSON value stands for.
pub(super) fn time(json: &str) -> Time {
    if matches!(json, "null" | "\"\"") {
        return Time::Unset;
    }
    match string(json).as_deref().and_then(parse_rfc3339) {
        Some(Parsed::At(at)) => Time::At(at),
        Some(Parsed::Zero) => Time::Unset,
        None => Time::Invalid,
    }
}

/// The whole number that a JSON number, or a JSON string of one, stands for. Integers pass through floating point on
/// their way from some senders: `7.0` and `7e0` are 7.
pub(super) fn int(json: &str) -> Option<i64> {
    let digits = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
    if let Ok(number) = digits.parse() {
        return Some(number);
    }
    let number: f64 = digits.parse().ok()?;
    // Up to 2^53 every whole number is itself in floating point.
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

/// Appends a JSON value without whitespace and with the names of every object in order. Strings and numbers are copied
/// as they were written, but for what the grammar allows and parsers refuse: see [`push_scalar`].
pub(super) fn canonical(json: &str, out: &mut String) -> Result<(), DecodeError> {
    if json.starts_with(['{', '[']) {
        return Copier { rest: json, out }.value(1);
    }
    push_scalar(json, out);
    Ok(())
}

/// Appends a scalar. Half of a surrogate pair becomes U+FFFD, and a number beyond every floating point number a string:
/// one such value must not make a whole detail unreadable.
fn push_scalar(json: &str, out: &mut String) {
    match json.as_bytes().first() {
        Some(b'"') if json.contains('\\') && json.contains("\\u") && string(json).is_none() => {
            out.push_str(&without_halves(json))
        }
        Some(b'-' | b'0'..=b'9')
            if (json.len() > 300 || json.contains(['e', 'E'])) && json.parse().is_ok_and(f64::is_infinite) =>
        {
            out.extend(["\"", json, "\""]);
        }
        _ => out.push_str(json),
    }
}

/// A JSON string in which U+FFFD stands for every half of a surrogate pair without its other half.
fn without_halves(json: &str) -> String {
    let unit = |rest: &str| rest.strip_prefix("\\u")?.get(..4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, escape)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        let len = match unit(escape) {
            Some(0xd800..=0xdbff) if matches!(escape.get(6..).and_then(unit), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                out.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            Some(_) => 6,
            None => 2,
        };
        let (escape, after) = escape.split_at_checked(len).unwrap_or((escape, ""));
        out.push_str(escape);
        rest = after;
    }
    out + rest
}

/// Copies JSON that is known to be valid. Of anything else it makes something else, but it ends.
struct Copier<'a, 'o> {
    rest: &'a str,
    out: &'o mut String,
}

impl Copier<'_, '_> {
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.as_bytes().first().copied()
    }

    fn copy(&mut self, bytes: usize) {
        if let Some((token, rest)) = self.rest.split_at_checked(bytes) {
            push_scalar(token, self.out);
            self.rest = rest;
        } else {
            self.rest = "";
        }
    }

    fn skip(&mut self) {
        let mut rest = self.rest.chars();
        rest.next();
        self.rest = rest.as_str();
    }

    fn value(&mut self, depth: usize) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'{' | b'[') if depth > NESTING_MAX => {
                Err(DecodeError::new(ErrorKind::TooLarge, format!("a value is nested deeper than {NESTING_MAX}")))
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                self.copy(string_len(self.rest));
                Ok(())
            }
            Some(_) => {
                let end = self
                    .rest
                    .bytes()
                    .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t'));
                // At least one byte, so that even a stray delimiter is passed.
                self.copy(end.unwrap_or(self.rest.len()).max(1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), DecodeError> {
        self.skip();
        self.out.push('[');
        let mut first = true;
        loop {
            match self.peek() {
                None => break,
                Some(b']') => {
                    self.skip();
                    break;
                }
                Some(b',') => self.skip(),
                Some(_) => {
                    if !first {
                        self.out.push(',');
                    }
                    first = false;
                    self.value(depth + 1)?;
                }
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), DecodeError> {
        self.skip();
        self.out.push('{');
        let base = self.out.len();
        // Of each member: where it begins, where its name ends and where it ends, counted from `base`.
        let mut members: Vec<(usize, usize, usize)> = Vec::new();
        loop {
            match self.peek() {
                None => break,
                Some(b'}') => {
                    self.skip();
                    break;
                }
                Some(b',') => self.skip(),
                Some(_) => {
                    if members.len() == FIELDS_MAX {
                        let detail = format!("a nested object has more than {FIELDS_MAX} fields");
                        return Err(DecodeError::new(ErrorKind::TooLarge, detail));
                    }
                    if !members.is_empty() {
                        self.out.push(',');
                    }
                    let begin = self.out.len() - base;
                    self.copy(string_len(self.rest).max(1));
                    let name_end = self.out.len() - base;
                    if self.peek() == Some(b':') {
                        self.skip();
                    }
                    self.out.push(':');
                    self.value(depth + 1)?;
                    members.push((begin, name_end, self.out.len() - base));
                }
            }
        }
        self.sort(base, members);
        self.out.push('}');
        Ok(())
    }

    /// Puts the members that were written from `base` on into the order of their names.
    fn sort(&mut self, base: usize, mut members: Vec<(usize, usize, usize)>) {
        let written = self.out.get(base..).unwrap_or_default();
        // Without the quotes, which would order between characters.
        let name = |&(begin, end, _): &(usize, usize, usize)| written.get(begin + 1..end - 1).unwrap_or_default();
        if members.is_sorted_by_key(name) {
            return;
        }
        members.sort_by_key(name);
        let sorted: Vec<&str> =
            members.iter().map(|&(begin, _, end)| written.get(begin..end).unwrap_or_default()).collect();
        let sorted = sorted.join(",");
        self.out.truncate(base);
        self.out.push_str(&sorted);
    }
}

/// Length in bytes of the JSON string that a text begins with, quotes included.
fn string_len(text: &str) -> usize {
    let mut at = 1;
    while let Some(rest) = text.as_bytes().get(at..) {
        at += plain_len(rest);
        match text.as_bytes().get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn canonical_of(json: &str) -> Result<String, ErrorKind> {
        let mut out = String::new();
        canonical(json, &mut out).map_err(|error| error.kind)?;
        Ok(out)
    }

    #[test]
    fn canonical_json_has_sorted_names_and_no_whitespace() {
        let cases = [
            ("scalar", "1e2", "1e2"),
            ("string", r#""a \" b""#, r#""a \" b""#),
            ("empty", "{ }", "{}"),
            (
                "order",
                r#"{ "b" : 1 , "a" : [ 1 , { "d" : null , "c" : "x, y" } ] }"#,
                r#"{"a":[1,{"c":"x, y","d":null}],"b":1}"#,
            ),
            ("name with quote", r#"{"\"":1,"!":2}"#, r#"{"!":2,"\"":1}"#),
            ("lists keep their order", "[ 3 , 1 ,\n2 ]", "[3,1,2]"),
            (
                "half a pair",
                r#"["\ud83d","\ude00\ud83d\ude00","\\ud83d","\ud83d\n"]"#,
                r#"["\ufffd","\ufffd\ud83d\ude00","\\ud83d","\ufffd\n"]"#,
            ),
            ("beyond every number", "[1e999,-1E400,1e-999,1e9]", r#"["1e999","-1E400",1e-999,1e9]"#),
            ("nested empties", r#"[[],{},[{}]]"#, r#"[[],{},[{}]]"#),
        ];
        for (name, json, expected) in cases {
            assert_eq!(canonical_of(json).as_deref(), Ok(expected), "{name}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(canonical_of(&nested(NESTING_MAX)).is_ok());
        assert_eq!(canonical_of(&nested(NESTING_MAX + 1)), Err(ErrorKind::TooLarge));
        let bomb = format!(r#"{{"a":{}}}"#, nested(1_000_000));
        assert_eq!(Object::parse(&bomb).unwrap().detail().unwrap_err().kind, ErrorKind::TooLarge);
    }

    #[test]
    fn width_is_bounded() {
        let fields = |count: usize| (0..count).map(|n| format!(r#""{n}":0"#)).collect::<Vec<_>>().join(",");
        assert!(Object::parse(&format!("{{{}}}", fields(FIELDS_MAX))).is_some());
        assert!(Object::parse(&format!("{{{}}}", fields(FIELDS_MAX + 1))).is_none());
        assert_eq!(canonical_of(&format!("{{{}}}", fields(FIELDS_MAX + 1))), Err(ErrorKind::TooLarge));
    }

    #[test]
    fn columns_take_and_the_detail_keeps_the_rest() {
        let json = r#"{"user":"a","n":7,"empty":"","null":null,"list":["x","",null,3],"odd":{"b":1,"a":2},
            "quote\"d":"q","yes":"true","mixed":[{}],"t":"2025-06-02T09:00:00Z","zero":"0001-01-01T00:00:00Z",
            "bad":5}"#;
        let mut object = Object::parse(json).unwrap();
        assert_eq!(object.text("user").as_deref(), Some("a"));
        assert_eq!(object.text("n").as_deref(), Some("7"));
        assert_eq!(object.text("empty"), None);
        assert_eq!(object.text("null"), None);
        assert_eq!(object.text("odd"), None, "an object is not a text");
        assert_eq!(object.text("absent"), None);
        assert_eq!(object.texts("list"), ["x", "3"]);
        assert_eq!(object.texts("mixed"), [""; 0]);
        assert_eq!(object.flag("yes"), Some(true));
        assert_eq!(object.time("t"), Time::At(1_748_854_800_000_000));
        assert_eq!(object.time("zero"), Time::Unset);
        assert_eq!(object.time("absent"), Time::Unset);
        assert_eq!(object.time("bad"), Time::Invalid);
        assert_eq!(object.detail().unwrap(), r#"{"bad":5,"mixed":[{}],"odd":{"a":2,"b":1},"quote\"d":"q"}"#);
    }

    #[test]
    fn whole_numbers_are_read_leniently() {
        let cases = [
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("\"7\"", Some(7)),
            ("7.0", Some(7)),
            ("2.147483647e9", Some(2_147_483_647)),
            ("7.5", None),
            ("1e300", None),
            ("\"\"", None),
            ("\"nan\"", None),
            ("true", None),
        ];
        for (json, expected) in cases {
            assert_eq!(int(json), expected, "{json}");
        }
    }

    #[test]
    fn a_name_twice_is_refused_even_in_another_spelling() {
        assert!(Object::parse(r#"{"a":1,"b":2}"#).is_some());
        assert!(Object::parse(r#"{"a":1,"b":2,"a":1}"#).is_none());
        assert!(Object::parse(r#"{"a":1,"\u0061":1}"#).is_none());
    }

    #[test]
    fn fields_are_found_in_the_objects_around() {
        let outer = Object::parse(r#"{"url":{"path":"/x"},"key":"outer"}"#).unwrap();
        let Document::Object(fields) = Document::parse(r#"{"key":"inner"}"#).unwrap() else { panic!() };
        let inner = Object::new(fields, Some(&outer)).unwrap();
        assert_eq!(inner.find_text("key").as_deref(), Some("inner"));
        assert_eq!(inner.find_text("url.path").as_deref(), Some("/x"));
        assert_eq!(inner.find_text("path"), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(".{0,6}", inner, 0..6).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_detail_can_be_read_again(
            strings in prop::collection::vec(r"(\\u[dD][89abcdefCF][0-9a-f]{2}|\\u0041|\\n|\\\\|u|d){0,8}", 1..4),
            number in "-?[1-9]{1,4}(\\.[0-9])?[eE][+-]?[0-9]{1,4}",
        ) {
            let name = &strings[0];
            let list = strings.join("\",\"");
            let json = format!(r#"{{"a":["{list}"],"b":{{"{name}":{number}}},"c":{number}}}"#);
            let detail = Object::parse(&json).unwrap().detail().unwrap();
            prop_assert!(serde_json::from_str::<Value>(&detail).is_ok(), "{} became {}", json, detail);
        }

        #[test]
        fn canonical_json_means_the_same_and_stays_as_it_is(value in any_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let once = canonical_of(&pretty).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(&once).unwrap(), &value);
            prop_assert_eq!(canonical_of(&once).unwrap(), once);
        }

        #[test]
        fn the_copier_ends_on_any_text(text in ".{0,200}", brackets in r#"[\[\]{}",: \\a]{0,60}"#) {
            let _ = canonical_of(&text);
            let _ = canonical_of(&format!("[{brackets}"));
            let _ = canonical_of(&format!("{{{brackets}"));
        }
    }
}
