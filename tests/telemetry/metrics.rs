//! The metrics, as an exporter for Prometheus writes them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString,
    Unit,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use support::site::Site;
use support::{App, Server, bearer, builder, start_polar, until};
use tower::service_fn;
use tower_polar_logout::client::PolarClient;
use tower_polar_logout::testing::{Fault, MemoryLog};
use tower_polar_logout::{
    ClientCredentials, LogoutHandle, LogoutOutcome, PolarLogoutLayer, Revocation, TokenLocation,
    WhenRevoked,
};

const AT_ONCE: Duration = Duration::from_millis(1);

/// Collects the metrics of this thread's layers until it is dropped.
struct Monitor {
    exported: PrometheusHandle,
    _guard: LocalRecorderGuard<'static>,
}

impl Monitor {
    fn start() -> Self {
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let exported = recorder.handle();
        Self { exported, _guard: metrics::set_default_local_recorder(recorder) }
    }

    /// The value of a series, which is a name, with a label if it has one.
    fn value(&self, series: &str) -> f64 {
        let text = self.exported.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("no `{series}` in {text}"));
        line.parse().expect("a number")
    }

    #[track_caller]
    fn assert(&self, expected: &[(&str, u32)]) {
        for (series, value) in expected {
            assert_eq!(self.value(series).to_string(), value.to_string(), "{series}");
        }
    }

    /// Waits for a gauge, which the layer sets every second.
    async fn until(&self, series: &str, condition: impl Fn(f64) -> bool) {
        until(series, || condition(self.value(series))).await;
    }
}

fn access(token: &str) -> Revocation {
    Revocation::access_token(token).expect("a token")
}

async fn revoke(handle: &LogoutHandle, token: &str) -> LogoutOutcome {
    handle.revoke([access(token)]).await
}

#[tokio::test]
async fn every_request_is_counted_by_its_verdict() {
    let monitor = Monitor::start();
    let polar = start_polar().await;
    let layer = builder(&polar)
        .max_body_size(100)
        .when_revoked_at("/public", WhenRevoked::Anonymous)
        .build()
        .await
        .expect("a layer");
    let refresh = any(async || "a new pair").layer(layer.handle().check_body());
    let app = Router::new().route("/refresh", refresh).fallback(async || "a page").layer(layer);
    let app = Site::start(app).await;
    let token = polar.mint().access;
    let authorization = bearer(&token);
    let headers = [("authorization", &*authorization)];
    let refresh = |headers, body: String| app.send(Method::POST, "/refresh", headers, body);
    monitor.assert(&[("polar_logout_requests_total{verdict=\"passed\"}", 0)]);

    // The token lives.
    app.get("/me", &headers).await;
    app.get("/public", &headers).await;
    refresh(&headers, format!("token={token}")).await;
    // It is logged out twice.
    app.post("/logout", &headers).await;
    app.post("/logout", &headers).await;
    // It is dead.
    assert_eq!(app.get("/me", &headers).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.get("/public", &headers).await.status, StatusCode::OK);
    let in_body = refresh(&[], format!("token={token}")).await;
    assert_eq!(in_body.status, StatusCode::UNAUTHORIZED);
    let too_large = refresh(&[], "x".repeat(101)).await;
    assert_eq!(too_large.status, StatusCode::PAYLOAD_TOO_LARGE);

    let forced = [("cookie", &*format!("access_token={token}")), ("sec-fetch-site", "cross-site")];
    assert_eq!(app.post("/logout", &forced).await.status, StatusCode::FORBIDDEN);

    monitor.assert(&[
        ("polar_logout_requests_total{verdict=\"passed\"}", 5),
        ("polar_logout_requests_total{verdict=\"cross_site\"}", 1),
        ("polar_logout_requests_total{verdict=\"logout\"}", 2),
        ("polar_logout_requests_total{verdict=\"rejected\"}", 2),
        ("polar_logout_requests_total{verdict=\"stripped\"}", 1),
        ("polar_logout_requests_total{verdict=\"unreadable\"}", 1),
        ("polar_logout_requests_total{verdict=\"unsure\"}", 0),
        ("polar_logout_logouts_total{outcome=\"confirmed\"}", 2),
        ("polar_logout_logouts_total{outcome=\"no_token\"}", 0),
        ("polar_logout_attempts_total", 1),
        ("polar_logout_confirmed_total", 1),
        ("polar_logout_polar_call_duration_seconds_count{result=\"confirmed\"}", 1),
    ]);
    let took = monitor.value("polar_logout_polar_call_duration_seconds_sum{result=\"confirmed\"}");
    assert!(took > 0.0 && took < 60.0, "{took} seconds");
    monitor.until("polar_logout_denylist_size", |size| size > 0.0).await;
    monitor.assert(&[
        ("polar_logout_denylist_size", 1),
        ("polar_logout_denylist_capacity", 1_000_000),
    ]);
}

