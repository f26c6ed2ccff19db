//! Any caller can send logouts with made-up tokens. They take no more room than configured, push no
//! older revocation out, and do not overload Polar.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::RETRY_AFTER;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use support::{App, Server, access_token, bearer, builder, start_polar, until};
use tower_polar_logout::testing::{FakePolar, Fault};
use tower_polar_logout::{LogoutOutcome, PolarLogoutLayerBuilder, Revocation};

const CALLERS: usize = 100;
const EARLIER: usize = 500;
const LIMIT: usize = 1_000;
const QUEUE_LIMIT: usize = 50;
const AT_ONCE: Duration = Duration::from_millis(1);

/// A caller that keeps its own connections.
struct Caller<'a> {
    app: &'a App,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl<'a> Caller<'a> {
    fn of(app: &'a App) -> Self {
        Self { app, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Returns the status and the value of `Retry-After`.
    async fn send(&self, method: Method, path: &str, token: &str) -> (StatusCode, Option<Bytes>) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.app.url))
            .header("authorization", bearer(token))
            .body(Empty::new())
            .expect("a request");
        let response = self.client.request(request).await.expect("an answer");
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        (response.status(), retry_after)
    }

    async fn get(&self, token: &str) -> StatusCode {
        self.send(Method::GET, "/me", token).await.0
    }

    /// Whether the logout was accepted. A refusal must be a 503 with `Retry-After`.
    async fn log_out(&self, token: &str) -> bool {
        let (status, retry_after) = self.send(Method::POST, "/logout", token).await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(retry_after.as_deref(), Some(b"60".as_slice()));
            return false;
        }
        assert!([StatusCode::ACCEPTED, StatusCode::NO_CONTENT].contains(&status), "{status}");
        true
    }
}

/// Sends `each` logouts from every caller at once. Returns the tokens that were accepted.
async fn flood(app: &App, each: usize) -> Vec<String> {
    let callers = (0..CALLERS).map(|caller| async move {
        let (sender, mut accepted) = (Caller::of(app), Vec::new());
        for n in 0..each {
            let token = access_token(format!("{caller}x{n}"));
            if sender.log_out(&token).await {
                accepted.push(token);
            }
        }
        accepted
    });
    join_all(callers).await.concat()
}

/// Logs users out before the flood. Returns their refresh tokens.
async fn logged_out(polar: &FakePolar, app: &App) -> Vec<String> {
    let tokens: Vec<_> = (0..EARLIER).map(|_| polar.mint().refresh).collect();
    let orders = tokens.iter().map(|token| Revocation::refresh_token(token).expect("a token"));
    // In chunks, because the queue is short.
    let orders: Vec<_> = orders.collect();
    for orders in orders.chunks(QUEUE_LIMIT) {
        let outcome = app.handle.revoke(orders.to_vec()).await;
        assert!(
            matches!(outcome, LogoutOutcome::Confirmed | LogoutOutcome::Pending),
            "{outcome:?}"
        );
        until("the tokens are delivered", || app.handle.counts().pending == 0).await;
    }
    tokens
}

async fn start(builder: PolarLogoutLayerBuilder) -> App {
    let layer =
        builder.denylist_capacity(LIMIT).queue_capacity(QUEUE_LIMIT).logout_deadline(AT_ONCE);
    App::start(Server::Hyper, layer.build().await.expect("a layer")).await
}

/// Earlier revocations stay, and other requests are served meanwhile.
#[tokio::test]
async fn flood_takes_no_more_room_than_configured() {
    let polar = start_polar().await;
    let app = start(builder(&polar)).await;
    let (earlier, living) = (logged_out(&polar, &app).await, polar.mint().access);
    polar.behave(Fault::Freeze);
    let each = 200;

    let ordinary = async {
        let caller = Caller::of(&app);
        for token in &earlier {
            assert_eq!(caller.get(&living).await, StatusCode::OK, "other requests pass");
            assert_eq!(caller.get(token).await, StatusCode::UNAUTHORIZED);
        }
    };
    let (accepted, ()) = tokio::join!(flood(&app, each), ordinary);

    assert_eq!(accepted.len(), QUEUE_LIMIT, "one for each place in the queue");
    assert!(earlier.iter().chain(&accepted).all(|token| app.handle.is_revoked(token)));
    let counts = app.handle.counts();
    assert_eq!((counts.revoked, counts.pending), (LIMIT, QUEUE_LIMIT));
    assert_eq!(counts.full, (CALLERS * each + EARLIER - LIMIT) as u64);
    let seen = polar.seen();
    assert!(seen.most_in_flight <= 4, "{seen:?}");
    assert_eq!(seen.revoked, EARLIER, "{seen:?}");

    // The flood is over, and Polar is back.
    polar.recover();
    app.until(|counts| counts.pending == 0).await;
    assert_eq!(polar.seen().most_in_flight, 4);
    let caller = Caller::of(&app);
    assert!(!caller.log_out(&living).await, "no room until a revocation expires");
    until("Polar revokes the token nevertheless", || !polar.is_alive(&living)).await;
    assert_eq!(caller.get(&earlier[0]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn room_returns_once_made_up_tokens_have_expired() {
    let polar = start_polar().await;
    let app = start(builder(&polar).access_token_retention(Duration::from_secs(1))).await;
    let earlier = logged_out(&polar, &app).await;
    let accepted = flood(&app, 20).await;
    let counts = app.handle.counts();
    assert!(counts.revoked <= LIMIT && counts.full > 0 && !accepted.is_empty(), "{counts:?}");
    app.until(|counts| counts.revoked == EARLIER && counts.pending == 0).await;
    let caller = Caller::of(&app);
    let token = polar.mint().access;
    assert!(caller.log_out(&token).await);
    polar.until(|seen| seen.revoked > EARLIER).await;
    for token in &earlier {
        assert_eq!(caller.get(token).await, StatusCode::UNAUTHORIZED);
    }
}
