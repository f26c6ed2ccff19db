//! The shortest real use with hyper alone.
//!
//! `POLAR_CLIENT_ID=... POLAR_CLIENT_SECRET=... cargo run --example hyper`
//!
//! Set `POLAR_SERVER=sandbox` to try it at Polar's sandbox, and `LISTEN_ADDR` to listen on another
//! address than 127.0.0.1:3000.

#[path = "shared/http_client.rs"]
mod http_client;
#[path = "shared/stop.rs"]
mod stop;
#[path = "shared/users.rs"]
mod users;

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
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

use crate::users::Users;

/// After the signal to stop: how long open requests may take, and then pending revocations.
const GRACE: Duration = Duration::from_secs(10);

/// The app checks who calls: the layer has only rejected revoked tokens.
async fn app(
    users: Arc<Users>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::<Full<Bytes>>::default();
    match users.who(request.headers()).await {
        Ok(user) => *response.body_mut() = Full::from(format!("you are {user}\n")),
        Err(status) => *response.status_mut() = status,
    }
    Ok(response)
}

#[tokio::main]
async fn main() -> ExitCode {
    // Problems with Polar, for example a wrong client secret, are reported only through `tracing`.
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
    // Finds a wrong client secret now, and not at the first logout.
    match logout.handle().check_credentials().await {
        Ok(accepted) => println!("{accepted}"),
        Err(error) if error.is_unanswered() => eprintln!("credentials not checked: {error}"),
        Err(error) => return Err(error.into()),
    }
    let users = Arc::new(Users::from_env()?);
    let app = move |request| app(Arc::clone(&users), request);
    let service = ServiceBuilder::new().layer(&logout).service_fn(app);

    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| {
        format!(
            "cannot listen on LISTEN_ADDR `{address}`: {error}; give a free address, for example \
             `127.0.0.1:0`"
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
            sleep(Duration::from_millis(50)).await; // for example, no file descriptor is free
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
    println!("{left} revocations are not delivered to Polar");
    Ok(())
}
