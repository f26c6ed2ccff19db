//! Errors about a Redis that cannot be used: they say what to do, and hold no secret.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::cmd;
use support::events;
use support::log::{keep, revoked, soon, told};
use support::proxy::Proxy;
use support::redis::{Persistence, RedisServer, STREAM, layer};
use support::tls::{Authority, terminate_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower_polar_logout::log::{Kept, RevocationLog};
use tower_polar_logout::{Error, RedisLog};
use tracing::subscriber::DefaultGuard;

const SECRET: &str = "a-secret-password";

fn open(log: RedisLog) -> RedisLog {
    log.assign("client").expect("assigned");
    log
}

fn connect(url: &str) -> RedisLog {
    open(RedisLog::connect(url).expect("a URL"))
}

fn all_texts(error: &Error) -> String {
    let mut texts = vec![format!("{error} {error:?}")];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(format!("{error} {error:?}"));
        source = error.source();
    }
    texts.join(" ")
}

/// The log can neither be followed nor appended to durably.
async fn refused(log: RedisLog, hint: &str) {
    refused_to_read(&log, hint).await;
    let kept = soon(log.append(vec![revoked(1)])).await.expect("kept");
    assert!(matches!(kept, Kept::ForNow(_)), "{hint}");
}

async fn refused_to_read(log: &RedisLog, hint: &str) {
    let error = soon(log.follow(None)).await.expect_err(hint);
    let texts = all_texts(&error);
    assert!(error.to_string().contains(hint), "expected {hint:?}: {error}");
    assert!(!texts.contains(SECRET) && !format!("{log:?}").contains(SECRET), "{texts} {log:?}");
}

fn with_secret(url: &str) -> String {
    url.replace("redis://", &format!("redis://:{SECRET}@"))
}

#[tokio::test]
async fn connection_error_says_why_redis_refuses() {
    let free = RedisServer::start("redis-no-password").await;
    let locked =
        RedisServer::start_with("redis-password", Persistence::None, &["--requirepass", SECRET])
            .await;
    refused(connect(&with_secret(&free.url())), "has no password set").await;
    refused(connect(&locked.url()), "requires a password").await;
    let wrong = locked.url().replace("redis://", "redis://:wrong@");
    refused(connect(&wrong), "refuses the user or the password").await;
    let nobody = locked.url().replace("redis://", &format!("redis://nobody:{SECRET}@"));
    refused(connect(&nobody), "refuses the user or the password").await;
    let database = format!("{}/99", with_secret(&locked.url()));
    refused(connect(&database), "has no database 99").await;

    let log = connect(&with_secret(&locked.url()));
    keep(&log, vec![revoked(1)]).await;
    assert!(told(&log).await.has(1));
}

#[tokio::test]
async fn documented_rights_are_sufficient() {
    let redis = RedisServer::start("redis-acl").await;
    let allow = |user: &str, rights: &[&str]| {
        let mut command = cmd("ACL");
        command.arg("SETUSER").arg(user).arg("on").arg(format!(">{SECRET}")).arg(rights);
        command
    };
    let rights =
        ["~polar-logout:*", "+xadd", "+xread", "+xrange", "+xtrim", "+time", "+multi", "+exec"];
    redis.ask::<()>(allow("app", &rights)).await;
    redis.ask::<()>(allow("guest", &["~*", "+time"])).await;
    let of = |user: &str| redis.url().replace("redis://", &format!("redis://{user}:{SECRET}@"));

    let log = connect(&of("app"));
    keep(&log, (0..2_500).map(revoked).collect()).await;
    let mut seen = told(&log).await;
    seen.catch_up(&log).await;
    assert_eq!(seen.expiries.len(), 2_500);
    let log: String = redis.ask(cmd("INFO").arg("commandstats")).await;
    assert!(log.contains("cmdstat_xtrim:calls=2,"), "one call tests the permission: {log}");

    redis.ask::<()>(allow("reader", &["~*", "+xread", "+xrange", "+time"])).await;
    refused(connect(&of("reader")), "does not permit this command for this user").await;
    refused(connect(&of("guest")), "does not permit this command for this user").await;
}

#[tokio::test]
async fn build_refuses_a_read_only_replica() {
    let redis = RedisServer::start("redis-replica").await;
    redis.ask::<()>(cmd("REPLICAOF").arg("127.0.0.1").arg("1")).await;
    let hint = "is a replica, which accepts no writes: give the URL of the primary";
    refused(connect(&redis.url()), hint).await;
    let layer = layer(RedisLog::connect(&redis.url()).expect("a URL"));
    let error = soon(layer.build()).await.expect_err("it accepts no writes");
    assert!(error.to_string().contains(hint), "{error}");
}

