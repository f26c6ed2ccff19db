//! Requests that are under way during a logout: a renewal of the session, an upload, a stream.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use support::site::Site;
use support::{Answer, bearer, builder, start_polar};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tower::{ServiceBuilder, ServiceExt};
use tower_polar_logout::testing::MemoryLog;
use tower_polar_logout::{PolarLogoutLayer, Revocation, RevocationSignal, WhenRevoked};

/// Returns the answer once its head has arrived. Its body may still be under way.
async fn begin(app: &Site, token: &str) -> Response<Incoming> {
    let request = Request::get(format!("{}/events", app.url))
        .header("authorization", bearer(token))
        .body(Body::empty())
        .expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    client.request(request).await.expect("an answer")
}

/// An app that renews the session once the test lets it.
struct Renewal {
    asked: Notify,
    let_go: Notify,
    set_cookies: Mutex<Vec<String>>,
}

impl Renewal {
    fn new(set_cookies: &[String]) -> Arc<Self> {
        let set_cookies = Mutex::new(set_cookies.to_vec());
        Arc::new(Self { asked: Notify::new(), let_go: Notify::new(), set_cookies })
    }

    fn app(self: &Arc<Self>, layer: PolarLogoutLayer) -> Router {
        let renewal = Arc::clone(self);
        let renew = async move || {
            renewal.asked.notify_one();
            renewal.let_go.notified().await;
            let set_cookies = renewal.set_cookies.lock().expect("a lock");
            let set_cookie = |value: &String| ("set-cookie", value.clone());
            let headers = set_cookies.iter().map(set_cookie).map(|(name, value)| {
                (name.parse().expect("a name"), value.parse().expect("a value"))
            });
            headers.collect::<HeaderMap>()
        };
        Router::new().route("/renew", post(renew)).route("/me", get(async || "me")).layer(layer)
    }
}

fn set_cookies(answer: &Answer) -> Vec<&str> {
    let values = answer.headers.get_all("set-cookie");
    values.iter().map(|value| value.to_str().expect("text")).collect()
}

fn cookie(token: &str) -> String {
    format!("access_token={token}")
}

/// The new cookies are taken out of the answer, and their tokens are denied and revoked.
#[tokio::test]
async fn session_renewed_during_its_logout_is_ended() {
    let polar = start_polar().await;
    let (old, new) = (polar.mint(), polar.mint());
    let renewal = Renewal::new(&[
        format!("access_token={}; Path=/; HttpOnly", new.access),
        format!("refresh_token=\"{}\"; Path=/", new.refresh),
        "theme=dark; Path=/".to_owned(),
        "access_token=; Path=/; Max-Age=0".to_owned(),
        "refresh_token=deleted; Path=/; Max-Age=0".to_owned(),
    ]);
    let layer = builder(&polar).build().await.expect("a layer");
    let app = Site::start(renewal.app(layer.clone())).await;
    let old_cookie = cookie(&old.access);
    let old_cookie = [("cookie", old_cookie.as_str())];

    let renew = app.post("/renew", &old_cookie);
    let log_out = async {
        soon(renewal.asked.notified()).await;
        let answer = app.post("/logout", &old_cookie).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        renewal.let_go.notify_one();
    };
    let (renewed, ()) = tokio::join!(renew, log_out);
    assert_eq!(renewed.status, StatusCode::OK);
    assert_eq!(
        set_cookies(&renewed),
        [
            "theme=dark; Path=/",
            "access_token=; Path=/; Max-Age=0",
            "refresh_token=deleted; Path=/; Max-Age=0"
        ],
        "the cookies that set a session are gone, the others are unchanged"
    );
    for token in [&new.access, &new.refresh] {
        let answer = app.get("/me", &[("cookie", &cookie(token))]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "denied at once");
    }
    support::until("Polar has revoked the new pair too", || !polar.is_alive(&new.access)).await;
}

