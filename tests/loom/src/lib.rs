//! The filter of denied hashes, under loom: in every order of its threads, and with every value
//! that the memory model lets them read.
//!
//! `cargo test --manifest-path tests/loom/Cargo.toml`
#![cfg(test)]

mod stories;

#[allow(dead_code, reason = "the models do not use the whole filter")]
#[allow(clippy::all, clippy::pedantic, reason = "checked in the original file")]
mod filter {
    include!(concat!(env!("OUT_DIR"), "/filter.rs"));
}

use std::cell::Cell;

thread_local! {
    /// The break that is on, by its name in `build.rs`. loom runs all threads of a model on one std
    /// thread.
    static BROKEN: Cell<&'static str> = const { Cell::new("") };
}

fn is_broken(name: &str) -> bool {
    BROKEN.get() == name
}
