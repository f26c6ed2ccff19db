//! How the log tells events to its followers: all of them, some twice, in no order. Claims keep
//! their order. The events of one append are told together.

use std::mem;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::sleep;
use tower_polar_logout::Error;
use tower_polar_logout::log::{Cursor, Event, Followed};

use super::{Connection, Stored, Weather};
use crate::replica::Process;
use crate::world::{World, lock};

enum Step {
    Told(Followed),
    Failed,
    /// There is nothing to tell yet.
    Wait,
}

impl World {
    fn step(&mut self, process: &Process, after: Option<usize>) -> Step {
        let failed = match self.log.weather {
            Weather::Hangs => return Step::Wait,
            Weather::Fails | Weather::Holds => true,
            Weather::Fair => self.mishap(30),
        };
        if failed {
            self.tally.count("follows that failed");
            self.known[process.id].reader.is_owed_a_step = true;
            return Step::Failed;
        }
        let reader = &mut self.known[process.id].reader;
        let (from, len) = (after.unwrap_or(0), self.log.stored.len());
        let is_news = from < len || !reader.held_back.is_empty() || reader.is_owed_a_step;
        if after.is_some() && !is_news {
            return Step::Wait;
        }
        reader.is_owed_a_step = false;
        let mut told = mem::take(&mut reader.held_back);
        let mut to = if self.is_kind { len } else { len.min(from + self.rng.usize(1..20)) };
        let append_of = &self.log.append_of;
        while to < len && append_of[to] == append_of[to - 1] {
            to += 1;
        }
        told.extend(from..to);
        self.disorder(process, &mut told, from);
        let has_lost = after.is_some() && self.mishap(40);
        self.tally.add("losses told", usize::from(has_lost));
        self.log.told_a_loss |= has_lost;
        self.tally.count("steps told");
        let now = self.now();
        let event = |n: &usize| self.log.event(&self.log.stored[*n], process.ahead, now);
        let events: Vec<_> = told.iter().filter_map(event).collect();
        self.note_told(process, &events, now);
        let is_current = to == len && self.known[process.id].reader.held_back.is_empty();
        self.tell(format_args!(
            "{}: the log tells {}, current {is_current}, lost {has_lost}",
            process.id,
            self.named(&events)
        ));
        let cursor = Cursor::new(to.to_string());
        Step::Told(Followed::new(events, cursor).with_current(is_current).with_lost(has_lost))
    }

    /// Notes the tokens that the process knows to be revoked from now on.
    fn note_told(&mut self, process: &Process, events: &[Event], now: i64) {
        for event in events {
            if let Event::Revoked { hash, .. } = event
                && let Some(number) = self.numbers.get(hash)
                && self.log.left(hash, process.ahead, now) > 0
            {
                self.known[process.id].told.insert(*number);
            }
        }
    }

    /// Holds one append back for the next step, repeats some events, and shuffles all.
    fn disorder(&mut self, process: &Process, told: &mut Vec<usize>, from: usize) {
        if told.len() > 1 && self.mishap(4) {
            let append = self.log.append_of[told[self.rng.usize(..told.len())]];
            let is_of_it = |n: &usize| self.log.append_of[*n] == append && !self.is_claim(*n);
            let held_back: Vec<_> = told.iter().copied().filter(is_of_it).collect();
            told.retain(|n| !held_back.contains(n));
            self.known[process.id].reader.held_back.extend(held_back);
            self.tally.count("steps out of order");
        }
        if from > 0 && self.mishap(5) {
            let repeated = self.rng.usize(1..4);
            told.extend((0..repeated).map(|_| self.rng.usize(..from)));
            self.tally.add("events repeated", repeated);
        }
        self.rng.shuffle(told);
        // Claims keep their order among each other.
        let at: Vec<_> = (0..told.len()).filter(|at| self.is_claim(told[*at])).collect();
        let mut claims: Vec<_> = at.iter().map(|at| told[*at]).collect();
        claims.sort_unstable();
        for (at, claim) in at.into_iter().zip(claims) {
            told[at] = claim;
        }
    }

    fn is_claim(&self, n: usize) -> bool {
        matches!(self.log.stored[n], Stored::Claimed { .. })
    }
}

impl Connection {
    pub(super) async fn next_step(&self, after: Option<Cursor>) -> Result<Followed, Error> {
        let after = after.map(|cursor| cursor.as_str().parse().expect("a cursor of this log"));
        let signal = Arc::clone(&lock(&self.0.world).log.changed);
        loop {
            let lag = {
                let mut world = lock(&self.0.world);
                if world.mishap(10) { world.millis(100..5_000) } else { world.millis(0..40) }
            };
            sleep(lag).await;
            // Enabled before the step, so that no change is missed.
            let mut changed = pin!(signal.notified());
            changed.as_mut().enable();
            let step = lock(&self.0.world).step(&self.0, after);
            match step {
                Step::Told(followed) => return Ok(followed),
                Step::Failed => return Err(Error::log("the log is away")),
                Step::Wait => changed.await,
            }
        }
    }
}
