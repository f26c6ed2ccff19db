//! The outcome of a logout.

use crate::telemetry::metrics;

/// The outcome of a logout: of its worst token, if it had several.
///
/// An application that handles logout itself finds it in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogoutOutcome {
    /// There was no credential to revoke.
    NoToken,
    /// Every credential is rejected here, and Polar confirmed each that is Polar's.
    Confirmed,
    /// Every credential is rejected here; Polar refuses for good to revoke one of them, another
    /// client's for example.
    Refused,
    /// Every credential is rejected here; a place of Polar's token held something else, an
    /// encrypted cookie for example, and Polar is not told of a token. See
    /// [`LogoutHandle::revoke`](crate::LogoutHandle::revoke).
    Unrecognized,
    /// Every credential is rejected here; one of them is still on its way to Polar, or into the
    /// log.
    Pending,
    /// Every credential is rejected here; there is no room for one of them in the queue to Polar,
    /// or it was the 17th token of its logout.
    Busy,
    /// Every credential is rejected here; the log could not keep that beyond the life of this
    /// process.
    Unrecorded,
    /// There is no room for one more revocation: a credential is not rejected here. Polar is told.
    Full,
}

impl LogoutOutcome {
    /// The worst last.
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

    /// Whether every credential is rejected here from now on, if there was any. Holds for all but
    /// [`Full`](Self::Full).
    #[must_use]
    pub fn is_denied(self) -> bool {
        self != Self::Full
    }

    /// Whether every credential is rejected here, and Polar has confirmed each that is Polar's.
    /// Holds for [`Confirmed`](Self::Confirmed) alone.
    #[must_use]
    pub fn is_confirmed(self) -> bool {
        self == Self::Confirmed
    }

    /// Whether it must be repeated: something was not taken in.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Busy | Self::Unrecorded | Self::Full)
    }

    /// Whether Polar has not confirmed, though nothing failed here.
    pub(crate) fn is_accepted_only(self) -> bool {
        matches!(self, Self::Refused | Self::Unrecognized | Self::Pending)
    }

    /// A word for it, in `snake_case`, for a log or a label.
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

/// Counts logouts for monitoring.
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
