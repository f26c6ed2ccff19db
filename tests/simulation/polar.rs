//! A Polar that delays, fails, limits, resets, and loses commits. Like the real one, it freezes if
//! two calls about one pair overlap.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};
use tower_polar_logout::TokenHash;

use crate::promise::Promise;
use crate::replica::Process;
use crate::world::{Shared, World, lock, pair_of};

/// After this time Polar ends a statement that waits for a row. The real one waits 30 s.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a client waits. Only a frozen server works on a call for longer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(6);

const LONGEST_WORK: u64 = 2_500;

#[derive(Default)]
pub(crate) struct Polar {
    /// Tokens whose revocation was answered with 200.
    answered: HashSet<String>,
    /// Tokens whose revocation was committed.
    committed: HashSet<String>,
    /// Tokens that Polar refused for good, as reported to the callback.
    pub(crate) dead_letters: HashSet<TokenHash>,
    /// Pairs with a call in progress, given up or not.
    touched: HashSet<usize>,
    frozen_until: Option<Instant>,
    froze: bool,
    /// Pairs that lost a commit since an introspection last found them active.
    lost: HashSet<usize>,
    /// The logouts of each pair: the process, and which of the tokens it carried.
    logouts: HashMap<usize, BTreeSet<(usize, Vec<usize>)>>,
}

/// How one call ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answer(u16, RetryAfter),
    Commit,
    /// Polar answers 200 without a commit.
    LoseCommit,
    /// No answer comes back in time, and Polar goes on with the call.
    Silent,
    /// The connection breaks, or a gateway answers 502, and Polar goes on with the call.
    Reset(Duration),
    BadGateway(Duration),
}

#[derive(Clone, Copy, Debug)]
enum RetryAfter {
    None,
    Seconds(u64),
    /// A date that has passed for a caller whose clock is ahead.
    DateThatHasPassed,
}

impl World {
    fn fate(&mut self) -> (Duration, Fate) {
        if self.is_kind {
            return (Duration::from_millis(12), Fate::Commit);
        }
        if self.plan.outage.contains(&self.began.elapsed().as_secs()) {
            return (self.millis(0..50), Fate::Answer(503, RetryAfter::None));
        }
        let delay = match self.rng.u8(0..10) {
            0..3 => self.millis(100..LONGEST_WORK),
            _ => self.millis(5..30),
        };
        let fate = match self.rng.u8(0..22) {
            0 => Fate::Answer(429, RetryAfter::Seconds(self.rng.u64(1..20))),
            1 => Fate::Answer(503, RetryAfter::Seconds(self.rng.u64(1..10))),
            2 => Fate::Answer(503, RetryAfter::None),
            3 => Fate::Answer(500, RetryAfter::None),
            4 => Fate::Reset(self.millis(0..LONGEST_WORK)),
            5 => Fate::BadGateway(self.millis(0..LONGEST_WORK)),
            6 | 7 if self.plan.confirm => Fate::LoseCommit,
            8 => Fate::Answer(401, RetryAfter::None),
            9 => Fate::Answer(429, RetryAfter::DateThatHasPassed),
            10 => Fate::Silent,
            _ => Fate::Commit,
        };
        (delay, fate)
    }

    /// Notes the logout of a pair, and its tokens: a layer knows only its own logouts.
    pub(crate) fn note_logout(&mut self, process: usize, numbers: &[usize]) {
        let by = (process, numbers.to_vec());
        self.polar.logouts.entry(pair_of(numbers[0])).or_default().insert(by);
    }

    fn is_expired(&self, pair: usize) -> bool {
        self.tokens[pair].text.starts_with("polar_at_o_e")
    }

    fn is_foreign(&self, pair: usize) -> bool {
        self.tokens[pair].text.starts_with("polar_at_o_f")
    }

    /// Whether Polar has answered for this token itself, and the token is dead.
    pub(crate) fn is_revoked_at_polar(&self, number: usize) -> bool {
        self.polar.answered.contains(&self.tokens[number].text) && self.is_dead_at_polar(number)
    }

    /// Revoking either token kills the pair.
    fn is_dead_at_polar(&self, number: usize) -> bool {
        let pair = pair_of(number);
        let is_committed = |number: usize| self.polar.committed.contains(&self.tokens[number].text);
        is_committed(pair) || is_committed(pair + 1)
    }

