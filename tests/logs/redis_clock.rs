//! The clock of Redis is set: no revocation expires early.

use std::time::{Duration, SystemTime};

use redis::cmd;
use support::log::{HOUR, Told, hash, keep, revoked, soon, told};
use support::proxy::Proxy;
use support::redis::{RedisServer, STREAM, layer, open};
use tower_polar_logout::{RedisLog, Revocation, TokenHash};

const SESSION: &str = "session-0123456789";
const DAY: i64 = 24 * 3600;

async fn entries(redis: &RedisServer) -> usize {
    redis.ask(cmd("XLEN").arg(STREAM)).await
}

/// The race: a revocation is stored by a clock that is behind, and the clock is corrected. For a
/// replica that starts then, the revocation has expired long ago.
#[tokio::test]
async fn revocations_are_appended_again_after_the_clock_jumps() {
    let redis = RedisServer::start("redis-clock-forward").await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set_clock(-40 * DAY);
    let replica = || layer(RedisLog::connect(&proxy.url()).expect("a URL")).build();
    let here = replica().await.expect("a layer").handle();
    let session = Revocation::session_id(SESSION).expect("a session id");
    soon(here.revoke([session])).await;

    proxy.set_clock(0);
    let hash = TokenHash::of(SESSION);
    let log = open(&proxy.url());
    let holds = |seen: &Told| {
        seen.expiries.get(hash.as_bytes()).is_some_and(|expires_at| *expires_at > SystemTime::now())
    };
    Told::default().until(&log, holds).await;
    let late = replica().await.expect("a layer").handle();
    assert!(here.is_revoked(SESSION) && late.is_revoked(SESSION));
}

/// The race: the clock is set between two appends. The second is written by the clock as it was.
#[tokio::test]
async fn append_during_a_clock_jump_is_written_again() {
    let redis = RedisServer::start("redis-clock-write").await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set_clock(-40 * DAY);
    let log = open(&proxy.url());
    keep(&log, vec![revoked(1)]).await;
    proxy.set_clock(0);
    let begun = SystemTime::now();
    keep(&log, vec![revoked(2)]).await;
    let seen = told(&open(&redis.url())).await;
    assert!(seen.expiries[hash(2).as_bytes()] >= begun + HOUR, "otherwise it would have expired");
    keep(&log, vec![revoked(3)]).await;
    assert_eq!(entries(&redis).await, 4, "only the second is written twice");
}

/// It costs no extra entry.
#[tokio::test]
async fn clock_set_back_loses_nothing() {
    let redis = RedisServer::start("redis-clock-back").await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set_clock(DAY);
    let log = open(&proxy.url());
    let begun = SystemTime::now();
    keep(&log, vec![revoked(1)]).await;
    let mut seen = told(&log).await;
    proxy.set_clock(0);
    keep(&log, vec![revoked(2)]).await;
    seen.until(&log, |seen| seen.has(2)).await;
    assert_eq!((seen.losses, entries(&redis).await), (0, 2));
    for seen in [seen, told(&open(&redis.url())).await] {
        for n in [1, 2] {
            assert!(seen.expiries[hash(n).as_bytes()] >= begun + HOUR);
        }
    }
}

/// A correction shorter than a read may wait cannot be noticed.
#[tokio::test]
async fn slewed_clock_is_no_loss() {
    let redis = RedisServer::start("redis-clock-slewed").await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set_clock(-1);
    let log = open(&proxy.url());
    keep(&log, vec![revoked(1)]).await;
    let mut seen = told(&log).await;
    proxy.set_clock(0);
    for _ in 0..2 {
        soon(seen.catch_up(&log)).await;
    }
    assert_eq!(seen.losses, 0);
    let late = told(&open(&redis.url())).await;
    let in_an_hour = SystemTime::now() + HOUR;
    assert!(late.expiries[hash(1).as_bytes()] >= in_an_hour - Duration::from_secs(30));
}
