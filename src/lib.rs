//! A [tower](https://docs.rs/tower) layer that makes logout work in apps with "Sign in with
//! [Polar](https://polar.sh)": a revoked token is rejected at once, and Polar is told until it has
//! revoked it too.
//!
//! **What it is not:** it does not authenticate. It rejects revoked tokens and nothing else. A
//! made-up or expired token reaches the app as before: see [who is this?](guide::who_is_this)
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use http::Method;
//! use std::time::Duration;
//! use tower_polar_logout::{ClientCredentials, PolarLogoutLayer, PolarServer, TokenLocation};
//!
//! let logout = PolarLogoutLayer::builder(ClientCredentials::from_env()?) // POLAR_CLIENT_ID, POLAR_CLIENT_SECRET
//!     .server(PolarServer::from_env()?) // POLAR_SERVER: `production`, `sandbox`, or a URL
//!     .logout_route(Method::POST, "/logout")
//!     .access_token(TokenLocation::bearer())
//!     .access_token(TokenLocation::cookie("access_token"))
//!     .refresh_token(TokenLocation::cookie("refresh_token"))
//!     .redirect_to("/")
//!     .build()
//!     .await?;
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(logout.clone());
//! // Serve `app`. When the server has stopped, send once more what Polar has not confirmed:
//! logout.handle().shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Guide
//!
//! - Start: [quick start](guide::quick_start), [who is this?](guide::who_is_this),
//!   [which options](guide::which_options), [migrating](guide::migrating)
//! - Requests: [tokens](guide::tokens), [signed and private cookies](guide::signed_cookies),
//!   [layer order](guide::layer_order), [when it does not compile](guide::compile_errors),
//!   [answers](guide::answers), [refreshing](guide::refreshing),
//!   [log out everywhere](guide::log_out_everywhere)
//! - Production: [outages](guide::outages), [replicas](guide::replicas), [sizing](guide::sizing),
//!   [floods](guide::floods), [security](guide::security), [`observability`]
//! - Tests: the module `testing`
//!
//! Features: `tls` (default), `journal`, `redis`, `metrics`, `axum`, `serde`, `testing`.
//! [`PolarLogoutLayerBuilder`] has every option and its default.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod after_logout;
mod answers;
mod audit;
#[cfg(feature = "axum")]
mod axum;
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
pub use self::service::PolarLogout;
pub use self::signal::RevocationSignal;
pub use self::token::{Revocation, Token, TokenHash, TokenTypeHint};
pub use self::when_revoked::WhenRevoked;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
