//! The application's own hold on the layer.

#[cfg(feature = "axum")]
mod extract;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::Error;
use crate::middleware::{CheckBodyLayer, EndStreamsLayer, Gate, PolarLogoutLayer};
use crate::polar::{ClientCredentials, CredentialCheck};
use crate::revocation::LogoutOutcome;
use crate::telemetry::{Counts, Health};
use crate::token::{Revocation, TokenHash};

#[cfg(feature = "axum")]
pub use self::extract::LogoutOutcomeRejection;

/// Revokes and asks from the application's own code: its own logout handler, an admin page, a
/// webhook. Cheap to clone; shares everything with the layer it came from.
#[derive(Clone)]
pub struct LogoutHandle {
    gate: Arc<Gate>,
}

impl<A> PolarLogoutLayer<A> {
    /// The application's own hold on the layer: to revoke, to ask, to shut down.
    #[must_use]
    pub fn handle(&self) -> LogoutHandle {
        LogoutHandle { gate: Arc::clone(self.gate()) }
    }
}

impl LogoutHandle {
    /// Whether this credential is revoked here: a token, or a session id as it stands in its place.
    #[must_use]
    pub fn is_revoked(&self, credential: impl AsRef<[u8]>) -> bool {
        let hash = TokenHash::of_credential(credential.as_ref());
        hash.is_some_and(|hash| self.gate.revoker.denylist.contains(&hash))
    }

    /// Revokes, as a logout does: first here, then at Polar, waiting for Polar at most the
    /// deadline. What was begun runs to its end, also when the returned future is dropped.
    ///
    /// Polar is told of the tokens of one call one after the other, refresh tokens first, because
    /// two of them may be one pair, and two calls about one pair at the same time freeze Polar. So
    /// give the tokens of one user together, and those of several users in several calls.
    ///
    /// ```
    /// # use tower_polar_logout::{Error, LogoutHandle};
    /// use tower_polar_logout::Revocation;
    ///
    /// # async fn example(handle: LogoutHandle) -> Result<(), Error> {
    ///
    /// let outcome = handle
    ///     .revoke([
    ///         Revocation::access_token("polar_at_u_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG")?,
    ///         Revocation::refresh_token("polar_rt_u_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG")?,
    ///         Revocation::session_id("session-0123456789")?,
    ///     ])
    ///     .await;
    /// assert!(outcome.is_denied(), "rejected here, whatever Polar says");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke(&self, revocations: impl IntoIterator<Item = Revocation>) -> LogoutOutcome {
        let revocations = revocations.into_iter().collect();
        let (report, outcome) = oneshot::channel();
        let revoker = Arc::clone(&self.gate.revoker);
        let revoking = async move {
            // The caller may have gone.
            let _ = report.send(revoker.run(revocations).await);
        };
        self.gate.spawner.spawn(revoking.in_current_span());
        // Nothing is reported only if the runtime is shut down: then nothing is sure.
        outcome.await.unwrap_or(LogoutOutcome::Full)
    }

    /// A layer for the routes whose bodies carry tokens.
    #[must_use]
    pub fn check_body(&self) -> CheckBodyLayer {
        CheckBodyLayer::new(Arc::clone(&self.gate))
    }

    /// A layer for the routes that stream.
    #[must_use]
    pub fn end_streams(&self) -> EndStreamsLayer {
        EndStreamsLayer::new(Arc::clone(&self.gate))
    }

    /// What is held, and what has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.gate.revoker.counts()
    }

    /// How delivery to Polar, and the log, are doing.
    #[must_use]
    pub fn health(&self) -> Health {
        self.gate.revoker.health()
    }

    /// Exchanges the client credentials, without losing what is on its way: Polar is called with
    /// the new ones from now on, at once for what failed before, and a log's tokens are sealed
    /// anew.
    ///
    /// Give the old secret with
    /// [`previous_client_secret`](crate::PolarLogoutLayerBuilder::previous_client_secret) at the next start
    /// nevertheless: a logout at this very moment may still be sealed with it.
    ///
    /// # Errors
    ///
    /// The credentials are empty or not visible ASCII: then nothing has changed. Or the log could
    /// not be written: then they are in use, and what is on its way is sealed with the old secret.
    pub async fn set_credentials(&self, credentials: ClientCredentials) -> Result<(), Error> {
        self.gate.revoker.set_credentials(credentials).await
    }

    /// Asks Polar whether it takes the client id and secret, without touching any token: see
    /// [`PolarClient::check_credentials`](crate::client::PolarClient::check_credentials), also for the errors.
    /// For the start of the application, not for a readiness probe.
    ///
    /// # Errors
    ///
    /// Polar does not take the credentials; the URL is not Polar's; or Polar cannot be asked.
    pub async fn check_credentials(&self) -> Result<CredentialCheck, Error> {
        self.gate.revoker.delivery.client().check_credentials().await
    }

    /// Ends delivery in good order: takes nothing in any more, sends once more what waits after a
    /// failure, waits at most `limit` until Polar has confirmed everything, and says what is left.
    ///
    /// To be called after the server has stopped: a logout that comes later is denied here and
    /// answered 503.
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        let started = Instant::now();
        let revoker = &self.gate.revoker;
        revoker.delivery.close();
        revoker.delivery.drain(limit).await;
        // What is noted in the log about what was delivered, and answers to logouts.
        self.gate.spawner.drain(limit.saturating_sub(started.elapsed())).await;
        let Health { pending, log_held, .. } = revoker.health();
        ShutdownReport { pending, log_held }
    }
}

/// What a [`shutdown`](LogoutHandle::shutdown) has left undone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tokens that Polar has not confirmed. With a log they are delivered after the next start, or
    /// by another replica; without one they are lost with this process.
    pub pending: usize,
    /// Appends that were accepted while the log was away, and are lost with this process.
    pub log_held: usize,
}

impl ShutdownReport {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pending == 0 && self.log_held == 0
    }
}

impl fmt::Debug for LogoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutHandle").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
