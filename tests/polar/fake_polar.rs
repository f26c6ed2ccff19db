//! `FakePolar` answers as Polar does, fails as a test tells it to, and survives hostile input.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};
use tower_polar_logout::client::ClientAuthMethod;
use tower_polar_logout::testing::{FakePolar, Fault, Seen, TokenPair};

const HOUR: Duration = Duration::from_secs(3600);

const VECTORS: &str = include_str!("revoke-vectors.json");

const AUTHORIZE: &str = "/oauth2/authorize";
const REVOKE: &str = "/v1/oauth2/revoke";
const INTROSPECT: &str = "/v1/oauth2/introspect";
const TOKEN: &str = "/v1/oauth2/token";
const USERINFO: &str = "/v1/oauth2/userinfo";
const FORM: &str = "application/x-www-form-urlencoded";

// The recorded answers of Polar.

#[tokio::test]
async fn server_answers_every_request_as_polar_did() {
    let polar = FakePolar::start().await.unwrap();
    let recorded: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = recorded["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 47);

    let mut different = Vec::new();
    for vector in vectors {
        let differences = replay(&polar, vector).await;
        if !differences.is_empty() {
            different.push(format!("{}:\n    {}", vector["case"], differences.join("\n    ")));
        }
    }
    println!("{} of 47 vectors answered as recorded", 47 - different.len());
    assert!(different.is_empty(), "answered differently:\n{}", different.join("\n"));
}

/// Sends the request of a vector, and lists how the answer differs from the recorded one.
async fn replay(polar: &FakePolar, vector: &Value) -> Vec<String> {
    let minted = Minted::new(polar).await;
    let text = |value: &Value| minted.fill(polar, value.as_str().unwrap());

    let mut request = Request::new(
        vector["method"].as_str().unwrap_or("POST"),
        vector["path"].as_str().unwrap_or(REVOKE),
    );
    let query = pairs(&vector["query"], text);
    if !query.is_empty() {
        request.target = format!("{}?{}", request.target, encode(&query));
    }
    if let Some(basic) = vector["basic"].as_array() {
        request = request.basic(&text(&basic[0]), &text(&basic[1]));
    }
    if !vector["authorization"].is_null() {
        request = request.header("authorization", &text(&vector["authorization"]));
    }
    request.chunked = vector["chunked"] == true;
    let content_type = match vector.get("content_type") {
        None => Some(FORM),
        Some(value) => value.as_str(),
    };
    let form = pairs(&vector["form"], text);
    if request.method != "GET" {
        request.body = Some(match content_type {
            Some("application/json") => Value::from_iter(form).to_string(),
            _ => encode(&form),
        });
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
    }

    let reply = request.send(polar.address()).await.unwrap();
    let mut differences = compare(&reply, &vector["expect"]);
    if let Some(expected) = vector.get("pair_afterwards") {
        let word = |alive| if alive { "alive" } else { "dead" };
        let (access, refresh) = match vector["form"]["token"].as_str() {
            Some(token) if token.contains("$OTHER_CLIENTS") => {
                let TokenPair { access, refresh, .. } = &minted.another_clients;
                (polar.is_alive(access), polar.is_alive(refresh))
            }
            Some(token) if token.contains("$EXPIRED") => works(polar, &minted.expired).await,
            _ => works(polar, &minted.pair).await,
        };
        let seen = json!({ "access": word(access), "refresh": word(refresh) });
        if seen != *expected {
            differences.push(format!("pair afterwards: {seen}, recorded {expected}"));
        }
    }
    differences
}

fn compare(reply: &Reply, expect: &Value) -> Vec<String> {
    let mut seen = vec![("status", json!(reply.status))];
    for name in ["cache_control", "www_authenticate", "allow", "location"] {
        seen.push((name, json!(reply.header(&name.replace('_', "-")))));
    }
    if expect.get("body").is_some() {
        seen.push(("body", reply.json()));
    }
    if expect.get("text").is_some() {
        seen.push(("text", json!(reply.body)));
    }
    // A header that was not recorded was absent: null on both sides.
    seen.iter()
        .filter(|(name, value)| expect[name] != *value)
        .map(|(name, value)| format!("{name}: {value}, recorded {}", expect[name]))
        .collect()
}

/// Whether the access and the refresh token work. Uses both, and so uses up the refresh token.
async fn works(polar: &FakePolar, pair: &TokenPair) -> (bool, bool) {
    committed(polar).await;
    let alive = (polar.is_alive(&pair.access), polar.is_alive(&pair.refresh));
    let access = userinfo(polar, &pair.access).await.status == 200;
    let refresh = refresh(polar, &pair.refresh).await.status == 200;
    assert_eq!((access, refresh), alive);
    alive
}

/// The values that the vectors' `$NAMES` stand for.
struct Minted {
    pair: TokenPair,
    expired: TokenPair,
    access_only: String,
    another_clients: TokenPair,
    revoked: String,
}

impl Minted {
    async fn new(polar: &FakePolar) -> Self {
        let revoked = polar.mint().access;
        assert_eq!(revoke(polar, &revoked).await.unwrap().status, 200);
        committed(polar).await;
        Self {
            pair: polar.mint(),
            expired: polar.mint_expired(),
            access_only: polar.mint_access_only(),
            another_clients: polar.mint_for_another_client(),
            revoked,
        }
    }

    fn fill(&self, polar: &FakePolar, text: &str) -> String {
        if let Some(length) = text.strip_prefix("x*") {
            return "x".repeat(length.parse().unwrap());
        }
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        // Longer names are replaced before their own prefixes.
        let filled = text
            .replace("$CLIENT_ID_PERCENT_ENCODED", &encoded(polar.client_id()))
            .replace("$CLIENT_SECRET_PERCENT_ENCODED", &encoded(polar.client_secret()))
            .replace("$CLIENT_ID", polar.client_id())
            .replace("$CLIENT_SECRET", polar.client_secret())
            .replace("$OTHER_CLIENTS_ACCESS", &self.another_clients.access)
            .replace("$OTHER_CLIENTS_REFRESH", &self.another_clients.refresh)
            .replace("$EXPIRED_ACCESS", &self.expired.access)
            .replace("$REVOKED_ACCESS", &self.revoked)
            .replace("$ACCESS_ONLY", &self.access_only)
            .replace("$ACCESS", &self.pair.access)
            .replace("$REFRESH", &self.pair.refresh);
        assert!(!filled.contains('$'), "a name unknown to this test: {filled}");
        filled
    }
}

/// A form is an object, or a list of pairs if a name occurs twice.
fn pairs(form: &Value, text: impl Fn(&Value) -> String) -> Vec<(String, String)> {
    match form {
        Value::Array(list) => {
            list.iter().map(|pair| (pair[0].as_str().unwrap().to_owned(), text(&pair[1]))).collect()
        }
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        _ => Vec::new(),
    }
}

// Tokens.

#[tokio::test]
async fn tokens_and_credentials_have_polars_shape_and_checksum() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of CRC-32");
    let polar = FakePolar::start().await.unwrap();
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let TokenPair { access, refresh, .. } = polar.mint();
        for (token, prefix) in [(access, "polar_at_u_"), (refresh, "polar_rt_u_")] {
            assert_eq!(token.len(), 54);
            assert_shape(&token, prefix);
            assert!(seen.insert(token));
        }
    }
    assert_shape(&polar.mint_access_only(), "polar_at_u_");
    assert_shape(polar.client_id(), "polar_ci_");
    assert_shape(polar.client_secret(), "polar_cs_");
    assert_eq!((polar.client_id().len(), polar.client_secret().len()), (52, 52));
    assert_ne!(polar.client_id(), FakePolar::start().await.unwrap().client_id());
}

