//! Accepted revocations reach Polar: retries, pauses, coalescing, verification, dead letters and
//! shutdown.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use support::{App, Server, access_token, bearer, builder, impatient_builder, start_polar, until};
use tokio::time::Instant;
use tower::service_fn;
use tower_polar_logout::client::PolarClient;
use tower_polar_logout::testing::Fault;
use tower_polar_logout::{
    ClientCredentials, DeadLetter, ErrorClass, LogoutHandle, LogoutOutcome, PolarLogoutLayer,
    PolarLogoutLayerBuilder, PolarServer, Revocation, TokenLocation,
};

const AT_ONCE: Duration = Duration::from_millis(1);

fn unavailable() -> Fault {
    Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None }
}

fn access(token: impl AsRef<[u8]>) -> Revocation {
    Revocation::access_token(token).expect("a token")
}

async fn handle(builder: PolarLogoutLayerBuilder) -> LogoutHandle {
    builder.build().await.expect("a layer").handle()
}

/// Waits, in paused time, for a condition that nothing announces.
async fn in_time(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(48 * 3600), "the condition never held");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn failed_revocation_is_sent_again_until_it_succeeds() {
    let bad_gateway = Fault::Status { status: StatusCode::BAD_GATEWAY, retry_after: None };
    for fault in [unavailable(), bad_gateway, Fault::Drop, Fault::DropAfterRevoking] {
        let polar = start_polar().await;
        let handle = handle(impatient_builder(&polar)).await;
        let token = polar.mint().access;
        polar.behave_next(2, fault);
        let outcome = handle.revoke([access(&token)]).await;
        assert!(
            matches!(outcome, LogoutOutcome::Confirmed | LogoutOutcome::Pending),
            "{outcome:?}"
        );
        polar.until(|seen| seen.answered >= 1).await;
        assert!(!polar.is_alive(&token));
    }
}

#[tokio::test]
async fn concurrent_logouts_of_one_token_share_one_call() {
    let polar = start_polar().await;
    let app = App::start(Server::Axum, builder(&polar).build().await.expect("a layer")).await;
    let token = polar.mint().access;
    let authorization = bearer(&token);
    polar.behave(Fault::Freeze);
    let headers = [("authorization", &*authorization)];
    let logouts = join_all((0..50).map(|_| app.post("/logout", &headers)));
    let thaw = async {
        app.until(|counts| counts.logouts == 50).await;
        polar.until(|seen| seen.revoke_calls == 1).await;
        polar.recover();
    };
    let (answers, ()) = tokio::join!(logouts, thaw);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::NO_CONTENT), "{answers:?}");
    assert_eq!(polar.seen().revoke_calls, 1);
    println!("50 concurrent logouts of one token: 1 call");
}

#[tokio::test]
async fn confirmed_token_is_not_sent_again() {
    let polar = start_polar().await;
    let handle = handle(builder(&polar)).await;
    let token = polar.mint().access;
    for _ in 0..3 {
        assert_eq!(handle.revoke([access(&token)]).await, LogoutOutcome::Confirmed);
    }
    assert_eq!(polar.seen().revoke_calls, 1);
}

#[tokio::test]
async fn full_queue_still_denies_and_answers_503() {
    let polar = start_polar().await;
    polar.behave(Fault::Freeze);
    let layer =
        builder(&polar).queue_capacity(3).logout_deadline(AT_ONCE).build().await.expect("a layer");
    let app = App::start(Server::Hyper, layer).await;
    let pairs: Vec<_> = (0..4).map(|_| polar.mint()).collect();
    for (n, pair) in pairs.iter().enumerate() {
        let answer = app.post("/logout", &[("authorization", &bearer(&pair.access))]).await;
        if n < 3 {
            assert_eq!(answer.status, StatusCode::ACCEPTED);
        } else {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.header("retry-after"), "60");
        }
        assert!(app.handle.is_revoked(&pair.access), "denied nevertheless");
    }
    // A token that is already in the queue needs no room.
    let answer = app.post("/logout", &[("authorization", &bearer(&pairs[0].access))]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    polar.recover();
    polar.revoked(3).await;
    app.until(|counts| counts.pending == 0).await;
    let answer = app.post("/logout", &[("authorization", &bearer(&pairs[3].access))]).await;
    assert_ne!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "there is room again");
}

