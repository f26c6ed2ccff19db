//! A line between a client and a server that tests can cut, freeze, slow down and mend.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Whole,
    /// Each connection is closed.
    Broken,
    /// Each connection is accepted, and no byte passes.
    Frozen,
}

/// A port in front of a server's port.
pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    way: Arc<Way>,
    task: AbortHandle,
}

/// The changes to the bytes that pass.
#[derive(Default)]
struct Way {
    /// How many bytes a second a connection carries to the server. Zero is no limit.
    rate: AtomicU32,
    /// How many seconds are added to the time that Redis answers.
    ahead: AtomicI64,
}

impl Proxy {
    /// Starts with a whole line.
    pub async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (line, state) = watch::channel(Line::Whole);
        let way = Arc::<Way>::default();
        let task = tokio::spawn(serve(listener, server_port, state, Arc::clone(&way)));
        Self { address, line, way, task: task.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Drops all connections, and closes each new one.
    pub fn cut(&self) {
        self.line.send_replace(Line::Broken);
    }

    /// Lets no byte pass in either direction. Bytes on their way are held back.
    pub fn freeze(&self) {
        self.line.send_replace(Line::Frozen);
    }

    pub fn mend(&self) {
        self.line.send_replace(Line::Whole);
    }

    /// Limits each connection to this many bytes a second to the server.
    pub fn slow_down(&self, rate: u32) {
        self.way.rate.store(rate, Ordering::SeqCst);
    }

    /// Adds this many seconds to the time that Redis answers.
    pub fn set_clock(&self, ahead: i64) {
        self.way.ahead.store(ahead, Ordering::SeqCst);
    }
}

impl Way {
    /// How long these bytes take.
    fn to_server(&self, bytes: &[u8]) -> Duration {
        match self.rate.load(Ordering::SeqCst) {
            0 => Duration::ZERO,
            rate => Duration::from_secs(bytes.len() as u64) / rate,
        }
    }

    fn to_client(&self, bytes: &mut [u8]) {
        const TIME: &[u8] = b"*2\r\n$10\r\n";
        const SECONDS: usize = 10;
        let ahead = self.ahead.load(Ordering::SeqCst);
        if ahead == 0 {
            return;
        }
        for at in TIME.len()..=bytes.len().saturating_sub(SECONDS) {
            let (before, after) = bytes.split_at_mut(at);
            let seconds = &mut after[..SECONDS];
            if before.ends_with(TIME)
                && let Some(told) =
                    str::from_utf8(seconds).ok().and_then(|it| it.parse::<i64>().ok())
            {
                seconds.copy_from_slice(format!("{:010}", told + ahead).as_bytes());
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    server_port: u16,
    line: watch::Receiver<Line>,
    way: Arc<Way>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        connections.spawn(carry(client, server_port, line.clone(), Arc::clone(&way)));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(
    client: TcpStream,
    server_port: u16,
    mut line: watch::Receiver<Line>,
    way: Arc<Way>,
) {
    let mut broken = line.clone();
    let both = async move {
        if line.wait_for(|line| *line == Line::Whole).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a socket");
        }
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        // If one end hangs up, both connections end.
        tokio::select! {
            () = copy(&mut from_client, &mut to_server, line.clone(), |bytes| {
                way.to_server(bytes)
            }) => {}
            () = copy(&mut from_server, &mut to_client, line, |bytes| {
                way.to_client(bytes);
                Duration::ZERO
            }) => {}
        }
    };
    tokio::select! {
        () = both => {}
        _ = broken.wait_for(|line| *line == Line::Broken) => {}
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut line: watch::Receiver<Line>,
    carry: impl Fn(&mut [u8]) -> Duration,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let takes = carry(&mut buffer[..length]);
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        if line.wait_for(|line| *line == Line::Whole).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
