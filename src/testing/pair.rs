//! A pair of tokens in Polar's shape.

use std::fmt;
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use subtle::ConstantTimeEq;

/// The lifetime of an access token that was issued for an authorization code.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(864_000);
/// The lifetime of an access token that was issued for a refresh token.
pub(super) const REFRESH_LIFETIME: Duration = Duration::from_secs(3_600);

/// An access token and the refresh token issued with it. Revoking either one ends both, and so does
/// a refresh.
///
/// `Debug` shows neither token.
#[derive(Clone)]
#[non_exhaustive]
pub struct TokenPair {
    /// The access token, `polar_at_u_...`.
    pub access: String,
    /// The refresh token, `polar_rt_u_...`.
    pub refresh: String,
}

impl TokenPair {
    pub(super) fn issue() -> Self {
        Self { access: issue("polar_at_u_"), refresh: issue("polar_rt_u_") }
    }
}

impl PartialEq for TokenPair {
    fn eq(&self, other: &Self) -> bool {
        let access = self.access.as_bytes().ct_eq(other.access.as_bytes());
        (access & self.refresh.as_bytes().ct_eq(other.refresh.as_bytes())).into()
    }
}

impl Eq for TokenPair {}

impl fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPair").finish_non_exhaustive()
    }
}

/// Returns the prefix, 37 random letters and digits, and their checksum. Polar's tokens (54 bytes)
/// and its client ids and secrets (52 bytes) have this form.
pub(super) fn issue(prefix: &str) -> String {
    let random = Alphanumeric.sample_string(&mut rand::rng(), 37);
    let checksum = checksum(&random);
    format!("{prefix}{random}{checksum}")
}

/// CRC-32 as six digits of base 62.
fn checksum(random: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

/// The number of a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PairId(pub(super) usize);
