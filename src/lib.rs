#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod delivery;
mod error;
pub mod guide;
mod handle;
mod location;
mod log;
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

pub use self::builder::Builder;
pub use self::delivery::DeadLetter;
pub use self::error::{Error, ErrorKind};
pub use self::handle::LogoutHandle;
#[cfg(feature = "axum")]
pub use self::handle::LogoutOutcomeRejection;
pub use self::location::{CookieLocation, SameSite, TokenLocation};
#[cfg(feature = "journal")]
pub use self::log::Journal;
#[cfg(feature = "redis")]
pub use self::log::RedisLog;
pub use self::log::{
    Claimant, Cursor, Event, Followed, Kept, LogFuture, RevocationLog, SealedToken,
};
pub use self::middleware::ClearSiteData;
pub use self::middleware::PolarLogout;
pub use self::middleware::PolarLogoutLayer;
pub use self::middleware::ResponseFuture;
pub use self::middleware::WhenRevoked;
pub use self::middleware::{
    Answer, BrowserAnswers, EmptyAnswers, GrpcAnswers, JsonAnswers, Reply, ReplyKind,
};
pub use self::middleware::{CheckBody, CheckBodyFuture, CheckBodyLayer};
pub use self::middleware::{
    EndStreams, EndStreamsFuture, EndStreamsLayer, RequestBody, ResponseBody,
};
pub use self::polar::{
    ClientAuthMethod, ClientCredentials, CredentialCheck, Outcome, PolarClient, PolarClientBuilder,
    PolarServer, Reason,
};
pub use self::revocation::LogoutOutcome;
pub use self::revocation::RevocationSignal;
pub use self::telemetry::Counts;
pub use self::telemetry::{ErrorClass, Health};
pub use self::token::{Revocation, Token, TokenHash, TokenTypeHint};
