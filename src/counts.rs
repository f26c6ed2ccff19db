//! What has happened since the layer was built.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of what has happened, and of what is held, for a health page.
///
/// All but [`revoked`](Counts::revoked), [`limit`](Counts::limit) and
/// [`pending`](Counts::pending) only grow, from zero when the layer was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Revoked credentials that are held now.
    pub revoked: usize,
    /// How many can be held.
    pub limit: usize,
    /// Requests that were answered for carrying a revoked credential.
    pub rejected: u64,
    /// Logouts: by a request or through the handle, with or without a token.
    pub logouts: u64,
    /// Revocations that there was no room for.
    pub full: u64,
    /// Tokens on their way to Polar now.
    pub pending: u64,
    /// Tokens whose revocation Polar confirmed.
    pub confirmed: u64,
    /// Tokens that Polar refused for good to revoke.
    pub refused: u64,
    /// Tokens whose revocation Polar did not confirm.
    pub unconfirmed: u64,
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rejected: Counter,
    pub(crate) logouts: Counter,
    pub(crate) full: Counter,
    pub(crate) sent: Counter,
    pub(crate) confirmed: Counter,
    pub(crate) refused: Counter,
    pub(crate) unconfirmed: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn snapshot(&self, revoked: usize, limit: usize) -> Counts {
        let (confirmed, refused) = (self.confirmed.get(), self.refused.get());
        let unconfirmed = self.unconfirmed.get();
        Counts {
            revoked,
            limit,
            rejected: self.rejected.get(),
            logouts: self.logouts.get(),
            full: self.full.get(),
            // What ended meanwhile was counted first, so this may show one too few, never fewer
            // than none.
            pending: self.sent.get().saturating_sub(confirmed + refused + unconfirmed),
            confirmed,
            refused,
            unconfirmed,
        }
    }
}