/// The app's callback gets the dead letter, and does no harm if it panics.
#[tokio::test]
async fn refused_token_becomes_a_dead_letter() {
    let polar = start_polar().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let letters = Arc::clone(&heard);
    let handle = handle(builder(&polar).on_dead_letter(move |letter| {
        let DeadLetter::Refused { reason, .. } = letter else { panic!("{letter:?}") };
        letters.lock().expect("the letters").push(reason.to_string());
        panic!("a panic in the app's callback does no harm");
    }))
    .await;
    for _ in 0..2 {
        let foreign = polar.mint_for_another_client().access;
        assert_eq!(handle.revoke([access(&foreign)]).await, LogoutOutcome::Refused);
    }
    assert_eq!(*heard.lock().expect("the letters"), ["400 Bad Request, invalid_grant"; 2]);
    assert_eq!((handle.counts().dead_letters, handle.counts().pending), (2, 0));
    assert_eq!(handle.health().last_error, Some(ErrorClass::Refused));
    assert_eq!(handle.revoke([access(&polar.mint().access)]).await, LogoutOutcome::Confirmed);
    assert_eq!(handle.health().last_error, None);
}

#[tokio::test]
async fn verified_logout_revokes_despite_lost_commits() {
    let polar = start_polar().await;
    let handle =
        handle(builder(&polar).verify_revocation(true).logout_deadline(Duration::from_secs(60)))
            .await;
    let token = polar.mint().access;
    polar.behave_next(2, Fault::LoseCommit);
    assert_eq!(handle.revoke([access(&token)]).await, LogoutOutcome::Confirmed);
    assert!(!polar.is_alive(&token));
    let seen = polar.seen();
    assert_eq!((seen.revoke_calls, seen.introspections), (3, 4));
    println!("2 commits lost: 3 revoke calls, 4 introspections, the token is dead");
}

#[tokio::test]
async fn many_lost_commits_do_not_block_delivery() {
    let polar = start_polar().await;
    let handle = handle(builder(&polar).verify_revocation(true).logout_deadline(AT_ONCE)).await;
    let tokens: Vec<_> = (0..50).map(|_| polar.mint().access).collect();
    polar.behave_next(tokens.len(), Fault::LoseCommit);
    let outcomes = join_all(tokens.iter().map(|token| handle.revoke([access(token)]))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == LogoutOutcome::Pending));
    until("all tokens are sent again", || handle.counts().pending == 0).await;
    assert!(tokens.iter().all(|token| !polar.is_alive(token)));
}

#[tokio::test]
async fn lost_commit_goes_unnoticed_without_verification() {
    let polar = start_polar().await;
    let handle = handle(builder(&polar)).await;
    let token = polar.mint().access;
    polar.behave_next(1, Fault::LoseCommit);
    assert_eq!(handle.revoke([access(&token)]).await, LogoutOutcome::Confirmed);
    assert!(polar.is_alive(&token), "`verify_revocation` exists for this");
    assert!(handle.is_revoked(&token));
}

#[tokio::test]
async fn verification_waits_for_a_late_commit() {
    let polar = start_polar().await;
    let handle =
        handle(builder(&polar).verify_revocation(true).logout_deadline(Duration::from_secs(60)))
            .await;
    let token = polar.mint().access;
    polar.behave(Fault::CommitAfter(Duration::from_millis(100)));
    assert_eq!(handle.revoke([access(&token)]).await, LogoutOutcome::Confirmed);
    assert!(!polar.is_alive(&token));
}

