//! Which layer goes where, and what happens the other way round: `docs/layer-order.md` as tests.
//! Its row about server-side sessions is tested in `tower_sessions.rs`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::routing::get;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use support::log::soon;
use support::site::Site;
use support::{Answer, bearer, builder, start_polar};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_polar_logout::testing::{FakePolar, Fault};
use tower_polar_logout::{
    LogoutHandle, PolarLogoutLayer, PolarLogoutLayerBuilder, Revocation, TokenLocation, WhenRevoked,
};

async fn built(builder: PolarLogoutLayerBuilder) -> PolarLogoutLayer {
    builder.build().await.expect("a layer")
}

/// An app of one page.
fn app() -> Router {
    Router::new().route("/me", get(async || "a page that is long enough to be compressed"))
}

/// A Polar token, and the `Authorization` header that carries it.
fn token(polar: &FakePolar) -> (String, String) {
    let token = polar.mint().access;
    let authorization = bearer(&token);
    (token, authorization)
}

/// A header that carries a dead token.
async fn dead(polar: &FakePolar, handle: &LogoutHandle) -> String {
    let (token, authorization) = token(polar);
    handle.revoke([Revocation::access_token(token).expect("a token")]).await;
    authorization
}

async fn get_with(site: &Site, path: &str, authorization: &str) -> Answer {
    site.get(path, &[("authorization", authorization)]).await
}

async fn post_with(site: &Site, path: &str, authorization: &str) -> Answer {
    site.post(path, &[("authorization", authorization)]).await
}

const FRONT: (&str, &str) = ("origin", "https://front.example");

/// The CORS rules for a front end of another origin.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(HeaderValue::from_static(FRONT.1))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION])
}

/// The answers to a page of the app, a logout and a rejected request of the front end's script.
async fn for_a_script(site: &Site, polar: &FakePolar) -> [Answer; 3] {
    let (token, authorization) = token(polar);
    let headers = [FRONT, ("authorization", &*authorization)];
    let page = site.get("/me", &headers).await;
    let logout = site.post("/logout", &headers).await;
    let rejected = site.get("/me", &headers).await;
    assert_eq!(
        [page.status, logout.status, rejected.status],
        [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::UNAUTHORIZED]
    );
    assert!(!polar.is_alive(&token));
    [page, logout, rejected]
}

/// Whether a browser lets the front end's script see the answer.
fn may_be_read(answer: &Answer) -> bool {
    answer.header("access-control-allow-origin") == FRONT.1
}

/// The layer's own answers have CORS headers too.
#[tokio::test]
async fn script_reads_every_answer_with_cors_outside() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let site = Site::start(app().layer(logout).layer(cors())).await;
    let answers = for_a_script(&site, &polar).await;
    assert_eq!(answers.each_ref().map(may_be_read), [true, true, true]);
}

#[tokio::test]
async fn script_reads_app_answers_only_with_cors_inside() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let site = Site::start(app().layer(cors()).layer(logout)).await;
    let answers = for_a_script(&site, &polar).await;
    assert_eq!(answers.each_ref().map(may_be_read), [true, false, false]);
}

/// `CorsLayer` may stand on either side.
#[tokio::test]
async fn preflight_of_the_logout_path_is_no_logout() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    for app in
        [app().layer(logout.clone()).layer(cors()), app().layer(cors()).layer(logout.clone())]
    {
        let site = Site::start(app).await;
        // Browsers send no credentials with a preflight. A token in one stays alive.
        let (token, authorization) = token(&polar);
        let headers = [
            FRONT,
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
            ("authorization", &*authorization),
        ];
        let answer = site.send(Method::OPTIONS, "/logout", &headers, "").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(
            may_be_read(&answer) && answer.header("access-control-allow-methods").contains("POST")
        );
        assert!(!logout.handle().is_revoked(&token));
        assert_eq!(polar.seen().revoke_calls, 0);
    }
}

/// Of a `ServiceBuilder` the first layer is outside.
#[tokio::test]
async fn last_layer_of_a_router_is_outside() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let authorization = dead(&polar, &logout.handle()).await;
    let (cors_first, logout_first) = (
        ServiceBuilder::new().layer(cors()).layer(logout.clone()),
        ServiceBuilder::new().layer(logout.clone()).layer(cors()),
    );
    for (app, cors_is_outside) in [
        (app().layer(logout.clone()).layer(cors()), true),
        (app().layer(cors_first), true),
        (app().layer(cors()).layer(logout), false),
        (app().layer(logout_first), false),
    ] {
        let site = Site::start(app).await;
        let rejected = site.get("/me", &[FRONT, ("authorization", &authorization)]).await;
        assert_eq!(rejected.status, StatusCode::UNAUTHORIZED);
        assert_eq!(may_be_read(&rejected), cors_is_outside);
    }
}

