//! The crate itself: its source and its dependencies.

// Which module may import which.
mod layering;
// `tests/README.md` leads to files that exist.
mod map;
// No dependency demands a newer Rust than the crate promises.
mod msrv;
