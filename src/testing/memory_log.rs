//! A log that several layers of one test share, as replicas share a Redis.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::error::Error;
use crate::log::{Cursor, Event, Followed, Kept, LogFuture, RevocationLog};

/// A [`RevocationLog`] in memory. Its clones share one log: layers that each have a clone act as
/// replicas of one app.
///
/// It can act as a server that is [down](Self::go_away), or that has
/// [lost its data](Self::lose_everything).
///
/// ```
/// use http::Method;
/// use tower_polar_logout::testing::{FakePolar, MemoryLog};
/// use tower_polar_logout::{PolarLogoutLayer, Revocation, TokenLocation};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (polar, log) = (FakePolar::start().await?, MemoryLog::new());
/// let replica = || {
///     PolarLogoutLayer::builder(polar.credentials())
///         .server(polar.server())
///         .logout_route(Method::POST, "/logout")
///         .access_token(TokenLocation::bearer())
///         .revocation_log(log.clone())
///         .build()
/// };
/// let (here, there) = (replica().await?.handle(), replica().await?.handle());
/// let token = polar.mint().access;
/// here.revoke([Revocation::access_token(&token)?]).await;
/// while !there.is_revoked(&token) {
///     tokio::task::yield_now().await;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
    /// Counts the changes, so that followers can wait for the next one.
    changes: watch::Sender<u64>,
    adopt_after: Duration,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    /// The events that were appended during the current outage.
    held: Vec<Event>,
    is_away: bool,
    /// How often the log went away.
    outages: usize,
    /// How often the log lost everything.
    losses: usize,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLog {
    /// Creates an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            changes: watch::Sender::new(0),
            adopt_after: Duration::from_secs(30),
        }
    }

    /// Sets [`RevocationLog::adopt_after`]. Default: 30 s.
    #[must_use]
    pub fn adopt_after(mut self, time: Duration) -> Self {
        self.adopt_after = time;
        self
    }

    /// The events in the log, in the order in which they were appended.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// Starts an outage: the log cannot be followed, and appended events are kept for now only
    /// ([`Kept::ForNow`]).
    pub fn go_away(&self) {
        self.change(|state| {
            state.is_away = true;
            state.outages += 1;
        });
    }

    /// Ends the outage. The log then has the events that were appended meanwhile.
    pub fn come_back(&self) {
        self.change(|state| {
            state.is_away = false;
            let held = std::mem::take(&mut state.held);
            state.events.extend(held);
        });
    }

    /// Removes all events, like a server that lost its data.
    pub fn lose_everything(&self) {
        self.change(|state| {
            state.events.clear();
            state.losses += 1;
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The step after the cursor; `None` if there is nothing new.
    fn step(&self, after: Option<&Place>) -> Result<Option<Followed>, Error> {
        let state = self.lock();
        if state.is_away {
            return Err(Error::log("the test took the `MemoryLog` away: call `come_back`"));
        }
        let has_lost = after.is_some_and(|place| place.losses != state.losses);
        let known = after.filter(|_| !has_lost).map(|place| place.known.min(state.events.len()));
        // After an outage a follower needs a step, even an empty one, to know that it is current.
        let was_away = after.is_some_and(|place| place.outages != state.outages);
        if known == Some(state.events.len()) && !was_away {
            return Ok(None);
        }
        let State { outages, losses, .. } = *state;
        let cursor = Place { outages, losses, known: state.events.len() }.cursor();
        let events = state.events[known.unwrap_or(0)..].to_vec();
        Ok(Some(Followed::new(events, cursor).with_lost(has_lost)))
    }
}

/// The content of a cursor.
struct Place {
    outages: usize,
    losses: usize,
    known: usize,
}

impl Place {
    fn cursor(&self) -> Cursor {
        Cursor::new(format!("{}-{}-{}", self.outages, self.losses, self.known))
    }

    fn parse(cursor: &Cursor) -> Result<Self, Error> {
        let numbers: Option<Vec<usize>> =
            cursor.as_str().split('-').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[outages, losses, known]) => Ok(Self { outages, losses, known }),
            _ => Err(Error::log("the cursor is not a `MemoryLog`'s: follow from the beginning")),
        }
    }
}

impl RevocationLog for MemoryLog {
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        Box::pin(async move {
            let after = after.as_ref().map(Place::parse).transpose()?;
            let mut changes = self.changes.subscribe();
            loop {
                if let Some(followed) = self.step(after.as_ref())? {
                    return Ok(followed);
                }
                // The channel cannot be closed: the sender is in `self`.
                let _ = changes.changed().await;
            }
        })
    }

    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        let mut was_away = false;
        self.change(|state| {
            was_away = state.is_away;
            if was_away { &mut state.held } else { &mut state.events }.extend(events);
        });
        if !was_away {
            return Box::pin(std::future::ready(Ok(Kept::Durably)));
        }
        let (mut changes, state) = (self.changes.subscribe(), Arc::clone(&self.state));
        let is_back = move || {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            !state.is_away
        };
        let back = async move {
            let _ = changes.wait_for(|_| is_back()).await;
            Ok(())
        };
        Box::pin(std::future::ready(Ok(Kept::ForNow(Box::pin(back)))))
    }

    fn adopt_after(&self) -> Duration {
        self.adopt_after
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("len", &self.lock().events.len()).finish_non_exhaustive()
    }
}
