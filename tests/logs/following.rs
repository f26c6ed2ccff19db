//! Layers that follow one log, in simulated time: every layer denies what one has accepted, also if
//! the log or a layer fails.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use support::{Answer, access_token, bearer, echo, until};
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_polar_logout::client::PolarClient;
use tower_polar_logout::log::{
    Cursor, Event, Followed, Kept, LogFuture, RevocationLog, SealedToken,
};
use tower_polar_logout::testing::MemoryLog;
use tower_polar_logout::{
    ClientCredentials, Error, ErrorKind, LogoutHandle, LogoutOutcome, PolarLogoutLayer,
    PolarLogoutLayerBuilder, PolarServer, Revocation, TokenHash, TokenLocation, WhenRevoked,
};

const SECOND: Duration = Duration::from_secs(1);
const SESSION: &str = "session-0123456789";

/// Polar without a socket, so that time can be simulated.
#[derive(Clone, Default)]
struct Polar {
    calls: Arc<Mutex<Vec<String>>>,
    is_away: Arc<Mutex<bool>>,
}

impl Polar {
    fn calls(&self) -> usize {
        self.calls.lock().expect("the calls").len()
    }

    fn go_away(&self) {
        *self.is_away.lock().expect("the lock") = true;
    }

    fn come_back(&self) {
        *self.is_away.lock().expect("the lock") = false;
    }

    fn replica(&self, log: impl RevocationLog) -> PolarLogoutLayerBuilder {
        self.replica_with("secret", log)
    }

    fn replica_with(&self, secret: &str, log: impl RevocationLog) -> PolarLogoutLayerBuilder {
        let polar = self.clone();
        let transport = service_fn(move |_: Request<Full<Bytes>>| {
            let is_away = *polar.is_away.lock().expect("the lock");
            polar.calls.lock().expect("the calls").push(String::new());
            async move {
                let status = if is_away { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        let client = PolarClient::builder(ClientCredentials::new("id", secret))
            .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
            .transport(transport);
        PolarLogoutLayer::builder(client)
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .revocation_log(log)
    }
}

async fn handle(builder: PolarLogoutLayerBuilder) -> LogoutHandle {
    builder.build().await.expect("a layer").handle()
}

fn access(name: impl Display) -> Revocation {
    Revocation::access_token(access_token(name)).expect("a token")
}

fn hash_of(name: &str) -> TokenHash {
    TokenHash::of(access_token(name))
}

/// Waits until the replica knows, without moving the clock.
async fn until_known(handle: &LogoutHandle, credential: &str) {
    until("the other replica knows", || handle.is_revoked(credential)).await;
}

async fn status(layer: &PolarLogoutLayer, method: Method, path: &str, name: &str) -> StatusCode {
    let app = layer.layer(service_fn(|request: Request<_>| async move {
        let carries = request.headers().contains_key("authorization");
        let status = if carries { StatusCode::OK } else { StatusCode::IM_A_TEAPOT };
        Ok::<_, Infallible>(
            Response::builder().status(status).body(String::new()).expect("a response"),
        )
    }));
    let mut request = Request::builder().method(method).uri(path);
    if !name.is_empty() {
        request = request.header("authorization", bearer(&access_token(name)));
    }
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    app.oneshot(request).await.expect("an answer").status()
}

/// Posts to a route whose bodies are checked.
async fn post_form(layer: &PolarLogoutLayer, form: &str) -> Answer {
    let calls = Arc::new(AtomicUsize::new(0));
    let app = layer.handle().check_body().layer(service_fn(move |request: Request<_>| {
        let calls = Arc::clone(&calls);
        async move { Ok::<_, Infallible>(echo(request, &calls).await) }
    }));
    let request = Request::post("/form")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form.to_owned())))
        .expect("a request");
    Answer::read(layer.layer(app).oneshot(request).await.expect("an answer")).await
}

/// Revokes a token at a replica that dies before the token is delivered.
async fn revoke_and_die(polar: &Polar, secret: &str, log: &MemoryLog, name: &str) {
    polar.go_away();
    let dead = polar.replica_with(secret, log.clone()).logout_deadline(Duration::from_millis(1));
    let dead = dead.build().await.expect("a layer");
    assert_eq!(dead.handle().revoke([access(name)]).await, LogoutOutcome::Pending);
    drop(dead);
    polar.come_back();
}

/// A step of a log in which nothing has happened.
fn empty_step(is_current: bool) -> Followed {
    let cursor = Cursor::new("");
    Followed::new(vec![], cursor).with_current(is_current)
}

/// Replicas that run, and one that starts later, deny the credentials. The replica that accepted
/// the logout delivers the token, once.
#[tokio::test(start_paused = true)]
async fn revocation_reaches_every_replica() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = handle(polar.replica(log.clone())).await;
    let there = handle(polar.replica(log.clone())).await;
    here.revoke([access("one"), Revocation::session_id(SESSION).expect("a session id")]).await;
    until_known(&there, &access_token("one")).await;
    until_known(&there, SESSION).await;
    let late = handle(polar.replica(log)).await;
    assert!(
        late.is_revoked(access_token("one")) && late.is_revoked(SESSION),
        "before its first request"
    );
    sleep(SECOND * 120).await;
    assert_eq!(polar.calls(), 1, "delivered once, by the replica that accepted it");
}

