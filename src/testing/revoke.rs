//! A revoke call, with what may befall it.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use tokio::time::sleep;

use super::answer::Answer;
use super::call::Call;
use super::fault::Fault;
use super::state::State;

/// The answer; `None` where the connection is to be closed without one.
pub(super) async fn revoke(call: Call, state: Arc<State>) -> Option<Answer> {
    if !state.is_admitted(&call) {
        return Some(Answer::rate_limited());
    }
    let (fault, thawed) = state.take_fault();
    match fault {
        None => Some(serve(&call, &state)),
        Some(Fault::Delay(duration)) => {
            sleep(duration).await;
            Some(serve(&call, &state))
        }
        Some(Fault::Freeze) => {
            thawed.await;
            Some(serve(&call, &state))
        }
        Some(Fault::Status { status, retry_after }) => {
            let answer = Answer::empty(status);
            Some(match retry_after {
                Some(value) => answer.header(RETRY_AFTER, &value),
                None => answer,
            })
        }
        Some(Fault::Answer { status, body }) => Some(Answer::json(status, &body)),
        Some(Fault::Drop) => None,
        Some(Fault::DropAfterRevoking) => {
            serve(&call, &state);
            None
        }
        Some(Fault::CommitAfter(duration)) => {
            let verdict = state.verdict(&call);
            let later = Arc::clone(&state);
            state.spawn(async move {
                sleep(duration).await;
                later.commit(verdict.ends);
            });
            Some(verdict.answer)
        }
        Some(Fault::LoseCommit) => Some(state.verdict(&call).answer),
    }
}

fn serve(call: &Call, state: &State) -> Answer {
    let verdict = state.verdict(call);
    state.commit(verdict.ends);
    verdict.answer
}
