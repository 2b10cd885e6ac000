//! Bytes of a terminal to text, piece by piece.

/// A streaming UTF-8 decoder.
///
/// A character that is cut at the end of a piece is held back until the next one. Each maximal invalid sequence becomes
/// one U+FFFD, so the text is that of [`String::from_utf8_lossy`] of all pieces together, however they were cut.
#[derive(Debug, Default, Clone)]
pub struct Decoder {
    /// The first one to three bytes of a character.
    tail: Vec<u8>,
    replaced: u64,
}

impl Decoder {
    /// Appends the text of `bytes` to `text`, but for an unfinished character at their end.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) {
        if self.tail.is_empty() {
            self.tail = decode(bytes, text, &mut self.replaced).to_vec();
        } else {
            let mut joined = std::mem::take(&mut self.tail);
            joined.extend_from_slice(bytes);
            self.tail = decode(&joined, text, &mut self.replaced).to_vec();
        }
    }

    /// Number of bytes that were no part of a character, so far.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The beginning of a character that is not whole yet.
    pub(crate) fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Ends the stream: appends U+FFFD when a character was left unfinished. The decoder can be used again.
    pub fn finish(&mut self, text: &mut String) {
        if !self.tail.is_empty() {
            self.replaced += self.tail.len() as u64;
            self.tail.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Appends the text of `bytes` and returns the unfinished character at their end.
fn decode<'a>(bytes: &'a [u8], text: &mut String, replaced: &mut u64) -> &'a [u8] {
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        let unfinished = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if unfinished && chunks.peek().is_none() {
            return invalid;
        }
        *replaced += invalid.len() as u64;
        text.push(char::REPLACEMENT_CHARACTER);
    }
    &[]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(pieces: &[Vec<u8>]) -> String {
        let mut decoder = Decoder::default();
        let mut text = String::new();
        for piece in pieces {
            decoder.push(piece, &mut text);
        }
        decoder.finish(&mut text);
        text
    }

    #[test]
    fn bytes_that_are_replaced_are_counted() {
        let mut decoder = Decoder::default();
        for piece in [&b"a\xff\xe2\x82"[..], b"\xac\xf0\x90", b"!", b"\xc3"] {
            decoder.push(piece, &mut String::new());
        }
        assert_eq!(decoder.replaced(), 3);
        decoder.finish(&mut String::new());
        assert_eq!(decoder.replaced(), 4);
    }

    #[test]
    fn one_replacement_for_each_maximal_invalid_sequence() {
        assert_eq!(decoded(&[b"\xf0\x90\x80\xc0\x21".to_vec()]), "\u{FFFD}\u{FFFD}!");
        assert_eq!(decoded(&[b"\xf0\x90".to_vec(), b"\x80".to_vec(), b"\xc0\x21".to_vec()]), "\u{FFFD}\u{FFFD}!");
    }

    #[test]
    fn a_cut_character_waits_for_its_rest() {
        let mut decoder = Decoder::default();
        let mut text = String::new();
        decoder.push(b"a\xe2\x82", &mut text);
        assert_eq!(text, "a");
        decoder.push(b"\xac", &mut text);
        assert_eq!(text, "a€");
        decoder.push(b"\xe2", &mut text);
        decoder.finish(&mut text);
        decoder.finish(&mut text);
        assert_eq!(text, "a€\u{FFFD}");
    }

    /// Bytes that are often the start or the middle of a character.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            any::<u8>(),
            Just(0xf0),
            Just(0xe2),
            Just(0xc3),
            0x80..=0xbfu8,
            Just(0xed),
            Just(0xa0),
            0x20..=0x7eu8,
        ];
        prop::collection::vec(byte, 0..12)
    }

    proptest! {
        #[test]
        fn prop_text_does_not_depend_on_the_cuts(pieces in prop::collection::vec(bytes(), 0..8)) {
            let whole = pieces.concat();
            prop_assert_eq!(decoded(&pieces), String::from_utf8_lossy(&whole));
        }
    }
}
