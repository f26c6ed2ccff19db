//! The future of a response.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tower::Service;

use crate::body::{RequestBody, ResponseBody};
use crate::response::{self, Answers};
use crate::task::Next;

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
        Called {
            #[pin]
            future: F,
            // Where the application's own logout handler was called: what its response needs.
            logged_out: Option<LoggedOut>,
        },
        Answered {
            response: Option<Response<Bytes>>,
        },
        // For a task that reads the body or logs out.
        Waiting {
            next: oneshot::Receiver<Next<B>>,
            inner: S,
        },
    }
}

struct LoggedOut {
    answers: Arc<Answers>,
    cross_site: bool,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>>,
{
    pub(crate) fn called(future: S::Future) -> Self {
        Self { state: State::Called { future, logged_out: None } }
    }

    pub(crate) fn answered(response: Response<Bytes>) -> Self {
        Self { state: State::Answered { response: Some(response) } }
    }

    pub(crate) fn waiting(next: oneshot::Receiver<Next<B>>, inner: S) -> Self {
        Self { state: State::Waiting { next, inner } }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjected::Called { future, logged_out } => {
                    let mut response = ready!(future.poll(cx))?.map(ResponseBody::inner);
                    if let Some(LoggedOut { answers, cross_site }) = logged_out {
                        answers.forget(response.headers_mut(), *cross_site);
                    }
                    return Poll::Ready(Ok(response));
                }
                StateProjected::Answered { response } => {
                    let response = response.take().expect("polled after completion");
                    return Poll::Ready(Ok(response.map(ResponseBody::own)));
                }
                StateProjected::Waiting { next, inner } => match ready!(Pin::new(next).poll(cx)) {
                    Ok(Next::Call(request)) => {
                        State::Called { future: inner.call(request), logged_out: None }
                    }
                    Ok(Next::CallAfterLogout { request, answers, cross_site }) => State::Called {
                        future: inner.call(request),
                        logged_out: Some(LoggedOut { answers, cross_site }),
                    },
                    Ok(Next::Answer(response)) => State::Answered { response: Some(response) },
                    Err(_) => State::Answered { response: Some(response::lost()) },
                },
            };
            state.set(next);
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
