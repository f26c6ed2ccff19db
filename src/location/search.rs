//! Searches a text for Polar's tokens, in every encoding that an app may decode.
//!
//! A token is found inside any other text: plain, percent-encoded ([`percent`]), with backslash
//! escapes ([`backslash`]) and, if asked for, in base64 ([`base64`]).
//!
//! Each text is decoded until no escape is left, even if an app decodes it fewer times. A token
//! that becomes readable on the way is not lost:
//!
//! - A token contains no character that begins an escape.
//! - An escape in front of a token cannot reach into it, since `p` is neither a hexadecimal nor an
//!   octal digit.

mod backslash;
mod base64;
mod digits;
mod escape;
mod in_place;
mod percent;
#[cfg(test)]
mod tests;

use std::iter;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};
use zeroize::Zeroizing;

use crate::token::PolarToken;

/// The encodings in which tokens are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encodings {
    /// Percent-encoding and backslash escapes.
    Text,
    /// Percent-encoding, backslash escapes and base64.
    TextAndBase64,
}

/// Reports every token in `text`, until `found` returns `Break`.
///
/// A token may be reported more than once.
pub(super) fn search(
    text: &[u8],
    encodings: Encodings,
    found: &mut impl FnMut(PolarToken<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    // No encoding makes a token shorter.
    if text.len() < PolarToken::LEN {
        return ControlFlow::Continue(());
    }
    let mut left = text.len();
    let mut is_cut = false;
    for candidate in candidates(text) {
        if let Some(token) = PolarToken::at_start(candidate) {
            found(token)?;
            left -= OWN;
        } else {
            is_cut = is_cut || is_cut_by_an_escape(candidate);
        }
    }
    let mut may_be_encoded = is_cut;
    if encodings == Encodings::TextAndBase64 && text.len() >= base64::SHORTEST {
        base64::search(text, found)?;
        // An escape may stand for any letter of base64.
        may_be_encoded = true;
    } else if left < PolarToken::LEN {
        // The usual end for a bearer token.
        return ControlFlow::Continue(());
    }
    match memchr2(b'%', b'\\', text) {
        Some(first) if may_be_encoded || escape::may_spell(&text[first..]) => {
            search_decoded(text, encodings, found)
        }
        _ => ControlFlow::Continue(()),
    }
}

/// Whether `text` may hold a token that is not in base64. `false` is certain. Callers split only
/// a text that may hold one.
#[inline]
pub(super) fn may_hold(text: &[u8]) -> bool {
    let has_an_escape =
        || memchr2(b'%', b'\\', text).is_some_and(|first| escape::may_spell(&text[first..]));
    // No encoding makes a token shorter.
    text.len() >= PolarToken::LEN && (candidates(text).next().is_some() || has_an_escape())
}

/// The bytes of a token that it shares with no other: a token may end in the `polar` of the next.
const OWN: usize = PolarToken::LEN - (PolarToken::PREFIX.len() - 1);

#[cold]
fn search_decoded(
    text: &[u8],
    encodings: Encodings,
    found: &mut impl FnMut(PolarToken<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut copy = copy_of(text);
    let unpercented = percent::decode(&mut copy);
    if unpercented.len() < text.len() {
        report(unpercented, found)?;
        if encodings == Encodings::TextAndBase64 {
            base64::search(unpercented, found)?;
        }
    }
    if memchr(b'\\', unpercented).is_none() {
        return ControlFlow::Continue(());
    }
    if backslash::has_before(unpercented, |byte| matches!(byte, b'u' | b'x')) {
        report(backslash::decode_quoted(&mut copy_of(unpercented)), found)?;
    }
    if backslash::has_before(unpercented, |byte| matches!(byte, b'0'..=b'3')) {
        report(backslash::drop_all(&mut copy_of(unpercented)), found)?;
    }
    report(backslash::decode_literals(unpercented), found)
}

/// A copy to decode in place. It is wiped on drop, and never grows: growing would leave an unwiped
/// copy behind.
fn copy_of(text: &[u8]) -> Zeroizing<Box<[u8]>> {
    Zeroizing::new(Box::from(text))
}

/// Reports the tokens in a decoded text, including those that were readable before. Only texts
/// with suspicious escapes pay for this second search.
///
/// On a usual text this is slower than a search for the prefix. On a text full of prefixes it is
/// much faster.
fn report(
    text: &[u8],
    found: &mut impl FnMut(PolarToken<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut rest = text;
    while rest.len() >= PolarToken::LEN {
        let is_worth_a_look = match rest.first_chunk() {
            // Without a branch, the compiler checks many positions at once.
            Some(block) => (0..BLOCK).fold(false, |any, at| any | is_likely(block, at)),
            None => true,
        };
        let positions =
            if is_worth_a_look { BLOCK.min(rest.len() + 1 - PolarToken::LEN) } else { 0 };
        for candidate in (0..positions).map(|at| &rest[at..]) {
            if candidate[5] == b'_'
                && let Some(token) = PolarToken::at_start(candidate)
            {
                found(token)?;
            }
        }
        rest = rest.get(BLOCK..).unwrap_or_default();
    }
    ControlFlow::Continue(())
}

/// How many positions are checked together.
const BLOCK: usize = 32;

/// Whether a token could begin at this position, by its first two underscores.
#[inline]
#[allow(clippy::needless_bitwise_bool, reason = "this avoids a branch for each byte")]
fn is_likely(block: &[u8; BLOCK + 9], at: usize) -> bool {
    (block[at + 5] == b'_') & (block[at + 8] == b'_')
}

/// The parts of `text` that begin with the prefix of Polar's tokens and are long enough for one.
#[inline]
fn candidates(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    static PREFIX: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PolarToken::PREFIX));
    /// For at most this many positions, `memmem` is slower than a comparison at each.
    const FEW: usize = 32;

    let positions = (text.len() + 1).saturating_sub(PolarToken::LEN);
    let mut next = 0;
    iter::from_fn(move || {
        let rest = &text[next..];
        let at = if positions - next <= FEW {
            (0..positions - next).find(|&at| rest[at..].starts_with(PolarToken::PREFIX))?
        } else {
            PREFIX.find(&rest[..positions - next - 1 + PolarToken::PREFIX.len()])?
        };
        next += at + 1;
        Some(&rest[at..])
    })
}

/// Whether the first byte that cannot belong to a token begins an escape.
fn is_cut_by_an_escape(candidate: &[u8]) -> bool {
    let cut = (PolarToken::PREFIX.len()..PolarToken::LEN)
        .map(|index| (index, candidate[index]))
        .find(|&(index, byte)| !PolarToken::may_have(byte, index));
    matches!(cut, Some((_, b'%' | b'\\')))
}
