//! Checks whether an app reads a dead token out of a request, by the usual extractors and as the
//! frameworks of other languages do.

// With a path, because the fuzz targets include this file without the rest of the library.
#[path = "beside.rs"]
mod beside;

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;
use std::{env, thread};

use axum::extract::{FromRequest, FromRequestParts, Query};
use axum::{Form, Json};
use axum_extra::TypedHeader;
use axum_extra::extract::CookieJar;
use axum_extra::headers::Authorization;
use axum_extra::headers::authorization::Bearer;
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use cookie::Cookie;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use percent_encoding::{percent_decode, percent_decode_str};
use serde::Deserialize;
use serde_json::Value;
use tower::{Layer, ServiceExt, service_fn};
use tower_cookies::{CookieManagerLayer, Cookies};
use tower_polar_logout::{
    ClientCredentials, PolarLogoutLayer, PolarLogoutLayerBuilder, PolarServer, Revocation,
    TokenLocation, WhenRevoked,
};

/// The dead token.
pub const DEAD: &str = "polar_at_u_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/// A path at which the layer takes a dead token out of `Authorization` too.
pub const ANONYMOUS: &str = "/anonymous";

/// The seeds of random cases, the same in every run. `SEED=N cargo test` replays one case.
pub fn seeds(cases: u64) -> Range<u64> {
    match env::var("SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("a number"),
        Err(_) => 0..cases,
    }
}

pub fn is_replay() -> bool {
    env::var_os("SEED").is_some()
}

/// A seed that is printed if its case fails.
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("SEED={}", self.0);
        }
    }
}

pub const X_TOKEN: HeaderName = HeaderName::from_static("x-token");

/// Whether an app could read the dead token out of the request.
pub async fn is_read(request: &Request<Bytes>) -> bool {
    is_found(request) || read_by_extractors(request.clone()).await.contains(DEAD)
}

/// Whether a reading contains the token anywhere. Then some app may find it, behind any scheme and
/// in any list, quotes or parameter.
fn is_found(request: &Request<Bytes>) -> bool {
    let (head, body) = (request.headers(), request.body());
    let values = |name: HeaderName| head.get_all(name).iter().map(HeaderValue::as_bytes);
    let target = request.uri().path_and_query().map(|target| target.as_str().as_bytes());
    let texts = target.into_iter().chain(values(COOKIE)).chain(values(X_TOKEN)).chain([&body[..]]);
    let with_base64 = values(AUTHORIZATION).chain(values(SEC_WEBSOCKET_PROTOCOL));
    let mut readings = texts
        .flat_map(readings)
        .chain(with_base64.flat_map(readings).flat_map(|text| [from_base64(&text), text]));
    readings.any(|text| contains(&text, DEAD.as_bytes()))
}

pub fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The text as it is, percent-decoded once and twice, each with backslash escapes undone in two
/// ways.
fn readings(text: &[u8]) -> Vec<Vec<u8>> {
    let once: Vec<_> = percent_decode(text).collect();
    let twice = percent_decode(&once).collect();
    let readings = [text.to_vec(), once, twice].into_iter();
    readings.flat_map(|it| [unescaped(&it, literal), unescaped(&it, octal), it]).collect()
}

/// An invalid escape stands for the character after the backslash.
fn unescaped(text: &[u8], escape: fn(&[u8]) -> Option<(u8, usize)>) -> Vec<u8> {
    let (mut unescaped, mut rest) = (Vec::new(), text);
    while let Some((&byte, behind)) = rest.split_first() {
        let (byte, length) = match behind {
            [next, ..] if byte == b'\\' => escape(behind).unwrap_or((*next, 1)),
            _ => (byte, 0),
        };
        unescaped.push(byte);
        rest = &behind[length..];
    }
    unescaped
}

/// `u0070` and `x70`, as in JSON and JavaScript.
fn literal(text: &[u8]) -> Option<(u8, usize)> {
    let digits = match text.first()? {
        b'u' => 4,
        b'x' => 2,
        _ => return None,
    };
    Some((digits_of(text.get(1..=digits)?, 16)?, 1 + digits))
}

