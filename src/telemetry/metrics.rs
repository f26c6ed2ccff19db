//! What monitoring counts and measures (feature `metrics`): every name, with its help, in one
//! place.
//!
//! Where the feature is off all of this is nothing. Where it is on, each metric is found in the
//! recorder once, when the layer is built, and then costs an atomic addition.

#[cfg(not(feature = "metrics"))]
mod noop;
#[cfg(feature = "metrics")]
mod recorded;

#[cfg(not(feature = "metrics"))]
pub(crate) use self::noop::{Counter, ENABLED, Gauge, Histogram};
#[cfg(feature = "metrics")]
pub(crate) use self::recorded::{Counter, ENABLED, Gauge, Histogram};

pub(crate) fn requests(verdict: &'static str) -> Counter {
    Counter::new(
        "polar_logout_requests_total",
        "Requests, by what became of them.",
        Some(("verdict", verdict)),
    )
}

pub(crate) fn logouts(outcome: &'static str) -> Counter {
    Counter::new(
        "polar_logout_logouts_total",
        "Logouts that were answered, by their outcome.",
        Some(("outcome", outcome)),
    )
}

pub(crate) fn unrecognized() -> Counter {
    Counter::new(
        "polar_logout_unrecognized_total",
        "Credentials in a place of Polar's token that were not sent, since they are no token.",
        None,
    )
}

pub(crate) fn attempts() -> Counter {
    Counter::new("polar_logout_attempts_total", "Calls to Polar that were begun.", None)
}

pub(crate) fn polar_call_duration(result: &'static str) -> Histogram {
    Histogram::seconds(
        "polar_logout_polar_call_duration_seconds",
        "How long calls to Polar took, by what came of them.",
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
    Counter::new("polar_logout_dead_letters_total", "Tokens that will never reach Polar.", None)
}

pub(crate) fn adopted() -> Counter {
    Counter::new(
        "polar_logout_adopted_total",
        "Tokens that another process had accepted and not delivered, and that this one took over.",
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
        "Entries of the log that could not be read, and were passed over.",
        None,
    )
}

pub(crate) fn pending() -> Gauge {
    Gauge::new("polar_logout_pending", "Tokens on their way to Polar.")
}

pub(crate) fn oldest_pending_age() -> Gauge {
    Gauge::seconds(
        "polar_logout_oldest_pending_age_seconds",
        "For how long the oldest of the tokens on their way to Polar has been; 0 where none is.",
    )
}

pub(crate) fn paused() -> Gauge {
    Gauge::new("polar_logout_paused", "1 while nothing is sent to Polar, else 0.")
}

pub(crate) fn denylist_size() -> Gauge {
    Gauge::new("polar_logout_denylist_size", "Revoked credentials that are held.")
}

pub(crate) fn denylist_capacity() -> Gauge {
    Gauge::new("polar_logout_denylist_capacity", "How many revoked credentials can be held.")
}

pub(crate) fn log_lag() -> Gauge {
    Gauge::seconds(
        "polar_logout_log_lag_seconds",
        "For how long the log has not been followed to its end; 0 where all of it is known.",
    )
}

pub(crate) fn log_held() -> Gauge {
    Gauge::new(
        "polar_logout_log_held",
        "Appends that were accepted while the log was away, and are on their way into it.",
    )
}
