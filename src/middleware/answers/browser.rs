//! Answers for browsers.

use http::{HeaderValue, Method, Response, request};

use super::{Answer, Reply, ReplyKind};
use crate::error::Error;
use crate::middleware::client_kind::wants_html;

/// Redirects a browser that navigates with a revoked token to a page, with 303. Other clients, and
/// requests for the page itself, get the 401 of [`EmptyAnswers`](super::EmptyAnswers).
///
/// A browser navigates with a GET whose `Accept` names HTML. The page should work for a browser
/// with a revoked cookie: see [`WhenRevoked::Anonymous`](crate::WhenRevoked::Anonymous).
#[derive(Clone, Debug)]
pub struct BrowserAnswers {
    page: HeaderValue,
}

impl BrowserAnswers {
    /// Redirects browsers to this path, for example `/login`.
    ///
    /// # Errors
    ///
    /// The page is not a path of this site: it does not begin with exactly one `/`, or it has a
    /// backslash or a character that is not visible ASCII.
    pub fn to(page: impl AsRef<str>) -> Result<Self, Error> {
        let page = page.as_ref();
        // Browsers drop tabs, and read a backslash as a slash.
        let is_path = page.starts_with('/')
            && !page.starts_with("//")
            && page.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        match HeaderValue::from_str(page) {
            Ok(page) if is_path => Ok(Self { page }),
            _ => Err(Error::configuration(format!(
                "`BrowserAnswers::to(\"{page}\")` is not a path of this site: use a path like \
                 `/login`"
            ))),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<R: Default> Answer<R> for BrowserAnswers {
    fn answer(&self, request: &request::Parts, reply: Reply) -> Response<R> {
        let page = self.page.as_bytes().split(|byte| b"?#".contains(byte)).next();
        let navigates = reply.kind() == ReplyKind::Rejected
            && request.method == Method::GET
            && wants_html(&request.headers)
            // Otherwise a cookie that cannot be removed would cause endless redirects.
            && page != Some(request.uri.path().as_bytes());
        let reply = if navigates { reply.see_other(self.page.clone()) } else { reply };
        reply.with_body(R::default())
    }
}
