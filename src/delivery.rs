//! Delivers each revocation to Polar at least once.

mod backoff;
mod courier;
mod queue;
mod recently_confirmed;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, debug, error, warn};

use self::courier::Durations;
pub(crate) use self::queue::{Delivered, NotTaken};
use self::queue::{Queue, Sibling};
use crate::error::Error;
use crate::log::{Event, Kept, RevocationLog};
use crate::polar::{ClientCredentials, PolarClient, Reason};
use crate::spawner::Spawner;
use crate::telemetry::{Correlation, Counters, ErrorClass, Health};
use crate::token::{Token, TokenHash, TokenTypeHint};

/// How long to wait before appending an [`Event::Delivered`] again that the log did not record.
const NOTE_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A token that Polar will never revoke. Requests with the token are still rejected here.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeadLetter<'a> {
    /// Polar refused the token permanently.
    #[non_exhaustive]
    Refused {
        /// The token's hash.
        hash: TokenHash,
        /// Polar's answer.
        reason: &'a Reason,
    },
    /// The token was sealed in the log under a client secret that this process does not know. The
    /// token stays in the log and is delivered once that secret is set with
    /// [`previous_client_secret`](crate::PolarLogoutLayerBuilder::previous_client_secret).
    #[non_exhaustive]
    Unreadable {
        /// The token's hash.
        hash: TokenHash,
    },
}

impl DeadLetter<'_> {
    /// The hash of the token.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        match self {
            Self::Refused { hash, .. } | Self::Unreadable { hash } => *hash,
        }
    }
}

pub(crate) type OnDeadLetter = Arc<dyn Fn(&DeadLetter<'_>) + Send + Sync>;

/// The configuration of [`Delivery`].
pub(crate) struct Setup {
    pub(crate) client: PolarClient,
    pub(crate) max_in_flight: usize,
    pub(crate) limit: usize,
    pub(crate) verify: bool,
    pub(crate) log: Option<Arc<dyn RevocationLog>>,
    pub(crate) on_dead_letter: Option<OnDeadLetter>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) spawner: Spawner,
}

/// The queue to Polar and the tasks that call Polar. The tasks end when this is dropped.
pub(crate) struct Delivery {
    shared: Arc<DeliveryState>,
    courier: JoinHandle<()>,
    closing: DropGuard,
}

struct DeliveryState {
    client: Mutex<PolarClient>,
    queue: Mutex<Queue>,
    /// Notified whenever the queue may have something to do.
    changed: Notify,
    /// The number of tokens in the queue.
    pending: watch::Sender<usize>,
    /// Polar is known not to answer soon.
    is_unresponsive: AtomicBool,
    /// Notified when `is_unresponsive` becomes true. Not a `watch`, because a `watch` does not wake
    /// its waiters in the order in which they came.
    became_unresponsive: Notify,
    last: Mutex<Last>,
    log: Option<Arc<dyn RevocationLog>>,
    on_dead_letter: Option<OnDeadLetter>,
    counters: Arc<Counters>,
    durations: Durations,
    spawner: Spawner,
    closing: CancellationToken,
}

/// The last confirmation, and the last error since then.
#[derive(Clone, Default)]
struct Last {
    confirmed: Option<SystemTime>,
    error: Option<(ErrorClass, String)>,
}

impl Delivery {
    pub(crate) fn start(setup: Setup) -> Self {
        let closing = CancellationToken::new();
        let queue = Queue::new(
            Instant::now(),
            setup.max_in_flight,
            setup.limit,
            setup.verify,
            setup.client.request_timeout(),
        );
        let shared = Arc::new(DeliveryState {
            client: Mutex::new(setup.client),
            queue: Mutex::new(queue),
            changed: Notify::new(),
            pending: watch::Sender::new(0),
            is_unresponsive: AtomicBool::new(false),
            became_unresponsive: Notify::new(),
            last: Mutex::default(),
            log: setup.log,
            on_dead_letter: setup.on_dead_letter,
            counters: setup.counters,
            durations: Durations::new(),
            spawner: setup.spawner,
            closing: closing.clone(),
        });
        let run = courier::run(Arc::clone(&shared));
        let run = closing.clone().run_until_cancelled_owned(run);
        let courier = shared.spawner.spawn_background(async {
            run.await;
        });
        Self { shared, courier, closing: closing.drop_guard() }
    }

    /// Ends the courier task. Resolves once the task has released everything it holds, in
    /// particular the log.
    pub(crate) async fn end(self) {
        drop(self.closing);
        // An error means that the task was cancelled, or panicked and has reported the panic.
        let _ = self.courier.await;
    }

