//! The state that outlives processes, and what is known of each process.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use tokio::time::Instant;
use tower_polar_logout::TokenHash;

use crate::clock::{Expiries, seconds};
use crate::log::Log;
use crate::polar::Polar;
use crate::promise::Promise;
use crate::replica::{Known, Replica};
use crate::tally::Tally;

pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    // The panic itself is already reported.
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The decisions that a seed makes once.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is decided by itself")]
pub(crate) struct Plan {
    pub(crate) replicas: usize,
    /// How long the world is unkind.
    pub(crate) lasts: Duration,
    pub(crate) confirm: bool,
    pub(crate) queue_capacity: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) deadline: Duration,
    pub(crate) adopt_after: Duration,
    pub(crate) allow_stale_start: bool,
    pub(crate) max_log_lag: bool,
    /// The log is not always available.
    pub(crate) has_weather: bool,
    /// In these seconds all calls to Polar fail.
    pub(crate) outage: Range<u64>,
}

impl Plan {
    fn new(rng: &mut Rng) -> Self {
        let replicas = rng.usize(1..=4);
        let outage = rng.u64(0..12);
        let allow_stale_start = rng.u8(0..4) == 0;
        Self {
            replicas,
            lasts: Duration::from_millis(rng.u64(4_000..16_000)),
            confirm: rng.bool(),
            // Often full, and often not.
            queue_capacity: rng.usize(1..20),
            max_in_flight: rng.usize(1..=4),
            deadline: Duration::from_millis(rng.u64(100..2_000)),
            // None for a log that no other process writes.
            adopt_after: match replicas {
                1 => Duration::ZERO,
                _ => Duration::from_secs(rng.u64(1..6)),
            },
            has_weather: rng.bool(),
            allow_stale_start,
            max_log_lag: allow_stale_start && rng.bool(),
            outage: outage..outage + rng.u64(0..10),
        }
    }
}

/// An access token, or the refresh token of its pair, which has the next number.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) hash: TokenHash,
    /// A logout of it has begun.
    pub(crate) was_revoked: bool,
}

/// The number of the pair of a token: that of its access token.
pub(crate) fn pair_of(number: usize) -> usize {
    number & !1
}

/// How the story of a world is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// The story is not formatted, which would take time.
    Nothing,
    /// The story goes into the digest.
    Digest,
    /// The story is printed too.
    Aloud,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    /// The capacity of each denylist. An operator raises it if it is too low.
    pub(crate) limit: usize,
    pub(crate) began: Instant,
    pub(crate) is_kind: bool,
    pub(crate) tokens: Vec<Token>,
    pub(crate) numbers: HashMap<TokenHash, usize>,
    pub(crate) polar: Polar,
    pub(crate) log: Log,
    /// Every process so far.
    pub(crate) known: Vec<Known>,
    pub(crate) live: Vec<Option<Arc<Replica>>>,
    /// Tokens whose logout was acknowledged, and that the log had by then.
    pub(crate) acknowledged: BTreeSet<usize>,
    pub(crate) wrong: Vec<String>,
    pub(crate) tally: Tally,
    pub(crate) digest: DefaultHasher,
    pub(crate) telling: Telling,
}

impl World {
    /// Must be called within the runtime that runs the world.
    pub(crate) fn new(seed: u64, telling: Telling) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng);
        let expiries = Expiries { began: SystemTime::now(), translated: rng.bool() };
        let mut world = Self {
            seed,
            // Reached in some worlds, and never in others.
            limit: if rng.u8(0..3) == 0 { rng.usize(2..12) } else { 1_000 },
            rng,
            began: Instant::now(),
            is_kind: false,
            tokens: Vec::new(),
            numbers: HashMap::new(),
            polar: Polar::default(),
            log: Log::new(expiries),
            known: Vec::new(),
            live: vec![None; plan.replicas],
            plan,
            acknowledged: BTreeSet::new(),
            wrong: Vec::new(),
            tally: Tally::default(),
            digest: DefaultHasher::new(),
            telling,
        };
        let (plan, limit) = (world.plan.clone(), world.limit);
        world.tell(format_args!("{plan:?}, limit {limit}, translated {}", expiries.translated));
        world
    }

    /// Seconds since the world began.
    pub(crate) fn now(&self) -> i64 {
        seconds(self.began.elapsed())
    }

    /// True once in `once_in` calls, and never while the world is kind.
    pub(crate) fn mishap(&mut self, once_in: u8) -> bool {
        !self.is_kind && self.rng.u8(0..once_in) == 0
    }

    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    /// Issues an access token and the refresh token of its pair; returns the access token's number.
    pub(crate) fn issue(&mut self) -> usize {
        let number = self.tokens.len();
        let kind = match self.rng.u8(0..10) {
            // The token of another client.
            0 => 'f',
            // The access token has expired: introspection finds it inactive.
            1..4 => 'e',
            _ => 'u',
        };
        for (number, prefix) in [(number, "polar_at"), (number + 1, "polar_rt")] {
            let text = format!("{prefix}_o_{kind}{number:042}");
            let hash = TokenHash::of(&text);
            self.numbers.insert(hash, number);
            self.tokens.push(Token { text, hash, was_revoked: false });
        }
        number
    }

    /// Tells a line of the story.
    pub(crate) fn tell(&mut self, what: fmt::Arguments<'_>) {
        if self.telling == Telling::Nothing {
            return;
        }
        let line = format!("{:>7} ms  {what}", self.began.elapsed().as_millis());
        if self.telling == Telling::Aloud {
            println!("{line}");
        }
        self.digest.write(line.as_bytes());
    }

    pub(crate) fn breaks(&mut self, promise: Promise, how: &str) {
        let at = self.began.elapsed().as_millis();
        self.wrong.push(format!("{promise}: {how}, at {at} ms"));
    }
}