    /// Freezes Polar, because of a second call about a pair.
    fn freeze(&mut self, process: &Process, pair: usize) {
        let until = Instant::now() + STATEMENT_TIMEOUT;
        self.polar.frozen_until = self.polar.frozen_until.max(Some(until));
        let text = self.tokens[pair].text.clone();
        let logouts = self.polar.logouts.get(&pair).map_or(0, BTreeSet::len);
        self.tell(format_args!("Polar freezes: two calls about the pair of {text}"));
        // This log may repeat a token after its delivery, and one token of a pair without the
        // other. Then two replicas may each take one of them for undelivered.
        let was_delivered = [pair, pair + 1]
            .into_iter()
            .any(|number| self.log.has_delivered(&self.tokens[number].hash));
        // A call that waits for a frozen server takes longer than any timeout. Replicas that cannot
        // rely on the log, on its memory or on its times cannot rely on claims.
        let can_be_relied_on =
            !self.plan.has_weather && !self.log.told_a_loss && self.log.expiries.translated;
        let by_several = self.plan.replicas > 1 && (!can_be_relied_on || was_delivered);
        if logouts > 1 || self.polar.froze || by_several {
            self.polar.froze = true;
            return self.tally.count("freezes that no layer could know of");
        }
        let how = format!("{}: a second call about the pair of {text} at once", process.id);
        self.breaks(Promise::PolarIsTreatedWell, &how);
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
            let how = format!("{in_flight} calls to Polar in flight, {most} allowed");
            world.breaks(Promise::PolarsHealthIsNotTheApps, &how);
        }
        if is_paused {
            world.breaks(Promise::PolarsHealthIsNotTheApps, "Polar was called during a pause");
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
        let (delay, mut fate) = world.fate();
        let pair = pair_of(world.numbers[&TokenHash::of(&token)]);
        // No layer could notice two lost commits in a row.
        if matches!(fate, Fate::LoseCommit) && !is_introspection && !world.polar.lost.insert(pair) {
            fate = Fate::Commit;
        }
        let (id, what) = (process.id, if is_introspection { "introspects" } else { "revokes" });
        world.tell(format_args!("{id}: {what} {token} at Polar: {fate:?} in {delay:?}"));
        (delay, fate)
    };
    // A task of its own: Polar goes on with a call if its caller gives up or is killed.
    let (reply, answered) = oneshot::channel();
    let work = work(Arc::clone(process), token, is_introspection, delay, fate);
    tokio::spawn(async move {
        // The caller may have gone.
        let _ = reply.send(work.await);
    });
    match fate {
        Fate::Silent => std::future::pending().await,
        Fate::Reset(_) => {
            sleep(delay).await;
            Err("reset")
        }
        Fate::BadGateway(_) => {
            sleep(delay).await;
            Ok(try_again(process, 502, RetryAfter::None))
        }
        _ => answered.await.map_err(|_| "the world has ended"),
    }
}

/// Polar's work on a call, and its answer.
async fn work(
    process: Arc<Process>,
    token: String,
    is_introspection: bool,
    delay: Duration,
    fate: Fate,
) -> Response<Full<Bytes>> {
    if let Fate::Answer(status, retry_after) = fate {
        sleep(delay).await;
        return try_again(&process, status, retry_after);
    }
    thaw(&process.world).await;
    let number = lock(&process.world).numbers[&TokenHash::of(&token)];
    let pair = pair_of(number);
    if is_introspection {
        sleep(delay).await;
        thaw(&process.world).await;
        let mut world = lock(&process.world);
        let active =
            !world.is_dead_at_polar(number) && !world.is_expired(pair) && !world.is_foreign(pair);
        if active {
            world.polar.lost.remove(&pair);
        }
        return respond(Response::builder(), &format!(r#"{{"active": {active}}}"#));
    }
    if !touch(&process, pair) {
        thaw(&process.world).await;
        return respond(Response::builder().status(500), "");
    }
    let goes_on = match fate {
        Fate::Reset(more) | Fate::BadGateway(more) => more,
        _ => Duration::ZERO,
    };
    sleep(delay + goes_on).await;
    thaw(&process.world).await;
    let mut world = lock(&process.world);
    if !matches!(fate, Fate::Commit | Fate::LoseCommit) {
        world.tally.count("calls worked on after they were given up");
    }
    world.polar.touched.remove(&pair);
    if world.is_foreign(pair) {
        return respond(Response::builder().status(400), r#"{"error": "invalid_grant"}"#);
    }
    if !matches!(fate, Fate::LoseCommit) {
        world.polar.committed.insert(token.clone());
    }
    world.polar.answered.insert(token);
    respond(Response::builder(), "{}")
}

/// Whether the call is the only one about the pair. If not, Polar freezes.
fn touch(process: &Process, pair: usize) -> bool {
    let mut world = lock(&process.world);
    let is_alone = world.polar.touched.insert(pair);
    if !is_alone {
        world.freeze(process, pair);
    }
    is_alone
}

/// Waits while Polar is frozen.
async fn thaw(world: &Shared) {
    loop {
        let frozen_until = lock(world).polar.frozen_until.filter(|until| *until > Instant::now());
        let Some(until) = frozen_until else { return };
        sleep_until(until).await;
    }
}

/// Answers with an error that permits another try. A call that begins in the same instant crosses
/// the answer, so the pause does not count for it.
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
