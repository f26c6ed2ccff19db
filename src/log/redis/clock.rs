//! The difference between Redis's clock and this process's clock.

use crate::log::millis::LATEST;

/// In milliseconds: clocks drift, or are slewed, by less than this between two reads.
const STEP: i64 = 1_000;

/// The two bounds, in milliseconds, of how far Redis's clock is ahead of ours (this process's).
///
/// Expiries are stored by Redis's clock, so that replicas whose clocks differ agree on them. Each
/// conversion uses the bound that makes a revocation last longer, by at most a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    least: i64,
    most: i64,
}

impl Clock {
    /// Redis's clock showed `redis` at some time between `asked` and `answered` of ours.
    pub(super) fn measured(asked: u64, answered: u64, redis: u64) -> Self {
        Self { least: signed(redis) - signed(answered), most: signed(redis) + 1 - signed(asked) }
    }

    /// Whether Redis's clock was set forward since `earlier`, or ours back. Events that were stored
    /// by `earlier` then expire too early.
    pub(super) fn is_ahead_of(self, earlier: Self) -> bool {
        self.least > earlier.most
    }

    /// As [`is_ahead_of`](Self::is_ahead_of), by more than clocks drift between two reads.
    pub(super) fn is_far_ahead_of(self, earlier: Self) -> bool {
        self.least > earlier.most + STEP
    }

    pub(super) fn to_redis(self, ours: u64) -> u64 {
        shifted(ours, self.most)
    }

    pub(super) fn to_ours(self, redis: u64) -> u64 {
        shifted(redis, -self.least)
    }
}

fn shifted(millis: u64, by: i64) -> u64 {
    // The latest time means "indefinitely", and is not converted.
    if millis >= LATEST {
        return LATEST;
    }
    u64::try_from(signed(millis) + by).unwrap_or(0).min(LATEST)
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis.min(LATEST)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const NOW: u64 = 1_800_000_000_000;

    /// And at most two calls later.
    #[test]
    fn expiry_is_never_earlier_when_clocks_differ() {
        const CALL: u64 = 40;
        // One clock is five minutes behind Redis, the other five ahead. Redis may have read its
        // clock at the beginning of the call, or at its end.
        let measured_at = |ours, then| Clock::measured(ours, ours + CALL, NOW + then);
        let behind = |then| measured_at(NOW - 5 * MINUTE, then);
        let ahead = |then| measured_at(NOW + 5 * MINUTE, then);
        let asked = NOW + 60 * MINUTE;
        for (written, read) in [(0, 0), (0, CALL), (CALL, 0), (CALL, CALL), (20, 20)] {
            for (writer, shift) in [(behind(written), 10 * MINUTE), (ahead(written), 0)] {
                let expiry = ahead(read).to_ours(writer.to_redis(asked));
                let late = expiry.checked_sub(asked + shift).expect("never earlier");
                assert!(late <= 2 * CALL + 1, "{late} ms late");
            }
        }
    }

    #[test]
    fn clock_set_forward_differs_from_a_late_answer() {
        let by = |ahead| Clock::measured(NOW - 1, NOW + 40, NOW + ahead);
        let earlier = by(0);
        // A read may have waited a whole second before Redis read its clock.
        let waited = Clock::measured(NOW - 1, NOW + 1_000, NOW + 1_000);
        for same in [earlier, waited, by(42), by(0)] {
            assert!(!same.is_ahead_of(earlier) && !same.is_far_ahead_of(earlier));
        }
        assert!(by(43).is_ahead_of(earlier) && !by(43).is_far_ahead_of(earlier));
        assert!(!by(1_042).is_far_ahead_of(earlier) && by(1_043).is_far_ahead_of(earlier));
        // If the clock is set back, nothing expires too early.
        assert!(!earlier.is_ahead_of(by(10_000)) && !earlier.is_far_ahead_of(by(10_000)));
    }

    #[test]
    fn times_stay_between_1970_and_9999() {
        for clock in [
            Clock::measured(NOW, NOW, NOW + MINUTE),
            Clock::measured(NOW, NOW, NOW - MINUTE),
            Clock::measured(0, 0, u64::MAX),
            Clock::measured(u64::MAX, u64::MAX, 0),
        ] {
            for millis in [0, 1, NOW, LATEST - 1, LATEST, u64::MAX] {
                assert!(clock.to_redis(millis) <= LATEST);
                assert!(clock.to_ours(millis) <= LATEST);
            }
            assert_eq!(clock.to_redis(LATEST), LATEST);
            assert_eq!(clock.to_ours(u64::MAX), LATEST);
        }
    }
}
