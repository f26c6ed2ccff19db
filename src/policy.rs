//! Decides what becomes of a request: pass, reject, or logout.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Response, request};
use tracing::field::debug;
use tracing::{Level, debug, enabled};

use crate::csrf::Csrf;
use crate::location::{Found, Head, Locations, LookedAt, Reading};
use crate::logout::Logout;
use crate::metrics;
use crate::response::{self, Answers};
use crate::route::Route;
use crate::signal::Carried;
use crate::tasks::Tasks;
use crate::token::{Revocation, TokenHash};
use crate::when_revoked::{Rules, WhenRevoked};

/// The configured whole: what every clone and every `.layer()` shares.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) locations: Locations,
    pub(crate) logout_routes: Vec<Route>,
    /// Where bodies are read for tokens, beside the logout routes.
    pub(crate) body_routes: Vec<Route>,
    pub(crate) body_limit: usize,
    pub(crate) when_revoked: Rules,
    pub(crate) then_call_app: bool,
    /// Whether what is under way ends when its credential is revoked.
    pub(crate) end_when_revoked: bool,
    pub(crate) csrf: Csrf,
    pub(crate) answers: Arc<Answers>,
    /// For how long requests with credentials are served without all knowledge of the log.
    pub(crate) reject_when_behind: Option<Duration>,
    pub(crate) requests: Requests,
    pub(crate) logout: Arc<Logout>,
    /// Where logouts run, and bodies are read.
    pub(crate) tasks: Tasks,
}

/// Counts for monitoring what is not counted elsewhere: [`Counters`](crate::counts::Counters) know
/// who was turned away.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) passed: metrics::Counter,
    pub(crate) passed_anonymous: metrics::Counter,
    /// Of a body route, and its body is too large, compressed, or broken off.
    pub(crate) unreadable: metrics::Counter,
    pub(crate) logout: metrics::Counter,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self {
            passed: metrics::requests("passed"),
            passed_anonymous: metrics::requests("passed_anonymous"),
            unreadable: metrics::requests("unreadable"),
            logout: metrics::requests("logout"),
        }
    }

    pub(crate) fn pass(&self, is_anonymous: bool) {
        if is_anonymous { &self.passed_anonymous } else { &self.passed }.add(1);
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    Pass,
    /// Passes, unless its body carries what stops it.
    ReadBody,
    /// Goes on without the credentials that stop it.
    PassAnonymous(Stop),
    TurnAway(Stop),
    Logout,
}

/// Why a request with a credential goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Revoked,
    /// It may be revoked, and nobody here knows.
    Unsure,
    /// There are more than anybody looks at.
    TooMany,
}

impl Stop {
    /// Whether a request without what stops it would go on.
    pub(crate) fn can_be_taken_out(self) -> bool {
        self != Self::TooMany
    }
}

/// Looks at the credentials of a request until one stops it.
struct Look<'a> {
    policy: &'a Policy,
    carried: &'a mut Carried,
    looked_at: LookedAt,
    stop: Option<Stop>,
}

impl<'a> Look<'a> {
    fn new(policy: &'a Policy, carried: &'a mut Carried) -> Self {
        Self { policy, carried, looked_at: LookedAt::default(), stop: None }
    }

