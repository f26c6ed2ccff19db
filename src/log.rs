//! What must survive this process: one log, three kinds of event.
//!
//! The denylist is what all [`Event::Revoked`] say. The queue to Polar is every `Revoked` with a
//! sealed token and no [`Event::Delivered`]; an [`Event::Claimed`] says which process has a token in
//! its queue. Events only ever add, and applying one twice changes nothing, so a log need only keep
//! each event at least once.

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

/// What a [`RevocationLog`] keeps.
///
/// Exhaustive on purpose, and so are the fields: a log that passed over a kind of event, or a field,
/// would lose revocations. So a new one is a breaking change.
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
    /// A process that lives has the token in its queue, and is the one to deliver it. It appends this
    /// again and again while that is so; others deliver the token only once its claim has run out,
    /// and only the first of them to claim it.
    ///
    /// [`Event::Revoked`] is a claim too, of the process that appended it, for
    /// [`adopt_after`](RevocationLog::adopt_after).
    Claimed {
        /// The token's hash.
        hash: TokenHash,
        /// Until when no other process delivers it.
        until: SystemTime,
        /// Whose claim it is.
        by: Claimant,
    },
}

/// A process among those that share a log: chosen by chance when its layer is built.
///
/// A claim has to say whose it is, so that a process that reads two claims of one token knows whether
/// its own came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claimant([u8; 8]);

impl Claimant {
    /// Another than all others.
    pub(crate) fn random() -> Self {
        Self(fastrand::u64(..).to_be_bytes())
    }

    /// A claimant as it was stored.
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

/// Keeps events beyond the life of this process, and tells of those that other processes append.
///
/// One log belongs to one layer at a time. It may tell of an event more than once, and need not keep
/// order, but for [claims](Event::Claimed): all who follow it are told of the claims of one token in
/// one order, and an append in one piece. Otherwise two processes may send the same token, or the two
/// of a pair, to Polar at the same time, which freezes it.
pub trait RevocationLog: Send + Sync + 'static {
    /// Told once, before all else, and on the tokio runtime that the layer lives on: the client id
    /// whose revocations these are. A log that several applications could share keeps them apart by
    /// it.
    ///
    /// # Errors
    ///
    /// The log is another layer's already.
    fn assign(&self, client_id: &str) -> Result<(), Error> {
        let _ = client_id;
        Ok(())
    }

    /// Told if the layer it was assigned to could not be built: another layer may have it.
    fn release(&self) {}

    /// What the log says after this cursor, or from its beginning: each revocation that has not
    /// expired, and each that is not delivered, in as many steps as the log likes. Once all was
    /// told it stays pending until others append something, for ever if they cannot. One call at a
    /// time; a call may be dropped and made again with the same cursor.
    ///
    /// # Errors
    ///
    /// The log cannot be read, or not be reached. It is asked again, with the same cursor; once it
    /// can be read it answers with a step then, also where nothing was appended meanwhile: until a
    /// step [is current](Followed::with_current) the layer takes itself to be behind.
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed>;

    /// Keeps these events, all or none. Dropping the future does not take them back.
    ///
    /// # Errors
    ///
    /// They are not kept, and will not be.
    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept>;

    /// How long a process may go without [claiming](Event::Claimed) a token again until others take
    /// it for dead. They deliver the token in its place once the time-out of a call to Polar has
    /// passed too, since the dead process may have called Polar just before its end. Zero, the
    /// default, is for a log that no other process writes: nothing is claimed there. Any other log
    /// tells a process of its own events too.
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
    /// These events, and from where to go on. There is nothing more to tell at the moment, nothing
    /// was lost, and nothing skipped, unless the methods below say otherwise.
    #[must_use]
    pub fn new(events: Vec<Event>, cursor: Cursor) -> Self {
        Self { events, cursor, is_current: true, has_lost: false, skipped: 0 }
    }

    /// Whether this is all there is to tell at the moment. Default `true`.
    #[must_use]
    pub fn with_current(mut self, is_current: bool) -> Self {
        self.is_current = is_current;
        self
    }

    /// Whether the log no longer holds what it held before the cursor: it was emptied, or replaced
    /// by an older copy of itself; or what it holds expires too early. The follower then appends
    /// again what it knows. Default `false`.
    #[must_use]
    pub fn with_lost(mut self, has_lost: bool) -> Self {
        self.has_lost = has_lost;
        self
    }

    /// How many entries could not be read, and were passed over. Default 0.
    #[must_use]
    pub fn with_skipped(mut self, entries: u64) -> Self {
        self.skipped = entries;
        self
    }

    /// What the log says.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The same, by value.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// From where to go on.
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

/// A place in a log, in its own terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Box<str>);

impl Cursor {
    /// The cursor that a log calls this.
    pub fn new(place: impl Into<Box<str>>) -> Self {
        Self(place.into())
    }

    /// What the log called it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How well a log keeps what was appended.
///
/// Exhaustive on purpose: a log that wraps another must deal with each.
pub enum Kept {
    /// Beyond the life of this process, and visible to all that follow the log.
    Durably,
    /// In this process only for now, since the log is away. The future resolves once they are kept
    /// durably, however long that takes, or to an error where they never will be.
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