#[tokio::test(start_paused = true)]
async fn dead_replicas_token_is_adopted_after_its_claim() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    revoke_and_die(&polar, "secret", &log, "one").await;
    let calls = polar.calls();
    let alive = handle(polar.replica(log)).await;
    assert!(alive.is_revoked(access_token("one")));
    // 30 s for the claim, and 35 s for a call that may have begun just before the claim ended.
    sleep(SECOND * 64).await;
    assert_eq!((polar.calls(), alive.counts().adopted), (calls, 0), "the replica may still live");
    sleep(SECOND * 17).await;
    assert_eq!((polar.calls(), alive.counts().adopted), (calls + 1, 1));
    assert_eq!(alive.counts().confirmed, 1);
}

/// However long Polar is away, no replica adopts the tokens of another that is still trying.
#[tokio::test(start_paused = true)]
async fn living_replica_keeps_its_tokens_during_an_outage() {
    const TOKENS: usize = 100;
    let (polar, log) = (Polar::default(), MemoryLog::new());
    polar.go_away();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let builder = polar.replica(log.clone()).logout_deadline(Duration::from_millis(1));
        replicas.push(handle(builder).await);
    }
    for n in 0..TOKENS {
        replicas[n % 3].revoke([access(n)]).await;
    }
    sleep(SECOND * 3600 * 3).await;
    let is_claim = |event: &Event| matches!(event, Event::Claimed { .. });
    let claims = log.events().iter().filter(|event| is_claim(event)).count();
    for (n, replica) in replicas.iter().enumerate() {
        assert_eq!((replica.counts().pending, replica.counts().adopted), ((TOKENS + 2 - n) / 3, 0));
    }
    polar.come_back();
    let before = polar.calls();
    sleep(SECOND * 600).await;
    assert!(replicas.iter().all(|replica| replica.counts().pending == 0));
    println!("{TOKENS} tokens, 3 replicas, Polar away for 3 hours: {claims} claims");
    assert_eq!(polar.calls() - before, TOKENS, "each once");
    assert!(claims < TOKENS * 50, "{claims} claims");
}

/// If two replicas adopted one token each, they could call Polar about the pair at once.
#[tokio::test(start_paused = true)]
async fn one_replica_adopts_a_whole_pair() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    for n in 0..20 {
        polar.go_away();
        let dead = polar.replica(log.clone()).logout_deadline(Duration::from_millis(1));
        let dead = dead.build().await.expect("a layer");
        let pair = [access(format!("access{n}")), access(format!("refresh{n}"))];
        dead.handle().revoke(pair).await;
        drop(dead);
    }
    let (one, other) = (handle(polar.replica(log.clone())).await, handle(polar.replica(log)).await);
    polar.come_back();
    sleep(SECOND * 120).await;
    let adopted = [one.counts().adopted, other.counts().adopted];
    assert_eq!(adopted.iter().sum::<u64>(), 40);
    assert!(adopted.iter().all(|adopted| adopted % 2 == 0), "{adopted:?}");
}

