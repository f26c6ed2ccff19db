//! How the log keeps appends.

use std::hash::{DefaultHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};
use tower_polar_logout::Error;
use tower_polar_logout::log::{Event, Kept};

use super::{Connection, Weather, hash};
use crate::promise::Promise;
use crate::replica::Process;
use crate::told::has_secret;
use crate::world::{World, lock};

/// How an append ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Durably,
    ForNow,
    Not,
}

impl World {
    /// Keeps the events or fails; `None` if that is not decided yet.
    fn keep(&mut self, process: &Arc<Process>, events: &[Event], chance: &mut Rng) -> Option<Fate> {
        let now = self.now();
        match self.log.weather {
            Weather::Hangs => None,
            Weather::Fair if self.is_kind || chance.u8(0..20) > 0 => {
                self.log.store(process, events.to_vec(), now);
                // Twice, as a log does that lost the first answer and asked again.
                if !self.is_kind && chance.u8(0..20) == 0 {
                    self.log.store(process, events.to_vec(), now);
                }
                Some(Fate::Durably)
            }
            Weather::Holds => {
                self.tally.count("appends kept for now");
                let hashes = events.iter().map(|event| (process.id, hash(event)));
                self.log.kept_for_now.extend(hashes);
                self.log.held.push((Arc::clone(process), events.to_vec()));
                Some(Fate::ForNow)
            }
            Weather::Fair | Weather::Fails => {
                self.tally.count("appends that failed");
                Some(Fate::Not)
            }
        }
    }

    /// Randomness of its own for each append. Two appends in one instant may come in either order,
    /// since lost events are appended again from another thread.
    fn chance_of(&mut self, process: &Process, events: &[Event]) -> Rng {
        let mut key = DefaultHasher::new();
        key.write_u64(self.seed);
        key.write_usize(process.id);
        for event in events {
            key.write(hash(event).as_bytes());
            key.write_u8(match event {
                Event::Revoked { .. } => 0,
                Event::Delivered { .. } => 1,
                Event::Claimed { .. } => 2,
            });
        }
        let times = self.log.appended.entry(key.finish()).or_default();
        *times += 1;
        key.write_u64(*times);
        Rng::with_seed(key.finish())
    }

    fn find_secrets(&mut self, events: &[Event]) {
        for event in events {
            let sealed = match event {
                Event::Revoked { sealed: Some(sealed), .. } => sealed.as_bytes(),
                _ => &[],
            };
            if has_secret(format!("{event:?}")) || has_secret(sealed) {
                self.breaks(Promise::SecretsStayInside, "an event for the log has one");
            }
        }
    }
}

impl Connection {
    pub(super) async fn keep(&self, mut events: Vec<Event>) -> Result<Kept, Error> {
        // moka lists its entries in an order of its own.
        events.sort_unstable_by_key(|event| *hash(event).as_bytes());
        let (mut chance, signal) = {
            let mut world = lock(&self.0.world);
            world.find_secrets(&events);
            (world.chance_of(&self.0, &events), Arc::clone(&world.log.changed))
        };
        let longest = if chance.u8(0..20) == 0 { 2_000 } else { 12 };
        sleep(Duration::from_millis(chance.u64(1..longest))).await;
        let kept = loop {
            let mut changed = pin!(signal.notified());
            changed.as_mut().enable();
            let kept = lock(&self.0.world).keep(&self.0, &events, &mut chance);
            match kept {
                Some(kept) => break kept,
                None => changed.await,
            }
        };
        // A process that is killed now has appended, and does not know it.
        sleep(Duration::from_millis(chance.u64(0..12))).await;
        let mut world = lock(&self.0.world);
        for event in &events {
            world.log.answered.insert((self.0.id, hash(event)), Instant::now());
        }
        let named = world.named(&events);
        world.tell(format_args!("{}: the log keeps {kept:?}: {named}", self.0.id));
        match kept {
            Fate::Durably => Ok(Kept::Durably),
            Fate::Not => Err(Error::log("the disk is full")),
            Fate::ForNow => Ok(Kept::ForNow(Box::pin(until_back(Arc::clone(&self.0))))),
        }
    }
}

async fn until_back(process: Arc<Process>) -> Result<(), Error> {
    let signal = Arc::clone(&lock(&process.world).log.changed);
    loop {
        let mut changed = pin!(signal.notified());
        changed.as_mut().enable();
        let is_back = lock(&process.world).log.weather == Weather::Fair;
        if is_back {
            return Ok(());
        }
        process.while_alive(changed).await;
    }
}
