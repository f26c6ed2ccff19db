//! The shortest examples, each in its own process, reject invalid tokens and exit on SIGTERM.

use std::process::Stdio;

use support::log::soon;
use support::{example, start_polar};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tower_polar_logout::testing::FakePolar;

const VARIABLES: [&str; 4] =
    ["LISTEN_ADDR", "POLAR_CLIENT_ID", "POLAR_CLIENT_SECRET", "POLAR_SERVER"];

/// A running example, the address it listens on, and its output.
struct Running {
    process: Child,
    address: String,
    output: Lines<BufReader<ChildStdout>>,
}

async fn start(name: &str, polar: &FakePolar) -> Running {
    let mut command = Command::new(example::build(name));
    let settings = [
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("POLAR_CLIENT_ID", polar.client_id()),
        ("POLAR_CLIENT_SECRET", polar.client_secret()),
        ("POLAR_SERVER", &polar.url()),
    ];
    example::set(&mut command, &VARIABLES, &settings);
    let mut process = command.stderr(Stdio::null()).spawn().expect("it starts");
    let mut output = BufReader::new(process.stdout.take().expect("its output")).lines();
    let address = loop {
        let line = soon(output.next_line()).await.expect("text").expect("a line");
        if let Some(address) = line.strip_prefix("listening on http://") {
            break address.to_owned();
        }
    };
    Running { process, address, output }
}

impl Running {
    /// The status of the answer to a request with this bearer token.
    async fn status(&self, method: &str, path: &str, token: &str) -> String {
        let mut client = TcpStream::connect(&self.address).await.expect("a connection");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.expect("it is sent");
        let mut answer = String::new();
        soon(client.read_to_string(&mut answer)).await.expect("an answer");
        answer.split(' ').nth(1).expect("a status").to_owned()
    }
}

/// The layer rejects revoked tokens. The app itself must ask Polar whether a token is valid.
async fn rejects_unknown_and_revoked_tokens(name: &str) {
    let polar = start_polar().await;
    let app = start(name, &polar).await;
    let made_up = format!("polar_at_u_{:043}", 0);
    assert_eq!(app.status("GET", "/me", &made_up).await, "401");
    let foreign = polar.mint_for_another_client().access;
    assert_eq!(app.status("GET", "/me", &foreign).await, "401");
    let token = polar.mint().access;
    assert_eq!(app.status("GET", "/me", &token).await, "200");
    assert_eq!(app.status("POST", "/logout", &token).await, "204");
    assert_eq!(app.status("GET", "/me", &token).await, "401", "also if it was cached");
}

#[tokio::test]
async fn axum_rejects_unknown_and_revoked_tokens() {
    rejects_unknown_and_revoked_tokens("axum").await;
}

#[tokio::test]
async fn hyper_rejects_unknown_and_revoked_tokens() {
    rejects_unknown_and_revoked_tokens("hyper").await;
}

/// Sends SIGTERM while a client has sent half of a request and sends no more.
async fn exits_while_a_client_sends(name: &str) {
    let polar = start_polar().await;
    let Running { mut process, address, mut output } = start(name, &polar).await;
    let mut client = TcpStream::connect(&address).await.expect("a connection");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.expect("it is sent");
    // The process accepts this connection after the first one, so it has both.
    let mut other = TcpStream::connect(&address).await.expect("a connection");
    other.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is sent");
    assert_ne!(soon(other.read(&mut [0; 1024])).await.expect("an answer"), 0);
    example::signal(process.id().expect("it runs"), "TERM").await;
    let drain = async { while let Ok(Some(_)) = output.next_line().await {} };
    let (status, ()) = soon(async { tokio::join!(process.wait(), drain) }).await;
    assert!(status.expect("it ends").success(), "{name}");
    drop(client);
}

#[tokio::test]
async fn axum_exits_on_sigterm_while_a_client_sends() {
    exits_while_a_client_sends("axum").await;
}

#[tokio::test]
async fn hyper_exits_on_sigterm_while_a_client_sends() {
    exits_while_a_client_sends("hyper").await;
}

#[tokio::test]
async fn tower_sessions_exits_while_a_client_sends() {
    exits_while_a_client_sends("tower_sessions").await;
}
