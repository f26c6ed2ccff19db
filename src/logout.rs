//! A logout, and the only place that fixes the order of its effects.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use crate::counts::Counters;
use crate::delivery::{Delivered, Delivery};
use crate::denylist::Denylist;
use crate::token::{CredentialKind, Revocation};

/// What became of a logout: of its worst token, where it had several.
///
/// An application that handles logout itself finds it in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LogoutOutcome {
    /// There was no token to revoke.
    NoToken,
    /// Every token is rejected here, and Polar confirmed each that is Polar's.
    Confirmed,
    /// Every token is rejected here; Polar refuses for good to revoke one of them, another client's
    /// say.
    Refused,
    /// Every token is rejected here; Polar has not confirmed one of them yet.
    Pending,
    /// There is no room for one more revocation: a token is not rejected here. Polar was told.
    Full,
}

/// How long a credential is rejected where nobody knows its exact lifetime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) access_token: Duration,
    pub(crate) refresh_token: Duration,
    pub(crate) opaque: Duration,
}

#[derive(Debug)]
pub(crate) struct Logout {
    pub(crate) denylist: Arc<Denylist>,
    pub(crate) delivery: Delivery,
    pub(crate) retention: Retention,
    /// How long a logout waits for Polar.
    pub(crate) deadline: Duration,
    pub(crate) counters: Arc<Counters>,
}

impl Logout {
    /// Revokes: first here, at once and for all requests; then at Polar, waiting at most the
    /// deadline. To be run in a task of its own, so that nobody who hangs up can stop it half way.
    pub(crate) async fn run(&self, revocations: Vec<Revocation>) -> LogoutOutcome {
        self.counters.logouts.increment();
        let denied = self.deny(&revocations);
        let told = self.tell_polar(revocations).await;
        let outcome = denied.max(told);
        info!(?outcome, "logout");
        outcome
    }

    fn deny(&self, revocations: &[Revocation]) -> LogoutOutcome {
        let now = SystemTime::now();
        let mut outcome = LogoutOutcome::NoToken;
        for revocation in revocations {
            let lifetime = revocation.lifetime.unwrap_or(self.retention.of(revocation.kind));
            // Out of range is longer than the denylist keeps anything.
            let expires_at =
                now.checked_add(lifetime).unwrap_or(now + Duration::from_secs(1 << 33));
            outcome = outcome.max(match self.denylist.insert(revocation.hash, expires_at) {
                Ok(()) => LogoutOutcome::Confirmed,
                Err(full) => {
                    self.counters.full.increment();
                    error!(
                        ?full, limit = self.denylist.limit(), hash = ?revocation.hash,
                        "no room for one more revocation, a token is NOT rejected here: raise the limit"
                    );
                    LogoutOutcome::Full
                }
            });
        }
        outcome
    }

    async fn tell_polar(&self, revocations: Vec<Revocation>) -> LogoutOutcome {
        // All are sent before the first is waited for.
        let sent: Vec<_> = revocations
            .into_iter()
            .filter_map(|Revocation { hash, token, kind, .. }| {
                token.map(|token| self.delivery.send(hash, token, kind))
            })
            .collect();
        let deadline = Instant::now() + self.deadline;
        let mut outcome = LogoutOutcome::NoToken;
        for delivered in sent {
            outcome = outcome.max(outcome_by(deadline, delivered).await);
        }
        outcome
    }
}

async fn outcome_by(deadline: Instant, delivered: oneshot::Receiver<Delivered>) -> LogoutOutcome {
    match timeout_at(deadline, delivered).await {
        Ok(Ok(Delivered::Confirmed)) => LogoutOutcome::Confirmed,
        Ok(Ok(Delivered::Refused)) => LogoutOutcome::Refused,
        Ok(Ok(Delivered::Unconfirmed) | Err(_)) | Err(_) => LogoutOutcome::Pending,
    }
}

impl Retention {
    fn of(&self, kind: CredentialKind) -> Duration {
        match kind {
            CredentialKind::AccessToken => self.access_token,
            CredentialKind::RefreshToken => self.refresh_token,
            CredentialKind::Opaque => self.opaque,
        }
    }
}
