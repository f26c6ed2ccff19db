//! The endpoints: the answer to a call and the change to commit, without sockets or faults.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, LOCATION};
use http::{Method, StatusCode};
use serde_json::json;

use super::answer::PolarAnswer;
use super::authorization::{self, Codes};
use super::call::{Call, MAX_BODY};
use super::client::Client;
use super::commit::{Commit, Grant};
use super::pair::{PairId, TokenPair};
use super::tokens::{Found, Kind, Owner, Tokens};

/// The user to whom every token of this server belongs.
const SUBJECT: &str = "00000000-0000-4000-8000-000000000000";
const SCOPE: &str = "openid";

/// How a call is handled.
pub(super) struct Handled {
    pub(super) answer: PolarAnswer,
    /// Not committed yet: a fault may delay it or lose it.
    pub(super) commit: Option<Commit>,
    /// The pair whose row the call writes, dead or alive.
    pub(super) touches: Option<PairId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Authorize,
    Revoke,
    Introspect,
    Token,
    Userinfo,
}

impl Endpoint {
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/oauth2/authorize" => Some(Self::Authorize),
            "/v1/oauth2/revoke" => Some(Self::Revoke),
            "/v1/oauth2/introspect" => Some(Self::Introspect),
            "/v1/oauth2/token" => Some(Self::Token),
            "/v1/oauth2/userinfo" => Some(Self::Userinfo),
            _ => None,
        }
    }

    pub(super) fn takes(self, method: &Method) -> bool {
        self.methods().contains(&method.as_str())
    }

    /// Whether its calls write rows of the token table.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Revoke | Self::Token)
    }

    pub(super) fn takes_time(self) -> bool {
        self.writes() || self == Self::Introspect
    }

    fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Authorize => &["GET"],
            Self::Revoke | Self::Introspect | Self::Token => &["POST"],
            Self::Userinfo => &["GET", "POST"],
        }
    }
}

pub(super) fn answer(call: &Call, client: &Client, tokens: &Tokens, codes: &mut Codes) -> Handled {
    let verdict = route(call, tokens).and_then(|endpoint| match endpoint {
        Endpoint::Authorize => authorization::authorize(call, client, codes).map(Handled::from),
        Endpoint::Revoke => revoke(call, client, tokens),
        Endpoint::Introspect => introspect(call, client, tokens).map(Handled::from),
        Endpoint::Token => token(call, client, tokens, codes),
        Endpoint::Userinfo => userinfo(call).map(Handled::from),
    });
    verdict.unwrap_or_else(Handled::from)
}

/// The checks before an endpoint sees the call.
fn route(call: &Call, tokens: &Tokens) -> Result<Endpoint, PolarAnswer> {
    if call.method == Method::POST && !call.headers.contains_key(CONTENT_LENGTH) {
        let detail = "A Content-Length header is required.";
        let body = json!({ "error": "LengthRequired", "detail": detail });
        return Err(PolarAnswer::json(StatusCode::LENGTH_REQUIRED, &body));
    }
    if call.too_large {
        let detail = format!("Request body exceeded the maximum allowed size of {MAX_BODY} bytes.");
        let body = json!({ "error": "RequestBodyTooLarge", "detail": detail });
        return Err(PolarAnswer::json(StatusCode::PAYLOAD_TOO_LARGE, &body));
    }
    let Some(endpoint) = Endpoint::at(&call.path) else {
        return Err(elsewhere(&call.path));
    };
    if !endpoint.takes(&call.method) {
        let body = json!({ "detail": "Method Not Allowed" });
        return Err(PolarAnswer::json(StatusCode::METHOD_NOT_ALLOWED, &body)
            .header(CACHE_CONTROL, "private, no-store")
            .header(ALLOW, endpoint.methods().join(", ").as_str()));
    }
    // Every endpoint checks a Bearer token before it checks the client's credentials.
    if call.bearer().is_some_and(|bearer| !is_live_access_token(&bearer, tokens)) {
        return Err(PolarAnswer::invalid_token());
    }
    Ok(endpoint)
}

fn elsewhere(path: &str) -> PolarAnswer {
    match path.strip_suffix('/') {
        Some(without) if Endpoint::at(without).is_some() => {
            PolarAnswer::empty(StatusCode::TEMPORARY_REDIRECT).header(LOCATION, without)
        }
        _ => PolarAnswer::json(StatusCode::NOT_FOUND, &json!({ "detail": "Not Found" })),
    }
}

fn is_live_access_token(bearer: &str, tokens: &Tokens) -> bool {
    tokens.find(bearer).is_some_and(|found| found.kind == Kind::Access && found.is_alive())
}

