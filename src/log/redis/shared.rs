//! What the writer, the reader and those who append have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::outbox::{self, Outbox};
use super::target::Target;
use super::wire::Replica;
use crate::error::Error;
use crate::log::{Event, Kept};

pub(super) struct Shared {
    pub(super) target: Arc<Target>,
    /// Who we are among those who append to the stream.
    pub(super) replica: Replica,
    outbox: Mutex<Outbox>,
    /// There is something to write.
    pub(super) work: Notify,
}

impl Shared {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target: target.into(),
            replica: fastrand::u64(..).to_be_bytes(),
            outbox: Mutex::default(),
            work: Notify::new(),
        }
    }

    pub(super) fn append(&self, events: Vec<Event>) -> Result<oneshot::Receiver<Kept>, Error> {
        let appended = self.outbox().append(events).map_err(|outbox::OutboxFull| {
            Error::log(format!(
                "{} appends wait for the Redis at {} already: it is away, or does not keep up",
                outbox::LIMIT,
                self.target.address
            ))
        })?;
        self.work.notify_one();
        Ok(appended)
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
