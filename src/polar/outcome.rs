//! The outcome of a revoke call, and which answer means which outcome.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};

use crate::error::BoxError;

/// The outcome of one revoke call.
///
/// A variant that holds a [`Reason`] alone stays as it is: what is added goes into the `Reason`.
#[derive(Debug)]
#[non_exhaustive]
pub enum RevokeOutcome {
    /// Any 2xx: the token is revoked, or was never valid at the server (RFC 7009, section 2.2).
    ///
    /// Polar answers before it commits: for about 100 ms after the answer the token may still work.
    Confirmed,
    /// Polar will never revoke this token for this client: `invalid_grant` (another client's
    /// token), `invalid_request`, `unsupported_token_type`, `invalid_token` with 400, or 413.
    /// Repeating the call has no effect.
    Refused(Reason),
    /// The configuration is wrong, and the token stays valid until it is fixed:
    ///
    /// - `invalid_client` or `unauthorized_client`: the credentials;
    /// - 404, 405, a redirect, or a 400 or 401 that is not an OAuth error: the URL, or a proxy in
    ///   between.
    Misconfigured(Reason),
    /// Anything else: a rate limit, a server error, no connection, no answer in time. The token may
    /// still be valid. Try again, after `retry_after` if the server sent one.
    #[non_exhaustive]
    TryAgain {
        /// Why the call was not confirmed.
        reason: Reason,
        /// The server's `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3).
        retry_after: Option<Duration>,
    },
}

impl RevokeOutcome {
    /// Whether Polar has confirmed the revocation.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        matches!(self, Self::Confirmed)
    }

    pub(super) fn of_answer(answer: &Response<impl AsRef<[u8]>>) -> Self {
        let status = answer.status();
        if status.is_success() {
            return Self::Confirmed;
        }
        let code = Code::of_body(answer.body().as_ref());
        let reason = Reason(Why::Answered { status, code });
        // For a client error the code decides, not the status: Polar's 401 has three meanings, and
        // an unknown client is 400 with the form and 401 with Basic. A rate limit or a server error
        // says nothing about the token, whatever its body holds.
        let is_about_us = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        match (code.filter(|_| is_about_us), status) {
            (_, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
            | (Some(Code::InvalidClient | Code::UnauthorizedClient), _)
            | (None, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) => {
                Self::Misconfigured(reason)
            }
            (Some(Code::InvalidGrant | Code::InvalidRequest | Code::UnsupportedTokenType), _)
            | (Some(Code::InvalidToken), StatusCode::BAD_REQUEST)
            | (None, StatusCode::PAYLOAD_TOO_LARGE) => Self::Refused(reason),
            (None, _) if status.is_redirection() => Self::Misconfigured(reason),
            (Some(Code::InvalidToken) | None, _) => Self::TryAgain {
                reason,
                retry_after: retry_after(answer.headers(), SystemTime::now()),
            },
        }
    }

    pub(super) fn unanswered(error: BoxError) -> Self {
        Self::TryAgain { reason: Reason(Why::Unanswered(error)), retry_after: None }
    }
}

/// Why a revoke call was not confirmed. Holds Polar's answer, and nothing of the request.
#[derive(Debug)]
pub struct Reason(Why);

#[derive(Debug)]
enum Why {
    Answered { status: StatusCode, code: Option<Code> },
    Unanswered(BoxError),
}

impl Reason {
    pub(super) fn answered(status: StatusCode) -> Self {
        Self(Why::Answered { status, code: None })
    }

    /// The status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match &self.0 {
            Why::Answered { status, .. } => Some(*status),
            Why::Unanswered(_) => None,
        }
    }

    /// Whether Polar may still be working on the call: the call was sent, and it was answered by a
    /// gateway or not at all. A second call about the same pair would then freeze Polar.
    pub(crate) fn may_be_under_way(&self) -> bool {
        match &self.0 {
            Why::Answered { status, .. } => {
                // Content delivery networks use 520 to 524.
                matches!(status.as_u16(), 502 | 504 | 520..=524)
            }
            Why::Unanswered(error) => !failed_to_connect(&**error),
        }
    }

    /// The answer's `error` (RFC 6749, section 5.2; RFC 7009, section 2.2.1), if it is one of the
    /// codes that [`RevokeOutcome`] names.
    #[must_use]
    pub fn error_code(&self) -> Option<&'static str> {
        match &self.0 {
            Why::Answered { code, .. } => code.map(Code::as_str),
            Why::Unanswered(_) => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Answered { status, code: Some(code) } => write!(f, "{status}, {}", code.as_str()),
            Why::Answered { status, code: None } => write!(f, "{status}"),
            Why::Unanswered(error) => {
                // All causes: "client error (Connect)" alone hides a wrong host name.
                write!(f, "no answer")?;
                causes(&**error).try_for_each(|cause| write!(f, ": {cause}"))
            }
        }
    }
}

impl StdError for Reason {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Why::Answered { .. } => None,
            Why::Unanswered(error) => error.source(),
        }
    }
}

/// An error and the chain of its sources.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

/// Whether the call cannot have reached Polar. `false` if that is not known.
fn failed_to_connect(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    causes(error).any(|cause| {
        #[cfg(feature = "tls")]
        if let Some(error) = cause.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                AddrNotAvailable
                    | ConnectionRefused
                    | HostUnreachable
                    | NetworkDown
                    | NetworkUnreachable
            )
        })
    })
}

/// The error codes that decide the outcome. The rest of the answer is dropped: a server could
/// repeat the token in it, and the token would then appear in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    InvalidClient,
    UnauthorizedClient,
    InvalidGrant,
    InvalidRequest,
    InvalidToken,
    UnsupportedTokenType,
}

