//! The layer allocates nothing for a request that it passes on, and little for a 401.
//!
//! Allocations are counted by thread, so the figures contain nothing else of this process. The
//! metrics are exported.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tower::{Layer, Service, service_fn};
use tower_polar_logout::{
    ClientCredentials, PolarLogoutLayer, PolarServer, Revocation, TokenLocation,
};

type Body = Empty<Bytes>;

const REVOKED: &str = "polar_at_u_0000000000000000000000000000000000000000001";
const LIVING: &str = "polar_at_u_0000000000000000000000000000000000000000002";

#[tokio::test]
async fn living_bearer_token_costs_no_allocation() {
    assert_no_allocation("authorization", &format!("Bearer {LIVING}")).await;
}

#[tokio::test]
async fn living_cookie_among_four_costs_no_allocation() {
    let cookies = format!("a=1; theme=dark; access_token={LIVING}; lang=en");
    assert_no_allocation("cookie", &cookies).await;
}

#[tokio::test]
async fn request_without_token_costs_no_allocation() {
    assert_no_allocation("accept", "text/html").await;
}

#[tokio::test]
async fn bearer_401_costs_at_most_three_allocations() {
    assert_rejected("authorization", &format!("Bearer {REVOKED}"), 3).await;
}

/// The layer takes the cookie out of the request, to see whether a living credential is left, and
/// removes it from the browser.
#[tokio::test]
async fn cookie_401_costs_at_most_four_allocations() {
    let cookies = format!("a=1; theme=dark; access_token={REVOKED}; lang=en");
    assert_rejected("cookie", &cookies, 4).await;
}

async fn assert_no_allocation(name: &str, value: &str) {
    let (_, without) = allocations(service_fn(app), name, value);
    let (status, with) = allocations(layer().await.layer(service_fn(app)), name, value);
    assert_eq!((status, with), (StatusCode::OK, without));
    let passed = "polar_logout_requests_total{verdict=\"passed\"} ";
    let exported = monitored().render();
    let passed = exported.lines().find_map(|line| line.strip_prefix(passed));
    assert!(passed.is_some_and(|passed| passed != "0"), "not counted: {exported}");
}

async fn assert_rejected(name: &str, value: &str, at_most: u64) {
    let (status, rejected) = allocations(layer().await.layer(service_fn(app)), name, value);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    println!("a 401 by {name}: {rejected} allocations");
    assert!(rejected <= at_most, "{rejected} allocations");
    assert!(rejected > 0, "nothing was counted");
}

/// Counts the allocations from the call until the response is dropped.
fn allocations<S, R>(mut service: S, name: &str, value: &str) -> (StatusCode, u64)
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
{
    let mut answer = || {
        let request = Request::builder().uri("/me").header(name, value).body(Body::new());
        let request = request.expect("a request");
        let mut status = None;
        let measured = measure(|| {
            let future = pin!(service.call(request));
            let Poll::Ready(Ok(response)) = future.poll(&mut Context::from_waker(Waker::noop()))
            else {
                panic!("the app is ready at once")
            };
            status = Some(response.status());
        });
        (status.expect("a response"), measured.count_total)
    };
    // The first request of a thread may allocate memory that stays.
    answer();
    answer()
}

fn app<B>(_: Request<B>) -> Ready<Result<Response<Body>, Infallible>> {
    ready(Ok(Response::new(Body::new())))
}

/// Exports the metrics of this process.
fn monitored() -> &'static PrometheusHandle {
    static EXPORTED: OnceLock<PrometheusHandle> = OnceLock::new();
    EXPORTED.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let exported = recorder.handle();
        metrics::set_global_recorder(recorder).expect("the first");
        exported
    })
}

async fn layer() -> PolarLogoutLayer {
    monitored();
    let layer = PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie("access_token"))
        .build()
        .await
        .expect("a layer");
    layer.handle().revoke([Revocation::session_id(REVOKED).expect("a token")]).await;
    layer
}