/// With `require_confirmation` it is 503. Once the log is back, every replica learns of both
/// logouts.
#[tokio::test(start_paused = true)]
async fn logout_is_202_while_the_log_is_away() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = polar.replica(log.clone()).build().await.expect("a layer");
    let strict =
        polar.replica(log.clone()).require_confirmation(true).build().await.expect("a layer");
    log.go_away();
    assert_eq!(status(&here, Method::POST, "/logout", "one").await, StatusCode::ACCEPTED);
    let answer = status(&strict, Method::POST, "/logout", "two").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        here.handle().is_revoked(access_token("one"))
            && strict.handle().is_revoked(access_token("two"))
    );
    assert!(!here.handle().is_revoked(access_token("two")), "no other replica can know yet");
    assert!(here.handle().health().log_held > 0);
    sleep(SECOND * 10).await;
    let behind = here.handle().health().log_lag.expect("the link is down");
    assert!((SECOND * 9..SECOND * 11).contains(&behind), "{behind:?}");
    log.come_back();
    // Both layers ask again within two seconds.
    sleep(SECOND * 3).await;
    assert!(
        here.handle().is_revoked(access_token("two"))
            && strict.handle().is_revoked(access_token("one"))
    );
    let health = here.handle().health();
    assert_eq!((health.log_lag, health.log_held), (None, 0));
    assert_eq!(status(&here, Method::POST, "/logout", "three").await, StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_until_held_events_are_recorded() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = handle(polar.replica(log.clone())).await;
    log.go_away();
    here.revoke([access("one")]).await;
    let back = log.clone();
    tokio::spawn(async move {
        sleep(SECOND * 5).await;
        back.come_back();
    });
    let started = Instant::now();
    assert_eq!(here.shutdown(SECOND * 10).await.pending, 0);
    assert_eq!(started.elapsed().as_secs(), 5);
    let late = handle(polar.replica(log)).await;
    assert!(late.is_revoked(access_token("one")));
}

/// A token that was pending is still pending then, and still sealed.
#[tokio::test(start_paused = true)]
async fn lost_events_are_appended_again_by_any_replica() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = handle(polar.replica(log.clone())).await;
    let there = handle(polar.replica(log.clone())).await;
    for n in 0..3000 {
        here.revoke([access(n)]).await;
    }
    polar.go_away();
    let short = polar.replica(log.clone()).logout_deadline(Duration::from_millis(1));
    let dead = short.build().await.expect("a layer");
    dead.handle().revoke([access("pending")]).await;
    until_known(&there, &access_token("pending")).await;
    drop((dead, here));
    log.lose_everything();
    // Long enough to append, too short to adopt.
    sleep(SECOND).await;
    let late = handle(polar.replica(log.clone())).await;
    assert!((0..3000).all(|n| late.is_revoked(access_token(n))));
    assert!(late.is_revoked(access_token("pending")));
    drop(there);
    polar.come_back();
    sleep(SECOND * 120).await;
    assert_eq!(late.counts().adopted, 1, "the pending token is still pending, and still sealed");
    assert_eq!((late.counts().pending, late.counts().confirmed), (0, 1));
}

/// Three replicas notice the loss at once. They do not each append everything.
#[tokio::test(start_paused = true)]
async fn replicas_share_the_work_of_appending_again() {
    const TOKENS: usize = 20_000;
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(handle(polar.replica(log.clone())).await);
    }
    let sessions =
        (0..TOKENS).map(|n| Revocation::session_id(format!("{n:016}")).expect("a session id"));
    replicas[0].revoke(sessions).await;
    for replica in &replicas {
        until("all replicas know", || replica.counts().revoked == TOKENS).await;
    }
    log.lose_everything();
    sleep(SECOND * 5).await;
    let appended = log.events().len();
    println!("3 replicas append {TOKENS} revocations again: {appended} events");
    assert!((TOKENS..TOKENS * 3).contains(&appended), "{appended}");
}