fn assert_shape(token: &str, prefix: &str) {
    let rest = token.strip_prefix(prefix).unwrap();
    assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let (random, checksum) = rest.split_at(37);
    let value = checksum.bytes().fold(0, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            _ => byte - b'a' + 36,
        };
        value * 62 + u64::from(digit)
    });
    assert_eq!(value, u64::from(crc32(random.as_bytes())));
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[tokio::test]
async fn refresh_ends_the_old_pair_and_no_other() {
    let polar = FakePolar::start().await.unwrap();
    let (old, bystander) = (polar.mint(), polar.mint());

    let reply = refresh(&polar, &old.refresh).await.json();
    let new = reply["access_token"].as_str().unwrap();
    assert_eq!(reply["expires_in"], 3600);
    assert!(!polar.is_alive(&old.access) && !polar.is_alive(&old.refresh));
    assert!(polar.is_alive(new) && polar.is_alive(reply["refresh_token"].as_str().unwrap()));
    assert_eq!(works(&polar, &bystander).await, (true, true));

    committed(&polar).await;
    let again = refresh(&polar, &old.refresh).await;
    assert_eq!((again.status, again.json()), (400, json!({ "error": "invalid_grant" })));

    // Revoking the used-up refresh token leaves the new pair alive.
    assert_eq!(revoke(&polar, &old.refresh).await.unwrap().status, 200);
    committed(&polar).await;
    assert!(polar.is_alive(new));
    assert_eq!(polar.seen().revoked, 0);
}

#[tokio::test]
async fn revocation_leaves_other_pairs_alive() {
    let polar = FakePolar::start().await.unwrap();
    let (gone, stays) = (polar.mint(), polar.mint());
    assert_eq!(revoke(&polar, &gone.refresh).await.unwrap().status, 200);
    assert_eq!(works(&polar, &gone).await, (false, false));
    assert_eq!(works(&polar, &stays).await, (true, true));
}

#[tokio::test(start_paused = true)]
async fn access_token_expires_and_refresh_token_does_not() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    let refreshed = refresh(&polar, &polar.mint().refresh).await.json();
    let refreshed = refreshed["access_token"].as_str().unwrap();

    time::advance(Duration::from_secs(3_599)).await;
    assert!(polar.is_alive(refreshed));
    time::advance(Duration::from_secs(1)).await;
    assert!(!polar.is_alive(refreshed) && polar.is_alive(&pair.access));
    time::advance(Duration::from_secs(864_000)).await;
    assert!(!polar.is_alive(&pair.access) && polar.is_alive(&pair.refresh));
}

/// Both tokens of a live pair are active, with every field that Polar returns. Tokens that are
/// dead, unknown or of another client are inactive.
#[tokio::test]
async fn introspection_distinguishes_live_from_dead_tokens() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();

    let live = introspect(&polar, &pair.access).await.json();
    let (iat, exp) = (live["iat"].as_u64().unwrap(), live["exp"].as_u64().unwrap());
    assert!(iat.abs_diff(now) <= 5 && exp == iat + 864_000);
    let expected = json!({
        "active": true,
        "client_id": polar.client_id(),
        "token_type": "Bearer",
        "scope": "openid",
        "sub": "00000000-0000-4000-8000-000000000000",
        "sub_type": "user",
        "organizations": [],
        "aud": polar.client_id(),
        "iss": "https://polar.sh",
        "iat": iat,
        "exp": exp,
    });
    assert_eq!(live, expected);
    assert_eq!(introspect(&polar, &pair.refresh).await.json(), expected);

    revoke(&polar, &pair.access).await.unwrap();
    committed(&polar).await;
    let dead = json!({ "active": false });
    assert_eq!(introspect(&polar, &pair.access).await.json(), dead);
    assert_eq!(introspect(&polar, &polar.mint_expired().access).await.json(), dead);
    assert_eq!(introspect(&polar, &polar.mint_for_another_client().access).await.json(), dead);
    assert_eq!(introspect(&polar, "garbage").await.json(), dead);
    assert_eq!(polar.seen().introspections, 6);
}

/// `active` is about the pair: it ends with the access token, although the refresh token still
/// works.
#[tokio::test]
async fn refresh_token_is_inactive_when_access_token_expired() {
    let polar = FakePolar::start().await.unwrap();
    let expired = polar.mint_expired();
    for token in [&expired.access, &expired.refresh] {
        assert_eq!(introspect(&polar, token).await.json(), json!({ "active": false }));
    }
    assert!(polar.is_alive(&expired.refresh));
    assert_eq!(refresh(&polar, &expired.refresh).await.status, 200);
}

