//! Does what the queue says: calls, waits, and brings back the answers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, debug, error, warn};

use super::queue::{Call, CallAnswer, Delivered, Due, Settled, Step};
use super::{DeadLetter, DeliveryState, Last, lock};
use crate::polar::{Introspection, RevokeOutcome};
use crate::telemetry::metrics::{self, Histogram};
use crate::telemetry::{Correlation, ErrorClass};
use crate::token::TokenHash;

pub(super) async fn run(shared: Arc<DeliveryState>) {
    loop {
        let (next, is_unresponsive) = {
            let (mut queue, now) = (shared.queue(), Instant::now());
            (queue.next(now), queue.is_unresponsive(now))
        };
        shared.set_unresponsive(is_unresponsive);
        match next {
            Due::Call(call) => shared.call(call),
            Due::Wait(None) => shared.changed.notified().await,
            Due::Wait(Some(until)) => tokio::select! {
                // Either is good; but a simulation that is replayed must do the same again.
                biased;
                () = sleep_until(until) => {}
                () = shared.changed.notified() => {}
            },
        }
    }
}

impl DeliveryState {
    fn call(self: &Arc<Self>, call: Call) {
        let shared = Arc::clone(self);
        let closing = self.closing.clone();
        self.spawner.spawn_background(async move {
            let span = call.correlation.delivery_span(call.hash, call.attempt);
            let under_way = CallGuard {
                shared: &shared,
                hash: call.hash,
                correlation: call.correlation,
                is_settled: false,
            };
            closing.run_until_cancelled(under_way.make(call)).instrument(span).await;
        });
    }

    fn settle(&self, hash: TokenHash, correlation: Correlation, answer: CallAnswer) {
        let settled = self.queue().settle(Instant::now(), hash, answer);
        if let Settled::Ended(delivered, waiters) = settled {
            if delivered == Delivered::Confirmed {
                let elapsed_ms = correlation.elapsed_ms();
                debug!(step = "confirmed", ?hash, elapsed_ms, "Polar confirmed the revocation");
                self.counters.confirmed.increment();
                let mut last = lock(&self.last);
                *last = Last { confirmed: Some(SystemTime::now()), error: None };
            }
            self.note_delivered(hash);
            for waiter in waiters {
                // Nobody may be waiting any more.
                let _ = waiter.send(delivered);
            }
        }
        self.report_pending();
    }

    /// Tells the world what came of a call, and the queue what it means.
    fn read(&self, hash: TokenHash, correlation: Correlation, said: Said) -> CallAnswer {
        let elapsed_ms = correlation.elapsed_ms();
        if let Some(class) = said.error() {
            lock(&self.last).error = Some((class, said.to_string()));
        }
        match said {
            Said::Outcome(RevokeOutcome::Confirmed) => CallAnswer::Confirmed,
            Said::Inactive => CallAnswer::Inactive,
            Said::Active { proves_for, after: false } => CallAnswer::Active { proves_for },
            Said::Outcome(RevokeOutcome::Refused(reason)) => {
                let letter = DeadLetter::Refused { hash, reason: &reason };
                self.dead_letter(&letter, Some(elapsed_ms));
                CallAnswer::Refused
            }
            Said::Outcome(RevokeOutcome::Misconfigured(reason)) => {
                error!(
                    step = "retrying", ?hash, elapsed_ms, %reason,
                    "Polar does not accept our configuration, tokens wait here: check client id, \
                     client secret, the server's URL, and proxies on the way"
                );
                CallAnswer::Misconfigured
            }
            Said::Outcome(RevokeOutcome::TryAgain { reason, retry_after }) => {
                warn!(
                    step = "retrying", ?hash, elapsed_ms, %reason,
                    "Polar did not confirm a revocation; trying again later"
                );
                let everyone = matches!(
                    reason.status(),
                    Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                );
                let may_be_under_way = reason.may_be_under_way();
                CallAnswer::TryAgain { retry_after, everyone, may_be_under_way }
            }
            Said::Active { proves_for, after: true } => {
                warn!(
                    step = "retrying",
                    ?hash,
                    elapsed_ms,
                    "Polar confirmed a revocation that did not take hold; trying again later"
                );
                CallAnswer::Active { proves_for }
            }
        }
    }
}