/// The race: another replica knew only of an earlier expiry, and appends it first.
#[tokio::test(start_paused = true)]
async fn later_expiry_is_appended_again_after_a_loss() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = handle(polar.replica(log.clone())).await;
    here.revoke([Revocation::session_id(SESSION).expect("a session id")]).await;
    sleep(SECOND).await;
    log.lose_everything();
    let hash = TokenHash::of(SESSION);
    let earlier = SystemTime::now() + SECOND * 10;
    let by_another = Event::Revoked { hash, expires_at: earlier, sealed: None };
    log.append(vec![by_another]).await.expect("kept");
    sleep(SECOND * 10).await;
    let expiries = log.events().into_iter().filter_map(|event| match event {
        Event::Revoked { expires_at, .. } => Some(expires_at),
        _ => None,
    });
    // Otherwise a replica that starts after the earlier expiry would let the session in.
    let latest = expiries.max().expect("a revocation");
    assert!(latest > earlier + SECOND * 60, "{latest:?} is no later than {earlier:?}");
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_until_lost_events_are_appended_again() {
    /// A log that takes a second for each append.
    struct Slow(MemoryLog);

    impl RevocationLog for Slow {
        fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
            self.0.follow(after)
        }

        fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
            Box::pin(async move {
                sleep(SECOND).await;
                self.0.append(events).await
            })
        }
    }

    const SESSIONS: usize = 3_000;
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = handle(polar.replica(Slow(log.clone()))).await;
    let sessions =
        (0..SESSIONS).map(|n| Revocation::session_id(format!("{n:016}")).expect("a session id"));
    here.revoke(sessions).await;
    log.lose_everything();
    // Long enough to notice, too short to append.
    sleep(SECOND / 2).await;
    assert!(log.events().is_empty());
    here.shutdown(SECOND * 60).await;
    drop(here);
    assert_eq!(log.events().len(), SESSIONS);
}

/// Past its limit, a replica denies what other replicas have accepted. Its own logouts are `Full`,
/// and a layer with this limit does not build.
#[tokio::test(start_paused = true)]
async fn full_replica_still_learns_of_revocations() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let small = handle(polar.replica(log.clone()).denylist_capacity(5)).await;
    let large = handle(polar.replica(log.clone())).await;
    for n in 0..10 {
        large.revoke([access(n)]).await;
    }
    for n in 0..10 {
        until_known(&small, &access_token(n)).await;
    }
    assert_eq!(
        small.revoke([access("more")]).await,
        LogoutOutcome::Full,
        "its own logout is refused"
    );
    let error = polar.replica(log).denylist_capacity(5).build().await.expect_err("too many");
    assert!(error.to_string().contains("raise it with `.denylist_capacity(20)`"), "{error}");
}

/// A token that may be revoked is 503. Logouts, anonymous requests and denied tokens are answered
/// as usual.
#[tokio::test(start_paused = true)]
async fn max_log_lag_answers_503_when_behind() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let strict = polar
        .replica(log.clone())
        .max_log_lag(SECOND * 10)
        .when_revoked_at("/login", WhenRevoked::Anonymous)
        .build()
        .await
        .expect("a layer");
    let lenient = polar.replica(log.clone()).build().await.expect("a layer");
    let get = |layer, path, token| status(layer, Method::GET, path, token);
    strict.handle().revoke([access("dead")]).await;
    log.go_away();
    sleep(SECOND * 9).await;
    assert_eq!(get(&strict, "/", "alive").await, StatusCode::OK, "not yet");
    sleep(SECOND * 2).await;
    assert_eq!(get(&strict, "/", "alive").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        get(&strict, "/", "dead").await,
        StatusCode::UNAUTHORIZED,
        "it is known to be revoked"
    );
    assert_eq!(get(&strict, "/", "").await, StatusCode::IM_A_TEAPOT, "it carries no token");
    assert_eq!(get(&strict, "/login", "alive").await, StatusCode::IM_A_TEAPOT, "anonymous");
    assert_eq!(status(&strict, Method::POST, "/logout", "alive").await, StatusCode::ACCEPTED);
    assert_eq!(get(&lenient, "/", "other").await, StatusCode::OK, "serves on what it knows");
    let counts = strict.handle().counts();
    assert_eq!((counts.unsure, counts.rejected), (1, 1));
    log.come_back();
    sleep(SECOND * 3).await;
    assert_eq!(get(&strict, "/", "other").await, StatusCode::OK);
}