fn revoke(call: &Call, client: &Client, tokens: &Tokens) -> Result<Handled, PolarAnswer> {
    client.authenticate(call)?;
    let found = search(call, tokens)?;
    if found.is_some_and(|found| found.owner != Owner::App) {
        return Err(PolarAnswer::error(StatusCode::BAD_REQUEST, "invalid_grant"));
    }
    let answer = PolarAnswer::oauth(StatusCode::OK, &json!({}));
    let touches = found.map(|found| found.pair);
    Ok(Handled { answer, commit: touches.map(Commit::Revoke), touches })
}

/// Polar reports the state of the pair, whichever of its tokens is sent: a refresh token whose
/// access token has expired is reported as inactive, but still works.
fn introspect(call: &Call, client: &Client, tokens: &Tokens) -> Result<PolarAnswer, PolarAnswer> {
    client.authenticate(call)?;
    let found = search(call, tokens)?;
    let is_active =
        |found: &Found| !found.has_ended && !found.has_expired && found.owner == Owner::App;
    let body = match found.filter(is_active) {
        None => json!({ "active": false }),
        Some(found) => json!({
            "active": true,
            "client_id": client.id,
            "token_type": "Bearer",
            "scope": SCOPE,
            "sub": SUBJECT,
            "sub_type": "user",
            "organizations": [],
            "aud": client.id,
            "iss": "https://polar.sh",
            "iat": found.issued_at,
            "exp": found.expires_at,
        }),
    };
    Ok(PolarAnswer::oauth(StatusCode::OK, &body))
}

/// The token that a revoke or introspect call names. Polar uses the hint as a filter, so a wrong
/// hint finds nothing.
fn search(call: &Call, tokens: &Tokens) -> Result<Option<Found>, PolarAnswer> {
    let Some(token) = call.value("token") else {
        return Err(PolarAnswer::error(StatusCode::BAD_REQUEST, "invalid_request"));
    };
    let hint = match call.value("token_type_hint") {
        None | Some("") => None,
        Some("access_token") => Some(Kind::Access),
        Some("refresh_token") => Some(Kind::Refresh),
        Some(_) => {
            return Err(PolarAnswer::error(StatusCode::UNAUTHORIZED, "unsupported_token_type"));
        }
    };
    if !token.is_ascii() {
        return Err(PolarAnswer::crashed());
    }
    Ok(tokens.find(token).filter(|found| hint.is_none_or(|hint| hint == found.kind)))
}

fn token(
    call: &Call,
    client: &Client,
    tokens: &Tokens,
    codes: &Codes,
) -> Result<Handled, PolarAnswer> {
    client.authenticate_as_registered(call)?;
    match call.value("grant_type") {
        Some("authorization_code") => {
            let code = authorization::check(call, codes)?;
            Ok(issue(Grant::Code(code.to_owned())))
        }
        Some("refresh_token") => refresh(call, tokens),
        _ => Err(PolarAnswer::error(StatusCode::BAD_REQUEST, "unsupported_grant_type")),
    }
}

/// A refresh ends the old pair, including its access token.
fn refresh(call: &Call, tokens: &Tokens) -> Result<Handled, PolarAnswer> {
    let Some(token) = call.value("refresh_token") else {
        let description = "Missing 'refresh_token' in request.";
        let error = "invalid_request";
        return Err(PolarAnswer::described_error(StatusCode::BAD_REQUEST, error, description));
    };
    let is_own = |found: &Found| found.kind == Kind::Refresh && found.owner == Owner::App;
    let old = tokens.find(token).filter(is_own);
    let touches = old.map(|old| old.pair);
    let verdict = match old.filter(Found::is_alive) {
        Some(old) => issue(Grant::Refresh(old.pair)),
        None => PolarAnswer::error(StatusCode::BAD_REQUEST, "invalid_grant").into(),
    };
    Ok(Handled { touches, ..verdict })
}

fn issue(grant: Grant) -> Handled {
    let pair = TokenPair::issue();
    let body = json!({
        "token_type": "Bearer",
        "access_token": pair.access,
        "refresh_token": pair.refresh,
        "expires_in": grant.lifetime().as_secs(),
        "scope": SCOPE,
    });
    let answer = PolarAnswer::oauth(StatusCode::OK, &body);
    Handled { answer, commit: Some(Commit::Issue { pair, grant }), touches: None }
}

/// [`route`] has checked that a Bearer token is a live access token, but not that there is one.
fn userinfo(call: &Call) -> Result<PolarAnswer, PolarAnswer> {
    if call.bearer().is_none() {
        return Err(PolarAnswer::unauthorized());
    }
    let body = json!({ "sub": SUBJECT, "name": "A. User" });
    Ok(PolarAnswer::oauth(StatusCode::OK, &body))
}

impl From<PolarAnswer> for Handled {
    fn from(answer: PolarAnswer) -> Self {
        Self { answer, commit: None, touches: None }
    }
}
