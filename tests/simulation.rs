//! A network that delays, drops, limits, fails, resets and loses commits, a log that is slow and
//! fails, and processes that are killed: by seeds, in simulated time.
//!
//! A seed that fails is printed; `SIMULATION_SEED=N cargo test --test simulation` replays it, and
//! `SIMULATION_SEEDS=N` runs as many.

use std::collections::{HashMap, HashSet};
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower::service_fn;
use tower_polar_logout::{
    ClientCredentials, Cursor, DeadLetter, Error, Event, Followed, Kept, LogFuture, LogoutHandle,
    LogoutOutcome, PolarClient, PolarLogoutLayer, PolarServer, Revocation, RevocationLog,
    TokenHash, TokenLocation,
};

const MAX_IN_FLIGHT: usize = 4;

/// All that outlives a process.
struct World {
    rng: Rng,
    confirm: bool,
    queue_limit: usize,
    /// From the start of an incarnation, for the seconds given: all calls fail.
    outage: std::ops::Range<u64>,
    is_kind: bool,
    /// Tokens that are dead at Polar.
    dead: HashSet<String>,
    log: Vec<Event>,
    acknowledged: Vec<String>,
    dead_letters: HashSet<TokenHash>,
    calls: usize,
    in_flight: usize,
    most_in_flight: usize,
    /// Between these nothing may be asked, in the clock of this incarnation. What begins in the very
    /// instant in which Polar answers has crossed the answer on its way.
    pauses: Vec<(Instant, Instant)>,
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<World>>;

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().expect("the world")
}

