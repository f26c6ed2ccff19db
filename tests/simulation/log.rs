//! The log that all replicas share. It keeps its word (see `RevocationLog`), and does no more.

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
    /// To which append each of them belongs: an append is told in one piece.
    append_of: Vec<usize>,
    appends: usize,
    /// When each hash expires, by the latest that was stored.
    expiry: HashMap<TokenHash, Expiry>,
    delivered: HashSet<TokenHash>,
    sealed: HashSet<TokenHash>,
    weather: Weather,
    /// It has told somebody of a loss: what was delivered may be appended again as if it were not.
    pub(crate) told_a_loss: bool,
    held: Vec<(Arc<Process>, Vec<Event>)>,
    /// Told of everything. Not a `watch`: that wakes those who wait in an order of its own.
    changed: Arc<Notify>,
    /// What was kept for now, and by which process.
    kept_for_now: HashSet<(usize, TokenHash)>,
    /// When an append of such a hash by such a process was answered last.
    answered: HashMap<(usize, TokenHash), Instant>,
    /// How often the same was appended.
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
    /// It cannot be reached.
    Fails,
    /// It cannot be reached, and what is appended is kept until it can.
    Holds,
    /// It does not answer.
    Hangs,
}

/// What one who follows it was not told yet, though the cursor says so.
#[derive(Default)]
pub(crate) struct Reader {
    held_back: Vec<usize>,
    /// It failed for him: he waits to hear that he has missed nothing.
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

    /// With the token, for others to deliver.
    pub(crate) fn has_sealed(&self, hash: &TokenHash) -> bool {
        self.sealed.contains(hash)
    }

    pub(crate) fn was_kept_for_now(&self, process: &Process, hash: TokenHash) -> bool {
        self.kept_for_now.contains(&(process.id, hash))
    }

    pub(crate) fn answered(&self, process: &Process, hash: TokenHash) -> Option<Instant> {
        self.answered.get(&(process.id, hash)).copied()
    }

    /// For how many seconds it still says that this is revoked, to one whose clock is `ahead`.
    pub(crate) fn left(&self, hash: &TokenHash, ahead: i64, now: i64) -> i64 {
        self.expiry.get(hash).map_or(0, |expiry| self.expiries.left(*expiry, ahead, now))
    }

    pub(crate) fn set_weather(&mut self, weather: Weather, now: i64) {
        self.weather = weather;
        if weather == Weather::Fair {
            for (process, events) in mem::take(&mut self.held) {
                // What was kept in a process for now has gone with it.
                if !process.is_killed() {
                    self.store(&process, events, now);
                }
            }
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn forget_who_waits(&mut self) {
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

    /// What it tells a process of an entry; nothing of what is of no use any more.
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
    /// As a line of the story, which has no time of the machine's in it.
    fn named(&self, events: &[Event]) -> String {
        if self.telling == Telling::Nothing {
            return String::new();
        }
        // Another reading of the same value is no token, and revoked all the same.
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

/// The log, as one process has it.
pub(crate) struct Connection(pub(crate) Arc<Process>);

impl RevocationLog for Connection {
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        Box::pin(self.0.while_alive(self.next_step(after)))
    }

    fn append(&self, mut events: Vec<Event>) -> LogFuture<'_, Kept> {
        // A replica that appends all it knows takes it from a map, in an order of chance.
        events.sort_by_key(|event| *hash(event).as_bytes());
        Box::pin(self.0.while_alive(self.keep(events)))
    }

    fn adopt_after(&self) -> Duration {
        lock(&self.0.world).plan.adopt_after
    }
}