#[tokio::test]
async fn error_says_why_a_redis_is_unusable() {
    let redis = RedisServer::start("redis-wrong-type").await;
    redis.ask::<()>(cmd("SET").arg(STREAM).arg("x")).await;
    refused(connect(&redis.url()), "not a stream: choose another key with `stream()`").await;

    let cluster =
        RedisServer::start_with("redis-cluster", Persistence::None, &["--cluster-enabled", "yes"])
            .await;
    refused(connect(&cluster.url()), "Redis Cluster").await;

    let old =
        RedisServer::start_with("redis-old", Persistence::None, &["--rename-command", "XREAD", ""])
            .await;
    refused_to_read(&connect(&old.url()), "use Redis 6.2 or newer").await;

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://:{SECRET}@{}", closed.local_addr().expect("an address"));
    drop(closed);
    refused(connect(&url), "cannot be reached").await;
    refused(connect(&format!("redis://:{SECRET}@nowhere.invalid")), "cannot be reached").await;

    let proxy = Proxy::start(redis.port()).await;
    proxy.freeze();
    refused(connect(&with_secret(&proxy.url())), "does not answer in time").await;
    proxy.cut();
    refused(connect(&with_secret(&proxy.url())), "has closed the connection").await;
}

/// Computes the answer to the bytes that were received.
type Answer = fn(&[u8]) -> Vec<u8>;

async fn server(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&answer(&buffer[..length])).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// Such a server may repeat the password. The error does not.
#[tokio::test]
async fn error_says_if_the_server_is_not_redis() {
    let answers: [Answer; 6] = [
        |_| b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec(),
        <[u8]>::to_vec,
        |_| b"$-7\r\n".to_vec(),
        |_| b"*2\r\n$1\r\n1\r\n$1\r\nx\r\n".to_vec(),
        |_| vec![0xff; 100],
        |_| b"+OK\r\n".to_vec(),
    ];
    for answer in answers {
        let url = server(answer).await;
        refused(connect(&with_secret(&url)), "answers, but not as Redis does").await;
    }
    let repeats: [Answer; 2] = [
        |_| b"-ERR unknown command 'AUTH', with args: 'a-secret-password'\r\n".to_vec(),
        |_| b"-a-secret-password a-secret-password\r\n".to_vec(),
    ];
    for answer in repeats {
        let url = server(answer).await;
        refused(connect(&with_secret(&url)), "the Redis at 127.0.0.1:").await;
    }
}

