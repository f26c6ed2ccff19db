//! The reverse proxy as a process of its own, between real sockets.

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use support::log::soon;
use support::site::{Site, call};
use support::{Answer, bearer, start_polar};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tower_polar_logout::testing::{FakePolar, Fault};

/// The proxy's settings. No test inherits them from its environment.
const VARIABLES: [&str; 7] = [
    "LISTEN_ADDR",
    "POLAR_CLIENT_ID",
    "POLAR_CLIENT_SECRET",
    "POLAR_SERVER",
    "TRUST_FORWARDED",
    "UPSTREAM",
    "UPSTREAM_TIMEOUT",
];

/// A running proxy.
struct Proxy {
    url: String,
    output: Lines<BufReader<ChildStdout>>,
    process: Child,
}

impl Proxy {
    async fn start(upstream: &str, settings: &[(&str, &str)]) -> Self {
        let mut process = command(&[("UPSTREAM", upstream), ("LISTEN_ADDR", "127.0.0.1:0")])
            .envs(settings.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output")).lines();
        let first = soon(output.next_line()).await.expect("text").expect("a line");
        let url = first.strip_prefix("listening on ").expect("the address").to_owned();
        Self { url, output, process }
    }

    /// Starts a proxy with a stand-in for Polar that the test can inspect.
    async fn start_with(polar: &FakePolar, upstream: &str, settings: &[(&str, &str)]) -> Self {
        let url = polar.url();
        let of_polar = [
            ("POLAR_CLIENT_ID", polar.client_id()),
            ("POLAR_CLIENT_SECRET", polar.client_secret()),
            ("POLAR_SERVER", &url),
        ];
        Self::start(upstream, &[&of_polar[..], settings].concat()).await
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        soon(call(&self.url, method, path, headers, "")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    async fn line(&self) -> Line {
        let address = self.url.strip_prefix("http://").expect("an address");
        Line::new(TcpStream::connect(address).await.expect("a connection"))
    }

    /// The status of the answer to these bytes.
    async fn status_of(&self, request: &str) -> String {
        let mut line = self.line().await;
        line.say(request).await;
        line.head().await.split(' ').nth(1).expect("a status").to_owned()
    }

    /// Sends Ctrl-C, as a terminal does.
    async fn interrupt(&self) {
        support::example::signal(self.process.id().expect("it runs"), "INT").await;
    }

    async fn ended(&mut self) -> ExitStatus {
        soon(self.process.wait()).await.expect("it ends")
    }
}

fn command(settings: &[(&str, &str)]) -> Command {
    static PROXY: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PROXY.get_or_init(|| support::example::build("reverse_proxy")));
    support::example::set(&mut command, &VARIABLES, settings);
    command
}

/// One end of a connection, on which the test writes HTTP by hand.
struct Line(BufReader<TcpStream>);

impl Line {
    fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("it is sent");
    }

    /// Everything up to the empty line, in lower case.
    async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = soon(self.0.read_line(&mut head)).await.expect("text");
            assert!(read > 0, "the connection ended after: {head:?}");
        }
        head.to_ascii_lowercase()
    }

    async fn hears(&mut self, expected: &str) {
        let mut heard = vec![0; expected.len()];
        soon(self.0.read_exact(&mut heard)).await.expect("as many bytes");
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }
}

/// An app whose answers the test writes by hand.
struct ByHand {
    url: String,
    listener: TcpListener,
}

impl ByHand {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        Self { url, listener }
    }

    async fn accept(&self) -> Line {
        Line::new(soon(self.listener.accept()).await.expect("a connection").0)
    }
}

/// An app that sends each body back while it arrives, and the path in `x-path`.
async fn echo() -> Site {
    let echo = async |request: Request| {
        let (parts, body) = request.into_parts();
        let mut response = Response::new(body);
        response.headers_mut().insert("x-path", parts.uri.path().parse().expect("text"));
        response
    };
    Site::start(Router::new().fallback(echo)).await
}

