//! The layer on its log: restarts, exchanged secrets, a log that fails, a full disk.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use support::demo::Demo;
use support::folder::Folder;
use support::{App, Server, bearer, impatient_builder, start_polar};
use tower_polar_logout::log::{Cursor, Event, Followed, Kept, LogFuture, RevocationLog};
use tower_polar_logout::testing::Fault;
use tower_polar_logout::{
    ClientCredentials, DeadLetter, Error, ErrorKind, Journal, LogoutOutcome, PolarLogoutLayer,
    PolarLogoutLayerBuilder, PolarServer, Revocation, TokenHash, TokenLocation,
};

const SESSION: &str = "session-0123456789";

fn journal(folder: &Folder) -> Journal {
    Journal::open(folder.file("journal")).expect("a journal")
}

fn access(token: &str) -> Revocation {
    Revocation::access_token(token).expect("a token")
}

async fn layer(builder: PolarLogoutLayerBuilder) -> PolarLogoutLayer {
    builder.build().await.expect("a layer")
}

/// Waits until the tasks of a dropped layer have closed its log.
async fn closed(path: &Path) {
    loop {
        match Journal::open(path) {
            Ok(_) => return,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn denylist_and_queue_survive_a_restart() {
    let (polar, folder) = (start_polar().await, Folder::new("restart"));
    let (pending, delivered) = (polar.mint().access, polar.mint().access);
    {
        let handle =
            layer(impatient_builder(&polar).revocation_log(journal(&folder))).await.handle();
        assert_eq!(handle.revoke([access(&delivered)]).await, LogoutOutcome::Confirmed);
        handle.revoke([Revocation::session_id(SESSION).expect("a session id")]).await;
        assert_eq!(handle.shutdown(Duration::from_secs(60)).await.pending, 0);
    }
    closed(&folder.file("journal")).await;
    {
        polar.behave(Fault::Drop);
        let deadline = Duration::from_millis(1);
        let calls = polar.seen().revoke_calls;
        let handle = layer(
            impatient_builder(&polar).revocation_log(journal(&folder)).logout_deadline(deadline),
        )
        .await
        .handle();
        assert_eq!(handle.revoke([access(&pending)]).await, LogoutOutcome::Pending);
        polar.until(|seen| seen.revoke_calls > calls).await;
    }
    closed(&folder.file("journal")).await;
    let calls = polar.seen().revoke_calls;
    let handle = layer(impatient_builder(&polar).revocation_log(journal(&folder))).await.handle();
    for credential in [&*pending, &*delivered, SESSION] {
        assert!(handle.is_revoked(credential), "before the first request is served");
    }
    assert_eq!(handle.counts().pending, 1, "the confirmed token is not sent again");
    polar.until(|seen| seen.revoke_calls > calls).await;
    polar.recover();
    assert_eq!(handle.shutdown(Duration::from_secs(60)).await.pending, 0);
    assert!(!polar.is_alive(&pending));
}

/// It is delivered once the app gives the secret that sealed it.
#[tokio::test]
async fn token_of_another_secret_is_a_dead_letter() {
    let (polar, folder) = (start_polar().await, Folder::new("secret"));
    let token = polar.mint().access;
    polar.behave(Fault::Freeze);
    let yesterday = |secret: &str| {
        PolarLogoutLayer::builder(ClientCredentials::new(polar.client_id(), secret))
            .server(polar.server())
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .revocation_log(journal(&folder))
            .logout_deadline(Duration::from_millis(1))
    };
    let path = folder.file("journal");
    {
        let handle = layer(yesterday("polar_cs_yesterday")).await.handle();
        handle.revoke([access(&token)]).await;
    }
    closed(&path).await;
    polar.recover();
    let letters = Arc::new(Mutex::new(Vec::new()));
    {
        let heard = Arc::clone(&letters);
        let builder = impatient_builder(&polar).revocation_log(journal(&folder)).on_dead_letter(
            move |letter| {
                assert!(matches!(letter, DeadLetter::Unreadable { .. }), "{letter:?}");
                heard.lock().expect("the letters").push(letter.hash());
            },
        );
        let handle = layer(builder).await.handle();
        assert_eq!(*letters.lock().expect("the letters"), [TokenHash::of(&token)]);
        assert_eq!((handle.counts().dead_letters, handle.counts().pending), (1, 0));
        assert!(handle.is_revoked(&token), "the denylist is complete");
        assert!(polar.is_alive(&token));
    }
    closed(&path).await;
    let builder = impatient_builder(&polar)
        .revocation_log(journal(&folder))
        .previous_client_secret("polar_cs_yesterday");
    let handle = layer(builder).await.handle();
    assert_eq!(handle.shutdown(Duration::from_secs(60)).await.pending, 0);
    assert!(!polar.is_alive(&token), "the log kept the token");
}

/// The token was sealed under the old secret.
#[tokio::test]
async fn exchanged_credentials_open_the_log_after_restart() {
    let (polar, folder) = (start_polar().await, Folder::new("exchange"));
    let token = polar.mint().access;
    polar.behave(Fault::Freeze);
    {
        let old = ClientCredentials::new(polar.client_id(), "polar_cs_old");
        let builder = PolarLogoutLayer::builder(old)
            .server(polar.server())
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .revocation_log(journal(&folder))
            .logout_deadline(Duration::from_millis(1));
        let handle = layer(builder).await.handle();
        handle.revoke([access(&token)]).await;
        handle.set_credentials(polar.credentials()).await.expect("valid credentials");
    }
    closed(&folder.file("journal")).await;
    polar.recover();
    let handle = layer(impatient_builder(&polar).revocation_log(journal(&folder))).await.handle();
    assert_eq!(handle.counts().dead_letters, 0);
    assert_eq!(handle.shutdown(Duration::from_secs(60)).await.pending, 0);
    assert!(!polar.is_alive(&token));
}

#[tokio::test]
async fn build_fails_if_the_log_exceeds_the_limit() {
    let (polar, folder) = (start_polar().await, Folder::new("limit"));
    let log = journal(&folder);
    let expires_at = SystemTime::now() + Duration::from_secs(3600);
    let event = |n: u32| {
        let hash = TokenHash::of(n.to_string());
        Event::Revoked { hash, expires_at, sealed: None }
    };
    log.append((0..10).map(event).collect()).await.expect("room");
    let error = impatient_builder(&polar)
        .revocation_log(log)
        .denylist_capacity(5)
        .build()
        .await
        .expect_err("too many");
    assert!(error.to_string().contains("raise it with `.denylist_capacity(20)`"), "{error}");
    // The failed build has closed the file.
    let builder = impatient_builder(&polar).revocation_log(journal(&folder)).denylist_capacity(20);
    assert_eq!(layer(builder).await.handle().counts().revoked, 10);
}

/// A step with everything that a log holds.
fn all(events: Vec<Event>) -> Followed {
    let cursor = Cursor::new("end");
    Followed::new(events, cursor)
}

/// A log that can be told to fail.
#[derive(Clone, Default)]
struct Fragile {
    is_broken: Arc<Mutex<bool>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl RevocationLog for Fragile {
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        Box::pin(async move {
            if *self.is_broken.lock().expect("the lock") {
                return Err(Error::log("the log cannot be read"));
            }
            if after.is_some() {
                std::future::pending::<()>().await;
            }
            Ok(all(self.events.lock().expect("the lock").clone()))
        })
    }

    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        Box::pin(async move {
            if *self.is_broken.lock().expect("the lock") {
                return Err(Error::log("the log cannot be written"));
            }
            self.events.lock().expect("the lock").extend(events);
            Ok(Kept::Durably)
        })
    }
}

/// The app goes on, and the next logout succeeds once the log works again.
#[tokio::test]
async fn logout_is_503_while_the_log_fails() {
    let (polar, log) = (start_polar().await, Fragile::default());
    let app = App::start(
        Server::Axum,
        layer(impatient_builder(&polar).revocation_log(log.clone())).await,
    )
    .await;
    let token = polar.mint().access;
    let authorization = bearer(&token);
    let headers = [("authorization", &*authorization)];
    *log.is_broken.lock().expect("the lock") = true;
    let answer = app.post("/logout", &headers).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "5");
    assert!(app.handle.is_revoked(&token), "denied even so");
    assert!(!polar.is_alive(&token), "delivered even so");
    assert!(app.get("/", &[]).await.is_from_app());
    *log.is_broken.lock().expect("the lock") = false;
    assert_eq!(app.post("/logout", &headers).await.status, StatusCode::NO_CONTENT);
    assert!(!log.events.lock().expect("the lock").is_empty());
}

/// The flood: more logouts than the denylist has room for. Those that were refused are not in the
/// log; otherwise the next start would find more there than it has room for.
#[tokio::test]
async fn flood_past_the_limit_permits_the_next_start() {
    let (polar, log) = (start_polar().await, Fragile::default());
    let handle = layer(impatient_builder(&polar).revocation_log(log.clone()).denylist_capacity(5))
        .await
        .handle();
    let flood = (0..20).map(|n| Revocation::session_id(format!("{n:016}")).expect("a session id"));
    assert_eq!(handle.revoke(flood).await, LogoutOutcome::Full);
    drop(handle);
    let handle =
        layer(impatient_builder(&polar).revocation_log(log).denylist_capacity(5)).await.handle();
    assert!((0..5).all(|n| handle.is_revoked(format!("{n:016}"))));
}

/// The race: the queue is full when the log is written, and has room when the token is sent. The
/// log does not have the token then, so the layer must not promise its delivery.
#[tokio::test]
async fn unsealed_token_is_not_acknowledged_as_pending() {
    let (polar, log) = (start_polar().await, Fragile::default());
    polar.behave(Fault::Freeze);
    let builder = impatient_builder(&polar).revocation_log(log.clone()).queue_capacity(1);
    let handle = layer(builder.logout_deadline(Duration::from_millis(1))).await.handle();
    let (first, second) = (polar.mint().access, polar.mint().access);
    assert_eq!(handle.revoke([access(&first)]).await, LogoutOutcome::Pending);
    assert_eq!(handle.revoke([access(&second)]).await, LogoutOutcome::Busy);
    let sealed = |token: &str| {
        let hash = TokenHash::of(token);
        log.events.lock().expect("the lock").iter().any(|event| {
            matches!(event, Event::Revoked { hash: of, sealed: Some(_), .. } if *of == hash)
        })
    };
    assert!(sealed(&first) && !sealed(&second));
}

/// The logout is answered then, and its token is denied.
#[tokio::test(start_paused = true)]
async fn hanging_log_holds_a_logout_ten_seconds() {
    struct Hanging;

    impl RevocationLog for Hanging {
        fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
            Box::pin(async move {
                if after.is_some() {
                    std::future::pending::<()>().await;
                }
                Ok(all(Vec::new()))
            })
        }

        fn append(&self, _: Vec<Event>) -> LogFuture<'_, Kept> {
            Box::pin(std::future::pending())
        }
    }

    let builder = PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout")
        .session_id(TokenLocation::bearer())
        .revocation_log(Hanging);
    let handle = layer(builder).await.handle();
    let session = Revocation::session_id(SESSION).expect("a session id");
    let started = tokio::time::Instant::now();
    assert_eq!(handle.revoke([session]).await, LogoutOutcome::Unrecorded);
    assert_eq!(started.elapsed().as_secs(), 10);
    assert!(handle.is_revoked(SESSION));
}

