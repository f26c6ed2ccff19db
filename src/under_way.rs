//! What is still under way when its credential is revoked: the request had passed.

use std::sync::Arc;

use http::header::SET_COOKIE;
use http::{HeaderMap, Response};
use tracing::info;

use crate::body::ResponseBody;
use crate::location::Found;
use crate::policy::Policy;
use crate::signal::{Carried, RevocationSignal};

/// A request that passed, and what it passed with.
#[derive(Debug)]
pub(crate) struct UnderWay {
    policy: Arc<Policy>,
    carried: Carried,
}

impl UnderWay {
    #[inline]
    pub(crate) fn new(policy: Arc<Policy>, carried: Carried) -> Self {
        Self { policy, carried }
    }

    /// For the handler and the response, where they are to end.
    #[inline]
    pub(crate) fn signal(&self) -> Option<RevocationSignal> {
        let denylist = &self.policy.logout.denylist;
        let signal = || RevocationSignal::new(Arc::clone(denylist), &self.carried);
        self.policy.end_when_revoked.then(signal)
    }

    /// The response of the inner service, as the caller may have it.
    pub(crate) fn finish<R>(&self, mut response: Response<R>) -> Response<ResponseBody<R>> {
        if response.headers().contains_key(SET_COOKIE) {
            self.take_back_cookies(response.headers_mut());
        }
        match self.signal() {
            Some(signal) => response.map(|body| ResponseBody::until_revoked(body, signal)),
            None => response.map(ResponseBody::inner),
        }
    }

    /// A session that was renewed while it was ended is ended: the browser does not get the new
    /// cookies, and what is in them is revoked.
    #[cold]
    fn take_back_cookies(&self, headers: &mut HeaderMap) {
        if !self.carried.iter().any(|hash| self.policy.logout.denylist.contains(hash)) {
            return;
        }
        let mut taken = Vec::new();
        let take = |found: Found<'_>| taken.extend(found.revocation());
        self.policy.locations.take_set_cookies(headers, take);
        if taken.is_empty() {
            return;
        }
        info!(
            count = taken.len(),
            "cookies were taken out of a response whose request's credential was revoked meanwhile"
        );
        self.policy.revoke(taken);
    }
}
