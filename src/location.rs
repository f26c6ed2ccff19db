//! Which credentials a request carries.
//!
//! A token of Polar's is recognised by its shape, in every place an application could read,
//! whatever stands around it and however it is encoded: no list of places or spellings could be
//! complete. All other credentials are recognised by their configured place, in one reading.

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
/// Polar's tokens are found wherever they stand in `Authorization`, `Cookie`,
/// `Sec-WebSocket-Protocol`, the path and the query. A configured place says more: that the
/// application takes a living token there for a signed-in user, that a cookie is to be removed from
/// the browser, that a further header or a logout's body is searched, and where session ids are.
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
    /// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1). Polar's tokens are found there behind
    /// any scheme; for other credentials the scheme is Bearer, in any case.
    #[must_use]
    pub fn bearer() -> Self {
        Self(Place::Bearer)
    }

    /// The cookie of exactly this name.
    ///
    /// The cookie is removed from the browser on logout, and by an answer to a request with a dead
    /// credential in it: a 401, or that of a
    /// [`WhenRevoked::Anonymous`](crate::WhenRevoked::Anonymous) path. That only works with the
    /// `Path` and `Domain` it was set with: see [`CookieLocation`]. A cookie that is set with
    /// several of these is given as often.
    #[must_use]
    pub fn cookie(name: impl Into<String>) -> CookieLocation {
        CookieLocation::new(name.into())
    }

    /// This header, for example `x-api-key`; each one if it comes more than once. Not
    /// `Authorization` or `Cookie`: they have locations of their own.
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
    /// Bodies are read on the logout routes, and on routes behind a
    /// [`CheckBodyLayer`](crate::CheckBodyLayer). They are searched for Polar's tokens whatever their
    /// syntax; other credentials are looked for in this field.
    #[must_use]
    pub fn form(field: impl Into<String>) -> Self {
        Self(Place::Form(field.into()))
    }

    /// This field, a string, of the object that a JSON body is. Otherwise like
    /// [`form`](TokenLocation::form).
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

/// A configured place, as the [`Finder`] knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaceId(usize);

/// A credential that a request carries.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) hash: TokenHash,
    pub(crate) kind: CredentialKind,
    pub(crate) carrier: FoundIn,
    /// The configured place it stands in: there, a living token signs its user in.
    pub(crate) place: Option<PlaceId>,
    /// The caller did not have to put it there: a browser does, whichever site made it send the
    /// request.
    pub(crate) came_by_itself: bool,
    text: &'a [u8],
}

impl Found<'_> {
    /// Whether it stands where an application looks for it, and not by chance or by somebody's
    /// design.
    pub(crate) fn is_expected(&self) -> bool {
        self.place.is_some() || matches!(self.carrier, FoundIn::Authorization | FoundIn::Body)
    }

    /// The order to revoke it.
    pub(crate) fn revocation(&self) -> Revocation {
        let token = if self.kind.is_token() { Token::parse(self.text) } else { None };
        Revocation::new(self.hash, self.kind, token, self.carrier)
    }
}
