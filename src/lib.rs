#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod after_logout;
mod answers;
mod audit;
#[cfg(feature = "axum")]
mod axum;
mod builder;
mod check_body;
mod client_kind;
mod correlation;
mod counts;
mod csrf;
mod delivery;
mod denylist;
mod end_streams;
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
mod next;
pub mod observability;
mod polar;
mod policy;
mod prefetch;
mod read_body;
mod recorder;
mod route;
mod seal;
mod service;
mod signal;
mod start;
mod task;
mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "tls", feature = "redis"))]
mod tls;
mod token;
mod under_way;
mod verdict;
mod watchers;
mod when_revoked;

pub use self::after_logout::ClearSiteData;
pub use self::answers::{
    Answer, BrowserAnswers, EmptyAnswers, GrpcAnswers, JsonAnswers, Reply, ReplyKind,
};
#[cfg(feature = "axum")]
pub use self::axum::LogoutOutcomeRejection;
pub use self::builder::Builder;
pub use self::check_body::{CheckBody, CheckBodyFuture, CheckBodyLayer};
pub use self::counts::Counts;
pub use self::delivery::DeadLetter;
pub use self::end_streams::{
    EndStreams, EndStreamsFuture, EndStreamsLayer, RequestBody, ResponseBody,
};
pub use self::error::{Error, ErrorKind};
pub use self::future::ResponseFuture;
pub use self::handle::LogoutHandle;
pub use self::health::{ErrorClass, Health};
pub use self::layer::PolarLogoutLayer;
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
pub use self::service::PolarLogout;
pub use self::signal::RevocationSignal;
pub use self::token::{Revocation, Token, TokenHash, TokenTypeHint};
pub use self::when_revoked::WhenRevoked;