/// What one call meets.
enum Fate {
    Answer(u16, Option<u64>),
    Commit,
    /// Says that it did, and did not.
    LoseCommit,
    Reset,
    CommitAndReset,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let outage = rng.u64(0..20);
        Self {
            confirm: rng.bool(),
            // Often full, and often not.
            queue_limit: rng.usize(1..30),
            outage: outage..outage + rng.u64(0..60),
            rng,
            is_kind: false,
            dead: HashSet::new(),
            log: Vec::new(),
            acknowledged: Vec::new(),
            dead_letters: HashSet::new(),
            calls: 0,
            in_flight: 0,
            most_in_flight: 0,
            pauses: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn fate(&mut self, seconds: u64) -> (Duration, Fate) {
        if self.is_kind {
            return (Duration::from_millis(12), Fate::Commit);
        }
        if self.outage.contains(&seconds) {
            return (Duration::from_millis(self.rng.u64(0..50)), Fate::Answer(502, None));
        }
        // Now and then longer than the client waits.
        let delay = match self.rng.u8(0..10) {
            0 => self.rng.u64(4000..8000),
            1..3 => self.rng.u64(100..2000),
            _ => self.rng.u64(5..30),
        };
        let fate = match self.rng.u8(0..20) {
            0 => Fate::Answer(429, Some(self.rng.u64(1..20))),
            1 => Fate::Answer(503, Some(self.rng.u64(1..10))),
            2 => Fate::Answer(503, None),
            3 => Fate::Answer(500, None),
            4 => Fate::Reset,
            5 => Fate::CommitAndReset,
            6 | 7 if self.confirm => Fate::LoseCommit,
            8 => Fate::Answer(401, None),
            _ => Fate::Commit,
        };
        (Duration::from_millis(delay), fate)
    }
}

/// Counts a call as under way until it is answered or given up.
struct InFlight(Shared);

impl InFlight {
    fn begin(world: &Shared) -> Self {
        let mut this = lock(world);
        this.calls += 1;
        this.in_flight += 1;
        this.most_in_flight = this.most_in_flight.max(this.in_flight);
        let now = Instant::now();
        if this.pauses.iter().any(|(since, until)| *since < now && now < *until) {
            this.wrong.push("a call while paused".to_owned());
        }
        drop(this);
        Self(Arc::clone(world))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Ok(mut world) = self.0.lock() {
            world.in_flight -= 1;
        }
    }
}

async fn polar(
    world: Shared,
    started: Instant,
    request: Request<Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let _in_flight = InFlight::begin(&world);
    let is_introspection = request.uri().path().ends_with("introspect");
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let form: HashMap<String, String> = serde_urlencoded::from_bytes(&body).expect("a form");
    let token = form["token"].clone();
    let (delay, fate) = lock(&world).fate(started.elapsed().as_secs());
    sleep(delay).await;
    let mut world = lock(&world);
    if is_introspection && matches!(fate, Fate::Commit | Fate::LoseCommit) {
        let active = !world.dead.contains(&token);
        return Ok(answer(200, None, format!(r#"{{"active": {active}}}"#)));
    }
    if token.starts_with("foreign") && matches!(fate, Fate::Commit) {
        return Ok(answer(400, None, r#"{"error": "invalid_grant"}"#.to_owned()));
    }
    match fate {
        Fate::Commit | Fate::CommitAndReset if !is_introspection => drop(world.dead.insert(token)),
        _ => {}
    }
    match fate {
        Fate::Answer(status, retry_after) => {
            if let Some(seconds) = retry_after {
                let now = Instant::now();
                world.pauses.push((now, now + Duration::from_secs(seconds)));
            }
            Ok(answer(status, retry_after, String::new()))
        }
        Fate::Commit | Fate::LoseCommit => Ok(answer(200, None, "{}".to_owned())),
        Fate::Reset | Fate::CommitAndReset => Err("reset"),
    }
}

fn answer(status: u16, retry_after: Option<u64>, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Full::from(body)).expect("a response")
}

/// A log that is slow, fails now and then, and outlives the process.
struct WorldsLog(Shared);

impl RevocationLog for WorldsLog {
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        Box::pin(async move {
            if after.is_some() {
                std::future::pending::<()>().await;
            }
            let (events, cursor) = (lock(&self.0).log.clone(), Cursor::new("end"));
            Ok(Followed { events, cursor, is_current: true, has_lost: false, skipped: 0 })
        })
    }

    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        Box::pin(async move {
            let (delay, fails) = {
                let mut world = lock(&self.0);
                (world.rng.u64(0..10), !world.is_kind && world.rng.u8(0..20) == 0)
            };
            sleep(Duration::from_millis(delay)).await;
            if fails {
                return Err(Error::log("the disk is full"));
            }
            lock(&self.0).log.extend(events);
            Ok(Kept::Durably)
        })
    }
}

async fn start(world: &Shared) -> LogoutHandle {
    let started = Instant::now();
    let (for_polar, for_letters) = (Arc::clone(world), Arc::clone(world));
    let transport = service_fn(move |request| polar(Arc::clone(&for_polar), started, request));
    let client = PolarClient::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .max_in_flight(MAX_IN_FLIGHT)
        .transport(transport);
    let World { confirm, queue_limit, .. } = *lock(world);
    let layer = PolarLogoutLayer::builder(client)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .confirm(confirm)
        .queue_limit(queue_limit)
        .previous_client_secret("another")
        // One for each life, and so a small one.
        .limit(10_000)
        .log(WorldsLog(Arc::clone(world)))
        .on_dead_letter(move |letter: &DeadLetter<'_>| {
            let mut world = lock(&for_letters);
            match letter {
                DeadLetter::Refused { hash, .. } => drop(world.dead_letters.insert(*hash)),
                // Both secrets are known at every start.
                other => world.wrong.push(format!("{other:?}")),
            }
        })
        .build()
        .await
        .expect("a layer");
    layer.handle()
}

/// Logs out at random until the process is killed at random.
async fn live_and_be_killed(world: Shared, incarnation: usize) {
    lock(&world).pauses.clear();
    let handle = start(&world).await;
    let life = Duration::from_millis(lock(&world).rng.u64(1..90_000));
    let killed = Instant::now() + life;
    for n in 0.. {
        let wait = Duration::from_millis(lock(&world).rng.u64(0..6000));
        if Instant::now() + wait >= killed {
            break;
        }
        sleep(wait).await;
        if lock(&world).rng.u8(0..30) == 0 {
            exchange_credentials(&world, &handle);
        }
        let kind = if lock(&world).rng.u8(0..10) == 0 { "foreign" } else { "token" };
        // Some are logged out twice.
        let number = if lock(&world).rng.u8(0..5) == 0 { n / 2 } else { n };
        let token = format!("{kind}-{incarnation}-{number}");
        let (handle, world) = (handle.clone(), Arc::clone(&world));
        tokio::spawn(async move {
            let order = Revocation::access_token(&token).expect("a token");
            if handle.revoke([order]).await <= LogoutOutcome::Pending {
                lock(&world).acknowledged.push(token);
            }
        });
    }
    tokio::time::sleep_until(killed).await;
    // Some are given the time to end in good order.
    if lock(&world).rng.bool() {
        let limit = Duration::from_millis(lock(&world).rng.u64(0..20_000));
        handle.shutdown(limit).await;
    }
}

/// To another secret or back, while logouts go on.
fn exchange_credentials(world: &Shared, handle: &LogoutHandle) {
    let secret = if lock(world).rng.bool() { "secret" } else { "another" };
    let handle = handle.clone();
    tokio::spawn(async move {
        // The log may fail; the credentials are in use all the same.
        let _ = handle.set_credentials(ClientCredentials::new("id", secret)).await;
    });
}

/// The last process meets a kind network, and has the time it needs.
async fn deliver_the_rest(world: Shared) {
    {
        let mut world = lock(&world);
        world.is_kind = true;
        world.pauses.clear();
    }
    let handle = start(&world).await;
    let started = Instant::now();
    while handle.counts().pending > 0 {
        sleep(Duration::from_secs(1)).await;
        if started.elapsed() > Duration::from_secs(3600) {
            lock(&world).wrong.push("not done in an hour".to_owned());
            break;
        }
    }
    let mut world = lock(&world);
    let acknowledged = std::mem::take(&mut world.acknowledged);
    for token in &acknowledged {
        if !handle.is_revoked(token) {
            world.wrong.push(format!("{token} is not denied after the restart"));
        }
        let is_settled =
            world.dead.contains(token) || world.dead_letters.contains(&TokenHash::of(token));
        if !is_settled {
            world.wrong.push(format!("{token} never reached Polar"));
        }
    }
    world.acknowledged = acknowledged;
}

/// Runs one process: what is not done when it ends is never done.
fn process(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(story);
}

fn run(seed: u64) -> World {
    fastrand::seed(seed);
    let world = Arc::new(Mutex::new(World::new(seed)));
    let lives = lock(&world).rng.usize(1..4);
    for incarnation in 0..lives {
        process(live_and_be_killed(Arc::clone(&world), incarnation));
        assert_eq!(lock(&world).in_flight, 0, "a killed process calls nobody");
    }
    process(deliver_the_rest(Arc::clone(&world)));
    let world = Arc::into_inner(world).expect("nobody else holds it");
    let mut world = world.into_inner().expect("the world");
    if world.most_in_flight > MAX_IN_FLIGHT {
        world.wrong.push(format!("{} calls in flight", world.most_in_flight));
    }
    world
}

#[test]
fn whatever_happens_what_was_acknowledged_is_delivered_or_a_dead_letter() {
    let number = |name| env::var(name).ok().and_then(|value| value.parse().ok());
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(1000),
    };
    let (mut acknowledged, mut delivered, mut dead_letters, mut calls) = (0, 0, 0, 0);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let world = catch_unwind(AssertUnwindSafe(|| run(seed)));
        let Ok(world) = world else { panic!("seed {seed}: replay with SIMULATION_SEED={seed}") };
        assert!(
            world.wrong.is_empty(),
            "seed {seed}: {:#?}\nreplay with SIMULATION_SEED={seed}",
            world.wrong
        );
        let tokens: HashSet<_> = world.acknowledged.iter().collect();
        acknowledged += tokens.len();
        delivered += tokens.iter().filter(|token| world.dead.contains(**token)).count();
        let is_letter = |token: &str| {
            !world.dead.contains(token) && world.dead_letters.contains(&TokenHash::of(token))
        };
        dead_letters += tokens.iter().filter(|token| is_letter(token)).count();
        calls += world.calls;
    }
    println!(
        "{count} seeds: acknowledged {acknowledged} = delivered {delivered} + dead letters \
         {dead_letters}, in {calls} calls"
    );
    assert_eq!(acknowledged, delivered + dead_letters);
    assert!(acknowledged as u64 > count, "the seeds log out");
}
