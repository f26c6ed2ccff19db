//! What a request through the layer costs, beside the same request without it.
//!
//! `cargo bench --bench request`
//!
//! A million revoked tokens, an inner service that is ready at once, no sockets.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::LazyLock;

use divan::Bencher;
use http::{Method, Request, Response};
use http_body_util::Empty;
use tokio::runtime::Runtime;
use tower::{Layer, Service, service_fn};
use tower_polar_logout::{
    ClientCredentials, PolarLogoutLayer, PolarServer, Revocation, TokenLocation,
};

const REVOKED: u32 = 1_000_000;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

static LAYER: LazyLock<PolarLogoutLayer> = LazyLock::new(|| {
    RUNTIME.block_on(async {
        let layer = PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"))
            .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .access_token(TokenLocation::cookie("access_token"))
            .limit(REVOKED as usize)
            .build()
            .await
            .expect("a layer");
        let revoked = (0..REVOKED).map(|n| Revocation::opaque(token(n)).expect("a token"));
        layer.handle().revoke(revoked).await;
        layer
    })
});

fn token(n: u32) -> String {
    format!("polar_at_u_{n:043}")
}

type Body = Empty<bytes::Bytes>;

fn request(name: &str, value: &str) -> Request<Body> {
    Request::builder().uri("/me").header(name, value).body(Body::new()).expect("a request")
}

fn app<B>(_: Request<B>) -> Ready<Result<Response<Body>, Infallible>> {
    ready(Ok(Response::new(Body::new())))
}

/// Calls the service for each request; making and dropping the request is not measured.
fn run<S>(bencher: Bencher, mut service: S, request: impl Fn() -> Request<Body> + Sync)
where
    S: Service<Request<Body>>,
{
    bencher.with_inputs(request).bench_local_values(|request| {
        let response = std::pin::pin!(service.call(request));
        response.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    });
}

#[divan::bench]
fn without_the_layer(bencher: Bencher) {
    let living = format!("Bearer {}", token(REVOKED));
    run(bencher, service_fn(app::<Body>), || request("authorization", &living));
}

#[divan::bench]
fn no_token(bencher: Bencher) {
    run(bencher, LAYER.layer(service_fn(app)), || request("accept", "text/html"));
}

#[divan::bench]
fn bearer(bencher: Bencher) {
    let living = format!("Bearer {}", token(REVOKED));
    run(bencher, LAYER.layer(service_fn(app)), || request("authorization", &living));
}

#[divan::bench]
fn cookie_among_four(bencher: Bencher) {
    let cookies = format!("a=1; theme=dark; access_token={}; lang=en", token(REVOKED));
    run(bencher, LAYER.layer(service_fn(app)), || request("cookie", &cookies));
}

#[divan::bench]
fn revoked(bencher: Bencher) {
    let dead = format!("Bearer {}", token(0));
    run(bencher, LAYER.layer(service_fn(app)), || request("authorization", &dead));
}

fn main() {
    divan::main();
}
