//! The answers to a logout: every row of the table of answers, in axum and in bare hyper.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::{Method, StatusCode};
use support::site::Site;
use support::{App, SERVERS, Server, TreatedWell, bearer, builder, refresh_token, start_polar};
use tower_polar_logout::testing::Fault;
use tower_polar_logout::{
    ClearSiteData, CookieLocation, LogoutOutcome, PolarLogoutLayerBuilder, Revocation, SameSite,
    TokenHash, TokenLocation,
};

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
/// The deadline of a logout that must not wait for Polar.
const AT_ONCE: Duration = Duration::from_millis(1);
const CROSS_SITE: (&str, &str) = ("sec-fetch-site", "cross-site");

async fn start(server: Server, builder: PolarLogoutLayerBuilder) -> App {
    App::start(server, builder.build().await.expect("a layer")).await
}

async fn for_each_server<F: Future<Output = ()>>(check: impl Fn(Server, TreatedWell) -> F) {
    for server in SERVERS {
        check(server, start_polar().await).await;
    }
}

#[tokio::test]
async fn logout_denies_the_token_and_revokes_the_pair() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar)).await;
        let pair = polar.mint();
        let authorization = bearer(&pair.access);
        let token = [("authorization", &*authorization)];
        assert_eq!(app.get("/me", &token).await.status, StatusCode::OK);

        let answer = app.post("/logout", &token).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!polar.is_alive(&pair.access), "revoked at Polar");
        assert!(!polar.is_alive(&pair.refresh), "either token revokes the pair");

        let calls = app.calls();
        let answer = app.get("/me", &token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(app.calls(), calls, "the app did not see the request");
        assert!(app.handle.is_revoked(&pair.access));
    })
    .await;
}

#[tokio::test]
async fn confirmed_logout_redirects_browsers_and_answers_others_204() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).redirect_to("/bye?from=logout")).await;
        for (accept, status) in [
            (BROWSER, StatusCode::SEE_OTHER),
            (("accept", "application/json"), StatusCode::NO_CONTENT),
            (("accept", "*/*"), StatusCode::NO_CONTENT),
        ] {
            let cookie = format!("access_token={}", polar.mint().access);
            let answer = app.post("/logout", &[("cookie", &cookie), accept]).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.removed_cookies(), ["access_token", "refresh_token"]);
            if status == StatusCode::SEE_OTHER {
                assert_eq!(answer.header("location"), "/bye?from=logout");
            }
        }
    })
    .await;
}

/// htmx follows a 303 in its script, and would swap the target into the open page.
#[tokio::test]
async fn logout_redirects_htmx_with_its_own_header() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).redirect_to("/bye").logout_deadline(AT_ONCE)).await;
        let htmx = ("hx-request", "true");
        for accept in [BROWSER, ("accept", "*/*")] {
            let answer = app.post("/logout", &[htmx, accept]).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
            assert_eq!(answer.header("hx-redirect"), "/bye");
            assert_eq!(answer.header("location"), "");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.removed_cookies(), ["access_token", "refresh_token"]);
        }
        let answer = app.post("/logout", &[("hx-request", "false"), BROWSER]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.header("hx-redirect"), "");

        polar
            .behave(Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None });
        let authorization = bearer(&polar.mint().access);
        let answer = app.post("/logout", &[htmx, ("authorization", &authorization)]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(answer.header("hx-redirect"), "/bye");

        let app = start(server, builder(&polar)).await;
        let answer = app.post("/logout", &[htmx]).await;
        assert_eq!(answer.header("hx-redirect"), "", "no redirect is configured");
    })
    .await;
}

/// The token is denied here, but Polar has not confirmed it yet.
#[tokio::test]
async fn pending_logout_redirects_browsers_and_answers_others_202() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).redirect_to("/").logout_deadline(AT_ONCE)).await;
        polar
            .behave(Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None });
        for (accept, status) in
            [(BROWSER, StatusCode::SEE_OTHER), (("accept", "*/*"), StatusCode::ACCEPTED)]
        {
            let pair = polar.mint();
            let cookie = format!("access_token={}", pair.access);
            let answer = app.post("/logout", &[("cookie", &cookie), accept]).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.removed_cookies(), ["access_token", "refresh_token"]);
            assert!(app.handle.is_revoked(&pair.access), "denied here whatever Polar does");
        }
    })
    .await;
}

