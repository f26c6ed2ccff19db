//! Measures a log in Redis:
//!
//! - the memory of each entry
//! - the time to write and to read a million entries
//! - the start of a replica that reads a million entries
//! - the time from a revocation at one replica to its denial at another
//!
//! `cargo bench --bench redis`, with a `redis-server` installed. It takes about two minutes.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::cmd;
use support::log::{delivered, pending, revoked};
use support::redis::{RedisServer, layer};
use tower_polar_logout::log::{Event, RevocationLog};
use tower_polar_logout::{LogoutHandle, RedisLog, Revocation};

const ENTRIES: usize = 1_000_000;
const AT_ONCE: usize = 50_000;
const TRAVELS: usize = 2_000;

#[tokio::main]
async fn main() {
    let redis = RedisServer::start("bench-redis").await;
    println!("| a million entries, each | bytes | written | read | read and denied by a replica |");
    println!("|---|---|---|---|---|");
    for (name, event) in [
        ("revoked, delivered already", revoked as fn(usize) -> Event),
        ("revoked, with its sealed token", pending),
        ("delivered", delivered),
    ] {
        let written = write(&redis, name, event).await;
        let bytes: usize =
            redis.ask(cmd("MEMORY").arg("USAGE").arg(name).arg("SAMPLES").arg(0)).await;
        let read = read(&redis, name).await;
        let begun = Instant::now();
        let replica = replica(&redis, name).await;
        let started = begun.elapsed();
        println!(
            "| {name} | {} | {} | {} | {}, {} denied |",
            bytes / ENTRIES,
            rate(written),
            rate(read),
            rate(started),
            replica.counts().revoked
        );
        drop(replica);
        redis.flush_all().await;
    }
    travel(&redis).await;
}

fn rate(took: Duration) -> String {
    let thousands = ENTRIES as u128 / took.as_millis().max(1);
    format!("{took:.2?} ({thousands},000/s)")
}

fn open(redis: &RedisServer, stream: &str) -> RedisLog {
    RedisLog::connect(&redis.url()).expect("a URL").stream(stream)
}

async fn replica(redis: &RedisServer, stream: &str) -> LogoutHandle {
    layer(open(redis, stream)).denylist_capacity(ENTRIES).build().await.expect("a layer").handle()
}

async fn write(redis: &RedisServer, stream: &str, event: fn(usize) -> Event) -> Duration {
    let log = open(redis, stream);
    log.assign("client").expect("assigned");
    let begun = Instant::now();
    for first in (0..ENTRIES).step_by(AT_ONCE) {
        let appends = (first..first + AT_ONCE).map(|n| log.append(vec![event(n)]));
        for kept in join_all(appends).await {
            kept.expect("kept");
        }
    }
    begun.elapsed()
}

async fn read(redis: &RedisServer, stream: &str) -> Duration {
    let log = open(redis, stream);
    log.assign("client").expect("assigned");
    let begun = Instant::now();
    let (mut cursor, mut events, mut is_current) = (None, 0, false);
    while !is_current {
        let followed = log.follow(cursor).await.expect("an answer");
        events += followed.events().len();
        (cursor, is_current) = (Some(followed.cursor().clone()), followed.is_current());
    }
    assert_eq!(events, ENTRIES);
    begun.elapsed()
}

/// Measures the time from the revocation at one replica to the denial at another.
async fn travel(redis: &RedisServer) {
    let (here, there) = (replica(redis, "travel").await, replica(redis, "travel").await);
    let mut took = Vec::new();
    for n in 0..TRAVELS {
        let session = format!("{n:016}");
        let begun = Instant::now();
        let revoked = here.revoke([Revocation::session_id(&session).expect("one")]);
        let denied = async {
            while !there.is_revoked(&session) {
                tokio::task::yield_now().await;
            }
            begun.elapsed()
        };
        took.push(tokio::join!(revoked, denied).1);
    }
    took.sort_unstable();
    let at = |percent: usize| took[TRAVELS * percent / 100 - 1];
    println!(
        "\nfrom revoked at one replica to denied at another, {TRAVELS} times: p50 {:.2?}, p99 {:.2?}",
        at(50),
        at(99)
    );
}
