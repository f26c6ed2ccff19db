//! Promise 6, Polar is treated well: one call about a pair at a time, pauses are kept, and no
//! logout waits for a Polar that is known not to answer.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use support::{App, Server, access_token, bearer, builder, refresh_token, start_polar};
use tokio::time::{Instant, sleep};
use tower::service_fn;
use tower_polar_logout::client::PolarClient;
use tower_polar_logout::testing::{FakePolar, Fault, MemoryLog, TokenPair};
use tower_polar_logout::{
    ClientCredentials, LogoutHandle, LogoutOutcome, PolarLogoutLayer, PolarLogoutLayerBuilder,
    PolarServer, Revocation, TokenLocation,
};

const SECOND: Duration = Duration::from_secs(1);

fn access(token: impl AsRef<[u8]>) -> Revocation {
    Revocation::access_token(token).expect("a token")
}

fn refresh(token: impl AsRef<[u8]>) -> Revocation {
    Revocation::refresh_token(token).expect("a token")
}

fn both(pair: &TokenPair) -> [Revocation; 2] {
    [access(&pair.access), refresh(&pair.refresh)]
}

fn cookies(pair: &TokenPair) -> String {
    format!("access_token={}; refresh_token={}", pair.access, pair.refresh)
}

async fn handle(builder: PolarLogoutLayerBuilder) -> LogoutHandle {
    builder.build().await.expect("a layer").handle()
}

/// The first configuration in the README, under the load that froze Polar on 2026-11-25.
#[tokio::test]
async fn logouts_by_pair_never_freeze_polar() {
    const LOGOUTS: usize = 300;
    let polar = start_polar().await;
    let app = App::start(Server::Axum, builder(&polar).build().await.expect("a layer")).await;
    let pairs: Vec<_> = (0..LOGOUTS).map(|_| polar.mint()).collect();
    let began = Instant::now();
    for pairs in pairs.chunks(50) {
        let logouts = pairs.iter().map(|pair| {
            let (app, cookies) = (&app, cookies(pair));
            async move { app.post("/logout", &[("cookie", &cookies)]).await.status }
        });
        for status in join_all(logouts).await {
            assert!(matches!(status, StatusCode::NO_CONTENT | StatusCode::ACCEPTED), "{status}");
        }
    }
    let answered = began.elapsed();
    polar.revoked(LOGOUTS).await;
    app.until(|counts| counts.pending == 0).await;
    println!(
        "{LOGOUTS} logouts by pair answered in {answered:?}, all dead in {:?}",
        began.elapsed()
    );
    assert!(
        pairs.iter().all(|pair| !polar.is_alive(&pair.access) && !polar.is_alive(&pair.refresh))
    );
    let seen = polar.seen();
    assert_eq!((seen.freezes, seen.revoke_calls), (0, 2 * LOGOUTS), "each token once");
    assert!(seen.most_in_flight <= 4, "{seen:?}");
}

/// A refresh token lives until it is revoked, and an access token for days at most.
#[tokio::test]
async fn refresh_token_is_sent_first() {
    let polar = start_polar().await;
    let handle = handle(builder(&polar)).await;
    let pair = polar.mint();
    assert_eq!(handle.revoke(both(&pair)).await, LogoutOutcome::Confirmed);
    let sent: Vec<_> =
        polar.requests().iter().map(|it| it.value("token").map(str::to_owned)).collect();
    assert_eq!(sent, [Some(pair.refresh), Some(pair.access)]);
}

/// The layer cannot know that the two tokens are one pair, so Polar freezes until its statement
/// timeout. It freezes only once, because nothing is retried early.
#[tokio::test]
async fn separate_logouts_of_one_pair_recover_by_themselves() {
    let polar = FakePolar::start().await.expect("a stand-in");
    polar.statement_timeout(SECOND);
    let handle = handle(builder(&polar)).await;
    let pair = polar.mint();
    let (one, other) = tokio::join!(
        handle.revoke([access(&pair.access)]),
        handle.revoke([refresh(&pair.refresh)])
    );
    for outcome in [one, other] {
        assert!(
            matches!(outcome, LogoutOutcome::Confirmed | LogoutOutcome::Pending),
            "{outcome:?}"
        );
    }
    polar.until(|seen| seen.answered >= 2).await;
    polar.revoked(1).await;
    assert!(!polar.is_alive(&pair.access) && !polar.is_alive(&pair.refresh));
    assert_eq!(polar.seen().freezes, 1);
}

/// A Polar without a socket, for tests with paused time.
fn scripted<F>(polar: impl Fn(String) -> F + Send + Sync + 'static) -> Scripted
where
    F: Future<Output = Result<u16, std::io::ErrorKind>> + Send + 'static,
{
    let calls: Calls = Arc::default();
    let (polar, seen) = (Arc::new(polar), Arc::clone(&calls));
    let transport = service_fn(move |request: Request<Full<Bytes>>| {
        let (polar, seen) = (Arc::clone(&polar), Arc::clone(&seen));
        async move {
            let token = token_of(request).await;
            seen.lock().expect("the calls").push((Instant::now(), token.clone()));
            let status = polar(token).await.map_err(std::io::Error::from)?;
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            if status == 429 {
                response.headers_mut().insert("retry-after", http::HeaderValue::from_static("60"));
            }
            Ok::<_, std::io::Error>(response)
        }
    });
    let client = PolarClient::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .transport(transport);
    let builder = PolarLogoutLayer::builder(client)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer());
    Scripted { builder, calls }
}

