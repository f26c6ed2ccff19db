//! The end of a world. All is kind and there is time, so every promise must come true.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::GRAIN;
use crate::log::Weather;
use crate::promise::Promise;
use crate::replica::Replica;
use crate::requests::{nothing_is_forgotten, request};
use crate::world::{Shared, World, lock};

/// The time in which every replica must know each acknowledged logout.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

/// The time in which every token must be delivered. Pauses of minutes are kept.
const DELIVERED_WITHIN: Duration = Duration::from_secs(3600);

const SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn reckon(world: &Shared) {
    {
        let mut world = lock(world);
        world.tell(format_args!("all is kind"));
        world.is_kind = true;
        let now = world.now();
        world.log.set_weather(Weather::Fair, now);
    }
    let slots = lock(world).live.len();
    for slot in 0..slots {
        let is_down = lock(world).live[slot].is_none();
        if is_down {
            let replica = Replica::start(world).await;
            lock(world).live[slot] = Some(replica);
        }
    }
    all_know(world).await;
    all_is_delivered(world).await;
    let newcomer = Replica::start(world).await;
    lock(world).live.push(Some(newcomer));
    all_know(world).await;
    end(world);
}

fn live(world: &Shared) -> Vec<Arc<Replica>> {
    lock(world).live.iter().flatten().cloned().collect()
}

impl Replica {
    /// The tokens of these that are revoked by the log, and that this replica lets in.
    pub(crate) fn missing(&self, world: &World, of: &BTreeSet<usize>) -> Vec<usize> {
        let now = world.now();
        let is_missing = |number: &&usize| {
            let token = &world.tokens[**number];
            // A token about to expire does not count.
            world.log.left(&token.hash, self.process.ahead, now) > GRAIN
                && !self.handle.is_revoked(&token.text)
        };
        of.iter().filter(is_missing).copied().collect()
    }
}

async fn all_know(world: &Shared) {
    let began = Instant::now();
    loop {
        let missing = live(world).into_iter().find_map(|replica| {
            let world = lock(world);
            let number = *replica.missing(&world, &world.acknowledged).first()?;
            Some((replica.process.id, number))
        });
        let Some((id, number)) = missing else { return };
        if began.elapsed() > KNOWN_WITHIN {
            return lock(world).lets_in(id, number);
        }
        sleep(SECOND).await;
    }
}

async fn all_is_delivered(world: &Shared) {
    let began = Instant::now();
    loop {
        let pending: usize =
            live(world).iter().map(|replica| replica.handle.counts().pending).sum();
        let undelivered = lock(world).undelivered();
        if pending == 0 && undelivered.is_none() {
            return;
        }
        if began.elapsed() > DELIVERED_WITHIN {
            let what = undelivered.unwrap_or_else(|| "a token without a promise".to_owned());
            let how = format!("{what} never reaches Polar, and {pending} are pending");
            return lock(world).breaks(Promise::NothingIsLost, &how);
        }
        sleep(SECOND).await;
    }
}

impl World {
    /// Reports a process that lets in a token whose logout any process acknowledged.
    pub(crate) fn lets_in(&mut self, id: usize, number: usize) {
        let (text, known) = (self.tokens[number].text.clone(), &self.known[id]);
        if known.denied.contains(&number) || known.told.contains(&number) {
            let how = format!("{id} lets {text} in, and knew that it is revoked");
            self.breaks(Promise::NothingIsForgotten, &how);
        } else {
            let how = format!("{id} lets {text} in, whose logout was acknowledged");
            self.breaks(Promise::NothingIsLost, &how);
        }
    }

    fn is_delivered(&self, number: usize) -> bool {
        let hash = self.tokens[number].hash;
        self.is_revoked_at_polar(number) || self.polar.dead_letters.contains(&hash)
    }

    fn undelivered(&self) -> Option<String> {
        let number = self.acknowledged.iter().find(|number| !self.is_delivered(**number))?;
        Some(self.tokens[*number].text.clone())
    }
}

fn end(world: &Shared) {
    let live = live(world);
    for replica in &live {
        nothing_is_forgotten(replica);
    }
    // Each token once, at one of the replicas.
    let tokens = lock(world).tokens.len();
    for (number, replica) in (0..tokens).zip(live.iter().cycle()) {
        request(replica, number);
    }
    let mut world = lock(world);
    let is_revoked = |number: &&usize| world.is_revoked_at_polar(**number);
    let (tokens, delivered) =
        (world.acknowledged.len(), world.acknowledged.iter().filter(is_revoked).count());
    world.tally.add("tokens acknowledged", tokens);
    world.tally.add("delivered", delivered);
    world.tally.add("dead letters", tokens - delivered);
    world.live.clear();
    world.log.drop_held_appends();
    drop(world);
    for replica in live {
        replica.kill();
    }
}
