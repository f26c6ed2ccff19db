//! A simple, slow search, with which the tests compare the real one.

use std::collections::HashSet;

use crate::token::PolarToken;

/// The tokens that an app reads if it decodes percent-encoding up to twice, and then one of the
/// backslash grammars up to twice.
pub(super) fn tokens(text: &[u8]) -> HashSet<Vec<u8>> {
    let once = percent(text);
    let unpercented = [text.to_vec(), percent(&once), once];
    let mut texts = HashSet::from(unpercented.clone());
    for decoder in [json, hexadecimal, quoted] {
        for text in &unpercented {
            let once = decoder(text);
            texts.insert(decoder(&once));
            texts.insert(once);
        }
    }
    let starts = |text: Vec<u8>| (0..text.len()).map(move |at| text[at..].to_vec());
    let token = |text: Vec<u8>| PolarToken::at_start(&text).map(|token| token.as_bytes().to_vec());
    texts.into_iter().flat_map(starts).filter_map(token).collect()
}

/// Decodes a text. `escape` returns the byte of the escape at the start of a text, and the length
/// of the escape.
fn replace(text: &[u8], escape: impl Fn(&[u8]) -> Option<(u8, usize)>) -> Vec<u8> {
    let (mut at, mut decoded) = (0, Vec::new());
    while at < text.len() {
        let (byte, length) = escape(&text[at..]).unwrap_or((text[at], 1));
        decoded.push(byte);
        at += length;
    }
    decoded
}

/// The byte that the digits after `introduction` stand for, and the length of the escape.
fn value(text: &[u8], introduction: &str, digits: usize, radix: u32) -> Option<(u8, usize)> {
    let after = text.strip_prefix(introduction.as_bytes())?.get(..digits)?;
    if !after.iter().all(|&digit| char::from(digit).is_digit(radix)) {
        return None;
    }
    let value = u32::from_str_radix(str::from_utf8(after).ok()?, radix).ok()?;
    Some((u8::try_from(value).unwrap_or(b'\n'), introduction.len() + digits))
}

fn percent(text: &[u8]) -> Vec<u8> {
    replace(text, |text| value(text, "%", 2, 16))
}

fn json(text: &[u8]) -> Vec<u8> {
    replace(text, |text| {
        value(text, "\\u", 4, 16).or(text.starts_with(b"\\\\").then_some((b'\\', 2)))
    })
}

fn hexadecimal(text: &[u8]) -> Vec<u8> {
    replace(text, |text| {
        value(text, "\\x", 2, 16).or(text.starts_with(b"\\\\").then_some((b'\\', 2)))
    })
}

fn quoted(text: &[u8]) -> Vec<u8> {
    replace(text, |text| match *text {
        [b'\\', b'0'..=b'3', ..] if value(text, "\\", 3, 8).is_some() => value(text, "\\", 3, 8),
        [b'\\', byte, ..] => Some((byte, 2)),
        _ => None,
    })
}
