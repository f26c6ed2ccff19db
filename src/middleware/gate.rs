//! The state that all clones of the layer and all its services share.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tracing::debug;

use super::after_logout::AfterLogout;
use super::answers::ReplyKind;
use super::csrf::Csrf;
use super::route::Route;
use super::when_revoked::Rules;
use crate::location::{Finder, Head};
use crate::revocation::{Carried, Revoker};
use crate::spawner::Spawner;
use crate::telemetry::metrics;
use crate::token::{Revocation, TokenHash};

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) finder: Finder,
    pub(crate) logout_routes: Vec<Route>,
    pub(crate) max_body_size: usize,
    pub(crate) when_revoked: Rules,
    pub(crate) call_inner_after_logout: bool,
    pub(crate) csrf: Csrf,
    pub(crate) after_logout: AfterLogout,
    /// How long requests with credentials are served although the log is not read to its end.
    pub(crate) max_log_lag: Option<Duration>,
    pub(crate) requests: RequestCounters,
    pub(crate) revoker: Arc<Revoker>,
    /// Runs logouts.
    pub(crate) spawner: Spawner,
}

/// The gate, and how the layer's own answers are written.
#[derive(Debug)]
pub(crate) struct GateAndAnswers<A> {
    pub(crate) gate: Arc<Gate>,
    pub(crate) answers: A,
}

/// Counts the requests that [`Counters`](crate::telemetry::Counters) do not count.
#[derive(Debug)]
pub(crate) struct RequestCounters {
    pub(crate) passed: metrics::Counter,
    /// Requests whose body cannot be searched: it is too large, compressed or incomplete, or holds
    /// too many tokens.
    pub(crate) unreadable: metrics::Counter,
    pub(crate) logout: metrics::Counter,
}

impl RequestCounters {
    pub(crate) fn new() -> Self {
        Self {
            passed: metrics::requests("passed"),
            unreadable: metrics::requests("unreadable"),
            logout: metrics::requests("logout"),
        }
    }
}

impl Gate {
    /// Whether requests with credentials are answered 503, because the log has not been followed
    /// to its end for too long.
    pub(crate) fn is_unsure(&self) -> bool {
        let too_long = |limit| self.revoker.log_lag.behind_for().is_some_and(|lag| lag > limit);
        self.max_log_lag.is_some_and(too_long)
    }

    /// The credentials in a request that stand where the application looks for them and are not yet
    /// denied.
    pub(crate) fn carried(&self, head: Head<'_>) -> Carried {
        let mut carried = Carried::new();
        let _ = self.finder.find_in_head(head, |found| {
            if found.is_expected() && !self.revoker.denylist.contains(&found.hash) {
                carried.push(found.hash);
            }
            ControlFlow::Continue(())
        });
        carried
    }

    /// Checks a request after its body was read. `carried` holds the credentials that were in its
    /// head before. The error is the reason to refuse the request.
    pub(crate) fn check(&self, carried: &Carried, body: &[u8]) -> Result<(), ReplyKind> {
        let is_denied = |hash: &TokenHash| self.revoker.denylist.contains(hash);
        // A logout may have denied one of them while the body arrived.
        let mut revoked = carried.iter().find(|hash| is_denied(hash)).copied();
        let mut any = !carried.is_empty();
        let _ = self.finder.find_in_body(body, |found| {
            any = true;
            revoked = revoked.or(Some(found.hash).filter(is_denied));
            if revoked.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(hash) = revoked {
            self.note_rejected(hash);
            return Err(ReplyKind::Rejected);
        }
        if any && self.is_unsure() {
            self.revoker.counters.unsure.increment();
            return Err(ReplyKind::Unsure);
        }
        Ok(())
    }

    pub(crate) fn note_rejected(&self, hash: TokenHash) {
        self.revoker.counters.rejected.increment();
        debug!(step = "rejected", ?hash, "a request with a revoked token was rejected");
    }

    /// Takes every `Set-Cookie` with a credential out of a response, and revokes the credentials:
    /// they are denied at once, and a task does the rest. Returns their number.
    pub(crate) fn take_back_cookies(&self, headers: &mut HeaderMap) -> usize {
        let mut taken = Vec::new();
        self.finder.take_set_cookies(headers, |found| taken.push(found.revocation()));
        let count = taken.len();
        if count > 0 {
            self.revoke(taken);
        }
        count
    }

    fn revoke(&self, revocations: Vec<Revocation>) {
        for revocation in &revocations {
            self.revoker.deny_at_once(revocation);
        }
        let revoker = Arc::clone(&self.revoker);
        self.spawner.spawn(async move {
            revoker.run(revocations).await;
        });
    }
}