/// A race: the answer leaves before the task that revokes the new token has begun.
#[tokio::test]
async fn renewed_token_is_denied_before_the_answer_leaves() {
    let polar = start_polar().await;
    let (old, new) = (polar.mint(), polar.mint());
    let renewal = Renewal::new(&[cookie(&new.access)]);
    let layer = builder(&polar).build().await.expect("a layer");
    let request = Request::post("/renew").header("cookie", cookie(&old.access));
    let request = request.body(Body::empty()).expect("a request");
    let mut answer = pin!(renewal.app(layer.clone()).oneshot(request));
    let mut poll_once = async || poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
    assert!(poll_once().await.is_pending());
    let handle = layer.handle();
    handle.revoke([Revocation::access_token(&old.access).expect("a token")]).await;
    renewal.let_go.notify_one();
    // No other task runs meanwhile: this is the only thread.
    assert!(poll_once().await.is_ready());
    assert!(handle.is_revoked(&new.access));
}

#[tokio::test]
async fn session_is_renewed_despite_another_users_logout() {
    let polar = start_polar().await;
    let (old, new, other) = (polar.mint(), polar.mint(), polar.mint());
    let renewal = Renewal::new(&[cookie(&new.access)]);
    let layer = builder(&polar).build().await.expect("a layer");
    let app = Site::start(renewal.app(layer.clone())).await;
    layer.handle().revoke([Revocation::access_token(&other.access).expect("a token")]).await;
    renewal.let_go.notify_one();
    let renewed = app.post("/renew", &[("cookie", &cookie(&old.access))]).await;
    assert_eq!(set_cookies(&renewed), [cookie(&new.access)]);
    assert_eq!(app.get("/me", &[("cookie", &cookie(&new.access))]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn browser_can_sign_in_despite_a_dead_cookie() {
    let polar = start_polar().await;
    let (dead, new) = (polar.mint(), polar.mint());
    let renewal = Renewal::new(&[cookie(&new.access)]);
    let layer = builder(&polar)
        .when_revoked_at("/renew", WhenRevoked::Anonymous)
        .build()
        .await
        .expect("a layer");
    layer.handle().revoke([Revocation::access_token(&dead.access).expect("a token")]).await;
    let app = Site::start(renewal.app(layer)).await;
    renewal.let_go.notify_one();
    let signed_in = app.post("/renew", &[("cookie", &cookie(&dead.access))]).await;
    assert_eq!(set_cookies(&signed_in), [cookie(&new.access)]);
    assert_eq!(app.get("/me", &[("cookie", &cookie(&new.access))]).await.status, StatusCode::OK);
}

/// A rolling session sets its cookie with every answer, including that of the logout handler.
#[tokio::test]
async fn session_that_the_logout_handler_renews_is_ended() {
    let polar = start_polar().await;
    let (old, new) = (polar.mint(), polar.mint());
    let layer = builder(&polar).call_inner_after_logout(true).build().await.expect("a layer");
    let set_cookie = cookie(&new.access);
    let log_out =
        async move || AppendHeaders([("set-cookie", set_cookie), ("x-app", "called".to_owned())]);
    let app = Router::new().route("/logout", post(log_out)).layer(layer.clone());
    let answer = Site::start(app).await.post("/logout", &[("cookie", &cookie(&old.access))]).await;
    assert!(answer.is_from_app());
    assert!(!set_cookies(&answer).contains(&&*cookie(&new.access)), "{answer:?}");
    assert_eq!(answer.removed_cookies(), ["access_token", "refresh_token"]);
    assert!(layer.handle().is_revoked(&new.access));
    support::until("Polar has revoked the new pair too", || !polar.is_alive(&new.access)).await;
}

/// The token is denied before the logout handler is called. The answer must be complete
/// nevertheless.
#[tokio::test]
async fn logout_handler_answers_in_full_behind_both_layers() {
    let polar = start_polar().await;
    let layer = builder(&polar).call_inner_after_logout(true).build().await.expect("a layer");
    let (end, check) = (layer.handle().end_streams(), layer.handle().check_body());
    let goodbye = post(async |body: Bytes| [Bytes::from("goodbye "), body].concat())
        .layer(ServiceBuilder::new().layer(end).layer(check));
    let site = Site::start(Router::new().route("/logout", goodbye).layer(layer.clone())).await;
    let token = polar.mint().access;
    let headers = [("authorization", &*bearer(&token))];
    let answer = site.send(Method::POST, "/logout", &headers, "all").await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "goodbye all"));
    assert!(layer.handle().is_revoked(&token));
}

/// An attacker can log out a made-up token, and plant it in a link or a cookie of another user.
#[tokio::test]
async fn logout_of_a_planted_token_removes_no_cookie() {
    let polar = start_polar().await;
    let (old, new, made_up) = (polar.mint(), polar.mint(), support::access_token("made"));
    let renewal = Renewal::new(&[cookie(&new.access)]);
    let layer = builder(&polar).build().await.expect("a layer");
    let app = Site::start(renewal.app(layer.clone())).await;
    let cookies = format!("{}; planted={made_up}", cookie(&old.access));
    let renewed =
        async { app.post(&format!("/renew?next={made_up}"), &[("cookie", &cookies)]).await };
    let meanwhile = async {
        renewal.asked.notified().await;
        app.post("/logout", &[("authorization", &bearer(&made_up))]).await;
        renewal.let_go.notify_one();
    };
    let (renewed, ()) = tokio::join!(renewed, meanwhile);
    assert_eq!(set_cookies(&renewed), [cookie(&new.access)]);
    assert!(!layer.handle().is_revoked(&new.access));
}

/// Sends a request to a handler that reads its body, and revokes the request's token before the
/// body has arrived.
async fn send_and_revoke_meanwhile(
    layer: &PolarLogoutLayer,
    token: &str,
    upload: MethodRouter,
) -> Response<Body> {
    let (reading, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (read, end) = (Arc::clone(&reading), Arc::clone(&go_on));
    let body = Body::from_stream(futures_util::stream::once(async move {
        read.notify_one();
        end.notified().await;
        Ok::<_, Infallible>(Bytes::from("a=b"))
    }));
    let request = Request::post("/upload").header("authorization", bearer(token));
    let request = request.body(body).expect("a request");
    let app = Router::new().route("/upload", upload).layer(layer.clone());
    let answer = tokio::spawn(app.oneshot(request));
    soon(reading.notified()).await;
    layer.handle().revoke([Revocation::access_token(token).expect("a token")]).await;
    go_on.notify_one();
    answer.await.expect("it ends").expect("an answer")
}

fn upload() -> MethodRouter {
    post(async |body: Bytes| [Bytes::from("thanks for "), body].concat())
}

/// The token is revoked while the body arrives. `check_body` rejects the request.
#[tokio::test]
async fn upload_revoked_meanwhile_is_rejected() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let checked = upload().layer(layer.handle().check_body());
    let answer = send_and_revoke_meanwhile(&layer, &polar.mint().access, checked).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

/// The token is revoked while the body arrives. `end_streams` ends the answer.
#[tokio::test]
async fn upload_revoked_meanwhile_gets_no_body() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let ended = upload().layer(layer.handle().end_streams());
    let answer = send_and_revoke_meanwhile(&layer, &polar.mint().access, ended).await;
    let body = answer.into_body().collect().await.expect("an end").to_bytes();
    assert_eq!(body, "");
}

/// A handler that logs its own user out must still be able to answer.
#[tokio::test]
async fn handler_that_revokes_its_token_answers_in_full() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let (handle, token) = (layer.handle(), polar.mint().access);
    let order = Revocation::access_token(&token).expect("a token");
    let leave = async move |body: Bytes| {
        handle.revoke([order]).await;
        [Bytes::from("goodbye "), body].concat()
    };
    let leave = post(leave).layer(layer.handle().end_streams());
    let site = Site::start(Router::new().route("/leave", leave).layer(layer.clone())).await;
    let headers = [("authorization", &*bearer(&token))];
    let answer = site.send(Method::POST, "/leave", &headers, "all").await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "goodbye all"));
    assert!(layer.handle().is_revoked(&token));
}

