//! Polar's tokens in a server-side session: the browser holds only a session id.
//!
//! `cargo run --example tower_sessions` also starts a stand-in for Polar. `LISTEN_ADDR` sets the
//! address to listen on; default 127.0.0.1:3000.
//!
//! The layer is outside the session layer, so that it takes a dead session id out of the request
//! before a session is loaded for it. At a logout the layer denies the session id. The tokens are
//! in the session, which only the app can read, so the app's logout handler revokes them.

#[path = "shared/stop.rs"]
mod stop;

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Router, serve};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_polar_logout::testing::FakePolar;
use tower_polar_logout::{
    LogoutHandle, LogoutOutcome, PolarLogoutLayer, PolarLogoutLayerBuilder, Revocation,
    TokenLocation, WhenRevoked,
};
use tower_sessions::cookie::SameSite;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

/// After the signal to stop: how long open requests may take, and then pending revocations.
const GRACE: Duration = Duration::from_secs(10);

/// Where the session keeps the access token and the refresh token.
const TOKENS: &str = "polar_tokens";

#[tokio::main]
async fn main() -> ExitCode {
    // Problems with Polar, for example a wrong client secret, are reported only through `tracing`.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tower_sessions: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let polar = Arc::new(FakePolar::start().await?);
    let logout = logout(&polar).build().await?;
    let polar_url = polar.url();
    let app = app(polar, &logout, MemoryStore::default());
    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| {
        format!(
            "cannot listen on LISTEN_ADDR `{address}`: {error}; give a free address, for example \
             `127.0.0.1:0`"
        )
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    println!(
        "listening on {url}
a stand-in for Polar runs at {polar_url}; to try it:
  curl -i -c jar -X POST {url}/login   # signs in
  curl -i -b jar {url}/me              # 200
  curl -i -b jar -X POST {url}/logout  # 303: denied here and revoked at Polar
  curl -i -b jar {url}/me              # 401: the app no longer sees the old session id"
    );
    tokio::select! {
        served = serve(listener, app).with_graceful_shutdown(stop::signal()) => served?,
        // Cuts off clients that still send or stream after the grace period.
        () = async { stop::signal().await; sleep(GRACE).await } => {}
    }
    let left = logout.handle().shutdown(GRACE).await.pending;
    println!("{left} revocations are not delivered to Polar");
    Ok(())
}

pub(crate) fn logout(polar: &FakePolar) -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(polar.credentials())
        .server(polar.server())
        .logout_route(Method::POST, "/logout")
        .session_id(TokenLocation::cookie("id"))
        .call_inner_after_logout(true)
        // These paths must work for a browser that still carries a dead session id.
        .when_revoked_at("/", WhenRevoked::Anonymous)
        .when_revoked_at("/login", WhenRevoked::Anonymous)
}

pub(crate) fn app(polar: Arc<FakePolar>, logout: &PolarLogoutLayer, store: MemoryStore) -> Router {
    routes(polar, logout.handle()).layer(sessions(store)).layer(logout.clone()) // last is outermost
}

pub(crate) fn sessions(store: MemoryStore) -> SessionManagerLayer<MemoryStore> {
    SessionManagerLayer::new(store)
        .with_name("id")
        // With `Strict` the cookie would be missing when Polar redirects the browser back.
        .with_same_site(SameSite::Lax)
        // For plain HTTP on this machine; leave it out behind HTTPS.
        .with_secure(false)
}

pub(crate) fn routes(polar: Arc<FakePolar>, handle: LogoutHandle) -> Router {
    Router::new()
        .route("/", get(me))
        .route("/me", get(me))
        .route("/login", post(log_in).with_state(polar))
        .route("/logout", post(log_out).with_state(handle))
}

async fn me(session: Session) -> Result<(StatusCode, &'static str), StatusCode> {
    let tokens: Option<(String, String)> = session.get(TOKENS).await.map_err(failed)?;
    Ok(match tokens {
        Some(_) => (StatusCode::OK, "signed in\n"),
        None => (StatusCode::UNAUTHORIZED, "signed out\n"),
    })
}

/// Does what an app does after "Sign in with Polar". The session id is new, because an attacker may
/// have planted the old one.
async fn log_in(
    State(polar): State<Arc<FakePolar>>,
    session: Session,
) -> Result<Redirect, StatusCode> {
    let pair = polar.mint();
    session.cycle_id().await.map_err(failed)?;
    session.insert(TOKENS, (pair.access, pair.refresh)).await.map_err(failed)?;
    Ok(Redirect::to("/"))
}

/// Called by the layer after it has denied the session id. An error keeps the session and the
/// cookie, so that the user can try again.
async fn log_out(
    State(handle): State<LogoutHandle>,
    session: Session,
) -> Result<Redirect, StatusCode> {
    if let Some((access, refresh)) =
        session.get::<(String, String)>(TOKENS).await.map_err(failed)?
    {
        let access = Revocation::access_token(access).map_err(failed)?;
        let refresh = Revocation::refresh_token(refresh).map_err(failed)?;
        match handle.revoke([access, refresh]).await {
            LogoutOutcome::Busy | LogoutOutcome::Unrecorded | LogoutOutcome::Full => {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            _ => {}
        }
    }
    // Last, because the tokens are kept in the session only.
    session.flush().await.map_err(failed)?;
    Ok(Redirect::to("/"))
}

fn failed(error: impl Display) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}
