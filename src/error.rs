//! The error of configuration, of revocation logs, and of questions to Polar.

use std::error::Error as StdError;
use std::fmt;

/// Any error of a [`Service`](tower::Service) or body from outside this crate.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// An error of configuration, of a revocation log, or of a question to Polar.
///
/// The message says what to do. It never contains a token or a client secret.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An environment variable is missing, empty, not UTF-8, or has an invalid value.
    Environment,
    /// An option has an invalid value, or a required option is missing.
    Configuration,
    /// The HTTPS client could not be set up.
    Tls,
    /// There is no tokio runtime.
    Runtime,
    /// A revocation log cannot be opened, read or written.
    Log,
    /// The authorization server does not accept the client credentials.
    Credentials,
    /// The authorization server did not answer, limits this address, or failed.
    Unanswered,
}

impl Error {
    /// An error of a [`RevocationLog`](crate::log::RevocationLog), with this message.
    pub fn log(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Log, message)
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether an environment variable is missing, empty, not UTF-8, or has an invalid value.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        self.kind == ErrorKind::Environment
    }

    /// Whether an option has an invalid value, or a required option is missing.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        self.kind == ErrorKind::Configuration
    }

    /// Whether the authorization server did not answer, limits this address, or failed.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.kind == ErrorKind::Unanswered
    }
}

/// A URL as an error may show it: without a user name and a password.
pub(crate) fn without_user(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