/// `160`, as in quoted cookies.
fn octal(text: &[u8]) -> Option<(u8, usize)> {
    Some((digits_of(text.get(..3)?, 8)?, 3))
}

fn digits_of(text: &[u8], radix: u32) -> Option<u8> {
    let text = std::str::from_utf8(text).ok().filter(|it| !it.starts_with('+'))?;
    u8::from_str_radix(text, radix).ok()
}

/// Decodes each word that is base64, for example a Basic password or an item of a subprotocol list.
fn from_base64(text: &[u8]) -> Vec<u8> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone);
    let words = text.split(|byte| !(byte.is_ascii_alphanumeric() || b"+/-_".contains(byte)));
    let decoded = words.flat_map(|word| {
        [&STANDARD, &URL_SAFE].map(|it| GeneralPurpose::new(it, config).decode(word))
    });
    decoded.flat_map(Result::unwrap_or_default).collect()
}

#[derive(Deserialize)]
struct Fields {
    token: String,
}

/// The tokens that an app could take for its user's token.
async fn read_by_extractors(request: Request<Bytes>) -> BTreeSet<String> {
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
    for header in parts.headers.get_all(COOKIE) {
        tokens.extend(read_from_cookies(header));
    }
    tokens.extend(read_from_typed_cookies(&mut parts).await);
    tokens.extend(read_by_tower_cookies(&parts.headers).await);
    if let Ok(Query(fields)) = Query::<Fields>::try_from_uri(&parts.uri) {
        tokens.push(fields.token);
    }
    if let Ok(Query(mut fields)) = Query::<HashMap<String, String>>::try_from_uri(&parts.uri) {
        tokens.extend(fields.remove("token"));
    }
    tokens.extend(read_from_pairs(parts.uri.query().unwrap_or_default().as_bytes()));
    tokens.extend(read_from_pairs(&body));
    tokens.extend(read_from_body(&parts, body).await);
    tokens.into_iter().collect()
}

/// Reads a urlencoded text without an extractor. Every pair counts.
fn read_from_pairs(encoded: &[u8]) -> Vec<String> {
    let mut tokens: Vec<_> = form_urlencoded::parse(encoded)
        .filter(|(name, _)| name == "token")
        .map(|(_, value)| value.into_owned())
        .collect();
    if let Ok(pairs) = serde_urlencoded::from_bytes::<Vec<(String, String)>>(encoded) {
        tokens.extend(pairs.into_iter().filter(|(name, _)| name == "token").map(|(_, it)| it));
    }
    let by_hand = std::str::from_utf8(encoded).unwrap_or_default().split('&');
    tokens.extend(by_hand.filter_map(|pair| {
        let value = pair.strip_prefix("token=")?;
        Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
    }));
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

async fn read_from_typed_cookies(parts: &mut request::Parts) -> Option<String> {
    let cookies = TypedHeader::<axum_extra::headers::Cookie>::from_request_parts(parts, &()).await;
    cookies.ok()?.get("token").map(str::to_owned)
}

async fn read_by_tower_cookies(headers: &HeaderMap) -> Vec<String> {
    let read = service_fn(|request: Request<()>| async move {
        let cookies = request.extensions().get::<Cookies>().expect("the layer's");
        let cookie = cookies.get("token").map(|cookie| cookie.value().to_owned());
        Ok::<_, Infallible>(Response::new(cookie.unwrap_or_default()))
    });
    let mut request = Request::new(());
    headers.clone_into(request.headers_mut());
    let response = CookieManagerLayer::new().layer(read).oneshot(request).await.expect("one");
    vec![response.into_body()]
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
    let form = request("application/x-www-form-urlencoded");
    if let Ok(Form(mut fields)) = Form::<HashMap<String, String>>::from_request(form, &()).await {
        tokens.extend(fields.remove("token"));
    }
    if let Ok(Json(fields)) = Json::<Fields>::from_request(request("application/json"), &()).await {
        tokens.push(fields.token);
    }
    // `Value` also accepts a text that a struct rejects, for example one with the token twice.
    if let Ok(Json(Value::Object(mut fields))) =
        Json::<Value>::from_request(request("application/json"), &()).await
        && let Some(Value::String(token)) = fields.remove("token")
    {
        tokens.push(token);
    }
    // Anything may follow the JSON value.
    if let Some(Ok(fields)) =
        serde_json::Deserializer::from_slice(&body).into_iter::<Fields>().next()
    {
        tokens.push(fields.token);
    }
    tokens
}

/// The layer that the tests use. It does not reach Polar.
pub fn builder() -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_deadline(Duration::from_millis(1))
        .logout_route(Method::POST, "/logout")
        .when_revoked_at(ANONYMOUS, WhenRevoked::Anonymous)
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie("token"))
        .access_token(TokenLocation::header("x-token"))
        .access_token(TokenLocation::query("token"))
        .access_token(TokenLocation::form("token"))
        .access_token(TokenLocation::json("token"))
        .session_id(TokenLocation::cookie("session"))
        .session_id(TokenLocation::header("x-session"))
        .session_id(TokenLocation::query("session"))
        .denylist_capacity(10_000)
}

