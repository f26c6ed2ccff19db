//! The app's handle to the layer.

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

/// Revokes credentials and reads the layer's state from the app's own code, for example from its
/// own logout handler, an admin page or a webhook.
///
/// Cheap to clone. Every clone shares its state with the layer.
#[derive(Clone)]
pub struct LogoutHandle {
    gate: Arc<Gate>,
}

impl<A> PolarLogoutLayer<A> {
    /// The app's handle to the layer: to revoke, to read its state, and to shut it down.
    #[must_use]
    pub fn handle(&self) -> LogoutHandle {
        LogoutHandle { gate: Arc::clone(self.gate()) }
    }
}

impl LogoutHandle {
    /// Whether this credential is denied here: a token, or a session id as the request carries it.
    #[must_use]
    pub fn is_revoked(&self, credential: impl AsRef<[u8]>) -> bool {
        let hash = TokenHash::of_credential(credential);
        hash.is_some_and(|hash| self.gate.revoker.denylist.contains(&hash))
    }

    /// Revokes these credentials as a logout does: first here, then at Polar. Waits for Polar at
    /// most [`logout_deadline`](crate::PolarLogoutLayerBuilder::logout_deadline). The revocation
    /// goes on if the returned future is dropped.
    ///
    /// The tokens of one call are sent to Polar one after the other, refresh tokens first, because
    /// two of them may be one pair, and two simultaneous calls about one pair freeze Polar. So give
    /// the tokens of one user in one call, and those of several users in several calls.
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
    /// assert!(outcome.is_denied(), "denied here, whatever Polar answers");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke(&self, revocations: impl IntoIterator<Item = Revocation>) -> LogoutOutcome {
        let revocations = revocations.into_iter().collect();
        let (report, outcome) = oneshot::channel();
        let revoker = Arc::clone(&self.gate.revoker);
        let revoking = async move {
            // Sending fails if the caller has dropped the future.
            let _ = report.send(revoker.run(revocations).await);
        };
        self.gate.spawner.spawn(revoking.in_current_span());
        // Without a report the runtime has shut down, and the outcome is unknown.
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

    /// Counts of the revocations held now, and of the events so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.gate.revoker.counts()
    }

    /// The state of delivery to Polar, and of the log.
    #[must_use]
    pub fn health(&self) -> Health {
        self.gate.revoker.health()
    }

    /// Replaces the client credentials, without losing tokens on their way to Polar:
    ///
    /// - Polar is called with the new credentials from now on.
    /// - Tokens that could not be delivered before are sent again at once.
    /// - The tokens in a log are sealed again.
    ///
    /// Still give the old secret to
    /// [`previous_client_secret`](crate::PolarLogoutLayerBuilder::previous_client_secret) at the
    /// next start: the token of a simultaneous logout may still be sealed with it.
    ///
    /// # Errors
    ///
    /// - The credentials are empty or not visible ASCII: nothing has changed.
    /// - The log could not be written: the new credentials are in use, but tokens on their way are
    ///   sealed with the old secret.
    pub async fn set_credentials(&self, credentials: ClientCredentials) -> Result<(), Error> {
        self.gate.revoker.set_credentials(credentials).await
    }

    /// Asks Polar whether it accepts the client id and secret. No token is touched. Call this when
    /// the app starts, not in a readiness probe.
    ///
    /// # Errors
    ///
    /// Polar does not accept the credentials, the URL is not Polar's, or Polar gave no answer. See
    /// [`PolarClient::check_credentials`](crate::client::PolarClient::check_credentials).
    pub async fn check_credentials(&self) -> Result<CredentialCheck, Error> {
        self.gate.revoker.delivery.client().check_credentials().await
    }

    /// Ends delivery: accepts no new tokens, sends once more the tokens that wait after a failure,
    /// and waits at most `limit` until Polar has confirmed all of them. Reports what is left.
    ///
    /// Call this after the server has stopped: the tokens of a later logout are denied here, and
    /// the logout is answered 503.
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        let started = Instant::now();
        let revoker = &self.gate.revoker;
        revoker.delivery.close();
        revoker.delivery.drain(limit).await;
        // Tasks may still record deliveries in the log, or answer logouts.
        self.gate.spawner.drain(limit.saturating_sub(started.elapsed())).await;
        let Health { pending, log_held, .. } = revoker.health();
        ShutdownReport { pending, log_held }
    }
}

/// The work that a [`shutdown`](LogoutHandle::shutdown) left undone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tokens that Polar has not confirmed. With a log they are delivered after the next start, or
    /// by another replica; without one they are lost with this process.
    pub pending: usize,
    /// Appends that were accepted while the log was unavailable. They are lost with this process.
    pub log_held: usize,
}

impl ShutdownReport {
    /// Whether no work is left.
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
