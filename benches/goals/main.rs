//! The goals of performance, each beside the figure that this machine gives: one Markdown table.
//!
//! `cargo bench --bench goals`, or with the plot of cost against the number of revoked tokens:
//! `cargo bench --bench goals -- --plot cost.svg`; or some rows alone, those of `cost`, `readers`,
//! `incident`, `full`, `memory`, `burst`, `streams` or `flood`:
//! `cargo bench --bench goals -- readers`. Linux, some eight minutes, 6 GB of memory.
//!
//! What is compared is measured in one run, in interleaved rounds; a figure is the median of the
//! rounds. "Net" is minus the same request to the same application without a layer in front; the
//! application is ready at once. The calls are measured, and the end of requests and answers with
//! them, not how the requests came to be: in both. A million tokens are revoked unless a row says
//! otherwise.

#[cfg(not(target_os = "linux"))]
compile_error!("it asks the kernel in /proc");

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
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // In a process of its own: what that process costs is what this costs.
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