impl Code {
    const ALL: [Self; 6] = [
        Self::InvalidClient,
        Self::UnauthorizedClient,
        Self::InvalidGrant,
        Self::InvalidRequest,
        Self::InvalidToken,
        Self::UnsupportedTokenType,
    ];

    fn of_body(body: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct ErrorBody {
            error: String,
        }
        let ErrorBody { error } = serde_json::from_slice(body).ok()?;
        Self::ALL.into_iter().find(|code| code.as_str() == error)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::UnsupportedTokenType => "unsupported_token_type",
        }
    }
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // A date that has passed means "now".
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn outcome(status: u16, body: &str) -> RevokeOutcome {
        let answer = Response::builder().status(status).body(body.to_owned()).expect("a response");
        RevokeOutcome::of_answer(&answer)
    }

    fn error(code: &str) -> String {
        format!(r#"{{"error": "{code}"}}"#)
    }

    #[test]
    fn any_2xx_confirms() {
        for status in [200, 201, 202, 204, 299] {
            assert!(outcome(status, "{}").is_confirmed());
            assert!(outcome(status, "not json").is_confirmed());
        }
    }

    #[test]
    fn permanent_errors_are_refused() {
        for (status, code) in [
            (400, "invalid_grant"),
            (400, "invalid_request"),
            (401, "unsupported_token_type"),
            (400, "unsupported_token_type"),
            (400, "invalid_token"),
        ] {
            assert!(matches!(outcome(status, &error(code)), RevokeOutcome::Refused(_)), "{code}");
        }
        assert!(matches!(outcome(413, &error("RequestBodyTooLarge")), RevokeOutcome::Refused(_)));
    }

    #[test]
    fn wrong_credentials_and_urls_are_misconfigured() {
        for (status, code) in
            [(401, "invalid_client"), (400, "invalid_client"), (400, "unauthorized_client")]
        {
            assert!(
                matches!(outcome(status, &error(code)), RevokeOutcome::Misconfigured(_)),
                "{code}"
            );
        }
        for status in [301, 302, 303, 307, 308, 400, 401, 404, 405] {
            assert!(
                matches!(outcome(status, "<html>"), RevokeOutcome::Misconfigured(_)),
                "{status}"
            );
        }
        let not_oauth = r#"{"error": "Unauthorized", "detail": "Unauthorized"}"#;
        assert!(matches!(outcome(401, not_oauth), RevokeOutcome::Misconfigured(_)));
        assert!(matches!(outcome(404, &error("invalid_grant")), RevokeOutcome::Misconfigured(_)));
    }

    #[test]
    fn all_other_errors_are_tried_again() {
        for (status, body) in [
            (401, error("invalid_token")),
            (403, String::new()),
            (408, String::new()),
            (411, error("LengthRequired")),
            (429, String::new()),
            (500, "Internal Server Error".to_owned()),
            (502, String::new()),
            (503, String::new()),
            (504, "<html>".to_owned()),
            (429, error("invalid_request")),
            (500, error("invalid_client")),
            (503, error("invalid_grant")),
        ] {
            assert!(matches!(outcome(status, &body), RevokeOutcome::TryAgain { .. }), "{status}");
        }
    }

    #[test]
    fn retry_after_is_in_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Fri, 21 Aug 2026 10:00:00 GMT").expect("a date");
        let after = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().expect("value"))]), now)
        };
        assert_eq!(after("60"), Some(Duration::from_secs(60)));
        assert_eq!(after(" 900 "), Some(Duration::from_secs(900)));
        assert_eq!(after("Fri, 21 Aug 2026 10:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(after("Fri, 21 Aug 2026 09:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn unanswered_call_names_every_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::log("client error (Connect)").with_source(refused);
        let RevokeOutcome::TryAgain { reason, .. } = RevokeOutcome::unanswered(error.into()) else {
            panic!("try again")
        };
        assert_eq!(reason.to_string(), "no answer: client error (Connect): connection refused");
    }

    /// Unless it never connected. A gateway's 502 or 504 is not an answer of Polar.
    #[test]
    fn call_without_answer_may_be_under_way() {
        let io = |kind| RevokeOutcome::unanswered(std::io::Error::from(kind).into());
        for (outcome, expected) in [
            (io(std::io::ErrorKind::ConnectionRefused), false),
            (io(std::io::ErrorKind::ConnectionReset), true),
            (io(std::io::ErrorKind::BrokenPipe), true),
            (RevokeOutcome::unanswered("request timed out".into()), true),
            (outcome(502, ""), true),
            (outcome(504, ""), true),
            (outcome(500, ""), false),
            (outcome(503, ""), false),
            (outcome(429, ""), false),
        ] {
            let RevokeOutcome::TryAgain { reason, .. } = outcome else { panic!("try again") };
            assert_eq!(reason.may_be_under_way(), expected, "{reason}");
        }
    }

    #[test]
    fn reason_shows_only_the_status_and_known_codes() {
        let answer = r#"{"error": "polar_at_u_SECRET", "error_description": "polar_at_u_SECRET"}"#;
        let RevokeOutcome::Misconfigured(reason) = outcome(400, answer) else {
            panic!("misconfigured")
        };
        assert_eq!(reason.to_string(), "400 Bad Request");
        assert!(!format!("{reason:?}").contains("SECRET"));

        let RevokeOutcome::Misconfigured(reason) = outcome(401, &error("invalid_client")) else {
            panic!("misconfigured")
        };
        assert_eq!(reason.to_string(), "401 Unauthorized, invalid_client");
        assert_eq!(reason.error_code(), Some("invalid_client"));
        assert_eq!(reason.status(), Some(StatusCode::UNAUTHORIZED));
    }
}
