//! Appends again what a log has lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

use crate::log::{Event, Kept, RevocationLog, SealedToken};
use crate::revocation::denylist::Denylist;
use crate::revocation::revoker::Revoker;
use crate::spawner::Spawner;
use crate::token::TokenHash;

/// How many events are appended together.
const TOGETHER: usize = 1000;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What was appended by whomever since the loss, each with its latest expiry.
type Seen = Arc<Mutex<HashMap<TokenHash, SystemTime>>>;

/// Appends everything that this process knows, in a task that ends when this is dropped.
///
/// Every replica does so at the same time, each in an order of its own, and leaves out what it has
/// seen another append meanwhile.
pub(super) struct Refill {
    seen: Seen,
    task: AbortOnDropHandle<()>,
}

impl Refill {
    /// `sealed` is what others were to deliver; what this process delivers is added.
    pub(super) fn start(
        log: &Arc<dyn RevocationLog>,
        revoker: &Revoker,
        spawner: &Spawner,
        mut sealed: HashMap<TokenHash, SealedToken>,
    ) -> Self {
        if let Some(recorder) = &revoker.recorder {
            let pending = revoker.delivery.tokens().into_iter();
            sealed.extend(
                pending.filter_map(|(hash, token)| Some((hash, recorder.seal(&hash, &token)?))),
            );
        }
        let seen = Seen::default();
        let (log, denylist) = (Arc::clone(log), Arc::clone(&revoker.denylist));
        let task = append_all(log, denylist, sealed, Arc::clone(&seen));
        // A shutdown waits for it.
        Self { seen, task: spawner.spawn_abortable(task) }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// What the log holds again.
    pub(super) fn seen(&self, revoked: &[(TokenHash, SystemTime)]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, expires_at) in revoked {
            let known = seen.entry(*hash).or_insert(*expires_at);
            *known = (*known).max(*expires_at);
        }
    }
}

async fn append_all(
    log: Arc<dyn RevocationLog>,
    denylist: Arc<Denylist>,
    sealed: HashMap<TokenHash, SealedToken>,
    seen: Seen,
) {
    let events = if denylist.len() <= TOGETHER {
        events(&denylist, sealed)
    } else {
        // Walks through a million entries: not on a thread that serves requests.
        let walk = tokio::task::spawn_blocking(move || events(&denylist, sealed));
        let Ok(events) = walk.await else { return };
        events
    };
    let mut appended = 0;
    for together in events.chunks(TOGETHER) {
        let missing: Vec<_> = {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            together.iter().filter(|event| is_missing(event, &seen)).cloned().collect()
        };
        appended += missing.len();
        append_in_the_end(&*log, missing).await;
    }
    info!(appended, "the revocation log holds again what this process knows");
}

fn events(denylist: &Denylist, mut sealed: HashMap<TokenHash, SealedToken>) -> Vec<Event> {
    let mut events: Vec<_> = denylist
        .live()
        .map(|(hash, expires_at)| Event::Revoked { hash, expires_at, sealed: sealed.remove(&hash) })
        .collect();
    // Denied no longer, and still to be delivered.
    events.extend(sealed.into_iter().map(|(hash, sealed)| {
        let expires_at = SystemTime::UNIX_EPOCH;
        Event::Revoked { hash, expires_at, sealed: Some(sealed) }
    }));
    events
}

/// Who has appended a hash again may not have known its token.
fn is_missing(event: &Event, seen: &HashMap<TokenHash, SystemTime>) -> bool {
    match event {
        Event::Revoked { hash, expires_at, sealed: None } => {
            seen.get(hash).is_none_or(|known| known < expires_at)
        }
        _ => true,
    }
}

async fn append_in_the_end(log: &dyn RevocationLog, events: Vec<Event>) {
    loop {
        let kept = match log.append(events.clone()).await {
            Ok(Kept::Durably) => Ok(()),
            Ok(Kept::ForNow(later)) => later.await,
            Err(error) => Err(error),
        };
        let Err(error) = kept else { return };
        error!(%error, "the log cannot take back what it has lost; trying again");
        sleep(TRY_AGAIN_AFTER).await;
    }
}
