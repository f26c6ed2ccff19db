//! The events of one world: replicas come and go, the log has weather, and users call.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use crate::log::Weather;
use crate::logouts::log_out;
use crate::reckoning::reckon;
use crate::replica::{Replica, credentials};
use crate::requests::{nothing_is_forgotten, request};
use crate::world::{Shared, lock};

pub(crate) async fn story(world: Shared) {
    let (replicas, lasts) = {
        let world = lock(&world);
        (world.plan.replicas, world.plan.lasts)
    };
    let mut all = JoinSet::new();
    for slot in 0..replicas {
        all.spawn(come_and_go(Arc::clone(&world), slot));
    }
    if lock(&world).plan.has_weather {
        all.spawn(change_the_weather(Arc::clone(&world)));
    }
    all.spawn(call(Arc::clone(&world)));
    sleep(lasts).await;
    all.abort_all();
    while let Some(ended) = all.join_next().await {
        has_ended(ended);
    }
    reckon(&world).await;
}

/// A task has ended by itself, or was aborted at the end of the story.
fn has_ended(task: Result<(), JoinError>) {
    if let Err(error) = task
        && error.is_panic()
    {
        resume_unwind(error.into_panic());
    }
}

/// Runs one replica after the other.
async fn come_and_go(world: Shared, slot: usize) {
    loop {
        let patience = {
            let mut world = lock(&world);
            if world.mishap(10) { world.millis(0..100) } else { world.millis(60_000..60_001) }
        };
        // Some are killed while they start.
        let Ok(replica) = timeout(patience, Replica::start(&world)).await else {
            lock(&world).tally.count("kills while starting");
            continue;
        };
        lock(&world).live[slot] = Some(replica);
        let life = lock(&world).millis(1..8_000);
        sleep(life).await;
        let replica = lock(&world).live[slot].take().expect("it lives");
        end(replica).await;
        let rest = lock(&world).millis(0..1_000);
        sleep(rest).await;
    }
}

async fn end(replica: Arc<Replica>) {
    nothing_is_forgotten(&replica);
    let (in_good_order, limit) = {
        let mut world = lock(&replica.process.world);
        let in_good_order = world.rng.u8(0..3) == 0;
        let what = if in_good_order { "shutdowns" } else { "kills" };
        world.tally.count(what);
        world.tell(format_args!("{}: {what}", replica.process.id));
        (in_good_order, world.millis(0..5_000))
    };
    if in_good_order {
        replica.handle.shutdown(limit).await;
        nothing_is_forgotten(&replica);
    }
    replica.kill();
}

/// Sets the weather of the log: mostly fair.
async fn change_the_weather(world: Shared) {
    loop {
        let fair = lock(&world).millis(500..6_000);
        sleep(fair).await;
        let foul = {
            let mut world = lock(&world);
            let weather = [Weather::Fails, Weather::Holds, Weather::Hangs];
            let weather = world.rng.choice(weather).expect("some");
            let foul = world.millis(100..4_000);
            // Sometimes longer than a logout waits.
            let foul = if world.mishap(5) { foul * 4 } else { foul };
            world.tell(format_args!("the log: {weather:?} for {foul:?}"));
            let now = world.now();
            world.log.set_weather(weather, now);
            foul
        };
        sleep(foul).await;
        let mut world = lock(&world);
        world.tell(format_args!("the log: fair"));
        let now = world.now();
        world.log.set_weather(Weather::Fair, now);
    }
}

async fn call(world: Shared) {
    let mut logouts = JoinSet::new();
    loop {
        let wait = lock(&world).millis(0..600);
        sleep(wait).await;
        while let Some(ended) = logouts.try_join_next() {
            has_ended(ended);
        }
        let Some(replica) = any_replica(&world) else { continue };
        let what = lock(&world).rng.u8(0..40);
        match what {
            0 => drop(logouts.spawn(exchange_credentials(replica))),
            1..15 => {
                let number = lock(&world).issue();
                logouts.spawn(log_out(replica, number));
            }
            // Some tokens are logged out twice, the second time perhaps by another replica.
            15..20 => {
                let number = some_token(&world);
                logouts.spawn(log_out(replica, number));
            }
            _ => {
                let number = some_token(&world);
                request(&replica, number);
            }
        }
    }
}

/// A replica that lives.
fn any_replica(world: &Shared) -> Option<Arc<Replica>> {
    let mut world = lock(world);
    let live: Vec<_> = world.live.iter().flatten().cloned().collect();
    world.rng.choice(live)
}

fn some_token(world: &Shared) -> usize {
    let mut world = lock(world);
    match world.tokens.len() {
        0 => world.issue(),
        _ if world.rng.u8(0..5) == 0 => world.issue(),
        len => world.rng.usize(..len),
    }
}

/// Exchanges the secret or restores it, while logouts go on.
async fn exchange_credentials(replica: Arc<Replica>) {
    let other = {
        let mut world = lock(&replica.process.world);
        world.tally.count("credentials exchanged");
        world.rng.bool()
    };
    let exchange = replica.handle.set_credentials(credentials(other));
    tokio::select! {
        biased;
        () = replica.process.killed() => {}
        // If the log fails, the credentials are in use anyway.
        _ = exchange => {}
    }
}
