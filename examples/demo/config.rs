//! What the environment says of this process. What it says of Polar is in `polar`.

use std::env::{self, VarError};
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use oauth2::url::Url;
use tower_polar_logout::{Journal, PolarLogoutLayerBuilder, RedisLog};

pub(crate) struct Config {
    pub(crate) address: String,
    /// Without a slash at the end.
    public_url: Option<String>,
    log: Log,
    max_log_lag: Option<Duration>,
    access_token_retention: Option<Duration>,
}

enum Log {
    None,
    Journal(PathBuf),
    Redis(String),
}

impl Config {
    pub(crate) fn from_env() -> Result<Self, String> {
        Ok(Self {
            address: text("LISTEN_ADDR")?.unwrap_or_else(|| "127.0.0.1:3000".to_owned()),
            public_url: public_url()?,
            log: Log::from_env()?,
            max_log_lag: seconds("REJECT_WHEN_BEHIND")?,
            access_token_retention: seconds("ACCESS_TOKEN_RETENTION")?,
        })
    }

    pub(crate) fn apply_to(
        &self,
        mut builder: PolarLogoutLayerBuilder,
    ) -> Result<PolarLogoutLayerBuilder, Box<dyn Error>> {
        builder = match &self.log {
            Log::None => builder,
            Log::Journal(path) => builder.revocation_log(Journal::open(path)?),
            Log::Redis(url) => builder.revocation_log(RedisLog::connect(url)?),
        };
        if let Some(limit) = self.max_log_lag {
            builder = builder.max_log_lag(limit);
        }
        if let Some(retention) = self.access_token_retention {
            builder = builder.access_token_retention(retention);
        }
        Ok(builder)
    }

    /// Without a slash at the end.
    pub(crate) fn public_url_at(&self, address: SocketAddr) -> String {
        let here = || {
            // A browser cannot go to "any address".
            if address.ip().is_unspecified() {
                format!("http://localhost:{}", address.port())
            } else {
                format!("http://{address}")
            }
        };
        self.public_url.clone().unwrap_or_else(here)
    }
}

impl Log {
    fn from_env() -> Result<Self, String> {
        match (env::var_os("REVOCATION_JOURNAL"), text("REVOCATION_REDIS")?) {
            (Some(_), Some(_)) => {
                Err("REVOCATION_JOURNAL and REVOCATION_REDIS are both set: choose one".to_owned())
            }
            (Some(path), None) => Ok(Self::Journal(path.into())),
            (None, Some(url)) => Ok(Self::Redis(url)),
            (None, None) => Ok(Self::None),
        }
    }
}

pub(crate) fn text(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not text")),
    }
}

/// An absolute URL of the web without a fragment. What is given is not echoed: it may be a secret in
/// the wrong variable.
pub(crate) fn url(name: &str, example: &str) -> Result<Option<Url>, String> {
    let Some(value) = text(name)? else { return Ok(None) };
    let of_the_web = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    };
    let url = value.parse().ok().filter(of_the_web);
    url.map(Some).ok_or_else(|| {
        format!("{name} is no absolute http or https URL: give one like `{example}`")
    })
}

fn public_url() -> Result<Option<String>, String> {
    const EXAMPLE: &str = "https://demo.example";
    let Some(url) = url("PUBLIC_URL", EXAMPLE)? else { return Ok(None) };
    if url.path() != "/" || url.query().is_some() {
        return Err(format!(
            "PUBLIC_URL has a path or a query, and the demo is at `/`: give one like `{EXAMPLE}`"
        ));
    }
    Ok(Some(url.origin().ascii_serialization()))
}

fn seconds(name: &str) -> Result<Option<Duration>, String> {
    let Some(value) = text(name)? else { return Ok(None) };
    let seconds = value
        .parse()
        .map_err(|_| format!("{name} is `{value}`: give a whole number of seconds, 60 say"))?;
    Ok(Some(Duration::from_secs(seconds)))
}
