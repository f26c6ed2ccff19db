//! The credentials that a request carries: each case of `credentials.json`, sent through the layer.
//!
//! A credential is recognised, not parsed. So no spelling gets around a logout, and no logout
//! denies a value that other users share.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::Full;
use serde_json::Value;
use support::{Answer, TreatedWell, builder, start_polar};
use tower::{Layer, ServiceExt, service_fn};
use tower_polar_logout::{
    LogoutOutcome, PolarLogoutLayer, PolarLogoutLayerBuilder, Revocation, TokenLocation,
};

const ID: &str = "abcdefghijklmnopqrstuv";
const OTHER_ID: &str = "vutsrqponmlkjihgfedcba";

fn cases() -> Value {
    serde_json::from_str(include_str!("credentials.json")).expect("JSON")
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().expect("a list").iter().map(|it| it.as_str().expect("text"))
}

/// A layer in front of an app that keeps the last request that it saw.
struct Site {
    polar: TreatedWell,
    layer: PolarLogoutLayer,
    seen: Arc<Mutex<Option<request::Parts>>>,
}

impl Site {
    async fn start(with: impl FnOnce(PolarLogoutLayerBuilder) -> PolarLogoutLayerBuilder) -> Self {
        let polar = start_polar().await;
        let layer = with(builder(&polar)).build().await.expect("a layer");
        Self { polar, layer, seen: Arc::default() }
    }

    /// The answer, and the request as the app saw it, if it was called.
    async fn send(&self, request: Request<Full<Bytes>>) -> (Answer, Option<request::Parts>) {
        let seen = Arc::clone(&self.seen);
        *seen.lock().expect("no panic") = None;
        let app = service_fn(move |request: Request<Full<Bytes>>| {
            *seen.lock().expect("no panic") = Some(request.into_parts().0);
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
        });
        let response = self.layer.layer(app).oneshot(request).await.expect("an answer");
        (Answer::read(response).await, self.seen.lock().expect("no panic").take())
    }

    async fn log_out(&self, headers: &[(HeaderName, HeaderValue)]) -> Answer {
        let (answer, _) = self.send(with_headers("/logout", Method::POST, headers)).await;
        answer
    }

    async fn get(&self, headers: &[(HeaderName, HeaderValue)]) -> (Answer, Option<request::Parts>) {
        self.send(with_headers("/me", Method::GET, headers)).await
    }

    async fn revoke(&self, token: &str) {
        let revocation = Revocation::access_token(token).expect("a token");
        assert!(self.layer.handle().revoke([revocation]).await.is_denied());
    }

    async fn dead_token(&self) -> String {
        let token = self.polar.mint().access;
        self.revoke(&token).await;
        token
    }
}

fn with_headers(
    target: &str,
    method: Method,
    headers: &[(HeaderName, HeaderValue)],
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = target.parse().expect("a target");
    *request.method_mut() = method;
    for (name, value) in headers {
        request.headers_mut().append(name, value.clone());
    }
    request
}

/// A value with one byte for each character.
fn latin_1(text: &str) -> HeaderValue {
    let bytes: Vec<_> = text.chars().map(|it| u8::try_from(it).expect("Latin-1")).collect();
    HeaderValue::from_bytes(&bytes).expect("a value")
}

/// The text with the token in place of its last `letter`, and with `base64(..)` encoded.
fn fill(text: &str, letter: char, token: &str) -> String {
    if let Some((before, rest)) = text.split_once("base64(") {
        let (inside, behind) = rest.split_once(')').expect("a bracket");
        let inside = fill(inside, letter, token);
        let engine = if before.contains("base64url") { &URL_SAFE_NO_PAD } else { &STANDARD };
        return format!("{before}{}{behind}", engine.encode(inside));
    }
    let at = text.rfind(letter).unwrap_or_else(|| panic!("no {letter} in {text}"));
    [&text[..at], token, &text[at + 1..]].concat()
}

/// The request of a case of `the_app_never_reads_T`, with this token.
fn request_of(case: &Value, token: &str) -> Request<Full<Bytes>> {
    let target = match case["target"].as_str() {
        Some(target) if case["name"] == "query-percent-encoded" => {
            let encoded: Vec<_> = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let encoded = encoded.concat();
            format!("{}={encoded}", target.split_once('=').expect("a field").0)
        }
        Some(target) => fill(target, 'T', token),
        None => "/".to_owned(),
    };
    let headers = case["headers"].as_array().into_iter().flatten().map(|header| {
        let (name, value) = (&header[0], header[1].as_str().expect("text"));
        let name = name.as_str().expect("text").parse().expect("a name");
        (name, latin_1(&fill(value, 'T', token)))
    });
    with_headers(&target, Method::GET, &headers.collect::<Vec<_>>())
}

