//! The configured whole: what every clone of the layer and every service share.

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
    /// For how long requests with credentials are served without all knowledge of the log.
    pub(crate) max_log_lag: Option<Duration>,
    pub(crate) requests: RequestCounters,
    pub(crate) revoker: Arc<Revoker>,
    /// Where logouts run.
    pub(crate) spawner: Spawner,
}

/// The gate, and how the layer's own answers are written.
#[derive(Debug)]
pub(crate) struct Configured<A> {
    pub(crate) gate: Arc<Gate>,
    pub(crate) answers: A,
}

/// Counts for monitoring what is not counted elsewhere: [`Counters`](crate::telemetry::Counters) know
/// who was turned away.
#[derive(Debug)]
pub(crate) struct RequestCounters {
    pub(crate) passed: metrics::Counter,
    /// A body that is looked into is too large, compressed, or broken off, or holds too many
    /// tokens.
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
    /// Whether requests with credentials are not served, because the log has not been followed for
    /// too long.
    pub(crate) fn is_unsure(&self) -> bool {
        let too_long = |limit| self.revoker.log_lag.behind_for().is_some_and(|for_| for_ > limit);
        self.max_log_lag.is_some_and(too_long)
    }

    /// The credentials in a request that stand where the application looks for them and are not
    /// revoked yet.
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

    /// Whether a request goes on that carried this when it came, and whose body has been read; or
    /// why not.
    pub(crate) fn check(&self, carried: &Carried, body: &[u8]) -> Result<(), ReplyKind> {
        let is_denied = |hash: &TokenHash| self.revoker.denylist.contains(hash);
        // A logout may have come while the body arrived.
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

    /// Takes what sets a credential in a cookie out of a response, and revokes it: here at once,
    /// the rest in a task. Returns how many there were.
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
