//! The routes and their shared state.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_polar_logout::LogoutHandle;

use crate::cookies::Cookies;
use crate::http_client::HttpClient;
use crate::polar::Polar;
use crate::replay::{self, Browsers};
use crate::sign_in::{self, SignIn};
use crate::time_line::TimeLine;
use crate::{assets, health, me, page};

/// All paths except `/me` and `/logout`. The layer serves `/logout`.
pub(crate) const PUBLIC_PATHS: [&str; 9] = [
    "/",
    sign_in::LOGIN,
    sign_in::CALLBACK,
    replay::REPLAY,
    "/health",
    "/metrics",
    assets::STYLE,
    assets::SCRIPT,
    assets::ICON,
];

/// Buckets for the only histogram, which counts calls to Polar. Without buckets the exporter writes
/// a summary.
pub(crate) const CALL_SECONDS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

pub(crate) struct App {
    pub(crate) polar: Polar,
    pub(crate) http: HttpClient,
    pub(crate) handle: LogoutHandle,
    pub(crate) time_line: TimeLine,
    pub(crate) sign_in: SignIn,
    pub(crate) browsers: Browsers,
    pub(crate) cookies: Cookies,
    /// The URL at which browsers reach this process, without a slash at the end.
    pub(crate) public_url: String,
    /// The address at which this process reaches itself.
    pub(crate) own_address: SocketAddr,
    metrics: PrometheusHandle,
}

impl App {
    pub(crate) fn new(
        polar: Polar,
        http: HttpClient,
        handle: LogoutHandle,
        time_line: TimeLine,
        metrics: PrometheusHandle,
        mut address: SocketAddr,
        public_url: &str,
    ) -> Result<Arc<Self>, Box<dyn Error>> {
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(Arc::new(Self {
            sign_in: SignIn::new(&polar, public_url)?,
            browsers: Browsers::default(),
            cookies: Cookies { secure: public_url.starts_with("https:") },
            public_url: public_url.to_owned(),
            own_address: address,
            polar,
            http,
            handle,
            time_line,
            metrics,
        }))
    }
}

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/me", get(me::me))
        .route(sign_in::LOGIN, get(sign_in::begin))
        .route(sign_in::CALLBACK, get(sign_in::finish))
        .route(replay::REPLAY, post(replay::replay))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics))
        .merge(assets::routes())
        .with_state(app)
}

/// The metrics in Prometheus' text format.
async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    app.metrics.run_upkeep();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
}
