//! Where a request carries tokens.
//!
//! The rule of this room: however an application could read a token out of a place, the place
//! yields it too. It may yield more, never less. So every occurrence counts, and a value that
//! different parsers read differently is yielded in each of its readings.

mod bearer;
mod cookie;
mod cookie_header;
mod header;
mod json;
mod locations;
mod name;
mod percent;
mod reading;
mod urlencoded;

use http::{HeaderMap, HeaderValue, Method, Request, Uri, request};

pub use self::cookie::{CookieLocation, SameSite};
pub(crate) use self::locations::Locations;
pub(crate) use self::reading::Reading;
use crate::token::{CredentialKind, FoundIn, Revocation};

/// How many credentials of one request are looked at, every reading of each counted. A browser sends
/// two; what carries more than this is a flood in one request, and each costs a hash.
const MOST_CREDENTIALS: usize = 64;

/// How many bytes are looked at of what few applications would read. The likeliest readings together
/// are no longer than the request; without a bound the others could be ten times that.
const MOST_UNLIKELY: usize = 16 * 1024;

/// What was looked at of one request, so that no request takes more than its length deserves.
#[derive(Default)]
pub(crate) struct LookedAt {
    credentials: usize,
    unlikely: usize,
}

impl LookedAt {
    /// Counts one more; `false` where it is too much.
    pub(crate) fn may_have(&mut self, value: &[u8], is_likeliest: bool) -> bool {
        self.credentials += 1;
        self.unlikely += if is_likeliest { 0 } else { value.len() };
        self.credentials <= MOST_CREDENTIALS && self.unlikely <= MOST_UNLIKELY
    }
}

/// A place in a request where a token is carried.
///
/// Invalid names are reported when the layer is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLocation(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Bearer,
    Cookie(CookieLocation),
    Header(String),
    Query(String),
    Form(String),
    Json(String),
}

impl TokenLocation {
    /// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1): the scheme in any case, then any
    /// white space.
    #[must_use]
    pub fn bearer() -> Self {
        Self(Place::Bearer)
    }

    /// The cookie of this name: plain, quoted, or percent-encoded.
    ///
    /// On logout, and when a revoked token came in it, the cookie is removed from the browser. That
    /// only works with the `Path` and `Domain` it was set with: see [`CookieLocation`].
    #[must_use]
    pub fn cookie(name: impl Into<String>) -> CookieLocation {
        CookieLocation::new(name.into())
    }

    /// The whole value of this header, `x-api-key` say; every one, where it comes more than once.
    /// For `Authorization` use [`bearer`](Self::bearer), for `Cookie` [`cookie`](Self::cookie).
    #[must_use]
    pub fn header(name: impl Into<String>) -> Self {
        Self(Place::Header(name.into()))
    }

    /// This parameter of the query (RFC 6750, section 2.3).
    #[must_use]
    pub fn query(name: impl Into<String>) -> Self {
        Self(Place::Query(name.into()))
    }

    /// This field of an `application/x-www-form-urlencoded` body (RFC 6750, section 2.2).
    ///
    /// Bodies are read on the logout routes, and on the routes named with
    /// [`body_route`](crate::Builder::body_route). On a GET or HEAD to one of these the query is
    /// taken for a form too, as axum's `Form` does.
    #[must_use]
    pub fn form(field: impl Into<String>) -> Self {
        Self(Place::Form(field.into()))
    }

    /// This field, a string, of the object that a JSON body is. Read where forms are.
    #[must_use]
    pub fn json(field: impl Into<String>) -> Self {
        Self(Place::Json(field.into()))
    }
}

impl From<CookieLocation> for TokenLocation {
    fn from(cookie: CookieLocation) -> Self {
        Self(Place::Cookie(cookie))
    }
}

/// All that is seen of a request before its body.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
}

impl<'a, B> From<&'a Request<B>> for Head<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers() }
    }
}

impl<'a> From<&'a request::Parts> for Head<'a> {
    fn from(parts: &'a request::Parts) -> Self {
        Self { method: &parts.method, uri: &parts.uri, headers: &parts.headers }
    }
}

/// One reading of a value in a configured place. Never empty: nobody accepts that.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) kind: CredentialKind,
    pub(crate) place: FoundIn,
    /// Of all readings of its value, what most applications would read.
    pub(crate) is_likeliest: bool,
    /// Nobody had to put it there: a browser does, whoever made it send the request.
    pub(crate) came_by_itself: bool,
    /// How its cookie is removed, where it came in one.
    pub(crate) cookie_removal: Option<&'a HeaderValue>,
}

impl Found<'_> {
    /// The order to revoke it. Polar is told of the likeliest reading alone: another may be what some
    /// application reads, but hardly what Polar has issued.
    pub(crate) fn revocation(&self) -> Option<Revocation> {
        let revocation = Revocation::parse(self.value, self.kind)?;
        let token = revocation.token.filter(|_| self.is_likeliest);
        Some(Revocation { token, found_in: self.place, ..revocation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_request_64_credentials_are_looked_at_and_16_kib_of_what_few_would_read() {
        let mut credentials = LookedAt::default();
        assert!((0..64).all(|_| credentials.may_have(&[b'x'; 1024], true)));
        assert!(!credentials.may_have(b"x", true));
        let mut unlikely = LookedAt::default();
        assert!((0..16).all(|_| unlikely.may_have(&[b'x'; 1024], false)));
        assert!(unlikely.may_have(&[b'x'; 16 * 1024], true), "what most would read");
        assert!(!unlikely.may_have(b"x", false));
    }
}