/// The cases are the 32 spellings by which 21 backends behind the layer once read a dead token.
#[tokio::test]
async fn app_never_reads_dead_token_in_any_spelling() {
    let site = Site::start(|it| it.access_token(TokenLocation::query("access_token"))).await;
    let token = site.dead_token().await;
    let cases = cases();
    for case in cases["the_app_never_reads_T"].as_array().expect("cases") {
        let name = &case["name"];
        let sent = request_of(case, &token);
        let (uri, headers) = (sent.uri().clone(), sent.headers().clone());
        let (answer, seen) = site.send(sent).await;
        let must_be_rejected = headers.contains_key(AUTHORIZATION) || name == "in-the-path";
        let Some(seen) = seen else {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
            continue;
        };
        assert!(!must_be_rejected, "{name} was let through");
        let is_gone = !headers.iter().any(|header| seen.headers.iter().any(|it| it == header));
        assert!(is_gone && (headers.len() == 1 || seen.uri != uri), "{name}: {seen:?}");
    }
}

#[tokio::test]
async fn living_token_passes_unchanged_in_any_spelling() {
    let site = Site::start(|it| it.access_token(TokenLocation::query("access_token"))).await;
    site.dead_token().await;
    let token = site.polar.mint().access;
    for case in cases()["the_app_never_reads_T"].as_array().expect("cases") {
        let sent = request_of(case, &token);
        let (uri, headers) = (sent.uri().clone(), sent.headers().clone());
        let (_, seen) = site.send(sent).await;
        let seen = seen.unwrap_or_else(|| panic!("{} was rejected", case["name"]));
        assert_eq!((seen.uri, seen.headers), (uri, headers), "{}", case["name"]);
    }
}

#[tokio::test]
async fn logout_finds_token_in_body_of_any_syntax() {
    let site = Site::start(|it| {
        it.refresh_token(TokenLocation::form("refresh_token"))
            .refresh_token(TokenLocation::json("refresh_token"))
    })
    .await;
    for case in cases()["logout_finds_and_revokes"].as_array().expect("cases") {
        let name = &case["name"];
        let token = site.polar.mint().refresh;
        let body = fill(case["body"].as_str().expect("text"), 'R', &token);
        let mut request = with_headers("/logout", Method::POST, &[]);
        *request.body_mut() = Full::from(body);
        let content_type = case["content_type"].as_str().expect("text");
        let (content_type, coding) = content_type.split_once(" (").unwrap_or((content_type, ""));
        request.headers_mut().insert(CONTENT_TYPE, content_type.parse().expect("a value"));
        if let Some(coding) = coding.strip_prefix("Content-Encoding: ") {
            let coding = coding.trim_end_matches(')').parse().expect("a value");
            request.headers_mut().insert(CONTENT_ENCODING, coding);
        }
        let (answer, _) = site.send(request).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{name}");
        assert!(!site.polar.is_alive(&token) && site.layer.handle().is_revoked(&token), "{name}");
    }
}

/// A logout once denied the word `Bearer`, and so locked out every user of the app for ten days.
#[tokio::test]
async fn logout_leaves_other_users_alone_in_every_carrier() {
    let site = Site::start(|it| it.session_id(TokenLocation::cookie("session"))).await;
    for case in cases()["one_users_logout_leaves_others_alone"].as_array().expect("cases") {
        let (name, carrier) =
            case["carrier"].as_str().expect("text").split_once(": ").expect("two");
        let name: HeaderName = name.parse().expect("a name");
        let polar = [site.polar.mint().access, site.polar.mint().access];
        let own = [ID.to_owned(), OTHER_ID.to_owned()];
        for [mine, others] in [polar, own] {
            let header = |credential: &str| {
                let value = carrier.replace("{}", credential).parse().expect("a value");
                [(name.clone(), value)]
            };
            site.log_out(&header(&mine)).await;
            let (answer, seen) = site.get(&header(&others)).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", case["name"]);
            assert_eq!(seen.expect("the app").headers.get(&name), Some(&header(&others)[0].1));
            let (_, seen) = site.get(&header(&mine)).await;
            assert!(seen.is_none_or(|it| it.headers.get(&name).is_none()), "{}", case["name"]);
        }
    }
}

