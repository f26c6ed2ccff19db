//! A group: the tokens of one logout, of which at most one is in flight.

use tokio::time::Instant;

use super::entry::{Entry, State};
use crate::token::TokenHash;

pub(super) struct Group {
    /// The lower the number, the older the group.
    pub(super) number: u64,
    /// The group holds a token from a log. The other token of its pair may be in another group.
    pub(super) is_adopted: bool,
    /// Polar may still be working on a call until this time.
    pub(super) not_before: Option<Instant>,
    pub(super) place: Place,
    /// In the order in which they are sent.
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
pub(super) enum Place {
    /// All tokens of the group are held, or one is in flight.
    Nowhere,
    Ready(Rank),
    Waiting(Instant),
}

/// The lowest rank is called first. Tokens of this process's logouts come before adopted ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) is_adopted: bool,
    failures: u32,
    pub(super) number: u64,
}

impl Group {
    pub(super) fn new(number: u64, is_adopted: bool) -> Self {
        let (place, entries) = (Place::Nowhere, Vec::new());
        Self { number, is_adopted, not_before: None, place, entries }
    }

    /// Moves the tokens, with the group's limits on them, out of the group.
    pub(super) fn take(&mut self) -> Self {
        let entries = std::mem::take(&mut self.entries);
        Self { entries, place: Place::Nowhere, ..*self }
    }

    pub(super) fn join(&mut self, other: Self) {
        self.is_adopted |= other.is_adopted;
        self.not_before = self.not_before.max(other.not_before);
        self.entries.extend(other.entries);
    }

    pub(super) fn entry(&mut self, hash: &TokenHash) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.hash == *hash)
    }

    pub(super) fn remove(&mut self, hash: &TokenHash) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.hash == *hash)?;
        Some(self.entries.remove(at))
    }

    pub(super) fn place_at(&self, now: Instant) -> Place {
        if self.entries.iter().any(|entry| entry.state == State::InFlight) {
            return Place::Nowhere;
        }
        let free = || self.entries.iter().filter(|entry| entry.state == State::Free);
        let Some(due) = free().map(|entry| entry.due).min() else { return Place::Nowhere };
        if let Some(until) = due.max(self.not_before).filter(|at| *at > now) {
            return Place::Waiting(until);
        }
        let failures = free().filter(|entry| entry.is_due(now)).map(|entry| entry.failures).min();
        Place::Ready(Rank {
            is_adopted: self.is_adopted,
            failures: failures.unwrap_or_default(),
            number: self.number,
        })
    }

    /// The next token to send: of those that are due the one that failed least, then the first.
    pub(super) fn due(&mut self, now: Instant) -> Option<&mut Entry> {
        let is_due = |entry: &&mut Entry| entry.state == State::Free && entry.is_due(now);
        let due = self.entries.iter_mut().filter(is_due);
        due.min_by_key(|entry| entry.failures)
    }
}
