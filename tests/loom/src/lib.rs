//! The filter of revoked tokens, under loom: in every order that its threads can take, and with
//! every value that the memory model lets them read.
//!
//! `cargo test --manifest-path tests/loom/Cargo.toml`
#![cfg(test)]

mod stories;

#[allow(dead_code, reason = "not all of the filter is modelled")]
#[allow(clippy::all, clippy::pedantic, reason = "looked at where it is written")]
mod filter {
    include!(concat!(env!("OUT_DIR"), "/filter.rs"));
}

use std::cell::Cell;

thread_local! {
    /// What is broken, of the list in `build.rs`. loom runs all threads of a model on one of std's.
    static BROKEN: Cell<&'static str> = const { Cell::new("") };
}

fn is_broken(name: &str) -> bool {
    BROKEN.get() == name
}
