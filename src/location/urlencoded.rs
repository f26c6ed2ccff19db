//! `application/x-www-form-urlencoded`: a query, or a form.

use std::ops::ControlFlow;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use zeroize::Zeroizing;

use super::name::Name;
use super::percent::decoded;
use super::reading::Reading;

/// What stands for the value of a field, still encoded.
#[derive(Clone, Copy)]
pub(super) struct Value<'a>(&'a [u8]);

/// The values of the fields of this name, as often as it occurs.
pub(super) fn values<'a>(
    encoded: &'a [u8],
    name: &Name,
    mut visit: impl FnMut(Value<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    name.search(
        encoded,
        |byte| byte == b'&',
        |_, behind| match behind {
            [b'=', value @ ..] => {
                let end = memchr::memchr(b'&', value).unwrap_or(value.len());
                visit(Value(&value[..end]))
            }
            _ => ControlFlow::Continue(()),
        },
    )
}

/// What is left without the fields that `is_dead` says are; `None` where none is.
pub(super) fn without(encoded: &[u8], mut is_dead: impl FnMut(&[u8]) -> bool) -> Option<Bytes> {
    let mut kept = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let mut found = false;
    for field in encoded.split(|&byte| byte == b'&') {
        if is_dead(field) {
            found = true;
            continue;
        }
        if !kept.is_empty() {
            kept.push(b'&');
        }
        kept.extend_from_slice(field);
    }
    found.then(|| Bytes::from_owner(kept))
}

/// Takes the dead fields out of the query of a URI.
pub(super) fn strip_query(uri: &mut Uri, is_dead: impl FnMut(&[u8]) -> bool) {
    let Some(query) = uri.query() else { return };
    let Some(kept) = without(query.as_bytes(), is_dead) else { return };
    let capacity = uri.path().len() + "?".len() + kept.len();
    let mut path_and_query = Zeroizing::new(Vec::with_capacity(capacity));
    path_and_query.extend_from_slice(uri.path().as_bytes());
    if !kept.is_empty() {
        path_and_query.push(b'?');
        path_and_query.extend_from_slice(&kept);
    }
    let mut parts = uri.clone().into_parts();
    // Parts of a URI are a URI again; should they ever not be, better no query than a dead token.
    parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from_owner(path_and_query))
        .or_else(|_| PathAndQuery::try_from(uri.path()))
        .ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

impl Value<'_> {
    /// Yields every reading of the value: as it is, percent-decoded, and decoded as a form (`+` is a
    /// space, and what is no UTF-8 is replaced).
    pub(super) fn visit(
        self,
        yield_to: &mut impl FnMut(Reading<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Self(value) = self;
        if !is_encoded(value) {
            return yield_to(Reading::likeliest(value));
        }
        let percent_decoded = decoded(value);
        let percent_decoded = percent_decoded.as_ref().map_or(value, |decoded| decoded.as_slice());
        let spaced = with_spaces(value);
        let form_decoded = replaced(decoded(&spaced).unwrap_or(spaced));
        let likeliest = form_decoded.as_slice();
        if value != likeliest {
            yield_to(Reading::possible(value))?;
        }
        if percent_decoded != value && percent_decoded != likeliest {
            yield_to(Reading::possible(percent_decoded))?;
        }
        yield_to(Reading::likeliest(likeliest))
    }
}

fn is_encoded(text: &[u8]) -> bool {
    // Without a branch, many at a time.
    text.iter().fold(false, |any, &byte| any | matches!(byte, b'%' | b'+') | !byte.is_ascii())
}

fn with_spaces(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut spaced = Zeroizing::new(text.to_vec());
    for byte in spaced.iter_mut().filter(|byte| **byte == b'+') {
        *byte = b' ';
    }
    spaced
}

/// With U+FFFD in place of what is no UTF-8, as [`String::from_utf8_lossy`] does it.
fn replaced(text: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

    if std::str::from_utf8(&text).is_ok() {
        return text;
    }
    // So that it is never moved, and nothing is left where it was.
    let mut replaced = Zeroizing::new(Vec::with_capacity(REPLACEMENT.len() * text.len()));
    for chunk in text.utf8_chunks() {
        replaced.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            replaced.extend_from_slice(REPLACEMENT);
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(encoded: &[u8], name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let _ = values(encoded, &Name::new(name), |value| {
            value.visit(&mut |Reading { value, .. }| {
                found.push(String::from_utf8_lossy(value).into_owned());
                ControlFlow::Continue(())
            })
        });
        found
    }

    #[test]
    fn every_pair_of_the_name_counts() {
        assert_eq!(read(b"t=1&u=2&t=3&tt=4&t", "t"), ["1", "3"]);
        assert_eq!(read(b"%74=1&T=2&%75=3", "t"), ["1"]);
        assert_eq!(read(b"a+b=1", "a b"), ["1"]);
    }

    #[test]
    fn an_encoded_value_is_read_in_every_way() {
        assert_eq!(read(b"t=a%62c", "t"), ["a%62c", "abc"]);
        assert_eq!(read(b"t=a+b%2B", "t"), ["a+b%2B", "a+b+", "a b+"]);
        assert_eq!(read(b"t=a=b", "t"), ["a=b"]);
    }

    #[test]
    fn what_is_no_text_is_read_as_a_form_does_it() {
        for bytes in [&b"\xff"[..], b"a\xffb", b"a\xf0\x9f\x98b\xff\xff", "\u{fffd}".as_bytes()] {
            let likeliest = String::from_utf8_lossy(bytes);
            assert_eq!(*replaced(Zeroizing::new(bytes.to_vec())), likeliest.as_bytes());
        }
    }

    #[test]
    fn what_is_dead_is_cut_out_of_a_query_and_the_rest_stays() {
        for (uri, expected) in [
            ("/p?t=dead", "/p"),
            ("/p?a=1&t=dead&b=%20&t=alive", "/p?a=1&b=%20&t=alive"),
            ("/p?a=1", "/p?a=1"),
            ("https://example.com/p?t=dead&a", "https://example.com/p?a"),
            ("/p", "/p"),
        ] {
            let mut uri: Uri = uri.parse().expect("a URI");
            strip_query(&mut uri, |field| field == b"t=dead");
            assert_eq!(uri.to_string(), expected);
        }
    }
}
