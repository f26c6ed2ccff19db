//! What ties the events of one logout together, those of its deliveries included.

use std::fmt;

use tokio::time::Instant;
use tracing::{Span, info_span};

use crate::token::TokenHash;

/// Given to a logout, and handed on with each of its tokens. Chosen by chance: it says nothing about
/// a token, and two of one process hardly ever share it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Correlation {
    id: u32,
    began: Instant,
}

impl Correlation {
    pub(crate) fn new(began: Instant) -> Self {
        Self { id: fastrand::u32(..), began }
    }

    pub(crate) fn began(self) -> Instant {
        self.began
    }

    /// In milliseconds, as a field of an event.
    pub(crate) fn elapsed_ms(self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn logout_span(self) -> Span {
        info_span!(target: "tower_polar_logout::logout", "logout", id = %self)
    }

    /// Of one attempt.
    pub(crate) fn delivery_span(self, hash: TokenHash, attempt: u64) -> Span {
        info_span!(
            target: "tower_polar_logout::delivery", "delivery", id = %self, ?hash, attempt
        )
    }
}

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.id)
    }
}
