//! Checks the response of a request whose credential may be revoked after it passed.

use std::sync::Arc;

use http::Response;
use http::header::SET_COOKIE;
use tracing::info;

use super::gate::Gate;
use crate::revocation::Carried;

/// A request that passed, with its credentials.
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

    /// Checks the response of the inner service. If the response renews a session that a logout has
    /// ended meanwhile, the browser does not get the new cookies, and the credentials in them are
    /// revoked.
    #[inline]
    pub(crate) fn finish<R>(&self, response: &mut Response<R>) {
        if response.headers().contains_key(SET_COOKIE) && self.is_revoked() {
            let count = self.gate.take_back_cookies(response.headers_mut());
            if count > 0 {
                info!(
                    count,
                    "cookies were taken out of a response: its request's credential was revoked \
                     meanwhile"
                );
            }
        }
    }

    #[cold]
    fn is_revoked(&self) -> bool {
        self.carried.iter().any(|hash| self.gate.revoker.denylist.contains(hash))
    }
}
