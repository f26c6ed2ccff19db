#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod audit;
#[cfg(feature = "axum")]
mod axum;
mod body;
mod correlation;
mod counts;
mod csrf;
mod delivery;
mod denylist;
mod error;
mod filter;
mod follower;
mod freshness;
mod future;
mod gauges;
pub mod guide;
mod handle;
mod health;
mod layer;
mod location;
mod log;
mod logout;
mod metrics;
pub mod observability;
mod polar;
mod policy;
mod prefetch;
mod recorder;
mod response;
mod route;
mod seal;
mod service;
mod signal;
mod task;
mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "tls", feature = "redis"))]
mod tls;
mod token;
mod under_way;
mod watchers;
mod when_revoked;

#[cfg(feature = "axum")]
pub use self::axum::LogoutOutcomeRejection;
pub use self::body::{RequestBody, ResponseBody};
pub use self::counts::Counts;
pub use self::delivery::DeadLetter;
pub use self::error::{Error, ErrorKind};
pub use self::future::ResponseFuture;
pub use self::handle::LogoutHandle;
pub use self::health::{ErrorClass, Health};
pub use self::layer::{Builder, PolarLogoutLayer};
pub use self::location::{CookieLocation, SameSite, TokenLocation};
#[cfg(feature = "journal")]
pub use self::log::Journal;
#[cfg(feature = "redis")]
pub use self::log::RedisLog;
pub use self::log::{
    Claimant, Cursor, Event, Followed, Kept, LogFuture, RevocationLog, SealedToken,
};
pub use self::logout::LogoutOutcome;
pub use self::polar::{
    ClientAuthMethod, ClientCredentials, CredentialCheck, Outcome, PolarClient, PolarClientBuilder,
    PolarServer, Reason,
};
pub use self::response::ClearSiteData;
pub use self::service::PolarLogout;
pub use self::signal::RevocationSignal;
pub use self::token::{Revocation, Token, TokenHash, TokenTypeHint};
pub use self::when_revoked::WhenRevoked;
