//! Measures the cost of the layer end to end: hello-world over loopback, with the layer and with a
//! layer that does nothing.
//!
//! `cargo bench --bench hello`
//!
//! - There are 64 connections, kept alive, with one request at a time on each.
//! - Every request carries a bearer token that is not among the million revoked ones: one of 4,096,
//!   in turn.
//! - The server is a separate process, so that its CPU time is separate from the load's. Server and
//!   load have one thread each, so that on two cores neither waits for the other.
//! - The load sends prepared requests and checks only status and length, so that the server is the
//!   bottleneck.
//! - The two layers take many short turns, so that other work of the machine affects both. A ratio
//!   is between the two turns of a round, and the figure is the median of the rounds.

mod load;
mod server;

use std::env;
use std::time::Duration;

use load::Load;
use server::{LAYERS, SERVERS, Server};
use tokio::runtime;

const ROUNDS: usize = 61;
const TURN: Duration = Duration::from_millis(250);

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", server, layer] => runtime.block_on(server::serve(server, layer)),
        _ => runtime.block_on(measure()),
    }
}

async fn measure() {
    let mut notes = String::new();
    println!("| what | goal | figure | |\n|---|---|---|---|");
    for server in SERVERS {
        let mut sides = Vec::new();
        for layer in LAYERS {
            sides.push(Side::start(server, layer).await);
        }
        for _ in 0..ROUNDS {
            for side in &mut sides {
                side.measure().await;
            }
            // So that neither is always first.
            sides.reverse();
        }
        sides.sort_by_key(|side| LAYERS.iter().position(|layer| *layer == side.layer));
        let [without, with] = &sides[..] else { panic!("two layers") };

        let rate = median(ratios(with, without, |round| round.rate));
        let cpu = median(ratios(with, without, |round| round.cpu));
        let met = |met| if met { "met" } else { "falls short" };
        println!(
            "| {server}, requests/s | at least 0.97 x | {rate:.3} x | {} |",
            met(rate >= 0.97)
        );
        println!(
            "| {server}, CPU a request | at most 1.03 x | {cpu:.3} x | {} |",
            met(cpu <= 1.03)
        );
        for side in [without, with] {
            notes += &side.note(server);
        }
    }
    println!("\n{notes}");
}

/// One of the two layers that are compared.
struct Side {
    layer: &'static str,
    server: Server,
    load: Load,
    rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
struct Round {
    /// Requests a second.
    rate: f64,
    /// The server's CPU for a request, in microseconds.
    cpu: f64,
    /// The share of the time that the server was on a core; 1 is always.
    busy: f64,
}

impl Side {
    async fn start(server: &'static str, layer: &'static str) -> Self {
        let server = Server::start(server, layer);
        let mut load = Load::connect(server.port).await;
        load.run(TURN * 2).await;
        Self { layer, server, load, rounds: Vec::new() }
    }

    async fn measure(&mut self) {
        let before = self.server.cpu();
        let (requests, time) = self.load.run(TURN).await;
        let cpu = self.server.cpu() - before;
        self.rounds.push(Round {
            rate: f64::from(requests) / time.as_secs_f64(),
            cpu: cpu * 1e6 / f64::from(requests),
            busy: cpu / time.as_secs_f64(),
        });
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }

    fn note(&self, server: &str) -> String {
        format!(
            "{server}, {}: {:.0} requests/s, {:.2} us of CPU a request, the server busy {:.0} %\n",
            self.layer,
            self.median(|round| round.rate),
            self.median(|round| round.cpu),
            self.median(|round| round.busy) * 100.0,
        )
    }
}

fn ratios(with: &Side, without: &Side, figure: fn(&Round) -> f64) -> impl Iterator<Item = f64> {
    with.rounds
        .iter()
        .zip(&without.rounds)
        .map(move |(with, without)| figure(with) / figure(without))
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
