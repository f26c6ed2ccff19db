//! The response future.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Request, Response, request};
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tower::Service;

use super::answers::{Answer, EmptyAnswers, Prepared, ReplyKind};
use super::gate::GateAndAnswers;
use super::next::{LoggedOut, Next};
use super::passed::Passed;

pin_project! {
    /// The response future of [`PolarLogout`](crate::PolarLogout).
    pub struct ResponseFuture<S, B, A = EmptyAnswers>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, S::Future, B, A>,
    }
}

pin_project! {
    #[project = StateProjected]
    enum State<S, F, B, A> {
        Called { #[pin] future: F },
        // The same for a request with a credential, because that may be revoked meanwhile.
        CalledWith { #[pin] future: F, passed: Passed },
        // Boxed, so that most futures are no larger and no slower than the one they wrap.
        Otherwise { rest: Pin<Box<Otherwise<S, F, B, A>>> },
    }
}

pin_project! {
    #[project = OtherwiseProjected]
    enum Otherwise<S, F, B, A> {
        Answered {
            // `None` after it was polled.
            request_and_reply: Option<(request::Parts, Prepared)>,
            shared: Arc<GateAndAnswers<A>>,
        },
        // Waits for the task that logs out.
        Waiting {
            next: oneshot::Receiver<Next<B>>,
            // The service that was polled ready, if it is called after the logout.
            inner: Option<S>,
            shared: Arc<GateAndAnswers<A>>,
        },
        // For a request without the revoked credentials that it carried.
        CalledStripped {
            #[pin]
            future: F,
            passed: Passed,
            cookie_removals: Vec<HeaderValue>,
        },
        // The application's own logout handler, and the additions to its response.
        CalledAfterLogout {
            #[pin]
            future: F,
            logged_out: LoggedOut,
        },
    }
}

impl<S, B, A> ResponseFuture<S, B, A>
where
    S: Service<Request<B>>,
{
    #[inline]
    pub(crate) fn called(future: S::Future) -> Self {
        Self { state: State::Called { future } }
    }

    #[inline]
    pub(crate) fn called_with(future: S::Future, passed: Passed) -> Self {
        Self { state: State::CalledWith { future, passed } }
    }

    pub(crate) fn called_stripped(
        future: S::Future,
        passed: Passed,
        cookie_removals: Vec<HeaderValue>,
    ) -> Self {
        Self::otherwise(Otherwise::CalledStripped { future, passed, cookie_removals })
    }

    pub(crate) fn answered(
        request: request::Parts,
        reply: Prepared,
        shared: Arc<GateAndAnswers<A>>,
    ) -> Self {
        Self::otherwise(Otherwise::Answered { request_and_reply: Some((request, reply)), shared })
    }

    pub(crate) fn waiting(
        next: oneshot::Receiver<Next<B>>,
        inner: Option<S>,
        shared: Arc<GateAndAnswers<A>>,
    ) -> Self {
        Self::otherwise(Otherwise::Waiting { next, inner, shared })
    }

    fn otherwise(rest: Otherwise<S, S::Future, B, A>) -> Self {
        Self { state: State::Otherwise { rest: Box::pin(rest) } }
    }
}

impl<S, B, A, R> Future for ResponseFuture<S, B, A>
where
    S: Service<Request<B>, Response = Response<R>>,
    A: Answer<R>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjected::Called { future } => future.poll(cx),
            StateProjected::CalledWith { future, passed } => {
                let mut response = ready!(future.poll(cx))?;
                passed.finish(&mut response);
                Poll::Ready(Ok(response))
            }
            StateProjected::Otherwise { rest } => rest.as_mut().poll(cx),
        }
    }
}

impl<S, B, A> Otherwise<S, S::Future, B, A>
where
    S: Service<Request<B>>,
{
    #[cold]
    fn poll<R>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<R>, S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>>,
        A: Answer<R>,
    {
        loop {
            let next = match self.as_mut().project() {
                OtherwiseProjected::Answered { request_and_reply, shared } => {
                    let (request, reply) =
                        request_and_reply.take().expect("polled after completion");
                    return Poll::Ready(Ok(reply.answer(&shared.answers, &request)));
                }
                OtherwiseProjected::Waiting { next, inner, shared } => {
                    match (ready!(Pin::new(next).poll(cx)), inner) {
                        (Ok(Next::CallAfterLogout { request, logged_out }), Some(inner)) => {
                            Self::CalledAfterLogout { future: inner.call(request), logged_out }
                        }
                        (Ok(Next::Answer { request, prepared }), _) => Self::Answered {
                            request_and_reply: Some((request, prepared)),
                            shared: Arc::clone(shared),
                        },
                        // The task ended without an answer, because the runtime shuts down or a
                        // body panicked. Or there is no service to call.
                        _ => {
                            let (request, ()) = Request::new(()).into_parts();
                            let lost = Prepared::from(ReplyKind::Lost);
                            Self::Answered {
                                request_and_reply: Some((request, lost)),
                                shared: Arc::clone(shared),
                            }
                        }
                    }
                }
                OtherwiseProjected::CalledStripped { future, passed, cookie_removals } => {
                    let mut response = ready!(future.poll(cx))?;
                    passed.finish(&mut response);
                    remove_cookies(response.headers_mut(), cookie_removals);
                    return Poll::Ready(Ok(response));
                }
                OtherwiseProjected::CalledAfterLogout { future, logged_out } => {
                    let mut response = ready!(future.poll(cx))?;
                    logged_out.add_to(&mut response);
                    return Poll::Ready(Ok(response));
                }
            };
            self.set(next);
        }
    }
}

/// Removes revoked cookies from the browser, except those that the response sets again.
fn remove_cookies(headers: &mut HeaderMap, removals: &[HeaderValue]) {
    let name = |value: &HeaderValue| {
        let value = value.as_bytes();
        value.split(|&byte| byte == b'=').next().map(<[u8]>::trim_ascii).map(<[u8]>::to_vec)
    };
    let set: Vec<_> = headers.get_all(SET_COOKIE).iter().map(name).collect();
    for removal in removals {
        if !set.contains(&name(removal)) {
            headers.append(SET_COOKIE, removal.clone());
        }
    }
}

impl<S, B, A> fmt::Debug for ResponseFuture<S, B, A>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}
