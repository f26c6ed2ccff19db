//! Work that outlives the request that asked for it.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::error::{Error, ErrorKind};

/// Runs on the runtime the layer was built in, whichever one a request is served by.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    runtime: Handle,
    tracker: TaskTracker,
}

impl Spawner {
    pub(crate) fn current() -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::Runtime,
                "no tokio runtime: call `build()` from within one, for example in an async `main`",
            )
            .with_source(error)
        })?;
        Ok(Self { runtime, tracker: TaskTracker::new() })
    }

    /// Runs to its end, whoever waits or does not: a shutdown waits for it.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(work, &self.runtime);
    }

    /// The same, unless the handle is dropped before.
    pub(crate) fn spawn_abortable<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.tracker.spawn_on(work, &self.runtime))
    }

    /// Runs until it ends by itself; a shutdown does not wait for it.
    pub(crate) fn spawn_background(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.runtime.spawn(work)
    }

    /// Waits until all is done, at most `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.tracker.close();
        let _ = tokio::time::timeout(limit, self.tracker.wait()).await;
    }
}
