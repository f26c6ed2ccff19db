//! What every failure is called by.

use std::fmt;

/// A promise of this crate's. `broken/` holds a patch for each, of the same name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Promise {
    /// The first effect of a logout is that the token is rejected, whatever comes after.
    DenyFirst,
    /// What is rejected stays so until it expires; where there is no room the caller is told.
    NothingIsForgotten,
    /// What was acknowledged reaches Polar, or a dead letter, and every replica.
    NothingIsLost,
    /// Wherever a request carries the token, and however it is written there.
    NoWayAround,
    /// A request waits for nothing: it is decided when it is first polled.
    TheHotPath,
    /// No token and no client secret in anything that is told.
    SecretsStayInside,
    /// Never two calls about one pair at once, by one process or by several in turn.
    PolarIsTreatedWell,
    /// A logout is answered by its deadline, and Polar is never called more than it can bear.
    PolarsHealthIsNotTheApps,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DenyFirst => "deny first",
            Self::NothingIsForgotten => "nothing is forgotten",
            Self::NothingIsLost => "nothing is lost",
            Self::NoWayAround => "no way around",
            Self::TheHotPath => "the hot path",
            Self::SecretsStayInside => "secrets stay inside",
            Self::PolarIsTreatedWell => "polar is treated well",
            Self::PolarsHealthIsNotTheApps => "polars health is not the apps",
        })
    }
}
