//! The counts since the layer was built.

use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics;

/// A snapshot of the layer's counts, for a health page.
///
/// [`revoked`](Counts::revoked), [`denylist_capacity`](Counts::denylist_capacity) and
/// [`pending`](Counts::pending) are current values. All others start at zero when the layer is
/// built, and only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// Credentials that are denied now.
    pub revoked: usize,
    /// How many credentials can be denied: see
    /// [`denylist_capacity`](crate::PolarLogoutLayerBuilder::denylist_capacity).
    pub denylist_capacity: usize,
    /// Requests that were rejected because they carried a revoked token.
    pub rejected: u64,
    /// Requests that reached the app after a revoked credential was taken out of them.
    pub stripped: u64,
    /// Logouts, by a request or through the handle, with or without a token.
    pub logouts: u64,
    /// Revocations that the denylist had no room for.
    pub full: u64,
    /// Values in a place of Polar's token that no server could have issued as a token, and
    /// hashes that the app revoked. They are denied here and not sent to Polar: see
    /// [`LogoutOutcome::Unrecognized`](crate::LogoutOutcome::Unrecognized).
    pub unrecognized: u64,
    /// Tokens that are not delivered yet.
    pub pending: usize,
    /// Calls to Polar.
    pub attempts: u64,
    /// Tokens whose revocation Polar confirmed.
    pub confirmed: u64,
    /// Tokens that Polar will never revoke: see [`DeadLetter`](crate::DeadLetter).
    pub dead_letters: u64,
    /// Tokens that this process took over because another process (another replica, or this one's
    /// predecessor) had accepted and not delivered them.
    pub adopted: u64,
    /// Log entries that could not be read and were skipped.
    pub skipped: u64,
    /// Requests that were answered 503 because this process has been behind the log for too long:
    /// see [`max_log_lag`](crate::PolarLogoutLayerBuilder::max_log_lag).
    pub unsure: u64,
    /// Logouts that were refused because another site made the browser send them.
    pub cross_site: u64,
}

/// The counters behind [`Counts`] and behind the metrics.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) rejected: Counter,
    pub(crate) stripped: Counter,
    pub(crate) logouts: Counter,
    pub(crate) full: Counter,
    pub(crate) unrecognized: Counter,
    pub(crate) attempts: Counter,
    pub(crate) confirmed: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) adopted: Counter,
    pub(crate) skipped: Counter,
    pub(crate) unsure: Counter,
    pub(crate) cross_site: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter {
    count: AtomicU64,
    metric: metrics::Counter,
}

impl Counter {
    fn seen_as(metric: metrics::Counter) -> Self {
        Self { count: AtomicU64::new(0), metric }
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        self.count.fetch_add(more, Ordering::Relaxed);
        self.metric.add(more);
    }

    pub(crate) fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            rejected: Counter::seen_as(metrics::requests("rejected")),
            stripped: Counter::seen_as(metrics::requests("stripped")),
            // The metric counts logouts by outcome.
            logouts: Counter::default(),
            full: Counter::seen_as(metrics::denylist_refused()),
            unrecognized: Counter::seen_as(metrics::unrecognized()),
            attempts: Counter::seen_as(metrics::attempts()),
            confirmed: Counter::seen_as(metrics::confirmed()),
            dead_letters: Counter::seen_as(metrics::dead_letters()),
            adopted: Counter::seen_as(metrics::adopted()),
            skipped: Counter::seen_as(metrics::log_skipped()),
            unsure: Counter::seen_as(metrics::requests("unsure")),
            cross_site: Counter::seen_as(metrics::requests("cross_site")),
        }
    }

    pub(crate) fn snapshot(&self, revoked: usize, capacity: usize, pending: usize) -> Counts {
        Counts {
            revoked,
            denylist_capacity: capacity,
            rejected: self.rejected.get(),
            stripped: self.stripped.get(),
            logouts: self.logouts.get(),
            full: self.full.get(),
            unrecognized: self.unrecognized.get(),
            pending,
            attempts: self.attempts.get(),
            confirmed: self.confirmed.get(),
            dead_letters: self.dead_letters.get(),
            adopted: self.adopted.get(),
            skipped: self.skipped.get(),
            unsure: self.unsure.get(),
            cross_site: self.cross_site.get(),
        }
    }
}