/// Each message from the test goes out as an event.
type Events = Arc<Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>>;

async fn events_of(Extension(events): Extension<Events>) -> impl IntoResponse {
    let events = events.lock().expect("a lock").take().expect("requested once");
    let frames = futures_util::stream::unfold(events, async |mut events| {
        Some((Ok::<_, Infallible>(events.recv().await?), events))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(frames))
}

async fn stream(
    events: mpsc::UnboundedReceiver<Bytes>,
    layer: PolarLogoutLayer,
    route: MethodRouter,
) -> Site {
    let events = Extension(Arc::new(Mutex::new(Some(events))));
    Site::start(Router::new().route("/events", route).layer(events).layer(layer)).await
}

/// A route whose streams end when their token is revoked.
fn ending(layer: &PolarLogoutLayer) -> MethodRouter {
    get(events_of).layer(layer.handle().end_streams())
}

async fn next_frame(stream: &mut Response<Incoming>) -> Option<Bytes> {
    let frame = soon(stream.body_mut().frame()).await?.expect("the stream ends without an error");
    Some(frame.into_data().expect("data"))
}

/// Fails the test if the future takes longer than a minute.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it completes in time")
}

async fn assert_stream_ends(layer: PolarLogoutLayer, token: &str, revoke: impl AsyncFnOnce()) {
    let (say, events) = mpsc::unbounded_channel();
    let route = ending(&layer);
    let app = stream(events, layer, route).await;
    let mut stream = begin(&app, token).await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        say.send(Bytes::from(event)).expect("a listener");
        assert_eq!(next_frame(&mut stream).await.expect("an event"), event);
    }
    revoke().await;
    assert_eq!(next_frame(&mut stream).await, None, "the stream ends although no event was sent");
}

