//! Two readers at the same time, beside a writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tower::{Layer, service_fn};
use tower_polar_logout::{LogoutHandle, LogoutOutcome, PolarLogoutLayer};

use crate::race::{batch_of, each, median};
use crate::subject::{self, MANY, RUNTIME, app};
use crate::table::{Goal, row};

const REVOKED: u32 = 1_000_000;
const ROUNDS: u32 = 10;
const PHASE: Duration = Duration::from_millis(200);
/// Ten every millisecond: 10,000 a second.
const WRITES: u32 = 10;
const EVERY: Duration = Duration::from_millis(1);

pub(crate) fn measure() {
    // Room for the tokens that are revoked meanwhile, with a margin.
    let layer = subject::layer(REVOKED + 100_000);
    RUNTIME.block_on(subject::revoke(&layer.handle(), REVOKED, |order| order));
    let (mut alone, mut beside, mut rates) = (Vec::new(), [const { Vec::new() }; 2], Vec::new());
    let mut written = REVOKED;
    for _ in 0..ROUNDS {
        alone.push(read(&layer));
        let (first, second, rate) = beside_a_writer(&layer, &mut written);
        rates.push(rate);
        beside[0].push(first);
        beside[1].push(second);
    }
    let alone = median(alone);
    let beside = beside.map(median);
    let slower = beside[0].max(beside[1]);
    let rate = median(rates);
    row(
        "bearer figure of the slower of two readers beside a writer, relative to one reader alone",
        Goal::AtMost(1.25),
        slower / alone,
        " x",
        &format!(
            "{:.0} ns and {:.0} ns, alone {alone:.0} ns, {rate:.0} written a second",
            beside[0], beside[1]
        ),
    );
}

fn beside_a_writer(layer: &PolarLogoutLayer, written: &mut u32) -> (f64, f64, f64) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(&layer.handle(), &is_over, written));
        let other = scope.spawn(|| read(layer));
        let (first, second) = (read(layer), other.join().expect("a figure"));
        is_over.store(true, Ordering::Relaxed);
        (first, second, writer.join().expect("a rate"))
    })
}

/// The net bearer figure: the median of batches, each compared with a batch without the layer.
fn read(layer: &PolarLogoutLayer) -> f64 {
    let (mut bare, mut layered) = (service_fn(app), layer.layer(service_fn(app)));
    let mut tokens = MANY.tokens();
    let mut request = || subject::bearer(&tokens());
    let begun = Instant::now();
    let mut figures = Vec::new();
    while begun.elapsed() < PHASE {
        let without = batch_of(&mut bare, &mut request);
        figures.push(each(batch_of(&mut layered, &mut request)) - each(without));
    }
    median(figures)
}

/// Revokes tokens until it is over. Returns how many a second.
fn write(handle: &LogoutHandle, is_over: &AtomicBool, next: &mut u32) -> f64 {
    let (begun, first) = (Instant::now(), *next);
    let mut due = begun;
    while !is_over.load(Ordering::Relaxed) {
        let orders = (*next..*next + WRITES).map(|n| subject::session_id(&subject::token(n)));
        assert_eq!(RUNTIME.block_on(handle.revoke(orders)), LogoutOutcome::Confirmed);
        *next += WRITES;
        due += EVERY;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    f64::from(*next - first) / begun.elapsed().as_secs_f64()
}
