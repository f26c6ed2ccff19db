//! The answer to a logout.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::answers::{self, Prepared, Reply, ReplyKind};
use super::client_kind::ClientKind;
use crate::revocation::LogoutOutcome;

const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// A kind of data that `Clear-Site-Data` tells the browser to forget.
///
/// There is no `"cache"`: clearing it can take a browser minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClearSiteData {
    /// `"cookies"`: all cookies of the site, also those of other apps on the same domain.
    Cookies,
    /// `"storage"`: local storage, `IndexedDB`, service workers.
    Storage,
    /// `"executionContexts"`: reloads the site's open pages.
    ExecutionContexts,
}

#[derive(Debug)]
pub(crate) struct AfterLogout {
    pub(crate) redirect_to: Option<HeaderValue>,
    pub(crate) require_confirmation: bool,
    /// `Set-Cookie` values that remove the configured cookies.
    pub(crate) cookie_removals: Vec<HeaderValue>,
    pub(crate) clear_site_data: Option<HeaderValue>,
}

impl AfterLogout {
    /// Whether a logout with this outcome has failed and is answered 503.
    pub(crate) fn is_failure(&self, outcome: LogoutOutcome) -> bool {
        outcome.is_failure() || self.require_confirmation && outcome.is_accepted_only()
    }

    /// The reply to a logout. If the request came from another site, the browser is told to forget
    /// nothing: otherwise any site could log a user out.
    pub(crate) fn reply(
        &self,
        outcome: LogoutOutcome,
        request: &HeaderMap,
        cross_site: bool,
    ) -> Prepared {
        if self.is_failure(outcome) {
            return ReplyKind::LogoutFailed(outcome).into();
        }
        let reply = Reply::new(ReplyKind::LoggedOut(outcome));
        let reply = match (&self.redirect_to, ClientKind::of(request)) {
            (Some(target), ClientKind::Browser) => reply.see_other(target.clone()),
            (Some(target), ClientKind::Htmx) => reply.with(HX_REDIRECT, target.clone()),
            _ => reply,
        };
        if cross_site {
            return reply.into();
        }
        let cookie_removals = self.cookie_removals.clone();
        Prepared { reply, cookie_removals, clear_site_data: self.clear_site_data.clone() }
    }

    /// Adds the headers of a logout to the response of the app's own logout handler.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap, cross_site: bool) {
        if cross_site {
            answers::forbid_storing(headers);
        } else {
            answers::add_to(headers, &self.cookie_removals, self.clear_site_data.as_ref());
        }
    }
}
