//! The layer keeps working after a panic in code that it calls. (The transport to Polar and the
//! app's callbacks: `polar/delivery.rs`. A log that is followed: `logs/following.rs`.)

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tower_polar_logout::log::{Cursor, Event, Followed, Kept, LogFuture, RevocationLog};
use tower_polar_logout::testing::{FakePolar, MemoryLog};
use tower_polar_logout::{
    LogoutOutcome, PolarLogoutLayer, PolarLogoutLayerBuilder, RequestBody, Revocation,
    TokenLocation,
};

async fn polar() -> FakePolar {
    FakePolar::start().await.expect("a stand-in")
}

fn builder(polar: &FakePolar) -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(polar.credentials())
        .server(polar.server())
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
}

fn request(path: &str, token: &str) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("authorization", format!("Bearer {token}"));
    request.body(Full::default()).expect("a request")
}

#[tokio::test]
async fn layer_survives_an_inner_service_that_panics() {
    let polar = polar().await;
    let layer = builder(&polar).call_inner_after_logout(true).build().await.expect("a layer");
    let handle = layer.handle();
    let inner = service_fn(|request: Request<RequestBody<Full<Bytes>>>| {
        assert_ne!(request.uri().path(), "/call", "the app has a bug");
        async move {
            let path = request.uri().path();
            assert!(!["/future", "/logout"].contains(&path), "the app has a bug");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    let inner = handle.end_streams().layer(inner);
    let service = layer.layer(inner);
    let (token, alive) = (polar.mint().access, polar.mint().access);
    for (path, token) in [("/call", &alive), ("/future", &alive), ("/logout", &token)] {
        let call = service.clone().oneshot(request(path, token));
        AssertUnwindSafe(call).catch_unwind().await.expect_err("the app panics");
    }
    assert!(handle.is_revoked(&token), "denied before the app was called");
    polar.revoked(1).await;
    for (token, status) in [(&token, StatusCode::UNAUTHORIZED), (&alive, StatusCode::OK)] {
        let answer = service.clone().oneshot(request("/", token)).await;
        assert_eq!(answer.expect("an answer").status(), status);
    }
}

/// A log that panics in its first two appends of revocations, and in its first of a delivery.
#[derive(Debug, Default)]
struct Panicking {
    log: MemoryLog,
    revoked: AtomicUsize,
    delivered: AtomicUsize,
}

impl RevocationLog for Panicking {
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        self.log.follow(after)
    }

    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        if matches!(events[..], [Event::Delivered { .. }, ..]) {
            assert!(self.delivered.fetch_add(1, Ordering::SeqCst) > 0, "the log has a bug");
            return self.log.append(events);
        }
        let revoked = self.revoked.fetch_add(1, Ordering::SeqCst);
        assert!(revoked > 0, "the log has a second bug");
        Box::pin(async move {
            assert!(revoked > 1, "the log has a third bug");
            self.log.append(events).await
        })
    }
}

#[tokio::test]
async fn panic_in_append_leaves_a_logout_unrecorded() {
    let polar = polar().await;
    let layer =
        builder(&polar).revocation_log(Panicking::default()).build().await.expect("a layer");
    let handle = layer.handle();
    for outcome in [LogoutOutcome::Unrecorded, LogoutOutcome::Unrecorded, LogoutOutcome::Confirmed]
    {
        let token = polar.mint().access;
        let revocation = Revocation::access_token(&token).expect("a token");
        assert_eq!(handle.revoke([revocation]).await, outcome);
        assert!(handle.is_revoked(&token));
    }
    polar.revoked(3).await;
    assert_eq!(
        handle.shutdown(Duration::from_secs(60)).await.pending,
        0,
        "Polar has confirmed all tokens"
    );
}

/// The token in its head is denied. The 500 says that the body is not known.
#[tokio::test]
async fn logout_is_answered_when_its_body_panics() {
    let polar = polar().await;
    let layer = builder(&polar).refresh_token(TokenLocation::form("token"));
    let layer = layer.build().await.expect("a layer");
    let body = futures_util::stream::poll_fn(
        |_| -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("the server has a bug")
        },
    );
    let token = polar.mint().access;
    let panicking = request("/logout", &token).map(|_| StreamBody::new(body));
    let answer = layer.layer(service_fn(app)).oneshot(panicking).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(layer.handle().is_revoked(&token));
    let again = layer.layer(service_fn(app)).oneshot(request("/logout", &token)).await;
    let again = again.expect("an answer");
    assert_eq!(again.status(), StatusCode::NO_CONTENT);
    assert!(!polar.is_alive(&token), "revoked after the second logout");
}

async fn app<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::default())
}
