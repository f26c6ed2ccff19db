//! The revocation log: the events that must survive this process.
//!
//! - The denylist is the sum of all [`Event::Revoked`].
//! - The queue to Polar is every `Revoked` with a sealed token and no [`Event::Delivered`].
//! - An [`Event::Claimed`] says which process has a token in its queue.
//!
//! No event takes back another, and applying an event twice changes nothing. So a log may keep an
//! event more than once, but must keep it at least once.

#[cfg(feature = "journal")]
mod journal;
#[cfg(any(feature = "journal", feature = "redis"))]
mod millis;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "journal", feature = "redis"))]
mod refusal;
mod seal;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(feature = "journal")]
pub use self::journal::Journal;
#[cfg(feature = "redis")]
pub use self::redis::RedisLog;
pub(crate) use self::seal::Sealer;
use crate::error::Error;
use crate::token::TokenHash;

/// An event in a [`RevocationLog`].
///
/// The variants and their fields are deliberately exhaustive: a log that ignored one of them would
/// lose revocations. So a new variant or field is a breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A credential is revoked. If a hash has two of these events, the later expiry applies. A
    /// sealed token stays until the `Delivered` event of its hash.
    Revoked {
        /// The credential's hash.
        hash: TokenHash,
        /// The credential is denied at least until this time.
        expires_at: SystemTime,
        /// The token, if it is still to be sent to Polar; `None` if there is nothing to send.
        sealed: Option<SealedToken>,
    },
    /// Polar has confirmed the revocation, or refused it permanently. The sealed token is no longer
    /// needed.
    Delivered {
        /// The token's hash.
        hash: TokenHash,
    },
    /// A running process has the token in its queue and will deliver it.
    ///
    /// The process appends this event repeatedly while that is so. After the claim has ended,
    /// another process may deliver the token: the first one that claims it.
    ///
    /// [`Event::Revoked`] also counts as a claim of the process that appended it, for the time
    /// [`adopt_after`](RevocationLog::adopt_after).
    Claimed {
        /// The token's hash.
        hash: TokenHash,
        /// No other process delivers the token before this time.
        until: SystemTime,
        /// The process that claims the token.
        by: Claimant,
    },
}

/// The random id of a process that shares a log, chosen when its layer is built.
///
/// With it a process that reads two claims of one token knows whether its own claim came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claimant([u8; 8]);

impl Claimant {
    pub(crate) fn random() -> Self {
        Self(fastrand::u64(..).to_be_bytes())
    }

    /// Restores a claimant from its stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// A token that can only be read with the client secret: it is encrypted with XChaCha20-Poly1305,
/// under a key that HKDF-SHA-256 derives from the secret, with the token's hash as associated data.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedToken(pub(crate) Arc<[u8]>);

impl SealedToken {
    /// Restores a sealed token from its stored bytes.
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

/// The future that the methods of a [`RevocationLog`] return.
pub type LogFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Keeps events beyond the life of this process, and returns those that other processes append.
///
/// One log belongs to one layer at a time. A log may return an event more than once, and in any
/// order, with two exceptions:
///
/// - All followers get the [claims](Event::Claimed) of one token in the same order.
/// - All followers get the events of one append together.
///
/// Otherwise two processes may send the same token, or the two tokens of a pair, to Polar at the
/// same time, which freezes Polar.
pub trait RevocationLog: Send + Sync + 'static {
    /// Assigns the log to the layer that has this client id. Called once, before all other methods,
    /// on the layer's tokio runtime. A log that several apps can share uses the client id to keep
    /// their events apart.
    ///
    /// # Errors
    ///
    /// The log belongs to another layer.
    fn assign(&self, client_id: &str) -> Result<(), Error> {
        let _ = client_id;
        Ok(())
    }

    /// Releases the log for another layer. Called if the layer that it was assigned to could not be
    /// built.
    fn release(&self) {}

