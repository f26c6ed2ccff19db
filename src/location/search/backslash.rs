//! Decodes backslash escapes, in three grammars that exclude each other.
//!
//! - `\uABCD` is one character in JSON, but the letters `uABCD` in a quoted cookie.
//! - `\160` is one character in a quoted cookie, but the digits `160` in a quoted string of HTTP
//!   (RFC 9110, section 5.6.4).
//!
//! An app may read any of these grammars, so all are tried.

use memchr::{memchr, memchr2};

use super::digits::{hexadecimal, is_hexadecimal, octal};
use super::escape::begins_an_escape;
use super::in_place::Progress;

/// How many bytes after an escape are read one by one: as many as the longest escape (`\u0070`)
/// has, and a few more, since `memchr` is slower between dense escapes.
const CLOSE: u32 = 8;

/// Decodes `text` in place as a literal of JSON or of a programming language: `\u0070`, `\x70`,
/// `\160`.
///
/// An escape may stand for a part of another escape, as in JSON within JSON, or for a part of a
/// percent escape. Other backslashes are dropped: the character after them stands for itself.
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
            // Of several backslashes only the last counts: other parsers have read the others.
            if rest.get(1) == Some(&b'\\') {
                at.next += 1;
                continue;
            }
            (byte, length) = literal(rest).unwrap_or((byte, 1));
        }
        at.next += length;
        if close > 0 {
            close -= 1;
            // This ends: each escape makes the decoded bytes shorter by at least two.
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

/// If `last` completes an escape: the byte it stands for, and how many of its bytes stand before
/// `last`.
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

/// The same near the start of a text, with no room for a long escape.
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
    // A character that is longer than a byte is in no token.
    Some(if high == 0 { low } else { u8::MAX })
}

/// Decodes `text` in place as a quoted cookie, as Python does: `\160` is an octal escape, and any
/// other escaped character stands for itself.
///
/// Of several backslashes only the last counts, since other parsers may have read the others.
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

/// Whether a backslash stands before such a byte. Only then can the grammars read `text`
/// differently.
pub(super) fn has_before(text: &[u8], is_such: impl Fn(u8) -> bool) -> bool {
    text.windows(2).any(|pair| pair[0] == b'\\' && is_such(pair[1]))
}

/// Decodes `text` in place as a quoted string of HTTP: every backslash is dropped.
pub(super) fn drop_all(text: &mut [u8]) -> &[u8] {
    let first = memchr(b'\\', text).unwrap_or(text.len());
    let mut end = first;
    for next in first..text.len() {
        let byte = text[next];
        text[end] = byte;
        // A branch for each byte would be slower.
        end += usize::from(byte != b'\\');
    }
    &text[..end]
}
