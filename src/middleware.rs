//! The layer around a service: what becomes of a request, in the order in which one meets it.

mod after_logout;
mod answers;
mod check_body;
mod client_kind;
mod csrf;
mod end_streams;
mod future;
mod gate;
mod layer;
mod next;
mod passed;
mod prefetch;
mod read_body;
mod route;
mod service;
mod slow_path;
mod verdict;
mod when_revoked;

pub(crate) use self::after_logout::AfterLogout;
pub use self::after_logout::ClearSiteData;
pub use self::answers::{
    Answer, BrowserAnswers, EmptyAnswers, GrpcAnswers, JsonAnswers, Reply, ReplyKind,
};
pub use self::check_body::{CheckBody, CheckBodyFuture, CheckBodyLayer};
pub(crate) use self::csrf::Csrf;
pub use self::end_streams::{
    EndStreams, EndStreamsFuture, EndStreamsLayer, RequestBody, ResponseBody,
};
pub use self::future::ResponseFuture;
pub(crate) use self::gate::{Gate, RequestCounters};
pub use self::layer::PolarLogoutLayer;
pub(crate) use self::route::Route;
pub use self::service::PolarLogout;
pub(crate) use self::when_revoked::Rules;
pub use self::when_revoked::WhenRevoked;
