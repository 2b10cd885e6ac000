//! JSON texts, read once and strictly (RFC 8259): every value is found and checked as text, and nothing is built of it.
//!
//! Libraries either check what they pass over slowly, or not at all, or by recursion that a hostile message drives as
//! deep as it likes. And none tells what is wanted to know of every value: whether it is in canonical form already.

use std::borrow::Cow;

use custody_schemas::event::Text;

use super::object::{FIELDS_MAX, NESTING_MAX};

/// A value as it stands in its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) text: &'a str,
    /// Whether the text is known to be in [canonical form](super::object::canonical).
    pub(super) is_canonical: bool,
}

/// Where a text stops being JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invalid {
    /// Counted from 1.
    pub(super) line: usize,
    /// In bytes, counted from 1.
    pub(super) column: usize,
    /// Whether it is JSON up to its end, and is cut off there.
    pub(super) is_cut_off: bool,
}

/// Reads a text from its beginning to its end. What is not JSON is `None`, and the reader stays where it was seen.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// The brackets around this place in the present value, as they opened: a byte for each, since there may be as many
    /// as the text is long.
    open: Vec<u8>,
    /// The last name in each of the outer brackets, empty in lists.
    names: Vec<&'a str>,
    is_canonical: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, open: Vec::new(), names: Vec::new(), is_canonical: true }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Where reading has stopped.
    pub(super) fn stopped(&self) -> Invalid {
        let end = self.text.len().min(self.at + 1);
        let read = self.text.as_bytes().get(..end).unwrap_or_default();
        let line_start = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Invalid {
            line: 1 + read.iter().filter(|byte| **byte == b'\n').count(),
            column: end - line_start,
            is_cut_off: self.at >= self.text.len(),
        }
    }

    /// Passes whitespace; the byte after it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.is_canonical = false;
            self.at += 1;
        }
    }

    /// Reads an object: `member` reads the value of each name. A name that no text can be (half of a surrogate pair) is
    /// not JSON.
    pub(super) fn object(&mut self, mut member: impl FnMut(&mut Self, Text<'a>) -> Option<()>) -> Option<()> {
        self.sequence(b'{', |scanner| {
            scanner.peek();
            let quoted = scanner.at;
            let (name, is_escaped) = scanner.string()?;
            let name = if is_escaped {
                let quoted = scanner.text.get(quoted..scanner.at)?;
                Cow::Owned(serde_json::from_str(quoted).ok()?)
            } else {
                Cow::Borrowed(name)
            };
            scanner.pass(b':')?;
            member(scanner, name)
        })
    }

    /// Reads a list: `element` reads each value.
    pub(super) fn list(&mut self, element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.sequence(b'[', element)
    }

    fn sequence(&mut self, bracket: u8, mut part: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.pass(bracket)?;
        if self.pass(closing(bracket)).is_some() {
            return Some(());
        }
        loop {
            part(self)?;
            if self.pass(closing(bracket)).is_some() {
                return Some(());
            }
            self.pass(b',')?;
        }
    }

    /// Reads a value, however deep, without recursion.
    pub(super) fn value(&mut self) -> Option<Value<'a>> {
        self.peek();
        let start = self.at;
        self.is_canonical = true;
        self.open.clear();
        self.names.clear();
        self.nested()?;
        let text = self.text.get(start..self.at)?;
        // Members are of five bytes at least: a short text cannot have too many for the canonical form.
        Some(Value { text, is_canonical: self.is_canonical && text.len() < 5 * FIELDS_MAX })
    }

    fn nested(&mut self) -> Option<()> {
        loop {
            match self.peek()? {
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    if self.pass(closing(bracket)).is_none() {
                        self.open.push(bracket);
                        // Deeper than this is too deep as soon as there is another bracket.
                        if self.open.len() < NESTING_MAX {
                            self.names.push("");
                        } else {
                            self.is_canonical = false;
                        }
                        if bracket == b'{' {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b'"' => drop(self.string()?),
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.number()?,
            }
            // A value has ended, and with it perhaps those around it.
            loop {
                let Some(&bracket) = self.open.last() else { return Some(()) };
                if self.pass(b',').is_some() {
                    if bracket == b'{' {
                        self.name()?;
                    }
                    break;
                }
                self.pass(closing(bracket))?;
                self.open.pop();
                self.names.truncate(self.open.len());
            }
        }
    }

    /// Reads the name of a member inside a value, and the colon.
    fn name(&mut self) -> Option<()> {
        self.peek();
        let (name, _) = self.string()?;
        if let Some(last) = self.names.get_mut(self.open.len() - 1) {
            // Byte by byte: most names differ in the first, and the library's comparison is slow on empty texts.
            self.is_canonical = self.is_canonical && last.bytes().le(name.bytes());
            *last = name;
        }
        self.pass(b':')
    }

    /// Reads a string: the text between its quotes, and whether there are escapes in it.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        self.byte().filter(|byte| *byte == b'"')?;
        self.at += 1;
        let start = self.at;
        let mut is_escaped = false;
        loop {
            self.at += plain_len(self.text.as_bytes().get(self.at..)?);
            match self.byte()? {
                b'"' => {
                    let inner = self.text.get(start..self.at)?;
                    self.at += 1;
                    return Some((inner, is_escaped));
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                    is_escaped = true;
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                let start = self.at;
                for _ in 0..4 {
                    self.byte().filter(u8::is_ascii_hexdigit)?;
                    self.at += 1;
                }
                let unit = self.text.get(start..self.at).and_then(|hex| u16::from_str_radix(hex, 16).ok())?;
                // Half of a pair may be without its other half.
                self.is_canonical &= !matches!(unit, 0xd800..=0xdfff);
            }
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
            // May be beyond every floating point number, as may be one of many digits.
            self.is_canonical = false;
        }
        self.is_canonical &= self.at - start <= 300;
        Some(())
    }

    /// Reads digits, at least one.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        for byte in word.bytes() {
            self.byte().filter(|have| *have == byte)?;
            self.at += 1;
        }
        Some(())
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes whitespace and a byte, if that is what comes next.
    fn pass(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }
}

