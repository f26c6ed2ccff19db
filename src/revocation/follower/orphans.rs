//! Tokens that the log says are yet to be delivered: who is to deliver them, and since when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::log::{Claimant, Event, SealedToken};
use crate::token::TokenHash;

/// Longer durations are cut to this, so that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Each claim covers twice as long as the one before, but no longer than this: an outage of hours
/// must not fill the log with claims.
const LONGEST_CLAIM: Duration = Duration::from_secs(600);

/// At least so long a claim is waited for until it is made again.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// What was appended sealed, and is not delivered yet.
///
/// A process that lives *claims* what it has in its queue, again and again, and so is not overtaken
/// while it can append to the log and read it. Once the claim of a process has run out, and no call
/// that it made can be under way at Polar any more, the others claim the token; and the one that
/// reads its own claim first delivers it. Each does so at a moment of its own, the same for all its
/// tokens: those of one logout, which were appended together, are claimed together, and by one.
pub(super) struct Orphans {
    me: Claimant,
    adopt_after: Duration,
    call_timeout: Duration,
    /// By how much later than others this process takes a claim for run out.
    jitter: Duration,
    known: HashMap<TokenHash, Orphan, foldhash::fast::RandomState>,
    /// The earliest first. Those that are not known any more, or due at another time, stay behind
    /// until they are more than are known: to take each out of the middle would cost more.
    due: BinaryHeap<Reverse<(Instant, [u8; 32])>>,
}

struct Orphan {
    sealed: SealedToken,
    /// How long the next claim of this process covers.
    claim: Duration,
    /// When it is to be claimed. `None` for one that nobody can read here.
    due: Option<Instant>,
    /// Until when it is claimed, as far as the log says.
    claimed_until: Instant,
    owner: Owner,
}

/// Who is to deliver a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Other,
    /// This process once it reads its claim, if no other's comes first.
    Claiming,
    /// This process. Whether it has read a claim of its own: the revocation that it read may be
    /// another's, where both were asked to log the token out.
    Me {
        has_claim: bool,
    },
}

/// Whose turn it is after a claim was read.
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

    /// `is_mine`: it is in the queue of this process.
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
            // The newer may be sealed under a newer secret.
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
            // There is nobody to claim it from.
            _ if !self.is_shared() => now,
            true => now + self.adopt_after / 2,
            false => self.runs_out(claimed_until),
        };
        self.set_due(hash, due);
    }

    /// When a claim until then has run out, and no call of the claimant's is under way any more.
    fn runs_out(&self, claimed_until: Instant) -> Instant {
        claimed_until + self.call_timeout + self.jitter
    }

    fn set_due(&mut self, hash: TokenHash, at: Instant) {
        if let Some(orphan) = self.known.get_mut(&hash) {
            orphan.due = Some(at);
            self.due.push(Reverse((at, *hash.as_bytes())));
        }
    }

    /// Takes note of a claim, in the order in which the log tells of them.
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
                // Another's came first.
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
            // Ours came first: the other reads it before its own.
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

    /// A claim of this process, to be appended. It holds once it is read in the log, and is made
    /// again soon unless it is.
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

    /// Those whose time has come, and with them those whose time without the jitter has: the tokens
    /// of one logout may have been read at different moments. They are due once more only when they
    /// are claimed, or kept.
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

    /// Keeps one that was sealed under another secret: for whoever knows that secret.
    pub(super) fn keep_unreadable(&mut self, hash: TokenHash) {
        if let Some(orphan) = self.known.get_mut(&hash) {
            orphan.due = None;
        }
    }

    /// Another secret is known: tokens that could not be read are due, unless another claims them.
    pub(super) fn retry_unreadable(&mut self, now: Instant) {
        let unreadable: Vec<_> = self
            .known
            .iter()
            .filter(|(_, orphan)| orphan.due.is_none())
            .map(|(it, _)| *it)
            .collect();
        for hash in unreadable {
            let claimed_until = self.known.get(&hash).map(|orphan| orphan.claimed_until);
            let runs_out = claimed_until.filter(|_| self.is_shared()).map(|it| self.runs_out(it));
            self.set_due(hash, runs_out.unwrap_or(now).max(now));
        }
    }

    /// The log has lost the claims of this process.
    pub(super) fn claim_again(&mut self, now: Instant) {
        let is_mine = |orphan: &Orphan| matches!(orphan.owner, Owner::Me { .. });
        let mine: Vec<_> =
            self.known.iter().filter(|(_, orphan)| is_mine(orphan)).map(|(it, _)| *it).collect();
        for hash in mine {
            if let Some(orphan) = self.known.get_mut(&hash) {
                // Others may read the revocation again without the claims before.
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

/// Whole ones, as the runtime's clock ticks.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
