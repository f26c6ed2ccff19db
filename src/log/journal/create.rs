//! Creates a journal file, completely or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use redb::backends::FileBackend;

use super::refusal::{self, Refusal};
use super::{database, tables};

/// Creates an empty journal at `path`. If another process creates it first, that one stays.
///
/// The file is written under another name first. So an empty or incomplete file at `path` is never
/// a journal that is still being created: it is one that has lost its contents.
pub(super) fn create(path: &Path) -> Result<(), Refusal> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if let Some(file) = directory.ancestors().find(|ancestor| ancestor.is_file()) {
        return Err(refusal::plain(
            path,
            &format!(
                "cannot be created, because {} is a file, not a directory: give another path",
                file.display()
            ),
        ));
    }
    if !directory.is_dir() {
        return Err(refusal::plain(
            path,
            &format!(
                "cannot be created, because there is no directory {}: create the directory",
                directory.display()
            ),
        ));
    }
    let draft = draft_beside(path);
    let created = write(path, &draft).and_then(|()| publish(path, &draft));
    // A draft that cannot be removed does no harm: no other draft gets its name.
    let _ = fs::remove_file(&draft);
    created
}

fn write(path: &Path, draft: &Path) -> Result<(), Refusal> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(draft).map_err(|error| {
        let what = "cannot be created: give this process write permission for its directory";
        refusal::io(path, what, error)
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
        // The file system has no hard links. A rename would replace a file that another process
        // has created in the meantime, but only if both create the same journal at the same time.
        Err(_) => fs::rename(draft, path)
            .map_err(|error| refusal::io(path, "cannot be created: check its disk", error))?,
    }
    // The name must survive a power failure too. Some platforms cannot open a directory as a file,
    // and offer no other way to sync it.
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
