//! A parsed Redis URL: the host or socket, the user, the password and the database.

use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
use zeroize::Zeroizing;

use crate::error::Error;

const FORM: &str = "write redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS";

#[derive(Clone)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<Zeroizing<String>>,
    pub(super) database: i64,
}

#[derive(Clone)]
pub(super) enum Place {
    Tcp {
        host: String,
        port: u16,
        is_tls: bool,
    },
    #[cfg(unix)]
    Unix(std::path::PathBuf),
}

impl Address {
    /// No message repeats a part of the URL: any part may be a misplaced password.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let mut parsed = redis::parse_redis_url(url.trim()).ok_or_else(|| {
            let hint = "percent-encode everything in the password but letters and digits";
            Error::configuration(format!("this is not a Redis URL: {FORM}, and {hint}"))
        })?;
        match parsed.fragment() {
            None => {}
            Some("insecure") => {
                return Err(Error::configuration(
                    "`#insecure` would trust every certificate: remove it from the Redis URL, and \
                     set your authority's certificate with `root_certificates()`",
                ));
            }
            Some(_) => {
                return Err(Error::configuration(
                    "the Redis URL contains a `#`: if it belongs to the password, write it as %23",
                ));
            }
        }
        let is_tls = matches!(parsed.scheme(), "rediss" | "valkeys");
        // The connection does TLS itself, so the `redis` crate must not.
        if is_tls && parsed.set_scheme("redis").is_err() {
            return Err(Error::configuration(format!("the Redis URL cannot be used: {FORM}")));
        }
        let info = parsed.into_connection_info().map_err(|error| {
            let error = error.to_string();
            let reason = error.split(" - ").next().unwrap_or_default();
            Error::configuration(format!("the Redis URL cannot be used ({reason}): {FORM}"))
        })?;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                Place::Tcp { host: host.clone(), port: *port, is_tls }
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => Place::Unix(path.clone()),
            _ => return Err(Error::configuration(format!("the Redis URL cannot be used: {FORM}"))),
        };
        Ok(Self::of(place, info.redis_settings()))
    }

    fn of(place: Place, settings: &RedisConnectionInfo) -> Self {
        Self {
            place,
            user: settings.username().map(str::to_owned),
            password: settings.password().map(|password| Zeroizing::new(password.to_owned())),
            database: settings.db(),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.place, Place::Tcp { is_tls: true, .. })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            // An IPv6 address.
            Place::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            #[cfg(unix)]
            Place::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/{}", self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> String {
        let address = Address::parse(url).expect(url);
        format!(
            "{address:?} {:?} {:?} {}",
            address.user,
            address.password.as_deref(),
            address.is_tls()
        )
    }

    #[test]
    fn every_form_of_url_is_parsed() {
        for (url, expected) in [
            ("redis://localhost", "localhost:6379/0 None None false"),
            (" redis://localhost:7000/3\n", "localhost:7000/3 None None false"),
            ("redis://:p%23w@127.0.0.1/2", r#"127.0.0.1:6379/2 None Some("p#w") false"#),
            ("rediss://app:pw@redis.test", r#"redis.test:6379/0 Some("app") Some("pw") true"#),
            ("valkeys://[::1]:7000", "[::1]:7000/0 None None true"),
            ("valkey://localhost?protocol=resp3", "localhost:6379/0 None None false"),
            #[cfg(unix)]
            ("unix:///run/redis.sock?db=2", "/run/redis.sock/2 None None false"),
            #[cfg(unix)]
            ("redis+unix:///r.sock?pass=pw", r#"/r.sock/0 None Some("pw") false"#),
        ] {
            assert_eq!(place(url), expected, "{url}");
        }
    }

    #[test]
    fn error_does_not_repeat_an_invalid_url() {
        for (url, hint) in [
            ("", "not a Redis URL"),
            ("secret", "not a Redis URL"),
            ("http://:secret@localhost", "not a Redis URL"),
            ("redis://:secret@", "not a Redis URL"),
            ("redis:secret", "Missing hostname"),
            ("redis://:se#cret@localhost", "percent-encode"),
            ("redis://localhost/#secret", "%23"),
            ("rediss://:secret@localhost#insecure", "root_certificates"),
            ("redis://:secret@localhost/one", "database number"),
            ("redis://:secret@localhost:70000", "not a Redis URL"),
            ("redis://:secret@0.0.0.0", "wildcard"),
            ("redis://localhost?protocol=secret", "protocol"),
        ] {
            let error = Address::parse(url).expect_err(url);
            assert!(error.is_configuration());
            let message = format!("{error} {error:?}");
            assert!(message.contains(hint), "{url}: {message}");
            assert!(!message.contains("secret") && !message.contains("cret@"), "{message}");
        }
    }
}
