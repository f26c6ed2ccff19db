//! Whether this process knows all that the log says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Read by every request that must not be served on stale knowledge, so one load where all is well.
#[derive(Debug)]
pub(crate) struct LogLag {
    started: Instant,
    /// Milliseconds from `started`, plus one; zero where nothing is known to be missing.
    behind_since: AtomicU64,
}

impl LogLag {
    /// Nothing is missing until somebody says so.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), behind_since: AtomicU64::new(0) }
    }

    pub(crate) fn caught_up(&self) {
        self.behind_since.store(0, Ordering::Release);
    }

    /// What was appended since then may be missing.
    pub(crate) fn fell_behind(&self, since: Instant) {
        let millis = since.saturating_duration_since(self.started).as_millis();
        let mark = u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1;
        // The first report holds until it has caught up.
        let _ = self.behind_since.compare_exchange(0, mark, Ordering::AcqRel, Ordering::Acquire);
    }

    /// For how long something may have been missing; `None` where nothing is.
    pub(crate) fn behind_for(&self) -> Option<Duration> {
        let since = self.behind_since.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.started.elapsed().saturating_sub(Duration::from_millis(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_tells_for_how_long_something_may_have_been_missing() {
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
