//! The processes that tests start: `child TASK [JOURNAL]`.
//!
//! An example, because cargo builds examples before it runs tests, with the same dependencies, and
//! at a path that a test can find (`support::example`). A `#[test]` that another test starts as a
//! process would also run in each `cargo test`, without effect.

use std::path::Path;
use std::process::ExitCode;
use std::{env, io};

use support::log::{keep, pending, told};
use tower_polar_logout::log::RevocationLog;
use tower_polar_logout::{ClientCredentials, Error, Journal, PolarServer};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match *arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        ["print-environment"] => print_environment(),
        ["hold", journal] => hold(&open(journal)),
        ["append", journal] => append(&open(journal)).await,
        ["fill-disk", journal] => fill_disk(&open(journal)).await,
        _ => {
            eprintln!(
                "child print-environment | hold JOURNAL | append JOURNAL | fill-disk JOURNAL"
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn open(path: impl AsRef<Path>) -> Journal {
    Journal::open(path).expect("a journal")
}

fn print_environment() {
    match ClientCredentials::from_env() {
        Ok(credentials) => println!("{credentials:?}"),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
    match PolarServer::from_env() {
        Ok(server) => println!("{server:?}"),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
}

fn wait_for_parent() {
    io::stdin().read_line(&mut String::new()).expect("a line");
}

/// Holds the journal until the parent writes a line.
fn hold(_: &Journal) {
    println!("holding");
    wait_for_parent();
}

/// Appends until it is killed.
async fn append(journal: &Journal) {
    let first = told(journal).await.expiries.len();
    let appenders = (0..8).map(|appender| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for n in (first + appender..).step_by(8) {
                keep(&journal, vec![pending(n)]).await;
                println!("acknowledged {n}");
            }
        })
    });
    for appender in appenders.collect::<Vec<_>>() {
        appender.await.expect("it does not end");
    }
}

/// Appends until there is no room, and again after the parent has made room.
async fn fill_disk(journal: &Journal) {
    let mut numbers = (0..).step_by(16);
    let refusal = loop {
        if let Some(refusal) = sixteen(journal, numbers.next().expect("endless")).await {
            break refusal;
        }
    };
    println!("refused {:?} {refusal}", refusal.kind());
    wait_for_parent();
    for n in numbers.take(100) {
        assert!(sixteen(journal, n).await.is_none(), "there is room");
    }
}

/// Appends sixteen events at once, from `n` on. Returns the error of the last one that failed.
async fn sixteen(journal: &Journal, n: usize) -> Option<Error> {
    let appends = (n..n + 16).map(|n| (n, journal.append(vec![pending(n)])));
    let mut refusal = None;
    for (n, append) in appends.collect::<Vec<_>>() {
        match append.await {
            Ok(_) => println!("acknowledged {n}"),
            Err(error) => refusal = Some(error),
        }
    }
    refusal
}
