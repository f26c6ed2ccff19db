//! The crate itself: its source, its documents and its dependencies.

// Modules import only the modules that the table allows.
mod layering;
// Each path and link in the Markdown files has a target.
mod links;
// No dependency needs a newer Rust than the crate promises.
mod msrv;
// The guide quotes the error texts of the source.
mod quotes;
