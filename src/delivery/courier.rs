//! Does what the queue says: calls, waits, and brings back the answers.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, debug, error, warn};

use super::queue::{Answer, Call, Delivered, Next, Settled, Step};
use super::{DeadLetter, Shared, lock};
use crate::correlation::Correlation;
use crate::health::ErrorClass;
use crate::polar::{Outcome, Reason};
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
    fn read(&self, hash: TokenHash, correlation: Correlation, outcome: Outcome) -> Answer {
        let elapsed_ms = correlation.elapsed_ms();
        match outcome {
            Outcome::Confirmed => Answer::Confirmed,
            Outcome::Refused(reason) => {
                lock(&self.last).error = Some(ErrorClass::Refused);
                let letter = DeadLetter::Refused { hash, reason: &reason };
                self.dead_letter(&letter, Some(elapsed_ms));
                Answer::Refused
            }
            Outcome::Misconfigured(reason) => {
                error!(
                    step = "retrying", ?hash, elapsed_ms, %reason,
                    "Polar does not accept our configuration, tokens wait here: check client id, \
                     client secret and server"
                );
                lock(&self.last).error = Some(ErrorClass::Misconfigured);
                Answer::Misconfigured
            }
            Outcome::TryAgain { reason, retry_after } => {
                warn!(
                    step = "retrying", ?hash, elapsed_ms, %reason,
                    "Polar did not confirm a revocation; trying again later"
                );
                lock(&self.last).error = Some(class(&reason));
                let everyone = matches!(
                    reason.status(),
                    Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                );
                Answer::TryAgain { retry_after, everyone }
            }
        }
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
        let answer = match call.step {
            Step::Revoke => {
                let (attempt, elapsed_ms) = (call.attempt, correlation.elapsed_ms());
                debug!(step = "forwarded", ?hash, attempt, elapsed_ms, "calling Polar");
                let outcome = client.revoke(&call.token, call.hint).await;
                self.shared.read(hash, correlation, outcome)
            }
            Step::Confirm => match client.is_active(&call.token).await {
                Ok(false) => Answer::Confirmed,
                Ok(true) => {
                    warn!(
                        step = "retrying",
                        ?hash,
                        elapsed_ms = correlation.elapsed_ms(),
                        "Polar confirmed a revocation that did not take hold; trying again later"
                    );
                    lock(&self.shared.last).error = Some(ErrorClass::NotCommitted);
                    Answer::TryAgain { retry_after: None, everyone: false }
                }
                Err(outcome) => self.shared.read(hash, correlation, outcome),
            },
        };
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

fn class(reason: &Reason) -> ErrorClass {
    match reason.status() {
        None => ErrorClass::Unanswered,
        Some(StatusCode::TOO_MANY_REQUESTS) => ErrorClass::RateLimited,
        Some(_) => ErrorClass::ServerError,
    }
}
