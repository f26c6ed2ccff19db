//! Revokes tokens at Polar.

mod error;
mod polar;
mod token;

pub use self::error::{Error, ErrorKind};
pub use self::polar::{
    ClientAuthMethod, ClientCredentials, Outcome, PolarClient, PolarClientBuilder, PolarServer,
    Reason,
};
pub use self::token::{Revocation, Token, TokenHash, TokenTypeHint};
