//! Why the journal could not do it, and what to do about it.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;

const IN_USE: &str = "is in use, by another process or by another `Journal` of this one: give each \
                      its own file";
const NOT_OURS: &str = "is not a journal of tower-polar-logout, and was left as it is: give the \
                        path of another file";
const DAMAGED: &str = "is damaged, and was left as it is: restore it from a backup; without it, \
                       tokens that were revoked are let in again until they expire";
const FULL: &str = "has no room to grow: free some on its disk. What it has kept is safe";

/// An [`Error`] that everybody who waits for the same commit gets a copy of. Names the file.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Refusal {
    pub(super) fn new(
        path: &Path,
        what: &str,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self { source: Some(Arc::new(source)), ..Self::plain(path, what) }
    }

    pub(super) fn plain(path: &Path, what: &str) -> Self {
        Self { message: format!("the journal {} {what}", path.display()), source: None }
    }

    pub(super) fn not_ours(path: &Path) -> Self {
        Self::plain(path, NOT_OURS)
    }

    pub(super) fn io(path: &Path, what: &str, error: io::Error) -> Self {
        Self::new(path, if is_full(&error) { FULL } else { what }, error)
    }

    pub(super) fn redb(path: &Path, error: redb::Error) -> Self {
        use redb::Error as E;
        let what = match &error {
            E::Io(io) if io.kind() == ErrorKind::InvalidData => NOT_OURS,
            // The file ends where there should be more of it.
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
        Self::new(path, what, error)
    }

    /// Does `work`. redb panics on some damage that it did not expect; neither the application nor
    /// the journal's thread may go down with it.
    pub(super) fn instead_of_panic<T>(
        path: &Path,
        work: impl FnOnce() -> Result<T, Self>,
    ) -> Result<T, Self> {
        // Whatever `work` left half done is the database's, and that is not used after an error.
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(Self::new(path, DAMAGED, io::Error::other(text(&*panic)))))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.source.iter().try_for_each(|source| write!(f, ": {source}"))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Self::log(refusal.message);
        match refusal.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
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
