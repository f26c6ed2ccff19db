//! The service: carries out the verdict on a request.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower::Service;
use tracing::Instrument;

use super::answers::{Answer, EmptyAnswers};
use super::future::ResponseFuture;
use super::gate::GateAndAnswers;
use super::next::Caller;
use super::passed::Passed;
use super::slow_path::log_out;
use super::verdict::{Stripped, Verdict};
use crate::revocation::Carried;

/// Catches logouts and rejects revoked tokens in front of the service `S`.
///
/// Made by [`PolarLogoutLayer`](crate::PolarLogoutLayer). Requests keep their body type, and so do
/// the responses of the inner service. `A` writes the layer's own answers: see [`Answer`].
pub struct PolarLogout<S, A = EmptyAnswers> {
    inner: S,
    shared: Arc<GateAndAnswers<A>>,
}

impl<S, A> PolarLogout<S, A> {
    pub(crate) fn new(inner: S, shared: Arc<GateAndAnswers<A>>) -> Self {
        Self { inner, shared }
    }
}

impl<S: Clone, A> Clone for PolarLogout<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for PolarLogout<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolarLogout").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, A, B, R> Service<Request<B>> for PolarLogout<S, A>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    A: Answer<R>,
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let gate = &self.shared.gate;
        let mut carried = Carried::new();
        match gate.verdict((&request).into(), &mut carried) {
            Verdict::Pass => {
                gate.requests.passed.add(1);
                let future = self.inner.call(request);
                if carried.is_empty() {
                    ResponseFuture::called(future)
                } else {
                    ResponseFuture::called_with(future, Passed::new(Arc::clone(gate), carried))
                }
            }
            Verdict::Strip => self.call_stripped(request),
            Verdict::Logout => self.log_out(request),
        }
    }
}

impl<S, A> PolarLogout<S, A> {
    /// A function of its own, so that most requests are moved less often.
    #[cold]
    fn call_stripped<B>(&mut self, request: Request<B>) -> ResponseFuture<S, B, A>
    where
        S: Service<Request<B>>,
    {
        let (mut parts, body) = request.into_parts();
        match self.shared.gate.strip(&mut parts) {
            Ok(Stripped { carried, cookie_removals }) => {
                let future = self.inner.call(Request::from_parts(parts, body));
                let passed = Passed::new(Arc::clone(&self.shared.gate), carried);
                ResponseFuture::called_stripped(future, passed, cookie_removals)
            }
            Err(prepared) => ResponseFuture::answered(parts, prepared, Arc::clone(&self.shared)),
        }
    }

    #[cold]
    fn log_out<B>(&mut self, request: Request<B>) -> ResponseFuture<S, B, A>
    where
        S: Service<Request<B>> + Clone,
        B: Body + Send + 'static,
        B::Data: Send,
    {
        let gate = &self.shared.gate;
        let (caller, next) = Caller::new();
        let task = log_out(Arc::clone(gate), request, caller);
        gate.spawner.spawn(task.in_current_span());
        // The service that was polled ready is the one to be called; its clone may not be ready.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        // Dropped if it will not be called: it may hold a permit that other requests wait for.
        let inner = gate.call_inner_after_logout.then_some(ready);
        ResponseFuture::waiting(next, inner, Arc::clone(&self.shared))
    }
}
