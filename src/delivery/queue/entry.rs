//! A token in the queue, and the steps of its delivery.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Call, CallAnswer, Delivered, Step};
use crate::delivery::backoff;
use crate::telemetry::Correlation;
use crate::token::{Token, TokenHash, TokenTypeHint};

/// How long Polar may take to commit a revocation after it has confirmed it: 124 ms were measured.
pub(super) const COMMITTED_AFTER: Duration = Duration::from_millis(250);

pub(super) struct Entry {
    /// Of the logout that added the token first.
    pub(super) correlation: Correlation,
    pub(super) hash: TokenHash,
    pub(super) token: Token,
    pub(super) hint: Option<TokenTypeHint>,
    pub(super) step: Step,
    /// Whether a confirmed revocation is verified.
    verify: bool,
    /// The token was active before it was revoked. Until this time "inactive" means "revoked".
    proves_until: Option<Instant>,
    /// Revoke calls that were begun.
    attempts: u64,
    /// Failed calls, without failures that concern every token.
    pub(super) failures: u32,
    /// The next call is not made before this.
    pub(super) due: Option<Instant>,
    /// The earliest `due`, even after [`wake`](Self::wake): the server asked for the wait, or may
    /// not have committed before this.
    floor: Option<Instant>,
    pub(super) state: State,
    /// Another process delivered the token, or took it over, while it was in flight here.
    pub(super) is_delivered: bool,
    pub(super) waiters: Vec<oneshot::Sender<Delivered>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The token is not recorded yet.
    Held,
    /// The token is sent when it is due and its group has no call in flight.
    Free,
    InFlight,
}

impl Entry {
    pub(super) fn new(
        correlation: Correlation,
        hash: TokenHash,
        token: Token,
        hint: Option<TokenTypeHint>,
        verify: bool,
    ) -> Self {
        Self {
            correlation,
            hash,
            token,
            hint,
            step: if verify { Step::AskBefore } else { Step::Revoke },
            verify,
            proves_until: None,
            attempts: 0,
            failures: 0,
            due: None,
            floor: None,
            state: State::Free,
            is_delivered: false,
            waiters: Vec::new(),
        }
    }

    pub(super) fn release(&mut self) {
        if self.state == State::Held {
            self.state = State::Free;
        }
    }

    /// Drops waiters whose caller has gone: a token can be logged out many times while Polar is
    /// down.
    pub(super) fn wait(&mut self, waiter: oneshot::Sender<Delivered>) {
        if self.waiters.len() == self.waiters.capacity() {
            self.waiters.retain(|waiter| !waiter.is_closed());
        }
        self.waiters.push(waiter);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// Begins the next call.
    pub(super) fn call(&mut self) -> Call {
        self.state = State::InFlight;
        self.attempts += u64::from(matches!(self.step, Step::Revoke | Step::RevokeAgain));
        Call {
            hash: self.hash,
            token: self.token.clone(),
            hint: self.hint,
            step: self.step,
            correlation: self.correlation,
            attempt: self.attempts.max(1),
        }
    }

    /// Takes the answer to the call. Returns how the token ended, or `None` if it stays.
    pub(super) fn advance(&mut self, now: Instant, answer: CallAnswer) -> Option<Delivered> {
        self.state = State::Free;
        self.due = None;
        match (self.step, answer) {
            (_, CallAnswer::Refused) => return Some(Delivered::Refused),
            (Step::Revoke, CallAnswer::Confirmed) if self.verify => {
                self.step = if self.proves(now) { Step::AskAfter } else { Step::RevokeAgain };
                self.floor = Some(now + COMMITTED_AFTER);
                self.due = self.floor;
            }
            (_, CallAnswer::Confirmed) => return Some(Delivered::Confirmed),
            (Step::AskAfter, CallAnswer::Inactive) if self.proves(now) => {
                return Some(Delivered::Confirmed);
            }
            // The access token may have expired in the meantime.
            (Step::AskAfter, CallAnswer::Inactive) => self.step = Step::RevokeAgain,
            (Step::AskAfter, CallAnswer::Active { proves_for }) => {
                // Polar confirmed the revocation, but did not commit it.
                self.failed(now, backoff::after(self.failures + 1));
                self.step = Step::Revoke;
                self.proves_until = Some(now + proves_for);
            }
            (_, CallAnswer::Active { proves_for }) => {
                self.step = Step::Revoke;
                self.proves_until = Some(now + proves_for);
            }
            (_, CallAnswer::Inactive) => (self.step, self.proves_until) = (Step::Revoke, None),
            (_, CallAnswer::Misconfigured) => self.failed(now, backoff::SLOW),
            // The whole queue waits. The answer says nothing about this token.
            (_, CallAnswer::TryAgain { everyone: true, .. }) => {}
            (_, CallAnswer::TryAgain { retry_after, .. }) => {
                let asked = retry_after.unwrap_or_default();
                self.floor = retry_after.map(|asked| now + asked);
                self.failed(now, backoff::after(self.failures + 1).max(asked));
            }
        }
        None
    }

    fn failed(&mut self, now: Instant, wait: Duration) {
        self.failures += 1;
        self.due = Some(now + wait);
        match self.step {
            // A failed introspection must not delay the revocation, which then goes unproved.
            Step::AskBefore => {
                (self.step, self.proves_until, self.due) = (Step::Revoke, None, self.floor);
            }
            // Once the access token may have expired, asking again would prove nothing.
            Step::AskAfter if !self.proves(now) => self.step = Step::RevokeAgain,
            Step::Revoke | Step::AskAfter | Step::RevokeAgain => {}
        }
    }

    fn proves(&self, now: Instant) -> bool {
        self.proves_until.is_some_and(|until| now < until)
    }

    /// Makes the token due as soon as its `floor` allows.
    pub(super) fn wake(&mut self) {
        self.due = self.floor;
    }
}
