//! The binary format of an entry of the stream.
//!
//! An entry has one field, `e`: a version byte, the replica that appended it (8 bytes), the number
//! of the append within the replica (8 bytes, big endian), and the records:
//!
//! | record                      | bytes                                                        |
//! |-----------------------------|--------------------------------------------------------------|
//! | revoked                     | 0, the hash (32), the expiry (8)                             |
//! | revoked, with sealed token  | 1, the hash (32), the expiry (8), the length, the token      |
//! | delivered                   | 2, the hash (32)                                             |
//! | claimed                     | 3, the hash (32), the end of the claim (8), the claimant (8) |
//!
//! Times are in milliseconds since 1970, big endian, by Redis's clock. The length is LEB128.

use super::clock::Clock;
use crate::log::millis::{millis, time};
use crate::log::{Claimant, Event, SealedToken};
use crate::token::TokenHash;

pub(super) const FIELD: &[u8] = b"e";

const VERSION: u8 = 1;
const REVOKED: u8 = 0;
const SEALED: u8 = 1;
const DELIVERED: u8 = 2;
const CLAIMED: u8 = 3;

/// The random id of a log that was assigned to a layer.
pub(super) type Replica = [u8; 8];

/// The replica that appended an entry, and the number of the append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) replica: Replica,
    pub(super) number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Revoked {
        hash: TokenHash,
        /// By Redis's clock.
        expires_at: u64,
        sealed: Option<&'a [u8]>,
    },
    Delivered {
        hash: TokenHash,
    },
    Claimed {
        hash: TokenHash,
        /// By Redis's clock.
        until: u64,
        by: Claimant,
    },
}

impl Record<'_> {
    pub(super) fn to_event(self, clock: Clock) -> Event {
        match self {
            Self::Revoked { hash, expires_at, sealed } => Event::Revoked {
                hash,
                expires_at: time(clock.to_ours(expires_at)),
                sealed: sealed.map(SealedToken::from_bytes),
            },
            Self::Delivered { hash } => Event::Delivered { hash },
            Self::Claimed { hash, until, by } => {
                Event::Claimed { hash, until: time(clock.to_ours(until)), by }
            }
        }
    }
}

pub(super) fn encode(origin: Origin, events: &[Event], clock: Clock) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17 + 41 * events.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&origin.replica);
    bytes.extend_from_slice(&origin.number.to_be_bytes());
    for event in events {
        match event {
            Event::Revoked { hash, expires_at, sealed } => {
                bytes.push(if sealed.is_some() { SEALED } else { REVOKED });
                bytes.extend_from_slice(hash.as_bytes());
                bytes.extend_from_slice(&clock.to_redis(millis(*expires_at)).to_be_bytes());
                if let Some(sealed) = sealed {
                    push_length(&mut bytes, sealed.as_bytes().len());
                    bytes.extend_from_slice(sealed.as_bytes());
                }
            }
            Event::Delivered { hash } => {
                bytes.push(DELIVERED);
                bytes.extend_from_slice(hash.as_bytes());
            }
            Event::Claimed { hash, until, by } => {
                bytes.push(CLAIMED);
                bytes.extend_from_slice(hash.as_bytes());
                bytes.extend_from_slice(&clock.to_redis(millis(*until)).to_be_bytes());
                bytes.extend_from_slice(by.as_bytes());
            }
        }
    }
    bytes
}

