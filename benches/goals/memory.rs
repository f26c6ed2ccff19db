//! Memory for each revoked token, in a process that does nothing else.

use std::thread;
use std::time::Duration;

use crate::process::{Process, resident};
use crate::subject;
use crate::table::{Goal, row};

const REVOKED: u32 = 1_000_000;

pub(crate) fn measure() {
    let bytes = Process::start(&["child", "memory"]).number();
    row(
        "memory for each of a million revoked tokens",
        Goal::AtMost(400.0),
        bytes,
        " B",
        &format!("{bytes:.1} B; 2 B more once the filter has been renewed"),
    );
}

pub(crate) fn child() {
    // The first revocations allocate the runtime and other memory that is not for each token.
    let _ = subject::layer_of(1_000);
    let before = resident();
    let _layer = subject::layer_of(REVOKED);
    // Until moka has completed its queued work.
    thread::sleep(Duration::from_secs(3));
    println!("{}", (resident() - before) / f64::from(REVOKED));
}
