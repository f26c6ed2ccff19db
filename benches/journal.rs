//! What a journal costs: an append, alone and among 64, and the start of an app whose journal holds a
//! million revocations, after it was closed and after a crash.
//!
//! `cargo bench --bench journal`. A disk that is slow to sync shows here.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use support::folder::Folder;
use support::log::{keep, pending, told};
use tower_polar_logout::Journal;

const APPENDS: usize = 6_400;
const ENTRIES: usize = 1_000_000;
const AT_ONCE: usize = 1_000;

#[tokio::main]
async fn main() {
    let folder = Folder::new("bench-journal");
    println!("| a journal | each | a second |");
    println!("|---|---|---|");
    for appenders in [1, 64] {
        let journal = Journal::open(folder.file(&appenders.to_string())).expect("a journal");
        let begun = Instant::now();
        join_all((0..appenders).map(|appender| {
            let journal = &journal;
            async move {
                for n in (appender..APPENDS).step_by(appenders) {
                    keep(journal, vec![pending(n)]).await;
                }
            }
        }))
        .await;
        row(&format!("appends, {appenders} at once"), begun.elapsed(), APPENDS);
        assert_eq!(told(&journal).await.expiries.len(), APPENDS);
    }

    let (closed, crashed) = (folder.file("closed"), folder.file("crashed"));
    let journal = Journal::open(&closed).expect("a journal");
    for first in (0..ENTRIES).step_by(AT_ONCE) {
        keep(&journal, (first..first + AT_ONCE).map(pending).collect()).await;
    }
    fs::copy(&closed, &crashed).expect("a copy");
    drop(journal);
    for (name, path) in [("closed", closed), ("crashed", crashed)] {
        let begun = Instant::now();
        let journal = Journal::open(path).expect("a journal");
        let opened = begun.elapsed();
        assert_eq!(told(&journal).await.expiries.len(), ENTRIES);
        row(&format!("{name}: opened in {opened:.1?}, and read"), begun.elapsed(), ENTRIES);
    }
}

fn row(what: &str, took: Duration, count: usize) {
    let each = took / u32::try_from(count).expect("a number");
    let a_second = Duration::from_secs(1).as_nanos() / each.as_nanos().max(1);
    println!("| {what} | {each:.1?} | {a_second} |");
}
