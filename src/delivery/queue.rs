//! Which token goes to Polar next, and when: rules and state, no task and no clock.

mod call;
mod entry;
mod group;
mod server;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) use self::call::{Call, CallAnswer, Due, Settled};
pub(crate) use self::call::{Delivered, NotTaken};
pub(super) use self::entry::Step;
use self::entry::{Entry, State};
use self::group::{Group, Place, Rank};
use self::server::Server;
use super::recently_confirmed::RecentlyConfirmed;
use crate::telemetry::Correlation;
use crate::token::{Token, TokenHash, TokenTypeHint};

/// Calls that take longer than this, in every slot, mean that Polar does not answer.
const HUNG_AFTER: Duration = Duration::from_secs(2);

/// One call in so many takes the oldest group, however often it failed.
const OLDEST_EVERY: u64 = 8;

/// Longer durations are cut to this, so that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The tokens on their way to Polar, in *groups*: the tokens of one logout, which may be the two of
/// one pair. Two calls about one pair at once freeze Polar, so a group has one call in flight at
/// most, and after a call that Polar may still be working on none until the call's time-out has
/// passed since it began. Logouts that share a token share a group. Tokens that come from a log have
/// lost their group: of all these one is in flight.
///
/// Which group goes next: the one that failed least, then the oldest; and every eighth call the
/// oldest. So a token that keeps failing holds nobody back, and is not forgotten.
///
/// | place of a token | event | goes to |
/// |---|---|---|
/// | | [`hold`](Queue::hold) | held, until the log has it |
/// | held | [`release`](Queue::release) | ready |
/// | | [`adopt`](Queue::adopt) | ready |
/// | ready | [`next`](Queue::next), and its group has no call in flight | in flight |
/// | ready, waiting | [`delivered_elsewhere`](Queue::delivered_elsewhere) | gone |
/// | in flight | [`settle`](Queue::settle): confirmed, and believed or verified; refused | gone |
/// | in flight | [`settle`](Queue::settle): confirmed, and yet to be verified | waiting, 250 ms |
/// | in flight | [`settle`](Queue::settle): failed | waiting, longer each time |
/// | waiting | its time has come; or the first success after Polar was down | ready |
pub(super) struct Queue {
    max_in_flight: usize,
    limit: usize,
    verify: bool,
    server: Server,
    /// How long a call may take, and how long Polar may work on one that was given up.
    call_timeout: Duration,
    groups: HashMap<u64, Group>,
    group_of: HashMap<TokenHash, u64>,
    ready: BTreeSet<Rank>,
    waiting: BTreeSet<(Instant, u64)>,
    in_flight: Vec<InFlight>,
    /// Before this no token that comes from a log is called.
    adopted_not_before: Option<Instant>,
    calls: u64,
    next_number: u64,
    confirmed: RecentlyConfirmed,
    /// A log may tell late of what was refused meanwhile.
    refused: RecentlyConfirmed,
    closed: bool,
}

#[derive(Clone, Copy)]
struct InFlight {
    hash: TokenHash,
    began: Instant,
    /// Begun before everything was to be tried again: what is misconfigured may be right by now.
    is_outdated: bool,
}

/// A token of a logout that is held: the tokens of the same logout join its group, whichever that is
/// by then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sibling(Option<TokenHash>);

impl Queue {
    /// What a log brings back waits for `call_timeout`: a call of the process before may be under way.
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

    /// Takes a token of a logout in, to be held until it is [released](Self::release). One that is
    /// on its way already is not sent twice: who waits for it shares its outcome, and the other
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
            if let Some(entry) = self.groups.get_mut(&known).and_then(|it| it.entry(&hash)) {
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

    /// Makes one group of two.
    fn join(&mut self, now: Instant, own: u64, known: u64) {
        if own == known {
            return;
        }
        // Leaves nothing behind in its place.
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

    /// Lets tokens go that were held. Hands back those that have ended: they may have been let go by
    /// another logout. A token that another process has taken over has not.
    pub(super) fn release(&mut self, now: Instant, hashes: &[TokenHash]) -> Vec<TokenHash> {
        // All of them before the first can go: the order within a group is that of the logout.
        let mut released = Vec::with_capacity(hashes.len());
        let mut ended = Vec::new();
        for hash in hashes {
            let Some(number) = self.group_of.get(hash).copied() else {
                ended.extend(self.has_ended(hash).then_some(*hash));
                continue;
            };
            if let Some(entry) = self.groups.get_mut(&number).and_then(|it| it.entry(hash)) {
                entry.release();
            }
            released.push(number);
        }
        for number in released {
            self.place(now, number);
        }
        ended
    }

    /// Takes in what a log says that nobody has delivered, whatever the limit: it was accepted
    /// once. Says whether that was news.
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

    /// Lets go of a token that another process has delivered, or has taken over. One that is held
    /// goes on, since the log is yet to have it; one that is in flight, until it is answered.
    pub(super) fn delivered_elsewhere(&mut self, now: Instant, hash: &TokenHash) {
        let Some(number) = self.group_of.get(hash).copied() else { return };
        let Some(entry) = self.groups.get_mut(&number).and_then(|it| it.entry(hash)) else {
            return;
        };
        match entry.state {
            State::Held => {}
            State::InFlight => entry.is_delivered = true,
            // The waiters get no outcome: whether Polar confirmed or refused it is not known here.
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

    /// Puts a group where it belongs, after every change of it.
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

    /// What to do next. A call that is handed out is to be [settled](Self::settle), come what may.
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
            // Then it is known that Polar does not answer.
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
        // Those from a log come last.
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

    /// When the youngest of as many calls as there may be will have taken too long.
    fn hung_at(&self) -> Option<Instant> {
        let youngest = self.in_flight.iter().map(|call| call.began).max();
        youngest.filter(|_| self.in_flight.len() >= self.max_in_flight).map(|at| at + HUNG_AFTER)
    }

    /// Polar is known not to answer soon: a logout must not wait for it.
    pub(super) fn is_unresponsive(&self, now: Instant) -> bool {
        self.server.is_down()
            || self.server.paused_until(now).is_some()
            || self.hung_at().is_some_and(|at| at <= now)
    }

    /// Makes all ready that wait because a call failed, whatever their time, unless the server set
    /// it, or may still be working on the call.
    fn wake_failed(&mut self, now: Instant) {
        // Also where another token of the group is ready.
        let numbers: Vec<_> = self.groups.keys().copied().collect();
        for number in numbers {
            if let Some(group) = self.groups.get_mut(&number) {
                group.entries.iter_mut().for_each(Entry::wake);
            }
            self.place(now, number);
        }
    }

    /// Forgets all that went wrong: the credentials were replaced, or the process shuts down. The time
    /// that the server asked for stays, and so does the time of a call that it may be working on.
    pub(super) fn try_all_now(&mut self, now: Instant) {
        self.server.forget_failures();
        self.in_flight.iter_mut().for_each(|call| call.is_outdated = true);
        self.wake_failed(now);
    }

    /// Takes nothing in any more.
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
