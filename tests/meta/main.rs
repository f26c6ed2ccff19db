//! The crate itself: its source and its dependencies.

// Which module may import which.
mod layering;
// Each path and link in the Markdown files has its target.
mod links;
// No dependency demands a newer Rust than the crate promises.
mod msrv;
