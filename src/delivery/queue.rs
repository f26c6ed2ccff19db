//! Decides which token is sent to Polar next, and when: rules and state, without a task or a clock.

mod call;
mod entry;
mod group;
mod server;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) use self::call::{Call, CallAnswer, Due, Settled, Step};
pub(crate) use self::call::{Delivered, NotTaken};
use self::entry::{Entry, State};
use self::group::{Group, Place, Rank};
use self::server::Server;
use super::recently_confirmed::RecentlyConfirmed;
use crate::telemetry::Correlation;
use crate::token::{Token, TokenHash, TokenTypeHint};

/// If every call in flight has taken longer than this, Polar counts as unresponsive.
const HUNG_AFTER: Duration = Duration::from_secs(2);

/// One call in this many goes to the oldest group, however often that group failed.
const OLDEST_EVERY: u64 = 8;

/// Longer durations are cut to this, so that adding them to a time cannot overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The tokens that are to be delivered, in groups.
///
/// A *group* is the tokens of one logout, because these may be the two of one pair, and two calls
/// about one pair at the same time freeze Polar.
///
/// - A group has at most one call in flight.
/// - After a call that Polar may still be working on, the group makes no call until the call's
///   time-out has passed since the call began.
/// - Logouts that share a token share a group.
/// - The groups of tokens that come from a log are not known: of all these tokens, at most one is
///   in flight.
///
/// The group that failed least is called next, and of these the oldest. Every eighth call goes to
/// the oldest group of all. So a token that keeps failing neither delays the others nor is
/// forgotten.
///
/// | state of a token | event | next state |
/// |---|---|---|
/// | | [`hold`](Queue::hold) | held, until it is recorded |
/// | held | [`release`](Queue::release) | ready |
/// | | [`adopt`](Queue::adopt) | ready |
/// | ready | [`next`](Queue::next), if its group has no call in flight | in flight |
/// | ready, waiting | [`delivered_elsewhere`](Queue::delivered_elsewhere) | removed |
/// | in flight | [`settle`](Queue::settle): refused, or confirmed (and verified) | removed |
/// | in flight | [`settle`](Queue::settle): confirmed, still to be verified | waiting, 250 ms |
/// | in flight | [`settle`](Queue::settle): failed | waiting, longer each time |
/// | waiting | its time has passed; or Polar was down and has answered | ready |
pub(super) struct Queue {
    max_in_flight: usize,
    limit: usize,
    verify: bool,
    server: Server,
    /// How long a call may take, and how long Polar may work on a call that was given up.
    call_timeout: Duration,
    groups: HashMap<u64, Group>,
    group_of: HashMap<TokenHash, u64>,
    ready: BTreeSet<Rank>,
    waiting: BTreeSet<(Instant, u64)>,
    in_flight: Vec<InFlight>,
    /// No token that comes from a log is sent before this.
    adopted_not_before: Option<Instant>,
    calls: u64,
    next_number: u64,
    confirmed: RecentlyConfirmed,
    /// A log may report a token again after Polar has refused it.
    refused: RecentlyConfirmed,
    closed: bool,
}

#[derive(Clone, Copy)]
struct InFlight {
    hash: TokenHash,
    began: Instant,
    /// The call began before [`Queue::try_all_now`]: a wrong configuration may be fixed since.
    is_outdated: bool,
}

/// A held token of a logout. The next token of the logout joins the group that this one is in by
/// then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sibling(Option<TokenHash>);

impl Queue {
    /// Tokens from a log wait for `call_timeout`: Polar may still be working on a call of the
    /// previous process.
    pub(super) fn new(
        now: Instant,
        max_in_flight: usize,
        limit: usize,
        verify: bool,
        call_timeout: Duration,
    ) -> Self {
        let call_timeout = call_timeout.min(LONGEST);
        Self {
            max_in_flight,
            limit,
            verify,
            server: Server::new(max_in_flight),
            call_timeout,
            groups: HashMap::new(),
            group_of: HashMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            in_flight: Vec::new(),
            adopted_not_before: Some(now + call_timeout),
            calls: 0,
            next_number: 0,
            confirmed: RecentlyConfirmed::default(),
            refused: RecentlyConfirmed::default(),
            closed: false,
        }
    }