/// Eight megabytes in chunks. Each chunk comes back before the next one is sent.
#[tokio::test]
async fn bodies_stream_both_ways_without_delay() {
    const CHUNK: usize = 64 * 1024;
    let app = echo().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    let (chunks, body) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(stream::unfold(body, async |mut body| {
        Some((Ok::<_, Infallible>(Frame::data(body.recv().await?)), body))
    }));
    let request = http::Request::post(format!("{}/echo", proxy.url)).body(Box::pin(body));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::spawn(client.request(request.expect("a request")));
    chunks.send(Bytes::from(vec![0; CHUNK])).await.expect("it is taken");
    let mut answer = soon(answer).await.expect("no panic").expect("an answer");
    assert_eq!(answer.headers()["x-path"], "/echo");
    for n in 0..128_u8 {
        let mut back = Vec::new();
        while back.len() < CHUNK {
            let frame = soon(answer.frame()).await.expect("there is more").expect("it is whole");
            back.extend_from_slice(&frame.into_data().expect("data"));
        }
        assert!(back.len() == CHUNK && back.iter().all(|byte| *byte == n), "chunk {n}");
        if n < 127 {
            chunks.send(Bytes::from(vec![n + 1; CHUNK])).await.expect("it is taken");
        }
    }
    drop(chunks);
    assert!(soon(answer.frame()).await.is_none(), "the body ends");
}

#[tokio::test]
async fn hop_by_hop_headers_are_removed_both_ways() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    let mut caller = proxy.line().await;
    caller
        .say(
            "GET /a%20b?c=d HTTP/1.1\r\nHost: app.example\r\n\
             Connection: keep-alive, X-Mine, Host\r\n\
             Connection: upgrade\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers, deflate\r\n\
             Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Forwarded-For: 6.6.6.6\r\n\
             X-Forwarded-Port: 6\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
             X-Passes: yes\r\n\r\n",
        )
        .await;
    let mut upstream = app.accept().await;
    let head = upstream.head().await;
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "get /a%20b?c=d http/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "connection: te",
            "host: app.example",
            "te: trailers",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: app.example",
            "x-forwarded-proto: http",
            "x-passes: yes",
        ]
    );
    upstream
        .say(
            "HTTP/1.1 200 OK\r\nConnection: close, X-Theirs\r\nX-Theirs: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nX-Passes: yes\r\n\
             Content-Length: 2\r\n\r\nok",
        )
        .await;
    let head = caller.head().await;
    let mut lines: Vec<_> =
        head.trim_end().split("\r\n").filter(|line| !line.starts_with("date:")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["content-length: 2", "http/1.1 200 ok", "x-passes: yes"]);
    caller.hears("ok").await;
}

/// A proxy in front of this one sets them, and this one adds its own caller.
#[tokio::test]
async fn forwarded_headers_are_kept_when_trusted() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[("TRUST_FORWARDED", "1")]).await;
    let mut caller = proxy.line().await;
    caller
        .say(
            "GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 192.0.2.1\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.example\r\n\r\n",
        )
        .await;
    let head = app.accept().await.head().await;
    for line in [
        "host: inner",
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: app.example",
    ] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {head}");
    }
}

/// An app that merges trailers into the headers would read a token that the layer has not seen.
#[tokio::test]
async fn request_trailers_do_not_reach_the_app() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    let mut caller = proxy.line().await;
    caller
        .say(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\
             Trailer: Authorization, X-Forwarded-For\r\n\r\n4\r\nbody\r\n0\r\n\
             Authorization: Bearer t\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
        )
        .await;
    let mut upstream = app.accept().await;
    let head = upstream.head().await;
    assert!(!head.contains("\r\ntrailer:"), "{head}");
    assert!(head.contains("\r\nte: trailers\r\n"), "the answer may have trailers: {head}");
    upstream.hears("4\r\nbody\r\n0\r\n\r\n").await;
    upstream.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(caller.head().await.starts_with("http/1.1 204 "));
    // The next request is read from its beginning.
    caller.say("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(upstream.head().await.starts_with("get /next "));
}

