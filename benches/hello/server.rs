//! The server: hello-world behind a layer, in a separate process.

#[path = "../common/revoked.rs"]
mod revoked;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::{env, fs, process, thread};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::layer::util::Identity;
use tower::{Layer, Service, service_fn};

use self::revoked::{layer_of, token};

pub(crate) const SERVERS: [&str; 2] = ["hyper", "axum"];

/// A layer that does nothing, and ours. The first is tower's `Identity`. In hyper it costs nothing;
/// in axum it costs as much as any `Router::layer` at least does.
pub(crate) const LAYERS: [&str; 2] = ["a layer that does nothing", "the layer"];

pub(crate) const HELLO: &str = "Hello, world!";

const REVOKED: u32 = 1_000_000;

/// Tokens that are not revoked.
pub(crate) fn living() -> impl Iterator<Item = String> {
    (REVOKED..).map(token)
}

/// A running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    process: Child,
}

impl Server {
    pub(crate) fn start(server: &str, layer: &str) -> Self {
        let mut process = Command::new(env::current_exe().expect("this program"))
            .args(["serve", server, layer])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut port = String::new();
        let output = process.stdout.as_mut().expect("piped");
        BufReader::new(output).read_line(&mut port).expect("a port");
        Self { port: port.trim().parse().expect("a port"), process }
    }

    /// The CPU time of its threads so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("Linux");
        threads
            .map(|thread| fs::read_to_string(thread.expect("a thread").path().join("schedstat")))
            // In nanoseconds, unlike `stat`, which has hundredths of a second. A thread may have
            // ended meanwhile.
            .filter_map(|stat| stat.ok()?.split(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
            / 1e9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's process.
pub(crate) async fn serve(server: &str, layer: &str) {
    // The standard input ends with the process that started the server.
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(0);
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ours = LAYERS.iter().position(|known| *known == layer) == Some(1);
    let router = Router::new().route("/", get(async || HELLO));
    match (server, ours) {
        ("hyper", false) => hyper(listener, Identity::new().layer(service_fn(app))).await,
        ("hyper", true) => hyper(listener, layer_of(REVOKED).await.layer(service_fn(app))).await,
        (_, false) => axum(listener, router.layer(Identity::new())).await,
        (_, true) => axum(listener, router.layer(layer_of(REVOKED).await)).await,
    }
}

async fn hyper<S, R>(listener: TcpListener, service: S)
where
    S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    R: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    say_port(&listener);
    let service = TowerToHyperService::new(service);
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connection);
    }
}

async fn axum(listener: TcpListener, router: Router) {
    say_port(&listener);
    axum::serve(listener, router).await.expect("axum serves");
}

/// Prints the port, once the server is ready.
fn say_port(listener: &TcpListener) {
    println!("{}", listener.local_addr().expect("an address").port());
}

fn app<B>(_: Request<B>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::from(HELLO))))
}
