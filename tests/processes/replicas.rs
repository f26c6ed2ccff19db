//! Three processes of one app share a Redis, which is killed, stopped, emptied and cut off while
//! users log out. In the end all replicas deny each token that one of them has acknowledged.

use std::collections::HashSet;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::{self, join_all};
use http::{Method, StatusCode};
use serde_json::Value;
use support::demo::Demo;
use support::proxy::Proxy;
use support::redis::{Persistence, RedisServer};
use support::{TreatedWell, access_token, bearer, start_polar};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower_polar_logout::log::{Event, RevocationLog};
use tower_polar_logout::testing::Fault;
use tower_polar_logout::{RedisLog, TokenHash};

const REPLICAS: usize = 3;
const USERS: usize = 6;
/// How many logouts are acknowledged before a fault, and after it.
const SOME: usize = 60;
/// The time between two requests of a test that polls, because another process announces nothing.
const PAUSE: Duration = Duration::from_millis(20);
/// How long each step may take. After it, the figures say what is missing.
const PATIENCE: Duration = Duration::from_secs(90);

struct App {
    polar: TreatedWell,
    redis: String,
    replicas: Vec<Demo>,
    acknowledged: watch::Sender<Vec<String>>,
}

impl App {
    async fn start(redis: &str) -> Self {
        let (polar, acknowledged) = (start_polar().await, watch::Sender::default());
        let mut app = Self { polar, redis: redis.to_owned(), replicas: Vec::new(), acknowledged };
        for _ in 0..REPLICAS {
            let replica = app.replica(&[]).await;
            app.replicas.push(replica);
        }
        app
    }

    /// Starts one more replica.
    async fn replica(&self, settings: &[(&str, &str)]) -> Demo {
        let redis = [("REVOCATION_REDIS", &*self.redis)];
        Demo::start_with(&self.polar, &[&redis, settings].concat()).await
    }

    fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.borrow().clone()
    }

    /// Logs one user out at one replica.
    async fn log_out_at(&self, replica: &Demo) -> Option<StatusCode> {
        let token = self.polar.mint().access;
        let headers = [("authorization", &*bearer(&token))];
        let status = replica.try_send(Method::POST, "/logout", &headers).await?.status;
        if status.is_success() {
            self.acknowledged.send_modify(|all| all.push(token));
        }
        Some(status)
    }

    /// Logs users out at all replicas during `trouble`, and for a while before and after it.
    async fn while_users_log_out<T>(&self, trouble: impl Future<Output = T>) -> T {
        let users = join_all((0..USERS).map(async |user| {
            loop {
                self.log_out_at(&self.replicas[user % REPLICAS]).await;
                sleep(PAUSE * 2).await;
            }
        }));
        let trouble = async {
            self.some_more().await;
            let done = trouble.await;
            self.some_more().await;
            done
        };
        match future::select(Box::pin(trouble), Box::pin(users)).await {
            future::Either::Left((done, _)) => done,
            future::Either::Right(_) => unreachable!("users log out indefinitely"),
        }
    }

    async fn some_more(&self) {
        let goal = self.acknowledged.borrow().len() + SOME;
        let mut acknowledged = self.acknowledged.subscribe();
        let some_more = acknowledged.wait_for(|all| all.len() >= goal);
        timeout(PATIENCE, some_more).await.expect("users log out").expect("the list");
    }

    /// Waits until every replica denies every acknowledged token and Polar has revoked it. Prints
    /// how many there are.
    async fn all_is_denied_and_delivered(&self, trouble: &str) {
        let acknowledged = self.acknowledged();
        let begun = Instant::now();
        let mut missing = acknowledged.clone();
        let mut alive = acknowledged.clone();
        while begun.elapsed() < PATIENCE && (!missing.is_empty() || !alive.is_empty()) {
            missing = self.not_denied_everywhere(missing).await;
            alive.retain(|token| self.polar.is_alive(token));
            sleep(PAUSE).await;
        }
        println!(
            "{trouble}: acknowledged {}, denied everywhere {}, delivered {}",
            acknowledged.len(),
            acknowledged.len() - missing.len(),
            acknowledged.len() - alive.len(),
        );
        assert_eq!((missing.len(), alive.len()), (0, 0), "{trouble}");
    }

    async fn not_denied_everywhere(&self, tokens: Vec<String>) -> Vec<String> {
        let mut missing = Vec::new();
        for token in tokens {
            let denied = join_all(self.replicas.iter().map(|replica| is_denied(replica, &token)));
            if denied.await.contains(&false) {
                missing.push(token);
            }
        }
        missing
    }

    /// Waits until Redis holds every acknowledged token. A replica that is then started must know
    /// all of them before it answers its first request.
    async fn a_late_replica_knows_all(&self, trouble: &str) {
        let acknowledged = self.acknowledged();
        let begun = Instant::now();
        while !self.redis_holds(&acknowledged).await && begun.elapsed() < PATIENCE {
            sleep(PAUSE).await;
        }
        let late = self.replica(&[]).await;
        let mut denied = 0;
        for token in &acknowledged {
            denied += usize::from(is_denied(&late, token).await);
        }
        println!("{trouble}: a replica started late denies {denied} of {}", acknowledged.len());
        assert_eq!(denied, acknowledged.len(), "{trouble}");
    }

    async fn redis_holds(&self, tokens: &[String]) -> bool {
        let log = RedisLog::connect(&self.redis).expect("a URL");
        log.assign(self.polar.client_id()).expect("it has no owner");
        let mut known = HashSet::new();
        let mut cursor = None;
        loop {
            let Ok(followed) = log.follow(cursor).await else { return false };
            known.extend(followed.events().iter().map(|event| match event {
                Event::Revoked { hash, .. }
                | Event::Delivered { hash }
                | Event::Claimed { hash, .. } => *hash,
            }));
            if followed.is_current() {
                return tokens.iter().all(|token| known.contains(&TokenHash::of(token)));
            }
            cursor = Some(followed.cursor().clone());
        }
    }
}

async fn is_denied(replica: &Demo, token: &str) -> bool {
    let answer = replica.send(Method::GET, "/me", &[("authorization", &bearer(token))]).await;
    answer.status == StatusCode::UNAUTHORIZED
}

async fn health(replica: &Demo, of: &str) -> Value {
    let answer = replica.send(Method::GET, "/health", &[]).await;
    let health: Value = serde_json::from_str(&answer.body).expect("JSON");
    health[of].clone()
}

async fn until_health(replica: &Demo, of: &str, holds: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let value = health(replica, of).await;
        if holds(&value) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{of} is still {value}");
        sleep(PAUSE).await;
    }
}

