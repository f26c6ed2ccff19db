//! How the layer's own answers are written; an app can replace this.

mod browser;
mod grpc;
mod json;
mod reply;

use http::{Response, request};

pub use self::browser::BrowserAnswers;
pub use self::grpc::GrpcAnswers;
pub use self::json::JsonAnswers;
pub(crate) use self::reply::{Prepared, add_to, forbid_storing};
pub use self::reply::{Reply, ReplyKind};

/// Writes the layer's own answers, with the body type `R` of the inner service: the 401 for a
/// revoked token, the answer to a logout, and the refusals.
///
/// Implemented for closures, which are given with
/// [`answer_with`](crate::PolarLogoutLayerBuilder::answer_with):
///
/// ```
/// use axum::response::{IntoResponse, Redirect, Response};
/// use http::request;
/// use tower_polar_logout::{Reply, ReplyKind};
///
/// fn to_the_login_page(_: &request::Parts, reply: Reply) -> Response {
///     match reply.kind() {
///         ReplyKind::Rejected => Redirect::to("/login").into_response(),
///         _ => reply.with_body(axum::body::Body::empty()),
///     }
/// }
/// ```
///
/// The layer then sets `Cache-Control: no-store` on the response, and adds the cookie removals.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot write answers of `PolarLogoutLayer` with the body type `{R}`",
    label = "the layer answers some requests itself, with a body of the type `{R}`",
    note = "`EmptyAnswers`, the default, needs `{R}: Default`; `JsonAnswers` needs \
            `{R}: From<Bytes>`",
    note = "for a body that has neither, such as hyper's `Incoming`: box it in the service that \
            the layer wraps, with `.map_response(|response| response.map(BodyExt::boxed))` of \
            tower and http-body-util"
)]
pub trait Answer<R> {
    /// Writes the answer to the request with this head. [`Reply::with_body`] writes the default
    /// answer.
    fn answer(&self, request: &request::Parts, reply: Reply) -> Response<R>;
}

#[diagnostic::do_not_recommend]
impl<F, R> Answer<R> for F
where
    F: Fn(&request::Parts, Reply) -> Response<R>,
{
    fn answer(&self, request: &request::Parts, reply: Reply) -> Response<R> {
        self(request, reply)
    }
}

/// Answers without a body: status and headers say everything. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyAnswers;

#[diagnostic::do_not_recommend]
impl<R: Default> Answer<R> for EmptyAnswers {
    fn answer(&self, _: &request::Parts, reply: Reply) -> Response<R> {
        reply.with_body(R::default())
    }
}
