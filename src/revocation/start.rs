//! From a configuration to what revokes: rebuilt from the log, and at work.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
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

/// How often what has expired is cleaned up. It goes in one piece, and who revokes meanwhile waits:
/// where there is much, often, so that a piece is small.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(1);
const CLEAN_UP_MUCH_EVERY: Duration = Duration::from_millis(50);
const MUCH: usize = 500;

/// Everything that revoking is configured by.
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

/// Reads the log, and starts what runs in the background.
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
            "`verify_revocation` needs the introspection endpoint, which `PolarServer::RevocationEndpoint` \
             does not name: give the server as `PolarServer::Url`, or leave the option out",
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
        if let Err(error) = catch_up(&mut follower, config.startup_timeout, &revoker).await {
            if !config.allow_stale_start || error.is_configuration() {
                drop(follower);
                // What could still hold the log open, such as the file of a journal.
                if let Some(revoker) = Arc::into_inner(revoker) {
                    revoker.delivery.end().await;
                }
                return Err(error);
            }
            warn!(%error, "starting without knowing all that was revoked before");
        }
        assignment.keep();
        let follow = closing.run_until_cancelled_owned(follower.run());
        spawner.spawn_background(async {
            follow.await;
        });
    }
    spawner.spawn_background(keep_house(&revoker));
    Ok(revoker)
}

/// Gives the log back if the layer is not built after all, also when `build()` itself is dropped.
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
async fn catch_up(
    follower: &mut Follower,
    limit: Duration,
    revoker: &Revoker,
) -> Result<(), Error> {
    timeout(limit, follower.catch_up()).await.map_err(|_| {
        Error::log(format!(
            "the revocation log could not be read within {limit:?}: allow more time with \
             `startup_timeout`, or start without it by `allow_stale_start(true)`"
        ))
    })??;
    let (len, limit) = (revoker.denylist.len(), revoker.denylist.limit());
    if len > limit {
        return Err(Error::configuration(format!(
            "the log holds {len} revocations, more than `denylist_capacity`, which is {limit}: raise it with \
             `.denylist_capacity({})`",
            len.saturating_mul(2),
        )));
    }
    Ok(())
}

/// Cleans up, and tells monitoring what is held, for as long as the layer lives.
fn keep_house(revoker: &Arc<Revoker>) -> impl Future<Output = ()> + use<> {
    // Not in the task: a runtime without a timer is to be noticed at once.
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
            // On a thread where it holds nobody up.
            let _ = tokio::task::spawn_blocking(move || denylist.clean_up()).await;
        }
    }
}

fn look_after(revoker: &Weak<Revoker>, gauges: &mut Gauges) -> Option<Arc<Denylist>> {
    let revoker = revoker.upgrade()?;
    report(&revoker, gauges);
    Some(Arc::clone(&revoker.denylist))
}

fn report(revoker: &Revoker, gauges: &mut Gauges) {
    // Health walks through the queue: not for nobody.
    if metrics::ENABLED {
        gauges.report(&revoker.counts(), &revoker.health());
    }
}