/// The error says why the entry cannot be decoded.
pub(super) fn decode(bytes: &[u8]) -> Result<(Origin, Vec<Record<'_>>), &'static str> {
    const SHORT: &str = "it is truncated";
    let (version, rest) = bytes.split_first().ok_or(SHORT)?;
    match *version {
        VERSION => {}
        0 => return Err("it was not written by this crate"),
        _ => return Err("it was written by a newer version of this crate, or not by this crate"),
    }
    let (replica, rest) = rest.split_first_chunk().ok_or(SHORT)?;
    let (number, mut rest) = rest.split_first_chunk().ok_or(SHORT)?;
    let origin = Origin { replica: *replica, number: u64::from_be_bytes(*number) };
    let mut records = Vec::with_capacity(rest.len() / 32);
    while let Some((kind, after)) = rest.split_first() {
        let (hash, after) = after.split_first_chunk().ok_or(SHORT)?;
        let hash = TokenHash::from_bytes(*hash);
        let (record, after) = match *kind {
            DELIVERED => (Record::Delivered { hash }, after),
            CLAIMED => {
                let (until, after) = after.split_first_chunk().ok_or(SHORT)?;
                let (by, after) = after.split_first_chunk().ok_or(SHORT)?;
                let (until, by) = (u64::from_be_bytes(*until), Claimant::from_bytes(*by));
                (Record::Claimed { hash, until, by }, after)
            }
            REVOKED | SEALED => {
                let (expires_at, after) = after.split_first_chunk().ok_or(SHORT)?;
                let expires_at = u64::from_be_bytes(*expires_at);
                let (sealed, after) = if *kind == SEALED {
                    let (length, after) = split_length(after).ok_or(SHORT)?;
                    let (sealed, after) = after.split_at_checked(length).ok_or(SHORT)?;
                    (Some(sealed), after)
                } else {
                    (None, after)
                };
                (Record::Revoked { hash, expires_at, sealed }, after)
            }
            _ => return Err("it has a record of an unknown kind"),
        };
        records.push(record);
        rest = after;
    }
    Ok((origin, records))
}

fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = length.to_le_bytes()[0] & 0x7f;
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            break;
        }
        bytes.push(low | 0x80);
    }
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let length = bytes[..=end].iter().rev().try_fold(0_usize, |length, byte| {
        Some(length.checked_mul(0x80)? | usize::from(byte & 0x7f))
    })?;
    Some((length, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    const ORIGIN: Origin = Origin { replica: *b"replica1", number: 7 };

    fn clock() -> Clock {
        Clock::measured(1, 0, 0)
    }

    fn events() -> Vec<Event> {
        let hash = |n: u8| TokenHash::from_bytes([n; 32]);
        let sealed = |length| Some(SealedToken::from_bytes(vec![0xa5; length]));
        let later = SystemTime::now() + Duration::from_secs(3600);
        let later = time(millis(later));
        vec![
            Event::Revoked { hash: hash(1), expires_at: later, sealed: None },
            Event::Revoked { hash: hash(2), expires_at: UNIX_EPOCH, sealed: sealed(0) },
            Event::Revoked { hash: hash(3), expires_at: later, sealed: sealed(95) },
            Event::Delivered { hash: hash(3) },
            Event::Revoked { hash: hash(4), expires_at: later, sealed: sealed(70_000) },
            Event::Claimed { hash: hash(4), until: later, by: Claimant::from_bytes(*b"claimant") },
        ]
    }

    #[test]
    fn encoded_events_are_decoded() {
        let events = events();
        for events in [&events[..], &[]] {
            let bytes = encode(ORIGIN, events, clock());
            let (origin, records) = decode(&bytes).expect("an entry");
            assert_eq!(origin, ORIGIN);
            let decoded: Vec<_> = records.iter().map(|record| record.to_event(clock())).collect();
            assert_eq!(decoded, events);
        }
    }

    #[test]
    fn binary_format_is_stable() {
        let bytes = encode(ORIGIN, &events()[1..2], clock());
        let mut expected = b"\x01replica1\0\0\0\0\0\0\0\x07\x01".to_vec();
        expected.extend_from_slice(&[2; 32]);
        expected.extend_from_slice(&[0; 9]);
        assert_eq!(bytes, expected);
    }

    /// Except between two records.
    #[test]
    fn truncated_entry_is_refused() {
        let events = events();
        let bytes = encode(ORIGIN, &events, clock());
        let whole: Vec<_> =
            (0..=events.len()).map(|end| encode(ORIGIN, &events[..end], clock()).len()).collect();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]).is_ok(), whole.contains(&end), "{end}");
        }
    }

    #[test]
    fn random_bytes_cause_no_panic() {
        let bytes = encode(ORIGIN, &events()[..4], clock());
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            let mut junk: Vec<u8> = if random.bool() {
                bytes[..random.usize(..bytes.len())].to_vec()
            } else {
                (0..random.usize(..200)).map(|_| random.u8(..)).collect()
            };
            for _ in 0..random.usize(..4) {
                if !junk.is_empty() {
                    let at = random.usize(..junk.len());
                    junk[at] = random.u8(..);
                }
            }
            let _ = decode(&junk).map(|(_, records)| records.len());
        }
        for version in [0, 2, 255] {
            assert!(decode(&[&[version], &bytes[1..]].concat()).is_err());
        }
        let endless = [&bytes[..17], &[SEALED], &[0; 40], &[0xff; 30]].concat();
        assert!(decode(&endless).is_err());
    }
}
