//! Splits lists into pieces, and removes pieces: cookies, items of a header, fields of a query.

use std::iter;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

/// The byte that separates the pieces of a list.
#[derive(Clone, Copy)]
pub(super) struct List(u8);

impl List {
    pub(super) const COOKIES: Self = Self(b';');
    /// RFC 9110, section 5.6.1.
    pub(super) const ITEMS: Self = Self(b',');
    pub(super) const FIELDS: Self = Self(b'&');

    pub(super) fn pieces(self, text: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = Some(text);
        iter::from_fn(move || {
            let text = rest?;
            let piece;
            (piece, rest) = match memchr::memchr(self.0, text) {
                Some(end) => (&text[..end], Some(&text[end + 1..])),
                None => (text, None),
            };
            Some(piece)
        })
    }

    /// The list without the pieces that `goes` chooses, otherwise byte for byte; `None` if all
    /// stay.
    pub(super) fn without(self, text: &[u8], mut goes: impl FnMut(&[u8]) -> bool) -> Option<Bytes> {
        // Never longer than this. A vector that grew would leave an unwiped copy behind.
        let mut kept = Zeroizing::new(Vec::with_capacity(text.len()));
        let (mut some_go, mut some_stay) = (false, false);
        for piece in self.pieces(text) {
            if goes(piece) {
                some_go = true;
            } else if some_stay {
                kept.push(self.0);
                kept.extend_from_slice(piece);
            } else {
                some_stay = true;
                kept.extend_from_slice(piece.trim_ascii_start());
            }
        }
        some_go.then(|| Bytes::from_owner(kept))
    }
}

/// The header without the pieces that `goes` chooses; `None` if nothing is left.
pub(super) fn header_without(
    value: &HeaderValue,
    list: List,
    goes: impl FnMut(&[u8]) -> bool,
) -> Option<HeaderValue> {
    let Some(kept) = list.without(value.as_bytes(), goes) else { return Some(value.clone()) };
    if kept.is_empty() {
        return None;
    }
    // Cannot fail: it consists of pieces of a header value.
    let mut kept = HeaderValue::from_maybe_shared(kept).ok()?;
    kept.set_sensitive(value.is_sensitive());
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_pieces_are_cut_out() {
        let dead = |piece: &[u8]| piece.ends_with(b"dead");
        let header = |text| {
            let value = HeaderValue::from_static(text);
            header_without(&value, List::COOKIES, dead)
                .map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(header("a=1; t=dead;b=2; t=alive").as_deref(), Some("a=1;b=2; t=alive"));
        assert_eq!(header("t=dead; a=\"x;y\"").as_deref(), Some("a=\"x;y\""));
        assert_eq!(header("t=dead"), None);
        assert_eq!(header("a=1;b=2").as_deref(), Some("a=1;b=2"));
        assert_eq!(List::FIELDS.without(b"a=1;2&b=dead&c=2", dead).expect("less"), "a=1;2&c=2");
        assert_eq!(List::FIELDS.without(b"&a=1&b=dead&&", dead).expect("less"), "&a=1&&");
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
