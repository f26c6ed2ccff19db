//! Puts revocations into the log with their tokens sealed, and takes them out again.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use tokio::sync::Notify;
use tracing::{Instrument, debug, error};

use crate::error::Error;
use crate::log::{Event, Kept, RevocationLog, SealedToken, Sealer};
use crate::spawner::Spawner;
use crate::telemetry::Correlation;
use crate::token::{Token, TokenHash};

/// A log, and the key to what is sealed in it.
pub(crate) struct Recorder {
    log: Arc<dyn RevocationLog>,
    /// Read by every logout, written when the credentials change.
    sealer: RwLock<CurrentSealer>,
    spawner: Spawner,
    /// Cloned for every append that waits for the log.
    held: Arc<()>,
    /// Told when there is a new sealer.
    exchanged: Arc<Notify>,
}

#[derive(Debug)]
struct CurrentSealer {
    sealer: Sealer,
    /// How often it was exchanged for another.
    exchanges: u64,
}

impl CurrentSealer {
    fn events(
        &self,
        revocations: &[(TokenHash, SystemTime, Option<&Token>)],
    ) -> Result<Vec<Event>, Error> {
        let event = |&(hash, expires_at, token): &(TokenHash, SystemTime, Option<&Token>)| {
            let sealed = token.map(|token| self.seal(token, &hash)).transpose()?;
            Ok(Event::Revoked { hash, expires_at, sealed })
        };
        revocations.iter().map(event).collect()
    }

    fn seal(&self, token: &Token, hash: &TokenHash) -> Result<SealedToken, Error> {
        self.sealer
            .seal(token, hash)
            .ok_or_else(|| Error::log("no token can be sealed: the system gives no random bytes"))
    }
}

/// How well a revocation was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    Durably,
    /// The log is away, and will have it once it is back.
    ForNow,
}

impl Recorder {
    pub(crate) fn new(log: Arc<dyn RevocationLog>, sealer: Sealer, spawner: Spawner) -> Self {
        let sealer = RwLock::new(CurrentSealer { sealer, exchanges: 0 });
        Self { log, sealer, spawner, held: Arc::default(), exchanged: Arc::default() }
    }

    /// Keeps these revocations, each with its token sealed where there is one to send.
    pub(crate) async fn record(
        &self,
        correlation: Correlation,
        revocations: &[(TokenHash, SystemTime, Option<&Token>)],
    ) -> Result<Recorded, Error> {
        if revocations.is_empty() {
            return Ok(Recorded::Durably);
        }
        loop {
            let (exchanges, events) = {
                let sealer = self.sealer();
                (sealer.exchanges, sealer.events(revocations)?)
            };
            let kept = self.append(events).await?;
            // The secret was exchanged meanwhile: what was sealed with the old one is sealed anew.
            if self.sealer().exchanges == exchanges {
                let hashes = revocations.iter().map(|(hash, ..)| *hash).collect();
                return Ok(self.recorded(correlation, hashes, kept));
            }
        }
    }

    /// A log that panics has kept nothing, and takes nobody along: Polar is still to be told.
    async fn append(&self, events: Vec<Event>) -> Result<Kept, Error> {
        let log = Arc::clone(&self.log);
        let appending = async move { log.append(events).await };
        let appending = self.spawner.spawn_abortable(appending.in_current_span());
        appending.await.unwrap_or_else(|error| {
            Err(Error::log(
                "the revocation log panicked; this is a bug in the `RevocationLog` implementation",
            )
            .with_source(error))
        })
    }

    fn recorded(&self, correlation: Correlation, hashes: Vec<TokenHash>, kept: Kept) -> Recorded {
        let later = match kept {
            Kept::Durably => {
                report(correlation, &hashes);
                return Recorded::Durably;
            }
            Kept::ForNow(later) => later,
        };
        // The log too: it goes on for as long as somebody holds it.
        let held = (Arc::clone(&self.held), Arc::clone(&self.log));
        // Not in the background: a shutdown waits for it.
        self.spawner.spawn(async move {
            match later.await {
                Ok(()) => report(correlation, &hashes),
                Err(error) => error!(
                    id = %correlation, %error,
                    "the log never kept a revocation; it is lost with this process"
                ),
            }
            drop(held);
        });
        Recorded::ForNow
    }

    /// Appends that wait for the log to come back.
    pub(crate) fn held(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }

    /// `None` only where the system gives no random bytes.
    pub(crate) fn seal(&self, hash: &TokenHash, token: &Token) -> Option<SealedToken> {
        self.sealer().sealer.seal(token, hash)
    }

    /// `None` where it was sealed under a secret that is not known.
    pub(crate) fn open(&self, sealed: &SealedToken, hash: &TokenHash) -> Option<Token> {
        self.sealer().sealer.open(sealed, hash)
    }

    fn sealer(&self) -> RwLockReadGuard<'_, CurrentSealer> {
        self.sealer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals with this from now on.
    pub(crate) fn set_sealer(&self, sealer: Sealer) {
        let mut current = self.sealer.write().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut current.sealer, sealer);
        current.sealer.opens_too(former);
        current.exchanges += 1;
        drop(current);
        self.exchanged.notify_one();
    }

    /// Tells one who waits that what could not be opened before may be by now.
    pub(crate) fn exchanged(&self) -> Arc<Notify> {
        Arc::clone(&self.exchanged)
    }
}

/// With the id, since the logout, and its span, may have ended.
fn report(correlation: Correlation, hashes: &[TokenHash]) {
    let elapsed_ms = correlation.elapsed_ms();
    for hash in hashes {
        debug!(id = %correlation, step = "recorded", ?hash, elapsed_ms, "the log has it");
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}
