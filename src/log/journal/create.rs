//! A new journal: there at once and complete, or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use redb::backends::FileBackend;

use super::refusal::{self, Refusal};
use super::{database, tables};

/// Puts an empty journal at `path`. Where somebody else was faster, theirs stays.
///
/// It is written under another name and then given its own. So a file of no bytes, or of half a
/// journal, is never one that we began: it is one that was lost.
pub(super) fn create(path: &Path) -> Result<(), Refusal> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if directory.is_file() {
        return Err(refusal::plain(
            path,
            &format!(
                "cannot be created: {} is a file, not a directory: give another path",
                directory.display()
            ),
        ));
    }
    if !directory.is_dir() {
        return Err(refusal::plain(
            path,
            &format!("cannot be created: there is no directory {}: create it", directory.display()),
        ));
    }
    let draft = draft_beside(path);
    let created = write(path, &draft).and_then(|()| publish(path, &draft));
    // A draft that stays behind is in nobody's way: no other will have its name.
    let _ = fs::remove_file(&draft);
    created
}

fn write(path: &Path, draft: &Path) -> Result<(), Refusal> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(draft).map_err(|error| {
        refusal::io(path, "cannot be created: let this process write to its directory", error)
    })?;
    let backend = FileBackend::new(file).map_err(|error| refusal::redb(path, error.into()))?;
    let create = || -> Result<(), redb::Error> {
        let database = database::builder().create_with_backend(backend)?;
        let transaction = database.begin_write()?;
        tables::create(&transaction)?;
        transaction.commit()?;
        Ok(database.close()?)
    };
    create().map_err(|error| refusal::redb(path, error))
}

fn publish(path: &Path, draft: &Path) -> Result<(), Refusal> {
    match fs::hard_link(draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        // A file system without links. To rename would replace a file that appeared since `path`
        // was looked at; only two processes that create the same journal at once can do that.
        Err(_) => fs::rename(draft, path)
            .map_err(|error| refusal::io(path, "cannot be created: check its disk", error))?,
    }
    // The name has to survive a power cut as well. Where a directory cannot be opened as a file,
    // there is no more to be done for it.
    if let Some(directory) = path.parent().and_then(|directory| File::open(directory).ok()) {
        directory
            .sync_all()
            .map_err(|error| refusal::io(path, "cannot be created: check its disk", error))?;
    }
    Ok(())
}

fn draft_beside(path: &Path) -> PathBuf {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{nanos}.new", process::id()));
    path.with_file_name(name)
}
