//! Over HTTP/2 a client may send each cookie in a field of its own (RFC 9113, section 8.2.3): what
//! an app reads out of these, on a real connection, the layer sees too.

#[path = "common/readers.rs"]
mod readers;

use std::convert::Infallible;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use self::readers::{read_by_apps, way_around};

const CASES: u64 = 300;

/// What a cookie field may begin, go on or end with.
const PIECES: [&str; 18] = [
    "token=abc",
    "token=",
    "token",
    "t%6fken=abc",
    "=",
    ";",
    "; ",
    "\"",
    "abc",
    "%41",
    "%",
    " ",
    "\t",
    ",",
    "a=1",
    "token=\"",
    "\u{e9}",
    "Token=x",
];

fn cookies(rng: &mut Rng) -> Vec<String> {
    let mut cookie = || (0..rng.usize(1..5)).map(|_| rng.choice(PIECES).expect("one")).collect();
    (0..5).map(|_| cookie()).collect()
}

/// An app behind a real server: answers how many tokens were read, and which gets around the layer.
async fn judge(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    let request = request.map(|_| Bytes::new());
    let fields = request.headers().get_all("cookie").iter().count();
    let read = read_by_apps(request.clone()).await.len();
    let way = way_around(request).await;
    let response = Response::builder().header("x-fields", fields).header("x-read", read);
    Ok(response.body(way.map(Full::from).unwrap_or_default()).expect("a response"))
}

#[tokio::test]
async fn cookies_in_fields_of_their_own_are_seen_as_apps_read_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (accepted, _) = accepted.expect("a client");
    let server = server::Builder::new(TokioExecutor::new());
    tokio::spawn(server.serve_connection(TokioIo::new(accepted), service_fn(judge)));
    let stream = TokioIo::new(stream.expect("a server"));
    let (mut client, connection) =
        client::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    tokio::spawn(connection);

    let mut read = 0;
    for seed in 0..CASES {
        let cookies = cookies(&mut Rng::with_seed(seed));
        let mut request = Request::get("http://localhost/");
        for cookie in &cookies {
            request = request.header("cookie", cookie.as_bytes());
        }
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let response = client.send_request(request).await.expect("an answer");
        assert_eq!(response.headers()["x-fields"], "5", "each arrives in a field of its own");
        read += response.headers()["x-read"].to_str().expect("text").parse::<u32>().expect("one");
        let way = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(way.is_empty(), "seed {seed}: {way:?} is read and not seen in {cookies:?}");
    }
    assert!(read > 300, "apps read no more than {read} tokens");
}
