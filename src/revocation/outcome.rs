//! The outcome of a logout, and its metric.

use crate::telemetry::metrics;

/// The outcome of a logout. If the logout had several credentials, the worst outcome of them.
///
/// An app that handles logout itself finds it in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogoutOutcome {
    /// There was no credential to revoke.
    NoToken,
    /// Every credential is denied here, and Polar has confirmed each of Polar's tokens.
    Confirmed,
    /// Every credential is denied here, but Polar will never revoke one of them, for example a
    /// token of another client.
    Refused,
    /// Every credential is denied here, but a place of Polar's token held another value, for
    /// example an encrypted cookie, so no token was sent to Polar for it. See
    /// [`LogoutHandle::revoke`](crate::LogoutHandle::revoke).
    Unrecognized,
    /// Every credential is denied here, but one of them is not delivered or not recorded yet.
    Pending,
    /// Every credential is denied here, but one of them was not sent to Polar: the queue was full,
    /// or it was the 17th token of its logout.
    Busy,
    /// Every credential is denied here, but one of them could not be recorded in the log. It is
    /// denied only until this process ends.
    Unrecorded,
    /// The denylist is full, so a credential is not denied here. Its token is sent to Polar.
    Full,
}

impl LogoutOutcome {
    /// From the best to the worst.
    const BY_RANK: [Self; 8] = [
        Self::NoToken,
        Self::Confirmed,
        Self::Refused,
        Self::Unrecognized,
        Self::Pending,
        Self::Busy,
        Self::Unrecorded,
        Self::Full,
    ];

    /// Whether every credential, if there was any, is denied here from now on. `true` for all
    /// outcomes but [`Full`](Self::Full).
    #[must_use]
    pub fn is_denied(self) -> bool {
        self != Self::Full
    }

    /// Whether every credential is denied here, and Polar has confirmed each of Polar's tokens.
    /// `true` only for [`Confirmed`](Self::Confirmed).
    #[must_use]
    pub fn is_confirmed(self) -> bool {
        self == Self::Confirmed
    }

    /// Whether the logout must be repeated: one of its effects was not accepted.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Busy | Self::Unrecorded | Self::Full)
    }

    /// Whether the logout was accepted, but Polar has not confirmed it.
    pub(crate) fn is_accepted_only(self) -> bool {
        matches!(self, Self::Refused | Self::Unrecognized | Self::Pending)
    }

    /// The name of the outcome in `snake_case`, for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::Unrecognized => "unrecognized",
            Self::Pending => "pending",
            Self::Busy => "busy",
            Self::Unrecorded => "unrecorded",
            Self::Full => "full",
        }
    }

    pub(super) fn worse(self, other: Self) -> Self {
        if self.rank() < other.rank() { other } else { self }
    }

    fn rank(self) -> usize {
        self as usize
    }
}

/// Counts logouts by outcome, as metrics.
#[derive(Debug)]
pub(super) struct Outcomes([metrics::Counter; LogoutOutcome::BY_RANK.len()]);

impl Outcomes {
    pub(super) fn new() -> Self {
        Self(LogoutOutcome::BY_RANK.map(|outcome| metrics::logouts(outcome.as_str())))
    }

    pub(super) fn count(&self, outcome: LogoutOutcome) {
        self.0[outcome.rank()].add(1);
    }
}
