//! What is committed after the answer.

use std::time::Duration;

use super::pair::{CODE_LIFETIME, PairId, REFRESH_LIFETIME, TokenPair};

/// What a call has asked for, and the server commits after it has answered.
pub(super) enum Commit {
    /// The end of a pair.
    Revoke(PairId),
    /// A new pair, instead of what it was issued for.
    Issue { pair: TokenPair, grant: Grant },
}

/// What a new pair is issued for, and uses up.
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
    /// The pair that it ends.
    pub(super) fn ends(&self) -> Option<PairId> {
        match self {
            Self::Revoke(pair) | Self::Issue { grant: Grant::Refresh(pair), .. } => Some(*pair),
            Self::Issue { grant: Grant::Code(_), .. } => None,
        }
    }
}
