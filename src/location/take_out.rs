//! Takes credentials out of a request, or out of the cookies that a response sets.

use std::ops::ControlFlow;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, request};
use zeroize::Zeroizing;

use super::Found;
use super::finder::{Finder, Visit, retain_values};
use super::pieces::{List, header_without};
use crate::token::FoundIn;

impl Finder {
    /// Takes each credential that `goes` chooses out of a request, with the cookie, field, item or
    /// header that holds it. `goes` is called for each credential in them.
    ///
    /// A credential in any other place, for example in the path, stays. The caller must search the
    /// request again.
    pub(crate) fn take_out(
        &self,
        parts: &mut request::Parts,
        mut goes: impl FnMut(&Found<'_>) -> bool,
    ) {
        let headers = &mut parts.headers;
        retain_values(headers, &AUTHORIZATION, |value| {
            let goes =
                holds(&mut goes, |found| self.find_in_authorization(value.as_bytes(), found));
            (!goes).then(|| value.clone())
        });
        for (name, _) in &self.places.headers {
            if *name != SEC_WEBSOCKET_PROTOCOL {
                retain_values(headers, name, |value| {
                    let text = value.as_bytes();
                    let goes = holds(&mut goes, |found| self.find_in_header(name, text, found));
                    (!goes).then(|| value.clone())
                });
            }
        }
        retain_values(headers, &COOKIE, |value| {
            header_without(value, List::COOKIES, |cookie| {
                holds(&mut goes, |found| self.find_in_cookies(cookie, FoundIn::Cookie, found))
            })
        });
        retain_values(headers, &SEC_WEBSOCKET_PROTOCOL, |value| {
            header_without(value, List::ITEMS, |item| {
                holds(&mut goes, |found| self.find_in_subprotocols(item, found))
            })
        });
        take_out_of_query(&mut parts.uri, |field| {
            holds(&mut goes, |found| self.find_in_query(field, found))
        });
    }

    /// Takes each `Set-Cookie` header that sets a credential out of a response, and passes the
    /// credential to `taken`. Headers that remove a cookie stay.
    pub(crate) fn take_set_cookies(
        &self,
        headers: &mut HeaderMap,
        mut taken: impl FnMut(Found<'_>),
    ) {
        retain_values(headers, &SET_COOKIE, |value| {
            let mut goes = false;
            let _ = self.find_in_set_cookie(value.as_bytes(), &mut |found| {
                goes = true;
                taken(found);
                ControlFlow::Continue(())
            });
            (!goes).then(|| value.clone())
        });
    }
}

/// Whether `goes` chooses any credential that `find` finds. `goes` is called for each.
fn holds(
    goes: &mut impl FnMut(&Found<'_>) -> bool,
    find: impl FnOnce(&mut Visit<'_>) -> ControlFlow<()>,
) -> bool {
    let mut any = false;
    let _ = find(&mut |found| {
        any |= goes(&found);
        ControlFlow::Continue(())
    });
    any
}

fn take_out_of_query(uri: &mut Uri, goes: impl FnMut(&[u8]) -> bool) {
    let Some(query) = uri.query() else { return };
    let Some(kept) = List::FIELDS.without(query.as_bytes(), goes) else { return };
    let capacity = uri.path().len() + "?".len() + kept.len();
    let mut path_and_query = Zeroizing::new(Vec::with_capacity(capacity));
    path_and_query.extend_from_slice(uri.path().as_bytes());
    if !kept.is_empty() {
        path_and_query.push(b'?');
        path_and_query.extend_from_slice(&kept);
    }
    let mut parts = uri.clone().into_parts();
    // Cannot fail: the parts come from a URI. If it did, the query would be lost rather than a
    // revoked token kept.
    parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from_owner(path_and_query))
        .or_else(|_| PathAndQuery::try_from(uri.path()))
        .ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}
