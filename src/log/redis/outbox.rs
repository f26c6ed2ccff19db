//! What is yet to be written: rules and state, no connection and no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::id::Id;
use super::unseen::{Reached, Read, Unseen};
use crate::error::Error;
use crate::log::{Event, Kept, LogFuture};

/// How many appends may be on their way. Redis may be away for hours, and memory is no log.
pub(super) const LIMIT: usize = 100_000;

/// Appends, in order, until Redis has acknowledged them.
///
/// Where Redis is *away*, who appended is told at once that his events are kept for now only, and
/// so is whoever appends until all that was held is written.
#[derive(Default)]
pub(super) struct Outbox {
    held: VecDeque<Parcel>,
    in_flight: usize,
    is_away: bool,
    next_number: u64,
    pub(super) unseen: Unseen,
}

/// One append: written as a whole or not at all.
pub(super) struct Parcel {
    pub(super) events: Arc<[Event]>,
    waiter: Waiter,
}

enum Waiter {
    Append(oneshot::Sender<Kept>),
    ForNow(oneshot::Sender<()>),
    Nobody,
}

/// Too many are held.
#[derive(Debug)]
pub(super) struct OutboxFull;

impl Outbox {
    pub(super) fn append(
        &mut self,
        events: Vec<Event>,
    ) -> Result<oneshot::Receiver<Kept>, OutboxFull> {
        if self.count() >= LIMIT {
            return Err(OutboxFull);
        }
        let (reply, kept) = oneshot::channel();
        let mut parcel = Parcel { events: events.into(), waiter: Waiter::Append(reply) };
        if self.is_away {
            parcel.keep_for_now();
        }
        self.held.push_back(parcel);
        Ok(kept)
    }

    fn count(&self) -> usize {
        self.held.len() + self.in_flight
    }

    /// The next to write, while `more` says that there is room for them; each with its number.
    pub(super) fn take(&mut self, mut more: impl FnMut(&[Event]) -> bool) -> Vec<(u64, Parcel)> {
        let mut taken = Vec::new();
        while self.held.front().is_some_and(|parcel| more(&parcel.events)) {
            let Some(parcel) = self.held.pop_front() else { break };
            let number = self.next_number;
            self.next_number += 1;
            self.unseen.send(number, Arc::clone(&parcel.events));
            taken.push((number, parcel));
        }
        self.in_flight += taken.len();
        taken
    }

    pub(super) fn written(&mut self, number: u64, parcel: Parcel, id: Id) {
        self.in_flight -= 1;
        self.unseen.acknowledge(number, id);
        parcel.keep();
    }

    /// They may be written or not: they will be once more.
    pub(super) fn put_back(&mut self, parcels: Vec<(u64, Parcel)>) {
        self.in_flight -= parcels.len();
        for (number, parcel) in parcels.into_iter().rev() {
            self.unseen.forget(number);
            self.held.push_front(parcel);
        }
    }

    /// Redis cannot be written to.
    pub(super) fn away(&mut self) {
        self.is_away = true;
        self.held.iter_mut().for_each(Parcel::keep_for_now);
    }

    /// Redis can be written to again. Says whether all that was held is written.
    pub(super) fn back(&mut self) -> bool {
        if self.count() == 0 {
            self.is_away = false;
        }
        !self.is_away
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What a read came to, as for [`Unseen::found`]. Says how many appends are lost, which will be
    /// written again.
    pub(super) fn found(
        &mut self,
        read: Read,
        numbers: impl IntoIterator<Item = u64>,
        reached: Reached,
    ) -> usize {
        let lost = self.unseen.found(read, numbers, reached);
        let count = lost.len();
        let again = lost.into_iter().map(|events| Parcel { events, waiter: Waiter::Nobody });
        self.held.extend(again);
        count
    }
}

impl Parcel {
    fn keep(self) {
        // Who waits may have hung up.
        match self.waiter {
            Waiter::Append(reply) => drop(reply.send(Kept::Durably)),
            Waiter::ForNow(kept) => drop(kept.send(())),
            Waiter::Nobody => {}
        }
    }

    fn keep_for_now(&mut self) {
        let (kept, written) = oneshot::channel();
        match std::mem::replace(&mut self.waiter, Waiter::Nobody) {
            Waiter::Append(reply) => {
                if reply.send(Kept::ForNow(until(written))).is_ok() {
                    self.waiter = Waiter::ForNow(kept);
                }
            }
            waiter => self.waiter = waiter,
        }
    }
}

fn until(written: oneshot::Receiver<()>) -> LogFuture<'static, ()> {
    Box::pin(async { written.await.map_err(|_| ended()) })
}

pub(super) fn ended() -> Error {
    Error::log("the log was dropped, or its runtime has ended, before Redis had the events")
}

#[cfg(test)]
mod tests;