    /// Adds the tokens of one logout to the queue. They are sent once they are released.
    pub(crate) fn hold(&self, correlation: Correlation) -> Held<'_> {
        Held {
            shared: &self.shared,
            correlation,
            sibling: Sibling::default(),
            hashes: Vec::new(),
            delivered: Vec::new(),
        }
    }

    /// How the token has ended by the deadline, or `None` if it has not. Returns `None` at once if
    /// Polar is known not to answer soon.
    pub(crate) async fn delivered_by(
        &self,
        deadline: Instant,
        delivered: oneshot::Receiver<Delivered>,
    ) -> Option<Delivered> {
        tokio::select! {
            biased;
            delivered = delivered => delivered.ok(),
            () = self.shared.unresponsive() => None,
            () = sleep_until(deadline) => None,
        }
    }

    /// Adds a token from the log that no process has delivered. Returns whether it was added.
    pub(crate) fn adopt(&self, hash: TokenHash, token: Token) -> bool {
        let correlation = Correlation::new(Instant::now());
        let is_new = self.shared.queue().adopt(Instant::now(), correlation, hash, token);
        if is_new == Ok(true) {
            debug!(
                id = %correlation, ?hash,
                "delivering a token from the log that no process has delivered"
            );
        }
        self.shared.report_pending();
        // Otherwise the log would keep the token as undelivered indefinitely.
        is_new.unwrap_or_else(|_| {
            self.shared.note_delivered(hash);
            false
        })
    }

    /// Removes a token that another process has delivered or taken over.
    pub(crate) fn delivered_elsewhere(&self, hash: TokenHash) {
        self.shared.queue().delivered_elsewhere(Instant::now(), &hash);
        self.shared.report_pending();
    }

    /// Whether the token is in this process's queue.
    pub(crate) fn has(&self, hash: &TokenHash) -> bool {
        self.shared.queue().contains(hash)
    }

    pub(crate) fn dead_letter(&self, letter: &DeadLetter<'_>) {
        self.shared.dead_letter(letter, None);
    }

    /// Calls Polar with these credentials from now on. Tokens that failed before are sent again at
    /// once.
    pub(crate) fn set_credentials(&self, credentials: ClientCredentials) -> Result<(), Error> {
        {
            let mut client = lock(&self.shared.client);
            *client = client.with_credentials(credentials)?;
        }
        self.shared.queue().try_all_now(Instant::now());
        self.shared.changed.notify_one();
        Ok(())
    }

    pub(crate) fn client(&self) -> PolarClient {
        lock(&self.shared.client).clone()
    }

    /// The tokens in the queue.
    pub(crate) fn tokens(&self) -> Vec<(TokenHash, Token)> {
        self.shared.queue().tokens()
    }

    /// Closes the queue to new logouts. Tokens that failed before are sent again at once.
    pub(crate) fn close(&self) {
        {
            let mut queue = self.shared.queue();
            queue.close();
            queue.try_all_now(Instant::now());
        }
        self.shared.changed.notify_one();
    }

    /// Waits until the queue is empty, at most `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        let mut pending = self.shared.pending.subscribe();
        let _ = tokio::time::timeout(limit, pending.wait_for(|pending| *pending == 0)).await;
    }

    pub(crate) fn pending(&self) -> usize {
        self.shared.queue().len()
    }

    pub(crate) fn health(&self) -> Health {
        let now = Instant::now();
        let (pending, oldest, paused_until, unresponsive) = {
            let queue = self.shared.queue();
            (queue.len(), queue.oldest(), queue.paused_until(now), queue.is_unresponsive(now))
        };
        let last = lock(&self.shared.last).clone();
        let (last_error, last_error_reason) = last.error.unzip();
        Health {
            pending,
            oldest_age: oldest.map(|oldest| now.saturating_duration_since(oldest)),
            last_confirmed: last.confirmed,
            last_error,
            last_error_reason,
            paused_until: paused_until.map(|until| SystemTime::now() + (until - now)),
            unresponsive,
            ..Health::default()
        }
    }
}

impl DeliveryState {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn set_unresponsive(&self, is_unresponsive: bool) {
        if !self.is_unresponsive.swap(is_unresponsive, Ordering::AcqRel) && is_unresponsive {
            self.became_unresponsive.notify_waiters();
        }
    }

    /// Resolves once Polar is known not to answer soon.
    async fn unresponsive(&self) {
        let mut became = pin!(self.became_unresponsive.notified());
        // Registers before the flag is read, so that no notification is missed in between.
        became.as_mut().enable();
        if !self.is_unresponsive.load(Ordering::Acquire) {
            became.await;
        }
    }

    /// Must be called after every change of the queue.
    fn report_pending(&self) {
        // The queue is read inside: otherwise an older length could replace a newer one when two
        // reports run at the same time.
        self.pending.send_if_modified(|known| {
            let pending = self.queue().len();
            std::mem::replace(known, pending) != pending
        });
        self.changed.notify_one();
    }

