//! What can go wrong at Polar, or on the way there and back.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;

/// What happens to a call instead of the normal: to revoke calls
/// ([`FakePolar::behave`](super::FakePolar::behave)), or at the token endpoint
/// ([`FakePolar::behave_next_at_token`](super::FakePolar::behave_next_at_token)).
///
/// The fields of its variants are final, because tests write them down.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing for so long, then the normal.
    Delay(Duration),
    /// This status with an empty body, as in Polar's 429. Nothing is done.
    Status {
        /// The status.
        status: StatusCode,
        /// The value of `retry-after`: seconds, a date, or nonsense. Left out where a header cannot
        /// carry it.
        retry_after: Option<String>,
    },
    /// This status with this body, said to be JSON. Nothing is done.
    Answer {
        /// The status.
        status: StatusCode,
        /// The body, sent with `content-type: application/json`.
        body: String,
    },
    /// The connection is closed without an answer. Nothing is done.
    Drop,
    /// The normal, but the connection is closed without an answer.
    DropAfterRevoking,
    /// No answer at all. [`FakePolar::recover`](super::FakePolar::recover) ends it: the call is
    /// served then, even if its caller has gone. Until then it
    /// [touches its pair](super#two-calls-about-one-pair).
    Freeze,
    /// The commit comes so much later than the answer: 124 ms at Polar, if it is busy.
    CommitAfter(Duration),
    /// The answer as ever, but no commit: a token that was to be revoked or refreshed lives on, and
    /// the pair that was issued never exists.
    LoseCommit,
}

/// Which call meets which fault.
#[derive(Default)]
pub(super) struct Script {
    next: VecDeque<(usize, Fault)>,
    always: Option<Fault>,
}

impl Script {
    pub(super) fn always(&mut self, fault: Fault) {
        *self = Self { next: VecDeque::new(), always: Some(fault) };
    }

    pub(super) fn next(&mut self, n: usize, fault: Fault) {
        self.next.push_back((n, fault));
    }

    /// The fault that the call at hand meets; `None` is the normal.
    pub(super) fn take(&mut self) -> Option<Fault> {
        while let Some((left, fault)) = self.next.front_mut() {
            if let Some(fewer) = left.checked_sub(1) {
                *left = fewer;
                return Some(fault.clone());
            }
            self.next.pop_front();
        }
        self.always.clone()
    }
}
