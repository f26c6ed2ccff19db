//! Lets work that takes long end when its credential is revoked.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::denylist::Denylist;
use crate::token::TokenHash;

/// The credentials of one request. Most carry one or two.
pub(crate) type Carried = SmallVec<[TokenHash; 2]>;

/// Tells a handler that a credential of its request was revoked: by a logout, through the handle,
/// or by another replica that shares the log.
///
/// Behind an [`EndStreamsLayer`](crate::EndStreamsLayer) it is in the extensions of each request
/// that carries a credential. For what outlives the request, a WebSocket for example:
///
/// ```
/// use axum::Extension;
/// use tower_polar_logout::RevocationSignal;
///
/// async fn handler(Extension(signal): Extension<RevocationSignal>) {
///     tokio::spawn(async move {
///         tokio::select! {
///             () = signal.revoked() => { /* close the socket */ }
///             () = serve_the_socket() => {}
///         }
///     });
/// }
/// # async fn serve_the_socket() {}
/// ```
#[derive(Clone)]
pub struct RevocationSignal {
    denylist: Arc<Denylist>,
    carried: Arc<[TokenHash]>,
}

impl RevocationSignal {
    pub(crate) fn new(denylist: Arc<Denylist>, carried: &Carried) -> Self {
        Self { denylist, carried: carried.as_slice().into() }
    }

    /// Whether a credential of the request has been revoked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.carried.iter().any(|hash| self.denylist.contains(hash))
    }

    /// Waits until a credential of the request is revoked; indefinitely if none is. May be dropped
    /// at any time.
    pub async fn revoked(&self) {
        let watching = self.denylist.watch(&self.carried);
        // After: what is revoked meanwhile tells those who watch.
        if !self.is_revoked() {
            watching.told().await;
        }
    }
}

impl fmt::Debug for RevocationSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationSignal").field("is_revoked", &self.is_revoked()).finish()
    }
}
