//! Answers for people.

use http::{HeaderValue, Method, Response, request};

use super::{Answer, Reply, ReplyKind};
use crate::error::Error;
use crate::middleware::client_kind::wants_html;

/// Sends a browser that navigates with a revoked token to a page, with 303. Other clients get the
/// 401 of [`EmptyAnswers`](super::EmptyAnswers), and so do requests for the page itself.
///
/// A browser navigates with a GET whose `Accept` names HTML. The page should be one that works for
/// a browser with a dead cookie: see [`WhenRevoked::Anonymous`](crate::WhenRevoked::Anonymous).
#[derive(Clone, Debug)]
pub struct BrowserAnswers {
    page: HeaderValue,
}

impl BrowserAnswers {
    /// Sends browsers to this path, for example `/login`.
    ///
    /// # Errors
    ///
    /// It is no path of this site: it does not begin with one `/`, or has a character that does not
    /// fit into a header.
    pub fn to(page: impl AsRef<str>) -> Result<Self, Error> {
        let page = page.as_ref();
        // A browser drops a tab, and takes a backslash for a slash.
        let is_path = page.starts_with('/')
            && !page.starts_with("//")
            && page.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        match HeaderValue::from_str(page) {
            Ok(page) if is_path => Ok(Self { page }),
            _ => Err(Error::configuration(format!(
                "the page `{page}` for browsers must be a path of this site, like `/login`"
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
            // Or a cookie that cannot be removed would send its browser round and round.
            && page != Some(request.uri.path().as_bytes());
        let reply = if navigates { reply.see_other(self.page.clone()) } else { reply };
        reply.with_body(R::default())
    }
}
