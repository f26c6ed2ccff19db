//! What can go wrong at Polar, or on the way there and back.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

/// What happens to a revoke call instead of the normal.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing for so long, then the normal.
    Delay(Duration),
    /// This status with an empty body, as in Polar's 429. The token lives on.
    Status {
        /// The status.
        status: StatusCode,
        /// The value of `retry-after`: seconds, a date, or nonsense. Left out where a header cannot
        /// carry it.
        retry_after: Option<String>,
    },
    /// This status with this JSON body. The token lives on.
    Answer {
        /// The status.
        status: StatusCode,
        /// The body.
        body: Value,
    },
    /// The connection is closed without an answer. The token lives on.
    Drop,
    /// The token is revoked, and the connection closed without an answer.
    DropAfterRevoking,
    /// No answer at all. [`FakePolar::recover`](super::FakePolar::recover) ends it: the call is
    /// served then, even if its caller has gone.
    Freeze,
    /// The answer at once, and the token dies only so much later: Polar answers before it commits.
    CommitAfter(Duration),
    /// The answer as ever, and the token lives on: Polar's commit failed after the answer.
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

    pub(super) fn clear(&mut self) {
        *self = Self::default();
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
