//! The `metrics` facade, as far as it is used here.

use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) const ENABLED: bool = true;

#[derive(Debug)]
pub(crate) struct Counter(metrics::Counter);

impl Counter {
    pub(super) fn new(
        name: &'static str,
        help: &'static str,
        label: Option<(&'static str, &'static str)>,
    ) -> Self {
        describe_counter!(name, Unit::Count, help);
        Self(if let Some((label, value)) = label {
            metrics::counter!(name, label => value)
        } else {
            metrics::counter!(name)
        })
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.increment(more);
    }
}

/// Counts for nobody.
impl Default for Counter {
    fn default() -> Self {
        Self(metrics::Counter::noop())
    }
}

#[derive(Debug)]
pub(crate) struct Histogram(metrics::Histogram);

impl Histogram {
    pub(super) fn seconds(
        name: &'static str,
        help: &'static str,
        (label, value): (&'static str, &'static str),
    ) -> Self {
        describe_histogram!(name, Unit::Seconds, help);
        Self(metrics::histogram!(name, label => value))
    }

    pub(crate) fn record(&self, duration: Duration) {
        self.0.record(duration);
    }
}

/// A share of a gauge: those of all layers of the process add up, and it goes with its layer.
#[derive(Debug)]
pub(crate) struct Gauge {
    gauge: metrics::Gauge,
    share: f64,
}

impl Gauge {
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        describe_gauge!(name, Unit::Count, help);
        Self { gauge: metrics::gauge!(name), share: 0.0 }
    }

    pub(super) fn seconds(name: &'static str, help: &'static str) -> Self {
        describe_gauge!(name, Unit::Seconds, help);
        Self { gauge: metrics::gauge!(name), share: 0.0 }
    }

    pub(crate) fn set(&mut self, count: usize) {
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        self.set_share(count as f64);
    }

    pub(crate) fn set_age(&mut self, age: Duration) {
        // In steps that add up without an error, so that what returns to zero is zero.
        const STEPS: f64 = 1024.0;
        self.set_share((age.as_secs_f64() * STEPS).floor() / STEPS);
    }

    fn set_share(&mut self, share: f64) {
        self.gauge.increment(share - self.share);
        self.share = share;
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.set_share(0.0);
    }
}
