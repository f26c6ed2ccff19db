//! The journal's thread: the only one that touches the file.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

use super::refusal::{self, Refusal};
use super::store::Store;
use crate::log::Event;

/// A transaction takes no more appends once it has this many events.
const BATCH: usize = 1_024;

/// How long nothing must have come for the thread to look for what is spent. A journal that is in
/// use all the time removes it as it appends.
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
    /// `None` after an error, until the next job: redb does nothing more with a file that failed
    /// it once, a full disk included, so it is opened anew.
    store: Option<Store>,
    jobs: Receiver<Job>,
    /// Taken from `jobs` already, and the next to do.
    next: Option<Job>,
}

impl Writer {
    pub(super) fn new(path: PathBuf, store: Store, jobs: Receiver<Job>) -> Self {
        Self { path, store: Some(store), jobs, next: None }
    }

    /// Works until it is told to close, or the last sender of jobs is gone and the last job is done.
    pub(super) fn run(mut self) {
        // What expired before it was opened is looked for at once.
        let mut patience = Duration::ZERO;
        while let Some(next) = self.step(patience) {
            patience = next;
        }
        if let Some(store) = self.store {
            // As whole as after a crash: the next to open it repairs it.
            let _ = store.close(&self.path);
        }
    }

    /// Does the next job, or what there is to do where none comes for `patience`. Returns how long
    /// to wait for the one after; `None` where none will come any more.
    fn step(&mut self, patience: Duration) -> Option<Duration> {
        let job = match self.next.take() {
            Some(job) => Ok(job),
            None => self.jobs.recv_timeout(patience),
        };
        // Who asked may have hung up: what was asked for is done all the same.
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

    /// Adds the appends that wait already, and returns the first job that has to wait longer.
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

    /// Removes some of what is spent, and says whether there is more.
    fn purge(&mut self) -> bool {
        // After an error the next job shall hear of it, if it has not passed by then.
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
    fn what_has_expired_is_removed_piece_by_piece_between_jobs_when_there_is_nothing_else_to_do() {
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
        assert!(pieces > 1, "in one piece");
        assert_eq!(patience, IDLE);
        assert!(!writer.store.as_ref().unwrap().has_spent().unwrap(), "some are there still");

        drop(jobs);
        assert!(writer.step(patience).is_none());
        drop(writer);
        fs::remove_file(&path).unwrap();
    }
}
