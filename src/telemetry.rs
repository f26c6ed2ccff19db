//! What operators see: counts, health, metrics, and events for an audit.

pub(crate) mod audit;
mod correlation;
mod counts;
mod gauges;
mod health;
pub(crate) mod metrics;

pub(crate) use self::correlation::Correlation;
pub(crate) use self::counts::Counters;
pub use self::counts::Counts;
pub(crate) use self::gauges::Gauges;
pub use self::health::{ErrorClass, Health};