/// The gauges return to zero when Polar is back.
#[tokio::test]
async fn pending_tokens_are_counted_while_polar_is_down() {
    let monitor = Monitor::start();
    let polar = start_polar().await;
    let handle = builder(&polar).logout_deadline(AT_ONCE).build().await.expect("a layer").handle();
    polar.behave(Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None });
    for _ in 0..2 {
        assert_eq!(revoke(&handle, &polar.mint().access).await, LogoutOutcome::Pending);
    }
    monitor.until("polar_logout_pending", |pending| pending >= 2.0).await;
    monitor.until("polar_logout_oldest_pending_age_seconds", |age| age > 0.0).await;
    monitor.until("polar_logout_attempts_total", |attempts| attempts >= 2.0).await;
    monitor.assert(&[
        ("polar_logout_pending", 2),
        ("polar_logout_logouts_total{outcome=\"pending\"}", 2),
        ("polar_logout_confirmed_total", 0),
    ]);
    let failed = "polar_logout_polar_call_duration_seconds_count{result=\"server_error\"}";
    until("a call has failed", || monitor.exported.render().contains(failed)).await;

    polar.recover();
    monitor.until("polar_logout_confirmed_total", |confirmed| confirmed >= 2.0).await;
    monitor.until("polar_logout_pending", |pending| pending < 1.0).await;
    monitor.assert(&[
        ("polar_logout_pending", 0),
        ("polar_logout_oldest_pending_age_seconds", 0),
        ("polar_logout_confirmed_total", 2),
        ("polar_logout_polar_call_duration_seconds_count{result=\"confirmed\"}", 2),
    ]);
    let counts = handle.counts();
    assert_eq!(
        monitor.value("polar_logout_attempts_total").to_string(),
        counts.attempts.to_string()
    );
}

#[tokio::test]
async fn dead_letter_is_counted() {
    let monitor = Monitor::start();
    let polar = start_polar().await;
    let handle = builder(&polar).build().await.expect("a layer").handle();
    let foreign = polar.mint_for_another_client().access;
    assert_eq!(revoke(&handle, &foreign).await, LogoutOutcome::Refused);
    monitor.assert(&[
        ("polar_logout_dead_letters_total", 1),
        ("polar_logout_confirmed_total", 0),
        ("polar_logout_logouts_total{outcome=\"refused\"}", 1),
        ("polar_logout_polar_call_duration_seconds_count{result=\"refused\"}", 1),
    ]);
}

/// For example, an encrypted cookie in the place of a Polar token.
#[tokio::test]
async fn unrecognized_token_is_counted() {
    let monitor = Monitor::start();
    let polar = start_polar().await;
    let handle = builder(&polar).build().await.expect("a layer").handle();
    monitor.assert(&[("polar_logout_unrecognized_total", 0)]);
    assert_eq!(revoke(&handle, "encrypted-0123456789").await, LogoutOutcome::Unrecognized);
    monitor.assert(&[
        ("polar_logout_unrecognized_total", 1),
        ("polar_logout_attempts_total", 0),
        ("polar_logout_logouts_total{outcome=\"unrecognized\"}", 1),
    ]);
    assert_eq!(handle.counts().unrecognized, 1);
}

#[tokio::test]
async fn refusal_by_full_denylist_is_counted() {
    let monitor = Monitor::start();
    let polar = start_polar().await;
    let handle = builder(&polar).denylist_capacity(1).build().await.expect("a layer").handle();
    revoke(&handle, &polar.mint().access).await;
    assert_eq!(revoke(&handle, &polar.mint().access).await, LogoutOutcome::Full);
    monitor.assert(&[
        ("polar_logout_denylist_refused_total", 1),
        ("polar_logout_denylist_capacity", 1),
        ("polar_logout_logouts_total{outcome=\"full\"}", 1),
    ]);
}

#[tokio::test(start_paused = true)]
async fn delivery_pauses_as_long_as_polar_asks() {
    let monitor = Monitor::start();
    let calls = Arc::new(AtomicUsize::new(0));
    let transport = service_fn(move |_: Request<Full<Bytes>>| {
        let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        let (status, wait) = if is_first { (429, "60") } else { (200, "0") };
        let answer = Response::builder().status(status).header("retry-after", wait);
        std::future::ready(Ok::<_, Infallible>(answer.body(Full::<Bytes>::default()).unwrap()))
    });
    let client = PolarClient::builder(ClientCredentials::new("id", "secret")).transport(transport);
    let layer = PolarLogoutLayer::builder(client)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .build()
        .await
        .expect("a layer");
    let token = "polar_at_u_0000000000000000000000000000000000000000001";
    assert_eq!(revoke(&layer.handle(), token).await, LogoutOutcome::Pending);
    // The gauges are set every second, and delivery goes on after a minute.
    for (seconds, paused, pending) in [(5, 1, 1), (50, 1, 1), (60, 0, 0)] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        monitor.assert(&[("polar_logout_paused", paused), ("polar_logout_pending", pending)]);
    }
    monitor.assert(&[("polar_logout_attempts_total", 2)]);
    let limited = "polar_logout_polar_call_duration_seconds_count{result=\"rate_limited\"}";
    monitor.assert(&[(limited, 1)]);
}

