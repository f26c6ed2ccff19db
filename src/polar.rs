//! The revocation endpoint of RFC 7009 as Polar speaks it.

mod client;
mod credential_check;
mod credentials;
mod introspection;
mod outcome;
mod request;
mod server;
#[cfg(feature = "tls")]
mod transport;

pub use self::client::{PolarClient, PolarClientBuilder};
pub use self::credential_check::CredentialCheck;
pub use self::credentials::{ClientAuthMethod, ClientCredentials};
pub(crate) use self::introspection::Introspection;
pub use self::outcome::{Reason, RevokeOutcome};
pub use self::server::PolarServer;
