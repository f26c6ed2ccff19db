//! Tokens in Polar's shape, and which of them are alive.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::distr::{Alphanumeric, SampleString};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// How long an access token lives that came from an authorization code.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(864_000);
/// How long an access token lives that came from a refresh.
pub(super) const REFRESH_LIFETIME: Duration = Duration::from_secs(3_600);

/// An access token and the refresh token issued with it; they die together.
///
/// `Debug` shows neither.
#[derive(Clone)]
#[non_exhaustive]
pub struct TokenPair {
    /// The access token, `polar_at_u_...`.
    pub access: String,
    /// The refresh token, `polar_rt_u_...`.
    pub refresh: String,
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

/// The prefix, 37 random letters and digits, and their checksum: Polar's tokens (54 bytes) and its
/// client ids and secrets (52 bytes) alike.
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

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    App,
    Another,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Access,
    Refresh,
}

/// A row of Polar's token table.
struct Pair {
    owner: Owner,
    lifetime: Duration,
    issued: Instant,
    ended: bool,
}

/// The number of a row.
#[derive(Clone, Copy)]
pub(super) struct PairId(usize);

/// A token that was minted here, dead or alive.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) pair: PairId,
    pub(super) kind: Kind,
    pub(super) owner: Owner,
    /// Revoked, or used up by a refresh.
    pub(super) has_ended: bool,
    /// The access token; a refresh token does not expire.
    pub(super) has_expired: bool,
    /// Seconds since the epoch.
    pub(super) issued_at: u64,
    /// Seconds since the epoch; the access token's, also where this is the refresh token.
    pub(super) expires_at: u64,
}

impl Found {
    pub(super) fn is_alive(&self) -> bool {
        !self.has_ended && (self.kind == Kind::Refresh || !self.has_expired)
    }
}

/// Every token ever minted here.
pub(super) struct Tokens {
    pairs: Vec<Pair>,
    by_text: HashMap<String, (PairId, Kind)>,
    /// One moment on both clocks: tokio's may be paused, and the system's may not be asked later.
    start: (Instant, Duration),
}

impl Tokens {
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { pairs: Vec::new(), by_text: HashMap::new(), start: (Instant::now(), since_epoch) }
    }

    pub(super) fn mint(&mut self, owner: Owner, lifetime: Duration) -> TokenPair {
        let access = self.mint_access_only(owner, lifetime);
        let refresh = issue("polar_rt_u_");
        let pair = PairId(self.pairs.len() - 1);
        self.by_text.insert(refresh.clone(), (pair, Kind::Refresh));
        TokenPair { access, refresh }
    }

    pub(super) fn mint_access_only(&mut self, owner: Owner, lifetime: Duration) -> String {
        let access = issue("polar_at_u_");
        let pair = PairId(self.pairs.len());
        self.pairs.push(Pair { owner, lifetime, issued: Instant::now(), ended: false });
        self.by_text.insert(access.clone(), (pair, Kind::Access));
        access
    }

    pub(super) fn find(&self, token: &str) -> Option<Found> {
        let (id, kind) = *self.by_text.get(token)?;
        let pair = self.pairs.get(id.0)?;
        let (start, since_epoch) = self.start;
        let issued = since_epoch + pair.issued.duration_since(start);
        Some(Found {
            pair: id,
            kind,
            owner: pair.owner,
            has_ended: pair.ended,
            has_expired: pair.issued.elapsed() >= pair.lifetime,
            issued_at: issued.as_secs(),
            expires_at: (issued + pair.lifetime).as_secs(),
        })
    }

    pub(super) fn is_alive(&self, token: &str) -> bool {
        self.find(token).is_some_and(|found| found.is_alive())
    }

    /// Ends both tokens of the pair. `false` where they had ended before.
    pub(super) fn end(&mut self, pair: PairId) -> bool {
        self.pairs.get_mut(pair.0).is_some_and(|pair| !std::mem::replace(&mut pair.ended, true))
    }
}
