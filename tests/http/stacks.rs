//! The usual stacks: each compiles, and requests and answers keep their own types.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use support::{Answer, TreatedWell, bearer, builder, start_polar};
use tokio::net::TcpListener;
use tonic::Code;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::util::option_layer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_polar_logout::{
    BrowserAnswers, GrpcAnswers, JsonAnswers, PolarLogoutLayer, Reply, ReplyKind, Revocation,
};

/// A layer, and a token that it rejects.
async fn layer() -> (PolarLogoutLayer, String, TreatedWell) {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let token = polar.mint().access;
    let order = Revocation::access_token(&token).expect("a token");
    assert!(layer.handle().revoke([order]).await.is_confirmed());
    (layer, token, polar)
}

fn app() -> Router {
    Router::new().route("/me", get(async || "me"))
}

fn request(token: &str) -> Request<Body> {
    let request = Request::get("/me").header("authorization", bearer(token));
    request.body(Body::empty()).expect("a request")
}

/// Checks that the dead token is rejected, and that another one passes.
async fn check_service<S, R>(service: S, dead: &str)
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    S::Error: std::fmt::Debug,
{
    let other = "polar_at_u_0000000000000000000000000000000000000000000";
    for (token, status) in [(dead, StatusCode::UNAUTHORIZED), (other, StatusCode::OK)] {
        let answer = service.clone().oneshot(request(token)).await.expect("an answer");
        assert_eq!(answer.status(), status);
    }
}

async fn pass(request: AxumRequest, next: Next) -> axum::response::Response {
    next.run(request).await
}

#[tokio::test]
async fn layer_stands_on_an_axum_router() {
    let (logout, dead, _polar) = layer().await;
    check_service(app().layer(logout), &dead).await;
}

#[tokio::test]
async fn layer_stands_on_either_side_of_from_fn() {
    let (logout, dead, _polar) = layer().await;
    let outside = ServiceBuilder::new().layer(logout.clone()).layer(from_fn(pass));
    let inside = ServiceBuilder::new().layer(from_fn(pass)).layer(logout);
    check_service(app().layer(outside), &dead).await;
    check_service(app().layer(inside), &dead).await;
}

#[tokio::test]
async fn layer_is_optional() {
    let (logout, dead, _polar) = layer().await;
    check_service(app().layer(option_layer(Some(logout))), &dead).await;
    let without = app().layer(option_layer(None::<PolarLogoutLayer>));
    let answer = without.oneshot(request(&dead)).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn layer_stands_between_layers_of_tower_http() {
    let (logout, dead, _polar) = layer().await;
    let stack = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CorsLayer::permissive())
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(60)))
        .layer(logout)
        .layer(CompressionLayer::new());
    check_service(app().layer(stack), &dead).await;
}

#[tokio::test]
async fn layer_stands_around_a_whole_axum_app() {
    let (logout, dead, _polar) = layer().await;
    let around = logout.layer(app());
    check_service(around.clone(), &dead).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let make = axum::ServiceExt::<AxumRequest>::into_make_service(around);
    let server = tokio::spawn(async move { axum::serve(listener, make).await });
    let authorization = bearer(&dead);
    let headers = [("authorization", &*authorization)];
    let answer = support::site::call(&url, http::Method::GET, "/me", &headers, "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    server.abort();
}

/// Requests to a hyper handler have a body of type `Incoming`.
#[tokio::test]
async fn layer_stands_around_a_hyper_handler() {
    async fn handler(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::new(Full::from("me")))
    }

    let (logout, dead, _polar) = layer().await;
    let url = serve(logout.layer(service_fn(handler))).await;
    check_server(&url, &dead).await;
}

/// A proxy passes on the `Incoming` body of its backend. It has no `Default`, so it is mapped.
#[tokio::test]
async fn layer_stands_around_a_proxy_of_incoming_bodies() {
    let (logout, dead, _polar) = layer().await;
    let backend = serve(service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("me")))
    }))
    .await;
    let client: Client<HttpConnector, Incoming> =
        Client::builder(TokioExecutor::new()).build_http();
    let forward = move |mut request: Request<Incoming>| {
        *request.uri_mut() = format!("{backend}/me").parse().expect("a URL");
        client.request(request)
    };
    let proxy = service_fn(forward).map_response(|response| response.map(BodyExt::boxed));
    let url = serve(logout.layer(proxy)).await;
    check_server(&url, &dead).await;
}

async fn serve<S, R>(service: S) -> String
where
    S: Service<Request<Incoming>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: http_body::Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A client may hang up.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

