//! A replica: a real layer around a small app, in a process that can be killed.
//!
//! All processes of a world share one runtime, since they share its clock. So a killed process is
//! cut off: its calls to the log and to Polar have no effect and no answer, and its callers hear no
//! more.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, service_fn};
use tower_polar_logout::client::PolarClient;
use tower_polar_logout::{
    ClientCredentials, DeadLetter, Error, ErrorKind, LogoutHandle, PolarLogout, PolarLogoutLayer,
    PolarServer,
};

use crate::carried::{Form, REFRESH_HEADER, locations};
use crate::clock::{GRAIN, MOST_WRONG};
use crate::log::{Connection, Reader};
use crate::polar::{CALL_TIMEOUT, polar};
use crate::promise::Promise;
use crate::told::has_secret;
use crate::world::{Shared, lock};

const SECRETS: [&str; 2] = ["polar_cs_one", "polar_cs_two"];
const CALLED: &str = "x-app-was-called";

/// How long a revocation is held by default.
const RETENTION: Duration = Duration::from_secs(3600);

const CATCH_UP_WITHIN: Duration = Duration::from_secs(3);

pub(crate) fn credentials(other: bool) -> ClientCredentials {
    ClientCredentials::new("polar_ci_id", SECRETS[usize::from(other)])
}

/// One life of a replica.
pub(crate) struct Process {
    pub(crate) world: Shared,
    pub(crate) id: usize,
    /// By how many seconds its clock is ahead of the log's.
    pub(crate) ahead: i64,
    killed: CancellationToken,
}

/// The world's knowledge of a process.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) in_flight: usize,
    /// The times between which Polar must not be called.
    pub(crate) pauses: Vec<(Instant, Instant)>,
    pub(crate) reader: Reader,
    /// Tokens that the process has rejected or denied.
    pub(crate) denied: BTreeSet<usize>,
    /// Tokens of which the log told the process that they are revoked.
    pub(crate) told: BTreeSet<usize>,
}

impl Process {
    fn new(world: &Shared) -> Arc<Self> {
        let mut this = lock(world);
        let most = MOST_WRONG / GRAIN;
        let ahead = this.rng.i64(-most..=most) * GRAIN;
        let id = this.known.len();
        this.known.push(Known::default());
        this.tally.count("starts");
        this.tell(format_args!("{id}: starts, with its clock ahead by {ahead} s"));
        drop(this);
        Arc::new(Self { world: Arc::clone(world), id, ahead, killed: CancellationToken::new() })
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.is_cancelled()
    }

    pub(crate) async fn killed(&self) {
        self.killed.cancelled().await;
    }

    /// The result of this work, or none, indefinitely, once the process is killed.
    pub(crate) async fn while_alive<T>(&self, work: impl Future<Output = T>) -> T {
        match self.killed.run_until_cancelled(work).await {
            Some(done) => done,
            None => pending().await,
        }
    }
}

/// Answers every request with its URI and its headers.
#[derive(Clone)]
pub(crate) struct App;

impl Service<Request<Full<Bytes>>> for App {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let seen = format!("{} {:?}", request.uri(), request.headers());
        let response = Response::builder().header(CALLED, "yes").body(Full::from(seen));
        ready(Ok(response.expect("a response")))
    }
}

/// The answer that a caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The URI and headers that the app saw, if it was called.
    pub(crate) seen: Option<String>,
}

pub(crate) struct Replica {
    pub(crate) process: Arc<Process>,
    pub(crate) handle: LogoutHandle,
    service: PolarLogout<App>,
}

