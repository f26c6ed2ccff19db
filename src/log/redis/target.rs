//! The stream that a log uses, and the Redis that holds it.

use std::sync::Arc;

use rustls::ClientConfig;

use super::address::Address;

#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) key: String,
}
