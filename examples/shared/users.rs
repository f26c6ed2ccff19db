//! Who a caller is: asks Polar about the access token (RFC 7662), and keeps the answer for a minute.
//!
//! The layer rejects revoked tokens only. A made-up or expired token reaches the app, so the app
//! must check.

use std::env;
use std::error::Error;
use std::time::Duration;

use axum_extra::extract::cookie::{Cookie, CookieJar};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use moka::sync::Cache;
use serde_json::Value;
use tower_polar_logout::{PolarServer, TokenHash};

use crate::http_client::HttpClient;

pub(crate) struct Users {
    http: HttpClient,
    endpoint: String,
    client_id: String,
    client_secret: String,
    /// Polar can end a token by itself. The app notices after a minute.
    known: Cache<TokenHash, String>,
}

impl Users {
    /// Of the client and the server that the environment names.
    pub(crate) fn from_env() -> Result<Self, Box<dyn Error>> {
        let api = match PolarServer::from_env()? {
            PolarServer::Sandbox => "https://sandbox-api.polar.sh".to_owned(),
            PolarServer::Url(url) => url.trim_end_matches('/').to_owned(),
            _ => "https://api.polar.sh".to_owned(),
        };
        Ok(Self {
            http: HttpClient::new(api.starts_with("https:"))?,
            endpoint: format!("{api}/v1/oauth2/introspect"),
            client_id: env::var("POLAR_CLIENT_ID")?,
            client_secret: env::var("POLAR_CLIENT_SECRET")?,
            known: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(Duration::from_secs(60))
                .build(),
        })
    }

    /// The user whose access token this request carries, as a bearer or in the cookie
    /// `access_token`; the status to answer if there is no token, or if Polar cannot be asked.
    pub(crate) async fn who(&self, headers: &HeaderMap) -> Result<String, StatusCode> {
        let jar = CookieJar::from_headers(headers);
        let cookie = jar.get("access_token").map(Cookie::value);
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let token = bearer.or(cookie).unwrap_or_default();
        // Not a refresh token: introspection tells about the access token of its pair.
        if !token.starts_with("polar_at_") {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let hash = TokenHash::of(token);
        if let Some(user) = self.known.get(&hash) {
            return Ok(user);
        }
        let said = self.introspect(token).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        let user = said["sub"].as_str().filter(|_| said["active"] == true);
        let user = user.ok_or(StatusCode::UNAUTHORIZED)?.to_owned();
        self.known.insert(hash, user.clone());
        Ok(user)
    }

    async fn introspect(&self, token: &str) -> Result<Value, Box<dyn Error>> {
        let (id, secret) = (&*self.client_id, &*self.client_secret);
        let form = [("token", token), ("client_id", id), ("client_secret", secret)];
        let request = Request::post(&self.endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(serde_urlencoded::to_string(form)?.into_bytes())?;
        let answer = self.http.clone().send(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer.status().to_string().into());
        }
        Ok(serde_json::from_slice(answer.body())?)
    }
}
