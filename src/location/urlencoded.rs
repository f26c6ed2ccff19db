//! `application/x-www-form-urlencoded`: a query, or a form.

use std::ops::ControlFlow;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use percent_encoding::percent_decode;

use super::reading::Reading;

/// One `name=value`, still encoded.
pub(super) struct Pair<'a> {
    raw: &'a [u8],
    name: &'a [u8],
    value: &'a [u8],
}

/// The pairs, the same name as often as it occurs.
pub(super) fn pairs(encoded: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    encoded.split(|&byte| byte == b'&').map(Pair::parse)
}

/// What is left without the pairs that `is_dead` says are; `None` where none is.
pub(super) fn without(encoded: &[u8], mut is_dead: impl FnMut(&Pair<'_>) -> bool) -> Option<Bytes> {
    let mut kept = Vec::with_capacity(encoded.len());
    let mut found = false;
    for pair in pairs(encoded) {
        if is_dead(&pair) {
            found = true;
            continue;
        }
        if !kept.is_empty() {
            kept.push(b'&');
        }
        kept.extend_from_slice(pair.raw);
    }
    found.then(|| kept.into())
}

/// Takes the dead pairs out of the query of a URI.
pub(super) fn strip_query(uri: &mut Uri, is_dead: impl FnMut(&Pair<'_>) -> bool) {
    let Some(query) = uri.query() else { return };
    let Some(kept) = without(query.as_bytes(), is_dead) else { return };
    let mut path_and_query = Vec::from(uri.path());
    if !kept.is_empty() {
        path_and_query.push(b'?');
        path_and_query.extend_from_slice(&kept);
    }
    let mut parts = uri.clone().into_parts();
    // Parts of a URI are a URI again; should they ever not be, better no query than a dead token.
    parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from(path_and_query))
        .or_else(|_| PathAndQuery::try_from(uri.path()))
        .ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

impl<'a> Pair<'a> {
    fn parse(raw: &'a [u8]) -> Self {
        let equals = raw.iter().position(|&byte| byte == b'=');
        let (name, value) = equals.map_or((raw, &[][..]), |at| (&raw[..at], &raw[at + 1..]));
        Self { raw, name, value }
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name == name.as_bytes()
            || (is_encoded(self.name)
                && (self.form_decoded().0 == name || percent_decode(self.name).eq(name.bytes())))
    }

    /// Yields every reading of the value: decoded as a form (`+` is a space, and what is no UTF-8
    /// is replaced), percent-decoded alone, and as it is.
    pub(super) fn visit(
        &self,
        yield_to: &mut impl FnMut(Reading<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !is_encoded(self.value) {
            return yield_to(Reading::likeliest(self.value));
        }
        yield_to(Reading::possible(self.value))?;
        yield_to(Reading::possible(&percent_decode(self.value).collect::<Vec<_>>()))?;
        yield_to(Reading::likeliest(self.form_decoded().1.as_bytes()))
    }

    fn form_decoded(&self) -> (String, String) {
        let (name, value) = form_urlencoded::parse(self.raw).next().unwrap_or_default();
        (name.into_owned(), value.into_owned())
    }
}

fn is_encoded(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'%' | b'+') || !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(encoded: &[u8], name: &str) -> Vec<String> {
        let mut found = Vec::new();
        for pair in pairs(encoded) {
            if pair.is_named(name) {
                let _ = pair.visit(&mut |Reading { value, .. }| {
                    found.push(String::from_utf8_lossy(value).into_owned());
                    ControlFlow::Continue(())
                });
            }
        }
        found
    }

    #[test]
    fn every_pair_of_the_name_counts() {
        assert_eq!(read(b"t=1&u=2&t=3&tt=4&t", "t"), ["1", "3", ""]);
        assert_eq!(read(b"%74=1&T=2", "t"), ["1"]);
        assert_eq!(read(b"a+b=1", "a b"), ["1"]);
    }

    #[test]
    fn an_encoded_value_is_read_in_every_way() {
        assert_eq!(read(b"t=a%62c", "t"), ["a%62c", "abc", "abc"]);
        assert_eq!(read(b"t=a+b%2B", "t"), ["a+b%2B", "a+b+", "a b+"]);
        assert_eq!(read(b"t=a=b", "t"), ["a=b"]);
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
            strip_query(&mut uri, |pair| pair.is_named("t") && pair.value == b"dead");
            assert_eq!(uri.to_string(), expected);
        }
    }
}
