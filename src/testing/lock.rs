//! Locks the state, even if a test panicked while it held the lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ignores poisoning: the test that panicked has failed already, and the other tests go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
