//! Compares contestants in interleaved rounds, by the medians of their differences.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tower::Service;

/// An odd number, so that the median is one of the rounds.
const ROUNDS: usize = 9;
/// Batches of each contestant in a round that count.
const BATCHES: usize = 500;
/// Batches before them that do not count, because the caches still hold the data of the contestant
/// before.
const WARM_UP: usize = 4_000;
/// Small enough for the first cache: a server has just read the request that it serves.
const BATCH: u32 = 64;

/// Measures one batch.
type Contestant = Box<dyn FnMut() -> Duration>;

#[derive(Default)]
pub(crate) struct Race(Vec<Contestant>);

#[derive(Clone, Copy)]
pub(crate) struct Entry(usize);

/// Nanoseconds of each round and contestant.
pub(crate) struct Times(Vec<Vec<f64>>);

impl Race {
    /// Enters a service and its requests. [`batch_of`] says which part is measured.
    pub(crate) fn requests<S, R>(
        &mut self,
        mut service: S,
        mut request: impl FnMut() -> Request<Body> + 'static,
    ) -> Entry
    where
        S: Service<Request<Body>, Response = Response<R>> + 'static,
    {
        let response = answer(&mut service, request());
        assert_eq!(response.status(), StatusCode::OK, "the request must pass");
        self.enter(move || batch_of(&mut service, &mut request))
    }

    /// Enters a function of a token.
    pub(crate) fn calls<R>(
        &mut self,
        mut token: impl FnMut() -> String + 'static,
        function: impl Fn(&str) -> R + 'static,
    ) -> Entry {
        self.enter(move || {
            let tokens: Vec<_> = (0..BATCH).map(|_| token()).collect();
            let begun = Instant::now();
            for token in &tokens {
                black_box(function(black_box(token)));
            }
            begun.elapsed()
        })
    }

    fn enter(&mut self, contestant: impl FnMut() -> Duration + 'static) -> Entry {
        self.0.push(Box::new(contestant));
        Entry(self.0.len() - 1)
    }

    pub(crate) fn run(mut self) -> Times {
        let round = |_| self.0.iter_mut().map(turn).collect();
        Times((0..ROUNDS).map(round).collect())
    }
}

impl Times {
    /// How much longer one takes than the other.
    pub(crate) fn net(&self, entry: Entry, base: Entry) -> f64 {
        median(self.0.iter().map(|round| round[entry.0] - round[base.0]).collect())
    }

    pub(crate) fn of(&self, entry: Entry) -> f64 {
        median(self.0.iter().map(|round| round[entry.0]).collect())
    }
}

/// The median batch, so that batches during which the thread lost the processor do not count.
fn turn(contestant: &mut Contestant) -> f64 {
    for _ in 0..WARM_UP {
        contestant();
    }
    median((0..BATCHES).map(|_| each(contestant())).collect())
}

/// Calls the service for one batch of requests. The time includes the call, up to the answer, and
/// the drop of request and answer. It does not include the construction of the requests.
pub(crate) fn batch_of<S, R>(
    service: &mut S,
    mut request: impl FnMut() -> Request<Body>,
) -> Duration
where
    S: Service<Request<Body>, Response = Response<R>>,
{
    let requests: Vec<_> = (0..BATCH).map(|_| request()).collect();
    let begun = Instant::now();
    for request in requests {
        black_box(answer(service, request));
    }
    begun.elapsed()
}

/// The nanoseconds of one request of a batch.
pub(crate) fn each(batch: Duration) -> f64 {
    batch.as_secs_f64() * 1e9 / f64::from(BATCH)
}

/// The answer of a service that answers at once.
pub(crate) fn answer<S, R>(service: &mut S, request: Request<Body>) -> Response<R>
where
    S: Service<Request<Body>, Response = Response<R>>,
{
    match pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => response,
        Poll::Ready(Err(_)) => panic!("the service failed"),
        Poll::Pending => panic!("the service did not answer at once"),
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
