//! The tasks that wait until a credential is denied.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::token::TokenHash;

/// The waiting tasks, by the hash they wait for.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    by_hash: HashMap<TokenHash, HashMap<u64, CancellationToken>>,
    next: u64,
}

impl Waiters {
    /// Watches, from now on, for any of these hashes to be denied. A caller must check afterwards
    /// whether one is denied already. In the opposite order, a revocation could be missed.
    pub(crate) fn watch(self: &Arc<Self>, hashes: &[TokenHash]) -> Watch {
        let denied = CancellationToken::new();
        let mut waiting = self.waiting();
        let id = waiting.next;
        waiting.next += 1;
        for hash in hashes {
            waiting.by_hash.entry(*hash).or_default().insert(id, denied.clone());
        }
        Watch { waiters: Arc::clone(self), hashes: hashes.into(), id, denied }
    }

    /// Wakes all tasks that wait for this hash. Must be called after the hash is in the denylist.
    pub(crate) fn notify(&self, hash: &TokenHash) {
        let waiting = self.waiting().by_hash.remove(hash);
        // Not under the lock: this may wake a task right here, and the task may drop its watch.
        for denied in waiting.into_iter().flat_map(HashMap::into_values) {
            denied.cancel();
        }
    }

    /// A panic under this lock leaves the data consistent, so a poisoned lock is still used.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch for some hashes. Dropping it ends the watch.
pub(crate) struct Watch {
    waiters: Arc<Waiters>,
    hashes: Box<[TokenHash]>,
    id: u64,
    denied: CancellationToken,
}

impl Watch {
    /// Waits until one of the hashes is denied.
    pub(crate) fn denied(&self) -> WaitForCancellationFuture<'_> {
        self.denied.cancelled()
    }
}

impl Drop for Watch {
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
    async fn only_watches_of_the_hash_are_woken() {
        let waiters = Arc::new(Waiters::default());
        let [one, other] = [1, 2].map(|n| TokenHash::of([n]));
        let both = waiters.watch(&[one, other]);
        let again = waiters.watch(&[one]);
        let another = waiters.watch(&[other]);
        waiters.notify(&one);
        both.denied().await;
        again.denied().await;
        assert_eq!(another.denied().now_or_never(), None);
    }

    #[tokio::test]
    async fn dropped_watch_leaves_nothing_behind() {
        let waiters = Arc::new(Waiters::default());
        let hash = TokenHash::of("t");
        let (one, other) = (waiters.watch(&[hash]), waiters.watch(&[hash, hash]));
        drop(one);
        assert_eq!(waiters.waiting().by_hash.len(), 1);
        drop(other);
        assert!(waiters.waiting().by_hash.is_empty());
        waiters.notify(&hash);
    }
}
