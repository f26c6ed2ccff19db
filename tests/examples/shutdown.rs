//! The shortest examples as processes of their own: they end when they are told to.

use std::process::Stdio;

use support::log::soon;
use support::{example, start_polar};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

const VARIABLES: [&str; 4] =
    ["LISTEN_ADDR", "POLAR_CLIENT_ID", "POLAR_CLIENT_SECRET", "POLAR_SERVER"];

/// Sends SIGTERM while a client is in the middle of a request, and stays there.
async fn ends_while_a_client_sends(name: &str) {
    let polar = start_polar().await;
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

    let mut client = TcpStream::connect(&address).await.expect("a connection");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.expect("it is sent");
    // Accepted after the first one, so that the process has that one too.
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
async fn axum_ends_while_a_client_sends() {
    ends_while_a_client_sends("axum").await;
}

#[tokio::test]
async fn hyper_ends_while_a_client_sends() {
    ends_while_a_client_sends("hyper").await;
}

#[tokio::test]
async fn tower_sessions_ends_while_a_client_sends() {
    ends_while_a_client_sends("tower_sessions").await;
}
