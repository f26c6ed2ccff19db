//! The callers: those that only use the app, and those that log out, in every possible way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_polar_logout::testing::FakePolar;

use support::bearer;

/// Callers of each kind at each layer.
const OF_EACH_KIND: u64 = 4;
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) struct Load {
    stop: CancellationToken,
    callers: JoinSet<Option<()>>,
    counted: Arc<Counted>,
}

/// Counts of requests that were answered as expected.
#[derive(Default)]
struct Counted {
    requests: AtomicU64,
    rejected: AtomicU64,
    logouts: AtomicU64,
    hang_ups: AtomicU64,
    streams: AtomicU64,
}

impl Load {
    pub(crate) fn start(polar: &Arc<FakePolar>, ports: [u16; 2]) -> Self {
        let (stop, counted) = (CancellationToken::new(), Arc::default());
        let mut callers = JoinSet::new();
        for port in ports {
            for n in 0..OF_EACH_KIND {
                let caller = || Caller::of(port, polar, &counted);
                callers.spawn(stop.clone().run_until_cancelled_owned(caller().readers()));
                callers.spawn(stop.clone().run_until_cancelled_owned(caller().users(n)));
                callers.spawn(stop.clone().run_until_cancelled_owned(caller().followers()));
                callers.spawn(stop.clone().run_until_cancelled_owned(caller().slow_ones()));
                callers.spawn(stop.clone().run_until_cancelled_owned(caller().hang_ups()));
            }
        }
        Self { stop, callers, counted }
    }

    /// Stops the callers, and describes what they sent.
    pub(crate) async fn stop(mut self) -> String {
        self.stop.cancel();
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("every request was answered as expected");
        }
        let Counted { requests, rejected, logouts, hang_ups, streams } = &*self.counted;
        let [requests, rejected, logouts, hang_ups, streams] =
            [requests, rejected, logouts, hang_ups, streams].map(|n| n.load(Ordering::Relaxed));
        format!(
            "{requests} requests with living tokens, {rejected} with dead ones, {logouts} logouts, \
             {streams} streams that ended, {hang_ups} callers that hung up"
        )
    }
}

struct Caller {
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
    polar: Arc<FakePolar>,
    counted: Arc<Counted>,
}

impl Caller {
    fn of(port: u16, polar: &Arc<FakePolar>, counted: &Arc<Counted>) -> Self {
        Self {
            address: format!("127.0.0.1:{port}"),
            client: Client::builder(TokioExecutor::new()).build_http(),
            polar: Arc::clone(polar),
            counted: Arc::clone(counted),
        }
    }

    /// Request pages.
    async fn readers(self) {
        let living = bearer(&self.polar.mint().access);
        loop {
            self.get("/me", &living, StatusCode::OK).await;
            self.counted.requests.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Request some pages, log out in one of three ways, and are then rejected.
    async fn users(self, n: u64) {
        for round in n.. {
            let pair = self.polar.mint();
            let living = bearer(&pair.access);
            for _ in 0..10 {
                self.get("/me", &living, StatusCode::OK).await;
                self.counted.requests.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(5)).await;
            }
            let cookie = format!("access_token={}", pair.access);
            let form = format!("refresh_token={}", pair.refresh);
            match round % 3 {
                0 => self.log_out(&[("authorization", &living)], String::new()).await,
                1 => self.log_out(&[("cookie", &cookie)], String::new()).await,
                _ => {
                    let headers = [("authorization", &*living), ("content-type", FORM)];
                    self.log_out(&headers, form).await;
                }
            }
            self.get("/me", &living, StatusCode::UNAUTHORIZED).await;
            self.counted.rejected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Open a stream, which ends when they log out.
    async fn followers(self) {
        loop {
            let token = bearer(&self.polar.mint().access);
            let mut stream = self.get("/stream", &token, StatusCode::OK).await.into_body();
            stream.frame().await.expect("its beginning").expect("a frame");
            sleep(Duration::from_millis(300)).await;
            self.log_out(&[("authorization", &token)], String::new()).await;
            let rest = timeout(ENDS_WITHIN, stream.collect()).await;
            assert!(rest.expect("it ends").expect("in order").to_bytes().is_empty());
            self.counted.streams.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Send a body in small pieces. Half of them never send its end.
    async fn slow_ones(self) {
        for round in 0_u64.. {
            let body = format!("refresh_token={}", self.polar.mint().refresh);
            let mut stream = self.send_head("POST /upload", body.len()).await;
            let pieces = body.as_bytes().chunks(8);
            let some = if round.is_multiple_of(2) { pieces.len() } else { pieces.len() / 2 };
            for piece in pieces.take(some) {
                stream.write_all(piece).await.expect("it listens");
                sleep(Duration::from_millis(20)).await;
            }
            self.counted.hang_ups.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Do not wait for the answer to a logout, to half a logout, or to a slow request.
    async fn hang_ups(self) {
        loop {
            let body = format!("refresh_token={}", self.polar.mint().refresh);
            for (head, length, sent) in [
                ("POST /logout", body.len(), &*body),
                ("POST /logout", body.len() + 1, &body),
                ("GET /slow", 0, ""),
            ] {
                let mut stream = self.send_head(head, length).await;
                stream.write_all(sent.as_bytes()).await.expect("it listens");
                sleep(Duration::from_millis(50)).await;
                self.counted.hang_ups.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn send_head(&self, line: &str, length: usize) -> TcpStream {
        let token = bearer(&self.polar.mint().access);
        let head = format!(
            "{line} HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\ncontent-type: {FORM}\r\n\
             content-length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(&self.address).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("it listens");
        stream
    }

    async fn get(&self, path: &str, token: &str, expected: StatusCode) -> Response<Incoming> {
        let response =
            self.send(Method::GET, path, &[("authorization", token)], String::new()).await;
        assert_eq!(response.status(), expected, "{path}");
        response
    }

    async fn log_out(&self, headers: &[(&str, &str)], body: String) {
        let status = self.send(Method::POST, "/logout", headers, body).await.status();
        assert!([StatusCode::NO_CONTENT, StatusCode::ACCEPTED].contains(&status), "{status}");
        self.counted.logouts.fetch_add(1, Ordering::Relaxed);
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method);
        request = request.uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).expect("a request");
        self.client.request(request).await.expect("an answer")
    }
}
