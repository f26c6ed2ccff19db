//! Numbered revocations, and the events that a log returns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tower_polar_logout::TokenHash;
use tower_polar_logout::log::{
    Claimant, Cursor, Event, Followed, Kept, RevocationLog, SealedToken,
};

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn hash(n: usize) -> TokenHash {
    TokenHash::of(n.to_be_bytes())
}

/// As long as a sealed Polar token.
pub fn sealed(n: usize) -> SealedToken {
    SealedToken::from_bytes(format!("sealed {n:0>88}").into_bytes())
}

pub fn revoked(n: usize) -> Event {
    Event::Revoked { hash: hash(n), expires_at: SystemTime::now() + HOUR, sealed: None }
}

pub fn pending(n: usize) -> Event {
    Event::Revoked { hash: hash(n), expires_at: SystemTime::now() + HOUR, sealed: Some(sealed(n)) }
}

pub fn delivered(n: usize) -> Event {
    Event::Delivered { hash: hash(n) }
}

/// Waits at most a minute.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it takes at most a minute")
}

pub async fn keep(log: &dyn RevocationLog, events: Vec<Event>) {
    match soon(log.append(events)).await.expect("kept") {
        Kept::Durably => {}
        Kept::ForNow(_) => panic!("kept for now only"),
    }
}

/// The state after the events of a log. Most events may be applied in any order, and repeatedly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub expiries: BTreeMap<[u8; 32], SystemTime>,
    pub sealed: BTreeMap<[u8; 32], Vec<u8>>,
    pub delivered: BTreeSet<[u8; 32]>,
    /// In the order of the log, which must be the same for all readers.
    pub claims: Vec<([u8; 32], Claimant)>,
    pub skipped: u64,
    pub losses: usize,
    pub cursor: Option<Cursor>,
}

impl Told {
    pub fn apply(&mut self, followed: Followed) {
        self.skipped += followed.skipped();
        self.losses += usize::from(followed.has_lost());
        self.cursor = Some(followed.cursor().clone());
        for event in followed.into_events() {
            match event {
                Event::Revoked { hash, expires_at, sealed } => {
                    let hash = *hash.as_bytes();
                    let expiry = self.expiries.entry(hash).or_insert(expires_at);
                    *expiry = expires_at.max(*expiry);
                    if let Some(sealed) = sealed {
                        self.sealed.insert(hash, sealed.as_bytes().to_vec());
                    }
                }
                Event::Delivered { hash } => drop(self.delivered.insert(*hash.as_bytes())),
                Event::Claimed { hash, by, .. } => self.claims.push((*hash.as_bytes(), by)),
            }
        }
    }

    /// Applies every event that `log` now has after the cursor.
    pub async fn catch_up(&mut self, log: &dyn RevocationLog) {
        loop {
            let followed = soon(log.follow(self.cursor.clone())).await.expect("an answer");
            let is_current = followed.is_current();
            self.apply(followed);
            if is_current {
                break;
            }
        }
    }

    /// Follows `log`, also after errors, until the condition is true.
    pub async fn until(&mut self, log: &dyn RevocationLog, is_so: impl Fn(&Self) -> bool) {
        let follow = async {
            while !is_so(self) {
                match log.follow(self.cursor.clone()).await {
                    Ok(followed) => self.apply(followed),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        soon(follow).await;
    }

    pub fn has(&self, n: usize) -> bool {
        self.expiries.contains_key(hash(n).as_bytes())
    }

    /// Whether the token is sealed and not yet delivered.
    pub fn is_pending(&self, n: usize) -> bool {
        let hash = hash(n);
        self.sealed.contains_key(hash.as_bytes()) && !self.delivered.contains(hash.as_bytes())
    }
}

/// The state after all events of `log`, from its beginning.
pub async fn told(log: &dyn RevocationLog) -> Told {
    let mut told = Told::default();
    told.catch_up(log).await;
    told
}
