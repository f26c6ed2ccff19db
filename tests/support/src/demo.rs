//! The demo, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tower_polar_logout::testing::FakePolar;

use super::Answer;
use super::example::{self, build};

/// The demo's settings. No test inherits them from its environment.
const VARIABLES: [&str; 10] = [
    "LISTEN_ADDR",
    "PUBLIC_URL",
    "POLAR_CLIENT_ID",
    "POLAR_CLIENT_SECRET",
    "POLAR_SERVER",
    "POLAR_AUTHORIZE_URL",
    "REVOCATION_JOURNAL",
    "REVOCATION_REDIS",
    "REJECT_WHEN_BEHIND",
    "ACCESS_TOKEN_RETENTION",
];

/// A running demo.
pub struct Demo {
    pub url: String,
    pub output: Lines<BufReader<ChildStdout>>,
    process: Child,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Demo {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let mut process = command(settings)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output")).lines();
        let first = output.next_line().await.expect("text").expect("a line");
        let url = first.strip_prefix("listening on ").expect("the address").to_owned();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { url, output, process, client }
    }

    /// Starts a demo with a stand-in for Polar that outlives it.
    pub async fn start_with(polar: &FakePolar, settings: &[(&str, &str)]) -> Self {
        let url = polar.url();
        let of_polar = [
            ("POLAR_CLIENT_ID", polar.client_id()),
            ("POLAR_CLIENT_SECRET", polar.client_secret()),
            ("POLAR_SERVER", &url),
        ];
        Self::start(&[&of_polar[..], settings].concat()).await
    }

    pub async fn start_on(journal: &Path, polar: &FakePolar) -> Self {
        let journal = journal.to_str().expect("text");
        Self::start_with(polar, &[("REVOCATION_JOURNAL", journal)]).await
    }

    /// Returns `None` if the process is gone.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).expect("a request");
        Some(Answer::read(self.client.request(request).await.ok()?).await)
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_send(method, path, headers).await.expect("an answer")
    }

    /// Calls another server, as a browser does after a redirect.
    pub async fn follow(&self, url: &str) -> Answer {
        let request = Request::get(url).body(Empty::new()).expect("a request");
        Answer::read(self.client.request(request).await.expect("an answer")).await
    }

    pub fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    pub async fn signal(&self, name: &str) {
        example::signal(self.id(), name).await;
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.process.wait().await.expect("it ends")
    }
}

/// A command that runs the demo with these settings, and with pipes for its output.
pub fn command(settings: &[(&str, &str)]) -> Command {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    // A file that reaches its size limit is then an error, like a full disk, and not a signal.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\""]).arg(DEMO.get_or_init(|| build("demo")));
    example::set(&mut command, &VARIABLES, settings);
    command
}