#[tokio::test]
async fn stream_ends_when_its_token_is_revoked() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let token = polar.mint().access;
    let handle = layer.handle();
    assert_stream_ends(layer, &token, async || {
        handle.revoke([Revocation::access_token(&token).expect("a token")]).await;
    })
    .await;
}

#[tokio::test]
async fn stream_ends_when_another_replica_revokes_its_token() {
    let polar = start_polar().await;
    let log = MemoryLog::new();
    let layer = async || builder(&polar).revocation_log(log.clone()).build().await;
    let (here, there) = (layer().await.expect("a layer"), layer().await.expect("another"));
    let token = polar.mint().access;
    assert_stream_ends(here, &token, async || {
        there.handle().revoke([Revocation::access_token(&token).expect("a token")]).await;
    })
    .await;
}

#[tokio::test]
async fn stream_ends_while_events_keep_coming() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let token = polar.mint().access;
    let (say, events) = mpsc::unbounded_channel();
    let handle = layer.handle();
    let route = ending(&layer);
    let app = stream(events, layer, route).await;
    let mut stream = begin(&app, &token).await;
    let chatter = AbortOnDropHandle::new(tokio::spawn(async move {
        while say.send(Bytes::from_static(b"data: and on\n\n")).is_ok() {
            tokio::task::yield_now().await;
        }
    }));
    assert!(next_frame(&mut stream).await.is_some());
    handle.revoke([Revocation::access_token(&token).expect("a token")]).await;
    soon(async { while next_frame(&mut stream).await.is_some() {} }).await;
    drop(chatter);
}

#[tokio::test]
async fn stream_goes_on_without_end_streams() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let token = polar.mint().access;
    let (say, events) = mpsc::unbounded_channel();
    let handle = layer.handle();
    let app = stream(events, layer, get(events_of)).await;
    let mut stream = begin(&app, &token).await;
    handle.revoke([Revocation::access_token(&token).expect("a token")]).await;
    say.send(Bytes::from("data: 1\n\n")).expect("a listener");
    assert_eq!(next_frame(&mut stream).await.expect("an event"), "data: 1\n\n");
}

#[tokio::test]
async fn handler_is_told_when_its_token_is_revoked() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let token = polar.mint().access;
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = async move |signal: Option<Extension<RevocationSignal>>| {
        let Some(Extension(signal)) = signal else { return "nothing to wait for" };
        let tell = tell.clone();
        // Like a WebSocket, this task outlives the request.
        tokio::spawn(async move {
            assert!(!signal.is_revoked());
            tell.send("waiting").expect("a listener");
            signal.revoked().await;
            assert!(signal.is_revoked());
            signal.revoked().await;
            tell.send("told").expect("a listener");
        });
        "waiting"
    };
    let handle = layer.handle();
    let socket = get(handler).layer(handle.end_streams());
    let app = Site::start(Router::new().route("/socket", socket).layer(layer)).await;
    assert_eq!(app.get("/socket", &[("accept", "*/*")]).await.body, "nothing to wait for");
    assert_eq!(app.get("/socket", &[("authorization", &bearer(&token))]).await.body, "waiting");
    assert_eq!(soon(told.recv()).await, Some("waiting"));
    handle.revoke([Revocation::access_token(&token).expect("a token")]).await;
    assert_eq!(soon(told.recv()).await, Some("told"));
}
