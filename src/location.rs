//! Finds the credentials that a request carries.
//!
//! Polar's tokens are recognised by their shape, in every place that an app could read, in any
//! encoding, and inside any other text: no list of places or spellings could be complete. All other
//! credentials are recognised by their configured place, and read in one way.

mod cookie;
mod cookie_attributes;
mod finder;
mod json;
mod pieces;
mod places;
mod query;
mod search;
mod take_out;

use http::{HeaderMap, Method, Request, Uri, request};

pub use self::cookie_attributes::{CookieLocation, SameSite};
pub(crate) use self::finder::Finder;
use crate::token::{CredentialKind, FoundIn, Revocation, Token, TokenHash};

/// A place in a request where a credential is carried.
///
/// The layer finds Polar's tokens anywhere in `Authorization`, `Cookie`, `Sec-WebSocket-Protocol`,
/// the path and the query, without a location. A configured location has further effects:
///
/// - A living token there counts as a signed-in user.
/// - The cookie is removed from the browser.
/// - A further header, or the body of a logout, is searched.
/// - Session ids are found there.
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
    /// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1). Polar's tokens are found there after
    /// any scheme. Other credentials need the scheme `Bearer`, in upper or lower case.
    #[must_use]
    pub fn bearer() -> Self {
        Self(Place::Bearer)
    }

    /// The cookie with exactly this name.
    ///
    /// The layer removes the cookie from the browser:
    ///
    /// - on logout;
    /// - if the cookie of a request holds a revoked credential, with a 401, or with the answer of a
    ///   [`WhenRevoked::Anonymous`](crate::WhenRevoked::Anonymous) path.
    ///
    /// The browser removes the cookie only if the location has the `Path` and `Domain` that the
    /// cookie was set with: see [`CookieLocation`]. If the app sets the cookie with several paths
    /// or domains, give one location for each.
    #[must_use]
    pub fn cookie(name: impl Into<String>) -> CookieLocation {
        CookieLocation::new(name.into())
    }

    /// The header with this name, for example `x-session-token`. If a request has several, each is read.
    /// `Authorization` and `Cookie` have locations of their own, and are errors here.
    #[must_use]
    pub fn header(name: impl Into<String>) -> Self {
        Self(Place::Header(name.into()))
    }

    /// The parameter of the query with this name (RFC 6750, section 2.3).
    #[must_use]
    pub fn query(name: impl Into<String>) -> Self {
        Self(Place::Query(name.into()))
    }

    /// The field with this name of an `application/x-www-form-urlencoded` body (RFC 6750, section
    /// 2.2).
    ///
    /// The layer reads bodies on the logout routes, and on routes behind a
    /// [`CheckBodyLayer`](crate::CheckBodyLayer). It finds Polar's tokens anywhere in a body, in
    /// any syntax, and other credentials only in this field.
    #[must_use]
    pub fn form(field: impl Into<String>) -> Self {
        Self(Place::Form(field.into()))
    }

    /// The string in the field with this name of a JSON object, which must be the whole body.
    /// Otherwise like [`form`](TokenLocation::form).
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

/// The parts of a request that are read before its body.
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

/// The number of a configured place in its [`Finder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaceId(usize);

/// A credential that a request carries.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) hash: TokenHash,
    pub(crate) kind: CredentialKind,
    pub(crate) carrier: FoundIn,
    /// The configured place that holds it. A living token there signs its user in.
    pub(crate) place: Option<PlaceId>,
    /// Whether a browser sends it by itself, even if another site causes the request.
    pub(crate) came_by_itself: bool,
    text: &'a [u8],
}

impl Found<'_> {
    /// Whether it stands in a place that an app reads. In any other place it may be left over, or
    /// planted by an attacker.
    pub(crate) fn is_expected(&self) -> bool {
        self.place.is_some() || matches!(self.carrier, FoundIn::Authorization | FoundIn::Body)
    }

    /// The request to revoke it.
    pub(crate) fn revocation(&self) -> Revocation {
        let token = if self.kind.is_token() { Token::parse(self.text) } else { None };
        Revocation::new(self.hash, self.kind, token, self.carrier)
    }
}
