//! Which sequences of three characters are in a run of texts, so that a search reads only runs that can have what it
//! looks for.
//!
//! A set of trigrams is 65 536 bits, each for the trigrams of one hash: a set may have what no text of it has, and never
//! lacks what one has. Letters are the same in any case, as for a regular expression that does not mind it.

/// Bits of a set.
const BITS: usize = 1 << 16;

/// So many texts share a set. Fewer would make sets as large as the texts themselves, more would fill them.
pub const TEXTS_OF_A_SET: usize = 4096;

/// The trigrams of some texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigrams {
    /// Bit `n` is bit `n % 8` of byte `n / 8`.
    bits: Vec<u8>,
}

impl Default for Trigrams {
    fn default() -> Self {
        Self { bits: vec![0; BITS / 8] }
    }
}

impl Trigrams {
    /// Adds those of a text.
    pub fn insert(&mut self, text: &str) {
        for hash in hashes(text) {
            if let Some(byte) = self.bits.get_mut(usize::from(hash) / 8) {
                *byte |= 1 << (hash % 8);
            }
        }
    }

    /// The set as it is kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }
}

/// Whether a set, as it is kept, has all of some [`hashes`]. What is no set is taken to have everything.
pub fn may_have(set: &[u8], hashes: &[u16]) -> bool {
    set.len() != BITS / 8
        || hashes.iter().all(|hash| set.get(usize::from(hash / 8)).is_none_or(|byte| byte & (1 << (hash % 8)) != 0))
}

/// The hashes of the trigrams of a text, in their order, some more than once; none for a text of less than three
/// characters. They are kept in the ledger: the same for ever.
pub fn hashes(text: &str) -> impl Iterator<Item = u16> {
    let mut trigram = 0u64;
    text.chars().enumerate().filter_map(move |(before, character)| {
        // Of each character 21 bits: as many as there are characters.
        trigram = (trigram << 21 | u64::from(u32::from(fold(character)))) & (u64::MAX >> 1);
        // Fibonacci hashing: the upper bits of a product with 2^64 divided by the golden ratio.
        (before >= 2).then(|| (trigram.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16)
    })
}

/// The same for all characters that differ in nothing but their case (Unicode's simple case folding).
pub fn fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    // Three pairs are the same to Unicode, though each of them has no single capital letter.
    let character = match character {
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        '\u{fb05}' => '\u{fb06}',
        other => other,
    };
    let upper = single(character.to_uppercase()).unwrap_or(character);
    single(upper.to_lowercase()).unwrap_or(upper)
}

fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    characters.next().filter(|_| characters.next().is_none())
}

#[cfg(test)]
mod tests {
    use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_little_else() {
        let mut set = Trigrams::default();
        set.insert("Connection refused: ÜBERGANG");
        let has = |text: &str| may_have(set.as_bytes(), &hashes(text).collect::<Vec<_>>());
        for there in ["connection", "REFUSED: über", "d: ", "co", ""] {
            assert!(has(there), "{there:?}");
        }
        for missing in ["timeout", "refuses", "uber"] {
            assert!(!has(missing), "{missing:?}");
        }
        assert!(may_have(b"no set", &[1]));
    }

    #[test]
    fn no_letter_is_told_from_itself_in_another_case() {
        for character in '\0'..=char::MAX {
            let range = ClassUnicodeRange::new(character, character);
            let mut class = ClassUnicode::new([range]);
            class.case_fold_simple();
            for other in class.iter().flat_map(|range| range.start()..=range.end()) {
                assert_eq!(fold(other), fold(character), "{other:?} and {character:?}");
            }
        }
    }

    #[test]
    fn hashes_stay_what_they_are() {
        assert_eq!(hashes("abcd").collect::<Vec<_>>(), hashes("ABCD").collect::<Vec<_>>());
        assert_eq!(hashes("abcd €").collect::<Vec<_>>(), HASHES);
    }

    /// Ledgers have sets that were made with these.
    const HASHES: [u16; 4] = [13275, 13106, 36246, 33882];
}