/// No event is needed for that.
#[tokio::test(start_paused = true)]
async fn replica_is_current_once_the_log_is_back() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let handle = handle(polar.replica(log.clone())).await;
    for _ in 0..2 {
        log.go_away();
        sleep(SECOND * 15).await;
        assert!(handle.health().log_lag.is_some());
        log.come_back();
        sleep(SECOND * 60).await;
        assert_eq!(handle.health().log_lag, None);
    }
}

#[tokio::test(start_paused = true)]
async fn token_in_a_body_is_503_when_behind() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let layer = polar.replica(log.clone()).max_log_lag(SECOND * 10).build().await.expect("a layer");
    layer.handle().revoke([access("dead")]).await;
    let [alive, dead] =
        ["alive", "dead"].map(|name| format!("token={}&page=1", access_token(name)));
    let answer = post_form(&layer, &alive).await;
    assert_eq!(answer.seen()["body"], *alive, "the log is current");
    log.go_away();
    sleep(SECOND * 11).await;
    let answer = post_form(&layer, &alive).await;
    assert_eq!((answer.status, answer.is_from_app()), (StatusCode::SERVICE_UNAVAILABLE, false));
    let answer = post_form(&layer, &dead).await;
    assert_eq!((answer.status, answer.is_from_app()), (StatusCode::UNAUTHORIZED, false));
    let answer = post_form(&layer, "page=1").await;
    assert_eq!(answer.seen()["body"], "page=1", "it carries no token");
    let counts = layer.handle().counts();
    assert_eq!((counts.unsure, counts.rejected), (1, 1));
}

/// A replica that was current becomes behind again.
#[tokio::test(start_paused = true)]
async fn replica_is_behind_while_entries_are_unread() {
    /// A log whose steps are current or not, as the test says.
    struct Steps(tokio::sync::Mutex<mpsc::UnboundedReceiver<bool>>);

    impl RevocationLog for Steps {
        fn follow(&self, _: Option<Cursor>) -> LogFuture<'_, Followed> {
            Box::pin(async {
                let step = self.0.lock().await.recv().await;
                Ok(empty_step(step.expect("the test goes on")))
            })
        }

        fn append(&self, _: Vec<Event>) -> LogFuture<'_, Kept> {
            Box::pin(ready(Ok(Kept::Durably)))
        }
    }

    let (steps, told) = mpsc::unbounded_channel();
    let step = |is_current| {
        steps.send(is_current).expect("the log is followed");
        sleep(SECOND * 6)
    };
    step(false).await;
    step(true).await;
    let layer = Polar::default().replica(Steps(told.into())).max_log_lag(SECOND * 5);
    let layer = layer.build().await.expect("a layer");
    for _ in 0..2 {
        assert_eq!(layer.handle().health().log_lag, None);
        assert_eq!(status(&layer, Method::GET, "/", "alive").await, StatusCode::OK);
        for _ in 0..2 {
            step(false).await;
            let behind = layer.handle().health().log_lag.expect("there is more to read");
            assert!(
                (SECOND * 5..SECOND * 20).contains(&behind),
                "since it was current: {behind:?}"
            );
            let answer = status(&layer, Method::GET, "/", "alive").await;
            assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
        }
        step(true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unlimited_durations_are_allowed() {
    let (polar, log) = (Polar::default(), MemoryLog::new().adopt_after(Duration::MAX));
    revoke_and_die(&polar, "secret", &log, "one").await;
    let here = polar
        .replica(log.clone())
        .startup_timeout(Duration::MAX)
        .max_log_lag(Duration::MAX)
        .build()
        .await
        .expect("a layer");
    revoke_and_die(&polar, "secret", &log, "two").await;
    sleep(SECOND * 600).await;
    assert!(
        here.handle().is_revoked(access_token("one"))
            && here.handle().is_revoked(access_token("two"))
    );
    assert_eq!(here.handle().health().log_lag, None, "the log is still followed");
    assert_eq!(here.handle().counts().adopted, 0, "a claim never ends");
    log.go_away();
    sleep(SECOND * 600).await;
    assert_eq!(status(&here, Method::GET, "/", "alive").await, StatusCode::OK);
}

/// Runs in a thread of its own: if the log starved the runtime, the test would never end.
#[test]
fn log_that_never_waits_starves_no_logout() {
    struct Hasty;

    impl RevocationLog for Hasty {
        fn follow(&self, _: Option<Cursor>) -> LogFuture<'_, Followed> {
            Box::pin(ready(Ok(empty_step(true))))
        }

        fn append(&self, _: Vec<Event>) -> LogFuture<'_, Kept> {
            Box::pin(ready(Ok(Kept::Durably)))
        }
    }

    let (answered, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let layer = Polar::default().replica(Hasty).build().await.expect("a layer");
            // The follower runs first.
            tokio::task::yield_now().await;
            let outcome = layer.handle().revoke([access("one")]).await;
            answered.send(outcome).expect("the test waits");
        });
    });
    let outcome = answer.recv_timeout(SECOND * 60).expect("an answer");
    assert_eq!(outcome, LogoutOutcome::Confirmed);
}

