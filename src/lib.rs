#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod delivery;
mod error;
pub mod guide;
mod handle;
mod location;
pub mod log;
mod middleware;
pub mod observability;
mod polar;
mod revocation;
mod spawner;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "tls", feature = "redis"))]
mod tls;
mod token;

pub use self::builder::PolarLogoutLayerBuilder;
pub use self::delivery::DeadLetter;
pub use self::error::{Error, ErrorKind};
#[cfg(feature = "axum")]
pub use self::handle::LogoutOutcomeRejection;
pub use self::handle::{LogoutHandle, ShutdownReport};
pub use self::location::{CookieLocation, SameSite, TokenLocation};
#[cfg(feature = "journal")]
pub use self::log::Journal;
#[cfg(feature = "redis")]
pub use self::log::RedisLog;
pub use self::middleware::{
    Answer, BrowserAnswers, CheckBody, CheckBodyFuture, CheckBodyLayer, ClearSiteData,
    EmptyAnswers, EndStreams, EndStreamsFuture, EndStreamsLayer, GrpcAnswers, JsonAnswers,
    PolarLogout, PolarLogoutLayer, Reply, ReplyKind, RequestBody, ResponseBody, ResponseFuture,
    WhenRevoked,
};
pub use self::polar::{ClientCredentials, PolarServer};
pub use self::revocation::{LogoutOutcome, RevocationSignal};
pub use self::telemetry::{Counts, ErrorClass, Health};
pub use self::token::{Revocation, TokenHash};

/// The client of Polar's revocation endpoint: how it is configured, and how it is used without the
/// layer.
///
/// An application needs it only for what [`ClientCredentials`] and [`PolarServer`] do not say:
/// time-outs, CA certificates, the authentication method, an HTTP client of its own.
pub mod client {
    pub use crate::polar::{
        ClientAuthMethod, CredentialCheck, PolarClient, PolarClientBuilder, Reason, RevokeOutcome,
    };
    pub use crate::token::{Token, TokenTypeHint};
}
