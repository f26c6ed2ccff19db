//! What apps read out of a request, by the extractors that people use, and whether the layer sees it.
#![allow(unreachable_pub, reason = "shared by the tests")]

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use axum::extract::{FromRequest, FromRequestParts, Query};
use axum::{Form, Json};
use axum_extra::TypedHeader;
use axum_extra::extract::CookieJar;
use axum_extra::headers::Authorization;
use axum_extra::headers::authorization::Bearer;
use bytes::Bytes;
use cookie::Cookie;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_cookies::{CookieManagerLayer, Cookies};
use tower_polar_logout::{
    ClientCredentials, LogoutHandle, PolarLogoutLayer, PolarServer, RequestBody, Revocation,
    TokenLocation,
};

#[derive(Deserialize)]
struct Fields {
    token: String,
}

/// Every token that some app would read out of the request, each once.
pub async fn read_by_apps(request: Request<Bytes>) -> BTreeSet<String> {
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
    tokens.extend(read_from_typed_cookies(&mut parts).await);
    tokens.extend(read_by_tower_cookies(&parts.headers).await);
    tokens.extend(parts.headers.get_all("authorization").iter().filter_map(read_bearer_by_hand));
    if let Ok(Query(fields)) = Query::<Fields>::try_from_uri(&parts.uri) {
        tokens.push(fields.token);
    }
    if let Ok(Query(mut fields)) = Query::<HashMap<String, String>>::try_from_uri(&parts.uri) {
        tokens.extend(fields.remove("token"));
    }
    tokens.extend(read_from_pairs(parts.uri.query().unwrap_or_default().as_bytes()));
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
    tokens.extend(read_from_pairs(&body));
    tokens.extend(read_from_body(&parts, body).await);
    // Nobody accepts the empty credential.
    tokens.into_iter().filter(|token| !token.is_empty()).collect()
}

fn read_bearer_by_hand(header: &HeaderValue) -> Option<String> {
    let mut words = header.to_str().ok()?.split_whitespace();
    let is_scheme = |word: &&str| word.eq_ignore_ascii_case("bearer");
    words.next().filter(is_scheme)?;
    // No bearer token has a comma in it (RFC 6750, section 2.1), and none is called so: these were
    // joined on the way.
    words.next().filter(|token| !is_scheme(token) && !token.contains(',')).map(str::to_owned)
}

/// What is urlencoded, read without an extractor: every pair counts.
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
    // With whatever else is in it, which a struct passes over.
    if let Ok(Json(Value::Object(mut fields))) =
        Json::<Value>::from_request(request("application/json"), &()).await
        && let Some(Value::String(token)) = fields.remove("token")
    {
        tokens.push(token);
    }
    // As far as it goes: what follows may be anything.
    if let Some(Ok(fields)) =
        serde_json::Deserializer::from_slice(&body).into_iter::<Fields>().next()
    {
        tokens.push(fields.token);
    }
    tokens
}

async fn layer() -> PolarLogoutLayer {
    PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout")
        .body_route(Method::POST, "/body")
        .body_route(Method::GET, "/body")
        .body_route(Method::HEAD, "/body")
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
pub async fn way_around(request: Request<Bytes>) -> Option<String> {
    for token in read_by_apps(request.clone()).await {
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
