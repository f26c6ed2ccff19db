//! Decides whether the escapes in a text could spell a token.
//!
//! Encoders escape punctuation, and browsers' cookies often contain such escapes (`%22`, `%3A`,
//! `\"`). So a text is decoded only if an escape could stand for a byte of `polar_`, or for a part
//! of such an escape.

use super::digits::{hexadecimal, is_hexadecimal, octal};

/// Whether an escape in `text` could spell a byte of `polar_`.
///
/// `false` is certain. `true` may be wrong, but only for a text that no encoder writes.
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

/// How many positions are checked together.
const BLOCK: usize = 32;

/// Whether the first 32 positions of a text must be checked one by one.
///
/// Without this check, dense escapes would cost ten times as much. It has no branch, so the
/// compiler checks 16 positions at once.
#[allow(clippy::needless_bitwise_bool)] // This avoids a branch for each byte.
fn is_suspicious(text: &[u8; BLOCK + 2]) -> bool {
    let mut suspicious = false;
    for at in 0..BLOCK {
        let (sign, high, low) = (text[at], text[at + 1], text[at + 2]);
        let nested = (high == b'%') | (high == b'\\') | (low == b'%') | (low == b'\\');
        let percent = (high == b'2') & (low == b'5');
        // 5C, 5F, 61, 6C, 6F, 70, 72, and a few others.
        let letter = (high.wrapping_sub(b'5') < 3)
            & ((low.wrapping_sub(b'0') < 3) | (low | 0x20 == b'c') | (low | 0x20 == b'f'));
        suspicious |= (sign == b'\\') | ((sign == b'%') & (nested | percent | letter));
    }
    suspicious
}

fn may_spell_at(text: &[u8]) -> bool {
    match *text {
        [b'%', ref after @ ..] => percent_may_spell(after),
        [b'\\', ref after @ ..] => backslash_may_spell(after),
        _ => false,
    }
}

fn percent_may_spell(after: &[u8]) -> bool {
    match Percent::followed_by(after) {
        Percent::Byte(b'\\', after) => backslash_may_spell(after),
        Percent::Byte(byte, _) => is_in_prefix(byte),
        Percent::Nested => true,
        Percent::Sign => false,
    }
}

/// Whether a backslash in front of `after` could begin an escape of a byte of `polar_`.
fn backslash_may_spell(after: &[u8]) -> bool {
    match *after {
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
        [b'%', ref after @ ..] => match Percent::followed_by(after) {
            Percent::Byte(byte, _) => byte != b'\\' && may_be_spelled(byte),
            Percent::Nested => true,
            Percent::Sign => false,
        },
        // Another backslash, encoded or not, is checked at its own position.
        [byte, ..] => is_in_prefix(byte),
        [] => false,
    }
}

/// Whether the byte can be a byte of `polar_`, or a part of an escape after a backslash.
fn may_be_spelled(byte: u8) -> bool {
    is_in_prefix(byte) || begins_an_escape(byte) || matches!(byte, b'u' | b'x' | b'0'..=b'3')
}

fn is_in_prefix(byte: u8) -> bool {
    matches!(byte, b'p' | b'o' | b'l' | b'a' | b'r' | b'_')
}

pub(super) fn begins_an_escape(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\')
}

/// The meaning of a percent sign.
enum Percent<'a> {
    /// A byte, and the text after its escape.
    Byte(u8, &'a [u8]),
    /// The digits may themselves be escaped.
    Nested,
    /// The sign itself: it begins no escape.
    Sign,
}

impl<'a> Percent<'a> {
    fn followed_by(mut after: &'a [u8]) -> Self {
        // The sign itself, percent-encoded.
        while let [b'2', b'5', rest @ ..] = after {
            after = rest;
        }
        match *after {
            [b'%', high, low, ..] if hexadecimal(high, low).is_some_and(is_punctuation) => {
                Self::Sign
            }
            [b'%' | b'\\', ..] => Self::Nested,
            [high, b'%' | b'\\', ..] if is_hexadecimal(high) => Self::Nested,
            [high, low, ref after @ ..] => match hexadecimal(high, low) {
                Some(byte) => Self::Byte(byte, after),
                None => Self::Sign,
            },
            _ => Self::Sign,
        }
    }
}

/// Whether a byte is not a digit, and begins no escape.
fn is_punctuation(byte: u8) -> bool {
    !is_hexadecimal(byte) && !begins_an_escape(byte)
}
