//! The crate itself: its source and its dependencies.

// Which module may import which.
mod layering;
// No dependency demands a newer Rust than the crate promises.
mod msrv;
