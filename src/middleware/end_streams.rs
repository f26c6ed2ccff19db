//! Ends responses that are still being sent when a credential of their request is revoked.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::gate::Gate;
use crate::revocation::RevocationSignal;

/// Ends responses that are still being sent when a credential of their request is revoked, for
/// example server-sent events. Made by
/// [`LogoutHandle::end_streams`](crate::LogoutHandle::end_streams). Put it inside the
/// [`PolarLogoutLayer`](crate::PolarLogoutLayer), around the routes that stream.
///
/// The layer puts a [`RevocationSignal`] into the extensions of requests with a credential. With it
/// a handler ends work that outlives the response, for example a WebSocket. Requests without a
/// credential pass unchanged.
///
/// If a credential was revoked before the request reached this layer, the response is not ended,
/// because the request may be the logout itself, with
/// [`call_inner_after_logout`](crate::PolarLogoutLayerBuilder::call_inner_after_logout).
///
/// How a response ends:
///
/// - Its body ends without an error, as if it were complete. If its length was announced, the
///   connection ends too.
/// - A first frame that is ready at once is sent, even if the handler has just revoked the
///   credential.
/// - A response has no body if the body of its request was still arriving when the credential was
///   revoked.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_polar_logout::PolarLogoutLayer;
///
/// fn app(logout: PolarLogoutLayer) -> Router {
///     let events = get(async || "server-sent events").layer(logout.handle().end_streams());
///     Router::new().route("/events", events).layer(logout)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct EndStreamsLayer {
    gate: Arc<Gate>,
}

/// The service of an [`EndStreamsLayer`].
#[derive(Clone, Debug)]
pub struct EndStreams<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl EndStreamsLayer {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }
}

impl<S> Layer<S> for EndStreamsLayer {
    type Service = EndStreams<S>;

    fn layer(&self, inner: S) -> EndStreams<S> {
        EndStreams { inner, gate: Arc::clone(&self.gate) }
    }
}

impl<S, B, R> Service<Request<B>> for EndStreams<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = EndStreamsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let carried = self.gate.carried((&request).into());
        let until = (!carried.is_empty()).then(|| {
            let denylist = Arc::clone(&self.gate.revoker.denylist);
            let signal = RevocationSignal::new(denylist, &carried);
            request.extensions_mut().insert(signal.clone());
            Until { signal, came_too_late: Arc::default() }
        });
        let request = request.map(|body| RequestBody { body, until: until.clone() });
        EndStreamsFuture { future: self.inner.call(request), until }
    }
}

/// When a response must end.
#[derive(Clone)]
struct Until {
    signal: RevocationSignal,
    /// Whether the request's body was still arriving when its credential was revoked.
    came_too_late: Arc<AtomicBool>,
}

pin_project! {
    /// The response future of [`EndStreams`].
    pub struct EndStreamsFuture<F> {
        #[pin]
        future: F,
        until: Option<Until>,
    }
}

impl<F, R, E> Future for EndStreamsFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let end = this.until.take().map(End::new);
        Poll::Ready(Ok(response.map(|body| ResponseBody { body, end })))
    }
}

impl<F> fmt::Debug for EndStreamsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndStreamsFuture")
    }
}

pin_project! {
    /// The body of a request behind an [`EndStreamsLayer`], unchanged.
    pub struct RequestBody<B> {
        #[pin]
        body: B,
        until: Option<Until>,
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(Until { signal, came_too_late }) = this.until
            && !this.body.is_end_stream()
            && signal.is_revoked()
        {
            came_too_late.store(true, Ordering::Release);
        }
        this.body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestBody")
    }
}

pin_project! {
    /// The response body of the inner service, until an [`EndStreamsLayer`] ends it.
    pub struct ResponseBody<B> {
        #[pin]
        body: B,
        end: Option<End>,
    }
}

/// Ends a body when the credential of its request is revoked.
struct End {
    until: Until,
    /// `None` until the first frame is sent: most responses end with it, and never wait.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    has_begun: bool,
    is_over: bool,
}

type FrameOf<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

impl End {
    fn new(until: Until) -> Self {
        Self { until, waiting: None, has_begun: false, is_over: false }
    }

    fn poll_frame<B: Body>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<FrameOf<B>>> {
        if self.until.came_too_late.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        if !self.has_begun {
            self.has_begun = true;
            let first = body.as_mut().poll_frame(cx);
            if first.is_ready() {
                return first;
            }
        }
        if !self.is_revoked(cx) {
            return body.poll_frame(cx);
        }
        // Trailers that are ready are sent after the data: without them a gRPC answer is
        // incomplete.
        match body.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => Poll::Ready(Some(Ok(frame))),
            _ => Poll::Ready(None),
        }
    }

    fn is_revoked(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_over {
            let waiting = self.waiting.get_or_insert_with(|| {
                let signal = self.until.signal.clone();
                Box::pin(async move { signal.revoked().await })
            });
            self.is_over = waiting.as_mut().poll(cx).is_ready();
        }
        self.is_over
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        match this.end {
            Some(end) => end.poll_frame(this.body, cx),
            None => this.body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The empty body, with which a `CorsLayer` or `TimeoutLayer` directly outside may have to
/// answer.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self { body: B::default(), end: None }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseBody")
    }
}
