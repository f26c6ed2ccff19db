//! Revokes tokens at Polar.

mod body;
mod csrf;
mod denylist;
mod error;
mod location;
mod polar;
mod route;
mod token;

pub use self::body::{RequestBody, ResponseBody};
pub use self::error::{Error, ErrorKind};
pub use self::location::{CookieLocation, SameSite, TokenLocation};
pub use self::polar::{
    ClientAuthMethod, ClientCredentials, Outcome, PolarClient, PolarClientBuilder, PolarServer,
    Reason,
};
pub use self::token::{Revocation, Token, TokenHash, TokenTypeHint};
