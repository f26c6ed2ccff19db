//! How the state is locked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A test that panicked with the lock held has failed already; the others go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
