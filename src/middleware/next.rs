//! What comes after the task of a logout, and how the response future is told.

use std::sync::Arc;

use http::{Request, Response, request};
use tokio::sync::oneshot;

use super::answers::{Prepared, forbid_storing};
use super::gate::Gate;

/// What the response future does when the task is through.
pub(crate) enum Next<B> {
    Answer {
        request: request::Parts,
        prepared: Prepared,
    },
    /// Calls the application's own logout handler, and adds to its response what every logout
    /// answers.
    CallAfterLogout {
        request: Request<B>,
        logged_out: LoggedOut,
    },
}

/// What the response of the application's own logout handler needs.
pub(crate) struct LoggedOut {
    gate: Arc<Gate>,
    cross_site: bool,
}

impl LoggedOut {
    pub(crate) fn new(gate: Arc<Gate>, cross_site: bool) -> Self {
        Self { gate, cross_site }
    }

    pub(crate) fn add_to<R>(&self, response: &mut Response<R>) {
        // A rolling session sets its cookie with every answer: it would bring the session back.
        self.gate.take_back_cookies(response.headers_mut());
        if response.status().is_server_error() {
            // The handler has failed: the browser keeps what it needs to try again.
            return forbid_storing(response.headers_mut());
        }
        self.gate.after_logout.add_to(response.headers_mut(), self.cross_site);
    }
}

/// Who waits for the task, or does no longer.
pub(crate) struct Caller<B>(oneshot::Sender<Next<B>>);

impl<B> Caller<B> {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Next<B>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Resolves once the caller has hung up.
    pub(crate) async fn gone(&mut self) {
        self.0.closed().await;
    }

    pub(crate) fn tell(self, next: Next<B>) {
        // A caller that hung up changes nothing.
        let _ = self.0.send(next);
    }

    pub(crate) fn answer(self, request: request::Parts, prepared: impl Into<Prepared>) {
        self.tell(Next::Answer { request, prepared: prepared.into() });
    }
}
