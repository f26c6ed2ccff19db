//! Which stream of which Redis.

use std::sync::Arc;

use rustls::ClientConfig;

use super::address::Address;

/// Which stream of which Redis.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) key: String,
}
