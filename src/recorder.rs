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
    sealer: RwLock<Sealer>,
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
        Self { log, sealer: RwLock::new(sealer) }
    }

    /// Keeps these revocations, each token sealed unless there is none to send.
    pub(crate) async fn record(
        &self,
        revocations: impl IntoIterator<Item = (TokenHash, SystemTime, Option<&Token>)>,
    ) -> Result<(), Error> {
        let events = revocations
            .into_iter()
            .map(|(hash, expires_at, token)| {
                let sealed = token.map(|token| self.seal(token, &hash)).transpose()?;
                Ok(Event::Revoked { hash, expires_at, sealed })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        if events.is_empty() {
            return Ok(());
        }
        self.log.append(events).await
    }

    fn seal(&self, token: &Token, hash: &TokenHash) -> Result<SealedToken, Error> {
        let sealer = self.sealer.read().unwrap_or_else(PoisonError::into_inner);
        sealer
            .seal(token, hash)
            .ok_or_else(|| Error::log("no token can be sealed: the system gives no random bytes"))
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
            match sealer.open(&token, &hash) {
                Some(token) => replayed.pending.push((hash, token)),
                None => replayed.unreadable.push(hash),
            }
        }
        Ok(replayed)
    }

    /// Seals with this from now on.
    pub(crate) fn set_sealer(&self, sealer: Sealer) {
        *self.sealer.write().unwrap_or_else(PoisonError::into_inner) = sealer;
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}
