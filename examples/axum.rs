//! The shortest real use in axum.
//!
//! `POLAR_CLIENT_ID=... POLAR_CLIENT_SECRET=... cargo run --example axum`
//!
//! Set `POLAR_SERVER=sandbox` while trying, and `LISTEN_ADDR` for another address than
//! 127.0.0.1:3000.

#[path = "demo/stop.rs"]
mod stop;

use std::env;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::Method;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_polar_logout::{ClientCredentials, PolarLogoutLayer, PolarServer, TokenLocation};

/// How long answers under way, and then revocations under way, may take once it is to stop.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    // What goes wrong with Polar, a wrong client secret say, is told by events alone.
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
    // A wrong client secret is better known now than at the first logout.
    match logout.handle().check_credentials().await {
        Ok(accepted) => println!("{accepted}"),
        Err(error) if error.is_unanswered() => eprintln!("going on all the same: {error}"),
        Err(error) => return Err(error.into()),
    }

    // Around the outermost router, so that it sees the logout path.
    let app = Router::new()
        .route("/", get(|| async { "welcome\n" }))
        .route("/me", get(|| async { "your token is not revoked\n" }))
        .layer(logout.clone());

    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| {
        format!(
            "cannot listen on LISTEN_ADDR `{address}`: {error}; give a free one like `127.0.0.1:0`"
        )
    })?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(stop::signal()) => served?,
        // A client that still sends or streams then is cut off.
        () = async { stop::signal().await; sleep(GRACE).await } => {}
    }

    let left = logout.handle().shutdown(GRACE).await.pending;
    println!("{left} revocations are still on their way to Polar");
    Ok(())
}
