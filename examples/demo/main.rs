//! An app with "Sign in with Polar", a logout, and a page that shows what the layer does.
//!
//! `cargo run --example demo`
//!
//! Without configuration it starts a stand-in for Polar. Environment variables configure it:
//!
//! - `LISTEN_ADDR`: the address to listen on; default `127.0.0.1:3000`. Port 0 is any free port.
//! - `PUBLIC_URL`: the URL at which browsers reach it, for example `https://demo.example`; default
//!   `http://` and the address on which it listens
//! - `POLAR_CLIENT_ID`, `POLAR_CLIENT_SECRET`: credentials of a real client at Polar. The client
//!   must have `PUBLIC_URL` with the path `/callback` among its redirect URIs.
//! - `POLAR_SERVER`: `production` (the default), `sandbox`, or a URL
//! - `POLAR_AUTHORIZE_URL`: the page where users sign in; default: the server's page
//! - `REVOCATION_JOURNAL`: a file that keeps revocations and undelivered tokens across restarts;
//!   default none
//! - `REVOCATION_REDIS`: the URL of a Redis that does so for several demos, which are then replicas
//!   of one app; default none
//! - `REJECT_WHEN_BEHIND`: after how many seconds without Redis a request with a token is answered
//!   503; default never
//! - `ACCESS_TOKEN_RETENTION`: how many seconds a revoked access token is denied; default 864060

mod app;
mod assets;
mod config;
mod cookies;
mod health;
#[path = "../shared/http_client.rs"]
mod http_client;
mod me;
mod page;
mod polar;
mod replay;
mod security;
mod sign_in;
#[path = "../shared/stop.rs"]
mod stop;
mod time_line;

use std::fmt::Arguments;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::Method;
use axum::serve;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_polar_logout::{
    Error, ErrorKind, LogoutHandle, PolarLogoutLayer, TokenLocation, WhenRevoked,
};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app::App;
use crate::config::Config;
use crate::http_client::HttpClient;
use crate::polar::Polar;
use crate::time_line::TimeLine;

/// After the signal to stop: how long open requests may take, and then pending revocations.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let time_line = TimeLine::default();
    // The parent process may have closed standard error, which is no reason to fail.
    let to_stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(to_stderr).with(time_line.layer()).init();
    // Before the layer is built, because counts without a recorder are lost.
    let metrics = PrometheusBuilder::new().set_buckets(&app::CALL_SECONDS)?.install_recorder()?;

    let config = Config::from_env()?;
    let polar = Polar::from_env().await?;
    let logout = config
        .apply_to(PolarLogoutLayer::builder(polar.credentials()).server(polar.server()))?
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie(cookies::ACCESS_TOKEN))
        .refresh_token(TokenLocation::cookie(cookies::REFRESH_TOKEN))
        .redirect_to("/");
    // These paths must work for a browser that still carries a dead cookie.
    let logout = app::PUBLIC_PATHS
        .iter()
        .fold(logout, |logout, path| logout.when_revoked_at(*path, WhenRevoked::Anonymous))
        .build()
        .await?;
    let http = HttpClient::new(polar.uses_tls())?;
    let handle = logout.handle();
    check_credentials(&handle).await?;

    let listener = listen(&config.address).await?;
    let address = listener.local_addr()?;
    let public_url = config.public_url_at(address);
    print_welcome(&format!("http://{address}"), &public_url, &polar);

    let app = App::new(polar, http, handle.clone(), time_line, metrics, address, &public_url)?;
    let router = app::router(app).layer(logout).layer(security::headers(&public_url));
    tokio::select! {
        served = serve(listener, router).with_graceful_shutdown(stop::signal()) => served?,
        // Cuts off clients that still send or stream after the grace period.
        () = async { stop::signal().await; sleep(GRACE).await } => {}
    }

    let left = handle.shutdown(GRACE).await.pending;
    say(format_args!("stopped; {left} revocations are not delivered to Polar"));
    Ok(())
}

/// Finds wrong credentials at the start, and not at the first logout. If Polar does not answer, the
/// demo starts nevertheless.
async fn check_credentials(handle: &LogoutHandle) -> Result<(), Error> {
    match handle.check_credentials().await {
        // The demo sends its credentials to the token endpoint in the form.
        Ok(accepted) if accepted.is_mismatch() => say(format_args!("demo: {accepted}")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::Credentials => return Err(error),
        Err(error) => say(format_args!("demo: credentials not checked: {error}")),
    }
    Ok(())
}

async fn listen(address: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!(
            "cannot listen on LISTEN_ADDR `{address}`: {error}; give a free address, for example \
             `127.0.0.1:0`"
        )
    })
}

fn say(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn print_welcome(url: &str, public_url: &str, polar: &Polar) {
    let to_try = match polar.stand_in_url() {
        Some(stand_in) => format!(
            "a stand-in for Polar runs at {stand_in}; open {public_url}/ in a browser, or try:
  curl -sL -c jar -b jar {public_url}/login   # signs in
  curl -i -b jar {public_url}/me              # 200
  curl -i -b jar -X POST {public_url}/logout  # 204: denied here and revoked at Polar
  curl -i -b jar {public_url}/me              # 401: the old cookie is rejected"
        ),
        None => format!(
            "open {public_url}/ in a browser; your client at Polar needs the redirect URI
  {public_url}{}
or try it with one of your tokens:
  curl -i -H 'Authorization: Bearer polar_at_u_...' {public_url}/me
  curl -i -H 'Authorization: Bearer polar_at_u_...' -X POST {public_url}/logout
  curl -i -H 'Authorization: Bearer polar_at_u_...' {public_url}/me",
            sign_in::CALLBACK
        ),
    };
    // The parent process may have closed the pipe, which is no reason to stop.
    let _ = writeln!(std::io::stdout(), "listening on {url}\n{to_try}\n  curl {public_url}/health");
}
