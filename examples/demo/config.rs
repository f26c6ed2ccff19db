//! The settings in environment variables, except those for Polar, which are in `polar`.

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
        let (log, max_log_lag) = (Log::from_env()?, seconds("REJECT_WHEN_BEHIND")?);
        if max_log_lag.is_some() && matches!(log, Log::None) {
            return Err("REJECT_WHEN_BEHIND needs a log: set REVOCATION_JOURNAL or \
                        REVOCATION_REDIS, or unset REJECT_WHEN_BEHIND"
                .to_owned());
        }
        let access_token_retention = seconds("ACCESS_TOKEN_RETENTION")?;
        if access_token_retention.is_some_and(|time| time.is_zero()) {
            return Err("ACCESS_TOKEN_RETENTION is `0`, so no access token would be denied: give \
                        the lifetime of Polar's access tokens in seconds, or unset it"
                .to_owned());
        }
        Ok(Self {
            address: text("LISTEN_ADDR")?.unwrap_or_else(|| "127.0.0.1:3000".to_owned()),
            public_url: public_url()?,
            log,
            max_log_lag,
            access_token_retention,
        })
    }

    pub(crate) fn apply_to(
        &self,
        mut builder: PolarLogoutLayerBuilder,
    ) -> Result<PolarLogoutLayerBuilder, Box<dyn Error>> {
        builder = match &self.log {
            Log::None => builder,
            Log::Journal(path) => builder.revocation_log(
                Journal::open(path).map_err(|error| format!("REVOCATION_JOURNAL: {error}"))?,
            ),
            Log::Redis(url) => builder.revocation_log(
                RedisLog::connect(url).map_err(|error| format!("REVOCATION_REDIS: {error}"))?,
            ),
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
            // An unspecified address, such as 0.0.0.0, is not one that browsers can open.
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
        let journal = env::var_os("REVOCATION_JOURNAL");
        if journal.as_ref().is_some_and(|path| path.is_empty()) {
            return Err(
                "REVOCATION_JOURNAL is empty: give the path of a file, or unset it".to_owned()
            );
        }
        match (journal, text("REVOCATION_REDIS")?) {
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
        Ok(value) if value.is_empty() => {
            // A compose file sets a variable to the empty string if it has no value for it.
            Err(format!("{name} is empty: give it a value, or unset it"))
        }
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not valid UTF-8")),
    }
}

/// An absolute HTTP or HTTPS URL without credentials and without a fragment. An error does not
/// repeat the value, which may be a secret in the wrong variable.
pub(crate) fn url(name: &str, example: &str) -> Result<Option<Url>, String> {
    let Some(value) = text(name)? else { return Ok(None) };
    let is_plain = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    };
    let url = value.parse().ok().filter(is_plain);
    url.map(Some).ok_or_else(|| {
        format!(
            "{name} is not an absolute http or https URL without credentials and fragment: give a \
             URL like `{example}`"
        )
    })
}

fn public_url() -> Result<Option<String>, String> {
    const EXAMPLE: &str = "https://demo.example";
    let Some(url) = url("PUBLIC_URL", EXAMPLE)? else { return Ok(None) };
    if url.path() != "/" || url.query().is_some() {
        return Err(format!(
            "PUBLIC_URL has a path or a query, but the demo is served at `/`: give a URL like \
             `{EXAMPLE}`"
        ));
    }
    Ok(Some(url.origin().ascii_serialization()))
}

fn seconds(name: &str) -> Result<Option<Duration>, String> {
    let Some(value) = text(name)? else { return Ok(None) };
    let seconds = value
        .parse()
        .map_err(|_| format!("{name} is `{value}`: give a whole number of seconds, like `60`"))?;
    Ok(Some(Duration::from_secs(seconds)))
}
