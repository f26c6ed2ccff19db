//! A layer that is shut down leaves no task and no descriptor, whatever its callers did.
//!
//! This binary has one test only, because the test counts the descriptors of its process.

use std::fs;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{once, pending};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use support::folder::Folder;
use support::site::Site;
use support::{bearer, impatient_builder, start_polar, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tower_polar_logout::testing::{FakePolar, Fault};
use tower_polar_logout::{Journal, TokenLocation};

const EACH: usize = 50;

/// Tasks of this runtime, and descriptors of this process.
fn held() -> (usize, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").expect("Linux").count();
    (Handle::current().metrics().num_alive_tasks(), descriptors)
}

fn address(site: &Site) -> &str {
    site.url.strip_prefix("http://").expect("a URL")
}

/// Sends a logout, whole or without its end, and hangs up.
async fn hang_up(site: &Site, token: &str, is_whole: bool) {
    let mut stream = TcpStream::connect(address(site)).await.expect("a connection");
    let (length, body) = if is_whole { (4, "a=b\n") } else { (1_000, "a=b") };
    let request = format!(
        "POST /logout HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{body}",
        bearer(token)
    );
    stream.write_all(request.as_bytes()).await.expect("it listens");
    if is_whole {
        stream.shutdown().await.expect("it is sent");
        // Reads until the server hangs up too, with or without an answer.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// Follows a stream until it ends because its token is revoked.
async fn follow(site: &Site, token: &str) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let request =
        Request::get(format!("{}/stream", site.url)).header("authorization", bearer(token));
    let request = request.body(Empty::new()).expect("a request");
    let mut body = client.request(request).await.expect("an answer").into_body();
    body.frame().await.expect("its beginning").expect("a frame");
    let headers = [("authorization", &*bearer(token))];
    let (rest, logout) = tokio::join!(body.collect(), site.post("/logout", &headers));
    assert!(rest.expect("an end").to_bytes().is_empty());
    assert!(logout.status.is_success());
}

async fn use_and_shut_down(polar: &FakePolar, folder: &Folder) {
    let journal = Journal::open(folder.file("journal")).expect("a journal");
    let layer = impatient_builder(polar)
        .refresh_token(TokenLocation::form("refresh_token"))
        .revocation_log(journal)
        .logout_deadline(Duration::from_millis(100))
        .build()
        .await
        .expect("a layer");
    let handle = layer.handle();
    let silence = || {
        let beginning = once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"begun")) });
        async { Body::from_stream(beginning.chain(pending())) }
    };
    let router = Router::new()
        .route("/stream", get(silence).layer(handle.end_streams()))
        .route("/me", any(async || "me"));
    let site = Site::start(router.layer(layer)).await;

    polar.behave_next(EACH, Fault::Delay(Duration::from_millis(1)));
    polar.behave_next(2, Fault::Drop);
    polar.behave_next(2, Fault::DropAfterRevoking);
    join_all((0..EACH).map(|n| {
        let (site, pairs) = (&site, [(); 5].map(|()| polar.mint()));
        async move {
            let [logged_out, gone, broken, followed, living] = pairs;
            let form = [
                ("authorization", &*bearer(&logged_out.access)),
                ("content-type", "application/x-www-form-urlencoded"),
            ];
            let body = format!("refresh_token={}", logged_out.refresh);
            let answer = site.send(http::Method::POST, "/logout", &form, body).await;
            assert!(answer.status.is_success(), "{n}: {answer:?}");
            let dead = [("authorization", &*bearer(&logged_out.access))];
            assert_eq!(site.get("/me", &dead).await.status, StatusCode::UNAUTHORIZED);
            hang_up(site, &gone.access, true).await;
            hang_up(site, &broken.access, false).await;
            follow(site, &followed.access).await;
            // This session is not logged out.
            let living = [("authorization", &*bearer(&living.access))];
            assert_eq!(site.get("/me", &living).await.status, StatusCode::OK);
        }
    }))
    .await;
    drop(site);
    assert_eq!(handle.shutdown(Duration::from_secs(60)).await.pending, 0, "all are delivered");
}

/// Before the shutdown there are logouts, callers that hang up, and streams.
#[tokio::test]
async fn shutdown_leaves_no_task_and_no_descriptor() {
    let folder = Folder::new("leaks");
    let polar = start_polar().await;
    let base = held();
    for round in 0..3 {
        use_and_shut_down(&polar, &folder).await;
        let mut left = held();
        until(&format!("round {round}: from {left:?} back to {base:?}"), || {
            left = held();
            left.0 <= base.0 && left.1 <= base.1
        })
        .await;
    }
}