/// `GET` and `POST` are answered alike. The challenge names an error only if the call has a bearer
/// token.
#[tokio::test]
async fn userinfo_accepts_only_a_live_access_token() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    assert_eq!(userinfo(&polar, &pair.access).await.status, 200);
    for token in [&pair.refresh, &polar.mint_expired().access, "garbage"] {
        let reply = userinfo(&polar, token).await;
        assert_eq!(reply.status, 401);
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer realm=\"polar\", error=\"invalid_token\""));
    }
    let bearer = format!("Bearer {}", pair.access);
    for (method, body) in [("GET", None), ("POST", Some(String::new()))] {
        let request = Request { body, ..Request::new(method, USERINFO) };
        let without = request.send(polar.address()).await.unwrap();
        assert_eq!(without.status, 401);
        assert_eq!(without.header("www-authenticate"), Some("Bearer realm=\"polar\""));
        let body = json!({ "error": "Unauthorized", "detail": "Unauthorized" });
        assert_eq!(without.json(), body);
        let with = request.header("authorization", &bearer).send(polar.address()).await.unwrap();
        assert_eq!(with.status, 200);
    }
    let other = Request::new("DELETE", USERINFO).send(polar.address()).await.unwrap();
    assert_eq!((other.status, other.header("allow")), (405, Some("GET, POST")));
    assert_eq!(polar.seen().userinfo, 8);
}

/// The answer names the missing field.
#[tokio::test]
async fn refresh_is_refused_without_a_refresh_token() {
    let polar = FakePolar::start().await.unwrap();
    let refused = token_request(&polar, &[("grant_type", "refresh_token")]);
    let refused = refused.send(polar.address()).await.unwrap();
    let description = "Missing 'refresh_token' in request.";
    let body = json!({ "error": "invalid_request", "error_description": description });
    assert_eq!((refused.status, refused.json()), (400, body));
}

/// A client is registered for one method. The token endpoint refuses the other one, even with the
/// right credentials. Revocation and introspection accept both.
#[tokio::test]
async fn token_endpoint_takes_only_the_registered_method() {
    let polar = FakePolar::start().await.unwrap();
    let by_basic = |target, form: &[(&str, &str)]| {
        let request = Request::new("POST", target).form(form);
        request.basic(polar.client_id(), polar.client_secret())
    };
    for (method, form_is_right) in
        [(ClientAuthMethod::ClientSecretBasic, false), (ClientAuthMethod::ClientSecretPost, true)]
    {
        polar.register_for(method);
        for by_form in [false, true] {
            let pair = polar.mint();
            let form = [("grant_type", "refresh_token"), ("refresh_token", &*pair.refresh)];
            let request =
                if by_form { token_request(&polar, &form) } else { by_basic(TOKEN, &form) };
            let reply = request.send(polar.address()).await.unwrap();
            assert_eq!(reply.status, if by_form == form_is_right { 200 } else { 401 });
            if reply.status == 401 {
                assert_eq!(reply.json()["error"], "invalid_client");
                assert!(reply.header("www-authenticate").unwrap().starts_with("Basic error="));
                assert!(polar.is_alive(&pair.refresh));
            }
            for target in [INTROSPECT, REVOKE] {
                let request = Request {
                    target: target.to_owned(),
                    ..if by_form {
                        revoke_request(&polar, &pair.access)
                    } else {
                        by_basic(target, &[("token", &pair.access)])
                    }
                };
                assert_eq!(request.send(polar.address()).await.unwrap().status, 200);
            }
            assert!(!polar.is_alive(&pair.access));
        }
    }
}

// Signing in.

/// It works only once.
#[tokio::test]
async fn code_exchange_needs_its_verifier_and_redirect_uri() {
    let polar = FakePolar::start().await.unwrap();
    // RFC 7636, appendix B.
    let verifier = ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let proof = [("code_challenge", challenge), ("code_challenge_method", "S256")];
    let answer = authorize(&polar, "https://app.example/cb?a=b", &proof).await;
    assert_eq!(answer.status, 302);
    let (code, rest) = code_in(&answer, "https://app.example/cb?a=b&code=");
    assert_eq!(rest, "state=a+%26+b");
    assert_shape(&code, "polar_ac_");

    let redirect_uri = ("redirect_uri", "https://app.example/cb?a=b");
    for (wrong, error) in [
        (vec![redirect_uri], "invalid_request"),
        (vec![redirect_uri, ("code_verifier", challenge)], "invalid_grant"),
        (vec![verifier], "invalid_grant"),
        (vec![verifier, ("redirect_uri", "https://app.example/cb")], "invalid_grant"),
    ] {
        let refused = exchange_code(&polar, &code, &wrong).await;
        assert_eq!((refused.status, &refused.json()["error"]), (400, &json!(error)), "{wrong:?}");
    }
    let granted = exchange_code(&polar, &code, &[redirect_uri, verifier]).await.json();
    assert_eq!(granted["expires_in"], 864_000);
    for token in ["access_token", "refresh_token"] {
        assert!(polar.is_alive(granted[token].as_str().unwrap()));
    }
    let again = exchange_code(&polar, &code, &[redirect_uri, verifier]).await;
    assert_eq!((again.status, &again.json()["error"]), (400, &json!("invalid_grant")));
}

/// It needs no verifier.
#[tokio::test(start_paused = true)]
async fn code_without_a_challenge_lasts_ten_minutes() {
    let polar = FakePolar::start().await.unwrap();
    let redirect_uri = ("redirect_uri", "http://127.0.0.1/cb");
    for (seconds, status) in [(599, 200), (600, 400)] {
        let answer = authorize(&polar, redirect_uri.1, &[]).await;
        let (code, _) = code_in(&answer, "http://127.0.0.1/cb?code=");
        time::advance(Duration::from_secs(seconds)).await;
        assert_eq!(exchange_code(&polar, &code, &[redirect_uri]).await.status, status);
    }
}

/// Without the right client and a usable redirect URI the answer is 400. Other errors go back to
/// the app.
#[tokio::test]
async fn invalid_authorization_request_is_refused_or_redirected() {
    let polar = FakePolar::start().await.unwrap();
    for redirect_uri in ["", "/cb", "ftp://app.example/", "https://app.example/#part"] {
        assert_eq!(authorize(&polar, redirect_uri, &[]).await.status, 400, "{redirect_uri}");
    }
    let cb = "https://app.example/cb";
    assert_eq!(authorize(&polar, cb, &[("client_id", "polar_ci_foreign")]).await.status, 400);
    for (wrong, error) in [
        ([("response_type", "token"), ("a", "b")], "unsupported_response_type"),
        ([("code_challenge", "x"), ("code_challenge_method", "S512")], "invalid_request"),
    ] {
        let answer = authorize(&polar, cb, &wrong).await;
        let expected = format!("{cb}?error={error}&state=a+%26+b");
        assert_eq!((answer.status, answer.header("location")), (302, Some(&*expected)));
    }
}

