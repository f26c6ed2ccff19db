//! Which token goes to Polar next, and when: rules and state, no task and no clock.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::backoff;
use super::remembered::Remembered;
use crate::correlation::Correlation;
use crate::token::{Token, TokenHash, TokenTypeHint};

/// After a confirming answer, how long Polar may take to commit what it said.
const COMMITTED_AFTER: Duration = Duration::from_millis(250);

/// The tokens on their way.
///
/// A token is *held* until the log has it, then *ready*, *in flight*, or *waiting* for its time
/// after a failure, longer each time. Of those that are ready the oldest goes first.
///
/// As many failures in a row as may be in flight, whichever tokens they were of, mean that the
/// server is *down*: then the queue pauses, and asks with one token at a time, each time with one
/// that failed less than the others, until one succeeds. Then all that failed meanwhile are ready.
///
/// A token that fails again although another succeeded in between is a *suspect*: the fault may be
/// its own. It says nothing about the server, and while others are ready only one call in a few is
/// a suspect's, so that suspects neither hold back the others nor are forgotten.
pub(super) struct Queue {
    max_in_flight: usize,
    limit: usize,
    confirm: bool,
    entries: HashMap<TokenHash, Entry>,
    ready: BTreeMap<Age, TokenHash>,
    ready_suspects: BTreeMap<Age, TokenHash>,
    waiting: BTreeMap<(Instant, Age), TokenHash>,
    in_flight: usize,
    suspects_in_flight: usize,
    /// Calls for other tokens since a suspect was called.
    calls_since_suspect: u32,
    successes: u64,
    next_number: u64,
    pause: Pause,
    failures_in_a_row: u32,
    confirmed: Remembered,
    closed: bool,
}

/// The lower, the sooner: what was taken in here comes before what was adopted, which others may
/// be sending at this moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    is_adopted: bool,
    /// Counts up.
    number: u64,
}

/// While a suspect is in flight or was, so many others are called before the next.
const OTHERS_BETWEEN_SUSPECTS: u32 = 8;

/// Until when nothing is sent.
#[derive(Clone, Copy, Default)]
struct Pause {
    /// The server asked for it, and is not to be called before.
    asked: Option<Instant>,
    /// Our own, because the server is down.
    own: Option<Instant>,
}

impl Pause {
    fn until(self) -> Option<Instant> {
        self.asked.max(self.own)
    }
}

struct Entry {
    age: Age,
    /// Of the logout that took it in first.
    correlation: Correlation,
    token: Token,
    hint: Option<TokenTypeHint>,
    failures: u32,
    /// The server asked not to be called for this one before.
    asked_until: Option<Instant>,
    /// How many successes there had been when it failed last.
    successes_before: u64,
    is_suspect: bool,
    step: Step,
    place: Place,
    /// Another process has delivered it while it was in flight here.
    is_delivered: bool,
    waiters: Vec<oneshot::Sender<Delivered>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Held,
    Ready,
    Waiting(Instant),
    InFlight,
}

/// What to ask Polar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Revoke,
    /// Whether the token is dead by now.
    Confirm,
}

/// How one token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Confirmed,
    Refused,
}

/// Why a token was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Polar has confirmed it already.
    Confirmed,
    /// The queue is full, or shuts down.
    NoRoom,
}

/// What to do next.
pub(super) enum Next {
    Call(Call),
    /// Nothing before this moment, nor before anything changes.
    Wait(Option<Instant>),
}

pub(super) struct Call {
    pub(super) hash: TokenHash,
    pub(super) token: Token,
    pub(super) hint: Option<TokenTypeHint>,
    pub(super) step: Step,
    pub(super) correlation: Correlation,
    /// Counts from 1. To ask whether it took hold belongs to the attempt before.
    pub(super) attempt: u64,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Confirmed,
    Refused,
    Misconfigured,
    TryAgain {
        retry_after: Option<Duration>,
        /// It concerns every token, not this one: 429 and 503.
        everyone: bool,
    },
    /// Confirmed before, and not committed: to be sent again.
    StillActive,
}

