//! Answers in JSON.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, request};

use super::{Answer, Reply};

/// Writes refusals as RFC 6749, section 5.2, does:
/// `{"error":"invalid_token","error_description":"The token was revoked."}`. A successful logout
/// has no body.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonAnswers;

#[diagnostic::do_not_recommend]
impl<R: From<Bytes>> Answer<R> for JsonAnswers {
    fn answer(&self, _: &request::Parts, reply: Reply) -> Response<R> {
        let kind = reply.kind();
        let (Some(error), Some(description)) = (kind.error(), kind.description()) else {
            return reply.with_body(Bytes::new().into());
        };
        // The texts have nothing in them to escape.
        let body = format!(r#"{{"error":"{error}","error_description":"{description}"}}"#);
        let mut response = reply.with_body(Bytes::from(body).into());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}
