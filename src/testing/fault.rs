//! Faults at Polar, or on the connection to it.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;

/// A fault that a call meets: a revoke call ([`FakePolar::behave`](super::FakePolar::behave)) or a
/// call to the token endpoint
/// ([`FakePolar::behave_next_at_token`](super::FakePolar::behave_next_at_token)).
///
/// The fields of its variants will not change, because tests construct them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The call waits for this duration, and is then served normally.
    Delay(Duration),
    /// The call is answered with this status and an empty body, like Polar's 429. It has no effect.
    Status {
        /// The status.
        status: StatusCode,
        /// The value of `retry-after`: seconds, a date, or an invalid value. Omitted if a header
        /// cannot carry it.
        retry_after: Option<String>,
    },
    /// The call is answered with this status and this body. It has no effect.
    Answer {
        /// The status.
        status: StatusCode,
        /// The body, sent with `content-type: application/json`.
        body: String,
    },
    /// The connection is closed without an answer. The call has no effect.
    Drop,
    /// The call takes effect, but the connection is closed without an answer.
    DropAfterRevoking,
    /// The call is not answered until [`FakePolar::recover`](super::FakePolar::recover). Then it is
    /// served, even if its caller has hung up. Until then it
    /// [touches its pair](super#two-calls-about-one-pair).
    Freeze,
    /// The commit comes this much later than the answer. A busy Polar took up to 124 ms.
    CommitAfter(Duration),
    /// The call is answered normally but never committed. A token that was to be revoked or
    /// refreshed stays alive, and the pair that was issued never exists.
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

    /// Takes the fault that the current call meets; `None` if the call is served normally.
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
