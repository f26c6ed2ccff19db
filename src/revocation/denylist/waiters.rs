//! Who waits for the revocation of a credential.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::token::TokenHash;

/// Those who wait, by what they wait for.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    by_hash: HashMap<TokenHash, HashMap<u64, CancellationToken>>,
    next: u64,
}

impl Waiters {
    /// Waits, from now on, for the revocation of any of these. Whether one was revoked before is for
    /// the caller to ask afterwards: then nothing falls between.
    pub(crate) fn watch(self: &Arc<Self>, hashes: &[TokenHash]) -> Watching {
        let told = CancellationToken::new();
        let mut waiting = self.waiting();
        let id = waiting.next;
        waiting.next += 1;
        for hash in hashes {
            waiting.by_hash.entry(*hash).or_default().insert(id, told.clone());
        }
        Watching { waiters: Arc::clone(self), hashes: hashes.into(), id, told }
    }

    /// Tells all who wait for this one. To be called once it is in the record.
    pub(crate) fn tell(&self, hash: &TokenHash) {
        let told = self.waiting().by_hash.remove(hash);
        // Not under the lock: whoever is told may be woken right here, and drop what it holds.
        for told in told.into_iter().flat_map(HashMap::into_values) {
            told.cancel();
        }
    }

    /// Nothing is left half done under this lock, so a panic elsewhere spoils nothing.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits, until it is dropped.
pub(crate) struct Watching {
    waiters: Arc<Waiters>,
    hashes: Box<[TokenHash]>,
    id: u64,
    told: CancellationToken,
}

impl Watching {
    pub(crate) fn told(&self) -> WaitForCancellationFuture<'_> {
        self.told.cancelled()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut waiting = self.waiters.waiting();
        for hash in &self.hashes {
            if let Some(same) = waiting.by_hash.get_mut(hash) {
                same.remove(&self.id);
                if same.is_empty() {
                    waiting.by_hash.remove(hash);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn those_are_told_who_wait_for_it_and_nobody_else() {
        let waiters = Arc::new(Waiters::default());
        let [one, other] = [1, 2].map(|n| TokenHash::of([n]));
        let both = waiters.watch(&[one, other]);
        let again = waiters.watch(&[one]);
        let another = waiters.watch(&[other]);
        waiters.tell(&one);
        both.told().await;
        again.told().await;
        assert_eq!(another.told().now_or_never(), None);
    }

    #[tokio::test]
    async fn who_waits_no_longer_leaves_nothing_behind() {
        let waiters = Arc::new(Waiters::default());
        let hash = TokenHash::of("t");
        let (one, other) = (waiters.watch(&[hash]), waiters.watch(&[hash, hash]));
        drop(one);
        assert_eq!(waiters.waiting().by_hash.len(), 1);
        drop(other);
        assert!(waiters.waiting().by_hash.is_empty());
        waiters.tell(&hash);
    }
}
