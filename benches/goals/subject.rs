//! The layer with a number of revoked tokens, and the requests that go through it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::LazyLock;

#[path = "../common/revoked.rs"]
mod revoked;

use axum::body::Body;
use http::header::{AUTHORIZATION, COOKIE};
use http::{Request, Response};
use tokio::runtime::Runtime;
use tower_polar_logout::PolarLogoutLayer;

pub(crate) use self::revoked::{builder, revoke, session_id, token, without_polar};

/// The layer's tasks run here. The requests are made outside of it: they need no runtime.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// A layer with room for that many revocations.
pub(crate) fn layer(limit: u32) -> PolarLogoutLayer {
    RUNTIME.block_on(revoked::layer(limit))
}

/// A layer in which the first `revoked` tokens are revoked, and which has no room for more.
pub(crate) fn layer_of(revoked: u32) -> PolarLogoutLayer {
    RUNTIME.block_on(revoked::layer_of(revoked))
}

/// Users that send requests in turn. None of them has logged out.
///
/// With few users, the memory that their requests read stays in the processor's caches. If every
/// request is by another user, each token's hash leads to another place in the denylist.
#[derive(Clone, Copy)]
pub(crate) struct Users {
    pub(crate) count: u32,
    pub(crate) name: &'static str,
}

pub(crate) const FEW: Users = Users { count: 10_000, name: "10,000 users in turn" };
pub(crate) const MANY: Users = Users { count: 1 << 30, name: "each request by another user" };

impl Users {
    pub(crate) fn tokens(self) -> impl FnMut() -> String {
        let mut n = 0;
        move || {
            n = (n + 1) % self.count;
            token(u32::MAX - n)
        }
    }
}

/// The app: ready at once, with an empty answer.
pub(crate) fn app<B>(_: Request<B>) -> Ready<Result<Response<Body>, Infallible>> {
    ready(Ok(Response::new(Body::empty())))
}

pub(crate) fn bearer(token: &str) -> Request<Body> {
    request().header(AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).expect("one")
}

pub(crate) fn cookie_among_four(token: &str) -> Request<Body> {
    cookie(&format!("a=1; theme=dark; access_token={token}; lang=en"))
}

pub(crate) fn cookie(cookies: &str) -> Request<Body> {
    request().header(COOKIE, cookies).body(Body::empty()).expect("one")
}

pub(crate) fn without_token() -> Request<Body> {
    request().header("accept", "text/html").body(Body::empty()).expect("one")
}

fn request() -> http::request::Builder {
    Request::builder().uri("/me")
}