/// The introspection endpoint that belongs to a `RevocationEndpoint` is not known.
#[tokio::test]
async fn build_fails_if_verification_has_no_endpoint() {
    let polar = start_polar().await;
    let endpoint = format!("{}/v1/oauth2/revoke", polar.url());
    let error = builder(&polar)
        .server(PolarServer::RevocationEndpoint(endpoint))
        .verify_revocation(true)
        .build()
        .await
        .expect_err("no introspection endpoint");
    assert!(error.to_string().contains("introspection endpoint"), "{error}");
}

#[tokio::test]
async fn tokens_wait_until_wrong_credentials_are_replaced() {
    let polar = start_polar().await;
    let wrong = ClientCredentials::new(polar.client_id(), "polar_cs_of_yesterday");
    let handle = handle(
        PolarLogoutLayer::builder(wrong)
            .server(polar.server())
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .logout_deadline(AT_ONCE),
    )
    .await;
    let tokens: Vec<_> = (0..10).map(|_| polar.mint().access).collect();
    let outcome = handle.revoke(tokens.iter().map(access)).await;
    assert_eq!(outcome, LogoutOutcome::Pending);
    let misconfigured = Some(ErrorClass::Misconfigured);
    until("Polar refuses the credentials", || handle.health().last_error == misconfigured).await;
    assert!(tokens.iter().all(|token| polar.is_alive(token)));

    let unusable = ClientCredentials::new("", "");
    assert!(handle.set_credentials(unusable).await.is_err(), "they are refused");
    handle.set_credentials(polar.credentials()).await.expect("usable credentials");
    polar.revoked(10).await;
    assert!(tokens.iter().all(|token| !polar.is_alive(token)));
}

#[tokio::test]
async fn shutdown_retries_tokens_that_wait_after_a_failure() {
    let polar = start_polar().await;
    let handle = handle(builder(&polar).logout_deadline(AT_ONCE)).await;
    polar.behave(unavailable());
    let tokens: Vec<_> = (0..20).map(|_| polar.mint().access).collect();
    handle.revoke(tokens.iter().map(access)).await;
    polar.until(|seen| seen.revoke_calls >= 4).await;
    polar.recover();
    assert_eq!(handle.shutdown(Duration::from_secs(60)).await.pending, 0);
    assert!(tokens.iter().all(|token| !polar.is_alive(token)));
    let late = access_token("late");
    assert_eq!(handle.revoke([access(&late)]).await, LogoutOutcome::Busy, "the intake has stopped");
    assert!(handle.is_revoked(&late), "denied nevertheless");
}

#[tokio::test]
async fn all_tasks_end_when_the_layer_is_dropped() {
    let polar = start_polar().await;
    let layer = builder(&polar).logout_deadline(AT_ONCE).build().await.expect("a layer");
    polar.behave(Fault::Freeze);
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let (handle, tokens) = (layer.handle(), (0..10).map(access_token).collect::<Vec<_>>());
    join_all(tokens.iter().map(|token| handle.revoke([access(token)]))).await;
    drop(handle);
    polar.until(|seen| seen.in_flight == 4).await;
    drop(layer);
    // The server sees that the calls are given up.
    polar.until(|seen| seen.in_flight == 0).await;
    // The server still works on the calls that it received: its tasks must end, too.
    polar.recover();
    until("all tasks end", || metrics.num_alive_tasks() <= before).await;
}

#[tokio::test(start_paused = true)]
async fn panicking_transport_is_tried_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let polar = scripted(move |_| {
        assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "the first call panics");
        Response::new(Full::default())
    });
    let handle = handle(polar.logout_deadline(AT_ONCE)).await;
    assert_eq!(handle.revoke([access(access_token("t"))]).await, LogoutOutcome::Pending);
    assert_eq!(handle.health().last_error, Some(ErrorClass::Unanswered));
    in_time(|| handle.counts().confirmed == 1).await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// A layer whose Polar is a function, for tests with paused time.
