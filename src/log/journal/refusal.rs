//! The errors of the journal. Each names the file and says what to do.

use std::any::Any;
use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub(super) use crate::log::refusal::Refusal;

const IN_USE: &str = "is in use by another process, or by another `Journal` of this process: give \
                      each its own file";
const NOT_OURS: &str = "is not a journal of tower-polar-logout, and was not changed: give the path \
                        of another file";
const DAMAGED: &str = "is damaged, and was not changed: restore it from a backup; without it, \
                       revoked tokens are accepted again until they expire";
const FULL: &str = "cannot grow: free space on its disk; the revocations that it holds are safe";

pub(super) fn new(
    path: &Path,
    what: &str,
    source: impl StdError + Send + Sync + 'static,
) -> Refusal {
    plain(path, what).with_source(source)
}

pub(super) fn plain(path: &Path, what: &str) -> Refusal {
    Refusal::new(format!("the journal {} {what}", path.display()))
}

pub(super) fn not_ours(path: &Path) -> Refusal {
    plain(path, NOT_OURS)
}

pub(super) fn io(path: &Path, what: &str, error: io::Error) -> Refusal {
    new(path, if is_full(&error) { FULL } else { what }, error)
}

pub(super) fn redb(path: &Path, error: redb::Error) -> Refusal {
    use redb::Error as E;
    let what = match &error {
        E::Io(io) if io.kind() == ErrorKind::InvalidData => NOT_OURS,
        // The file is shorter than its contents say.
        E::Io(io) if io.kind() == ErrorKind::UnexpectedEof => DAMAGED,
        E::Io(io) if is_full(io) => FULL,
        E::Io(_) => "cannot be read or written: check its disk",
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch => IN_USE,
        E::UpgradeRequired(_)
        | E::TableDoesNotExist(_)
        | E::TableIsMultimap(_)
        | E::TableTypeMismatch { .. }
        | E::TypeDefinitionChanged { .. } => NOT_OURS,
        E::Corrupted(_) => DAMAGED,
        _ => "cannot be used",
    };
    new(path, what, error)
}

/// Does `work`, and turns a panic into an error. redb panics on some kinds of damage, which must
/// end neither the app nor the journal's thread.
pub(super) fn instead_of_panic<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    // Only the database can be left half changed, and it is not used after an error.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(new(path, DAMAGED, io::Error::other(text(&*panic)))))
}

fn is_full(error: &io::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("redb panicked: {}", text.unwrap_or("without a message"))
}
