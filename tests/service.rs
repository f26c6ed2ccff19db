//! The layer as a tower service: readiness, cancellation, and what never reaches the inner service.

mod common;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use common::{access_token, bearer, builder, refresh_token, start_polar};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::limit::ConcurrencyLimitLayer;
use tower::util::ServiceFn;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_polar_logout::testing::Fault;
use tower_polar_logout::{
    PolarLogout, PolarLogoutLayer, RequestBody, ResponseBody, ResponseFuture, TokenLocation,
};
use tower_test::mock;

type Answer = Result<Response<Full<Bytes>>, Infallible>;
/// A service that is `Sync`, and so is its future.
type ReadyAtOnce = ServiceFn<fn(Request<RequestBody<Full<Bytes>>>) -> std::future::Ready<Answer>>;
type Mock = mock::Mock<Request<RequestBody<Full<Bytes>>>, Response<Full<Bytes>>>;

fn request(method: Method, path: &str, token: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", bearer(token))
        .body(Full::default())
        .expect("a request")
}

#[tokio::test]
async fn a_denied_request_never_reaches_the_inner_service() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let token = polar.mint().access;
    let (service, mut inner) = mock::pair::<Request<RequestBody<Full<Bytes>>>, _>();
    let mut service = layer.layer(service);
    inner.allow(10);
    for (method, path, status) in [
        (Method::POST, "/logout", StatusCode::NO_CONTENT),
        (Method::GET, "/me", StatusCode::UNAUTHORIZED),
        (Method::POST, "/me", StatusCode::UNAUTHORIZED),
        (Method::POST, "/logout", StatusCode::NO_CONTENT),
    ] {
        let request = request(method, path, &token);
        let response: Response<ResponseBody<Full<Bytes>>> =
            service.ready().await.expect("ready").call(request).await.expect("an answer");
        assert_eq!(response.status(), status);
    }
    drop(service);
    assert!(inner.next_request().await.is_none(), "the inner service saw a request");
}

#[tokio::test]
async fn a_request_that_passes_reaches_it_unchanged() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let (service, mut inner) = mock::pair::<Request<RequestBody<Full<Bytes>>>, _>();
    let service = layer.layer(service);
    let authorization = bearer(&access_token("t"));
    let sent = Request::builder()
        .uri("/me?a=%20")
        .header("authorization", &authorization)
        .extension(7_u8)
        .body(Full::from("body"))
        .expect("a request");
    let called = tokio::spawn(service.oneshot(sent));
    let (received, answer) = inner.next_request().await.expect("a request");
    assert_eq!(received.uri(), "/me?a=%20");
    assert_eq!(received.headers()["authorization"], authorization);
    assert_eq!(received.extensions().get(), Some(&7_u8));
    let body = received.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body, "body");
    answer.send_response(Response::builder().status(418).body(Full::from("tea")).expect("one"));
    let response = called.await.expect("it ends").expect("an answer");
    assert_eq!(response.status(), 418);
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body, "tea");
}

/// The race: a task reads the body or logs out, and only then is the inner service called. A clone
/// of the one that was polled ready may not be ready: the mock panics where that one is called.
#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let polar = start_polar().await;
    let layer = builder(&polar)
        .refresh_token(TokenLocation::form("token"))
        .body_route(Method::POST, "/refresh")
        .then_call_app()
        .build()
        .await
        .expect("a layer");
    let (service, mut inner) = mock::pair::<Request<RequestBody<Full<Bytes>>>, _>();
    let mut service = layer.layer(service);
    for (method, path) in [("GET", "/me"), ("POST", "/refresh"), ("POST", "/logout")].repeat(3) {
        let method = method.parse().expect("a method");
        let request = request(method, path, &polar.mint().access);
        let ready = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service).await.expect("ready");
        let mut called = tokio::spawn(ready.call(request));
        let (received, answer) = tokio::select! {
            received = inner.next_request() => received.expect("a request"),
            ended = &mut called => panic!("a clone was called: {ended:?}"),
        };
        assert_eq!(received.uri().path(), path);
        answer.send_response(Response::new(Full::<Bytes>::default()));
        let response = called.await.expect("it ends").expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn it_is_ready_only_when_the_inner_service_is() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let (service, mut inner) = mock::pair::<Request<RequestBody<Full<Bytes>>>, _>();
    let mut service = mock::Spawn::new(layer.layer(service));
    inner.allow(0);
    let ready = |service: &mut mock::Spawn<PolarLogout<Mock>>| {
        service.poll_ready::<Request<Full<Bytes>>>().is_ready()
    };
    assert!(!ready(&mut service));
    inner.allow(1);
    assert!(ready(&mut service));
    let called = tokio::spawn(service.call(request(Method::GET, "/", &access_token("t"))));
    let (_, answer) = inner.next_request().await.expect("a request");
    answer.send_response(Response::new(Full::default()));
    called.await.expect("it ends").expect("an answer");
    assert!(!ready(&mut service), "its one permit is used");
}

#[tokio::test]
async fn an_error_of_the_inner_service_comes_through() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        Err::<Response<Full<Bytes>>, _>("broken")
    }));
    let error =
        service.oneshot(request(Method::GET, "/", &access_token("t"))).await.expect_err("an error");
    assert_eq!(error, "broken");
}

