//! redb as the journal uses it.

use redb::Builder;

/// redb's own default is 1 GiB. The journal is read once, and then only where it is written.
const CACHE: usize = 16 * 1024 * 1024;

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}
