//! Requests that carry a revoked credential.

use http::{Method, StatusCode};
use support::{
    Answer, App, SERVERS, Server, TreatedWell, access_token, bearer, builder, refresh_token,
    start_polar,
};
use tower_polar_logout::client::PolarClient;
use tower_polar_logout::{
    PolarLogoutLayer, PolarLogoutLayerBuilder, PolarServer, ReplyKind, Revocation, TokenLocation,
    WhenRevoked,
};

/// One way for a request to carry a token in a configured place.
struct Carrier {
    name: &'static str,
    location: fn() -> TokenLocation,
    /// Path and headers, each with `TOKEN` and `OTHER` in place of a token.
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

impl Carrier {
    async fn send(&self, app: &App, method: Method, token: &str) -> Answer {
        let fill =
            |text: &str| text.replace("TOKEN", token).replace("OTHER", &refresh_token("other"));
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (*name, fill(value))).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let path = if method == Method::POST {
            self.path.replace("/me", "/logout")
        } else {
            self.path.to_owned()
        };
        app.send(method, &fill(&path), &headers, "").await
    }
}

const fn head(
    name: &'static str,
    location: fn() -> TokenLocation,
    headers: &'static [(&'static str, &'static str)],
) -> Carrier {
    Carrier { name, location, path: "/me", headers }
}

const fn query(name: &'static str, path: &'static str) -> Carrier {
    Carrier { name, location: || TokenLocation::query("access_token"), path, headers: &[] }
}

fn carriers() -> Vec<Carrier> {
    let bearer = TokenLocation::bearer;
    let cookie = || TokenLocation::cookie("token").into();
    let header = || TokenLocation::header("X-Token");
    vec![
        head("bearer", bearer, &[("authorization", "Bearer TOKEN")]),
        head("bearer in lower case", bearer, &[("authorization", "bearer TOKEN")]),
        head("bearer and a tab", bearer, &[("authorization", "Bearer\tTOKEN")]),
        head(
            "bearer in the second header",
            bearer,
            &[("authorization", "Basic eDp5"), ("authorization", "Bearer TOKEN")],
        ),
        head("bearer behind a comma", bearer, &[("authorization", "Bearer OTHER, Bearer TOKEN")]),
        head("cookie", cookie, &[("cookie", "token=TOKEN")]),
        head("cookie among others", cookie, &[("cookie", "a=1; token=TOKEN; b=2")]),
        head("cookie without a space", cookie, &[("cookie", "a=1;token=TOKEN;b=2")]),
        head("cookie that is shadowed", cookie, &[("cookie", "token=OTHER; token=TOKEN")]),
        head(
            "cookie in the second header",
            cookie,
            &[("cookie", "a=1"), ("cookie", "token=TOKEN")],
        ),
        head("cookie in quotes", cookie, &[("cookie", "token=\"TOKEN\"")]),
        head("cookie with a scheme", cookie, &[("cookie", "token=\"Bearer TOKEN\"")]),
        head("header", header, &[("x-token", "TOKEN")]),
        head("header repeated", header, &[("x-token", "OTHER"), ("x-token", "TOKEN")]),
        query("query", "/me?access_token=TOKEN"),
        query("query among others", "/me?a=1&access_token=TOKEN&b=2"),
        query("query repeated", "/me?access_token=OTHER&access_token=TOKEN"),
        query("query with an encoded name", "/me?access%5Ftoken=TOKEN"),
    ]
}

fn around(polar: &TreatedWell, location: impl Into<TokenLocation>) -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(PolarClient::builder(polar.credentials()).server(polar.server()))
        .logout_route(Method::POST, "/logout")
        .access_token(location)
}

/// An app, and a token that it rejects.
async fn start(
    server: Server,
    polar: &TreatedWell,
    builder: PolarLogoutLayerBuilder,
) -> (App, String) {
    let app = App::start(server, builder.build().await.expect("a layer")).await;
    let dead = polar.mint().access;
    revoke(&app, &dead).await;
    (app, dead)
}

async fn revoke(app: &App, token: &str) {
    let order = Revocation::access_token(token).expect("a token");
    assert!(app.handle.revoke([order]).await.is_denied());
}