/// Over HTTP/2 as well, whose trailers need no announcement.
#[tokio::test]
async fn axum_app_sees_the_body_without_trailers() {
    let tell = async |request: Request| {
        let named = request.headers().contains_key("trailer");
        let body = request.into_body().collect().await.expect("a body");
        let has_trailers = body.trailers().is_some();
        format!("{:?} {named} {has_trailers}", body.to_bytes())
    };
    let app = Site::start(Router::new().fallback(tell)).await;
    let proxy = Proxy::start(&app.url, &[]).await;
    for client in [
        Client::builder(TokioExecutor::new()).http2_only(true).build_http(),
        Client::builder(TokioExecutor::new()).build_http(),
    ] {
        let trailers = http::HeaderMap::from_iter([(
            http::header::AUTHORIZATION,
            http::HeaderValue::from_static("Bearer t"),
        )]);
        let frames = [Frame::data(Bytes::from_static(b"body")), Frame::trailers(trailers)];
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
        let request = http::Request::post(&proxy.url).header("trailer", "authorization").body(body);
        let answer = soon(client.request(request.expect("a request"))).await.expect("an answer");
        assert_eq!(Answer::read(answer).await.body, "b\"body\" false false");
    }
}

/// The handshake of RFC 6455, section 1.2, without the empty line at its end.
const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: app.example\r\nUpgrade: WebSocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[tokio::test]
async fn websocket_carries_bytes_until_one_side_hangs_up() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    let mut caller = proxy.line().await;
    caller.say(&format!("{HANDSHAKE}\r\nat once")).await;
    let mut upstream = app.accept().await;
    let head = upstream.head().await;
    assert!(head.starts_with("get /chat http/1.1\r\n"), "{head}");
    for line in ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    upstream.say(&format!("{SWITCHED}welcome")).await;
    let head = caller.head().await;
    assert!(head.starts_with("http/1.1 101 ") && head.contains("\r\nupgrade: websocket\r\n"));
    assert!(head.contains("\r\nsec-websocket-accept: "), "{head}");
    caller.hears("welcome").await;
    upstream.hears("at once").await;
    for n in 0..100 {
        caller.say(&format!("ping {n}")).await;
        upstream.hears(&format!("ping {n}")).await;
        upstream.say(&format!("pong {n}")).await;
        caller.hears(&format!("pong {n}")).await;
    }
    drop(caller);
    let left = soon(upstream.0.read(&mut [0])).await;
    assert!(matches!(left, Ok(0) | Err(_)), "the app sees the end of the connection");
}

#[tokio::test]
async fn open_websocket_survives_revocation_of_its_token() {
    let polar = start_polar().await;
    let app = ByHand::start().await;
    let proxy = Proxy::start_with(&polar, &app.url, &[]).await;
    let authorization = bearer(&polar.mint().access);
    let mut caller = proxy.line().await;
    caller.say(&format!("{HANDSHAKE}Authorization: {authorization}\r\n\r\n")).await;
    let mut upstream = app.accept().await;
    upstream.head().await;
    upstream.say(SWITCHED).await;
    caller.head().await;
    proxy.send(Method::POST, "/logout", &[("authorization", &authorization)]).await;
    polar.revoked(1).await;
    caller.say("ping").await;
    upstream.hears("ping").await;
    upstream.say("pong").await;
    caller.hears("pong").await;
}

/// The outer request states two lengths: `Content-Length`, and chunks.
#[tokio::test]
async fn smuggled_request_does_not_reach_the_app() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    let mut caller = proxy.line().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    caller
        .say(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\
             Connection: Content-Length\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len(),
            hidden.len(),
        ))
        .await;
    let mut upstream = app.accept().await;
    let head = upstream.head().await;
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert!(!head.contains("content-length"), "one length only: {head}");
    upstream.hears(&format!("{:X}\r\n{hidden}\r\n0\r\n\r\n", hidden.len())).await;
}

#[tokio::test]
async fn unrequested_protocol_switch_is_502() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    let switched_to = |protocol: &str| SWITCHED.replace("websocket", protocol);
    for (request, answer) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), switched_to("websocket")),
        (format!("{HANDSHAKE}\r\n"), switched_to("h2c")),
    ] {
        let answered = async {
            let mut upstream = app.accept().await;
            upstream.head().await;
            upstream.say(&answer).await;
            upstream
        };
        let (status, _upstream) = tokio::join!(proxy.status_of(&request), answered);
        assert_eq!(status, "502", "{request}");
    }
}