/// What came of a call.
enum Said {
    Outcome(RevokeOutcome),
    Inactive,
    /// The token lives. `after`: though its revocation was confirmed.
    Active {
        proves_for: Duration,
        after: bool,
    },
}

impl Said {
    fn of_introspection(said: Result<Introspection, RevokeOutcome>, after: bool) -> Self {
        match said {
            Ok(said) if said.is_active => {
                Self::Active { proves_for: said.proves_for(SystemTime::now()), after }
            }
            Ok(_) => Self::Inactive,
            Err(outcome) => Self::Outcome(outcome),
        }
    }

    fn error(&self) -> Option<ErrorClass> {
        match self {
            Self::Outcome(RevokeOutcome::Confirmed) | Self::Inactive => None,
            Self::Outcome(RevokeOutcome::Refused(_)) => Some(ErrorClass::Refused),
            Self::Outcome(RevokeOutcome::Misconfigured(_)) => Some(ErrorClass::Misconfigured),
            Self::Outcome(RevokeOutcome::TryAgain { reason, .. }) => Some(match reason.status() {
                None => ErrorClass::Unanswered,
                Some(StatusCode::TOO_MANY_REQUESTS) => ErrorClass::RateLimited,
                Some(_) => ErrorClass::ServerError,
            }),
            Self::Active { after, .. } => after.then_some(ErrorClass::NotCommitted),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcome(RevokeOutcome::Confirmed) => f.write_str("confirmed"),
            Self::Outcome(
                RevokeOutcome::Refused(reason)
                | RevokeOutcome::Misconfigured(reason)
                | RevokeOutcome::TryAgain { reason, .. },
            ) => reason.fmt(f),
            Self::Inactive => f.write_str("inactive"),
            Self::Active { .. } => f.write_str("active after its revocation was confirmed"),
        }
    }
}

/// How long calls took, for monitoring.
pub(super) struct Durations {
    confirmed: Histogram,
    failed: [Histogram; ErrorClass::ALL.len()],
}

impl Durations {
    pub(super) fn new() -> Self {
        Self {
            confirmed: metrics::polar_call_duration("confirmed"),
            failed: ErrorClass::ALL.map(|class| metrics::polar_call_duration(class.as_str())),
        }
    }

    fn record(&self, duration: Duration, error: Option<ErrorClass>) {
        let failed = self.failed.iter().zip(ErrorClass::ALL);
        let failed = failed.filter(|(_, class)| Some(*class) == error).map(|(it, _)| it);
        failed.chain(error.is_none().then_some(&self.confirmed)).for_each(|it| it.record(duration));
    }
}

/// A call that will be settled, also when it panics: a transport may be anybody's.
struct CallGuard<'a> {
    shared: &'a DeliveryState,
    hash: TokenHash,
    correlation: Correlation,
    is_settled: bool,
}

impl CallGuard<'_> {
    async fn make(mut self, call: Call) {
        let client = lock(&self.shared.client).clone();
        self.shared.counters.attempts.increment();
        let (hash, correlation) = (self.hash, self.correlation);
        let began = Instant::now();
        let said = match call.step {
            Step::Revoke | Step::RevokeAgain => {
                let (attempt, elapsed_ms) = (call.attempt, correlation.elapsed_ms());
                debug!(step = "forwarded", ?hash, attempt, elapsed_ms, "calling Polar");
                Said::Outcome(client.revoke(&call.token, call.hint).await)
            }
            Step::AskBefore | Step::AskAfter => {
                let said = client.introspect(&call.token).await;
                Said::of_introspection(said, call.step == Step::AskAfter)
            }
        };
        self.shared.durations.record(began.elapsed(), said.error());
        let answer = self.shared.read(hash, correlation, said);
        self.is_settled = true;
        self.shared.settle(hash, correlation, answer);
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        let (hash, correlation) = (self.hash, self.correlation);
        if !self.is_settled {
            if !self.shared.closing.is_cancelled() {
                warn!(
                    step = "retrying",
                    ?hash,
                    elapsed_ms = correlation.elapsed_ms(),
                    "a call to Polar panicked; trying again later"
                );
                let reason = "the call panicked".to_owned();
                lock(&self.shared.last).error = Some((ErrorClass::Unanswered, reason));
            }
            // Nobody knows whether it was sent.
            let answer =
                CallAnswer::TryAgain { retry_after: None, everyone: false, may_be_under_way: true };
            self.shared.settle(hash, correlation, answer);
        }
    }
}
