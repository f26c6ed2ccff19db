//! Redis's clock, as seen from here.

use crate::log::millis::LATEST;

/// In milliseconds.
const STEP: i64 = 1_000;

/// By how many milliseconds Redis's clock is ahead of ours, between which two bounds.
///
/// Expiries are stored in Redis's clock, so that replicas whose clocks differ agree on them. Each
/// way takes the bound that makes a revocation hold longer, by a round trip at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    least: i64,
    most: i64,
}

impl Clock {
    /// Redis said that it is `redis`, some time between `asked` and `answered` of ours.
    pub(super) fn measured(asked: u64, answered: u64, redis: u64) -> Self {
        Self { least: signed(redis) - signed(answered), most: signed(redis) + 1 - signed(asked) }
    }

    /// Redis's clock was set forward since `earlier`, or ours back: what was stored by that expires
    /// too early.
    pub(super) fn is_ahead_of(self, earlier: Self) -> bool {
        self.least > earlier.most
    }

    /// The same by more than clocks drift, or are slewed, between two reads.
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
    // For ever is for ever by anybody's clock.
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

    #[test]
    fn an_expiry_is_never_earlier_for_replicas_whose_clocks_differ_and_later_by_two_calls_at_most()
    {
        const CALL: u64 = 40;
        // One is five minutes behind Redis, the other five ahead; Redis may have told the time when
        // it was just asked, or just before it was heard.
        let measured_at = |ours, then| Clock::measured(ours, ours + CALL, NOW + then);
        let behind = |then| measured_at(NOW - 5 * MINUTE, then);
        let ahead = |then| measured_at(NOW + 5 * MINUTE, then);
        let asked = NOW + 60 * MINUTE;
        for (written, read) in [(0, 0), (0, CALL), (CALL, 0), (CALL, CALL), (20, 20)] {
            for (writer, shift) in [(behind(written), 10 * MINUTE), (ahead(written), 0)] {
                let told = ahead(read).to_ours(writer.to_redis(asked));
                let late = told.checked_sub(asked + shift).expect("never earlier");
                assert!(late <= 2 * CALL + 1, "{late} ms late");
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_forward_is_told_from_one_that_answers_late_or_is_slewed() {
        let by = |ahead| Clock::measured(NOW - 1, NOW + 40, NOW + ahead);
        let earlier = by(0);
        // The whole second of a read that waited may have passed before Redis told the time.
        let waited = Clock::measured(NOW - 1, NOW + 1_000, NOW + 1_000);
        for same in [earlier, waited, by(42), by(0)] {
            assert!(!same.is_ahead_of(earlier) && !same.is_far_ahead_of(earlier));
        }
        assert!(by(43).is_ahead_of(earlier) && !by(43).is_far_ahead_of(earlier));
        assert!(!by(1_042).is_far_ahead_of(earlier) && by(1_043).is_far_ahead_of(earlier));
        // Set back, nothing expires early.
        assert!(!earlier.is_ahead_of(by(10_000)) && !earlier.is_far_ahead_of(by(10_000)));
    }

    #[test]
    fn it_stays_between_1970_and_the_year_9999() {
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
