//! All the places that are configured, and the one walk through a request that looks at them.

use std::ops::ControlFlow;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};
use zeroize::Zeroizing;

use super::name::Name;
use super::reading::Reading;
use super::{Found, Head, Place, TokenLocation, bearer, cookie_header, header, json, urlencoded};
use crate::error::Error;
use crate::token::{CredentialKind, FoundIn};

/// The configured places, sorted by what has to be parsed for them.
#[derive(Debug, Default)]
pub(crate) struct Locations {
    bearer: Option<CredentialKind>,
    cookies: Vec<Cookie>,
    headers: Vec<(HeaderName, CredentialKind)>,
    query: Vec<(Name, CredentialKind)>,
    form: Vec<(Name, CredentialKind)>,
    json: Vec<(Name, CredentialKind)>,
}

#[derive(Debug)]
struct Cookie {
    name: Name,
    kind: CredentialKind,
    removal: HeaderValue,
}

impl Locations {
    pub(crate) fn new(configured: Vec<(TokenLocation, CredentialKind)>) -> Result<Self, Error> {
        let mut locations = Self::default();
        for (TokenLocation(place), kind) in configured {
            locations.add(place, kind)?;
        }
        Ok(locations)
    }

    fn add(&mut self, place: Place, kind: CredentialKind) -> Result<(), Error> {
        match place {
            Place::Bearer => {
                if self.bearer.replace(kind).is_some() {
                    return Err(twice("bearer", "Authorization"));
                }
            }
            Place::Cookie(cookie) => {
                if self.cookies.iter().any(|known| known.name.is(&cookie.name)) {
                    return Err(twice("cookie", &cookie.name));
                }
                let removal = cookie.removal()?;
                self.cookies.push(Cookie { name: Name::new(&cookie.name), kind, removal });
            }
            Place::Header(name) => {
                let parsed = HeaderName::try_from(&*name).map_err(|error| {
                    Error::configuration(format!("the header location `{name}` is no header name"))
                        .with_source(error)
                })?;
                if parsed == COOKIE {
                    return Err(Error::configuration(
                        "the header location `cookie` would be a token made of all cookies; \
                         name the cookie with `TokenLocation::cookie(name)`",
                    ));
                }
                if parsed == AUTHORIZATION {
                    return Err(Error::configuration(
                        "the header location `authorization` would be a token together with its \
                         scheme; use `TokenLocation::bearer()`",
                    ));
                }
                if self.headers.iter().any(|(known, _)| *known == parsed) {
                    return Err(twice("header", &name));
                }
                self.headers.push((parsed, kind));
            }
            Place::Query(name) => add_field(&mut self.query, "query", &name, kind)?,
            Place::Form(name) => add_field(&mut self.form, "form", &name, kind)?,
            Place::Json(name) => add_field(&mut self.json, "json", &name, kind)?,
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bearer.is_none()
            && self.cookies.is_empty()
            && self.headers.is_empty()
            && self.query.is_empty()
            && !self.reads_bodies()
    }

    pub(crate) fn reads_bodies(&self) -> bool {
        !self.form.is_empty() || !self.json.is_empty()
    }

    pub(crate) fn has_cookies(&self) -> bool {
        !self.cookies.is_empty()
    }

    /// `Set-Cookie` values that remove every configured cookie.
    pub(crate) fn cookie_removals(&self) -> impl Iterator<Item = &HeaderValue> {
        self.cookies.iter().map(|cookie| &cookie.removal)
    }

    /// Yields what the head of a request carries, until told to stop.
    pub(crate) fn visit_head(
        &self,
        head: Head<'_>,
        mut yield_to: impl FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if let Some(kind) = self.bearer {
            for value in head.headers.get_all(AUTHORIZATION) {
                bearer::visit(value.as_bytes(), &mut |reading| {
                    found(reading, kind, FoundIn::Bearer, false, None, &mut yield_to)
                })?;
            }
        }
        if !self.cookies.is_empty() {
            self.visit_cookies(head.headers, &mut yield_to)?;
        }
        for (name, kind) in &self.headers {
            for value in head.headers.get_all(name) {
                let by_itself = name == AUTHORIZATION && header::comes_by_itself(value.as_bytes());
                header::visit(value.as_bytes(), &mut |reading| {
                    found(reading, *kind, FoundIn::Header, by_itself, None, &mut yield_to)
                })?;
            }
        }
        visit_fields(&self.query, FoundIn::Query, query(head), &mut yield_to)
    }

    fn visit_cookies(
        &self,
        headers: &HeaderMap,
        yield_to: &mut impl FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut may_be_quoted = false;
        for header in headers.get_all(COOKIE) {
            let header = header.as_bytes();
            for Cookie { name, kind, removal } in &self.cookies {
                cookie_header::values(header, name, |value| {
                    value.visit(&mut |reading| {
                        found(reading, *kind, FoundIn::Cookie, true, Some(removal), yield_to)
                    })
                })?;
            }
            may_be_quoted |= memchr::memchr(b'"', header).is_some();
        }
        if may_be_quoted {
            self.visit_quoted_cookies(headers, yield_to)
        } else {
            ControlFlow::Continue(())
        }
    }

    #[cold]
    fn visit_quoted_cookies(
        &self,
        headers: &HeaderMap,
        yield_to: &mut impl FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut room = Zeroizing::default();
        let joined = cookie_header::joined(headers, &mut room);
        for Cookie { name, kind, removal } in &self.cookies {
            cookie_header::values_across_semicolons(joined, name, |value| {
                value.visit(&mut |reading| {
                    found(reading, *kind, FoundIn::Cookie, true, Some(removal), yield_to)
                })
            })?;
        }
        ControlFlow::Continue(())
    }

    /// Yields what a body carries, on the routes where bodies are read.
    pub(crate) fn visit_body(
        &self,
        head: Head<'_>,
        body: &[u8],
        mut yield_to: impl FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // Whatever its Content-Type says: an application need not look at that either.
        visit_fields(&self.form, FoundIn::Form, body, &mut yield_to)?;
        if form_is_in_the_query(head) {
            visit_fields(&self.form, FoundIn::Form, query(head), &mut yield_to)?;
        }
        json::visit(&self.json, body, &mut |kind, reading| {
            found(reading, kind, FoundIn::Json, false, None, &mut yield_to)
        })
    }

    /// Takes every dead credential out of the head of a request.
    pub(crate) fn strip_head(
        &self,
        parts: &mut request::Parts,
        mut is_dead: impl FnMut(Reading<'_>) -> bool,
    ) {
        let dead = &mut |reading: Reading<'_>| stop_if(is_dead(reading));
        if self.bearer.is_some() {
            retain_values(&mut parts.headers, &AUTHORIZATION, |value| {
                bearer::visit(value.as_bytes(), dead).is_continue().then(|| value.clone())
            });
        }
        if !self.cookies.is_empty() {
            retain_values(&mut parts.headers, &COOKIE, |value| {
                cookie_header::without(value, |cookie| {
                    let mut names = self.cookies.iter().map(|cookie| &cookie.name);
                    names.any(|name| {
                        cookie_header::values(cookie, name, |value| value.visit(dead)).is_break()
                    })
                })
            });
        }
        for (name, _) in &self.headers {
            retain_values(&mut parts.headers, name, |value| {
                header::visit(value.as_bytes(), dead).is_continue().then(|| value.clone())
            });
        }
        let form = if form_is_in_the_query((&*parts).into()) { &self.form[..] } else { &[] };
        urlencoded::strip_query(&mut parts.uri, |field| {
            self.query.iter().chain(form).any(|(name, _)| {
                urlencoded::values(field, name, |value| value.visit(dead)).is_break()
            })
        });
    }

    /// Takes out of the head of a response what sets one of the cookies, and yields what it sets. What
    /// removes one stays.
    pub(crate) fn take_set_cookies(
        &self,
        headers: &mut HeaderMap,
        mut yield_to: impl FnMut(Found<'_>),
    ) {
        retain_values(headers, &SET_COOKIE, |value| {
            let mut is_taken = false;
            let mut take = |found: Found<'_>| {
                is_taken = true;
                yield_to(found);
                ControlFlow::Continue(())
            };
            let set = cookie_header::set_by(value.as_bytes()).unwrap_or_default();
            for Cookie { name, kind, .. } in &self.cookies {
                let _ = cookie_header::values(set, name, |value| {
                    value.visit(&mut |reading| {
                        found(reading, *kind, FoundIn::SetCookie, true, None, &mut take)
                    })
                });
            }
            (!is_taken).then(|| value.clone())
        });
    }

    /// The body without its dead credentials, or `None` where it carries none.
    pub(crate) fn strip_body(
        &self,
        body: &[u8],
        mut is_dead: impl FnMut(Reading<'_>) -> bool,
    ) -> Option<Bytes> {
        let dead = &mut |reading: Reading<'_>| stop_if(is_dead(reading));
        let form = urlencoded::without(body, |field| {
            self.form.iter().any(|(name, _)| {
                urlencoded::values(field, name, |value| value.visit(dead)).is_break()
            })
        });
        let body = form.as_deref().unwrap_or(body);
        json::without(body, &self.json, is_dead).or(form)
    }
}

fn visit_fields(
    fields: &[(Name, CredentialKind)],
    place: FoundIn,
    encoded: &[u8],
    yield_to: &mut impl FnMut(Found<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    fields.iter().try_for_each(|(name, kind)| {
        urlencoded::values(encoded, name, |value| {
            value.visit(&mut |reading| found(reading, *kind, place, false, None, yield_to))
        })
    })
}

/// Hands on a reading as what was found in a place.
fn found<'a>(
    Reading { value, is_likeliest }: Reading<'a>,
    kind: CredentialKind,
    place: FoundIn,
    came_by_itself: bool,
    cookie_removal: Option<&'a HeaderValue>,
    yield_to: &mut impl FnMut(Found<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if value.is_empty() {
        return ControlFlow::Continue(());
    }
    yield_to(Found { value, kind, place, is_likeliest, came_by_itself, cookie_removal })
}

fn stop_if(condition: bool) -> ControlFlow<()> {
    if condition { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn query(head: Head<'_>) -> &[u8] {
    head.uri.query().unwrap_or_default().as_bytes()
}

fn form_is_in_the_query(head: Head<'_>) -> bool {
    head.method == Method::GET || head.method == Method::HEAD
}

/// Replaces each value of a header by what `keep` makes of it; `None` drops the value.
fn retain_values(
    headers: &mut HeaderMap,
    name: &HeaderName,
    mut keep: impl FnMut(&HeaderValue) -> Option<HeaderValue>,
) {
    let kept: Vec<_> = headers.get_all(name).iter().filter_map(&mut keep).collect();
    headers.remove(name);
    for value in kept {
        headers.append(name, value);
    }
}

fn add_field(
    fields: &mut Vec<(Name, CredentialKind)>,
    place: &str,
    name: &str,
    kind: CredentialKind,
) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::configuration(format!(
            "a {place} location needs the name of its field"
        )));
    }
    if fields.iter().any(|(known, _)| known.is(name)) {
        return Err(twice(place, name));
    }
    fields.push((Name::new(name), kind));
    Ok(())
}

fn twice(place: &str, name: &str) -> Error {
    Error::configuration(format!(
        "the {place} location `{name}` is given twice: it can hold one kind of credential"
    ))
}