/// Sends a browser's request. If a parameter is given twice, the last one counts.
async fn authorize(polar: &FakePolar, redirect_uri: &str, more: &[(&str, &str)]) -> Reply {
    let mut query = vec![
        ("response_type", "code"),
        ("client_id", polar.client_id()),
        ("redirect_uri", redirect_uri),
        ("state", "a & b"),
    ];
    query.extend(more);
    let target = format!("{AUTHORIZE}?{}", encode(&query));
    Request::new("GET", &target).send(polar.address()).await.unwrap()
}

/// The code that follows `before`, and what follows the code.
fn code_in(answer: &Reply, before: &str) -> (String, String) {
    let rest = answer.header("location").unwrap().strip_prefix(before).unwrap();
    let (code, rest) = rest.split_once('&').unwrap();
    (code.to_owned(), rest.to_owned())
}

async fn exchange_code(polar: &FakePolar, code: &str, more: &[(&str, &str)]) -> Reply {
    let mut form = vec![("grant_type", "authorization_code"), ("code", code)];
    form.extend(more);
    token_request(polar, &form).send(polar.address()).await.unwrap()
}

// Faults.

#[tokio::test(start_paused = true)]
async fn delay_comes_before_everything_else() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    polar.behave(Fault::Delay(Duration::from_secs(60)));

    let start = Instant::now();
    let call = revoke(&polar, &pair.access);
    let watch = async {
        polar.until(|seen| seen.in_flight == 1).await;
        time::sleep(Duration::from_secs(59)).await;
        assert!(polar.is_alive(&pair.access));
    };
    let (reply, ()) = tokio::join!(call, watch);
    assert_eq!(reply.unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_secs(60));
    assert!(!polar.is_alive(&pair.access));
}

#[tokio::test]
async fn status_fault_has_no_body_and_revokes_nothing() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    let status = StatusCode::TOO_MANY_REQUESTS;
    polar.behave(Fault::Status { status, retry_after: Some("900".to_owned()) });
    let reply = revoke(&polar, &pair.access).await.unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("900")));
    assert_eq!(reply.body, "");
    assert!(polar.is_alive(&pair.access));

    for retry_after in [None, Some("no\nheader".to_owned())] {
        polar.behave(Fault::Status { status, retry_after });
        let reply = revoke(&polar, &pair.access).await.unwrap();
        assert_eq!((reply.status, reply.header("retry-after")), (429, None));
    }
    assert_eq!((polar.seen().revoke_calls, polar.seen().answered), (3, 0));
}

#[tokio::test]
async fn answer_fault_can_have_any_status_and_body() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    let body = json!({ "error": "temporarily_unavailable" });
    polar.behave(Fault::Answer { status: StatusCode::BAD_GATEWAY, body: body.to_string() });
    let reply = revoke(&polar, &pair.access).await.unwrap();
    assert_eq!((reply.status, reply.json()), (502, body.clone()));

    // The server survives even a status that HTTP does not allow here.
    for status in [100, 101, 204, 304, 999] {
        let status = StatusCode::from_u16(status).unwrap();
        polar.behave(Fault::Answer { status, body: body.to_string() });
        revoke_request(&polar, &pair.access).send(polar.address()).await;
    }
    assert!(polar.is_alive(&pair.access));
}

#[tokio::test]
async fn dropped_call_is_not_answered() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();

    polar.behave(Fault::Drop);
    assert!(revoke(&polar, &pair.access).await.is_none());
    assert!(polar.is_alive(&pair.access));

    polar.behave(Fault::DropAfterRevoking);
    assert!(revoke(&polar, &pair.access).await.is_none());
    assert!(!polar.is_alive(&pair.access));

    let seen = committed(&polar).await;
    assert_eq!((seen.revoke_calls, seen.answered, seen.revoked), (2, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn frozen_call_is_served_after_recover() {
    let polar = FakePolar::start().await.unwrap();
    let pairs = [polar.mint(), polar.mint(), polar.mint()];
    polar.behave(Fault::Freeze);

    let calls = async {
        tokio::join!(
            revoke(&polar, &pairs[0].access),
            revoke(&polar, &pairs[1].access),
            revoke(&polar, &pairs[2].access),
        )
    };
    let thaw = async {
        polar.until(|seen| seen.in_flight == 3).await;
        time::sleep(HOUR).await;
        assert!(pairs.iter().all(|pair| polar.is_alive(&pair.access)));
        // Another fault does not end the freeze.
        polar.behave(Fault::Drop);
        time::sleep(HOUR).await;
        assert_eq!(polar.seen().in_flight, 3);
        polar.recover();
    };
    let ((a, b, c), ()) = tokio::join!(calls, thaw);
    assert!([a, b, c].into_iter().all(|reply| reply.unwrap().status == 200));
    assert!(!pairs.iter().any(|pair| polar.is_alive(&pair.access)));

    let seen = committed(&polar).await;
    assert_eq!((seen.in_flight, seen.most_in_flight), (0, 3));
    assert_eq!((seen.answered, seen.revoked), (3, 3));
}

/// Polar answers a revoke call with 200 and commits later. Until then every call sees the old
/// state, and a refresh makes a pair that outlives the logout.
#[tokio::test(start_paused = true)]
async fn revoke_commits_after_its_answer() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    let start = Instant::now();
    assert_eq!(revoke(&polar, &pair.access).await.unwrap().status, 200);
    assert!(!polar.is_alive(&pair.access) && !polar.is_alive(&pair.refresh), "the final state");
    assert_eq!((polar.seen().answered, polar.seen().revoked, polar.seen().uncommitted), (1, 0, 1));

    assert_eq!(userinfo(&polar, &pair.access).await.status, 200);
    assert_eq!(introspect(&polar, &pair.access).await.json()["active"], true);
    let new = issued(&polar, &refresh(&polar, &pair.refresh).await);
    polar.revoked(1).await;
    assert!(start.elapsed() >= Duration::from_millis(25));
    assert_eq!(userinfo(&polar, &pair.access).await.status, 401);
    assert_eq!(works(&polar, &new).await, (true, true));
}

/// The token endpoint also commits after its answer. Until then the old pair works, and a revoke
/// call for the new pair finds nothing.
#[tokio::test(start_paused = true)]
async fn refresh_commits_after_its_answer() {
    let polar = FakePolar::start().await.unwrap();
    let old = polar.mint();
    let new = issued(&polar, &refresh(&polar, &old.refresh).await);
    assert!(polar.is_alive(&new.access) && !polar.is_alive(&old.refresh), "the final state");

    assert_eq!(userinfo(&polar, &old.access).await.status, 200);
    assert_eq!(userinfo(&polar, &new.access).await.status, 401);
    assert_eq!(introspect(&polar, &new.access).await.json(), json!({ "active": false }));
    assert_eq!(refresh(&polar, &new.refresh).await.status, 400);
    assert_eq!(revoke(&polar, &new.access).await.unwrap().status, 200);

    assert_eq!(committed(&polar).await.revoked, 0);
    assert_eq!(works(&polar, &new).await, (true, true));
    assert_eq!(works(&polar, &old).await, (false, false));
}

/// The pair of a code exists once it is committed. The code is used up at once.
#[tokio::test(start_paused = true)]
async fn code_exchange_commits_after_its_answer() {
    let polar = FakePolar::start().await.unwrap();
    let redirect_uri = ("redirect_uri", "http://127.0.0.1/cb");
    let answer = authorize(&polar, redirect_uri.1, &[]).await;
    let (code, _) = code_in(&answer, "http://127.0.0.1/cb?code=");
    let new = issued(&polar, &exchange_code(&polar, &code, &[redirect_uri]).await);
    assert_eq!(exchange_code(&polar, &code, &[redirect_uri]).await.status, 400);
    assert_eq!(userinfo(&polar, &new.access).await.status, 401);
    committed(&polar).await;
    assert_eq!(works(&polar, &new).await, (true, true));
}

/// The time from the answer to its commit can be set, at both endpoints.
#[tokio::test(start_paused = true)]
async fn commit_comes_when_the_fault_says() {
    let polar = FakePolar::start().await.unwrap();
    let (revoked, old) = (polar.mint(), polar.mint());
    polar.behave(Fault::CommitAfter(HOUR));
    polar.behave_next_at_token(1, Fault::CommitAfter(2 * HOUR));
    let start = Instant::now();
    assert_eq!(revoke(&polar, &revoked.access).await.unwrap().status, 200);
    let new = issued(&polar, &refresh(&polar, &old.refresh).await);

    polar.revoked(1).await;
    assert!(start.elapsed() >= HOUR);
    assert_eq!(userinfo(&polar, &revoked.access).await.status, 401);
    assert_eq!(userinfo(&polar, &new.access).await.status, 401);
    committed(&polar).await;
    assert!(start.elapsed() >= 2 * HOUR);
    // The access token lived for an hour, and two have passed since it was issued.
    assert_eq!(works(&polar, &new).await, (false, true));
    assert_eq!(works(&polar, &old).await, (false, false));
}

/// A lost commit is answered like any other. The token stays alive.
#[tokio::test]
async fn revoke_is_answered_although_its_commit_is_lost() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    polar.behave(Fault::LoseCommit);
    assert_eq!(revoke(&polar, &pair.access).await.unwrap().status, 200);
    assert_eq!(works(&polar, &pair).await, (true, true));
    assert_eq!((polar.seen().answered, polar.seen().revoked), (1, 0));
}

