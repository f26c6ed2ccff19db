//! The configured places, sorted by the part of the request they belong to.

use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, HeaderValue};
use memchr::memmem::Finder;

use super::{Place, PlaceId, TokenLocation};
use crate::error::Error;
use crate::token::CredentialKind;

#[derive(Debug, Default)]
pub(super) struct Places {
    all: Vec<Configured>,
    pub(super) bearer: Option<PlaceId>,
    /// Each with a search for its name: most requests do not contain the name.
    pub(super) cookies: Vec<(Finder<'static>, PlaceId)>,
    pub(super) headers: Vec<(HeaderName, PlaceId)>,
    pub(super) query: Vec<(Box<[u8]>, PlaceId)>,
    pub(super) form: Vec<(Box<[u8]>, PlaceId)>,
    pub(super) json: Vec<(String, PlaceId)>,
}

#[derive(Debug)]
struct Configured {
    /// The name in errors and events, for example "the cookie location `access_token`".
    name: String,
    kind: CredentialKind,
    /// For a cookie: one `Set-Cookie` value for each scope it is set with.
    removals: Vec<HeaderValue>,
    has_held_something_else: AtomicBool,
}

impl Places {
    pub(super) fn new(configured: Vec<(TokenLocation, CredentialKind)>) -> Result<Self, Error> {
        let mut places = Self::default();
        for (TokenLocation(place), kind) in configured {
            places.add(place, kind)?;
        }
        Ok(places)
    }

    fn add(&mut self, place: Place, kind: CredentialKind) -> Result<(), Error> {
        match place {
            Place::Bearer => {
                let id = self.configure("bearer", "Authorization", kind)?;
                self.bearer = Some(id);
            }
            Place::Cookie(cookie) => {
                let removal = cookie.removal()?;
                let name = cookie.name.as_bytes();
                let known = self.cookies.iter().find(|(known, _)| known.needle() == name);
                let id = match known {
                    // The same cookie with another `Domain` or `Path`.
                    Some((_, PlaceId(id))) if self.all[*id].kind == kind => PlaceId(*id),
                    _ => {
                        let id = self.configure("cookie", &cookie.name, kind)?;
                        self.cookies.push((Finder::new(name).into_owned(), id));
                        id
                    }
                };
                let removals = &mut self.all[id.0].removals;
                if removals.contains(&removal) {
                    return Err(twice(&self.all[id.0].name));
                }
                removals.push(removal);
            }
            Place::Header(name) => {
                let parsed = header_name(&name)?;
                if parsed == SEC_WEBSOCKET_PROTOCOL && kind == CredentialKind::SessionId {
                    return Err(Error::configuration(
                        "`session_id` cannot use the header location `sec-websocket-protocol`, because \
                         all users share its other items: use a cookie location",
                    ));
                }
                let id = self.configure("header", parsed.as_str(), kind)?;
                self.headers.push((parsed, id));
            }
            Place::Query(name) => {
                let id = self.configure_field("query", &name, kind)?;
                self.query.push((name.into_bytes().into(), id));
            }
            Place::Form(name) => {
                let id = self.configure_field("form", &name, kind)?;
                self.form.push((name.into_bytes().into(), id));
            }
            Place::Json(name) => {
                let id = self.configure_field("json", &name, kind)?;
                self.json.push((name, id));
            }
        }
        Ok(())
    }

    fn configure_field(
        &mut self,
        place: &str,
        name: &str,
        kind: CredentialKind,
    ) -> Result<PlaceId, Error> {
        if name.is_empty() {
            return Err(Error::configuration(format!(
                "the name of a {place} location is empty: give `TokenLocation::{place}` the name \
                 of the field"
            )));
        }
        self.configure(place, name, kind)
    }

    fn configure(
        &mut self,
        place: &str,
        name: &str,
        kind: CredentialKind,
    ) -> Result<PlaceId, Error> {
        let name = format!("the {place} location `{name}`");
        if self.all.iter().any(|known| known.name == name) {
            return Err(twice(&name));
        }
        let has_held_something_else = AtomicBool::new(false);
        self.all.push(Configured { name, kind, removals: Vec::new(), has_held_something_else });
        Ok(PlaceId(self.all.len() - 1))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn kind(&self, PlaceId(id): PlaceId) -> CredentialKind {
        self.all[id].kind
    }

    pub(super) fn name(&self, PlaceId(id): PlaceId) -> &str {
        &self.all[id].name
    }

    pub(super) fn removals(&self, PlaceId(id): PlaceId) -> &[HeaderValue] {
        &self.all[id].removals
    }

    pub(super) fn all_removals(&self) -> impl Iterator<Item = &HeaderValue> {
        self.all.iter().flat_map(|place| &place.removals)
    }

    /// Notes that the place held no token of Polar's. Returns whether this is the first time.
    pub(super) fn holds_something_else(&self, PlaceId(id): PlaceId) -> bool {
        !self.all[id].has_held_something_else.swap(true, Ordering::Relaxed)
    }
}

fn header_name(name: &str) -> Result<HeaderName, Error> {
    let parsed = HeaderName::try_from(name).map_err(|error| {
        Error::configuration(format!(
            "the header location `{name}` is not a header name: give one, for example `x-session-token`"
        ))
        .with_source(error)
    })?;
    if parsed == COOKIE {
        return Err(Error::configuration(
            "the header location `cookie` would take all cookies together as one token: use \
             `TokenLocation::cookie(name)`",
        ));
    }
    if parsed == AUTHORIZATION {
        return Err(Error::configuration(
            "the header location `authorization` would take the scheme as part of the token: use \
             `TokenLocation::bearer()`",
        ));
    }
    Ok(parsed)
}

fn twice(name: &str) -> Error {
    Error::configuration(format!(
        "{name} is given twice: remove one, since a location holds one kind of credential"
    ))
}
