//! The TLS configuration of connections that this crate opens itself.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, ErrorKind};

/// Trusts the roots in `extra_roots` (PEM, or empty), and the system's roots if `trusts_system`.
///
/// Names the crypto provider, because rustls panics if it must choose among an application's
/// several providers.
pub(crate) fn client_config(
    extra_roots: &[u8],
    trusts_system: bool,
) -> Result<ClientConfig, Error> {
    let mut roots = extra(extra_roots)?;
    if trusts_system {
        add_system_roots(&mut roots)?;
    }
    Ok(ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Tls, "TLS could not be set up").with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn extra(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if pem.is_empty() {
        return Ok(roots);
    }
    let unreadable = || {
        Error::new(
            ErrorKind::Tls,
            "the certificates given to `root_certificates` cannot be read: give them in PEM, which \
             begins with `-----BEGIN CERTIFICATE-----`",
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
            "no root certificates to check the server's certificate against: install the package \
             `ca-certificates`, set SSL_CERT_FILE, or give them with `root_certificates`",
        ));
    }
    Ok(())
}
