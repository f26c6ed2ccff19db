//! "Sign in with Polar": the authorization code flow with state and PKCE (RFC 6749, section 4.1;
//! RFC 7636; RFC 9700, section 2.1).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::Cookie;
use moka::sync::Cache;
use oauth2::basic::{BasicClient, BasicErrorResponse, BasicTokenResponse};
use oauth2::url::ParseError;
use oauth2::{
    AuthType, AuthorizationCode, CsrfToken, EndpointNotSet, EndpointSet, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope, TokenResponse,
};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tracing::warn;

use crate::app::App;
use crate::cookies;
use crate::http_client::NoAnswer;
use crate::page;
use crate::polar::Polar;

pub(crate) const LOGIN: &str = "/login";
pub(crate) const LOGIN_ASKING: &str = "/login?prompt=login";
pub(crate) const CALLBACK: &str = "/callback";

/// How long a sign-in may take, and how many may be pending at once. The limit protects the memory
/// from endless calls to `/login`.
const TIME_TO_SIGN_IN: Duration = Duration::from_secs(600);
const AT_ONCE: u64 = 10_000;

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

pub(crate) struct SignIn {
    client: Client,
    /// Pending sign-ins, by the id in the browser's cookie. A sign-in is removed when it is used,
    /// so that it cannot be used twice.
    begun: Cache<String, Arc<Begun>>,
}

/// A pending sign-in: the state that must come back, and the code verifier for Polar.
struct Begun {
    state: CsrfToken,
    verifier: String,
}

impl SignIn {
    pub(crate) fn new(polar: &Polar, public_url: &str) -> Result<Self, ParseError> {
        let client = BasicClient::new(polar.client_id())
            .set_client_secret(polar.client_secret())
            // The method that Polar documents.
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(polar.authorize_url())
            .set_token_uri(polar.token_url()?)
            .set_redirect_uri(RedirectUrl::new(format!("{public_url}{CALLBACK}"))?);
        let begun = Cache::builder().max_capacity(AT_ONCE).time_to_live(TIME_TO_SIGN_IN).build();
        Ok(Self { client, begun })
    }
}

/// The query of `/login`.
#[derive(Deserialize)]
pub(crate) struct Wish {
    prompt: Option<String>,
}

/// Redirects the browser to Polar. Without `prompt=login`, Polar shows no page to a user that has
/// agreed before.
pub(crate) async fn begin(
    State(app): State<Arc<App>>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let SignIn { client, begun } = &app.sign_in;
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let request = client
        .authorize_url(CsrfToken::new_random)
        .add_scope(Scope::new("openid".to_owned()))
        .set_pkce_challenge(challenge);
    let asks_again = wish.is_ok_and(|Query(wish)| wish.prompt.as_deref() == Some("login"));
    let request = if asks_again { request.add_extra_param("prompt", "login") } else { request };
    let (url, state) = request.url();
    let id = CsrfToken::new_random().into_secret();
    begun.insert(id.clone(), Arc::new(Begun { state, verifier: verifier.into_secret() }));
    let cookie = app.cookies.set_for(cookies::SIGN_IN, id, TIME_TO_SIGN_IN);
    let jar = CookieJar::new().add(cookie);
    (jar, [(CACHE_CONTROL, "no-store")], Redirect::to(url.as_str())).into_response()
}

