//! Does what the queue says: calls, waits, and brings back the answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, debug, error, warn};

use super::queue::{Answer, Call, Delivered, Next, Settled, Step};
use super::{DeadLetter, Shared, lock};
use crate::correlation::Correlation;
use crate::health::ErrorClass;
use crate::metrics::{self, Histogram};
use crate::polar::Outcome;
use crate::token::TokenHash;

pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let next = shared.queue().next(Instant::now());
        match next {
            Next::Call(call) => shared.call(call),
            Next::Wait(None) => shared.changed.notified().await,
            Next::Wait(Some(until)) => tokio::select! {
                // Either is good; but a simulation that is replayed must do the same again.
                biased;
                () = sleep_until(until) => {}
                () = shared.changed.notified() => {}
            },
        }
    }
}

impl Shared {
    fn call(self: &Arc<Self>, call: Call) {
        let shared = Arc::clone(self);
        let closing = self.closing.clone();
        self.tasks.spawn_background(async move {
            let span = call.correlation.delivery_span(call.hash, call.attempt);
            let under_way = UnderWay {
                shared: &shared,
                hash: call.hash,
                correlation: call.correlation,
                is_settled: false,
            };
            closing.run_until_cancelled(under_way.make(call)).instrument(span).await;
        });
    }

    fn settle(&self, hash: TokenHash, correlation: Correlation, answer: Answer) {
        let settled = self.queue().settle(Instant::now(), hash, answer);
        if let Settled::Ended(delivered, waiters) = settled {
            if delivered == Delivered::Confirmed {
                let elapsed_ms = correlation.elapsed_ms();
                debug!(step = "confirmed", ?hash, elapsed_ms, "Polar confirmed the revocation");
                self.counters.confirmed.increment();
                let mut last = lock(&self.last);
                last.confirmed = Some(SystemTime::now());
                last.error = None;
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
    fn read(&self, hash: TokenHash, correlation: Correlation, said: Said) -> Answer {
        let elapsed_ms = correlation.elapsed_ms();
        if let Some(class) = said.error() {
            lock(&self.last).error = Some(class);
        }
        match said {
            Said::Outcome(Outcome::Confirmed) => Answer::Confirmed,
            Said::Outcome(Outcome::Refused(reason)) => {
                let letter = DeadLetter::Refused { hash, reason: &reason };
                self.dead_letter(&letter, Some(elapsed_ms));
                Answer::Refused
            }
            Said::Outcome(Outcome::Misconfigured(reason)) => {
                error!(
                    step = "retrying", ?hash, elapsed_ms, %reason,
                    "Polar does not accept our configuration, tokens wait here: check client id, \
                     client secret and server"
                );
                Answer::Misconfigured
            }
            Said::Outcome(Outcome::TryAgain { reason, retry_after }) => {
                warn!(
                    step = "retrying", ?hash, elapsed_ms, %reason,
                    "Polar did not confirm a revocation; trying again later"
                );
                let everyone = matches!(
                    reason.status(),
                    Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                );
                Answer::TryAgain { retry_after, everyone }
            }
            Said::StillActive => {
                warn!(
                    step = "retrying",
                    ?hash,
                    elapsed_ms,
                    "Polar confirmed a revocation that did not take hold; trying again later"
                );
                Answer::StillActive
            }
        }
    }
}

/// What came of a call.
enum Said {
    Outcome(Outcome),
    /// The token lives, though its revocation was confirmed.
    StillActive,
}

impl Said {
    fn error(&self) -> Option<ErrorClass> {
        match self {
            Self::Outcome(Outcome::Confirmed) => None,
            Self::Outcome(Outcome::Refused(_)) => Some(ErrorClass::Refused),
            Self::Outcome(Outcome::Misconfigured(_)) => Some(ErrorClass::Misconfigured),
            Self::Outcome(Outcome::TryAgain { reason, .. }) => Some(match reason.status() {
                None => ErrorClass::Unanswered,
                Some(StatusCode::TOO_MANY_REQUESTS) => ErrorClass::RateLimited,
                Some(_) => ErrorClass::ServerError,
            }),
            Self::StillActive => Some(ErrorClass::NotCommitted),
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
struct UnderWay<'a> {
    shared: &'a Shared,
    hash: TokenHash,
    correlation: Correlation,
    is_settled: bool,
}

impl UnderWay<'_> {
    async fn make(mut self, call: Call) {
        let client = lock(&self.shared.client).clone();
        self.shared.counters.attempts.increment();
        let (hash, correlation) = (self.hash, self.correlation);
        let began = Instant::now();
        let said = match call.step {
            Step::Revoke => {
                let (attempt, elapsed_ms) = (call.attempt, correlation.elapsed_ms());
                debug!(step = "forwarded", ?hash, attempt, elapsed_ms, "calling Polar");
                Said::Outcome(client.revoke(&call.token, call.hint).await)
            }
            Step::Confirm => match client.is_active(&call.token).await {
                Ok(false) => Said::Outcome(Outcome::Confirmed),
                Ok(true) => Said::StillActive,
                Err(outcome) => Said::Outcome(outcome),
            },
        };
        self.shared.durations.record(began.elapsed(), said.error());
        let answer = self.shared.read(hash, correlation, said);
        self.is_settled = true;
        self.shared.settle(hash, correlation, answer);
    }
}

impl Drop for UnderWay<'_> {
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
                lock(&self.shared.last).error = Some(ErrorClass::Unanswered);
            }
            let answer = Answer::TryAgain { retry_after: None, everyone: false };
            self.shared.settle(hash, correlation, answer);
        }
    }
}
