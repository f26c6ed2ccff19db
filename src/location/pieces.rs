//! The pieces of a list: cookies, items of a header, fields of a query.

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

/// How a list is written.
#[derive(Clone, Copy)]
pub(super) struct List {
    separators: [u8; 2],
    joined_by: &'static [u8],
}

impl List {
    pub(super) const COOKIES: Self = Self { separators: *b";;", joined_by: b"; " };
    /// RFC 9110, section 5.6.1.
    pub(super) const ITEMS: Self = Self { separators: *b",,", joined_by: b", " };
    /// Some parsers split at a semicolon too.
    pub(super) const FIELDS: Self = Self { separators: *b"&;", joined_by: b"&" };

    pub(super) fn pieces(self, text: &[u8]) -> Pieces<'_> {
        Pieces { rest: Some(text), separators: self.separators }
    }

    /// The list without the pieces that are to go; `None` if all stay.
    pub(super) fn without(self, text: &[u8], mut goes: impl FnMut(&[u8]) -> bool) -> Option<Bytes> {
        // Never longer than this, so that it is never moved, and nothing is left where it was.
        let most = text.len() + self.pieces(text).count() * self.joined_by.len();
        let mut kept = Zeroizing::new(Vec::with_capacity(most));
        let mut some_go = false;
        for piece in self.pieces(text) {
            if goes(piece) {
                some_go = true;
                continue;
            }
            if !kept.is_empty() {
                kept.extend_from_slice(self.joined_by);
            }
            kept.extend_from_slice(piece.trim_ascii());
        }
        some_go.then(|| Bytes::from_owner(kept))
    }
}

/// A header that is a list, without the pieces that are to go; `None` if nothing is left.
pub(super) fn header_without(
    value: &HeaderValue,
    list: List,
    goes: impl FnMut(&[u8]) -> bool,
) -> Option<HeaderValue> {
    let Some(kept) = list.without(value.as_bytes(), goes) else { return Some(value.clone()) };
    if kept.is_empty() {
        return None;
    }
    // Pieces of a header value are a header value again.
    let mut kept = HeaderValue::from_maybe_shared(kept).ok()?;
    kept.set_sensitive(value.is_sensitive());
    Some(kept)
}

pub(super) struct Pieces<'a> {
    rest: Option<&'a [u8]>,
    separators: [u8; 2],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let [one, other] = self.separators;
        let piece;
        (piece, self.rest) = match memchr::memchr2(one, other, rest) {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_are_to_go_are_cut_out() {
        let dead = |piece: &[u8]| piece.ends_with(b"dead");
        let header = |text| {
            let value = HeaderValue::from_static(text);
            header_without(&value, List::COOKIES, dead)
                .map(|it| it.to_str().expect("text").to_owned())
        };
        assert_eq!(header("a=1; t=dead;b=2; t=alive").as_deref(), Some("a=1; b=2; t=alive"));
        assert_eq!(header("t=dead"), None);
        assert_eq!(header("a=1;b=2").as_deref(), Some("a=1;b=2"));
        assert_eq!(List::FIELDS.without(b"a=1&b=dead;c=2", dead).expect("less"), "a=1&c=2");
        assert_eq!(List::FIELDS.without(b"a=1&b=2", dead), None);
    }

    #[test]
    fn kept_header_stays_sensitive() {
        let mut value = HeaderValue::from_static("a=1; t=dead");
        value.set_sensitive(true);
        let kept = header_without(&value, List::COOKIES, |piece| piece.ends_with(b"dead"));
        assert!(kept.expect("a header").is_sensitive());
    }
}
