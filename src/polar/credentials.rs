//! The application's own credentials at Polar (RFC 6749, section 2.3.1).

use std::env::{self, VarError};
use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// `client_id` and `client_secret` of the application.
///
/// Polar calls them `polar_ci_...` and `polar_cs_...`. The secret is wiped from memory on drop, and
/// `Debug` does not show it.
#[derive(Clone)]
pub struct ClientCredentials {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
}

impl ClientCredentials {
    /// Credentials from two values; they are checked when the client or the layer is built.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self { id: client_id.into(), secret: Zeroizing::new(client_secret.into()) }
    }

    /// Credentials from the environment variables `POLAR_CLIENT_ID` and `POLAR_CLIENT_SECRET`.
    ///
    /// # Errors
    ///
    /// One of the two is not set, is empty, or is not valid UTF-8.
    pub fn from_env() -> Result<Self, Error> {
        Ok(Self::new(variable("POLAR_CLIENT_ID")?, variable("POLAR_CLIENT_SECRET")?))
    }

    /// Visible ASCII only: anything else is a copying mistake (a quote, a line end), and Polar
    /// answers it with a 401 or a 500 at the first logout instead of now.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, value) in [("client id", &self.id), ("client secret", &*self.secret)] {
            if value.is_empty() {
                return Err(Error::configuration(format!(
                    "the {name} is empty: copy it from your OAuth client in Polar's settings"
                )));
            }
            if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Error::configuration(format!(
                    "the {name} contains white space or characters that are not ASCII: \
                     copy it again from your OAuth client in Polar's settings"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How the client authenticates itself to the revocation endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuthMethod {
    /// `client_secret_post`: in the form, as Polar documents it. The default.
    #[default]
    ClientSecretPost,
    /// `client_secret_basic`: in the `Authorization` header, each part form-encoded first
    /// (RFC 6749, section 2.3.1). For other RFC 7009 servers; Polar takes it too.
    ClientSecretBasic,
}

/// By the name that RFC 7591, section 2, gives it: `client_secret_post` or `client_secret_basic`.
impl FromStr for ClientAuthMethod {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let methods = [Self::ClientSecretPost, Self::ClientSecretBasic];
        methods.into_iter().find(|method| method.to_string() == name).ok_or_else(|| {
            Error::configuration(format!(
                "the client authentication method `{name}` is not known: use `client_secret_post`, \
                 or `client_secret_basic`"
            ))
        })
    }
}

/// The name that RFC 7591, section 2, gives it: `client_secret_post` or `client_secret_basic`.
impl fmt::Display for ClientAuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientSecretPost => "client_secret_post",
            Self::ClientSecretBasic => "client_secret_basic",
        })
    }
}

fn variable(name: &str) -> Result<String, Error> {
    let what = match env::var(name) {
        Ok(value) if value.is_empty() => "is empty",
        Ok(value) => return Ok(value),
        Err(VarError::NotPresent) => "is not set",
        // The source is dropped: its Display shows the value.
        Err(VarError::NotUnicode(_)) => "is not valid UTF-8",
    };
    Err(Error::new(
        ErrorKind::Environment,
        format!("{name} {what}: set it to the value from your OAuth client in Polar's settings"),
    ))
}
