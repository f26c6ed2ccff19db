//! What the test's handle and the server's tasks share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::authorization::Codes;
use super::call::Call;
use super::client::Client;
use super::fault::{Fault, Script};
use super::oauth::{self, Verdict};
use super::rate_limit::RateLimit;
use super::seen::{ReceivedRevoke, Seen};
use super::tokens::{PairId, Tokens};

pub(super) struct State {
    pub(super) client: Client,
    pub(super) seen: watch::Sender<Seen>,
    /// Ends every task of the server.
    pub(super) closing: CancellationToken,
    tokens: Mutex<Tokens>,
    codes: Mutex<Codes>,
    requests: Mutex<Vec<ReceivedRevoke>>,
    script: Mutex<Script>,
    rate_limit: Mutex<Option<RateLimit>>,
    /// Told under the lock of `script`, so that no call freezes just after the thaw.
    thaw: Arc<Notify>,
}

impl State {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            seen: watch::Sender::new(Seen::default()),
            closing: CancellationToken::new(),
            tokens: Mutex::new(Tokens::new()),
            codes: Mutex::default(),
            requests: Mutex::default(),
            script: Mutex::default(),
            rate_limit: Mutex::default(),
            thaw: Arc::default(),
        }
    }

    /// A task that ends with the server.
    pub(super) fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.closing.clone().run_until_cancelled_owned(task))
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    pub(super) fn requests(&self) -> MutexGuard<'_, Vec<ReceivedRevoke>> {
        lock(&self.requests)
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }

    pub(super) fn verdict(&self, call: &Call) -> Verdict {
        oauth::answer(call, &self.client, &mut self.tokens(), &mut lock(&self.codes))
    }

    /// Carries out what a revoke call has asked for.
    pub(super) fn commit(&self, pair: Option<PairId>) {
        if pair.is_some_and(|pair| self.tokens().end(pair)) {
            self.seen.send_modify(|seen| seen.revoked += 1);
        }
    }

    /// The fault that the call at hand meets, and the end of the frost if it is that.
    pub(super) fn take_fault(&self) -> (Option<Fault>, OwnedNotified) {
        let mut script = self.script();
        (script.take(), Arc::clone(&self.thaw).notified_owned())
    }

    pub(super) fn recover(&self) {
        let mut script = self.script();
        script.clear();
        self.thaw.notify_waiters();
    }

    pub(super) fn set_rate_limit(&self, per_minute: Option<u32>) {
        *lock(&self.rate_limit) = per_minute.map(RateLimit::new);
    }

    pub(super) fn is_admitted(&self, call: &Call) -> bool {
        match &mut *lock(&self.rate_limit) {
            // The limit is for anonymous callers.
            Some(limit) if call.bearer().is_none() => limit.admits(Instant::now()),
            _ => true,
        }
    }

    /// Notes a revoke call. Its caller waits until the guard is dropped.
    pub(super) fn receive(self: &Arc<Self>, call: &Call) -> InFlight {
        // Before it is counted: whoever awaits the count finds the call in the list.
        self.requests().push(ReceivedRevoke {
            headers: call.headers.clone(),
            form: call.form.clone(),
            at: Instant::now(),
        });
        self.seen.send_modify(|seen| {
            seen.revoke_calls += 1;
            seen.in_flight += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
        });
        InFlight(Arc::clone(self))
    }
}

pub(super) struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.seen.send_modify(|seen| seen.in_flight -= 1);
    }
}

/// A test that panicked with the lock held has failed already; the others go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
