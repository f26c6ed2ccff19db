//! Answers, in Polar's words.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

pub(super) struct PolarAnswer {
    pub(super) status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
}

impl PolarAnswer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::json_text(status, body.to_string())
    }

    pub(super) fn json_text(status: StatusCode, body: impl Into<String>) -> Self {
        Self::empty(status).header(CONTENT_TYPE, "application/json").body(body)
    }

    /// An answer of an OAuth endpoint, which must not be stored.
    pub(super) fn oauth(status: StatusCode, body: &Value) -> Self {
        Self::json(status, body).header(CACHE_CONTROL, "no-store")
    }

    pub(super) fn error(status: StatusCode, error: &str) -> Self {
        Self::oauth(status, &json!({ "error": error }))
    }

    pub(super) fn described_error(status: StatusCode, error: &str, description: &str) -> Self {
        let body = json!({ "error": error, "error_description": description });
        Self::oauth(status, &body)
    }

    /// The call needs a Bearer token and carries none.
    pub(super) fn unauthorized() -> Self {
        let body = json!({ "error": "Unauthorized", "detail": "Unauthorized" });
        Self::json(StatusCode::UNAUTHORIZED, &body)
            .header(WWW_AUTHENTICATE, "Bearer realm=\"polar\"")
    }

    /// The call's Bearer token is not a live access token.
    pub(super) fn invalid_token() -> Self {
        const DESCRIPTION: &str = "The access token provided is expired, revoked, malformed, or \
                                   invalid for other reasons.";
        let error = "invalid_token";
        Self::described_error(StatusCode::UNAUTHORIZED, error, DESCRIPTION).header(
            WWW_AUTHENTICATE,
            &format!(
                "Bearer realm=\"polar\", error=\"{error}\", error_description=\"{DESCRIPTION}\""
            ),
        )
    }

    pub(super) fn crashed() -> Self {
        Self::empty(StatusCode::INTERNAL_SERVER_ERROR)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body("Internal Server Error")
    }

    pub(super) fn rate_limited() -> Self {
        Self::empty(StatusCode::TOO_MANY_REQUESTS).header(RETRY_AFTER, "60")
    }

    /// Adds a header, unless the value is invalid in a header.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    fn body(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}
