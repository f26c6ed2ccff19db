//! The journal's thread, the only one that uses the file.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

use super::refusal::{self, Refusal};
use super::store::Store;
use crate::log::Event;

/// A transaction takes no further append once it has this many events.
const BATCH: usize = 1_024;

/// The thread looks for spent entries after it has been idle for this long. A journal that is
/// always in use removes them with its appends.
const IDLE: Duration = Duration::from_secs(5);

pub(super) struct Append {
    pub(super) events: Vec<Event>,
    pub(super) reply: oneshot::Sender<Result<(), Refusal>>,
}

pub(super) enum Job {
    Append(Append),
    Replay(oneshot::Sender<Result<Vec<Event>, Refusal>>),
    Close(oneshot::Sender<Result<(), Refusal>>),
}

pub(super) struct Writer {
    path: PathBuf,
    /// `None` after an error, until the next job opens the file again: after any error, even a full
    /// disk, redb refuses to use an open file.
    store: Option<Store>,
    jobs: Receiver<Job>,
    /// The next job, already taken from `jobs`.
    next: Option<Job>,
}

impl Writer {
    pub(super) fn new(path: PathBuf, store: Store, jobs: Receiver<Job>) -> Self {
        Self { path, store: Some(store), jobs, next: None }
    }

    /// Runs until [`Job::Close`], or until the last sender is dropped and the last job is done.
    pub(super) fn run(mut self) {
        // Looks at once for entries that expired before the file was opened.
        let mut patience = Duration::ZERO;
        while let Some(next) = self.step(patience) {
            patience = next;
        }
        if let Some(store) = self.store {
            // After an error the file is repaired when it is opened again, as after a crash.
            let _ = store.close(&self.path);
        }
    }

    /// Does the next job. If none comes for `patience`, removes spent entries. Returns how long to
    /// wait for the following job, or `None` after the last one.
    fn step(&mut self, patience: Duration) -> Option<Duration> {
        let job = match self.next.take() {
            Some(job) => Ok(job),
            None => self.jobs.recv_timeout(patience),
        };
        // A job is done even if its sender no longer waits for the reply.
        match job {
            Ok(Job::Append(first)) => {
                let mut batch = vec![first];
                self.next = self.join(&mut batch);
                self.append(batch);
                Some(patience)
            }
            Ok(Job::Replay(reply)) => {
                let _ = reply.send(self.with_store(Store::replay));
                Some(patience)
            }
            Ok(Job::Close(reply)) => {
                let closed = self.store.take().map_or(Ok(()), |store| store.close(&self.path));
                let _ = reply.send(closed);
                None
            }
            Err(RecvTimeoutError::Timeout) => {
                Some(if self.purge() { Duration::ZERO } else { IDLE })
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Adds the waiting appends to the batch. Returns the first job that does not belong to it.
    fn join(&self, batch: &mut Vec<Append>) -> Option<Job> {
        let mut events = batch.iter().map(|append| append.events.len()).sum::<usize>();
        while events < BATCH {
            match self.jobs.try_recv().ok()? {
                Job::Append(append) => {
                    events += append.events.len();
                    batch.push(append);
                }
                job => return Some(job),
            }
        }
        None
    }

    fn append(&mut self, batch: Vec<Append>) {
        let events = batch.iter().flat_map(|append| &append.events);
        let done = self.with_store(|store| store.append(events));
        for append in batch {
            let _ = append.reply.send(done.clone());
        }
    }

    /// Removes some spent entries, and returns whether there are more.
    fn purge(&mut self) -> bool {
        // After an error the next job opens the file again, and reports the error if it persists.
        if self.store.is_none() {
            return false;
        }
        let purged = self.with_store(|store| {
            if store.has_spent()? {
                store.append(std::iter::empty())?;
            }
            store.has_spent()
        });
        purged.unwrap_or_else(|refusal| {
            warn!(error = %refusal, "expired revocations could not be removed from the journal");
            false
        })
    }

    fn with_store<T>(
        &mut self,
        work: impl FnOnce(&Store) -> Result<T, redb::Error>,
    ) -> Result<T, Refusal> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open(&self.path)?,
        };
        let done = refusal::instead_of_panic(&self.path, || {
            work(&store).map_err(|error| refusal::redb(&self.path, error))
        });
        match done {
            Ok(done) => {
                self.store = Some(store);
                Ok(done)
            }
            Err(refusal) => {
                let _ = store.close(&self.path);
                Err(refusal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::sync_channel;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::token::TokenHash;

    fn expired(n: usize) -> Event {
        let hash = TokenHash::of(n.to_be_bytes());
        Event::Revoked { hash, expires_at: UNIX_EPOCH, sealed: None }
    }

    #[test]
    fn spent_entries_are_removed_in_steps_when_idle() {
        let path = std::env::temp_dir().join(format!("journal-idle-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let store = Store::open_or_create(&path).expect("a journal");
        let (jobs, queue) = sync_channel(1);
        let mut writer = Writer::new(path.clone(), store, queue);

        let (reply, mut answer) = oneshot::channel();
        let events = (0..10_000).map(expired).collect();
        jobs.send(Job::Append(Append { events, reply })).unwrap();
        assert!(writer.step(IDLE).is_some());
        assert!(answer.try_recv().expect("an answer").is_ok());
        assert!(writer.store.as_ref().unwrap().has_spent().unwrap(), "too many for one commit");

        let (mut pieces, mut patience) = (0, Duration::ZERO);
        while patience == Duration::ZERO {
            patience = writer.step(patience).expect("there is a sender");
            pieces += 1;
        }
        assert!(pieces > 1, "in one step");
        assert_eq!(patience, IDLE);
        assert!(!writer.store.as_ref().unwrap().has_spent().unwrap(), "some are still there");

        drop(jobs);
        assert!(writer.step(patience).is_none());
        drop(writer);
        fs::remove_file(&path).unwrap();
    }
}
