//! The callers that use the app during the flood.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep_until;

use super::connection::{Connection, request};
use crate::subject::token;

const CONNECTIONS: u32 = 64;
/// The number of the first token that is alive.
const FIRST: u32 = 1 << 20;

pub(super) struct Ordinary(Vec<(Connection, String)>);

/// When the next request is sent.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// When the request before is answered.
    Fast,
    /// When it is due, or at once if it is late. The rate is that of all connections together.
    RequestsPerSecond(f64),
}

/// The results of a turn.
pub(super) struct Turn {
    took: Duration,
    /// How long each request waited for its answer after it was due, shortest first.
    waits: Vec<Duration>,
}

impl Turn {
    pub(super) fn rate(&self) -> f64 {
        self.rate_of(u32::try_from(self.waits.len()).expect("not that many"))
    }

    pub(super) fn rate_of(&self, count: u32) -> f64 {
        f64::from(count) / self.took.as_secs_f64()
    }

    pub(super) fn share_of(&self, seconds: f64) -> f64 {
        seconds / self.took.as_secs_f64()
    }

    pub(super) fn wait(&self, percent: usize) -> Duration {
        self.waits[(self.waits.len() * percent / 100).min(self.waits.len() - 1)]
    }
}

impl Ordinary {
    pub(super) async fn connect(port: u16) -> Self {
        let connections = join_all((0..CONNECTIONS).map(|_| Connection::open(port))).await;
        let requests = (FIRST..).map(|n| request("GET /", &token(n)));
        Self(connections.into_iter().zip(requests).collect())
    }

    pub(super) async fn run(&mut self, time: Duration, pace: Pace) -> Turn {
        let began = Instant::now();
        let every = match pace {
            Pace::Fast => Duration::ZERO,
            Pace::RequestsPerSecond(rate) => Duration::from_secs_f64(f64::from(CONNECTIONS) / rate),
        };
        let connections = (0..CONNECTIONS).zip(&mut self.0).map(|(n, (connection, request))| {
            let first = began + every * n / CONNECTIONS;
            run(connection, request, first, every, began + time)
        });
        let mut waits = join_all(connections).await.concat();
        waits.sort_unstable();
        Turn { took: began.elapsed(), waits }
    }

    /// Counts how many of these revoked tokens are not answered 401.
    pub(super) async fn let_in(&mut self, tokens: impl Iterator<Item = String>) -> u32 {
        let (connection, _) = &mut self.0[0];
        let mut let_in = 0;
        for token in tokens {
            let_in += u32::from(connection.ask(&request("GET /", &token)).await != 401);
        }
        let_in
    }
}

async fn run(
    connection: &mut Connection,
    request: &str,
    first: Instant,
    every: Duration,
    until: Instant,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut due = first;
    loop {
        let now = Instant::now();
        if every.is_zero() {
            due = now;
        }
        if due.max(now) >= until {
            return waits;
        }
        if due > now {
            sleep_until(due.into()).await;
        }
        assert_eq!(connection.ask(request).await, 200);
        waits.push(due.elapsed());
        due += every;
    }
}
