//! A cookie of a given name, and how it is removed from the browser.

use std::ops::ControlFlow;
use std::time::SystemTime;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use memchr::memmem::Finder;
use percent_encoding::percent_decode;

use super::reading::{self, Reading, are_plain, is_plain, readings};
use crate::error::Error;

/// A cookie that holds a token: made by [`TokenLocation::cookie`](super::TokenLocation::cookie).
///
/// A browser removes a cookie only when told with the attributes it was set with. The defaults are
/// `Path=/`, no `Domain`, no `SameSite`, not `Secure` (but for names that begin with `__Host-` or
/// `__Secure-`, which browsers refuse without it), not `Partitioned`.
///
/// ```
/// use tower_polar_logout::{SameSite, TokenLocation};
///
/// let cookie = TokenLocation::cookie("access_token")
///     .domain("example.com")
///     .secure(true)
///     .same_site(SameSite::Lax);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieLocation {
    pub(super) name: String,
    path: String,
    domain: Option<String>,
    secure: bool,
    same_site: Option<SameSite>,
    partitioned: bool,
}

/// The `SameSite` attribute of a cookie: whether a browser sends it with requests that another site
/// caused. Here only for its removal: give what the cookie was set with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// `SameSite=Strict`
    Strict,
    /// `SameSite=Lax`
    Lax,
    /// `SameSite=None`, which browsers take only together with `Secure`.
    None,
}

impl CookieLocation {
    pub(super) fn new(name: String) -> Self {
        let secure = name.starts_with("__Host-") || name.starts_with("__Secure-");
        Self {
            name,
            path: "/".to_owned(),
            domain: None,
            secure,
            same_site: None,
            partitioned: false,
        }
    }

    /// The `Path` the cookie was set with. Default `/`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The `Domain` the cookie was set with. Default none: the host that set it.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Whether the cookie was set `Secure`. Default `false`, but for names that begin with `__Host-` or
    /// `__Secure-`.
    #[must_use]
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// The `SameSite` the cookie was set with. Default none.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = Some(same_site);
        self
    }

    /// Whether the cookie was set `Partitioned` (CHIPS).
    #[must_use]
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// The `Set-Cookie` value that removes it (RFC 6265, section 3.1).
    pub(super) fn removal(&self) -> Result<HeaderValue, Error> {
        let name = &self.name;
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(Error::configuration(format!(
                "the cookie location `{name}` is no cookie name (RFC 6265, section 4.1.1)"
            )));
        }
        if !self.path.starts_with('/') || !is_attribute(&self.path) {
            return Err(Error::configuration(format!(
                "the path `{}` of the cookie `{name}` must begin with `/` and hold no `;`",
                self.path
            )));
        }
        if self.domain.as_ref().is_some_and(|domain| domain.is_empty() || !is_attribute(domain)) {
            return Err(Error::configuration(format!(
                "the domain of the cookie `{name}` is no domain name"
            )));
        }
        if self.same_site == Some(SameSite::None) && !self.secure {
            return Err(Error::configuration(format!(
                "browsers ignore `SameSite=None` without `Secure`: add `.secure(true)` to the \
                 cookie `{name}`"
            )));
        }
        if self.partitioned && !self.secure {
            return Err(Error::configuration(format!(
                "browsers ignore `Partitioned` without `Secure`: add `.secure(true)` to the \
                 cookie `{name}`"
            )));
        }
        let is_host = name.starts_with("__Host-");
        if (is_host || name.starts_with("__Secure-")) && !self.secure {
            return Err(Error::configuration(format!(
                "browsers ignore the cookie `{name}` without `Secure`: leave `.secure(false)` out"
            )));
        }
        if is_host && (self.path != "/" || self.domain.is_some()) {
            return Err(Error::configuration(format!(
                "browsers ignore the cookie `{name}` with a domain, or a path other than `/`: \
                 leave both out"
            )));
        }
        let mut value = format!(
            "{name}=; Path={}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            self.path
        );
        if let Some(domain) = &self.domain {
            value.push_str("; Domain=");
            value.push_str(domain);
        }
        if self.secure {
            value.push_str("; Secure");
        }
        match self.same_site {
            Some(SameSite::Strict) => value.push_str("; SameSite=Strict"),
            Some(SameSite::Lax) => value.push_str("; SameSite=Lax"),
            Some(SameSite::None) => value.push_str("; SameSite=None"),
            None => {}
        }
        if self.partitioned {
            value.push_str("; Partitioned");
        }
        HeaderValue::from_str(&value).map_err(|error| {
            Error::configuration(format!("the cookie `{name}` does not fit into a header"))
                .with_source(error)
        })
    }
}

/// `token` of RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_attribute(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b';')
}

/// One `name=value` of a `Cookie` header.
pub(super) struct Pair<'a> {
    text: &'a [u8],
    /// Every parser reads the header as it is.
    is_plain: bool,
}

/// What stands for a cookie's value.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    text: &'a [u8],
    is_plain: bool,
}

