//! Takes credentials out of a request, or out of a response that sets them.

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
    /// Takes out of a request all that `goes` says is to go, each with the cookie, the field, the
    /// item or the header it stands in. It is asked of each credential in them. What stands
    /// elsewhere, in the path for example, stays: look again.
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
                    let value_ = value.as_bytes();
                    let goes = holds(&mut goes, |found| self.find_in_header(name, value_, found));
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

    /// Takes out of a response all that sets a credential in a cookie, and hands it on. What
    /// removes a cookie stays.
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

/// Whether any credential that is found goes.
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
    // Parts of a URI are a URI again; should they ever not be, better no query than a dead token.
    parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from_owner(path_and_query))
        .or_else(|_| PathAndQuery::try_from(uri.path()))
        .ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}
