//! The app: two layers on two ports, and the actions of an operator.

use std::io;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{once, pending};
use http::Method;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_polar_logout::{
    ClientCredentials, Journal, LogoutHandle, PolarLogoutLayer, PolarLogoutLayerBuilder,
    PolarServer, RedisLog, Revocation, TokenLocation,
};

use super::sample::Sample;

/// How long a token is denied.
const RETENTION: Duration = Duration::from_secs(10);
const EXCHANGED_EVERY: Duration = Duration::from_secs(10);
const LAYERS_EVERY: Duration = Duration::from_secs(2);
/// A layer remembers the 65,536 tokens that were confirmed last. More than that are confirmed at
/// the start, so that this memory is full from the beginning.
const CONFIRMED: u32 = 70_000;
const AT_ONCE: usize = 500;
/// Longer than the longest wait after a failure.
const SHUT_DOWN_WITHIN: Duration = Duration::from_secs(90);
const ENDED_WITHIN: Duration = Duration::from_secs(30);

struct Polar {
    url: String,
    id: String,
    secret: String,
}

impl Polar {
    fn credentials(&self) -> ClientCredentials {
        ClientCredentials::new(&*self.id, &*self.secret)
    }

    fn builder(&self) -> PolarLogoutLayerBuilder {
        PolarLogoutLayer::builder(self.credentials())
            .server(PolarServer::Url(self.url.clone()))
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .access_token(TokenLocation::cookie("access_token"))
            .refresh_token(TokenLocation::form("refresh_token"))
            .access_token_retention(RETENTION)
            .refresh_token_retention(RETENTION)
            .logout_deadline(Duration::from_millis(500))
    }
}

/// Prints two ports, then a sample a second until the standard input ends. Then it prints how many
/// tokens are not delivered, and how many more tasks and descriptors there are than at the start.
pub(crate) async fn run(polar: &str, id: &str, secret: &str, redis: &str, journal: &str) {
    let polar = Polar { url: polar.to_owned(), id: id.to_owned(), secret: secret.to_owned() };
    let closed = CancellationToken::new();
    let close = closed.clone();
    // A thread and not a task, because the runtime's tasks are counted.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        close.cancel();
    });
    let base = Sample::take(0);

    let left = {
        let journal = Journal::open(journal).expect("a journal");
        let redis = RedisLog::connect(redis).expect("a URL");
        let journal = polar
            .builder()
            .revocation_log(journal)
            .verify_revocation(true)
            .build()
            .await
            .expect("a layer");
        let redis = polar.builder().revocation_log(redis).build().await.expect("a layer");
        let handles = [journal.handle(), redis.handle()];
        for handle in &handles {
            fill_memory(handle).await;
        }
        let tasks = TaskTracker::new();
        for layer in [journal, redis] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            println!("{}", listener.local_addr().expect("an address").port());
            let stopped = closed.clone().cancelled_owned();
            tasks.spawn(async {
                let server = axum::serve(listener, router(layer)).with_graceful_shutdown(stopped);
                server.await.expect("it serves");
            });
        }
        println!("{base}");
        tasks.close();
        closed
            .run_until_cancelled(async {
                tokio::join!(report(&handles), exchange(&handles, &polar), come_and_go(&polar))
            })
            .await;
        tasks.wait().await;
        // The exchange may have been interrupted while the secret was wrong.
        let mut left = 0;
        for handle in &handles {
            let _ = handle.set_credentials(polar.credentials()).await;
            left += handle.shutdown(SHUT_DOWN_WITHIN).await.pending;
        }
        left
    };
    let now = until_ended(&base).await;
    println!("{left}\n{}\n{}", now.tasks - base.tasks, now.descriptors - base.descriptors);
}

async fn fill_memory(handle: &LogoutHandle) {
    let orders =
        (0..CONFIRMED).map(|n| Revocation::access_token(format!("polar_at_u_before{n:037}")));
    let orders: Vec<_> = orders.collect::<Result<_, _>>().expect("tokens");
    for orders in orders.chunks(AT_ONCE) {
        handle.revoke(orders.to_vec()).await;
        while handle.counts().pending > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn router(layer: PolarLogoutLayer) -> Router {
    let stream = async || {
        let beginning = once(async { Ok::<_, io::Error>(Bytes::from_static(b"begun")) });
        Body::from_stream(beginning.chain(pending()))
    };
    let upload = async |body: Bytes| body;
    let handle = layer.handle();
    let slow = async || {
        sleep(Duration::from_millis(200)).await;
        "slow"
    };
    Router::new()
        .route("/me", any(async || "me"))
        .route("/slow", get(slow))
        .route("/upload", post(upload).layer(handle.check_body()))
        .route("/stream", get(stream).layer(handle.end_streams()))
        .layer(layer)
}

async fn report(handles: &[LogoutHandle]) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.tick().await;
    loop {
        seconds.tick().await;
        let pending = handles.iter().map(|handle| handle.counts().pending).sum();
        println!("{}", Sample::take(pending));
    }
}

/// Sets a wrong secret for a second, then the right one.
async fn exchange(handles: &[LogoutHandle], polar: &Polar) {
    loop {
        sleep(EXCHANGED_EVERY).await;
        for secret in ["wrong", &polar.secret] {
            for handle in handles {
                // An error is expected while Redis is down.
                let _ = handle.set_credentials(ClientCredentials::new(&*polar.id, secret)).await;
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Builds and uses layers, and shuts them down or only drops them.
async fn come_and_go(polar: &Polar) {
    for n in 0_u64.. {
        let layer = polar.builder().build().await.expect("a layer");
        let handle = layer.handle();
        let token =
            Revocation::access_token(format!("polar_at_u_shortLife{n:034}")).expect("a token");
        handle.revoke([token]).await;
        if n.is_multiple_of(2) {
            handle.shutdown(Duration::from_secs(1)).await;
        }
        drop((layer, handle));
        sleep(LAYERS_EVERY).await;
    }
}

/// Waits until the process holds no more than at the start, but no longer than [`ENDED_WITHIN`].
async fn until_ended(base: &Sample) -> Sample {
    let began = Instant::now();
    loop {
        let now = spawn_blocking(|| ()).await.map(|()| Sample::take(0)).expect("no panic");
        let is_over = now.tasks <= base.tasks && now.descriptors <= base.descriptors;
        if is_over || began.elapsed() > ENDED_WITHIN {
            return now;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