/// If the commit of a refresh is lost, the new pair never exists and the old pair stays alive.
#[tokio::test]
async fn refresh_is_answered_although_its_commit_is_lost() {
    let polar = FakePolar::start().await.unwrap();
    let old = polar.mint();
    polar.behave_next_at_token(1, Fault::LoseCommit);
    let never = issued(&polar, &refresh(&polar, &old.refresh).await);
    assert_eq!(polar.seen().uncommitted, 0);
    assert_eq!(works(&polar, &never).await, (false, false));
    assert_eq!(works(&polar, &old).await, (true, true));
}

/// A fault can be set for the token endpoint alone.
#[tokio::test(start_paused = true)]
async fn token_endpoint_has_faults_of_its_own() {
    let polar = FakePolar::start().await.unwrap();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    polar.behave_next_at_token(1, Fault::Status { status, retry_after: None });
    polar.behave_next_at_token(1, Fault::Delay(HOUR));
    polar.behave_next_at_token(1, Fault::Drop);

    let pair = polar.mint();
    let start = Instant::now();
    assert_eq!(refresh(&polar, &pair.refresh).await.status, 503);
    assert_eq!(refresh(&polar, &pair.refresh).await.status, 200);
    assert!(start.elapsed() >= HOUR);
    assert_eq!(revoke(&polar, &polar.mint().access).await.unwrap().status, 200);
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    assert!(token_request(&polar, &form).send(polar.address()).await.is_none());
    polar.behave_next_at_token(1, Fault::Drop);
    polar.recover();
    assert_eq!(refresh(&polar, "x").await.status, 400);
}

#[tokio::test]
async fn faults_for_the_next_calls_apply_in_sequence() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    let status = |status| Fault::Status { status, retry_after: None };
    polar.behave(status(StatusCode::BAD_GATEWAY));
    polar.behave_next(0, Fault::Drop);
    polar.behave_next(2, status(StatusCode::SERVICE_UNAVAILABLE));
    polar.behave_next(1, status(StatusCode::GATEWAY_TIMEOUT));
    for expected in [503, 503, 504, 502, 502] {
        assert_eq!(revoke(&polar, &pair.access).await.unwrap().status, expected);
    }
    polar.behave_next(9, Fault::Drop);
    polar.recover();
    assert_eq!(revoke(&polar, &pair.access).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_spares_bearers_and_lasts_a_minute() {
    let polar = FakePolar::start().await.unwrap();
    let (first, second, third) = (polar.mint(), polar.mint(), polar.mint());
    polar.rate_limit(2);

    assert_eq!(revoke(&polar, &first.access).await.unwrap().status, 200);
    assert_eq!(introspect(&polar, &first.access).await.status, 200);
    let limited = revoke(&polar, &second.access).await.unwrap();
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("60")));
    assert_eq!(limited.body, "");
    assert_eq!(introspect(&polar, &first.access).await.status, 429);
    assert_eq!(userinfo(&polar, &second.access).await.status, 200);

    time::advance(Duration::from_secs(60)).await;
    assert_eq!(revoke(&polar, &second.access).await.unwrap().status, 200);

    polar.rate_limit(0);
    assert_eq!(revoke(&polar, &third.access).await.unwrap().status, 429);
    polar.recover();
    assert_eq!(revoke(&polar, &third.access).await.unwrap().status, 200);
}

// Two calls about one pair.

