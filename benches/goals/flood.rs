//! A million logouts with made-up tokens from 100 connections, while other callers send ordinary
//! requests.
//!
//! - The server and the load have a process and a thread each.
//! - The stand-in for Polar accepts 500 calls a minute, as Polar does, or all calls.
//! - The callers keep their connections, except the first callers, which fill the queue. Those hang
//!   up without waiting for an answer, because a million logouts would take them days.
//!
//! The cost of the flood to the other callers is compared with the cost of as many ordinary
//! requests from the same 100 connections. The two take turns.

mod connection;
mod crowd;
mod ordinary;
mod server;

use std::time::Duration;

use tokio::runtime;
use tokio::task::LocalSet;

use self::crowd::{Crowd, Sends};
use self::ordinary::{Ordinary, Pace};
use self::server::{Configuration, Server};
pub(crate) use self::server::{polar, serve};
use crate::table::{Goal, row};

const LOGOUTS: u32 = 1_000_000;
const CONNECTIONS: u32 = 100;
const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_secs(1);
/// How long to wait until the requests of the turn before are answered.
const SETTLED: Duration = Duration::from_millis(250);
/// The layer's default for `max_in_flight`.
const AT_ONCE: f64 = 4.0;
const MIB: f64 = 1024.0 * 1024.0;

const CONFIGURATIONS: [Configuration; 2] = [
    Configuration {
        name: "defaults, with Polar's rate limit",
        limit: 1_000_000,
        queue_capacity: 10_000,
        calls_a_minute: Some(500),
    },
    Configuration {
        name: "`denylist_capacity` 10,000, `queue_capacity` 50",
        limit: 10_000,
        queue_capacity: 50,
        calls_a_minute: None,
    },
];

pub(crate) fn measure() {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for configuration in &CONFIGURATIONS {
        LocalSet::new().block_on(&runtime, flood(configuration));
    }
}

async fn flood(configuration: &Configuration) {
    let server = Server::start(configuration);
    let mut ordinary = Ordinary::connect(server.port).await;
    let crowd = Crowd::connect(server.port, CONNECTIONS).await;
    let alone = ordinary.run(TURN * 2, Pace::Fast).await.rate();
    let before = server.resident();

    // The callers that fill the queue do not wait for answers.
    while server.counts().await.pending < configuration.queue_capacity {
        crowd::hang_up_on(server.port, CONNECTIONS).await;
    }
    let quarter =
        beside(&server, &crowd, &mut ordinary, Pace::RequestsPerSecond(alone / 4.0)).await;
    let fast = beside(&server, &crowd, &mut ordinary, Pace::Fast).await;

    crowd.send(Sends::Logouts);
    let half_way = ordinary.let_in(server::earlier()).await;
    while crowd.logouts() < LOGOUTS {
        ordinary.run(TURN / 10, Pace::RequestsPerSecond(alone / 4.0)).await;
    }
    crowd.send(Sends::Nothing);
    tokio::time::sleep(SETTLED).await;
    let in_the_end = ordinary.let_in(server::earlier()).await;
    let let_in_though_accepted = ordinary.let_in(crowd.accepted().into_iter()).await;

    let (counts, most_resident) = (server.counts().await, server.most_resident());
    let [calls, at_once] = server.stop();
    let what = format!("a million made-up logouts from 100 connections, {}", configuration.name);
    quarter.row(&format!("{what}: ordinary requests at a quarter of what the server can do"));
    fast.row(&format!(
        "{what}: ordinary requests from 64 connections, as fast as they are answered"
    ));
    let bound = configuration.bound(CONNECTIONS) / MIB;
    row(
        &format!("{what}: memory"),
        Goal::AtMost(bound.ceil()),
        (most_resident - before) / MIB,
        " MiB",
        &format!("{:.0} MiB before", before / MIB),
    );
    row(
        &format!("{what}: denied tokens that are not rejected, from before or from the flood"),
        Goal::AtMost(0.0),
        f64::from(half_way + in_the_end + let_in_though_accepted),
        "",
        &format!(
            "{} of {} logouts answered 202 or 204, the others 503 with `Retry-After`; {} denied, \
             {} pending",
            crowd.accepted().len(),
            crowd.logouts(),
            counts.revoked,
            counts.pending,
        ),
    );
    row(
        &format!("{what}: concurrent calls to Polar"),
        Goal::AtMost(AT_ONCE),
        at_once,
        "",
        &format!("{calls} calls"),
    );
}

/// Measures ordinary requests beside the flood, and beside as many other requests.
async fn beside(server: &Server, crowd: &Crowd, ordinary: &mut Ordinary, pace: Pace) -> Beside {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mut turns = [Sends::Requests, Sends::Logouts];
        // So that neither is always first.
        if round % 2 == 1 {
            turns.reverse();
        }
        for sends in turns {
            crowd.send(sends);
            tokio::time::sleep(SETTLED).await;
            let (sent, cpu) = (crowd.sent(), server.cpu());
            let turn = ordinary.run(TURN, pace).await;
            rounds.push(Round {
                sends,
                rate: turn.rate(),
                crowd: turn.rate_of(crowd.sent() - sent),
                worst_of_hundred: turn.wait(99).as_secs_f64() * 1e3,
                busy: turn.share_of(server.cpu() - cpu),
            });
        }
    }
    crowd.send(Sends::Nothing);
    let side = |side| {
        let of_all = |figure: fn(&Round) -> f64| {
            median(rounds.iter().filter(|round| round.sends == side).map(figure))
        };
        Round {
            sends: side,
            rate: of_all(|round| round.rate),
            crowd: of_all(|round| round.crowd),
            worst_of_hundred: of_all(|round| round.worst_of_hundred),
            busy: of_all(|round| round.busy),
        }
    };
    Beside { requests: side(Sends::Requests), logouts: side(Sends::Logouts) }
}

/// One turn, or the medians of all turns of a side.
struct Round {
    sends: Sends,
    /// Ordinary requests a second.
    rate: f64,
    /// Answers to the crowd a second.
    crowd: f64,
    /// The 99th percentile of the waits of ordinary requests, in milliseconds.
    worst_of_hundred: f64,
    /// The share of the time that the server was on a core.
    busy: f64,
}

struct Beside {
    requests: Round,
    logouts: Round,
}

impl Beside {
    fn row(&self, what: &str) {
        let Self { requests, logouts } = self;
        row(
            &format!("{what}, relative to their rate beside as many other requests"),
            Goal::AtLeast(0.9),
            logouts.rate / requests.rate,
            " x",
            &format!("{}; {}", logouts.describe("logouts"), requests.describe("requests")),
        );
    }
}

impl Round {
    fn describe(&self, what: &str) -> String {
        let Self { rate, crowd, worst_of_hundred, busy, .. } = self;
        let busy = busy * 100.0;
        format!(
            "{rate:.0}/s beside {crowd:.0} {what}/s, p99 {worst_of_hundred:.1} ms, the server busy \
             {busy:.0} %"
        )
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