#[tokio::test]
async fn logout_without_a_token_still_removes_the_cookies() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).redirect_to("/")).await;
        for (accept, status) in
            [(BROWSER, StatusCode::SEE_OTHER), (("accept", "*/*"), StatusCode::NO_CONTENT)]
        {
            for cookie in ["", "access_token=", "other=1"] {
                let answer = app.post("/logout", &[accept, ("cookie", cookie)]).await;
                assert_eq!(answer.status, status);
                assert_eq!(answer.header("cache-control"), "no-store");
                assert_eq!(answer.removed_cookies(), ["access_token", "refresh_token"]);
            }
        }
        assert_eq!(app.handle.counts().revoked, 0, "an empty value is no credential");
        assert_eq!(polar.seen().revoke_calls, 0);
    })
    .await;
}

/// No older revocation makes way, and the browser keeps its cookie.
#[tokio::test]
async fn logout_answers_503_when_the_denylist_is_full() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).denylist_capacity(1).redirect_to("/")).await;
        let (first, second) = (polar.mint(), polar.mint());
        app.post("/logout", &[("authorization", &bearer(&first.access))]).await;
        for accept in [BROWSER, ("accept", "*/*")] {
            let cookie = format!("access_token={}", second.access);
            let answer = app.post("/logout", &[("cookie", &cookie), accept]).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.header("retry-after"), "60");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(answer.removed_cookies().is_empty(), "the browser can try again");
        }
        assert!(app.handle.is_revoked(&first.access), "no older revocation makes way");
        assert!(!polar.is_alive(&second.access), "revoked at Polar nevertheless");
        assert_eq!(app.handle.counts().full, 2);
    })
    .await;
}

/// Another site cannot log a user out with the user's own cookie.
#[tokio::test]
async fn cross_site_logout_by_cookie_is_forbidden() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).redirect_to("/")).await;
        let pair = polar.mint();
        let cookie = format!("access_token={}", pair.access);
        for accept in [BROWSER, ("accept", "*/*")] {
            let answer = app.post("/logout", &[("cookie", &cookie), CROSS_SITE, accept]).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(answer.removed_cookies().is_empty());
        }
        // An attacker's own token beside the cookie changes nothing.
        let own = bearer(&polar.mint().access);
        let both = [("cookie", &*cookie), CROSS_SITE, ("authorization", &own)];
        assert_eq!(app.post("/logout", &both).await.status, StatusCode::FORBIDDEN);
        assert!(polar.is_alive(&pair.access));
        assert!(!app.handle.is_revoked(&pair.access));
    })
    .await;
}

/// A browser does not send a `SameSite=Lax` cookie here. The answer must not remove it either.
#[tokio::test]
async fn cross_site_logout_without_a_cookie_removes_none() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).redirect_to("/")).await;
        let answer = app.post("/logout", &[CROSS_SITE, BROWSER]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert!(answer.removed_cookies().is_empty());
    })
    .await;
}

#[tokio::test]
async fn trusted_origin_may_log_its_users_out() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).trusted_origin("https://app.example.com")).await;
        let cookie = format!("access_token={}", polar.mint().access);
        let from = |origin| [("cookie", &*cookie), CROSS_SITE, ("origin", origin)];
        let answer = app.post("/logout", &from("https://evil.example.com")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        let answer = app.post("/logout", &from("https://app.example.com")).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    })
    .await;
}

/// Browsers do not add these tokens by themselves: the caller put them there.
#[tokio::test]
async fn cross_site_token_outside_a_cookie_is_revoked() {
    for_each_server(|server, polar| async move {
        let app = start(
            server,
            builder(&polar)
                .access_token(TokenLocation::header("x-token"))
                .refresh_token(TokenLocation::form("token")),
        )
        .await;
        let (a, b, c) = (polar.mint(), polar.mint(), polar.mint());
        let answer =
            app.post("/logout", &[CROSS_SITE, ("authorization", &bearer(&a.access))]).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let answer = app.post("/logout", &[CROSS_SITE, ("x-token", &b.access)]).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let form = format!("token={}", c.refresh);
        let answer = app.send(Method::POST, "/logout", &[CROSS_SITE], form).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        for token in [&a.access, &b.access, &c.refresh] {
            assert!(!polar.is_alive(token));
        }
    })
    .await;
}

