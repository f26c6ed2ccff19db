//! However an app reads a token out of a request, the layer sees it too: random requests, and what
//! the extractors that people use make of them.
//!
//! A case that fails is printed with its seed; `DIFFERENTIAL_SEED=N cargo test --test
//! no_way_around` replays it.

use std::convert::Infallible;
use std::env;

use axum::extract::{FromRequest, FromRequestParts, Query};
use axum::{Form, Json};
use axum_extra::TypedHeader;
use axum_extra::extract::CookieJar;
use axum_extra::headers::Authorization;
use axum_extra::headers::authorization::Bearer;
use bytes::Bytes;
use cookie::Cookie;
use fastrand::Rng;
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::Full;
use serde::Deserialize;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_polar_logout::{
    ClientCredentials, LogoutHandle, PolarLogoutLayer, PolarServer, RequestBody, Revocation,
    TokenLocation,
};

const CASES: u64 = 5_000;

#[derive(Deserialize)]
struct Fields {
    token: String,
}

/// Every token that some app would read out of the request.
async fn read_by_apps(request: Request<Bytes>) -> Vec<String> {
    let (mut parts, body) = request.into_parts();
    let mut tokens = Vec::new();
    if let Ok(TypedHeader(Authorization(bearer))) =
        TypedHeader::<Authorization<Bearer>>::from_request_parts(&mut parts, &()).await
    {
        tokens.push(bearer.token().to_owned());
    }
    let jar = CookieJar::from_headers(&parts.headers);
    tokens.extend(jar.get("token").map(|cookie| cookie.value().to_owned()));
    tokens.extend(jar.get("token").map(|cookie| cookie.value_trimmed().to_owned()));
    for header in parts.headers.get_all("cookie") {
        tokens.extend(read_from_cookies(header));
    }
    if let Ok(Query(fields)) = Query::<Fields>::try_from_uri(&parts.uri) {
        tokens.push(fields.token);
    }
    tokens.extend(
        parts
            .headers
            .get("x-token")
            .and_then(|value| {
                let text = value.to_str().ok()?;
                Some([text.to_owned(), text.trim().to_owned()])
            })
            .into_iter()
            .flatten(),
    );
    tokens.extend(read_from_body(&parts, body).await);
    tokens
}

fn read_from_cookies(header: &HeaderValue) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(header.as_bytes()) else { return Vec::new() };
    Cookie::split_parse(text)
        .chain(Cookie::split_parse_encoded(text))
        .filter_map(Result::ok)
        .filter(|cookie| cookie.name() == "token")
        .flat_map(|cookie| [cookie.value().to_owned(), cookie.value_trimmed().to_owned()])
        .collect()
}

async fn read_from_body(parts: &request::Parts, body: Bytes) -> Vec<String> {
    let request = |kind: &'static str| {
        let mut parts = parts.clone();
        parts.headers.insert("content-type", HeaderValue::from_static(kind));
        Request::from_parts(parts, axum::body::Body::from(body.clone()))
    };
    let mut tokens = Vec::new();
    let form = request("application/x-www-form-urlencoded");
    if let Ok(Form(fields)) = Form::<Fields>::from_request(form, &()).await {
        tokens.push(fields.token);
    }
    if let Ok(Json(fields)) = Json::<Fields>::from_request(request("application/json"), &()).await {
        tokens.push(fields.token);
    }
    tokens
}

/// Pieces that parsers disagree about.
const PIECES: [&[u8]; 40] = [
    b"token",
    b"TOKEN",
    b"t%6Fken",
    b"=",
    b"==",
    b";",
    b"; ",
    b"&",
    b"+",
    b"%",
    b"%20",
    b"%2",
    b"%22",
    b"%00",
    b"%C3%A9",
    b"%FF",
    b"\"",
    b"'",
    b",",
    b", ",
    b" ",
    b"  ",
    b"\t",
    b"abc",
    b"x.y-z~",
    b"\\",
    b"\\u0061",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"{\"token\":\"",
    b"\"}",
    b"\xc2\xa0",
    b"\xe3\x80\x80",
    b"\xff",
    b"\xc3\xa9",
    b"token=abc",
    b"\"token\": \"abc\"",
];

