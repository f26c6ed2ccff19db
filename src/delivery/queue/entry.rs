//! A token on its way, and the steps that it takes.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Call, CallAnswer, Delivered};
use crate::delivery::backoff;
use crate::telemetry::Correlation;
use crate::token::{Token, TokenHash, TokenTypeHint};

/// After a confirming answer, how long Polar may take to commit what it said: 124 ms were measured.
pub(super) const COMMITTED_AFTER: Duration = Duration::from_millis(250);

pub(super) struct Entry {
    /// Of the logout that took it in first.
    pub(super) correlation: Correlation,
    pub(super) hash: TokenHash,
    pub(super) token: Token,
    pub(super) hint: Option<TokenTypeHint>,
    pub(super) step: Step,
    /// Whether the revocation is verified before it is believed.
    verify: bool,
    /// It read active before it was revoked, so until then "inactive" means that it was revoked.
    proves_until: Option<Instant>,
    /// Revoke calls that were begun.
    attempts: u64,
    /// Those that concerned every token not counted.
    pub(super) failures: u32,
    /// It is not called before.
    pub(super) due: Option<Instant>,
    /// Before this it is not called, whatever wakes it: the server asked for the time, or may commit
    /// until then.
    floor: Option<Instant>,
    pub(super) state: State,
    /// Another process has delivered it while it was in flight here.
    pub(super) is_delivered: bool,
    pub(super) waiters: Vec<oneshot::Sender<Delivered>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The log is yet to have it.
    Held,
    /// It is called when it is due, and its group lets it.
    Free,
    InFlight,
}

/// What to ask Polar. Without verification a token is revoked, and that is all.
///
/// Polar's introspection tells about the pair, and says "inactive" also where only the access token
/// has expired: so it proves a revocation only of a pair that read active before. Of any other the
/// revocation is sent a second time, after the first one's commit window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Step {
    /// Whether the token reads active.
    AskBefore,
    Revoke,
    /// Whether the token reads inactive by now.
    AskAfter,
    RevokeAgain,
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

    /// Forgets waiters that are gone: a token can be logged out many times while Polar is away.
    pub(super) fn wait(&mut self, waiter: oneshot::Sender<Delivered>) {
        if self.waiters.len() == self.waiters.capacity() {
            self.waiters.retain(|waiter| !waiter.is_closed());
        }
        self.waiters.push(waiter);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// The next call, which is begun.
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

    /// Takes the answer to its call: how the token ended, or `None` where it goes on.
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
            // The access token has expired meanwhile.
            (Step::AskAfter, CallAnswer::Inactive) => self.step = Step::RevokeAgain,
            (Step::AskAfter, CallAnswer::Active { proves_for }) => {
                // The commit was lost.
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
            // The whole queue waits, and the token was not looked at.
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
            // A question that fails holds no revocation up: it will prove nothing.
            Step::AskBefore => {
                (self.step, self.proves_until, self.due) = (Step::Revoke, None, self.floor);
            }
            // Until the access token may have expired the question is worth asking again.
            Step::AskAfter if !self.proves(now) => self.step = Step::RevokeAgain,
            Step::Revoke | Step::AskAfter | Step::RevokeAgain => {}
        }
    }

    fn proves(&self, now: Instant) -> bool {
        self.proves_until.is_some_and(|until| now < until)
    }

    /// Makes it due as soon as it may be called.
    pub(super) fn wake(&mut self) {
        self.due = self.floor;
    }
}