#[tokio::test]
async fn placeholder_is_no_credential() {
    let site = Site::start(|it| it.session_id(TokenLocation::cookie("session"))).await;
    for placeholder in texts(&cases()["placeholders_are_no_credentials"]) {
        let headers = [
            (AUTHORIZATION, format!("Bearer {placeholder}").parse().expect("a value")),
            (
                COOKIE,
                format!("session={placeholder}; access_token={placeholder}").parse().expect("one"),
            ),
        ];
        assert_eq!(site.log_out(&headers).await.status, StatusCode::NO_CONTENT);
        let (_, seen) = site.get(&headers).await;
        assert_eq!(seen.expect("the app").headers.len(), 2, "{placeholder}");
        assert!(Revocation::session_id(placeholder).is_err(), "{placeholder}");
    }
    assert_eq!(site.layer.handle().counts().revoked, 0);
}

/// A cookie that was planted from a subdomain, or left over, must not lock its user out.
#[tokio::test]
async fn dead_cookie_beside_living_one_is_taken_out() {
    let site = Site::start(|it| it).await;
    let (dead, live) = (site.dead_token().await, site.polar.mint().access);
    let cases = cases();
    for case in texts(&cases["a_dead_cookie_beside_a_living_one_goes_on_without_the_dead_one"]) {
        let cookies = case.replace("DEAD", &dead).replace("LIVE", &live);
        let (answer, seen) = site.get(&[(COOKIE, cookies.parse().expect("a value"))]).await;
        assert_eq!(answer.status, StatusCode::OK, "{case}");
        let seen = seen.expect("the app");
        assert_eq!(seen.headers[COOKIE], format!("access_token={live}"), "{case}");
        assert!(answer.removed_cookies().is_empty(), "{case}");
    }
    assert_eq!(site.layer.handle().counts().stripped, 3);
}

#[tokio::test]
async fn dead_token_outside_credential_places_is_taken_out() {
    let site = Site::start(|it| it.access_token(TokenLocation::query("access_token"))).await;
    let dead = site.dead_token().await;
    let cases = cases();
    let list = "a_dead_token_where_it_is_no_credential_is_taken_out_and_the_request_goes_on";
    for case in texts(&cases[list]) {
        let case = case.replace("DEAD", &dead);
        let request = match case.strip_prefix("cookie: ") {
            Some(cookie) => {
                with_headers("/", Method::GET, &[(COOKIE, cookie.parse().expect("a value"))])
            }
            None => with_headers(&case, Method::GET, &[]),
        };
        let (answer, seen) = site.send(request).await;
        assert_eq!(answer.status, StatusCode::OK, "{case}");
        let seen = seen.expect("the app");
        assert!(seen.headers.is_empty() && seen.uri.query().is_none(), "{seen:?}");
    }
}

#[tokio::test]
async fn inseparable_dead_token_is_rejected() {
    let site = Site::start(|it| it).await;
    let (dead, live) = (site.dead_token().await, site.polar.mint().access);
    let cases = cases();
    for case in texts(&cases["a_dead_token_that_cannot_be_separated_from_a_living_one_is_401"]) {
        let (name, value) = case.split_once(": ").expect("a header");
        let value = value.replace("DEAD", &dead).replace("LIVE", &live);
        let header = (name.parse().expect("a name"), value.parse().expect("a value"));
        assert_eq!(site.get(&[header]).await.0.status, StatusCode::UNAUTHORIZED, "{case}");
    }
}

