//! Answers for gRPC.

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode, request};

use super::{Answer, Reply};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Answers gRPC calls with a status of gRPC: a revoked token is `Unauthenticated`. Requests whose
/// `Content-Type` is not gRPC's get [`EmptyAnswers`](super::EmptyAnswers).
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcAnswers;

#[diagnostic::do_not_recommend]
impl<R: Default> Answer<R> for GrpcAnswers {
    fn answer(&self, request: &request::Parts, reply: Reply) -> Response<R> {
        let content_type = request.headers.get(CONTENT_TYPE);
        // `application/grpc+proto` too, but not gRPC-Web, whose trailers are in the body.
        let is_grpc = |it: &HeaderValue| {
            let behind = it.as_bytes().strip_prefix(b"application/grpc");
            behind.is_some_and(|behind| matches!(behind.first(), None | Some(b'+' | b';')))
        };
        if !content_type.is_some_and(is_grpc) {
            return reply.with_body(R::default());
        }
        let description = reply.kind().description().unwrap_or_default();
        let status = grpc_status(reply.status());
        let mut response = reply.with_body(R::default());
        // A response of trailers only, which are its headers: the gRPC status replaces HTTP's.
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, status.into());
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(description));
        response
    }
}

/// `google.rpc.Code`.
fn grpc_status(status: StatusCode) -> u16 {
    match status {
        status if status.is_success() || status.is_redirection() => 0,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        StatusCode::INTERNAL_SERVER_ERROR => 13,
        _ => 3,
    }
}
