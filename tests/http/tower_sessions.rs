//! An app with server-side sessions, as in `examples/tower_sessions.rs`: a session id in the
//! browser, Polar's tokens in the session.

#[allow(dead_code, reason = "its main function is not called here")]
#[path = "../../examples/tower_sessions.rs"]
mod example;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use support::log::soon;
use support::site::Site;
use tokio::sync::Notify;
use tower_polar_logout::PolarLogoutLayer;
use tower_polar_logout::testing::{FakePolar, Fault};
use tower_sessions::{MemoryStore, Session};

async fn layer(polar: &FakePolar) -> PolarLogoutLayer {
    example::logout(polar).build().await.expect("a layer")
}

async fn start() -> (Arc<FakePolar>, Site) {
    let polar = Arc::new(FakePolar::start().await.expect("a stand-in"));
    let app = example::app(Arc::clone(&polar), &layer(&polar).await, MemoryStore::default());
    (polar, Site::start(app).await)
}

/// Signs in, and returns the `Cookie` header that the browser sends from then on.
async fn sign_in(site: &Site, headers: &[(&str, &str)]) -> String {
    let answer = site.post("/login", headers).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    let [cookie] = cookies[..] else { panic!("one cookie, but: {cookies:?}") };
    let cookie = cookie.to_str().expect("text").split(';').next().expect("a pair");
    assert!(cookie.starts_with("id=") && !cookie.contains("polar"), "only a session id: {cookie}");
    cookie.to_owned()
}

/// The tokens that Polar was asked to revoke.
fn asked(polar: &FakePolar) -> Vec<String> {
    let calls = polar.requests();
    calls.iter().filter_map(|call| call.value("token").map(str::to_owned)).collect()
}

