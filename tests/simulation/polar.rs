//! A Polar that delays, fails, limits, resets, and loses commits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower_polar_logout::TokenHash;

use crate::promise::Promise;
use crate::replica::Process;
use crate::world::{World, lock};

#[derive(Default)]
pub(crate) struct Polar {
    /// Tokens that are dead there.
    pub(crate) dead: HashSet<String>,
    /// What it has refused for good, as the callback was told.
    pub(crate) dead_letters: HashSet<TokenHash>,
}

/// What one call meets.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answer(u16, RetryAfter),
    Commit,
    /// Says that it did, and did not.
    LoseCommit,
    Reset,
    CommitAndReset,
}

#[derive(Clone, Copy, Debug)]
enum RetryAfter {
    None,
    Seconds(u64),
    /// By the caller's clock, which is ahead.
    DateThatHasPassed,
}

impl World {
    fn fate(&mut self) -> (Duration, Fate) {
        if self.is_kind {
            return (Duration::from_millis(12), Fate::Commit);
        }
        if self.plan.outage.contains(&self.began.elapsed().as_secs()) {
            return (self.millis(0..50), Fate::Answer(502, RetryAfter::None));
        }
        // Now and then longer than the client waits.
        let delay = match self.rng.u8(0..10) {
            0 => self.millis(4_000..8_000),
            1..3 => self.millis(100..2_000),
            _ => self.millis(5..30),
        };
        let fate = match self.rng.u8(0..20) {
            0 => Fate::Answer(429, RetryAfter::Seconds(self.rng.u64(1..20))),
            1 => Fate::Answer(503, RetryAfter::Seconds(self.rng.u64(1..10))),
            2 => Fate::Answer(503, RetryAfter::None),
            3 => Fate::Answer(500, RetryAfter::None),
            4 => Fate::Reset,
            5 => Fate::CommitAndReset,
            6 | 7 if self.plan.confirm => Fate::LoseCommit,
            8 => Fate::Answer(401, RetryAfter::None),
            9 => Fate::Answer(429, RetryAfter::DateThatHasPassed),
            _ => Fate::Commit,
        };
        (delay, fate)
    }
}

/// Counts a call as under way until it is answered or given up.
struct InFlight(Arc<Process>);

impl InFlight {
    fn begin(process: &Arc<Process>) -> Self {
        let mut world = lock(&process.world);
        world.tally.count("calls");
        let most = world.plan.max_in_flight;
        let known = &mut world.known[process.id];
        known.in_flight += 1;
        let (in_flight, now) = (known.in_flight, Instant::now());
        let is_paused = known.pauses.iter().any(|(since, until)| *since < now && now < *until);
        if in_flight > most {
            let how = format!("{in_flight} calls to Polar in flight, where {most} may be");
            world.breaks(Promise::PolarsHealthIsNotTheApps, &how);
        }
        if is_paused {
            world.breaks(Promise::PolarsHealthIsNotTheApps, "Polar was called before it may be");
        }
        drop(world);
        Self(Arc::clone(process))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Ok(mut world) = self.0.world.lock() {
            world.known[self.0.id].in_flight -= 1;
        }
    }
}

pub(crate) async fn polar(
    process: Arc<Process>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    process.while_alive(answer(&process, request)).await
}

async fn answer(
    process: &Arc<Process>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let _in_flight = InFlight::begin(process);
    let is_introspection = request.uri().path().ends_with("introspect");
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let form: HashMap<String, String> = serde_urlencoded::from_bytes(&body).expect("a form");
    let token = form["token"].clone();
    let (delay, fate) = {
        let mut world = lock(&process.world);
        let (delay, fate) = world.fate();
        let (id, what) = (process.id, if is_introspection { "asks" } else { "is told" });
        world.tell(format_args!("{id}: Polar {what} of {token}: {fate:?} in {delay:?}"));
        (delay, fate)
    };
    // Whoever is killed, or waits no longer, may have been heard all the same.
    let half = delay / 2;
    sleep(half).await;
    let is_foreign = token.starts_with("polar_at_f");
    if !is_introspection && !is_foreign && matches!(fate, Fate::Commit | Fate::CommitAndReset) {
        lock(&process.world).polar.dead.insert(token.clone());
    }
    sleep(half).await;
    match fate {
        Fate::Answer(status, retry_after) => Ok(try_again(process, status, retry_after)),
        Fate::Reset | Fate::CommitAndReset => Err("reset"),
        Fate::Commit | Fate::LoseCommit if is_introspection => {
            let active = !lock(&process.world).polar.dead.contains(&token);
            Ok(respond(Response::builder(), &format!(r#"{{"active": {active}}}"#)))
        }
        Fate::Commit if is_foreign => {
            Ok(respond(Response::builder().status(400), r#"{"error": "invalid_grant"}"#))
        }
        Fate::Commit | Fate::LoseCommit => Ok(respond(Response::builder(), "{}")),
    }
}

/// What is begun in the very instant in which Polar answers has crossed the answer on its way.
fn try_again(process: &Process, status: u16, retry_after: RetryAfter) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    match retry_after {
        RetryAfter::None => {}
        RetryAfter::Seconds(seconds) => {
            response = response.header("retry-after", seconds);
            let now = Instant::now();
            let pause = (now, now + Duration::from_secs(seconds));
            lock(&process.world).known[process.id].pauses.push(pause);
        }
        RetryAfter::DateThatHasPassed => {
            response = response.header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        }
    }
    respond(response, "")
}

fn respond(response: http::response::Builder, body: &str) -> Response<Full<Bytes>> {
    response.body(Full::from(body.to_owned())).expect("a response")
}
