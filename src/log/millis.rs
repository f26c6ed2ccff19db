//! The form in which logs store times: milliseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, which every platform's clock can represent. Later expiries are cut to
/// it.
pub(super) const LATEST: u64 = 253_402_300_799_999;

/// Rounded up, so that a revocation lasts at least as long as requested.
pub(super) fn millis(time: SystemTime) -> u64 {
    let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    u64::try_from(nanos.div_ceil(1_000_000)).map_or(LATEST, |millis| millis.min(LATEST))
}

pub(super) fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.min(LATEST))
}