/// The query with which Polar redirects the browser back.
#[derive(Deserialize)]
pub(crate) struct Callback {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Completes the sign-in when the browser comes back. Whatever the result, it is then no longer
/// pending.
pub(crate) async fn finish(
    State(app): State<Arc<App>>,
    jar: CookieJar,
    callback: Result<Query<Callback>, QueryRejection>,
) -> Response {
    let no_more = CookieJar::new().add(app.cookies.remove(cookies::SIGN_IN));
    match exchange(&app, &jar, callback.ok().map(|Query(callback)| callback)).await {
        Ok(tokens) => {
            let signed_in = sign_in(&app, &jar, &tokens).into_iter().fold(no_more, CookieJar::add);
            (signed_in, [(CACHE_CONTROL, "no-store")], Redirect::to("/")).into_response()
        }
        Err(failure) => {
            (failure.status(), no_more, page::sign_in_failed(&app, &failure)).into_response()
        }
    }
}

async fn exchange(
    app: &App,
    jar: &CookieJar,
    callback: Option<Callback>,
) -> Result<BasicTokenResponse, Failure> {
    let SignIn { client, begun } = &app.sign_in;
    let begun = cookies::value(jar, cookies::SIGN_IN).and_then(|id| begun.remove(id));
    let begun = begun.ok_or(Failure::NotBegun)?;
    let callback = callback.ok_or(Failure::WrongState)?;
    // Checked first: without the right state, nothing else in the callback can be trusted.
    let state = callback.state.map(CsrfToken::new).ok_or(Failure::WrongState)?;
    let is_ours = state.secret().as_bytes().ct_eq(begun.state.secret().as_bytes());
    if !bool::from(is_ours) {
        return Err(Failure::WrongState);
    }
    if let Some(error) = callback.error {
        return Err(Failure::Refused { error, description: callback.error_description });
    }
    let code = callback.code.filter(|code| !code.is_empty()).ok_or(Failure::NoCode)?;
    let tokens = client
        .exchange_code(AuthorizationCode::new(code))
        .set_pkce_verifier(PkceCodeVerifier::new(begun.verifier.clone()))
        .request_async(&|request| app.http.clone().send(request))
        .await
        .map_err(|error| not_exchanged(&error))?;
    let refresh = tokens.refresh_token().map(RefreshToken::secret);
    if is_no_token(tokens.access_token().secret()) || refresh.is_some_and(|text| is_no_token(text))
    {
        return Err(Failure::NotExchanged("its answer contains no valid token".to_owned()));
    }
    Ok(tokens)
}

fn sign_in(app: &App, jar: &CookieJar, tokens: &BasicTokenResponse) -> Vec<Cookie<'static>> {
    let access = tokens.access_token().secret();
    let browser = app.browsers.signed_in(cookies::value(jar, cookies::BROWSER), access);
    let refresh = match tokens.refresh_token() {
        Some(token) => app.cookies.set(cookies::REFRESH_TOKEN, token.secret().clone()),
        // A refresh token of an earlier sign-in belongs to another pair.
        None => app.cookies.remove(cookies::REFRESH_TOKEN),
    };
    vec![
        app.cookies.set(cookies::ACCESS_TOKEN, access.clone()),
        refresh,
        app.cookies.set(cookies::BROWSER, browser),
    ]
}

/// Whether this is not a `b64token` (RFC 6750, section 2.1). Other text could end the cookie that
/// holds it.
fn is_no_token(token: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    token.is_empty() || !token.bytes().all(allowed)
}

fn not_exchanged(error: &RequestTokenError<NoAnswer, BasicErrorResponse>) -> Failure {
    let why = match error {
        RequestTokenError::ServerResponse(answer) => answer.to_string(),
        RequestTokenError::Request(error) => error.to_string(),
        // The answer is not shown, because it may contain a token even if it cannot be read.
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            "its answer cannot be read".to_owned()
        }
    };
    warn!(why, "an authorization code was not exchanged for tokens");
    Failure::NotExchanged(why)
}

/// Why a sign-in failed.
pub(crate) enum Failure {
    /// No sign-in is pending in this browser.
    NotBegun,
    /// The callback belongs to another sign-in.
    WrongState,
    NoCode,
    /// Polar redirected the browser back with an error (RFC 6749, section 4.1.2.1).
    Refused {
        error: String,
        description: Option<String>,
    },
    NotExchanged(String),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotBegun | Self::WrongState | Self::NoCode => StatusCode::BAD_REQUEST,
            Self::Refused { error, .. } if error == "access_denied" => StatusCode::FORBIDDEN,
            Self::Refused { .. } | Self::NotExchanged(_) => StatusCode::BAD_GATEWAY,
        }
    }

    pub(crate) fn explanation(&self, public_url: &str) -> String {
        match self {
            Self::NotBegun => format!(
                "No sign-in is pending in this browser. It was already completed, took longer \
                 than ten minutes, or began at another address than {public_url}/."
            ),
            Self::WrongState => {
                "The answer does not belong to the sign-in that began in this browser.".into()
            }
            Self::NoCode => "Polar sent you back without an authorization code.".into(),
            Self::Refused { error, .. } if error == "access_denied" => {
                "You declined, or Polar did not let you in.".into()
            }
            Self::Refused { error, description: Some(description) } => {
                format!("Polar refused: {error} ({description})")
            }
            Self::Refused { error, description: None } => format!("Polar refused: {error}"),
            Self::NotExchanged(why) => {
                format!("Polar did not give tokens for the authorization code: {why}")
            }
        }
    }
}
