//! Counts of everything that the seeds did.

use std::collections::BTreeMap;
use std::fmt;

/// Everything that must happen in some seeds.
const HAPPENS: [&str; 35] = [
    "logouts",
    "logouts by pair",
    "callers hung up",
    "acknowledged",
    "confirmed in time",
    "tokens acknowledged",
    "delivered",
    "dead letters",
    "refused: full",
    "refused: queue full",
    "refused: not recorded",
    "refused: 503",
    "requests",
    "passed",
    "passed: expired",
    "401",
    "stripped",
    "503 while behind",
    "starts",
    "starts that failed",
    "kills",
    "kills while starting",
    "shutdowns",
    "limits raised",
    "credentials exchanged",
    "calls",
    "calls worked on after they were given up",
    "freezes that no layer could know of",
    "steps told",
    "events repeated",
    "steps out of order",
    "losses told",
    "follows that failed",
    "appends that failed",
    "appends kept for now",
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &'static str, count: usize) {
        assert!(HAPPENS.contains(&what), "add `{what}` to the list");
        *self.0.entry(what).or_default() += count as u64;
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub(crate) fn never_happened(&self) -> Vec<&'static str> {
        HAPPENS.into_iter().filter(|what| !self.0.contains_key(what)).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, what) in HAPPENS.into_iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{what} {}", self.0.get(what).copied().unwrap_or_default())?;
        }
        Ok(())
    }
}