    fn release(&self, hashes: &[TokenHash]) {
        let ended = self.queue().release(Instant::now(), hashes);
        self.changed.notify_one();
        for hash in ended {
            // Another logout's revocation of the same token was delivered before this one was
            // recorded. The log must not keep this one as undelivered.
            self.note_delivered(hash);
        }
    }

    /// Records in the log that a token is delivered.
    fn note_delivered(&self, hash: TokenHash) {
        let Some(log) = self.log.clone() else { return };
        let (spawner, closing) = (self.spawner.clone(), self.closing.clone());
        let noting = async move {
            let Err(error) = note(&*log, hash).await else { return };
            // Without the record the token is delivered again after a restart, which is harmless.
            warn!(
                ?hash, %error,
                "the revocation log did not record that a token was delivered; trying again"
            );
            spawner.spawn_background(async move {
                closing.run_until_cancelled(note_in_the_end(&*log, hash)).await;
            });
        };
        self.spawner.spawn(noting.in_current_span());
    }

    /// `elapsed_ms`: the time since the logout, if the token was in the queue.
    fn dead_letter(&self, letter: &DeadLetter<'_>, elapsed_ms: Option<u64>) {
        self.counters.dead_letters.increment();
        match letter {
            DeadLetter::Refused { hash, reason } => error!(
                step = "dead_letter", ?hash, elapsed_ms, %reason,
                "Polar refused permanently to revoke a token; requests with it are still rejected \
                 here"
            ),
            DeadLetter::Unreadable { hash } => error!(
                step = "dead_letter",
                ?hash,
                "a token in the revocation log was sealed under another client secret and cannot \
                 be delivered: set that secret with `previous_client_secret()`; requests with the \
                 token are still rejected here"
            ),
        }
        if let Some(on_dead_letter) = &self.on_dead_letter
            && catch_unwind(AssertUnwindSafe(|| on_dead_letter(letter))).is_err()
        {
            error!("the `on_dead_letter` callback panicked; this is a bug in the callback");
        }
    }
}

async fn note(log: &dyn RevocationLog, hash: TokenHash) -> Result<(), Error> {
    match log.append(vec![Event::Delivered { hash }]).await? {
        Kept::Durably => Ok(()),
        Kept::ForNow(later) => later.await,
    }
}

async fn note_in_the_end(log: &dyn RevocationLog, hash: TokenHash) {
    loop {
        tokio::time::sleep(NOTE_AGAIN_AFTER).await;
        if note(log, hash).await.is_ok() {
            return;
        }
    }
}

/// The tokens of one logout that were added to the queue. They are sent when this is released or
/// dropped.
pub(crate) struct Held<'a> {
    shared: &'a DeliveryState,
    correlation: Correlation,
    sibling: Sibling,
    hashes: Vec<TokenHash>,
    delivered: Vec<oneshot::Receiver<Delivered>>,
}

impl Held<'_> {
    /// Adds a token. It is sent after those that were added before.
    pub(crate) fn add(
        &mut self,
        hash: TokenHash,
        token: Token,
        hint: Option<TokenTypeHint>,
    ) -> Result<(), NotTaken> {
        let (now, sibling) = (Instant::now(), &mut self.sibling);
        let held = self.shared.queue().hold(now, sibling, self.correlation, hash, token, hint);
        self.delivered.push(held?);
        self.hashes.push(hash);
        self.shared.report_pending();
        Ok(())
    }

    /// Sends the tokens. They are sent even if the receivers are dropped.
    pub(crate) fn release(mut self) -> Vec<oneshot::Receiver<Delivered>> {
        std::mem::take(&mut self.delivered)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.release(&self.hashes);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("health", &self.health()).finish_non_exhaustive()
    }
}

/// Ignores poisoning: no code leaves a change half done while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::Response;
    use http_body_util::Full;
    use tower::service_fn;

    use super::*;
    use crate::polar::PolarServer;

    #[tokio::test(start_paused = true)]
    async fn token_is_sent_when_its_logout_is_dropped() {
        let polar =
            service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
        let client = PolarClient::builder(ClientCredentials::new("id", "secret"))
            .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
            .transport(polar);
        let delivery = Delivery::start(Setup {
            client: client.build().expect("a client"),
            max_in_flight: 1,
            limit: 1,
            verify: false,
            log: None,
            on_dead_letter: None,
            counters: Arc::new(Counters::new()),
            spawner: Spawner::current().expect("a runtime"),
        });
        let token = Token::parse("t").expect("a token");
        let hash = TokenHash::of("t");
        let mut held = delivery.hold(Correlation::new(Instant::now()));
        assert!(held.add(hash, token, None).is_ok());
        drop(held);
        delivery.drain(Duration::from_secs(60)).await;
        assert_eq!(delivery.pending(), 0);
    }
}
