//! What parsers read out of `Cookie` headers, and the pair that a `Set-Cookie` header sets.
//!
//! A name is searched for, and only where it stands something is taken apart: no header, however it
//! is made up, takes more than a few looks at each of its bytes.

use std::ops::ControlFlow;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::name::Name;
use super::reading::{self, Reading, is_plain, trim_end, trim_start};

/// What stands for the value of a cookie of a name.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    text: &'a [u8],
    /// Only few parsers see a cookie there.
    is_unlikely: bool,
}

/// The values of the cookies of this name, in every way to write it.
pub(super) fn values<'a>(
    header: &'a [u8],
    name: &Name,
    mut visit: impl FnMut(Value<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    name.search(header, may_separate, |begin, behind| match Behind::name(header, begin, behind) {
        Some(behind) => visit(behind.value()),
        None => ControlFlow::Continue(()),
    })
}

/// The values that hold a semicolon between quotes. Browsers and most parsers know no such thing
/// (RFC 6265, section 4.1.1), but some do, and join all headers first: `headers::Cookie`.
pub(super) fn values_across_semicolons<'a>(
    joined: &'a [u8],
    name: &Name,
    mut visit: impl FnMut(Value<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    name.search(joined, may_separate, |begin, behind| {
        let behind = Behind::name(joined, begin, behind);
        match behind.and_then(Behind::value_across_semicolons) {
            Some(value) => visit(value),
            None => ControlFlow::Continue(()),
        }
    })
}

/// Whether a cookie may begin behind this: a semicolon, a comma, white space, the last byte of a
/// character that is such, and all that costs nothing to take for such.
fn may_separate(byte: u8) -> bool {
    byte.cast_signed() <= b' '.cast_signed() || matches!(byte, b';' | b',')
}

/// All of a header that is behind the name of a cookie and its equals sign.
struct Behind<'a> {
    text: &'a [u8],
    is_unlikely: bool,
}

impl<'a> Behind<'a> {
    /// `None` where no cookie begins with what is there, or it has no value.
    fn name(header: &'a [u8], begin: usize, behind: &'a [u8]) -> Option<Self> {
        let text = match behind {
            [b'=', text @ ..] => text,
            _ => trim_start(behind).strip_prefix(b"=")?,
        };
        let before = trim_end(&header[..begin]);
        let is_unlikely = match before.last() {
            None | Some(b';') => false,
            // Between cookies as RFC 2965 has them, and as Python's standard library reads them.
            Some(b',') => true,
            Some(_) if before.len() < begin => true,
            Some(_) => return None,
        };
        Some(Self { text, is_unlikely })
    }

    fn value(self) -> Value<'a> {
        let end = if self.is_unlikely {
            self.text.iter().position(|&byte| byte == b';' || is_loose_end(byte))
        } else {
            memchr::memchr(b';', self.text)
        };
        let text = self.text[..end.unwrap_or(self.text.len())].trim_ascii();
        Value { text, is_unlikely: self.is_unlikely }
    }

    /// The value, if it does not end with the first semicolon.
    fn value_across_semicolons(self) -> Option<Value<'a>> {
        // Before the rest is looked at: there can be very many of them in front of one semicolon.
        if self.is_unlikely {
            return None;
        }
        let first = memchr::memchr(b';', self.text)?;
        let mut is_quoted = false;
        let end = self.text.iter().position(|&byte| {
            is_quoted ^= byte == b'"';
            byte == b';' && !is_quoted
        });
        let text = self.text[..end.unwrap_or(self.text.len())].trim_ascii();
        (end != Some(first)).then_some(Value { text, is_unlikely: true })
    }
}

/// What ends a value where a cookie need not end with a semicolon.
fn is_loose_end(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',')
}