/// It ends when the log is back.
#[tokio::test]
async fn log_lag_grows_while_the_log_is_down() {
    let monitor = Monitor::start();
    let polar = start_polar().await;
    let log = MemoryLog::new();
    let layer = builder(&polar)
        .revocation_log(log.clone())
        .max_log_lag(AT_ONCE)
        .build()
        .await
        .expect("a layer");
    let app = App::start(Server::Hyper, layer).await;
    monitor.assert(&[("polar_logout_log_lag_seconds", 0)]);
    log.go_away();
    monitor.until("polar_logout_log_lag_seconds", |behind| behind > 0.0).await;
    let answer = app.get("/me", &[("authorization", &bearer(&polar.mint().access))]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    monitor.assert(&[("polar_logout_requests_total{verdict=\"unsure\"}", 1)]);
    assert_eq!(revoke(&app.handle, &polar.mint().access).await, LogoutOutcome::Pending);
    monitor.until("polar_logout_log_held", |held| held > 0.0).await;
    log.come_back();
    monitor.until("polar_logout_log_held", |held| held < 1.0).await;
    monitor.until("polar_logout_log_lag_seconds", |behind| behind < f64::MIN_POSITIVE).await;
}

/// The gauges lose the share of a dropped layer. The counters keep it.
#[tokio::test]
async fn gauges_of_layers_add_up_until_dropped() {
    let monitor = Monitor::start();
    let polar = start_polar().await;
    let first = builder(&polar).denylist_capacity(10).build().await.expect("a layer");
    let second = builder(&polar).denylist_capacity(5).build().await.expect("a layer");
    for layer in [&first, &second] {
        revoke(&layer.handle(), &polar.mint().access).await;
    }
    monitor.until("polar_logout_denylist_size", |size| size > 1.0).await;
    monitor.assert(&[
        ("polar_logout_denylist_size", 2),
        ("polar_logout_denylist_capacity", 15),
        ("polar_logout_confirmed_total", 2),
    ]);
    drop(first);
    monitor.until("polar_logout_denylist_capacity", |limit| limit < 15.0).await;
    monitor.assert(&[
        ("polar_logout_denylist_size", 1),
        ("polar_logout_denylist_capacity", 5),
        ("polar_logout_confirmed_total", 2),
    ]);
}

/// The type and the unit of a metric.
type Description = (&'static str, Option<Unit>);

/// A recorder that only collects the descriptions and the labels of metrics.
#[derive(Clone, Default)]
struct Names {
    described: Arc<Mutex<BTreeMap<String, Description>>>,
    /// The labels of each metric, with their values.
    registered: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Names {
    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, help: &str) {
        assert!(help.ends_with('.'), "{name:?}: {help}");
        let mut described = self.described.lock().expect("the names");
        described.insert(name.as_str().to_owned(), (kind, unit));
    }

    fn register(&self, key: &Key) {
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
        let mut registered = self.registered.lock().expect("the names");
        registered.entry(key.name().to_owned()).or_default().extend(labels);
    }
}

impl Recorder for Names {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("counter", &name, unit, &help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("gauge", &name, unit, &help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("histogram", &name, unit, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.register(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.register(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.register(key);
        Histogram::noop()
    }
}

#[tokio::test]
async fn metrics_match_their_documentation() {
    let names = Names::default();
    let _guard = metrics::set_default_local_recorder(&names);
    let polar = start_polar().await;
    builder(&polar).build().await.expect("a layer");

    let mut documented = BTreeMap::new();
    let mut labels = BTreeMap::new();
    for line in include_str!("../../src/observability.rs").lines() {
        let Some(row) = line.strip_prefix("//! | `polar_logout_") else { continue };
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let [name, kind, unit, label, _, ""] = columns[..] else { panic!("five columns: {row}") };
        let name = format!("polar_logout_{}", name.trim_end_matches('`'));
        let kind = ["counter", "gauge", "histogram"].into_iter().find(|it| *it == kind);
        let unit = if unit == "seconds" { Unit::Seconds } else { Unit::Count };
        documented.insert(name.clone(), (kind.expect("a type"), Some(unit)));
        labels.insert(name, label.to_owned());
    }
    assert!(documented.len() > 10, "the table was not found");
    assert_eq!(*names.described.lock().expect("the names"), documented);

    let registered = names.registered.lock().expect("the names");
    assert!(registered.keys().eq(documented.keys()), "{registered:#?}");
    for (name, values) in &*registered {
        let ends_by_convention = match documented[name] {
            ("counter", _) => name.ends_with("_total"),
            (_, Some(Unit::Seconds)) => name.ends_with("_seconds"),
            _ => true,
        };
        assert!(ends_by_convention, "{name}");
        for value in values {
            let (label, value) = value.split_once('=').expect("a label");
            let labels_column = &labels[name];
            assert!(labels_column.contains(&format!("`{label}`")), "{name} {label}");
            // Outcomes and classes of errors are documented where they are defined.
            let is_documented =
                labels_column.contains(&format!("`{value}`")) || labels_column.contains("as_str");
            assert!(is_documented, "{name} {label}={value}");
        }
    }
}