/// The session id is denied.
#[tokio::test]
async fn logout_revokes_both_tokens_of_the_session() {
    let (polar, site) = start().await;
    assert_eq!(site.get("/me", &[]).await.body, "signed out\n");
    let cookie = sign_in(&site, &[]).await;
    let browser = [("cookie", &*cookie)];
    assert_eq!(site.get("/me", &browser).await.body, "signed in\n");

    let answer = site.post("/logout", &browser).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert!(answer.removed_cookies().contains(&"id"), "{answer:?}");
    let mut tokens = asked(&polar);
    tokens.sort();
    assert_eq!(tokens.len(), 2, "both tokens");
    assert!(tokens[0].starts_with("polar_at_") && tokens[1].starts_with("polar_rt_"));
    assert!(tokens.iter().all(|token| !polar.is_alive(token)));
    assert_eq!(polar.seen().freezes, 0, "one call about a pair at a time");

    let replayed = site.get("/me", &browser).await;
    assert_eq!(replayed.status, StatusCode::UNAUTHORIZED);
    assert_eq!(replayed.body, "signed out\n", "the app answers, and does not see the id");

    let page = site.get("/", &browser).await;
    assert_eq!(page.body, "signed out\n", "a public page");
    assert_eq!(page.removed_cookies(), ["id"]);
    let answer = site.post("/logout", &browser).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "a second logout is harmless");
    let again = sign_in(&site, &browser).await;
    assert_ne!(again, cookie);
    assert_eq!(site.get("/me", &[("cookie", &again)]).await.body, "signed in\n");
    assert_eq!(site.get("/me", &browser).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn another_site_logs_no_user_out() {
    let (polar, site) = start().await;
    let cookie = sign_in(&site, &[]).await;
    let answer =
        site.post("/logout", &[("cookie", &cookie), ("sec-fetch-site", "cross-site")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(site.get("/me", &[("cookie", &cookie)]).await.body, "signed in\n");
    assert_eq!(polar.seen().revoke_calls, 0);
}

#[tokio::test]
async fn tokens_reach_polar_when_the_browser_hangs_up() {
    let (polar, site) = start().await;
    let site = Arc::new(site);
    let cookie = sign_in(&site, &[]).await;
    polar.behave(Fault::Freeze);
    let logout = tokio::spawn({
        let (site, cookie) = (Arc::clone(&site), cookie.clone());
        async move { site.post("/logout", &[("cookie", &cookie)]).await }
    });
    soon(polar.until(|seen| seen.in_flight == 1)).await;
    logout.abort();
    polar.recover();
    soon(polar.until(|seen| seen.answered == 2)).await;
    let tokens = asked(&polar);
    assert!(tokens.iter().all(|token| !polar.is_alive(token)));
    assert_eq!(site.get("/me", &[("cookie", &cookie)]).await.status, StatusCode::UNAUTHORIZED);
}

/// A failed logout can be repeated: the browser still holds the id, and the session its tokens.
#[tokio::test]
async fn failed_logout_keeps_the_cookie_and_the_session() {
    let polar = Arc::new(FakePolar::start().await.expect("a stand-in"));
    let store = MemoryStore::default();
    let closed = layer(&polar).await;
    let app = example::app(Arc::clone(&polar), &closed, store.clone());
    let site = Site::start(app).await;
    let cookie = sign_in(&site, &[]).await;
    let browser = [("cookie", &*cookie)];
    // From now on the layer accepts no tokens for Polar.
    closed.handle().shutdown(Duration::ZERO).await;

    let answer = site.post("/logout", &browser).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.removed_cookies(), Vec::<&str>::new());
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(site.get("/me", &browser).await.status, StatusCode::UNAUTHORIZED, "denied here");

    let site = Site::start(example::app(Arc::clone(&polar), &layer(&polar).await, store)).await;
    assert_eq!(site.post("/logout", &browser).await.status, StatusCode::SEE_OTHER);
    soon(polar.revoked(1)).await;
}

/// A slow route that changes the session. The session is saved once the request is answered.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Slow {
    fn route(&self) -> Router {
        let Self { begun, go_on } = self.clone();
        let handler = async move |session: Session| {
            session.insert("visited", true).await.expect("a session");
            begun.notify_one();
            go_on.notified().await;
        };
        Router::new().route("/slow", get(handler))
    }
}

/// A logout deletes a session while a slow request changes it. After that tower-sessions saves the
/// session again, with the tokens in it. Returns the cookie with its id.
async fn session_saved_after_its_logout(site: Arc<Site>, slow: Slow) -> String {
    let cookie = sign_in(&site, &[]).await;
    let request = tokio::spawn({
        let (site, cookie) = (Arc::clone(&site), cookie.clone());
        async move { site.get("/slow", &[("cookie", &cookie)]).await }
    });
    soon(slow.begun.notified()).await;
    let answer = site.post("/logout", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    slow.go_on.notify_one();
    assert_eq!(soon(request).await.expect("an answer").status, StatusCode::OK);
    cookie
}

#[tokio::test]
async fn session_saved_after_its_logout_stays_dead() {
    let polar = Arc::new(FakePolar::start().await.expect("a stand-in"));
    let slow = Slow::default();
    let (logout, store) = (layer(&polar).await, MemoryStore::default());
    let app = example::routes(polar, logout.handle())
        .merge(slow.route())
        .layer(example::sessions(store))
        .layer(logout);
    let site = Arc::new(Site::start(app).await);
    let cookie = session_saved_after_its_logout(Arc::clone(&site), slow).await;
    let browser = [("cookie", &*cookie)];
    assert_eq!(site.get("/me", &browser).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(site.get("/", &browser).await.body, "signed out\n");
}

/// The wrong order: the session is found by its id before the layer takes the id out.
#[tokio::test]
async fn layer_inside_the_sessions_comes_too_late() {
    let polar = Arc::new(FakePolar::start().await.expect("a stand-in"));
    let slow = Slow::default();
    let (logout, store) = (layer(&polar).await, MemoryStore::default());
    let app = example::routes(polar, logout.handle())
        .merge(slow.route())
        .layer(logout)
        .layer(example::sessions(store));
    let site = Arc::new(Site::start(app).await);
    let cookie = session_saved_after_its_logout(Arc::clone(&site), slow).await;
    let browser = [("cookie", &*cookie)];
    for page in ["/me", "/"] {
        assert_eq!(site.get(page, &browser).await.body, "signed in\n", "with a dead session id");
    }
}
