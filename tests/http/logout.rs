//! What becomes of a logout: every row of the table of answers, in axum and in bare hyper.

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
/// For a logout that is not to wait for Polar.
const AT_ONCE: Duration = Duration::from_millis(1);
const CROSS_SITE: (&str, &str) = ("sec-fetch-site", "cross-site");

async fn start(server: Server, builder: PolarLogoutLayerBuilder) -> App {
    App::start(server, builder.build().await.expect("a layer")).await
}

async fn for_each_server<F: Future<Output = ()>>(story: impl Fn(Server, TreatedWell) -> F) {
    for server in SERVERS {
        story(server, start_polar().await).await;
    }
}

#[tokio::test]
async fn a_logout_kills_the_token_here_and_at_polar() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar)).await;
        let pair = polar.mint();
        let authorization = bearer(&pair.access);
        let token = [("authorization", &*authorization)];
        assert_eq!(app.get("/me", &token).await.status, StatusCode::OK);

        let answer = app.post("/logout", &token).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!polar.is_alive(&pair.access), "dead at Polar");
        assert!(!polar.is_alive(&pair.refresh), "either token kills the pair");

        let calls = app.calls();
        let answer = app.get("/me", &token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(app.calls(), calls, "the app never saw it");
        assert!(app.handle.is_revoked(&pair.access));
    })
    .await;
}

#[tokio::test]
async fn polar_confirmed_a_browser_is_redirected_and_others_get_204() {
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

/// htmx would follow a 303 by its script, and swap the target into the open page.
#[tokio::test]
async fn htmx_is_sent_on_by_its_own_header() {
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
        assert_eq!(answer.header("hx-redirect"), "", "there is nowhere to go");
    })
    .await;
}

#[tokio::test]
async fn denied_here_but_not_at_polar_yet_a_browser_is_redirected_and_others_get_202() {
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
            assert!(app.handle.is_revoked(&pair.access), "dead here whatever Polar does");
        }
    })
    .await;
}

#[tokio::test]
async fn a_logout_without_a_token_still_ends_the_session_of_the_browser() {
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
        assert_eq!(app.handle.counts().revoked, 0, "the empty value is no credential");
        assert_eq!(polar.seen().revoke_calls, 0);
    })
    .await;
}

#[tokio::test]
async fn a_full_denylist_is_said_aloud_and_forgets_nobody() {
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
            assert!(answer.removed_cookies().is_empty(), "the browser keeps it, to try again");
        }
        assert!(app.handle.is_revoked(&first.access), "no older one makes way");
        assert!(!polar.is_alive(&second.access), "Polar was told all the same");
        assert_eq!(app.handle.counts().full, 2);
    })
    .await;
}

#[tokio::test]
async fn a_cross_site_logout_by_cookie_is_forbidden_and_revokes_nothing() {
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
        // A token of the attacker's own beside the cookie changes nothing.
        let own = bearer(&polar.mint().access);
        let both = [("cookie", &*cookie), CROSS_SITE, ("authorization", &own)];
        assert_eq!(app.post("/logout", &both).await.status, StatusCode::FORBIDDEN);
        assert!(polar.is_alive(&pair.access));
        assert!(!app.handle.is_revoked(&pair.access));
    })
    .await;
}