/// Prints how long the other replicas take: milliseconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_revoked_at_one_replica_is_rejected_everywhere() {
    const TOKENS: usize = 2000;
    let redis = RedisServer::start("replicas-latency").await;
    let app = App::start(&redis.url()).await;
    let mut took = Vec::new();
    for n in 0..TOKENS {
        let (here, others) = (n % REPLICAS, [(n + 1) % REPLICAS, (n + 2) % REPLICAS]);
        let token = app.polar.mint().access;
        let headers = [("authorization", &*bearer(&token))];
        let begun = Instant::now();
        let rejected = others.map(|other| {
            let (replica, token) = (&app.replicas[other], token.clone());
            async move {
                while !is_denied(replica, &token).await {}
                begun.elapsed()
            }
        });
        let logged_out = app.replicas[here].send(Method::POST, "/logout", &headers);
        let (answer, rejected) = tokio::join!(logged_out, join_all(rejected));
        assert!(answer.status.is_success());
        took.extend(rejected);
    }
    took.sort_unstable();
    let percentile = |p: usize| took[took.len() * p / 100 - 1];
    println!(
        "from the logout's request to the first rejection at another replica, {} times: p50 {:?}, \
         p99 {:?}, at most {:?}",
        took.len(),
        percentile(50),
        percentile(99),
        took.last().expect("some")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_redis_with_everysec_file_loses_no_logout() {
    let trouble = "SIGKILL, file synced each second";
    let mut redis =
        RedisServer::start_with("replicas-everysec", Persistence::EverySecond, &[]).await;
    let app = App::start(&redis.url()).await;
    app.while_users_log_out(async {
        for _ in 0..3 {
            redis.kill().await;
            redis.start_again().await;
            app.some_more().await;
        }
    })
    .await;
    app.all_is_denied_and_delivered(trouble).await;
    app.a_late_replica_knows_all(trouble).await;
}

/// The file of this Redis is always synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_redis_and_replicas_lose_no_logout() {
    let trouble = "SIGKILL, file always synced, and every replica too";
    let mut redis = RedisServer::start_with("replicas-always", Persistence::Always, &[]).await;
    let mut app = App::start(&redis.url()).await;
    for _ in 0..2 {
        let mut durably = 0;
        while durably < SOME {
            let all = join_all(app.replicas.iter().map(|replica| app.log_out_at(replica))).await;
            durably += all.iter().filter(|status| **status == Some(StatusCode::NO_CONTENT)).count();
        }
        for replica in &mut app.replicas {
            replica.signal("KILL").await;
            replica.ended().await;
        }
        redis.kill().await;
        redis.start_again().await;
        for n in 0..REPLICAS {
            app.replicas[n] = app.replica(&[]).await;
        }
    }
    app.all_is_denied_and_delivered(trouble).await;
}

/// Redis is killed, and keeps no file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_started_empty_loses_no_logout() {
    let trouble = "SIGKILL, no file, started empty";
    let mut redis = RedisServer::start("replicas-empty").await;
    let app = App::start(&redis.url()).await;
    app.while_users_log_out(async {
        for _ in 0..3 {
            redis.kill().await;
            redis.start_empty().await;
            app.some_more().await;
        }
    })
    .await;
    app.all_is_denied_and_delivered(trouble).await;
    app.a_late_replica_knows_all(trouble).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_redis_loses_no_logout() {
    let trouble = "FLUSHALL, five times";
    let redis = RedisServer::start("replicas-flushed").await;
    let app = App::start(&redis.url()).await;
    app.while_users_log_out(async {
        for _ in 0..5 {
            redis.flush_all().await;
            app.some_more().await;
        }
    })
    .await;
    app.all_is_denied_and_delivered(trouble).await;
    app.a_late_replica_knows_all(trouble).await;
}