#[tokio::test]
async fn compression_may_stand_on_either_side() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let dead = dead(&polar, &logout.handle()).await;
    for app in [
        app().layer(logout.clone()).layer(CompressionLayer::new()),
        app().layer(CompressionLayer::new()).layer(logout.clone()),
    ] {
        let site = Site::start(app).await;
        let page = site.get("/me", &[("accept-encoding", "gzip")]).await;
        assert_eq!((page.status, page.header("content-encoding")), (StatusCode::OK, "gzip"));
        let headers = [("accept-encoding", "gzip"), ("authorization", &*dead)];
        let answer = site.get("/me", &headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.header("content-encoding"), "", "a 401 has no body");
        let (token, authorization) = token(&polar);
        let answer = post_with(&site, "/logout", &authorization).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(!polar.is_alive(&token));
    }
}

async fn gzip(text: String) -> Bytes {
    let text = service_fn(move |_: Request<Body>| {
        let response = Response::new(Body::from(text.clone()));
        async { Ok::<_, Infallible>(response) }
    });
    let request = Request::get("/").header("accept-encoding", "gzip").body(Body::empty());
    let zipped = CompressionLayer::new().layer(text).oneshot(request.expect("a request")).await;
    zipped.expect("an answer").into_body().collect().await.expect("a body").to_bytes()
}

#[tokio::test]
async fn compressed_body_is_searched_with_decompression_outside() {
    let polar = start_polar().await;
    let logout = built(builder(&polar).refresh_token(TokenLocation::form("token"))).await;
    let headers =
        [("content-encoding", "gzip"), ("content-type", "application/x-www-form-urlencoded")];
    let send = async |app: Router| {
        let token = polar.mint().refresh;
        let body = gzip(format!("token={token}")).await;
        let answer = Site::start(app).await.send(Method::POST, "/logout", &headers, body).await;
        (answer.status, polar.is_alive(&token))
    };
    let outside = app().layer(logout.clone()).layer(RequestDecompressionLayer::new());
    assert_eq!(send(outside).await, (StatusCode::NO_CONTENT, false));
    let inside = app().layer(RequestDecompressionLayer::new()).layer(logout);
    assert_eq!(send(inside).await, (StatusCode::UNSUPPORTED_MEDIA_TYPE, true));
}

/// The notes of a [`TraceLayer`].
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl Noted {
    fn add(&self, text: String) {
        self.0.lock().expect("no panic").push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

/// Puts a layer that notes each request's URI and each answer's status around a router.
fn traced(app: Router) -> (Router, Noted) {
    let noted = Noted::default();
    let (requests, answers) = (noted.clone(), noted.clone());
    let layer = TraceLayer::new_for_http()
        .on_request(move |request: &Request<_>, _: &tracing::Span| {
            requests.add(request.uri().to_string());
        })
        .on_response(move |response: &Response<_>, _: Duration, _: &tracing::Span| {
            answers.add(response.status().as_str().to_owned());
        });
    (app.layer(layer), noted)
}

#[tokio::test]
async fn tracing_sees_the_layers_answers_only_from_outside() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let (outside, seen_outside) = traced(app().layer(logout.clone()));
    let (inside, seen_inside) = traced(app());
    for (app, noted, expected) in [
        (outside, seen_outside, &["/me", "200", "/logout", "204", "/me", "401"][..]),
        (inside.layer(logout), seen_inside, &["/me", "200"]),
    ] {
        let site = Site::start(app).await;
        let (_, authorization) = token(&polar);
        get_with(&site, "/me", &authorization).await;
        post_with(&site, "/logout", &authorization).await;
        get_with(&site, "/me", &authorization).await;
        assert_eq!(noted.take(), expected);
    }
}

/// The layer takes the dead token out of the URL.
#[tokio::test]
async fn tracing_sees_dead_tokens_only_from_outside() {
    let polar = start_polar().await;
    let logout = built(
        builder(&polar)
            .access_token(TokenLocation::query("access_token"))
            .when_revoked(WhenRevoked::Anonymous),
    )
    .await;
    let (token, _) = token(&polar);
    logout.handle().revoke([Revocation::access_token(&token).expect("a token")]).await;
    let path = format!("/me?access_token={token}");
    let (outside, seen_outside) = traced(app().layer(logout.clone()));
    let (inside, seen_inside) = traced(app());
    let inside = inside.layer(logout);
    assert_eq!(Site::start(outside).await.get(&path, &[]).await.status, StatusCode::OK);
    assert_eq!(Site::start(inside).await.get(&path, &[]).await.status, StatusCode::OK);
    assert!(seen_outside.take()[0].contains(&token));
    assert!(!seen_inside.take()[0].contains(&token));
}

/// Cuts off a service that takes longer than a moment.
fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(20))
}

