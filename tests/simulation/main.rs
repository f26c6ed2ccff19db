//! Several replicas of an app share a log and call one Polar, by seeds, in simulated time. Every
//! promise of this crate is checked in each run.
//!
//! - The log delays, reorders, repeats, fails, hangs, and cuts off its followers.
//! - Polar delays, fails, limits, resets, and loses commits.
//! - Replicas are killed at any instant and start again, or shut down in order; clocks differ.
//! - Callers hang up.
//!
//! In the end nothing fails any more, and then nothing may be missing.
//!
//! A seed that fails is printed with the promise that it breaks. `SIMULATION_SEED=N cargo test
//! --test simulation -- --nocapture` replays it and prints its story; `SIMULATION_SEEDS=N` runs N
//! seeds. `broken/run` breaks each promise on purpose, and the simulation must find it.
//!
//! Not simulated: moka and `SystemTime` use the machine's clock, which hardly moves while a seed
//! runs. So no entry of a denylist expires. In simulated time, revocations expire in the log, for
//! replicas that read it later.

// Where a request carries a token, and how the token is written there.
mod carried;
// Times of expiry, by the clocks of the machine, the simulation and the replicas.
mod clock;
// The log that all replicas share.
mod log;
// Callers that log out, and the promises about their answers.
mod logouts;
// A Polar that delays, fails, limits, resets, loses commits, and freezes.
mod polar;
// The promises that a failure is named by.
mod promise;
// The end of a world: every promise must have come true.
mod reckoning;
// A real layer around a small app, in a process that can be killed.
mod replica;
// Requests with tokens that are alive or dead, and the promises about their answers.
mod requests;
// Runs seeds, each in a world of its own.
mod seeds;
// The events of one world.
mod story;
// Counts of everything that the seeds did.
mod tally;
// Everything that the library reports through `tracing`.
mod told;
// The state that outlives processes.
mod world;

use std::env;

use self::seeds::{run_all, run_one};
use self::world::Telling;

const SEEDS: u64 = 5_000;

#[test]
fn every_promise_is_kept_whatever_happens() {
    let number = |name| env::var(name).ok().and_then(|value| value.parse().ok());
    if let Some(seed) = number("SIMULATION_SEED") {
        let run = run_one(seed, Telling::Aloud).unwrap_or_else(|failure| panic!("{failure}"));
        return println!("seed {seed}: {}", run.tally);
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let tally = run_all(seeds).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{seeds} seeds: {tally}");
    // A few seeds may miss rare events.
    if seeds >= 1000 {
        assert_eq!(
            tally.never_happened(),
            Vec::<&str>::new(),
            "the seeds no longer do all of these"
        );
    }
}

#[test]
fn same_seed_gives_the_same_run() {
    for seed in 0..25 {
        let digest =
            || run_one(seed, Telling::Digest).unwrap_or_else(|failure| panic!("{failure}")).digest;
        assert_eq!(digest(), digest(), "the second run of seed {seed} differs");
    }
}
