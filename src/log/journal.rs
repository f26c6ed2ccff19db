//! The revocation log as a file of this machine, kept by redb.
//!
//! The file holds state, not history: one entry for each revoked hash, with its expiry and, until
//! Polar is told, the sealed token. [`Event`]s may come twice and in any order:
//!
//! - the denylist is the same whatever the order: of two expiries the later holds, and a
//!   [`Event::Delivered`] takes nothing from it;
//! - the queue to Polar errs towards telling Polar once more: a `Revoked` with a sealed token is
//!   pending until the next `Delivered`, also where a `Delivered` came before it. Was it late, or
//!   was the token logged out again? Nobody can tell, and to tell Polar twice is harmless. A
//!   `Revoked` without a sealed token never makes an entry pending.
//!
//! An entry that has expired and is not pending is removed, some at each append and the rest when
//! there is nothing else to do.

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

/// How many appends may wait for the disk. A disk that hangs must not fill the memory with them.
const QUEUE: usize = 10_000;

/// A [`RevocationLog`] in a file: what is revoked, and what Polar is yet to be told, survives this
/// process, also when it is killed.
///
/// A clone is another handle of the same journal. One process at a time may have the file open.
///
/// # Durability
///
/// An append resolves once its events are synced to the disk. Appends that come together share one
/// sync, which a thread of the journal's own does; whoever awaits blocks no thread. Where the disk
/// is full an append resolves to an error, and the next one tries again: nothing needs to be
/// restarted once there is room.
///
/// # The file
///
/// It is created with the permissions 0600, complete or not at all; those of a file that exists
/// are left as they are. It holds hashes of tokens, expiries, and tokens sealed under a key
/// derived from the client secret, never a token one could use. Its checksums are verified
/// whenever it is opened, before the first byte of it is changed.
///
/// # Closing
///
/// [`close`](Self::close) waits, without blocking a thread, until everything appended is on disk and
/// the file is closed. Dropping the last handle does the same and blocks the thread, usually for
/// some milliseconds. Afterwards the file can be opened again at once.
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
    /// `None` only while it is being dropped: the thread ends once there is nobody to send it jobs.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal at `path`, and creates it where there is no such file.
    ///
    /// Blocks while it reads the whole file, to verify it: some tenths of a second for
    /// 100,000 revocations.
    ///
    /// # Errors
    ///
    /// The message names the file and says what to do. The file is left as it was, to the byte,
    /// where
    ///
    /// - it cannot be created, read or written: the directory does not exist, the path is a
    ///   directory, a permission is missing, the disk is full;
    /// - it is in use, by another process or by another `Journal` of this one;
    /// - it is empty, or not a journal, or one of a newer version of this crate;
    /// - it is damaged. What it still says is not used: a token whose revocation cannot be read
    ///   would be let in again.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        // Absolute, since it may be opened again after the application has changed directory.
        let path = std::path::absolute(path.as_ref()).map_err(|error| {
            Error::log("the journal's path is empty: name a file").with_source(error)
        })?;
        let store = Store::open_or_create(&path)?;
        let (jobs, queue) = sync_channel(QUEUE);
        let writer = Writer::new(path.clone(), store, queue);
        let thread = thread::Builder::new()
            .name("polar-logout-journal".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| refusal::new(&path, "has no thread to write it", error))?;
        Ok(Self(Arc::new(Inner { path, jobs: Some(jobs), thread: Some(thread) })))
    }

    /// Closes the file, for all handles: waits until everything appended before is on disk. What is
    /// appended afterwards is refused, so shut the layer down first
    /// ([`LogoutHandle::shutdown`](crate::LogoutHandle::shutdown)). Closing it again does nothing.
    ///
    /// # Errors
    ///
    /// The file could not be closed well. It is as whole as after a crash: the next one to open it
    /// repairs it.
    pub async fn close(&self) -> Result<(), Error> {
        let (reply, closed) = oneshot::channel();
        let close = Job::Close(reply);
        // It is short of room only while the disk does not keep up.
        let Some(jobs) = self.0.jobs.clone() else { return Ok(()) };
        let sent = tokio::task::spawn_blocking(move || jobs.send(close).is_ok()).await;
        match sent {
            Ok(true) => Ok(closed.await.unwrap_or(Ok(()))?),
            // Closed already.
            _ => Ok(()),
        }
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        let sent = match &self.0.jobs {
            Some(jobs) => jobs.try_send(job),
            None => Err(TrySendError::Disconnected(job)),
        };
        sent.map_err(|error| match error {
            TrySendError::Full(_) => Error::log(format!(
                "{QUEUE} appends wait for the journal {} already: its disk does not keep up",
                self.0.path.display()
            )),
            TrySendError::Disconnected(_) => self.ended(),
        })
    }

    fn ended(&self) -> Error {
        Error::log(format!("the journal {} is closed: open it again", self.0.path.display()))
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Job,
    ) -> LogFuture<'_, T> {
        let (reply, answer) = oneshot::channel();
        // Now and not when first polled: a caller that hangs up must not undo it.
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
            // Nobody else writes the file: all was told at once.
            return Box::pin(std::future::pending());
        }
        let replay = self.ask(Job::Replay);
        Box::pin(async {
            let (events, cursor) = (replay.await?, Cursor::new("end"));
            Ok(Followed::new(events, cursor))
        })
    }

    /// As [`RevocationLog::append`]. The events are on their way once this returns, whether the
    /// future is polled or not.
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
            // It catches its panics; one that it missed has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}
