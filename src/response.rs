//! What callers get.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request};

use crate::logout::LogoutOutcome;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");

/// RFC 6750, section 3.1.
const INVALID_TOKEN: HeaderValue = HeaderValue::from_static(
    r#"Bearer error="invalid_token", error_description="The token was revoked""#,
);

/// Room comes back as revocations expire, or are delivered: ask again in a minute.
const RETRY_FULL: HeaderValue = HeaderValue::from_static("60");
/// Polar's hiccups, and ours, are over in seconds.
const RETRY_PENDING: HeaderValue = HeaderValue::from_static("5");

/// An error as RFC 6749, section 5.2, writes it, and as Polar does. The texts are our own, with
/// nothing in them to escape.
macro_rules! problem {
    ($error:literal, $description:literal) => {
        concat!(r#"{"error":""#, $error, r#"","error_description":""#, $description, r#""}"#)
    };
}

/// What the browser is told to forget, with `Clear-Site-Data`.
///
/// There is no `"cache"`: clearing it can take a browser minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClearSiteData {
    /// `"cookies"`: all of the site's cookies, other applications' on the same domain included.
    Cookies,
    /// `"storage"`: local storage, `IndexedDB`, service workers.
    Storage,
    /// `"executionContexts"`: reloads the site's open pages.
    ExecutionContexts,
}

/// The application's own answer to a revoked credential.
pub(crate) type Rejection = Arc<dyn Fn(&request::Parts) -> Response<Bytes> + Send + Sync>;

/// Makes every answer of the layer's own.
pub(crate) struct Answers {
    pub(crate) redirect_to: Option<HeaderValue>,
    pub(crate) strict: bool,
    /// `Set-Cookie` values that remove the configured cookies.
    pub(crate) cookie_removals: Vec<HeaderValue>,
    pub(crate) clear_site_data: Option<HeaderValue>,
    pub(crate) rejection: Option<Rejection>,
}

impl Answers {
    /// The 401 for a revoked credential.
    pub(crate) fn rejected(&self, request: &request::Parts) -> Response<Bytes> {
        let mut response = match &self.rejection {
            Some(rejection) => rejection(request),
            None => invalid_token(),
        };
        forbid_storing(response.headers_mut());
        response
    }

    /// Whether a logout with this outcome has failed, so that it is answered 503.
    pub(crate) fn is_failure(&self, outcome: LogoutOutcome) -> bool {
        match outcome {
            LogoutOutcome::Busy | LogoutOutcome::Unrecorded | LogoutOutcome::Full => true,
            LogoutOutcome::Pending | LogoutOutcome::Refused => self.strict,
            LogoutOutcome::NoToken | LogoutOutcome::Confirmed => false,
        }
    }

    /// The answer to a logout. The browser is told to forget nothing where the request came from
    /// another site: that would be a logout forced by a stranger.
    pub(crate) fn logged_out(
        &self,
        outcome: LogoutOutcome,
        client: Client,
        cross_site: bool,
    ) -> Response<Bytes> {
        if self.is_failure(outcome) {
            return unavailable(outcome);
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = match outcome {
            LogoutOutcome::Pending | LogoutOutcome::Refused => StatusCode::ACCEPTED,
            _ => StatusCode::NO_CONTENT,
        };
        match (client, &self.redirect_to) {
            (Client::Browser, Some(target)) => {
                *response.status_mut() = StatusCode::SEE_OTHER;
                response.headers_mut().insert(LOCATION, target.clone());
            }
            (Client::Htmx, Some(target)) => {
                response.headers_mut().insert(HX_REDIRECT, target.clone());
            }
            _ => {}
        }
        self.forget(response.headers_mut(), cross_site);
        response
    }

    /// Adds to the response of the application's own logout handler what every logout answers.
    pub(crate) fn forget(&self, headers: &mut HeaderMap, cross_site: bool) {
        forbid_storing(headers);
        if cross_site {
            return;
        }
        for removal in &self.cookie_removals {
            headers.append(SET_COOKIE, removal.clone());
        }
        if let Some(what) = &self.clear_site_data {
            headers.insert(CLEAR_SITE_DATA, what.clone());
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("redirect_to", &self.redirect_to).finish_non_exhaustive()
    }
}

pub(crate) fn cross_site() -> Response<Bytes> {
    problem(
        StatusCode::FORBIDDEN,
        problem!("access_denied", "This logout came from another site. Nothing was revoked."),
    )
}

/// A browser discards a prefetch that was not answered with 2xx, and asks again when the link is clicked.
pub(crate) fn prefetch_of_logout() -> Response<Bytes> {
    problem(
        StatusCode::FORBIDDEN,
        problem!("access_denied", "This was a prefetch. Nothing was revoked."),
    )
}

/// Link checkers and previews send it. `HEAD` is safe (RFC 9110, section 9.2.1), and a logout is not.
pub(crate) fn head_of_logout(allow: HeaderValue) -> Response<Bytes> {
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        problem!("invalid_request", "A HEAD request does not log out. Nothing was revoked."),
    );
    response.headers_mut().insert(ALLOW, allow);
    response
}

pub(crate) fn body_too_large() -> Response<Bytes> {
    problem(StatusCode::PAYLOAD_TOO_LARGE, problem!("invalid_request", "The body is too large."))
}

pub(crate) fn body_broken() -> Response<Bytes> {
    problem(StatusCode::BAD_REQUEST, problem!("invalid_request", "The body could not be read."))
}

/// Nobody holds that many: it is a flood in one request.
pub(crate) fn too_many_credentials() -> Response<Bytes> {
    problem(
        StatusCode::BAD_REQUEST,
        problem!(
            "invalid_request",
            "The request carries too many credentials. Nothing was revoked."
        ),
    )
}

/// A compressed body would hide its token from the layer, and not from the application.
pub(crate) fn body_encoded() -> Response<Bytes> {
    problem(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        problem!("invalid_request", "The body must come without a Content-Encoding."),
    )
}

/// The task that was to answer is gone: the runtime shuts down, or a body panicked.
pub(crate) fn lost() -> Response<Bytes> {
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        problem!("server_error", "The request could not be finished."),
    )
}