/// The token is denied here, and revoked at Polar nevertheless.
#[tokio::test]
async fn timeout_outside_cuts_off_only_the_answer() {
    let polar = start_polar().await;
    let logout = built(builder(&polar).logout_deadline(Duration::from_secs(600))).await;
    let handle = logout.handle();
    let site = Site::start(app().layer(logout).layer(timeout())).await;
    polar.behave(Fault::Freeze);
    let (token, authorization) = token(&polar);
    let answer = soon(post_with(&site, "/logout", &authorization)).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(handle.is_revoked(&token));
    polar.recover();
    soon(polar.revoked(1)).await;
}

/// The timeout is the app's. A logout has its own deadline.
#[tokio::test]
async fn timeout_inside_does_not_cut_off_a_logout() {
    let polar = start_polar().await;
    let logout = built(builder(&polar).logout_deadline(Duration::from_millis(100))).await;
    let slow = Router::new().route("/slow", get(std::future::pending::<()>));
    let site = Site::start(slow.layer(timeout()).layer(logout)).await;
    polar.behave(Fault::Freeze);
    let (_, authorization) = token(&polar);
    assert_eq!(soon(site.get("/slow", &[])).await.status, StatusCode::GATEWAY_TIMEOUT);
    let answer = soon(post_with(&site, "/logout", &authorization)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

/// Logout routes are matched to the path that reaches the layer.
#[tokio::test]
async fn rewritten_path_logs_out_with_rewriting_outside() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let trim = NormalizePathLayer::trim_trailing_slash;
    // A fallback service, because a router's own layers run after its routing.
    let outside = trim().layer(app().layer(logout.clone()));
    let inside = logout.layer(trim().layer(app()));
    let (first, second) = (token(&polar), token(&polar));
    let site = Site::start(Router::new().fallback_service(outside)).await;
    assert_eq!(post_with(&site, "/logout/", &first.1).await.status, StatusCode::NO_CONTENT);
    assert!(!polar.is_alive(&first.0));
    let site = Site::start(Router::new().fallback_service(inside)).await;
    assert_eq!(post_with(&site, "/logout/", &second.1).await.status, StatusCode::NOT_FOUND);
    assert!(polar.is_alive(&second.0));
}

#[tokio::test]
async fn layer_around_the_outermost_router_sees_every_path() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let other = Router::new().route("/other", get(async || "other"));
    let whole = app().nest("/api", app()).merge(other).fallback(async || "fallback").layer(logout);
    let site = Site::start(whole).await;
    let (_, authorization) = token(&polar);
    for path in ["/me", "/api/me", "/api/nowhere", "/other", "/nowhere"] {
        assert_eq!(get_with(&site, path, &authorization).await.status, StatusCode::OK, "{path}");
    }
    let answer = post_with(&site, "/logout", &authorization).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "although it has no route");
    for path in ["/me", "/api/me", "/api/nowhere", "/other", "/nowhere"] {
        let answer = get_with(&site, path, &authorization).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

/// The prefix is cut off, and paths without a route do not reach the layer.
#[tokio::test]
async fn layer_in_nest_sees_only_the_nested_path() {
    let polar = start_polar().await;
    let outer = built(builder(&polar).logout_route(Method::POST, "/api/logout")).await;
    let with_route = app().route("/logout", axum::routing::post(async || "the app's"));
    let site = Site::start(
        app()
            .nest("/api", app().layer(outer.clone()))
            .nest("/registered", with_route.layer(outer.clone())),
    )
    .await;
    let (token, authorization) = token(&polar);
    let answer = post_with(&site, "/api/logout", &authorization).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "neither as /api/logout nor as /logout");
    assert!(polar.is_alive(&token));
    let answer = post_with(&site, "/registered/logout", &authorization).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "as /logout");
    assert!(!polar.is_alive(&token));
    assert_eq!(get_with(&site, "/api/me", &authorization).await.status, StatusCode::UNAUTHORIZED);
    let answer = get_with(&site, "/me", &authorization).await;
    assert_eq!(answer.status, StatusCode::OK, "no layer beside the nested router");
}

