//! A log while Redis is away, and after Redis has lost entries.

use redis::{Cmd, Value, cmd};
use support::log::{Told, keep, pending, revoked, soon, told};
use support::proxy::Proxy;
use support::redis::{Persistence, RedisServer, STREAM, entries, layer, open};
use tower_polar_logout::log::{Kept, LogFuture, RevocationLog};
use tower_polar_logout::{LogoutOutcome, RedisLog, Revocation, TokenHash};

const SESSION: &str = "session-0123456789";

async fn kept_for_now(log: &RedisLog, n: usize) -> LogFuture<'static, ()> {
    match soon(log.append(vec![revoked(n)])).await.expect("kept") {
        Kept::ForNow(written) => written,
        Kept::Durably => panic!("Redis is away"),
    }
}

/// They are kept for now, and written once Redis is back.
#[tokio::test]
async fn appends_are_held_while_redis_is_dead() {
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

/// Appends are kept for now if Redis does not answer in time.
#[tokio::test]
async fn frozen_redis_loses_no_append() {
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

/// The connection is cut or frozen.
#[tokio::test]
async fn broken_connection_is_reported_and_restored() {
    let redis = RedisServer::start("redis-line").await;
    let proxy = Proxy::start(redis.port()).await;
    let (one, two) = (open(&redis.url()), open(&proxy.url()));
    keep(&two, vec![revoked(0)]).await;
    let mut seen = told(&two).await;
    for (n, harm) in [(1, Proxy::cut as fn(&Proxy)), (2, Proxy::freeze), (3, Proxy::cut)] {
        harm(&proxy);
        let held = kept_for_now(&two, 10 + n).await;
        keep(&one, vec![revoked(n)]).await;
        let error = soon(two.follow(seen.cursor.clone())).await.expect_err("no connection");
        assert!(error.to_string().contains("the Redis at 127.0.0.1:"), "{error}");
        proxy.mend();
        seen.until(&two, |seen| seen.has(n) && seen.has(10 + n)).await;
        soon(held).await.expect("written");
    }
    assert_eq!(seen.losses, 0);
}

/// It is written a few times at most.
#[tokio::test]
async fn large_append_gets_through_a_slow_connection() {
    let redis = RedisServer::start("redis-slow").await;
    let proxy = Proxy::start(redis.port()).await;
    let log = open(&proxy.url());
    keep(&log, vec![revoked(0)]).await;
    // The append takes about three seconds; the first attempt gets one.
    proxy.slow_down(50_000);
    match soon(log.append((1..=1_000).map(pending).collect())).await.expect("kept") {
        Kept::ForNow(written) => soon(written).await.expect("written"),
        Kept::Durably => panic!("the connection is too slow for that"),
    }
    keep_durably(&log, 2_000).await;
    let count: usize = redis.ask(cmd("XLEN").arg(STREAM)).await;
    // An attempt that timed out arrives later. Each attempt has twice as long as the one before.
    assert!((3..9).contains(&count), "{count} entries");
    let seen = told(&open(&redis.url())).await;
    assert_eq!((seen.expiries.len(), seen.sealed.len()), (1_002, 1_000));
}

#[tokio::test]
async fn held_events_outlive_a_dropped_layer() {
    let mut redis = RedisServer::start("redis-dropped-layer").await;
    let log = RedisLog::connect(&redis.url()).expect("a URL");
    let layer = layer(log).build().await.expect("a layer");
    redis.kill().await;
    let session = Revocation::session_id(SESSION).expect("a session id");
    assert_eq!(soon(layer.handle().revoke([session])).await, LogoutOutcome::Pending);
    drop(layer);
    redis.start_again().await;
    let hash = TokenHash::of(SESSION);
    let log = open(&redis.url());
    Told::default().until(&log, |seen| seen.expiries.contains_key(hash.as_bytes())).await;
}

#[tokio::test]
async fn closed_idle_connection_is_no_outage() {
    let redis = RedisServer::start("redis-idle").await;
    let log = open(&redis.url());
    keep(&log, vec![revoked(1)]).await;
    let mut seen = told(&log).await;
    for n in 2..10 {
        redis.ask::<Value>(cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal")).await;
        // Meanwhile the writer notices the closed connection too.
        soon(async { while log.follow(seen.cursor.clone()).await.is_err() {} }).await;
        keep(&log, vec![revoked(n)]).await;
        seen.until(&log, |seen| seen.has(n)).await;
    }
}

/// They are kept for now until Redis accepts writes again.
#[tokio::test]
async fn full_or_read_only_redis_holds_appends() {
    let redis = RedisServer::start("redis-full").await;
    let log = open(&redis.url());
    keep(&log, vec![revoked(0)]).await;
    let set = |name: &str, value: &str| {
        let mut command = cmd("CONFIG");
        command.arg("SET").arg(name).arg(value);
        command
    };
    let replica_of = |host: &str, port: &str| {
        let mut command = cmd("REPLICAOF");
        command.arg(host).arg(port);
        command
    };
    let harms: [(usize, Cmd, Cmd); 3] = [
        (1, set("maxmemory", "1"), set("maxmemory", "0")),
        (2, replica_of("127.0.0.1", "1"), replica_of("NO", "ONE")),
        (3, set("min-replicas-to-write", "1"), set("min-replicas-to-write", "0")),
    ];
    for (n, harm, repair) in harms {
        redis.ask::<()>(harm).await;
        let held = kept_for_now(&log, n).await;
        let at_once = kept_for_now(&log, 10 + n).await;
        redis.ask::<()>(repair).await;
        soon(held).await.expect("written");
        soon(at_once).await.expect("written");
    }
    let seen = told(&log).await;
    assert_eq!(seen.expiries.len(), 7);
}

/// Redis lost them before the log had read them back.
#[tokio::test]
async fn acknowledged_entries_are_written_again_if_lost() {
    let redis = RedisServer::start("redis-unseen").await;
    let (one, two) = (open(&redis.url()), open(&redis.url()));
    keep(&one, vec![pending(1)]).await;
    keep(&one, vec![revoked(2)]).await;
    redis.flush_all().await;
    let mut seen = Told::default();
    seen.until(&one, |seen| seen.has(1) && seen.has(2)).await;
    let seen = told(&two).await;
    assert!(seen.has(1) && seen.has(2) && seen.sealed.len() == 1);
}

#[tokio::test]
async fn empty_redis_is_reported_as_one_loss() {
    let mut redis = RedisServer::start("redis-empty").await;
    let (one, two) = (open(&redis.url()), open(&redis.url()));
    keep(&one, vec![revoked(1)]).await;
    let mut seen = told(&two).await;
    redis.kill().await;
    redis.start_empty().await;
    seen.until(&two, |seen| seen.losses == 1).await;
    keep_durably(&one, 2).await;
    seen.until(&two, |seen| seen.has(2)).await;
    assert_eq!(seen.losses, 1, "the loss is reported once");
}

/// Waits until the event is written, also if Redis is not known to be back.
async fn keep_durably(log: &RedisLog, n: usize) {
    match soon(log.append(vec![revoked(n)])).await.expect("kept") {
        Kept::ForNow(written) => soon(written).await.expect("written"),
        Kept::Durably => {}
    }
}

#[tokio::test]
async fn restored_older_copy_is_reported_as_loss() {
    let redis = RedisServer::start("redis-older").await;
    let (one, two) = (open(&redis.url()), open(&redis.url()));
    keep(&one, vec![revoked(1)]).await;
    let copy: Vec<u8> = redis.ask(cmd("DUMP").arg(STREAM)).await;
    keep(&one, vec![revoked(2)]).await;
    let mut seen = told(&two).await;
    assert!(seen.has(2));

    let mut restore = cmd("RESTORE");
    restore.arg(STREAM).arg(0).arg(copy).arg("REPLACE");
    redis.ask::<()>(restore).await;
    seen.until(&two, |seen| seen.losses == 1).await;
    // The writer has not read its entry back, so it knows that the entry is lost.
    Told::default().until(&one, |seen| seen.has(2)).await;
    let seen = told(&open(&redis.url())).await;
    assert!(seen.has(1) && seen.has(2));
}

/// Redis syncs once a second. The log writes lost entries again.
#[tokio::test]
async fn crash_that_loses_a_second_loses_nothing() {
    let options = &["--no-appendfsync-on-rewrite", "no"];
    let mut redis =
        RedisServer::start_with("redis-everysec", Persistence::EverySecond, options).await;
    let log = open(&redis.url());
    let mut seen = Told::default();
    for n in 0..5 {
        keep_durably(&log, n).await;
        redis.kill().await;
        redis.start_again().await;
        seen.until(&log, |seen| seen.has(n)).await;
    }
    keep_durably(&log, 5).await;
    seen.until(&log, |seen| seen.has(5)).await;
}

/// Waits until a reader waits in Redis for an entry.
async fn until_blocked(redis: &RedisServer) {
    let mut info = String::new();
    while !info.contains("blocked_clients:1\r") {
        info = redis.ask(cmd("INFO").arg("clients")).await;
    }
}

/// Runs the commands while `log` waits for an entry.
async fn while_it_waits(
    redis: &RedisServer,
    log: &RedisLog,
    seen: &mut Told,
    commands: &[Cmd],
) -> Result<(), tower_polar_logout::Error> {
    let harm = async {
        until_blocked(redis).await;
        for command in commands {
            redis.ask::<Value>(command).await;
        }
    };
    let (followed, ()) = soon(async { tokio::join!(log.follow(seen.cursor.clone()), harm) }).await;
    followed.map(|followed| seen.apply(followed))
}

/// The race: an entry is read, and is lost before the reader checks that the stream is the one it
/// knew. Perhaps no other replica has read it.
#[tokio::test]
async fn entry_read_just_before_a_loss_is_reported() {
    let redis = RedisServer::start("redis-read-and-lost").await;
    let log = open(&redis.url());
    keep(&log, vec![revoked(1)]).await;
    let mut seen = told(&log).await;
    let entry = entries(&redis, &redis.url(), [revoked(2)].into_iter()).await.remove(0);

    let come_and_go = async {
        until_blocked(&redis).await;
        let mut connection = redis.connection().await;
        let mut commands = redis::pipe();
        // Sent together, they run before any command of the reader.
        commands.cmd("XADD").arg(STREAM).arg("*").arg("e").arg(entry).ignore();
        commands.cmd("FLUSHALL").ignore();
        commands.exec_async(&mut connection).await.expect("done");
    };
    let follow = log.follow(seen.cursor.clone());
    let (followed, ()) = soon(async { tokio::join!(follow, come_and_go) }).await;
    seen.apply(followed.expect("an answer"));
    assert_eq!((seen.losses, seen.has(2)), (1, true));
}

fn stream_command(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = cmd(name);
    command.arg(STREAM).arg(arguments);
    command
}

#[tokio::test]
async fn stream_change_is_noticed_while_waiting() {
    let redis = RedisServer::start("redis-changes").await;
    let log = open(&redis.url());
    keep(&log, vec![revoked(1)]).await;
    let mut seen = told(&log).await;
    let (delete, add_lower) =
        (stream_command("DEL", &[]), stream_command("XADD", &["1-1", "e", "x"]));
    let add_higher = stream_command("XADD", &["*", "e", "x"]);

    while_it_waits(&redis, &log, &mut seen, &[cmd("FLUSHALL")]).await.expect("an answer");
    assert_eq!((seen.losses, seen.skipped), (1, 0), "emptied");

    keep(&log, vec![revoked(2)]).await;
    seen.catch_up(&log).await;
    while_it_waits(&redis, &log, &mut seen, &[delete.clone(), add_lower]).await.expect("an answer");
    assert_eq!((seen.losses, seen.skipped), (2, 1), "created again, with lower ids");

    while_it_waits(&redis, &log, &mut seen, &[delete.clone(), add_higher])
        .await
        .expect("an answer");
    assert_eq!((seen.losses, seen.skipped), (3, 2), "created again, with higher ids");

    let replace = stream_command("SET", &["x"]);
    let error =
        while_it_waits(&redis, &log, &mut seen, &[replace]).await.expect_err("not a stream");
    assert!(error.to_string().contains("not a stream"), "{error}");
    redis.ask::<()>(delete).await;
    seen.until(&log, |seen| seen.losses == 4).await;
}
