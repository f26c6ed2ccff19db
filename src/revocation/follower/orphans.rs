//! The tokens in the log that are not delivered yet: which process delivers each, and when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::log::{Claimant, Event, SealedToken};
use crate::token::TokenHash;

/// Longer durations are cut to this, so that adding them to a time cannot overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Each claim lasts twice as long as the one before, but at most this long. So an outage of hours
/// does not fill the log with claims.
const LONGEST_CLAIM: Duration = Duration::from_secs(600);

/// The shortest wait before a claim that was not read back is made again.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// The tokens that were appended sealed, and are not delivered yet.
///
/// - A living process *claims* the tokens in its queue again and again. So no other process takes
///   them over while this one can append to the log and read it.
/// - When the claim of a process has run out, and no call that it made can be under way at Polar
///   any more, the other processes claim the token.
/// - The process whose claim comes first in the log delivers the token.
/// - Each process has its own jitter, which is the same for all its claims. So the tokens of one
///   logout, which were appended together, are claimed together and by one process.
pub(super) struct Orphans {
    me: Claimant,
    adopt_after: Duration,
    call_timeout: Duration,
    /// How much later than necessary this process considers a claim run out.
    jitter: Duration,
    known: HashMap<TokenHash, Orphan, foldhash::fast::RandomState>,
    /// The earliest first. Entries of tokens that are no longer known, or are due at another time,
    /// stay until they outnumber the known tokens: removing each from the middle would cost more.
    due: BinaryHeap<Reverse<(Instant, [u8; 32])>>,
}

struct Orphan {
    sealed: SealedToken,
    /// How long the next claim of this process lasts.
    claim: Duration,
    /// When it is claimed next. `None` if this process cannot open the token.
    due: Option<Instant>,
    /// The end of its claim, according to the log.
    claimed_until: Instant,
    owner: Owner,
}

/// The process that delivers a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Other,
    /// This process as soon as it reads its own claim, if the claim of no other comes first.
    Claiming,
    /// This process.
    Me {
        /// Whether it has read a claim of its own. The revocation that it read may be another
        /// process's, if both were asked to revoke the token.
        has_claim: bool,
    },
}

/// The effect of a claim that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// This process claimed it first, and delivers it.
    Mine,
    /// Another process has claimed it, and delivers it.
    Others,
    Unchanged,
}

impl Orphans {
    pub(super) fn new(me: Claimant, adopt_after: Duration, call_timeout: Duration) -> Self {
        let adopt_after = adopt_after.min(LONGEST);
        Self {
            me,
            adopt_after,
            call_timeout: call_timeout.min(LONGEST),
            jitter: Duration::from_millis(fastrand::u64(0..=millis(adopt_after) / 2)),
            known: HashMap::default(),
            due: BinaryHeap::new(),
        }
    }

    /// Whether other processes write the log too.
    pub(super) fn is_shared(&self) -> bool {
        !self.adopt_after.is_zero()
    }

    /// Takes note of a sealed token. `is_mine`: the token is in the queue of this process.
    pub(super) fn revoked(
        &mut self,
        now: Instant,
        hash: TokenHash,
        sealed: SealedToken,
        is_mine: bool,
    ) {
        if let Some(orphan) = self.known.get_mut(&hash)
            && orphan.due.is_some()
        {
            // The newer event may be sealed under a newer secret.
            orphan.sealed = sealed;
            return;
        }
        let claimed_until = now + self.adopt_after;
        let orphan = Orphan {
            sealed,
            claim: self.adopt_after,
            due: None,
            claimed_until,
            owner: if is_mine { Owner::Me { has_claim: false } } else { Owner::Other },
        };
        self.known.insert(hash, orphan);
        let due = match is_mine {
            // No other process can have claimed it.
            _ if !self.is_shared() => now,
            true => now + self.adopt_after / 2,
            false => self.runs_out(claimed_until),
        };
        self.set_due(hash, due);
    }

    /// The time when this claim has run out, and no call of the claimant can be under way any more.
    fn runs_out(&self, claimed_until: Instant) -> Instant {
        claimed_until + self.call_timeout + self.jitter
    }

    fn set_due(&mut self, hash: TokenHash, at: Instant) {
        if let Some(orphan) = self.known.get_mut(&hash) {
            orphan.due = Some(at);
            self.due.push(Reverse((at, *hash.as_bytes())));
        }
    }

