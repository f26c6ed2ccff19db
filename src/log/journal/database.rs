//! The settings with which the journal uses redb.

use redb::Builder;

/// In bytes. redb's default is 1 GiB, but the journal is read once, and later only where it is
/// written.
const CACHE: usize = 16 * 1024 * 1024;

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}
