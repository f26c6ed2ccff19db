//! Looks for revoked tokens in the bodies of a route.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service};

use super::answers::{EmptyAnswers, Prepared, ReplyKind};
use super::gate::Gate;
use super::read_body::read_body;

/// Rejects requests whose body carries a revoked token: for a route that takes a refresh token in
/// its body, for example. Made by [`LogoutHandle::check_body`](crate::LogoutHandle::check_body).
///
/// The body is read to its end, at most [`max_body_size`](crate::PolarLogoutLayerBuilder::max_body_size) bytes of it, and
/// handed on as [`Full<Bytes>`]; its trailers are dropped. It is searched for Polar's tokens,
/// whatever its syntax, and for other credentials in [`form`](crate::TokenLocation::form) and
/// [`json`](crate::TokenLocation::json) locations. The answers have no body: 401 for a revoked token;
/// 413 for a body that is too large, 415 for a compressed one, 400 for one that broke off; 503
/// while
/// [`max_log_lag`](crate::PolarLogoutLayerBuilder::max_log_lag) says so.
///
/// ```
/// use axum::{Router, routing::post};
/// use tower_polar_logout::PolarLogoutLayer;
///
/// fn app(logout: PolarLogoutLayer) -> Router {
///     let refresh = post(async || "a new pair").layer(logout.handle().check_body());
///     Router::new().route("/refresh", refresh).layer(logout)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CheckBodyLayer {
    gate: Arc<Gate>,
}

/// The service of a [`CheckBodyLayer`].
#[derive(Clone, Debug)]
pub struct CheckBody<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl CheckBodyLayer {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }
}

impl<S> Layer<S> for CheckBodyLayer {
    type Service = CheckBody<S>;

    fn layer(&self, inner: S) -> CheckBody<S> {
        CheckBody { inner, gate: Arc::clone(&self.gate) }
    }
}

impl<S, B, R> Service<Request<B>> for CheckBody<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = CheckBodyFuture<Response<R>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        // The service that was polled ready is the one to be called; its clone may not be ready.
        let clone = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, clone);
        CheckBodyFuture(Box::pin(async move {
            let (parts, body) = request.into_parts();
            match gate.read_and_check(&parts, body).await {
                Ok(body) => ready.call(Request::from_parts(parts, Full::new(body))).await,
                Err(kind) => Ok(Prepared::from(kind).answer(&EmptyAnswers, &parts)),
            }
        }))
    }
}

impl Gate {
    async fn read_and_check<B: Body>(
        &self,
        request: &request::Parts,
        body: B,
    ) -> Result<Bytes, ReplyKind> {
        let carried = self.carried(request.into());
        let never = std::future::pending();
        let body = read_body(&request.headers, body, self.max_body_size, never).await;
        let body = body.inspect_err(|_| self.requests.unreadable.add(1))?;
        self.check(&carried, &body)?;
        Ok(body)
    }
}

/// The response future of [`CheckBody`].
pub struct CheckBodyFuture<T, E>(Pin<Box<dyn Future<Output = Result<T, E>> + Send>>);

impl<T, E> Future for CheckBodyFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T, E> fmt::Debug for CheckBodyFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckBodyFuture")
    }
}
