//! `/me`: for signed-in users only.

use axum::Json;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use serde_json::json;

use crate::cookies;

/// A real app would ask Polar for the user. Here any token is enough, because the layer rejects
/// requests with revoked tokens.
pub(crate) async fn me(jar: CookieJar, headers: HeaderMap) -> Response {
    if cookies::value(&jar, cookies::ACCESS_TOKEN).is_some() || carries_bearer(&headers) {
        Json(json!({ "signed_in": true })).into_response()
    } else {
        (StatusCode::UNAUTHORIZED, Json(json!({ "signed_in": false }))).into_response()
    }
}

fn carries_bearer(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split_once(' ').is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()
        })
    })
}
