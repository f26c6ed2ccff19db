//! How fast a stream is written and read, and what an entry of it takes. Prints, and asserts nothing
//! of time: `cargo test --release --test redis_rate -- --ignored --nocapture`.

mod common;

use std::time::Instant;

use common::log::{delivered, pending, revoked};
use common::redis::RedisServer;
use redis::cmd;
use tower_polar_logout::{Event, RedisLog, RevocationLog};

const ENTRIES: usize = 1_000_000;
const AT_ONCE: usize = 50_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, for minutes"]
async fn a_million_entries() {
    let redis = RedisServer::start("redis-rate").await;
    for (name, event) in [
        ("revoked", revoked as fn(usize) -> Event),
        ("revoked, with sealed token", pending),
        ("delivered", delivered),
    ] {
        let log = open(&redis, name);
        let started = Instant::now();
        for first in (0..ENTRIES).step_by(AT_ONCE) {
            let appends = (first..first + AT_ONCE).map(|n| log.append(vec![event(n)]));
            for kept in futures_util::future::join_all(appends).await {
                kept.expect("kept");
            }
        }
        let writing = started.elapsed().as_secs_f64();
        drop(log);

        let bytes: usize =
            redis.ask(cmd("MEMORY").arg("USAGE").arg(name).arg("SAMPLES").arg(0)).await;

        let log = open(&redis, name);
        let started = Instant::now();
        let (mut cursor, mut events, mut is_current) = (None, 0, false);
        while !is_current {
            let followed = log.follow(cursor).await.expect("an answer");
            events += followed.events.len();
            (cursor, is_current) = (Some(followed.cursor), followed.is_current);
        }
        let reading = started.elapsed().as_secs_f64();
        assert_eq!(events, ENTRIES);
        println!(
            "{name}: written in {writing:.2} s, read in {reading:.2} s {} bytes each",
            bytes / ENTRIES
        );
    }
}

fn open(redis: &RedisServer, stream: &str) -> RedisLog {
    let log = RedisLog::connect(&redis.url()).expect("a URL").stream(stream);
    log.assign("client").expect("assigned");
    log
}
