//! Streams that wait for the revocation of their tokens, while tokens are revoked.

use std::future::pending;
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};
use tower_polar_logout::PolarLogoutLayer;

use crate::process::cpu;
use crate::subject::{self, RUNTIME};
use crate::table::{Goal, row};

const STREAMS: u32 = 10_000;
/// Streams whose tokens are revoked, one after the other.
const REVOKED_A_SECOND: u32 = 100;
const FOR: Duration = Duration::from_secs(10);

pub(crate) fn measure() {
    let layer = RUNTIME.block_on(subject::without_polar().build()).expect("a layer");
    let mut streams = RUNTIME.block_on(open(&layer));
    let (begun, before) = (Instant::now(), cpu());
    let mut revoked = 0;
    while begun.elapsed() < FOR {
        let order = subject::session_id(&subject::token(revoked));
        RUNTIME.block_on(layer.handle().revoke([order]));
        revoked += 1;
        let next = begun + Duration::from_secs(1) / REVOKED_A_SECOND * revoked;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let share = (cpu() - before) / begun.elapsed().as_secs_f64();
    RUNTIME.block_on(async {
        for _ in 0..revoked {
            streams.join_next().await.expect("a stream").expect("it ends");
        }
    });
    assert!(streams.try_join_next().is_none(), "no other stream has ended");
    row(
        "10,000 open streams that end when their token is revoked, 100 a second: share of a core",
        Goal::AtMost(5.0),
        share * 100.0,
        " %",
        &format!("{revoked} streams ended"),
    );
}

async fn open(layer: &PolarLogoutLayer) -> JoinSet<()> {
    let service = layer.handle().end_streams().layer(service_fn(async |_: Request<_>| {
        let silence = futures_util::stream::once(pending::<Result<bytes::Bytes, std::io::Error>>());
        Ok::<_, std::convert::Infallible>(Response::new(Body::from_stream(silence)))
    }));
    let service = layer.layer(service);
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let response = service.clone().oneshot(subject::bearer(&subject::token(n)));
        let body = response.await.expect("an answer").into_body();
        streams.spawn(async {
            body.collect().await.expect("an end");
        });
    }
    streams
}
