//! What an entry says, by the table that documents it, and by nothing of the crate's own code.

use arbitrary::Arbitrary;

/// The end of the year 9999, in milliseconds since 1970: for ever.
pub const LATEST: u64 = 253_402_300_799_999;

const VERSION: u8 = 1;
const REVOKED: u8 = 0;
const SEALED: u8 = 1;
pub const DELIVERED: u8 = 2;
pub const CLAIMED: u8 = 3;

/// A version, a replica, and which of its appends it is.
const HEAD: usize = 1 + 8 + 8;

#[derive(Arbitrary, Debug)]
pub struct Record<'a> {
    pub hash: [u8; 32],
    said: Said<'a>,
}

#[derive(Arbitrary, Debug)]
enum Said<'a> {
    Revoked(u64),
    Sealed(u64, &'a [u8]),
    Delivered,
    Claimed(u64, [u8; 8]),
}

impl<'a> Record<'a> {
    pub fn kind(&self) -> u8 {
        match self.said {
            Said::Revoked(_) => REVOKED,
            Said::Sealed(..) => SEALED,
            Said::Delivered => DELIVERED,
            Said::Claimed(..) => CLAIMED,
        }
    }

    pub fn expires_at(&self) -> Option<u64> {
        match self.said {
            Said::Revoked(until) | Said::Sealed(until, _) | Said::Claimed(until, _) => Some(until),
            Said::Delivered => None,
        }
    }

    pub fn claimant(&self) -> Option<[u8; 8]> {
        match self.said {
            Said::Claimed(_, by) => Some(by),
            _ => None,
        }
    }

    pub fn sealed(&self) -> Option<&'a [u8]> {
        match self.said {
            Said::Sealed(_, sealed) => Some(sealed),
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

/// `None` for what is not such an entry.
pub fn decode(bytes: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut rest = bytes.get(HEAD..).filter(|_| bytes[0] == VERSION)?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let kind = take(&mut rest, 1)?[0];
        let hash = take(&mut rest, 32)?.try_into().ok()?;
        let said = match kind {
            REVOKED => Said::Revoked(expiry(&mut rest)?),
            SEALED => {
                let until = expiry(&mut rest)?;
                let length = length(&mut rest)?;
                Said::Sealed(until, take(&mut rest, length)?)
            }
            DELIVERED => Said::Delivered,
            CLAIMED => Said::Claimed(expiry(&mut rest)?, take(&mut rest, 8)?.try_into().ok()?),
            _ => return None,
        };
        records.push(Record { hash, said });
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
        // Beyond this nothing fits into what is left, but for zeros.
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
