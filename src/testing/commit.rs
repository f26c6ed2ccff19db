//! The changes that the server commits after it has answered.

use std::time::Duration;

use super::pair::{CODE_LIFETIME, PairId, REFRESH_LIFETIME, TokenPair};

/// A change that the server commits after it has answered the call.
pub(super) enum Commit {
    /// The end of a pair.
    Revoke(PairId),
    /// A new pair, which replaces the grant that it was issued for.
    Issue { pair: TokenPair, grant: Grant },
}

/// The grant that a new pair is issued for, and uses up.
pub(super) enum Grant {
    Code(String),
    Refresh(PairId),
}

impl Grant {
    pub(super) fn lifetime(&self) -> Duration {
        match self {
            Self::Code(_) => CODE_LIFETIME,
            Self::Refresh(_) => REFRESH_LIFETIME,
        }
    }
}

impl Commit {
    /// The pair that this commit ends.
    pub(super) fn ends(&self) -> Option<PairId> {
        match self {
            Self::Revoke(pair) | Self::Issue { grant: Grant::Refresh(pair), .. } => Some(*pair),
            Self::Issue { grant: Grant::Code(_), .. } => None,
        }
    }
}
