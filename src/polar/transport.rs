//! The HTTPS client that comes with the feature `tls`.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use crate::error::{BoxError, Error};
use crate::tls;

/// Polar closes idle connections after about 5 s. A request that is sent at that moment is lost.
const KEEP_IDLE: Duration = Duration::from_secs(4);

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

pub(super) type HttpsTransport = Client<Connector, Full<Bytes>>;

/// Deliberately speaks only HTTP/1.1: a call that times out closes its own connection, while a
/// frozen HTTP/2 connection would make every later call fail too.
///
/// `connect_timeout` covers name resolution, TCP and TLS. It is short, because a call that did not
/// connect may be repeated at once, and a call that did only after the call time-out.
pub(super) fn https(
    endpoint: &Uri,
    extra_roots: &[u8],
    connect_timeout: Duration,
) -> Result<HttpsTransport, Error> {
    let tls = tls::client_config(extra_roots, endpoint.scheme_str() == Some("https"))?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let connector = ServiceBuilder::new().timeout(connect_timeout).service(https);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP_IDLE)
        .build(BoxCloneSyncService::new(connector)))
}
