//! Whether the escapes in a text could spell a token.
//!
//! Encoders escape punctuation, and browsers' cookies are full of that (`%22`, `%3A`, `\"`). So a
//! text is decoded only if an escape could be a byte of `polar_`, or a part of such an escape.

use super::digits::{hexadecimal, is_hexadecimal, octal};

/// Whether an escape in `text` could spell a byte of `polar_`.
///
/// It may be `true` without one, for what no encoder writes, and is never `false` with one.
pub(super) fn may_spell(text: &[u8]) -> bool {
    let may_spell_in = |text: &[u8], length| (0..length).any(|at| may_spell_at(&text[at..]));

    let mut rest = text;
    while let Some(block) = rest.first_chunk() {
        if is_suspicious(block) && may_spell_in(rest, BLOCK) {
            return true;
        }
        rest = &rest[BLOCK..];
    }
    may_spell_in(rest, rest.len())
}

/// Positions that are looked at together.
const BLOCK: usize = 32;

/// Whether a text is worth a closer look at its first 32 positions.
///
/// Dense escapes would cost ten times as much one by one. Without a branch, the compiler looks at
/// 16 positions at once.
#[allow(clippy::needless_bitwise_bool)] // A branch for each byte is what this avoids.
fn is_suspicious(text: &[u8; BLOCK + 2]) -> bool {
    let mut suspicious = false;
    for at in 0..BLOCK {
        let (sign, high, low) = (text[at], text[at + 1], text[at + 2]);
        let nested = (high == b'%') | (high == b'\\') | (low == b'%') | (low == b'\\');
        let percent = (high == b'2') & (low == b'5');
        // 5C, 5F, 61, 6C, 6F, 70, 72, and few others.
        let letter = (high.wrapping_sub(b'5') < 3)
            & ((low.wrapping_sub(b'0') < 3) | (low | 0x20 == b'c') | (low | 0x20 == b'f'));
        suspicious |= (sign == b'\\') | ((sign == b'%') & (nested | percent | letter));
    }
    suspicious
}

fn may_spell_at(text: &[u8]) -> bool {
    match *text {
        [b'%', ref behind @ ..] => percent_may_spell(behind),
        [b'\\', ref behind @ ..] => backslash_may_spell(behind),
        _ => false,
    }
}

fn percent_may_spell(behind: &[u8]) -> bool {
    match Percent::before(behind) {
        Percent::Byte(b'\\', behind) => backslash_may_spell(behind),
        Percent::Byte(byte, _) => is_in_prefix(byte),
        Percent::Nested => true,
        Percent::Sign => false,
    }
}

/// Whether a backslash in front of `behind` could begin an escape of a byte of `polar_`.
fn backslash_may_spell(behind: &[u8]) -> bool {
    match *behind {
        [b'u', a, b, c, d, ..] if ![a, b, c, d].into_iter().any(begins_an_escape) => {
            hexadecimal(a, b) == Some(0) && hexadecimal(c, d).is_some_and(may_be_spelled)
        }
        [b'x', a, b, ..] if ![a, b].into_iter().any(begins_an_escape) => {
            hexadecimal(a, b).is_some_and(may_be_spelled)
        }
        [a @ b'0'..=b'3', b, c, ..] if ![b, c].into_iter().any(begins_an_escape) => {
            octal(a, b, c).is_some_and(may_be_spelled)
        }
        [b'u' | b'x' | b'0'..=b'3', ..] => true,
        [b'%', ref behind @ ..] => match Percent::before(behind) {
            Percent::Byte(byte, _) => byte != b'\\' && may_be_spelled(byte),
            Percent::Nested => true,
            Percent::Sign => false,
        },
        // A further backslash, encoded or not, is looked at by itself.
        [byte, ..] => is_in_prefix(byte),
        [] => false,
    }
}

/// Whether a byte behind a backslash matters: as a byte of `polar_`, or as a part of an escape.
fn may_be_spelled(byte: u8) -> bool {
    is_in_prefix(byte) || begins_an_escape(byte) || matches!(byte, b'u' | b'x' | b'0'..=b'3')
}

fn is_in_prefix(byte: u8) -> bool {
    matches!(byte, b'p' | b'o' | b'l' | b'a' | b'r' | b'_')
}

pub(super) fn begins_an_escape(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\')
}

/// What begins with a percent sign.
enum Percent<'a> {
    /// A byte, and the text behind its escape.
    Byte(u8, &'a [u8]),
    /// An escape may spell the digits.
    Nested,
    /// Nothing but the sign.
    Sign,
}

impl<'a> Percent<'a> {
    fn before(mut behind: &'a [u8]) -> Self {
        // The sign itself, percent-encoded.
        while let [b'2', b'5', rest @ ..] = behind {
            behind = rest;
        }
        match *behind {
            [b'%', high, low, ..] if hexadecimal(high, low).is_some_and(is_punctuation) => {
                Self::Sign
            }
            [b'%' | b'\\', ..] => Self::Nested,
            [high, b'%' | b'\\', ..] if is_hexadecimal(high) => Self::Nested,
            [high, low, ref behind @ ..] => match hexadecimal(high, low) {
                Some(byte) => Self::Byte(byte, behind),
                None => Self::Sign,
            },
            _ => Self::Sign,
        }
    }
}

/// Whether a byte is no digit, and begins no escape.
fn is_punctuation(byte: u8) -> bool {
    !is_hexadecimal(byte) && !begins_an_escape(byte)
}
