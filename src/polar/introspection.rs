//! What introspection tells about a token (RFC 7662, section 2.2), and what it proves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Response;

use super::outcome::{Reason, RevokeOutcome};

/// How far Polar's clock and ours may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Longer no revocation takes to be verified.
const LONGEST: Duration = Duration::from_secs(3600);

/// An answer to an introspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Introspection {
    pub(crate) is_active: bool,
    /// When the access token of the pair expires, where the server says so.
    expires_at: Option<SystemTime>,
}

impl Introspection {
    pub(super) fn of_answer(answer: &Response<impl AsRef<[u8]>>) -> Result<Self, RevokeOutcome> {
        #[derive(serde::Deserialize)]
        struct Body {
            active: bool,
            exp: Option<u64>,
        }
        match RevokeOutcome::of_answer(answer) {
            misconfigured @ RevokeOutcome::Misconfigured(_) => Err(misconfigured),
            again @ RevokeOutcome::TryAgain { .. } => Err(again),
            // For nothing it answers is the token beyond help.
            RevokeOutcome::Refused(reason) => {
                Err(RevokeOutcome::TryAgain { reason, retry_after: None })
            }
            RevokeOutcome::Confirmed => {
                let said = serde_json::from_slice(answer.body().as_ref());
                let Body { active, exp } = said.map_err(|_| RevokeOutcome::TryAgain {
                    reason: Reason::answered(answer.status()),
                    retry_after: None,
                })?;
                let expires_at =
                    exp.and_then(|exp| UNIX_EPOCH.checked_add(Duration::from_secs(exp)));
                Ok(Self { is_active: active, expires_at })
            }
        }
    }

    /// For how long from now "inactive" will mean nothing but "revoked". Polar's introspection tells
    /// about the pair: it says "inactive" of any token of a pair whose access token has expired, also
    /// of a refresh token that still works.
    pub(crate) fn proves_for(&self, now: SystemTime) -> Duration {
        if !self.is_active {
            return Duration::ZERO;
        }
        let Some(expires_at) = self.expires_at else { return LONGEST };
        let left = expires_at.duration_since(now).unwrap_or_default();
        left.saturating_sub(CLOCK_SKEW).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> Result<Introspection, RevokeOutcome> {
        Introspection::of_answer(&Response::new(body.to_owned()))
    }

    #[test]
    fn inactive_proves_nothing_of_a_pair_that_was_expired_or_about_to() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let proves_for = |body| said(body).expect("an answer").proves_for(now).as_secs();
        assert_eq!(proves_for(r#"{"active": false}"#), 0);
        assert_eq!(proves_for(r#"{"active": true, "exp": 1}"#), 0);
        assert_eq!(proves_for(r#"{"active": true, "exp": 1000300}"#), 0);
        assert_eq!(proves_for(r#"{"active": true, "exp": 1000301}"#), 1);
        assert_eq!(proves_for(r#"{"active": true}"#), 3600, "it never expires");
        assert_eq!(proves_for(r#"{"active": true, "exp": 18446744073709551615}"#), 3600);
    }

    #[test]
    fn anything_but_a_wellformed_answer_says_nothing() {
        for body in ["", "{}", "<html>", r#"{"active": "yes"}"#, r#"{"active": true, "exp": "x"}"#]
        {
            assert!(matches!(said(body), Err(RevokeOutcome::TryAgain { .. })), "{body}");
        }
    }
}
