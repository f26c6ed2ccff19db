//! The content of an entry, by the table that documents it, without the crate's own code.

use arbitrary::Arbitrary;

/// The end of the year 9999, in milliseconds since 1970. It means: never expires.
pub const LATEST: u64 = 253_402_300_799_999;

const VERSION: u8 = 1;
const REVOKED: u8 = 0;
const SEALED: u8 = 1;
pub const DELIVERED: u8 = 2;
pub const CLAIMED: u8 = 3;

/// The version, the replica, and the number of its append.
const HEAD: usize = 1 + 8 + 8;

#[derive(Arbitrary, Debug)]
pub struct Record<'a> {
    pub hash: [u8; 32],
    change: Change<'a>,
}

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    Revoked(u64),
    Sealed(u64, &'a [u8]),
    Delivered,
    Claimed(u64, [u8; 8]),
}

impl<'a> Record<'a> {
    pub fn kind(&self) -> u8 {
        match self.change {
            Change::Revoked(_) => REVOKED,
            Change::Sealed(..) => SEALED,
            Change::Delivered => DELIVERED,
            Change::Claimed(..) => CLAIMED,
        }
    }

    pub fn expires_at(&self) -> Option<u64> {
        match self.change {
            Change::Revoked(until) | Change::Sealed(until, _) | Change::Claimed(until, _) => {
                Some(until)
            }
            Change::Delivered => None,
        }
    }

    pub fn claimant(&self) -> Option<[u8; 8]> {
        match self.change {
            Change::Claimed(_, by) => Some(by),
            _ => None,
        }
    }

    pub fn sealed(&self) -> Option<&'a [u8]> {
        match self.change {
            Change::Sealed(_, sealed) => Some(sealed),
            _ => None,
        }
    }
}

pub fn encode(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(b"replica1number 1");
    for record in records {
        bytes.push(record.kind());
        bytes.extend_from_slice(&record.hash);
        bytes.extend(record.expires_at().iter().flat_map(|until| until.to_be_bytes()));
        if let Some(sealed) = record.sealed() {
            let mut length = sealed.len();
            while length >= 0x80 {
                bytes.push(length.to_le_bytes()[0] | 0x80);
                length >>= 7;
            }
            bytes.push(length.to_le_bytes()[0]);
            bytes.extend_from_slice(sealed);
        }
        bytes.extend(record.claimant().into_iter().flatten());
    }
    bytes
}

/// `None` if the bytes are no such entry.
pub fn decode(bytes: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut rest = bytes.get(HEAD..).filter(|_| bytes[0] == VERSION)?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let kind = take(&mut rest, 1)?[0];
        let hash = take(&mut rest, 32)?.try_into().ok()?;
        let change = match kind {
            REVOKED => Change::Revoked(expiry(&mut rest)?),
            SEALED => {
                let until = expiry(&mut rest)?;
                let length = length(&mut rest)?;
                Change::Sealed(until, take(&mut rest, length)?)
            }
            DELIVERED => Change::Delivered,
            CLAIMED => Change::Claimed(expiry(&mut rest)?, take(&mut rest, 8)?.try_into().ok()?),
            _ => return None,
        };
        records.push(Record { hash, change });
    }
    Some(records)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn expiry(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(take(rest, 8)?.try_into().ok()?))
}

/// LEB128.
fn length(rest: &mut &[u8]) -> Option<usize> {
    let mut length: u128 = 0;
    for place in 0.. {
        let byte = take(rest, 1)?[0];
        // A further bit makes the length larger than any input, unless it is zero.
        if place < 16 {
            length |= u128::from(byte & 0x7f) << (7 * place);
        } else if byte & 0x7f != 0 {
            return None;
        }
        if byte & 0x80 == 0 {
            break;
        }
    }
    usize::try_from(length).ok()
}
