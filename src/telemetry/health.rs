//! How delivery to Polar, and the log, are doing.

use std::time::{Duration, SystemTime};

#[cfg(feature = "serde")]
use serde::{Serialize, Serializer};

/// How delivery to Polar, and the log, are doing, for a readiness probe or an alarm.
///
/// Polar being away is no reason to take an app out of service: revoked tokens are rejected all the
/// same. An [`oldest_age`](Health::oldest_age) that grows is a reason to look.
///
/// With the feature `serde` it serialises: durations in seconds, times in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Health {
    /// Tokens on their way to Polar.
    pub pending: usize,
    /// How long the oldest of them has been, since this process took it in.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_seconds"))]
    pub oldest_age: Option<Duration>,
    /// When Polar last confirmed a revocation to this process.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_unix_time"))]
    pub last_confirmed: Option<SystemTime>,
    /// What went wrong last, where something did since the last confirmation.
    pub last_error: Option<ErrorClass>,
    /// The same in words, with every cause: "no answer: client error (Connect): dns error: ..." for
    /// example. `Some` where [`last_error`](Health::last_error) is.
    pub last_error_reason: Option<String>,
    /// Until when nothing is sent, where delivery is paused.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_unix_time"))]
    pub paused_until: Option<SystemTime>,
    /// Polar is known not to answer soon: delivery is paused, or Polar is down, or as many calls as
    /// may be in flight have all been for longer than 2 s. While this is so, a logout is answered at
    /// once, and does not wait for its deadline.
    pub unresponsive: bool,
    /// For how long the log has not been followed to its end: the link to it is down, or there is
    /// much to read. What other replicas revoked meanwhile is not known here. `None` where all that
    /// the log says is known (a log that was just emptied says little until other replicas have
    /// appended again what they know), or there is no log.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_seconds"))]
    pub log_lag: Option<Duration>,
    /// What was accepted here while the log was away, and is on its way into it: so many appends.
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

/// What kind of thing went wrong with a call to Polar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ErrorClass {
    /// Polar refused a token for good.
    Refused,
    /// Polar does not take our credentials, or the URL is not Polar's (404, 405, a redirect, an answer
    /// that is no OAuth error): the configuration must be fixed.
    Misconfigured,
    /// 429: there were too many calls from this address.
    RateLimited,
    /// Polar answered with something else that is no confirmation.
    ServerError,
    /// There was no answer: no connection, or none in time.
    Unanswered,
    /// Polar confirmed, and the token was alive all the same.
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

    /// A word for it, in `snake_case`, for a health page or a label.
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
    fn it_serialises_with_plain_numbers() {
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
