//! Reads the cookies of a `Cookie` header, and the cookie that a `Set-Cookie` header sets.

use std::time::SystemTime;

/// The value of a cookie, if it has exactly this name. White space around the name is ignored.
#[inline]
pub(super) fn value_of<'a>(cookie: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = cookie.trim_ascii_start().strip_prefix(name)?;
    rest.trim_ascii_start().strip_prefix(b"=")
}

/// The cookie that a `Set-Cookie` value sets; `None` if it removes one (RFC 6265, section 5.2).
pub(super) fn set_by(set_cookie: &[u8]) -> Option<&[u8]> {
    let mut parts = set_cookie.split(|&byte| byte == b';');
    let set = parts.next()?;
    let (mut max_age, mut expires) = (None, None);
    for attribute in parts {
        let Some((name, value)) =
            std::str::from_utf8(attribute).ok().and_then(|text| text.split_once('='))
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

    #[test]
    fn cookie_is_recognised_by_its_exact_name() {
        assert_eq!(value_of(b" a=1", b"a"), Some(&b"1"[..]));
        assert_eq!(value_of(b" a = b=c", b"a"), Some(&b" b=c"[..]));
        for other in [&b"a"[..], b"aa=1", b"A=1", b"b=a=1", b"=a", b"\"a=1"] {
            assert_eq!(value_of(other, b"a"), None);
        }
    }

    #[test]
    fn cookie_is_set_unless_it_is_removed() {
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
}
