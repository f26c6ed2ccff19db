//! A call to Polar: ordered by the queue, made and answered by the courier.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Step;
use crate::delivery::backoff;
use crate::telemetry::Correlation;
use crate::token::{Token, TokenHash, TokenTypeHint};

/// How one token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Confirmed,
    Refused,
}

/// Why a token was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Polar has confirmed it already; or refused it, where it comes from a log.
    Ended,
    /// The queue is full, or shuts down.
    NoRoom,
}

/// What to do next.
pub(in crate::delivery) enum Due {
    Call(Call),
    /// Nothing before this moment, nor before anything changes.
    Wait(Option<Instant>),
}

pub(in crate::delivery) struct Call {
    pub(in crate::delivery) hash: TokenHash,
    pub(in crate::delivery) token: Token,
    pub(in crate::delivery) hint: Option<TokenTypeHint>,
    pub(in crate::delivery) step: Step,
    pub(in crate::delivery) correlation: Correlation,
    /// Counts revoke calls from 1. A question belongs to the attempt before it.
    pub(in crate::delivery) attempt: u64,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum CallAnswer {
    Confirmed,
    /// The token reads active, and for so long "inactive" will mean that it was revoked.
    Active {
        proves_for: Duration,
    },
    Inactive,
    Refused,
    Misconfigured,
    TryAgain {
        retry_after: Option<Duration>,
        /// It concerns every token, not this one: 429 and 503.
        everyone: bool,
        /// Polar may still be working on the call.
        may_be_under_way: bool,
    },
}

impl CallAnswer {
    /// With a pause that is no longer than is followed.
    pub(super) fn bounded(mut self) -> Self {
        if let Self::TryAgain { retry_after: Some(asked), .. } = &mut self {
            *asked = (*asked).min(backoff::LONGEST_RETRY_AFTER);
        }
        self
    }
}

/// What an answer led to.
#[derive(Debug)]
pub(in crate::delivery) enum Settled {
    Ended(Delivered, Vec<oneshot::Sender<Delivered>>),
    GoesOn,
}