#[tokio::test]
async fn a_cross_site_logout_without_the_cookie_does_not_make_the_browser_forget_it() {
    for_each_server(|server, polar| async move {
        // SameSite=Lax kept the cookie at home; the answer must not remove it all the same.
        let app = start(server, builder(&polar).redirect_to("/")).await;
        let answer = app.post("/logout", &[CROSS_SITE, BROWSER]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert!(answer.removed_cookies().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_trusted_origin_may_log_its_users_out() {
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

#[tokio::test]
async fn a_token_that_the_caller_put_there_needs_no_same_site() {
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

#[tokio::test]
async fn a_preflight_and_every_other_method_and_path_go_to_the_app() {
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
async fn several_routes_log_out_each_by_its_method() {
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
async fn repeating_a_logout_is_harmless() {
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

#[tokio::test]
async fn strict_mode_turns_not_confirmed_into_503_and_keeps_the_cookie() {
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

        // Trying again, as Retry-After says.
        polar.recover();
        polar.revoked(1).await;
        app.until(|counts| counts.pending == 0).await;
        let answer = app.post("/logout", &[("cookie", &cookie), BROWSER]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    })
    .await;
}

#[tokio::test]
async fn what_polar_refuses_for_good_is_dead_here_all_the_same() {
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

#[tokio::test]
async fn cookies_are_removed_with_what_they_were_set_with_and_the_rest_on_request_only() {
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

#[tokio::test]
async fn the_apps_own_handler_runs_after_the_tokens_are_dead_and_knows_the_outcome() {
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
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "and the app is not called");
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

#[tokio::test]
async fn where_the_apps_own_handler_fails_the_browser_keeps_its_cookies_to_try_again() {
    let polar = start_polar().await;
    let layer = builder(&polar).call_inner_after_logout(true).build().await.expect("a layer");
    let app = Router::new().route("/logout", post(async || StatusCode::INTERNAL_SERVER_ERROR));
    let site = Site::start(app.layer(layer)).await;
    let cookie = format!("access_token={}", polar.mint().access);
    let answer = site.post("/logout", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.removed_cookies().is_empty(), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    // The tokens are dead all the same.
    polar.revoked(1).await;
}

#[tokio::test]
async fn a_token_in_the_body_is_revoked_and_a_body_past_the_limit_is_413() {
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
async fn every_occurrence_of_a_token_is_revoked() {
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
async fn the_revoke_call_carries_no_header_of_the_callers_and_no_hint() {
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
        assert_eq!(requests.len(), 2, "a call for each token");
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
async fn a_hint_is_sent_where_it_was_asked_for() {
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

#[tokio::test]
async fn a_frozen_polar_holds_a_logout_no_longer_than_its_deadline_and_nobody_else() {
    for_each_server(|server, polar| async move {
        let app = start(server, builder(&polar).logout_deadline(AT_ONCE)).await;
        polar.behave(Fault::Freeze);
        let pair = polar.mint();
        let answer = app.post("/logout", &[("authorization", &bearer(&pair.access))]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert!(app.get("/", &[]).await.is_from_app());
        assert_eq!(app.handle.counts().pending, 1, "it is still on its way");
        polar.recover();
        polar.revoked(1).await;
        assert!(!polar.is_alive(&pair.access));
    })
    .await;
}

/// An app that keeps hashes alone can deny by them. Nothing can be sent to Polar then.
#[tokio::test]
async fn a_hash_is_denied_here_and_not_sent() {
    let polar = start_polar().await;
    let app = start(Server::Axum, builder(&polar)).await;
    let token = polar.mint().access;
    let revocation = Revocation::from(TokenHash::of(&token));
    assert_eq!(app.handle.revoke([revocation]).await, LogoutOutcome::Confirmed);
    assert!(app.handle.is_revoked(&token));
    assert_eq!(polar.seen().revoke_calls, 0);
}

#[tokio::test]
async fn the_handle_revokes_asks_counts_and_shuts_down() {
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
async fn a_shutdown_waits_for_polar_and_says_what_is_left() {
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

#[tokio::test]
async fn an_exact_lifetime_holds_as_long_as_it_says() {
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

/// A body is a flood with more than 64 tokens; what the head carried is revoked nevertheless.
#[tokio::test]
async fn body_with_too_many_tokens_is_refused_and_the_head_is_revoked() {
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
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "sixteen are sent");
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

/// The router would call the GET handler for it, so the app does not see it either.
#[tokio::test]
async fn a_head_request_does_not_log_out() {
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
        // Of a POST route a HEAD is none of ours.
        assert!(app.send(Method::HEAD, "/logout", &token_header, "").await.is_from_app());
    })
    .await;
}

#[tokio::test]
async fn a_prefetch_does_not_log_out_and_the_click_does() {
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
            // Elsewhere it is the app's.
            assert!(app.get("/me", &[("cookie", &cookie), prefetch]).await.is_from_app());
        }
        assert!(!app.handle.is_revoked(&token));
        assert_eq!(app.handle.counts().logouts, 0);
        assert_eq!(app.get("/bye", &[("cookie", &cookie)]).await.status, StatusCode::NO_CONTENT);
        assert!(app.handle.is_revoked(&token));
    })
    .await;
}

/// A POST is sent by a click or a script, and never ahead of one.
#[tokio::test]
async fn a_post_is_never_taken_for_a_prefetch() {
    let polar = start_polar().await;
    let app = start(Server::Hyper, builder(&polar)).await;
    let authorization = bearer(&polar.mint().access);
    let headers = [("authorization", &*authorization), ("purpose", "prefetch")];
    assert_eq!(app.post("/logout", &headers).await.status, StatusCode::NO_CONTENT);
}
