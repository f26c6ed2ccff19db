//! The server that revokes the tokens, and the URLs of its endpoints.

use std::env::{self, VarError};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

use crate::error::{Error, ErrorKind};

/// The server that revokes the tokens.
///
/// `Debug` does not show the URL: it is checked when the client is built, and may hold a password
/// until then.
///
/// A variant with a URL stays as it is, since apps write it down.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolarServer {
    /// `https://api.polar.sh`, the default.
    #[default]
    Production,
    /// `https://sandbox-api.polar.sh`
    Sandbox,
    /// Polar's API at another absolute URL: `/v1/oauth2/revoke` is appended to it.
    Url(String),
    /// The complete URL of the revocation endpoint of any RFC 7009 server (`revocation_endpoint` in
    /// its RFC 8414 metadata).
    RevocationEndpoint(String),
}

impl PolarServer {
    /// The server in the environment variable `POLAR_SERVER`: `production`, `sandbox`, or an
    /// absolute URL of Polar's API. If the variable is not set, [`Production`](Self::Production).
    ///
    /// # Errors
    ///
    /// The variable is set to anything else.
    pub fn from_env() -> Result<Self, Error> {
        match env::var("POLAR_SERVER") {
            Ok(value) if value.is_empty() => Err(Error::new(
                ErrorKind::Environment,
                format!("POLAR_SERVER is empty; {SERVERS}, or leave it unset for production"),
            )),
            Ok(value) => value.parse().map_err(|error: Error| {
                Error::new(ErrorKind::Environment, format!("POLAR_SERVER: {error}"))
            }),
            Err(VarError::NotPresent) => Ok(Self::Production),
            Err(VarError::NotUnicode(_)) => Err(Error::new(
                ErrorKind::Environment,
                "POLAR_SERVER is not valid UTF-8; use `production`, `sandbox`, or an absolute URL",
            )),
        }
    }

    /// The URLs of the endpoints, checked.
    pub(crate) fn endpoints(&self, allow_insecure_http: bool) -> Result<Endpoints, Error> {
        let base = match self {
            Self::Production => "https://api.polar.sh",
            Self::Sandbox => "https://sandbox-api.polar.sh",
            Self::Url(base) => {
                absolute(base)?;
                if base.contains('?') {
                    return Err(refused(base, "has a query; give the URL of the API without one"));
                }
                base.trim_end_matches('/')
            }
            Self::RevocationEndpoint(url) => {
                let revocation = secure(url, allow_insecure_http)?;
                return Ok(Endpoints { revocation, introspection: None, token: None });
            }
        };
        let endpoint = |name| secure(&format!("{base}/v1/oauth2/{name}"), allow_insecure_http);
        Ok(Endpoints {
            revocation: endpoint("revoke")?,
            introspection: Some(endpoint("introspect")?),
            token: Some(endpoint("token")?),
        })
    }
}

impl fmt::Debug for PolarServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Production => "Production",
            Self::Sandbox => "Sandbox",
            Self::Url(_) => "Url(..)",
            Self::RevocationEndpoint(_) => "RevocationEndpoint(..)",
        })
    }
}

/// The URLs of a server's endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) revocation: Uri,
    pub(crate) introspection: Option<Uri>,
    pub(crate) token: Option<Uri>,
}

const SERVERS: &str = "use `production`, `sandbox`, or an absolute URL like `https://api.polar.sh`";

/// Whether an error may repeat the word, for example `prod`. Other text may be a secret in the
/// wrong variable.
fn is_harmless(word: &str) -> bool {
    (1..=16).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())
}

impl FromStr for PolarServer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "production" => Ok(Self::Production),
            "sandbox" => Ok(Self::Sandbox),
            url if url.contains("://") => absolute(url).map(|_| Self::Url(url.to_owned())),
            word if is_harmless(word) => {
                Err(Error::configuration(format!("the server `{word}` is not known; {SERVERS}")))
            }
            _ => Err(Error::configuration(format!("the server is not known; {SERVERS}"))),
        }
    }
}

fn secure(url: &str, allow_insecure_http: bool) -> Result<Uri, Error> {
    let uri = absolute(url)?;
    if uri.scheme_str() == Some("http") && !allow_insecure_http && !is_loopback(&uri) {
        return Err(refused(
            url,
            "would get tokens and the client secret unencrypted; use https, or allow http with \
             `allow_insecure_http(true)`",
        ));
    }
    Ok(uri)
}

fn absolute(url: &str) -> Result<Uri, Error> {
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| {
        // The text is not repeated: it may be a secret in the wrong variable.
        Error::configuration("the server's URL is invalid; give one like `https://api.polar.sh`")
            .with_source(error)
    })?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Error::configuration(
            "the server's URL is not absolute; give one like `https://api.polar.sh`",
        ));
    };
    if authority.as_str().contains('@') {
        return Err(Error::configuration(
            "the server's URL contains a user name or password; \
             client credentials belong in `ClientCredentials`",
        ));
    }
    if !matches!(scheme, "http" | "https") {
        return Err(refused(url, "is not an http or https URL"));
    }
    if authority.as_str() != authority.host() && authority.port_u16().is_none() {
        return Err(refused(url, "has an invalid port; ports go from 1 to 65535"));
    }
    if url.contains('#') {
        return Err(refused(url, "has a fragment (`#`), which is never sent; leave it out"));
    }
    Ok(uri)
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn refused(url: &str, why: &str) -> Error {
    Error::configuration(format!("the server `{url}` {why}"))
}
