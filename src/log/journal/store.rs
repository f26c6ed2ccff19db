//! The database in the file: opened only once it is known to be a whole journal.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use redb::{Database, ReadableDatabase};

use super::create::create;
use super::database;
use super::newest;
use super::preview::Preview;
use super::refusal::{self, Refusal};
use super::tables::{self, Format, Tables};
use crate::log::Event;
use crate::log::millis::millis;

/// How many spent entries a transaction removes, at most. More than it adds, or a backlog would
/// never go; few enough to hold an append up for some milliseconds only.
const PURGE: usize = 2_048;

#[derive(Debug)]
pub(super) struct Store(Database);

impl Store {
    pub(super) fn open_or_create(path: &Path) -> Result<Self, Refusal> {
        match fs::metadata(path) {
            // `NotADirectory`: a part of the path is a file, which `create` says.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                create(path)?;
            }
            _ => {}
        }
        Self::open(path)
    }

    /// Opens what is there already: a journal that vanished while in use is not begun anew.
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        refusal::instead_of_panic(path, || {
            inspect(path)?;
            if newest::prefer(path).map_err(|error| refusal::redb(path, error))? {
                inspect(path)?;
            }
            let database = database::builder()
                .open(path)
                .map_err(|error| refusal::redb(path, error.into()))?;
            Ok(Self(database))
        })
    }

    /// Keeps all of `events` or none, and removes some of what is spent.
    pub(super) fn append<'a>(
        &self,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        // In two phases, so that what is current can be told from what is damaged: in one phase,
        // redb takes a damaged commit for one that a crash cut short, and forgets it.
        transaction.set_two_phase_commit(true);
        {
            let mut tables = Tables::open(&transaction)?;
            for event in events {
                tables.record(event)?;
            }
            tables.purge(millis(SystemTime::now()), PURGE)?;
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn has_spent(&self) -> Result<bool, redb::Error> {
        tables::has_spent(&self.0.begin_read()?, millis(SystemTime::now()))
    }

    pub(super) fn replay(&self) -> Result<Vec<Event>, redb::Error> {
        let now = millis(SystemTime::now());
        let mut events = Vec::new();
        tables::for_each(&self.0.begin_read()?, |hash, entry| {
            if !entry.is_spent(now) {
                events.push(entry.into_event(hash));
            }
        })?;
        Ok(events)
    }

    pub(super) fn close(self, path: &Path) -> Result<(), Refusal> {
        refusal::instead_of_panic(path, || {
            self.0.close().map_err(|error| refusal::redb(path, error.into()))
        })
    }
}

/// Whether there is a journal at `path`, whole and one that we can read. Changes no byte of it.
fn inspect(path: &Path) -> Result<(), Refusal> {
    const OPEN: &str = "cannot be opened: let this process read and write it";
    let metadata = fs::metadata(path).map_err(|error| refusal::io(path, OPEN, error))?;
    if metadata.is_dir() {
        return Err(refusal::plain(path, "is a directory: give the path of a file in it"));
    }
    if !metadata.is_file() {
        return Err(refusal::plain(path, "is not a regular file: give the path of one"));
    }
    if metadata.len() == 0 {
        return Err(refusal::plain(
            path,
            "is empty, which a journal never is: restore it from a backup, or remove it to begin \
             a new one",
        ));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| refusal::io(path, OPEN, error))?;
    match read_all(file).map_err(|error| refusal::redb(path, error))? {
        Format::Ours => Ok(()),
        Format::NotOurs => Err(refusal::not_ours(path)),
        Format::Newer(format) => Err(refusal::plain(
            path,
            &format!("has format {format}, of a newer tower-polar-logout: use that"),
        )),
    }
}

fn read_all(file: fs::File) -> Result<Format, redb::Error> {
    let preview = Preview::of(file)?;
    let database =
        database::builder().set_check_integrity_on_open(true).create_with_backend(preview)?;
    let transaction = database.begin_read()?;
    let format = tables::format(&transaction)?;
    if let Format::Ours = format {
        tables::for_each(&transaction, |_, _| {})?;
    }
    Ok(format)
}
