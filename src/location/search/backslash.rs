//! Backslash escapes, in three grammars that exclude each other.
//!
//! `\uABCD` is one character in JSON, and the letters `uABCD` in a quoted cookie. `\160` is one
//! character there, and the digits in a quoted string of HTTP (RFC 9110, section 5.6.4). Any may be
//! what the app reads.

use memchr::{memchr, memchr2};

use super::digits::{hexadecimal, is_hexadecimal, octal};
use super::escape::begins_an_escape;
use super::in_place::Progress;

/// How many bytes behind an escape are read one by one: as many as may belong to the longest one
/// (`\u0070`), and a few more, since `memchr` does not pay between dense escapes.
const CLOSE: u32 = 8;

/// Decodes `text` in place as the literals of JSON and of programming languages: `\u0070`, `\x70`,
/// `\160`.
///
/// An escape may spell a part of another one, as in JSON within JSON, or of percent-encoding.
/// Backslashes that are left over are dropped: they escape a character that stands for itself.
pub(super) fn decode_literals(text: &mut [u8]) -> &[u8] {
    let mut at = Progress::default();
    let mut close = 0;
    while at.next < text.len() {
        let rest = &text[at.next..];
        if close == 0 && !begins_an_escape(rest[0]) {
            let run = memchr2(b'%', b'\\', rest).unwrap_or(rest.len());
            at.keep(text, run);
            continue;
        }
        let (mut byte, mut length) = (rest[0], 1);
        if byte == b'\\' {
            // Of several backslashes one counts, since another parser has read the others.
            if rest.get(1) == Some(&b'\\') {
                at.next += 1;
                continue;
            }
            (byte, length) = literal(rest).unwrap_or((byte, 1));
        }
        at.next += length;
        if close > 0 {
            close -= 1;
            // Each escape makes the decoded bytes at least two shorter.
            while is_hexadecimal(byte)
                && let Some((decoded, before)) = completed(&text[..at.end], byte)
            {
                at.end -= before;
                (byte, length) = (decoded, before + 1);
                close = CLOSE;
            }
        }
        if begins_an_escape(byte) {
            close = CLOSE;
            if byte == b'\\' && length > 1 && text[..at.end].ends_with(br"\") {
                continue;
            }
        }
        at.push(text, byte);
    }
    drop_all(&mut text[..at.end])
}

/// The byte of the escape at the start of `text`, and the length of the escape.
fn literal(text: &[u8]) -> Option<(u8, usize)> {
    match *text {
        [b'\\', b'x', high, low, ..] => Some((hexadecimal(high, low)?, 4)),
        [b'\\', b'u', a, b, c, d, ..] => Some((utf16(a, b, c, d)?, 6)),
        [b'\\', high, middle, low, ..] => Some((octal(high, middle, low)?, 4)),
        _ => None,
    }
}

/// If `last` completes an escape: its byte, and how many of the bytes before `last` belong to it.
#[allow(clippy::many_single_char_names, reason = "the bytes of an escape, in their order")]
fn completed(before: &[u8], last: u8) -> Option<(u8, usize)> {
    let [.., a, b, c, d, e] = *before else { return completed_early(before, last) };
    if d == b'%' {
        return Some((hexadecimal(e, last)?, 2));
    }
    if c == b'\\' {
        let byte = if d == b'x' { hexadecimal(e, last) } else { octal(d, e, last) };
        return Some((byte?, 3));
    }
    if a == b'\\' && b == b'u' {
        return Some((utf16(c, d, e, last)?, 5));
    }
    None
}

/// The same near the start, where no long escape has room.
#[cold]
fn completed_early(before: &[u8], last: u8) -> Option<(u8, usize)> {
    match *before {
        [.., b'%', high] => Some((hexadecimal(high, last)?, 2)),
        [.., b'\\', b'x', high] => Some((hexadecimal(high, last)?, 3)),
        [.., b'\\', high, middle] => Some((octal(high, middle, last)?, 3)),
        _ => None,
    }
}

/// The byte that four hexadecimal digits stand for.
fn utf16(a: u8, b: u8, c: u8, d: u8) -> Option<u8> {
    let (high, low) = (hexadecimal(a, b)?, hexadecimal(c, d)?);
    // A character beyond a byte is in no token.
    Some(if high == 0 { low } else { u8::MAX })
}

/// Decodes `text` in place as quoted cookies, in the way of Python: `\160`, and `\p` for `p`,
/// whatever the character.
///
/// Only the last of several backslashes counts, since another parser may have read the others.
pub(super) fn decode_quoted(text: &mut [u8]) -> &[u8] {
    let first = memchr(b'\\', text).unwrap_or(text.len());
    let mut at = Progress { next: first, end: first };
    while let Some(&byte) = text.get(at.next) {
        at.next += 1;
        if byte != b'\\' {
            at.push(text, byte);
        } else if let Some(&[high, middle, low]) = text[at.next..].first_chunk()
            && let Some(byte) = octal(high, middle, low)
        {
            at.next += 3;
            at.push(text, byte);
        }
    }
    &text[..at.end]
}

/// Whether a backslash stands before such a byte, so that the grammars could read `text`
/// differently.
pub(super) fn has_before(text: &[u8], is_such: impl Fn(u8) -> bool) -> bool {
    text.windows(2).any(|pair| pair[0] == b'\\' && is_such(pair[1]))
}

/// Decodes `text` in place as a quoted string of HTTP: every backslash goes.
pub(super) fn drop_all(text: &mut [u8]) -> &[u8] {
    let first = memchr(b'\\', text).unwrap_or(text.len());
    let mut end = first;
    for next in first..text.len() {
        let byte = text[next];
        text[end] = byte;
        // Without a branch.
        end += usize::from(byte != b'\\');
    }
    &text[..end]
}
