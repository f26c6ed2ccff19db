//! A log in Redis: its entries, its readers, and when it is trimmed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use redis::cmd;
use support::log::{HOUR, delivered, hash, keep, pending, revoked, soon, told};
use support::proxy::Proxy;
use support::redis::{RedisServer, STREAM, entries, layer, open};
use tower_polar_logout::log::{Event, Kept, RevocationLog};
use tower_polar_logout::{ErrorKind, RedisLog};

/// The number of entries in the stream.
async fn length(redis: &RedisServer) -> usize {
    redis.ask(cmd("XLEN").arg(STREAM)).await
}

/// Events that are appended while it waits reach it at once.
#[tokio::test]
async fn appended_events_reach_another_replica() {
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
    assert_eq!(told(&one).await.expiries.len(), 3, "the replica itself too");
}

#[tokio::test]
async fn cursor_skips_the_events_before_it() {
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

/// The next `follow` could take that answer for its own.
#[tokio::test]
async fn dropped_follow_leaves_no_answer_behind() {
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
async fn foreign_entries_are_skipped_and_counted() {
    let redis = RedisServer::start("redis-junk").await;
    let (one, two) = (open(&redis.url()), open(&redis.url()));
    keep(&one, vec![revoked(1)]).await;
    let newer = [&[2], &[0; 200][..]].concat();
    let large = vec![0xff; 100_000];
    let junk: [&[(&str, &[u8])]; 7] = [
        &[("e", b"")],
        &[("e", b"junk")],
        &[("e", &newer)],
        &[("e", &[1; 17 + 20])],
        &[("other", b"field")],
        &[("e", b"two"), ("f", b"fields")],
        &[("e", &large)],
    ];
    for fields in junk {
        let mut add = cmd("XADD");
        add.arg(STREAM).arg("*");
        for (name, value) in fields {
            add.arg(name).arg(*value);
        }
        redis.ask::<String>(add).await;
    }
    keep(&one, vec![revoked(2)]).await;
    let seen = told(&two).await;
    assert!(seen.has(1) && seen.has(2) && seen.expiries.len() == 2);
    assert_eq!(seen.skipped, 7);
}

#[tokio::test]
async fn ten_thousand_appends_at_once_are_all_kept() {
    let redis = RedisServer::start("redis-many").await;
    let log = open(&redis.url());
    let appends: Vec<_> = (0..10_000).map(|n| log.append(vec![pending(n)])).collect();
    for kept in soon(join_all(appends)).await {
        assert!(matches!(kept, Ok(Kept::Durably)));
    }
    let seen = told(&open(&redis.url())).await;
    assert_eq!((seen.expiries.len(), seen.sealed.len()), (10_000, 10_000));
}

/// An append is one entry. A very large one is several, in one transaction.
#[tokio::test]
async fn large_append_is_one_transaction() {
    let redis = RedisServer::start("redis-large").await;
    let log = open(&redis.url());
    keep(&log, (0..1_000).map(pending).collect()).await;
    assert_eq!(length(&redis).await, 1);
    keep(&log, (1_000..3_500).map(pending).collect()).await;
    assert_eq!(length(&redis).await, 4);
    let calls: String = redis.ask(cmd("INFO").arg("commandstats")).await;
    assert!(calls.contains("cmdstat_exec:calls=1,"), "{calls}");
    let seen = told(&log).await;
    assert_eq!(seen.sealed.len(), 3_500);
    assert_eq!(length(&redis).await, 4, "it recognises its own entries");
}

#[tokio::test]
async fn log_and_its_clones_belong_to_one_layer() {
    let redis = RedisServer::start("redis-one-layer").await;
    let log = RedisLog::connect(&redis.url()).expect("a URL");
    for error in [
        log.append(vec![revoked(1)]).await.map(drop).expect_err("no layer"),
        log.follow(None).await.map(drop).expect_err("no layer"),
    ] {
        assert!(error.to_string().contains("does not belong to a layer yet"), "{error}");
    }
    let clone = log.clone();
    log.assign("client").expect("assigned");
    for log in [&log, &clone] {
        let error = log.assign("client").expect_err("in use");
        assert!(error.to_string().contains("in use by another layer"), "{error}");
    }
    keep(&clone, vec![revoked(1)]).await;
    assert!(told(&log).await.has(1));
}

/// The next attempt is another layer, which can have the log.
#[tokio::test]
async fn failed_build_releases_its_log() {
    let redis = RedisServer::start("redis-released").await;
    keep(&open(&redis.url()), (0..3).map(revoked).collect()).await;
    let log = RedisLog::connect(&redis.url()).expect("a URL");
    let build = |capacity| layer(log.clone()).denylist_capacity(capacity).build();
    build(1).await.expect_err("more than the capacity");
    assert_eq!(build(10).await.expect("room for all").handle().counts().revoked, 3);
}

#[tokio::test]
async fn unlimited_durations_are_allowed() {
    let redis = RedisServer::start("redis-unlimited").await;
    keep(&open(&redis.url()), vec![pending(1)]).await;
    let log = RedisLog::connect(&redis.url()).expect("a URL").adopt_after(Duration::MAX);
    let layer = layer(log).startup_timeout(Duration::MAX).max_log_lag(Duration::MAX);
    let handle = layer.build().await.expect("a layer").handle();
    assert_eq!((handle.counts().revoked, handle.counts().adopted), (1, 0));
    assert_eq!(handle.health().log_lag, None);
}

#[test]
fn assign_fails_without_a_runtime() {
    let log = RedisLog::connect("redis://localhost").expect("a URL");
    assert_eq!(log.assign("client").expect_err("no runtime").kind(), ErrorKind::Runtime);
}

#[tokio::test]
async fn apps_that_share_a_redis_stay_apart() {
    let redis = RedisServer::start("redis-two-clients").await;
    let other = RedisLog::connect(&redis.url()).expect("a URL");
    other.assign("other").expect("assigned");
    let named = RedisLog::connect(&redis.url()).expect("a URL").stream("my:own");
    named.assign("client").expect("assigned");
    let in_another_database = open(&format!("{}/3", redis.url()));
    let log = open(&redis.url());
    keep(&log, vec![revoked(1)]).await;
    for (n, log) in [(2, &other), (3, &named), (4, &in_another_database)] {
        keep(log, vec![revoked(n)]).await;
        let seen = told(log).await;
        assert!(seen.has(n) && seen.expiries.len() == 1);
    }
    assert_eq!(told(&log).await.expiries.len(), 1);
    let mut keys: Vec<String> = redis.ask(cmd("KEYS").arg("*")).await;
    keys.sort();
    assert_eq!(keys, ["my:own", STREAM, "polar-logout:other"]);
}

#[tokio::test]
async fn connections_end_with_the_last_handle() {
    let redis = RedisServer::start("redis-ends").await;
    let log = open(&redis.url());
    let clone = log.clone();
    keep(&log, vec![revoked(1)]).await;
    told(&log).await;
    drop(log);
    keep(&clone, vec![revoked(2)]).await;
    drop(clone);
    let alone = async {
        let mut connection = redis.connection().await;
        let mut info = String::new();
        while !info.contains("connected_clients:1\r") {
            info =
                cmd("INFO").arg("clients").query_async(&mut connection).await.expect("an answer");
        }
    };
    soon(alone).await;
}

/// Adds entries with the ids of some hours ago.
async fn add_long_ago(redis: &RedisServer, hours: u32, entries: &[Vec<u8>]) {
    let then = (SystemTime::now() - hours * HOUR).duration_since(UNIX_EPOCH).expect("a time");
    let mut connection = redis.connection().await;
    let mut commands = redis::pipe();
    for (n, entry) in entries.iter().enumerate() {
        let id = format!("{}-{n}", then.as_millis());
        commands.cmd("XADD").arg(STREAM).arg(id).arg("e").arg(entry).ignore();
    }
    commands.exec_async(&mut connection).await.expect("added");
}

#[tokio::test]
async fn only_expired_and_delivered_entries_are_trimmed() {
    let redis = RedisServer::start("redis-trim").await;
    let expired = |n| Event::Revoked {
        hash: hash(n),
        expires_at: SystemTime::now() - 10 * HOUR,
        sealed: None,
    };
    let old = entries(&redis, &redis.url(), (0..2_000).map(expired)).await;
    let undelivered = entries(&redis, &redis.url(), [pending(5_000)].into_iter()).await;
    add_long_ago(&redis, 9, &old[..1_000]).await;
    // It holds for nine hours from then on. Nothing is trimmed in that time.
    add_long_ago(&redis, 8, &undelivered).await;
    add_long_ago(&redis, 7, &old[1_000..]).await;

    let log = open(&redis.url());
    keep(&log, vec![revoked(6_000)]).await;
    let mut seen = told(&log).await;
    seen.catch_up(&log).await;
    assert_eq!(length(&redis).await, 2_002, "an entry from nine hours ago could still hold");

    redis.ask::<()>(cmd("DEL").arg(STREAM)).await;
    let long_expired = Event::Revoked {
        hash: hash(5_000),
        expires_at: UNIX_EPOCH,
        sealed: Some(support::log::sealed(5_000)),
    };
    let undelivered = entries(&redis, &redis.url(), [long_expired].into_iter()).await;
    add_long_ago(&redis, 9, &old[..1_000]).await;
    add_long_ago(&redis, 8, &undelivered).await;
    add_long_ago(&redis, 7, &old[1_000..]).await;
    let log = open(&redis.url());
    keep(&log, vec![revoked(6_000)]).await;
    let mut seen = told(&log).await;
    assert_eq!(length(&redis).await, 2_002, "nothing is trimmed before all is read");
    seen.catch_up(&log).await;
    // Redis trims whole nodes, of 100 entries each.
    let left = length(&redis).await;
    assert!((1_002..1_202).contains(&left), "{left}");
    let seen_by_another = told(&open(&redis.url())).await;
    assert!(seen_by_another.has(5_000) && seen_by_another.has(6_000), "neither was trimmed");

    keep(&log, vec![delivered(5_000)]).await;
    let another = open(&redis.url());
    told(&another).await.catch_up(&another).await;
    let left = length(&redis).await;
    assert!((2..202).contains(&left), "{left}");
    assert!(told(&open(&redis.url())).await.has(6_000));
    seen.catch_up(&log).await;
    assert_eq!(seen.losses, 0);
}

/// The race: a replica whose clock is ahead of Redis trims the stream. By its own clock it would
/// remove revocations that have not expired.
#[tokio::test]
async fn trimming_follows_the_clock_of_redis() {
    let redis = RedisServer::start("redis-trim-clock").await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set_clock(-24 * 3600);
    let living = entries(&redis, &proxy.url(), (0..1_000).map(revoked)).await;
    // Redis is a day behind.
    add_long_ago(&redis, 24, &living).await;
    let log = open(&proxy.url());
    let mut seen = told(&log).await;
    seen.catch_up(&log).await;
    let calls: String = redis.ask(cmd("INFO").arg("commandstats")).await;
    assert!(calls.contains("cmdstat_xtrim:calls=2,"), "one call tests the permission: {calls}");
    assert_eq!(length(&redis).await, 1_000, "they hold for another hour");
}
