//! The state that the test's handle and the server's tasks share.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::authorization::Codes;
use super::call::Call;
use super::client::Client;
use super::commit::{Commit, Grant};
use super::fault::{Fault, Script};
use super::lock::lock;
use super::oauth::{self, Endpoint, Handled};
use super::rate_limit::RateLimit;
use super::rows::{Row, Rows};
use super::seen::{ReceivedRevoke, Seen};
use super::tokens::Tokens;

pub(super) struct State {
    pub(super) client: Client,
    pub(super) seen: watch::Sender<Seen>,
    /// Ends every task of the server.
    pub(super) closing: CancellationToken,
    pub(super) rows: Arc<Rows>,
    tokens: Mutex<Tokens>,
    codes: Mutex<Codes>,
    requests: Mutex<Vec<ReceivedRevoke>>,
    scripts: Mutex<Scripts>,
    rate_limit: Mutex<Option<RateLimit>>,
    /// Notified while `scripts` is locked, so that no call freezes just after the thaw.
    thaw: Arc<Notify>,
}

/// The faults that were ordered for the endpoints that write.
#[derive(Default)]
pub(super) struct Scripts {
    pub(super) revoke: Script,
    pub(super) token: Script,
}

impl State {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            seen: watch::Sender::new(Seen::default()),
            closing: CancellationToken::new(),
            rows: Arc::new(Rows::new()),
            tokens: Mutex::new(Tokens::new()),
            codes: Mutex::default(),
            requests: Mutex::default(),
            scripts: Mutex::default(),
            rate_limit: Mutex::default(),
            thaw: Arc::default(),
        }
    }

    /// Spawns a task that ends with the server.
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

    pub(super) fn scripts(&self) -> MutexGuard<'_, Scripts> {
        lock(&self.scripts)
    }

    pub(super) fn verdict(&self, call: &Call) -> Handled {
        oauth::answer(call, &self.client, &self.tokens(), &mut lock(&self.codes))
    }

    /// Takes the row that a call will write, if there is one. Returns an error if another call held
    /// the row: the server was frozen, and the database gave up on this call.
    pub(super) async fn touch(
        &self,
        call: &Call,
        endpoint: Option<Endpoint>,
    ) -> Result<Option<Row>, ()> {
        if !endpoint.is_some_and(Endpoint::writes) {
            return Ok(None);
        }
        let Some(pair) = self.verdict(call).touches else { return Ok(None) };
        let count = || self.seen.send_modify(|seen| seen.freezes += 1);
        self.rows.touch(pair, count).await.map(Some).ok_or(())
    }

    /// Applies a commit after this duration.
    pub(super) fn commit_after(self: &Arc<Self>, duration: Duration, commit: Commit) {
        self.tokens().promise(&commit);
        if let Commit::Issue { grant: Grant::Code(code), .. } = &commit {
            lock(&self.codes).use_up(code);
        }
        self.seen.send_modify(|seen| seen.uncommitted += 1);
        let state = Arc::clone(self);
        self.spawn(async move {
            sleep(duration).await;
            state.rows.not_frozen().await;
            let has_ended_a_pair = state.tokens().commit(&commit);
            let has_revoked = has_ended_a_pair && matches!(commit, Commit::Revoke(_));
            state.seen.send_modify(|seen| {
                seen.uncommitted -= 1;
                seen.revoked += usize::from(has_revoked);
            });
        });
    }

    /// Takes the fault that the current call meets. The future resolves once
    /// [`recover`](Self::recover) ends a [`Fault::Freeze`].
    pub(super) fn take_fault(&self, endpoint: Option<Endpoint>) -> (Option<Fault>, OwnedNotified) {
        let mut scripts = self.scripts();
        let fault = match endpoint {
            Some(Endpoint::Revoke) => scripts.revoke.take(),
            Some(Endpoint::Token) => scripts.token.take(),
            _ => None,
        };
        (fault, Arc::clone(&self.thaw).notified_owned())
    }

    pub(super) fn recover(&self) {
        let mut scripts = self.scripts();
        *scripts = Scripts::default();
        self.thaw.notify_waiters();
    }

    pub(super) fn set_rate_limit(&self, per_minute: Option<u32>) {
        *lock(&self.rate_limit) = per_minute.map(RateLimit::new);
    }

    pub(super) fn is_admitted(&self, call: &Call) -> bool {
        match &mut *lock(&self.rate_limit) {
            // The limit applies to anonymous callers only.
            Some(limit) if call.bearer().is_none() => limit.admits(Instant::now()),
            _ => true,
        }
    }

    /// Counts a call. A revoke call counts as in flight until the returned guard is dropped.
    pub(super) fn receive(
        self: &Arc<Self>,
        endpoint: Option<Endpoint>,
        call: &Call,
    ) -> Option<InFlight> {
        match endpoint {
            Some(Endpoint::Revoke) => return Some(self.receive_revoke(call)),
            Some(Endpoint::Introspect) => self.seen.send_modify(|seen| seen.introspections += 1),
            Some(Endpoint::Userinfo) => self.seen.send_modify(|seen| seen.userinfo += 1),
            Some(Endpoint::Authorize | Endpoint::Token) | None => {}
        }
        None
    }

    fn receive_revoke(self: &Arc<Self>, call: &Call) -> InFlight {
        // Before it is counted, so that a test that awaits the count finds the call in the list.
        self.requests().push(ReceivedRevoke {
            headers: call.headers.clone(),
            form: call.form.clone(),
            at: Instant::now().into_std(),
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
