//! The work on a call, with what may befall it.

use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use tokio::time::sleep;

use super::answer::Answer;
use super::call::Call;
use super::fault::Fault;
use super::oauth::Endpoint;
use super::state::State;

/// From the answer to its commit. Polar took up to 124 ms.
const COMMIT: Duration = Duration::from_millis(25);

/// The answer; `None` if the connection is to be closed without one.
pub(super) async fn answer(
    call: Call,
    endpoint: Option<Endpoint>,
    state: Arc<State>,
) -> Option<Answer> {
    if !state.is_admitted(&call) {
        return Some(Answer::rate_limited());
    }
    let (fault, thawed) = state.take_fault(endpoint);
    let mut commits_after = Some(COMMIT);
    let mut answers = true;
    match fault {
        None => {}
        Some(Fault::Delay(duration)) => sleep(duration).await,
        Some(Fault::Freeze) => thawed.await,
        Some(Fault::Status { status, retry_after }) => {
            let answer = Answer::empty(status);
            return Some(match retry_after {
                Some(value) => answer.header(RETRY_AFTER, &value),
                None => answer,
            });
        }
        Some(Fault::Answer { status, body }) => return Some(Answer::json(status, &body)),
        Some(Fault::Drop) => return None,
        Some(Fault::DropAfterRevoking) => answers = false,
        Some(Fault::CommitAfter(duration)) => commits_after = Some(duration),
        Some(Fault::LoseCommit) => commits_after = None,
    }
    let verdict = state.verdict(&call);
    if let (Some(commit), Some(duration)) = (verdict.commit, commits_after) {
        state.commit_after(duration, commit);
    }
    answers.then_some(verdict.answer)
}