/// The pairs of a `Cookie` value, the same name as often as it occurs.
pub(super) fn pairs(header: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    // One look at all of it is cheaper than one at each part, and most headers pass.
    let is_plain = are_plain(header);
    header.split(|&byte| byte == b';').map(move |text| Pair { text, is_plain })
}

/// The pair that a `Set-Cookie` value sets; `None` where it removes the cookie (RFC 6265, section 5.2).
pub(super) fn set_by(set_cookie: &[u8]) -> Option<Pair<'_>> {
    let mut pairs = pairs(set_cookie);
    let set = pairs.next()?;
    let (mut max_age, mut expires) = (None, None);
    for Pair { text, .. } in pairs {
        let Some((name, value)) = std::str::from_utf8(text).ok().and_then(|it| it.split_once('='))
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

/// The values of the cookies of this name, which the finder finds.
pub(super) fn values(
    header: &[u8],
    name: &str,
    finder: &Finder<'_>,
    mut visit: impl FnMut(Value<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if are_plain(header) {
        plain_values(header, name, finder).try_for_each(visit)
    } else {
        pairs(header).filter_map(|pair| pair.value_of(name)).try_for_each(&mut visit)
    }
}

/// The same in a header that every parser reads as it is: other cookies are passed over many bytes
/// at a time.
fn plain_values<'a>(
    header: &'a [u8],
    name: &'a str,
    finder: &'a Finder<'_>,
) -> impl Iterator<Item = Value<'a>> {
    finder.find_iter(header).filter_map(move |at| {
        let before = header[..at].trim_ascii_end();
        if before.last().is_some_and(|&byte| byte != b';') {
            return None;
        }
        let text = header[at + name.len()..].trim_ascii_start().strip_prefix(b"=")?;
        let end = memchr::memchr(b';', text).unwrap_or(text.len());
        Some(Value { text: text[..end].trim_ascii(), is_plain: true })
    })
}

/// All `Cookie` values as one.
pub(super) fn joined(headers: &HeaderMap) -> Vec<u8> {
    let values = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    values.collect::<Vec<_>>().join(&b"; "[..])
}

/// The pairs that hold a semicolon between quotes. Browsers and most parsers know no such thing
/// (RFC 6265, section 4.1.1), but some do, and join all values first: `headers::Cookie`.
pub(super) fn pairs_across_semicolons(joined: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut is_quoted = false;
    let texts = joined.split(move |&byte| {
        is_quoted ^= byte == b'"';
        byte == b';' && !is_quoted
    });
    let holds_one = |text: &&[u8]| memchr::memchr(b';', text).is_some();
    texts.filter(holds_one).map(|text| Pair { text, is_plain: false })
}

/// The value without the pairs that `is_dead` says are; `None` where nothing is left.
pub(super) fn without(
    value: &HeaderValue,
    mut is_dead: impl FnMut(&Pair<'_>) -> bool,
) -> Option<HeaderValue> {
    let mut kept = Vec::with_capacity(value.len());
    for pair in pairs(value.as_bytes()) {
        if is_dead(&pair) {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair.text.trim_ascii());
    }
    if kept.is_empty() {
        return None;
    }
    // Parts of a header value are a header value again.
    let mut kept = HeaderValue::from_maybe_shared(bytes::Bytes::from(kept)).ok()?;
    kept.set_sensitive(value.is_sensitive());
    Some(kept)
}

impl<'a> Pair<'a> {
    /// The value, where the name, in any reading of it, is this one.
    pub(super) fn value_of(&self, name: &str) -> Option<Value<'a>> {
        // No reading is longer than what is read: most other pairs end here.
        if self.text.len() <= name.len() {
            return None;
        }
        let equals = memchr::memchr(b'=', self.text)?;
        let (found, value) = (self.text[..equals].trim_ascii(), &self.text[equals + 1..]);
        let is_named = found == name.as_bytes()
            || (!is_plain(found)
                && may_be_read_as(found, name)
                && readings(found).iter().any(|reading| reading == name.as_bytes()));
        is_named.then(|| Value { text: value.trim_ascii(), is_plain: self.is_plain })
    }
}

/// Whether any reading could be the name. Without a backslash every reading is a part of what is
/// found, or of what that is decoded: either has the letters of the name in their order.
fn may_be_read_as(found: &[u8], name: &str) -> bool {
    let mut decoded = percent_decode(found);
    name.contains('%')
        || found.contains(&b'\\')
        || name.bytes().all(|letter| decoded.any(|byte| byte == letter))
}

