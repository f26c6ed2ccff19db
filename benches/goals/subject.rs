//! What is measured: the layer with so many revoked tokens, and the requests that go through it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::LazyLock;

use axum::body::Body;
use http::header::{AUTHORIZATION, COOKIE};
use http::{Method, Request, Response};
use tokio::runtime::Runtime;
use tower_polar_logout::{
    Builder, ClientCredentials, LogoutHandle, LogoutOutcome, PolarLogoutLayer, PolarServer,
    Revocation, TokenLocation,
};

/// Revoked in one go.
const AT_ONCE: u32 = 1_000;

/// The layer's tasks run here. The requests are made outside of it: they need no runtime.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

pub(crate) fn builder(server: PolarServer, credentials: ClientCredentials) -> Builder {
    PolarLogoutLayer::builder(credentials)
        .server(server)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie("access_token"))
}

/// A layer planned for that many revocations.
pub(crate) fn layer(limit: u32) -> PolarLogoutLayer {
    // Nobody is there, and nobody is told: what is revoked here is opaque.
    let nobody = PolarServer::Url("http://127.0.0.1:9".to_owned());
    let builder = builder(nobody, ClientCredentials::new("id", "secret"));
    let limit = usize::try_from(limit).expect("a small number");
    RUNTIME.block_on(builder.limit(limit).build()).expect("a layer")
}

/// A layer with that many revoked tokens, the first of all, and no room for more.
pub(crate) fn layer_of(revoked: u32) -> PolarLogoutLayer {
    let layer = layer(revoked);
    revoke(&layer.handle(), revoked, |order| order);
    layer
}

pub(crate) fn revoke(handle: &LogoutHandle, count: u32, order: impl Fn(Revocation) -> Revocation) {
    for first in (0..count).step_by(AT_ONCE as usize) {
        let orders = (first..count.min(first + AT_ONCE)).map(|n| order(opaque(&token(n))));
        let outcome = RUNTIME.block_on(handle.revoke(orders));
        assert_eq!(outcome, LogoutOutcome::Confirmed);
    }
}

pub(crate) fn opaque(token: &str) -> Revocation {
    Revocation::opaque(token).expect("a token is not empty")
}

/// As long as Polar's: one block of SHA-256.
pub(crate) fn token(n: u32) -> String {
    format!("polar_at_u_{n:043}")
}

/// Tokens that nobody revokes, each another one, as from as many users: the hash of each leads to
/// another place in the record of what is revoked.
pub(crate) fn living_tokens() -> impl FnMut() -> String {
    let mut n = u32::MAX;
    move || {
        n -= 1;
        token(n)
    }
}

/// The application: ready at once, with an empty answer.
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
