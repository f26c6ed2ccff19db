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
    pub(crate) send_hint: bool,
    pub(crate) queue_limit: usize,
    pub(crate) confirm: bool,
    pub(crate) on_dead_letter: Option<OnDeadLetter>,
    pub(crate) log: Option<Arc<dyn RevocationLog>>,
    pub(crate) catch_up_within: Duration,
    pub(crate) start_behind: bool,
    pub(crate) previous_secrets: Vec<Zeroizing<String>>,
    pub(crate) deadline: Duration,
    pub(crate) limit: usize,
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
    if config.confirm && !client.can_introspect() {
        return Err(Error::configuration(
            "to confirm, Polar's introspection endpoint must be known: give the server as \
                 `PolarServer::Url`, or leave `confirm` off",
        ));
    }
    let counters = Arc::new(Counters::new());
    let closing = CancellationToken::new();
    let revoker = Arc::new(Revoker {
        denylist: Arc::new(Denylist::new(config.limit)),
        recorder: config.log.clone().map(|log| Recorder::new(log, sealer, spawner.clone())),
        log_lag: LogLag::new(),
        delivery: Delivery::start(Setup {
            client,
            max_in_flight,
            limit: config.queue_limit,
            verify: config.confirm,
            log: config.log.clone(),
            on_dead_letter: config.on_dead_letter,
            counters: Arc::clone(&counters),
            spawner: spawner.clone(),
        }),
        issuer,
        send_hint: config.send_hint,
        retention: config.retention,
        deadline: config.deadline,
        counters,
        outcomes: Outcomes::new(),
        exchange: Mutex::new(()),
        _closing: closing.clone().drop_guard(),
    });
    if let Some(log) = config.log {
        log.assign(&client_id)?;
        let mut follower = Follower::new(log, &revoker, spawner.clone());
        if let Err(error) = catch_up(&mut follower, config.catch_up_within, &revoker).await {
            if !config.start_behind || error.is_configuration() {
                return Err(error);
            }
            warn!(%error, "starting without knowing all that was revoked before");
        }
        let follow = closing.run_until_cancelled_owned(follower.run());
        spawner.spawn_background(async {
            follow.await;
        });
    }
    spawner.spawn_background(keep_house(&revoker));
    Ok(revoker)
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
             `catch_up_within()`, or `start_behind()`"
        ))
    })??;
    let (len, limit) = (revoker.denylist.len(), revoker.denylist.limit());
    if len > limit {
        return Err(Error::configuration(format!(
            "the log holds {len} revocations, more than the limit of {limit}: raise it with \
             `.limit({})`",
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