/// Polar keeps both tokens of a pair in one row and blocks on its lock. So two calls about one pair
/// freeze Polar, until the database gives up on the second call, which is answered 500. The first
/// call revokes the pair as usual.
#[tokio::test(start_paused = true)]
async fn server_freezes_when_two_revocations_touch_one_pair() {
    let polar = FakePolar::start().await.unwrap();
    for (n, is_same_token) in [(1, false), (2, true)] {
        let pair = polar.mint();
        let token = if is_same_token { &pair.access } else { &pair.refresh };
        let (first, second) = (revoke_request(&polar, &pair.access), revoke_request(&polar, token));
        let start = Instant::now();
        let (first, second) = at_once(&polar, &first, &second).await;
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!((first.status, second.status), (200, 500));
        assert_eq!(second.body, "Internal Server Error");
        polar.revoked(n).await;
        assert_eq!(works(&polar, &pair).await, (false, false));
        assert_eq!(polar.seen().freezes, n);
    }
}

/// No fault is needed for a freeze: two calls side by side are enough, sooner or later.
#[tokio::test]
async fn server_freezes_by_default_when_calls_overlap() {
    let polar = FakePolar::start().await.unwrap();
    polar.statement_timeout(Duration::from_millis(1));
    let pair = polar.mint();
    let frozen = async {
        while polar.seen().freezes == 0 {
            tokio::join!(revoke(&polar, &pair.access), revoke(&polar, &pair.refresh));
        }
    };
    time::timeout(Duration::from_secs(30), frozen).await.expect("a freeze");
}

/// A refresh that comes while its pair is being revoked freezes the server, and makes no new pair.
#[tokio::test(start_paused = true)]
async fn server_freezes_when_a_refresh_meets_a_revocation() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*pair.refresh)];
    let (first, second) = (revoke_request(&polar, &pair.access), token_request(&polar, &form));
    let (first, second) = at_once(&polar, &first, &second).await;
    assert_eq!((first.status, second.status), (200, 500));
    assert_eq!(polar.seen().freezes, 1);
    assert_eq!(works(&polar, &pair).await, (false, false));
}

/// A revoke call that comes while its pair is being refreshed freezes the server, and revokes
/// nothing. The refresh succeeds, and the new pair is alive.
#[tokio::test(start_paused = true)]
async fn server_freezes_when_a_revocation_meets_a_refresh() {
    let polar = FakePolar::start().await.unwrap();
    let old = polar.mint();
    polar.behave_next_at_token(1, Fault::Delay(Duration::from_secs(2)));
    let second = async {
        // Paused time moves on only once the refresh is under way.
        time::sleep(Duration::from_secs(1)).await;
        revoke(&polar, &old.access).await.unwrap()
    };
    let (first, second) = tokio::join!(refresh(&polar, &old.refresh), second);
    assert_eq!(second.status, 500);
    let new = issued(&polar, &first);
    assert_eq!((polar.seen().freezes, committed(&polar).await.revoked), (1, 0));
    assert_eq!(works(&polar, &new).await, (true, true));
    assert_eq!(works(&polar, &old).await, (false, false));
}

/// A revoke call for a dead pair also writes its row. Tokens of another client and unknown tokens
/// have no row that the call could write.
#[tokio::test(start_paused = true)]
async fn dead_pairs_freeze_the_server_too() {
    let polar = FakePolar::start().await.unwrap();
    polar.statement_timeout(Duration::from_secs(5));
    let dead = polar.mint().access;
    assert_eq!(revoke(&polar, &dead).await.unwrap().status, 200);
    polar.revoked(1).await;
    let foreign = polar.mint_for_another_client().access;
    for (token, statuses, seconds) in
        [(&*dead, (200, 500), 5), (&*foreign, (400, 400), 1), ("unknown", (200, 200), 1)]
    {
        let (start, call) = (Instant::now(), revoke_request(&polar, token));
        let (first, second) = at_once(&polar, &call, &call).await;
        assert_eq!((first.status, second.status), statuses, "{token}");
        assert_eq!(start.elapsed().as_secs(), seconds, "{token}");
    }
    assert_eq!((polar.seen().freezes, polar.seen().revoked), (1, 1));
}

/// Calls about different pairs touch different rows, and do not wait for each other.
#[tokio::test(start_paused = true)]
async fn different_pairs_do_not_freeze_the_server() {
    let polar = FakePolar::start().await.unwrap();
    let (one, other) = (polar.mint(), polar.mint());
    let (first, second) =
        (revoke_request(&polar, &one.access), revoke_request(&polar, &other.access));
    let (first, second) = at_once(&polar, &first, &second).await;
    assert_eq!((first.status, second.status), (200, 200));
    polar.revoked(2).await;
    assert_eq!((polar.seen().freezes, polar.seen().most_in_flight), (0, 2));
}

/// A call that begins after the previous answer never freezes the server, even before the commit.
#[tokio::test]
async fn calls_in_sequence_do_not_freeze_the_server() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    polar.behave(Fault::CommitAfter(HOUR));
    for token in [&pair.access, &pair.refresh, &pair.refresh] {
        assert_eq!(revoke(&polar, token).await.unwrap().status, 200);
    }
    assert_eq!(refresh(&polar, &pair.refresh).await.status, 200);
    assert_eq!(revoke(&polar, &pair.access).await.unwrap().status, 200);
    assert!(polar.seen().uncommitted >= 4);
    assert_eq!(polar.seen().freezes, 0);
}

/// A call that fails before it reaches the database freezes nothing.
#[tokio::test(start_paused = true)]
async fn failing_calls_do_not_freeze_the_server() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    polar.behave_next(1, Fault::Delay(HOUR));
    let status = StatusCode::SERVICE_UNAVAILABLE;
    polar.behave_next(1, Fault::Status { status, retry_after: None });
    polar.behave_next(1, Fault::Answer { status, body: "{}".to_owned() });
    polar.behave_next(1, Fault::Drop);
    let others = async {
        polar.until(|seen| seen.in_flight == 1).await;
        let start = Instant::now();
        assert_eq!(revoke(&polar, &pair.refresh).await.unwrap().status, 503);
        assert_eq!(revoke(&polar, &pair.refresh).await.unwrap().status, 503);
        assert!(revoke(&polar, &pair.refresh).await.is_none());
        assert_eq!(start.elapsed(), Duration::ZERO);
    };
    let (first, ()) = tokio::join!(revoke(&polar, &pair.access), others);
    assert_eq!((first.unwrap().status, polar.seen().freezes), (200, 0));
}