fn invalid_token() -> Response<Bytes> {
    let mut response =
        problem(StatusCode::UNAUTHORIZED, problem!("invalid_token", "The token was revoked."));
    response.headers_mut().insert(WWW_AUTHENTICATE, INVALID_TOKEN);
    response
}

/// What other replicas have revoked is not known here for too long.
pub(crate) fn unsure() -> Response<Bytes> {
    try_again(
        RETRY_PENDING,
        problem!("temporarily_unavailable", "Whether the token was revoked is not known now."),
    )
}

fn unavailable(outcome: LogoutOutcome) -> Response<Bytes> {
    let (retry_after, body) = match outcome {
        LogoutOutcome::Full => (
            RETRY_FULL,
            problem!(
                "temporarily_unavailable",
                "There is no room for one more revocation. The token may be accepted."
            ),
        ),
        LogoutOutcome::Busy => (
            RETRY_FULL,
            problem!(
                "temporarily_unavailable",
                "The token is rejected here, but too many wait to be revoked."
            ),
        ),
        LogoutOutcome::Unrecorded => (
            RETRY_PENDING,
            problem!(
                "temporarily_unavailable",
                "The token is rejected here, but that could not be recorded."
            ),
        ),
        _ => (
            RETRY_PENDING,
            problem!(
                "temporarily_unavailable",
                "The token is rejected here, but its revocation is not confirmed."
            ),
        ),
    };
    try_again(retry_after, body)
}

fn try_again(retry_after: HeaderValue, body: &'static str) -> Response<Bytes> {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, retry_after);
    response
}

fn problem(status: StatusCode, body: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

pub(crate) fn forbid_storing(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, NO_STORE);
}

/// How a client is sent on after a logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// By 303.
    Browser,
    /// By `HX-Redirect`: its script would follow a 303 itself, and put the page into the one that is
    /// open.
    Htmx,
    /// Not at all.
    Other,
}

impl Client {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if headers.get(HX_REQUEST).is_some_and(|value| value == "true") {
            Self::Htmx
        } else if wants_html(headers) {
            Self::Browser
        } else {
            Self::Other
        }
    }
}

/// Whether `Accept` names HTML: a browser that navigates does, a script's `*/*` does not.
fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let is_html = media.eq_ignore_ascii_case("text/html")
                || media.eq_ignore_ascii_case("application/xhtml+xml");
            is_html && !parts.any(is_zero_weight)
        })
}

/// `q=0`, `q=0.0`, ...: not acceptable (RFC 9110, section 12.4.2).
fn is_zero_weight(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, weight)| {
        name.trim_end().eq_ignore_ascii_case("q")
            && weight.trim_start().parse().is_ok_and(|weight: f32| weight == 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_wanted_where_it_is_named_and_not_refused() {
        let wants = |accept: &str| {
            wants_html(&HeaderMap::from_iter([(ACCEPT, accept.parse().expect("a value"))]))
        };
        for browser in [
            "text/html",
            "TEXT/HTML;level=1",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json, text/html;q=0.1",
        ] {
            assert!(wants(browser), "{browser}");
        }
        for other in ["*/*", "", "application/json", "text/*", "text/html;q=0", "text/html; Q=0.0"]
        {
            assert!(!wants(other), "{other}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }
}
