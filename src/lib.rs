//! A [tower](https://docs.rs/tower) layer that makes logout work in apps with "Sign in with
//! [Polar](https://polar.sh)": a revoked token is rejected at once, and the layer calls Polar until
//! Polar has revoked the token too.
//!
//! **It does not authenticate.** It rejects revoked tokens and nothing else. A made-up or expired
//! token reaches the app as before: see [who is this?](guide::who_is_this)
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use http::Method;
//! use std::time::Duration;
//! use tower_polar_logout::{ClientCredentials, PolarLogoutLayer, PolarServer, TokenLocation};
//!
//! // From POLAR_CLIENT_ID, POLAR_CLIENT_SECRET, and POLAR_SERVER: `production`, `sandbox`, or a URL.
//! let logout = PolarLogoutLayer::builder(ClientCredentials::from_env()?)
//!     .server(PolarServer::from_env()?)
//!     .logout_route(Method::POST, "/logout")
//!     .access_token(TokenLocation::bearer())
//!     .access_token(TokenLocation::cookie("access_token"))
//!     .refresh_token(TokenLocation::cookie("refresh_token"))
//!     .redirect_to("/")
//!     .build()
//!     .await?;
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(logout.clone());
//! // Serve `app`. After the server has stopped, tokens that Polar has not confirmed are sent once more:
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
#[doc(inline)]
pub use self::log::Journal;
#[cfg(feature = "redis")]
#[doc(inline)]
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

/// The client of Polar's revocation endpoint: its configuration, and its use without the layer.
///
/// An app needs it only for options that [`ClientCredentials`] and [`PolarServer`] do not have:
/// time-outs, CA certificates, the authentication method, another HTTP client.
pub mod client {
    pub use crate::polar::{
        ClientAuthMethod, CredentialCheck, PolarClient, PolarClientBuilder, Reason, RevokeOutcome,
    };
    pub use crate::token::{Token, TokenTypeHint};
}

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
