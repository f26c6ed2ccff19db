//! The HTTPS client that comes with the feature `tls`.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, ErrorKind};

/// Polar closes idle connections after about 5 s; a request that meets the closing is lost.
const KEEP_IDLE: Duration = Duration::from_secs(4);

pub(super) type HttpsTransport = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Speaks HTTP/1.1 only, on purpose: a call that times out then takes its own connection down with
/// it, where a frozen HTTP/2 connection would go on to swallow every later call.
pub(super) fn https(endpoint: &Uri, extra_roots: &[u8]) -> Result<HttpsTransport, Error> {
    let mut roots = extra(extra_roots)?;
    if endpoint.scheme_str() == Some("https") {
        add_system_roots(&mut roots)?;
    }
    let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Tls, "TLS could not be set up").with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP_IDLE)
        .build(connector.wrap_connector(tcp)))
}

fn extra(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if pem.is_empty() {
        return Ok(roots);
    }
    let unreadable = || {
        Error::new(
            ErrorKind::Tls,
            "the root certificates cannot be read; give PEM: `-----BEGIN CERTIFICATE-----` ...",
        )
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unreadable().with_source(error))?;
        roots.add(certificate).map_err(|error| unreadable().with_source(error))?;
    }
    if roots.is_empty() {
        return Err(unreadable());
    }
    Ok(roots)
}

fn add_system_roots(roots: &mut RootCertStore) -> Result<(), Error> {
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err(Error::new(
            ErrorKind::Tls,
            "no root certificates to check Polar's against: install the package `ca-certificates`, \
             set SSL_CERT_FILE, or name them with `root_certificates()`",
        ));
    }
    Ok(())
}
