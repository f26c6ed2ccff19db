//! What a revocation does, in this order: it is denied here, recorded in the log, delivered to Polar.

mod denylist;
mod follower;
mod log_lag;
mod outcome;
mod recorder;
mod revoker;
mod signal;
mod start;

pub use self::outcome::LogoutOutcome;
pub(crate) use self::revoker::{Retention, Revoker};
pub(crate) use self::signal::Carried;
pub use self::signal::RevocationSignal;
pub(crate) use self::start::{Config, start};
