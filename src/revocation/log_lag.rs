//! Whether this process has read the whole revocation log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long this process may have missed entries of the log. Requests read it if `max_log_lag` is
/// set, so it costs one load while nothing is missing.
#[derive(Debug)]
pub(crate) struct LogLag {
    started: Instant,
    /// Milliseconds from `started`, plus one. Zero while nothing is known to be missing.
    behind_since: AtomicU64,
}

impl LogLag {
    /// Nothing is missing until [`fell_behind`](Self::fell_behind) is called.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), behind_since: AtomicU64::new(0) }
    }

    pub(crate) fn caught_up(&self) {
        self.behind_since.store(0, Ordering::Release);
    }

    /// Entries that were appended after `since` may be missing.
    pub(crate) fn fell_behind(&self, since: Instant) {
        let millis = since.saturating_duration_since(self.started).as_millis();
        let mark = u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1;
        // The first report counts until this process has caught up.
        let _ = self.behind_since.compare_exchange(0, mark, Ordering::AcqRel, Ordering::Acquire);
    }

    /// How long entries may have been missing; `None` if none are.
    pub(crate) fn behind_for(&self) -> Option<Duration> {
        let since = self.behind_since.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.started.elapsed().saturating_sub(Duration::from_millis(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lag_counts_from_the_first_report() {
        let log_lag = LogLag::new();
        assert_eq!(log_lag.behind_for(), None);
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        log_lag.fell_behind(since);
        log_lag.fell_behind(Instant::now());
        assert_eq!(log_lag.behind_for(), Some(Duration::from_secs(3)));
        log_lag.caught_up();
        assert_eq!(log_lag.behind_for(), None);
    }
}
