//! The state of the server, as its answers show it.

use std::time::Duration;

use tokio::time::Instant;

use super::CallAnswer;
use crate::delivery::backoff;

/// The server is *down* after as many first failures in a row as calls may be in flight. While it
/// is down, one call is made after each pause, and each pause is longer, until a call succeeds.
///
/// Only the first failure of a token counts: the token itself may be the cause of later ones.
pub(super) struct Server {
    max_in_flight: usize,
    failures_in_a_row: u32,
    /// The server asked for no call before this.
    asked: Option<Instant>,
    /// The server is down and is not called before this.
    own: Option<Instant>,
}

impl Server {
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self { max_in_flight, failures_in_a_row: 0, asked: None, own: None }
    }

    /// Takes an answer. Returns whether the server was down and is back.
    pub(super) fn answered(&mut self, now: Instant, answer: CallAnswer, is_first: bool) -> bool {
        let speaks_of_server = is_first || self.is_down();
        let pause = backoff::after(self.failures_in_a_row.saturating_add(1));
        match answer {
            // The server works, even if it refused the token.
            CallAnswer::Confirmed
            | CallAnswer::Active { .. }
            | CallAnswer::Inactive
            | CallAnswer::Refused => {
                let was_down = self.is_down();
                self.failures_in_a_row = 0;
                return was_down;
            }
            CallAnswer::TryAgain { retry_after, everyone: true, .. } => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                // `Retry-After` may be 0, or a date that has passed by this process's clock.
                let pause = pause.max(backoff::FIRST).max(retry_after.unwrap_or_default());
                self.asked = self.asked.max(Some(now + pause));
            }
            CallAnswer::Misconfigured if speaks_of_server => self.failed(now, backoff::SLOW),
            CallAnswer::TryAgain { .. } if speaks_of_server => self.failed(now, pause),
            CallAnswer::Misconfigured | CallAnswer::TryAgain { .. } => {}
        }
        false
    }

    fn failed(&mut self, now: Instant, pause: Duration) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if self.is_down() {
            self.own = self.own.max(Some(now + pause));
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.failures_in_a_row as usize >= self.max_in_flight
    }

    /// How many calls may be in flight.
    pub(super) fn may_have_in_flight(&self) -> usize {
        if self.is_down() { 1 } else { self.max_in_flight }
    }

    /// When the pause ends, if there is one.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.asked.max(self.own).filter(|until| *until > now)
    }

    /// Forgets that the server was down. A pause that the server asked for stays.
    pub(super) fn forget_failures(&mut self) {
        self.failures_in_a_row = 0;
        self.own = None;
    }
}