#[tokio::test]
async fn build_fails_if_the_log_cannot_be_read() {
    let (polar, log) = (start_polar().await, Fragile::default());
    *log.is_broken.lock().expect("the lock") = true;
    let error = impatient_builder(&polar).revocation_log(log).build().await.expect_err("no log");
    assert_eq!(error.kind(), ErrorKind::Log);
}

/// It never holds the token itself.
#[tokio::test]
async fn log_holds_a_hash_and_a_seal() {
    let (polar, log) = (start_polar().await, Fragile::default());
    let handle = layer(impatient_builder(&polar).revocation_log(log.clone())).await.handle();
    let token = polar.mint().access;
    handle.revoke([access(&token)]).await;
    handle.shutdown(Duration::from_secs(60)).await;
    let events = log.events.lock().expect("the lock").clone();
    let [Event::Revoked { hash, sealed: Some(sealed), .. }, Event::Delivered { hash: delivered }] =
        &*events
    else {
        panic!("{events:?}")
    };
    assert_eq!((*hash, *delivered), (TokenHash::of(&token), TokenHash::of(&token)));
    let core = &token.as_bytes()[11..];
    assert!(!sealed.as_bytes().windows(core.len()).any(|window| window == core));
}

/// A limit on the file size stands in for the disk. Once it is lifted, logouts succeed again.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_disk_fails_logouts_and_nothing_else() {
    let (polar, folder) = (start_polar().await, Folder::new("disk"));
    let path = folder.file("journal");
    let mut demo = Demo::start_on(&path, &polar).await;
    let size = std::fs::metadata(&path).expect("the journal").len();
    prlimit(&demo, &format!("fsize={size}:unlimited")).await;
    let token = polar.mint().access;
    // Events that fit into the existing pages of the file are kept.
    let mut kept = Vec::new();
    let refused = loop {
        let token = polar.mint().access;
        match status(&demo, Method::POST, "/logout", &token).await {
            StatusCode::SERVICE_UNAVAILABLE => break token,
            status => {
                assert!(status.is_success(), "{status}");
                kept.push(token);
            }
        }
        assert!(kept.len() < 10_000, "the disk is never full");
    };
    assert_eq!(status(&demo, Method::GET, "/me", &token).await, StatusCode::OK);
    assert_eq!(status(&demo, Method::GET, "/me", &refused).await, StatusCode::UNAUTHORIZED);
    prlimit(&demo, "fsize=unlimited:unlimited").await;
    let again = status(&demo, Method::POST, "/logout", &refused).await;
    assert!(again.is_success(), "there is room again");
    kept.push(refused);
    println!("full disk: {} logouts kept before and after, 1 answered 503 between", kept.len());

    demo.signal("KILL").await;
    demo.ended().await;
    let demo = Demo::start_on(&path, &polar).await;
    for token in &kept {
        assert_eq!(status(&demo, Method::GET, "/me", token).await, StatusCode::UNAUTHORIZED);
    }
}

#[cfg(target_os = "linux")]
async fn status(demo: &Demo, method: Method, path: &str, token: &str) -> StatusCode {
    demo.send(method, path, &[("authorization", &bearer(token))]).await.status
}

#[cfg(target_os = "linux")]
async fn prlimit(demo: &Demo, limit: &str) {
    let done = tokio::process::Command::new("prlimit")
        .args(["--pid", &demo.id().to_string(), &format!("--{limit}")])
        .status()
        .await
        .expect("prlimit, of util-linux");
    assert!(done.success());
}
