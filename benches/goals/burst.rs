//! Ten thousand logouts at once, with a Polar that answers after 12 ms. The layer and the stand-in
//! for Polar have a process each.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt, service_fn};
use tower_polar_logout::testing::{FakePolar, Fault};
use tower_polar_logout::{ClientCredentials, PolarServer};

use crate::process::{Process, cpu, most_resident, resident};
use crate::subject::{self, RUNTIME, app};
use crate::table::{Goal, row};

const LOGOUTS: u32 = 10_000;
/// The layer's default for `max_in_flight`.
const AT_ONCE: usize = 4;
const POLAR_TAKES: Duration = Duration::from_millis(12);
/// The layer's default of two seconds, plus a twentieth for the clocks and the scheduler.
const DEADLINE: f64 = 2.1;
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn measure() {
    let ([longest, confirmed, cpu_answered, cpu, before, peak], [calls, most_at_once]) =
        beside_polar("burst");
    let ([floor], _) = beside_polar("calls");

    let what = "10,000 concurrent logouts, Polar answering after 12 ms";
    row(
        &format!("{what}: the longest wait, with a deadline of 2 s"),
        Goal::AtMost(DEADLINE),
        longest,
        " s",
        &format!("{confirmed} confirmed within it; {calls} calls, at most {most_at_once} at once"),
    );
    row(
        &format!("{what}: CPU for each, delivery included"),
        Goal::AtMost(50.0),
        cpu,
        " µs",
        &format!(
            "{cpu_answered:.0} µs until the last was answered; hyper's client alone takes \
             {floor:.0} µs for each of these calls"
        ),
    );
    row(
        &format!("{what}: peak memory of the process"),
        Goal::None,
        peak / MIB,
        " MiB",
        &format!("{:.0} MiB before", before / MIB),
    );
}

/// Runs a child that calls Polar. Returns the figures that it prints, and how many calls Polar
/// received, and how many at the same time.
fn beside_polar<const FIGURES: usize>(child: &str) -> ([f64; FIGURES], [f64; 2]) {
    let mut polar = Process::start(&["child", "polar"]);
    let (url, id, secret) = (polar.line(), polar.line(), polar.line());
    let mut child = Process::start(&["child", child, &url, &id, &secret]);
    let figures = [(); FIGURES].map(|()| child.number());
    polar.close();
    (figures, [(); 2].map(|()| polar.number()))
}

pub(crate) fn polar() {
    let runtime = Runtime::new().expect("a runtime");
    let polar = runtime.block_on(FakePolar::start()).expect("a port");
    polar.behave(Fault::Delay(POLAR_TAKES));
    println!("{}\n{}\n{}", polar.url(), polar.client_id(), polar.client_secret());
    io::copy(&mut io::stdin(), &mut io::sink()).expect("the end of it");
    println!("{}\n{}", polar.seen().revoke_calls, polar.seen().most_in_flight);
}

pub(crate) fn child(url: &str, id: &str, secret: &str) {
    let credentials = ClientCredentials::new(id, secret);
    let builder = subject::builder(PolarServer::Url(url.to_owned()), credentials);
    let layer = RUNTIME.block_on(builder.build()).expect("a layer");
    let service = layer.layer(service_fn(app));
    let requests: Vec<_> = (0..LOGOUTS).map(|n| logout(&subject::token(n))).collect();
    let (before, cpu_before) = (resident(), cpu());

    let begun = Instant::now();
    let answers = requests.into_iter().map(|request| async {
        let answer = service.clone().oneshot(request).await;
        assert!(answer.expect("an answer").status().is_success());
        begun.elapsed()
    });
    let waits = RUNTIME.block_on(join_all(answers));
    let confirmed = layer.handle().counts().confirmed;
    let answered = each(cpu() - cpu_before);
    let left = RUNTIME.block_on(layer.handle().shutdown(DRAINED_WITHIN));
    assert_eq!(left.pending, 0, "all are delivered in the end");
    let longest = waits.iter().max().expect("some").as_secs_f64();
    println!(
        "{longest}\n{confirmed}\n{answered}\n{}\n{before}\n{}",
        each(cpu() - cpu_before),
        most_resident()
    );
}

/// The least CPU time for these calls: hyper's client alone, with as many calls at once.
pub(crate) fn calls(url: &str, id: &str, secret: &str) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let calls = (0..LOGOUTS).map(|n| {
        let form = format!("token={}&client_id={id}&client_secret={secret}", subject::token(n));
        let call = Request::post(format!("{url}/v1/oauth2/revoke"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::<Bytes>::from(form))
            .expect("a request");
        let client = client.clone();
        async move {
            let answer = client.request(call).await.expect("an answer");
            assert!(answer.status().is_success());
            answer.into_body().collect().await.expect("a body");
        }
    });
    let calls: Vec<_> = calls.collect();
    let before = cpu();
    RUNTIME.block_on(stream::iter(calls).buffer_unordered(AT_ONCE).for_each(async |()| {}));
    println!("{}", each(cpu() - before));
}

/// The CPU time of a logout in microseconds, from that of all in seconds.
fn each(cpu: f64) -> f64 {
    cpu * 1e6 / f64::from(LOGOUTS)
}

fn logout(token: &str) -> Request<axum::body::Body> {
    let mut request = subject::bearer(token);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/logout".parse().expect("a path");
    request
}
