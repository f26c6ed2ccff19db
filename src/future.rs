//! The future of a response.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tower::Service;

use crate::body::{RequestBody, ResponseBody};
use crate::response;
use crate::task::{LoggedOut, Next};
use crate::under_way::UnderWay;

pin_project! {
    /// The response future of [`PolarLogout`](crate::PolarLogout).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        #[pin]
        state: State<S, S::Future, B>,
    }
}

pin_project! {
    #[project = StateProjected]
    enum State<S, F, B> {
        Called { #[pin] future: F },
        // The same for a request with a credential, which may be revoked meanwhile.
        CalledWith { #[pin] future: F, under_way: UnderWay },
        // Apart, so that nearly every future is no larger, and no slower, than the one it wraps.
        Otherwise { rest: Pin<Box<Otherwise<S, F, B>>> },
    }
}

pin_project! {
    #[project = OtherwiseProjected]
    enum Otherwise<S, F, B> {
        Answered {
            response: Option<Response<Bytes>>,
        },
        // For a task that reads the body or logs out.
        Waiting {
            next: oneshot::Receiver<Next<B>>,
            // The service that was polled ready, where the task may want it called.
            inner: Option<S>,
        },
        Called {
            #[pin]
            future: F,
            under_way: Option<UnderWay>,
        },
        // The application's own logout handler, and what its response needs.
        CalledAfterLogout {
            #[pin]
            future: F,
            logged_out: LoggedOut,
        },
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>>,
{
    pub(crate) fn called(future: S::Future) -> Self {
        Self { state: State::Called { future } }
    }

    pub(crate) fn called_with(future: S::Future, under_way: UnderWay) -> Self {
        Self { state: State::CalledWith { future, under_way } }
    }

    pub(crate) fn answered(response: Response<Bytes>) -> Self {
        Self::otherwise(Otherwise::Answered { response: Some(response) })
    }

    pub(crate) fn waiting(next: oneshot::Receiver<Next<B>>, inner: Option<S>) -> Self {
        Self::otherwise(Otherwise::Waiting { next, inner })
    }

    fn otherwise(rest: Otherwise<S, S::Future, B>) -> Self {
        Self { state: State::Otherwise { rest: Box::pin(rest) } }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjected::Called { future } => {
                future.poll(cx).map_ok(|response| response.map(ResponseBody::inner))
            }
            StateProjected::CalledWith { future, under_way } => {
                future.poll(cx).map_ok(|response| under_way.finish(response))
            }
            StateProjected::Otherwise { rest } => rest.as_mut().poll(cx),
        }
    }
}

impl<S, B, R> Otherwise<S, S::Future, B>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
{
    #[cold]
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<ResponseBody<R>>, S::Error>> {
        loop {
            let next = match self.as_mut().project() {
                OtherwiseProjected::Answered { response } => {
                    let response = response.take().expect("polled after completion");
                    return Poll::Ready(Ok(response.map(ResponseBody::own)));
                }
                OtherwiseProjected::Waiting { next, inner } => {
                    let next = ready!(Pin::new(next).poll(cx)).unwrap_or_else(|_| Next::lost());
                    match (next, inner) {
                        (Next::Call { request, under_way }, Some(inner)) => {
                            Self::Called { future: inner.call(request), under_way }
                        }
                        (Next::CallAfterLogout { request, logged_out }, Some(inner)) => {
                            Self::CalledAfterLogout { future: inner.call(request), logged_out }
                        }
                        (Next::Answer(response), _) => Self::Answered { response: Some(response) },
                        // The task was not to call a service that it was not given.
                        (_, None) => Self::Answered { response: Some(response::lost()) },
                    }
                }
                OtherwiseProjected::Called { future, under_way } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(match under_way {
                        Some(under_way) => under_way.finish(response),
                        None => response.map(ResponseBody::inner),
                    }));
                }
                OtherwiseProjected::CalledAfterLogout { future, logged_out } => {
                    let mut response = ready!(future.poll(cx))?.map(ResponseBody::inner);
                    logged_out.add_to(&mut response);
                    return Poll::Ready(Ok(response));
                }
            };
            self.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}
