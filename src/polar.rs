//! The revocation endpoint of RFC 7009 as Polar speaks it.

mod client;
mod credentials;
mod outcome;
mod request;
mod server;
#[cfg(feature = "tls")]
mod transport;

pub use self::client::{PolarClient, PolarClientBuilder};
pub use self::credentials::{ClientAuthMethod, ClientCredentials};
pub use self::outcome::{Outcome, Reason};
pub use self::server::PolarServer;