/// A preflight is no logout either. A query is not part of the path.
#[tokio::test]
async fn other_methods_and_paths_reach_the_app() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar)).await;
        let preflight =
            [("origin", "https://x.example"), ("access-control-request-method", "POST")];
        assert!(app.send(Method::OPTIONS, "/logout", &preflight, "").await.is_from_app());
        for path in ["/logout/", "/logout/x", "/Logout", "/", "/x/logout"] {
            assert!(app.post(path, &[]).await.is_from_app(), "{path}");
        }
        assert!(app.get("/logout", &[]).await.is_from_app());
        assert_eq!(app.post("/logout?next=/", &[]).await.status, StatusCode::NO_CONTENT);
    })
    .await;
}

#[tokio::test]
async fn each_logout_route_has_its_own_method() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).logout_route(Method::DELETE, "/session")).await;
        let authorization = bearer(&polar.mint().access);
        let token = [("authorization", &*authorization)];
        assert!(app.post("/session", &token).await.is_from_app());
        let answer = app.send(Method::DELETE, "/session", &token, "").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(app.get("/", &token).await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn repeated_logout_is_harmless() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar)).await;
        let authorization = bearer(&polar.mint().access);
        for _ in 0..3 {
            let answer = app.post("/logout", &[("authorization", &authorization)]).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
        }
        assert_eq!(app.handle.counts().revoked, 1);
    })
    .await;
}

/// The browser keeps its cookie, and can try again.
#[tokio::test]
async fn unconfirmed_logout_answers_503_if_confirmation_is_required() {
    for_each_server(|server, polar| async move {
        let app = start(
            server,
            builder(&polar).require_confirmation(true).redirect_to("/").logout_deadline(AT_ONCE),
        )
        .await;
        polar
            .behave(Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None });
        let pair = polar.mint();
        let cookie = format!("access_token={}", pair.access);
        let answer = app.post("/logout", &[("cookie", &cookie), BROWSER]).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.header("retry-after"), "5");
        assert!(answer.removed_cookies().is_empty());
        assert!(app.handle.is_revoked(&pair.access));

        // The browser tries again, as `Retry-After` says.
        polar.recover();
        polar.revoked(1).await;
        app.until(|counts| counts.pending == 0).await;
        let answer = app.post("/logout", &[("cookie", &cookie), BROWSER]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    })
    .await;
}

#[tokio::test]
async fn token_is_denied_even_if_polar_refuses_it() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar)).await;
        let foreign = polar.mint_for_another_client();
        let answer = app.post("/logout", &[("authorization", &bearer(&foreign.access))]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert!(app.handle.is_revoked(&foreign.access));
        assert_eq!(app.handle.counts().dead_letters, 1);
    })
    .await;
}

/// A browser removes only the cookie whose domain and path match. `Clear-Site-Data` is optional.
#[tokio::test]
async fn cookie_is_removed_with_its_own_attributes() {
    for_each_server(|server, polar| async move {
        let cookie: CookieLocation = TokenLocation::cookie("sid")
            .path("/app")
            .domain("example.com")
            .secure(true)
            .same_site(SameSite::Lax);
        let app = start(
            server,
            builder(&polar)
                .session_id(cookie)
                .clear_site_data([ClearSiteData::Cookies, ClearSiteData::Storage]),
        )
        .await;
        let answer = app.post("/logout", &[("cookie", "sid=session-0123456789")]).await;
        let removal = answer
            .headers
            .get_all("set-cookie")
            .iter()
            .find(|value| value.as_bytes().starts_with(b"sid="))
            .expect("the removal");
        assert_eq!(
            removal,
            "sid=; Path=/app; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; \
             Domain=example.com; Secure; SameSite=Lax"
        );
        assert_eq!(answer.header("clear-site-data"), r#""cookies", "storage""#);
    })
    .await;
}

/// With `call_inner_after_logout` the app's own handler is called once the tokens are denied.
#[tokio::test]
async fn logout_handler_runs_last_and_knows_the_outcome() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).call_inner_after_logout(true)).await;
        let pair = polar.mint();
        let cookie = format!("access_token={}; other=1", pair.access);
        let answer = app.send(Method::POST, "/logout", &[("cookie", &cookie)], "a body").await;
        assert_eq!(answer.status, StatusCode::OK, "the app's answer");
        assert_eq!(answer.seen()["outcome"], "Confirmed");
        assert_eq!(answer.seen()["body"], "a body");
        assert_eq!(answer.removed_cookies(), ["access_token", "refresh_token"]);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!polar.is_alive(&pair.access));

        let answer = app.post("/logout", &[]).await;
        assert_eq!(answer.seen()["outcome"], "NoToken");
        let answer = app.post("/logout", &[CROSS_SITE, ("cookie", &cookie)]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "the app is not called");
        let answer = app.post("/logout", &[CROSS_SITE]).await;
        assert!(answer.is_from_app());
        assert!(answer.removed_cookies().is_empty());

        let app =
            start(server, builder(&polar).call_inner_after_logout(true).logout_deadline(AT_ONCE))
                .await;
        polar.behave(Fault::Freeze);
        let authorization = bearer(&polar.mint().access);
        let answer = app.post("/logout", &[("authorization", &authorization)]).await;
        assert_eq!(answer.seen()["outcome"], "Pending");
    })
    .await;
}