#[tokio::test]
async fn dead_token_is_rejected_in_every_configured_place() {
    let polar = start_polar().await;
    for server in SERVERS {
        for carrier in carriers() {
            let name = carrier.name;
            let (app, dead) = start(server, &polar, around(&polar, (carrier.location)())).await;
            let answer = carrier.send(&app, Method::GET, &access_token("alive")).await;
            assert_eq!(answer.status, StatusCode::OK, "{server:?}, {name}: alive");

            let answer = carrier.send(&app, Method::GET, &dead).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{server:?}, {name}");
            assert_eq!(
                answer.header("www-authenticate"),
                r#"Bearer error="invalid_token", error_description="The token was revoked""#
            );
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.body, "");
            let is_removed = answer.removed_cookies() == ["token"];
            let others = name == "cookie that is shadowed";
            assert_eq!(is_removed, name.starts_with("cookie") && !others, "{name}");
            assert_eq!(app.calls(), 1, "{server:?}, {name}: the app saw the living one only");
        }
    }
}

#[tokio::test]
async fn logout_finds_a_token_in_every_configured_place() {
    let polar = start_polar().await;
    for server in SERVERS {
        for carrier in carriers() {
            let (app, _) = start(server, &polar, around(&polar, (carrier.location)())).await;
            let token = polar.mint().access;
            let answer = carrier.send(&app, Method::POST, &token).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{server:?}, {}", carrier.name);
            assert!(app.handle.is_revoked(&token) && !polar.is_alive(&token));
        }
    }
}

#[tokio::test]
async fn anonymous_request_goes_on_without_its_dead_token() {
    let polar = start_polar().await;
    for server in SERVERS {
        for carrier in carriers() {
            let name = carrier.name;
            let builder = around(&polar, (carrier.location)()).when_revoked(WhenRevoked::Anonymous);
            let (app, dead) = start(server, &polar, builder).await;
            let answer = carrier.send(&app, Method::GET, &dead).await;
            assert_eq!(answer.status, StatusCode::OK, "{server:?}, {name}");
            assert!(!answer.body.contains(&dead), "{server:?}, {name}: {}", answer.body);
            let is_removed = answer.removed_cookies() == ["token"];
            let others = name == "cookie that is shadowed";
            assert_eq!(is_removed, name.starts_with("cookie") && !others, "{name}");
        }
    }
}