#[tokio::test]
async fn route_layer_sees_no_path_without_a_route() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let app = app().fallback(async || "fallback").route_layer(logout.clone());
    let site = Site::start(app).await;
    let (token, authorization) = token(&polar);
    let answer = post_with(&site, "/logout", &authorization).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "fallback"));
    assert!(polar.is_alive(&token));
    let dead = dead(&polar, &logout.handle()).await;
    assert_eq!(get_with(&site, "/me", &dead).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get_with(&site, "/nowhere", &dead).await.body, "fallback", "with a dead token");
}

/// Later parts are routes, merged and nested routers, and a fallback.
#[tokio::test]
async fn later_parts_of_a_router_bypass_the_layer() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let app = app()
        .layer(logout.clone())
        .route("/later", get(async || "later"))
        .merge(Router::new().route("/merged", get(async || "merged")))
        .nest("/nested", self::app())
        .fallback(async || "fallback");
    let site = Site::start(app).await;
    let dead = dead(&polar, &logout.handle()).await;
    assert_eq!(get_with(&site, "/me", &dead).await.status, StatusCode::UNAUTHORIZED);
    for path in ["/later", "/merged", "/nested/me", "/nowhere"] {
        let answer = get_with(&site, path, &dead).await;
        assert_eq!(answer.status, StatusCode::OK, "{path} lets a dead token in");
    }
    let (alive, authorization) = token(&polar);
    assert_eq!(post_with(&site, "/logout", &authorization).await.body, "fallback");
    assert!(polar.is_alive(&alive));

    let without_fallback = self::app().layer(logout).route("/later", get(async || "later"));
    let site = Site::start(without_fallback).await;
    let answer = post_with(&site, "/logout", &authorization).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "nothing was added for this path");
}

/// Whether a logout is answered while another request holds the only permit of a limit.
async fn is_answered_at_the_limit<S>(stack: S) -> bool
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
{
    let request = |method, path| Request::builder().method(method).uri(path).body(Body::empty());
    let slow = request(Method::GET, "/slow").expect("a request");
    let slow = tokio::spawn(stack.clone().oneshot(slow));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let logout = request(Method::POST, "/logout").expect("a request");
    let answer = tokio::time::timeout(Duration::from_secs(60), stack.oneshot(logout)).await;
    slow.abort();
    answer.is_ok()
}

/// The layer is ready when its inner service is, so a limit in the same stack delays a logout.
/// `load_shed` between the two prevents this.
#[tokio::test(start_paused = true)]
async fn limit_around_the_routes_delays_no_logout() {
    let polar = start_polar().await;
    let logout = built(builder(&polar)).await;
    let slow = || Router::new().route("/slow", get(std::future::pending::<()>));
    let limit = || GlobalConcurrencyLimitLayer::new(1);
    let one_stack = ServiceBuilder::new().layer(logout.clone());
    let shed = |_: tower::BoxError| async { StatusCode::SERVICE_UNAVAILABLE };
    let shed = ServiceBuilder::new().layer(HandleErrorLayer::new(shed)).load_shed().layer(limit());
    for (app, is_answered) in [
        (slow().layer(one_stack.clone().layer(limit())), false),
        (slow().layer(one_stack.layer(shed)), true),
        (slow().layer(limit()).layer(logout.clone()), true),
        (slow().layer(ServiceBuilder::new().layer(limit()).layer(logout)), false),
    ] {
        assert_eq!(is_answered_at_the_limit(app).await, is_answered);
    }
}

#[test]
fn every_layer_in_the_table_is_tested() {
    let table = include_str!("../../docs/layer-order.md");
    let tests = [include_str!("layer_order.rs"), include_str!("tower_sessions.rs")].concat();
    let tests = tests + include_str!("../../examples/tower_sessions.rs");
    let named: BTreeSet<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.ends_with("Layer"))
        .collect();
    assert!(named.len() >= 6, "{named:?}");
    for layer in named {
        assert!(tests.contains(&format!("{layer}::")), "{layer} is in no test");
    }
}
