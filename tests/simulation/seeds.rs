//! Runs seeds, each in a world of its own, on every core.

use std::fmt;
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::promise::Promise;
use crate::story::story;
use crate::tally::Tally;
use crate::told;
use crate::world::{Telling, World, lock};

/// The limit of a run, in simulated time.
const AT_MOST: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Run {
    pub(crate) tally: Tally,
    /// The digest of everything that happened.
    pub(crate) digest: u64,
}

/// A seed, and the promises that it breaks.
#[derive(Debug)]
pub(crate) struct Failure {
    seed: u64,
    wrong: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks a promise:", self.seed)?;
        for wrong in self.wrong.iter().take(10) {
            writeln!(f, "  {wrong}")?;
        }
        write!(
            f,
            "replay with SIMULATION_SEED={} cargo test --test simulation -- --nocapture",
            self.seed
        )
    }
}

pub(crate) fn run_one(seed: u64, telling: Telling) -> Result<Run, Failure> {
    let _listening = told::listen();
    run(seed, telling)
}

/// Runs all seeds below this number.
pub(crate) fn run_all(seeds: u64) -> Result<Tally, Failure> {
    let next = AtomicU64::new(0);
    let all = Mutex::new(Ok(Tally::default()));
    let work = || {
        let _listening = told::listen();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let run = run(seed, Telling::Nothing);
            let mut all = all.lock().expect("the tally");
            match (run, &mut *all) {
                (Ok(run), Ok(tally)) => tally.join(&run.tally),
                (Err(failure), Ok(_)) => *all = Err(failure),
                (_, Err(_)) => return,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(work);
        }
    });
    all.into_inner().expect("the tally")
}

fn run(seed: u64, telling: Telling) -> Result<Run, Failure> {
    // The library draws from this generator, of which each thread has its own.
    fastrand::seed(seed);
    told::take();
    let world = catch_unwind(AssertUnwindSafe(|| live(seed, telling)));
    let Ok(mut world) = world else {
        return Err(Failure { seed, wrong: vec!["it panicked".to_owned()] });
    };
    world.find_told_secrets();
    if !world.wrong.is_empty() {
        return Err(Failure { seed, wrong: world.wrong });
    }
    Ok(Run { tally: world.tally, digest: world.digest.finish() })
}

impl World {
    /// Searches everything that was reported since the last call, and returns its digest.
    fn find_told_secrets(&mut self) -> u64 {
        let told = told::take();
        for secret in &told.secrets {
            self.wrong.push(format!("{}: an event has one: {secret}", Promise::SecretsStayInside));
        }
        told.digest.finish()
    }
}

fn live(seed: u64, telling: Telling) -> World {
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let world = runtime.block_on(async {
        let world = Arc::new(Mutex::new(World::new(seed, telling)));
        let story = tokio::time::timeout(AT_MOST, story(Arc::clone(&world)));
        if story.await.is_err() {
            lock(&world).wrong.push("it never ended".to_owned());
        }
        // Before the runtime drops the remaining tasks, in an order of its own.
        let mut ended = lock(&world);
        let told = ended.find_told_secrets();
        ended.digest.write_u64(told);
        drop(ended);
        world
    });
    drop(runtime);
    let world = Arc::into_inner(world).expect("the only reference");
    let world = world.into_inner().expect("the world");
    assert!(
        world.known.iter().all(|known| known.in_flight == 0),
        "a dead process has a call in flight"
    );
    world
}