type Calls = Arc<Mutex<Vec<(Instant, String)>>>;

struct Scripted {
    builder: PolarLogoutLayerBuilder,
    calls: Calls,
}

async fn token_of(request: Request<Full<Bytes>>) -> String {
    use http_body_util::BodyExt;
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let form: Vec<(String, String)> = serde_urlencoded::from_bytes(&body).expect("a form");
    form.into_iter().find(|(name, _)| name == "token").expect("a token").1
}

/// Polar may still be working on a call that it did not answer, until its statement timeout. So the
/// whole logout waits.
#[tokio::test(start_paused = true)]
async fn unanswered_call_delays_its_logout_by_35_s() {
    use std::io::ErrorKind::ConnectionReset;
    for failure in [Ok(502), Ok(504), Err(ConnectionReset)] {
        let (first, seen) = (Arc::new(Mutex::new(true)), Instant::now());
        let polar = scripted(move |_| {
            let is_first = std::mem::take(&mut *first.lock().expect("the flag"));
            async move {
                sleep(SECOND).await;
                if is_first { failure } else { Ok(200) }
            }
        });
        let handle = handle(polar.builder).await;
        assert_eq!(
            handle.revoke([access(access_token("a")), refresh(refresh_token("r"))]).await,
            LogoutOutcome::Pending
        );
        handle.set_credentials(ClientCredentials::new("id", "secret")).await.expect("set");
        assert_eq!(handle.shutdown(SECOND * 30).await.pending, 2, "a shutdown does not hurry it");
        assert_eq!(handle.shutdown(SECOND * 10).await.pending, 0);
        let calls = polar.calls.lock().expect("the calls");
        let times: Vec<_> = calls.iter().map(|(at, _)| (*at - seen).as_secs()).collect();
        assert_eq!(times, [0, 35, 36], "{failure:?}");
    }
}