    /// Adds a token of a logout, which is held until it is [released](Self::release). A token that
    /// is in the queue already is not sent twice: all receivers get its one outcome, and the other
    /// tokens of the logout join its group.
    pub(super) fn hold(
        &mut self,
        now: Instant,
        sibling: &mut Sibling,
        correlation: Correlation,
        hash: TokenHash,
        token: Token,
        hint: Option<TokenTypeHint>,
    ) -> Result<oneshot::Receiver<Delivered>, NotTaken> {
        let (waiter, delivered) = oneshot::channel();
        if let Some(known) = self.group_of.get(&hash).copied() {
            let group = self.groups.get_mut(&known);
            if let Some(entry) = group.and_then(|group| group.entry(&hash)) {
                entry.wait(waiter);
            }
            if let Some(own) = self.group_with(*sibling) {
                self.join(now, own, known);
            }
            *sibling = Sibling(Some(hash));
            return Ok(delivered);
        }
        if self.confirmed.contains(&hash) {
            return Err(NotTaken::Ended);
        }
        if self.closed || self.group_of.len() >= self.limit {
            return Err(NotTaken::NoRoom);
        }
        let mut entry = Entry::new(correlation, hash, token, hint, self.verify);
        entry.state = State::Held;
        entry.wait(waiter);
        let number = self.group_with(*sibling).unwrap_or_else(|| {
            self.next_number += 1;
            self.next_number
        });
        *sibling = Sibling(Some(hash));
        self.insert(number, entry, false);
        self.place(now, number);
        Ok(delivered)
    }

    fn group_with(&self, Sibling(hash): Sibling) -> Option<u64> {
        hash.and_then(|hash| self.group_of.get(&hash).copied())
    }

    /// Merges the group `own` into the group `known`.
    fn join(&mut self, now: Instant, own: u64, known: u64) {
        if own == known {
            return;
        }
        // Leaves an empty group, which `place` removes.
        let Some(joining) = self.groups.get_mut(&own).map(Group::take) else { return };
        self.place(now, own);
        for entry in &joining.entries {
            self.group_of.insert(entry.hash, known);
        }
        if let Some(into) = self.groups.get_mut(&known) {
            into.join(joining);
        }
        self.place(now, known);
    }

    /// Makes held tokens ready. Returns those that have ended, since another logout may have
    /// released them before. A token that another process has taken over has not ended.
    pub(super) fn release(&mut self, now: Instant, hashes: &[TokenHash]) -> Vec<TokenHash> {
        // Releases all before the first is placed, so that a group keeps the order of its logout.
        let mut released = Vec::with_capacity(hashes.len());
        let mut ended = Vec::new();
        for hash in hashes {
            let Some(number) = self.group_of.get(hash).copied() else {
                ended.extend(self.has_ended(hash).then_some(*hash));
                continue;
            };
            let group = self.groups.get_mut(&number);
            if let Some(entry) = group.and_then(|group| group.entry(hash)) {
                entry.release();
            }
            released.push(number);
        }
        for number in released {
            self.place(now, number);
        }
        ended
    }

    /// Adds a token from a log that no process has delivered. The limit does not apply, because the
    /// token was accepted before. Returns whether the token was new.
    pub(super) fn adopt(
        &mut self,
        now: Instant,
        correlation: Correlation,
        hash: TokenHash,
        token: Token,
    ) -> Result<bool, NotTaken> {
        if self.contains(&hash) {
            return Ok(false);
        }
        if self.has_ended(&hash) {
            return Err(NotTaken::Ended);
        }
        self.next_number += 1;
        let number = self.next_number;
        let entry = Entry::new(correlation, hash, token, None, self.verify);
        self.insert(number, entry, true);
        self.place(now, number);
        Ok(true)
    }

