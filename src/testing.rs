#![doc = include_str!("../docs/testing.md")]

mod answer;
mod authorization;
mod call;
mod client;
mod commit;
mod fake_polar;
mod fault;
mod lock;
mod memory_log;
mod oauth;
mod pair;
mod rate_limit;
mod rows;
mod seen;
mod server;
mod state;
mod tokens;
mod work;

pub use self::fake_polar::FakePolar;
pub use self::fault::Fault;
pub use self::memory_log::MemoryLog;
pub use self::pair::TokenPair;
pub use self::seen::{ReceivedRevoke, Seen};