fn scripted(
    polar: impl Fn(&Request<Full<Bytes>>) -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> PolarLogoutLayerBuilder {
    let polar = Arc::new(polar);
    let transport = service_fn(move |request: Request<Full<Bytes>>| {
        let polar = Arc::clone(&polar);
        async move { Ok::<_, Infallible>(polar(&request)) }
    });
    let client = PolarClient::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .transport(transport);
    PolarLogoutLayer::builder(client)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
}

fn answer(status: u16, retry_after: Option<&str>) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    if let Some(retry_after) = retry_after {
        response = response.header("retry-after", retry_after);
    }
    response.body(Full::default()).expect("a response")
}

/// The pause is as long as a 429 or 503 asks for, but at most 15 minutes.
#[tokio::test(start_paused = true)]
async fn retry_after_pauses_the_whole_queue() {
    let in_a_minute = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(61));
    for (status, retry_after, at_least, at_most) in [
        (429, "60", 60, 61),
        (503, "30", 30, 31),
        (429, &*in_a_minute, 58, 62),
        (429, "86400", 900, 901),
    ] {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (seen, retry_after) = (Arc::clone(&calls), retry_after.to_owned());
        let handle = handle(scripted(move |_| {
            let mut calls = seen.lock().expect("the calls");
            calls.push(Instant::now());
            if calls.len() == 1 { answer(status, Some(&retry_after)) } else { answer(200, None) }
        }))
        .await;
        let (started, by_the_clock) = (Instant::now(), SystemTime::now());
        handle.revoke([access(access_token("first"))]).await;
        let paused_until = handle.health().paused_until.expect("it is paused");
        let pause = Duration::from_secs(at_least);
        assert!(paused_until + started.elapsed() >= by_the_clock + pause);
        assert_eq!(
            handle.revoke(["second", "third"].map(|name| access(access_token(name)))).await,
            LogoutOutcome::Pending
        );
        in_time(|| {
            assert_eq!(handle.counts().dead_letters, 0);
            handle.counts().pending == 0
        })
        .await;
        let calls = calls.lock().expect("the calls").clone();
        assert_eq!(calls.len(), 4);
        for call in &calls[1..] {
            let after = (*call - started).as_secs();
            assert!((at_least..=at_most).contains(&after), "{status}: {after} s");
        }
        assert_eq!(handle.health().paused_until, None);
    }
}

#[tokio::test(start_paused = true)]
async fn failing_tokens_do_not_delay_the_others() {
    let handle = handle(scripted(|request| {
        let form = body_of(request);
        answer(if form.contains("poison") { 500 } else { 200 }, None)
    }))
    .await;
    let mut tokens: Vec<_> = (0..5).map(|n| access_token(format!("poison{n}"))).collect();
    tokens.extend((0..1000).map(access_token));
    handle.revoke(tokens.iter().map(access)).await;
    in_time(|| handle.counts().confirmed == 1000).await;
    assert_eq!(handle.counts().pending, 5);
}

#[tokio::test(start_paused = true)]
async fn health_answers_a_readiness_probe() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let handle = handle(scripted(move |_| {
        answer(if is_down.load(Ordering::SeqCst) { 500 } else { 200 }, None)
    }))
    .await;
    assert_eq!(handle.health(), tower_polar_logout::Health::default());
    handle.revoke([access(access_token("a"))]).await;
    tokio::time::advance(Duration::from_secs(100)).await;
    let health = handle.health();
    assert_eq!((health.pending, health.last_error), (1, Some(ErrorClass::ServerError)));
    assert!(health.oldest_age.is_some_and(|age| age >= Duration::from_secs(100)));
    assert_eq!(health.last_confirmed, None);
    down.store(false, Ordering::SeqCst);
    in_time(|| handle.health().pending == 0).await;
    let health = handle.health();
    assert!(health.last_confirmed.is_some());
    assert_eq!((health.last_error, health.oldest_age), (None, None));
}

