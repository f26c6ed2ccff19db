//! The ways in which applications could read one value.

use std::borrow::Cow;
use std::ops::ControlFlow;

use percent_encoding::percent_decode;

/// One way in which an application could read a value.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) value: &'a [u8],
    /// What most applications would read: what is a token, if any of the readings is.
    pub(super) is_likeliest: bool,
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
    all(value, |byte| byte != b' ' && is_plain_or_space(byte))
}

/// Whether every parser reads all the values in this as they are, once they are trimmed.
pub(super) fn are_plain(values: &[u8]) -> bool {
    all(values, is_plain_or_space)
}

fn is_plain_or_space(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'%' | b'"')
}

/// Looks at every byte also after the first that fails: without a branch, many at a time.
pub(super) fn all(bytes: &[u8], holds: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, &byte| all & holds(byte))
}

/// Every reading of a value by parsers that may or may not trim it, decode it, take off its
/// quotes, and undo what a quoted string escapes. The last is the likeliest: all of that was done to it.
pub(super) fn readings(value: &[u8]) -> Vec<Vec<u8>> {
    let mut readings = vec![value.to_vec()];
    for step in [trimmed, decoded, trimmed, unquoted, unescaped] {
        for at in 0..readings.len() {
            if let Some(reading) = step(&readings[at])
                && !readings.contains(&reading)
            {
                readings.push(reading);
            }
        }
    }
    readings
}

/// Yields readings of which the last is the likeliest.
pub(super) fn visit(
    readings: &[Vec<u8>],
    yield_to: &mut impl FnMut(Reading<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some((likeliest, others)) = readings.split_last() else { return ControlFlow::Continue(()) };
    for other in others {
        yield_to(Reading::possible(other))?;
    }
    yield_to(Reading::likeliest(likeliest))
}

/// Trims what `str::trim` does: more than ASCII white space, where the bytes are text.
fn trimmed(value: &[u8]) -> Option<Vec<u8>> {
    let trimmed = match std::str::from_utf8(value) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => value.trim_ascii(),
    };
    (trimmed.len() != value.len()).then(|| trimmed.to_vec())
}

fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    match Cow::from(percent_decode(value)) {
        Cow::Owned(decoded) => Some(decoded),
        Cow::Borrowed(_) => None,
    }
}

fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"").map(<[u8]>::to_vec)
}

/// The same, and in place of each backslash and what follows what it stands for: one byte (RFC 9110,
/// section 5.6.4) or, as Python's `http.cookies` reads it, the byte of three octal digits.
fn unescaped(value: &[u8]) -> Option<Vec<u8>> {
    let quoted = unquoted(value).filter(|quoted| quoted.contains(&b'\\'))?;
    let mut unescaped = Vec::with_capacity(quoted.len());
    let mut rest = &*quoted;
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