    /// Removes a token that another process has delivered or taken over. A held token stays, since
    /// it is not recorded yet. A token in flight stays until its call is answered.
    pub(super) fn delivered_elsewhere(&mut self, now: Instant, hash: &TokenHash) {
        let Some(number) = self.group_of.get(hash).copied() else { return };
        let group = self.groups.get_mut(&number);
        let Some(entry) = group.and_then(|group| group.entry(hash)) else { return };
        match entry.state {
            State::Held => {}
            State::InFlight => entry.is_delivered = true,
            // The waiters get no outcome: this process does not know whether Polar confirmed it.
            State::Free => drop(self.remove(now, hash)),
        }
    }

    fn has_ended(&self, hash: &TokenHash) -> bool {
        self.confirmed.contains(hash) || self.refused.contains(hash)
    }

    fn insert(&mut self, number: u64, entry: Entry, is_adopted: bool) {
        self.group_of.insert(entry.hash, number);
        let group = self.groups.entry(number).or_insert_with(|| Group::new(number, is_adopted));
        group.entries.push(entry);
    }

    fn remove(&mut self, now: Instant, hash: &TokenHash) -> Option<Entry> {
        let number = self.group_of.remove(hash)?;
        let entry = self.groups.get_mut(&number)?.remove(hash);
        self.place(now, number);
        entry
    }