    /// Takes note of a claim. Claims must come in the order of the log.
    pub(super) fn claimed(
        &mut self,
        now: Instant,
        hash: TokenHash,
        until: Instant,
        by: Claimant,
    ) -> Turn {
        let Some(orphan) = self.known.get_mut(&hash).filter(|_| until > now) else {
            return Turn::Unchanged;
        };
        if by == self.me {
            if orphan.owner == Owner::Other {
                // The claim of another process came first.
                return Turn::Unchanged;
            }
            orphan.claimed_until = orphan.claimed_until.max(until);
            orphan.claim = (orphan.claim * 2).min(LONGEST_CLAIM.max(self.adopt_after));
            let is_first = orphan.owner == Owner::Claiming;
            orphan.owner = Owner::Me { has_claim: true };
            self.set_due(hash, now + (until - now) / 2);
            return if is_first { Turn::Mine } else { Turn::Unchanged };
        }
        if orphan.owner == (Owner::Me { has_claim: true }) && orphan.claimed_until > now {
            // The claim of this process came first: the other process reads it before its own.
            return Turn::Unchanged;
        }
        orphan.claimed_until = orphan.claimed_until.max(until);
        orphan.owner = Owner::Other;
        let (claimed_until, is_readable) = (orphan.claimed_until, orphan.due.is_some());
        if is_readable {
            self.set_due(hash, self.runs_out(claimed_until));
        }
        Turn::Others
    }

    /// A claim of this process, to be appended. It is valid as soon as it is read in the log. If it
    /// is not read soon, it is made again.
    pub(super) fn claim(
        &mut self,
        now: (Instant, SystemTime),
        hash: TokenHash,
        is_mine: bool,
    ) -> Option<Event> {
        let orphan = self.known.get_mut(&hash)?;
        orphan.owner = match orphan.owner {
            mine @ Owner::Me { .. } if is_mine => mine,
            _ if is_mine => Owner::Me { has_claim: false },
            _ => Owner::Claiming,
        };
        let until = now.1 + orphan.claim;
        self.set_due(hash, now.0 + (self.adopt_after / 4).max(SHORTEST_WAIT));
        Some(Event::Claimed { hash, until, by: self.me })
    }

    pub(super) fn delivered(&mut self, hash: &TokenHash) {
        self.known.remove(hash);
        if self.due.len() / 2 > self.known.len() {
            let known = &self.known;
            self.due.retain(|&Reverse((at, hash))| is_due(known, at, hash));
        }
    }

    pub(super) fn next_due(&mut self) -> Option<Instant> {
        while let Some(&Reverse((at, hash))) = self.due.peek() {
            if is_due(&self.known, at, hash) {
                return Some(at);
            }
            self.due.pop();
        }
        None
    }

    /// The tokens that are due, and with them those that would be due without the jitter, since the
    /// tokens of one logout may have been read at different times. They are due again only after
    /// they are claimed or kept.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(TokenHash, SealedToken)> {
        let mut taken = Vec::new();
        if self.next_due().is_none_or(|at| at > now) {
            return taken;
        }
        let together = now + self.jitter;
        while self.next_due().is_some_and(|at| at <= together)
            && let Some(Reverse((_, hash))) = self.due.pop()
        {
            let hash = TokenHash::from_bytes(hash);
            taken.extend(self.known.get(&hash).map(|orphan| (hash, orphan.sealed.clone())));
        }
        taken
    }

    pub(super) fn sealed_of(&self, hash: &TokenHash) -> Option<&SealedToken> {
        self.known.get(hash).map(|orphan| &orphan.sealed)
    }

    /// Keeps a token that was sealed under another secret, for a process that knows that secret.
    pub(super) fn keep_unreadable(&mut self, hash: TokenHash) {
        if let Some(orphan) = self.known.get_mut(&hash) {
            orphan.due = None;
        }
    }

    /// Another secret is known: tokens that could not be opened are due, unless another process
    /// claims them.
    pub(super) fn retry_unreadable(&mut self, now: Instant) {
        let unreadable: Vec<_> = self
            .known
            .iter()
            .filter(|(_, orphan)| orphan.due.is_none())
            .map(|(hash, _)| *hash)
            .collect();
        for hash in unreadable {
            let claimed_until = self.known.get(&hash).map(|orphan| orphan.claimed_until);
            let claimed_until = claimed_until.filter(|_| self.is_shared());
            let runs_out = claimed_until.map(|until| self.runs_out(until));
            self.set_due(hash, runs_out.unwrap_or(now).max(now));
        }
    }

    /// The log has lost the claims of this process: they are made again at once.
    pub(super) fn claim_again(&mut self, now: Instant) {
        let is_mine = |orphan: &Orphan| matches!(orphan.owner, Owner::Me { .. });
        let mine = self.known.iter().filter(|(_, orphan)| is_mine(orphan));
        let mine: Vec<_> = mine.map(|(hash, _)| *hash).collect();
        for hash in mine {
            if let Some(orphan) = self.known.get_mut(&hash) {
                // Others may read the revocation again, without the claims made before.
                orphan.claim = self.adopt_after;
            }
            self.set_due(hash, now);
        }
    }

    pub(super) fn sealed(&self) -> HashMap<TokenHash, SealedToken> {
        self.known.iter().map(|(hash, orphan)| (*hash, orphan.sealed.clone())).collect()
    }
}

fn is_due(
    known: &HashMap<TokenHash, Orphan, foldhash::fast::RandomState>,
    at: Instant,
    hash: [u8; 32],
) -> bool {
    known.get(&TokenHash::from_bytes(hash)).is_some_and(|orphan| orphan.due == Some(at))
}

/// Whole milliseconds, the resolution of the runtime's clock.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
