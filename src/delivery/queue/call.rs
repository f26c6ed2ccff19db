//! A call to Polar, which the queue orders and the courier makes.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::delivery::backoff;
use crate::telemetry::Correlation;
use crate::token::{Token, TokenHash, TokenTypeHint};

/// How a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Confirmed,
    Refused,
}

/// Why a token was not added to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Polar has confirmed the token already, or, if it comes from a log, has refused it.
    Ended,
    /// The queue is full or closed.
    NoRoom,
}

/// The next thing to do.
pub(in crate::delivery) enum Due {
    Call(Call),
    /// Nothing to do before this time, unless the queue changes.
    Wait(Option<Instant>),
}

/// The next call about a token. Without verification [`Revoke`](Self::Revoke) is the only one.
///
/// Polar's introspection answers for the pair: it also says "inactive" if only the access token has
/// expired. So "inactive" proves a revocation only if the pair was active before. Otherwise the
/// revocation is sent a second time, after the first one's commit window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Step {
    /// Introspects the token before it is revoked.
    AskBefore,
    Revoke,
    /// Introspects the token after it was revoked.
    AskAfter,
    RevokeAgain,
}

pub(in crate::delivery) struct Call {
    pub(in crate::delivery) hash: TokenHash,
    pub(in crate::delivery) token: Token,
    pub(in crate::delivery) hint: Option<TokenTypeHint>,
    pub(in crate::delivery) step: Step,
    pub(in crate::delivery) correlation: Correlation,
    /// The number of the revoke call, from 1. An introspection has the number of the revoke call
    /// before it, or 1.
    pub(in crate::delivery) attempt: u64,
}

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum CallAnswer {
    Confirmed,
    /// The token is active. For `proves_for` from now, "inactive" will mean "revoked".
    Active {
        proves_for: Duration,
    },
    Inactive,
    Refused,
    Misconfigured,
    TryAgain {
        retry_after: Option<Duration>,
        /// The answer concerns every token, not only this one: 429 and 503.
        everyone: bool,
        /// Polar may still be working on the call.
        may_be_under_way: bool,
    },
}

impl CallAnswer {
    /// Cuts `retry_after` to the longest that is followed.
    pub(super) fn bounded(mut self) -> Self {
        if let Self::TryAgain { retry_after: Some(asked), .. } = &mut self {
            *asked = (*asked).min(backoff::LONGEST_RETRY_AFTER);
        }
        self
    }
}

/// Whether an answer ended its token.
#[derive(Debug)]
pub(in crate::delivery) enum Settled {
    Ended(Delivered, Vec<oneshot::Sender<Delivered>>),
    GoesOn,
}
