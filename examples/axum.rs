//! The shortest real use with axum.
//!
//! `POLAR_CLIENT_ID=... POLAR_CLIENT_SECRET=... cargo run --example axum`
//!
//! Set `POLAR_SERVER=sandbox` to try it at Polar's sandbox, and `LISTEN_ADDR` to listen on another
//! address than 127.0.0.1:3000.

#[path = "shared/http_client.rs"]
mod http_client;
#[path = "shared/stop.rs"]
mod stop;
#[path = "shared/users.rs"]
mod users;

use std::env;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderMap, Method, StatusCode};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_polar_logout::{ClientCredentials, PolarLogoutLayer, PolarServer, TokenLocation};

use crate::users::Users;

/// After the signal to stop: how long open requests may take, and then pending revocations.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    // Problems with Polar, for example a wrong client secret, are reported only through `tracing`.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("axum: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let credentials = ClientCredentials::from_env().map_err(|error| {
        format!("{error}. Without an account at Polar, try `cargo run --example demo`")
    })?;
    let logout = PolarLogoutLayer::builder(credentials)
        .server(PolarServer::from_env()?)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie("access_token"))
        .refresh_token(TokenLocation::cookie("refresh_token"))
        .redirect_to("/")
        .build()
        .await?;
    // Finds a wrong client secret now, and not at the first logout.
    match logout.handle().check_credentials().await {
        Ok(accepted) => println!("{accepted}"),
        Err(error) if error.is_unanswered() => eprintln!("credentials not checked: {error}"),
        Err(error) => return Err(error.into()),
    }

    // Around the outermost router, so that it sees the logout path.
    let app = Router::new()
        .route("/", get(|| async { "welcome\n" }))
        .route("/me", get(me))
        .with_state(Arc::new(Users::from_env()?))
        .layer(logout.clone());

    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| {
        format!(
            "cannot listen on LISTEN_ADDR `{address}`: {error}; give a free address, for example \
             `127.0.0.1:0`"
        )
    })?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(stop::signal()) => served?,
        // Cuts off clients that still send or stream after the grace period.
        () = async { stop::signal().await; sleep(GRACE).await } => {}
    }

    let left = logout.handle().shutdown(GRACE).await.pending;
    println!("{left} revocations are not delivered to Polar");
    Ok(())
}

/// The app checks who calls: the layer has only rejected revoked tokens.
async fn me(State(users): State<Arc<Users>>, headers: HeaderMap) -> Result<String, StatusCode> {
    Ok(format!("you are {}\n", users.who(&headers).await?))
}