/// A frozen server answers no call, at any endpoint, and commits nothing. `recover` does not end
/// the freeze. Afterwards the server answers the calls that came in meanwhile.
#[tokio::test(start_paused = true)]
async fn frozen_server_answers_no_call_until_its_timeout() {
    let polar = FakePolar::start().await.unwrap();
    let (pair, bystander, revoked) = (polar.mint(), polar.mint(), polar.mint());
    let (first, second) =
        (revoke_request(&polar, &pair.access), revoke_request(&polar, &pair.refresh));
    let frozen = async {
        polar.until(|seen| seen.freezes == 1).await;
        let start = Instant::now();
        polar.recover();
        let commits = async {
            time::sleep(Duration::from_secs(29)).await;
            assert_eq!((polar.seen().uncommitted, polar.seen().revoked), (1, 0));
        };
        let after = async |call: Request| {
            let reply = call.send(polar.address()).await.unwrap();
            assert_eq!(start.elapsed().as_secs(), 30, "{}", call.target);
            reply.status
        };
        let bearer = format!("Bearer {}", bystander.access);
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        let answers = tokio::join!(
            after(Request::new("GET", USERINFO).header("authorization", &bearer)),
            after(introspect_request(&polar, &bystander.access)),
            after(token_request(&polar, &form)),
            after(revoke_request(&polar, &bystander.access)),
            after(revoke_request(&polar, &pair.access)),
            after(Request::new("GET", "/nowhere")),
            commits,
        );
        assert_eq!(answers, (200, 200, 400, 200, 200, 404, ()));
    };
    assert_eq!(revoke(&polar, &revoked.access).await.unwrap().status, 200);
    let ((first, second), ()) = tokio::join!(at_once(&polar, &first, &second), frozen);
    assert_eq!((first.status, second.status), (200, 500));
    assert_eq!((polar.seen().freezes, committed(&polar).await.revoked), (1, 3));
}

/// The server keeps working on a call whose caller hung up. The same call, sent again, is then the
/// second about one row.
#[tokio::test(start_paused = true)]
async fn retry_of_an_abandoned_call_freezes_the_server() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    polar.behave_next(1, Fault::Freeze);
    let request = revoke_request(&polar, &pair.access);
    let mut stream = TcpStream::connect(polar.address()).await.unwrap();
    stream.write_all(&request.bytes()).await.unwrap();
    polar.until(|seen| seen.in_flight == 1).await;
    drop(stream);
    polar.until(|seen| seen.in_flight == 0).await;

    let start = Instant::now();
    assert_eq!(request.send(polar.address()).await.unwrap().status, 500);
    assert_eq!((start.elapsed().as_secs(), polar.seen().freezes), (30, 1));
    assert!(polar.is_alive(&pair.access));
    // The first call still waits for `recover`, and still holds its row.
    assert_eq!(request.send(polar.address()).await.unwrap().status, 500);
    polar.recover();
    polar.revoked(1).await;
    assert_eq!(request.send(polar.address()).await.unwrap().status, 200);
    assert_eq!(polar.seen().freezes, 2);
}

/// Calls take as long as at Polar, so that they overlap. If time is paused they take none, so that
/// a test controls every moment.
#[tokio::test]
async fn calls_take_time_unless_time_is_paused() {
    let polar = FakePolar::start().await.unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let calls = [
        revoke_request(&polar, &polar.mint().access),
        introspect_request(&polar, "x"),
        token_request(&polar, &form),
    ];
    for call in &calls {
        let start = Instant::now();
        call.send(polar.address()).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(12), "{}", call.target);
    }
    time::pause();
    for call in &calls {
        let start = Instant::now();
        call.send(polar.address()).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO, "{}", call.target);
    }
}

/// Sends a second call while the first, a revoke call, is under way.
async fn at_once(polar: &FakePolar, first: &Request, second: &Request) -> (Reply, Reply) {
    polar.behave_next(1, Fault::Delay(Duration::from_secs(1)));
    let second = async {
        polar.until(|seen| seen.in_flight == 1).await;
        second.send(polar.address()).await
    };
    let (first, second) = tokio::join!(first.send(polar.address()), second);
    (first.unwrap(), second.unwrap())
}

// Inspection by a test.

/// A test can read the headers and the form of each call.
#[tokio::test]
async fn received_calls_hide_secrets_in_debug_output() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    let before = Instant::now();
    revoke_request(&polar, &pair.access)
        .header("x-forwarded-for", "192.0.2.1")
        .send(polar.address())
        .await
        .unwrap();

    let requests = polar.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(request.headers["x-forwarded-for"], "192.0.2.1");
    assert_eq!(request.form[0], ("token".to_owned(), pair.access.clone()));
    assert_eq!(request.value("client_id"), Some(polar.client_id()));
    assert_eq!(request.value("token_type_hint"), None);
    assert!(request.at >= before.into_std() && request.at <= Instant::now().into_std());

    let shown = format!("{polar:?} {pair:?} {requests:?} {:?}", polar.seen());
    for secret in [&pair.access, &pair.refresh, polar.client_secret(), "192.0.2.1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("x-forwarded-for") && shown.contains("client_secret"));
}

#[tokio::test(start_paused = true)]
async fn call_still_revokes_after_its_caller_hung_up() {
    let polar = FakePolar::start().await.unwrap();
    let pair = polar.mint();
    polar.behave(Fault::Delay(Duration::from_secs(1)));

    let mut stream = TcpStream::connect(polar.address()).await.unwrap();
    stream.write_all(&revoke_request(&polar, &pair.access).bytes()).await.unwrap();
    polar.until(|seen| seen.in_flight == 1).await;
    drop(stream);
    polar.until(|seen| seen.in_flight == 0).await;
    assert!(polar.is_alive(&pair.access));
    polar.revoked(1).await;
    assert!(!polar.is_alive(&pair.access));
    assert_eq!(polar.seen().answered, 0);
}

// The socket.

#[tokio::test(start_paused = true)]
async fn connection_serves_many_calls_and_closes_when_idle() {
    let polar = FakePolar::start().await.unwrap();
    let mut stream = TcpStream::connect(polar.address()).await.unwrap();
    for _ in 0..2 {
        let pair = polar.mint();
        let mut request = revoke_request(&polar, &pair.access);
        request.headers.retain(|(name, _)| name != "connection");
        stream.write_all(&request.bytes()).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        // Reads the rest, so that the next answer is read from its start.
        let mut rest = Vec::new();
        while !rest.ends_with(b"{}") {
            rest.push(stream.read_u8().await.unwrap());
        }
    }
    let idle_since = Instant::now();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    let idle = idle_since.elapsed();
    assert!(idle >= Duration::from_secs(5) && idle < Duration::from_secs(6), "{idle:?}");
}

