//! What becomes of a request that carries a revoked credential: one set of cases for every location.

mod common;

use common::{App, SERVERS, Server, builder, start_polar};
use http::{Method, StatusCode};
use tower_polar_logout::{
    Builder, ClientCredentials, PolarLogoutLayer, PolarServer, Revocation, TokenLocation,
    WhenRevoked,
};

const DEAD: &str = "polar_at_u_dead";
const ALIVE: &str = "polar_at_u_alive";

/// One way for a request to carry a token.
struct Carrier {
    name: &'static str,
    location: fn() -> TokenLocation,
    method: Method,
    /// Path, headers and body, each with `TOKEN` in place of the token.
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
}

impl Carrier {
    async fn send(&self, app: &App, token: &str) -> common::Answer {
        let fill = |text: &str| text.replace("TOKEN", token);
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (*name, fill(value))).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        app.send(self.method.clone(), &fill(self.path), &headers, fill(self.body)).await
    }
}

const fn head(
    name: &'static str,
    location: fn() -> TokenLocation,
    headers: &'static [(&'static str, &'static str)],
) -> Carrier {
    Carrier { name, location, method: Method::GET, path: "/me", headers, body: "" }
}

const fn query(name: &'static str, path: &'static str) -> Carrier {
    let location = || TokenLocation::query("access_token");
    Carrier { name, location, method: Method::GET, path, headers: &[], body: "" }
}