/// The browser can try again. The tokens are revoked nevertheless.
#[tokio::test]
async fn browser_keeps_its_cookies_if_the_handler_fails() {
    let polar = start_polar().await;
    let layer = builder(&polar).call_inner_after_logout(true).build().await.expect("a layer");
    let app = Router::new().route("/logout", post(async || StatusCode::INTERNAL_SERVER_ERROR));
    let site = Site::start(app.layer(layer)).await;
    let cookie = format!("access_token={}", polar.mint().access);
    let answer = site.post("/logout", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.removed_cookies().is_empty(), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    polar.revoked(1).await;
}

/// A body past the limit is answered 413, and a compressed one 415.
#[tokio::test]
async fn logout_revokes_the_token_in_its_body() {
    for_each_server(|server, polar| async move {
        let app = start(
            server,
            builder(&polar)
                .refresh_token(TokenLocation::form("token"))
                .refresh_token(TokenLocation::json("token"))
                .max_body_size(100),
        )
        .await;
        let (form, json) = (polar.mint(), polar.mint());
        let body = format!("a=b&token={}", form.refresh);
        let answer = app.send(Method::POST, "/logout", &[], body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let body = format!(r#"{{"a": 1, "token": "{}"}}"#, json.refresh);
        let answer = app.send(Method::POST, "/logout", &[], body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(!polar.is_alive(&form.refresh) && !polar.is_alive(&json.refresh));

        let answer = app.send(Method::POST, "/logout", &[], "x".repeat(100)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let answer = app.send(Method::POST, "/logout", &[], "x".repeat(101)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        let encoded = [("content-encoding", "gzip")];
        let answer = app.send(Method::POST, "/logout", &encoded, "x").await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    })
    .await;
}

#[tokio::test]
async fn logout_revokes_every_token_in_its_head() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar)).await;
        let pairs: Vec<_> = (0..5).map(|_| polar.mint()).collect();
        let token = |n: usize| &*pairs[n].access;
        let cookies = format!("access_token={}; access_token=\"{}\"", token(0), token(1));
        let encoded = token(2).replacen("polar", "%70olar", 1);
        let answer = app
            .post(
                "/logout",
                &[
                    ("cookie", &cookies),
                    ("cookie", &format!("access_token={encoded}")),
                    ("authorization", &bearer(token(3))),
                    ("authorization", &format!("bearer\t {}", token(4))),
                ],
            )
            .await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        for pair in &pairs {
            assert!(app.handle.is_revoked(&pair.access));
            assert!(!polar.is_alive(&pair.access));
        }
    })
    .await;
}

#[tokio::test]
async fn revoke_call_carries_no_caller_header_or_hint() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar)).await;
        let pair = polar.mint();
        let (access, cookie) = (bearer(&pair.access), format!("refresh_token={}", pair.refresh));
        let headers = [
            ("authorization", &*access),
            ("cookie", &*cookie),
            ("x-trace", "1"),
            ("origin", app.url.as_str()),
        ];
        assert_eq!(app.post("/logout", &headers).await.status, StatusCode::NO_CONTENT);
        let requests = polar.requests();
        assert_eq!(requests.len(), 2, "one call for each token");
        for received in &*requests {
            for header in ["authorization", "cookie", "x-trace", "origin"] {
                assert!(!received.headers.contains_key(header), "{header}");
            }
            let names: Vec<_> = received.form.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["token", "client_id", "client_secret"]);
        }
    })
    .await;
}

