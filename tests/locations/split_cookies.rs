//! Over HTTP/2 a client may send each cookie in a field of its own (RFC 9113, section 8.2.3). An
//! app reads no dead token from these fields. The connection is a real one.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use support::readers::{DEAD, Judge, Seed, is_read, is_replay, seeds};

const CASES: u64 = 300;

/// Pieces of a cookie field. `T` is the dead token.
const PIECES: [&str; 18] = [
    "token=T",
    "token=",
    "token",
    "t%6fken=T",
    "=",
    ";",
    "; ",
    "\"",
    "T",
    "%70olar_",
    "%",
    " ",
    "\t",
    ",",
    "a=1",
    "token=\"",
    "\u{e9}",
    "last_page=/?T",
];

fn cookies(rng: &mut Rng) -> Vec<String> {
    let mut cookie = || (0..rng.usize(1..5)).map(|_| *rng.choice(&PIECES).expect("one")).collect();
    (0..5).map(|_| cookie()).map(|it: String| it.replace('T', DEAD)).collect()
}

/// Runs in a real server. Answers whether an app would read the token without the layer, and panics
/// if an app reads it behind the layer.
async fn judge(
    judge: Arc<Judge>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    let request = request.map(|_| Bytes::new());
    let fields = request.headers().get_all("cookie").iter().count();
    let is_read = u64::from(is_read(&request).await);
    judge.judge(&request).await;
    let response = Response::builder().header("x-fields", fields).header("x-read", is_read);
    Ok(response.body(Full::default()).expect("a response"))
}

#[tokio::test]
async fn app_never_reads_dead_token_in_split_cookies() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (accepted, _) = accepted.expect("a client");
    let server = server::Builder::new(TokioExecutor::new());
    let with = Arc::new(Judge::new().await);
    let service = service_fn(move |request| judge(Arc::clone(&with), request));
    tokio::spawn(server.serve_connection(TokioIo::new(accepted), service));
    let stream = TokioIo::new(stream.expect("a server"));
    let (mut client, connection) =
        client::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    tokio::spawn(connection);

    let mut read = 0;
    for seed in seeds(CASES) {
        let _seed = Seed(seed);
        let cookies = cookies(&mut Rng::with_seed(seed));
        let mut request = Request::get("http://localhost/");
        for cookie in &cookies {
            request = request.header("cookie", cookie.as_bytes());
        }
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let response = client.send_request(request).await.expect("an answer");
        assert_eq!(response.headers()["x-fields"], "5", "each arrives in a field of its own");
        read += u64::from(response.headers()["x-read"] == "1");
    }
    assert!(is_replay() || read > CASES / 2, "apps would read the token in only {read} requests");
}
