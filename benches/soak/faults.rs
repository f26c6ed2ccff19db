//! The faults at Polar and at Redis, one after the other, in a cycle.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower_polar_logout::testing::{FakePolar, Fault};

use support::redis::RedisServer;

const FAULT_EVERY: Duration = Duration::from_secs(3);
const REDIS_EVERY: Duration = Duration::from_secs(15);
const REDIS_AWAY: Duration = Duration::from_secs(3);

pub(crate) struct Faults {
    stop: CancellationToken,
    polar: JoinHandle<()>,
    redis: JoinHandle<RedisServer>,
}

pub(crate) fn start(polar: Arc<FakePolar>, redis: RedisServer) -> Faults {
    let stop = CancellationToken::new();
    let polar = tokio::spawn(at_polar(polar, stop.clone()));
    let redis = tokio::spawn(at_redis(redis, stop.clone()));
    Faults { stop, polar, redis }
}

impl Faults {
    /// Ends all faults.
    pub(crate) async fn stop(self) -> RedisServer {
        self.stop.cancel();
        self.polar.await.expect("no panic");
        self.redis.await.expect("no panic")
    }
}

async fn at_polar(polar: Arc<FakePolar>, stop: CancellationToken) {
    let status = |status, retry_after: Option<&str>| Fault::Status {
        status,
        retry_after: retry_after.map(str::to_owned),
    };
    let faults = [
        None,
        Some(Fault::Delay(Duration::from_millis(100))),
        Some(status(StatusCode::SERVICE_UNAVAILABLE, Some("1"))),
        Some(Fault::Drop),
        None,
        Some(Fault::LoseCommit),
        Some(status(StatusCode::TOO_MANY_REQUESTS, Some("1"))),
        Some(Fault::DropAfterRevoking),
        None,
        Some(Fault::CommitAfter(Duration::from_millis(100))),
        Some(status(StatusCode::BAD_GATEWAY, None)),
        Some(Fault::Freeze),
    ];
    let fail = async {
        for fault in faults.iter().cycle() {
            polar.recover();
            if let Some(fault) = fault {
                polar.behave(fault.clone());
            }
            sleep(FAULT_EVERY).await;
        }
    };
    stop.run_until_cancelled(fail).await;
    polar.recover();
}

async fn at_redis(mut redis: RedisServer, stop: CancellationToken) -> RedisServer {
    while stop.run_until_cancelled(sleep(REDIS_EVERY)).await.is_some() {
        redis.stop().await;
        sleep(REDIS_AWAY).await;
        redis.resume().await;
        if stop.run_until_cancelled(sleep(REDIS_EVERY)).await.is_some() {
            redis.kill().await;
            sleep(REDIS_AWAY).await;
            redis.start_empty().await;
        }
    }
    redis
}
