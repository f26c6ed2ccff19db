//! What the journal keeps of one hash, and how it is written.

use sha2::{Digest, Sha256};

use crate::log::millis::{millis, time};
use crate::log::{Event, SealedToken};
use crate::token::TokenHash;

const CHECK: usize = 8;
const EXPIRY: usize = 8;
const DELIVERED: u8 = 0;
const PENDING: u8 = 1;

/// A revoked hash's state.
///
/// Written as the first 8 bytes of SHA-256 over the hash and the rest, the expiry in milliseconds
/// since 1970 (big endian), and 0, or 1 and the sealed token.
///
/// redb verifies its own checksums when the file is opened. This one goes with the entry wherever
/// redb moves it, so that what is damaged while it is open cannot pass for whole afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) expires_at: u64,
    /// Present until Polar has been told.
    pub(super) sealed: Option<SealedToken>,
}

impl Entry {
    /// What becomes of `before` by `event`; `None` where there is nothing to keep.
    pub(super) fn after(before: Option<Self>, event: &Event) -> Option<Self> {
        match event {
            Event::Revoked { expires_at, sealed, .. } => {
                let expires_at = millis(*expires_at);
                let Some(before) = before else {
                    return Some(Self { expires_at, sealed: sealed.clone() });
                };
                Some(Self {
                    expires_at: before.expires_at.max(expires_at),
                    // Of two the newer: it may be sealed under a newer secret.
                    sealed: sealed.clone().or(before.sealed),
                })
            }
            // Without a `Revoked` there is no expiry to keep it by. One that comes later makes it
            // pending, and Polar is told once more.
            Event::Delivered { .. } => before.map(|before| Self { sealed: None, ..before }),
            // No other process writes the file, so there is nobody to claim anything from.
            Event::Claimed { .. } => before,
        }
    }

    /// Nothing is lost when it goes: no request and no delivery needs it.
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

    /// `None` where these are not the bytes that were written for `hash`.
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
