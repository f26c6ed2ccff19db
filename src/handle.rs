//! The application's own hold on the layer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::logout::{Logout, LogoutOutcome};
use crate::tasks::Tasks;
use crate::token::{Revocation, TokenHash};

/// Revokes and asks from the application's own code: its own logout handler, an admin page, a
/// webhook. Cheap to clone; shares everything with the layer it came from.
#[derive(Clone)]
pub struct LogoutHandle {
    logout: Arc<Logout>,
    tasks: Tasks,
}

impl LogoutHandle {
    pub(crate) fn new(logout: Arc<Logout>, tasks: Tasks) -> Self {
        Self { logout, tasks }
    }

    /// Whether requests with this credential are rejected here.
    #[must_use]
    pub fn is_revoked(&self, credential: impl AsRef<[u8]>) -> bool {
        self.logout.denylist.contains(&TokenHash::of(credential))
    }

    /// Revokes, as a logout does: first here, then at Polar, waiting for Polar at most the
    /// deadline. What was begun runs to its end, also when the returned future is dropped.
    ///
    /// ```
    /// # async fn example(handle: tower_polar_logout::LogoutHandle) -> Result<(), tower_polar_logout::Error> {
    /// use tower_polar_logout::{LogoutOutcome, Revocation};
    ///
    /// let outcome = handle
    ///     .revoke([
    ///         Revocation::access_token("polar_at_u_...")?,
    ///         Revocation::refresh_token("polar_rt_u_...")?,
    ///         Revocation::opaque("session-id")?,
    ///     ])
    ///     .await;
    /// assert!(outcome <= LogoutOutcome::Pending, "rejected here, whatever Polar says");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke(&self, revocations: impl IntoIterator<Item = Revocation>) -> LogoutOutcome {
        let revocations = revocations.into_iter().collect();
        let (report, outcome) = oneshot::channel();
        let logout = Arc::clone(&self.logout);
        self.tasks.spawn(async move {
            // Nobody may be waiting any more.
            let _ = report.send(logout.run(revocations).await);
        });
        // Nothing is reported only where the runtime is shut down: then nothing is sure.
        outcome.await.unwrap_or(LogoutOutcome::Full)
    }

    /// What is held, and what has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let denylist = &self.logout.denylist;
        self.logout.counters.snapshot(denylist.len(), denylist.limit())
    }

    /// Waits until all that was begun is done, at most `limit`, and returns how much is not: logouts
    /// under way, and tokens on their way to Polar. To be called after the server has stopped.
    pub async fn shutdown(&self, limit: Duration) -> usize {
        self.tasks.drain(limit).await
    }
}

impl fmt::Debug for LogoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutHandle").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
