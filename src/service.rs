//! The service: does what the policy decides.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;
use tracing::Instrument;

use crate::body::{RequestBody, ResponseBody};
use crate::future::ResponseFuture;
use crate::policy::{Policy, Stop, Verdict};
use crate::signal::Carried;
use crate::task::{self, Caller};
use crate::under_way::UnderWay;

/// Catches logout and rejects revoked credentials in front of the service `S`.
///
/// Made by [`PolarLogoutLayer`](crate::PolarLogoutLayer). The inner service gets its requests with
/// the body type [`RequestBody<B>`](crate::RequestBody), and the layer answers with
/// [`ResponseBody<R>`](crate::ResponseBody): both wrap, neither boxes.
#[derive(Clone, Debug)]
pub struct PolarLogout<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> PolarLogout<S> {
    pub(crate) fn new(inner: S, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }
}

impl<S, B, R> Service<Request<B>> for PolarLogout<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut carried = Carried::new();
        match self.policy.verdict((&request).into(), &mut carried) {
            Verdict::Pass => {
                self.policy.requests.passed.add(1);
                self.pass(request, carried)
            }
            verdict => self.call_otherwise(request, verdict, carried, false),
        }
    }
}

impl<S> PolarLogout<S> {
    fn pass<B>(&mut self, mut request: Request<B>, carried: Carried) -> ResponseFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        if carried.is_empty() {
            return ResponseFuture::called(self.inner.call(request.map(RequestBody::untouched)));
        }
        let under_way = UnderWay::new(Arc::clone(&self.policy), carried);
        if let Some(signal) = under_way.signal() {
            request.extensions_mut().insert(signal);
        }
        let future = self.inner.call(request.map(RequestBody::untouched));
        ResponseFuture::called_with(future, under_way)
    }

    /// Apart, so that nearly every request is moved about less.
    #[cold]
    fn call_otherwise<B>(
        &mut self,
        request: Request<B>,
        verdict: Verdict,
        mut carried: Carried,
        is_anonymous: bool,
    ) -> ResponseFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>> + Clone,
        B: Body<Data = Bytes> + Send + 'static,
    {
        match verdict {
            Verdict::Pass => {
                self.policy.requests.pass(is_anonymous);
                self.pass(request, carried)
            }
            Verdict::ReadBody => self.in_a_task(request, true, move |policy, request, caller| {
                task::read_body(policy, request, caller, is_anonymous)
            }),
            Verdict::TurnAway(why) => self.turned_away(request, why),
            Verdict::Logout => {
                let calls_app = self.policy.then_call_app;
                self.in_a_task(request, calls_app, task::log_out)
            }
            Verdict::PassAnonymous(_) => {
                let request = self.anonymous(request);
                carried.clear();
                let verdict = match self.policy.verdict((&request).into(), &mut carried) {
                    // Should anything have resisted: better a 401 than a way around.
                    Verdict::PassAnonymous(why) => Verdict::TurnAway(why),
                    verdict => verdict,
                };
                self.call_otherwise(request, verdict, carried, true)
            }
        }
    }

    fn anonymous<B>(&self, request: Request<B>) -> Request<B> {
        let (mut parts, body) = request.into_parts();
        self.policy.locations.strip_head(&mut parts, self.policy.stops());
        Request::from_parts(parts, body)
    }

    fn turned_away<B>(&self, request: Request<B>, why: Stop) -> ResponseFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        let (parts, _) = request.into_parts();
        ResponseFuture::answered(self.policy.turn_away(&parts, &[], why))
    }

    /// Gives the request to a task, whose answer, or whose call of the inner service, is waited for.
    fn in_a_task<B, T>(
        &mut self,
        request: Request<B>,
        may_call_inner: bool,
        task: impl FnOnce(Arc<Policy>, Request<B>, Caller<B>) -> T,
    ) -> ResponseFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>> + Clone,
        T: Future<Output = ()> + Send + 'static,
    {
        let (caller, next) = Caller::new();
        let task = task(Arc::clone(&self.policy), request, caller);
        self.policy.tasks.spawn(task.in_current_span());
        // The service that was polled ready is the one to be called; its clone may not be ready.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        // Dropped where it is not called: it may hold a permit that others wait for.
        ResponseFuture::waiting(next, may_call_inner.then_some(ready))
    }
}