/// Also beside a living token.
#[tokio::test]
async fn dead_token_in_authorization_is_always_rejected() {
    let site = Site::start(|it| it).await;
    let bearer = |token: &str| (AUTHORIZATION, support::bearer(token).parse().expect("a value"));
    let (dead, live) = (bearer(&site.dead_token().await), site.polar.mint().access);
    let cookie = (COOKIE, format!("access_token={live}").parse().expect("a value"));
    for headers in [[dead.clone(), cookie], [bearer(&live), dead]] {
        assert_eq!(site.get(&headers).await.0.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn session_id_is_the_same_in_every_wrapping() {
    let cases = cases();
    for pair in cases["session_ids_recognised_by_place"]["same"].as_array().expect("pairs") {
        for (one, other) in [(0, 1), (1, 0)] {
            let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
            let cookie = |n: usize| {
                let text = pair[n].as_str().expect("text").replace(" (a JWT)", "");
                text.replace("HEADER.PAYLOAD.SIGNATURE", jwt)
            };
            let name = cookie(0).split_once('=').expect("a name").0.to_owned();
            let site = Site::start(|it| it.session_id(TokenLocation::cookie(name))).await;
            let header = |n| [(COOKIE, cookie(n).parse().expect("a value"))];
            assert_eq!(site.log_out(&header(one)).await.status, StatusCode::NO_CONTENT);
            let (answer, seen) = site.get(&header(other)).await;
            assert_eq!(answer.status, StatusCode::OK, "a dead session id is no error");
            assert!(seen.expect("the app").headers.is_empty(), "{pair}");
        }
    }
}

/// The values are the session cookie of every anonymous visitor, and a password in `Basic`.
#[tokio::test]
async fn logout_with_shared_value_locks_out_no_user() {
    let site = Site::start(|it| it.session_id(TokenLocation::cookie("session"))).await;
    let anonymous = [(COOKIE, HeaderValue::from_static("session=eyJwYXNzcG9ydCI6e319"))];
    let basic =
        [(AUTHORIZATION, HeaderValue::from_static("Basic dXNlcjpwYXNzd29yZC1vZi1hLXVzZXI="))];
    for header in [&anonymous, &basic] {
        site.log_out(header).await;
        let (answer, seen) = site.get(header).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(seen.is_some() && answer.removed_cookies().is_empty());
    }
    let (_, seen) = site.get(&basic).await;
    assert_eq!(seen.expect("the app").headers.len(), 1, "`Basic` is never denied by its place");
}

/// Examples are a signed cookie, a key of another system and a token that is too long. Polar cannot
/// confirm them, so the answer must not be 204.
#[tokio::test]
async fn unrecognized_value_is_denied_but_never_sent() {
    let site = Site::start(|it| it.access_token(TokenLocation::header("x-api-key"))).await;
    let value = |text: String| HeaderValue::from_str(&text).expect("a value");
    for header in [
        (COOKIE, value(format!("access_token=encrypted.{ID}"))),
        (AUTHORIZATION, value(format!("Bearer sk_live_{ID}"))),
        (HeaderName::from_static("x-api-key"), value(format!("{ID}{}", "x".repeat(4_097)))),
        (HeaderName::from_static("x-api-key"), value(format!("polar_x{}", "x".repeat(128)))),
    ] {
        let answer = site.log_out(std::slice::from_ref(&header)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{header:?}");
        let (answer, seen) = site.get(std::slice::from_ref(&header)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(seen.expect("the app").headers.is_empty(), "{header:?}");
    }
    assert_eq!(site.polar.seen().revoke_calls, 0);
    assert_eq!(site.layer.handle().counts().unrecognized, 4);
}

#[tokio::test]
async fn token_of_future_format_is_sent_and_rejected() {
    let site = Site::start(|it| it).await;
    let header = [(AUTHORIZATION, format!("Bearer polar_at2-{ID}").parse().expect("a value"))];
    assert_eq!(site.log_out(&header).await.status, StatusCode::NO_CONTENT);
    assert_eq!(site.polar.seen().revoke_calls, 1);
    let (answer, _) = site.get(&header).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn strict_logout_fails_for_an_unrecognized_value() {
    let site = Site::start(|it| it.require_confirmation(true)).await;
    let header = [(COOKIE, format!("access_token=encrypted.{ID}").parse().expect("a value"))];
    let answer = site.log_out(&header).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// The cookie jar is full of planted tokens. The user's own token is in its configured place, and
/// is one of the sixteen.
#[tokio::test]
async fn logout_denies_all_tokens_but_sends_only_sixteen() {
    let site = Site::start(|it| it).await;
    let planted: Vec<_> = (0..100).map(|_| site.polar.mint().access).collect();
    let own = site.polar.mint().access;
    let cookies = planted.iter().enumerate().map(|(n, token)| format!("c{n}={token}"));
    let cookies = cookies.collect::<Vec<_>>().join("; ") + &format!("; access_token={own}");
    let answer = site.log_out(&[(COOKIE, cookies.parse().expect("a value"))]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let handle = site.layer.handle();
    assert!(planted.iter().all(|token| handle.is_revoked(token)) && handle.is_revoked(&own));
    support::until("sixteen are confirmed", || handle.counts().confirmed == 16).await;
    assert_eq!(site.polar.seen().revoke_calls, 16);
    assert!(!site.polar.is_alive(&own));
}

/// A credential of another system is accepted and denied, but never sent.
#[tokio::test]
async fn revocation_takes_only_one_whole_credential() {
    let token = "polar_at_u_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    for value in ["", "short", "\"\"", &format!("Bearer {token}"), &format!("{token},{token}")] {
        assert!(Revocation::access_token(value).is_err(), "{value}");
        assert!(Revocation::session_id(value).is_err(), "{value}");
    }
    let site = Site::start(|it| it).await;
    let foreign = Revocation::access_token(format!("a-jwt-of-another-system.{ID}")).expect("one");
    let outcome = site.layer.handle().revoke([foreign]).await;
    assert_eq!(outcome, LogoutOutcome::Unrecognized);
    assert!(outcome.is_denied() && !outcome.is_confirmed());
    assert_eq!(site.polar.seen().revoke_calls, 0);
}