impl Value<'_> {
    /// Yields every reading of the value: as it is, trimmed, percent-decoded, without quotes.
    pub(super) fn visit(
        self,
        yield_to: &mut impl FnMut(Reading<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.is_plain || is_plain(self.text) {
            return yield_to(Reading::likeliest(self.text));
        }
        reading::visit(&readings(self.text), yield_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &[u8], name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let _ = values(header, name, &Finder::new(name), |value| {
            value.visit(&mut |Reading { value, .. }| {
                found.push(String::from_utf8_lossy(value).into_owned());
                ControlFlow::Continue(())
            })
        });
        found
    }

    #[test]
    fn every_cookie_of_the_name_counts() {
        assert_eq!(read(b"t=1; u=2;t=3;  t = 4 ", "t"), ["1", "3", "4"]);
        assert!(read(b"tt=1; T=2; t; =t", "t").is_empty());
    }

    #[test]
    fn quoted_and_encoded_values_are_read_in_every_way() {
        assert_eq!(read(b"t=\"abc\"", "t"), ["\"abc\"", "abc"]);
        assert_eq!(read(b"t=a%62c", "t"), ["a%62c", "abc"]);
        assert!(read(b"t=\"a%62c\"", "t").contains(&"abc".to_owned()));
        assert!(read(b"t=%22abc%22", "t").contains(&"abc".to_owned()));
        assert!(read(b"t=%20abc", "t").contains(&"abc".to_owned()));
        // As Python's standard library reads them.
        for escaped in [&br#"t="\141bc""#[..], br#"t="\abc""#, br#"t="a\142\c""#] {
            assert!(read(escaped, "t").contains(&"abc".to_owned()));
        }
        assert_eq!(read(br#"t="\4\""#, "t").last().expect("one"), r"4\");
        assert_eq!(read(br"t=a\bc", "t"), [r"a\bc"]);
        assert!(read(b"t=%20abc", "t").contains(&" abc".to_owned()));
        assert_eq!(read(b"%74=abc", "t"), ["abc"]);
        assert_eq!(read("t=\u{3000}abc\u{a0}".as_bytes(), "t").last().expect("one"), "abc");
        assert_eq!(read("\u{a0}t=abc".as_bytes(), "t"), ["abc"]);
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
            assert!(set_by(set).is_some_and(|pair| pair.value_of("t").is_some()));
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
    fn quotes_may_hold_semicolons_also_from_one_value_to_the_next() {
        let read = |values: &[&'static str]| {
            let values = values.iter().map(|text| (COOKIE, HeaderValue::from_static(text)));
            let joined = joined(&values.collect());
            let mut found = Vec::new();
            for value in pairs_across_semicolons(&joined).filter_map(|pair| pair.value_of("t")) {
                let _ = value.visit(&mut |Reading { value, .. }| {
                    found.push(String::from_utf8_lossy(value).into_owned());
                    ControlFlow::Continue(())
                });
            }
            found
        };
        assert_eq!(read(&["a=1; t=\"b;c\"; d=2"]), ["\"b;c\"", "b;c"]);
        assert_eq!(read(&["t=b\"", "c\"d"]), ["b\"; c\"d"]);
        assert!(read(&["t=b", "t=c"]).is_empty(), "no quotes");
        assert!(read(&["t=\"b\"", "t=c"]).is_empty(), "no semicolon");
    }

    #[test]
    fn a_value_may_hold_equals_signs_and_need_not_be_text() {
        assert_eq!(read(b"t=a=b==", "t"), ["a=b=="]);
        assert_eq!(read(b"\xff=1; t=x\xffy", "t"), ["x\u{fffd}y"]);
    }

    #[test]
    fn what_is_dead_is_cut_out_and_the_rest_stays() {
        let header = HeaderValue::from_static("a=1; t=dead;b=2; t=alive");
        let dead = |pair: &Pair<'_>| pair.text.ends_with(b"dead");
        assert_eq!(without(&header, dead).expect("a header"), "a=1; b=2; t=alive");
        assert_eq!(without(&HeaderValue::from_static("t=dead"), dead), None);
    }

    #[test]
    fn a_removal_carries_the_attributes_the_cookie_was_set_with() {
        let removal = |cookie: CookieLocation| {
            cookie.removal().expect("a removal").to_str().expect("text").to_owned()
        };
        let expired = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(removal(CookieLocation::new("t".into())), format!("t=; Path=/; {expired}"));
        assert_eq!(
            removal(
                CookieLocation::new("t".into())
                    .path("/app")
                    .domain("example.com")
                    .secure(true)
                    .same_site(SameSite::None)
                    .partitioned(true)
            ),
            format!(
                "t=; Path=/app; {expired}; Domain=example.com; Secure; SameSite=None; Partitioned"
            )
        );
        assert!(removal(CookieLocation::new("__Host-t".into())).ends_with("; Secure"));
    }

    #[test]
    fn a_cookie_that_no_browser_would_remove_is_a_configuration_error() {
        let cookie = |name: &str| CookieLocation::new(name.to_owned());
        for wrong in [
            cookie(""),
            cookie("a b"),
            cookie("a;b"),
            cookie("t").path("app"),
            cookie("t").path("/; Domain=evil"),
            cookie("t").domain(""),
            cookie("t").domain("a\r\nb"),
            cookie("t").same_site(SameSite::None),
            cookie("t").partitioned(true),
            cookie("__Secure-t").secure(false),
            cookie("__Host-t").secure(false),
            cookie("__Host-t").domain("example.com"),
            cookie("__Host-t").path("/app"),
        ] {
            assert!(wrong.removal().is_err(), "{wrong:?}");
        }
    }
}
