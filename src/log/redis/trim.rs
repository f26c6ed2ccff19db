//! Decides up to which id the stream may be trimmed: rules and state, without a connection or a
//! clock.

use std::collections::HashMap;

use super::id::Id;
use super::wire::Record;
use crate::token::TokenHash;

/// How much longer an entry stays than the longest revocation lasts, in milliseconds.
const MARGIN: u64 = 60 * 60 * 1000;

/// The entries that were read so far show how long revocations last at most, and which tokens are
/// not delivered yet. So no entry is trimmed that is still needed, without any configuration.
///
/// The entry that was read last stays too: with it the readers recognize that the stream is still
/// the same.
pub(super) struct Trim {
    longest: u64,
    undelivered: HashMap<TokenHash, Id, foldhash::fast::RandomState>,
    read_to: Id,
    /// All entries before `read_to` were read too.
    is_complete: bool,
}

impl Trim {
    /// The stream is read from after this id.
    pub(super) fn after(id: Id) -> Self {
        Self {
            longest: 0,
            undelivered: HashMap::default(),
            read_to: id,
            is_complete: id == Id::ZERO,
        }
    }

    /// Whether reading on after this id would skip entries, or begins again. Reading some entries
    /// twice is neither.
    pub(super) fn is_elsewhere(&self, after: Id) -> bool {
        after > self.read_to || (after == Id::ZERO && self.read_to != Id::ZERO)
    }

    pub(super) fn read(&mut self, id: Id, records: &[Record<'_>]) {
        for record in records {
            match *record {
                Record::Revoked { hash, expires_at, sealed } => {
                    self.longest = self.longest.max(expires_at.saturating_sub(id.millis));
                    if sealed.is_some() {
                        self.undelivered.insert(hash, id);
                    }
                }
                Record::Delivered { hash } => {
                    self.undelivered.remove(&hash);
                }
                Record::Claimed { .. } => {}
            }
        }
        self.read_to = id;
    }

    /// Entries before this id are no longer needed at the time `now` of Redis's clock.
    pub(super) fn at(&self, now: u64) -> Id {
        if !self.is_complete {
            return Id::ZERO;
        }
        let expired = now.saturating_sub(self.longest).saturating_sub(MARGIN);
        let expired = Id { millis: expired, number: 0 };
        let undelivered = self.undelivered.values().copied().min();
        expired.min(undelivered.unwrap_or(expired)).min(self.read_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn id(hours: u64) -> Id {
        Id { millis: hours * HOUR, number: 0 }
    }

    fn revoked(n: u8, until: u64, sealed: Option<&[u8]>) -> Record<'_> {
        let hash = TokenHash::from_bytes([n; 32]);
        Record::Revoked { hash, expires_at: until * HOUR, sealed }
    }

    fn delivered(n: u8) -> Record<'static> {
        Record::Delivered { hash: TokenHash::from_bytes([n; 32]) }
    }

    #[test]
    fn entries_stay_an_hour_beyond_the_longest_lifetime() {
        let mut trim = Trim::after(Id::ZERO);
        trim.read(id(100), &[revoked(1, 110, None)]);
        trim.read(id(101), &[revoked(2, 131, None)]);
        trim.read(id(102), &[revoked(3, 103, None)]);
        assert_eq!(trim.at(121 * HOUR), id(90));
        // A revocation that had expired when it was written has no lifetime.
        trim.read(id(125), &[revoked(4, 0, None)]);
        assert_eq!(trim.at(141 * HOUR), id(110));
    }

    #[test]
    fn entries_of_undelivered_tokens_stay() {
        let mut trim = Trim::after(Id::ZERO);
        trim.read(id(100), &[revoked(1, 101, Some(b"token"))]);
        trim.read(id(101), &[revoked(2, 102, Some(b"token"))]);
        trim.read(id(200), &[revoked(3, 201, None)]);
        assert_eq!(trim.at(190 * HOUR), id(100));
        trim.read(id(201), &[delivered(1)]);
        assert_eq!(trim.at(190 * HOUR), id(101));
        trim.read(id(201), &[delivered(2)]);
        assert_eq!(trim.at(190 * HOUR), id(188));
    }

    #[test]
    fn token_sealed_again_stays_in_its_newer_entry() {
        let mut trim = Trim::after(Id::ZERO);
        trim.read(id(100), &[revoked(1, 101, Some(b"token"))]);
        trim.read(id(150), &[revoked(1, 0, Some(b"token"))]);
        trim.read(id(200), &[delivered(9)]);
        assert_eq!(trim.at(190 * HOUR), id(150));
    }

    #[test]
    fn newest_entry_and_endless_revocations_stay() {
        let mut trim = Trim::after(Id::ZERO);
        assert_eq!(trim.at(1_000 * HOUR), Id::ZERO);
        trim.read(id(100), &[revoked(1, 101, None)]);
        trim.read(id(101), &[delivered(1)]);
        assert_eq!(trim.at(1_000 * HOUR), id(101));
        trim.read(id(102), &[revoked(2, u64::MAX / HOUR, None)]);
        assert_eq!(trim.at(1_000 * HOUR), Id::ZERO);
    }

    #[test]
    fn nothing_is_trimmed_before_all_is_read() {
        let mut trim = Trim::after(id(100));
        trim.read(id(101), &[revoked(1, 102, None)]);
        assert_eq!(trim.at(1_000 * HOUR), Id::ZERO);
    }

    #[test]
    fn skipped_entries_and_restarts_are_recognized() {
        let mut trim = Trim::after(Id::ZERO);
        assert!(!trim.is_elsewhere(Id::ZERO));
        trim.read(id(100), &[]);
        trim.read(id(101), &[]);
        assert!(!trim.is_elsewhere(id(101)));
        assert!(!trim.is_elsewhere(id(100)));
        assert!(trim.is_elsewhere(id(102)));
        assert!(trim.is_elsewhere(Id::ZERO));
    }
}
