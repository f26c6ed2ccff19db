//! The layer's own answers, without their body.

use http::header::{CACHE_CONTROL, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request};

use super::Answer;
use crate::revocation::LogoutOutcome;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Explains an answer without a body to people.
const POLAR_LOGOUT_ERROR: HeaderName = HeaderName::from_static("polar-logout-error");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// RFC 6750, section 3.1.
const INVALID_TOKEN: HeaderValue = HeaderValue::from_static(
    r#"Bearer error="invalid_token", error_description="The token was revoked""#,
);

/// Revocations expire and are delivered, so there may be room in a minute.
const RETRY_FULL: HeaderValue = HeaderValue::from_static("60");
/// Short failures of Polar, and of the layer, end within seconds.
const RETRY_PENDING: HeaderValue = HeaderValue::from_static("5");

/// One of the layer's own answers, without its body: given to an [`Answer`].
#[derive(Debug)]
pub struct Reply {
    kind: ReplyKind,
    status: StatusCode,
    headers: HeaderMap,
}

/// The reason for one of the layer's own answers.
///
/// A variant that holds a [`LogoutOutcome`] alone stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyKind {
    /// The request carries a revoked token: 401, with `WWW-Authenticate` (RFC 6750, section 3.1).
    Rejected,
    /// The layer does not know whether the request's credential was revoked: 503, with
    /// `Retry-After`. See
    /// [`max_log_lag`](crate::PolarLogoutLayerBuilder::max_log_lag).
    Unsure,
    /// A logout: 204; 202 if Polar has not confirmed; 303 to a browser if
    /// [`redirect_to`](crate::PolarLogoutLayerBuilder::redirect_to) is set.
    LoggedOut(LogoutOutcome),
    /// A logout that must be repeated: 503, with `Retry-After`.
    LogoutFailed(LogoutOutcome),
    /// The logout came from another site: 403. Nothing was revoked.
    CrossSite,
    /// A browser prefetches the page behind a logout link: 403. It asks again when the link is
    /// clicked. Nothing was revoked.
    Prefetch,
    /// A HEAD request to a logout route: 405, with `Allow`. Nothing was revoked.
    Head,
    /// The body of a logout, or of a request behind a
    /// [`CheckBodyLayer`](crate::CheckBodyLayer), is too large: 413.
    BodyTooLarge,
    /// The body is incomplete, or the body of a logout took longer than 10 s: 400.
    BodyBroken,
    /// The body is compressed: 415.
    BodyEncoded,
    /// The body holds more than 64 tokens: 400.
    TooManyTokens,
    /// The runtime shuts down, or a body panicked: 500.
    Lost,
}

