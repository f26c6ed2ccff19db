//! Times of expiry, between the machine's clock, simulated time, and the clocks of the replicas.
//!
//! A replica's clock is ahead by so many seconds, or behind. The library asks the machine's; but all
//! that leaves a replica with a time in it is an event for the log, and all that comes in is one that
//! the log tells. So a clock that is wrong by some seconds is the same as a log that adds them to what
//! it is given, and takes them from what it tells. `RedisLog` measures the difference between a
//! replica's clock and Redis's, and takes it out again both ways but for a round trip: a log that
//! [translates](Expiries::translated) does so too. One that does not is what somebody may write who
//! stores times as they come.

use std::time::{Duration, SystemTime};

/// In seconds. What runs for less in real time comes out the same every time.
pub(crate) const GRAIN: i64 = 10;

const MINUTE: i64 = 60;

/// By how many seconds clocks are wrong at most.
pub(crate) const MOST_WRONG: i64 = 5 * MINUTE;

/// When something expires, in seconds of simulated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry(i64);

/// How the log of one world keeps times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiries {
    /// The machine's time when the world began.
    pub(crate) began: SystemTime,
    pub(crate) translated: bool,
}

impl Expiries {
    /// What a replica whose clock is `ahead` says at the second `now`.
    pub(crate) fn written(self, expires_at: SystemTime, ahead: i64, now: i64) -> Expiry {
        let Ok(left) = expires_at.duration_since(self.began) else { return Expiry(i64::MIN) };
        let left = seconds(left) / GRAIN * GRAIN;
        Expiry(now + left + if self.translated { GRAIN } else { ahead })
    }

    /// How many seconds that is from now for a replica whose clock is `ahead`.
    pub(crate) fn left(self, expiry: Expiry, ahead: i64, now: i64) -> i64 {
        let wrong = if self.translated { 0 } else { ahead };
        expiry.0.saturating_sub(now).saturating_sub(wrong)
    }

    /// What such a replica is told at that moment: never less than what is left.
    pub(crate) fn told(self, expiry: Expiry, ahead: i64, now: i64) -> SystemTime {
        match u64::try_from(self.left(expiry, ahead, now)) {
            Ok(left) if left > 0 => {
                let grain = GRAIN.unsigned_abs();
                self.began + Duration::from_secs(left.div_ceil(grain) * grain)
            }
            _ => SystemTime::UNIX_EPOCH,
        }
    }
}

/// A claim holds for some seconds, and is told to the second.
impl Expiries {
    pub(crate) fn claimed(self, until: SystemTime, ahead: i64, now: i64) -> Expiry {
        let Ok(left) = until.duration_since(self.began) else { return Expiry(i64::MIN) };
        Expiry(now + seconds(left) + if self.translated { 0 } else { ahead })
    }

    pub(crate) fn claimed_until(self, claimed: Expiry, ahead: i64, now: i64) -> SystemTime {
        match u64::try_from(self.left(claimed, ahead, now)) {
            Ok(left) => self.began + Duration::from_secs(left),
            Err(_) => SystemTime::UNIX_EPOCH,
        }
    }
}

pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).expect("not that long")
}
