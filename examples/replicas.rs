//! Three replicas of one app on one Redis: a token that was logged out at one replica is rejected
//! by all, even if Redis is killed and restarted empty.
//!
//! `cargo run --example replicas`
//!
//! Starts its own `redis-server` and a stand-in for Polar, prints what happens, and exits.

use std::env;
use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::routing::get;
use tower::ServiceExt;
use tower_polar_logout::testing::FakePolar;
use tower_polar_logout::{PolarLogoutLayer, RedisLog, TokenLocation};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replicas: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut redis = Redis::start()?;
    let polar = FakePolar::start().await?;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(&polar, &redis.url()).await?);
    }
    let [first, second, third] = &replicas[..] else { unreachable!("three were started") };
    println!("three replicas follow {}", redis.url());

    let token = polar.mint().access;
    let begun = Instant::now();
    let status = send(first, Method::POST, "/logout", &token).await?;
    println!("\nlogout at the first replica: {status}, after {:?}", begun.elapsed());
    until_rejected(&[second, third], &token).await?;
    println!("the other replicas answer 401 to the token, after {:?}", begun.elapsed());

    redis.kill()?;
    let held = polar.mint().access;
    println!("\nRedis was killed; it kept nothing on disk");
    let status = send(first, Method::POST, "/logout", &held).await?;
    println!("logout of a second token at the first replica: {status}; it is denied there at once");
    println!(
        "the second replica answers {} to it: it cannot know of the logout yet",
        send(second, Method::GET, "/", &held).await?
    );
    println!(
        "the second replica answers {} to the first token",
        send(second, Method::GET, "/", &token).await?
    );

    redis.start_again()?;
    let begun = Instant::now();
    println!("\nRedis is back, and empty");
    until_rejected(&[second, third], &held).await?;
    println!("the other replicas answer 401 to the second token too, after {:?}", begun.elapsed());
    let late = loop {
        let late = replica(&polar, &redis.url()).await?;
        if send(&late, Method::GET, "/", &token).await? == StatusCode::UNAUTHORIZED {
            break late;
        }
    };
    println!(
        "a fourth replica, started now, answers {} and {} to the two tokens: the other replicas \
         have written them to Redis again, after {:?}",
        send(&late, Method::GET, "/", &token).await?,
        send(&late, Method::GET, "/", &held).await?,
        begun.elapsed()
    );
    Ok(())
}

async fn replica(polar: &FakePolar, redis: &str) -> Result<Router, tower_polar_logout::Error> {
    let logout = PolarLogoutLayer::builder(polar.credentials())
        .server(polar.server())
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .revocation_log(RedisLog::connect(redis)?)
        .build()
        .await?;
    Ok(Router::new().route("/", get(|| async { "signed in" })).layer(logout))
}

async fn send(
    replica: &Router,
    method: Method,
    path: &str,
    token: &str,
) -> Result<StatusCode, Box<dyn Error>> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())?;
    Ok(replica.clone().oneshot(request).await?.status())
}

async fn until_rejected(replicas: &[&Router], token: &str) -> Result<(), Box<dyn Error>> {
    for replica in replicas {
        while send(replica, Method::GET, "/", token).await? != StatusCode::UNAUTHORIZED {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }
    Ok(())
}

/// A `redis-server` that keeps nothing on disk.
struct Redis {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl Redis {
    fn start() -> Result<Self, Box<dyn Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = env::temp_dir().join(format!("polar-logout-replicas-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let process = spawn(port, &folder)?;
        Ok(Self { port, folder, process })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn kill(&mut self) -> Result<(), Box<dyn Error>> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    fn start_again(&mut self) -> Result<(), Box<dyn Error>> {
        self.process = spawn(self.port, &self.folder)?;
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn spawn(port: u16, folder: &Path) -> Result<Child, Box<dyn Error>> {
    let mut process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| {
            format!(
                "cannot run `redis-server`: {error}; install it (Debian: apt install redis-server)"
            )
        })?;
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = process.try_wait()? {
            return Err(format!("redis-server exited with {status}").into());
        }
        if begun.elapsed() > Duration::from_secs(10) {
            process.kill()?;
            return Err("redis-server did not listen within 10 s".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}
