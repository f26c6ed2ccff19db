//! What can go wrong besides answering a request: at start-up, in a log, in a question to Polar.

use std::error::Error as StdError;
use std::fmt;

/// Any error that a foreign [`Service`](tower::Service) or body may hand us.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why something could not be configured.
///
/// Its message says what to do; it never contains a token or a client secret.
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
    /// An environment variable is missing, or is not text.
    Environment,
    /// An option has a value that cannot work, or a needed one is missing.
    Configuration,
    /// The HTTPS client could not be set up.
    Tls,
    /// There is no tokio runtime.
    Runtime,
    /// A revocation log cannot be opened, read or written.
    Log,
    /// The authorization server does not take the client credentials.
    Credentials,
    /// The authorization server did not answer, limits this address, or failed.
    Unanswered,
}

impl Error {
    /// An error of a [`RevocationLog`](crate::log::RevocationLog) that says `message`.
    pub fn log(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Log, message)
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// Adds what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// An environment variable is missing, or is not text.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        self.kind == ErrorKind::Environment
    }

    /// An option has a value that cannot work, or a needed one is missing.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        self.kind == ErrorKind::Configuration
    }

    /// The authorization server did not answer, limits this address, or failed.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.kind == ErrorKind::Unanswered
    }
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