#[tokio::test]
async fn tls_trusts_the_given_authority_alone() {
    let redis =
        RedisServer::start_with("redis-tls", Persistence::None, &["--requirepass", SECRET]).await;
    let authority = Authority::new();
    let plain = format!("127.0.0.1:{}", redis.port());
    let port = terminate_tls(authority.acceptor(&[]), plain).await;
    let url = |host: &str, port: u16| format!("rediss://:{SECRET}@{host}:{port}");
    let trusting = |url: &str, authority: &Authority| {
        open(RedisLog::connect(url).expect("a URL").root_certificates(authority.pem()))
    };

    let log = trusting(&url("localhost", port), &authority);
    keep(&log, vec![revoked(1)]).await;
    assert!(told(&log).await.has(1));

    let hint = "did not complete the TLS handshake";
    refused(trusting(&url("localhost", port), &Authority::new()), hint).await;
    refused(trusting(&url("127.0.0.1", port), &authority), hint).await;
    refused(trusting(&url("localhost", redis.port()), &authority), hint).await;
    let unencrypted = url("localhost", port).replace("rediss:", "redis:");
    let error = soon(connect(&unencrypted).follow(None)).await.expect_err("TLS");
    assert!(!all_texts(&error).contains(SECRET));

    let log = RedisLog::connect(&url("localhost", port)).expect("a URL");
    let error = log.root_certificates("junk").assign("client").expect_err("no PEM");
    assert!(error.to_string().contains("give them in PEM"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn unix_socket_works() {
    // A socket's path must be short.
    let socket = std::env::temp_dir().join(format!("polar-logout-{}.sock", std::process::id()));
    let path = socket.to_str().expect("text");
    let _redis =
        RedisServer::start_with("redis-socket", Persistence::None, &["--unixsocket", path]).await;
    let log = connect(&format!("unix://{path}"));
    keep(&log, vec![revoked(1)]).await;
    assert!(told(&log).await.has(1));
    drop(log);
    let _ = std::fs::remove_file(&socket);
}

/// The log lines of this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("text").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    /// Listens until the guard is dropped.
    fn start() -> (Self, DefaultGuard) {
        let logged = Self::default();
        let writer = logged.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (logged, events::listen(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("text")).into_owned()
    }

    fn count(&self, text: &str) -> usize {
        self.text().matches(text).count()
    }
}

/// The line about its end counts the revocations that were written.
#[tokio::test]
async fn outage_is_logged_with_reason_and_end() {
    let (logged, _guard) = Logged::start();
    let mut redis =
        RedisServer::start_with("redis-logged", Persistence::Always, &["--requirepass", SECRET])
            .await;
    let log = connect(&with_secret(&redis.url()));
    keep(&log, vec![revoked(0)]).await;
    redis.kill().await;
    let mut held = Vec::new();
    for n in 1..=3 {
        match soon(log.append(vec![revoked(n)])).await.expect("kept") {
            Kept::ForNow(written) => held.push(written),
            Kept::Durably => panic!("Redis is away"),
        }
    }
    redis.start_again().await;
    for written in held {
        soon(written).await.expect("written");
    }
    keep(&log, vec![revoked(4)]).await;
    let text = logged.text();
    assert_eq!(logged.count("INFO"), 1, "{text}");
    assert!(logged.count("written=3") == 1 && logged.count("held in memory") >= 1, "{text}");
    assert!(logged.count("cannot be reached") <= 2, "{text}");
    assert_eq!(logged.count(SECRET), 0, "{text}");
}

/// The log tries again several times.
#[tokio::test]
async fn repeated_failure_is_one_warning() {
    let (logged, _guard) = Logged::start();
    let redis = RedisServer::start("redis-logged-once").await;
    let proxy = Proxy::start(redis.port()).await;
    let log = connect(&proxy.url());
    keep(&log, vec![revoked(0)]).await;
    proxy.freeze();
    let Kept::ForNow(written) = soon(log.append(vec![revoked(1)])).await.expect("kept") else {
        panic!("nothing gets through");
    };
    // Nothing reports an attempt. Each takes a second, with a short pause between them.
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.mend();
    soon(written).await.expect("written");
    keep(&log, vec![revoked(2)]).await;
    let text = logged.text();
    assert_eq!((logged.count("WARN"), logged.count("INFO")), (1, 1), "{text}");
    assert!(text.contains("does not answer in time") && text.contains("written=1"), "{text}");
}

#[tokio::test]
async fn refused_transaction_is_logged_with_its_reason() {
    let (logged, _guard) = Logged::start();
    let redis = RedisServer::start("redis-logged-transaction").await;
    redis.ask::<()>(cmd("SET").arg(STREAM).arg("x")).await;
    let log = connect(&redis.url());
    let kept = soon(log.append((0..2_500).map(revoked).collect())).await.expect("kept");
    assert!(matches!(kept, Kept::ForNow(_)));
    let text = logged.text();
    assert!(text.contains("that is not a stream"), "{text}");
}

/// Its end is not logged either.
#[tokio::test]
async fn outage_without_appends_is_not_logged() {
    let (logged, _guard) = Logged::start();
    let mut redis = RedisServer::start("redis-not-logged").await;
    redis.kill().await;
    let log = connect(&redis.url());
    // Once the reader has tried to connect, the writer has too.
    refused_to_read(&log, "cannot be reached").await;
    redis.start_again().await;
    let connected = async {
        let mut connection = redis.connection().await;
        let mut info = String::new();
        while !info.contains("connected_clients:2\r") {
            tokio::time::sleep(Duration::from_millis(10)).await;
            info =
                cmd("INFO").arg("clients").query_async(&mut connection).await.expect("an answer");
        }
    };
    soon(connected).await;
    match soon(log.append(vec![revoked(1)])).await.expect("kept") {
        Kept::Durably => {}
        // The writer is about to notice that Redis is back.
        Kept::ForNow(written) => soon(written).await.expect("written"),
    }
    let text = logged.text();
    assert_eq!((logged.count("WARN"), logged.count("INFO")), (0, 0), "{text}");
}
