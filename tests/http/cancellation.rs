//! A caller may hang up at any moment. So these tests drop the future of an answer after every
//! number of polls. Each time, a token in the head is denied, recorded, and sent to Polar. So is a
//! token in the body, if the body had arrived in full.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio_util::sync::PollSemaphore;
use tower::{Layer, Service, service_fn};
use tower_polar_logout::client::PolarClient;
use tower_polar_logout::log::{Cursor, Event, Followed, Kept, LogFuture, RevocationLog};
use tower_polar_logout::testing::MemoryLog;
use tower_polar_logout::{
    ClientCredentials, LogoutOutcome, PolarLogoutLayer, PolarServer, Revocation, TokenHash,
    TokenLocation,
};

const IN_HEAD: &str = "polar_at_u_000000000000000000000000000000000000000head";
const IN_BODY: &str = "polar_rt_u_000000000000000000000000000000000000000body";

/// The number of steps that the body, the log and Polar take each.
const STEPS: usize = 3;

/// Each turn lets the body, the log or Polar take one step. The test gives the turns.
#[derive(Clone, Debug)]
struct Turns(Arc<Semaphore>);

impl Turns {
    async fn take(&self) {
        for _ in 0..STEPS {
            self.0.acquire().await.expect("it stays open").forget();
        }
    }

    /// Gives one turn, and waits until every task waits for the next one.
    async fn give(&self) {
        self.0.add_permits(1);
        settle().await;
    }

    fn give_all(&self) {
        self.0.add_permits(1_000);
    }
}

/// Lets every task run as far as it can.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// A log whose appends wait for their turns.
#[derive(Debug)]
struct SlowLog(MemoryLog, Turns);

impl RevocationLog for SlowLog {
    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        self.0.follow(after)
    }

    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        Box::pin(async {
            self.1.take().await;
            self.0.append(events).await
        })
    }
}

/// A body in [`STEPS`] parts, each of which waits for its turn.
struct SlowBody {
    parts: Vec<Bytes>,
    turns: PollSemaphore,
    arrived: Arc<AtomicBool>,
}

impl Body for SlowBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(part) = self.parts.first().cloned() else {
            self.arrived.store(true, Ordering::SeqCst);
            return Poll::Ready(None);
        };
        ready!(self.turns.poll_acquire(cx)).expect("it stays open").forget();
        self.parts.remove(0);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

/// A layer, its log, its Polar, and an app that must not see a dead token.
struct World {
    layer: PolarLogoutLayer,
    turns: Turns,
    log: MemoryLog,
    sent: Arc<Mutex<Vec<String>>>,
    arrived: Arc<AtomicBool>,
}

