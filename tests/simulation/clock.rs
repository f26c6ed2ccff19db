//! Times of expiry, by the machine's clock, in simulated time, and by the clocks of the replicas.
//!
//! A replica's clock is ahead by some seconds, or behind. The library reads the machine's clock.
//! But times leave and enter a replica only in events of the log. So a clock that is wrong is the
//! same as a log that adds some seconds to each event it is given, and subtracts them from each it
//! tells.
//!
//! `RedisLog` measures how far a replica's clock is ahead of that of Redis, and corrects for it
//! both ways, up to a round trip. A log that [translates](Expiries::translated) does the same. The
//! other logs store times as they come.

use std::time::{Duration, SystemTime};

/// In seconds. Runs that take less real time than this see the same times.
pub(crate) const GRAIN: i64 = 10;

const MINUTE: i64 = 60;

/// How many seconds a clock is wrong at most.
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
    /// The expiry that a replica whose clock is `ahead` writes at the second `now`.
    pub(crate) fn written(self, expires_at: SystemTime, ahead: i64, now: i64) -> Expiry {
        let Ok(left) = expires_at.duration_since(self.began) else { return Expiry(i64::MIN) };
        let left = seconds(left) / GRAIN * GRAIN;
        Expiry(now + left + if self.translated { GRAIN } else { ahead })
    }

    /// The seconds from now to the expiry, for a replica whose clock is `ahead`.
    pub(crate) fn left(self, expiry: Expiry, ahead: i64, now: i64) -> i64 {
        let wrong = if self.translated { 0 } else { ahead };
        expiry.0.saturating_sub(now).saturating_sub(wrong)
    }

    /// The time that such a replica is told at that moment: never too early.
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

/// A claim holds for some seconds, and is exact to the second.
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
