//! `/health`: the layer's counts and health as JSON.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tower_polar_logout::{ErrorClass, Health};

use crate::app::App;

pub(crate) async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    let (counts, health) = (app.handle.counts(), app.handle.health());
    Json(json!({
        "revoked": counts.revoked,
        "denylist_capacity": counts.denylist_capacity,
        "rejected": counts.rejected,
        "logouts": counts.logouts,
        "full": counts.full,
        "pending": counts.pending,
        "attempts": counts.attempts,
        "confirmed": counts.confirmed,
        "dead_letters": counts.dead_letters,
        "adopted": counts.adopted,
        "skipped": counts.skipped,
        "unsure": counts.unsure,
        "oldest_pending_seconds": health.oldest_age.map(|age| age.as_secs()),
        "log_lag_seconds": health.log_lag.map(|time| time.as_secs()),
        "log_held": health.log_held,
        "last_error": health.last_error.map(ErrorClass::as_str),
        "last_error_reason": health.last_error_reason,
        "unresponsive": health.unresponsive,
        "paused_seconds": pause_left(&health).map(|left| left.as_secs()),
    }))
}

pub(crate) fn pause_left(health: &Health) -> Option<Duration> {
    health.paused_until.and_then(|until| until.duration_since(SystemTime::now()).ok())
}
