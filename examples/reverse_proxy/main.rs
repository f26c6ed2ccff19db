//! The layer in front of any app, in any language: a reverse proxy.
//!
//! `UPSTREAM=http://127.0.0.1:8000 cargo run --example reverse_proxy`
//!
//! Without Polar's credentials it starts a stand-in for Polar. Environment variables configure it:
//!
//! - `UPSTREAM` (required): the app, for example `http://127.0.0.1:8000`
//! - `UPSTREAM_TIMEOUT`: how many seconds the app may take from the end of a request to the head of
//!   its answer; default 30. After that the answer is 504.
//! - `LISTEN_ADDR`: the address to listen on; default `127.0.0.1:3000`. Port 0 is any free port.
//! - `TRUST_FORWARDED`: `1` if another proxy in front, for example for TLS, sets `X-Forwarded-*`;
//!   default 0. With 0 these headers are dropped from requests.
//! - `POLAR_CLIENT_ID`, `POLAR_CLIENT_SECRET`: credentials of a real client at Polar
//! - `POLAR_SERVER`: `production` (the default), `sandbox`, or a URL
//!
//! What it passes on:
//!
//! - Bodies stream in both directions.
//! - An upgrade to `websocket` passes. A WebSocket that is open when its token is revoked stays
//!   open.
//! - The app gets the caller's `Host`, and `X-Forwarded-For`, `-Host` and `-Proto`.
//! - Headers with an underscore in their names are dropped. CGI and its successors read it as a
//!   hyphen, so the app would read a header that the layer has not searched.
//! - Trailers of requests are dropped.
//! - A request with an invalid `Host` is answered 400.
//!
//! Polar's tokens are found by their shape, under any name. A session id of the app's own is found
//! only in the cookie with the exact name. PHP reads `.`, a space and `[` in a name as `_`, so
//! `session.id` is `session_id` to PHP. A caller with a dead session id can therefore still use it
//! under such a name, unless the app ends its sessions itself.

mod forward;
mod headers;

use std::env::{self, VarError};
use std::error::Error;
use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{Method, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tower::ServiceBuilder;
use tower_polar_logout::testing::FakePolar;
use tower_polar_logout::{ClientCredentials, PolarLogoutLayer, PolarServer, TokenLocation};
use tracing::debug;

use self::forward::Upstream;

/// After the signal to stop: how long open requests may take, and then pending revocations.
const GRACE: Duration = Duration::from_secs(10);

/// How long to wait if a connection cannot be accepted, for example for lack of file descriptors.
const BREATHER: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).log_internal_errors(false).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "reverse_proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let upstream = Upstream::new(authority()?, time_limit()?, trusts_forwarded()?);
    let stand_in = stand_in().await?;
    let (credentials, server) = match &stand_in {
        Some(polar) => (polar.credentials(), polar.server()),
        None => (ClientCredentials::from_env()?, PolarServer::from_env()?),
    };
    let logout = PolarLogoutLayer::builder(credentials)
        .server(server)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie("access_token"))
        .refresh_token(TokenLocation::cookie("refresh_token"))
        .redirect_to("/")
        .build()
        .await?;

    let address = text("LISTEN_ADDR")?.unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| {
        format!(
            "cannot listen on LISTEN_ADDR `{address}`: {error}; give a free address, for example \
             `127.0.0.1:0`"
        )
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    // The parent process may have closed the pipe, which is no reason to stop.
    let _ = writeln!(std::io::stdout(), "listening on {url}");
    if let Some(polar) = &stand_in {
        let _ = writeln!(
            std::io::stdout(),
            "a stand-in for Polar runs at {}; to try it:\n  \
             curl -i -H 'Authorization: Bearer {token}' {url}/\n  \
             curl -i -H 'Authorization: Bearer {token}' -X POST {url}/logout",
            polar.url(),
            token = polar.mint().access,
        );
    }
    serve(listener, &logout, Arc::new(upstream)).await;

    let left = logout.handle().shutdown(GRACE).await.pending;
    let _ = writeln!(std::io::stderr(), "stopped; {left} revocations are not delivered to Polar");
    Ok(())
}

/// Serves until the signal to stop, and then finishes the open requests.
async fn serve(listener: TcpListener, logout: &PolarLogoutLayer, upstream: Arc<Upstream>) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    // With a timer, hyper closes connections whose callers take more than 30 s to send a head.
    server.http1().timer(TokioTimer::new());
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop_signal());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            sleep(BREATHER).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let upstream = Arc::clone(&upstream);
        let service = ServiceBuilder::new()
            .layer(logout)
            .service_fn(move |request| Arc::clone(&upstream).answer(peer.ip(), request));
        let connection = server.serve_connection_with_upgrades(
            TokioIo::new(stream),
            TowerToHyperService::new(service),
        );
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(error, "a caller's connection failed");
            }
        });
    }
    drop(listener);
    let _ = timeout(GRACE, connections.shutdown()).await;
}

fn authority() -> Result<Authority, Box<dyn Error>> {
    let given = text("UPSTREAM")?
        .ok_or("UPSTREAM is not set: give the app's URL, for example `http://127.0.0.1:8000`")?;
    let uri = given.parse::<Uri>().ok().filter(|uri| {
        uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none()
    });
    let authority = uri.and_then(|uri| uri.into_parts().authority);
    // The error does not repeat the URL, which may hold credentials.
    authority.filter(|authority| !authority.as_str().contains('@')).ok_or_else(|| {
        "UPSTREAM must be `http://`, a host and a port, for example `http://127.0.0.1:8000`, and \
         nothing else"
            .into()
    })
}

fn time_limit() -> Result<Duration, Box<dyn Error>> {
    let Some(given) = text("UPSTREAM_TIMEOUT")? else { return Ok(Duration::from_secs(30)) };
    match given.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("UPSTREAM_TIMEOUT is `{given}`: give 1 to 86400 seconds").into()),
    }
}

fn trusts_forwarded() -> Result<bool, Box<dyn Error>> {
    match text("TRUST_FORWARDED")?.as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(given) => Err(format!("TRUST_FORWARDED is `{given}`: give 0 or 1").into()),
    }
}

async fn stand_in() -> Result<Option<FakePolar>, Box<dyn Error>> {
    let is_set = |name| env::var_os(name).is_some();
    if is_set("POLAR_CLIENT_ID") || is_set("POLAR_CLIENT_SECRET") {
        return Ok(None);
    }
    if is_set("POLAR_SERVER") {
        return Err(
            "POLAR_SERVER is set, but POLAR_CLIENT_ID and POLAR_CLIENT_SECRET are not: set both, \
             or unset POLAR_SERVER to use the stand-in"
                .into(),
        );
    }
    Ok(Some(FakePolar::start().await?))
}

fn text(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not valid UTF-8")),
    }
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
