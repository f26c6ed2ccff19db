//! Puts revocations into the log with their tokens sealed, and takes them out again.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::error::Error;
use crate::log::{Event, RevocationLog, SealedToken};
use crate::seal::Sealer;
use crate::token::{Token, TokenHash};

/// A log, and the key to what is sealed in it.
pub(crate) struct Recorder {
    log: Arc<dyn RevocationLog>,
    /// Read by every logout, written when the credentials change.
    sealer: RwLock<CurrentSealer>,
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

/// What a log holds.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) revoked: Vec<(TokenHash, SystemTime)>,
    /// What Polar is yet to be told.
    pub(crate) pending: Vec<(TokenHash, Token)>,
    /// What was sealed under a secret that is not known.
    pub(crate) unreadable: Vec<TokenHash>,
}

impl Recorder {
    pub(crate) fn new(log: Arc<dyn RevocationLog>, sealer: Sealer) -> Self {
        Self { log, sealer: RwLock::new(CurrentSealer { sealer, exchanges: 0 }) }
    }

    /// Keeps these revocations, each with its token sealed where there is one to send.
    pub(crate) async fn record(
        &self,
        revocations: &[(TokenHash, SystemTime, Option<&Token>)],
    ) -> Result<(), Error> {
        if revocations.is_empty() {
            return Ok(());
        }
        loop {
            let (exchanges, events) = {
                let sealer = self.sealer.read().unwrap_or_else(PoisonError::into_inner);
                (sealer.exchanges, sealer.events(revocations)?)
            };
            self.log.append(events).await?;
            // The secret was exchanged meanwhile: what was sealed with the old one is sealed anew.
            let sealer = self.sealer.read().unwrap_or_else(PoisonError::into_inner);
            if sealer.exchanges == exchanges {
                return Ok(());
            }
        }
    }

    /// Reads the log.
    pub(crate) async fn replay(&self) -> Result<Replayed, Error> {
        let events = self.log.replay().await?;
        let delivered: HashSet<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Delivered { hash } => Some(*hash),
                Event::Revoked { .. } => None,
            })
            .collect();
        let sealer = self.sealer.read().unwrap_or_else(PoisonError::into_inner);
        let mut replayed = Replayed::default();
        for event in events {
            let Event::Revoked { hash, expires_at, sealed } = event else { continue };
            replayed.revoked.push((hash, expires_at));
            let Some(token) = sealed.filter(|_| !delivered.contains(&hash)) else { continue };
            match sealer.sealer.open(&token, &hash) {
                Some(token) => replayed.pending.push((hash, token)),
                None => replayed.unreadable.push(hash),
            }
        }
        Ok(replayed)
    }

    /// Seals with this from now on.
    pub(crate) fn set_sealer(&self, sealer: Sealer) {
        let mut current = self.sealer.write().unwrap_or_else(PoisonError::into_inner);
        current.sealer = sealer;
        current.exchanges += 1;
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}
