//! Serves a call: the rate limit, the fault, the latency and the answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use tokio::time::{Instant, sleep};

use super::answer::PolarAnswer;
use super::call::Call;
use super::commit::Commit;
use super::fault::Fault;
use super::oauth::Endpoint;
use super::state::State;

/// How long a revoke, token or introspect call takes at Polar.
const LATENCY: Duration = Duration::from_millis(12);

/// The time between an answer and its commit. Polar took up to 124 ms.
const COMMIT: Duration = Duration::from_millis(25);

/// Returns the answer, or `None` if the connection must be closed without one.
pub(super) async fn answer(
    call: Call,
    endpoint: Option<Endpoint>,
    state: Arc<State>,
) -> Option<PolarAnswer> {
    state.rows.not_frozen().await;
    let done = work(&call, endpoint, &state).await;
    state.rows.not_frozen().await;
    if let Some((duration, commit)) = done.commit {
        state.commit_after(duration, commit);
    }
    done.answer
}

struct Done {
    answer: Option<PolarAnswer>,
    /// The commit, and how long after the answer it comes.
    commit: Option<(Duration, Commit)>,
}

async fn work(call: &Call, endpoint: Option<Endpoint>, state: &State) -> Done {
    if !state.is_admitted(call) {
        return PolarAnswer::rate_limited().into();
    }
    let (fault, thawed) = state.take_fault(endpoint);
    match &fault {
        Some(Fault::Status { status, retry_after }) => {
            let answer = PolarAnswer::empty(*status);
            return match retry_after {
                Some(value) => answer.header(RETRY_AFTER, value),
                None => answer,
            }
            .into();
        }
        Some(Fault::Answer { status, body }) => {
            return PolarAnswer::json_text(*status, body).into();
        }
        Some(Fault::Drop) => return Done { answer: None, commit: None },
        _ => {}
    }
    let Ok(row) = state.touch(call, endpoint).await else { return PolarAnswer::crashed().into() };
    match fault {
        Some(Fault::Delay(duration)) => sleep(duration).await,
        Some(Fault::Freeze) => thawed.await,
        _ => {}
    }
    if endpoint.is_some_and(Endpoint::takes_time) && !is_paused() {
        sleep(LATENCY).await;
    }
    let verdict = state.verdict(call);
    drop(row);
    let commits_after = match fault {
        Some(Fault::CommitAfter(duration)) => Some(duration),
        Some(Fault::LoseCommit) => None,
        _ => Some(COMMIT),
    };
    let is_answered = !matches!(fault, Some(Fault::DropAfterRevoking));
    Done {
        answer: is_answered.then_some(verdict.answer),
        commit: commits_after.zip(verdict.commit),
    }
}

/// Whether tokio's clock is paused: it stands still while the system's clock moves.
fn is_paused() -> bool {
    let (before, start) = (Instant::now(), std::time::Instant::now());
    while std::time::Instant::now() == start {
        std::hint::spin_loop();
    }
    Instant::now() == before
}

impl From<PolarAnswer> for Done {
    fn from(answer: PolarAnswer) -> Self {
        Self { answer: Some(answer), commit: None }
    }
}
