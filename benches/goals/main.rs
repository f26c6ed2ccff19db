//! The goals of performance, each beside the figure that this machine gives: one Markdown table.
//!
//! `cargo bench --bench goals`, or with the plot of cost against the number of revoked tokens:
//! `cargo bench --bench goals -- --plot cost.svg`. Linux, some three minutes, 6 GB of memory.
//!
//! What is compared is measured in one run, in interleaved rounds; a figure is the median of the
//! rounds. "Net" is minus the same request to the same application without a layer in front; the
//! application is ready at once. The calls are measured, and the end of requests and answers with
//! them, not how the requests came to be: in both. A million tokens are revoked unless a row says
//! otherwise, and each request carries another one, as from as many users.

#[cfg(not(target_os = "linux"))]
compile_error!("it asks the kernel in /proc");

mod burst;
mod cost;
mod full;
mod incident;
mod memory;
mod peers;
mod plot;
mod process;
mod race;
mod readers;
mod subject;
mod table;

fn main() {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => goals(None),
        ["--plot", path] => goals(Some(path)),
        // In a process of their own: what that process costs is what they cost.
        ["memory"] => memory::child(),
        ["stand-in"] => burst::stand_in(),
        ["burst", url, id, secret] => burst::child(url, id, secret),
        _ => panic!("goals [--plot FILE]"),
    }
}

fn goals(plot: Option<&str>) {
    table::head();
    let curves = cost::measure();
    if let Some(path) = plot {
        std::fs::write(path, curves.svg()).expect("the plot");
    }
    readers::measure();
    incident::measure();
    full::measure();
    memory::measure();
    burst::measure();
}
