//! A Redis of a test's own, and who uses it.

use std::process::Stdio;

use futures_util::future::join_all;
use http::Method;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tower_polar_logout::log::{Event, RevocationLog};
use tower_polar_logout::{
    ClientCredentials, PolarLogoutLayer, PolarLogoutLayerBuilder, PolarServer, RedisLog,
    TokenLocation,
};

use super::folder::Folder;

/// The key of what [`open`] and [`layer`] use.
pub const STREAM: &str = "polar-logout:client";

/// A replica's log.
pub fn open(url: &str) -> RedisLog {
    let log = RedisLog::connect(url).expect("a URL");
    log.assign("client").expect("assigned");
    log
}

/// A replica's layer. Nobody is there where it looks for Polar.
pub fn layer(log: RedisLog) -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(ClientCredentials::new("client", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout")
        .session_id(TokenLocation::bearer())
        .revocation_log(log)
}

type Fields = Vec<(String, Vec<u8>)>;

/// What these events are in a stream, an entry each: its field `e`. Written over the line at `url`.
pub async fn entries(
    redis: &RedisServer,
    url: &str,
    events: impl Iterator<Item = Event>,
) -> Vec<Vec<u8>> {
    let log = RedisLog::connect(url).expect("a URL").stream("scratch");
    log.assign("client").expect("assigned");
    for kept in join_all(events.map(|event| log.append(vec![event]))).await {
        kept.expect("kept");
    }
    let entries: Vec<(String, Fields)> =
        redis.ask(redis::cmd("XRANGE").arg("scratch").arg("-").arg("+")).await;
    redis.ask::<()>(redis::cmd("DEL").arg("scratch")).await;
    entries.into_iter().map(|(_, mut fields)| fields.remove(0).1).collect()
}

/// What Redis keeps on disk.
#[derive(Clone, Copy, Debug)]
pub enum Persistence {
    None,
    /// Synced before it is acknowledged.
    Always,
    /// Synced each second.
    EverySecond,
}

/// A `redis-server` process on a port of its own, gone with the test.
pub struct RedisServer {
    port: u16,
    options: Vec<String>,
    folder: Folder,
    process: Option<Child>,
}

impl RedisServer {
    /// One that keeps nothing on disk.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, Persistence::None, &[]).await
    }

    /// With options of `redis.conf` as `redis-server` takes them: `["--requirepass", "secret"]`.
    pub async fn start_with(name: &str, persistence: Persistence, options: &[&str]) -> Self {
        let mut all: Vec<&str> = vec!["--save", "", "--bind", "127.0.0.1"];
        match persistence {
            Persistence::None => all.extend(["--appendonly", "no"]),
            Persistence::Always => all.extend(["--appendonly", "yes", "--appendfsync", "always"]),
            Persistence::EverySecond => {
                all.extend(["--appendonly", "yes", "--appendfsync", "everysec"]);
            }
        }
        all.extend(options);
        let options = all.into_iter().map(str::to_owned).collect();
        let mut server = Self { port: 0, options, folder: Folder::new(name), process: None };
        // A port that is free now may not be a moment later.
        for _ in 0..100 {
            server.port = free_port().await;
            if server.try_start().await {
                return server;
            }
        }
        panic!("redis-server found no free port");
    }

    async fn try_start(&mut self) -> bool {
        let mut process = Command::new("redis-server")
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--dir")
            .arg(self.folder.path())
            .args(["--loglevel", "notice", "--daemonize", "no"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect(
                "these tests need `redis-server`: install it (Debian: apt install redis-server)",
            );
        let mut output = BufReader::new(process.stdout.take().expect("its output")).lines();
        let mut said = String::new();
        while let Some(line) = output.next_line().await.expect("text") {
            if line.contains("Ready to accept connections") {
                // Or its pipe fills up, and it stops.
                tokio::spawn(async move { while let Ok(Some(_)) = output.next_line().await {} });
                self.process = Some(process);
                return true;
            }
            said += &line;
            said.push('\n');
        }
        process.wait().await.expect("it ends");
        assert!(said.contains("Address already in use"), "redis-server does not start:\n{said}");
        false
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// As a crash does: nothing is written any more.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.expect("it is killed");
    }

    /// On the same port, with what it has on disk.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        // Another test may have its port, for a moment.
        for _ in 0..1_000 {
            if self.try_start().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("somebody else has the port of this redis-server");
    }

    /// On the same port, with an empty disk.
    pub async fn start_empty(&mut self) {
        self.folder.empty();
        self.start_again().await;
    }

    /// Stops it, with its connections open: it answers nothing.
    pub async fn stop(&self) {
        self.signal("STOP").await;
    }

    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let id = self.process.as_ref().and_then(Child::id).expect("it runs");
        let kill = format!("kill -{name} {id}");
        let sent = Command::new("sh").args(["-c", &kill]).status().await.expect("a shell");
        assert!(sent.success());
    }

    pub async fn flush_all(&self) {
        self.ask::<()>(redis::cmd("FLUSHALL")).await;
    }

    /// A command, on a connection of its own.
    pub async fn ask<T: FromRedisValue>(&self, command: impl std::borrow::Borrow<Cmd>) -> T {
        let mut connection = self.connection().await;
        command.borrow().query_async(&mut connection).await.expect("an answer")
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_multiplexed_async_connection().await.expect("a connection")
    }
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}
