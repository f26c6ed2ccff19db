//! The server and the stand-in for Polar, in a process each.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::runtime;
use tower::{Layer, service_fn};
use tower_polar_logout::testing::{FakePolar, Fault};
use tower_polar_logout::{ClientCredentials, LogoutHandle, LogoutOutcome, PolarServer};

use super::connection::{Connection, request};
use crate::process::Process;
use crate::subject::{builder, session_id, token};

/// Tokens that were revoked before the flood.
const EARLIER: u32 = 5_000;
const POLAR_TAKES: Duration = Duration::from_millis(12);

pub(super) struct Configuration {
    pub(super) name: &'static str,
    pub(super) limit: u32,
    pub(super) queue_capacity: u32,
    /// How many calls a minute the stand-in accepts; `None` is no limit.
    pub(super) calls_a_minute: Option<u32>,
}

impl Configuration {
    /// The highest memory in bytes, beyond that of the idle process:
    ///
    /// - 400 for a denied token, and an eighth more because requests in between fragment the memory
    /// - 8 KiB for a pending logout, including its caller's connection
    pub(super) fn bound(&self, connections: u32) -> f64 {
        const KIB: f64 = 1024.0;
        450.0 * f64::from(self.limit)
            + 8.0 * KIB * f64::from(self.queue_capacity)
            + 16.0 * KIB * f64::from(connections)
            + 16.0 * KIB * KIB
    }
}

pub(super) fn earlier() -> impl Iterator<Item = String> {
    (0..EARLIER).map(token)
}

pub(super) struct Server {
    pub(super) port: u16,
    process: Process,
    polar: Process,
}

/// Two of the layer's `Counts`.
pub(super) struct Counts {
    pub(super) revoked: u32,
    pub(super) pending: u32,
}

impl Server {
    pub(super) fn start(configuration: &Configuration) -> Self {
        let calls = configuration.calls_a_minute.unwrap_or_default().to_string();
        let mut polar = Process::start(&["child", "flooded polar", &calls]);
        let (url, id, secret) = (polar.line(), polar.line(), polar.line());
        let limits = [configuration.limit, configuration.queue_capacity].map(|n| n.to_string());
        let arguments = ["child", "flooded", &limits[0], &limits[1], &url, &id, &secret];
        let mut process = Process::start(&arguments);
        Self { port: process.line().parse().expect("a port"), process, polar }
    }

    pub(super) fn resident(&self) -> f64 {
        self.process.resident()
    }

    pub(super) fn most_resident(&self) -> f64 {
        self.process.most_resident()
    }

    pub(super) fn cpu(&self) -> f64 {
        self.process.cpu()
    }

    pub(super) async fn counts(&self) -> Counts {
        let mut connection = Connection::open(self.port).await;
        assert_eq!(connection.ask(&request("GET /counts", "")).await, 200);
        let (_, body) = connection.response().split_once("\r\n\r\n").expect("a body");
        let (revoked, pending) = body.split_once(' ').expect("two numbers");
        let number = |text: &str| text.parse().expect("a number");
        Counts { revoked: number(revoked), pending: number(pending) }
    }

    /// How many calls the stand-in received, and how many at the same time.
    pub(super) fn stop(mut self) -> [f64; 2] {
        self.polar.close();
        [(); 2].map(|()| self.polar.number())
    }
}

pub(crate) fn polar(calls_a_minute: &str) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let polar = runtime.block_on(FakePolar::start()).expect("a port");
    polar.behave(Fault::Delay(POLAR_TAKES));
    match calls_a_minute.parse().expect("a number") {
        0 => {}
        calls => polar.rate_limit(calls),
    }
    println!("{}\n{}\n{}", polar.url(), polar.client_id(), polar.client_secret());
    let end = runtime.spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    runtime.block_on(end).expect("no panic").expect("the end of it");
    println!("{}\n{}", polar.seen().revoke_calls, polar.seen().most_in_flight);
}

pub(crate) fn serve(limit: &str, queue_capacity: &str, url: &str, id: &str, secret: &str) {
    let number = |text: &str| text.parse().expect("a number");
    let builder = builder(PolarServer::Url(url.to_owned()), ClientCredentials::new(id, secret))
        .denylist_capacity(number(limit))
        .queue_capacity(number(queue_capacity));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.spawn_blocking(|| {
        // The standard input ends with the process that started the server.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    runtime.block_on(async {
        let layer = builder.build().await.expect("a layer");
        let handle = layer.handle();
        let orders = earlier().map(|token| session_id(&token));
        assert_eq!(handle.revoke(orders).await, LogoutOutcome::Confirmed);
        let service = layer.layer(service_fn(move |request: Request<_>| {
            let answer = app(&request, &handle);
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer))) }
        }));
        let service = TowerToHyperService::new(service);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address").port());
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(connection);
        }
    });
}

fn app<B>(request: &Request<B>, handle: &LogoutHandle) -> Bytes {
    if request.uri().path() == "/counts" {
        let counts = handle.counts();
        return format!("{} {}", counts.revoked, counts.pending).into();
    }
    Bytes::from_static(b"Hello, world!")
}