#[tokio::test]
async fn hint_is_sent_if_configured() {
    let polar = start_polar().await;
    let app = start(Server::Hyper, builder(&polar).send_token_type_hint(true)).await;
    let (one, other) = (polar.mint(), polar.mint());
    let (access, cookie) = (bearer(&one.access), format!("refresh_token={}", other.refresh));
    app.post("/logout", &[("authorization", &access)]).await;
    app.post("/logout", &[("cookie", &cookie)]).await;
    for (received, hint) in polar.requests().iter().zip(["access_token", "refresh_token"]) {
        assert!(received.form.contains(&("token_type_hint".to_owned(), hint.to_owned())));
    }
    assert!(!polar.is_alive(&one.access) && !polar.is_alive(&other.refresh));
}

/// Other requests are not delayed.
#[tokio::test]
async fn frozen_polar_delays_a_logout_until_its_deadline() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).logout_deadline(AT_ONCE)).await;
        polar.behave(Fault::Freeze);
        let pair = polar.mint();
        let answer = app.post("/logout", &[("authorization", &bearer(&pair.access))]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert!(app.get("/", &[]).await.is_from_app());
        assert_eq!(app.handle.counts().pending, 1, "the token is not delivered yet");
        polar.recover();
        polar.revoked(1).await;
        assert!(!polar.is_alive(&pair.access));
    })
    .await;
}

/// An app that keeps only hashes can deny tokens by them. Nothing can be sent to Polar then.
#[tokio::test]
async fn hash_is_denied_and_not_sent() {
    let polar = start_polar().await;
    let app = start(Server::Axum, builder(&polar)).await;
    let token = polar.mint().access;
    let revocation = Revocation::from(TokenHash::of_credential(&token).expect("a token"));
    assert_eq!(app.handle.revoke([revocation]).await, LogoutOutcome::Unrecognized);
    assert!(app.handle.is_revoked(&token));
    assert!(TokenHash::of_credential(format!("{token} and more")).is_none());
    assert_eq!(polar.seen().revoke_calls, 0);
}

#[tokio::test]
async fn handle_revokes_looks_up_counts_and_shuts_down() {
    let polar = start_polar().await;
    let app = start(Server::Axum, builder(&polar)).await;
    let (pair, session) = (polar.mint(), "session-0123456789");
    let outcome = app
        .handle
        .revoke([
            Revocation::access_token(&pair.access).expect("a token"),
            Revocation::refresh_token(&pair.refresh).expect("a token"),
            Revocation::session_id(session).expect("a credential"),
        ])
        .await;
    assert_eq!(outcome, LogoutOutcome::Confirmed);
    for credential in [&*pair.access, &*pair.refresh, session] {
        assert!(app.handle.is_revoked(credential));
    }
    assert!(!app.handle.is_revoked("another-0123456789"));
    let cookie = format!("access_token={}", pair.access);
    let answer = app.get("/", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);

    let counts = app.handle.counts();
    assert_eq!((counts.revoked, counts.logouts, counts.rejected), (3, 1, 1));
    assert_eq!((counts.confirmed, counts.pending), (2, 0));
    assert!(Revocation::access_token("").is_err());
    assert_eq!(app.handle.revoke([]).await, LogoutOutcome::NoToken);
    assert_eq!(app.handle.shutdown(Duration::from_secs(10)).await.pending, 0);
}

#[tokio::test]
async fn shutdown_waits_for_polar_and_reports_pending_tokens() {
    let polar = start_polar().await;
    let app = start(Server::Axum, builder(&polar).logout_deadline(AT_ONCE)).await;
    polar.behave(Fault::Freeze);
    let pair = polar.mint();
    app.post("/logout", &[("authorization", &bearer(&pair.access))]).await;
    assert_eq!(app.handle.shutdown(Duration::from_millis(50)).await.pending, 1);
    polar.recover();
    assert_eq!(app.handle.shutdown(Duration::from_secs(60)).await.pending, 0);
    assert!(!polar.is_alive(&pair.access));
}

/// A lifetime of zero expires at once, and `Duration::MAX` does not overflow.
#[tokio::test]
async fn revocation_expires_after_its_exact_lifetime() {
    let polar = start_polar().await;
    let app = start(Server::Axum, builder(&polar)).await;
    let (ended, endless) = ("session-that-has-ended", "session-without-end");
    let soon = Revocation::session_id(ended).expect("a credential").expires_in(Duration::ZERO);
    assert_eq!(app.handle.revoke([soon]).await, LogoutOutcome::Confirmed);
    assert!(!app.handle.is_revoked(ended), "it has expired already");
    let long = Revocation::session_id(endless).expect("a credential").expires_in(Duration::MAX);
    assert_eq!(app.handle.revoke([long]).await, LogoutOutcome::Confirmed);
    assert!(app.handle.is_revoked(endless));
}

