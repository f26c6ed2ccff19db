//! The callers that flood, with a connection each.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{Connection, request};
use crate::subject::token;

/// The number of the first made-up token. Other callers' tokens have lower numbers.
const FIRST: u32 = 1 << 24;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sends {
    Nothing,
    /// Requests that the app answers.
    Requests,
    Logouts,
}

pub(super) struct Crowd {
    sends: watch::Sender<Sends>,
    answers: Rc<Answers>,
    _members: JoinSet<()>,
}

/// The answers that the crowd has received.
#[derive(Default)]
struct Answers {
    requests: Cell<u32>,
    logouts: Cell<u32>,
    /// Tokens whose logout was accepted.
    accepted: RefCell<Vec<u32>>,
    next: Cell<u32>,
}

impl Crowd {
    pub(super) async fn connect(port: u16, connections: u32) -> Self {
        let sends = watch::Sender::new(Sends::Nothing);
        let answers = Rc::new(Answers::default());
        let mut members = JoinSet::new();
        for connection in join_all((0..connections).map(|_| Connection::open(port))).await {
            members.spawn_local(member(connection, sends.subscribe(), Rc::clone(&answers)));
        }
        Self { sends, answers, _members: members }
    }

    pub(super) fn send(&self, sends: Sends) {
        self.sends.send_replace(sends);
    }

    pub(super) fn logouts(&self) -> u32 {
        self.answers.logouts.get()
    }

    /// Logouts and requests that were answered.
    pub(super) fn sent(&self) -> u32 {
        self.answers.logouts.get() + self.answers.requests.get()
    }

    pub(super) fn accepted(&self) -> Vec<String> {
        self.answers.accepted.borrow().iter().map(|&n| token(n)).collect()
    }
}

async fn member(
    mut connection: Connection,
    mut sends: watch::Receiver<Sends>,
    answers: Rc<Answers>,
) {
    let ordinary = request("POST /other", &token(FIRST - 1));
    loop {
        let now = *sends.borrow_and_update();
        match now {
            Sends::Nothing => sends.changed().await.expect("the crowd"),
            Sends::Requests => {
                assert_eq!(connection.ask(&ordinary).await, 200);
                answers.requests.update(|count| count + 1);
            }
            Sends::Logouts => {
                let n = FIRST + answers.next.replace(answers.next.get() + 1);
                match connection.ask(&request("POST /logout", &token(n))).await {
                    202 | 204 => answers.accepted.borrow_mut().push(n),
                    503 => assert!(connection.response().contains("\r\nretry-after: 60\r\n")),
                    other => panic!("{other}: {}", connection.response()),
                }
                answers.logouts.update(|count| count + 1);
            }
        }
    }
}

/// Sends a logout from each of these callers at once. They do not wait for the answer.
pub(super) async fn hang_up_on(port: u16, callers: u32) {
    thread_local!(static NEXT: Cell<u32> = const { Cell::new(1 << 28) });
    join_all((0..callers).map(|_| async {
        let n = NEXT.replace(NEXT.get() + 1);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.write_all(request("POST /logout", &token(n)).as_bytes()).await.expect("it listens");
    }))
    .await;
}
