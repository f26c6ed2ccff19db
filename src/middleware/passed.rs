//! What is still under way when its credential is revoked: the request had passed.

use std::sync::Arc;

use http::Response;
use http::header::SET_COOKIE;
use tracing::info;

use super::gate::Gate;
use crate::revocation::Carried;

/// A request that passed, and what it passed with.
#[derive(Debug)]
pub(crate) struct Passed {
    gate: Arc<Gate>,
    carried: Carried,
}

impl Passed {
    #[inline]
    pub(crate) fn new(gate: Arc<Gate>, carried: Carried) -> Self {
        Self { gate, carried }
    }

    /// Looks at the response of the inner service. A session that was renewed while it was ended is
    /// ended: the browser does not get the new cookies, and what is in them is revoked.
    #[inline]
    pub(crate) fn finish<R>(&self, response: &mut Response<R>) {
        if response.headers().contains_key(SET_COOKIE) && self.is_revoked() {
            let count = self.gate.take_back_cookies(response.headers_mut());
            if count > 0 {
                info!(
                    count,
                    "cookies were taken out of a response whose request's credential was revoked meanwhile"
                );
            }
        }
    }

    #[cold]
    fn is_revoked(&self) -> bool {
        self.carried.iter().any(|hash| self.gate.revoker.denylist.contains(hash))
    }
}