/// With `allow_stale_start` the layer starts behind, and catches up once the log is back.
#[tokio::test(start_paused = true)]
async fn build_fails_while_the_log_is_away() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    handle(polar.replica(log.clone())).await.revoke([access("dead")]).await;
    log.go_away();
    let error = polar.replica(log.clone()).build().await.expect_err("no log");
    assert_eq!(error.kind(), ErrorKind::Log);
    let behind = polar.replica(log.clone()).allow_stale_start(true).max_log_lag(Duration::ZERO);
    let behind = behind.build().await.expect("a layer");
    assert!(!behind.handle().is_revoked(access_token("dead")));
    assert!(behind.handle().health().log_lag.is_some());
    sleep(SECOND).await;
    let answer = status(&behind, Method::GET, "/", "dead").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE, "it lets no token in");
    log.come_back();
    sleep(SECOND * 3).await;
    assert!(behind.handle().is_revoked(access_token("dead")), "it has caught up");
    assert_eq!(behind.handle().health().log_lag, None);
    assert_eq!(status(&behind, Method::GET, "/", "alive").await, StatusCode::OK);
}

/// With `allow_stale_start` the layer starts behind, and reads on.
#[tokio::test(start_paused = true)]
async fn build_times_out_if_the_log_never_ends() {
    /// A log that is never read to its end.
    struct Endless;

    impl RevocationLog for Endless {
        fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
            Box::pin(async move {
                sleep(SECOND).await;
                let n = after.map_or(0, |cursor| cursor.as_str().parse().expect("a number"));
                let (hash, expires_at) =
                    (TokenHash::of(access_token(n)), SystemTime::now() + SECOND * 3600);
                Ok(Followed::new(
                    vec![Event::Revoked { hash, expires_at, sealed: None }],
                    Cursor::new((n + 1).to_string()),
                )
                .with_current(false)
                .with_skipped(1))
            })
        }

        fn append(&self, _: Vec<Event>) -> LogFuture<'_, Kept> {
            Box::pin(ready(Ok(Kept::Durably)))
        }
    }

    let polar = Polar::default();
    let started = Instant::now();
    let error = polar.replica(Endless).build().await.expect_err("the log never ends");
    assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::Log, 30));
    assert!(error.to_string().contains("startup_timeout"), "{error}");
    let behind = polar.replica(Endless).startup_timeout(SECOND * 5).allow_stale_start(true);
    let behind = handle(behind).await;
    assert!(behind.is_revoked(access_token("0")), "it denies what it has read");
    sleep(SECOND * 10).await;
    assert!(behind.is_revoked(access_token("12")), "and reads on");
    assert!(behind.health().log_lag.is_some());
    assert!(behind.counts().skipped >= 12);
}

/// While a secret is exchanged, only some replicas know the new one. The others leave the token
/// alone.
#[tokio::test(start_paused = true)]
async fn replica_with_the_new_secret_delivers_the_token() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    revoke_and_die(&polar, "new", &log, "one").await;
    let old = handle(polar.replica_with("old", log.clone())).await;
    sleep(SECOND * 120).await;
    assert_eq!((old.counts().dead_letters, old.counts().pending), (1, 0));
    let new = handle(polar.replica_with("new", log.clone())).await;
    sleep(SECOND * 120).await;
    assert_eq!((new.counts().adopted, new.counts().confirmed), (1, 1));
    let delivered = Event::Delivered { hash: hash_of("one") };
    assert!(log.events().contains(&delivered));
}