impl World {
    async fn new() -> Self {
        let (log, sent) = (MemoryLog::new(), Arc::<Mutex<Vec<String>>>::default());
        let turns = Turns(Arc::new(Semaphore::new(0)));
        let (calls, polars) = (Arc::clone(&sent), turns.clone());
        let transport = service_fn(move |request: Request<Full<Bytes>>| {
            let (calls, turns) = (Arc::clone(&calls), polars.clone());
            async move {
                turns.take().await;
                let body = request.into_body().collect().await?.to_bytes();
                calls.lock().expect("the calls").push(String::from_utf8_lossy(&body).into_owned());
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        });
        let client = PolarClient::builder(ClientCredentials::new("id", "secret"))
            .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
            .transport(transport);
        let layer = PolarLogoutLayer::builder(client)
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .refresh_token(TokenLocation::form("token"))
            .revocation_log(SlowLog(log.clone(), turns.clone()))
            .build()
            .await
            .expect("a layer");
        Self { layer, turns, log, sent, arrived: Arc::default() }
    }

    fn call(&self, path: &str) -> impl Future<Output = StatusCode> + use<> {
        let app = service_fn(|request: Request<Full<Bytes>>| async {
            let body = request.into_body().collect().await?.to_bytes();
            assert!(!body.ends_with(IN_BODY.as_bytes()), "the app saw a revoked token");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let app = self.layer.handle().check_body().layer(app);
        let parts = ["to", "ken=", IN_BODY].map(Bytes::from).to_vec();
        let turns = PollSemaphore::new(Arc::clone(&self.turns.0));
        let body = SlowBody { parts, turns, arrived: Arc::clone(&self.arrived) };
        let request = Request::post(path);
        let request = match path {
            "/logout" => request.header("authorization", format!("Bearer {IN_HEAD}")),
            _ => request,
        };
        let called = self.layer.layer(app).call(request.body(body).expect("a request"));
        async move { called.await.expect("an answer").status() }
    }

    /// Polls at most `polls` times and gives a turn after each poll, then drops the future.
    async fn poll_times<T>(&self, future: impl Future<Output = T>, polls: usize) -> Option<T> {
        let mut future = pin!(future);
        for _ in 0..polls {
            if let Poll::Ready(output) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return Some(output);
            }
            self.turns.give().await;
        }
        None
    }

    /// Whether the tokens are denied, recorded and sent. Fails if only a part of that is done.
    async fn is_done(&self, tokens: &[&str]) -> bool {
        let handle = self.layer.handle();
        // The task that reads the body notices that the caller is gone.
        settle().await;
        self.turns.give_all();
        // A shutdown accepts no new logout, so the logout goes first.
        settle().await;
        assert_eq!(handle.shutdown(Duration::from_secs(3600)).await.pending, 0, "all delivered");
        let (events, sent) = (self.log.events(), self.sent.lock().expect("the calls").clone());
        let is_recorded = |token: &str| {
            let hash = TokenHash::of(token);
            events
                .iter()
                .any(|event| matches!(event, Event::Revoked { hash: it, .. } if *it == hash))
        };
        let is_sent = |token: &str| sent.iter().any(|body| body.contains(token));
        let done: Vec<_> = tokens
            .iter()
            .flat_map(|token| [handle.is_revoked(token), is_recorded(token), is_sent(token)])
            .collect();
        let is_done = done[0];
        assert!(done.iter().all(|it| *it == is_done), "denied, recorded, sent: {done:?}");
        is_done
    }
}

#[tokio::test(start_paused = true)]
async fn logout_completes_after_its_future_is_dropped() {
    let (mut undone, mut done) = (0, 0);
    for polls in 0.. {
        let world = World::new().await;
        let answer = world.poll_times(world.call("/logout"), polls).await;
        let arrived = world.arrived.load(Ordering::SeqCst);
        assert!(world.is_done(&[IN_HEAD]).await, "{polls} polls: the head");
        let is_done = world.is_done(&[IN_BODY]).await;
        assert_eq!(is_done, arrived, "{polls} polls: the body");
        *if is_done { &mut done } else { &mut undone } += 1;
        if let Some(answer) = answer {
            assert_eq!((answer, is_done), (StatusCode::NO_CONTENT, true));
            break;
        }
    }
    assert!(undone >= STEPS && done >= STEPS, "{undone} bodies undone, {done} done");
}

#[tokio::test(start_paused = true)]
async fn revocation_by_the_app_completes_once_polled() {
    for polls in 0.. {
        let world = World::new().await;
        let handle = world.layer.handle();
        let revocation = Revocation::access_token(IN_HEAD).expect("a token");
        let outcome = world.poll_times(handle.revoke([revocation]), polls).await;
        assert_eq!(world.is_done(&[IN_HEAD]).await, polls > 0, "{polls} polls");
        if let Some(outcome) = outcome {
            assert_eq!(outcome, LogoutOutcome::Confirmed);
            assert!(polls > STEPS, "{polls} polls leave nothing to interrupt");
            break;
        }
    }
}

/// A request may be dropped at any poll while its body is read. The next one is still rejected.
#[tokio::test(start_paused = true)]
async fn body_check_works_after_a_dropped_request() {
    for polls in 0.. {
        let world = World::new().await;
        let handle = world.layer.handle();
        world.turns.give_all();
        handle.revoke([Revocation::refresh_token(IN_BODY).expect("a token")]).await;
        world.turns.0.forget_permits(usize::MAX);
        let answer = world.poll_times(world.call("/refresh"), polls).await;
        settle().await;
        world.turns.give_all();
        assert_eq!(world.call("/refresh").await, StatusCode::UNAUTHORIZED, "{polls} polls");
        assert!(world.is_done(&[IN_BODY]).await);
        if let Some(answer) = answer {
            assert_eq!(answer, StatusCode::UNAUTHORIZED);
            assert!(polls > STEPS, "{polls} polls leave nothing to interrupt");
            break;
        }
    }
}