impl Value<'_> {
    /// Yields every reading of the value: as it is, trimmed, percent-decoded, without quotes, and its
    /// front, where a parser could take that for all of it.
    pub(super) fn visit(
        self,
        yield_to: &mut impl FnMut(Reading<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Self { text, is_unlikely } = self;
        let yield_to = &mut |Reading { value, is_likeliest }: Reading<'_>| {
            yield_to(Reading { value, is_likeliest: is_likeliest && !is_unlikely })
        };
        if is_plain(text) {
            return yield_to(Reading::likeliest(text));
        }
        if let Some(end) = memchr::memchr3(b' ', b'\t', b',', text) {
            reading::visit(&text[..end], &mut |Reading { value, .. }| {
                yield_to(Reading::possible(value))
            })?;
        }
        reading::visit(text, yield_to)
    }
}

/// All `Cookie` headers as one, in `room` where there is more than one.
pub(super) fn joined<'a>(headers: &'a HeaderMap, room: &'a mut Zeroizing<Vec<u8>>) -> &'a [u8] {
    let mut values = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    match (values.next(), values.next()) {
        (Some(one), None) => one,
        (first, second) => {
            let all: Vec<_> = first.into_iter().chain(second).chain(values).collect();
            *room = Zeroizing::new(all.join(&b"; "[..]));
            room
        }
    }
}