    /// Returns the next events after this cursor, or from the beginning of the log: each revocation
    /// that has not expired, and each that is not delivered, in any number of steps.
    ///
    /// After the last event the future stays pending until another process appends an event, and
    /// indefinitely if no other process can. There is one call at a time. A call may be dropped and
    /// made again with the same cursor.
    ///
    /// # Errors
    ///
    /// The log cannot be reached or read. The layer then calls again with the same cursor. The
    /// first call that succeeds must return a step even if no event was appended: the layer counts
    /// as behind until a step [is current](Followed::with_current).
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed>;

    /// Keeps all of these events, or none. Dropping the future does not undo the append.
    ///
    /// # Errors
    ///
    /// The events are not kept and will not be.
    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept>;

    /// How long a process may take to [claim](Event::Claimed) a token again before other processes
    /// consider it dead.
    ///
    /// Another process then delivers the token, after the time-out of a call to Polar has passed
    /// too, because the dead process may have called Polar just before its end.
    ///
    /// Zero, the default, is for a log that no other process writes. Nothing is claimed in it. Any
    /// other log must also return a process's own events to it.
    fn adopt_after(&self) -> Duration {
        Duration::ZERO
    }
}

impl<L: RevocationLog + ?Sized> RevocationLog for Arc<L> {
    fn assign(&self, client_id: &str) -> Result<(), Error> {
        (**self).assign(client_id)
    }

    fn release(&self) {
        (**self).release();
    }

    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        (**self).follow(after)
    }

    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        (**self).append(events)
    }

    fn adopt_after(&self) -> Duration {
        (**self).adopt_after()
    }
}

/// A step of [`RevocationLog::follow`].
#[derive(Clone, Debug)]
pub struct Followed {
    pub(crate) events: Vec<Event>,
    pub(crate) cursor: Cursor,
    pub(crate) is_current: bool,
    pub(crate) has_lost: bool,
    pub(crate) skipped: u64,
}

impl Followed {
    /// A step with these events, and the cursor after them. Unless the methods below say otherwise,
    /// the step is current, and no event was lost or skipped.
    #[must_use]
    pub fn new(events: Vec<Event>, cursor: Cursor) -> Self {
        Self { events, cursor, is_current: true, has_lost: false, skipped: 0 }
    }

    /// Whether the log holds no further events at the moment. Default `true`.
    #[must_use]
    pub fn with_current(mut self, is_current: bool) -> Self {
        self.is_current = is_current;
        self
    }

    /// Whether the log has lost events from before the cursor, because it was emptied or replaced
    /// by an older copy, or whether events in it expire too early. The follower then appends again
    /// the revocations that it knows. Default `false`.
    #[must_use]
    pub fn with_lost(mut self, has_lost: bool) -> Self {
        self.has_lost = has_lost;
        self
    }

    /// How many entries could not be read and were skipped. Default 0.
    #[must_use]
    pub fn with_skipped(mut self, entries: u64) -> Self {
        self.skipped = entries;
        self
    }

    /// The events of this step.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events of this step, by value.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// The cursor for the next step.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// See [`with_current`](Self::with_current).
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_current
    }

    /// See [`with_lost`](Self::with_lost).
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// See [`with_skipped`](Self::with_skipped).
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// A place in a log, in a form that the log chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Box<str>);

impl Cursor {
    /// A cursor from the log's own text.
    pub fn new(place: impl Into<Box<str>>) -> Self {
        Self(place.into())
    }

    /// The log's own text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How safely a log keeps appended events.
///
/// Deliberately exhaustive: a log that wraps another log must handle each case.
pub enum Kept {
    /// The events outlive this process, and all followers of the log can see them.
    Durably,
    /// For now the events are only in this process, because the log is down. The future resolves
    /// once they are kept durably, however long that takes, or to an error if they never will be.
    ForNow(LogFuture<'static, ()>),
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Durably => "Durably",
            Self::ForNow(_) => "ForNow",
        })
    }
}