impl ReplyKind {
    /// The `error` of RFC 6749, section 5.2, or of RFC 6750, section 3.1; `None` for a success.
    #[must_use]
    pub fn error(self) -> Option<&'static str> {
        Some(match self {
            Self::LoggedOut(_) => return None,
            Self::Rejected => "invalid_token",
            Self::Unsure | Self::LogoutFailed(_) => "temporarily_unavailable",
            Self::CrossSite | Self::Prefetch => "access_denied",
            Self::Head
            | Self::BodyTooLarge
            | Self::BodyBroken
            | Self::BodyEncoded
            | Self::TooManyTokens => "invalid_request",
            Self::Lost => "server_error",
        })
    }

    /// A text for the caller, without characters that JSON must escape; `None` for a success.
    #[must_use]
    pub fn description(self) -> Option<&'static str> {
        Some(match self {
            Self::LoggedOut(_) => return None,
            Self::Rejected => "The token was revoked.",
            Self::Unsure => "The server cannot tell now whether the token was revoked.",
            Self::LogoutFailed(outcome) => match outcome {
                LogoutOutcome::Full => {
                    "There is no room for another revocation. The token may still be accepted."
                }
                LogoutOutcome::Busy => {
                    "The token is rejected here, but too many tokens wait to be revoked."
                }
                LogoutOutcome::Unrecorded => {
                    "The token is rejected here, but the revocation could not be recorded."
                }
                LogoutOutcome::Unrecognized => {
                    "The value in the token's place is rejected here, but it is not a token."
                }
                _ => "The token is rejected here, but its revocation is not confirmed.",
            },
            Self::CrossSite => "This logout came from another site. Nothing was revoked.",
            Self::Prefetch => "This was a prefetch. Nothing was revoked.",
            Self::Head => "A HEAD request does not log out. Nothing was revoked.",
            Self::BodyTooLarge => "The body is too large.",
            Self::BodyBroken => "The body could not be read.",
            Self::BodyEncoded => "The body must come without a Content-Encoding.",
            Self::TooManyTokens => "The body holds too many tokens.",
            Self::Lost => "The request could not be completed.",
        })
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Rejected => StatusCode::UNAUTHORIZED,
            Self::Unsure | Self::LogoutFailed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::LoggedOut(outcome) if outcome.is_accepted_only() => StatusCode::ACCEPTED,
            Self::LoggedOut(_) => StatusCode::NO_CONTENT,
            // A browser discards a prefetch that was not answered with 2xx.
            Self::CrossSite | Self::Prefetch => StatusCode::FORBIDDEN,
            Self::Head => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyBroken | Self::TooManyTokens => StatusCode::BAD_REQUEST,
            // A compressed body would hide its token from the layer, but not from the app.
            Self::BodyEncoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Lost => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Reply {
    pub(crate) fn new(kind: ReplyKind) -> Self {
        // Room for all headers, so that the map is allocated once.
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(CACHE_CONTROL, NO_STORE);
        match kind {
            ReplyKind::Rejected => {
                headers.insert(WWW_AUTHENTICATE, INVALID_TOKEN);
            }
            ReplyKind::Unsure => {
                headers.insert(RETRY_AFTER, RETRY_PENDING);
            }
            ReplyKind::LogoutFailed(outcome) => {
                let is_full = matches!(outcome, LogoutOutcome::Full | LogoutOutcome::Busy);
                headers.insert(RETRY_AFTER, if is_full { RETRY_FULL } else { RETRY_PENDING });
            }
            _ => {}
        }
        if let Some(description) = kind.description() {
            headers.insert(POLAR_LOGOUT_ERROR, HeaderValue::from_static(description));
        }
        Self { kind, status: kind.status(), headers }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Redirects a browser.
    pub(crate) fn see_other(self, target: HeaderValue) -> Self {
        Self { status: StatusCode::SEE_OTHER, ..self.with(LOCATION, target) }
    }

    /// The reason for this answer.
    #[must_use]
    pub fn kind(&self) -> ReplyKind {
        self.kind
    }

    /// The status that the layer would answer with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers that the layer would answer with: `WWW-Authenticate`, `Retry-After`, `Allow`,
    /// `Location`, `HX-Redirect`, `Cache-Control`, and for a refusal `Polar-Logout-Error` with the
    /// [`description`](ReplyKind::description). The layer adds cookie removals and
    /// `Clear-Site-Data` after an [`Answer`] has written the response.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The layer's own answer, with this body.
    #[must_use]
    pub fn with_body<R>(self, body: R) -> Response<R> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A reply, and the headers that the layer adds to its response.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) reply: Reply,
    pub(crate) cookie_removals: Vec<HeaderValue>,
    pub(crate) clear_site_data: Option<HeaderValue>,
}

impl Prepared {
    pub(crate) fn answer<A, R>(self, answers: &A, request: &request::Parts) -> Response<R>
    where
        A: Answer<R>,
    {
        let Self { reply, cookie_removals, clear_site_data } = self;
        let mut response = answers.answer(request, reply);
        add_to(response.headers_mut(), &cookie_removals, clear_site_data.as_ref());
        response
    }
}

impl From<Reply> for Prepared {
    fn from(reply: Reply) -> Self {
        Self { reply, cookie_removals: Vec::new(), clear_site_data: None }
    }
}

impl From<ReplyKind> for Prepared {
    fn from(kind: ReplyKind) -> Self {
        Reply::new(kind).into()
    }
}

/// Tells the browser to forget its cookies and data, and not to store the answer.
pub(crate) fn add_to(
    headers: &mut HeaderMap,
    cookie_removals: &[HeaderValue],
    clear_site_data: Option<&HeaderValue>,
) {
    forbid_storing(headers);
    for removal in cookie_removals {
        headers.append(SET_COOKIE, removal.clone());
    }
    if let Some(what) = clear_site_data {
        headers.insert(CLEAR_SITE_DATA, what.clone());
    }
}

pub(crate) fn forbid_storing(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, NO_STORE);
}
