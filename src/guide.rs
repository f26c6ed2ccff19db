//! The guide, in the order in which an app needs it.
//!
//! All code in it is compiled, and most of it runs against `testing::FakePolar`, the stand-in for
//! Polar's OAuth server.
//!
//! | page | content |
//! |---|---|
//! | [`quick_start`] | from nothing to a logout that works |
//! | [`who_is_this`] | how the app checks a token; the layer does not |
//! | [`which_options`] | tables of apps, and the options for each |
//! | [`tokens`] | how credentials are recognised, and the places that are configured |
//! | [`signed_cookies`] | signed and private cookies: what the layer can see |
//! | [`layer_order`] | CORS, sessions, compression, tracing, limits, nested routers: which layer stands outside |
//! | [`compile_errors`] | when it does not compile |
//! | [`answers`] | every answer to a logout, and to a request with a revoked credential |
//! | [`refreshing`] | the route that refreshes tokens, and a refresh that meets a logout |
//! | [`log_out_everywhere`] | ending all sessions of a user |
//! | [`outages`] | when Polar is down, slow, or limits; restarts; watching |
//! | [`observability`](crate::observability) | every span, event and metric |
//! | [`replicas`] | several processes, one log |
//! | [`security`] | the threat model: protection, and its limits |
//! | [`floods`] | logouts with made-up tokens: protection in front |
//! | [`sizing`] | how many logouts fit, and in how much memory |
//! | [`migrating`] | replacing a logout handler written by hand |
//!
//! The module `testing` (feature `testing`) says how to test an app with the stand-in.
//! [`PolarLogoutLayerBuilder`](crate::PolarLogoutLayerBuilder) has every option and its default.

#[doc = include_str!("../docs/quick-start.md")]
pub mod quick_start {}

#[doc = include_str!("../docs/who-is-this.md")]
pub mod who_is_this {}

#[doc = include_str!("../docs/which-options.md")]
pub mod which_options {}

#[doc = include_str!("../docs/tokens.md")]
pub mod tokens {}

#[doc = include_str!("../docs/signed-cookies.md")]
pub mod signed_cookies {}

#[doc = include_str!("../docs/layer-order.md")]
pub mod layer_order {}

#[doc = include_str!("../docs/compile-errors.md")]
pub mod compile_errors {}

#[doc = include_str!("../docs/answers.md")]
pub mod answers {}

#[doc = include_str!("../docs/refreshing.md")]
pub mod refreshing {}

#[doc = include_str!("../docs/log-out-everywhere.md")]
pub mod log_out_everywhere {}

#[doc = include_str!("../docs/outages.md")]
pub mod outages {}

#[doc = include_str!("../docs/replicas.md")]
pub mod replicas {}

#[doc = include_str!("../SECURITY.md")]
pub mod security {}

#[doc = include_str!("../docs/sizing.md")]
pub mod sizing {}

#[doc = include_str!("../docs/floods.md")]
pub mod floods {}

#[doc = include_str!("../docs/migrating.md")]
pub mod migrating {}