/// The bracket that closes one: it comes two after it in ASCII.
fn closing(bracket: u8) -> u8 {
    bracket + 2
}

/// How many bytes a string goes on until a quote, a backslash or a control character; eight at a time.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let (chunks, rest) = bytes.as_chunks();
    for (before, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // Subtracting from each byte sets the highest bit of those that are less. It borrows from the bytes after one
        // that is, so only the first counts.
        let is_control = word.wrapping_sub(ONES * 0x20);
        let is = |byte: u64| (word ^ (ONES * byte)).wrapping_sub(ONES);
        let found = (is_control | is(0x22) | is(0x5c)) & !word & HIGH;
        if found != 0 {
            return before * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &u8| !matches!(byte, 0..0x20 | b'"' | b'\\');
    chunks.len() * 8 + rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Tree;
    use serde_json::value::RawValue;

    use super::super::object::canonical;
    use super::*;

    /// The value that a text begins with.
    fn value(text: &str) -> Option<&str> {
        let value = Scanner::new(text).value()?;
        if value.is_canonical {
            let mut out = String::new();
            canonical(value.text, &mut out).unwrap();
            assert_eq!(out, value.text, "is said to be canonical");
        }
        Some(value.text)
    }

    /// The same by the library.
    fn by_library(text: &str) -> Option<&str> {
        serde_json::Deserializer::from_str(text).into_iter::<&RawValue>().next()?.ok().map(RawValue::get)
    }

    fn check(text: &str) {
        // The library wants a delimiter after a number or a word; in a list there is one.
        let list = format!("[{text}]");
        assert_eq!(value(&list), by_library(&list), "{list}");
    }

    #[test]
    fn the_grammar_is_kept() {
        let texts = "1 -1 0 -0 01 -01 - + 1. .1 1.5 1e5 1E+5 1e 1e+ 1.e1 1.0e-10 0x1 NaN null nul nulll true tru false \
            False \"\" \" \"\\\" \"\\n\" \"\\x\" \"\\u12\" \"\\u12G4\" \"\\ud800\" \"\\uD83D\\uDE00\" \"\u{7f}\u{e9}\" 'a' [] [ ] [,] \
            [1,] [1,2] [1,,2] [1;2] [1 {} {,} {\"a\"} {\"a\":} {\"a\":1} {\"a\":1,} {\"a\":1\"b\":2} {a:1} {\"a\":1,\"a\":2} \
            {\"a\":[{\"b\":[{}]}]} [} {] }} ]] [[[]]] 1,2 \u{feff}1 \u{a0}1";
        texts.split(' ').for_each(check);
        for text in [
            "\"\t\"",
            "\"12345678\u{1f}\"",
            "\"\0\"",
            " \t\r\n1 ",
            "\u{b}1",
            "{ \"a\" : 1 , \"b\" : [ ] }",
            "1 1",
            "",
            " ",
        ] {
            check(text);
        }
    }

    #[test]
    fn canonical_values_are_told_from_others() {
        let cases = [
            (r#"{"a":1,"b":[{"c":null},"x y"]}"#, true),
            (r#"{"":0,"a":0,"a":0,"aa":0,"b":0}"#, true),
            (r#"{"a":{"z":1},"b":{"y":2}}"#, true),
            (r#"{"b":1,"a":2}"#, false),
            (r#"[{"a":1},{"b":1,"a":2}]"#, false),
            (r#"{"a": 1}"#, false),
            (r#"[1 ]"#, false),
            (r#"["\u003c\n"]"#, true),
            (r#"["\ud83d"]"#, false),
            ("1e999", false),
        ];
        for (text, expected) in cases {
            assert_eq!(Scanner::new(text).value().unwrap().is_canonical, expected, "{text}");
        }
        // Beyond the bounds of the canonical form.
        for depth in [NESTING_MAX - 1, NESTING_MAX, NESTING_MAX + 1, 1_000_000] {
            for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
                let (nested, empty) =
                    (open.repeat(depth) + "1" + &close.repeat(depth), open.repeat(depth) + "{}" + &close.repeat(depth));
                let is_canonical = |text: &str| canonical(text, &mut String::new()).is_ok();
                for text in [nested, empty] {
                    let said = Scanner::new(&text).value().unwrap();
                    assert!(said.text == text && (is_canonical(&text) || !said.is_canonical), "{depth}");
                }
            }
        }
        let wide = format!("{{{}}}", vec![r#""":0"#; FIELDS_MAX + 1].join(","));
        assert!(!Scanner::new(&wide).value().unwrap().is_canonical);
    }

    #[test]
    fn errors_tell_the_place() {
        let cases = [
            ("{\"a\":1", (1, 6, true)),
            ("{\"a\":1]", (1, 7, false)),
            ("{\n\"a\"\n: x}", (3, 3, false)),
            ("[\n", (2, 0, true)),
        ];
        for (text, expected) in cases {
            let mut scanner = Scanner::new(text);
            assert!(scanner.value().is_none());
            let Invalid { line, column, is_cut_off } = scanner.stopped();
            assert_eq!((line, column, is_cut_off), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_the_library_reads_it(text in r#"([\[\]{}:, \n"01.eE+-]|\\[u"x]|true|null|"a":|"[a-c]{0,20}é?"){0,24}"#) {
            check(&text);
        }

        #[test]
        fn strings_end_where_they_do(inner in r#"([ -~]|\\"|\\\\|é|\x01){0,40}"#, after in ".{0,20}") {
            let text = format!("\"{inner}\"{after}");
            prop_assert_eq!(value(&text), by_library(&text));
        }

        #[test]
        fn what_is_said_to_be_canonical_is(names in prop::collection::vec("[ab\"]{0,3}", 0..6), pretty: bool) {
            let list: Vec<String> = names.iter().map(|name| format!("{}:0", Tree::from(name.as_str()))).collect();
            let text = format!("[{{{}}}]", list.join(if pretty { ", " } else { "," }));
            let mut out = String::new();
            canonical(&text, &mut out).unwrap();
            prop_assert_eq!(Scanner::new(&text).value().unwrap().is_canonical, out == text);
        }
    }
}
