//! An entry of the journal: the state of one hash, and its binary format.

use sha2::{Digest, Sha256};

use crate::log::millis::{millis, time};
use crate::log::{Event, SealedToken};
use crate::token::TokenHash;

const CHECK: usize = 8;
const EXPIRY: usize = 8;
const DELIVERED: u8 = 0;
const PENDING: u8 = 1;

/// The state of a revoked hash. It is stored as
///
/// 1. a checksum: the first 8 bytes of SHA-256 over the hash and the rest;
/// 2. the expiry in milliseconds since 1970 (8 bytes, big endian);
/// 3. 0, or 1 and the sealed token.
///
/// redb verifies its own checksums only when the file is opened. This checksum stays with the entry
/// when redb moves it, and so also detects damage that happens while the file is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) expires_at: u64,
    /// Present until the token is delivered.
    pub(super) sealed: Option<SealedToken>,
}

impl Entry {
    /// The entry after `event`; `None` if there is nothing to keep.
    pub(super) fn after(before: Option<Self>, event: &Event) -> Option<Self> {
        match event {
            Event::Revoked { expires_at, sealed, .. } => {
                let expires_at = millis(*expires_at);
                let Some(before) = before else {
                    return Some(Self { expires_at, sealed: sealed.clone() });
                };
                Some(Self {
                    expires_at: before.expires_at.max(expires_at),
                    // The newer one, which may be sealed under a newer secret.
                    sealed: sealed.clone().or(before.sealed),
                })
            }
            // Without a `Revoked` there is no expiry, so nothing is kept. If the `Revoked` comes
            // later, the token is delivered once more.
            Event::Delivered { .. } => before.map(|before| Self { sealed: None, ..before }),
            // No other process writes the file, so claims have no effect.
            Event::Claimed { .. } => before,
        }
    }

    /// Whether the entry can be removed: no request and no delivery needs it.
    pub(super) fn is_spent(&self, now: u64) -> bool {
        self.sealed.is_none() && self.expires_at <= now
    }

    pub(super) fn encode(&self, hash: &[u8; 32]) -> Vec<u8> {
        let sealed = self.sealed.as_ref().map(SealedToken::as_bytes);
        let mut bytes = vec![0; CHECK];
        bytes.extend_from_slice(&self.expires_at.to_be_bytes());
        bytes.push(if sealed.is_some() { PENDING } else { DELIVERED });
        bytes.extend_from_slice(sealed.unwrap_or_default());
        let check = check(hash, &bytes[CHECK..]);
        bytes[..CHECK].copy_from_slice(&check);
        bytes
    }

    /// `None` if these are not the bytes that were written for `hash`.
    pub(super) fn decode(hash: &[u8; 32], bytes: &[u8]) -> Option<Self> {
        let (stored, rest) = bytes.split_first_chunk::<CHECK>()?;
        if *stored != check(hash, rest) {
            return None;
        }
        let (expires_at, rest) = rest.split_first_chunk::<EXPIRY>()?;
        let sealed = match rest.split_first()? {
            (&DELIVERED, []) => None,
            (&PENDING, sealed) => Some(SealedToken::from_bytes(sealed)),
            _ => return None,
        };
        Some(Self { expires_at: u64::from_be_bytes(*expires_at), sealed })
    }

    pub(super) fn into_event(self, hash: TokenHash) -> Event {
        Event::Revoked { hash, expires_at: time(self.expires_at), sealed: self.sealed }
    }
}

fn check(hash: &[u8; 32], rest: &[u8]) -> [u8; CHECK] {
    let digest = Sha256::new().chain_update(hash).chain_update(rest).finalize();
    let mut check = [0; CHECK];
    check.copy_from_slice(&digest[..CHECK]);
    check
}
