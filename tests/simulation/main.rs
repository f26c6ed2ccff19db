//! Several replicas of an app that share a log and tell one Polar, by seeds, in simulated time: every
//! promise of this crate is held against what comes of it.
//!
//! The log delays, reorders, repeats, fails, hangs, and cuts its followers off; Polar delays, fails,
//! limits, resets, and loses commits; replicas are killed at any instant and start again, or shut
//! down in good order; their clocks differ; callers hang up. After a while all is kind, and then
//! nothing may be missing.
//!
//! A seed that fails is printed with the promise that it breaks. `SIMULATION_SEED=N cargo test --test
//! simulation -- --nocapture` replays it and tells its story, `SIMULATION_SEEDS=N` runs as many.
//! `broken/run` breaks each promise on purpose, and demands that the simulation finds it.
//!
//! What is not simulated: moka and `SystemTime` go by the machine's clock, which hardly moves while a
//! seed runs. So nothing that a replica denies expires there; what expires in simulated time expires
//! in the log, for those who read it later.

mod carried;
mod clock;
mod log;
mod logouts;
mod polar;
mod promise;
mod reckoning;
mod replica;
mod requests;
mod seeds;
mod story;
mod tally;
mod told;
mod world;

use std::env;

use self::seeds::{run_all, run_one};
use self::world::Telling;

const SEEDS: u64 = 5_000;

#[test]
fn whatever_happens_every_promise_is_kept() {
    let number = |name| env::var(name).ok().and_then(|value| value.parse().ok());
    if let Some(seed) = number("SIMULATION_SEED") {
        let run = run_one(seed, Telling::Aloud).unwrap_or_else(|failure| panic!("{failure}"));
        return println!("seed {seed}: {}", run.tally);
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let tally = run_all(seeds).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{seeds} seeds: {tally}");
    // A few may well miss what is rare.
    if seeds >= 1000 {
        assert_eq!(
            tally.never_happened(),
            Vec::<&str>::new(),
            "the seeds no longer do all they did"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..25 {
        let digest =
            || run_one(seed, Telling::Digest).unwrap_or_else(|failure| panic!("{failure}")).digest;
        assert_eq!(digest(), digest(), "seed {seed} took another course the second time");
    }
}
