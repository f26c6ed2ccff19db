//! How the server is doing, as its answers tell.

use std::time::Duration;

use tokio::time::Instant;

use super::CallAnswer;
use crate::delivery::backoff;

/// As many first failures in a row as may be in flight mean that the server is *down*: then there is
/// a pause, longer each time, and one call after it, until one succeeds. Only the first failure of a
/// token speaks of the server, since of later ones the token may be the cause.
pub(super) struct Server {
    max_in_flight: usize,
    failures_in_a_row: u32,
    /// The server asked not to be called before.
    asked: Option<Instant>,
    /// It is down, and is left alone until then.
    own: Option<Instant>,
}

impl Server {
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self { max_in_flight, failures_in_a_row: 0, asked: None, own: None }
    }

    /// Takes note of an answer. Says whether the server is back.
    pub(super) fn answered(&mut self, now: Instant, answer: CallAnswer, is_first: bool) -> bool {
        let speaks_of_server = is_first || self.is_down();
        let pause = backoff::after(self.failures_in_a_row.saturating_add(1));
        match answer {
            // To the point, whatever became of the token.
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
                // "Now", or a moment that has passed by our clock, is no time to go on.
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

    /// How many calls may be under way.
    pub(super) fn may_have_in_flight(&self) -> usize {
        if self.is_down() { 1 } else { self.max_in_flight }
    }

    /// Until when nothing is sent.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.asked.max(self.own).filter(|until| *until > now)
    }

    /// Forgets that it was down. What it asked for stays.
    pub(super) fn forget_failures(&mut self) {
        self.failures_in_a_row = 0;
        self.own = None;
    }
}
