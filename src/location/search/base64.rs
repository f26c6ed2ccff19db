//! Searches for tokens in base64, in the standard and the URL-safe alphabet, padded or not.
//!
//! Base64 writes three bytes as four characters. So the characters for `polar_` depend on the
//! number of bytes in front of it, and there are three spellings. Both alphabets have the same
//! letters and digits, so the needles fit both.

use std::iter;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use zeroize::Zeroizing;

use crate::token::PolarToken;

/// The fewest characters that the 54 bytes of a token take.
pub(super) const SHORTEST: usize = PolarToken::LEN.div_ceil(3) * 4;

/// The distance in characters from the start of a token to the end of its prefix.
const PREFIX_CHARACTERS: usize = PolarToken::PREFIX.len() / 3 * 4;

/// A way to write the first bytes of a token.
struct Spelling {
    /// The characters that depend on these bytes alone.
    needle: Finder<'static>,
    /// The number of characters in front of the needle that hold bits of the token.
    before: usize,
    /// The bits of the first character that belong to the byte in front of the token.
    foreign_bits: u32,
}

static SPELLINGS: LazyLock<[Spelling; 3]> = LazyLock::new(|| {
    [
        // polar_
        Spelling { needle: Finder::new("cG9sYXJf"), before: 0, foreign_bits: 0 },
        // ?polar_a, ?polar_r
        Spelling { needle: Finder::new("BvbGFyX"), before: 1, foreign_bits: 2 },
        // ??polar_a, ??polar_r
        Spelling { needle: Finder::new("wb2xhcl9"), before: 1, foreign_bits: 4 },
    ]
});

/// Reports every token in `text` that is written in base64, until `found` returns `Break`.
pub(super) fn search(
    text: &[u8],
    found: &mut impl FnMut(PolarToken<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for spelling in &*SPELLINGS {
        for needle in spelling.needle.find_iter(text) {
            let Some(start) = needle.checked_sub(spelling.before) else { continue };
            if let Some(token) = decode(&text[start..], spelling.foreign_bits)
                && let Some(token) = PolarToken::at_start(&*token)
            {
                found(token)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// The token that begins after the first `foreign_bits` of `text`.
///
/// The token is written only after all its bytes have been checked, so that a text full of needles
/// costs little.
fn decode(text: &[u8], foreign_bits: u32) -> Option<Zeroizing<[u8; PolarToken::LEN]>> {
    let after_prefix = text.get(PREFIX_CHARACTERS..)?;
    let fitting = bytes(after_prefix, foreign_bits)
        .zip(PolarToken::PREFIX.len()..)
        .take_while(|&(byte, index)| PolarToken::may_have(byte, index))
        .count();
    (PolarToken::PREFIX.len() + fitting == PolarToken::LEN).then(|| {
        let mut token = Zeroizing::new([0; PolarToken::LEN]);
        for (to, byte) in token.iter_mut().zip(bytes(text, foreign_bits)) {
            *to = byte;
        }
        token
    })
}

/// The decoded bytes after the first `foreign_bits` of `text`, up to the first character that is in
/// neither alphabet.
fn bytes(text: &[u8], foreign_bits: u32) -> impl Iterator<Item = u8> {
    let mut characters = text.iter();
    // The conversion to a byte cuts off the bits above those in use, which were read before.
    let mut bits = 0_u32;
    let mut in_use = 0_u32;
    let mut foreign = foreign_bits;
    iter::from_fn(move || {
        while in_use < 8 {
            bits = bits << 6 | value(*characters.next()?)?;
            in_use += 6 - foreign;
            foreign = 0;
        }
        in_use -= 8;
        let [.., byte] = (bits >> in_use).to_be_bytes();
        Some(byte)
    })
}

/// The six bits of a character.
fn value(character: u8) -> Option<u32> {
    const ALPHABETS: [&[u8; 64]; 2] = [
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    ];
    const NONE: u8 = u8::MAX;
    const VALUES: [u8; 256] = {
        let mut values = [NONE; 256];
        let mut value = 0;
        while value < 64 {
            values[ALPHABETS[0][value as usize] as usize] = value;
            values[ALPHABETS[1][value as usize] as usize] = value;
            value += 1;
        }
        values
    };

    let value = VALUES[usize::from(character)];
    (value != NONE).then(|| u32::from(value))
}
