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
}