/// Nothing was sent, so the next attempt follows the usual back-off.
#[tokio::test(start_paused = true)]
async fn failure_to_connect_is_retried_soon() {
    let refused = Arc::new(Mutex::new(3));
    let polar = scripted(move |_| {
        let mut left = refused.lock().expect("the number");
        let is_refused = *left > 0;
        *left = usize::saturating_sub(*left, 1);
        async move { if is_refused { Err(std::io::ErrorKind::ConnectionRefused) } else { Ok(200) } }
    });
    let handle = handle(polar.builder).await;
    let began = Instant::now();
    handle.revoke([access(access_token("a")), refresh(refresh_token("r"))]).await;
    while handle.counts().pending > 0 {
        sleep(SECOND / 10).await;
    }
    assert!(began.elapsed() < SECOND * 5, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn logout_is_answered_at_once_while_rate_limited() {
    let polar = scripted(|_| async { Ok(429) });
    let handle = handle(polar.builder).await;
    for n in 0..10 {
        let began = Instant::now();
        assert_eq!(handle.revoke([access(access_token(n))]).await, LogoutOutcome::Pending);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    let health = handle.health();
    assert!(health.unresponsive && health.paused_until.is_some());
    assert_eq!(health.last_error_reason.as_deref(), Some("429 Too Many Requests"));
    assert_eq!(polar.calls.lock().expect("the calls").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn logout_is_answered_at_once_during_an_outage() {
    let polar = scripted(|_| async { Err(std::io::ErrorKind::ConnectionRefused) });
    let handle = handle(polar.builder).await;
    let tokens: Vec<_> = (0..4).map(access_token).collect();
    join_all(tokens.iter().map(|token| handle.revoke([access(token)]))).await;
    let began = Instant::now();
    assert_eq!(handle.revoke([access(access_token("more"))]).await, LogoutOutcome::Pending);
    assert_eq!(began.elapsed(), Duration::ZERO);
    let health = handle.health();
    assert!(health.unresponsive);
    let reason = health.last_error_reason.expect("a reason");
    assert!(reason.contains("connection refused"), "{reason}");
}

/// Four hung calls stop all delivery for 35 s. That is right, because Polar hangs.
#[tokio::test(start_paused = true)]
async fn logout_is_answered_at_once_while_calls_hang() {
    let polar = scripted(|_| async { pending().await });
    let handle = handle(polar.builder.logout_deadline(SECOND * 10)).await;
    let hung: Vec<_> = (0..4).map(access_token).collect();
    let began = Instant::now();
    join_all(hung.iter().map(|token| handle.revoke([access(token)]))).await;
    assert_eq!(began.elapsed().as_secs(), 2, "waiting logouts are answered once it is known");
    assert_eq!(handle.revoke([access(access_token("more"))]).await, LogoutOutcome::Pending);
    assert_eq!(began.elapsed().as_secs(), 2);
    sleep(SECOND * 32).await;
    assert_eq!(polar.calls.lock().expect("the calls").len(), 4);
    sleep(SECOND * 2).await;
    let reason = handle.health().last_error_reason.expect("a reason");
    assert!(reason.starts_with("no answer: "), "{reason}");
}

/// Polar may still be working on calls of the previous process. The new process does not know which
/// tokens are pairs, so it sends one at a time.
#[tokio::test(start_paused = true)]
async fn restarted_process_waits_35_s_before_it_sends() {
    let log = MemoryLog::new().adopt_after(Duration::ZERO);
    let dead = scripted(|_| async { Err(std::io::ErrorKind::ConnectionRefused) });
    let dead = dead.builder.revocation_log(log.clone()).build().await.expect("a layer");
    for n in 0..3 {
        let pair = [access(access_token(n)), refresh(refresh_token(n))];
        assert_eq!(dead.handle().revoke(pair).await, LogoutOutcome::Pending);
    }
    drop(dead);
    let polar = scripted(|_| async {
        sleep(SECOND).await;
        Ok(200)
    });
    let started = Instant::now();
    let handle = handle(polar.builder.revocation_log(log)).await;
    sleep(Duration::from_millis(34_500)).await;
    assert!(polar.calls.lock().expect("the calls").is_empty());
    sleep(SECOND * 10).await;
    assert_eq!((handle.counts().adopted, handle.counts().confirmed), (6, 6));
    let calls = polar.calls.lock().expect("the calls");
    let times: Vec<_> = calls.iter().map(|(at, _)| (*at - started).as_secs()).collect();
    assert_eq!(times, [35, 36, 37, 38, 39, 40]);
}

/// `verify_revocation` detects the loss of the first or the second commit, by either token.
#[tokio::test]
async fn lost_commit_is_detected_for_expired_pairs_too() {
    for is_expired in [false, true] {
        for by_refresh_token in [false, true] {
            for lost in 0..2 {
                let polar = start_polar().await;
                let verifying =
                    builder(&polar).verify_revocation(true).logout_deadline(SECOND * 60);
                let handle = handle(verifying).await;
                let pair = if is_expired { polar.mint_expired() } else { polar.mint() };
                polar.behave_next(lost, Fault::Delay(Duration::ZERO));
                polar.behave_next(1, Fault::LoseCommit);
                let revocation =
                    if by_refresh_token { refresh(&pair.refresh) } else { access(&pair.access) };
                assert_eq!(handle.revoke([revocation]).await, LogoutOutcome::Confirmed);
                polar.until(|seen| seen.uncommitted == 0).await;
                let case = (is_expired, by_refresh_token, lost);
                assert!(!polar.is_alive(&pair.refresh), "{case:?}: still refreshable");
                assert!(!polar.is_alive(&pair.access), "{case:?}");
            }
        }
    }
}

/// Each logout carries both tokens of its pair, and five commits are lost.
#[tokio::test]
async fn verified_logouts_by_pair_never_freeze_polar() {
    let polar = start_polar().await;
    let handle = handle(builder(&polar).verify_revocation(true).logout_deadline(SECOND * 60)).await;
    let mint = |n: usize| if n.is_multiple_of(2) { polar.mint() } else { polar.mint_expired() };
    let pairs: Vec<_> = (0..20).map(mint).collect();
    polar.behave_next(5, Fault::LoseCommit);
    let outcomes = join_all(pairs.iter().map(|pair| handle.revoke(both(pair)))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == LogoutOutcome::Confirmed), "{outcomes:?}");
    polar.until(|seen| seen.uncommitted == 0).await;
    assert!(pairs.iter().all(|pair| !polar.is_alive(&pair.refresh)));
}

/// The bearer token of one logout is a cookie of the other. Their tokens may be one pair, so they
/// are sent one after the other.
#[tokio::test]
async fn logouts_that_share_a_token_never_freeze_polar() {
    let polar = start_polar().await;
    let app = App::start(Server::Hyper, builder(&polar).build().await.expect("a layer")).await;
    let pairs: Vec<_> = (0..20).map(|_| polar.mint()).collect();
    let logouts = pairs.iter().flat_map(|pair| {
        let (app, authorization, cookies) = (&app, bearer(&pair.access), cookies(pair));
        [true, false].map(|with_cookies| {
            let (authorization, cookies) = (authorization.clone(), cookies.clone());
            async move {
                let headers = [("authorization", &*authorization), ("cookie", &*cookies)];
                let headers = if with_cookies { &headers[..] } else { &headers[..1] };
                app.post("/logout", headers).await.status
            }
        })
    });
    let statuses = join_all(logouts).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::NO_CONTENT), "{statuses:?}");
    polar.revoked(20).await;
}
