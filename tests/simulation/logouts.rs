//! Callers that log out, some of them impatient, and the promises about their answers.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tower_polar_logout::{LogoutOutcome, Revocation};

use crate::carried::Form;
use crate::promise::Promise;
use crate::replica::{Answer, Replica};
use crate::requests::request_as;
use crate::world::{World, lock, pair_of};

/// How long a logout waits for the log at most.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);

/// The precision of timers.
const TICK: Duration = Duration::from_millis(2);

/// How a logout is made.
#[derive(Clone, Copy, Debug)]
enum Way {
    Post(Form),
    /// By the app itself, with a lifetime in seconds if the app knows it.
    Handle(Option<u64>),
}

/// How long the caller waits for the answer.
#[derive(Clone, Copy, Debug)]
enum Patience {
    HangsUpAtOnce,
    HangsUpAfter(Duration),
    Waits,
}

impl World {
    fn way(&mut self) -> Way {
        match self.rng.u8(0..10) {
            0 => Way::Handle(Some(10 * self.rng.u64(1..12))),
            1..5 => Way::Handle(None),
            _ => Way::Post(Form::alone(&mut self.rng)),
        }
    }

    fn patience(&mut self) -> Patience {
        match self.rng.u8(0..6) {
            0 => Patience::HangsUpAtOnce,
            1 => Patience::HangsUpAfter(self.millis(1..1_000)),
            _ => Patience::Waits,
        }
    }
}

/// The result of a logout, in either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoggedOut {
    Confirmed,
    /// The token is still pending, or Polar has refused it.
    Accepted,
    /// The logout failed, and the app was told why.
    Refused(LogoutOutcome),
    /// The logout failed, and the caller was answered 503.
    Unavailable,
    Otherwise(StatusCode),
}

impl From<LogoutOutcome> for LoggedOut {
    fn from(outcome: LogoutOutcome) -> Self {
        match outcome {
            LogoutOutcome::Confirmed => Self::Confirmed,
            LogoutOutcome::Refused | LogoutOutcome::Pending => Self::Accepted,
            worse => Self::Refused(worse),
        }
    }
}

impl From<Answer> for LoggedOut {
    fn from(answer: Answer) -> Self {
        match answer.status {
            StatusCode::NO_CONTENT => Self::Confirmed,
            StatusCode::ACCEPTED => Self::Accepted,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status => Self::Otherwise(status),
        }
    }
}

