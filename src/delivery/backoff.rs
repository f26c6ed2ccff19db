//! How long to wait before a call is made again.

use std::time::Duration;

/// The longest wait after a first failure, and the shortest pause of the whole queue.
pub(super) const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// The wait if only a person can fix the cause, for example a wrong client secret.
pub(super) const SLOW: Duration = Duration::from_secs(60);

/// A longer `Retry-After` is cut to this. Polar's longest is 900 s, and a wrong value must not stop
/// the queue for a day.
pub(super) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(900);

/// Exponential, with full jitter: from 0 to 0.5 s after the first failure, and from 0 to 60 s after
/// the eighth and each later one.
pub(super) fn after(failures: u32) -> Duration {
    let longest = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    longest.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_grows_to_a_minute_with_full_jitter() {
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
