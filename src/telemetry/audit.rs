//! Who was logged out, for those who have to answer for it: one event for each logout.

use std::fmt;

use tracing::info;

use super::correlation::Correlation;
use crate::token::{FoundIn, TokenHash};

pub(crate) fn logout(
    correlation: Correlation,
    outcome: &str,
    credentials: &[(FoundIn, TokenHash)],
) {
    info!(
        target: "tower_polar_logout::audit",
        id = %correlation,
        outcome,
        credentials = %Listed(credentials),
        elapsed_ms = correlation.elapsed_ms(),
        "logout"
    );
}

/// `authorization TokenHash(2cf24dba..), cookie TokenHash(486ea462..)`
struct Listed<'a>(&'a [(FoundIn, TokenHash)]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (found_in, hash)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{} {hash:?}", found_in.as_str())?;
        }
        Ok(())
    }
}