/// The header without the cookies that `is_dead` says are; `None` where nothing is left.
pub(super) fn without(
    value: &HeaderValue,
    mut is_dead: impl FnMut(&[u8]) -> bool,
) -> Option<HeaderValue> {
    // A space may come behind each semicolon.
    let capacity = value.len() + memchr::memchr_iter(b';', value.as_bytes()).count();
    let mut kept = Zeroizing::new(Vec::with_capacity(capacity));
    for cookie in value.as_bytes().split(|&byte| byte == b';') {
        if is_dead(cookie) {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(cookie.trim_ascii());
    }
    if kept.is_empty() {
        return None;
    }
    // Parts of a header value are a header value again.
    let mut kept = HeaderValue::from_maybe_shared(Bytes::from_owner(kept)).ok()?;
    kept.set_sensitive(value.is_sensitive());
    Some(kept)
}

/// The cookie that a `Set-Cookie` value sets; `None` where it removes one (RFC 6265, section 5.2).
pub(super) fn set_by(set_cookie: &[u8]) -> Option<&[u8]> {
    let mut parts = set_cookie.split(|&byte| byte == b';');
    let set = parts.next()?;
    let (mut max_age, mut expires) = (None, None);
    for attribute in parts {
        let Some((name, value)) =
            std::str::from_utf8(attribute).ok().and_then(|it| it.split_once('='))
        else {
            continue;
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "max-age" => max_age = value.trim().parse::<i64>().ok().or(max_age),
            "expires" => expires = httpdate::parse_http_date(value.trim()).ok().or(expires),
            _ => {}
        }
    }
    let is_removal = match max_age {
        Some(seconds) => seconds <= 0,
        None => expires.is_some_and(|expires| expires <= SystemTime::now()),
    };
    (!is_removal).then_some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &[u8], name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let _ = values(header, &Name::new(name), |value| collect(value, &mut found));
        found
    }

    fn collect(value: Value<'_>, found: &mut Vec<String>) -> ControlFlow<()> {
        value.visit(&mut |Reading { value, .. }| {
            found.push(String::from_utf8_lossy(value).into_owned());
            ControlFlow::Continue(())
        })
    }

    #[test]
    fn every_cookie_of_the_name_counts() {
        assert_eq!(read(b"t=1; u=2;t=3;  t = 4 ", "t"), ["1", "3", "4"]);
        assert!(read(b"tt=1; T=2; t; =t; u=t=5", "t").is_empty());
        assert!(read("\u{e9}t=1; t\u{e9}t=2; \u{1}t=3".as_bytes(), "t").is_empty());
    }

    #[test]
    fn quoted_and_encoded_values_are_read_in_every_way() {
        assert_eq!(read(b"t=\"abc\"", "t"), ["\"abc\"", "abc"]);
        assert_eq!(read(b"t=a%62c", "t"), ["a%62c", "abc"]);
        assert!(read(b"t=\"a%62c\"", "t").contains(&"abc".to_owned()));
        assert!(read(b"t=%22abc%22", "t").contains(&"abc".to_owned()));
        assert!(read(b"t=%20abc", "t").contains(&"abc".to_owned()));
        assert!(read(b"t=\"\"abc", "t").contains(&"abc".to_owned()));
        // As Python's standard library reads them.
        for escaped in [&br#"t="\141bc""#[..], br#"t="\abc""#, br#"t="a\142\c""#] {
            assert!(read(escaped, "t").contains(&"abc".to_owned()));
        }
        assert_eq!(read(br#"t="\4\""#, "t").last().expect("one"), r"4\");
        assert_eq!(read(br"t=a\bc", "t"), [r"a\bc"]);
        assert!(read(b"t=%20abc", "t").contains(&" abc".to_owned()));
        assert_eq!(read("t=\u{3000}abc\u{a0}".as_bytes(), "t").last().expect("one"), "abc");
    }

    #[test]
    fn names_are_read_with_escapes_and_any_white_space() {
        for header in ["%74ok=abc", "t%6Fk=abc", "a=1;to%6b =abc", "%74%6f%6b=abc", "tok\t=abc"] {
            assert_eq!(read(header.as_bytes(), "tok"), ["abc"], "{header}");
        }
        assert_eq!(read("\u{a0}tok\u{3000}=abc".as_bytes(), "tok"), ["abc"]);
        for header in ["%74%74ok=abc", "t%256Fk=abc", "to%6=abc", "%74ok%3Dabc", "a=%74ok=abc"] {
            assert!(read(header.as_bytes(), "tok").is_empty(), "{header}");
        }
    }

    #[test]
    fn a_cookie_may_begin_and_end_with_a_comma_or_white_space() {
        for header in ["a=1,t=abc", "a=1 t=abc", "a=1, t=abc,b=2", "a t=abc c; d"] {
            assert_eq!(read(header.as_bytes(), "t"), ["abc"], "{header}");
        }
        assert_eq!(read(b"t=abc def", "t"), ["abc", "abc def"]);
    }

    #[test]
    fn a_value_may_hold_equals_signs_and_need_not_be_text() {
        assert_eq!(read(b"t=a=b==", "t"), ["a=b=="]);
        assert_eq!(read(b"\xff=1; t=x\xffy", "t"), ["x\u{fffd}y"]);
    }

    #[test]
    fn what_is_dead_is_cut_out_and_the_rest_stays() {
        let header = HeaderValue::from_static("a=1; t=dead;b=2; t=alive");
        let dead = |cookie: &[u8]| cookie.ends_with(b"dead");
        assert_eq!(without(&header, dead).expect("a header"), "a=1; b=2; t=alive");
        assert_eq!(without(&HeaderValue::from_static("t=dead"), dead), None);
    }

    #[test]
    fn a_cookie_is_set_unless_it_is_removed() {
        for set in [
            &b"t=1"[..],
            b"t=1; Path=/; HttpOnly",
            b"t=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            b"t=1; Max-Age=soon",
            b"t=1; Expires=some day",
            b"t=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            assert_eq!(set_by(set), Some(&b"t=1"[..]));
        }
        for removed in [
            &b"t=1; Max-Age=0"[..],
            b"t=1; path=/; max-age = -1",
            b"t=deleted; Expires=Thu, 01 Jan 1970 00:00:01 GMT",
        ] {
            assert!(set_by(removed).is_none());
        }
    }

    #[test]
    fn quotes_may_hold_semicolons_also_from_one_header_to_the_next() {
        let read = |values: &[&'static str]| {
            let values = values.iter().map(|text| (COOKIE, HeaderValue::from_static(text)));
            let headers = values.collect();
            let mut found = Vec::new();
            let name = Name::new("t");
            let mut room = Zeroizing::default();
            let _ = values_across_semicolons(joined(&headers, &mut room), &name, |value| {
                collect(value, &mut found)
            });
            found
        };
        assert_eq!(read(&["a=1; t=\"b;c\"; d=2"]), ["\"b;c\"", "b;c"]);
        assert!(read(&["t=b\"", "c\"d"]).contains(&"b\"; c\"d".to_owned()));
        assert!(read(&["t=b", "t=c"]).is_empty(), "no quotes");
        assert!(read(&["t=\"b\"", "t=c"]).is_empty(), "no semicolon");
    }
}
