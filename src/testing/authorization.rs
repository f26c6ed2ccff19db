//! Sign-in: the authorization code (RFC 6749, section 4.1) and its proof key (RFC 7636).

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::LOCATION;
use http::{StatusCode, Uri};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::answer::PolarAnswer;
use super::call::Call;
use super::client::Client;
use super::pair::issue;

/// How long a code can be exchanged after it was issued.
const LIFETIME: Duration = Duration::from_secs(600);

/// The codes that were issued and not yet exchanged.
#[derive(Default)]
pub(super) struct Codes(HashMap<String, Code>);

struct Code {
    redirect_uri: String,
    challenge: Option<Challenge>,
    issued: Instant,
}

/// The challenge that the code verifier must match.
enum Challenge {
    Plain(String),
    S256(String),
}

/// Signs in a user, who agrees at once, and redirects the browser to the app. If the client or the
/// redirect URI is invalid, the browser is not redirected (RFC 6749, section 4.1.2.1).
pub(super) fn authorize(
    call: &Call,
    client: &Client,
    codes: &mut Codes,
) -> Result<PolarAnswer, PolarAnswer> {
    let invalid =
        |what| PolarAnswer::described_error(StatusCode::BAD_REQUEST, "invalid_request", what);
    if call.parameter("client_id") != Some(&*client.id) {
        let description = "The client does not exist on this server.";
        return Err(PolarAnswer::described_error(
            StatusCode::BAD_REQUEST,
            "invalid_client",
            description,
        ));
    }
    let redirect_uri = call.parameter("redirect_uri").filter(|uri| is_redirect_uri(uri));
    let redirect_uri = redirect_uri.ok_or_else(|| invalid("Missing or bad \"redirect_uri\"."))?;
    let back = |name, value: &str| {
        let state = call.parameter("state").map(|state| ("state", state));
        PolarAnswer::empty(StatusCode::FOUND)
            .header(LOCATION, &with_query(redirect_uri, [(name, value)].into_iter().chain(state)))
    };
    if call.parameter("response_type") != Some("code") {
        return Err(back("error", "unsupported_response_type"));
    }
    let challenge = challenge(call).map_err(|()| back("error", "invalid_request"))?;
    Ok(back("code", &codes.issue(redirect_uri, challenge)))
}

/// Returns the code if this call may exchange it.
pub(super) fn check<'a>(call: &'a Call, codes: &Codes) -> Result<&'a str, PolarAnswer> {
    let refused = |error, what| PolarAnswer::described_error(StatusCode::BAD_REQUEST, error, what);
    let text = call
        .value("code")
        .ok_or_else(|| refused("invalid_request", "Missing \"code\" in request."))?;
    let code = codes.0.get(text).filter(|code| code.issued.elapsed() < LIFETIME);
    let code = code.ok_or_else(|| refused("invalid_grant", "Invalid \"code\" in request."))?;
    if call.value("redirect_uri") != Some(&*code.redirect_uri) {
        return Err(refused("invalid_grant", "Invalid \"redirect_uri\" in request."));
    }
    if let Some(challenge) = &code.challenge {
        let verifier = call
            .value("code_verifier")
            .ok_or_else(|| refused("invalid_request", "Missing \"code_verifier\""))?;
        if !challenge.is_met_by(verifier) {
            return Err(refused("invalid_grant", "Code challenge failed."));
        }
    }
    Ok(text)
}

impl Codes {
    fn issue(&mut self, redirect_uri: &str, challenge: Option<Challenge>) -> String {
        self.0.retain(|_, code| code.issued.elapsed() < LIFETIME);
        let text = issue("polar_ac_");
        let redirect_uri = redirect_uri.to_owned();
        self.0.insert(text.clone(), Code { redirect_uri, challenge, issued: Instant::now() });
        text
    }

    pub(super) fn use_up(&mut self, code: &str) {
        self.0.remove(code);
    }
}

impl Challenge {
    fn is_met_by(&self, verifier: &str) -> bool {
        let hashed;
        let (challenge, met) = match self {
            Self::Plain(challenge) => (challenge, verifier),
            Self::S256(challenge) => {
                hashed = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
                (challenge, &*hashed)
            }
        };
        challenge.as_bytes().ct_eq(met.as_bytes()).into()
    }
}

/// Returns an error if the method is not one of RFC 7636's.
fn challenge(call: &Call) -> Result<Option<Challenge>, ()> {
    let Some(challenge) = call.parameter("code_challenge") else { return Ok(None) };
    match call.parameter("code_challenge_method") {
        None | Some("plain") => Ok(Some(Challenge::Plain(challenge.to_owned()))),
        Some("S256") => Ok(Some(Challenge::S256(challenge.to_owned()))),
        Some(_) => Err(()),
    }
}

/// Whether the URI is absolute and has no fragment (RFC 6749, section 3.1.2).
fn is_redirect_uri(uri: &str) -> bool {
    !uri.contains('#')
        && uri.parse().is_ok_and(|uri: Uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        })
}

fn with_query<'a>(uri: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let separator = if uri.contains('?') { '&' } else { '?' };
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{uri}{separator}{query}")
}