/// A body may hold 64 tokens. The tokens in the head are revoked even if the body is refused.
#[tokio::test]
async fn body_with_too_many_tokens_is_refused() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).refresh_token(TokenLocation::form("token"))).await;
        let own = polar.mint().access;
        let authorization = bearer(&own);
        let headers = [("authorization", &*authorization)];
        let many: Vec<_> = (0..65).map(refresh_token).collect();
        let form = format!("token={}", many.join("&token="));
        let answer = app.send(Method::POST, "/logout", &headers, form).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(app.handle.is_revoked(&own) && !polar.is_alive(&own));
        assert_eq!((app.handle.counts().revoked, polar.seen().revoke_calls), (1, 1));

        let few = format!("token={}", many[..64].join("&token="));
        let answer = app.send(Method::POST, "/logout", &[], few).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "only sixteen are sent");
        assert_eq!(app.handle.counts().revoked, 65);
    })
    .await;
}

#[tokio::test]
async fn encoded_token_is_sent_decoded() {
    let polar = start_polar().await;
    let app = start(Server::Hyper, builder(&polar)).await;
    let pair = polar.mint();
    let encoded = pair.access.replacen("polar", "%70olar", 1);
    let cookie = format!("access_token=\"{encoded}\"");
    app.post("/logout", &[("cookie", &cookie)]).await;
    assert_eq!(polar.requests().len(), 1);
    assert!(!polar.is_alive(&pair.access));
    let joined = format!("Bearer {}, Bearer {}", polar.mint().access, polar.mint().access);
    app.post("/logout", &[("authorization", &joined)]).await;
    assert_eq!(polar.requests().len(), 3);
    assert!(!app.handle.is_revoked("Bearer"), "a scheme is no credential");
}

/// A router calls the GET handler for a HEAD request, so the app does not see it either.
#[tokio::test]
async fn head_request_does_not_log_out() {
    for_each_server(|server, polar| async move {
        let layer = builder(&polar)
            .logout_route(Method::GET, "/bye")
            .logout_route(Method::POST, "/bye")
            .call_inner_after_logout(true);
        let app = start(server, layer).await;
        let token = polar.mint().access;
        let authorization = bearer(&token);
        let token_header = [("authorization", &*authorization)];
        let answer = app.send(Method::HEAD, "/bye", &token_header, "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), "GET, POST");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!answer.is_from_app());
        assert!(!app.handle.is_revoked(&token));
        // A HEAD request to a POST route goes to the app.
        assert!(app.send(Method::HEAD, "/logout", &token_header, "").await.is_from_app());
    })
    .await;
}

/// A click on the same link logs out.
#[tokio::test]
async fn prefetch_does_not_log_out() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).logout_route(Method::GET, "/bye")).await;
        let token = polar.mint().access;
        let cookie = format!("access_token={token}");
        for prefetch in [
            ("sec-purpose", "prefetch;prerender"),
            ("purpose", "prefetch"),
            ("x-moz", "prefetch"),
            ("x-purpose", "preview"),
            ("x-sec-purpose", "prefetch"),
            ("next-router-prefetch", "1"),
            ("hx-preloaded", "true"),
        ] {
            let answer = app.get("/bye", &[("cookie", &cookie), prefetch]).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{prefetch:?}");
            let said = answer.header("polar-logout-error");
            assert_eq!(said, "This was a prefetch. Nothing was revoked.");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(answer.removed_cookies().is_empty());
            // On another path the prefetch goes to the app.
            assert!(app.get("/me", &[("cookie", &cookie), prefetch]).await.is_from_app());
        }
        assert!(!app.handle.is_revoked(&token));
        assert_eq!(app.handle.counts().logouts, 0);
        assert_eq!(app.get("/bye", &[("cookie", &cookie)]).await.status, StatusCode::NO_CONTENT);
        assert!(app.handle.is_revoked(&token));
    })
    .await;
}

/// Browsers send a POST for a click or a script, and never ahead of one.
#[tokio::test]
async fn post_is_never_taken_for_a_prefetch() {
    let polar = start_polar().await;
    let app = start(Server::Hyper, builder(&polar)).await;
    let authorization = bearer(&polar.mint().access);
    let headers = [("authorization", &*authorization), ("purpose", "prefetch")];
    assert_eq!(app.post("/logout", &headers).await.status, StatusCode::NO_CONTENT);
}