/// The race: the caller sends a logout and hangs up at once, which drops the response future before
/// it was ever polled. The token must be dead all the same, here and at Polar.
#[tokio::test]
async fn a_caller_that_hangs_up_changes_nothing() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let handle = layer.handle();
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let tokens = [polar.mint().access, polar.mint().access];
    // Dropped before the first poll, and after it.
    drop(service.clone().call_ready(request(Method::POST, "/logout", &tokens[0])).await);
    let mut polled =
        Box::pin(service.call_ready(request(Method::POST, "/logout", &tokens[1])).await);
    assert!(poll_once(polled.as_mut()).is_pending());
    drop(polled);

    polar.revoked(2).await;
    for token in &tokens {
        assert!(handle.is_revoked(token));
        assert!(!polar.is_alive(token));
    }
}

/// The same where the body is read first: it had arrived in full, so the logout counts.
#[tokio::test]
async fn a_caller_that_hangs_up_after_the_request_has_arrived_in_full_changes_nothing() {
    let polar = start_polar().await;
    let layer =
        builder(&polar).refresh_token(TokenLocation::form("token")).build().await.expect("a layer");
    let handle = layer.handle();
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    for n in 0..100 {
        let request = Request::post("/logout")
            .header("authorization", bearer(&access_token(n)))
            .body(Full::from(format!("token={}", refresh_token(n))))
            .expect("a request");
        drop(service.clone().call_ready(request).await);
    }
    handle.shutdown(std::time::Duration::from_secs(60)).await;
    for n in 0..100 {
        assert!(handle.is_revoked(access_token(n)) && handle.is_revoked(refresh_token(n)));
    }
}

/// The race: a logout waits for a frozen Polar, and holds the one permit of the inner service,
/// which it never calls.
#[tokio::test]
async fn a_logout_holds_no_permit_of_the_inner_service() {
    let polar = start_polar().await;
    polar.behave(Fault::Freeze);
    let layer = builder(&polar).build().await.expect("a layer");
    let inner = service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service =
        ServiceBuilder::new().layer(layer).layer(ConcurrencyLimitLayer::new(1)).service(inner);
    let mut logout =
        pin!(service.clone().oneshot(request(Method::POST, "/logout", &access_token("a"))));
    assert!(poll_once(logout.as_mut()).is_pending());
    let other = pin!(service.oneshot(request(Method::GET, "/", &access_token("b"))));
    assert!(matches!(poll_once(other), Poll::Ready(Ok(_))));
}

/// The opposite: a logout whose body never arrived in full is no logout, and leaves no task behind.
#[tokio::test]
async fn a_caller_that_hangs_up_before_the_request_has_arrived_leaves_nothing_behind() {
    let polar = start_polar().await;
    let layer =
        builder(&polar).refresh_token(TokenLocation::form("token")).build().await.expect("a layer");
    let handle = layer.handle();
    let mut service = layer.layer(service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let endless =
        StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = Request::post("/logout").body(endless).expect("a request");
    drop(service.ready().await.expect("ready").call(request));
    assert_eq!(handle.shutdown(std::time::Duration::from_secs(60)).await, 0);
    assert_eq!(handle.counts().logouts, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_revokes_nothing_and_reaches_nobody() {
    let polar = start_polar().await;
    let layer = builder(&polar)
        .refresh_token(TokenLocation::form("token"))
        .body_route(Method::POST, "/refresh")
        .build()
        .await
        .expect("a layer");
    let handle = layer.handle();
    let service = layer.layer(service_fn(|_| async {
        panic!("the inner service was called");
        #[allow(unreachable_code)]
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    for path in ["/logout", "/refresh"] {
        let broken = StreamBody::new(futures_util::stream::iter([
            Ok(Frame::data(Bytes::from(format!("token={}", refresh_token("half"))))),
            Err("reset"),
        ]));
        let request = Request::post(path).body(broken).expect("a request");
        let response = service.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(handle.counts().revoked, 0);
}

#[tokio::test]
async fn a_logout_does_not_delay_other_requests() {
    let polar = start_polar().await;
    polar.behave(Fault::Freeze);
    let layer = builder(&polar).build().await.expect("a layer");
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let mut logout =
        pin!(service.clone().oneshot(request(Method::POST, "/logout", &access_token("a"))));
    assert!(poll_once(logout.as_mut()).is_pending());
    // Ready at the first poll: there is nothing it waits for.
    let other = pin!(service.oneshot(request(Method::GET, "/", &access_token("b"))));
    assert!(matches!(poll_once(other), Poll::Ready(Ok(_))));
}

#[test]
fn service_and_future_are_send_and_sync() {
    fn is<T: Clone + Send + Sync + 'static>() {}
    fn future<T: Send + Sync + 'static>() {}
    is::<PolarLogoutLayer>();
    is::<PolarLogout<ReadyAtOnce>>();
    future::<ResponseFuture<ReadyAtOnce, Full<Bytes>>>();
    is::<tower_polar_logout::LogoutHandle>();
    is::<tower_polar_logout::PolarClient>();
}

#[test]
fn without_a_runtime_build_says_so() {
    let build = PolarLogoutLayer::builder(tower_polar_logout::ClientCredentials::new("a", "b"))
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .build();
    let Poll::Ready(Err(error)) = poll_once(pin!(build)) else { panic!("an error") };
    assert!(error.to_string().contains("no tokio runtime"), "{error}");
}

trait CallReady<R>: Service<R> + Sized {
    /// The response future itself, for a test to drop.
    async fn call_ready(mut self, request: R) -> Self::Future {
        let Ok(ready) = self.ready().await else { panic!("not ready") };
        ready.call(request)
    }
}

impl<S: Service<R>, R> CallReady<R> for S {}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
