//! The one walk through a request.

use std::ops::ControlFlow;

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use tracing::warn;

use super::cookie::{set_by, value_of};
use super::pieces::List;
use super::places::Places;
use super::search::{Encodings, may_hold, search};
use super::{Found, Head, PlaceId, TokenLocation, json, query};
use crate::error::Error;
use crate::token::{CredentialKind, FoundIn, Issuer, PolarToken, read};

/// Is handed what is found, and says whether to go on.
pub(super) type Visit<'a> = dyn FnMut(Found<'_>) -> ControlFlow<()> + 'a;

/// Finds the credentials of a request.
#[derive(Debug)]
pub(crate) struct Finder {
    pub(super) places: Places,
    issuer: Issuer,
}

/// A part of a request, and what is known of it before it is looked at.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a [u8],
    encodings: Encodings,
    carrier: FoundIn,
    came_by_itself: bool,
    place: Option<PlaceId>,
    /// What stands in the place, if the place could hold another credential than Polar's tokens.
    value: Option<&'a [u8]>,
}

impl<'a> Part<'a> {
    /// A part that is no configured place.
    fn of(text: &'a [u8], carrier: FoundIn) -> Self {
        let encodings = match carrier {
            FoundIn::Authorization | FoundIn::Subprotocol => Encodings::TextAndBase64,
            _ => Encodings::Text,
        };
        let came_by_itself = match carrier {
            FoundIn::Authorization => comes_by_itself(text),
            FoundIn::Cookie | FoundIn::SetCookie => true,
            _ => false,
        };
        Self { text, encodings, carrier, came_by_itself, place: None, value: None }
    }

