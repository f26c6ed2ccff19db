//! The shortest real use in bare hyper.
//!
//! `POLAR_CLIENT_ID=... POLAR_CLIENT_SECRET=... cargo run --example hyper`
//!
//! Set `POLAR_SERVER=sandbox` while trying, and `LISTEN_ADDR` for another address than
//! 127.0.0.1:3000.

use std::convert::Infallible;
use std::env;
use std::error::Error;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_polar_logout::{ClientCredentials, PolarLogoutLayer, PolarServer, TokenLocation};

// Generic over the body: the layer hands on a wrapper of hyper's.
async fn app<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("your token is not revoked\n")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let logout = PolarLogoutLayer::builder(ClientCredentials::from_env()?)
        .server(PolarServer::from_env()?)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .build()
        .await?;
    let service = ServiceBuilder::new().layer(logout).service_fn(app);

    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("connection: {error}");
            }
        });
    }
}
