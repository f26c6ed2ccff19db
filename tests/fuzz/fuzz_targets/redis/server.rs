//! A Redis that gives scripted answers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::now;

/// An id, and the fields of its entry. `None` if the entry was deleted.
type Entry = (String, Option<Vec<Vec<u8>>>);

pub enum Answer {
    /// The answer to the first read. Later reads find no more entries.
    Entries(Vec<Entry>),
    /// The answer to a read. Then the connection ends.
    Bytes(Vec<u8>),
}

#[derive(Clone)]
pub struct Server {
    url: String,
    script: Arc<Mutex<Script>>,
}

struct Script {
    answer: Answer,
    /// How far this Redis's clock is ahead of the local one, in milliseconds.
    ahead: i64,
    added: Vec<Vec<u8>>,
}

/// Is removed when the process ends.
struct Socket(PathBuf);

thread_local! {
    static SOCKET: Socket = Socket(
        std::env::temp_dir().join(format!("fuzz-redis-{}.sock", std::process::id())),
    );
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Server {
    pub fn start() -> Self {
        let path = SOCKET.with(|socket| socket.0.clone());
        let listener = UnixListener::bind(&path).expect("a socket");
        let script = Script { answer: Answer::Entries(Vec::new()), ahead: 0, added: Vec::new() };
        let server = Self {
            url: format!("unix://{}", path.display()),
            script: Arc::new(Mutex::new(script)),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let server = serving.clone();
                // Ends when the client hangs up.
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        server
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn will_answer(&self, answer: Answer, ahead: i64) {
        *self.script() = Script { answer, ahead, added: Vec::new() };
    }

    /// The contents of the entries that were added since the last call.
    pub fn added(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.script().added)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no panic")
    }

    async fn serve(self, stream: UnixStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let command = read(&mut stream).await?;
            let (answer, is_end) = self.answer(&command);
            stream.get_mut().write_all(&answer).await.ok()?;
            if is_end {
                return None;
            }
        }
    }

    fn answer(&self, command: &[Vec<u8>]) -> (Vec<u8>, bool) {
        let mut script = self.script();
        let name = command.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let answer = match &name[..] {
            b"TIME" => {
                let ours = i64::try_from(now().as_micros()).expect("a time");
                let micros = ours + script.ahead * 1_000;
                let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
                let parts = [seconds, micros].map(|part| bulk(part.to_string().as_bytes()));
                array(&parts)
            }
            b"XREAD" => match &mut script.answer {
                Answer::Bytes(bytes) => return (bytes.clone(), true),
                Answer::Entries(entries) if entries.is_empty() => b"*-1\r\n".to_vec(),
                Answer::Entries(entries) => {
                    let entries: Vec<_> = entries.drain(..).map(entry).collect();
                    array(&[array(&[bulk(b"stream"), array(&entries)])])
                }
            },
            b"XADD" => {
                script.added.extend(command.last().cloned());
                bulk(b"1-1")
            }
            b"XTRIM" => b":0\r\n".to_vec(),
            _ => b"+OK\r\n".to_vec(),
        };
        (answer, false)
    }
}

pub fn id((millis, number): (u32, u8)) -> String {
    format!("{millis}-{number}")
}

fn entry((id, fields): Entry) -> Vec<u8> {
    let fields = match fields {
        Some(fields) => array(&fields.iter().map(|field| bulk(field)).collect::<Vec<_>>()),
        None => b"*-1\r\n".to_vec(),
    };
    array(&[bulk(id.as_bytes()), fields])
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", items.len()).as_bytes(), &items.concat()].concat()
}

/// One command: an array of strings.
async fn read(stream: &mut BufReader<UnixStream>) -> Option<Vec<Vec<u8>>> {
    let mut command = Vec::new();
    for _ in 0..number(stream, b'*').await? {
        let mut argument = vec![0; number(stream, b'$').await? + 2];
        stream.read_exact(&mut argument).await.ok()?;
        argument.truncate(argument.len() - 2);
        command.push(argument);
    }
    Some(command)
}

async fn number(stream: &mut BufReader<UnixStream>, kind: u8) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.strip_prefix(char::from(kind))?.trim_end().parse().ok()
}