    /// The same in a configured place that holds this value.
    fn named(self, named: Option<(PlaceId, &'a [u8])>) -> Self {
        Self { place: named.map(|(place, _)| place), value: named.map(|(_, value)| value), ..self }
    }
}

impl Finder {
    pub(crate) fn new(
        configured: Vec<(TokenLocation, CredentialKind)>,
        issuer: Issuer,
    ) -> Result<Self, Error> {
        Ok(Self { places: Places::new(configured)?, issuer })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn reads_bodies(&self) -> bool {
        !(self.places.form.is_empty() && self.places.json.is_empty())
    }

    pub(crate) fn has_cookies(&self) -> bool {
        !self.places.cookies.is_empty()
    }

    /// `Set-Cookie` values that remove every configured cookie.
    pub(crate) fn cookie_removals(&self) -> impl Iterator<Item = &HeaderValue> {
        self.places.all_removals()
    }

    /// `Set-Cookie` values that remove the cookie of a place; none if the place is no cookie.
    pub(crate) fn removals_of(&self, place: PlaceId) -> &[HeaderValue] {
        self.places.removals(place)
    }

    /// Says, once for each place, that a logout was left half done.
    pub(crate) fn warn_of_something_else(&self, place: PlaceId) {
        if self.places.holds_something_else(place) {
            warn!(
                place = self.places.name(place),
                "a place of Polar's token held something else on a logout (an encrypted cookie, for \
                 example): it is rejected here, but Polar is not told; revoke the token itself with \
                 `LogoutHandle::revoke`, or give the place with `session_id()` if it is a session id"
            );
        }
    }

    /// Hands on what the head of a request carries, until told to stop.
    #[inline]
    pub(crate) fn find_in_head(
        &self,
        head: Head<'_>,
        mut found: impl FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for (name, value) in head.headers {
            self.find_in_header(name, value.as_bytes(), &mut found)?;
        }
        self.find_in_target(head.uri, &mut found)
    }

    #[inline]
    pub(super) fn find_in_header(
        &self,
        name: &HeaderName,
        value: &[u8],
        found: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        if *name == COOKIE {
            self.find_in_cookies(value, FoundIn::Cookie, found)
        } else if *name == AUTHORIZATION {
            self.find_in_authorization(value, found)
        } else if *name == SEC_WEBSOCKET_PROTOCOL {
            self.find_in_subprotocols(value, found)
        } else if let Some(place) = self.header(name) {
            let part = Part::of(value, FoundIn::Header).named(Some((place, value)));
            self.find_in_part(&part, found)
        } else {
            ControlFlow::Continue(())
        }
    }

    #[inline]
    fn header(&self, name: &HeaderName) -> Option<PlaceId> {
        self.places.headers.iter().find(|(known, _)| known == name).map(|(_, place)| *place)
    }

    pub(super) fn find_in_authorization(
        &self,
        value: &[u8],
        found: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        let part = Part {
            place: self.places.bearer,
            value: is_scheme(value, b"bearer").then_some(value),
            ..Part::of(value, FoundIn::Authorization)
        };
        self.find_in_part(&part, found)
    }

    pub(super) fn find_in_cookies(
        &self,
        value: &[u8],
        carrier: FoundIn,
        found: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        let may_hold_polar = may_hold(value);
        let mut named = self.places.cookies.iter().map(|(name, _)| name);
        if !may_hold_polar && !named.any(|name| name.find(value).is_some()) {
            return ControlFlow::Continue(());
        }
        for cookie in List::COOKIES.pieces(value) {
            let named = self.places.cookies.iter().find_map(|(name, place)| {
                value_of(cookie, name.needle()).map(|value| (*place, value))
            });
            if named.is_some() || may_hold_polar && cookie.len() >= PolarToken::LEN {
                self.find_in_part(&Part::of(cookie, carrier).named(named), found)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Polar's tokens alone: the other items are names that all users share.
    pub(super) fn find_in_subprotocols(
        &self,
        value: &[u8],
        found: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        let place = self.header(&SEC_WEBSOCKET_PROTOCOL);
        self.find_in_part(&Part { place, ..Part::of(value, FoundIn::Subprotocol) }, found)
    }

    #[inline]
    fn find_in_target(&self, uri: &Uri, found: &mut Visit<'_>) -> ControlFlow<()> {
        let Some(target) = uri.path_and_query() else { return ControlFlow::Continue(()) };
        let may_hold_polar = may_hold(target.as_str().as_bytes());
        if may_hold_polar {
            self.find_in_part(&Part::of(uri.path().as_bytes(), FoundIn::Path), found)?;
        }
        match uri.query() {
            Some(query) if may_hold_polar || !self.places.query.is_empty() => {
                self.find_in_query(query.as_bytes(), found)
            }
            _ => ControlFlow::Continue(()),
        }
    }

    pub(super) fn find_in_query(&self, query: &[u8], found: &mut Visit<'_>) -> ControlFlow<()> {
        self.find_in_fields(query, &self.places.query, found)
    }

    fn find_in_fields(
        &self,
        query: &[u8],
        places: &[(Box<[u8]>, PlaceId)],
        found: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        List::FIELDS.pieces(query).try_for_each(|field| {
            let named = places.iter().find_map(|(name, place)| {
                query::value_of(field, name).map(|value| (*place, value))
            });
            self.find_in_part(&Part::of(field, FoundIn::Query).named(named), found)
        })
    }

    /// Hands on what a body carries: Polar's tokens whatever its syntax, other credentials if it is
    /// what their place says.
    pub(crate) fn find_in_body(
        &self,
        body: &[u8],
        mut found: impl FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut in_body = |it: Found<'_>| found(Found { carrier: FoundIn::Body, ..it });
        self.find_in_part(&Part::of(body, FoundIn::Body), &mut in_body)?;
        if !self.places.form.is_empty() {
            self.find_in_fields(body, &self.places.form, &mut in_body)?;
        }
        if self.places.json.is_empty() {
            return ControlFlow::Continue(());
        }
        json::strings(body, &self.places.json, |place, value| {
            let part = Part::of(value, FoundIn::Body).named(Some((place, value)));
            self.find_in_part(&part, &mut in_body)
        })
    }

    /// Hands on what a `Set-Cookie` value sets; nothing if it removes a cookie.
    pub(super) fn find_in_set_cookie(
        &self,
        value: &[u8],
        found: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        match set_by(value) {
            Some(cookie) => self.find_in_cookies(cookie, FoundIn::SetCookie, found),
            None => ControlFlow::Continue(()),
        }
    }

    /// A part that holds Polar's tokens stands for these; one that holds none, for what its place
    /// says.
    #[inline]
    fn find_in_part(&self, part: &Part<'_>, found: &mut Visit<'_>) -> ControlFlow<()> {
        let Part { text, encodings, carrier, came_by_itself, place, value } = *part;
        let mut holds_polar = false;
        search(text, encodings, &mut |token: PolarToken<'_>| {
            holds_polar = true;
            let (hash, text) = (token.hash(), token.as_bytes());
            let it = Found { hash, kind: token.kind(), carrier, place, came_by_itself, text };
            // Another server is not told of Polar's tokens that lie about.
            let is_sent = self.issuer == Issuer::Polar || it.is_expected();
            found(if is_sent { it } else { Found { kind: CredentialKind::SessionId, ..it } })
        })?;
        let (Some(place), Some(value), false) = (place, value, holds_polar) else {
            return ControlFlow::Continue(());
        };
        read(value, |text, hash| {
            let kind = match self.places.kind(place) {
                kind if kind.is_token() && !self.issuer.could_have_issued(text) => {
                    CredentialKind::Unrecognized
                }
                kind => kind,
            };
            found(Found { hash, kind, carrier, place: Some(place), came_by_itself, text })
        })
        .unwrap_or(ControlFlow::Continue(()))
    }
}

/// Whether a value of `Authorization` begins with this scheme (RFC 9110, section 11.1).
fn is_scheme(value: &[u8], scheme: &[u8]) -> bool {
    // HTTP/2 delivers white space at both ends.
    value.trim_ascii_start().split_at_checked(scheme.len()).is_some_and(|(word, rest)| {
        word.eq_ignore_ascii_case(scheme) && rest.first().is_some_and(u8::is_ascii_whitespace)
    })
}

/// Whether a browser adds such an `Authorization` value by itself, as it does cookies.
fn comes_by_itself(authorization: &[u8]) -> bool {
    [&b"basic"[..], b"digest", b"ntlm", b"negotiate"]
        .iter()
        .any(|scheme| is_scheme(authorization, scheme))
}

/// All values of these headers that stay.
pub(super) fn retain_values(
    headers: &mut HeaderMap,
    name: &HeaderName,
    mut keep: impl FnMut(&HeaderValue) -> Option<HeaderValue>,
) {
    if !headers.contains_key(name) {
        return;
    }
    let kept: Vec<_> = headers.get_all(name).iter().filter_map(&mut keep).collect();
    headers.remove(name);
    for value in kept {
        headers.append(name, value);
    }
}
