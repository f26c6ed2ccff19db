//! A connection that is kept alive, with one request at a time.

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) struct Connection {
    stream: TcpStream,
    response: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        Self { stream, response: Vec::new() }
    }

    /// Sends the request, and returns the status of the response.
    pub(super) async fn ask(&mut self, request: &str) -> u16 {
        self.stream.write_all(request.as_bytes()).await.expect("it listens");
        self.response.clear();
        while !self.is_whole() {
            let read = self.stream.read_buf(&mut self.response).await.expect("a response");
            assert!(read > 0, "the server hung up");
        }
        let status = self.response.get(9..12).and_then(|digits| str::from_utf8(digits).ok());
        status.and_then(|status| status.parse().ok()).expect("a status")
    }

    pub(super) fn response(&self) -> &str {
        str::from_utf8(&self.response).expect("text")
    }

    fn is_whole(&self) -> bool {
        let Some(head) = memmem::find(&self.response, b"\r\n\r\n") else { return false };
        self.response.len() - head - 4 >= self.length(head)
    }

    /// The length of the body; 0 if there is no `Content-Length`, as in a 204.
    fn length(&self, head: usize) -> usize {
        const NAME: &[u8] = b"\r\ncontent-length: ";
        let Some(at) = memmem::find(&self.response[..head], NAME) else { return 0 };
        let value = &self.response[at + NAME.len()..];
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
    }
}

/// A request without a body.
pub(super) fn request(line: &str, token: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nauthorization: Bearer {token}\r\n\r\n"
    )
}