const fn body(
    name: &'static str,
    location: fn() -> TokenLocation,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> Carrier {
    Carrier { name, location, method: Method::POST, path: "/refresh", headers, body }
}

const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn carriers() -> Vec<Carrier> {
    let bearer = TokenLocation::bearer;
    let cookie = || TokenLocation::cookie("token").into();
    let header = || TokenLocation::header("X-Token");
    let form = || TokenLocation::form("token");
    let json = || TokenLocation::json("token");
    vec![
        head("bearer", bearer, &[("authorization", "Bearer TOKEN")]),
        head("bearer in lower case", bearer, &[("authorization", "bearer TOKEN")]),
        head("bearer in upper case", bearer, &[("authorization", "BEARER TOKEN")]),
        head("bearer and several spaces", bearer, &[("authorization", "Bearer   TOKEN")]),
        head("bearer and a tab", bearer, &[("authorization", "Bearer\tTOKEN")]),
        head(
            "bearer in the second header",
            bearer,
            &[("authorization", "Basic eDp5"), ("authorization", "Bearer TOKEN")],
        ),
        head("bearer behind a comma", bearer, &[("authorization", "Bearer x, Bearer TOKEN")]),
        head("cookie", cookie, &[("cookie", "token=TOKEN")]),
        head("cookie among others", cookie, &[("cookie", "a=1; token=TOKEN; b=2")]),
        head("cookie without a space", cookie, &[("cookie", "a=1;token=TOKEN;b=2")]),
        head("cookie that is shadowed", cookie, &[("cookie", "token=other; token=TOKEN")]),
        head(
            "cookie in the second header",
            cookie,
            &[("cookie", "a=1"), ("cookie", "token=TOKEN")],
        ),
        head("cookie in quotes", cookie, &[("cookie", "token=\"TOKEN\"")]),
        head("cookie in encoded quotes", cookie, &[("cookie", "token=%22TOKEN%22")]),
        head("cookie with an encoded name", cookie, &[("cookie", "t%6Fken=TOKEN")]),
        head("header", header, &[("x-token", "TOKEN")]),
        head("header repeated", header, &[("x-token", "other"), ("x-token", "TOKEN")]),
        query("query", "/me?access_token=TOKEN"),
        query("query among others", "/me?a=1&access_token=TOKEN&b=2"),
        query("query repeated", "/me?access_token=other&access_token=TOKEN"),
        query("query with an encoded name", "/me?access%5Ftoken=TOKEN"),
        body("form", form, FORM, "token=TOKEN"),
        body("form among others", form, FORM, "a=1&token=TOKEN&b=2"),
        body("form repeated", form, FORM, "token=other&token=TOKEN"),
        body("form without a content type", form, &[], "token=TOKEN"),
        body("json", json, JSON, r#"{"token": "TOKEN"}"#),
        body("json among others", json, JSON, r#"{"a": [{}], "token": "TOKEN", "b": null}"#),
        body("json repeated", json, JSON, r#"{"token": "other", "token": "TOKEN"}"#),
        body("json with an escaped name", json, JSON, r#"{"t\u006fken": "TOKEN"}"#),
    ]
}

fn around(location: TokenLocation) -> Builder {
    let reads_bodies = [TokenLocation::form("token"), TokenLocation::json("token")];
    // Nothing here is told to Polar: what is revoked is opaque.
    let builder = PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout");
    let builder = if reads_bodies.contains(&location) {
        builder.body_route(Method::POST, "/refresh")
    } else {
        builder
    };
    builder.opaque(location)
}

async fn start(server: Server, builder: Builder) -> App {
    let app = App::start(server, builder.build().await.expect("a layer")).await;
    app.handle.revoke([Revocation::opaque(DEAD).expect("a credential")]).await;
    app
}

#[tokio::test]
async fn a_revoked_token_is_rejected_wherever_it_is() {
    for server in SERVERS {
        for carrier in carriers() {
            let name = carrier.name;
            let app = start(server, around((carrier.location)())).await;
            let answer = carrier.send(&app, ALIVE).await;
            assert_eq!(answer.status, StatusCode::OK, "{server:?}, {name}: alive");

            let answer = carrier.send(&app, DEAD).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{server:?}, {name}");
            assert_eq!(
                answer.header("www-authenticate"),
                r#"Bearer error="invalid_token", error_description="The token was revoked""#
            );
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("content-type"), "application/json");
            let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(body["error"], "invalid_token");
            let cookies = answer.removed_cookies();
            assert_eq!(cookies.is_empty(), !name.starts_with("cookie"), "{name}: {cookies:?}");
            assert_eq!(app.calls(), 1, "{server:?}, {name}: the app saw the living one only");
            assert!(!answer.body.contains(DEAD));
        }
    }
}

#[tokio::test]
async fn a_logout_finds_the_token_wherever_a_request_carries_it() {
    for server in SERVERS {
        for carrier in carriers() {
            let Carrier { name, path, .. } = carrier;
            let app = start(server, around((carrier.location)())).await;
            let at_logout = Carrier {
                method: Method::POST,
                path: Box::leak(
                    path.replace("/me", "/logout").replace("/refresh", "/logout").into(),
                ),
                ..carrier
            };
            let answer = at_logout.send(&app, "polar_at_u_now").await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{server:?}, {name}");
            assert!(app.handle.is_revoked("polar_at_u_now"), "{server:?}, {name}");
        }
    }
}

#[tokio::test]
async fn anonymous_takes_the_dead_credential_out_and_lets_the_rest_go_on() {
    for server in SERVERS {
        for carrier in carriers() {
            let name = carrier.name;
            let builder = around((carrier.location)()).when_revoked(WhenRevoked::Anonymous);
            let app = start(server, builder).await;
            let answer = carrier.send(&app, DEAD).await;
            assert_eq!(answer.status, StatusCode::OK, "{server:?}, {name}");
            assert!(!answer.body.contains(DEAD), "{server:?}, {name}: {}", answer.body);
            let living = carrier.send(&app, ALIVE).await;
            assert!(living.body.contains(ALIVE), "{server:?}, {name}: {}", living.body);
        }
    }
}

#[tokio::test]
async fn what_stands_beside_a_dead_credential_stays_to_the_letter() {
    for server in SERVERS {
        let app = start(
            server,
            around(TokenLocation::form("token"))
                .opaque(TokenLocation::json("token"))
                .opaque(TokenLocation::cookie("token"))
                .opaque(TokenLocation::query("token"))
                .when_revoked(WhenRevoked::Anonymous),
        )
        .await;
        let cookie = format!("a=\"1\"; token={DEAD}; b=%20; token={ALIVE}");
        let answer = app
            .send(
                Method::POST,
                &format!("/refresh?a=%20&token={DEAD}&b"),
                &[("cookie", &cookie)],
                format!("a=%41&token={DEAD}&b=+"),
            )
            .await;
        let seen = answer.seen();
        assert_eq!(seen["uri"], "/refresh?a=%20&b");
        assert_eq!(seen["body"], "a=%41&b=+");
        let headers = seen["headers"].to_string();
        assert!(headers.contains(r#"["content-length","9"]"#), "{headers}");
        assert!(headers.contains(&format!(r#"a=\"1\"; b=%20; token={ALIVE}"#)), "{headers}");
    }
}

/// axum's `Form` reads the query of a GET and of a HEAD, and the body of all else.
#[tokio::test]
async fn a_form_is_in_the_query_of_a_get_or_head_and_of_no_other_method() {
    let path = format!("/refresh?a=1&token={DEAD}");
    for server in SERVERS {
        let builder = || around(TokenLocation::form("token")).body_route(Method::GET, "/refresh");
        let app = start(server, builder()).await;
        for (method, status) in [
            (Method::GET, StatusCode::UNAUTHORIZED),
            (Method::HEAD, StatusCode::UNAUTHORIZED),
            (Method::POST, StatusCode::OK),
        ] {
            let answer = app.send(method.clone(), &path, &[], "").await;
            assert_eq!(answer.status, status, "{server:?}, {method}");
        }
        let app = start(server, builder().when_revoked(WhenRevoked::Anonymous)).await;
        let form = format!("token={DEAD}");
        for (method, expected) in [(Method::GET, "/refresh?a=1"), (Method::POST, &path)] {
            let answer = app.send(method, &path, FORM, form.clone()).await;
            assert_eq!(answer.seen()["uri"], expected, "{server:?}");
        }
    }
}

#[tokio::test]
async fn a_dead_cookie_locks_nobody_out_of_the_login_page() {
    for server in SERVERS {
        let builder = around(TokenLocation::cookie("token").into())
            .when_revoked_at("/login", WhenRevoked::Anonymous);
        let app = start(server, builder).await;
        let dead = format!("token={DEAD}");
        let answer = app.get("/login", &[("cookie", &dead)]).await;
        assert!(answer.is_from_app());
        assert!(!answer.body.contains(DEAD));
        let answer = app.get("/me", &[("cookie", &dead)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.removed_cookies(), ["token"], "so the next request is anonymous");
    }
}

#[tokio::test]
async fn one_path_can_reject_where_the_rest_is_anonymous() {
    let builder = around(TokenLocation::bearer())
        .when_revoked(WhenRevoked::Anonymous)
        .when_revoked_at("/api", WhenRevoked::Reject);
    let app = start(Server::Axum, builder).await;
    let dead = common::bearer(DEAD);
    assert!(app.get("/", &[("authorization", &dead)]).await.is_from_app());
    let answer = app.get("/api", &[("authorization", &dead)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

/// A public page must not lose its style sheet to a dead cookie.
#[tokio::test]
async fn a_public_page_keeps_what_lies_under_a_prefix() {
    let polar = start_polar().await;
    let layer = builder(&polar)
        .when_revoked_at("/", WhenRevoked::Anonymous)
        .when_revoked_under("/assets", WhenRevoked::Anonymous)
        .when_revoked_at("/assets/private.js", WhenRevoked::Reject);
    let app = App::start(Server::Axum, layer.build().await.expect("a layer")).await;
    let cookie = format!("access_token={}", polar.mint().access);
    let dead = [("cookie", &*cookie)];
    app.post("/logout", &dead).await;
    for path in ["/", "/assets/style.css", "/assets/fonts/a.woff2", "/assets"] {
        let answer = app.get(path, &dead).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.body.contains(&cookie), "{path}: the app does not see it");
    }
    for path in ["/assets/private.js", "/assets.css", "/me"] {
        assert_eq!(app.get(path, &dead).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn the_app_can_answer_in_its_own_words_but_not_forget_the_cookie() {
    for server in SERVERS {
        let builder = around(TokenLocation::cookie("token").into()).rejection(|request| {
            http::Response::builder()
                .status(StatusCode::SEE_OTHER)
                .header("location", format!("/login?from={}", request.uri.path()))
                .header("cache-control", "max-age=60")
                .body("please sign in".into())
                .expect("a response")
        });
        let app = start(server, builder).await;
        let answer = app.get("/me", &[("cookie", &format!("token={DEAD}"))]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.header("location"), "/login?from=/me");
        assert_eq!(answer.body, "please sign in");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.removed_cookies(), ["token"]);
    }
}

#[tokio::test]
async fn a_body_that_was_read_reaches_the_app_unchanged() {
    for server in SERVERS {
        let builder = around(TokenLocation::json("token")).body_limit(1000);
        let app = start(server, builder).await;
        let body = format!("{{ \"token\" : \"{ALIVE}\", \"x\": 1e400 }}\r\n");
        let answer = app.send(Method::POST, "/refresh", &[], body.clone()).await;
        assert_eq!(answer.seen()["body"], body);
        let answer = app.send(Method::POST, "/refresh", &[], "not json").await;
        assert_eq!(answer.seen()["body"], "not json");
        let answer = app.send(Method::POST, "/refresh", &[], "x".repeat(1001)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        let answer = app.send(Method::POST, "/upload", &[], "x".repeat(100_000)).await;
        assert!(answer.is_from_app(), "no other route is limited");
        let answer =
            app.send(Method::POST, "/upload", &[], format!(r#"{{"token":"{DEAD}"}}"#)).await;
        assert!(answer.is_from_app(), "nor is its body read");
    }
}

#[tokio::test]
async fn every_clone_and_every_layering_shares_one_denylist() {
    let polar = start_polar().await;
    let layer = builder(&polar).build().await.expect("a layer");
    let axum = App::start(Server::Axum, layer.clone()).await;
    let hyper = App::start(Server::Hyper, layer).await;
    let token = polar.mint().access;
    let authorization = common::bearer(&token);
    axum.post("/logout", &[("authorization", &authorization)]).await;
    let answer = hyper.get("/me", &[("authorization", &authorization)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

/// What axum's `Json` makes of a body for a struct with one field, and more bodies of that kind.
#[tokio::test]
async fn a_body_that_serde_reads_and_others_do_not_is_no_way_around() {
    let dead = DEAD.as_bytes();
    let bodies: [Vec<u8>; 5] = [
        [b"[\"", dead, b"\"]"].concat(),
        [b"{\"a\":\"\xff\",\"token\":\"", dead, b"\"}"].concat(),
        [b"{\"token\":\"", dead, b"\",\"a\":\"\xff\"}"].concat(),
        [b"{\"x\":\"&token=", dead, b"&\",\"token\":\"", dead, b"\"}"].concat(),
        [b"{\"token\":\"", dead, b"\"}, and what no parser would read"].concat(),
    ];
    for when in [WhenRevoked::Reject, WhenRevoked::Anonymous] {
        let builder = around(TokenLocation::json("token"))
            .opaque(TokenLocation::form("token"))
            .when_revoked(when);
        let app = start(Server::Axum, builder).await;
        for body in &bodies {
            let answer = app.send(Method::POST, "/refresh", &JSON[..1], body.clone()).await;
            let shown = String::from_utf8_lossy(body);
            assert!(!answer.body.contains(DEAD), "{when:?}: {shown} reached the app");
            if when == WhenRevoked::Reject {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn a_cookie_in_white_space_of_any_script_is_no_way_around() {
    let app = start(Server::Hyper, around(TokenLocation::cookie("token").into())).await;
    for cookie in [
        format!("token={DEAD}\u{a0}"),
        format!("\u{a0}token={DEAD}"),
        format!("token=\u{3000}{DEAD}"),
        format!("token=%E3%80%80{DEAD}"),
    ] {
        let answer = app.get("/me", &[("cookie", &cookie)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{cookie}");
    }
}

/// The flood: each of the many costs a hash, and nobody needs more than a few.
#[tokio::test]
async fn a_request_with_more_credentials_than_anybody_looks_at_goes_no_further() {
    for server in SERVERS {
        for when in [WhenRevoked::Reject, WhenRevoked::Anonymous] {
            let builder = around(TokenLocation::bearer())
                .opaque(TokenLocation::cookie("token"))
                .opaque(TokenLocation::form("token"))
                .body_route(Method::POST, "/refresh")
                .when_revoked(when);
            let app = start(server, builder).await;
            let many = |between: &str, count| vec!["ALIVE"; count].join(between);
            let cookies = format!("token={}", many("; token=", 65));
            let joined = format!("Bearer {}", many(",", 65));
            let form = format!("token={}", many("&token=", 65));
            for answer in [
                app.get("/me", &[("cookie", &cookies)]).await,
                app.get("/me", &[("authorization", &joined)]).await,
                app.send(Method::POST, "/refresh", FORM, form).await,
            ] {
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
            }
            assert_eq!(app.calls(), 0);
            let few = format!("token={}", many("; token=", 64));
            assert_eq!(app.get("/me", &[("cookie", &few)]).await.status, StatusCode::OK);
        }
    }
}

/// The same flood in one value: all of its readings would be hashed.
#[tokio::test]
async fn a_long_value_goes_as_far_as_there_are_few_ways_to_read_it() {
    for server in SERVERS {
        let builder = around(TokenLocation::bearer()).opaque(TokenLocation::cookie("token"));
        let app = start(server, builder).await;
        let cookie = |length| format!("token=\"%41 {}\"", "0".repeat(length));
        for (header, value, status) in [
            ("cookie", cookie(9_000), StatusCode::BAD_REQUEST),
            // What a browser keeps at most.
            ("cookie", cookie(2_000), StatusCode::OK),
            ("cookie", format!("token={}", "0".repeat(60_000)), StatusCode::OK),
            ("authorization", format!("Bearer {}", "0".repeat(60_000)), StatusCode::OK),
        ] {
            let answer = app.get("/me", &[(header, &value)]).await;
            assert_eq!(answer.status, status, "{header}, {} bytes", value.len());
        }
        assert_eq!(app.calls(), 3);
    }
}