/// Logs out, and checks every promise about it.
pub(crate) async fn log_out(replica: Arc<Replica>, number: usize) {
    let (way, patience, numbers, texts) = {
        let mut world = lock(&replica.process.world);
        let (way, patience) = (world.way(), world.patience());
        // Mostly with both tokens of the pair.
        let pair = pair_of(number);
        let numbers = if world.rng.u8(0..3) == 0 { vec![number] } else { vec![pair, pair + 1] };
        for number in &numbers {
            world.tokens[*number].was_revoked = true;
        }
        let texts: Vec<_> =
            numbers.iter().map(|number| world.tokens[*number].text.clone()).collect();
        world.tally.count(if texts.len() == 1 { "logouts" } else { "logouts by pair" });
        let id = replica.process.id;
        world.note_logout(id, &numbers);
        world.tell(format_args!("{id}: logs {texts:?} out by {way:?}, and {patience:?}"));
        (way, patience, numbers, texts)
    };
    let began = Instant::now();
    let mut answer = Box::pin(revoke(&replica, way, &texts));
    let at_once = first_poll(answer.as_mut()).await;
    let patience = match patience {
        Patience::HangsUpAtOnce => {
            drop(answer);
            are_denied_at_once(&replica, &numbers).await;
            return lock(&replica.process.world).tally.count("callers hung up");
        }
        Patience::HangsUpAfter(time) => Some(time),
        Patience::Waits => None,
    };
    let are_denied = are_denied_at_once(&replica, &numbers).await;
    let answer = async {
        match at_once {
            Some(answer) => answer,
            None => answer.await,
        }
    };
    let patient = async {
        match patience {
            Some(time) => sleep(time).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        () = replica.process.killed() => {}
        logged_out = answer => answered(&replica, &numbers, began, are_denied, logged_out),
        () = patient => lock(&replica.process.world).tally.count("callers hung up"),
    }
}

async fn revoke(replica: &Replica, way: Way, tokens: &[String]) -> LoggedOut {
    match way {
        Way::Post(form) => {
            let refresh_token = tokens.get(1).map(String::as_str);
            replica.log_out(form, &tokens[0], refresh_token).await.into()
        }
        Way::Handle(lifetime) => {
            let order = |token: &String| {
                let order = Revocation::access_token(token).expect("a token");
                match lifetime {
                    Some(seconds) => order.expires_in(Duration::from_secs(seconds)),
                    None => order,
                }
            };
            replica.handle.revoke(tokens.iter().map(order)).await.into()
        }
    }
}

async fn first_poll<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Whether the tokens are denied before any time has passed. The logout runs in a task of its own,
/// which may run first.
async fn are_denied_at_once(replica: &Replica, numbers: &[usize]) -> bool {
    for _ in 0..5 {
        yield_now().await;
    }
    // Collected first, so that each token is checked.
    let denied: Vec<_> = numbers.iter().map(|number| is_denied(replica, *number)).collect();
    !denied.contains(&false)
}

fn is_denied(replica: &Replica, number: usize) -> bool {
    let world = &replica.process.world;
    let text = lock(world).tokens[number].text.clone();
    let counts = replica.handle.counts();
    if replica.handle.is_revoked(&text) {
        lock(world).known[replica.process.id].denied.insert(number);
        request_as(replica, number, Form::Bearer);
        return true;
    }
    if counts.revoked < counts.denylist_capacity {
        let how = format!("{} still lets {text} in", replica.process.id);
        lock(world).breaks(Promise::DenyFirst, &how);
    }
    false
}

fn answered(
    replica: &Replica,
    numbers: &[usize],
    began: Instant,
    are_denied: bool,
    logged_out: LoggedOut,
) {
    let mut world = lock(&replica.process.world);
    let id = replica.process.id;
    let tokens: Vec<_> = numbers
        .iter()
        .map(|number| (*number, world.tokens[*number].text.clone(), world.tokens[*number].hash))
        .collect();
    let (_, text, hash) = tokens[0].clone();
    world.tell(format_args!("{id}: the logout of {text} is answered: {logged_out:?}"));
    let recorded = world.log.answered(&replica.process, hash).filter(|at| *at >= began);
    let recorded = recorded.map_or(RECORDED_WITHIN, |at| (at - began).min(RECORDED_WITHIN));
    let (took, deadline) = (began.elapsed(), world.plan.deadline.max(recorded) + TICK);
    if took > deadline {
        let how = format!("{id} answers the logout of {text} after {took:?}, by {deadline:?}");
        world.breaks(Promise::PolarsHealthIsNotTheApps, &how);
    }
    let refused = match logged_out {
        LoggedOut::Confirmed | LoggedOut::Accepted => None,
        LoggedOut::Refused(LogoutOutcome::Full) => Some("refused: full"),
        LoggedOut::Refused(LogoutOutcome::Busy) => Some("refused: queue full"),
        LoggedOut::Refused(LogoutOutcome::Unrecorded) => Some("refused: not recorded"),
        LoggedOut::Unavailable => Some("refused: 503"),
        other => return world.wrong.push(format!("{id} answers the logout of {text}: {other:?}")),
    };
    if let Some(refused) = refused {
        return world.tally.count(refused);
    }
    if !are_denied {
        let how = format!("{id} has no room for {text}, and says that all is well");
        return world.breaks(Promise::NothingIsForgotten, &how);
    }
    world.tally.count("acknowledged");
    if logged_out == LoggedOut::Confirmed {
        world.tally.count("confirmed in time");
    }
    for (number, text, hash) in tokens {
        if logged_out == LoggedOut::Confirmed && !world.is_revoked_at_polar(number) {
            let how = format!("{id} says that Polar has confirmed {text}, which is alive there");
            world.breaks(Promise::NothingIsLost, &how);
        }
        if world.log.has_sealed(&hash)
            || (world.log.has(&hash) && world.is_revoked_at_polar(number))
        {
            world.acknowledged.insert(number);
        } else if !world.log.has(&hash) && !world.log.was_kept_for_now(&replica.process, hash) {
            let how = format!("{id} acknowledges the logout of {text}, and the log has nothing");
            world.breaks(Promise::NothingIsLost, &how);
        }
    }
}
