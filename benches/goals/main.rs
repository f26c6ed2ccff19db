//! Prints a Markdown table of the performance goals, each with the figure that this machine gives.
//!
//! - `cargo bench --bench goals`: all rows
//! - `cargo bench --bench goals -- --plot cost.svg`: all rows, and a plot of the cost against the
//!   number of revoked tokens
//! - `cargo bench --bench goals -- readers`: the rows of one part: `cost`, `readers`, `incident`,
//!   `full`, `memory`, `burst`, `streams` or `flood`
//!
//! It needs Linux, about eight minutes, and 6 GB of memory.
//!
//! Compared figures are measured in one run, in interleaved rounds; a figure is the median of the
//! rounds. "Net" is the cost minus that of the same request to the same app without a layer. The
//! app is ready at once. A measurement includes the call and the drop of request and answer, but
//! not the construction of the request. A million tokens are revoked unless a row says otherwise.

#[cfg(not(target_os = "linux"))]
compile_error!("this bench reads /proc, which only Linux has");

mod burst;
mod cost;
mod flood;
mod full;
mod incident;
mod memory;
mod peers;
mod plot;
mod process;
mod race;
mod readers;
mod streams;
mod subject;
mod table;

const PARTS: [(&str, fn()); 7] = [
    ("readers", readers::measure),
    ("incident", incident::measure),
    ("full", full::measure),
    ("memory", memory::measure),
    ("burst", burst::measure),
    ("streams", streams::measure),
    ("flood", flood::measure),
];

fn main() {
    // `cargo bench` adds the argument `--bench`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // In separate processes, so that memory and CPU time of each can be measured.
        ["child", "memory"] => memory::child(),
        ["child", "polar"] => burst::polar(),
        ["child", "burst", url, id, secret] => burst::child(url, id, secret),
        ["child", "calls", url, id, secret] => burst::calls(url, id, secret),
        ["child", "flooded polar", calls] => flood::polar(calls),
        ["child", "flooded", limit, queue_capacity, url, id, secret] => {
            flood::serve(limit, queue_capacity, url, id, secret);
        }
        [] => table(None, ""),
        ["--plot", path] => table(Some(path), ""),
        [part] => table(None, part),
        _ => panic!("goals [--plot FILE | PART]"),
    }
}

/// All rows, or those of one part.
fn table(plot: Option<&str>, only: &str) {
    table::head();
    let is_wanted = |part: &str| only.is_empty() || only == part;
    if is_wanted("cost") {
        let curves = cost::measure();
        if let Some(path) = plot {
            std::fs::write(path, curves.svg()).expect("the plot");
        }
    }
    for (_, measure) in PARTS.iter().filter(|(part, _)| is_wanted(part)) {
        measure();
    }
}
