//! A line between a client and a server that can be cut, frozen and mended.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Whole,
    /// Each connection is closed.
    Broken,
    /// Each connection is taken, and nothing gets through.
    Frozen,
}

/// A port of its own in front of a server's.
pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    task: AbortHandle,
}

impl Proxy {
    /// Whole at first.
    pub async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (line, state) = watch::channel(Line::Whole);
        let task = tokio::spawn(serve(listener, server_port, state)).abort_handle();
        Self { address, line, task }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Drops all connections, and closes each new one.
    pub fn cut(&self) {
        self.line.send_replace(Line::Broken);
    }

    /// Nothing gets through any more, in neither direction; what is under way is held back.
    pub fn freeze(&self) {
        self.line.send_replace(Line::Frozen);
    }

    pub fn mend(&self) {
        self.line.send_replace(Line::Whole);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server_port: u16, line: watch::Receiver<Line>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        connections.spawn(carry(client, server_port, line.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(client: TcpStream, server_port: u16, mut line: watch::Receiver<Line>) {
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
        // Either end hangs up for both.
        tokio::select! {
            () = copy(&mut from_client, &mut to_server, line.clone()) => {}
            () = copy(&mut from_server, &mut to_client, line) => {}
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
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if line.wait_for(|line| *line == Line::Whole).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
