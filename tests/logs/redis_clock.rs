//! What becomes of revocations when the clock of Redis is set: nothing expires early.

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

/// The race: a revocation is stored by a clock that is late, the clock is put right, and a replica
/// starts, for which it has expired long ago.
#[tokio::test]
async fn what_is_in_the_stream_when_the_clock_is_set_forward_is_appended_again() {
    let redis = RedisServer::start("redis-clock-forward").await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set_clock(-40 * DAY);
    let replica = || layer(RedisLog::connect(&proxy.url()).expect("a URL")).build();
    let here = replica().await.expect("a layer").handle();
    let session = Revocation::session_id(SESSION).expect("one");
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

/// The race: the clock is set after one append and before the next, which is written by the clock
/// as it was.
#[tokio::test]
async fn what_is_written_just_when_the_clock_is_set_forward_is_written_once_more() {
    let redis = RedisServer::start("redis-clock-write").await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set_clock(-40 * DAY);
    let log = open(&proxy.url());
    keep(&log, vec![revoked(1)]).await;
    proxy.set_clock(0);
    let begun = SystemTime::now();
    keep(&log, vec![revoked(2)]).await;
    let seen = told(&open(&redis.url())).await;
    assert!(seen.expiries[hash(2).as_bytes()] >= begun + HOUR, "or it would not hold at all");
    keep(&log, vec![revoked(3)]).await;
    assert_eq!(entries(&redis).await, 4, "the second one twice, and no other");
}

#[tokio::test]
async fn a_clock_that_is_set_back_loses_nothing_and_costs_nothing() {
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

/// By less than the time that a read may wait, nobody can tell: a clock that is slewed is no loss.
#[tokio::test]
async fn a_clock_that_is_put_right_by_a_moment_is_no_loss() {
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
