//! Mixed load with faults for ten minutes, or for the given number of seconds, at least 60. Checks
//! that memory stays flat after the first minute, and that no task and no descriptor is left after
//! the shutdown.
//!
//! `cargo bench --bench soak`, or `cargo bench --bench soak -- 60`, on Linux with a `redis-server`
//! installed. It fails if a figure falls short.
//!
//! - The app is a separate process with two layers: one with a journal, one with a log in Redis. In
//!   the app, credentials are exchanged, and layers are built and dropped (`app.rs`).
//! - There are callers of every kind (`load.rs`).
//! - Polar fails in every way that its stand-in knows. Redis is stopped and killed (`faults.rs`).
//! - Tokens are denied for ten seconds, so that as many expire as are added.

#[cfg(not(target_os = "linux"))]
compile_error!("this bench reads /proc, which only Linux has");

mod app;
mod faults;
mod load;
mod sample;
#[allow(dead_code, reason = "the other goals need all of it")]
#[path = "../goals/table.rs"]
mod table;

use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use support::folder::Folder;
use support::redis::RedisServer;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use tower_polar_logout::testing::FakePolar;

use self::load::Load;
use self::sample::Sample;
use self::table::{Goal, row};

const SECONDS: usize = 600;
const WARM: usize = 60;
const MIB: f64 = 1024.0 * 1024.0;
/// The factor by which memory may grow after the first minute.
const FLAT: f64 = 1.1;
const AN_ANSWER: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["app", polar, id, secret, redis, journal] => {
            app::run(polar, id, secret, redis, journal).await;
            ExitCode::SUCCESS
        }
        [] => soak(SECONDS).await,
        [seconds] => soak(seconds.parse().expect("seconds")).await,
        _ => panic!("soak [SECONDS]"),
    }
}

async fn soak(seconds: usize) -> ExitCode {
    let folder = Folder::new("soak-journal");
    let (polar, redis) = (
        Arc::new(FakePolar::start().await.expect("a stand-in")),
        RedisServer::start("soak-redis").await,
    );
    let journal = folder.file("journal");
    let mut app = App::start(&[
        "app",
        &polar.url(),
        polar.client_id(),
        polar.client_secret(),
        &redis.url(),
        journal.to_str().expect("text"),
    ]);
    let ports = [app.number().await, app.number().await];
    let base = app.sample().await;

    let load = Load::start(&polar, ports);
    let faults = faults::start(Arc::clone(&polar), redis);
    let mut samples = Vec::with_capacity(seconds);
    for _ in 0..seconds {
        samples.push(app.sample().await);
    }
    let redis = faults.stop().await;
    let sent = load.stop().await;
    app.close();
    let [pending, tasks, descriptors] =
        [app.number().await, app.number().await, app.number::<f64>().await];
    let seen = polar.seen();
    drop(redis);

    let warm = WARM.min(seconds / 3);
    let (early, late) = (&samples[warm..2 * warm], &samples[seconds - warm..]);
    let memory = |samples| sample::median(samples, |sample| sample.resident);
    let flat = memory(late) / memory(early);
    table::head();
    let what = format!("{seconds} s of mixed load with faults");
    row(
        &format!(
            "{what}: memory in the last {warm} s, relative to that from {warm} s to {} s",
            2 * warm
        ),
        Goal::AtMost(FLAT),
        flat,
        " x",
        &format!(
            "{:.1} MiB, {:.1} MiB; at most {:.1} MiB. {sent}; {} calls to Polar, at most {} at \
             once",
            memory(late) / MIB,
            memory(early) / MIB,
            sample::most(&samples, |sample| sample.resident) / MIB,
            seen.revoke_calls,
            seen.most_in_flight,
        ),
    );
    let under_load = |figure: fn(&Sample) -> f64| {
        format!(
            "{} before; under load {:.0} in the median of the last {warm} s, {:.0} from {warm} s to \
             {} s, at most {:.0}",
            figure(&base),
            sample::median(late, figure),
            sample::median(early, figure),
            2 * warm,
            sample::most(&samples, figure),
        )
    };
    let left = [
        ("tasks", tasks, under_load(|sample| sample.tasks)),
        ("descriptors", descriptors, under_load(|sample| sample.descriptors)),
        (
            "undelivered tokens",
            pending,
            format!("at most {:.0} pending", sample::most(&samples, |sample| sample.pending)),
        ),
    ];
    for (name, left, remark) in &left {
        row(&format!("{what}: {name} left after shutdown"), Goal::AtMost(0.0), *left, "", remark);
    }
    let is_met = flat <= FLAT && left.iter().all(|(_, left, _)| *left <= 0.0);
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The app's process, and the lines that it prints.
struct App {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl App {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = timeout(AN_ANSWER, self.lines.next_line()).await.expect("it goes on");
        line.expect("text").expect("a line")
    }

    /// The next line that is a number. Samples may come before it.
    async fn number<T: std::str::FromStr>(&mut self) -> T {
        loop {
            if let Ok(number) = self.line().await.parse() {
                return number;
            }
        }
    }

    /// The sample of the next second.
    async fn sample(&mut self) -> Sample {
        Sample::parse(&self.line().await).expect("four numbers")
    }

    /// Tells the process to shut down.
    fn close(&mut self) {
        drop(self.child.stdin.take());
    }
}