/// What an answer led to.
#[derive(Debug)]
pub(super) enum Settled {
    Ended(Delivered, Vec<oneshot::Sender<Delivered>>),
    GoesOn,
}

impl Queue {
    pub(super) fn new(max_in_flight: usize, limit: usize, confirm: bool) -> Self {
        Self {
            max_in_flight,
            limit,
            confirm,
            entries: HashMap::new(),
            ready: BTreeMap::new(),
            ready_suspects: BTreeMap::new(),
            waiting: BTreeMap::new(),
            in_flight: 0,
            suspects_in_flight: 0,
            calls_since_suspect: OTHERS_BETWEEN_SUSPECTS,
            successes: 0,
            next_number: 0,
            pause: Pause::default(),
            failures_in_a_row: 0,
            confirmed: Remembered::default(),
            closed: false,
        }
    }

    /// Takes a token in, to be held until it is [released](Self::release). One that is on its way
    /// already is not sent twice: who waits for it shares its outcome.
    pub(super) fn hold(
        &mut self,
        correlation: Correlation,
        hash: TokenHash,
        token: Token,
        hint: Option<TokenTypeHint>,
        waiter: oneshot::Sender<Delivered>,
    ) -> Result<(), NotTaken> {
        if let Some(entry) = self.entries.get_mut(&hash) {
            // Who waits no longer takes no room: a token that fails for days may be asked for often.
            if entry.waiters.len() == entry.waiters.capacity() {
                entry.waiters.retain(|waiter| !waiter.is_closed());
            }
            entry.waiters.push(waiter);
            return Ok(());
        }
        if self.confirmed.contains(&hash) {
            return Err(NotTaken::Confirmed);
        }
        if self.closed || self.entries.len() >= self.limit {
            return Err(NotTaken::NoRoom);
        }
        self.insert(correlation, hash, token, hint, vec![waiter], false);
        Ok(())
    }

    /// Lets a token go that was held. Says whether it is still on its way: it may have been let go
    /// by another, and have ended.
    pub(super) fn release(&mut self, hash: &TokenHash) -> bool {
        let Some(entry) = self.entries.get(hash) else { return false };
        if entry.place == Place::Held {
            let age = entry.age;
            self.place(age, *hash, Place::Ready);
        }
        true
    }

    /// Takes in what a log says that nobody has delivered, whatever the limit: it was accepted
    /// once. Says whether that was news.
    pub(super) fn adopt(
        &mut self,
        correlation: Correlation,
        hash: TokenHash,
        token: Token,
    ) -> Result<bool, NotTaken> {
        if self.entries.contains_key(&hash) {
            return Ok(false);
        }
        if self.confirmed.contains(&hash) {
            return Err(NotTaken::Confirmed);
        }
        self.insert(correlation, hash, token, None, Vec::new(), true);
        self.release(&hash);
        Ok(true)
    }

    /// Lets go of a token that another process has delivered. One that is held goes on, since the
    /// log is yet to have it; one that is in flight, until it is answered.
    pub(super) fn delivered_elsewhere(&mut self, hash: &TokenHash) {
        let Some(entry) = self.entries.get_mut(hash) else { return };
        match entry.place {
            Place::Held => return,
            Place::InFlight => {
                entry.is_delivered = true;
                return;
            }
            Place::Ready if entry.is_suspect => drop(self.ready_suspects.remove(&entry.age)),
            Place::Ready => drop(self.ready.remove(&entry.age)),
            Place::Waiting(due) => drop(self.waiting.remove(&(due, entry.age))),
        }
        // Who waits is told nothing: whether Polar confirmed it or refused it is not known here.
        self.entries.remove(hash);
    }

    fn insert(
        &mut self,
        correlation: Correlation,
        hash: TokenHash,
        token: Token,
        hint: Option<TokenTypeHint>,
        waiters: Vec<oneshot::Sender<Delivered>>,
        is_adopted: bool,
    ) {
        let age = Age { is_adopted, number: self.next_number };
        self.next_number += 1;
        let entry = Entry {
            age,
            correlation,
            token,
            hint,
            failures: 0,
            asked_until: None,
            successes_before: 0,
            is_suspect: false,
            step: Step::Revoke,
            place: Place::Held,
            is_delivered: false,
            waiters,
        };
        self.entries.insert(hash, entry);
    }

