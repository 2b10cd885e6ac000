//! Text that others wrote, made safe to show: what a terminal would obey is replaced by a visible sign.

use std::borrow::Cow;

/// Replaces every character that a terminal acts upon or that changes the order in which text is read: C0 and DEL by
/// their pictures (`␛`), C1, bidirectional controls and separators of lines by `�`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(|letter| sign(letter).is_some()) {
        Cow::Owned(text.chars().map(|letter| sign(letter).unwrap_or(letter)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// What is shown instead of a character, when it may not be shown itself.
fn sign(letter: char) -> Option<char> {
    match letter {
        // The pictures of the controls stand in the order of the controls.
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(letter)),
        '\x7f' => Some('\u{2421}'),
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => Some(char::REPLACEMENT_CHARACTER),
        _ => None,
    }
}

/// The tickets that a text names, in the order of the text: capital letters and digits, a hyphen, digits (`INC-4711`),
/// not inside a longer word.
pub(crate) fn tickets(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_alphanumeric() || letter == '-' || letter == '_')).filter(|word| {
        word.split_once('-').is_some_and(|(project, number)| {
            project.len() > 1
                && project.starts_with(|letter: char| letter.is_ascii_uppercase())
                && project.bytes().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit())
                && !number.is_empty()
                && number.bytes().all(|digit| digit.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_made_visible() {
        let cases = [
            ("plain äöü 漢字", "plain äöü 漢字"),
            ("a\x1b[2Jb\r\n\t\0\x7f", "a␛[2Jb␍␊␉␀␡"),
            ("\u{9b}31m", "�31m"),
            ("user\u{202e}gpj.exe\u{2066}\u{200f}", "user�gpj.exe��"),
        ];
        for (text, shown) in cases {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn tickets_are_found_in_sentences() {
        let cases: [(&str, &[&str]); 7] = [
            ("INC-4711 restore replica", &["INC-4711"]),
            ("latency, JIRA OPS-1412 (see OPS2-7.)", &["OPS-1412", "OPS2-7"]),
            ("https://jira/browse/INC-1?x=SEC-2", &["INC-1", "SEC-2"]),
            ("inc-1 X-1 INC-1a INC-1-2 xINC-1 INC_1-1 INC-", &[]),
            ("éINC-1 INC-1é", &[]),
            ("-1 - --", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(tickets(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
