//! A stand-in for Polar's OAuth server, for your tests and ours (feature `testing`).
//!
//! [`FakePolar`] listens on a loopback port of its own and answers as Polar's server was measured
//! to: what it takes for a token, what it answers with 200 and leaves alone, what dies together
//! with what. A [`Fault`] makes it as slow, as wrong or as silent as a network can be, and what it
//! has [`Seen`] can be asserted, or awaited.
//!
//! ```
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpStream;
//! use tower_polar_logout::testing::FakePolar;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let polar = FakePolar::start().await?;
//! let session = polar.mint();
//! assert!(polar.is_alive(&session.access));
//!
//! // In your test this is what your app does at a logout.
//! let (id, secret) = (polar.client_id(), polar.client_secret());
//! let form = format!("token={}&client_id={id}&client_secret={secret}", session.access);
//! let request = format!(
//!     "POST /v1/oauth2/revoke HTTP/1.1\r\nhost: polar\r\nconnection: close\r\n\
//!      content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
//!     form.len(),
//! );
//! let mut connection = TcpStream::connect(polar.address()).await?;
//! connection.write_all(request.as_bytes()).await?;
//! let mut answer = String::new();
//! connection.read_to_string(&mut answer).await?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK"));
//!
//! polar.revoked(1).await;
//! assert!(!polar.is_alive(&session.access));
//! assert!(!polar.is_alive(&session.refresh), "either token kills the pair");
//! # Ok(())
//! # }
//! ```

mod answer;
mod call;
mod client;
mod fake_polar;
mod fault;
mod memory_log;
mod oauth;
mod rate_limit;
mod revoke;
mod seen;
mod server;
mod state;
mod tokens;

pub use self::fake_polar::FakePolar;
pub use self::fault::Fault;
pub use self::memory_log::MemoryLog;
pub use self::seen::{ReceivedRevoke, Seen};
pub use self::tokens::TokenPair;
