//! Follows the log: what it says is denied here, and what nobody else delivers is delivered from
//! here.

mod orphans;
mod refill;

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::{JoinHandle, yield_now};
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

/// How many revocations are taken in without leaving the runtime's own threads: at 2 us each, what
/// holds nobody up.
const AT_ONCE: usize = 256;

/// A claim that says more is not believed.
const LONGEST_BELIEVED: Duration = Duration::from_secs(24 * 3600);

/// A log that fails is asked again after the shorter of these, then less and less often.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

pub(crate) struct Follower {
    log: Arc<dyn RevocationLog>,
    /// Weak, so that whoever drops the last layer ends this too.
    revoker: Weak<Revoker>,
    spawner: Spawner,
    /// Told when another secret is known.
    exchanged: Arc<Notify>,
    cursor: Option<Cursor>,
    orphans: Orphans,
    /// Until then nothing is missing.
    current_at: Instant,
    failures: u32,
    is_over_limit: bool,
    /// Where the log lost what it held: what this process knows of it is on its way back.
    refill: Option<Refill>,
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
        }
    }

    /// Takes in all that the log holds. To be called before the first request is served; what was
    /// taken in stays so, also where this fails or is dropped.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Error> {
        let mut taking_in = None;
        loop {
            let followed = self.log.follow(self.cursor.clone()).await?;
            // While one step is taken in, the next is read.
            if let Some(taking_in) = taking_in.take() {
                finish(taking_in).await;
            }
            let Followed { is_current, has_lost, .. } = followed;
            let Some(revoked) = self.take(followed) else { return Ok(()) };
            taking_in = self.take_in(revoked);
            if (is_current || has_lost)
                && let Some(taking_in) = taking_in.take()
            {
                finish(taking_in).await;
            }
            if has_lost {
                self.refill();
            }
            if is_current {
                self.caught_up();
                return Ok(());
            }
        }
    }

    /// Follows the log until the layer is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            // A log that never waits must not keep others from their turn.
            yield_now().await;
            let log = Arc::clone(&self.log);
            let mut following = pin!(log.follow(self.cursor.clone()));
            let followed = loop {
                // While the log is away a claim would only wait for it, and say nothing by then.
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
                    if let Some(taking_in) = self.take_in(revoked) {
                        finish(taking_in).await;
                    }
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

    /// Takes note of a step, and says what it revokes; `None` where the layer is gone.
    fn take(&mut self, mut followed: Followed) -> Option<Vec<(TokenHash, SystemTime)>> {
        let revoker = self.revoker.upgrade()?;
        if self.failures > 0 {
            info!("the revocation log can be followed again");
            self.failures = 0;
        }
        revoker.counters.skipped.add(followed.skipped);
        self.cursor = Some(followed.cursor);
        if !followed.is_current {
            revoker.log_lag.fell_behind(self.current_at);
        }
        // A log may tell of a claim before it tells of what is claimed. The tokens of one logout
        // would be due at different times then, and two processes would each adopt one of them.
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

    /// Denies what the log says. Hands back what takes longer, to be [finished](finish).
    fn take_in(&self, revoked: Vec<(TokenHash, SystemTime)>) -> Option<TakingIn> {
        let denylist = Arc::clone(&self.revoker.upgrade()?.denylist);
        let is_short = revoked.len() <= AT_ONCE;
        let take_in = move || {
            for (hash, expires_at) in revoked {
                denylist.admit(hash, expires_at);
            }
        };
        if is_short {
            take_in();
            return None;
        }
        Some(tokio::task::spawn_blocking(take_in))
    }

    /// The log has lost what it held. Only once the step that says so is taken in: what that tells
    /// of may be lost too.
    fn refill(&mut self) {
        let Some(revoker) = self.revoker.upgrade() else { return };
        warn!("the revocation log has lost what it held; appending again what this process knows");
        self.orphans.claim_again(Instant::now());
        let sealed = self.orphans.sealed();
        self.refill = Some(Refill::start(&self.log, &revoker, &self.spawner, sealed));
    }

    fn report_limit(&mut self) {
        let Some(revoker) = self.revoker.upgrade() else { return };
        let (len, limit) = (revoker.denylist.len(), revoker.denylist.limit());
        if len > limit && !self.is_over_limit {
            error!(
                len,
                limit,
                "the replicas together have revoked more than the limit: all of it is rejected \
                 here, but logouts are answered 503 until some expire: raise the limit"
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

    /// How long to wait before the next try; `None` where the layer is gone.
    fn failed(&mut self, error: &Error) -> Option<Duration> {
        self.revoker.upgrade()?.log_lag.fell_behind(self.current_at);
        if self.failures == 0 {
            let source = std::error::Error::source(error).map(tracing::field::display);
            error!(
                %error, source,
                "the revocation log cannot be followed: what other replicas revoke is not known \
                 here; trying again until it can"
            );
        } else {
            debug!(%error, "the revocation log still cannot be followed");
        }
        let longest = LONGEST_WAIT.min(SHORTEST_WAIT * (1 << self.failures.min(8)));
        self.failures += 1;
        // Half of it by chance, so that replicas do not all come back at once.
        Some(longest / 2 + longest.mul_f64(fastrand::f64() / 2.0))
    }

    /// Claims what is in the queue of this process, and what another was to deliver, and has not
    /// claimed for too long. Where no other process writes the log, that is delivered at once.
    fn adopt(&mut self) {
        let Some(revoker) = self.revoker.upgrade() else { return };
        let Some(recorder) = &revoker.recorder else { return };
        // One for all, so that those of one logout run out together.
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
            // Not tried again: what is not claimed now is claimed when it is due again.
            if let Err(error) = log.append(claims).await {
                debug!(%error, "the revocation log did not take a claim");
            }
        });
    }

    /// Takes a token over that another was to deliver.
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
        // Nothing but a panic ends this before the layer is gone.
        if let Some(revoker) = self.revoker.upgrade().filter(|_| std::thread::panicking()) {
            revoker.log_lag.fell_behind(self.current_at);
            error!("the revocation log is not followed any more: restart this process");
        }
    }
}

/// How long a claim holds still: to the second, since clocks tell no more of each other.
fn left(until: SystemTime) -> Duration {
    match until.duration_since(SystemTime::now()) {
        Ok(left) => Duration::from_secs(left.as_secs() + 1).min(LONGEST_BELIEVED),
        Err(_) => Duration::ZERO,
    }
}

type TakingIn = JoinHandle<()>;

/// Waits for what was begun. Should it have panicked, so does this: what was not taken in must not
/// count as known.
async fn finish(taking_in: TakingIn) {
    if let Err(error) = taking_in.await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
