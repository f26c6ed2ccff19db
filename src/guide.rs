//! A guide, in the order in which one needs it. All code in it runs against
//! `testing::FakePolar`, the stand-in for Polar's OAuth server.
//!
//! | page | content |
//! |---|---|
//! | [`quick_start`] | from nothing to a logout that works |
//! | [`which_options`] | a table: which options for which app |
//! | [`tokens`] | how credentials are recognised, and the places that are configured |
//! | [`layer_order`] | CORS, sessions, compression, tracing, limits, nested routers: which stands outside |
//! | [`answers`] | requests with revoked credentials, and an app's own answers |
//! | [`outages`] | when Polar is down, slow, or limits; restarts; watching |
//! | [`observability`](crate::observability) | every span, event and metric |
//! | [`replicas`] | several processes, one log |
//! | [`security`] | the threat model: protection, and its limits |
//! | [`floods`] | logouts with made-up tokens: protection in front |
//! | [`sizing`] | how many logouts fit, and in how much memory |
//! | [`migrating`] | from a logout handler written by hand |
//!
//! The module `testing` (feature `testing`) says how to test an app with it. The [table of
//! options](crate#options) and [`Builder`](crate::PolarLogoutLayerBuilder) have every option and its default.

#[doc = include_str!("../docs/quick-start.md")]
pub mod quick_start {}

#[doc = include_str!("../docs/which-options.md")]
pub mod which_options {}

#[doc = include_str!("../docs/tokens.md")]
pub mod tokens {}

#[doc = include_str!("../docs/layer-order.md")]
pub mod layer_order {}

#[doc = include_str!("../docs/answers.md")]
pub mod answers {}

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
