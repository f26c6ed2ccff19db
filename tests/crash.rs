//! Processes that are killed with SIGKILL while people log out, and started again on their journal.

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{bearer, demo, start_polar};
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tower_polar_logout::testing::{FakePolar, Fault};

const ROUNDS: usize = 50;
const PEOPLE: usize = 16;

struct Demo {
    url: String,
    process: Option<Child>,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Demo {
    async fn start(polar: &FakePolar, journal: &Path) -> Self {
        let mut process = demo::command(&[
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("POLAR_CLIENT_ID", polar.client_id()),
            ("POLAR_CLIENT_SECRET", polar.client_secret()),
            ("POLAR_SERVER", &polar.url()),
            ("REVOCATION_JOURNAL", journal.to_str().expect("text")),
        ])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output")).lines();
        let first = output.next_line().await.expect("text").expect("a line");
        let url = first.strip_prefix("listening on ").expect("the address").to_owned();
        Self {
            url,
            process: Some(process),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// `None` where the process was killed meanwhile.
    async fn send(&self, method: Method, path: &str, token: &str) -> Option<StatusCode> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", bearer(token))
            .body(Empty::new())
            .expect("a request");
        self.client.request(request).await.ok().map(|response| response.status())
    }

    /// One person logs out after the other, until the process is gone. Returns what was
    /// acknowledged.
    async fn log_people_out(&self, polar: &FakePolar, killed: &AtomicBool) -> Vec<String> {
        let mut acknowledged = Vec::new();
        while !killed.load(Ordering::SeqCst) {
            let token = polar.mint().access;
            let Some(status) = self.send(Method::POST, "/logout", &token).await else { break };
            if status.is_success() || status.is_redirection() {
                acknowledged.push(token);
            }
        }
        acknowledged
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_every_acknowledged_logout_is_denied_after_and_reaches_polar() {
    let folder = Folder::new("crash");
    let journal = folder.0.join("revocations");
    let polar = Arc::new(start_polar().await);
    let mut acknowledged: Vec<String> = Vec::new();
    let mut denied = 0;
    for round in 0..ROUNDS {
        // In half of the rounds Polar is slow or gone, so that something is pending at the kill.
        polar.recover();
        match round % 4 {
            1 => polar.behave(Fault::Status { status: StatusCode::BAD_GATEWAY, retry_after: None }),
            3 => polar.behave(Fault::Delay(Duration::from_millis(fastrand::u64(1..50)))),
            _ => {}
        }
        let mut demo = Demo::start(&polar, &journal).await;
        let mut process = demo.process.take().expect("it runs");
        let before = acknowledged.len();
        let killed = Arc::new(AtomicBool::new(false));
        let people = join_all((0..PEOPLE).map(|_| demo.log_people_out(&polar, &killed)));
        let kill = async {
            // The moment is the point: it must be any.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..150))).await;
            killed.store(true, Ordering::SeqCst);
            process.kill().await.expect("SIGKILL");
        };
        let (logged_out, ()) = tokio::join!(people, kill);
        acknowledged.extend(logged_out.into_iter().flatten());

        let mut demo = Demo::start(&polar, &journal).await;
        let again = join_all(
            acknowledged[before..].iter().map(|token| demo.send(Method::GET, "/me", token)),
        )
        .await;
        denied += again.iter().filter(|status| **status == Some(StatusCode::UNAUTHORIZED)).count();
        drop(again);
        let mut process = demo.process.take().expect("it runs");
        process.kill().await.expect("SIGKILL");
    }
    polar.recover();
    let last = Demo::start(&polar, &journal).await;
    let alive = |tokens: &[String]| tokens.iter().filter(|token| polar.is_alive(token)).count();
    let mut revoked = polar.seen().revoked;
    while alive(&acknowledged) > 0 {
        // Each step is an event: one more pair is dead.
        revoked = polar.until(|seen| seen.revoked > revoked).await.revoked;
    }
    drop(last);
    let delivered = acknowledged.len() - alive(&acknowledged);
    println!(
        "{ROUNDS} times SIGKILL: acknowledged {}, denied after restart {denied}, delivered \
         {delivered}",
        acknowledged.len()
    );
    assert!(acknowledged.len() > ROUNDS, "people log out");
    assert_eq!((denied, delivered), (acknowledged.len(), acknowledged.len()));
}
