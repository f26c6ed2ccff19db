//! A Redis server for one test, and its users.

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

/// The key of the stream that [`open`] and [`layer`] use.
pub const STREAM: &str = "polar-logout:client";

/// A replica's log.
pub fn open(url: &str) -> RedisLog {
    let log = RedisLog::connect(url).expect("a URL");
    log.assign("client").expect("assigned");
    log
}

/// A replica's layer. No server listens at the address of its Polar.
pub fn layer(log: RedisLog) -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(ClientCredentials::new("client", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout")
        .session_id(TokenLocation::bearer())
        .revocation_log(log)
}

type Fields = Vec<(String, Vec<u8>)>;

/// The stream entries of these events, one each: the field `e`. Writes them over the line at `url`.
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

/// How Redis writes to disk.
#[derive(Clone, Copy, Debug)]
pub enum Persistence {
    None,
    /// Synced before a write is acknowledged.
    Always,
    /// Synced each second.
    EverySecond,
}

/// A `redis-server` process on a port of its own. It ends with the test.
pub struct RedisServer {
    port: u16,
    options: Vec<String>,
    folder: Folder,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, Persistence::None, &[]).await
    }

    /// Starts a server with options of `redis.conf`, for example `["--requirepass", "secret"]`.
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
        // Another process may take the free port first.
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
        let mut printed = String::new();
        while let Some(line) = output.next_line().await.expect("text") {
            if line.contains("Ready to accept connections") {
                // A full pipe would stop the server.
                tokio::spawn(async move { while let Ok(Some(_)) = output.next_line().await {} });
                self.process = Some(process);
                return true;
            }
            printed += &line;
            printed.push('\n');
        }
        process.wait().await.expect("it ends");
        assert!(
            printed.contains("Address already in use"),
            "redis-server does not start:\n{printed}"
        );
        false
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server as a crash does: it writes nothing more.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.expect("it is killed");
    }

    /// Starts the server again, on the same port and with its files.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        // Another test may have taken the port for a moment.
        for _ in 0..1_000 {
            if self.try_start().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("another process has the port of this redis-server");
    }

    /// Starts the server again, on the same port and without its files.
    pub async fn start_empty(&mut self) {
        self.folder.empty();
        self.start_again().await;
    }

    /// Stops the process. Its connections stay open, and it does not answer.
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

    /// Sends a command on a new connection.
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
