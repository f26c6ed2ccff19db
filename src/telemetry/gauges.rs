//! What a layer holds, and how it is doing, as monitoring sees it.

use std::time::Duration;

use super::counts::Counts;
use super::health::Health;
use super::metrics::{self, Gauge};

/// Looks at [`Counts`](crate::Counts) and [`Health`](crate::Health), and keeps no count of its own.
#[derive(Debug)]
pub(crate) struct Gauges {
    pending: Gauge,
    oldest_pending_age: Gauge,
    paused: Gauge,
    denylist_size: Gauge,
    denylist_capacity: Gauge,
    log_lag: Gauge,
    log_held: Gauge,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        Self {
            pending: metrics::pending(),
            oldest_pending_age: metrics::oldest_pending_age(),
            paused: metrics::paused(),
            denylist_size: metrics::denylist_size(),
            denylist_capacity: metrics::denylist_capacity(),
            log_lag: metrics::log_lag(),
            log_held: metrics::log_held(),
        }
    }

    pub(crate) fn report(&mut self, counts: &Counts, health: &Health) {
        self.pending.set(health.pending);
        self.oldest_pending_age.set_age(health.oldest_age.unwrap_or(Duration::ZERO));
        self.paused.set(usize::from(health.paused_until.is_some()));
        self.denylist_size.set(counts.revoked);
        self.denylist_capacity.set(counts.denylist_capacity);
        self.log_lag.set_age(health.log_lag.unwrap_or(Duration::ZERO));
        self.log_held.set(health.log_held);
    }
}