/// It cannot be taken out, so an `Anonymous` path rejects it too.
#[tokio::test]
async fn dead_token_in_a_path_is_always_rejected() {
    let polar = start_polar().await;
    let builder = around(&polar, TokenLocation::bearer()).when_revoked(WhenRevoked::Anonymous);
    let (app, dead) = start(Server::Axum, &polar, builder).await;
    let answer = app.get(&format!("/ws/{dead}"), &[]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn rest_of_a_request_stays_unchanged() {
    let polar = start_polar().await;
    for server in SERVERS {
        let builder = around(&polar, TokenLocation::cookie("token"))
            .access_token(TokenLocation::query("token"))
            .when_revoked(WhenRevoked::Anonymous);
        let (app, dead) = start(server, &polar, builder).await;
        let alive = access_token("alive");
        let cookie = format!("a=\"1\"; token={dead}; b=%20; token={alive}");
        let path = format!("/refresh?a=%20&token={dead}&b");
        let body = format!("a=%41&token={dead}&b=+");
        let headers =
            [("cookie", &*cookie), ("sec-websocket-protocol", &format!("chat, bearer.{dead}, v2"))];
        let answer = app.send(Method::POST, &path, &headers, body.clone()).await;
        let seen = answer.seen();
        assert_eq!(seen["uri"], "/refresh?a=%20&b");
        assert_eq!(seen["body"], body, "the layer does not change a body");
        let headers = seen["headers"].to_string();
        assert!(headers.contains(&format!(r#"a=\"1\"; b=%20; token={alive}"#)), "{headers}");
        assert!(headers.contains(r#"["sec-websocket-protocol","chat, v2"]"#), "{headers}");
    }
}

#[tokio::test]
async fn login_page_opens_despite_a_dead_cookie() {
    let polar = start_polar().await;
    for server in SERVERS {
        let builder = around(&polar, TokenLocation::cookie("token"))
            .when_revoked_at("/login", WhenRevoked::Anonymous);
        let (app, dead) = start(server, &polar, builder).await;
        let dead = format!("token={dead}");
        let answer = app.get("/login", &[("cookie", &dead)]).await;
        assert!(answer.is_from_app() && !answer.body.contains(&dead));
        assert_eq!(answer.removed_cookies(), ["token"]);
        let answer = app.get("/me", &[("cookie", &dead)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.removed_cookies(), ["token"], "so the next request is anonymous");
    }
}

#[tokio::test]
async fn one_path_rejects_among_anonymous_ones() {
    let polar = start_polar().await;
    let builder = around(&polar, TokenLocation::bearer())
        .when_revoked(WhenRevoked::Anonymous)
        .when_revoked_at("/api", WhenRevoked::Reject);
    let (app, dead) = start(Server::Axum, &polar, builder).await;
    let dead = bearer(&dead);
    assert!(app.get("/", &[("authorization", &dead)]).await.is_from_app());
    let answer = app.get("/api", &[("authorization", &dead)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

/// A public page must not lose its style sheet to a dead cookie.
#[tokio::test]
async fn assets_of_a_public_page_stay_reachable() {
    let polar = start_polar().await;
    let builder = builder(&polar)
        .when_revoked_at("/", WhenRevoked::Anonymous)
        .when_revoked_under("/assets", WhenRevoked::Anonymous)
        .when_revoked_at("/assets/private.js", WhenRevoked::Reject);
    let (app, dead) = start(Server::Axum, &polar, builder).await;
    let cookie = format!("access_token={dead}");
    let headers = [("cookie", &*cookie)];
    for path in ["/", "/assets/style.css", "/assets/fonts/a.woff2", "/assets"] {
        let answer = app.get(path, &headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.body.contains(&dead), "{path}: the app does not see it");
    }
    for path in ["/assets/private.js", "/assets.css", "/me"] {
        assert_eq!(app.get(path, &headers).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

/// A dead cookie is planted from a subdomain, or left over. A user who signs in again gets through.
#[tokio::test]
async fn planted_cookie_locks_no_signed_in_user_out() {
    let polar = start_polar().await;
    let builder = builder(&polar).session_id(TokenLocation::cookie("session"));
    let (app, dead) = start(Server::Axum, &polar, builder).await;
    let alive = polar.mint();
    let (alive, refresh) = (alive.access, alive.refresh);
    for signed_in in [
        format!("access_token={dead}; access_token={alive}"),
        format!("access_token={alive}; access_token={dead}"),
        format!("access_token={alive}; other=\"{dead}\"; last_page=/x?{dead}"),
        format!("refresh_token={dead}; access_token={alive}"),
        format!("access_token={alive}; {dead}"),
        format!("access_token={alive}; other={dead},{dead}"),
    ] {
        let answer = app.get("/me", &[("cookie", &signed_in)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{signed_in}");
        let seen = answer.seen()["headers"].to_string();
        assert!(seen.contains(&alive) && !seen.contains(&dead), "{seen}");
        assert!(answer.removed_cookies().is_empty());
    }
    // The living token is in another header, and the dead one in the query.
    let answer = app.get(&format!("/me?next={dead}"), &[("authorization", &bearer(&alive))]).await;
    assert_eq!(answer.seen()["uri"], "/me");
    // Only an access token in a configured place signs a user in.
    for signed_out in [
        format!("access_token={dead}"),
        format!("access_token={dead}; refresh_token={refresh}"),
        format!("access_token={dead}; session=abcdefghijklmnopqrstuv"),
        format!("access_token={dead}; other={alive}"),
        format!("access_token={dead}; __Host-access_token={alive}"),
    ] {
        let answer = app.get("/me", &[("cookie", &signed_out)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{signed_out}");
    }
    assert_eq!(app.handle.counts().stripped, 7);
}

/// An attacker cannot plant a header, so a living token beside it does not help.
#[tokio::test]
async fn dead_token_in_a_header_is_always_rejected() {
    let polar = start_polar().await;
    let builder = builder(&polar).access_token(TokenLocation::header("x-token"));
    let (app, dead) = start(Server::Axum, &polar, builder).await;
    let alive = bearer(&access_token("alive"));
    let answer = app.get("/me", &[("authorization", &alive), ("x-token", &dead)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

/// A cookie is removed only if no other cookie of its name signs the user in.
#[tokio::test]
async fn living_cookie_survives_a_dead_one() {
    let polar = start_polar().await;
    let (app, dead) = start(Server::Axum, &polar, builder(&polar)).await;
    let alive = access_token("alive");
    let authorization = bearer(&dead);
    for (cookie, removed) in [
        (format!("access_token={alive}; access_token={dead}"), &[][..]),
        (format!("access_token={dead}; refresh_token={alive}"), &["access_token"]),
        (format!("other={dead}"), &[]),
    ] {
        let answer =
            app.get("/me", &[("authorization", &authorization), ("cookie", &cookie)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.removed_cookies(), removed, "{cookie}");
    }
}

#[tokio::test]
async fn cookie_of_several_scopes_is_removed_in_each() {
    let polar = start_polar().await;
    let cookie = || TokenLocation::cookie("token");
    let builder = around(&polar, cookie())
        .access_token(cookie().domain("example.com"))
        .access_token(cookie().path("/app").secure(true).partitioned(true));
    let (app, dead) = start(Server::Axum, &polar, builder).await;
    let answer = app.get("/me", &[("cookie", &format!("token={dead}"))]).await;
    assert_eq!(answer.removed_cookies(), ["token"; 3]);
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert!(set[1].to_str().expect("text").ends_with("Domain=example.com"));
    assert!(set[2].to_str().expect("text").ends_with(
        "Path=/app; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; Partitioned"
    ));
}

/// A login page that signs the user in again sets the cookie that would be removed.
#[tokio::test]
async fn anonymous_answer_keeps_a_cookie_of_the_app() {
    let polar = start_polar().await;
    let layer = around(&polar, TokenLocation::cookie("token"))
        .when_revoked(WhenRevoked::Anonymous)
        .build()
        .await
        .expect("a layer");
    let dead = polar.mint().access;
    layer.handle().revoke([Revocation::access_token(&dead).expect("a token")]).await;
    let sign_in = axum::routing::get(async || [("set-cookie", "token=new; Path=/")]);
    let app = axum::Router::new().route("/login", sign_in).layer(layer);
    let site = support::site::Site::start(app).await;
    let answer = site.get("/login", &[("cookie", &format!("token={dead}"))]).await;
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set, ["token=new; Path=/"]);
}

/// A lookup has no limit, because an attacker can plant many cookies.
#[tokio::test]
async fn many_cookies_lock_no_user_out() {
    let polar = start_polar().await;
    let (app, dead) = start(Server::Axum, &polar, builder(&polar)).await;
    let alive = access_token("alive");
    let many: Vec<_> = (0..200).map(|n| format!("c{n}={}; ", access_token(n))).collect();
    let many = many.concat();
    let cookie = format!("{many}other={dead}; access_token={alive}");
    let answer = app.get("/me", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.body.contains(&dead));
}

/// The app sees a request without a session.
#[tokio::test]
async fn dead_session_id_is_taken_out() {
    let polar = start_polar().await;
    let builder = around(&polar, TokenLocation::bearer())
        .session_id(TokenLocation::cookie("session"))
        .session_id(TokenLocation::header("x-session"))
        .when_revoked_at("/login", WhenRevoked::Anonymous);
    let (app, _) = start(Server::Axum, &polar, builder).await;
    let id = "abcdefghijklmnopqrstuv";
    let cookie = format!("a=1; session={id}");
    let headers = [("cookie", &*cookie), ("x-session", id)];
    assert_eq!(app.post("/logout", &headers).await.status, StatusCode::NO_CONTENT);
    let answer = app.get("/me", &headers).await;
    let seen = answer.seen()["headers"].to_string();
    assert!(!seen.contains(id) && seen.contains(r#"["cookie","a=1"]"#), "{seen}");
    assert!(answer.removed_cookies().is_empty(), "removed only in a 401 or an anonymous answer");
    assert_eq!(app.get("/login", &headers).await.removed_cookies(), ["session"]);
    assert_eq!(polar.seen().revoke_calls, 1, "session ids are never sent");
}

/// Tokens of another RFC 7009 server have no known shape. They are recognised by their place.
#[tokio::test]
async fn dead_token_of_another_server_is_rejected_too() {
    let polar = start_polar().await;
    let endpoint = PolarServer::RevocationEndpoint(format!("{}/v1/oauth2/revoke", polar.url()));
    let builder =
        PolarLogoutLayer::builder(PolarClient::builder(polar.credentials()).server(endpoint))
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .access_token(TokenLocation::cookie("token"));
    let app = App::start(Server::Axum, builder.build().await.expect("a layer")).await;
    let (dead, alive) = ("2YotnFZFEjr1zCsicMWpAA", "tGzv3JOkF0XG5Qx2TlKWIA");
    let cookie = format!("token={dead}");
    assert_eq!(app.post("/logout", &[("cookie", &cookie)]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(polar.seen().revoke_calls, 1);
    let answer = app.get("/me", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.removed_cookies(), ["token"]);
    let answer = app.get("/me", &[("authorization", &bearer(dead))]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let both = format!("token={dead}; token={alive}");
    let answer = app.get("/me", &[("cookie", &both)]).await;
    assert!(answer.seen()["headers"].to_string().contains(&format!("token={alive}")));
    // A Polar token in another place is not sent to another server.
    let polars = polar.mint().access;
    let planted = format!("other={polars}");
    assert_eq!(app.post("/logout", &[("cookie", &planted)]).await.status, StatusCode::NO_CONTENT);
    assert!(app.handle.is_revoked(&polars));
    assert_eq!(polar.seen().revoke_calls, 1);
}

/// The layer removes the cookie, and sets `no-store`.
#[tokio::test]
async fn app_writes_the_answer_to_a_dead_token() {
    let polar = start_polar().await;
    for server in SERVERS {
        let layer = around(&polar, TokenLocation::cookie("token")).answer_with(|request, reply| {
            if reply.kind() != ReplyKind::Rejected {
                return reply.with_body(axum::body::Body::empty());
            }
            http::Response::builder()
                .status(StatusCode::SEE_OTHER)
                .header("location", format!("/login?from={}", request.uri.path()))
                .header("cache-control", "max-age=60")
                .body("please sign in".into())
                .expect("a response")
        });
        let layer = layer.build().await.expect("a layer");
        let handle = layer.handle();
        let app = App::start(server, layer).await;
        let dead = polar.mint().access;
        handle.revoke([Revocation::access_token(&dead).expect("a token")]).await;
        let answer = app.get("/me", &[("cookie", &format!("token={dead}"))]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.header("location"), "/login?from=/me");
        assert_eq!(answer.body, "please sign in");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.removed_cookies(), ["token"]);
    }
}

#[tokio::test]
async fn clones_of_a_layer_share_one_denylist() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let axum = App::start(Server::Axum, layer.clone()).await;
    let hyper = App::start(Server::Hyper, layer).await;
    let token = polar.mint().access;
    let authorization = bearer(&token);
    axum.post("/logout", &[("authorization", &authorization)]).await;
    let answer = hyper.get("/me", &[("authorization", &authorization)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn white_space_of_any_script_hides_no_token() {
    let polar = start_polar().await;
    let (app, dead) = start(Server::Hyper, &polar, builder(&polar)).await;
    for cookie in [
        format!("access_token={dead}\u{a0}"),
        format!("\u{a0}access_token={dead}"),
        format!("access_token=\u{3000}{dead}"),
        format!("access_token=%E3%80%80{dead}"),
    ] {
        let answer = app.get("/me", &[("cookie", &cookie)]).await;
        assert!(!answer.body.contains(&dead), "{cookie}");
    }
}
