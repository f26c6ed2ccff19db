//! What must survive this process: one log, two kinds of event.
//!
//! The denylist is what all [`Event::Revoked`] say. The queue to Polar is every `Revoked` with a
//! sealed token and no [`Event::Delivered`]. Both kinds only ever add, and applying one twice
//! changes nothing, so a log need only keep each event at least once.

#[cfg(feature = "journal")]
mod journal;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "journal")]
pub use self::journal::Journal;
use crate::error::Error;
use crate::token::TokenHash;

/// What a [`RevocationLog`] keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A credential is revoked. Of two for one hash the later expiry holds, and a sealed token
    /// stays until its `Delivered`.
    Revoked {
        /// The credential's hash.
        hash: TokenHash,
        /// Until when it is rejected, at least.
        expires_at: SystemTime,
        /// The token itself where Polar is yet to be told; `None` where there is nothing to tell.
        sealed: Option<SealedToken>,
    },
    /// Polar has confirmed the revocation, or refused it for good: the sealed token is of no use
    /// any more.
    Delivered {
        /// The token's hash.
        hash: TokenHash,
    },
}

/// A token that only the holder of the client secret can read: XChaCha20-Poly1305 under a key that
/// HKDF-SHA-256 derives from the secret, with the token's hash as associated data.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedToken(pub(crate) Arc<[u8]>);

impl SealedToken {
    /// A sealed token as it was stored.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedToken(..)")
    }
}

/// The future of a [`RevocationLog`]'s answer.
pub type LogFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Keeps events beyond the life of this process.
///
/// One log belongs to one layer at a time.
pub trait RevocationLog: Send + Sync + 'static {
    /// Everything that still matters, in any order: each revocation that has not expired, and each
    /// that is not delivered. Called once, before the first request is served.
    fn replay(&self) -> LogFuture<'_, Vec<Event>>;

    /// Keeps these events, all or none. They are durable when the future resolves to `Ok`; dropping
    /// it does not take them back.
    fn append(&self, events: Vec<Event>) -> LogFuture<'_, ()>;
}
