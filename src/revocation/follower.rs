//! Follows the log: denies its revocations here, and delivers tokens that no other process
//! delivers.

mod orphans;
mod refill;

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use self::orphans::{Orphans, Turn};
use self::refill::Refill;
use super::recorder::Recorder;
use super::revoker::Revoker;
use crate::delivery::DeadLetter;
use crate::error::Error;
use crate::log::{Claimant, Cursor, Event, Followed, RevocationLog};
use crate::spawner::Spawner;
use crate::token::TokenHash;

/// How many revocations are denied on the runtime's own threads. At 2 us each, this delays no other
/// task much.
const AT_ONCE: usize = 256;

/// A claim that lasts longer is cut to this.
const LONGEST_BELIEVED: Duration = Duration::from_secs(24 * 3600);

/// After a failure the log is read again after the shorter of these, and then at growing intervals.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

pub(crate) struct Follower {
    log: Arc<dyn RevocationLog>,
    /// Weak, so that this ends when the app drops the last layer.
    revoker: Weak<Revoker>,
    spawner: Spawner,
    /// Notified when another secret is known.
    exchanged: Arc<Notify>,
    cursor: Option<Cursor>,
    orphans: Orphans,
    /// The last time at which no entry was missing.
    current_at: Instant,
    failures: u32,
    is_over_limit: bool,
    /// If the log lost entries: appends the entries of this process again.
    refill: Option<Refill>,
    /// A large step of the log that is being denied.
    denying: Option<JoinHandle<()>>,
}

impl Follower {
    pub(crate) fn new(
        log: Arc<dyn RevocationLog>,
        revoker: &Arc<Revoker>,
        spawner: Spawner,
    ) -> Self {
        let current_at = Instant::now();
        revoker.log_lag.fell_behind(current_at);
        Self {
            orphans: Orphans::new(
                Claimant::random(),
                log.adopt_after(),
                revoker.delivery.client().request_timeout(),
            ),
            log,
            revoker: Arc::downgrade(revoker),
            spawner,
            exchanged: revoker.recorder.as_ref().map(Recorder::exchanged).unwrap_or_default(),
            cursor: None,
            current_at,
            failures: 0,
            is_over_limit: false,
            refill: None,
            denying: None,
        }
    }

