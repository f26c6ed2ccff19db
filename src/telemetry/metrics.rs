//! The names and help texts of all metrics (feature `metrics`).
//!
//! Each metric is registered with the recorder once, when the layer is built. An update then costs
//! an atomic addition, or nothing without the feature.

#[cfg(not(feature = "metrics"))]
mod noop;
#[cfg(feature = "metrics")]
mod recorded;

#[cfg(not(feature = "metrics"))]
pub(crate) use self::noop::{Counter, ENABLED, Gauge, Histogram};
#[cfg(feature = "metrics")]
pub(crate) use self::recorded::{Counter, ENABLED, Gauge, Histogram};

pub(crate) fn requests(verdict: &'static str) -> Counter {
    Counter::new("polar_logout_requests_total", "Requests, by verdict.", Some(("verdict", verdict)))
}

pub(crate) fn logouts(outcome: &'static str) -> Counter {
    Counter::new(
        "polar_logout_logouts_total",
        "Answered logouts, by outcome.",
        Some(("outcome", outcome)),
    )
}

pub(crate) fn unrecognized() -> Counter {
    Counter::new(
        "polar_logout_unrecognized_total",
        "Credentials at a place of Polar's token that were not sent because they are not tokens.",
        None,
    )
}

pub(crate) fn attempts() -> Counter {
    Counter::new("polar_logout_attempts_total", "Calls to Polar.", None)
}

pub(crate) fn polar_call_duration(result: &'static str) -> Histogram {
    Histogram::seconds(
        "polar_logout_polar_call_duration_seconds",
        "Duration of calls to Polar, by result.",
        ("result", result),
    )
}

pub(crate) fn confirmed() -> Counter {
    Counter::new(
        "polar_logout_confirmed_total",
        "Tokens whose revocation Polar confirmed to this process.",
        None,
    )
}

pub(crate) fn dead_letters() -> Counter {
    Counter::new("polar_logout_dead_letters_total", "Tokens that Polar will never revoke.", None)
}

pub(crate) fn adopted() -> Counter {
    Counter::new(
        "polar_logout_adopted_total",
        "Tokens that this process took over from another one that did not deliver them.",
        None,
    )
}

pub(crate) fn denylist_refused() -> Counter {
    Counter::new(
        "polar_logout_denylist_refused_total",
        "Revocations that the denylist had no room for.",
        None,
    )
}

pub(crate) fn log_skipped() -> Counter {
    Counter::new(
        "polar_logout_log_skipped_total",
        "Log entries that could not be read and were skipped.",
        None,
    )
}

pub(crate) fn pending() -> Gauge {
    Gauge::new("polar_logout_pending", "Tokens that are not delivered yet.")
}

pub(crate) fn oldest_pending_age() -> Gauge {
    Gauge::seconds(
        "polar_logout_oldest_pending_age_seconds",
        "Time since the oldest pending token was accepted; 0 if no token is pending.",
    )
}

pub(crate) fn paused() -> Gauge {
    Gauge::new("polar_logout_paused", "1 while delivery to Polar is paused, else 0.")
}

pub(crate) fn denylist_size() -> Gauge {
    Gauge::new("polar_logout_denylist_size", "Credentials that are denied.")
}

pub(crate) fn denylist_capacity() -> Gauge {
    Gauge::new("polar_logout_denylist_capacity", "How many credentials can be denied.")
}

pub(crate) fn log_lag() -> Gauge {
    Gauge::seconds(
        "polar_logout_log_lag_seconds",
        "How long this process has been behind the log; 0 if everything in the log is known.",
    )
}

pub(crate) fn log_held() -> Gauge {
    Gauge::new(
        "polar_logout_log_held",
        "Appends that were accepted while the log was down and are not in the log yet.",
    )
}
