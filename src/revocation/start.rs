//! Starts a [`Revoker`] from its configuration, with the state that the log holds.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zeroize::Zeroizing;

use super::denylist::Denylist;
use super::follower::Follower;
use super::log_lag::LogLag;
use super::outcome::Outcomes;
use super::recorder::Recorder;
use super::revoker::{Retention, Revoker};
use crate::delivery::{Delivery, OnDeadLetter, Setup};
use crate::error::Error;
use crate::log::{RevocationLog, Sealer};
use crate::polar::PolarClientBuilder;
use crate::spawner::Spawner;
use crate::telemetry::{Counters, Gauges, metrics};

/// How often expired entries are cleaned up. Revocations wait for a clean-up, so a denylist with
/// many entries is cleaned up more often, in smaller steps.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(1);
const CLEAN_UP_MUCH_EVERY: Duration = Duration::from_millis(50);
const MUCH: usize = 500;

/// The options that a [`Revoker`] needs.
pub(crate) struct Config {
    pub(crate) client: PolarClientBuilder,
    pub(crate) send_token_type_hint: bool,
    pub(crate) queue_capacity: usize,
    pub(crate) verify_revocation: bool,
    pub(crate) on_dead_letter: Option<OnDeadLetter>,
    pub(crate) log: Option<Arc<dyn RevocationLog>>,
    pub(crate) startup_timeout: Duration,
    pub(crate) allow_stale_start: bool,
    pub(crate) previous_secrets: Vec<Zeroizing<String>>,
    pub(crate) logout_deadline: Duration,
    pub(crate) denylist_capacity: usize,
    pub(crate) retention: Retention,
}

/// Reads the log, and starts the background tasks.
pub(crate) async fn start(config: Config, spawner: &Spawner) -> Result<Arc<Revoker>, Error> {
    let credentials = config.client.credentials();
    let client_id = credentials.id.clone();
    let previous = config.previous_secrets.iter().map(|secret| secret.as_str());
    let sealer = Sealer::new(&credentials.secret, previous);
    let max_in_flight = config.client.calls_in_flight();
    let issuer = config.client.issuer();
    let client = config.client.build()?;
    if config.verify_revocation && !client.can_introspect() {
        return Err(Error::configuration(
            "`verify_revocation` needs the introspection endpoint, but \
             `PolarServer::RevocationEndpoint` does not name one: give the server as \
             `PolarServer::Url`, or remove `verify_revocation`",
        ));
    }
    let counters = Arc::new(Counters::new());
    let closing = CancellationToken::new();
    let revoker = Arc::new(Revoker {
        denylist: Arc::new(Denylist::new(config.denylist_capacity)),
        recorder: config.log.clone().map(|log| Recorder::new(log, sealer, spawner.clone())),
        log_lag: LogLag::new(),
        delivery: Delivery::start(Setup {
            client,
            max_in_flight,
            limit: config.queue_capacity,
            verify: config.verify_revocation,
            log: config.log.clone(),
            on_dead_letter: config.on_dead_letter,
            counters: Arc::clone(&counters),
            spawner: spawner.clone(),
        }),
        issuer,
        send_hint: config.send_token_type_hint,
        retention: config.retention,
        deadline: config.logout_deadline,
        counters,
        outcomes: Outcomes::new(),
        exchange: Mutex::new(()),
        _closing: closing.clone().drop_guard(),
    });
    if let Some(log) = config.log {
        log.assign(&client_id)?;
        let assignment = Assignment(Some(Arc::clone(&log)));
        let mut follower = Follower::new(log, &revoker, spawner.clone());
        if let Err(error) = catch_up(&mut follower, config.startup_timeout).await {
            if !config.allow_stale_start || error.is_configuration() {
                drop(follower);
                // The delivery may still hold the log open, for example the file of a journal.
                if let Some(revoker) = Arc::into_inner(revoker) {
                    revoker.delivery.end().await;
                }
                return Err(error);
            }
            warn!(
                %error,
                "starting before the revocation log is read completely (`allow_stale_start`): some \
                 revoked credentials may be accepted until it is"
            );
        }
        assignment.keep();
        if revoker.denylist.is_silted() {
            // The filter is too small for what the log held, and requests come next.
            let denylist = Arc::clone(&revoker.denylist);
            let _ = spawn_blocking(move || denylist.clean_up()).await;
        }
        let follow = closing.run_until_cancelled_owned(follower.run());
        spawner.spawn_background(async {
            follow.await;
        });
    }
    spawner.spawn_background(keep_house(&revoker));
    Ok(revoker)
}

/// Releases the log if the layer is not built, even if the future of `build()` is dropped.
struct Assignment(Option<Arc<dyn RevocationLog>>);

impl Assignment {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        if let Some(log) = &self.0 {
            log.release();
        }
    }
}

/// Rebuilds the denylist and the queue from a log.
async fn catch_up(follower: &mut Follower, limit: Duration) -> Result<(), Error> {
    timeout(limit, follower.catch_up()).await.map_err(|_| {
        Error::log(format!(
            "the revocation log could not be read within {limit:?}: raise `startup_timeout`, or \
             start before it is read with `allow_stale_start(true)`"
        ))
    })?
}

/// Cleans up the denylist and updates the gauges, until the layer is dropped.
fn keep_house(revoker: &Arc<Revoker>) -> impl Future<Output = ()> + use<> {
    // Not in the task, so that a runtime without a timer panics in `build()`.
    let mut pause = sleep(CLEAN_UP_EVERY);
    let mut gauges = Gauges::new();
    report(revoker, &mut gauges);
    let revoker = Arc::downgrade(revoker);
    async move {
        loop {
            pause.await;
            let Some(denylist) = look_after(&revoker, &mut gauges) else { return };
            pause = sleep(match denylist.len() {
                ..MUCH => CLEAN_UP_EVERY,
                MUCH.. => CLEAN_UP_MUCH_EVERY,
            });
            // Not on a thread that serves requests.
            let _ = spawn_blocking(move || denylist.clean_up()).await;
        }
    }
}

fn look_after(revoker: &Weak<Revoker>, gauges: &mut Gauges) -> Option<Arc<Denylist>> {
    let revoker = revoker.upgrade()?;
    report(&revoker, gauges);
    Some(Arc::clone(&revoker.denylist))
}

fn report(revoker: &Revoker, gauges: &mut Gauges) {
    // `health` walks through the queue, so it is called only if metrics are recorded.
    if metrics::ENABLED {
        gauges.report(&revoker.counts(), &revoker.health());
    }
}
