//! The shortest real use in bare hyper.
//!
//! `POLAR_CLIENT_ID=... POLAR_CLIENT_SECRET=... cargo run --example hyper`
//!
//! Set `POLAR_SERVER=sandbox` while trying, and `LISTEN_ADDR` for another address than
//! 127.0.0.1:3000.

#[path = "demo/stop.rs"]
mod stop;

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tower::ServiceBuilder;
use tower_polar_logout::{ClientCredentials, PolarLogoutLayer, PolarServer, TokenLocation};

/// How long answers under way, and then revocations under way, may take once it is to stop.
const GRACE: Duration = Duration::from_secs(10);

async fn app(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("your token is not revoked\n")))
}

#[tokio::main]
async fn main() -> ExitCode {
    // What goes wrong with Polar, a wrong client secret say, is told by events alone.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper: {error}");
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
        .build()
        .await?;
    // A wrong client secret is better known now than at the first logout.
    match logout.handle().check_credentials().await {
        Ok(accepted) => println!("{accepted}"),
        Err(error) if error.is_unanswered() => eprintln!("going on all the same: {error}"),
        Err(error) => return Err(error.into()),
    }
    let service = ServiceBuilder::new().layer(&logout).service_fn(app);

    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| {
        format!(
            "cannot listen on LISTEN_ADDR `{address}`: {error}; give a free one like `127.0.0.1:0`"
        )
    })?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = auto::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop::signal());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(Duration::from_millis(50)).await; // no file descriptor is free, say
            continue;
        };
        let service = TowerToHyperService::new(service.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("connection: {error}");
            }
        });
    }
    drop(listener);
    let _ = timeout(GRACE, connections.shutdown()).await;

    let left = logout.handle().shutdown(GRACE).await.pending;
    println!("{left} revocations are still on their way to Polar");
    Ok(())
}
