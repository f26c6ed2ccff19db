//! The promises that a failure is named by.

use std::fmt;

/// A promise of this crate. `broken/` has a patch of the same name for each.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Promise {
    /// The first effect of a logout is that the token is denied.
    DenyFirst,
    /// A denied token stays denied until it expires; if there is no room the caller is told.
    NothingIsForgotten,
    /// An acknowledged token reaches every replica, and Polar or a dead letter.
    NothingIsLost,
    /// A denied token is found in every place and in every form.
    NoWayAround,
    /// A request never waits: its first poll decides it.
    TheHotPath,
    /// No token and no client secret is in an event, an error, a log or a response.
    SecretsStayInside,
    /// There are never two calls about one pair at once, by one process or by several.
    PolarIsTreatedWell,
    /// A logout is answered by its deadline, and Polar's limits and pauses are kept.
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