    /// Moves a group to the place where it belongs. Must be called after every change of a group.
    fn place(&mut self, now: Instant, number: u64) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        match group.place {
            Place::Nowhere => {}
            Place::Ready(rank) => drop(self.ready.remove(&rank)),
            Place::Waiting(until) => drop(self.waiting.remove(&(until, number))),
        }
        group.place = group.place_at(now);
        match group.place {
            Place::Nowhere if group.entries.is_empty() => drop(self.groups.remove(&number)),
            Place::Nowhere => {}
            Place::Ready(rank) => drop(self.ready.insert(rank)),
            Place::Waiting(until) => drop(self.waiting.insert((until, number))),
        }
    }

    /// The next thing to do. Each call that is returned must be [settled](Self::settle).
    pub(super) fn next(&mut self, now: Instant) -> Due {
        if let Some(until) = self.server.paused_until(now) {
            return Due::Wait(Some(until));
        }
        while let Some((due, number)) = self.waiting.first().copied()
            && due <= now
        {
            self.place(now, number);
        }
        if self.in_flight.len() >= self.server.may_have_in_flight() {
            // From then on Polar counts as unresponsive.
            return Due::Wait(self.hung_at().filter(|at| *at > now));
        }
        let Some(rank) = self.choose(now) else {
            let due = self.waiting.first().map(|(due, _)| *due);
            let adopted = self.adopted_not_before.filter(|at| *at > now);
            return Due::Wait(due.into_iter().chain(adopted).min());
        };
        self.calls += 1;
        self.begin(now, rank.number).map_or(Due::Wait(Some(now)), Due::Call)
    }

    fn is_adopted(&self, hash: &TokenHash) -> bool {
        let group = self.group_of.get(hash).and_then(|number| self.groups.get(number));
        group.is_some_and(|group| group.is_adopted)
    }

    fn choose(&self, now: Instant) -> Option<Rank> {
        let adopted_may_go = self.adopted_not_before.is_none_or(|at| at <= now)
            && !self.in_flight.iter().any(|call| self.is_adopted(&call.hash));
        let may_go = |rank: &&Rank| adopted_may_go || !rank.is_adopted;
        if (self.calls + 1).is_multiple_of(OLDEST_EVERY) {
            return self.ready.iter().filter(may_go).min_by_key(|rank| rank.number).copied();
        }
        // Tokens from a log have the highest rank, and so come last.
        self.ready.first().filter(may_go).copied()
    }

    fn begin(&mut self, now: Instant, number: u64) -> Option<Call> {
        let entry = self.groups.get_mut(&number)?.due(now)?;
        let call = entry.call();
        self.in_flight.push(InFlight { hash: call.hash, began: now, is_outdated: false });
        self.place(now, number);
        Some(call)
    }

    /// Takes the answer to a call.
    pub(super) fn settle(&mut self, now: Instant, hash: TokenHash, answer: CallAnswer) -> Settled {
        let answer = answer.bounded();
        let Some(at) = self.in_flight.iter().position(|call| call.hash == hash) else {
            return Settled::GoesOn;
        };
        let InFlight { began, is_outdated, .. } = self.in_flight.swap_remove(at);
        let Some(number) = self.group_of.get(&hash).copied() else { return Settled::GoesOn };
        let Some(group) = self.groups.get_mut(&number) else { return Settled::GoesOn };
        if let CallAnswer::TryAgain { may_be_under_way: true, .. } = answer {
            let ended = Some(began + self.call_timeout);
            group.not_before = group.not_before.max(ended);
            if group.is_adopted {
                self.adopted_not_before = self.adopted_not_before.max(ended);
            }
        }
        let Some(entry) = group.entry(&hash) else { return Settled::GoesOn };
        if is_outdated && answer == CallAnswer::Misconfigured {
            entry.state = State::Free;
            self.place(now, number);
            return Settled::GoesOn;
        }
        let (is_first, is_delivered) = (entry.failures == 0, entry.is_delivered);
        let ended = entry.advance(now, answer);
        if self.server.answered(now, answer, is_first) {
            self.wake_failed(now);
        }
        match ended {
            Some(Delivered::Confirmed) => self.confirmed.insert(hash),
            Some(Delivered::Refused) => self.refused.insert(hash),
            None => {}
        }
        let gone = if ended.is_some() || is_delivered { self.remove(now, &hash) } else { None };
        self.place(now, number);
        match (ended, gone) {
            (Some(delivered), Some(entry)) => Settled::Ended(delivered, entry.waiters),
            _ => Settled::GoesOn,
        }
    }

    /// When the youngest call will have taken [`HUNG_AFTER`]; `None` while another call may begin.
    fn hung_at(&self) -> Option<Instant> {
        let youngest = self.in_flight.iter().map(|call| call.began).max();
        youngest.filter(|_| self.in_flight.len() >= self.max_in_flight).map(|at| at + HUNG_AFTER)
    }

    /// Whether Polar is known not to answer soon. A logout then does not wait for Polar.
    pub(super) fn is_unresponsive(&self, now: Instant) -> bool {
        self.server.is_down()
            || self.server.paused_until(now).is_some()
            || self.hung_at().is_some_and(|at| at <= now)
    }

    /// Makes all tokens ready that wait because a call failed. A token stays if the server asked
    /// for its wait, or may still be working on its call.
    fn wake_failed(&mut self, now: Instant) {
        // All groups: a ready group may also hold tokens that failed.
        let numbers: Vec<_> = self.groups.keys().copied().collect();
        for number in numbers {
            if let Some(group) = self.groups.get_mut(&number) {
                group.entries.iter_mut().for_each(Entry::wake);
            }
            self.place(now, number);
        }
    }

    /// Forgets all failures, because the credentials were replaced or the process shuts down. Waits
    /// that the server asked for stay, and so do waits for a call that it may be working on.
    pub(super) fn try_all_now(&mut self, now: Instant) {
        self.server.forget_failures();
        self.in_flight.iter_mut().for_each(|call| call.is_outdated = true);
        self.wake_failed(now);
    }

    /// Refuses further logouts.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn len(&self) -> usize {
        self.group_of.len()
    }

    pub(super) fn contains(&self, hash: &TokenHash) -> bool {
        self.group_of.contains_key(hash)
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        let entries = self.groups.values().flat_map(|group| &group.entries);
        entries.map(|entry| entry.correlation.began()).min()
    }

    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.server.paused_until(now)
    }

    /// The oldest first.
    pub(super) fn tokens(&self) -> Vec<(TokenHash, Token)> {
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_unstable_by_key(|group| group.number);
        let entries = groups.into_iter().flat_map(|group| &group.entries);
        entries.map(|entry| (entry.hash, entry.token.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