/// Redis stops for twenty seconds. A replica with `REJECT_WHEN_BEHIND` answers 503 meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_redis_loses_no_logout() {
    let trouble = "SIGSTOP for 20 s";
    let redis = RedisServer::start("replicas-stopped").await;
    let app = App::start(&redis.url()).await;
    let strict = app.replica(&[("REJECT_WHEN_BEHIND", "5")]).await;
    let alive = [("authorization", &*bearer(&access_token("alive")))];
    app.while_users_log_out(async {
        redis.stop().await;
        sleep(Duration::from_secs(20)).await;
        let me = strict.send(Method::GET, "/me", &alive).await;
        assert_eq!(me.status, StatusCode::SERVICE_UNAVAILABLE, "as it is configured");
        let behind = health(&strict, "log_lag_seconds").await;
        assert!(behind.as_u64().is_some_and(|seconds| (15..=25).contains(&seconds)), "{behind}");
        redis.resume().await;
    })
    .await;
    app.all_is_denied_and_delivered(trouble).await;
    app.a_late_replica_knows_all(trouble).await;
    until_health(&strict, "log_lag_seconds", Value::is_null).await;
    let me = strict.send(Method::GET, "/me", &alive).await;
    assert_eq!(me.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_and_frozen_line_loses_no_logout() {
    let trouble = "line cut and frozen";
    let redis = RedisServer::start("replicas-line").await;
    let line = Proxy::start(redis.port()).await;
    let app = App::start(&line.url()).await;
    let first = &app.replicas[0];
    app.while_users_log_out(async {
        line.cut();
        until_health(first, "log_lag_seconds", Value::is_u64).await;
        line.mend();
        until_health(first, "log_lag_seconds", Value::is_null).await;
        line.freeze();
        until_health(first, "log_lag_seconds", Value::is_u64).await;
        line.mend();
        until_health(first, "log_lag_seconds", Value::is_null).await;
    })
    .await;
    app.all_is_denied_and_delivered(trouble).await;
    app.a_late_replica_knows_all(trouble).await;
}

/// The other replicas adopt them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pending_tokens_of_killed_replica_are_delivered() {
    let trouble = "SIGKILL of a replica, Polar down";
    let redis = RedisServer::start("replicas-orphans").await;
    let mut app = App::start(&redis.url()).await;
    app.polar
        .behave(Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None });
    join_all((0..20).map(|_| app.log_out_at(&app.replicas[0]))).await;
    let mut killed = app.replicas.remove(0);
    killed.signal("KILL").await;
    killed.ended().await;
    app.polar.recover();
    app.all_is_denied_and_delivered(trouble).await;
    let mut adopted = 0;
    for replica in &app.replicas {
        until_health(replica, "pending", |pending| pending == 0).await;
        adopted += health(replica, "adopted").await.as_u64().expect("a number");
    }
    println!("{trouble}: adopted {adopted}");
    assert!(adopted >= 20, "{adopted}");
}

/// The clocks of three replicas are a minute apart each. A token that the first replica revokes for
/// 15 seconds has expired long ago by the clock of the last.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_a_minute_apart_expire_nothing_early() {
    const RETENTION: Duration = Duration::from_secs(15);
    let redis = RedisServer::start("replicas-clocks").await;
    let mut app = App::start(&redis.url()).await;
    let library = libfaketime();
    for (replica, clock) in ["-60s", "+0s", "+60s"].into_iter().enumerate() {
        let settings = [
            ("LD_PRELOAD", &*library),
            ("FAKETIME", clock),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("ACCESS_TOKEN_RETENTION", "15"),
        ];
        app.replicas[replica] = app.replica(&settings).await;
    }
    let pairs = (0..REPLICAS).flat_map(|here| (0..REPLICAS).map(move |there| (here, there)));
    let app = &app;
    let denied_for = join_all(pairs.map(async |(here, there)| {
        let token = app.polar.mint().access;
        let headers = [("authorization", &*bearer(&token))];
        let begun = Instant::now();
        let answer = app.replicas[here].send(Method::POST, "/logout", &headers).await;
        assert!(answer.status.is_success());
        while !is_denied(&app.replicas[there], &token).await {
            sleep(PAUSE).await;
        }
        while is_denied(&app.replicas[there], &token).await {
            sleep(PAUSE).await;
        }
        begun.elapsed()
    }));
    let denied_for =
        timeout(PATIENCE, denied_for).await.expect("each token is denied, and then expires");
    let (least, most) = (denied_for.iter().min(), denied_for.iter().max());
    let (least, most) = (least.expect("nine"), most.expect("nine"));
    println!("clocks a minute apart: revoked for {RETENTION:?}, denied for {least:?} to {most:?}");
    assert!(*least >= RETENTION);
}

#[cfg(target_os = "linux")]
fn libfaketime() -> String {
    let architectures = std::fs::read_dir("/usr/lib").expect("libraries").flatten();
    let mut paths = architectures.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let path = paths.find(|path| path.exists());
    path.expect("this test needs `faketime`: install it (Debian: apt install faketime)")
        .to_str()
        .expect("text")
        .to_owned()
}