/// The layer answers these requests itself, and also rejects a WebSocket handshake.
#[tokio::test]
async fn app_never_sees_dead_tokens_or_logouts() {
    let polar = start_polar().await;
    let app = ByHand::start().await;
    let proxy = Proxy::start_with(&polar, &app.url, &[]).await;
    let pair = polar.mint();
    let authorization = bearer(&pair.access);
    let headers = [("authorization", &*authorization)];
    let answer = proxy.send(Method::POST, "/logout", &headers).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(!polar.is_alive(&pair.access) && !polar.is_alive(&pair.refresh));
    assert_eq!(proxy.send(Method::GET, "/me", &headers).await.status, StatusCode::UNAUTHORIZED);
    let handshake = format!("{HANDSHAKE}Authorization: {authorization}\r\n\r\n");
    assert_eq!(proxy.status_of(&handshake).await, "401", "the handshake is rejected");

    // The first request that reaches the app has a living token.
    let living = bearer(&polar.mint().access);
    let request = format!("GET /living HTTP/1.1\r\nHost: a\r\nAuthorization: {living}\r\n\r\n");
    let answered = async {
        let mut upstream = app.accept().await;
        let head = upstream.head().await;
        upstream.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        (upstream, head)
    };
    let (status, (_upstream, head)) = tokio::join!(proxy.status_of(&request), answered);
    assert_eq!(status, "204");
    assert!(head.starts_with("get /living "), "{head}");
}

/// PHP reads `a.b`, `a[b` and `a b` as `a_b`, so a dead token could come under another name.
#[tokio::test]
async fn dead_token_reaches_no_app_under_another_name() {
    let polar = start_polar().await;
    let cookies = async |request: Request| {
        let cookies = request.headers().get_all("cookie").iter();
        cookies.map(|it| it.to_str().expect("text").to_owned()).collect::<Vec<_>>().join("|")
    };
    let app = Site::start(Router::new().fallback(cookies)).await;
    let proxy = Proxy::start_with(&polar, &app.url, &[]).await;
    let (dead, alive) = (polar.mint().access, polar.mint().access);
    let own = format!("access_token={dead}");
    let answer = proxy.send(Method::POST, "/logout", &[("cookie", &own)]).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    for name in ["access.token", "access[token", "access token", " access.token", "access%2Etoken"]
    {
        let both = |token: &str| {
            [format!("theme=dark; {name}={token}; a.b[c=d"), format!("{name}={token}")]
        };
        let [first, second] = both(&dead);
        let headers = [("cookie", &*first), ("cookie", &*second)];
        let answer = proxy.send(Method::GET, "/me", &headers).await;
        assert_eq!(
            (answer.status, &*answer.body),
            (StatusCode::OK, "theme=dark; a.b[c=d"),
            "{name}"
        );
        let [first, second] = both(&alive);
        let headers = [("cookie", &*first), ("cookie", &*second)];
        let answer = proxy.send(Method::GET, "/me", &headers).await;
        assert_eq!(answer.body, format!("{first}|{}", second.trim()), "{name}");
    }
}

/// A stand-in for Polar mints the token. After its logout it is rejected.
#[tokio::test]
async fn proxy_without_credentials_prints_a_usable_token() {
    let app = echo().await;
    let mut proxy = Proxy::start(&app.url, &[]).await;
    let token = loop {
        let line = soon(proxy.output.next_line()).await.expect("text").expect("a line");
        if let Some((_, rest)) = line.split_once("Authorization: Bearer ") {
            break rest.split('\'').next().expect("a token").to_owned();
        }
    };
    let authorization = bearer(&token);
    let headers = [("authorization", &*authorization)];
    assert_eq!(proxy.send(Method::GET, "/", &headers).await.status, StatusCode::OK);
    let answer = proxy.send(Method::POST, "/logout", &headers).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "confirmed");
    assert_eq!(proxy.send(Method::GET, "/", &headers).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn app_down_or_without_http_is_502() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    let garbled = async {
        let mut upstream = app.accept().await;
        upstream.head().await;
        upstream.say("220 mail.example ESMTP\r\n").await;
    };
    let (answer, ()) = tokio::join!(proxy.get("/"), garbled);
    assert_eq!((answer.status, &*answer.body), (StatusCode::BAD_GATEWAY, "502 Bad Gateway\n"));
    drop(app);
    assert_eq!(proxy.get("/").await.status, StatusCode::BAD_GATEWAY);
}

