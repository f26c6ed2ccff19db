//! The log that all replicas share. It does what `RevocationLog` demands, and no more.

mod appending;
mod following;

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tower_polar_logout::TokenHash;
use tower_polar_logout::log::{
    Claimant, Cursor, Event, Followed, Kept, LogFuture, RevocationLog, SealedToken,
};

use crate::clock::{Expiries, Expiry};
use crate::replica::Process;
use crate::world::{Telling, World, lock};

pub(crate) struct Log {
    pub(crate) expiries: Expiries,
    stored: Vec<Stored>,
    /// The append that each entry belongs to: its events are told together.
    append_of: Vec<usize>,
    appends: usize,
    /// The latest stored expiry of each hash.
    expiry: HashMap<TokenHash, Expiry>,
    delivered: HashSet<TokenHash>,
    sealed: HashSet<TokenHash>,
    weather: Weather,
    /// The log has told a replica of a loss. Then delivered tokens may be appended again as
    /// pending.
    pub(crate) told_a_loss: bool,
    held: Vec<(Arc<Process>, Vec<Event>)>,
    /// Notified of every change. Not a `watch`, which wakes its tasks in an order of its own.
    changed: Arc<Notify>,
    /// The hashes that were kept for now, and by which process.
    kept_for_now: HashSet<(usize, TokenHash)>,
    /// When the last append of a hash by a process was answered.
    answered: HashMap<(usize, TokenHash), Instant>,
    /// How often each append was made.
    appended: HashMap<u64, u64>,
}

#[derive(Clone)]
enum Stored {
    Revoked { hash: TokenHash, expiry: Expiry, sealed: Option<SealedToken> },
    Delivered { hash: TokenHash },
    Claimed { hash: TokenHash, until: Expiry, by: Claimant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// The log cannot be reached.
    Fails,
    /// The log cannot be reached, and appends are kept until it can.
    Holds,
    /// The log does not answer.
    Hangs,
}

/// The events before its cursor that a follower was not told yet.
#[derive(Default)]
pub(crate) struct Reader {
    held_back: Vec<usize>,
    /// The last `follow` failed: the follower waits for a step, even an empty one.
    is_owed_a_step: bool,
}

impl Log {
    pub(crate) fn new(expiries: Expiries) -> Self {
        Self {
            expiries,
            stored: Vec::new(),
            append_of: Vec::new(),
            appends: 0,
            expiry: HashMap::new(),
            delivered: HashSet::new(),
            sealed: HashSet::new(),
            weather: Weather::Fair,
            told_a_loss: false,
            held: Vec::new(),
            changed: Arc::default(),
            kept_for_now: HashSet::new(),
            answered: HashMap::new(),
            appended: HashMap::new(),
        }
    }

    pub(crate) fn has(&self, hash: &TokenHash) -> bool {
        self.expiry.contains_key(hash)
    }

    pub(crate) fn has_delivered(&self, hash: &TokenHash) -> bool {
        self.delivered.contains(hash)
    }

    /// Whether the log has the sealed token, which other replicas could deliver.
    pub(crate) fn has_sealed(&self, hash: &TokenHash) -> bool {
        self.sealed.contains(hash)
    }

    pub(crate) fn was_kept_for_now(&self, process: &Process, hash: TokenHash) -> bool {
        self.kept_for_now.contains(&(process.id, hash))
    }

    pub(crate) fn answered(&self, process: &Process, hash: TokenHash) -> Option<Instant> {
        self.answered.get(&(process.id, hash)).copied()
    }

    /// For how many seconds the hash is still revoked, for a replica whose clock is `ahead`.
    pub(crate) fn left(&self, hash: &TokenHash, ahead: i64, now: i64) -> i64 {
        self.expiry.get(hash).map_or(0, |expiry| self.expiries.left(*expiry, ahead, now))
    }

    pub(crate) fn set_weather(&mut self, weather: Weather, now: i64) {
        self.weather = weather;
        if weather == Weather::Fair {
            for (process, events) in mem::take(&mut self.held) {
                // Events that a killed process kept for now are lost.
                if !process.is_killed() {
                    self.store(&process, events, now);
                }
            }
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn drop_held_appends(&mut self) {
        self.held.clear();
    }

    fn store(&mut self, process: &Process, events: Vec<Event>, now: i64) {
        self.appends += 1;
        for event in events {
            self.append_of.push(self.appends);
            self.stored.push(match event {
                Event::Revoked { hash, expires_at, sealed } => {
                    let expiry = self.expiries.written(expires_at, process.ahead, now);
                    let latest = self.expiry.entry(hash).or_insert(expiry);
                    *latest = expiry.max(*latest);
                    if sealed.is_some() {
                        self.sealed.insert(hash);
                    }
                    Stored::Revoked { hash, expiry, sealed }
                }
                Event::Delivered { hash } => {
                    self.delivered.insert(hash);
                    Stored::Delivered { hash }
                }
                Event::Claimed { hash, until, by } => {
                    let until = self.expiries.claimed(until, process.ahead, now);
                    Stored::Claimed { hash, until, by }
                }
            });
        }
        self.changed.notify_waiters();
    }

    /// The event that a process is told for an entry; `None` if the entry is of no more use.
    fn event(&self, stored: &Stored, ahead: i64, now: i64) -> Option<Event> {
        Some(match stored.clone() {
            Stored::Delivered { hash } => Event::Delivered { hash },
            Stored::Claimed { hash, until, by } => {
                Event::Claimed { hash, until: self.expiries.claimed_until(until, ahead, now), by }
            }
            Stored::Revoked { hash, expiry, sealed } => {
                let is_open = sealed.is_some() && !self.delivered.contains(&hash);
                if self.expiries.left(expiry, ahead, now) <= 0 && !is_open {
                    return None;
                }
                let expires_at = self.expiries.told(expiry, ahead, now);
                Event::Revoked { hash, expires_at, sealed }
            }
        })
    }
}

impl World {
    /// The events for a line of the story, without any time of the machine.
    fn named(&self, events: &[Event]) -> String {
        if self.telling == Telling::Nothing {
            return String::new();
        }
        // Another reading of the same value is revoked too, and is no token.
        let text = |hash: &TokenHash| match self.numbers.get(hash) {
            Some(number) => self.tokens[*number].text.clone(),
            None => format!("{hash:?}"),
        };
        let name = |event: &Event| match event {
            Event::Revoked { hash, sealed: Some(_), .. } => format!("sealed {}", text(hash)),
            Event::Revoked { hash, .. } => format!("revoked {}", text(hash)),
            Event::Delivered { hash } => format!("delivered {}", text(hash)),
            Event::Claimed { hash, .. } => format!("claimed {}", text(hash)),
        };
        events.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

fn hash(event: &Event) -> TokenHash {
    match event {
        Event::Revoked { hash, .. } | Event::Delivered { hash } | Event::Claimed { hash, .. } => {
            *hash
        }
    }
}

/// The log of one process.
pub(crate) struct Connection(pub(crate) Arc<Process>);

impl RevocationLog for Connection {
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        Box::pin(self.0.while_alive(self.next_step(after)))
    }

    fn append(&self, mut events: Vec<Event>) -> LogFuture<'_, Kept> {
        // A replica that appends again reads a map, in random order.
        events.sort_by_key(|event| *hash(event).as_bytes());
        Box::pin(self.0.while_alive(self.keep(events)))
    }

    fn adopt_after(&self) -> Duration {
        lock(&self.0.world).plan.adopt_after
    }
}