#[tokio::test]
async fn drop_closes_connections_and_port() {
    let polar = FakePolar::start().await.unwrap();
    let address = polar.address();
    polar.behave(Fault::Freeze);
    let request = revoke_request(&polar, &polar.mint().access);
    let call = tokio::spawn(async move { request.send(address).await });
    polar.until(|seen| seen.in_flight == 1).await;

    drop(polar);
    assert!(call.await.unwrap().is_none());
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    time::timeout(Duration::from_secs(30), closed).await.expect("the port is still open");
}

#[tokio::test]
async fn hostile_bytes_do_no_harm() {
    let polar = FakePolar::start().await.unwrap();
    let post = format!("POST {REVOKE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let every_byte: Vec<u8> = (0..=255).collect();
    let hostile: [Vec<u8>; 14] = [
        every_byte.repeat(1000),
        b"\r\n\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /\xff%zz HTTP/1.1\r\n\r\n".to_vec(),
        b"* * *\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(),
        [b"GET /".as_slice(), &b"x".repeat(1_000_000), b" HTTP/1.1\r\n\r\n"].concat(),
        format!("{post}content-length: -1\r\n\r\n").into(),
        format!("{post}content-length: 99999999999999999999\r\n\r\n").into(),
        format!("{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").into(),
        format!("{post}content-length: 9999\r\n\r\ntoken=half").into(),
        [
            format!("{post}content-type: {FORM}\r\ncontent-length: 256\r\n\r\n").as_bytes(),
            &every_byte,
        ]
        .concat(),
        [
            post.as_bytes(),
            b"content-length: 0\r\nauthorization: Basic \xff\xfe%\r\ncontent-type: \xff\r\n\r\n",
        ]
        .concat(),
    ];
    for bytes in hostile {
        // The bytes may be refused, answered or cut off: only the next call matters.
        let mut stream = TcpStream::connect(polar.address()).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;

        let pair = polar.mint();
        assert_eq!(revoke(&polar, &pair.access).await.unwrap().status, 200);
        assert!(!polar.is_alive(&pair.access));
    }
    for credentials in ["", ":", "a", "a:", ":b", "%ff%zz:%", "\u{e9}:\u{e9}"] {
        let request = Request::new("POST", REVOKE).form(&[("token", "x")]);
        let value = format!("Basic {}", STANDARD.encode(credentials));
        let reply = request.header("authorization", &value).send(polar.address()).await.unwrap();
        assert_eq!(reply.status, 401, "{credentials}");
    }
}

// A minimal HTTP client.

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    chunked: bool,
}

impl Request {
    fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: vec![("connection".to_owned(), "close".to_owned())],
            body: None,
            chunked: false,
        }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn basic(self, id: &str, secret: &str) -> Self {
        let credentials = STANDARD.encode(format!("{id}:{secret}"));
        self.header("authorization", &format!("Basic {credentials}"))
    }

    fn form(mut self, form: &[(&str, &str)]) -> Self {
        self.body = Some(encode(form));
        self.header("content-type", FORM)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = vec![format!("{} {} HTTP/1.1", self.method, self.target)];
        head.push("host: polar".to_owned());
        head.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        let body = match &self.body {
            None => String::new(),
            Some(body) if self.chunked => {
                head.push("transfer-encoding: chunked".to_owned());
                format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }
            Some(body) => {
                head.push(format!("content-length: {}", body.len()));
                body.clone()
            }
        };
        format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
    }

    /// `None` if the connection was closed without an answer.
    async fn send(&self, address: SocketAddr) -> Option<Reply> {
        let answer = exchange(address, &self.bytes()).await.unwrap_or_default();
        if answer.is_empty() {
            return None;
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Some(Reply { status, headers: lines.map(header).collect(), body: body.to_owned() })
    }
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends only these bytes, and reads until the server closes the connection.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let write = async move {
        // The server may have hung up before it had read everything.
        let _ = writer.write_all(bytes).await;
        writer
    };
    let mut answer = Vec::new();
    let (_writer, read) = tokio::join!(write, reader.read_to_end(&mut answer));
    read.map(|_| answer)
}

fn encode(form: &[(impl AsRef<str>, impl AsRef<str>)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

fn revoke_request(polar: &FakePolar, token: &str) -> Request {
    Request::new("POST", REVOKE).form(&[
        ("token", token),
        ("client_id", polar.client_id()),
        ("client_secret", polar.client_secret()),
    ])
}

async fn revoke(polar: &FakePolar, token: &str) -> Option<Reply> {
    revoke_request(polar, token).send(polar.address()).await
}

fn introspect_request(polar: &FakePolar, token: &str) -> Request {
    Request { target: INTROSPECT.to_owned(), ..revoke_request(polar, token) }
}

async fn introspect(polar: &FakePolar, token: &str) -> Reply {
    introspect_request(polar, token).send(polar.address()).await.unwrap()
}

fn token_request(polar: &FakePolar, form: &[(&str, &str)]) -> Request {
    let credentials = [("client_id", polar.client_id()), ("client_secret", polar.client_secret())];
    Request::new("POST", TOKEN).form(&[form, &credentials].concat())
}

async fn refresh(polar: &FakePolar, token: &str) -> Reply {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    token_request(polar, &form).send(polar.address()).await.unwrap()
}

/// The pair in an answer of the token endpoint.
fn issued(polar: &FakePolar, reply: &Reply) -> TokenPair {
    assert_eq!(reply.status, 200);
    let body = reply.json();
    let token = |name: &str| body[name].as_str().unwrap().to_owned();
    // Only the stand-in can make a `TokenPair`.
    let mut pair = polar.mint();
    (pair.access, pair.refresh) = (token("access_token"), token("refresh_token"));
    pair
}

/// Resolves once no commit is under way.
async fn committed(polar: &FakePolar) -> Seen {
    polar.until(|seen| seen.uncommitted == 0).await
}

async fn userinfo(polar: &FakePolar, token: &str) -> Reply {
    let request = Request::new("GET", USERINFO).header("authorization", &format!("Bearer {token}"));
    request.send(polar.address()).await.unwrap()
}