/// Each slow answer takes the whole limit. The caller sends its last bytes after two of them.
#[tokio::test]
async fn slow_app_is_504_but_slow_caller_succeeds() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[("UPSTREAM_TIMEOUT", "1")]).await;
    let mut caller = proxy.line().await;
    caller.say("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nfir").await;
    let mut upstream = app.accept().await;
    upstream.head().await;
    upstream.hears("fir").await;
    for _ in 0..2 {
        let (answer, _silent) = tokio::join!(proxy.get("/"), app.accept());
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    }
    caller.say("st!").await;
    upstream.hears("st!").await;
    upstream.say("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
    assert!(caller.head().await.starts_with("http/1.1 201 "));
}

#[tokio::test]
async fn malformed_request_is_400() {
    let app = echo().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b:1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \"a\"\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: caf\u{e9}\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "CONNECT http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n",
    ] {
        assert_eq!(proxy.status_of(request).await, "400", "{request}");
    }
    for host in ["a", "A.example:8080", "127.0.0.1:80", "[::1]", "[::1]:3000", "a_b.example", "a:"]
    {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(proxy.status_of(&request).await, "200", "{host}");
    }
    // The host of the request line takes precedence (RFC 9112, section 3.2.2).
    let absolute = "GET http://a/b HTTP/1.1\r\nHost: ignored\r\n\r\n";
    assert_eq!(proxy.status_of(absolute).await, "200");
}

#[tokio::test]
async fn malformed_body_is_400() {
    let app = ByHand::start().await;
    let proxy = Proxy::start(&app.url, &[]).await;
    let broken = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n";
    let (status, _upstream) = tokio::join!(proxy.status_of(broken), app.accept());
    assert_eq!(status, "400");
}

/// Ctrl-C comes while an answer is half sent and a token is not yet delivered.
#[tokio::test]
async fn proxy_exits_after_pending_answers_and_revocations() {
    let polar = start_polar().await;
    let app = ByHand::start().await;
    let mut proxy = Proxy::start_with(&polar, &app.url, &[]).await;
    polar.behave(Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None });
    let authorization = bearer(&polar.mint().access);
    let answer = proxy.send(Method::POST, "/logout", &[("authorization", &authorization)]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "the token is not yet delivered");

    let mut caller = proxy.line().await;
    caller.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = app.accept().await;
    upstream.head().await;
    upstream.say("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nbefore").await;
    caller.head().await;
    caller.hears("before").await;
    polar.recover();
    proxy.interrupt().await;
    upstream.say(" after").await;
    caller.hears(" after").await;
    assert!(proxy.ended().await.success());
    polar.revoked(1).await;
}

#[tokio::test]
async fn bad_settings_end_in_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("one").to_string();
    let upstream = ("UPSTREAM", "http://127.0.0.1:8000");
    let id = ("POLAR_CLIENT_ID", "polar_ci_1");
    let secret = ("POLAR_CLIENT_SECRET", "polar_cs_hidden");
    for (settings, advice) in [
        (vec![], "UPSTREAM is not set"),
        (vec![("UPSTREAM", "")], "UPSTREAM must be"),
        (vec![("UPSTREAM", "127.0.0.1:8000")], "UPSTREAM must be"),
        (vec![("UPSTREAM", "https://app.example")], "UPSTREAM must be"),
        (vec![("UPSTREAM", "http://app.example/path")], "UPSTREAM must be"),
        (vec![("UPSTREAM", "http://user:polar_cs_hidden@app.example")], "UPSTREAM must be"),
        (vec![upstream, ("LISTEN_ADDR", &*address)], "give a free address"),
        (vec![upstream, ("LISTEN_ADDR", "nowhere")], "cannot listen on LISTEN_ADDR `nowhere`"),
        (vec![upstream, ("UPSTREAM_TIMEOUT", "0")], "give 1 to 86400 seconds"),
        (vec![upstream, ("UPSTREAM_TIMEOUT", "soon")], "give 1 to 86400 seconds"),
        (vec![upstream, ("TRUST_FORWARDED", "yes")], "give 0 or 1"),
        (vec![upstream, id], "POLAR_CLIENT_SECRET is not set"),
        (vec![upstream, secret], "POLAR_CLIENT_ID is not set"),
        (vec![upstream, ("POLAR_SERVER", "sandbox")], "POLAR_SERVER is set, but"),
    ] {
        let output = soon(command(&settings).output()).await.expect("it ends");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {error}");
        assert!(error.starts_with("reverse_proxy: ") && error.contains(advice), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("polar_cs_hidden"));
    }
}
