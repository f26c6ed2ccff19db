//! The ways in which applications could read one value.

use std::ops::ControlFlow;

use smallvec::{SmallVec, smallvec};
use zeroize::Zeroizing;

use super::percent::decoded;

/// One way in which an application could read a value.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) value: &'a [u8],
    /// What most applications would read: what is a token, if any of the readings is.
    pub(crate) is_likeliest: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn likeliest(value: &'a [u8]) -> Self {
        Self { value, is_likeliest: true }
    }

    pub(super) fn possible(value: &'a [u8]) -> Self {
        Self { value, is_likeliest: false }
    }
}

/// Whether every parser reads the value as it is.
pub(super) fn is_plain(value: &[u8]) -> bool {
    // Looks at every byte also after the first that fails: without a branch, many at a time.
    value.iter().fold(true, |all, &byte| {
        all & matches!(byte, b'!'..=b'~') & !matches!(byte, b'%' | b'"' | b',')
    })
}

/// Yields every reading of a value by parsers that may or may not trim it, decode it, take off its
/// quotes, and undo what a quoted string escapes. The last is the likeliest: all of that was done to it.
pub(super) fn visit(
    value: &[u8],
    yield_to: &mut impl FnMut(Reading<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let decoded = decoded(trim(value));
    let texts = [Some(value), decoded.as_ref().map(|decoded| decoded.as_slice())];
    let unescaped = texts.map(|text| text.and_then(|text| unescaped(trim(text))));
    let mut readings: SmallVec<[&[u8]; 8]> = smallvec![];
    for (text, unescaped) in texts.iter().zip(&unescaped) {
        let Some(text) = text else { continue };
        let trimmed = trim(text);
        let pair = unquoted(trimmed).unwrap_or(trimmed);
        let all = trim_quotes(trimmed);
        let unescaped = unescaped.as_ref().map_or(all, |unescaped| unescaped.as_slice());
        for reading in [text, trimmed, pair, all, unescaped] {
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }
    }
    let Some((likeliest, others)) = readings.split_last() else { return ControlFlow::Continue(()) };
    for other in others {
        yield_to(Reading::possible(other))?;
    }
    yield_to(Reading::likeliest(likeliest))
}

/// Trims what `str::trim` does: more than ASCII white space.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    trim_start(trim_end(value))
}

pub(super) fn trim_start(mut value: &[u8]) -> &[u8] {
    while let Some(space) = (1..=3).find(|&length| value.get(..length).is_some_and(is_space)) {
        value = &value[space..];
    }
    value
}

pub(super) fn trim_end(mut value: &[u8]) -> &[u8] {
    while let Some(rest) = (1..=3)
        .filter_map(|length| value.len().checked_sub(length))
        .find(|&at| is_space(&value[at..]))
    {
        value = &value[..rest];
    }
    value
}

/// Whether this is one character, and that is white space.
fn is_space(text: &[u8]) -> bool {
    match text {
        [byte] => byte.is_ascii() && char::from(*byte).is_whitespace(),
        [byte, ..] if byte.is_ascii() => false,
        _ => std::str::from_utf8(text).is_ok_and(|text| text.chars().all(char::is_whitespace)),
    }
}

/// Without one pair of quotes.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Without any quotes at either end, as `str::trim_matches` takes them off.
fn trim_quotes(value: &[u8]) -> &[u8] {
    let is_other = |byte: &u8| *byte != b'"';
    let Some(begin) = value.iter().position(is_other) else { return &[] };
    let value = &value[begin..];
    &value[..value.iter().rposition(is_other).map_or(0, |last| last + 1)]
}

/// A quoted string without its quotes, and in place of each backslash and what follows what it stands
/// for: one byte (RFC 9110, section 5.6.4) or, as Python's `http.cookies` reads it, the byte of three
/// octal digits.
fn unescaped(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut rest = unquoted(value).filter(|quoted| memchr::memchr(b'\\', quoted).is_some())?;
    let mut unescaped = Zeroizing::new(Vec::with_capacity(rest.len()));
    loop {
        let byte;
        (byte, rest) = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after)
            }
            [b'\\', escaped, after @ ..] => (*escaped, after),
            [byte, after @ ..] => (*byte, after),
            [] => break,
        };
        unescaped.push(byte);
    }
    Some(unescaped)
}
