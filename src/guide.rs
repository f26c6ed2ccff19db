//! A guide, in the order in which one needs it. All code in it runs against
//! `testing::FakePolar`, the stand-in for Polar's OAuth server.
//!
//! | page | what for |
//! |---|---|
//! | [`quick_start`] | from nothing to a logout that works |
//! | [`which_options`] | a table: which options for which app |
//! | [`tokens`] | where requests carry tokens, and how the layer is told |
//! | [`layer_order`] | CORS, sessions, compression, tracing, nested routers: which stands outside |
//! | [`answers`] | what callers get, and how an app answers itself |
//! | [`outages`] | when Polar is down, slow, or limits; restarts; what to watch |
//! | [`observability`](crate::observability) | every span, event and metric; what is worth an alarm |
//! | [`replicas`] | several processes, one log |
//! | [`security`] | the threat model: what is defended, and what is not |
//! | [`floods`] | logouts with made-up tokens: what to put in front |
//! | [`sizing`] | how many logouts fit, and in how much memory |
//! | [`migrating`] | from a logout handler written by hand |
//!
//! How to test an app with it stands at the module `testing` (feature `testing`); every option, with
//! its default, in the [table of options](crate#options) and at [`Builder`](crate::Builder).

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