fn noise(rng: &mut Rng, most: usize) -> Vec<u8> {
    (0..rng.usize(0..=most)).flat_map(|_| rng.choice(PIECES).expect("some").to_vec()).collect()
}

/// Mostly what an app could read, with noise where it may be.
fn random_request(rng: &mut Rng) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = if rng.u8(0..5) == 0 { Method::GET } else { Method::POST };
    let headers = request.headers_mut();
    for _ in 0..rng.usize(0..3) {
        let scheme = rng.choice(["Bearer", "bearer", "BEARER", "Basic", "Bearer,"]).expect("one");
        let space = rng.choice([" ", "  ", "\t", " \t "]).expect("one");
        append(headers, "authorization", [scheme.as_bytes(), space.as_bytes(), &noise(rng, 4)]);
    }
    for _ in 0..rng.usize(0..3) {
        let (before, value, after) = (noise(rng, 3), noise(rng, 4), noise(rng, 3));
        append(headers, "cookie", [&before, b"; token=", &value, b"; ", &after]);
    }
    if rng.bool() {
        append(headers, "x-token", [&noise(rng, 4)]);
    }
    let query: Vec<u8> = [&noise(rng, 2)[..], b"&token=", &noise(rng, 4), b"&", &noise(rng, 2)]
        .concat()
        .into_iter()
        .filter(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(byte))
        .collect();
    let query = String::from_utf8(query).expect("ASCII");
    *request.uri_mut() = format!("/body?{query}").parse().expect("a URI");
    *request.body_mut() = match rng.u8(0..3) {
        0 => [&noise(rng, 2)[..], b"&token=", &noise(rng, 4), b"&", &noise(rng, 2)].concat(),
        1 => {
            [b"{\"a\":\"", &noise(rng, 1)[..], b"\",\"token\":\"", &noise(rng, 3), b"\"}"].concat()
        }
        _ => [b"[\"", &noise(rng, 2)[..], b"\"]"].concat(),
    }
    .into();
    request
}

fn append<const N: usize>(headers: &mut http::HeaderMap, name: &'static str, parts: [&[u8]; N]) {
    if let Ok(value) = HeaderValue::from_bytes(&parts.concat()) {
        headers.append(name, value);
    }
}

async fn layer() -> PolarLogoutLayer {
    PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout")
        .body_route(Method::POST, "/body")
        .body_route(Method::GET, "/body")
        .opaque(TokenLocation::bearer())
        .opaque(TokenLocation::cookie("token"))
        .opaque(TokenLocation::header("x-token"))
        .opaque(TokenLocation::query("token"))
        .opaque(TokenLocation::form("token"))
        .opaque(TokenLocation::json("token"))
        // One for each case, and so a small one.
        .limit(100)
        .build()
        .await
        .expect("a layer")
}

async fn app(_: Request<RequestBody<Full<Bytes>>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::default()))
}

/// Says which token, revoked, would reach an app all the same.
async fn way_around(request: Request<Bytes>) -> Option<String> {
    for token in read_by_apps(request.clone()).await {
        // Nobody accepts the empty credential.
        if token.is_empty() {
            continue;
        }
        let layer = layer().await;
        revoke(&layer.handle(), &token).await;
        let mut service = layer.layer(service_fn(app));
        let request = request.clone().map(Full::new);
        let response = service.ready().await.expect("ready").call(request).await.expect("one");
        if response.status() != StatusCode::UNAUTHORIZED {
            return Some(token);
        }
    }
    None
}

async fn revoke(handle: &LogoutHandle, token: &str) {
    handle.revoke([Revocation::opaque(token).expect("a credential")]).await;
}

#[tokio::test]
async fn whatever_token_an_app_reads_the_layer_sees() {
    let seeds = match env::var("DIFFERENTIAL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..CASES,
    };
    let mut read = 0;
    for seed in seeds {
        let request = random_request(&mut Rng::with_seed(seed));
        read += read_by_apps(request.clone()).await.len();
        if let Some(token) = way_around(request.clone()).await {
            panic!("seed {seed}: {token:?} is read by an app and not seen in {request:?}");
        }
    }
    println!("{CASES} requests, {read} tokens read by apps, each seen by the layer");
}