/// 5,000 users log out while Polar is down for an hour. Afterwards Polar accepts 500 calls a
/// minute, as in production. It gets the oldest revocations first.
#[tokio::test(start_paused = true)]
async fn polar_down_for_an_hour_gets_everything() {
    const LOGOUTS: usize = 5000;
    const A_MINUTE: Duration = Duration::from_secs(60);
    let started = Instant::now();
    let back = started + A_MINUTE * 60;
    let calls = Arc::new(Mutex::new(Calls::default()));
    let seen = Arc::clone(&calls);
    let handle = handle(
        scripted(move |request| {
            let mut calls = seen.lock().expect("the calls");
            if Instant::now() < back {
                calls.failed.push(number_in(&body_of(request)));
                return answer(502, None);
            }
            let window = calls.window.filter(|start| start.elapsed() < A_MINUTE);
            if window.is_none() {
                calls.window = Some(Instant::now());
                calls.in_window = 0;
            }
            calls.in_window += 1;
            if calls.in_window > 500 {
                calls.limited += 1;
                return answer(429, Some("60"));
            }
            calls.taken.push(body_of(request));
            answer(200, None)
        })
        .logout_deadline(AT_ONCE),
    )
    .await;
    for n in 0..LOGOUTS {
        let outcome = handle.revoke([access(access_token(n))]).await;
        assert_eq!(outcome, LogoutOutcome::Pending);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(handle.shutdown_when_done().await, 0);
    let took = Instant::now() - back;

    let calls = calls.lock().expect("the calls");
    let order: Vec<usize> = calls.taken.iter().map(|form| number_in(form)).collect();
    assert_eq!(order.len(), LOGOUTS, "each once");
    // A few logouts found that Polar was down, and are sent last. All others are sent in order,
    // except for the four in flight at once, and for every eighth call, which takes the oldest.
    let never_failed: Vec<_> = order.iter().filter(|n| !calls.failed.contains(n)).collect();
    let mut in_order = never_failed.clone();
    in_order.sort_unstable();
    let place = |n: &usize| in_order.binary_search(&n).expect("one of them");
    let is_out_of_place = |(at, n): &(usize, &&usize)| at.abs_diff(place(n)) > 5;
    let out_of_place = never_failed.iter().enumerate().filter(is_out_of_place).count();
    println!(
        "{LOGOUTS} logouts, an hour down: {} calls while down, all delivered {} s after, \
         {} calls refused by the allowance, {out_of_place} out of order",
        calls.failed.len(),
        took.as_secs(),
        calls.limited,
    );
    assert_eq!(out_of_place, 0, "oldest first");
    assert!(calls.limited <= 10 * 4, "only the calls in flight when the allowance ended");
    assert!(calls.failed.len() < 500, "a server that is down is called rarely");
}

fn number_in(form: &str) -> usize {
    form["token=polar_at_u_".len()..][..43].parse().expect("a number")
}

#[derive(Default)]
struct Calls {
    /// The logouts whose call failed while Polar was down.
    failed: Vec<usize>,
    window: Option<Instant>,
    in_window: usize,
    limited: usize,
    taken: Vec<String>,
}

fn body_of(request: &Request<Full<Bytes>>) -> String {
    use http_body_util::BodyExt;
    let body = request.body().clone().collect();
    let mut body = std::pin::pin!(body);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match body.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok(body)) => {
            String::from_utf8(body.to_bytes().to_vec()).expect("text")
        }
        _ => unreachable!("a full body is there"),
    }
}

trait ShutdownWhenDone {
    async fn shutdown_when_done(&self) -> usize;
}

impl ShutdownWhenDone for LogoutHandle {
    /// Waits for everything before it shuts down, so that a shutdown changes no order.
    async fn shutdown_when_done(&self) -> usize {
        in_time(|| self.counts().pending == 0).await;
        self.shutdown(Duration::from_secs(1)).await.pending
    }
}