#[tokio::test(start_paused = true)]
async fn unreadable_token_is_delivered_after_set_credentials() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    revoke_and_die(&polar, "new", &log, "one").await;
    let here = handle(polar.replica_with("old", log.clone())).await;
    sleep(SECOND * 120).await;
    assert_eq!((here.counts().dead_letters, here.counts().adopted), (1, 0));
    here.set_credentials(ClientCredentials::new("id", "new")).await.expect("set");
    sleep(SECOND).await;
    assert_eq!((here.counts().adopted, here.counts().confirmed), (1, 1), "at once");
    assert!(log.events().contains(&Event::Delivered { hash: hash_of("one") }));
}

/// The race: a replica dies before it has exchanged the secret. A replica that has exchanged it
/// delivers the tokens of the dead one.
#[tokio::test(start_paused = true)]
async fn token_sealed_under_former_secret_is_delivered() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = handle(polar.replica_with("first", log.clone())).await;
    for secret in ["second", "third"] {
        here.set_credentials(ClientCredentials::new("id", secret)).await.expect("set");
    }
    for secret in ["first", "second", "third"] {
        revoke_and_die(&polar, secret, &log, secret).await;
    }
    sleep(SECOND * 120).await;
    assert_eq!((here.counts().adopted, here.counts().confirmed), (3, 3));
    assert_eq!(here.counts().dead_letters, 0);
}

/// An append whose acknowledgement is lost is made twice, and the second may come after the
/// delivery. The delivery is recorded again then, or the token would be pending indefinitely.
#[tokio::test(start_paused = true)]
async fn delivered_token_is_not_sent_again() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = handle(polar.replica(log.clone())).await;
    here.revoke([access("one")]).await;
    sleep(SECOND).await;
    let [revoked, delivered] = &log.events()[..] else { panic!("revoked, and delivered") };
    assert_eq!(*delivered, Event::Delivered { hash: hash_of("one") });
    log.append(vec![revoked.clone()]).await.expect("kept");
    sleep(SECOND * 120).await;
    assert_eq!(log.events().last(), Some(delivered), "otherwise it stays pending");
    assert_eq!((polar.calls(), here.counts().adopted), (1, 0));
}

/// The race: the log records a revocation, then fails before the delivery is recorded.
#[tokio::test(start_paused = true)]
async fn unrecorded_delivery_is_recorded_later() {
    /// Refuses the first `Delivered`, and forgets the second.
    #[derive(Clone)]
    struct Failing(MemoryLog, Arc<AtomicUsize>);

    impl RevocationLog for Failing {
        fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
            self.0.follow(after)
        }

        fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
            if matches!(events[..], [Event::Delivered { .. }]) {
                let failure = || Error::log("the log failed");
                match self.1.fetch_add(1, Ordering::SeqCst) {
                    0 => return Box::pin(ready(Err(failure()))),
                    1 => return Box::pin(ready(Ok(Kept::ForNow(Box::pin(ready(Err(failure()))))))),
                    _ => {}
                }
            }
            self.0.append(events)
        }

        /// Long: an adoption would record the delivery too.
        fn adopt_after(&self) -> Duration {
            SECOND * 3600
        }
    }

    let (polar, log) = (Polar::default(), MemoryLog::new());
    let here = handle(polar.replica(Failing(log.clone(), Arc::default()))).await;
    assert_eq!(here.revoke([access("one")]).await, LogoutOutcome::Confirmed);
    let delivered = Event::Delivered { hash: hash_of("one") };
    sleep(SECOND * 119).await;
    assert!(!log.events().contains(&delivered), "once a minute is often enough");
    sleep(SECOND * 2).await;
    assert!(log.events().contains(&delivered));
    assert_eq!(polar.calls(), 1);
}

