//! What becomes of revocations in a Redis: between replicas, and whatever happens to it.

mod common;

use std::time::Duration;

use common::log::{Told, delivered, keep, pending, revoked, soon, told};
use common::proxy::Proxy;
use common::redis::{Persistence, RedisServer};
use redis::cmd;
use tower_polar_logout::{Error, Kept, LogFuture, RedisLog, RevocationLog};

const STREAM: &str = "polar-logout:client";

/// A replica's.
fn open(url: &str) -> RedisLog {
    let log = RedisLog::connect(url).expect("a URL");
    log.assign("client").expect("assigned");
    log
}

async fn kept_for_now(log: &RedisLog, n: usize) -> LogFuture<'static, ()> {
    match soon(log.append(vec![revoked(n)])).await.expect("kept") {
        Kept::ForNow(written) => written,
        Kept::Durably => panic!("Redis is away"),
    }
}

/// How many entries the stream has.
async fn length(redis: &RedisServer) -> usize {
    redis.ask(cmd("XLEN").arg(STREAM)).await
}

#[tokio::test]
async fn what_one_replica_appends_another_is_told_and_what_comes_later_at_once() {
    let redis = RedisServer::start("redis-two").await;
    let (one, two) = (open(&redis.url()), open(&redis.url()));
    keep(&one, vec![pending(1), revoked(2)]).await;
    keep(&one, vec![delivered(1)]).await;

    let mut seen = told(&two).await;
    assert!(seen.has(1) && seen.has(2) && seen.sealed.len() == 1 && seen.delivered.len() == 1);

    let waiting = seen.until(&two, |seen| seen.has(3));
    let appending = keep(&one, vec![revoked(3)]);
    tokio::join!(waiting, appending);
    assert_eq!(seen.losses, 0);
    assert_eq!(told(&one).await.expiries.len(), 3, "and so is the one itself");
}

#[tokio::test]
async fn who_goes_on_from_a_cursor_is_told_what_came_after_it_only() {
    let redis = RedisServer::start("redis-cursor").await;
    let log = open(&redis.url());
    keep(&log, vec![revoked(1)]).await;
    let mut seen = told(&log).await;
    keep(&log, vec![revoked(2)]).await;
    drop(log);
    seen.expiries.clear();
    seen.catch_up(&open(&redis.url())).await;
    assert!(!seen.has(1) && seen.has(2));
}

#[tokio::test]
async fn a_follow_that_is_dropped_leaves_no_answer_behind_for_the_next() {
    let redis = RedisServer::start("redis-dropped-follow").await;
    let (one, two) = (open(&redis.url()), open(&redis.url()));
    keep(&one, vec![revoked(0)]).await;
    let mut seen = told(&two).await;
    for n in 1..20 {
        let before = seen.cursor.clone();
        tokio::select! {
            biased;
            _ = two.follow(before) => {}
            () = keep(&one, vec![revoked(n)]) => {}
        }
        seen.until(&two, |seen| seen.has(n)).await;
    }
    assert_eq!((seen.losses, seen.skipped), (0, 0));
}

#[tokio::test]
async fn while_redis_is_dead_appends_are_kept_for_now_and_written_once_it_is_back() {
    let mut redis = RedisServer::start_with("redis-dead", Persistence::Always, &[]).await;
    let (one, two) = (open(&redis.url()), open(&redis.url()));
    keep(&one, vec![revoked(1)]).await;
    let mut seen = told(&two).await;
    redis.kill().await;
    let mut held = Vec::new();
    for n in 2..50 {
        held.push(kept_for_now(&one, n).await);
    }
    assert!(soon(two.follow(seen.cursor.clone())).await.is_err());

    redis.start_again().await;
    for written in held {
        soon(written).await.expect("written");
    }
    seen.until(&two, |seen| seen.expiries.len() == 49).await;
    assert_eq!(seen.losses, 0);
    keep(&one, vec![revoked(50)]).await;
}

#[tokio::test]
async fn a_redis_that_answers_nothing_holds_an_append_up_for_a_second_and_loses_nothing() {
    let redis = RedisServer::start("redis-frozen").await;
    let log = open(&redis.url());
    keep(&log, vec![revoked(1)]).await;
    redis.stop().await;
    let first = kept_for_now(&log, 2).await;
    let second = kept_for_now(&log, 3).await;
    redis.resume().await;
    soon(first).await.expect("written");
    soon(second).await.expect("written");
    let seen = told(&log).await;
    assert!(seen.has(1) && seen.has(2) && seen.has(3));
}

#[tokio::test]
async fn a_line_that_is_cut_or_frozen_is_told_of_and_mends_itself() {
    let redis = RedisServer::start("redis-line").await;
    let proxy = Proxy::start(redis.port()).await;
    let (one, two) = (open(&redis.url()), open(&proxy.url()));
    keep(&two, vec![revoked(0)]).await;
    let mut seen = told(&two).await;
    for (n, harm) in [(1, Proxy::cut as fn(&Proxy)), (2, Proxy::freeze), (3, Proxy::cut)] {
        harm(&proxy);
        let held = kept_for_now(&two, 10 + n).await;
        keep(&one, vec![revoked(n)]).await;
        let error = soon(two.follow(seen.cursor.clone())).await.expect_err("no line");
        assert!(error.to_string().contains("the Redis at 127.0.0.1:"), "{error}");
        proxy.mend();
        seen.until(&two, |seen| seen.has(n) && seen.has(10 + n)).await;
        soon(held).await.expect("written");
    }
    assert_eq!(seen.losses, 0);
}