    /// What to do next. A call that is handed out is to be [settled](Self::settle), come what may.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if let Some(until) = self.pause.until() {
            if now < until {
                return Next::Wait(Some(until));
            }
            self.pause = Pause::default();
        }
        while let Some(first) = self.waiting.first_entry() {
            let (due, age) = *first.key();
            if now < due {
                break;
            }
            let hash = first.remove();
            self.place(age, hash, Place::Ready);
        }
        let at_once = if self.is_down() { 1 } else { self.max_in_flight };
        if self.in_flight >= at_once {
            return Next::Wait(None);
        }
        let Some(hash) = self.choose() else {
            return Next::Wait(self.waiting.first_key_value().map(|((due, _), _)| *due));
        };
        let Some(entry) = self.entries.get_mut(&hash) else { return Next::Wait(Some(now)) };
        entry.place = Place::InFlight;
        self.in_flight += 1;
        self.suspects_in_flight += usize::from(entry.is_suspect);
        self.calls_since_suspect =
            if entry.is_suspect { 0 } else { self.calls_since_suspect.saturating_add(1) };
        Next::Call(Call {
            hash,
            token: entry.token.clone(),
            hint: entry.hint,
            step: entry.step,
            correlation: entry.correlation,
            attempt: u64::from(entry.failures) + 1,
        })
    }

    fn choose(&mut self) -> Option<TokenHash> {
        if self.is_down() {
            let failures = |hash| self.entries.get(hash).map(|entry| entry.failures);
            let least = self.ready.iter().min_by_key(|(_, hash)| failures(hash));
            if let Some(age) = least.map(|(age, _)| *age) {
                return self.ready.remove(&age);
            }
        }
        let suspect_first =
            self.suspects_in_flight == 0 && self.calls_since_suspect >= OTHERS_BETWEEN_SUSPECTS;
        let (first, second) = if suspect_first {
            (&mut self.ready_suspects, &mut self.ready)
        } else {
            (&mut self.ready, &mut self.ready_suspects)
        };
        first.pop_first().or_else(|| second.pop_first()).map(|(_, hash)| hash)
    }

    /// Takes the answer to a call.
    pub(super) fn settle(&mut self, now: Instant, hash: TokenHash, answer: Answer) -> Settled {
        let Some(entry) = self.entries.get_mut(&hash) else { return Settled::GoesOn };
        if entry.place != Place::InFlight {
            return Settled::GoesOn;
        }
        self.in_flight -= 1;
        self.suspects_in_flight -= usize::from(entry.is_suspect);
        let (age, is_delivered) = (entry.age, entry.is_delivered);
        let settled = match answer {
            Answer::Confirmed if self.confirm && entry.step == Step::Revoke => {
                entry.step = Step::Confirm;
                self.place(age, hash, Place::Waiting(now + COMMITTED_AFTER));
                self.succeeded(now);
                Settled::GoesOn
            }
            Answer::Confirmed => {
                self.confirmed.insert(hash);
                self.end(now, &hash, Delivered::Confirmed)
            }
            Answer::Refused => self.end(now, &hash, Delivered::Refused),
            Answer::Misconfigured => {
                entry.failed(self.successes, None);
                self.place(age, hash, Place::Waiting(now + backoff::SLOW));
                self.failed(now, backoff::SLOW, false);
                Settled::GoesOn
            }
            Answer::TryAgain { retry_after, everyone } => {
                // What concerns everyone says nothing about this one.
                let successes = if everyone { entry.successes_before } else { self.successes };
                let asked = retry_after.map(|asked| asked.min(backoff::LONGEST_RETRY_AFTER));
                entry.failed(successes, asked.map(|asked| now + asked));
                let is_suspect = entry.is_suspect;
                let wait = backoff::after(entry.failures).max(asked.unwrap_or_default());
                self.place(age, hash, Place::Waiting(now + wait));
                if everyone {
                    // "Now", or a moment that has passed by our clock, is no time to go on.
                    let pause = backoff::after(self.failures_in_a_row + 1).max(backoff::FIRST);
                    self.failed(now, asked.unwrap_or_default().max(pause), true);
                } else if !is_suspect {
                    self.failed(now, backoff::after(self.failures_in_a_row + 1), false);
                }
                Settled::GoesOn
            }
            Answer::StillActive => {
                entry.failed(self.successes, None);
                let wait = backoff::after(entry.failures);
                // The server has answered to the point: it is up, whatever became of this token.
                self.succeeded(now);
                self.place(age, hash, Place::Waiting(now + wait));
                Settled::GoesOn
            }
        };
        if is_delivered && matches!(settled, Settled::GoesOn) {
            self.delivered_elsewhere(&hash);
        }
        settled
    }

    fn end(&mut self, now: Instant, hash: &TokenHash, delivered: Delivered) -> Settled {
        self.succeeded(now);
        let waiters = self.entries.remove(hash).map(|entry| entry.waiters).unwrap_or_default();
        Settled::Ended(delivered, waiters)
    }

    /// The server has answered to the point.
    fn succeeded(&mut self, now: Instant) {
        if self.is_down() {
            self.wake_failed(now);
        }
        self.failures_in_a_row = 0;
        self.successes += 1;
    }

    fn failed(&mut self, now: Instant, pause: Duration, asked: bool) {
        self.failures_in_a_row += 1;
        let until = Some(now + pause);
        // The longer one holds.
        if asked {
            self.pause.asked = self.pause.asked.max(until);
        } else if self.is_down() {
            self.pause.own = self.pause.own.max(until);
        }
    }

    fn is_down(&self) -> bool {
        self.failures_in_a_row as usize >= self.max_in_flight
    }

    /// Makes all ready that wait because the server failed, whatever their time, unless the server
    /// set it.
    fn wake_failed(&mut self, now: Instant) {
        let is_woken = |entry: &Entry| {
            entry.step == Step::Revoke
                && !entry.is_suspect
                && entry.asked_until.is_none_or(|until| until <= now)
        };
        let failed: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, hash)| self.entries.get(*hash).is_some_and(is_woken))
            .map(|(key, hash)| (*key, *hash))
            .collect();
        for (key, hash) in failed {
            self.waiting.remove(&key);
            let (_, age) = key;
            self.place(age, hash, Place::Ready);
        }
    }

    /// Forgets all that went wrong: somebody has mended the configuration, or there is no more time
    /// to wait for. What the server asked for stays.
    pub(super) fn try_all_now(&mut self, now: Instant) {
        self.failures_in_a_row = 0;
        self.pause.own = None;
        for entry in self.entries.values_mut().filter(|entry| entry.place != Place::InFlight) {
            entry.is_suspect = false;
        }
        self.ready.append(&mut self.ready_suspects);
        self.wake_failed(now);
    }

    fn place(&mut self, age: Age, hash: TokenHash, place: Place) {
        let Some(entry) = self.entries.get_mut(&hash) else { return };
        entry.place = place;
        match place {
            Place::Ready if entry.is_suspect => drop(self.ready_suspects.insert(age, hash)),
            Place::Ready => drop(self.ready.insert(age, hash)),
            Place::Waiting(due) => drop(self.waiting.insert((due, age), hash)),
            Place::Held | Place::InFlight => {}
        }
    }

    /// Takes nothing in any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.correlation.began()).min()
    }

    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.pause.until()
    }

    /// The oldest first.
    pub(super) fn tokens(&self) -> Vec<(TokenHash, Token)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.age);
        entries.into_iter().map(|(hash, entry)| (*hash, entry.token.clone())).collect()
    }
}

impl Entry {
    fn failed(&mut self, successes: u64, asked_until: Option<Instant>) {
        self.asked_until = asked_until;
        self.is_suspect |= self.failures > 0 && successes > self.successes_before;
        self.failures += 1;
        self.successes_before = successes;
        self.step = Step::Revoke;
    }
}

#[cfg(test)]
mod tests;
