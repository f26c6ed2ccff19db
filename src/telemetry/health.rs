//! The health of the delivery to Polar and of the log.

use std::time::{Duration, SystemTime};

#[cfg(feature = "serde")]
use serde::{Serialize, Serializer};

/// The health of the delivery to Polar and of the log, for a readiness probe or an alarm.
///
/// An app can stay in service while Polar is down: requests with revoked tokens are still rejected.
/// If [`oldest_age`](Health::oldest_age) keeps growing, find out why.
///
/// With the feature `serde`, durations serialize as seconds, and times as seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Health {
    /// Tokens that are not delivered yet.
    pub pending: usize,
    /// How long ago this process accepted the oldest pending token.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_seconds"))]
    pub oldest_age: Option<Duration>,
    /// When Polar last confirmed a revocation to this process.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_unix_time"))]
    pub last_confirmed: Option<SystemTime>,
    /// The last error since the last confirmation.
    pub last_error: Option<ErrorClass>,
    /// The same error in words, with every cause, for example "no answer: client error (Connect):
    /// dns error: ...". `Some` if [`last_error`](Health::last_error) is.
    pub last_error_reason: Option<String>,
    /// When the pause ends, if delivery is paused.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_unix_time"))]
    pub paused_until: Option<SystemTime>,
    /// Polar is known not to answer soon: delivery is paused, Polar is down, or all calls that may
    /// be in flight have been in flight for longer than 2 s. A logout is then answered at once and
    /// does not wait for its deadline.
    pub unresponsive: bool,
    /// For how long this process has been behind the log: the log cannot be reached, or there is
    /// much to read. Revocations of other replicas since then are not known here. `None` if
    /// everything in the log is known, or if there is no log.
    ///
    /// A log that was just emptied holds little until the other replicas have appended again what
    /// they know.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_seconds"))]
    pub log_lag: Option<Duration>,
    /// Appends that were accepted here while the log was down and are not in the log yet.
    pub log_held: usize,
}

/// Seconds, with fractions.
#[cfg(feature = "serde")]
#[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn as_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

/// Seconds since 1970-01-01 00:00 UTC, with fractions; 0 for an earlier time.
#[cfg(feature = "serde")]
#[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn as_unix_time<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let since = time.map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    as_seconds(&since, serializer)
}

/// The kind of an error of a call to Polar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ErrorClass {
    /// Polar refused a token permanently.
    Refused,
    /// Polar does not accept the credentials, or the URL is not Polar's (404, 405, a redirect, an
    /// answer that is not an OAuth error). The configuration must be fixed.
    Misconfigured,
    /// 429: there were too many calls from this address.
    RateLimited,
    /// Any other answer that is not a confirmation.
    ServerError,
    /// There was no connection, or no answer in time.
    Unanswered,
    /// Polar confirmed the revocation, but the token was still active.
    NotCommitted,
}

impl ErrorClass {
    pub(crate) const ALL: [Self; 6] = [
        Self::Refused,
        Self::Misconfigured,
        Self::RateLimited,
        Self::ServerError,
        Self::Unanswered,
        Self::NotCommitted,
    ];

    /// The name in `snake_case`, for a health page or a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Misconfigured => "misconfigured",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Unanswered => "unanswered",
            Self::NotCommitted => "not_committed",
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn health_serializes_times_as_numbers() {
        let health = Health {
            oldest_age: Some(Duration::from_millis(1_500)),
            last_confirmed: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7)),
            last_error: Some(ErrorClass::RateLimited),
            ..Health::default()
        };
        let json = serde_json::to_value(health).expect("JSON");
        assert_eq!(json["oldest_age"], json!(1.5));
        assert_eq!(json["last_confirmed"], json!(7.0));
        assert_eq!(json["last_error"], json!("rate_limited"));
        assert_eq!(json["log_lag"], json!(null));
    }
}