async fn check_server(url: &str, dead: &str) {
    let other = "polar_at_u_0000000000000000000000000000000000000000000";
    for (token, status) in [(dead, StatusCode::UNAUTHORIZED), (other, StatusCode::OK)] {
        let authorization = bearer(token);
        let headers = [("authorization", &*authorization)];
        let answer = support::site::call(url, http::Method::GET, "/me", &headers, "").await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn tonic_client_with_a_dead_token_is_unauthenticated() {
    let polar = start_polar().await;
    let dead = polar.mint().access;
    let empty = builder(&polar).build().await.expect("a layer");
    let grpc = builder(&polar).answers(GrpcAnswers).build().await.expect("a layer");
    for handle in [empty.handle(), grpc.handle()] {
        handle.revoke([Revocation::access_token(&dead).expect("a token")]).await;
    }
    assert_eq!(call_grpc(empty, &dead).await, (String::new(), Code::Unauthenticated));
    let said = "The token was revoked.".to_owned();
    assert_eq!(call_grpc(grpc, &dead).await, (said, Code::Unauthenticated));
}

/// Returns message and code of a call with the dead token, and checks that another one passes.
async fn call_grpc<A>(logout: PolarLogoutLayer<A>, dead: &str) -> (String, Code)
where
    A: tower_polar_logout::Answer<tonic::body::Body> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(logout).add_service(health);
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("a URL").connect_lazy();
    let call = |token: String| {
        let mut client = HealthClient::new(channel.clone());
        async move {
            let mut request = tonic::Request::new(HealthCheckRequest::default());
            let value = MetadataValue::try_from(bearer(&token)).expect("a value");
            request.metadata_mut().insert("authorization", value);
            client.check(request).await
        }
    };
    let other = "polar_at_u_0000000000000000000000000000000000000000000";
    call(other.to_owned()).await.expect("another token passes");
    let status = call(dead.to_owned()).await.expect_err("a dead token");
    server.abort();
    let message = if status.message().starts_with("The") { status.message() } else { "" };
    (message.to_owned(), status.code())
}

/// With the default answers, the type of the layer can be named.
struct AppState {
    logout: PolarLogoutLayer,
}

#[tokio::test]
async fn layer_is_kept_in_a_struct() {
    let (logout, dead, _polar) = layer().await;
    let state = AppState { logout };
    check_service(app().layer(state.logout.clone()), &dead).await;
}

/// The app sends browsers that carry a dead token to a page, with axum's own `Redirect`.
#[tokio::test]
async fn answer_is_written_by_the_app() {
    let polar = start_polar().await;
    let answers = |_: &http::request::Parts, reply: Reply| match reply.kind() {
        ReplyKind::Rejected => Redirect::to("/login").into_response(),
        _ => reply.with_body(Body::empty()),
    };
    let logout = builder(&polar).answer_with(answers).build().await.expect("a layer");
    let dead = polar.mint().access;
    logout.handle().revoke([Revocation::access_token(&dead).expect("a token")]).await;
    let cookie = format!("access_token={dead}");
    let request = Request::get("/me").header("cookie", cookie).body(Body::empty()).expect("one");
    let answer = app().layer(logout).oneshot(request).await.expect("an answer");
    let answer = Answer::read(answer).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/login"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.removed_cookies(), ["access_token"], "the layer sets the removal");
}

#[tokio::test]
async fn json_answers_say_what_is_wrong() {
    let polar = start_polar().await;
    let logout = builder(&polar).answers(JsonAnswers).build().await.expect("a layer");
    let dead = polar.mint().access;
    logout.handle().revoke([Revocation::access_token(&dead).expect("a token")]).await;
    let answer = app().layer(logout).oneshot(request(&dead)).await.expect("an answer");
    let answer = Answer::read(answer).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("content-type"), "application/json");
    let said = r#"{"error":"invalid_token","error_description":"The token was revoked."}"#;
    assert_eq!(answer.body, said);
}

/// Requests for the page itself are answered 401: with a cookie that cannot be removed, redirects
/// would never end.
#[tokio::test]
async fn browser_answers_send_browsers_to_a_page() {
    let polar = start_polar().await;
    let answers = BrowserAnswers::to("/login?again").expect("a page");
    let logout = builder(&polar).answers(answers).build().await.expect("a layer");
    let dead = polar.mint().access;
    logout.handle().revoke([Revocation::access_token(&dead).expect("a token")]).await;
    let app = app().layer(logout);
    for (path, accept, status, location) in [
        ("/me", "text/html", StatusCode::SEE_OTHER, "/login?again"),
        ("/me", "*/*", StatusCode::UNAUTHORIZED, ""),
        ("/login", "text/html", StatusCode::UNAUTHORIZED, ""),
    ] {
        let request = Request::get(path).header("cookie", format!("access_token={dead}"));
        let request = request.header("accept", accept).body(Body::empty()).expect("a request");
        let answer = app.clone().oneshot(request).await.expect("an answer");
        let answer = Answer::read(answer).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, location),
            "{path} {accept}"
        );
    }
    for wrong in [
        "login",
        "",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "https://evil.example",
        "/\n",
    ] {
        assert!(BrowserAnswers::to(wrong).is_err(), "{wrong}");
    }
}
