//! How long to wait before asking again.

use std::time::Duration;

/// After the first failure at most; and the least that the whole queue pauses.
pub(super) const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// Where only a person can fix it.
pub(super) const SLOW: Duration = Duration::from_secs(60);

/// No `Retry-After` is followed for longer: Polar's longest is 900 s, and a wrong one must not
/// silence the queue for a day.
pub(super) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(900);

/// Exponential, with full jitter: anything from nothing to 0.5 s after the first failure, to 60 s
/// after the eighth and all later ones.
pub(super) fn after(failures: u32) -> Duration {
    let longest = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    longest.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_minute_and_is_spread_over_all_of_it() {
        for (failures, longest) in
            [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (1000, 60.0)]
        {
            let waits: Vec<_> = (0..2000).map(|_| after(failures).as_secs_f64()).collect();
            assert!(waits.iter().all(|wait| *wait <= longest), "{failures}");
            assert!(waits.iter().any(|wait| *wait > longest * 0.9), "{failures}");
            assert!(waits.iter().any(|wait| *wait < longest * 0.1), "{failures}");
        }
    }
}