/// 100 logouts wait for a Polar that accepts calls and never answers. Meanwhile 200 other requests
/// are all answered.
#[tokio::test]
async fn frozen_polar_delays_no_other_request() {
    let polar = start_polar().await;
    let layer =
        builder(&polar).logout_deadline(Duration::from_secs(3600)).build().await.expect("a layer");
    let app = App::start(Server::Hyper, layer).await;
    let mut alone = latencies(&app).await;
    polar.behave(Fault::Freeze);
    let tokens: Vec<_> = (0..100).map(|_| bearer(&polar.mint().access)).collect();
    let logouts = join_all(tokens.iter().map(|authorization| {
        let app = &app;
        async move { app.post("/logout", &[("authorization", authorization)]).await.status }
    }));
    let others = async {
        app.until(|counts| counts.logouts == 100).await;
        let beside = latencies(&app).await;
        assert_eq!(app.handle.counts().pending, 100, "no logout was answered before them");
        polar.recover();
        beside
    };
    let (statuses, mut beside) = tokio::join!(logouts, others);
    assert!(statuses.iter().all(|status| *status == StatusCode::NO_CONTENT));
    alone.sort();
    beside.sort();
    println!(
        "Polar frozen: other requests p50 {:?}, p99 {:?}; alone p50 {:?}, p99 {:?}",
        beside[beside.len() / 2],
        beside[beside.len() * 99 / 100],
        alone[alone.len() / 2],
        alone[alone.len() * 99 / 100],
    );
}

#[tokio::test]
async fn frozen_polar_holds_no_logout_past_its_deadline() {
    let polar = start_polar().await;
    polar.behave(Fault::Freeze);
    let layer = builder(&polar).logout_deadline(AT_ONCE).build().await.expect("a layer");
    let app = App::start(Server::Hyper, layer).await;
    let started = Instant::now();
    for _ in 0..100 {
        let authorization = bearer(&polar.mint().access);
        let answer = app.post("/logout", &[("authorization", &authorization)]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    println!(
        "Polar frozen: 100 logouts with a deadline of {AT_ONCE:?} took {:?}",
        started.elapsed()
    );
    assert_eq!(app.handle.counts().pending, 100);
}

#[tokio::test(start_paused = true)]
async fn logout_waits_for_polar_until_a_long_deadline() {
    const A_MINUTE: Duration = Duration::from_secs(60);
    let back = Instant::now() + A_MINUTE * 10;
    let polar = move |_: &_| answer(if Instant::now() < back { 502 } else { 200 }, None);
    let handle = handle(scripted(polar).logout_deadline(A_MINUTE * 20)).await;
    assert_eq!(handle.revoke([access(access_token("t"))]).await, LogoutOutcome::Confirmed);
}

#[tokio::test]
async fn longest_deadline_does_not_overflow() {
    let polar = start_polar().await;
    let handle = handle(builder(&polar).logout_deadline(Duration::MAX)).await;
    assert_eq!(handle.revoke([access(&polar.mint().access)]).await, LogoutOutcome::Confirmed);
    assert_eq!(handle.shutdown(Duration::MAX).await.pending, 0);
}

/// Logouts that arrive during the shutdown are turned away, and do not prolong it.
#[tokio::test]
async fn shutdown_stops_the_intake_at_once() {
    let polar = start_polar().await;
    let handle = handle(builder(&polar).logout_deadline(AT_ONCE)).await;
    polar.behave(Fault::Freeze);
    handle.revoke([access(&polar.mint().access)]).await;
    let shutdown = handle.shutdown(Duration::from_secs(60));
    let more = async {
        for n in 0..100 {
            let late = access_token(format!("late{n}"));
            assert_eq!(handle.revoke([access(&late)]).await, LogoutOutcome::Busy);
            assert!(handle.is_revoked(&late), "denied nevertheless");
        }
        assert_eq!(handle.counts().pending, 1);
        polar.recover();
    };
    let (left, ()) = tokio::join!(shutdown, more);
    assert!(left.is_complete());
}

async fn latencies(app: &App) -> Vec<Duration> {
    let living = bearer(&access_token("living"));
    let mut latencies = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        assert!(app.get("/me", &[("authorization", &living)]).await.is_from_app());
        latencies.push(started.elapsed());
    }
    latencies
}