/// The result for a request with the dead token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Unchanged,
    TakenOut,
    Rejected,
}

/// Two layers: one with no revocation, and one that denies the dead token.
pub struct Judge {
    living: PolarLogoutLayer,
    dead: PolarLogoutLayer,
}

impl Judge {
    pub async fn new() -> Self {
        let (living, dead) = tokio::join!(builder().build(), builder().build());
        let (living, dead) = (living.expect("a layer"), dead.expect("a layer"));
        // A session id is not sent to Polar.
        dead.handle().revoke([Revocation::session_id(DEAD).expect("a credential")]).await;
        Self { living, dead }
    }

    /// Panics if this request breaks a promise:
    ///
    /// - If nothing is revoked, the request reaches the app unchanged.
    /// - If the token is revoked, either the request is rejected, or no app can read the token any
    ///   more and the text beside it stays unchanged.
    pub async fn judge(&self, request: &Request<Bytes>) -> Fate {
        match call(&self.living, request).await {
            Ok(passed) => assert_same(request, &passed),
            Err(status) => panic!("{status} though nothing is revoked: {request:?}"),
        }
        match call(&self.dead, request).await {
            Ok(left) => {
                assert!(!is_read(&left).await, "an app still reads the token: {left:?}");
                beside::assert_stays(request, &left);
                if left.headers() == request.headers() && left.uri() == request.uri() {
                    return Fate::Unchanged;
                }
                Fate::TakenOut
            }
            Err(StatusCode::UNAUTHORIZED) => Fate::Rejected,
            Err(status) => panic!("{status} for a dead token: {request:?}"),
        }
    }
}

pub fn assert_same(one: &Request<Bytes>, other: &Request<Bytes>) {
    assert_eq!(one.method(), other.method());
    assert_eq!(one.uri(), other.uri());
    assert_eq!(one.headers(), other.headers());
    assert_eq!(one.body(), other.body());
}

/// Returns the request that the app sees. The route searches bodies.
///
/// # Errors
///
/// The status of the layer's answer, if the layer answers in the app's place.
pub async fn call(
    layer: &PolarLogoutLayer,
    request: &Request<Bytes>,
) -> Result<Request<Bytes>, StatusCode> {
    let (has_body, request) = (!request.body().is_empty(), request.clone().map(Full::new));
    let app = service_fn(app);
    let response = if has_body {
        layer.layer(layer.handle().check_body().layer(app)).oneshot(request).await
    } else {
        layer.layer(app).oneshot(request).await
    };
    let mut response = response.expect("infallible");
    response.extensions_mut().remove::<Request<Bytes>>().ok_or(response.status())
}

/// Returns the request in the extensions of the response.
async fn app(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    let mut response = Response::new(Full::default());
    response.extensions_mut().insert(Request::from_parts(parts, body));
    Ok(response)
}
