//! Polar's limit on calls from one address.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);

/// Admits a number of calls in each minute.
pub(super) struct RateLimit {
    per_minute: u32,
    window: Option<(Instant, u32)>,
}

impl RateLimit {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, window: None }
    }

    /// Whether one more call is admitted. An admitted call is counted.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let (since, used) = match self.window {
            Some((since, used)) if now.duration_since(since) < WINDOW => (since, used),
            _ => (now, 0),
        };
        let admitted = used < self.per_minute;
        self.window = Some((since, used + u32::from(admitted)));
        admitted
    }
}
