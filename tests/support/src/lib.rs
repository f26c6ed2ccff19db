//! Shared by tests and benches. This file holds an app behind the layer, on a real socket, and a
//! client that calls it.
//!
//! A library, so that it is compiled once and not for each binary.

pub mod demo;
pub mod events;
pub mod example;
pub mod folder;
pub mod log;
#[cfg(target_os = "linux")]
pub mod memory;
pub mod proxy;
pub mod readers;
pub mod redis;
pub mod site;
pub mod tls;

use std::convert::Infallible;
use std::fmt::Display;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Collected};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tower::{ServiceBuilder, service_fn};
use tower_polar_logout::client::{PolarClient, PolarClientBuilder};
use tower_polar_logout::testing::FakePolar;
use tower_polar_logout::{
    Answer as WriteAnswer, Counts, LogoutHandle, LogoutOutcome, PolarLogoutLayer,
    PolarLogoutLayerBuilder, TokenLocation,
};

/// The server that runs the app.
#[derive(Clone, Copy, Debug)]
pub enum Server {
    Axum,
    Hyper,
}

pub const SERVERS: [Server; 2] = [Server::Axum, Server::Hyper];

/// An app that answers with the request that it saw.
pub struct App {
    pub url: String,
    pub handle: LogoutHandle,
    calls: Arc<AtomicUsize>,
    server: AbortHandle,
}

impl App {
    pub async fn start<A>(server: Server, layer: PolarLogoutLayer<A>) -> Self
    where
        A: WriteAnswer<axum::body::Body> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let handle = layer.handle();
        let calls = Arc::new(AtomicUsize::new(0));
        let server = match server {
            Server::Axum => tokio::spawn(serve_axum(listener, layer, Arc::clone(&calls))),
            Server::Hyper => tokio::spawn(serve_hyper(listener, layer, Arc::clone(&calls))),
        };
        Self { url, handle, calls, server: server.abort_handle() }
    }

    /// How many requests reached the app itself.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until the counts meet the condition.
    pub async fn until(&self, condition: impl Fn(&Counts) -> bool) {
        until("the counts meet the condition", || condition(&self.handle.counts())).await;
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, "").await
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, path, headers, "").await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        site::call(&self.url, method, path, headers, body).await
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve_axum<A>(listener: TcpListener, layer: PolarLogoutLayer<A>, calls: Arc<AtomicUsize>)
where
    A: WriteAnswer<axum::body::Body> + Send + Sync + 'static,
{
    let app = Router::new()
        .fallback(move |request: axum::extract::Request| {
            let calls = Arc::clone(&calls);
            async move { echo(request, &calls).await }
        })
        .layer(layer);
    axum::serve(listener, app).await.expect("axum serves");
}

async fn serve_hyper<A>(listener: TcpListener, layer: PolarLogoutLayer<A>, calls: Arc<AtomicUsize>)
where
    A: WriteAnswer<axum::body::Body> + Send + Sync + 'static,
{
    let service = ServiceBuilder::new().layer(layer).service(service_fn(move |request| {
        let calls = Arc::clone(&calls);
        async move { Ok::<_, Infallible>(echo(request, &calls).await) }
    }));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // A test may hang up.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Answers with everything that an app can see of a request.
pub async fn echo<B>(request: Request<B>, calls: &AtomicUsize) -> Response<axum::body::Body>
where
    B: Body,
{
    calls.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let seen = json!({
        "uri": parts.uri.path_and_query().map(ToString::to_string),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "outcome": parts.extensions.get::<LogoutOutcome>().map(|outcome| format!("{outcome:?}")),
    });
    Response::builder()
        .header("x-app", "called")
        .body(axum::body::Body::from(seen.to_string()))
        .expect("a response")
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn read<B>(response: Response<B>) -> Self
    where
        B: Body,
        B::Error: std::fmt::Debug,
    {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn removed_cookies(&self) -> Vec<&str> {
        self.headers
            .get_all("set-cookie")
            .iter()
            .map(|value| value.to_str().expect("text"))
            .filter(|value| value.contains("Max-Age=0"))
            .map(|value| value.split('=').next().expect("a name"))
            .collect()
    }

    /// The request that the app saw. Panics if the app was not called.
    pub fn seen(&self) -> Value {
        assert_eq!(self.header("x-app"), "called", "the app was not called: {self:?}");
        serde_json::from_str(&self.body).expect("the app's JSON")
    }

    pub fn is_from_app(&self) -> bool {
        self.header("x-app") == "called"
    }
}

/// Waits at most two minutes for a condition that no event announces.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed().as_secs() < 120, "not true after two minutes: {what}");
        tokio::task::yield_now().await;
    }
}

/// The layer as most apps configure it, with the stand-in as its server.
pub fn builder(polar: &FakePolar) -> PolarLogoutLayerBuilder {
    builder_with(PolarClient::builder(polar.credentials()).server(polar.server()))
}

/// For tests in which a call gets no answer: it is repeated after half a second, not after 35.
pub fn impatient_builder(polar: &FakePolar) -> PolarLogoutLayerBuilder {
    let client = PolarClient::builder(polar.credentials()).server(polar.server());
    builder_with(client.request_timeout(Duration::from_millis(500)))
}

fn builder_with(client: PolarClientBuilder) -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(client)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie("access_token"))
        .refresh_token(TokenLocation::cookie("refresh_token"))
}

pub async fn start_polar() -> TreatedWell {
    TreatedWell(FakePolar::start().await.expect("a stand-in"))
}

/// A stand-in whose test fails if two calls about one pair have frozen it: promise 6.
#[derive(Debug)]
pub struct TreatedWell(FakePolar);

impl Deref for TreatedWell {
    type Target = FakePolar;

    fn deref(&self) -> &FakePolar {
        &self.0
    }
}

impl Drop for TreatedWell {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.0.seen().freezes, 0, "two calls about one pair at once");
        }
    }
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// An access token in the shape of Polar's, which no stand-in has minted.
pub fn access_token(name: impl Display) -> String {
    in_shape("polar_at_u_", &name.to_string())
}

/// A refresh token in the shape of Polar's, which no stand-in has minted.
pub fn refresh_token(name: impl Display) -> String {
    in_shape("polar_rt_u_", &name.to_string())
}

fn in_shape(prefix: &str, name: &str) -> String {
    assert!(name.len() <= 43 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
    format!("{prefix}{name:0>43}")
}
