//! The load: many connections, with one request at a time on each.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{HELLO, living};

const CONNECTIONS: usize = 64;
/// Requests that are prepared for a connection, each with a different token.
const PREPARED: usize = 64;

pub(crate) struct Load {
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    requests: Vec<String>,
    /// A buffer as long as every response.
    response: Vec<u8>,
}

impl Load {
    pub(crate) async fn connect(port: u16) -> Self {
        let mut living = living();
        let connections = (0..CONNECTIONS).map(|_| {
            let requests = living.by_ref().take(PREPARED).map(|token| request(&token)).collect();
            Connection::open(port, requests)
        });
        Self { connections: join_all(connections).await }
    }

    /// Sends requests for this time. Returns how many, and how long it really took.
    pub(crate) async fn run(&mut self, time: Duration) -> (u32, Duration) {
        let started = Instant::now();
        let end = started + time;
        let connections = self.connections.iter_mut().map(|connection| connection.run(end));
        let requests = join_all(connections).await.into_iter().sum();
        (requests, started.elapsed())
    }
}

impl Connection {
    async fn open(port: u16, requests: Vec<String>) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        let mut connection = Self { stream, requests, response: Vec::new() };
        // The length of the first response is that of all.
        connection.stream.write_all(connection.requests[0].as_bytes()).await.expect("it listens");
        while !connection.response.ends_with(HELLO.as_bytes()) {
            let read = connection.stream.read_buf(&mut connection.response).await;
            assert!(read.expect("a response") > 0, "the server hung up");
        }
        connection
    }

    async fn run(&mut self, until: Instant) -> u32 {
        let mut sent = 0;
        for request in self.requests.iter().cycle() {
            if Instant::now() >= until {
                break;
            }
            self.stream.write_all(request.as_bytes()).await.expect("it listens");
            self.stream.read_exact(&mut self.response).await.expect("a response");
            assert!(self.response.starts_with(b"HTTP/1.1 200 OK"), "{:?}", self.response);
            sent += 1;
        }
        sent
    }
}

fn request(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
}