impl Replica {
    /// Starts, again and again until a start succeeds.
    pub(crate) async fn start(world: &Shared) -> Arc<Self> {
        loop {
            let process = Process::new(world);
            // A task that gives up waiting kills the process.
            let given_up = process.killed.clone().drop_guard();
            let acknowledged = lock(world).acknowledged.clone();
            match layer(&process).await {
                Ok(layer) => {
                    given_up.disarm();
                    let (handle, service) = (layer.handle(), layer.layer(App));
                    let replica = Self { process, handle, service };
                    replica.knows(&acknowledged);
                    return Arc::new(replica);
                }
                Err(error) => failed(&process, &error),
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Checks that the replica knows what was acknowledged before it began to start.
    fn knows(&self, acknowledged: &BTreeSet<usize>) {
        let mut world = lock(&self.process.world);
        if world.plan.allow_stale_start {
            return;
        }
        for number in self.missing(&world, acknowledged) {
            world.lets_in(self.process.id, number);
        }
    }

    /// Polls a request once; `None` if it must wait.
    pub(crate) fn call_at_once(&self, request: Request<Full<Bytes>>) -> Option<Answer> {
        let mut service = self.service.clone();
        let mut context = Context::from_waker(Waker::noop());
        let ready = service.poll_ready(&mut context);
        assert!(ready.is_ready(), "the app is ready");
        match pin!(service.call(request)).poll(&mut context) {
            Poll::Ready(Ok(response)) => Some(self.read(response)),
            Poll::Pending => None,
        }
    }

    pub(crate) async fn call(&self, request: Request<Full<Bytes>>) -> Answer {
        let Ok(response) = self.service.clone().call(request).await;
        self.read(response)
    }

    /// Logs out, also with the refresh token if there is one.
    pub(crate) fn log_out(
        &self,
        form: Form,
        token: &str,
        refresh_token: Option<&str>,
    ) -> impl Future<Output = Answer> {
        let mut request = form.request(Method::POST, "/logout", token);
        if let Some(token) = refresh_token {
            request.headers_mut().insert(REFRESH_HEADER, token.parse().expect("a value"));
        }
        self.call(request)
    }

    fn read(&self, response: Response<Full<Bytes>>) -> Answer {
        let (parts, body) = response.into_parts();
        let is_from_app = parts.headers.contains_key(CALLED);
        let collected = pin!(body.collect()).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok(body)) = collected else { panic!("the body is not complete") };
        let body = body.to_bytes();
        if !is_from_app && (has_secret(format!("{parts:?}")) || has_secret(&body)) {
            let how = "a response has one";
            lock(&self.process.world).breaks(Promise::SecretsStayInside, how);
        }
        let seen = is_from_app.then(|| String::from_utf8_lossy(&body).into_owned());
        Answer { status: parts.status, seen }
    }

    pub(crate) fn kill(&self) {
        self.process.killed.cancel();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

fn failed(process: &Process, error: &Error) {
    let mut world = lock(&process.world);
    world.tally.count("starts that failed");
    world.tell(format_args!("{}: does not start: {error}", process.id));
    if has_secret(format!("{error} {error:?}")) {
        world.breaks(Promise::SecretsStayInside, "an error has one");
    }
    if error.kind() == ErrorKind::Configuration {
        // The log holds more than the limit. The error tells the operator to raise it.
        world.limit *= 2;
        world.tally.count("limits raised");
    }
}

async fn layer(process: &Arc<Process>) -> Result<PolarLogoutLayer, Error> {
    let (plan, limit) = {
        let world = lock(&process.world);
        (world.plan.clone(), world.limit)
    };
    let (for_polar, for_letters) = (Arc::clone(process), Arc::clone(process));
    let client = PolarClient::builder(credentials(false))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .max_in_flight(plan.max_in_flight)
        .request_timeout(CALL_TIMEOUT)
        .transport(service_fn(move |request| polar(Arc::clone(&for_polar), request)));
    let builder = PolarLogoutLayer::builder(client)
        .logout_route(Method::POST, "/logout")
        .verify_revocation(plan.confirm)
        .queue_capacity(plan.queue_capacity)
        .denylist_capacity(limit)
        .logout_deadline(plan.deadline)
        .access_token_retention(RETENTION)
        .previous_client_secret(SECRETS[1])
        .startup_timeout(CATCH_UP_WITHIN)
        .revocation_log(Connection(Arc::clone(process)))
        .on_dead_letter(move |letter| read_letter(&for_letters, letter));
    let builder = if plan.allow_stale_start { builder.allow_stale_start(true) } else { builder };
    let builder =
        if plan.max_log_lag { builder.max_log_lag(Duration::from_secs(1)) } else { builder };
    locations(builder).build().await
}

fn read_letter(process: &Process, letter: &DeadLetter<'_>) {
    let mut world = lock(&process.world);
    if has_secret(format!("{letter:?}")) {
        world.breaks(Promise::SecretsStayInside, "a dead letter has one");
    }
    match letter {
        _ if process.is_killed() => {}
        DeadLetter::Refused { hash, .. } => drop(world.polar.dead_letters.insert(*hash)),
        // Both secrets are known at every start.
        other => world.breaks(Promise::NothingIsLost, &format!("{other:?}")),
    }
}
