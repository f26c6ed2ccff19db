//! The counts and the calls that a test can check.

use std::fmt;
use std::time::Instant;

use http::HeaderMap;

/// Counts of what [`FakePolar`](super::FakePolar) has seen since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// `POST` requests to the revoke endpoint, whatever their result.
    pub revoke_calls: usize,
    /// Revoke calls answered with 2xx, whether or not they revoked anything.
    pub answered: usize,
    /// Live pairs that a revoke call has ended, counted at the commit. Revoking a dead token adds
    /// nothing.
    ///
    /// An access token without a refresh token counts as a pair. A pair whose access token has
    /// expired is live.
    pub revoked: usize,
    /// Calls that were answered and whose commits are still pending.
    pub uncommitted: usize,
    /// How often two calls that touched one pair at the same time have frozen the server.
    pub freezes: usize,
    /// Calls to the introspection endpoint.
    pub introspections: usize,
    /// Calls to the userinfo endpoint.
    pub userinfo: usize,
    /// Revoke calls whose callers are waiting for an answer now.
    pub in_flight: usize,
    /// The largest number of revoke calls whose callers were waiting at the same time.
    pub most_in_flight: usize,
}

/// A revoke call, as the server received it.
///
/// `Debug` shows the names of its headers and form fields, but not their values.
#[derive(Clone)]
#[non_exhaustive]
pub struct ReceivedRevoke {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its form, decoded and in order. Empty if the body was not a form or was too large.
    pub form: Vec<(String, String)>,
    /// When it had been received completely.
    pub at: Instant,
}

impl ReceivedRevoke {
    /// The value of a form field; the last one counts, as it does for Polar.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        last_value(&self.form, name)
    }
}

impl fmt::Debug for ReceivedRevoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        let form: Vec<_> = self.form.iter().map(|(name, _)| name).collect();
        f.debug_struct("ReceivedRevoke")
            .field("headers", &headers)
            .field("form", &form)
            .field("at", &self.at)
            .finish()
    }
}

pub(super) fn last_value<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}
