//! A revocation log in a local file, stored with redb.
//!
//! The file holds state, not history: one entry for each revoked hash, with its expiry and, until
//! the token is delivered, the sealed token. [`Event`]s may come twice and in any order:
//!
//! - The denylist does not depend on the order: of two expiries the later one applies, and an
//!   [`Event::Delivered`] removes nothing from the denylist.
//! - A `Revoked` with a sealed token is pending until the next `Delivered`, even if a `Delivered`
//!   came before it. That `Revoked` may be late, or the token may have been logged out again: the
//!   journal cannot know, and delivering a token twice is harmless.
//! - A `Revoked` without a sealed token never makes an entry pending.
//!
//! Entries that have expired and are not pending are removed: some at each append, and the rest
//! while the journal is idle.

mod create;
mod database;
mod entry;
mod newest;
mod preview;
mod refusal;
mod store;
mod tables;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use self::refusal::Refusal;
use self::store::Store;
use self::writer::{Append, Job, Writer};
use super::{Cursor, Event, Followed, Kept, LogFuture, RevocationLog};
use crate::error::Error;

/// How many appends may wait for the disk. The limit bounds the memory that they take if the disk
/// hangs.
const QUEUE: usize = 10_000;

/// A [`RevocationLog`] in a file. Revocations, and tokens that are not delivered yet, survive this
/// process, even if it is killed.
///
/// A clone is another handle of the same journal. Only one process at a time can open the file.
///
/// # Durability
///
/// An append resolves once its events are synced to the disk. Appends that come together share one
/// sync. The journal has its own thread for that, so an append blocks no other thread.
///
/// If the disk is full, an append resolves to an error, and the next append tries again. Once there
/// is room, nothing needs to be restarted.
///
/// # The file
///
/// - A new file is created complete or not at all, with the permissions 0600. The permissions of an
///   existing file are not changed.
/// - The file holds hashes of tokens, expiries, and tokens sealed under a key that is derived from
///   the client secret. It never holds a usable token.
/// - Its checksums are verified whenever it is opened, before anything in it is changed.
///
/// # Closing
///
/// [`close`](Self::close) waits, without blocking a thread, until all appends are on disk and the
/// file is closed. Dropping the last handle does the same and blocks the thread, usually for some
/// milliseconds. Afterwards the file can be opened again at once.
///
/// ```no_run
/// # fn main() -> Result<(), tower_polar_logout::Error> {
/// let journal = tower_polar_logout::Journal::open("/var/lib/app/revocations.redb")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// `None` only during drop: the thread ends once the last sender is dropped.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal at `path`, and creates it if the file does not exist.
    ///
    /// Blocks while it reads and verifies the whole file: some tenths of a second for 100,000
    /// revocations.
    ///
    /// # Errors
    ///
    /// The message names the file and says what to do. No byte of the file is changed if
    ///
    /// - it cannot be created, read or written: the directory does not exist, the path is a
    ///   directory, a permission is missing, or the disk is full;
    /// - it is in use by another process, or by another `Journal` of this process;
    /// - it is empty, is not a journal, or is a journal of a newer version of this crate;
    /// - it is damaged. Its readable part is not used either, because tokens whose revocations
    ///   cannot be read would be accepted again.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        // Absolute, because the file may be opened again after the app has changed its directory.
        let path = std::path::absolute(path.as_ref()).map_err(|error| {
            Error::log("the journal's path is empty: give the path of a file").with_source(error)
        })?;
        let store = Store::open_or_create(&path)?;
        let (jobs, queue) = sync_channel(QUEUE);
        let writer = Writer::new(path.clone(), store, queue);
        let thread = thread::Builder::new()
            .name("polar-logout-journal".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| refusal::new(&path, "could not start its thread", error))?;
        Ok(Self(Arc::new(Inner { path, jobs: Some(jobs), thread: Some(thread) })))
    }

    /// Closes the file for all handles, after all earlier appends are on disk. Later appends fail,
    /// so shut down the layer first ([`LogoutHandle::shutdown`](crate::LogoutHandle::shutdown)).
    /// Closing again does nothing.
    ///
    /// # Errors
    ///
    /// The file could not be closed cleanly. No event is lost: as after a crash, the file is
    /// repaired when it is opened again. Or too many appends wait for the disk: then the journal is
    /// open still.
    pub async fn close(&self) -> Result<(), Error> {
        let (reply, closed) = oneshot::channel();
        let Some(jobs) = &self.0.jobs else { return Ok(()) };
        match jobs.try_send(Job::Close(reply)) {
            // Without an answer another handle has closed it meanwhile.
            Ok(()) => Ok(closed.await.unwrap_or(Ok(()))?),
            Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(self.is_full()),
        }
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        let sent = match &self.0.jobs {
            Some(jobs) => jobs.try_send(job),
            None => Err(TrySendError::Disconnected(job)),
        };
        sent.map_err(|error| match error {
            TrySendError::Full(_) => self.is_full(),
            TrySendError::Disconnected(_) => self.ended(),
        })
    }

    fn is_full(&self) -> Error {
        Error::log(format!(
            "{QUEUE} appends already wait for the journal {}: check its disk, which is too slow or \
             does not respond",
            self.0.path.display()
        ))
    }

    fn ended(&self) -> Error {
        Error::log(format!("the journal {} is closed: open it again", self.0.path.display()))
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Job,
    ) -> LogFuture<'_, T> {
        let (reply, answer) = oneshot::channel();
        // Sent now, not when the future is polled: a caller that hangs up must not undo it.
        let sent = self.send(job(reply));
        Box::pin(async move {
            sent?;
            Ok(answer.await.map_err(|_| self.ended())??)
        })
    }
}

impl RevocationLog for Journal {
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        if after.is_some() {
            // The first step returned all events, and no other process writes the file.
            return Box::pin(std::future::pending());
        }
        let replay = self.ask(Job::Replay);
        Box::pin(async {
            let (events, cursor) = (replay.await?, Cursor::new("end"));
            Ok(Followed::new(events, cursor))
        })
    }

    /// As [`RevocationLog::append`]. The events are appended even if the future is never polled.
    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        if events.is_empty() {
            return Box::pin(std::future::ready(Ok(Kept::Durably)));
        }
        let append = self.ask(|reply| Job::Append(Append { events, reply }));
        Box::pin(async { append.await.map(|()| Kept::Durably) })
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // The thread catches its panics. The panic hook has reported any other.
            let _ = thread.join();
        }
    }
}
