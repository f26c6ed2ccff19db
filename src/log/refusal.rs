//! The error of a log, in a form that several callers can get.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// An [`Error`] that can be cloned.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Refusal {
    pub(super) fn new(message: String) -> Self {
        Self { message, source: None }
    }

    pub(super) fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.source.iter().try_for_each(|source| write!(f, ": {source}"))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Self::log(refusal.message);
        match refusal.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}
