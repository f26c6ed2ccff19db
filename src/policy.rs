//! Decides what becomes of a request: pass, reject, or logout.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, request};
use tracing::debug;

use crate::csrf::Csrf;
use crate::location::{Head, Locations};
use crate::logout::Logout;
use crate::response::{self, Answers};
use crate::route::Route;
use crate::tasks::Tasks;
use crate::token::TokenHash;

/// The configured whole: what every clone and every `.layer()` shares.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) locations: Locations,
    pub(crate) logout_routes: Vec<Route>,
    /// Where bodies are read for tokens, beside the logout routes.
    pub(crate) body_routes: Vec<Route>,
    pub(crate) body_limit: usize,
    pub(crate) when_revoked: WhenRevoked,
    pub(crate) when_revoked_at: Vec<(String, WhenRevoked)>,
    pub(crate) then_call_app: bool,
    pub(crate) csrf: Csrf,
    pub(crate) answers: Arc<Answers>,
    /// For how long requests with credentials are served without all knowledge of the log.
    pub(crate) reject_when_behind: Option<Duration>,
    pub(crate) logout: Arc<Logout>,
    /// Where logouts run, and bodies are read.
    pub(crate) tasks: Tasks,
}

/// What becomes of a request that carries a revoked credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenRevoked {
    /// 401, and the inner service never sees it. The default.
    #[default]
    Reject,
    /// The revoked credential is taken out of the request, and the request goes on: for a login
    /// page or a public page, which must work for a browser that carries a dead cookie. Where it
    /// cannot be taken out, of a body that is no plain form or JSON object say, 401 all the same.
    ///
    /// Copies that a layer further out has made are not touched: axum's `OriginalUri`, or parsed
    /// cookies in the request's extensions.
    Anonymous,
}

pub(crate) enum Verdict {
    Pass,
    /// Goes on without the credentials that stop it.
    PassAnonymous,
    TurnAway,
    Logout,
}

impl Policy {
    pub(crate) fn verdict(&self, head: Head<'_>) -> Verdict {
        // First, so that repeating a logout is harmless.
        if self.logout_routes.iter().any(|route| route.matches(head.method, head.uri)) {
            return Verdict::Logout;
        }
        let found = self.locations.visit_head(head, |found| self.check(found.value));
        match found {
            ControlFlow::Continue(()) => Verdict::Pass,
            ControlFlow::Break(()) => match self.when_revoked(head.uri.path()) {
                WhenRevoked::Reject => Verdict::TurnAway,
                WhenRevoked::Anonymous => Verdict::PassAnonymous,
            },
        }
    }

    pub(crate) fn is_revoked(&self, value: &[u8]) -> bool {
        self.logout.denylist.contains(&TokenHash::of(value))
    }

    /// Whether a request with this credential goes no further: it is revoked, or may be and nobody
    /// here knows.
    pub(crate) fn is_stopped(&self, value: &[u8]) -> bool {
        self.is_revoked(value) || self.is_unsure()
    }

    fn is_unsure(&self) -> bool {
        let too_long = |limit| self.logout.freshness.behind_for().is_some_and(|for_| for_ > limit);
        self.reject_when_behind.is_some_and(too_long)
    }

    pub(crate) fn check(&self, value: &[u8]) -> ControlFlow<()> {
        if self.is_stopped(value) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(crate) fn when_revoked(&self, path: &str) -> WhenRevoked {
        let at = self.when_revoked_at.iter().find(|(known, _)| known == path);
        at.map_or(self.when_revoked, |(_, when)| *when)
    }

    pub(crate) fn reads_body(&self, head: Head<'_>) -> bool {
        self.body_routes.iter().any(|route| route.matches(head.method, head.uri))
    }

    /// The 401, with the removal of every cookie that a revoked credential came in; or the 503,
    /// where nobody here knows whether it is revoked.
    pub(crate) fn turn_away(&self, request: &request::Parts) -> Response<Bytes> {
        let mut is_revoked = false;
        let mut removals: Vec<HeaderValue> = Vec::new();
        let _ = self.locations.visit_head(request.into(), |found| {
            if self.is_revoked(found.value) {
                is_revoked = true;
                removals.extend(found.cookie_removal.filter(|it| !removals.contains(it)).cloned());
            }
            ControlFlow::Continue(())
        });
        if !is_revoked && self.is_unsure() {
            self.logout.counters.unsure.increment();
            return response::unsure();
        }
        self.logout.counters.rejected.increment();
        debug!("a request with a revoked credential was rejected");
        self.answers.rejected(request, removals)
    }
}
