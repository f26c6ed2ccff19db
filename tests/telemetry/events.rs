//! Spans and steps connect a logout with its deliveries, and each logout has one audit event.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::{Method, StatusCode};
use support::events::{Event, Events, steps};
use support::site::Site;
use support::{App, Server, bearer, builder, start_polar, until};
use tower_polar_logout::testing::{Fault, MemoryLog};
use tower_polar_logout::{LogoutOutcome, Revocation, TokenHash, TokenLocation};
use tracing::Level;

const AT_ONCE: Duration = Duration::from_millis(1);

fn ids(events: &[Event]) -> Vec<&str> {
    let mut ids: Vec<_> = events.iter().map(|event| event.id().expect("an id")).collect();
    ids.dedup();
    ids
}

/// The steps come in order, and each logout has an id of its own.
#[tokio::test]
async fn logout_and_delivery_share_an_id() {
    let (events, _guard) = Events::capture();
    let polar = start_polar().await;
    let layer = builder(&polar).revocation_log(MemoryLog::new()).build().await.expect("a layer");
    let app = App::start(Server::Axum, layer).await;
    let tokens = [polar.mint().access, polar.mint().access];
    for token in &tokens {
        let answer = app.post("/logout", &[("authorization", &bearer(token))]).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    let told = tokens.map(|token| events.steps(TokenHash::of(token)));
    for told in &told {
        assert_eq!(steps(told), ["denied", "recorded", "forwarded", "confirmed"]);
        assert_eq!(ids(told).len(), 1, "{told:#?}");
        let spans: Vec<_> = told.iter().map(|event| event.spans[0].name).collect();
        assert_eq!(spans, ["logout", "logout", "delivery", "delivery"]);
        assert!(told.iter().all(|event| event.told.level == Level::DEBUG));
        let elapsed: Vec<u64> = told
            .iter()
            .map(|event| event.field("elapsed_ms").and_then(|it| it.parse().ok()).expect("ms"))
            .collect();
        assert!(elapsed.is_sorted(), "{elapsed:?}");
        assert_eq!(told[2].field("attempt"), Some("1"));
    }
    let [first, second] = told.each_ref().map(|told| ids(told)[0]);
    assert_ne!(first, second, "each logout has its own");
    assert!(first.len() == 8 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_eq!(ids(&events.audited()), [first, second]);
}

/// Polar fails twice before it confirms.
#[tokio::test]
async fn every_attempt_has_the_id_of_its_logout() {
    let (events, _guard) = Events::capture();
    let polar = start_polar().await;
    let handle = builder(&polar).logout_deadline(AT_ONCE).build().await.expect("a layer").handle();
    let token = polar.mint().access;
    polar.behave_next(
        2,
        Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None },
    );
    handle.revoke([Revocation::access_token(&token).expect("a token")]).await;
    until("Polar confirmed", || handle.counts().confirmed == 1).await;
    let told = events.steps(TokenHash::of(&token));
    assert_eq!(
        steps(&told),
        ["denied", "forwarded", "retrying", "forwarded", "retrying", "forwarded", "confirmed"]
    );
    assert_eq!(ids(&told).len(), 1, "{told:#?}");
    assert_eq!(ids(&told), ids(&events.audited()));
    let attempts: Vec<_> = told.iter().filter_map(|event| event.field("attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    let retrying = told.iter().filter(|event| event.step() == Some("retrying"));
    assert!(retrying.clone().all(|event| event.told.level == Level::WARN));
    assert!(
        retrying.clone().all(|event| event.field("reason") == Some("500 Internal Server Error"))
    );
    let spans = events.spans();
    let deliveries: Vec<_> = spans.iter().filter(|span| span.name == "delivery").collect();
    assert_eq!(deliveries.len(), 3, "a span for each attempt");
    assert!(deliveries.iter().all(|span| span.target == "tower_polar_logout::delivery"));
    assert_eq!(deliveries[2].fields["attempt"], "3");
    let logout = spans.iter().find(|span| span.name == "logout").expect("a span");
    assert_eq!((logout.level, &*logout.target), (Level::INFO, "tower_polar_logout::logout"));
}

#[tokio::test]
async fn dead_letter_and_rejected_request_are_steps() {
    let (events, _guard) = Events::capture();
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let refresh = post(async || "a new pair").layer(layer.handle().check_body());
    let app = Site::start(Router::new().route("/refresh", refresh).layer(layer)).await;
    let token = polar.mint_for_another_client().access;
    let authorization = bearer(&token);
    app.post("/logout", &[("authorization", &authorization)]).await;
    let rejected = app.get("/me", &[("authorization", &authorization)]).await;
    assert_eq!(rejected.status, StatusCode::UNAUTHORIZED);
    let body = format!(r#"{{"token":"{token}"}}"#);
    let rejected = app.send(Method::POST, "/refresh", &[], body).await;
    assert_eq!(rejected.status, StatusCode::UNAUTHORIZED);
    let told = events.steps(TokenHash::of(&token));
    assert_eq!(steps(&told), ["denied", "forwarded", "dead_letter", "rejected", "rejected"]);
    assert_eq!(told[2].told.level, Level::ERROR);
    assert_eq!(ids(&told[..3]).len(), 1);
}

/// The operator sees the reason and the host of the other site, and nothing secret.
#[tokio::test]
async fn cross_site_logout_is_reported_with_its_reason() {
    let (events, _guard) = Events::capture();
    let polar = start_polar().await;
    let app = App::start(Server::Axum, builder(&polar).build().await.expect("a layer")).await;
    let token = polar.mint().access;
    let cookie = format!("access_token={token}");
    for origin in [("origin", "https://evil.example:8443"), ("origin", "null")] {
        let answer = app.post("/logout", &[("cookie", &cookie), origin]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    let forced = [("cookie", &*cookie), ("sec-fetch-site", "cross-site")];
    assert_eq!(app.post("/logout", &forced).await.status, StatusCode::FORBIDDEN);
    // Without a cookie nothing is refused.
    app.post("/logout", &[("sec-fetch-site", "cross-site")]).await;

    let refused: Vec<_> = events
        .all()
        .into_iter()
        .filter(|event| event.field("message") == Some("a logout from another site was refused"))
        .collect();
    assert!(refused.iter().all(|event| event.told.level == Level::INFO));
    assert!(refused.iter().all(|event| event.told.target == "tower_polar_logout::csrf"));
    let told: Vec<_> =
        refused.iter().map(|event| (event.field("reason"), event.field("from"))).collect();
    assert_eq!(
        told,
        [
            (Some("origin"), Some("evil.example")),
            (Some("null_origin"), None),
            (Some("sec_fetch_site"), None)
        ]
    );
    assert!(!format!("{refused:?}").contains(&token));
    assert_eq!(app.handle.counts().cross_site, 3);
}

/// One replica ends before delivery, and another one adopts its token.
#[tokio::test]
async fn adopted_token_is_delivered_under_a_new_id() {
    let (events, _guard) = Events::capture();
    let polar = start_polar().await;
    let log = MemoryLog::new().adopt_after(AT_ONCE);
    let replica = || async {
        let layer =
            builder(&polar).revocation_log(log.clone()).logout_deadline(AT_ONCE).build().await;
        layer.expect("a layer").handle()
    };
    polar.behave(Fault::Freeze);
    let first = replica().await;
    let token = polar.mint().access;
    first.revoke([Revocation::access_token(&token).expect("a token")]).await;
    until("it is called", || polar.seen().revoke_calls == 1).await;
    drop(first);
    polar.recover();
    let second = replica().await;
    until("it is delivered", || second.counts().confirmed == 1).await;
    let told = events.steps(TokenHash::of(&token));
    let (logout, delivery) = told.split_at(3);
    assert_eq!(steps(logout), ["denied", "recorded", "forwarded"]);
    assert_eq!(steps(delivery), ["forwarded", "confirmed"]);
    assert_eq!((ids(logout).len(), ids(delivery).len()), (1, 1));
    assert_ne!(ids(logout), ids(delivery));
}

/// The audit event names the place of each credential, and its hash.
#[tokio::test]
async fn each_logout_is_audited_once_without_secrets() {
    let (events, _guard) = Events::capture();
    let polar = start_polar().await;
    let layer = builder(&polar)
        .session_id(TokenLocation::header("x-session"))
        .access_token(TokenLocation::query("q"))
        .access_token(TokenLocation::form("f"))
        .access_token(TokenLocation::json("j"))
        .build()
        .await
        .expect("a layer");
    let app = App::start(Server::Axum, layer).await;
    let mut tokens: Vec<_> = (0..6).map(|_| polar.mint().access).collect();
    tokens.push("session-0123456789012345678901234567890123456789".to_owned());
    let headers = [
        ("authorization", &*bearer(&tokens[0])),
        ("cookie", &*format!("access_token={}", tokens[1])),
        ("x-session", &*tokens[6]),
    ];
    let target = format!("/logout?q={}", tokens[2]);
    app.send(Method::POST, &target, &headers, format!("f={}", tokens[3])).await;
    app.send(Method::POST, "/logout", &[], format!(r#"{{"j":"{}"}}"#, tokens[4])).await;
    app.post("/logout", &[]).await;
    let revocation = Revocation::access_token(&tokens[5]).expect("a token");
    assert_eq!(app.handle.revoke([revocation]).await, LogoutOutcome::Confirmed);

    let audited = events.audited();
    let hash = |n: usize| format!("{:?}", TokenHash::of(&tokens[n]));
    let credentials = [
        format!(
            "authorization {}, cookie {}, header {}, query {}, body {}",
            hash(0),
            hash(1),
            hash(6),
            hash(2),
            hash(3)
        ),
        format!("body {}", hash(4)),
        String::new(),
        format!("handle {}", hash(5)),
    ];
    assert_eq!(audited.len(), credentials.len(), "{audited:#?}");
    for (event, credentials) in audited.iter().zip(credentials) {
        assert_eq!(event.told.level, Level::INFO);
        let names: Vec<_> = event.told.fields.keys().copied().collect();
        assert_eq!(names, ["credentials", "elapsed_ms", "id", "message", "outcome"]);
        assert_eq!(event.field("credentials"), Some(&*credentials));
        let outcome = if credentials.is_empty() { "no_token" } else { "confirmed" };
        assert_eq!(event.field("outcome"), Some(outcome));
    }
    let everything = format!("{:?} {:?}", events.all(), events.spans());
    assert!(everything.contains("forwarded"));
    for secret in tokens.iter().map(String::as_str).chain([polar.client_secret()]) {
        assert!(!everything.contains(&secret[secret.len() - 20..]), "{everything}");
    }
}