/// The replica can no longer learn of revocations. With `max_log_lag` it stops serving, but
/// logouts still work.
#[tokio::test(start_paused = true)]
async fn replica_answers_503_after_its_log_panics() {
    #[derive(Clone, Default)]
    struct Panicking(Arc<Mutex<u32>>);

    impl RevocationLog for Panicking {
        fn follow(&self, _: Option<Cursor>) -> LogFuture<'_, Followed> {
            let calls = {
                let mut calls = self.0.lock().expect("the lock");
                *calls += 1;
                *calls
            };
            Box::pin(async move {
                sleep(SECOND).await;
                assert!(calls < 3, "the log has a bug");
                Ok(empty_step(true))
            })
        }

        fn append(&self, _: Vec<Event>) -> LogFuture<'_, Kept> {
            Box::pin(ready(Ok(Kept::Durably)))
        }
    }

    let layer = Polar::default().replica(Panicking::default()).max_log_lag(SECOND * 5);
    let layer = layer.build().await.expect("a layer");
    assert_eq!(status(&layer, Method::GET, "/", "alive").await, StatusCode::OK);
    sleep(SECOND * 20).await;
    let answer = status(&layer, Method::GET, "/", "alive").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    assert!(layer.handle().health().log_lag.is_some());
    assert_eq!(status(&layer, Method::POST, "/logout", "one").await, StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn stale_start_and_lag_options_need_a_log() {
    let client = || PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"));
    for builder in [client().allow_stale_start(true), client().max_log_lag(SECOND)] {
        let builder =
            builder.logout_route(Method::POST, "/logout").session_id(TokenLocation::bearer());
        let error: Error = builder.build().await.expect_err("no log");
        assert!(
            error.is_configuration() && error.to_string().contains(".revocation_log("),
            "{error}"
        );
    }
}

/// A token that another replica has delivered is no longer pending here.
#[tokio::test(start_paused = true)]
async fn token_delivered_elsewhere_leaves_the_queue() {
    let (polar, log) = (Polar::default(), MemoryLog::new());
    polar.go_away();
    let here = handle(polar.replica(log.clone()).logout_deadline(Duration::from_millis(1))).await;
    here.revoke([access("one")]).await;
    assert_eq!(here.counts().pending, 1);
    advance(SECOND).await;
    let delivered = Event::Delivered { hash: hash_of("one") };
    log.append(vec![delivered]).await.expect("kept");
    sleep(SECOND * 40).await;
    assert_eq!(here.counts().pending, 0, "even if it was in flight");
    assert_eq!(here.counts().confirmed, 0, "another replica delivered it");
    // Junk that no replica can open must not stop the follower.
    let hash = hash_of("junk");
    let sealed = Some(SealedToken::from_bytes(*b"junk"));
    let junk = Event::Revoked { hash, expires_at: SystemTime::UNIX_EPOCH, sealed };
    log.append(vec![junk]).await.expect("kept");
    sleep(SECOND * 120).await;
    assert_eq!(here.counts().dead_letters, 1);
    here.revoke([Revocation::session_id(SESSION).expect("a session id")]).await;
    assert!(here.is_revoked(SESSION));
}

/// The race: entries are read, and are lost before the log notices. The log returns them together
/// with the loss. Perhaps no other replica has them.
#[tokio::test(start_paused = true)]
async fn events_read_with_a_loss_are_appended_again() {
    #[derive(Clone, Default)]
    struct Losing(Arc<Mutex<Vec<Event>>>);

    impl RevocationLog for Losing {
        fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
            Box::pin(async move {
                let step = after.map_or(0, |cursor| cursor.as_str().parse().expect("a number"));
                if step == 2 {
                    std::future::pending::<()>().await;
                }
                let (hash, expires_at) = (hash_of("one"), SystemTime::now() + SECOND * 3600);
                let lost = Event::Revoked { hash, expires_at, sealed: None };
                Ok(Followed::new(
                    if step == 1 { vec![lost] } else { Vec::new() },
                    Cursor::new((step + 1).to_string()),
                )
                .with_lost(step == 1))
            })
        }

        fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
            self.0.lock().expect("the events").extend(events);
            Box::pin(ready(Ok(Kept::Durably)))
        }
    }

    let log = Losing::default();
    let here = handle(Polar::default().replica(log.clone())).await;
    sleep(SECOND).await;
    assert!(here.is_revoked(access_token("one")));
    let appended = log.0.lock().expect("the events").clone();
    let [Event::Revoked { hash, .. }] = &*appended else { panic!("{appended:?}") };
    assert_eq!(*hash, hash_of("one"));
}