    fn at(&mut self, found: Found<'_>) -> ControlFlow<()> {
        self.stop = if self.looked_at.may_have(found.value, found.is_likeliest) {
            let hash = TokenHash::of(found.value);
            if self.policy.end_when_revoked || self.policy.locations.has_cookies() {
                self.carried.push(hash);
            }
            self.policy.stop_hash(&hash)
        } else {
            Some(Stop::TooMany)
        };
        if self.stop.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Policy {
    /// Decides, and keeps what the request carries where something may come of that later.
    pub(crate) fn verdict(&self, head: Head<'_>, carried: &mut Carried) -> Verdict {
        // First, so that repeating a logout is harmless.
        if self.logout_routes.iter().any(|route| route.matches(head.method, head.uri)) {
            return Verdict::Logout;
        }
        let Some(stop) = self.stop_head(head, carried) else {
            return if self.reads_body(head) { Verdict::ReadBody } else { Verdict::Pass };
        };
        if self.when_revoked(head.uri.path()) == WhenRevoked::Anonymous && stop.can_be_taken_out() {
            Verdict::PassAnonymous(stop)
        } else {
            Verdict::TurnAway(stop)
        }
    }

    /// What stops a request whose body is read.
    pub(crate) fn stop_all(
        &self,
        head: Head<'_>,
        body: &[u8],
        carried: &mut Carried,
    ) -> Option<Stop> {
        let mut look = Look::new(self, carried);
        if self.locations.visit_head(head, |found| look.at(found)).is_continue() {
            let _ = self.locations.visit_body(head, body, |found| look.at(found));
        }
        look.stop
    }

    fn stop_head(&self, head: Head<'_>, carried: &mut Carried) -> Option<Stop> {
        let mut look = Look::new(self, carried);
        let _ = self.locations.visit_head(head, |found| look.at(found));
        look.stop
    }

    pub(crate) fn is_revoked(&self, value: &[u8]) -> bool {
        self.logout.denylist.contains(&TokenHash::of(value))
    }

    /// Says what is to be taken out of a request. What is beyond all that is looked at stays, and
    /// stops the request.
    pub(crate) fn stops(&self) -> impl FnMut(Reading<'_>) -> bool {
        let mut looked_at = LookedAt::default();
        move |Reading { value, is_likeliest }| {
            looked_at.may_have(value, is_likeliest)
                && self.stop_hash(&TokenHash::of(value)).is_some()
        }
    }

    fn stop_hash(&self, hash: &TokenHash) -> Option<Stop> {
        if self.logout.denylist.contains(hash) {
            return Some(Stop::Revoked);
        }
        self.is_unsure().then_some(Stop::Unsure)
    }

    fn is_unsure(&self) -> bool {
        let too_long = |limit| self.logout.freshness.behind_for().is_some_and(|for_| for_ > limit);
        self.reject_when_behind.is_some_and(too_long)
    }

    pub(crate) fn when_revoked(&self, path: &str) -> WhenRevoked {
        self.when_revoked.at(path)
    }

    fn reads_body(&self, head: Head<'_>) -> bool {
        self.body_routes.iter().any(|route| route.matches(head.method, head.uri))
    }

    /// Revokes what the application has just handed out: here at once, the rest in a task.
    pub(crate) fn revoke(&self, revocations: Vec<Revocation>) {
        for revocation in &revocations {
            self.logout.deny_at_once(revocation);
        }
        let logout = Arc::clone(&self.logout);
        self.tasks.spawn(async move {
            logout.run(revocations).await;
        });
    }

    /// The 401, with the removal of every cookie that a revoked credential came in; or the 503, or
    /// the 400.
    /// `body` is what was read of the body, nothing where it was not.
    pub(crate) fn turn_away(
        &self,
        request: &request::Parts,
        body: &[u8],
        why: Stop,
    ) -> Response<Bytes> {
        if why == Stop::Unsure {
            self.logout.counters.unsure.increment();
            return response::unsure();
        }
        if why == Stop::TooMany {
            self.requests.unreadable.add(1);
            debug!("a request with more credentials than are looked at was refused");
            return response::too_many_credentials();
        }
        self.logout.counters.rejected.increment();
        if enabled!(Level::DEBUG) {
            let hash = self.revoked_hash(request.into(), body).map(debug);
            debug!(step = "rejected", hash, "a request with a revoked credential was rejected");
        }
        let mut response = self.answers.rejected(request);
        let headers = response.headers_mut();
        let mut looked_at = LookedAt::default();
        let _ = self.locations.visit_head(request.into(), |found| {
            if !looked_at.may_have(found.value, found.is_likeliest) {
                return ControlFlow::Break(());
            }
            if let Some(removal) = found.cookie_removal
                && headers.get_all(SET_COOKIE).iter().all(|known| known != removal)
                && self.is_revoked(found.value)
            {
                headers.append(SET_COOKIE, removal.clone());
            }
            ControlFlow::Continue(())
        });
        response
    }

    /// The first revoked credential that the request carries, unless it has expired meanwhile.
    fn revoked_hash(&self, head: Head<'_>, body: &[u8]) -> Option<TokenHash> {
        let mut revoked = None;
        let mut look = |found: Found<'_>| {
            revoked =
                Some(TokenHash::of(found.value)).filter(|it| self.logout.denylist.contains(it));
            if revoked.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if self.locations.visit_head(head, &mut look).is_continue() {
            let _ = self.locations.visit_body(head, body, &mut look);
        }
        revoked
    }
}