    /// Reads the log to its end, and denies its revocations. Must be called before the first
    /// request is served. If this fails or is dropped, the entries that were read stay in effect.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Error> {
        loop {
            let followed = self.log.follow(self.cursor.clone()).await?;
            // One step is denied while the next is read.
            self.finish_denying().await;
            let Followed { is_current, has_lost, .. } = followed;
            let Some(revoked) = self.take(followed) else { return Ok(()) };
            self.deny(revoked);
            if is_current || has_lost {
                self.finish_denying().await;
            }
            if has_lost {
                self.refill();
            }
            if is_current {
                // Before a token of the log is taken over: the build fails, and nothing is sent.
                self.check_limit()?;
                self.caught_up();
                return Ok(());
            }
        }
    }

    /// Follows the log until the layer is dropped.
    pub(crate) async fn run(mut self) {
        // A step that `catch_up` began, and whose end it did not see.
        self.finish_denying().await;
        loop {
            // If `follow` never waits, other tasks must still get a turn.
            yield_now().await;
            let log = Arc::clone(&self.log);
            let mut following = pin!(log.follow(self.cursor.clone()));
            let followed = loop {
                // While the log is unavailable, a claim would only wait for it, and be out of date
                // when it is written.
                let next_orphan = if self.failures == 0 { self.orphans.next_due() } else { None };
                tokio::select! {
                    biased;
                    followed = &mut following => break followed,
                    () = due(next_orphan) => self.adopt(),
                    () = self.exchanged.notified() => {
                        self.orphans.retry_unreadable(Instant::now());
                    }
                }
            };
            match followed {
                Ok(followed) => {
                    let Followed { is_current, has_lost, .. } = followed;
                    let Some(revoked) = self.take(followed) else { return };
                    self.deny(revoked);
                    self.finish_denying().await;
                    if has_lost {
                        self.refill();
                    }
                    self.report_limit();
                    if is_current {
                        self.caught_up();
                    }
                }
                Err(error) => {
                    let Some(wait) = self.failed(&error) else { return };
                    sleep(wait).await;
                }
            }
        }
    }

    /// Takes note of a step, and returns its revocations; `None` if the layer was dropped.
    fn take(&mut self, mut followed: Followed) -> Option<Vec<(TokenHash, SystemTime)>> {
        let revoker = self.revoker.upgrade()?;
        if self.failures > 0 {
            info!("the revocation log can be read again");
            self.failures = 0;
        }
        revoker.counters.skipped.add(followed.skipped);
        self.cursor = Some(followed.cursor);
        if !followed.is_current {
            revoker.log_lag.fell_behind(self.current_at);
        }
        // A log may return a claim before the revocation that it is for. Then the tokens of one
        // logout would be due at different times, and two processes would each adopt one of them.
        followed.events.sort_by_key(|event| !matches!(event, Event::Revoked { .. }));
        let now = Instant::now();
        let mut revocations = Vec::with_capacity(followed.events.len());
        for event in followed.events {
            match event {
                Event::Revoked { hash, expires_at, sealed } => {
                    revocations.push((hash, expires_at));
                    if let Some(sealed) = sealed {
                        self.orphans.revoked(now, hash, sealed, revoker.delivery.has(&hash));
                    }
                }
                Event::Claimed { hash, until, by } => {
                    match self.orphans.claimed(now, hash, now + left(until), by) {
                        Turn::Mine => self.deliver(&revoker, hash),
                        Turn::Others => revoker.delivery.delivered_elsewhere(hash),
                        Turn::Unchanged => {}
                    }
                }
                Event::Delivered { hash } => {
                    self.orphans.delivered(&hash);
                    revoker.delivery.delivered_elsewhere(hash);
                }
            }
        }
        self.refill.take_if(|refill| refill.is_finished());
        if let Some(refill) = &self.refill {
            refill.seen(&revocations);
        }
        Some(revocations)
    }

    /// Denies what the log says. A large step takes longer, until [`Self::finish_denying`].
    fn deny(&mut self, revocations: Vec<(TokenHash, SystemTime)>) {
        let Some(revoker) = self.revoker.upgrade() else { return };
        let denylist = Arc::clone(&revoker.denylist);
        let is_short = revocations.len() <= AT_ONCE;
        let deny = move || {
            for (hash, expires_at) in revocations {
                denylist.admit(hash, expires_at);
            }
        };
        if is_short {
            deny();
        } else {
            self.denying = Some(spawn_blocking(deny));
        }
    }

    /// Waits until a large step is denied. If this is dropped, the next call waits for it. Panics if
    /// the task did: hashes that are not denied must not count as known.
    async fn finish_denying(&mut self) {
        let Some(denying) = &mut self.denying else { return };
        let denied = denying.await;
        self.denying = None;
        if let Err(error) = denied
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// Appends lost entries to the log again. Must be called after the revocations of the step that
    /// reports the loss are denied, since the log may have lost these too.
    fn refill(&mut self) {
        let Some(revoker) = self.revoker.upgrade() else { return };
        warn!("the revocation log has lost entries; appending those of this process again");
        self.orphans.claim_again(Instant::now());
        let sealed = self.orphans.sealed();
        self.refill = Some(Refill::start(&self.log, &revoker, &self.spawner, sealed));
    }

    fn check_limit(&self) -> Result<(), Error> {
        let Some(revoker) = self.revoker.upgrade() else { return Ok(()) };
        let (len, limit) = (revoker.denylist.len(), revoker.denylist.limit());
        if len <= limit {
            return Ok(());
        }
        Err(Error::configuration(format!(
            "the revocation log holds {len} revocations, but `denylist_capacity` is {limit}: raise \
             it with `.denylist_capacity({})`",
            len.saturating_mul(2),
        )))
    }

    fn report_limit(&mut self) {
        let Some(revoker) = self.revoker.upgrade() else { return };
        let (len, limit) = (revoker.denylist.len(), revoker.denylist.limit());
        if len > limit && !self.is_over_limit {
            error!(
                len,
                limit,
                "the replicas together have revoked more credentials than `denylist_capacity`: all \
                 are denied here, but logouts are answered 503 until some expire; raise \
                 `denylist_capacity`"
            );
        }
        self.is_over_limit = len > limit;
    }

    fn caught_up(&mut self) {
        let Some(revoker) = self.revoker.upgrade() else { return };
        self.current_at = Instant::now();
        revoker.log_lag.caught_up();
        self.adopt();
    }

    /// How long to wait before the next try; `None` if the layer was dropped.
    fn failed(&mut self, error: &Error) -> Option<Duration> {
        self.revoker.upgrade()?.log_lag.fell_behind(self.current_at);
        if self.failures == 0 {
            let source = std::error::Error::source(error).map(tracing::field::display);
            error!(
                %error, source,
                "the revocation log cannot be read, so revocations by other replicas are not known \
                 here; trying again until it can"
            );
        } else {
            debug!(%error, "the revocation log still cannot be read");
        }
        let longest = LONGEST_WAIT.min(SHORTEST_WAIT * (1 << self.failures.min(8)));
        self.failures += 1;
        // Half of the wait is random, so that the replicas do not all read again at once.
        Some(longest / 2 + longest.mul_f64(fastrand::f64() / 2.0))
    }

    /// Claims the tokens in the queue of this process, and tokens of another process that it has
    /// not claimed for too long. If no other process writes the log, the tokens are delivered at
    /// once.
    fn adopt(&mut self) {
        let Some(revoker) = self.revoker.upgrade() else { return };
        let Some(recorder) = &revoker.recorder else { return };
        // One time for all claims, so that the claims of one logout run out together.
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut claims = Vec::new();
        for (hash, sealed) in self.orphans.take_due(now) {
            let is_mine = revoker.delivery.has(&hash);
            if !is_mine && recorder.open(&sealed, &hash).is_none() {
                self.orphans.keep_unreadable(hash);
                revoker.delivery.dead_letter(&DeadLetter::Unreadable { hash });
            } else if self.orphans.is_shared() {
                claims.extend(self.orphans.claim((now, clock), hash, is_mine));
            } else {
                self.deliver(&revoker, hash);
                self.orphans.delivered(&hash);
            }
        }
        if claims.is_empty() {
            return;
        }
        let log = Arc::clone(&self.log);
        self.spawner.spawn_background(async move {
            // Not tried again: a token that is not claimed now is claimed when it is due again.
            if let Err(error) = log.append(claims).await {
                debug!(%error, "claims could not be appended to the revocation log");
            }
        });
    }

    /// Takes over a token that another process should have delivered.
    fn deliver(&self, revoker: &Revoker, hash: TokenHash) {
        let sealed = self.orphans.sealed_of(&hash);
        let token = sealed.and_then(|sealed| revoker.recorder.as_ref()?.open(sealed, &hash));
        if token.is_some_and(|token| revoker.delivery.adopt(hash, token)) {
            revoker.counters.adopted.increment();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Only a panic ends this before the layer is dropped.
        if let Some(revoker) = self.revoker.upgrade().filter(|_| std::thread::panicking()) {
            revoker.log_lag.fell_behind(self.current_at);
            error!(
                "the task that reads the revocation log panicked, so revocations by other replicas \
                 are not known here: restart this process"
            );
        }
    }
}

/// How long a claim still lasts, rounded up to a second: the clocks of two processes differ.
fn left(until: SystemTime) -> Duration {
    match until.duration_since(SystemTime::now()) {
        Ok(left) => Duration::from_secs(left.as_secs() + 1).min(LONGEST_BELIEVED),
        Err(_) => Duration::ZERO,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
